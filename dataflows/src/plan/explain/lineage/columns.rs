//! The lineage of each operator's output from that of its inputs.
//!
//! Every operator has its arm: a new one does not compile before its lineage is told.

use std::collections::{BTreeMap, BTreeSet};

use arrow::datatypes::Schema;
use datafusion_expr::Operator;
use datafusion_physical_expr::expressions::BinaryExpr;

use super::reading::{Columns, merge, read, read_as, stepped, text};
use super::{ColumnLineage, Condition, ConditionId, ConditionKind, Place, RowsLineage, Step, Use};
use crate::plan::analysis::fallible::{fallible, input_scalars};
use crate::plan::canonical::strip_canonical;
use crate::plan::explain::words::readable;
use crate::plan::explain::{final_when, within_text};
use crate::plan::{Edge, Horizon, Op, Plan, Recursive, RelId, Scalar};

/// Most rounds in which the lineage of a recursion grows: every round adds a place or is the last.
const MAX_ROUNDS: usize = 64;

/// Position of a column that stands for a text.
const NAMED: usize = usize::MAX;

/// The derivation of a plan's lineage.
pub(super) struct Deriver<'p> {
    /// The whole plan, which has the sources.
    pub topology: &'p Plan,
    conditions: Vec<Condition>,
    /// Conditions by the relation and their place in it, so that a recursion finds its own again.
    known: BTreeMap<(Vec<RelId>, usize), ConditionId>,
    /// The relation that is derived, behind the recursions that it is in.
    at: Vec<RelId>,
    next: usize,
    /// The view that the relation is written in.
    owner: String,
}

/// A GROUP BY: its relation, its input and its keys.
pub(super) struct Grouping<'a> {
    pub id: RelId,
    pub input: RelId,
    pub keys: &'a [Scalar],
}

/// An operator with its inputs, as it is derived.
pub(super) struct Inputs<'a> {
    pub plan: &'a Plan,
    pub done: &'a [RowsLineage],
    pub given: &'a [RowsLineage],
}

impl Inputs<'_> {
    /// The names of a relation's columns.
    pub fn names(&self, rel: RelId) -> Vec<String> {
        self.plan.rels[rel].schema.fields().iter().map(|field| field.name().clone()).collect()
    }
}

impl<'p> Deriver<'p> {
    pub fn new(topology: &'p Plan) -> Deriver<'p> {
        Deriver {
            topology,
            conditions: Vec::new(),
            known: BTreeMap::new(),
            at: Vec::new(),
            next: 0,
            owner: String::new(),
        }
    }

    pub fn into_conditions(self) -> Vec<Condition> {
        self.conditions
    }

    /// The lineage of all relations of a plan, or of the rounds of a recursion over `given`.
    pub fn derive_plan(&mut self, plan: &Plan, given: &[RowsLineage]) -> Vec<RowsLineage> {
        let mut done: Vec<RowsLineage> = Vec::with_capacity(plan.rels.len());
        for (id, rel) in plan.rels.iter().enumerate() {
            self.at.push(id);
            self.next = 0;
            self.owner.clone_from(&rel.owner);
            let found = self.derive(&Inputs { plan, done: &done, given }, id);
            self.at.pop();
            done.push(found);
        }
        done
    }

    /// The conditions by which views serve their rows for some time only.
    pub fn served(&mut self, plan: &Plan, rels: &[RowsLineage]) -> BTreeMap<String, BTreeSet<ConditionId>> {
        let mut all = BTreeMap::new();
        for (number, view) in plan.views.iter().enumerate() {
            let Some(served) = &view.served else { continue };
            (self.at, self.next) = (vec![plan.rels.len() + number], 0);
            self.owner.clone_from(&view.name);
            let schema = &plan.rels[view.rel].schema;
            let found = self.bounded(ConditionKind::Retention, (&rels[view.rel], schema), served);
            all.insert(view.name.clone(), found);
        }
        all
    }

    /// Notes a condition of the relation that is derived.
    pub fn note(&mut self, kind: ConditionKind, text: String, places: BTreeMap<Place, bool>) -> ConditionId {
        let key = (self.at.clone(), self.next);
        self.next += 1;
        let next = self.conditions.len();
        let id = *self.known.entry(key).or_insert(next);
        if id == next {
            let (owner, text) = (self.owner.clone(), readable(&text));
            self.conditions.push(Condition { kind, text, owner, is_rule: false, places });
        } else {
            self.conditions[id].places.extend(places);
        }
        id
    }

    /// Marks a condition as a rule of the source that is derived.
    pub fn mark_rule(&mut self, id: ConditionId) {
        self.conditions[id].is_rule = true;
    }

    /// Notes a condition over expressions, and what decides the values that they read.
    pub fn note_over(
        &mut self,
        (kind, text): (ConditionKind, String),
        read: &[&ColumnLineage],
    ) -> BTreeSet<ConditionId> {
        let mut places = BTreeMap::new();
        let mut all = BTreeSet::new();
        for of in read {
            places.extend(of.values.keys().map(|place| (place.clone(), true)));
            all.extend(&of.conditions);
        }
        all.insert(self.note(kind, text, places));
        all
    }

    /// The expressions over one relation.
    pub fn with_columns<T>(
        &self,
        of: &[ColumnLineage],
        names: &[String],
        by: impl FnOnce(Columns<'_>) -> T,
    ) -> T {
        let topology = self.topology;
        by(Columns { of, names, place_name: &|place: &Place| place.column_text(topology) })
    }

    /// The columns that watermarks of sources are made of.
    pub fn watermark_places(&self, sources: impl Iterator<Item = usize>) -> BTreeMap<Place, bool> {
        let mut places = BTreeMap::new();
        for source in sources {
            if let Some(watermark) = self.topology.sources.get(source).and_then(|s| s.watermark) {
                for place in self.source_columns(source)[watermark.column].values.keys() {
                    places.insert(place.clone(), true);
                }
            }
        }
        places
    }

    /// The lineage of one relation.
    fn derive(&mut self, inputs: &Inputs<'_>, id: RelId) -> RowsLineage {
        let rel = &inputs.plan.rels[id];
        let mut out = match &rel.op {
            Op::Source(source) => self.source_rows(*source),
            Op::Values(_) => RowsLineage {
                columns: vec![ColumnLineage::default(); rel.schema.fields().len()],
                ..RowsLineage::default()
            },
            Op::Filter { input, predicate } => self.filtered(inputs, *input, predicate),
            Op::Project { input, exprs } => {
                let names = inputs.names(*input);
                let of = &inputs.done[*input];
                let columns = exprs.iter().zip(rel.schema.fields()).map(|(expr, field)| {
                    self.with_columns(&of.columns, &names, |columns| read_as(field.name(), expr, columns))
                });
                RowsLineage { columns: columns.collect(), rows: of.rows.clone() }
            }
            Op::Unnest { input, column, .. } => self.unnested(inputs, *input, *column),
            Op::Union { inputs: all } => united(all.iter().map(|input| &inputs.done[*input])),
            Op::Distinct { input } => {
                let mut out = inputs.done[*input].clone();
                let read: Vec<&ColumnLineage> = inputs.done[*input].columns.iter().collect();
                out.rows.extend(self.note_over((ConditionKind::Distinct, all_columns()), &read));
                out
            }
            Op::TemporalFilter { input, since, until, clock } => {
                self.within_time((inputs, *input), [since, until], clock)
            }
            Op::EmitOnClose { input, horizon } => {
                let mut out = inputs.done[*input].clone();
                let schema = &inputs.plan.rels[*input].schema;
                out.rows.extend(self.bounded(ConditionKind::Close, (&out.clone(), schema), horizon));
                out
            }
            Op::Aggregate { input, keys, aggregates } => {
                self.aggregated(inputs, &Grouping { id, input: *input, keys }, aggregates)
            }
            Op::GroupRows { input, keys, folds } => {
                self.folded(inputs, &Grouping { id, input: *input, keys }, folds)
            }
            Op::Window { input, window } => self.windowed(inputs, id, (*input, window)),
            Op::Join { .. } | Op::TemporalJoin { .. } => self.joined(inputs, id),
            Op::Recursive(recursive) => self.recursive(inputs, recursive),
            Op::Given(number) => inputs.given.get(*number).cloned().unwrap_or_default(),
        };
        out.rows.extend(self.failures(inputs, id));
        out
    }

    /// Conditions for the expressions of an operator that can fail on a row, which is then left out.
    fn failures(&mut self, inputs: &Inputs<'_>, id: RelId) -> BTreeSet<ConditionId> {
        let mut all = BTreeSet::new();
        for (input, scalar) in input_scalars(&inputs.plan.rels[id].op) {
            if fallible(scalar.expr(), &inputs.plan.rels[input].schema) {
                all.extend(self.condition(inputs, (ConditionKind::Failure, input), scalar));
            }
        }
        all
    }

    /// Notes a condition that is an expression over a relation.
    pub fn condition(
        &mut self,
        inputs: &Inputs<'_>,
        (kind, input): (ConditionKind, RelId),
        scalar: &Scalar,
    ) -> BTreeSet<ConditionId> {
        let names = inputs.names(input);
        let of = &inputs.done[input].columns;
        let (text, read) =
            self.with_columns(of, &names, |columns| (text(scalar, columns), read(scalar.expr(), columns)));
        self.note_over((kind, text), &[&read])
    }

    fn filtered(&mut self, inputs: &Inputs<'_>, input: RelId, predicate: &Scalar) -> RowsLineage {
        let mut out = inputs.done[input].clone();
        let over_groups = matches!(inputs.plan.rels[input].op, Op::Aggregate { .. } | Op::GroupRows { .. });
        let kind = if over_groups { ConditionKind::Having } else { ConditionKind::Where };
        for condition in conjuncts(predicate) {
            out.rows.extend(self.condition(inputs, (kind, input), &condition));
        }
        out
    }

    fn unnested(&mut self, inputs: &Inputs<'_>, input: RelId, column: usize) -> RowsLineage {
        let mut out = inputs.done[input].clone();
        let names = inputs.names(input);
        let list = out.columns[column].clone();
        // Only the number of items of a list that is a column decides the rows.
        let places = list.values.iter().map(|(place, used)| (place.clone(), used.computed)).collect();
        let scalar = Scalar::column(&names[column], column);
        let text = self.with_columns(&inputs.done[input].columns, &names, |columns| text(&scalar, columns));
        out.rows.insert(self.note(ConditionKind::Unnest, text, places));
        out.rows.extend(&list.conditions);
        out.columns[column] = stepped(list, &Step::Items);
        out
    }

    fn within_time(
        &mut self,
        (inputs, input): (&Inputs<'_>, RelId),
        [since, until]: [&[Edge]; 2],
        clock: &[usize],
    ) -> RowsLineage {
        let mut out = inputs.done[input].clone();
        let names = inputs.names(input);
        let columns = &inputs.done[input].columns;
        let mut all = ColumnLineage::default();
        let mut named = |edges: &[Edge]| {
            let mut out = Vec::with_capacity(edges.len());
            for edge in edges {
                let shown = self.with_columns(columns, &names, |columns| {
                    merge(&mut all, &read(edge.time.expr(), columns));
                    text(&edge.time, columns)
                });
                out.push(edge.map(&|_| Scalar::column(&shown, NAMED)));
            }
            out
        };
        let (since, until) = (named(since), named(until));
        for place in self.watermark_places(clock.iter().copied()).into_keys() {
            all.values.entry(place).or_insert(Use::default());
        }
        let text = within_text(self.topology, &since, &until, clock).replace(&format!("@{NAMED}"), "");
        out.rows.extend(self.note_over((ConditionKind::Now, text), &[&all]));
        out
    }

    /// Notes a bound on a column below watermarks of sources.
    pub fn bounded(
        &mut self,
        kind: ConditionKind,
        (of, schema): (&RowsLineage, &Schema),
        horizon: &Horizon,
    ) -> BTreeSet<ConditionId> {
        let mut column = of.columns[horizon.column].clone();
        for place in self.watermark_places(horizon.marks.iter().map(|(source, _)| *source)).into_keys() {
            column.values.entry(place).or_insert(Use::default());
        }
        let text = final_when(self.topology, schema, (horizon.column, horizon));
        self.note_over((kind, text), &[&column])
    }

    fn recursive(&mut self, inputs: &Inputs<'_>, recursive: &Recursive) -> RowsLineage {
        let mut given = Vec::new();
        for input in recursive.inputs() {
            let mut of = inputs.done[input.rel].clone();
            if input.counted {
                of.columns.pop();
            }
            given.push(of);
        }
        let base = given[0].clone();
        for _ in 0..MAX_ROUNDS {
            let saved = (self.next, self.owner.clone());
            let round = self.derive_plan(&recursive.body, &given);
            (self.next, self.owner) = saved;
            let result = round.last().cloned().unwrap_or_default();
            let all = united([&base, &given[0], &result].into_iter());
            if all == given[0] {
                break;
            }
            given[0] = all;
        }
        let mut out = given.swap_remove(0);
        if recursive.distinct {
            let read: Vec<&ColumnLineage> = out.columns.iter().collect();
            let all = self.note_over((ConditionKind::Distinct, all_columns()), &read);
            out.rows.extend(all);
        }
        out
    }
}

/// The words for all columns of the rows.
pub(super) fn all_columns() -> String {
    "all columns".to_owned()
}

/// The rows of several relations together.
fn united<'r>(all: impl Iterator<Item = &'r RowsLineage>) -> RowsLineage {
    let mut out = RowsLineage::default();
    for of in all {
        out.columns.resize_with(of.columns.len(), ColumnLineage::default);
        for (into, from) in out.columns.iter_mut().zip(&of.columns) {
            merge(into, from);
        }
        out.rows.extend(&of.rows);
    }
    out
}

/// The conditions that AND joins.
pub(super) fn conjuncts(predicate: &Scalar) -> Vec<Scalar> {
    match strip_canonical(predicate.expr()).downcast_ref::<BinaryExpr>() {
        Some(both) if *both.op() == Operator::And => {
            let mut all = conjuncts(&Scalar::new(both.left().clone()));
            all.extend(conjuncts(&Scalar::new(both.right().clone())));
            all
        }
        _ => vec![predicate.clone()],
    }
}
