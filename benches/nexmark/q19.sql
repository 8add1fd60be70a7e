-- NEXMark q19, auction top 10 price: the ten highest bids of each auction.

CREATE SOURCE bid (
  auction BIGINT, bidder BIGINT, price BIGINT, channel VARCHAR, url VARCHAR, date_time TIMESTAMP, extra VARCHAR,
  WATERMARK FOR date_time AS date_time - INTERVAL '4 seconds'
) INCLUDE timestamp AS arrived_at INCLUDE partition AS part INCLUDE offset AS event
WITH (
  connector = 'nexmark', nexmark.table.type = 'bid', nexmark.event.num = '${NEXMARK_EVENTS:-1000000}'
) FORMAT PLAIN ENCODE JSON;

CREATE MATERIALIZED VIEW q19 AS
  SELECT auction, bidder, price, channel, url, date_time, extra, rank_number
  FROM (SELECT *, row_number() OVER (PARTITION BY auction ORDER BY price DESC, event) AS rank_number FROM bid) AS r
  WHERE rank_number <= 10;

CREATE SINK q19_out FROM q19 WITH (connector = 'blackhole', primary_key = 'auction,rank_number')
FORMAT UPSERT ENCODE JSON;
