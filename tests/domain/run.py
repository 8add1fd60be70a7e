"""A season through Herald, and its views and outcomes before the judge at each moment.

    run.py HERALD TOPOLOGY SEASON WORK [--moments 1,5,10] [--by test|file] [--rows N]

TOPOLOGY is a file or a directory of files. `--by test` writes a script of `herald test` with a step
for each moment, has it filled in with what Herald finds in all its twelve ways, and reads it. It
knows timestamps, keys and partitions. `--by file` gives the topics to a running topology as files that
grow: fetched_at is then a column, there is one partition, and records that only a timestamp can
refuse are left out. Exits with 1 where anything differs.
"""

import argparse
import json
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

import answers
import model
from judge import Judge, check


# --- herald test ----------------------------------------------------------------------------------


def feed_line(record):
    head = f"partition={record['partition']} timestamp={record['timestamp']}"
    if record["key"] is not None:
        head += f" key={json.dumps(record['key'])}"
    return f"{head} {'NULL' if record['value'] is None else record['value']}\n"


def by_test(args, moments):
    judge = Judge(args.season, "test", model.sql_of(args.topology))
    script = args.work / "season.test.sql"
    snapshots = []
    with open(script, "w", encoding="utf-8") as out:
        (args.work / "season.sql").write_text(model.sql_of(args.topology))
        out.write("-- topology season.sql\n")
        for moment in moments:
            new = judge.advance(moment)
            for name, table in judge.ingest.tables.items():
                if new.get(table.topic):
                    out.write(f"\n-- feed {name}\n")
                    out.writelines(feed_line(r) for r in new[table.topic])
            for view in answers.VIEWS:
                out.write(f"-- expect {view}\n")
            for name in judge.ingest.tables:
                out.write(f"-- expect outcomes {name}\n")
            out.write("-- expect herald.errors\n")
    started = time.monotonic()
    done = subprocess.run([args.herald, "test", "--update", str(script)], capture_output=True, text=True)
    print(f"herald test: {time.monotonic() - started:.1f} s, {done.stdout.strip().splitlines()[-1:]}", done.stderr[-2000:])
    steps = read_script(script)
    judge = Judge(args.season, "test", model.sql_of(args.topology))
    fine = True
    for moment, step in zip(moments, steps):
        judge.advance(moment)
        fine &= check(judge.ingest, moment, told(step, judge.ingest), args.rows)
    return fine


def told(step, ingest):
    """A step's rows as the judge takes them."""
    counts = [{"name": name, **(step.get(f"outcomes {name}") or [{}])[0]} for name in ingest.tables]
    return {**step, "herald.sources": counts}


def read_script(script):
    """Of each step the rows below each expectation."""
    steps, rows, feeding = [], None, False
    for line in open(script, encoding="utf-8"):
        if line.startswith("-- feed"):
            if not feeding:
                steps.append({})
            feeding, rows = True, None
        elif line.startswith("-- expect "):
            feeding = False
            rows = steps[-1].setdefault(line[10:].strip(), [])
        elif rows is not None and line.strip():
            rows.append(json.loads(line))
    return steps


# --- files ----------------------------------------------------------------------------------------


def files_topology(sql, folder):
    """The topology with growing files in place of topics; sinks are dropped."""
    sql = re.sub(r"CREATE SINK .*?FORMAT[^;]*;", "", sql, flags=re.S)

    def table(found):
        whole = found.group(0)
        topic = re.search(r"topic = '([^']+)'", whole).group(1)
        kept = r"\b(?:retention|erase(?:\.by)?) = '[^']+'"
        whole = re.sub(r"WITH \(\s*connector = 'kafka'.*?\n\)", lambda m: "WITH (connector = 'file', path = '%s', follow = 'true'%s)" % (
            folder / f"{topic}.jsonl", "".join(f", {option}" for option in re.findall(kept, m.group(0)))), whole, flags=re.S)
        if "INCLUDE timestamp AS fetched_at" in whole:
            whole = whole.replace("INCLUDE timestamp AS fetched_at\n", "")
            whole = re.sub(r"(CREATE TABLE \w+ \()", r"\1\n  fetched_at TIMESTAMPTZ,", whole, count=1)
        return whole.replace(" KEY ENCODE TEXT", "")

    return re.sub(r"CREATE (?:TABLE|SOURCE) \w+ \(.*?FORMAT [^;]*;", table, sql, flags=re.S)


def file_line(topic, record):
    value, stamp = record["value"], f'"fetched_at":"{record["timestamp"]}"'
    if value is not None and value.startswith("{"):
        value = "{" + stamp + ("" if value.startswith("{}") else ",") + value[1:]
    if topic == "halo.skill":
        return f'{{"key":{json.dumps(record["key"])},"value":{value or "null"}}}\n'
    return value + "\n"


def query(args, state, sql, patient=False):
    done = subprocess.run([args.herald, "query", "--state", state, "--format", "json", "--query-rows", "100000000", "--query-memory", "4GiB",
                           "--query-time", "600s", sql], capture_output=True, text=True, check=False)
    if "changes too fast" in done.stderr:
        time.sleep(1)
        return query(args, state, sql, patient)
    if done.returncode and patient:
        return []
    if done.returncode:
        raise SystemExit(f"{sql}: {done.stderr}")
    return json.loads(done.stdout)


def by_file(args, moments):
    judge = Judge(args.season, "file", model.sql_of(args.topology))
    folder, state = (args.work / "topics").absolute(), str((args.work / "state").absolute())
    shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(state, ignore_errors=True)
    folder.mkdir(parents=True)
    for topic in model.FORMS:
        (folder / f"{topic}.jsonl").touch()
    topology = args.work / "files.sql"
    topology.write_text(files_topology(model.sql_of(args.topology), folder))
    log = open(args.work / "herald.log", "w")
    command = [args.herald, "run", str(topology), "--name", "season", "--state", state, "--listen", "off", "--workers", "2"]
    process = subprocess.Popen(command, stdout=log, stderr=log)
    fine = True
    try:
        for moment in moments:
            started = time.monotonic()
            for topic, records in judge.advance(moment).items():
                with open(folder / f"{topic}.jsonl", "a", encoding="utf-8") as out:
                    out.writelines(file_line(topic, r) for r in records)
            wanted = {n: sum(t.outcomes.values()) for n, t in judge.ingest.tables.items()}
            while True:
                if process.poll() is not None:
                    raise SystemExit(f"herald ended: see {log.name}")
                time.sleep(0.5 if sum(wanted.values()) < 20000 else 5)
                # At first there is no state.
                outcomes = {r["name"]: r for r in query(args, state, "SELECT * FROM herald.sources", time.monotonic() - started < 600)}
                if all(outcomes.get(n, {}).get("read", 0) >= w for n, w in wanted.items()):
                    break
            print(f"moment {moment}: Herald took {time.monotonic() - started:.1f} s")
            found = {v: query(args, state, f"SELECT * FROM {v}") for v in answers.VIEWS}
            found["herald.sources"] = list(outcomes.values())
            found["herald.errors"] = query(args, state, "SELECT * FROM herald.errors")
            fine &= check(judge.ingest, moment, found, args.rows)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    return fine


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("herald")
    parser.add_argument("topology", type=pathlib.Path)
    parser.add_argument("season", type=pathlib.Path)
    parser.add_argument("work", type=pathlib.Path)
    parser.add_argument("--moments", default="1,2,3,4,5,6,7,8,9,10")
    parser.add_argument("--by", choices=["test", "file"], default="file")
    parser.add_argument("--rows", type=int, default=3)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    moments = [int(m) for m in args.moments.split(",")]
    fine = (by_test if args.by == "test" else by_file)(args, moments)
    print("no differences" if fine else "differences")
    sys.exit(0 if fine else 1)


if __name__ == "__main__":
    main()
