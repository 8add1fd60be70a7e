//! Expressions and PostgreSQL's answers to them: `judged.txt`, one per line, separated by a tab.
//!
//! The answers are those of PostgreSQL 15 in a database of the locale C.UTF-8, each cast to text; ERROR
//! stands for any error. Numbers are compared as numbers of the type Herald gives: a DECIMAL's scale is its
//! column's here.

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion_sql::sqlparser::dialect::{GenericDialect, PostgreSqlDialect};
use datafusion_sql::sqlparser::parser::Parser;
use datafusion_sql::sqlparser::tokenizer::Tokenizer;

use crate::functions::eval::print;
use crate::functions::number::decimal;
use crate::sql::catalog::Catalog;
use crate::sql::query;

/// Functions whose last digits depend on the platform's library.
const NEAR: [&str; 5] = ["cbrt(", "asinh(", "acosh(", "atanh(", "||/"];

fn evaluate_text(text: &str) -> Result<ArrayRef, String> {
    let tokens =
        Tokenizer::new(&GenericDialect {}, text).tokenize_with_location().map_err(|e| e.to_string())?;
    let mut parser = Parser::new(&PostgreSqlDialect {}).with_tokens_with_locations(tokens);
    let expr = parser.parse_expr().map_err(|e| e.to_string())?;
    query::value(&Catalog::default(), &expr).map_err(|e| e.strip_backtrace())
}

/// Returns true if `array` holds the value that PostgreSQL printed as `expected`, or a DOUBLE within the
/// relative distance `near` of it.
fn is_answer(array: &ArrayRef, expected: &str, near: f64) -> bool {
    let Ok(found) = print::text(array, 0) else { return false };
    let Some(found) = found else { return expected == "NULL" };
    match array.data_type() {
        DataType::Decimal128(_, scale) => {
            decimal::parse(expected, *scale).is_ok_and(|digits| print::decimal(digits, *scale) == found)
        }
        DataType::Float64 => {
            let number = |text: &str| text.to_ascii_lowercase().parse::<f64>();
            match (number(expected), number(&found)) {
                (Ok(a), Ok(b)) => a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= a.abs() * near,
                _ => false,
            }
        }
        _ => found == expected,
    }
}

fn unescape_text(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.push(match chars.next() {
                Some('n') => '\n',
                Some('t') => '\t',
                other => other.unwrap_or('\\'),
            }),
            c => out.push(c),
        }
    }
    out
}

#[test]
fn answers_are_postgresqls() {
    let mut wrong = Vec::new();
    let lines = include_str!("judged.txt").lines();
    for (text, expected) in lines.filter_map(|line| line.split_once('\t')) {
        let (text, expected) = (unescape_text(text), unescape_text(expected));
        let near = if NEAR.iter().any(|f| text.starts_with(f)) { 4.0 * f64::EPSILON } else { 0.0 };
        match evaluate_text(&text) {
            Ok(array) if is_answer(&array, &expected, near) => {}
            Err(_) if expected == "ERROR" => {}
            // An invalid constant pattern is refused even where the other operand is NULL.
            Err(error) if expected == "NULL" && error.contains("always fails: invalid regular") => {}
            Ok(array) => wrong.push(format!("{text}\n  {expected}\n  {:?}", print::text(&array, 0))),
            Err(error) => wrong.push(format!("{text}\n  {expected}\n  {error}")),
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}
