//! Input of the bench: generated matches, the same for every run and every machine.
//!
//! An event is a `match.completed` envelope with ten participants. It comes in two sizes: whole, about
//! 70 kB, as large and as deeply nested as Riot's own bodies are (captured ones have 68 to 115 kB), to
//! which the bars apply; and lean, about 3 kB with little more than the columns that the topology reads,
//! which is the hardest case for a ratio to decoding and has no bar. Of a topic's records a tenth repeats
//! an earlier one byte for byte, one in twenty corrects an earlier match, and one in a thousand is broken,
//! so that deduplication, versions and dead letters all have work.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use connectors::generate::matches::champion_record;
use connectors::generate::random::Random;
use connectors::kafka::{Feed, KafkaCluster, TopicSpec, Topics};
use connectors::{MatchOptions, Matches, murmur2_partition};

/// Size of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// With little more than the fields that are read.
    Lean,
    /// With all the fields that Riot sends, most of them unread.
    Whole,
}

impl Size {
    /// The topic of matches of this size.
    pub fn topic(self) -> &'static str {
        match self {
            Size::Lean => "match.completed",
            Size::Whole => "match.completed.whole",
        }
    }
}

/// Topic of the dimension.
const CHAMPIONS: &str = "champion";
/// Partitions of the topic.
const PARTITIONS: i32 = 4;
/// Players of the topic's matches.
const PLAYERS: u64 = 100_000;
/// Timeout of calls to the broker.
const BROKER_TIMEOUT: Duration = Duration::from_secs(120);

/// Fills the topic of the dimension.
///
/// # Errors
/// When the broker refuses.
pub fn champion_topic(bootstrap: &str) -> Result<()> {
    let feed = create_topic(bootstrap, CHAMPIONS, 1)?;
    for id in 1..=MatchOptions::default().champions {
        let (key, value) = champion_record(id);
        feed.send((CHAMPIONS, 0), Some(key.as_bytes()), Some(value.as_bytes()), None)?;
    }
    Ok(feed.flush(BROKER_TIMEOUT)?)
}

/// Fills a topic of matches, and a file with the same matches in the same order.
///
/// # Errors
/// When the broker or the disk refuses.
pub fn match_topic(bootstrap: &str, size: Size, events: u64, copy: &Path) -> Result<()> {
    let feed = create_topic(bootstrap, size.topic(), PARTITIONS)?;
    let options = MatchOptions {
        seed: 1,
        players: PLAYERS,
        duplicates: 0.10,
        corrections: 0.05,
        broken: 0.001,
        ..MatchOptions::default()
    };
    let matches = Matches::new(options);
    let mut file = BufWriter::new(File::create(copy)?);
    let blocks = if size == Size::Whole { unread_blocks() } else { vec![] };
    let (mut lean, mut json) = (Vec::with_capacity(8192), Vec::with_capacity(100_000));
    for offset in 0..events {
        lean.clear();
        json.clear();
        let timestamp = matches.write_record(offset, &mut lean);
        insert_blocks(&lean, &blocks, offset, &mut json);
        let key = matches.match_id(offset);
        let partition = murmur2_partition(key.as_bytes(), PARTITIONS);
        feed.send((size.topic(), partition), Some(key.as_bytes()), Some(&json), Some(timestamp))?;
        json.push(b'\n');
        file.write_all(&json)?;
    }
    feed.flush(BROKER_TIMEOUT)?;
    file.flush()?;
    Ok(())
}

/// Creates a topic and returns a producer.
fn create_topic(bootstrap: &str, name: &str, partitions: i32) -> Result<Feed> {
    let cluster = KafkaCluster::new(bootstrap);
    let partitions = Some(partitions);
    let spec = TopicSpec { name: name.to_owned(), partitions, ..TopicSpec::default() };
    Topics::open(&cluster, BROKER_TIMEOUT)?.ensure(&spec)?;
    Ok(Feed::open(&cluster)?)
}

/// Unread fields of a participant: about 260 of them, some nested. There are so many variants that no earlier
/// one is within reach of a compressor.
pub fn unread_blocks() -> Vec<Vec<u8>> {
    (0..512).map(|block| unread_block(&mut Random::new(3, block))).collect()
}

fn unread_block(random: &mut Random) -> Vec<u8> {
    let mut text = String::from("{");
    for (object, fields) in [("", 110), ("challenges", 112), ("perks", 24), ("missions", 12)] {
        if !object.is_empty() {
            text.push_str(&format!("\"{object}\":{{"));
        }
        for field in 0..fields {
            let comma = if object.is_empty() || field + 1 < fields { "," } else { "" };
            let value = match field % 12 {
                0 => format!("{}.{}", random.below(20), random.below(1_000_000)),
                1 => (random.below(2) == 0).to_string(),
                2 if object.is_empty() => format!("\"TEXT_{}\"", random.below(1000)),
                _ => random.below(1 << (field % 16)).to_string(),
            };
            text.push_str(&format!("\"{object}StatisticOf{field:03}\":{value}{comma}"));
        }
        if !object.is_empty() {
            text.push_str("},");
        }
    }
    text.into_bytes()
}

/// Appends `lean` with a block at the start of every participant.
fn insert_blocks(lean: &[u8], blocks: &[Vec<u8>], seed: u64, out: &mut Vec<u8>) {
    const START: &str = "{\"assists\":";
    let Some(text) = std::str::from_utf8(lean).ok().filter(|_| !blocks.is_empty()) else {
        return out.extend_from_slice(lean);
    };
    let mut random = Random::new(4, seed);
    let mut parts = text.split(START);
    out.extend_from_slice(parts.next().unwrap_or_default().as_bytes());
    for part in parts {
        out.extend_from_slice(&blocks[random.below(blocks.len() as u64) as usize]);
        out.extend_from_slice(&START.as_bytes()[1..]);
        out.extend_from_slice(part.as_bytes());
    }
}

/// Writes the dimension as a file.
///
/// # Errors
/// When the disk refuses.
pub fn write_champions(path: &Path) -> Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    for id in 1..=MatchOptions::default().champions {
        writeln!(file, "{}", champion_record(id).1)?;
    }
    Ok(file.flush()?)
}

/// Writes matches that make a state hold `keys` matches and about as many players: two per match.
///
/// # Errors
/// When the disk refuses.
pub fn write_held(path: &Path, keys: u64) -> Result<()> {
    let options = MatchOptions { seed: 1, players: keys, participants: 2, ..MatchOptions::default() };
    let matches = Matches::new(options);
    write_lines(path, keys, |offset, json| {
        matches.write_record(offset, json);
    })
}

/// Writes `events` events measured over that state, from the `from`th on: matches of ten of `players`.
/// Of ten events eight are new matches, one corrects a match drawn from all that are held, one
/// repeats the event before it.
///
/// # Errors
/// When the disk refuses.
pub fn write_over_held(
    path: &Path,
    size: Size,
    (keys, players): (u64, u64),
    (from, events): (u64, u64),
) -> Result<()> {
    let options = MatchOptions { seed: 1, players, ..MatchOptions::default() };
    let new = Matches::new(options.clone());
    let again = Matches::new(MatchOptions { keys, ..options });
    let mut random = Random::new(2, keys + from);
    let blocks = if size == Size::Whole { unread_blocks() } else { vec![] };
    let (mut before, mut lean) = (Vec::new(), Vec::new());
    write_lines(path, events, |at, json| {
        lean.clear();
        match at % 10 {
            4 => {
                again.write_record(keys + random.below(keys), &mut lean);
            }
            9 => return json.extend_from_slice(&before),
            _ => {
                new.write_record(keys + from + at, &mut lean);
            }
        }
        insert_blocks(&lean, &blocks, at, json);
        before.clear();
        before.extend_from_slice(json);
    })
}

/// Writes `count` lines to a file, each appended by `write`.
fn write_lines(path: &Path, count: u64, mut write: impl FnMut(u64, &mut Vec<u8>)) -> Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    let mut json = Vec::with_capacity(8192);
    for at in 0..count {
        json.clear();
        write(at, &mut json);
        json.push(b'\n');
        file.write_all(&json)?;
    }
    Ok(file.flush()?)
}
