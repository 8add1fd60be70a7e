-- The match job over flat records: one player's game each. The first record of a match id wins, games that
-- cannot be are left out, and the answers are champions by the hour, with their names, and players of all time.

CREATE TABLE matches (
  match_id VARCHAR NOT NULL,
  player VARCHAR NOT NULL,
  champion_id INT NOT NULL,
  kills INT NOT NULL,
  deaths INT NOT NULL,
  assists INT NOT NULL,
  win BOOLEAN NOT NULL,
  duration_s INT NOT NULL,
  ended_at BIGINT NOT NULL,
  PRIMARY KEY (match_id),
  CONSTRAINT sane_duration CHECK (duration_s BETWEEN 0 AND 14400)
) ON CONFLICT DO NOTHING
WITH (connector = 'kafka', topic = '${INPUT}', properties.bootstrap.server = '${KAFKA_BOOTSTRAP}')
FORMAT PLAIN ENCODE JSON;

CREATE TABLE champions (
  champion_id INT NOT NULL,
  name VARCHAR NOT NULL,
  PRIMARY KEY (champion_id)
) ON CONFLICT OVERWRITE
WITH (
  connector = 'kafka',
  topic = '${CHAMPIONS}',
  properties.bootstrap.server = '${KAFKA_BOOTSTRAP}'
)
FORMAT PLAIN ENCODE JSON;

CREATE VIEW champion_hours AS
  SELECT
    ended_at / 3600000 AS hour,
    champion_id,
    count(*) AS games,
    sum(CASE WHEN win THEN 1 ELSE 0 END) AS wins,
    sum(kills) AS kills,
    sum(deaths) AS deaths,
    sum(assists) AS assists
  FROM matches
  GROUP BY ended_at / 3600000, champion_id;

CREATE MATERIALIZED VIEW hours AS
  SELECT
    h.hour,
    h.champion_id,
    c.name AS champion_name,
    h.games,
    h.wins,
    h.kills,
    h.deaths,
    h.assists
  FROM champion_hours AS h JOIN champions AS c ON h.champion_id = c.champion_id;

CREATE MATERIALIZED VIEW players AS
  SELECT
    player,
    count(*) AS games,
    sum(CASE WHEN win THEN 1 ELSE 0 END) AS wins,
    sum(kills) AS kills,
    sum(deaths) AS deaths,
    sum(assists) AS assists,
    max(kills) AS max_kills,
    max(ended_at) AS last_seen
  FROM matches
  GROUP BY player;

CREATE SINK hours_out FROM hours
WITH (
  connector = 'kafka',
  topic = '${HOURS}',
  properties.bootstrap.server = '${KAFKA_BOOTSTRAP}',
  topic.partitions = '4',
  primary_key = 'hour,champion_id'
)
FORMAT UPSERT ENCODE JSON;

CREATE SINK players_out FROM players
WITH (
  connector = 'kafka',
  topic = '${PLAYERS}',
  properties.bootstrap.server = '${KAFKA_BOOTSTRAP}',
  topic.partitions = '4',
  primary_key = 'player'
)
FORMAT UPSERT ENCODE JSON;
