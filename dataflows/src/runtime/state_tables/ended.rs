//! The end of a filling: the catalogue that its last commit writes.

use std::collections::{BTreeMap, BTreeSet};

use state::Edited;

use super::StateTables;
use crate::error::RunError;
use crate::plan::Plan;
use crate::plan::sources::SecondReading;

impl StateTables {
    /// The catalogue of a topology of that name without marks, for the commit at which everything is filled.
    pub fn finished(&self, topology: &str) -> Edited {
        let mut catalogue = self.catalogue(topology);
        if let Some(ended) = &self.ended {
            catalogue.entries.clone_from(ended);
        }
        Edited {
            catalogue: catalogue.filled(),
            histories: self.histories.clone(),
            dropped_targets: Vec::new(),
        }
    }

    /// Notes the entries that are written at the end of a filling: those of the plan of the text, whose relations have
    /// the tables of the same ones in `again`, the plan with the second reading that these tables are of.
    ///
    /// # Errors
    /// When a table of the text's plan is none of these.
    pub fn end_as(&mut self, text: &Plan, again: &SecondReading) -> Result<(), RunError> {
        let wanted = StateTables::of(text, None)
            .map_err(|changed| RunError::Broken(format!("a new state differs: {}", changed.join(", "))))?;
        let mut numbers = BTreeMap::new();
        for ((rel, role), table_id) in &self.roles {
            numbers.insert((again.origins.get(*rel).copied(), *role), *table_id);
        }
        let mut held = BTreeMap::new();
        for ((rel, role), fresh) in &wanted.roles {
            held.insert(*fresh, numbers.get(&(Some(*rel), *role)).copied());
        }
        let mut ended = Vec::with_capacity(wanted.entries.len());
        for mut entry in wanted.entries {
            let same = match held.get(&entry.id) {
                Some(number) => number.and_then(|number| self.entry_of(number)),
                None => self.entries.iter().find(|of| of.kind == entry.kind && of.name == entry.name),
            };
            let Some(same) = same else {
                return Err(RunError::Broken(format!("{} has no table at the end of a filling", entry.name)));
            };
            entry.id = same.id;
            entry.facts.gap.clone_from(&same.facts.gap);
            ended.push(entry);
        }
        self.ended = Some(ended);
        Ok(())
    }

    /// Notes that all that reads a source lacks rows, in words.
    pub fn note_gap(&mut self, plan: &Plan, source: usize, gap: &str) {
        let mut lacking = BTreeSet::new();
        for (view, table_id) in plan.views.iter().zip(&self.views) {
            if plan.sources_of(view.rel).contains(&source) {
                lacking.insert(*table_id);
            }
        }
        for ((rel, _), table_id) in &self.roles {
            if plan.sources_of(*rel).contains(&source) {
                lacking.insert(*table_id);
            }
        }
        for entry in self.entries.iter_mut().chain(self.ended.iter_mut().flatten()) {
            if lacking.contains(&entry.id) {
                entry.facts.gap = Some(gap.to_owned());
            }
        }
    }
}
