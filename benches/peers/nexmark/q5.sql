-- NEXMark q5, hot items: the auctions with the most bids of the last 10 seconds, every 2 seconds.

CREATE TABLE q5_out (
  auction BIGINT,
  num BIGINT,
  window_start TIMESTAMP(3)
) WITH ('connector' = 'blackhole');

CREATE TEMPORARY VIEW q5_counts AS
  SELECT auction, window_start, window_end, COUNT(*) AS num
  FROM TABLE(HOP(TABLE bid, DESCRIPTOR(date_time), INTERVAL '2' SECOND, INTERVAL '10' SECOND))
  GROUP BY auction, window_start, window_end;

INSERT INTO q5_out
  SELECT c.auction, c.num, c.window_start
  FROM q5_counts AS c
  JOIN (SELECT window_start, window_end, MAX(num) AS num FROM q5_counts GROUP BY window_start, window_end) AS m
    ON c.window_start = m.window_start AND c.window_end = m.window_end AND c.num >= m.num;
