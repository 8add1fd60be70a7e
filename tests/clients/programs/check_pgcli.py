"""pgcli: the names that it completes, and commands from its command line and from a pipe."""

import os
import subprocess
import sys
import tempfile

from pgcli.completion_refresher import CompletionRefresher
from pgcli.pgcompleter import PGCompleter
from pgcli.pgexecute import PGExecute
from pgspecial.main import PGSpecial
from prompt_toolkit.document import Document

from views import Difference, run, same, same_rows, with_literals

PGCLI = [sys.executable, "-m", "pgcli", "--less-chatty", "--no-password", "--row-limit", "0"]


def executor(expected):
    return PGExecute(expected.database, expected.user, expected.password, expected.host, str(expected.port))


def completes(expected):
    """Every look-up of its completion, and what it offers for the beginning of a query."""
    pgexecute = executor(expected)
    completer = PGCompleter(smart_completion=True, pgspecial=PGSpecial(), settings={})
    for refresher in CompletionRefresher.refreshers.values():
        refresher(completer, pgexecute)
    relations = completer.dbmetadata["tables"]["public"] | completer.dbmetadata["views"]["public"]
    same(sorted(set(relations) & set(expected.names())), expected.names(), "relations")
    for name in expected.names():
        same(list(relations[name]), expected.columns(name), f"columns of {name}")
    same(expected.database in completer.databases, True, "databases")
    same(completer.search_path[-1], "public", "search path")
    for text, wanted in (
        ("SELECT * FROM tot", "totals"),
        ("SELECT * FROM totals WHERE last", "last_seen"),
        ("SELECT * FROM herald.vi", "views"),
    ):
        offered = [completion.text for completion in completer.get_completions(Document(text, len(text)), None)]
        same(wanted in offered, True, f"{wanted} offered for {text!r} among {offered[:5]}")
    same(pgexecute.get_timezone(), "UTC", "time zone")
    if expected.shape["kind"] == "m":
        same(
            pgexecute.view_definition("totals").startswith("CREATE OR REPLACE MATERIALIZED VIEW"),
            True,
            "a view's definition",
        )
    pgexecute.conn.close()


def answers(expected):
    """Answers to the questions, as pgcli's own cursor reads them."""
    pgexecute = executor(expected)
    for name, asked in expected.answers.items():
        ((_, rows, headers, _, *_),) = pgexecute.run(with_literals(asked["sql"], asked["parameters"]))
        same(headers, [column for column, _ in asked["columns"]], f"columns of {name}")
        same_rows(list(rows), asked["rows"], asked["columns"], name)
    pgexecute.conn.close()


def pgcli(expected, *arguments, said=None):
    """The output of pgcli, with a folder of its own for its settings."""
    with tempfile.TemporaryDirectory() as home:
        address = ["-h", expected.host, "-p", str(expected.port), "-U", expected.user, "-d", expected.database]
        ran = subprocess.run(
            [*PGCLI, *address, *arguments],
            input=said,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env={**os.environ, "HOME": home, "XDG_CONFIG_HOME": home, "PAGER": "cat", "TERM": "dumb"},
        )
    if ran.returncode != 0 or "Traceback" in ran.stderr:
        raise Difference(f"pgcli {arguments} ended with {ran.returncode}\n{ran.stdout[-800:]}{ran.stderr[-800:]}")
    return ran.stdout


def commands(expected):
    """Queries and commands that describe."""
    kind = {"m": "materialized view", "r": "table"}[expected.shape["kind"]]
    said = pgcli(expected, "-c", r"\d", "-c", r"\dn", "-c", r"\d totals")
    for part in ("every_type", kind, "herald", "last_seen", "timestamp with time zone", "totals_by_wins"):
        same(part in said, True, f"{part!r} in what pgcli lists:\n{said}")
    said = pgcli(expected, "-c", "SELECT player, wins FROM totals WHERE wins > 4 ORDER BY wins DESC, player")
    same(["o'hara" in said, "| 8" in said, "Björn" in said], [True] * 3, f"rows of pgcli:\n{said}")
    same(expected.database in pgcli(expected, "--list"), True, "--list")
    pgcli(expected, "--ping")


def pipes(expected):
    """Statements from a pipe, of which one is a mistake."""
    said = pgcli(
        expected,
        said="SELECT count(*) AS size FROM big;\nSELECT nothing FROM big;\n\\dm\nSELECT 40 + 2 AS answer;\n\\q\n",
    )
    for part in ("size", "20000", "42"):
        same(part in said, True, f"{part!r} in what pgcli says:\n{said}")


run([completes, answers, commands, pipes])
