//! What an edit adds over append-only sources: it gets their records from a second reading (`plan::sources`).
//!
//! The parts are found by a first comparison with the state, as those that lack rows of such a source. The plan in which
//! a second source gives them is compared again, where it is a new source. A filling that goes on finds the parts in the
//! catalogue.

use std::collections::BTreeSet;

use state::{Catalogue, Progress, ReadAgain};

use super::share::Share;
use super::{Edition, EditionComparison, Obstacle, Part, PartKind, Sends, SourceFate};
use crate::error::RunError;
use crate::plan::{Op, Plan, RelId};
use crate::runtime::state_tables::StateTables;

impl Edition {
    /// Compares a plan with the state as [`Edition::of`] does, and lets what lacks records of append-only sources read
    /// them again. Returns the plan that runs.
    ///
    /// # Errors
    /// As [`Edition::of`].
    pub fn read_again(
        plan: &Plan,
        held: (&Catalogue, &Progress),
        allow_gap: bool,
    ) -> Result<(Plan, Edition), RunError> {
        let first = Edition::of(plan, held, allow_gap)?;
        if first.again.rels.is_empty() || held.0.is_filling() {
            return Ok((plan.clone(), first));
        }
        let again = plan.read_again(&first.again);
        let mut edition = Edition::of(&again, held, allow_gap)?;
        if let Some(reading) = &again.again {
            edition.tables.end_as(plan, reading)?;
        }
        edition.refuse_early_differences(&again);
        Ok((again, edition))
    }

    /// Refuses sinks that would send a difference before their rows have come.
    fn refuse_early_differences(&mut self, plan: &Plan) {
        let Some(fill) = &self.tables.fill else { return };
        for (at, sink) in plan.sinks.iter().enumerate() {
            let reads =
                plan.sources_of(sink.rel).into_iter().any(|source| plan.first_reader(source).is_some());
            let compares = fill.sinks.get(&at).is_some_and(|fill| fill.before.is_some());
            if reads && compares {
                self.refusals.push(Obstacle {
                    part: sink.name.clone(),
                    message: format!(
                        "sink {} cannot send the difference: its records are read again, and no view of its own holds \
                         its rows until all have come",
                        sink.name
                    ),
                    hint: "let it send a materialized view of its own, or change the view that it has sent; or add the view \
                           first, and the sink once that is whole"
                        .to_owned(),
                    is_gap: false,
                });
            }
        }
    }
}

/// The plan of a filling that reads sources a second time, with its tables; None if the state has none that is of this
/// text.
pub fn resumed(text: &Plan, held: &Catalogue) -> Option<(Plan, StateTables)> {
    let parts = held.entries.iter().find_map(|entry| entry.facts.again.as_ref())?;
    if parts.rels.iter().any(|id| *id >= text.rels.len()) {
        return None;
    }
    let plan = text.read_again(parts);
    let mut tables = StateTables::of(&plan, Some(held)).ok()?;
    tables.end_as(text, plan.again.as_ref()?).ok()?;
    Some((plan, tables))
}

impl EditionComparison<'_> {
    /// The parts that lack records of append-only sources, and nothing else.
    pub(super) fn parts_to_read_again(&self, parts: &[Part]) -> ReadAgain {
        let mut again = ReadAgain::default();
        for (at, view) in self.plan.views.iter().enumerate() {
            if !self.shares.kept_views.contains_key(&at)
                && let Some(rels) = self.rels_to_read_again(view.rel)
            {
                again.rels.extend(rels);
                again.views.insert(view.name.clone());
            }
        }
        for sink in &self.plan.sinks {
            let part = parts.iter().find(|part| part.kind == PartKind::Sink && part.name == sink.name);
            let sends = part.and_then(|part| part.sends.as_ref());
            let holds = self.plan.views.iter().enumerate();
            let mut holds = holds.filter(|(at, _)| self.shares.kept_views.contains_key(at));
            if matches!(sends, Some(Sends::Difference | Sends::All { .. }))
                && !holds.any(|(_, view)| view.rel == sink.rel)
                && let Some(rels) = self.rels_to_read_again(sink.rel)
            {
                again.rels.extend(rels);
                again.sinks.insert(sink.name.clone());
            }
        }
        again
    }

    /// A relation with all below it that lack rows; None if it lacks none, or others than those of append-only sources.
    fn rels_to_read_again(&self, rel: RelId) -> Option<BTreeSet<RelId>> {
        if self.shares.of[rel] == Share::All {
            return None;
        }
        let (mut rels, mut open) = (BTreeSet::from([rel]), vec![rel]);
        while let Some(id) = open.pop() {
            // What a kept operator has dropped, or was begun without, it would have beside the same one that is whole.
            if self.shares.is_restored(self.plan, id) {
                return None;
            }
            if let Op::Source(at) = self.plan.rels[id].op
                && !self.can_read_again(at)
            {
                return None;
            }
            for input in self.plan.rels[id].op.inputs() {
                if self.shares.of[input] < Share::All && rels.insert(input) {
                    open.push(input);
                }
            }
        }
        Some(rels)
    }

    /// Returns true if a second reading of a source comes to the same rows as the first.
    fn can_read_again(&self, at: usize) -> bool {
        let source = &self.plan.sources[at];
        if source.keyed.is_some() || !matches!(self.fates.fates[at], SourceFate::Kept { .. }) {
            return false;
        }
        let Some(held) = self.progress.sources.get(&self.fates.named.sources[at].name) else { return true };
        held.partitions.values().all(|partition| {
            // A backfill was judged by a watermark that was ahead of it.
            let in_order = source.watermark.is_none() || partition.backfilled.is_empty();
            partition.first_offset.is_some() && in_order
        })
    }

    /// Words for the records that a relation gets by a second reading.
    pub(super) fn records_read_again(&self, rel: RelId) -> Vec<String> {
        let mut texts = Vec::new();
        for source in self.plan.sources_of(rel) {
            if let Some(first) = self.plan.first_reader(source) {
                texts.push(super::sources::range_text(&self.fates.named.sources[first], self.progress));
            }
        }
        texts
    }
}
