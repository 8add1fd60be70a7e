-- Every operator once or more, over a keyed table, an append-only source and a dimension.
CREATE TABLE orders (
  id VARCHAR, customer VARCHAR NOT NULL, at TIMESTAMPTZ, cents BIGINT, price DECIMAL(10, 2),
  tags VARCHAR[], lines STRUCT<sku VARCHAR, n INT>[], PRIMARY KEY (id)
) WITH (connector = 'kafka', topic = 'orders') FORMAT PLAIN ENCODE JSON;
CREATE SOURCE clicks (customer VARCHAR, at TIMESTAMP, url VARCHAR, detail JSONB)
INCLUDE partition AS part INCLUDE offset AS off
WITH (connector = 'file', path = 'clicks/*.jsonl') FORMAT PLAIN ENCODE JSON;
CREATE TABLE customers (customer VARCHAR, country VARCHAR, PRIMARY KEY (customer))
WITH (connector = 'kafka', topic = 'customers') FORMAT PLAIN ENCODE JSON;

CREATE MATERIALIZED VIEW totals AS
  SELECT country, count(*) AS orders, count(price) FILTER (WHERE cents > 100) AS dear, sum(cents) AS cents,
         sum(price) AS price, avg(price) AS mean_price, avg(cents) AS mean, min(at) AS first, max(cents) AS most
  FROM orders JOIN customers ON orders.customer = customers.customer AND orders.cents > length(customers.country)
  WHERE cents >= 0 AND country <> 'xx'
  GROUP BY country HAVING count(*) > 1;
CREATE MATERIALIZED VIEW skus AS
  WITH l AS (SELECT o.id, o.at, i.* FROM orders o LEFT JOIN UNNEST(o.lines) AS i ON TRUE)
  SELECT sku, window_start, window_end, sum(n) AS n FROM HOP(l, at, INTERVAL '30 minutes', INTERVAL '1 hour') GROUP BY sku, window_start, window_end;
CREATE MATERIALIZED VIEW tags AS SELECT DISTINCT t AS tag FROM orders, UNNEST(tags) AS t;
CREATE MATERIALIZED VIEW seen AS
  SELECT customer, at FROM clicks UNION ALL SELECT customer, CAST(at AS TIMESTAMP) FROM orders;
CREATE MATERIALIZED VIEW everyone AS SELECT customer FROM clicks UNION SELECT customer FROM customers;
CREATE MATERIALIZED VIEW by_country AS
  SELECT c.country, o.id FROM orders o RIGHT JOIN customers c ON o.customer = c.customer AND o.cents < length(c.country);
CREATE MATERIALIZED VIEW pages AS
  SELECT t.customer, t.window_start AS hour, t.url, t.detail->>'ref' AS ref, t.part, t.off FROM TUMBLE(clicks, at, INTERVAL '1 hour') AS t WHERE t.url LIKE '/p/%';
CREATE SINK pages_out FROM pages WITH (connector = 'file', path = 'out.jsonl') FORMAT PLAIN ENCODE JSON;
CREATE SINK totals_out AS SELECT country, orders FROM totals WHERE orders > 10
WITH (connector = 'kafka', topic = 'totals', primary_key = 'country') FORMAT DEBEZIUM ENCODE JSON;
