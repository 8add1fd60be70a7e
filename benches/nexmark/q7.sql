-- NEXMark q7, highest bid: the highest bids of each 10 seconds.
--
-- As in the standard text both ends of the 10 seconds count. The coordinates of the bid and the window
-- stand beside each row, so that a row has a key.

CREATE SOURCE bid (
  auction BIGINT, bidder BIGINT, price BIGINT, channel VARCHAR, url VARCHAR, date_time TIMESTAMP, extra VARCHAR,
  WATERMARK FOR date_time AS date_time - INTERVAL '4 seconds'
) INCLUDE timestamp AS arrived_at INCLUDE partition AS part INCLUDE offset AS event
WITH (
  connector = 'nexmark', nexmark.table.type = 'bid', nexmark.event.num = '${NEXMARK_EVENTS:-1000000}'
) FORMAT PLAIN ENCODE JSON;

CREATE VIEW q7_highest AS
  SELECT window_start, window_end, max(price) AS price
  FROM TUMBLE(bid, date_time, INTERVAL '10 seconds')
  GROUP BY window_start, window_end;

CREATE MATERIALIZED VIEW q7 AS
  SELECT b.auction, b.bidder, b.price, b.date_time, b.extra, b.part, b.event, h.window_end
  FROM bid AS b
  JOIN q7_highest AS h
    ON b.price = h.price AND b.date_time BETWEEN h.window_end - INTERVAL '10 seconds' AND h.window_end;

CREATE SINK q7_out FROM q7 WITH (connector = 'blackhole', primary_key = 'part,event,window_end')
FORMAT UPSERT ENCODE JSON;
