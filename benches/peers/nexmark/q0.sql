-- NEXMark q0, pass through: every bid as it is.

CREATE TABLE q0_out (
  auction BIGINT,
  bidder BIGINT,
  price BIGINT,
  date_time TIMESTAMP(3),
  extra STRING
) WITH ('connector' = 'blackhole');

INSERT INTO q0_out
  SELECT auction, bidder, price, date_time, extra FROM bid;
