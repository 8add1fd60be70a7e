//! Reader of the typed columns of a view that is declared without a query.
//!
//! They are names and types. Everything else that SQL has in such a list (keys, NOT NULL, CHECK, DEFAULT) is refused
//! with the place where it belongs: rows are checked where they come in.

use arrow::datatypes::Field;
use datafusion_sql::sqlparser::tokenizer::Token;

use super::types;
use crate::functions::text::format::quote_identifier;
use crate::mistake::Mistake;
use crate::sql::parse::ast::Name;
use crate::sql::parse::cursor::{Cursor, Read};

/// Words of clauses of tables, each with its hint.
const REFUSED: [(&[&str], &str); 13] = [
    (&["not", "null"], "leave it out, and write WHERE ... IS NOT NULL in the INSERTs"),
    (&["null"], "leave it out: every column may be NULL"),
    (&["primary", "key"], "leave it out: the keys of a view are proven (`herald explain`)"),
    (&["unique"], "leave it out: the keys of a view are proven (`herald explain`)"),
    (&["check"], "leave it out, and write the condition as WHERE in the INSERTs, or in the table below"),
    (&["constraint"], "leave it out: constraints are those of sources and tables"),
    (&["foreign", "key"], "leave it out: join the tables in a view"),
    (&["references"], "leave it out: join the tables in a view"),
    (&["watermark", "for"], "leave it out: watermarks are those of the sources and tables below"),
    (&["default"], "leave it out: a column that an INSERT does not name is NULL"),
    (&["as"], "compute the column in the SELECT of each INSERT"),
    (&["generated"], "compute the column in the SELECT of each INSERT"),
    (&["collate"], "leave it out: text is compared by its bytes"),
];

/// Tells whether a list comes next of which an item has more than a name.
pub fn is_typed(cursor: &Cursor<'_>) -> bool {
    if cursor.peek() != Some(&Token::LParen) {
        return false;
    }
    let mut ahead = 1;
    loop {
        match (cursor.peek_at(ahead).map(|t| &t.token), cursor.peek_at(ahead + 1).map(|t| &t.token)) {
            (Some(Token::Word(_)), Some(Token::Comma)) => ahead += 2,
            (Some(Token::Word(_)), Some(Token::Word(_))) => return true,
            _ => return false,
        }
    }
}

/// Reads `(name TYPE, ...)`, item by item.
pub fn read_columns(cursor: &mut Cursor<'_>, view: &Name, mistakes: &mut Vec<Mistake>) -> Read<Vec<Field>> {
    cursor.expect(&Token::LParen)?;
    let mut columns: Vec<Field> = Vec::new();
    loop {
        let pos = cursor.pos();
        match read_column(cursor, view) {
            Ok(column) if columns.iter().any(|known| known.name() == column.name()) => {
                mistakes.push(Mistake::new(pos, format!("column {} is declared twice", column.name())));
            }
            Ok(column) => columns.push(column),
            Err(mistake) => {
                mistakes.push(mistake);
                cursor.seek(cursor.find_comma());
            }
        }
        if !cursor.take_token(&Token::Comma) {
            break;
        }
    }
    cursor.expect(&Token::RParen)?;
    Ok(columns)
}

/// Reads `name TYPE`.
fn read_column(cursor: &mut Cursor<'_>, view: &Name) -> Read<Field> {
    let next = cursor.peek_at(1).map(|next| &next.token);
    let clauses: [&[&str]; 4] =
        [&["constraint"], &["primary", "key"], &["foreign", "key"], &["watermark", "for"]];
    let is_column = matches!(next, Some(Token::Word(_)));
    if !is_column || clauses.iter().any(|words| cursor.peek_words(words)) {
        refuse_clause(cursor, view)?;
    }
    let name = cursor.take_name("a column name")?;
    if types::is_missing(cursor) {
        let message = format!("column {} has no type", name.text);
        return Err(Mistake::new(cursor.pos(), message)
            .hint(format!("write `{} VARCHAR`, or the type it has", quote_identifier(&name.text))));
    }
    let field = types::read_field(cursor, &name.text)?;
    refuse_clause(cursor, view)?;
    match cursor.peek() {
        Some(Token::Comma | Token::RParen) => Ok(field),
        _ => Err(cursor.expected("`,` or `)`")),
    }
}

/// Refuses a clause that comes next and that tables have.
fn refuse_clause(cursor: &Cursor<'_>, view: &Name) -> Read<()> {
    let Some((words, hint)) = REFUSED.iter().find(|(words, _)| cursor.peek_words(words)) else {
        return Ok(());
    };
    let message = format!(
        "the view {} is declared with names and types alone, without {}",
        view.text,
        words.join(" ").to_uppercase()
    );
    Err(Mistake::new(cursor.pos(), message).hint(*hint))
}

/// Refuses a query behind typed columns, and anything else behind them.
pub fn expect_end(cursor: &Cursor<'_>, view: &Name) -> Read<()> {
    let name = quote_identifier(&view.text);
    if cursor.peek_words(&["as"]) {
        let message = format!("the view {} has typed columns and a query", view.text);
        let hint = format!(
            "leave the types out, as the query has them; or leave the query out here, and write INSERT INTO {name} SELECT ..."
        );
        return Err(Mistake::new(cursor.pos(), message).hint(hint));
    }
    if cursor.peek_words(&["emit"]) {
        let message = "EMIT ON WINDOW CLOSE stands behind a query, and this view is declared without one";
        let hint = format!("write it in a view that reads {name}");
        return Err(Mistake::new(cursor.pos(), message).hint(hint));
    }
    let connects = ["format", "encode", "include"].iter().any(|word| cursor.peek_words(&[word]));
    match cursor.peek() {
        None => Ok(()),
        Some(_) if connects => Err(cursor.expected("the end of the statement").hint(
            "a view is filled by INSERT INTO; rows from a connector are those of CREATE SOURCE or CREATE TABLE",
        )),
        Some(_) => Err(cursor.expected("the end of the statement")),
    }
}
