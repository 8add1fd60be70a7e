//! Token rewrite of struct values of other dialects: `STRUCT(a AS x)`, `{'x': a}`.
//!
//! Both become `named_struct('x', a)` before parsing. `MAP {...}` becomes a call of `map`, which is refused
//! later with a hint.

use std::collections::VecDeque;

use datafusion_sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::sql::parse::tokens::is_word;

/// Rewrites such values to calls of `named_struct`.
pub fn rewrite_structs(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut calls = StructCalls { out: Vec::with_capacity(tokens.len()), open: vec![] };
    for (at, token) in tokens.iter().enumerate() {
        match &token.token {
            Token::LBrace => calls.open_brace(token),
            Token::LParen => calls.open_paren(token, &tokens[at + 1..]),
            Token::LBracket => calls.open_other(token),
            Token::RParen | Token::RBracket => calls.close_bracket(token),
            Token::RBrace => {
                calls.open.pop();
                calls.push(token, Token::RParen);
            }
            Token::Comma => calls.next_item(token),
            Token::Colon => calls.end_name(token),
            _ => calls.out.push(token.clone()),
        }
    }
    calls.out
}

/// Tokens written so far, and the brackets that are open.
struct StructCalls {
    out: Vec<TokenWithSpan>,
    open: Vec<OpenBracket>,
}

impl StructCalls {
    fn push(&mut self, at: &TokenWithSpan, token: Token) {
        self.out.push(TokenWithSpan::new(token, at.span));
    }

    fn is_behind(&self, word: &str) -> bool {
        self.out.last().is_some_and(|t| is_word(&t.token, word))
    }

    /// Handles `{`: a struct, or the argument of MAP.
    fn open_brace(&mut self, token: &TokenWithSpan) {
        if !self.is_behind("map") {
            self.push(token, Token::make_word(NAMED, None));
        }
        self.push(token, Token::LParen);
        self.open.push(OpenBracket::Brace { named: false });
    }

    /// Handles `(`, which may be that of `STRUCT(a AS x)`.
    fn open_paren(&mut self, token: &TokenWithSpan, rest: &[TokenWithSpan]) {
        let names = if self.is_behind("struct") { field_names(rest) } else { None };
        let Some(mut names) = names else { return self.open_other(token) };
        if let Some(word) = self.out.last_mut() {
            word.token = Token::make_word(NAMED, None);
        }
        self.out.push(token.clone());
        let first = names.pop_front();
        self.write_name(token, first);
        self.open.push(OpenBracket::Struct { names });
    }

    /// Handles any other opening bracket.
    fn open_other(&mut self, token: &TokenWithSpan) {
        self.open.push(OpenBracket::Other);
        self.out.push(token.clone());
    }

    /// Handles the end of a bracket. Before that of a struct, `AS name` is removed: the last two tokens.
    fn close_bracket(&mut self, token: &TokenWithSpan) {
        if let Some(OpenBracket::Struct { .. }) = self.open.pop() {
            self.out.truncate(self.out.len().saturating_sub(2));
        }
        self.out.push(token.clone());
    }

    /// Handles a comma: in a struct, removes `AS name` and writes the name of the next field.
    fn next_item(&mut self, token: &TokenWithSpan) {
        let next = match self.open.last_mut() {
            Some(OpenBracket::Struct { names }) => {
                self.out.truncate(self.out.len().saturating_sub(2));
                names.pop_front()
            }
            Some(OpenBracket::Brace { named }) => {
                *named = false;
                None
            }
            _ => None,
        };
        self.out.push(token.clone());
        self.write_name(token, next);
    }

    /// Handles `:`, behind the name of a field or elsewhere.
    fn end_name(&mut self, token: &TokenWithSpan) {
        match (self.open.last_mut(), self.out.last_mut()) {
            (Some(OpenBracket::Brace { named }), Some(name)) if !*named => {
                *named = true;
                name.token = name_as_text(&name.token);
                self.push(token, Token::Comma);
            }
            _ => self.out.push(token.clone()),
        }
    }

    /// Writes the name of a field before its value.
    fn write_name(&mut self, at: &TokenWithSpan, name: Option<Token>) {
        if let Some(name) = name {
            self.push(at, name);
            self.push(at, Token::Comma);
        }
    }
}

/// Function that makes a struct of names and values.
const NAMED: &str = "named_struct";

/// Kind of an open bracket.
enum OpenBracket {
    /// `{`; `named` is set once the name of the current field has been read.
    Brace { named: bool },
    /// The bracket of `STRUCT(... AS name)`, with the names of the fields still to be written.
    Struct { names: VecDeque<Token> },
    /// Any other bracket.
    Other,
}

/// Turns a name into a string literal.
fn name_as_text(token: &Token) -> Token {
    match token {
        Token::Word(word) => {
            Token::SingleQuotedString(crate::sql::parse::tokens::fold(&word.value, word.quote_style))
        }
        other => other.clone(),
    }
}

/// Names of the arguments up to the closing bracket; None unless each of them ends with `AS name`.
fn field_names(tokens: &[TokenWithSpan]) -> Option<VecDeque<Token>> {
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
        names.push_back(name_as_text(&name.token));
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
            let tokens = rewrite_structs(tokens);
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
