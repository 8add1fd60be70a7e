-- NEXMark q8, monitor new users: who entered and opened an auction within the same 10 seconds.

CREATE SOURCE person (
  id BIGINT, name VARCHAR, email_address VARCHAR, credit_card VARCHAR, city VARCHAR, state VARCHAR,
  date_time TIMESTAMP, extra VARCHAR,
  WATERMARK FOR date_time AS date_time - INTERVAL '4 seconds'
) WITH (
  connector = 'nexmark', nexmark.table.type = 'person', nexmark.event.num = '${NEXMARK_EVENTS:-1000000}'
) FORMAT PLAIN ENCODE JSON;

CREATE SOURCE auction (
  id BIGINT, item_name VARCHAR, description VARCHAR, initial_bid BIGINT, reserve BIGINT,
  date_time TIMESTAMP, expires TIMESTAMP, seller BIGINT, category BIGINT, extra VARCHAR,
  WATERMARK FOR date_time AS date_time - INTERVAL '4 seconds'
) WITH (
  connector = 'nexmark', nexmark.table.type = 'auction', nexmark.event.num = '${NEXMARK_EVENTS:-1000000}'
) FORMAT PLAIN ENCODE JSON;

CREATE MATERIALIZED VIEW q8 AS
  SELECT p.id, p.name, p.window_start AS starttime
  FROM (SELECT id, name, window_start, window_end
        FROM TUMBLE(person, date_time, INTERVAL '10 seconds')
        GROUP BY id, name, window_start, window_end) AS p
  JOIN (SELECT seller, window_start, window_end
        FROM TUMBLE(auction, date_time, INTERVAL '10 seconds')
        GROUP BY seller, window_start, window_end) AS a
    ON p.id = a.seller AND p.window_start = a.window_start AND p.window_end = a.window_end;

CREATE SINK q8_out FROM q8 WITH (connector = 'blackhole', primary_key = 'id,name,starttime')
FORMAT UPSERT ENCODE JSON;
