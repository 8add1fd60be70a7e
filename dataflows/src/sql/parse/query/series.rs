//! Rewrite of `generate_series(...)` and UNNEST of constants in FROM.
//!
//! A call without columns is evaluated here, once, and replaced with VALUES of its items. With arguments
//! from relations before it, `generate_series(1, t.n) AS g` becomes `UNNEST(generate_series(1, t.n)) AS g`.
//! The column has the name of the call's alias, as in PostgreSQL.

use std::ops::ControlFlow;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::Field;
use arrow::util::display::array_value_to_string;
use datafusion_sql::sqlparser::ast::{
    Expr, Ident, ObjectName, Query, Spanned, TableAlias, TableAliasColumnDef, TableFactor, Visitor,
    VisitorMut,
};
use datafusion_sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion_sql::sqlparser::parser::Parser;

use crate::functions::sets::series::MAX_ITEMS;
use crate::mistake::{Mistake, Pos};
use crate::sql::parse::walk::{Walk, WalkMut};
use crate::sql::query::constant_value;
use crate::sql::syntax::grammar::plain_argument;
use crate::sql::syntax::sugar::call;

/// Replaces the calls in `query`; returns mistakes of constant calls that cannot be evaluated.
pub fn rewrite(query: &mut Query, file: usize) -> Vec<Mistake> {
    let mut series = SeriesRewrite { file, mistakes: vec![] };
    let _ = query.walk_mut(&mut series);
    series.mistakes
}

struct SeriesRewrite {
    file: usize,
    mistakes: Vec<Mistake>,
}

impl VisitorMut for SeriesRewrite {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        let (list, alias, numbered) = match factor {
            TableFactor::Table { name, alias, args: Some(args), with_ordinality, .. }
                if name.to_string().eq_ignore_ascii_case("generate_series") =>
            {
                let unnamed: Option<Vec<&Expr>> = args.args.iter().map(plain_argument).collect();
                let Some(unnamed) = unnamed else { return ControlFlow::Continue(()) };
                let unnamed = unnamed.into_iter().cloned().collect();
                let named = alias.clone().or(Some(alias_named("generate_series")));
                (call("generate_series", unnamed), named, *with_ordinality)
            }
            TableFactor::UNNEST { alias, array_exprs, with_ordinality, with_offset: false, .. } => {
                let [list] = array_exprs.as_slice() else { return ControlFlow::Continue(()) };
                if !is_constant(list) {
                    return ControlFlow::Continue(());
                }
                (list.clone(), alias.clone().or(Some(alias_named("unnest"))), *with_ordinality)
            }
            _ => return ControlFlow::Continue(()),
        };
        let at = factor.span().start;
        if !numbered && is_constant(&list) {
            match constant_rows(&list) {
                Ok(subquery) => {
                    let alias = alias.map(with_column);
                    *factor = TableFactor::Derived { lateral: false, subquery, alias, sample: None };
                    return ControlFlow::Continue(());
                }
                Err(message) => {
                    let pos = Pos { file: self.file, line: at.line, column: at.column };
                    self.mistakes.push(Mistake::new(pos, message).hint("read longer lists from a file"));
                }
            }
        }
        *factor = TableFactor::UNNEST {
            alias,
            array_exprs: vec![list],
            with_offset: false,
            with_offset_alias: None,
            with_ordinality: numbered,
        };
        ControlFlow::Continue(())
    }
}

fn alias_named(name: &str) -> TableAlias {
    TableAlias { explicit: true, name: Ident::new(name), columns: vec![], at: None }
}

/// Adds a column of the alias's own name to an alias without columns.
fn with_column(mut alias: TableAlias) -> TableAlias {
    if alias.columns.is_empty() {
        alias.columns.push(TableAliasColumnDef { name: alias.name.clone(), data_type: None });
    }
    alias
}

/// Tells whether an expression reads no column and no relation.
fn is_constant(expr: &Expr) -> bool {
    struct Names(bool);
    impl Visitor for Names {
        type Break = ();

        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            self.0 |= matches!(
                expr,
                Expr::Identifier(_) | Expr::CompoundIdentifier(_) | Expr::CompoundFieldAccess { .. }
            );
            ControlFlow::Continue(())
        }

        fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
            self.0 = true;
            ControlFlow::Continue(())
        }

        fn pre_visit_relation(&mut self, _: &ObjectName) -> ControlFlow<()> {
            self.0 = true;
            ControlFlow::Continue(())
        }
    }
    let mut names = Names(false);
    let _ = expr.walk(&mut names);
    !names.0
}

/// Builds `VALUES (CAST('1' AS BIGINT)), ...` of the items of a constant list.
fn constant_rows(list: &Expr) -> Result<Box<Query>, String> {
    let value = constant_value(list)?;
    let Some(lists) = value.as_list_opt::<i32>().filter(|l| l.len() == 1) else {
        return Err(format!("{list} is no array"));
    };
    let items = lists.value(0);
    if items.len() > MAX_ITEMS {
        return Err(format!("{list} has {} rows, and {MAX_ITEMS} are the most", items.len()));
    }
    let item_type = schemas::sql_type(&Field::new("", items.data_type().clone(), true));
    let mut rows = Vec::with_capacity(items.len());
    for at in 0..items.len() {
        rows.push(constant_row(&items, at, &item_type)?);
    }
    let text = if rows.is_empty() {
        format!("SELECT CAST(NULL AS {item_type}) WHERE FALSE")
    } else {
        format!("VALUES {}", rows.join(", "))
    };
    let parser = Parser::new(&PostgreSqlDialect {}).try_with_sql(&text);
    parser.and_then(|mut p| p.parse_query()).map_err(|e| e.to_string())
}

/// Writes one item as a row of VALUES.
fn constant_row(items: &ArrayRef, at: usize, item_type: &str) -> Result<String, String> {
    if items.is_null(at) {
        return Ok(format!("(CAST(NULL AS {item_type}))"));
    }
    let text = array_value_to_string(items, at).map_err(|e| e.to_string())?;
    Ok(format!("(CAST('{}' AS {item_type}))", text.replace('\'', "''")))
}
