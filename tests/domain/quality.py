"""Answers of quality.sql at a moment of a season, from the records in the topics that it reads.

Raw records and thresholds are the season's; dead letters are those that the other topologies sent, in the order of their
topic. Each record is looked at in plain Python; hours are counted in DuckDB.
"""

import collections
import datetime
import hashlib
import json
import re

import duckdb

import answers
import model
from model import DAY, SECOND, Bad, Table

VIEWS = ("quality_hourly", "quality_fields", "quality_rules", "quality_thresholds", "quality_alerts", "quality_now")
DEAD = "herald.dead_letter"
RAW = {"riot.match": "riot_match_raw", "riot.timeline": "riot_timeline_raw", "halo.match": "halo_match_raw", "halo.skill": "halo_skill_raw"}
# As topics.sql has it.
DEAD_PARTITIONS = 3
DEFAULTS = {"success_rate": (0.95, "below"), "completeness": (0.9, "below"), "duplicate_share": (0.5, "above"), "late_share": (0.5, "above"),
            "freshness_p90_s": (172800.0, "above")}


# --- one record -------------------------------------------------------------------------------------


def at_path(doc, *path):
    """The value at a path of names and places; None where there is none."""
    for step in path:
        if isinstance(step, int):
            doc = doc[step] if isinstance(doc, list) and step < len(doc) else None
        else:
            doc = doc.get(step) if isinstance(doc, dict) else None
    return doc


def document(record):
    """(whether a record is JSON, its value)."""
    try:
        return True, json.loads(record["value"], parse_constant=model.refuse)
    except (TypeError, ValueError, Bad):
        return False, None


def digest(record):
    """The id of a record that names no match: its bytes, or that it has none."""
    return "" if record["value"] is None else hashlib.md5(record["value"].encode()).hexdigest()


def filled(value):
    return value is not None and value != ""


def millis(value):
    """A whole number of milliseconds of at most 13 digits, in microseconds."""
    return value * 1000 if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**13 else None


def riot_match(record):
    is_json, doc = document(record)
    info = doc["info"] if isinstance(doc, dict) and "info" in doc else doc
    platform, game = at_path(info, "platformId"), at_path(info, "gameId")
    named = at_path(doc, "metadata", "matchId")
    name = named if filled(named) else f"{platform}_{game}" if platform is not None and game is not None else digest(record)
    ended = millis(at_path(info, "gameEndTimestamp"))
    start, length = millis(at_path(info, "gameStartTimestamp")), millis(at_path(info, "gameDuration"))
    if ended is None and start is not None and length is not None:
        ended = start + length
    fields = {
        "platform": filled(at_path(info, "platformId")), "mode": filled(at_path(info, "gameMode")), "queue": at_path(info, "queueId") is not None,
        "map": at_path(info, "mapId") is not None, "patch": filled(at_path(info, "gameVersion")), "start": at_path(info, "gameStartTimestamp") is not None,
        "end": ended is not None, "duration": at_path(info, "gameDuration") is not None, "teams": filled(at_path(info, "teams", 0)),
        "players": filled(at_path(info, "participants", 0)), "player ids": filled(at_path(info, "participants", 0, "puuid"))}
    return name, ended, fields if is_json else {}


def riot_timeline(record):
    is_json, doc = document(record)
    named = at_path(doc, "metadata", "matchId")
    frame = at_path(doc, "info", "frames", 0)
    fields = {"match id": filled(named), "frames": filled(frame), "players": filled(at_path(frame, "participantFrames")),
              "events": filled(at_path(frame, "events"))}
    return named if filled(named) else digest(record), None, fields if is_json else {}


def halo_match(record):
    is_json, doc = document(record)
    named, info = at_path(doc, "MatchId"), at_path(doc, "MatchInfo")
    ended = at_path(info, "EndTime")
    try:
        ended = model.moment(ended)
    except Bad:
        ended = None
    fields = {
        "match id": filled(named), "mode": at_path(info, "GameVariantCategory") is not None, "queue": at_path(info, "LifecycleMode") is not None,
        "map": filled(at_path(info, "MapVariant", "AssetId")), "start": filled(at_path(info, "StartTime")), "end": ended is not None,
        "duration": filled(at_path(info, "Duration")), "players": filled(at_path(doc, "Players", 0)),
        "player ids": filled(at_path(doc, "Players", 0, "PlayerId"))}
    return named if filled(named) else digest(record), ended, fields if is_json else {}


def halo_skill(record):
    is_json, doc = document(record)
    first = at_path(doc, "Value", 0)
    fields = {"match id": record["key"] is not None, "players": filled(first), "player ids": filled(at_path(first, "Id")),
              "expectations": filled(at_path(first, "Result", "StatPerformances"))}
    return record["key"] if record["key"] is not None else digest(record), None, fields if is_json else {}


LOOK = {"riot.match": riot_match, "riot.timeline": riot_timeline, "halo.match": halo_match, "halo.skill": halo_skill}


# --- tables -----------------------------------------------------------------------------------------


class Stream:
    """A source of which a record is late when it is so much older than the newest of its partition."""

    def __init__(self, partitions, delay=DAY):
        self.partitions, self.delay, self.newest, self.outcomes = partitions, delay, {}, collections.Counter()

    def takes(self, partition, at):
        newest = self.newest.get(partition)
        late = at is not None and newest is not None and at < newest - self.delay
        self.outcomes["late" if late else "accepted"] += 1
        if at is not None:
            self.newest[partition] = max(at, newest or at)
        return not late

    def watermark(self):
        return min(self.newest.values()) - self.delay if len(self.newest) == self.partitions else None

    def bounds(self):
        return {o: (self.outcomes[o],) * 2 for o in ("accepted", "duplicate", "superseded", "erased", "constraint", "decode", "late")}


def thresholds(records):
    """The table of changed thresholds."""
    form = model.struct(bound=model.number, direction=model.text)
    rules = lambda r: "no bound" if r["bound"] is None else None if r["direction"] in ("above", "below") else "known_direction"
    table = Table("quality.threshold", rules, upsert=True)
    table.key = lambda r, _: None
    for n, record in enumerate(records):
        table.take(record, n, model.parsed(form, record))
    return table


def dead_letters(records):
    """Rows (source, hour, outcome, rule) of rejected records, and their stream."""
    stream, rows = Stream(DEAD_PARTITIONS, 30 * DAY), []
    for record in records:
        headers = record["headers"]
        stamp, topic, outcome = headers.get("herald.timestamp"), headers.get("herald.topic"), headers.get("herald.outcome")
        at = int(stamp) * 1000 if topic and stamp else None
        if stream.takes(record["partition"], at) and at is not None and outcome in ("decode", "constraint", "late"):
            rows.append((topic, hour(at), outcome, headers.get("herald.constraint") or outcome))
    return rows, stream


def hour(at):
    return at - at % (3600 * SECOND)


# --- hours ------------------------------------------------------------------------------------------

HOURLY = """
    WITH hours AS (
      SELECT source, hour, count(*) AS received, count(ended_at) AS matches, count(*) FILTER (received_at > ended_at + INTERVAL '1 day') AS late,
        quantile_cont((epoch_us(received_at) - epoch_us(ended_at)) / 1e6, 0.5) AS median,
        quantile_cont((epoch_us(received_at) - epoch_us(ended_at)) / 1e6, 0.9) AS p90,
        max(received_at) AS newest, count(DISTINCT id) FILTER (is_first) AS firsts
      FROM (
        SELECT *, NOT EXISTS (FROM ids e WHERE e.source = r.source AND e.id = r.id AND e.hour < r.hour AND e.hour >= r.hour - INTERVAL '30 days') AS is_first
        FROM records r) JOIN clocks USING (source)
      WHERE hour > mark - INTERVAL '90 days' GROUP BY 1, 2),
    rejected AS (SELECT source, hour, count(*) AS n, count(*) FILTER (outcome = 'decode') AS d, count(*) FILTER (outcome = 'constraint') AS c,
        count(*) FILTER (outcome = 'late') AS l FROM dead GROUP BY 1, 2),
    complete AS (SELECT source, hour, avg(found::INT) AS share FROM fields GROUP BY 1, 2)
    SELECT source, hour, received, coalesce(d, 0) AS rejected_decode, coalesce(c, 0) AS rejected_constraint, coalesce(l, 0) AS rejected_late,
      (received - coalesce(n, 0)) / received AS success_rate, received - firsts AS duplicates, (received - firsts) / received AS duplicate_share,
      CASE WHEN matches > 0 THEN late / matches END AS late_share, share AS completeness, median AS freshness_median_s, p90 AS freshness_p90_s, newest
    FROM hours LEFT JOIN rejected USING (source, hour) LEFT JOIN complete USING (source, hour)
    QUALIFY row_number() OVER (PARTITION BY source ORDER BY hour DESC) <= 720"""

# Fields are served for 30 days after their hour is final, by the source that is behind; rules for a day.
TABLES = {
    "quality_hourly": HOURLY,
    "quality_fields": """
        SELECT source, hour, field, count(*) AS records, count(*) FILTER (NOT found) AS missing, count(*) FILTER (NOT found) / count(*) AS missing_share
        FROM fields WHERE coalesce(hour > (SELECT min(mark) FROM clocks WHERE source IN (FROM sources) HAVING count(mark) = 4) - INTERVAL '721 hours', true)
        GROUP BY 1, 2, 3""",
    "quality_rules": """
        SELECT source, hour, outcome, rule, count(*) AS rejected FROM dead
        WHERE coalesce(hour > (SELECT mark FROM clocks WHERE source = 'dead') - INTERVAL '25 hours', true) GROUP BY 1, 2, 3, 4""",
    "metrics": """
        SELECT source, hour, metric, value FROM (
          UNPIVOT (SELECT source, hour, received::DOUBLE AS received, success_rate, completeness, duplicate_share, late_share,
            freshness_median_s, freshness_p90_s, epoch_us(newest) / 1e6 AS newest_s FROM quality_hourly)
          ON COLUMNS(* EXCLUDE (source, hour)) INTO NAME metric VALUE value)""",
    "quality_alerts": """
        SELECT metric, source, hour, value, bound, direction, min(hour) OVER (PARTITION BY metric, source, run) AS since
        FROM (SELECT *, hour - row_number() OVER (PARTITION BY metric, source ORDER BY hour) * INTERVAL '1 hour' AS run
          FROM metrics JOIN quality_thresholds USING (metric, source)
          WHERE direction = 'above' AND value > bound OR direction = 'below' AND value < bound)""",
    "quality_now": """
        SELECT m.source, metric, value, bound,
          CASE direction WHEN 'above' THEN (value > bound)::BIGINT WHEN 'below' THEN (value < bound)::BIGINT END AS beyond
        FROM metrics m LEFT JOIN quality_thresholds USING (metric, source)
        WHERE hour = (SELECT max(hour) FROM quality_hourly h WHERE h.source = m.source)""",
}


def views(season, counts, sent):
    """Rows of the views by name, the tables, and faults in words. `sent` are the dead letters so far."""
    read = lambda topic: next((list(rs) for _, rs in model.read_season(season, [topic])), [])[: counts[topic]]
    tables, records, fields = {}, [], []
    for topic, name in RAW.items():
        stream = tables[name] = Stream(4)
        for record in read(topic):
            at = model.moment(record["timestamp"])
            if stream.takes(record["partition"], at):
                key, ended, found = LOOK[topic](record)
                records.append((topic, hour(at), at, key, ended))
                fields += [(topic, hour(at), field, there) for field, there in found.items()]
    dead, tables["dead_letters"] = dead_letters(sent)
    changed = tables["threshold_changes"] = thresholds(read("quality.threshold"))
    bounds = {(m, s): (*rule, False) for m, rule in DEFAULTS.items() for s in RAW}
    for key, (_, row, _) in changed.held.items():
        if row is not None:
            named = json.loads(key)
            bounds[named["metric"], named["source"]] = (row["bound"], row["direction"], True)
    db = duckdb.connect()
    db.execute("SET TimeZone = 'UTC'")
    clocks = [(topic, tables[name].watermark()) for topic, name in RAW.items()] + [("dead", tables["dead_letters"].watermark())]
    answers.fill(db, "records", "source hour:t received_at:t id ended_at:t", records)
    db.execute("CREATE TABLE ids AS SELECT DISTINCT source, hour, id FROM records")
    answers.fill(db, "fields", "source hour:t field found:b", fields)
    answers.fill(db, "dead", "source hour:t outcome rule", dead)
    answers.fill(db, "clocks", "source mark:t", clocks)
    answers.fill(db, "sources", "source", [(topic,) for topic in RAW])
    answers.fill(db, "quality_thresholds", "metric source bound:d direction changed:b", [(*key, *rule) for key, rule in bounds.items()])
    for name, sql in TABLES.items():
        db.execute(f"CREATE TABLE {name} AS {sql}")
    print(f"  {len(records)} raw records, {len(dead)} dead letters")
    return {name: answers.rows_of(db, name) for name in VIEWS}, tables, []
