-- NEXMark q12, processing time windows: how many bids of a user came in each 10 seconds.
--
-- A clock would give another result each time the bids are read. The time at which a bid came is the
-- timestamp of its record, which stays.

CREATE SOURCE bid (
  auction BIGINT, bidder BIGINT, price BIGINT, channel VARCHAR, url VARCHAR, date_time TIMESTAMP, extra VARCHAR,
  WATERMARK FOR date_time AS date_time - INTERVAL '4 seconds'
) INCLUDE timestamp AS arrived_at INCLUDE partition AS part INCLUDE offset AS event
WITH (
  connector = 'nexmark', nexmark.table.type = 'bid', nexmark.event.num = '${NEXMARK_EVENTS:-1000000}'
) FORMAT PLAIN ENCODE JSON;

CREATE MATERIALIZED VIEW q12 AS
  SELECT bidder, count(*) AS bid_count, window_start AS starttime, window_end AS endtime
  FROM TUMBLE(bid, arrived_at, INTERVAL '10 seconds')
  GROUP BY bidder, window_start, window_end;

CREATE SINK q12_out FROM q12 WITH (connector = 'blackhole', primary_key = 'bidder,starttime')
FORMAT UPSERT ENCODE JSON;
