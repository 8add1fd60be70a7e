#!/usr/bin/env python3
"""Runs the clients against PostgreSQL itself, to tell a mistake of a program from one of Herald.

    judge.py PORT EXPECTED ARGUMENT...

EXPECTED is of a shape other than `herald`: its views are made in a new database, as materialized views or as tables,
with a schema `herald` beside them; the database is read-only for clients. Then run.py is called with the arguments.
"""

import json
import os
import subprocess
import sys
import threading

HOME = os.path.dirname(os.path.abspath(__file__))
import psycopg
from psycopg.types.json import Jsonb

TICKS = "SELECT k, count(*) AS n FROM base.clicks GROUP BY k"


def cell(value, kind):
    """A value with the cast that makes it one of its type."""
    if kind == "jsonb":
        return None if value is None else Jsonb(value)
    if kind.endswith("[]") and value is not None:
        return [None if item is None else str(item) for item in value]
    return None if value is None else str(value)


def cast(kind):
    """The place of a parameter of a type."""
    return f"%s::text[]::{kind}" if kind.endswith("[]") else f"%s::{kind}"


def fill(connection, name, view):
    """Makes a table of a view's rows."""
    columns = view["columns"]
    connection.execute(f"CREATE TABLE base.rows_of_{name} ({', '.join(' '.join(column) for column in columns)})")
    rows = [[cell(value, kind) for value, (_, kind) in zip(row, columns)] for row in view["rows"]]
    sql = f"INSERT INTO base.rows_of_{name} VALUES ({', '.join(cast(kind) for _, kind in columns)})"
    connection.cursor().executemany(sql, rows)


def publish(connection, name, view, query):
    """Shows a table as a view of the shape."""
    keys = ", ".join(view["key"])
    if view["kind"] == "m":
        connection.execute(f"CREATE MATERIALIZED VIEW {name} AS {query}")
        connection.execute(f"CREATE UNIQUE INDEX {name}_key ON {name} ({keys})")
    else:
        connection.execute(f"CREATE TABLE {name} AS {query}")
        connection.execute(f"ALTER TABLE {name} ADD PRIMARY KEY ({keys})")
    for index, columns in view["indexes"].items():
        connection.execute(f"CREATE INDEX {index} ON {name} ({', '.join(columns)})")


def make(server, content):
    """Makes the database."""
    with psycopg.connect(f"{server} dbname=postgres", autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS clients WITH (FORCE)")
        connection.execute("DROP ROLE IF EXISTS reader")
        connection.execute("CREATE ROLE reader LOGIN")
        connection.execute("CREATE DATABASE clients")
    with psycopg.connect(f"{server} dbname=clients") as connection:
        connection.execute("CREATE SCHEMA base")
        connection.execute("CREATE SCHEMA herald")
        connection.execute("CREATE TABLE base.clicks AS SELECT 'a' AS k FROM generate_series(1, 9)")
        for name, view in content["views"].items():
            query = TICKS
            if view["rows"] is not None:
                fill(connection, name, view)
                query = f"SELECT * FROM base.rows_of_{name}"
            publish(connection, name, view, query)
        connection.execute(
            "CREATE TABLE herald.views AS SELECT unnest(%s::text[]) AS view", (sorted(content["views"]),)
        )
        connection.execute("GRANT USAGE ON SCHEMA herald TO reader")
        connection.execute("GRANT ALL ON ALL TABLES IN SCHEMA public, herald TO reader")
        connection.execute("ALTER ROLE reader IN DATABASE clients SET default_transaction_read_only = on")


def tick(server, kind, ended):
    """Changes the view `ticks` until told to end."""
    with psycopg.connect(f"{server} dbname=clients", autocommit=True) as connection:
        while not ended.wait(0.1):
            connection.execute("INSERT INTO base.clicks VALUES ('a'), ('b')")
            if kind == "m":
                connection.execute("REFRESH MATERIALIZED VIEW CONCURRENTLY ticks")
            else:
                connection.execute(
                    "INSERT INTO ticks SELECT k, n FROM ("
                    + TICKS
                    + ") AS t ON CONFLICT (k) DO UPDATE SET n = excluded.n"
                )


def main():
    port, path, arguments = sys.argv[1], sys.argv[2], sys.argv[3:]
    server = f"host=127.0.0.1 port={port} user=postgres"
    with open(path, encoding="utf-8") as file:
        content = json.load(file)
    make(server, content)
    ended = threading.Event()
    ticker = threading.Thread(target=tick, args=(server, content["shape"]["kind"], ended))
    ticker.start()
    try:
        command = [sys.executable, os.path.join(HOME, "run.py"), "127.0.0.1", port, "clients", path, *arguments]
        code = subprocess.run(command, check=False).returncode
    finally:
        ended.set()
        ticker.join()
    sys.exit(code)


main()
