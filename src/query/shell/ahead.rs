//! Lines that were typed, or pasted, while a statement ran.
//!
//! The line editor takes all that was typed from the terminal and keeps the first line of it. So the lines that are
//! complete are read here first, one at a time: while the editor does not read, the terminal gives out whole lines.
//! The rest are the editor's: a line that has not ended, and those that are typed at its prompt. Ctrl-C drops what
//! was typed ahead, as terminals do.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;

use rustyline::error::ReadlineError;

/// Flags of `open`: a read does not wait, and the terminal does not become the one that controls this process.
const O_NONBLOCK: i32 = 0o4000;
const O_NOCTTY: i32 = 0o400;
/// Most bytes of a line that a terminal gives out.
const MAX_LINE_BYTES: usize = 4096;

/// Lines typed ahead.
pub(super) struct TypedAhead {
    /// The terminal; None where it cannot be opened, and all is left to the editor.
    terminal: Option<File>,
    /// Text that was read, and is not taken yet.
    text: String,
}

impl TypedAhead {
    /// Opens the terminal of standard input once more: the flags of standard input itself are others' too.
    pub(super) fn open() -> TypedAhead {
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(O_NONBLOCK | O_NOCTTY);
        TypedAhead { terminal: options.open("/proc/self/fd/0").ok(), text: String::new() }
    }

    /// Takes the next complete line; None if the editor is to read.
    ///
    /// # Errors
    /// [`ReadlineError::Eof`] after Ctrl-D.
    pub(super) fn next_line(&mut self) -> Result<Option<String>, ReadlineError> {
        loop {
            if let Some(end) = self.text.find('\n') {
                let rest = self.text.split_off(end + 1);
                let mut line = std::mem::replace(&mut self.text, rest);
                line.pop();
                let Some(key) = line.find(is_key) else { return Ok(Some(line)) };
                // It was meant for the editor, as the arrow to an entry of the history is: it is there to be seen
                // and changed, and does not run.
                line.truncate(key);
                self.text = line;
                return Ok(None);
            }
            match self.read_more() {
                Ok(0) if self.text.is_empty() => return Err(ReadlineError::Eof),
                Ok(read) if read > 0 => {}
                _ => return Ok(None),
            }
        }
    }

    /// Takes the text of a line that has begun.
    pub(super) fn take_begun(&mut self) -> String {
        std::mem::take(&mut self.text)
    }

    /// Reads what there is; 0 bytes at the end of the input.
    ///
    /// # Errors
    /// When there is nothing yet, or nothing can be read.
    fn read_more(&mut self) -> std::io::Result<usize> {
        let Some(terminal) = &mut self.terminal else { return Err(ErrorKind::NotFound.into()) };
        let mut bytes = [0; MAX_LINE_BYTES];
        let read = terminal.read(&mut bytes)?;
        self.text.push_str(&String::from_utf8_lossy(&bytes[..read]));
        Ok(read)
    }
}

/// Tells whether a character stands for a key of the editor. A tab is text: pasted statements have it.
fn is_key(c: char) -> bool {
    c.is_control() && c != '\t'
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, Write};

    use anyhow::Result;

    use super::*;

    /// Output of a terminal, from a file.
    fn typed(text: &str) -> Result<TypedAhead> {
        let mut file = tempfile::tempfile()?;
        file.write_all(text.as_bytes())?;
        file.rewind()?;
        Ok(TypedAhead { terminal: Some(file), text: String::new() })
    }

    #[test]
    fn lines_are_taken_one_by_one_and_the_rest_is_left() -> Result<()> {
        let mut ahead = typed("SELECT\t1\nAS a;\n\nSELEC")?;
        for line in ["SELECT\t1", "AS a;", ""] {
            assert_eq!(ahead.next_line()?.as_deref(), Some(line));
        }
        assert_eq!(ahead.next_line()?, None);
        assert_eq!((ahead.take_begun().as_str(), ahead.take_begun().as_str()), ("SELEC", ""));
        assert!(matches!(ahead.next_line(), Err(ReadlineError::Eof)));
        let mut none = TypedAhead { terminal: None, text: String::new() };
        assert_eq!(none.next_line()?, None);
        Ok(())
    }

    #[test]
    fn a_line_with_keys_of_the_editor_is_not_run() -> Result<()> {
        let mut ahead = typed("SELECT 1;\nDROP\u{1b}[D\u{1b}[D;\n")?;
        assert_eq!(ahead.next_line()?.as_deref(), Some("SELECT 1;"));
        assert_eq!(ahead.next_line()?, None);
        assert_eq!(ahead.take_begun(), "DROP");
        Ok(())
    }
}
