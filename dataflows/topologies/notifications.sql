-- Notifications: what happened to a user, told to them once, when they want to hear it.
--
-- A topology of its own, behind the one of domain/. A trigger looks up the user's preferences as they
-- are when it comes, and is not told otherwise later; so a notification is sent at most once, also
-- when the trigger is corrected, taken back, or comes again.

-- The change log of triggers. Taken back ones (op 'd') are nothing to tell.
CREATE SOURCE trigger_changes (
  after STRUCT<
    trigger_id VARCHAR,
    user_id VARCHAR,
    kind VARCHAR,
    game VARCHAR,
    subject VARCHAR,
    occurred_at TIMESTAMPTZ
  >,
  op VARCHAR,
  occurred_at TIMESTAMPTZ AS (after['occurred_at'])
)
INCLUDE partition AS kafka_partition
INCLUDE offset AS kafka_offset
WITH (
  connector = 'kafka',
  topic = 'notification.trigger',
  properties.bootstrap.server = '${KAFKA_BOOTSTRAP:-127.0.0.1:9092}',
  dead_letter.topic = 'herald.dead_letter'
)
FORMAT PLAIN ENCODE JSON;

CREATE TABLE notification_preferences (
  user_id VARCHAR NOT NULL,
  kind VARCHAR NOT NULL,
  enabled BOOLEAN,
  channel VARCHAR,
  quiet_from INT, -- minutes after local midnight
  quiet_until INT,
  utc_offset_min INT, -- the user's local time less UTC
  updated_at TIMESTAMPTZ NOT NULL,
  PRIMARY KEY (user_id, kind)
) ON CONFLICT OVERWRITE WITH VERSION COLUMN (updated_at)
WITH (
  connector = 'kafka',
  topic = 'notification.preference.updated',
  properties.bootstrap.server = '${KAFKA_BOOTSTRAP:-127.0.0.1:9092}',
  dead_letter.topic = 'herald.dead_letter'
)
FORMAT PLAIN ENCODE JSON;

-- Each trigger once: the first record of it. Without a preference it is told at once, in the app.
CREATE VIEW first_triggers AS
  SELECT
    t.after['trigger_id'] AS trigger_id,
    t.after['user_id'] AS user_id,
    t.after['kind'] AS kind,
    t.after['subject'] AS subject,
    t.occurred_at,
    t.kafka_partition,
    t.kafka_offset,
    coalesce(p.enabled, true) AS enabled,
    coalesce(p.channel, 'app') AS channel,
    p.quiet_from,
    p.quiet_until,
    mod(
      CAST(
        extract(hour FROM t.occurred_at) * 60 + extract(minute FROM t.occurred_at) AS BIGINT
      ) + coalesce(p.utc_offset_min, 0) + 1440,
      1440
    ) AS local_minute
  FROM trigger_changes AS t
    LEFT JOIN notification_preferences FOR SYSTEM_TIME AS OF PROCTIME() AS p ON t.after['user_id'] = p.user_id
      AND t.after['kind'] = p.kind
  WHERE t.op IN ('c', 'u', 'r');

CREATE MATERIALIZED VIEW notifications AS
  SELECT DISTINCT ON (trigger_id)
    trigger_id,
    user_id,
    kind,
    subject,
    channel,
    occurred_at,
    -- Quiet hours may pass midnight. What comes in them waits for their end.
    occurred_at + CASE
      WHEN quiet_from <= quiet_until AND local_minute >= quiet_from AND local_minute < quiet_until
        THEN (quiet_until - local_minute) * INTERVAL '1 minute'
      WHEN quiet_from > quiet_until AND local_minute >= quiet_from
        THEN (quiet_until + 1440 - local_minute) * INTERVAL '1 minute'
      WHEN quiet_from > quiet_until AND local_minute < quiet_until
        THEN (quiet_until - local_minute) * INTERVAL '1 minute'
      ELSE INTERVAL '0 minutes'
    END AS not_before
  FROM first_triggers
  WHERE enabled
  ORDER BY trigger_id, kafka_partition, kafka_offset;

CREATE SINK notifications_out FROM notifications
WITH (
  connector = 'kafka',
  topic = 'notification.triggered',
  properties.bootstrap.server = '${KAFKA_BOOTSTRAP:-127.0.0.1:9092}',
  topic.partitions = '4',
  primary_key = 'trigger_id'
)
FORMAT UPSERT ENCODE JSON;

CREATE TABLE delivered (
  event_id VARCHAR NOT NULL,
  trigger_id VARCHAR NOT NULL,
  occurred_at TIMESTAMPTZ NOT NULL,
  PRIMARY KEY (event_id)
) ON CONFLICT DO NOTHING
WITH (
  connector = 'kafka',
  topic = 'notification.delivered',
  properties.bootstrap.server = '${KAFKA_BOOTSTRAP:-127.0.0.1:9092}',
  dead_letter.topic = 'herald.dead_letter'
)
FORMAT PLAIN ENCODE JSON;

CREATE TABLE failed (
  event_id VARCHAR NOT NULL,
  trigger_id VARCHAR NOT NULL,
  occurred_at TIMESTAMPTZ NOT NULL,
  reason VARCHAR,
  PRIMARY KEY (event_id)
) ON CONFLICT DO NOTHING
WITH (
  connector = 'kafka',
  topic = 'notification.failed',
  properties.bootstrap.server = '${KAFKA_BOOTSTRAP:-127.0.0.1:9092}',
  dead_letter.topic = 'herald.dead_letter'
)
FORMAT PLAIN ENCODE JSON;

CREATE TABLE clicked (
  event_id VARCHAR NOT NULL,
  trigger_id VARCHAR NOT NULL,
  occurred_at TIMESTAMPTZ NOT NULL,
  PRIMARY KEY (event_id)
) ON CONFLICT DO NOTHING
WITH (
  connector = 'kafka',
  topic = 'notification.clicked',
  properties.bootstrap.server = '${KAFKA_BOOTSTRAP:-127.0.0.1:9092}',
  dead_letter.topic = 'herald.dead_letter'
)
FORMAT PLAIN ENCODE JSON;

-- Each notification with what became of it. A click counts as delivered.
CREATE MATERIALIZED VIEW notification_history AS
  SELECT
    n.user_id,
    n.trigger_id,
    n.kind,
    n.subject,
    n.channel,
    n.not_before,
    CASE
      WHEN c.at IS NOT NULL THEN 'clicked'
      WHEN d.at IS NOT NULL THEN 'delivered'
      WHEN f.at IS NOT NULL THEN 'failed'
      ELSE 'sent'
    END AS state,
    d.at AS delivered_at,
    c.at AS clicked_at,
    f.times AS failures,
    f.reason AS last_reason
  FROM notifications AS n
    LEFT JOIN (
      SELECT trigger_id, min(occurred_at) AS at
      FROM delivered
      GROUP BY trigger_id
    ) AS d ON n.trigger_id = d.trigger_id
    LEFT JOIN (
      SELECT trigger_id, min(occurred_at) AS at
      FROM clicked
      GROUP BY trigger_id
    ) AS c ON n.trigger_id = c.trigger_id
    LEFT JOIN (
      SELECT
        trigger_id,
        count(*) AS times,
        min(occurred_at) AS at,
        last_value(reason ORDER BY occurred_at, event_id) AS reason
      FROM failed
      GROUP BY trigger_id
    ) AS f ON n.trigger_id = f.trigger_id;

-- One row a user.
CREATE MATERIALIZED VIEW notification_totals AS
  SELECT
    user_id,
    count(*) AS sent,
    count(delivered_at) AS delivered,
    count(clicked_at) AS clicked,
    count(*) FILTER (WHERE state = 'failed') AS failed
  FROM notification_history
  GROUP BY user_id;
