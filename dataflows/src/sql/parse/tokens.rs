//! Tokens: words, places, names folded to lower case, and closing parentheses.

use datafusion_sql::sqlparser::ast::Ident;
use datafusion_sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan};

/// Tells whether a token is `word`, unquoted, in any case.
pub fn is_word(token: &Token, word: &str) -> bool {
    matches!(token, Token::Word(w) if w.quote_style.is_none() && w.value.eq_ignore_ascii_case(word))
}

/// Tells whether a token is one of `words`, unquoted, in any case.
pub fn is_any_word(token: &Token, words: &[&str]) -> bool {
    words.iter().any(|word| is_word(token, word))
}

/// Tells whether there is a token `at`, and it is `word`, unquoted, in any case.
pub fn is_word_at(tokens: &[TokenWithSpan], at: usize, word: &str) -> bool {
    tokens.get(at).is_some_and(|t| is_word(&t.token, word))
}

/// Tells whether tokens begin with `words`, unquoted, in any case.
pub fn begin_with(tokens: &[TokenWithSpan], words: &[&str]) -> bool {
    words.len() <= tokens.len() && tokens.iter().zip(words).all(|(t, word)| is_word(&t.token, word))
}

/// Tells whether there is a token `at`, and it equals `token`.
pub fn is_token_at(tokens: &[TokenWithSpan], at: usize, token: &Token) -> bool {
    tokens.get(at).is_some_and(|t| t.token == *token)
}

/// Tells whether a token is neither white space nor a comment.
pub fn is_visible(token: &TokenWithSpan) -> bool {
    !matches!(token.token, Token::Whitespace(_))
}

/// Place at which the last token ends; the beginning of a text without tokens.
pub fn end_of(tokens: &[TokenWithSpan]) -> Location {
    tokens.last().map_or(Location::new(1, 1), |last| last.span.end)
}

/// Folds an identifier to lower case unless it is quoted.
pub fn fold_ident(ident: &Ident) -> String {
    fold(&ident.value, ident.quote_style)
}

/// Tells whether there is an identifier, and it is `name` once it is folded.
pub fn is_named(ident: Option<&Ident>, name: &str) -> bool {
    ident.is_some_and(|ident| fold_ident(ident) == name)
}

/// A token in the place of another.
pub fn with_span_of(at: &TokenWithSpan, token: Token) -> TokenWithSpan {
    TokenWithSpan::new(token, at.span)
}

/// Folds a name to lower case unless it has quotes.
pub fn fold(value: &str, quote: Option<char>) -> String {
    if quote.is_some() { value.to_owned() } else { value.to_lowercase() }
}

/// Index of the `)` that closes the `(` at `open`; None if there is none.
pub(in crate::sql::parse) fn closing_paren(tokens: &[TokenWithSpan], open: usize) -> Option<usize> {
    let mut depth = 0usize;
    if tokens.get(open)?.token != Token::LParen {
        return None;
    }
    for (i, t) in tokens.iter().enumerate().skip(open) {
        match t.token {
            Token::LParen => depth += 1,
            Token::RParen => {
                depth -= 1;
                if depth == 0 {
                    return Some(i);
                }
            }
            _ => {}
        }
    }
    None
}
