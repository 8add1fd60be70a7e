//! Functionally dependent columns beside GROUP BY: `SELECT u.id, u.name, count(*) ... GROUP BY u.id`.
//!
//! PostgreSQL accepts an ungrouped column if the grouping contains the primary key of its table. DataFusion's
//! planner fails with the name of the column; here the column is added to the GROUP BY that lacks it, which
//! changes no group. A table with a retention has no such key: a key may return with other values after its
//! row has expired, while results of the expired row remain.

use std::ops::ControlFlow;

use datafusion_common::{DataFusionError, Result};
use datafusion_expr::logical_plan::LogicalPlan;
use datafusion_sql::sqlparser::ast::{
    Expr, GroupByExpr, Ident, ObjectName, Query, Select, TableFactor, TableWithJoins, VisitorMut,
};

use crate::sql::catalog::Catalog;
use crate::sql::parse::tokens::fold;
use crate::sql::parse::walk::WalkMut;

/// Greatest number of columns added to one query.
const MAX_ADDED: usize = 256;

/// Plans `query` by `plan`, adding columns that a grouped key determines to its GROUP BY.
///
/// # Errors
/// The error of `plan` if no column can be added.
pub(crate) fn plan_with_dependents(
    catalog: &Catalog,
    mut query: Query,
    plan: impl Fn(Query) -> Result<LogicalPlan>,
) -> Result<LogicalPlan> {
    for _ in 0..MAX_ADDED {
        let error = match plan(query.clone()) {
            Err(error) => error,
            planned => return planned,
        };
        let Some(column) = missing_column(&error) else { return Err(error) };
        let mut add = AddDependent { catalog, column };
        if query.walk_mut(&mut add).is_continue() {
            return Err(error);
        }
    }
    plan(query)
}

/// Qualifier and name of the column that a planning error names as neither grouped nor aggregated.
fn missing_column(error: &DataFusionError) -> Option<(Option<String>, String)> {
    let text = error.strip_backtrace();
    let rest = text.split_once("column \"")?.1;
    let name = rest.split_once("\" must appear in the GROUP BY")?.0;
    Some(match name.rsplit_once('.') {
        Some((qualifier, name)) => (Some(qualifier.to_owned()), name.to_owned()),
        None => (None, name.to_owned()),
    })
}

/// Visitor that adds a column to the first GROUP BY with a key of the column's table, and breaks once it is
/// added.
struct AddDependent<'a> {
    catalog: &'a Catalog,
    column: (Option<String>, String),
}

impl VisitorMut for AddDependent<'_> {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        let GroupByExpr::Expressions(by, modifiers) = &mut select.group_by else {
            return ControlFlow::Continue(());
        };
        if by.is_empty() || !modifiers.is_empty() {
            return ControlFlow::Continue(());
        }
        let (qualifier, name) = &self.column;
        for (table, alias) in tables_of(&select.from) {
            if qualifier.as_ref().is_some_and(|q| *q != alias)
                || !self.key_determines(table, &alias, by, name)
            {
                continue;
            }
            let quoted = |text: &str| Ident::with_quote('"', text);
            let column = Expr::CompoundIdentifier(vec![quoted(&alias), quoted(name)]);
            if !by.contains(&column) {
                by.push(column);
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    }
}

impl AddDependent<'_> {
    /// Tells whether `by` contains a key of the table, and the table has a column called `name`.
    fn key_determines(&self, table: &ObjectName, alias: &str, by: &[Expr], name: &str) -> bool {
        let [part] = table.0.as_slice() else { return false };
        let found = part.as_ident().and_then(|i| self.catalog.get(&fold_name(i)));
        let Some((entry, (_, schema))) = found.and_then(|e| Some((e, e.known.as_ref()?))) else {
            return false;
        };
        let grouped = |column: &usize| {
            let key = schema.field(*column).name();
            by.iter().any(|e| match e {
                Expr::Identifier(i) => fold_name(i) == *key,
                Expr::CompoundIdentifier(parts) => match parts.as_slice() {
                    [table, column] => fold_name(table) == alias && fold_name(column) == *key,
                    _ => false,
                },
                _ => false,
            })
        };
        schema.fields().iter().any(|f| f.name() == name)
            && entry.unique.iter().any(|key| key.iter().all(grouped))
    }
}

/// Tables of a FROM, with the aliases or names that qualify their columns.
fn tables_of(from: &[TableWithJoins]) -> Vec<(&ObjectName, String)> {
    let factors =
        from.iter().flat_map(|f| [&f.relation].into_iter().chain(f.joins.iter().map(|j| &j.relation)));
    let named = factors.filter_map(|factor| match factor {
        TableFactor::Table { name, alias, args: None, .. } => {
            let last = name.0.last().and_then(|part| part.as_ident());
            Some((name, fold_name(alias.as_ref().map(|a| &a.name).or(last)?)))
        }
        _ => None,
    });
    named.collect()
}

/// Identifier in normal form.
fn fold_name(name: &Ident) -> String {
    fold(&name.value, name.quote_style)
}
