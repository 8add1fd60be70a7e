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
use crate::sql::parse::tokens::{closing_paren, is_word};

/// Rewrites the tokens of a query.
pub fn rewrite(context: &Context<'_>, mut tokens: Vec<TokenWithSpan>) -> Read<Vec<TokenWithSpan>> {
    for i in 0..tokens.len() {
        if let Some((message, hint)) =
            unsupported_construct(&tokens[i..], i.checked_sub(1).map(|p| &tokens[p].token))
        {
            return Err(Mistake::new(context.pos(tokens[i].span.start), message).hint(hint));
        }
    }
    let mut dropped = vec![false; tokens.len()];
    for i in 0..tokens.len() {
        // A call in FROM sees the tables before it with and without LATERAL.
        let called = tokens.get(i + 2).is_some_and(|t| t.token == Token::LParen);
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
        if tokens.get(i + 2).is_some_and(|t| is_word(&t.token, "table")) {
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
    let kept = tokens.into_iter().zip(dropped).filter(|(_, drop)| !drop).map(|(token, _)| token).collect();
    Ok(super::temporal::rewrite_tokens(super::wildcard::rewrite_tokens(kept)))
}

/// Tells whether `at` is a FROM without characters to trim: `TRIM(FROM s)`, `TRIM(BOTH FROM s)`.
fn is_bare_from(tokens: &[TokenWithSpan], at: usize) -> bool {
    let word = |back: usize, text: &str| at >= back && is_word(&tokens[at - back].token, text);
    let opens = |back: usize| at >= back && tokens[at - back].token == Token::LParen;
    let side = ["leading", "trailing", "both"].iter().any(|side| word(1, side));
    word(0, "from") && ((opens(1) && word(2, "trim")) || (side && opens(2) && word(3, "trim")))
}

/// Tells whether `TUMBLE(`, `HOP(` or `SESSION(` begins here.
fn is_window(rest: &[TokenWithSpan]) -> bool {
    ["tumble", "hop", "session"].iter().any(|window| is_word(&rest[0].token, window))
        && rest.get(1).is_some_and(|t| t.token == Token::LParen)
}

/// Unsupported construct that begins here: message and hint.
fn unsupported_construct(
    rest: &[TokenWithSpan],
    before: Option<&Token>,
) -> Option<(&'static str, &'static str)> {
    let word = |i: usize, text: &str| rest.get(i).is_some_and(|t| is_word(&t.token, text));
    let opens = |i: usize| rest.get(i).is_some_and(|t| t.token == Token::LParen);
    let in_from = before.is_none_or(|t| {
        matches!(t, Token::Comma | Token::LParen)
            || is_word(t, "from")
            || is_word(t, "join")
            || is_word(t, "lateral")
    });
    if word(0, "cumulate") && opens(1) && in_from {
        return Some((
            "CUMULATE windows are not supported",
            "write TUMBLE(t, ts, size) or HOP(t, ts, slide, size)",
        ));
    }
    let proctime = word(2, "as") && word(3, "of") && word(4, "proctime") && opens(5);
    if word(0, "for") && word(1, "system_time") && !proctime {
        return Some((
            "FOR SYSTEM_TIME AS OF a time is not supported",
            "write FOR SYSTEM_TIME AS OF PROCTIME(), or ASOF JOIN for the row that was valid at a time",
        ));
    }
    if word(0, "match_recognize") && opens(1) {
        return Some(("MATCH_RECOGNIZE is not supported", "write a join or an aggregate"));
    }
    None
}
