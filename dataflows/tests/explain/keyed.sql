-- Tables whose records replace and delete rows by key.
CREATE TABLE orders (
  id BIGINT, customer VARCHAR, cents BIGINT, placed_at TIMESTAMPTZ, updated_at TIMESTAMPTZ,
  PRIMARY KEY (id), WATERMARK FOR placed_at AS placed_at - INTERVAL '1 hour'
) ON CONFLICT OVERWRITE WITH VERSION COLUMN (updated_at)
WITH (connector = 'kafka', topic = 'shop.public.orders', retention = '90 days')
FORMAT DEBEZIUM ENCODE AVRO (schema.registry = 'http://registry:8081');
CREATE TABLE customers (name VARCHAR, country VARCHAR, PRIMARY KEY (name))
WITH (connector = 'kafka', topic = 'customers') FORMAT UPSERT ENCODE JSON KEY ENCODE TEXT;
CREATE TABLE sessions (user_id BIGINT, PRIMARY KEY (session)) INCLUDE key AS session
WITH (connector = 'kafka', topic = 'sessions') FORMAT UPSERT ENCODE JSON;

CREATE MATERIALIZED VIEW spent AS
  SELECT c.country, count(*) AS orders, sum(o.cents) AS cents
  FROM orders AS o JOIN customers AS c ON o.customer = c.name GROUP BY c.country;
CREATE MATERIALIZED VIEW users AS SELECT user_id, count(*) AS sessions FROM sessions GROUP BY user_id;
CREATE INDEX users_by_sessions ON users (sessions, user_id);
