//! Syntax and functions of other SQL dialects, with hints at the equivalent here.
//!
//! None of them is supported: they are only recognised so that the refusal can name the equivalent.

use datafusion_sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::sql::parse::tokens::{begin_with, is_any_word};

/// Functions of MySQL, Spark, Snowflake, Flink, ksqlDB and BigQuery, with the replacement for each.
const FUNCTIONS: [(&str, &str); 75] = [
    ("add_months", "d + INTERVAL '1 month'"),
    ("approx_count_distinct", "count(DISTINCT x), which is exact"),
    ("array_count", "cardinality(array_filter(a, x -> condition))"),
    ("array_size", "cardinality(array)"),
    ("bool_or_agg", "bool_or(x)"),
    ("char_index", "position(x IN s)"),
    ("charindex", "position(x IN s)"),
    ("collect_list", "array_agg(x ORDER BY y)"),
    ("collect_set", "array_agg(DISTINCT x)"),
    ("convert", "CAST(x AS TYPE)"),
    ("count_if", "count(*) FILTER (WHERE condition)"),
    ("countif", "count(*) FILTER (WHERE condition)"),
    ("crc32", "md5(x)"),
    ("curdate", "a column of the record, such as its event time"),
    ("date_add", "ts + INTERVAL '1 day'"),
    ("date_format", "to_char(ts, 'YYYY-MM-DD')"),
    ("date_sub", "ts - INTERVAL '1 day'"),
    ("dateadd", "ts + INTERVAL '1 day'"),
    ("day", "extract(day FROM t)"),
    ("dayname", "to_char(t, 'FMDay')"),
    ("dayofmonth", "extract(day FROM t)"),
    ("dayofweek", "extract(dow FROM t), where Sunday is 0, or extract(isodow FROM t)"),
    ("dayofyear", "extract(doy FROM t)"),
    ("earliest_by_offset", "first_value(x ORDER BY offset)"),
    ("explode", "FROM t, UNNEST(t.items) AS i"),
    ("expm1", "exp(x) - 1"),
    ("first", "first_value(x ORDER BY y)"),
    ("get_json_object", "j #>> '{a,b}'"),
    ("group_concat", "string_agg(x, ',' ORDER BY y)"),
    ("hash", "md5(x)"),
    ("hashtext", "md5(x)"),
    ("hex", "to_hex(n), or upper(encode(b, 'hex'))"),
    ("hop_end", HOP),
    ("hop_start", HOP),
    ("hour", "extract(hour FROM t)"),
    ("if", "CASE WHEN condition THEN a ELSE b END"),
    ("iff", "CASE WHEN condition THEN a ELSE b END"),
    ("isnull", "x IS NULL"),
    ("json_extract", "j -> 'a'"),
    ("json_extract_scalar", "j ->> 'a'"),
    ("json_value", "j ->> 'a'"),
    ("last", "last_value(x ORDER BY y)"),
    ("last_day", "date_trunc('month', t) + INTERVAL '1 month - 1 day'"),
    ("latest_by_offset", "last_value(x ORDER BY offset)"),
    ("len", "length(s)"),
    ("list_aggregate", "array_sum(a), array_min(a) or array_max(a), or an aggregate over UNNEST(a) in FROM"),
    ("listagg", "string_agg(x, ',' ORDER BY y)"),
    ("log1p", "ln(1 + x)"),
    ("map_from_entries", "jsonb_object_agg(k, v)"),
    ("minute", "extract(minute FROM t)"),
    ("month", "extract(month FROM t)"),
    ("monthname", "to_char(t, 'FMMonth')"),
    ("months_between", "timestampdiff(MONTH, a, b) for whole months"),
    ("parse_json", "CAST(s AS JSONB)"),
    ("quarter", "extract(quarter FROM t)"),
    ("safe_divide", "a / nullif(b, 0)"),
    ("second", "extract(second FROM t)"),
    ("session_start", SESSION),
    ("size", "cardinality(a)"),
    ("space", "repeat(' ', n)"),
    ("square", "x * x"),
    ("str_to_date", "to_timestamp(s, 'YYYY-MM-DD')"),
    ("struct_extract", "s['field']"),
    ("struct_pack", "STRUCT(x AS field)"),
    ("timestampadd", "t + 3 * INTERVAL '1 day'"),
    ("topk", "row_number() OVER (PARTITION BY k ORDER BY x DESC) <= n in an outer query"),
    ("tumble_end", TUMBLE),
    ("tumble_start", TUMBLE),
    ("unhex", "decode(s, 'hex')"),
    ("unix_timestamp", "extract(epoch FROM ts)"),
    ("week", "extract(week FROM t)"),
    ("weekofyear", "extract(week FROM t)"),
    ("xxhash64", "md5(x)"),
    ("year", "extract(year FROM t)"),
    ("zeroifnull", "coalesce(x, 0)"),
];

/// Finds syntax of another dialect in a statement: the token, a message and a hint.
pub(crate) fn find_foreign(tokens: &[TokenWithSpan]) -> Option<(&TokenWithSpan, String, &'static str)> {
    for (at, token) in tokens.iter().enumerate() {
        if let Some((message, hint)) = foreign_syntax(&tokens[at..], at) {
            return Some((token, message, hint));
        }
    }
    None
}

/// Sequences of words that cannot occur in Herald's SQL, each with a message and a hint.
const PHRASES: [(&[&str], &str, &str); 10] = [
    (&["emit", "changes"], "EMIT CHANGES is not a clause", "leave it out: a view emits its changes"),
    (&["emit", "final"], "EMIT FINAL is not a clause", "write EMIT ON WINDOW CLOSE"),
    (&["not", "enforced"], "NOT ENFORCED is not a clause", "leave it out"),
    (&["window", "tumbling"], "WINDOW TUMBLING is not a clause", TUMBLE),
    (&["window", "hopping"], "WINDOW HOPPING is not a clause", HOP),
    (&["window", "session"], "WINDOW SESSION is not a clause", SESSION),
    (
        &["as", "proctime"],
        "there is no column of the time of processing",
        "use the record's time: INCLUDE timestamp",
    ),
    (&["lateral", "view"], "LATERAL VIEW is not a clause", "write FROM t, UNNEST(t.items) AS item"),
    (&["cross", "apply"], "CROSS APPLY is not a join", "write CROSS JOIN LATERAL (SELECT ...) AS q"),
    (&["outer", "apply"], "OUTER APPLY is not a join", "write LEFT JOIN LATERAL (SELECT ...) AS q ON TRUE"),
];

const TUMBLE: &str = "write FROM TUMBLE(t, ts, INTERVAL '1 hour') ... GROUP BY window_start, window_end";
const HOP: &str =
    "write FROM HOP(t, ts, INTERVAL '5 minutes', INTERVAL '1 hour') ... GROUP BY window_start, window_end";
const SESSION: &str =
    "write FROM SESSION(t PARTITION BY k, ts, INTERVAL '10 minutes') ... GROUP BY k, window_start";

/// Message and hint if syntax of another dialect begins with the first token of `rest`, the `at`th of its
/// statement.
fn foreign_syntax(rest: &[TokenWithSpan], at: usize) -> Option<(String, &'static str)> {
    if let Some((_, message, hint)) = PHRASES.iter().find(|(words, ..)| begin_with(rest, words)) {
        return Some(((*message).to_owned(), hint));
    }
    let next = rest.get(1).map(|t| &t.token);
    Some(match &rest[0].token {
        Token::Sharp if at == 0 => ("# begins no comment".to_owned(), "write -- before a comment"),
        Token::Word(_) if at > 0 && begin_with(rest, &["create"]) && next.is_some_and(is_created) => {
            ("expected `;` before this statement".to_owned(), "end the one before it with ;")
        }
        Token::Word(_) if begin_with(rest, &["within"]) && matches!(next, Some(Token::Number(..))) => (
            "WITHIN is not a clause".to_owned(),
            "write the distance in ON: AND a.ts BETWEEN b.ts - INTERVAL '1 hour' AND b.ts + INTERVAL '1 hour'",
        ),
        Token::DuckIntDiv => {
            ("// is no operator".to_owned(), "write div(a, b) for a whole quotient, and -- before a comment")
        }
        Token::Placeholder(name) if name.starts_with('$') => {
            (format!("{name} stands for nothing: a topology has no parameters"), "write the value")
        }
        Token::LBrace if next == Some(&Token::LBrace) => {
            ("templates are not filled in here".to_owned(), "write the name of the source, table or view")
        }
        Token::Char(quote @ ('‘' | '’' | '“' | '”' | '„' | '´')) => {
            (format!("{quote} is no quote"), "write ' around text, and \" around a name")
        }
        _ => return None,
    })
}

/// Tells whether a token is the word for an object that a topology creates.
fn is_created(token: &Token) -> bool {
    is_any_word(token, &["source", "table", "view", "materialized", "sink", "index"])
}

/// Hint for a function of another dialect.
pub(crate) fn function_hint(name: &str) -> Option<String> {
    let known = FUNCTIONS.iter().find(|(theirs, _)| name.eq_ignore_ascii_case(theirs))?;
    Some(if known.1.starts_with("write ") { known.1.to_owned() } else { format!("write {}", known.1) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_advised_for_what_is_understood() {
        let functions = &crate::functions::FUNCTIONS;
        let both: Vec<_> = FUNCTIONS.iter().filter(|(name, _)| functions.scalar(name).is_some()).collect();
        assert!(both.is_empty(), "{both:?}");
        assert!(function_hint("DateAdd").is_some() && function_hint("date_trunc").is_none());
    }
}
