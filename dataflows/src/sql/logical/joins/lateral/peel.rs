//! Decomposition of a subquery into a base plan, and expressions and conditions over it.

use std::sync::Arc;

use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{DFSchema, Result};
use datafusion_expr::logical_plan::LogicalPlan;
use datafusion_expr::utils::split_conjunction_owned;
use datafusion_expr::{Expr, SortExpr};

use crate::mistake::unsupported::Unsupported;
use crate::sql::logical::joins::subquery::is_subquery;

/// Parts of a subquery: expressions and conditions over the columns of a base, which is no projection, filter
/// or alias.
pub(super) struct Peeled {
    pub outputs: Vec<Expr>,
    pub conditions: Vec<Expr>,
    /// Order of the uppermost Sort above the base.
    pub order: Vec<SortExpr>,
    pub base: LogicalPlan,
}

/// Decomposes a subquery.
pub(super) fn peel(plan: &LogicalPlan) -> Result<Peeled> {
    let outputs = plan.schema().columns().into_iter().map(Expr::Column).collect();
    let mut out = Peeled { outputs, conditions: vec![], order: vec![], base: plan.clone() };
    loop {
        let input = match &out.base {
            LogicalPlan::Projection(p) => {
                let (schema, exprs) = (Arc::clone(&p.schema), p.expr.clone());
                let input = Arc::clone(&p.input);
                out.lift_through(&schema, &exprs)?;
                input
            }
            LogicalPlan::SubqueryAlias(a) => {
                let (schema, input) = (Arc::clone(&a.schema), Arc::clone(&a.input));
                let exprs: Vec<Expr> = input.schema().columns().into_iter().map(Expr::Column).collect();
                out.lift_through(&schema, &exprs)?;
                input
            }
            LogicalPlan::Filter(f) => {
                out.conditions.extend(split_conjunction_owned(f.predicate.clone()));
                Arc::clone(&f.input)
            }
            LogicalPlan::Sort(s) if s.fetch.is_none() => {
                if out.order.is_empty() {
                    out.order = s.expr.clone();
                }
                Arc::clone(&s.input)
            }
            _ => break,
        };
        out.base = Arc::unwrap_or_clone(input);
    }
    // Columns of the outer query that correlated nested subqueries name would have to be replaced, too.
    let mut all = out.outputs.iter().chain(&out.conditions).chain(out.order.iter().map(|s| &s.expr));
    if all.any(contains_correlated) {
        return Err(Unsupported::NotJoinable.into());
    }
    Ok(out)
}

/// Tells whether an expression is or contains a correlated subquery.
fn contains_correlated(expr: &Expr) -> bool {
    expr.exists(|e| Ok(is_correlated(e))).unwrap_or(true)
}

/// Tells whether an expression is a correlated subquery, or one of a form that does not tell.
fn is_correlated(expr: &Expr) -> bool {
    match expr {
        Expr::ScalarSubquery(s) => !s.outer_ref_columns.is_empty(),
        Expr::Exists(s) => !s.subquery.outer_ref_columns.is_empty(),
        Expr::InSubquery(s) => !s.subquery.outer_ref_columns.is_empty(),
        other => is_subquery(other),
    }
}

impl Peeled {
    /// Replaces the columns of `schema` by `exprs`.
    fn lift_through(&mut self, schema: &DFSchema, exprs: &[Expr]) -> Result<()> {
        for expr in self.outputs.iter_mut().chain(&mut self.conditions) {
            *expr = substitute(expr.clone(), schema, exprs)?;
        }
        for sort in &mut self.order {
            sort.expr = substitute(sort.expr.clone(), schema, exprs)?;
        }
        Ok(())
    }
}

/// `list` with the columns of `schema` replaced by `exprs`.
pub(super) fn substitute_all(
    list: impl IntoIterator<Item = Expr>,
    schema: &DFSchema,
    exprs: &[Expr],
) -> Result<Vec<Expr>> {
    list.into_iter().map(|expr| substitute(expr, schema, exprs)).collect()
}

/// `expr` with the columns of `schema` replaced by `exprs`.
pub(super) fn substitute(expr: Expr, schema: &DFSchema, exprs: &[Expr]) -> Result<Expr> {
    let done = expr.transform_up(|e| match &e {
        Expr::Column(column) => match schema.maybe_index_of_column(column) {
            Some(at) => Ok(Transformed::yes(exprs[at].clone().unalias_nested().data)),
            None => Ok(Transformed::no(e)),
        },
        _ => Ok(Transformed::no(e)),
    })?;
    Ok(done.data)
}
