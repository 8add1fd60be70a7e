-- The topology of `exactly.rs`: events as they are, their totals, and a join with a table that changes.
CREATE SOURCE events (k VARCHAR NOT NULL, seq BIGINT NOT NULL, v BIGINT NOT NULL) WITH (
  connector = 'kafka', topic = 'PREFIX.events', properties.bootstrap.server = '${KAFKA_BOOTSTRAP}',
  dead_letter.topic = 'PREFIX.dead'
) FORMAT PLAIN ENCODE JSON;

CREATE TABLE players (id VARCHAR, team VARCHAR, version BIGINT, PRIMARY KEY (id))
ON CONFLICT OVERWRITE WITH VERSION COLUMN (version) WITH (
  connector = 'kafka', topic = 'PREFIX.players', properties.bootstrap.server = '${KAFKA_BOOTSTRAP}'
) FORMAT PLAIN ENCODE JSON;

CREATE SINK events_out FROM events WITH (
  connector = 'kafka', topic = 'PREFIX.events_out', key = 'k', topic.partitions = '2',
  properties.transaction.timeout.ms = '${TRANSACTION_MS:-60000}',
  properties.bootstrap.server = '${KAFKA_BOOTSTRAP}'
) FORMAT PLAIN ENCODE JSON;

CREATE SINK events_file FROM events WITH (connector = 'file', path = 'events.jsonl') FORMAT PLAIN ENCODE JSON;

CREATE MATERIALIZED VIEW totals AS SELECT k, count(*) AS n, sum(v) AS s, max(seq) AS last FROM events GROUP BY k;
CREATE SINK totals_out FROM totals WITH (
  connector = 'kafka', topic = 'PREFIX.totals_out', primary_key = 'k',
  properties.bootstrap.server = '${KAFKA_BOOTSTRAP}'
) FORMAT UPSERT ENCODE JSON;

CREATE MATERIALIZED VIEW teams AS
  SELECT p.team, count(*) AS n, sum(e.v) AS s FROM events AS e JOIN players AS p ON e.k = p.id GROUP BY p.team;
CREATE SINK teams_out FROM teams WITH (
  connector = 'kafka', topic = 'PREFIX.teams_out', primary_key = 'team',
  properties.bootstrap.server = '${KAFKA_BOOTSTRAP}'
) FORMAT UPSERT ENCODE JSON;
