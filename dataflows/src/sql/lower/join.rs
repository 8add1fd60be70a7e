//! Joins, from DataFusion's to ours.
//!
//! A right join is a left join whose sides change places. `NOT IN` is an anti join that knows of NULLs:
//! over columns that can be NULL it becomes plain anti joins, one for each reason a row is left out (see
//! [`Lower::not_in`]). A mark join, which tells of every row whether it has a partner, is the rows that
//! have one beside those that have none.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{DFSchema, JoinType, NullEquality, Result, ScalarValue, plan_err};
use datafusion_expr::{lit, logical_plan as logical};
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::{Column, IsNotNullExpr, IsNullExpr, Literal};

use super::{Lower, cast, scalar};
use crate::plan::analysis::fallible::fallible;
use crate::plan::{JoinKind, Op, RelId, Scalar};
use crate::sql::logical::joins::subquery::PLACE;

/// What is told of NOT IN where a NULL could make it wrong.
pub(crate) const NOT_IN: &str = "NOT IN (SELECT ...) over columns that can be NULL is not supported here";

/// A join in the making.
struct Parts {
    left: RelId,
    right: RelId,
    left_keys: Vec<Scalar>,
    right_keys: Vec<Scalar>,
}

impl Lower<'_> {
    /// One relation, or some that have the same rows.
    pub(super) fn join(&mut self, join: &logical::Join) -> Result<RelId> {
        let sides = (self.node(&join.left)?, self.node(&join.right)?);
        match join.join_type {
            JoinType::LeftMark => self.mark(join, sides),
            _ => self.join_of(join, sides),
        }
    }

    fn join_of(&mut self, join: &logical::Join, (left, right): (RelId, RelId)) -> Result<RelId> {
        let (kind, swapped) = match join.join_type {
            JoinType::Inner => (JoinKind::Inner, false),
            JoinType::Left => (JoinKind::Left, false),
            JoinType::Full => (JoinKind::Full, false),
            JoinType::LeftSemi => (JoinKind::Semi, false),
            JoinType::LeftAnti => (JoinKind::Anti, false),
            JoinType::Right => (JoinKind::Left, true),
            JoinType::RightSemi => (JoinKind::Semi, true),
            JoinType::RightAnti => (JoinKind::Anti, true),
            other => return plan_err!("{other} JOIN is not supported"),
        };
        let (l, r) = (self.schema(left), self.schema(right));
        let (mut left_keys, mut right_keys) = (Vec::new(), Vec::new());
        for (a, b) in &join.on {
            let (a, b) = (scalar(a, join.left.schema())?, scalar(b, join.right.schema())?);
            let target = a.data_type(&l)?;
            right_keys.push(cast(b, &target, &r)?);
            left_keys.push(a);
        }
        let mut parts = Parts { left, right, left_keys, right_keys };
        let filter = join.filter.as_ref().filter(|f| **f != lit(true));
        match (join.null_aware, join.on.len(), filter) {
            (false, ..) => {}
            (true, 1, None) if parts.nullable(&l, &r)? => return self.not_in(parts),
            (true, 1, None) => {}
            (true, ..) => return plan_err!("{NOT_IN}"),
        }
        // Left's columns first, whichever side is kept: `written` gives the places of the written order.
        let (widths, total) = ((l.fields().len(), r.fields().len()), l.fields().len() + r.fields().len());
        let written = |c: usize| if !swapped { c } else { (c + widths.1) % total };
        let residual = match filter {
            Some(filter) => Some(relocate(&scalar(filter, &join_schema(join)?)?, &written)?),
            None => None,
        };
        if swapped {
            parts =
                Parts { left: right, right: left, left_keys: parts.right_keys, right_keys: parts.left_keys };
        }
        let null_equal = join.null_equality == NullEquality::NullEqualsNull;
        let id = self.joined(parts, kind, (residual, null_equal));
        if !swapped || !kind.pairs() {
            return Ok(id);
        }
        let schema = self.schema(id);
        let exprs = (0..total).map(|c| Scalar::column(schema.field(written(c)).name(), written(c))).collect();
        self.project(id, exprs, &join.schema)
    }

    /// Every row of the left and whether it has a partner.
    fn mark(&mut self, join: &logical::Join, sides: (RelId, RelId)) -> Result<RelId> {
        let of = |join_type| logical::Join { join_type, ..join.clone() };
        let mut marked = Vec::new();
        for (join_type, value) in [(JoinType::LeftSemi, true), (JoinType::LeftAnti, false)] {
            let rows = self.join_of(&of(join_type), sides)?;
            if self.computes(rows) {
                // Both parts would fail on one row.
                return plan_err!("{PLACE}");
            }
            let below = self.schema(rows);
            let columns = below.fields().iter().enumerate();
            let mut exprs: Vec<Scalar> = columns.map(|(at, f)| Scalar::column(f.name(), at)).collect();
            exprs.push(Scalar::new(Arc::new(Literal::new(ScalarValue::Boolean(Some(value))))));
            let mark = Field::new("mark", DataType::Boolean, false);
            let fields = below.fields().iter().cloned().chain([Arc::new(mark)]);
            let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
            marked.push(self.push(Op::Project { input: rows, exprs }, schema));
        }
        let schema = self.schema(marked[0]);
        Ok(self.push(Op::Union { inputs: marked }, schema))
    }

    /// Whether a join has keys or a condition that can fail.
    fn computes(&self, join: RelId) -> bool {
        let Op::Join { left, right, left_keys, right_keys, residual, .. } = &self.plan.rels[join].op else {
            return false;
        };
        let (l, r) = (self.schema(*left), self.schema(*right));
        let both = Schema::new(l.fields().iter().chain(r.fields()).cloned().collect::<Vec<_>>());
        let fails = |of: &Scalar, schema: &Schema| fallible(of.expr(), schema);
        left_keys.iter().any(|k| fails(k, &l))
            || right_keys.iter().any(|k| fails(k, &r))
            || residual.iter().any(|c| fails(c, &both))
    }

    fn joined(
        &mut self,
        parts: Parts,
        kind: JoinKind,
        (residual, null_equal): (Option<Scalar>, bool),
    ) -> RelId {
        let (l, r) = (self.schema(parts.left), self.schema(parts.right));
        let schema = output(kind, &l, &r);
        let Parts { left, right, left_keys, right_keys } = parts;
        self.push(Op::Join { left, right, kind, left_keys, right_keys, residual, null_equal }, schema)
    }

    /// `x NOT IN (SELECT y ...)`: a row stays where the set is empty, or where `x` is not NULL, no `y`
    /// is NULL, and no `y` equals `x`.
    fn not_in(&mut self, parts: Parts) -> Result<RelId> {
        let (set, schema) = (parts.right, self.schema(parts.left));
        let x = parts.left_keys.first().cloned();
        let y = parts.right_keys.first().cloned();
        let (Some(x), Some(y)) = (x, y) else { return plan_err!("{NOT_IN}") };
        if fallible(y.expr(), &self.schema(set)) {
            // It is looked at twice, and would fail twice.
            return plan_err!("{NOT_IN}");
        }
        let every = |left, right| Parts { left, right, left_keys: vec![], right_keys: vec![] };
        let other = self.joined(parts, JoinKind::Anti, (None, false));
        let is_null = |of: &Scalar| Scalar::new(Arc::new(IsNullExpr::new(Arc::clone(of.expr()))));
        let of_set = self.schema(set);
        let nulls = self.push(Op::Filter { input: set, predicate: is_null(&y) }, of_set);
        let complete = self.joined(every(other, nulls), JoinKind::Anti, (None, false));
        let known = Scalar::new(Arc::new(IsNotNullExpr::new(Arc::clone(x.expr()))));
        let known = self.push(Op::Filter { input: complete, predicate: known }, Arc::clone(&schema));
        let unknown = self.push(Op::Filter { input: complete, predicate: is_null(&x) }, Arc::clone(&schema));
        let unknown = self.joined(every(unknown, set), JoinKind::Anti, (None, false));
        Ok(self.push(Op::Union { inputs: vec![known, unknown] }, schema))
    }
}

impl Parts {
    /// Whether a key can be NULL.
    fn nullable(&self, left: &Schema, right: &Schema) -> Result<bool> {
        for (keys, schema) in [(&self.left_keys, left), (&self.right_keys, right)] {
            for key in keys {
                if key.nullable(schema)? {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

/// Columns of a join: those of a side that may be missing can be NULL.
fn output(kind: JoinKind, left: &Schema, right: &Schema) -> SchemaRef {
    let side = |schema: &Schema, missing: bool| {
        let field = |f: &arrow::datatypes::FieldRef| {
            Arc::new(f.as_ref().clone().with_nullable(missing || f.is_nullable()))
        };
        schema.fields().iter().map(field).collect::<Vec<_>>()
    };
    let mut fields = side(left, kind == JoinKind::Full);
    if kind.pairs() {
        fields.extend(side(right, kind != JoinKind::Inner));
    }
    Arc::new(Schema::new(fields))
}

/// Left's columns followed by right's, as a join's condition sees them.
fn join_schema(join: &logical::Join) -> Result<DFSchema> {
    join.left.schema().join(join.right.schema())
}

fn relocate(scalar: &Scalar, to: &dyn Fn(usize) -> usize) -> Result<Scalar> {
    let moved = Arc::clone(scalar.expr()).transform_up(|e| {
        Ok(match e.downcast_ref::<Column>() {
            Some(c) => {
                Transformed::yes(Arc::new(Column::new(c.name(), to(c.index()))) as Arc<dyn PhysicalExpr>)
            }
            None => Transformed::no(e),
        })
    })?;
    Ok(Scalar::new(moved.data))
}
