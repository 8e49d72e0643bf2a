#!/usr/bin/env python3
"""Encodes the records of values.jsonl with Apache Avro for Python (pip install avro==1.12.2), and appends
those that python.hex lacks. Bytes are written as a text of their code points, times as milliseconds."""

import datetime
import io
import json
import pathlib

import avro.io
import avro.schema

HERE = pathlib.Path(__file__).parent
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)


def datum(schema, value):
    """The value as the library wants it."""
    if isinstance(schema, avro.schema.UnionSchema):
        if value is None:
            return None
        rest = [s for s in schema.schemas if s.type != "null"]
        return datum(rest[0], value)
    if isinstance(schema, avro.schema.RecordSchema):
        return {f.name: datum(f.type, value[f.name]) for f in schema.fields}
    if schema.type == "array":
        return [datum(schema.items, v) for v in value]
    if schema.type == "map":
        return {k: datum(schema.values, v) for k, v in value.items()}
    if getattr(schema, "logical_type", None) == "timestamp-millis":
        return EPOCH + datetime.timedelta(milliseconds=value)
    if schema.type == "bytes":
        return value.encode("latin-1")
    return value


def encode(line):
    entry = json.loads(line)
    schema = avro.schema.parse((HERE / (entry["schema"] + ".avsc")).read_text())
    out = io.BytesIO()
    avro.io.DatumWriter(schema).write(datum(schema, entry["value"]), avro.io.BinaryEncoder(out))
    return out.getvalue().hex()


path = HERE / "python.hex"
have = len(path.read_text().splitlines()) if path.exists() else 0
lines = (HERE / "values.jsonl").read_text().splitlines()
with path.open("a") as out:
    for line in lines[have:]:
        out.write(encode(line) + "\n")
