//! Size bounds of queries over committed views, which are parsed, planned and run outside this crate's front
//! end. The bounds are those of a topology: nesting of subqueries, parts of a name, number of operators.

use datafusion_sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion_sql::sqlparser::tokenizer::Tokenizer;

use super::cursor::exceeded_bound;

/// Refuses a text beyond these bounds, with line, column and the bound. A text that cannot be tokenised
/// passes: the parser reports it better.
///
/// # Errors
/// The place and the bound.
pub fn bounded(text: &str) -> Result<(), (u64, u64, String)> {
    let Ok(tokens) = Tokenizer::new(&PostgreSqlDialect {}, text).tokenize_with_location() else {
        return Ok(());
    };
    match exceeded_bound(&tokens) {
        Some((place, message, _)) => Err((place.line, place.column, message)),
        None => Ok(()),
    }
}
