//! Reader of `CREATE [MATERIALIZED] VIEW name [(columns)] [WITH (...)] AS query [EMIT ON WINDOW CLOSE]`, and of the
//! same with typed columns and without a query.
//!
//! Flink's window form is rewritten on the tokens before `sqlparser` reads the query; windows become
//! derived tables on the tree. EMIT ON WINDOW CLOSE is taken off the end first, as `sqlparser` would read
//! EMIT as an alias; the binder checks that the view can do it. A materialized view takes some options, other
//! views none.

use datafusion_sql::sqlparser::ast as sql;
use datafusion_sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::{declared, options};
use crate::functions::text::format::quote_identifier;
use crate::mistake::{Mistake, Pos};
use crate::sql::diagnostics::did_you_mean::did_you_mean;
use crate::sql::parse::ast::{CreateView, DeclareView, Name, OptionItem, Statement};
use crate::sql::parse::cursor::{Cursor, Read};
use crate::sql::parse::query::{flink, jsonb, rows, series, temporal, wildcard, window};
use crate::sql::parse::tokens::{begin_with, is_any_word};

/// Reads the statement from after `VIEW`.
pub fn view(
    cursor: &mut Cursor<'_>,
    materialized: bool,
    pos: Pos,
    mistakes: &mut Vec<Mistake>,
) -> Read<Statement> {
    let name = cursor.relation_name("a view name")?;
    if declared::is_typed(cursor) {
        let columns = declared::read_columns(cursor, &name, mistakes)?;
        let with = read_with(cursor, materialized, mistakes)?;
        declared::expect_end(cursor, &name)?;
        return Ok(Statement::Declared(DeclareView { name, materialized, columns, with, pos }));
    }
    let columns =
        if cursor.peek() == Some(&Token::LParen) { cursor.name_list("a column name")? } else { vec![] };
    let with = read_with(cursor, materialized, mistakes)?;
    if !cursor.take_words(&["as"]) {
        let hint = format!(
            "write CREATE VIEW {0} AS SELECT ..., or CREATE VIEW {0} (column TYPE, ...) and INSERT INTO {0} SELECT ...",
            quote_identifier(&name.text)
        );
        return Err(cursor.expected("AS").hint(hint));
    }
    let end = cursor.find_token(starts_emit);
    let (mut query, text) = read_query(cursor, end, mistakes)?;
    if !columns.is_empty() {
        query = rename_columns(query, &name, columns);
    }
    let emit_on_close = read_emit(cursor)?;
    if cursor.peek().is_some() {
        return Err(cursor.expected("the end of the statement"));
    }
    Ok(Statement::View(CreateView { name, materialized, with, query, emit_on_close, text, pos }))
}

/// Reads `WITH (...)` if it comes next.
fn read_with(
    cursor: &mut Cursor<'_>,
    materialized: bool,
    mistakes: &mut Vec<Mistake>,
) -> Read<Vec<OptionItem>> {
    if !cursor.take_words(&["with"]) {
        return Ok(vec![]);
    }
    let with = options::read_list(cursor, mistakes)?;
    check_options(&with, materialized, mistakes);
    Ok(with)
}

/// Wraps a query as `SELECT * FROM (query) AS name(columns)`.
fn rename_columns(query: Box<sql::Query>, name: &Name, columns: Vec<Name>) -> Box<sql::Query> {
    let mut quoted = Vec::with_capacity(columns.len());
    for column in columns {
        let name = sql::Ident::with_quote('"', column.text);
        quoted.push(sql::TableAliasColumnDef { name, data_type: None });
    }
    let name = sql::Ident::with_quote('"', name.text.clone());
    let alias = sql::TableAlias { explicit: true, name, columns: quoted, at: None };
    let template = "SELECT * FROM (SELECT 1) AS x";
    let dialect = datafusion_sql::sqlparser::dialect::PostgreSqlDialect {};
    let parsed = datafusion_sql::sqlparser::parser::Parser::new(&dialect).try_with_sql(template);
    let Ok(mut outer) = parsed.and_then(|mut parser| parser.parse_query()) else { return query };
    if let sql::SetExpr::Select(select) = outer.body.as_mut()
        && let Some(from) = select.from.first_mut()
        && let sql::TableFactor::Derived { subquery, alias: outer_alias, .. } = &mut from.relation
    {
        *subquery = query;
        *outer_alias = Some(alias);
    }
    outer
}

/// Reads a query that ends at token `end`, with Herald's own forms rewritten to plain SQL.
pub fn read_query(
    cursor: &mut Cursor<'_>,
    end: usize,
    mistakes: &mut Vec<Mistake>,
) -> Read<(Box<sql::Query>, String)> {
    match cursor.peek() {
        Some(Token::LParen) => {}
        Some(token) if is_any_word(token, &["select", "with", "values"]) => {}
        _ => return Err(cursor.expected("SELECT")),
    }
    let context = cursor.context;
    let (mut query, text) = cursor.query_until(end, |tokens| flink::rewrite(&context, tokens))?;
    mistakes.extend(wildcard::rewrite(&mut query, context.file));
    jsonb::unnest_functions(&mut query);
    mistakes.extend(rows::rewrite(&mut query, context.file));
    mistakes.extend(series::rewrite(&mut query, context.file));
    mistakes.extend(temporal::rewrite(&mut query, context.file));
    // Last, because it refuses table functions that no other rewrite has replaced.
    mistakes.extend(window::rewrite(&mut query, context.file));
    Ok((query, text))
}

/// Tells whether `EMIT ON` begins here.
fn starts_emit(rest: &[TokenWithSpan]) -> bool {
    begin_with(rest, &["emit", "on"])
}

/// Reads `EMIT ON WINDOW CLOSE` if it comes next.
fn read_emit(cursor: &mut Cursor<'_>) -> Read<Option<Pos>> {
    let pos = cursor.pos();
    if !cursor.take_words(&["emit", "on"]) {
        return Ok(None);
    }
    if !cursor.take_words(&["window", "close"]) {
        return Err(cursor
            .expected("WINDOW CLOSE after EMIT ON")
            .hint("leave EMIT out: a view emits changes"));
    }
    Ok(Some(pos))
}

/// Options of a materialized view.
const OPTIONS: [&str; 4] = ["retention", "history", "history_size", "metrics"];

/// Refuses options that the view does not take.
fn check_options(with: &[OptionItem], materialized: bool, mistakes: &mut Vec<Mistake>) {
    for option in with {
        let known = OPTIONS.contains(&option.name.as_str());
        let mistake = if known && materialized {
            continue;
        } else if option.name == "metrics" {
            Mistake::new(option.pos, "a view that is not materialized keeps no rows to export")
                .hint("write CREATE MATERIALIZED VIEW, or leave the option out")
        } else if known {
            Mistake::new(option.pos, "a view that is not materialized keeps nothing to retain")
                .hint("leave the option out")
        } else {
            Mistake::new(option.pos, format!("unknown option {}", option.name))
                .hint("a view takes the options retention, history, history_size and metrics only")
                .maybe_hint(did_you_mean(&option.name, OPTIONS))
        };
        mistakes.push(mistake);
    }
}
