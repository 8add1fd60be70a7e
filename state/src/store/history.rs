//! The history of views: the changes of their rows by epoch, for those who follow a view.
//!
//! The export of a view has the consolidated changes of an epoch in hand. It encodes them as it writes the
//! view ([`RowChanges`]), and the commit puts them, in pieces of about a mebibyte, into its own batch: no key
//! is looked up and no row is encoded a second time. A piece lies in the family `sink` under the id of the
//! view's state table, the epoch and its number; its value is the time of the commit and the changes.
//!
//! A history is bounded in age and bytes. Each commit deletes the oldest pieces beyond the bounds: of those
//! that are too old some at a time, and as many as it takes while the history has too many bytes. It notes
//! the epoch above which all changes are held. That note also has the epoch of the commit that wrote it: where
//! an epoch was committed without it, by a repair or an earlier release, the history has a gap and is void. So
//! is one with a piece that cannot be read: no commit fails for it.

mod forget;

use std::collections::BTreeMap;
use std::sync::{MutexGuard, PoisonError};

use rocksdb::{ColumnFamily, WriteBatch};
use schemas::memory::{HeapBytes, vector_bytes};
use serde::{Deserialize, Serialize};

use crate::error::StateError;
use crate::store::Store;
use crate::store::read::{Entry, Reads, Scan};

/// The family of histories. Sinks have few entries there, so that the deletions slow down no look-up.
pub(crate) const HISTORY_FAMILY: &str = "sink";
/// The key of the totals in `meta`.
const HISTORIES_KEY: &str = "histories";
/// Bytes of changes after which a piece is full.
const PIECE_BYTES: usize = 1 << 20;
/// Pieces of a view that a commit may delete however few it adds.
const PIECES_PER_COMMIT: usize = 64;
/// Bytes of a view's pieces that a commit may delete, in whatever number of pieces, while they are over the
/// bound.
const BYTES_PER_COMMIT: u64 = 64 << 20;
/// Bytes of a piece's key: table id, epoch and number.
const KEY_BYTES: usize = 16;
/// Bytes in front of a piece's changes: the time of the commit.
const HEAD_BYTES: usize = 8;

/// Bounds on the history of a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryLimits {
    /// Age in milliseconds from which changes may be deleted.
    pub age_ms: i64,
    /// Most bytes of its pieces.
    pub bytes: u64,
}

/// Changes of a view in an epoch.
#[derive(Clone, Debug, Default)]
pub struct ViewChanges {
    /// The id of the view's state table.
    pub view: u32,
    /// The changes.
    pub changes: RowChanges,
}

/// All changes of an epoch that is committed.
pub(crate) struct EpochChanges {
    /// The epoch.
    pub epoch: u64,
    /// The time of the commit, in milliseconds since 1970.
    pub commit_ms: i64,
    /// The changes, of all views and workers.
    pub changes: Vec<ViewChanges>,
}

/// Encoded changes of rows, in pieces.
#[derive(Clone, Debug, Default)]
pub struct RowChanges {
    /// Each as it is stored; the commit puts its time into the bytes in front.
    pieces: Vec<Vec<u8>>,
    /// Bytes of the changes alone.
    bytes: u64,
    /// Set when they were more than a history may hold, and were given up.
    overflowed: bool,
}

impl RowChanges {
    /// Adds the change of a row. Changes of more than `limit` bytes are given up: no history could hold them.
    pub fn push(&mut self, row: &[u8], diff: i64, limit: u64) {
        if self.overflowed {
            return;
        }
        if self.pieces.last().is_none_or(|piece| piece.len() >= PIECE_BYTES) {
            self.pieces.push(vec![0; HEAD_BYTES]);
        }
        let Some(piece) = self.pieces.last_mut() else { return };
        let before = piece.len();
        // Zigzag: small numbers of either sign are one byte.
        put_number(piece, ((diff << 1) ^ (diff >> 63)) as u64);
        put_number(piece, row.len() as u64);
        piece.extend_from_slice(row);
        self.bytes += (piece.len() - before) as u64;
        if self.bytes > limit {
            *self = RowChanges { overflowed: true, ..RowChanges::default() };
        }
    }

    /// Returns the bytes of the changes.
    pub fn bytes_len(&self) -> usize {
        self.bytes as usize
    }

    /// Returns true without changes.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty() && !self.overflowed
    }

    /// Sets the time of the commit.
    fn set_time(&mut self, commit_ms: i64) {
        for piece in &mut self.pieces {
            if let Some(head) = piece.first_chunk_mut::<HEAD_BYTES>() {
                *head = commit_ms.to_be_bytes();
            }
        }
    }
}

impl HeapBytes for RowChanges {
    fn heap_bytes(&self) -> usize {
        self.pieces.iter().map(vector_bytes).sum()
    }
}

/// The change of a row in an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowChange<'a> {
    /// The number of copies that came, or that went if negative.
    pub diff: i64,
    /// The packed row.
    pub row: &'a [u8],
}

/// The place of a piece in a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct HistoryPlace {
    /// The epoch.
    pub epoch: u64,
    /// The number of the piece within the epoch.
    pub part: u32,
}

impl HistoryPlace {
    /// Returns the first place after an epoch.
    pub fn after(epoch: u64) -> HistoryPlace {
        HistoryPlace { epoch: epoch.saturating_add(1), part: 0 }
    }

    /// Returns the place behind this one.
    pub fn next(self) -> HistoryPlace {
        HistoryPlace { part: self.part.saturating_add(1), ..self }
    }

    /// Reads the key of a piece without its table id; None for other bytes.
    pub fn of_key(key: &[u8]) -> Option<HistoryPlace> {
        let (epoch, part) = key.split_first_chunk()?;
        let part = part.try_into().ok()?;
        Some(HistoryPlace { epoch: u64::from_be_bytes(*epoch), part: u32::from_be_bytes(part) })
    }

    fn key(self) -> [u8; 12] {
        let mut key = [0; 12];
        key[..8].copy_from_slice(&self.epoch.to_be_bytes());
        key[8..].copy_from_slice(&self.part.to_be_bytes());
        key
    }
}

/// A piece of a history: changes of one epoch, all of them or some.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryPiece<'a> {
    /// Its place.
    pub place: HistoryPlace,
    /// The time of the epoch's commit, in milliseconds since 1970.
    pub commit_ms: i64,
    /// The changes, consolidated: no row is in an epoch twice.
    pub changes: Vec<RowChange<'a>>,
}

impl<'a> HistoryPiece<'a> {
    /// Decodes a stored piece, whose key is without the table id; None for other bytes.
    pub fn decode((key, value): Entry<'a>) -> Option<HistoryPiece<'a>> {
        let place = HistoryPlace::of_key(key)?;
        let (commit_ms, mut rest) = split_time(value)?;
        let mut changes = Vec::new();
        while !rest.is_empty() {
            let (diff, after) = take_number(rest)?;
            let (length, after) = take_number(after)?;
            let (row, after) = after.split_at_checked(usize::try_from(length).ok()?)?;
            changes.push(RowChange { diff: (diff >> 1) as i64 ^ -((diff & 1) as i64), row });
            rest = after;
        }
        Some(HistoryPiece { place, commit_ms, changes })
    }
}

/// Splits the time of the commit off a piece.
fn split_time(value: &[u8]) -> Option<(i64, &[u8])> {
    let (time, rest) = value.split_first_chunk()?;
    Some((i64::from_be_bytes(*time), rest))
}

/// Appends a number, seven bits a byte, the lowest first; each byte but the last has its highest bit set.
fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Takes a number from the front of some bytes; None if there is none.
fn take_number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut number = 0_u64;
    for (at, byte) in bytes.iter().enumerate().take(10) {
        number |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((number, &bytes[at + 1..]));
        }
    }
    None
}

/// The totals of all histories, as `meta` has them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Histories {
    /// The epoch of the commit that wrote them.
    epoch: u64,
    /// By the id of the view's state table.
    views: BTreeMap<u32, HistoryTotals>,
}

/// The totals of a history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct HistoryTotals {
    /// The epoch above which all changes are held.
    after: u64,
    /// The least epoch of which pieces may be there.
    first: u64,
    /// Bytes of all pieces with their keys.
    bytes: u64,
}

impl HistoryTotals {
    /// The totals of a history that begins after an epoch.
    fn begin(after: u64) -> HistoryTotals {
        HistoryTotals { after, first: after + 1, bytes: 0 }
    }
}

/// The histories that this process keeps, with their bounds and totals.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeptHistories {
    limits: BTreeMap<u32, HistoryLimits>,
    totals: Histories,
    /// Epoch and time of the oldest piece of each history, where known.
    oldest: BTreeMap<u32, (u64, i64)>,
}

/// Changes of a view from a place on.
pub enum HistorySince<'a> {
    /// They are all held.
    Held(HistoryScan<'a>),
    /// They are not held. Those after this epoch are; None for a view without a history.
    Gone(Option<u64>),
}

/// Scan over the pieces of a history, in the order of their places.
pub struct HistoryScan<'a> {
    scan: Scan<'a>,
    dir: std::path::PathBuf,
}

impl HistoryScan<'_> {
    /// Returns the next piece as it is stored: its key without the table id, and its value. None at the end.
    pub fn next_entry(&mut self) -> Result<Option<Entry<'_>>, StateError> {
        self.scan.next_entry()
    }

    /// Returns the next piece; None at the end.
    pub fn next_piece(&mut self) -> Result<Option<HistoryPiece<'_>>, StateError> {
        let HistoryScan { scan, dir } = self;
        let Some(entry) = scan.next_entry()? else { return Ok(None) };
        let piece = HistoryPiece::decode(entry);
        piece.map(Some).ok_or_else(|| StateError::corrupt(dir, "a piece of a history is not readable"))
    }
}

impl Reads<'_> {
    /// Reads the changes of a view from a place on, at the committed epoch `now`.
    pub(crate) fn read_history(
        &self,
        (view, now): (u32, u64),
        from: HistoryPlace,
    ) -> Result<HistorySince<'_>, StateError> {
        let held: Histories = self.meta_json(HISTORIES_KEY)?.unwrap_or_default();
        let totals = held.views.get(&view).filter(|_| held.epoch == now);
        let Some(totals) = totals else { return Ok(HistorySince::Gone(None)) };
        if from.epoch <= totals.after || from.epoch > now.saturating_add(1) {
            return Ok(HistorySince::Gone(Some(totals.after)));
        }
        let scan = self.scan_table(self.family(HISTORY_FAMILY)?, view, &from.key());
        Ok(HistorySince::Held(HistoryScan { scan, dir: self.dir.clone() }))
    }

    /// Reports pieces that cannot be read or are of an epoch after `now`, the committed one, and totals that
    /// differ from the pieces.
    pub(crate) fn verify_histories(
        &self,
        (names, now): (&BTreeMap<u32, &str>, u64),
        findings: &mut Vec<String>,
    ) -> Result<(), StateError> {
        let held: Histories = self.meta_json(HISTORIES_KEY)?.unwrap_or_default();
        if held.epoch != now {
            // Void: the next start drops them.
            return Ok(());
        }
        for (view, totals) in &held.views {
            let Some(name) = names.get(view) else {
                findings.push(format!("the history {view} is of no view"));
                continue;
            };
            let (mut bytes, mut broken, mut early) = (0, 0_u64, 0_u64);
            let mut scan = self.scan_table(self.family(HISTORY_FAMILY)?, *view, &[]);
            while let Some((key, value)) = scan.next_entry()? {
                bytes += piece_size(value.len());
                match HistoryPiece::decode((key, value)) {
                    None => broken += 1,
                    Some(piece) => early += u64::from(piece.place.epoch > now),
                }
            }
            if broken > 0 {
                findings.push(format!("{broken} pieces of the history of view {name:?} are not readable"));
            }
            if early > 0 {
                findings.push(format!(
                    "{early} pieces of the history of view {name:?} are of epochs after {now}"
                ));
            }
            if bytes != totals.bytes {
                let counted = totals.bytes;
                findings
                    .push(format!("the history of view {name:?} holds {bytes} bytes, and counts {counted}"));
            }
        }
        Ok(())
    }

    /// Reads the ids of the views that have a history, void ones included.
    pub(crate) fn history_ids(&self) -> Result<Vec<u32>, StateError> {
        let held: Histories = self.meta_json(HISTORIES_KEY)?.unwrap_or_default();
        Ok(held.views.into_keys().collect())
    }
}

impl Store {
    /// Sets the views whose changes are kept from the next commit on, by the ids of their state tables, with
    /// the bounds of each. Drops the histories of all others, and those that have a gap.
    ///
    /// # Errors
    /// When the state cannot be read or written.
    pub fn keep_histories(&self, limits: &BTreeMap<u32, HistoryLimits>) -> Result<(), StateError> {
        let _writer = self.lock_writer();
        self.refuse_poisoned()?;
        let committed = self.committed().epoch;
        let held: Option<Histories> = self.meta_json(HISTORIES_KEY)?;
        let before = held.clone().unwrap_or_default();
        let whole = before.epoch == committed;
        let (family, mut batch) = (self.family(HISTORY_FAMILY)?, WriteBatch::new());
        let mut totals = Histories { epoch: committed, views: BTreeMap::new() };
        for (view, found) in &before.views {
            if whole && limits.contains_key(view) {
                totals.views.insert(*view, *found);
            } else {
                batch.delete_range_cf(family, view.to_be_bytes(), view.saturating_add(1).to_be_bytes());
            }
        }
        for view in limits.keys() {
            totals.views.entry(*view).or_insert(HistoryTotals::begin(committed));
        }
        let empty = held.is_none() && totals.views.is_empty();
        if !empty && held.as_ref() != Some(&totals) {
            self.put_meta_json(&mut batch, HISTORIES_KEY, &totals)?;
            self.write_synced(batch).inspect_err(|error| self.poison(error))?;
        }
        *self.lock_histories() = KeptHistories { limits: limits.clone(), totals, oldest: BTreeMap::new() };
        Ok(())
    }

    /// Returns the bytes of each kept history, by the id of the view's state table.
    pub fn history_bytes(&self) -> BTreeMap<u32, u64> {
        let kept = self.lock_histories();
        kept.totals.views.iter().map(|(view, totals)| (*view, totals.bytes)).collect()
    }

    /// Adds the changes of an epoch to its batch, and the deletion of those that are beyond the bounds.
    /// Returns the histories as they are after the commit; None if none is kept.
    pub(crate) fn add_histories(
        &self,
        batch: &mut WriteBatch,
        now: EpochChanges,
    ) -> Result<Option<KeptHistories>, StateError> {
        let KeptHistories { limits, mut totals, mut oldest } = self.lock_histories().clone();
        if limits.is_empty() {
            return Ok(None);
        }
        let mut made: BTreeMap<u32, Vec<RowChanges>> = BTreeMap::new();
        for ViewChanges { view, mut changes } in now.changes {
            changes.set_time(now.commit_ms);
            made.entry(view).or_default().push(changes);
        }
        let family = self.family(HISTORY_FAMILY)?;
        for (view, limits) in &limits {
            let Some(totals) = totals.views.get_mut(view) else { continue };
            let mut history = HistoryDraft {
                store: self,
                family,
                view: *view,
                limits: *limits,
                epoch: now.epoch,
                commit_ms: now.commit_ms,
                totals: *totals,
                oldest: oldest.remove(view),
            };
            let changes = made.remove(view).unwrap_or_default();
            let added = history.put_changes(batch, &changes);
            if history.trim(batch, added)? == Trimmed::Unreadable {
                history.begin_anew(batch);
                history.put_changes(batch, &changes);
            }
            *totals = history.totals;
            oldest.extend(history.oldest.map(|piece| (*view, piece)));
        }
        totals.epoch = now.epoch;
        self.put_meta_json(batch, HISTORIES_KEY, &totals)?;
        Ok(Some(KeptHistories { limits, totals, oldest }))
    }

    pub(crate) fn lock_histories(&self) -> MutexGuard<'_, KeptHistories> {
        self.histories.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The history of one view while an epoch is committed.
struct HistoryDraft<'a> {
    store: &'a Store,
    family: &'a ColumnFamily,
    view: u32,
    limits: HistoryLimits,
    /// The epoch that is committed.
    epoch: u64,
    commit_ms: i64,
    totals: HistoryTotals,
    /// Epoch and time of the oldest piece, if known.
    oldest: Option<(u64, i64)>,
}

/// The pieces of an epoch.
#[derive(Clone, Copy, Debug, Default)]
struct Added {
    pieces: usize,
    bytes: u64,
}

/// Outcome of looking for pieces to delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trimmed {
    /// Those that were due are deleted, or as many as a commit may delete.
    Done,
    /// A piece cannot be read.
    Unreadable,
}

impl HistoryDraft<'_> {
    /// Puts the changes of the epoch, unless they are more than the history may hold: then it begins after
    /// the epoch.
    fn put_changes(&mut self, batch: &mut WriteBatch, changes: &[RowChanges]) -> Added {
        let pieces = changes.iter().flat_map(|made| &made.pieces);
        let bytes: u64 = pieces.clone().map(|piece| piece_size(piece.len())).sum();
        if changes.iter().any(|made| made.overflowed) || bytes > self.limits.bytes {
            self.totals.after = self.epoch;
            return Added::default();
        }
        let mut added = Added { pieces: 0, bytes };
        for (part, piece) in (0..).zip(pieces) {
            let key = self.full_key(HistoryPlace { epoch: self.epoch, part });
            batch.put_cf(self.family, key, piece);
            added.pieces += 1;
        }
        if added.pieces > 0 && self.totals.bytes == 0 {
            self.oldest = Some((self.epoch, self.commit_ms));
        }
        self.totals.bytes += bytes;
        added
    }

    /// Deletes the oldest pieces that are beyond the bounds: at most twice as many as were added or
    /// [`PIECES_PER_COMMIT`], and while there are too many bytes, at most twice those that were added or
    /// [`BYTES_PER_COMMIT`]. So bytes are above the bound only for some commits after it was lowered.
    fn trim(&mut self, batch: &mut WriteBatch, added: Added) -> Result<Trimmed, StateError> {
        if self.totals.bytes == 0 || self.oldest.is_some_and(|(epoch, ms)| !self.is_due(epoch, ms)) {
            return Ok(Trimmed::Done);
        }
        let most = PIECES_PER_COMMIT.max(2 * added.pieces);
        let most_bytes = BYTES_PER_COMMIT.max(added.bytes.saturating_mul(2));
        let (mut pieces, mut bytes, mut rest) = (0, 0, None);
        let first = HistoryPlace { epoch: self.totals.first, part: 0 };
        let mut end = HistoryPlace { epoch: self.epoch, part: 0 };
        // Read from the state: the epoch's own pieces are in the batch alone, and stay.
        let mut scan = self.store.scan_table(self.family, self.view, &first.key());
        loop {
            let Some((key, value)) = scan.next_entry()? else {
                let own = (self.epoch, self.commit_ms);
                self.totals.first = self.epoch;
                self.totals.bytes = added.bytes;
                self.oldest = if added.pieces > 0 { Some(own) } else { None };
                break;
            };
            let place = HistoryPlace::of_key(key).filter(|place| place.epoch < self.epoch);
            let (Some(place), Some((ms, _))) = (place, split_time(value)) else {
                return Ok(Trimmed::Unreadable);
            };
            self.totals.first = place.epoch;
            self.oldest = Some((place.epoch, ms));
            let over = self.totals.bytes > self.limits.bytes && bytes < most_bytes;
            if !self.is_due(place.epoch, ms) || (pieces >= most && !over) {
                end = place;
                break;
            }
            if pieces < most {
                batch.delete_cf(self.family, self.full_key(place));
            } else {
                rest.get_or_insert(place);
            }
            pieces += 1;
            bytes += piece_size(value.len());
            self.totals.bytes = self.totals.bytes.saturating_sub(piece_size(value.len()));
            // From its first piece on the epoch is not held whole.
            self.totals.after = self.totals.after.max(place.epoch);
        }
        // Many at once: reads pass one such mark, and each of a few pieces needs none.
        if let Some(from) = rest {
            batch.delete_range_cf(self.family, self.full_key(from), self.full_key(end));
        }
        Ok(Trimmed::Done)
    }

    /// Deletes all pieces, those of the batch included: the history begins after the epochs that are
    /// committed.
    fn begin_anew(&mut self, batch: &mut WriteBatch) {
        let catalogue = self.store.catalogue().ok().flatten().unwrap_or_default();
        let entry = catalogue.entries.iter().find(|entry| entry.id == self.view);
        tracing::warn!(
            view = entry.map(|entry| entry.name.as_str()),
            epoch = self.epoch,
            "a piece of the view's history is not readable: the history begins anew with this epoch, and \
             subscribers that come back get a snapshot. Stop the topology and let herald state verify look \
             for other damage"
        );
        let (from, to) = (self.view.to_be_bytes(), self.view.saturating_add(1).to_be_bytes());
        batch.delete_range_cf(self.family, from, to);
        self.totals = HistoryTotals::begin(self.store.committed().epoch);
        self.oldest = None;
    }

    /// Returns true if a piece of an epoch, committed at a time, is to be deleted.
    fn is_due(&self, epoch: u64, ms: i64) -> bool {
        let young = ms >= self.commit_ms.saturating_sub(self.limits.age_ms);
        epoch <= self.totals.after || self.totals.bytes > self.limits.bytes || !young
    }

    fn full_key(&self, place: HistoryPlace) -> [u8; KEY_BYTES] {
        let mut key = [0; KEY_BYTES];
        key[..4].copy_from_slice(&self.view.to_be_bytes());
        key[4..].copy_from_slice(&place.key());
        key
    }
}

/// Returns the bytes that a piece is charged, by the length of its value.
fn piece_size(value: usize) -> u64 {
    (KEY_BYTES + value) as u64
}

#[cfg(test)]
mod tests;
