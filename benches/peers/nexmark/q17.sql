-- NEXMark q17, auction statistics report: bids and prices of each auction and day.
-- 
-- Flink's mean of BIGINT is a BIGINT: prices are made DOUBLE, of which the sums are exact.

CREATE TABLE q17_out (
  auction BIGINT,
  `day` STRING,
  total_bids BIGINT,
  rank1_bids BIGINT,
  rank2_bids BIGINT,
  rank3_bids BIGINT,
  min_price BIGINT,
  max_price BIGINT,
  avg_price DOUBLE,
  sum_price BIGINT
) WITH ('connector' = 'blackhole');

INSERT INTO q17_out
  SELECT auction, DATE_FORMAT(date_time, 'yyyy-MM-dd') AS `day`,
         COUNT(*) AS total_bids,
         COUNT(*) FILTER (WHERE price < 10000) AS rank1_bids,
         COUNT(*) FILTER (WHERE price >= 10000 AND price < 1000000) AS rank2_bids,
         COUNT(*) FILTER (WHERE price >= 1000000) AS rank3_bids,
         MIN(price) AS min_price, MAX(price) AS max_price, AVG(CAST(price AS DOUBLE)) AS avg_price,
         SUM(price) AS sum_price
  FROM bid
  GROUP BY auction, DATE_FORMAT(date_time, 'yyyy-MM-dd');
