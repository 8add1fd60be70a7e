"""Decodes Avro messages in Confluent's wire format, as an outside consumer would.

    decode_avro.py REGISTRY_URL < lines of {"key": base64 or null, "value": base64 or null}

Prints the same lines with decoded JSON in place of base64. Schemas come from the registry by id.
"""

import base64
import functools
import json
import sys
import urllib.request

import avro


@functools.cache
def schema_of(schema_id):
    with urllib.request.urlopen(f"{sys.argv[1]}/schemas/ids/{schema_id}", timeout=10) as answer:
        return json.loads(json.load(answer)["schema"])


for line in sys.stdin:
    message = {
        side: None if data is None else avro.from_wire(schema_of, base64.b64decode(data))
        for side, data in json.loads(line).items()
    }
    json.dump(message, sys.stdout)
    sys.stdout.write("\n")
