//! All subscriptions of a running topology: their number, their feeds, and the thread that fills the feeds.
//!
//! The thread waits for commits while there is a feed. After each it reads the changes of every feed from one
//! snapshot: pushing costs the topology no more than this thread, however many subscribers there are.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use state::Snapshot;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::feed::Feed;
use super::subject::{Break, End, Subject, stamp_of};
use crate::driver::DriverHandle;
use crate::metrics::Serving;

/// Most subscribers that read snapshots or earlier changes at a time.
const MAX_CATCHING_UP: usize = 4;
/// Most bytes of the rings of all feeds.
const MAX_RINGS_BYTES: usize = 128 << 20;
/// Most bytes of the ring of one feed.
const MAX_RING_BYTES: usize = 16 << 20;
/// Longest time for which the thread waits for a commit before it looks whether any feed is left.
const WAIT_INTERVAL: Duration = Duration::from_millis(250);
/// Time that subscriptions have to end.
const END_TIMEOUT: Duration = Duration::from_secs(5);
/// Time between two looks at those that have not.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);
/// Stack bytes of threads that evaluate conditions.
pub(super) const STACK_BYTES: usize = 8 << 20;

/// The rows of a feed: the state table of its view, its condition, and its columns.
pub(super) type FeedKey = (u32, Option<String>, Option<String>);

/// All subscriptions.
pub struct Subscriptions {
    /// The topology.
    pub(super) handle: DriverHandle,
    /// The metrics of the server.
    pub(super) metrics: Serving,
    /// Turns of those that read for themselves.
    pub(super) turns: Arc<Semaphore>,
    most: usize,
    places: Arc<Semaphore>,
    open: Mutex<Open>,
    /// Threads that may read the state.
    readers: AtomicUsize,
    stop: watch::Sender<bool>,
}

#[derive(Default)]
struct Open {
    feeds: BTreeMap<FeedKey, OpenFeed>,
    /// True while the thread that fills the feeds runs.
    filling: bool,
}

struct OpenFeed {
    feed: Arc<Feed>,
    subscribers: usize,
}

impl Subscriptions {
    /// Creates the table of subscriptions of a topology, of which there may be `most`.
    pub fn new(handle: DriverHandle, most: usize, metrics: Serving) -> Arc<Subscriptions> {
        metrics.set_most_subscribers(most);
        Arc::new(Subscriptions {
            handle,
            metrics,
            turns: Arc::new(Semaphore::new(MAX_CATCHING_UP)),
            most,
            places: Arc::new(Semaphore::new(most)),
            open: Mutex::default(),
            readers: AtomicUsize::new(0),
            stop: watch::Sender::new(false),
        })
    }

    fn lock_open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The most subscribers that there may be.
    pub(super) fn most(&self) -> usize {
        self.most
    }

    /// A receiver that is told when the topology stops.
    pub(super) fn watch_stop(&self) -> watch::Receiver<bool> {
        self.stop.subscribe()
    }

    /// Takes a place; None if there is none.
    pub(super) fn take_place(&self) -> Option<OwnedSemaphorePermit> {
        self.places.clone().try_acquire_owned().ok()
    }

    /// Joins the feed of some rows, which is created with the first subscriber; it has all changes after
    /// `epoch`, the last committed one or an earlier one.
    ///
    /// # Errors
    /// When the thread that fills the feeds cannot be started, or the topology stops.
    pub(super) fn join(
        self: &Arc<Self>,
        key: FeedKey,
        (subject, epoch): (Subject, u64),
        place: OwnedSemaphorePermit,
    ) -> Result<Seat> {
        let mut open = self.lock_open();
        if *self.stop.borrow() {
            return Err(anyhow!(End::ending().why));
        }
        if !open.filling {
            let (hub, reader) = (self.clone(), Reader::new(self));
            std::thread::Builder::new()
                .name("herald-push".to_owned())
                .stack_size(STACK_BYTES)
                .spawn(move || hub.fill_feeds(reader))
                .context("cannot follow the view")?;
            open.filling = true;
        }
        let feed = match open.feeds.get_mut(&key) {
            Some(found) if found.feed.position().is_some() => {
                found.subscribers += 1;
                found.feed.clone()
            }
            // One that has ended is left to those that have a seat in it.
            _ => {
                let feed = Arc::new(Feed::new(subject, epoch, self.metrics.clone()));
                open.feeds.insert(key.clone(), OpenFeed { feed: feed.clone(), subscribers: 1 });
                feed
            }
        };
        drop(open);
        self.metrics.change_subscribers(1);
        Ok(Seat { hub: self.clone(), key, feed, _place: place })
    }

    /// Fills the feeds until there is none.
    fn fill_feeds(&self, _reader: Reader) {
        let filled = catch_unwind(AssertUnwindSafe(|| {
            let mut seen = 0;
            loop {
                seen = self.handle.wait_for_commit(seen, WAIT_INTERVAL);
                let feeds = {
                    let mut open = self.lock_open();
                    if open.feeds.is_empty() || *self.stop.borrow() {
                        open.filling = false;
                        return;
                    }
                    open.feeds.values().map(|open| open.feed.clone()).collect::<Vec<_>>()
                };
                if let Err(error) = self.read_for(&feeds) {
                    tracing::warn!("the changes of views cannot be read for subscribers: {error:#}");
                }
            }
        }));
        if filled.is_err() {
            let mut open = self.lock_open();
            open.filling = false;
            for OpenFeed { feed, .. } in open.feeds.values() {
                feed.end(End::failed(&anyhow!("the changes cannot be read: the log tells why")));
            }
        }
    }

    /// Reads the changes up to the last committed epoch for some feeds.
    fn read_for(&self, feeds: &[Arc<Feed>]) -> Result<()> {
        let Some(store) = self.handle.store() else { return Ok(()) };
        let snapshot = store.snapshot()?;
        let stamp = stamp_of(&snapshot);
        let most = (MAX_RINGS_BYTES / feeds.len().max(1)).min(MAX_RING_BYTES);
        for feed in feeds {
            let Some(position) = feed.position() else { continue };
            if position >= stamp.epoch && !feed.owes_progress() {
                continue;
            }
            let mut marked = None;
            if position < stamp.epoch {
                match self.read_feed(feed, (&snapshot, position), most) {
                    Ok(last) => marked = last,
                    Err(Break::End(end)) => {
                        feed.end(end);
                        continue;
                    }
                    Err(Break::Gone(_) | Break::Left) => {
                        feed.end(End::gone());
                        continue;
                    }
                }
            }
            feed.advance(stamp, marked, most);
        }
        Ok(())
    }

    /// Adds the changes after an epoch to a feed, up to the epoch of a snapshot, unless the topology stops.
    /// Returns the last epoch whose frames end with a mark of progress.
    fn read_feed(
        &self,
        feed: &Feed,
        (snapshot, after): (&Snapshot<'_>, u64),
        most: usize,
    ) -> Result<Option<u64>, Break> {
        feed.subject.read_changes(snapshot, after, &mut |epoch, frame| {
            match frame {
                Some(frame) => feed.push(epoch, frame, most),
                None if *self.stop.borrow() => return Err(Break::End(End::ending())),
                None => {}
            }
            Ok(())
        })
    }

    /// Ends all subscriptions, and waits for those who read the state: RocksDB must not be in use when the
    /// process exits.
    pub fn end(&self) {
        let begun = Instant::now();
        self.stop.send_replace(true);
        for OpenFeed { feed, .. } in self.lock_open().feeds.values() {
            feed.end(End::ending());
        }
        while begun.elapsed() < END_TIMEOUT {
            let left = self.lock_open().feeds.len();
            let told = left == 0 || begun.elapsed() > END_TIMEOUT / 5;
            if told && self.readers.load(Ordering::Acquire) == 0 {
                return;
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
    }
}

/// Guard of a thread that may read the state.
pub(super) struct Reader(Arc<Subscriptions>);

impl Reader {
    /// Counts it.
    pub fn new(hub: &Arc<Subscriptions>) -> Reader {
        hub.readers.fetch_add(1, Ordering::AcqRel);
        Reader(hub.clone())
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.readers.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A subscriber's part in a feed, until it is dropped.
pub(super) struct Seat {
    /// All subscriptions.
    pub hub: Arc<Subscriptions>,
    /// The feed.
    pub feed: Arc<Feed>,
    key: FeedKey,
    _place: OwnedSemaphorePermit,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut open = self.hub.lock_open();
        if let Some(found) = open.feeds.get_mut(&self.key)
            && Arc::ptr_eq(&found.feed, &self.feed)
        {
            found.subscribers -= 1;
            if found.subscribers == 0 {
                open.feeds.remove(&self.key);
            }
        }
        drop(open);
        self.hub.metrics.change_subscribers(-1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;
    use crate::serve::subscribe::subject::store_of_numbers;

    /// The end of a topology waits for no history of which a feed takes nothing.
    #[test]
    fn a_feed_is_not_read_on_when_the_topology_stops() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let store = store_of_numbers(dir.path(), 9)?;
        let metrics = Metrics::new("t")?.serving().clone();
        let hub = Subscriptions::new(DriverHandle::default(), 1, metrics.clone());
        let feed = Feed::new(Subject::test_where(Some("n > 1000"))?, 0, metrics);
        let snapshot = store.snapshot()?;
        assert!(matches!(hub.read_feed(&feed, (&snapshot, 0), 1 << 20), Ok(None)));
        hub.end();
        let read = hub.read_feed(&feed, (&snapshot, 0), 1 << 20);
        assert!(matches!(&read, Err(Break::End(end)) if *end == End::ending()), "{read:?}");
        Ok(())
    }
}
