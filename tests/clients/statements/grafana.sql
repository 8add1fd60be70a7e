-- Statements of Grafana, which sends simple queries; programs/check_statements.py reads this file.

-- @ {"name": "health", "finds": {"?column?": ["1"]}}
SELECT 1;

-- @ {"name": "version"}
SELECT current_setting('server_version_num')::int / 100 AS version;

-- @ {"name": "extensions"}
SELECT extversion
FROM pg_extension
WHERE extname = 'timescaledb';

-- @ {"name": "tables", "finds": {"table": "LISTED"}}
SELECT CASE WHEN quote_ident(table_schema) IN (SELECT CASE WHEN trim(part[i]) = '"$user"' THEN user ELSE
  trim(part[i]) END FROM generate_series(array_lower(string_to_array(current_setting('search_path'), ','),
  1), array_upper(string_to_array(current_setting('search_path'), ','), 1)) AS i,
  string_to_array(current_setting('search_path'), ',') AS part) THEN quote_ident(table_name) ELSE
  quote_ident(table_schema) || '.' || quote_ident(table_name) END AS "table"
FROM information_schema.tables
WHERE quote_ident(table_schema) NOT IN ('information_schema', 'pg_catalog')
ORDER BY CASE WHEN quote_ident(table_schema) IN (SELECT CASE WHEN trim(part[i]) = '"$user"' THEN user ELSE
  trim(part[i]) END FROM generate_series(array_lower(string_to_array(current_setting('search_path'), ','),
  1), array_upper(string_to_array(current_setting('search_path'), ','), 1)) AS i,
  string_to_array(current_setting('search_path'), ',') AS part) THEN 0 ELSE 1 END, 1;

-- @ {"name": "columns", "finds": {"column": "COLUMNS"}}
SELECT quote_ident(column_name) AS "column", data_type AS "type"
FROM information_schema.columns
WHERE CASE WHEN array_length(parse_ident('totals'), 1) = 2 THEN quote_ident(table_schema) =
  (parse_ident('totals'))[1] AND quote_ident(table_name) = (parse_ident('totals'))[2] ELSE
  quote_ident(table_name) = 'totals' AND quote_ident(table_schema) IN (SELECT CASE WHEN trim(part[i]) =
  '"$user"' THEN user ELSE trim(part[i]) END FROM
  generate_series(array_lower(string_to_array(current_setting('search_path'), ','), 1),
  array_upper(string_to_array(current_setting('search_path'), ','), 1)) AS i,
  string_to_array(current_setting('search_path'), ',') AS part) END;

-- @ {"name": "schemas"}
SELECT DISTINCT quote_ident(table_schema)
FROM information_schema.tables;
