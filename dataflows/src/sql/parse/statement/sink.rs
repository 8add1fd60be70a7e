//! Reader of `CREATE SINK name FROM view | AS query WITH (...) FORMAT f ENCODE e [KEY ENCODE k]`.
//!
//! The query of `AS` ends at `WITH (` outside any parentheses (a common table expression has a name
//! between the two), at FORMAT, ENCODE or EMIT. The clauses behind it come in any order. The binder checks that
//! the view can feed the format.

use datafusion_sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::options::{self, Tail};
use super::view;
use crate::mistake::{Mistake, Pos};
use crate::plan::formats::{Encoding, Format};
use crate::sql::parse::ast::{CreateSink, SinkInput};
use crate::sql::parse::cursor::{Cursor, Read};
use crate::sql::parse::tokens::{begin_with, is_any_word, is_token_at};

/// Reads the statement from after `CREATE SINK`.
pub fn sink(cursor: &mut Cursor<'_>, pos: Pos, mistakes: &mut Vec<Mistake>) -> Read<CreateSink> {
    let name = cursor.relation_name("a sink name")?;
    let input = if cursor.take_words(&["from"]) {
        SinkInput::From(cursor.relation_name("a view name")?)
    } else if cursor.take_words(&["as"]) {
        let end = cursor.find_token(ends_query);
        let (query, text) = view::read_query(cursor, end, mistakes)?;
        SinkInput::Query(query, text)
    } else {
        let hint = format!("write CREATE SINK {0} FROM view, or CREATE SINK {0} AS SELECT ...", name.text);
        return Err(cursor.expected("FROM or AS").hint(hint));
    };
    let mut tail = Tail::default();
    while cursor.peek().is_some() {
        if cursor.peek_words(&["emit"]) {
            return Err(Mistake::new(cursor.pos(), "EMIT belongs to a view")
                .hint("write it at the end of CREATE MATERIALIZED VIEW"));
        }
        if !tail.read_clause(cursor, mistakes)? {
            let hint = options::order_hint(cursor, &tail);
            return Err(cursor.expected("WITH, FORMAT or ENCODE").maybe_hint(hint));
        }
    }
    tail.check_complete(&format!("sink {}", name.text), name.pos, mistakes);
    mistakes.extend(refuse_whole_values(&tail));
    Ok(CreateSink {
        name,
        input,
        with: tail.with.map(|(options, _)| options).unwrap_or_default(),
        // A missing clause is among the mistakes already, and then the statement is dropped.
        format: tail.format.unwrap_or((Format::Plain, pos)),
        encode: tail.encode.unwrap_or((Encoding::Json, Vec::new(), pos)),
        key_encode: tail.key_encode,
        pos,
    })
}

/// Refuses values in TEXT or BYTES: a row of a sink is more than one column's bytes.
fn refuse_whole_values(tail: &Tail) -> Option<Mistake> {
    let (encoding, _, pos) = tail.encode.as_ref().filter(|(encoding, ..)| encoding.is_whole())?;
    let message = format!("ENCODE {} is for sources, and for keys", encoding.word());
    let hint = "write ENCODE JSON or ENCODE AVRO; KEY ENCODE may be TEXT or BYTES";
    Some(Mistake::new(*pos, message).hint(hint))
}

/// Tells whether the clauses behind the query begin here.
fn ends_query(rest: &[TokenWithSpan]) -> bool {
    let formats = ["plain", "upsert", "debezium"];
    (begin_with(rest, &["with"]) && is_token_at(rest, 1, &Token::LParen))
        || (begin_with(rest, &["format"]) && rest.get(1).is_some_and(|t| is_any_word(&t.token, &formats)))
        || starts_encode(rest)
        || begin_with(rest, &["emit", "on"])
}

/// Tells whether an ENCODE clause begins here, with another clause or the end behind it: in a SELECT list,
/// `encode json` is a column and its name.
fn starts_encode(rest: &[TokenWithSpan]) -> bool {
    let encodes = begin_with(rest, &["encode"])
        && rest.get(1).is_some_and(|t| is_any_word(&t.token, &["json", "avro", "parquet", "text", "bytes"]));
    let ends = match rest.get(2) {
        Some(next) => next.token == Token::LParen || is_any_word(&next.token, &["with", "format", "key"]),
        None => true,
    };
    encodes && ends
}
