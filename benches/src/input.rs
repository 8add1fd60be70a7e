//! What is fed in: generated matches, the same for every run and every machine.
//!
//! An event is a `match.completed` envelope of about 3 kB with ten participants. Of the topic's
//! records a tenth repeats an earlier one byte for byte, one in twenty corrects an earlier match,
//! and one in a thousand is broken, so that dedup, versions and dead letters all have work.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use connectors::kafka::{Feed, KafkaCluster, TopicSpec, Topics};
use connectors::matches::champion;
use connectors::random::Random;
use connectors::{MatchOptions, Matches, murmur2_partition};

/// Topic of the matches, as the topology names it.
pub const MATCHES: &str = "match.completed";
/// Topic of the dimension.
const CHAMPIONS: &str = "champion";
/// Partitions of the topic.
const PARTITIONS: i32 = 4;
/// Players of the topic's matches.
const PLAYERS: u64 = 100_000;
const PATIENCE: Duration = Duration::from_secs(120);

/// Fills both topics, and a file with the same matches in the same order.
///
/// # Errors
/// When the broker or the disk refuses.
pub fn topics(bootstrap: &str, events: u64, copy: &Path) -> Result<()> {
    let cluster = KafkaCluster::new(bootstrap);
    let topics = Topics::open(&cluster, PATIENCE)?;
    for (name, partitions) in [(MATCHES, PARTITIONS), (CHAMPIONS, 1)] {
        let partitions = Some(partitions);
        topics.ensure(&TopicSpec { name: name.to_owned(), partitions, ..TopicSpec::default() })?;
    }
    let feed = Feed::open(&cluster)?;
    for id in 1..=MatchOptions::default().champions {
        let (key, value) = champion(id);
        feed.send((CHAMPIONS, 0), Some(key.as_bytes()), Some(value.as_bytes()), None)?;
    }
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
    let mut json = Vec::with_capacity(8192);
    for offset in 0..events {
        json.clear();
        let timestamp = matches.write(offset, &mut json);
        let key = matches.match_id(offset);
        let partition = murmur2_partition(key.as_bytes(), PARTITIONS);
        feed.send((MATCHES, partition), Some(key.as_bytes()), Some(&json), Some(timestamp))?;
        json.push(b'\n');
        file.write_all(&json)?;
    }
    feed.flush(PATIENCE)?;
    file.flush()?;
    Ok(())
}

/// Writes the dimension as a file.
///
/// # Errors
/// When the disk refuses.
pub fn champions(path: &Path) -> Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    for id in 1..=MatchOptions::default().champions {
        writeln!(file, "{}", champion(id).1)?;
    }
    Ok(file.flush()?)
}

/// Writes what makes a state hold `keys` matches and about as many players: two to a match.
///
/// # Errors
/// When the disk refuses.
pub fn held(path: &Path, keys: u64) -> Result<()> {
    let options = MatchOptions { seed: 1, players: keys, participants: 2, ..MatchOptions::default() };
    let matches = Matches::new(options);
    lines(path, keys, |offset, json| {
        matches.write(offset, json);
    })
}

/// Writes the events measured over that state: whole matches whose players are drawn from all that
/// are held. Of ten events eight are new matches, one corrects a match drawn from all that are held,
/// one repeats the event before it.
///
/// # Errors
/// When the disk refuses.
pub fn over_held(path: &Path, keys: u64, events: u64) -> Result<()> {
    let options = MatchOptions { seed: 1, players: keys, ..MatchOptions::default() };
    let new = Matches::new(options.clone());
    let again = Matches::new(MatchOptions { keys, ..options });
    let mut random = Random::new(2, keys);
    let mut before = Vec::new();
    lines(path, events, |at, json| {
        match at % 10 {
            4 => {
                again.write(keys + random.below(keys), json);
            }
            9 => json.extend_from_slice(&before),
            _ => {
                new.write(keys + at, json);
            }
        }
        before.clear();
        before.extend_from_slice(json);
    })
}

fn lines(path: &Path, count: u64, mut write: impl FnMut(u64, &mut Vec<u8>)) -> Result<()> {
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
