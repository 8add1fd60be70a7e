//! The progress topic: the last published epoch of a topology, stored in the cluster itself.
//!
//! Each topology has its own, since an open transaction hides later records of a topic from
//! read_committed: in a shared topic, a topology that crashed would keep the others from starting
//! until its transaction times out. One partition, compacted, kept for ever; the key is the
//! topology, the value a [`Marker`]. Every transaction ends with a marker, so marker and output are
//! atomic. Reading waits until all transactions open at its beginning have ended, then reads to the end.
//!
//! A marker also names the process that wrote it, and a process writes one when it takes the sinks
//! over: so a process that was suspended meanwhile detects that before it would fence the other back.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::{ClientConfig, Offset};
use serde_json::{Value, json};

use crate::ConnectorError;
use crate::kafka::client::brief::BriefClient;
use crate::kafka::client::{Context, to_connector_error};
use crate::kafka::options::KafkaCluster;
use crate::kafka::topics::TopicSpec;

/// Greatest timeout of one request for the ends; timeouts grow up to it while a broker is slow.
const MAX_REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// The name of a topology's progress topic; characters that a topic's name may not hold become `_`.
pub fn progress_topic(topology: &str) -> String {
    let mut name = "herald.progress.".to_string();
    for c in topology.chars().take(200) {
        let legal = c.is_ascii_alphanumeric() || "._-".contains(c);
        name.push(if legal { c } else { '_' });
    }
    name
}

/// The published state of a topology's output: the last record of each transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marker {
    /// The state that committed the epoch.
    pub state_id: String,
    /// The last epoch of which anything is published.
    pub epoch: u64,
    /// Number of the epoch's chunks that are published.
    pub part: u32,
    /// Number of the epoch's chunks; `part` is smaller while an epoch is published in parts.
    pub parts: u32,
    /// Digest of all the epoch's chunks.
    pub digest: u128,
}

impl Marker {
    /// The marker of an epoch that is published whole.
    pub fn whole(state_id: &str, epoch: u64, chunks: &[Vec<u8>]) -> Marker {
        let parts = chunks.len() as u32;
        Marker { state_id: state_id.into(), epoch, part: parts, parts, digest: digest(chunks) }
    }

    /// Returns true if the whole epoch is published.
    pub fn is_whole(&self) -> bool {
        self.part == self.parts
    }

    /// Tells whether a part of an epoch is published, by its number from 1; None for an epoch in one part.
    pub(crate) fn covers(&self, epoch: u64, part: Option<u64>) -> bool {
        let within = match part {
            Some(part) => part <= u64::from(self.part),
            None => self.is_whole(),
        };
        epoch < self.epoch || epoch == self.epoch && within
    }

    /// The marker of a process that took over sinks without output of any state.
    pub fn of_no_state() -> Marker {
        Marker::whole("", 0, &[])
    }

    /// Formats it as JSON, written by the process `by`.
    pub fn to_json(&self, by: &str) -> String {
        json!({
            "version": 1, "state_id": self.state_id, "epoch": self.epoch,
            "part": self.part, "parts": self.parts, "digest": format!("{:032x}", self.digest), "by": by,
        })
        .to_string()
    }

    /// Parses JSON; None when it is not a marker of this version.
    pub fn from_json(bytes: &[u8]) -> Option<Marker> {
        let (marker, _) = Marker::parse_signed(bytes)?;
        Some(marker)
    }

    /// Parses JSON, together with the process that wrote it.
    fn parse_signed(bytes: &[u8]) -> Option<(Marker, Option<String>)> {
        let value: Value = serde_json::from_slice(bytes).ok()?;
        let number = |name: &str| value[name].as_u64();
        if number("version")? != 1 {
            return None;
        }
        let marker = Marker {
            state_id: value["state_id"].as_str()?.to_string(),
            epoch: number("epoch")?,
            part: number("part")?.try_into().ok()?,
            parts: number("parts")?.try_into().ok()?,
            digest: u128::from_str_radix(value["digest"].as_str()?, 16).ok()?,
        };
        Some((marker, value["by"].as_str().map(str::to_string)))
    }
}

/// The digest of an epoch's chunks, as markers carry it.
pub fn digest(chunks: &[Vec<u8>]) -> u128 {
    let chunks: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
    schemas::digest(&chunks)
}

/// The progress topic as required: one partition, compacted, kept for ever.
pub fn topic_spec(topic: &str, replication: Option<i32>) -> TopicSpec {
    // Small segments, since the active one is never compacted and is read at every start.
    let configs = [
        ("retention.ms", "-1"),
        ("retention.bytes", "-1"),
        ("segment.bytes", "8388608"),
        ("min.cleanable.dirty.ratio", "0.1"),
    ];
    TopicSpec {
        name: topic.to_string(),
        partitions: Some(1),
        replication,
        compacted: true,
        configs: configs.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect(),
    }
}

/// The markers of one topology on one cluster.
#[derive(Clone, Debug)]
pub struct Progress {
    /// The cluster.
    pub cluster: KafkaCluster,
    /// The progress topic.
    pub topic: String,
    /// The key of the markers.
    pub topology: String,
}

/// The last marker found, and where the next one would be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LastMarker {
    /// The last marker of the topology.
    pub marker: Option<Marker>,
    /// The process that wrote it.
    pub by: Option<String>,
    /// The offset to read on from.
    pub next: i64,
}

impl Progress {
    /// Reads on from the marker found before (at first, the default). Waits up to `timeout`.
    pub fn read(
        &self,
        before: &LastMarker,
        timeout: Duration,
        stop: &AtomicBool,
    ) -> Result<LastMarker, ConnectorError> {
        let until = Instant::now() + timeout;
        let end = self.fetch_ends(&self.open_groupless("read_uncommitted")?, until, stop)?.1;
        self.read_up_to(Some(end), before, until, stop)
    }

    /// The same without waiting for open transactions: markers that one hides are left out.
    pub fn peek(
        &self,
        before: &LastMarker,
        timeout: Duration,
        stop: &AtomicBool,
    ) -> Result<LastMarker, ConnectorError> {
        self.read_up_to(None, before, Instant::now() + timeout, stop)
    }

    fn read_up_to(
        &self,
        end: Option<i64>,
        before: &LastMarker,
        until: Instant,
        stop: &AtomicBool,
    ) -> Result<LastMarker, ConnectorError> {
        let consumer = self.open_consumer("read_committed")?;
        // The own last transaction has ended by now; other producers of a shared topic may have open ones.
        let (low, end) = loop {
            let (low, stable) = self.fetch_ends(&consumer, until, stop)?;
            if end.is_none_or(|end| stable >= end) {
                break (low, end.unwrap_or(stable));
            }
            if Instant::now() > until {
                return Err(ConnectorError::Transaction(format!(
                    "a transaction on topic \"{}\" is still open",
                    self.topic
                )));
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        // The topic is shorter than before: it was lost or created again, so it is read from its start.
        let before = if before.next > end { LastMarker::default() } else { before.clone() };
        if end == low {
            return Ok(LastMarker { next: end, ..LastMarker::default() });
        }
        let mut found = LastMarker { next: before.next.max(low), ..before };
        let failed = |error| self.to_error(error);
        let mut assignment = TopicPartitionList::new();
        assignment.add_partition_offset(&self.topic, 0, Offset::Offset(found.next)).map_err(failed)?;
        consumer.assign(&assignment).map_err(failed)?;
        self.read_to(end, &consumer, &mut found, until)?;
        Ok(found)
    }

    /// Reads up to `end`: while another process keeps publishing, the client never reports the end of the
    /// partition.
    fn read_to(
        &self,
        end: i64,
        consumer: &BaseConsumer<Context>,
        found: &mut LastMarker,
        until: Instant,
    ) -> Result<(), ConnectorError> {
        loop {
            match consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => {
                    found.next = message.offset() + 1;
                    if message.key() == Some(self.topology.as_bytes()) {
                        (found.marker, found.by) = match message.payload().map(Marker::parse_signed) {
                            Some(Some((marker, by))) => (Some(marker), by),
                            Some(None) => return Err(self.unreadable_marker(message.offset())),
                            None => (None, None),
                        };
                        if found.marker == Some(Marker::of_no_state()) {
                            found.marker = None;
                        }
                    }
                    if found.next >= end {
                        return Ok(());
                    }
                }
                Some(Err(KafkaError::PartitionEOF(_))) => return Ok(()),
                Some(Err(error)) => match self.to_error(error) {
                    // The client reconnects by itself; the time limit below bounds the wait.
                    ConnectorError::Unreachable { .. } if Instant::now() < until => {}
                    error => return Err(error),
                },
                None => {}
            }
            if Instant::now() > until {
                return Err(ConnectorError::Unreachable {
                    bootstrap: self.cluster.bootstrap.clone(),
                    reason: format!("topic \"{}\" could not be read in time", self.topic),
                });
            }
        }
    }

    /// Low and high end of the topic, under the isolation level of `consumer`.
    fn fetch_ends(
        &self,
        consumer: &BaseConsumer<Context>,
        until: Instant,
        stop: &AtomicBool,
    ) -> Result<(i64, i64), ConnectorError> {
        // Short requests let the stop flag be checked; their timeouts grow for a slow broker.
        let (least, mut slice) = (Duration::from_millis(200), Duration::from_millis(250));
        loop {
            let left = until.saturating_duration_since(Instant::now()).max(least);
            let error = match consumer.fetch_watermarks(&self.topic, 0, left.min(slice)) {
                Ok(ends) => return Ok(ends),
                Err(error) => self.to_error(error),
            };
            if stop.load(Ordering::Relaxed) {
                return Err(ConnectorError::Stopped);
            }
            if !error.is_transient() || Instant::now() >= until {
                return Err(error);
            }
            std::thread::sleep(Duration::from_millis(20));
            slice = slice.saturating_mul(2).min(MAX_REQUEST_TIMEOUT);
        }
    }

    pub(in crate::kafka) fn open_consumer(
        &self,
        isolation: &str,
    ) -> Result<BriefClient<BaseConsumer<Context>>, ConnectorError> {
        let mut config = self.cluster.consumer_config(&self.topology);
        config.set("isolation.level", isolation);
        // The end of the topic is behind the mark of a transaction, which no message tells: the client learns of it by an
        // answer without messages, for which a broker waits so long. A start reads the topic several times.
        config.set("fetch.wait.max.ms", "10");
        Ok(BriefClient::new(self.create_consumer(&config)?))
    }

    /// A consumer without a group: it can request offsets, but not read.
    pub(in crate::kafka) fn open_groupless(
        &self,
        isolation: &str,
    ) -> Result<BaseConsumer<Context>, ConnectorError> {
        let mut config = self.cluster.consumer_config(&self.topology);
        config.set("isolation.level", isolation).remove("group.id");
        self.create_consumer(&config)
    }

    fn create_consumer(&self, config: &ClientConfig) -> Result<BaseConsumer<Context>, ConnectorError> {
        config.create_with_context(Context::default()).map_err(|error| self.to_error(error))
    }

    pub(in crate::kafka) fn to_error(&self, error: KafkaError) -> ConnectorError {
        to_connector_error(error, &self.cluster.bootstrap, "to read the progress topic")
    }

    fn unreadable_marker(&self, offset: i64) -> ConnectorError {
        ConnectorError::Topic {
            topic: self.topic.clone(),
            message: format!(
                "holds at offset {offset} a marker that this release cannot read: it was written by a newer release"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_legal() {
        assert_eq!(progress_topic("match-analytics"), "herald.progress.match-analytics");
        assert_eq!(progress_topic("a b/ü"), "herald.progress.a_b__");
    }

    #[test]
    fn markers_come_back() {
        let chunks = vec![vec![1u8, 2], vec![3]];
        let whole = Marker::whole("abc", 7, &chunks);
        let part = Marker { part: 1, ..whole.clone() };
        assert!(whole.is_whole() && !part.is_whole());
        for marker in [whole, part] {
            assert_eq!(Marker::from_json(marker.to_json("p").as_bytes()), Some(marker.clone()));
            assert_eq!(
                Marker::parse_signed(marker.to_json("p").as_bytes()),
                Some((marker, Some("p".into())))
            );
        }
        assert_eq!(Marker::from_json(b"{\"version\":2}"), None);
        assert_eq!(Marker::from_json(b"?"), None);
    }
}
