//! Feeds: the events of one shape of a view, encoded once for all of its subscribers.
//!
//! A feed has the newest frames in a ring that is bounded in bytes. Each subscriber has a place in it, takes
//! frame after frame, and copies none. One whose next frame has left the ring has fallen behind, and is cut
//! off.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use tokio::sync::watch;

use super::events::{Stamp, progress};
use super::subject::{End, Subject};
use crate::metrics::Serving;

/// Least time between two marks of progress without changes.
const IDLE_PROGRESS: Duration = Duration::from_secs(1);

/// The events of one shape of a view.
pub(super) struct Feed {
    /// The rows that it follows.
    pub subject: Subject,
    ring: Mutex<Ring>,
    /// Counts changes of the ring, for those who wait for the next.
    changed: watch::Sender<u64>,
    metrics: Serving,
}

/// The newest frames.
struct Ring {
    frames: VecDeque<(u64, Bytes)>,
    /// The number of the first frame.
    first: u64,
    bytes: usize,
    /// The epoch after which all frames are in the ring, but for those of epochs before its feed.
    floor: u64,
    /// The epoch up to which frames were added.
    position: u64,
    /// Epoch and time of the last mark of progress.
    marked: (u64, Instant),
    end: Option<End>,
}

/// A subscriber's place in a feed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// The number of its next frame.
    next: u64,
    /// The epoch up to which it has all changes: it takes no frame of one before.
    after: u64,
}

/// The next that a subscriber takes from a feed.
pub(super) enum Taken {
    /// A frame.
    Frame(Bytes),
    /// Nothing yet.
    Nothing,
    /// Nothing any more: its next frame is gone.
    Behind,
    /// Nothing any more: the feed has ended.
    Ended(End),
}

impl Feed {
    /// Creates a feed of the changes after an epoch.
    pub fn new(subject: Subject, epoch: u64, metrics: Serving) -> Feed {
        let ring = Ring {
            frames: VecDeque::new(),
            first: 0,
            bytes: 0,
            floor: epoch,
            position: epoch,
            marked: (epoch, Instant::now()),
            end: None,
        };
        Feed { subject, ring: Mutex::new(ring), changed: watch::Sender::new(0), metrics }
    }

    fn lock_ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a receiver that is told of each change.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn note_change(&self) {
        self.changed.send_modify(|changes| *changes = changes.wrapping_add(1));
    }

    /// The epoch up to which frames were added; None once the feed has ended.
    pub fn position(&self) -> Option<u64> {
        let ring = self.lock_ring();
        if ring.end.is_none() { Some(ring.position) } else { None }
    }

    /// Adds a frame of an epoch. Beyond `most` bytes the oldest frames go.
    pub fn push(&self, epoch: u64, frame: Bytes, most: usize) {
        let mut ring = self.lock_ring();
        let before = ring.bytes;
        ring.bytes += frame.len();
        ring.frames.push_back((epoch, frame));
        while ring.bytes > most
            && let Some((epoch, frame)) = ring.frames.pop_front()
        {
            ring.bytes -= frame.len();
            ring.first += 1;
            ring.floor = ring.floor.max(epoch);
        }
        self.metrics.change_subscription_bytes(ring.bytes as i64 - before as i64);
        drop(ring);
        self.note_change();
    }

    /// Notes that all changes up to an epoch were added; `marked` is the last epoch among them whose frames
    /// end with a mark of progress. Adds another for epochs without changes, at most once a second.
    pub fn advance(&self, stamp: Stamp, marked: Option<u64>, most: usize) {
        let mut ring = self.lock_ring();
        ring.position = ring.position.max(stamp.epoch);
        if let Some(epoch) = marked {
            ring.marked = (epoch, Instant::now());
        }
        let due = ring.marked.0 < stamp.epoch && ring.marked.1.elapsed() >= IDLE_PROGRESS;
        if due {
            ring.marked = (stamp.epoch, Instant::now());
        }
        drop(ring);
        if due {
            self.push(stamp.epoch, Bytes::from(progress(stamp, &self.subject.state_id)), most);
        }
    }

    /// True while some committed epoch has no mark of progress.
    pub fn owes_progress(&self) -> bool {
        let ring = self.lock_ring();
        ring.end.is_none() && ring.marked.0 < ring.position
    }

    /// Ends the feed for all subscribers, when they have taken its frames; the first end counts.
    pub fn end(&self, end: End) {
        self.lock_ring().end.get_or_insert(end);
        self.note_change();
    }

    /// The place of a subscriber that has all changes up to an epoch; None if the ring lacks some that
    /// follow.
    pub fn join(&self, after: u64) -> Option<Place> {
        let ring = self.lock_ring();
        if ring.floor > after { None } else { Some(Place { next: ring.first, after }) }
    }

    /// Takes the next frame of a subscriber.
    pub fn take(&self, place: &mut Place) -> Taken {
        let ring = self.lock_ring();
        if place.next < ring.first {
            // Frames that it did not take are gone; it may need none of them.
            if ring.floor > place.after {
                return Taken::Behind;
            }
            place.next = ring.first;
        }
        loop {
            let at = usize::try_from(place.next - ring.first).unwrap_or(usize::MAX);
            let Some((epoch, frame)) = ring.frames.get(at) else {
                return ring.end.clone().map_or(Taken::Nothing, Taken::Ended);
            };
            place.next += 1;
            if *epoch > place.after {
                return Taken::Frame(frame.clone());
            }
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        let bytes = self.lock_ring().bytes;
        self.metrics.change_subscription_bytes(-(bytes as i64));
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Result;

    use super::*;
    use crate::metrics::Metrics;

    fn feed(epoch: u64) -> Result<Feed> {
        let subject = Subject::test()?;
        Ok(Feed::new(subject, epoch, Metrics::new("t")?.serving().clone()))
    }

    fn push(feed: &Feed, epoch: u64) {
        feed.push(epoch, Bytes::from(vec![b'0' + epoch as u8; 10]), 40);
    }

    /// The epochs of the frames that a subscriber takes, and a word for what comes next.
    fn taken(feed: &Feed, place: &mut Place) -> (Vec<u64>, &'static str) {
        let mut epochs = Vec::new();
        loop {
            match feed.take(place) {
                Taken::Frame(frame) => epochs.push(u64::from(frame[0] - b'0')),
                Taken::Nothing => return (epochs, "nothing"),
                Taken::Behind => return (epochs, "behind"),
                Taken::Ended(_) => return (epochs, "ended"),
            }
        }
    }

    #[test]
    fn subscribers_take_the_frames_after_their_epochs() -> Result<()> {
        let feed = feed(1)?;
        assert!(feed.join(0).is_none(), "the feed begins after epoch 1");
        let (Some(mut first), Some(mut later)) = (feed.join(1), feed.join(3)) else { panic!("no places") };
        for epoch in [2, 2, 3] {
            push(&feed, epoch);
        }
        assert_eq!(taken(&feed, &mut first), (vec![2, 2, 3], "nothing"));
        assert_eq!(taken(&feed, &mut later), (vec![], "nothing"));
        push(&feed, 4);
        push(&feed, 5);
        assert_eq!(taken(&feed, &mut first), (vec![4, 5], "nothing"));
        assert_eq!(taken(&feed, &mut later), (vec![4, 5], "nothing"));
        // The first frame of epoch 2 has left the ring.
        assert!(feed.join(1).is_none() && feed.join(2).is_some());
        feed.end(End::ending());
        assert_eq!(taken(&feed, &mut first), (vec![], "ended"));
        assert_eq!(feed.position(), None);
        Ok(())
    }

    #[test]
    fn a_subscriber_that_does_not_take_its_frames_falls_behind() -> Result<()> {
        let feed = feed(1)?;
        let (Some(mut slow), Some(mut later)) = (feed.join(1), feed.join(6)) else { panic!("no places") };
        let mut quick = slow;
        for epoch in 2..=5 {
            push(&feed, epoch);
            assert_eq!(taken(&feed, &mut quick), (vec![epoch], "nothing"));
        }
        assert!(matches!(feed.take(&mut slow), Taken::Frame(_)));
        push(&feed, 6);
        assert_eq!(taken(&feed, &mut quick), (vec![6], "nothing"));
        let mut just_in_time = slow;
        assert_eq!(taken(&feed, &mut just_in_time), (vec![3, 4, 5, 6], "nothing"));
        push(&feed, 7);
        push(&feed, 8);
        assert_eq!(taken(&feed, &mut slow), (vec![], "behind"));
        // What left the ring was of no use to one that joined after it.
        assert_eq!(taken(&feed, &mut later), (vec![7, 8], "nothing"));
        Ok(())
    }

    #[test]
    fn epochs_without_changes_are_marked_now_and_then() -> Result<()> {
        let feed = feed(1)?;
        feed.advance(Stamp { epoch: 2, commit_ms: 0 }, None, 1000);
        assert!(feed.owes_progress() && feed.position() == Some(2), "the last mark is too young");
        let Some(mut place) = feed.join(1) else { panic!("no place") };
        assert!(matches!(feed.take(&mut place), Taken::Nothing));
        feed.lock_ring().marked.1 -= IDLE_PROGRESS;
        feed.advance(Stamp { epoch: 3, commit_ms: 0 }, None, 1000);
        assert!(!feed.owes_progress());
        let Taken::Frame(frame) = feed.take(&mut place) else { panic!("no mark") };
        assert!(frame.starts_with(b"event: progress\nid: 3-"));
        feed.advance(Stamp { epoch: 4, commit_ms: 0 }, Some(4), 1000);
        assert!(!feed.owes_progress(), "its frames have a mark");
        Ok(())
    }
}
