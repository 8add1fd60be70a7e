//! Words of a statement, read one after the other: names, texts, numbers and symbols, without space and
//! comments.
//!
//! Only the statements of a session are read word by word; a query behind them is passed on as it is written.

use super::super::errors::{PgError, PgResult};
use crate::query::statements::{Part, first_part, skip_blank};

/// The text of a query, and the number of characters before it in the text that the client sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryText {
    /// The query.
    pub text: String,
    /// Characters before it.
    pub before: usize,
}

/// A word of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// A name without quotes, as written.
    Plain(String),
    /// A name in double quotes, without them.
    Quoted(String),
    /// A text in quotes, without them.
    Text(String),
    /// A number without a sign.
    Number(String),
    /// Any other character.
    Symbol(char),
}

/// Reader of a statement's words.
#[derive(Clone, Debug)]
pub struct Words<'a> {
    text: &'a str,
    /// The part that is not read yet; it begins with a word.
    rest: &'a str,
}

impl<'a> Words<'a> {
    /// A reader of a text.
    pub fn new(text: &'a str) -> Words<'a> {
        Words { text, rest: skip_blank(text) }
    }

    /// The text that is not read yet.
    pub fn rest(&self) -> &'a str {
        self.rest
    }

    /// Characters of the text before the part that is not read yet.
    pub fn chars_before(&self) -> usize {
        self.text[..self.text.len() - self.rest.len()].chars().count()
    }

    /// Tells whether all is read.
    pub fn is_done(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next word and its length in bytes; None at the end, and where quotes are not closed.
    fn measure(&self) -> Option<(Word, usize)> {
        let (part, length) = first_part(self.rest)?;
        let length = length?;
        let written = self.rest.get(..length)?;
        let first = written.chars().next()?;
        let word = match first {
            _ if part == Part::End => Word::Symbol(';'),
            '"' => return self.quoted('"').map(|(name, length)| (Word::Quoted(name), length)),
            '\'' => return self.quoted('\'').map(|(text, length)| (Word::Text(text), length)),
            'e' | 'E' if written.ends_with('\'') => Word::Text(unescaped(&written[2..length - 1])),
            '$' if length > 1 => Word::Text(between_dollars(written)),
            _ if first.is_ascii_digit() => {
                let end = self.rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '.');
                let length = end.unwrap_or(self.rest.len());
                return Some((Word::Number(self.rest[..length].to_owned()), length));
            }
            _ if first.is_alphabetic() || first == '_' => Word::Plain(written.to_owned()),
            other => Word::Symbol(other),
        };
        Some((word, length))
    }

    /// The content of the quotes at the beginning, in which a doubled quote is one, and their length.
    fn quoted(&self, quote: char) -> Option<(String, usize)> {
        let mut content = String::new();
        let mut letters = self.rest.char_indices().skip(1).peekable();
        while let Some((at, letter)) = letters.next() {
            if letter != quote {
                content.push(letter);
            } else if letters.next_if(|(_, next)| *next == quote).is_some() {
                content.push(quote);
            } else {
                return Some((content, at + 1));
            }
        }
        None
    }

    /// The next word, without reading it.
    pub fn peek(&self) -> Option<Word> {
        self.measure().map(|(word, _)| word)
    }

    /// Reads a word.
    pub fn take(&mut self) -> Option<Word> {
        let (word, length) = self.measure()?;
        self.rest = skip_blank(&self.rest[length..]);
        Some(word)
    }

    /// Tells whether the next word is this keyword.
    pub fn sees(&self, keyword: &str) -> bool {
        matches!(self.peek(), Some(Word::Plain(word)) if word.eq_ignore_ascii_case(keyword))
    }

    /// Reads the next word if it is this keyword.
    pub fn takes(&mut self, keyword: &str) -> bool {
        let seen = self.sees(keyword);
        if seen {
            self.take();
        }
        seen
    }

    /// Reads the next word if it is one of these keywords; which one, in lower case.
    pub fn takes_any<'k>(&mut self, keywords: &[&'k str]) -> Option<&'k str> {
        keywords.iter().copied().find(|keyword| self.takes(keyword))
    }

    /// Reads the next words if they are these keywords.
    pub fn takes_all(&mut self, keywords: &[&str]) -> bool {
        let mut ahead = self.clone();
        if keywords.iter().all(|keyword| ahead.takes(keyword)) {
            *self = ahead;
            return true;
        }
        false
    }

    /// Reads the next word if it is this symbol.
    pub fn takes_symbol(&mut self, symbol: char) -> bool {
        let seen = self.peek() == Some(Word::Symbol(symbol));
        if seen {
            self.take();
        }
        seen
    }

    /// Reads a name: in lower case unless it is quoted.
    ///
    /// # Errors
    /// When the next word is no name.
    pub fn name(&mut self) -> PgResult<String> {
        match self.peek() {
            Some(Word::Plain(name)) => {
                self.take();
                Ok(name.to_lowercase())
            }
            Some(Word::Quoted(name)) => {
                self.take();
                Ok(name)
            }
            _ => Err(self.unexpected()),
        }
    }

    /// Reads a keyword that must stand here.
    ///
    /// # Errors
    /// When it does not.
    pub fn expect(&mut self, keyword: &str) -> PgResult<()> {
        if self.takes(keyword) { Ok(()) } else { Err(self.unexpected()) }
    }

    /// Reads a symbol that must stand here.
    ///
    /// # Errors
    /// When it does not.
    pub fn expect_symbol(&mut self, symbol: char) -> PgResult<()> {
        if self.takes_symbol(symbol) { Ok(()) } else { Err(self.unexpected()) }
    }

    /// Succeeds at the end of the statement.
    ///
    /// # Errors
    /// When something follows.
    pub fn end(&self) -> PgResult<()> {
        if self.is_done() { Ok(()) } else { Err(self.unexpected()) }
    }

    /// The error for a word that cannot stand here, in PostgreSQL's words.
    pub fn unexpected(&self) -> PgError {
        let written = match self.measure() {
            Some((_, length)) => &self.rest[..length],
            None => self.rest,
        };
        if written.is_empty() {
            return PgError::syntax("syntax error at end of input");
        }
        let mut error = PgError::syntax(format!("syntax error at or near \"{written}\""));
        error.position = Some(self.chars_before() + 1);
        error
    }

    /// Reads the text between the parenthesis that is next and the one that closes it.
    ///
    /// # Errors
    /// When there is none, or it is not closed.
    pub fn parenthesised(&mut self) -> PgResult<&'a str> {
        self.expect_symbol('(')?;
        self.until_closed()
    }

    /// Reads the text up to the parenthesis that closes an open one, and that parenthesis.
    ///
    /// # Errors
    /// When it is not closed.
    pub fn until_closed(&mut self) -> PgResult<&'a str> {
        let inside = self.rest;
        let mut depth = 1;
        loop {
            let here = self.rest;
            match self.take() {
                Some(Word::Symbol('(')) => depth += 1,
                Some(Word::Symbol(')')) => depth -= 1,
                Some(_) => {}
                None => return Err(self.unexpected()),
            }
            if depth == 0 {
                return Ok(&inside[..inside.len() - here.len()]);
            }
        }
    }
}

/// The content of `E'...'` without its escapes.
fn unescaped(written: &str) -> String {
    let mut content = String::with_capacity(written.len());
    let mut letters = written.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => content.push(match letters.next() {
                Some('n') => '\n',
                Some('t') => '\t',
                Some('r') => '\r',
                Some(other) => other,
                None => '\\',
            }),
            '\'' => {
                letters.next_if_eq(&'\'');
                content.push('\'');
            }
            other => content.push(other),
        }
    }
    content
}

/// The content of `$tag$...$tag$`.
fn between_dollars(written: &str) -> String {
    let tag = written[1..].find('$').map_or(written.len(), |at| at + 2);
    let end = written.len().saturating_sub(tag);
    written.get(tag..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_with_their_quotes() {
        let mut words =
            Words::new("SET /* x */ \"My\"\"Name\" = 'it''s' , E'a\\'b' -- end\n , 1.5e3 , $q$ ' $q$;");
        let mut read = Vec::new();
        while let Some(word) = words.take() {
            read.push(word);
        }
        let text = |text: &str| Word::Text(text.to_owned());
        let comma = Word::Symbol(',');
        assert_eq!(
            read,
            [
                Word::Plain("SET".into()),
                Word::Quoted("My\"Name".into()),
                Word::Symbol('='),
                text("it's"),
                comma.clone(),
                text("a'b"),
                comma.clone(),
                Word::Number("1.5e3".into()),
                comma,
                text(" ' "),
                Word::Symbol(';'),
            ]
        );
        assert!(words.is_done());
    }

    #[test]
    fn a_wrong_word_is_told_with_its_place() {
        let mut words = Words::new("é FETCH x");
        words.take();
        let error = words.unexpected();
        assert_eq!((error.message.as_str(), error.position), ("syntax error at or near \"FETCH\"", Some(3)));
        assert_eq!(Words::new(" ").unexpected().message, "syntax error at end of input");
    }

    #[test]
    fn parentheses_close() {
        let mut words = Words::new("(SELECT ')' || (1)) TO");
        assert_eq!(words.parenthesised().as_deref(), Ok("SELECT ')' || (1)"));
        assert!(words.takes("to") && words.is_done());
        assert!(Words::new("(SELECT 1").parenthesised().is_err());
    }
}
