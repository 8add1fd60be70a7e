-- NEXMark q11, user sessions: how many bids a user made in each session.

CREATE SOURCE bid (
  auction BIGINT, bidder BIGINT, price BIGINT, channel VARCHAR, url VARCHAR, date_time TIMESTAMP, extra VARCHAR,
  WATERMARK FOR date_time AS date_time - INTERVAL '4 seconds'
) INCLUDE timestamp AS arrived_at INCLUDE partition AS part INCLUDE offset AS event
WITH (
  connector = 'nexmark', nexmark.table.type = 'bid', nexmark.event.num = '${NEXMARK_EVENTS:-1000000}'
) FORMAT PLAIN ENCODE JSON;

CREATE MATERIALIZED VIEW q11 AS
  SELECT bidder, count(*) AS bid_count, window_start AS starttime, window_end AS endtime
  FROM SESSION(bid PARTITION BY bidder, date_time, INTERVAL '10 seconds')
  GROUP BY bidder, window_start, window_end;

CREATE SINK q11_out FROM q11 WITH (connector = 'blackhole', primary_key = 'bidder,starttime,endtime')
FORMAT UPSERT ENCODE JSON;
