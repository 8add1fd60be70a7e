//! SQL's words for the texts of the error table.
//!
//! Its rows are stored with the engine's texts, by which they are taken back, so that these cannot change: they are
//! spelled as SQL where they are shown. The engine leaves out the quotes of constants. [`spell`] puts them back where
//! nothing but a constant can stand, and leaves all else as it is.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, StringArray};
use arrow::datatypes::Schema;

use super::words::{TYPES, closing_bracket, is_name_char, readable, replace_between};
use crate::functions::text::format::{quote_identifier, quote_literal};

/// Columns of the error table that have texts of the engine.
const EXPRESSION: &str = "expression";
const MESSAGE: &str = "message";

/// Kinds of errors, which stand before their messages.
const KINDS: [&str; 9] = [
    "Internal error: ",
    "Execution error: ",
    "External error: ",
    "Error during planning: ",
    "Arrow error: ",
    "Cast error: ",
    "Parser error: ",
    "Compute error: ",
    "Invalid argument error: ",
];

/// Beginnings of the texts in place of an expression: a sink, or a recursion, fails as a whole.
const WHOLE: [&str; 2] = ["sink ", "WITH RECURSIVE "];

/// Words of expressions that are neither names nor constants, each between spaces.
const KEYWORDS: &str = " AND OR NOT IS NULL CASE WHEN THEN ELSE END CAST AS IN SET LIKE ILIKE DISTINCT FROM BIT_XOR DIV OVER \
    FILTER WHERE ORDER BY true false distinct where order by desc asc nulls first last ignore ignoring rows range groups \
    between unbounded preceding following and current row INTERVAL ";

/// Those of them behind which a constant may stand.
const BEFORE_CONSTANT: &str = " THEN ELSE LIKE ILIKE FROM ";

/// Most words in which a column's name is found.
const MAX_NAME_WORDS: usize = 8;

/// Types to which a function casts, in its name.
const CASTS: [&str; 14] = [
    "boolean",
    "smallint",
    "int",
    "bigint",
    "real",
    "double",
    "decimal",
    "varchar",
    "bytea",
    "uuid",
    "date",
    "time",
    "timestamp",
    "timestamptz",
];

/// Tells whether a column of the error table is shown otherwise than it is stored.
pub fn is_spelled(column: &str) -> bool {
    matches!(column, EXPRESSION | MESSAGE)
}

/// Spells a text of a column of the error table as SQL.
pub fn spell<'t>(column: &str, stored: &'t str) -> Cow<'t, str> {
    match column {
        EXPRESSION if !WHOLE.iter().any(|begin| stored.starts_with(begin)) => {
            Cow::Owned(spell_expression(stored))
        }
        MESSAGE => Cow::Owned(spell_message(stored)),
        _ => Cow::Borrowed(stored),
    }
}

/// Spells the columns of rows of the error table, of which `schema` has the names.
pub fn spell_columns(schema: &Schema, columns: &mut [ArrayRef]) {
    for (field, column) in schema.fields().iter().zip(columns) {
        if is_spelled(field.name())
            && let Some(stored) = column.as_string_opt::<i32>()
        {
            let spelled = stored.iter().map(|text| Some(spell(field.name(), text?)));
            *column = Arc::new(StringArray::from_iter(spelled));
        }
    }
}

/// Spells a message: without the kinds of the error, and with SQL's types outside of quotes.
fn spell_message(stored: &str) -> String {
    let mut text = stored;
    while let Some(rest) = KINDS.iter().find_map(|kind| text.strip_prefix(kind)) {
        text = rest;
    }
    if text == "Divide by zero error" {
        return "division by zero".to_owned();
    }
    if let Some(operation) = text.strip_prefix("Arithmetic overflow: Overflow happened on: ") {
        return format!("the result does not fit its type: {operation}");
    }
    // The only name of a type with quotes in it.
    let text = text.replace(TYPES[0].0, TYPES[0].1);
    let (mut out, mut rest) = (String::with_capacity(text.len()), text.as_str());
    while let Some((begin, end)) = quoted_part(rest) {
        out.push_str(&with_types(&rest[..begin]));
        out.push_str(&rest[begin..end]);
        rest = &rest[end..];
    }
    out + &with_types(rest)
}

/// The first part in quotes. An apostrophe within a word is none, nor is a quote that is not closed.
fn quoted_part(text: &str) -> Option<(usize, usize)> {
    let mut before = ' ';
    for (at, c) in text.char_indices() {
        if matches!(c, '\'' | '"')
            && !is_name_char(before)
            && let Some(length) = text[at + 1..].find(c)
        {
            return Some((at, at + length + 2));
        }
        before = c;
    }
    None
}

/// The text with SQL's names of types in place of the engine's.
fn with_types(text: &str) -> String {
    let mut out = text.to_owned();
    for (engine, sql) in TYPES {
        let mut begin = 0;
        while let Some(found) = out[begin..].find(engine) {
            let at = begin + found;
            let behind = &out[at + engine.len()..];
            let part = out[..at].ends_with(is_name_char)
                || (engine.ends_with(is_name_char) && behind.starts_with(is_name_char));
            begin = at + engine.len();
            if !part {
                out.replace_range(at..begin, sql);
                begin = at + sql.len();
            }
        }
    }
    out
}

/// Spells an expression: names without positions, constants in quotes, casts and types as in SQL.
fn spell_expression(stored: &str) -> String {
    let constants = |text: &str| Some(quote_literal(text));
    let text = with_casts(&replace_between(&readable(stored), ("Utf8(\"", "\")"), &constants));
    let mut speller = Speller { out: String::with_capacity(text.len()), operand: false };
    let mut rest = text.as_str();
    while !rest.is_empty() {
        rest = speller.take(rest);
    }
    let list = |items: &str| Some(format!(" IN ({items})"));
    let out = replace_between(&speller.out, (" IN (SET) ([", "])"), &list);
    replace_between(&out, (" IN ([", "])"), &list)
}

/// Writes functions that cast, `cast_bigint(x)`, as CAST.
fn with_casts(text: &str) -> String {
    const PREFIX: &str = "cast_";
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find(PREFIX) {
        out.push_str(&rest[..at]);
        let behind = &rest[at + PREFIX.len()..];
        match cast_parts(behind) {
            Some((to, argument)) if !out.ends_with(is_name_char) => {
                let sql = to.replace('_', " ").to_uppercase();
                out.push_str(&format!("CAST({} AS {sql})", with_casts(argument)));
                rest = &behind[to.len() + argument.len() + 2..];
            }
            _ => {
                out.push_str(PREFIX);
                rest = behind;
            }
        }
    }
    out + rest
}

/// The type and the argument of a cast, of which the text is that behind `cast_`.
fn cast_parts(text: &str) -> Option<(&str, &str)> {
    let name = text.find(|c: char| !is_name_char(c))?;
    if !CASTS.contains(&&text[..name]) {
        return None;
    }
    let mut end = name;
    if text[..name] == *"decimal" && text[name..].starts_with('(') {
        end += 2 + closing_bracket(&text[name + 1..])?;
    }
    while text[end..].starts_with("[]") {
        end += 2;
    }
    let argument = text[end..].strip_prefix('(')?;
    Some((&text[..end], &argument[..closing_bracket(argument)?]))
}

/// Writer of an expression, one part after the other.
struct Speller {
    out: String,
    /// Set where an operand begins, which may be a constant.
    operand: bool,
}

impl Speller {
    /// Writes the first part of a text. Returns the rest.
    fn take<'t>(&mut self, text: &'t str) -> &'t str {
        let word = first_word(text);
        let behind = &text[word.len()..];
        if word.is_empty() {
            return self.take_mark(text);
        }
        if let Some((name, rest)) = column_name(text) {
            if !name.is_empty() {
                self.out.push_str(&quote_identifier(name));
            }
            self.operand = false;
            return rest;
        }
        let is_call = behind.starts_with('(');
        if self.operand && !is_call && is_constant(word) {
            let constant = constant_run(text);
            self.out.push_str(&quote_literal(constant));
            self.operand = false;
            return &text[constant.len()..];
        }
        self.out.push_str(word);
        self.operand = is_operator(word) || BEFORE_CONSTANT.contains(&format!(" {word} "));
        behind
    }

    /// Writes a bracket, a comma or white space.
    fn take_mark<'t>(&mut self, text: &'t str) -> &'t str {
        let mark = text.chars().next().unwrap_or_default();
        self.operand = match mark {
            '[' => true,
            ',' => text.starts_with(", "),
            ' ' => self.operand,
            _ => false,
        };
        self.out.push(mark);
        &text[mark.len_utf8()..]
    }
}

/// The first word: the text up to white space, a bracket, or a comma between operands. A text in quotes is one.
fn first_word(text: &str) -> &str {
    if text.starts_with(['\'', '"'])
        && let Some((0, end)) = quoted_part(text)
    {
        return &text[..end];
    }
    for (at, c) in text.char_indices() {
        let comma = c == ',' && matches!(text.as_bytes().get(at + 1), None | Some(b' '));
        if comma || c.is_whitespace() || matches!(c, '(' | ')' | '[' | ']') {
            return &text[..at];
        }
    }
    text
}

/// The name of a column, which may have spaces, if the text begins with one; and the rest behind its position.
fn column_name(text: &str) -> Option<(&str, &str)> {
    let mut begin = 0;
    for _ in 0..MAX_NAME_WORDS {
        let word = first_word(&text[begin..]);
        let end = begin + word.len();
        if let Some((name, position)) = word.rsplit_once('@')
            && !position.is_empty()
            && position.bytes().all(|digit| digit.is_ascii_digit())
        {
            return Some((&text[..begin + name.len()], &text[end..]));
        }
        if !is_constant(word) || !text[end..].starts_with(' ') {
            break;
        }
        begin = end + 1;
    }
    None
}

/// The words with which a text begins and which may be one constant.
fn constant_run(text: &str) -> &str {
    let mut end = first_word(text).len();
    while let Some(more) = text[end..].strip_prefix(' ') {
        let word = first_word(more);
        if !is_constant(word) || more[word.len()..].starts_with('(') {
            break;
        }
        end += 1 + word.len();
    }
    &text[..end]
}

/// Tells whether a word may be of a constant text, or of a name: it is no keyword, operator or number, and has no dot,
/// which stands in names of columns that planning makes.
fn is_constant(word: &str) -> bool {
    let known = KEYWORDS.contains(&format!(" {word} ")) || is_operator(word) || word.parse::<f64>().is_ok();
    !word.is_empty() && !known && !word.contains(['.', '"']) && !word.starts_with('\'')
}

fn is_operator(word: &str) -> bool {
    !word.is_empty() && word.chars().all(|c| "=<>!+-*/%&|~^@#?:".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_spelled_as_sql() {
        for (stored, spelled) in [
            ("12 / CAST(n@1 AS Int64)", "12 / CAST(n AS BIGINT)"),
            ("CAST(b@1 AS Decimal128(10, 2)) > 3", "CAST(b AS DECIMAL(10, 2)) > 3"),
            ("CAST(at@0 AS Timestamp(µs, \"UTC\"))", "CAST(at AS TIMESTAMPTZ)"),
            ("CAST(id@0 AS FixedSizeBinary(16))", "CAST(id AS UUID)"),
            ("endedAt@2 + 1 > order@0", "\"endedAt\" + 1 > \"order\""),
            ("(- n@1)", "(- n)"),
            ("cast_int(n@1 + 1)", "CAST(n + 1 AS INT)"),
            ("cast_decimal(10,_2)(cast_bigint(a@0))", "CAST(CAST(a AS BIGINT) AS DECIMAL(10, 2))"),
            ("cast_bigint[](a@0)", "CAST(a AS BIGINT[])"),
            ("herald_tumble_start(at@1, 3600000000)", "tumble_start(at, INTERVAL '1 hour')"),
            ("country@2 = DE AND n@0 = 0 OR 10 / n@0 > 0", "country = 'DE' AND n = 0 OR 10 / n > 0"),
            ("name@0 != New York", "name != 'New York'"),
            ("day@1 >= 2026-01-01", "day >= '2026-01-01'"),
            ("name@0 = O'Brien", "name = 'O''Brien'"),
            ("c@1 IN ([DE, NL]) AND n@0 NOT IN (SET) ([1, 2])", "c IN ('DE', 'NL') AND n NOT IN (1, 2)"),
            ("get_field(items@1, sku) || x", "get_field(items, 'sku') || 'x'"),
            ("CASE WHEN a@0 > 1 THEN yes ELSE no END", "CASE WHEN a > 1 THEN 'yes' ELSE 'no' END"),
            ("a@0 IS DISTINCT FROM b@1", "a IS DISTINCT FROM b"),
            ("a@0 + IntervalMonthDayNano { months: 0, days: 1, nanoseconds: 0 }", "a + INTERVAL '1 day'"),
            // Names that planning makes of aggregates stay as they are.
            ("sum(games.points)@2 / count(Int64(1))@1", "sum(games.points) / count(1)"),
            ("count(t.a) FILTER (WHERE t.b = Utf8(\"x\"))@2 / 0", "count(t.a) FILTER (WHERE t.b = 'x') / 0"),
            ("sum(n@1)", "sum(n)"),
            ("array_agg(distinct a@0 order by b@1 desc)", "array_agg(distinct a order by b desc)"),
            ("1 / two words@3", "1 / \"two words\""),
            // What failed may be no expression.
            ("OVER", "OVER"),
            ("sink teams_out", "sink teams_out"),
            ("WITH RECURSIVE Ways", "WITH RECURSIVE Ways"),
            ("", ""),
        ] {
            assert_eq!(spell("expression", stored), spelled);
        }
    }

    #[test]
    fn messages_are_spelled_as_sql() {
        for (stored, spelled) in [
            ("Arrow error: Divide by zero error", "division by zero"),
            (
                "Arrow error: Arithmetic overflow: Overflow happened on: 9223372036854775807 + 1",
                "the result does not fit its type: 9223372036854775807 + 1",
            ),
            (
                "Arrow error: Cast error: Can't cast value 3000000000 to type Int32",
                "Can't cast value 3000000000 to type INT",
            ),
            (
                "Arrow error: Cast error: Cannot cast string 'Int64' to value of Timestamp(µs, \"UTC\") type",
                "Cannot cast string 'Int64' to value of TIMESTAMPTZ type",
            ),
            (
                "Execution error: invalid input syntax for type integer: \"Utf8\"",
                "invalid input syntax for type integer: \"Utf8\"",
            ),
            ("a group has more than 5 values", "a group has more than 5 values"),
            ("UInt64 and MyInt64 and Int64s", "UInt64 and MyInt64 and Int64s"),
        ] {
            assert_eq!(spell("message", stored), spelled);
        }
        assert_eq!(spell("row", "n@1=Int64"), "n@1=Int64");
    }

    /// The text of a value may be anything.
    #[test]
    fn any_text_is_spelled() {
        for text in
            ["cast_", "cast_int(", "@1", "'", "a@0 = '", "é@0 (", "IN ([", "cast_decimal(1", ",", "x, "]
        {
            let once = spell("expression", text);
            assert_eq!(once, spell("expression", text));
            spell("message", text);
        }
    }
}
