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
import compare
import model


def sql_of(path):
    files = sorted(path.glob("*.sql")) if path.is_dir() else [path]
    return "\n".join(f.read_text() for f in files)


def moments_of(season):
    return json.loads((season / "moments.json").read_text())["moments"]


def mute(topic, record):
    """Records that a script cannot write."""
    return record["value"] == ""


def timeless(topic, record):
    """Records that a file cannot hold, or that are refused by their timestamp."""
    value = record["value"]
    return not value and topic != "halo.skill" or value is not None and ("BAD_ahead" in value or '"ahead-' in value)


class Judge:
    """The model at growing moments."""

    def __init__(self, season, one_partition, skip):
        self.ingest = model.Ingest(one_partition)
        self.records = {t: [r for r in rs if not skip(t, r)] for t, rs in model.read_season(season)}
        self.at = dict.fromkeys(self.records, 0)
        counted = {t: 0 for t in self.records}
        self.until = []
        kept = {t: list(keep(season, t, skip)) for t in self.records}
        for m in moments_of(season):
            for t in counted:
                counted[t] = sum(kept[t][: m[t]])
            self.until.append(dict(counted))

    def advance(self, moment):
        """Takes in records up to a moment; gives the new ones by topic."""
        new = {}
        for topic, records in self.records.items():
            new[topic] = records[self.at[topic] : self.until[moment - 1][topic]]
            self.at[topic] = self.until[moment - 1][topic]
            for record in new[topic]:
                self.ingest.take(topic, record)
        return new

    def outcomes(self):
        return {name: dict(table.outcomes) for name, table in self.ingest.tables.items()}


def keep(season, topic, skip):
    for _, records in model.read_season(season, [topic]):
        for record in records:
            yield not skip(topic, record)


def check(judge, moment, found, outcomes, rows):
    """Compares all views and outcomes; prints what differs."""
    started = time.monotonic()
    mine = answers.Answers(judge.ingest)
    print(f"moment {moment}: {sum(judge.at.values())} records, judged in {time.monotonic() - started:.1f} s")
    fine = True
    for view in answers.VIEWS:
        columns, own = mine.view(view)
        own = [dict(zip((c for c, _ in columns), row)) for row in own]
        fine &= compare.tell(view, own, found[view], rows)
    for name, mine_counts in judge.outcomes().items():
        theirs = {k: v for k, v in outcomes[name].items() if k != "read" and v}
        if theirs != {k: v for k, v in mine_counts.items() if v}:
            print(f"outcomes of {name}: judge {mine_counts}, found {theirs}")
            fine = False
    sys.stdout.flush()
    return fine


# --- herald test ----------------------------------------------------------------------------------


def feed_line(record):
    head = f"partition={record['partition']} timestamp={record['timestamp']}"
    if record["key"] is not None:
        head += f" key={json.dumps(record['key'])}"
    return f"{head} {'NULL' if record['value'] is None else record['value']}\n"


def by_test(args, moments):
    judge = Judge(args.season, False, mute)
    script = args.work / "season.test.sql"
    snapshots = []
    with open(script, "w", encoding="utf-8") as out:
        (args.work / "season.sql").write_text(sql_of(args.topology))
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
    judge = Judge(args.season, False, mute)
    fine = True
    for moment, step in zip(moments, steps):
        judge.advance(moment)
        outcomes = {name: (step.get(f"outcomes {name}") or [{}])[0] for name in judge.ingest.tables}
        fine &= check(judge, moment, step, outcomes, args.rows)
        if step["herald.errors"]:
            print("errors", step["herald.errors"][:3])
            fine = False
    return fine


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
        whole = re.sub(r"WITH \(\s*connector = 'kafka'.*?\n\)", lambda m: "WITH (connector = 'file', path = '%s', follow = 'true'%s)" % (
            folder / f"{topic}.jsonl", "".join(f", retention = '{r}'" for r in re.findall(r"retention = '([^']+)'", m.group(0)))), whole, flags=re.S)
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
    judge = Judge(args.season, True, timeless)
    folder, state = (args.work / "topics").absolute(), str((args.work / "state").absolute())
    shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(state, ignore_errors=True)
    folder.mkdir(parents=True)
    for topic in model.FORMS:
        (folder / f"{topic}.jsonl").touch()
    topology = args.work / "files.sql"
    topology.write_text(files_topology(sql_of(args.topology), folder))
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
                outcomes = {r["name"]: r for r in query(args, state, "SELECT * FROM herald.sources", time.monotonic() - started < 30)}
                if all(outcomes.get(n, {}).get("read", 0) >= w for n, w in wanted.items()):
                    break
            print(f"moment {moment}: Herald took {time.monotonic() - started:.1f} s")
            found = {v: query(args, state, f"SELECT * FROM {v}") for v in answers.VIEWS}
            keep_counts = {n: {k: r[k] for k in ("accepted", "duplicate", "superseded", "constraint", "decode", "late")} for n, r in outcomes.items()}
            fine &= check(judge, moment, found, keep_counts, args.rows)
            errors = query(args, state, "SELECT * FROM herald.errors")
            if errors:
                print("errors", errors[:3])
                fine = False
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
