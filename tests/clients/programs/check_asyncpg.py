"""asyncpg: prepared statements in binary, types as it looks them up, cursors, COPY, pools, time limits, errors."""

import asyncio
import io
import json
import time

import asyncpg
from asyncpg import introspection

from views import base, form, native, run, same, same_rows, same_value, values

ENDLESS = "SELECT count(*) AS n FROM big AS a CROSS JOIN big AS b CROSS JOIN big AS c WHERE a.v + b.v + c.v < 0"


def connect(expected, **options):
    return asyncpg.connect(
        host=expected.host,
        port=expected.port,
        database=expected.database,
        user=expected.user,
        password=expected.password or None,
        **options,
    )


async def decoding(connection):
    """Has asyncpg read jsonb itself, by a codec that it registers by the type's name."""
    await connection.set_type_codec("jsonb", schema="pg_catalog", encoder=json.dumps, decoder=json.loads)


async def session_of(expected):
    connection = await connect(expected, server_settings={"application_name": "check_asyncpg", "jit": "off"})
    same(connection.get_server_version() >= (14, 0), True, "server version of 14 or above")
    same(await connection.fetchval("SHOW application_name"), "check_asyncpg", "application_name")
    same(await connection.fetchval("SELECT current_setting('jit')"), "off", "jit")
    settings = connection.get_settings()
    same((settings.TimeZone, settings.server_encoding), ("UTC", "UTF8"), "settings")
    await connection.reload_schema_state()
    await connection.close()


async def rows_of(expected):
    connection = await connect(expected)
    await decoding(connection)
    for view, sql in expected.whole():
        columns = expected.views[view]["columns"]
        statement = await connection.prepare(sql)
        found = [(attribute.name, attribute.type.name) for attribute in statement.get_attributes()]
        same(found, [(name, SHORT.get(base(kind), base(kind))) for name, kind in columns], f"attributes of {view}")
        records = await statement.fetch()
        same_rows([tuple(record) for record in records], expected.views[view]["rows"], columns, view)
        same(list(records[0].keys()), [name for name, _ in columns], f"columns of {view}")
    await connection.close()


# Names of types in pg_type; an array's begins with _, but asyncpg writes [] behind.
SHORT = {
    "boolean": "bool",
    "smallint": "int2",
    "integer": "int4",
    "bigint": "int8",
    "real": "float4",
    "double precision": "float8",
    "time without time zone": "time",
    "timestamp without time zone": "timestamp",
    "timestamp with time zone": "timestamptz",
    "timestamp with time zone[]": "timestamptz[]",
    "bigint[]": "int8[]",
}


async def questions_of(expected):
    connection = await connect(expected)
    for name, asked in expected.answers.items():
        statement = await connection.prepare(asked["sql"])
        same(len(statement.get_parameters()), len(asked["parameters"]), f"parameters of {name}")
        kinds = [SHORT.get(kind, kind) for kind, _ in asked["parameters"]]
        same([parameter.name for parameter in statement.get_parameters()], kinds, f"types of the parameters of {name}")
        for _ in range(2):
            records = await statement.fetch(*values(asked["parameters"]))
            same_rows([tuple(record) for record in records], asked["rows"], asked["columns"], name)
    found = await connection.fetchrow("SELECT count(*), max(id) FROM big")
    same(dict(found), {"count": 20_000, "max": 19_999}, "names of columns without AS")
    await connection.close()


async def parameters_of(expected):
    connection = await connect(expected)
    await decoding(connection)
    for row in expected.views["every_type"]["rows"]:
        for (name, kind), text in zip(expected.views["every_type"]["columns"], row):
            value = text if kind == "jsonb" else native(kind, text)
            found = await connection.fetchval(f"SELECT $1::{kind}", value)
            same_value(found, text, kind, f"{name} that comes back")
            if kind in ("real", "double precision", "jsonb") or kind.endswith("[]") or form(text, kind) is None:
                continue
            found = await connection.fetch(
                f"SELECT id FROM every_type WHERE {name} = $1 AND id = $2", value, int(row[0])
            )
            same([tuple(record) for record in found], [(int(row[0]),)], f"{name} = {text!r}")
    found = await connection.fetch("SELECT id FROM big WHERE id = ANY($1::int[]) ORDER BY id", [9, 4])
    same([record["id"] for record in found], [4, 9], "ANY of an array of integers")
    await connection.close()


async def types_of(expected):
    """The statements by which asyncpg asks for types that it does not know."""
    connection = await connect(expected)
    for intro in (introspection.INTRO_LOOKUP_TYPES, introspection.INTRO_LOOKUP_TYPES_13):
        found = await connection.fetch(intro, [3802, 1016])
        names = {record["oid"]: (record["ns"], record["name"], record["kind"]) for record in found}
        same(names[3802], ("pg_catalog", "jsonb", b"b"), "jsonb among the types")
        same(names[20], ("pg_catalog", "int8", b"b"), "the type of an array's items")
    found = await connection.fetchrow(introspection.TYPE_BY_NAME, "timestamptz", "pg_catalog")
    same((found["oid"], found["kind"]), (1184, b"b"), "a type by its name")
    await connection.close()


async def cursors_of(expected):
    big = expected.views["big"]
    connection = await connect(expected)
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        found = [tuple(record) async for record in connection.cursor("SELECT * FROM big ORDER BY id", prefetch=333)]
        same_rows(found, big["rows"], big["columns"], "a cursor with prefetch")
        cursor = await connection.cursor("SELECT id FROM big WHERE id >= $1 ORDER BY id", 100)
        same([record["id"] for record in await cursor.fetch(3)], [100, 101, 102], "fetch")
        await cursor.forward(10)
        same((await cursor.fetchrow())["id"], 113, "after forward")
        async with connection.transaction():
            same(await connection.fetchval("SELECT count(*) FROM totals"), 9, "within a savepoint")
    await connection.close()


async def copies_of(expected):
    connection = await connect(expected)
    out = io.BytesIO()
    said = await connection.copy_from_query(
        "SELECT player, wins FROM totals WHERE wins > $1 ORDER BY player", 4, output=out
    )
    same(said.split()[0], "COPY", "the tag of COPY")
    text = 'player,wins\n"",7\nBjörn,5\nback\\slash,5\no\'hara,8\n'
    await connection.copy_from_query(
        "SELECT player, wins FROM totals WHERE wins > $1 ORDER BY player",
        4,
        output=(out := io.BytesIO()),
        format="csv",
        header=True,
    )
    same(out.getvalue().decode(), text, "COPY as CSV")
    if expected.is_herald:
        await connection.copy_from_table("big", output=(out := io.BytesIO()), columns=["id", "v"], format="binary")
        same(
            (out.getvalue()[:11], len(out.getvalue())), (b"PGCOPY\n\xff\r\n\0", 19 + 20_000 * 26 + 2), "COPY in binary"
        )
    await connection.close()


async def pools_of(expected):
    """Connections that are taken, used and given back, which asks the server to reset each."""
    async with asyncpg.create_pool(
        host=expected.host,
        port=expected.port,
        database=expected.database,
        user=expected.user,
        password=expected.password or None,
        min_size=2,
        max_size=4,
    ) as pool:

        async def ask(n):
            async with pool.acquire() as connection:
                await connection.execute(f"SET application_name = 'pool {n}'")
                return await connection.fetchval("SELECT v FROM big WHERE id = $1", n)

        found = await asyncio.gather(*[ask(n) for n in range(30)])
        same(found, [int(row[2]) for row in expected.views["big"]["rows"][:30]], "answers of a pool")
        same(await pool.fetchval("SHOW application_name"), "", "a setting after the reset")


async def raised(call):
    try:
        await call
    except (asyncpg.PostgresError, asyncio.TimeoutError) as error:
        return error
    return None


async def errors_of(expected):
    connection = await connect(expected)
    for state, sql in [
        ("42P01", "SELECT * FROM nothing"),
        ("42703", "SELECT nothing FROM totals"),
        ("42601", "SELECT FROM WHERE"),
        ("22012", "SELECT 1 / 0"),
        ("25006", "DELETE FROM totals"),
    ]:
        for call in (connection.fetch, connection.execute):
            error = await raised(call(sql))
            same(getattr(error, "sqlstate", error), state, sql)
    begun = time.monotonic()
    error = await raised(connection.fetch(ENDLESS, timeout=0.5))
    same(type(error), asyncio.TimeoutError, "a time limit of the client")
    same(time.monotonic() - begun < 60, True, "the query is cancelled in time")
    same(await connection.fetchval("SELECT 1"), 1, "after a cancel")
    await connection.execute("SET statement_timeout = 300")
    same(getattr(await raised(connection.fetch(ENDLESS)), "sqlstate", None), "57014", "statement_timeout")
    await connection.close()


def called(check):
    """A check that runs its own loop of events."""

    def plain(expected):
        asyncio.run(check(expected))

    plain.__name__ = check.__name__.removesuffix("_of")
    return plain


run(
    [
        called(check)
        for check in (
            session_of,
            rows_of,
            questions_of,
            parameters_of,
            types_of,
            cursors_of,
            copies_of,
            pools_of,
            errors_of,
        )
    ]
)
