-- NEXMark q1, currency conversion: every bid in euros, exact to a thousandth of a cent.

CREATE TABLE q1_out (
  auction BIGINT,
  bidder BIGINT,
  price DECIMAL(23,3),
  date_time TIMESTAMP(3),
  extra STRING
) WITH ('connector' = 'blackhole');

INSERT INTO q1_out
  SELECT auction, bidder, CAST('0.908' AS DECIMAL(4, 3)) * price AS price, date_time, extra FROM bid;
