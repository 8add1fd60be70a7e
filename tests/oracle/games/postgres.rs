//! Queries for PostgreSQL where it has not Herald's words for it: windows of time, joins named by kind,
//! medians, and the order of values that nothing orders (Herald's is by their bytes, NULL first).

/// Name of a view, and PostgreSQL's text.
pub const VIEWS: &[(&str, &str)] = &[
    ("quotient", "SELECT match_id, 1000 / duration_s AS q FROM matches WHERE duration_s IS DISTINCT FROM 0"),
    (
        "tumble",
        "SELECT w AS window_start, w + INTERVAL '1 hour' AS window_end, platform, count(*) AS n, avg(rating) AS a FROM (SELECT *, date_trunc('hour', ended_at) AS w FROM matches) AS m GROUP BY w, platform",
    ),
    (
        "hop",
        "SELECT w - k * INTERVAL '10 seconds' AS window_start, region, count(*) AS n, sum(amount) AS s, max(seen_at) AS last FROM (SELECT *, date_bin('10 seconds', seen_at, '1970-01-01') AS w FROM live) AS l, generate_series(0, 2) AS k GROUP BY 1, region",
    ),
    (
        "window_rows",
        "SELECT match_id, puuid, date_bin('15 minutes', ended_at, '1970-01-01') + INTERVAL '15 minutes' AS window_end FROM participants WHERE win",
    ),
    (
        "as_flink_has_it",
        "SELECT date_trunc('minute', seen_at) + INTERVAL '1 minute' AS window_end, count(*) AS n FROM live GROUP BY 1",
    ),
    (
        "inequality_full",
        "SELECT c.champion_id, c.tier, q.puuid FROM champions AS c LEFT JOIN players AS q ON c.tier > length(q.puuid) UNION ALL SELECT NULL, NULL, q.puuid FROM players AS q WHERE NOT EXISTS (SELECT 1 FROM champions AS c WHERE c.tier > length(q.puuid))",
    ),
    (
        "semi_join",
        "SELECT c.champion_id, c.name FROM champions AS c WHERE c.champion_id IN (SELECT l.champion_id FROM live AS l)",
    ),
    (
        "anti_join",
        "SELECT l.part, l.place, l.champion_id FROM live AS l WHERE NOT EXISTS (SELECT 1 FROM champions AS c WHERE c.champion_id = l.champion_id)",
    ),
    (
        "spread",
        "SELECT platform, var_pop(rating) AS vp, var_samp(rating) AS vs, stddev_pop(rating) AS dp, stddev(rating) AS ds, stddev_samp(duration_s) FILTER (WHERE ranked) AS f, variance(price) AS p, var_pop(DISTINCT duration_s) AS d FROM matches GROUP BY platform",
    ),
    (
        "regressions",
        "SELECT region, CASE WHEN NOT flat THEN r END AS r, cp, cs, CASE WHEN low < high THEN b END AS b, CASE WHEN low < high THEN a END AS a, n, CASE WHEN NOT flat THEN r2 END AS r2, ax, ay, sxx, syy, sxy FROM (SELECT region, min(amount) FILTER (WHERE score IS NOT NULL) AS low, max(amount) FILTER (WHERE score IS NOT NULL) AS high, min(amount) FILTER (WHERE score IS NOT NULL) = max(amount) FILTER (WHERE score IS NOT NULL) OR min(score) FILTER (WHERE amount IS NOT NULL) = max(score) FILTER (WHERE amount IS NOT NULL) AS flat, corr(score, amount) AS r, covar_pop(score, amount) AS cp, covar_samp(score, amount) AS cs, regr_slope(score, amount) AS b, regr_intercept(score, amount) AS a, regr_count(score, amount) AS n, regr_r2(score, amount) AS r2, regr_avgx(score, amount) AS ax, regr_avgy(score, amount) AS ay, regr_sxx(score, amount) AS sxx, regr_syy(score, amount) AS syy, regr_sxy(score, amount) AS sxy FROM live GROUP BY region) AS q",
    ),
    (
        "arrays",
        "SELECT platform, array_agg(mode ORDER BY mode NULLS FIRST) AS modes, array_agg(duration_s ORDER BY ended_at DESC, match_id) AS durations, array_agg(DISTINCT mode ORDER BY mode NULLS FIRST) AS kinds, array_agg(match_id ORDER BY match_id) FILTER (WHERE ranked) AS ids, array_agg(DISTINCT duration_s ORDER BY duration_s DESC) AS lengths FROM matches GROUP BY platform",
    ),
    (
        "arrays_total",
        "SELECT array_agg(tier ORDER BY tier DESC NULLS LAST) AS tiers, array_agg(name ORDER BY role, tier NULLS FIRST, name NULLS FIRST) AS names, array_agg(champion_id ORDER BY champion_id) AS ids, array_agg(role ORDER BY role) FILTER (WHERE role IS NOT NULL) AS roles FROM champions",
    ),
    (
        "arrays_live",
        "SELECT champion_id, array_agg(amount ORDER BY amount NULLS FIRST) AS amounts, array_agg(score ORDER BY score DESC) AS scores FROM live GROUP BY champion_id",
    ),
    (
        "texts",
        "SELECT region, string_agg(viewer, ',' ORDER BY viewer) AS v, array_to_string(array_agg(DISTINCT viewer ORDER BY viewer DESC) FILTER (WHERE viewer IS NOT NULL), '-') AS d, string_agg(viewer, '; ' ORDER BY amount, viewer) FILTER (WHERE amount > 10) AS f FROM live GROUP BY region",
    ),
    (
        "texts_total",
        "SELECT string_agg(coalesce(mode, '-'), '' ORDER BY match_id DESC) AS modes, string_agg(platform, '|' ORDER BY platform) FILTER (WHERE ranked) AS p, string_agg(CAST(duration_s AS VARCHAR), ',' ORDER BY CAST(duration_s AS VARCHAR)) AS d FROM matches",
    ),
    (
        "firsts",
        "SELECT platform, (array_agg(mode ORDER BY ended_at, match_id))[1] AS f, (array_agg(duration_s ORDER BY mode DESC NULLS FIRST, duration_s DESC NULLS LAST))[1] AS l, (array_agg(rating ORDER BY duration_s DESC, rating NULLS FIRST))[1] AS r, (array_agg(mode ORDER BY duration_s, mode) FILTER (WHERE mode IS NOT NULL))[1] AS m, (array_agg(price ORDER BY price DESC NULLS LAST) FILTER (WHERE ranked))[1] AS p, (array_agg(duration_s ORDER BY duration_s NULLS FIRST))[1] AS d, (array_agg(to_jsonb(players) ORDER BY match_id))[1] AS who FROM matches GROUP BY platform",
    ),
    (
        "firsts_live",
        "SELECT (array_agg(viewer ORDER BY seen_at, part, place))[1] AS f, (array_agg(viewer ORDER BY seen_at DESC, part DESC, place DESC))[1] AS l, (array_agg(score ORDER BY amount DESC NULLS LAST, score DESC NULLS LAST))[1] AS s FROM live",
    ),
    (
        "medians",
        "SELECT platform, r, d, trunc((prices[(cardinality(prices) + 1) / 2] + prices[cardinality(prices) / 2 + 1]) / 2, 2) AS p, p9, p2, p37, dd, least FROM (SELECT platform, percentile_cont(0.5) WITHIN GROUP (ORDER BY rating) AS r, percentile_cont(0.5) WITHIN GROUP (ORDER BY duration_s) AS d, array_agg(price ORDER BY price) FILTER (WHERE price IS NOT NULL) AS prices, percentile_cont(0.9) WITHIN GROUP (ORDER BY rating) AS p9, percentile_cont(0.2) WITHIN GROUP (ORDER BY duration_s DESC) FILTER (WHERE ranked) AS p2, percentile_cont(0.37) WITHIN GROUP (ORDER BY rating) AS p37, (SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY duration_s) FROM (SELECT DISTINCT m.platform, o.duration_s FROM matches AS o WHERE o.platform IS NOT DISTINCT FROM m.platform) AS q) AS dd, min(rating) AS least FROM matches AS m GROUP BY platform) AS q",
    ),
    (
        "medians_total",
        "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY n) AS n, percentile_cont(0.5) WITHIN GROUP (ORDER BY level) AS l, percentile_cont(0.5) WITHIN GROUP (ORDER BY weight) AS w, percentile_cont(0.25) WITHIN GROUP (ORDER BY n) AS q FROM clicks",
    ),
    (
        "mixed_kinds",
        "SELECT region, count(*) AS n, array_agg(amount ORDER BY amount NULLS FIRST) AS amounts, sum(amount) AS s, count(DISTINCT viewer) AS v, percentile_cont(0.5) WITHIN GROUP (ORDER BY score) AS m, stddev(score) AS d, count(DISTINCT champion_id) AS c, string_agg(viewer, '' ORDER BY place, part, viewer) AS t, max(amount) FILTER (WHERE score > 5) AS top FROM live GROUP BY region HAVING count(DISTINCT champion_id) > 0",
    ),
    (
        "mixed_total",
        "SELECT count(*) AS n, percentile_cont(0.5) WITHIN GROUP (ORDER BY rating) AS m, bool_or(ranked) AS r, count(DISTINCT mode) AS k, array_agg(DISTINCT platform ORDER BY platform NULLS FIRST) AS p FROM matches",
    ),
    (
        "having_folded",
        "SELECT mode, percentile_cont(0.5) WITHIN GROUP (ORDER BY duration_s) AS m FROM matches GROUP BY mode HAVING percentile_cont(0.5) WITHIN GROUP (ORDER BY duration_s) > 500 AND string_agg(platform, ',' ORDER BY platform) <> 'kr' AND upper(string_agg(platform, ',' ORDER BY platform)) LIKE '%K%'",
    ),
    (
        "folded_beside",
        "SELECT c.champion_id, (SELECT string_agg(p.puuid, ',' ORDER BY p.puuid) FROM participants AS p WHERE p.champion_id = c.champion_id) AS who, (SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY amount) FROM live) AS m, (SELECT count(DISTINCT p.kills) FROM participants AS p WHERE p.champion_id = c.tier) AS k FROM champions AS c",
    ),
    (
        "windowed_median",
        "SELECT date_trunc('hour', ended_at) AS window_start, platform, percentile_cont(0.5) WITHIN GROUP (ORDER BY rating) AS m, array_agg(match_id ORDER BY rating DESC, match_id) AS best FROM matches GROUP BY 1, platform",
    ),
    (
        "last_of_mode",
        "SELECT match_id, mode FROM (SELECT *, row_number() OVER (PARTITION BY mode ORDER BY match_id DESC) AS n FROM matches) AS q WHERE n = 1",
    ),
    (
        "last_known_tier",
        "SELECT champion_id, (SELECT o.tier FROM champions AS o WHERE o.champion_id < c.champion_id AND o.tier IS NOT NULL ORDER BY o.champion_id DESC LIMIT 1) AS tier FROM champions AS c",
    ),
    (
        "live_sessions",
        "SELECT min(seen_at) AS window_start, max(seen_at) + INTERVAL '20 seconds' AS window_end, region, count(*) AS n, sum(amount) AS s FROM (SELECT *, sum(fresh) OVER (PARTITION BY region ORDER BY seen_at, part, place) AS nth FROM (SELECT *, CASE WHEN seen_at - lag(seen_at) OVER (PARTITION BY region ORDER BY seen_at, part, place) < INTERVAL '20 seconds' THEN 0 ELSE 1 END AS fresh FROM live) AS a) AS b GROUP BY region, nth",
    ),
    (
        "match_sessions",
        "SELECT match_id, min(ended_at) OVER (PARTITION BY platform, mode, nth) AS window_start, max(ended_at) OVER (PARTITION BY platform, mode, nth) + INTERVAL '15 minutes' AS window_end FROM (SELECT *, sum(fresh) OVER (PARTITION BY platform, mode ORDER BY ended_at, match_id) AS nth FROM (SELECT *, CASE WHEN ended_at - lag(ended_at) OVER (PARTITION BY platform, mode ORDER BY ended_at, match_id) < INTERVAL '15 minutes' THEN 0 ELSE 1 END AS fresh FROM matches) AS a) AS b",
    ),
    (
        "busy_times",
        "SELECT min(ended_at) AS window_start, count(*) AS n FROM (SELECT *, sum(fresh) OVER (ORDER BY ended_at, match_id) AS nth FROM (SELECT *, CASE WHEN ended_at - lag(ended_at) OVER (ORDER BY ended_at, match_id) < INTERVAL '2 minutes' THEN 0 ELSE 1 END AS fresh FROM matches) AS a) AS b GROUP BY nth HAVING count(*) > 1",
    ),
];
