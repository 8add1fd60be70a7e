//! Functions that print values of any type: `concat`, `format`, `quote_literal`, arrays as text.

use arrow::array::{Array, ArrayRef, AsArray, StringBuilder};
use arrow::datatypes::DataType;
use datafusion_common::{Result, exec_err};

use std::sync::Arc;

use super::check_growth;
use crate::functions::eval::about::{About, about};
use crate::functions::eval::own::{Answer, Def, Gives, Kind, batch, def};
use crate::functions::eval::print;
use crate::functions::eval::value::{Out, Value, row_count, row_error};

use Kind::{Any, List, Text};

/// Definitions of the functions.
pub(crate) const TABLE: &[Def] = &[
    batch("concat", &[Any], Gives::Text, concat_printed).more(Any).total(),
    batch("concat_ws", &[Text, Any], Gives::Text, concat_ws).more(Any).total(),
    batch("||", &[Any, Any], Gives::Text, concat_operands).total(),
    batch("format", &[Text], Gives::Text, format_rows).more(Any),
    batch("quote_literal", &[Any], Gives::Text, quote_values),
    batch("quote_nullable", &[Any], Gives::Text, quote_nullable),
    def("quote_ident", &[Text], Gives::Text, quote_ident),
    batch("array_to_string", &[List, Text, Text], Gives::Text, array_to_string).optional(1),
    batch("array_join", &[List, Text, Text], Gives::Text, array_to_string).optional(1),
    batch("list_to_string", &[List, Text, Text], Gives::Text, array_to_string).optional(1),
    batch("list_join", &[List, Text, Text], Gives::Text, array_to_string).optional(1),
    def("string_to_array", &[Text, Text, Text], Gives::Texts, string_to_array).optional(1).lax(),
    def("string_to_list", &[Text, Text, Text], Gives::Texts, string_to_array).optional(1).lax(),
];

/// The lines of the reference pages about these functions.
pub(crate) const ABOUT: &[About] = &[
    about("concat", "All arguments as one text; NULL is left out. `||` gives NULL instead."),
    about("concat_ws", "The further arguments as one text, with the first between them; NULL is left out."),
    about("format", "The text with `%s`, `%I` and `%L` replaced by the arguments, as in PostgreSQL."),
    about("quote_literal", "The value as a literal of SQL."),
    about("quote_nullable", "The same, but the text NULL for NULL."),
    about("quote_ident", "A name as SQL has to write it, in double quotes where it must be."),
    about(
        "array_to_string array_join list_to_string list_join",
        "The items as one text with a separator; NULL is left out, or a given text.",
    ),
    about(
        "string_to_array string_to_list split string_split",
        "The parts of a text between separators; a part equal to the third argument is NULL.",
    ),
];

/// Builds an array of text from a function of the row; fails before the offsets overflow.
fn by_row(rows: usize, mut of: impl FnMut(usize) -> Result<Option<String>>) -> Result<ArrayRef> {
    let mut out = StringBuilder::new();
    for row in 0..rows {
        match of(row)? {
            Some(text) if out.values_slice().len() + text.len() > i32::MAX as usize => {
                return exec_err!("the result is too long");
            }
            text => out.append_option(text),
        }
    }
    Ok(Arc::new(out.finish()))
}

/// Texts of the arguments of a row, without NULLs.
fn printed_args(args: &[ArrayRef], row: usize) -> Result<Vec<String>> {
    let mut texts = Vec::with_capacity(args.len());
    for arg in args {
        texts.extend(print::output(arg, row)?);
    }
    Ok(texts)
}

fn concat_printed(args: &[ArrayRef], _: &DataType) -> Result<ArrayRef> {
    by_row(row_count(args), |row| Ok(Some(printed_args(args, row)?.concat())))
}

fn concat_ws(args: &[ArrayRef], _: &DataType) -> Result<ArrayRef> {
    by_row(row_count(args), |row| match print::output(&args[0], row)? {
        Some(between) => Ok(Some(printed_args(&args[1..], row)?.join(&between))),
        None => Ok(None),
    })
}

fn concat_operands(args: &[ArrayRef], _: &DataType) -> Result<ArrayRef> {
    by_row(row_count(args), |row| {
        Ok(match (print::text(&args[0], row)?, print::text(&args[1], row)?) {
            (Some(a), Some(b)) => Some(a + &b),
            _ => None,
        })
    })
}

/// Quotes a string literal; one with a backslash becomes `E'...'`, as in PostgreSQL.
pub(crate) fn quote_literal(text: &str) -> String {
    let escaped = text.replace('\'', "''");
    if text.contains('\\') { format!("E'{}'", escaped.replace('\\', "\\\\")) } else { format!("'{escaped}'") }
}

fn quote_values(args: &[ArrayRef], _: &DataType) -> Result<ArrayRef> {
    by_row(row_count(args), |row| Ok(print::text(&args[0], row)?.as_deref().map(quote_literal)))
}

fn quote_nullable(args: &[ArrayRef], _: &DataType) -> Result<ArrayRef> {
    by_row(row_count(args), |row| match print::text(&args[0], row)? {
        Some(text) => Ok(Some(quote_literal(&text))),
        None => Ok(Some("NULL".to_owned())),
    })
}

/// Words that need quotes as identifiers, each between spaces.
const KEYWORDS: &str = " all analyse analyze and any array as asc asymmetric authorization between bigint binary bit boolean both case cast char character check coalesce collate collation column concurrently constraint create cross current_catalog current_date current_role current_schema current_time current_timestamp current_user dec decimal default deferrable desc distinct do else end except exists extract false fetch float for foreign freeze from full grant greatest group grouping having ilike in initially inner inout int integer intersect interval into is isnull join lateral leading least left like limit localtime localtimestamp national natural nchar none normalize not notnull null nullif numeric offset on only or order out outer overlaps overlay placing position precision primary real references returning right row select session_user setof similar smallint some substring symmetric table tablesample then time timestamp to trailing treat trim true union unique user using values varchar variadic verbose when where window with xmlattributes xmlconcat xmlelement xmlexists xmlforest xmlnamespaces xmlparse xmlpi xmlroot xmlserialize xmltable ";

fn quote_ident(v: &[Value<'_>]) -> Answer {
    Ok(quote_identifier(v[0].text()).into())
}

/// Writes a name as SQL has to write it: in double quotes where it must be.
pub(crate) fn quote_identifier(text: &str) -> String {
    let start = text.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    let rest = text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if start && rest && !KEYWORDS.contains(&format!(" {text} ")) {
        text.to_owned()
    } else {
        format!("\"{}\"", text.replace('"', "\"\""))
    }
}

fn format_rows(args: &[ArrayRef], _: &DataType) -> Result<ArrayRef> {
    by_row(row_count(args), |row| format_row(args, row))
}

fn format_row(args: &[ArrayRef], row: usize) -> Result<Option<String>> {
    let Some(pattern) = print::text(&args[0], row)? else { return Ok(None) };
    let values = args[1..].iter().map(|a| print::output(a, row)).collect::<Result<Vec<_>>>()?;
    let writer = FormatWriter { values: &values, next: 0, out: String::new() };
    writer.run(&pattern).map(Some).map_err(row_error)
}

struct FormatWriter<'a> {
    values: &'a [Option<String>],
    next: usize,
    out: String,
}

type Chars<'a> = std::iter::Peekable<std::str::Chars<'a>>;

impl FormatWriter<'_> {
    fn run(mut self, pattern: &str) -> std::result::Result<String, String> {
        let mut chars = pattern.chars().peekable();
        while let Some(c) = chars.next() {
            if c != '%' {
                self.out.push(c);
            } else if chars.peek() == Some(&'%') {
                chars.next();
                self.out.push('%');
            } else {
                self.write_specifier(&mut chars, pattern.len())?;
            }
        }
        Ok(self.out)
    }

    /// Argument number `at`, or the one after the last used.
    fn next_value(&mut self, at: Option<usize>) -> std::result::Result<Option<String>, String> {
        let at = at.unwrap_or(self.next + 1);
        self.next = at;
        match at.checked_sub(1).and_then(|at| self.values.get(at)) {
            Some(value) => Ok(value.clone()),
            None => Err("too few arguments for format()".to_owned()),
        }
    }

    /// Reads `[-][width]`, where `*` or `*n$` takes the width from an argument: true for alignment to the
    /// left, and the width.
    fn read_width(&mut self, chars: &mut Chars<'_>) -> std::result::Result<(bool, Option<usize>), String> {
        let mut left = false;
        while chars.peek() == Some(&'-') {
            chars.next();
            left = true;
        }
        let mut width = read_number(chars)?;
        if width.is_none() && chars.peek() == Some(&'*') {
            chars.next();
            let at = read_number(chars)?;
            if at.is_some() && chars.next() != Some('$') {
                return Err("width argument position must be ended by \"$\"".to_owned());
            }
            let given = self.next_value(at)?;
            let given = given.as_deref().unwrap_or("0");
            let Ok(given) = given.parse::<i64>() else {
                return Err(format!("invalid input syntax for type integer: \"{given}\""));
            };
            left |= given < 0;
            width = usize::try_from(given.unsigned_abs()).ok();
        }
        Ok((left, width))
    }

    /// Writes one `%[n$][-][width]type` of the pattern; the `%` has been read.
    fn write_specifier(&mut self, chars: &mut Chars<'_>, length: usize) -> std::result::Result<(), String> {
        // The first number is an argument's position if `$` follows, and the width otherwise.
        let mut width = read_number(chars)?;
        let mut place = None;
        if width.is_some() && chars.peek() == Some(&'$') {
            chars.next();
            if width == Some(0) {
                return Err("format specifies argument 0, but arguments are numbered from 1".to_owned());
            }
            place = width.take();
        }
        let mut left = false;
        if width.is_none() {
            (left, width) = self.read_width(chars)?;
        }
        let kind = chars.next().ok_or("unterminated format() type specifier")?;
        if !matches!(kind, 's' | 'I' | 'L') {
            return Err(format!(
                "unrecognized format() type specifier \"{kind}\": for a single \"%\" use \"%%\""
            ));
        }
        let text = match (kind, self.next_value(place)?) {
            ('I', None) => return Err("null values cannot be formatted as an SQL identifier".to_owned()),
            ('L', None) => "NULL".to_owned(),
            (_, None) => String::new(),
            ('I', Some(text)) => quote_identifier(&text),
            ('L', Some(text)) => quote_literal(&text),
            (_, Some(text)) => text,
        };
        let missing = width.unwrap_or(0).saturating_sub(text.chars().count());
        check_growth(missing.saturating_add(self.out.len()), length)?;
        let blank = " ".repeat(missing);
        self.out.push_str(if left { &text } else { &blank });
        self.out.push_str(if left { &blank } else { &text });
        Ok(())
    }
}

/// Reads a number, if one comes next.
fn read_number(chars: &mut Chars<'_>) -> std::result::Result<Option<usize>, String> {
    let mut digits = String::new();
    while let Some(digit) = chars.next_if(char::is_ascii_digit) {
        digits.push(digit);
    }
    if digits.is_empty() {
        return Ok(None);
    }
    match digits.parse::<u32>().map(usize::try_from) {
        Ok(Ok(n)) => Ok(Some(n)),
        _ => Err("number is out of range".to_owned()),
    }
}

fn array_to_string(args: &[ArrayRef], _: &DataType) -> Result<ArrayRef> {
    by_row(row_count(args), |row| join_items(args, row))
}

fn join_items(args: &[ArrayRef], row: usize) -> Result<Option<String>> {
    let lists = args[0].as_list::<i32>();
    if lists.is_null(row) {
        return Ok(None);
    }
    let Some(between) = print::text(&args[1], row)? else { return Ok(None) };
    let absent = match args.get(2) {
        Some(absent) => print::text(absent, row)?,
        None => None,
    };
    let mut items = Vec::new();
    flatten_items(&lists.value(row), &mut items)?;
    let kept: Vec<&str> = items.iter().filter_map(|item| item.as_deref().or(absent.as_deref())).collect();
    Ok(Some(kept.join(&between)))
}

/// Appends the items of an array, those of nested arrays in place.
fn flatten_items(items: &ArrayRef, out: &mut Vec<Option<String>>) -> Result<()> {
    for row in 0..items.len() {
        match items.data_type() {
            DataType::List(_) if items.is_null(row) => {}
            DataType::List(_) => flatten_items(&items.as_list::<i32>().value(row), out)?,
            _ => out.push(print::output(items, row)?),
        }
    }
    Ok(())
}

fn string_to_array(v: &[Value<'_>]) -> Answer {
    let Value::Text(text) = v[0] else { return Ok(Out::Null) };
    let absent = match v.get(2) {
        Some(Value::Text(absent)) => Some(*absent),
        _ => None,
    };
    let item = |item: &str| if Some(item) == absent { None } else { Some(item.to_owned()) };
    Ok(Out::Texts(match v[1] {
        _ if text.is_empty() => vec![],
        Value::Text("") => vec![item(text)],
        Value::Text(by) => text.split(by).map(item).collect(),
        _ => text.chars().map(|c| item(c.encode_utf8(&mut [0; 4]))).collect(),
    }))
}
