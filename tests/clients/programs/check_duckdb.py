"""DuckDB's extension for PostgreSQL: the views attached as tables of a database, and asked in DuckDB's SQL."""

import json
import os
import shutil
import tempfile

import duckdb
import duckdb_extension_postgres

from views import base, run, same, same_rows, same_set, values, with_literals

DUCKDB = {
    "bytea": "BLOB",
    "double precision": "DOUBLE",
    "real": "FLOAT",
    "text": "VARCHAR",
    "jsonb": "VARCHAR",
    "time without time zone": "TIME",
    "timestamp without time zone": "TIMESTAMP",
    "timestamp with time zone": "TIMESTAMP WITH TIME ZONE",
}


def extension(directory):
    """The extension of this version, by the name that it is loaded by."""
    home = os.path.join(os.path.dirname(duckdb_extension_postgres.__file__), "extensions", f"v{duckdb.__version__}")
    path = os.path.join(directory, "postgres_scanner.duckdb_extension")
    shutil.copy(os.path.join(home, "postgres.duckdb_extension"), path)
    return path


def attached(check):
    """A check with a DuckDB to which the server is attached as `h`."""

    def with_duckdb(expected):
        with tempfile.TemporaryDirectory() as directory:
            connection = duckdb.connect(":memory:", config={"allow_unsigned_extensions": "true", "threads": 2})
            connection.execute(f"LOAD '{extension(directory)}'")
            connection.execute("SET TimeZone = 'UTC'")
            # libpq takes the password from PGPASSWORD.
            address = f"host={expected.host} port={expected.port} dbname={expected.database} user={expected.user}"
            connection.execute(f"ATTACH '{address}' AS h (TYPE postgres, READ_ONLY)")
            connection.execute("USE h")
            check(expected, connection)
            connection.execute("USE memory")
            connection.execute("DETACH h")
            connection.close()

    with_duckdb.__name__ = check.__name__
    return with_duckdb


def type_name(kind):
    if kind.endswith("[]"):
        return type_name(kind[:-2]) + "[]"
    if kind.startswith("numeric("):
        return "DECIMAL" + kind.removeprefix("numeric")
    return DUCKDB.get(base(kind), kind.upper())


def catalogue(expected, connection):
    """Tables and their columns as DuckDB reads them from the catalogue."""
    sql = "SELECT table_name FROM duckdb_tables() WHERE database_name = 'h' AND schema_name = 'public'"
    tables = {name for (name,) in connection.execute(sql).fetchall()}
    sql = "SELECT view_name FROM duckdb_views() WHERE database_name = 'h' AND schema_name = 'public' AND NOT internal"
    views = {name for (name,) in connection.execute(sql).fetchall()}
    same(set(expected.names()) <= tables | views, True, f"all views among {sorted(tables | views)}")
    schemas = {
        name
        for (name,) in connection.execute(
            "SELECT schema_name FROM duckdb_schemas() WHERE database_name = 'h'"
        ).fetchall()
    }
    same({"public", "herald"} <= schemas, True, "schemas")
    for name in expected.names():
        found = [(column, kind) for column, kind, *_ in connection.execute(f"DESCRIBE {name}").fetchall()]
        same(
            found, [(column, type_name(kind)) for column, kind in expected.views[name]["columns"]], f"columns of {name}"
        )


def rows(expected, connection):
    """Whole views, by COPY in binary."""
    for view, sql in expected.whole():
        columns = expected.views[view]["columns"]
        shown = ", ".join(f'{name}::VARCHAR AS "{name}"' if kind == "interval" else name for name, kind in columns)
        found = connection.execute(sql.replace("*", shown)).fetchall()
        read = [
            [
                json.loads(value) if kind == "jsonb" and value is not None else value
                for value, (_, kind) in zip(row, columns)
            ]
            for row in found
        ]
        same_rows(read, expected.views[view]["rows"], columns, view)


def questions(expected, connection):
    """Answers to the questions, which DuckDB computes over what it reads, with conditions that it hands down."""
    for pushdown in ("true", "false"):
        connection.execute(f"SET pg_experimental_filter_pushdown = {pushdown}")
        for name, asked in expected.answers.items():
            cursor = connection.execute(asked["sql"], values(asked["parameters"]))
            same_rows(cursor.fetchall(), asked["rows"], asked["columns"], f"{name}, pushdown {pushdown}")


def within(expected, connection):
    """Queries that the server computes itself."""
    for name, asked in expected.answers.items():
        sql = with_literals(asked["sql"], asked["parameters"]).replace("'", "''")
        cursor = connection.execute(f"SELECT * FROM postgres_query('h', '{sql}')")
        same(
            [column[0] for column in cursor.description],
            [column for column, _ in asked["columns"]],
            f"columns of {name}",
        )
        # It makes a subquery of the text, whose rows have no order.
        same_set(cursor.fetchall(), asked["rows"], asked["columns"], f"{name} by the server")
    counted = connection.execute("SELECT * FROM postgres_query('h', 'SELECT count(*), max(id) FROM big')")
    same([column[0] for column in counted.description], ["count", "max"], "names of columns without AS")
    same(counted.fetchone(), (20_000, 19_999), "a count by the server")


def together(expected, connection):
    """Views beside DuckDB's own tables, copies of them, and a transaction."""
    connection.execute("CREATE TABLE memory.main.chosen AS SELECT id FROM h.public.big WHERE id % 1000 = 7")
    (count,) = connection.execute(
        "SELECT count(*) FROM h.public.big AS b JOIN memory.main.chosen AS c ON b.id = c.id"
    ).fetchone()
    same(count, 20, "a join with a table of DuckDB")
    connection.execute("BEGIN")
    first = connection.execute("SELECT sum(n) FROM ticks").fetchone()
    same(connection.execute("SELECT count(*) FROM totals").fetchone(), (9,), "within a transaction")
    same(connection.execute("SELECT sum(n) FROM ticks").fetchone(), first, "one epoch for a transaction")
    connection.execute("COMMIT")
    same(len(connection.execute("SELECT id FROM big LIMIT 3").fetchall()), 3, "LIMIT")
    same(
        connection.execute("SELECT view FROM h.herald.views WHERE view = 'totals'").fetchall(),
        [("totals",)],
        "a system table",
    )
    for sql in ("SELECT * FROM nothing", "SELECT nothing FROM big"):
        try:
            connection.execute(sql)
        except duckdb.Error:
            continue
        same(sql, None, "a mistake that is none")
    connection.execute("CALL pg_clear_cache()")
    same(connection.execute("SELECT count(*) FROM big").fetchone(), (20_000,), "after the catalogue was read anew")


run([attached(check) for check in (catalogue, rows, questions, within, together)])
