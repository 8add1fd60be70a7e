//! Indexes of views: the form of their entries, the filling of a new one, and the comparison with the view.
//!
//! An entry of an index is an entry of its view under another key: the packed values of the indexed
//! columns, then the packed key that the row has in the view, without a key group. All rows with the same
//! values of the leading columns are therefore one range of the whole table. The value is that of the view:
//! the row, or of a view without a key the number of its copies.
//!
//! An index says nothing that its view does not, so it is made of the view alone, in pieces. Each piece is one
//! batch with a note of how far the view was read ([`Filling`]), and the last one lists the index in the
//! catalogue. A filling that a crash or a stop interrupts leaves a note and the entries before it, both listed
//! nowhere: the next [`Store::put_catalogue`] goes on from there, if it wants the same index of the same epoch,
//! and deletes them if not.

use std::collections::BTreeMap;

use fail::fail_point;
use rocksdb::WriteBatch;
use schemas::{RowCodec, SchemaError, stored_key, without_group};
use serde::{Deserialize, Serialize};

use crate::catalogue::{Catalogue, CatalogueEntry, IndexOf, StateTableKind};
use crate::error::StateError;
use crate::store::Store;
use crate::store::read::Reads;
use crate::table;

/// Bytes of an index that are written at once while it is filled.
const PIECE_BYTES: usize = 4 << 20;
/// Key of the note of an index that is being filled, in the `meta` family.
const FILLING: &str = "filling";

/// Note of an index that is being filled: the part of it that the state holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Filling {
    /// The entry that the catalogue will have of it.
    index: CatalogueEntry,
    /// The committed epoch, which the view is of.
    epoch: u64,
    /// The stored key of the view from which on nothing is read yet.
    from: Vec<u8>,
    /// The number of entries that are written.
    entries: u64,
}

impl Filling {
    /// Returns the id of the index's state table.
    pub(crate) fn table_id(&self) -> u32 {
        self.index.id
    }

    /// Returns true if the index is one of the catalogue's.
    pub(crate) fn is_wanted(&self, catalogue: &Catalogue) -> bool {
        catalogue.entries.contains(&self.index)
    }
}

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

    /// Returns the note of an index whose filling was interrupted; None if there is none, or if an epoch was
    /// committed since.
    pub(crate) fn interrupted_filling(&self, committed: u64) -> Result<Option<Filling>, StateError> {
        Ok(self.meta_json::<Filling>(FILLING)?.filter(|filling| filling.epoch == committed))
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
    /// drops, and the entries of an index whose filling was interrupted, other than those of `begun`. Returns
    /// true if there is any.
    pub(crate) fn delete_unlisted(
        &self,
        batch: &mut WriteBatch,
        (held, wanted): (&Catalogue, &Catalogue),
        begun: Option<&Filling>,
    ) -> Result<bool, StateError> {
        let family = self.family(StateTableKind::Index.family())?;
        let mut found = false;
        for entry in held.entries.iter().filter(|entry| entry.kind == StateTableKind::Index) {
            if !wanted.entries.iter().any(|other| other.id == entry.id) {
                batch.delete_range_cf(family, entry.id.to_be_bytes(), (entry.id + 1).to_be_bytes());
                found = true;
            }
        }
        let next = held.next_id();
        let ranges = match begun.map(Filling::table_id) {
            Some(id) => vec![(next, id), (next.max(id.saturating_add(1)), table::STAMP)],
            None => vec![(next, table::STAMP)],
        };
        for (from, to) in ranges.into_iter().filter(|(from, to)| from < to) {
            let mut scan = self.scan_family_from(family, &[], &from.to_be_bytes());
            if scan.next_entry()?.is_some_and(|(key, _)| *key < to.to_be_bytes()[..]) {
                batch.delete_range_cf(family, from.to_be_bytes(), to.to_be_bytes());
                found = true;
            }
        }
        if begun.is_none() {
            batch.delete_cf(self.family(table::META)?, FILLING);
        }
        Ok(found)
    }

    /// Fills the index `id` of the catalogue `grown` from its view, piece by piece, and writes that catalogue
    /// with the last piece; goes on with `begun` where that is of this index. Returns false if it was stopped
    /// between two pieces.
    pub(crate) fn fill_index(
        &self,
        (id, grown): (u32, &Catalogue),
        begun: Option<&Filling>,
        is_stopped: &dyn Fn() -> bool,
    ) -> Result<bool, StateError> {
        let Some((view, index)) = grown.view_of_index(id) else {
            return Err(StateError::Catalogue(format!("index {id} has no view")));
        };
        let layouts = IndexLayout::of_view(&grown.entries, view)?;
        let Some(layout) = layouts.iter().find(|layout| layout.table_id == index.id) else {
            return Err(StateError::Catalogue(format!("index {:?} has no columns", index.name)));
        };
        let mut filling = match begun.filter(|begun| begun.index.id == id) {
            Some(begun) => begun.clone(),
            None => {
                Filling { index: index.clone(), epoch: self.committed().epoch, from: Vec::new(), entries: 0 }
            }
        };
        let (name, entries) = (&index.name, filling.entries);
        tracing::info!(index = name, view = view.name, entries, "an index is being filled from its view");
        let family = self.family(StateTableKind::Index.family())?;
        let (mut batch, mut full) = (WriteBatch::new(), Vec::new());
        let mut scan = self.iter_from(view.id, &filling.from)?;
        while let Some((stored, value)) = scan.next_entry()? {
            let key = self.index_key(layout, stored, value)?;
            table::key_into(&mut full, index.id, &key);
            batch.put_cf(family, &full, value);
            filling.entries += 1;
            if batch.size_in_bytes() >= PIECE_BYTES {
                // The least key above this one.
                filling.from = [stored, &[0]].concat();
                self.write_piece(std::mem::take(&mut batch), &filling)?;
                fail_point!("state.index.piece");
                if is_stopped() {
                    return Ok(false);
                }
            }
        }
        fail_point!("state.index.last");
        batch.delete_cf(self.family(table::META)?, FILLING);
        self.put_meta_json(&mut batch, "catalogue", grown)?;
        self.write_synced(batch)?;
        self.set_table_kinds(grown.table_kinds());
        tracing::info!(index = name, view = view.name, entries = filling.entries, "the index is filled");
        Ok(true)
    }

    /// Writes a piece of an index with the note of how far it is filled. It is not synced: the last piece is, and
    /// with it the log up to there; a crash before may lose pieces from the end, and their notes with them.
    fn write_piece(&self, mut piece: WriteBatch, filling: &Filling) -> Result<(), StateError> {
        self.put_meta_json(&mut piece, FILLING, filling)?;
        self.db.write(piece).map_err(StateError::database_in(&self.dir))
    }
}

#[cfg(test)]
mod tests;
