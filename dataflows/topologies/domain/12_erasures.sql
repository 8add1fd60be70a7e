-- Orders to erase a person: one for each id that the person has, in the games and as a user.
--
-- In the epoch that reads an order the person's rows and contributions leave every table and view; nothing that
-- comes later about the id is let in. docs/privacy.md tells what becomes of the rest, and of what can't be erased.

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
