//! Names that stand twice in a subquery: `(SELECT a.k, b.k FROM a JOIN b ON ...) AS q`.
//!
//! PostgreSQL lets a subquery have them, and refuses `q.k`. The planner calls the second `k:1` and takes
//! `q.k` for the first. So the names that columns were written with are followed through the plan, and a
//! column that is named although its name stands twice is refused. What `*` stands for has no place in the
//! text, which tells it from a column that is named.

use datafusion_common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion_common::{
    Column, DFSchema, DataFusionError, Diagnostic, JoinConstraint, Result, SchemaError, TableReference,
};
use datafusion_expr::logical_plan::{Distinct, Join, LogicalPlan};
use datafusion_expr::{Expr, JoinType};

/// Columns in sight: how the plan calls each, and how it was written.
type Scope = Vec<(Option<TableReference>, String, String)>;

/// The names of the columns of `plan`, as the planner made it, as they were written.
///
/// # Errors
/// When a column is named whose name stands twice.
pub(crate) fn names(plan: &LogicalPlan) -> Result<Vec<String>> {
    walk(plan, &mut vec![])
}

fn walk(plan: &LogicalPlan, outer: &mut Vec<Scope>) -> Result<Vec<String>> {
    if let LogicalPlan::Join(join) = plan {
        return joined(plan, join, outer);
    }
    let (mut scope, mut first) = (Scope::new(), None);
    for input in plan.inputs() {
        let names = walk(input, outer)?;
        scope.extend(in_sight(input.schema(), &names));
        first = first.or(Some(names));
    }
    expressions(plan, &scope, outer)?;
    let known: Vec<String> = match plan {
        LogicalPlan::Projection(p) => listed(&p.expr, &scope),
        LogicalPlan::Distinct(Distinct::On(on)) => listed(&on.select_expr, &scope),
        LogicalPlan::Aggregate(a) => listed(&a.group_expr, &scope),
        _ => first.unwrap_or_default(),
    };
    Ok(padded(known, plan.schema()))
}

/// A join, whose right side may be LATERAL and see the left.
fn joined(plan: &LogicalPlan, join: &Join, outer: &mut Vec<Scope>) -> Result<Vec<String>> {
    let left = walk(&join.left, outer)?;
    let mut scope: Scope = in_sight(join.left.schema(), &left).collect();
    outer.push(scope.clone());
    let right = walk(&join.right, outer)?;
    outer.pop();
    let other: Scope = in_sight(join.right.schema(), &right).collect();
    if join.join_constraint == JoinConstraint::Using {
        for (own, theirs) in &join.on {
            for (expr, side) in [(own, &scope), (theirs, &other)] {
                if let Expr::Column(column) = expr {
                    once(column, side)?;
                }
            }
        }
    }
    scope.extend(other);
    expressions(plan, &scope, outer)?;
    let names = match join.join_type {
        JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => left,
        JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => right,
        _ => [left, right].concat(),
    };
    Ok(padded(names, plan.schema()))
}

fn in_sight<'a>(
    schema: &'a DFSchema,
    names: &'a [String],
) -> impl Iterator<Item = (Option<TableReference>, String, String)> + 'a {
    schema.iter().zip(names).map(|((of, field), name)| (of.cloned(), field.name().clone(), name.clone()))
}

/// `names`, and those of `schema` behind them.
fn padded(mut names: Vec<String>, schema: &DFSchema) -> Vec<String> {
    names.truncate(schema.fields().len());
    names.extend(schema.fields().iter().skip(names.len()).map(|f| f.name().clone()));
    names
}

/// The names of expressions; `k:1` is a second `k`.
fn listed(exprs: &[Expr], scope: &Scope) -> Vec<String> {
    let mut names: Vec<String> = Vec::with_capacity(exprs.len());
    for expr in exprs {
        let name = match expr {
            Expr::Column(column) => written(column, scope).unwrap_or(&column.name).to_owned(),
            other => other.qualified_name().1,
        };
        let first = name.rsplit_once(':').filter(|(base, number)| {
            number.parse::<usize>().is_ok() && names.iter().any(|known| known == base)
        });
        names.push(first.map_or_else(|| name.clone(), |(base, _)| base.to_owned()));
    }
    names
}

/// Name of a column in sight, as it was written.
fn written<'a>(column: &Column, scope: &'a Scope) -> Option<&'a String> {
    scope.iter().find(|(of, name, _)| *of == column.relation && *name == column.name).map(|(.., w)| w)
}

/// Looks at every column that the expressions of `plan` name.
fn expressions(plan: &LogicalPlan, scope: &Scope, outer: &mut Vec<Scope>) -> Result<()> {
    plan.apply_expressions(|expr| {
        expr.apply(|e| {
            match e {
                Expr::Column(column) if column.spans.first().is_some() => once(column, scope)?,
                Expr::OuterReferenceColumn(_, column) => {
                    if let Some(seen) = outer.iter().rev().find(|seen| written(column, seen).is_some()) {
                        once(column, seen)?;
                    }
                }
                Expr::ScalarSubquery(subquery) => within(&subquery.subquery, scope, outer)?,
                Expr::Exists(exists) => within(&exists.subquery.subquery, scope, outer)?,
                Expr::InSubquery(within_set) => within(&within_set.subquery.subquery, scope, outer)?,
                Expr::SetComparison(compared) => within(&compared.subquery.subquery, scope, outer)?,
                _ => {}
            }
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    Ok(())
}

fn within(subquery: &LogicalPlan, scope: &Scope, outer: &mut Vec<Scope>) -> Result<()> {
    outer.push(scope.clone());
    let walked = walk(subquery, outer);
    outer.pop();
    walked.map(|_| ())
}

/// Refuses a column whose name stands more than once in its relation.
fn once(column: &Column, scope: &Scope) -> Result<()> {
    let Some(name) = written(column, scope) else { return Ok(()) };
    let alike = scope.iter().filter(|(of, _, other)| *of == column.relation && other == name);
    if alike.count() < 2 {
        return Ok(());
    }
    let error = match &column.relation {
        Some(qualifier) => SchemaError::DuplicateQualifiedField {
            qualifier: Box::new(qualifier.clone()),
            name: name.clone(),
        },
        None => SchemaError::AmbiguousReference { field: Box::new(Column::new_unqualified(name)) },
    };
    let text = format!("{name} stands twice");
    let error = DataFusionError::SchemaError(Box::new(error), Box::new(None));
    Err(error.with_diagnostic(Diagnostic::new_error(text, column.spans.first())))
}
