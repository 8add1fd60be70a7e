-- Statements of Npgsql and Power BI, as simple queries; programs/check_statements.py reads this file.

-- @ {"name": "types", "finds": {"typname": ["int8", "numeric", "timestamptz", "jsonb", "uuid", "interval", "_text", "_int8", "_timestamptz"]}}
SELECT s.nspname, k.oid, k.typname, k.typtype, k.typnotnull, k.item
FROM (SELECT t.oid, t.typnamespace, t.typname, t.typrelid, t.typnotnull, CASE WHEN p.proname = 'array_recv'
  THEN 'a' ELSE t.typtype END AS typtype, CASE WHEN p.proname = 'array_recv' THEN t.typelem WHEN t.typtype =
  'r' THEN r.rngsubtype WHEN t.typtype = 'd' THEN t.typbasetype END AS item FROM pg_type AS t LEFT JOIN
  pg_class AS c ON (c.oid = t.typrelid) LEFT JOIN pg_proc AS p ON p.oid = t.typreceive LEFT JOIN pg_range AS
  r ON (r.rngtypid = t.oid)) AS k
JOIN pg_namespace AS s ON (s.oid = k.typnamespace)
WHERE k.typtype IN ('b', 'r', 'm', 'e', 'd') OR (k.typtype = 'a' AND k.item IS NOT NULL)
ORDER BY k.typname;

-- @ {"name": "composites"}
SELECT t.oid, a.attname, a.atttypid
FROM pg_type AS t
JOIN pg_namespace AS s ON (s.oid = t.typnamespace)
JOIN pg_class AS c ON (c.oid = t.typrelid)
JOIN pg_attribute AS a ON (a.attrelid = t.typrelid)
WHERE t.typtype = 'c' AND c.relkind = 'c' AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY t.oid, a.attnum;

-- @ {"name": "enums"}
SELECT t.oid, e.enumlabel
FROM pg_enum AS e
JOIN pg_type AS t ON t.oid = e.enumtypid
ORDER BY t.oid, e.enumsortorder;

-- @ {"name": "reset"}
DISCARD ALL;

-- @ {"name": "encoding", "finds": {"character_set_name": ["UTF8"]}}
SELECT character_set_name
FROM information_schema.character_sets;

-- @ {"name": "tables", "finds": {"table_name": "LISTED"}}
SELECT table_schema, table_name, table_type
FROM information_schema.tables
WHERE table_schema NOT IN ('information_schema', 'pg_catalog')
ORDER BY table_schema, table_name;

-- @ {"name": "columns", "finds": {"column_name": "COLUMNS"}}
SELECT column_name, ordinal_position, is_nullable, data_type, CASE WHEN character_set_name IS NOT NULL THEN
  'UTF8' END AS set
FROM information_schema.columns
WHERE table_schema = 'public' AND table_name = 'totals'
ORDER BY table_schema, table_name, ordinal_position;

-- @ {"name": "keys"}
SELECT i.constraint_schema || '_' || i.constraint_name AS index_name, ii.column_name, ii.ordinal_position,
  CASE WHEN i.constraint_type = 'PRIMARY KEY' THEN 'Y' ELSE 'N' END AS primary_key
FROM information_schema.table_constraints AS i
INNER JOIN information_schema.key_column_usage AS ii ON i.constraint_schema = ii.constraint_schema AND
  i.constraint_name = ii.constraint_name AND i.table_schema = ii.table_schema AND i.table_name =
  ii.table_name
WHERE i.table_schema = 'public' AND i.table_name = 'totals' AND i.constraint_type IN ('PRIMARY KEY',
  'UNIQUE')
ORDER BY 1, 2, 3;

-- @ {"name": "foreign keys"}
SELECT pk.table_schema AS pk_table_schema, fk.column_name AS fk_column_name, fk.ordinal_position AS ordinal,
  con.constraint_schema || '_' || 'totals' || '_' || con.constraint_name AS fk_name
FROM (SELECT DISTINCT constraint_catalog, constraint_schema, unique_constraint_schema, constraint_name,
  unique_constraint_name FROM information_schema.referential_constraints) AS con
INNER JOIN information_schema.key_column_usage AS fk ON con.constraint_schema = fk.constraint_schema AND
  con.constraint_name = fk.constraint_name
INNER JOIN information_schema.key_column_usage AS pk ON con.unique_constraint_schema = pk.constraint_schema
  AND con.unique_constraint_name = pk.constraint_name
WHERE fk.table_schema = 'public' AND fk.table_name = 'totals' AND pk.ordinal_position = fk.ordinal_position
ORDER BY 4, 3;

-- @ {"name": "rows", "finds": {"player": ["anna"]}}
SELECT "$Table"."player" AS "player", "$Table"."wins" AS "wins", "$Table"."points" AS "points"
FROM "public"."totals" "$Table" LIMIT 1000;

-- @ {"name": "folded", "finds": {"k": ["a", "b", "c", "d"]}}
SELECT "rows"."k" AS "k", sum(CAST("rows"."v" AS decimal)) AS "a0"
FROM "public"."big" "rows"
GROUP BY "k" LIMIT 1000001;
