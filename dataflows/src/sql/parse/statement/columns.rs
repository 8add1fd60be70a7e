//! Reader of the parenthesised list of a source or table: columns, key, constraints, watermark.
//!
//! It holds columns (`name TYPE [AS (expr)] [NOT NULL] [PRIMARY KEY] [CHECK (expr)]`), `*`, PRIMARY
//! KEY, [CONSTRAINT name] CHECK and WATERMARK FOR, in any order. A mistake inside one item is
//! collected and reading goes on after the next comma. Clauses that PostgreSQL allows here and Herald does
//! not (DEFAULT, UNIQUE, foreign keys) are refused with their replacement.

use datafusion_sql::sqlparser::ast::{BinaryOperator, Expr};
use datafusion_sql::sqlparser::tokenizer::Token;

use super::types;
use crate::functions::text::format::quote_identifier;
use crate::mistake::{Mistake, Pos};
use crate::sql::parse::ast::{CheckDef, ColumnDef, Name, WatermarkDef};
use crate::sql::parse::cursor::{Cursor, Read};
use crate::sql::parse::interval::interval_us;
use crate::sql::parse::tokens::fold_ident;

/// Contents of the parenthesised list of a relation.
#[derive(Default)]
pub struct RelationItems {
    /// Columns in order.
    pub columns: Vec<ColumnDef>,
    /// Position of `*`.
    pub star: Option<Pos>,
    /// PRIMARY KEY columns.
    pub primary_key: Vec<Name>,
    /// CHECKs, each with the name of its CONSTRAINT clause.
    pub checks: Vec<(Option<String>, CheckDef)>,
    /// WATERMARK FOR.
    pub watermark: Option<WatermarkDef>,
}

/// Reads `( item, ... )`, item by item.
pub fn read_list(
    cursor: &mut Cursor<'_>,
    items: &mut RelationItems,
    mistakes: &mut Vec<Mistake>,
) -> Read<()> {
    cursor.expect(&Token::LParen)?;
    loop {
        if let Err(mistake) = read_whole_item(cursor, items, mistakes) {
            mistakes.push(mistake);
            cursor.seek(cursor.find_comma());
        }
        if !cursor.take_token(&Token::Comma) {
            break;
        }
    }
    cursor.expect(&Token::RParen)
}

/// Reads one item up to the comma or bracket behind it.
fn read_whole_item(
    cursor: &mut Cursor<'_>,
    items: &mut RelationItems,
    mistakes: &mut Vec<Mistake>,
) -> Read<()> {
    read_item(cursor, items, mistakes)?;
    match cursor.peek() {
        Some(Token::Comma | Token::RParen) => Ok(()),
        _ => Err(after_item(cursor)),
    }
}

/// Refusal of a token behind a complete item.
fn after_item(cursor: &Cursor<'_>) -> Mistake {
    let refused = [
        ("default", "a column has no DEFAULT", "write it as `column TYPE AS (coalesce(...))`"),
        ("unique", "UNIQUE is not supported", "name the columns in PRIMARY KEY"),
        ("references", "foreign keys are not supported", "join the tables in a view"),
        ("generated", "GENERATED ALWAYS is not supported", "write `column TYPE AS (expression)`"),
        ("collate", "COLLATE is not supported", "text is compared by its bytes"),
    ];
    match refused.iter().find(|(word, ..)| cursor.peek_words(&[word])) {
        Some((_, message, hint)) => Mistake::new(cursor.pos(), *message).hint(*hint),
        None => cursor.expected("`,` or `)`"),
    }
}

/// Reads one item of the list.
fn read_item(cursor: &mut Cursor<'_>, items: &mut RelationItems, mistakes: &mut Vec<Mistake>) -> Read<()> {
    let pos = cursor.pos();
    if cursor.take_token(&Token::Mul) {
        items.star.get_or_insert(pos);
    } else if cursor.peek_words(&["primary", "key"]) {
        cursor.take_words(&["primary", "key"]);
        let names = cursor.name_list("a column name")?;
        set_key(items, names, pos, mistakes);
    } else if cursor.take_words(&["constraint"]) {
        let name = cursor.take_name("a constraint name")?;
        if cursor.take_words(&["primary", "key"]) {
            let names = cursor.name_list("a column name")?;
            set_key(items, names, pos, mistakes);
        } else if cursor.take_words(&["check"]) {
            read_check(cursor, Some(name.text), pos, items)?;
        } else {
            return Err(cursor.expected("CHECK").hint("write CONSTRAINT name CHECK (condition)"));
        }
    } else if cursor.peek_words(&["check"]) && cursor.peek_at(1).is_some_and(|t| t.token == Token::LParen) {
        cursor.bump();
        read_check(cursor, None, pos, items)?;
    } else if cursor.take_words(&["watermark", "for"]) {
        let watermark = read_watermark(cursor, &items.columns)?;
        if items.watermark.replace(watermark).is_some() {
            mistakes.push(Mistake::new(pos, "WATERMARK is given twice"));
        }
    } else if cursor.peek_words(&["unique"]) || cursor.peek_words(&["foreign", "key"]) {
        let hint = "name the columns that identify a row in PRIMARY KEY";
        return Err(Mistake::new(pos, format!("{} is not supported", cursor.describe_next())).hint(hint));
    } else {
        read_column(cursor, items, mistakes)?;
    }
    Ok(())
}

/// Sets the primary key, and refuses a second one and columns named twice.
fn set_key(items: &mut RelationItems, names: Vec<Name>, pos: Pos, mistakes: &mut Vec<Mistake>) {
    if !items.primary_key.is_empty() {
        mistakes.push(
            Mistake::new(pos, "PRIMARY KEY is given twice")
                .hint("write PRIMARY KEY (a, b) for a key of two columns"),
        );
        return;
    }
    for (i, name) in names.iter().enumerate() {
        if names[..i].iter().any(|other| other.text == name.text) {
            mistakes
                .push(Mistake::new(name.pos, format!("column {} is twice in the PRIMARY KEY", name.text)));
        }
    }
    items.primary_key = names;
}

/// Reads `(condition)` of a CHECK.
fn read_check(
    cursor: &mut Cursor<'_>,
    name: Option<String>,
    pos: Pos,
    items: &mut RelationItems,
) -> Read<()> {
    let (expr, text) = cursor.parenthesised_expr()?;
    items.checks.push((name, CheckDef { name: String::new(), expr, text, pos }));
    Ok(())
}

/// Reads `name TYPE [AS (expr)] [NOT NULL] [PRIMARY KEY] [CHECK (expr)]`.
fn read_column(cursor: &mut Cursor<'_>, items: &mut RelationItems, mistakes: &mut Vec<Mistake>) -> Read<()> {
    let name = cursor.take_name("a column, PRIMARY KEY, CONSTRAINT or WATERMARK")?;
    if types::is_missing(cursor) {
        let message = format!("column {} has no type", name.text);
        return Err(Mistake::new(cursor.pos(), message)
            .hint(format!("write `{} VARCHAR`, or the type it has", name.text)));
    }
    let field = types::read_field(cursor, &name.text)?;
    let mut not_null = false;
    let mut generated = None;
    loop {
        let pos = cursor.pos();
        if cursor.take_words(&["not", "null"]) {
            not_null = true;
        } else if cursor.take_words(&["null"]) {
        } else if cursor.take_words(&["primary", "key"]) {
            set_key(items, vec![name.clone()], pos, mistakes);
        } else if cursor.take_words(&["check"]) {
            read_check(cursor, None, pos, items)?;
        } else if cursor.take_words(&["as"]) {
            if cursor.peek() != Some(&Token::LParen) {
                return Err(cursor
                    .expected("`(` after AS")
                    .hint(format!("write `{} TYPE AS (expression)`", name.text)));
            }
            generated = Some(cursor.parenthesised_expr()?.0);
        } else {
            break;
        }
    }
    let data_type = field.with_nullable(!not_null);
    items.columns.push(ColumnDef { name, data_type, not_null, generated });
    Ok(())
}

/// Reads `column AS column [- INTERVAL '...']`; `columns` are those before it.
fn read_watermark(cursor: &mut Cursor<'_>, columns: &[ColumnDef]) -> Read<WatermarkDef> {
    let column = cursor.take_name("a column name")?;
    let hint = watermark_hint(&column.text);
    if !cursor.take_words(&["as"]) {
        return Err(cursor.expected("AS").hint(hint));
    }
    let pos = cursor.pos();
    let (expr, _) = cursor.expr_until(cursor.find_comma())?;
    let (of, less) = match &expr {
        Expr::BinaryOp { left, op: BinaryOperator::Minus, right } => (left.as_ref(), Some(right.as_ref())),
        other => (other, None),
    };
    let Expr::Identifier(of) = of else {
        return Err(Mistake::new(pos, watermark_form(&column.text)).hint(hint));
    };
    let delay = match less {
        None => Ok(0),
        Some(Expr::Value(_)) => {
            let known = columns.iter().find(|known| known.name.text == column.text);
            let hint = match known {
                Some(known) if known.data_type.data_type().is_integer() => {
                    number_watermark_hint(&column.text)
                }
                _ => hint,
            };
            return Err(Mistake::new(pos, "a watermark is less by an INTERVAL, not by a number").hint(hint));
        }
        Some(length) => interval_us(length),
    };
    let of = Name { text: fold_ident(of), pos: cursor.context.pos(of.span.start) };
    match delay {
        Ok(delay_us @ 0..) => Ok(WatermarkDef { column, of, delay_us }),
        Ok(_) => Err(Mistake::new(pos, "a watermark's delay cannot be negative").hint(hint)),
        Err(message) => Err(Mistake::new(pos, message).hint(hint)),
    }
}

/// Sentence that tells the forms of a watermark of `column`.
pub fn watermark_form(column: &str) -> String {
    format!("a watermark is {column}, or {column} less a constant INTERVAL")
}

/// Hint with the usual WATERMARK on a column of times.
pub fn watermark_hint(column: &str) -> String {
    format!("write WATERMARK FOR {0} AS {0} - INTERVAL '1 hour'", quote_identifier(column))
}

/// Hint for a WATERMARK on a column of numbers.
pub fn number_watermark_hint(column: &str) -> String {
    let time = if column == "at" { "event_time" } else { "at" };
    format!(
        "if {column} is of milliseconds, add the column `{time} TIMESTAMP AS (to_timestamp_millis({}))` and \
         write WATERMARK FOR {time} AS {time} - INTERVAL '5 seconds'",
        quote_identifier(column)
    )
}

/// Names every CHECK: by its CONSTRAINT clause, or `TABLE_check`, `TABLE_check1`, ...
pub fn name_checks(
    relation: &str,
    checks: Vec<(Option<String>, CheckDef)>,
    mistakes: &mut Vec<Mistake>,
) -> Vec<CheckDef> {
    let mut named: Vec<CheckDef> = Vec::with_capacity(checks.len());
    let own: Vec<String> = checks.iter().filter_map(|(name, _)| name.clone()).collect();
    let mut unnamed = 0;
    for (name, mut check) in checks {
        check.name = match name {
            Some(name) if named.iter().any(|other| other.name == name) => {
                mistakes.push(Mistake::new(check.pos, format!("constraint {name} is declared twice")));
                continue;
            }
            Some(name) => name,
            None => loop {
                let suffix = if unnamed == 0 { String::new() } else { unnamed.to_string() };
                unnamed += 1;
                let name = format!("{relation}_check{suffix}");
                if !own.contains(&name) {
                    break name;
                }
            },
        };
        named.push(check);
    }
    named
}
