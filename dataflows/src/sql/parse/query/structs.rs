//! Values of several fields, as other dialects write them: `STRUCT(a AS x)`, `{'x': a}`.
//!
//! Both become `named_struct('x', a)` before anything is parsed. `MAP {...}` becomes the call of a function
//! that there is not, which says what to write.

use std::collections::VecDeque;

use datafusion_sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::sql::parse::cursor::is_word;

/// Tokens with such values as calls.
pub fn calls(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut calls = Calls { out: Vec::with_capacity(tokens.len()), open: vec![] };
    for (at, token) in tokens.iter().enumerate() {
        match &token.token {
            Token::LBrace => calls.brace(token),
            Token::LParen => calls.bracket(token, &tokens[at + 1..]),
            Token::LBracket => calls.other(token),
            Token::RParen | Token::RBracket => calls.closed(token),
            Token::RBrace => {
                calls.open.pop();
                calls.push(token, Token::RParen);
            }
            Token::Comma => calls.comma(token),
            Token::Colon => calls.colon(token),
            _ => calls.out.push(token.clone()),
        }
    }
    calls.out
}

/// Tokens written so far.
struct Calls {
    out: Vec<TokenWithSpan>,
    open: Vec<Open>,
}

impl Calls {
    fn push(&mut self, at: &TokenWithSpan, token: Token) {
        self.out.push(TokenWithSpan::new(token, at.span));
    }

    fn is_behind(&self, word: &str) -> bool {
        self.out.last().is_some_and(|t| is_word(&t.token, word))
    }

    /// `{`: a struct, or the argument of MAP.
    fn brace(&mut self, token: &TokenWithSpan) {
        if !self.is_behind("map") {
            self.push(token, Token::make_word(NAMED, None));
        }
        self.push(token, Token::LParen);
        self.open.push(Open::Brace { named: false });
    }

    /// `(`, perhaps that of `STRUCT(a AS x)`.
    fn bracket(&mut self, token: &TokenWithSpan, rest: &[TokenWithSpan]) {
        let names = if self.is_behind("struct") { names(rest) } else { None };
        let Some(mut names) = names else { return self.other(token) };
        if let Some(word) = self.out.last_mut() {
            word.token = Token::make_word(NAMED, None);
        }
        self.out.push(token.clone());
        let first = names.pop_front();
        self.begin(token, first);
        self.open.push(Open::Struct { names });
    }

    fn other(&mut self, token: &TokenWithSpan) {
        self.open.push(Open::Other);
        self.out.push(token.clone());
    }

    /// The end of a bracket; `AS name` stands in front of that of a struct.
    fn closed(&mut self, token: &TokenWithSpan) {
        if let Some(Open::Struct { .. }) = self.open.pop() {
            self.out.truncate(self.out.len().saturating_sub(2));
        }
        self.out.push(token.clone());
    }

    fn comma(&mut self, token: &TokenWithSpan) {
        let next = match self.open.last_mut() {
            Some(Open::Struct { names }) => {
                self.out.truncate(self.out.len().saturating_sub(2));
                names.pop_front()
            }
            Some(Open::Brace { named }) => {
                *named = false;
                None
            }
            _ => None,
        };
        self.out.push(token.clone());
        self.begin(token, next);
    }

    /// `:`, behind the name of a field or elsewhere.
    fn colon(&mut self, token: &TokenWithSpan) {
        match (self.open.last_mut(), self.out.last_mut()) {
            (Some(Open::Brace { named }), Some(name)) if !*named => {
                *named = true;
                name.token = text(&name.token);
                self.push(token, Token::Comma);
            }
            _ => self.out.push(token.clone()),
        }
    }

    /// The name of a field in front of its value.
    fn begin(&mut self, at: &TokenWithSpan, name: Option<Token>) {
        if let Some(name) = name {
            self.push(at, name);
            self.push(at, Token::Comma);
        }
    }
}

/// The function that makes a struct of names and values.
const NAMED: &str = "named_struct";

/// A bracket that is open.
enum Open {
    /// `{`, and whether the name of the field at hand was read.
    Brace { named: bool },
    /// That of `STRUCT(... AS name)`, and the names that are to come.
    Struct { names: VecDeque<Token> },
    /// Any other.
    Other,
}

/// A name as text.
fn text(token: &Token) -> Token {
    match token {
        Token::Word(word) => {
            Token::SingleQuotedString(crate::sql::parse::cursor::fold(&word.value, word.quote_style))
        }
        other => other.clone(),
    }
}

/// The names of arguments up to the closing bracket, where each of them ends with `AS name`.
fn names(tokens: &[TokenWithSpan]) -> Option<VecDeque<Token>> {
    let (mut names, mut depth) = (VecDeque::new(), 0usize);
    for (at, token) in tokens.iter().enumerate() {
        let ends = match &token.token {
            Token::LParen | Token::LBracket | Token::LBrace => {
                depth += 1;
                false
            }
            Token::RParen | Token::RBracket | Token::RBrace if depth > 0 => {
                depth -= 1;
                false
            }
            Token::RParen | Token::Comma => depth == 0,
            _ => false,
        };
        if !ends {
            continue;
        }
        let [.., word, name] = &tokens[..at] else { return None };
        if !is_word(&word.token, "as") || !matches!(name.token, Token::Word(_)) {
            return None;
        }
        names.push_back(text(&name.token));
        if token.token == Token::RParen {
            return Some(names);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use datafusion_sql::sqlparser::dialect::{GenericDialect, PostgreSqlDialect};
    use datafusion_sql::sqlparser::parser::Parser;
    use datafusion_sql::sqlparser::tokenizer::Tokenizer;

    use super::*;

    #[test]
    fn structs_become_calls() {
        let cases = [
            ("STRUCT(a + 1 AS x, f(b, c) AS \"Y\")", "named_struct('x', a + 1, 'Y', f(b, c))"),
            ("{'a': 1, b: {'c': x::INT}}", "named_struct('a', 1, 'b', named_struct('c', x::INT))"),
            ("STRUCT(STRUCT(1 AS a) AS b)", "named_struct('b', named_struct('a', 1))"),
            ("struct(a, b)", "struct(a, b)"),
            ("STRUCT(a, b AS c)", "STRUCT(a, b AS c)"),
            ("MAP {'a': 1}", "MAP('a', 1)"),
            ("CAST(a AS INT)", "CAST(a AS INT)"),
        ];
        for (text, expected) in cases {
            let mut tokens = Tokenizer::new(&GenericDialect {}, text).tokenize_with_location().unwrap();
            tokens.retain(|t| !matches!(t.token, Token::Whitespace(_)));
            let tokens = calls(tokens);
            let Ok(parsed) =
                Parser::new(&PostgreSqlDialect {}).with_tokens_with_locations(tokens).parse_expr()
            else {
                assert_eq!(text, expected, "{text}");
                continue;
            };
            assert_eq!(parsed.to_string(), expected);
        }
    }
}
