-- What docs/sql.md says that Herald means otherwise, in PostgreSQL's words: the operators and functions of this
-- schema stand before PostgreSQL's own. Then `judge`, which asks an expression.

-- Beyond INT an array has no item.
CREATE FUNCTION subscript (x bigint) RETURNS int IMMUTABLE LANGUAGE sql AS
  'SELECT CASE WHEN x BETWEEN -2147483648 AND 2147483647 THEN x::int END';

-- DOUBLE beyond its range is Infinity or NaN, and there is one zero.
DO $float$
DECLARE
  op text;
  a text;
  b text;
  c text;
  name text;
BEGIN
  FOREACH op IN ARRAY ARRAY['+', '-', '*', '/'] LOOP
    FOR a, b IN SELECT x, y FROM (VALUES ('float8'), ('float4')) AS x (x), (VALUES ('float8'), ('float4')) AS y (y) LOOP
      c := CASE WHEN a = 'float4' AND b = 'float4' THEN 'float4' ELSE 'float8' END;
      name := 'herald_' || translate(op, '+-*/', 'pmtd') || '_' || a || '_' || b;
      EXECUTE format($body$
        CREATE FUNCTION %1$s (x %2$s, y %3$s) RETURNS %4$s IMMUTABLE STRICT LANGUAGE plpgsql COST 1 AS $f$
        BEGIN
          RETURN ((x OPERATOR(pg_catalog.%5$s) y) OPERATOR(pg_catalog.+) '0'::%4$s)::%4$s;
        EXCEPTION
          WHEN division_by_zero THEN
            RETURN CASE WHEN x = 0 THEN 'NaN' WHEN x > 0 THEN 'Infinity' ELSE '-Infinity' END;
          WHEN numeric_value_out_of_range THEN
            IF SQLERRM LIKE '%%underflow%%' THEN
              RETURN 0;
            END IF;
            IF (x < 0) = (%6$s) THEN
              RETURN 'Infinity';
            END IF;
            RETURN '-Infinity';
        END
        $f$ $body$, name, a, b, c, op, CASE WHEN op IN ('+', '-') THEN 'false' ELSE 'y < 0' END);
      EXECUTE format('CREATE OPERATOR %s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = %s)', op, a, b, name);
    END LOOP;
  END LOOP;
  FOREACH a IN ARRAY ARRAY['float8', 'float4'] LOOP
    EXECUTE format(
      $f$CREATE FUNCTION herald_minus_%1$s (%1$s) RETURNS %1$s IMMUTABLE STRICT LANGUAGE sql AS
      'SELECT CASE WHEN $1 = 0 THEN $1 ELSE OPERATOR(pg_catalog.-) $1 END'$f$, a);
    EXECUTE format('CREATE OPERATOR - (RIGHTARG = %1$s, FUNCTION = herald_minus_%1$s)', a);
  END LOOP;
  FOR name, a IN
    SELECT DISTINCT p.proname, repeat(', float8', p.pronargs) FROM pg_proc AS p
    WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.prorettype = 'float8'::regtype
      AND p.proargtypes::text IN ('701', '701 701') AND p.prokind = 'f'
      AND p.proname ~ '^(a?(sin|cos|tan|cot)[hd]?|atan2d?|round|ceil|ceiling|floor|trunc|sign|cbrt|sqrt|power|pow|degrees|radians)$'
  LOOP
    EXECUTE format(
      'CREATE FUNCTION %1$s (%2$s) RETURNS float8 IMMUTABLE STRICT LANGUAGE sql AS
      ''SELECT pg_catalog.%1$s(%3$s) OPERATOR(pg_catalog.+) 0::float8''',
      name, substr(a, 3), CASE WHEN a = ', float8' THEN '$1' ELSE '$1, $2' END);
  END LOOP;
END
$float$;

-- A quotient of DECIMALs is rounded once, to the digits of its type: here it has more than any.
CREATE FUNCTION herald_quotient (numeric, numeric) RETURNS numeric IMMUTABLE STRICT LANGUAGE sql AS
'SELECT round($1, 38) OPERATOR(pg_catalog./) $2';

CREATE OPERATOR / (LEFTARG = numeric, RIGHTARG = numeric, FUNCTION = herald_quotient);

-- A DECIMAL is never NaN, and a number in text is written in decimal notation.
CREATE FUNCTION herald_number (x float8) RETURNS float8 IMMUTABLE STRICT LANGUAGE plpgsql AS $f$
BEGIN
  IF x IN ('NaN', 'Infinity', '-Infinity') THEN
    RAISE EXCEPTION 'a DECIMAL cannot be %', x USING ERRCODE = '22003';
  END IF;
  RETURN x;
END
$f$;

CREATE FUNCTION herald_number (x float4) RETURNS float4 IMMUTABLE STRICT LANGUAGE plpgsql AS $f$
BEGIN
  PERFORM herald_number(x::float8);
  RETURN x;
END
$f$;

CREATE FUNCTION herald_digits (x text) RETURNS text IMMUTABLE STRICT LANGUAGE plpgsql AS $f$
BEGIN
  IF x ~* '0x' THEN
    RAISE EXCEPTION 'no number: %', x USING ERRCODE = '22P02';
  END IF;
  RETURN x;
END
$f$;

CREATE FUNCTION herald_number (x text) RETURNS text IMMUTABLE STRICT LANGUAGE plpgsql AS $f$
BEGIN
  IF x ~* 'nan|inf' THEN
    RAISE EXCEPTION 'a DECIMAL cannot be %', x USING ERRCODE = '22003';
  END IF;
  RETURN herald_digits(x);
END
$f$;

-- The time of an INTERVAL has at most 2,562,047 hours.
CREATE FUNCTION herald_span (x interval) RETURNS interval IMMUTABLE STRICT LANGUAGE plpgsql COST 1 AS $f$
BEGIN
  IF abs(extract(hour FROM x)) >= 2562047 THEN
    RAISE EXCEPTION 'interval out of range' USING ERRCODE = '22008';
  END IF;
  RETURN x;
END
$f$;

CREATE FUNCTION herald_plus (interval, interval) RETURNS interval IMMUTABLE STRICT LANGUAGE sql AS
'SELECT herald_span($1 OPERATOR(pg_catalog.+) $2)';

CREATE FUNCTION herald_less (interval, interval) RETURNS interval IMMUTABLE STRICT LANGUAGE sql AS
'SELECT herald_span($1 OPERATOR(pg_catalog.-) $2)';

CREATE FUNCTION herald_times (interval, float8) RETURNS interval IMMUTABLE STRICT LANGUAGE sql AS
'SELECT herald_span($1 OPERATOR(pg_catalog.*) $2)';

CREATE FUNCTION herald_times (float8, interval) RETURNS interval IMMUTABLE STRICT LANGUAGE sql AS
'SELECT herald_span($1 OPERATOR(pg_catalog.*) $2)';

CREATE FUNCTION herald_over (interval, float8) RETURNS interval IMMUTABLE STRICT LANGUAGE sql AS
'SELECT herald_span($1 OPERATOR(pg_catalog./) $2)';

CREATE OPERATOR + (LEFTARG = interval, RIGHTARG = interval, FUNCTION = herald_plus);

CREATE OPERATOR - (LEFTARG = interval, RIGHTARG = interval, FUNCTION = herald_less);

CREATE OPERATOR * (LEFTARG = interval, RIGHTARG = float8, FUNCTION = herald_times);

CREATE OPERATOR * (LEFTARG = float8, RIGHTARG = interval, FUNCTION = herald_times);

CREATE OPERATOR / (LEFTARG = interval, RIGHTARG = float8, FUNCTION = herald_over);

CREATE FUNCTION make_interval (
  years int = 0, months int = 0, weeks int = 0, days int = 0, hours int = 0, mins int = 0, secs float8 = 0
) RETURNS interval IMMUTABLE STRICT LANGUAGE sql AS
'SELECT herald_span(pg_catalog.make_interval($1, $2, $3, $4, $5, $6, $7))';

-- Sums of DOUBLE and REAL are exact, and rounded once.
CREATE FUNCTION herald_power (base numeric, n int) RETURNS numeric IMMUTABLE STRICT LANGUAGE plpgsql AS $f$
DECLARE
  square numeric := base;
  product numeric := 1;
BEGIN
  WHILE n > 0 LOOP
    IF n % 2 = 1 THEN
      product := product * square;
    END IF;
    square := square * square;
    n := n / 2;
  END LOOP;
  RETURN product;
END
$f$;

CREATE FUNCTION herald_exact (x float8) RETURNS numeric IMMUTABLE STRICT LANGUAGE plpgsql AS $f$
DECLARE
  bits bigint := ('x' || encode(float8send(x), 'hex'))::bit(64)::bigint;
  exponent int := (bits >> 52) & 2047;
  digits numeric := bits & 4503599627370495;
BEGIN
  IF exponent = 2047 THEN
    RETURN x::numeric;
  END IF;
  IF exponent = 0 THEN
    exponent := 1;
  ELSE
    digits := digits + 4503599627370496;
  END IF;
  IF x < 0 THEN
    digits := -digits;
  END IF;
  IF exponent >= 1075 THEN
    RETURN digits * herald_power(2, exponent - 1075);
  END IF;
  RETURN digits * herald_power(5, 1075 - exponent) * ('1e-' || (1075 - exponent))::numeric;
END
$f$;

CREATE FUNCTION herald_double (exact numeric) RETURNS float8 IMMUTABLE STRICT LANGUAGE plpgsql AS $f$
BEGIN
  RETURN exact::float8;
EXCEPTION WHEN numeric_value_out_of_range THEN
  RETURN CASE WHEN exact > 0 THEN 'Infinity' ELSE '-Infinity' END;
END
$f$;

CREATE FUNCTION herald_sum_step (state numeric, x float8) RETURNS numeric IMMUTABLE LANGUAGE sql AS
'SELECT CASE WHEN $2 IS NULL THEN $1 ELSE coalesce($1, 0) + herald_exact($2) END';

CREATE FUNCTION herald_mean_step (state numeric[], x float8) RETURNS numeric[] IMMUTABLE LANGUAGE sql AS
'SELECT CASE WHEN $2 IS NULL THEN $1 ELSE ARRAY[$1[1] + herald_exact($2), $1[2] + 1] END';

CREATE FUNCTION herald_mean (state numeric[]) RETURNS float8 IMMUTABLE LANGUAGE sql AS
'SELECT CASE WHEN $1[2] > 0 THEN herald_double($1[1]) OPERATOR(pg_catalog./) $1[2]::float8 END';

CREATE AGGREGATE sum (float8) (SFUNC = herald_sum_step, STYPE = numeric, FINALFUNC = herald_double);

CREATE AGGREGATE avg (float8) (
  SFUNC = herald_mean_step, STYPE = numeric[], INITCOND = '{0,0}', FINALFUNC = herald_mean
);

CREATE FUNCTION herald_sum_step (state numeric, x float4) RETURNS numeric IMMUTABLE LANGUAGE sql AS
'SELECT herald_sum_step($1, $2::float8)';

CREATE FUNCTION herald_mean_step (state numeric[], x float4) RETURNS numeric[] IMMUTABLE LANGUAGE sql AS
'SELECT herald_mean_step($1, $2::float8)';

CREATE AGGREGATE sum (float4) (SFUNC = herald_sum_step, STYPE = numeric, FINALFUNC = herald_double);

CREATE AGGREGATE avg (float4) (
  SFUNC = herald_mean_step, STYPE = numeric[], INITCOND = '{0,0}', FINALFUNC = herald_mean
);

SELECT set_config('search_path', current_schema() || ', pg_catalog', false);

-- What is below the upper bound is in no bucket behind the last, however it is rounded: so has PostgreSQL 17.
CREATE FUNCTION width_bucket (x float8, low float8, high float8, count int) RETURNS int IMMUTABLE STRICT
LANGUAGE sql AS
'SELECT CASE WHEN x < greatest(low, high) AND x > least(low, high) THEN least(b, count) ELSE b END
 FROM pg_catalog.width_bucket(x, low, high, count) AS b';

CREATE FUNCTION judge(expression text, relation text, query text) RETURNS TABLE (kind text, cells text[])
LANGUAGE plpgsql AS $judge$
DECLARE
  bad int[] := '{}';
  one int;
  shown text;
  type_name text;
BEGIN
  BEGIN
    EXECUTE format('SELECT count((%s)::text), min(pg_typeof(%s)::text) FROM %s', expression, expression, relation)
      INTO one, type_name;
  EXCEPTION WHEN OTHERS THEN
    IF SQLSTATE LIKE '42%' THEN
      RETURN QUERY SELECT 'refused', ARRAY[SQLERRM];
      RETURN;
    END IF;
    FOR one IN EXECUTE format('SELECT id FROM %s', relation) LOOP
      BEGIN
        EXECUTE format('SELECT (%s)::text, pg_typeof(%s)::text FROM %s WHERE id = $1', expression, expression, relation)
          INTO shown, type_name USING one;
      EXCEPTION WHEN OTHERS THEN
        bad := bad || one;
      END;
    END LOOP;
  END;
  RETURN QUERY SELECT 'type', ARRAY[type_name];
  RETURN QUERY SELECT 'bad', bad::text[];
  BEGIN
    RETURN QUERY EXECUTE replace(replace(query, '@bad@', quote_literal(bad) || '::int[]'), '@t@',
      format('(SELECT * FROM %s WHERE id <> ALL (%L::int[]) OFFSET 0) AS t', relation, bad));
  EXCEPTION WHEN OTHERS THEN
    RETURN QUERY SELECT 'failed', ARRAY[SQLERRM];
  END;
END
$judge$;
