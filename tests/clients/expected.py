#!/usr/bin/env python3
"""Writes what clients have to find, as DuckDB says over the files of the sinks: expected.py DIR SHAPE EXPECTED

DIR is where `herald run topology.sql` runs. The form of EXPECTED is told in programs/views.py. Ends with 2 while the
sinks do not have all rows yet, so that who started Herald can ask again.
"""

import json
import os
import sys

import duckdb

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "programs"))
from questions import DASHBOARDS, QUESTIONS, expand
from views import form, span, values

# How the catalogue shows views: their relkind, whether a key is a constraint or a unique index, and whether
# information_schema lists them. PostgreSQL's materialized views have no constraints and are not in information_schema.
SHAPES = {
    "herald": {"server": "herald", "kind": "m", "keys": "constraint", "listed": True},
    "matviews": {"server": "postgresql", "kind": "m", "keys": "index", "listed": False},
    "tables": {"server": "postgresql", "kind": "r", "keys": "constraint", "listed": True},
}
VIEWS = {
    "every_type": {
        "key": ["id"],
        "columns": [
            ("id", "bigint"),
            ("ok", "boolean"),
            ("small", "smallint"),
            ("n", "integer"),
            ("r", "real"),
            ("d", "double precision"),
            ("price", "numeric(10,2)"),
            ("name", "text"),
            ("raw", "bytea"),
            ("day", "date"),
            ("clock", "time without time zone"),
            ("wall", "timestamp without time zone"),
            ("moment", "timestamp with time zone"),
            ("span", "interval"),
            ("uid", "uuid"),
            ("doc", "jsonb"),
            ("tags", "text[]"),
            ("xs", "bigint[]"),
            ("moments", "timestamp with time zone[]"),
            ("who", "jsonb"),
        ],
        "indexes": {},
    },
    "totals": {
        "key": ["player"],
        "columns": [
            ("player", "text"),
            ("wins", "bigint"),
            ("points", "numeric(20,2)"),
            ("last_seen", "timestamp with time zone"),
        ],
        "indexes": {"totals_by_wins": ["wins"]},
    },
    "big": {"key": ["id"], "columns": [("id", "bigint"), ("k", "text"), ("v", "bigint")], "indexes": {}},
    "ticks": {"key": ["k"], "columns": [("k", "text"), ("n", "bigint")], "indexes": {}},
}
SINKS = ("every_type", "totals", "big")
BIG = 20_000

# DuckDB's names of types; a value is read from the JSON of a sink.
IN_DUCKDB = {"bytea": "BLOB", "jsonb": "JSON", "double precision": "DOUBLE"}


def read(column, kind):
    """A column's value in the JSON of a sink, as DuckDB's type."""
    kind = IN_DUCKDB.get(kind, kind)
    if kind == "BLOB":
        return f"from_base64(value->>'{column}')"
    if kind == "JSON":
        return f"nullif(value->'{column}', 'null'::JSON)"
    if kind.endswith("[]"):
        return f"CAST(nullif(value->'{column}', 'null'::JSON) AS {kind})"
    return f"CAST(value->>'{column}' AS {kind})"


def load(connection, directory, view):
    """Makes a table of a sink's file: of each key the last value, unless it was deleted."""
    path = os.path.join(directory, f"{view}.out").replace("'", "''")
    columns = ", ".join(f'{read(name, kind)} AS "{name}"' for name, kind in VIEWS[view]["columns"])
    connection.execute(f"""
        CREATE TABLE {view} AS SELECT {columns} FROM (
            SELECT value, row_number() OVER (PARTITION BY key ORDER BY line DESC) AS last FROM (
                SELECT key::VARCHAR AS key, value, row_number() OVER () AS line
                FROM read_json('{path}', format = 'newline_delimited', columns = {{'key': 'JSON', 'value': 'JSON'}})
            )
        ) WHERE last = 1 AND value IS NOT NULL AND value::VARCHAR <> 'null'""")


def rows_of(connection, view):
    """The rows of a view in the order of its key, in the forms of the file."""
    key = ", ".join(VIEWS[view]["key"])
    columns = ", ".join(shown(name, kind) for name, kind in VIEWS[view]["columns"])
    rows = connection.execute(f"SELECT {columns} FROM {view} ORDER BY {key}").fetchall()
    return [[written(value, kind) for value, (_, kind) in zip(row, VIEWS[view]["columns"])] for row in rows]


def shown(column, kind):
    """A column as it is asked for: an INTERVAL as text, for Python's timedelta knows no months."""
    return f'"{column}"::VARCHAR' if kind == "interval" else f'"{column}"'


def written(value, kind):
    if kind == "interval" and value is not None:
        return in_words(*span(value))
    if kind == "jsonb" and value is not None:
        return json.loads(value)
    return form(value, kind)


def in_words(months, days, micros):
    """An INTERVAL's parts as text that PostgreSQL reads."""
    sign, (seconds, rest) = "-" if micros < 0 else "", divmod(abs(micros), 1_000_000)
    time = f"{sign}{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{rest:06}"
    return f"{months} mons {days} days {time}"


KINDS = {
    "VARCHAR": "text",
    "BOOLEAN": "boolean",
    "DATE": "date",
    "TIMESTAMP WITH TIME ZONE": "timestamp with time zone",
}


def answer(connection, sql, parameters):
    """DuckDB's answer to a question."""
    cursor = connection.execute(sql, values(parameters))
    columns = [(name, KINDS.get(str(kind), "number")) for name, kind, *_ in cursor.description]
    rows = [[form(value, kind) for value, (_, kind) in zip(row, columns)] for row in cursor.fetchall()]
    return {"sql": sql, "parameters": parameters, "columns": columns, "rows": rows}


def complete(connection, directory):
    """Compares the rows of the sinks with the records that make them."""
    with open(os.path.join(directory, "records/matches.jsonl"), encoding="utf-8") as file:
        matches = [json.loads(line) for line in file]
    with open(os.path.join(directory, "records/readings.jsonl"), encoding="utf-8") as file:
        readings = sum(1 for _ in file)
    wanted = {
        "SELECT count(*) FROM every_type": readings,
        "SELECT count(*) FROM totals": len({match["player"] for match in matches}),
        "SELECT sum(wins) FROM totals": sum(match["won"] is True for match in matches),
        "SELECT count(*) FROM big": BIG,
    }
    return all(connection.execute(sql).fetchone()[0] == count for sql, count in wanted.items())


def main():
    directory, shape, path = sys.argv[1:]
    connection = duckdb.connect(":memory:", config={"threads": 1})
    connection.execute("SET TimeZone = 'UTC'")
    try:
        for view in SINKS:
            load(connection, directory, view)
    except duckdb.IOException:
        sys.exit(2)
    if not complete(connection, directory):
        sys.exit(2)
    views = {
        name: view | {"kind": SHAPES[shape]["kind"], "rows": rows_of(connection, name) if name in SINKS else None}
        for name, view in VIEWS.items()
    }
    answers = {name: answer(connection, sql, parameters) for name, (sql, parameters) in QUESTIONS.items()}
    dashboards = {f"grafana_{name}": answer(connection, expand(sql), []) for name, sql in DASHBOARDS.items()}
    content = {"shape": SHAPES[shape], "views": views, "answers": answers | dashboards}
    with open(path, "w", encoding="utf-8") as file:
        json.dump(content, file, ensure_ascii=False, allow_nan=False)


main()
