"""Rows of the match model from raw records, in plain Python: the judge of the adapters.

    model.py SEASON_DIR [--moment N] [--one-partition]

Prints how many records of each table had which outcome. As a module: `Ingest` takes records in their
order and keeps those that count; `rows()` gives the model's tables as lists of tuples in the order of
COLUMNS. Written from the comments of 10_model.sql, the APIs' formats and docs/sources.md,
docs/event-time.md, docs/privacy.md and docs/reference/connectors.md, not from the adapters' SQL.

Erasure: what is held must not depend on when an order came, so persons are taken out as if all orders had come
first (`Ingest(subjects=...)`). Which fields name persons, `erase.by` in the SQL says: it is read there, as is
whether there is a table of orders at all.
"""

import argparse
import collections
import datetime
import json
import pathlib
import re

EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
SECOND, DAY = 1_000_000, 86_400_000_000
MINUTE = 60 * SECOND

COLUMNS = {
    "matches": "game match_id status platform region queue ranked:b mode map patch started_at:t ended_at:t duration_s:d fetched_at:t",
    "teams": "game match_id team_id:i outcome score:i kills:i",
    "participants": "game match_id status platform region queue ranked:b mode map patch ended_at:t duration_s:d slot:i player_id "
    "player_name is_bot:b team_id:i champion_id:i champion role outcome placement:i kills:i deaths:i assists:i assist_weight:d "
    "best_spree:i score:i cs:i gold:i damage:d team_damage:d team_size:i damage_taken:d vision:d shots_fired:i shots_hit:i "
    "played_s:d left_early:b",
    "bans": "game match_id team_id:i champion_id:i turn:i",
    "awards": "game match_id slot:i player_id kind award_id:i times:i score:i",
    "timeline_frames": "game match_id at_s:d slot:i gold:i experience:i cs:i level:i",
    "timeline_events": "game match_id at_s:d kind detail slot:i victim_slot:i team_id:i",
    "skills": "game match_id player_id team_rating:d rating_before:d rating_after:d tier_before tier_after kills:i "
    "expected_kills:d kills_deviation:d deaths:i expected_deaths:d deaths_deviation:d",
    "ranks": "game player_id queue is_main:b tier division points:d wins:i losses:i as_of:t",
}


class Bad(Exception):
    """A record that cannot be read as its columns."""


# --- reading values -------------------------------------------------------------------------------


def text(v):
    if not isinstance(v, str):
        raise Bad(f"no text: {v!r}")
    return v


def flag(v):
    if not isinstance(v, bool):
        raise Bad(f"no boolean: {v!r}")
    return v


def whole(bits):
    def read(v):
        if isinstance(v, bool) or not isinstance(v, (int, float)) or v != int(v):
            raise Bad(f"no whole number: {v!r}")
        if not -(2 ** (bits - 1)) <= v < 2 ** (bits - 1):
            raise Bad(f"out of range: {v!r}")
        return int(v)

    return read


def number(v):
    if isinstance(v, str) and v in ("NaN", "Infinity", "-Infinity"):
        return float(v)
    if isinstance(v, bool) or not isinstance(v, (int, float)):
        raise Bad(f"no number: {v!r}")
    return float(v)


def moment(v):
    """Microseconds since 1970 of an ISO-8601 text; further digits are cut off."""
    found = re.fullmatch(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:\.(\d+))?(Z|[+-]\d\d:?\d\d)?", text(v))
    if not found:
        raise Bad(f"no time: {v!r}")
    day, clock, digits, zone = found.groups()
    try:
        at = datetime.datetime.fromisoformat(f"{day}T{clock}" + ("+00:00" if zone in (None, "Z") else zone))
    except ValueError as e:
        raise Bad(str(e)) from None
    whole_seconds = int((at - EPOCH).total_seconds())
    return whole_seconds * SECOND + int(((digits or "") + "000000")[:6])


PERIOD = re.compile(r"P(?:(-?\d+)D)?(?:T(?:(-?\d+)H)?(?:(-?\d+)M)?(?:(-?)(\d+)(?:\.(\d+))?S)?)?")


def period(v):
    """Microseconds of an ISO-8601 duration of days and less."""
    found = PERIOD.fullmatch(text(v))
    if not found or v in ("P", "PT") or v.endswith("T"):
        raise Bad(f"no duration: {v!r}")
    days, hours, minutes, sign, seconds, digits = found.groups()
    total = int(days or 0) * DAY + int(hours or 0) * 3600 * SECOND + int(minutes or 0) * MINUTE
    # PostgreSQL reads the fraction as a double and rounds what is beyond the microsecond, a half downwards.
    inexact = float(f"0.{digits or 0}") * 1e6
    fraction = int(inexact) + (inexact - int(inexact) > 0.5)
    return total + (-1 if sign else 1) * (int(seconds or 0) * SECOND + fraction)


# --- persons who are erased -----------------------------------------------------------------------

DOMAIN = pathlib.Path(__file__).resolve().parents[2] / "dataflows/topologies/domain"
GONE = object()


def sql_of(path=DOMAIN):
    files = sorted(path.glob("*.sql")) if path.is_dir() else [path]
    return "\n".join(f.read_text() for f in files)


def statements(sql):
    """The options of each table by its name, as text."""
    return {m.group(1): m.group(2) for m in re.finditer(r"CREATE (?:TABLE|SOURCE) (\w+) \(.*?\bWITH \((.*?)\n?\)\s*FORMAT", sql, re.S)}


def persons(sql):
    """Paths to persons by table: lists of (field, whether it is an array that is stepped into)."""
    paths = {}
    for name, options in statements(sql).items():
        found = re.search(r"\berase\.by = '([^']*)'", options)
        paths[name] = [[(step.removesuffix("[]"), step.endswith("[]")) for step in path.strip().split(".")]
                       for path in (found.group(1).split(",") if found else [])]
    return paths


def takes_orders(sql):
    return any(re.search(r"\berase = '", options) for options in statements(sql).values())


def subjects_of(records):
    """Ids that records of user.erased order to erase."""
    found = set()
    for record in records:
        try:
            subject = FORMS["user.erased"](json.loads(record["value"] or "null"))["subject"]
        except (Bad, ValueError):
            continue
        found |= {subject} - {None}
    return frozenset(found)


def without(value, path, subjects):
    """The value without the persons at the end of a path; GONE where it is itself one of theirs."""
    if not path:
        return GONE if value in subjects else value
    if value is None:
        return None
    (step, many), rest = path[0], path[1:]
    field = next(name for name in value if name.lower() == step.lower())
    inner = value[field]
    if not many:
        left = without(inner, rest, subjects)
        return GONE if left is GONE else value if left is inner else {**value, field: left}
    kept = [left for left in (without(item, rest, subjects) for item in inner or []) if left is not GONE]
    same = inner is None or len(kept) == len(inner) and all(a is b for a, b in zip(kept, inner))
    return value if same else {**value, field: kept}


def anything(v):
    return v


def listed(item):
    def read(v):
        if not isinstance(v, list):
            raise Bad(f"no array: {v!r}")
        return [None if x is None else item(x) for x in v]

    return read


def struct(**fields):
    known = {name.lower(): (name, read) for name, read in fields.items()}

    def read(v):
        if not isinstance(v, dict):
            raise Bad(f"no object: {v!r}")
        row = dict.fromkeys(fields)
        for name, value in v.items():
            # The field of the very name comes before one that differs in case.
            if name.lower() in known:
                column, parse = known[name.lower()]
                if name != column and column in v:
                    continue
                row[column] = None if value is None else parse(value)
        return row

    return read


i32, i64 = whole(32), whole(64)
RIOT_PLAYER = struct(
    participantId=i32, puuid=text, riotIdGameName=text, riotIdName=text, summonerName=text, championId=i32, championName=text,
    teamId=i32, playerSubteamId=i32, placement=i32, subteamPlacement=i32, teamPosition=text, win=flag,
    gameEndedInEarlySurrender=flag, timePlayed=number, kills=i64, deaths=i64, assists=i64, largestKillingSpree=i64,
    totalMinionsKilled=i64, neutralMinionsKilled=i64, goldEarned=i64, totalDamageDealtToChampions=number,
    totalDamageTaken=number, visionScore=number)
COUNTED = struct(first=flag, kills=i64)
RIOT_TEAM = struct(
    teamId=i32, win=flag, bans=listed(struct(championId=i32, pickTurn=i32)), objectives=struct(champion=COUNTED, tower=COUNTED))
RIOT_INFO = dict(
    platformId=text, gameId=i64, gameMode=text, queueId=i32, mapId=i32, gameVersion=text, gameStartTimestamp=i64,
    gameEndTimestamp=i64, gameDuration=number, endOfGameResult=text, participants=listed(RIOT_PLAYER), teams=listed(RIOT_TEAM))
EVENT = struct(type=text, timestamp=i64, killerId=i32, victimId=i32, killerTeamId=i32, teamId=i32, monsterType=text,
               buildingType=text, winningTeam=i32)
AWARD = struct(NameId=i64, Count=i64, TotalPersonalScoreAwarded=i64)
CORE = struct(CoreStats=struct(
    Score=i64, PersonalScore=i64, Kills=i64, Deaths=i64, Assists=i64, MaxKillingSpree=i64, ShotsFired=i64, ShotsHit=i64,
    DamageDealt=number, DamageTaken=number, Medals=listed(AWARD), PersonalScores=listed(AWARD)))
RATING = struct(Value=number, Tier=text, SubTier=i32)
EXPECTED = struct(Count=i64, Expected=number, StdDev=number)
LIVE = dict(game=text, match_id=text, occurred_at=moment)

FORMS = {
    "riot.match": struct(metadata=struct(matchId=text), info=struct(**RIOT_INFO), **RIOT_INFO),
    "riot.timeline": struct(metadata=struct(matchId=text), info=struct(frames=listed(struct(
        timestamp=i64, participantFrames=anything, events=listed(EVENT))))),
    "riot.league": struct(puuid=text, queueType=text, tier=text, rank=text, leaguePoints=number, wins=i64, losses=i64),
    "halo.match": struct(
        MatchId=text,
        MatchInfo=struct(StartTime=moment, EndTime=moment, Duration=period, PlayableDuration=period, LifecycleMode=i32, GameVariantCategory=i32,
                         MapVariant=struct(AssetId=text), Playlist=struct(AssetId=text), TeamsEnabled=flag),
        Teams=listed(struct(TeamId=i32, Outcome=i32, Rank=i32, Stats=CORE)),
        Players=listed(struct(
            PlayerId=text, PlayerType=i32, LastTeamId=i32, Outcome=i32, Rank=i32,
            ParticipationInfo=struct(LeftInProgress=flag, PresentAtCompletion=flag, TimePlayed=period),
            PlayerTeamStats=listed(struct(TeamId=i32, Stats=CORE))))),
    "halo.skill": struct(Value=listed(struct(Id=text, ResultCode=i32, Result=struct(
        TeamMmr=number, RankRecap=struct(PreMatchCsr=RATING, PostMatchCsr=RATING),
        StatPerformances=struct(Kills=EXPECTED, Deaths=EXPECTED))))),
    "halo.history": struct(Results=listed(struct(MatchId=text, MatchInfo=struct(StartTime=moment, EndTime=moment)))),
    "halo.profile": struct(xuid=text, gamertag=text),
    "user.profile.updated": struct(event_id=text, user_id=text, display_name=text, email=text, country=text,
                                   accounts=listed(struct(game=text, player_id=text)), updated_by=text, updated_at=moment),
    "user.profile.resolved": struct(user_id=text, resolved_by=text, resolved_at=moment),
    "user.preferences.changed": struct(user_id=text, analytics_consent=flag, language=text, updated_at=moment),
    "user.authenticated": struct(event_id=text, occurred_at=moment, user_id=text, method=text, succeeded=flag),
    "user.session.created": struct(session_id=text, user_id=text, device=text, occurred_at=moment),
    "user.logout.initiated": struct(session_id=text, reason=text, occurred_at=moment),
    "user.erased": struct(subject=text, requested_at=moment),
    "rank.changed": struct(game=text, player_id=text, queue=text, tier=text, division=text, points=number, wins=i64, losses=i64, as_of=moment),
    "match.live.started": struct(platform=text, queue=text, mode=text, map=text, started_at=moment, players=listed(struct(
        player_id=text, player_name=text, team_id=i32, champion_id=i32)), **LIVE),
    "match.live.updated": struct(at_s=number, teams=listed(struct(team_id=i32, score=i64, kills=i64)), players=listed(struct(
        player_id=text, kills=i64, deaths=i64, assists=i64, gold=i64)), **LIVE),
}


# --- meaning of a record --------------------------------------------------------------------------


def riot_info(row):
    return row["info"] if row["info"] is not None else row


def riot_id(row):
    named = (row["metadata"] or {}).get("matchId")
    info = riot_info(row)
    if named:
        return named
    if info["platformId"] is None or info["gameId"] is None:
        return None
    return f"{info['platformId']}_{info['gameId']}"


def riot_times(info):
    """Start and end in microseconds, and seconds played. No end means that the duration counts milliseconds."""
    start, end, length = info["gameStartTimestamp"], info["gameEndTimestamp"], info["gameDuration"]
    if start is None or length is None:
        return None
    if end is None:
        return start * 1000, round(start + length) * 1000, length / 1000.0
    return start * 1000, end * 1000, length


def riot_rules(row):
    info = riot_info(row)
    times = riot_times(info)
    if riot_id(row) is None:
        return "no match_id"
    if times is None:
        return "no time"
    start, end, seconds = times
    if not 1 <= len(info["participants"] or []) <= 24:
        return "has_players"
    if not 0 <= seconds <= 14400:
        return "sane_duration"
    return "ends_after_start" if end < start else None


def halo_played(info):
    """Microseconds in which players could play. Where that is not told, the whole duration."""
    playable = info.get("PlayableDuration")
    return info.get("Duration") if playable is None else playable


def halo_rules(row):
    info = row["MatchInfo"] or {}
    start, end, length = info.get("StartTime"), info.get("EndTime"), halo_played(info)
    if row["MatchId"] is None:
        return "no match_id"
    if start is None or end is None or length is None:
        return "no time"
    if not 1 <= len(row["Players"] or []) <= 64:
        return "has_players"
    if not 0 <= length <= 86400 * SECOND:
        return "sane_duration"
    return "ends_after_start" if end < start else None


def needs(*names):
    return lambda row: next((f"no {n}" for n in names if row[n] is None), None)


def keys(*names):
    return lambda row: tuple(row[n] for n in names)


class Table:
    """A table, as it keeps its topic's records."""

    def __init__(self, topic, rules, key=None, version=None, time=None, delay=0, retention=None, first=False, upsert=False, without=None, ahead=DAY):
        self.topic, self.rules, self.key, self.version, self.time = topic, rules, key, version, time
        self.delay, self.retention, self.first, self.upsert, self.without = delay, retention, first, upsert, without
        self.ahead = ahead
        # Records of files have their timestamp as a column: another one makes another row.
        self.stamped = False
        self.held, self.outcomes, self.rejected, self.newest = {}, collections.Counter(), [], {}
        self.rows, self.persons, self.subjects = [], [], frozenset()
        # Outcomes by key, and the keys of which a record named somebody who is erased.
        self.of_key, self.touched = collections.defaultdict(collections.Counter), set()

    def watermark(self, partitions):
        """That of the partition that is behind; None before each has brought something."""
        if any(p not in self.newest for p in partitions):
            return None
        return min(self.newest[p] for p in partitions) - self.delay

    def bounds(self):
        """Bounds of the counts of outcomes: {outcome: (least, most)}.

        Records are judged as they were sent, so refusals are certain. What else becomes of a key with a person who is
        erased depends on which of its records were read before the epoch of the order; there are as many.
        """
        loose = collections.Counter()
        for key in self.touched:
            loose.update(self.of_key[key])
        free = sum(loose.values())
        known = ("accepted", "duplicate", "superseded", "erased")
        return {o: (self.outcomes[o] - loose[o], self.outcomes[o] - loose[o] + free) if o in known else (self.outcomes[o],) * 2
                for o in known + ("constraint", "decode", "late")}

    def take(self, record, number, row):
        outcome, why = self.decide(record, number, row)
        self.outcomes[outcome] += 1
        if outcome in ("constraint", "decode", "late"):
            self.rejected.append((number, outcome, why))
        return outcome, why

    def decide(self, record, number, row):
        stamp = None if record["timestamp"] is None else moment(record["timestamp"])
        if self.upsert:
            if record["key"] is None:
                return "decode", "no key"
            if record["value"] is None:
                return self.delete(record["key"])
        if isinstance(row, Bad):
            return "decode", str(row)
        why = self.rules(row)
        if why:
            return "constraint", why
        partition = record["partition"]
        at = self.time(row) if self.time else None
        if at is not None:
            if stamp is not None and at > stamp + self.ahead:
                return "constraint", "watermark.max_ahead"
            newest = self.newest.get(partition)
            if self.retention and newest is not None and at < newest - self.delay - self.retention:
                return "late", "retention"
            self.newest[partition] = at if newest is None else max(newest, at)
        if self.key is None:
            self.rows.append(row)
            return "accepted", None
        if self.without:
            row = {name: value for name, value in row.items() if name != self.without}
        key = record["key"] if self.upsert else self.key(row, stamp)
        left = row
        for path in self.persons if self.subjects else []:
            left = left if left is GONE else without(left, path, self.subjects)
        outcome = self.put(key, left, stamp, row)
        if self.persons and self.subjects:
            self.of_key[key][outcome[0]] += 1
            if left is not row:
                self.touched.add(key)
        return outcome

    def delete(self, key):
        held = self.held.get(key)
        if held is None or held[1] is None:
            return "duplicate", None
        self.held[key] = (held[0], None, None)
        return "accepted", None

    def put(self, key, row, stamp, sent):
        """Of a row that goes its key and version stay, unless the key is the person's own."""
        version = self.version(sent, stamp) if self.version else None
        held = self.held.get(key)
        if row is GONE:
            named = any(part in self.subjects for part in (key if isinstance(key, tuple) else (key,)))
            first = held is None or held[1] is None
            if not named and (first if self.first else first or not self.version or version >= held[0]):
                self.held[key] = (version, GONE, stamp)
            return "erased", None
        if held is not None and held[1] is not None and (self.first or held[1] == row and version == (held[0] if self.version else None) and not (self.stamped and held[2] != stamp)):
            return "duplicate", None
        if held is not None and self.version and version < held[0]:
            return "superseded", None
        self.held[key] = (version, row, stamp)
        return "accepted", None


def fetched(_, stamp):
    return stamp


def by_name(name):
    return lambda row, _: row[name]


def parsed(form, record):
    """A record's value as its columns, or why it has none."""
    try:
        if record["value"] is None:
            raise Bad("no value")
        return form(json.loads(record["value"], parse_constant=refuse))
    except (Bad, ValueError, OverflowError) as e:
        return e if isinstance(e, Bad) else Bad(str(e))


def tables():
    by = lambda name: lambda row, _: row[name]
    keyed = lambda *names: lambda row, _: tuple(row[n] for n in names)
    hour = 3600 * SECOND
    live = dict(key=keyed("game", "match_id"), version=by("occurred_at"), time=lambda r: r["occurred_at"], delay=30 * SECOND, retention=2 * DAY, ahead=5 * MINUTE)
    by_time = lambda name: dict(time=lambda r: r[name], delay=hour, ahead=5 * MINUTE)
    event = dict(time=lambda r: r["occurred_at"], delay=hour, retention=90 * DAY, first=True)
    return {
        "riot_captures": Table("riot.match", riot_rules, lambda r, _: riot_id(r), fetched, lambda r: riot_times(riot_info(r))[1], hour),
        "riot_timelines": Table("riot.timeline", lambda r: "no match_id" if not r["metadata"] or r["metadata"]["matchId"] is None else (
            None if r["info"] and r["info"]["frames"] else "has_frames"), lambda r, _: r["metadata"]["matchId"], fetched),
        "riot_leagues": Table("riot.league", needs("puuid", "queueType", "tier"), lambda r, s: (r["puuid"], r["queueType"], s), first=True),
        "halo_captures": Table("halo.match", halo_rules, lambda r, _: r["MatchId"], fetched, lambda r: r["MatchInfo"]["EndTime"], hour),
        "halo_skills": Table("halo.skill", lambda r: None, lambda r, _: None, fetched, upsert=True),
        "halo_history": Table("halo.history", lambda r: "is_a_page" if r["Results"] is None else None),
        "halo_profiles": Table("halo.profile", needs("xuid", "gamertag"), keyed("xuid"), fetched),
        # The event's own id is no column of this table.
        "profiles": Table("user.profile.updated", needs("user_id", "updated_at"), keyed("user_id"), by("updated_at"), without="event_id",
                          **by_time("updated_at")),
        "profile_updates": Table("user.profile.updated", needs("event_id", "user_id", "updated_by", "updated_at"), keyed("event_id"),
                                 retention=30 * DAY, first=True, **by_time("updated_at")),
        "profile_resolutions": Table("user.profile.resolved", needs("user_id", "resolved_by", "resolved_at"), keyed("user_id"), by("resolved_at"),
                                     **by_time("resolved_at")),
        "preferences": Table("user.preferences.changed", needs("user_id", "updated_at"), keyed("user_id"), by("updated_at"), **by_time("updated_at")),
        "authentications": Table("user.authenticated", needs("event_id", "occurred_at", "succeeded"), keyed("event_id"), **event),
        "sessions_created": Table("user.session.created", needs("session_id", "user_id", "occurred_at"), keyed("session_id"), **event),
        "logouts": Table("user.logout.initiated", needs("session_id", "occurred_at"), keyed("session_id"), **event),
        "erasures": Table("user.erased", needs("subject"), keyed("subject")),
        "rank_changes": Table("rank.changed", needs("game", "player_id", "queue", "tier", "as_of"), keyed("game", "player_id", "queue", "as_of"),
                              **by_time("as_of")),
        "live_started": Table("match.live.started", needs("game", "match_id", "started_at", "occurred_at"), **live),
        "live_updates": Table("match.live.updated", needs("game", "match_id", "occurred_at"), **live),
    }


class Ingest:
    def __init__(self, one_partition=False, partitions=range(4), subjects=frozenset(), sql=None):
        self.tables = tables()
        sql = sql_of() if sql is None else sql
        paths = persons(sql)
        if not takes_orders(sql):
            subjects = frozenset()
            del self.tables["erasures"]
        self.subjects = subjects
        for name, table in self.tables.items():
            table.persons, table.subjects = paths.get(name, []), subjects
        self.topics = collections.defaultdict(list)
        for table in self.tables.values():
            self.topics[table.topic].append(table)
        for table in self.tables.values():
            table.stamped = one_partition and table.version is fetched
        self.one, self.partitions = one_partition, [0] if one_partition else list(partitions)
        self.read = collections.Counter()

    def take(self, topic, record):
        if self.one:
            record = {**record, "partition": 0}
        number = self.read[topic]
        self.read[topic] += 1
        row = parsed(FORMS[topic], record)
        return [table.take(record, number, row) for table in self.topics[topic]]

    def watermark(self, name):
        table = self.tables[name]
        return table.watermark(self.partitions)

    def held(self, name):
        return [(key, row, stamp) for key, (_, row, stamp) in self.tables[name].held.items() if row is not None and row is not GONE]

    def rows(self):
        out = {name: [] for name in COLUMNS}
        for match_id, row, stamp in self.held("riot_captures"):
            riot_rows(out, match_id, riot_info(row), stamp)
        for match_id, row, _ in self.held("riot_timelines"):
            timeline_rows(out, match_id, row["info"]["frames"])
        ended = {}
        for match_id, row, stamp in self.held("halo_captures"):
            ended[match_id] = row["MatchInfo"]["EndTime"]
            halo_rows(out, match_id, row, stamp)
        for match_id, row, _ in self.held("halo_skills"):
            skill_rows(out, match_id, row, ended.get(match_id))
        for _, row, stamp in self.held("riot_leagues"):
            queue = {"RANKED_SOLO_5x5": "420", "RANKED_FLEX_SR": "440"}.get(row["queueType"], row["queueType"])
            out["ranks"].append(("lol", row["puuid"], queue, queue == "420", row["tier"], row["rank"], row["leaguePoints"],
                                 row["wins"], row["losses"], stamp))
        for _, row, _ in self.held("rank_changes"):
            main = row["queue"] == ("420" if row["game"] == "lol" else "all")
            out["ranks"].append((row["game"], row["player_id"], row["queue"], main, row["tier"], row["division"], row["points"],
                                 row["wins"], row["losses"], row["as_of"]))
        return out


def refuse(name):
    raise Bad(f"no JSON: {name}")


# --- League of Legends ----------------------------------------------------------------------------

REGIONS = {"americas": "NA1 BR1 LA1 LA2 PBE1", "asia": "KR JP1", "europe": "EUW1 EUN1 TR1 RU ME1", "sea": "OC1 PH2 SG2 TH2 TW2 VN2"}
REGION = {platform: region for region, platforms in REGIONS.items() for platform in platforms.split()}


def total(values):
    known = [v for v in values if v is not None]
    return sum(known) if known else None


def riot_rows(out, match_id, info, stamp):
    start, end, seconds = riot_times(info)
    players = info["participants"]
    if any(p["gameEndedInEarlySurrender"] for p in players):
        status = "remake"
    elif info["endOfGameResult"] not in (None, "GameComplete") or seconds == 0:
        status = "aborted"
    else:
        status = "completed"
    arena = info["gameMode"] == "CHERRY"
    queue = None if info["queueId"] is None else "custom" if info["queueId"] == 0 else str(info["queueId"])
    ranked = None if info["queueId"] is None else info["queueId"] in (420, 440)
    patch = None if info["gameVersion"] is None else ".".join(info["gameVersion"].split(".")[:2])
    map_id = None if info["mapId"] is None else str(info["mapId"])
    head = ("lol", match_id, status, info["platformId"], REGION.get(info["platformId"]), queue, ranked, info["gameMode"], map_id, patch)
    out["matches"].append(head + (start, end, seconds, stamp))
    side = "playerSubteamId" if arena else "teamId"
    members = collections.defaultdict(list)
    for p in players:
        members[p[side]].append(p)
    if arena:
        for team, them in members.items():
            out["teams"].append(("lol", match_id, team, "win" if any(p["win"] for p in them) else "loss", None, total(p["kills"] for p in them)))
    for team in info["teams"] or []:
        goals = team["objectives"] or {}
        kills = lambda what: (goals.get(what) or {}).get("kills")
        if not arena and (team["teamId"] or 0) > 0:
            out["teams"].append(("lol", match_id, team["teamId"], "win" if team["win"] else "loss", kills("tower"), kills("champion")))
        for ban in team["bans"] or []:
            if (ban["championId"] or 0) > 0:
                out["bans"].append(("lol", match_id, team["teamId"], ban["championId"], ban["pickTurn"]))
    for p in players:
        them = members[p[side]]
        bot = p["puuid"] == "BOT"
        name = p["riotIdGameName"] or p["riotIdName"] or p["summonerName"] or None
        minions, monsters = p["totalMinionsKilled"], p["neutralMinionsKilled"]
        place = p["placement"] if p["placement"] is not None else p["subteamPlacement"]
        out["participants"].append(head + (
            end, seconds, p["participantId"], None if bot else p["puuid"] or None, name, bot, p[side], p["championId"],
            p["championName"], p["teamPosition"] if p["teamPosition"] in ("TOP", "JUNGLE", "MIDDLE", "BOTTOM", "UTILITY") else None,
            "win" if p["win"] else "loss", place or None, p["kills"], p["deaths"], p["assists"], 1.0, p["largestKillingSpree"], None,
            None if minions is None or monsters is None else minions + monsters, p["goldEarned"], p["totalDamageDealtToChampions"],
            total(o["totalDamageDealtToChampions"] for o in them), len(them), p["totalDamageTaken"], p["visionScore"], None, None,
            p["timePlayed"], False if arena else None if p["timePlayed"] is None else p["timePlayed"] < 0.9 * seconds))


KINDS = {"CHAMPION_KILL": "kill", "BUILDING_KILL": "building", "ELITE_MONSTER_KILL": "monster", "TURRET_PLATE_DESTROYED": "plate", "GAME_END": "end"}


def timeline_rows(out, match_id, frames):
    for frame in frames:
        for slot, state in (frame["participantFrames"] or {}).items():
            minions, monsters = state.get("minionsKilled"), state.get("jungleMinionsKilled")
            cs = None if minions is None or monsters is None else minions + monsters
            out["timeline_frames"].append(("lol", match_id, frame["timestamp"] / 1000.0, int(slot), state.get("totalGold"), state.get("xp"), cs, state.get("level")))
        for e in frame["events"] or []:
            kind = KINDS.get(e["type"])
            if kind is None:
                continue
            team = e["killerTeamId"] if e["killerTeamId"] is not None else e["winningTeam"]
            if kind in ("building", "plate"):
                # The team that is named lost it.
                team = {100: 200, 200: 100}.get(e["teamId"])
            out["timeline_events"].append(("lol", match_id, e["timestamp"] / 1000.0, kind, e["monsterType"] or e["buildingType"],
                                           e["killerId"], e["victimId"], team))


# --- Halo Infinite --------------------------------------------------------------------------------

MODES = {6: "slayer", 7: "attrition", 8: "elimination", 9: "fiesta", 11: "strongholds", 12: "king of the hill", 14: "total control",
         15: "capture the flag", 17: "extraction", 18: "oddball", 19: "stockpile", 22: "infection", 23: "vip", 42: "firefight"}
OUTCOMES = {1: "tie", 2: "win", 3: "loss"}


def core(stats):
    return ((stats or {}).get("CoreStats")) or None


def halo_rows(out, match_id, row, stamp):
    info, players = row["MatchInfo"], row["Players"]
    seconds = halo_played(info) / SECOND
    there = any((p["ParticipationInfo"] or {}).get("PresentAtCompletion") for p in players)
    status = "completed" if there else "aborted"
    queue = (info["Playlist"] or {}).get("AssetId") if info["LifecycleMode"] == 3 else "custom"
    category = info["GameVariantCategory"]
    mode = None if category is None else MODES.get(category, f"category {category}")
    head = ("halo", match_id, status, None, None, queue, None, mode, (info["MapVariant"] or {}).get("AssetId"), None)
    out["matches"].append(head + (info["StartTime"], info["EndTime"], seconds, stamp))
    for team in row["Teams"] or []:
        stats = core(team["Stats"]) or {}
        out["teams"].append(("halo", match_id, team["TeamId"], OUTCOMES.get(team["Outcome"], "unfinished"), stats.get("Score"), stats.get("Kills")))
    in_teams = bool(info["TeamsEnabled"])
    parts = [[core(t["Stats"]) for t in p["PlayerTeamStats"] or [] if core(t["Stats"])] for p in players]
    for n, p in enumerate(players):
        mine, stay = parts[n], p["ParticipationInfo"] or {}
        them = [m for m, o in enumerate(players) if not in_teams or o["LastTeamId"] == p["LastTeamId"]]
        add = lambda field: total(s[field] for s in mine)
        bot = p["PlayerType"] != 1
        player = None if bot else p["PlayerId"] or None
        played = stay.get("TimePlayed")
        out["participants"].append(head + (
            info["EndTime"], seconds, n + 1, player, None, bot, p["LastTeamId"] if in_teams else None, None, None, None,
            OUTCOMES.get(p["Outcome"], "unfinished"), p["Rank"], add("Kills"), add("Deaths"), add("Assists"), 1 / 3,
            max((s["MaxKillingSpree"] for s in mine if s["MaxKillingSpree"] is not None), default=None), add("PersonalScore"), None, None,
            add("DamageDealt"), total(s["DamageDealt"] for m in them for s in parts[m]), len(them), add("DamageTaken"), None,
            add("ShotsFired"), add("ShotsHit"), None if played is None else played / SECOND, stay.get("LeftInProgress")))
        if bot:
            continue
        for kind, field in (("medal", "Medals"), ("personal score", "PersonalScores")):
            sums = collections.defaultdict(lambda: [0, 0])
            for award in (a for s in mine for a in s[field] or []):
                sums[award["NameId"]][0] += award["Count"] or 0
                sums[award["NameId"]][1] += award["TotalPersonalScoreAwarded"] or 0
            for award, (times, score) in sums.items():
                out["awards"].append(("halo", match_id, n + 1, player, kind, award, times, score))


def skill_rows(out, match_id, row, ended):
    for v in row["Value"] or []:
        if v["ResultCode"] != 0:
            continue
        result = v["Result"] or {}
        recap, stats = result.get("RankRecap") or {}, result.get("StatPerformances") or {}
        before, after = recap.get("PreMatchCsr") or {}, recap.get("PostMatchCsr") or {}
        kills, deaths = stats.get("Kills") or {}, stats.get("Deaths") or {}
        out["skills"].append((
            "halo", match_id, v["Id"], result.get("TeamMmr"), before.get("Value"), after.get("Value"), before.get("Tier"), after.get("Tier"),
            kills.get("Count"), kills.get("Expected"), kills.get("StdDev"), deaths.get("Count"), deaths.get("Expected"), deaths.get("StdDev")))
        # A rating counts from the end of its match on; so there is none before the match is known.
        if ended is not None and after.get("Tier"):
            step = None if after.get("SubTier") is None else str(after["SubTier"] + 1)
            out["ranks"].append(("halo", v["Id"], "all", True, after["Tier"], step, after.get("Value"), None, None, ended))


def read_season(folder, topics=None):
    """Records of each topic as iterators."""
    for topic in topics or FORMS:
        path = pathlib.Path(folder) / f"{topic}.jsonl"
        if path.exists():
            with open(path, encoding="utf-8") as lines:
                yield topic, (json.loads(line) for line in lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("season", type=pathlib.Path)
    parser.add_argument("--one-partition", action="store_true")
    args = parser.parse_args()
    ingest = Ingest(args.one_partition, subjects=subjects_of(r for _, rs in read_season(args.season, ["user.erased"]) for r in rs))
    for topic, records in read_season(args.season):
        for record in records:
            ingest.take(topic, record)
    for name, table in ingest.tables.items():
        print(f"{name:20}", *(f"{k} {v}" for k, v in sorted(table.outcomes.items())))
    for name, rows in ingest.rows().items():
        print(f"{name:20} {len(rows)} rows")


if __name__ == "__main__":
    main()
