//! Input of the comparison, and the answer to it: games of players, generated, and folded as they are generated.
//!
//! A tenth of the records has the id of an earlier one and other content, so that it matters which came first; one in a
//! thousand has a length that cannot be, and does not take its id. Equal options give equal records.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write;
use std::time::Duration;

use anyhow::Result;
use connectors::generate::matches::champion_record;
use connectors::generate::random::Random;
use connectors::kafka::{Feed, KafkaCluster, TopicSpec, Topics};
use connectors::murmur2_partition;

use crate::input::unread_blocks;

/// Topic of the names of champions.
pub const CHAMPIONS: &str = "champions";
/// Partitions of every topic but that of champions.
pub const PARTITIONS: i32 = 4;
/// Timeout of calls to the broker.
pub const BROKER_TIMEOUT: Duration = Duration::from_secs(120);
/// Champions, as many as the game has.
const CHAMPION_COUNT: u64 = 170;
/// Players of a nested record.
const PARTICIPANTS: usize = 10;
/// Exponent of Zipf's law, as in YCSB.
const ZIPF: f64 = 0.99;
/// 2026-01-01, and the time from one game to the next.
const BEGIN_MS: i64 = 1_767_225_600_000;
const STEP_MS: i64 = 100;
const HOUR_MS: i64 = 3_600_000;

/// Shape of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One player's game, about 185 bytes.
    Flat,
    /// A match with its ten players, about 2.1 kB.
    Nested,
    /// The same with all the fields that Riot sends, most of them unread, about 70 kB.
    Whole,
}

impl Shape {
    /// The topic of records of this shape.
    pub fn topic(self) -> &'static str {
        match self {
            Shape::Flat => "flat",
            Shape::Nested => "nested",
            Shape::Whole => "whole",
        }
    }

    /// The file of Herald's topology.
    pub fn herald_sql(self) -> &'static str {
        match self {
            Shape::Flat => "match_flat.sql",
            Shape::Nested | Shape::Whole => "match_nested.sql",
        }
    }

    /// The file of Flink's job.
    pub fn flink_sql(self) -> &'static str {
        match self {
            Shape::Flat => "flink_flat.sql",
            Shape::Nested | Shape::Whole => "flink_nested.sql",
        }
    }
}

/// A filled topic.
#[derive(Clone, Copy, Debug)]
pub struct Input {
    /// Shape of its records.
    pub shape: Shape,
    /// Records.
    pub records: u64,
    /// Bytes of their values.
    pub bytes: u64,
    /// Records that are neither repeats nor refused.
    pub accepted: u64,
}

/// The right answer: rows by key, both as JSON with sorted names, and the sum of games that tells that it is complete.
#[derive(Default)]
pub struct Answer {
    /// Rows of the two topics, champions by the hour and players.
    pub rows: [BTreeMap<String, String>; 2],
    /// Sum of the games of all rows of either topic.
    pub games: u64,
}

/// Frequencies of players.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Law {
    /// All play alike.
    Alike,
    /// Few play most games.
    Zipf,
    /// One after another, each record a game of its own: neither repeats nor refused records.
    InTurn,
}

/// The generator.
pub struct Games {
    shape: Shape,
    players: Players,
    /// Unread fields of a player in a whole record.
    blocks: Vec<Vec<u8>>,
}

/// A record.
pub struct Game {
    /// Key of the record.
    pub key: String,
    /// Partition of its key.
    pub partition: i32,
    /// Number of its id: the first record of an id counts.
    pub id: u64,
    /// False for a game that is too long to be.
    pub sane: bool,
    ended_at: i64,
    parts: Vec<Part>,
}

impl Game {
    /// The player of the first part.
    pub fn player(&self) -> u64 {
        self.parts.first().map_or(0, |part| part.player)
    }
}

/// One player's part of a game.
struct Part {
    player: u64,
    champion: u64,
    kills: i64,
    deaths: i64,
    assists: i64,
    win: bool,
}

/// Aggregates of a champion's hour or of a player.
#[derive(Default)]
struct Totals {
    games: u64,
    wins: u64,
    kills: i64,
    deaths: i64,
    assists: i64,
    max_kills: i64,
    last_seen: i64,
}

impl Totals {
    fn add(&mut self, part: &Part, ended_at: i64) {
        self.games += 1;
        self.wins += u64::from(part.win);
        self.kills += part.kills;
        self.deaths += part.deaths;
        self.assists += part.assists;
        self.max_kills = self.max_kills.max(part.kills);
        self.last_seen = self.last_seen.max(ended_at);
    }
}

/// Accepted games so far.
#[derive(Default)]
struct Fold {
    ids: HashSet<u64>,
    hours: HashMap<(i64, u64), Totals>,
    players: HashMap<u64, Totals>,
}

impl Fold {
    fn add(&mut self, id: u64, ended_at: i64, parts: &[Part]) {
        if !self.ids.insert(id) {
            return;
        }
        for part in parts {
            self.hours.entry((ended_at / HOUR_MS, part.champion)).or_default().add(part, ended_at);
            self.players.entry(part.player).or_default().add(part, ended_at);
        }
    }

    fn into_answer(self) -> Answer {
        let mut answer = Answer::default();
        for ((hour, champion), t) in self.hours {
            answer.games += t.games;
            let name = champion_record(champion).1;
            let name =
                name.split("\"name\":").nth(1).and_then(|rest| rest.split(',').next()).unwrap_or_default();
            answer.rows[0].insert(
                format!("{{\"champion_id\":{champion},\"hour\":{hour}}}"),
                format!(
                    "{{\"assists\":{},\"champion_id\":{champion},\"champion_name\":{name},\"deaths\":{},\"games\":{},\
                     \"hour\":{hour},\"kills\":{},\"wins\":{}}}",
                    t.assists, t.deaths, t.games, t.kills, t.wins
                ),
            );
        }
        for (player, t) in self.players {
            answer.rows[1].insert(
                format!("{{\"player\":\"{}\"}}", player_name(player)),
                format!(
                    "{{\"assists\":{},\"deaths\":{},\"games\":{},\"kills\":{},\"last_seen\":{},\"max_kills\":{},\
                     \"player\":\"{}\",\"wins\":{}}}",
                    t.assists,
                    t.deaths,
                    t.games,
                    t.kills,
                    t.last_seen,
                    t.max_kills,
                    player_name(player),
                    t.wins
                ),
            );
        }
        answer
    }
}

/// Fills the topic of champions.
///
/// # Errors
/// When the broker refuses.
pub fn fill_champions(bootstrap: &str) -> Result<()> {
    let cluster = KafkaCluster::new(bootstrap);
    let spec = TopicSpec {
        name: CHAMPIONS.to_owned(),
        partitions: Some(1),
        compacted: true,
        ..TopicSpec::default()
    };
    Topics::open(&cluster, BROKER_TIMEOUT)?.ensure(&spec)?;
    let feed = Feed::open(&cluster)?;
    for id in 1..=CHAMPION_COUNT {
        let key = format!("{{\"champion_id\":{id}}}");
        feed.send((CHAMPIONS, 0), Some(key.as_bytes()), Some(champion_record(id).1.as_bytes()), None)?;
    }
    Ok(feed.flush(BROKER_TIMEOUT)?)
}

impl Games {
    /// A generator of records of so many players.
    pub fn new(shape: Shape, keys: u64, law: Law) -> Games {
        let blocks = if shape == Shape::Whole { unread_blocks() } else { vec![] };
        Games { shape, players: Players::new(keys, law), blocks }
    }

    /// Writes the record of that number in place of `json`'s content.
    ///
    /// # Errors
    /// Never: text has room.
    pub fn write(&self, at: u64, json: &mut String) -> Result<Game> {
        let mut random = Random::new(7, at);
        let plain = self.players.law == Law::InTurn;
        let id = if random.below(10) == 0 && at > 0 && !plain { random.below(at) } else { at };
        let sane = random.below(1000) > 0 || plain;
        let seconds = if sane { random.between(900, 3000) } else { 100_000 };
        let ended_at = BEGIN_MS + at as i64 * STEP_MS - random.between(0, HOUR_MS / 2);
        let parts: Vec<Part> =
            (0..self.shape.parts()).map(|_| self.players.draw_part(at, &mut random)).collect();
        json.clear();
        self.write_record(json, (id, seconds, ended_at), &parts)?;
        let key = match_id(id);
        let partition = murmur2_partition(key.as_bytes(), PARTITIONS);
        Ok(Game { key, partition, id, sane, ended_at, parts })
    }

    /// Fills a topic, and returns the answer to it.
    ///
    /// # Errors
    /// When the broker refuses.
    pub fn fill(&self, bootstrap: &str, topic: &str, records: u64) -> Result<(Input, Answer)> {
        let cluster = KafkaCluster::new(bootstrap);
        let spec = TopicSpec { name: topic.to_owned(), partitions: Some(PARTITIONS), ..TopicSpec::default() };
        Topics::open(&cluster, BROKER_TIMEOUT)?.ensure(&spec)?;
        let feed = Feed::open(&cluster)?;
        let (mut json, mut bytes, mut fold) = (String::new(), 0, Fold::default());
        for at in 0..records {
            let game = self.write(at, &mut json)?;
            bytes += json.len() as u64;
            let to = (topic, game.partition);
            feed.send(to, Some(game.key.as_bytes()), Some(json.as_bytes()), None)?;
            if game.sane {
                fold.add(game.id, game.ended_at, &game.parts);
            }
        }
        feed.flush(BROKER_TIMEOUT)?;
        let accepted = fold.ids.len() as u64;
        Ok((Input { shape: self.shape, records, bytes, accepted }, fold.into_answer()))
    }
}

impl Shape {
    /// Players of a record.
    fn parts(self) -> usize {
        if self == Shape::Flat { 1 } else { PARTICIPANTS }
    }
}

impl Games {
    /// Appends a record: its id, length in seconds and end, and the parts of its players.
    fn write_record(
        &self,
        out: &mut String,
        (id, seconds, ended_at): (u64, i64, i64),
        parts: &[Part],
    ) -> Result<()> {
        let seed = id as usize * PARTICIPANTS;
        let id = match_id(id);
        if self.shape == Shape::Flat {
            write!(out, "{{\"match_id\":\"{id}\",\"platform\":\"EUW1\",")?;
            for part in parts {
                part.write(out)?;
            }
            write!(out, ",\"duration_s\":{seconds},\"ended_at\":{ended_at}}}")?;
            return Ok(());
        }
        write!(out, "{{\"match_id\":\"{id}\",\"platform\":\"EUW1\",\"patch\":\"16.1\",\"info\":{{")?;
        write!(
            out,
            "\"ended_at\":{ended_at},\"duration_s\":{seconds},\"mode\":\"CLASSIC\",\"participants\":["
        )?;
        for (at, part) in parts.iter().enumerate() {
            out.push_str(if at == 0 { "{" } else { ",{" });
            if !self.blocks.is_empty() {
                // A block begins with a brace and ends with a comma.
                let block = &self.blocks[(seed + at * 7) % self.blocks.len()];
                out.push_str(std::str::from_utf8(&block[1..])?);
            }
            part.write(out)?;
            // Fields that nobody reads.
            let n = part.player % 1000 + 9000;
            write!(out, ",\"team\":{},\"lane\":\"MIDDLE\",\"gold\":{n},\"damage\":{n}7,", at / 5)?;
            write!(out, "\"vision\":{},\"items\":[3006,{n},3031,1018,0,0]}}", n % 60)?;
        }
        out.push_str("]}}");
        Ok(())
    }
}

impl Part {
    /// Appends its fields.
    fn write(&self, out: &mut String) -> Result<()> {
        let Part { player, champion, kills, deaths, assists, win } = self;
        let player = player_name(*player);
        write!(out, "\"player\":\"{player}\",\"champion_id\":{champion},\"kills\":{kills},")?;
        write!(out, "\"deaths\":{deaths},\"assists\":{assists},\"win\":{win}")?;
        Ok(())
    }
}

fn match_id(id: u64) -> String {
    format!("EUW1_7{id:09}")
}

/// The name of a player, as records have it.
pub fn player_name(player: u64) -> String {
    format!("player-{player:012}")
}

/// Players, by rank of how much they play.
pub struct Players {
    count: u64,
    law: Law,
    /// Zipf's law: the sum of all weights, and the constants of the inverse that Gray et al. approximate.
    zipf: Option<(f64, f64)>,
}

impl Players {
    /// So many players.
    pub fn new(count: u64, law: Law) -> Players {
        let zipf = (law == Law::Zipf).then(|| {
            let zeta = (1..=count).map(|rank| (rank as f64).powf(-ZIPF)).sum::<f64>();
            let of_two = 1.0 + 0.5f64.powf(ZIPF);
            (zeta, (1.0 - (2.0 / count as f64).powf(1.0 - ZIPF)) / (1.0 - of_two / zeta))
        });
        Players { count, law, zipf }
    }

    /// A player, with the frequency that the law says.
    pub fn draw(&self, random: &mut Random) -> u64 {
        let Some((zeta, eta)) = self.zipf else { return random.below(self.count) };
        let unit = random.unit();
        let weight = unit * zeta;
        if weight < 1.0 {
            return 0;
        }
        if weight < 1.0 + 0.5f64.powf(ZIPF) {
            return 1.min(self.count - 1);
        }
        let rank = self.count as f64 * (eta * unit - eta + 1.0).powf(1.0 / (1.0 - ZIPF));
        (rank as u64).min(self.count - 1)
    }

    fn draw_part(&self, at: u64, random: &mut Random) -> Part {
        let player = if self.law == Law::InTurn { at % self.count } else { self.draw(random) };
        Part {
            player,
            champion: 1 + random.below(CHAMPION_COUNT),
            kills: random.between(0, 20),
            deaths: random.between(0, 15),
            assists: random.between(0, 25),
            win: random.below(2) == 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_have_the_size_that_is_told() {
        let sizes = [(Shape::Flat, 180..200), (Shape::Nested, 2050..2250), (Shape::Whole, 60_000..80_000)];
        for (shape, sizes) in sizes {
            let mut json = String::new();
            Games::new(shape, 100_000, Law::Alike).write(1, &mut json).unwrap();
            assert!(sizes.contains(&json.len()), "{} bytes: {json}", json.len());
            serde_json::from_str::<serde_json::Value>(&json).unwrap();
        }
    }

    #[test]
    fn few_players_play_most_games_under_zipf() {
        let players = Players::new(1000, Law::Zipf);
        let mut random = Random::new(1, 1);
        let mut counts = vec![0; 1000];
        for _ in 0..100_000 {
            counts[players.draw(&mut random) as usize] += 1;
        }
        // The first has 1 / zeta(1000, 0.99) of all, which is 13%.
        assert!((12_000..15_000).contains(&counts[0]), "{}", counts[0]);
        assert!(counts[0] > counts[1] && counts[1] > counts[10] && counts[10] > counts[500]);
    }

    #[test]
    fn in_turn_every_record_is_a_game_of_the_next_player() {
        let games = Games::new(Shape::Flat, 3, Law::InTurn);
        let mut json = String::new();
        for at in 0..2000 {
            let game = games.write(at, &mut json).unwrap();
            assert_eq!((game.id, game.sane, game.player()), (at, true, at % 3));
        }
    }

    #[test]
    fn the_first_of_an_id_counts() {
        let part = |kills| Part { player: 1, champion: 2, kills, deaths: 0, assists: 0, win: true };
        let mut fold = Fold::default();
        fold.add(1, HOUR_MS, &[part(3)]);
        fold.add(1, HOUR_MS, &[part(9)]);
        fold.add(2, HOUR_MS, &[part(4)]);
        let answer = fold.into_answer();
        assert_eq!(answer.games, 2);
        let row = answer.rows[1].values().next().unwrap();
        assert!(row.contains("\"kills\":7,") && row.contains("\"max_kills\":4"), "{row}");
    }
}
