#!/usr/bin/env python3
"""Runs clients of PostgreSQL against a server, one after the other, with a line for each: how it went, and its seconds.

    run.py HOST PORT DATABASE EXPECTED [--all] [--allow-missing] [NAME[.CHECK]...]

Without names all clients that CI has, with --all also dbt, which takes longest; a check is a function of its program.
EXPECTED is a file of expected.py. Ends with 1 if a client found something else than expected, or is missing and that is
not allowed. scripts/clients.sh tells by HERALD_CLIENTS_JDBC, _NODE and _DBT where those clients are; the Python that
runs this has the others.
"""

import argparse
import glob
import os
import shutil
import subprocess
import sys
import time

PROGRAMS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "programs")
# Seconds after which a client hangs: on a machine that is busy with other things the slowest take minutes.
LONGEST = 600
# By name: the modules or programs it needs.
LIGHT = {
    "psql": ["psql"],
    "psycopg": ["import psycopg"],
    "asyncpg": ["import asyncpg"],
    "sqlalchemy": ["import sqlalchemy, pandas"],
    "adbc": ["import adbc_driver_postgresql, pyarrow"],
    "duckdb": ["import duckdb, duckdb_extension_postgres"],
    "pgcli": ["import pgcli"],
    "fdw": ["import psycopg", "postgres"],
    "statements": ["import psycopg"],
    "jdbc": ["java", "HERALD_CLIENTS_JDBC"],
    "node": ["node", "HERALD_CLIENTS_NODE"],
}
HEAVY = {"dbt": ["HERALD_CLIENTS_DBT"]}


def lacks(need):
    """Looks for something that a client needs: a module, a folder or a program. True if it is not there."""
    if need.startswith("import "):
        return subprocess.run([sys.executable, "-c", need], capture_output=True, check=False).returncode != 0
    if need.startswith("HERALD_"):
        return not os.path.exists(os.environ.get(need, ""))
    if need == "postgres":
        return not (shutil.which(need) or glob.glob("/usr/lib/postgresql/*/bin/postgres"))
    return shutil.which(need) is None


def command(name):
    """The command that runs a client's program, but for its arguments."""
    if name == "jdbc":
        options = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx256m"]
        classes = os.path.join(os.environ["HERALD_CLIENTS_JDBC"], "*")
        return ["java", *options, "-cp", classes, os.path.join(PROGRAMS, "CheckJdbc.java")]
    if name == "node":
        return ["node", os.path.join(PROGRAMS, "check_node.js")]
    return [sys.executable, "-B", os.path.join(PROGRAMS, f"check_{name}.py")]


def environment():
    """The environment of the programs: a user, UTC, and nothing of the caller's that would change what clients send."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("PG") or name in ("PGUSER", "PGPASSWORD")
    }
    modules = os.path.join(os.environ.get("HERALD_CLIENTS_NODE", ""), "node_modules")
    return {"PGUSER": "reader", **kept, "TZ": "UTC", "LC_ALL": "C.UTF-8", "NODE_PATH": modules}


def check(name, arguments):
    """Runs one client; gives None, or how it failed."""
    try:
        ran = subprocess.run(
            command(name) + arguments,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=LONGEST,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        return f"not done after {LONGEST} s\n{(late.stdout or b'').decode(errors='replace')}"
    return None if ran.returncode == 0 else ran.stdout.strip() or f"ended with {ran.returncode}"


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("server", nargs=3)
    parser.add_argument("expected")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--allow-missing", action="store_true")
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    known = {**LIGHT, **HEAVY}
    unknown = {name.partition(".")[0] for name in options.names} - set(known)
    if unknown:
        sys.exit(f"no such client: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    failed = 0
    for name in options.names or (known if options.all else LIGHT):
        client, _, only = name.partition(".")
        missing = [need for need in known[client] if lacks(need)]
        begun = time.monotonic()
        fault = None if missing else check(client, [*options.server, options.expected, *filter(None, [only])])
        took = time.monotonic() - begun
        if missing:
            print(f"{name:20} MISSING  it needs {', '.join(missing)}: scripts/clients.sh fetch --all", flush=True)
        else:
            print(f"{name:20} {'FAILED' if fault else 'ok':6} {took:6.1f} s", flush=True)
        if fault:
            print("    " + fault.replace("\n", "\n    "), flush=True)
        failed += bool(fault or missing and not options.allow_missing)
    sys.exit(1 if failed else 0)


main()
