"""A client of the bank: reads its views in transactions, over and over, while the topology is killed and started again.

Arguments: the connection string, and a file at whose appearance it stops; beside it, with the extension `amounts`, it
tells how many different amounts it has seen so far. Prints the numbers of transactions and of
sessions. A transaction in which the views disagree, or the epoch moves, ends it with exit code 1.
"""

import pathlib
import sys
import time

import psycopg

# Those of PostgreSQL for a server that is ending, and one that is starting.
AWAY = {"57P01", "57P03"}
AMOUNTS = {
    "balances": "SELECT coalesce(sum(amount), 0) FROM balance",
    "total": "SELECT coalesce(sum(amount), 0) FROM total",
    "credits": "SELECT coalesce(sum(amount), 0) FROM credits",
    "debits": "SELECT coalesce(sum(amount), 0) FROM debits",
}
EPOCH = "SELECT max(epoch) FROM herald.views"


def transaction(connection):
    """Reads all views in one transaction, which must be of one epoch."""
    with connection.transaction():
        begin = connection.execute(EPOCH).fetchone()[0]
        found = {name: int(connection.execute(query).fetchone()[0]) for name, query in AMOUNTS.items()}
        end = connection.execute(EPOCH).fetchone()[0]
    if found["balances"] != 0 or found["total"] != 0 or found["credits"] != found["debits"] or begin != end:
        sys.exit(f"money was made or lost in epochs {begin} to {end}: {found}")
    return found["credits"]


def main(conninfo, stop):
    transactions, sessions, amounts = 0, 0, set()
    told = stop.with_suffix(".amounts")
    while not stop.exists():
        try:
            with psycopg.connect(conninfo, autocommit=True) as connection:
                sessions += 1
                while not stop.exists():
                    amounts.add(transaction(connection))
                    transactions += 1
                    # Put in place at once: the test reads it while it changes.
                    told.with_suffix(".new").write_text(str(len(amounts)))
                    told.with_suffix(".new").rename(told)
        except psycopg.Error as error:
            # A connection that broke has no code.
            if error.sqlstate is not None and error.sqlstate not in AWAY:
                sys.exit(f"{error.sqlstate}: {error}")
            time.sleep(0.02)
    print(f"{transactions} transactions, {sessions} sessions, {len(amounts)} amounts")


main(sys.argv[1], pathlib.Path(sys.argv[2]))
