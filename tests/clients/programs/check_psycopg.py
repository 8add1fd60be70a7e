"""psycopg 3: values and parameters of every type as text and binary, cursors, COPY, pipelines, transactions, errors."""

import logging
import threading
import time

import psycopg
from psycopg import pq
from psycopg.rows import dict_row
from psycopg.types import TypeInfo

from views import Difference, fails, form, native, run, same, same_rows, same_value, values

# Longest time for something that must happen, in seconds.
PATIENCE = 60
# No row comes of either, and each takes minutes.
ENDLESS = "SELECT count(*) AS n FROM big AS a CROSS JOIN big AS b CROSS JOIN big AS c WHERE a.v + b.v + c.v < 0"
OIDS = {
    "boolean": 16,
    "bytea": 17,
    "bigint": 20,
    "smallint": 21,
    "integer": 23,
    "text": 25,
    "real": 700,
    "double precision": 701,
    "date": 1082,
    "time without time zone": 1083,
    "timestamp without time zone": 1114,
    "timestamp with time zone": 1184,
    "interval": 1186,
    "numeric": 1700,
    "uuid": 2950,
    "jsonb": 3802,
    "text[]": 1009,
    "bigint[]": 1016,
    "timestamp with time zone[]": 1185,
}


# A pipeline with a mistake is meant.
logging.getLogger("psycopg").setLevel(logging.ERROR)


def connect(expected, **options):
    return psycopg.connect(
        host=expected.host,
        port=expected.port,
        dbname=expected.database,
        user=expected.user,
        password=expected.password or None,
        application_name="check_psycopg",
        **options,
    )


def session(expected):
    """The settings that the server tells at the start, and those that a client sets."""
    with connect(expected, options="-c statement_timeout=50s -c TimeZone=Europe/Berlin") as connection:
        info = connection.info
        same(info.server_version >= 140000, True, "server_version of 14 or above")
        same(info.encoding, "utf-8", "client_encoding")
        same(info.dbname, expected.database, "database")
        same(str(info.timezone), "Europe/Berlin", "TimeZone of the start-up message")
        for name, value in (
            ("standard_conforming_strings", "on"),
            ("integer_datetimes", "on"),
            ("server_encoding", "UTF8"),
        ):
            same(info.parameter_status(name), value, name)
        same(connection.execute("SHOW statement_timeout").fetchone(), ("50s",), "SHOW statement_timeout")
        row = connection.execute("SELECT current_database(), current_schema(), current_user").fetchone()
        same(row, (expected.database, "public", expected.user), "database, schema and user")
        same(connection.execute("SHOW application_name").fetchone(), ("check_psycopg",), "application_name")
        connection.execute("SET timezone = 'Asia/Tokyo'")
        same(str(info.timezone), "Asia/Tokyo", "a TimeZone that was set")
        connection.rollback()
        same(str(info.timezone), "Europe/Berlin", "TimeZone after ROLLBACK")
        same(TypeInfo.fetch(connection, "hstore"), None, "a type that is not there")
        same(TypeInfo.fetch(connection, "timestamptz").oid, 1184, "OID of a type by its name")


def rows(expected):
    """All rows of all views, as text and as binary."""
    with connect(expected) as connection:
        for binary in (False, True):
            for view, sql in expected.whole():
                cursor = connection.cursor(binary=binary).execute(sql)
                columns = expected.views[view]["columns"]
                same([c.name for c in cursor.description], [name for name, _ in columns], f"columns of {view}")
                same(
                    [c.type_code for c in cursor.description],
                    [OIDS[kind.split("(")[0]] for _, kind in columns],
                    f"types of {view}",
                )
                same_rows(cursor.fetchall(), expected.views[view]["rows"], columns, f"{view}, binary {binary}")
        price = connection.execute("SELECT price FROM every_type").description[0]
        same((price.precision, price.scale), (10, 2), "precision and scale")


def questions(expected):
    """Answers to the questions, with parameters as text and as binary."""
    with connect(expected) as connection:
        for name, asked in expected.answers.items():
            for binary in (False, True):
                cursor = psycopg.RawCursor(connection)
                cursor.format = pq.Format(binary)
                cursor.execute(asked["sql"], values(asked["parameters"]) or None, binary=binary)
                same(
                    [c.name for c in cursor.description],
                    [column for column, _ in asked["columns"]],
                    f"columns of {name}",
                )
                same_rows(cursor.fetchall(), asked["rows"], asked["columns"], f"{name}, binary {binary}")
        cursor = connection.cursor(row_factory=dict_row)
        row = cursor.execute("SELECT count(*), max(id) FROM big").fetchone()
        same(row, {"count": 20_000, "max": 19_999}, "names of columns without AS")


def parameters(expected):
    """A parameter of every type finds the row it was taken from, in every format."""
    # Approximate numbers, structured values and INTERVALs have no parameter that must be equal.
    skipped = ("real", "double precision", "jsonb", "interval")
    with connect(expected) as connection:
        for place, row in enumerate(expected.views["every_type"]["rows"]):
            for (name, kind), text in zip(expected.views["every_type"]["columns"], row):
                if text is None or kind in skipped or kind.endswith("[]"):
                    continue
                for mark in ("%s", "%b", "%t"):
                    sql = f"SELECT id FROM every_type WHERE {name} = {mark} AND id = %s"
                    found = connection.execute(sql, (native(kind, text), int(row[0]))).fetchall()
                    same(found, [(int(row[0]),)], f"row {place}: {name} = {mark} of {text!r}")
        echoes(connection, expected)
        same(connection.execute("SELECT %s::text IS NULL", (None,)).fetchone(), (True,), "a parameter that is NULL")
        same(connection.execute("SELECT %s", ("é'\\",)).fetchone(), ("é'\\",), "a parameter alone")
        sql = "SELECT coalesce(name, %s) FROM every_type WHERE id = 2"
        same(connection.execute(sql, ("none",)).fetchone(), ("none",), "a parameter whose type its place tells")
        fails(
            psycopg.Error,
            "22P02",
            "a bigint that is none",
            lambda: connection.execute("SELECT id FROM big WHERE id = %s", ("x",)),
        )


def echoes(connection, expected):
    """Values that come back as they were sent, as text and binary both ways."""
    for row in expected.views["every_type"]["rows"]:
        for (name, kind), text in zip(expected.views["every_type"]["columns"], row):
            if kind.startswith("jsonb") or form(text, kind) is None:
                continue
            value = native(kind, text)
            for mark, binary in (("%t", False), ("%b", True), ("%s", True)):
                cursor = connection.cursor(binary=binary)
                if kind == "interval" and mark == "%b":
                    continue
                found = cursor.execute(f"SELECT CAST({mark} AS {kind})", (value,)).fetchone()[0]
                same_value(found, text, kind, f"{name} by {mark}, binary {binary}")


def prepared(expected):
    """Statements that are prepared once and run with other parameters."""
    with connect(expected, prepare_threshold=2) as connection:
        wins = dict((player, int(wins)) for player, wins, *_ in expected.views["totals"]["rows"])
        for _ in range(3):
            for player, count in wins.items():
                found = connection.execute("SELECT wins FROM totals WHERE player = %s", (player,)).fetchone()
                same(found, (count,), f"wins of {player!r}")
        for n in range(40):
            same(
                connection.execute(f"SELECT {n} + %s::int", (1,), prepare=True).fetchone(),
                (n + 1,),
                "a prepared statement",
            )
        connection.rollback()
        same(
            connection.execute("SELECT wins FROM totals WHERE player = %s", ("anna",)).fetchone(),
            (wins["anna"],),
            "after ROLLBACK",
        )
        connection.rollback()
        connection.autocommit = True
        connection.execute("PREPARE two (bigint, text) AS SELECT id FROM big WHERE id = $1 AND k <> $2")
        same(connection.execute("EXECUTE two (7, '')").fetchone(), (7,), "EXECUTE")
        connection.execute("DEALLOCATE two")
        fails(psycopg.Error, "26000", "EXECUTE of none", lambda: connection.execute("EXECUTE two (7, '')"))
        connection.execute("DEALLOCATE ALL")


def cursors(expected):
    """Cursors of the server, and rows one by one."""
    big = expected.views["big"]
    with connect(expected) as connection:
        for binary in (False, True):
            with connection.cursor("portions", binary=binary) as cursor:
                cursor.execute("SELECT * FROM big WHERE id >= %s ORDER BY id", (0,))
                found = cursor.fetchmany(1) + cursor.fetchmany(2999)
                same(len(found), 3000, "fetchmany")
                cursor.itersize = 777
                same_rows(found + list(cursor), big["rows"], big["columns"], f"a cursor, binary {binary}")
                same(cursor.fetchmany(5), [], "fetchmany behind the end")
        with connection.cursor("first") as first, connection.cursor("second") as second:
            first.execute("SELECT id FROM big ORDER BY id")
            second.execute("SELECT id FROM big ORDER BY id DESC")
            same(
                (first.fetchone(), second.fetchone(), first.fetchone()), ((0,), (19_999,), (1,)), "two cursors in turns"
            )
        for size in (1, 500):
            stream = connection.cursor().stream("SELECT id, k, v FROM big WHERE id < 1200 ORDER BY id", size=size)
            same_rows(stream, big["rows"][:1200], big["columns"], f"a stream by {size}")
        with connection.cursor("gone") as cursor:
            cursor.execute("SELECT id FROM big")
            connection.commit()
            fails(psycopg.Error, "34000", "FETCH after COMMIT", cursor.fetchone)
            connection.rollback()
        client = psycopg.ClientCursor(connection).execute("SELECT player FROM totals WHERE wins = %s", (8,))
        same(client.fetchall(), [("o'hara",)], "parameters that the client writes into the query")


def copies(expected):
    """COPY TO STDOUT as text, CSV and binary."""
    with connect(expected) as connection:
        for view, sql in expected.whole():
            columns, wanted = expected.views[view]["columns"], expected.views[view]["rows"]
            types = [TypeInfo.fetch(connection, kind.split("(")[0]).oid for _, kind in columns]
            for options in ("", "(FORMAT binary)"):
                with connection.cursor().copy(f"COPY ({sql}) TO STDOUT {options}") as copy:
                    copy.set_types(types)
                    same_rows(copy.rows(), wanted, columns, f"COPY {view} {options}")
        # PostgreSQL copies no materialized view by its name.
        whole = "totals (player, wins)" if expected.is_herald else "(SELECT player, wins FROM totals)"
        with connection.cursor().copy(f"COPY {whole} TO STDOUT WITH (FORMAT csv, HEADER, DELIMITER ';')") as copy:
            lines = b"".join(copy).decode().splitlines()
        same(lines[0], "player;wins", "the header of CSV")
        same(sorted(lines[1:])[0], '"";7', "an empty text in CSV")
        same('"quote""d";4' in lines, True, "a quote in CSV")
        with connection.cursor().copy(
            "COPY (SELECT points, player FROM totals WHERE points IS NULL) TO STDOUT (NULL 'none')"
        ) as copy:
            same(b"".join(copy), b"none\ttab\\there\n", "NULL and a tab as text")
        connection.commit()
        try:
            with connection.cursor().copy("COPY (SELECT a.id FROM big AS a CROSS JOIN big AS b) TO STDOUT") as copy:
                next(iter(copy))
                raise InterruptedError
        except InterruptedError:
            connection.rollback()
        same(connection.execute("SELECT 1").fetchone(), (1,), "after a COPY that the client left")


def pipelines(expected):
    """Many statements on the way at once."""
    with connect(expected, autocommit=True) as connection:
        with connection.pipeline() as pipeline:
            asked = [connection.execute("SELECT v FROM big WHERE id = %s", (n,)) for n in range(200)]
            pipeline.sync()
            found = [cursor.fetchone()[0] for cursor in asked]
        same(found, [int(row[2]) for row in expected.views["big"]["rows"][:200]], "answers of a pipeline")
        asked = []
        fails(psycopg.Error, "42703", "a pipeline", lambda: mistaken(connection, asked))
        same(asked[0].fetchone(), (1,), "the answer before a mistake")
        same(connection.execute("SELECT 3").fetchone(), (3,), "after a pipeline with a mistake")


def mistaken(connection, asked):
    """A pipeline with a mistake in its midst; the client hears of it at any time up to the end."""
    with connection.pipeline():
        asked.append(connection.execute("SELECT 1"))
        connection.execute("SELECT nothing FROM big")
        connection.execute("SELECT 2")


def transactions(expected):
    """A transaction reads one epoch; the next one a later."""
    total = "SELECT sum(n) FROM ticks"
    levels = [psycopg.IsolationLevel.REPEATABLE_READ, psycopg.IsolationLevel.SERIALIZABLE]
    # In PostgreSQL each statement of its default level reads anew.
    for level in levels + [None] * expected.is_herald:
        with connect(expected) as connection:
            connection.isolation_level = level
            connection.read_only = True
            first = connection.execute(total).fetchone()
            time.sleep(0.6)
            same(connection.execute(total).fetchone(), first, f"a transaction of level {level}")
            with connection.cursor("late") as cursor:
                same(cursor.execute(total).fetchone(), first, "a cursor of the transaction")
            with connection.transaction():
                same(connection.execute(total).fetchone(), first, "a savepoint of the transaction")
            connection.commit()
            begun = time.monotonic()
            while connection.execute(total).fetchone() <= first:
                connection.commit()
                if time.monotonic() - begun > PATIENCE:
                    raise Difference("ticks does not change")
                time.sleep(0.1)
    with connect(expected) as connection:
        fails(psycopg.Error, "42P01", "a view that is not there", lambda: connection.execute("SELECT * FROM nothing"))
        fails(psycopg.Error, "25P02", "a failed transaction", lambda: connection.execute("SELECT 1"))
        same(connection.info.transaction_status, pq.TransactionStatus.INERROR, "the state of the transaction")
        connection.rollback()
        with connection.transaction():
            try:
                with connection.transaction():
                    connection.execute("SELECT nothing FROM big")
            except psycopg.errors.UndefinedColumn:
                pass
            same(connection.execute("SELECT 1").fetchone(), (1,), "after ROLLBACK TO SAVEPOINT")
            connection.execute("SET LOCAL TimeZone = 'Europe/Rome'")
            same(str(connection.info.timezone), "Europe/Rome", "SET LOCAL")
        same(str(connection.info.timezone), "UTC", "after COMMIT")


REFUSED = [
    ("42P01", "SELECT * FROM nothing"),
    ("42P01", "SELECT * FROM herald.nothing"),
    ("42703", "SELECT nothing FROM totals"),
    ("42601", "SELECT FROM WHERE"),
    ("42601", "frobnicate"),
    ("42883", "SELECT frobnicate(wins) FROM totals"),
    ("22012", "SELECT 1 / 0"),
    ("22P02", "SELECT CAST('x' AS bigint)"),
    ("25006", "INSERT INTO totals (player) VALUES ('x')"),
    ("25006", "UPDATE totals SET wins = 0"),
    ("25006", "DELETE FROM totals"),
    ("25006", "CREATE TABLE t (a int)"),
    ("25006", "CREATE VIEW t AS SELECT 1 AS a"),
    ("25006", "DROP TABLE totals"),
    ("25006", "COPY totals FROM STDIN"),
    ("26000", "EXECUTE nothing"),
    ("34000", "FETCH 1 FROM nothing"),
    ("25P01", "SAVEPOINT s"),
    ("25P01", "DECLARE c CURSOR FOR SELECT 1"),
]


def errors(expected):
    """Mistakes have PostgreSQL's SQLSTATE, by the simple protocol and by the extended one."""
    with connect(expected, autocommit=True) as connection:
        for state, sql in REFUSED:
            fails(psycopg.Error, state, sql, lambda: connection.execute(sql))
            if not sql.startswith("COPY"):
                cursor = psycopg.RawCursor(connection)
                fails(psycopg.Error, state, sql, lambda: cursor.execute(sql, prepare=True))
        error = fails(
            psycopg.Error, "42703", "a column", lambda: connection.execute("SELECT player,\n nothing FROM totals")
        )
        same(error.diag.statement_position, "17", "the place of a mistake")
        same(error.diag.severity_nonlocalized, "ERROR", "its severity")
        several = connection.execute("SELECT 1 AS a; SELECT 2 AS b; ; SELECT 3 AS c")
        found = [cursor.fetchall() for cursor in several.results()]
        same(found, [[(1,)], [(2,)], [(3,)]], "several statements")
        same(connection.execute("").pgresult.status, pq.ExecStatus.EMPTY_QUERY, "an empty query")
        same(connection.execute("-- nothing").pgresult.status, pq.ExecStatus.EMPTY_QUERY, "a comment")


def answered(connection, what):
    """A statement is answered; a cancel request that is slow on its way may end one before it, here as in PostgreSQL."""
    try:
        same(connection.execute("SELECT 2").fetchone(), (2,), what)
    except psycopg.errors.QueryCanceled:
        same(connection.execute("SELECT 2").fetchone(), (2,), what)


def stops(expected):
    """Cancel requests and time limits end what runs, and nothing else."""
    with connect(expected, autocommit=True) as connection:
        for cancel in (connection.cancel_safe, connection.cancel):
            timer = threading.Timer(0.5, cancel)
            timer.start()
            fails(
                psycopg.errors.QueryCanceled, "57014", "a query that is cancelled", lambda: connection.execute(ENDLESS)
            )
            timer.join()
            same(connection.execute("SELECT 1").fetchone(), (1,), "after a cancel")
        connection.cancel_safe()
        time.sleep(0.2)
        answered(connection, "after a cancel of nothing")
        connection.execute("SET statement_timeout = '300ms'")
        begun = time.monotonic()
        fails(psycopg.errors.QueryCanceled, "57014", "statement_timeout", lambda: connection.execute(ENDLESS))
        same(time.monotonic() - begun < PATIENCE, True, "the time limit holds")
        connection.execute("RESET statement_timeout")
        same(connection.execute("SELECT count(*) FROM big").fetchone(), (20_000,), "after a time limit")
        with connection.transaction():
            connection.execute("SET LOCAL statement_timeout = '7s'")
            same(connection.execute("SHOW statement_timeout").fetchone(), ("7s",), "SET LOCAL")
        connection.execute("DISCARD ALL")


run([session, rows, questions, parameters, prepared, cursors, copies, pipelines, transactions, errors, stops])
