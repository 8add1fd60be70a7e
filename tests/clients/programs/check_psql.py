"""psql: its commands that describe, \\copy, cursors by FETCH_COUNT, scripts, and the answers to the questions."""

import csv
import io
import json
import os
import re
import signal
import subprocess
import tempfile
import time

from views import Difference, base, run, same, same_rows, with_literals

NULL = "∅"


def psql(expected, *commands, options=(), fails=False):
    """The output of psql for commands, which have to succeed unless they are to fail."""
    address = f"host={expected.host} port={expected.port} dbname={expected.database} user={expected.user}"
    arguments = ["psql", "-X", "-w", "-v", "ON_ERROR_STOP=1", "-P", f"null={NULL}", *options, address]
    for command in commands:
        arguments += ["-c", command]
    ran = subprocess.run(arguments, capture_output=True, check=False, timeout=120)
    # As bytes, for texts with carriage returns.
    out, err = ran.stdout.decode(), ran.stderr.decode()
    # A list that is empty is told among the errors.
    errors = [line for line in err.splitlines() if not line.startswith("Did not find any")]
    if (ran.returncode != 0) != fails or (errors and not fails):
        raise Difference(f"psql {commands}\n  ended with {ran.returncode}\n{out[-500:]}{err}")
    return err if fails else out


def listed(expected, command):
    """The rows that a command lists, by the headings."""
    said = psql(expected, command, options=["--csv"])
    return list(csv.DictReader(io.StringIO(said)))


def lists(expected):
    """Commands that list databases, schemas, views, indexes, roles, functions, types and settings."""
    kind = {"m": "materialized view", "r": "table"}[expected.shape["kind"]]
    shown, hidden = (r"\dm", r"\dt") if kind != "table" else (r"\dt", r"\dm")
    for command in (r"\d", shown):
        found = {row["Name"]: (row["Schema"], row["Type"]) for row in listed(expected, command)}
        same(
            {name: found.get(name) for name in expected.names()},
            dict.fromkeys(expected.names(), ("public", kind)),
            command,
        )
    for command in (r"\dv", hidden):
        same([row["Name"] for row in listed(expected, command) if row["Name"] in expected.views], [], command)
    same(expected.database in [row["Name"] for row in listed(expected, r"\l")], True, r"\l")
    same({"public", "herald"} <= {row["Name"] for row in listed(expected, r"\dn")}, True, r"\dn")
    same("views" in [row["Name"] for row in listed(expected, r"\dtvm herald.*")], True, r"\dtvm herald.*")
    indexes = {row["Name"]: row["Table"] for row in listed(expected, r"\di")}
    same(indexes.get("totals_by_wins"), "totals", r"\di")
    same(expected.user in [row["Role name"] for row in listed(expected, r"\du")], True, r"\du")
    psql(expected, *MORE)
    said = psql(expected, r"\conninfo")
    same(expected.database in said and expected.user in said, True, f"\\conninfo: {said}")


# Commands that have to succeed, whatever they list.
MORE = [
    r"\d+",
    r"\dm+",
    r"\dv+",
    r"\dt+",
    r"\di+",
    r"\dn+",
    r"\l+",
    r"\du+",
    r"\dg",
    r"\df",
    r"\dT",
    r"\dT+ int8",
    r"\da",
    r"\dp",
    r"\z",
    r"\ds",
    r"\dx",
    r"\dd",
    r"\dD",
    r"\db",
    r"\dE",
    r"\dy",
    r"\dL",
    r"\dX",
    r"\dRp",
    r"\dRs",
    r"\dconfig TimeZone",
    r"\encoding",
    r"\dt herald.*",
    r"\d herald.views",
    r"\d public.*",
    r"\dm tot*",
    r"\errverbose",
]


def describes(expected):
    """\\d and \\d+ of each view: columns, types, keys and indexes."""
    for name in expected.names():
        view = expected.views[name]
        for command in (rf"\d {name}", rf"\d+ {name}", rf"\d public.{name}", rf'\d "{name}"'):
            said = psql(expected, command, options=["-A", "-F", "\t"])
            lines = said.splitlines()
            title = "Materialized view" if view["kind"] == "m" else "Table"
            same(lines[0], f'{title} "public.{name}"', f"title of {command}")
            rows = [line.split("\t") for line in lines[2 : 2 + len(view["columns"])]]
            same([tuple(row[:2]) for row in rows], [tuple(column) for column in view["columns"]], command)
            key = "PRIMARY KEY, btree" if expected.shape["keys"] == "constraint" else "UNIQUE, btree"
            same(f"{key} ({', '.join(view['key'])})" in said, True, f"the key by {command}:\n{said}")
            for index, columns in view["indexes"].items():
                same(f'"{index}" btree ({columns[0]}' in said, True, f"an index by {command}:\n{said}")
        if view["kind"] == "m":
            said = psql(expected, rf"\d+ {name}")
            same(
                bool(re.search(r"View definition:\n.*select", said, re.I | re.S)), True, f"definition by \\d+:\n{said}"
            )
    same("Did not find any relation" in psql(expected, r"\d nothing", fails=True), True, r"\d nothing")


def read(text, kind):
    """A value of psql's text."""
    if text == NULL:
        return None
    if kind.endswith("[]"):
        return [None if item == NULL else read(item, kind[:-2]) for item in items(text)]
    if base(kind) == "jsonb":
        return json.loads(text)
    return text == "t" if kind == "boolean" else text


def items(text):
    """Items of an array's text."""
    found = re.findall(r'"((?:[^"\\]|\\.)*)"|([^,{}]+)', text[1:-1])
    return [
        re.sub(r"\\(.)", r"\1", quoted) if not bare else (NULL if bare == "NULL" else bare) for quoted, bare in found
    ]


def parsed(text, columns):
    """Rows of CSV with a line of headings."""
    lines = list(csv.reader(io.StringIO(text, newline="")))
    same(lines[0], [name for name, _ in columns], "headings")
    return [[read(value, kind) for value, (_, kind) in zip(line or [""], columns)] for line in lines[1:]]


def answers(expected):
    """Whole views and questions, as CSV."""
    for view, sql in expected.whole():
        columns = expected.views[view]["columns"]
        for options in ([], ["-v", "FETCH_COUNT=700"]):
            said = psql(expected, sql, options=["--csv", *options])
            same_rows(parsed(said, columns), expected.views[view]["rows"], columns, f"{view} {options}")
    for name, asked in expected.answers.items():
        said = psql(expected, with_literals(asked["sql"], asked["parameters"]), options=["--csv"])
        same_rows(parsed(said, asked["columns"]), asked["rows"], asked["columns"], name)


def copies(expected):
    """\\copy of a query and of a view, to a file and to the output, as text, CSV and binary."""
    big = expected.views["big"]
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "out")
        same(
            psql(expected, rf"\copy (SELECT * FROM big ORDER BY id) TO '{path}' CSV HEADER"),
            "COPY 20000\n",
            "the tag of \\copy",
        )
        with open(path, encoding="utf-8", newline="") as file:
            same_rows(parsed(file.read(), big["columns"]), big["rows"], big["columns"], "\\copy as CSV")
        psql(expected, rf"\copy (SELECT player, points FROM totals ORDER BY player) TO '{path}'")
        with open(path, encoding="utf-8") as file:
            lines = file.read().splitlines()
        same((lines[4], lines[7]), ("back\\\\slash\t415.44", "tab\\there\t\\N"), "\\copy as text")
        psql(expected, rf"\copy (SELECT id FROM big) TO '{path}' WITH (FORMAT binary)")
        same(os.path.getsize(path), 19 + 20_000 * 14 + 2, "bytes of \\copy as binary")
        if expected.is_herald:
            said = psql(expected, r"\copy totals (player, wins) TO STDOUT WITH (FORMAT csv, FORCE_QUOTE (player))")
            same('"anna",3' in said.splitlines(), True, f"\\copy of a view: {said}")
        said = psql(expected, rf"\copy totals FROM '{path}'", fails=True, options=["-v", "VERBOSITY=sqlstate"])
        same(said.strip(), "ERROR:  25006", "\\copy into a view")


def scripts(expected):
    """Commands within a script: descriptions of answers, variables, repetition, transactions, errors."""
    script = r"""
SELECT player, wins, points, last_seen FROM totals \gdesc
SELECT count(*) AS n, max(wins) AS most FROM totals \gset
\echo :n :most
SELECT k, count(*) FROM big WHERE id < 100 GROUP BY k ORDER BY k \g (format=csv)
SELECT 'SELECT ' || 5 \gexec
\pset format unaligned
BEGIN;
SAVEPOINT a;
\set ON_ERROR_STOP off
SELECT * FROM nothing;
ROLLBACK TO a;
\echo :SQLSTATE :LAST_ERROR_SQLSTATE
SELECT 1 AS one \; SELECT 2 AS two;
COMMIT;
\x
SELECT player FROM totals WHERE wins = 8;
SHOW TimeZone;
EXPLAIN SELECT * FROM big WHERE id = 5;
"""
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as file:
        file.write(script)
        file.flush()
        ran = subprocess.run(
            [
                "psql",
                "-X",
                "-w",
                "-q",
                "-h",
                expected.host,
                "-p",
                str(expected.port),
                "-U",
                expected.user,
                "-f",
                file.name,
                expected.database,
            ],
            capture_output=True,
            check=False,
            timeout=120,
            text=True,
        )
    for part in (
        "numeric",
        "timestamp with time zone",
        "\n9 8\n",
        "a,",
        "00000 42P01",
        "one",
        "two",
        "player|o'hara",
        "TimeZone|UTC",
    ):
        same(part in ran.stdout, True, f"{part!r} in the output of a script:\n{ran.stdout}{ran.stderr}")
    same(ran.stderr.count("ERROR"), 1, f"errors of a script: {ran.stderr}")
    for state, sql in (
        ("42703", "SELECT nothing FROM big"),
        ("25006", "DELETE FROM big"),
        ("42601", "SELECT FROM WHERE"),
    ):
        said = psql(expected, sql, fails=True, options=["-v", "VERBOSITY=sqlstate"])
        same(said.strip(), f"ERROR:  {state}", sql)
    said = psql(expected, "SELECT player,\n nothin FROM totals", fails=True)
    same("LINE 2:  nothin FROM" in said and "\n         ^" in said, True, f"the place of a mistake:\n{said}")


def watches(expected):
    """\\watch, and Ctrl-C while a query runs."""
    address = f"host={expected.host} port={expected.port} dbname={expected.database} user={expected.user}"
    options = ["psql", "-X", "-w", "-A", "-t", address]
    with subprocess.Popen(
        options, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        process.stdin.write("SELECT 'n=' || sum(n) FROM ticks \\watch 0.2\n")
        process.stdin.flush()
        seen = []
        for line in process.stdout:
            if line.startswith("n="):
                seen.append(int(line[2:]))
            if len(seen) == 4:
                break
        process.kill()
        same(
            len(seen) == 4 and seen == sorted(seen) and seen[-1] > seen[0],
            True,
            f"\\watch of a view that grows: {seen}",
        )
    # Its first answer, which it writes out at once, tells that it has a connection and hears Ctrl-C.
    endless = ["-c", "SELECT 'it runs'", "-c", "SELECT count(*) FROM big a, big b, big c WHERE a.v + b.v + c.v < 0"]
    with subprocess.Popen(options + endless, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        first = process.stdout.readline()
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=120)
    same(first.strip(), "it runs", "the answer before an endless query")
    same("canceling statement" in errors, True, f"after Ctrl-C: {errors}")


run([lists, describes, answers, copies, scripts, watches])
