-- NEXMark q19, auction top 10 price: the ten highest bids of each auction. Of equal bids the one that came first is
-- ranked higher.

CREATE TABLE q19_out (
  auction BIGINT,
  bidder BIGINT,
  price BIGINT,
  channel STRING,
  url STRING,
  date_time TIMESTAMP(3),
  extra STRING,
  rank_number BIGINT
) WITH ('connector' = 'blackhole');

INSERT INTO q19_out
  SELECT auction, bidder, price, channel, url, date_time, extra, rank_number
  FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY auction ORDER BY price DESC, event) AS rank_number FROM bid)
  WHERE rank_number <= 10;
