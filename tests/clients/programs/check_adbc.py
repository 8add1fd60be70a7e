"""ADBC: views as Arrow tables, by COPY in binary; parameters, objects, schemas, transactions, cancel, errors."""

import json
import threading

import adbc_driver_manager
import adbc_driver_postgresql.dbapi as adbc
import pyarrow

from views import base, fails, run, same, same_rows, values

ENDLESS = "SELECT count(*) AS n FROM big AS a CROSS JOIN big AS b CROSS JOIN big AS c WHERE a.v + b.v + c.v < 0"
ARROW = {
    "bigint": "int64",
    "boolean": "bool",
    "smallint": "int16",
    "integer": "int32",
    "real": "float",
    "double precision": "double",
    "numeric": "string",
    "text": "string",
    "bytea": "binary",
    "date": "date32[day]",
    "time without time zone": "time64[us]",
    "timestamp without time zone": "timestamp[us]",
    "timestamp with time zone": "timestamp[us, tz=UTC]",
    "interval": "month_day_nano_interval",
    "uuid": "fixed_size_binary[16]",
    "jsonb": "string",
}


def connect(expected, **options):
    return adbc.connect(expected.url("postgresql"), **options)


def storage(kind):
    """The type in which Arrow stores a value, without an extension's name."""
    return kind.storage_type if isinstance(kind, pyarrow.BaseExtensionType) else kind


def arrow_name(kind):
    return f"list<item: {ARROW[kind[:-2]]}>" if kind.endswith("[]") else ARROW[base(kind)]


def rows_in(table, columns):
    """An Arrow table's rows, with jsonb read."""
    read = []
    for (_, kind), column in zip(columns, table.columns):
        items = column.to_pylist()
        read.append([item if item is None or kind != "jsonb" else json.loads(item) for item in items])
    return [list(row) for row in zip(*read)]


def tables(expected):
    """Whole views, at once and by batches."""
    with connect(expected) as connection, connection.cursor() as cursor:
        same(connection.adbc_get_info()["vendor_name"], "PostgreSQL", "vendor")
        for view, sql in expected.whole():
            columns = expected.views[view]["columns"]
            cursor.execute(sql)
            table = cursor.fetch_arrow_table()
            found = [(field.name, str(storage(field.type))) for field in table.schema]
            same(found, [(name, arrow_name(kind)) for name, kind in columns], f"Arrow's schema of {view}")
            same_rows(rows_in(table, columns), expected.views[view]["rows"], columns, view)
        big = expected.views["big"]
        cursor.adbc_statement.set_options(**{"adbc.postgresql.batch_size_hint_bytes": "65536"})
        cursor.execute("SELECT * FROM big ORDER BY id")
        batches = list(cursor.fetch_record_batch())
        same(len(batches) > 1, True, "several batches")
        same_rows(
            rows_in(pyarrow.Table.from_batches(batches), big["columns"]), big["rows"], big["columns"], "big by batches"
        )
        cursor.adbc_statement.set_options(**{"adbc.postgresql.use_copy": "false"})
        cursor.execute("SELECT * FROM big ORDER BY id")
        same_rows(cursor.fetchall(), big["rows"], big["columns"], "big without COPY")
        cursor.execute("SELECT player, wins FROM totals ORDER BY player")
        same(len(cursor.fetch_df()), 9, "a frame of pandas")


def questions(expected):
    """Answers to the questions, with parameters."""
    with connect(expected) as connection:
        for name, asked in expected.answers.items():
            # The driver binds no arrays.
            if any(kind.endswith("[]") for kind, _ in asked["parameters"]):
                continue
            with connection.cursor() as cursor:
                bound = [
                    str(value) if kind == "uuid" else value
                    for (kind, _), value in zip(asked["parameters"], values(asked["parameters"]))
                ]
                cursor.execute(typed(asked), bound or None)
                same(
                    [column[0] for column in cursor.description],
                    [column for column, _ in asked["columns"]],
                    f"columns of {name}",
                )
                same_rows(cursor.fetchall(), asked["rows"], asked["columns"], name)


def typed(asked):
    """A question whose parameters that the driver binds as text have their type beside them."""
    sql = asked["sql"]
    for place, (kind, _) in enumerate(asked["parameters"], 1):
        if kind in ("uuid", "numeric"):
            sql = sql.replace(f"${place}", f"CAST(${place} AS {kind})")
    return sql


def objects(expected):
    """The catalogue as the driver tells it."""
    kind = "materialized_view" if expected.shape["kind"] == "m" else "table"
    with connect(expected) as connection:
        same(kind in connection.adbc_get_table_types(), True, "types of tables")
        found = connection.adbc_get_objects(depth="all", catalog_filter=expected.database, db_schema_filter="public")
        catalogs = found.read_all().to_pylist()
        same([catalog["catalog_name"] for catalog in catalogs], [expected.database], "catalogs")
        (schema,) = catalogs[0]["catalog_db_schemas"]
        tables_found = {table["table_name"]: table for table in schema["db_schema_tables"]}
        same(sorted(set(tables_found) & set(expected.names())), expected.names(), "tables of the schema")
        for name in expected.names():
            table = tables_found[name]
            same(table["table_type"], kind.replace("_", " "), f"type of {name}")
            columns = [(column["column_name"], column["ordinal_position"]) for column in table["table_columns"]]
            same(
                columns,
                [(column, place) for place, column in enumerate(expected.columns(name), 1)],
                f"columns of {name}",
            )
            keys = [
                item["constraint_column_names"]
                for item in table["table_constraints"]
                if item["constraint_type"] == "PRIMARY KEY"
            ]
            same(
                keys, [expected.views[name]["key"]] if expected.shape["keys"] == "constraint" else [], f"key of {name}"
            )
            schema_of = connection.adbc_get_table_schema(name, db_schema_filter="public")
            same([field.name for field in schema_of], expected.columns(name), f"schema of {name}")
            kinds = [arrow_name(kind) for kind in expected.kinds(name)]
            same([str(storage(field.type)) for field in schema_of], kinds, f"types of {name}")
        schemas = connection.adbc_get_objects(depth="db_schemas").read_all().to_pylist()
        names = {schema["db_schema_name"] for catalog in schemas for schema in catalog["catalog_db_schemas"] or []}
        same({"public", "herald"} <= names, True, "schemas")
        same(connection.adbc_current_catalog, expected.database, "current catalog")
        same(connection.adbc_current_db_schema, "public", "current schema")


def endless(cursor):
    cursor.execute(ENDLESS)
    cursor.fetchall()


def errors(expected):
    with connect(expected) as connection, connection.cursor() as cursor:
        for state, sql in (
            ("42P01", "SELECT * FROM nothing"),
            ("42703", "SELECT nothing FROM big"),
            ("25006", "DELETE FROM big"),
        ):
            fails(adbc_driver_manager.Error, state, sql, lambda: cursor.execute(sql))
            connection.rollback()
        timer = threading.Timer(0.5, cursor.adbc_cancel)
        timer.start()
        fails(adbc_driver_manager.OperationalError, "57014", "a query that is cancelled", lambda: endless(cursor))
        timer.join()
        connection.rollback()
        cursor.execute("SELECT 1 AS one")
        same(cursor.fetchall(), [(1,)], "after a cancel")
        connection.commit()
    with connect(expected, autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) AS n FROM totals")
        same(cursor.fetchone(), (9,), "without a transaction")


run([tables, questions, objects, errors])
