-- Insights: a score for each performance, trends, anomalies, a prediction of form, recommendations.

-- The performance score, 0 to 100: Herald's own. 40 points for kda (a kda of 3 gives half of them), 30
-- for the part in the team's damage (an equal share gives half), 30 for the win. It depends on the match
-- alone, so a score does not change when others play.
CREATE VIEW performance_scores AS
  SELECT DISTINCT ON (game, player_id, match_id)
    game,
    player_id,
    match_id,
    ended_at,
    40.0 * kda / (kda + 3.0) + 30.0 * damage_share * team_size / (
      1.0 + damage_share * team_size
    ) + 30.0 * won AS score
  FROM performances
  WHERE damage_share IS NOT NULL
  ORDER BY game, player_id, match_id, slot;

-- Each performance among the player's others, in the order of time: `recent` is the mean of the last 5
-- scores, this one included, `baseline` and `spread` mean and standard deviation of the 20 before those.
CREATE VIEW score_history AS
  SELECT
    game,
    player_id,
    match_id,
    ended_at,
    score,
    avg(score) OVER (
      PARTITION BY game, player_id
      ORDER BY ended_at, match_id
      ROWS BETWEEN 4 PRECEDING AND CURRENT ROW
    ) AS recent,
    avg(score) OVER (
      PARTITION BY game, player_id
      ORDER BY ended_at, match_id
      ROWS BETWEEN 24 PRECEDING AND 5 PRECEDING
    ) AS baseline,
    stddev_samp(score) OVER (
      PARTITION BY game, player_id
      ORDER BY ended_at, match_id
      ROWS BETWEEN 24 PRECEDING AND 5 PRECEDING
    ) AS spread,
    count(*) OVER (
      PARTITION BY game, player_id
      ORDER BY ended_at, match_id
      ROWS BETWEEN 24 PRECEDING AND 5 PRECEDING
    ) AS baseline_games
  FROM performance_scores;

-- A trend: over at least 10 earlier matches the recent mean is two standard errors of a mean of five off
-- the baseline.
CREATE VIEW score_trends AS
  SELECT
    *,
    CASE
      WHEN baseline_games < 10 OR spread = 0 THEN 'none'
      WHEN recent > baseline + 2.0 * spread / sqrt(5.0) THEN 'up'
      WHEN recent < baseline - 2.0 * spread / sqrt(5.0) THEN 'down'
      ELSE 'none'
    END AS direction
  FROM score_history;

-- The matches at which a trend began.
CREATE MATERIALIZED VIEW trends_detected AS
  SELECT
    game,
    player_id,
    match_id,
    ended_at,
    direction,
    recent,
    baseline,
    recent - baseline AS change
  FROM (
    SELECT
      *,
      lag(direction) OVER (
        PARTITION BY game, player_id
        ORDER BY ended_at, match_id
      ) AS direction_before
    FROM score_trends
  ) AS t
  WHERE direction <> 'none' AND direction <> coalesce(direction_before, 'none');

-- Values that cannot be, or that lie far from the player's own.
CREATE MATERIALIZED VIEW anomalies_detected AS
  SELECT
    game,
    match_id,
    player_id,
    slot,
    'more hits than shots' AS rule,
    CAST(shots_hit AS DOUBLE) AS value,
    CAST(shots_fired AS DOUBLE) AS bound
  FROM performances
  WHERE shots_hit > shots_fired
  UNION ALL
  SELECT game, match_id, player_id, slot, 'played longer than the match', played_s, duration_s
  FROM performances
  WHERE played_s > duration_s + 60.0
  UNION ALL
  SELECT
    game,
    match_id,
    player_id,
    slot,
    'more than 3 kills a minute',
    CAST(kills AS DOUBLE),
    3.0 * played_s / 60.0
  FROM performances
  WHERE kills > 10 AND kills > 3.0 * played_s / 60.0
  UNION ALL
  SELECT
    game,
    match_id,
    player_id,
    slot,
    'more than 15 cs a minute',
    CAST(cs AS DOUBLE),
    15.0 * played_s / 60.0
  FROM performances
  WHERE cs > 15.0 * played_s / 60.0 AND cs > 50
  UNION ALL
  SELECT
    game,
    match_id,
    player_id,
    NULL,
    'four standard deviations off the own mean',
    score,
    baseline + CASE WHEN score > baseline THEN 4.0 ELSE -4.0 END * spread
  FROM score_history
  WHERE baseline_games >= 10 AND spread > 0 AND abs(score - baseline) > 4.0 * spread;

-- What is known of a player's form before each match: the last score, the mean of all, and the mean of
-- the last 20 drawn towards 50, the middle of the scale, as if there were 5 matches more with it.
CREATE VIEW form_before AS
  SELECT
    game,
    player_id,
    match_id,
    ended_at,
    date_trunc('week', ended_at) AS week,
    score,
    lag(score) OVER (PARTITION BY game, player_id ORDER BY ended_at, match_id) AS last_score,
    avg(score) OVER (
      PARTITION BY game, player_id
      ORDER BY ended_at, match_id
      ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    ) AS mean_score,
    (
      coalesce(
        sum(score) OVER (
          PARTITION BY game, player_id
          ORDER BY ended_at, match_id
          ROWS BETWEEN 20 PRECEDING AND 1 PRECEDING
        ),
        0.0
      ) + 5.0 * 50.0
    ) / (
      count(*) OVER (
        PARTITION BY game, player_id
        ORDER BY ended_at, match_id
        ROWS BETWEEN 20 PRECEDING AND 1 PRECEDING
      ) + 5.0
    ) AS form
  FROM performance_scores;

-- The model: the score that follows is a line over the form, fitted by least squares to the matches of all
-- weeks before. So a week's predictions are held out from what they were fitted to, and do not change
-- within the week.
CREATE MATERIALIZED VIEW form_models AS
  SELECT
    game,
    week,
    n,
    (n * sxy - sx * sy) / nullif(n * sxx - sx * sx, 0) AS slope,
    (sy - (n * sxy - sx * sy) / nullif(n * sxx - sx * sx, 0) * sx) / n AS intercept
  FROM (
    SELECT
      game,
      week,
      sum(n) OVER (
        PARTITION BY game
        ORDER BY week
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
      ) AS n,
      sum(sx) OVER (
        PARTITION BY game
        ORDER BY week
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
      ) AS sx,
      sum(sy) OVER (
        PARTITION BY game
        ORDER BY week
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
      ) AS sy,
      sum(sxx) OVER (
        PARTITION BY game
        ORDER BY week
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
      ) AS sxx,
      sum(sxy) OVER (
        PARTITION BY game
        ORDER BY week
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
      ) AS sxy
    FROM (
      SELECT
        game,
        week,
        CAST(count(*) AS DOUBLE) AS n,
        sum(form) AS sx,
        sum(score) AS sy,
        sum(form * form) AS sxx,
        sum(form * score) AS sxy
      FROM form_before
      WHERE last_score IS NOT NULL
      GROUP BY game, week
    ) AS w
  ) AS m
  WHERE n > 0;

-- The score that was predicted for each match, the two baselines, and what came. Until 100 matches of
-- a game have taught the line, the form itself is the prediction.
CREATE MATERIALIZED VIEW predictions AS
  SELECT
    f.game,
    f.player_id,
    f.match_id,
    f.ended_at,
    coalesce(m.intercept + m.slope * f.form, f.form) AS predicted,
    f.last_score AS baseline_last,
    f.mean_score AS baseline_mean,
    f.score AS actual
  FROM form_before AS f
    LEFT JOIN form_models AS m ON f.game = m.game AND f.week = m.week AND m.n >= 100
  WHERE f.last_score IS NOT NULL;

-- How good the predictions are: mean absolute and root mean square error of the model and the baselines.
CREATE MATERIALIZED VIEW prediction_errors AS
  SELECT
    game,
    count(*) AS matches,
    avg(abs(predicted - actual)) AS model_mae,
    avg(abs(baseline_last - actual)) AS last_mae,
    avg(abs(baseline_mean - actual)) AS mean_mae,
    sqrt(avg((predicted - actual) * (predicted - actual))) AS model_rmse,
    sqrt(avg((baseline_last - actual) * (baseline_last - actual))) AS last_rmse,
    sqrt(avg((baseline_mean - actual) * (baseline_mean - actual))) AS mean_rmse
  FROM predictions
  GROUP BY game;

-- Up to three champions for each player, by own results of at least three matches: the win rate drawn towards one
-- half, as if there were four matches more with it.
CREATE MATERIALIZED VIEW recommendations AS
  SELECT
    game,
    player_id,
    place,
    champion_id,
    champion,
    games,
    wins,
    score,
    'won ' || CAST(wins AS VARCHAR) || ' of ' || CAST(games AS VARCHAR) || ' matches' AS reason
  FROM (
    SELECT
      *,
      row_number() OVER (
        PARTITION BY game, player_id
        ORDER BY score DESC, games DESC, champion_id
      ) AS place
    FROM (
      SELECT
        game,
        player_id,
        champion_id,
        max(champion) AS champion,
        count(*) AS games,
        sum(won) AS wins,
        (sum(won) + 2.0) / (count(*) + 4.0) AS score
      FROM performances
      WHERE champion_id IS NOT NULL
      GROUP BY game, player_id, champion_id
      HAVING count(*) >= 3
    ) AS c
    WHERE score > 0.5
  ) AS r
  WHERE place <= 3;
