//! Rewrites for JSONB: its operators with `?`, and its functions in FROM.
//!
//! The generic tokeniser reads `?` as a parameter; inside queries and expressions such tokens become the
//! operators `?`, `?|` and `?&`. A function that lists the parts of a JSONB value becomes
//! the UNNEST of a function that gives them as an array: `FROM t, jsonb_array_elements(t.j) AS e`
//! is `FROM t, UNNEST(herald_jsonb_elements(t.j)) AS e`.

use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgumentList, FunctionArguments, Ident, ObjectName, ObjectNamePart,
    Query, TableAlias, TableAliasColumnDef, TableFactor, VisitorMut,
};
use datafusion_sql::sqlparser::tokenizer::{Span, Token, TokenWithSpan};

use crate::functions::eval::about::{About, called};
use crate::sql::parse::tokens::fold_ident;
use crate::sql::parse::walk::WalkMut;

/// Replaces parameters with JSONB's operators.
pub fn restore_operators(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    for mut token in tokens {
        let joined = match (&token.token, out.last()) {
            (Token::Pipe, Some(last)) if is_question(last, &token) => Some(Token::QuestionPipe),
            (Token::Ampersand, Some(last)) if is_question(last, &token) => Some(Token::QuestionAnd),
            _ => None,
        };
        match (joined, out.last_mut()) {
            (Some(operator), Some(last)) => {
                *last = TokenWithSpan::new(operator, Span::new(last.span.start, token.span.end));
                continue;
            }
            _ if matches!(&token.token, Token::Placeholder(text) if text == "?") => {
                token.token = Token::Question
            }
            _ => {}
        }
        out.push(token);
    }
    out
}

/// Tells whether `last` is a `?` and `next` follows it without white space.
fn is_question(last: &TokenWithSpan, next: &TokenWithSpan) -> bool {
    last.token == Token::Question && last.span.end == next.span.start
}

/// Functions in FROM, each with the function that returns its rows as an array, and its column names.
const ROWS: [(&str, &str, &[&str]); 10] = [
    ("jsonb_array_elements", "herald_jsonb_elements", &["value"]),
    ("jsonb_array_elements_text", "herald_jsonb_elements_text", &["value"]),
    ("jsonb_object_keys", "herald_jsonb_keys", &["jsonb_object_keys"]),
    ("jsonb_each", "herald_jsonb_each", &["key", "value"]),
    ("jsonb_each_text", "herald_jsonb_each_text", &["key", "value"]),
    ("json_array_elements", "herald_jsonb_elements", &["value"]),
    ("json_array_elements_text", "herald_jsonb_elements_text", &["value"]),
    ("json_object_keys", "herald_jsonb_keys", &["json_object_keys"]),
    ("json_each", "herald_jsonb_each", &["key", "value"]),
    ("json_each_text", "herald_jsonb_each_text", &["key", "value"]),
];

/// The lines of the reference pages about these functions.
pub(in crate::sql) const ABOUT: &[About] = &[
    called(
        "jsonb_array_elements json_array_elements",
        &["jsonb_array_elements(JSONB) -> JSONB"],
        "A row for each element of an array.",
    ),
    called(
        "jsonb_array_elements_text json_array_elements_text",
        &["jsonb_array_elements_text(JSONB) -> VARCHAR"],
        "A row for each element of an array, as text.",
    ),
    called(
        "jsonb_object_keys json_object_keys",
        &["jsonb_object_keys(JSONB) -> VARCHAR"],
        "A row for each name of an object.",
    ),
    called(
        "jsonb_each json_each",
        &["jsonb_each(JSONB) -> key VARCHAR, value JSONB"],
        "A row for each member of an object; in FROM only.",
    ),
    called(
        "jsonb_each_text json_each_text",
        &["jsonb_each_text(JSONB) -> key VARCHAR, value VARCHAR"],
        "A row for each member of an object, its value as text; in FROM only.",
    ),
];

/// Call that returns the rows of the function `name` as an array; None if it is not such a function, or has
/// two columns.
pub fn as_array(name: &str, f: &Function) -> Option<Expr> {
    let (_, function, _) = ROWS.iter().find(|row| row.0 == name && row.2.len() == 1)?;
    let FunctionArguments::List(list) = &f.args else { return None };
    Some(function_call(function, Span::empty(), list.args.clone()))
}

/// Replaces every function in FROM that lists the parts of a JSONB value with UNNEST.
pub fn unnest_functions(query: &mut Query) {
    let mut listed = FunctionRewrite { aliases: Vec::new() };
    let _ = query.walk_mut(&mut listed);
    if !listed.aliases.is_empty() {
        let _ = query.walk_mut(&mut ElementAliases(listed.aliases));
    }
}

/// Replaces the functions, and collects the aliases of their elements.
struct FunctionRewrite {
    aliases: Vec<String>,
}

impl VisitorMut for FunctionRewrite {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        let (name, args, alias, numbered) = match &*factor {
            TableFactor::Table { name, args: Some(args), alias, with_ordinality, .. } => {
                (name, &args.args, alias, *with_ordinality)
            }
            TableFactor::Function { name, args, alias, with_ordinality, .. } => {
                (name, args, alias, *with_ordinality)
            }
            _ => return ControlFlow::Continue(()),
        };
        let called = name.to_string().to_lowercase();
        let Some((_, function, columns)) = ROWS.iter().find(|row| row.0 == called) else {
            return ControlFlow::Continue(());
        };
        let span = match name.0.first().and_then(ObjectNamePart::as_ident) {
            Some(ident) => ident.span,
            None => Span::empty(),
        };
        let list = function_call(function, span, args.clone());
        let alias = match alias {
            Some(alias) => alias.clone(),
            None => {
                let numbers = numbered.then_some("ordinality");
                let names = columns.iter().copied().chain(numbers);
                TableAlias {
                    explicit: true,
                    name: Ident::with_span(span, called),
                    columns: names.map(TableAliasColumnDef::from_name).collect(),
                    at: None,
                }
            }
        };
        if alias.columns.is_empty() && *columns == ["value"] && !numbered {
            self.aliases.push(fold_ident(&alias.name));
        }
        *factor = TableFactor::UNNEST {
            alias: Some(alias),
            array_exprs: vec![list],
            with_offset: false,
            with_offset_alias: None,
            with_ordinality: numbered,
        };
        ControlFlow::Continue(())
    }
}

fn function_call(name: &str, span: Span, args: Vec<FunctionArg>) -> Expr {
    let list = FunctionArgumentList { duplicate_treatment: None, args, clauses: Vec::new() };
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::with_span(span, name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(list),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

/// Resolves `e.value` to `e.e`, the only column of the elements with the alias `e`.
struct ElementAliases(Vec<String>);

impl VisitorMut for ElementAliases {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::CompoundIdentifier(names) = expr
            && let [table, column] = names.as_mut_slice()
            && fold_ident(column) == "value"
            && self.0.contains(&fold_ident(table))
        {
            column.value = table.value.clone();
            column.quote_style = table.quote_style;
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use datafusion_sql::sqlparser::dialect::{GenericDialect, PostgreSqlDialect};
    use datafusion_sql::sqlparser::parser::Parser;
    use datafusion_sql::sqlparser::tokenizer::Tokenizer;

    use super::*;

    fn parsed(text: &str) -> String {
        let tokens = Tokenizer::new(&GenericDialect {}, text).tokenize_with_location().unwrap();
        let mut parser =
            Parser::new(&PostgreSqlDialect {}).with_tokens_with_locations(restore_operators(tokens));
        let mut query = parser.parse_query().unwrap();
        unnest_functions(&mut query);
        query.to_string()
    }

    #[test]
    fn question_marks_are_operators() {
        for text in
            ["SELECT j ? 'a'", "SELECT j ?| ARRAY['a'] AND j ?& ARRAY['b']", "SELECT NOT j -> 'b' ? 'a'"]
        {
            assert_eq!(parsed(text), text);
        }
        assert_eq!(parsed("SELECT j ?|ARRAY['a']"), "SELECT j ?| ARRAY['a']");
    }

    #[test]
    fn every_function_has_one_line() {
        let mut named: Vec<&str> = ABOUT.iter().flat_map(|line| line.names.split(' ')).collect();
        let mut known: Vec<&str> = ROWS.iter().map(|row| row.0).collect();
        named.sort_unstable();
        known.sort_unstable();
        assert_eq!(named, known);
    }

    #[test]
    fn functions_in_from_become_unnest() {
        let cases = [
            (
                "SELECT e ->> 'x', e.value FROM t, jsonb_array_elements(t.j) AS e",
                "SELECT e ->> 'x', e.e FROM t, UNNEST(herald_jsonb_elements(t.j)) AS e",
            ),
            (
                "SELECT key, value FROM t CROSS JOIN LATERAL jsonb_each(j)",
                "SELECT key, value FROM t CROSS JOIN UNNEST(herald_jsonb_each(j)) AS jsonb_each (key, value)",
            ),
            (
                "SELECT * FROM t LEFT JOIN jsonb_object_keys(j) WITH ORDINALITY AS k(v, n) ON true",
                "SELECT * FROM t LEFT JOIN UNNEST(herald_jsonb_keys(j)) WITH ORDINALITY AS k (v, n) ON true",
            ),
            (
                "SELECT value FROM t, jsonb_array_elements(j)",
                "SELECT value FROM t, UNNEST(herald_jsonb_elements(j)) AS jsonb_array_elements (value)",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(parsed(text), expected);
        }
        assert_eq!(parsed("SELECT t.value FROM t"), "SELECT t.value FROM t");
    }
}
