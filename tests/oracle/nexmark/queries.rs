//! What DuckDB computes for each query of the suite: the standard's texts in its dialect, with window
//! functions where they have them. Where the standard leaves open which of several rows is meant, the
//! one whose event came first is.

/// Name and text.
pub const QUERIES: &[(&str, &str)] = &[
    ("q0", "SELECT auction, bidder, price, date_time, extra FROM bid"),
    ("q1", "SELECT auction, bidder, 0.908 * price AS price, date_time, extra FROM bid"),
    ("q2", "SELECT auction, price FROM bid WHERE mod(auction, 123) = 0"),
    (
        "q3",
        "SELECT p.name, p.city, p.state, a.id FROM auction AS a INNER JOIN person AS p ON a.seller = p.id
         WHERE a.category = 10 AND (p.state = 'OR' OR p.state = 'ID' OR p.state = 'CA')",
    ),
    (
        "q4",
        "SELECT q.category, avg(q.final) AS final
         FROM (SELECT max(b.price) AS final, a.category FROM auction AS a, bid AS b
               WHERE a.id = b.auction AND b.date_time BETWEEN a.date_time AND a.expires
               GROUP BY a.id, a.category) AS q
         GROUP BY q.category",
    ),
    (
        "q5",
        "WITH hops AS (SELECT auction, count(*) AS num, w - to_seconds(2 * k) AS starttime
                       FROM (SELECT *, time_bucket(INTERVAL '2 seconds', date_time, TIMESTAMP '1970-01-01') AS w,
                                    unnest([0, 1, 2, 3, 4]) AS k FROM bid)
                       GROUP BY ALL)
         SELECT auction, num, starttime FROM hops
         WHERE num >= (SELECT max(m.num) FROM hops AS m WHERE m.starttime = hops.starttime)",
    ),
    (
        "q6",
        "SELECT id, seller, avg(price) OVER (PARTITION BY seller ORDER BY date_time, id
                                             ROWS BETWEEN 10 PRECEDING AND CURRENT ROW) AS avg_price
         FROM (SELECT a.id, a.seller, b.price, b.date_time,
                      row_number() OVER (PARTITION BY a.id ORDER BY b.price DESC, b.date_time, b.event) AS n
               FROM auction AS a, bid AS b
               WHERE a.id = b.auction AND b.date_time BETWEEN a.date_time AND a.expires)
         WHERE n <= 1",
    ),
    (
        "q7",
        "SELECT b.auction, b.bidder, b.price, b.date_time, b.extra, b.part, b.event, h.date_time AS window_end
         FROM bid AS b
         JOIN (SELECT max(price) AS price, w + INTERVAL '10 seconds' AS date_time
               FROM (SELECT price, time_bucket(INTERVAL '10 seconds', date_time, TIMESTAMP '1970-01-01') AS w
                     FROM bid)
               GROUP BY w) AS h
           ON b.price = h.price
         WHERE b.date_time BETWEEN h.date_time - INTERVAL '10 seconds' AND h.date_time",
    ),
    (
        "q8",
        "SELECT DISTINCT p.id, p.name, p.w AS starttime
         FROM (SELECT *, time_bucket(INTERVAL '10 seconds', date_time, TIMESTAMP '1970-01-01') AS w FROM person) AS p
         JOIN (SELECT *, time_bucket(INTERVAL '10 seconds', date_time, TIMESTAMP '1970-01-01') AS w FROM auction) AS a
           ON p.id = a.seller AND p.w = a.w",
    ),
    (
        "q9",
        "SELECT id, item_name, description, initial_bid, reserve, date_time, expires, seller, category, extra,
                auction, bidder, price, bid_date_time, bid_extra
         FROM (SELECT a.*, b.auction, b.bidder, b.price, b.date_time AS bid_date_time, b.extra AS bid_extra,
                      row_number() OVER (PARTITION BY a.id ORDER BY b.price DESC, b.date_time ASC, b.event) AS n
               FROM auction AS a, bid AS b
               WHERE a.id = b.auction AND b.date_time BETWEEN a.date_time AND a.expires)
         WHERE n <= 1",
    ),
    (
        "q10",
        "SELECT auction, bidder, price, date_time, extra, strftime(date_time, '%Y-%m-%d') AS day,
                strftime(date_time, '%H:%M') AS minute
         FROM bid",
    ),
    (
        "q11",
        "SELECT bidder, count(*) AS bid_count, min(date_time) AS starttime,
                max(date_time) + INTERVAL '10 seconds' AS endtime
         FROM (SELECT *, sum(begins) OVER (PARTITION BY bidder ORDER BY date_time, event) AS session
               FROM (SELECT *, CASE WHEN date_time - lag(date_time) OVER (PARTITION BY bidder ORDER BY date_time, event)
                                         < INTERVAL '10 seconds' THEN 0 ELSE 1 END AS begins
                     FROM bid))
         GROUP BY bidder, session",
    ),
    (
        "q12",
        "SELECT bidder, count(*) AS bid_count, w AS starttime, w + INTERVAL '10 seconds' AS endtime
         FROM (SELECT *, time_bucket(INTERVAL '10 seconds', arrived_at, TIMESTAMP '1970-01-01') AS w FROM bid)
         GROUP BY bidder, w",
    ),
    (
        "q13",
        "SELECT b.auction, b.bidder, b.price, b.date_time, s.value
         FROM bid AS b JOIN side_input AS s ON mod(b.auction, 10000) = s.key",
    ),
    (
        "q14",
        "SELECT auction, bidder, 0.908 * price AS price,
                CASE WHEN hour(date_time) >= 8 AND hour(date_time) <= 18 THEN 'dayTime'
                     WHEN hour(date_time) <= 6 OR hour(date_time) >= 20 THEN 'nightTime'
                     ELSE 'otherTime' END AS bid_time_type,
                date_time, extra, len(list_filter(string_split(extra, ''), c -> c = 'c')) AS c_counts
         FROM bid WHERE 0.908 * price > 1000000 AND 0.908 * price < 50000000",
    ),
    (
        "q15",
        "SELECT strftime(date_time, '%Y-%m-%d') AS day, count(*) AS a,
                count(*) FILTER (price < 10000) AS b,
                count(*) FILTER (price >= 10000 AND price < 1000000) AS c,
                count(*) FILTER (price >= 1000000) AS d,
                count(DISTINCT bidder) AS e,
                count(DISTINCT bidder) FILTER (price < 10000) AS f,
                count(DISTINCT bidder) FILTER (price >= 10000 AND price < 1000000) AS g,
                count(DISTINCT bidder) FILTER (price >= 1000000) AS h,
                count(DISTINCT auction) AS i,
                count(DISTINCT auction) FILTER (price < 10000) AS j,
                count(DISTINCT auction) FILTER (price >= 10000 AND price < 1000000) AS k,
                count(DISTINCT auction) FILTER (price >= 1000000) AS l
         FROM bid GROUP BY day",
    ),
    (
        "q16",
        "SELECT channel, strftime(date_time, '%Y-%m-%d') AS day, max(strftime(date_time, '%H:%M')) AS minute,
                count(*) AS a,
                count(*) FILTER (price < 10000) AS b,
                count(*) FILTER (price >= 10000 AND price < 1000000) AS c,
                count(*) FILTER (price >= 1000000) AS d,
                count(DISTINCT bidder) AS e,
                count(DISTINCT bidder) FILTER (price < 10000) AS f,
                count(DISTINCT bidder) FILTER (price >= 10000 AND price < 1000000) AS g,
                count(DISTINCT bidder) FILTER (price >= 1000000) AS h,
                count(DISTINCT auction) AS i,
                count(DISTINCT auction) FILTER (price < 10000) AS j,
                count(DISTINCT auction) FILTER (price >= 10000 AND price < 1000000) AS k,
                count(DISTINCT auction) FILTER (price >= 1000000) AS l
         FROM bid GROUP BY channel, day",
    ),
    (
        "q17",
        "SELECT auction, strftime(date_time, '%Y-%m-%d') AS day, count(*) AS total_bids,
                count(*) FILTER (price < 10000) AS rank1_bids,
                count(*) FILTER (price >= 10000 AND price < 1000000) AS rank2_bids,
                count(*) FILTER (price >= 1000000) AS rank3_bids,
                min(price) AS min_price, max(price) AS max_price, avg(price) AS avg_price,
                CAST(sum(price) AS BIGINT) AS sum_price
         FROM bid GROUP BY auction, day",
    ),
    (
        "q18",
        "SELECT auction, bidder, price, channel, url, date_time, extra
         FROM (SELECT *, row_number() OVER (PARTITION BY bidder, auction ORDER BY date_time DESC, event) AS n FROM bid)
         WHERE n <= 1",
    ),
    (
        "q19",
        "SELECT auction, bidder, price, channel, url, date_time, extra, n
         FROM (SELECT *, row_number() OVER (PARTITION BY auction ORDER BY price DESC, event) AS n FROM bid)
         WHERE n <= 10",
    ),
    (
        "q20",
        "SELECT auction, bidder, price, channel, url, b.date_time, b.extra, item_name, description, initial_bid,
                reserve, a.date_time AS auction_date_time, expires, seller, category, a.extra AS auction_extra
         FROM bid AS b INNER JOIN auction AS a ON b.auction = a.id
         WHERE a.category = 10",
    ),
    (
        "q21",
        "SELECT auction, bidder, price, channel,
                CASE WHEN lower(channel) = 'apple' THEN '0'
                     WHEN lower(channel) = 'google' THEN '1'
                     WHEN lower(channel) = 'facebook' THEN '2'
                     WHEN lower(channel) = 'baidu' THEN '3'
                     ELSE nullif(regexp_extract(url, '(&|^)channel_id=([^&]*)', 2), '') END AS channel_id
         FROM bid
         WHERE regexp_extract(url, '(&|^)channel_id=([^&]*)', 2) <> ''
            OR lower(channel) IN ('apple', 'google', 'facebook', 'baidu')",
    ),
    (
        "q22",
        "SELECT auction, bidder, price, channel, string_split(url, '/')[4] AS dir1, string_split(url, '/')[5] AS dir2,
                string_split(url, '/')[6] AS dir3
         FROM bid",
    ),
    (
        "q23",
        "SELECT bidder, price, channel, url, b.extra AS bid_extra, p.id AS person_id, name, email_address,
                credit_card, city, state, p.extra AS person_extra, item_name, description, initial_bid, reserve,
                a.date_time AS auction_date_time, expires, seller, category, a.extra AS auction_extra
         FROM bid AS b JOIN person AS p ON p.id = b.bidder JOIN auction AS a ON a.seller = b.bidder",
    ),
];
