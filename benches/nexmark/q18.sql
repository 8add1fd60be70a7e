-- NEXMark q18, find last bid: the last bid of each bidder for each auction.

CREATE SOURCE bid (
  auction BIGINT, bidder BIGINT, price BIGINT, channel VARCHAR, url VARCHAR, date_time TIMESTAMP, extra VARCHAR,
  WATERMARK FOR date_time AS date_time - INTERVAL '4 seconds'
) INCLUDE timestamp AS arrived_at INCLUDE partition AS part INCLUDE offset AS event
WITH (
  connector = 'nexmark', nexmark.table.type = 'bid', nexmark.event.num = '${NEXMARK_EVENTS:-1000000}'
) FORMAT PLAIN ENCODE JSON;

CREATE VIEW q18_last AS
  SELECT bidder, auction, max(date_time) AS date_time FROM bid GROUP BY bidder, auction;
-- Of several at that time, the one that came first.
CREATE VIEW q18_first AS
  SELECT b.bidder, b.auction, min(b.part) AS part, min(b.event) AS event
  FROM bid AS b
  JOIN q18_last AS l ON b.bidder = l.bidder AND b.auction = l.auction AND b.date_time = l.date_time
  GROUP BY b.bidder, b.auction;

CREATE MATERIALIZED VIEW q18 AS
  SELECT f.auction, f.bidder, b.price, b.channel, b.url, b.date_time, b.extra
  FROM q18_first AS f
  JOIN bid AS b ON f.bidder = b.bidder AND f.auction = b.auction AND f.part = b.part AND f.event = b.event;

CREATE SINK q18_out FROM q18 WITH (connector = 'blackhole', primary_key = 'bidder,auction')
FORMAT UPSERT ENCODE JSON;
