//! The numbers of an edited topology's state tables: those that are kept, and new ones above all that the state
//! has.

use std::collections::{BTreeMap, BTreeSet};

use state::{Catalogue, CatalogueEntry, StateTableKind};

use super::matching::entry_of;
use super::share::Share;
use super::sources::{SourceFate, held_source};
use super::{Becomes, EditionComparison, Part, PartKind};
use crate::error::RunError;
use crate::runtime::state_tables::{StateTables, gap_of_retention};

/// The state tables of an edited topology.
pub(super) struct NumberedTables {
    /// The tables.
    pub tables: StateTables,
    /// Those that the first epoch fills.
    pub new_tables: BTreeSet<u32>,
    /// The parts of the indexes.
    pub index_parts: Vec<Part>,
    /// The held catalogue with the new indexes of kept views and without those that are gone.
    pub indexes: Option<Catalogue>,
}

impl EditionComparison<'_> {
    /// Numbers the state tables. `parts` are those of sources, views and sinks, with the gaps of views.
    pub(super) fn number_tables(&self, parts: &[Part]) -> Result<NumberedTables, RunError> {
        let kept = self.kept_tables();
        let wanted = &self.matches.wanted;
        let mut next = self.all.next_id();
        let (mut entries, mut new_tables) = (Vec::new(), BTreeSet::new());
        let (mut index_parts, mut early) = (Vec::new(), Vec::new());
        for entry in wanted.entries() {
            let mut entry = entry.clone();
            let held = match entry.kind {
                StateTableKind::Index => self.held_index(&entry),
                _ => kept.get(&entry.id).and_then(|id| self.entry(*id)),
            };
            let fresh = entry.id;
            entry.facts.gap =
                held.and_then(|held| held.facts.gap.clone().or_else(|| gap_of_retention(held, &entry)));
            match held {
                Some(held) => entry.id = held.id,
                None => {
                    entry.id = next;
                    next += 1;
                }
            }
            if entry.kind == StateTableKind::View
                && let Some(part) =
                    parts.iter().find(|part| part.kind == PartKind::View && part.name == entry.name)
                && part.gap.is_some()
            {
                entry.facts.gap.clone_from(&part.gap);
            }
            if held.is_none() && self.begins_without_rows(fresh) {
                entry.facts.gap = Some("begun without all rows".to_owned());
            }
            if entry.kind == StateTableKind::Index {
                let on_kept = self.held_view_of_index(&entry);
                index_parts.push(Part::new(
                    PartKind::Index,
                    &entry.name,
                    index_fate(&entry, held, self.held),
                ));
                match (held, on_kept) {
                    (None, Some(view)) => early.push(self.early_index(&entry, fresh, view)),
                    (None, None) => drop(new_tables.insert(entry.id)),
                    (Some(_), _) => {}
                }
            } else if held.is_none() {
                new_tables.insert(entry.id);
            }
            entries.push(entry);
        }
        let catalogue = Catalogue { topology: self.held.topology.clone(), entries, leaving: Vec::new() };
        let indexes = self.with_indexes(&catalogue, early);
        let tables = StateTables::of(self.plan, Some(&catalogue)).map_err(|changed| {
            RunError::Broken(format!("an edited topology differs from itself: {}", changed.join(", ")))
        })?;
        Ok(NumberedTables { tables, new_tables, index_parts, indexes })
    }

    /// The state's number of each table that is kept, by its number in a new state; indexes aside.
    fn kept_tables(&self) -> BTreeMap<u32, u32> {
        let wanted = &self.matches.wanted;
        let mut kept = BTreeMap::new();
        if let Some(held) = self.held.find(StateTableKind::View, crate::runtime::state_tables::ERRORS) {
            kept.insert(wanted.errors, held.id);
        }
        for (at, source) in self.plan.sources.iter().enumerate() {
            let same = matches!(self.fates.fates[at], SourceFate::Kept { .. } | SourceFate::Rules);
            let held = held_source(self.held, &self.fates.named.sources[at].name);
            let table = match wanted.tables.get(&at) {
                Some(table) => Some(*table),
                None => wanted.sink(&format!("source {}", source.name)),
            };
            if let (true, Some(held), Some(table)) = (same, held, table) {
                kept.insert(table, held.id);
            }
        }
        for (rel, role, entry) in wanted.roles() {
            if self.shares.is_restored(self.plan, rel)
                && let Some(held) = self.matches.table_of(rel, role)
            {
                kept.insert(entry.id, held);
            }
        }
        for (at, held) in &self.shares.kept_views {
            if let Some(table) = wanted.views.get(*at) {
                kept.insert(*table, *held);
            }
        }
        let held_sinks = self.held_sinks();
        for (at, sink) in self.plan.sinks.iter().enumerate() {
            if let (Some(held), Some(table)) = (held_sinks.get(&at), wanted.sink(&sink.name)) {
                kept.insert(table, held.id);
            }
        }
        kept
    }

    /// Returns true if the arrangement of that number in a new state is filled without all of its rows.
    fn begins_without_rows(&self, fresh: u32) -> bool {
        let mut roles = self.matches.wanted.roles();
        let of = roles.find(|(_, _, entry)| entry.id == fresh);
        of.is_some_and(|(rel, _, _)| self.shares.of[rel] < Share::All)
    }

    /// The state's view that an index is on; None for one on a view that is filled.
    fn held_view_of_index(&self, index: &CatalogueEntry) -> Option<&CatalogueEntry> {
        let of = index.index.as_ref()?;
        let at = self.plan.views.iter().position(|view| view.name == of.view)?;
        self.entry(*self.shares.kept_views.get(&at)?)
    }

    /// The state's index of the same view and columns, under its name or one that is free.
    fn held_index(&self, index: &CatalogueEntry) -> Option<&CatalogueEntry> {
        let view = self.held_view_of_index(index)?;
        let columns = &index.index.as_ref()?.columns;
        let used = |name: &str| {
            let mut indexes = self.plan.views.iter().flat_map(|view| &view.indexes);
            indexes.any(|other| other.name == name)
        };
        self.held.entries.iter().find(|entry| {
            let fits = entry.index.as_ref().is_some_and(|of| of.view == view.name && of.columns == *columns);
            fits && (entry.name == index.name || !used(&entry.name))
        })
    }

    /// The entry of an index that is filled from a kept view before the edit, with the view's earlier name and
    /// fingerprint.
    fn early_index(&self, index: &CatalogueEntry, fresh: u32, view: &CatalogueEntry) -> CatalogueEntry {
        let mut early = index.clone();
        if let Some(named) = entry_of(&self.matches.named, fresh) {
            early.fingerprint.clone_from(&named.fingerprint);
        }
        if let Some(of) = &mut early.index {
            of.view.clone_from(&view.name);
        }
        early
    }

    /// The held catalogue with more indexes and without those that `wanted` has no more; None if there are no
    /// more.
    fn with_indexes(&self, wanted: &Catalogue, early: Vec<CatalogueEntry>) -> Option<Catalogue> {
        if early.is_empty() {
            return None;
        }
        let mut grown = self.all.clone();
        grown.entries.retain(|entry| {
            entry.kind != StateTableKind::Index || wanted.entries.iter().any(|kept| kept.id == entry.id)
        });
        grown.entries.extend(early);
        Some(grown)
    }
}

/// The fate of an index.
fn index_fate(index: &CatalogueEntry, held: Option<&CatalogueEntry>, all: &Catalogue) -> Becomes {
    match held {
        Some(held) if held.name == index.name => Becomes::Unchanged,
        Some(held) => Becomes::Renamed { was: held.name.clone() },
        None if all.find(StateTableKind::Index, &index.name).is_some() => Becomes::Changed,
        None => Becomes::New,
    }
}
