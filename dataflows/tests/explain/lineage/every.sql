-- Every operator, over tables and sources with every rule.
CREATE TABLE games (
  id VARCHAR,
  player VARCHAR NOT NULL,
  champion INT,
  points BIGINT,
  tags VARCHAR[],
  moves STRUCT<kind VARCHAR, at INT, place STRUCT<x INT, y INT>>[],
  rating STRUCT<before INT, after INT>,
  revision BIGINT,
  ended_at TIMESTAMPTZ,
  note VARCHAR,
  gained INT AS (rating['after'] - rating['before']),
  PRIMARY KEY (id),
  CONSTRAINT sane_points CHECK (points BETWEEN 0 AND 1000),
  WATERMARK FOR ended_at AS ended_at - INTERVAL '1 minute'
) ON CONFLICT OVERWRITE WITH VERSION COLUMN (revision)
WITH (connector = 'kafka', topic = 'games', retention = '30 days') FORMAT PLAIN ENCODE JSON;
CREATE TABLE players (player VARCHAR, region VARCHAR, rival VARCHAR, PRIMARY KEY (player)) ON CONFLICT OVERWRITE
WITH (connector = 'kafka', topic = 'players') FORMAT PLAIN ENCODE JSON;
CREATE SOURCE shots (player VARCHAR, power BIGINT, shot_at TIMESTAMPTZ, WATERMARK FOR shot_at AS shot_at)
INCLUDE offset AS place
WITH (connector = 'kafka', topic = 'shots') FORMAT PLAIN ENCODE JSON;

CREATE VIEW played AS SELECT id, player, points AS score, ended_at FROM games WHERE points > 0;

-- Copies, computed columns and constants; a row on which a division fails is left out.
CREATE MATERIALIZED VIEW rows AS
  SELECT id, rating['after'] AS rating, gained, tags[1] AS tag, score + 1 AS more, 'EU' AS zone, 100 / champion AS part
  FROM (SELECT g.*, p.score FROM games AS g JOIN played AS p ON g.id = p.id) AS q;
CREATE MATERIALIZED VIEW moves AS
  SELECT g.id, m.kind, m.place['x'] + 1 AS x FROM games AS g, UNNEST(g.moves) AS m WHERE m.kind <> 'wait';
CREATE MATERIALIZED VIEW big_tags AS SELECT id, filter(tags, t -> length(t) > 1) AS tags FROM games;
-- Aggregates: kept in accumulators, over rows, with filters and in an order.
CREATE MATERIALIZED VIEW totals AS
  SELECT player, count(*) AS games, sum(score) AS score, max(ended_at) AS last,
         count(*) FILTER (WHERE score > 50) AS good, avg(score) AS mean
  FROM played GROUP BY player HAVING count(*) < 100;
CREATE MATERIALIZED VIEW lists AS
  SELECT player, string_agg(id, ',' ORDER BY revision DESC) AS ids, count(DISTINCT champion) AS champions
  FROM games GROUP BY player;
-- Joins of every kind. A LEFT JOIN by the right's key decides nothing about the left's columns.
CREATE MATERIALIZED VIEW named AS
  SELECT t.player, t.games, p.region FROM totals AS t LEFT JOIN players AS p ON t.player = p.player;
CREATE MATERIALIZED VIEW left_join AS
  SELECT p.player, s.power FROM players AS p LEFT JOIN shots AS s ON p.player = s.player AND s.power > 3;
CREATE MATERIALIZED VIEW full_join AS
  SELECT g.id, p.region FROM games AS g FULL JOIN players AS p ON g.player = p.player;
CREATE MATERIALIZED VIEW known AS SELECT id FROM games WHERE player IN (SELECT player FROM players WHERE region = 'EU');
CREATE MATERIALIZED VIEW unknown AS
  SELECT g.id FROM games AS g WHERE NOT EXISTS (SELECT 1 FROM shots AS s WHERE s.player = g.player);
CREATE MATERIALIZED VIEW above AS SELECT id, points FROM games WHERE points > (SELECT avg(points) FROM games);
CREATE MATERIALIZED VIEW nearest AS
  SELECT g.id, s.power FROM games AS g LEFT ASOF JOIN shots AS s
  MATCH_CONDITION (g.ended_at >= s.shot_at) ON g.player = s.player;
CREATE MATERIALIZED VIEW regions AS
  SELECT s.place, u.region FROM shots AS s JOIN players FOR SYSTEM_TIME AS OF PROCTIME() AS u ON s.player = u.player;
-- Windows, ranks and limits.
CREATE MATERIALIZED VIEW hourly AS
  SELECT window_start, player, count(*) AS shots FROM TUMBLE(shots, shot_at, INTERVAL '1 hour')
  GROUP BY window_start, window_end, player EMIT ON WINDOW CLOSE;
CREATE MATERIALIZED VIEW top AS SELECT id, points FROM games ORDER BY points DESC LIMIT 2;
CREATE MATERIALIZED VIEW best AS
  SELECT player, id, points FROM (
    SELECT player, id, points, row_number() OVER (PARTITION BY player ORDER BY points DESC) AS n FROM games) AS q
  WHERE n = 1;
CREATE MATERIALIZED VIEW running AS
  SELECT player, place, sum(power) OVER (PARTITION BY player ORDER BY shot_at) AS total,
         lag(power) OVER (PARTITION BY player ORDER BY shot_at) AS before
  FROM shots;
CREATE MATERIALIZED VIEW recent AS SELECT place, player FROM shots WHERE shot_at > now() - INTERVAL '1 hour';
-- Sets and recursion.
CREATE MATERIALIZED VIEW seen AS SELECT player, power FROM shots UNION ALL SELECT player, points * 2 FROM games;
CREATE MATERIALIZED VIEW everyone AS SELECT player FROM shots UNION SELECT rival FROM players;
CREATE MATERIALIZED VIEW zones AS
  SELECT p.player, z.zone FROM players AS p JOIN (VALUES ('EU', 1), ('NA', 2)) AS z (region, zone) ON p.region = z.region;
CREATE MATERIALIZED VIEW chains AS WITH RECURSIVE r (player, rival, depth) AS (
  SELECT player, rival, 0 FROM players
  UNION ALL
  SELECT r.player, p.rival, r.depth + 1 FROM r JOIN players AS p ON p.player = r.rival WHERE r.depth < 3
) SELECT player, rival, depth FROM r;

CREATE INDEX totals_by_score ON totals (score);
CREATE SINK totals_out FROM totals WITH (connector = 'kafka', topic = 'totals', primary_key = 'player') FORMAT UPSERT ENCODE JSON;
CREATE SINK shots_out AS SELECT place, power FROM shots WHERE power > 9
WITH (connector = 'kafka', topic = 'powerful') FORMAT PLAIN ENCODE JSON;
