-- NEXMark q21, add channel id: by name for the hot channels, from the address for others that have one.

CREATE SOURCE bid (
  auction BIGINT, bidder BIGINT, price BIGINT, channel VARCHAR, url VARCHAR, date_time TIMESTAMP, extra VARCHAR,
  WATERMARK FOR date_time AS date_time - INTERVAL '4 seconds'
) INCLUDE timestamp AS arrived_at INCLUDE partition AS part INCLUDE offset AS event
WITH (
  connector = 'nexmark', nexmark.table.type = 'bid', nexmark.event.num = '${NEXMARK_EVENTS:-1000000}'
) FORMAT PLAIN ENCODE JSON;

CREATE MATERIALIZED VIEW q21 AS
  SELECT auction, bidder, price, channel,
         CASE lower(channel) WHEN 'apple' THEN '0' WHEN 'google' THEN '1' WHEN 'facebook' THEN '2'
              WHEN 'baidu' THEN '3' ELSE regexp_match(url, '(&|^)channel_id=([^&]*)')[2] END AS channel_id
  FROM bid
  WHERE regexp_match(url, '(&|^)channel_id=([^&]*)')[2] IS NOT NULL
     OR lower(channel) IN ('apple', 'google', 'facebook', 'baidu');

CREATE SINK q21_out FROM q21 WITH (connector = 'blackhole') FORMAT PLAIN ENCODE JSON;
