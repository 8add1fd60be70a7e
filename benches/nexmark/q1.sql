-- NEXMark q1, currency conversion: every bid in euros, exact to a thousandth of a cent.

CREATE SOURCE bid (
  auction BIGINT, bidder BIGINT, price BIGINT, channel VARCHAR, url VARCHAR, date_time TIMESTAMP, extra VARCHAR,
  WATERMARK FOR date_time AS date_time - INTERVAL '4 seconds'
) INCLUDE timestamp AS arrived_at INCLUDE partition AS part INCLUDE offset AS event
WITH (
  connector = 'nexmark', nexmark.table.type = 'bid', nexmark.event.num = '${NEXMARK_EVENTS:-1000000}'
) FORMAT PLAIN ENCODE JSON;

CREATE MATERIALIZED VIEW q1 AS
  SELECT auction, bidder, CAST('0.908' AS DECIMAL(4, 3)) * price AS price, date_time, extra FROM bid;

CREATE SINK q1_out FROM q1 WITH (connector = 'blackhole') FORMAT PLAIN ENCODE JSON;
