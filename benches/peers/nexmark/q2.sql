-- NEXMark q2, selection: bids for some auctions.

CREATE TABLE q2_out (
  auction BIGINT,
  price BIGINT
) WITH ('connector' = 'blackhole');

INSERT INTO q2_out
  SELECT auction, price FROM bid WHERE MOD(auction, 123) = 0;
