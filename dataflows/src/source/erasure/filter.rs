//! The rows of a table without erased persons.
//!
//! A row of an erased person is removed; of a row that holds one among others the person's elements are, and generated
//! columns are computed again over the rest. A row goes as a whole where that is no row of the table any more: a
//! generated column fails, or is NULL and must not be, or makes another key, version or time. All of that follows from
//! the row alone, so that it is the same whether the person was erased before the row came or after. INCLUDEd bytes
//! of the record (payload, headers, and the key unless it is the table's) are NULL in a row that lost an element.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, UInt32Array, new_null_array};
use arrow::compute::kernels::cmp::distinct;
use arrow::compute::{cast, concat, take};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use schemas::{Digest, ErasedSet};

use super::path;
use crate::error::RunError;
use crate::plan::formats::IncludeKind;
use crate::plan::sources::erase_path::ErasePath;
use crate::plan::{Conflict, Origin, Source};
use crate::render::batch::RelationType;
use crate::source::evaluate::{Verdict, evaluate_or_reject};

/// The removal of persons from the rows of a table.
#[derive(Clone)]
pub struct RowFilter {
    paths: Vec<ErasePath>,
    origins: Vec<Origin>,
    not_null: Vec<usize>,
    /// Columns that decide which row of a key stays, and how long: the key's, the version and the time.
    deciding: Vec<usize>,
    key: Vec<usize>,
    /// INCLUDEd columns that hold bytes of the record.
    raw: Vec<usize>,
    base: SchemaRef,
    shape: RelationType,
}

/// A row with an erased person.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowHit {
    /// True if the row goes as a whole.
    pub removed: bool,
    /// True if its key names the person.
    pub in_key: bool,
    /// The persons.
    pub digests: BTreeSet<Digest>,
}

/// Rows of which some have erased persons.
pub struct Filtered {
    /// All rows, those that stay without the persons; those that go are as they were.
    pub batch: RecordBatch,
    /// The rows that had some.
    pub hits: BTreeMap<u32, RowHit>,
}

impl RowFilter {
    /// Makes the filter of a table; None for one without paths.
    ///
    /// # Errors
    /// When a column type has no packed form.
    pub fn new(source: &Source) -> Result<Option<RowFilter>, RunError> {
        // Only a table holds rows that something can be taken from.
        let Some(keyed) = source.keyed.as_ref().filter(|_| !source.erase_by.is_empty()) else {
            return Ok(None);
        };
        let (mut base, mut raw) = (Vec::new(), Vec::new());
        for field in source.decoded.fields() {
            base.push(field.as_ref().clone().with_nullable(true));
        }
        for (at, (field, origin)) in source.schema.fields().iter().zip(&source.origins).enumerate() {
            let Origin::Included(include) = origin else { continue };
            base.push(field.as_ref().clone().with_nullable(true));
            // Timestamp, partition and offset name nobody.
            let bytes = IncludeKind::Payload == source.includes[*include]
                || matches!(source.includes[*include], IncludeKind::Key | IncludeKind::Header(_));
            if bytes && !keyed.key.contains(&at) {
                raw.push(at);
            }
        }
        let mut deciding = keyed.key.clone();
        if let Conflict::Overwrite { version: Some(version) } = keyed.conflict {
            deciding.push(version);
        }
        // Rows are late, final and forgotten by the time that they came with.
        deciding.extend(source.watermark.map(|watermark| watermark.column));
        Ok(Some(RowFilter {
            paths: source.erase_by.clone(),
            origins: source.origins.clone(),
            not_null: source.not_null.clone(),
            deciding,
            key: keyed.key.clone(),
            raw,
            base: Arc::new(Schema::new(base)),
            shape: RelationType::new(&source.schema)?,
        }))
    }

    /// Positions within the key of the columns that may be a person's name.
    pub fn names_in_key(&self) -> Vec<usize> {
        let kind = |at: usize| self.shape.schema.field(at).data_type();
        let may_be = |(place, at): (usize, &usize)| {
            matches!(kind(*at), DataType::Utf8 | DataType::Binary).then_some(place)
        };
        self.key.iter().enumerate().filter_map(may_be).collect()
    }

    /// Marks the rows that go and whose key is an erased person's name.
    fn mark_keys(&self, batch: &RecordBatch, erased: &ErasedSet, hits: &mut BTreeMap<u32, RowHit>) {
        for place in self.names_in_key() {
            let column = batch.column(self.key[place]);
            for (row, hit) in hits.iter_mut().filter(|(_, hit)| hit.removed) {
                hit.in_key |= is_erased(column, *row as usize, erased);
            }
        }
    }

    /// Finds the erased persons among rows, which have all columns of the table. None where there are none.
    ///
    /// # Errors
    /// When a column has not the type that it was bound to.
    pub fn apply(&self, batch: &RecordBatch, erased: &ErasedSet) -> Result<Option<Filtered>, RunError> {
        if erased.is_empty() {
            return Ok(None);
        }
        // Of several paths through one column each goes on from the column that the last one left.
        let (mut columns, mut hits) = (batch.columns().to_vec(), BTreeMap::<u32, RowHit>::new());
        for path in &self.paths {
            let of_rows = path.is_of_rows();
            let pruned = path::apply(path, &columns[path.column], erased, &mut |row, digest| {
                let hit = hits.entry(row).or_default();
                hit.removed |= of_rows;
                hit.digests.insert(digest);
            })?;
            if let Some(pruned) = pruned {
                columns[path.column] = pruned;
            }
        }
        let left: Vec<u32> = hits.iter().filter(|(_, hit)| !hit.removed).map(|(row, _)| *row).collect();
        if hits.is_empty() {
            return Ok(None);
        }
        self.mark_keys(batch, erased, &mut hits);
        // Rows that go as a whole need no other columns.
        if left.is_empty() {
            return Ok(Some(Filtered { batch: batch.clone(), hits }));
        }
        let rewritten = self.rewrite(batch, &columns, &left, &mut hits)?;
        let stays = |(_, row): &(u32, u32)| hits.get(row).is_some_and(|hit| !hit.removed);
        let stay: Vec<(u32, u32)> = (0..).zip(left).filter(stays).collect();
        Ok(Some(Filtered { batch: self.merged(batch, &rewritten, &stay)?, hits }))
    }

    /// The rows at some places with columns that have lost elements; marks those that are no rows any more.
    fn rewrite(
        &self,
        before: &RecordBatch,
        columns: &[ArrayRef],
        rows: &[u32],
        hits: &mut BTreeMap<u32, RowHit>,
    ) -> Result<RecordBatch, RunError> {
        let places = UInt32Array::from(rows.to_vec());
        let mut kept = Vec::with_capacity(columns.len());
        for (at, column) in columns.iter().enumerate() {
            kept.push(if self.raw.contains(&at) {
                new_null_array(column.data_type(), rows.len())
            } else {
                take(column, &places, None)?
            });
        }
        // Generated columns see the rows as if the person had never been in them.
        let base = self.base_of(&kept, rows.len())?;
        let mut verdicts: Vec<Verdict> = vec![None; rows.len()];
        for (at, origin) in self.origins.iter().enumerate() {
            if let Origin::Generated(expr) = origin {
                kept[at] = evaluate_or_reject(expr, &base, "", &mut verdicts)?;
            }
        }
        let batch = self.shape.assemble(kept, rows.len())?;
        let mut gone: Vec<bool> = verdicts.iter().map(Option::is_some).collect();
        let mut other_place = vec![false; rows.len()];
        // A declared column cannot become NULL here: elements go, and values stay.
        for at in self.not_null.iter().filter(|at| matches!(self.origins[**at], Origin::Generated(_))) {
            for (row, gone) in gone.iter_mut().enumerate() {
                *gone |= batch.column(*at).is_null(row);
            }
        }
        for at in &self.deciding {
            // NULL equals NULL here, as in a packed key.
            let was = take(before.column(*at), &places, None)?;
            let other = distinct(&was, batch.column(*at))?;
            for (row, other_place) in other_place.iter_mut().enumerate() {
                *other_place |= other.value(row);
            }
        }
        for (row, (gone, other_place)) in rows.iter().zip(gone.into_iter().zip(other_place)) {
            if let Some(hit) = hits.get_mut(row) {
                hit.removed |= gone || other_place;
                // A key that follows from the person would name the person.
                hit.in_key |= other_place;
            }
        }
        Ok(batch)
    }

    /// The columns over which generated ones are computed.
    fn base_of(&self, columns: &[ArrayRef], rows: usize) -> Result<RecordBatch, RunError> {
        let mut base: Vec<Option<ArrayRef>> = vec![None; self.base.fields().len()];
        let included = self.origins.iter().filter(|origin| matches!(origin, Origin::Included(_))).count();
        let decoded = base.len().saturating_sub(included);
        for (column, origin) in columns.iter().zip(&self.origins) {
            let at = match origin {
                Origin::Decoded(at) => *at,
                Origin::Included(at) => decoded + at,
                Origin::Generated(_) => continue,
            };
            // The rows of the table may have another form of a type than its records.
            let kind = self.base.field(at).data_type();
            let fits = column.data_type() == kind;
            base[at] = Some(if fits { column.clone() } else { cast(column, kind)? });
        }
        let Some(base) = base.into_iter().collect::<Option<Vec<ArrayRef>>>() else {
            return Err(RunError::Broken("a column of the records is no column of the table".into()));
        };
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(self.base.clone(), base, &options)?)
    }

    /// The rows of `batch`, with others, which are given by their places, in the places of some.
    fn merged(
        &self,
        batch: &RecordBatch,
        others: &RecordBatch,
        places: &[(u32, u32)],
    ) -> Result<RecordBatch, RunError> {
        // Both lie one behind the other, and each place takes from either.
        let rows = batch.num_rows() as u32;
        let mut from: Vec<u32> = (0..rows).collect();
        for (other, place) in places {
            from[*place as usize] = rows + other;
        }
        let from = UInt32Array::from(from);
        let mut columns = Vec::with_capacity(batch.num_columns());
        for (column, other) in batch.columns().iter().zip(others.columns()) {
            columns.push(take(&concat(&[column.as_ref(), other.as_ref()])?, &from, None)?);
        }
        self.shape.assemble(columns, batch.num_rows())
    }
}

/// Returns true if a value of a column of texts or bytes is an erased person's name.
pub fn is_erased(column: &ArrayRef, row: usize, erased: &ErasedSet) -> bool {
    if let Some(texts) = column.as_string_opt::<i32>() {
        return texts.is_valid(row) && erased.find(texts.value(row).as_bytes()).is_some();
    }
    let bytes = column.as_binary_opt::<i32>();
    bytes.is_some_and(|bytes| bytes.is_valid(row) && erased.find(bytes.value(row)).is_some())
}
