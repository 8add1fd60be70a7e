"""Statements of tools that cannot be had where tests run, by psycopg: DBeaver, Metabase, Grafana and Power BI.

The files in statements/ are not the tools' own texts but have all that those have: tables, columns, functions, casts
and forms. A line `-- @ {...}` is the head of a statement: its name, the values of $1 and so on, and what it has to find:
a column with the values that must be in it. Words stand for what differs between servers: VIEWS for the names of all
views, LISTED for those in information_schema, COLUMNS for the columns of `totals` there, PUBLIC and TOTALS for the OIDs
of that schema and that view, DATABASE and USER for their names.
"""

import json
import os

import psycopg
from psycopg import pq

from views import Difference, run, same, same_rows

FOLDER = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "statements")
TOOLS = ("dbeaver", "metabase", "grafana", "power_bi")
SIMPLE = ("grafana", "power_bi")
INT8, VARCHAR = 20, 1043


def statements(tool):
    """The heads of a tool's statements, each with its SQL."""
    with open(os.path.join(FOLDER, f"{tool}.sql"), encoding="utf-8") as file:
        _, *parts = file.read().split("-- @ ")
    for part in parts:
        head, sql = part.split("\n", 1)
        yield json.loads(head), sql.strip().removesuffix(";")


def names(expected, connection):
    """The words that statements have for names and OIDs of the server."""
    public = "SELECT oid FROM pg_namespace WHERE nspname = 'public'"
    totals = f"SELECT oid FROM pg_class WHERE relname = 'totals' AND relnamespace = ({public})"
    listed = expected.shape["listed"]
    return {
        "VIEWS": expected.names(),
        "LISTED": expected.names() if listed else [],
        "COLUMNS": expected.columns("totals") if listed else [],
        "DATABASE": expected.database,
        "USER": expected.user,
        "PUBLIC": connection.execute(public).fetchone()[0],
        "TOTALS": connection.execute(totals).fetchone()[0],
    }


def replaced(value, known):
    """A word of a statement, as what it stands for."""
    return known.get(value, value) if isinstance(value, str) else value


def rows_of(connection, sql, bound, simple):
    """Rows as text: of a simple query, or of an unnamed statement with parameters of the types that JDBC gives them."""
    if simple:
        result = connection.pgconn.exec_(sql.encode())
    else:
        oids = [INT8 if isinstance(value, int) else VARCHAR for value in bound]
        result = connection.pgconn.exec_params(sql.encode(), [str(value).encode() for value in bound], oids)
    if result.status not in (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK):
        raise Difference(result.error_message.decode())
    columns = [result.fname(at).decode() for at in range(result.nfields)]
    values = [[result.get_value(row, at) for at in range(result.nfields)] for row in range(result.ntuples)]
    return [{name: value and value.decode() for name, value in zip(columns, row)} for row in values]


def of_tool(tool):
    """A check that sends a tool's statements."""

    def check(expected):
        with psycopg.connect(
            host=expected.host,
            port=expected.port,
            dbname=expected.database,
            user=expected.user,
            password=expected.password or None,
            autocommit=True,
        ) as connection:
            known = names(expected, connection)
            for head, sql in statements(tool):
                bound = [replaced(value, known) for value in head.get("parameters", [])]
                try:
                    rows = rows_of(connection, sql, bound, tool in SIMPLE)
                except Difference as error:
                    raise Difference(f"{head['name']}: {error}\n{sql}") from error
                for column, values in head.get("finds", {}).items():
                    contains(rows, column, replaced(values, known), known, f"{head['name']}: {sql}")

    check.__name__ = tool
    return check


def contains(rows, column, values, known, what):
    """Holds a column's values against those that must be among them."""
    found = [row[column] for row in rows]
    missing = [value for value in values if str(replaced(value, known)) not in found]
    same(missing, [], f"{what}\n  values that column {column} lacks, among {found[:20]}")


def dashboards(expected):
    """Panels of Grafana after its macros: as text by simple queries, with DuckDB's answers."""
    with psycopg.connect(
        host=expected.host,
        port=expected.port,
        dbname=expected.database,
        user=expected.user,
        password=expected.password or None,
        autocommit=True,
    ) as connection:
        for name, asked in expected.answers.items():
            if not name.startswith("grafana_"):
                continue
            cursor = connection.execute(asked["sql"])
            same(
                [column.name for column in cursor.description],
                [column for column, _ in asked["columns"]],
                f"columns of {name}",
            )
            same_rows(cursor.fetchall(), asked["rows"], asked["columns"], name)


run([*[of_tool(tool) for tool in TOOLS], dashboards])
