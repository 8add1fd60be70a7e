-- Performance of players, champions, maps and modes, over the match model and 11_people.sql.
--
-- Formulas:
-- - kda of a match is (kills + assists) / deaths in League of Legends, as its match history shows it,
--   and (kills + assists / 3) / deaths in Halo Infinite, as its service record counts assists; with
--   no deaths it is divided by 1. Over several matches it is the ratio of the sums.
-- - cs_per_min, gold_per_min: minions and monsters killed, and gold earned, by minutes played; over
--   several matches the ratio of the sums.
-- - damage_share: the player's part of the damage of the team (of the match where there are no teams);
--   over several matches the mean.
-- - vision_score: Riot's own, the mean. accuracy: shots that hit by shots fired, the ratio of sums.
-- - Completed matches count, remakes and aborted ones do not; a tie or an unfinished match is not won.

-- Everyone's part in completed matches, bots and players without an id included, without those who
-- withdrew their consent.
CREATE VIEW plays AS
  SELECT
    p.*,
    CASE WHEN p.outcome = 'win' THEN 1 ELSE 0 END AS won,
    p.damage / nullif(p.team_damage, 0) AS damage_share,
    (p.kills + p.assists * p.assist_weight) / greatest(p.deaths, 1) AS kda
  FROM participants AS p
  WHERE p.status = 'completed'
    AND NOT EXISTS (
      SELECT 1
      FROM withdrawn AS w
      WHERE w.game = p.game AND w.player_id = p.player_id
    );

-- Of those the ones of known players.
CREATE VIEW performances AS
  SELECT *
  FROM plays
  WHERE player_id IS NOT NULL;

-- One row a player and match.
CREATE MATERIALIZED VIEW player_performance AS
  SELECT DISTINCT ON (game, match_id, player_id)
    game,
    match_id,
    player_id,
    ended_at,
    queue,
    mode,
    map,
    patch,
    region,
    champion_id,
    champion,
    role,
    outcome,
    placement,
    kills,
    deaths,
    assists,
    kda,
    60.0 * cs / nullif(played_s, 0) AS cs_per_min,
    60.0 * gold / nullif(played_s, 0) AS gold_per_min,
    damage,
    damage_share,
    vision AS vision_score,
    CAST(shots_hit AS DOUBLE) / nullif(shots_fired, 0) AS accuracy,
    best_spree,
    score,
    played_s,
    left_early
  FROM performances
  ORDER BY game, match_id, player_id, slot;

-- Each performance once for every dimension it has a value in.
CREATE VIEW performances_by AS
  SELECT p.*, d.dimension, d.value
  FROM performances AS p,
    UNNEST(
      ARRAY[
        {'dimension': 'player', 'value': p.player_id},
        {'dimension': 'champion', 'value': p.champion},
        {'dimension': 'queue', 'value': p.queue},
        {'dimension': 'region', 'value': p.region},
        {'dimension': 'role', 'value': p.role}
      ]
    ) AS d
  WHERE d.value IS NOT NULL;

CREATE MATERIALIZED VIEW performance_hourly AS
  SELECT
    window_start,
    window_end,
    game,
    dimension,
    value,
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
  FROM TUMBLE(performances_by, ended_at, INTERVAL '1 hour')
  GROUP BY window_start, window_end, game, dimension, value;

CREATE MATERIALIZED VIEW performance_daily AS
  SELECT
    window_start,
    window_end,
    game,
    dimension,
    value,
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
  FROM TUMBLE(performances_by, ended_at, INTERVAL '1 day')
  GROUP BY window_start, window_end, game, dimension, value;

CREATE MATERIALIZED VIEW performance_alltime AS
  SELECT
    game,
    dimension,
    value,
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
    sum(played_s) AS played_s,
    max(ended_at) AS last_seen
  FROM performances_by
  GROUP BY game, dimension, value;
