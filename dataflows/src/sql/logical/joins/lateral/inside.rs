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
use super::peel::{Peeled, peel, substitute_all};
use crate::functions::windows::ranks;
use crate::mistake::unsupported::Unsupported;
use crate::sql::logical::global_aggregate::groups_by_sets;

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
        if groups_by_sets(by) {
            return Err(Unsupported::NotJoinable.into());
        }
        let below = peel(input)?;
        let exprs = substitute_all(by.iter().chain(calls).cloned(), input.schema(), &below.outputs)?;
        let keyed = self.rows_by_key(&below, exprs)?;
        // Keys and GROUP BY may share expressions, and calls may repeat: each is computed once.
        let mut group = keyed.keys.clone();
        let mut made: Vec<Expr> = vec![];
        let mut places = vec![];
        let (by, calls) = keyed.exprs.split_at(by.len());
        for expr in by {
            places.push(index_in(&mut group, expr));
        }
        let behind = group.len();
        for expr in calls {
            places.push(behind + index_in(&mut made, expr));
        }
        let count = places.len();
        let plan = LogicalPlanBuilder::from(keyed.plan).aggregate(group, made)?.build()?;
        let columns = plan.schema().columns();
        let places = places.into_iter().chain(0..keyed.keys.len());
        let all = places.map(|at| Expr::Column(columns[at].clone())).collect();
        self.with_ties(plan, all, count, keyed.pairs)
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
        let mut sorts = Vec::with_capacity(below.order.len());
        for (expr, sort) in keyed.exprs.into_iter().zip(&below.order) {
            sorts.push(SortExpr { expr, ..sort.clone() });
        }
        // Without an order any rows are the first; the key is the same for all of them.
        if let (true, Some(key)) = (sorts.is_empty(), keyed.keys.first()) {
            sorts.push(key.clone().sort(true, false));
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
        inside.given = substitute_all(below.outputs, below.base.schema(), &inside.given)?;
        Ok(inside)
    }

    /// Rows of each key with window functions over the rows of the same key.
    pub(super) fn windows_by_key(&self, window: &Window) -> Result<Inside> {
        let below = peel(&window.input)?;
        let calls = window.window_expr.iter().cloned().map(Expr::unalias);
        let calls = substitute_all(calls, window.input.schema(), &below.outputs)?;
        let keyed = self.rows_by_key(&below, calls)?;
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
        inside.given = substitute_all(below.outputs, below.base.schema(), &inside.given)?;
        inside.given.extend(made);
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
        let mut ties = Vec::with_capacity(pairs.len());
        for (at, op, outer) in pairs {
            let tie = BinaryExpr::new(Box::new(outer), op, Box::new(keys[at].clone()));
            ties.push(Expr::BinaryExpr(tie));
        }
        Ok(Inside { plan, given, ties })
    }

    /// Projects `exprs` over `plan` to columns with unique names, and adds a column that is TRUE in every
    /// row: after an outer join it is NULL where no row matched.
    pub(super) fn rename_columns(
        &self,
        plan: LogicalPlan,
        exprs: Vec<Expr>,
    ) -> Result<(LogicalPlan, Vec<Expr>)> {
        let mut named = Vec::with_capacity(exprs.len() + 1);
        let mut columns = Vec::with_capacity(exprs.len());
        for (at, expr) in exprs.into_iter().enumerate() {
            let name = format!("{}_{at}", self.name);
            named.push(expr.alias(&name));
            columns.push(Expr::Column(Column::from_name(name)));
        }
        named.push(lit(true).alias(self.found_column().name));
        let plan = LogicalPlan::Projection(Projection::try_new(named, Arc::new(plan))?);
        Ok((plan, columns))
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
        let equal: Option<Vec<(Expr, Operator, Expr)>> = if exprs.iter().any(Expr::contains_outer) {
            None
        } else {
            ties.iter().map(tie_equality).collect()
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
        let (mut keys, mut named) = (Vec::with_capacity(columns.len()), Vec::with_capacity(columns.len()));
        for (at, column) in columns.iter().enumerate() {
            let name = format!("{}_of{at}", self.name);
            named.push(Expr::Column(column.clone()).alias(&name));
            keys.push(Expr::Column(Column::from_name(name)));
        }
        let ties = outer_as_keys(ties, &columns, &keys)?;
        let plan = LogicalPlanBuilder::from(self.rows.clone())
            .project(named)?
            .distinct()?
            .join_on(base, JoinType::Inner, ties)?
            .build()?;
        let exprs = outer_as_keys(exprs, &columns, &keys)?;
        let mut pairs = Vec::with_capacity(columns.len());
        for (at, column) in columns.into_iter().enumerate() {
            pairs.push((at, Operator::IsNotDistinctFrom, Expr::Column(column)));
        }
        Ok(RowsByKey { plan, keys, pairs, exprs })
    }
}

/// `exprs` with references to the outer `columns` as the keys that stand for them.
fn outer_as_keys(exprs: Vec<Expr>, columns: &[Column], keys: &[Expr]) -> Result<Vec<Expr>> {
    let mut replaced = Vec::with_capacity(exprs.len());
    for expr in exprs {
        replaced.push(expr.transform_up(|part| outer_as_key(part, columns, keys))?.data);
    }
    Ok(replaced)
}

/// The key that stands for a reference to one of the outer `columns`; any other expression unchanged.
fn outer_as_key(part: Expr, columns: &[Column], keys: &[Expr]) -> Result<Transformed<Expr>> {
    let Expr::OuterReferenceColumn(_, column) = &part else { return Ok(Transformed::no(part)) };
    match columns.iter().position(|known| known == column) {
        Some(at) => Ok(Transformed::yes(keys[at].clone())),
        None => Ok(Transformed::no(part)),
    }
}

/// Sides of a correlated equality: an expression over the rows of a subquery, the operator, and an expression
/// over the outer row. None for any other condition.
fn tie_equality(tie: &Expr) -> Option<(Expr, Operator, Expr)> {
    let Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::Eq | Operator::IsNotDistinctFrom), right }) =
        tie
    else {
        return None;
    };
    if are_apart(left, right) {
        Some((left.as_ref().clone(), *op, right.as_ref().clone()))
    } else if are_apart(right, left) {
        Some((right.as_ref().clone(), *op, left.as_ref().clone()))
    } else {
        None
    }
}

/// Tells whether one expression does not read the outer row, and the other nothing else.
fn are_apart(inner: &Expr, outer: &Expr) -> bool {
    !inner.contains_outer() && outer.column_refs().is_empty()
}

/// Position of `expr` in `list`, to which it is added if missing.
fn index_in(list: &mut Vec<Expr>, expr: &Expr) -> usize {
    match list.iter().position(|known| known == expr) {
        Some(at) => at,
        None => {
            list.push(expr.clone());
            list.len() - 1
        }
    }
}
