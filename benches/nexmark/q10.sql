-- NEXMark q10, log to file system: every bid with its day and minute, by which files would be partitioned.

CREATE SOURCE bid (
  auction BIGINT, bidder BIGINT, price BIGINT, channel VARCHAR, url VARCHAR, date_time TIMESTAMP, extra VARCHAR,
  WATERMARK FOR date_time AS date_time - INTERVAL '4 seconds'
) INCLUDE timestamp AS arrived_at INCLUDE partition AS part INCLUDE offset AS event
WITH (
  connector = 'nexmark', nexmark.table.type = 'bid', nexmark.event.num = '${NEXMARK_EVENTS:-1000000}'
) FORMAT PLAIN ENCODE JSON;

CREATE MATERIALIZED VIEW q10 AS
  SELECT auction, bidder, price, date_time, extra,
         to_char(date_time, 'YYYY-MM-DD') AS day, to_char(date_time, 'HH24:MI') AS minute
  FROM bid;

CREATE SINK q10_out FROM q10 WITH (connector = 'blackhole') FORMAT PLAIN ENCODE JSON;
