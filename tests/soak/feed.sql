-- Scores, generated at a steady rate into Kafka: the input of `soak.sql`.
CREATE SOURCE scores (id BIGINT, player BIGINT, points BIGINT, scored_at TIMESTAMPTZ) WITH (
  connector = 'datagen', rows.per.second = '${RATE}', seed = '7',
  fields.id.kind = 'sequence', fields.id.start = '0', fields.id.step = '1',
  fields.player.kind = 'random', fields.player.min = '0', fields.player.max = '4999',
  fields.points.kind = 'random', fields.points.min = '0', fields.points.max = '100',
  fields.scored_at.kind = 'timestamp', fields.scored_at.start = '${START}', fields.scored_at.step.ms = '1',
  fields.scored_at.jitter.ms = '2000'
) FORMAT PLAIN ENCODE JSON;

CREATE SINK scores_out FROM scores WITH (
  connector = 'kafka', topic = 'soak.scores', key = 'id', topic.partitions = '2',
  properties.bootstrap.server = '${KAFKA_BOOTSTRAP}'
) FORMAT PLAIN ENCODE JSON;
