//! GROUP BY of a key with the columns it determines: `SELECT u.id, u.name, count(*) ... GROUP BY u.id`.
//!
//! PostgreSQL lets a column stand beside GROUP BY when the grouping holds the primary key of its table. The
//! planner asks for each such column by name; here it is added to the GROUP BY it is missing in, which
//! changes no group. A table with a retention has no such key: a forgotten row may come again beside
//! results that stay.

use std::ops::ControlFlow;

use datafusion_common::{DataFusionError, Result};
use datafusion_expr::logical_plan::LogicalPlan;
use datafusion_sql::sqlparser::ast::{
    Expr, GroupByExpr, Ident, ObjectName, Query, Select, TableFactor, TableWithJoins, VisitMut, VisitorMut,
};

use crate::sql::catalog::Catalog;
use crate::sql::parse::cursor::fold;

/// Columns added to one query, at most.
const MAX_ADDED: usize = 256;

/// What `plan` makes of `query`, once columns that keys determine are in its GROUP BY.
///
/// # Errors
/// What `plan` says otherwise.
pub(crate) fn planned(
    catalog: &Catalog,
    mut query: Query,
    plan: impl Fn(Query) -> Result<LogicalPlan>,
) -> Result<LogicalPlan> {
    for _ in 0..MAX_ADDED {
        let error = match plan(query.clone()) {
            Err(error) => error,
            planned => return planned,
        };
        let Some(column) = missing(&error) else { return Err(error) };
        let mut add = Add { catalog, column };
        if query.visit(&mut add).is_continue() {
            return Err(error);
        }
    }
    plan(query)
}

/// The qualifier and the name of a column that is neither grouped nor aggregated.
fn missing(error: &DataFusionError) -> Option<(Option<String>, String)> {
    let text = error.strip_backtrace();
    let rest = text.split_once("column \"")?.1;
    let name = rest.split_once("\" must appear in the GROUP BY")?.0;
    Some(match name.rsplit_once('.') {
        Some((qualifier, name)) => (Some(qualifier.to_owned()), name.to_owned()),
        None => (None, name.to_owned()),
    })
}

/// Adds a column to the first GROUP BY that holds the key of its table.
struct Add<'a> {
    catalog: &'a Catalog,
    column: (Option<String>, String),
}

impl VisitorMut for Add<'_> {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        let GroupByExpr::Expressions(by, modifiers) = &mut select.group_by else {
            return ControlFlow::Continue(());
        };
        if by.is_empty() || !modifiers.is_empty() {
            return ControlFlow::Continue(());
        }
        let (qualifier, name) = &self.column;
        for (table, alias) in tables(&select.from) {
            if qualifier.as_ref().is_some_and(|q| *q != alias) || !self.determines(table, &alias, by, name) {
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

impl Add<'_> {
    /// Tells whether `by` holds a key of a table that has the column `name`.
    fn determines(&self, table: &ObjectName, alias: &str, by: &[Expr], name: &str) -> bool {
        let [part] = table.0.as_slice() else { return false };
        let found = part.as_ident().and_then(|i| self.catalog.get(&folded(i)));
        let Some((entry, (_, schema))) = found.and_then(|e| Some((e, e.known.as_ref()?))) else {
            return false;
        };
        let grouped = |column: &usize| {
            let key = schema.field(*column).name();
            by.iter().any(|e| match e {
                Expr::Identifier(i) => folded(i) == *key,
                Expr::CompoundIdentifier(parts) => match parts.as_slice() {
                    [table, column] => folded(table) == alias && folded(column) == *key,
                    _ => false,
                },
                _ => false,
            })
        };
        schema.fields().iter().any(|f| f.name() == name)
            && entry.unique.iter().any(|key| key.iter().all(grouped))
    }
}

/// The tables of a FROM, with the names they go by.
fn tables(from: &[TableWithJoins]) -> Vec<(&ObjectName, String)> {
    let factors =
        from.iter().flat_map(|f| [&f.relation].into_iter().chain(f.joins.iter().map(|j| &j.relation)));
    let named = factors.filter_map(|factor| match factor {
        TableFactor::Table { name, alias, args: None, .. } => {
            let last = name.0.last().and_then(|part| part.as_ident());
            Some((name, folded(alias.as_ref().map(|a| &a.name).or(last)?)))
        }
        _ => None,
    });
    named.collect()
}

fn folded(name: &Ident) -> String {
    fold(&name.value, name.quote_style)
}
