-- NEXMark q13, bounded side input join: every bid with what a bounded table has for it.
--
-- The side input never changes, so a join that is kept up to date gives what a lookup gives.

CREATE SOURCE bid (
  auction BIGINT, bidder BIGINT, price BIGINT, channel VARCHAR, url VARCHAR, date_time TIMESTAMP, extra VARCHAR,
  WATERMARK FOR date_time AS date_time - INTERVAL '4 seconds'
) INCLUDE timestamp AS arrived_at INCLUDE partition AS part INCLUDE offset AS event
WITH (
  connector = 'nexmark', nexmark.table.type = 'bid', nexmark.event.num = '${NEXMARK_EVENTS:-1000000}'
) FORMAT PLAIN ENCODE JSON;

CREATE SOURCE side_input (key BIGINT, value VARCHAR) WITH (
  connector = 'datagen', rows.total = '10000', fields.key.kind = 'sequence', fields.value.kind = 'text'
) FORMAT PLAIN ENCODE JSON;

CREATE MATERIALIZED VIEW q13 AS
  SELECT b.auction, b.bidder, b.price, b.date_time, s.value
  FROM bid AS b JOIN side_input AS s ON b.auction % 10000 = s.key;

CREATE SINK q13_out FROM q13 WITH (connector = 'blackhole') FORMAT PLAIN ENCODE JSON;
