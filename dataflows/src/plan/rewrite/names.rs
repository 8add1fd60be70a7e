//! Names of columns in expressions.
//!
//! An expression names a column as the planner did when it wrote the expression. In the finished plan each
//! column gets the name it has in its relation, so that plans read well and equal plans have equal texts.

use crate::plan::analysis::properties::column_of;
use std::sync::Arc;

use arrow::datatypes::Schema;
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::Column;

use crate::plan::{Op, Plan, Scalar};

/// Renames every column of every expression.
pub(crate) fn settle_names(plan: &mut Plan) {
    for id in 0..plan.rels.len() {
        let schemas: Vec<Arc<Schema>> =
            plan.rels[id].op.inputs().into_iter().map(|input| Arc::clone(&plan.rels[input].schema)).collect();
        let over_first = |scalar: &Scalar| rename_columns(scalar, &[&schemas[0]]);
        match &mut plan.rels[id].op {
            Op::Filter { predicate, .. } => *predicate = over_first(predicate),
            Op::TemporalFilter { since, until, .. } => {
                for edge in since.iter_mut().chain(until) {
                    *edge = edge.map(&over_first);
                }
            }
            Op::Project { exprs, .. } => rename_all(exprs, &[&schemas[0]]),
            Op::Aggregate { keys, aggregates, .. } => {
                rename_all(keys, &[&schemas[0]]);
                for aggregate in aggregates {
                    *aggregate = aggregate.map(&over_first);
                }
            }
            Op::GroupRows { keys, folds, .. } => {
                rename_all(keys, &[&schemas[0]]);
                for fold in folds {
                    *fold = fold.map(over_first);
                }
            }
            Op::Window { window, .. } => **window = window.map(&over_first),
            Op::TemporalJoin { left_keys, right_keys, .. } => {
                rename_all(left_keys, &[&schemas[0]]);
                rename_all(right_keys, &[&schemas[1]]);
            }
            Op::Join { left_keys, right_keys, residual, .. } => {
                rename_all(left_keys, &[&schemas[0]]);
                rename_all(right_keys, &[&schemas[1]]);
                if let Some(residual) = residual {
                    *residual = rename_columns(residual, &[&schemas[0], &schemas[1]]);
                }
            }
            Op::Source(_)
            | Op::Values(_)
            | Op::Unnest { .. }
            | Op::Union { .. }
            | Op::Distinct { .. }
            | Op::EmitOnClose { .. }
            | Op::Recursive(_)
            | Op::Given(_) => {}
        }
    }
}

/// Renames the columns of several expressions.
fn rename_all(scalars: &mut [Scalar], inputs: &[&Schema]) {
    for scalar in scalars {
        *scalar = rename_columns(scalar, inputs);
    }
}

/// The scalar with the names of the columns of `inputs`, which are numbered one input after the other.
fn rename_columns(scalar: &Scalar, inputs: &[&Schema]) -> Scalar {
    substitute_columns(scalar, &|column| renamed_column(column, inputs))
}

/// The column with the name that it has in `inputs`; one that they lack keeps its own.
fn renamed_column(column: &Column, inputs: &[&Schema]) -> Arc<dyn PhysicalExpr> {
    let mut fields = inputs.iter().flat_map(|schema| schema.fields());
    let name = match fields.nth(column.index()) {
        Some(field) => field.name().as_str(),
        None => column.name(),
    };
    Arc::new(Column::new(name, column.index()))
}

/// The scalar with every column replaced.
pub(crate) fn substitute_columns(scalar: &Scalar, by: &dyn Fn(&Column) -> Arc<dyn PhysicalExpr>) -> Scalar {
    let expr = Arc::clone(scalar.expr()).transform_up(|e| {
        Ok(match column_of(&e) {
            Some(c) => Transformed::yes(by(c)),
            None => Transformed::no(e),
        })
    });
    // The closure cannot fail, and rebuilding a node from children of the same types does not.
    match expr {
        Ok(replaced) => Scalar::new(replaced.data),
        Err(_) => scalar.clone(),
    }
}
