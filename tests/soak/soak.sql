-- What runs for hours: every kind of state that must not grow, and one view that tells whether all came once.
CREATE SOURCE scores (id BIGINT, player BIGINT, points BIGINT, scored_at TIMESTAMPTZ,
  WATERMARK FOR scored_at AS scored_at - INTERVAL '5 seconds') WITH (
  connector = 'kafka', topic = 'soak.scores', properties.bootstrap.server = '${KAFKA_BOOTSTRAP}'
) FORMAT PLAIN ENCODE JSON;

-- Deduplicated, and forgotten after five minutes of event time.
CREATE TABLE rounds (id BIGINT, player BIGINT, points BIGINT, scored_at TIMESTAMPTZ, PRIMARY KEY (id),
  WATERMARK FOR scored_at AS scored_at - INTERVAL '5 seconds') ON CONFLICT DO NOTHING WITH (
  connector = 'kafka', topic = 'soak.scores', retention = '5 minutes',
  properties.bootstrap.server = '${KAFKA_BOOTSTRAP}'
) FORMAT PLAIN ENCODE JSON;

CREATE MATERIALIZED VIEW minutes WITH (retention = '10 minutes') AS
  SELECT window_start, window_end, player, count(*) AS n, sum(points) AS points, max(points) AS best
  FROM TUMBLE(rounds, scored_at, INTERVAL '1 minute') GROUP BY window_start, window_end, player;

CREATE MATERIALIZED VIEW recent WITH (retention = '10 minutes') AS
  SELECT window_start, window_end, player, count(*) AS n
  FROM HOP(scores, scored_at, INTERVAL '10 seconds', INTERVAL '30 seconds')
  GROUP BY window_start, window_end, player EMIT ON WINDOW CLOSE;

CREATE MATERIALIZED VIEW total AS SELECT count(*) AS n, sum(id) AS ids FROM scores;

CREATE SINK minutes_out FROM minutes WITH (
  connector = 'kafka', topic = 'soak.minutes', primary_key = 'window_start,window_end,player',
  properties.bootstrap.server = '${KAFKA_BOOTSTRAP}'
) FORMAT UPSERT ENCODE JSON;
