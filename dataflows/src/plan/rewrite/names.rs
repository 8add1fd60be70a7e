//! Columns called by their own names.
//!
//! An expression names a column as the planner called it when it was written. Once the plan stands, each
//! gets the name that its relation gives it, so that plans read well and equal plans have equal texts.

use std::sync::Arc;

use arrow::datatypes::Schema;
use datafusion_physical_expr::expressions::Column;

use super::prune::substitute;
use crate::plan::{Op, Plan, Scalar};

/// Renames every column of every expression.
pub(crate) fn settle(plan: &mut Plan) {
    for id in 0..plan.rels.len() {
        let schemas: Vec<Arc<Schema>> =
            plan.rels[id].op.inputs().into_iter().map(|input| Arc::clone(&plan.rels[input].schema)).collect();
        match &mut plan.rels[id].op {
            Op::Filter { predicate, .. } => *predicate = named(predicate, &[&schemas[0]]),
            Op::Within { since, until, .. } => {
                since.iter_mut().chain(until).for_each(|e| *e = e.map(&|s| named(s, &[&schemas[0]])));
            }
            Op::Project { exprs, .. } => each(exprs, &[&schemas[0]]),
            Op::Aggregate { keys, aggregates, .. } => {
                each(keys, &[&schemas[0]]);
                aggregates.iter_mut().for_each(|a| *a = a.map(&|s| named(s, &[&schemas[0]])));
            }
            Op::Fold { keys, folds, .. } => {
                each(keys, &[&schemas[0]]);
                folds.iter_mut().for_each(|f| *f = f.map(|s| named(s, &[&schemas[0]])));
            }
            Op::Window { window, .. } => **window = window.map(&|s| named(s, &[&schemas[0]])),
            Op::Lookup { left_keys, right_keys, .. } => {
                each(left_keys, &[&schemas[0]]);
                each(right_keys, &[&schemas[1]]);
            }
            Op::Join { left_keys, right_keys, residual, .. } => {
                each(left_keys, &[&schemas[0]]);
                each(right_keys, &[&schemas[1]]);
                residual.iter_mut().for_each(|r| *r = named(r, &[&schemas[0], &schemas[1]]));
            }
            Op::Source(_)
            | Op::Values(_)
            | Op::Unnest { .. }
            | Op::Union { .. }
            | Op::Distinct { .. }
            | Op::Close { .. }
            | Op::Recursive(_)
            | Op::Given(_) => {}
        }
    }
}

fn each(scalars: &mut [Scalar], inputs: &[&Schema]) {
    scalars.iter_mut().for_each(|s| *s = named(s, inputs));
}

/// The scalar over the columns of `inputs`, one after the other.
fn named(scalar: &Scalar, inputs: &[&Schema]) -> Scalar {
    substitute(scalar, &|column| {
        let mut fields = inputs.iter().flat_map(|schema| schema.fields());
        let name = fields.nth(column.index()).map_or(column.name(), |f| f.name());
        Arc::new(Column::new(name, column.index()))
    })
}
