//! Token rewrite of lambdas in calls of array functions: `x -> expr`, `(x) -> expr`, `|x| expr`, `lambda x:
//! expr`.
//!
//! `sqlparser` reads `->` as JSONB's operator, with its precedence. Where an argument of a function that
//! takes a lambda begins with a name and an arrow, its tokens therefore become a call before parsing:
//! `array_filter(a, x -> x > 1)` is `array_filter(a, herald_lambda(x, x > 1))`.

use datafusion_sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::sql::parse::tokens::{is_any_word, is_token_at, is_word, with_span_of};

/// Name of the call that a lambda becomes; its arguments are the parameters and then the expression.
pub const LAMBDA: &str = "herald_lambda";

/// Functions that take a lambda.
pub const FUNCTIONS: [&str; 22] = [
    "array_transform",
    "list_transform",
    "transform",
    "array_apply",
    "list_apply",
    "array_filter",
    "list_filter",
    "filter",
    "array_exists",
    "array_any_match",
    "list_any_match",
    "any_match",
    "array_all_match",
    "list_all_match",
    "all_match",
    "array_none_match",
    "none_match",
    "array_first",
    "list_first",
    "array_find",
    "array_sort",
    "list_sort",
];

/// State of an open bracket.
#[derive(Clone, Copy, Default)]
struct LambdaBracket {
    /// Set when it is the bracket of a function that takes a lambda.
    takes: bool,
    /// Set when a lambda in it is not closed yet.
    lambda: bool,
}

/// Rewrites lambdas to calls of [`LAMBDA`].
pub fn rewrite_lambdas(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    let mut open: Vec<LambdaBracket> = Vec::new();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        match &token.token {
            Token::LParen => {
                let takes = out.last().is_some_and(|t| is_any_word(&t.token, &FUNCTIONS));
                open.push(LambdaBracket { takes, lambda: false });
            }
            Token::LBracket | Token::LBrace => open.push(LambdaBracket::default()),
            Token::RParen | Token::RBracket | Token::RBrace => {
                let ends_lambda = open.pop().is_some_and(|own| own.lambda);
                if ends_lambda {
                    out.push(with_span_of(token, Token::RParen));
                }
            }
            Token::Comma => {
                if let Some(own) = open.last_mut() {
                    if std::mem::take(&mut own.lambda) {
                        out.push(with_span_of(token, Token::RParen));
                    }
                    if own.takes
                        && let Some((names, after)) = read_parameters(&tokens[at + 1..])
                    {
                        own.lambda = true;
                        out.push(token.clone());
                        open_call(&mut out, names);
                        at += after + 1;
                        continue;
                    }
                }
            }
            _ => {}
        }
        out.push(token.clone());
        at += 1;
    }
    out
}

/// Writes the beginning of the call, `herald_lambda(x, y, `.
fn open_call(out: &mut Vec<TokenWithSpan>, names: Vec<&TokenWithSpan>) {
    let Some(first) = names.first() else { return };
    out.push(with_span_of(first, Token::make_word(LAMBDA, None)));
    out.push(with_span_of(first, Token::LParen));
    for name in names {
        out.push(name.clone());
        out.push(with_span_of(name, Token::Comma));
    }
}

/// Parameters of a lambda that begins here, and the index at which its expression begins.
fn read_parameters(tokens: &[TokenWithSpan]) -> Option<(Vec<&TokenWithSpan>, usize)> {
    let first = tokens.first()?;
    if is_word(&first.token, "lambda") && name_at(tokens, 1).is_some() {
        let (names, end) = read_names(&tokens[1..])?;
        return is_token_at(tokens, end + 1, &Token::Colon).then_some((names, end + 2));
    }
    match &first.token {
        Token::Word(_) if is_token_at(tokens, 1, &Token::Arrow) => Some((vec![first], 2)),
        Token::LParen => {
            let (names, end) = read_names(&tokens[1..])?;
            let closed = is_token_at(tokens, end + 1, &Token::RParen);
            (closed && is_token_at(tokens, end + 2, &Token::Arrow)).then_some((names, end + 3))
        }
        Token::Pipe => {
            let (names, end) = read_names(&tokens[1..])?;
            is_token_at(tokens, end + 1, &Token::Pipe).then_some((names, end + 2))
        }
        _ => None,
    }
}

/// Reads names separated by commas: the names, and the index behind the last.
fn read_names(tokens: &[TokenWithSpan]) -> Option<(Vec<&TokenWithSpan>, usize)> {
    let mut names = Vec::new();
    let mut at = 0;
    loop {
        names.push(name_at(tokens, at)?);
        at += 1;
        match tokens.get(at) {
            Some(t) if t.token == Token::Comma => at += 1,
            _ => return Some((names, at)),
        }
    }
}

/// Token `at`, if it is a name.
fn name_at(tokens: &[TokenWithSpan], at: usize) -> Option<&TokenWithSpan> {
    tokens.get(at).filter(|t| matches!(t.token, Token::Word(_)))
}

#[cfg(test)]
mod tests {
    use datafusion_sql::sqlparser::dialect::{GenericDialect, PostgreSqlDialect};
    use datafusion_sql::sqlparser::parser::Parser;
    use datafusion_sql::sqlparser::tokenizer::Tokenizer;

    use super::*;

    fn parsed(text: &str) -> String {
        let mut tokens = Tokenizer::new(&GenericDialect {}, text).tokenize_with_location().unwrap();
        tokens.retain(|t| !matches!(t.token, Token::Whitespace(_)));
        let mut parser =
            Parser::new(&PostgreSqlDialect {}).with_tokens_with_locations(rewrite_lambdas(tokens));
        parser.parse_expr().unwrap().to_string()
    }

    #[test]
    fn lambdas_become_calls() {
        let cases = [
            ("array_filter(a, x -> x > 1)", "array_filter(a, herald_lambda(x, x > 1))"),
            ("any_match(a, (x) -> x -> 'k' = 1)", "any_match(a, herald_lambda(x, x -> 'k' = 1))"),
            ("list_transform(a, |x| x | 1)", "list_transform(a, herald_lambda(x, x | 1))"),
            ("array_transform(a, lambda x: (x, 1))", "array_transform(a, herald_lambda(x, (x, 1)))"),
            ("transform(a, (x, i) -> x)", "transform(a, herald_lambda(x, i, x))"),
            (
                "transform(a, x -> filter(b, y -> y = x)) || c",
                "transform(a, herald_lambda(x, filter(b, herald_lambda(y, y = x)))) || c",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(parsed(text), expected);
        }
    }

    #[test]
    fn an_arrow_elsewhere_is_jsonb() {
        for text in
            ["f(a, x -> 'k')", "array_filter(j -> 'k', x)", "j -> k", "count(*) FILTER (WHERE j -> 'a')"]
        {
            assert_eq!(parsed(text), text);
        }
    }
}
