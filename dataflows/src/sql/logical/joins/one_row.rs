//! Value subqueries have one row: by a total, by LIMIT 1, or by a key that is fixed.

use datafusion_common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion_common::{DFSchema, JoinType, Result};
use datafusion_expr::logical_plan::{Distinct, LogicalPlan, Subquery};
use datafusion_expr::utils::split_conjunction;
use datafusion_expr::{BinaryExpr, Expr, ExprSchemable, Operator};

use super::firsts;
use crate::mistake::unsupported::Unsupported;
use crate::sql::catalog::RelSource;

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
    let outer = |node: &LogicalPlan| Ok(node.expressions().iter().any(Expr::contains_outer));
    let (mut found, mut kept) = (0, false);
    subquery.subquery.apply(|node| {
        match node {
            LogicalPlan::Aggregate(a) if a.group_expr.is_empty() => found += 1,
            // One of the sets may be the empty one, which has a row over no rows, too.
            LogicalPlan::Aggregate(a) if a.group_expr.iter().any(|e| matches!(e, Expr::GroupingSet(_))) => {
                kept = true;
            }
            LogicalPlan::Join(j) if j.join_type != JoinType::Inner => kept |= node.exists(outer)?,
            LogicalPlan::Unnest(_) => kept |= node.exists(outer)?,
            // Their numbers and choices depend on all rows that they read.
            LogicalPlan::Window(_) | LogicalPlan::Distinct(Distinct::On(_)) => kept |= node.exists(outer)?,
            _ => {}
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    if kept || found > totals { Err(Unsupported::NotJoinable.into()) } else { Ok(()) }
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
    let column = |e: &Expr| match e {
        Expr::Column(c) => Some(c.name.clone()),
        Expr::Cast(cast) => match cast.expr.as_ref() {
            // The cast must map different values to different values.
            Expr::Column(c) if is_plain_column(e, &scan.projected_schema) => Some(c.name.clone()),
            _ => None,
        },
        _ => None,
    };
    let names: Vec<String> = fixed.into_iter().filter_map(column).collect();
    let holds = |key: &Vec<usize>| key.iter().all(|at| names.contains(source.schema.field(*at).name()));
    Ok(source.unique.iter().any(holds))
}

/// Refuses a correlated aggregate unless its correlation fixes its group: only equalities of plain columns
/// do.
pub(super) fn check_ties(input: &LogicalPlan) -> Result<()> {
    input.apply(|node| {
        let LogicalPlan::Filter(filter) = node else { return Ok(TreeNodeRecursion::Continue) };
        let schema = filter.input.schema();
        let fixes = |part: &Expr| match part {
            Expr::BinaryExpr(b) if b.op == Operator::Eq => {
                is_plain_column(&b.left, schema) || is_plain_column(&b.right, schema)
            }
            _ => false,
        };
        let mut outer = split_conjunction(&filter.predicate).into_iter().filter(|p| p.contains_outer());
        if outer.all(fixes) { Ok(TreeNodeRecursion::Continue) } else { Err(Unsupported::NotJoinable.into()) }
    })?;
    Ok(())
}

/// Tells whether an expression is a column, or a column cast to an integer type that holds all of its values.
pub(super) fn is_plain_column(expr: &Expr, schema: &DFSchema) -> bool {
    match expr {
        Expr::Column(_) => true,
        Expr::Cast(cast) if matches!(cast.expr.as_ref(), Expr::Column(_)) => {
            let types = cast.expr.get_type(schema).ok().zip(expr.get_type(schema).ok());
            types.is_some_and(|(from, to)| {
                from.is_signed_integer()
                    && to.is_signed_integer()
                    && from.primitive_width() <= to.primitive_width()
            })
        }
        _ => false,
    }
}
