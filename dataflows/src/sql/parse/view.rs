//! `CREATE [MATERIALIZED] VIEW name [WITH (...)] AS query [EMIT ON WINDOW CLOSE]`.
//!
//! The query goes to `sqlparser`, after Flink's window form was turned into ours and before windows
//! become derived tables. EMIT ON WINDOW CLOSE is taken off the end first, as `sqlparser` would read
//! EMIT as an alias; whether it can be granted is the binder's to say. No view takes options in this
//! release.

use datafusion_sql::sqlparser::ast as sql;
use datafusion_sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::cursor::{Cursor, Read, is_word};
use super::{flink, options, temporal, window};
use crate::sql::ast::{CreateView, OptionItem, Pos};
use crate::sql::error::Mistake;
use crate::sql::nearest::did_you_mean;

/// Reads the statement from after `VIEW`.
pub fn view(
    cursor: &mut Cursor<'_>,
    materialized: bool,
    pos: Pos,
    mistakes: &mut Vec<Mistake>,
) -> Read<CreateView> {
    let name = cursor.relation_name("a view name")?;
    if cursor.peek() == Some(&Token::LParen) {
        let hint = format!("name the columns in the query: CREATE VIEW {} AS SELECT a AS b", name.text);
        return Err(Mistake::new(cursor.pos(), "a view has no column list").hint(hint));
    }
    let mut with = Vec::new();
    if cursor.words(&["with"]) {
        with = options::list(cursor, mistakes)?;
        check_options(&with, materialized, mistakes);
    }
    if !cursor.words(&["as"]) {
        return Err(cursor.expected("AS").hint(format!("write CREATE VIEW {} AS SELECT ...", name.text)));
    }
    let end = cursor.find(starts_emit);
    let (query, text) = query(cursor, end, mistakes)?;
    let emit_on_close = emit(cursor)?;
    if cursor.peek().is_some() {
        return Err(cursor.expected("the end of the statement"));
    }
    Ok(CreateView { name, materialized, with, query, emit_on_close, text, pos })
}

/// Reads a query that ends at token `end`, with its windows as derived tables.
pub fn query(
    cursor: &mut Cursor<'_>,
    end: usize,
    mistakes: &mut Vec<Mistake>,
) -> Read<(Box<sql::Query>, String)> {
    let starts = ["select", "with", "values"].iter().any(|word| cursor.peek_words(&[word]));
    if !starts && cursor.peek() != Some(&Token::LParen) {
        return Err(cursor.expected("SELECT"));
    }
    let context = cursor.context;
    let (mut query, text) = cursor.query_until(end, |tokens| flink::rewrite(&context, tokens))?;
    mistakes.extend(temporal::rewrite(&mut query, context.file));
    mistakes.extend(window::rewrite(&mut query, context.file));
    Ok((query, text))
}

fn starts_emit(rest: &[TokenWithSpan]) -> bool {
    is_word(&rest[0].token, "emit") && rest.get(1).is_some_and(|t| is_word(&t.token, "on"))
}

/// Reads `EMIT ON WINDOW CLOSE` if it comes next.
fn emit(cursor: &mut Cursor<'_>) -> Read<Option<Pos>> {
    let pos = cursor.pos();
    if !cursor.words(&["emit", "on"]) {
        return Ok(None);
    }
    if !cursor.words(&["window", "close"]) {
        return Err(cursor
            .expected("WINDOW CLOSE after EMIT ON")
            .hint("leave EMIT out: a view emits changes"));
    }
    Ok(Some(pos))
}

fn check_options(with: &[OptionItem], materialized: bool, mistakes: &mut Vec<Mistake>) {
    for option in with {
        let mistake = if option.name == "retention" && materialized {
            continue;
        } else if option.name == "retention" {
            Mistake::new(option.pos, "a view that is not materialized keeps nothing to retain")
                .hint("leave the option out")
        } else {
            let hint = did_you_mean(&option.name, ["retention"])
                .unwrap_or_else(|| "a view takes the option retention only".to_owned());
            Mistake::new(option.pos, format!("unknown option {}", option.name)).hint(hint)
        };
        mistakes.push(mistake);
    }
}
