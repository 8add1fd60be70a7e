-- Matches by columns that are written out: `shard` is there before version 2 writes it.

CREATE TABLE matches (
  event_id VARCHAR,
  fetched_at TIMESTAMPTZ NOT NULL,
  source VARCHAR,
  shard VARCHAR, -- from version 2 on
  "match" STRUCT<
    metadata STRUCT<matchId VARCHAR>,
    info STRUCT<
      queueId BIGINT,
      gameDuration DURATION_TYPE,
      participants STRUCT<puuid VARCHAR, kills INT, goldEarned BIGINT>[]
    >
  >,
  match_id VARCHAR NOT NULL AS ("match"['metadata']['matchid']),
  duration_s BIGINT AS (DURATION_S),
  PRIMARY KEY (match_id),
  CONSTRAINT sane_duration CHECK (duration_s BETWEEN 0 AND 14400)
) ON CONFLICT OVERWRITE WITH VERSION COLUMN (fetched_at)
WITH (
  connector = 'kafka',
  topic = 'TOPIC',
  scan.startup.mode = '${FROM:-earliest}',
  properties.bootstrap.server = '${KAFKA_BOOTSTRAP}',
  dead_letter.topic = '${DEAD:-evolution.dead}'
)
FORMAT PLAIN ENCODE AVRO (schema.registry = '${REGISTRY}');

CREATE MATERIALIZED VIEW held AS
  SELECT match_id, source, shard, "match"['info']['queueid'] AS queue, duration_s
  FROM matches;

CREATE MATERIALIZED VIEW players AS
  SELECT p.puuid, count(*) AS games, sum(p.kills) AS kills, sum(p.goldEarned) AS gold
  FROM (SELECT "match"['info']['participants'] AS players FROM matches) AS m, UNNEST(m.players) AS p
  GROUP BY p.puuid;
