//! Queries as sessions and `herald query` ask them, read for the planner that answers them.
//!
//! A query that names a table, function or type of PostgreSQL's alone is the catalogue's: its syntax tree is
//! kept. Any other goes to Herald's own planner as text, unchanged but for PostgreSQL's own forms of names,
//! operators and casts. A text that is no query of PostgreSQL's is left alone, too: it may have forms of
//! Herald's dialect, and its mistakes are told by Herald's planner.

use std::borrow::Cow;

use anyhow::{Context, Result};
use arrow::datatypes::Fields;
use dataflows::sql::question::on_deep_stack;
use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::ast::{Query, Statement};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

use super::facts::SessionValues;
use super::rewrite::{self, Origin};

/// Query of a session.
pub struct SessionQuery<'a> {
    text: Cow<'a, str>,
    /// The query, if the catalogue answers it.
    asked: Option<Box<Query>>,
    /// The query that the text is, if it is one, and the catalogue does not answer it.
    simple: Option<Box<Query>>,
}

impl<'a> SessionQuery<'a> {
    /// Reads a query as a session asks it.
    pub fn read(text: &'a str, session: &SessionValues) -> SessionQuery<'a> {
        on_deep_stack(|| SessionQuery::read_parsed(text, session))
    }

    fn read_parsed(text: &'a str, session: &SessionValues) -> SessionQuery<'a> {
        let unchanged = SessionQuery { text: Cow::Borrowed(text), asked: None, simple: None };
        let Some(query) = parse_query(text) else { return unchanged };
        if rewrite::reads_catalogue(&query, session.has_clock()) {
            return SessionQuery { asked: Some(query), ..unchanged };
        }
        let mut simple = query.clone();
        rewrite::simplify(&mut simple, &session.database);
        if simple == query {
            return SessionQuery { simple: Some(query), ..unchanged };
        }
        SessionQuery { text: Cow::Owned(simple.to_string()), asked: None, simple: Some(simple) }
    }

    /// Tells whether the catalogue answers it, by [`super::Catalogue::plan`]; if not, Herald's planner does,
    /// by [`SessionQuery::text`].
    pub fn reads_catalogue(&self) -> bool {
        self.asked.is_some()
    }

    /// Text of a query that the catalogue does not answer, for Herald's planner. Its parameters are those of
    /// the text that was read.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// OIDs of the types of the parameters of a query that the catalogue answers, `$1` first; 0 for one that
    /// the query does not tell. References as `regclass` are text, as a client may send a name.
    pub fn parameter_types(&self) -> Vec<u32> {
        self.asked.as_deref().map(rewrite::parameter_types).unwrap_or_default()
    }

    /// The query that the catalogue answers, with SQL of values in the places of its parameters, as
    /// `CAST('5' AS BIGINT)`. A parameter without a value stays.
    ///
    /// # Errors
    /// When the catalogue does not answer it, or a value is no SQL.
    pub(super) fn bound(&self, values: &[Option<String>]) -> Result<Query, DataFusionError> {
        let Some(asked) = &self.asked else {
            return Err(DataFusionError::Internal("the query is not of the catalogue".to_owned()));
        };
        let mut query = asked.as_ref().clone();
        rewrite::bind(&mut query, values)?;
        Ok(query)
    }

    /// Names of the columns of the answer by PostgreSQL's rule, and the table columns that they are. `fields`
    /// are the columns of the plan.
    pub(super) fn outputs(&self, fields: &Fields) -> Vec<(String, Option<Origin>)> {
        let planned: Vec<String> = fields.iter().map(|field| field.name().clone()).collect();
        on_deep_stack(|| match self.asked.as_ref().or(self.simple.as_ref()) {
            Some(query) => {
                let origins = rewrite::output_origins(query, &planned);
                rewrite::output_names(query, &planned).into_iter().zip(origins).collect()
            }
            None => planned.into_iter().map(|name| (name, None)).collect(),
        })
    }
}

/// Parses a text that is one query; None for any other.
pub(in crate::query) fn parse_query(text: &str) -> Option<Box<Query>> {
    let mut statements = parse(text).ok()?;
    match (statements.pop(), statements.is_empty()) {
        (Some(Statement::Query(query)), true) => Some(query),
        _ => None,
    }
}

/// Parses a text into its statements.
///
/// # Errors
/// When the text is no SQL.
pub(super) fn parse(sql: &str) -> Result<Vec<Statement>> {
    let dialect = PostgreSqlDialect {};
    let tokens =
        Tokenizer::new(&dialect, sql).tokenize_with_location().context("the statement cannot be read")?;
    let mut parser = Parser::new(&dialect).with_tokens_with_locations(without_lateral(tokens));
    parser.parse_statements().context("the statement cannot be read")
}

/// Tokens without LATERAL before functions, which it changes nothing about: the parser would take no
/// ordinality there.
fn without_lateral(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut kept: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    let mut lateral = None;
    for token in tokens {
        match &token.token {
            Token::Whitespace(_) => {}
            Token::Word(word) if word.keyword == Keyword::LATERAL => lateral = Some(kept.len()),
            Token::Word(_) => {
                if let Some(at) = lateral.take() {
                    kept.remove(at);
                }
            }
            _ => lateral = None,
        }
        kept.push(token);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Forms of Herald's dialect alone stay as they are written, and so does a query without PostgreSQL's forms.
    #[test]
    fn a_text_is_changed_only_where_it_must_be() {
        for text in [
            "SELECT  a  FROM v -- as written",
            "SELECT array_filter(a, x -> x > 3) FROM v LIMIT 3",
            "SELECT {'x': max(games)} AS s FROM champions",
            "SELEC 1",
            "",
            "SELECT $2, $1 FROM v WHERE a = ANY($3)",
            "SELECT 1; SELECT 2",
            "SELECT now()",
        ] {
            let query = SessionQuery::read(text, &SessionValues::none());
            assert!(!query.reads_catalogue(), "{text}");
            assert_eq!(query.text(), text);
        }
        let session = SessionValues { database: "t".to_owned(), started_us: 1, ..SessionValues::default() };
        for (text, expected) in [
            (
                "SELECT a FROM t.public.v WHERE a = $1 COLLATE \"C\" LIMIT $2",
                "SELECT a FROM public.v WHERE a = $1 LIMIT $2",
            ),
            ("SELECT a FROM herald.public.v", "SELECT a FROM public.v"),
            ("SELECT a FROM u.public.v", "SELECT a FROM u.public.v"),
        ] {
            assert_eq!(SessionQuery::read(text, &session).text(), expected);
        }
        // A session has a clock, which Herald's planner has not.
        assert!(SessionQuery::read("SELECT max(seen), now() FROM v", &session).reads_catalogue());
    }

    #[test]
    fn a_lateral_function_may_have_an_ordinality() {
        let text = "SELECT 1 FROM t CROSS JOIN LATERAL unnest(t.a) WITH ORDINALITY AS u(x, n)";
        assert!(parse_query(text).is_some());
        assert!(parse_query("SELECT 1 FROM t, LATERAL (SELECT t.a) AS u").is_some());
        assert!(parse_query("BEGIN").is_none());
    }
}
