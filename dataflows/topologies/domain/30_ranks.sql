-- Ranks of players over time: the history, what changed, and the rank at the time of a match.

-- Ranks that the platform's own systems report, of any game. One dated ahead would hold for years: five minutes are
-- let pass.
CREATE TABLE rank_changes (
  game VARCHAR NOT NULL,
  player_id VARCHAR NOT NULL,
  queue VARCHAR NOT NULL,
  tier VARCHAR NOT NULL,
  division VARCHAR,
  points DOUBLE,
  wins BIGINT,
  losses BIGINT,
  as_of TIMESTAMPTZ NOT NULL,
  PRIMARY KEY (game, player_id, queue, as_of),
  WATERMARK FOR as_of AS as_of - INTERVAL '1 hour'
) ON CONFLICT OVERWRITE
WITH (
  connector = 'kafka',
  topic = 'rank.changed',
  properties.bootstrap.server = '${KAFKA_BOOTSTRAP:-127.0.0.1:9092}',
  dead_letter.topic = 'herald.dead_letter',
  watermark.max_ahead = '5 minutes',
  personal = 'player_id',
  erase.by = 'player_id'
)
FORMAT PLAIN ENCODE JSON;

-- A game has one main queue, or a play would have two ranks.
INSERT INTO ranks
  SELECT
    game,
    player_id,
    queue,
    queue = CASE game WHEN 'lol' THEN '420' ELSE 'all' END,
    tier,
    division,
    points,
    wins,
    losses,
    as_of
  FROM rank_changes;

-- One row a player, queue and moment: the rank from then on. Of several that are told for one moment the one
-- counts that has seen most matches, as a whole; the further columns only make it the same one each time.
CREATE MATERIALIZED VIEW ranking_history AS
  SELECT DISTINCT ON (game, player_id, queue, as_of)
    game,
    player_id,
    queue,
    as_of,
    CASE WHEN is_main THEN 1 ELSE 0 END AS is_main,
    tier,
    division,
    points,
    wins,
    losses
  FROM ranks AS r
  WHERE NOT EXISTS (
    SELECT 1
    FROM withdrawn AS w
    WHERE w.game = r.game AND w.player_id = r.player_id
  )
  ORDER BY
    game,
    player_id,
    queue,
    as_of,
    wins + losses DESC NULLS LAST,
    points DESC NULLS LAST,
    tier,
    division,
    wins,
    is_main DESC;

-- The order of tiers, lowest first.
CREATE VIEW tiers AS
  SELECT game, tier, max(step) AS step
  FROM (
    VALUES
      ('lol', 'IRON', 1),
      ('lol', 'BRONZE', 2),
      ('lol', 'SILVER', 3),
      ('lol', 'GOLD', 4),
      ('lol', 'PLATINUM', 5),
      ('lol', 'EMERALD', 6),
      ('lol', 'DIAMOND', 7),
      ('lol', 'MASTER', 8),
      ('lol', 'GRANDMASTER', 9),
      ('lol', 'CHALLENGER', 10),
      ('halo', 'Bronze', 1),
      ('halo', 'Silver', 2),
      ('halo', 'Gold', 3),
      ('halo', 'Platinum', 4),
      ('halo', 'Diamond', 5),
      ('halo', 'Onyx', 6)
  ) AS t (game, tier, step)
  GROUP BY game, tier;

-- How long each rank held. valid_to is NULL for the one that holds.
CREATE MATERIALIZED VIEW rank_periods AS
  SELECT
    game,
    player_id,
    queue,
    is_main = 1 AS is_main,
    tier,
    division,
    points,
    as_of AS valid_from,
    lead(as_of) OVER (PARTITION BY game, player_id, queue ORDER BY as_of) AS valid_to,
    lag(tier) OVER (PARTITION BY game, player_id, queue ORDER BY as_of) AS tier_before,
    lag(points) OVER (PARTITION BY game, player_id, queue ORDER BY as_of) AS points_before
  FROM ranking_history;

-- Moves between tiers.
CREATE MATERIALIZED VIEW rank_moves AS
  SELECT
    p.game,
    p.player_id,
    p.queue,
    p.valid_from AS moved_at,
    p.tier_before,
    p.tier,
    CASE WHEN n.step > b.step THEN 'promotion' ELSE 'demotion' END AS direction
  FROM rank_periods AS p
    JOIN tiers AS n ON p.game = n.game AND p.tier = n.tier
    JOIN tiers AS b ON p.game = b.game AND p.tier_before = b.tier
  WHERE n.step <> b.step;
