//! The way of a subscriber to the ring of its feed.
//!
//! A feed reads once for all of its subscribers. One that begins, or comes back, first reads for itself, on a
//! thread of its own: a snapshot, then changes, until the ring of its feed has all that follow. It waits for
//! its client there, with few frames in hand, so that nothing large is buffered.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use axum::body::Bytes;
use state::Store;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::events::{Part, progress};
use super::feed::{Feed, Place};
use super::subject::{Break, End, stamp_of};
use crate::driver::DriverHandle;
use crate::query::tables::shape::gone_text;

/// Pause before the history is looked at again, where no other epoch was committed meanwhile.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// The beginning of a subscription.
#[derive(Debug)]
pub(super) enum Begin {
    /// With a snapshot, for a reason.
    Snapshot(String),
    /// With the changes after an epoch.
    After(u64),
    /// With the changes that come.
    Now,
}

/// One subscriber's way to the ring of its feed.
pub(super) struct CatchUp {
    /// The topology.
    pub handle: DriverHandle,
    /// The feed.
    pub feed: Arc<Feed>,
    /// The client.
    pub out: mpsc::Sender<Part>,
    /// Set when the topology stops.
    pub stop: watch::Receiver<bool>,
    /// The runtime of the server.
    pub runtime: Handle,
    /// The time at which it must be done.
    pub deadline: Instant,
}

impl CatchUp {
    /// Sends all that precedes the ring, and returns the place in it. Blocks: not to be called from async
    /// code.
    pub fn run(&self, begin: Begin) -> Result<Place, Break> {
        let mut position = match begin {
            Begin::Snapshot(why) => self.send_snapshot(&why)?,
            Begin::Now => self.send_progress()?,
            Begin::After(epoch) => match self.send_changes(epoch) {
                Err(Break::Gone(since)) => self.send_snapshot(&gone_text(epoch, since))?,
                sent => sent?,
            },
        };
        loop {
            if let Some(place) = self.feed.join(position) {
                return Ok(place);
            }
            let before = position;
            position = match self.send_changes(position) {
                Err(Break::Gone(_)) => return Err(Break::End(End::slow())),
                sent => sent?,
            };
            if position == before {
                std::thread::sleep(LOOK_INTERVAL);
            }
        }
    }

    fn store(&self) -> Result<Arc<Store>, Break> {
        self.handle.store().ok_or_else(|| Break::End(End::ending()))
    }

    /// Sends a snapshot of the last committed epoch, and returns that epoch.
    fn send_snapshot(&self, why: &str) -> Result<u64, Break> {
        let store = self.store()?;
        let snapshot = store.snapshot()?;
        self.feed.subject.read_snapshot(&snapshot, why, &mut |_, frame| self.send(frame))?;
        Ok(snapshot.epoch())
    }

    /// Sends a mark of the last committed epoch, and returns it.
    fn send_progress(&self) -> Result<u64, Break> {
        let store = self.store()?;
        let stamp = stamp_of(&store.snapshot()?);
        self.send(Some(Bytes::from(progress(stamp, &self.feed.subject.state_id))))?;
        Ok(stamp.epoch)
    }

    /// Sends the changes after an epoch up to the last committed one, with a mark of it, and returns it.
    fn send_changes(&self, after: u64) -> Result<u64, Break> {
        let store = self.store()?;
        let snapshot = store.snapshot()?;
        let (subject, stamp) = (&self.feed.subject, stamp_of(&snapshot));
        let marked = subject.read_changes(&snapshot, after, &mut |_, frame| self.send(frame))?;
        if marked.unwrap_or(after) < stamp.epoch {
            self.send(Some(Bytes::from(progress(stamp, &subject.state_id))))?;
        }
        Ok(stamp.epoch)
    }

    /// Waits until the client takes a frame. Without one, looks whether somebody still waits for the next.
    fn send(&self, frame: Option<Bytes>) -> Result<(), Break> {
        let mut stop = self.stop.clone();
        let Some(frame) = frame else {
            return match (*stop.borrow(), self.out.is_closed(), Instant::now() < self.deadline) {
                (true, _, _) => Err(Break::End(End::ending())),
                (_, true, _) => Err(Break::Left),
                (_, _, false) => Err(Break::End(End::late())),
                _ => Ok(()),
            };
        };
        self.runtime.block_on(async {
            tokio::select! {
                sent = self.out.send(Part::Events(frame)) => sent.map_err(|_| Break::Left),
                _ = stop.wait_for(|stop| *stop) => Err(Break::End(End::ending())),
                () = sleep_until(self.deadline) => Err(Break::End(End::late())),
            }
        })
    }
}
