//! Indexes of views: the form of their entries, the filling of a new one, and the comparison with the view.
//!
//! An entry of an index is an entry of its view under another key: the packed values of the indexed
//! columns, then the packed key that the row has in the view, without a key group. All rows with the same
//! values of the leading columns are therefore one range of the whole table. The value is that of the view:
//! the row, or of a view without a key the number of its copies.
//!
//! An index says nothing that its view does not, so it is made of the view alone. It is listed in the
//! catalogue with its last entry: a crash leaves entries that nothing lists, and the next
//! [`Store::put_catalogue`] deletes them.

use std::collections::BTreeMap;

use fail::fail_point;
use rocksdb::WriteBatch;
use schemas::{RowCodec, SchemaError, stored_key, without_group};

use crate::catalogue::{Catalogue, CatalogueEntry, IndexOf, StateTableKind};
use crate::error::StateError;
use crate::store::Store;
use crate::store::read::Reads;
use crate::table;

/// Bytes of an index that are written at once while it is filled.
const PIECE_BYTES: usize = 4 << 20;

/// The form of an index's entries.
#[derive(Clone, Debug)]
pub struct IndexLayout {
    /// The id of the index's state table.
    pub table_id: u32,
    /// The positions of the indexed columns in the view.
    columns: Vec<usize>,
    /// The codec of the view's rows.
    rows: RowCodec,
    /// The codec of the indexed columns.
    leading: RowCodec,
    /// True if the view has a key.
    keyed: bool,
}

impl IndexLayout {
    /// Returns the layouts of all indexes of a view among the entries of a catalogue.
    ///
    /// # Errors
    /// When the catalogue contradicts itself.
    pub fn of_view(
        entries: &[CatalogueEntry],
        view: &CatalogueEntry,
    ) -> Result<Vec<IndexLayout>, StateError> {
        let mut layouts = Vec::new();
        for entry in entries {
            if let Some(of) = &entry.index
                && of.view == view.name
                && view.kind == StateTableKind::View
            {
                layouts.push(IndexLayout::new(entry, of, view)?);
            }
        }
        Ok(layouts)
    }

    fn new(index: &CatalogueEntry, of: &IndexOf, view: &CatalogueEntry) -> Result<IndexLayout, StateError> {
        let refuse = |why: String| StateError::Catalogue(format!("index {:?}: {why}", index.name));
        let Some(json) = &view.schema else {
            return Err(refuse(format!("the columns of view {:?} are not known", view.name)));
        };
        let schema = schemas::schema_from_json(json).map_err(|error| refuse(error.to_string()))?;
        let rows = RowCodec::of(&schema).map_err(|error| refuse(error.to_string()))?;
        let mut types = Vec::with_capacity(of.columns.len());
        for column in &of.columns {
            let Some(of_column) = rows.types().get(*column) else {
                return Err(refuse(format!("view {:?} has no column {column}", view.name)));
            };
            types.push(of_column.clone());
        }
        let leading = RowCodec::new(&types).map_err(|error| refuse(error.to_string()))?;
        let (columns, keyed) = (of.columns.clone(), view.key.is_some());
        Ok(IndexLayout { table_id: index.id, columns, rows, leading, keyed })
    }

    /// Puts the key of the index's entry for an entry of the view into `out`. `key` is the view's packed key
    /// without its group: of a view without a key its row.
    ///
    /// # Errors
    /// When the entry is none of the view.
    pub fn entry_key(&self, key: &[u8], value: &[u8], out: &mut Vec<u8>) -> Result<(), SchemaError> {
        out.clear();
        let row = if self.keyed { value } else { key };
        self.rows.append_columns(row, &self.columns, out)?;
        out.extend_from_slice(key);
        Ok(())
    }

    /// Returns the part of an entry's key that is the packed key of the view: of a view without a key the
    /// row.
    ///
    /// # Errors
    /// When the key is none of the index.
    pub fn view_key<'k>(&self, entry_key: &'k [u8]) -> Result<&'k [u8], SchemaError> {
        let leading = self.leading.prefix_len(entry_key, self.leading.columns())?;
        Ok(&entry_key[leading..])
    }
}

/// Other values of a view's entries than the state holds, by stored key; None for an entry that goes.
pub type OtherValues = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// An entry in which an index differs from its view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexDifference {
    /// The key in the index.
    pub key: Vec<u8>,
    /// The value that the index holds.
    pub held: Option<Vec<u8>>,
    /// The value that follows from the view.
    pub wanted: Option<Vec<u8>>,
}

impl Reads<'_> {
    /// Visits the differences between an index and its view, which has the state table `view` and there the
    /// values `other` instead of those that the state holds.
    ///
    /// # Errors
    /// When the state cannot be read, or an entry of the view is none.
    pub fn compare_index(
        &self,
        index: &IndexLayout,
        view: u32,
        other: &OtherValues,
        mut visit: impl FnMut(IndexDifference),
    ) -> Result<(), StateError> {
        let mut scan = self.iter(view, &[])?;
        while let Some((key, value)) = scan.next_entry()? {
            if !other.contains_key(key)
                && let Some(difference) = self.compare_entry(index, (key, value))?
            {
                visit(difference);
            }
        }
        for (key, value) in other {
            if let Some(value) = value
                && let Some(difference) = self.compare_entry(index, (key, value))?
            {
                visit(difference);
            }
        }
        let mut scan = self.iter(index.table_id, &[])?;
        while let Some((key, value)) = scan.next_entry()? {
            if !self.follows_from_view(index, (view, other), key)? {
                visit(IndexDifference { key: key.to_vec(), held: Some(value.to_vec()), wanted: None });
            }
        }
        Ok(())
    }

    /// Compares the index's entry for an entry of the view; None if they are equal.
    fn compare_entry(
        &self,
        index: &IndexLayout,
        (stored, value): (&[u8], &[u8]),
    ) -> Result<Option<IndexDifference>, StateError> {
        let key = self.index_key(index, stored, value)?;
        let held = self.get(index.table_id, &key)?;
        if held.as_deref() == Some(value) {
            return Ok(None);
        }
        let held = held.map(|held| held.to_vec());
        Ok(Some(IndexDifference { key, held, wanted: Some(value.to_vec()) }))
    }

    /// Returns true if the view has the entry to which a key of the index belongs.
    fn follows_from_view(
        &self,
        index: &IndexLayout,
        (view, other): (u32, &OtherValues),
        key: &[u8],
    ) -> Result<bool, StateError> {
        let Ok(view_key) = index.view_key(key) else { return Ok(false) };
        let stored = stored_key(view_key);
        let value = match other.get(&stored) {
            Some(value) => value.clone(),
            None => self.get(view, &stored)?.map(|value| value.to_vec()),
        };
        match value {
            Some(value) => Ok(self.index_key(index, &stored, &value)? == key),
            None => Ok(false),
        }
    }

    /// Returns the key of the index's entry for an entry of the view.
    fn index_key(&self, index: &IndexLayout, stored: &[u8], value: &[u8]) -> Result<Vec<u8>, StateError> {
        let mut key = Vec::new();
        match index.entry_key(without_group(stored), value, &mut key) {
            Ok(()) => Ok(key),
            Err(error) => {
                Err(StateError::corrupt(&self.dir, format!("a view holds no row of its own: {error}")))
            }
        }
    }
}

impl Store {
    /// Adds the deletion of everything that the new catalogue does not list to a batch: the indexes that it
    /// drops, and the entries of an index whose filling was interrupted. Returns true if there is any.
    pub(crate) fn delete_unlisted(
        &self,
        batch: &mut WriteBatch,
        held: &Catalogue,
        wanted: &Catalogue,
    ) -> Result<bool, StateError> {
        let family = self.family(StateTableKind::Index.family())?;
        let mut found = false;
        for entry in held.entries.iter().filter(|entry| entry.kind == StateTableKind::Index) {
            if !wanted.entries.iter().any(|other| other.id == entry.id) {
                batch.delete_range_cf(family, entry.id.to_be_bytes(), (entry.id + 1).to_be_bytes());
                found = true;
            }
        }
        let unlisted = held.next_id().to_be_bytes();
        let mut scan = self.scan_family_from(family, &[], &unlisted);
        if scan.next_entry()?.is_some_and(|(key, _)| key != table::STAMP.to_be_bytes()) {
            batch.delete_range_cf(family, unlisted, table::STAMP.to_be_bytes());
            found = true;
        }
        Ok(found)
    }

    /// Fills the index `id` of the catalogue `grown` from its view, piece by piece, and writes that catalogue
    /// with the last piece.
    pub(crate) fn fill_index(&self, id: u32, grown: &Catalogue) -> Result<(), StateError> {
        let Some((view, index)) = grown.view_of_index(id) else {
            return Err(StateError::Catalogue(format!("index {id} has no view")));
        };
        let layouts = IndexLayout::of_view(&grown.entries, view)?;
        let Some(layout) = layouts.iter().find(|layout| layout.table_id == index.id) else {
            return Err(StateError::Catalogue(format!("index {:?} has no columns", index.name)));
        };
        tracing::info!(index = index.name, view = view.name, "an index is being filled from its view");
        let family = self.family(StateTableKind::Index.family())?;
        let (mut batch, mut full, mut entries) = (WriteBatch::new(), Vec::new(), 0_u64);
        let mut scan = self.iter(view.id, &[])?;
        while let Some((stored, value)) = scan.next_entry()? {
            let key = self.index_key(layout, stored, value)?;
            table::key_into(&mut full, index.id, &key);
            batch.put_cf(family, &full, value);
            entries += 1;
            if batch.size_in_bytes() >= PIECE_BYTES {
                let piece = std::mem::take(&mut batch);
                // The last piece is synced, and with it the log up to there.
                self.db.write(piece).map_err(StateError::database_in(&self.dir))?;
                fail_point!("state.index.piece");
            }
        }
        fail_point!("state.index.last");
        self.put_meta_json(&mut batch, "catalogue", grown)?;
        self.write_synced(batch)?;
        self.set_table_kinds(grown.table_kinds());
        tracing::info!(index = index.name, view = view.name, entries, "the index is filled");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use schemas::{Blobs, Rows};
    use serde_json::json;

    use super::*;
    use crate::{Commit, Counts, StoreOptions, Writes};

    const SCORES: u32 = 1;
    const POINTS: u32 = 2;

    fn text(value: &str) -> Vec<u8> {
        [&[1], value.as_bytes(), &[0, 0]].concat()
    }

    fn number(value: i64) -> Vec<u8> {
        [&[1][..], &(value ^ i64::MIN).to_be_bytes()].concat()
    }

    fn score(player: &str, team: &str, points: i64) -> Vec<u8> {
        [text(player), text(team), number(points)].concat()
    }

    fn view(id: u32, name: &str, columns: &[(&str, &str)], key: Option<Vec<usize>>) -> CatalogueEntry {
        let columns: Vec<_> = columns.iter().map(|(name, of)| json!({"name": name, "type": of})).collect();
        CatalogueEntry {
            id,
            kind: StateTableKind::View,
            name: name.to_owned(),
            fingerprint: format!("f{id}"),
            schema: Some(json!(columns)),
            key,
            retention: None,
            index: None,
            facts: crate::EntryFacts::default(),
        }
    }

    fn index(id: u32, view: &str, columns: &[usize]) -> CatalogueEntry {
        CatalogueEntry {
            id,
            kind: StateTableKind::Index,
            name: format!("i{id}"),
            fingerprint: format!("f{id}"),
            schema: None,
            key: None,
            retention: None,
            index: Some(IndexOf { view: view.to_owned(), columns: columns.to_vec() }),
            facts: crate::EntryFacts::default(),
        }
    }

    /// A catalogue of `scores(player, team, points)`, keyed by player, of `points(team, points)` without a
    /// key, and of some indexes.
    fn catalogue(indexes: &[CatalogueEntry]) -> Catalogue {
        let scores = [("player", "utf8"), ("team", "utf8"), ("points", "int64")];
        let mut entries =
            vec![view(SCORES, "scores", &scores, Some(vec![0])), view(POINTS, "points", &scores[1..], None)];
        entries.extend_from_slice(indexes);
        Catalogue { topology: "t".to_owned(), entries }
    }

    fn open(dir: &std::path::Path) -> Store {
        let options =
            StoreOptions { create: true, topology: Some("t".to_owned()), ..StoreOptions::default() };
        Store::open(dir, &options).unwrap()
    }

    fn commit(store: &Store, writes: Vec<Writes>, counts: Vec<Counts>) {
        let epoch = store.meta().epoch + 1;
        store.commit(Commit { epoch, commit_ms: 1, writes, counts, ..Commit::default() }).unwrap();
    }

    fn write(table_id: u32, key: &[u8], value: Option<&[u8]>) -> Writes {
        let (mut keys, mut values) = (Rows::new(), Blobs::new());
        keys.push(key);
        values.push(value);
        Writes { table_id, keys, values }
    }

    /// A state with three scores, and the points of two teams, one of them twice.
    fn filled(dir: &std::path::Path) -> Store {
        let store = open(dir);
        store.put_catalogue(&catalogue(&[])).unwrap();
        let mut writes = Vec::new();
        for (player, team, points) in [("a", "red", 3), ("b", "blue", 4), ("c", "red", 5)] {
            writes.push(write(SCORES, &stored_key(&text(player)), Some(&score(player, team, points))));
        }
        let mut counts = Counts { table_id: POINTS, ..Counts::default() };
        for (team, points, copies) in [("red", 3, 2), ("blue", 3, 1)] {
            counts.rows.push(&stored_key(&[text(team), number(points)].concat()));
            counts.diffs.push(copies);
        }
        commit(&store, writes, vec![counts]);
        store
    }

    fn content(store: &Reads<'_>, table_id: u32) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut found = Vec::new();
        let mut scan = store.iter(table_id, &[]).unwrap();
        while let Some((key, value)) = scan.next_entry().unwrap() {
            found.push((key.to_vec(), value.to_vec()));
        }
        found
    }

    /// The ids with which keys in the family of views begin.
    fn ids(store: &Store) -> Vec<u32> {
        let mut found = Vec::new();
        let mut scan = store.scan_family(store.family("view").unwrap(), &[], 0);
        while let Some((key, _)) = scan.next_entry().unwrap() {
            found.push(u32::from_be_bytes(*key.first_chunk().unwrap()));
        }
        found.dedup();
        found.retain(|id| *id != table::STAMP);
        found
    }

    #[test]
    fn a_new_index_is_filled_from_its_view_and_a_dropped_one_is_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let store = filled(&dir.path().join("state"));
        let wanted = catalogue(&[index(3, "scores", &[1, 2]), index(4, "points", &[1])]);
        store.put_catalogue(&wanted).unwrap();
        assert_eq!(store.catalogue().unwrap().as_ref(), Some(&wanted));
        let entry = |player: &str, team: &str, points: i64| {
            ([text(team), number(points), text(player)].concat(), score(player, team, points))
        };
        assert_eq!(content(&store, 3), [entry("b", "blue", 4), entry("a", "red", 3), entry("c", "red", 5)]);
        let counted = |team: &str, points: i64, copies: i64| {
            ([number(points), text(team), number(points)].concat(), copies.to_be_bytes().to_vec())
        };
        assert_eq!(content(&store, 4), [counted("blue", 3, 1), counted("red", 3, 2)]);
        assert_eq!(store.snapshot().unwrap().verify().unwrap(), Vec::<String>::new());

        // A reader in another process sees the deletion as well, and the index that comes in its place.
        let fewer = catalogue(&[index(4, "points", &[1])]);
        store.put_catalogue(&fewer).unwrap();
        assert_eq!(ids(&store), [SCORES, POINTS, 4]);
        assert!(matches!(store.iter(3, &[]), Err(StateError::UnknownStateTable(3))));
        let other = catalogue(&[index(4, "points", &[1]), index(3, "scores", &[2])]);
        store.put_catalogue(&other).unwrap();
        let reader = Store::open_secondary(store.dir(), &dir.path().join("scratch")).unwrap();
        let found = content(&reader.snapshot(), 3);
        assert_eq!((found.len(), &found[0].0), (3, &[number(3), text("a")].concat()));
        assert_eq!(reader.snapshot().verify().unwrap(), Vec::<String>::new());
        drop(store);
        let store = open(&dir.path().join("state"));
        assert_eq!((content(&store, 3).len(), ids(&store)), (3, vec![SCORES, POINTS, 3, 4]));
    }

    #[test]
    fn entries_that_an_interrupted_filling_left_are_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let store = filled(dir.path());
        let leave = |id: u32| {
            let mut key = Vec::new();
            table::key_into(&mut key, id, b"left");
            store.db.put_cf(store.family("view").unwrap(), key, b"over").unwrap();
        };
        leave(3);
        leave(7);
        assert_eq!(ids(&store), [SCORES, POINTS, 3, 7]);
        assert_eq!(store.snapshot().unwrap().verify().unwrap().len(), 1);
        // Whether the index is still wanted or not.
        store.put_catalogue(&catalogue(&[])).unwrap();
        assert_eq!(ids(&store), [SCORES, POINTS]);
        leave(3);
        store.put_catalogue(&catalogue(&[index(3, "scores", &[1])])).unwrap();
        assert_eq!(content(&store, 3).len(), 3);
        assert_eq!(store.snapshot().unwrap().verify().unwrap(), Vec::<String>::new());
        commit(&store, vec![], vec![]);
    }

    #[test]
    fn an_index_larger_than_a_piece_is_filled() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        store.put_catalogue(&catalogue(&[])).unwrap();
        let mut writes = Vec::new();
        let team = "x".repeat(PIECE_BYTES / 400);
        for points in 0..1000 {
            let player = format!("{points:04}");
            let row = score(&player, &team, points);
            writes.push(write(SCORES, &stored_key(&text(&player)), Some(&row)));
        }
        commit(&store, writes, vec![]);
        store.put_catalogue(&catalogue(&[index(3, "scores", &[2])])).unwrap();
        assert_eq!(content(&store, 3).len(), 1000);
        assert_eq!(store.snapshot().unwrap().verify().unwrap(), Vec::<String>::new());
    }

    #[test]
    fn an_index_that_differs_from_its_view_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let store = filled(dir.path());
        store.put_catalogue(&catalogue(&[index(3, "scores", &[1]), index(4, "points", &[0])])).unwrap();
        let found = || store.snapshot().unwrap().verify().unwrap();
        let first = content(&store, 3).remove(0);
        commit(&store, vec![write(3, &first.0, None)], vec![]);
        assert_eq!(
            found(),
            [r#"index "i3" lacks 1 of the rows of view "scores", and holds 0 that it has not"#]
        );
        // Another row of the same key, in another place.
        let place = [text("green"), text("b")].concat();
        commit(&store, vec![write(3, &place, Some(&score("b", "green", 4)))], vec![]);
        assert_eq!(
            found(),
            [r#"index "i3" lacks 1 of the rows of view "scores", and holds 1 that it has not"#]
        );
        commit(&store, vec![write(3, &first.0, Some(b"x")), write(3, &place, None)], vec![]);
        assert_eq!(
            found(),
            [r#"index "i3" lacks 1 of the rows of view "scores", and holds 0 that it has not"#]
        );
        commit(&store, vec![write(3, &first.0, Some(&first.1)), write(3, b"no key", Some(b""))], vec![]);
        assert_eq!(
            found(),
            [r#"index "i3" lacks 0 of the rows of view "scores", and holds 1 that it has not"#]
        );
        commit(&store, vec![write(3, b"no key", None)], vec![]);
        assert_eq!(found(), Vec::<String>::new());
        // One copy more in the index than in the view.
        let counted = content(&store, 4).remove(0);
        let mut counts = Counts { table_id: 4, ..Counts::default() };
        counts.rows.push(&counted.0);
        counts.diffs.push(1);
        commit(&store, vec![], vec![counts]);
        assert_eq!(
            found(),
            [r#"index "i4" lacks 1 of the rows of view "points", and holds 0 that it has not"#]
        );
    }
}
