//! Removal of unused columns and relations from a plan, and merging of adjacent steps.
//!
//! Uses of columns are followed from views and sinks down to the sources, through views that are not
//! materialized: a column that no user of a relation reads is not computed, not unnested, not kept in a
//! join's state. A source keeps all its columns (its table's rows are whole); a projection follows it.
//! Relations without users are dropped, except sources.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use datafusion_common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion_expr::Operator;
use datafusion_physical_expr::expressions::{BinaryExpr, Column, Literal};
use datafusion_physical_expr::utils::collect_columns;

use super::names::substitute_columns;
use crate::plan::analysis::fallible::fallible;
use crate::plan::analysis::properties::column_of;
use crate::plan::{Aggregate, Edge, Fold, Horizon, Op, Plan, Recursive, Rel, RelId, Scalar, When};

type ColumnSet = BTreeSet<usize>;

/// Prunes columns and relations, then merges adjacent projections and filters.
pub(crate) fn prune(plan: &mut Plan) {
    narrow_columns(plan);
    merge_steps(plan);
    rename_aggregates(plan);
    drop_unused(plan);
    super::names::settle_names(plan);
}

/// The columns `scalar` reads.
pub(crate) fn columns_read(scalar: &Scalar) -> ColumnSet {
    collect_columns(scalar.expr()).iter().map(Column::index).collect()
}

/// The scalar with its columns at their new places.
fn move_columns(scalar: &Scalar, places: &BTreeMap<usize, usize>) -> Scalar {
    substitute_columns(scalar, &|c| {
        Arc::new(Column::new(c.name(), places.get(&c.index()).copied().unwrap_or(c.index())))
    })
}

/// The function that gives the columns of a scalar their new places.
fn mover(places: &BTreeMap<usize, usize>) -> impl Fn(&Scalar) -> Scalar {
    move |scalar| move_columns(scalar, places)
}

/// The scalars with their columns at their new places.
fn move_all(scalars: &[Scalar], places: &BTreeMap<usize, usize>) -> Vec<Scalar> {
    scalars.iter().map(mover(places)).collect()
}

/// The edges of a temporal filter with their columns at their new places.
fn move_edges(edges: &[Edge], places: &BTreeMap<usize, usize>) -> Vec<Edge> {
    edges.iter().map(|edge| edge.map(&mover(places))).collect()
}

/// The relations that views and sinks show.
fn roots(plan: &Plan) -> impl Iterator<Item = RelId> {
    plan.views.iter().map(|view| view.rel).chain(plan.sinks.iter().map(|sink| sink.rel))
}

/// The same, to be replaced.
fn roots_mut(plan: &mut Plan) -> impl Iterator<Item = &mut RelId> {
    plan.views.iter_mut().map(|view| &mut view.rel).chain(plan.sinks.iter_mut().map(|sink| &mut sink.rel))
}

/// All columns of a relation.
fn all_columns(plan: &Plan, rel: RelId) -> ColumnSet {
    (0..plan.rels[rel].schema.fields().len()).collect()
}

/// The columns that each relation's users read of it; None where it has no user.
fn needed_columns(plan: &Plan) -> Vec<Option<ColumnSet>> {
    let mut needs: Vec<Option<ColumnSet>> = vec![None; plan.rels.len()];
    for root in roots(plan) {
        needs[root] = Some(all_columns(plan, root));
    }
    // Users come after their inputs, so all uses of a relation are known when it is visited.
    for id in (0..plan.rels.len()).rev() {
        let Some(own) = needs[id].clone() else { continue };
        for (input, read) in input_columns(plan, id, &own) {
            needs[input].get_or_insert_default().extend(read);
        }
    }
    needs
}

/// The columns that a relation reads of each input to compute its columns `own`. At least one of each: a
/// batch without columns would not know its number of rows.
fn input_columns(plan: &Plan, id: RelId, own: &ColumnSet) -> Vec<(RelId, ColumnSet)> {
    let mut reads = columns_of_inputs(plan, id, own);
    for (_, columns) in &mut reads {
        if columns.is_empty() {
            columns.insert(0);
        }
    }
    reads
}

/// The same without the column that keeps the number of rows.
fn columns_of_inputs(plan: &Plan, id: RelId, own: &ColumnSet) -> Vec<(RelId, ColumnSet)> {
    match &plan.rels[id].op {
        Op::Source(_) | Op::Values(_) | Op::Given(_) => vec![],
        Op::Recursive(_) => {
            let inputs = plan.rels[id].op.inputs().into_iter();
            inputs.map(|input| (input, all_columns(plan, input))).collect()
        }
        Op::Filter { input, predicate } => {
            vec![(*input, own.union(&columns_read(predicate)).copied().collect())]
        }
        Op::TemporalFilter { input, since, until, .. } => {
            let times = since.iter().chain(until).flat_map(|edge| columns_read(&edge.time));
            vec![(*input, own.iter().copied().chain(times).collect())]
        }
        Op::Project { input, exprs } => {
            vec![(*input, own.iter().flat_map(|c| columns_read(&exprs[*c])).collect())]
        }
        Op::Unnest { input, column, .. } => vec![(*input, own.iter().copied().chain([*column]).collect())],
        Op::Union { inputs } => inputs.iter().map(|i| (*i, own.clone())).collect(),
        Op::Distinct { input } => vec![(*input, all_columns(plan, *input))],
        Op::EmitOnClose { input, horizon } => {
            vec![(*input, own.iter().copied().chain([horizon.column]).collect())]
        }
        Op::Aggregate { input, keys, aggregates } => {
            let mut read: ColumnSet = keys.iter().flat_map(columns_read).collect();
            for aggregate in items_among(own, aggregates, keys.len()) {
                read.extend(aggregate.args().chain(&aggregate.filter).flat_map(columns_read));
            }
            vec![(*input, read)]
        }
        Op::GroupRows { input, keys, folds } => {
            let mut read: ColumnSet = keys.iter().flat_map(columns_read).collect();
            for fold in items_among(own, folds, keys.len()) {
                read.extend(fold.scalars().flat_map(columns_read));
            }
            vec![(*input, read)]
        }
        Op::Window { input, window } => {
            let width = plan.rels[*input].schema.fields().len();
            let own = own.range(..width).copied();
            vec![(*input, own.chain(window.scalars().flat_map(columns_read)).collect())]
        }
        Op::Join { left, right, left_keys, right_keys, residual, .. } => {
            let width = plan.rels[*left].schema.fields().len();
            let both = own.iter().copied().chain(residual.iter().flat_map(columns_read));
            let (mut l, mut r) = columns_of_sides(both, width);
            l.extend(left_keys.iter().flat_map(columns_read));
            r.extend(right_keys.iter().flat_map(columns_read));
            vec![(*left, l), (*right, r)]
        }
        Op::TemporalJoin { left, right, left_keys, right_keys, when, .. } => {
            let width = plan.rels[*left].schema.fields().len();
            let (mut l, mut r) = columns_of_sides(own.iter().copied(), width);
            l.extend(left_keys.iter().flat_map(columns_read));
            r.extend(right_keys.iter().flat_map(columns_read));
            if let When::AsOf { left, right, .. } = when {
                l.insert(*left);
                r.insert(*right);
            }
            vec![(*left, l), (*right, r)]
        }
    }
}

/// The items among the columns `own` of an output that is `keys` keys, then the items.
fn items_among<'a, T>(own: &'a ColumnSet, items: &'a [T], keys: usize) -> impl Iterator<Item = &'a T> {
    own.range(keys..).filter_map(move |column| items.get(column - keys))
}

/// Columns of a joined row as columns of its left and of its right side; the left one has `width`.
fn columns_of_sides(columns: impl Iterator<Item = usize>, width: usize) -> (ColumnSet, ColumnSet) {
    let (mut left, mut right) = (ColumnSet::new(), ColumnSet::new());
    for column in columns {
        match column.checked_sub(width) {
            Some(of_right) => right.insert(of_right),
            None => left.insert(column),
        };
    }
    (left, right)
}

/// The plan being written, with the new places of old relations and their columns.
struct Writer<'a> {
    old: &'a Plan,
    rels: Vec<Rel>,
    /// Old relation to (new relation, old column to new column).
    placed: BTreeMap<RelId, (RelId, BTreeMap<usize, usize>)>,
    /// Narrowing projections already written, by new relation and columns.
    narrowed: BTreeMap<(RelId, Vec<usize>), RelId>,
}

/// Writes the plan anew with the needed columns only.
fn narrow_columns(plan: &mut Plan) {
    let needs = needed_columns(plan);
    let old = plan.clone();
    let mut writer =
        Writer { old: &old, rels: Vec::new(), placed: BTreeMap::new(), narrowed: BTreeMap::new() };
    for (id, (needed, rel)) in needs.iter().zip(&old.rels).enumerate() {
        match (needed, &rel.op) {
            (Some(own), _) => writer.write_rel(id, own),
            (None, Op::Source(_)) => writer.write_rel(id, &ColumnSet::new()),
            (None, _) => {}
        }
    }
    for root in roots_mut(plan) {
        *root = writer.exact_input(*root, &all_columns(&old, *root), &old.rels[*root].owner);
    }
    plan.rels = writer.rels;
}

/// The schema with some of its columns.
fn project_schema(schema: &Schema, columns: impl Iterator<Item = usize>) -> SchemaRef {
    Arc::new(Schema::new(columns.map(|c| Arc::clone(&schema.fields()[c])).collect::<Vec<_>>()))
}

impl Writer<'_> {
    fn push(&mut self, op: Op, schema: SchemaRef, owner: &str) -> RelId {
        self.rels.push(Rel::new(op, schema, owner));
        self.rels.len() - 1
    }

    /// The input with no column but `wanted` (old positions), and their new places.
    fn narrow_input(
        &mut self,
        input: RelId,
        wanted: &ColumnSet,
        owner: &str,
    ) -> (RelId, BTreeMap<usize, usize>) {
        let (rel, places) = self.placed[&input].clone();
        if self.rels[rel].schema.fields().len() == wanted.len() {
            return (rel, places);
        }
        let rel = self.select_columns(rel, new_places(wanted, &places), owner);
        (rel, dense_places(wanted))
    }

    /// The input with exactly the columns `wanted`, in ascending order.
    fn exact_input(&mut self, input: RelId, wanted: &ColumnSet, owner: &str) -> RelId {
        let (rel, places) = self.placed[&input].clone();
        let now = new_places(wanted, &places);
        let same = now.iter().copied().eq(0..self.rels[rel].schema.fields().len());
        if same { rel } else { self.select_columns(rel, now, owner) }
    }

    /// A projection of a written relation to some of its columns; one for all its users.
    fn select_columns(&mut self, rel: RelId, columns: Vec<usize>, owner: &str) -> RelId {
        if let Some(known) = self.narrowed.get(&(rel, columns.clone())) {
            return *known;
        }
        let schema = project_schema(&self.rels[rel].schema, columns.iter().copied());
        let exprs = columns.iter().zip(schema.fields()).map(|(c, f)| Scalar::column(f.name(), *c)).collect();
        let id = self.push(Op::Project { input: rel, exprs }, schema, owner);
        self.narrowed.insert((rel, columns), id);
        id
    }

    /// A GROUP BY with the aggregates among the columns `own`.
    fn write_aggregate(
        &self,
        input: RelId,
        (keys, aggregates): (&[Scalar], &[Aggregate]),
        own: &ColumnSet,
    ) -> (Op, BTreeMap<usize, usize>) {
        let (input, places) = self.placed[&input].clone();
        let outputs: ColumnSet = (0..keys.len()).chain(own.iter().copied()).collect();
        let kept = items_among(own, aggregates, keys.len());
        let aggregates = kept.map(|aggregate| aggregate.map(&mover(&places))).collect();
        (Op::Aggregate { input, keys: move_all(keys, &places), aggregates }, dense_places(&outputs))
    }

    /// A GROUP BY with the folds among the columns `own`; without any, an aggregate, which keeps no rows.
    fn write_group(
        &self,
        input: RelId,
        (keys, folds): (&[Scalar], &[Fold]),
        own: &ColumnSet,
    ) -> (Op, BTreeMap<usize, usize>) {
        let (input, places) = self.placed[&input].clone();
        let outputs: ColumnSet = (0..keys.len()).chain(own.iter().copied()).collect();
        let kept = items_among(own, folds, keys.len());
        let folds: Vec<Fold> = kept.map(|fold| fold.map(mover(&places))).collect();
        let keys = move_all(keys, &places);
        let op = if folds.is_empty() {
            Op::Aggregate { input, keys, aggregates: vec![] }
        } else {
            Op::GroupRows { input, keys, folds }
        };
        (op, dense_places(&outputs))
    }

    /// Writes one relation with at least the columns `own`.
    fn write_rel(&mut self, id: RelId, own: &ColumnSet) {
        let rel = &self.old.rels[id];
        let owner = rel.owner.as_str();
        let reads = input_columns(self.old, id, own);
        let (op, places): (Op, BTreeMap<usize, usize>) = match &rel.op {
            op @ (Op::Source(_) | Op::Values(_) | Op::Given(_)) => {
                (op.clone(), dense_places(&all_columns(self.old, id)))
            }
            Op::Recursive(recursive) => {
                let new = self.write_recursive(recursive, &reads, owner);
                (Op::Recursive(Box::new(new)), dense_places(&all_columns(self.old, id)))
            }
            Op::Filter { predicate, .. } => {
                let (input, places) = self.narrow_input(reads[0].0, &reads[0].1, owner);
                (Op::Filter { input, predicate: move_columns(predicate, &places) }, places)
            }
            Op::TemporalFilter { since, until, clock, .. } => {
                let (input, places) = self.narrow_input(reads[0].0, &reads[0].1, owner);
                let (since, until) = (move_edges(since, &places), move_edges(until, &places));
                (Op::TemporalFilter { input, since, until, clock: clock.clone() }, places)
            }
            Op::Project { exprs, .. } => {
                let (input, places) = self.placed[&reads[0].0].clone();
                let exprs = own.iter().map(|c| move_columns(&exprs[*c], &places)).collect();
                (Op::Project { input, exprs }, dense_places(own))
            }
            Op::Unnest { column, outer, .. } => {
                let (input, places) = self.narrow_input(reads[0].0, &reads[0].1, owner);
                (Op::Unnest { input, column: places[column], outer: *outer }, places)
            }
            Op::Union { .. } => {
                let inputs = reads.iter().map(|(i, _)| self.exact_input(*i, own, owner)).collect();
                (Op::Union { inputs }, dense_places(own))
            }
            Op::Distinct { .. } => {
                let all = reads[0].1.clone();
                (Op::Distinct { input: self.exact_input(reads[0].0, &all, owner) }, dense_places(&all))
            }
            Op::EmitOnClose { horizon, .. } => {
                let (input, places) = self.narrow_input(reads[0].0, &reads[0].1, owner);
                let horizon = Horizon { column: places[&horizon.column], marks: horizon.marks.clone() };
                (Op::EmitOnClose { input, horizon }, places)
            }
            Op::Aggregate { keys, aggregates, .. } => {
                self.write_aggregate(reads[0].0, (keys, aggregates), own)
            }
            Op::Window { input, window } => {
                let width = self.old.rels[*input].schema.fields().len();
                let (input, mut places) = self.narrow_input(reads[0].0, &reads[0].1, owner);
                let shift = self.rels[input].schema.fields().len();
                let window = Box::new(window.map(&mover(&places)));
                for at in 0..window.functions.len() {
                    places.insert(width + at, shift + at);
                }
                (Op::Window { input, window }, places)
            }
            Op::GroupRows { keys, folds, .. } => self.write_group(reads[0].0, (keys, folds), own),
            Op::Join { .. } | Op::TemporalJoin { .. } => self.write_join(id, &reads),
        };
        let order: BTreeMap<usize, usize> = places.iter().map(|(old, new)| (*new, *old)).collect();
        let schema = project_schema(&rel.schema, order.into_values());
        let new = self.push(op, schema, owner);
        self.placed.insert(id, (new, places));
    }

    /// A recursion over its inputs at their new places, with all their columns.
    fn write_recursive(
        &mut self,
        recursive: &Recursive,
        reads: &[(RelId, ColumnSet)],
        owner: &str,
    ) -> Recursive {
        let mut new = recursive.clone();
        for (input, (rel, all)) in [&mut new.base].into_iter().chain(&mut new.sides).zip(reads) {
            input.rel = self.exact_input(*rel, all, owner);
        }
        new
    }

    /// The operator of a join of two inputs, and the new places of its columns.
    fn write_join(&mut self, id: RelId, reads: &[(RelId, ColumnSet)]) -> (Op, BTreeMap<usize, usize>) {
        let rel = &self.old.rels[id];
        let owner = rel.owner.as_str();
        let (left, from_left) = self.narrow_input(reads[0].0, &reads[0].1, owner);
        let (right, from_right) = self.narrow_input(reads[1].0, &reads[1].1, owner);
        let width = self.old.rels[reads[0].0].schema.fields().len();
        let shift = self.rels[left].schema.fields().len();
        let mut places = from_left.clone();
        for (old, new) in &from_right {
            places.insert(old + width, new + shift);
        }
        match &rel.op {
            Op::Join { kind, left_keys, right_keys, residual, null_equal, .. } => {
                let op = Op::Join {
                    left,
                    right,
                    kind: *kind,
                    left_keys: move_all(left_keys, &from_left),
                    right_keys: move_all(right_keys, &from_right),
                    residual: residual.as_ref().map(mover(&places)),
                    null_equal: *null_equal,
                };
                (op, if kind.outputs_pairs() { places } else { from_left })
            }
            Op::TemporalJoin { left_keys, right_keys, outer, when, .. } => {
                let when = match *when {
                    When::ProcTime => When::ProcTime,
                    When::AsOf { left, right, nearest } => {
                        When::AsOf { left: from_left[&left], right: from_right[&right], nearest }
                    }
                };
                let left_keys = move_all(left_keys, &from_left);
                let right_keys = move_all(right_keys, &from_right);
                (Op::TemporalJoin { left, right, left_keys, right_keys, outer: *outer, when }, places)
            }
            other => (other.clone(), places),
        }
    }
}

/// Places of columns that are written one after the other.
fn dense_places(columns: &ColumnSet) -> BTreeMap<usize, usize> {
    columns.iter().enumerate().map(|(at, c)| (*c, at)).collect()
}

/// The places of columns in the order of the columns.
fn new_places(columns: &ColumnSet, places: &BTreeMap<usize, usize>) -> Vec<usize> {
    columns.iter().map(|column| places[column]).collect()
}

/// Number of uses of each relation.
fn count_uses(plan: &Plan) -> Vec<usize> {
    let mut uses = vec![0; plan.rels.len()];
    for rel in &plan.rels {
        for input in rel.op.inputs() {
            uses[input] += 1;
        }
    }
    for root in roots(plan) {
        uses[root] += 1;
    }
    uses
}

/// Merges a projection or filter with the one below where nothing else reads that one. A condition that
/// can fail stays above those that guard it.
fn merge_steps(plan: &mut Plan) {
    for id in 0..plan.rels.len() {
        while let Some(op) = merge_with_input(plan, id, &count_uses(plan)) {
            plan.rels[id].op = op;
        }
    }
}

/// The operator of a projection or filter merged with its input; None where it must stay.
fn merge_with_input(plan: &Plan, id: RelId, uses: &[usize]) -> Option<Op> {
    match &plan.rels[id].op {
        Op::Project { input, exprs } => match &plan.rels[*input].op {
            Op::Project { input: below, exprs: inner } if uses[*input] == 1 || inner.iter().all(is_plain) => {
                // An expression that is used twice would be computed twice.
                let reads = count_reads(exprs, inner.len());
                if inner.iter().zip(reads).any(|(expr, reads)| reads > 1 && !is_plain(expr)) {
                    return None;
                }
                let replaced = |column: &Column| Arc::clone(inner[column.index()].expr());
                let exprs = exprs.iter().map(|expr| substitute_columns(expr, &replaced)).collect();
                Some(Op::Project { input: *below, exprs })
            }
            _ => None,
        },
        Op::Filter { input, predicate } => match &plan.rels[*input].op {
            Op::Filter { input: below, predicate: inner }
                if uses[*input] == 1 && !fallible(predicate.expr(), &plan.rels[*below].schema) =>
            {
                let both =
                    BinaryExpr::new(Arc::clone(inner.expr()), Operator::And, Arc::clone(predicate.expr()));
                Some(Op::Filter { input: *below, predicate: Scalar::new(Arc::new(both)) })
            }
            _ => None,
        },
        _ => None,
    }
}

/// The number of places of `exprs` that read each of `width` columns.
fn count_reads(exprs: &[Scalar], width: usize) -> Vec<usize> {
    let mut reads = vec![0; width];
    for expr in exprs {
        let _ = expr.expr().apply(|part| {
            if let Some(column) = column_of(part) {
                reads[column.index()] += 1;
            }
            Ok(TreeNodeRecursion::Continue)
        });
    }
    reads
}

/// Returns true for a column or a constant: nothing to compute.
fn is_plain(scalar: &Scalar) -> bool {
    scalar.as_column().is_some() || scalar.expr().is::<Literal>()
}

/// Gives an aggregate's columns the names that a projection right above it gives them, so that the
/// projection changes nothing and is dropped.
fn rename_aggregates(plan: &mut Plan) {
    let uses = count_uses(plan);
    for id in 0..plan.rels.len() {
        let Op::Project { input, exprs } = &plan.rels[id].op else { continue };
        let below = &plan.rels[*input];
        let all = exprs.iter().map(Scalar::as_column).eq((0..below.schema.fields().len()).map(Some));
        let same = all && same_types(&plan.rels[id].schema, &below.schema);
        if same && uses[*input] == 1 && matches!(below.op, Op::Aggregate { .. } | Op::GroupRows { .. }) {
            let input = *input;
            plan.rels[input].schema = Arc::clone(&plan.rels[id].schema);
        }
    }
}

/// Returns true if the columns of two schemas have the same types.
fn same_types(a: &Schema, b: &Schema) -> bool {
    a.fields().len() == b.fields().len()
        && a.fields().iter().zip(b.fields()).all(|(a, b)| a.data_type() == b.data_type())
}

/// The input of a projection that changes nothing.
fn identity_input(plan: &Plan, id: RelId) -> Option<RelId> {
    let Op::Project { input, exprs } = &plan.rels[id].op else { return None };
    let same = exprs.iter().map(Scalar::as_column).eq((0..plan.rels[*input].schema.fields().len()).map(Some));
    (same && plan.rels[id].schema == plan.rels[*input].schema).then_some(*input)
}

/// Drops relations without users and projections that change nothing, and renumbers the rest.
fn drop_unused(plan: &mut Plan) {
    // The relation that takes the place of each: itself, or the input of a projection that changes nothing.
    let mut stands: Vec<RelId> = Vec::with_capacity(plan.rels.len());
    for id in 0..plan.rels.len() {
        let target = match identity_input(plan, id) {
            Some(input) => stands[input],
            None => id,
        };
        stands.push(target);
    }
    let mut live = vec![false; plan.rels.len()];
    for root in roots(plan) {
        live[stands[root]] = true;
    }
    for id in (0..plan.rels.len()).rev() {
        live[id] |= matches!(plan.rels[id].op, Op::Source(_));
        if live[id] {
            for input in plan.rels[id].op.inputs() {
                live[stands[input]] = true;
            }
        }
    }
    let mut numbers: BTreeMap<RelId, RelId> = BTreeMap::new();
    let mut rels = Vec::new();
    for (id, mut rel) in std::mem::take(&mut plan.rels).into_iter().enumerate() {
        if live[id] {
            renumber_inputs(&mut rel.op, &|old| numbers[&stands[old]]);
            numbers.insert(id, rels.len());
            rels.push(rel);
        }
    }
    plan.rels = rels;
    for root in roots_mut(plan) {
        *root = numbers[&stands[*root]];
    }
}

/// Gives an operator's inputs other numbers.
pub(crate) fn renumber_inputs(op: &mut Op, number: &dyn Fn(RelId) -> RelId) {
    match op {
        Op::Source(_) | Op::Values(_) | Op::Given(_) => {}
        Op::Recursive(recursive) => {
            for input in [&mut recursive.base].into_iter().chain(&mut recursive.sides) {
                input.rel = number(input.rel);
            }
        }
        Op::Filter { input, .. }
        | Op::Project { input, .. }
        | Op::Unnest { input, .. }
        | Op::Distinct { input }
        | Op::TemporalFilter { input, .. }
        | Op::EmitOnClose { input, .. }
        | Op::Aggregate { input, .. }
        | Op::GroupRows { input, .. }
        | Op::Window { input, .. } => *input = number(*input),
        Op::Union { inputs } => {
            for input in inputs {
                *input = number(*input);
            }
        }
        Op::Join { left, right, .. } | Op::TemporalJoin { left, right, .. } => {
            *left = number(*left);
            *right = number(*right);
        }
    }
}
