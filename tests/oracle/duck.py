"""DuckDB as an oracle: a process that computes views over tables, one JSON line each way.

Request:  {"tables": {NAME: {"columns": [[NAME, TYPE], ...], "rows": [[...], ...]}}, "queries": {VIEW: SQL}}
Answer:   {"views": {VIEW: {"columns": [NAME, ...], "rows": [[...], ...]}}} or {"error": text}
With "each": true in the request each query stands for itself: one that fails has {"error": text} in place
of its rows, the others are answered, and what a query gave is kept as a table for those after it.

Types are DuckDB's. Tables of the request replace those of the same name; others stay. Values are
JSON; timestamps and dates go in as microseconds or days since 1970 or as ISO text, and come out
as those numbers; decimals come out as text; structs are objects, lists arrays; floats that JSON
does not know come out as "NaN", "Infinity" and "-Infinity". Views may use views named before them.
Rows come sorted by their JSON text, so that two multisets can be compared as lists.
"""

import datetime
import decimal
import json
import math
import sys

import duckdb

EPOCH = datetime.datetime(1970, 1, 1)
CHUNK = 256


def incoming(kind):
    if kind.upper() in ("TIMESTAMP", "TIMESTAMPTZ", "TIMESTAMP WITH TIME ZONE"):
        return lambda v: (EPOCH + datetime.timedelta(microseconds=v)).isoformat() if isinstance(v, int) else v
    if kind.upper() == "DATE":
        return lambda v: (EPOCH + datetime.timedelta(days=v)).date().isoformat() if isinstance(v, int) else v
    return lambda v: v


def outgoing(value):
    if isinstance(value, datetime.datetime):
        if value.tzinfo is not None:
            value = value.astimezone(datetime.timezone.utc).replace(tzinfo=None)
        return (value - EPOCH) // datetime.timedelta(microseconds=1)
    if isinstance(value, datetime.date):
        return (value - EPOCH.date()).days
    if isinstance(value, decimal.Decimal):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {k: outgoing(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [outgoing(v) for v in value]
    return value


def load(connection, name, table):
    columns = table["columns"]
    spelled = ", ".join(f'"{column}" {kind}' for column, kind in columns)
    connection.execute(f'CREATE OR REPLACE TABLE "{name}" ({spelled})')
    convert = [incoming(kind) for _, kind in columns]
    row_sql = "(" + ", ".join(f"CAST(? AS {kind})" for _, kind in columns) + ")"
    rows = table["rows"]
    for start in range(0, len(rows), CHUNK):
        chunk = rows[start : start + CHUNK]
        values = [f(v) for row in chunk for f, v in zip(convert, row, strict=True)]
        connection.execute(f'INSERT INTO "{name}" VALUES ' + ", ".join([row_sql] * len(chunk)), values)


def compute(connection, name, sql, kind="VIEW"):
    connection.execute(f'CREATE OR REPLACE {kind} "{name}" AS {sql}')
    # Python's DuckDB needs another library for zoned timestamps; without zone they are the same instants.
    kinds = connection.execute(f'DESCRIBE "{name}"').fetchall()
    columns = ", ".join(
        f"timezone('UTC', \"{column}\")" if kind == "TIMESTAMP WITH TIME ZONE" else f'"{column}"'
        for column, kind, *_ in kinds
    )
    rows = connection.execute(f'SELECT {columns} FROM "{name}"').fetchall()
    rows = sorted(([outgoing(v) for v in row] for row in rows), key=json.dumps)
    return {"columns": [column for column, *_ in kinds], "rows": rows}


def compute_each(connection, queries):
    views = {}
    for name in queries:
        connection.execute(f'DROP TABLE IF EXISTS "{name}"')
    for name, sql in queries.items():
        try:
            views[name] = compute(connection, name, sql, "TABLE")
        except Exception as error:
            views[name] = {"error": f"{type(error).__name__}: {error}"}
    return views


def main():
    connection = duckdb.connect(":memory:", config={"threads": 1})
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET order_by_non_integer_literal = true")
    for line in sys.stdin:
        try:
            request = json.loads(line)
            for name, table in request.get("tables", {}).items():
                load(connection, name, table)
            queries = request.get("queries", {})
            if request.get("each"):
                answer = {"views": compute_each(connection, queries)}
            else:
                answer = {"views": {n: compute(connection, n, q) for n, q in queries.items()}}
        except Exception as error:  # the caller judges; the oracle goes on
            answer = {"error": f"{type(error).__name__}: {error}"}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


main()
