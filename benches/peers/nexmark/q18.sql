-- NEXMark q18, find last bid: the last bid of each bidder for each auction. Of several at one time the one that came
-- first counts.

CREATE TABLE q18_out (
  auction BIGINT,
  bidder BIGINT,
  price BIGINT,
  channel STRING,
  url STRING,
  date_time TIMESTAMP(3),
  extra STRING
) WITH ('connector' = 'blackhole');

INSERT INTO q18_out
  SELECT auction, bidder, price, channel, url, date_time, extra
  FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY bidder, auction ORDER BY date_time DESC, event) AS rank_number
        FROM bid)
  WHERE rank_number <= 1;
