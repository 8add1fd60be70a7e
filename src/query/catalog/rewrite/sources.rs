//! Relations in FROM: names of catalogue tables, functions, and arrays that are unnested beside their
//! table.

use datafusion::sql::sqlparser::ast::{
    DataType, Expr, FunctionArg, FunctionArgExpr, Ident, JoinConstraint, JoinOperator, ObjectName, OrderBy,
    OrderByExpr, OrderByKind, OrderByOptions, Query, Select, SelectItem, TableAlias, TableAliasColumnDef,
    TableFactor, TableFunctionArgs, TableWithJoins, Value, WildcardAdditionalOptions,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;

use super::aggregates::{Effects, is_aggregated};
use super::build::{
    call, cast, column_of, folded, item_expr, last_part, name_parts, number_literal, plain_select,
    plain_select_mut, quoted,
};
use crate::query::catalog::call::SUBSCRIPTS;
use crate::query::catalog::relations::relation;

/// Column of an array that is unnested beside its table: it moves into that table.
pub(super) struct Moved {
    /// Alias of the unnested array.
    alias: String,
    /// Name that its column had.
    column: String,
    /// Table that has it now, and its name there.
    place: [String; 2],
}

impl Moved {
    /// The column in its new place, if an expression is the one that moved.
    pub fn follow(&self, expr: &Expr) -> Option<Expr> {
        let is_moved = match expr {
            Expr::Identifier(ident) => folded(ident) == self.column,
            Expr::CompoundIdentifier(parts) => match parts.as_slice() {
                [table, column] => folded(table) == self.alias && folded(column) == self.column,
                _ => false,
            },
            _ => false,
        };
        is_moved.then(|| column_of(&self.place[0], &self.place[1]))
    }
}

/// Tells whether a schema is one of the catalogue.
fn is_system(schema: &str) -> bool {
    matches!(schema, "pg_catalog" | "information_schema")
}

/// The names of a table of the catalogue, from its name in a query; None for another table.
pub(super) fn catalogue_name(name: &ObjectName) -> Option<[&'static str; 2]> {
    let parts = name_parts(name)?;
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let found = match parts.as_slice() {
        [table] => relation("pg_catalog", table)?,
        [schema, table] | [_, schema, table] if is_system(schema) => relation(schema, table)?,
        _ => return None,
    };
    (found.kind != "f").then_some([found.schema, found.name])
}

/// Rewrites the table factors of a SELECT, and returns the columns that moved into another table.
pub(super) fn rewrite_sources(select: &mut Select) -> Vec<Moved> {
    for source in &mut select.from {
        rewrite_factor(&mut source.relation);
        for join in &mut source.joins {
            rewrite_factor(&mut join.relation);
        }
    }
    let mut moved = Vec::new();
    for at in (0..select.from.len()).rev() {
        for place in (0..select.from[at].joins.len()).rev() {
            if let Some(array) = correlated_array(&select.from[at].joins[place].relation)
                && can_move(&select.from[at].joins[place].join_operator)
                && let Some(columns) = move_array(&mut select.from, &array)
            {
                select.from[at].joins.remove(place);
                moved.extend(columns);
            }
        }
        if let Some(array) = correlated_array(&select.from[at].relation)
            && select.from[at].joins.is_empty()
            && let Some(columns) = move_array(&mut select.from, &array)
        {
            select.from.remove(at);
            moved.extend(columns);
        }
    }
    moved
}

/// Orders the answer of a query that lists columns without ORDER BY as their tables have them, which
/// PostgreSQL mostly does and tools rely on.
pub(super) fn order_columns(query: &mut Query) {
    let Some(select) = plain_select(query).filter(|_| query.order_by.is_none()) else { return };
    let mut outputs = select.projection.iter().filter_map(item_expr);
    if select.distinct.is_some() || is_aggregated(select) || !outputs.all(|item| Effects::of(item).is_plain())
    {
        return;
    }
    let factors = select.from.iter().flat_map(|source| {
        std::iter::once(&source.relation).chain(source.joins.iter().map(|join| &join.relation))
    });
    let Some((table, keys)) = factors.filter_map(column_order).next() else { return };
    let order = keys.iter().map(|key| OrderByExpr {
        expr: column_of(&table, key),
        options: OrderByOptions { asc: None, nulls_first: None },
        with_fill: None,
    });
    query.order_by = Some(OrderBy { kind: OrderByKind::Expressions(order.collect()), interpolate: None });
}

/// The alias of a table that lists columns, with the names of those that its order follows.
fn column_order(factor: &TableFactor) -> Option<(String, &'static [&'static str])> {
    let TableFactor::Table { name, args: None, .. } = factor else { return None };
    let keys: &[&str] = match catalogue_name(name)? {
        ["pg_catalog", "pg_attribute"] => &["attrelid", "attnum"],
        ["information_schema", "columns"] => &["table_schema", "table_name", "ordinal_position"],
        _ => return None,
    };
    Some((alias_of(factor)?, keys))
}

/// Tells whether an unnested array on the right side of a join has the rows that it would have within its
/// table.
fn can_move(operator: &JoinOperator) -> bool {
    match operator {
        JoinOperator::CrossJoin(constraint)
        | JoinOperator::Join(constraint)
        | JoinOperator::Inner(constraint) => match constraint {
            JoinConstraint::None => true,
            JoinConstraint::On(Expr::Value(value)) => value.value == Value::Boolean(true),
            _ => false,
        },
        _ => false,
    }
}

/// Rewrites a table or a function in FROM.
fn rewrite_factor(factor: &mut TableFactor) {
    let replacement = match factor {
        TableFactor::Table { name, alias, args: None, .. } => {
            if let Some(names) = catalogue_name(name) {
                *name = ObjectName::from(names.map(quoted).to_vec());
                alias.get_or_insert_with(|| table_alias(names[1], Vec::new()));
            }
            None
        }
        TableFactor::Table { name, alias, args: Some(args), with_ordinality, .. } => {
            function_factor(name, &args.args, alias.take(), *with_ordinality)
        }
        TableFactor::Function { name, args, alias, with_ordinality, .. } => {
            function_factor(name, args, alias.take(), *with_ordinality)
        }
        TableFactor::UNNEST { alias, .. } => {
            name_column(alias);
            None
        }
        TableFactor::NestedJoin { table_with_joins, .. } => {
            rewrite_nested(table_with_joins);
            None
        }
        _ => None,
    };
    if let Some(replacement) = replacement {
        *factor = replacement;
    }
}

fn rewrite_nested(nested: &mut TableWithJoins) {
    rewrite_factor(&mut nested.relation);
    for join in &mut nested.joins {
        rewrite_factor(&mut join.relation);
    }
}

pub(super) fn table_alias(name: &str, columns: Vec<&str>) -> TableAlias {
    let columns = columns.into_iter().map(|name| TableAliasColumnDef { name: quoted(name), data_type: None });
    TableAlias { explicit: true, name: quoted(name), columns: columns.collect(), at: None }
}

/// Gives the column of a function in FROM the name of its alias, unless it has another.
fn name_column(alias: &mut Option<TableAlias>) {
    if let Some(alias) = alias
        && alias.columns.is_empty()
    {
        alias.columns.push(TableAliasColumnDef { name: alias.name.clone(), data_type: None });
    }
}

/// A function in FROM in the engine's form.
fn function_factor(
    name: &ObjectName,
    args: &[FunctionArg],
    alias: Option<TableAlias>,
    with_ordinality: bool,
) -> Option<TableFactor> {
    let function = last_part(name)?;
    let mut exprs = Vec::new();
    for arg in args {
        let FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) = arg else { return None };
        exprs.push(expr.clone());
    }
    let mut alias = alias.or_else(|| Some(table_alias(&function, Vec::new())));
    match function.as_str() {
        "unnest" => {
            name_column(&mut alias);
            let (with_offset, with_offset_alias) = (false, None);
            let array_exprs = exprs;
            Some(TableFactor::UNNEST { alias, array_exprs, with_offset, with_offset_alias, with_ordinality })
        }
        "generate_series" => {
            name_column(&mut alias);
            Some(series_factor(exprs, alias))
        }
        "pg_get_keywords" => Some(plain_table(&["pg_catalog", "pg_get_keywords"], alias)),
        "pg_show_all_settings" => Some(plain_table(&["pg_catalog", "pg_settings"], alias)),
        "pg_stat_get_activity" => Some(plain_table(&["pg_catalog", "pg_stat_activity"], alias)),
        "pg_lock_status" => Some(plain_table(&["pg_catalog", "pg_locks"], alias)),
        _ => {
            let column = match &alias {
                Some(TableAlias { name, columns, .. }) => columns.first().map_or(name, |column| &column.name),
                None => return None,
            };
            let item = SelectItem::ExprWithAlias { expr: call(&function, exprs), alias: column.clone() };
            let subquery = Box::new(select_of(vec![item])?);
            let alias = alias.map(|alias| TableAlias { columns: Vec::new(), ..alias });
            Some(TableFactor::Derived { lateral: false, subquery, alias, sample: None })
        }
    }
}

/// A series of numbers. The engine takes bounds of 64 bits only.
fn series_factor(exprs: Vec<Expr>, alias: Option<TableAlias>) -> TableFactor {
    let bounds = exprs.into_iter().map(|expr| match expr {
        Expr::Value(value) => Expr::Value(value),
        other => cast(other, DataType::BigInt(None)),
    });
    let series = TableFunctionArgs {
        args: bounds.map(|expr| FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))).collect(),
        settings: None,
    };
    let mut factor = plain_table(&[], alias);
    if let TableFactor::Table { name, args, .. } = &mut factor {
        // The planner takes the name of a function as it is written, with its quotes.
        *name = ObjectName::from(vec![Ident::new("generate_series")]);
        *args = Some(series);
    }
    factor
}

/// A table by its names.
fn plain_table(names: &[&str], alias: Option<TableAlias>) -> TableFactor {
    TableFactor::Table {
        name: ObjectName::from(names.iter().map(|name| quoted(name)).collect::<Vec<_>>()),
        alias,
        args: None,
        with_hints: Vec::new(),
        version: None,
        with_ordinality: false,
        partitions: Vec::new(),
        json_path: None,
        sample: None,
        index_hints: Vec::new(),
    }
}

/// A query of one row.
pub(super) fn select_of(items: Vec<SelectItem>) -> Option<Query> {
    let mut query = *Parser::new(&PostgreSqlDialect {}).try_with_sql("SELECT 1").ok()?.parse_query().ok()?;
    plain_select_mut(&mut query)?.projection = items;
    Some(query)
}

/// Array of a table's column that is unnested in FROM.
struct CorrelatedArray {
    expr: Expr,
    alias: String,
    /// Names of its items, and of their numbers if these are wanted.
    columns: Vec<String>,
}

/// The unnested array in FROM, if it is of a column.
fn correlated_array(factor: &TableFactor) -> Option<CorrelatedArray> {
    let TableFactor::UNNEST { alias: Some(alias), array_exprs, with_ordinality, .. } = factor else {
        return None;
    };
    let [expr @ (Expr::Identifier(_) | Expr::CompoundIdentifier(_))] = array_exprs.as_slice() else {
        return None;
    };
    let mut columns: Vec<String> = alias.columns.iter().map(|column| folded(&column.name)).collect();
    if *with_ordinality && columns.len() < 2 {
        columns.push("ordinality".to_owned());
    }
    Some(CorrelatedArray { expr: expr.clone(), alias: folded(&alias.name), columns })
}

/// Moves an unnested array into the table whose column it is: the table becomes a query with a row for each
/// item.
fn move_array(from: &mut [TableWithJoins], array: &CorrelatedArray) -> Option<Vec<Moved>> {
    let mut factors = from.iter_mut().flat_map(|source| {
        std::iter::once(&mut source.relation).chain(source.joins.iter_mut().map(|join| &mut join.relation))
    });
    let factor = factors.find(|factor| owns(factor, &array.expr))?;
    let table = alias_of(factor)?;
    let names: Vec<String> = array.columns.iter().map(|column| format!("{}.{column}", array.alias)).collect();
    let column = Expr::CompoundIdentifier(vec![quoted(&table), last_ident(&array.expr)?]);
    let items = [column.clone(), call(SUBSCRIPTS, vec![column])];
    let mut projection = vec![SelectItem::Wildcard(WildcardAdditionalOptions::default())];
    for (item, name) in items.into_iter().zip(&names) {
        projection.push(SelectItem::ExprWithAlias { expr: call("unnest", vec![item]), alias: quoted(name) });
    }
    let mut subquery = select_of(projection)?;
    let source = TableWithJoins { relation: factor.clone(), joins: Vec::new() };
    plain_select_mut(&mut subquery)?.from = vec![source];
    let alias = Some(table_alias(&table, Vec::new()));
    *factor = TableFactor::Derived { lateral: false, subquery: Box::new(subquery), alias, sample: None };
    let moved = array.columns.iter().zip(names).map(|(column, name)| Moved {
        alias: array.alias.clone(),
        column: column.clone(),
        place: [table.clone(), name],
    });
    Some(moved.collect())
}

fn last_ident(expr: &Expr) -> Option<Ident> {
    match expr {
        Expr::Identifier(ident) => Some(ident.clone()),
        Expr::CompoundIdentifier(parts) => parts.last().cloned(),
        _ => None,
    }
}

/// The alias of a table factor.
pub(super) fn alias_of(factor: &TableFactor) -> Option<String> {
    match factor {
        TableFactor::Table { alias: Some(alias), .. }
        | TableFactor::Derived { alias: Some(alias), .. }
        | TableFactor::UNNEST { alias: Some(alias), .. } => Some(folded(&alias.name)),
        TableFactor::Table { name, alias: None, .. } => last_part(name),
        _ => None,
    }
}

/// Tells whether a column is one of a table factor.
fn owns(factor: &TableFactor, column: &Expr) -> bool {
    match column {
        Expr::CompoundIdentifier(parts) => match parts.as_slice() {
            [.., table, _] => alias_of(factor).is_some_and(|alias| alias == folded(table)),
            _ => false,
        },
        Expr::Identifier(ident) => match factor {
            TableFactor::Table { name, .. } => catalogue_name(name)
                .and_then(|[schema, table]| relation(schema, table))
                .is_some_and(|found| found.column(&folded(ident)).is_some()),
            _ => false,
        },
        _ => false,
    }
}

/// A query's LIMIT without a cast, which the planner takes no other way.
pub(super) fn plain_limit(expr: &mut Expr) {
    let Expr::Cast { expr: inner, .. } = expr else { return };
    let Expr::Value(value) = inner.as_ref() else { return };
    match &value.value {
        Value::Number(..) => *expr = inner.as_ref().clone(),
        Value::SingleQuotedString(text) => {
            if let Ok(number) = text.trim().parse() {
                *expr = number_literal(number);
            }
        }
        _ => {}
    }
}
