//! The one write of an epoch: everything it changed, in one synced batch.
//!
//! What comes from many workers is gathered by space and sorted by key once, so that RocksDB inserts in
//! order; keys go through one reused buffer. All that can be refused is refused before the batch is handed
//! over. Any failure, refusals included, poisons the store: the epochs in flight behind a failed one build on
//! it and must not be committed without it.

pub(crate) mod draft;

use std::time::{Duration, Instant};

use fail::fail_point;
use rocksdb::perf::{PerfContext, PerfMetric, PerfStatsLevel, set_perf_stats};
use rocksdb::{WriteBatch, WriteOptions};
use schemas::{Blobs, Rows};

use crate::dead_letter::DeadLetterTotals;
use crate::error::StateError;
use crate::outbox;
use crate::progress::{Committed, Progress};
use crate::space;
use crate::store::Store;
use crate::store::bounded::{BOUNDED, BoundedTotals};
use draft::Draft;

/// What an epoch changed.
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
    /// How far sources and views are, whole.
    pub progress: Progress,
    /// Serialised output, by cluster and part.
    pub outbox: Vec<OutboxChunk>,
    /// Serialised dead letters, in order.
    pub dead_letters: Vec<Vec<u8>>,
    /// The totals of the error table, where its changes are among `counts` as [`Store::bound`] gave them.
    pub bounded: Option<BoundedTotals>,
}

/// New totals of keys of one space. A key given twice keeps what was given last.
#[derive(Clone, Debug, Default)]
pub struct Writes {
    /// The space.
    pub space: u32,
    /// Its keys.
    pub keys: Rows,
    /// The new value of each key; None deletes it.
    pub values: Blobs,
}

/// Changes of the multiplicities of rows of one space. The commit adds them to what is held.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// The space.
    pub space: u32,
    /// Packed rows.
    pub rows: Rows,
    /// How many copies of each row come (or go).
    pub diffs: Vec<i64>,
}

/// A chunk of serialised output for one cluster.
#[derive(Clone, Debug, Default)]
pub struct OutboxChunk {
    /// The cluster, numbered by the caller.
    pub cluster: u16,
    /// Its place in the epoch's output.
    pub part: u32,
    /// The serialised records.
    pub bytes: Vec<u8>,
}

/// What a commit did and how long its phases took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommitStats {
    /// The epoch.
    pub epoch: u64,
    /// Keys put or deleted.
    pub keys: usize,
    /// Bytes of the batch.
    pub bytes: usize,
    /// Checking, sorting and laying out the batch.
    pub prepare: Duration,
    /// Looking up held multiplicities.
    pub read: Duration,
    /// Inserting into memtables.
    pub write: Duration,
    /// Writing and syncing the log, with any stall.
    pub sync: Duration,
}

impl Store {
    /// Commits an epoch: when this returns `Ok`, all of it survives any crash. On `Err` none of it does,
    /// unless the failure was the disk's, and this store accepts no further write.
    pub fn commit(&self, commit: Commit) -> Result<CommitStats, StateError> {
        fail_point!("store.commit.before");
        let mut dead = self.writer();
        self.refuse_poisoned()?;
        self.try_commit(commit, &mut dead).inspect_err(|error| self.poison(error))
    }

    fn try_commit(&self, commit: Commit, dead: &mut DeadLetterTotals) -> Result<CommitStats, StateError> {
        let begun = Instant::now();
        self.check(&commit)?;
        let spaces = self.spaces();
        let mut draft = Draft::new(self, &spaces, &commit);
        let (puts, diffs) = (draft.gather_writes(&commit.writes)?, draft.gather_counts(&commit.counts)?);
        if let Some(space) = diffs.keys().find(|space| puts.contains_key(space)) {
            return Err(draft.malformed(format!("space {space} gets both totals and changes")));
        }
        draft.add_counts(diffs)?;
        draft.put_all(puts)?;
        draft.put_stamps()?;
        let family = space::family(&self.db, space::OUTBOX)?;
        outbox::put(&mut draft.batch, family, (commit.epoch, commit.commit_ms), &commit.outbox);
        if let Some(totals) = &commit.bounded {
            self.put_meta_json(&mut draft.batch, BOUNDED, totals)?;
        }
        let totals = self.add_dead_letters(&mut draft.batch, dead, &commit.dead_letters)?;
        let committed =
            Committed { epoch: commit.epoch, commit_ms: commit.commit_ms, progress: commit.progress };
        self.put_meta_json(&mut draft.batch, "committed", &committed)?;

        let Draft { batch, read, .. } = draft;
        let mut stats = CommitStats {
            epoch: commit.epoch,
            keys: batch.len(),
            bytes: batch.size_in_bytes(),
            read,
            ..CommitStats::default()
        };
        stats.prepare = begun.elapsed().saturating_sub(read);
        // Counted before it is written: a publisher may see and publish it the moment it is there.
        self.outbox_grew(commit.epoch, &commit.outbox);
        fail_point!("store.write.before");
        (stats.write, stats.sync) = self.write_synced(batch)?;
        fail_point!("store.write.after");
        *dead = totals;
        self.set_committed(committed);
        Ok(stats)
    }

    /// Everything about a commit that can be judged without looking at its rows.
    fn check(&self, commit: &Commit) -> Result<(), StateError> {
        let held = self.meta();
        if commit.epoch <= held.epoch {
            return Err(StateError::Epoch { committed: held.epoch, offered: commit.epoch });
        }
        commit.progress.check_conservation()?;
        commit.progress.check_follows(&held.progress)?;
        let malformed = |what: String| Err(StateError::Malformed { epoch: commit.epoch, what });
        for writes in &commit.writes {
            if writes.keys.len() != writes.values.len() {
                let (keys, values) = (writes.keys.len(), writes.values.len());
                return malformed(format!("space {} has {keys} keys and {values} values", writes.space));
            }
        }
        for counts in &commit.counts {
            if counts.rows.len() != counts.diffs.len() {
                let (rows, diffs) = (counts.rows.len(), counts.diffs.len());
                return malformed(format!("space {} has {rows} rows and {diffs} diffs", counts.space));
            }
        }
        let mut parts: Vec<_> = commit.outbox.iter().map(|chunk| (chunk.cluster, chunk.part)).collect();
        parts.sort_unstable();
        if let Some(twice) = parts.windows(2).find(|pair| pair[0] == pair[1]) {
            return malformed(format!("part {} of cluster {} is given twice", twice[0].1, twice[0].0));
        }
        Ok(())
    }

    /// Writes a batch; the time in memtables, and all the rest of it: writing and syncing the log.
    pub(crate) fn write_synced(&self, batch: WriteBatch) -> Result<(Duration, Duration), StateError> {
        let mut options = WriteOptions::default();
        options.set_sync(true);
        let mut context = PerfContext::default();
        context.reset();
        // The binding's names are one level behind RocksDB's: this one measures waits, of which the insertion
        // into memtables is one, and leaves every single lookup alone.
        set_perf_stats(PerfStatsLevel::EnableTimeExceptForMutex);
        let begun = Instant::now();
        let written = self.db.write_opt(batch, &options);
        let all = begun.elapsed();
        let memtables = Duration::from_nanos(context.metric(PerfMetric::WriteMemtableTime)).min(all);
        set_perf_stats(PerfStatsLevel::Disable);
        written.map_err(|source| StateError::database(&self.dir, source))?;
        Ok((memtables, all - memtables))
    }
}
