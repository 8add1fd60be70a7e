//! The commit of an epoch: all its changes in one synced batch.
//!
//! The changes of all workers are gathered by state table and sorted by key once, so that RocksDB inserts in
//! order; keys go through one reused buffer. Every check runs before the batch is handed to RocksDB. Any
//! failure, refusals included, poisons the store: the epochs in flight behind a failed one build on it and
//! must not be committed without it.

pub(crate) mod draft;
pub(crate) mod epochs;

use std::collections::BTreeMap;

use fail::fail_point;
use rocksdb::{WriteBatch, WriteOptions};
use schemas::{Blobs, Rows};

use crate::dead_letter::DeadLetterTotals;
use crate::error::StateError;
use crate::progress::{Committed, Progress};
use crate::store::Store;
use crate::store::bounded::{BOUNDED_KEY, BoundedTotals};
use crate::store::edition::Edited;
use crate::store::erasures::Erasure;
use crate::store::history::{EpochChanges, ViewChanges};
use crate::{outbox, table};
use draft::Draft;
use epochs::{EpochEntry, Measured};

/// The changes of one epoch.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    /// The epoch; above the committed one.
    pub epoch: u64,
    /// The time of the commit, in milliseconds since 1970.
    pub commit_ms: i64,
    /// New totals of keys.
    pub writes: Vec<Writes>,
    /// Changes of row multiplicities.
    pub counts: Vec<Counts>,
    /// Changes of views for their histories, where those are kept ([`Store::keep_histories`]).
    pub changes: Vec<ViewChanges>,
    /// The progress of all sources and views; it replaces the held one.
    pub progress: Progress,
    /// Serialised output, by cluster and part.
    pub outbox: Vec<OutboxChunk>,
    /// Serialised dead letters, in order.
    pub dead_letters: Vec<Vec<u8>>,
    /// The new totals of the error table, if its changes are among `counts` as [`Store::bound_counts`]
    /// returned them.
    pub bounded: Option<BoundedTotals>,
    /// Measurements for the history of epochs; None leaves the epoch out of it.
    pub measured: Option<Measured>,
    /// The catalogue of an edited topology, which replaces the held one with this epoch.
    pub edited: Option<Edited>,
    /// Receipts of the persons erased in this epoch.
    pub erasures: Vec<Erasure>,
    /// The paths by which each table is filtered from this epoch on, where they are others than before.
    pub erase_paths: Option<BTreeMap<String, String>>,
    /// Dead letters that are replaced by others without an erased person's bytes, by their sequence numbers.
    pub replaced_dead_letters: BTreeMap<u64, Vec<u8>>,
}

/// New totals of keys of one state table. Of a key given twice the last value counts.
#[derive(Clone, Debug, Default)]
pub struct Writes {
    /// The id of the state table.
    pub table_id: u32,
    /// Its keys.
    pub keys: Rows,
    /// The new value of each key; None deletes it.
    pub values: Blobs,
}

/// Changes of row multiplicities of one state table. The commit adds them to the held multiplicities.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// The id of the state table.
    pub table_id: u32,
    /// Packed rows.
    pub rows: Rows,
    /// The number of copies of each row added, or removed if negative.
    pub diffs: Vec<i64>,
}

/// A chunk of serialised output for one cluster.
#[derive(Clone, Debug, Default)]
pub struct OutboxChunk {
    /// The cluster, numbered by the caller.
    pub cluster: u16,
    /// Its position in the epoch's output.
    pub part: u32,
    /// The serialised records.
    pub bytes: Vec<u8>,
}

impl Store {
    /// Commits an epoch, and returns its output for publishing. After `Ok` the whole epoch survives any
    /// crash. After `Err` none of it does, except possibly when the disk failed, and this store accepts no
    /// further write.
    pub fn commit(&self, commit: Commit) -> Result<Vec<OutboxChunk>, StateError> {
        fail_point!("store.commit.before");
        let mut dead = self.lock_writer();
        self.refuse_poisoned()?;
        let histories = commit.edited.as_ref().map(|edited| edited.histories.clone());
        let output = self.try_commit(commit, &mut dead).inspect_err(|error| self.poison(error))?;
        drop(dead);
        // The histories of new views begin behind the epoch that filled them.
        if let Some(histories) = histories {
            self.keep_histories(&histories)?;
        }
        Ok(output)
    }

    fn try_commit(
        &self,
        commit: Commit,
        dead: &mut DeadLetterTotals,
    ) -> Result<Vec<OutboxChunk>, StateError> {
        self.check_commit(&commit)?;
        let mut draft = Draft::new(self, &commit);
        // Deletions come first, as a batch is applied in order.
        if let Some(edited) = &commit.edited {
            self.put_edition(&mut draft.batch, edited)?;
        }
        let (puts, diffs) = (draft.gather_writes(&commit.writes)?, draft.gather_counts(&commit.counts)?);
        if let Some(table_id) = diffs.keys().find(|table_id| puts.contains_key(table_id)) {
            return Err(draft.malformed_error(format!("space {table_id} gets both totals and changes")));
        }
        draft.add_counts(diffs)?;
        draft.put_all(puts)?;
        draft.put_stamps()?;
        let family = table::family(&self.db, table::OUTBOX)?;
        outbox::put_chunks(&mut draft.batch, family, (commit.epoch, commit.commit_ms), &commit.outbox);
        if let Some(totals) = &commit.bounded {
            self.put_meta_json(&mut draft.batch, BOUNDED_KEY, totals)?;
        }
        let mut held = dead.clone();
        self.replace_dead_letters(&mut draft.batch, &mut held, &commit.replaced_dead_letters)?;
        let totals = self.add_dead_letters(&mut draft.batch, &held, &commit.dead_letters)?;
        self.put_erasures(&mut draft.batch, &commit.erasures)?;
        if let Some(paths) = &commit.erase_paths {
            self.put_erase_paths(&mut draft.batch, paths)?;
        }
        let (epoch, commit_ms) = (commit.epoch, commit.commit_ms);
        let changes = EpochChanges { epoch, commit_ms, changes: commit.changes };
        let histories = self.add_histories(&mut draft.batch, changes)?;
        if let Some(measured) = commit.measured {
            let entry = EpochEntry { epoch: commit.epoch, commit_ms: commit.commit_ms, measured };
            self.put_epoch_entry(&mut draft.batch, &entry)?;
        }
        let committed =
            Committed { epoch: commit.epoch, commit_ms: commit.commit_ms, progress: commit.progress };
        self.put_meta_json(&mut draft.batch, "committed", &committed)?;

        let batch = draft.batch;
        // Counted before the write: the publisher may read and publish the output as soon as it is written.
        self.outbox_grew(commit.epoch, &commit.outbox);
        fail_point!("store.write.before");
        self.write_synced(batch)?;
        fail_point!("store.write.after");
        *dead = totals;
        if let Some(histories) = histories {
            *self.lock_histories() = histories;
        }
        self.set_committed(committed);
        self.note_unfinished(&commit.erasures);
        if let Some(edited) = &commit.edited {
            self.set_table_kinds(edited.catalogue.table_kinds());
        }
        Ok(commit.outbox)
    }

    /// Checks all parts of a commit that can be validated without reading held rows.
    fn check_commit(&self, commit: &Commit) -> Result<(), StateError> {
        let held = self.committed();
        if commit.epoch <= held.epoch {
            return Err(StateError::Epoch { committed: held.epoch, offered: commit.epoch });
        }
        commit.progress.check_conservation()?;
        // A source of an edited topology may begin anew under a name that another one had.
        if commit.edited.is_none() {
            commit.progress.check_follows(&held.progress)?;
        }
        for writes in &commit.writes {
            if writes.keys.len() != writes.values.len() {
                let (keys, values) = (writes.keys.len(), writes.values.len());
                let what = format!("space {} has {keys} keys and {values} values", writes.table_id);
                return refuse_malformed(commit, what);
            }
        }
        for counts in &commit.counts {
            if counts.rows.len() != counts.diffs.len() {
                let (rows, diffs) = (counts.rows.len(), counts.diffs.len());
                let what = format!("space {} has {rows} rows and {diffs} diffs", counts.table_id);
                return refuse_malformed(commit, what);
            }
        }
        let mut parts: Vec<_> = commit.outbox.iter().map(|chunk| (chunk.cluster, chunk.part)).collect();
        parts.sort_unstable();
        if let Some(twice) = parts.windows(2).find(|pair| pair[0] == pair[1]) {
            let what = format!("part {} of cluster {} is given twice", twice[0].1, twice[0].0);
            return refuse_malformed(commit, what);
        }
        Ok(())
    }

    /// Writes a batch and syncs the log.
    pub(crate) fn write_synced(&self, batch: WriteBatch) -> Result<(), StateError> {
        let mut options = WriteOptions::default();
        options.set_sync(true);
        self.db.write_opt(batch, &options).map_err(StateError::database_in(&self.dir))
    }
}

fn refuse_malformed(commit: &Commit, what: String) -> Result<(), StateError> {
    Err(StateError::Malformed { epoch: commit.epoch, what })
}
