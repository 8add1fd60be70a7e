-- NEXMark q20, expand bid with auction: bids for what is in category 10, with its auction.

CREATE TABLE q20_out (
  auction BIGINT,
  bidder BIGINT,
  price BIGINT,
  channel STRING,
  url STRING,
  bid_date_time TIMESTAMP(3),
  bid_extra STRING,
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

INSERT INTO q20_out
  SELECT b.auction, b.bidder, b.price, b.channel, b.url, b.date_time AS bid_date_time, b.extra AS bid_extra,
         a.item_name, a.description, a.initial_bid, a.reserve, a.date_time AS auction_date_time, a.expires, a.seller,
         a.category, a.extra AS auction_extra
  FROM bid AS b JOIN auction AS a ON b.auction = a.id
  WHERE a.category = 10;
