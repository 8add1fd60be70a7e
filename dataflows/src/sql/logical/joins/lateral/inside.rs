//! Rows, groups, window functions and first rows of a subquery, computed for all outer rows at once.

use std::sync::Arc;

use datafusion_common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion_common::{Column, JoinType, Result};
use datafusion_expr::expr::WindowFunction;
use datafusion_expr::logical_plan::{
    FetchType, Filter, Limit, LogicalPlan, LogicalPlanBuilder, Projection, SkipType, Window,
};
use datafusion_expr::utils::conjunction;
use datafusion_expr::{BinaryExpr, Expr, ExprFunctionExt, Operator, SortExpr, WindowFunctionDefinition, lit};

use super::Outside;
use super::peel::{Peeled, peel, substitute};
use crate::functions::windows::ranks;
use crate::mistake::unsupported::Unsupported;

/// Rows of a subquery for all outer rows.
pub(super) struct Inside {
    pub plan: LogicalPlan,
    /// Expressions for the columns of the base.
    pub given: Vec<Expr>,
    /// Join conditions between these rows and the outer rows.
    pub ties: Vec<Expr>,
}

/// Rows of a subquery with the keys that join them with outer rows.
struct RowsByKey {
    plan: LogicalPlan,
    keys: Vec<Expr>,
    /// Join conditions: index of a key, operator, and expression over the outer row.
    pairs: Vec<(usize, Operator, Expr)>,
    /// Expressions over these rows.
    exprs: Vec<Expr>,
}

impl Outside {
    /// Groups within each key.
    pub(super) fn groups_by_key(&self, by: &[Expr], calls: &[Expr], input: &LogicalPlan) -> Result<Inside> {
        if by.iter().any(|e| matches!(e, Expr::GroupingSet(_))) {
            return Err(Unsupported::NotJoinable.into());
        }
        let below = peel(input)?;
        let exprs = by.iter().chain(calls).map(|e| substitute(e.clone(), input.schema(), &below.outputs));
        let exprs = exprs.collect::<Result<Vec<_>>>()?;
        let keyed = self.rows_by_key(&below, exprs)?;
        // Keys and GROUP BY may share expressions, and calls may repeat: each is computed once.
        let mut group = keyed.keys.clone();
        let mut made: Vec<Expr> = vec![];
        let mut places = vec![];
        let (by, calls) = keyed.exprs.split_at(by.len());
        for expr in by {
            places.push((false, index_in(&mut group, expr)));
        }
        for expr in calls {
            places.push((true, index_in(&mut made, expr)));
        }
        let behind = group.len();
        let plan = LogicalPlanBuilder::from(keyed.plan).aggregate(group, made)?.build()?;
        let columns = plan.schema().columns();
        let at =
            |(call, at): &(bool, usize)| Expr::Column(columns[if *call { behind + at } else { *at }].clone());
        let keys = columns[..keyed.keys.len()].iter().cloned().map(Expr::Column);
        let all: Vec<Expr> = places.iter().map(at).chain(keys).collect();
        self.with_ties(plan, all, places.len(), keyed.pairs)
    }

    /// First rows of each key, after the skipped ones.
    pub(super) fn first_by_key(&self, limit: &Limit) -> Result<Inside> {
        let (SkipType::Literal(skip), FetchType::Literal(fetch)) =
            (limit.get_skip_type()?, limit.get_fetch_type()?)
        else {
            return Err(Unsupported::NotJoinable.into());
        };
        let below = peel(&limit.input)?;
        let order = below.order.iter().map(|s| s.expr.clone()).collect();
        let keyed = self.rows_by_key(&below, order)?;
        let sorts = keyed.exprs.iter().zip(&below.order);
        let mut sorts: Vec<SortExpr> =
            sorts.map(|(expr, s)| SortExpr { expr: expr.clone(), ..s.clone() }).collect();
        // Without an order any rows are the first; the key is the same for all of them.
        if sorts.is_empty() {
            sorts.extend(keyed.keys.first().map(|key| key.clone().sort(true, false)));
        }
        let number = format!("{}_number", self.name);
        let function = WindowFunctionDefinition::WindowUDF(ranks::row_number());
        let numbered = Expr::from(WindowFunction::new(function, vec![]))
            .partition_by(keyed.keys.clone())
            .order_by(sorts)
            .build()?
            .alias(&number);
        let number = Expr::Column(Column::from_name(number));
        let skip = i64::try_from(skip).unwrap_or(i64::MAX);
        let mut rows = LogicalPlanBuilder::from(keyed.plan).window([numbered])?;
        if let Some(fetch) = fetch {
            let last = skip.saturating_add(i64::try_from(fetch).unwrap_or(i64::MAX));
            rows = rows.filter(number.clone().lt_eq(lit(last)))?;
        }
        if skip > 0 {
            rows = rows.filter(number.gt(lit(skip)))?;
        }
        let columns = below.base.schema().columns();
        let count = columns.len();
        let all = columns.into_iter().map(Expr::Column).chain(keyed.keys).collect();
        let mut inside = self.with_ties(rows.build()?, all, count, keyed.pairs)?;
        // The columns of the LIMIT are expressions over the base's columns.
        let outputs = below.outputs.into_iter().map(|e| substitute(e, below.base.schema(), &inside.given));
        inside.given = outputs.collect::<Result<_>>()?;
        Ok(inside)
    }

    /// Rows of each key with window functions over the rows of the same key.
    pub(super) fn windows_by_key(&self, window: &Window) -> Result<Inside> {
        let below = peel(&window.input)?;
        let calls = window.window_expr.iter();
        let calls = calls.map(|e| substitute(e.clone().unalias(), window.input.schema(), &below.outputs));
        let keyed = self.rows_by_key(&below, calls.collect::<Result<_>>()?)?;
        let keys = keyed.keys.len();
        let names: Vec<String> = (0..keyed.exprs.len()).map(|at| format!("{}_over{at}", self.name)).collect();
        let mut calls = Vec::with_capacity(names.len());
        for (call, name) in keyed.exprs.into_iter().zip(&names) {
            let Expr::WindowFunction(mut call) = call else { return Err(Unsupported::NotJoinable.into()) };
            for key in &keyed.keys {
                index_in(&mut call.params.partition_by, key);
            }
            calls.push(Expr::WindowFunction(call).alias(name));
        }
        let plan = LogicalPlanBuilder::from(keyed.plan).window(calls)?.build()?;
        let columns = below.base.schema().columns();
        let own = columns.len();
        let made = names.into_iter().map(Column::from_name);
        let all: Vec<Expr> = columns.into_iter().chain(made).map(Expr::Column).chain(keyed.keys).collect();
        let count = all.len() - keys;
        let mut inside = self.with_ties(plan, all, count, keyed.pairs)?;
        let made = inside.given.split_off(own);
        let outputs = below.outputs.into_iter().map(|e| substitute(e, below.base.schema(), &inside.given));
        inside.given = outputs.collect::<Result<Vec<_>>>()?.into_iter().chain(made).collect();
        Ok(inside)
    }

    /// Rows of `plan` with their join conditions: of the expressions `all`, the first `count` become its
    /// columns and the others are its keys.
    fn with_ties(
        &self,
        plan: LogicalPlan,
        all: Vec<Expr>,
        count: usize,
        pairs: Vec<(usize, Operator, Expr)>,
    ) -> Result<Inside> {
        let (plan, mut given) = self.rename_columns(plan, all)?;
        let keys = given.split_off(count);
        let ties = pairs.into_iter().map(|(at, op, outer)| {
            Expr::BinaryExpr(BinaryExpr::new(Box::new(outer), op, Box::new(keys[at].clone())))
        });
        Ok(Inside { plan, given, ties: ties.collect() })
    }

    /// Projects `exprs` over `plan` to columns with unique names, and adds a column that is TRUE in every
    /// row: after an outer join it is NULL where no row matched.
    pub(super) fn rename_columns(
        &self,
        plan: LogicalPlan,
        exprs: Vec<Expr>,
    ) -> Result<(LogicalPlan, Vec<Expr>)> {
        let names: Vec<String> = (0..exprs.len()).map(|at| format!("{}_{at}", self.name)).collect();
        let exprs = exprs.into_iter().zip(&names).map(|(e, name)| e.alias(name));
        let exprs: Vec<Expr> = exprs.chain([lit(true).alias(self.found_column().name)]).collect();
        let plan = LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(plan))?);
        Ok((plan, names.into_iter().map(|name| Expr::Column(Column::from_name(name))).collect()))
    }

    /// Column that is TRUE where a row of the subquery matched.
    pub(super) fn found_column(&self) -> Column {
        Column::from_name(format!("{}_found", self.name))
    }

    /// Rows of a subquery with their keys, and `exprs` over them. Conditions that are not correlated are
    /// applied.
    fn rows_by_key(&self, below: &Peeled, exprs: Vec<Expr>) -> Result<RowsByKey> {
        if self.is_named_in(&below.base)? {
            return Err(Unsupported::NotJoinable.into());
        }
        let (ties, rest): (Vec<Expr>, Vec<Expr>) =
            below.conditions.iter().cloned().partition(Expr::contains_outer);
        let mut base = below.base.clone();
        if let Some(rest) = conjunction(rest) {
            base = LogicalPlan::Filter(Filter::try_new(rest, Arc::new(base))?);
        }
        let equal: Option<Vec<(Expr, Operator, Expr)>> = match exprs.iter().any(Expr::contains_outer) {
            true => None,
            false => ties.iter().map(tie_equality).collect(),
        };
        let Some(equal) = equal else { return self.by_values(base, ties, exprs) };
        let (mut keys, mut pairs) = (vec![], vec![]);
        for (inner, op, outer) in equal {
            pairs.push((index_in(&mut keys, &inner), op, self.resolve_outer(outer)?));
        }
        Ok(RowsByKey { plan: base, keys, pairs, exprs })
    }

    /// Rows of a subquery for each distinct combination of the outer values that `ties` and `exprs` read:
    /// those values are the keys.
    fn by_values(&self, base: LogicalPlan, ties: Vec<Expr>, exprs: Vec<Expr>) -> Result<RowsByKey> {
        let mut columns: Vec<Column> = vec![];
        for expr in ties.iter().chain(&exprs) {
            expr.apply(|e| {
                if let Expr::OuterReferenceColumn(_, column) = e
                    && !columns.contains(column)
                {
                    columns.push(column.clone());
                }
                Ok(TreeNodeRecursion::Continue)
            })?;
        }
        if columns.iter().any(|column| self.rows.schema().maybe_index_of_column(column).is_none()) {
            return Err(Unsupported::NotJoinable.into());
        }
        let keys: Vec<Expr> = (0..columns.len())
            .map(|at| Expr::Column(Column::from_name(format!("{}_of{at}", self.name))))
            .collect();
        let inner = |expr: Expr| outer_as_keys(expr, &columns, &keys);
        let named = columns.iter().enumerate();
        let named = named.map(|(at, c)| Expr::Column(c.clone()).alias(format!("{}_of{at}", self.name)));
        let ties = ties.into_iter().map(inner).collect::<Result<Vec<_>>>()?;
        let plan = LogicalPlanBuilder::from(self.rows.clone())
            .project(named)?
            .distinct()?
            .join_on(base, JoinType::Inner, ties)?
            .build()?;
        let exprs = exprs.into_iter().map(inner).collect::<Result<_>>()?;
        let same = |(at, c)| (at, Operator::IsNotDistinctFrom, Expr::Column(c));
        let pairs = columns.into_iter().enumerate().map(same).collect();
        Ok(RowsByKey { plan, keys, pairs, exprs })
    }
}

/// `expr` with references to the outer `columns` as the keys that stand for them.
fn outer_as_keys(expr: Expr, columns: &[Column], keys: &[Expr]) -> Result<Expr> {
    let done = expr.transform_up(|part| {
        let Expr::OuterReferenceColumn(_, column) = &part else { return Ok(Transformed::no(part)) };
        match columns.iter().position(|known| known == column) {
            Some(at) => Ok(Transformed::yes(keys[at].clone())),
            None => Ok(Transformed::no(part)),
        }
    })?;
    Ok(done.data)
}

/// Sides of a correlated equality: an expression over the rows of a subquery, the operator, and an expression
/// over the outer row. None for any other condition.
fn tie_equality(tie: &Expr) -> Option<(Expr, Operator, Expr)> {
    let Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::Eq | Operator::IsNotDistinctFrom), right }) =
        tie
    else {
        return None;
    };
    let apart = |inner: &Expr, outer: &Expr| !inner.contains_outer() && outer.column_refs().is_empty();
    if apart(left, right) {
        return Some((left.as_ref().clone(), *op, right.as_ref().clone()));
    }
    apart(right, left).then(|| (right.as_ref().clone(), *op, left.as_ref().clone()))
}

/// Position of `expr` in `list`, to which it is added if missing.
fn index_in(list: &mut Vec<Expr>, expr: &Expr) -> usize {
    let known = list.iter().position(|known| known == expr);
    known.unwrap_or_else(|| {
        list.push(expr.clone());
        list.len() - 1
    })
}
