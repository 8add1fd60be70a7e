//! Token rewrites of Flink's forms, which `sqlparser` cannot parse.
//!
//! - `TUMBLE(TABLE t, DESCRIPTOR(ts), size)`, also inside `TABLE(...)`, loses the words TABLE and DESCRIPTOR
//!   with their parentheses.
//! - `PARTITION BY` in `SESSION(t PARTITION BY k, ts, gap)` becomes a comma.
//! - LATERAL before a call in FROM is dropped: the call sees the tables before it anyway.
//! - Joins as of a time are marked ([`super::temporal`]), options of `*` too ([`super::wildcard`]).
//!
//! Every other token keeps its span, so later mistakes still point into the file. Constructs of streaming
//! dialects that this release does not support, and that `sqlparser` would report at another place, are
//! refused here by name.

use datafusion_sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::mistake::Mistake;
use crate::sql::parse::cursor::{Context, Read};
use crate::sql::parse::tokens::{begin_with, closing_paren, is_any_word, is_token_at, is_word, is_word_at};

/// Rewrites the tokens of a query.
pub fn rewrite(context: &Context<'_>, mut tokens: Vec<TokenWithSpan>) -> Read<Vec<TokenWithSpan>> {
    for (i, token) in tokens.iter().enumerate() {
        if let Some((message, hint)) = unsupported_construct(&tokens, i) {
            return Err(Mistake::new(context.pos(token.span.start), message).hint(hint));
        }
    }
    let mut dropped = vec![false; tokens.len()];
    for i in 0..tokens.len() {
        // A call in FROM sees the tables before it with and without LATERAL.
        let called = is_token_at(&tokens, i + 2, &Token::LParen);
        dropped[i] |= is_bare_from(&tokens, i);
        dropped[i] |=
            is_word(&tokens[i].token, "lateral") && called && matches!(tokens[i + 1].token, Token::Word(_));
        if !is_window(&tokens[i..]) {
            continue;
        }
        // `TABLE ( TUMBLE ( ... ) )`.
        if i >= 2
            && is_word(&tokens[i - 2].token, "table")
            && let Some(end) = closing_paren(&tokens, i - 1)
        {
            dropped[i - 2] = true;
            dropped[i - 1] = true;
            dropped[end] = true;
        }
        // Without a closing parenthesis the parser reports the mistake.
        let Some(end) = closing_paren(&tokens, i + 1) else { continue };
        if is_word_at(&tokens, i + 2, "table") {
            dropped[i + 2] = true;
        }
        for j in i + 2..end {
            if is_word(&tokens[j].token, "partition") && is_word(&tokens[j + 1].token, "by") {
                tokens[j].token = Token::Comma;
                dropped[j + 1] = true;
            }
            if let (true, Some(close)) =
                (is_word(&tokens[j].token, "descriptor"), closing_paren(&tokens, j + 1))
            {
                dropped[j] = true;
                dropped[j + 1] = true;
                dropped[close] = true;
            }
        }
    }
    let mut kept = Vec::with_capacity(tokens.len());
    for (token, dropped) in tokens.into_iter().zip(dropped) {
        if !dropped {
            kept.push(token);
        }
    }
    Ok(super::temporal::rewrite_tokens(super::wildcard::rewrite_tokens(kept)))
}

/// Tells whether `at` is a FROM without characters to trim: `TRIM(FROM s)`, `TRIM(BOTH FROM s)`.
fn is_bare_from(tokens: &[TokenWithSpan], at: usize) -> bool {
    let before = match &tokens[..at] {
        [before @ .., side] if is_any_word(&side.token, &["leading", "trailing", "both"]) => before,
        before => before,
    };
    let [.., trim, open] = before else { return false };
    is_word(&tokens[at].token, "from") && open.token == Token::LParen && is_word(&trim.token, "trim")
}

/// Tells whether `TUMBLE(`, `HOP(` or `SESSION(` begins here.
fn is_window(rest: &[TokenWithSpan]) -> bool {
    is_any_word(&rest[0].token, &["tumble", "hop", "session"]) && is_token_at(rest, 1, &Token::LParen)
}

/// Unsupported construct that begins at a token: message and hint.
fn unsupported_construct(tokens: &[TokenWithSpan], at: usize) -> Option<(&'static str, &'static str)> {
    let (before, rest) = tokens.split_at(at);
    let called = is_token_at(rest, 1, &Token::LParen);
    if begin_with(rest, &["cumulate"]) && called && before.last().is_none_or(precedes_table) {
        return Some((
            "CUMULATE windows are not supported",
            "write TUMBLE(t, ts, size) or HOP(t, ts, slide, size)",
        ));
    }
    let proctime = begin_with(rest, &["for", "system_time", "as", "of", "proctime"])
        && is_token_at(rest, 5, &Token::LParen);
    if begin_with(rest, &["for", "system_time"]) && !proctime {
        return Some((
            "FOR SYSTEM_TIME AS OF a time is not supported",
            "write FOR SYSTEM_TIME AS OF PROCTIME(), or ASOF JOIN for the row that was valid at a time",
        ));
    }
    if begin_with(rest, &["match_recognize"]) && called {
        return Some(("MATCH_RECOGNIZE is not supported", "write a join or an aggregate"));
    }
    None
}

/// Tells whether a table of FROM may stand behind a token.
fn precedes_table(before: &TokenWithSpan) -> bool {
    matches!(before.token, Token::Comma | Token::LParen)
        || is_any_word(&before.token, &["from", "join", "lateral"])
}
