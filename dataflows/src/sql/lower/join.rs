//! Lowering of joins.
//!
//! A right join is a left join with its sides swapped. `NOT IN` is a null-aware anti join: over columns that
//! can be NULL it becomes plain anti joins, one for each reason to leave a row out (see
//! [`Lower::push_not_in`]). A mark join, which marks each left row as matched or not, becomes the union of
//! the semi join and the anti join.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{DFSchema, JoinType, NullEquality, Result, ScalarValue, plan_err};
use datafusion_expr::{lit, logical_plan as logical};
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::{Column, IsNotNullExpr, IsNullExpr, Literal};

use super::{Lower, all_columns, cast, column_at, lower_scalar, owned_fields};
use crate::mistake::unsupported::Unsupported;
use crate::plan::analysis::fallible::fallible;
use crate::plan::{JoinKind, Op, RelId, Scalar};

/// Inputs and keys of a join that is not in the plan yet.
struct JoinParts {
    left: RelId,
    right: RelId,
    left_keys: Vec<Scalar>,
    right_keys: Vec<Scalar>,
}

impl Lower<'_> {
    /// Lowers a join to one relation, or to several relations that together have the same rows.
    pub(super) fn lower_join(&mut self, join: &logical::Join) -> Result<RelId> {
        let sides = (self.lower_node(&join.left)?, self.lower_node(&join.right)?);
        match join.join_type {
            JoinType::LeftMark => self.lower_mark_join(join, sides),
            _ => self.lower_plain_join(join, sides),
        }
    }

    /// Lowers a join of any type but a mark join, over sides that have been lowered.
    fn lower_plain_join(&mut self, join: &logical::Join, (left, right): (RelId, RelId)) -> Result<RelId> {
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
        let (l, r) = (self.schema_of(left), self.schema_of(right));
        let (mut left_keys, mut right_keys) = (Vec::new(), Vec::new());
        for (a, b) in &join.on {
            let (a, b) = (lower_scalar(a, join.left.schema())?, lower_scalar(b, join.right.schema())?);
            let target = a.data_type(&l)?;
            right_keys.push(cast(b, &target, &r)?);
            left_keys.push(a);
        }
        let mut parts = JoinParts { left, right, left_keys, right_keys };
        let filter = join.filter.as_ref().filter(|f| **f != lit(true));
        match (join.null_aware, join.on.len(), filter) {
            (false, ..) => {}
            (true, 1, None) if parts.has_nullable_key(&l, &r)? => return self.push_not_in(parts),
            (true, 1, None) => {}
            (true, ..) => return Err(Unsupported::NotIn.into()),
        }
        // A swapped join has the right side's columns first: `written` maps a position in the written order
        // to its position in the join.
        let (width, total) = (r.fields().len(), l.fields().len() + r.fields().len());
        let written = |c: usize| if !swapped { c } else { (c + width) % total };
        let residual = match filter {
            Some(filter) => Some(relocate_columns(&lower_scalar(filter, &join_schema(join)?)?, &written)?),
            None => None,
        };
        if swapped {
            parts = JoinParts {
                left: right,
                right: left,
                left_keys: parts.right_keys,
                right_keys: parts.left_keys,
            };
        }
        let null_equal = join.null_equality == NullEquality::NullEqualsNull;
        let id = self.push_join(parts, kind, (residual, null_equal));
        if !swapped || !kind.outputs_pairs() {
            return Ok(id);
        }
        let schema = self.schema_of(id);
        let exprs = (0..total).map(|c| column_at(&schema, written(c))).collect();
        self.push_project(id, exprs, &join.schema)
    }

    /// Every left row with a column that is true if the row has a match.
    fn lower_mark_join(&mut self, join: &logical::Join, sides: (RelId, RelId)) -> Result<RelId> {
        let mut marked = Vec::new();
        for (join_type, value) in [(JoinType::LeftSemi, true), (JoinType::LeftAnti, false)] {
            let rows = self.lower_plain_join(&logical::Join { join_type, ..join.clone() }, sides)?;
            if self.computes_fallibly(rows) {
                // The row would fail, and be reported, in both parts of the union.
                return Err(Unsupported::NotJoinable.into());
            }
            let below = self.schema_of(rows);
            let mut exprs = all_columns(&below);
            exprs.push(Scalar::new(Arc::new(Literal::new(ScalarValue::Boolean(Some(value))))));
            let mark = Field::new("mark", DataType::Boolean, false);
            let fields = below.fields().iter().cloned().chain([Arc::new(mark)]);
            let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
            marked.push(self.push(Op::Project { input: rows, exprs }, schema));
        }
        let schema = self.schema_of(marked[0]);
        Ok(self.push(Op::Union { inputs: marked }, schema))
    }

    /// Tells whether a join has keys or a condition that can fail.
    fn computes_fallibly(&self, join: RelId) -> bool {
        let Op::Join { left, right, left_keys, right_keys, residual, .. } = &self.plan.rels[join].op else {
            return false;
        };
        let (l, r) = (self.schema_of(*left), self.schema_of(*right));
        let both = Schema::new(l.fields().iter().chain(r.fields()).cloned().collect::<Vec<_>>());
        any_fallible(left_keys, &l) || any_fallible(right_keys, &r) || any_fallible(residual, &both)
    }

    /// Adds a join; `null_equal` is true if NULL keys equal each other.
    fn push_join(
        &mut self,
        parts: JoinParts,
        kind: JoinKind,
        (residual, null_equal): (Option<Scalar>, bool),
    ) -> RelId {
        let (l, r) = (self.schema_of(parts.left), self.schema_of(parts.right));
        let schema = join_output(kind, &l, &r);
        let JoinParts { left, right, left_keys, right_keys } = parts;
        self.push(Op::Join { left, right, kind, left_keys, right_keys, residual, null_equal }, schema)
    }

    /// `x NOT IN (SELECT y ...)`: a row stays if the set is empty, or if `x` is not NULL, no `y` is NULL, and
    /// no `y` equals `x`.
    fn push_not_in(&mut self, parts: JoinParts) -> Result<RelId> {
        let (set, schema) = (parts.right, self.schema_of(parts.left));
        let x = parts.left_keys.first().cloned();
        let y = parts.right_keys.first().cloned();
        let (Some(x), Some(y)) = (x, y) else { return Err(Unsupported::NotIn.into()) };
        if fallible(y.expr(), &self.schema_of(set)) {
            // Two joins evaluate the set's expression: a failing row would be reported twice.
            return Err(Unsupported::NotIn.into());
        }
        let other = self.push_join(parts, JoinKind::Anti, (None, false));
        let of_set = self.schema_of(set);
        let nulls = self.push(Op::Filter { input: set, predicate: is_null(&y) }, of_set);
        let complete = self.push_if_empty(other, nulls);
        let known = Scalar::new(Arc::new(IsNotNullExpr::new(Arc::clone(x.expr()))));
        let known = self.push(Op::Filter { input: complete, predicate: known }, Arc::clone(&schema));
        let unknown = self.push(Op::Filter { input: complete, predicate: is_null(&x) }, Arc::clone(&schema));
        let unknown = self.push_if_empty(unknown, set);
        Ok(self.push(Op::Union { inputs: vec![known, unknown] }, schema))
    }

    /// The rows of `left` if `right` has none. Without keys every row matches every other: the anti join
    /// keeps its left rows only if the right is empty.
    fn push_if_empty(&mut self, left: RelId, right: RelId) -> RelId {
        let parts = JoinParts { left, right, left_keys: vec![], right_keys: vec![] };
        self.push_join(parts, JoinKind::Anti, (None, false))
    }
}

/// Tells whether one of `scalars` over the columns of `schema` can fail.
fn any_fallible<'a>(scalars: impl IntoIterator<Item = &'a Scalar>, schema: &Schema) -> bool {
    scalars.into_iter().any(|scalar| fallible(scalar.expr(), schema))
}

/// The condition that `of` is NULL.
fn is_null(of: &Scalar) -> Scalar {
    Scalar::new(Arc::new(IsNullExpr::new(Arc::clone(of.expr()))))
}

impl JoinParts {
    /// Tells whether any key can be NULL.
    fn has_nullable_key(&self, left: &Schema, right: &Schema) -> Result<bool> {
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

/// Columns of a join's result; those of a side that may be missing are nullable.
fn join_output(kind: JoinKind, left: &Schema, right: &Schema) -> SchemaRef {
    let mut fields = fields_of_side(left, kind == JoinKind::Full);
    if kind.outputs_pairs() {
        fields.extend(fields_of_side(right, kind != JoinKind::Inner));
    }
    Arc::new(Schema::new(fields))
}

/// Fields of a side of a join, all nullable if it may be `missing`.
pub(super) fn fields_of_side(side: &Schema, missing: bool) -> Vec<Field> {
    let mut fields = owned_fields(side);
    for field in &mut fields {
        field.set_nullable(missing || field.is_nullable());
    }
    fields
}

/// Columns that a join's condition reads: the left's, then the right's.
fn join_schema(join: &logical::Join) -> Result<DFSchema> {
    join.left.schema().join(join.right.schema())
}

/// `scalar` with the column at every position `c` moved to `to(c)`.
fn relocate_columns(scalar: &Scalar, to: &dyn Fn(usize) -> usize) -> Result<Scalar> {
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
