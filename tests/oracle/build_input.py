"""Turns captured matches into the records of topic `match.completed`, awkwardly.

    build_input.py MATCHES --seed N [--revisions] [--broken] [--copies 2] [--avro SCHEMA --schema-id ID] [--repeat K]

Every match becomes an envelope and stands `--copies` times in the output, all of it shuffled by
the seed. `--revisions` adds, for the first match, an older fetch whose numbers are wrong.
`--broken` adds one record whose bytes do not decode. `--repeat K` makes K sets of matches of their
own from the captures (other ids, players shared), for tests that need many.
Each line of output: {"key": text, "value": base64, "envelope": {...} or null}.
Envelopes are what match_analytics.py takes.
"""

import argparse
import base64
import copy
import json
import random
import sys
import uuid

import avro

FETCHED = "2026-01-31T12:%02d:%02d.%06dZ"


def envelopes(matches, repeat):
    for n in range(repeat):
        for i, match in enumerate(matches):
            if n:
                match = copy.deepcopy(match)
                match["metadata"]["matchId"] += f"-{n}"
                info = match["info"]
                for field in ("gameCreation", "gameStartTimestamp", "gameEndTimestamp"):
                    if field in info:
                        info[field] += n * 1_200_000
                for participant in info["participants"]:
                    participant["kills"] = (participant["kills"] + n) % 23
            seq = n * len(matches) + i
            yield {
                "event_id": str(uuid.UUID(int=seq + 1)),
                "fetched_at": FETCHED % (seq // 60 % 60, seq % 60, seq // 3600),
                "match": match,
            }


def older(envelope):
    """An earlier fetch of the same match with other numbers: it must never win."""
    old = copy.deepcopy(envelope)
    old["event_id"] = str(uuid.UUID(int=2**100))
    old["fetched_at"] = "2026-01-30T12:00:00.000000Z"
    for participant in old["match"]["info"]["participants"]:
        participant["kills"] += 100
        participant["win"] = not participant["win"]
    return old


def main():
    args = argparse.ArgumentParser()
    args.add_argument("matches")
    args.add_argument("--seed", type=int, default=1)
    args.add_argument("--copies", type=int, default=2)
    args.add_argument("--repeat", type=int, default=1)
    args.add_argument("--revisions", action="store_true")
    args.add_argument("--broken", action="store_true")
    args.add_argument("--avro")
    args.add_argument("--schema-id", type=int)
    args = args.parse_args()

    with open(args.matches) as file:
        matches = [json.loads(line) for line in file if line.strip()]
    wanted = list(envelopes(matches, args.repeat))
    if args.revisions:
        wanted.append(older(wanted[0]))
    schema = avro.load(args.avro) if args.avro else None

    def wire(envelope):
        if schema:
            return avro.to_wire(args.schema_id, schema, envelope)
        return json.dumps(envelope, separators=(",", ":")).encode()

    records = [(e["match"]["metadata"]["matchId"], wire(e), e) for e in wanted for _ in range(args.copies)]
    if args.broken:
        key, data, _ = records[0]
        records.append((key, data[: len(data) // 2], None))
    random.Random(args.seed).shuffle(records)
    for key, data, envelope in records:
        line = {"key": key, "value": base64.b64encode(data).decode(), "envelope": envelope}
        json.dump(line, sys.stdout, separators=(",", ":"))
        sys.stdout.write("\n")


main()
