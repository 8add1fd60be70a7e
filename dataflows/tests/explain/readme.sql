-- The example of the design, but for the registry.
CREATE TABLE matches (
  match_id     VARCHAR NOT NULL,
  platform     VARCHAR NOT NULL,
  ended_at     TIMESTAMPTZ NOT NULL,
  duration_s   BIGINT,
  participants STRUCT<puuid VARCHAR, champion_id INT, kills INT, deaths INT, assists INT, win BOOLEAN>[],
  fetched_at   TIMESTAMPTZ,
  PRIMARY KEY (match_id),
  CONSTRAINT sane_duration CHECK (duration_s BETWEEN 0 AND 14400),
  WATERMARK FOR ended_at AS ended_at - INTERVAL '1 hour'
) ON CONFLICT OVERWRITE WITH VERSION COLUMN (fetched_at)
INCLUDE timestamp AS produced_at
WITH (
  connector = 'kafka', topic = 'match.completed', retention = '400 days',
  properties.bootstrap.server = '${KAFKA_BOOTSTRAP:-127.0.0.1:9092}',
  dead_letter.topic = 'herald.dead_letter'
) FORMAT PLAIN ENCODE JSON;

CREATE VIEW participants AS
  SELECT m.match_id, m.platform, m.ended_at, p.* FROM matches AS m, UNNEST(m.participants) AS p;

CREATE MATERIALIZED VIEW champion_hourly AS
  SELECT window_start, window_end, platform, champion_id,
         count(*) AS games, avg(CASE WHEN win THEN 1.0 ELSE 0.0 END) AS win_rate
  FROM TUMBLE(participants, ended_at, INTERVAL '1 hour')
  GROUP BY window_start, window_end, platform, champion_id;

CREATE SINK champion_hourly_out FROM champion_hourly WITH (
  connector = 'kafka', topic = 'analytics.computed.champion_hourly', properties.bootstrap.server = '${KAFKA_BOOTSTRAP:-127.0.0.1:9092}',
  primary_key = 'window_start,platform,champion_id'
) FORMAT UPSERT ENCODE AVRO (schema.registry = 'http://127.0.0.1:8081');
