//! Drops what nobody needs from a whole plan, and joins adjacent steps.
//!
//! Columns are followed from views and sinks down to the sources, through views that are not
//! materialized: what no user of a relation reads is not computed, not unnested, not kept in a
//! join's state. A source keeps all its columns (its table's rows are whole); a projection follows.
//! Relations nobody reads disappear, sources excepted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use datafusion_common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion_expr::Operator;
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::{BinaryExpr, Column, Literal};

use crate::plan::analysis::fallible::fallible;
use crate::plan::analysis::properties::column_of;
use crate::plan::{Edge, Fold, Horizon, Op, Plan, Rel, RelId, Scalar, When};

type Columns = BTreeSet<usize>;

/// Prunes columns and relations, then joins adjacent projections and filters.
pub(crate) fn prune(plan: &mut Plan) {
    narrow(plan);
    merge(plan);
    rename(plan);
    compact(plan);
    super::names::settle(plan);
}

/// The columns `scalar` reads.
pub(crate) fn columns(scalar: &Scalar) -> Columns {
    let mut out = Columns::new();
    let _ = scalar.expr().apply(|e| {
        if let Some(c) = column_of(e) {
            out.insert(c.index());
        }
        Ok(TreeNodeRecursion::Continue)
    });
    out
}

/// The scalar with every column replaced.
fn substitute(scalar: &Scalar, by: &dyn Fn(&Column) -> Arc<dyn PhysicalExpr>) -> Scalar {
    let expr = Arc::clone(scalar.expr()).transform_up(|e| {
        Ok(match column_of(&e) {
            Some(c) => Transformed::yes(by(c)),
            None => Transformed::no(e),
        })
    });
    // The closure cannot fail, and rebuilding a node from children of the same types does not.
    Scalar::new(expr.map_or_else(|_| Arc::clone(scalar.expr()), |t| t.data))
}

fn moved(scalar: &Scalar, places: &BTreeMap<usize, usize>) -> Scalar {
    substitute(scalar, &|c| {
        Arc::new(Column::new(c.name(), places.get(&c.index()).copied().unwrap_or(c.index())))
    })
}

/// What each relation's users read of it; None where it has no user.
fn needs(plan: &Plan) -> Vec<Option<Columns>> {
    let mut needs: Vec<Option<Columns>> = vec![None; plan.rels.len()];
    let roots = plan.views.iter().map(|v| v.rel).chain(plan.sinks.iter().map(|s| s.rel));
    for root in roots {
        needs[root] = Some((0..plan.rels[root].schema.fields().len()).collect());
    }
    for id in (0..plan.rels.len()).rev() {
        let Some(own) = needs[id].clone() else { continue };
        for (input, read) in reads(plan, id, &own) {
            needs[input].get_or_insert_default().extend(read);
        }
    }
    needs
}

/// What a relation reads of each input so as to give the columns `own`. At least one column: a
/// batch without columns would not know how many rows it has.
fn reads(plan: &Plan, id: RelId, own: &Columns) -> Vec<(RelId, Columns)> {
    let mut reads = reads_of(plan, id, own);
    for (_, columns) in reads.iter_mut().filter(|(_, columns)| columns.is_empty()) {
        columns.insert(0);
    }
    reads
}

fn reads_of(plan: &Plan, id: RelId, own: &Columns) -> Vec<(RelId, Columns)> {
    let all = |input: RelId| -> Columns { (0..plan.rels[input].schema.fields().len()).collect() };
    match &plan.rels[id].op {
        Op::Source(_) | Op::Values(_) | Op::Given(_) => vec![],
        Op::Recursive(_) => plan.rels[id].op.inputs().into_iter().map(|input| (input, all(input))).collect(),
        Op::Filter { input, predicate } => vec![(*input, own.union(&columns(predicate)).copied().collect())],
        Op::Within { input, since, until, .. } => {
            let times = since.iter().chain(until).flat_map(|edge| columns(&edge.time));
            vec![(*input, own.iter().copied().chain(times).collect())]
        }
        Op::Project { input, exprs } => {
            vec![(*input, own.iter().flat_map(|c| columns(&exprs[*c])).collect())]
        }
        Op::Unnest { input, column, .. } => vec![(*input, own.iter().copied().chain([*column]).collect())],
        Op::Union { inputs } => inputs.iter().map(|i| (*i, own.clone())).collect(),
        Op::Distinct { input } => vec![(*input, all(*input))],
        Op::Close { input, horizon } => {
            vec![(*input, own.iter().copied().chain([horizon.column]).collect())]
        }
        Op::Aggregate { input, keys, aggregates } => {
            let kept = aggregates
                .iter()
                .enumerate()
                .filter(|(i, _)| own.contains(&(keys.len() + i)))
                .map(|(_, a)| a);
            let scalars = keys.iter().chain(kept.flat_map(|a| a.args().chain(&a.filter)));
            vec![(*input, scalars.flat_map(columns).collect())]
        }
        Op::Fold { input, keys, folds } => {
            let kept = folds.iter().enumerate().filter(|(i, _)| own.contains(&(keys.len() + i)));
            let scalars = keys.iter().chain(kept.flat_map(|(_, fold)| fold.reads()));
            vec![(*input, scalars.flat_map(columns).collect())]
        }
        Op::Window { input, window } => {
            let width = plan.rels[*input].schema.fields().len();
            let own = own.iter().copied().filter(|c| *c < width);
            vec![(*input, own.chain(window.scalars().flat_map(columns)).collect())]
        }
        Op::Join { left, right, left_keys, right_keys, residual, .. } => {
            let width = plan.rels[*left].schema.fields().len();
            let both: Columns = own.iter().copied().chain(residual.iter().flat_map(columns)).collect();
            let mut l: Columns = both.iter().copied().filter(|c| *c < width).collect();
            let mut r: Columns = both.iter().filter(|c| **c >= width).map(|c| c - width).collect();
            l.extend(left_keys.iter().flat_map(columns));
            r.extend(right_keys.iter().flat_map(columns));
            vec![(*left, l), (*right, r)]
        }
        Op::Lookup { left, right, left_keys, right_keys, when, .. } => {
            let width = plan.rels[*left].schema.fields().len();
            let mut l: Columns = own.iter().copied().filter(|c| *c < width).collect();
            let mut r: Columns = own.iter().filter(|c| **c >= width).map(|c| c - width).collect();
            l.extend(left_keys.iter().flat_map(columns));
            r.extend(right_keys.iter().flat_map(columns));
            if let When::Time { left, right, .. } = when {
                l.insert(*left);
                r.insert(*right);
            }
            vec![(*left, l), (*right, r)]
        }
    }
}

/// The plan being written: where each old relation stands and where its columns went.
struct Writer<'a> {
    old: &'a Plan,
    rels: Vec<Rel>,
    /// Old relation to (new relation, old column to new column).
    placed: BTreeMap<RelId, (RelId, BTreeMap<usize, usize>)>,
    /// Narrowing projections already written, by new relation and columns.
    narrowed: BTreeMap<(RelId, Vec<usize>), RelId>,
}

fn narrow(plan: &mut Plan) {
    let needs = needs(plan);
    let old = plan.clone();
    let mut writer =
        Writer { old: &old, rels: Vec::new(), placed: BTreeMap::new(), narrowed: BTreeMap::new() };
    for (id, (needed, rel)) in needs.iter().zip(&old.rels).enumerate() {
        match (needed, &rel.op) {
            (Some(own), _) => writer.write(id, own),
            (None, Op::Source(_)) => writer.write(id, &Columns::new()),
            (None, _) => {}
        }
    }
    for rel in plan.views.iter_mut().map(|v| &mut v.rel).chain(plan.sinks.iter_mut().map(|s| &mut s.rel)) {
        let root = *rel;
        let wanted: Columns = (0..old.rels[root].schema.fields().len()).collect();
        *rel = writer.exact(root, &wanted, &old.rels[root].owner);
    }
    plan.rels = writer.rels;
}

fn subset(schema: &Schema, columns: impl Iterator<Item = usize>) -> SchemaRef {
    Arc::new(Schema::new(columns.map(|c| Arc::clone(&schema.fields()[c])).collect::<Vec<_>>()))
}

impl Writer<'_> {
    fn push(&mut self, op: Op, schema: SchemaRef, owner: &str) -> RelId {
        self.rels.push(Rel {
            op,
            schema,
            unique: vec![],
            paired: vec![],
            append_only: false,
            below_forgetter: false,
            durable: false,
            owner: owner.to_owned(),
        });
        self.rels.len() - 1
    }

    /// The input with no column but `wanted` (old positions), and where those stand.
    fn narrowed(&mut self, input: RelId, wanted: &Columns, owner: &str) -> (RelId, BTreeMap<usize, usize>) {
        let (rel, places) = self.placed[&input].clone();
        if self.rels[rel].schema.fields().len() == wanted.len() {
            return (rel, places);
        }
        let rel = self.selected(rel, wanted.iter().map(|c| places[c]).collect(), owner);
        (rel, wanted.iter().enumerate().map(|(at, c)| (*c, at)).collect())
    }

    /// The input with exactly `wanted` in ascending order.
    fn exact(&mut self, input: RelId, wanted: &Columns, owner: &str) -> RelId {
        let (rel, places) = self.placed[&input].clone();
        let now: Vec<usize> = wanted.iter().map(|c| places[c]).collect();
        let same = now.iter().copied().eq(0..self.rels[rel].schema.fields().len());
        if same { rel } else { self.selected(rel, now, owner) }
    }

    fn selected(&mut self, rel: RelId, columns: Vec<usize>, owner: &str) -> RelId {
        if let Some(known) = self.narrowed.get(&(rel, columns.clone())) {
            return *known;
        }
        let schema = subset(&self.rels[rel].schema, columns.iter().copied());
        let exprs = columns.iter().zip(schema.fields()).map(|(c, f)| Scalar::column(f.name(), *c)).collect();
        let id = self.push(Op::Project { input: rel, exprs }, schema, owner);
        self.narrowed.insert((rel, columns), id);
        id
    }

    /// A GROUP BY with the folds among the columns `own`; without any, one that keeps no rows.
    fn fold(
        &self,
        input: RelId,
        (keys, folds): (&[Scalar], &[Fold]),
        own: &Columns,
    ) -> (Op, BTreeMap<usize, usize>) {
        let (input, places) = self.placed[&input].clone();
        let outputs: Columns = (0..keys.len()).chain(own.iter().copied()).collect();
        let kept = outputs.iter().filter_map(|c| folds.get(c.checked_sub(keys.len())?));
        let folds: Vec<Fold> = kept.map(|fold| fold.map(|s| moved(s, &places))).collect();
        let keys = keys.iter().map(|k| moved(k, &places)).collect();
        let op = match folds.is_empty() {
            true => Op::Aggregate { input, keys, aggregates: vec![] },
            false => Op::Fold { input, keys, folds },
        };
        (op, dense(&outputs))
    }

    /// Writes one relation so that it gives at least the columns `own`.
    fn write(&mut self, id: RelId, own: &Columns) {
        let rel = &self.old.rels[id];
        let owner = rel.owner.as_str();
        let reads = reads(self.old, id, own);
        let (op, places): (Op, BTreeMap<usize, usize>) = match &rel.op {
            op @ (Op::Source(_) | Op::Values(_) | Op::Given(_)) => {
                (op.clone(), (0..rel.schema.fields().len()).map(|c| (c, c)).collect())
            }
            Op::Recursive(recursive) => {
                let mut new = recursive.clone();
                let inputs: Vec<RelId> =
                    reads.iter().map(|(input, all)| self.exact(*input, all, owner)).collect();
                for (input, rel) in [&mut new.base].into_iter().chain(&mut new.sides).zip(inputs) {
                    input.rel = rel;
                }
                (Op::Recursive(new), (0..rel.schema.fields().len()).map(|c| (c, c)).collect())
            }
            Op::Filter { predicate, .. } => {
                let (input, places) = self.narrowed(reads[0].0, &reads[0].1, owner);
                (Op::Filter { input, predicate: moved(predicate, &places) }, places)
            }
            Op::Within { since, until, clock, .. } => {
                let (input, places) = self.narrowed(reads[0].0, &reads[0].1, owner);
                let all = |edges: &[Edge]| edges.iter().map(|e| e.map(&|s| moved(s, &places))).collect();
                (Op::Within { input, since: all(since), until: all(until), clock: clock.clone() }, places)
            }
            Op::Project { exprs, .. } => {
                let (input, places) = self.placed[&reads[0].0].clone();
                let exprs = own.iter().map(|c| moved(&exprs[*c], &places)).collect();
                (Op::Project { input, exprs }, dense(own))
            }
            Op::Unnest { column, outer, .. } => {
                let (input, places) = self.narrowed(reads[0].0, &reads[0].1, owner);
                (Op::Unnest { input, column: places[column], outer: *outer }, places)
            }
            Op::Union { .. } => {
                let inputs = reads.iter().map(|(i, _)| self.exact(*i, own, owner)).collect();
                (Op::Union { inputs }, dense(own))
            }
            Op::Distinct { .. } => {
                let all = reads[0].1.clone();
                (Op::Distinct { input: self.exact(reads[0].0, &all, owner) }, dense(&all))
            }
            Op::Close { horizon, .. } => {
                let (input, places) = self.narrowed(reads[0].0, &reads[0].1, owner);
                let horizon = Horizon { column: places[&horizon.column], marks: horizon.marks.clone() };
                (Op::Close { input, horizon }, places)
            }
            Op::Aggregate { keys, aggregates, .. } => {
                let (input, places) = self.placed[&reads[0].0].clone();
                let outputs: Columns = (0..keys.len()).chain(own.iter().copied()).collect();
                let kept = outputs.iter().filter_map(|c| aggregates.get(c.checked_sub(keys.len())?));
                let aggregates = kept.map(|a| a.map(&|s| moved(s, &places))).collect();
                let keys = keys.iter().map(|k| moved(k, &places)).collect();
                (Op::Aggregate { input, keys, aggregates }, dense(&outputs))
            }
            Op::Window { input, window } => {
                let width = self.old.rels[*input].schema.fields().len();
                let (input, mut places) = self.narrowed(reads[0].0, &reads[0].1, owner);
                let shift = self.rels[input].schema.fields().len();
                let window = Box::new(window.map(&|scalar| moved(scalar, &places)));
                places.extend((0..window.functions.len()).map(|at| (width + at, shift + at)));
                (Op::Window { input, window }, places)
            }
            Op::Fold { keys, folds, .. } => self.fold(reads[0].0, (keys, folds), own),
            Op::Join { .. } | Op::Lookup { .. } => self.joined(id, &reads),
        };
        let mut order: Vec<(usize, usize)> = places.iter().map(|(old, new)| (*new, *old)).collect();
        order.sort_unstable();
        let schema = subset(&rel.schema, order.into_iter().map(|(_, old)| old));
        let new = self.push(op, schema, owner);
        self.placed.insert(id, (new, places));
    }

    /// Writes the operator of a join of two inputs, and where its columns stand.
    fn joined(&mut self, id: RelId, reads: &[(RelId, Columns)]) -> (Op, BTreeMap<usize, usize>) {
        let rel = &self.old.rels[id];
        let owner = rel.owner.as_str();
        let (left, from_left) = self.narrowed(reads[0].0, &reads[0].1, owner);
        let (right, from_right) = self.narrowed(reads[1].0, &reads[1].1, owner);
        let width = self.old.rels[reads[0].0].schema.fields().len();
        let shift = self.rels[left].schema.fields().len();
        let mut places = from_left.clone();
        places.extend(from_right.iter().map(|(old, new)| (old + width, new + shift)));
        let all = |keys: &[Scalar], from| keys.iter().map(|k| moved(k, from)).collect();
        match &rel.op {
            Op::Join { kind, left_keys, right_keys, residual, null_equal, .. } => {
                let op = Op::Join {
                    left,
                    right,
                    kind: *kind,
                    left_keys: all(left_keys, &from_left),
                    right_keys: all(right_keys, &from_right),
                    residual: residual.as_ref().map(|r| moved(r, &places)),
                    null_equal: *null_equal,
                };
                (op, if kind.pairs() { places } else { from_left })
            }
            Op::Lookup { left_keys, right_keys, outer, when, .. } => {
                let when = match *when {
                    When::Now => When::Now,
                    When::Time { left, right, nearest } => {
                        When::Time { left: from_left[&left], right: from_right[&right], nearest }
                    }
                };
                let (left_keys, right_keys) = (all(left_keys, &from_left), all(right_keys, &from_right));
                (Op::Lookup { left, right, left_keys, right_keys, outer: *outer, when }, places)
            }
            other => (other.clone(), places),
        }
    }
}

fn dense(columns: &Columns) -> BTreeMap<usize, usize> {
    columns.iter().enumerate().map(|(at, c)| (*c, at)).collect()
}

/// How often each relation is read.
fn uses(plan: &Plan) -> Vec<usize> {
    let mut uses = vec![0; plan.rels.len()];
    let inputs = plan.rels.iter().flat_map(|r| r.op.inputs());
    for id in inputs.chain(plan.views.iter().map(|v| v.rel)).chain(plan.sinks.iter().map(|s| s.rel)) {
        uses[id] += 1;
    }
    uses
}

/// Joins a projection or filter with the one below where nobody else reads that one. A condition that
/// can fail stays above those that guard it.
fn merge(plan: &mut Plan) {
    for id in 0..plan.rels.len() {
        while let Some(op) = merged(plan, id, &uses(plan)) {
            plan.rels[id].op = op;
        }
    }
}

fn merged(plan: &Plan, id: RelId, uses: &[usize]) -> Option<Op> {
    match &plan.rels[id].op {
        Op::Project { input, exprs } => match &plan.rels[*input].op {
            Op::Project { input: below, exprs: inner } if uses[*input] == 1 || inner.iter().all(plain) => {
                let mut read = vec![0_usize; inner.len()];
                for expr in exprs {
                    let _ = expr.expr().apply(|e| {
                        if let Some(c) = column_of(e) {
                            read[c.index()] += 1;
                        }
                        Ok(TreeNodeRecursion::Continue)
                    });
                }
                let cheap = inner.iter().zip(&read).all(|(e, n)| *n <= 1 || plain(e));
                let exprs =
                    exprs.iter().map(|e| substitute(e, &|c| Arc::clone(inner[c.index()].expr()))).collect();
                cheap.then_some(Op::Project { input: *below, exprs })
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

fn plain(scalar: &Scalar) -> bool {
    scalar.as_column().is_some() || scalar.expr().is::<Literal>()
}

/// Gives an aggregate the names that a projection right above it gives its columns, so that the
/// projection changes nothing.
fn rename(plan: &mut Plan) {
    let uses = uses(plan);
    for id in 0..plan.rels.len() {
        let Op::Project { input, exprs } = &plan.rels[id].op else { continue };
        let below = &plan.rels[*input];
        let all = exprs.iter().map(Scalar::as_column).eq((0..below.schema.fields().len()).map(Some));
        let types = |s: &Schema| s.fields().iter().map(|f| f.data_type().clone()).collect::<Vec<_>>();
        let same = all && types(&plan.rels[id].schema) == types(&below.schema);
        if same && uses[*input] == 1 && matches!(below.op, Op::Aggregate { .. } | Op::Fold { .. }) {
            let input = *input;
            plan.rels[input].schema = Arc::clone(&plan.rels[id].schema);
        }
    }
}

/// Whether a projection gives its input as it is.
fn identity(plan: &Plan, id: RelId) -> Option<RelId> {
    let Op::Project { input, exprs } = &plan.rels[id].op else { return None };
    let same = exprs.iter().map(Scalar::as_column).eq((0..plan.rels[*input].schema.fields().len()).map(Some));
    (same && plan.rels[id].schema == plan.rels[*input].schema).then_some(*input)
}

/// Drops relations nobody reads and projections that change nothing, and numbers the rest anew.
fn compact(plan: &mut Plan) {
    let mut stands: Vec<RelId> = Vec::with_capacity(plan.rels.len());
    for id in 0..plan.rels.len() {
        let target = identity(plan, id).map_or(id, |input| stands[input]);
        stands.push(target);
    }
    let mut live = vec![false; plan.rels.len()];
    for root in plan.views.iter().map(|v| v.rel).chain(plan.sinks.iter().map(|s| s.rel)) {
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
            renumber(&mut rel.op, &|old| numbers[&stands[old]]);
            numbers.insert(id, rels.len());
            rels.push(rel);
        }
    }
    plan.rels = rels;
    for view in &mut plan.views {
        view.rel = numbers[&stands[view.rel]];
    }
    for sink in &mut plan.sinks {
        sink.rel = numbers[&stands[sink.rel]];
    }
}

/// Gives an operator's inputs other numbers.
pub(crate) fn renumber(op: &mut Op, number: &dyn Fn(RelId) -> RelId) {
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
        | Op::Within { input, .. }
        | Op::Close { input, .. }
        | Op::Aggregate { input, .. }
        | Op::Fold { input, .. }
        | Op::Window { input, .. } => *input = number(*input),
        Op::Union { inputs } => inputs.iter_mut().for_each(|i| *i = number(*i)),
        Op::Join { left, right, .. } | Op::Lookup { left, right, .. } => {
            *left = number(*left);
            *right = number(*right);
        }
    }
}
