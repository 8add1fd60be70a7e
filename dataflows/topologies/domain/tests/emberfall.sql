-- Emberfall, a game that does not exist: the third game of the tests, added by this file alone.
--
-- Its API names two sides by colour, counts minutes, and tells falls, not deaths. A draw has no winner.

CREATE TYPE ember_side AS (
  points BIGINT,
  roster STRUCT<
    account VARCHAR,
    nick VARCHAR,
    class VARCHAR,
    strikes BIGINT,
    falls BIGINT,
    helps BIGINT,
    heat DOUBLE
  >[]
);

CREATE TABLE ember_duels (
  duel VARCHAR NOT NULL,
  realm VARCHAR,
  cancelled BOOLEAN,
  began TIMESTAMPTZ NOT NULL,
  minutes DOUBLE NOT NULL,
  red ember_side,
  blue ember_side,
  ended_at TIMESTAMPTZ NOT NULL AS (began + minutes * INTERVAL '1 minute'),
  PRIMARY KEY (duel),
  CONSTRAINT has_two_sides CHECK (
    coalesce(cardinality(red['roster']), 0) > 0 AND coalesce(cardinality(blue['roster']), 0) > 0
  ),
  WATERMARK FOR ended_at AS ended_at - INTERVAL '1 hour'
) ON CONFLICT OVERWRITE WITH VERSION COLUMN (fetched_at)
INCLUDE timestamp AS fetched_at
WITH (
  connector = 'kafka',
  topic = 'emberfall.duel',
  properties.bootstrap.server = '${KAFKA_BOOTSTRAP:-127.0.0.1:9092}',
  dead_letter.topic = 'herald.dead_letter'
)
FORMAT PLAIN ENCODE JSON;

INSERT INTO matches (
  game,
  match_id,
  status,
  platform,
  queue,
  mode,
  map,
  started_at,
  ended_at,
  duration_s,
  fetched_at
)
  SELECT
    'emberfall',
    duel,
    CASE WHEN cancelled THEN 'aborted' ELSE 'completed' END,
    realm,
    'duel',
    'duel',
    'the pit',
    began,
    ended_at,
    minutes * 60.0,
    fetched_at
  FROM ember_duels;

-- A side, with what it did to the other.
CREATE VIEW ember_sides AS
  SELECT d.*, 1 AS team_id, d.red AS own, d.blue['points'] AS other_points
  FROM ember_duels AS d
  UNION ALL
  SELECT d.*, 2 AS team_id, d.blue AS own, d.red['points'] AS other_points
  FROM ember_duels AS d;

INSERT INTO teams
  SELECT
    'emberfall',
    duel,
    CAST(team_id AS INT),
    CASE
      WHEN own['points'] > other_points THEN 'win'
      WHEN own['points'] < other_points THEN 'loss'
      ELSE 'tie'
    END,
    own['points'],
    CAST(array_sum(array_transform(own['roster'], r -> r['strikes'])) AS BIGINT)
  FROM ember_sides;

INSERT INTO participants (
  game,
  match_id,
  status,
  platform,
  queue,
  mode,
  map,
  ended_at,
  duration_s,
  slot,
  player_id,
  player_name,
  is_bot,
  team_id,
  champion,
  outcome,
  kills,
  deaths,
  assists,
  assist_weight,
  damage,
  team_damage,
  team_size,
  played_s,
  left_early
)
  SELECT
    'emberfall',
    s.duel,
    CASE WHEN s.cancelled THEN 'aborted' ELSE 'completed' END,
    s.realm,
    'duel',
    'duel',
    'the pit',
    s.ended_at,
    s.minutes * 60.0,
    CAST(s.team_id * 100 + r.ordinality AS INT),
    r.account,
    r.nick,
    false,
    CAST(s.team_id AS INT),
    r.class,
    CASE
      WHEN s.own['points'] > s.other_points THEN 'win'
      WHEN s.own['points'] < s.other_points THEN 'loss'
      ELSE 'tie'
    END,
    r.strikes,
    r.falls,
    r.helps,
    0.5,
    r.heat,
    array_sum(array_transform(s.own['roster'], o -> o['heat'])),
    cardinality(s.own['roster']),
    s.minutes * 60.0,
    false
  FROM ember_sides AS s, UNNEST(s.own['roster']) WITH ORDINALITY AS r;
