//! What was derived again against what is held, entry by entry.
//!
//! Everything that was derived of one space is in memory while it is compared.

use std::collections::{BTreeSet, HashMap};

use arrow::array::AsArray;
use arrow::datatypes::DataType;
use schemas::RowCodec;

use super::{Derived, Finding, Of, anew, derived, rooted};
use crate::error::RunError;
use crate::plan::Plan;
use crate::render::collect::EpochOut;
use crate::retention::Served;
use crate::state_tables::ERRORS;
use crate::worker::Setup;

/// An entry that is held otherwise than it was derived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its key in the space; of a counted space its row.
    pub key: Vec<u8>,
    /// What is held.
    pub held: Option<Vec<u8>>,
    /// What was derived.
    pub wanted: Option<Vec<u8>>,
}

/// One space: what was found, and every entry that would have to be another for it to be as derived.
#[derive(Clone, Debug)]
pub struct Difference {
    /// Its counts.
    pub finding: Finding,
    /// The space.
    pub space: u32,
    /// Tells whether it maps rows to their multiplicity.
    pub counted: bool,
    /// The entries, sorted by key.
    pub changes: Vec<Change>,
}

/// A space to compare.
struct Space {
    of: Of,
    name: String,
    id: u32,
    counted: bool,
    derived: Derived,
}

/// Compares views, parts of operators' states and the error table with what was derived.
///
/// # Errors
/// When the state cannot be read.
pub fn differences(setup: &Setup, out: &EpochOut) -> Result<Vec<Difference>, RunError> {
    let (plan, spaces) = (&setup.plan, &setup.spaces);
    let mut found = Vec::new();
    for (view, id) in plan.views.iter().zip(&spaces.views) {
        let (name, counted) = (view.name.clone(), view.key.is_none());
        let space = Space { of: Of::View, name, id: *id, counted, derived: derived(plan, view.rel) };
        let entry = spaces.retained().find(|entry| entry.id == *id);
        let served = entry.map(|entry| Served::of(entry, &setup.progress)).transpose()?.flatten();
        // Rows that are served no longer are swept one after the other; which are left shows nowhere.
        let counts = |key: &[u8], value: &[u8]| match &served {
            Some(served) => served.row(if counted { key.get(1..).unwrap_or_default() } else { value }),
            None => Ok(true),
        };
        found.push(space.compare(setup, out, counts)?);
    }
    for (rel, part, entry) in spaces.parts() {
        let derived = if anew(plan, (rel, part)) { Derived::All } else { Derived::Nothing };
        let (of, name) = (Of::Arrangement, entry.name.clone());
        let space = Space { of, name, id: entry.id, counted: true, derived };
        found.push(space.compare(setup, out, |_, _| Ok(true))?);
    }
    found.push(errors(setup, out)?);
    Ok(found)
}

/// Rows of the error table that views of tables alone have put there. Those of a table that is full say nothing.
fn errors(setup: &Setup, out: &EpochOut) -> Result<Difference, RunError> {
    let codec = RowCodec::new(&[const { DataType::Utf8 }; 4])?;
    let owners = rooted_owners(&setup.plan);
    let full = setup.store.bounded_totals(setup.spaces.errors)?.not_kept > 0;
    let rels = &setup.plan.rels;
    // Of the rows that are compared, everything is derived.
    let (derived, told) = match () {
        () if full || owners.is_empty() => (Derived::Nothing, Derived::Nothing),
        () if rels.iter().all(|rel| owners.contains(&*rel.owner)) => (Derived::All, Derived::All),
        () => (Derived::All, Derived::Part),
    };
    let id = setup.spaces.errors;
    let space = Space { of: Of::Errors, name: ERRORS.to_owned(), id, counted: true, derived };
    let mine = |key: &[u8], _: &[u8]| -> Result<bool, RunError> {
        let columns = codec.decode(std::iter::once(key.get(1..).unwrap_or_default()))?;
        let text = |at: usize| columns[at].as_string::<i32>().value(0);
        // A record that its topic does not take is found when it is sent.
        Ok(owners.contains(text(0)) && !text(1).starts_with("sink "))
    };
    let mut found = space.compare(setup, out, mine)?;
    found.finding.derived = told;
    Ok(found)
}

/// Owners all of whose relations follow from tables alone.
fn rooted_owners(plan: &Plan) -> BTreeSet<&str> {
    let of = |roots: bool| {
        let rels = plan.rels.iter().enumerate().filter(move |(id, _)| rooted(plan, *id) == roots);
        rels.map(|(_, rel)| rel.owner.as_str()).collect::<BTreeSet<&str>>()
    };
    of(true).difference(&of(false)).copied().collect()
}

impl Space {
    /// Entries for which `mine` is false are passed over.
    fn compare(
        &self,
        setup: &Setup,
        out: &EpochOut,
        mine: impl Fn(&[u8], &[u8]) -> Result<bool, RunError>,
    ) -> Result<Difference, RunError> {
        let mut wanted = HashMap::new();
        for (key, value) in self.wanted(out) {
            if mine(key, &value)? {
                wanted.insert(key, value);
            }
        }
        let (of, name, derived) = (self.of, self.name.clone(), self.derived);
        let mut finding = Finding { of, name, derived, held: 0, wrong: 0, missing: 0 };
        let mut changes: Vec<Change> = Vec::new();
        setup.store.scan(self.id, &[], |key, value| -> Result<(), RunError> {
            finding.held += 1;
            if !mine(key, value)? {
                return Ok(());
            }
            let derived = wanted.remove(key);
            let same = derived.as_deref() == Some(value);
            if !same && (derived.is_some() || self.derived == Derived::All) {
                finding.wrong += 1;
                changes.push(Change { key: key.to_vec(), held: Some(value.to_vec()), wanted: derived });
            }
            Ok(())
        })?;
        finding.missing = wanted.len() as u64;
        let missing = wanted.into_iter();
        changes.extend(missing.map(|(key, value)| Change {
            key: key.to_vec(),
            held: None,
            wanted: Some(value),
        }));
        changes.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(Difference { finding, space: self.id, counted: self.counted, changes })
    }

    /// What was derived of it.
    fn wanted<'o>(&self, out: &'o EpochOut) -> HashMap<&'o [u8], Vec<u8>> {
        let mut wanted: HashMap<&[u8], Vec<u8>> = HashMap::new();
        if self.derived == Derived::Nothing {
            return wanted;
        }
        if let Some((rows, diffs)) = out.counts.get(&self.id) {
            let mut counts: HashMap<&[u8], i64> = HashMap::new();
            rows.iter().zip(diffs).for_each(|(row, diff)| *counts.entry(row).or_default() += diff);
            let counts = counts.into_iter().filter(|(_, count)| *count != 0);
            wanted.extend(counts.map(|(row, count)| (row, count.to_be_bytes().to_vec())));
        }
        if let Some((keys, values)) = out.writes.get(&self.id) {
            let rows = keys.iter().zip(values.iter());
            wanted.extend(rows.filter_map(|(key, row)| Some((key, row?.to_vec()))));
        }
        wanted
    }
}
