//! Additions of an edit over append-only sources, which get their records from a second reading (`plan::sources`).
//!
//! The parts are found by a first comparison with the state, as those that lack rows of such a source. The plan in which
//! a second source gives them is compared again, where it is a new source. A filling that goes on finds the parts in the
//! catalogue.

use std::collections::BTreeSet;

use schemas::Outcome;
use state::{Catalogue, Progress, ReadAgain};

use super::share::Share;
use super::{Edition, EditionComparison, Obstacle, Part, PartKind, Sends, SourceFate};
use crate::error::RunError;
use crate::plan::{Op, Plan, RelId};
use crate::runtime::state_tables::StateTables;

impl Edition {
    /// Compares a plan with the state as [`Edition::of`] does, and lets parts that lack records of append-only sources
    /// read them again. Returns the plan that runs.
    ///
    /// # Errors
    /// As [`Edition::of`].
    pub fn read_again(
        plan: &Plan,
        held: (&Catalogue, &Progress),
        allow_gap: bool,
    ) -> Result<(Plan, Edition), RunError> {
        let first = Edition::of(plan, held, allow_gap)?;
        if first.again.rels.is_empty() {
            return Ok((plan.clone(), first));
        }
        let again = plan.read_again(&first.again);
        // Beside the same operator begun with a gap there is no end at which both are one.
        if (0..again.rels.len()).any(|id| again.is_second(id) && again.rels[id].op.is_stateful()) {
            return Ok((plan.clone(), first));
        }
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
            // A kept operator that has dropped rows would stand beside the same one with all of them.
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
        let connector = source.options.get("connector").map(String::as_str);
        // A generator takes as long for its rows as it did.
        let is_stored = matches!(connector, Some("kafka" | "file"));
        if source.keyed.is_some() || !is_stored || !matches!(self.fates.fates[at], SourceFate::Kept { .. }) {
            return false;
        }
        let Some(held) = self.progress.sources.get(&self.fates.named.sources[at].name) else { return true };
        // Rows that came after its end are late by that alone, and where that was is not known.
        let ended = held.watermark_us == Some(i64::MAX) && held.outcomes[Outcome::Late.index()] > 0;
        !ended
            && held.partitions.values().all(|partition| {
                // A backfill was judged by a watermark that was ahead of it.
                let in_order = source.watermark.is_none() || partition.backfilled.is_empty();
                // Files are read from their beginning, by every release.
                in_order && (partition.first_offset.is_some() || connector == Some("file"))
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

#[cfg(test)]
mod tests {
    use state::{PartitionProgress, SourceProgress, StateTableKind};

    use super::*;
    use crate::runtime::edition::Becomes;
    use crate::sql::{SqlFile, compile};

    const SOURCES: &str = "
        CREATE SOURCE shots (team VARCHAR, power BIGINT, at TIMESTAMPTZ, WATERMARK FOR at AS at)
        WITH (connector = 'file', path = 'shots') FORMAT PLAIN ENCODE JSON;
        CREATE TABLE teams (team VARCHAR, town VARCHAR, PRIMARY KEY (team))
        WITH (connector = 'file', path = 'teams') FORMAT PLAIN ENCODE JSON;
        CREATE VIEW strong AS SELECT team, power, at, 10 / power AS part FROM shots WHERE power > 2;";
    const SHOWN: &str = "CREATE MATERIALIZED VIEW shown AS SELECT team, part FROM strong;";
    const TOTALS: &str =
        "CREATE MATERIALIZED VIEW totals AS SELECT team, sum(power) AS n FROM strong GROUP BY team;";
    const TOWNS: &str = "CREATE MATERIALIZED VIEW towns AS SELECT town, count(*) AS n FROM strong JOIN teams
        ON strong.team = teams.team GROUP BY town;
        CREATE SINK towns_out FROM towns WITH (connector = 'file', path = 'towns', primary_key = 'town') FORMAT UPSERT
        ENCODE JSON;";
    const CLOSED: &str = "CREATE MATERIALIZED VIEW closed AS SELECT window_start, count(*) AS n
        FROM TUMBLE(strong, at, INTERVAL '1 minute') GROUP BY window_start, window_end EMIT ON WINDOW CLOSE;";

    fn plan(parts: &[&str]) -> Plan {
        let text = format!("{SOURCES}{}", parts.concat());
        let no_file = |_: &str| Err(std::io::Error::from(std::io::ErrorKind::NotFound));
        compile(&[SqlFile { name: "t.sql".to_owned(), text }], &|_| None, &no_file, &|_| Ok(None)).unwrap()
    }

    fn progress() -> Progress {
        let partition =
            PartitionProgress { next_offset: 7, first_offset: Some(0), ..PartitionProgress::default() };
        let source =
            SourceProgress { read: 7, partitions: [(0, partition)].into(), ..SourceProgress::default() };
        Progress { sources: [("shots".to_owned(), source)].into(), ..Progress::default() }
    }

    fn fates(edition: &Edition) -> Vec<(PartKind, &str, &Becomes)> {
        edition.parts.iter().map(|part| (part.kind, part.name.as_str(), &part.fate)).collect()
    }

    #[test]
    fn parts_without_their_records_read_them_again_and_end_as_the_text_has_them() {
        let (old, new) = (plan(&[SHOWN, TOTALS]), plan(&[SHOWN, TOTALS, TOWNS, CLOSED]));
        let (held, progress) = (StateTables::of(&old, None).unwrap().catalogue("t"), progress());
        let (again, edition) = Edition::read_again(&new, (&held, &progress), false).unwrap();
        assert!(edition.refusals.is_empty(), "{:?}", edition.refusals);
        let reading = again.again.as_ref().unwrap();
        assert_eq!(reading.parts.views, ["closed".to_owned(), "towns".to_owned()].into());
        assert_eq!(again.sources.len(), 3);
        assert_eq!(again.first_reader(2), Some(0));
        for (id, rel) in again.rels.iter().enumerate() {
            assert!(rel.op.inputs().iter().all(|input| *input < id), "{id} {:?}", rel.op.inputs());
        }
        for (at, name) in ["shown", "totals", "towns", "closed"].into_iter().enumerate() {
            let is_second = again.sources_of(again.views[at].rel).contains(&2);
            assert_eq!((again.views[at].name.as_str(), is_second), (name, at > 1));
        }
        // The catalogue of the filling is recognised, and the one of its end is that of the text.
        let filling = edition.tables.catalogue("t");
        assert!(filling.is_filling() && StateTables::of(&new, Some(&filling)).is_err());
        assert!(resumed(&new, &filling).is_some() && resumed(&old, &filling).is_none());
        let ended = edition.tables.finished("t").catalogue;
        assert!(!ended.is_filling());
        let tables = StateTables::of(&new, Some(&ended)).unwrap();
        for name in ["shown", "totals"] {
            let of = |catalogue: &Catalogue| catalogue.find(StateTableKind::View, name).map(|entry| entry.id);
            assert_eq!(of(&held), of(&tables.catalogue("t")));
        }
    }

    #[test]
    fn an_edit_in_the_middle_goes_on_from_what_is_whole() {
        let (old, new) = (plan(&[SHOWN, TOTALS]), plan(&[SHOWN, TOTALS, TOWNS]));
        let (held, progress) = (StateTables::of(&old, None).unwrap().catalogue("t"), progress());
        let (_, edition) = Edition::read_again(&new, (&held, &progress), false).unwrap();
        let filling = edition.tables.catalogue("t");
        let (plan, back) = Edition::read_again(&old, (&filling, &progress), false).unwrap();
        assert!(back.refusals.is_empty() && plan.again.is_none(), "{:?}", back.refusals);
        let changed: Vec<_> =
            fates(&back).into_iter().filter(|(.., fate)| **fate != Becomes::Unchanged).collect();
        assert_eq!(changed, []);
        assert_eq!(back.tables.catalogue("t"), held);
        // Another view in its place gets numbers above all that are in use, and its records again.
        let other = TOWNS.replace("count(*)", "sum(power)");
        let text = self::plan(&[SHOWN, TOTALS, &other]);
        let (again, forth) = Edition::read_again(&text, (&filling, &progress), false).unwrap();
        assert!(forth.refusals.is_empty() && again.again.is_some(), "{:?}", forth.refusals);
        let towns =
            |catalogue: &Catalogue| catalogue.find(StateTableKind::View, "towns").map(|entry| entry.id);
        assert!(towns(&forth.tables.catalogue("t")) >= Some(filling.next_id()));
    }

    #[test]
    fn a_source_that_a_backfill_went_over_with_a_watermark_is_not_read_again() {
        let (old, new) = (plan(&[SHOWN]), plan(&[SHOWN, TOTALS]));
        let (held, mut progress) = (StateTables::of(&old, None).unwrap().catalogue("t"), progress());
        progress.sources.get_mut("shots").unwrap().partitions.get_mut(&0).unwrap().backfilled = vec![(1, 3)];
        let (plan, edition) = Edition::read_again(&new, (&held, &progress), false).unwrap();
        assert!(plan.again.is_none());
        assert_eq!(edition.refusals.len(), 1, "{:?}", edition.refusals);
    }
}
