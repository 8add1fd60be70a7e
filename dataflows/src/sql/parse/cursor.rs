//! Cursor over the tokens of a statement, read from left to right.
//!
//! Herald's own clauses are read token by token here, so that every refusal can name the expected
//! token and its place; expressions and queries go to `sqlparser` on exactly the tokens that belong
//! to them, with their spans, and its errors are translated. Text is tokenised by the generic
//! rules (so `>-1` is two tokens) and parsed by PostgreSQL's (so `->` is JSON access).

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use arrow::datatypes::Field;
use datafusion_sql::sqlparser::ast::{self as sql, Spanned};
use datafusion_sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion_sql::sqlparser::parser::{Parser, ParserError};
use datafusion_sql::sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan};

use super::ast::Name;
use super::query::{jsonb, lambda, reading, structs};
use super::tokens::{begin_with, fold, is_any_word, is_visible, is_word};
use crate::mistake::{Mistake, Pos};
use crate::plan::sources::is_second;

/// Result of reading a piece of a statement.
pub type Read<T> = Result<T, Mistake>;

/// Surroundings of a statement: its file, environment variables and readable files.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// Index of the file.
    pub file: usize,
    /// Text of the file.
    pub text: &'a str,
    /// Looks up an environment variable.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// Reads a file named by `${file:...}`.
    pub read_file: &'a dyn Fn(&str) -> std::io::Result<String>,
    /// Facts that all files of the topology share.
    pub shared: &'a Shared,
}

/// Facts of a topology that statements before this one have told, in whichever file.
#[derive(Debug, Default)]
pub struct Shared {
    /// Variables that are not set and were reported.
    pub unset: RefCell<BTreeSet<String>>,
    /// Types by name, as nullable fields; the fields of STRUCTs for the most part.
    pub types: RefCell<BTreeMap<String, Field>>,
}

impl Context<'_> {
    /// Position of a location in this file.
    pub fn pos(&self, at: Location) -> Pos {
        Pos { file: self.file, line: at.line, column: at.column }
    }

    /// Text of a span, as written.
    pub fn slice(&self, span: Span) -> &str {
        let (start, end) = (self.byte_offset(span.start), self.byte_offset(span.end));
        self.text.get(start..end).unwrap_or("")
    }

    /// Byte offset of a location, whose line and column count from 1.
    fn byte_offset(&self, at: Location) -> usize {
        let skip = usize::try_from(at.line.saturating_sub(1)).unwrap_or(usize::MAX);
        let columns = usize::try_from(at.column.saturating_sub(1)).unwrap_or(usize::MAX);
        let line = match skip {
            0 => 0,
            _ => match self.text.match_indices('\n').nth(skip - 1) {
                Some((end, _)) => end + 1,
                None => self.text.len(),
            },
        };
        match self.text[line..].char_indices().nth(columns) {
            Some((offset, _)) => line + offset,
            None => self.text.len(),
        }
    }
}

/// Tokens of one statement and the index of the next one to read.
pub struct Cursor<'a> {
    /// Surroundings of the statement.
    pub context: Context<'a>,
    /// Set if the statement needs a variable that is not set, as another one was told of.
    pub lacks_variable: bool,
    tokens: Vec<TokenWithSpan>,
    at: usize,
    end: Location,
}

/// Words that cannot be names unless quoted: where a name is missing, the next clause would become it.
const RESERVED: &[&str] = &[
    "all",
    "and",
    "as",
    "check",
    "constraint",
    "create",
    "distinct",
    "from",
    "group",
    "having",
    "into",
    "join",
    "not",
    "null",
    "on",
    "or",
    "order",
    "select",
    "table",
    "union",
    "where",
    "with",
];

impl<'a> Cursor<'a> {
    /// Starts at the first of `tokens` (no white space among them); `end` is the place of a missing token.
    pub fn new(context: Context<'a>, tokens: Vec<TokenWithSpan>, end: Location) -> Cursor<'a> {
        Cursor { context, lacks_variable: false, tokens, at: 0, end }
    }

    /// Token `ahead` of the next one.
    pub fn peek_at(&self, ahead: usize) -> Option<&TokenWithSpan> {
        self.tokens.get(self.at + ahead)
    }

    /// The next token.
    pub fn peek(&self) -> Option<&Token> {
        self.peek_at(0).map(|t| &t.token)
    }

    /// The tokens from the next one on; None at the end.
    pub fn rest(&self) -> Option<&[TokenWithSpan]> {
        self.tokens.get(self.at..).filter(|rest| !rest.is_empty())
    }

    /// Takes the next token.
    pub fn bump(&mut self) -> Option<TokenWithSpan> {
        let token = self.peek_at(0).cloned();
        self.at = (self.at + 1).min(self.tokens.len());
        token
    }

    /// Position of the next token.
    pub fn pos(&self) -> Pos {
        self.pos_of(self.at)
    }

    /// Position of the token of that index, or of the end of the statement.
    fn pos_of(&self, index: usize) -> Pos {
        match self.tokens.get(index) {
            Some(token) => self.context.pos(token.span.start),
            None => self.context.pos(self.end),
        }
    }

    /// Index of the next token.
    pub fn index(&self) -> usize {
        self.at
    }

    /// Moves behind the `>` that closes the `<` before token `start`, or to an unmatched `)` that comes
    /// first.
    pub fn skip_angles(&mut self, start: usize) {
        let (mut angles, mut brackets) = (1usize, 0usize);
        self.at = start;
        while let Some(token) = self.peek() {
            match token {
                Token::Lt => angles += 1,
                Token::Gt => angles = angles.saturating_sub(1),
                Token::ShiftRight => angles = angles.saturating_sub(2),
                Token::LParen => brackets += 1,
                Token::RParen if brackets == 0 => return,
                Token::RParen => brackets -= 1,
                _ => {}
            }
            self.at += 1;
            if angles == 0 {
                return;
            }
        }
    }

    /// Moves to the token of that index.
    pub fn seek(&mut self, index: usize) {
        self.at = index.min(self.tokens.len());
    }

    /// Next token as messages name it.
    pub fn describe_next(&self) -> String {
        self.describe(self.at)
    }

    /// Token of that index as messages name it.
    fn describe(&self, index: usize) -> String {
        match self.tokens.get(index) {
            Some(token) => format!("`{}`", token.token),
            None => "the end of the statement".to_owned(),
        }
    }

    /// Refusal of the next token.
    pub fn expected(&self, what: &str) -> Mistake {
        Mistake::new(self.pos(), format!("expected {what}, found {}", self.describe_next()))
    }

    /// Tells whether the words come next, unquoted, in any case.
    pub fn peek_words(&self, words: &[&str]) -> bool {
        begin_with(self.tokens.get(self.at..).unwrap_or_default(), words)
    }

    /// Takes the words if they come next.
    pub fn take_words(&mut self, words: &[&str]) -> bool {
        let found = self.peek_words(words);
        if found {
            self.at += words.len();
        }
        found
    }

    /// Takes a word or refuses.
    pub fn expect_word(&mut self, word: &str) -> Read<()> {
        if self.take_words(&[word]) { Ok(()) } else { Err(self.expected(&word.to_uppercase())) }
    }

    /// Takes a token if it comes next.
    pub fn take_token(&mut self, token: &Token) -> bool {
        let found = self.peek() == Some(token);
        if found {
            self.at += 1;
        }
        found
    }

    /// Takes a token or refuses.
    pub fn expect(&mut self, token: &Token) -> Read<()> {
        if self.take_token(token) { Ok(()) } else { Err(self.expected(&format!("`{token}`"))) }
    }

    /// Takes an identifier.
    pub fn take_name(&mut self, what: &str) -> Read<Name> {
        let pos = self.pos();
        match self.peek() {
            Some(Token::Word(w)) => {
                let folded = fold(&w.value, w.quote_style);
                if w.quote_style.is_none() && RESERVED.contains(&folded.as_str()) {
                    let hint = format!("{0} is a word of SQL: write \"{folded}\" for the name", w.value);
                    return Err(self.expected(what).maybe_hint(what.starts_with("a column").then_some(hint)));
                }
                if folded.is_empty() {
                    return Err(Mistake::new(pos, "an empty name"));
                }
                self.at += 1;
                Ok(Name { text: folded, pos })
            }
            _ => Err(self.expected(what)),
        }
    }

    /// Takes the name of a relation: one identifier, no schema.
    pub fn relation_name(&mut self, what: &str) -> Read<Name> {
        let name = self.take_name(what)?;
        if self.peek() == Some(&Token::Period) {
            return Err(Mistake::new(name.pos, format!("{what} has no schema: found `{}.`", name.text))
                .hint("write the name alone, or quote a name that contains a dot"));
        }
        if is_second(&name.text) {
            let of_herald =
                format!("`{}` is the name of a source that Herald reads a second time", name.text);
            return Err(
                Mistake::new(name.pos, of_herald).hint("choose one that does not end with ` (again)`")
            );
        }
        Ok(name)
    }

    /// Takes `(a, b, ...)`.
    pub fn name_list(&mut self, what: &str) -> Read<Vec<Name>> {
        self.expect(&Token::LParen)?;
        let mut names = vec![self.take_name(what)?];
        while self.take_token(&Token::Comma) {
            names.push(self.take_name(what)?);
        }
        self.expect(&Token::RParen)?;
        Ok(names)
    }

    /// Takes a single-quoted string.
    pub fn take_string(&mut self, what: &str) -> Read<String> {
        match self.peek() {
            Some(Token::SingleQuotedString(s)) => {
                let s = s.clone();
                self.at += 1;
                Ok(s)
            }
            _ => Err(self.expected(what)),
        }
    }

    /// Takes one `>`, splitting the `>>` that closes nested STRUCT types.
    pub fn close_angle(&mut self) -> Read<()> {
        if let Some(TokenWithSpan { token, span }) = self.tokens.get_mut(self.at)
            && *token == Token::ShiftRight
        {
            // The first `>` is taken, and the token becomes the second.
            span.start.column += 1;
            *token = Token::Gt;
            return Ok(());
        }
        self.expect(&Token::Gt)
    }

    /// Index of the first token from here on, outside any brackets, for which `stop` holds; a
    /// closing bracket of an outer pair stops too.
    pub fn find_token(&self, stop: impl Fn(&[TokenWithSpan]) -> bool) -> usize {
        let mut depth = 0usize;
        for i in self.at..self.tokens.len() {
            if depth == 0 && stop(&self.tokens[i..]) {
                return i;
            }
            match self.tokens[i].token {
                Token::LParen | Token::LBracket | Token::LBrace => depth += 1,
                Token::RParen | Token::RBracket | Token::RBrace if depth == 0 => return i,
                Token::RParen | Token::RBracket | Token::RBrace => depth -= 1,
                _ => {}
            }
        }
        self.tokens.len()
    }

    /// Index of the next comma outside any brackets, or of a closing bracket of an outer pair before it.
    pub fn find_comma(&self) -> usize {
        self.find_token(|rest| rest[0].token == Token::Comma)
    }

    /// Index of the token that closes the bracket just opened.
    pub fn find_closing(&self) -> usize {
        self.find_token(|_| false)
    }

    /// Takes the tokens up to `end`, exclusive, and the span they cover.
    pub fn take_until(&mut self, end: usize) -> (Vec<TokenWithSpan>, Span) {
        let taken = self.tokens[self.at.min(end)..end].to_vec();
        let span = match (taken.first(), taken.last()) {
            (Some(first), Some(last)) => Span::new(first.span.start, last.span.end),
            _ => Span::empty(),
        };
        self.at = end;
        (taken, span)
    }

    /// Takes `( expression )`: the expression, and its text without the parentheses.
    pub fn parenthesised_expr(&mut self) -> Read<(sql::Expr, String)> {
        self.expect(&Token::LParen)?;
        let end = self.find_closing();
        let parsed = self.expr_until(end)?;
        self.expect(&Token::RParen)?;
        Ok(parsed)
    }

    /// Takes an expression that fills the tokens up to `end`, and its text.
    pub fn expr_until(&mut self, end: usize) -> Read<(sql::Expr, String)> {
        let (stop, found) = (self.pos_of(end), self.describe(end));
        let (tokens, span) = self.take_until(end);
        let mut expr = run_sqlparser(&self.context, tokens, (stop, &found), |parser| parser.parse_expr())?;
        reading::correct(&mut expr);
        Ok((expr, self.context.slice(span).to_owned()))
    }

    /// Takes a query that fills the tokens up to `end`, and its text. `rewrite` changes the tokens before
    /// `sqlparser` reads them; the text stays as written.
    pub fn query_until(
        &mut self,
        end: usize,
        rewrite: impl FnOnce(Vec<TokenWithSpan>) -> Read<Vec<TokenWithSpan>>,
    ) -> Read<(Box<sql::Query>, String)> {
        let (stop, found) = (self.pos_of(end), self.describe(end));
        let (tokens, span) = self.take_until(end);
        let tokens = rewrite(tokens)?;
        let mut query = run_sqlparser(&self.context, tokens, (stop, &found), |parser| parser.parse_query())?;
        reading::correct(&mut query);
        Ok((query, self.context.slice(span).to_owned()))
    }
}

/// Greatest nesting of subqueries. `sqlparser` reads each level of a broken one twice, so time is
/// exponential.
const MAX_SUBQUERY_DEPTH: usize = 12;

/// Most parts of a name: `sqlparser` reads each twice, too.
const MAX_NAME_PARTS: usize = 12;

/// Tells whether every other token is a period, beginning with the first.
fn is_chain(tokens: &[TokenWithSpan]) -> bool {
    tokens.iter().step_by(2).all(|token| token.token == Token::Period)
}

/// Most operators of one query or expression: a chain of them is a tree as deep as it is long.
const MAX_OPERATORS: usize = 2000;

/// First operator beyond [`MAX_OPERATORS`].
fn too_many(tokens: &[TokenWithSpan]) -> Option<&TokenWithSpan> {
    tokens.iter().filter(|t| is_operator(&t.token)).nth(MAX_OPERATORS)
}

/// Tells whether a token joins or changes expressions or queries.
fn is_operator(token: &Token) -> bool {
    match token {
        Token::Word(_) => is_any_word(token, &["AND", "OR", "NOT", "UNION", "INTERSECT", "EXCEPT"]),
        Token::Whitespace(_) | Token::Comma | Token::LParen | Token::RParen | Token::Period => false,
        Token::Number(..) | Token::SingleQuotedString(_) | Token::SemiColon | Token::EOF => false,
        _ => true,
    }
}

/// Token at which subqueries are nested more than [`MAX_SUBQUERY_DEPTH`] deep.
fn too_deep(tokens: &[TokenWithSpan]) -> Option<&TokenWithSpan> {
    let mut open: Vec<bool> = Vec::new();
    let mut depth = 0;
    let words: Vec<&TokenWithSpan> = tokens.iter().filter(|t| is_visible(t)).collect();
    for (at, token) in words.iter().enumerate() {
        match &token.token {
            Token::LParen => {
                let query = opens_query(&words, at);
                open.push(query);
                depth += usize::from(query);
                if depth > MAX_SUBQUERY_DEPTH {
                    return Some(token);
                }
            }
            Token::RParen => depth -= usize::from(open.pop().unwrap_or(false)),
            _ => {}
        }
    }
    None
}

/// Tells whether the bracket `at` is one that `sqlparser` tries as that of a subquery.
fn opens_query(words: &[&TokenWithSpan], at: usize) -> bool {
    if let Some(next) = words.get(at + 1)
        && is_any_word(&next.token, &["SELECT", "WITH", "VALUES"])
    {
        return true;
    }
    // `sqlparser` tries the bracket of `SELECT (` as a subquery first, too.
    at > 0 && is_word(&words[at - 1].token, "SELECT")
}

/// Bound that the tokens exceed, if any: its place, a message, and true if splitting into views helps.
pub fn exceeded_bound(tokens: &[TokenWithSpan]) -> Option<(Location, String, bool)> {
    if let Some(deep) = too_deep(tokens) {
        let message = format!("subqueries are nested more than {MAX_SUBQUERY_DEPTH} deep");
        return Some((deep.span.start, message, true));
    }
    if let Some(long) = tokens.windows(2 * MAX_NAME_PARTS).find(|chain| is_chain(chain)) {
        return Some((long[0].span.start, format!("a name has more than {MAX_NAME_PARTS} parts"), false));
    }
    let many = too_many(tokens)?;
    Some((many.span.start, format!("a query or expression has more than {MAX_OPERATORS} operators"), true))
}

/// Runs `sqlparser` over tokens, all of which `read` must consume; `stop` is the place and name of the token
/// behind them.
fn run_sqlparser<T>(
    context: &Context<'_>,
    tokens: Vec<TokenWithSpan>,
    stop: (Pos, &str),
    read: impl FnOnce(&mut Parser<'_>) -> Result<T, ParserError>,
) -> Read<T> {
    let first = match tokens.first() {
        Some(first) => context.pos(first.span.start),
        None => stop.0,
    };
    if let Some((place, message, hint)) = exceeded_bound(&tokens) {
        let mistake = Mistake::new(context.pos(place), message);
        return Err(if hint { mistake.hint("split it into several views") } else { mistake });
    }
    let symmetric = tokens.iter().find(|t| is_word(&t.token, "symmetric")).map(Spanned::span);
    // Token rewrites of forms that `sqlparser` cannot parse.
    let tokens = jsonb::restore_operators(tokens);
    let tokens = structs::rewrite_structs(lambda::rewrite_lambdas(tokens));
    let mut parser = Parser::new(&PostgreSqlDialect {}).with_tokens_with_locations(tokens);
    let value = match (read(&mut parser), symmetric) {
        (Ok(value), _) => value,
        (Err(_), Some(span)) => {
            return Err(Mistake::new(context.pos(span.start), "BETWEEN SYMMETRIC is not supported")
                .hint("write x BETWEEN least(a, b) AND greatest(a, b)"));
        }
        (Err(error), None) => return Err(translate_error(error, context.file, first, stop)),
    };
    let left = parser.peek_token();
    if left.token == Token::EOF {
        return Ok(value);
    }
    Err(Mistake::new(context.pos(left.span.start), format!("unexpected `{}`", left.token)))
}

/// Turns an error of `sqlparser`, `Expected: A, found: B at Line: 1, Column: 2`, into a mistake.
fn translate_error(error: ParserError, file: usize, first: Pos, stop: (Pos, &str)) -> Mistake {
    let text = match error {
        ParserError::RecursionLimitExceeded => {
            return Mistake::new(first, "nested too deeply").hint("split it into several views");
        }
        ParserError::TokenizerError(text) | ParserError::ParserError(text) => text,
    };
    let (told, pos) = match text.rsplit_once(" at Line: ") {
        Some((told, place)) => (told, read_place(place, file)),
        None => (text.as_str(), None),
    };
    let message = match told.strip_prefix("Expected: ").and_then(|rest| rest.split_once(", found: ")) {
        Some((expected, "EOF")) => format!("expected {expected}, found {}", stop.1),
        Some((expected, found)) => format!("expected {expected}, found `{found}`"),
        None => lower_first(told),
    };
    Mistake::new(pos.unwrap_or(stop.0), message)
}

/// Reads the place of an error of `sqlparser`, `1, Column: 2`.
fn read_place(place: &str, file: usize) -> Option<Pos> {
    let (line, column) = place.split_once(", Column: ")?;
    Some(Pos { file, line: line.trim().parse().ok()?, column: column.trim().parse().ok()? })
}

/// A text with its first letter in lower case.
fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => String::new(),
    }
}
