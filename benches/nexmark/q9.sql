-- NEXMark q9, winning bids: the winning bid of each auction.

CREATE SOURCE auction (
  id BIGINT, item_name VARCHAR, description VARCHAR, initial_bid BIGINT, reserve BIGINT,
  date_time TIMESTAMP, expires TIMESTAMP, seller BIGINT, category BIGINT, extra VARCHAR,
  WATERMARK FOR date_time AS date_time - INTERVAL '4 seconds'
) INCLUDE partition AS part INCLUDE offset AS event
WITH (
  connector = 'nexmark', nexmark.table.type = 'auction', nexmark.event.num = '${NEXMARK_EVENTS:-1000000}'
) FORMAT PLAIN ENCODE JSON;

CREATE SOURCE bid (
  auction BIGINT, bidder BIGINT, price BIGINT, channel VARCHAR, url VARCHAR, date_time TIMESTAMP, extra VARCHAR,
  WATERMARK FOR date_time AS date_time - INTERVAL '4 seconds'
) INCLUDE timestamp AS arrived_at INCLUDE partition AS part INCLUDE offset AS event
WITH (
  connector = 'nexmark', nexmark.table.type = 'bid', nexmark.event.num = '${NEXMARK_EVENTS:-1000000}'
) FORMAT PLAIN ENCODE JSON;

CREATE VIEW q9_valid AS
  SELECT a.id, b.price, b.date_time, b.part, b.event
  FROM auction AS a JOIN bid AS b ON a.id = b.auction
  WHERE b.date_time BETWEEN a.date_time AND a.expires;

-- The highest, of those the earliest, of those the one that came first.
CREATE VIEW q9_highest AS
  SELECT id, max(price) AS price FROM q9_valid GROUP BY id;
CREATE VIEW q9_earliest AS
  SELECT v.id, v.price, min(v.date_time) AS date_time
  FROM q9_valid AS v JOIN q9_highest AS h ON v.id = h.id AND v.price = h.price GROUP BY v.id, v.price;
CREATE VIEW q9_winning AS
  SELECT v.id, min(v.part) AS part, min(v.event) AS event
  FROM q9_valid AS v
  JOIN q9_earliest AS e ON v.id = e.id AND v.price = e.price AND v.date_time = e.date_time
  GROUP BY v.id;

CREATE MATERIALIZED VIEW q9 AS
  SELECT w.id, a.item_name, a.description, a.initial_bid, a.reserve, a.date_time, a.expires, a.seller, a.category,
         a.extra, b.auction, b.bidder, b.price, b.date_time AS bid_date_time, b.extra AS bid_extra, a.part, a.event
  FROM q9_winning AS w
  JOIN bid AS b ON w.part = b.part AND w.event = b.event
  JOIN auction AS a ON w.id = a.id;

CREATE SINK q9_out FROM q9 WITH (connector = 'blackhole', primary_key = 'id,part,event')
FORMAT UPSERT ENCODE JSON;
