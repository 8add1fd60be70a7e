//! Tokens: words, names folded to lower case, and closing parentheses.

use datafusion_sql::sqlparser::tokenizer::{Token, TokenWithSpan};

/// Tells whether a token is `word`, unquoted, in any case.
pub fn is_word(token: &Token, word: &str) -> bool {
    matches!(token, Token::Word(w) if w.quote_style.is_none() && w.value.eq_ignore_ascii_case(word))
}

/// Folds an identifier to lower case unless it is quoted.
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
