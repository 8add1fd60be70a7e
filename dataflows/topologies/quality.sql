-- Data quality: how complete, fresh, unique and correct the records of the raw topics are, by source and hour,
-- and the hours in which a metric is beyond its threshold. Run it beside the topology of the matches, as one of its
-- own: it reads the dead letters that the other writes. docs/quality.md tells how to use it.
--
-- A source is a topic, an hour is that of the record's timestamp. Records are taken as they are, so each is counted,
-- whatever it holds. One without a timestamp is in no hour.
--
-- Kept: a row a source and hour for 90 days behind the watermark of the source, which is a day behind its newest
-- record; of these the newest 720 hours are shown, 30 days, with their alerts; digests of ids for 30 days and times
-- since the end of matches for a day, behind the same watermark; fields for 30 days behind all watermarks, rules for
-- 31 days behind the newest dead letter. For ever: of an hour with rejected records their number, for dead letters may
-- be too few to tell the time. A record more than a day older than the newest of its partition is `late` here, and not
-- counted; of dead letters, one that is more than 30 days older. A source is shown once each of its partitions has had
-- a record; one in which nothing comes any more holds back the ends, and hides nothing.
--
-- Persons: bodies are looked at and not kept, in no view. Kept are counts, times and digests of ids of matches, or of
-- bodies where there is no id, so an order to erase has nothing to take out of the views. But what is `late` here is a
-- rejected record as any other: `herald.dead_letter` of this state has it, until an order names somebody in it.

-- Orders to erase a person: rejected records that name one lose their bytes. Without a dead-letter topic, since the one that
-- is read below has what other topologies reject, and a broken order is among that.
CREATE TABLE erasures (
  subject VARCHAR NOT NULL,
  requested_at TIMESTAMPTZ,
  PRIMARY KEY (subject)
)
WITH (
  connector = 'kafka',
  topic = 'user.erased',
  properties.bootstrap.server = '${KAFKA_BOOTSTRAP:-127.0.0.1:9092}',
  personal = 'subject',
  erase = 'subject'
)
FORMAT PLAIN ENCODE JSON;

CREATE SOURCE riot_match_raw (
  body BYTEA,
  WATERMARK FOR received_at AS received_at - INTERVAL '1 day'
)
INCLUDE timestamp AS received_at
WITH (
  connector = 'kafka',
  topic = 'riot.match',
  properties.bootstrap.server = '${KAFKA_BOOTSTRAP:-127.0.0.1:9092}'
)
FORMAT PLAIN ENCODE BYTES;

CREATE SOURCE riot_timeline_raw (
  body BYTEA,
  WATERMARK FOR received_at AS received_at - INTERVAL '1 day'
)
INCLUDE timestamp AS received_at
WITH (
  connector = 'kafka',
  topic = 'riot.timeline',
  properties.bootstrap.server = '${KAFKA_BOOTSTRAP:-127.0.0.1:9092}'
)
FORMAT PLAIN ENCODE BYTES;

CREATE SOURCE halo_match_raw (
  body BYTEA,
  WATERMARK FOR received_at AS received_at - INTERVAL '1 day'
)
INCLUDE timestamp AS received_at
WITH (
  connector = 'kafka',
  topic = 'halo.match',
  properties.bootstrap.server = '${KAFKA_BOOTSTRAP:-127.0.0.1:9092}'
)
FORMAT PLAIN ENCODE BYTES;

-- The answer does not name its match: the record's key does.
CREATE SOURCE halo_skill_raw (
  body BYTEA,
  WATERMARK FOR received_at AS received_at - INTERVAL '1 day'
)
INCLUDE timestamp AS received_at
INCLUDE key AS record_key
WITH (
  connector = 'kafka',
  topic = 'halo.skill',
  properties.bootstrap.server = '${KAFKA_BOOTSTRAP:-127.0.0.1:9092}'
)
FORMAT PLAIN ENCODE BYTES;

-- Dead letters, each at the time of the record that it was. Markers of replays and rows of views that failed come
-- from no record: they have no time, and are in no hour.
CREATE SOURCE dead_letters (
  body BYTEA,
  at TIMESTAMPTZ AS (
    CASE
      WHEN encode(topic, 'escape') = '' OR topic IS NULL THEN NULL
      WHEN encode(stamp, 'escape') ~ '^[0-9]{1,13}$'
        THEN to_timestamp_millis(CAST(encode(stamp, 'escape') AS BIGINT))
    END
  ),
  -- Their order is that in which a topology reads several topics: in a backlog an old one of one topic comes behind a
  -- new one of another.
  WATERMARK FOR at AS at - INTERVAL '30 days'
)
INCLUDE header 'herald.topic' AS topic
INCLUDE header 'herald.timestamp' AS stamp
INCLUDE header 'herald.outcome' AS outcome
INCLUDE header 'herald.constraint' AS rule
WITH (
  connector = 'kafka',
  topic = 'herald.dead_letter',
  properties.bootstrap.server = '${KAFKA_BOOTSTRAP:-127.0.0.1:9092}'
)
FORMAT PLAIN ENCODE BYTES;

-- Thresholds that somebody changed: the last record of a metric and source counts, and a null value takes it back.
CREATE TABLE threshold_changes (
  metric VARCHAR,
  source VARCHAR,
  bound DOUBLE NOT NULL,
  direction VARCHAR NOT NULL,
  PRIMARY KEY (metric, source),
  CONSTRAINT known_direction CHECK (direction IN ('above', 'below'))
)
WITH (
  connector = 'kafka',
  topic = 'quality.threshold',
  properties.bootstrap.server = '${KAFKA_BOOTSTRAP:-127.0.0.1:9092}'
)
FORMAT UPSERT ENCODE JSON KEY ENCODE JSON;

-- The records of each source: an id (that of the match, or else the bytes), when the match ended, and for each
-- field that is expected whether it is there. A record that is not JSON has no fields: it is among the rejected.

CREATE VIEW riot_match_bodies AS
  SELECT received_at, body, doc, coalesce(doc -> 'info', doc) AS info
  FROM (SELECT received_at, body, try_jsonb(body) AS doc FROM riot_match_raw) AS r;

CREATE VIEW riot_match_records AS
  SELECT
    received_at,
    coalesce(
      nullif(doc #>> '{metadata,matchId}', ''),
      (info ->> 'platformId') || '_' || (info ->> 'gameId'),
      md5(body),
      ''
    ) AS record_id,
    -- Matches from before patch 11.20 have no end, and their duration counts milliseconds.
    CASE
      WHEN info ->> 'gameEndTimestamp' ~ '^[0-9]{1,13}$'
        THEN to_timestamp_millis(CAST(info ->> 'gameEndTimestamp' AS BIGINT))
      WHEN info ->> 'gameStartTimestamp' ~ '^[0-9]{1,13}$'
        AND info ->> 'gameDuration' ~ '^[0-9]{1,13}$'
        THEN to_timestamp_millis(
          CAST(info ->> 'gameStartTimestamp' AS BIGINT) + CAST(info ->> 'gameDuration' AS BIGINT)
        )
    END AS ended_at,
    info
  FROM riot_match_bodies;

CREATE VIEW riot_match_fields AS
  SELECT r.received_at, f.field, f.found
  FROM riot_match_records AS r,
    LATERAL (
      VALUES
        ('platform', coalesce(r.info ->> 'platformId', '') <> ''),
        ('mode', coalesce(r.info ->> 'gameMode', '') <> ''),
        ('queue', r.info ->> 'queueId' IS NOT NULL),
        ('map', r.info ->> 'mapId' IS NOT NULL),
        ('patch', coalesce(r.info ->> 'gameVersion', '') <> ''),
        ('start', r.info ->> 'gameStartTimestamp' IS NOT NULL),
        ('end', r.ended_at IS NOT NULL),
        ('duration', r.info ->> 'gameDuration' IS NOT NULL),
        ('teams', coalesce(r.info #>> '{teams,0}', '') <> ''),
        ('players', coalesce(r.info #>> '{participants,0}', '') <> ''),
        -- The first player has one, or nobody has: the API names all or none.
        ('player ids', coalesce(r.info #>> '{participants,0,puuid}', '') <> '')
    ) AS f (field, found)
  WHERE r.info IS NOT NULL;

CREATE VIEW riot_timeline_records AS
  SELECT
    received_at,
    coalesce(nullif(doc #>> '{metadata,matchId}', ''), md5(body), '') AS record_id,
    CAST(NULL AS TIMESTAMPTZ) AS ended_at,
    doc
  FROM (SELECT received_at, body, try_jsonb(body) AS doc FROM riot_timeline_raw) AS r;

CREATE VIEW riot_timeline_fields AS
  SELECT r.received_at, f.field, f.found
  FROM riot_timeline_records AS r,
    LATERAL (
      VALUES
        ('match id', coalesce(r.doc #>> '{metadata,matchId}', '') <> ''),
        ('frames', coalesce(r.doc #>> '{info,frames,0}', '') <> ''),
        ('players', coalesce(r.doc #>> '{info,frames,0,participantFrames}', '') <> ''),
        ('events', coalesce(r.doc #>> '{info,frames,0,events}', '') <> '')
    ) AS f (field, found)
  WHERE r.doc IS NOT NULL;

CREATE VIEW halo_match_records AS
  SELECT
    received_at,
    coalesce(nullif(doc ->> 'MatchId', ''), md5(body), '') AS record_id,
    -- The first of the month and the days since then: whatever the day, it is a time.
    CASE
      WHEN ended ~ '^(19|20)[0-9]{2}-(0[1-9]|1[0-2])-[0-3][0-9]T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,9})?Z$'
        THEN CAST(substr(ended, 1, 8) || '01' || substr(ended, 11) AS TIMESTAMPTZ) + (
          CAST(substr(ended, 9, 2) AS INT) - 1
        ) * INTERVAL '1 day'
    END AS ended_at,
    doc
  FROM (
    SELECT received_at, body, doc, doc #>> '{MatchInfo,EndTime}' AS ended
    FROM (SELECT received_at, body, try_jsonb(body) AS doc FROM halo_match_raw) AS b
  ) AS r;

CREATE VIEW halo_match_fields AS
  SELECT r.received_at, f.field, f.found
  FROM halo_match_records AS r,
    LATERAL (
      VALUES
        ('match id', coalesce(r.doc ->> 'MatchId', '') <> ''),
        ('mode', r.doc #>> '{MatchInfo,GameVariantCategory}' IS NOT NULL),
        ('queue', r.doc #>> '{MatchInfo,LifecycleMode}' IS NOT NULL),
        ('map', coalesce(r.doc #>> '{MatchInfo,MapVariant,AssetId}', '') <> ''),
        ('start', coalesce(r.doc #>> '{MatchInfo,StartTime}', '') <> ''),
        ('end', r.ended_at IS NOT NULL),
        ('duration', coalesce(r.doc #>> '{MatchInfo,Duration}', '') <> ''),
        ('players', coalesce(r.doc #>> '{Players,0}', '') <> ''),
        ('player ids', coalesce(r.doc #>> '{Players,0,PlayerId}', '') <> '')
    ) AS f (field, found)
  WHERE r.doc IS NOT NULL;

CREATE VIEW halo_skill_records AS
  SELECT
    received_at,
    coalesce(encode(record_key, 'escape'), md5(body), '') AS record_id,
    CAST(NULL AS TIMESTAMPTZ) AS ended_at,
    record_key,
    doc
  FROM (SELECT received_at, record_key, body, try_jsonb(body) AS doc FROM halo_skill_raw) AS r;

CREATE VIEW halo_skill_fields AS
  SELECT r.received_at, f.field, f.found
  FROM halo_skill_records AS r,
    LATERAL (
      VALUES
        ('match id', r.record_key IS NOT NULL),
        ('players', coalesce(r.doc #>> '{Value,0}', '') <> ''),
        ('player ids', coalesce(r.doc #>> '{Value,0,Id}', '') <> ''),
        ('expectations', coalesce(r.doc #>> '{Value,0,Result,StatPerformances}', '') <> '')
    ) AS f (field, found)
  WHERE r.doc IS NOT NULL;

-- By hour, for each source of its own, so that each ends with its own watermark: the ids, those that no hour of the
-- 30 days before had, the records, and the fields.

CREATE VIEW riot_match_ids AS
  SELECT window_start AS hour, md5(record_id) AS record_id
  FROM TUMBLE(riot_match_records, received_at, INTERVAL '1 hour')
  GROUP BY window_start, window_end, md5(record_id);

CREATE VIEW riot_match_firsts AS
  SELECT i.hour, count(*) AS firsts
  FROM riot_match_ids AS i
    LEFT ANTI JOIN riot_match_ids AS e ON e.record_id = i.record_id
      AND e.hour BETWEEN i.hour - INTERVAL '30 days' AND i.hour - INTERVAL '1 hour'
  GROUP BY i.hour;

CREATE VIEW riot_match_hours AS
  SELECT
    window_start AS hour,
    count(*) AS received,
    count(ended_at) AS matches,
    count(*) FILTER (WHERE received_at > ended_at + INTERVAL '1 day') AS late,
    percentile_cont(0.5) WITHIN GROUP (
      ORDER BY CAST(extract(epoch FROM received_at - ended_at) AS DOUBLE)
    ) AS freshness_median_s,
    percentile_cont(0.9) WITHIN GROUP (
      ORDER BY CAST(extract(epoch FROM received_at - ended_at) AS DOUBLE)
    ) AS freshness_p90_s,
    max(received_at) AS newest
  FROM TUMBLE(riot_match_records, received_at, INTERVAL '1 hour')
  GROUP BY window_start, window_end;

CREATE VIEW riot_match_hour_fields AS
  SELECT
    window_start AS hour,
    field,
    count(*) AS expected,
    count(*) FILTER (WHERE NOT found) AS missing
  FROM TUMBLE(riot_match_fields, received_at, INTERVAL '1 hour')
  GROUP BY window_start, window_end, field;

CREATE VIEW riot_timeline_ids AS
  SELECT window_start AS hour, md5(record_id) AS record_id
  FROM TUMBLE(riot_timeline_records, received_at, INTERVAL '1 hour')
  GROUP BY window_start, window_end, md5(record_id);

CREATE VIEW riot_timeline_firsts AS
  SELECT i.hour, count(*) AS firsts
  FROM riot_timeline_ids AS i
    LEFT ANTI JOIN riot_timeline_ids AS e ON e.record_id = i.record_id
      AND e.hour BETWEEN i.hour - INTERVAL '30 days' AND i.hour - INTERVAL '1 hour'
  GROUP BY i.hour;

CREATE VIEW riot_timeline_hours AS
  SELECT
    window_start AS hour,
    count(*) AS received,
    count(ended_at) AS matches,
    count(*) FILTER (WHERE received_at > ended_at + INTERVAL '1 day') AS late,
    percentile_cont(0.5) WITHIN GROUP (
      ORDER BY CAST(extract(epoch FROM received_at - ended_at) AS DOUBLE)
    ) AS freshness_median_s,
    percentile_cont(0.9) WITHIN GROUP (
      ORDER BY CAST(extract(epoch FROM received_at - ended_at) AS DOUBLE)
    ) AS freshness_p90_s,
    max(received_at) AS newest
  FROM TUMBLE(riot_timeline_records, received_at, INTERVAL '1 hour')
  GROUP BY window_start, window_end;

CREATE VIEW riot_timeline_hour_fields AS
  SELECT
    window_start AS hour,
    field,
    count(*) AS expected,
    count(*) FILTER (WHERE NOT found) AS missing
  FROM TUMBLE(riot_timeline_fields, received_at, INTERVAL '1 hour')
  GROUP BY window_start, window_end, field;

CREATE VIEW halo_match_ids AS
  SELECT window_start AS hour, md5(record_id) AS record_id
  FROM TUMBLE(halo_match_records, received_at, INTERVAL '1 hour')
  GROUP BY window_start, window_end, md5(record_id);

CREATE VIEW halo_match_firsts AS
  SELECT i.hour, count(*) AS firsts
  FROM halo_match_ids AS i
    LEFT ANTI JOIN halo_match_ids AS e ON e.record_id = i.record_id
      AND e.hour BETWEEN i.hour - INTERVAL '30 days' AND i.hour - INTERVAL '1 hour'
  GROUP BY i.hour;

CREATE VIEW halo_match_hours AS
  SELECT
    window_start AS hour,
    count(*) AS received,
    count(ended_at) AS matches,
    count(*) FILTER (WHERE received_at > ended_at + INTERVAL '1 day') AS late,
    percentile_cont(0.5) WITHIN GROUP (
      ORDER BY CAST(extract(epoch FROM received_at - ended_at) AS DOUBLE)
    ) AS freshness_median_s,
    percentile_cont(0.9) WITHIN GROUP (
      ORDER BY CAST(extract(epoch FROM received_at - ended_at) AS DOUBLE)
    ) AS freshness_p90_s,
    max(received_at) AS newest
  FROM TUMBLE(halo_match_records, received_at, INTERVAL '1 hour')
  GROUP BY window_start, window_end;

CREATE VIEW halo_match_hour_fields AS
  SELECT
    window_start AS hour,
    field,
    count(*) AS expected,
    count(*) FILTER (WHERE NOT found) AS missing
  FROM TUMBLE(halo_match_fields, received_at, INTERVAL '1 hour')
  GROUP BY window_start, window_end, field;

CREATE VIEW halo_skill_ids AS
  SELECT window_start AS hour, md5(record_id) AS record_id
  FROM TUMBLE(halo_skill_records, received_at, INTERVAL '1 hour')
  GROUP BY window_start, window_end, md5(record_id);

CREATE VIEW halo_skill_firsts AS
  SELECT i.hour, count(*) AS firsts
  FROM halo_skill_ids AS i
    LEFT ANTI JOIN halo_skill_ids AS e ON e.record_id = i.record_id
      AND e.hour BETWEEN i.hour - INTERVAL '30 days' AND i.hour - INTERVAL '1 hour'
  GROUP BY i.hour;

CREATE VIEW halo_skill_hours AS
  SELECT
    window_start AS hour,
    count(*) AS received,
    count(ended_at) AS matches,
    count(*) FILTER (WHERE received_at > ended_at + INTERVAL '1 day') AS late,
    percentile_cont(0.5) WITHIN GROUP (
      ORDER BY CAST(extract(epoch FROM received_at - ended_at) AS DOUBLE)
    ) AS freshness_median_s,
    percentile_cont(0.9) WITHIN GROUP (
      ORDER BY CAST(extract(epoch FROM received_at - ended_at) AS DOUBLE)
    ) AS freshness_p90_s,
    max(received_at) AS newest
  FROM TUMBLE(halo_skill_records, received_at, INTERVAL '1 hour')
  GROUP BY window_start, window_end;

CREATE VIEW halo_skill_hour_fields AS
  SELECT
    window_start AS hour,
    field,
    count(*) AS expected,
    count(*) FILTER (WHERE NOT found) AS missing
  FROM TUMBLE(halo_skill_fields, received_at, INTERVAL '1 hour')
  GROUP BY window_start, window_end, field;

-- All sources, 90 days of each by its own clock. Both sides of a join end alike, or it would keep the other.
CREATE VIEW quality_hours AS
  SELECT
    source,
    hour,
    max(received) AS received,
    max(matches) AS matches,
    max(late) AS late,
    max(freshness_median_s) AS freshness_median_s,
    max(freshness_p90_s) AS freshness_p90_s,
    max(newest) AS newest
  FROM (
    SELECT 'riot.match' AS source, *
    FROM riot_match_hours
    WHERE hour > now() - INTERVAL '90 days'
    UNION ALL
    SELECT 'riot.timeline', *
    FROM riot_timeline_hours
    WHERE hour > now() - INTERVAL '90 days'
    UNION ALL
    SELECT 'halo.match', *
    FROM halo_match_hours
    WHERE hour > now() - INTERVAL '90 days'
    UNION ALL
    SELECT 'halo.skill', *
    FROM halo_skill_hours
    WHERE hour > now() - INTERVAL '90 days'
  ) AS u
  GROUP BY source, hour;

CREATE VIEW quality_firsts AS
  SELECT source, hour, max(firsts) AS firsts
  FROM (
    SELECT 'riot.match' AS source, *
    FROM riot_match_firsts
    WHERE hour > now() - INTERVAL '90 days'
    UNION ALL
    SELECT 'riot.timeline', *
    FROM riot_timeline_firsts
    WHERE hour > now() - INTERVAL '90 days'
    UNION ALL
    SELECT 'halo.match', *
    FROM halo_match_firsts
    WHERE hour > now() - INTERVAL '90 days'
    UNION ALL
    SELECT 'halo.skill', *
    FROM halo_skill_firsts
    WHERE hour > now() - INTERVAL '90 days'
  ) AS u
  GROUP BY source, hour;

CREATE VIEW quality_hour_fields AS
  SELECT 'riot.match' AS source, *
  FROM riot_match_hour_fields
  UNION ALL
  SELECT 'riot.timeline', *
  FROM riot_timeline_hour_fields
  UNION ALL
  SELECT 'halo.match', *
  FROM halo_match_hour_fields
  UNION ALL
  SELECT 'halo.skill', *
  FROM halo_skill_hour_fields;

-- Of the records that are JSON, the share in which a field is missing.
CREATE MATERIALIZED VIEW quality_fields WITH (retention = '30 days') AS
  SELECT
    source,
    hour,
    field,
    sum(expected) AS records,
    sum(missing) AS missing,
    CAST(sum(missing) AS DOUBLE) / sum(expected) AS missing_share
  FROM quality_hour_fields
  GROUP BY source, hour, field;

-- Rejected records by the rule that refused them: the name of a constraint, or the outcome where none did.
CREATE MATERIALIZED VIEW quality_rules WITH (retention = '1 day') AS
  SELECT
    encode(topic, 'escape') AS source,
    window_start AS hour,
    encode(outcome, 'escape') AS outcome,
    coalesce(encode(rule, 'escape'), encode(outcome, 'escape')) AS rule,
    count(*) AS rejected
  FROM TUMBLE(dead_letters, at, INTERVAL '1 hour')
  WHERE encode(outcome, 'escape') IN ('decode', 'constraint', 'late')
  GROUP BY window_start, window_end, 1, 3, 4;

CREATE VIEW quality_rejected AS
  SELECT
    source,
    hour,
    sum(rejected) AS rejected,
    sum(rejected) FILTER (WHERE outcome = 'decode') AS decode,
    sum(rejected) FILTER (WHERE outcome = 'constraint') AS constrained,
    sum(rejected) FILTER (WHERE outcome = 'late') AS late
  FROM quality_rules
  GROUP BY source, hour;

CREATE VIEW quality_complete AS
  SELECT source, hour, CAST(sum(expected) - sum(missing) AS DOUBLE) / sum(expected) AS completeness
  FROM (
    SELECT 'riot.match' AS source, *
    FROM riot_match_hour_fields
    WHERE hour > now() - INTERVAL '90 days'
    UNION ALL
    SELECT 'riot.timeline' AS source, *
    FROM riot_timeline_hour_fields
    WHERE hour > now() - INTERVAL '90 days'
    UNION ALL
    SELECT 'halo.match' AS source, *
    FROM halo_match_hour_fields
    WHERE hour > now() - INTERVAL '90 days'
    UNION ALL
    SELECT 'halo.skill' AS source, *
    FROM halo_skill_hour_fields
    WHERE hour > now() - INTERVAL '90 days'
  ) AS u
  GROUP BY source, hour;

-- The newest 720 hours in which a source had records: 30 days of a source that always has some.
CREATE MATERIALIZED VIEW quality_hourly AS
  SELECT
    h.source,
    h.hour,
    h.received,
    coalesce(r.decode, 0) AS rejected_decode,
    coalesce(r.constrained, 0) AS rejected_constraint,
    coalesce(r.late, 0) AS rejected_late,
    CAST(h.received - coalesce(r.rejected, 0) AS DOUBLE) / h.received AS success_rate,
    h.received - coalesce(f.firsts, 0) AS duplicates,
    CAST(h.received - coalesce(f.firsts, 0) AS DOUBLE) / h.received AS duplicate_share,
    CAST(h.late AS DOUBLE) / nullif(h.matches, 0) AS late_share,
    c.completeness,
    h.freshness_median_s,
    h.freshness_p90_s,
    h.newest
  FROM quality_hours AS h
    LEFT JOIN quality_firsts AS f ON f.source = h.source AND f.hour = h.hour
    LEFT JOIN quality_rejected AS r ON r.source = h.source AND r.hour = h.hour
    LEFT JOIN quality_complete AS c ON c.source = h.source AND c.hour = h.hour
  QUALIFY row_number() OVER (PARTITION BY h.source ORDER BY h.hour DESC) <= 720;

-- Each threshold as it is without a record in quality.threshold.
CREATE VIEW default_thresholds (metric, source, bound, direction) AS
  SELECT d.metric, s.source, d.bound, d.direction
  FROM (
    VALUES
      ('success_rate', 0.95, 'below'),
      ('completeness', 0.9, 'below'),
      ('duplicate_share', 0.5, 'above'),
      ('late_share', 0.5, 'above'),
      ('freshness_p90_s', 172800.0, 'above')
  ) AS d (metric, bound, direction),
    (VALUES ('riot.match'), ('riot.timeline'), ('halo.match'), ('halo.skill')) AS s (source);

CREATE MATERIALIZED VIEW quality_thresholds AS
  SELECT
    coalesce(c.metric, d.metric) AS metric,
    coalesce(c.source, d.source) AS source,
    coalesce(c.bound, d.bound) AS bound,
    coalesce(c.direction, d.direction) AS direction,
    c.metric IS NOT NULL AS changed
  FROM default_thresholds AS d
    FULL JOIN threshold_changes AS c ON c.metric = d.metric AND c.source = d.source;

CREATE VIEW quality_values AS
  SELECT h.source, h.hour, v.metric, v.value
  FROM quality_hourly AS h,
    LATERAL (
      VALUES
        ('received', CAST(h.received AS DOUBLE)),
        ('success_rate', h.success_rate),
        ('completeness', h.completeness),
        ('duplicate_share', h.duplicate_share),
        ('late_share', h.late_share),
        ('freshness_median_s', h.freshness_median_s),
        ('freshness_p90_s', h.freshness_p90_s),
        ('newest_s', CAST(extract(epoch FROM h.newest) AS DOUBLE))
    ) AS v (metric, value)
  WHERE v.value IS NOT NULL;

CREATE VIEW quality_breaches AS
  SELECT v.metric, v.source, v.hour, v.value, t.bound, t.direction
  FROM quality_values AS v
    JOIN quality_thresholds AS t ON t.metric = v.metric AND t.source = v.source
  WHERE CASE t.direction WHEN 'above' THEN v.value > t.bound ELSE v.value < t.bound END;

-- Hours in which a metric is beyond its threshold; `since` is the first of those that follow each other.
CREATE MATERIALIZED VIEW quality_alerts AS
  SELECT
    metric,
    source,
    hour,
    max(value) AS value,
    max(bound) AS bound,
    max(direction) AS direction,
    min(window_start) AS since
  FROM SESSION(quality_breaches PARTITION BY metric, source, hour, INTERVAL '90 minutes')
  GROUP BY metric, source, hour;

CREATE SINK quality_alerts_out FROM quality_alerts
WITH (
  connector = 'kafka',
  topic = 'analytics.quality_alerts',
  properties.bootstrap.server = '${KAFKA_BOOTSTRAP:-127.0.0.1:9092}',
  primary_key = 'metric, source, hour'
)
FORMAT UPSERT ENCODE JSON;

-- The newest hour of each source, for Prometheus: `beyond` is 1 where a metric is beyond its threshold.
CREATE MATERIALIZED VIEW quality_now WITH (metrics = 'value, bound, beyond') AS
  SELECT
    v.source,
    v.metric,
    max(v.value) AS value,
    max(t.bound) AS bound,
    max(
      CASE t.direction
        WHEN 'above' THEN CAST(v.value > t.bound AS INT)
        ELSE CAST(v.value < t.bound AS INT)
      END
    ) AS beyond
  FROM (SELECT source, max(hour) AS hour FROM quality_hourly GROUP BY source) AS n
    JOIN quality_values AS v ON v.source = n.source AND v.hour = n.hour
    LEFT JOIN quality_thresholds AS t ON t.metric = v.metric AND t.source = v.source
  GROUP BY v.source, v.metric;
