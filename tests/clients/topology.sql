-- Views that the clients of PostgreSQL read (run.py). Run it as `herald run topology.sql --name clients` in a directory
-- that holds records/: the sinks write there what the views hold, and expected.py asks DuckDB over that.

-- A column of every type. Of its rows one has only NULLs, one the least values, one the greatest, one text that every
-- format has to escape.
CREATE TABLE readings (
  id BIGINT NOT NULL, ok BOOLEAN, small SMALLINT, n INT, r REAL, d DOUBLE PRECISION, price DECIMAL(10, 2), name VARCHAR,
  raw BYTEA, day DATE, clock TIME, wall TIMESTAMP, moment TIMESTAMPTZ, span INTERVAL, uid UUID, doc JSONB, tags VARCHAR[],
  xs BIGINT[], moments TIMESTAMPTZ[], who STRUCT<name VARCHAR, age INT>, PRIMARY KEY (id)
) WITH (connector = 'file', path = 'records/readings.jsonl') FORMAT PLAIN ENCODE JSON;
CREATE MATERIALIZED VIEW every_type AS SELECT * FROM readings;

-- What dashboards read: totals by a key, with a time.
CREATE SOURCE matches (player VARCHAR NOT NULL, won BOOLEAN, points DECIMAL(10, 2), ended_at TIMESTAMPTZ NOT NULL)
WITH (connector = 'file', path = 'records/matches.jsonl') FORMAT PLAIN ENCODE JSON;
CREATE MATERIALIZED VIEW totals AS
SELECT player, count(*) FILTER (WHERE won) AS wins, sum(points) AS points, max(ended_at) AS last_seen
FROM matches GROUP BY player;
CREATE INDEX totals_by_wins ON totals (wins);

-- More rows than a client takes at once.
CREATE TABLE numbers (id BIGINT NOT NULL, k VARCHAR NOT NULL, v BIGINT NOT NULL, PRIMARY KEY (id)) WITH (
  connector = 'datagen', rows.total = '20000', seed = '7', fields.id.kind = 'sequence',
  fields.k.kind = 'choice', fields.k.values = 'a, b, c, d', fields.v.kind = 'random'
) FORMAT PLAIN ENCODE JSON;
CREATE MATERIALIZED VIEW big AS SELECT id, k, v FROM numbers;

-- A view that changes all the time, for what a transaction sees of it.
CREATE SOURCE clicks (k VARCHAR NOT NULL) WITH (
  connector = 'datagen', rows.per.second = '200', seed = '8', fields.k.kind = 'choice', fields.k.values = 'a, b'
) FORMAT PLAIN ENCODE JSON;
CREATE MATERIALIZED VIEW ticks AS SELECT k, count(*) AS n FROM clicks GROUP BY k;

CREATE SINK every_type_out FROM every_type WITH (connector = 'file', path = 'every_type.out', primary_key = 'id')
FORMAT UPSERT ENCODE JSON;
CREATE SINK totals_out FROM totals WITH (connector = 'file', path = 'totals.out', primary_key = 'player')
FORMAT UPSERT ENCODE JSON;
CREATE SINK big_out FROM big WITH (connector = 'file', path = 'big.out', primary_key = 'id')
FORMAT UPSERT ENCODE JSON;
