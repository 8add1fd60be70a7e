//! Reader of `INSERT INTO view [(column, ...)] query`.
//!
//! The clauses that databases have behind the query are refused in words: a view has the rows of its INSERTs at any
//! time, and leaves nothing to do in the place of an insertion.

use datafusion_sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::view;
use crate::mistake::{Mistake, Pos};
use crate::sql::parse::ast::Insert;
use crate::sql::parse::cursor::{Cursor, Read};
use crate::sql::parse::tokens::{begin_with, is_any_word};

/// Clauses behind the query, each with its hint.
const REFUSED: [(&[&str], &str); 4] = [
    (&["on", "conflict"], "leave it out: rows that agree in all columns stand as often as they are selected"),
    (
        &["on", "duplicate"],
        "leave it out: rows that agree in all columns stand as often as they are selected",
    ),
    (&["returning"], "leave it out, and read the view"),
    (&["emit", "on"], "leave it out, and write it in a view of its own that this INSERT reads"),
];

/// Reads the statement from after `INSERT`.
pub fn insert(cursor: &mut Cursor<'_>, pos: Pos, mistakes: &mut Vec<Mistake>) -> Read<Insert> {
    if cursor.peek_words(&["overwrite"]) {
        return Err(Mistake::new(cursor.pos(), "INSERT OVERWRITE is not supported")
            .hint("write INSERT INTO: the view has the rows of the query at any time, and takes back those that are gone"));
    }
    if !cursor.take_words(&["into"]) {
        return Err(cursor.expected("INTO").hint("write INSERT INTO view SELECT ..."));
    }
    let into = cursor.relation_name("a view name")?;
    let columns = if cursor.peek() == Some(&Token::LParen) && !starts_query(cursor) {
        Some(cursor.name_list("a column name")?)
    } else {
        None
    };
    if cursor.peek_words(&["default", "values"]) {
        return Err(Mistake::new(cursor.pos(), "DEFAULT VALUES is not supported")
            .hint("write VALUES (...), or SELECT ..."));
    }
    let end = cursor.find_token(|rest| refused(rest).is_some());
    let (query, text) = view::read_query(cursor, end, mistakes)?;
    if let Some(rest) = cursor.rest()
        && let Some((words, hint)) = refused(rest)
    {
        let message = format!("{} does not belong to an INSERT here", words.join(" ").to_uppercase());
        return Err(Mistake::new(cursor.pos(), message).hint(*hint));
    }
    if cursor.peek().is_some() {
        return Err(cursor.expected("the end of the statement"));
    }
    Ok(Insert { into, columns, query, text, pos })
}

/// Tells whether the parenthesis that comes next holds a query.
fn starts_query(cursor: &Cursor<'_>) -> bool {
    let mut ahead = 0;
    while cursor.peek_at(ahead).is_some_and(|next| next.token == Token::LParen) {
        ahead += 1;
    }
    cursor.peek_at(ahead).is_some_and(|next| is_any_word(&next.token, &["select", "with", "values"]))
}

/// The clause that begins here, if it is a refused one.
fn refused(rest: &[TokenWithSpan]) -> Option<&'static (&'static [&'static str], &'static str)> {
    REFUSED.iter().find(|(words, _)| begin_with(rest, words))
}
