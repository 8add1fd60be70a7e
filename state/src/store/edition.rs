//! The change of a state's catalogue to that of an edited topology.
//!
//! It is a part of one commit: state tables that the new catalogue does not list are deleted, the new ones get
//! their first rows, and the catalogue names both from that epoch on. A crash before the commit leaves the
//! state as the earlier topology had it. Entries that are filled piece by piece say so, and the views with which
//! sinks compare theirs in the end stay as long; another such commit ends that. Until then the new tables are known to
//! this process alone, so that their rows can be put into the commit.

use std::collections::BTreeMap;

use rocksdb::WriteBatch;

use crate::catalogue::Catalogue;
use crate::error::StateError;
use crate::outbox::published_key;
use crate::store::Store;
use crate::store::history::HistoryLimits;
use crate::table;

/// The catalogue of an edited topology, with what goes with it.
#[derive(Clone, Debug, Default)]
pub struct Edited {
    /// The catalogue; entries that keep their table keep its number.
    pub catalogue: Catalogue,
    /// Bounds on the histories of its views, by their tables.
    pub histories: BTreeMap<u32, HistoryLimits>,
    /// The outbox's targets that it has no more.
    pub dropped_targets: Vec<u16>,
}

impl Store {
    /// Makes the state tables of an edited topology known, beside those that the state lists, until a commit
    /// with [`Edited`] lists them.
    ///
    /// # Errors
    /// When the catalogue contradicts itself or is of another topology, or the state cannot be read.
    pub fn prepare_edition(&self, catalogue: &Catalogue) -> Result<(), StateError> {
        let held = self.check_edition(catalogue)?;
        let mut table_kinds = held.table_kinds();
        table_kinds.extend(catalogue.table_kinds());
        self.set_table_kinds(table_kinds);
        Ok(())
    }

    /// Adds the catalogue of an edited topology to the batch of a commit, and the deletion of the state tables
    /// that it does not list.
    pub(crate) fn put_edition(&self, batch: &mut WriteBatch, edited: &Edited) -> Result<(), StateError> {
        let held = self.check_edition(&edited.catalogue)?;
        for entry in held.all_entries() {
            if !edited.catalogue.all_entries().any(|kept| kept.id == entry.id) {
                let family = self.family(entry.kind.family())?;
                batch.delete_range_cf(family, entry.id.to_be_bytes(), (entry.id + 1).to_be_bytes());
            }
        }
        let meta = self.family(table::META)?;
        for target in &edited.dropped_targets {
            batch.delete_cf(meta, published_key(*target));
        }
        self.put_meta_json(batch, "catalogue", &edited.catalogue)?;
        batch.put_cf(meta, "topology", &edited.catalogue.topology);
        Ok(())
    }

    /// Refuses a catalogue that contradicts itself, is of another topology, or gives a table's number to one of
    /// another kind. Returns the held catalogue.
    fn check_edition(&self, catalogue: &Catalogue) -> Result<Catalogue, StateError> {
        catalogue.check_unique()?;
        let held = self.catalogue()?.unwrap_or_default();
        if held.topology != catalogue.topology && !held.topology.is_empty() {
            let (held, wanted) = (held.topology, catalogue.topology.clone());
            return Err(StateError::Foreign { dir: self.dir.clone(), held, wanted });
        }
        for entry in held.all_entries() {
            if let Some(now) = catalogue.all_entries().find(|now| now.id == entry.id)
                && now.kind != entry.kind
            {
                return Err(StateError::Catalogue(format!(
                    "space {} holds {:?} {:?}, and is to be {:?} {:?}",
                    entry.id, entry.kind, entry.name, now.kind, now.name
                )));
            }
        }
        Ok(held)
    }
}

#[cfg(test)]
mod tests {
    use schemas::{Blobs, Rows};

    use super::*;
    use crate::{CatalogueEntry, Commit, EntryFacts, StateTableKind, StoreOptions, Writes};

    fn entry(id: u32, kind: StateTableKind, name: &str) -> CatalogueEntry {
        CatalogueEntry {
            id,
            kind,
            name: name.to_owned(),
            fingerprint: name.to_owned(),
            schema: None,
            key: Some(vec![0]),
            retention: None,
            index: None,
            facts: EntryFacts::default(),
        }
    }

    fn catalogue(entries: &[CatalogueEntry]) -> Catalogue {
        Catalogue { topology: "t".to_owned(), entries: entries.to_vec(), ..Catalogue::default() }
    }

    fn write(table_id: u32, key: &[u8]) -> Writes {
        let (mut keys, mut values) = (Rows::new(), Blobs::new());
        keys.push(key);
        values.push(Some(b"row".as_slice()));
        Writes { table_id, keys, values }
    }

    fn open(dir: &std::path::Path) -> Store {
        let options =
            StoreOptions { create: true, topology: Some("t".to_owned()), ..StoreOptions::default() };
        Store::open(dir, &options).unwrap()
    }

    #[test]
    fn tables_come_and_go_with_one_commit() {
        let dir = tempfile::tempdir().unwrap();
        let (table, view) = (StateTableKind::Table, StateTableKind::View);
        let before = catalogue(&[entry(1, table, "orders"), entry(2, view, "sums")]);
        let after = catalogue(&[entry(1, table, "sales"), entry(3, view, "counts")]);
        {
            let store = open(dir.path());
            store.put_catalogue(&before).unwrap();
            let writes = vec![write(1, b"k"), write(2, b"k")];
            store.commit(Commit { epoch: 1, writes, ..Commit::default() }).unwrap();
            // A start that ends here leaves no trace.
            store.prepare_edition(&after).unwrap();
        }
        let store = open(dir.path());
        assert_eq!(store.catalogue().unwrap(), Some(before));
        store.prepare_edition(&after).unwrap();
        let edited = Some(Edited { catalogue: after.clone(), ..Edited::default() });
        store.commit(Commit { epoch: 2, writes: vec![write(3, b"n")], edited, ..Commit::default() }).unwrap();
        assert_eq!(store.catalogue().unwrap(), Some(after.clone()));
        assert!(store.get(1, b"k").unwrap().is_some() && store.get(3, b"n").unwrap().is_some());
        assert_eq!(store.snapshot().unwrap().verify().unwrap(), Vec::<String>::new());
        drop(store);
        let store = open(dir.path());
        assert!(store.get(2, b"k").is_err(), "the table is gone");
        // Its number can be given again, and has no rows.
        let again = catalogue(&[entry(1, table, "sales"), entry(2, view, "sums"), entry(3, view, "counts")]);
        store.put_catalogue(&again).unwrap();
        assert!(store.get(2, b"k").unwrap().is_none());
    }

    #[test]
    fn a_view_that_is_leaving_stays_until_all_is_filled() {
        let dir = tempfile::tempdir().unwrap();
        let view = StateTableKind::View;
        let mut filling = entry(2, view, "sums");
        filling.facts.filling = Some(crate::FillFacts::default());
        let leaving = vec![entry(1, view, "sums")];
        let after = Catalogue { leaving, ..catalogue(&[filling]) };
        let commit = |store: &Store, epoch, catalogue: Catalogue, writes| {
            let edited = Some(Edited { catalogue, ..Edited::default() });
            store.commit(Commit { epoch, writes, edited, ..Commit::default() }).unwrap();
        };
        {
            let store = open(dir.path());
            store.put_catalogue(&catalogue(&[entry(1, view, "sums")])).unwrap();
            store.commit(Commit { epoch: 1, writes: vec![write(1, b"k")], ..Commit::default() }).unwrap();
            store.prepare_edition(&after).unwrap();
            commit(&store, 2, after.clone(), vec![write(2, b"n")]);
        }
        let store = open(dir.path());
        // A start writes the catalogue again.
        store.put_catalogue(&after).unwrap();
        assert!(store.catalogue().unwrap().unwrap().is_filling());
        assert_eq!(store.catalogue().unwrap().unwrap().next_id(), 3);
        assert!(store.get(1, b"k").unwrap().is_some() && store.get(2, b"n").unwrap().is_some());
        assert_eq!(store.snapshot().unwrap().verify().unwrap(), Vec::<String>::new());
        commit(&store, 3, after.filled(), vec![]);
        let held = store.catalogue().unwrap().unwrap();
        assert!(!held.is_filling() && held.leaving.is_empty());
        assert!(store.get(1, b"k").is_err() && store.get(2, b"n").unwrap().is_some());
        assert_eq!(store.snapshot().unwrap().verify().unwrap(), Vec::<String>::new());
    }

    #[test]
    fn a_table_keeps_its_kind() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        store.put_catalogue(&catalogue(&[entry(1, StateTableKind::Table, "orders")])).unwrap();
        let refused = store.prepare_edition(&catalogue(&[entry(1, StateTableKind::View, "orders")]));
        assert!(matches!(refused, Err(StateError::Catalogue(_))));
        let other = Catalogue { topology: "u".to_owned(), ..Catalogue::default() };
        assert!(matches!(store.prepare_edition(&other), Err(StateError::Foreign { .. })));
    }
}
