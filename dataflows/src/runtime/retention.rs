//! Retention of views (DESIGN.md 1.1): readers skip rows past it from the epoch on that ends them, and a slow
//! sweep deletes them.
//!
//! Such rows are final, so no epoch in flight changes one, and nothing shows which of them are deleted
//! already, unless the retention is lengthened: then the rows not deleted yet are served again. Topics keep
//! all records that were sent.

use schemas::{Blobs, RowCodec, Rows, without_group};
use state::{
    CatalogueEntry, Counts, IndexLayout, Progress, RowChanges, Store, ViewChanges, Writes, count_of,
};

use super::state_tables::StateTables;
use crate::error::RunError;
use crate::render::event_time::watermark::time_in;

/// Rows of a view that the sweep reads in one epoch at least.
const MIN_ROWS_PER_EPOCH: usize = 1024;
/// Rows of a view that the sweep reads for each row that the epoch writes.
const ROWS_PER_WRITE: usize = 2;

/// Predicate on the rows of a view: true for those within the retention.
pub struct Served {
    codec: RowCodec,
    column: usize,
    horizon: i64,
}

impl Served {
    /// The predicate as of `progress`; None where all rows are served.
    ///
    /// # Errors
    /// When the catalogue does not say which columns the view has.
    pub fn of(entry: &CatalogueEntry, progress: &Progress) -> Result<Option<Served>, RunError> {
        let Some(retention) = &entry.retention else { return Ok(None) };
        let Some(horizon) = retention.horizon(progress) else { return Ok(None) };
        let Some(Ok(schema)) = entry.schema.as_ref().map(schemas::schema_from_json) else {
            let message = format!("the state does not say which columns {} has", entry.name);
            return Err(RunError::Broken(message));
        };
        Ok(Some(Served { codec: RowCodec::of(&schema)?, column: retention.column, horizon }))
    }

    /// Returns true if a packed row is served.
    ///
    /// # Errors
    /// When the bytes are no row of the view.
    pub fn is_served(&self, row: &[u8]) -> Result<bool, RunError> {
        Ok(time_in(&self.codec, row, self.column)?.is_none_or(|time| time >= self.horizon))
    }
}

/// Deletion of rows past their retention, some in each epoch.
pub struct Sweep {
    views: Vec<RetainedView>,
}

/// Deletions of rows past their retention, for a commit.
#[derive(Debug, Default)]
pub struct Expired {
    /// Those of keys.
    pub writes: Vec<Writes>,
    /// Those of all copies of rows.
    pub counts: Vec<Counts>,
    /// The rows that go, for the histories of their views.
    pub changes: Vec<ViewChanges>,
}

/// A view with retention and the position of its sweep.
struct RetainedView {
    entry: CatalogueEntry,
    indexes: Vec<IndexLayout>,
    /// Most bytes of an epoch's changes; None where no changes are kept.
    history: Option<u64>,
    /// The key the next step goes on from.
    next: Vec<u8>,
    /// The horizon of the pass under way.
    passing: Option<i64>,
    /// The horizon of the last complete pass.
    passed: Option<i64>,
}

impl Sweep {
    /// Makes a sweep over the views with a retention.
    ///
    /// # Errors
    /// When the catalogue contradicts itself.
    pub fn new(state_tables: &StateTables) -> Result<Sweep, RunError> {
        let mut views = Vec::new();
        for entry in state_tables.retained() {
            let (entry, indexes) = (entry.clone(), state_tables.indexes_of(entry.id)?);
            let history = state_tables.histories.get(&entry.id).map(|limits| limits.bytes);
            let (next, passing, passed) = (Vec::new(), None, None);
            views.push(RetainedView { entry, indexes, history, next, passing, passed });
        }
        Ok(Sweep { views })
    }

    /// The deletions to make with the next commit, which writes `written` changes: entries of views with a
    /// key, and rows of the others with all their copies; each with its entries in indexes. `progress` is that of
    /// the last commit.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn expired_rows(
        &mut self,
        store: &Store,
        progress: &Progress,
        written: usize,
    ) -> Result<Expired, RunError> {
        let (mut expired, mut entry) = (Expired::default(), Vec::new());
        for view in &mut self.views {
            let Some(served) = Served::of(&view.entry, progress)? else { continue };
            // A complete pass at this horizon left nothing to delete.
            if view.passing.is_none() && view.passed >= Some(served.horizon) {
                continue;
            }
            // A pass keeps the horizon it began with, so that it ends.
            let horizon = *view.passing.get_or_insert(served.horizon);
            let served = Served { horizon, ..served };
            let mut deleted = vec![Deletions::new(view.entry.id)];
            deleted.extend(view.indexes.iter().map(|index| Deletions::new(index.table_id)));
            let mut changes = RowChanges::default();
            let mut scan = store.iter_from(view.entry.id, &view.next)?;
            for _ in 0..MIN_ROWS_PER_EPOCH.max(written.saturating_mul(ROWS_PER_WRITE)) {
                let Some((key, value)) = scan.next_entry()? else {
                    (view.passed, view.passing) = (view.passing.take(), None);
                    view.next.clear();
                    break;
                };
                // An entry is a key and its row, or a row and its count.
                let row = if view.entry.key.is_some() { value } else { without_group(key) };
                if !served.is_served(row)? {
                    let copies = count_of(value).unwrap_or(0);
                    deleted[0].push(key, copies);
                    if let Some(limit) = view.history {
                        let gone = if view.entry.key.is_some() { 1 } else { copies };
                        changes.push(row, -gone, limit);
                    }
                    for (index, deleted) in view.indexes.iter().zip(&mut deleted[1..]) {
                        index.entry_key(without_group(key), value, &mut entry)?;
                        deleted.push(&entry, copies);
                    }
                }
                view.next.clear();
                view.next.extend_from_slice(key);
                view.next.push(0);
            }
            for deleted in deleted.into_iter().filter(|deleted| !deleted.copies.is_empty()) {
                if view.entry.key.is_some() {
                    expired.writes.push(deleted.into_writes());
                } else {
                    expired.counts.push(deleted.into_counts());
                }
            }
            if !changes.is_empty() {
                expired.changes.push(ViewChanges { view: view.entry.id, changes });
            }
        }
        Ok(expired)
    }
}

/// Entries of a state table to delete.
struct Deletions {
    table_id: u32,
    keys: Rows,
    /// The copies of each, where the table counts them.
    copies: Vec<i64>,
}

impl Deletions {
    fn new(table_id: u32) -> Deletions {
        Deletions { table_id, keys: Rows::new(), copies: Vec::new() }
    }

    fn push(&mut self, key: &[u8], copies: i64) {
        self.keys.push(key);
        self.copies.push(copies);
    }

    /// The deletion of the keys.
    fn into_writes(self) -> Writes {
        let mut values = Blobs::new();
        for _ in &self.copies {
            values.push(None);
        }
        Writes { table_id: self.table_id, keys: self.keys, values }
    }

    /// The removal of all copies.
    fn into_counts(self) -> Counts {
        let diffs = self.copies.into_iter().map(|copies| -copies).collect();
        Counts { table_id: self.table_id, rows: self.keys, diffs }
    }
}
