-- NEXMark q10, log to file system: every bid with its day and minute. As in Herald's text no files are written.

CREATE TABLE q10_out (
  auction BIGINT,
  bidder BIGINT,
  price BIGINT,
  date_time TIMESTAMP(3),
  extra STRING,
  `day` STRING,
  `minute` STRING
) WITH ('connector' = 'blackhole');

INSERT INTO q10_out
  SELECT auction, bidder, price, date_time, extra,
         DATE_FORMAT(date_time, 'yyyy-MM-dd') AS `day`, DATE_FORMAT(date_time, 'HH:mm') AS `minute`
  FROM bid;
