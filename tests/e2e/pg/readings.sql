-- One column of every type; no record is added after the file's end.
CREATE TABLE readings (
  id BIGINT NOT NULL, ok BOOLEAN, small SMALLINT, n INT, r REAL, d DOUBLE PRECISION, price DECIMAL(10, 2), name VARCHAR,
  raw BYTEA, day DATE, clock TIME, wall TIMESTAMP, at TIMESTAMPTZ, span INTERVAL, uid UUID, doc JSONB, tags VARCHAR[],
  xs BIGINT[], who STRUCT<name VARCHAR, age INT>, PRIMARY KEY (id)
) WITH (connector = 'file', path = 'readings.jsonl') FORMAT PLAIN ENCODE JSON;
CREATE MATERIALIZED VIEW every_type AS SELECT * FROM readings;
CREATE SOURCE events (id BIGINT NOT NULL, k VARCHAR NOT NULL, n BIGINT NOT NULL) WITH (
  connector = 'datagen', rows.per.second = '2000', seed = '3', fields.id.kind = 'sequence',
  fields.k.kind = 'choice', fields.k.values = 'a, b, c, d', fields.n.kind = 'random'
) FORMAT PLAIN ENCODE JSON;
CREATE MATERIALIZED VIEW wide AS SELECT id, k, n FROM events;
