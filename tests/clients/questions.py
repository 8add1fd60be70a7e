"""Questions that every client asks: SQL that Herald, PostgreSQL and DuckDB read alike, with parameters by number.

expected.py has DuckDB answer them over the sinks. A parameter stands once, in the order of its number, so that clients
that write `?` or `:name` can replace it. Questions of dashboards are written with Grafana's macros, which are expanded
as its documentation of the PostgreSQL data source shows, for the time from FROM to TO, in seconds since 1970.
"""

import datetime
import re

QUESTIONS = {
    "whole": (
        "SELECT count(*) AS players, sum(wins) AS wins, sum(points) AS points, min(last_seen) AS least, "
        "max(last_seen) AS most FROM totals",
        [],
    ),
    "nulls": (
        "SELECT count(*) AS n, count(price) AS prices, count(tags) AS tags, count(doc) AS docs FROM every_type",
        [],
    ),
    "best": (
        "SELECT player, wins FROM totals WHERE wins >= $1 ORDER BY wins DESC, player LIMIT $2",
        [("bigint", "2"), ("bigint", "4")],
    ),
    "since": (
        "SELECT player, last_seen FROM totals WHERE last_seen >= $1 AND player <> $2 ORDER BY player",
        [("timestamp with time zone", "2026-01-05 22:30:00+00"), ("text", "o'hara")],
    ),
    "richer": (
        "SELECT player, points FROM totals WHERE points > $1 ORDER BY points DESC, player",
        [("numeric", "500.25")],
    ),
    "of_one": ("SELECT wins, points FROM totals WHERE player = $1", [("text", 'quote"d')]),
    "like": ("SELECT id, name FROM every_type WHERE name LIKE $1 ORDER BY id", [("text", "%é%")]),
    "truth": ("SELECT id FROM every_type WHERE ok = $1 ORDER BY id", [("boolean", True)]),
    "days": (
        "SELECT id, day FROM every_type WHERE day BETWEEN $1 AND $2 ORDER BY id",
        [("date", "1970-01-01"), ("date", "2024-12-31")],
    ),
    "unique": ("SELECT id FROM every_type WHERE uid = $1", [("uuid", "12345678-1234-5678-1234-567812345678")]),
    "doubles": (
        "SELECT id, d FROM every_type WHERE d > $1 AND d < $2 ORDER BY id",
        [("double precision", "-1.5"), ("double precision", "7.25")],
    ),
    "any": ("SELECT id, v FROM big WHERE id = ANY($1) ORDER BY id", [("bigint[]", ["19999", "3", "-1", "70"])]),
    "range": (
        "SELECT id, k, v FROM big WHERE id BETWEEN $1 AND $2 ORDER BY id",
        [("bigint", "9990"), ("bigint", "10010")],
    ),
    "nobody": ("SELECT player, wins FROM totals WHERE wins < 0 ORDER BY player", []),
    "groups": (
        "SELECT k, count(*) AS n, sum(v) AS total, avg(v) AS mean, min(v) AS least, max(v) AS most "
        "FROM big GROUP BY k HAVING count(*) > 1 ORDER BY k",
        [],
    ),
    "joined": ("SELECT t.player, b.k, b.v FROM totals AS t JOIN big AS b ON b.id = t.wins ORDER BY t.player", []),
    "places": ("SELECT player, wins, rank() OVER (ORDER BY wins DESC) AS place FROM totals ORDER BY place, player", []),
    "hours": (
        "WITH hourly AS (SELECT date_trunc('hour', last_seen) AS hour, wins FROM totals) "
        "SELECT hour, sum(wins) AS wins FROM hourly GROUP BY hour ORDER BY hour",
        [],
    ),
    "cases": (
        "SELECT player, CASE WHEN wins > 5 THEN 'many' WHEN wins > 3 THEN 'some' ELSE 'few' END AS much, "
        "coalesce(points, 0) AS points FROM totals ORDER BY player",
        [],
    ),
    "sets": ("SELECT k FROM big WHERE id < 2 UNION SELECT player FROM totals WHERE wins > 4 ORDER BY 1", []),
    "others": ("SELECT player FROM totals WHERE wins NOT IN (SELECT id FROM big WHERE k = 'a') ORDER BY player", []),
}

FROM, TO = 1767641400, 1767656700
DASHBOARDS = {
    "time": (
        "SELECT $__time(last_seen), player AS metric, wins FROM totals WHERE $__timeFilter(last_seen) ORDER BY 1, 2"
    ),
    "epoch": (
        "SELECT $__timeEpoch(last_seen), wins FROM totals "
        "WHERE last_seen > $__timeFrom() AND last_seen < $__timeTo() ORDER BY 1"
    ),
    "group": (
        "SELECT $__timeGroup(last_seen, '30m') AS at, sum(wins) AS wins FROM totals "
        "WHERE $__timeFilter(last_seen) GROUP BY $__timeGroup(last_seen, '30m') ORDER BY 1"
    ),
    "alias": (
        "SELECT $__timeGroupAlias(last_seen, '1h'), player AS metric, max(points) AS points FROM totals "
        "WHERE $__timeFilter(last_seen) GROUP BY 1, 2 ORDER BY 1, 2"
    ),
    "filled": "SELECT $__timeGroupAlias(last_seen, '5m', 0), count(*) AS n FROM totals GROUP BY 1 ORDER BY 1",
    "unix": (
        "SELECT $__unixEpochGroupAlias(v, '1d'), count(*) AS n FROM big "
        "WHERE $__unixEpochFilter(v + 1767000000) GROUP BY 1 ORDER BY 1"
    ),
    "nano": "SELECT count(*) AS n FROM big WHERE $__unixEpochNanoFilter((v + 1767000000) * 1000000000)",
    "list": "SELECT DISTINCT player AS __text, player AS __value FROM totals ORDER BY 1",
    "chosen": "SELECT k, avg(v) AS mean FROM big WHERE k IN ('a','c') GROUP BY k ORDER BY k",
    "table": "SELECT player, wins, points, last_seen FROM totals ORDER BY last_seen DESC LIMIT 5",
}

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def stamp(seconds):
    """A time as Grafana writes it."""
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def expand(sql):
    """SQL with Grafana's macros as it is sent."""
    return re.sub(r"\$__(\w+)\(((?:[^()]|\([^()]*\))*)\)", macro, sql)


def macro(found):
    name, arguments = found.group(1), [part.strip() for part in found.group(2).split(",")]
    column = arguments[0]
    if name.endswith("Alias"):
        return f'{grouped(name[: -len("Alias")], arguments)} AS "time"'
    if name.endswith("Group"):
        return grouped(name, arguments)
    return {
        "time": f'{column} AS "time"',
        "timeEpoch": f'extract(epoch from {column}) as "time"',
        "timeFilter": f"{column} BETWEEN '{stamp(FROM)}' AND '{stamp(TO)}'",
        "timeFrom": f"'{stamp(FROM)}'",
        "timeTo": f"'{stamp(TO)}'",
        "unixEpochFilter": f"{column} >= {FROM} AND {column} <= {TO}",
        "unixEpochNanoFilter": f"{column} >= {FROM}000000000 AND {column} <= {TO}000000000",
    }[name]


def grouped(name, arguments):
    column, length = arguments[0], arguments[1].strip("'")
    seconds = int(length[:-1]) * SECONDS[length[-1]]
    inner = f"extract(epoch from {column})" if name == "timeGroup" else f"({column})"
    return f"floor({inner}/{seconds})*{seconds}"
