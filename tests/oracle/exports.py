"""Reads exports in Parquet as an analyst does, with DuckDB, pyarrow and pandas, and compares them with views.

    scripts/clients.sh python tests/oracle/exports.py < QUESTION

QUESTION is JSON: {"exports": [EXPORT, ...], "s3": "HOST:PORT", "httpfs": FILE}; the last two are for paths that begin with
s3://, where FILE is DuckDB's extension. An EXPORT has

    path      the sink's path
    mode      append, changes or current
    columns   [[NAME, TYPE], ...] of the view, with Herald's types, in the order of the view
    key       names of the key's columns; of mode changes alone
    rows      the rows that `herald query --format json` gives
    dates     {NAME: COLUMN}: a column NAME of the folders that has the day of COLUMN in UTC
    folders   names of the columns that stand in the folders' names alone

The answer is JSON: {"differences": [TEXT, ...], "files": [[FILE, ...] of each export]}, where a FILE has path, first and
last epoch, rows and bytes, as the manifests name it. Values are compared exactly, types as TYPES tells, rows as a multiset.
A key has at most one change an epoch. The manifests name every file that is there, with its rows and bytes, and no other;
in each folder, and among manifests, epochs ascend without a common one.
"""

import base64
import datetime
import decimal
import json
import math
import struct
import sys
import uuid

import duckdb
import pandas
import pyarrow
import pyarrow.dataset
import pyarrow.fs
import pyarrow.parquet

UTC = datetime.timezone.utc
# Herald's types, as DuckDB and as pyarrow show those of the files.
TYPES = {
    "BOOLEAN": ("BOOLEAN", pyarrow.bool_()),
    "SMALLINT": ("SMALLINT", pyarrow.int16()),
    "INT": ("INTEGER", pyarrow.int32()),
    "BIGINT": ("BIGINT", pyarrow.int64()),
    "REAL": ("FLOAT", pyarrow.float32()),
    "DOUBLE": ("DOUBLE", pyarrow.float64()),
    "VARCHAR": ("VARCHAR", pyarrow.string()),
    "BYTEA": ("BLOB", pyarrow.binary()),
    "DATE": ("DATE", pyarrow.date32()),
    "TIME": ("TIME", pyarrow.time64("us")),
    "TIMESTAMP": ("TIMESTAMP", pyarrow.timestamp("us")),
    "TIMESTAMPTZ": ("TIMESTAMP WITH TIME ZONE", pyarrow.timestamp("us", "UTC")),
    "INTERVAL": ("VARCHAR", pyarrow.string()),
    "UUID": ("UUID", pyarrow.uuid()),
    "JSONB": ("VARCHAR", pyarrow.string()),
}


def split(text):
    """The parts of a text between commas that stand in no brackets."""
    parts, depth, start = [], 0, 0
    for at, char in enumerate(text + ","):
        depth += char in "<(" or -(char in ">)")
        if char == "," and depth == 0:
            parts.append(text[start:at].strip())
            start = at + 1
    return parts


def fields(kind):
    """Names and types of a STRUCT's fields."""
    return [part.split(" ", 1) for part in split(kind[len("STRUCT<") : -1])]


def digits(kind):
    """Precision and scale of a DECIMAL."""
    return [int(part) for part in split(kind[len("DECIMAL(") : -1])]


def in_duckdb(kind):
    """A type as DuckDB spells it, without the quotes of words that are reserved."""
    if kind.endswith("[]"):
        return in_duckdb(kind[:-2]) + "[]"
    if kind.startswith("STRUCT<"):
        return "STRUCT(" + ", ".join(f"{name} {in_duckdb(inner)}" for name, inner in fields(kind)) + ")"
    return "DECIMAL({},{})".format(*digits(kind)) if kind.startswith("DECIMAL(") else TYPES[kind][0]


def is_arrow(found, kind):
    """Whether a type of Arrow is that of a type of Herald's, whatever lists name their items."""
    if kind.endswith("[]"):
        return pyarrow.types.is_list(found) and is_arrow(found.value_type, kind[:-2])
    if kind.startswith("STRUCT<"):
        inner = fields(kind)
        return (
            pyarrow.types.is_struct(found)
            and [field.name for field in found] == [name for name, _ in inner]
            and all(is_arrow(field.type, wanted) for field, (_, wanted) in zip(found, inner))
        )
    if kind.startswith("DECIMAL("):
        return found == pyarrow.decimal128(*digits(kind))
    if kind == "UUID":
        return found in (pyarrow.uuid(), pyarrow.binary(16))
    return found == TYPES[kind][1]


def floating(value, kind):
    """A number as text that is the same for the same bits; all NaN are one."""
    if math.isnan(value):
        return "NaN"
    return struct.pack(">f" if kind == "REAL" else ">d", value).hex()


def moment(text):
    """A time of an answer: in UTC if it has a zone."""
    value = datetime.datetime.fromisoformat(text)
    return value.astimezone(UTC) if value.tzinfo else value


def expected(value, kind):
    """A value of an answer of Herald's, in the form that is compared."""
    if value is None:
        return None
    if kind.endswith("[]"):
        return [expected(item, kind[:-2]) for item in value]
    if kind.startswith("STRUCT<"):
        return {name: expected(value[name], inner) for name, inner in fields(kind)}
    if kind in ("REAL", "DOUBLE"):
        return floating(float(value), kind)
    if kind.startswith("DECIMAL("):
        return decimal.Decimal(value)
    if kind == "JSONB":
        return value
    read = {
        "BYTEA": base64.b64decode,
        "DATE": datetime.date.fromisoformat,
        "TIME": datetime.time.fromisoformat,
        "TIMESTAMP": moment,
        "TIMESTAMPTZ": moment,
        "UUID": uuid.UUID,
    }
    return read[kind](value) if kind in read else value


def is_missing(value):
    return value is None or value is pandas.NA or value is pandas.NaT


def number(text):
    """A whole number of JSON; one beyond 64 bits as a double, as the answers come here."""
    value = int(text)
    return value if -(2**63) <= value < 2**64 else float(text)


def found(value, kind):
    """A value that a reader gave, in the form that is compared."""
    if is_missing(value):
        return None
    if kind.endswith("[]"):
        return [found(item, kind[:-2]) for item in value]
    if kind.startswith("STRUCT<"):
        return {name: found(value[name], inner) for name, inner in fields(kind)}
    if kind in ("REAL", "DOUBLE"):
        return floating(float(value), kind)
    if kind in ("SMALLINT", "INT", "BIGINT"):
        return int(value)
    if kind == "BOOLEAN":
        return bool(value)
    if kind == "JSONB":
        return json.loads(value, parse_int=number)
    if kind == "UUID" and isinstance(value, bytes):
        return uuid.UUID(bytes=value)
    if kind in ("TIMESTAMP", "TIMESTAMPTZ"):
        value = value.to_pydatetime() if isinstance(value, pandas.Timestamp) else value
        return value.astimezone(UTC) if value.tzinfo else value
    if kind == "DATE" and isinstance(value, datetime.datetime):
        return value.date()
    return bytes(value) if kind == "BYTEA" else value


class Place:
    """The folder that holds the files of an export, on a disk or in a store."""

    def __init__(self, export, store):
        self.export = export
        self.remote = export["path"].startswith("s3://")
        self.store = store if self.remote else pyarrow.fs.LocalFileSystem()
        self.root = export["path"].removeprefix("s3://").rstrip("/")
        self.below = self.find()

    def find(self):
        if self.export["mode"] != "current":
            return f"{self.root}/{'data' if self.export['mode'] == 'append' else 'changes'}"
        return f"{self.root}/{self.read('latest.json')['path'].strip('/')}"

    def read(self, path):
        """The JSON of a file below the export's path."""
        with self.store.open_input_stream(f"{self.root}/{path}") as file:
            return json.loads(file.read())

    def files(self):
        """All files below the export's path, by their paths there, with their bytes."""
        listed = self.store.get_file_info(pyarrow.fs.FileSelector(self.root, recursive=True))
        files = {info.path[len(self.root) + 1 :]: info.size for info in listed if info.type == pyarrow.fs.FileType.File}
        return dict(sorted(files.items()))

    def manifests(self):
        """All manifests, oldest first."""
        return [self.read(path) for path in self.files() if path.startswith("_manifests/")]

    def named(self):
        """Files that the manifests name and do not replace, in the order of their epochs; of mode current the newest copy."""
        manifests = self.manifests()
        if self.export["mode"] == "current":
            last = manifests[-1]
            return [{**file, "first": last["first"], "last": last["last"]} for file in last["files"]]
        gone = {path for manifest in manifests for path in manifest["replaces"]}
        files = []
        for manifest in manifests:
            for file in manifest["files"]:
                first, last = (int(part) for part in file["path"].removesuffix(".parquet").split("-")[-2:])
                if file["path"] not in gone:
                    files.append({**file, "first": first, "last": last})
        return files

    def pattern(self):
        """The files as DuckDB names them."""
        return ("s3://" if self.remote else "") + self.below + "/**/*.parquet"


def connect(question):
    """DuckDB, with access to the store if there is one."""
    connection = duckdb.connect(":memory:", config={"threads": 1, "allow_unsigned_extensions": "true"})
    connection.execute("SET TimeZone = 'UTC'")
    if question.get("s3"):
        connection.execute(f"LOAD '{question['httpfs']}'")
        connection.execute(
            f"CREATE SECRET (TYPE s3, KEY_ID 'test', SECRET 'test', REGION 'us-east-1', ENDPOINT '{question['s3']}', "
            "URL_STYLE 'path', USE_SSL false)"
        )
    return connection


def by_duckdb(place, connection):
    """Names, types and rows of DuckDB; the last change of each key by a window function."""
    hive = "true" if place.export["mode"] == "append" else "false"
    sql = f"SELECT * FROM read_parquet('{place.pattern()}', hive_partitioning = {hive})"
    if place.export["mode"] == "changes":
        key = ", ".join(f'"{name}"' for name in place.export["key"])
        sql = (
            f"SELECT * EXCLUDE (op, epoch) FROM ({sql}) "
            f"QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY epoch DESC) = 1 AND op <> 'delete'"
        )
    cursor = connection.execute(sql)
    kinds = {name: str(kind) for name, kind, *_ in cursor.description}
    rows = [dict(zip(kinds, row)) for row in cursor.fetchall()]
    # Python's cursor knows no JSON: DESCRIBE does.
    kinds = {name: kind for name, kind, *_ in connection.execute(f"DESCRIBE {sql}").fetchall()}
    return kinds, rows


def by_pyarrow(place, _connection):
    """Names, types and rows of pyarrow; the last change of each key in the order of the epochs."""
    partitioning = "hive" if place.export["mode"] == "append" else None
    data = pyarrow.dataset.dataset(place.below, filesystem=place.store, partitioning=partitioning)
    table = data.to_table()
    if place.export["mode"] != "changes":
        return table.schema, table.to_pylist()
    held = {}
    for row in table.sort_by("epoch").to_pylist():
        op, _ = row.pop("op"), row.pop("epoch")
        key = tuple(row[name] for name in place.export["key"])
        if op == "delete":
            held.pop(key, None)
        else:
            held[key] = row
    return table.schema, list(held.values())


def by_pandas(place, _connection):
    """Rows of pandas, with Arrow's types: NumPy's have no integer beside a NULL."""
    frame = pandas.read_parquet(place.below, dtype_backend="pyarrow", filesystem=place.store if place.remote else None)
    if place.export["mode"] == "changes":
        frame = frame.sort_values("epoch").drop_duplicates(place.export["key"], keep="last")
        frame = frame[frame["op"] != "delete"].drop(columns=["op", "epoch"])
    columns = {name: frame[name].tolist() for name in frame.columns}
    rows = [{name: values[at] for name, values in columns.items()} for at in range(len(frame))]
    return None, rows


READERS = {"duckdb": by_duckdb, "pyarrow": by_pyarrow, "pandas": by_pandas}


def types_that_differ(reader, kinds, export):
    """Lines on types of columns; those in the names of folders are texts, or what a reader makes of them."""
    for name, kind in export["columns"]:
        if kinds is None or name in export.get("folders", []):
            continue
        if reader == "duckdb" and kinds.get(name, "").replace('"', "") != in_duckdb(kind):
            yield f"column {name} is {kinds.get(name)}, not {in_duckdb(kind)}"
        if reader == "pyarrow" and not is_arrow(kinds.field(name).type, kind):
            yield f"column {name} is {kinds.field(name).type}, which {kind} is not"


def comparable(row, export, convert):
    """A row as text, which stands for its values and their Python types."""
    return repr([convert(row[name], kind) for name, kind in export["columns"]])


def files_that_differ(place, named):
    """Lines on files that are there and not named, or named and not there, or otherwise than they are named."""
    there, manifests = place.files(), place.manifests()
    content = {path: size for path, size in there.items() if not path.startswith("_manifests/")}
    content.pop("latest.json", None)
    wanted = {file["path"]: file["bytes"] for file in named}
    if place.export["mode"] == "current":
        # The copy before is left to those who are reading it.
        wanted = {file["path"]: file["bytes"] for manifest in manifests for file in manifest["files"]}
        newest, told = manifests[-1], place.read("latest.json")
        if (told["epoch"], told["rows"]) != (newest["last"], newest["rows"]):
            yield f"latest.json tells {told}, the newest manifest {newest}"
    if content != wanted or len(wanted) < len(named):
        yield f"its files are {content}, the manifests name {named}"
        return
    for file in named:
        with place.store.open_input_file(f"{place.root}/{file['path']}") as content:
            rows = pyarrow.parquet.ParquetFile(content).metadata.num_rows
        if rows != file["rows"]:
            yield f"{file['path']} has {rows} rows, its manifest tells {file['rows']}"
    ends = {}
    for file in named if place.export["mode"] != "current" else []:
        folder = file["path"].rpartition("/")[0]
        if file["first"] <= ends.get(folder, -1) or file["last"] < file["first"]:
            yield f"the epochs of {file['path']} do not follow those of the file before"
        ends[folder] = file["last"]
    end = -1
    for manifest in manifests:
        if manifest["first"] <= end or manifest["last"] < manifest["first"]:
            yield f"the manifest of epochs {manifest['first']} to {manifest['last']} stands behind {end}"
        end = manifest["last"]


def changes_that_repeat(place):
    """Lines on keys with more than one change in an epoch."""
    table = pyarrow.dataset.dataset(place.below, filesystem=place.store).to_table()
    names = [*place.export["key"], "epoch"]
    seen = set()
    for row in table.select(names).to_pylist():
        change = tuple(row[name] for name in names)
        if change in seen:
            yield f"two changes of {dict(zip(names, change))}"
        seen.add(change)


def rows_that_differ(rows, export):
    """Lines on columns of the rows, on rows that are missing, and on rows that nobody expects."""
    names = [name for name, _ in export["columns"]]
    wanted_names = set(names) | set(export.get("dates", {}))
    for row in rows[:1]:
        if set(row) != wanted_names:
            yield f"it has the columns {sorted(row)}, not {sorted(wanted_names)}"
            return
    have = sorted(comparable(row, export, found) for row in rows)
    want = sorted(comparable(row, export, expected) for row in export["rows"])
    if have != want:
        yield f"it has {len(have)} rows, {len(want)} are expected"
        for word, some, others in (("missing", want, have), ("unexpected", have, want)):
            lacking = set(others)
            for text in [text for text in some if text not in lacking][:3]:
                yield f"{word}: {text}"
    for row in rows:
        for folder, column in export.get("dates", {}).items():
            if str(row[folder])[:10] != str(found(row[column], "TIMESTAMPTZ").date()):
                yield f"{column} {row[column]} stands in the folder of {row[folder]}"
                return


def differences(question, files):
    """Lines on all exports and readers; the files of each export are appended to a list."""
    store = None
    if question.get("s3"):
        store = pyarrow.fs.S3FileSystem(
            access_key="test", secret_key="test", region="us-east-1", endpoint_override=question["s3"], scheme="http"
        )
    connection = connect(question)
    for export in question["exports"]:
        place = Place(export, store)
        files.append(place.named())
        lines = list(files_that_differ(place, files[-1]))
        # A file that nobody names would make readers fail, or find more rows.
        for reader, read in READERS.items() if not lines else []:
            kinds, rows = read(place, connection)
            found_by = [*types_that_differ(reader, kinds, export), *rows_that_differ(rows, export)]
            lines += [f"by {reader}: {line}" for line in found_by]
        if export["mode"] == "changes":
            lines += changes_that_repeat(place)
        yield from (f"{export['path']} ({export['mode']}): {line}" for line in lines)


def main():
    files = []
    found_lines = list(differences(json.load(sys.stdin), files))
    json.dump({"differences": found_lines, "files": files}, sys.stdout)


main()
