//! The world of the demo: players with a hidden skill and accounts in two games, and all that happens to
//! them, as the records that the match domain reads.
//!
//! It depends on its seed and start alone. Time runs [`SPEED`] times as fast as the clock, so that windows,
//! sessions and trends move within a minute. Records come in the order of their times.

pub mod bodies;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use connectors::generate::random::Random;
use serde_json::{Value, json};

use bodies::Match;

/// Game time that passes in a second.
pub const SPEED: i64 = 60;
/// Topics of the domain's sources.
pub const TOPICS: [&str; 17] = [
    "user.profile.updated",
    "user.profile.resolved",
    "user.preferences.changed",
    "user.authenticated",
    "user.session.created",
    "user.logout.initiated",
    "riot.match",
    "riot.timeline",
    "riot.league",
    "halo.match",
    "halo.skill",
    "halo.profile",
    "halo.history",
    "rank.changed",
    "match.live.started",
    "match.live.updated",
    "user.erased",
];
/// Users of the platform, each with an account in both games.
const USERS: u64 = 400;
/// The user whose form rises, in League of Legends, and the one whose form falls, in Halo Infinite.
const RISING: u64 = 7;
const FALLING: u64 = 11;
/// Matches of the days before, half of them with each of the two, so that there is a form to compare with.
const EARLIER_MATCHES: i64 = 40;
const DAY_MS: i64 = 86_400_000;
const HOUR_MS: i64 = 3_600_000;
const MINUTE_MS: i64 = 60_000;
/// Game time within which the two change their form: 5 seconds of the clock.
const CHANGE_MS: f64 = (5 * SPEED * 1_000) as f64;
/// Game time between two things that are done on the way: 4 seconds of the clock.
const SCENE_MS: i64 = 4 * SPEED * 1_000;
/// Game time after which the views have a match: 2 seconds of the clock.
const SETTLED_MS: i64 = 2 * SPEED * 1_000;
/// Game time between two updates of a match that is watched live.
const UPDATE_MS: i64 = 2 * MINUTE_MS;

/// A record of a topic, which comes at this game time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorldRecord {
    pub topic: &'static str,
    pub key: String,
    pub value: String,
    pub at_ms: i64,
}

/// Something done on the way, in words, and the effect that views have once it has arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    pub text: String,
    /// A query whose `n` tells whether it has.
    pub query: String,
    /// The numbers that say so.
    pub wanted: RangeInclusive<i64>,
    pub effect: String,
}

/// All that has not happened yet, by time.
pub struct World {
    start_ms: i64,
    step_ms: i64,
    /// Number of the next match; those before 0 began before the world did.
    next_match: i64,
    due: BTreeMap<(i64, u64), WorldRecord>,
    pushed: u64,
    /// Time from which the next scene may be played, and its number.
    next_scene: (i64, u64),
    /// Matches with one capture, by their end.
    played: BTreeMap<i64, Match>,
    /// Users who were erased, or have withdrawn their consent.
    gone: BTreeSet<u64>,
    /// The one of them who will give it again.
    consenting: Option<u64>,
}

impl World {
    /// A world that begins at `start_ms` with so many matches for each second of the clock.
    pub fn new(start_ms: i64, rate: u64) -> World {
        let step_ms = (SPEED * 1_000 / rate.clamp(1, 60_000) as i64).max(1);
        let mut world = World {
            start_ms,
            step_ms,
            next_match: -(bodies::LONGEST_MS / step_ms),
            due: BTreeMap::new(),
            pushed: 0,
            next_scene: (start_ms + SCENE_MS, 0),
            played: BTreeMap::new(),
            gone: BTreeSet::new(),
            consenting: None,
        };
        world.add_people();
        world.add_earlier_matches();
        world
    }

    /// All records until `now_ms`, in the order of their times.
    pub fn advance(&mut self, now_ms: i64) -> Vec<WorldRecord> {
        while self.start_ms + self.next_match * self.step_ms <= now_ms {
            self.begin_match(self.next_match);
            self.next_match += 1;
        }
        let later = self.due.split_off(&(now_ms + 1, 0));
        std::mem::replace(&mut self.due, later).into_values().collect()
    }

    /// Does the next thing on the way if its time has come: a correction, an erasure, a consent withdrawn, the
    /// same given again, in turns. Its records are among those of the next [`World::advance`].
    pub fn act(&mut self, now_ms: i64) -> Option<Note> {
        let (from, number) = self.next_scene;
        if now_ms < from {
            return None;
        }
        self.played = self.played.split_off(&(now_ms - HOUR_MS));
        let mut settled = self.played.range(..now_ms - SETTLED_MS).rev();
        let (_, one) = settled.find(|(_, one)| one.is_lol() && !self.gone.contains(&one.first_user()))?;
        let one = one.clone();
        let note = match number % 4 {
            0 => self.correct_match(&one, now_ms),
            1 => self.erase_user(self.someone_in(&one)?, now_ms),
            2 => self.withdraw_consent(self.someone_in(&one)?, now_ms),
            _ => self.give_consent(now_ms),
        };
        self.next_scene = (now_ms + SCENE_MS, number + 1);
        note
    }

    /// A user of the match whom the views show.
    fn someone_in(&self, one: &Match) -> Option<u64> {
        one.users().into_iter().find(|user| ![RISING, FALLING].contains(user) && !self.gone.contains(user))
    }

    fn push(&mut self, topic: &'static str, key: String, value: String, at_ms: i64) {
        self.pushed += 1;
        self.due.insert((at_ms, self.pushed), WorldRecord { topic, key, value, at_ms });
    }

    fn push_json(&mut self, topic: &'static str, key: String, value: &Value, at_ms: i64) {
        self.push(topic, key, value.to_string(), at_ms);
    }

    fn add_people(&mut self) {
        let at = self.start_ms - 7 * DAY_MS;
        for user in 1..=USERS {
            let (user_id, countries) = (user_id(user), ["DE", "FR", "PL", "SE"]);
            let profile = json!({
                "event_id": format!("profile-{user}"),
                "user_id": user_id,
                "display_name": name(user),
                "email": format!("{user_id}@example.com"),
                "country": countries[(user % 4) as usize],
                "accounts": [
                    {"game": "lol", "player_id": puuid(user)},
                    {"game": "halo", "player_id": xuid(user)},
                ],
                "updated_by": "app",
                "updated_at": bodies::iso(at),
            });
            self.push_json("user.profile.updated", user_id, &profile, at);
            let gamertag = json!({"xuid": xuid(user), "gamertag": name(user)});
            self.push_json("halo.profile", xuid(user), &gamertag, at);
        }
    }

    /// Matches of the two days before, each with one of the two whose form will change.
    fn add_earlier_matches(&mut self) {
        for number in 0..EARLIER_MATCHES {
            let start = self.start_ms - 2 * DAY_MS + number * 70 * MINUTE_MS;
            let mut one = Match::new(number - 1_000_000, start);
            let wobble = 0.1 * (number / 2 % 3) as f64;
            match one.is_lol() {
                true => one.seat_player(RISING, wobble),
                false => one.seat_player(FALLING, 1.0 - wobble),
            }
            self.push(one.topic(), one.id(), one.body(0), one.end_ms() + 5_000);
        }
    }

    /// A match that begins: all of its records, those before the world's start left out.
    fn begin_match(&mut self, number: i64) {
        let mut random = Random::new(11, number as u64);
        let mut one = Match::new(number, self.start_ms + number * self.step_ms);
        let end = one.end_ms() + random.between(1_000, 20_000);
        // Each of the two plays every two seconds of the clock, and no more than every fourth match.
        let every = (2 * SPEED * 1_000 / self.step_ms).max(4);
        let changed = ((end - self.start_ms).max(0) as f64 / CHANGE_MS).min(1.0);
        match (number.rem_euclid(every) < 2, one.is_lol()) {
            (true, true) => one.seat_player(RISING, changed),
            (true, false) => one.seat_player(FALLING, 1.0 - changed),
            _ => {}
        }
        // About one a second of the clock is watched, in either game.
        let watched = (SPEED * 1_000 / self.step_ms).max(4) | 1;
        if number.rem_euclid(watched) == 0 && one.end_ms() > self.start_ms {
            self.watch_match(&one);
        }
        if end < self.start_ms {
            return;
        }
        let drawn = random.below(1_000);
        // One early match breaks a constraint, however few there are.
        let luck = if number == 8 { 5 } else { drawn };
        match luck {
            0..=4 => self.push(one.topic(), one.id(), one.body(0)[..300].to_owned(), end),
            5..=9 => self.push(one.topic(), one.id(), one.body_without_players(), end),
            10..=39 => {
                // An early capture, without the last kill, and the final one.
                self.push(one.topic(), one.id(), one.body(1), end);
                self.push(one.topic(), one.id(), one.body(0), end + 40_000);
            }
            _ => {
                self.push(one.topic(), one.id(), one.body(0), end);
                self.played.insert(end, one.clone());
            }
        }
        self.add_details(&one, end, &mut random);
        self.add_sign_in(&one, end, &mut random);
    }

    /// Timelines, skills and ranks around a match.
    fn add_details(&mut self, one: &Match, end: i64, random: &mut Random) {
        if random.below(25) == 0 && one.is_lol() {
            self.push_json("riot.timeline", one.id(), &one.timeline(), end + 2_000);
        }
        if random.below(8) == 0 && !one.is_lol() {
            self.push_json("halo.skill", one.id(), &one.skill(), end + 2_000);
        }
        if random.below(25) == 0 {
            let user = one.first_user();
            let tier = ["SILVER", "GOLD", "PLATINUM", "EMERALD"][random.below(4) as usize];
            let rank = json!({
                "game": "lol", "player_id": puuid(user), "queue": "420", "tier": tier, "division": "II",
                "points": random.below(100), "as_of": bodies::iso(end),
            });
            self.push_json("rank.changed", puuid(user), &rank, end);
        }
    }

    /// Now and then the first player signs in after the match, one in ten times twice over, and out again.
    fn add_sign_in(&mut self, one: &Match, end: i64, random: &mut Random) {
        if random.below(10) > 0 {
            return;
        }
        let (user, session) = (user_id(one.first_user()), format!("session-{}", one.id()));
        let begun =
            json!({"session_id": session, "user_id": user, "device": "pc", "occurred_at": bodies::iso(end)});
        let signed = json!({
            "event_id": format!("sign-in-{}", one.id()), "occurred_at": bodies::iso(end), "user_id": user,
            "method": "password", "succeeded": random.below(10) > 0,
        });
        let left = end + random.between(4, 25) * MINUTE_MS;
        let over = json!({"session_id": session, "reason": "signed out", "occurred_at": bodies::iso(left)});
        let times = if random.below(10) == 0 { 2 } else { 1 };
        for _ in 0..times {
            self.push_json("user.authenticated", user.clone(), &signed, end);
        }
        self.push_json("user.session.created", session.clone(), &begun, end);
        self.push_json("user.logout.initiated", session, &over, left);
    }

    /// The live events of a match, from the last update before the world's start.
    fn watch_match(&mut self, one: &Match) {
        let shown_from = one.start_ms().max(self.start_ms);
        self.push_json("match.live.started", one.id(), &one.live_start(), shown_from);
        let before = (shown_from - one.start_ms()) / UPDATE_MS;
        let mut at = one.start_ms() + before.max(1) * UPDATE_MS;
        while at < one.end_ms() {
            self.push_json("match.live.updated", one.id(), &one.live_update(at), at.max(shown_from));
            // One in eight comes again behind the next one, when it is superseded.
            if at / UPDATE_MS % 8 == 0 {
                let late = at.max(shown_from) + UPDATE_MS + 1;
                self.push_json("match.live.updated", one.id(), &one.live_update(at), late);
            }
            at += UPDATE_MS;
        }
        // One that was stuck for days.
        if one.number().rem_euclid(12) == 0 {
            let old = Match::new(one.number() - 2_000_000, self.start_ms - 4 * DAY_MS);
            let update = old.live_update(old.start_ms() + UPDATE_MS);
            self.push_json("match.live.updated", old.id(), &update, shown_from + 1_000);
        }
    }

    fn correct_match(&mut self, one: &Match, at: i64) -> Option<Note> {
        let (user, kills, id) = (one.first_user(), one.first_kills(), one.id());
        self.push(one.topic(), id.clone(), one.body(-2), at);
        Some(Note {
            text: format!("corrected {id}: {} has {} kills, not {kills}", name(user), kills + 2),
            query: format!(
                "SELECT kills AS n FROM player_performance \
                 WHERE game = 'lol' AND match_id = '{id}' AND player_id = '{}'",
                puuid(user)
            ),
            wanted: kills + 2..=kills + 2,
            effect: format!("player_performance has {} kills", kills + 2),
        })
    }

    /// Orders to erase a user, one for each id.
    fn erase_user(&mut self, user: u64, at: i64) -> Option<Note> {
        self.gone.insert(user);
        for subject in [user_id(user), puuid(user), xuid(user)] {
            let order = json!({"subject": subject, "requested_at": bodies::iso(at)});
            self.push_json("user.erased", subject, &order, at);
        }
        Some(Note {
            text: format!("erased {} ({}): 3 orders, one for each id", user_id(user), name(user)),
            query: rows_of(user),
            wanted: 0..=0,
            effect: "gone from performance_alltime; the others keep their matches".to_owned(),
        })
    }

    fn withdraw_consent(&mut self, user: u64, at: i64) -> Option<Note> {
        self.gone.insert(user);
        self.consenting = Some(user);
        self.push_consent(user, false, at);
        Some(Note {
            text: format!("{} ({}) withdrew consent for both accounts", user_id(user), name(user)),
            query: rows_of(user),
            wanted: 0..=0,
            effect: "performance_alltime is as if they had never played".to_owned(),
        })
    }

    fn give_consent(&mut self, at: i64) -> Option<Note> {
        let user = self.consenting.take()?;
        self.gone.remove(&user);
        self.push_consent(user, true, at);
        Some(Note {
            text: format!("{} ({}) gave consent again", user_id(user), name(user)),
            query: rows_of(user),
            wanted: 1..=2,
            effect: "performance_alltime has all of their matches again".to_owned(),
        })
    }

    fn push_consent(&mut self, user: u64, consent: bool, at: i64) {
        let preferences = json!({
            "user_id": user_id(user), "analytics_consent": consent, "language": "en", "updated_at": bodies::iso(at),
        });
        self.push_json("user.preferences.changed", user_id(user), &preferences, at);
    }
}

/// The query for how many of a user's two accounts have results.
fn rows_of(user: u64) -> String {
    format!(
        "SELECT count(*) AS n FROM performance_alltime WHERE dimension = 'player' AND value IN ('{}', '{}')",
        puuid(user),
        xuid(user)
    )
}

/// The beginning of the hour that a time is in.
pub fn hour_of(at_ms: i64) -> i64 {
    at_ms - at_ms.rem_euclid(HOUR_MS)
}

fn user_id(user: u64) -> String {
    format!("u{user}")
}

/// A made-up name.
fn name(user: u64) -> String {
    const FIRST: [&str; 12] =
        ["Ash", "Bram", "Cleo", "Dax", "Esme", "Finn", "Gale", "Iris", "Juno", "Kato", "Lumi", "Nox"];
    const LAST: [&str; 10] =
        ["fox", "wren", "storm", "vale", "pike", "rook", "lynx", "moss", "flint", "heron"];
    let last = LAST[(user / 12 % 10) as usize];
    format!("{}{last}{user}", FIRST[(user % 12) as usize])
}

fn puuid(user: u64) -> String {
    format!("puuid-{user:04}")
}

fn xuid(user: u64) -> String {
    format!("xuid(25332748{user:08})")
}

/// The name that belongs to a player's id in a game, or the id.
pub fn player_name(player_id: &str) -> String {
    let digits = player_id
        .strip_prefix("puuid-")
        .or_else(|| player_id.strip_prefix("xuid(25332748").and_then(|rest| rest.strip_suffix(')')));
    match digits.and_then(|digits| digits.parse().ok()) {
        Some(user) => name(user),
        None => player_id.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_world_is_the_same_again_and_in_order() {
        let run = || -> Vec<WorldRecord> {
            let mut world = World::new(0, 20);
            let mut records = world.advance(20 * MINUTE_MS);
            world.act(20 * MINUTE_MS);
            records.extend(world.advance(40 * MINUTE_MS));
            world.act(40 * MINUTE_MS);
            world.act(45 * MINUTE_MS);
            records.extend(world.advance(50 * MINUTE_MS));
            records
        };
        let once = run();
        assert!(once.is_sorted_by_key(|record| record.at_ms));
        assert_eq!(once, run());
        for topic in TOPICS {
            let unused = ["user.profile.resolved", "riot.league", "halo.history"];
            assert_eq!(once.iter().any(|record| record.topic == topic), !unused.contains(&topic), "{topic}");
        }
    }

    #[test]
    fn something_is_played_from_the_first_moment_on() {
        let mut world = World::new(0, 20);
        let live = world.advance(0).iter().filter(|record| record.topic == "match.live.updated").count();
        assert!(live > 10, "{live}");
    }

    #[test]
    fn corrections_erasures_and_consent_take_turns() -> Result<(), String> {
        let mut world = World::new(0, 20);
        let mut notes = Vec::new();
        for minute in 0..20 {
            world.advance(minute * MINUTE_MS);
            notes.extend(world.act(minute * MINUTE_MS));
        }
        let [corrected, erased, withdrawn, given] = &notes[..] else { return Err(format!("{notes:?}")) };
        assert!(corrected.text.starts_with("corrected EUW1_"), "{notes:?}");
        assert!(erased.text.starts_with("erased u") && withdrawn.text.contains("withdrew"), "{notes:?}");
        assert!(given.text.contains("again"), "{notes:?}");
        assert_eq!(withdrawn.query, given.query);
        assert!(notes.iter().all(|note| note.text.len() < 74 && note.effect.len() < 72), "{notes:?}");
        assert_eq!(world.gone.len(), 1, "the one who was erased");
        Ok(())
    }

    #[test]
    fn ids_have_names() {
        assert_eq!(player_name(&puuid(17)), name(17));
        assert_eq!(player_name(&xuid(17)), name(17));
        assert_eq!(player_name("x"), "x");
    }
}
