"""Answers of notifications.sql at a moment of a season, from the records in the topics that it reads.

Triggers are those that the domain sent, in the order of their topic; the rest is the season's. A trigger is told by
the preference that holds when it is read. Which one that is, when several came between two moments, no record says. But
triggers are read in the order of their topic and preferences in the order of their partitions, so there must be a
position in each partition of preferences for each trigger, never behind that of the trigger before, that gives what was
found, for all users together. What was found must be the same at all later moments.
"""

import collections
import json

import duckdb

import answers
import model
from model import DAY, MINUTE, SECOND, Table, by_name, needs

SQL = model.DOMAIN.parent / "notifications.sql"
VIEWS = ("notifications", "notification_history", "notification_totals")
TRIGGERS = "notification.trigger"
REPORT = dict(event_id=model.text, trigger_id=model.text, user_id=model.text, occurred_at=model.moment)
FORMS = {
    TRIGGERS: model.struct(op=model.text, after=model.struct(
        trigger_id=model.text, user_id=model.text, kind=model.text, game=model.text, subject=model.text, occurred_at=model.moment)),
    "notification.preference.updated": model.struct(
        user_id=model.text, kind=model.text, enabled=model.flag, channel=model.text, quiet_from=model.i32, quiet_until=model.i32,
        utc_offset_min=model.i32, updated_at=model.moment),
    "notification.delivered": model.struct(**REPORT),
    "notification.failed": model.struct(reason=model.text, **REPORT),
    "notification.clicked": model.struct(**REPORT),
    "user.erased": model.FORMS["user.erased"],
}


def tables():
    event = dict(delay=3600 * SECOND, retention=90 * DAY, first=True)
    report = lambda topic: Table(topic, needs("event_id", "trigger_id", "user_id", "occurred_at"), by_name("event_id"),
                                 time=lambda r: r["occurred_at"], **event)
    after = lambda row, name: (row["after"] or {}).get(name)
    wishes = Table("notification.preference.updated", needs("user_id", "kind", "updated_at"), lambda r, _: (r["user_id"], r["kind"]),
                   lambda r, _: r["updated_at"], lambda r: r["updated_at"], ahead=5 * MINUTE)
    return {
        "erasures": Table("user.erased", needs("subject"), by_name("subject")),
        # All that tell of no trigger share a key.
        "trigger_changes": Table(TRIGGERS, lambda r: None, lambda r, _: after(r, "trigger_id") or "", time=lambda r: after(r, "occurred_at"), **event),
        "notification_preferences": wishes,
        "delivered": report("notification.delivered"),
        "failed": report("notification.failed"),
        "clicked": report("notification.clicked"),
    }


def quiet_minutes(wish, at):
    """Minutes from a time until the quiet hours that it is in are over."""
    start, end = wish["quiet_from"], wish["quiet_until"]
    if start is None or end is None:
        return 0
    local = (at // MINUTE + (wish["utc_offset_min"] or 0)) % 1440
    inside = start <= local < end if start <= end else local >= start or local < end
    return (end - local) % 1440 if inside else 0


NO_WISH = dict.fromkeys(("enabled", "channel", "quiet_from", "quiet_until", "utc_offset_min"))


def told(trigger, wish):
    """The notification by a preference; None where the user wants none."""
    wish = wish or NO_WISH
    if wish["enabled"] is False:
        return None
    at = trigger["occurred_at"]
    return (trigger["trigger_id"], trigger["user_id"], trigger["kind"], trigger["subject"], wish["channel"] or "app", at,
            at + quiet_minutes(wish, at) * MINUTE)


class Notifications:
    """The tables at a moment, and what may be told of each trigger."""

    def __init__(self, season, counts, sent):
        """`counts` and `sent`: for each moment so far the records of each topic, and those that the domain had sent."""
        read = lambda topic: next((list(rs) for _, rs in model.read_season(season, [topic])), [])
        orders = read("user.erased")[: counts[-1]["user.erased"]]
        self.tables, self.subjects = tables(), model.subjects_of(orders)
        paths = model.persons(SQL.read_text())
        for name, table in self.tables.items():
            table.persons, table.subjects = paths.get(name, []), self.subjects
        self.read, self.read_at = 0, {}
        # Of each user and kind the preferences, with their partition and position; of each moment, positions by partition.
        self.wishes, self.partition, self.ends = collections.defaultdict(list), {}, [collections.Counter()]
        for name in ("erasures", "delivered", "failed", "clicked"):
            for record in read(self.tables[name].topic)[: counts[-1][self.tables[name].topic]]:
                self.take(name, record)
        self.take_wishes(read("notification.preference.updated"), counts)
        for moment, records in enumerate(sent):
            for record in records[len(sent[moment - 1]) if moment else 0 :]:
                self.take("trigger_changes", record)
            for key in self.tables["trigger_changes"].held:
                self.read_at.setdefault(key, moment)

    def take(self, name, record):
        table, self.read = self.tables[name], self.read + 1
        table.take(record, self.read, model.parsed(FORMS[table.topic], record))

    def take_wishes(self, records, counts):
        """Takes in preferences; of each user and kind, which there were, with the position after which they hold."""
        topic, held = "notification.preference.updated", self.tables["notification_preferences"].held
        at, position = 0, collections.Counter()
        for until in counts:
            for record in records[at : until[topic]]:
                self.take("notification_preferences", record)
                position[record["partition"]] += 1
                try:
                    row = json.loads(record["value"])
                    key = (row["user_id"], row["kind"])
                except (ValueError, TypeError, KeyError):
                    continue
                if key in held and held[key][1] not in (None, model.GONE):
                    assert self.partition.setdefault(key, record["partition"]) == record["partition"], "a user has one partition"
                    self.wishes[key].append((position[record["partition"]], held[key][1]))
            at = until[topic]
            self.ends.append(collections.Counter(position))

    def wishes_for(self, key, moment, least):
        """The preferences that a trigger of a moment may have met, each with the first position at which it may."""
        partition = self.partition.get(key)
        least, most = max(least, self.ends[moment][partition]), self.ends[moment + 1][partition]
        begun = [(0, None), *self.wishes[key]]
        ends = [at for at, _ in begun[1:]] + [most + 1]
        return [(max(at, least), wish) for (at, wish), end in zip(begun, ends) if at <= most and end > least]

    def notifications(self, found):
        """Rows of the view; the triggers that may have met one of several preferences, and those for which order decides."""
        mark, rows, at, several, decided = self.mark("trigger_changes"), [], collections.Counter(), 0, 0
        for key, row, _ in self.held("trigger_changes"):
            trigger = row["after"]
            if row["op"] not in ("c", "u", "r") or not trigger or mark is None or trigger["occurred_at"] <= mark - 89 * DAY:
                continue
            person = (trigger["user_id"], trigger["kind"])
            partition, moment = self.partition.get(person), self.read_at[key]
            free = {told(trigger, wish) for _, wish in self.wishes_for(person, moment, 0)}
            may = [(position, told(trigger, wish)) for position, wish in self.wishes_for(person, moment, at[partition])]
            several += len(free) > 1
            decided += len(free) > 1 and len({row for _, row in may}) == 1
            position, row = next((one for one in may if one[1] == found.get(key)), (at[partition], may[0][1]))
            if partition is not None:
                at[partition] = position
            if row:
                rows.append(row)
        return rows, several, decided

    def mark(self, name):
        return self.tables[name].watermark([0])

    def held(self, name):
        return [(key, row, stamp) for key, (_, row, stamp) in self.tables[name].held.items() if row is not None and row is not model.GONE]

    def reports(self):
        for name in ("delivered", "failed", "clicked"):
            mark = self.mark(name)
            for _, row, _ in self.held(name):
                if row["occurred_at"] > mark - 89 * DAY:
                    yield name, row["trigger_id"], row["event_id"], row["occurred_at"], row.get("reason")


HISTORY = """
    SELECT n.user_id, n.trigger_id, n.kind, n.subject, n.channel, n.not_before,
      CASE WHEN count(*) FILTER (told = 'clicked') > 0 THEN 'clicked' WHEN count(*) FILTER (told = 'delivered') > 0 THEN 'delivered'
        WHEN count(*) FILTER (told = 'failed') > 0 THEN 'failed' ELSE 'sent' END AS state,
      min(r.occurred_at) FILTER (told = 'delivered') AS delivered_at, min(r.occurred_at) FILTER (told = 'clicked') AS clicked_at,
      nullif(count(*) FILTER (told = 'failed'), 0) AS failures,
      last(reason ORDER BY r.occurred_at, event_id) FILTER (told = 'failed') AS last_reason
    FROM notifications n LEFT JOIN reports r ON r.trigger_id = n.trigger_id
      AND r.occurred_at >= n.occurred_at - INTERVAL '1 day' AND r.occurred_at <= n.occurred_at + INTERVAL '30 days'
    GROUP BY ALL"""
TOTALS = """
    SELECT user_id, count(*) AS sent, count(delivered_at) AS delivered, count(clicked_at) AS clicked, count(*) FILTER (state = 'failed') AS failed
    FROM notification_history GROUP BY user_id"""


def found_rows(rows):
    """Rows of the view that were found, as `told` has them, by trigger."""
    names = ("trigger_id", "user_id", "kind", "subject", "channel")
    return {r["trigger_id"]: tuple(r[n] for n in names) + (model.moment(r["occurred_at"]), model.moment(r["not_before"])) for r in rows}


def views(season, counts, sent, found, before):
    """Rows of the views by name, the tables, and faults in words. `before` is what was found at the moment before."""
    at = Notifications(season, counts, sent)
    mine, earlier = found_rows(found), found_rows(before)
    rows, several, decided = at.notifications(mine)
    kept = {row[0] for row in rows}
    faults = [f"{key} was told otherwise a moment before: {earlier[key]}, now {mine.get(key)}"
              for key in sorted(earlier) if key in kept and mine.get(key) != earlier[key]]
    faults += [f"{key} is told, and was not a moment before" for key in sorted(mine)
               if key not in earlier and key in at.read_at and at.read_at[key] < len(sent) - 1]
    print(f"  {len(rows)} notifications; {several} triggers may have met one of several preferences, the order tells of {decided} which one; "
          f"{sum(1 for _ in at.reports())} reports")
    db = duckdb.connect()
    db.execute("SET TimeZone = 'UTC'")
    answers.fill(db, "notifications", "trigger_id user_id kind subject channel occurred_at:t not_before:t", rows)
    answers.fill(db, "reports", "told trigger_id event_id occurred_at:t reason", list(at.reports()))
    db.execute(f"CREATE TABLE notification_history AS {HISTORY}")
    db.execute(f"CREATE TABLE notification_totals AS {TOTALS}")
    return {name: answers.rows_of(db, name) for name in VIEWS}, at.tables, faults
