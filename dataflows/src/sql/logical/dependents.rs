//! Functionally dependent columns beside GROUP BY: `SELECT u.id, u.name, count(*) ... GROUP BY u.id`.
//!
//! PostgreSQL accepts an ungrouped column if the grouping contains the primary key of its table. DataFusion's
//! planner fails with the name of the column; here the column is added to the GROUP BY that lacks it, which
//! changes no group. A table with a retention has no such key: a key may return with other values after its
//! row has expired, while results of the expired row remain.

use std::ops::ControlFlow;

use arrow::datatypes::Schema;
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
            let parts = vec![Ident::with_quote('"', alias), Ident::with_quote('"', name)];
            let column = Expr::CompoundIdentifier(parts);
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
        let Some(table) = part.as_ident() else { return false };
        let Some(entry) = self.catalog.get(&fold_name(table)) else { return false };
        let Some((_, schema)) = &entry.known else { return false };
        schema.fields().iter().any(|f| f.name() == name)
            && entry.unique.iter().any(|key| groups_by_key(by, alias, key, schema))
    }
}

/// Tells whether `by` contains every column of a key of the table called `alias`.
fn groups_by_key(by: &[Expr], alias: &str, key: &[usize], schema: &Schema) -> bool {
    key.iter().all(|column| groups_by_column(by, alias, schema.field(*column).name()))
}

/// Tells whether `by` contains the column `name` of the table called `alias`.
fn groups_by_column(by: &[Expr], alias: &str, name: &str) -> bool {
    by.iter().any(|e| match e {
        Expr::Identifier(i) => fold_name(i) == name,
        Expr::CompoundIdentifier(parts) => match parts.as_slice() {
            [table, column] => fold_name(table) == alias && fold_name(column) == name,
            _ => false,
        },
        _ => false,
    })
}

/// Tables of a FROM, with the aliases or names that qualify their columns.
fn tables_of(from: &[TableWithJoins]) -> Vec<(&ObjectName, String)> {
    let mut tables = Vec::new();
    for item in from {
        tables.extend(qualified_table(&item.relation));
        for join in &item.joins {
            tables.extend(qualified_table(&join.relation));
        }
    }
    tables
}

/// Name of a table, with the alias or name that qualifies its columns; None for any other relation.
fn qualified_table(factor: &TableFactor) -> Option<(&ObjectName, String)> {
    let TableFactor::Table { name, alias, args: None, .. } = factor else { return None };
    let qualifier = match alias {
        Some(alias) => &alias.name,
        None => name.0.last()?.as_ident()?,
    };
    Some((name, fold_name(qualifier)))
}

/// Identifier in normal form.
fn fold_name(name: &Ident) -> String {
    fold(&name.value, name.quote_style)
}
