"""Judging of a topology of the match domain over a season: all views and outcomes at a moment.

    judge.py SEASON --moment N --found DIR [--sent DIR --name NAME] [--topology FILE_OR_DIR] [--by kafka|test|file] [--rows N]
    judge.py --views

DIR/N holds VIEW.json for each view, herald.sources.json and herald.errors.json: arrays of objects, as
`herald query --format json` prints them. `--by` says by which way the records came, which not all records can.
With `--sent` DIR/N/notifications and DIR/N/quality hold the same of notifications.sql and quality.sql; the directory
of `--sent` has the records that topologies had sent each other up to each moment: 1/TOPIC.jsonl and so on.
Prints what differs, and exits with 1 then. `--views` prints the names of the topologies and their views.
"""

import argparse
import collections
import json
import pathlib
import sys
import time

import answers
import compare
import model
import notifications
import quality

OUTCOMES = ("accepted", "duplicate", "superseded", "erased", "constraint", "decode", "late")


def moments_of(season):
    return json.loads((season / "moments.json").read_text())["moments"]


def mute(topic, record):
    """Records that a script cannot write."""
    return record["value"] == ""


def timeless(topic, record):
    """Records that a file cannot hold, or that are refused by their timestamp."""
    value = record["value"]
    return not value and topic != "halo.skill" or value is not None and ("BAD_ahead" in value or '"ahead-' in value)


SKIPPED = {"kafka": lambda topic, record: False, "test": mute, "file": timeless}


class Judge:
    """The model at growing moments."""

    def __init__(self, season, by, sql):
        self.one_partition, self.sql, skip = by == "file", sql, SKIPPED[by]
        self.records = {t: list(rs) for t, rs in model.read_season(season)}
        self.until = [{t: sum(not skip(t, r) for r in rs[: m[t]]) for t, rs in self.records.items()} for m in moments_of(season)]
        self.records = {t: [r for r in rs if not skip(t, r)] for t, rs in self.records.items()}
        self.at = dict.fromkeys(self.records, 0)
        self.ingest = self.begun(frozenset())

    def begun(self, subjects):
        return model.Ingest(self.one_partition, subjects=subjects, sql=self.sql)

    def advance(self, moment):
        """Takes in records up to a moment; gives the new ones by topic."""
        until = self.until[moment - 1]
        new = {t: records[self.at[t] : until[t]] for t, records in self.records.items()}
        taken, subjects = new, model.subjects_of(self.records["user.erased"][: until["user.erased"]])
        if subjects != self.ingest.subjects:
            # As if the orders had come first.
            self.ingest, taken = self.begun(subjects), {t: records[: until[t]] for t, records in self.records.items()}
        for topic, records in taken.items():
            for record in records:
                self.ingest.take(topic, record)
        self.at = until
        return new


def differing(found, bounds):
    """Faults of counts of outcomes as text; None where there are none."""
    found = {o: found.get(o) or 0 for o in OUTCOMES}
    sure = {o: least for o, (least, _) in bounds.items()}
    most = sum(sure.values()) + bounds["accepted"][1] - bounds["accepted"][0]
    if sum(found.values()) == most and all(least <= found[o] <= upper for o, (least, upper) in bounds.items()):
        return None
    told = ", ".join(f"{o} {least}" + (f" to {upper}" if upper > least else "") for o, (least, upper) in bounds.items() if upper)
    return f"judge {told}, {most} in all; found {({k: v for k, v in found.items() if v})}"


def check(ingest, moment, found, rows):
    """Compares all views and outcomes; prints what differs."""
    started = time.monotonic()
    mine = answers.Answers(ingest)
    print(f"moment {moment}: {sum(ingest.read.values())} records, judged in {time.monotonic() - started:.1f} s")
    fine = True
    for view in answers.VIEWS:
        columns, own = mine.view(view)
        own = [dict(zip((c for c, _ in columns), row)) for row in own]
        fine &= compare.tell(view, own, found[view], rows)
    return check_tables(ingest.tables, found) and fine


def check_tables(tables, found):
    """Compares outcomes, and looks for errors; prints what differs."""
    fine = not found["herald.errors"]
    outcomes = {row["name"]: row for row in found["herald.sources"]}
    for name, table in tables.items():
        wrong = differing(outcomes.get(name, {}), table.bounds())
        if wrong:
            print(f"outcomes of {name}: {wrong}")
            fine = False
    if found["herald.errors"]:
        print("errors", found["herald.errors"][:3])
    sys.stdout.flush()
    return fine


def rows_in(folder, names):
    """Rows that were found, by name."""
    return {name: json.loads((folder / f"{name}.json").read_text()) for name in [*names, "herald.sources", "herald.errors"]}


def lines_of(path):
    with open(path, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def check_beside(judge, args):
    """The topologies beside the domain, before the records that they read."""
    counts, fine = moments_of(args.season)[: args.moment], True
    found = lambda moment, kind, views: rows_in(args.found / str(moment) / kind, views)
    here, there = found(args.moment, "notifications", notifications.VIEWS), found(args.moment, "quality", quality.VIEWS)
    before = found(args.moment - 1, "notifications", notifications.VIEWS)["notifications"] if args.moment > 1 else []
    sent = [lines_of(args.sent / str(n + 1) / f"{notifications.TRIGGERS}.jsonl") for n in range(args.moment)]
    letters = lines_of(args.sent / str(args.moment) / f"{quality.DEAD}.jsonl")
    each = [(notifications.views(args.season, counts, sent, here["notifications"], before), here),
            (quality.views(args.season, counts[-1], letters), there)]
    for (mine, tables, faults), rows in each:
        for name, own in mine.items():
            fine &= compare.tell(name, own, rows[name], args.rows)
        for fault in faults[: args.rows]:
            print(fault)
        fine &= check_tables(tables, rows) and not faults
    return fine & check_letters(judge, letters, args.name)


def check_letters(judge, letters, name):
    """Each refused record of the domain is a dead letter, once; one that names somebody who was erased may be none."""
    ingest, refused, loose = judge.ingest, collections.Counter(), collections.Counter()
    for table, own in ingest.tables.items():
        for number, outcome, _ in own.rejected:
            record = judge.records[own.topic][number]
            told = f"{record['key']} {record['value']}"
            (loose if any(subject in told for subject in ingest.subjects) else refused)[table, outcome] += 1
    headers = [letter["headers"] for letter in letters]
    found = collections.Counter((h.get("herald.source"), h.get("herald.outcome")) for h in headers if h.get("herald.topology") == name)
    if refused - found or found - refused - loose:
        print(f"dead letters: judge {dict(refused - found)} more, found {dict(found - refused - loose)} more")
        return False
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("season", type=pathlib.Path, nargs="?")
    parser.add_argument("--views", action="store_true")
    parser.add_argument("--moment", type=int, default=10)
    parser.add_argument("--found", type=pathlib.Path)
    parser.add_argument("--sent", type=pathlib.Path)
    parser.add_argument("--name", help="that of the domain's topology, as its dead letters have it")
    parser.add_argument("--topology", type=pathlib.Path, default=model.DOMAIN)
    parser.add_argument("--by", choices=list(SKIPPED), default="kafka")
    parser.add_argument("--rows", type=int, default=3)
    args = parser.parse_args()
    if args.views:
        each = {"domain": answers.VIEWS, "notifications": notifications.VIEWS, "quality": quality.VIEWS}
        print("\n".join(f"{topology} {view}" for topology, views in each.items() for view in views))
        return
    judge = Judge(args.season, args.by, model.sql_of(args.topology))
    judge.advance(args.moment)
    found = rows_in(args.found / str(args.moment), answers.VIEWS)
    fine = check(judge.ingest, args.moment, found, args.rows)
    if args.sent:
        fine &= check_beside(judge, args)
    sys.exit(0 if fine else 1)


if __name__ == "__main__":
    main()
