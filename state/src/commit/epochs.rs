//! The history of epochs: sizes and durations of the last thousand.
//!
//! An epoch whose commit has measurements writes one entry, in its own batch and under its number modulo
//! [`EPOCHS_KEPT`]. The entry replaces that of the epoch a thousand before, so that the history is bounded
//! and no epoch deletes anything. The durations of the commit itself and of publishing are known only
//! afterwards: an entry also has those of earlier epochs that became known since the entry before it.

use rocksdb::WriteBatch;
use serde::{Deserialize, Serialize};

use crate::error::StateError;
use crate::store::Store;
use crate::store::snapshot::Snapshot;
use crate::table;

/// Number of epochs in the history.
pub const EPOCHS_KEPT: u64 = 1000;

/// The prefix of the history's keys in `meta`.
const PREFIX: &[u8; 6] = b"epoch/";

/// An epoch of the history.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EpochEntry {
    /// The epoch.
    pub epoch: u64,
    /// The time of its commit, in milliseconds since 1970.
    pub commit_ms: i64,
    /// Its measurements.
    #[serde(flatten)]
    pub measured: Measured,
}

/// Measurements of an epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Measured {
    /// Records read.
    pub input_rows: u64,
    /// Records made for sinks.
    pub output_rows: u64,
    /// Time of decoding, in microseconds, of the worker that took longest.
    pub decode_us: u64,
    /// Time of the dataflow's step, in microseconds, of the worker that took longest.
    pub step_us: u64,
    /// Durations of earlier epochs that were not known at their own commits.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<EarlierPhase>,
}

/// The duration of a phase of one epoch, or of several that went through it together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EarlierPhase {
    /// The phase.
    pub phase: TimedPhase,
    /// The first epoch.
    pub first: u64,
    /// The last epoch.
    pub last: u64,
    /// The duration in microseconds.
    pub us: u64,
}

/// A phase that ends after the epoch's batch is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimedPhase {
    /// The synced write to the state.
    Commit,
    /// The sinks' transaction.
    Publish,
}

/// The key of an epoch's entry: its prefix and the epoch modulo [`EPOCHS_KEPT`], a big-endian u16.
fn entry_key(epoch: u64) -> [u8; 8] {
    let mut key = [0; 8];
    key[..PREFIX.len()].copy_from_slice(PREFIX);
    key[PREFIX.len()..].copy_from_slice(&((epoch % EPOCHS_KEPT) as u16).to_be_bytes());
    key
}

impl Store {
    /// Adds the entry of an epoch to its batch.
    pub(crate) fn put_epoch_entry(
        &self,
        batch: &mut WriteBatch,
        entry: &EpochEntry,
    ) -> Result<(), StateError> {
        let text = table::encode_json(&self.dir, "epoch", entry)?;
        batch.put_cf(table::family(&self.db, table::META)?, entry_key(entry.epoch), text);
        Ok(())
    }
}

impl Snapshot<'_> {
    /// Reads the entries of the last [`EPOCHS_KEPT`] epochs, in the order of the epochs. Epochs that an
    /// earlier release committed have none.
    pub fn epoch_entries(&self) -> Result<Vec<EpochEntry>, StateError> {
        let oldest = self.epoch().saturating_sub(EPOCHS_KEPT);
        let mut entries = Vec::new();
        self.each_epoch_entry(|_, entry| {
            let entry = entry.map_err(|why| StateError::corrupt(&self.dir, why))?;
            if entry.epoch > oldest {
                entries.push(entry);
            }
            Ok(())
        })?;
        entries.sort_unstable_by_key(|entry| entry.epoch);
        Ok(entries)
    }

    /// Reports entries that cannot be read, that stand at another epoch's place, or are of an epoch to come.
    pub(crate) fn verify_epoch_entries(&self, findings: &mut Vec<String>) -> Result<(), StateError> {
        self.each_epoch_entry(|key, entry| {
            match entry {
                Err(why) => findings.push(why),
                Ok(entry) if key != entry_key(entry.epoch) => {
                    findings.push(format!("the history has epoch {} at another epoch's place", entry.epoch));
                }
                Ok(entry) if entry.epoch > self.epoch() => findings.push(format!(
                    "the history has epoch {}, and the state is at epoch {}",
                    entry.epoch,
                    self.epoch()
                )),
                Ok(_) => {}
            }
            Ok(())
        })
    }

    /// Visits the keys of the history with their entries; an entry that cannot be read is a sentence.
    fn each_epoch_entry(
        &self,
        mut visit: impl FnMut(&[u8], Result<EpochEntry, String>) -> Result<(), StateError>,
    ) -> Result<(), StateError> {
        let mut scan = self.scan_family(self.family(table::META)?, PREFIX, 0);
        while let Some((key, text)) = scan.next_entry()? {
            let entry = serde_json::from_slice(text);
            visit(key, entry.map_err(|error| format!("an epoch of the history is not readable ({error})")))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The form on disk: entries that an earlier release wrote must stay readable.
    #[test]
    fn the_form_of_an_entry_is_frozen() {
        let earlier = vec![EarlierPhase { phase: TimedPhase::Publish, first: 1, last: 3, us: 70 }];
        let measured = Measured { input_rows: 5, output_rows: 2, decode_us: 8, step_us: 9, earlier };
        let entry = EpochEntry { epoch: 4, commit_ms: 1_000, measured };
        let text = concat!(
            r#"{"epoch":4,"commit_ms":1000,"input_rows":5,"output_rows":2,"decode_us":8,"step_us":9,"#,
            r#""earlier":[{"phase":"publish","first":1,"last":3,"us":70}]}"#
        );
        assert_eq!(serde_json::to_string(&entry).expect("JSON"), text);
        assert_eq!(serde_json::from_str::<EpochEntry>(text).expect("an entry"), entry);
        assert_eq!(entry_key(1_257), *b"epoch/\x01\x01");
        assert_eq!(entry_key(257), entry_key(1_257));
    }

    #[test]
    fn a_damaged_history_is_found() -> Result<(), StateError> {
        let dir = tempfile::tempdir().expect("a directory");
        let options = crate::StoreOptions { create: true, ..crate::StoreOptions::default() };
        let store = Store::open(&dir.path().join("state"), &options)?;
        let measured = || Some(Measured { input_rows: 1, ..Measured::default() });
        store.commit(crate::Commit { epoch: 7, measured: measured(), ..crate::Commit::default() })?;
        assert_eq!(store.snapshot()?.verify()?, Vec::<String>::new());
        let family = table::family(&store.db, table::META)?;
        let entry = |epoch: u64| format!("{{\"epoch\":{epoch},\"commit_ms\":1}}");
        for (at, text) in [(7, "no entry".to_owned()), (8, entry(6)), (9, entry(9))] {
            store.db.put_cf(family, entry_key(at), text).map_err(StateError::database_in(dir.path()))?;
        }
        let found = store.snapshot()?.verify()?;
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found[0].starts_with("an epoch of the history is not readable ("), "{found:?}");
        assert_eq!(found[1], "the history has epoch 6 at another epoch's place");
        assert_eq!(found[2], "the history has epoch 9, and the state is at epoch 7");
        assert!(store.snapshot()?.epoch_entries().is_err());
        Ok(())
    }
}
