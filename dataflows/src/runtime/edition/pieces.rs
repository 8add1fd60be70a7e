//! Parts of an edited topology that are filled piece by piece, and those that the first epoch fills.
//!
//! Rows come in pieces through gates: on the inputs of new operators and of new views. A gate needs a relation that
//! every start derives whole, so that a killed filling finds the rest of it again: rows of tables without a retention,
//! state that does not expire, and relations that follow from such. And all above it must do with a part of its input:
//!
//! - Operators that go by watermarks do not: they would call rows final, or drop them, that have more to come. Nor does
//!   a recursion, which may need all rows to end.
//! - Kept operators, views and sinks above something new (as where a join is rebuilt with more columns) have its rows
//!   already and must not see them come again.
//! - A sink over no new view cannot send the right rows later, nor can one that has sent a view that stays and
//!   goes on.
//! - A view with a retention would get rows that it has deleted.
//!
//! A relation below one of these takes its rows in the first epoch, as do relations that a start cannot derive again.

use std::collections::{BTreeMap, BTreeSet};

use state::{CatalogueEntry, FillFacts, RowsBefore, StateTableKind};

use super::EditionComparison;
use super::share::{Share, share_of_kept};
use super::sources::SourceFate;
use crate::error::RunError;
use crate::plan::state_role::StateRole;
use crate::plan::{Op, Plan, RelId};
use crate::runtime::fill::SinkFill;
use crate::runtime::state_tables::{StateTables, expires};

/// Parts that are filled piece by piece.
#[derive(Default)]
pub(super) struct FoundPieces {
    /// Facts by state table.
    pub marks: BTreeMap<u32, FillFacts>,
    /// Views of the state that are kept until all is filled.
    pub leaving: Vec<CatalogueEntry>,
}

/// Properties of relations that decide about gates, by relation.
struct Gates {
    /// Every start derives all rows.
    is_derived: Vec<bool>,
    /// This start derives rows.
    has_rows: Vec<bool>,
    /// Some rows come later, through a gate below.
    is_partial: Vec<bool>,
    /// Inputs that pass a gate.
    inputs: BTreeSet<(RelId, RelId)>,
}

impl EditionComparison<'_> {
    /// Finds the parts that are filled piece by piece, and takes their sinks out of those of the first epoch.
    pub(super) fn pieces(
        &self,
        tables: &StateTables,
        new_tables: &BTreeSet<u32>,
        sinks: &mut BTreeMap<usize, SinkFill>,
    ) -> Result<FoundPieces, RunError> {
        let gates = self.gates(tables, new_tables, sinks);
        let mut found = FoundPieces::default();
        for (rel, role, entry) in tables.roles() {
            let inputs = self.plan.rels[rel].op.inputs();
            let input = if role == StateRole::Right { inputs.get(1) } else { inputs.first() };
            let gated = input.is_some_and(|input| gates.inputs.contains(&(rel, *input)));
            if gated || gates.is_partial[rel] {
                found.marks.insert(entry.id, FillFacts { gated, ..FillFacts::default() });
            }
        }
        let mut filling = BTreeSet::new();
        for (view, table_id) in self.plan.views.iter().zip(&tables.views) {
            let is_new = new_tables.contains(table_id);
            let gated = view.served.is_none() && gates.is_derived[view.rel] && gates.has_rows[view.rel];
            if is_new && (gated || gates.is_partial[view.rel]) {
                found.marks.insert(*table_id, FillFacts { gated, ..FillFacts::default() });
                filling.insert(view.rel);
            }
        }
        let late: Vec<usize> =
            sinks.keys().copied().filter(|at| filling.contains(&self.plan.sinks[*at].rel)).collect();
        let held_sinks = self.held_sinks();
        for at in late {
            let Some(fill) = sinks.get(&at).filter(|fill| can_wait(fill, tables)) else { continue };
            let Some(table_id) = tables.sink(&self.plan.sinks[at].name) else {
                return Err(RunError::Broken("a sink has no entry".into()));
            };
            let before = fill.before.as_ref();
            let before = before.map(|sent| RowsBefore { table_id: sent.table_id, key: sent.key.clone() });
            if let Some(entry) = before.as_ref().and_then(|before| self.entry(before.table_id))
                && found.leaving.iter().all(|other| other.id != entry.id)
            {
                found.leaving.push(entry.clone());
            }
            let earlier = held_sinks.get(&at).map(|entry| Box::new((*entry).clone()));
            found.marks.insert(table_id, FillFacts { gated: false, before, earlier });
            sinks.remove(&at);
        }
        Ok(found)
    }

    /// Decides where gates stand.
    fn gates(
        &self,
        tables: &StateTables,
        new_tables: &BTreeSet<u32>,
        sinks: &BTreeMap<usize, SinkFill>,
    ) -> Gates {
        let plan = self.plan;
        let needs_all = self.relations_needed_whole(tables, new_tables, sinks);
        let stored: BTreeSet<RelId> = tables.roles().map(|(rel, _, _)| rel).collect();
        let count = plan.rels.len();
        let mut gates = Gates {
            is_derived: Vec::with_capacity(count),
            has_rows: Vec::with_capacity(count),
            is_partial: Vec::with_capacity(count),
            inputs: BTreeSet::new(),
        };
        for (id, rel) in plan.rels.iter().enumerate() {
            let inputs = rel.op.inputs();
            let from_view = self.shares.from_views.contains_key(&id);
            let is_new = self.shares.filled.contains(&id);
            if is_new && !needs_all[id] && !goes_by_watermarks(plan, id) {
                for input in &inputs {
                    if gates.is_derived[*input] && gates.has_rows[*input] {
                        gates.inputs.insert((id, *input));
                    }
                }
            }
            let is_gated = |input: &RelId| gates.inputs.contains(&(id, *input));
            let is_partial = match &rel.op {
                Op::Source(at) => plan.first_reader(*at).is_some(),
                _ => inputs.iter().any(|input| gates.is_partial[*input] || is_gated(input)),
            };
            let of_inputs = inputs.iter().any(|input| gates.has_rows[*input] && !is_gated(input));
            let (is_derived, has_rows) = match &rel.op {
                Op::Source(at) => {
                    let held = matches!(self.fates.fates[*at], SourceFate::Kept { .. });
                    let table = plan.sources[*at].keyed.as_ref();
                    let is_whole = self.shares.of[id] == Share::All
                        && table.is_some_and(|table| table.retention_us.is_none());
                    (is_whole, is_whole && held)
                }
                Op::Values(_) => (true, false),
                _ if stored.contains(&id) && !is_new => (share_of_kept(plan, id) == Share::All, true),
                _ if stored.contains(&id) => (share_of_kept(plan, id) == Share::All, of_inputs),
                _ => (inputs.iter().all(|input| gates.is_derived[*input]), of_inputs),
            };
            let has_gap = stored.contains(&id) && self.matches.has_gap(id, self.held);
            let is_derived = is_derived && !from_view && !has_gap && !goes_by_watermarks(plan, id);
            // Constants end with the start, and with them the epochs at which a gate could release rows.
            let has_rows = has_rows && !plan.sources_of(id).is_empty();
            gates.is_derived.push(is_derived);
            gates.has_rows.push(has_rows);
            gates.is_partial.push(is_partial);
        }
        gates
    }

    /// For each relation, whether something above it takes its rows all at once.
    fn relations_needed_whole(
        &self,
        tables: &StateTables,
        new_tables: &BTreeSet<u32>,
        sinks: &BTreeMap<usize, SinkFill>,
    ) -> Vec<bool> {
        let plan = self.plan;
        let mut needed = vec![false; plan.rels.len()];
        let mut filled = BTreeSet::new();
        for (view, table_id) in plan.views.iter().zip(&tables.views) {
            if new_tables.contains(table_id) && view.served.is_none() {
                filled.insert(view.rel);
            } else {
                needed[view.rel] = true;
            }
        }
        for (at, sink) in plan.sinks.iter().enumerate() {
            let waits =
                sinks.get(&at).is_some_and(|fill| can_wait(fill, tables)) && filled.contains(&sink.rel);
            if !waits {
                needed[sink.rel] = true;
            }
        }
        let stored: BTreeSet<RelId> = tables.roles().map(|(rel, _, _)| rel).collect();
        for id in (0..plan.rels.len()).rev() {
            let is_kept = stored.contains(&id) && !self.shares.filled.contains(&id);
            if needed[id] || is_kept || goes_by_watermarks(plan, id) {
                for input in plan.rels[id].op.inputs() {
                    needed[input] = true;
                }
            }
        }
        needed
    }
}

/// Returns true if a sink can send the right rows once everything is filled: from its view, and from one that is kept
/// for that alone.
fn can_wait(fill: &SinkFill, tables: &StateTables) -> bool {
    let stays =
        |id: u32| tables.entries().iter().any(|entry| entry.kind == StateTableKind::View && entry.id == id);
    fill.now.is_none() && fill.before.as_ref().is_none_or(|before| !stays(before.table_id))
}

/// Returns true if an operator drops rows or emits them for good by watermarks, or needs all rows to end.
fn goes_by_watermarks(plan: &Plan, id: RelId) -> bool {
    let by_time = match &plan.rels[id].op {
        Op::EmitOnClose { .. } | Op::TemporalFilter { .. } | Op::TemporalJoin { .. } | Op::Recursive(_) => {
            true
        }
        Op::Window { window, .. } => window.session().is_some(),
        _ => false,
    };
    by_time || expires(plan, id) || plan.settled.contains_key(&id)
}

#[cfg(test)]
mod tests {
    use state::Progress;

    use super::*;
    use crate::runtime::edition::Edition;
    use crate::sql::{SqlFile, compile};

    const TABLE: &str = "CREATE TABLE t (k INT, n INT, PRIMARY KEY (k))
        WITH (connector = 'file', path = 't') FORMAT PLAIN ENCODE JSON;";
    const COUNTS: &str = "CREATE MATERIALIZED VIEW counts AS SELECT n, count(*) AS c FROM t GROUP BY n;";
    const OUT: &str = "CREATE SINK counts_out FROM counts
        WITH (connector = 'blackhole', primary_key = 'n') FORMAT UPSERT ENCODE JSON;";

    fn plan(parts: &[&str]) -> Plan {
        let text = format!("{TABLE}{}", parts.concat());
        let no_file = |_: &str| Err(std::io::Error::from(std::io::ErrorKind::NotFound));
        compile(&[SqlFile { name: "t.sql".to_owned(), text }], &|_| None, &no_file, &|_| Ok(None)).unwrap()
    }

    /// The parts that are filled piece by piece, and the views that are kept for that.
    fn pieces(before: &[&str], after: &[&str]) -> (Vec<String>, Vec<String>) {
        let held = StateTables::of(&plan(before), None).unwrap().catalogue("t");
        let edition = Edition::of(&plan(after), (&held, &Progress::default()), false).unwrap();
        assert!(edition.refusals.is_empty(), "{:?}", edition.refusals);
        let mut marked = Vec::new();
        for entry in edition.tables.entries() {
            let Some(facts) = &entry.facts.filling else { continue };
            let gate = if facts.gated { "gated " } else { "" };
            let name = entry.name.split('/').next().unwrap_or_default();
            marked.push(format!("{gate}{:?} {name}", entry.kind));
        }
        let leaving = edition.tables.catalogue("t").leaving;
        (marked, leaving.into_iter().map(|entry| entry.name).collect())
    }

    #[test]
    fn gates_stand_in_front_of_new_tables_of_the_state() {
        let shown = "CREATE MATERIALIZED VIEW shown AS SELECT k FROM t WHERE n > 0;";
        let twice = "CREATE MATERIALIZED VIEW twice AS SELECT c, count(*) AS n FROM counts GROUP BY c;";
        // The state of operators over tables is derived at every start, but for groups that are read by their keys alone.
        let (marked, leaving) = pieces(&[shown], &[shown, COUNTS, twice]);
        assert_eq!(marked, ["gated Arrangement counts", "Arrangement twice", "View counts", "View twice"]);
        let most = "CREATE MATERIALIZED VIEW most AS SELECT n, max(k) AS most FROM t GROUP BY n;";
        assert_eq!(pieces(&[shown], &[shown, most]).0, ["gated View most"]);
        assert_eq!(leaving, Vec::<String>::new());
        let (marked, _) = pieces(&[COUNTS], &[shown, COUNTS]);
        assert_eq!(marked, ["gated View shown"]);
        // That of a join with a source is not, and its view gets rows as they come through the gate.
        let joined = "CREATE SOURCE s (k INT) WITH (connector = 'file', path = 's') FORMAT PLAIN ENCODE JSON;
            CREATE MATERIALIZED VIEW joined AS SELECT s.k, t.n FROM s JOIN t ON s.k = t.k;";
        let (marked, _) = pieces(&[COUNTS], &[COUNTS, joined]);
        assert_eq!(marked, ["Arrangement joined", "gated Arrangement joined", "View joined"]);
    }

    #[test]
    fn a_sink_waits_for_its_view_and_keeps_the_one_before() {
        let fewer = COUNTS.replace("FROM t", "FROM t WHERE n > 0");
        let (marked, leaving) = pieces(&[COUNTS, OUT], &[&fewer, OUT]);
        assert_eq!(marked, ["gated Arrangement counts", "View counts", "Sink counts_out"]);
        assert_eq!(leaving, ["counts"]);
        // The view that it has sent goes on under another name.
        let renamed = COUNTS.replace("VIEW counts", "VIEW all_counts");
        let (marked, leaving) = pieces(&[COUNTS, OUT], &[&renamed, &fewer, OUT]);
        assert_eq!((marked, leaving.len()), (vec!["gated View counts".to_owned()], 0));
    }

    #[test]
    fn a_sink_over_no_new_view_takes_all_at_once() {
        let shown = "CREATE MATERIALIZED VIEW shown AS SELECT k FROM t WHERE n > 0;";
        let plain = "CREATE VIEW counts AS SELECT n, count(*) AS c FROM t GROUP BY n;";
        assert_eq!(pieces(&[shown], &[shown, plain, OUT]).0, Vec::<String>::new());
    }
}
