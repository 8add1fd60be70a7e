-- NEXMark q6, average selling price by seller: over each auction of a seller and the ten before it.

CREATE SOURCE auction (
  id BIGINT, item_name VARCHAR, description VARCHAR, initial_bid BIGINT, reserve BIGINT,
  date_time TIMESTAMP, expires TIMESTAMP, seller BIGINT, category BIGINT, extra VARCHAR,
  WATERMARK FOR date_time AS date_time - INTERVAL '4 seconds'
) WITH (
  connector = 'nexmark', nexmark.table.type = 'auction', nexmark.event.num = '${NEXMARK_EVENTS:-1000000}'
) FORMAT PLAIN ENCODE JSON;

CREATE SOURCE bid (
  auction BIGINT, bidder BIGINT, price BIGINT, channel VARCHAR, url VARCHAR, date_time TIMESTAMP, extra VARCHAR,
  WATERMARK FOR date_time AS date_time - INTERVAL '4 seconds'
) INCLUDE timestamp AS arrived_at INCLUDE partition AS part INCLUDE offset AS event
WITH (
  connector = 'nexmark', nexmark.table.type = 'bid', nexmark.event.num = '${NEXMARK_EVENTS:-1000000}'
) FORMAT PLAIN ENCODE JSON;

CREATE VIEW q6_winning AS
  SELECT id, seller, price, date_time
  FROM (SELECT a.id, a.seller, b.price, b.date_time,
               row_number() OVER (PARTITION BY a.id ORDER BY b.price DESC, b.date_time, b.event) AS rownum
        FROM auction AS a JOIN bid AS b ON a.id = b.auction
        WHERE b.date_time BETWEEN a.date_time AND a.expires) AS r
  WHERE rownum <= 1;

CREATE MATERIALIZED VIEW q6 AS
  SELECT id, seller,
         avg(price) OVER (PARTITION BY seller ORDER BY date_time, id ROWS BETWEEN 10 PRECEDING AND CURRENT ROW)
           AS avg_price
  FROM q6_winning;

CREATE SINK q6_out FROM q6 WITH (connector = 'blackhole', primary_key = 'id')
FORMAT UPSERT ENCODE JSON;
