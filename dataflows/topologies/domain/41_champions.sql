-- Champions: results by patch, rank and role, pick and ban rates, and who wins with and against whom.

-- Everyone's part in completed matches with the rank they had then, or none.
CREATE VIEW ranked_plays AS
  SELECT p.*, coalesce(r.tier, 'UNRANKED') AS tier
  FROM plays AS p
    LEFT JOIN rank_periods AS r ON p.game = r.game
      AND p.player_id = r.player_id
      AND r.is_main
      AND p.ended_at >= r.valid_from
      AND (r.valid_to IS NULL OR p.ended_at < r.valid_to);

-- Of those the ones of known players.
CREATE VIEW ranked_performances AS
  SELECT *
  FROM ranked_plays
  WHERE player_id IS NOT NULL;

-- Results of each champion, all time.
CREATE MATERIALIZED VIEW champion_performance AS
  SELECT
    game,
    champion_id,
    max(champion) AS champion,
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
  FROM plays
  WHERE champion_id IS NOT NULL
  GROUP BY game, champion_id;

-- Win rate by patch, rank and role.
CREATE MATERIALIZED VIEW champion_win_rates AS
  SELECT
    game,
    patch,
    tier,
    coalesce(role, 'ANY') AS role,
    champion_id,
    max(champion) AS champion,
    count(*) AS games,
    sum(won) AS wins,
    avg(won) AS win_rate
  FROM ranked_plays
  WHERE champion_id IS NOT NULL
  GROUP BY game, patch, tier, coalesce(role, 'ANY'), champion_id;

-- Of how many matches of a patch and queue a champion was part, and from how many it was banned. A
-- match counts once, however many players had or banned the champion.
CREATE VIEW champion_matches AS
  SELECT p.game, p.patch, p.queue, p.champion_id, p.match_id, 1 AS picked, 0 AS banned
  FROM plays AS p
  WHERE p.champion_id IS NOT NULL
  UNION ALL
  SELECT m.game, m.patch, m.queue, b.champion_id, m.match_id, 0, 1
  FROM bans AS b JOIN matches AS m ON b.game = m.game AND b.match_id = m.match_id
  WHERE m.status = 'completed';

CREATE VIEW patch_matches AS
  SELECT game, patch, queue, count(*) AS matches
  FROM matches
  WHERE status = 'completed'
  GROUP BY game, patch, queue;

CREATE MATERIALIZED VIEW champion_rates AS
  SELECT
    c.game,
    c.patch,
    c.queue,
    c.champion_id,
    c.picked,
    c.banned,
    m.matches,
    CAST(c.picked AS DOUBLE) / m.matches AS pick_rate,
    CAST(c.banned AS DOUBLE) / m.matches AS ban_rate
  FROM (
    SELECT
      game,
      patch,
      queue,
      champion_id,
      count(DISTINCT match_id) FILTER (WHERE picked = 1) AS picked,
      count(DISTINCT match_id) FILTER (WHERE banned = 1) AS banned
    FROM champion_matches
    GROUP BY game, patch, queue, champion_id
  ) AS c
    JOIN patch_matches AS m ON c.game = m.game AND c.patch = m.patch AND c.queue = m.queue;

-- Two players in one team: how often, and how often they won.
CREATE MATERIALIZED VIEW duos AS
  SELECT
    a.game,
    a.player_id AS player_a,
    b.player_id AS player_b,
    count(*) AS games,
    sum(a.won) AS wins,
    avg(a.won) AS win_rate,
    max(a.ended_at) AS last_played
  FROM performances AS a
    JOIN performances AS b ON a.game = b.game
      AND a.match_id = b.match_id
      AND a.team_id = b.team_id
      AND a.player_id < b.player_id
  GROUP BY a.game, a.player_id, b.player_id;

-- A champion with another in its team, and against another in the same role of the other team.
CREATE MATERIALIZED VIEW champion_duos AS
  SELECT
    a.game,
    a.champion_id,
    b.champion_id AS with_champion_id,
    count(*) AS games,
    sum(a.won) AS wins,
    avg(a.won) AS win_rate
  FROM plays AS a
    JOIN plays AS b ON a.game = b.game
      AND a.match_id = b.match_id
      AND a.team_id = b.team_id
      AND a.slot <> b.slot
  WHERE a.champion_id IS NOT NULL
  GROUP BY a.game, a.champion_id, b.champion_id;

CREATE MATERIALIZED VIEW match_ups AS
  SELECT
    a.game,
    a.role,
    a.champion_id,
    b.champion_id AS against_champion_id,
    count(*) AS games,
    sum(a.won) AS wins,
    avg(a.won) AS win_rate
  FROM plays AS a JOIN plays AS b ON a.game = b.game AND a.match_id = b.match_id AND a.role = b.role
  WHERE a.team_id <> b.team_id AND a.champion_id IS NOT NULL
  GROUP BY a.game, a.role, a.champion_id, b.champion_id;
