-- Analytics by user and by the hour, and one person's play over all games.

-- Hourly results by player, champion, queue, region, rank and mode.
CREATE MATERIALIZED VIEW gaming_analytics AS
  SELECT
    window_start,
    window_end,
    game,
    player_id,
    champion_id,
    queue,
    region,
    tier,
    mode,
    count(*) AS games,
    avg(won) AS win_rate,
    avg(kda) AS kda_avg,
    60.0 * sum(cs) / nullif(sum(played_s), 0) AS cs_per_min,
    avg(damage_share) AS damage_share,
    avg(vision) AS vision_score
  FROM TUMBLE(ranked_performances, ended_at, INTERVAL '1 hour')
  GROUP BY window_start, window_end, game, player_id, champion_id, queue, region, tier, mode;

-- Plays of the users of the platform, over all their accounts.
CREATE VIEW user_plays AS
  SELECT a.user_id, p.*
  FROM performances AS p JOIN accounts AS a ON p.game = a.game AND p.player_id = a.player_id;

-- A user's results by day, week (from Monday) and month, in each game.
CREATE MATERIALIZED VIEW user_analytics AS
  SELECT
    user_id,
    d.period,
    d.period_start,
    game,
    count(*) AS games,
    sum(won) AS wins,
    avg(won) AS win_rate,
    sum(kills) AS kills,
    sum(deaths) AS deaths,
    sum(assists) AS assists,
    (sum(kills) + sum(assists * assist_weight)) / greatest(sum(deaths), 1) AS kda,
    60.0 * sum(cs) / nullif(sum(played_s), 0) AS cs_per_min,
    60.0 * sum(gold) / nullif(sum(played_s), 0) AS gold_per_min,
    avg(damage_share) AS damage_share,
    avg(vision) AS vision_score,
    CAST(sum(shots_hit) AS DOUBLE) / nullif(sum(shots_fired), 0) AS accuracy,
    sum(played_s) AS played_s
  FROM (
    SELECT p.*, x.period, x.period_start
    FROM user_plays AS p,
      UNNEST(
        ARRAY[
          {'period': 'day', 'period_start': date_trunc('day', p.ended_at)},
          {'period': 'week', 'period_start': date_trunc('week', p.ended_at)},
          {'period': 'month', 'period_start': date_trunc('month', p.ended_at)}
        ]
      ) AS x
  ) AS d
  GROUP BY user_id, d.period, d.period_start, game;

-- One person's play over all games.
CREATE MATERIALIZED VIEW user_across_games AS
  SELECT
    user_id,
    count(DISTINCT game) AS games_played,
    count(*) AS matches,
    sum(won) AS wins,
    sum(played_s) / 3600.0 AS hours,
    min(ended_at) AS first_seen,
    max(ended_at) AS last_seen,
    array_agg(DISTINCT game ORDER BY game) AS games
  FROM user_plays
  GROUP BY user_id;
