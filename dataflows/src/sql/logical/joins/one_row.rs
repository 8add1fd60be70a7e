//! Value subqueries have one row: by a total, by LIMIT 1, or by a key that is fixed.

use arrow::datatypes::Schema;
use datafusion_common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion_common::{DFSchema, JoinType, Result};
use datafusion_expr::logical_plan::{Distinct, LogicalPlan, Subquery};
use datafusion_expr::utils::split_conjunction;
use datafusion_expr::{BinaryExpr, Expr, ExprSchemable, Operator};

use super::firsts;
use crate::mistake::unsupported::Unsupported;
use crate::sql::catalog::RelSource;
use crate::sql::logical::global_aggregate::groups_by_sets;

/// Refuses a subquery unless it has at most one row for any data: an aggregate without GROUP BY, an
/// uncorrelated LIMIT 1, or rows of a relation with a key that the subquery's condition fixes.
pub(in crate::sql) fn one_row(subquery: &Subquery) -> Result<()> {
    pulls_out(subquery, 1)?;
    let correlated = !subquery.outer_ref_columns.is_empty();
    let mut node = subquery.subquery.as_ref();
    loop {
        node = match node {
            LogicalPlan::Projection(p) => &p.input,
            LogicalPlan::SubqueryAlias(a) => &a.input,
            _ if fixes_key(node)? => return Ok(()),
            LogicalPlan::Filter(f) if !correlated => &f.input,
            LogicalPlan::Limit(l) if !correlated && firsts::keeps_one(l)? => return Ok(()),
            LogicalPlan::Aggregate(a) if a.group_expr.is_empty() => {
                return if correlated { check_ties(&a.input) } else { Ok(()) };
            }
            _ => return Err(Unsupported::NotOneRow.into()),
        };
    }
}

/// Refuses correlated subqueries that pulling the condition out would change: more than `totals` aggregates
/// without GROUP BY, which have a row over no rows, too, and outer joins, which keep rows that a condition
/// above them drops.
pub(super) fn pulls_out(subquery: &Subquery, totals: usize) -> Result<()> {
    if subquery.outer_ref_columns.is_empty() {
        return Ok(());
    }
    let (mut found, mut kept) = (0, false);
    subquery.subquery.apply(|node| {
        match node {
            LogicalPlan::Aggregate(a) if a.group_expr.is_empty() => found += 1,
            // One of the sets may be the empty one, which has a row over no rows, too.
            LogicalPlan::Aggregate(a) if groups_by_sets(&a.group_expr) => kept = true,
            LogicalPlan::Join(j) if j.join_type != JoinType::Inner => kept |= node.exists(is_correlated)?,
            LogicalPlan::Unnest(_) => kept |= node.exists(is_correlated)?,
            // Their numbers and choices depend on all rows that they read.
            LogicalPlan::Window(_) | LogicalPlan::Distinct(Distinct::On(_)) => {
                kept |= node.exists(is_correlated)?;
            }
            _ => {}
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    if kept || found > totals { Err(Unsupported::NotJoinable.into()) } else { Ok(()) }
}

/// Tells whether an expression of a node refers to an outer query.
fn is_correlated(node: &LogicalPlan) -> Result<bool> {
    Ok(node.expressions().iter().any(Expr::contains_outer))
}

/// Tells whether the conditions of a subquery fix a key of the one relation it reads: each column of the key
/// equals an expression that is constant for all its rows.
pub(super) fn fixes_key(mut node: &LogicalPlan) -> Result<bool> {
    let mut fixed: Vec<&Expr> = Vec::new();
    while let LogicalPlan::Filter(filter) = node {
        for part in split_conjunction(&filter.predicate) {
            let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = part else { continue };
            for (inner, other) in [(left, right), (right, left)] {
                if other.column_refs().is_empty() && !inner.contains_outer() {
                    fixed.push(inner);
                }
            }
        }
        node = &filter.input;
    }
    if let LogicalPlan::Distinct(Distinct::On(on)) = node {
        return Ok(on.on_expr.iter().all(|e| fixed.contains(&e)));
    }
    while let LogicalPlan::SubqueryAlias(alias) = node {
        node = &alias.input;
    }
    let LogicalPlan::TableScan(scan) = node else { return Ok(false) };
    let Some(source) = scan.source.downcast_ref::<RelSource>() else { return Ok(false) };
    let mut names: Vec<&String> = Vec::new();
    for expr in fixed {
        match expr {
            Expr::Column(c) => names.push(&c.name),
            Expr::Cast(cast) => {
                // The cast must map different values to different values.
                if let Expr::Column(c) = cast.expr.as_ref()
                    && is_plain_column(expr, &scan.projected_schema)
                {
                    names.push(&c.name);
                }
            }
            _ => {}
        }
    }
    Ok(source.unique.iter().any(|key| names_key(&names, key, &source.schema)))
}

/// Tells whether every column of a key is among `names`.
fn names_key(names: &[&String], key: &[usize], schema: &Schema) -> bool {
    key.iter().all(|at| names.contains(&schema.field(*at).name()))
}

/// Refuses a correlated aggregate unless its correlation fixes its group: only equalities of plain columns
/// do.
pub(super) fn check_ties(input: &LogicalPlan) -> Result<()> {
    input.apply(|node| {
        let LogicalPlan::Filter(filter) = node else { return Ok(TreeNodeRecursion::Continue) };
        for part in split_conjunction(&filter.predicate) {
            if part.contains_outer() && !equals_plain_column(part, filter.input.schema()) {
                return Err(Unsupported::NotJoinable.into());
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(())
}

/// Tells whether a condition is an equality with a plain column.
fn equals_plain_column(part: &Expr, schema: &DFSchema) -> bool {
    match part {
        Expr::BinaryExpr(b) if b.op == Operator::Eq => {
            is_plain_column(&b.left, schema) || is_plain_column(&b.right, schema)
        }
        _ => false,
    }
}

/// Tells whether an expression is a column, or a column cast to an integer type that holds all of its values.
pub(super) fn is_plain_column(expr: &Expr, schema: &DFSchema) -> bool {
    match expr {
        Expr::Column(_) => true,
        Expr::Cast(cast) if matches!(cast.expr.as_ref(), Expr::Column(_)) => {
            let (Ok(from), Ok(to)) = (cast.expr.get_type(schema), expr.get_type(schema)) else {
                return false;
            };
            from.is_signed_integer()
                && to.is_signed_integer()
                && from.primitive_width() <= to.primitive_width()
        }
        _ => false,
    }
}
