"""Sizes of the match domain's state as a season goes by: which tables level off, and which grow.

    levels.py HERALD TOPOLOGY SEASON WORK --matches N --players P

Runs the season by files, and reads `herald.arrangements` at each of its ten moments. Prints as Markdown the tables of the
state that level off (moments 8 to 10 hold at most 15 % more rows than moments 4 to 6), and those that grow, with
their bytes a match and a player. Sizes are Herald's own estimates. Bytes are those of entries, before compression.
"""

import argparse
import json
import pathlib
import re
import shutil
import signal
import subprocess
import time

import judge
import model
import run


def fed(season, folder, at, moment):
    """Appends the records of a moment to the files; gives the number of lines by topic."""
    until = judge.moments_of(season)[moment - 1]
    for topic, records in model.read_season(season):
        with open(folder / f"{topic}.jsonl", "a", encoding="utf-8") as out:
            for place, record in enumerate(records):
                if at.get(topic, 0) <= place < until[topic] and not judge.timeless(topic, record):
                    out.write(run.file_line(topic, record))
        at[topic] = until[topic]
    return {path.stem: sum(1 for _ in open(path, encoding="utf-8")) for path in folder.glob("*.jsonl")}


def sizes(args, state, topics, lines):
    """{(kind, name, operator): (rows, bytes)} once all lines are read, and nothing changes any more."""
    last = None
    while True:
        time.sleep(3)
        read = {r["name"]: r["read"] for r in run.query(args, state, "SELECT name, read FROM herald.sources", True)}
        whole = all(read.get(name, 0) >= lines[topic] for name, topic in topics.items())
        now = [r["epoch"] for r in run.query(args, state, "SELECT max(epoch) AS epoch FROM herald.epochs WHERE input_rows > 0", True)]
        if whole and now == last:
            break
        last = now
    found = {}
    for r in run.query(args, state, "SELECT * FROM herald.arrangements"):
        held = found.setdefault((r["kind"], r["name"], r["operator"] or ""), [0, 0])
        held[0] += r["estimated_rows"] or 0
        held[1] += r["estimated_bytes"] or 0
    return found


def topics_of(sql):
    """{table: topic} of a topology over files."""
    each = re.findall(r"CREATE (?:TABLE|SOURCE) (\w+) \((?:(?!CREATE ).)*?path = '[^']*/([^/']+)\.jsonl'", sql, flags=re.S)
    return dict(each)


def rows_of(found, key):
    """Mean rows of a table of the state in some moments: windows of now() swing."""
    return sum(moment.get(key, (0, 0))[0] for moment in found) / len(found)


def report(found, matches, players):
    names = sorted({key for moment in found for key in moment})
    half, end = ({key: rows_of(part, key) for key in names} for part in (found[3:6], found[7:10]))
    levels = [key for key in names if end[key] <= 1.15 * half[key] + 5]
    print("\n| levels off: state table | rows about moments 4 to 6 | 8 to 10 | bytes |\n| --- | --- | --- | --- |")
    for kind, name, operator in levels:
        key = (kind, name, operator)
        print(f"| {kind} {name} {operator} | {half[key]:.0f} | {end[key]:.0f} | {found[-1].get(key, (0, 0))[1]} |")
    print("\n| grows: state table | rows about moments 4 to 6 | 8 to 10 | bytes | a match | a player |\n| --- | --- | --- | --- | --- | --- |")
    total = 0
    for key in sorted(set(names) - set(levels), key=lambda key: -found[-1].get(key, (0, 0))[1]):
        size = found[-1].get(key, (0, 0))[1]
        total += size
        print(f"| {' '.join(key)} | {half[key]:.0f} | {end[key]:.0f} | {size} | {size / matches:.0f} | {size / players:.0f} |")
    print(f"\nWhat grows: {total} bytes, {total / matches:.0f} a match, {total / players:.0f} a player; all: {sum(b for _, b in found[-1].values())} bytes")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("herald")
    parser.add_argument("topology", type=pathlib.Path)
    parser.add_argument("season", type=pathlib.Path)
    parser.add_argument("work", type=pathlib.Path)
    parser.add_argument("--matches", type=int, required=True, help="as season.py was told")
    parser.add_argument("--players", type=int, required=True)
    args = parser.parse_args()
    folder, state = (args.work / "topics").absolute(), str((args.work / "state").absolute())
    shutil.rmtree(args.work, ignore_errors=True)
    folder.mkdir(parents=True)
    for path in args.season.glob("*.jsonl"):
        (folder / path.name).touch()
    topology = args.work / "levels.sql"
    sql = run.files_topology(model.sql_of(args.topology), folder)
    topology.write_text(sql)
    log = open(args.work / "herald.log", "w")
    command = [args.herald, "run", str(topology), "--name", "levels", "--state", state, "--listen", "off"]
    process = subprocess.Popen(command, stdout=log, stderr=log)
    found, at = [], {}
    try:
        for moment in range(1, 11):
            lines = fed(args.season, folder, at, moment)
            found.append(sizes(args, state, topics_of(sql), lines))
            print(f"moment {moment}: {sum(lines.values())} records, {sum(b for _, b in found[-1].values())} bytes", flush=True)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    (args.work / "levels.json").write_text(json.dumps([[[*k, *v] for k, v in m.items()] for m in found]))
    report(found, args.matches, args.players)


if __name__ == "__main__":
    main()
