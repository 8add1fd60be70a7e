//! A thread that looks at a topic beside its reader: how many partitions there are, and where each ends.
//!
//! Each look is a few round trips, which the reader must not wait for. Partitions that have appeared are handed over
//! with their beginnings, so that the reader takes them in at once, however many they are. A broker that does not
//! answer is asked again at the next look.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::Offset;
use rdkafka::consumer::{BaseConsumer, Consumer};

use super::client::Context;
use super::offsets::known_offsets;
use crate::ConnectorError;

/// How often a topic is looked at.
const EVERY: Duration = Duration::from_secs(5);
/// How often the thread looks whether it should stop.
const STOP: Duration = Duration::from_millis(100);
/// How long a look waits for an answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is known of a topic's partitions.
pub(crate) struct Watch {
    stop: AtomicBool,
    looks: AtomicU64,
    found: Mutex<Found>,
}

/// Beginnings and ends by partition.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    /// The first offset that a partition held when it was found.
    pub(crate) begins: Vec<i64>,
    /// Where it ended at the last look.
    pub(crate) ends: Vec<i64>,
}

impl Watch {
    /// Watches a topic of which this much is known, on a thread of its own, until it is dropped by its reader.
    pub(crate) fn start(
        found: Found,
        consumer: &Arc<BaseConsumer<Context>>,
        topic: &str,
    ) -> Result<Arc<Watch>, ConnectorError> {
        let (stop, looks) = (AtomicBool::new(false), AtomicU64::new(0));
        let watch = Arc::new(Watch { stop, looks, found: Mutex::new(found) });
        let (of, consumer, topic) = (watch.clone(), consumer.clone(), topic.to_string());
        let run = move || {
            let mut waited = Duration::ZERO;
            while !of.stop.load(Ordering::Relaxed) {
                std::thread::sleep(STOP);
                waited += STOP;
                if waited >= EVERY {
                    waited = Duration::ZERO;
                    of.look(&consumer, &topic);
                }
            }
        };
        let spawned = std::thread::Builder::new().name("kafka-watch".into()).spawn(run);
        spawned.map(|_| watch).map_err(|error| ConnectorError::io("thread".as_ref(), error))
    }

    /// How many looks there were: what is known has not changed while this has not.
    pub(crate) fn looks(&self) -> u64 {
        self.looks.load(Ordering::Acquire)
    }

    /// What is known.
    pub(crate) fn found(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the thread.
    pub(crate) fn end(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    fn look(&self, consumer: &BaseConsumer<Context>, topic: &str) {
        let known = self.found().ends.len() as i32;
        let metadata = consumer.fetch_metadata(Some(topic), PATIENCE);
        let count = metadata.ok().and_then(|metadata| {
            let found = metadata.topics().iter().find(|found| found.name() == topic)?;
            Some(found.partitions().len() as i32)
        });
        let count = count.unwrap_or(0).max(known);
        let asked = known_offsets(consumer, topic, known..count, Offset::Beginning, PATIENCE);
        let Ok(begins) = asked else { return };
        // Partitions are taken in by their numbers: one whose beginning is not known yet holds back those behind it.
        let begins: Vec<i64> = begins.into_iter().map_while(|begin| begin).collect();
        let count = known + begins.len() as i32;
        let Ok(ends) = known_offsets(consumer, topic, 0..count, Offset::End, PATIENCE) else { return };
        let mut found = self.found();
        found.ends.extend(&begins);
        found.begins.extend(begins);
        for (held, end) in found.ends.iter_mut().zip(ends) {
            *held = end.unwrap_or(*held);
        }
        self.looks.fetch_add(1, Ordering::Release);
    }
}
