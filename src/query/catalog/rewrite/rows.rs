//! Rows of a subquery: their order and number, the columns that are theirs, and these as fields of a row.

use std::ops::ControlFlow;

use dataflows::sql::walk_expr;
use datafusion::sql::sqlparser::ast::{
    Expr, JoinConstraint, JoinOperator, LimitClause, OrderByExpr, OrderByKind, Query, Select, SelectItem,
    SetExpr, Value, VisitorMut,
};

use super::build::{
    call, column_name, folded, item_expr, number_literal, quoted, text_literal, visit_outside_queries,
    visit_own_expressions,
};
use super::scopes::{ScopeTable, tables_of};

/// Beginning of the names of parameters of lambdas, which are no columns.
const PARAMETER: &str = "__row";

/// LIMIT and OFFSET of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    offset: i64,
    limit: Option<i64>,
}

impl Bounds {
    /// The bounds of a query; None if they are no literal numbers.
    pub fn of(query: &Query) -> Option<Bounds> {
        if query.fetch.is_some() || !query.pipe_operators.is_empty() {
            return None;
        }
        match &query.limit_clause {
            None => Some(Bounds { offset: 0, limit: None }),
            Some(LimitClause::LimitOffset { limit, offset, limit_by }) if limit_by.is_empty() => {
                let offset = match offset {
                    Some(offset) => bound(&offset.value)?.unwrap_or_default(),
                    None => 0,
                };
                let limit = match limit {
                    Some(limit) => bound(limit)?,
                    None => None,
                };
                Some(Bounds { offset, limit })
            }
            Some(_) => None,
        }
    }

    /// Tells whether all rows are within.
    pub fn is_all(self) -> bool {
        self.offset == 0 && self.limit.is_none()
    }

    /// Tells whether no row is within.
    pub fn is_nothing(self) -> bool {
        self.limit == Some(0)
    }

    /// Tells whether the first row is within.
    pub fn has_first(self) -> bool {
        self.offset == 0 && !self.is_nothing()
    }

    /// The items of an array that are within.
    pub fn part_of(self, array: Expr) -> Expr {
        if self.is_all() {
            return array;
        }
        let most = i64::from(i32::MAX);
        let end = self.limit.map_or(most, |limit| self.offset.saturating_add(limit).min(most));
        let start = self.offset.min(most - 1) + 1;
        call("array_slice", vec![array, number_literal(start), number_literal(end)])
    }
}

/// A number of rows; None within for NULL, which is no bound, and None for what is no literal.
fn bound(expr: &Expr) -> Option<Option<i64>> {
    let Expr::Value(value) = expr else { return None };
    match &value.value {
        Value::Null => Some(None),
        Value::Number(text, _) => text.parse().ok().map(Some),
        _ => None,
    }
}

/// The ORDER BY of a query, in which the number or the name of its only output stands for the output. None if
/// it is of another form.
pub(super) fn order_of(query: &Query) -> Option<Vec<OrderByExpr>> {
    let Some(order) = &query.order_by else { return Some(Vec::new()) };
    let OrderByKind::Expressions(order) = &order.kind else { return None };
    let SetExpr::Select(select) = query.body.as_ref() else { return None };
    let [item] = select.projection.as_slice() else { return None };
    let output = item_expr(item)?;
    let name = match item {
        SelectItem::ExprWithAlias { alias, .. } => Some(folded(alias)),
        _ => column_name(output),
    };
    let mut order = order.clone();
    for by in &mut order {
        match &by.expr {
            Expr::Value(value) => match &value.value {
                Value::Number(text, _) if text == "1" => by.expr = output.clone(),
                _ => return None,
            },
            Expr::Identifier(ident) if Some(folded(ident)) == name => by.expr = output.clone(),
            _ => {}
        }
    }
    Some(order)
}

/// Tells whether a column is one of these tables, or may be.
fn is_inner(column: &Expr, tables: &[ScopeTable]) -> bool {
    match column {
        Expr::Identifier(ident) => {
            let name = folded(ident);
            name.starts_with(PARAMETER) || tables.iter().any(|table| table.may_have(&name))
        }
        Expr::CompoundIdentifier(parts) => match parts.as_slice() {
            [.., table, _] => tables.iter().any(|inner| inner.alias == folded(table)),
            _ => false,
        },
        _ => true,
    }
}

/// Tells whether an expression reads a column that is none of these tables.
pub(super) fn reads_outer(expr: &Expr, tables: &[ScopeTable]) -> bool {
    let mut found = false;
    visit_outside_queries(&mut expr.clone(), |part| found |= !is_inner(part, tables));
    found
}

/// Tells whether a query reads a column that is none of its tables, which these are.
pub(super) fn query_reads_outer(query: &Query, tables: &[ScopeTable]) -> bool {
    let mut found = false;
    visit_own_expressions(&mut query.clone(), |part| found |= !is_inner(part, tables));
    found
}

/// Tells whether a condition of a join reads a column that is none of these tables.
pub(super) fn joins_read_outer(select: &Select, tables: &[ScopeTable]) -> bool {
    let mut joins = select.from.iter().flat_map(|source| &source.joins);
    joins.any(|join| match &join.join_operator {
        JoinOperator::Join(JoinConstraint::On(condition))
        | JoinOperator::Inner(JoinConstraint::On(condition))
        | JoinOperator::Left(JoinConstraint::On(condition))
        | JoinOperator::LeftOuter(JoinConstraint::On(condition))
        | JoinOperator::Right(JoinConstraint::On(condition))
        | JoinOperator::RightOuter(JoinConstraint::On(condition))
        | JoinOperator::FullOuter(JoinConstraint::On(condition)) => reads_outer(condition, tables),
        _ => false,
    })
}

/// Error of a name in a subquery that may be of several tables.
#[derive(Debug)]
pub(super) struct Unclear;

/// Columns of a subquery that expressions over a row of it need, as fields of the row.
pub(super) struct RowColumns<'a> {
    tables: Vec<ScopeTable>,
    /// Parameter of the lambda that has the row.
    row: &'a str,
    /// True if the row is no struct, but the only column.
    is_item: bool,
    found: Vec<Expr>,
    /// Tables of the queries within the expression that is visited.
    within: Vec<Vec<ScopeTable>>,
    is_unclear: bool,
}

impl<'a> RowColumns<'a> {
    /// Columns of rows that are structs.
    pub fn of_rows(tables: Vec<ScopeTable>, row: &'a str) -> RowColumns<'a> {
        RowColumns { tables, row, is_item: false, found: Vec::new(), within: Vec::new(), is_unclear: false }
    }

    /// The column of rows that are items of an array.
    pub fn of_item(tables: Vec<ScopeTable>, row: &'a str) -> RowColumns<'a> {
        RowColumns { is_item: true, ..RowColumns::of_rows(tables, row) }
    }

    /// The expression over a row: columns of the subquery become fields of it.
    ///
    /// # Errors
    /// When a name within a further subquery may be of its tables or of these.
    pub fn replace(&mut self, mut expr: Expr) -> Result<Expr, Unclear> {
        let _ = walk_expr(&mut expr, self);
        if self.is_unclear { Err(Unclear) } else { Ok(expr) }
    }

    /// The columns that were needed as a struct, with a constant so that it is never empty.
    pub fn packed(self) -> Expr {
        let mut fields = vec![text_literal("here"), number_literal(1)];
        for (at, column) in self.found.into_iter().enumerate() {
            fields.extend([text_literal(&field_name(at)), column]);
        }
        call("named_struct", fields)
    }

    /// Tells whether a column is one of a query within the expression.
    fn is_within(&mut self, column: &Expr) -> bool {
        for tables in self.within.iter().rev() {
            match column {
                Expr::Identifier(ident) => {
                    let name = folded(ident);
                    if tables.iter().any(|table| table.has(&name)) {
                        return true;
                    }
                    if tables.iter().any(|table| table.may_have(&name)) {
                        self.is_unclear = true;
                        return true;
                    }
                }
                _ if is_inner(column, tables) => return true,
                _ => {}
            }
        }
        false
    }
}

fn field_name(at: usize) -> String {
    format!("c{at}")
}

impl VisitorMut for RowColumns<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.within.push(Vec::new());
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.within.pop();
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        if let Some(last) = self.within.last_mut() {
            *last = tables_of(select);
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let is_column = match &*expr {
            Expr::Identifier(ident) => !folded(ident).starts_with(PARAMETER),
            Expr::CompoundIdentifier(_) => true,
            _ => false,
        };
        if !is_column || !is_inner(expr, &self.tables) || self.is_within(expr) {
            return ControlFlow::Continue(());
        }
        let row = Expr::Identifier(quoted(self.row));
        if self.is_item {
            *expr = row;
            return ControlFlow::Continue(());
        }
        let known = self.found.iter().position(|found| found == expr);
        let at = known.unwrap_or_else(|| {
            self.found.push(expr.clone());
            self.found.len() - 1
        });
        *expr = call("get_field", vec![row, text_literal(&field_name(at))]);
        ControlFlow::Continue(())
    }
}
