-- NEXMark q17, auction statistics report: bids and prices of each auction and day.

CREATE SOURCE bid (
  auction BIGINT, bidder BIGINT, price BIGINT, channel VARCHAR, url VARCHAR, date_time TIMESTAMP, extra VARCHAR,
  WATERMARK FOR date_time AS date_time - INTERVAL '4 seconds'
) INCLUDE timestamp AS arrived_at INCLUDE partition AS part INCLUDE offset AS event
WITH (
  connector = 'nexmark', nexmark.table.type = 'bid', nexmark.event.num = '${NEXMARK_EVENTS:-1000000}'
) FORMAT PLAIN ENCODE JSON;

CREATE MATERIALIZED VIEW q17 AS
  SELECT auction, to_char(date_time, 'YYYY-MM-DD') AS day,
         count(*) AS total_bids,
         count(*) FILTER (WHERE price < 10000) AS rank1_bids,
         count(*) FILTER (WHERE price >= 10000 AND price < 1000000) AS rank2_bids,
         count(*) FILTER (WHERE price >= 1000000) AS rank3_bids,
         min(price) AS min_price, max(price) AS max_price, avg(price) AS avg_price, sum(price) AS sum_price
  FROM bid
  GROUP BY auction, to_char(date_time, 'YYYY-MM-DD');

CREATE SINK q17_out FROM q17 WITH (connector = 'blackhole', primary_key = 'auction,day')
FORMAT UPSERT ENCODE JSON;
