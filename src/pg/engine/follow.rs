//! SUBSCRIBE: a view is followed from an epoch on.
//!
//! A snapshot is read from the pinned epoch, by a thread of the session's reader. Then a task of the engine
//! asks the topology's process again and again for the changes up to the newest epoch, which pins nothing. Both
//! send through the bounded channel of the statement's rows: a client that takes none stops the reading, and
//! nothing else. One whose next changes are no longer kept by then is told.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Error;
use arrow::array::RecordBatch;
use arrow::datatypes::Fields;
use state::HistoryPlace;
use tokio::sync::{mpsc, oneshot};

use super::super::errors::{PgError, PgResult, codes};
use super::super::sql::subscription::Subscription;
use super::changes::{ChangeWriter, FollowedView, failure};
use super::running::Produced;
use crate::query::process::remote::Connection;
use crate::query::tables::epoch::{ChangesRead, EpochReads, Stamp};
use crate::query::tables::shape::{epoch_of_id, gone_text, read_rows, select_rows, without_history};

/// Shortest pause between two requests for changes.
const MIN_PAUSE: Duration = Duration::from_millis(20);
/// Longest pause between two requests for changes.
const MAX_PAUSE: Duration = Duration::from_millis(50);

/// A request to follow a view.
pub struct FollowRequest {
    /// The subscription.
    pub subscription: Box<Subscription>,
    /// SQL of the values of its parameters.
    pub values: Vec<Option<String>>,
    /// The receiver's other end.
    pub out: mpsc::Sender<Produced>,
}

/// Place where a subscription starts.
enum Start {
    /// At a snapshot; the reason, where it takes the place of changes that are gone.
    Snapshot(Option<String>),
    /// After an epoch.
    After(u64),
    /// At the changes that come.
    Now,
}

impl FollowRequest {
    /// Begins at the pinned epoch. Returns the snapshot to be read, if one is wanted.
    ///
    /// # Errors
    /// A mistake of the subscription, changes that are not kept, or a state that cannot be read.
    pub fn begin(self, epoch: &dyn EpochReads) -> PgResult<(Followed, Option<SnapshotRows>)> {
        let view = Arc::new(FollowedView::find(epoch, &self.subscription, &self.values)?);
        let now = epoch.committed().epoch;
        let next = HistoryPlace::after(now);
        let why = match self.find_start(epoch, &view)? {
            Start::Snapshot(why) => why,
            Start::After(after) => {
                let next = HistoryPlace::after(after);
                return Ok((Followed { view, next, marked: (after, None), snapshot: None }, None));
            }
            Start::Now => return Ok((Followed { view, next, marked: (0, None), snapshot: None }, None)),
        };
        let (finished, snapshot) = oneshot::channel();
        let rows = SnapshotRows { view: view.clone(), why, out: self.out, finished };
        let marked = (now, Some(Instant::now()));
        Ok((Followed { view, next, marked, snapshot: Some(snapshot) }, Some(rows)))
    }

    /// Looks in the view's history for the place to start at.
    fn find_start(&self, epoch: &dyn EpochReads, view: &FollowedView) -> PgResult<Start> {
        let Subscription { as_of, snapshot, ref from_id, .. } = *self.subscription;
        let as_of = from_id.as_ref().and_then(|id| epoch_of_id(id, epoch.state_id())).or(as_of);
        let after = as_of.unwrap_or(epoch.committed().epoch);
        let held = epoch.changes_from(view.id, HistoryPlace::after(after), &mut |_| Ok(false));
        match held.map_err(|error| PgError::of(&error))? {
            ChangesRead::Held { .. } => Ok(match as_of {
                Some(after) => Start::After(after),
                None if snapshot => Start::Snapshot(None),
                None => Start::Now,
            }),
            ChangesRead::Gone(None) => {
                let told = PgError::of(&without_history(&view.name));
                Err(PgError { code: codes::OBJECT_NOT_IN_PREREQUISITE_STATE, ..told })
            }
            ChangesRead::Gone(since) if snapshot => Ok(Start::Snapshot(Some(gone_text(after, since)))),
            ChangesRead::Gone(since) => {
                let told = PgError::new(codes::OBJECT_NOT_IN_PREREQUISITE_STATE, gone_text(after, since));
                Err(told.hint("leave snapshot = false out for a snapshot"))
            }
        }
    }
}

/// A view that is followed from a place on.
pub struct Followed {
    view: Arc<FollowedView>,
    /// The place of the next changes.
    next: HistoryPlace,
    /// The epoch that the client knows to be whole, and the time of its mark.
    marked: (u64, Option<Instant>),
    /// Gets a word when the snapshot is sent.
    snapshot: Option<oneshot::Receiver<()>>,
}

impl Followed {
    /// Tells whether a snapshot is sent first.
    pub fn has_snapshot(&self) -> bool {
        self.snapshot.is_some()
    }

    /// Columns of the subscription.
    pub fn fields(&self) -> Fields {
        self.view.fields().clone()
    }
}

/// Reason for which sending breaks off.
enum Halt {
    /// Nobody receives the rows any more.
    Left,
    /// They cannot be sent.
    Failed(PgError),
}

impl From<Error> for Halt {
    fn from(error: Error) -> Halt {
        Halt::Failed(failure(&error))
    }
}

/// The rows of a view at the pinned epoch, on their way to a client.
pub struct SnapshotRows {
    view: Arc<FollowedView>,
    /// The reason for them, where they take the place of rows sent before.
    why: Option<String>,
    out: mpsc::Sender<Produced>,
    finished: oneshot::Sender<()>,
}

impl SnapshotRows {
    /// Sends them, and waits until they are taken: not to be called from async code.
    pub fn send(self, epoch: &dyn EpochReads) {
        match self.send_rows(epoch) {
            // Nobody waits for it if the statement was stopped.
            Ok(()) => drop(self.finished.send(())),
            Err(Halt::Failed(error)) => drop(self.out.blocking_send(Produced::Failed(error))),
            Err(Halt::Left) => {}
        }
    }

    fn send_rows(&self, epoch: &dyn EpochReads) -> Result<(), Halt> {
        let view = &self.view;
        let committed = epoch.committed();
        let stamp = Stamp { epoch: committed.epoch, commit_ms: committed.commit_ms };
        if let Some(why) = &self.why {
            let notice = PgError::warning(why.clone()).hint(
                "the next row, whose herald_diff is NULL, voids the rows of before: a snapshot follows it",
            );
            self.send_one(Produced::Notice(notice))?;
            self.send_one(Produced::Batch(view.reset(stamp)?))?;
        }
        read_rows(epoch, (view.id, view.keyed), &mut |rows| {
            select_rows(&view.shape, rows, &mut |batch, diffs| self.send_selected(stamp, batch, diffs))
        })?;
        match view.mark(stamp)? {
            Some(mark) => self.send_one(Produced::Batch(mark)),
            None => Ok(()),
        }
    }

    /// Sends rows that are wanted. Looks whether somebody still waits also where there are none.
    fn send_selected(&self, stamp: Stamp, batch: &RecordBatch, diffs: &[i64]) -> Result<(), Halt> {
        if self.out.is_closed() {
            return Err(Halt::Left);
        }
        if diffs.is_empty() {
            return Ok(());
        }
        self.send_one(Produced::Batch(self.view.rows(stamp, batch, diffs)?))
    }

    fn send_one(&self, produced: Produced) -> Result<(), Halt> {
        self.out.blocking_send(produced).map_err(|_| Halt::Left)
    }
}

/// Sender of the changes of a view, from epoch to epoch.
pub struct Follower {
    connection: Arc<Connection>,
    view: Arc<FollowedView>,
    writer: ChangeWriter,
    next: HistoryPlace,
    snapshot: Option<oneshot::Receiver<()>>,
    out: mpsc::Sender<Produced>,
}

impl Follower {
    /// Goes on with a view, within `most` bytes for an epoch.
    pub fn new(
        followed: Followed,
        (connection, out): (Arc<Connection>, mpsc::Sender<Produced>),
        most: usize,
    ) -> Follower {
        let Followed { view, next, marked, snapshot } = followed;
        let writer = ChangeWriter::new(view.clone(), marked, most);
        Follower { connection, view, writer, next, snapshot, out }
    }

    /// Sends changes until nobody receives them, or there is a failure, which is sent.
    pub async fn run(mut self) {
        if let Some(snapshot) = self.snapshot.take()
            && snapshot.await.is_err()
        {
            // The thread that sent the snapshot has told of its failure.
            return;
        }
        if let Err(Halt::Failed(error)) = self.send_changes().await {
            let _ = self.out.send(Produced::Failed(error)).await;
        }
    }

    async fn send_changes(&mut self) -> Result<(), Halt> {
        // Somebody may have taken a snapshot, and waits for more.
        let (mut pause, mut has_sent) = (MIN_PAUSE, true);
        loop {
            let caught_up = self.read_changes().map_err(Halt::Failed)?;
            while let Some(rows) = self.writer.take_rows().map_err(Halt::Failed)? {
                self.send_one(Produced::Batch(rows)).await?;
                (pause, has_sent) = (MIN_PAUSE, true);
            }
            if !caught_up {
                tokio::task::yield_now().await;
                continue;
            }
            if std::mem::take(&mut has_sent) {
                self.send_one(Produced::Pause).await?;
            }
            tokio::select! {
                () = self.out.closed() => return Err(Halt::Left),
                () = tokio::time::sleep(pause) => pause = (pause * 3 / 2).min(MAX_PAUSE),
            }
        }
    }

    async fn send_one(&self, produced: Produced) -> Result<(), Halt> {
        self.out.send(produced).await.map_err(|_| Halt::Left)
    }

    /// Reads the next changes; true if there are no others for now.
    fn read_changes(&mut self) -> PgResult<bool> {
        let (writer, mut failed) = (&mut self.writer, None);
        let read = self.connection.newest_changes(self.view.id, self.next, &mut |entry| {
            failed = writer.take_entry(entry).err();
            Ok(failed.is_none())
        });
        let (stamp, read) = read.map_err(|error| PgError::of(&error))?;
        if let Some(error) = failed {
            return Err(error);
        }
        let ChangesRead::Held { next } = read else { return Err(self.gone()) };
        self.next = next;
        self.writer.finish_before(next.epoch)?;
        let caught_up = next == HistoryPlace::after(stamp.epoch);
        if caught_up {
            self.writer.mark_idle(stamp)?;
        }
        Ok(caught_up)
    }

    /// The error for a client that is so slow that its next changes are gone.
    fn gone(&self) -> PgError {
        let (view, epoch) = (&self.view.name, self.next.epoch.saturating_sub(1));
        let message = format!("the changes of view {view} after epoch {epoch} are no longer kept");
        PgError::new(codes::OBJECT_NOT_IN_PREREQUISITE_STATE, message).hint(
            "subscribe again, for a snapshot; WITH (history = ...) of the view keeps changes for longer",
        )
    }
}
