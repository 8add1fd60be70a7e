//! Made-up matches: `match.completed` envelopes around a body shaped as Riot's match-v5.
//!
//! The record at an offset depends on the options and the offset only, so a reader may start
//! anywhere and a bench may check itself. Most offsets hold a match seen for the first time; shares
//! of them are, as asked: duplicates (bytes repeated), corrections (a match again, fetched later,
//! with other numbers), late matches (ended days ago) and broken records. With `keys` set, match
//! ids come round again, each time as a later version.
//!
//! [`champion_record`] gives the records of the dimension that participants are joined with.

use std::io::Write;

use super::random::Random;
use crate::ConnectorError;
use crate::options::Options;

/// 2026-01-01T00:00:00Z.
const START_MS: i64 = 1_767_225_600_000;
const PLATFORMS: [&str; 4] = ["EUW1", "NA1", "KR", "BR1"];
const ROLES: [&str; 6] = ["Assassin", "Fighter", "Mage", "Marksman", "Support", "Tank"];
const SYLLABLES: [&str; 12] =
    ["ka", "zir", "lu", "mor", "an", "vex", "tha", "ri", "sol", "nev", "ira", "gor"];
/// Greatest distance in offsets from a duplicate or correction back to its base.
const MAX_DISTANCE: u64 = 512;

/// Options of the generated matches.
#[derive(Clone, Debug, PartialEq)]
pub struct MatchOptions {
    /// Another seed gives other matches.
    pub seed: u64,
    /// Distinct match ids; 0 for a new one at every offset.
    pub keys: u64,
    /// Distinct players.
    pub players: u64,
    /// Distinct champions.
    pub champions: u64,
    /// Players in a match.
    pub participants: u64,
    /// End of the first match, milliseconds since 1970.
    pub start_ms: i64,
    /// Time from the end of one match to the end of the next.
    pub step_ms: i64,
    /// Share of exact repetitions.
    pub duplicates: f64,
    /// Share of later versions of matches already given.
    pub corrections: f64,
    /// Share of matches that ended [`MatchOptions::late_by_ms`] before their neighbours.
    pub late: f64,
    /// Lateness of late matches.
    pub late_by_ms: i64,
    /// Share of records that are not valid.
    pub broken: f64,
}

impl Default for MatchOptions {
    fn default() -> MatchOptions {
        MatchOptions {
            seed: 0,
            keys: 0,
            players: 10_000,
            champions: 160,
            participants: 10,
            start_ms: START_MS,
            step_ms: 1_000,
            duplicates: 0.0,
            corrections: 0.0,
            late: 0.0,
            late_by_ms: 3 * 86_400_000,
            broken: 0.0,
        }
    }
}

impl MatchOptions {
    /// Takes its options from those of a source.
    pub fn take_from(options: &mut Options<'_>) -> Result<MatchOptions, ConnectorError> {
        let number = "a whole number";
        let base = MatchOptions::default();
        Ok(MatchOptions {
            seed: options.parse("seed", number)?.unwrap_or(base.seed),
            keys: options.parse("keys", number)?.unwrap_or(base.keys),
            players: options.parse("players", number)?.unwrap_or(base.players).max(1),
            champions: options.parse("champions", number)?.unwrap_or(base.champions).max(1),
            participants: options.parse("participants", number)?.unwrap_or(base.participants),
            start_ms: options.parse("start.ms", number)?.unwrap_or(base.start_ms),
            step_ms: options.parse("step.ms", number)?.unwrap_or(base.step_ms),
            duplicates: options.share("duplicates")?,
            corrections: options.share("corrections")?,
            late: options.share("late")?,
            late_by_ms: options.parse("late.by.ms", number)?.unwrap_or(base.late_by_ms),
            broken: options.share("broken")?,
        })
    }
}

/// Kind of the record at an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordKind {
    /// A match, or with `keys` a later version of one.
    Fresh,
    /// The bytes of the offset named again.
    Duplicate(u64),
    /// A later version of the match at the offset named.
    Correction(u64),
    /// A match that ended long ago.
    Late,
    /// Not a valid record.
    Broken,
}

/// One version of one match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Version {
    index: u64,
    revision: u64,
    ended_ms: i64,
    fetched_ms: i64,
}

/// The generator.
#[derive(Clone, Debug)]
pub struct Matches {
    options: MatchOptions,
}

impl Matches {
    /// A generator of matches as `options` describe them.
    pub fn new(options: MatchOptions) -> Matches {
        Matches { options }
    }

    /// Kind of the record at `offset`.
    pub fn kind_at(&self, offset: u64) -> RecordKind {
        let o = &self.options;
        let mut random = Random::new(o.seed ^ 0x6b69_6e64, offset);
        let mut draw = random.unit();
        for (share, kind) in [(o.late, RecordKind::Late), (o.broken, RecordKind::Broken)] {
            if draw < share {
                return kind;
            }
            draw -= share;
        }
        let duplicate = draw < o.duplicates;
        if !duplicate && draw - o.duplicates >= o.corrections {
            return RecordKind::Fresh;
        }
        // The offset repeated must itself be fresh; the first ones have nothing to repeat.
        let mut back = 1 + random.below(offset.min(MAX_DISTANCE));
        while back <= offset.min(MAX_DISTANCE) {
            if self.is_plainly_fresh(offset - back) {
                let base = offset - back;
                return if duplicate { RecordKind::Duplicate(base) } else { RecordKind::Correction(base) };
            }
            back += 1;
        }
        RecordKind::Fresh
    }

    /// Appends the JSON at `offset` to `out` and returns the record's timestamp, milliseconds since 1970.
    pub fn write_record(&self, offset: u64, out: &mut Vec<u8>) -> i64 {
        let version = self.version_at(offset);
        let start = out.len();
        self.write_envelope(&version, out);
        if self.kind_at(offset) == RecordKind::Broken {
            // Half of the broken ones are cut off, half have a field of the wrong type.
            if offset.is_multiple_of(2) {
                out.truncate(start + (out.len() - start) / 2);
            } else {
                out.truncate(start);
                out.extend_from_slice(
                    br#"{"event_id":7,"event_type":"match.completed","fetched_at":"soon","match":[]}"#,
                );
            }
        }
        version.fetched_ms
    }

    /// The match id at `offset`: the key of the record.
    pub fn match_id(&self, offset: u64) -> String {
        let index = self.version_at(offset).index;
        format!("{}_{}", platform_of(index), 7_000_000_000 + index)
    }

    /// Returns true where only Fresh is possible. It does not search for a base, so `kind_at` cannot recurse.
    fn is_plainly_fresh(&self, offset: u64) -> bool {
        let o = &self.options;
        let draw = Random::new(o.seed ^ 0x6b69_6e64, offset).unit();
        draw >= o.late + o.broken + o.duplicates + o.corrections
    }

    fn version_at(&self, offset: u64) -> Version {
        match self.kind_at(offset) {
            RecordKind::Duplicate(base) => self.fresh_version(base),
            RecordKind::Correction(base) => {
                let first = self.fresh_version(base);
                let later = (offset - base) as i64 * self.options.step_ms.max(1);
                let revision = first.revision + 1 + (offset - base);
                Version { revision, fetched_ms: first.fetched_ms + later, ..first }
            }
            RecordKind::Late => {
                let on_time = self.fresh_version(offset);
                Version { ended_ms: on_time.ended_ms - self.options.late_by_ms, ..on_time }
            }
            RecordKind::Fresh | RecordKind::Broken => self.fresh_version(offset),
        }
    }

    fn fresh_version(&self, offset: u64) -> Version {
        let o = &self.options;
        let (index, round) = match o.keys {
            0 => (offset, 0),
            keys => (offset % keys, offset / keys),
        };
        // A match that comes round again keeps its end: only the time it was fetched is newer.
        let ended_ms = o.start_ms.wrapping_add((index as i64).wrapping_mul(o.step_ms));
        let fetched = o.start_ms.wrapping_add((offset as i64).wrapping_mul(o.step_ms));
        Version { index, revision: round * (MAX_DISTANCE + 2), ended_ms, fetched_ms: fetched + 60_000 }
    }

    fn write_envelope(&self, v: &Version, out: &mut Vec<u8>) {
        let o = &self.options;
        let mut random = Random::new(o.seed, v.index);
        let (platform, number) = (platform_of(v.index), 7_000_000_000 + v.index);
        let duration = 900 + random.below(1800) as i64;
        let players: Vec<u64> = (0..o.participants).map(|_| random.below(o.players)).collect();
        push_text(
            out,
            format_args!(
                r#"{{"event_id":"{:016x}-{}","event_type":"match.completed","fetched_at":"#,
                random.next_u64(),
                v.revision,
            ),
        );
        write_time(out, v.fetched_ms);
        push_text(
            out,
            format_args!(
                r#","match":{{"metadata":{{"dataVersion":"2","matchId":"{platform}_{number}","participants":["#
            ),
        );
        for (i, player) in players.iter().enumerate() {
            push_text(out, format_args!("{}\"{}\"", comma_before(i), puuid(*player)));
        }
        let started = v.ended_ms - duration * 1000;
        push_text(
            out,
            format_args!(
                r#"]}},"info":{{"endOfGameResult":"GameComplete","gameCreation":{},"gameDuration":{duration},"gameEndTimestamp":{},"gameId":{number},"gameMode":"CLASSIC","gameStartTimestamp":{started},"gameType":"MATCHED_GAME","gameVersion":"16.{}.1","mapId":11,"participants":["#,
                started - 10_000,
                v.ended_ms,
                1 + v.index % 24,
            ),
        );
        // Teams win and lose together; a correction changes the players' numbers, not the result.
        let blue_wins = random.below(2) == 0;
        let mut numbers = Random::new(o.seed ^ v.revision.wrapping_mul(0x9e37), v.index);
        for (i, player) in players.iter().enumerate() {
            let blue = (i as u64) < o.participants.div_ceil(2);
            let champion = 1 + random.below(o.champions);
            push_text(out, format_args!("{}", comma_before(i)));
            write_participant(out, &mut numbers, (*player, champion, blue, blue == blue_wins));
        }
        push_text(
            out,
            format_args!(r#"],"platformId":"{platform}","queueId":420,"tournamentCode":""}}}}}}"#),
        );
    }
}

/// Appends one participant: player, champion, blue side, winner.
fn write_participant(out: &mut Vec<u8>, numbers: &mut Random, who: (u64, u64, bool, bool)) {
    let (player, champion, blue, win) = who;
    let (kills, deaths, assists) = (numbers.below(16), numbers.below(12), numbers.below(20));
    push_text(
        out,
        format_args!(
            r#"{{"assists":{assists},"championId":{champion},"championName":"{}","deaths":{deaths},"goldEarned":{},"kills":{kills},"puuid":"{}","teamId":{},"totalDamageDealtToChampions":{},"visionScore":{},"win":{win}}}"#,
            champion_name(champion),
            5_000 + numbers.below(12_000),
            puuid(player),
            if blue { 100 } else { 200 },
            3_000 + numbers.below(40_000),
            numbers.below(80),
        ),
    );
}

/// Key and JSON of champion `id`, counted from 1: the dimension's record.
pub fn champion_record(id: u64) -> (String, String) {
    let (name, role) = (champion_name(id), ROLES[(id % ROLES.len() as u64) as usize]);
    let json = format!(r#"{{"champion_id":{id},"name":"{name}","role":"{role}"}}"#);
    (id.to_string(), json)
}

/// Events at offsets `0..count`: keys and JSON, for demos and benches.
pub fn match_events(options: MatchOptions, count: u64) -> impl Iterator<Item = (String, Vec<u8>)> {
    let matches = Matches::new(options);
    (0..count).map(move |offset| {
        let mut json = Vec::with_capacity(4096);
        matches.write_record(offset, &mut json);
        (matches.match_id(offset), json)
    })
}

fn champion_name(id: u64) -> String {
    let part = |n: u64| SYLLABLES[(n % 12) as usize];
    let mut name = format!("{}{}{}", part(id), part(id / 12 + 5), part(id / 144 + 8));
    name[..1].make_ascii_uppercase();
    name
}

fn platform_of(index: u64) -> &'static str {
    PLATFORMS[(Random::new(4, index).below(4)) as usize]
}

fn puuid(player: u64) -> String {
    format!("{:016x}{player:016x}", Random::new(9, player).next_u64())
}

fn comma_before(i: usize) -> &'static str {
    if i == 0 { "" } else { "," }
}

fn push_text(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // Writing to a Vec does not fail.
    let _ = out.write_fmt(text);
}

/// Appends milliseconds since 1970 as a quoted ISO-8601 time in UTC.
pub(crate) fn write_time(out: &mut Vec<u8>, ms: i64) {
    let (days, in_day) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000));
    // Howard Hinnant's civil_from_days.
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + i64::from(month <= 2);
    let (h, m, s) = (in_day / 3_600_000, in_day / 60_000 % 60, in_day / 1000 % 60);
    push_text(
        out,
        format_args!(
            "\"{year:04}-{month:02}-{:02}T{h:02}:{m:02}:{s:02}.{:03}Z\"",
            doy - (153 * mp + 2) / 5 + 1,
            in_day % 1000,
        ),
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn mixed() -> Matches {
        Matches::new(MatchOptions {
            seed: 5,
            duplicates: 0.1,
            corrections: 0.1,
            late: 0.05,
            broken: 0.05,
            ..MatchOptions::default()
        })
    }

    fn json(matches: &Matches, offset: u64) -> Option<Value> {
        let mut out = Vec::new();
        matches.write_record(offset, &mut out);
        serde_json::from_slice(&out).ok()
    }

    #[test]
    fn the_same_offset_gives_the_same_bytes() {
        let (mut a, mut b) = (Vec::new(), Vec::new());
        (0..200).for_each(|i| {
            mixed().write_record(i, &mut a);
        });
        (0..200).for_each(|i| {
            mixed().write_record(i, &mut b);
        });
        assert_eq!(a, b);
    }

    #[test]
    fn kinds_are_what_they_say() {
        let matches = mixed();
        let mut seen = [0u32; 5];
        for offset in 0..2000 {
            let value = json(&matches, offset);
            match matches.kind_at(offset) {
                RecordKind::Fresh => seen[0] += 1,
                RecordKind::Duplicate(base) => {
                    seen[1] += 1;
                    assert_eq!(value, json(&matches, base));
                }
                RecordKind::Correction(base) => {
                    seen[2] += 1;
                    let (new, old) = (value.unwrap(), json(&matches, base).unwrap());
                    assert_eq!(new["match"]["metadata"], old["match"]["metadata"]);
                    assert!(new["fetched_at"].as_str() > old["fetched_at"].as_str());
                    assert_ne!(new["match"]["info"], old["match"]["info"]);
                }
                RecordKind::Late => seen[3] += 1,
                RecordKind::Broken => {
                    seen[4] += 1;
                    assert!(value.is_none_or(|v| v["event_id"] == 7));
                }
            }
        }
        assert!(seen[0] > 1200 && seen[1..].iter().all(|n| *n > 50), "{seen:?}");
    }

    #[test]
    fn the_body_has_the_shape_of_match_v5() {
        let matches = Matches::new(MatchOptions::default());
        let value = json(&matches, 3).unwrap();
        let info = &value["match"]["info"];
        assert_eq!(value["match"]["metadata"]["matchId"], matches.match_id(3));
        let people = info["participants"].as_array().unwrap();
        assert_eq!(people.len(), 10);
        assert_eq!(people.iter().filter(|p| p["win"] == true).count(), 5);
        assert_eq!(people[0]["puuid"], value["match"]["metadata"]["participants"][0]);
        assert_eq!(info["gameEndTimestamp"], START_MS + 3000);
        assert_eq!(value["fetched_at"], "2026-01-01T00:01:03.000Z");
    }

    #[test]
    fn keys_come_round_as_later_versions() {
        let matches = Matches::new(MatchOptions { keys: 10, ..MatchOptions::default() });
        let (first, second) = (json(&matches, 4).unwrap(), json(&matches, 14).unwrap());
        assert_eq!(first["match"]["metadata"], second["match"]["metadata"]);
        assert!(first["fetched_at"].as_str() < second["fetched_at"].as_str());
        assert_eq!(first["match"]["info"]["gameEndTimestamp"], second["match"]["info"]["gameEndTimestamp"]);
    }

    #[test]
    fn champions_have_names() {
        let (key, value) = champion_record(7);
        let value: Value = serde_json::from_str(&value).unwrap();
        assert_eq!((key.as_str(), &value["champion_id"]), ("7", &Value::from(7)));
        let names: std::collections::BTreeSet<String> = (1..=160).map(champion_name).collect();
        assert_eq!(names.len(), 160);
    }
}
