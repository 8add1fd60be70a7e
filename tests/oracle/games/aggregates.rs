//! Views of the oracle over aggregates beyond count, sum, avg, min and max: with FILTER, DISTINCT and
//! ORDER BY, grouped and over everything, mixed with each other.
//!
//! What has no order here is in the order of its values, NULL first; what ties in ORDER BY too. DuckDB
//! is told so. `regr_r2` over a y that does not vary is NULL here, and a correlation too.

/// Name, Herald's SQL, and DuckDB's where that differs.
pub const VIEWS: &[(&str, &str, &str)] = &[
    (
        "booleans",
        "SELECT platform, bool_and(ranked) AS a, bool_or(ranked) AS o, every(duration_s > 600) AS e, bool_or(ranked) FILTER (WHERE mode = 'aram') AS f, bool_and(DISTINCT ranked) AS d FROM matches GROUP BY platform",
        "SELECT platform, bool_and(ranked) AS a, bool_or(ranked) AS o, bool_and(duration_s > 600) AS e, bool_or(ranked) FILTER (WHERE mode = 'aram') AS f, bool_and(ranked) AS d FROM matches GROUP BY platform",
    ),
    ("booleans_total", "SELECT bool_and(amount < 90) AS a, bool_or(score > 9.5) AS o FROM live", ""),
    (
        "spread",
        "SELECT platform, var_pop(rating) AS vp, var_samp(rating) AS vs, stddev_pop(rating) AS dp, stddev(rating) AS ds, stddev_samp(duration_s) FILTER (WHERE ranked) AS f, var(price) AS p, var_pop(DISTINCT duration_s) AS d FROM matches GROUP BY platform",
        "SELECT platform, var_pop(rating) AS vp, var_samp(rating) AS vs, stddev_pop(rating) AS dp, stddev(rating) AS ds, stddev_samp(duration_s) FILTER (WHERE ranked) AS f, var_samp(price) AS p, var_pop(DISTINCT duration_s) AS d FROM matches GROUP BY platform",
    ),
    (
        "spread_total",
        "SELECT count(*) AS n, var_pop(score) AS v, stddev_pop(amount) AS d, variance(score + 1000) AS f, stddev(amount) FILTER (WHERE region = 'kr') AS k FROM live",
        "",
    ),
    ("spread_matches", "SELECT stddev(duration_s) AS d, var_pop(rating) AS v FROM matches", ""),
    (
        "regressions",
        "SELECT region, corr(score, amount) AS r, covar_pop(score, amount) AS cp, covar_samp(score, amount) AS cs, regr_slope(score, amount) AS b, regr_intercept(score, amount) AS a, regr_count(score, amount) AS n, regr_r2(score, amount) AS r2, regr_avgx(score, amount) AS ax, regr_avgy(score, amount) AS ay, regr_sxx(score, amount) AS sxx, regr_syy(score, amount) AS syy, regr_sxy(score, amount) AS sxy FROM live GROUP BY region HAVING regr_count(score, amount) < 1000",
        "SELECT region, CASE WHEN NOT flat THEN r END AS r, cp, cs, CASE WHEN low < high THEN b END AS b, CASE WHEN low < high THEN a END AS a, n, CASE WHEN NOT flat THEN r2 END AS r2, ax, ay, sxx, syy, sxy FROM (SELECT region, min(amount) FILTER (WHERE score IS NOT NULL) AS low, max(amount) FILTER (WHERE score IS NOT NULL) AS high, min(amount) FILTER (WHERE score IS NOT NULL) = max(amount) FILTER (WHERE score IS NOT NULL) OR min(score) FILTER (WHERE amount IS NOT NULL) = max(score) FILTER (WHERE amount IS NOT NULL) AS flat, corr(score, amount) AS r, covar_pop(score, amount) AS cp, covar_samp(score, amount) AS cs, regr_slope(score, amount) AS b, regr_intercept(score, amount) AS a, regr_count(score, amount) AS n, regr_r2(score, amount) AS r2, regr_avgx(score, amount) AS ax, regr_avgy(score, amount) AS ay, regr_sxx(score, amount) AS sxx, regr_syy(score, amount) AS syy, regr_sxy(score, amount) AS sxy FROM live GROUP BY region)",
    ),
    (
        "regressions_matches",
        "SELECT covar_pop(rating, duration_s) FILTER (WHERE ranked) AS c, regr_sxy(rating, duration_s) AS s, regr_avgy(rating, duration_s) AS y FROM matches",
        "",
    ),
    (
        "arrays",
        "SELECT platform, array_agg(mode) AS modes, array_agg(duration_s ORDER BY ended_at DESC, match_id) AS durations, array_agg(DISTINCT mode) AS kinds, array_agg(match_id ORDER BY match_id) FILTER (WHERE ranked) AS ids, array_agg(DISTINCT duration_s ORDER BY duration_s DESC) AS lengths FROM matches GROUP BY platform",
        "SELECT platform, list(mode ORDER BY mode NULLS FIRST) AS modes, list(duration_s ORDER BY ended_at DESC, match_id) AS durations, list(DISTINCT mode ORDER BY mode NULLS FIRST) AS kinds, list(match_id ORDER BY match_id) FILTER (WHERE ranked) AS ids, list(DISTINCT duration_s ORDER BY duration_s DESC NULLS FIRST) AS lengths FROM matches GROUP BY platform",
    ),
    (
        "arrays_total",
        "SELECT array_agg(tier ORDER BY tier DESC NULLS LAST) AS tiers, array_agg(name ORDER BY role, tier NULLS FIRST) AS names, array_agg(champion_id) IGNORE NULLS AS ids, array_agg(role) IGNORE NULLS AS roles FROM champions",
        "SELECT list(tier ORDER BY tier DESC NULLS LAST) AS tiers, list(name ORDER BY role NULLS LAST, tier NULLS FIRST, name NULLS FIRST) AS names, list(champion_id ORDER BY champion_id) AS ids, list(role ORDER BY role) FILTER (WHERE role IS NOT NULL) AS roles FROM champions",
    ),
    (
        "arrays_live",
        "SELECT champion_id, array_agg(amount) AS amounts, array_agg(score ORDER BY score DESC) AS scores FROM live GROUP BY champion_id",
        "SELECT champion_id, list(amount ORDER BY amount NULLS FIRST) AS amounts, list(score ORDER BY score DESC NULLS FIRST) AS scores FROM live GROUP BY champion_id",
    ),
    (
        "texts",
        "SELECT region, string_agg(viewer, ',') AS v, string_agg(DISTINCT viewer, '-' ORDER BY viewer DESC) AS d, string_agg(viewer, '; ' ORDER BY amount) FILTER (WHERE amount > 10) AS f FROM live GROUP BY region",
        "SELECT region, string_agg(viewer, ',' ORDER BY viewer) AS v, string_agg(DISTINCT viewer, '-' ORDER BY viewer DESC) AS d, string_agg(viewer, '; ' ORDER BY amount, viewer) FILTER (WHERE amount > 10) AS f FROM live GROUP BY region",
    ),
    (
        "texts_total",
        "SELECT string_agg(coalesce(mode, '-'), '' ORDER BY match_id DESC) AS modes, string_agg(platform, '|') FILTER (WHERE ranked) AS p, string_agg(duration_s, ',') AS d FROM matches",
        "SELECT string_agg(coalesce(mode, '-'), '' ORDER BY match_id DESC) AS modes, string_agg(platform, '|' ORDER BY platform) FILTER (WHERE ranked) AS p, string_agg(CAST(duration_s AS VARCHAR), ',' ORDER BY CAST(duration_s AS VARCHAR)) AS d FROM matches",
    ),
    (
        "firsts",
        "SELECT platform, first_value(mode ORDER BY ended_at, match_id) AS f, last_value(duration_s ORDER BY mode) AS l, first_value(rating ORDER BY duration_s DESC) AS r, first_value(mode ORDER BY duration_s) IGNORE NULLS AS m, last_value(price) FILTER (WHERE ranked) AS p, first_value(duration_s) AS d, first_value(players ORDER BY match_id) AS who FROM matches GROUP BY platform",
        "SELECT platform, first(mode ORDER BY ended_at, match_id) AS f, last(duration_s ORDER BY mode NULLS LAST, duration_s NULLS FIRST) AS l, first(rating ORDER BY duration_s DESC NULLS FIRST, rating NULLS FIRST) AS r, first(mode ORDER BY duration_s NULLS LAST, mode) FILTER (WHERE mode IS NOT NULL) AS m, last(price ORDER BY price NULLS FIRST) FILTER (WHERE ranked) AS p, first(duration_s ORDER BY duration_s NULLS FIRST) AS d, first(players ORDER BY match_id) AS who FROM matches GROUP BY platform",
    ),
    (
        "firsts_live",
        "SELECT first_value(viewer ORDER BY seen_at, part, place) AS f, last_value(viewer ORDER BY seen_at, part, place) AS l, last_value(score ORDER BY amount NULLS FIRST) AS s FROM live",
        "SELECT first(viewer ORDER BY seen_at, part, place) AS f, last(viewer ORDER BY seen_at, part, place) AS l, last(score ORDER BY amount NULLS FIRST, score NULLS FIRST) AS s FROM live",
    ),
    (
        "medians",
        "SELECT platform, median(rating) AS r, median(duration_s) AS d, median(price) AS p, percentile_cont(0.9) WITHIN GROUP (ORDER BY rating) AS p9, percentile_cont(0.2) WITHIN GROUP (ORDER BY duration_s DESC) FILTER (WHERE ranked) AS p2, percentile_cont(rating, 0.37) AS p37, median(DISTINCT duration_s) AS dd, percentile_cont(0) WITHIN GROUP (ORDER BY rating) AS least FROM matches GROUP BY platform",
        "SELECT platform, r, d, CASE WHEN len(cents) > 0 THEN printf('%.2f', ((cents[(len(cents) + 1) // 2] + cents[len(cents) // 2 + 1]) // 2) / 100.0) END AS p, p9, p2, p37, dd, least FROM (SELECT platform, median(rating) AS r, median(duration_s) AS d, list(CAST(price * 100 AS BIGINT) ORDER BY price) FILTER (WHERE price IS NOT NULL) AS cents, quantile_cont(rating, 0.9) AS p9, quantile_cont(duration_s, 0.8) FILTER (WHERE ranked) AS p2, quantile_cont(rating, 0.37) AS p37, median(DISTINCT duration_s) AS dd, min(rating) AS least FROM matches GROUP BY platform)",
    ),
    (
        "medians_total",
        "SELECT median(n) AS n, median(level) AS l, median(weight) AS w, percentile_cont(0.25) WITHIN GROUP (ORDER BY n) AS q FROM clicks",
        "SELECT median(n) AS n, median(level) AS l, median(weight) AS w, quantile_cont(n, 0.25) AS q FROM clicks",
    ),
    (
        "bits",
        "SELECT region, bit_and(n) AS a, bit_or(n) AS o, bit_xor(n) AS x, bit_xor(DISTINCT level) AS d, bit_or(level) FILTER (WHERE n > 3) AS f FROM clicks GROUP BY region",
        "",
    ),
    ("bits_total", "SELECT bit_and(duration_s) AS a, bit_xor(tier) AS x FROM matches, champions", ""),
    (
        "mixed_kinds",
        "SELECT region, count(*) AS n, array_agg(amount) AS amounts, sum(amount) AS s, count(DISTINCT viewer) AS v, median(score) AS m, stddev(score) AS d, approx_distinct(champion_id) AS c, string_agg(viewer, '' ORDER BY place, part) AS t, max(amount) FILTER (WHERE score > 5) AS top FROM live GROUP BY region HAVING approx_distinct(champion_id) > 0",
        "SELECT region, count(*) AS n, list(amount ORDER BY amount NULLS FIRST) AS amounts, sum(amount) AS s, count(DISTINCT viewer) AS v, median(score) AS m, stddev(score) AS d, count(DISTINCT champion_id) AS c, string_agg(viewer, '' ORDER BY place, part, viewer) AS t, max(amount) FILTER (WHERE score > 5) AS top FROM live GROUP BY region HAVING count(DISTINCT champion_id) > 0",
    ),
    (
        "mixed_total",
        "SELECT count(*) AS n, median(rating) AS m, bool_or(ranked) AS r, count(DISTINCT mode) AS k, array_agg(DISTINCT platform) AS p FROM matches",
        "SELECT count(*) AS n, median(rating) AS m, bool_or(ranked) AS r, count(DISTINCT mode) AS k, list(DISTINCT platform ORDER BY platform NULLS FIRST) AS p FROM matches",
    ),
    ("over_arrays", "SELECT kinds, count(*) AS n FROM arrays GROUP BY kinds", ""),
    (
        "unnested_arrays",
        "SELECT u, count(*) AS n FROM arrays AS a, UNNEST(a.durations) AS u GROUP BY u",
        "SELECT u, count(*) AS n FROM (SELECT unnest(durations) AS u FROM arrays) GROUP BY u",
    ),
    (
        "having_folded",
        "SELECT mode, median(duration_s) AS m FROM matches GROUP BY mode HAVING median(duration_s) > 500 AND string_agg(platform, ',') <> 'kr' AND upper(string_agg(platform, ',')) LIKE '%K%'",
        "SELECT mode, median(duration_s) AS m FROM matches GROUP BY mode HAVING median(duration_s) > 500 AND string_agg(platform, ',' ORDER BY platform) <> 'kr' AND upper(string_agg(platform, ',' ORDER BY platform)) LIKE '%K%'",
    ),
    (
        "folded_beside",
        "SELECT c.champion_id, (SELECT string_agg(p.puuid, ',') FROM participants AS p WHERE p.champion_id = c.champion_id) AS who, (SELECT median(amount) FROM live) AS m, (SELECT approx_distinct(p.kills) FROM participants AS p WHERE p.champion_id = c.tier) AS k FROM champions AS c",
        "SELECT c.champion_id, (SELECT string_agg(p.puuid, ',' ORDER BY p.puuid) FROM participants AS p WHERE p.champion_id = c.champion_id) AS who, (SELECT median(amount) FROM live) AS m, (SELECT count(DISTINCT p.kills) FROM participants AS p WHERE p.champion_id = c.tier) AS k FROM champions AS c",
    ),
    (
        "windowed_median",
        "SELECT window_start, platform, median(rating) AS m, array_agg(match_id ORDER BY rating DESC, match_id) AS best FROM TUMBLE(matches, ended_at, INTERVAL '1 hour') GROUP BY window_start, platform",
        "SELECT w AS window_start, platform, median(rating) AS m, list(match_id ORDER BY rating DESC NULLS FIRST, match_id) AS best FROM (SELECT *, time_bucket(INTERVAL '1 hour', ended_at, TIMESTAMP '1970-01-01') AS w FROM matches WHERE ended_at IS NOT NULL) GROUP BY w, platform",
    ),
];
