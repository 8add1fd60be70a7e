//! One committed epoch, as the tables of a query read it: from a snapshot in this process ([`Snapshot`]), or from the
//! process that runs the topology ([`crate::query::process::remote`]).

use std::sync::Arc;

use anyhow::{Context, Error, Result, anyhow};
use schemas::{KEY_GROUPS, stored_group, without_group};
use serde::{Deserialize, Serialize};
use state::{
    Catalogue, Committed, Entry, EpochEntry, Erasure, HistoryPlace, HistorySince, Order, Reads, Scan, Slice,
    Snapshot, StateError,
};

use super::conditions::{Bounds, KeyRange};

/// Key groups by which the size of a range in each of them is estimated.
const SAMPLED_GROUPS: usize = 64;

/// An epoch with the time of its commit, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// The epoch.
    pub epoch: u64,
    /// The time.
    pub commit_ms: i64,
}

/// Reading of one committed epoch.
pub trait EpochReads: Sync {
    /// Returns the epoch with its time and progress.
    fn committed(&self) -> &Committed;

    /// Returns the id of the state: epochs of another state are others.
    fn state_id(&self) -> &str;

    /// Returns the state tables; none before the first start.
    fn catalogue(&self) -> Result<Catalogue>;

    /// Estimates the bytes that the entries of a state table within bounds have in files.
    fn estimated_bytes(&self, table_id: u32, bounds: &Arc<Bounds>) -> Result<u64>;

    /// Starts to read the entries of a state table within bounds, in the order of the bounds.
    fn open_scan(&self, table_id: u32, bounds: &Arc<Bounds>) -> Result<Box<dyn EntryScan + '_>>;

    /// Returns the entries of the last epochs, in the order of the epochs.
    fn history(&self) -> Result<Vec<EpochEntry>>;

    /// Returns the receipts of erased persons.
    fn erasures(&self) -> Result<Vec<Erasure>>;

    /// Returns the last epoch up to which the output of a target is published.
    fn published_until(&self, target: u16) -> Result<u64>;

    /// Visits the dead letters whose sequence number is at or above `from`, oldest first, until `visit` returns false.
    fn dead_letters(&self, from: u64, visit: &mut DeadLetterVisitor<'_>) -> Result<()>;

    /// Returns the sessions of clients that are open now; none where no topology runs.
    fn sessions(&self) -> Result<Vec<ListedSession>> {
        Ok(Vec::new())
    }

    /// Visits pieces of the history of a view, which is given by its state table, from a place on, in their
    /// order: until `visit` returns false or about a chunk of them was read.
    fn changes_from(
        &self,
        view: u32,
        from: HistoryPlace,
        visit: &mut PieceVisitor<'_>,
    ) -> Result<ChangesRead>;
}

/// Session of a client of PostgreSQL's protocol, for `herald.sessions`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedSession {
    /// Number that the client knows it by.
    pub pid: i32,
    /// Name it logged in with; empty before.
    pub user: String,
    /// Name of its application.
    pub application: String,
    /// Address of the client.
    pub client: String,
    /// Milliseconds since 1970 of its begin.
    pub begun_ms: i64,
    /// Its state, as PostgreSQL names it.
    pub state: String,
    /// The statement that runs, or the last one.
    pub query: String,
}

/// Visitor of a stored piece of a history ([`state::HistoryPiece::decode`]). False ends the visits.
pub type PieceVisitor<'v> = dyn FnMut(Entry<'_>) -> Result<bool> + 'v;

/// The end of the reading of a view's changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangesRead {
    /// All pieces before a place were read: the epochs below its epoch are whole.
    Held {
        /// The place to go on from; that after the held epoch if nothing is left.
        next: HistoryPlace,
    },
    /// The history does not hold the changes. Those after this epoch it does; None for a view without a
    /// history.
    Gone(Option<u64>),
}

/// Visitor of a dead letter: its sequence number and its stored bytes. False ends the visits.
pub type DeadLetterVisitor<'v> = dyn FnMut(u64, &[u8]) -> Result<bool> + 'v;

/// Entries of a scan, one after the other.
pub trait EntryScan {
    /// Moves to the next entry; false at the end.
    fn advance(&mut self) -> Result<bool>;

    /// Returns the entry to which the scan was advanced: stored key and value.
    fn entry(&self) -> Option<Entry<'_>>;

    /// Returns the number of places in the state that were looked up.
    fn seeks(&self) -> usize;
}

impl EpochReads for Snapshot<'_> {
    fn committed(&self) -> &Committed {
        Snapshot::committed(self)
    }

    fn state_id(&self) -> &str {
        Snapshot::state_id(self)
    }

    fn catalogue(&self) -> Result<Catalogue> {
        Ok(Reads::catalogue(self)?.unwrap_or_default())
    }

    fn estimated_bytes(&self, table_id: u32, bounds: &Arc<Bounds>) -> Result<u64> {
        let (mut ranges, mut share) = (Vec::new(), 1);
        match bounds.as_ref() {
            Bounds::All => return Ok(Reads::estimated_bytes(self, table_id)?),
            // Their number alone tells what they cost.
            Bounds::Points(_) => {}
            // Keys lie in their groups by a hash, so some groups tell of all.
            Bounds::Range { from, to } => {
                share = KEY_GROUPS / SAMPLED_GROUPS;
                for group in (0..KEY_GROUPS as u16).step_by(share) {
                    let head = group.to_be_bytes();
                    ranges.push(([&head[..], from].concat(), [&head[..], to].concat()));
                }
            }
            Bounds::Ranges(keys) => {
                ranges.extend(keys.iter().map(|KeyRange { from, to }| (from.clone(), to.clone())))
            }
        }
        Ok(Reads::estimated_bytes_within(self, table_id, &ranges)?.saturating_mul(share as u64))
    }

    fn open_scan(&self, table_id: u32, bounds: &Arc<Bounds>) -> Result<Box<dyn EntryScan + '_>> {
        Ok(Box::new(BoundedScan::open(self, table_id, bounds)?))
    }

    fn history(&self) -> Result<Vec<EpochEntry>> {
        Ok(self.epoch_entries()?)
    }

    fn erasures(&self) -> Result<Vec<Erasure>> {
        Ok(Reads::erasures(self)?)
    }

    fn published_until(&self, target: u16) -> Result<u64> {
        Ok(Reads::published_until(self, target, self.epoch())?)
    }

    fn dead_letters(&self, from: u64, visit: &mut DeadLetterVisitor<'_>) -> Result<()> {
        let visited =
            Reads::dead_letters(self, Order::From(from), usize::MAX, |sequence, stored| {
                match visit(sequence, stored) {
                    Ok(true) => Ok(()),
                    Ok(false) => Err(VisitEnd::Enough),
                    Err(error) => Err(VisitEnd::Failed(error)),
                }
            });
        match visited {
            Ok(()) | Err(VisitEnd::Enough) => Ok(()),
            Err(VisitEnd::Failed(error)) => Err(error),
        }
    }

    fn changes_from(
        &self,
        view: u32,
        from: HistoryPlace,
        visit: &mut PieceVisitor<'_>,
    ) -> Result<ChangesRead> {
        visit_changes(self, (view, from), visit)
    }
}

/// Reads pieces of a history at a snapshot.
fn visit_changes(
    snapshot: &Snapshot<'_>,
    (view, from): (u32, HistoryPlace),
    visit: &mut PieceVisitor<'_>,
) -> Result<ChangesRead> {
    let mut scan = match snapshot.history_from(view, from)? {
        HistorySince::Held(scan) => scan,
        HistorySince::Gone(since) => return Ok(ChangesRead::Gone(since)),
    };
    while let Some(entry) = scan.next_entry()? {
        let place = HistoryPlace::of_key(entry.0).context("a piece of a history has no place")?;
        if !visit(entry)? {
            return Ok(ChangesRead::Held { next: place.next() });
        }
    }
    Ok(ChangesRead::Held { next: HistoryPlace::after(snapshot.epoch()) })
}

/// Reason for which a visit of dead letters ends early.
enum VisitEnd {
    /// The visitor has enough.
    Enough,
    /// The visitor or the state failed.
    Failed(Error),
}

impl From<StateError> for VisitEnd {
    fn from(error: StateError) -> VisitEnd {
        VisitEnd::Failed(error.into())
    }
}

/// Entries of a state table within bounds, at a snapshot.
pub struct BoundedScan<'a> {
    reads: &'a Snapshot<'a>,
    table_id: u32,
    bounds: Arc<Bounds>,
    place: Place<'a>,
    seeks: usize,
}

/// Place of a scan.
enum Place<'a> {
    /// Anywhere: every entry is read.
    All(Cursor<'a>),
    /// Before an entry of those that were looked up by their keys.
    Points { values: Vec<Option<Slice<'a>>>, next: usize },
    /// In a key group: the entries of each within a range are read.
    Groups { scan: Cursor<'a>, group: u16, sought: bool },
    /// In a range of keys, of several.
    Ranges { scan: Cursor<'a>, range: usize, sought: bool },
}

/// A scan of a state table, or where it goes on. An open one holds on to memory of the database as it was when it was
/// opened, which is written to files meanwhile and would be freed.
enum Cursor<'a> {
    Open(Scan<'a>),
    /// Behind a key; None at the first.
    Behind(Option<Vec<u8>>),
}

impl<'a> Cursor<'a> {
    /// Returns the scan, opened where it goes on.
    fn open(&mut self, reads: &'a Snapshot<'a>, table_id: u32) -> Result<&mut Scan<'a>> {
        if let Cursor::Behind(key) = self {
            let mut scan = reads.iter(table_id, &[])?;
            if let Some(key) = key {
                // The next greater key.
                key.push(0);
                scan.seek(key);
            }
            *self = Cursor::Open(scan);
        }
        match self {
            Cursor::Open(scan) => Ok(scan),
            Cursor::Behind(_) => Err(anyhow!("a scan is not open")),
        }
    }

    fn suspend(&mut self) {
        if let Cursor::Open(scan) = self {
            *self = Cursor::Behind(scan.reached().map(<[u8]>::to_vec));
        }
    }

    fn entry(&self) -> Option<Entry<'_>> {
        match self {
            Cursor::Open(scan) => scan.entry(),
            Cursor::Behind(_) => None,
        }
    }
}

impl<'a> BoundedScan<'a> {
    /// Starts a scan.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn open(reads: &'a Snapshot<'a>, table_id: u32, bounds: &Arc<Bounds>) -> Result<BoundedScan<'a>> {
        let first = Cursor::Behind(None);
        let (place, seeks) = match bounds.as_ref() {
            Bounds::All => (Place::All(first), 1),
            Bounds::Points(keys) => {
                let values = reads.multi_get(table_id, keys.iter().map(Vec::as_slice))?;
                (Place::Points { values, next: 0 }, keys.len())
            }
            Bounds::Range { .. } => (Place::Groups { scan: first, group: 0, sought: false }, 0),
            Bounds::Ranges(_) => (Place::Ranges { scan: first, range: 0, sought: false }, 0),
        };
        Ok(BoundedScan { reads, table_id, bounds: bounds.clone(), place, seeks })
    }

    /// Lets go of the memory of the database that an open scan holds on to. The next entry opens it again behind the
    /// last one, at the same snapshot; the current one is gone.
    pub fn suspend(&mut self) {
        match &mut self.place {
            Place::All(scan) | Place::Groups { scan, .. } | Place::Ranges { scan, .. } => scan.suspend(),
            Place::Points { .. } => {}
        }
    }
}

impl EntryScan for BoundedScan<'_> {
    fn advance(&mut self) -> Result<bool> {
        match (&mut self.place, self.bounds.as_ref()) {
            (Place::All(scan), _) => Ok(scan.open(self.reads, self.table_id)?.advance()?),
            (Place::Points { values, next }, _) => {
                let found = values.iter().skip(*next).position(Option::is_some);
                *next = found.map_or(values.len() + 1, |skipped| *next + skipped + 1);
                Ok(found.is_some())
            }
            (Place::Groups { scan, group, sought }, Bounds::Range { from, to }) => {
                let scan = scan.open(self.reads, self.table_id)?;
                while usize::from(*group) < KEY_GROUPS {
                    if !*sought {
                        scan.seek(&[&group.to_be_bytes()[..], from].concat());
                        self.seeks += 1;
                        *sought = true;
                    }
                    if !scan.advance()? {
                        *group = KEY_GROUPS as u16;
                        break;
                    }
                    let Some((key, _)) = scan.entry() else { break };
                    let next = match stored_group(key) {
                        Some(found) if found > *group => found,
                        _ if without_group(key) >= &to[..] => *group + 1,
                        _ => return Ok(true),
                    };
                    (*group, *sought) = (next, false);
                }
                Ok(false)
            }
            (Place::Ranges { scan, range, sought }, Bounds::Ranges(ranges)) => {
                let scan = scan.open(self.reads, self.table_id)?;
                while let Some(KeyRange { from, to }) = ranges.get(*range) {
                    if !*sought {
                        scan.seek(from);
                        self.seeks += 1;
                        *sought = true;
                    }
                    if scan.advance()? && scan.entry().is_some_and(|(key, _)| key < &to[..]) {
                        return Ok(true);
                    }
                    (*range, *sought) = (*range + 1, false);
                }
                Ok(false)
            }
            (Place::Groups { .. } | Place::Ranges { .. }, _) => Ok(false),
        }
    }

    fn entry(&self) -> Option<Entry<'_>> {
        match (&self.place, self.bounds.as_ref()) {
            (Place::All(scan) | Place::Groups { scan, .. } | Place::Ranges { scan, .. }, _) => scan.entry(),
            (Place::Points { values, next }, Bounds::Points(keys)) => {
                let at = next.checked_sub(1)?;
                Some((keys.get(at)?, values.get(at)?.as_deref()?))
            }
            (Place::Points { .. }, _) => None,
        }
    }

    fn seeks(&self) -> usize {
        self.seeks
    }
}
