//! LATERAL subqueries, and values that something else than equalities ties to their row, as joins.
//!
//! Conditions, expressions and HAVING of a subquery are lifted above it, until what is left knows nothing
//! of the row outside:
//!
//! * rows of a relation are joined on the conditions that tie them;
//! * groups, functions OVER, and the first rows by LIMIT, are made for each value that an equality ties, and joined on it;
//! * where other conditions tie them, they are made for each of the values that the rows outside have;
//! * a total is joined so that it has a row over nothing, too: a count of 0, and otherwise NULL;
//! * a SELECT without FROM is computed beside its row, and so are VALUES, as arrays that are unnested.

mod inside;
mod peel;

use std::sync::Arc;

use datafusion_common::metadata::FieldMetadata;
use datafusion_common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion_common::{Column, DFSchema, JoinType, NullHandling, Result, UnnestOptions, plan_err};
use datafusion_expr::logical_plan::{
    Aggregate, Distinct, Filter, Join, LogicalPlan, LogicalPlanBuilder, Projection, Subquery, Unnest, Values,
};
use datafusion_expr::utils::{conjunction, split_conjunction_owned};
use datafusion_expr::{Expr, ExprSchemable, lit, when};
use datafusion_functions::core::get_field;
use datafusion_functions_nested::make_array::make_array_udf;

use super::subquery::{PLACE, one_row};
use crate::functions::sets::abreast;
use inside::Inside;
use peel::{over, peeled};

/// `plan`, its types coerced, with joins in place of LATERAL subqueries.
///
/// # Errors
/// When one cannot be a join.
pub(crate) fn joined(plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut count = 0;
    let done = plan.transform_up_with_subqueries(|node| {
        let LogicalPlan::Join(join) = &node else { return Ok(Transformed::no(node)) };
        let Some(subquery) = lateral(&join.right) else { return Ok(Transformed::no(node)) };
        let subquery = subquery.clone();
        count += 1;
        Outside { rows: join.left.as_ref().clone(), name: format!("__lateral{count}") }
            .apply(join, &subquery)
            .map(Transformed::yes)
    })?;
    recomputed(done)
}

/// `plan` with joins in place of the totals that are values and that something else than an equality ties.
///
/// # Errors
/// When one cannot be a join.
pub(crate) fn values(plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut count = 0;
    let done = plan.transform_up_with_subqueries(|node| {
        let mut rows = match &node {
            LogicalPlan::Filter(f) => f.input.as_ref().clone(),
            LogicalPlan::Projection(p) => p.input.as_ref().clone(),
            _ => return Ok(Transformed::no(node)),
        };
        let mut changed = false;
        let exprs = node.expressions().into_iter().map(|expr| {
            expr.transform_up(|e| match e {
                Expr::ScalarSubquery(subquery) if is_loose(&subquery) => {
                    count += 1;
                    let outside = Outside { rows: rows.clone(), name: format!("__value{count}") };
                    let Some((plan, value)) = outside.value(&subquery.subquery)? else {
                        return Ok(Transformed::no(Expr::ScalarSubquery(subquery)));
                    };
                    rows = plan;
                    changed = true;
                    Ok(Transformed::yes(value))
                }
                other => Ok(Transformed::no(other)),
            })
            .map(|done| done.data)
        });
        let exprs = exprs.collect::<Result<Vec<_>>>()?;
        if !changed {
            return Ok(Transformed::no(node));
        }
        let columns = node.schema().columns();
        let exprs = match node {
            LogicalPlan::Filter(_) => {
                let Some(predicate) = conjunction(exprs) else { return plan_err!("{PLACE}") };
                rows = LogicalPlan::Filter(Filter::try_new(predicate, Arc::new(rows))?);
                columns.into_iter().map(Expr::Column).collect()
            }
            _ => named(exprs, &columns),
        };
        Ok(Transformed::yes(LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(rows))?)))
    })?;
    recomputed(done)
}

/// Expressions called as columns were.
fn named(exprs: Vec<Expr>, columns: &[Column]) -> Vec<Expr> {
    let pairs = exprs.into_iter().zip(columns);
    pairs
        .map(|(expr, column)| match &expr {
            Expr::Column(own) if own == column => expr,
            _ => expr.unalias().alias_qualified(column.relation.clone(), column.name.clone()),
        })
        .collect()
}

fn recomputed(done: Transformed<LogicalPlan>) -> Result<LogicalPlan> {
    match done.transformed {
        true => {
            let plan = done.data;
            Ok(plan.transform_up_with_subqueries(|n| n.recompute_schema().map(Transformed::yes))?.data)
        }
        false => Ok(done.data),
    }
}

/// Tells whether a value has one row, but is not tied as DataFusion can have it.
fn is_loose(subquery: &Subquery) -> bool {
    !subquery.outer_ref_columns.is_empty() && one_row(subquery).is_err()
}

/// The subquery that the right side of a LATERAL join is.
fn lateral(right: &LogicalPlan) -> Option<&Arc<LogicalPlan>> {
    match right {
        LogicalPlan::Subquery(subquery) => Some(&subquery.subquery),
        LogicalPlan::SubqueryAlias(alias) => lateral(&alias.input),
        _ => None,
    }
}

/// Rows in which a subquery is looked at, one by one.
struct Outside {
    rows: LogicalPlan,
    /// Alias of the relation that is made.
    name: String,
}

impl Outside {
    /// `rows` joined with a LATERAL subquery.
    fn apply(self, join: &Join, subquery: &LogicalPlan) -> Result<LogicalPlan> {
        let keeps = match join.join_type {
            JoinType::Inner => false,
            JoinType::Left => true,
            _ => return plan_err!("{PLACE}"),
        };
        let top = peeled(subquery)?;
        let mut wanted = top.conditions;
        for part in on(join) {
            wanted.push(over(self.outer(part, join.right.schema())?, join.right.schema(), &top.outputs)?);
        }
        let (plan, outputs) = match &top.base {
            LogicalPlan::EmptyRelation(e) if e.produce_one_row => {
                self.checked(self.rows.clone(), wanted, top.outputs, keeps)?
            }
            LogicalPlan::Aggregate(a) if a.group_expr.is_empty() => {
                let (plan, given) = self.total(a)?;
                let inner = |e: Expr| over(e, &a.schema, &given);
                let wanted = wanted.into_iter().map(inner).collect::<Result<_>>()?;
                let outputs = top.outputs.into_iter().map(inner).collect::<Result<_>>()?;
                self.checked(plan, wanted, outputs, keeps)?
            }
            LogicalPlan::Values(v) if self.is_named_in(&top.base)? => {
                let (plan, given) = self.listed(v)?;
                let inner = |e: Expr| over(e, &v.schema, &given);
                let wanted: Vec<Expr> = wanted.into_iter().map(inner).collect::<Result<_>>()?;
                if keeps && wanted.iter().any(|e| *e != lit(true)) {
                    return plan_err!("{PLACE}");
                }
                let outputs = top.outputs.into_iter().map(inner).collect::<Result<_>>()?;
                self.checked(plan, wanted, outputs, keeps)?
            }
            base => self.partners(base, wanted, top.outputs, keeps)?,
        };
        let mut exprs: Vec<Expr> = self.rows.schema().columns().into_iter().map(Expr::Column).collect();
        for (output, (of, field)) in outputs.into_iter().zip(join.right.schema().iter()) {
            let metadata = Some(FieldMetadata::from(field.metadata()));
            exprs.push(output.alias_qualified_with_metadata(of.cloned(), field.name(), metadata));
        }
        Ok(LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(plan))?))
    }

    /// `rows` with a value beside them; None where it is not the value of a total.
    fn value(&self, subquery: &LogicalPlan) -> Result<Option<(LogicalPlan, Expr)>> {
        let top = peeled(subquery)?;
        let LogicalPlan::Aggregate(a) = &top.base else { return Ok(None) };
        if !a.group_expr.is_empty() || top.outputs.len() != 1 {
            return Ok(None);
        }
        let (plan, given) = self.total(a)?;
        let inner = |e: Expr| over(e, &a.schema, &given);
        let wanted = top.conditions.into_iter().map(inner).collect::<Result<_>>()?;
        let outputs = top.outputs.into_iter().map(inner).collect::<Result<_>>()?;
        let (plan, mut outputs) = self.checked(plan, wanted, outputs, true)?;
        Ok(outputs.pop().map(|value| (plan, value)))
    }

    /// One row beside each row outside, if conditions hold; NULL beside it if not, where it `keeps` all rows.
    fn checked(
        &self,
        mut plan: LogicalPlan,
        wanted: Vec<Expr>,
        outputs: Vec<Expr>,
        keeps: bool,
    ) -> Result<(LogicalPlan, Vec<Expr>)> {
        let mut outputs = outputs.into_iter().map(|e| self.own(e)).collect::<Result<Vec<_>>>()?;
        let wanted = wanted.into_iter().map(|e| self.own(e)).collect::<Result<Vec<_>>>()?;
        let wanted = wanted.into_iter().filter(|e| *e != lit(true));
        match conjunction(wanted) {
            Some(holds) if keeps => outputs = only_when(&holds, outputs)?,
            Some(holds) => plan = LogicalPlan::Filter(Filter::try_new(holds, Arc::new(plan))?),
            None => {}
        }
        Ok((plan, outputs))
    }

    /// Any number of rows beside each row outside.
    fn partners(
        &self,
        base: &LogicalPlan,
        wanted: Vec<Expr>,
        outputs: Vec<Expr>,
        keeps: bool,
    ) -> Result<(LogicalPlan, Vec<Expr>)> {
        let inside = match base {
            LogicalPlan::Aggregate(a) => self.groups(&a.group_expr, &a.aggr_expr, &a.input)?,
            LogicalPlan::Distinct(Distinct::All(input)) => {
                let columns: Vec<Expr> = input.schema().columns().into_iter().map(Expr::Column).collect();
                self.groups(&columns, &[], input)?
            }
            LogicalPlan::Limit(limit) if self.is_named_in(base)? => self.first(limit)?,
            LogicalPlan::Window(window) if self.is_named_in(base)? => self.ranked(window)?,
            _ => {
                if self.is_named_in(base)? {
                    return plan_err!("{PLACE}");
                }
                let columns = base.schema().columns().into_iter().map(Expr::Column).collect();
                let (plan, given) = self.renamed(base.clone(), columns)?;
                Inside { plan, given, ties: vec![] }
            }
        };
        let inner = |e: Expr| self.own(over(e, base.schema(), &inside.given)?);
        let mut ties = inside.ties.clone();
        for part in wanted {
            ties.push(inner(part)?);
        }
        let mut outputs = outputs.into_iter().map(inner).collect::<Result<Vec<_>>>()?;
        let kind = if keeps { JoinType::Left } else { JoinType::Inner };
        let ties: Vec<Expr> = ties.into_iter().filter(|e| *e != lit(true)).collect();
        let plan = LogicalPlanBuilder::from(self.rows.clone()).join_on(inside.plan, kind, ties)?.build()?;
        if keeps {
            let found = Expr::Column(self.found()).is_not_null();
            outputs = outputs
                .into_iter()
                .map(|e| match &e {
                    Expr::Column(c) if inside.given.iter().any(|given| *given == Expr::Column(c.clone())) => {
                        Ok(vec![e])
                    }
                    _ => only_when(&found, vec![e]),
                })
                .collect::<Result<Vec<_>>>()?
                .concat();
        }
        Ok((plan, outputs))
    }

    /// `rows` with each of the rows of VALUES, and what stands for their columns.
    fn listed(&self, v: &Values) -> Result<(LogicalPlan, Vec<Expr>)> {
        let column = Column::from_name(format!("{}_rows", self.name));
        let lists = (0..v.schema.fields().len()).map(|at| {
            let items = v.values.iter().map(|row| self.own(row[at].clone())).collect::<Result<_>>()?;
            Ok(make_array_udf().call(items))
        });
        let lists = abreast::function().call(lists.collect::<Result<_>>()?).alias(&column.name);
        let own = self.rows.schema().columns().into_iter().map(Expr::Column);
        let plan = LogicalPlanBuilder::from(self.rows.clone()).project(own.chain([lists]))?.build()?;
        let options = UnnestOptions { null_handling: NullHandling::Drop, recursions: vec![] };
        let plan = LogicalPlan::Unnest(Unnest::try_new(Arc::new(plan), vec![column.clone()], options)?);
        let item = |at| get_field().call(vec![Expr::Column(column.clone()), lit(abreast::field(at))]);
        Ok((plan, (0..v.schema.fields().len()).map(item).collect()))
    }

    /// `rows` with a total beside each, and what stands for its columns.
    fn total(&self, a: &Aggregate) -> Result<(LogicalPlan, Vec<Expr>)> {
        let inside = self.groups(&[], &a.aggr_expr, &a.input)?;
        let rows = LogicalPlanBuilder::from(self.rows.clone());
        if inside.ties.is_empty() {
            return Ok((rows.cross_join(inside.plan)?.build()?, inside.given));
        }
        let plan = rows.join_on(inside.plan, JoinType::Left, inside.ties)?.build()?;
        let given = inside.given.into_iter().zip(&a.aggr_expr).map(|(given, call)| {
            let Expr::AggregateFunction(f) = call.clone().unalias() else { return Ok(given) };
            let none = f.func.default_value(&call.get_type(a.input.schema())?)?;
            match none.is_null() {
                true => Ok(given),
                false => when(Expr::Column(self.found()).is_not_null(), given).otherwise(lit(none)),
            }
        });
        let given = given.collect::<Result<_>>()?;
        Ok((plan, given))
    }

    /// Tells whether `plan` names a column of the rows outside.
    fn is_named_in(&self, plan: &LogicalPlan) -> Result<bool> {
        let own = |e: &Expr| match e {
            Expr::OuterReferenceColumn(_, c) => self.rows.schema().maybe_index_of_column(c).is_some(),
            _ => false,
        };
        let mut found = false;
        plan.apply_with_subqueries(|node| {
            found |= node.expressions().iter().any(|e| e.exists(|e| Ok(own(e))).unwrap_or(true));
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(found)
    }

    /// `expr` with the columns of the rows outside as columns.
    fn own(&self, expr: Expr) -> Result<Expr> {
        let done = expr.transform_up(|e| match &e {
            Expr::OuterReferenceColumn(_, c) if self.rows.schema().maybe_index_of_column(c).is_some() => {
                Ok(Transformed::yes(Expr::Column(c.clone())))
            }
            _ => Ok(Transformed::no(e)),
        })?;
        Ok(done.data)
    }

    /// `expr` with its columns that are not of `right` as those of the rows outside.
    fn outer(&self, expr: Expr, right: &DFSchema) -> Result<Expr> {
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

/// The conditions of a join.
fn on(join: &Join) -> Vec<Expr> {
    let equal = join.on.iter().map(|(left, right)| left.clone().eq(right.clone()));
    equal.chain(join.filter.iter().cloned().flat_map(split_conjunction_owned)).collect()
}

/// Values that are NULL where a condition does not hold.
fn only_when(holds: &Expr, values: Vec<Expr>) -> Result<Vec<Expr>> {
    values.into_iter().map(|value| when(holds.clone(), value.unalias()).end()).collect()
}
