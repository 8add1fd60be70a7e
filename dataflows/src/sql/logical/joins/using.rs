//! USING and NATURAL in joins whose left side may be missing, and in chains of joins.
//!
//! `a FULL JOIN b USING (k)` has one column `k`: `coalesce(a.k, b.k)`. The planner takes the left's, which is
//! NULL where only the right has a row. A projection above such a join therefore replaces the left's column
//! by the merged value; a reference to `a.k` itself, which would have another value, is found by
//! [`left_keys`] to be refused. In `a JOIN b USING (k) JOIN c USING (k)` the planner finds `k` ambiguous, and
//! [`qualify_chained`] rewrites it to `a.k`.

use std::ops::ControlFlow;

use datafusion_common::tree_node::Transformed;
use datafusion_common::{Column, JoinConstraint, JoinType, Result};
use datafusion_expr::expr::Expr;
use datafusion_expr::logical_plan::{Join, LogicalPlan, LogicalPlanBuilder};
use datafusion_expr::when;
use datafusion_sql::sqlparser::ast::{self as sql, Spanned, Visitor, VisitorMut};
use datafusion_sql::sqlparser::tokenizer::Span;

use crate::sql::logical::rewrite::recompute_schemas;
use crate::sql::parse::tokens::fold;
use crate::sql::parse::walk::WalkMut;

/// Merges the columns of USING above every right and full join of `plan`.
///
/// # Errors
/// If the changed plan is inconsistent.
pub(crate) fn merge_columns(plan: LogicalPlan) -> Result<LogicalPlan> {
    let merged = plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Join(join) if merges_columns(&join) => project_merged(join).map(Transformed::yes),
        other => Ok(Transformed::no(other)),
    })?;
    recompute_schemas(merged)
}

/// Tells whether a join has USING and its left side may be missing.
fn merges_columns(join: &Join) -> bool {
    join.join_constraint == JoinConstraint::Using
        && matches!(join.join_type, JoinType::Right | JoinType::Full)
}

/// A join with a projection above it that merges the columns of USING.
fn project_merged(join: Join) -> Result<LogicalPlan> {
    let full = join.join_type == JoinType::Full;
    let pairs = join.on.clone();
    let schema = join.schema.clone();
    let mut exprs = Vec::with_capacity(schema.fields().len());
    for (relation, field) in schema.iter() {
        let column = Expr::Column(Column::new(relation.cloned(), field.name()));
        let Some((left, right)) = pairs.iter().find(|(left, _)| *left == column) else {
            exprs.push(column);
            continue;
        };
        let value = if full {
            when(left.clone().is_not_null(), left.clone()).otherwise(right.clone())?
        } else {
            right.clone()
        };
        exprs.push(value.alias_qualified(relation.cloned(), field.name()));
    }
    LogicalPlanBuilder::from(LogicalPlan::Join(join)).project(exprs)?.build()
}

/// Positions of references to the left's own column of a merged one: `a.k` with `a FULL JOIN b USING (k)`.
pub(crate) fn left_keys(select: &sql::Select) -> Vec<Span> {
    let mut keys: Vec<(String, Option<String>)> = Vec::new();
    for join in select.from.iter().flat_map(|from| &from.joins) {
        let (sql::JoinOperator::Right(on)
        | sql::JoinOperator::RightOuter(on)
        | sql::JoinOperator::FullOuter(on)) = &join.join_operator
        else {
            continue;
        };
        if let sql::JoinConstraint::Using(columns) = on {
            for name in columns.iter().filter_map(last_part) {
                keys.push((name, relation_alias(&join.relation)));
            }
        }
    }
    if keys.is_empty() {
        return vec![];
    }
    let mut find = FindLeftKeys { keys, found: vec![] };
    let _ = sql::Visit::visit(select, &mut find);
    find.found
}

/// Visitor that finds qualified references to merged columns, except by the right side's alias.
struct FindLeftKeys {
    /// Merged columns, with the aliases of the right sides.
    keys: Vec<(String, Option<String>)>,
    found: Vec<Span>,
}

impl Visitor for FindLeftKeys {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &sql::Expr) -> ControlFlow<()> {
        if let sql::Expr::CompoundIdentifier(parts) = expr
            && let [.., of, name] = parts.as_slice()
        {
            let (of, name) = (fold(&of.value, of.quote_style), fold(&name.value, name.quote_style));
            if self.keys.iter().any(|(key, right)| *key == name && right.as_ref() != Some(&of)) {
                self.found.push(expr.span());
            }
        }
        ControlFlow::Continue(())
    }
}

/// Qualifies a column that several joins of a chain merge by the chain's first relation.
pub(crate) fn qualify_chained(select: &mut sql::Select) {
    let [from] = select.from.as_slice() else { return };
    let Some(first) = relation_alias(&from.relation) else { return };
    let mut merged: Vec<(String, usize)> = Vec::new();
    for join in &from.joins {
        let (sql::JoinOperator::Join(on)
        | sql::JoinOperator::Inner(on)
        | sql::JoinOperator::Left(on)
        | sql::JoinOperator::LeftOuter(on)) = &join.join_operator
        else {
            return;
        };
        let sql::JoinConstraint::Using(columns) = on else { return };
        for name in columns.iter().filter_map(last_part) {
            match merged.iter_mut().find(|(known, _)| *known == name) {
                Some((_, times)) => *times += 1,
                None => merged.push((name, 1)),
            }
        }
    }
    merged.retain(|(_, times)| *times > 1);
    let names: Vec<String> = merged.into_iter().map(|(name, _)| name).collect();
    if names.is_empty() {
        return;
    }
    let mut write = QualifyNames { first, names, depth: 0 };
    for item in &mut select.projection {
        // A plain column keeps its own name as alias when it is qualified.
        if let sql::SelectItem::UnnamedExpr(expr) = item
            && let sql::Expr::Identifier(name) = &*expr
        {
            *item = sql::SelectItem::ExprWithAlias { alias: name.clone(), expr: expr.clone() };
        }
    }
    let _ = select.projection.walk_mut(&mut write);
    let _ = select.selection.walk_mut(&mut write);
    let _ = select.group_by.walk_mut(&mut write);
    let _ = select.having.walk_mut(&mut write);
}

/// Visitor that qualifies the columns in `names`.
struct QualifyNames {
    first: String,
    names: Vec<String>,
    /// Depth of subqueries, which are not rewritten: they have their own names.
    depth: usize,
}

impl VisitorMut for QualifyNames {
    type Break = ();

    fn pre_visit_query(&mut self, _: &mut sql::Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut sql::Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut sql::Expr) -> ControlFlow<()> {
        if self.depth == 0
            && let sql::Expr::Identifier(name) = &*expr
            && self.names.contains(&fold(&name.value, name.quote_style))
        {
            let first = sql::Ident::with_quote('"', self.first.clone());
            *expr = sql::Expr::CompoundIdentifier(vec![first, name.clone()]);
        }
        ControlFlow::Continue(())
    }
}

/// Name that qualifies a relation's columns.
fn relation_alias(relation: &sql::TableFactor) -> Option<String> {
    let ident = match relation {
        sql::TableFactor::Table { alias: Some(alias), .. }
        | sql::TableFactor::Derived { alias: Some(alias), .. } => alias.name.clone(),
        sql::TableFactor::Table { name, .. } => return last_part(name),
        _ => return None,
    };
    Some(fold(&ident.value, ident.quote_style))
}

/// Last part of a name, in normal form.
fn last_part(name: &sql::ObjectName) -> Option<String> {
    let ident = name.0.last()?.as_ident()?;
    Some(fold(&ident.value, ident.quote_style))
}
