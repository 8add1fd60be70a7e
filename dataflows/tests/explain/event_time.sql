CREATE SOURCE clicks (
  user_id VARCHAR, page VARCHAR, clicked_at TIMESTAMPTZ, WATERMARK FOR clicked_at AS clicked_at - INTERVAL '1 minute'
) WITH (connector = 'kafka', topic = 'clicks') FORMAT PLAIN ENCODE JSON;
CREATE SOURCE views (
  user_id VARCHAR, page VARCHAR, viewed_at TIMESTAMPTZ, WATERMARK FOR viewed_at AS viewed_at - INTERVAL '5 seconds'
) WITH (connector = 'kafka', topic = 'views') FORMAT PLAIN ENCODE JSON;
CREATE TABLE orders (
  id VARCHAR, user_id VARCHAR, amount BIGINT, ordered_at TIMESTAMPTZ, PRIMARY KEY (id),
  WATERMARK FOR ordered_at AS ordered_at
) WITH (connector = 'kafka', topic = 'orders', retention = '30 days') FORMAT PLAIN ENCODE JSON;
CREATE TABLE users (user_id VARCHAR, country VARCHAR, since TIMESTAMPTZ, PRIMARY KEY (user_id))
WITH (connector = 'kafka', topic = 'users') FORMAT PLAIN ENCODE JSON;

CREATE MATERIALIZED VIEW hourly AS
  SELECT window_start, page, count(*) AS n FROM TUMBLE(clicks, clicked_at, INTERVAL '1 hour')
  GROUP BY window_start, window_end, page EMIT ON WINDOW CLOSE;
CREATE SINK hourly_out FROM hourly WITH (connector = 'kafka', topic = 'hourly') FORMAT PLAIN ENCODE JSON;

CREATE MATERIALIZED VIEW sliding AS
  SELECT window_start, count(*) AS n, max(page) AS last
  FROM HOP(clicks, clicked_at, INTERVAL '10 minutes', INTERVAL '1 hour') GROUP BY window_start;

CREATE MATERIALIZED VIEW by_day AS
  SELECT date_trunc('day', ordered_at) AS day, sum(amount) AS amount FROM orders GROUP BY 1;

CREATE MATERIALIZED VIEW seen_first AS
  SELECT c.user_id, c.page, v.viewed_at FROM clicks AS c JOIN views AS v
  ON c.user_id = v.user_id AND c.page = v.page
  AND v.viewed_at BETWEEN c.clicked_at - INTERVAL '10 minutes' AND c.clicked_at;

CREATE MATERIALIZED VIEW both AS
  SELECT c.window_end, c.n AS clicks, v.n AS views
  FROM (SELECT window_end, count(*) AS n FROM TUMBLE(clicks, clicked_at, INTERVAL '1 minute') GROUP BY window_end) AS c
  FULL JOIN (SELECT window_end, count(*) AS n FROM TUMBLE(views, viewed_at, INTERVAL '1 minute') GROUP BY window_end) AS v
  ON c.window_end = v.window_end;

CREATE MATERIALIZED VIEW order_page AS
  SELECT o.id, c.page FROM orders AS o LEFT ASOF JOIN clicks AS c
  MATCH_CONDITION (o.ordered_at >= c.clicked_at) ON o.user_id = c.user_id;

CREATE MATERIALIZED VIEW countries AS
  SELECT u.country, count(*) AS n
  FROM clicks AS c JOIN users FOR SYSTEM_TIME AS OF PROCTIME() AS u ON c.user_id = u.user_id GROUP BY u.country;
