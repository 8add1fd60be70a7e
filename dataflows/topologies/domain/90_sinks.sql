-- Output topics of the match domain. Each is a table of its view, keyed, with deletions as null values:
-- a reader that keeps the last record of each key has the view. topics.sql has the topics: both name the same
-- partitions and keys.
--
-- Topics that are named after an event have its fields, by its schema in schemas/avro. event_id is made of the key,
-- so that it is the same in every run; where a row of a key may come to tell something else, of all its columns. The raw
-- records have no ids of their own: correlation and causation are NULL.

-- Events about players: one record a player, or a match of a player.
CREATE SINK player_stats AS
  SELECT
    CAST(
      md5(
        concat_ws(
          '|',
          'stats',
          game,
          value,
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
        )
      ) AS UUID
    ) AS event_id,
    'player.stats.updated' AS event_type,
    CAST(1 AS INT) AS event_version,
    'herald' AS source,
    last_seen AS occurred_at,
    CAST(NULL AS UUID) AS correlation_id,
    CAST(NULL AS UUID) AS causation_id,
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
  topic.partitions = '12',
  primary_key = 'game,player_id'
)
FORMAT UPSERT ENCODE JSON;

CREATE SINK player_performance_out FROM player_performance
WITH (
  connector = 'kafka',
  topic = 'analytics.computed.player_performance',
  properties.bootstrap.server = '${KAFKA_BOOTSTRAP:-127.0.0.1:9092}',
  topic.partitions = '12',
  primary_key = 'game,match_id,player_id'
)
FORMAT UPSERT ENCODE JSON;

CREATE SINK gaming_analytics_out FROM gaming_analytics
WITH (
  connector = 'kafka',
  topic = 'analytics.computed.gaming_analytics',
  properties.bootstrap.server = '${KAFKA_BOOTSTRAP:-127.0.0.1:9092}',
  topic.partitions = '12',
  primary_key = 'window_start,game,player_id,champion_id,queue,region,tier,mode'
)
FORMAT UPSERT ENCODE JSON;

CREATE SINK champion_performance_out FROM champion_performance
WITH (
  connector = 'kafka',
  topic = 'analytics.computed.champion_performance',
  properties.bootstrap.server = '${KAFKA_BOOTSTRAP:-127.0.0.1:9092}',
  topic.partitions = '3',
  primary_key = 'game,champion_id'
)
FORMAT UPSERT ENCODE JSON;

CREATE SINK map_stats_out FROM mv_map_stats
WITH (
  connector = 'kafka',
  topic = 'analytics.computed.map_stats',
  properties.bootstrap.server = '${KAFKA_BOOTSTRAP:-127.0.0.1:9092}',
  topic.partitions = '3',
  primary_key = 'game,map'
)
FORMAT UPSERT ENCODE JSON;

CREATE SINK live_matches_out FROM live_matches
WITH (
  connector = 'kafka',
  topic = 'analytics.computed.live_matches',
  properties.bootstrap.server = '${KAFKA_BOOTSTRAP:-127.0.0.1:9092}',
  topic.partitions = '3',
  primary_key = 'game,match_id'
)
FORMAT UPSERT ENCODE JSON;

-- Rows of the views by player and by user as events, in the form that one reader of all views wants. Figures that are
-- NULL are left out. The id is made of the whole row.
CREATE SINK analytics_computed AS
  SELECT DISTINCT ON (view, window_start, group_key)
    CAST(
      md5(concat_ws('|', view, window_start, group_key, CAST(metrics AS VARCHAR))) AS UUID
    ) AS event_id,
    'analytics.computed' AS event_type,
    CAST(1 AS INT) AS event_version,
    'herald' AS source,
    window_start AS occurred_at,
    CAST(NULL AS UUID) AS correlation_id,
    CAST(NULL AS UUID) AS causation_id,
    view,
    window_start,
    window_end,
    group_key,
    jsonb_strip_nulls(dimensions) AS dimensions,
    jsonb_strip_nulls(metrics) AS metrics
  FROM (
    SELECT
      'gaming_analytics' AS view,
      window_start,
      window_end,
      CAST(
        jsonb_build_array(game, player_id, champion_id, queue, region, tier, mode) AS VARCHAR
      ) AS group_key,
      jsonb_build_object(
        'game',
        game,
        'player_id',
        player_id,
        'champion_id',
        CAST(champion_id AS VARCHAR),
        'queue',
        CAST(queue AS VARCHAR),
        'region',
        region,
        'tier',
        tier,
        'mode',
        mode
      ) AS dimensions,
      jsonb_build_object(
        'games',
        games,
        'win_rate',
        win_rate,
        'kda_avg',
        kda_avg,
        'cs_per_min',
        cs_per_min,
        'damage_share',
        damage_share,
        'vision_score',
        vision_score
      ) AS metrics
    FROM gaming_analytics
    UNION ALL
    SELECT
      'user_analytics',
      period_start,
      CASE period
        WHEN 'day' THEN period_start + INTERVAL '1 day'
        WHEN 'week' THEN period_start + INTERVAL '7 days'
        ELSE period_start + INTERVAL '1 month'
      END,
      CAST(jsonb_build_array(user_id, period, game) AS VARCHAR),
      jsonb_build_object('user_id', user_id, 'period', period, 'game', game),
      jsonb_build_object(
        'games',
        games,
        'wins',
        wins,
        'win_rate',
        win_rate,
        'kills',
        kills,
        'deaths',
        deaths,
        'assists',
        assists,
        'kda',
        kda,
        'cs_per_min',
        cs_per_min,
        'gold_per_min',
        gold_per_min,
        'damage_share',
        damage_share,
        'vision_score',
        vision_score,
        'accuracy',
        accuracy,
        'played_s',
        played_s
      )
    FROM user_analytics
  ) AS v
  ORDER BY view, window_start, group_key, event_id
WITH (
  connector = 'kafka',
  topic = 'analytics.computed',
  properties.bootstrap.server = '${KAFKA_BOOTSTRAP:-127.0.0.1:9092}',
  topic.partitions = '12',
  primary_key = 'view,window_start,group_key'
)
FORMAT UPSERT ENCODE JSON;

CREATE SINK rank_moves_out FROM rank_moves
WITH (
  connector = 'kafka',
  topic = 'analytics.computed.rank_moves',
  properties.bootstrap.server = '${KAFKA_BOOTSTRAP:-127.0.0.1:9092}',
  topic.partitions = '6',
  primary_key = 'game,player_id,queue,moved_at'
)
FORMAT UPSERT ENCODE JSON;

-- The id of a trend is that of its trigger below. Its measure is Herald's score, over the player's last 5 matches.
CREATE SINK trends_out AS
  SELECT
    CAST(md5(concat_ws('|', 'trend', game, player_id, match_id)) AS UUID) AS event_id,
    'trend.detected' AS event_type,
    CAST(1 AS INT) AS event_version,
    'herald' AS source,
    ended_at AS occurred_at,
    CAST(NULL AS UUID) AS correlation_id,
    CAST(NULL AS UUID) AS causation_id,
    game,
    player_id,
    'score' AS metric,
    direction,
    recent,
    baseline,
    change / nullif(baseline, 0) AS change,
    CAST(5 AS BIGINT) AS games,
    match_id
  FROM trends_detected
WITH (
  connector = 'kafka',
  topic = 'trend.detected',
  properties.bootstrap.server = '${KAFKA_BOOTSTRAP:-127.0.0.1:9092}',
  topic.partitions = '6',
  primary_key = 'game,player_id,match_id'
)
FORMAT UPSERT ENCODE JSON;

CREATE SINK predictions_out AS
  SELECT
    CAST(md5(concat_ws('|', 'prediction', game, player_id, match_id)) AS UUID) AS event_id,
    'prediction.generated' AS event_type,
    CAST(1 AS INT) AS event_version,
    'herald' AS source,
    ended_at AS occurred_at,
    CAST(NULL AS UUID) AS correlation_id,
    CAST(NULL AS UUID) AS causation_id,
    game,
    player_id,
    match_id,
    'score' AS metric,
    predicted,
    baseline_last,
    baseline_mean,
    'line-1' AS model,
    -- A player's first match has no prediction, so the number of predictions is that of matches before.
    count(*) OVER (
      PARTITION BY game, player_id
      ORDER BY ended_at, match_id
      ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
    ) AS games,
    actual
  FROM predictions
WITH (
  connector = 'kafka',
  topic = 'prediction.generated',
  properties.bootstrap.server = '${KAFKA_BOOTSTRAP:-127.0.0.1:9092}',
  topic.partitions = '6',
  primary_key = 'game,player_id,match_id'
)
FORMAT UPSERT ENCODE JSON;

-- A suggestion is as old as the last match with its champion.
CREATE SINK recommendations_out AS
  SELECT
    CAST(
      md5(
        concat_ws(
          '|',
          'recommendation',
          r.game,
          r.player_id,
          r.place,
          r.champion_id,
          r.games,
          r.wins
        )
      ) AS UUID
    ) AS event_id,
    'recommendation.created' AS event_type,
    CAST(1 AS INT) AS event_version,
    'herald' AS source,
    c.last_played AS occurred_at,
    CAST(NULL AS UUID) AS correlation_id,
    CAST(NULL AS UUID) AS causation_id,
    r.game,
    r.player_id,
    r.champion_id,
    r.champion,
    r.reason,
    r.score,
    CAST(r.place AS INT) AS place,
    r.games,
    r.wins
  FROM recommendations AS r
    JOIN (
      SELECT game, player_id, champion_id, max(ended_at) AS last_played
      FROM performances
      GROUP BY game, player_id, champion_id
    ) AS c ON r.game = c.game
      AND r.player_id = c.player_id
      AND r.champion_id = c.champion_id
WITH (
  connector = 'kafka',
  topic = 'recommendation.created',
  properties.bootstrap.server = '${KAFKA_BOOTSTRAP:-127.0.0.1:9092}',
  topic.partitions = '6',
  primary_key = 'game,player_id,champion_id'
)
FORMAT UPSERT ENCODE JSON;

CREATE SINK anomalies_out AS
  SELECT DISTINCT ON (event_id) *
  FROM (
    SELECT
      CAST(
        md5(concat_ws('|', 'anomaly', a.rule, a.game, a.match_id, a.player_id, a.slot)) AS UUID
      ) AS event_id,
      'anomaly.detected' AS event_type,
      CAST(1 AS INT) AS event_version,
      'herald' AS source,
      m.ended_at AS occurred_at,
      CAST(NULL AS UUID) AS correlation_id,
      CAST(NULL AS UUID) AS causation_id,
      a.game,
      a.match_id,
      a.player_id,
      a.rule,
      a.value,
      a.bound
    FROM anomalies_detected AS a JOIN matches AS m ON a.game = m.game AND a.match_id = m.match_id
  ) AS e
  ORDER BY event_id, occurred_at, value, bound
WITH (
  connector = 'kafka',
  topic = 'anomaly.detected',
  properties.bootstrap.server = '${KAFKA_BOOTSTRAP:-127.0.0.1:9092}',
  topic.partitions = '6',
  primary_key = 'event_id'
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
  topic.partitions = '1',
  primary_key = 'trigger_id'
)
FORMAT DEBEZIUM ENCODE JSON;
