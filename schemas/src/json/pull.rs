//! The steps in which a JSON text is read, by whichever parser.
//!
//! Records are read by [`super::cursor::Cursor`], which is fast and refuses all that is not plain. A refused record is read
//! again by jiter, whose answer counts: a value with its rules, or the error and its place.

use jiter::{Jiter, JiterErrorType, JsonErrorType, NumberAny, NumberInt, Peek};

use super::shape::UnreadTexts;
use super::syntax_error;
use crate::decode::batch::Fail;

/// The kind of a value, by its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ValueKind {
    Null,
    True,
    False,
    Number,
    String,
    Array,
    Object,
    /// No value begins so.
    Other,
}

impl ValueKind {
    /// Names the kind for messages.
    pub(super) fn describe(self) -> &'static str {
        match self {
            ValueKind::Null => "null",
            ValueKind::True | ValueKind::False => "a boolean",
            ValueKind::String => "a string",
            ValueKind::Array => "an array",
            ValueKind::Object => "an object",
            ValueKind::Number => "a number",
            ValueKind::Other => "something that is not JSON",
        }
    }
}

/// A number that is read as an integer.
pub(super) enum WholeNumber {
    Int(i64),
    /// It has a fraction or an exponent; the text decides.
    Written,
    /// It is beyond 64 bits.
    TooLarge,
}

/// A key of an object.
pub(super) enum ObjectKey<'k> {
    /// The one that was guessed.
    Guessed,
    /// Another one.
    Other(&'k str),
    /// There is none: the object ends.
    End,
}

/// A parser that reads one text `'j` step by step.
pub(super) trait Pull<'j> {
    /// Tells the kind of the next value, and moves before it.
    fn peek(&mut self) -> Result<ValueKind, Fail>;
    /// Reads `null`.
    fn null(&mut self) -> Result<(), Fail>;
    /// Reads a boolean, which is known to be of this kind.
    fn boolean(&mut self, kind: ValueKind) -> Result<bool, Fail>;
    /// Reads a string.
    fn text(&mut self) -> Result<&str, Fail>;
    /// Reads a number as an integer.
    fn whole(&mut self) -> Result<WholeNumber, Fail>;
    /// Reads a number as a double.
    fn float(&mut self) -> Result<f64, Fail>;
    /// Reads a number as its text.
    fn number(&mut self) -> Result<&[u8], Fail>;
    /// Reads any value.
    fn skip(&mut self) -> Result<(), Fail>;
    /// Reads the value of an unread key, by its slot; earlier values of the key may tell what it is like.
    fn skip_like(&mut self, texts: &mut UnreadTexts, slot: u32) -> Result<(), Fail>;
    /// Enters an array; returns the kind of its first item.
    fn first_item(&mut self) -> Result<Option<ValueKind>, Fail>;
    /// Returns the kind of the next item of an array; None at its end.
    fn next_item(&mut self) -> Result<Option<ValueKind>, Fail>;
    /// Reads the next key of an object, or its first one at the object's beginning. Most objects of a topic have the same
    /// keys in the same order: a guess is compared where it would stand.
    fn key(&mut self, is_first: bool, guess: &str) -> Result<ObjectKey<'_>, Fail>;
    /// Reads the end of the text.
    fn finish(&mut self) -> Result<(), Fail>;
    /// The place in the text.
    fn place(&self) -> usize;
    /// The text from a place on that was passed.
    fn since(&self, start: usize) -> &'j [u8];
}

impl From<Peek> for ValueKind {
    fn from(peek: Peek) -> ValueKind {
        match peek {
            Peek::Null => ValueKind::Null,
            Peek::True => ValueKind::True,
            Peek::False => ValueKind::False,
            Peek::String => ValueKind::String,
            Peek::Array => ValueKind::Array,
            Peek::Object => ValueKind::Object,
            peek if peek.is_num() => ValueKind::Number,
            _ => ValueKind::Other,
        }
    }
}

impl<'j> Pull<'j> for Jiter<'j> {
    fn peek(&mut self) -> Result<ValueKind, Fail> {
        Jiter::peek(self).map(ValueKind::from).map_err(syntax_error)
    }

    fn null(&mut self) -> Result<(), Fail> {
        self.known_null().map_err(syntax_error)
    }

    fn boolean(&mut self, _: ValueKind) -> Result<bool, Fail> {
        self.next_bool().map_err(syntax_error)
    }

    fn text(&mut self) -> Result<&str, Fail> {
        self.known_str().map_err(syntax_error)
    }

    fn whole(&mut self) -> Result<WholeNumber, Fail> {
        match self.next_number() {
            Ok(NumberAny::Int(NumberInt::Int(value))) => Ok(WholeNumber::Int(value)),
            Ok(NumberAny::Float(_)) => Ok(WholeNumber::Written),
            Err(error) => match error.error_type {
                JiterErrorType::JsonError(JsonErrorType::NumberOutOfRange) => Ok(WholeNumber::TooLarge),
                _ => Err(syntax_error(error)),
            },
        }
    }

    fn float(&mut self) -> Result<f64, Fail> {
        self.next_float().map_err(syntax_error)
    }

    fn number(&mut self) -> Result<&[u8], Fail> {
        self.next_number_bytes().map_err(syntax_error)
    }

    fn skip(&mut self) -> Result<(), Fail> {
        self.next_skip().map_err(syntax_error)
    }

    fn skip_like(&mut self, _: &mut UnreadTexts, _: u32) -> Result<(), Fail> {
        self.skip()
    }

    fn first_item(&mut self) -> Result<Option<ValueKind>, Fail> {
        self.known_array().map(|peek| peek.map(ValueKind::from)).map_err(syntax_error)
    }

    fn next_item(&mut self) -> Result<Option<ValueKind>, Fail> {
        self.array_step().map(|peek| peek.map(ValueKind::from)).map_err(syntax_error)
    }

    fn key(&mut self, is_first: bool, guess: &str) -> Result<ObjectKey<'_>, Fail> {
        let key = if is_first { self.known_object() } else { self.next_key() };
        Ok(match key.map_err(syntax_error)? {
            None => ObjectKey::End,
            Some(key) if !guess.is_empty() && key == guess => ObjectKey::Guessed,
            Some(key) => ObjectKey::Other(key),
        })
    }

    fn finish(&mut self) -> Result<(), Fail> {
        Jiter::finish(self).map_err(syntax_error)
    }

    fn place(&self) -> usize {
        self.current_index()
    }

    fn since(&self, start: usize) -> &'j [u8] {
        self.slice_to_current(start)
    }
}
