"""A synthetic season of the match domain: raw records as they would arrive, and nothing that is real.

    season.py OUT_DIR --seed S --matches N [--players P] [--days D] [--erasures E] [--flips]

Writes OUT_DIR/TOPIC.jsonl, lines {"timestamp", "key", "partition", "value"} in the order of arrival with
`value` the record's text (null is a record without one), and moments.json: {"start", "moments": [{TOPIC:
lines so far}, ...]}, ten of them. The same arguments give the same bytes.

The season holds: players and champions of Zipf's activity, parties that play several matches in a row, a
patch every two weeks, a hidden skill of each player and game that drifts, ranks that follow it. It also
holds corrections, older captures that come late, duplicates, disorder, records that are broken in each
way that the tables know, consent that is withdrawn and given again, and orders to erase E persons, half of
them among those who play most; all of them go on playing. Users have preferences of notifications, with quiet
hours; senders report of notifications that may follow from a match or a rank, and of some that nobody sent. `--flips` adds matches that are fetched A, B, A with
the last A arriving before B.

Ids of persons are digests, and no other id contains one, so that a search for their bytes finds them alone.

Memory is that of the players and of the records under way, so a million matches are only a matter of time.
"""

import argparse
import bisect
import datetime
import hashlib
import heapq
import json
import math
import pathlib
import random
import zlib

START = datetime.datetime(2025, 6, 2, tzinfo=datetime.timezone.utc).timestamp()
DAY, PARTITIONS = 86400.0, 4
TOPICS = [
    "riot.match", "riot.timeline", "riot.league", "halo.match", "halo.skill", "halo.history", "halo.profile",
    "user.profile.updated", "user.profile.resolved", "user.preferences.changed", "user.authenticated",
    "user.session.created", "user.logout.initiated", "rank.changed", "match.live.started", "match.live.updated",
    "user.erased",
    # Of notifications.sql and quality.sql.
    "notification.preference.updated", "notification.delivered", "notification.failed", "notification.clicked",
    "quality.threshold",
]
# Topics of one partition.
SINGLE = {"notification.delivered", "notification.failed", "notification.clicked", "quality.threshold"}
CHAMPIONS = [
    (1, "Annie"), (2, "Olaf"), (3, "Galio"), (9, "FiddleSticks"), (11, "MasterYi"), (12, "Alistar"), (17, "Teemo"),
    (21, "MissFortune"), (22, "Ashe"), (25, "Morgana"), (28, "Evelynn"), (35, "Shaco"), (39, "Irelia"), (40, "Janna"),
    (51, "Caitlyn"), (53, "Blitzcrank"), (62, "MonkeyKing"), (64, "LeeSin"), (67, "Vayne"), (72, "Skarner"),
    (76, "Nidalee"), (81, "Ezreal"), (84, "Akali"), (86, "Garen"), (89, "Leona"), (99, "Lux"), (103, "Ahri"),
    (111, "Nautilus"), (119, "Draven"), (122, "Darius"), (126, "Jayce"), (145, "Kaisa"), (157, "Yasuo"), (202, "Jhin"),
    (222, "Jinx"), (233, "Briar"), (236, "Lucian"), (238, "Zed"), (412, "Thresh"), (517, "Sylas"), (523, "Aphelios"),
    (777, "Yone"), (876, "Lillia"), (893, "Aurora"), (950, "Naafiri"),
]
ROLES = ["TOP", "JUNGLE", "MIDDLE", "BOTTOM", "UTILITY"]
TIERS = ["IRON", "BRONZE", "SILVER", "GOLD", "PLATINUM", "EMERALD", "DIAMOND", "MASTER"]
HALO_TIERS = ["Bronze", "Silver", "Gold", "Platinum", "Diamond", "Onyx"]
PLATFORMS = ["KR", "EUW1", "NA1", "EUN1", "BR1", "JP1", "OC1", "TR1", "VN2", "XX9"]
# queue, mode, map, players, weight
RIOT_QUEUES = [(420, "CLASSIC", 11, 10, 50), (440, "CLASSIC", 11, 10, 12), (450, "ARAM", 12, 10, 16),
               (1700, "CHERRY", 30, 16, 6), (1750, "CHERRY", 30, 18, 4), (400, "CLASSIC", 11, 10, 10),
               (0, "CLASSIC", 11, 10, 2)]
HALO_MODES = [(6, 30), (15, 15), (18, 12), (11, 12), (12, 8), (22, 8), (42, 4), (9, 6), (23, 4), (99, 1)]
MEDALS = [622331684, 1512363953, 2123530881, 1169571763, 4229934157, 548533137]
# The fields of a Riot player whose spelling another patch changes.
OTHER_CASE = {"puuid": "PUUID", "teamPosition": "TeamPosition", "timePlayed": "timeplayed", "kills": "Kills",
              "totalDamageDealtToChampions": "totaldamageDealtToChampions", "championName": "ChampionName"}


def iso(seconds, digits=3):
    moment = datetime.datetime.fromtimestamp(round(seconds, 3), datetime.timezone.utc)
    text = moment.strftime("%Y-%m-%dT%H:%M:%S")
    if digits:
        text += f".{moment.microsecond // 1000:03}".rstrip("0").rstrip(".")
    return text + "Z"


def sql_time(seconds):
    """A time as SQL casts it to text."""
    return iso(seconds).replace("T", " ").removesuffix("Z") + "+00"


def duration(seconds):
    """ISO-8601 with seven decimals, as Halo writes it."""
    hours, rest = divmod(seconds, 3600)
    minutes, rest = divmod(rest, 60)
    text = "PT" + (f"{int(hours)}H" if hours else "") + (f"{int(minutes)}M" if minutes else "")
    return text + (f"{rest:.7f}".rstrip("0").rstrip(".") or "0") + "S"


def text_of(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


class Season:
    def __init__(self, args):
        self.args, self.rng = args, random.Random(args.seed)
        # Orders to erase draw by themselves: without them the season is the same but for the persons.
        self.erasing = random.Random(f"erasures of {args.seed}")
        self.telling = random.Random(f"notifications of {args.seed}")
        self.accounts = {}
        self.days = args.days
        self.now, self.seq = START, 0
        self.events, self.out = [], []
        self.counts = dict.fromkeys(TOPICS, 0)
        args.out.mkdir(parents=True, exist_ok=True)
        self.files = {t: open(args.out / f"{t}.jsonl", "w", encoding="utf-8") for t in TOPICS}
        self.moments, self.left = [], args.matches
        self.match_number = 0
        r = self.rng
        self.players = [self.player(n) for n in range(args.players)]
        # Zipf's law with a flattened top.
        weights = [1.0 / (rank + 3) ** 0.9 for rank in range(args.players)]
        r.shuffle(self.players)
        self.cumulative = []
        total = 0.0
        for w in weights:
            total += w
            self.cumulative.append(total)
        self.users = max(3, args.players // 4)

    def opaque(self, kind, name, length=32):
        """An id that tells nothing and has no beginning in common with others."""
        return hashlib.sha256(f"{kind} {name} of {self.args.seed}".encode()).hexdigest()[:length]

    def player(self, n):
        r = self.rng
        favourites = r.sample(range(len(CHAMPIONS)), 6)
        return {
            "n": n, "puuid": self.opaque("player", n), "xuid": f"xuid({2533 * 10**12 + int(self.opaque('xuid', n), 16) % 10**12})",
            "name": r.choice(["Po龍", "Tor", "Mo나", "Ri", "ツ", "Kael", "ß"]) + f"{n}", "platform": r.choice(PLATFORMS),
            "skill": {"lol": r.gauss(0, 0.8), "halo": r.gauss(0, 0.8)}, "busy": 0.0, "favourites": favourites,
            "lp": {}, "csr": None, "role": r.randrange(5),
        }

    # --- emission ------------------------------------------------------------------------------

    def emit(self, topic, at, value, key=None, by=None, stamp=None):
        """Sends a record at `at`; `value` is a JSON value, text as it is, or None."""
        text = value if value is None or isinstance(value, str) else text_of(value)
        partition = 0 if topic in SINGLE else zlib.crc32(str(by or key or text).encode()) % PARTITIONS
        line = {"timestamp": iso(at if stamp is None else stamp), "key": key, "partition": partition, "value": text}
        self.seq += 1
        heapq.heappush(self.out, (at, self.seq, topic, text_of(line)))

    def flush(self, until):
        while self.out and self.out[0][0] <= until:
            at, _, topic, line = heapq.heappop(self.out)
            self.files[topic].write(line + "\n")
            self.counts[topic] += 1
            # Moments are while a match is played.
            due = START + self.days * DAY * (len(self.moments) + 1) / 10
            if len(self.moments) < 9 and at > due and topic == "match.live.updated":
                self.moments.append(dict(self.counts))

    def at(self, when, what, *args):
        self.seq += 1
        heapq.heappush(self.events, (when, self.seq, what, args))

    # --- the course of the season --------------------------------------------------------------

    def run(self):
        self.people()
        self.broken_records()
        self.broken_reports()
        self.thresholds()
        self.at(START, self.next_party, self.args.matches / 1.9 / (self.days * DAY))
        while self.events:
            when, _, what, args = heapq.heappop(self.events)
            self.now = max(self.now, when)
            self.flush(self.now)
            what(*args)
        self.flush(math.inf)
        while len(self.moments) < 10:
            self.moments.append(dict(self.counts))
        self.moments[-1] = dict(self.counts)
        (self.args.out / "moments.json").write_text(json.dumps({"start": iso(START), "moments": self.moments}, indent=1) + "\n")
        for f in self.files.values():
            f.close()

    def next_party(self, rate):
        """Parties come more often in the evening; each plays some matches in a row."""
        r = self.rng
        when = self.now + r.expovariate(rate)
        hour = (when / 3600.0) % 24
        if self.left > 0:
            self.at(when, self.next_party, rate)
        if self.left > 0 and r.random() < 0.55 + 0.45 * math.sin((hour - 13) / 24 * 2 * math.pi):
            game = "lol" if r.random() < 0.6 else "halo"
            size = r.choices([1, 2, 3, 4], [50, 30, 12, 8])[0]
            party = self.pick(size, when, [])
            length = 1 + min(11, int(r.expovariate(1 / 3.0)))
            self.at(when, self.match, game, party, length)

    def pick(self, count, when, taken):
        """Players who are free, the active ones more often."""
        found, tries = [], 0
        chosen = {p["n"] for p in taken}
        while len(found) < count:
            p = self.players[bisect.bisect(self.cumulative, self.rng.random() * self.cumulative[-1])]
            tries += 1
            if p["n"] in chosen or (p["busy"] > when and tries < 400):
                continue
            chosen.add(p["n"])
            found.append(p)
        return found

    def match(self, game, party, length):
        if self.left <= 0:
            return
        self.left -= 1
        self.match_number += 1
        r, start = self.rng, self.now
        took = self.lol(party, start) if game == "lol" else self.halo(party, start)
        # Sometimes exactly the half hour that ends a play session.
        pause = r.choices([r.uniform(60, 700), r.uniform(900, 2400), 1800.0], [85, 14, 1])[0]
        if length > 1:
            self.at(start + took + pause, self.match, game, party, length - 1)

    def drift(self, p, game):
        p["skill"][game] = 0.995 * p["skill"][game] + self.rng.gauss(0, 0.07)

    def poisson(self, mean):
        limit, k, product = math.exp(-mean), 0, self.rng.random()
        while product > limit:
            k += 1
            product *= self.rng.random()
        return k

    # --- captures ------------------------------------------------------------------------------

    def captures(self, topic, match_id, body, ended, correct, key=None):
        """The records of a match, with duplicates, corrections and late captures; of one in a hundred none comes."""
        r = self.rng
        if r.random() < 0.01:
            return
        fetched = ended + r.uniform(60, 1200)
        arrives = fetched + (r.uniform(1, 20) if r.random() < 0.9 else r.uniform(60, 7200))
        send = lambda at, value, stamp: self.emit(topic, at, value, key, match_id, stamp)
        send(arrives, body, fetched)
        chance = r.random()
        if chance < 0.03:
            send(arrives + r.uniform(1, 40000), body, fetched)
        elif chance < 0.05:
            send(arrives + r.uniform(3600, 90000), body, fetched + 3500)
        elif chance < 0.09:
            later = fetched + r.uniform(3600, 2 * DAY)
            send(later + 5, correct(body), later)
        elif chance < 0.11:
            send(arrives + r.uniform(1000, 90000), correct(body), fetched - 30)
        elif chance < 0.12:
            send(arrives + 60, correct(body), fetched)
        elif chance < 0.15 and self.args.flips:
            send(arrives + 2000, body, fetched + 1900)
            send(arrives + 4000, correct(body), fetched + 900)

    # --- League of Legends ---------------------------------------------------------------------

    def patch(self, start):
        n = int((start - START) / (14 * DAY))
        return f"15.{11 + n}", n

    def lol(self, party, start):
        r = self.rng
        queue, mode, map_id, size, _ = r.choices(RIOT_QUEUES, [q[4] for q in RIOT_QUEUES])[0]
        others = self.pick(size - len(party), start, party)
        players = (party + others)[:size]
        r.shuffle(players)
        kind = r.choices(["completed", "remake", "aborted"], [94, 4, 2])[0]
        old = r.random() < 0.02 and mode != "CHERRY"
        took = {"completed": r.uniform(1100, 2400), "remake": r.uniform(90, 260), "aborted": r.uniform(0, 900)}[kind]
        if kind == "aborted" and r.random() < 0.3:
            took = 0.0
        took = float(int(took))
        began = start if not old else start - 4 * 365 * DAY
        began = round(began, 3)
        patch, patch_number = self.patch(start)
        if old:
            patch, patch_number = "11.15", 0
        info, rows = self.lol_info(players, queue, mode, map_id, kind, took, began, patch, patch_number, old)
        if old and r.random() < 0.5:
            for row in rows:
                row.pop("puuid", None)
        match_id = f"{info['platformId']}_{info['gameId']}"
        bare = old or r.random() < 0.05
        body = info if bare else {"metadata": {"dataVersion": "2", "matchId": match_id}, "info": info}
        if r.random() < 0.01 and not bare:
            body["metadata"]["matchId"] = ""
        for p in players:
            p["busy"] = start + took
            self.drift(p, "lol")
        ended = start + took + 10

        def correct(old_body):
            fresh = json.loads(text_of(old_body))
            inner = fresh.get("info", fresh)
            first = r.choice(inner["participants"])
            for field in list(first):
                if field.lower() == "kills":
                    first[field] += 1
            if r.random() < 0.2:
                for row in inner["participants"]:
                    row["gameEndedInEarlySurrender"] = True
            return fresh

        self.captures("riot.match", match_id, body, ended, correct)
        if mode == "CLASSIC" and not old and r.random() < (0.4 if self.args.matches < 2000 else 0.06):
            self.timeline(match_id, rows, took, ended, info)
        if queue in (420, 440) and kind == "completed":
            self.lol_ranks(players, rows, queue, ended)
        self.reported("trend", "lol", [p["puuid"] for p in players], match_id, ended)
        if r.random() < 0.25 and not old:
            self.live("lol", match_id, info["platformId"], str(queue), mode, str(map_id),
                      [(row.get("puuid"), p["name"], row["teamId"], row["championId"]) for p, row in zip(players, rows)],
                      start, took)
        return took

    def lol_info(self, players, queue, mode, map_id, kind, took, began, patch, patch_number, old):
        r = self.rng
        arena = mode == "CHERRY"
        size = len(players)
        a_team = (2 if size == 16 else 3) if arena else 5
        strength = [p["skill"]["lol"] for p in players]
        teams = [n // a_team for n in range(size)]
        force = [sum(s for s, t in zip(strength, teams) if t == team) / a_team for team in range(max(teams) + 1)]
        if arena:
            order = sorted(range(len(force)), key=lambda t: -(force[t] + r.gauss(0, 0.8)))
            place = {t: n + 1 for n, t in enumerate(order)}
            won = {t: place[t] <= len(order) // 2 for t in place}
        else:
            place = {}
            first = r.random() < 1 / (1 + math.exp(-1.3 * (force[0] - force[1])))
            won = {0: first, 1: not first}
        scale = took / 1700.0 * (1.6 if mode == "ARAM" else 1.0)
        rows = []
        for n, p in enumerate(players):
            form = p["skill"]["lol"] + r.gauss(0, 0.4) + (0.5 if won[teams[n]] else -0.5)
            champion, name = CHAMPIONS[p["favourites"][min(5, int(r.expovariate(0.7)))]]
            if r.random() < 0.15:
                champion, name = CHAMPIONS[min(len(CHAMPIONS) - 1, int(r.expovariate(0.08)))]
            if name == "FiddleSticks" and patch_number % 2:
                name = "Fiddlesticks"
            role = ROLES[n % 5] if mode == "CLASSIC" else ""
            support = role == "UTILITY"
            row = {
                "participantId": n + 1, "puuid": p["puuid"], "championId": champion, "championName": name,
                "champLevel": 1 + int(took / 120), "teamId": 100 + 100 * (n * 2 // size),
                "teamPosition": role if r.random() > 0.01 else "Invalid", "win": won[teams[n]],
                "gameEndedInEarlySurrender": kind == "remake", "gameEndedInSurrender": r.random() < 0.1,
                "timePlayed": int(took), "kills": self.poisson((2.5 if support else 6.5) * scale * math.exp(0.3 * form)),
                "deaths": self.poisson(5.5 * scale * math.exp(-0.25 * form)),
                "assists": self.poisson((12 if support else 6.5) * scale * math.exp(0.15 * form)),
                "largestKillingSpree": 0, "totalMinionsKilled": int((30 if support else 170) * scale * r.uniform(0.7, 1.2)),
                "neutralMinionsKilled": int(r.uniform(0, 20) + (110 if role == "JUNGLE" else 0) * scale),
                "goldEarned": int(11000 * scale * math.exp(0.1 * form) * r.uniform(0.85, 1.15)) + 500,
                "totalDamageDealtToChampions": int(17000 * scale * math.exp(0.25 * form + r.gauss(0, 0.3))),
                "totalDamageTaken": int(20000 * scale * r.uniform(0.6, 1.5)), "visionScore": int(r.uniform(5, 60) * scale),
                "itemsPurchased": r.randrange(30), "lane": "NONE",
            }
            row["largestKillingSpree"] = r.randint(0, row["kills"]) if row["kills"] else 0
            if arena:
                row.update(playerSubteamId=teams[n] + 1, subteamPlacement=place[teams[n]], placement=place[teams[n]])
                if place[teams[n]] > 1:
                    row["timePlayed"] = int(took * (1.05 - 0.09 * place[teams[n]]) if took else 0)
                if r.random() < 0.1:
                    del row["placement"]
            elif patch_number >= 1:
                row.update(playerSubteamId=0, subteamPlacement=0, placement=0)
            elif r.random() < 0.02:
                row["timePlayed"] = int(took * r.uniform(0.2, 0.95))
            if patch_number >= 1:
                row["riotIdGameName"], row["summonerName"] = p["name"], ""
            elif old:
                row["riotIdName"], row["summonerName"] = "", p["name"]
            else:
                row["riotIdName"], row["riotIdTagline"] = p["name"] + "x", "EUW"
            if r.random() < 0.01:
                for field in ("riotIdGameName", "riotIdName", "summonerName"):
                    if field in row:
                        row[field] = ""
            if (queue in (0, 450) and r.random() < 0.05) or r.random() < 0.002:
                row["puuid"] = "BOT"
            elif r.random() < 0.002:
                row["puuid"] = ""
            if r.random() < 0.001:
                row["kills"] = 95
            rows.append(row)
        return self.lol_body(rows, won, queue, mode, map_id, kind, took, began, patch, patch_number, old), rows

    def lol_body(self, rows, won, queue, mode, map_id, kind, took, began, patch, patch_number, old):
        r = self.rng
        arena = mode == "CHERRY"
        number = self.args.seed * 10_000_000 + self.match_number
        info = {
            "gameId": number, "platformId": r.choice(PLATFORMS) if not old else "ESPORTSTMNT06", "gameMode": mode,
            "queueId": queue, "mapId": map_id, "gameVersion": f"{patch}.{700 + patch_number}.1234",
            "gameStartTimestamp": round(began * 1000), "gameDuration": int(took),
            "participants": rows, "gameType": "MATCHED_GAME",
        }
        if old:
            info["gameDuration"] = int(took * 1000) + (r.randrange(1000) if took else 0)
            for row in rows:
                row.pop("gameEndedInEarlySurrender", None) if kind != "remake" else None
        else:
            info["gameEndTimestamp"] = round((began + took) * 1000) + r.randrange(0, 30000)
            if kind == "aborted":
                info["endOfGameResult"] = "Abort_Unexpected" if took else "GameComplete"
            elif patch_number >= 1:
                info["endOfGameResult"] = "GameComplete"
        teams = []
        for n in range(2):
            bans = [{"championId": r.choice([-1] + [c for c, _ in CHAMPIONS] * 2), "pickTurn": t + 1 + 5 * n} for t in range(5)]
            mine = [row for row in rows if row["teamId"] == 100 + 100 * n]
            teams.append({
                "teamId": 100 + 100 * n, "win": won.get(n, False), "bans": bans if mode == "CLASSIC" or arena else [],
                "objectives": {"champion": {"first": n == 0, "kills": sum(x["kills"] for x in mine)},
                               "tower": {"first": n == 0, "kills": r.randrange(0, 11)}, "horde": {"first": False, "kills": 1}},
            })
        if arena:
            teams[1].update(teamId=0, bans=[])
        info["teams"] = teams
        if patch_number % 3 == 2:
            for row in rows:
                for field, other in OTHER_CASE.items():
                    if field in row:
                        row[other] = row.pop(field)
            info["queueID"] = info.pop("queueId")
        if r.random() < 0.3:
            info["gameDuration"] = float(info["gameDuration"])
            info["mapId"] = float(map_id)
            for row in rows:
                row["visionScore"] = float(row["visionScore"])
                row["goldEarned"] = float(row["goldEarned"])
        return info

    def timeline(self, match_id, rows, took, ended, info):
        r = self.rng
        frames, at, totals = [], 0, {n: [500, 0, 0, 0] for n in range(1, 11)}
        monsters = ["DRAGON", "HORDE", "RIFTHERALD", "BARON_NASHOR"]
        while True:
            players, events = {}, []
            for n, t in totals.items():
                players[str(n)] = {"participantId": n, "totalGold": t[0], "xp": t[1], "minionsKilled": t[2],
                                   "jungleMinionsKilled": t[3], "level": 1 + t[1] // 900, "currentGold": 5}
                t[0] += r.randint(150, 500)
                t[1] += r.randint(200, 600)
                t[2] += r.randint(0, 8)
                t[3] += r.randint(0, 3)
            for _ in range(r.randrange(4)):
                when, who = max(0, at - r.randrange(60000)), r.randint(0, 10)
                team = 100 if 1 <= who <= 5 else 200
                what = r.choice(["CHAMPION_KILL", "CHAMPION_KILL", "BUILDING_KILL", "ELITE_MONSTER_KILL",
                                 "TURRET_PLATE_DESTROYED", "ITEM_PURCHASED", "CHAMPION_SPECIAL_KILL"])
                event = {"type": what, "timestamp": when, "killerId": who}
                if what == "CHAMPION_KILL":
                    event["victimId"] = r.randint(1, 10)
                elif what == "ELITE_MONSTER_KILL":
                    event.update(killerTeamId=team, monsterType=r.choice(monsters))
                elif what == "BUILDING_KILL":
                    event.update(teamId=300 - team, buildingType=r.choice(["TOWER_BUILDING", "INHIBITOR_BUILDING"]))
                elif what == "TURRET_PLATE_DESTROYED":
                    event["teamId"] = 300 - team
                events.append(event)
            frames.append({"timestamp": at, "participantFrames": players, "events": events})
            if at >= took * 1000:
                break
            at = min(int(took * 1000), at + 60000 + r.randrange(60))
        frames[-1]["events"].append({"type": "GAME_END", "timestamp": at, "winningTeam": 100 if rows[0]["win"] else 200})
        body = {"metadata": {"matchId": match_id}, "info": {"frameInterval": 60000, "frames": frames}}

        def correct(old_body):
            fresh = json.loads(text_of(old_body))
            fresh["info"]["frames"][0]["participantFrames"]["1"]["totalGold"] += 1
            return fresh

        self.captures("riot.timeline", match_id, body, ended - r.choice([0, 0, 0, 5000]), correct)

    def lol_ranks(self, players, rows, queue, ended):
        r = self.rng
        for p, row in zip(players, rows):
            points = p["lp"].get(queue, 1200 + 400 * p["skill"]["lol"])
            p["lp"][queue] = points = max(0.0, points + (22 if row["win"] else -21) + 0.02 * (1200 + 400 * p["skill"]["lol"] - points))
            if r.random() > 0.15:
                continue
            step = min(len(TIERS) - 1, int(points / 400))
            name = "RANKED_SOLO_5x5" if queue == 420 else "RANKED_FLEX_SR"
            entry = {"puuid": p["puuid"], "queueType": name, "tier": TIERS[step], "rank": "IV III II I".split()[int(points / 100) % 4],
                     "leaguePoints": int(points) % 100, "wins": r.randrange(300), "losses": r.randrange(300), "veteran": False}
            at = ended + r.uniform(60, 5000)
            self.emit("riot.league", at + r.choice([1, 30, 4000]), entry, None, p["puuid"], at)
            self.reported("rank", "lol", [p["puuid"]], f"{queue}@{sql_time(at)}", at)
            if r.random() < 0.03:
                self.emit("riot.league", at + 5000, {**entry, "wins": 1}, None, p["puuid"], at)
                # Another system tells another rank for the same moment.
                self.emit("rank.changed", at + 60, {"game": "lol", "player_id": p["puuid"], "queue": str(queue), "tier": r.choice(TIERS),
                          "division": "I", "points": 1, "wins": 150, "losses": r.randrange(300), "as_of": iso(at)}, p["puuid"], p["puuid"])

    # --- Halo Infinite -------------------------------------------------------------------------

    def halo(self, party, start):
        r = self.rng
        category = r.choices([m for m, _ in HALO_MODES], [w for _, w in HALO_MODES])[0]
        size = {22: 12, 42: 4}.get(category, 8)
        in_teams = category != 22
        party = party[:size]
        players = party + self.pick(size - len(party), start, party)
        r.shuffle(players)
        custom = r.random() < 0.12
        aborted = r.random() < 0.02
        took = round(r.uniform(240, 1000) if r.random() > 0.01 else r.uniform(3700, 4000), 7)
        start = round(start, 3)
        strength = [p["skill"]["halo"] for p in players]
        half = size // 2
        edge = sum(strength[:half]) / half - sum(strength[half:]) / max(1, size - half)
        tie = r.random() < 0.02
        first = r.random() < 1 / (1 + math.exp(-1.3 * edge))
        rows, scores = [], []
        match_id = f"{self.args.seed:08x}-{self.match_number:08x}-4000-8000-halo"
        for n, p in enumerate(players):
            team = 0 if category == 42 else n // half
            if not in_teams:
                team = n
            won = (first == (team == 0)) if in_teams and category != 42 else r.random() < 0.5
            outcome = 1 if tie else (2 if won else 3)
            form = strength[n] + r.gauss(0, 0.4) + (0.4 if won else -0.4)
            stats = self.halo_stats(form, took)
            left = r.random() < 0.03
            row = {
                "PlayerId": p["xuid"], "PlayerType": 1, "BotAttributes": None, "LastTeamId": team,
                "Outcome": 4 if left else outcome, "Rank": n + 1,
                "ParticipationInfo": {"LeftInProgress": left, "PresentAtCompletion": not left and not aborted,
                                      "TimePlayed": duration(round(took * (r.uniform(0.1, 0.8) if left else 1), 3))},
                "PlayerTeamStats": [{"TeamId": team, "Stats": {"CoreStats": stats}}],
            }
            if custom and r.random() < 0.4:
                row.update(PlayerId=f"bid({r.randrange(60)}.0)", PlayerType=2)
            elif in_teams and r.random() < 0.02:
                row["PlayerTeamStats"].append({"TeamId": 1 - team, "Stats": {"CoreStats": self.halo_stats(form, took / 3)}})
            rows.append(row)
            scores.append(stats["Score"])
        teams = []
        for team in ([0, 1] if in_teams else []):
            mine = [row["PlayerTeamStats"][0]["Stats"]["CoreStats"] for row in rows if row["LastTeamId"] == team]
            result = 1 if tie else (2 if first == (team == 0) else 3)
            if category == 42:
                result = 2 if team == 0 else 4
            teams.append({"TeamId": team, "Outcome": result, "Rank": 1 if result == 2 else 2, "Stats": {"CoreStats": {
                "Score": sum(s["Score"] for s in mine), "Kills": sum(s["Kills"] for s in mine)}}})
        body = {
            "MatchId": match_id,
            "MatchInfo": {
                "StartTime": iso(start), "EndTime": iso(start + took + 25), "Duration": duration(took + self.match_number % 3 * 7.5),
                "LifecycleMode": 1 if custom else 3, "GameVariantCategory": category,
                "MapVariant": {"AssetKind": 2, "AssetId": f"map-{r.randrange(14)}"},
                "Playlist": None if custom else {"AssetId": f"playlist-{min(4, int(r.expovariate(0.9)))}"},
                "SeasonId": None if custom else "Csr/Seasons/CsrSeason9-1.json",
                "PlayableDuration": duration(round(took, 3)), "TeamsEnabled": in_teams,
            },
            "Teams": teams, "Players": rows,
        }
        if self.match_number % 50 == 7:
            body["MatchInfo"].pop("PlayableDuration")
        if r.random() < 0.1:
            body["matchInfo"] = body.pop("MatchInfo")
        for p in players:
            p["busy"] = start + took + 25
            self.drift(p, "halo")

        def correct(old_body):
            fresh = json.loads(text_of(old_body))
            first = r.choice(fresh["Players"])["PlayerTeamStats"][0]["Stats"]["CoreStats"]
            first["Kills"] += 2
            return fresh

        ended = start + took + 25
        self.captures("halo.match", match_id, body, ended, correct)
        if not custom and in_teams and r.random() < 0.5:
            self.halo_skill(match_id, players, rows, ended)
        self.halo_sides(match_id, party, rows, body, ended)
        self.reported("trend", "halo", [p["xuid"] for p in players], match_id, ended)
        self.reported("rank", "halo", [p["xuid"] for p in players], f"all@{sql_time(ended)}", ended)
        if r.random() < 0.15:
            self.live("halo", match_id, None, "playlist", "slayer", "map", [(p["xuid"], None, 0, None) for p in players], start, took)
        return took + 25

    def halo_stats(self, form, took):
        r = self.rng
        scale = took / 600.0
        kills = self.poisson(11 * scale * math.exp(0.3 * form)) if took < 3600 else r.randrange(60, 90)
        fired = int(r.uniform(150, 400) * scale)
        stats = {
            "Score": kills, "PersonalScore": kills * 100 + r.randrange(500), "Kills": kills,
            "Deaths": self.poisson(11 * min(2, scale) * math.exp(-0.25 * form)), "Assists": self.poisson(4 * min(2, scale)),
            "MaxKillingSpree": r.randint(0, kills) if kills else 0, "ShotsFired": fired,
            "ShotsHit": min(fired, int(fired * r.uniform(0.3, 0.6))), "DamageDealt": int(3500 * scale * math.exp(0.25 * form + r.gauss(0, 0.2))),
            "DamageTaken": int(3500 * scale * r.uniform(0.7, 1.3)),
            "Medals": [{"NameId": m, "Count": 1 + r.randrange(3), "TotalPersonalScoreAwarded": 0} for m in r.sample(MEDALS, r.randrange(4))],
            "PersonalScores": [{"NameId": 1024030246, "Count": kills, "TotalPersonalScoreAwarded": 100 * kills}] if kills else [],
        }
        if r.random() < 0.3:
            stats["DamageDealt"] = stats["DamageDealt"] + 0.5
        if r.random() < 0.002:
            stats["ShotsHit"] = fired + 3
        return stats

    def halo_skill(self, match_id, players, rows, ended):
        r = self.rng
        values = []
        for p, row in zip(players, rows):
            if row["PlayerType"] != 1:
                continue
            before = p["csr"] if p["csr"] is not None else max(0.0, 800 + 250 * p["skill"]["halo"])
            after = max(0.0, before + (9 if row["Outcome"] == 2 else -8))
            p["csr"] = after
            tier = lambda v: HALO_TIERS[min(5, int(v / 300))]
            kills = row["PlayerTeamStats"][0]["Stats"]["CoreStats"]
            result = {
                "TeamMmr": 900 + 200 * p["skill"]["halo"],
                "RankRecap": {"PreMatchCsr": {"Value": before, "Tier": tier(before), "SubTier": int(before / 50) % 6},
                              "PostMatchCsr": {"Value": after, "Tier": tier(after) if r.random() > 0.03 else "", "SubTier": int(after / 50) % 6}},
                "StatPerformances": {"Kills": {"Count": kills["Kills"], "Expected": 10 + 3 * p["skill"]["halo"], "StdDev": 4.5},
                                     "Deaths": {"Count": kills["Deaths"], "Expected": 10 - 2 * p["skill"]["halo"], "StdDev": r.choice([4.5, 4.5, 0])}},
            }
            values.append({"Id": p["xuid"], "ResultCode": 0, "Result": result} if r.random() > 0.02 else {"Id": p["xuid"], "ResultCode": 2, "Result": None})
        at = ended + r.uniform(30, 3000)
        self.emit("halo.skill", at + 1, {"Value": values}, match_id, match_id, at)
        if r.random() < 0.02:
            self.emit("halo.skill", at + 9000, None, match_id, match_id, at + 8999)
            if r.random() < 0.5:
                self.emit("halo.skill", at + 12000, {"Value": values[:2]}, match_id, match_id, at + 11999)
        elif r.random() < 0.05:
            self.emit("halo.skill", at + 9000, {"Value": values}, match_id, match_id, at)

    def halo_sides(self, match_id, party, rows, body, ended):
        r = self.rng
        info = body.get("MatchInfo") or body["matchInfo"]
        if r.random() < 0.2:
            results = [{"MatchId": match_id, "MatchInfo": {"StartTime": info["StartTime"], "EndTime": info["EndTime"]},
                        "Outcome": 2, "Rank": 1, "PresentAtEndOfMatch": True}]
            if r.random() < 0.3:
                results.append({**results[0], "MatchId": f"missing-{self.match_number}"})
            self.emit("halo.history", ended + r.uniform(5, 900), {"Start": 0, "Count": 25, "Results": results}, None, match_id)
        if r.random() < 0.2 and party:
            p = party[0]
            at = ended + r.uniform(0, 3000)
            self.emit("halo.profile", at + r.choice([1, 500]), {"xuid": p["xuid"], "gamertag": p["name"] + r.choice(["", "", "2"])}, None, p["xuid"], at)

    # --- live matches and people ---------------------------------------------------------------

    def live(self, game, match_id, platform, queue, mode, map_id, who, start, took):
        r = self.rng
        players = [{"player_id": p, "player_name": n, "team_id": t, "champion_id": c} for p, n, t, c in who if p != "BOT"]
        body = {"game": game, "match_id": match_id, "platform": platform, "queue": queue, "mode": mode, "map": map_id,
                "started_at": iso(start), "occurred_at": iso(start + 1), "players": players}
        self.emit("match.live.started", start + 2, body, None, match_id)
        at, stop = start + 120, start + took * (1 if r.random() < 0.9 else 0.3)
        while at < stop:
            update = {"game": game, "match_id": match_id, "at_s": round(at - start, 1), "occurred_at": iso(at),
                      "teams": [{"team_id": 100, "score": 1, "kills": int(at - start) // 60}, {"team_id": 200, "score": 0, "kills": 3}],
                      "players": [{"player_id": p["player_id"], "kills": 1, "deaths": 0, "assists": 2, "gold": 900} for p in players[:2]]}
            self.emit("match.live.updated", at + r.choice([1, 1, 1, 25]), update, None, match_id)
            at += r.uniform(100, 260)

    def people(self):
        """Users with accounts in one or both games, and their lives over the season."""
        r = self.rng
        chosen, users = r.sample(self.players, self.users), {}
        for n, p in enumerate(chosen):
            user = self.opaque("user", n)
            accounts = [{"game": "lol", "player_id": p["puuid"]}, {"game": "halo", "player_id": p["xuid"]}]
            accounts = r.choice([accounts, accounts, accounts[:1], accounts[1:], [], None])
            if accounts and r.random() < 0.02:
                accounts = accounts + accounts[:1]
            if accounts and r.random() < 0.02:
                accounts = accounts + [{"game": "lol", "player_id": r.choice(self.players)["puuid"]}]
            if accounts and r.random() < 0.02:
                accounts = accounts + [{"game": "halo", "player_id": None}]
            began = START + r.uniform(0, 0.2 * self.days) * DAY
            self.at(began, self.life, user, accounts, 0)
            users[p["n"]] = user, began
            self.accounts |= {p["puuid"]: user, p["xuid"]: user}
            self.wishes(user, began)
            self.climbs(user, p, began)
            if r.random() < 0.25:
                self.at(START + r.uniform(0.1, 0.7) * self.days * DAY, self.consent, user, False)
            for game, own in (("lol", p["puuid"]), ("halo", p["xuid"])):
                if r.random() < 0.2:
                    self.at(START + r.uniform(0.1, 0.9) * self.days * DAY, self.rank, game, own)
        self.erasures(users)

    def profile(self, user, accounts, writer, at, name, number, arrives=None):
        body = {"event_id": self.opaque("event", f"{user} {number}"), "user_id": user, "display_name": name, "email": f"{user}@example.org",
                "country": self.rng.choice(["CH", "KR", None]), "accounts": accounts, "updated_by": writer, "updated_at": iso(at)}
        self.emit("user.profile.updated", arrives or at + 1, body, user, user)
        return body

    def life(self, user, accounts, number):
        """An update of the profile, sometimes by two at once, and a session; then the next."""
        r, at = self.rng, self.now
        self.profile(user, accounts, "web", at, f"name{r.randrange(50)}", number)
        if r.random() < 0.2:
            gap = r.choice([0.0, 30.0, 299.0, 300.0, 301.0])
            body = self.profile(user, accounts, "app", at + gap, f"name{r.randrange(50)}", number + 1, at + r.uniform(1, 900))
            if r.random() < 0.3:
                self.emit("user.profile.updated", at + 1000, body, user, user)
            if r.random() < 0.4:
                when = at + r.choice([-10, 86400, 200000])
                self.emit("user.profile.resolved", max(at, when) + 1000, {"user_id": user, "resolved_by": "agent", "resolved_at": iso(when)}, user, user)
        for k in range(r.randrange(3)):
            self.sign_in(user, at + r.uniform(0, 5) * DAY, self.opaque("sign-in", f"{user} {number} {k}"))
        next_at = at + r.uniform(3, 25) * DAY
        if next_at < START + self.days * DAY:
            self.at(next_at, self.life, user, accounts, number + 2)

    def sign_in(self, user, at, name):
        r = self.rng
        late = r.choice([1, 1, 1, 5000])
        event = {"event_id": "a-" + name, "occurred_at": iso(at), "user_id": user if r.random() > 0.05 else None,
                 "method": r.choice(["password", "passkey", None]), "succeeded": r.random() > 0.1}
        self.emit("user.authenticated", at + late, event, user, user)
        if r.random() < 0.05:
            self.emit("user.authenticated", at + late + 60, event, user, user)
        if event["succeeded"]:
            self.emit("user.session.created", at + late + 1, {"session_id": "s-" + name, "user_id": user,
                      "device": r.choice(["pc", "phone", None]), "occurred_at": iso(at + 1)}, user, user)
            if r.random() < 0.8:
                end = at + r.uniform(60, 90000)
                self.emit("user.logout.initiated", end + 1, {"session_id": "s-" + name, "reason": r.choice(["user", "timeout"]),
                          "occurred_at": iso(end)}, user, user)

    def consent(self, user, given):
        r, at = self.rng, self.now
        body = {"user_id": user, "analytics_consent": given, "language": "de", "updated_at": iso(at)}
        self.emit("user.preferences.changed", at + r.choice([1, 1, 4000]), body, user, user)
        if r.random() < 0.1:
            self.emit("user.preferences.changed", at + 9000, {**body, "analytics_consent": not given, "updated_at": iso(at - 5)}, user, user)
        next_at = at + r.uniform(2, 15) * DAY
        if r.random() < 0.6 and next_at < START + self.days * DAY:
            self.at(next_at, self.consent, user, not given if r.random() < 0.9 else None)

    def erasures(self, users):
        """Orders to erase: the most active players first in line, then anybody who is a user."""
        r = self.erasing
        often = self.players[: max(4, len(self.players) // 8)]
        others = [p for p in self.players if p["n"] in users and p not in often]
        half = min(len(often), (self.args.erasures + 1) // 2)
        for p in r.sample(often, half) + r.sample(others, min(len(others), self.args.erasures - half)):
            user, began = users.get(p["n"], (None, START))
            when = began + r.uniform(0.05, 0.75 if user else 0.95) * self.days * DAY
            ids = [p["puuid"], p["xuid"]] + ([user] if user else [])
            if r.random() < 0.25:
                ids = [r.choice(ids)]
            for subject in ids:
                at = when + r.choice([0, 0, 1, r.uniform(0, 3) * DAY])
                self.at(max(START, at - r.uniform(0, 3) * DAY), self.named, subject)
                self.at(at, self.erase, subject, p)
                self.at(at + r.uniform(0, 3) * DAY, self.named, subject)

    def erase(self, subject, p):
        """An order, sometimes twice; the person is back soon with a rank and in profiles, also in that of another."""
        r, at = self.erasing, self.now
        body = {"subject": subject, "requested_at": iso(at)}
        self.emit("user.erased", at + 1, body, subject, subject)
        if r.random() < 0.3:
            again = r.choice([0, 5 * DAY])
            self.emit("user.erased", at + 60 + again, {**body, "requested_at": iso(at + again)}, subject, subject)
        back, other = at + DAY, self.opaque("other", subject)
        accounts = [{"game": "lol", "player_id": p["puuid"]}, {"game": "lol", "player_id": self.opaque("account", other)}]
        for user in (subject, other):
            profile = {"event_id": self.opaque("back", user), "user_id": user, "display_name": "back", "email": f"{user}@example.org",
                       "country": None, "accounts": accounts, "updated_by": "web", "updated_at": iso(back)}
            self.emit("user.profile.updated", back + 1, profile, user, user)
        rank = {"game": "lol", "player_id": subject, "queue": "420", "tier": "GOLD", "as_of": iso(back)}
        self.emit("rank.changed", back + 2, rank, None, subject)
        self.wish(subject, "trend", back)
        # Two users have told of one event: the first one counts.
        for n, user in enumerate(self.telling.sample([subject, other], 2)):
            self.report("delivered", self.opaque("back report", subject), "of-" + other, user, back + n)

    def named(self, subject):
        """Records that are refused and name the person, and ids of events that two users have: the first one counts."""
        r, at = self.erasing, self.now
        name = self.opaque("named", f"{subject} {at}")
        self.emit("riot.match", at, f'{{"metadata":{{"matchId":"{name}"}},"info":{{"participants":[{{"puuid":"{subject}"', None, name)
        info = {"StartTime": iso(at), "EndTime": iso(at + 9), "Duration": "PT25H"}
        self.emit("halo.match", at, {"MatchId": name, "MatchInfo": info, "Players": [{"PlayerId": subject, "PlayerType": 1}]}, None, name)
        two = [subject, self.opaque("nobody", name)]
        r.shuffle(two)
        for n, user in enumerate(two):
            event = {"event_id": name, "occurred_at": iso(at), "user_id": user, "method": "password", "succeeded": True}
            self.emit("user.authenticated", at + n, event, user, name)
            session = {"session_id": name, "user_id": user, "device": "shared", "occurred_at": iso(at)}
            self.emit("user.session.created", at + n, session, user, name)

    def rank(self, game, player_id):
        r, at = self.rng, self.now
        tier, queue = (r.choice(TIERS + ["UNKNOWN"]), r.choice(["420", "440", "all"])) if game == "lol" else (r.choice(HALO_TIERS), "all")
        for _ in range(r.choice([1, 1, 2])):
            body = {"game": game, "player_id": player_id, "queue": queue, "tier": tier, "division": "2", "points": r.randrange(100),
                    "wins": 3, "losses": 4, "as_of": iso(at)}
            self.emit("rank.changed", at + r.choice([1, 1, 5000]), body, player_id, player_id)
        self.reported("rank", game, [player_id], f"{queue}@{sql_time(at)}", at)

    # --- notifications and quality ---------------------------------------------------------------

    def wishes(self, user, began):
        """Preferences of a user, changed now and then."""
        r, end = self.telling, START + self.days * DAY
        for kind in ("trend", "rank"):
            at = began + r.uniform(0, 0.1 * self.days) * DAY
            while at < end and r.random() < 0.8:
                self.wish(user, kind, at)
                at += r.uniform(2, 25) * DAY

    def climbs(self, user, p, began):
        """Ranks of a user in a queue that is not the main one, which go up and down."""
        r, end = self.telling, START + self.days * DAY
        for game, player, queue, tiers in (("lol", p["puuid"], "440", TIERS), ("halo", p["xuid"], "quick", HALO_TIERS)):
            at, step = began + r.uniform(0, 5) * DAY, r.randrange(len(tiers))
            while at < end and r.random() < 0.97:
                body = {"game": game, "player_id": player, "queue": queue, "tier": tiers[step], "division": "1", "points": r.randrange(100),
                        "wins": 3, "losses": 4, "as_of": iso(at)}
                self.emit("rank.changed", at + r.choice([1, 1, 5000]), body, player, player)
                self.reported("rank", game, [player], f"{queue}@{sql_time(at)}", at)
                step = min(len(tiers) - 1, max(0, step + r.choice([-1, 0, 1, 1])))
                at += r.uniform(1, 8) * DAY

    def wish(self, user, kind, at):
        """A preference as of `at`; it may come late, twice, and after one that is older."""
        r = self.telling
        hours = r.choice([(None, None), (1320, 420), (1320, 420), (60, 540), (720, 780), (600, 600), (None, 420), (0, 1439), (1439, 0)])
        body = {"user_id": user, "kind": kind, "enabled": r.choice([True, True, True, False, None]), "channel": r.choice(["push", "mail", None]),
                "quiet_from": hours[0], "quiet_until": hours[1], "utc_offset_min": r.choice([None, 0, 60, 120, 345, 840, -480, -720]), "updated_at": iso(at)}
        late = r.choice([1, 1, 1, 5000, 2 * DAY])
        self.emit("notification.preference.updated", at + late, body, text_of([user, kind]), user)
        if r.random() < 0.1:
            self.emit("notification.preference.updated", at + late + 60, body, text_of([user, kind]), user)
        if r.random() < 0.1:
            before = {**body, "enabled": not body["enabled"], "updated_at": iso(at - 5)}
            self.emit("notification.preference.updated", at + late + 90, before, text_of([user, kind]), user)

    def reported(self, kind, game, players, about, at):
        """Reports of the triggers that may follow from a match or a rank, by their ids; most triggers there never are."""
        r = self.telling
        for player in players:
            user = self.accounts.get(player)
            if user is None or r.random() > (0.3 if kind == "trend" else 0.6):
                continue
            trigger = hashlib.md5(f"{kind}|{game}|{player}|{about}".encode()).hexdigest()
            name, when = self.opaque("report", f"{trigger} {at}", 16), at + r.uniform(5, 3000)
            for n in range(r.choice([0, 0, 1, 3])):
                self.report("failed", f"f{n}-{name}", trigger, user, when - 4 + n, r.choice(["timeout", "refused", None]))
            if r.random() < 0.7:
                self.report("delivered", "d-" + name, trigger, user, when)
                if r.random() < 0.4:
                    self.report("clicked", "c-" + name, trigger, user, when + r.uniform(1, 3 * DAY))
            if r.random() < 0.1:
                # Within the day before the trigger and the 30 days after it, or not.
                days = r.choice([-2, -0.5, 29, 31])
                self.report(r.choice(["delivered", "clicked"]), "o-" + name, trigger, user, at + days * DAY)

    def report(self, what, name, trigger, user, at, reason=None):
        """A sender's report, which may come late and twice."""
        r = self.telling
        body = {"event_id": name, "trigger_id": trigger, "user_id": user, "occurred_at": iso(at)}
        if what == "failed":
            body["reason"] = reason
        late = r.choice([1, 1, 1, 30, 5000])
        self.emit(f"notification.{what}", at + late, body, user)
        if r.random() < 0.05:
            self.emit(f"notification.{what}", at + late + r.uniform(1, 90000), body, user)

    def broken_reports(self):
        """Preferences and reports that no table may take."""
        r, end = self.telling, START + self.days * DAY
        for n in range(max(1, self.args.matches // 1500)):
            at = START + r.uniform(0.1, 0.9) * self.days * DAY
            user = self.opaque("user", n)
            wish = {"user_id": user, "kind": "trend", "enabled": False, "channel": "ahead", "updated_at": iso(at)}
            for body in ['{"user_id":', None, {**wish, "kind": None}, {**wish, "updated_at": None}, {**wish, "quiet_from": "22:00"},
                         {**wish, "updated_at": iso(at + 301)}, {**wish, "updated_at": iso(START + 27000 * DAY)}]:
                self.emit("notification.preference.updated", at, body, None, user)
            for topic in ("notification.delivered", "notification.failed", "notification.clicked"):
                told = {"event_id": f"bad-{n}", "trigger_id": "x", "user_id": user, "occurred_at": iso(at)}
                for body in ["[", None, {**told, "event_id": None}, {**told, "trigger_id": None}, {**told, "occurred_at": iso(at + 2 * DAY)}]:
                    self.emit(topic, at, body, user)
                self.emit(topic, end, {**told, "event_id": f"old-{n}", "occurred_at": iso(START - 40 * DAY)}, user)

    def thresholds(self):
        """Changed thresholds of quality, also of metrics that have none, and some that are taken back or refused."""
        r = self.telling
        bounds = {"success_rate": (0.5, 0.8, 1.0), "completeness": (0.97, 0.99, 1.0), "duplicate_share": (0.05, 0.2), "late_share": (0.0, 0.2),
                  "freshness_p90_s": (900.0, 5000.0), "freshness_median_s": (600.0, 900.0), "received": (1.0, 3.0), "newest_s": (START + 30 * DAY,)}
        for _ in range(40):
            at, metric = START + r.uniform(0, self.days) * DAY, r.choice(list(bounds))
            key = text_of({"metric": metric, "source": r.choice(["riot.match", "riot.timeline", "halo.match", "halo.skill", "none"])})
            body = {"bound": r.choice(bounds[metric]), "direction": r.choice(["above", "below"])}
            value = r.choice([body] * 5 + [None, {**body, "direction": "sideways"}, {**body, "bound": None}, "{"])
            self.emit("quality.threshold", at, value, key)

    # --- records that no table may take ----------------------------------------------------------

    def broken_records(self):
        """Each kind of rejected record, spread over the season."""
        r = self.rng
        mid = lambda: START + r.uniform(0.02, 0.98) * self.days * DAY
        player = {"participantId": 1, "puuid": "pu-broken", "teamId": 100, "championId": 1, "kills": 1}
        info = lambda **more: {"platformId": "KR", "gameId": 1, "gameMode": "CLASSIC", "queueId": 420, "mapId": 11,
                               "gameVersion": "15.11.1", "gameStartTimestamp": int(START * 1000), "gameEndTimestamp": int(START * 1000) + 5,
                               "gameDuration": 1000, "participants": [player], "teams": [], **more}
        whole = lambda name, **more: {"metadata": {"matchId": f"BAD_{name}"}, "info": info(**more)}
        for n in range(max(1, self.args.matches // 1500)):
            for body in [
                '{"metadata":{"matchId":"BAD_cut"},"info":{"gam', "", "null", "[]", '"text"', "{}",
                whole("long", gameDuration=14401), whole("negative", gameDuration=-1), whole("ends", gameEndTimestamp=int(START * 1000) - 1),
                whole("nobody", participants=[]), whole("noplayers", participants=None), whole("crowd", participants=[player] * 25),
                whole("ahead", gameEndTimestamp=int((START + 400 * DAY) * 1000)), whole("typed", queueId="420"), whole("half", mapId=11.5),
                {"info": {k: v for k, v in info().items() if k != "platformId"}}, whole("nostart", gameStartTimestamp=None),
                whole("longest", gameDuration=14400), whole("bigkill", participants=[{**player, "kills": 2**63}]), None,
            ]:
                self.emit("riot.match", mid(), body, None, f"broken-{n}-{r.random()}")
            good = {"StartTime": iso(START), "EndTime": iso(START + 500), "Duration": "PT8M", "LifecycleMode": 3, "GameVariantCategory": 6}
            halo = lambda name, **more: {"MatchId": f"bad-{name}", "MatchInfo": {**good, **more}, "Teams": [], "Players": [
                {"PlayerId": "xuid(1)", "PlayerType": 1, "Outcome": 2, "ParticipationInfo": {"PresentAtCompletion": True, "TimePlayed": "PT8M"}, "PlayerTeamStats": []}]}
            for body in [
                '{"MatchId":"bad-cut"', halo("long", Duration="PT25H"), halo("negative", Duration="PT-8M"), halo("ends", EndTime=iso(START - 1)),
                halo("noend", EndTime=None), halo("text", Duration="eight minutes"), {**halo("nobody"), "Players": []},
                {k: v for k, v in halo("noid").items() if k != "MatchId"}, halo("nodays", Duration="P1DT0S"), halo("when", StartTime="yesterday"),
            ]:
                self.emit("halo.match", mid(), body, None, f"broken-{n}-{r.random()}")
            self.emit("halo.skill", mid(), {"Value": []}, None)
            self.emit("halo.skill", mid(), "{", f"broken-{n}")
            self.emit("halo.history", mid(), {"Start": 0}, None, "x")
            self.emit("halo.profile", mid(), {"xuid": "xuid(1)"}, None, "x")
            self.emit("riot.timeline", mid(), {"metadata": {"matchId": "BAD_t"}, "info": {"frames": []}}, None, "x")
            self.emit("riot.timeline", mid(), {"info": {"frames": [{"timestamp": 0}]}}, None, "x")
            self.emit("riot.league", mid(), {"puuid": "x", "tier": "GOLD"}, None, "x")
            self.emit("rank.changed", mid(), {"game": "lol", "player_id": "x", "queue": "420", "tier": "GOLD"}, None, "x")
            at = mid()
            self.emit("user.authenticated", at, {"event_id": f"ahead-{n}", "occurred_at": iso(at + 2 * DAY), "succeeded": True}, None, "x")
            self.emit("user.profile.updated", at, {"event_id": f"ahead-{n}", "user_id": f"ahead-{n}", "updated_by": "web", "updated_at": iso(at + 2 * DAY)}, None, "x")
            # Clocks ahead: each would hold its version against all later ones. Four minutes pass.
            user, years = f"user-{n:05}", iso(START + 27000 * DAY)
            self.emit("user.profile.updated", at, {"event_id": f"ahead-{n}-6", "user_id": user, "updated_by": "web", "updated_at": iso(at + 360)}, user, user)
            self.emit("user.profile.updated", at, {"event_id": f"soon-{n}", "user_id": f"soon-{n}", "updated_by": "web", "updated_at": iso(at + 240)}, None, "x")
            self.emit("user.profile.resolved", at, {"user_id": user, "resolved_by": "ahead-agent", "resolved_at": years}, user, user)
            self.emit("user.preferences.changed", at, {"user_id": user, "analytics_consent": True, "language": "ahead-de", "updated_at": years}, user, user)
            self.emit("rank.changed", at, {"game": "halo", "player_id": self.players[0]["xuid"], "queue": "all", "tier": "Onyx", "division": "ahead-1", "as_of": years}, None, self.players[0]["xuid"])
            for topic in ("match.live.started", "match.live.updated"):
                self.emit(topic, at, {"game": "lol", "match_id": f"ahead-{n}", "started_at": iso(at), "occurred_at": iso(at + 360)}, None, "x")
            self.emit("user.profile.updated", at, {"event_id": f"nowriter-{n}", "user_id": f"nowriter-{n}", "updated_at": iso(at)}, None, "x")
            self.emit("user.profile.updated", START + self.days * DAY, {"event_id": f"late-{n}", "user_id": f"late-{n}", "updated_by": "web", "updated_at": iso(START - 40 * DAY)}, None, "x")
            self.emit("user.session.created", at, {"session_id": f"x-{n}", "occurred_at": iso(at)}, None, "x")
            self.emit("user.logout.initiated", at, '{"session_id":', None, "x")
            self.emit("user.preferences.changed", at, {"user_id": f"x-{n}"}, None, "x")
            self.emit("user.profile.resolved", at, {"user_id": f"x-{n}", "resolved_at": iso(at)}, None, "x")
            self.emit("match.live.started", at, {"game": "lol", "match_id": "x", "occurred_at": iso(at)}, None, "x")
            self.emit("match.live.updated", at, {"game": "lol", "match_id": f"late-{n}", "occurred_at": iso(START - 90 * DAY)}, None, "x")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--matches", type=int, default=300)
    parser.add_argument("--players", type=int)
    parser.add_argument("--days", type=float, default=70.0)
    parser.add_argument("--erasures", type=int)
    parser.add_argument("--flips", action="store_true")
    args = parser.parse_args()
    args.players = args.players or max(40, args.matches // 4)
    if args.erasures is None:
        args.erasures = max(6, args.players // 50)
    Season(args).run()


if __name__ == "__main__":
    main()
