-- NEXMark q14, calculation: bids in a range of prices, with the kind of hour and the number of c in extra.

CREATE TABLE q14_out (
  auction BIGINT,
  bidder BIGINT,
  price DECIMAL(23,3),
  bid_time_type STRING,
  date_time TIMESTAMP(3),
  extra STRING,
  c_counts INT
) WITH ('connector' = 'blackhole');

INSERT INTO q14_out
  SELECT auction, bidder, CAST('0.908' AS DECIMAL(4, 3)) * price AS price,
         CASE WHEN EXTRACT(HOUR FROM date_time) BETWEEN 8 AND 18 THEN 'dayTime'
              WHEN EXTRACT(HOUR FROM date_time) <= 6 OR EXTRACT(HOUR FROM date_time) >= 20 THEN 'nightTime'
              ELSE 'otherTime' END AS bid_time_type,
         date_time, extra, CHAR_LENGTH(extra) - CHAR_LENGTH(REPLACE(extra, 'c', '')) AS c_counts
  FROM bid
  WHERE CAST('0.908' AS DECIMAL(4, 3)) * price > 1000000 AND CAST('0.908' AS DECIMAL(4, 3)) * price < 50000000;
