"""What match_analytics.sql must give, in plain Python.

    match_analytics.py --champions FILE < build_input.py's output

Prints {"champion_hourly": [...], "player_alltime": [...], "matches": n} with rows as the JSON sinks have
them. It keeps the greatest fetched_at of each match (all decodable records count as acceptable,
the topology's constraints are checked here again) and shares no code with the engine.
"""

import argparse
import datetime
import json
import sys

EPOCH = datetime.datetime(1970, 1, 1)
HOUR_US = 3_600_000_000


def iso(micros):
    return (EPOCH + datetime.timedelta(microseconds=micros)).isoformat(timespec="microseconds") + "Z"


def times(info):
    """End in microseconds since 1970 and duration in seconds; old matches know no end and count milliseconds."""
    if info.get("gameEndTimestamp") is None:
        return (info["gameStartTimestamp"] + info["gameDuration"]) * 1000, info["gameDuration"] // 1000
    return info["gameEndTimestamp"] * 1000, info["gameDuration"]


def latest(lines):
    held = {}
    for line in lines:
        envelope = json.loads(line)["envelope"]
        if envelope is None:
            continue
        match = envelope["match"]
        match_id = match["metadata"]["matchId"]
        _, duration = times(match["info"])
        if match_id is None or match["info"]["platformId"] is None or not 0 <= duration <= 14400:
            continue
        if match_id not in held or held[match_id]["fetched_at"] <= envelope["fetched_at"]:
            held[match_id] = envelope
    return [held[k]["match"] for k in sorted(held)]


def analytics(matches, champions):
    hours, players = {}, {}
    for match in matches:
        info = match["info"]
        ended, _ = times(info)
        for p in info["participants"]:
            if p["puuid"] in (None, "BOT"):
                continue
            hours.setdefault((ended // HOUR_US * HOUR_US, info["platformId"], p["championId"]), []).append(p)
            players.setdefault(p["puuid"], []).append((ended, p))

    def total(rows, field):
        return sum(row[field] for row in rows)

    champion_hourly = [
        {
            "window_start": iso(start),
            "window_end": iso(start + HOUR_US),
            "platform": platform,
            "champion_id": champion,
            "champion_name": champions.get(champion),
            "games": len(rows),
            "wins": total(rows, "win"),
            "win_rate": total(rows, "win") / len(rows),
            "avg_kills": total(rows, "kills") / len(rows),
            "avg_deaths": total(rows, "deaths") / len(rows),
            "avg_assists": total(rows, "assists") / len(rows),
        }
        for (start, platform, champion), rows in sorted(hours.items())
    ]
    player_alltime = [
        {
            "puuid": puuid,
            "games": len(seen),
            "wins": total((p for _, p in seen), "win"),
            "kills": total((p for _, p in seen), "kills"),
            "deaths": total((p for _, p in seen), "deaths"),
            "assists": total((p for _, p in seen), "assists"),
            "max_kills": max(p["kills"] for _, p in seen),
            "last_seen": iso(max(ended for ended, _ in seen)),
        }
        for puuid, seen in sorted(players.items())
    ]
    return {"champion_hourly": champion_hourly, "player_alltime": player_alltime, "matches": len(matches)}


def main():
    args = argparse.ArgumentParser()
    args.add_argument("--champions")
    args = args.parse_args()
    champions = {}
    if args.champions:
        with open(args.champions) as file:
            for line in file:
                row = json.loads(line)
                champions[row["champion_id"]] = row["name"]
    json.dump(analytics(latest(sys.stdin), champions), sys.stdout)


main()
