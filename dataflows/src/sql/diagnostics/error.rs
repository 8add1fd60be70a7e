//! Mistakes in a topology, each with its place in the text and what to write instead.
//!
//! Inside this crate a mistake is a [`Mistake`] at a [`Pos`]; it leaves it as a [`SqlError`], which
//! carries the file's name. `Display` is one line `FILE:LINE:COLUMN: what` and the hint indented
//! below; [`SqlError::render`] adds the source line with a caret under the place. Nothing here
//! knows how statements are read or planned.

use std::fmt;

use crate::sql::ast::{Pos, SqlFile};

/// A mistake at a place, before the file's name is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where.
    pub pos: Pos,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub hint: Option<String>,
}

impl Mistake {
    /// A mistake without a hint.
    pub fn new(pos: Pos, message: impl Into<String>) -> Mistake {
        Mistake { pos, message: message.into(), hint: None }
    }

    /// The same with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Mistake {
        self.hint = Some(hint.into());
        self
    }

    /// The same with a hint where there is one.
    #[must_use]
    pub fn maybe_hint(mut self, hint: Option<String>) -> Mistake {
        self.hint = hint.or(self.hint);
        self
    }

    /// The mistake as users see it.
    pub fn named(self, files: &[SqlFile]) -> SqlError {
        SqlError {
            file: files.get(self.pos.file).map_or_else(|| "topology".to_owned(), |f| f.name.clone()),
            line: self.pos.line,
            column: self.pos.column,
            message: self.message,
            hint: self.hint,
        }
    }
}

impl std::error::Error for Mistake {}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// A mistake in a topology, as users see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlError {
    /// The file's name as given.
    pub file: String,
    /// 1-based line.
    pub line: u64,
    /// 1-based column, in characters.
    pub column: u64,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
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
    /// The mistake with its source line and a caret under the place, for terminals.
    pub fn render(&self, files: &[SqlFile]) -> String {
        let mut out = format!("{}:{}:{}: {}", self.file, self.line, self.column, self.message);
        let line = files.iter().find(|f| f.name == self.file).and_then(|f| {
            f.text.lines().nth(usize::try_from(self.line.saturating_sub(1)).unwrap_or(usize::MAX))
        });
        if let Some(line) = line {
            let number = self.line.to_string();
            // Tabs are kept before the caret, so that it stands under its character at any tab width.
            let before = usize::try_from(self.column.saturating_sub(1)).unwrap_or(0);
            let pad: String = line.chars().take(before).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
            out.push_str(&format!("\n  {number} | {line}\n  {:w$} | {pad}^", "", w = number.len()));
        }
        if let Some(hint) = &self.hint {
            out.push_str(&format!("\n  {hint}"));
        }
        out
    }
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
}
