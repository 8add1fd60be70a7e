-- NEXMark q14, calculation: bids in a range of prices, with the kind of hour and the number of c in extra.

CREATE SOURCE bid (
  auction BIGINT, bidder BIGINT, price BIGINT, channel VARCHAR, url VARCHAR, date_time TIMESTAMP, extra VARCHAR,
  WATERMARK FOR date_time AS date_time - INTERVAL '4 seconds'
) INCLUDE timestamp AS arrived_at INCLUDE partition AS part INCLUDE offset AS event
WITH (
  connector = 'nexmark', nexmark.table.type = 'bid', nexmark.event.num = '${NEXMARK_EVENTS:-1000000}'
) FORMAT PLAIN ENCODE JSON;

CREATE MATERIALIZED VIEW q14 AS
  SELECT auction, bidder, CAST('0.908' AS DECIMAL(4, 3)) * price AS price,
         CASE WHEN extract(hour FROM date_time) BETWEEN 8 AND 18 THEN 'dayTime'
              WHEN extract(hour FROM date_time) <= 6 OR extract(hour FROM date_time) >= 20 THEN 'nightTime'
              ELSE 'otherTime' END AS bid_time_type,
         date_time, extra, length(extra) - length(replace(extra, 'c', '')) AS c_counts
  FROM bid
  WHERE CAST('0.908' AS DECIMAL(4, 3)) * price > 1000000 AND CAST('0.908' AS DECIMAL(4, 3)) * price < 50000000;

CREATE SINK q14_out FROM q14 WITH (connector = 'blackhole') FORMAT PLAIN ENCODE JSON;
