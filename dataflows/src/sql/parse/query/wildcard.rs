//! Options of `*` as in DuckDB and Snowflake: `* EXCLUDE (a, b)`, `* EXCEPT (a, b)` and
//! `* REPLACE (expression AS a)`.
//!
//! The parser's dialect has none of them. On the tokens, each becomes a call of a reserved function behind
//! the `*`; after parsing, the call becomes an option of the `*`.

use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{
    ExcludeSelectItem, Expr, Function, FunctionArguments, Ident, ObjectName, Query, ReplaceSelectElement,
    ReplaceSelectItem, Select, SelectItem, Spanned, VisitorMut, WildcardAdditionalOptions,
};
use datafusion_sql::sqlparser::keywords::Keyword;
use datafusion_sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan, Word};

use crate::mistake::{Mistake, Pos};
use crate::sql::parse::tokens::{closing_paren, fold_ident, is_any_word, is_word, with_span_of};
use crate::sql::parse::walk::WalkMut;
use crate::sql::syntax::grammar::plain_argument;

const EXCLUDE: &str = "herald_exclude";
const REPLACE: &str = "herald_replace";
const RENAME: &str = "herald_rename";

/// Words of options behind a `*`, and the functions they become.
const WORDS: [(&str, &str); 4] =
    [("exclude", EXCLUDE), ("except", EXCLUDE), ("replace", REPLACE), ("rename", RENAME)];

/// Rewrites the options behind each `*` to calls.
pub fn rewrite_tokens(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    let mut at = 0;
    while at < tokens.len() {
        let wildcard = tokens[at].token == Token::Mul && at > 0 && precedes_wildcard(&tokens[at - 1].token);
        out.push(tokens[at].clone());
        at += 1;
        while wildcard && let Some(end) = write_call(&tokens, at, &mut out) {
            at = end;
        }
    }
    out
}

/// Tells whether a `*` behind this token means all columns, not multiplication.
fn precedes_wildcard(before: &Token) -> bool {
    matches!(before, Token::Comma | Token::Period) || is_any_word(before, &["select", "distinct", "all"])
}

/// Writes the option that begins at `at` as a call, and returns the index behind it; None if none begins
/// there.
fn write_call(tokens: &[TokenWithSpan], at: usize, out: &mut Vec<TokenWithSpan>) -> Option<usize> {
    let word = tokens.get(at)?;
    let (written, function) = WORDS.iter().find(|(name, _)| is_word(&word.token, name))?;
    let name = Word { value: (*function).to_owned(), quote_style: None, keyword: Keyword::NoKeyword };
    let begin = [with_span_of(word, Token::Comma), with_span_of(word, Token::Word(name))];
    let next = tokens.get(at + 1)?;
    if let (Token::Word(_), true) = (&next.token, *written == "exclude") {
        out.extend(begin);
        out.push(with_span_of(word, Token::LParen));
        out.push(next.clone());
        out.push(with_span_of(word, Token::RParen));
        return Some(at + 2);
    }
    let end = closing_paren(tokens, at + 1)?;
    let first = tokens.get(at + 2)?;
    let query = is_any_word(&first.token, &["select", "with", "values"]);
    if query || first.token == Token::LParen && *written == "except" {
        return None; // EXCEPT between two queries.
    }
    out.extend(begin);
    let mut depth = 0;
    for token in &tokens[at + 1..=end] {
        match token.token {
            Token::LParen => depth += 1,
            Token::RParen => depth -= 1,
            _ => {}
        }
        // `expression AS a` becomes two arguments.
        let pair = depth == 1 && *function != EXCLUDE && is_word(&token.token, "as");
        out.push(if pair { with_span_of(token, Token::Comma) } else { token.clone() });
    }
    Some(end + 1)
}

/// Turns the calls behind each `*` in `query` into options; returns refusals of invalid ones.
pub fn rewrite(query: &mut Query, file: usize) -> Vec<Mistake> {
    let mut options = WildcardRewrite { file, mistakes: vec![] };
    let _ = query.walk_mut(&mut options);
    options.mistakes
}

struct WildcardRewrite {
    file: usize,
    mistakes: Vec<Mistake>,
}

impl VisitorMut for WildcardRewrite {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        let mut items: Vec<SelectItem> = Vec::with_capacity(select.projection.len());
        for item in std::mem::take(&mut select.projection) {
            match (option_call(&item), items.last_mut()) {
                (
                    Some(f),
                    Some(SelectItem::Wildcard(options) | SelectItem::QualifiedWildcard(_, options)),
                ) => self.set_option(f, options),
                _ => items.push(item),
            }
        }
        select.projection = items;
        ControlFlow::Continue(())
    }
}

/// Call of a reserved function of this module, if the item is one.
fn option_call(item: &SelectItem) -> Option<&Function> {
    let SelectItem::UnnamedExpr(Expr::Function(f)) = item else { return None };
    let name = f.name.0.first()?.as_ident()?;
    [EXCLUDE, REPLACE, RENAME].contains(&name.value.as_str()).then_some(f)
}

impl WildcardRewrite {
    fn set_option(&mut self, f: &Function, options: &mut WildcardAdditionalOptions) {
        let at = f.name.span().start;
        let args = call_arguments(f);
        match f.name.to_string().as_str() {
            EXCLUDE => match excluded_names(&args) {
                Some(mut names) if !names.is_empty() => {
                    if let Some(ExcludeSelectItem::Multiple(more)) = options.opt_exclude.take() {
                        names.extend(more);
                    }
                    options.opt_exclude = Some(ExcludeSelectItem::Multiple(names));
                }
                _ => self.refuse(at, "EXCLUDE takes names of columns", "write t.* EXCLUDE (a, b)"),
            },
            REPLACE => match replaced_columns(&args) {
                Some(replaced) if !replaced.items.is_empty() => options.opt_replace = Some(replaced),
                _ => self.refuse(
                    at,
                    "REPLACE takes expressions and the columns that they replace",
                    "write * REPLACE (a + 1 AS a)",
                ),
            },
            _ => self.refuse(at, "RENAME behind * is not supported", "write * EXCLUDE (a), a AS b"),
        }
    }

    fn refuse(&mut self, at: Location, message: &str, hint: &str) {
        let pos = Pos { file: self.file, line: at.line, column: at.column };
        self.mistakes.push(Mistake::new(pos, message).hint(hint));
    }
}

fn call_arguments(f: &Function) -> Vec<Expr> {
    let FunctionArguments::List(list) = &f.args else { return vec![] };
    list.args.iter().filter_map(plain_argument).cloned().collect()
}

/// Columns that the arguments of EXCLUDE name; None if one is no name.
fn excluded_names(args: &[Expr]) -> Option<Vec<ObjectName>> {
    let mut names = Vec::with_capacity(args.len());
    for arg in args {
        names.push(ObjectName::from(vec![column_name(arg)?]));
    }
    Some(names)
}

/// Expressions and columns of REPLACE; None if they do not come in pairs.
fn replaced_columns(args: &[Expr]) -> Option<ReplaceSelectItem> {
    let mut items = Vec::with_capacity(args.len() / 2);
    for pair in args.chunks(2) {
        let [expr, name] = pair else { return None };
        let (expr, column_name) = (expr.clone(), column_name(name)?);
        items.push(Box::new(ReplaceSelectElement { expr, column_name, as_keyword: true }));
    }
    Some(ReplaceSelectItem { items })
}

/// Column that an expression names, folded to lower case unless quoted.
fn column_name(expr: &Expr) -> Option<Ident> {
    let Expr::Identifier(name) = expr else { return None };
    let mut folded = Ident::with_quote('"', fold_ident(name));
    folded.span = name.span;
    Some(folded)
}

#[cfg(test)]
mod tests {
    use datafusion_sql::sqlparser::dialect::{GenericDialect, PostgreSqlDialect};
    use datafusion_sql::sqlparser::parser::Parser;
    use datafusion_sql::sqlparser::tokenizer::Tokenizer;

    use super::*;

    fn run(text: &str) -> Result<String, String> {
        let mut read = Tokenizer::new(&GenericDialect {}, text).tokenize_with_location().unwrap();
        read.retain(|t| !matches!(t.token, Token::Whitespace(_)));
        let mut parser = Parser::new(&PostgreSqlDialect {}).with_tokens_with_locations(rewrite_tokens(read));
        let mut query = parser.parse_query().map_err(|e| e.to_string())?;
        match rewrite(&mut query, 0).first() {
            None => Ok(query.to_string()),
            Some(m) => Err(format!("{}:{} {}", m.pos.line, m.pos.column, m.message)),
        }
    }

    #[test]
    fn options_of_a_star_are_read() {
        let cases = [
            ("SELECT * EXCLUDE (A, \"B\") FROM t", "SELECT * EXCLUDE (\"a\", \"B\") FROM t"),
            ("SELECT t.* EXCLUDE a, b FROM t", "SELECT t.* EXCLUDE (\"a\"), b FROM t"),
            ("SELECT * EXCEPT (a) FROM t", "SELECT * EXCLUDE (\"a\") FROM t"),
            (
                "SELECT * EXCLUDE (a) REPLACE (CAST(b AS INT) AS b, c + 1 AS c) FROM t",
                "SELECT * EXCLUDE (\"a\") REPLACE (CAST(b AS INT) AS \"b\", c + 1 AS \"c\") FROM t",
            ),
            ("SELECT * FROM a EXCEPT SELECT * FROM b", "SELECT * FROM a EXCEPT SELECT * FROM b"),
            ("SELECT a * replace(b, 1) FROM t", "SELECT a * replace(b, 1) FROM t"),
        ];
        for (text, expected) in cases {
            assert_eq!(run(text).as_deref(), Ok(expected));
        }
        let renamed = run("SELECT * RENAME (a AS b) FROM t");
        assert_eq!(renamed, Err("1:10 RENAME behind * is not supported".to_owned()));
    }
}
