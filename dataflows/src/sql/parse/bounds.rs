//! Bounds of a text that is parsed, planned and run by others than this crate's front end: queries of committed
//! views. They are those of a topology: subqueries within each other, parts of a name, operators in all.

use datafusion_sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion_sql::sqlparser::tokenizer::Tokenizer;

use super::cursor::exceeds;

/// Refuses a text beyond the bounds that `check` sets, with line, column and what there is too much of. A text
/// that cannot be read is left to the parser, whose words for it are better.
///
/// # Errors
/// The place and the bound.
pub fn bounded(text: &str) -> Result<(), (u64, u64, String)> {
    let Ok(tokens) = Tokenizer::new(&PostgreSqlDialect {}, text).tokenize_with_location() else {
        return Ok(());
    };
    match exceeds(&tokens) {
        Some((place, message, _)) => Err((place.line, place.column, message)),
        None => Ok(()),
    }
}
