-- NEXMark q7, highest bid: the highest bids of each 10 seconds. Both ends of the 10 seconds count.

CREATE TABLE q7_out (
  auction BIGINT,
  bidder BIGINT,
  price BIGINT,
  date_time TIMESTAMP(3),
  extra STRING,
  part INT,
  event BIGINT,
  window_end TIMESTAMP(3)
) WITH ('connector' = 'blackhole');

CREATE TEMPORARY VIEW q7_highest AS
  SELECT window_start, window_end, MAX(price) AS price
  FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(date_time), INTERVAL '10' SECOND))
  GROUP BY window_start, window_end;

INSERT INTO q7_out
  SELECT b.auction, b.bidder, b.price, b.date_time, b.extra, 0 AS part, b.event, h.window_end
  FROM bid AS b
  JOIN q7_highest AS h
    ON b.price = h.price AND b.date_time BETWEEN h.window_end - INTERVAL '10' SECOND AND h.window_end;
