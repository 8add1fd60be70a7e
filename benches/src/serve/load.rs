//! A producer of games and a consumer of the answers about players, in one thread, so that one clock is read.
//!
//! A record's time begins when it is handed to the producer and ends when a consumer of committed records has the
//! answer that counts it. The producer waits a millisecond for further records of a batch.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use connectors::kafka::{Feed, KafkaCluster, TopicSpec, Topics};
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::KafkaError;
use rdkafka::message::Message;

use super::ledger::{Ledger, is_steady};
use crate::peers::answers::{self, games_of};
use crate::peers::games::{BROKER_TIMEOUT, Games, Law, PARTITIONS, Shape};
use crate::peers::receive;
use crate::peers::systems::Place;

/// Time that the producer collects records of a batch.
const LINGER_MS: &str = "1";
/// Longest time between two sends.
const TICK: Duration = Duration::from_millis(1);
/// Most records sent, and answers taken, before the other gets its turn.
const TURN: u64 = 512;
/// Time between two looks at the backlog.
const SAMPLE_EVERY: Duration = Duration::from_millis(50);
/// Least share of a rate that must be reached.
const REACHED: f64 = 0.95;

/// Called between sends: returns false to end the load.
pub type Look<'a> = dyn FnMut(&Ledger) -> Result<bool> + 'a;

/// A topic of games that grows, and the answers to it.
pub struct Load {
    games: Games,
    feed: Feed,
    consumer: BaseConsumer,
    topic: String,
    /// Number of the next record.
    next: u64,
    ids: HashSet<u64>,
    ledger: Ledger,
    json: String,
}

/// Records sent at a rate.
pub struct Driven {
    /// Records sent, accepted or not.
    pub records: u64,
    /// Seconds that it took.
    pub seconds: f64,
    /// True if the rate was reached and the backlog did not grow.
    pub steady: bool,
}

impl Driven {
    /// Records a second.
    pub fn rate(&self) -> f64 {
        self.records as f64 / self.seconds.max(1e-3)
    }
}

impl Load {
    /// Makes the topics of a place, and follows its answers.
    ///
    /// # Errors
    /// When the broker refuses.
    pub fn open(place: &Place, players: u64, law: Law) -> Result<Load> {
        let mut cluster = KafkaCluster::new(&place.bootstrap);
        let partitions = Some(PARTITIONS);
        let spec = TopicSpec { name: place.input.clone(), partitions, ..TopicSpec::default() };
        Topics::open(&cluster, BROKER_TIMEOUT)?.ensure(&spec)?;
        answers::create_topics(place)?;
        cluster.properties.insert("linger.ms".to_owned(), LINGER_MS.to_owned());
        Ok(Load {
            games: Games::new(Shape::Flat, players, law),
            feed: Feed::open(&cluster)?,
            consumer: receive::consumer(&place.bootstrap, &[&place.answers[1]])?,
            topic: place.input.clone(),
            next: 0,
            ids: HashSet::new(),
            ledger: Ledger::new(players),
            json: String::new(),
        })
    }

    /// Sends records whose times do not matter.
    ///
    /// # Errors
    /// When the broker refuses.
    pub fn fill(&mut self, records: u64) -> Result<()> {
        for _ in 0..records {
            self.send(false)?;
        }
        Ok(self.feed.flush(BROKER_TIMEOUT)?)
    }

    /// Sends the next record.
    fn send(&mut self, timed: bool) -> Result<()> {
        let game = self.games.write(self.next, &mut self.json)?;
        self.next += 1;
        if game.sane && self.ids.insert(game.id) {
            self.ledger.send(game.player(), timed.then(Instant::now));
        }
        let to = (self.topic.as_str(), game.partition);
        Ok(self.feed.send(to, Some(game.key.as_bytes()), Some(self.json.as_bytes()), None)?)
    }

    /// Sends records at a rate for a time and takes in answers meanwhile.
    ///
    /// # Errors
    /// When the broker refuses, or `look` fails.
    pub fn drive(&mut self, rate: f64, length: Duration, look: &mut Look<'_>) -> Result<Driven> {
        let (begun, mut records) = (Instant::now(), 0);
        let (mut backlog, mut sampled) = (vec![], begun);
        while begun.elapsed() < length {
            let due = (begun.elapsed().as_secs_f64() * rate) as u64;
            let turn = due.min(records + TURN);
            while records < turn {
                self.send(true)?;
                records += 1;
            }
            self.take(if records < due { Duration::ZERO } else { TICK })?;
            if sampled.elapsed() >= SAMPLE_EVERY {
                sampled += SAMPLE_EVERY;
                backlog.push(self.ledger.backlog());
            }
            if !look(&self.ledger)? {
                break;
            }
        }
        let seconds = begun.elapsed().as_secs_f64();
        let steady = records as f64 >= REACHED * rate * seconds && is_steady(&backlog, rate, seconds);
        Ok(Driven { records, seconds, steady })
    }

    /// Takes in answers until all that was sent is seen; returns false if that takes longer than `limit`.
    ///
    /// # Errors
    /// When the broker refuses, or `look` fails.
    pub fn drain(&mut self, limit: Duration, look: &mut Look<'_>) -> Result<bool> {
        let begun = Instant::now();
        while self.ledger.backlog() > 0 {
            self.take(TICK)?;
            if begun.elapsed() > limit || !look(&self.ledger)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Takes in the answers that are there, and waits for the first.
    fn take(&mut self, wait: Duration) -> Result<()> {
        let mut wait = wait;
        for _ in 0..TURN {
            let Some(polled) = self.consumer.poll(wait) else { return Ok(()) };
            wait = Duration::ZERO;
            let message = match polled {
                Ok(message) => message,
                Err(KafkaError::PartitionEOF(_)) => continue,
                Err(error) => return Err(error.into()),
            };
            let player = player_of(message.key().unwrap_or_default());
            ensure!(player.is_some(), "an answer without a player");
            let games = games_of(message.payload().unwrap_or_default());
            self.ledger.see(player.unwrap_or_default(), u32::try_from(games)?, Instant::now());
        }
        Ok(())
    }

    /// Times from sending to seeing since the last call, ascending.
    pub fn take_times(&mut self) -> Vec<Duration> {
        self.ledger.take_times(Instant::now())
    }

    /// Records sent and seen.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }
}

/// The player in the key of an answer, `{"player":"player-000000000012"}`.
fn player_of(key: &[u8]) -> Option<u64> {
    let (_, digits) = std::str::from_utf8(key).ok()?.split_once("\"player-")?;
    digits.split_once('"')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::games::player_name;

    #[test]
    fn a_key_tells_its_player() {
        let key = |player: u64| format!("{{\"player\":\"{}\"}}", player_name(player));
        assert_eq!(player_of(key(12).as_bytes()), Some(12));
        assert_eq!(player_of(key(10_000_000).as_bytes()), Some(10_000_000));
        assert_eq!(player_of(b"{\"hour\":1,\"champion_id\":2}"), None);
    }
}
