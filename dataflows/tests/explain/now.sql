CREATE SOURCE clicks (
  user_id VARCHAR, page VARCHAR, clicked_at TIMESTAMPTZ, WATERMARK FOR clicked_at AS clicked_at - INTERVAL '1 minute'
) WITH (connector = 'kafka', topic = 'clicks') FORMAT PLAIN ENCODE JSON;
CREATE TABLE deals (
  id VARCHAR, user_id VARCHAR, said_at TIMESTAMPTZ, starts_at TIMESTAMPTZ, ends_at TIMESTAMPTZ, PRIMARY KEY (id),
  WATERMARK FOR said_at AS said_at
) WITH (connector = 'kafka', topic = 'deals') FORMAT PLAIN ENCODE JSON;
CREATE TABLE users (user_id VARCHAR, country VARCHAR, PRIMARY KEY (user_id))
WITH (connector = 'kafka', topic = 'users') FORMAT PLAIN ENCODE JSON;

-- Durable, since nothing else keeps what a source brought.
CREATE MATERIALIZED VIEW last_hour AS
  SELECT page, count(*) AS n FROM clicks WHERE clicked_at > now() - INTERVAL '1 hour' GROUP BY page;
-- What never leaves is not kept once it is in.
CREATE MATERIALIZED VIEW past AS SELECT page, clicked_at FROM clicks WHERE clicked_at <= now();
CREATE SINK past_out FROM past WITH (connector = 'kafka', topic = 'past') FORMAT PLAIN ENCODE JSON;
-- Recomputed from the table.
CREATE MATERIALIZED VIEW valid AS
  SELECT id, user_id FROM deals WHERE now() BETWEEN starts_at AND ends_at AND user_id <> '';
-- The condition goes below the join, and its clock stays that of both sides.
CREATE MATERIALIZED VIEW used AS
  SELECT c.page, d.id FROM clicks AS c JOIN deals AS d ON c.user_id = d.user_id AND d.starts_at < now()
  WHERE c.clicked_at >= now() - INTERVAL '10 minutes';
-- Of the sides only one has a clock.
CREATE MATERIALIZED VIEW countries AS
  SELECT u.country, count(*) AS n FROM clicks AS c JOIN users AS u ON c.user_id = u.user_id
  WHERE c.clicked_at > now() - INTERVAL '1 day' GROUP BY u.country;
