CREATE TABLE m (id VARCHAR NOT NULL, kind VARCHAR, at TIMESTAMPTZ NOT NULL, n BIGINT, tags VARCHAR[], PRIMARY KEY (id))
  ON CONFLICT OVERWRITE WITH (connector = 'file', path = 'm') FORMAT PLAIN ENCODE JSON;
CREATE SOURCE s (k VARCHAR, at TIMESTAMPTZ NOT NULL, n BIGINT) WITH (connector = 'file', path = 's') FORMAT PLAIN ENCODE JSON;

CREATE MATERIALIZED VIEW top_three AS
  SELECT kind, rn, id, n FROM (SELECT *, row_number() OVER (PARTITION BY kind ORDER BY n DESC, id) AS rn FROM m) AS q
  WHERE rn <= 3;
CREATE MATERIALIZED VIEW latest AS SELECT DISTINCT ON (k) k, at, n FROM s ORDER BY k, at DESC NULLS LAST;
CREATE MATERIALIZED VIEW longest AS SELECT id, n FROM m ORDER BY n DESC LIMIT 10 OFFSET 2;
CREATE MATERIALIZED VIEW running AS
  SELECT k, at, sum(n) OVER (PARTITION BY k ORDER BY at) AS total, lag(n) IGNORE NULLS OVER (PARTITION BY k ORDER BY at) AS before,
         rank() OVER (ORDER BY n % 10 NULLS FIRST) AS place
  FROM s;
CREATE MATERIALIZED VIEW sessions AS
  SELECT window_start, window_end, k, count(*) AS n FROM SESSION(s PARTITION BY k, at, INTERVAL '5 minutes')
  GROUP BY window_start, window_end, k;
CREATE MATERIALIZED VIEW common AS SELECT kind FROM m INTERSECT ALL SELECT k FROM s;
CREATE MATERIALIZED VIEW numbered_tags AS SELECT m.id, t.tag, t.nth FROM m, UNNEST(m.tags) WITH ORDINALITY AS t(tag, nth);
CREATE MATERIALIZED VIEW rolled AS SELECT kind, n, grouping(kind) AS g, count(*) AS c FROM m GROUP BY ROLLUP (kind, n);
CREATE SINK top_out FROM top_three WITH (connector = 'blackhole', primary_key = 'kind,rn') FORMAT UPSERT ENCODE JSON;
CREATE SINK latest_out FROM latest WITH (connector = 'blackhole', primary_key = 'k') FORMAT UPSERT ENCODE JSON;
