-- Maps, modes, play sessions, everything in all, names, medals, and the archive.

CREATE MATERIALIZED VIEW mv_map_stats AS
  SELECT
    game,
    map,
    sum(matches) AS matches,
    sum(matches_s) / nullif(sum(matches), 0) AS duration_s,
    count(DISTINCT player_id) AS players,
    CAST(sum(kills) AS DOUBLE) / nullif(sum(matches), 0) AS kills_a_match,
    (sum(kills) + sum(helped)) / greatest(sum(deaths), 1) AS kda,
    max(ended_at) AS last_played
  FROM (
    SELECT
      game,
      map,
      ended_at,
      1 AS matches,
      duration_s AS matches_s,
      CAST(NULL AS VARCHAR) AS player_id,
      CAST(NULL AS BIGINT) AS kills,
      CAST(NULL AS BIGINT) AS deaths,
      CAST(NULL AS DOUBLE) AS helped
    FROM matches
    WHERE status = 'completed'
    UNION ALL
    SELECT game, map, ended_at, 0, NULL, player_id, kills, deaths, assists * assist_weight
    FROM plays
  ) AS m
  GROUP BY game, map;

CREATE MATERIALIZED VIEW mv_mode_category_stats AS
  SELECT
    game,
    mode,
    count(*) AS plays,
    count(DISTINCT match_id) AS matches,
    count(DISTINCT player_id) AS players,
    avg(kills) AS kills,
    avg(deaths) AS deaths,
    avg(assists) AS assists,
    (sum(kills) + sum(assists * assist_weight)) / greatest(sum(deaths), 1) AS kda,
    avg(duration_s) AS duration_s,
    max(ended_at) AS last_played
  FROM plays
  GROUP BY game, mode;

-- Matches of one player that ended less than 30 minutes apart are one play session.
CREATE MATERIALIZED VIEW mv_session_stats AS
  SELECT
    game,
    player_id,
    window_start AS first_match,
    window_end - INTERVAL '30 minutes' AS last_match,
    count(*) AS matches,
    sum(won) AS wins,
    sum(kills) AS kills,
    sum(deaths) AS deaths,
    sum(assists) AS assists,
    sum(played_s) AS played_s
  FROM SESSION(performances PARTITION BY game, player_id, ended_at, INTERVAL '30 minutes')
  GROUP BY game, player_id, window_start, window_end;

-- One row a game, and one with game NULL for all.
CREATE MATERIALIZED VIEW mv_global_stats AS
  SELECT
    game,
    count(DISTINCT (game, match_id)) AS matches,
    count(*) AS plays,
    count(DISTINCT (game, player_id)) AS players,
    sum(kills) AS kills,
    sum(played_s) / 3600.0 AS hours,
    min(ended_at) AS first_match,
    max(ended_at) AS last_match
  FROM performances
  GROUP BY GROUPING SETS ((game), ());

-- The name a player was seen with last, and when they were. Games that tell no names in their
-- matches tell them in profiles.
CREATE VIEW player_names AS
  SELECT game, player_id, player_name, ended_at AS seen_at
  FROM performances
  WHERE player_name IS NOT NULL
  UNION ALL
  SELECT n.game, n.player_id, n.player_name, n.seen_at
  FROM names AS n
  WHERE NOT EXISTS (
    SELECT 1
    FROM withdrawn AS w
    WHERE w.game = n.game AND w.player_id = n.player_id
  );

CREATE MATERIALIZED VIEW player_aliases AS
  SELECT n.game, n.player_id, n.player_name, n.named_at, s.last_seen
  FROM (
    SELECT DISTINCT ON (game, player_id) game, player_id, player_name, seen_at AS named_at
    FROM player_names
    ORDER BY game, player_id, seen_at DESC, player_name
  ) AS n
    LEFT JOIN (
      SELECT game, player_id, max(ended_at) AS last_seen
      FROM performances
      GROUP BY game, player_id
    ) AS s ON n.game = s.game
      AND n.player_id = s.player_id;

CREATE MATERIALIZED VIEW xuid_aliases AS
  SELECT player_id AS xuid, player_name AS gamertag, named_at, last_seen
  FROM player_aliases
  WHERE game = 'halo';

-- Medals and personal scores of a player, all time.
CREATE MATERIALIZED VIEW player_awards AS
  SELECT
    a.game,
    a.player_id,
    a.kind,
    a.award_id,
    sum(a.times) AS times,
    sum(a.score) AS score,
    count(*) AS matches
  FROM awards AS a
  WHERE a.player_id IS NOT NULL
    AND NOT EXISTS (
      SELECT 1
      FROM withdrawn AS w
      WHERE w.game = a.game AND w.player_id = a.player_id
    )
  GROUP BY a.game, a.player_id, a.kind, a.award_id;

-- Archive by age: completed matches of the last 30 days are recent, older ones are in the archive.
CREATE MATERIALIZED VIEW recent_matches AS
  SELECT *
  FROM matches
  WHERE status = 'completed' AND ended_at > now() - INTERVAL '30 days';

CREATE MATERIALIZED VIEW match_archive AS
  SELECT *
  FROM matches
  WHERE status = 'completed' AND ended_at <= now() - INTERVAL '30 days';
