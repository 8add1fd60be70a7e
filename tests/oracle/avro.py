"""Avro's binary encoding in plain Python, by a schema in its JSON form.

Independent of the engine under test. It knows what the schemas of the tests use: records, arrays,
unions, the primitive types, and the logical types uuid, date and timestamp-*. Timestamps are
ISO-8601 strings in Python, in UTC with six digits, as the engine's JSON output has them. A field
that a value lacks is written as its default.
"""

import datetime
import io
import json
import struct

EPOCH = datetime.datetime(1970, 1, 1)
MICROS = {"timestamp-micros": 1, "local-timestamp-micros": 1, "timestamp-millis": 1000, "local-timestamp-millis": 1000}


def iso(micros, zone="Z"):
    return (EPOCH + datetime.timedelta(microseconds=micros)).isoformat(timespec="microseconds") + zone


def micros(text):
    return (datetime.datetime.fromisoformat(text.rstrip("Z")) - EPOCH) // datetime.timedelta(microseconds=1)


def write_long(out, value):
    value = (value << 1) ^ (value >> 63)
    while value > 0x7F:
        out.write(bytes([value & 0x7F | 0x80]))
        value >>= 7
    out.write(bytes([value]))


def read_long(data):
    shift = value = 0
    while True:
        byte = data.read(1)[0]
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1)


def fits(branch, value):
    """True for the branch of a union that a value goes into: of several types only string is told from the others."""
    if value is None or branch == "null":
        return value is None and branch == "null"
    return branch != "string" or isinstance(value, str)


def encode(schema, value, out):
    kind = schema if isinstance(schema, str) else schema["type"] if isinstance(schema, dict) else "union"
    if kind == "record":
        for field in schema["fields"]:
            encode(field["type"], value.get(field["name"], field.get("default")), out)
    elif kind == "array":
        if value:
            write_long(out, len(value))
            for item in value:
                encode(schema["items"], item, out)
        write_long(out, 0)
    elif kind == "union":
        branch = next(i for i, s in enumerate(schema) if fits(s, value))
        write_long(out, branch)
        encode(schema[branch], value, out)
    elif kind in ("int", "long"):
        unit = MICROS.get(schema.get("logicalType")) if isinstance(schema, dict) else None
        write_long(out, micros(value) // unit if unit else value)
    elif kind == "string":
        data = value.encode()
        write_long(out, len(data))
        out.write(data)
    elif kind == "boolean":
        out.write(b"\1" if value else b"\0")
    elif kind == "double":
        out.write(struct.pack("<d", value))
    elif kind != "null":
        raise ValueError(f"cannot encode {schema}")


def decode(schema, data):
    kind = schema if isinstance(schema, str) else schema["type"] if isinstance(schema, dict) else "union"
    if kind == "record":
        return {field["name"]: decode(field["type"], data) for field in schema["fields"]}
    if kind == "array":
        items = []
        while count := read_long(data):
            if count < 0:
                count = -count
                read_long(data)
            items += [decode(schema["items"], data) for _ in range(count)]
        return items
    if kind == "union":
        return decode(schema[read_long(data)], data)
    if kind in ("int", "long"):
        value = read_long(data)
        logical = schema.get("logicalType", "") if isinstance(schema, dict) else ""
        if logical in MICROS:
            return iso(value * MICROS[logical], "" if logical.startswith("local") else "Z")
        return value
    if kind == "string":
        return data.read(read_long(data)).decode()
    if kind == "boolean":
        return data.read(1) == b"\1"
    if kind == "double":
        return struct.unpack("<d", data.read(8))[0]
    if kind == "float":
        return struct.unpack("<f", data.read(4))[0]
    if kind == "null":
        return None
    raise ValueError(f"cannot decode {schema}")


def to_wire(schema_id, schema, value):
    """Confluent's wire format: a zero byte, the schema's id, the datum."""
    out = io.BytesIO()
    out.write(b"\0" + struct.pack(">I", schema_id))
    encode(schema, value, out)
    return out.getvalue()


def from_wire(schema_of, wire):
    """The value of a wire message; `schema_of` gives the parsed schema of an id. Nothing may be left over."""
    if wire[0] != 0:
        raise ValueError("no wire format")
    data = io.BytesIO(wire[5:])
    value = decode(schema_of(struct.unpack(">I", wire[1:5])[0]), data)
    if data.read(1):
        raise ValueError("bytes after the datum")
    return value


def with_definitions(schema, records):
    """The schema with each record's definition in the place of its name; `records` are those read so far."""
    if isinstance(schema, str):
        return records.get(schema, schema)
    if isinstance(schema, list):
        return [with_definitions(branch, records) for branch in schema]
    schema = dict(schema)
    if "items" in schema:
        schema["items"] = with_definitions(schema["items"], records)
    if schema["type"] == "record":
        fields = [{**field, "type": with_definitions(field["type"], records)} for field in schema["fields"]]
        records[schema["name"]] = schema = {**schema, "fields": fields}
    return schema


def load(path):
    with open(path) as file:
        return with_definitions(json.load(file), {})
