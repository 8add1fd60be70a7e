-- NEXMark q15, bidding statistics report: bids, bidders and auctions of each day by level of price.

CREATE SOURCE bid (
  auction BIGINT, bidder BIGINT, price BIGINT, channel VARCHAR, url VARCHAR, date_time TIMESTAMP, extra VARCHAR,
  WATERMARK FOR date_time AS date_time - INTERVAL '4 seconds'
) INCLUDE timestamp AS arrived_at INCLUDE partition AS part INCLUDE offset AS event
WITH (
  connector = 'nexmark', nexmark.table.type = 'bid', nexmark.event.num = '${NEXMARK_EVENTS:-1000000}'
) FORMAT PLAIN ENCODE JSON;

CREATE MATERIALIZED VIEW q15 AS
  SELECT to_char(date_time, 'YYYY-MM-DD') AS day,
         count(*) AS total_bids,
         count(*) FILTER (WHERE price < 10000) AS rank1_bids,
         count(*) FILTER (WHERE price >= 10000 AND price < 1000000) AS rank2_bids,
         count(*) FILTER (WHERE price >= 1000000) AS rank3_bids,
         count(DISTINCT bidder) AS total_bidders,
         count(DISTINCT bidder) FILTER (WHERE price < 10000) AS rank1_bidders,
         count(DISTINCT bidder) FILTER (WHERE price >= 10000 AND price < 1000000) AS rank2_bidders,
         count(DISTINCT bidder) FILTER (WHERE price >= 1000000) AS rank3_bidders,
         count(DISTINCT auction) AS total_auctions,
         count(DISTINCT auction) FILTER (WHERE price < 10000) AS rank1_auctions,
         count(DISTINCT auction) FILTER (WHERE price >= 10000 AND price < 1000000) AS rank2_auctions,
         count(DISTINCT auction) FILTER (WHERE price >= 1000000) AS rank3_auctions
  FROM bid
  GROUP BY to_char(date_time, 'YYYY-MM-DD');

CREATE SINK q15_out FROM q15 WITH (connector = 'blackhole', primary_key = 'day')
FORMAT UPSERT ENCODE JSON;
