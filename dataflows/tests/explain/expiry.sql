-- State that a watermark ends: of groups and partitions, of an outer join within an interval, of an as-of join, and a
-- view that is served for a while.
CREATE SOURCE kills (
  team VARCHAR, gold BIGINT, at TIMESTAMPTZ, WATERMARK FOR at AS at - INTERVAL '1 minute'
) WITH (connector = 'kafka', topic = 'kills') FORMAT PLAIN ENCODE JSON;
CREATE SOURCE wards (
  team VARCHAR, kind VARCHAR, placed_at TIMESTAMPTZ, WATERMARK FOR placed_at AS placed_at - INTERVAL '2 minutes'
) WITH (connector = 'kafka', topic = 'wards') FORMAT PLAIN ENCODE JSON;
CREATE MATERIALIZED VIEW medians WITH (retention = '7 days') AS
SELECT window_end, team, median(gold) AS gold FROM TUMBLE(kills, at, INTERVAL '5 minutes') GROUP BY window_end, team;
CREATE MATERIALIZED VIEW best AS
SELECT window_end, team, gold
FROM (SELECT *, rank() OVER (PARTITION BY window_end ORDER BY gold DESC NULLS LAST) AS r
      FROM TUMBLE(kills, at, INTERVAL '5 minutes')) AS x
WHERE r <= 3;
CREATE MATERIALIZED VIEW seen AS
SELECT k.team, k.gold, w.kind
FROM kills AS k LEFT JOIN wards AS w
ON k.team = w.team AND w.placed_at BETWEEN k.at - INTERVAL '90 seconds' AND k.at;
CREATE MATERIALIZED VIEW last_ward AS
SELECT k.team, k.gold, w.kind
FROM kills AS k ASOF JOIN wards AS w MATCH_CONDITION (k.at >= w.placed_at) ON k.team = w.team;
