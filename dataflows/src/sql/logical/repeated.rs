//! Refusal of references to a column name that a subquery has twice: `q.k` for
//! `(SELECT a.k, b.k FROM a JOIN b ON ...) AS q`.
//!
//! PostgreSQL accepts such a subquery and refuses `q.k`. The planner calls the second column `k:1` and
//! resolves `q.k` to the first. So the names that columns were written with are followed through the plan,
//! and a reference by an ambiguous name is refused. Columns from the expansion of `*` have no span in the
//! text, which distinguishes them from written references.

use datafusion_common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion_common::{
    Column, DFSchema, DataFusionError, Diagnostic, JoinConstraint, Result, SchemaError, TableReference,
};
use datafusion_expr::logical_plan::{Distinct, Join, LogicalPlan};
use datafusion_expr::{Expr, JoinType};

/// Columns in scope: qualifier and name in the plan, and the name as written.
type Scope = Vec<(Option<TableReference>, String, String)>;

/// Written names of the columns of `plan`, which must be as the planner made it.
///
/// # Errors
/// If a column is referred to by a name that its relation has twice.
pub(crate) fn written_names(plan: &LogicalPlan) -> Result<Vec<String>> {
    names_of_plan(plan, &mut vec![])
}

/// Written names of the columns of a plan, whose references are checked; `outer` holds the scopes of the
/// queries around.
fn names_of_plan(plan: &LogicalPlan, outer: &mut Vec<Scope>) -> Result<Vec<String>> {
    if let LogicalPlan::Join(join) = plan {
        return names_of_join(plan, join, outer);
    }
    let (mut scope, mut first) = (Scope::new(), None);
    for input in plan.inputs() {
        let names = names_of_plan(input, outer)?;
        scope.extend(in_sight(input.schema(), &names));
        // A node that does not rename columns has those of its first input.
        first = first.or(Some(names));
    }
    check_columns(plan, &scope, outer)?;
    let known: Vec<String> = match plan {
        LogicalPlan::Projection(p) => names_of_expressions(&p.expr, &scope),
        LogicalPlan::Distinct(Distinct::On(on)) => names_of_expressions(&on.select_expr, &scope),
        LogicalPlan::Aggregate(a) => names_of_expressions(&a.group_expr, &scope),
        _ => first.unwrap_or_default(),
    };
    Ok(pad_names(known, plan.schema()))
}

/// Written names of the columns of a join, whose right side may be LATERAL and refer to the left.
fn names_of_join(plan: &LogicalPlan, join: &Join, outer: &mut Vec<Scope>) -> Result<Vec<String>> {
    let left = names_of_plan(&join.left, outer)?;
    let mut scope: Scope = in_sight(join.left.schema(), &left).collect();
    outer.push(scope.clone());
    let right = names_of_plan(&join.right, outer)?;
    outer.pop();
    let other: Scope = in_sight(join.right.schema(), &right).collect();
    if join.join_constraint == JoinConstraint::Using {
        for (own, theirs) in &join.on {
            for (expr, side) in [(own, &scope), (theirs, &other)] {
                if let Expr::Column(column) = expr {
                    refuse_repeated(column, side)?;
                }
            }
        }
    }
    scope.extend(other);
    check_columns(plan, &scope, outer)?;
    let names = match join.join_type {
        JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => left,
        JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => right,
        _ => [left, right].concat(),
    };
    Ok(pad_names(names, plan.schema()))
}

/// Columns of an input with their written names.
fn in_sight<'a>(
    schema: &'a DFSchema,
    names: &'a [String],
) -> impl Iterator<Item = (Option<TableReference>, String, String)> + 'a {
    schema.iter().zip(names).map(|((of, field), name)| (of.cloned(), field.name().clone(), name.clone()))
}

/// `names`, cut or filled up with the names of `schema` to its width.
fn pad_names(mut names: Vec<String>, schema: &DFSchema) -> Vec<String> {
    names.truncate(schema.fields().len());
    for field in schema.fields().iter().skip(names.len()) {
        names.push(field.name().clone());
    }
    names
}

/// Written names of expressions; `k:1` is a second `k`.
fn names_of_expressions(exprs: &[Expr], scope: &Scope) -> Vec<String> {
    let mut names: Vec<String> = Vec::with_capacity(exprs.len());
    for expr in exprs {
        let name = match expr {
            Expr::Column(column) => written_name(column, scope).unwrap_or(&column.name).to_owned(),
            other => other.qualified_name().1,
        };
        match name.rsplit_once(':') {
            Some((base, number))
                if number.parse::<usize>().is_ok() && names.iter().any(|known| known == base) =>
            {
                names.push(base.to_owned());
            }
            _ => names.push(name),
        }
    }
    names
}

/// Written name of a column in scope.
fn written_name<'a>(column: &Column, scope: &'a Scope) -> Option<&'a String> {
    let (.., written) = scope.iter().find(|(of, name, _)| *of == column.relation && *name == column.name)?;
    Some(written)
}

/// Checks every column that the expressions of `plan` refer to, subqueries included.
fn check_columns(plan: &LogicalPlan, scope: &Scope, outer: &mut Vec<Scope>) -> Result<()> {
    plan.apply_expressions(|expr| check_expression(expr, scope, outer))?;
    Ok(())
}

/// Checks the references of one expression.
fn check_expression(expr: &Expr, scope: &Scope, outer: &mut Vec<Scope>) -> Result<TreeNodeRecursion> {
    expr.apply(|part| check_reference(part, scope, outer))
}

/// Checks a reference to a column, or the references of a subquery.
fn check_reference(expr: &Expr, scope: &Scope, outer: &mut Vec<Scope>) -> Result<TreeNodeRecursion> {
    match expr {
        Expr::Column(column) if column.spans.first().is_some() => refuse_repeated(column, scope)?,
        Expr::OuterReferenceColumn(_, column) => {
            if let Some(seen) = outer.iter().rev().find(|seen| written_name(column, seen).is_some()) {
                refuse_repeated(column, seen)?;
            }
        }
        Expr::ScalarSubquery(subquery) => check_subquery(&subquery.subquery, scope, outer)?,
        Expr::Exists(exists) => check_subquery(&exists.subquery.subquery, scope, outer)?,
        Expr::InSubquery(within_set) => check_subquery(&within_set.subquery.subquery, scope, outer)?,
        Expr::SetComparison(compared) => check_subquery(&compared.subquery.subquery, scope, outer)?,
        _ => {}
    }
    Ok(TreeNodeRecursion::Continue)
}

/// Checks the references of a subquery, for which `scope` is one more outer scope.
fn check_subquery(subquery: &LogicalPlan, scope: &Scope, outer: &mut Vec<Scope>) -> Result<()> {
    outer.push(scope.clone());
    let walked = names_of_plan(subquery, outer);
    outer.pop();
    walked?;
    Ok(())
}

/// Refuses a column whose written name occurs more than once in its relation.
fn refuse_repeated(column: &Column, scope: &Scope) -> Result<()> {
    let Some(name) = written_name(column, scope) else { return Ok(()) };
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
