-- NEXMark q23, expand bid with person and auction: bids of those who sell as well.

CREATE TABLE q23_out (
  bidder BIGINT,
  price BIGINT,
  channel STRING,
  url STRING,
  bid_extra STRING,
  person_id BIGINT,
  name STRING,
  email_address STRING,
  credit_card STRING,
  city STRING,
  state STRING,
  person_extra STRING,
  item_name STRING,
  description STRING,
  initial_bid BIGINT,
  reserve BIGINT,
  auction_date_time TIMESTAMP(3),
  expires TIMESTAMP(3),
  seller BIGINT,
  category BIGINT,
  auction_extra STRING
) WITH ('connector' = 'blackhole');

INSERT INTO q23_out
  SELECT b.bidder, b.price, b.channel, b.url, b.extra AS bid_extra,
         p.id AS person_id, p.name, p.email_address, p.credit_card, p.city, p.state, p.extra AS person_extra,
         a.item_name, a.description, a.initial_bid, a.reserve, a.date_time AS auction_date_time, a.expires,
         a.seller, a.category, a.extra AS auction_extra
  FROM bid AS b
  JOIN person AS p ON p.id = b.bidder
  JOIN auction AS a ON a.seller = b.bidder;
