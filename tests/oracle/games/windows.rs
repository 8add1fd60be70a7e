//! Views of the oracle over ordered partitions: ranks, top-N, LIMIT, DISTINCT ON, LAG and LEAD, running
//! aggregates, sessions.
//!
//! Where a rank decides which rows come out, the order is total. DuckDB puts NULLs last in either
//! direction, so the queries say where they go.

/// Name, Herald's SQL, and DuckDB's where that differs.
pub const VIEWS: &[(&str, &str, &str)] = &[
    (
        "numbered",
        "SELECT match_id, platform, row_number() OVER (PARTITION BY platform ORDER BY duration_s DESC NULLS LAST, match_id) AS rn FROM matches",
        "",
    ),
    (
        "top_three",
        "SELECT platform, rn, match_id, duration_s FROM (SELECT *, row_number() OVER (PARTITION BY platform ORDER BY duration_s DESC NULLS LAST, match_id) AS rn FROM matches) AS numbered WHERE rn <= 3",
        "",
    ),
    (
        "latest_of_region",
        "SELECT region, viewer, amount, seen_at FROM (SELECT *, row_number() OVER (PARTITION BY region ORDER BY seen_at DESC, part, place) AS rn FROM live) AS numbered WHERE rn = 1",
        "",
    ),
    (
        "ranked",
        "SELECT match_id, mode, rank() OVER w AS r, dense_rank() OVER w AS d FROM matches WINDOW w AS (PARTITION BY mode ORDER BY minutes NULLS FIRST)",
        "",
    ),
    (
        "best_two_ranks",
        "SELECT mode, match_id, r FROM (SELECT match_id, mode, rank() OVER (PARTITION BY mode ORDER BY minutes DESC NULLS FIRST, rating NULLS FIRST) AS r FROM matches) AS ranked WHERE r < 3 AND mode IS NOT NULL",
        "",
    ),
    (
        "two_values",
        "SELECT part, place, amount FROM (SELECT *, dense_rank() OVER (ORDER BY amount NULLS LAST) AS d FROM live) AS ranked WHERE 2 >= d",
        "",
    ),
    (
        "longest_five",
        "SELECT match_id, duration_s FROM matches ORDER BY duration_s DESC NULLS LAST, match_id LIMIT 5",
        "",
    ),
    (
        "after_the_first",
        "SELECT viewer, amount + 1 AS more FROM live ORDER BY amount NULLS FIRST, part, place LIMIT 3 OFFSET 2",
        "",
    ),
    ("no_rows", "SELECT match_id FROM matches ORDER BY match_id LIMIT 0", ""),
    (
        "of_the_longest",
        "SELECT l.match_id, p.puuid FROM longest_five AS l JOIN participants AS p ON l.match_id = p.match_id",
        "",
    ),
    (
        "best_of_platform",
        "SELECT DISTINCT ON (platform) platform, match_id, rating FROM matches ORDER BY platform, rating DESC NULLS LAST, match_id",
        "SELECT platform, match_id, rating FROM matches QUALIFY row_number() OVER (PARTITION BY platform ORDER BY rating DESC NULLS LAST, match_id) = 1",
    ),
    (
        "last_of_mode",
        "SELECT match_id, mode FROM matches QUALIFY row_number() OVER (PARTITION BY mode ORDER BY match_id DESC) = 1",
        "",
    ),
    (
        "in_their_order",
        "SELECT m.match_id, p.puuid, p.ordinality FROM matches AS m LEFT JOIN UNNEST(m.players) WITH ORDINALITY AS p ON TRUE",
        "SELECT match_id, p.puuid, nth AS ordinality FROM (SELECT match_id, unnest(CASE WHEN players IS NULL OR len(players) = 0 THEN [NULL] ELSE players END) AS p, unnest(CASE WHEN players IS NULL OR len(players) = 0 THEN [NULL] ELSE range(1, len(players) + 1) END) AS nth FROM matches)",
    ),
    (
        "intersect_all",
        "SELECT champion_id, region FROM live INTERSECT ALL SELECT champion_id, region FROM clicks",
        "",
    ),
    (
        "except_all",
        "(SELECT platform, mode FROM matches EXCEPT ALL SELECT platform, mode FROM matches WHERE ranked) UNION ALL SELECT region, viewer FROM live",
        "",
    ),
    (
        "neighbours",
        "SELECT part, place, amount, lag(amount) OVER w AS one_before, lead(amount, 2, -1) OVER w AS two_after FROM live WINDOW w AS (PARTITION BY region ORDER BY seen_at, part, place)",
        "",
    ),
    (
        "running",
        "SELECT part, place, sum(amount) OVER w AS total, count(*) OVER w AS n, avg(amount) OVER (PARTITION BY region ORDER BY seen_at, part, place ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) AS recent, max(amount) OVER (PARTITION BY region) AS top, min(amount) OVER (ORDER BY seen_at, part, place ROWS BETWEEN 1 FOLLOWING AND 3 FOLLOWING) AS soon FROM live WINDOW w AS (PARTITION BY region ORDER BY seen_at, part, place)",
        "",
    ),
    (
        "with_peers",
        "SELECT match_id, puuid, sum(kills) OVER (PARTITION BY champion_id ORDER BY kills NULLS LAST) AS up_to, count(*) FILTER (WHERE win) OVER (PARTITION BY champion_id) AS wins FROM participants",
        "",
    ),
    (
        "share",
        "SELECT champion_id, games, sum(games) OVER () AS games_of_all, rank() OVER (ORDER BY games DESC) AS place FROM per_champion",
        "",
    ),
    (
        "place_of_champion",
        "SELECT champion_id, count(*) AS games, dense_rank() OVER (ORDER BY count(*) DESC) AS place FROM participants GROUP BY champion_id",
        "",
    ),
    (
        "parts_of_a_partition",
        "SELECT match_id, ntile(3) OVER w AS third, percent_rank() OVER w AS p, cume_dist() OVER w AS c, first_value(rating) OVER w AS first, last_value(match_id) OVER (PARTITION BY platform ORDER BY match_id ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING) AS last, nth_value(match_id, 2) OVER w AS second FROM matches WINDOW w AS (PARTITION BY platform ORDER BY match_id)",
        "",
    ),
    (
        "last_known_tier",
        "SELECT champion_id, lag(tier) IGNORE NULLS OVER (ORDER BY champion_id) AS tier FROM champions",
        "SELECT champion_id, lag(tier IGNORE NULLS) OVER (ORDER BY champion_id) AS tier FROM champions",
    ),
    (
        "live_sessions",
        "SELECT window_start, window_end, region, count(*) AS n, sum(amount) AS s FROM SESSION(live PARTITION BY region, seen_at, INTERVAL '20 seconds') GROUP BY window_start, window_end, region",
        "SELECT min(seen_at) AS window_start, max(seen_at) + INTERVAL '20 seconds' AS window_end, region, count(*) AS n, sum(amount) AS s FROM (SELECT *, sum(fresh) OVER (PARTITION BY region ORDER BY seen_at, part, place) AS nth FROM (SELECT *, CASE WHEN seen_at - lag(seen_at) OVER (PARTITION BY region ORDER BY seen_at, part, place) < INTERVAL '20 seconds' THEN 0 ELSE 1 END AS fresh FROM live WHERE seen_at IS NOT NULL)) GROUP BY region, nth",
    ),
    (
        "match_sessions",
        "SELECT s.match_id, s.window_start, s.window_end FROM SESSION(TABLE matches PARTITION BY (platform, mode), DESCRIPTOR(ended_at), INTERVAL '15 minutes') AS s",
        "SELECT match_id, min(ended_at) OVER (PARTITION BY platform, mode, nth) AS window_start, max(ended_at) OVER (PARTITION BY platform, mode, nth) + INTERVAL '15 minutes' AS window_end FROM (SELECT *, sum(fresh) OVER (PARTITION BY platform, mode ORDER BY ended_at, match_id) AS nth FROM (SELECT *, CASE WHEN ended_at - lag(ended_at) OVER (PARTITION BY platform, mode ORDER BY ended_at, match_id) < INTERVAL '15 minutes' THEN 0 ELSE 1 END AS fresh FROM matches WHERE ended_at IS NOT NULL))",
    ),
    (
        "busy_times",
        "SELECT window_start, count(*) AS n FROM SESSION(matches, ended_at, INTERVAL '2 minutes') GROUP BY window_start HAVING count(*) > 1",
        "SELECT min(ended_at) AS window_start, count(*) AS n FROM (SELECT *, sum(fresh) OVER (ORDER BY ended_at, match_id) AS nth FROM (SELECT *, CASE WHEN ended_at - lag(ended_at) OVER (ORDER BY ended_at, match_id) < INTERVAL '2 minutes' THEN 0 ELSE 1 END AS fresh FROM matches WHERE ended_at IS NOT NULL)) GROUP BY nth HAVING count(*) > 1",
    ),
];
