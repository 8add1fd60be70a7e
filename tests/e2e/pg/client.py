"""psycopg 3 against a running topology, whose connection string is the argument. Prints "fine" if all is as it should be.

The values are those of readings.jsonl. Every value is read as text and as binary, and sent as a parameter in both forms.
"""

import datetime
import decimal
import sys
import threading
import time
import uuid

import psycopg

UTC = datetime.timezone.utc
# Longest time for something that must happen, in seconds.
PATIENCE = 60
EXPECTED = {
    "id": 1,
    "ok": True,
    "small": -2,
    "n": 123456,
    "r": 1.5,
    "d": 0.1,
    "price": decimal.Decimal("123.40"),
    "name": 'it\'s "é"',
    "raw": b"\x00\xffA",
    "day": datetime.date(2024, 2, 29),
    "clock": datetime.time(23, 59, 59, 500000),
    "wall": datetime.datetime(2026, 1, 5, 10),
    "at": datetime.datetime(2026, 1, 5, 10, 0, 0, 250000, tzinfo=UTC),
    "span": datetime.timedelta(days=1, hours=2, minutes=3, seconds=4),
    "uid": uuid.UUID("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
    "doc": {"b": 1, "aa": [1.5, None]},
    "tags": ["a b", None, "c"],
    "xs": [1, 2, 3],
    "who": {"age": 30, "name": "anna"},
}


def same(found, expected, what):
    assert found == expected, f"{what}: {found!r} is not {expected!r}"


def fails(connection, state, statement, parameters=None):
    """The statement fails with this SQLSTATE."""
    try:
        connection.execute(statement, parameters)
    except psycopg.Error as error:
        same(error.sqlstate, state, f"{statement}: {error}")
        return error
    raise AssertionError(f"{statement} does not fail")


def wait_for(done, what):
    """Waits until something holds, on however busy a machine."""
    begun = time.monotonic()
    while not done():
        assert time.monotonic() - begun < PATIENCE, f"{what} does not come"
        time.sleep(0.05)


def count(connection, query):
    """The number that a query finds in an epoch of its own."""
    connection.rollback()
    return connection.execute(query).fetchone()[0]


def values(connection):
    for binary in (False, True):
        cursor = connection.cursor(binary=binary)
        for name, expected in EXPECTED.items():
            found = cursor.execute(f"SELECT {name} FROM every_type WHERE id = 1").fetchone()[0]
            same(found, expected, f"{name}, binary {binary}")
            found = cursor.execute(f"SELECT {name} FROM every_type WHERE id = 2").fetchone()[0]
            same(found, 2 if name == "id" else None, f"{name} of NULL, binary {binary}")
        row = cursor.execute("SELECT tags, xs, doc, who FROM every_type WHERE id = 3").fetchone()
        same(row, ([], [], "text", {"age": None, "name": None}), f"empty values, binary {binary}")


def parameters(connection):
    skipped = ("doc", "who", "tags", "span", "r")
    for name, expected in EXPECTED.items():
        if name in skipped:
            continue
        for form in ("%s", "%b", "%t"):
            compared = f"{name} = {form}"
            rows = connection.execute(f"SELECT id FROM every_type WHERE {compared}", (expected,)).fetchall()
            same(rows, [(1,)], f"{compared} of {expected!r}")
    rows = connection.execute("SELECT id FROM every_type WHERE id = ANY(%s) ORDER BY id", ([3, 1],)).fetchall()
    same(rows, [(1,), (3,)], "= ANY")
    rows = connection.execute("SELECT id FROM every_type ORDER BY id LIMIT %s OFFSET %s", (1, 1)).fetchall()
    same(rows, [(2,)], "LIMIT and OFFSET")
    same(connection.execute("SELECT %s", ("text",)).fetchone(), ("text",), "a parameter alone")
    same(connection.execute("SELECT coalesce(name, %s) FROM every_type WHERE id = 2", ("none",)).fetchone(), ("none",), "coalesce")
    fails(connection, "22P02", "SELECT id FROM every_type WHERE id = %s", ("x",))
    connection.rollback()
    # The same statement again and again is prepared by name.
    for n in range(10):
        same(connection.execute("SELECT %s::int + 1", (n,)).fetchone(), (n + 1,), "a prepared statement")


def transactions(connection):
    with psycopg.connect(sys.argv[1]) as other, connection.transaction():
        first = connection.execute("SELECT count(*) FROM wide").fetchone()
        wait_for(lambda: count(other, "SELECT count(*) FROM wide") > first[0], "a later epoch")
        same(connection.execute("SELECT count(*) FROM wide").fetchone(), first, "one epoch for a transaction")
        with connection.transaction():
            connection.execute("SET LOCAL timezone = 'Europe/Rome'")
            same(connection.info.timezone.key, "Europe/Rome", "the time zone within")
    later = connection.execute("SELECT count(*) FROM wide").fetchone()
    assert later > first, f"{later} rows after {first}"
    connection.rollback()
    same(str(connection.info.timezone), "UTC", "the time zone after")
    fails(connection, "42P01", "SELECT * FROM nothing")
    fails(connection, "25P02", "SELECT 1")
    connection.rollback()
    try:
        with connection.transaction():
            with connection.transaction():
                connection.execute("SELECT nothing FROM every_type")
    except psycopg.errors.UndefinedColumn:
        pass
    same(connection.execute("SELECT 1").fetchone(), (1,), "after a savepoint")
    connection.rollback()


def streams(connection):
    asked = ("SELECT id FROM wide WHERE id < %s", (3000,))
    wait_for(lambda: count(connection, "SELECT count(*) FROM wide WHERE id < 3000") > 1000, "a thousand rows")
    rows = len(connection.execute(*asked).fetchall())
    for binary in (False, True):
        with connection.cursor("named", binary=binary) as cursor:
            cursor.itersize = 1000
            cursor.execute(*asked)
            same(sum(1 for _ in cursor), rows, "rows of a cursor")
    same(sum(1 for _ in connection.cursor().stream(*asked)), rows, "rows of a stream")
    connection.rollback()
    with connection.pipeline():
        cursors = [connection.execute("SELECT %s::int", (n,)) for n in range(20)]
    same([cursor.fetchone()[0] for cursor in cursors], list(range(20)), "a pipeline")
    connection.rollback()


def copies(connection):
    with connection.cursor().copy("COPY (SELECT id, name FROM every_type ORDER BY id) TO STDOUT") as copy:
        same(list(copy.rows()), [("1", 'it\'s "é"'), ("2", None), ("3", "")], "COPY as text")
    with connection.cursor().copy("COPY (SELECT id, price, at, xs FROM every_type ORDER BY id) TO STDOUT (FORMAT binary)") as copy:
        copy.set_types(["int8", "numeric", "timestamptz", "int8[]"])
        same(list(copy.rows())[0], tuple(EXPECTED[name] for name in ("id", "price", "at", "xs")), "COPY in binary")
    connection.rollback()
    with connection.cursor().copy("COPY (SELECT id FROM every_type WHERE id < 0) TO STDOUT (FORMAT binary)") as copy:
        same(list(copy.rows()), [], "COPY in binary of nothing")
    with connection.cursor().copy("COPY every_type (id, name) TO STDOUT WITH CSV HEADER") as copy:
        text = b"".join(copy).decode()
    same(sorted(text.splitlines()), ['1,"it\'s ""é"""', "2,", '3,""', "id,name"], "COPY as CSV")
    connection.rollback()


def refusals(connection):
    for state, statement in [
        ("25006", "INSERT INTO every_type VALUES (1)"),
        ("25006", "CREATE TABLE t (a INT)"),
        ("25006", "COPY every_type FROM STDIN"),
        ("42703", "SELECT nothing FROM every_type"),
        ("42601", "SELECT id, FROM every_type WHERE"),
        ("42601", "frobnicate"),
        ("42883", "SELECT frobnicate(id) FROM every_type"),
        ("22012", "SELECT 1 / 0"),
        ("0A000", "LISTEN x"),
        ("42704", "SET no_such_setting = 1"),
        ("26000", "EXECUTE nothing"),
        ("34000", "FETCH 1 FROM nothing"),
    ]:
        fails(connection, state, statement)
        connection.rollback()
    error = fails(connection, "42703", "SELECT id,\n nothing FROM every_type")
    same(error.diag.statement_position, "13", "the place of a mistake")
    connection.rollback()


# Rows without end, and none of as many, however few rows the table has yet and however fast the machine is.
PAIRS = "wide a CROSS JOIN wide b CROSS JOIN wide c CROSS JOIN wide d"
LONG = [f"SELECT a.id, b.id AS other FROM {PAIRS}",
        f"SELECT count(*) FROM {PAIRS} WHERE a.n + b.n + c.n + d.n < 0"]


def stops(connection):
    for query in LONG:
        connection.execute("SET LOCAL statement_timeout = '100ms'")
        begun = time.monotonic()
        fails(connection, "57014", query)
        assert time.monotonic() - begun < 10, "a time limit takes its time"
        connection.rollback()
    timer = threading.Timer(0.5, connection.cancel_safe)
    timer.start()
    fails(connection, "57014", LONG[0])
    timer.join()
    connection.rollback()
    same(connection.execute("SELECT 1").fetchone(), (1,), "after a cancel")
    # A request that comes when nothing runs has no effect.
    connection.cancel_safe()
    time.sleep(0.3)
    same(connection.execute("SELECT 2").fetchone(), (2,), "after a late cancel")
    connection.rollback()


def sessions(connection):
    same(connection.info.parameter_status("server_version").split()[0], "16.4", "the version")
    assert connection.info.server_version >= 160000
    same(connection.execute("SHOW application_name").fetchone(), ("herald-test",), "the application")
    same(connection.execute("SHOW transaction_read_only").fetchone(), ("on",), "read-only")
    connection.rollback()
    connection.autocommit = True
    connection.execute("PREPARE p (bigint) AS SELECT name FROM every_type WHERE id = $1")
    same(connection.execute("EXECUTE p (1 + 2)").fetchone(), ("",), "EXECUTE")
    connection.execute("SET statement_timeout = '5min'")
    connection.execute("DISCARD ALL")
    same(connection.execute("SHOW statement_timeout").fetchone(), ("1min",), "after DISCARD ALL")
    fails(connection, "26000", "EXECUTE p (1)")
    fails(connection, "25P01", "DECLARE c CURSOR FOR SELECT 1")
    several = connection.execute("SELECT 1; SELECT 2; ; SELECT 3")
    found = []
    while True:
        found += several.fetchall()
        if not several.nextset():
            break
    same(found, [(1,), (2,), (3,)], "several statements")
    same(connection.execute("").pgresult.status, psycopg.pq.ExecStatus.EMPTY_QUERY, "an empty query")
    connection.autocommit = False


def main():
    with psycopg.connect(sys.argv[1], application_name="herald-test") as connection:
        for check in (sessions, values, parameters, transactions, streams, copies, refusals, stops):
            check(connection)
            connection.rollback()
    print("fine")


main()
