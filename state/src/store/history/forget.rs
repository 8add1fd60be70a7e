//! The end of histories whose changes may name an erased person.

use std::collections::BTreeMap;

use rocksdb::WriteBatch;

use super::{HISTORIES_KEY, HISTORY_FAMILY, HistoryPlace, KeptHistories, piece_size};
use crate::error::StateError;
use crate::store::Store;

impl Store {
    /// Drops the changes of all views up to an epoch: histories begin behind it.
    ///
    /// # Errors
    /// When the state cannot be read or written.
    pub fn forget_histories(&self, through: u64) -> Result<(), StateError> {
        let _writer = self.lock_writer();
        self.refuse_poisoned()?;
        let KeptHistories { limits, mut totals, .. } = self.lock_histories().clone();
        let (family, mut batch) = (self.family(HISTORY_FAMILY)?, WriteBatch::new());
        let behind = HistoryPlace::after(through);
        for (view, totals) in &mut totals.views {
            let end = [&view.to_be_bytes()[..], &behind.key()].concat();
            batch.delete_range_cf(family, &view.to_be_bytes()[..], &end[..]);
            totals.bytes = 0;
            let mut scan = self.scan_table(family, *view, &behind.key());
            while let Some((_, value)) = scan.next_entry()? {
                totals.bytes += piece_size(value.len());
            }
            totals.after = totals.after.max(through);
            totals.first = totals.first.max(through + 1);
        }
        self.put_meta_json(&mut batch, HISTORIES_KEY, &totals)?;
        self.write_synced(batch).inspect_err(|error| self.poison(error))?;
        *self.lock_histories() = KeptHistories { limits, totals, oldest: BTreeMap::new() };
        Ok(())
    }
}
