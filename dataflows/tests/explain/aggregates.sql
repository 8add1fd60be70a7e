-- Statistics, folds over the rows of groups, and both beside DISTINCT.
CREATE TABLE games (
  id VARCHAR NOT NULL, player VARCHAR, champion INT, points BIGINT, won BOOLEAN, PRIMARY KEY (id)
) WITH (connector = 'kafka', topic = 'games') FORMAT PLAIN ENCODE JSON;
CREATE SOURCE shots (player VARCHAR, power DOUBLE, at TIMESTAMPTZ)
WITH (connector = 'file', path = 'shots.jsonl') FORMAT PLAIN ENCODE JSON;

CREATE MATERIALIZED VIEW spread AS
  SELECT player, bool_and(won) AS all_won, stddev(points) AS d, corr(points, champion) FILTER (WHERE won) AS r
  FROM games GROUP BY player;
CREATE MATERIALIZED VIEW listed AS
  SELECT player, array_agg(DISTINCT champion) AS champions, string_agg(id, ', ' ORDER BY points DESC, id) AS ids,
    percentile_cont(0.9) WITHIN GROUP (ORDER BY points DESC) AS p, last_value(points ORDER BY id) IGNORE NULLS AS last
  FROM games GROUP BY player;
CREATE MATERIALIZED VIEW power AS SELECT median(power) AS m, first_value(player ORDER BY at) FILTER (WHERE power > 9) AS f FROM shots;
CREATE MATERIALIZED VIEW mixed AS
  SELECT player, count(*) AS n, count(DISTINCT at) AS times, median(power) AS m, approx_distinct(power) AS powers
  FROM shots GROUP BY player;
CREATE VIEW unread AS SELECT player, median(points) AS m, array_agg(id) AS ids FROM games GROUP BY player;
CREATE MATERIALIZED VIEW read AS SELECT player, m FROM unread;
CREATE SINK listed_out FROM listed WITH (connector = 'kafka', topic = 'listed', primary_key = 'player') FORMAT UPSERT ENCODE JSON;
