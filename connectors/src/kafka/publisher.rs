//! The publisher: epochs from the outbox to Kafka, each exactly once.
//!
//! [`Publisher::publish`] returns when its epochs are committed, and not before: through broker
//! outages it waits, opening a new session with backoff, until its stop flag is set. After every failure
//! the marker decides whether the transaction was committed. Small epochs share a transaction; one that is
//! too large for a transaction is published in parts, each with its marker. The size limit is halved when a
//! transaction does not end before its timeout, and grows again. Epochs published before are skipped, so
//! the whole outbox may be passed again at a restart.
//!
//! Every record carries the headers `herald.topology` and `herald.epoch`, those that its chunk has (`herald.version`), and
//! the commit's time, as far as the broker accepts it (`stamps`). A topic that was deleted and created again since is refused (`reached`).

pub mod progress;
pub(crate) mod reached;
pub mod session;
pub mod settle;
pub(crate) mod stamps;
pub(crate) mod unsettled;

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fail::fail_point;
use schemas::Backoff;

use super::client::locked;
use super::options::KafkaCluster;
use super::topics::{TopicSpec, Topics};
use crate::{ConnectorError, Mismatch};
use progress::{LastMarker, Marker, Progress};
use reached::Reached;
use session::{Output, Session, SessionConfig};
use stamps::Stamps;
use unsettled::OutputWatch;

/// Output bytes of one transaction, at most: a slow broker must accept them within the transaction
/// timeout.
const TRANSACTION_BYTES: usize = 64 << 20;

/// The least limit, and its growth after each transaction that ended in time.
const LIMIT_STEP_BYTES: usize = 1 << 20;

/// Configuration of a publisher.
#[derive(Clone, Debug)]
pub struct PublisherConfig {
    /// The cluster of the sinks.
    pub cluster: KafkaCluster,
    /// Fences other processes that publish for the same topology.
    pub transactional_id: String,
    /// Name of the topology: key of its markers, header of its records.
    pub topology: String,
    /// Id of the state whose outbox is published.
    pub state_id: String,
    /// The progress topic.
    pub progress_topic: String,
    /// Name and partitions of every output topic: hanging transactions in other topics are not found.
    pub topics: Vec<(String, i32)>,
    /// Lower bounds of the ends of topics that were published to before.
    pub reached: Reached,
    /// Topics that get no records up to an epoch, since a later epoch sends all of them again.
    pub superseded: BTreeMap<String, u64>,
    /// Replication factor of the progress topic when it is created; None for the broker's default.
    pub replication: Option<i32>,
    /// The least `max.message.bytes` of the sinks' topics: batches stay below it.
    pub max_batch_bytes: Option<i64>,
    /// Time that opening waits for the broker.
    pub timeout: Duration,
}

impl PublisherConfig {
    /// The usual configuration for a topology and its state.
    pub fn new(cluster: KafkaCluster, topology: &str, state_id: &str) -> PublisherConfig {
        PublisherConfig {
            cluster,
            transactional_id: format!("herald-{topology}"),
            topology: topology.to_string(),
            state_id: state_id.to_string(),
            progress_topic: progress::progress_topic(topology),
            topics: Vec::new(),
            reached: Reached::new(),
            superseded: BTreeMap::new(),
            replication: None,
            max_batch_bytes: None,
            timeout: Duration::from_secs(30),
        }
    }

    fn progress_spec(&self) -> TopicSpec {
        progress::topic_spec(&self.progress_topic, self.replication)
    }

    fn progress(&self) -> Progress {
        Progress {
            cluster: self.cluster.clone(),
            topic: self.progress_topic.clone(),
            topology: self.topology.clone(),
        }
    }
}

/// The output of one epoch for one cluster, as the outbox holds it.
#[derive(Clone, Copy, Debug)]
pub struct EpochOutput<'a> {
    /// The epoch.
    pub epoch: u64,
    /// Time of its commit and timestamp of its records, milliseconds since 1970.
    pub commit_ms: i64,
    /// Its chunks, in order.
    pub chunks: &'a [Vec<u8>],
}

/// Counters and last error of publishing, for metrics and readiness.
#[derive(Debug, Default)]
pub struct PublishStatus {
    /// Transactions committed.
    pub transactions: AtomicU64,
    /// Records in them, without markers.
    pub records: AtomicU64,
    /// Epochs that were published in parts.
    pub split_epochs: AtomicU64,
    /// Times that the producer was dropped and opened again.
    pub reopened: AtomicU64,
    last_error: Mutex<Option<(Instant, String)>>,
}

impl PublishStatus {
    /// Start and last error of the present failure; None while publishing works.
    pub fn last_error(&self) -> Option<(Instant, String)> {
        locked(&self.last_error).clone()
    }

    fn set_last_error(&self, error: Option<&ConnectorError>) {
        let mut held = locked(&self.last_error);
        let Some(error) = error else {
            *held = None;
            return;
        };
        let since = held.as_ref().map_or_else(Instant::now, |(since, _)| *since);
        *held = Some((since, error.to_string()));
    }
}

/// Publishes the epochs of one topology to one cluster.
pub struct Publisher {
    config: PublisherConfig,
    progress: Progress,
    session: Option<Session>,
    found: LastMarker,
    /// Names this publisher in its markers.
    process: String,
    /// True once a marker of this publisher was committed.
    taken: bool,
    /// Output bytes of one transaction, at most.
    limit: usize,
    /// True if the last transaction was too large for its time.
    slow: bool,
    /// Timestamps that the broker accepts.
    stamps: Stamps,
    status: Arc<PublishStatus>,
}

/// A planned transaction: whole epochs, or a part of one, and the marker that ends it.
struct Transaction<'a> {
    pieces: Vec<EpochOutput<'a>>,
    marker: Marker,
}

impl Transaction<'_> {
    fn chunk_count(&self) -> usize {
        self.pieces.iter().map(|piece| piece.chunks.len()).sum()
    }

    fn byte_count(&self) -> usize {
        self.pieces.iter().flat_map(|piece| piece.chunks).map(Vec::len).sum()
    }
}

impl Publisher {
    /// Reads the marker without taking over the transactional id, so that a running publisher is not fenced,
    /// and without creating the progress topic. An open transaction may hide a later marker.
    pub fn peek(config: &PublisherConfig) -> Result<Option<Marker>, ConnectorError> {
        let topics = Topics::open(&config.cluster, config.timeout)?;
        if topics.look(&config.progress_spec())?.is_none() {
            return Ok(None);
        }
        let stop = AtomicBool::new(false);
        Ok(config.progress().peek(&LastMarker::default(), config.timeout, &stop)?.marker)
    }

    /// Takes over the transactional id, ends its last transaction and reads the marker. Creates the progress
    /// topic if it is missing. The caller compares the marker with the state by [`settle::settle()`].
    pub fn open(
        config: PublisherConfig,
        stop: &AtomicBool,
    ) -> Result<(Publisher, Option<Marker>), ConnectorError> {
        Topics::open(&config.cluster, config.timeout)?.ensure(&config.progress_spec())?;
        let progress = config.progress();
        let mut publisher = Publisher {
            config,
            progress,
            session: None,
            found: LastMarker::default(),
            process: format!("{:016x}", RandomState::new().hash_one(std::process::id())),
            taken: false,
            limit: TRANSACTION_BYTES,
            slow: false,
            stamps: Stamps::default(),
            status: Arc::new(PublishStatus::default()),
        };
        publisher.reopen_session(stop)?;
        let marker = publisher.found.marker.clone();
        Ok((publisher, marker))
    }

    /// The last marker, as far as this publisher knows.
    pub fn marker(&self) -> Option<&Marker> {
        self.found.marker.as_ref()
    }

    /// Lower bounds of the ends of the output topics.
    pub fn reached(&self) -> &Reached {
        &self.config.reached
    }

    /// Drops the producer as a failure does: the next transaction opens a new one.
    pub fn forget_session(&mut self) {
        self.session = None;
    }

    /// The marker up to which epochs are skipped; a failpoint ignores it, to show that tests notice.
    fn skip_marker(&self) -> Option<&Marker> {
        fail_point!("publish.marker.ignored", |_| None);
        self.marker()
    }

    /// Counters and last error of publishing, shared with observers.
    pub fn status(&self) -> Arc<PublishStatus> {
        self.status.clone()
    }

    /// Takes the sinks over from another state, or from none: the state starts over (`--fresh`).
    pub fn claim(&mut self, stop: &AtomicBool) -> Result<(), ConnectorError> {
        let marker = Marker::whole(&self.config.state_id, 0, &[]);
        self.commit_transaction(&Transaction { pieces: vec![], marker }, stop).map(drop)
    }

    /// Writes the present marker again, signed: a process suspended during the takeover detects it.
    pub fn take_over(&mut self, stop: &AtomicBool) -> Result<(), ConnectorError> {
        let marker = self.found.marker.clone().unwrap_or_else(Marker::of_no_state);
        let unmarked = self.found.marker.is_none();
        self.commit_transaction(&Transaction { pieces: vec![], marker }, stop)?;
        if unmarked {
            self.found.marker = None;
        }
        Ok(())
    }

    /// Publishes one epoch. Ok means that it is committed.
    pub fn publish(
        &mut self,
        epoch: u64,
        chunks: &[Vec<u8>],
        commit_ms: i64,
        stop: &AtomicBool,
    ) -> Result<(), ConnectorError> {
        self.publish_all(&[EpochOutput { epoch, commit_ms, chunks }], stop)
    }

    /// Publishes epochs in ascending order. Ok means that all are committed; after an error, those
    /// that were committed are skipped when all are passed again.
    pub fn publish_all(
        &mut self,
        epochs: &[EpochOutput<'_>],
        stop: &AtomicBool,
    ) -> Result<(), ConnectorError> {
        'plan: loop {
            let plan = plan_transactions(epochs, self.skip_marker(), &self.config.state_id, self.limit);
            for transaction in &plan {
                if !self.commit_transaction(transaction, stop)? {
                    continue 'plan;
                }
                let part = (transaction.marker.part, transaction.marker.parts);
                if part.0 < part.1 {
                    self.status.split_epochs.fetch_add(u64::from(part.0 == 1), Ordering::Relaxed);
                    tracing::warn!(
                        epoch = transaction.marker.epoch,
                        part = part.0,
                        of = part.1,
                        "epoch is too large for one transaction and is published in parts"
                    );
                }
            }
            return Ok(());
        }
    }

    /// Commits one transaction, with as many attempts as needed. False when it was not committed and must be
    /// made smaller.
    fn commit_transaction(
        &mut self,
        wanted: &Transaction<'_>,
        stop: &AtomicBool,
    ) -> Result<bool, ConnectorError> {
        let mut backoff = Backoff::default();
        loop {
            let error = match self.try_transaction(wanted, stop) {
                Ok(done) => {
                    self.status.set_last_error(None);
                    let room = if done { self.limit.saturating_add(LIMIT_STEP_BYTES) } else { self.limit };
                    (self.limit, self.slow) = (room.min(TRANSACTION_BYTES), false);
                    return Ok(done);
                }
                Err(error) => error,
            };
            if matches!(error, ConnectorError::Slow(_))
                && wanted.chunk_count() > 1
                && wanted.byte_count() > LIMIT_STEP_BYTES
            {
                (self.limit, self.slow) = ((wanted.byte_count() / 2).max(LIMIT_STEP_BYTES), true);
            }
            // After any error the producer is not used again (see `session`).
            let session = self.session.take();
            if !error.is_transient() {
                session.inspect(Session::abort);
                return Err(error);
            }
            drop(session);
            self.status.reopened.fetch_add(1, Ordering::Relaxed);
            self.status.set_last_error(Some(&error));
            tracing::warn!(epoch = wanted.marker.epoch, %error, "publishing is tried again");
            // Other timestamps are tried without backoff.
            if matches!(error, ConnectorError::Untimely(_)) && self.stamps.note_refusal() {
                continue;
            }
            if !backoff.wait(stop) {
                return Err(ConnectorError::Stopped);
            }
        }
    }

    /// Makes one attempt. True when the transaction was committed, by this attempt or the one before; false
    /// when the one before was too large for its time.
    fn try_transaction(
        &mut self,
        wanted: &Transaction<'_>,
        stop: &AtomicBool,
    ) -> Result<bool, ConnectorError> {
        // After a lost connection the outcome of the last transaction is not certain either.
        if self.session.as_ref().is_none_or(|session| session.tainted || session.lost_connection()) {
            let known = self.found.marker.clone();
            let tainted = self.session.is_some();
            self.reopen_session(stop)?;
            self.status.reopened.fetch_add(u64::from(tainted), Ordering::Relaxed);
            let found = &self.found.marker;
            if self.found.by.as_ref() == Some(&self.process) && found.as_ref() == Some(&wanted.marker) {
                self.taken = true;
                return Ok(true);
            }
            if *found != known {
                return Err(ConnectorError::StateMismatch(marker_mismatch(found.as_ref(), known.as_ref())));
            }
            if self.slow {
                return Ok(false);
            }
        }
        let Some(session) = self.session.as_mut() else { return Ok(false) };
        let text = wanted.marker.to_json(&self.process);
        let output = Output {
            pieces: &wanted.pieces,
            marker: (&wanted.marker, &text),
            superseded: &self.config.superseded,
            stamp: self.stamps.next(),
        };
        let records = session.transact(&output, &mut self.config.reached, stop)?;
        self.found.marker = Some(wanted.marker.clone());
        self.taken = true;
        self.status.transactions.fetch_add(1, Ordering::Relaxed);
        self.status.records.fetch_add(records, Ordering::Relaxed);
        Ok(true)
    }

    /// Opens a new producer, which fences the old one and ends its transaction, and reads the marker. A
    /// process that has taken the sinks over meanwhile is not fenced back: the marker is read first.
    fn reopen_session(&mut self, stop: &AtomicBool) -> Result<(), ConnectorError> {
        self.session = None;
        let watch = OutputWatch::new(&self.progress, &self.config.topics)?;
        let verified = watch.refuse_other_topics(&self.config.reached, self.config.timeout, stop);
        verified.map_err(|error| self.map_progress_error(error))?;
        if self.taken {
            self.refuse_successor(&self.progress.peek(&self.found, self.config.timeout, stop)?)?;
        }
        let config = SessionConfig {
            progress: &self.progress,
            transactional_id: &self.config.transactional_id,
            stamp: self.stamps.next(),
            max_batch_bytes: self.config.max_batch_bytes,
            timeout: self.config.timeout,
        };
        let session = Session::open(&config, watch, stop)?;
        fail_point!("publish.read.before");
        let found = self.progress.read(&self.found, self.config.timeout, stop)?;
        fail_point!("publish.read.after");
        self.refuse_successor(&found)?;
        (self.found, self.session) = (found, Some(session));
        Ok(())
    }

    /// Maps the error of a deleted or recreated progress topic: for the state it means that the broker lost
    /// data.
    fn map_progress_error(&self, error: ConnectorError) -> ConnectorError {
        match &error {
            ConnectorError::GoneTopic { topic } | ConnectorError::RemadeSink { topic, .. }
                if *topic == self.config.progress_topic =>
            {
                ConnectorError::StateMismatch(marker_mismatch(None, self.found.marker.as_ref()))
            }
            _ => error,
        }
    }

    /// Refuses to go on when another process has written a marker since this one took over.
    fn refuse_successor(&self, found: &LastMarker) -> Result<(), ConnectorError> {
        let marked = found.marker.is_some() || found.by.is_some();
        let other = found.next > self.found.next && marked && found.by.as_ref() != Some(&self.process);
        if self.taken && other {
            Err(ConnectorError::Fenced { transactional_id: self.config.transactional_id.clone() })
        } else {
            Ok(())
        }
    }
}

/// The mismatch of a marker found after reopening that is neither the one before the transaction nor its own.
fn marker_mismatch(found: Option<&Marker>, known: Option<&Marker>) -> Mismatch {
    match (found, known) {
        (Some(found), Some(known)) if found.state_id == known.state_id => {
            if found.epoch < known.epoch {
                Mismatch::LostData { marker: Some(found.epoch), published: known.epoch }
            } else {
                Mismatch::Diverged { epoch: found.epoch }
            }
        }
        (Some(found), _) => Mismatch::Foreign { marker: found.state_id.clone(), published: found.epoch },
        (None, known) => Mismatch::LostData { marker: None, published: known.map_or(0, |known| known.epoch) },
    }
}

/// Divides the chunks that are not published yet into transactions of at most `limit` bytes.
fn plan_transactions<'a>(
    epochs: &[EpochOutput<'a>],
    marker: Option<&Marker>,
    state_id: &str,
    limit: usize,
) -> Vec<Transaction<'a>> {
    let mut plan = Vec::new();
    let mut open: Option<Transaction<'a>> = None;
    let mut bytes = 0;
    for output in epochs {
        let whole = Marker::whole(state_id, output.epoch, output.chunks);
        // Chunks of this epoch that are published already.
        let done = match marker {
            Some(marker) if output.epoch < marker.epoch => continue,
            Some(marker) if output.epoch == marker.epoch => marker.part as usize,
            _ => 0,
        };
        let mut from = done.min(output.chunks.len());
        while from < output.chunks.len() {
            let mut to = from;
            while to < output.chunks.len() {
                let next = output.chunks[to].len();
                if bytes > 0 && bytes + next > limit {
                    break;
                }
                bytes += next;
                to += 1;
            }
            // An epoch is only divided when it does not fit into a transaction of its own.
            let fits = to == output.chunks.len();
            if !fits && open.is_some() {
                plan.extend(open.take());
                bytes = 0;
                continue;
            }
            let piece = EpochOutput { chunks: &output.chunks[from..to], ..*output };
            let marker = Marker { part: to as u32, ..whole.clone() };
            match &mut open {
                Some(open) => {
                    open.pieces.push(piece);
                    open.marker = marker;
                }
                None => open = Some(Transaction { pieces: vec![piece], marker }),
            }
            if !fits {
                plan.extend(open.take());
                bytes = 0;
            }
            from = to;
        }
    }
    plan.extend(open);
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    type Planned = (u64, u32, u32, Vec<(u64, usize)>);

    /// Epoch, part and parts of each transaction's marker, and its pieces as (epoch, chunks).
    fn planned(sizes: &[(u64, &[usize])], marker: Option<Marker>) -> Vec<Planned> {
        let chunks: Vec<(u64, Vec<Vec<u8>>)> = sizes
            .iter()
            .map(|(epoch, sizes)| (*epoch, sizes.iter().map(|size| vec![0; *size]).collect()))
            .collect();
        let epochs: Vec<EpochOutput<'_>> = chunks
            .iter()
            .map(|(epoch, chunks)| EpochOutput { epoch: *epoch, commit_ms: 0, chunks })
            .collect();
        let pieces = |t: &Transaction<'_>| t.pieces.iter().map(|p| (p.epoch, p.chunks.len())).collect();
        let show = |t: &Transaction<'_>| (t.marker.epoch, t.marker.part, t.marker.parts, pieces(t));
        plan_transactions(&epochs, marker.as_ref(), "s", 64).iter().map(show).collect()
    }

    #[test]
    fn small_epochs_share_a_transaction() {
        let plan = planned(&[(1, &[1]), (2, &[1, 1]), (3, &[])], None);
        assert_eq!(plan, [(2, 2, 2, vec![(1, 1), (2, 2)])]);
    }

    #[test]
    fn a_full_transaction_is_followed_by_another() {
        let plan = planned(&[(1, &[40]), (2, &[20, 20])], None);
        assert_eq!(plan, [(1, 1, 1, vec![(1, 1)]), (2, 2, 2, vec![(2, 2)])]);
    }

    #[test]
    fn large_epochs_go_out_in_parts() {
        let plan = planned(&[(1, &[30, 30, 30, 30, 10]), (2, &[1])], None);
        let expected = [(1, 2, 5, vec![(1, 2)]), (1, 4, 5, vec![(1, 2)]), (2, 1, 1, vec![(1, 1), (2, 1)])];
        assert_eq!(plan, expected);
    }

    #[test]
    fn what_is_published_is_skipped() {
        let chunks = [vec![0; 30], vec![0; 30], vec![0; 30]];
        let half = Marker { part: 2, ..Marker::whole("s", 2, &chunks) };
        let plan = planned(&[(1, &[1]), (2, &[30, 30, 30]), (3, &[1])], Some(half.clone()));
        assert_eq!(plan, [(3, 1, 1, vec![(2, 1), (3, 1)])]);
        let whole = Marker { part: 3, ..half };
        assert_eq!(planned(&[(1, &[1]), (2, &[30, 30, 30])], Some(whole)), []);
    }
}
