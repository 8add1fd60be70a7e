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
    RETURN QUERY EXECUTE replace(query, '@t@',
      format('(SELECT * FROM %s WHERE id <> ALL (%L::int[]) OFFSET 0) AS t', relation, bad));
  EXCEPTION WHEN OTHERS THEN
    RETURN QUERY SELECT 'failed', ARRAY[SQLERRM];
  END;
END
$judge$
