//! Readers of `WITH (...)` and of the tail `FORMAT f ENCODE e (...) [KEY ENCODE k (...)]`.
//!
//! An option is a dotted name and a value: a string in single quotes, in which variables are
//! replaced, or a number or TRUE/FALSE. Names fold to lower case, except quoted parts and those behind
//! `properties.` (librdkafka's names are passed on as written). An option named twice is refused;
//! unknown options are refused later, by the connector or format that takes them.

use datafusion_sql::sqlparser::tokenizer::{Token, Word};

use crate::mistake::{Mistake, Pos};
use crate::plan::formats::{Encoding, Format};
use crate::sql::diagnostics::did_you_mean::{did_you_mean, nearest};
use crate::sql::parse::ast::OptionItem;
use crate::sql::parse::cursor::{Cursor, Read};
use crate::sql::parse::env::{Unresolved, substitute};
use crate::sql::parse::tokens::{fold, is_any_word, is_word};

/// Encoding, its options, and its position.
pub type Encode = (Encoding, Vec<OptionItem>, Pos);

/// Reads `(name = value, ...)`. Mistakes in single options are collected and reading goes on.
pub fn read_list(cursor: &mut Cursor<'_>, mistakes: &mut Vec<Mistake>) -> Read<Vec<OptionItem>> {
    cursor.expect(&Token::LParen)?;
    let mut items: Vec<OptionItem> = Vec::new();
    if cursor.take_token(&Token::RParen) {
        return Ok(items);
    }
    loop {
        match read_option(cursor) {
            Ok(item) => match items.iter().find(|other| other.name == item.name) {
                Some(_) => {
                    mistakes.push(Mistake::new(item.pos, format!("option {} is given twice", item.name)))
                }
                None => items.push(item),
            },
            Err(mistake) => {
                mistakes.push(mistake);
                cursor.seek(cursor.find_comma());
            }
        }
        if !cursor.take_token(&Token::Comma) {
            break;
        }
    }
    if cursor.take_token(&Token::RParen) {
        Ok(items)
    } else {
        Err(cursor.expected("`,` or `)` after an option"))
    }
}

/// Reads `name = value`.
fn read_option(cursor: &mut Cursor<'_>) -> Read<OptionItem> {
    let pos = cursor.pos();
    let mut name = read_name_part(cursor, false)?;
    let exact = name == "properties";
    while cursor.take_token(&Token::Period) {
        name.push('.');
        name.push_str(&read_name_part(cursor, exact)?);
    }
    cursor.expect(&Token::Eq)?;
    let at = cursor.pos();
    let value = match cursor.peek() {
        Some(Token::SingleQuotedString(text)) => {
            match substitute(text, cursor.context.env, cursor.context.read_file) {
                Ok(value) => value,
                // A variable that is not set is reported once, at the first option that needs it.
                Err(Unresolved { unset: Some(variable), .. })
                    if !cursor.context.shared.unset.borrow_mut().insert(variable.clone()) =>
                {
                    let value = text.clone();
                    cursor.lacks_variable = true;
                    value
                }
                Err(error) => {
                    let message = format!("option {name}: {}", error.message);
                    return Err(Mistake::new(at, message).hint(error.hint));
                }
            }
        }
        Some(Token::Number(text, false)) => text.clone(),
        Some(token) if is_word(token, "true") || is_word(token, "false") => token.to_string().to_lowercase(),
        _ => {
            return Err(cursor
                .expected(&format!("a value for option {name}"))
                .hint("write the value in single quotes"));
        }
    };
    cursor.bump();
    Ok(OptionItem { name, value, pos })
}

/// Reads one part of a dotted name; `exact` keeps its case.
fn read_name_part(cursor: &mut Cursor<'_>, exact: bool) -> Read<String> {
    match cursor.peek() {
        Some(Token::Word(Word { value, quote_style, .. })) => {
            let text = if exact { value.clone() } else { fold(value, *quote_style) };
            cursor.bump();
            Ok(text)
        }
        Some(Token::SingleQuotedString(_)) => Err(cursor
            .expected("an option name")
            .hint("write option names without quotes: topic = 'matches'")),
        _ => Err(cursor.expected("an option name")),
    }
}

/// The words behind FORMAT.
pub const FORMATS: [(&str, Format); 3] =
    [("plain", Format::Plain), ("upsert", Format::Upsert), ("debezium", Format::Debezium)];

/// The words behind ENCODE and KEY ENCODE.
pub const ENCODINGS: [(&str, Encoding); 5] = [
    ("json", Encoding::Json),
    ("avro", Encoding::Avro),
    ("text", Encoding::Text),
    ("bytes", Encoding::Bytes),
    ("parquet", Encoding::Parquet),
];

/// Reads the word after FORMAT; `before` are the clauses before it.
fn read_format(cursor: &mut Cursor<'_>, before: &Tail) -> Read<(Format, Pos)> {
    let pos = cursor.pos();
    for (word, format) in FORMATS {
        if cursor.take_words(&[word]) {
            return Ok((format, pos));
        }
    }
    let mistake = cursor.expected("PLAIN, UPSERT or DEBEZIUM after FORMAT");
    let hint = order_hint(cursor, before).or_else(|| nearest_hint(cursor, &["PLAIN", "UPSERT", "DEBEZIUM"]));
    Err(mistake.maybe_hint(hint))
}

/// Reads the word after ENCODE, or after KEY ENCODE if `key`, and its options. PARQUET is not for keys;
/// values of TEXT and BYTES are for sources alone, which the statement checks.
fn read_encode(
    cursor: &mut Cursor<'_>,
    key: bool,
    before: &Tail,
    mistakes: &mut Vec<Mistake>,
) -> Read<Encode> {
    let pos = cursor.pos();
    let named = ENCODINGS.into_iter().find(|(word, _)| cursor.peek_words(&[word]));
    let Some((_, encoding)) = named.filter(|(_, encoding)| !key || *encoding != Encoding::Parquet) else {
        if key {
            let hint = nearest_hint(cursor, &["JSON", "AVRO", "TEXT", "BYTES"]);
            return Err(cursor.expected("JSON, AVRO, TEXT or BYTES after KEY ENCODE").maybe_hint(hint));
        }
        let near = || nearest_hint(cursor, &["JSON", "AVRO", "PARQUET", "TEXT", "BYTES"]);
        let hint = order_hint(cursor, before).or_else(near);
        return Err(cursor.expected("JSON or AVRO after ENCODE").maybe_hint(hint));
    };
    cursor.bump();
    let options = match cursor.peek() {
        Some(Token::LParen) => read_list(cursor, mistakes)?,
        _ => Vec::new(),
    };
    Ok((encoding, options, pos))
}

/// Hint at the order of FORMAT and ENCODE where a word of one of them comes next in another place.
///
/// It keeps the word of the other clause, which is among those `before` or behind the next word. None for TEXT
/// and BYTES, which mostly encode keys.
pub fn order_hint(cursor: &Cursor<'_>, before: &Tail) -> Option<String> {
    let next = cursor.peek()?;
    if format_of(next).is_none() && value_encoding_of(next).is_none() {
        return None;
    }
    let mut format = before.format.as_ref().map(|(format, _)| *format);
    let mut encoding = before.encode.as_ref().map(|(encoding, ..)| *encoding);
    let clause = cursor.peek_at(1).is_some_and(|t| is_any_word(&t.token, &["format", "encode"]));
    let behind = if clause { cursor.peek_at(2).map(|t| &t.token) } else { None };
    for token in behind.into_iter().chain([next]) {
        format = format.or(format_of(token));
        encoding = encoding.or(value_encoding_of(token));
    }
    let format = format.unwrap_or(Format::Plain).word();
    let encoding = encoding.unwrap_or(Encoding::Json).word();
    Some(format!("write FORMAT {format} ENCODE {encoding}, in this order"))
}

/// FORMAT of a word; None if it is no word of FORMAT.
fn format_of(token: &Token) -> Option<Format> {
    FORMATS.iter().find(|(word, _)| is_word(token, word)).map(|(_, format)| *format)
}

/// ENCODE of a word; None if it is no word of ENCODE, or one that mostly encodes keys.
fn value_encoding_of(token: &Token) -> Option<Encoding> {
    let encoding = ENCODINGS.iter().find(|(word, _)| is_word(token, word))?.1;
    matches!(encoding, Encoding::Json | Encoding::Avro | Encoding::Parquet).then_some(encoding)
}

/// Hint for a next word that is nearly one of `words`.
fn nearest_hint(cursor: &Cursor<'_>, words: &[&'static str]) -> Option<String> {
    match cursor.peek() {
        Some(Token::Word(w)) => did_you_mean(&w.value, words.iter().copied()),
        _ => None,
    }
}

/// Clauses at the end of a relation or a sink, each at most once.
#[derive(Default)]
pub struct Tail {
    /// WITH options, and the position of WITH.
    pub with: Option<(Vec<OptionItem>, Pos)>,
    /// FORMAT.
    pub format: Option<(Format, Pos)>,
    /// ENCODE.
    pub encode: Option<Encode>,
    /// KEY ENCODE.
    pub key_encode: Option<Encode>,
    /// Set when an option of WITH could not be read: a required one may then only seem to be missing.
    broken: bool,
}

impl Tail {
    /// Reads one of the clauses if one comes next; false if none does.
    pub fn read_clause(&mut self, cursor: &mut Cursor<'_>, mistakes: &mut Vec<Mistake>) -> Read<bool> {
        let pos = cursor.pos();
        if cursor.take_words(&["with"]) {
            let before = mistakes.len();
            let options = read_list(cursor, mistakes)?;
            self.broken |= mistakes.len() > before;
            if self.with.replace((options, pos)).is_some() {
                mistakes.push(given_twice("WITH", pos));
            }
        } else if cursor.take_words(&["format"]) {
            let format = read_format(cursor, self)?;
            if self.format.replace(format).is_some() {
                mistakes.push(given_twice("FORMAT", pos));
            }
        } else if cursor.take_words(&["key", "encode"]) {
            let encode = read_encode(cursor, true, self, mistakes)?;
            if self.key_encode.replace(encode).is_some() {
                mistakes.push(given_twice("KEY ENCODE", pos));
            }
        } else if cursor.take_words(&["encode"]) {
            let encode = read_encode(cursor, false, self, mistakes)?;
            if self.encode.replace(encode).is_some() {
                mistakes.push(given_twice("ENCODE", pos));
            }
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    /// Reports required clauses that are missing: a connector, FORMAT and ENCODE.
    pub fn check_complete(&self, what: &str, pos: Pos, mistakes: &mut Vec<Mistake>) {
        mistakes.extend(self.missing_connector(what, pos));
        match (&self.format, &self.encode) {
            (None, _) => mistakes.push(
                Mistake::new(pos, format!("{what} has no FORMAT"))
                    .hint("end it with FORMAT PLAIN ENCODE JSON, or as the topic's records are"),
            ),
            (Some((_, at)), None) => mistakes.push(
                Mistake::new(*at, "FORMAT without ENCODE")
                    .hint("write FORMAT ... ENCODE JSON or ENCODE AVRO (schema.registry = '...')"),
            ),
            (Some(_), Some(_)) => {}
        }
    }

    /// Mistake of options without a connector; None if there is one, or may be one that could not be read.
    fn missing_connector(&self, what: &str, pos: Pos) -> Option<Mistake> {
        if let Some((options, _)) = &self.with {
            if self.broken || options.iter().any(|option| option.name == "connector") {
                return None;
            }
            // A misspelled `connector` is reported at its place as misspelled, not as missing.
            if let Some(near) = options.iter().find(|o| nearest(&o.name, ["connector"]).is_some()) {
                let message = format!("unknown option {}", near.name);
                return Some(Mistake::new(near.pos, message).hint("did you mean connector?"));
            }
        }
        let mistake = Mistake::new(pos, format!("{what} has no connector"));
        Some(mistake.hint("write WITH (connector = 'kafka', topic = '...', ...)"))
    }
}

/// Mistake of a clause that is written again.
fn given_twice(clause: &str, pos: Pos) -> Mistake {
    Mistake::new(pos, format!("{clause} is given twice"))
}
