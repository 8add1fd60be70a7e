//! Views of the oracle over joins of every kind, subqueries, set operations and DISTINCT aggregates.
//!
//! Keys are NULL often enough, on both sides, and come and go: champions' tiers, regions, modes.

/// Name, Herald's SQL, and DuckDB's where that differs.
pub const VIEWS: &[(&str, &str, &str)] = &[
    (
        "full_join",
        "SELECT c.champion_id, c.name, l.viewer, l.amount FROM champions AS c FULL JOIN live AS l ON c.champion_id = l.champion_id",
        "",
    ),
    (
        "full_residual",
        "SELECT c.champion_id, c.tier, l.part, l.place FROM champions AS c FULL JOIN live AS l ON c.champion_id = l.champion_id AND l.amount > c.tier * 20",
        "",
    ),
    (
        "full_tables",
        "SELECT m.match_id, q.puuid, q.region FROM matches AS m FULL JOIN players AS q ON m.platform = q.region",
        "",
    ),
    (
        "full_views",
        "SELECT a.champion_id, a.games, b.champion_id AS seen, b.n FROM per_champion AS a FULL JOIN live_champion AS b ON a.champion_id = b.champion_id",
        "",
    ),
    (
        "full_counted",
        "SELECT region, count(*) AS n, count(match_id) AS m FROM full_tables GROUP BY region",
        "",
    ),
    (
        "right_residual",
        "SELECT q.puuid, m.match_id FROM matches AS m RIGHT JOIN players AS q ON m.platform = q.region AND m.ranked",
        "",
    ),
    (
        "cross_join",
        "SELECT a.champion_id, b.puuid, b.region FROM champions AS a CROSS JOIN players AS b WHERE a.tier IS NOT NULL",
        "",
    ),
    ("comma_join", "SELECT a.champion_id, h.mode, h.n FROM champions AS a, having_view AS h", ""),
    (
        "inequality",
        "SELECT l.part, l.place, c.champion_id FROM live AS l JOIN champions AS c ON l.amount < c.tier * 20",
        "",
    ),
    (
        "inequality_left",
        "SELECT c.champion_id, c.tier, q.puuid FROM champions AS c LEFT JOIN players AS q ON c.tier > length(q.puuid)",
        "",
    ),
    (
        "inequality_full",
        "SELECT c.champion_id, c.tier, q.puuid FROM champions AS c FULL JOIN players AS q ON c.tier > length(q.puuid)",
        "",
    ),
    (
        "left_on_true",
        "SELECT c.champion_id, h.mode FROM champions AS c LEFT JOIN having_view AS h ON TRUE",
        "",
    ),
    (
        "semi_join",
        "SELECT c.champion_id, c.name FROM champions AS c LEFT SEMI JOIN live AS l ON c.champion_id = l.champion_id",
        "SELECT c.champion_id, c.name FROM champions AS c SEMI JOIN live AS l ON c.champion_id = l.champion_id",
    ),
    (
        "anti_join",
        "SELECT l.part, l.place, l.champion_id FROM live AS l LEFT ANTI JOIN champions AS c ON c.champion_id = l.champion_id",
        "SELECT l.part, l.place, l.champion_id FROM live AS l ANTI JOIN champions AS c ON c.champion_id = l.champion_id",
    ),
    (
        "exists_rows",
        "SELECT q.puuid, q.region FROM players AS q WHERE EXISTS (SELECT 1 FROM participants AS p WHERE p.puuid = q.puuid AND p.kills > 3)",
        "",
    ),
    (
        "exists_residual",
        "SELECT p.match_id, p.puuid, p.kills FROM participants AS p WHERE EXISTS (SELECT 1 FROM champions AS c WHERE c.champion_id = p.champion_id AND p.kills > c.tier * 2)",
        "",
    ),
    (
        "not_exists",
        "SELECT m.match_id, m.platform FROM matches AS m WHERE NOT EXISTS (SELECT * FROM players AS q WHERE q.region = m.platform)",
        "",
    ),
    (
        "not_exists_residual",
        "SELECT l.part, l.place, l.amount FROM live AS l WHERE NOT EXISTS (SELECT 1 FROM champions AS c WHERE c.champion_id = l.champion_id AND c.tier * 20 > l.amount) AND l.region <> 'kr'",
        "",
    ),
    (
        "exists_anything",
        "SELECT champion_id FROM champions WHERE EXISTS (SELECT 1 FROM matches WHERE mode = 'arena' AND duration_s > 1200)",
        "",
    ),
    (
        "exists_nothing",
        "SELECT puuid FROM players WHERE NOT EXISTS (SELECT 1 FROM matches WHERE mode = 'arena' AND NOT ranked)",
        "",
    ),
    (
        "exists_nested",
        "SELECT q.puuid FROM players AS q WHERE EXISTS (SELECT 1 FROM participants AS p WHERE p.puuid = q.puuid AND NOT EXISTS (SELECT 1 FROM champions AS c WHERE c.champion_id = p.champion_id))",
        "",
    ),
    ("in_rows", "SELECT match_id, mode FROM matches WHERE platform IN (SELECT region FROM players)", ""),
    (
        "in_correlated",
        "SELECT m.match_id, m.mode FROM matches AS m WHERE m.mode IN (SELECT o.mode FROM matches AS o WHERE o.platform = m.platform AND o.match_id <> m.match_id)",
        "",
    ),
    (
        "in_aggregate",
        "SELECT champion_id, role FROM champions WHERE tier IN (SELECT count(*) FROM matches GROUP BY platform, mode) AND role IN (SELECT role FROM champions WHERE name IS NOT NULL)",
        "",
    ),
    (
        "not_in_nulls",
        "SELECT level, day, n FROM clicks WHERE level % 5 NOT IN (SELECT tier FROM champions)",
        "",
    ),
    (
        "not_in_some",
        "SELECT viewer, amount FROM live WHERE amount % 5 NOT IN (SELECT tier FROM champions WHERE tier > 2 OR role = 'tank')",
        "",
    ),
    (
        "not_in_keys",
        "SELECT champion_id, name FROM champions WHERE champion_id NOT IN (SELECT champion_id FROM champions WHERE tier > 2)",
        "",
    ),
    (
        "not_in_platforms",
        "SELECT puuid FROM players WHERE NOT (region IN (SELECT platform FROM matches))",
        "",
    ),
    (
        "exists_or",
        "SELECT q.puuid, q.region FROM players AS q WHERE q.region = 'kr' OR EXISTS (SELECT 1 FROM participants AS p WHERE p.puuid = q.puuid AND p.win) OR NOT EXISTS (SELECT 1 FROM live AS l WHERE l.viewer = q.puuid)",
        "",
    ),
    (
        "in_or",
        "SELECT match_id, mode, duration_s FROM matches WHERE duration_s > 1000 OR (mode IS NOT NULL AND platform IN (SELECT region FROM players WHERE joined_on IS NOT NULL))",
        "",
    ),
    (
        "above_average",
        "SELECT match_id, duration_s FROM matches WHERE duration_s > (SELECT avg(duration_s) FROM matches)",
        "",
    ),
    (
        "beside_the_top",
        "SELECT champion_id, tier, (SELECT max(kills) FROM participants) AS top, (SELECT count(*) FROM live) - tier AS lived FROM champions",
        "",
    ),
    (
        "counted_beside",
        "SELECT c.champion_id, (SELECT count(*) FROM participants AS p WHERE p.champion_id = c.champion_id) AS games, (SELECT sum(p.kills) FROM participants AS p WHERE p.champion_id = c.champion_id AND p.win) AS kills, (SELECT count(p.kills) + 1 FROM participants AS p WHERE p.champion_id = c.tier) AS other FROM champions AS c",
        "",
    ),
    (
        "longest",
        "SELECT m.match_id, m.platform FROM matches AS m WHERE m.duration_s >= (SELECT max(o.duration_s) FROM matches AS o WHERE o.platform = m.platform)",
        "",
    ),
    (
        "having_more",
        "SELECT platform, count(*) AS n FROM matches GROUP BY platform HAVING count(*) * 3 > (SELECT count(*) FROM matches)",
        "",
    ),
    (
        "intersect_rows",
        "SELECT champion_id, region FROM live INTERSECT SELECT champion_id, region FROM clicks",
        "",
    ),
    (
        "except_rows",
        "SELECT platform, mode FROM matches EXCEPT SELECT platform, mode FROM matches WHERE ranked",
        "",
    ),
    (
        "set_operations",
        "SELECT region FROM live UNION SELECT role FROM champions EXCEPT SELECT region FROM players INTERSECT SELECT region FROM clicks",
        "",
    ),
    ("modes", "SELECT platform, count(DISTINCT mode) AS modes FROM matches GROUP BY platform", ""),
    (
        "distinct_total",
        "SELECT count(DISTINCT champion_id) AS c, count(*) AS n, count(DISTINCT region) AS r, sum(DISTINCT amount) AS s FROM live",
        "",
    ),
    (
        "distinct_mixed",
        "SELECT region, count(*) AS n, count(DISTINCT champion_id) AS c, sum(DISTINCT amount) AS s, avg(DISTINCT amount) AS a, max(DISTINCT score) AS m, count(DISTINCT viewer) FILTER (WHERE amount > 50) AS rich, sum(amount) AS total, min(amount) AS least FROM live GROUP BY region",
        "",
    ),
    (
        "distinct_by_expression",
        "SELECT upper(platform) AS p, ranked, count(DISTINCT duration_s % 7) AS k, count(DISTINCT match_id) AS n FROM matches GROUP BY upper(platform), ranked HAVING count(DISTINCT mode) > 1",
        "",
    ),
    (
        "common_tables",
        "WITH a AS (SELECT champion_id, sum(kills) AS kills FROM participants GROUP BY champion_id), b AS (SELECT a.champion_id, a.kills, c.role FROM a JOIN champions AS c ON a.champion_id = c.champion_id) SELECT role, max(kills) AS top, count(*) AS n FROM b WHERE kills > (SELECT avg(kills) FROM a) GROUP BY role",
        "",
    ),
    (
        "more_expressions",
        "SELECT match_id, mode ILIKE 'AR%' AS i, mode NOT LIKE '%m' AS nl, CASE platform WHEN 'kr' THEN 1 WHEN 'na' THEN 2 END AS p, platform NOT IN ('kr', 'euw') AS other, mode IS DISTINCT FROM platform AS d, duration_s NOT BETWEEN 100 AND 700 AS nb, ranked IS NOT TRUE AS nr, greatest(duration_s, minutes) AS g, replace(mode, 'a', 'o') AS o, left(platform, 1) AS l FROM matches",
        "",
    ),
    ("over_anti", "SELECT platform, count(*) AS n FROM not_exists GROUP BY platform", ""),
    (
        "rollup",
        "SELECT platform, mode, grouping(platform, mode) AS g, count(*) AS n, sum(duration_s) AS s FROM matches GROUP BY ROLLUP (platform, mode)",
        "",
    ),
    (
        "cube",
        "SELECT region, champion_id, max(amount) AS top FROM live GROUP BY CUBE (region, champion_id) HAVING count(*) > 1",
        "",
    ),
    (
        "grouping_sets",
        "SELECT platform, ranked, count(DISTINCT mode) AS modes FROM matches GROUP BY GROUPING SETS ((platform, ranked), (ranked), (platform), ())",
        "",
    ),
];
