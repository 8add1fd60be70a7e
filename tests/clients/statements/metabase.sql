-- Statements of Metabase, which sends them by JDBC; programs/check_statements.py reads this file.

-- @ {"name": "float digits"}
SET extra_float_digits = 2;

-- @ {"name": "isolation"}
SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ UNCOMMITTED;

-- @ {"name": "level"}
SHOW TRANSACTION ISOLATION LEVEL;

-- @ {"name": "level back"}
SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED;

-- @ {"name": "zone", "finds": {"TimeZone": ["UTC"]}}
SHOW timezone;

-- @ {"name": "privileges", "finds": {"table": "VIEWS"}}
WITH granted AS ( SELECT NULL AS role, o.schemaname AS schema, o.name AS table,
  pg_catalog.has_any_column_privilege(current_user, '"' || replace(o.schemaname, '"', '""') || '"' || '.' ||
  '"' || replace(o.name, '"', '""') || '"', 'select') AS select,
  pg_catalog.has_any_column_privilege(current_user, '"' || replace(o.schemaname, '"', '""') || '"' || '.' ||
  '"' || replace(o.name, '"', '""') || '"', 'update') AS update,
  pg_catalog.has_table_privilege(current_user, '"' || replace(o.schemaname, '"', '""') || '"' || '.' || '"'
  || replace(o.name, '"', '""') || '"', 'delete') AS delete FROM (SELECT schemaname, tablename AS name FROM
  pg_catalog.pg_tables UNION SELECT schemaname, viewname AS name FROM pg_catalog.pg_views UNION SELECT
  schemaname, matviewname AS name FROM pg_catalog.pg_matviews) o WHERE o.schemaname !~ '^pg_' AND
  o.schemaname <> 'information_schema' AND pg_catalog.has_schema_privilege(current_user, o.schemaname,
  'usage')) SELECT g.*
FROM granted g
WHERE g.select;

-- @ {"name": "tables", "finds": {"name": "VIEWS"}}
SELECT "s"."nspname" AS "schema", "k"."relname" AS "name", CASE "k"."relkind" WHEN 'r' THEN 'TABLE' WHEN 'p'
  THEN 'PARTITIONED TABLE' WHEN 'v' THEN 'VIEW' WHEN 'f' THEN 'FOREIGN TABLE' WHEN 'm' THEN
  'MATERIALIZED VIEW' ELSE NULL END AS "type", "about"."description" AS "description", "stat"."n_live_tup"
  AS "estimated_row_count"
FROM "pg_catalog"."pg_class" AS "k"
INNER JOIN "pg_catalog"."pg_namespace" AS "s" ON "k"."relnamespace" = "s"."oid"
LEFT JOIN "pg_catalog"."pg_description" AS "about" ON ("k"."oid" = "about"."objoid") AND ("about"."objsubid"
  = '0') AND ("about"."classoid" = 'pg_class'::regclass)
LEFT JOIN "pg_stat_user_tables" AS "stat" ON ("s"."nspname" = "stat"."schemaname") AND ("k"."relname" =
  "stat"."relname")
WHERE ("s"."nspname" !~ '^pg_') AND ("s"."nspname" <> 'information_schema') AND k.relkind IN ('r', 'p', 'v',
  'f', 'm') AND ("s"."nspname" IN ('public'))
ORDER BY "type" ASC, "schema" ASC, "name" ASC;

-- @ {"name": "fields of tables", "finds": {"table-name": "LISTED"}}
SELECT c.column_name AS name, CASE WHEN c.udt_schema IN ('public', 'pg_catalog') THEN format('%s',
  c.udt_name) ELSE format('"%s"."%s"', c.udt_schema, c.udt_name) END AS "database-type", c.ordinal_position
  - 1 AS "database-position", c.table_schema AS "table-schema", c.table_name AS "table-name", pk.column_name
  IS NOT NULL AS "pk?", col_description(CAST(CAST(format('%I.%I', CAST(c.table_schema AS TEXT),
  CAST(c.table_name AS TEXT)) AS REGCLASS) AS OID), c.ordinal_position) AS "field-comment", (column_default
  IS NULL OR lower(column_default) = 'null') AND is_nullable = 'NO' AND NOT (is_identity = 'YES') AS
  "database-required", (column_default IS NOT NULL AND column_default LIKE '%nextval(%') OR is_identity <>
  'NO' AS "database-is-auto-increment" FROM information_schema.columns AS c LEFT JOIN ( SELECT
  tc.table_schema, tc.table_name, kc.column_name FROM information_schema.table_constraints AS tc INNER JOIN
  information_schema.key_column_usage AS kc ON tc.constraint_name = kc.constraint_name AND tc.table_schema =
  kc.table_schema AND tc.table_name = kc.table_name WHERE tc.constraint_type = 'PRIMARY KEY') AS pk ON
  c.table_schema = pk.table_schema AND c.table_name = pk.table_name AND c.column_name = pk.column_name WHERE
  c.table_schema !~ '^information_schema|catalog_history|pg_' AND c.table_schema IN ('public') ORDER BY
  "table-schema" ASC, "table-name" ASC, "database-position" ASC;

-- @ {"name": "fields of materialized views", "finds": {"table-name": "VIEWS"}}
SELECT a.attname AS name, CASE WHEN ts.nspname IN ('public', 'pg_catalog') THEN format('%s', t.typname) ELSE
  format('"%s"."%s"', ts.nspname, t.typname) END AS "database-type", a.attnum - 1 AS "database-position",
  s.nspname AS "table-schema", k.relname AS "table-name", FALSE AS "pk?", NULL AS "field-comment"
FROM pg_catalog.pg_class AS k
INNER JOIN pg_catalog.pg_namespace AS s ON s.oid = k.relnamespace
INNER JOIN pg_catalog.pg_attribute AS a ON a.attrelid = k.oid
INNER JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
INNER JOIN pg_catalog.pg_namespace AS ts ON t.typnamespace = ts.oid
WHERE (k.relkind IN ('m', 'r')) AND (a.attnum >= 1) AND s.nspname !~
  '^information_schema|catalog_history|pg_'
ORDER BY 4, 5, 3;

-- @ {"name": "foreign keys"}
SELECT fs.nspname AS "fk-table-schema", fk.relname AS "fk-table-name", fa.attname AS "fk-column-name",
  ps.nspname AS "pk-table-schema", pk.relname AS "pk-table-name", pa.attname AS "pk-column-name"
FROM pg_constraint AS c
JOIN pg_class AS fk ON c.conrelid = fk.oid
JOIN pg_namespace AS fs ON c.connamespace = fs.oid
JOIN pg_attribute AS fa ON c.conrelid = fa.attrelid
JOIN pg_class AS pk ON c.confrelid = pk.oid
JOIN pg_namespace AS ps ON pk.relnamespace = ps.oid
JOIN pg_attribute AS pa ON c.confrelid = pa.attrelid
WHERE fs.nspname !~ '^information_schema|catalog_history|pg_' AND c.contype = 'f'::char AND fa.attnum =
  ANY(c.conkey) AND pa.attnum = ANY(c.confkey)
ORDER BY 1, 2;

-- @ {"name": "indexes", "finds": {"field-name": ["wins"]}}
SELECT x.oid, s.nspname AS "table-schema", k.relname AS "table-name", pg_catalog.pg_get_indexdef(x.oid,
  part.n + 1, true) AS "field-name"
FROM pg_catalog.pg_index AS i
JOIN pg_catalog.pg_class AS x ON x.oid = i.indexrelid
JOIN pg_catalog.pg_class AS k ON k.oid = i.indrelid
JOIN pg_catalog.pg_namespace AS s ON s.oid = k.relnamespace
CROSS JOIN generate_series(0, 0) AS part(n)
WHERE i.indpred IS NULL AND s.nspname !~ '^information_schema|catalog_history|pg_';

-- @ {"name": "enums"}
SELECT s.nspname, t.typname
FROM pg_enum AS e
JOIN pg_type AS t ON t.oid = e.enumtypid
JOIN pg_namespace AS s ON s.oid = t.typnamespace;

-- @ {"name": "probe"}
SELECT TRUE AS "_"
FROM "public"."totals"
WHERE 1 <> 1 LIMIT 0;

-- @ {"name": "sample", "finds": {"substring1": ["anna"]}}
-- Metabase
SELECT SUBSTRING("public"."totals"."player", 1, 1234) AS "substring1", "public"."totals"."wins" AS "wins",
  "public"."totals"."last_seen" AS "last_seen"
FROM "public"."totals" LIMIT 10000;

-- @ {"name": "values", "finds": {"k": ["a", "b", "c", "d"]}}
SELECT "public"."big"."k" AS "k"
FROM "public"."big"
GROUP BY "public"."big"."k"
ORDER BY "public"."big"."k" ASC LIMIT 1001;

-- @ {"name": "by hours", "finds": {"sum": [15, 25]}}
-- Metabase:: userID: 1 queryType: MBQL queryHash: 0000
SELECT DATE_TRUNC('hour', "public"."totals"."last_seen") AS "last_seen", SUM("public"."totals"."wins") AS
  "sum", COUNT(*) AS "count"
FROM "public"."totals"
WHERE ("public"."totals"."last_seen" >= timestamp with time zone '2026-01-05 22:00:00.000Z') AND
  ("public"."totals"."last_seen" < timestamp with time zone '2026-01-06 00:00:00.000Z')
GROUP BY DATE_TRUNC('hour', "public"."totals"."last_seen")
ORDER BY DATE_TRUNC('hour', "public"."totals"."last_seen") ASC;

-- @ {"name": "of days", "parameters": ["anna"], "finds": {"count": [8]}}
SELECT CAST("public"."totals"."last_seen" AS date) AS "day", COUNT(DISTINCT "public"."totals"."player") AS
  "count"
FROM "public"."totals"
WHERE "public"."totals"."player" <> $1 OR "public"."totals"."player" IS NULL
GROUP BY 1
ORDER BY 1 ASC;

-- @ {"name": "bins"}
SELECT FLOOR((("public"."totals"."points" - 0.0) / 250.0)) * 250.0 + 0.0 AS "points", COUNT(*) AS "count"
FROM "public"."totals"
GROUP BY FLOOR((("public"."totals"."points" - 0.0) / 250.0)) * 250.0 + 0.0
ORDER BY 1;

-- @ {"name": "recent"}
SELECT COUNT(*) AS "count"
FROM "public"."totals"
WHERE "public"."totals"."last_seen" >= DATE_TRUNC('day', (NOW() + INTERVAL '-30 day'));

-- @ {"name": "nested", "finds": {"k": ["a", "b", "c", "d"]}}
SELECT "source"."k" AS "k", AVG("source"."v") AS "avg"
FROM (SELECT "public"."big"."k" AS "k", "public"."big"."v" AS "v" FROM "public"."big" WHERE
  "public"."big"."id" < 1000) AS "source"
GROUP BY "source"."k"
ORDER BY "avg" DESC, "source"."k" ASC LIMIT 2000;
