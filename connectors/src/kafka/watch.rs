//! A thread beside a topic's reader that refreshes the number of partitions and the end of each.
//!
//! Each refresh takes a few round trips, which the reader must not wait for. New partitions are reported
//! together with their beginnings, so that the reader can assign all of them without a request. A broker that
//! does not answer is asked again at the next refresh.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rdkafka::Offset;
use rdkafka::consumer::{BaseConsumer, Consumer};

use super::client::{Context, find_topic, locked};
use super::offsets::known_offsets;
use crate::ConnectorError;

/// Interval between refreshes.
const REFRESH_INTERVAL: Duration = Duration::from_secs(5);
/// Interval at which the thread checks its stop flag.
const STOP_CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// Timeout of one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

/// Bounds of a topic's partitions, kept up to date by a thread.
pub(crate) struct TopicWatch {
    stop: AtomicBool,
    refreshes: AtomicU64,
    bounds: Mutex<PartitionBounds>,
}

/// Beginnings and ends by partition.
#[derive(Clone, Debug, Default)]
pub(crate) struct PartitionBounds {
    /// The first offset that a partition held when it was found.
    pub(crate) begins: Vec<i64>,
    /// End of a partition at the last refresh.
    pub(crate) ends: Vec<i64>,
}

impl TopicWatch {
    /// Starts the thread, from bounds that are known already; it runs until [`TopicWatch::stop`].
    pub(crate) fn start(
        bounds: PartitionBounds,
        consumer: &Arc<BaseConsumer<Context>>,
        topic: &str,
    ) -> Result<Arc<TopicWatch>, ConnectorError> {
        let (stop, refreshes) = (AtomicBool::new(false), AtomicU64::new(0));
        let watch = Arc::new(TopicWatch { stop, refreshes, bounds: Mutex::new(bounds) });
        let (shared, consumer, topic) = (watch.clone(), consumer.clone(), topic.to_string());
        let run = move || {
            let mut waited = Duration::ZERO;
            while !shared.stop.load(Ordering::Relaxed) {
                std::thread::sleep(STOP_CHECK_INTERVAL);
                waited += STOP_CHECK_INTERVAL;
                if waited >= REFRESH_INTERVAL {
                    waited = Duration::ZERO;
                    shared.refresh(&consumer, &topic);
                }
            }
        };
        let spawned = std::thread::Builder::new().name("kafka-watch".into()).spawn(run);
        spawned.map_err(|error| ConnectorError::io("thread".as_ref(), error))?;
        Ok(watch)
    }

    /// Number of refreshes: the bounds have not changed while it has not.
    pub(crate) fn refresh_count(&self) -> u64 {
        self.refreshes.load(Ordering::Acquire)
    }

    /// The bounds of the last refresh.
    pub(crate) fn bounds(&self) -> MutexGuard<'_, PartitionBounds> {
        locked(&self.bounds)
    }

    /// Ends the thread.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    fn refresh(&self, consumer: &BaseConsumer<Context>, topic: &str) {
        let known = self.bounds().ends.len() as i32;
        let found = match consumer.fetch_metadata(Some(topic), REQUEST_TIMEOUT) {
            Ok(metadata) => find_topic(&metadata, topic).map_or(0, |found| found.partitions().len() as i32),
            Err(_) => 0,
        };
        let count = found.max(known);
        let asked = known_offsets(consumer, topic, known..count, Offset::Beginning, REQUEST_TIMEOUT);
        let Ok(begins) = asked else { return };
        // A partition's number is its index, so one without a known beginning holds back those after it.
        let begins: Vec<i64> = begins.into_iter().map_while(|begin| begin).collect();
        let count = known + begins.len() as i32;
        let Ok(ends) = known_offsets(consumer, topic, 0..count, Offset::End, REQUEST_TIMEOUT) else { return };
        // Every partition's leader answered: an outage is over, even where no record comes to show it.
        if !ends.is_empty() && ends.iter().all(Option::is_some) {
            consumer.context().clear_last_error();
        }
        let mut bounds = self.bounds();
        bounds.ends.extend(&begins);
        bounds.begins.extend(begins);
        for (held, end) in bounds.ends.iter_mut().zip(ends) {
            *held = end.unwrap_or(*held);
        }
        self.refreshes.fetch_add(1, Ordering::Release);
    }
}
