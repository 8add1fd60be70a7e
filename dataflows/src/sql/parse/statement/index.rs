//! Reader of `CREATE INDEX name ON view (column, ...)`.
//!
//! The other clauses that SQL has for an index are refused in words: an index holds all rows of its view, whole, in
//! the order of its columns, and leaves nothing to choose.

use datafusion_sql::sqlparser::tokenizer::Token;

use crate::mistake::Mistake;
use crate::sql::parse::ast::{CreateIndex, Name};
use crate::sql::parse::cursor::{Cursor, Read};

/// Words of clauses that an index does not have, each with a message and a hint.
const REFUSED: [(&str, &str, &str); 8] = [
    ("asc", "an index has no direction", "leave ASC out"),
    (
        "desc",
        "an index has no direction",
        "leave DESC out: an index finds rows by values and ranges of its columns",
    ),
    ("nulls", "an index has no order of NULLs to choose", "leave NULLS FIRST or NULLS LAST out"),
    (
        "collate",
        "COLLATE is not supported in an index",
        "leave it out: text is compared byte by byte everywhere",
    ),
    ("using", "USING is not supported: every index is an ordered one", "leave it out"),
    (
        "where",
        "WHERE is not supported: an index has all rows of its view",
        "write another materialized view with the condition, and index that",
    ),
    ("include", "INCLUDE is not supported: an index has whole rows", "leave it out"),
    ("with", "an index has no options", "leave WITH out"),
];

/// Reads the statement from after `CREATE INDEX`.
pub fn index(cursor: &mut Cursor<'_>) -> Read<CreateIndex> {
    let name = cursor.relation_name("an index name")?;
    let form = format!("write CREATE INDEX {} ON view (column, ...)", name.text);
    if !cursor.take_words(&["on"]) {
        return Err(cursor.expected("ON").hint(form));
    }
    let view = cursor.relation_name("a view name")?;
    refuse_clause(cursor)?;
    if !cursor.take_token(&Token::LParen) {
        return Err(cursor.expected("the columns of the index").hint(form));
    }
    let mut columns = vec![take_column(cursor)?];
    while cursor.take_token(&Token::Comma) {
        columns.push(take_column(cursor)?);
    }
    if !cursor.take_token(&Token::RParen) {
        return Err(cursor.expected("`,` or `)` after a column"));
    }
    refuse_clause(cursor)?;
    if cursor.peek().is_some() {
        return Err(cursor.expected("the end of the statement"));
    }
    Ok(CreateIndex { name, view, columns })
}

/// Takes the name of a column; refuses an expression, and clauses behind the name.
fn take_column(cursor: &mut Cursor<'_>) -> Read<Name> {
    let is_call = cursor.peek_at(1).is_some_and(|next| next.token == Token::LParen);
    if is_call || cursor.peek() == Some(&Token::LParen) {
        return Err(Mistake::new(cursor.pos(), "an index is over columns, not over expressions")
            .hint("make the expression a column of the view, and index that"));
    }
    let name = cursor.take_name("a column name")?;
    refuse_clause(cursor)?;
    Ok(name)
}

/// Refuses a clause that an index does not have, if one comes next.
fn refuse_clause(cursor: &Cursor<'_>) -> Read<()> {
    for (word, message, hint) in REFUSED {
        if cursor.peek_words(&[word]) {
            return Err(Mistake::new(cursor.pos(), message).hint(hint));
        }
    }
    Ok(())
}
