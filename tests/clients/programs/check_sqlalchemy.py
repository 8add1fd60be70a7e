"""SQLAlchemy over psycopg, and pandas over it: what the inspector tells, reflected tables, cursors, `read_sql`."""

import re
import warnings

import pandas
import sqlalchemy
from sqlalchemy import MetaData, Table, func, inspect, select, text
from sqlalchemy.exc import DBAPIError, NoSuchTableError

from views import fails, run, same, same_rows, same_value, values

# Types as SQLAlchemy spells them where that is not PostgreSQL's name in capitals.
SPELLED = {
    "real": "REAL",
    "double precision": "DOUBLE PRECISION",
    "time without time zone": "TIME",
    "timestamp without time zone": "TIMESTAMP",
    "timestamp with time zone": "TIMESTAMP",
    "timestamp with time zone[]": "TIMESTAMP[]",
}


def engine_of(expected, **options):
    return sqlalchemy.create_engine(expected.url("postgresql+psycopg"), **options)


def session(expected):
    """The connection's first statements, and several connections of a pool."""
    engine = engine_of(expected, pool_pre_ping=True)
    with engine.connect() as connection:
        same(engine.dialect.server_version_info >= (14,), True, "server version of 14 or above")
        same(engine.dialect.default_schema_name, "public", "default schema")
        same(connection.get_isolation_level() in ("REPEATABLE READ", "READ COMMITTED"), True, "isolation level")
        same(connection.execute(text("SELECT 1")).scalar(), 1, "a query")
    for level in ("SERIALIZABLE", "REPEATABLE READ", "AUTOCOMMIT"):
        with engine.connect().execution_options(isolation_level=level, postgresql_readonly=True) as connection:
            same(connection.execute(text("SELECT count(*) FROM totals")).scalar(), 9, f"a query of level {level}")
    engine.dispose()


def inspector(expected):
    """Schemas, views, columns, keys and indexes as reflection finds them."""
    engine = engine_of(expected)
    found = inspect(engine)
    same({"public", "herald", "information_schema"} <= set(found.get_schema_names()), True, "schemas")
    is_view = expected.shape["kind"] == "m"
    same(sorted(found.get_materialized_view_names()), expected.names() if is_view else [], "materialized views")
    same(sorted(found.get_table_names()), [] if is_view else expected.names(), "tables")
    same(found.get_view_names(), [], "plain views")
    same(found.get_temp_table_names(), [], "temporary tables")
    same(found.get_enums(), [], "enums")
    same("views" in found.get_table_names("herald") + found.get_view_names("herald"), True, "system tables")
    same(found.has_table("nothing"), False, "a table that is not there")
    for name in expected.names():
        same(found.has_table(name), True, f"has_table of {name}")
        inspected(found, expected, name)
    several = found.get_multi_columns(kind=sqlalchemy.engine.reflection.ObjectKind.ANY)
    same(
        {key for key in several if key[0] is None},
        {(None, name) for name in expected.names()},
        "columns of all at once",
    )
    engine.dispose()


def inspected(found, expected, name):
    """One view as reflection finds it."""
    view = expected.views[name]
    columns = [(column["name"], shown(column["type"])) for column in found.get_columns(name)]
    wanted = [(column, spelled(kind)) for column, kind in view["columns"]]
    same(columns, wanted, f"columns of {name}")
    zones = {column["name"]: getattr(column["type"], "timezone", None) for column in found.get_columns(name)}
    for column, kind in view["columns"]:
        if kind.startswith("timestamp") and not kind.endswith("[]"):
            same(zones[column], "with time zone" in kind, f"the time zone of {name}.{column}")
    key = found.get_pk_constraint(name)["constrained_columns"]
    indexes = {index["name"]: index for index in found.get_indexes(name)}
    if expected.shape["keys"] == "constraint":
        same(key, view["key"], f"primary key of {name}")
    else:
        unique = [index["column_names"] for index in indexes.values() if index["unique"]]
        same(unique, [view["key"]], f"unique index of {name}")
    for index, first in view["indexes"].items():
        same(indexes[index]["column_names"][: len(first)], first, f"columns of index {index}")
        same(indexes[index]["unique"], False, f"index {index} is not unique")
    same(found.get_foreign_keys(name), [], f"foreign keys of {name}")
    same(found.get_unique_constraints(name), [], f"unique constraints of {name}")
    same(found.get_check_constraints(name), [], f"check constraints of {name}")
    same(set(found.get_table_comment(name)), {"text"}, f"comment of {name}")
    if view["kind"] == "m":
        same("select" in (found.get_view_definition(name) or "").lower(), True, f"definition of {name}")


def shown(kind):
    """A reflected type as text."""
    return f"{kind.item_type}[]" if hasattr(kind, "item_type") else str(kind)


def spelled(kind):
    """A type as SQLAlchemy spells it."""
    known = SPELLED.get(kind)
    return known or re.sub(r",", ", ", kind.upper())


def reflection(expected):
    """Tables made from what reflection finds, and queries over them."""
    engine = engine_of(expected)
    metadata = MetaData()
    metadata.reflect(engine, views=True)
    same(sorted(set(metadata.tables) & set(expected.names())), expected.names(), "reflected tables")
    with engine.connect() as connection:
        for view in ("every_type", "totals", "big"):
            table = Table(view, MetaData(), autoload_with=connection)
            keys = [table.c[name] for name in expected.views[view]["key"]]
            found = connection.execute(select(table).order_by(*keys)).fetchall()
            same_rows(found, expected.views[view]["rows"], expected.views[view]["columns"], f"reflected {view}")
        totals, big = metadata.tables["totals"], metadata.tables["big"]
        joined = (
            select(totals.c.player, big.c.k, big.c.v).join(big, big.c.id == totals.c.wins).order_by(totals.c.player)
        )
        asked = expected.answers["joined"]
        same_rows(connection.execute(joined).fetchall(), asked["rows"], asked["columns"], "a join")
        grouped = select(big.c.k, func.count()).where(big.c.id.in_([1, 2, 3, 19_999])).group_by(big.c.k)
        same(sum(count for _, count in connection.execute(grouped)), 4, "an IN of four")
    fails(_NoTable, None, "reflection of nothing", lambda: reflected(engine, "nothing"))
    engine.dispose()


class _NoTable(Exception):
    """A table that reflection does not find."""

    sqlstate = None


def reflected(engine, name):
    try:
        return Table(name, MetaData(), autoload_with=engine)
    except NoSuchTableError as error:
        raise _NoTable from error


def questions(expected):
    """Answers to the questions, with bound parameters."""
    engine = engine_of(expected)
    with engine.connect() as connection:
        for name, asked in expected.answers.items():
            sql = re.sub(r"\$(\d+)", r":p\1", asked["sql"].replace(":", "\\:"))
            bound = {f"p{place}": value for place, value in enumerate(values(asked["parameters"]), 1)}
            result = connection.execute(text(sql), bound)
            same(list(result.keys()), [column for column, _ in asked["columns"]], f"columns of {name}")
            same_rows(result.fetchall(), asked["rows"], asked["columns"], name)
    engine.dispose()


def streams(expected):
    """A cursor of the server, by portions."""
    engine = engine_of(expected)
    big = expected.views["big"]
    with engine.connect().execution_options(stream_results=True, max_row_buffer=700) as connection:
        found = connection.execute(text("SELECT * FROM big ORDER BY id"))
        same_rows(found, big["rows"], big["columns"], "a stream")
        portions = connection.execute(text("SELECT id FROM big")).partitions(3000)
        same([len(portion) for portion in portions], [3000] * 6 + [2000], "portions")
    engine.dispose()


def errors(expected):
    engine = engine_of(expected)
    with engine.connect() as connection:
        for state, sql in (
            ("42P01", "SELECT * FROM nothing"),
            ("42703", "SELECT nothing FROM big"),
            ("25006", "DELETE FROM big"),
        ):
            try:
                connection.execute(text(sql))
                found = None
            except DBAPIError as error:
                found = error.orig.sqlstate
            same(found, state, f"SQLSTATE of {sql}")
            connection.rollback()
        with connection.begin_nested():
            same(connection.execute(text("SELECT 1")).scalar(), 1, "within a savepoint")
    engine.dispose()


def frames(expected):
    """pandas: whole views, parameters, portions, times as times."""
    warnings.simplefilter("error", UserWarning)
    engine = engine_of(expected)
    with engine.connect() as connection:
        for view in ("totals", "big"):
            frame = pandas.read_sql_table(view, connection, coerce_float=False).sort_values(
                expected.views[view]["key"], ignore_index=True
            )
            framed(frame, expected.views[view]["rows"], expected.views[view]["columns"], f"read_sql_table of {view}")
        frame = pandas.read_sql(
            text("SELECT * FROM totals WHERE wins >= :least AND last_seen >= :since ORDER BY player"),
            connection,
            params={"least": 3, "since": pandas.Timestamp("2026-01-05T22:30:00Z").to_pydatetime()},
            parse_dates=["last_seen"],
            coerce_float=False,
        )
        rows = [row for row in expected.views["totals"]["rows"] if int(row[1]) >= 3 and row[3] >= "2026-01-05 22:30"]
        framed(frame, rows, expected.views["totals"]["columns"], "read_sql with parameters")
        same(str(frame["last_seen"].dt.tz), "UTC", "the zone of times")
        portions = list(pandas.read_sql("SELECT * FROM big ORDER BY id", connection, chunksize=6000))
        same([len(portion) for portion in portions], [6000, 6000, 6000, 2000], "portions of pandas")
        big = expected.views["big"]
        framed(pandas.concat(portions, ignore_index=True), big["rows"], big["columns"], "read_sql by portions")
        total = pandas.read_sql_query(
            "SELECT k, sum(v) AS total FROM big GROUP BY k ORDER BY k", connection, index_col="k"
        )
        same_value(int(total["total"].sum()), str(sum(int(row[2]) for row in big["rows"])), "number", "a sum of sums")
        # A frame cannot tell NaN from NULL.
        columns = [column for column in expected.views["every_type"]["columns"] if column[0] not in ("r", "d")]
        places = [expected.columns("every_type").index(name) for name, _ in columns]
        sql = f"SELECT {', '.join(name for name, _ in columns)} FROM every_type ORDER BY id"
        every = pandas.read_sql(sql, connection, coerce_float=False)
        framed(
            every,
            [[row[place] for place in places] for row in expected.views["every_type"]["rows"]],
            columns,
            "every type",
        )
        nullable = pandas.read_sql("SELECT ok, small, n FROM every_type", connection, dtype_backend="numpy_nullable")
        same([str(kind) for kind in nullable.dtypes], ["boolean", "Int64", "Int64"], "types of a frame")
    engine.dispose()


def framed(frame, rows, columns, what):
    """Holds a frame against rows."""
    found = [[None if missing(value) else value for value in row] for row in frame.itertuples(index=False)]
    same(list(frame.columns), [name for name, _ in columns], f"columns: {what}")
    same_rows(found, rows, columns, what)


def missing(value):
    return value is None or (pandas.api.types.is_scalar(value) and pandas.isna(value))


run([session, inspector, reflection, questions, streams, errors, frames])
