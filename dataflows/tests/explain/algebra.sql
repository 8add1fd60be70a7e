-- Joins of every kind, subqueries, set operations and DISTINCT aggregates.
CREATE TABLE games (
  id VARCHAR NOT NULL, player VARCHAR, champion INT, points BIGINT, PRIMARY KEY (id)
) WITH (connector = 'kafka', topic = 'games') FORMAT PLAIN ENCODE JSON;
CREATE TABLE players (player VARCHAR NOT NULL, region VARCHAR, PRIMARY KEY (player))
WITH (connector = 'kafka', topic = 'players') FORMAT PLAIN ENCODE JSON;
CREATE SOURCE shots (player VARCHAR, power BIGINT)
WITH (connector = 'file', path = 'shots.jsonl') FORMAT PLAIN ENCODE JSON;

CREATE MATERIALIZED VIEW full_join AS
  SELECT g.id, p.player, p.region FROM games AS g FULL JOIN players AS p ON g.player = p.player AND g.points > 3;
CREATE MATERIALIZED VIEW cross_join AS SELECT g.id, p.player FROM games AS g, players AS p;
CREATE MATERIALIZED VIEW by_condition AS
  SELECT s.player, g.id FROM shots AS s LEFT JOIN games AS g ON s.power > g.points;
CREATE MATERIALIZED VIEW known AS SELECT id FROM games WHERE player IN (SELECT player FROM players);
CREATE MATERIALIZED VIEW unknown AS SELECT id FROM games WHERE player NOT IN (SELECT player FROM shots);
CREATE MATERIALIZED VIEW unshot AS
  SELECT p.player FROM players AS p WHERE NOT EXISTS (SELECT 1 FROM shots AS s WHERE s.player = p.player AND s.power > 9);
CREATE MATERIALIZED VIEW shot AS
  SELECT player, power FROM shots AS s WHERE EXISTS (SELECT 1 FROM shots AS o WHERE o.player = s.player AND o.power < s.power);
CREATE MATERIALIZED VIEW either AS
  SELECT id FROM games AS g WHERE g.points > 9 OR EXISTS (SELECT 1 FROM players AS p WHERE p.player = g.player);
CREATE MATERIALIZED VIEW above AS SELECT id, points FROM games WHERE points > (SELECT avg(points) FROM games);
CREATE MATERIALIZED VIEW beside AS
  SELECT p.player, (SELECT count(*) FROM games AS g WHERE g.player = p.player) AS games FROM players AS p;
CREATE MATERIALIZED VIEW both AS SELECT player FROM games INTERSECT SELECT player FROM shots;
CREATE MATERIALIZED VIEW rest AS SELECT player FROM games EXCEPT SELECT player FROM players;
CREATE MATERIALIZED VIEW champions AS SELECT player, count(DISTINCT champion) AS champions FROM games GROUP BY player;
CREATE MATERIALIZED VIEW mixed AS
  SELECT player, count(*) AS n, count(DISTINCT champion) AS champions, sum(DISTINCT points) FILTER (WHERE champion > 3) AS points
  FROM games GROUP BY player;
CREATE SINK full_join_out FROM full_join WITH (connector = 'kafka', topic = 'full', primary_key = 'id,player') FORMAT DEBEZIUM ENCODE JSON;
