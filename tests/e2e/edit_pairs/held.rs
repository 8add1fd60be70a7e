//! The content of a state between two runs: its tables by number, and its epochs.
//!
//! A table that goes on keeps its number, and one that is filled gets a number of its own. So what an edit computed
//! again is seen in the numbers, whatever the rows are.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use state::{StateError, StateTableKind, Store, StoreOptions};

use super::plan::Plan;

/// The entries of a state table.
type Entries = Vec<(Vec<u8>, Vec<u8>)>;

/// The content of a state.
pub struct Held {
    /// The entries of each table, by its number.
    tables: BTreeMap<u32, Entries>,
    /// The number of each view's table.
    views: BTreeMap<String, u32>,
    /// The numbers of the operators' tables, by the view that they belong to.
    operators: BTreeMap<String, BTreeSet<u32>>,
    /// The records read and made by each epoch.
    epochs: BTreeMap<u64, (u64, u64)>,
}

impl Held {
    /// Reads the state that no run has open.
    ///
    /// # Errors
    /// The failed read, in words.
    pub fn read(state: &Path) -> Result<Held, String> {
        read(state).map_err(|error| format!("the state cannot be read: {error}"))
    }

    /// Checks that the views that the plan keeps, with their operators, have the tables that they had, and that no
    /// entry of these has changed; and that every other view has another table. Returns the number of kept views.
    ///
    /// # Errors
    /// The first table that is not as it must be.
    pub fn check_kept(&self, before: &Held, plan: &Plan, views: &BTreeSet<String>) -> Result<usize, String> {
        let mut kept = 0;
        for (name, id) in self.views.iter().filter(|(name, _)| views.contains(*name)) {
            let Some(planned) = plan.views.get(name).filter(|planned| planned.is_kept()) else {
                if before.tables.contains_key(id) {
                    return Err(format!("view {name} is to be filled, and has a table of before: {id}"));
                }
                continue;
            };
            kept += 1;
            let was = planned.was.as_ref().unwrap_or(name);
            if before.views.get(was) != Some(id) {
                return Err(format!("view {name} is kept, and its table {id} is another than before"));
            }
            let operators = self.operators.get(name).into_iter().flatten();
            for id in operators.chain([id]) {
                match before.tables.get(id) {
                    None => return Err(format!("view {name} is kept, and state of it is filled: {id}")),
                    Some(entries) => check_entries(entries, &self.tables[id]).map_err(|difference| {
                        format!("view {name} is kept, and table {id} of it {difference}")
                    })?,
                }
            }
        }
        Ok(kept)
    }

    /// Checks that the epochs that came since read nothing and made so many records for sinks, at most two of them: the
    /// one that fills at once, and the end of a filling in pieces.
    ///
    /// # Errors
    /// The epochs, if they are not so.
    pub fn check_epochs(&self, before: &Held, sent: usize) -> Result<(), String> {
        let last = before.epochs.keys().next_back().copied().unwrap_or(0);
        let added: Vec<_> = self.epochs.range(last + 1..).collect();
        let (mut read, mut made, mut making) = (0, 0, 0);
        for (_, (input, output)) in &added {
            (read, made, making) = (read + input, made + output, making + usize::from(*output > 0));
        }
        if making > 2 || read > 0 || made != sent as u64 {
            return Err(format!(
                "{sent} lines were sent, and these epochs came (read, made for sinks): {added:?}"
            ));
        }
        Ok(())
    }
}

/// Checks that a table has no entry that it had not before. The epoch of an edit may forget state past its horizon, as
/// any epoch does.
fn check_entries(before: &Entries, now: &Entries) -> Result<(), String> {
    match now.iter().find(|entry| before.binary_search(entry).is_err()) {
        Some((key, value)) => Err(format!("has another entry: {key:?} {value:?}")),
        None => Ok(()),
    }
}

fn read(state: &Path) -> Result<Held, StateError> {
    let store = Store::open(state, &StoreOptions::default())?;
    let catalogue = store.catalogue()?.unwrap_or_default();
    let mut held = Held {
        tables: BTreeMap::new(),
        views: BTreeMap::new(),
        operators: BTreeMap::new(),
        epochs: BTreeMap::new(),
    };
    for entry in &catalogue.entries {
        match entry.kind {
            StateTableKind::View => {
                held.views.insert(entry.name.clone(), entry.id);
            }
            StateTableKind::Arrangement => {
                let owner = entry.name.split('/').next().unwrap_or_default();
                held.operators.entry(owner.to_owned()).or_default().insert(entry.id);
            }
            StateTableKind::Table | StateTableKind::Sink | StateTableKind::Index => {}
        }
        let (mut entries, mut scan) = (Entries::new(), store.iter(entry.id, &[])?);
        while let Some((key, value)) = scan.next_entry()? {
            entries.push((key.to_vec(), value.to_vec()));
        }
        held.tables.insert(entry.id, entries);
    }
    for epoch in store.snapshot()?.epoch_entries()? {
        held.epochs.insert(epoch.epoch, (epoch.measured.input_rows, epoch.measured.output_rows));
    }
    Ok(held)
}
