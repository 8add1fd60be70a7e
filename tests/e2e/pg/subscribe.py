"""A client that follows views by SUBSCRIBE.

Arguments: the connection string, and for a client that follows the bank a file at whose appearance it stops; it then
prints the numbers of marks of progress, of sessions, of comparisons with the view, and of amounts of money that it has
seen. Beside that file, with the extension `marks`, it tells these numbers at each mark. Without a file it checks the
statements, and prints "fine". A wrong row ends it with exit code 1.

The bank is followed while the topology is killed and started again. At each mark of progress the money must add up, and
now and then the rows must be those of the view, which another connection reads at an epoch.
"""

import contextlib
import pathlib
import sys
import threading
import time

import psycopg

# Those of PostgreSQL for a server that is ending, one that is starting, and a cancelled statement.
AWAY = {"57P01", "57P03", "57014"}
FOLLOW = "SUBSCRIBE TO balance WITH (progress{})"
VIEW = "SELECT payee, payer, amount FROM balance"
TYPES = ["int8", "timestamptz", "int8", "bool", "int8", "int8", "numeric"]
# Longest time for something that must happen, in seconds.
PATIENCE = 60
# Marks after which a session ends by itself, so that all ways of following are gone.
MARKS = 40


class Wrong(Exception):
    """Rows that are not those of the view."""


def check(holds, told):
    if not holds:
        raise Wrong(told)


class Follower:
    """Rows of a view that are made of a snapshot and changes."""

    def __init__(self):
        self.rows, self.open, self.states = {}, [], {}
        self.marks, self.resets, self.last, self.money = 0, 0, None, set()

    def begin(self):
        """Drops the changes of an epoch that was not whole."""
        self.open = []

    def take(self, row):
        """Takes a row; true for a mark of progress."""
        epoch, commit, diff, progress, *values = row
        check(commit is not None and epoch is not None, f"{row} has no epoch")
        if not progress and diff is None:
            self.rows, self.open, self.resets = {}, [], self.resets + 1
            return False
        if not progress:
            check(self.last is None or epoch > self.last, f"{row} comes after the mark of {self.last}")
            self.open.append((tuple(values), diff))
            return False
        check(diff is None and all(value is None for value in values), f"the mark {row} has values")
        for values, diff in self.open:
            copies = self.rows.get(values, 0) + diff
            check(copies >= 0, f"{copies} copies of {values} in epoch {epoch}")
            if copies == 0:
                del self.rows[values]
            else:
                self.rows[values] = copies
        self.open = []
        check(self.last is None or epoch > self.last, f"epoch {epoch} is marked after {self.last}")
        self.last, self.marks = epoch, self.marks + 1
        self.states[epoch] = dict(self.rows)
        while len(self.states) > 2000:
            del self.states[min(self.states)]
        return True

    def compare(self, epoch, rows):
        """The rows at an epoch, after which there is a mark, must be these."""
        at = max((marked for marked in self.states if marked <= epoch), default=None)
        if at is None:
            return
        check(self.states[at] == rows, f"at epoch {epoch}: {self.states[at]} is not {rows}")


def wait_for(done, what):
    """Waits until something holds, on however busy a machine."""
    begun = time.monotonic()
    while not done():
        check(time.monotonic() - begun < PATIENCE, f"{what} does not come")
        time.sleep(0.05)


def read_view(conninfo, query):
    """An epoch, and the rows of a view at it with their numbers."""
    with psycopg.connect(conninfo) as connection:
        epoch = connection.execute("SELECT max(epoch) FROM herald.views").fetchone()[0]
        rows = {}
        for row in connection.execute(query).fetchall():
            rows[row] = rows.get(row, 0) + 1
    return epoch, rows


def by_stream(connection, statement):
    with contextlib.closing(connection.cursor().stream(statement)) as rows:
        yield from rows


def by_copy(connection, statement):
    with connection.cursor().copy(f"COPY ({statement}) TO STDOUT") as copy:
        copy.set_types(TYPES)
        yield from copy.rows()


def by_cursor(connection, statement):
    with connection.transaction():
        connection.execute(f"DECLARE c CURSOR FOR {statement}")
        while True:
            yield from connection.execute("FETCH 100 c WITH (timeout = '500ms')").fetchall()


WAYS = (by_stream, by_copy, by_cursor)


class Bank:
    """Follows the view of balances, and stops at the appearance of a file."""

    def __init__(self, conninfo, stop):
        self.conninfo, self.stop, self.follower = conninfo, stop, Follower()
        self.sessions, self.compared = 0, 0

    def follow(self, connection, way):
        """Follows until enough marks are there, or the connection breaks."""
        follower = self.follower
        follower.begin()
        resumed = "" if follower.last is None else f", as_of = {follower.last}"
        end, pending = follower.marks + MARKS, None
        with contextlib.closing(way(connection, FOLLOW.format(resumed))) as rows:
            for row in rows:
                if not follower.take(row):
                    continue
                total = sum(amount * copies for (_, _, amount), copies in follower.rows.items())
                check(total == 0, f"{total} was made or lost up to epoch {follower.last}")
                follower.money.add(sum(amount for (_, _, amount) in follower.rows if amount > 0))
                if pending is None and follower.marks % 7 == 0:
                    pending = read_view(self.conninfo, VIEW)
                if pending is not None and pending[0] <= follower.last:
                    follower.compare(*pending)
                    pending, self.compared = None, self.compared + 1
                self.tell()
                if follower.marks >= end and pending is None:
                    return

    def numbers(self):
        return [self.follower.marks, self.sessions, self.compared, len(self.follower.money)]

    def tell(self):
        """Puts the numbers in place at once: the test reads them while they change."""
        told = self.stop.with_suffix(".marks")
        told.with_suffix(".new").write_text(" ".join(map(str, self.numbers())))
        told.with_suffix(".new").rename(told)

    def run(self):
        while not self.stop.exists():
            try:
                with psycopg.connect(self.conninfo, autocommit=True) as connection:
                    way = WAYS[self.sessions % len(WAYS)]
                    self.sessions += 1
                    watcher = threading.Thread(target=self.cancel, args=(connection,), daemon=True)
                    watcher.start()
                    self.follow(connection, way)
            except psycopg.Error as error:
                # A connection that broke has no code.
                if error.sqlstate is not None and error.sqlstate not in AWAY:
                    raise
                time.sleep(0.02)
        check(self.follower.resets == 0, "all changes were kept, and rows were void")
        print("{} marks, {} sessions, {} comparisons, {} amounts".format(*self.numbers()))

    def cancel(self, connection):
        """Cancels a statement that waits for changes when the file appears."""
        while not connection.closed:
            if self.stop.exists():
                with contextlib.suppress(psycopg.Error):
                    connection.cancel_safe()
            time.sleep(0.1)


def same(found, expected, told):
    check(found == expected, f"{told}: {found!r} is not {expected!r}")


def fails(connection, state, statement, position=None):
    """The statement fails with this SQLSTATE, at this place."""
    try:
        connection.execute(statement)
    except psycopg.Error as error:
        same((error.sqlstate, error.diag.statement_position), (state, position), f"{statement}: {error}")
        return error
    raise Wrong(f"{statement} does not fail")


def mistakes(connection):
    for state, position, statement in [
        ("42P01", "14", "SUBSCRIBE TO blance"),
        ("42P01", "14", "SUBSCRIBE TO transfers"),
        ("42P01", "14", "SUBSCRIBE TO herald.views"),
        ("42703", "22", "SUBSCRIBE TO (SELECT payr FROM balance)"),
        ("42703", "47", "SUBSCRIBE TO (SELECT payer FROM balance WHERE amont > 1)"),
        ("42601", "28", "SUBSCRIBE TO balance WITH (frequency = 1)"),
        ("0A000", "41", "SUBSCRIBE TO (SELECT payer FROM balance GROUP BY payer)"),
        ("55000", None, "SUBSCRIBE TO off"),
        ("55000", None, "SUBSCRIBE TO balance WITH (as_of = 1000000000, snapshot = false)"),
        ("25P01", None, "DECLARE c CURSOR FOR SUBSCRIBE TO balance"),
    ]:
        fails(connection, state, statement, position)
    with contextlib.suppress(psycopg.errors.ActiveSqlTransaction), connection.transaction():
        connection.execute("DECLARE c CURSOR FOR SUBSCRIBE TO balance")
        connection.execute("SELECT 1")
        raise Wrong("a query reads another epoch than the cursor")
    with contextlib.suppress(psycopg.errors.ActiveSqlTransaction), connection.transaction():
        connection.execute("SELECT count(*) FROM balance")
        connection.execute("DECLARE c CURSOR FOR SUBSCRIBE TO balance")
        raise Wrong("a subscription lets go of the epoch of a query")


def fetches(connection):
    with connection.transaction():
        connection.execute("DECLARE c CURSOR FOR SUBSCRIBE TO credits WITH (progress)")
        first = connection.execute("FETCH 1 c").fetchall()
        same(len(first), 1, "the first row")
        found, begun = first, time.monotonic()
        while not found[-1][3]:
            found += connection.execute("FETCH ALL c WITH (timeout = '5s')").fetchall()
            check(time.monotonic() - begun < PATIENCE, "a snapshot comes at once")
        snapshot = found[:[row[3] for row in found].index(True) + 1]
        same({row[0] for row in snapshot}, {found[0][0]}, "the epoch of a snapshot")
        connection.execute("DECLARE none CURSOR FOR SUBSCRIBE TO (SELECT amount FROM credits WHERE amount < 0)")
        for timeout in ("0s", "300 ms"):
            begun = time.monotonic()
            rows = connection.execute(f"FETCH ALL none WITH (timeout = '{timeout}')").fetchall()
            same(rows, [], "rows of a view without any")
            check(time.monotonic() - begun < PATIENCE, f"FETCH waits for {time.monotonic() - begun} s")
        connection.execute("CLOSE none")
    # A server-side cursor of the client, with a parameter, and rows in binary.
    for binary in (False, True):
        with connection.transaction(), connection.cursor("named", binary=binary) as cursor:
            cursor.execute("SUBSCRIBE TO (SELECT account, amount FROM credits WHERE account = %s) WITH (progress)", (3,))
            same([column.name for column in cursor.description][3:], ["herald_progress", "account", "amount"], "columns")
            row = cursor.fetchmany(1)[0]
            same(row[2:5], (1, False, 3), "a row that meets the condition")
            same(row[1].tzinfo is not None, True, "the time of the commit")


def runs(connection, query):
    """Tells whether some session runs this statement."""
    counted = "SELECT count(*) FROM herald.sessions WHERE state = 'active' AND query = %s"
    return connection.execute(counted, (query,)).fetchone()[0] > 0


def cancel_when_it_runs(connection, conninfo, query):
    """Cancels a statement once it runs: a request that comes before it has no effect."""
    with psycopg.connect(conninfo, autocommit=True) as other:
        wait_for(lambda: runs(other, query), f"{query} among the sessions")
    connection.cancel_safe()


def limits(connection, conninfo):
    # The server's limit does not hold for subscriptions, a client's own does.
    connection.execute("SET statement_timeout = '700ms'")
    begun = time.monotonic()
    fails(connection, "57014", "SUBSCRIBE TO credits")
    check(0.5 < time.monotonic() - begun < PATIENCE, "a time limit takes its time")
    connection.execute("RESET statement_timeout")
    query = "SUBSCRIBE TO credits"
    canceller = threading.Thread(target=cancel_when_it_runs, args=(connection, conninfo, query), daemon=True)
    canceller.start()
    fails(connection, "57014", query)
    canceller.join()
    same(connection.execute("SELECT 1").fetchone(), (1,), "after a cancel")


def listed(connection, conninfo):
    """The statement is among the sessions while it runs."""
    rows = connection.cursor().stream("SUBSCRIBE TO credits")
    next(rows)
    with psycopg.connect(conninfo, autocommit=True) as other:
        wait_for(lambda: runs(other, "SUBSCRIBE TO credits"), "a session that follows a view")
    with contextlib.suppress(psycopg.Error):
        rows.close()


def fetched(connection, options):
    """The rows of a subscription with ids up to its first mark."""
    with connection.transaction():
        connection.execute(f"DECLARE c CURSOR FOR SUBSCRIBE TO balance WITH (ids{options})")
        rows = []
        while not any(row[3] for row in rows):
            rows += connection.execute("FETCH ALL c WITH (timeout = '1s')").fetchall()
    return rows


def ids(conninfo):
    """A mark has an id that names the state as well: one of another state is none to go on from."""
    with psycopg.connect(conninfo, autocommit=True) as connection:
        notices = []
        connection.add_notice_handler(lambda notice: notices.append(notice.message_primary))
        mark = next(row for row in fetched(connection, "") if row[3])
        epoch, state = mark[4].split("-")
        same((int(epoch), len(state)), (mark[0], 8), "an id")
        rows = fetched(connection, f", from_id = '{mark[4]}'")
        check(rows[0][0] > mark[0] and not notices, f"{rows[0]} goes on after {mark}: {notices}")
        rows = fetched(connection, f", from_id = '{epoch}-00000000'")
        same((rows[0][2], rows[0][3], rows[0][4]), (None, False, None), "a reset")
        check(any("another state" in notice for notice in notices), f"notices: {notices}")
        fails(connection, "55000", f"SUBSCRIBE TO balance WITH (from_id = '{epoch}-00000000', snapshot = false)")


def late(conninfo):
    """A client that comes back when its changes are gone is told, and gets a snapshot."""
    with psycopg.connect(conninfo, autocommit=True) as connection:
        notices = []
        connection.add_notice_handler(lambda notice: notices.append(notice.message_primary))
        early = connection.execute("SELECT max(epoch) FROM herald.views").fetchone()[0]
        begun = time.monotonic()
        while True:
            check(time.monotonic() - begun < PATIENCE, "the changes of seconds are kept for a minute")
            try:
                with connection.transaction():
                    connection.execute(
                        f"DECLARE c CURSOR FOR SUBSCRIBE TO brief WITH (as_of = {early}, snapshot = false)")
            except psycopg.errors.ObjectNotInPrerequisiteState as error:
                check("are not kept" in str(error), str(error))
                break
            time.sleep(0.2)
        with connection.transaction():
            connection.execute(f"DECLARE c CURSOR FOR SUBSCRIBE TO brief WITH (as_of = {early}, progress)")
            rows = []
            while not rows or not rows[-1][3]:
                rows += connection.execute("FETCH ALL c WITH (timeout = '1s')").fetchall()
        follower = Follower()
        for row in rows:
            follower.take(row)
        same((rows[0][2], rows[0][3], follower.resets), (None, False, 1), "a reset comes first")
        check(follower.rows, "and then a snapshot")
        check(any("are not kept" in notice for notice in notices), f"notices: {notices}")


def statements(conninfo):
    with psycopg.connect(conninfo, autocommit=True) as connection:
        for part in (mistakes, fetches):
            part(connection)
        limits(connection, conninfo)
        listed(connection, conninfo)
    ids(conninfo)
    late(conninfo)
    print("fine")


try:
    if len(sys.argv) > 2:
        Bank(sys.argv[1], pathlib.Path(sys.argv[2])).run()
    else:
        statements(sys.argv[1])
except Wrong as wrong:
    sys.exit(str(wrong))
