//! Lowering of a recursive common table to one operator.
//!
//! The second term is lowered over a leaf that stands for the rows of the previous round. The relations that
//! depend on the leaf are the operator's body; all others are ordinary relations, the sides of the recursion,
//! of which the body reads the columns it needs.
//!
//! The operator keeps no durable state: on a restart it is derived again from its inputs. An input that would
//! not be delivered again (see [`crate::plan::analysis::properties`]) goes through a relation that keeps it:
//! each row once for UNION, and once with its count for UNION ALL.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion_common::{DataFusionError, Result};

use super::{Lower, all_columns, cast_columns};
use crate::mistake::Mistake;
use crate::plan::rewrite::prune::{prune, renumber_inputs};
use crate::plan::{AggFunc, Aggregate, JoinKind, Op, Plan, Recursive, RecursiveInput, Rel, RelId, View};
use crate::sql::catalog::Recursion;

/// Hint that lists the operations allowed between a recursive table and its second term.
const ALLOWED_HINT: &str = "a round may filter, compute, UNNEST, and join what it reads of the round before; \
                       do the rest in the query that reads";

impl Lower<'_> {
    /// The relation of a recursive table, lowered once even if it is read several times.
    pub(super) fn lower_recursion(&mut self, of: &Arc<Recursion>) -> Result<RelId> {
        if let Some((_, rel)) = self.recursions.iter().find(|(known, _)| Arc::ptr_eq(known, of)) {
            return Ok(*rel);
        }
        let base = self.lower_node(&of.base)?;
        let base = self.align_types(base, &of.schema)?;
        let leaf = self.push(Op::Given(0), Arc::clone(&of.schema));
        self.rounds.insert(of.round.clone(), leaf);
        let step = self.lower_node(&of.step)?;
        let step = self.align_types(step, &of.schema)?;
        let moving = self.moving_relations(leaf, step);
        let rel = if moving.contains(&step) {
            self.check_moving(&moving, of)?;
            self.push_recursive(&moving, base, of)
        } else {
            // The second term does not depend on the leaf, for example because its condition was simplified
            // to FALSE.
            let both = self.push(Op::Union { inputs: vec![base, step] }, Arc::clone(&of.schema));
            let distinct = Op::Distinct { input: both };
            if of.distinct { self.push(distinct, Arc::clone(&of.schema)) } else { both }
        };
        self.recursions.push((Arc::clone(of), rel));
        Ok(rel)
    }

    /// The relation with its columns cast to the types of `schema`, which differ at most in nested
    /// nullability.
    fn align_types(&mut self, rel: RelId, schema: &SchemaRef) -> Result<RelId> {
        let exprs = cast_columns(&self.schema_of(rel), schema)?;
        if exprs.iter().all(|expr| expr.as_column().is_some()) {
            return Ok(rel);
        }
        Ok(self.push(Op::Project { input: rel, exprs }, Arc::clone(schema)))
    }

    /// Relations that `step` reads, directly or indirectly, and that depend on `leaf`.
    fn moving_relations(&self, leaf: RelId, step: RelId) -> BTreeSet<RelId> {
        let mut read = BTreeSet::from([step]);
        // Inputs have smaller numbers than the relations that read them, so one pass in each direction
        // suffices.
        for id in (leaf..=step).rev() {
            if read.contains(&id) {
                read.extend(self.plan.rels[id].op.inputs());
            }
        }
        let mut moving = BTreeSet::from([leaf]);
        for id in leaf + 1..=step {
            if read.contains(&id) && self.plan.rels[id].op.inputs().iter().any(|i| moving.contains(i)) {
                moving.insert(id);
            }
        }
        moving
    }

    /// Refuses operators that cannot be evaluated round by round.
    fn check_moving(&self, moving: &BTreeSet<RelId>, of: &Recursion) -> Result<()> {
        for id in moving {
            if let Some(what) = place_of_read(&self.plan.rels[*id].op, moving, of.distinct) {
                let message = format!("in its second term, {} is read {what}", of.name);
                let mistake = Mistake::new(of.pos, message).hint(format!("{ALLOWED_HINT} {}", of.name));
                return Err(DataFusionError::External(Box::new(mistake)));
            }
        }
        Ok(())
    }

    /// The operator over `base` whose body is made of the relations in `moving`.
    fn push_recursive(&mut self, moving: &BTreeSet<RelId>, base: RelId, of: &Recursion) -> RelId {
        let (body, read) = self.build_body(moving, of);
        let base = self.complete_on_restart(base, of.distinct);
        let mut sides = Vec::with_capacity(read.len());
        for side in read {
            sides.push(self.complete_on_restart(side, of.distinct));
        }
        let recursive = Recursive { name: of.name.clone(), base, sides, body, distinct: of.distinct };
        self.push(Op::Recursive(Box::new(recursive)), Arc::clone(&of.schema))
    }

    /// The body and its sides, the relations it reads beside the rows of the previous round. Columns that the
    /// body does not need are pruned from both.
    fn build_body(&mut self, moving: &BTreeSet<RelId>, of: &Recursion) -> (Plan, Vec<RelId>) {
        let mut sides: BTreeSet<RelId> = BTreeSet::new();
        for id in moving {
            sides.extend(self.plan.rels[*id].op.inputs());
        }
        let sides: Vec<RelId> = sides.difference(moving).copied().collect();
        // The body numbers the leaf 0, then the sides, then the moved relations in their order in the plan.
        let leaf = moving.iter().take(1);
        let order = leaf.chain(&sides).chain(moving.iter().skip(1));
        let mut narrow = Plan::default();
        let mut numbers: BTreeMap<RelId, usize> = BTreeMap::new();
        for (at, id) in order.enumerate() {
            let mut rel = self.plan.rels[*id].clone();
            if at <= sides.len() {
                rel.op = Op::Given(at);
            } else {
                renumber_inputs(&mut rel.op, &|old| numbers[&old]);
            }
            numbers.insert(*id, at);
            narrow.rels.push(rel);
        }
        let rel = narrow.rels.len() - 1;
        let name = of.name.clone();
        let served = None;
        let view = View {
            name,
            definition: String::new(),
            rel,
            key: None,
            retention_us: None,
            served,
            indexes: vec![],
            history: None,
            metrics: vec![],
            final_marks: None,
        };
        narrow.views.push(view);
        prune(&mut narrow);
        self.split_body(narrow.rels, &sides)
    }

    /// Moves relations that do not depend on a round (projections that pruning put above the sides) back into
    /// the plan; returns the others as the body, and the relations of the plan that the body reads.
    fn split_body(&mut self, rels: Vec<Rel>, sides: &[RelId]) -> (Plan, Vec<RelId>) {
        let mut still: BTreeMap<usize, RelId> = BTreeMap::new();
        let mut moving: Vec<(usize, Rel)> = Vec::new();
        for (id, mut rel) in rels.into_iter().enumerate() {
            if let Op::Given(side @ 1..) = rel.op {
                still.insert(id, sides[side - 1]);
            } else if !matches!(rel.op, Op::Given(_))
                && rel.op.inputs().iter().all(|input| still.contains_key(input))
            {
                renumber_inputs(&mut rel.op, &|old| still[&old]);
                let id_in_plan = self.push(rel.op, rel.schema);
                still.insert(id, id_in_plan);
            } else {
                moving.push((id, rel));
            }
        }
        let mut read: BTreeSet<usize> = BTreeSet::new();
        for (_, rel) in &moving {
            read.extend(rel.op.inputs());
        }
        read.retain(|input| still.contains_key(input));
        let sides: Vec<RelId> = read.iter().map(|id| still[id]).collect();
        let mut numbers: BTreeMap<usize, usize> = read.into_iter().zip(1..).collect();
        let mut body: Vec<Rel> = Vec::new();
        let mut steps = Vec::new();
        for (id, rel) in moving {
            if matches!(rel.op, Op::Given(_)) {
                numbers.insert(id, 0);
                body.push(rel);
            } else {
                steps.push((id, rel));
            }
        }
        for (at, side) in sides.iter().enumerate() {
            body.push(Rel { op: Op::Given(at + 1), ..self.plan.rels[*side].clone() });
        }
        for (id, mut rel) in steps {
            renumber_inputs(&mut rel.op, &|old| numbers[&old]);
            numbers.insert(id, body.len());
            body.push(rel);
        }
        (Plan { rels: body, ..Plan::default() }, sides)
    }

    /// `rel` if it is delivered completely on a restart, or else a relation over it that keeps its rows.
    fn complete_on_restart(&mut self, rel: RelId, distinct: bool) -> RecursiveInput {
        if crate::runtime::state_tables::follows_from_tables(self.plan, rel) {
            return RecursiveInput { rel, counted: false };
        }
        let schema = self.schema_of(rel);
        if distinct {
            return RecursiveInput { rel: self.push(Op::Distinct { input: rel }, schema), counted: false };
        }
        let keys = all_columns(&schema);
        let count =
            Aggregate { func: AggFunc::Count, arg: None, other: None, filter: None, output: DataType::Int64 };
        let count_column = Arc::new(Field::new("count", DataType::Int64, false));
        let fields = schema.fields().iter().cloned().chain([count_column]);
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let op = Op::Aggregate { input: rel, keys, aggregates: vec![count] };
        RecursiveInput { rel: self.push(op, schema), counted: true }
    }
}

/// Description of the place in which `op` reads the previous round, if it cannot be evaluated round by round;
/// `moving` are the relations that depend on that round.
fn place_of_read(op: &Op, moving: &BTreeSet<RelId>, distinct: bool) -> Option<&'static str> {
    let moves = |input: &RelId| moving.contains(input);
    match op {
        Op::Given(_) | Op::Filter { .. } | Op::Project { .. } | Op::Unnest { .. } => None,
        Op::Union { inputs } if distinct || inputs.iter().all(moves) => None,
        Op::Union { .. } => Some("in one part of a UNION, whose other part would come again in every round"),
        Op::Join { kind: JoinKind::Inner, left, right, .. } => {
            (moves(left) && moves(right)).then_some("twice, by what a condition of it is turned into")
        }
        Op::Join { kind: JoinKind::Left, right, .. } => {
            moves(right).then_some("on the side of an outer join that may be missing")
        }
        Op::Join { kind: JoinKind::Semi | JoinKind::Anti, right, .. } => {
            moves(right).then_some("in a subquery")
        }
        Op::Join { kind: JoinKind::Full, .. } => Some("in a FULL JOIN"),
        Op::Aggregate { .. } | Op::GroupRows { .. } => Some("under an aggregate or GROUP BY"),
        Op::Distinct { .. } => Some("under DISTINCT, UNION, INTERSECT or EXCEPT"),
        Op::Window { .. } => Some("under a function OVER (...), DISTINCT ON or LIMIT"),
        Op::TemporalJoin { .. } | Op::EmitOnClose { .. } => Some("in a join as of a time"),
        Op::TemporalFilter { .. } => Some("under a condition with now()"),
        Op::Recursive(_) => Some("in another recursion"),
        Op::Source(_) | Op::Values(_) => None,
    }
}
