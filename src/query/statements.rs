//! Ends of statements in a text: semicolons outside of quotes and comments.
//!
//! The scan knows the quotes and comments of the tokenizer, and stops where it stops: text that is being typed
//! mostly ends within something. A test holds it against the tokenizer.

/// The statements of a text.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Split<'a> {
    /// Complete statements, without their semicolons and without the space and comments before them.
    pub statements: Vec<&'a str>,
    /// The start of the next statement.
    pub rest: &'a str,
    /// True if the text ends within quotes or a comment of several lines.
    pub open: bool,
}

/// Splits a text at the ends of its statements. Empty statements are left out.
pub(crate) fn split(text: &str) -> Split<'_> {
    let mut statements = Vec::new();
    let mut rest = skip_blank(text);
    let mut at = 0;
    loop {
        match first_part(&rest[at..]) {
            None => return Split { statements, rest, open: false },
            Some((_, None)) => return Split { statements, rest, open: true },
            Some((Part::End, Some(length))) => {
                let statement = rest[..at].trim_end();
                if !statement.is_empty() {
                    statements.push(statement);
                }
                rest = skip_blank(&rest[at + length..]);
                at = 0;
            }
            Some((_, Some(length))) => at += length,
        }
    }
}

/// The text without the space and the closed comments before its first statement.
pub(crate) fn skip_blank(text: &str) -> &str {
    let mut rest = text;
    while let Some((Part::Blank, Some(length))) = first_part(rest) {
        rest = &rest[length..];
    }
    rest
}

/// Tells whether a text begins with a part, in any case.
pub(crate) fn begins(text: &str, part: &str) -> bool {
    text.get(..part.len()).is_some_and(|start| start.eq_ignore_ascii_case(part))
}

/// A kind of a part of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Space or a comment.
    Blank,
    /// A semicolon.
    End,
    /// Anything else: a word, quotes with their content, an operator.
    Content,
}

/// The first part of a text and its length in bytes, None if it is not closed; None at the end.
pub(crate) fn first_part(text: &str) -> Option<(Part, Option<usize>)> {
    let first = text.chars().next()?;
    Some(match text.as_bytes() {
        [b';', ..] => (Part::End, Some(1)),
        [b'-', b'-', ..] => (Part::Blank, Some(text.find('\n').unwrap_or(text.len()))),
        [b'/', b'*', ..] => (Part::Blank, comment_length(text)),
        [b'\'', ..] => (Part::Content, quoted_length(text, '\'')),
        [b'"', ..] => (Part::Content, quoted_length(text, '"')),
        [b'e' | b'E', b'\'', ..] => (Part::Content, escaped_length(text)),
        [b'$', ..] => (Part::Content, dollar_length(text)),
        _ if first.is_whitespace() => (Part::Blank, Some(first.len_utf8())),
        _ if is_word(first) => (Part::Content, Some(text.find(|c: char| !is_word(c)).unwrap_or(text.len()))),
        _ => (Part::Content, Some(first.len_utf8())),
    })
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

/// Length of quotes with their content. A doubled quote inside ends one pair and opens the next, which comes to
/// the same.
fn quoted_length(text: &str, quote: char) -> Option<usize> {
    Some(text[1..].find(quote)? + 2)
}

/// Length of a string with backslashes, `E'...'`.
fn escaped_length(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = 2;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 2,
            b'\'' if bytes.get(at + 1) == Some(&b'\'') => at += 2,
            b'\'' => return Some(at + 1),
            _ => at += 1,
        }
    }
    None
}

/// Length of a comment of several lines, with those inside it.
fn comment_length(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let (mut at, mut depth) = (0, 0);
    while let Some(pair) = bytes.get(at..at + 2) {
        match pair {
            b"/*" => (at, depth) = (at + 2, depth + 1),
            b"*/" => (at, depth) = (at + 2, depth - 1),
            _ => at += 1,
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

/// Length of a string between dollars, `$$...$$` or `$tag$...$tag$`; else of the dollar alone.
fn dollar_length(text: &str) -> Option<usize> {
    let tag = text[1..].find(|c: char| !c.is_alphanumeric() && c != '_');
    match tag.filter(|end| text[1 + end..].starts_with('$')) {
        Some(end) => {
            let (delimiter, content) = text.split_at(end + 2);
            Some(content.find(delimiter)? + 2 * delimiter.len())
        }
        None => Some(1),
    }
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::GenericDialect;
    use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

    use super::*;

    #[test]
    fn a_statement_ends_outside_of_quotes_and_comments() {
        for (text, statements, rest) in [
            ("SELECT 1;", vec!["SELECT 1"], ""),
            ("SELECT 1", vec![], "SELECT 1"),
            (" SELECT 1 ; SELECT 2;\n SELECT", vec!["SELECT 1", "SELECT 2"], "SELECT"),
            ("SELECT ';' AS \"a;b\";", vec!["SELECT ';' AS \"a;b\""], ""),
            ("SELECT 'it''s;' ;", vec!["SELECT 'it''s;'"], ""),
            ("SELECT 1 -- one;\n + 1;", vec!["SELECT 1 -- one;\n + 1"], ""),
            ("-- nothing;\n/* at ; all */ ;;", vec![], ""),
            ("/* first */ SELECT /* a /* b; */ c; */ 1;", vec!["SELECT /* a /* b; */ c; */ 1"], ""),
            ("SELECT E'\\';' || $x$;$x$;", vec!["SELECT E'\\';' || $x$;$x$"], ""),
            ("SELECT 'ä;ö' ; é", vec!["SELECT 'ä;ö'"], "é"),
        ] {
            assert_eq!(split(text), Split { statements, rest, open: false }, "{text}");
        }
        for open in ["SELECT 'a;", "SELECT \"a;", "/* a;", "SELECT $x$ ;", "SELECT E'\\';"] {
            assert!(split(open).open && split(open).statements.is_empty(), "{open}");
        }
    }

    /// Every beginning of a text with all kinds of quotes and comments is split as the tokenizer splits it.
    #[test]
    fn the_tokenizer_ends_statements_at_the_same_places() {
        let text = "SELECT note, 'it''s; é' AS \"a;\"\"b\" -- one; 'two\n, E'x\\';''y' /* a /* ; */ ' b; */;\n\
                    SELECT $$ ; ' $$, $tag$ ; $$ -- $tag$, 1.5::INT[], a <> b; WITH q AS (VALUES (1)) SELECT $1;;";
        for (end, _) in text.char_indices() {
            let begun = &text[..end];
            let mut tokens = Vec::new();
            let read = Tokenizer::new(&GenericDialect {}, begun).tokenize_with_location_into_buf(&mut tokens);
            let ends = tokens.split(|token| token.token == Token::SemiColon);
            let full =
                ends.filter(|part| part.iter().any(|t| !matches!(t.token, Token::Whitespace(_)))).count();
            let found = split(begun);
            let parts = found.statements.len() + usize::from(!found.rest.is_empty() && !found.open);
            assert_eq!(found.open, read.is_err(), "{begun}");
            if !found.open {
                assert_eq!(parts, full, "{begun}");
            }
        }
    }
}
