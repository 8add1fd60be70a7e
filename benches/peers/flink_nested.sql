-- The match job as Flink SQL, over nested records. Statements end with a semicolon at the end of a line; Flink.java reads
-- the settings first, and runs all INSERTs as one job.

SET 'parallelism.default' = '1';
SET 'execution.checkpointing.interval' = '1 s';
SET 'execution.checkpointing.mode' = 'EXACTLY_ONCE';
SET 'execution.checkpointing.storage' = 'filesystem';
SET 'execution.checkpointing.dir' = 'file://${STATE}/checkpoints';
SET 'state.backend.type' = 'rocksdb';
SET 'state.backend.rocksdb.localdir' = '${STATE}/rocksdb';
SET 'io.tmp.dirs' = '${STATE}/tmp';
SET 'taskmanager.memory.managed.size' = '1g';
SET 'table.optimizer.reuse-optimize-block-with-digest-enabled' = 'true';
SET 'pipeline.object-reuse' = 'true';
SET 'table.exec.mini-batch.enabled' = 'true';
SET 'table.exec.mini-batch.allow-latency' = '500 ms';
SET 'table.exec.mini-batch.size' = '50000';

CREATE TABLE `matches` (
  match_id STRING,
  info ROW<
    ended_at BIGINT,
    duration_s INT,
    participants ARRAY<ROW<player STRING, champion_id INT, kills INT, deaths INT, assists INT, win BOOLEAN>>
  >,
  came AS PROCTIME()
) WITH (
  'connector' = 'kafka',
  'topic' = '${INPUT}',
  'properties.bootstrap.servers' = '${KAFKA_BOOTSTRAP}',
  'properties.group.id' = '${NAME}',
  'scan.startup.mode' = 'earliest-offset',
  'format' = 'json'
);

CREATE TABLE champions (
  champion_id INT,
  name STRING,
  PRIMARY KEY (champion_id) NOT ENFORCED
) WITH (
  'connector' = 'upsert-kafka',
  'topic' = '${CHAMPIONS}',
  'properties.bootstrap.servers' = '${KAFKA_BOOTSTRAP}',
  'key.format' = 'json',
  'value.format' = 'json'
);

CREATE TABLE hours_out (
  `hour` BIGINT,
  champion_id INT,
  champion_name STRING,
  games BIGINT,
  wins BIGINT,
  kills BIGINT,
  deaths BIGINT,
  assists BIGINT,
  PRIMARY KEY (`hour`, champion_id) NOT ENFORCED
) WITH (
  'connector' = 'upsert-kafka',
  'topic' = '${HOURS}',
  'properties.bootstrap.servers' = '${KAFKA_BOOTSTRAP}',
  'properties.transaction.timeout.ms' = '600000',
  'sink.delivery-guarantee' = 'exactly-once',
  'sink.transactional-id-prefix' = '${NAME}-hours',
  'key.format' = 'json',
  'value.format' = 'json'
);

CREATE TABLE players_out (
  player STRING,
  games BIGINT,
  wins BIGINT,
  kills BIGINT,
  deaths BIGINT,
  assists BIGINT,
  max_kills INT,
  last_seen BIGINT,
  PRIMARY KEY (player) NOT ENFORCED
) WITH (
  'connector' = 'upsert-kafka',
  'topic' = '${PLAYERS}',
  'properties.bootstrap.servers' = '${KAFKA_BOOTSTRAP}',
  'properties.transaction.timeout.ms' = '600000',
  'sink.delivery-guarantee' = 'exactly-once',
  'sink.transactional-id-prefix' = '${NAME}-players',
  'key.format' = 'json',
  'value.format' = 'json'
);

-- The planner knows this form as "keep the first row": state is a bit for each match id, and nothing is retracted.
CREATE TEMPORARY VIEW games AS
  SELECT p.player, p.champion_id, p.kills, p.deaths, p.assists, p.win, m.ended_at
  FROM (
    SELECT info.ended_at AS ended_at, info.participants AS participants
    FROM (
      SELECT *, ROW_NUMBER() OVER (PARTITION BY match_id ORDER BY came ASC) AS nth
      FROM `matches`
      WHERE info.duration_s BETWEEN 0 AND 14400
    )
    WHERE nth = 1
  ) AS m
  CROSS JOIN UNNEST(m.participants) AS p (player, champion_id, kills, deaths, assists, win);

CREATE TEMPORARY VIEW champion_hours AS
  SELECT
    ended_at / 3600000 AS `hour`,
    champion_id,
    COUNT(*) AS games,
    SUM(CASE WHEN win THEN CAST(1 AS BIGINT) ELSE CAST(0 AS BIGINT) END) AS wins,
    SUM(CAST(kills AS BIGINT)) AS kills,
    SUM(CAST(deaths AS BIGINT)) AS deaths,
    SUM(CAST(assists AS BIGINT)) AS assists
  FROM games
  GROUP BY ended_at / 3600000, champion_id;

INSERT INTO hours_out
  SELECT h.`hour`, h.champion_id, c.name, h.games, h.wins, h.kills, h.deaths, h.assists
  FROM champion_hours AS h JOIN champions AS c ON h.champion_id = c.champion_id;

INSERT INTO players_out
  SELECT
    player,
    COUNT(*) AS games,
    SUM(CASE WHEN win THEN CAST(1 AS BIGINT) ELSE CAST(0 AS BIGINT) END) AS wins,
    SUM(CAST(kills AS BIGINT)) AS kills,
    SUM(CAST(deaths AS BIGINT)) AS deaths,
    SUM(CAST(assists AS BIGINT)) AS assists,
    MAX(kills) AS max_kills,
    MAX(ended_at) AS last_seen
  FROM games
  GROUP BY player;
