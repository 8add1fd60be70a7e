//! Names in a query: the tables that each SELECT has in FROM, and the columns that are theirs.
//!
//! Columns of users' views are not known here: a name that may be one of them is taken for nothing else.

use datafusion::sql::sqlparser::ast::{Expr, Query, Select, SelectItem, SetExpr, TableAlias, TableFactor};

use super::build::{column_name, folded, last_part};
use super::sources::{Moved, alias_of, catalogue_name};
use crate::query::catalog::relations::{Relation, relation};

/// Columns that every table of PostgreSQL has and no `*` shows.
const HIDDEN: [&str; 6] = ["cmax", "cmin", "ctid", "tableoid", "xmax", "xmin"];

/// Functions in FROM whose rows are of one column.
const OF_ONE_COLUMN: [&str; 4] =
    ["generate_series", "generate_subscripts", "regexp_split_to_table", "unnest"];

/// Tells whether a name is that of a column that every table has.
pub(super) fn is_hidden(name: &str) -> bool {
    HIDDEN.contains(&name)
}

/// Table in FROM.
pub(super) struct ScopeTable {
    /// Its alias, or its name; empty without either.
    pub alias: String,
    /// The relation of the catalogue that it is.
    pub relation: Option<&'static Relation>,
    /// Its columns, if they are known.
    columns: Option<Vec<String>>,
}

impl ScopeTable {
    /// The table of a table factor that is no join.
    pub fn of(factor: &TableFactor) -> ScopeTable {
        let alias = alias_of(factor).unwrap_or_default();
        let (mut relation_found, mut columns) = (None, None);
        match factor {
            TableFactor::Table { name, args: None, .. } => {
                relation_found = catalogue_name(name).and_then(|[schema, table]| relation(schema, table));
                let names =
                    |found: &Relation| found.columns.iter().map(|column| column.name.to_owned()).collect();
                columns = relation_found.map(names);
            }
            TableFactor::Table { name, .. } | TableFactor::Function { name, .. } => {
                let is_single = last_part(name).is_some_and(|name| OF_ONE_COLUMN.contains(&name.as_str()));
                columns = is_single.then(|| vec![alias.clone()]);
            }
            TableFactor::UNNEST { .. } => columns = Some(vec![alias.clone()]),
            TableFactor::Derived { subquery, .. } => columns = named_outputs(subquery),
            _ => {}
        }
        if let Some(TableAlias { columns: named, .. }) = factor_alias(factor)
            && !named.is_empty()
        {
            let named: Vec<String> = named.iter().map(|column| folded(&column.name)).collect();
            // An alias may name the first columns alone.
            columns = match columns {
                Some(mut known) if known.len() > named.len() => {
                    known.splice(..named.len(), named);
                    Some(known)
                }
                _ => Some(named),
            };
        }
        ScopeTable { alias, relation: relation_found, columns }
    }

    /// Tells whether this table has a column, or may have it.
    pub fn may_have(&self, column: &str) -> bool {
        self.columns.is_none() || self.has(column)
    }

    /// Tells whether this table is known to have a column.
    pub fn has(&self, column: &str) -> bool {
        self.columns.as_ref().is_some_and(|columns| columns.iter().any(|known| known == column))
    }
}

fn factor_alias(factor: &TableFactor) -> Option<&TableAlias> {
    match factor {
        TableFactor::Table { alias, .. }
        | TableFactor::Derived { alias, .. }
        | TableFactor::Function { alias, .. }
        | TableFactor::UNNEST { alias, .. } => alias.as_ref(),
        _ => None,
    }
}

/// The names of a query's outputs, if all have one that is written.
fn named_outputs(query: &Query) -> Option<Vec<String>> {
    let SetExpr::Select(select) = query.body.as_ref() else { return None };
    let names = select.projection.iter().map(|item| match item {
        SelectItem::ExprWithAlias { alias, .. } => Some(folded(alias)),
        SelectItem::UnnamedExpr(expr) => column_name(expr),
        _ => None,
    });
    names.collect()
}

/// The tables in FROM of a SELECT, those of joins in parentheses included.
pub(super) fn tables_of(select: &Select) -> Vec<ScopeTable> {
    let mut tables = Vec::new();
    for source in &select.from {
        for factor in std::iter::once(&source.relation).chain(source.joins.iter().map(|join| &join.relation))
        {
            add_tables(factor, &mut tables);
        }
    }
    tables
}

fn add_tables(factor: &TableFactor, tables: &mut Vec<ScopeTable>) {
    match factor {
        TableFactor::NestedJoin { table_with_joins, alias: None } => {
            add_tables(&table_with_joins.relation, tables);
            for join in &table_with_joins.joins {
                add_tables(&join.relation, tables);
            }
        }
        other => tables.push(ScopeTable::of(other)),
    }
}

/// Names of one query: of its SELECT, or of the one that was visited last.
#[derive(Default)]
pub(super) struct Scope {
    /// Tables in FROM, as they are written.
    pub tables: Vec<ScopeTable>,
    /// Columns that moved into another table.
    pub moved: Vec<Moved>,
}

impl Scope {
    /// Tells whether a column may be one of these tables, so that it is none of a query around this one.
    fn may_have(&self, column: &Expr) -> bool {
        match column {
            Expr::Identifier(name) => self.tables.iter().any(|table| table.may_have(&folded(name))),
            Expr::CompoundIdentifier(parts) => match parts.as_slice() {
                [.., table, _] => self.tables.iter().any(|known| known.alias == folded(table)),
                _ => true,
            },
            _ => true,
        }
    }
}

/// Scopes of the queries that are visited, the innermost last.
#[derive(Default)]
pub(super) struct Scopes {
    pub all: Vec<Scope>,
}

impl Scopes {
    /// The place of a column that moved into another table.
    pub fn moved_column(&self, column: &Expr) -> Option<Expr> {
        for scope in self.all.iter().rev() {
            if let Some(place) = scope.moved.iter().find_map(|moved| moved.follow(column)) {
                return Some(place);
            }
            if scope.may_have(column) {
                return None;
            }
        }
        None
    }

    /// The relation of the catalogue that a column is of; None for one that may be of a view.
    pub fn relation_of(&self, column: &Expr) -> Option<&'static Relation> {
        for scope in self.all.iter().rev() {
            match column {
                Expr::Nested(inner) => return self.relation_of(inner),
                Expr::Identifier(name) => {
                    let name = folded(name);
                    let fits = |table: &ScopeTable| match table.relation {
                        Some(_) if is_hidden(&name) => true,
                        _ => table.may_have(&name),
                    };
                    if let Some(found) = scope.tables.iter().find(|table| fits(table)) {
                        let is_other = |table: &ScopeTable| table.relation.is_none() && fits(table);
                        return found.relation.filter(|_| !scope.tables.iter().any(is_other));
                    }
                }
                Expr::CompoundIdentifier(parts) => {
                    let [.., table, _] = parts.as_slice() else { return None };
                    let table = folded(table);
                    if let Some(found) = scope.tables.iter().find(|known| known.alias == table) {
                        return found.relation;
                    }
                }
                _ => return None,
            }
        }
        None
    }
}
