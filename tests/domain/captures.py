"""Real captures through the judge, and before Herald.

    captures.py DIR [--herald BINARY --topology FILE_OR_DIR --work DIR]

DIR holds riot_match_v5.jsonl, riot_match_v5_esports_info.jsonl, riot_timeline_v5.jsonl, halo_match_stats.jsonl,
halo_match_skill.jsonl and halo_match_history.jsonl, a body of the API a line. Prints of each file how many
records count and why others do not, then figures by player, champion and map. With a binary the same records
go through `herald test`, and all views are compared. The captures may not be distributed; ids and names
of players are printed as digests.
"""

import argparse
import collections
import hashlib
import json
import pathlib
import subprocess
import sys
import time

import answers
import judge
import model
import run

FILES = [
    ("riot_match_v5.jsonl", "riot.match"), ("riot_match_v5_esports_info.jsonl", "riot.match"),
    ("riot_timeline_v5.jsonl", "riot.timeline"), ("halo_match_stats.jsonl", "halo.match"),
    ("halo_match_skill.jsonl", "halo.skill"), ("halo_match_history.jsonl", "halo.history"),
]
# The captures tell neither when they were fetched nor, of a skill, of which match: its player and kills do.
FETCHED = "2026-01-01T00:00:00Z"
MOST = 8


def match_of_skill(folder, body):
    """The match whose players and kills a skill tells."""
    told = {v["Id"]: v["Result"]["StatPerformances"]["Kills"]["Count"] for v in body["Value"] if v.get("Result")}
    found = []
    for line in open(folder / "halo_match_stats.jsonl", encoding="utf-8"):
        match = json.loads(line)
        kills = {p["PlayerId"]: sum(t["Stats"]["CoreStats"]["Kills"] for t in p["PlayerTeamStats"]) for p in match["Players"]}
        if told and all(kills.get(player) == n for player, n in told.items()):
            found.append(match["MatchId"])
    return found[0] if len(found) == 1 else None


def records(folder):
    for name, topic in FILES:
        path = folder / name
        if not path.exists():
            continue
        for line in open(path, encoding="utf-8"):
            value = line.rstrip("\n")
            if value:
                key = (match_of_skill(folder, json.loads(value)) or "unknown") if topic == "halo.skill" else None
                yield name, topic, {"timestamp": FETCHED, "key": key, "partition": 0, "value": value}


def digest(text):
    return "-" if text is None else hashlib.sha256(text.encode()).hexdigest()[:8]


def table(title, rows):
    print(f"\n{title}")
    for row in rows:
        print("  " + "  ".join(f"{v:.3f}" if isinstance(v, float) else str(v) for v in row))


def script(path, topology, fed, views, sources):
    (path.parent / "captures.sql").write_text(model.sql_of(topology))
    with open(path, "w", encoding="utf-8") as out:
        out.write("-- topology captures.sql\n")
        for name, table in sources.items():
            if fed.get(table.topic):
                out.write(f"-- feed {name}\n")
                out.writelines(run.feed_line(r) for r in fed[table.topic])
        for view in views:
            out.write(f"-- expect {view}\n")
        for name in sources:
            out.write(f"-- expect outcomes {name}\n")
        out.write("-- expect dead_letter\n-- expect herald.errors\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--herald")
    parser.add_argument("--topology", type=pathlib.Path)
    parser.add_argument("--work", type=pathlib.Path)
    args = parser.parse_args()
    ingest, files, fed = model.Ingest(True), collections.defaultdict(collections.Counter), collections.defaultdict(list)
    for name, topic, record in records(args.folder):
        fed[topic].append(record)
        for outcome, why in ingest.take(topic, record):
            files[name][outcome + (f" ({why})" if why else "")] += 1
    for table_ in ingest.tables.values():
        table_.stamped = False
    print("records")
    for name, counts in files.items():
        print(f"  {name:34}", ", ".join(f"{k} {v}" for k, v in sorted(counts.items())))
    mine = answers.Answers(ingest)
    ask = lambda sql: mine.db.execute(sql).fetchall()
    table("matches: game, status, mode, count", ask("SELECT game, status, mode, count(*) FROM matches GROUP BY ALL ORDER BY ALL"))
    table("participants: game, players, without id, bots", ask(
        "SELECT game, count(*), count(*) FILTER (player_id IS NULL), count(*) FILTER (is_bot) FROM participants GROUP BY ALL ORDER BY ALL"))
    table(f"players with most games (first {MOST}): game, player, games, wins, kda, played_s", [
        (g, digest(p), *rest) for g, p, *rest in ask(
            f"SELECT game, value, games, wins, kda, played_s FROM performance_alltime WHERE dimension = 'player' ORDER BY games DESC, kda DESC, value LIMIT {MOST}")])
    table(f"champions with most games (first {MOST}): id, name, games, wins, kda, damage_share", ask(
        f"SELECT champion_id, champion, games, wins, kda, damage_share FROM champion_performance ORDER BY games DESC, kda DESC LIMIT {MOST}"))
    table("maps: game, map, matches, duration_s, players, kda", ask(
        "SELECT game, map[:8], matches, duration_s, players, kda FROM mv_map_stats ORDER BY matches DESC, game, map"))
    if not args.herald:
        return
    args.work.mkdir(parents=True, exist_ok=True)
    path = args.work / "captures.test.sql"
    script(path, args.topology, fed, answers.VIEWS, ingest.tables)
    started = time.monotonic()
    subprocess.run([args.herald, "test", "--update", str(path)], capture_output=True, text=True)
    print(f"\nherald test: {time.monotonic() - started:.1f} s")
    step = run.read_script(path)[0]
    fine = judge.check(ingest, 1, run.told(step, ingest), 3)
    for row in step.get("dead_letter", []) + step.get("herald.errors", []):
        print("rejected or failed:", json.dumps(row)[:300])
    print("no differences" if fine else "differences")
    sys.exit(0 if fine else 1)


if __name__ == "__main__":
    main()
