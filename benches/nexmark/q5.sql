-- NEXMark q5, hot items: the auctions with the most bids of the last 10 seconds, every 2 seconds.
--
-- The window stands beside each row, so that a row has a key.

CREATE SOURCE bid (
  auction BIGINT, bidder BIGINT, price BIGINT, channel VARCHAR, url VARCHAR, date_time TIMESTAMP, extra VARCHAR,
  WATERMARK FOR date_time AS date_time - INTERVAL '4 seconds'
) INCLUDE timestamp AS arrived_at INCLUDE partition AS part INCLUDE offset AS event
WITH (
  connector = 'nexmark', nexmark.table.type = 'bid', nexmark.event.num = '${NEXMARK_EVENTS:-1000000}'
) FORMAT PLAIN ENCODE JSON;

CREATE VIEW q5_counts AS
  SELECT auction, window_start, window_end, count(*) AS num
  FROM HOP(bid, date_time, INTERVAL '2 seconds', INTERVAL '10 seconds')
  GROUP BY auction, window_start, window_end;

CREATE MATERIALIZED VIEW q5 AS
  SELECT c.auction, c.num, c.window_start
  FROM q5_counts AS c
  JOIN (SELECT window_start, window_end, max(num) AS num FROM q5_counts GROUP BY window_start, window_end) AS m
    ON c.window_start = m.window_start AND c.window_end = m.window_end AND c.num >= m.num;

CREATE SINK q5_out FROM q5 WITH (connector = 'blackhole', primary_key = 'auction,window_start')
FORMAT UPSERT ENCODE JSON;
