-- Output topics of the match domain. Each is a table of its view, keyed, with deletions as null values:
-- a reader that keeps the last record of each key has the view.

-- Events about players: one record a player, or a match of a player.
CREATE SINK player_stats AS
  SELECT
    game,
    value AS player_id,
    games,
    wins,
    kills,
    deaths,
    assists,
    kda,
    cs_per_min,
    gold_per_min,
    damage_share,
    vision_score,
    accuracy,
    last_seen
  FROM performance_alltime
  WHERE dimension = 'player'
WITH (
  connector = 'kafka',
  topic = 'player.stats.updated',
  properties.bootstrap.server = '${KAFKA_BOOTSTRAP:-127.0.0.1:9092}',
  topic.partitions = '4',
  primary_key = 'game,player_id'
)
FORMAT UPSERT ENCODE JSON;

CREATE SINK player_performance_out FROM player_performance
WITH (
  connector = 'kafka',
  topic = 'analytics.computed.player_performance',
  properties.bootstrap.server = '${KAFKA_BOOTSTRAP:-127.0.0.1:9092}',
  topic.partitions = '4',
  primary_key = 'game,match_id,player_id'
)
FORMAT UPSERT ENCODE JSON;

CREATE SINK gaming_analytics_out FROM gaming_analytics
WITH (
  connector = 'kafka',
  topic = 'analytics.computed.gaming_analytics',
  properties.bootstrap.server = '${KAFKA_BOOTSTRAP:-127.0.0.1:9092}',
  topic.partitions = '4',
  primary_key = 'window_start,game,player_id,champion_id,queue,region,tier,mode'
)
FORMAT UPSERT ENCODE JSON;

CREATE SINK champion_performance_out FROM champion_performance
WITH (
  connector = 'kafka',
  topic = 'analytics.computed.champion_performance',
  properties.bootstrap.server = '${KAFKA_BOOTSTRAP:-127.0.0.1:9092}',
  topic.partitions = '4',
  primary_key = 'game,champion_id'
)
FORMAT UPSERT ENCODE JSON;

CREATE SINK map_stats_out FROM mv_map_stats
WITH (
  connector = 'kafka',
  topic = 'analytics.computed.map_stats',
  properties.bootstrap.server = '${KAFKA_BOOTSTRAP:-127.0.0.1:9092}',
  topic.partitions = '4',
  primary_key = 'game,map'
)
FORMAT UPSERT ENCODE JSON;

CREATE SINK live_matches_out FROM live_matches
WITH (
  connector = 'kafka',
  topic = 'analytics.computed.live_matches',
  properties.bootstrap.server = '${KAFKA_BOOTSTRAP:-127.0.0.1:9092}',
  topic.partitions = '4',
  primary_key = 'game,match_id'
)
FORMAT UPSERT ENCODE JSON;

CREATE SINK rank_moves_out FROM rank_moves
WITH (
  connector = 'kafka',
  topic = 'analytics.computed.rank_moves',
  properties.bootstrap.server = '${KAFKA_BOOTSTRAP:-127.0.0.1:9092}',
  topic.partitions = '4',
  primary_key = 'game,player_id,queue,moved_at'
)
FORMAT UPSERT ENCODE JSON;

CREATE SINK trends_out FROM trends_detected
WITH (
  connector = 'kafka',
  topic = 'trend.detected',
  properties.bootstrap.server = '${KAFKA_BOOTSTRAP:-127.0.0.1:9092}',
  topic.partitions = '4',
  primary_key = 'game,player_id,match_id'
)
FORMAT UPSERT ENCODE JSON;

CREATE SINK predictions_out FROM predictions
WITH (
  connector = 'kafka',
  topic = 'prediction.generated',
  properties.bootstrap.server = '${KAFKA_BOOTSTRAP:-127.0.0.1:9092}',
  topic.partitions = '4',
  primary_key = 'game,player_id,match_id'
)
FORMAT UPSERT ENCODE JSON;

CREATE SINK recommendations_out FROM recommendations
WITH (
  connector = 'kafka',
  topic = 'recommendation.created',
  properties.bootstrap.server = '${KAFKA_BOOTSTRAP:-127.0.0.1:9092}',
  topic.partitions = '4',
  primary_key = 'game,player_id,place'
)
FORMAT UPSERT ENCODE JSON;

-- What users may be told of: notifications.sql reads it, in a topology of its own. A change log, so that what a
-- correction takes back is told from what is new.
CREATE VIEW triggers AS
  SELECT
    md5(concat_ws('|', t.kind, t.game, t.player_id, t.about)) AS trigger_id,
    a.user_id,
    t.kind,
    t.game,
    t.subject,
    t.occurred_at
  FROM (
    SELECT
      'trend' AS kind,
      game,
      player_id,
      match_id AS about,
      CASE direction
        WHEN 'up' THEN 'You are playing better than usual'
        ELSE 'Your form is falling'
      END AS subject,
      ended_at AS occurred_at
    FROM trends_detected
    UNION ALL
    SELECT
      'rank',
      game,
      player_id,
      queue || '@' || CAST(moved_at AS VARCHAR),
      CASE direction WHEN 'promotion' THEN 'Promoted to ' ELSE 'Demoted to ' END || tier,
      moved_at
    FROM rank_moves
  ) AS t
    JOIN accounts AS a ON t.game = a.game AND t.player_id = a.player_id;

CREATE SINK triggers_out AS
  SELECT DISTINCT ON (trigger_id) *
  FROM triggers
  ORDER BY trigger_id, occurred_at, user_id
WITH (
  connector = 'kafka',
  topic = 'notification.trigger',
  properties.bootstrap.server = '${KAFKA_BOOTSTRAP:-127.0.0.1:9092}',
  topic.partitions = '4',
  primary_key = 'trigger_id'
)
FORMAT DEBEZIUM ENCODE JSON;
