"""Batch answers of every materialized view of the match domain, in DuckDB, over model.py's rows.

    answers.py SEASON_DIR OUT_DIR [--moment N] [--one-partition]

Writes OUT_DIR/VIEW.jsonl for each view: rows as JSON objects, times as ISO text. As a module,
`Answers(ingest)` has `view(name)` -> (columns, rows). now() is the watermark of what stands below it.
Each view is computed from the rows that count, at once, as its comment in dataflows/topologies/domain
says; windows are written out (date arithmetic, gaps of sessions), not called.
"""

import argparse
import datetime
import itertools
import json
import pathlib
import tempfile

import duckdb

import model

TYPES = {"": "VARCHAR", "i": "BIGINT", "d": "DOUBLE", "b": "BOOLEAN", "t": "BIGINT"}
PEOPLE = {
    "profiles": "user_id display_name email country updated_by updated_at:t",
    "accounts": "user_id game player_id",
    "profile_updates": "event_id user_id display_name email country updated_by updated_at:t",
    "profile_resolutions": "user_id resolved_by resolved_at:t",
    "preferences": "user_id analytics_consent:b updated_at:t",
    "authentications": "event_id occurred_at:t user_id method succeeded:b",
    "sessions_created": "session_id user_id device occurred_at:t",
    "logouts": "session_id reason occurred_at:t",
    "halo_profiles": "xuid gamertag fetched_at:t",
    "halo_history": "match_id ended_at:t",
    "live_started": "game match_id platform queue mode map started_at:t occurred_at:t players:i",
    "live_updates": "game match_id at_s:d teams occurred_at:t",
    "live_members": "game match_id player_id",
    "clocks": "name mark:t",
}

FIGURES = """
    count(*) AS games, sum(won) AS wins, avg(won) AS win_rate, sum(kills) AS kills, sum(deaths) AS deaths, sum(assists) AS assists,
    (sum(kills) + sum(assists * assist_weight)) / greatest(sum(deaths), 1) AS kda,
    sum(cs) / (nullif(sum(played_s), 0) / 60) AS cs_per_min, sum(gold) / (nullif(sum(played_s), 0) / 60) AS gold_per_min,
    avg(damage_share) AS damage_share, avg(vision) AS vision_score, sum(shots_hit) / nullif(sum(shots_fired), 0)::DOUBLE AS accuracy,
    sum(played_s) AS played_s"""


def window(length):
    return f"""
    SELECT time_bucket(INTERVAL '{length}', ended_at, TIMESTAMP '2000-01-01') AS window_start,
      time_bucket(INTERVAL '{length}', ended_at, TIMESTAMP '2000-01-01') + INTERVAL '{length}' AS window_end, game, dimension, value, {FIGURES}
    FROM by_dimension GROUP BY ALL"""


HELPERS = {
    "recent_updates": "SELECT * FROM profile_updates WHERE updated_at > (SELECT mark FROM clocks WHERE name = 'profile_updates') - INTERVAL '29 days'",
    "recent_sessions": "SELECT * FROM sessions_created WHERE occurred_at > (SELECT mark FROM clocks WHERE name = 'sessions_created') - INTERVAL '89 days'",
    "recent_logouts": "SELECT * FROM logouts WHERE occurred_at > (SELECT mark FROM clocks WHERE name = 'logouts') - INTERVAL '89 days'",
    "withdrawn": "SELECT DISTINCT game, player_id FROM accounts JOIN preferences USING (user_id) WHERE analytics_consent = false AND player_id IS NOT NULL",
    "plays": """
        SELECT p.*, (p.outcome = 'win')::INT AS won, CASE WHEN team_damage <> 0 THEN damage / team_damage END AS damage_share,
          (kills + assists * assist_weight) / (CASE WHEN deaths > 0 THEN deaths ELSE 1 END) AS kda
        FROM participants p ANTI JOIN withdrawn w ON p.game = w.game AND p.player_id = w.player_id
        WHERE status = 'completed'""",
    "known": "SELECT * FROM plays WHERE player_id IS NOT NULL",
    "by_dimension": """
        SELECT k.*, dimension, value FROM known k, LATERAL (VALUES ('player', k.player_id), ('champion', k.champion), ('queue', k.queue),
          ('region', k.region), ('role', k.role)) d(dimension, value) WHERE value IS NOT NULL""",
}

# In this order: later ones read earlier ones.
VIEWS = {
    "profile_conflicts": """
        SELECT a.user_id, a.event_id AS earlier_event, b.event_id AS later_event, a.updated_by AS earlier_writer,
          b.updated_by AS later_writer, a.updated_at AS earlier_at, b.updated_at AS later_at, a.display_name AS earlier_name,
          b.display_name AS later_name, a.email AS earlier_email, b.email AS later_email, a.country AS earlier_country, b.country AS later_country
        FROM recent_updates a, recent_updates b
        WHERE a.user_id = b.user_id AND a.updated_by <> b.updated_by
          AND (a.updated_at < b.updated_at OR (a.updated_at = b.updated_at AND a.event_id < b.event_id))
          AND b.updated_at <= a.updated_at + INTERVAL '5 minutes'
          AND (a.display_name IS DISTINCT FROM b.display_name OR a.email IS DISTINCT FROM b.email OR a.country IS DISTINCT FROM b.country)
          AND NOT EXISTS (SELECT 1 FROM profile_resolutions r WHERE r.user_id = a.user_id AND r.resolved_at >= b.updated_at)""",
    "sign_ins_hourly": """
        SELECT date_trunc('hour', occurred_at) AS window_start, date_trunc('hour', occurred_at) + INTERVAL '1 hour' AS window_end,
          coalesce(method, 'unknown') AS method, count(*) AS attempts, sum(succeeded::INT)::BIGINT AS succeeded, count(DISTINCT user_id) AS users
        FROM authentications GROUP BY 1, 2, 3""",
    "user_ids": """
        SELECT user_id, 'user' AS game, user_id AS id, 1 AS users FROM profiles
        UNION ALL SELECT user_id, game, player_id, (SELECT count(*) FROM accounts o WHERE o.game = a.game AND o.player_id = a.player_id)
        FROM accounts a WHERE game IS NOT NULL AND player_id IS NOT NULL""",
    "user_sessions": """
        SELECT s.session_id, s.user_id, s.device, s.occurred_at AS began_at, l.occurred_at AS ended_at,
          (epoch_us(l.occurred_at) - epoch_us(s.occurred_at)) / 1e6 AS duration_s, l.reason
        FROM recent_sessions s LEFT JOIN recent_logouts l USING (session_id)""",
    "halo_missing_matches": """
        SELECT DISTINCT h.match_id, h.ended_at FROM halo_history h
        WHERE NOT EXISTS (SELECT 1 FROM matches m WHERE m.game = 'halo' AND m.match_id = h.match_id)""",
    "ranking_history": """
        SELECT r.game, r.player_id, queue, as_of, is_main::INT AS is_main, tier, division, points, wins, losses
        FROM ranks r ANTI JOIN withdrawn w ON w.game = r.game AND w.player_id = r.player_id
        QUALIFY row_number() OVER (PARTITION BY r.game, r.player_id, queue, as_of ORDER BY wins + losses DESC NULLS LAST, points DESC NULLS LAST,
          tier NULLS LAST, division NULLS LAST, wins NULLS LAST, is_main DESC) = 1""",
    "rank_periods": """
        SELECT a.game, a.player_id, a.queue, a.is_main = 1 AS is_main, a.tier, a.division, a.points, a.as_of AS valid_from, n.as_of AS valid_to,
          b.tier AS tier_before, b.points AS points_before
        FROM (SELECT *, row_number() OVER w AS n FROM ranking_history WINDOW w AS (PARTITION BY game, player_id, queue ORDER BY as_of)) a
        LEFT JOIN (SELECT *, row_number() OVER w AS n FROM ranking_history WINDOW w AS (PARTITION BY game, player_id, queue ORDER BY as_of)) n
          ON (a.game, a.player_id, a.queue, a.n + 1) = (n.game, n.player_id, n.queue, n.n)
        LEFT JOIN (SELECT *, row_number() OVER w AS n FROM ranking_history WINDOW w AS (PARTITION BY game, player_id, queue ORDER BY as_of)) b
          ON (a.game, a.player_id, a.queue, a.n - 1) = (b.game, b.player_id, b.queue, b.n)""",
    "rank_moves": """
        WITH steps AS (
          SELECT CASE WHEN tier = upper(tier) THEN 'lol' ELSE 'halo' END AS game, tier, step FROM (
            SELECT unnest(['IRON','BRONZE','SILVER','GOLD','PLATINUM','EMERALD','DIAMOND','MASTER','GRANDMASTER','CHALLENGER']) AS tier, unnest(range(10)) AS step
            UNION ALL SELECT unnest(['Bronze','Silver','Gold','Platinum','Diamond','Onyx']), unnest(range(6))))
        SELECT p.game, player_id, queue, valid_from AS moved_at, tier_before, p.tier, CASE WHEN a.step > b.step THEN 'promotion' ELSE 'demotion' END AS direction
        FROM rank_periods p JOIN steps a ON (a.game, a.tier) = (p.game, p.tier) JOIN steps b ON (b.game, b.tier) = (p.game, p.tier_before)
        WHERE a.step <> b.step""",
    "player_performance": """
        SELECT game, match_id, player_id, ended_at, queue, mode, map, patch, region, champion_id, champion, role, outcome, placement, kills, deaths,
          assists, kda, cs / (nullif(played_s, 0) / 60) AS cs_per_min, gold / (nullif(played_s, 0) / 60) AS gold_per_min, damage, damage_share,
          vision AS vision_score, CASE WHEN shots_fired <> 0 THEN shots_hit / shots_fired::DOUBLE END AS accuracy, best_spree, score, played_s, left_early
        FROM known QUALIFY row_number() OVER (PARTITION BY game, match_id, player_id ORDER BY slot) = 1""",
    "performance_hourly": window("1 hour"),
    "performance_daily": window("1 day"),
    "performance_alltime": f"SELECT game, dimension, value, {FIGURES}, max(ended_at) AS last_seen FROM by_dimension GROUP BY ALL",
    "champion_performance": f"SELECT game, champion_id, max(champion) AS champion, {FIGURES} FROM plays WHERE champion_id IS NOT NULL GROUP BY game, champion_id",
    "champion_win_rates": """
        SELECT game, patch, tier, coalesce(role, 'ANY') AS role, champion_id, max(champion) AS champion, count(*) AS games, sum(won) AS wins, avg(won) AS win_rate
        FROM ranked WHERE champion_id IS NOT NULL GROUP BY game, patch, tier, coalesce(role, 'ANY'), champion_id""",
    "champion_rates": """
        WITH seen AS (
          SELECT DISTINCT game, match_id, champion_id, 'pick' AS kind FROM plays WHERE champion_id IS NOT NULL
          UNION ALL SELECT DISTINCT game, match_id, champion_id, 'ban' FROM bans)
        SELECT s.game, m.patch, m.queue, champion_id, count(*) FILTER (kind = 'pick') AS picked, count(*) FILTER (kind = 'ban') AS banned,
          any_value(n) AS matches, count(*) FILTER (kind = 'pick') / any_value(n)::DOUBLE AS pick_rate, count(*) FILTER (kind = 'ban') / any_value(n)::DOUBLE AS ban_rate
        FROM seen s JOIN (SELECT *, count(*) OVER (PARTITION BY game, patch, queue) AS n FROM matches WHERE status = 'completed') m USING (game, match_id)
        GROUP BY s.game, m.patch, m.queue, champion_id""",
    "duos": """
        SELECT a.game, a.player_id AS player_a, b.player_id AS player_b, count(*) AS games, sum(a.won) AS wins, avg(a.won) AS win_rate, max(a.ended_at) AS last_played
        FROM known a, known b WHERE a.game = b.game AND a.match_id = b.match_id AND a.team_id = b.team_id AND a.player_id < b.player_id GROUP BY 1, 2, 3""",
    "champion_duos": """
        SELECT a.game, a.champion_id, b.champion_id AS with_champion_id, count(*) AS games, sum(a.won) AS wins, avg(a.won) AS win_rate
        FROM plays a, plays b WHERE a.game = b.game AND a.match_id = b.match_id AND a.team_id = b.team_id AND a.slot <> b.slot
          AND a.champion_id IS NOT NULL GROUP BY 1, 2, 3""",
    "match_ups": """
        SELECT a.game, a.role, a.champion_id, b.champion_id AS against_champion_id, count(*) AS games, sum(a.won) AS wins, avg(a.won) AS win_rate
        FROM plays a, plays b WHERE a.game = b.game AND a.match_id = b.match_id AND a.role = b.role AND a.team_id <> b.team_id
          AND a.champion_id IS NOT NULL GROUP BY 1, 2, 3, 4""",
    "gaming_analytics": """
        SELECT date_trunc('hour', ended_at) AS window_start, date_trunc('hour', ended_at) + INTERVAL '1 hour' AS window_end, game, player_id, champion_id, queue,
          region, tier, mode, count(*) AS games, avg(won) AS win_rate, avg(kda) AS kda_avg, sum(cs) / (nullif(sum(played_s), 0) / 60) AS cs_per_min,
          avg(damage_share) AS damage_share, avg(vision) AS vision_score
        FROM ranked WHERE player_id IS NOT NULL GROUP BY ALL""",
    "user_analytics": f"""
        SELECT user_id, period, CAST(date_trunc(period, ended_at) AS TIMESTAMP) AS period_start, game, {FIGURES}
        FROM user_plays, (VALUES ('day'), ('week'), ('month')) v(period) GROUP BY 1, 2, 3, 4""",
    "user_across_games": """
        SELECT user_id, count(DISTINCT game) AS games_played, count(*) AS matches, sum(won) AS wins, sum(played_s) / 3600 AS hours, min(ended_at) AS first_seen,
          max(ended_at) AS last_seen, list_sort(list(DISTINCT game)) AS games FROM user_plays GROUP BY user_id""",
    "mv_map_stats": """
        SELECT m.game, m.map, m.matches, m.duration_s, coalesce(p.players, 0) AS players, p.kills / m.matches::DOUBLE AS kills_a_match, p.kda, m.last_played
        FROM (SELECT game, map, count(*) AS matches, avg(duration_s) AS duration_s, max(ended_at) AS last_played FROM matches WHERE status = 'completed' GROUP BY 1, 2) m
        LEFT JOIN (SELECT game, map, count(DISTINCT player_id) AS players, sum(kills) AS kills,
            (sum(kills) + sum(assists * assist_weight)) / greatest(sum(deaths), 1) AS kda FROM plays GROUP BY 1, 2) p
          ON m.game = p.game AND m.map IS NOT DISTINCT FROM p.map""",
    "mv_mode_category_stats": """
        SELECT game, mode, count(*) AS plays, count(DISTINCT match_id) AS matches, count(DISTINCT player_id) AS players, avg(kills) AS kills, avg(deaths) AS deaths,
          avg(assists) AS assists, (sum(kills) + sum(assists * assist_weight)) / greatest(sum(deaths), 1) AS kda, avg(duration_s) AS duration_s, max(ended_at) AS last_played
        FROM plays GROUP BY 1, 2""",
    "mv_session_stats": """
        SELECT game, player_id, min(ended_at) AS first_match, max(ended_at) AS last_match, count(*) AS matches, sum(won) AS wins, sum(kills) AS kills,
          sum(deaths) AS deaths, sum(assists) AS assists, sum(played_s) AS played_s
        FROM (SELECT *, sum(opens) OVER (PARTITION BY game, player_id ORDER BY ended_at) AS session
          FROM (SELECT *, (ended_at >= coalesce(lag(ended_at) OVER (PARTITION BY game, player_id ORDER BY ended_at), TIMESTAMP '1900-01-01') + INTERVAL '30 minutes')::INT AS opens
            FROM known))
        GROUP BY game, player_id, session""",
    "mv_global_stats": """
        SELECT game, count(DISTINCT (game, match_id)) AS matches, count(*) AS plays, count(DISTINCT (game, player_id)) AS players, sum(kills) AS kills,
          sum(played_s) / 3600 AS hours, min(ended_at) AS first_match, max(ended_at) AS last_match
        FROM known GROUP BY game
        UNION ALL
        SELECT NULL, count(DISTINCT (game, match_id)), count(*), count(DISTINCT (game, player_id)), sum(kills), sum(played_s) / 3600, min(ended_at), max(ended_at)
        FROM known""",
    "player_aliases": """
        WITH names AS (
          SELECT game, player_id, player_name, ended_at AS seen_at FROM known WHERE player_name IS NOT NULL
          UNION ALL SELECT 'halo', xuid, gamertag, fetched_at FROM halo_profiles ANTI JOIN withdrawn ON withdrawn.game = 'halo' AND withdrawn.player_id = xuid)
        SELECT n.game, n.player_id, n.player_name, n.seen_at AS named_at, (SELECT max(ended_at) FROM known k WHERE k.game = n.game AND k.player_id = n.player_id) AS last_seen
        FROM names n QUALIFY row_number() OVER (PARTITION BY game, player_id ORDER BY seen_at DESC, player_name) = 1""",
    "xuid_aliases": "SELECT player_id AS xuid, player_name AS gamertag, named_at, last_seen FROM player_aliases WHERE game = 'halo'",
    "player_awards": """
        SELECT a.game, a.player_id, kind, award_id, sum(times) AS times, sum(score) AS score, count(*) AS matches
        FROM awards a ANTI JOIN withdrawn w ON w.game = a.game AND w.player_id = a.player_id WHERE a.player_id IS NOT NULL GROUP BY ALL""",
    "recent_matches": """
        SELECT * FROM matches WHERE status = 'completed' AND ended_at > (SELECT min(mark) FROM clocks WHERE name IN ('riot_captures', 'halo_captures') HAVING count(mark) = 2) - INTERVAL '30 days'""",
    "match_archive": """
        SELECT * FROM matches WHERE status = 'completed' AND ended_at <= (SELECT min(mark) FROM clocks WHERE name IN ('riot_captures', 'halo_captures') HAVING count(mark) = 2) - INTERVAL '30 days'""",
    "live_matches": """
        WITH heard AS (
          SELECT game, match_id, max(occurred_at) AS last_heard FROM (
            SELECT game, match_id, occurred_at FROM live_started WHERE occurred_at > (SELECT mark FROM clocks WHERE name = 'live_started') - INTERVAL '10 minutes'
            UNION ALL
            SELECT game, match_id, occurred_at FROM live_updates WHERE occurred_at > (SELECT mark FROM clocks WHERE name = 'live_updates') - INTERVAL '10 minutes')
          GROUP BY ALL)
        SELECT s.game, s.match_id, s.platform, s.queue, s.mode, s.map, s.started_at, h.last_heard, u.at_s, u.teams, s.players
        FROM live_started s JOIN heard h USING (game, match_id) LEFT JOIN live_updates u ON u.game = s.game AND u.match_id = s.match_id
        WHERE (s.game, s.match_id) NOT IN (SELECT (game, match_id) FROM matches)""",
    "live_players": """
        SELECT l.game, p.player_id, max(l.match_id) AS match_id, max(l.started_at) AS started_at
        FROM live_matches l JOIN live_members p USING (game, match_id) ANTI JOIN withdrawn w ON w.game = l.game AND w.player_id = p.player_id
        WHERE p.player_id IS NOT NULL GROUP BY ALL""",
    "timeline_marks": """
        WITH f AS (SELECT *, CAST(floor(at_s / 60 + 0.5) AS INT) AS minute FROM timeline_frames)
        SELECT f.game, f.match_id, f.slot, p.player_id, p.champion_id, p.role, p.team_id, p.outcome, max(CASE minute WHEN 10 THEN f.gold END) AS gold_at_10,
          max(CASE minute WHEN 10 THEN experience END) AS experience_at_10, max(CASE minute WHEN 10 THEN f.cs END) AS cs_at_10,
          max(CASE minute WHEN 15 THEN f.gold END) AS gold_at_15, max(CASE minute WHEN 15 THEN experience END) AS experience_at_15, max(CASE minute WHEN 15 THEN f.cs END) AS cs_at_15
        FROM f JOIN plays p USING (game, match_id, slot) WHERE minute IN (10, 15)
        GROUP BY f.game, f.match_id, f.slot, p.player_id, p.champion_id, p.role, p.team_id, p.outcome""",
    # The team of a kill is the player's, whether or not that player may be analysed: a team is no person. A kill
    # by nobody is no team's first.
    "first_objectives": """
        SELECT e.game, e.match_id, CASE kind WHEN 'monster' THEN lower(detail) ELSE kind END AS objective, at_s, coalesce(e.team_id, p.team_id) AS team_id, e.slot
        FROM timeline_events e SEMI JOIN (FROM matches WHERE status = 'completed') m ON (m.game, m.match_id) = (e.game, e.match_id)
        LEFT JOIN participants p ON (p.game, p.match_id, p.slot) = (e.game, e.match_id, e.slot)
        WHERE kind IN ('kill', 'building', 'monster') AND coalesce(e.team_id, p.team_id) IS NOT NULL
        QUALIFY row_number() OVER (PARTITION BY e.game, e.match_id, CASE kind WHEN 'monster' THEN lower(detail) ELSE kind END ORDER BY at_s, e.slot) = 1""",
    # A remake is won by nobody.
    "objective_win_rates": """
        SELECT f.game, objective, count(*) AS matches, avg((t.outcome = 'win')::INT) AS win_rate, avg(at_s) AS at_s
        FROM first_objectives f JOIN teams t USING (game, match_id, team_id) JOIN matches m USING (game, match_id)
        WHERE m.status = 'completed' GROUP BY 1, 2""",
    "skill_performance": """
        SELECT s.game, match_id, s.player_id, team_rating, rating_before, rating_after, kills, expected_kills,
          CASE WHEN kills_deviation <> 0 THEN (kills - expected_kills) / kills_deviation END AS kills_z, deaths, expected_deaths,
          CASE WHEN deaths_deviation <> 0 THEN (expected_deaths - deaths) / deaths_deviation END AS deaths_z
        FROM skills s ANTI JOIN withdrawn w ON w.game = s.game AND w.player_id = s.player_id""",
    "player_skill": """
        SELECT game, player_id, count(*) AS matches, sum(kills) AS kills, sum(expected_kills) AS expected_kills, sum(deaths) AS deaths,
          sum(expected_deaths) AS expected_deaths, avg(kills_z) AS kills_z, avg(deaths_z) AS deaths_z FROM skill_performance GROUP BY 1, 2""",
    "trends_detected": """
        SELECT game, player_id, match_id, ended_at, direction, recent, baseline, recent - baseline AS change
        FROM (SELECT *, lag(direction, 1, 'none') OVER (PARTITION BY game, player_id ORDER BY n) AS before FROM directions)
        WHERE direction <> 'none' AND direction <> before""",
    "anomalies_detected": """
        SELECT game, match_id, player_id, slot, 'more hits than shots' AS rule, shots_hit::DOUBLE AS value, shots_fired::DOUBLE AS bound FROM known WHERE shots_hit > shots_fired
        UNION ALL SELECT game, match_id, player_id, slot, 'played longer than the match', played_s, duration_s FROM known WHERE played_s > duration_s + 60
        UNION ALL SELECT game, match_id, player_id, slot, 'more than 3 kills a minute', kills, played_s / 20 FROM known WHERE kills > 10 AND kills > played_s / 20
        UNION ALL SELECT game, match_id, player_id, slot, 'more than 15 cs a minute', cs, played_s / 4 FROM known WHERE cs > 50 AND cs > played_s / 4
        UNION ALL SELECT game, match_id, player_id, NULL, 'four standard deviations off the own mean', score, baseline + sign(score - baseline) * 4 * spread
        FROM history WHERE baseline_games >= 10 AND spread > 0 AND abs(score - baseline) > 4 * spread""",
    "form_models": """
        SELECT game, week, n, slope, my - slope * mx AS intercept FROM (
          SELECT w.game, w.week, count(*)::DOUBLE AS n, avg(form) AS mx, avg(score) AS my, covar_pop(score, form) / nullif(var_pop(form), 0) AS slope
          FROM (SELECT DISTINCT game, week FROM form WHERE last_score IS NOT NULL) w JOIN form f ON f.game = w.game AND f.week < w.week AND f.last_score IS NOT NULL
          GROUP BY 1, 2)""",
    "predictions": """
        SELECT f.game, player_id, match_id, ended_at, coalesce(m.intercept + m.slope * f.form, f.form) AS predicted, last_score AS baseline_last,
          mean_score AS baseline_mean, score AS actual
        FROM form f LEFT JOIN form_models m ON m.game = f.game AND m.week = f.week AND m.n >= 100 WHERE last_score IS NOT NULL""",
    "prediction_errors": """
        SELECT game, count(*) AS matches, avg(abs(predicted - actual)) AS model_mae, avg(abs(baseline_last - actual)) AS last_mae, avg(abs(baseline_mean - actual)) AS mean_mae,
          sqrt(avg(pow(predicted - actual, 2))) AS model_rmse, sqrt(avg(pow(baseline_last - actual, 2))) AS last_rmse, sqrt(avg(pow(baseline_mean - actual, 2))) AS mean_rmse
        FROM predictions GROUP BY game""",
    "recommendations": """
        SELECT game, player_id, row_number() OVER (PARTITION BY game, player_id ORDER BY score DESC, games DESC, champion_id) AS place, champion_id, champion, games, wins, score,
          'won ' || wins || ' of ' || games || ' matches' AS reason
        FROM (SELECT game, player_id, champion_id, max(champion) AS champion, count(*) AS games, sum(won)::BIGINT AS wins, (sum(won) + 2) / (count(*) + 4)::DOUBLE AS score
          FROM known WHERE champion_id IS NOT NULL GROUP BY 1, 2, 3)
        WHERE games >= 3 AND score > 0.5 QUALIFY place <= 3""",
}

# Helpers that read views: (after which view, name, query).
BETWEEN = [
    ("rank_periods", "ranked", """
        SELECT p.*, coalesce(r.tier, 'UNRANKED') AS tier FROM plays p LEFT JOIN rank_periods r
          ON r.game = p.game AND r.player_id = p.player_id AND r.is_main AND r.valid_from <= p.ended_at AND p.ended_at < coalesce(r.valid_to, TIMESTAMP '9999-01-01')"""),
    ("gaming_analytics", "user_plays", "SELECT user_id, k.* FROM known k JOIN (SELECT DISTINCT * FROM accounts) a USING (game, player_id)"),
    ("player_skill", "scores", """
        SELECT game, player_id, match_id, ended_at, 40 * kda / (kda + 3) + 30 * damage_share * team_size / (1 + damage_share * team_size) + 30 * won AS score,
          row_number() OVER (PARTITION BY game, player_id ORDER BY ended_at, match_id) AS n
        FROM (SELECT * FROM known WHERE damage_share IS NOT NULL QUALIFY row_number() OVER (PARTITION BY game, player_id, match_id ORDER BY slot) = 1)"""),
    ("player_skill", "history", """
        SELECT s.*, avg(score) OVER (w ROWS 4 PRECEDING) AS recent, avg(score) OVER (w ROWS BETWEEN 24 PRECEDING AND 5 PRECEDING) AS baseline,
          stddev_samp(score) OVER (w ROWS BETWEEN 24 PRECEDING AND 5 PRECEDING) AS spread, count(*) OVER (w ROWS BETWEEN 24 PRECEDING AND 5 PRECEDING) AS baseline_games
        FROM scores s WINDOW w AS (PARTITION BY game, player_id ORDER BY n)"""),
    ("player_skill", "directions", """
        SELECT *, CASE WHEN baseline_games < 10 OR spread = 0 THEN 'none' WHEN abs(recent - baseline) <= 2 * spread / sqrt(5) THEN 'none'
          WHEN recent > baseline THEN 'up' ELSE 'down' END AS direction FROM history"""),
    ("player_skill", "form", """
        SELECT s.*, date_trunc('week', ended_at)::TIMESTAMP AS week, lag(score) OVER w AS last_score, avg(score) OVER (w ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS mean_score,
          (coalesce(sum(score) OVER (w ROWS BETWEEN 20 PRECEDING AND 1 PRECEDING), 0) + 250) / (count(*) OVER (w ROWS BETWEEN 20 PRECEDING AND 1 PRECEDING) + 5) AS form
        FROM scores s WINDOW w AS (PARTITION BY game, player_id ORDER BY n)"""),
]


def split(spec):
    return [(c.partition(":")[0], c.partition(":")[2]) for c in spec.split()]


def people(ingest):
    """Rows of the tables that views read besides the model's."""
    rows = {name: [] for name in PEOPLE}
    for name, spec in PEOPLE.items():
        if name in ingest.tables and name not in ("live_started", "live_updates", "halo_history", "halo_profiles"):
            rows[name] = [tuple(row[c] for c, _ in split(spec)) for _, row, _ in ingest.held(name)]
    for _, row, _ in ingest.held("profiles"):
        rows["accounts"] += {(row["user_id"], a["game"], a["player_id"]): 0 for a in row["accounts"] or [] if a}
    rows["halo_profiles"] = [(row["xuid"], row["gamertag"], stamp) for _, row, stamp in ingest.held("halo_profiles")]
    for row in ingest.tables["halo_history"].rows:
        rows["halo_history"] += [(r["MatchId"], (r["MatchInfo"] or {}).get("EndTime")) for r in row["Results"] if r]
    for _, row, _ in ingest.held("live_started"):
        members = None if row["players"] is None else len(row["players"])
        rows["live_started"].append(tuple(row[c] for c, _ in split(PEOPLE["live_started"])[:-1]) + (members,))
        rows["live_members"] += [(row["game"], row["match_id"], p["player_id"]) for p in row["players"] or []]
    for _, row, _ in ingest.held("live_updates"):
        teams = None if row["teams"] is None else json.dumps(row["teams"])
        rows["live_updates"].append((row["game"], row["match_id"], row["at_s"], teams, row["occurred_at"]))
    rows["clocks"] = [(name, ingest.watermark(name)) for name in ingest.tables if ingest.tables[name].time]
    return rows


def fill(db, name, spec, rows):
    """Makes a table of rows, by way of a file: binding parameters is slow."""
    columns = split(spec)
    names = [f'"{c}"' for c, _ in columns]
    db.execute(f"CREATE TABLE {name} ({', '.join(n + ' ' + ('TIMESTAMP' if k == 't' else TYPES[k]) for n, (_, k) in zip(names, columns))})")
    if not rows:
        return
    parts = []
    for n, (_, kind) in enumerate(columns):
        value = f"j->>'$[{n}]'"
        parts.append(f"make_timestamp(CAST({value} AS BIGINT))" if kind == "t" else f"CAST({value} AS {TYPES[kind]})")
    with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
        file.flush()
        db.execute(f"INSERT INTO {name} SELECT {', '.join(parts)} FROM (SELECT json AS j FROM read_ndjson_objects('{file.name}'))")


def rows_of(db, name):
    """Rows of a table as dictionaries of plain JSON values."""
    found = db.execute(f"SELECT * FROM {name}")
    names = [d[0] for d in found.description]
    return [dict(zip(names, (plain(v) for v in row))) for row in found.fetchall()]


class Answers:
    def __init__(self, ingest):
        self.db = duckdb.connect()
        self.db.execute("SET TimeZone = 'UTC'")
        rows = ingest.rows()
        for name, spec in model.COLUMNS.items():
            fill(self.db, name, spec, rows.pop(name))
        for name, held in people(ingest).items():
            fill(self.db, name, PEOPLE[name], held)
        for name, sql in HELPERS.items():
            self.db.execute(f"CREATE TABLE {name} AS {sql}")
        for name, sql in VIEWS.items():
            self.db.execute(f"CREATE TABLE {name} AS {sql}" if name not in model.COLUMNS else sql)
            for after, helper, query in BETWEEN:
                if after == name:
                    self.db.execute(f"CREATE TABLE {helper} AS {query}")

    def view(self, name):
        """Columns with whether each is a float, and rows of plain JSON values."""
        found = self.db.execute(f"SELECT * FROM {name}")
        columns = [(d[0], "DOUBLE" in str(d[1]).upper() or "FLOAT" in str(d[1]).upper()) for d in found.description]
        return columns, [tuple(plain(v) for v in row) for row in found.fetchall()]


def plain(value):
    if isinstance(value, datetime.datetime):
        return value.isoformat(timespec="microseconds") + "Z"
    return value


def ingest_until(season, moment=None, one_partition=False, skip=None):
    """Everything up to a moment (1 to 10), or all."""
    counts = None
    if moment is not None:
        counts = json.loads((pathlib.Path(season) / "moments.json").read_text())["moments"][moment - 1]
    until = lambda topic, records: records if counts is None else itertools.islice(records, counts[topic])
    orders = (r for topic, records in model.read_season(season, ["user.erased"]) for r in until(topic, records))
    ingest = model.Ingest(one_partition, subjects=model.subjects_of(orders))
    for topic, records in model.read_season(season):
        for record in until(topic, records):
            if skip is None or not skip(topic, record):
                ingest.take(topic, record)
    return ingest


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("season", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--moment", type=int)
    parser.add_argument("--one-partition", action="store_true")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    answers = Answers(ingest_until(args.season, args.moment, args.one_partition))
    for name in VIEWS:
        columns, rows = answers.view(name)
        with open(args.out / f"{name}.jsonl", "w", encoding="utf-8") as f:
            for row in rows:
                f.write(json.dumps(dict(zip((c for c, _ in columns), row)), ensure_ascii=False) + "\n")
        print(f"{name:24} {len(rows)} rows")


if __name__ == "__main__":
    main()
