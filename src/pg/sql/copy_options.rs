//! Options of COPY ... TO STDOUT, in both of PostgreSQL's forms: `(FORMAT csv, HEADER)` and `WITH CSV
//! HEADER`.

use super::super::errors::{PgError, PgResult, codes};
use super::words::{Word, Words};

/// A format of copied rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyFormat {
    /// Columns between tabs, with escapes.
    Text,
    /// Columns between commas, with quotes.
    Csv,
    /// PostgreSQL's binary format.
    Binary,
}

/// Options of COPY.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyOptions {
    /// The format.
    pub format: CopyFormat,
    /// The character between columns.
    pub delimiter: u8,
    /// The text of a NULL.
    pub null: String,
    /// Set if a line with the names of columns comes first.
    pub header: bool,
    /// The quote.
    pub quote: u8,
    /// The character before a quote inside quotes.
    pub escape: u8,
    /// Columns whose values always have quotes.
    pub forced: Forced,
}

/// Columns whose values always have quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Forced {
    /// All of them.
    All,
    /// Those of these names.
    Named(Vec<String>),
}

/// Options as they are written.
#[derive(Debug, Default)]
struct Given {
    format: Option<String>,
    delimiter: Option<String>,
    null: Option<String>,
    header: Option<bool>,
    quote: Option<String>,
    escape: Option<String>,
    forced: Option<Forced>,
}

impl CopyOptions {
    /// Reads the options behind `TO STDOUT`.
    ///
    /// # Errors
    /// When an option is unknown or does not go with the format.
    pub fn read(words: &mut Words<'_>) -> PgResult<CopyOptions> {
        words.takes("with");
        let mut given = Given::default();
        if words.takes_symbol('(') {
            loop {
                given.take_option(words)?;
                if !words.takes_symbol(',') {
                    break;
                }
            }
            words.expect_symbol(')')?;
        } else {
            while !words.is_done() {
                given.take_word(words)?;
            }
        }
        given.complete()
    }
}

impl Given {
    /// Reads an option of the list in parentheses.
    fn take_option(&mut self, words: &mut Words<'_>) -> PgResult<()> {
        let name = words.name()?;
        match name.as_str() {
            "format" => self.format = Some(value(words)?),
            "delimiter" => self.delimiter = Some(value(words)?),
            "null" => self.null = Some(value(words)?),
            "quote" => self.quote = Some(value(words)?),
            "escape" => self.escape = Some(value(words)?),
            "header" => self.header = Some(flag(words)?),
            "force_quote" => self.forced = Some(forced(words)?),
            "encoding" => check_encoding(&value(words)?)?,
            _ => {
                let message = format!("COPY TO has no option \"{name}\"");
                return Err(PgError::syntax(message).hint(
                    "there are format, delimiter, null, header, quote, escape, force_quote and encoding",
                ));
            }
        }
        Ok(())
    }

    /// Reads an option of the form without parentheses.
    fn take_word(&mut self, words: &mut Words<'_>) -> PgResult<()> {
        let keyword = words.takes_any(&[
            "binary",
            "csv",
            "header",
            "delimiter",
            "delimiters",
            "null",
            "quote",
            "escape",
            "encoding",
            "force",
        ]);
        match keyword {
            Some(format @ ("binary" | "csv")) => self.format = Some(format.to_owned()),
            Some("header") => self.header = Some(true),
            Some("force") => {
                words.expect("quote")?;
                self.forced = Some(forced(words)?);
            }
            Some(other) => {
                words.takes("as");
                let value = value(words)?;
                match other {
                    "null" => self.null = Some(value),
                    "quote" => self.quote = Some(value),
                    "escape" => self.escape = Some(value),
                    "encoding" => check_encoding(&value)?,
                    _ => self.delimiter = Some(value),
                }
            }
            None => return Err(words.unexpected()),
        }
        Ok(())
    }

    /// The options with the defaults of the format.
    fn complete(self) -> PgResult<CopyOptions> {
        let format = match self.format.as_deref().map(str::to_lowercase).as_deref() {
            None | Some("text") => CopyFormat::Text,
            Some("csv") => CopyFormat::Csv,
            Some("binary") => CopyFormat::Binary,
            Some(other) => return Err(wrong(format!("COPY format \"{other}\" not recognized"))),
        };
        let csv = format == CopyFormat::Csv;
        if format == CopyFormat::Binary
            && (self.delimiter.is_some() || self.null.is_some() || self.header == Some(true))
        {
            return Err(PgError::syntax("cannot specify DELIMITER, NULL or HEADER in BINARY mode"));
        }
        if !csv && (self.quote.is_some() || self.escape.is_some() || self.forced.is_some()) {
            return Err(PgError::unsupported("COPY QUOTE, ESCAPE and FORCE_QUOTE require CSV mode"));
        }
        let default_delimiter = if csv { b',' } else { b'\t' };
        let quote = one_byte("quote", self.quote.as_deref(), b'"')?;
        Ok(CopyOptions {
            format,
            delimiter: one_byte("delimiter", self.delimiter.as_deref(), default_delimiter)?,
            null: self.null.unwrap_or_else(|| if csv { String::new() } else { "\\N".to_owned() }),
            header: self.header.unwrap_or(false),
            quote,
            escape: one_byte("escape", self.escape.as_deref(), quote)?,
            forced: self.forced.unwrap_or(Forced::Named(Vec::new())),
        })
    }
}

/// The only byte of an option's value.
fn one_byte(name: &str, given: Option<&str>, default: u8) -> PgResult<u8> {
    let Some(given) = given else { return Ok(default) };
    match given.as_bytes() {
        [byte] if !byte.is_ascii_alphanumeric() && !matches!(byte, b'\\' | b'\n' | b'\r' | b'.') => Ok(*byte),
        // A backslash is an escape that PostgreSQL's own tools write.
        [b'\\'] if name == "escape" => Ok(b'\\'),
        _ => Err(wrong(format!("COPY {name} must be a single one-byte character"))),
    }
}

/// The value of an option: a name, a text or a number.
fn value(words: &mut Words<'_>) -> PgResult<String> {
    match words.peek() {
        Some(Word::Plain(value) | Word::Quoted(value) | Word::Text(value) | Word::Number(value)) => {
            words.take();
            Ok(value)
        }
        _ => Err(words.unexpected()),
    }
}

/// The value of a flag, which may be left out.
fn flag(words: &mut Words<'_>) -> PgResult<bool> {
    if matches!(words.peek(), Some(Word::Symbol(',' | ')')) | None) {
        return Ok(true);
    }
    let written = value(words)?;
    match written.to_lowercase().as_str() {
        "true" | "on" | "1" => Ok(true),
        "false" | "off" | "0" => Ok(false),
        _ => Err(wrong("header requires a Boolean value".to_owned())),
    }
}

/// The columns of FORCE_QUOTE: `*`, `(a, b)`, or without parentheses `a, b`.
fn forced(words: &mut Words<'_>) -> PgResult<Forced> {
    if words.takes_symbol('*') {
        return Ok(Forced::All);
    }
    let inside = words.takes_symbol('(');
    let mut names = vec![words.name()?];
    while words.takes_symbol(',') {
        names.push(words.name()?);
    }
    if inside {
        words.expect_symbol(')')?;
    }
    Ok(Forced::Named(names))
}

/// Succeeds for UTF-8.
fn check_encoding(name: &str) -> PgResult<()> {
    let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    match plain.to_lowercase().as_str() {
        "utf8" | "unicode" | "sqlascii" => Ok(()),
        _ => Err(PgError::unsupported(format!("encoding \"{name}\" is not supported: text is UTF8"))),
    }
}

fn wrong(message: String) -> PgError {
    PgError::new(codes::INVALID_PARAMETER_VALUE, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> PgResult<CopyOptions> {
        let mut words = Words::new(text);
        let options = CopyOptions::read(&mut words)?;
        words.end()?;
        Ok(options)
    }

    #[test]
    fn both_forms_mean_the_same() {
        let new = read("(FORMAT csv, DELIMITER ';', NULL 'x', HEADER true, QUOTE '''', FORCE_QUOTE (a, b))");
        let old = read("WITH CSV HEADER DELIMITER AS ';' NULL 'x' QUOTE '''' FORCE QUOTE a, b");
        assert!(new.is_ok());
        assert_eq!(new, old);
        assert_eq!(read("(FORMAT \"binary\")").map(|options| options.format), Ok(CopyFormat::Binary));
        let text = read("").map(|options| (options.delimiter, options.null, options.header));
        assert_eq!(text, Ok((b'\t', "\\N".to_owned(), false)));
    }

    #[test]
    fn wrong_options_are_told() {
        for (text, code) in [
            ("(DELIMITER 'ab')", "22023"),
            ("(DELIMITER 'a')", "22023"),
            ("(QUOTE '''')", "0A000"),
            ("(FORMAT binary, HEADER)", "42601"),
            ("(ENCODING latin1)", "0A000"),
            ("(FREEZE)", "42601"),
            ("(FORMAT csv", "42601"),
        ] {
            assert_eq!(read(text).map_err(|error| error.code), Err(code), "{text}");
        }
    }
}
