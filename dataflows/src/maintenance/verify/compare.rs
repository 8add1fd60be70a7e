//! Comparison of derived entries with stored ones.
//!
//! All derived entries of one state table are in memory while it is compared.

use std::collections::{BTreeSet, HashMap};

use arrow::array::AsArray;
use arrow::datatypes::DataType;
use schemas::RowCodec;
use state::{IndexDifference, IndexLayout, OtherValues};

use super::{Derived, Finding, Subject, derivable};
use crate::collect::EpochOut;
use crate::error::RunError;
use crate::plan::aggregate::has_totals;
use crate::runtime::retention::Served;
use crate::runtime::state_tables::{ERRORS, filled_from_tables, rooted_owners};
use crate::runtime::worker::Setup;

/// An entry whose stored value differs from the derived one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its key in the state table; of a counted state table its row.
    pub key: Vec<u8>,
    /// The stored value.
    pub held: Option<Vec<u8>>,
    /// The derived value.
    pub wanted: Option<Vec<u8>>,
}

/// The comparison of one state table, with the changes that would make it equal to the derived entries.
#[derive(Clone, Debug)]
pub struct Difference {
    /// Its counts.
    pub finding: Finding,
    /// The state table.
    pub table_id: u32,
    /// Tells whether it maps rows to their multiplicity.
    pub counted: bool,
    /// The entries, sorted by key.
    pub changes: Vec<Change>,
}

/// A state table to compare.
struct ComparedTable {
    subject: Subject,
    name: String,
    id: u32,
    counted: bool,
    derived: Derived,
}

/// Compares views, parts of operators' states and the error table with the derived entries.
///
/// # Errors
/// When the state cannot be read.
pub fn differences(setup: &Setup, out: &EpochOut) -> Result<Vec<Difference>, RunError> {
    let (plan, state_tables) = (&setup.plan, &setup.state_tables);
    let mut found = Vec::new();
    for (view, id) in plan.views.iter().zip(&state_tables.views) {
        let (name, counted) = (view.name.clone(), view.key.is_none());
        let derived = derivable(plan, view.rel);
        let table = ComparedTable { subject: Subject::View, name, id: *id, counted, derived };
        let entry = state_tables.retained().find(|entry| entry.id == *id);
        let served = match entry {
            Some(entry) => Served::of(entry, &setup.progress)?,
            None => None,
        };
        // Rows past their retention may be deleted or not: they are not compared.
        let counts = |key: &[u8], value: &[u8]| match &served {
            Some(served) => served.is_served(if counted { schemas::without_group(key) } else { value }),
            None => Ok(true),
        };
        found.push(table.compare(setup, out, counts)?);
    }
    for (rel, part, entry) in state_tables.roles() {
        let derived = if filled_from_tables(plan, (rel, part)) { Derived::All } else { Derived::Nothing };
        let (subject, name) = (Subject::Arrangement, entry.name.clone());
        let counted = !has_totals(plan, rel);
        let table = ComparedTable { subject, name, id: entry.id, counted, derived };
        found.push(table.compare(setup, out, |_, _| Ok(true))?);
    }
    found.push(compare_errors(setup, out)?);
    Ok(found)
}

/// Compares the indexes that the state holds with their views as they are once `found` is mended.
///
/// # Errors
/// When the state cannot be read.
pub fn index_differences(setup: &Setup, found: &[Difference]) -> Result<Vec<Difference>, RunError> {
    let entries = setup.store.catalogue()?.unwrap_or_default().entries;
    let mut differences = Vec::new();
    for view in &entries {
        let mended = found.iter().find(|difference| difference.table_id == view.id);
        let mut other = OtherValues::new();
        for change in mended.into_iter().flat_map(|difference| &difference.changes) {
            other.insert(change.key.clone(), change.wanted.clone());
        }
        for index in IndexLayout::of_view(&entries, view)? {
            let entry = entries.iter().find(|entry| entry.id == index.table_id);
            let name = entry.map_or_else(String::new, |entry| entry.name.clone());
            differences.push(compare_index(setup, (view.id, &other), &index, name)?);
        }
    }
    Ok(differences)
}

/// Compares an index with its view, whose state table has other values than the stored ones.
fn compare_index(
    setup: &Setup,
    (view, other): (u32, &OtherValues),
    index: &IndexLayout,
    name: String,
) -> Result<Difference, RunError> {
    let (subject, derived, table_id) = (Subject::Index, Derived::All, index.table_id);
    let mut finding = Finding { subject, name, derived, held: 0, wrong: 0, missing: 0 };
    let mut changes = Vec::new();
    setup.store.compare_index(index, view, other, |difference| {
        match difference.held {
            Some(_) => finding.wrong += 1,
            None => finding.missing += 1,
        }
        let IndexDifference { key, held, wanted } = difference;
        changes.push(Change { key, held, wanted });
    })?;
    setup.store.scan(table_id, &[], |_, _| -> Result<(), RunError> {
        finding.held += 1;
        Ok(())
    })?;
    changes.sort_by(|a, b| a.key.cmp(&b.key));
    // Counts are written as they are, not as changes: a damaged one is no number.
    Ok(Difference { finding, table_id, counted: false, changes })
}

/// Compares the error table's rows of views that follow from tables alone. A full table cannot be compared:
/// it lacks rows.
fn compare_errors(setup: &Setup, out: &EpochOut) -> Result<Difference, RunError> {
    let codec = RowCodec::new(&[const { DataType::Utf8 }; 4])?;
    let owners = rooted_owners(&setup.plan);
    let full = setup.store.bounded_totals(setup.state_tables.errors)?.not_kept > 0;
    let rels = &setup.plan.rels;
    // Compared rows are derived in full; other owners' rows make the table as a whole derivable in part only.
    let (derived, derived_of_table) = match () {
        () if full || owners.is_empty() => (Derived::Nothing, Derived::Nothing),
        () if rels.iter().all(|rel| owners.contains(&*rel.owner)) => (Derived::All, Derived::All),
        () => (Derived::All, Derived::Part),
    };
    let id = setup.state_tables.errors;
    let table =
        ComparedTable { subject: Subject::Errors, name: ERRORS.to_owned(), id, counted: true, derived };
    let mut found = table.compare(setup, out, |key, _| is_derived_error(&codec, &owners, key))?;
    found.finding.derived = derived_of_table;
    Ok(found)
}

/// Returns true if a row of the error table is derived again: it is of one of `owners`.
fn is_derived_error(codec: &RowCodec, owners: &BTreeSet<&str>, key: &[u8]) -> Result<bool, RunError> {
    let columns = codec.decode(std::iter::once(schemas::without_group(key)))?;
    let (owner, operator) = (columns[0].as_string::<i32>(), columns[1].as_string::<i32>());
    // Errors of sinks (records that a topic refuses) arise when records are sent, not in the dataflow.
    Ok(owners.contains(owner.value(0)) && !operator.value(0).starts_with("sink "))
}

impl ComparedTable {
    /// Compares the entries for which `mine` is true.
    fn compare(
        &self,
        setup: &Setup,
        out: &EpochOut,
        mine: impl Fn(&[u8], &[u8]) -> Result<bool, RunError>,
    ) -> Result<Difference, RunError> {
        let mut wanted = HashMap::new();
        for (key, value) in self.derived_entries(out) {
            if mine(key, &value)? {
                wanted.insert(key, value);
            }
        }
        let (subject, name, derived) = (self.subject, self.name.clone(), self.derived);
        let mut finding = Finding { subject, name, derived, held: 0, wrong: 0, missing: 0 };
        let mut changes: Vec<Change> = Vec::new();
        setup.store.scan(self.id, &[], |key, value| -> Result<(), RunError> {
            finding.held += 1;
            if !mine(key, value)? {
                return Ok(());
            }
            let derived = wanted.remove(key);
            let same = derived.as_deref() == Some(value);
            // Where only a part can be derived, a stored entry that was not derived may be right.
            if !same && (derived.is_some() || self.derived == Derived::All) {
                finding.wrong += 1;
                changes.push(Change { key: key.to_vec(), held: Some(value.to_vec()), wanted: derived });
            }
            Ok(())
        })?;
        finding.missing = wanted.len() as u64;
        for (key, value) in wanted {
            changes.push(Change { key: key.to_vec(), held: None, wanted: Some(value) });
        }
        changes.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(Difference { finding, table_id: self.id, counted: self.counted, changes })
    }

    /// The derived entries of the table.
    fn derived_entries<'o>(&self, out: &'o EpochOut) -> HashMap<&'o [u8], Vec<u8>> {
        let mut wanted: HashMap<&[u8], Vec<u8>> = HashMap::new();
        if self.derived == Derived::Nothing {
            return wanted;
        }
        if let Some((rows, diffs)) = out.counts.get(&self.id) {
            let mut counts: HashMap<&[u8], i64> = HashMap::new();
            for (row, diff) in rows.iter().zip(diffs) {
                *counts.entry(row).or_default() += diff;
            }
            for (row, count) in counts {
                if count != 0 {
                    wanted.insert(row, count.to_be_bytes().to_vec());
                }
            }
        }
        if let Some((keys, values)) = out.writes.get(&self.id) {
            for (key, row) in keys.iter().zip(values.iter()) {
                if let Some(row) = row {
                    wanted.insert(key, row.to_vec());
                }
            }
        }
        wanted
    }
}
