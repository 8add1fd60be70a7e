-- Three layers of matches as files in Parquet: raw, validated and aggregated. It stands behind the
-- topology whose tables and views it exports:
--
--   herald run match_analytics.sql match_exports.sql
--
-- EXPORTS is a directory, or s3://bucket/prefix. docs/export.md tells how the files are read.

-- Raw: every record that is a JSON object, with its bytes and its place in the topic, as often as
-- it came. No constraint holds for it, so what matches refuses is here; what is no JSON is a dead letter.
CREATE SOURCE raw_matches (
  event_id VARCHAR
)
INCLUDE partition AS kafka_partition
INCLUDE offset AS kafka_offset
INCLUDE timestamp AS received_at
INCLUDE payload AS body
WITH (
  connector = 'kafka',
  topic = 'match.completed',
  properties.bootstrap.server = '${KAFKA_BOOTSTRAP:-127.0.0.1:9092}'
)
FORMAT PLAIN ENCODE JSON;

CREATE SINK raw_files AS
  SELECT event_id, kafka_partition, kafka_offset, received_at, body
  FROM raw_matches
WITH (connector = 'parquet', path = '${EXPORTS:-exports}/raw', partition_by = 'received_at')
FORMAT PLAIN ENCODE PARQUET;

-- Validated: the newest version of each match that keeps the constraints, as changes by epoch.
CREATE MATERIALIZED VIEW validated_matches AS
  SELECT
    match_id,
    platform,
    ended_at,
    duration_s,
    fetched_at,
    "match"['info']['participants'] AS players
  FROM matches;

CREATE SINK validated_files FROM validated_matches
WITH (
  connector = 'parquet',
  path = '${EXPORTS:-exports}/validated',
  mode = 'changes',
  primary_key = 'match_id'
)
FORMAT UPSERT ENCODE PARQUET;

-- Aggregated: all rows of the hourly view at one epoch, replaced as a whole.
CREATE SINK aggregated_files FROM champion_hourly
WITH (
  connector = 'parquet',
  path = '${EXPORTS:-exports}/aggregated',
  mode = 'current',
  primary_key = 'window_start,platform,champion_id'
)
FORMAT UPSERT ENCODE PARQUET;
