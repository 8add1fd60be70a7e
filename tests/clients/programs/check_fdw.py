"""PostgreSQL itself as a client, by postgres_fdw: the views as foreign tables of a server of its own."""

import os
import subprocess
import tempfile

import psycopg

from views import fails, run, same, same_rows, with_literals

PROGRAMS = os.path.dirname(os.path.abspath(__file__))
SERVERS = os.path.normpath(os.path.join(PROGRAMS, "../../../scripts/postgres.sh"))


class Server:
    """A PostgreSQL that ends with this process, with the views as foreign tables of schema `f`."""

    def __init__(self, expected):
        self.folder = tempfile.TemporaryDirectory()
        # It runs as a user of its own.
        os.chmod(self.folder.name, 0o755)
        command = [SERVERS, "start", self.folder.name, "--watch", str(os.getpid())]
        said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        address = said.strip().removeprefix("postgres=").split(":")
        self.address = f"host={address[0]} port={address[1]} user=postgres"
        with psycopg.connect(self.address) as connection:
            connection.execute("CREATE EXTENSION postgres_fdw")
            options = {"host": expected.host, "port": expected.port, "dbname": expected.database}
            spelled = ", ".join(f"{name} '{value}'" for name, value in options.items())
            connection.execute(f"CREATE SERVER h FOREIGN DATA WRAPPER postgres_fdw OPTIONS ({spelled})")
            password = (expected.password or "none").replace("'", "''")
            user = f"user '{expected.user}', password '{password}'"
            connection.execute(f"CREATE USER MAPPING FOR postgres SERVER h OPTIONS ({user})")
            connection.execute("CREATE SCHEMA f")
            connection.execute(
                f"IMPORT FOREIGN SCHEMA public LIMIT TO ({', '.join(expected.names())}) FROM SERVER h INTO f"
            )

    def connect(self):
        return psycopg.connect(self.address, options="-c search_path=f")

    def stop(self):
        subprocess.run([SERVERS, "stop", self.folder.name], check=True)
        self.folder.cleanup()


def imported(expected, connection):
    """Columns of the foreign tables, as they were imported."""
    for name in expected.names():
        sql = (
            "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute "
            "WHERE attrelid = %s::regclass AND attnum > 0 ORDER BY attnum"
        )
        found = connection.execute(sql, (f"f.{name}",)).fetchall()
        same(found, [tuple(column) for column in expected.views[name]["columns"]], f"columns of {name}")


def rows(expected, connection):
    """Whole views, by the cursors of postgres_fdw."""
    for size in (100, 7000):
        connection.execute(f"ALTER SERVER h OPTIONS ({'ADD' if size == 100 else 'SET'} fetch_size '{size}')")
        for view, sql in expected.whole():
            columns = expected.views[view]["columns"]
            same_rows(connection.execute(sql).fetchall(), expected.views[view]["rows"], columns, f"{view} by {size}")
    connection.commit()


def questions(expected, connection):
    """Answers to the questions, of which PostgreSQL hands down what it can."""
    for name, asked in expected.answers.items():
        found = connection.execute(with_literals(asked["sql"], asked["parameters"])).fetchall()
        same_rows(found, asked["rows"], asked["columns"], name)


def transactions(_expected, connection):
    """A transaction there is one here, and what writes is refused."""
    first = connection.execute("SELECT sum(n) FROM ticks").fetchone()
    same(connection.execute("SELECT count(*) FROM totals").fetchone(), (9,), "within a transaction")
    same(connection.execute("SELECT sum(n) FROM ticks").fetchone(), first, "one epoch for a transaction")
    connection.commit()
    fails(psycopg.Error, "25006", "a DELETE", lambda: connection.execute("DELETE FROM totals"))
    connection.rollback()


def everything(expected):
    server = Server(expected)
    try:
        for check in (imported, rows, questions, transactions):
            with server.connect() as connection:
                check(expected, connection)
    finally:
        server.stop()


run([everything])
