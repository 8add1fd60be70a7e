//! Statements of PostgreSQL's clients in the forms that the query engine runs.
//!
//! One walk over the syntax tree does it all: names of outputs and tables on the way down, expressions and
//! subqueries on the way up, when their parts are rewritten. Nothing is looked up but the lists of relations,
//! types and functions, so that a rewritten statement may be kept and planned again.

mod aggregates;
mod build;
mod dropped;
mod expressions;
mod outputs;
mod parameters;
mod rows;
mod scopes;
mod sources;
mod subqueries;

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::LazyLock;

use dataflows::sql::walk_query;
use datafusion::sql::sqlparser::ast::{
    Expr, LimitClause, ObjectName, Query, Select, TableFactor, VisitorMut,
};

use self::build::{called_name, folded};
use self::scopes::{Scope, Scopes, tables_of};
use self::sources::catalogue_name;
use super::CATALOG;
use super::functions::is_known;
use super::relations::relation;

pub(super) use outputs::{Origin, output_names, output_origins};
pub use parameters::MAX_PARAMETERS;
pub(super) use parameters::{bind, parameter_types};

/// Functions that Herald's own planner has: a query over views may call them.
static OWN_FUNCTIONS: LazyLock<BTreeSet<String>> =
    LazyLock::new(|| dataflows::sql::scalar_functions().into_iter().collect());

/// Rewrites a query that the catalogue answers. `database` is the name by which the client calls its
/// database.
pub(super) fn rewrite(query: &mut Query, database: &str) {
    sources::order_columns(query);
    let _ = walk_query(query, &mut Rewriter { database, scopes: Scopes::default(), lambdas: 0 });
}

/// Rewrites a query over views for Herald's own planner: only what is PostgreSQL's syntax goes, as
/// collations, the name of the database and schemas of operators.
pub(super) fn simplify(query: &mut Query, database: &str) {
    let _ = walk_query(query, &mut Simplifier { database });
}

/// Tells whether the catalogue answers a query: it names a table, function or type of PostgreSQL that
/// Herald's own planner does not have, or in a session that `has_clock` asks for the time.
pub(super) fn reads_catalogue(query: &Query, has_clock: bool) -> bool {
    walk_query(&mut query.clone(), &mut FindCatalogue { has_clock }).is_break()
}

/// The name of a WITH query that a table of `pg_catalog` has as well, if there is one: it would be taken for
/// the table.
pub(super) fn hidden_table(query: &Query) -> Option<String> {
    let mut find = FindHidden { found: None };
    let _ = walk_query(&mut query.clone(), &mut find);
    find.found
}

/// Search for a WITH query with the name of a table of the catalogue.
struct FindHidden {
    found: Option<String>,
}

impl VisitorMut for FindHidden {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        let named = query.with.iter().flat_map(|with| &with.cte_tables).map(|cte| folded(&cte.alias.name));
        self.found = self.found.take().or(named.into_iter().find(|name| is_system_name(name)));
        ControlFlow::Continue(())
    }
}

fn is_system_name(name: &str) -> bool {
    relation("pg_catalog", name).is_some()
}

/// Removes the name of the database before that of a schema.
fn drop_database(name: &mut ObjectName, database: &str) {
    if name.0.len() == 3 {
        let first = name.0[0].as_ident().map(folded);
        if first.is_some_and(|first| first == database || first == CATALOG) {
            name.0.remove(0);
        }
    }
}

fn simplify_limit(query: &mut Query) {
    if let Some(LimitClause::LimitOffset { limit, offset, .. }) = &mut query.limit_clause {
        for expr in limit.iter_mut().chain(offset.iter_mut().map(|offset| &mut offset.value)) {
            sources::plain_limit(expr);
        }
    }
}

/// Walk that rewrites a query for the catalogue.
struct Rewriter<'a> {
    database: &'a str,
    scopes: Scopes,
    /// Number of lambdas that were made: each has a parameter of its own.
    lambdas: usize,
}

impl VisitorMut for Rewriter<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        simplify_limit(query);
        self.scopes.all.push(Scope::default());
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.scopes.all.pop();
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        outputs::name_outputs(select);
        subqueries::count_existing(select);
        // The scope stays for the ORDER BY that follows.
        if let Some(last) = self.scopes.all.last_mut() {
            *last = Scope { tables: tables_of(select), moved: Vec::new() };
        }
        dropped::drop_unasked(select, &self.scopes);
        let moved = sources::rewrite_sources(select);
        if let Some(last) = self.scopes.all.last_mut() {
            last.moved = moved;
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, name: &mut ObjectName) -> ControlFlow<()> {
        drop_database(name, self.database);
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        dropped::drop_branches(expr, &self.scopes);
        expressions::join_names(expr);
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        drop_schema(expr);
        if let Some(place) = self.scopes.moved_column(expr) {
            *expr = place;
        } else if let Some(value) = expressions::hidden_column(expr, &self.scopes) {
            *expr = value;
        }
        expressions::rewrite_expr(expr);
        subqueries::rewrite_subquery(expr, &mut self.lambdas);
        ControlFlow::Continue(())
    }
}

/// Leaves the table and the name of a column of the catalogue; tables of the catalogue have their names as
/// aliases.
fn drop_schema(expr: &mut Expr) {
    if let Expr::CompoundIdentifier(parts) = expr
        && let [.., schema, _, _] = parts.as_slice()
        && matches!(folded(schema).as_str(), "pg_catalog" | "information_schema")
    {
        parts.drain(..parts.len() - 2);
    }
}

/// Walk that rewrites a query over views.
struct Simplifier<'a> {
    database: &'a str,
}

impl VisitorMut for Simplifier<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        simplify_limit(query);
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, name: &mut ObjectName) -> ControlFlow<()> {
        drop_database(name, self.database);
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        expressions::simplify_expr(expr);
        ControlFlow::Continue(())
    }
}

/// Tells whether a function is one that only the catalogue has.
fn is_catalogue_function(name: &str) -> bool {
    is_known(name) && !OWN_FUNCTIONS.contains(name)
}

/// Search for something that only the catalogue has.
struct FindCatalogue {
    has_clock: bool,
}

impl FindCatalogue {
    fn is_catalogue(&self, expr: &Expr) -> bool {
        match expr {
            Expr::Function(_) => called_name(expr).is_some_and(|name| {
                let is_set = matches!(name.as_str(), "generate_subscripts" | "_pg_expandarray");
                is_set || is_catalogue_function(&name) || (self.has_clock && expressions::is_clock(&name))
            }),
            Expr::Cast { data_type, .. } => expressions::is_catalogue_type(data_type),
            Expr::Identifier(ident) => expressions::is_bare_function(ident),
            _ => false,
        }
    }
}

impl VisitorMut for FindCatalogue {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        let found = match factor {
            TableFactor::Table { name, args: None, .. } => catalogue_name(name).is_some(),
            TableFactor::Table { name, args: Some(_), .. } | TableFactor::Function { name, .. } => {
                build::last_part(name)
                    .is_some_and(|name| name.starts_with("pg_") || is_catalogue_function(&name))
            }
            _ => false,
        };
        if found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if self.is_catalogue(expr) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}
