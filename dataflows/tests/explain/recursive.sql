-- Recursion over a table, whose rows come again on a restart, and over sources, of which a durable relation keeps
-- what the rounds read.
CREATE TABLE staff (id BIGINT, name VARCHAR, boss BIGINT, notes VARCHAR, PRIMARY KEY (id))
WITH (connector = 'kafka', topic = 'staff') FORMAT UPSERT ENCODE JSON;
CREATE SOURCE links (a BIGINT, b BIGINT, at TIMESTAMPTZ, note VARCHAR, WATERMARK FOR at AS at)
WITH (connector = 'kafka', topic = 'links') FORMAT PLAIN ENCODE JSON;

CREATE MATERIALIZED VIEW depth AS WITH RECURSIVE r (id, name, depth) AS (
  SELECT id, name, 0 FROM staff WHERE boss IS NULL
  UNION ALL
  SELECT s.id, s.name, r.depth + 1 FROM r JOIN staff AS s ON s.boss = r.id WHERE r.depth < 20
) SELECT name, depth FROM r;
CREATE MATERIALIZED VIEW reached AS WITH RECURSIVE r AS (
  SELECT a, b FROM links UNION SELECT r.a, l.b FROM r JOIN links AS l ON l.a = r.b
) SELECT a, b FROM r;
CREATE MATERIALIZED VIEW ways AS WITH RECURSIVE r (at, b, n) AS (
  SELECT at, b, 0 FROM links WHERE a = 1
  UNION ALL
  SELECT r.at, l.b, n + 1 FROM r LEFT JOIN links AS l ON l.a = r.b WHERE n < 5
) SELECT b, n, count(*) AS times FROM r GROUP BY b, n;
CREATE SINK reached_out FROM reached WITH (connector = 'kafka', topic = 'reached') FORMAT PLAIN ENCODE JSON;
