//! Arrangements and views of an edited topology that have the print of one of the state's.

use std::collections::{BTreeMap, BTreeSet};

use state::{Catalogue, CatalogueEntry, StateTableKind};

use crate::error::RunError;
use crate::plan::state_role::StateRole;
use crate::plan::{Plan, RelId};
use crate::runtime::state_tables::StateTables;

/// Tables of the state that fit relations of the plan.
pub(super) struct Matches {
    /// State tables of the plan as of a new state.
    pub wanted: StateTables,
    /// The same, with the fingerprints that the state would have.
    pub named: StateTables,
    /// Tables of the parts of operators all of whose parts fit.
    arrangements: BTreeMap<(RelId, StateRole), u32>,
    /// Tables of views, by the index of the view.
    pub views: BTreeMap<usize, u32>,
}

impl Matches {
    /// Matches the plan with the state's catalogue; `named` is the plan with the state's names of sources.
    pub fn of(plan: &Plan, named: &Plan, held: &Catalogue) -> Result<Matches, RunError> {
        let mut matches = Matches {
            wanted: new_tables(plan)?,
            named: new_tables(named)?,
            arrangements: BTreeMap::new(),
            views: BTreeMap::new(),
        };
        matches.match_arrangements(plan, held);
        matches.match_views(plan, held);
        Ok(matches)
    }

    fn match_arrangements(&mut self, plan: &Plan, held: &Catalogue) {
        let mut claimed = BTreeSet::new();
        let mut of_rels: BTreeMap<RelId, Vec<(StateRole, &CatalogueEntry)>> = BTreeMap::new();
        for (rel, role, entry) in self.named.roles() {
            of_rels.entry(rel).or_default().push((role, entry));
        }
        // First those that keep their owner: another one must not take what is theirs.
        for own in [true, false] {
            for (rel, parts) in &of_rels {
                if self.arrangements.keys().any(|(of, _)| of == rel) {
                    continue;
                }
                let owner = own.then(|| plan.rels[*rel].owner.to_lowercase());
                let mut fitting = Vec::with_capacity(parts.len());
                for (role, wanted) in parts {
                    let fit = best_fit(held, wanted, owner.as_deref(), &claimed);
                    fitting.extend(fit.map(|id| (*role, id)));
                }
                // Parts of one operator only make sense together.
                if fitting.len() == parts.len() {
                    for (role, id) in fitting {
                        claimed.insert(id);
                        self.arrangements.insert((*rel, role), id);
                    }
                }
            }
        }
    }

    /// Matches views, first those that keep their name.
    fn match_views(&mut self, plan: &Plan, held: &Catalogue) {
        let mut claimed = BTreeSet::new();
        for by_name in [true, false] {
            for (at, view) in plan.views.iter().enumerate() {
                let Some(wanted) = self.named.views.get(at).and_then(|id| entry_of(&self.named, *id)) else {
                    continue;
                };
                let fitting = held.entries.iter().find(|entry| {
                    entry.kind == StateTableKind::View
                        && is_same(entry, wanted)
                        && !claimed.contains(&entry.id)
                        && (!by_name || entry.name == view.name)
                });
                if let (Some(entry), false) = (fitting, self.views.contains_key(&at)) {
                    claimed.insert(entry.id);
                    self.views.insert(at, entry.id);
                }
            }
        }
    }

    /// The state's tables of an operator; none if it is not the state's.
    pub fn tables_of(&self, rel: RelId) -> Vec<u32> {
        let parts = self.arrangements.iter().filter(|((of, _), _)| *of == rel);
        parts.map(|(_, id)| *id).collect()
    }

    /// Returns true if the state of an operator was begun without all of its rows.
    pub fn has_gap(&self, rel: RelId, held: &Catalogue) -> bool {
        let tables = self.tables_of(rel);
        held.entries.iter().any(|entry| tables.contains(&entry.id) && entry.facts.gap.is_some())
    }

    /// The state's table of a part of an operator.
    pub fn table_of(&self, rel: RelId, role: StateRole) -> Option<u32> {
        self.arrangements.get(&(rel, role)).copied()
    }
}

/// State tables of a plan as of a new state.
fn new_tables(plan: &Plan) -> Result<StateTables, RunError> {
    StateTables::of(plan, None)
        .map_err(|changed| RunError::Broken(format!("a new state differs: {}", changed.join(", "))))
}

/// The entry of a state table.
pub(super) fn entry_of(tables: &StateTables, id: u32) -> Option<&CatalogueEntry> {
    tables.entries().iter().find(|entry| entry.id == id)
}

/// Returns true if two entries are of the same rows or the same state, which expires at the same time.
fn is_same(held: &CatalogueEntry, wanted: &CatalogueEntry) -> bool {
    let (Some(held), Some(wanted)) = (&held.facts.edition, &wanted.facts.edition) else { return false };
    !wanted.relation.is_empty() && held.relation == wanted.relation && held.expiry == wanted.expiry
}

/// The state's arrangement of the same relation, part and expiry that is not claimed yet: a whole one rather than one
/// with a gap; of that owner alone, if there is one.
fn best_fit(
    held: &Catalogue,
    wanted: &CatalogueEntry,
    owner: Option<&str>,
    claimed: &BTreeSet<u32>,
) -> Option<u32> {
    let part = wanted.name.rsplit('/').next();
    let fitting = held.entries.iter().filter(|entry| {
        entry.kind == StateTableKind::Arrangement
            && is_same(entry, wanted)
            && entry.name.rsplit('/').next() == part
            && (owner.is_none() || entry.name.split('/').next() == owner)
            && !claimed.contains(&entry.id)
    });
    fitting.min_by_key(|entry| entry.facts.gap.is_some()).map(|entry| entry.id)
}
