//! Size bounds of queries over committed views, which are parsed, planned and run outside this crate's front
//! end. The bounds are those of a topology: nesting of subqueries, parts of a name, number of operators.

use datafusion_sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion_sql::sqlparser::tokenizer::{Token, Tokenizer, Whitespace};

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

/// Tells whether two texts have the same tokens and comments, whatever space is between them. `> >` is the same as
/// `>>`.
pub fn same_tokens(left: &str, right: &str) -> bool {
    let tokens = token_texts(left);
    tokens.is_some() && tokens == token_texts(right)
}

/// Texts of the tokens and comments; None for a text that cannot be tokenised.
fn token_texts(text: &str) -> Option<Vec<String>> {
    let tokens = Tokenizer::new(&PostgreSqlDialect {}, text).tokenize().ok()?;
    let mut texts = Vec::with_capacity(tokens.len());
    for text in tokens.into_iter().filter_map(token_text) {
        // `>>` may close two STRUCTs, each on a line of its own.
        if text.len() > 1 && text.trim_matches('>').is_empty() {
            texts.extend(text.chars().map(String::from));
        } else {
            texts.push(text);
        }
    }
    Some(texts)
}

/// Text of a token or comment, whatever space is in it; None for white space.
fn token_text(token: Token) -> Option<String> {
    match token {
        Token::Whitespace(Whitespace::SingleLineComment { comment, .. }) => Some(comment.trim().to_owned()),
        Token::Whitespace(Whitespace::MultiLineComment(comment)) => {
            Some(comment.split_whitespace().collect::<Vec<_>>().join(" "))
        }
        Token::Whitespace(_) => None,
        token => Some(token.to_string()),
    }
}
