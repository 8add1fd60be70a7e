"""Parts that the programs share: the expected content, the forms in which values are compared, and the loop of checks.

A program is called as `check_NAME.py HOST PORT DATABASE EXPECTED [CHECK...]`; the user and the password are PGUSER and
PGPASSWORD. EXPECTED is a file that expected.py has written. A program ends with 1 at the first difference, and says it.

Forms of values in that file, by their type in PostgreSQL:

    boolean, smallint, integer      as in JSON
    real, double precision          a number, or "NaN", "Infinity", "-Infinity"
    bigint, numeric                 text, with the digits behind the point that PostgreSQL shows
    bytea                           text in hex: "\\x00ff"
    interval                        text: months, days and microseconds, as in "2 mons 3 days -00:00:00.5"
    jsonb                           the value itself
    T[]                             a list
    number                          text: any type of numbers, which differ by type between databases
    all others                      the text that PostgreSQL shows in UTC
"""

import datetime
import decimal
import json
import math
import os
import re
import struct
import sys
import traceback
import urllib.parse
import uuid

UTC = datetime.timezone.utc
DAY = 86_400_000_000
UNITS = ("year", "mon", "day")


class Difference(Exception):
    """An answer that is not the expected one."""


class Expected:
    """The server's address, and what its views hold."""

    def __init__(self, host, port, database, path):
        self.host, self.port, self.database = host, int(port), database
        self.user = os.environ.get("PGUSER", "reader")
        self.password = os.environ.get("PGPASSWORD", "")
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
        self.shape = content["shape"]
        self.views = content["views"]
        self.answers = content["answers"]
        self.is_herald = self.shape["server"] == "herald"

    def url(self, scheme):
        """The address as a URL."""
        user, secret = (urllib.parse.quote(text, safe="") for text in (self.user, self.password))
        secret = f":{secret}" if secret else ""
        return f"{scheme}://{user}{secret}@{self.host}:{self.port}/{self.database}"

    def names(self):
        """Names of all views, sorted."""
        return sorted(self.views)

    def kinds(self, view):
        """Types of a view's columns, in their order."""
        return [kind for _, kind in self.views[view]["columns"]]

    def columns(self, view):
        """Names of a view's columns, in their order."""
        return [name for name, _ in self.views[view]["columns"]]

    def value(self, view, column, row):
        """An expected value, in its form."""
        return self.views[view]["rows"][row][self.columns(view).index(column)]

    def whole(self):
        """Views whose content is known, each with a query for its rows in the order of its key."""
        for name in self.names():
            if self.views[name]["rows"] is not None:
                yield name, f"SELECT * FROM {name} ORDER BY {', '.join(self.views[name]['key'])}"


def base(kind):
    """A type without its modifiers: numeric for numeric(10,2)."""
    return re.sub(r"\([^)]*\)", "", kind)


def span(value):
    """An INTERVAL as months, days and microseconds; of a Python timedelta, which knows no months, its microseconds."""
    if isinstance(value, datetime.timedelta):
        return value // datetime.timedelta(microseconds=1)
    if not isinstance(value, str):
        months, days, nanoseconds = value
        return months, days, nanoseconds // 1000
    sums = dict.fromkeys(UNITS, 0)
    for count, unit in re.findall(r"([-+]?\d+) (year|mon|day)", value):
        sums[unit] += int(count)
    micros = 0
    clock = re.search(r"([-+]?)(\d+):(\d+):(\d+)(?:\.(\d+))?", value)
    if clock:
        sign, hours, minutes, seconds, rest = clock.groups()
        micros = ((int(hours) * 60 + int(minutes)) * 60 + int(seconds)) * 1_000_000 + int((rest or "0").ljust(6, "0"))
        micros = -micros if sign == "-" else micros
    return sums["year"] * 12 + sums["mon"], sums["day"], micros


def length(parts):
    """An INTERVAL's length in microseconds, with 30 days as a month."""
    return parts if isinstance(parts, int) else (parts[0] * 30 + parts[1]) * DAY + parts[2]


def floating(value):
    value = float(value)
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value


def single(value):
    value = floating(value)
    return value if isinstance(value, str) else struct.unpack("f", struct.pack("f", value))[0]


def clock(value):
    """A time of day in PostgreSQL's text."""
    text = value.strftime("%H:%M:%S")
    return text + f".{value.microsecond:06}".rstrip("0") if value.microsecond else text


def moment(value):
    """A time in PostgreSQL's text, in UTC if it has a zone."""
    zone = ""
    if value.tzinfo is not None:
        value, zone = value.astimezone(UTC), "+00"
    return f"{value.year:04}-{value.month:02}-{value.day:02} {clock(value)}{zone}"


def within_json(value):
    """A JSON value whose numbers are all floats."""
    if isinstance(value, dict):
        return {name: within_json(item) for name, item in value.items()}
    if isinstance(value, list):
        return [within_json(item) for item in value]
    if isinstance(value, (int, float, decimal.Decimal)) and not isinstance(value, bool):
        return float(value)
    return value


def hexadecimal(value):
    return value if isinstance(value, str) else "\\x" + bytes(value).hex()


def decimals(value):
    return format(decimal.Decimal(str(value)), "f")


def number(value):
    value = decimal.Decimal(str(value))
    return format(value, "f") if value.is_finite() else str(value)


def as_uuid(value):
    return str(uuid.UUID(bytes=value)) if isinstance(value, bytes) else str(value)


FORMS = {
    "boolean": bool,
    "smallint": int,
    "integer": int,
    "bigint": lambda value: str(int(value)),
    "real": single,
    "double precision": floating,
    "numeric": decimals,
    "number": number,
    "text": str,
    "bytea": hexadecimal,
    "date": str,
    "time without time zone": lambda value: value if isinstance(value, str) else clock(value),
    "timestamp without time zone": lambda value: value if isinstance(value, str) else moment(value),
    "timestamp with time zone": lambda value: value if isinstance(value, str) else moment(value),
    "interval": span,
    "uuid": as_uuid,
    "jsonb": within_json,
}


def form(value, kind):
    """A value in the form in which it is compared."""
    if value is None:
        return None
    if kind.endswith("[]"):
        return [form(item, kind[:-2]) for item in value]
    return FORMS[base(kind)](value)


def equal(found, expected, kind):
    """Equality of two forms; numbers of different types agree to twelve digits."""
    if kind == "interval" and (isinstance(found, int) or isinstance(expected, int)):
        return found is not None and expected is not None and length(found) == length(expected)
    if base(kind) != "number" or found is None or expected is None:
        return found == expected
    found, expected = decimal.Decimal(found), decimal.Decimal(expected)
    return abs(found - expected) <= abs(expected) * decimal.Decimal("1e-12")


def same(found, expected, what):
    """Holds a value against the expected one."""
    if found != expected:
        raise Difference(f"{what}\n  found     {found!r}\n  expected  {expected!r}")


def same_value(found, expected, kind, what):
    """Holds a value of a type against the expected form."""
    if not equal(form(found, kind), form(expected, kind), kind):
        same(form(found, kind), form(expected, kind), f"{what} of type {kind}")


def same_rows(found, expected, columns, what):
    """Holds rows against expected ones, in their order. `columns` are pairs of a name and a type."""
    found = [tuple(row) for row in found]
    for place, (row, wanted) in enumerate(zip(found, expected)):
        same(len(row), len(columns), f"{what}: columns of row {place}")
        for value, want, (name, kind) in zip(row, wanted, columns):
            same_value(value, want, kind, f"{what}: row {place} {tuple(wanted)[:1]}, column {name}")
    same(len(found), len(expected), f"{what}: rows")


def same_set(found, expected, columns, what):
    """Holds rows that come in any order against expected ones."""

    def place(row):
        forms = [form(value, kind) for value, (_, kind) in zip(row, columns)]
        near = [
            f"{decimal.Decimal(value):.8e}" if kind == "number" and value else value
            for value, (_, kind) in zip(forms, columns)
        ]
        return json.dumps(near, default=str)

    same_rows(sorted(found, key=place), sorted(expected, key=place), columns, what)


def fails(error, state, statement, run):
    """Asserts that a call fails with an error of this class and SQLSTATE, and gives the error."""
    try:
        run()
    except error as raised:
        same(raised.sqlstate, state, f"SQLSTATE of {statement}: {raised}")
        return raised
    raise Difference(f"{statement}\n  found     an answer\n  expected  an error with SQLSTATE {state}")


def native(kind, text):
    """A parameter's value as Python has it."""
    kind = base(kind)
    if text is None:
        return None
    if kind.endswith("[]"):
        return [native(kind[:-2], item) for item in text]
    readers = {
        "smallint": int,
        "integer": int,
        "bigint": int,
        "real": float,
        "double precision": float,
        "numeric": decimal.Decimal,
        "date": datetime.date.fromisoformat,
        "time without time zone": datetime.time.fromisoformat,
        "timestamp without time zone": datetime.datetime.fromisoformat,
        "timestamp with time zone": datetime.datetime.fromisoformat,
        "interval": lambda value: datetime.timedelta(microseconds=length(span(value))),
        "uuid": uuid.UUID,
        "bytea": lambda value: bytes.fromhex(value[2:]),
    }
    return readers.get(kind, lambda value: value)(text)


def values(parameters):
    """The parameters of a question as Python has them."""
    return [native(kind, text) for kind, text in parameters]


def literal(kind, text):
    """A parameter's value as SQL."""
    if kind.endswith("[]"):
        return "ARRAY[" + ", ".join(literal(kind[:-2], item) for item in text) + "]"
    if base(kind) in ("smallint", "integer", "bigint", "numeric", "boolean"):
        return str(text)
    quoted = str(text).replace("'", "''")
    return f"'{quoted}'" if kind == "text" else f"CAST('{quoted}' AS {kind})"


def with_literals(sql, parameters):
    """A question with its parameters written into it."""
    return re.sub(r"\$(\d+)", lambda found: literal(*parameters[int(found.group(1)) - 1]), sql)


def run(checks):
    """Runs the checks, or those that are named, against the server that the arguments tell."""
    expected, named = Expected(*sys.argv[1:5]), sys.argv[5:]
    for check in checks:
        if named and check.__name__ not in named:
            continue
        try:
            check(expected)
        except Difference as difference:
            sys.exit(f"{check.__name__}: {difference}")
        except Exception:
            sys.exit(f"{check.__name__}: {traceback.format_exc(limit=-6)}")
