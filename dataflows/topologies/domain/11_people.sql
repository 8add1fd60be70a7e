-- People: the users of the platform, their accounts in the games, their consent, and their sign-ins.
--
-- Of profiles, consent and resolutions the greatest time counts. A record whose time is more than five minutes ahead of
-- the record's own timestamp is refused (watermark.max_ahead): else one wrong clock would hold its version against all
-- later ones, a withdrawn consent among them.

-- The profile that was written last. Writers state updated_at: what was written last counts,
-- whatever arrives last.
CREATE TABLE profiles (
  user_id VARCHAR NOT NULL,
  display_name VARCHAR,
  email VARCHAR,
  country VARCHAR,
  accounts STRUCT<game VARCHAR, player_id VARCHAR>[],
  updated_by VARCHAR,
  updated_at TIMESTAMPTZ NOT NULL,
  PRIMARY KEY (user_id),
  WATERMARK FOR updated_at AS updated_at - INTERVAL '1 hour'
) ON CONFLICT OVERWRITE WITH VERSION COLUMN (updated_at)
WITH (
  connector = 'kafka',
  topic = 'user.profile.updated',
  properties.bootstrap.server = '${KAFKA_BOOTSTRAP:-127.0.0.1:9092}',
  dead_letter.topic = 'herald.dead_letter',
  watermark.max_ahead = '5 minutes',
  personal = 'user_id, display_name, email, country, accounts[].player_id',
  erase.by = 'user_id, accounts[].player_id'
)
FORMAT PLAIN ENCODE JSON;

-- The same records, each by itself, to see where writers disagree. After 30 days a disagreement is
-- as it is.
CREATE TABLE profile_updates (
  event_id VARCHAR NOT NULL,
  user_id VARCHAR NOT NULL,
  display_name VARCHAR,
  email VARCHAR,
  country VARCHAR,
  updated_by VARCHAR NOT NULL,
  updated_at TIMESTAMPTZ NOT NULL,
  PRIMARY KEY (event_id),
  WATERMARK FOR updated_at AS updated_at - INTERVAL '1 hour'
) ON CONFLICT DO NOTHING
WITH (
  connector = 'kafka',
  topic = 'user.profile.updated',
  properties.bootstrap.server = '${KAFKA_BOOTSTRAP:-127.0.0.1:9092}',
  dead_letter.topic = 'herald.dead_letter',
  watermark.max_ahead = '5 minutes',
  retention = '30 days',
  personal = 'user_id, display_name, email, country',
  erase.by = 'user_id'
)
FORMAT PLAIN ENCODE JSON;

-- A person's word on the profiles of a user: conflicts before resolved_at are settled.
CREATE TABLE profile_resolutions (
  user_id VARCHAR NOT NULL,
  resolved_by VARCHAR NOT NULL,
  resolved_at TIMESTAMPTZ NOT NULL,
  PRIMARY KEY (user_id),
  WATERMARK FOR resolved_at AS resolved_at - INTERVAL '1 hour'
) ON CONFLICT OVERWRITE WITH VERSION COLUMN (resolved_at)
WITH (
  connector = 'kafka',
  topic = 'user.profile.resolved',
  properties.bootstrap.server = '${KAFKA_BOOTSTRAP:-127.0.0.1:9092}',
  dead_letter.topic = 'herald.dead_letter',
  watermark.max_ahead = '5 minutes',
  personal = 'user_id',
  erase.by = 'user_id'
)
FORMAT PLAIN ENCODE JSON;

-- Two writers who wrote different profiles of one user within five minutes: neither can have known
-- of the other. The later one is in profiles; here are both until a record of user.profile.resolved,
-- dated after them, settles it, for 29 days at most. To choose the other one, send it again with a new updated_at
-- first. Updates leave the view before their table forgets them: rows that are forgotten stay in all that stands on
-- them, where no order to erase reaches them.
CREATE VIEW recent_updates AS
  SELECT *
  FROM profile_updates
  WHERE updated_at > now() - INTERVAL '29 days';

CREATE MATERIALIZED VIEW profile_conflicts AS
  SELECT
    a.user_id,
    a.event_id AS earlier_event,
    b.event_id AS later_event,
    a.updated_by AS earlier_writer,
    b.updated_by AS later_writer,
    a.updated_at AS earlier_at,
    b.updated_at AS later_at,
    a.display_name AS earlier_name,
    b.display_name AS later_name,
    a.email AS earlier_email,
    b.email AS later_email,
    a.country AS earlier_country,
    b.country AS later_country
  FROM recent_updates AS a
    JOIN recent_updates AS b ON a.user_id = b.user_id
    LEFT JOIN profile_resolutions AS r ON a.user_id = r.user_id
  WHERE (a.updated_at, a.event_id) < (b.updated_at, b.event_id)
    AND b.updated_at - a.updated_at <= INTERVAL '5 minutes'
    AND a.updated_by <> b.updated_by
    AND (a.display_name, a.email, a.country) IS DISTINCT FROM (b.display_name, b.email, b.country)
    AND (r.resolved_at IS NULL OR r.resolved_at < b.updated_at);

CREATE TABLE preferences (
  user_id VARCHAR NOT NULL,
  analytics_consent BOOLEAN,
  language VARCHAR,
  updated_at TIMESTAMPTZ NOT NULL,
  PRIMARY KEY (user_id),
  WATERMARK FOR updated_at AS updated_at - INTERVAL '1 hour'
) ON CONFLICT OVERWRITE WITH VERSION COLUMN (updated_at)
WITH (
  connector = 'kafka',
  topic = 'user.preferences.changed',
  properties.bootstrap.server = '${KAFKA_BOOTSTRAP:-127.0.0.1:9092}',
  dead_letter.topic = 'herald.dead_letter',
  watermark.max_ahead = '5 minutes',
  personal = 'user_id',
  erase.by = 'user_id'
)
FORMAT PLAIN ENCODE JSON;

-- A user's accounts in the games, each once however often the profile names it.
CREATE VIEW accounts AS
  SELECT DISTINCT p.user_id, a.game, a.player_id
  FROM profiles AS p, UNNEST(p.accounts) AS a;

-- Accounts of users who do not want to be analysed. From the moment the consent is withdrawn all
-- views by player are without them, as if they had never played, until it is given again.
CREATE VIEW withdrawn AS
  SELECT DISTINCT a.game, a.player_id
  FROM accounts AS a JOIN preferences AS c ON a.user_id = c.user_id
  WHERE c.analytics_consent = false;

-- Sign-ins: each event once.
CREATE TABLE authentications (
  event_id VARCHAR NOT NULL,
  occurred_at TIMESTAMPTZ NOT NULL,
  user_id VARCHAR,
  method VARCHAR,
  succeeded BOOLEAN NOT NULL,
  PRIMARY KEY (event_id),
  WATERMARK FOR occurred_at AS occurred_at - INTERVAL '1 hour'
) ON CONFLICT DO NOTHING
WITH (
  connector = 'kafka',
  topic = 'user.authenticated',
  properties.bootstrap.server = '${KAFKA_BOOTSTRAP:-127.0.0.1:9092}',
  dead_letter.topic = 'herald.dead_letter',
  retention = '90 days',
  personal = 'user_id',
  erase.by = 'user_id'
)
FORMAT PLAIN ENCODE JSON;

CREATE MATERIALIZED VIEW sign_ins_hourly AS
  SELECT
    window_start,
    window_end,
    coalesce(method, 'unknown') AS method,
    count(*) AS attempts,
    count(*) FILTER (WHERE succeeded) AS succeeded,
    count(DISTINCT user_id) AS users
  FROM TUMBLE(authentications, occurred_at, INTERVAL '1 hour')
  GROUP BY window_start, window_end, coalesce(method, 'unknown');

CREATE TABLE sessions_created (
  session_id VARCHAR NOT NULL,
  user_id VARCHAR NOT NULL,
  device VARCHAR,
  occurred_at TIMESTAMPTZ NOT NULL,
  PRIMARY KEY (session_id),
  WATERMARK FOR occurred_at AS occurred_at - INTERVAL '1 hour'
) ON CONFLICT DO NOTHING
WITH (
  connector = 'kafka',
  topic = 'user.session.created',
  properties.bootstrap.server = '${KAFKA_BOOTSTRAP:-127.0.0.1:9092}',
  dead_letter.topic = 'herald.dead_letter',
  retention = '90 days',
  personal = 'user_id',
  erase.by = 'user_id'
)
FORMAT PLAIN ENCODE JSON;

CREATE TABLE logouts (
  session_id VARCHAR NOT NULL,
  reason VARCHAR,
  occurred_at TIMESTAMPTZ NOT NULL,
  PRIMARY KEY (session_id),
  WATERMARK FOR occurred_at AS occurred_at - INTERVAL '1 hour'
) ON CONFLICT DO NOTHING
WITH (
  connector = 'kafka',
  topic = 'user.logout.initiated',
  properties.bootstrap.server = '${KAFKA_BOOTSTRAP:-127.0.0.1:9092}',
  dead_letter.topic = 'herald.dead_letter',
  retention = '90 days'
)
FORMAT PLAIN ENCODE JSON;

-- One row a session of the last 89 days; duration_s is NULL while it lasts. As with conflicts, sessions leave before they
-- are forgotten.
CREATE MATERIALIZED VIEW user_sessions AS
  SELECT
    s.session_id,
    s.user_id,
    s.device,
    s.occurred_at AS began_at,
    l.occurred_at AS ended_at,
    extract(epoch FROM l.occurred_at - s.occurred_at) AS duration_s,
    l.reason
  FROM (SELECT * FROM sessions_created WHERE occurred_at > now() - INTERVAL '89 days') AS s
    LEFT JOIN (
      SELECT *
      FROM logouts
      WHERE occurred_at > now() - INTERVAL '89 days'
    ) AS l ON s.session_id = l.session_id;
