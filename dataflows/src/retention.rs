//! Rows of views that are served no longer (DESIGN.md 1.1): who reads a view passes over them from the
//! epoch on that ends them, and a slow sweep deletes them. They are final, so no epoch in flight
//! changes one, and which of them are deleted already shows nowhere, unless the retention is
//! lengthened: that brings back what is left. Topics keep what was sent.

use schemas::{Blobs, RowCodec, Rows};
use state::{CatalogueEntry, Counts, Progress, Store, Writes, count_of};

use crate::error::RunError;
use crate::render::event_time::watermark::time_in;

/// Rows of a view looked at in one epoch at least, and how many for each that the epoch writes.
const ROWS: usize = 1024;
const EACH: usize = 2;

/// Which rows of a view are served.
pub struct Served {
    codec: RowCodec,
    column: usize,
    horizon: i64,
}

impl Served {
    /// As of `progress`; None where all are.
    ///
    /// # Errors
    /// When the catalogue does not say which columns the view has.
    pub fn of(entry: &CatalogueEntry, progress: &Progress) -> Result<Option<Served>, RunError> {
        let Some(retention) = &entry.retention else { return Ok(None) };
        let Some(horizon) = retention.horizon(progress) else { return Ok(None) };
        let broken = || RunError::Broken(format!("the state does not say which columns {} has", entry.name));
        let schema =
            schemas::schema_from_json(entry.schema.as_ref().ok_or_else(broken)?).map_err(|_| broken())?;
        Ok(Some(Served { codec: RowCodec::of(&schema)?, column: retention.column, horizon }))
    }

    /// Whether a packed row is.
    ///
    /// # Errors
    /// When the bytes are no row of the view.
    pub fn row(&self, row: &[u8]) -> Result<bool, RunError> {
        Ok(time_in(&self.codec, row, self.column)?.is_none_or(|time| time >= self.horizon))
    }
}

/// Deletes rows that are served no longer, some in each epoch.
pub struct Sweep {
    views: Vec<View>,
}

struct View {
    entry: CatalogueEntry,
    /// The key to go on from.
    next: Vec<u8>,
    /// The horizon of the pass under way, and that of the last one.
    passing: Option<i64>,
    passed: Option<i64>,
}

impl Sweep {
    /// Over these views.
    pub fn new<'a>(entries: impl Iterator<Item = &'a CatalogueEntry>) -> Sweep {
        let view = |entry: &CatalogueEntry| View {
            entry: entry.clone(),
            next: Vec::new(),
            passing: None,
            passed: None,
        };
        Sweep { views: entries.map(view).collect() }
    }

    /// What to delete with the next commit of `written` changes, `progress` being that of the last one: entries of views with a
    /// key, and rows of the others with all their copies.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn next(
        &mut self,
        store: &Store,
        progress: &Progress,
        written: usize,
    ) -> Result<(Vec<Writes>, Vec<Counts>), RunError> {
        let (mut writes, mut counts) = (Vec::new(), Vec::new());
        for view in &mut self.views {
            let Some(served) = Served::of(&view.entry, progress)? else { continue };
            if view.passing.is_none() && view.passed >= Some(served.horizon) {
                continue;
            }
            let horizon = *view.passing.get_or_insert(served.horizon);
            let served = Served { horizon, ..served };
            let (mut keys, mut copies) = (Rows::new(), Vec::new());
            let mut scan = store.iter_from(view.entry.id, &view.next)?;
            for _ in 0..ROWS.max(written.saturating_mul(EACH)) {
                let Some((key, value)) = scan.next_entry()? else {
                    (view.passed, view.passing) = (view.passing.take(), None);
                    view.next.clear();
                    break;
                };
                // An entry is a key and its row, or a row and how often it is there.
                let row = if view.entry.key.is_some() { value } else { key.get(1..).unwrap_or_default() };
                if !served.row(row)? {
                    keys.push(key);
                    copies.push(count_of(value).unwrap_or(0));
                }
                view.next.clear();
                view.next.extend_from_slice(key);
                view.next.push(0);
            }
            let space = view.entry.id;
            if copies.is_empty() {
            } else if view.entry.key.is_some() {
                let mut values = Blobs::new();
                copies.iter().for_each(|_| values.push(None));
                writes.push(Writes { space, keys, values });
            } else {
                let diffs = copies.into_iter().map(|copies| -copies).collect();
                counts.push(Counts { space, rows: keys, diffs });
            }
        }
        Ok((writes, counts))
    }
}
