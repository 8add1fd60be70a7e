-- Match analytics: finished League of Legends matches in, hourly champion performance and
-- all-time player performance out.
--
-- A record of `match.completed` is an envelope around the body of Riot's match-v5. Matches are
-- fetched more than once and corrected later: the greatest `fetched_at` of a match wins, whatever
-- order its records come in. Field names match columns without regard to case.
--
-- Herald's source has the same over Avro: match_analytics_avro.sql differs in FORMAT clauses only.

CREATE TABLE matches (
  event_id VARCHAR,
  fetched_at TIMESTAMPTZ NOT NULL,
  "match" STRUCT<
    metadata STRUCT<matchId VARCHAR>,
    info STRUCT<
      platformId VARCHAR,
      gameMode VARCHAR,
      gameCreation BIGINT,
      gameStartTimestamp BIGINT,
      gameEndTimestamp BIGINT,
      gameDuration BIGINT,
      participants STRUCT<
        puuid VARCHAR,
        championId INT,
        kills INT,
        deaths INT,
        assists INT,
        win BOOLEAN
      >[]
    >
  >,
  match_id VARCHAR NOT NULL AS ("match"['metadata']['matchid']),
  platform VARCHAR NOT NULL AS ("match"['info']['platformid']),
  -- Matches from before patch 11.20 have no gameEndTimestamp, and their gameDuration counts milliseconds.
  ended_at TIMESTAMPTZ NOT NULL AS (
    to_timestamp_millis(
      CASE
        WHEN "match"['info']['gameendtimestamp'] IS NULL
          THEN "match"['info']['gamestarttimestamp'] + "match"['info']['gameduration']
        ELSE "match"['info']['gameendtimestamp']
      END
    )
  ),
  duration_s BIGINT AS (
    CASE
      WHEN "match"['info']['gameendtimestamp'] IS NULL THEN "match"['info']['gameduration'] / 1000
      ELSE "match"['info']['gameduration']
    END
  ),
  PRIMARY KEY (match_id),
  CONSTRAINT sane_duration CHECK (duration_s BETWEEN 0 AND 14400),
  WATERMARK FOR ended_at AS ended_at - INTERVAL '1 hour'
) ON CONFLICT OVERWRITE WITH VERSION COLUMN (fetched_at)
WITH (
  connector = 'kafka',
  topic = 'match.completed',
  properties.bootstrap.server = '${KAFKA_BOOTSTRAP:-127.0.0.1:9092}',
  dead_letter.topic = 'herald.dead_letter'
)
FORMAT PLAIN ENCODE JSON;

CREATE TABLE champions (
  champion_id INT NOT NULL,
  name VARCHAR NOT NULL,
  PRIMARY KEY (champion_id)
) ON CONFLICT OVERWRITE
WITH (
  connector = 'kafka',
  topic = 'champion',
  properties.bootstrap.server = '${KAFKA_BOOTSTRAP:-127.0.0.1:9092}',
  dead_letter.topic = 'herald.dead_letter'
)
FORMAT PLAIN ENCODE JSON;

CREATE VIEW match_players AS
  SELECT match_id, platform, ended_at, "match"['info']['participants'] AS players
  FROM matches;

-- One row a player and match. Bots all share one puuid and are nobody's performance.
CREATE VIEW participants AS
  SELECT
    m.match_id,
    m.platform,
    m.ended_at,
    p.puuid,
    p.championId AS champion_id,
    p.kills,
    p.deaths,
    p.assists,
    p.win
  FROM match_players AS m, UNNEST(m.players) AS p
  WHERE p.puuid <> 'BOT';

CREATE VIEW champion_hours AS
  SELECT
    window_start,
    window_end,
    platform,
    champion_id,
    count(*) AS games,
    sum(CASE WHEN win THEN 1 ELSE 0 END) AS wins,
    avg(CASE WHEN win THEN 1.0 ELSE 0.0 END) AS win_rate,
    avg(kills) AS avg_kills,
    avg(deaths) AS avg_deaths,
    avg(assists) AS avg_assists
  FROM TUMBLE(participants, ended_at, INTERVAL '1 hour')
  GROUP BY window_start, window_end, platform, champion_id;

CREATE MATERIALIZED VIEW champion_hourly AS
  SELECT
    h.window_start,
    h.window_end,
    h.platform,
    h.champion_id,
    c.name AS champion_name,
    h.games,
    h.wins,
    h.win_rate,
    h.avg_kills,
    h.avg_deaths,
    h.avg_assists
  FROM champion_hours AS h LEFT JOIN champions AS c ON h.champion_id = c.champion_id;

CREATE MATERIALIZED VIEW player_alltime AS
  SELECT
    puuid,
    count(*) AS games,
    sum(CASE WHEN win THEN 1 ELSE 0 END) AS wins,
    sum(kills) AS kills,
    sum(deaths) AS deaths,
    sum(assists) AS assists,
    max(kills) AS max_kills,
    max(ended_at) AS last_seen
  FROM participants
  GROUP BY puuid;

CREATE SINK champion_hourly_out FROM champion_hourly
WITH (
  connector = 'kafka',
  topic = 'analytics.computed.champion_hourly',
  properties.bootstrap.server = '${KAFKA_BOOTSTRAP:-127.0.0.1:9092}',
  topic.partitions = '4',
  primary_key = 'window_start,platform,champion_id'
)
FORMAT UPSERT ENCODE JSON;

CREATE SINK player_alltime_out FROM player_alltime
WITH (
  connector = 'kafka',
  topic = 'analytics.computed.player_alltime',
  properties.bootstrap.server = '${KAFKA_BOOTSTRAP:-127.0.0.1:9092}',
  topic.partitions = '4',
  primary_key = 'puuid'
)
FORMAT UPSERT ENCODE JSON;
