//! Rewriting of LATERAL subqueries, and of scalar subqueries correlated by other conditions than equalities,
//! to joins.
//!
//! Conditions, expressions and HAVING of a subquery are lifted above it, until the rest (the base) does not
//! depend on the outer row:
//!
//! * rows of a relation are joined on the correlated conditions;
//! * groups, functions OVER, and the first rows by LIMIT, are computed for each value of the subquery's side
//!   of correlated equalities, and joined on it;
//! * with other correlated conditions, they are computed for each of the distinct values of the outer rows;
//! * a total is joined so that an outer row without matches has one, too: a count of 0, or else NULL;
//! * a SELECT without FROM becomes expressions over the outer row, and so do VALUES, as arrays that are
//!   unnested.

mod inside;
mod peel;

use std::sync::Arc;

use datafusion_common::metadata::FieldMetadata;
use datafusion_common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion_common::{Column, DFSchema, JoinType, NullHandling, Result, UnnestOptions};
use datafusion_expr::logical_plan::{
    Aggregate, Distinct, Filter, Join, LogicalPlan, LogicalPlanBuilder, Projection, Subquery, Unnest, Values,
};
use datafusion_expr::utils::{conjunction, split_conjunction_owned};
use datafusion_expr::{Expr, ExprSchemable, lit, when};
use datafusion_functions::core::get_field;
use datafusion_functions_nested::make_array::make_array_udf;

use super::one_row::one_row;
use crate::functions::sets::abreast;
use crate::mistake::unsupported::Unsupported;
use crate::sql::logical::rewrite::recompute_all_schemas;
use inside::Inside;
use peel::{peel, substitute, substitute_all};

/// Rewrites the LATERAL subqueries of `plan`, whose types are coerced, to joins.
///
/// # Errors
/// If one cannot become a join.
pub(crate) fn join_subqueries(plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut count = 0;
    let done = plan.transform_up_with_subqueries(|node| {
        let LogicalPlan::Join(join) = &node else { return Ok(Transformed::no(node)) };
        let Some(subquery) = lateral_subquery(&join.right) else { return Ok(Transformed::no(node)) };
        let subquery = subquery.clone();
        count += 1;
        Outside { rows: join.left.as_ref().clone(), name: format!("__lateral{count}") }
            .join_lateral(join, &subquery)
            .map(Transformed::yes)
    })?;
    recompute_all_schemas(done)
}

/// Rewrites scalar subqueries that are totals correlated by other conditions than equalities to joins.
///
/// # Errors
/// If one cannot become a join.
pub(crate) fn join_values(plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut count = 0;
    let done = plan.transform_up_with_subqueries(|node| join_node_values(node, &mut count))?;
    recompute_all_schemas(done)
}

/// Rewrites the scalar subqueries of a filter or projection to joins below it; `count` numbers them.
fn join_node_values(node: LogicalPlan, count: &mut usize) -> Result<Transformed<LogicalPlan>> {
    let mut rows = match &node {
        LogicalPlan::Filter(f) => f.input.as_ref().clone(),
        LogicalPlan::Projection(p) => p.input.as_ref().clone(),
        _ => return Ok(Transformed::no(node)),
    };
    let (mut exprs, mut changed) = (vec![], false);
    for expr in node.expressions() {
        let done = expr.transform_up(|e| join_loose_value(e, &mut rows, count))?;
        changed |= done.transformed;
        exprs.push(done.data);
    }
    if !changed {
        return Ok(Transformed::no(node));
    }
    let columns = node.schema().columns();
    let exprs = match node {
        LogicalPlan::Filter(_) => {
            let Some(predicate) = conjunction(exprs) else { return Err(Unsupported::NotJoinable.into()) };
            rows = LogicalPlan::Filter(Filter::try_new(predicate, Arc::new(rows))?);
            columns.into_iter().map(Expr::Column).collect()
        }
        _ => name_like(exprs, &columns),
    };
    Ok(Transformed::yes(LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(rows))?)))
}

/// Joins `rows` with a scalar subquery that decorrelation does not support, and returns its value; leaves any
/// other expression unchanged.
fn join_loose_value(expr: Expr, rows: &mut LogicalPlan, count: &mut usize) -> Result<Transformed<Expr>> {
    match expr {
        Expr::ScalarSubquery(subquery) if is_loose(&subquery) => {
            *count += 1;
            let outside = Outside { rows: rows.clone(), name: format!("__value{count}") };
            let Some((plan, value)) = outside.join_value(&subquery.subquery)? else {
                return Ok(Transformed::no(Expr::ScalarSubquery(subquery)));
            };
            *rows = plan;
            Ok(Transformed::yes(value))
        }
        other => Ok(Transformed::no(other)),
    }
}

/// Expressions renamed to the names of `columns`.
fn name_like(exprs: Vec<Expr>, columns: &[Column]) -> Vec<Expr> {
    let mut named = Vec::with_capacity(exprs.len());
    for (expr, column) in exprs.into_iter().zip(columns) {
        named.push(match &expr {
            Expr::Column(own) if own == column => expr,
            _ => expr.unalias().alias_qualified(column.relation.clone(), column.name.clone()),
        });
    }
    named
}

/// Tells whether a scalar subquery is correlated in a way that DataFusion's decorrelation does not support.
fn is_loose(subquery: &Subquery) -> bool {
    !subquery.outer_ref_columns.is_empty() && one_row(subquery).is_err()
}

/// Subquery that is the right side of a LATERAL join.
fn lateral_subquery(right: &LogicalPlan) -> Option<&Arc<LogicalPlan>> {
    match right {
        LogicalPlan::Subquery(subquery) => Some(&subquery.subquery),
        LogicalPlan::SubqueryAlias(alias) => lateral_subquery(&alias.input),
        _ => None,
    }
}

/// Outer rows of a subquery.
struct Outside {
    rows: LogicalPlan,
    /// Prefix of the columns that are made for the subquery; unique in the plan.
    name: String,
}

impl Outside {
    /// Outer rows joined with a LATERAL subquery.
    fn join_lateral(self, join: &Join, subquery: &LogicalPlan) -> Result<LogicalPlan> {
        let keeps = match join.join_type {
            JoinType::Inner => false,
            JoinType::Left => true,
            _ => return Err(Unsupported::NotJoinable.into()),
        };
        let top = peel(subquery)?;
        let mut wanted = top.conditions;
        for part in join_conditions(join) {
            wanted.push(substitute(
                self.as_outer(part, join.right.schema())?,
                join.right.schema(),
                &top.outputs,
            )?);
        }
        let (plan, outputs) = match &top.base {
            LogicalPlan::EmptyRelation(e) if e.produce_one_row => {
                self.keep_where(self.rows.clone(), wanted, top.outputs, keeps)?
            }
            LogicalPlan::Aggregate(a) if a.group_expr.is_empty() => {
                let (plan, given) = self.join_total(a)?;
                let wanted = substitute_all(wanted, &a.schema, &given)?;
                let outputs = substitute_all(top.outputs, &a.schema, &given)?;
                self.keep_where(plan, wanted, outputs, keeps)?
            }
            LogicalPlan::Values(v) if self.is_named_in(&top.base)? => {
                let (plan, given) = self.join_listed_rows(v)?;
                let wanted = substitute_all(wanted, &v.schema, &given)?;
                if keeps && wanted.iter().any(drops_rows) {
                    return Err(Unsupported::NotJoinable.into());
                }
                let outputs = substitute_all(top.outputs, &v.schema, &given)?;
                self.keep_where(plan, wanted, outputs, keeps)?
            }
            base => self.join_rows(base, wanted, top.outputs, keeps)?,
        };
        let mut exprs: Vec<Expr> = self.rows.schema().columns().into_iter().map(Expr::Column).collect();
        for (output, (of, field)) in outputs.into_iter().zip(join.right.schema().iter()) {
            let metadata = Some(FieldMetadata::from(field.metadata()));
            exprs.push(output.alias_qualified_with_metadata(of.cloned(), field.name(), metadata));
        }
        Ok(LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(plan))?))
    }

    /// Outer rows joined with a scalar subquery, and its value; None if the subquery is not a total.
    fn join_value(&self, subquery: &LogicalPlan) -> Result<Option<(LogicalPlan, Expr)>> {
        let top = peel(subquery)?;
        let LogicalPlan::Aggregate(a) = &top.base else { return Ok(None) };
        if !a.group_expr.is_empty() || top.outputs.len() != 1 {
            return Ok(None);
        }
        let (plan, given) = self.join_total(a)?;
        let wanted = substitute_all(top.conditions, &a.schema, &given)?;
        let outputs = substitute_all(top.outputs, &a.schema, &given)?;
        let (plan, mut outputs) = self.keep_where(plan, wanted, outputs, true)?;
        Ok(outputs.pop().map(|value| (plan, value)))
    }

    /// Applies conditions to a plan with one row for each outer row. A row that does not meet them is
    /// dropped, or has NULL for `outputs` if the join `keeps` all outer rows.
    fn keep_where(
        &self,
        mut plan: LogicalPlan,
        wanted: Vec<Expr>,
        outputs: Vec<Expr>,
        keeps: bool,
    ) -> Result<(LogicalPlan, Vec<Expr>)> {
        let mut outputs = self.resolve_all(outputs)?;
        let wanted = self.resolve_all(wanted)?;
        match conjunction(wanted.into_iter().filter(drops_rows)) {
            Some(holds) if keeps => outputs = only_when(&holds, outputs)?,
            Some(holds) => plan = LogicalPlan::Filter(Filter::try_new(holds, Arc::new(plan))?),
            None => {}
        }
        Ok((plan, outputs))
    }

    /// Outer rows joined with any number of rows of `base`.
    fn join_rows(
        &self,
        base: &LogicalPlan,
        wanted: Vec<Expr>,
        outputs: Vec<Expr>,
        keeps: bool,
    ) -> Result<(LogicalPlan, Vec<Expr>)> {
        let inside = match base {
            LogicalPlan::Aggregate(a) => self.groups_by_key(&a.group_expr, &a.aggr_expr, &a.input)?,
            LogicalPlan::Distinct(Distinct::All(input)) => {
                let columns: Vec<Expr> = input.schema().columns().into_iter().map(Expr::Column).collect();
                self.groups_by_key(&columns, &[], input)?
            }
            LogicalPlan::Limit(limit) if self.is_named_in(base)? => self.first_by_key(limit)?,
            LogicalPlan::Window(window) if self.is_named_in(base)? => self.windows_by_key(window)?,
            _ => {
                if self.is_named_in(base)? {
                    return Err(Unsupported::NotJoinable.into());
                }
                let columns = base.schema().columns().into_iter().map(Expr::Column).collect();
                let (plan, given) = self.rename_columns(base.clone(), columns)?;
                Inside { plan, given, ties: vec![] }
            }
        };
        let mut ties = inside.ties.clone();
        ties.extend(self.resolve_all(substitute_all(wanted, base.schema(), &inside.given)?)?);
        ties.retain(drops_rows);
        let mut outputs = self.resolve_all(substitute_all(outputs, base.schema(), &inside.given)?)?;
        let kind = if keeps { JoinType::Left } else { JoinType::Inner };
        let plan = LogicalPlanBuilder::from(self.rows.clone()).join_on(inside.plan, kind, ties)?.build()?;
        // Expressions over the columns of a missing row need not be NULL: make them so.
        if keeps {
            let found = Expr::Column(self.found_column()).is_not_null();
            let mut shown = Vec::with_capacity(outputs.len());
            for output in outputs {
                if matches!(output, Expr::Column(_)) && inside.given.contains(&output) {
                    shown.push(output);
                } else {
                    shown.extend(only_when(&found, vec![output])?);
                }
            }
            outputs = shown;
        }
        Ok((plan, outputs))
    }

    /// Outer rows joined with each of the rows of VALUES, and expressions for the columns of VALUES.
    fn join_listed_rows(&self, v: &Values) -> Result<(LogicalPlan, Vec<Expr>)> {
        let column = Column::from_name(format!("{}_rows", self.name));
        let mut lists = Vec::with_capacity(v.schema.fields().len());
        for at in 0..v.schema.fields().len() {
            let items = v.values.iter().map(|row| row[at].clone());
            lists.push(make_array_udf().call(self.resolve_all(items)?));
        }
        let lists = abreast::function().call(lists).alias(&column.name);
        let own = self.rows.schema().columns().into_iter().map(Expr::Column);
        let plan = LogicalPlanBuilder::from(self.rows.clone()).project(own.chain([lists]))?.build()?;
        let options = UnnestOptions { null_handling: NullHandling::Drop, recursions: vec![] };
        let plan = LogicalPlan::Unnest(Unnest::try_new(Arc::new(plan), vec![column.clone()], options)?);
        let item = |at| get_field().call(vec![Expr::Column(column.clone()), lit(abreast::field(at))]);
        Ok((plan, (0..v.schema.fields().len()).map(item).collect()))
    }

    /// Outer rows joined with a total each, and expressions for the total's columns.
    fn join_total(&self, a: &Aggregate) -> Result<(LogicalPlan, Vec<Expr>)> {
        let inside = self.groups_by_key(&[], &a.aggr_expr, &a.input)?;
        let rows = LogicalPlanBuilder::from(self.rows.clone());
        if inside.ties.is_empty() {
            return Ok((rows.cross_join(inside.plan)?.build()?, inside.given));
        }
        let plan = rows.join_on(inside.plan, JoinType::Left, inside.ties)?.build()?;
        let mut given = Vec::with_capacity(inside.given.len());
        for (column, call) in inside.given.into_iter().zip(&a.aggr_expr) {
            given.push(self.total_or_default(column, call, a.input.schema())?);
        }
        Ok((plan, given))
    }

    /// A column of a total, which for an outer row without matches has the value of its call over no rows.
    fn total_or_default(&self, column: Expr, call: &Expr, input: &DFSchema) -> Result<Expr> {
        let Expr::AggregateFunction(f) = call.clone().unalias() else { return Ok(column) };
        let none = f.func.default_value(&call.get_type(input)?)?;
        if none.is_null() {
            return Ok(column);
        }
        when(Expr::Column(self.found_column()).is_not_null(), column).otherwise(lit(none))
    }

    /// Tells whether `plan` refers to a column of the outer rows.
    fn is_named_in(&self, plan: &LogicalPlan) -> Result<bool> {
        let mut found = false;
        plan.apply_with_subqueries(|node| {
            for expr in node.expressions() {
                found |= expr.exists(|e| Ok(self.is_own_column(e))).unwrap_or(true);
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(found)
    }

    /// Tells whether an expression is a reference to a column of the outer rows.
    fn is_own_column(&self, expr: &Expr) -> bool {
        match expr {
            Expr::OuterReferenceColumn(_, c) => self.rows.schema().maybe_index_of_column(c).is_some(),
            _ => false,
        }
    }

    /// `exprs` with references to the outer rows as plain columns.
    fn resolve_all(&self, exprs: impl IntoIterator<Item = Expr>) -> Result<Vec<Expr>> {
        exprs.into_iter().map(|expr| self.resolve_outer(expr)).collect()
    }

    /// `expr` with references to the outer rows as plain columns.
    fn resolve_outer(&self, expr: Expr) -> Result<Expr> {
        let done = expr.transform_up(|e| match &e {
            Expr::OuterReferenceColumn(_, c) if self.is_own_column(&e) => {
                Ok(Transformed::yes(Expr::Column(c.clone())))
            }
            _ => Ok(Transformed::no(e)),
        })?;
        Ok(done.data)
    }

    /// `expr` with columns that are not of `right` as references to the outer rows.
    fn as_outer(&self, expr: Expr, right: &DFSchema) -> Result<Expr> {
        let done = expr.transform_up(|e| match &e {
            Expr::Column(c) if right.maybe_index_of_column(c).is_none() => {
                let (_, field) = self.rows.schema().qualified_field_from_column(c)?;
                Ok(Transformed::yes(Expr::OuterReferenceColumn(Arc::clone(field), c.clone())))
            }
            _ => Ok(Transformed::no(e)),
        })?;
        Ok(done.data)
    }
}

/// Tells whether a condition is another than TRUE.
fn drops_rows(condition: &Expr) -> bool {
    *condition != lit(true)
}

/// Conditions of a join, keys included.
fn join_conditions(join: &Join) -> Vec<Expr> {
    let equal = join.on.iter().map(|(left, right)| left.clone().eq(right.clone()));
    equal.chain(join.filter.iter().cloned().flat_map(split_conjunction_owned)).collect()
}

/// `values`, or NULL for each of them if the condition `holds` is not true.
fn only_when(holds: &Expr, values: Vec<Expr>) -> Result<Vec<Expr>> {
    values.into_iter().map(|value| when(holds.clone(), value.unalias()).end()).collect()
}
