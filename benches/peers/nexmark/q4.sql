-- NEXMark q4, average price for a category: the mean of the winning prices of its auctions.
-- 
-- Flink's mean of BIGINT is a BIGINT: prices are made DOUBLE, of which the sums are exact.

CREATE TABLE q4_out (
  category BIGINT,
  final DOUBLE
) WITH ('connector' = 'blackhole');

CREATE TEMPORARY VIEW q4_final AS
  SELECT a.id, a.category, MAX(b.price) AS final
  FROM auction AS a JOIN bid AS b ON a.id = b.auction
  WHERE b.date_time BETWEEN a.date_time AND a.expires
  GROUP BY a.id, a.category;

INSERT INTO q4_out
  SELECT category, AVG(CAST(final AS DOUBLE)) AS final FROM q4_final GROUP BY category;
