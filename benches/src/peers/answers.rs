//! The topics of answers: created, followed as a consumer of committed records sees them, and compared with the
//! right answer.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use connectors::kafka::client::block_on;
use connectors::kafka::{KafkaCluster, TopicSpec, Topics};
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use serde_json::Value;

use super::games::{Answer, BROKER_TIMEOUT, PARTITIONS};
use super::receive;
use super::systems::Place;

/// Time without a further record after which an answer counts as complete, right or wrong.
const QUIET: Duration = Duration::from_secs(300);
/// Time that the first record may take: on a busy machine a JVM takes minutes to start.
const START: Duration = Duration::from_secs(1200);
/// Rest between looks, so that the follower disturbs little.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Creates the topics of answers, compacted.
///
/// # Errors
/// When the broker refuses.
pub fn create_topics(place: &Place) -> Result<()> {
    let topics = Topics::open(&KafkaCluster::new(&place.bootstrap), BROKER_TIMEOUT)?;
    for name in &place.answers {
        let partitions = Some(PARTITIONS);
        let spec = TopicSpec { name: name.clone(), partitions, compacted: true, ..TopicSpec::default() };
        topics.ensure(&spec)?;
    }
    Ok(())
}

/// Deletes all topics whose names begin with the run's: the answers, and those that a system made for itself.
///
/// # Errors
/// When the broker refuses.
pub fn delete_topics(place: &Place) -> Result<()> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &place.bootstrap);
    let admin: AdminClient<DefaultClientContext> = config.create()?;
    let all = admin.inner().fetch_metadata(None, BROKER_TIMEOUT)?;
    let names: Vec<&str> = all.topics().iter().map(|topic| topic.name()).collect();
    let own: Vec<&str> = names.into_iter().filter(|name| name.starts_with(&place.name)).collect();
    for outcome in block_on(admin.delete_topics(&own, &AdminOptions::new()))? {
        outcome.map_err(|(topic, code)| anyhow::anyhow!("topic {topic} cannot be deleted: {code}"))?;
    }
    Ok(())
}

/// Rows of one topic as they are now.
#[derive(Default)]
struct Fold {
    rows: HashMap<Vec<u8>, Vec<u8>>,
    games: u64,
    written: u64,
}

impl Fold {
    /// Takes a record in: the last of a key counts, and one without a value deletes.
    fn add(&mut self, key: &[u8], value: Option<&[u8]>) {
        self.written += 1;
        let before = match value {
            Some(value) => {
                self.games += games_of(value);
                self.rows.insert(key.to_vec(), value.to_vec())
            }
            None => self.rows.remove(key),
        };
        self.games -= before.map_or(0, |before| games_of(&before));
    }
}

/// The number in the field `games` of an answer.
pub fn games_of(value: &[u8]) -> u64 {
    const NAME: &[u8] = b"\"games\":";
    let at = value.windows(NAME.len()).position(|window| window == NAME);
    let digits = at.map_or(&[][..], |at| &value[at + NAME.len()..]);
    digits.iter().take_while(|c| c.is_ascii_digit()).fold(0, |n, c| n * 10 + u64::from(c - b'0'))
}

/// Follows the topics of one run's answers.
pub struct Follower<'a> {
    consumer: BaseConsumer,
    topics: [String; 2],
    folds: [Fold; 2],
    answer: &'a Answer,
}

impl<'a> Follower<'a> {
    /// Follows from the topics' beginnings.
    ///
    /// # Errors
    /// When the client cannot be made.
    pub fn open(place: &Place, answer: &'a Answer) -> Result<Follower<'a>> {
        let [hours, players] = &place.answers;
        let consumer = receive::consumer(&place.bootstrap, &[hours, players])?;
        Ok(Follower { consumer, topics: place.answers.clone(), folds: Default::default(), answer })
    }

    /// Follows until the answer is complete: until each topic counts all games. A game is counted once its record's
    /// offset is committed, since either is in one transaction. Calls `look` at every interval.
    ///
    /// # Errors
    /// When `look` fails, or the answer stays incomplete.
    pub fn follow(&mut self, mut look: impl FnMut() -> Result<()>) -> Result<()> {
        let mut last = Instant::now();
        while self.folds.iter().any(|fold| fold.games != self.answer.games) {
            let limit = if self.written() == 0 { START } else { QUIET };
            if self.take_all()? > 0 {
                last = Instant::now();
            } else if last.elapsed() > limit {
                self.verify()?;
                bail!("nothing more comes, and the answer is not complete");
            }
            look()?;
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }

    /// Takes in all that is there, and returns the number of records.
    fn take_all(&mut self) -> Result<u64> {
        let mut taken = 0;
        while let Some(polled) = self.consumer.poll(Duration::ZERO) {
            let message = match polled {
                Ok(message) => message,
                Err(KafkaError::PartitionEOF(_)) => continue,
                Err(error) => return Err(error.into()),
            };
            let fold = usize::from(message.topic() != self.topics[0]);
            self.folds[fold].add(message.key().unwrap_or_default(), message.payload());
            taken += 1;
        }
        Ok(taken)
    }

    /// Compares the answer with the right one.
    ///
    /// # Errors
    /// When it differs; with the first key that does.
    pub fn verify(&mut self) -> Result<()> {
        // Records that came after the last look count as well.
        self.take_all()?;
        for ((topic, fold), right) in self.topics.iter().zip(&self.folds).zip(&self.answer.rows) {
            let rows = fold.rows.iter().map(|(key, value)| Ok((sorted(key)?, sorted(value)?)));
            let rows = rows.collect::<Result<BTreeMap<String, String>>>()?;
            ensure!(rows.len() == fold.rows.len(), "topic {topic} writes one key in two ways");
            if let Some(key) = first_difference(&rows, right) {
                let row =
                    |of: &BTreeMap<String, String>| of.get(&key).map_or("no row", String::as_str).to_owned();
                bail!("topic {topic}, key {key}:\n  is      {}\n  must be {}", row(&rows), row(right));
            }
        }
        Ok(())
    }

    /// Records of both topics.
    pub fn written(&self) -> u64 {
        self.folds.iter().map(|fold| fold.written).sum()
    }
}

/// The first key whose rows differ.
fn first_difference(left: &BTreeMap<String, String>, right: &BTreeMap<String, String>) -> Option<String> {
    let keys = left.keys().chain(right.keys());
    keys.filter(|key| left.get(*key) != right.get(*key)).min().cloned()
}

/// An object of JSON with its names sorted, numbers as they are written.
fn sorted(json: &[u8]) -> Result<String> {
    let fields: BTreeMap<String, Value> = serde_json::from_slice(json)
        .with_context(|| format!("an answer is no object of JSON: {}", String::from_utf8_lossy(json)))?;
    Ok(serde_json::to_string(&fields)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fold_counts_the_last_of_each_key() {
        let mut fold = Fold::default();
        fold.add(b"a", Some(b"{\"games\":1}"));
        fold.add(b"a", Some(b"{\"x\":0,\"games\":12,\"y\":3}"));
        fold.add(b"b", Some(b"{\"games\":5}"));
        fold.add(b"b", None);
        assert_eq!((fold.games, fold.written, fold.rows.len()), (12, 4, 1));
    }

    #[test]
    fn the_first_difference_is_told() {
        let rows = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(key, row)| ((*key).to_owned(), (*row).to_owned())).collect::<BTreeMap<_, _>>()
        };
        let right = rows(&[("a", "1"), ("b", "2"), ("c", "3")]);
        assert_eq!(first_difference(&right, &right), None);
        assert_eq!(first_difference(&rows(&[("a", "1"), ("b", "9")]), &right).as_deref(), Some("b"));
        assert_eq!(first_difference(&right, &rows(&[("b", "2"), ("c", "3")])).as_deref(), Some("a"));
    }
}
