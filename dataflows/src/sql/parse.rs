//! Parser of topology files: text to statements.
//!
//! A file is tokenised whole, split at `;`, and each statement is parsed on its own, so that every
//! mistake of every file is reported and not just the first. The statements without a mistake go on to the
//! compiler, with the names that the others would have created. Herald's clauses are parsed by hand
//! ([`cursor`]); expressions and queries by `sqlparser`. Window calls in FROM then become derived tables
//! (`query::window`); UNNEST is left for the binder, which calls `query::unnest::extract`. A statement
//! that does not belong in a topology is refused with a hint at its replacement.

pub mod ast;
pub mod bounds;
pub mod cursor;
pub mod env;
pub mod interval;
pub(crate) mod parameters;
pub(crate) mod query;
pub(crate) mod statement;
pub(crate) mod tokens;
mod topics;
pub(crate) mod walk;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use datafusion_sql::sqlparser::dialect::GenericDialect;
use datafusion_sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer, TokenizerError};

use self::cursor::{Context, Cursor, Read, Shared};
use self::tokens::{end_of, fold, is_any_word, is_visible, is_word};
use super::diagnostics::dialects;
use super::diagnostics::did_you_mean::did_you_mean;
use crate::mistake::{Mistake, Pos, SqlError, SqlFile};
use ast::Statement;
pub use topics::parse_topics;

/// Parses the files of a topology, in the order given.
///
/// # Errors
/// Every mistake, in the order of their places.
pub fn parse(
    files: &[SqlFile],
    env: &dyn Fn(&str) -> Option<String>,
    read_file: &dyn Fn(&str) -> std::io::Result<String>,
) -> Result<Vec<Statement>, Vec<SqlError>> {
    let Parsed { statements, mut mistakes, .. } = parse_files(files, env, read_file);
    if mistakes.is_empty() {
        return Ok(statements);
    }
    sort_mistakes(&mut mistakes);
    Err(name_mistakes(mistakes, files))
}

/// Statements of a topology, and the mistakes of those that are left out.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    /// Statements without a mistake, in order.
    pub statements: Vec<Statement>,
    /// Names that the others would have created.
    pub missing: MissingNames,
    /// Mistakes, in no order.
    pub mistakes: Vec<Mistake>,
}

/// Names that statements with a mistake would have created.
#[derive(Clone, Debug, Default)]
pub(super) struct MissingNames {
    names: BTreeSet<String>,
    /// Set if there are others, which could not be read.
    others: bool,
}

impl MissingNames {
    /// Tells whether `name` is one of them.
    pub fn has(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// Tells whether there are some that could not be read.
    pub fn has_others(&self) -> bool {
        self.others
    }

    /// Adds the names behind each CREATE of a statement: a missing `;` makes two statements one, and the first word
    /// may be a misspelled CREATE. A `;` within a token shows a quote that is not closed, which hides statements.
    fn add(&mut self, tokens: &[TokenWithSpan]) {
        self.others |= tokens.iter().any(|t| t.token.to_string().contains(';'));
        for (at, token) in tokens.iter().enumerate() {
            let creates = is_word(&token.token, "create");
            if at == 0 || creates {
                let names = created_names(&tokens[at + 1..]);
                self.others |= creates && names.is_empty();
                self.names.extend(names);
            }
        }
    }
}

/// The name behind CREATE with the word before or behind it: the kind may be misspelled, and a schema before the name.
fn created_names(tokens: &[TokenWithSpan]) -> Vec<String> {
    let mut names = Vec::new();
    for TokenWithSpan { token, .. } in tokens {
        match token {
            Token::Period => {}
            _ if is_any_word(token, BEFORE_NAME) => {}
            Token::Word(word) if names.len() < 2 => names.push(fold(&word.value, word.quote_style)),
            _ => break,
        }
    }
    names
}

/// Words between CREATE and the name, those of other dialects among them.
const BEFORE_NAME: &[&str] = &[
    "or",
    "replace",
    "temporary",
    "temp",
    "external",
    "unlogged",
    "recursive",
    "materialized",
    "source",
    "table",
    "view",
    "sink",
    "if",
    "not",
    "exists",
];

/// Parses the files of a topology, in the order given, past statements with a mistake.
pub(super) fn parse_files(
    files: &[SqlFile],
    env: &dyn Fn(&str) -> Option<String>,
    read_file: &dyn Fn(&str) -> std::io::Result<String>,
) -> Parsed {
    let mut parsed = Parsed::default();
    let shared = Shared::default();
    for (file, source) in files.iter().enumerate() {
        file_statements(Context { file, text: &source.text, env, read_file, shared: &shared }, &mut parsed);
    }
    parsed
}

/// Puts mistakes in the order of their places.
pub(super) fn sort_mistakes(mistakes: &mut [Mistake]) {
    mistakes.sort_by_key(|mistake| mistake.pos);
}

/// Names the files of mistakes, for users.
pub(super) fn name_mistakes(mistakes: Vec<Mistake>, files: &[SqlFile]) -> Vec<SqlError> {
    mistakes.into_iter().map(|mistake| mistake.named(files)).collect()
}

/// Parses a query that stands alone: one asked of a running topology.
///
/// # Errors
/// Every mistake, in the order of their places.
pub fn parse_question(text: &str) -> Result<Box<datafusion_sql::sqlparser::ast::Query>, Vec<Mistake>> {
    parse_bound(text, &[])
}

/// Parses a query that stands alone, with `values` in the places of its parameters.
///
/// # Errors
/// Every mistake, in the order of their places.
pub(crate) fn parse_bound(
    text: &str,
    values: &[Option<String>],
) -> Result<Box<datafusion_sql::sqlparser::ast::Query>, Vec<Mistake>> {
    let shared = Shared::default();
    let context = Context { file: 0, text, env: &no_variable, read_file: &no_file, shared: &shared };
    let (mut tokens, broken) = read_tokens(&context);
    if let Some(mistake) = broken {
        return Err(vec![mistake]);
    }
    if !values.is_empty() {
        tokens = parameters::bind(&context, tokens, values).map_err(|mistake| vec![mistake])?;
    }
    while tokens.last().is_some_and(|t| t.token == Token::SemiColon) {
        tokens.pop();
    }
    let end = end_of(&tokens);
    let (count, mut mistakes) = (tokens.len(), Vec::new());
    let mut cursor = Cursor::new(context, tokens, end);
    match statement::view::read_query(&mut cursor, count, &mut mistakes) {
        Ok((query, _)) if mistakes.is_empty() => return Ok(query),
        Ok(_) => {}
        Err(mistake) => mistakes.push(mistake),
    }
    sort_mistakes(&mut mistakes);
    Err(mistakes)
}

/// Number of parameters of a text: the greatest one that it names.
///
/// # Errors
/// If the text cannot be read.
pub(crate) fn count_parameters(text: &str) -> Result<usize, Mistake> {
    let shared = Shared::default();
    let context = Context { file: 0, text, env: &no_variable, read_file: &no_file, shared: &shared };
    match read_tokens(&context) {
        (_, Some(mistake)) => Err(mistake),
        (tokens, None) => {
            Ok(tokens.iter().filter_map(|t| parameters::number_of(&t.token)).max().unwrap_or(0))
        }
    }
}

/// Parses a condition that stands alone, with `values` in the places of its parameters.
///
/// # Errors
/// Every mistake, in the order of their places.
pub fn parse_condition(
    text: &str,
    values: &[Option<String>],
) -> Result<datafusion_sql::sqlparser::ast::Expr, Vec<Mistake>> {
    let shared = Shared::default();
    let context = Context { file: 0, text, env: &no_variable, read_file: &no_file, shared: &shared };
    let (mut tokens, broken) = read_tokens(&context);
    if let Some(mistake) = broken {
        return Err(vec![mistake]);
    }
    if !values.is_empty() {
        tokens = parameters::bind(&context, tokens, values).map_err(|mistake| vec![mistake])?;
    }
    let (end, count) = (end_of(&tokens), tokens.len());
    match Cursor::new(context, tokens, end).expr_until(count) {
        Ok((expr, _)) => Ok(expr),
        Err(mistake) => Err(vec![mistake]),
    }
}

/// Finds no environment variable.
pub(super) fn no_variable(_: &str) -> Option<String> {
    None
}

/// Finds no file.
pub(super) fn no_file(_: &str) -> std::io::Result<String> {
    Err(std::io::ErrorKind::NotFound.into())
}

/// Tokens of the text without white space, up to where it cannot be read, and the mistake there.
fn read_tokens(context: &Context<'_>) -> (Vec<TokenWithSpan>, Option<Mistake>) {
    let mut tokens = Vec::new();
    let read = Tokenizer::new(&GenericDialect {}, context.text).tokenize_with_location_into_buf(&mut tokens);
    let broken = match read {
        Ok(()) => None,
        Err(error) => Some(tokenizer_mistake(context, &error, &tokens)),
    };
    tokens.retain(is_visible);
    (tokens, broken)
}

/// Parses one file; appends its statements and its mistakes.
fn file_statements(context: Context<'_>, parsed: &mut Parsed) {
    let (tokens, broken) = read_tokens(&context);
    let mut rest = tokens.as_slice();
    while let Some(end) = rest.iter().position(|t| t.token == Token::SemiColon) {
        parse_statement(context, &rest[..end], rest[end].span.start, parsed);
        rest = &rest[end + 1..];
    }
    match broken {
        // The statement in which tokenising failed is not parsed: its end is missing, and all that follows.
        Some(mistake) => {
            parsed.missing.others = true;
            parsed.mistakes.push(mistake);
        }
        None => parse_statement(context, rest, end_of(rest), parsed),
    }
}

/// Turns an error of the tokeniser into a mistake; `tokens` are those before it.
fn tokenizer_mistake(context: &Context<'_>, error: &TokenizerError, tokens: &[TokenWithSpan]) -> Mistake {
    let message = &error.message;
    let pos = context.pos(error.location);
    if message.contains("Unterminated string literal") {
        return Mistake::new(pos, "a string is not closed")
            .hint("close it with ', and write '' for a quote inside it");
    }
    if message.contains("multi-line comment") {
        // The tokeniser tells the end of the file.
        let begin = context.pos(end_of(tokens));
        return Mistake::new(begin, "a comment is not closed").hint("close it with */");
    }
    Mistake::new(pos, format!("cannot read this: {}", message.trim().trim_end_matches('.')))
}

/// Parses one statement, if there is one: two semicolons in a row have no tokens between them.
fn parse_statement(context: Context<'_>, tokens: &[TokenWithSpan], end: Location, parsed: &mut Parsed) {
    if tokens.is_empty() {
        return;
    }
    if let Some((token, message, hint)) = dialects::find_foreign(tokens) {
        parsed.mistakes.push(Mistake::new(context.pos(token.span.start), message).hint(hint));
        parsed.missing.add(tokens);
        return;
    }
    // A statement with any mistake is dropped, even where parsing went on to its end.
    let mut own = Vec::new();
    let mut cursor = Cursor::new(context, tokens.to_vec(), end);
    match read_statement(&mut cursor, &mut own) {
        Ok(statement) if own.is_empty() && !cursor.lacks_variable => parsed.statements.extend(statement),
        Ok(_) => parsed.missing.add(tokens),
        Err(mistake) => {
            own.push(mistake);
            parsed.missing.add(tokens);
        }
    }
    parsed.mistakes.append(&mut own);
}

/// Reads a CREATE or INSERT statement, or names the statement or object that is not supported. CREATE TYPE makes no
/// statement: the columns that name the type have its fields.
fn read_statement(cursor: &mut Cursor<'_>, mistakes: &mut Vec<Mistake>) -> Read<Option<Statement>> {
    let pos = cursor.pos();
    if cursor.take_words(&["insert"]) {
        return Ok(Some(Statement::Insert(statement::insert::insert(cursor, pos, mistakes)?)));
    }
    if !cursor.take_words(&["create"]) {
        return Err(not_a_statement(cursor));
    }
    if cursor.take_words(&["or", "replace"]) {
        mistakes.push(
            Mistake::new(pos, "OR REPLACE is not supported")
                .hint("leave it out: a topology is the whole of its files"),
        );
    }
    let kind = cursor.pos();
    if cursor.peek_words(&["unique", "index"]) {
        mistakes.push(
            Mistake::new(kind, "UNIQUE is not supported")
                .hint("leave it out: the keys of a view are proven, not declared (`herald explain`)"),
        );
        cursor.bump();
    }
    let words: [(&[&str], StatementKind); 7] = [
        (&["source"], StatementKind::Source),
        (&["table"], StatementKind::Table),
        (&["view"], StatementKind::View),
        (&["materialized", "view"], StatementKind::Materialized),
        (&["sink"], StatementKind::Sink),
        (&["index"], StatementKind::Index),
        (&["type"], StatementKind::Type),
    ];
    let Some((words, found)) = words.into_iter().find(|(words, _)| cursor.take_words(words)) else {
        return Err(not_created(cursor, kind));
    };
    if cursor.take_words(&["if", "not", "exists"]) {
        let what = words.join(" ").to_uppercase();
        mistakes.push(
            Mistake::new(kind, format!("CREATE {what} IF NOT EXISTS is not supported"))
                .hint("leave IF NOT EXISTS out"),
        );
    }
    Ok(Some(match found {
        StatementKind::Source => {
            Statement::Relation(statement::relation::relation(cursor, false, pos, mistakes)?)
        }
        StatementKind::Table => {
            Statement::Relation(statement::relation::relation(cursor, true, pos, mistakes)?)
        }
        StatementKind::View => statement::view::view(cursor, false, pos, mistakes)?,
        StatementKind::Materialized => statement::view::view(cursor, true, pos, mistakes)?,
        StatementKind::Sink => Statement::Sink(statement::sink::sink(cursor, pos, mistakes)?),
        StatementKind::Index => Statement::Index(statement::index::index(cursor)?),
        StatementKind::Type => {
            statement::types::create_type(cursor)?;
            return Ok(None);
        }
    }))
}

/// Kind of object that a CREATE statement creates.
enum StatementKind {
    Source,
    Table,
    View,
    Materialized,
    Sink,
    Index,
    Type,
}

/// Refusal of a statement that is neither CREATE nor INSERT.
fn not_a_statement(cursor: &Cursor<'_>) -> Mistake {
    const WHOLE: &str = "a topology is the whole of its files: edit or remove the CREATE statement";
    const ROWS: &str =
        "rows come from connectors: write CREATE SOURCE or CREATE TABLE ... WITH (connector = ...)";
    const QUERY: &str =
        "write CREATE MATERIALIZED VIEW name AS SELECT ..., or ask the running topology with `herald query`";
    const FLAGS: &str = "settings are flags of `herald run`";
    let known = [
        ("drop", WHOLE),
        ("alter", WHOLE),
        ("update", ROWS),
        ("delete", ROWS),
        ("merge", ROWS),
        ("copy", ROWS),
        ("truncate", ROWS),
        ("select", QUERY),
        ("with", QUERY),
        ("values", QUERY),
        ("explain", "use `herald explain FILE`"),
        ("describe", "use `herald explain FILE`"),
        ("show", "use `herald explain FILE` or `herald status`"),
        ("set", FLAGS),
        ("use", FLAGS),
        ("begin", "leave it out: epochs are the transactions"),
        ("commit", "leave it out: epochs are the transactions"),
        ("grant", "rights are the broker's"),
        ("comment", "write a SQL comment: -- text"),
    ];
    let Some(Token::Word(word)) = cursor.peek() else {
        return cursor.expected("CREATE");
    };
    let written = word.value.to_uppercase();
    if let Some(hint) = find_hint(cursor, &known) {
        return Mistake::new(cursor.pos(), format!("{written} is not a statement of a topology")).hint(hint);
    }
    Mistake::new(cursor.pos(), format!("unknown statement {}", word.value))
        .hint("a topology is CREATE SOURCE, TABLE, VIEW, MATERIALIZED VIEW, SINK and INDEX, and INSERT INTO a view")
        .maybe_hint(did_you_mean(&written, ["CREATE", "INSERT"]))
}

/// Hint for the next word, if it is one of the known ones.
fn find_hint(cursor: &Cursor<'_>, known: &[(&str, &'static str)]) -> Option<&'static str> {
    let (_, hint) = known.iter().find(|(word, _)| cursor.peek_words(&[word]))?;
    Some(*hint)
}

/// Refusal of a CREATE of an object that topologies do not have.
fn not_created(cursor: &Cursor<'_>, pos: Pos) -> Mistake {
    let known = [
        ("function", "write the expression in the query"),
        ("schema", "names have no schema: write the name alone"),
        ("database", "one topology is one database: leave it out"),
        ("secret", "write ${file:PATH} or ${VAR} in the option's value"),
        ("connection", "write the options in the WITH of each source and sink"),
        ("subscription", "write CREATE SINK"),
        ("sequence", "key rows by columns they have"),
        ("trigger", "write a view and a sink"),
        ("topic", "write it in a file of its own, which `herald topics plan` compares with a broker"),
        ("temporary", "leave TEMPORARY out: only materialized views keep rows"),
        ("temp", "leave TEMP out: only materialized views keep rows"),
        ("external", "write CREATE SOURCE or CREATE TABLE ... WITH (connector = ...)"),
        ("unlogged", "leave UNLOGGED out"),
        ("recursive", "write CREATE VIEW name AS WITH RECURSIVE name AS (...) SELECT ... FROM name"),
    ];
    let what = "SOURCE, TABLE, VIEW, MATERIALIZED VIEW, SINK or INDEX";
    let Some(Token::Word(word)) = cursor.peek() else {
        return cursor.expected(&format!("{what} after CREATE"));
    };
    let written = word.value.to_uppercase();
    let mistake = Mistake::new(pos, format!("CREATE {written} is not a statement of a topology"));
    if let Some(hint) = find_hint(cursor, &known) {
        return mistake.hint(hint);
    }
    let created = ["SOURCE", "TABLE", "VIEW", "MATERIALIZED VIEW", "MATERIALIZED", "SINK", "INDEX"];
    mistake.hint(format!("a topology creates {what}")).maybe_hint(did_you_mean(&written, created))
}
