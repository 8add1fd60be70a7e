//! Parameters of a query, `$1`, `$2`: their values take their places among the tokens.
//!
//! A value is written as SQL, as `CAST('5' AS BIGINT)`. Its tokens stand at the place of the parameter, so
//! that mistakes keep their places in the text. A parameter without a value stays as it is. LIMIT and OFFSET
//! take a plain number.

use datafusion_sql::sqlparser::dialect::GenericDialect;
use datafusion_sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

use super::cursor::Context;
use super::tokens::{is_any_word, is_visible, is_word, with_span_of};
use crate::mistake::Mistake;

/// Words behind which a number of rows stands.
const ROW_COUNTS: [&str; 4] = ["limit", "offset", "first", "next"];

/// Puts `values` in the places of the parameters, the first one in that of `$1`.
///
/// # Errors
/// If a value is no SQL.
pub(super) fn bind(
    context: &Context<'_>,
    tokens: Vec<TokenWithSpan>,
    values: &[Option<String>],
) -> Result<Vec<TokenWithSpan>, Mistake> {
    let mut bound: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    for token in tokens {
        let value = number_of(&token.token).and_then(|n| values.get(n - 1)?.as_deref());
        let Some(sql) = value else {
            bound.push(token);
            continue;
        };
        let counts = bound.last().is_some_and(|before| is_any_word(&before.token, &ROW_COUNTS));
        let read = match Tokenizer::new(&GenericDialect {}, sql).tokenize_with_location() {
            Ok(read) => read,
            Err(error) => {
                let message = format!("the value of {} cannot be read: {}", token.token, error.message);
                return Err(Mistake::new(context.pos(token.span.start), message));
            }
        };
        if counts {
            let offset = bound.last().is_some_and(|before| is_word(&before.token, "offset"));
            bound.push(with_span_of(&token, row_count(&read, offset)));
            continue;
        }
        for part in read.into_iter().filter(is_visible) {
            bound.push(with_span_of(&token, part.token));
        }
    }
    Ok(bound)
}

/// The number of a parameter; None for other tokens.
pub(crate) fn number_of(token: &Token) -> Option<usize> {
    let Token::Placeholder(name) = token else { return None };
    name.strip_prefix('$')?.parse().ok().filter(|n| *n > 0)
}

/// The number of rows that a value is: NULL is no limit, and no offset.
fn row_count(value: &[TokenWithSpan], offset: bool) -> Token {
    for part in value {
        match &part.token {
            Token::Number(digits, long) => return Token::Number(digits.clone(), *long),
            Token::SingleQuotedString(digits) => return Token::Number(digits.clone(), false),
            _ => {}
        }
    }
    if offset { Token::Number("0".to_owned(), false) } else { Token::make_keyword("ALL") }
}

#[cfg(test)]
mod tests {
    use crate::sql::parse::parse_bound;

    #[test]
    fn values_stand_where_their_parameters_do() {
        for (text, values, bound) in [
            ("SELECT $2, $1", &["CAST('5' AS BIGINT)", "'it''s'"][..], "SELECT 'it''s', CAST('5' AS BIGINT)"),
            (
                "SELECT a FROM t LIMIT $1 OFFSET $2",
                &["CAST('5' AS BIGINT)", "CAST(NULL AS BIGINT)"],
                "SELECT a FROM t LIMIT 5 OFFSET 0",
            ),
            ("SELECT a FROM t LIMIT $1", &["CAST(NULL AS BIGINT)"], "SELECT a FROM t"),
            ("SELECT '$1', \"$1\" FROM t", &["5"], "SELECT '$1', \"$1\" FROM t"),
        ] {
            let values: Vec<Option<String>> = values.iter().map(|value| Some((*value).to_owned())).collect();
            let query = parse_bound(text, &values).map(|query| query.to_string());
            assert_eq!(query, Ok(bound.to_owned()), "{text}");
        }
    }

    #[test]
    fn a_parameter_without_a_value_stays() {
        let query = parse_bound("SELECT $1, $2", &[None]).map(|query| query.to_string());
        assert_eq!(query, Ok("SELECT $1, $2".to_owned()));
    }
}
