-- Orders to erase a person: one for each id that the person has, in the games and as a user.
--
-- In the epoch that reads an order the person's rows and contributions leave every table and view; nothing that
-- comes later about the id is let in. docs/privacy.md tells what becomes of the rest, and of what can't be erased.
--
-- An order reaches the rows that hold its own id, and no others: that of a user leaves the player their matches. No
-- view can add the orders that are missing: the order takes away the profile that names the accounts, in its own
-- epoch, and of the order itself a digest is kept. So whoever sends orders asks user_ids first, and sends all of them.

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

-- The ids of a user, each a subject of an order: SELECT id FROM user_ids WHERE user_id = '...'. `users` is how many
-- profiles name the id: before the order for an account that others name as well, find out whose it is. Accounts that
-- an earlier profile named and the last one does not are not in it.
CREATE MATERIALIZED VIEW user_ids AS
  SELECT user_id, 'user' AS game, user_id AS id, CAST(1 AS BIGINT) AS users
  FROM profiles
  UNION ALL
  SELECT a.user_id, a.game, a.player_id, n.users
  FROM accounts AS a
    JOIN (
      SELECT game, player_id, count(*) AS users
      FROM accounts
      GROUP BY game, player_id
    ) AS n ON a.game = n.game
      AND a.player_id = n.player_id;
