//! Options of a regular expression: letters of a flags argument, and of `(?i)` at the start of a pattern.

/// Options that a pattern is read and matched with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(in crate::functions) struct Options {
    /// Letters match in both cases.
    pub ignore_case: bool,
    /// `.` and `[^...]` do not match a line's end.
    pub stop_at_line: bool,
    /// `^` and `$` match at every line.
    pub lines: bool,
    /// White space and comments in the pattern are skipped.
    pub expanded: bool,
    /// The pattern is text to find.
    pub literal: bool,
    /// Every match counts, not only the first.
    pub global: bool,
}

impl Options {
    /// Parses the letters of a flags argument.
    ///
    /// # Errors
    /// PostgreSQL's message for an unknown letter.
    pub(in crate::functions) fn parse(letters: &str) -> Result<Options, String> {
        let mut options = Options::default();
        for letter in letters.chars() {
            if letter == 'g' {
                options.global = true;
            } else if !options.set(letter) {
                return Err(format!("invalid regular expression option: \"{letter}\""));
            }
        }
        Ok(options)
    }

    /// Applies one letter of PostgreSQL's table of embedded options; false if the letter is unknown.
    pub(super) fn set(&mut self, letter: char) -> bool {
        match letter {
            'i' => self.ignore_case = true,
            'c' => self.ignore_case = false,
            'n' | 'm' => (self.stop_at_line, self.lines) = (true, true),
            's' => (self.stop_at_line, self.lines) = (false, false),
            'p' => (self.stop_at_line, self.lines) = (true, false),
            'w' => (self.stop_at_line, self.lines) = (false, true),
            'x' => self.expanded = true,
            't' => self.expanded = false,
            'q' => self.literal = true,
            'e' => {}
            _ => return false,
        }
        true
    }
}
