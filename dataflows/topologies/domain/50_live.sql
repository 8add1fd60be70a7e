-- Live matches: the ones being played now, with their last state.
--
-- A match is gone when its result has come, or when nothing was heard of it for ten minutes, by the clock of
-- the live events themselves: its start counts by the watermark of match.live.started, its last update by that
-- of match.live.updated. So a match of which the start alone is heard goes as others start, whatever becomes of the
-- updates, and a topic in which nothing comes holds back its own events and no others. An event that is more than five
-- minutes ahead of its record is refused: it would end all other matches, and hold its version against its own.

CREATE TABLE live_started (
  game VARCHAR NOT NULL,
  match_id VARCHAR NOT NULL,
  platform VARCHAR,
  queue VARCHAR,
  mode VARCHAR,
  map VARCHAR,
  started_at TIMESTAMPTZ NOT NULL,
  occurred_at TIMESTAMPTZ NOT NULL,
  players STRUCT<player_id VARCHAR, player_name VARCHAR, team_id INT, champion_id INT>[],
  PRIMARY KEY (game, match_id),
  WATERMARK FOR occurred_at AS occurred_at - INTERVAL '30 seconds'
) ON CONFLICT OVERWRITE WITH VERSION COLUMN (occurred_at)
WITH (
  connector = 'kafka',
  topic = 'match.live.started',
  properties.bootstrap.server = '${KAFKA_BOOTSTRAP:-127.0.0.1:9092}',
  dead_letter.topic = 'herald.dead_letter',
  watermark.max_ahead = '5 minutes',
  retention = '2 days',
  personal = 'players[].player_id, players[].player_name',
  erase.by = 'players[].player_id'
)
FORMAT PLAIN ENCODE JSON;

CREATE TABLE live_updates (
  game VARCHAR NOT NULL,
  match_id VARCHAR NOT NULL,
  at_s DOUBLE,
  teams STRUCT<team_id INT, score BIGINT, kills BIGINT>[],
  players STRUCT<player_id VARCHAR, kills BIGINT, deaths BIGINT, assists BIGINT, gold BIGINT>[],
  occurred_at TIMESTAMPTZ NOT NULL,
  PRIMARY KEY (game, match_id),
  WATERMARK FOR occurred_at AS occurred_at - INTERVAL '30 seconds'
) ON CONFLICT OVERWRITE WITH VERSION COLUMN (occurred_at)
WITH (
  connector = 'kafka',
  topic = 'match.live.updated',
  properties.bootstrap.server = '${KAFKA_BOOTSTRAP:-127.0.0.1:9092}',
  dead_letter.topic = 'herald.dead_letter',
  watermark.max_ahead = '5 minutes',
  retention = '2 days',
  personal = 'players[].player_id',
  erase.by = 'players[].player_id'
)
FORMAT PLAIN ENCODE JSON;

-- The last event of each match in each topic. Each now() is the watermark of the one topic below it.
CREATE VIEW live_heard AS
  SELECT game, match_id, occurred_at
  FROM live_started
  WHERE occurred_at > now() - INTERVAL '10 minutes'
  UNION ALL
  SELECT game, match_id, occurred_at
  FROM live_updates
  WHERE occurred_at > now() - INTERVAL '10 minutes';

-- No match lasts a day. Events leave before their tables forget them, so that nothing of them stays below.
CREATE VIEW started_today AS
  SELECT *
  FROM live_started
  WHERE occurred_at > now() - INTERVAL '1 day';

CREATE VIEW updated_today AS
  SELECT *
  FROM live_updates
  WHERE occurred_at > now() - INTERVAL '1 day';

CREATE MATERIALIZED VIEW live_matches AS
  SELECT DISTINCT ON (s.game, s.match_id)
    s.game,
    s.match_id,
    s.platform,
    s.queue,
    s.mode,
    s.map,
    s.started_at,
    h.last_heard,
    u.at_s,
    u.teams,
    cardinality(s.players) AS players
  FROM started_today AS s
    JOIN (
      SELECT game, match_id, max(occurred_at) AS last_heard
      FROM live_heard
      GROUP BY game, match_id
    ) AS h ON s.game = h.game
      AND s.match_id = h.match_id
    LEFT JOIN updated_today AS u ON s.game = u.game AND s.match_id = u.match_id
  WHERE NOT EXISTS (SELECT 1 FROM matches AS m WHERE m.game = s.game AND m.match_id = s.match_id)
  ORDER BY s.game, s.match_id, s.started_at;

-- Who plays right now, of those who may be analysed.
CREATE MATERIALIZED VIEW live_players AS
  SELECT l.game, p.player_id, max(l.match_id) AS match_id, max(l.started_at) AS started_at
  FROM (
    SELECT m.game, m.match_id, m.started_at, s.players
    FROM live_matches AS m JOIN started_today AS s ON m.game = s.game AND m.match_id = s.match_id
  ) AS l,
    UNNEST(l.players) AS p
  WHERE p.player_id IS NOT NULL
    AND NOT EXISTS (
      SELECT 1
      FROM withdrawn AS w
      WHERE w.game = l.game AND w.player_id = p.player_id
    )
  GROUP BY l.game, p.player_id;
