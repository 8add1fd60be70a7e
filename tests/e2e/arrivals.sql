-- For the restart test, beside match_analytics.sql: every record of the topic as one row of a PLAIN
-- sink, with its coordinates, so that a record lost or taken twice shows.

CREATE SOURCE arrivals (
  event_id VARCHAR
) INCLUDE partition AS source_partition INCLUDE offset AS source_offset
WITH (
  connector = 'kafka', topic = 'match.completed',
  properties.bootstrap.server = '${KAFKA_BOOTSTRAP}'
) FORMAT PLAIN ENCODE JSON;

CREATE SINK arrivals_out AS
  SELECT event_id, source_partition, source_offset FROM arrivals
WITH (
  connector = 'kafka', topic = 'arrivals',
  properties.bootstrap.server = '${KAFKA_BOOTSTRAP}',
  topic.partitions = '2'
) FORMAT PLAIN ENCODE JSON;
