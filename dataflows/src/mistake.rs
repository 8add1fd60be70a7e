//! Mistakes in a topology, each with its place in the text and a hint.
//!
//! Inside this crate a mistake is a [`Mistake`] at a [`Pos`]; callers get a [`SqlError`], which
//! has the file's name. `Display` is one line `FILE:LINE:COLUMN: message` and the hint indented
//! below; [`SqlError::render`] adds the source line with a caret under the place. This module does not
//! depend on parsing or planning.

pub(crate) mod unsupported;

use std::fmt;

/// Mistake at a position, before the file's name is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Position in the files.
    pub pos: Pos,
    /// Description of the mistake.
    pub message: String,
    /// Replacement or remedy.
    pub hint: Option<String>,
}

impl Mistake {
    /// Makes a mistake without a hint.
    pub fn new(pos: Pos, message: impl Into<String>) -> Mistake {
        Mistake { pos, message: message.into(), hint: None }
    }

    /// Tells whether both are one mistake, whatever their hints are.
    pub(crate) fn is_like(&self, other: &Mistake) -> bool {
        self.pos == other.pos && self.message == other.message
    }

    /// Sets the hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Mistake {
        self.hint = Some(hint.into());
        self
    }

    /// Sets the hint if there is one, and keeps the old one otherwise.
    #[must_use]
    pub fn maybe_hint(mut self, hint: Option<String>) -> Mistake {
        self.hint = hint.or(self.hint);
        self
    }

    /// Resolves the file's name, for users.
    pub fn named(self, files: &[SqlFile]) -> SqlError {
        let file = match files.get(self.pos.file) {
            Some(file) => file.name.clone(),
            None => "topology".to_owned(),
        };
        SqlError {
            file,
            line: self.pos.line,
            column: self.pos.column,
            message: name_invisible(self.message),
            hint: self.hint.map(name_invisible),
        }
    }
}

/// Writes characters that nobody sees as `U+200B`: a message about one would not show it.
fn name_invisible(text: String) -> String {
    if !text.contains(is_invisible) {
        return text;
    }
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_invisible(c) {
            shown.push_str(&format!("U+{:04X}", u32::from(c)));
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Returns true for a character that nobody sees, other than the end of a line and a tab.
fn is_invisible(c: char) -> bool {
    c.is_control() && !matches!(c, '\n' | '\t')
        || matches!(c, '\u{a0}' | '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{2064}' | '\u{feff}')
}

impl std::error::Error for Mistake {}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Mistake in a topology, as users see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlError {
    /// File's name as given.
    pub file: String,
    /// 1-based line.
    pub line: u64,
    /// 1-based column, in characters.
    pub column: u64,
    /// Description of the mistake.
    pub message: String,
    /// Replacement or remedy.
    pub hint: Option<String>,
}

impl std::error::Error for SqlError {}

impl fmt::Display for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\n  {hint}"),
            None => Ok(()),
        }
    }
}

impl SqlError {
    /// Formats the mistake with its source line and a caret under the place, for terminals.
    pub fn render(&self, files: &[SqlFile]) -> String {
        let mut out = format!("{}:{}:{}: {}", self.file, self.line, self.column, self.message);
        if let Some(line) = self.source_line(files) {
            let number = self.line.to_string();
            // Tabs before the caret are kept, so that it is under its character at any tab width.
            let before = usize::try_from(self.column.saturating_sub(1)).unwrap_or(0);
            let pad: String = line.chars().take(before).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
            out.push_str(&format!("\n  {number} | {line}\n  {:w$} | {pad}^", "", w = number.len()));
        }
        if let Some(hint) = &self.hint {
            out.push_str(&format!("\n  {hint}"));
        }
        out
    }

    /// The line of the text in which the mistake is.
    fn source_line<'f>(&self, files: &'f [SqlFile]) -> Option<&'f str> {
        let file = files.iter().find(|f| f.name == self.file)?;
        file.text.lines().nth(usize::try_from(self.line.saturating_sub(1)).unwrap_or(usize::MAX))
    }
}

/// Position in the text of a topology: file index in the order given, 1-based line and column.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pos {
    /// Index of the file in the order given.
    pub file: usize,
    /// 1-based line.
    pub line: u64,
    /// 1-based column, in characters.
    pub column: u64,
}

/// One file of a topology, as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlFile {
    /// Name as given by the user, for messages.
    pub name: String,
    /// Its content.
    pub text: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_is_shown_with_its_line() {
        let files = [SqlFile { name: "a.sql".into(), text: "CREATE TABLE t (\n\ta INTT\n);".into() }];
        let error = Mistake::new(Pos { file: 0, line: 2, column: 4 }, "unknown type INTT")
            .hint("did you mean INT?")
            .named(&files);
        assert_eq!(error.to_string(), "a.sql:2:4: unknown type INTT\n  did you mean INT?");
        assert_eq!(
            error.render(&files),
            "a.sql:2:4: unknown type INTT\n  2 | \ta INTT\n    | \t  ^\n  did you mean INT?"
        );
    }

    #[test]
    fn an_invisible_character_is_named() {
        let mistake = Mistake::new(Pos::default(), "found `\u{200b}`\tand `\0`").named(&[]);
        assert_eq!(mistake.message, "found `U+200B`\tand `U+0000`");
    }
}
