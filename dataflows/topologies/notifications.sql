-- Notifications: what happened to a user, told to them once, when they want to hear it.
--
-- A topology of its own, behind the one of domain/. A trigger looks up the user's preferences as they
-- are when it comes, and is not told otherwise later; so a notification is sent at most once, also
-- when the trigger is corrected, taken back, or comes again.
--
-- Kept: triggers and reports for 90 days behind the watermark of their topic, the views over them for 89, so that
-- rows leave the views while their tables still know them; preferences until they are changed. So an order in
-- user.erased takes a user out of all of it. Out of its reach are records in their topics, for the time that
-- topics.sql gives them. (The receipt names the views, too, as it does wherever a table forgets rows.)
--
-- now() needs a record in each partition of a topic: until then nobody is told. So notification.trigger and the
-- reports have one partition each; some hundred records a second do not fill it.

CREATE TABLE erasures (
  subject VARCHAR NOT NULL,
  requested_at TIMESTAMPTZ,
  PRIMARY KEY (subject)
)
WITH (
  connector = 'kafka',
  topic = 'user.erased',
  properties.bootstrap.server = '${KAFKA_BOOTSTRAP:-127.0.0.1:9092}',
  dead_letter.topic = 'herald.dead_letter',
  personal = 'subject',
  erase = 'subject'
)
FORMAT PLAIN ENCODE JSON;

-- The change log of triggers: the first record of each counts. Those that take one back (op 'd') tell nothing: they
-- share the key '', so that one row is all that is kept of them.
CREATE TABLE trigger_changes (
  after STRUCT<
    trigger_id VARCHAR,
    user_id VARCHAR,
    kind VARCHAR,
    game VARCHAR,
    subject VARCHAR,
    occurred_at TIMESTAMPTZ
  >,
  op VARCHAR,
  trigger_id VARCHAR NOT NULL AS (coalesce(after['trigger_id'], '')),
  occurred_at TIMESTAMPTZ AS (after['occurred_at']),
  PRIMARY KEY (trigger_id),
  WATERMARK FOR occurred_at AS occurred_at - INTERVAL '1 hour'
) ON CONFLICT DO NOTHING
WITH (
  connector = 'kafka',
  topic = 'notification.trigger',
  properties.bootstrap.server = '${KAFKA_BOOTSTRAP:-127.0.0.1:9092}',
  dead_letter.topic = 'herald.dead_letter',
  retention = '90 days',
  personal = 'after.user_id',
  erase.by = 'after.user_id'
)
FORMAT PLAIN ENCODE JSON;

-- No watermark: now() below would wait for the next change of a preference.
CREATE TABLE notification_preferences (
  user_id VARCHAR NOT NULL,
  kind VARCHAR NOT NULL,
  enabled BOOLEAN,
  channel VARCHAR,
  quiet_from INT, -- minutes after local midnight
  quiet_until INT,
  utc_offset_min INT, -- the user's local time less UTC
  updated_at TIMESTAMPTZ NOT NULL,
  PRIMARY KEY (user_id, kind),
  -- A clock ahead would hold its word against all later ones.
  CONSTRAINT not_ahead CHECK (updated_at <= arrived_at + INTERVAL '5 minutes')
) ON CONFLICT OVERWRITE WITH VERSION COLUMN (updated_at)
INCLUDE timestamp AS arrived_at
WITH (
  connector = 'kafka',
  topic = 'notification.preference.updated',
  properties.bootstrap.server = '${KAFKA_BOOTSTRAP:-127.0.0.1:9092}',
  dead_letter.topic = 'herald.dead_letter',
  personal = 'user_id',
  erase.by = 'user_id'
)
FORMAT PLAIN ENCODE JSON;

-- Without a preference a trigger is told at once, in the app.
CREATE VIEW first_triggers AS
  SELECT
    t.trigger_id,
    t.after['user_id'] AS user_id,
    t.after['kind'] AS kind,
    t.after['subject'] AS subject,
    t.occurred_at,
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
  FROM (
    SELECT *
    FROM trigger_changes
    WHERE op IN ('c', 'u', 'r') AND occurred_at > now() - INTERVAL '89 days'
  ) AS t
    LEFT JOIN notification_preferences FOR SYSTEM_TIME AS OF PROCTIME() AS p ON t.after['user_id'] = p.user_id
      AND t.after['kind'] = p.kind;

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
  ORDER BY trigger_id, occurred_at;

-- The id of a trigger by a trend is that of the event trend.detected.
CREATE SINK notifications_out AS
  SELECT
    CAST(md5('notification|' || trigger_id) AS UUID) AS event_id,
    'notification.triggered' AS event_type,
    CAST(1 AS INT) AS event_version,
    'herald' AS source,
    occurred_at,
    CASE
      WHEN kind = 'trend' AND trigger_id ~ '^[0-9a-f]{32}$' THEN CAST(trigger_id AS UUID)
    END AS correlation_id,
    CASE
      WHEN kind = 'trend' AND trigger_id ~ '^[0-9a-f]{32}$' THEN CAST(trigger_id AS UUID)
    END AS causation_id,
    trigger_id,
    user_id,
    kind,
    subject,
    channel,
    not_before
  FROM notifications
WITH (
  connector = 'kafka',
  topic = 'notification.triggered',
  properties.bootstrap.server = '${KAFKA_BOOTSTRAP:-127.0.0.1:9092}',
  topic.partitions = '6',
  primary_key = 'trigger_id'
)
FORMAT UPSERT ENCODE JSON;

CREATE TABLE delivered (
  event_id VARCHAR NOT NULL,
  trigger_id VARCHAR NOT NULL,
  user_id VARCHAR NOT NULL,
  occurred_at TIMESTAMPTZ NOT NULL,
  PRIMARY KEY (event_id),
  WATERMARK FOR occurred_at AS occurred_at - INTERVAL '1 hour'
) ON CONFLICT DO NOTHING
WITH (
  connector = 'kafka',
  topic = 'notification.delivered',
  properties.bootstrap.server = '${KAFKA_BOOTSTRAP:-127.0.0.1:9092}',
  dead_letter.topic = 'herald.dead_letter',
  retention = '90 days',
  personal = 'user_id',
  erase.by = 'user_id'
)
FORMAT PLAIN ENCODE JSON;

CREATE TABLE failed (
  event_id VARCHAR NOT NULL,
  trigger_id VARCHAR NOT NULL,
  user_id VARCHAR NOT NULL,
  occurred_at TIMESTAMPTZ NOT NULL,
  reason VARCHAR,
  PRIMARY KEY (event_id),
  WATERMARK FOR occurred_at AS occurred_at - INTERVAL '1 hour'
) ON CONFLICT DO NOTHING
WITH (
  connector = 'kafka',
  topic = 'notification.failed',
  properties.bootstrap.server = '${KAFKA_BOOTSTRAP:-127.0.0.1:9092}',
  dead_letter.topic = 'herald.dead_letter',
  retention = '90 days',
  personal = 'user_id',
  erase.by = 'user_id'
)
FORMAT PLAIN ENCODE JSON;

CREATE TABLE clicked (
  event_id VARCHAR NOT NULL,
  trigger_id VARCHAR NOT NULL,
  user_id VARCHAR NOT NULL,
  occurred_at TIMESTAMPTZ NOT NULL,
  PRIMARY KEY (event_id),
  WATERMARK FOR occurred_at AS occurred_at - INTERVAL '1 hour'
) ON CONFLICT DO NOTHING
WITH (
  connector = 'kafka',
  topic = 'notification.clicked',
  properties.bootstrap.server = '${KAFKA_BOOTSTRAP:-127.0.0.1:9092}',
  dead_letter.topic = 'herald.dead_letter',
  retention = '90 days',
  personal = 'user_id',
  erase.by = 'user_id'
)
FORMAT PLAIN ENCODE JSON;

-- Reports of senders, as long as notifications are kept.
CREATE VIEW reports AS
  SELECT trigger_id, 'delivered' AS told, event_id, occurred_at, CAST(NULL AS VARCHAR) AS reason
  FROM delivered
  WHERE occurred_at > now() - INTERVAL '89 days'
  UNION ALL
  SELECT trigger_id, 'failed', event_id, occurred_at, reason
  FROM failed
  WHERE occurred_at > now() - INTERVAL '89 days'
  UNION ALL
  SELECT trigger_id, 'clicked', event_id, occurred_at, CAST(NULL AS VARCHAR)
  FROM clicked
  WHERE occurred_at > now() - INTERVAL '89 days';

-- Each notification with its fate in 30 days. A click counts as delivered.
CREATE MATERIALIZED VIEW notification_history AS
  SELECT
    n.user_id,
    n.trigger_id,
    n.kind,
    n.subject,
    n.channel,
    n.not_before,
    CASE
      WHEN bool_or(r.told = 'clicked') THEN 'clicked'
      WHEN bool_or(r.told = 'delivered') THEN 'delivered'
      WHEN bool_or(r.told = 'failed') THEN 'failed'
      ELSE 'sent'
    END AS state,
    min(r.occurred_at) FILTER (WHERE r.told = 'delivered') AS delivered_at,
    min(r.occurred_at) FILTER (WHERE r.told = 'clicked') AS clicked_at,
    nullif(count(*) FILTER (WHERE r.told = 'failed'), 0) AS failures,
    last_value(r.reason ORDER BY r.told = 'failed', r.occurred_at, r.event_id) AS last_reason
  FROM notifications AS n
    LEFT JOIN reports AS r ON n.trigger_id = r.trigger_id
      AND r.occurred_at BETWEEN n.occurred_at - INTERVAL '1 day' AND n.occurred_at + INTERVAL '30 days'
  GROUP BY n.user_id, n.trigger_id, n.kind, n.subject, n.channel, n.not_before;

-- One row a user: those of the last 89 days.
CREATE MATERIALIZED VIEW notification_totals AS
  SELECT
    user_id,
    count(*) AS sent,
    count(delivered_at) AS delivered,
    count(clicked_at) AS clicked,
    count(*) FILTER (WHERE state = 'failed') AS failed
  FROM notification_history
  GROUP BY user_id;
