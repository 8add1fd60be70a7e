-- NEXMark q12, processing time windows: how many bids of a user came in each 10 seconds.
-- 
-- The time at which a bid came is its own, in both systems: see README.md.

CREATE TABLE q12_out (
  bidder BIGINT,
  bid_count BIGINT,
  starttime TIMESTAMP(3),
  endtime TIMESTAMP(3)
) WITH ('connector' = 'blackhole');

INSERT INTO q12_out
  SELECT bidder, COUNT(*) AS bid_count, window_start AS starttime, window_end AS endtime
  FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(date_time), INTERVAL '10' SECOND))
  GROUP BY bidder, window_start, window_end;
