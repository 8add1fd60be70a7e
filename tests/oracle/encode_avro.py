"""Encodes rows in Confluent's wire format: encode_avro.py SCHEMA ID < JSON lines; prints base64 lines."""

import base64
import json
import sys

import avro

schema = avro.load(sys.argv[1])
for line in sys.stdin:
    print(base64.b64encode(avro.to_wire(int(sys.argv[2]), schema, json.loads(line))).decode())
