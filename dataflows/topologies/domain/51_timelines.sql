-- Match timelines joined to their matches, and skill: what was expected against what was done.

-- A player's state at 10 and at 15 minutes: that of the frame nearest to them, which is taken once a minute.
CREATE MATERIALIZED VIEW timeline_marks AS
  SELECT
    f.game,
    f.match_id,
    f.slot,
    p.player_id,
    p.champion_id,
    p.role,
    p.team_id,
    p.outcome,
    max(f.gold) FILTER (WHERE f.minute = 10) AS gold_at_10,
    max(f.experience) FILTER (WHERE f.minute = 10) AS experience_at_10,
    max(f.cs) FILTER (WHERE f.minute = 10) AS cs_at_10,
    max(f.gold) FILTER (WHERE f.minute = 15) AS gold_at_15,
    max(f.experience) FILTER (WHERE f.minute = 15) AS experience_at_15,
    max(f.cs) FILTER (WHERE f.minute = 15) AS cs_at_15
  FROM (SELECT *, round(at_s / 60.0) AS minute FROM timeline_frames) AS f
    JOIN plays AS p ON f.game = p.game AND f.match_id = p.match_id AND f.slot = p.slot
  WHERE f.minute IN (10, 15)
  GROUP BY f.game, f.match_id, f.slot, p.player_id, p.champion_id, p.role, p.team_id, p.outcome;

-- Which team was first to kill, to take a building, and to slay each kind of monster, in completed matches. A
-- team is no person, so the players of one who withdrew their consent count for it; a death that no team
-- gained by is no first kill.
CREATE MATERIALIZED VIEW first_objectives AS
  SELECT DISTINCT ON (game, match_id, objective) game, match_id, objective, at_s, team_id, slot
  FROM (
    SELECT
      e.game,
      e.match_id,
      CASE e.kind WHEN 'monster' THEN lower(e.detail) ELSE e.kind END AS objective,
      e.at_s,
      coalesce(e.team_id, p.team_id) AS team_id,
      e.slot
    FROM timeline_events AS e
      JOIN matches AS m ON e.game = m.game AND e.match_id = m.match_id
      LEFT JOIN participants AS p ON e.game = p.game AND e.match_id = p.match_id AND e.slot = p.slot
    WHERE e.kind IN ('kill', 'building', 'monster')
      AND m.status = 'completed'
      AND coalesce(e.team_id, p.team_id) IS NOT NULL
  ) AS e
  ORDER BY game, match_id, objective, at_s, slot;

CREATE MATERIALIZED VIEW objective_win_rates AS
  SELECT
    f.game,
    f.objective,
    count(*) AS matches,
    avg(CASE WHEN t.outcome = 'win' THEN 1.0 ELSE 0.0 END) AS win_rate,
    avg(f.at_s) AS at_s
  FROM first_objectives AS f
    JOIN teams AS t ON f.game = t.game AND f.match_id = t.match_id AND f.team_id = t.team_id
  GROUP BY f.game, f.objective;

-- Kills and deaths against what the matchmaker expected; _z is how many standard deviations better it was.
CREATE MATERIALIZED VIEW skill_performance AS
  SELECT
    s.game,
    s.match_id,
    s.player_id,
    s.team_rating,
    s.rating_before,
    s.rating_after,
    s.kills,
    s.expected_kills,
    (s.kills - s.expected_kills) / nullif(s.kills_deviation, 0) AS kills_z,
    s.deaths,
    s.expected_deaths,
    (s.expected_deaths - s.deaths) / nullif(s.deaths_deviation, 0) AS deaths_z
  FROM skills AS s
  WHERE NOT EXISTS (
    SELECT 1
    FROM withdrawn AS w
    WHERE w.game = s.game AND w.player_id = s.player_id
  );

CREATE MATERIALIZED VIEW player_skill AS
  SELECT
    game,
    player_id,
    count(*) AS matches,
    sum(kills) AS kills,
    sum(expected_kills) AS expected_kills,
    sum(deaths) AS deaths,
    sum(expected_deaths) AS expected_deaths,
    avg(kills_z) AS kills_z,
    avg(deaths_z) AS deaths_z
  FROM skill_performance
  GROUP BY game, player_id;
