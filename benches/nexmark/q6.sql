-- NEXMark q6, average selling price by seller: over each auction of a seller and the ten before it.
--
-- The standard text has AVG(price) OVER (PARTITION BY seller ORDER BY date_time ROWS BETWEEN 10
-- PRECEDING AND CURRENT ROW) over the winning bids. Here each auction is numbered by counting the
-- earlier ones of its seller.

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

CREATE VIEW q6_valid AS
  SELECT a.id, b.price, b.date_time, b.part, b.event
  FROM auction AS a JOIN bid AS b ON a.id = b.auction
  WHERE b.date_time BETWEEN a.date_time AND a.expires;

-- The highest, of those the earliest, of those the one that came first.
CREATE VIEW q6_highest AS
  SELECT id, max(price) AS price FROM q6_valid GROUP BY id;
CREATE VIEW q6_earliest AS
  SELECT v.id, v.price, min(v.date_time) AS date_time
  FROM q6_valid AS v JOIN q6_highest AS h ON v.id = h.id AND v.price = h.price GROUP BY v.id, v.price;
CREATE VIEW q6_winning AS
  SELECT v.id, min(v.part) AS part, min(v.event) AS event
  FROM q6_valid AS v
  JOIN q6_earliest AS e ON v.id = e.id AND v.price = e.price AND v.date_time = e.date_time
  GROUP BY v.id;

CREATE VIEW q6_sold AS
  SELECT w.id, a.seller, b.price, b.date_time
  FROM q6_winning AS w
  JOIN bid AS b ON w.part = b.part AND w.event = b.event
  JOIN auction AS a ON w.id = a.id;

CREATE VIEW q6_numbered AS
  SELECT x.id, x.seller, x.price, count(*) AS place
  FROM q6_sold AS x
  JOIN q6_sold AS y
    ON x.seller = y.seller AND (y.date_time < x.date_time OR (y.date_time = x.date_time AND y.id <= x.id))
  GROUP BY x.id, x.seller, x.price;

CREATE MATERIALIZED VIEW q6 AS
  SELECT x.id, x.seller, avg(y.price) AS avg_price
  FROM q6_numbered AS x
  JOIN q6_numbered AS y ON x.seller = y.seller AND y.place BETWEEN x.place - 10 AND x.place
  GROUP BY x.id, x.seller;

CREATE SINK q6_out FROM q6 WITH (connector = 'blackhole', primary_key = 'id,seller')
FORMAT UPSERT ENCODE JSON;
