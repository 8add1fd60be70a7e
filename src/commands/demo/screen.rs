//! The demo's screen: an alternate one on a terminal, which a frame fits in width and height, else plain output.

use std::io::{self, Write};

use terminal_size::{Height, Width, terminal_size};

/// Size where the terminal does not tell its own.
const DEFAULT_SIZE: (usize, usize) = (80, 24);

/// A terminal in its alternate screen until it is dropped, or an output that is no terminal.
pub struct Screen {
    watched: bool,
    coloured: bool,
}

impl Screen {
    /// Switches a terminal to its alternate screen, so that what was there before comes back.
    pub fn open(watched: bool) -> Screen {
        if watched {
            print!("\x1b[?1049h\x1b[?25l");
        }
        Screen { watched, coloured: watched && std::env::var_os("NO_COLOR").is_none() }
    }

    /// Columns and lines.
    pub fn size(&self) -> (usize, usize) {
        match terminal_size() {
            Some((Width(columns), Height(lines))) if self.watched => (columns.into(), lines.into()),
            _ => DEFAULT_SIZE,
        }
    }

    /// Draws a frame from the top: its first line in bold, lines that end with a colon in colour, all cut to the screen.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn draw(&self, frame: &str) -> io::Result<()> {
        let (columns, lines) = self.size();
        let mut text = String::from("\x1b[H\x1b[J");
        for (at, line) in frame.lines().take(lines.saturating_sub(1)).enumerate() {
            let cut: String = line.chars().take(columns).collect();
            let (begin, end) = match (self.coloured, at == 0, cut.ends_with(':')) {
                (true, true, _) => ("\x1b[1m", "\x1b[0m"),
                (true, false, true) => ("\x1b[36m", "\x1b[0m"),
                _ => ("", ""),
            };
            text.push_str(&format!("{begin}{cut}{end}\r\n"));
        }
        let mut out = io::stdout();
        out.write_all(text.as_bytes())?;
        out.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if self.watched {
            print!("\x1b[?25h\x1b[?1049l");
            let _ = io::stdout().flush();
        }
    }
}
