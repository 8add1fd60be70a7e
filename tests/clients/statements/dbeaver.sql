-- Statements of DBeaver, which sends them by JDBC; programs/check_statements.py reads this file.

-- @ {"name": "float digits"}
SET extra_float_digits = 3;

-- @ {"name": "application"}
SET application_name = 'DBeaver 25.1.5 - Main <clients>';

-- @ {"name": "who", "finds": {"current_schema": ["public"]}}
SELECT current_schema(), session_user;

-- @ {"name": "search path"}
SHOW search_path;

-- @ {"name": "schemas", "finds": {"nspname": ["public", "herald", "pg_catalog", "information_schema"]}}
SELECT s.oid, s.*, about.description
FROM pg_catalog.pg_namespace s
LEFT OUTER JOIN pg_catalog.pg_description about ON about.objoid = s.oid AND about.objsubid = 0 AND
  about.classoid = 'pg_namespace'::regclass
ORDER BY nspname;

-- @ {"name": "database", "parameters": ["DATABASE"], "finds": {"datname": ["DATABASE"]}}
SELECT d.oid, d.*
FROM pg_catalog.pg_database d
WHERE datname = $1;

-- @ {"name": "setting", "finds": {"setting": ["on"]}}
SELECT *
FROM pg_catalog.pg_settings
WHERE name = 'standard_conforming_strings';

-- @ {"name": "settings", "finds": {"name": ["TimeZone", "search_path", "statement_timeout"]}}
SELECT *
FROM pg_catalog.pg_settings;

-- @ {"name": "version"}
SELECT version();

-- @ {"name": "no enums"}
SELECT *
FROM pg_catalog.pg_enum
WHERE 1 <> 1 LIMIT 1;

-- @ {"name": "no classes"}
SELECT reltype
FROM pg_catalog.pg_class
WHERE 1 <> 1 LIMIT 1;

-- @ {"name": "visible types", "parameters": [3802], "finds": {"typname": ["jsonb"]}}
SELECT s.nspname = ANY(current_schemas(true)), s.nspname, t.typname
FROM pg_catalog.pg_type t
JOIN pg_catalog.pg_namespace s ON t.typnamespace = s.oid
WHERE t.oid = $1;

-- @ {"name": "types", "finds": {"typname": ["int8", "timestamptz", "jsonb", "_text"]}}
SELECT t.oid, t.*, k.relkind, format_type(nullif(t.typbasetype, 0), t.typtypmod) AS base_type_name,
  about.description
FROM pg_catalog.pg_type t
LEFT OUTER JOIN pg_catalog.pg_type item ON item.oid = t.typelem
LEFT OUTER JOIN pg_catalog.pg_class k ON k.oid = t.typrelid
LEFT OUTER JOIN pg_catalog.pg_description about ON t.oid = about.objoid
WHERE t.typname IS NOT NULL AND (k.relkind IS NULL OR k.relkind = 'c') AND (item.typcategory IS NULL OR
  item.typcategory <> 'C');

-- @ {"name": "relations", "parameters": ["PUBLIC"], "finds": {"relname": "VIEWS"}}
SELECT k.oid, k.*, about.description, pg_catalog.pg_get_expr(k.relpartbound, k.oid) AS partition_expr,
  pg_catalog.pg_get_partkeydef(k.oid) AS partition_key
FROM pg_catalog.pg_class k
LEFT OUTER JOIN pg_catalog.pg_description about ON about.objoid = k.oid AND about.objsubid = 0 AND
  about.classoid = 'pg_class'::regclass
WHERE k.relnamespace = $1 AND k.relkind NOT IN ('i', 'I', 'c');

-- @ {"name": "columns", "parameters": ["TOTALS"], "finds": {"attname": ["player", "wins", "points", "last_seen"]}}
SELECT k.relname, a.*, pg_catalog.pg_get_expr(given.adbin, given.adrelid, true) AS def_value,
  about.description, tied.objid
FROM pg_catalog.pg_attribute a
INNER JOIN pg_catalog.pg_class k ON (a.attrelid = k.oid)
LEFT OUTER JOIN pg_catalog.pg_attrdef given ON (a.attrelid = given.adrelid AND a.attnum = given.adnum)
LEFT OUTER JOIN pg_catalog.pg_description about ON (k.oid = about.objoid AND a.attnum = about.objsubid)
LEFT OUTER JOIN pg_depend tied ON tied.refobjid = a.attrelid AND tied.deptype = 'i' AND tied.refobjsubid =
  a.attnum AND tied.classid = tied.refclassid
WHERE NOT a.attisdropped AND k.relkind NOT IN ('i', 'I', 'c') AND k.oid = $1
ORDER BY a.attnum;

-- @ {"name": "constraints", "parameters": ["TOTALS"]}
SELECT c.oid, c.*, k.relname AS tabrelname, other.relnamespace AS refnamespace, about.description, CASE WHEN
  c.contype = 'c' THEN substring(pg_get_constraintdef(c.oid), 7) ELSE NULL END AS consrc_copy
FROM pg_catalog.pg_constraint c
INNER JOIN pg_catalog.pg_class k ON k.oid = c.conrelid
LEFT OUTER JOIN pg_catalog.pg_class other ON other.oid = c.confrelid
LEFT OUTER JOIN pg_catalog.pg_description about ON about.objoid = c.oid AND about.objsubid = 0 AND
  about.classoid = 'pg_constraint'::regclass
WHERE k.oid = $1
ORDER BY c.oid;

-- @ {"name": "indexes", "parameters": ["TOTALS"], "finds": {"relname": ["totals_by_wins"]}}
SELECT i.*, i.indkey AS keys, x.relname, x.relnamespace, x.relam, x.reltablespace, k.relname AS tabrelname,
  about.description, pg_catalog.pg_get_expr(i.indpred, i.indrelid, true) AS pred_expr,
  pg_catalog.pg_get_expr(i.indexprs, i.indrelid, true) AS expr, pg_catalog.pg_relation_size(i.indexrelid) AS
  index_rel_size, pg_catalog.pg_stat_get_numscans(i.indexrelid) AS index_num_scans
FROM pg_catalog.pg_index i
INNER JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid
INNER JOIN pg_catalog.pg_class k ON k.oid = i.indrelid
LEFT OUTER JOIN pg_catalog.pg_description about ON i.indexrelid = about.objoid
WHERE x.relkind IN ('i', 'I') AND i.indrelid = $1
ORDER BY k.relname, x.relname;

-- @ {"name": "sizes", "parameters": ["PUBLIC"]}
SELECT k.oid, pg_catalog.pg_total_relation_size(k.oid) AS total_rel_size, pg_catalog.pg_relation_size(k.oid)
  AS rel_size
FROM pg_class k
WHERE k.relnamespace = $1;

-- @ {"name": "definition", "parameters": ["TOTALS"]}
SELECT pg_catalog.pg_get_viewdef($1, true);

-- @ {"name": "roles", "finds": {"rolname": ["USER"]}}
SELECT r.oid, r.*, about.description
FROM pg_catalog.pg_roles r
LEFT JOIN pg_catalog.pg_shdescription about ON r.oid = about.objoid
ORDER BY r.rolname;

-- @ {"name": "access methods", "finds": {"amname": ["btree"]}}
SELECT m.oid, m.*
FROM pg_catalog.pg_am m
ORDER BY m.oid;

-- @ {"name": "tablespaces"}
SELECT s.oid, s.*, pg_tablespace_location(s.oid) AS loc
FROM pg_catalog.pg_tablespace s
ORDER BY s.oid;

-- @ {"name": "languages"}
SELECT l.oid, l.*
FROM pg_catalog.pg_language l
ORDER BY l.oid;

-- @ {"name": "encodings", "finds": {"encname": ["UTF8"]}}
SELECT e.contid AS encid, pg_catalog.pg_encoding_to_char(e.contid) AS encname
FROM pg_catalog.generate_series(0, 6) AS e(contid);

-- @ {"name": "sessions"}
SELECT a.*
FROM pg_catalog.pg_stat_activity a;

-- @ {"name": "backend"}
SELECT pg_backend_pid();

-- @ {"name": "rows", "finds": {"player": ["anna", "o'hara"]}}
SELECT x.*
FROM public.totals x;

-- @ {"name": "rows of a page", "finds": {"player": ["o'hara"]}}
SELECT x.*
FROM public.totals x
WHERE x.wins > 3
ORDER BY x.wins DESC;

-- @ {"name": "count", "finds": {"count": [20000]}}
SELECT count(*)
FROM public.big;
