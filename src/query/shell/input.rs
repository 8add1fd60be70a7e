//! Input of the shell: lines that complete statements, and backslash commands.

use anyhow::Result;

use crate::exit::mistake;
use crate::query::statements::split;

/// The backslash commands: name, argument and meaning.
pub(super) const COMMANDS: [(&str, &str, &str); 6] = [
    ("\\d", "", "list the views and system tables"),
    ("\\d", "NAME", "show the columns of one, with their types, and its indexes"),
    ("\\x", "[on|off]", "expanded output: one column a line"),
    ("\\timing", "[on|off]", "the time that each statement takes"),
    ("\\?", "", "this help"),
    ("\\q", "", "end the shell, as Ctrl-D does"),
];

/// Text of a statement that has not ended yet.
#[derive(Debug, Default)]
pub(super) struct Input {
    text: String,
}

/// Something that a line completes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Entered {
    /// A statement, without its semicolon.
    Statement(String),
    /// A backslash command.
    Command(String),
}

impl Input {
    /// The lines so far, each with a newline.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Tells whether no statement has begun.
    pub(super) fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Drops the statement that has begun.
    pub(super) fn clear(&mut self) {
        self.text.clear();
    }

    /// Adds a line; returns the statements and commands that are complete now, in their order. A command is a
    /// line, or the rest of one, that begins with a backslash outside of quotes and comments; it leaves a
    /// statement that has begun as it is.
    pub(super) fn push_line(&mut self, line: &str) -> Vec<Entered> {
        let bare = line.trim();
        let is_word = |word: &str| self.text.is_empty() && bare.trim_end_matches(';') == word;
        if is_word("quit") || is_word("exit") {
            return vec![Entered::Command("\\q".to_owned())];
        }
        if is_word("help") {
            return vec![Entered::Command("\\?".to_owned())];
        }
        if bare.starts_with('\\') && !split(&self.text).open {
            return vec![Entered::Command(bare.to_owned())];
        }
        self.text.push_str(line);
        self.text.push('\n');
        let parts = split(&self.text);
        let complete = parts.statements.iter().map(|statement| Entered::Statement((*statement).to_owned()));
        let mut entered: Vec<Entered> = complete.collect();
        let mut rest = parts.rest.to_owned();
        if rest.starts_with('\\') && !parts.open {
            entered.push(Entered::Command(std::mem::take(&mut rest).trim_end().to_owned()));
        }
        self.text = rest;
        entered
    }
}

/// A backslash command with its argument.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Backslash {
    /// `\d`.
    Relations,
    /// `\d NAME`.
    Columns(RelationName),
    /// `\x`; without on or off the other of the two.
    Expanded(Option<bool>),
    /// `\timing`, likewise.
    Timing(Option<bool>),
    /// `\?`.
    Help,
    /// `\q`.
    Quit,
}

/// A name of a relation as a user writes it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RelationName {
    /// Its schema, if it is written.
    pub schema: Option<String>,
    /// Its name.
    pub name: String,
}

impl Backslash {
    /// Parses a command.
    ///
    /// # Errors
    /// When there is no such command, or its argument is none.
    pub(super) fn parse(text: &str) -> Result<Backslash> {
        let text = text.trim().trim_end_matches(';').trim_end();
        let (name, argument) = match text.split_once(char::is_whitespace) {
            Some((name, argument)) => (name, argument.trim()),
            None => (text, ""),
        };
        match (name, argument) {
            ("\\d", "") => Ok(Backslash::Relations),
            ("\\d", relation) => Ok(Backslash::Columns(parse_name(relation)?)),
            ("\\x", word) => Ok(Backslash::Expanded(parse_switch(name, word)?)),
            ("\\timing", word) => Ok(Backslash::Timing(parse_switch(name, word)?)),
            ("\\?", _) => Ok(Backslash::Help),
            ("\\q", _) => Ok(Backslash::Quit),
            _ => Err(mistake(format!("there is no command {name}: \\? lists the commands"))),
        }
    }
}

fn parse_switch(name: &str, word: &str) -> Result<Option<bool>> {
    match word {
        "" => Ok(None),
        "on" => Ok(Some(true)),
        "off" => Ok(Some(false)),
        other => Err(mistake(format!("{name} takes on or off, not {other}"))),
    }
}

/// Parses `name`, `schema.name` and the same in double quotes; without them, names are in lower case.
fn parse_name(text: &str) -> Result<RelationName> {
    let bad = || mistake(format!("{text} is no name of a view: \\d lists the names"));
    let mut parts = Vec::new();
    let mut rest = text;
    loop {
        let (part, after) = match rest.strip_prefix('"') {
            Some(quoted) => {
                let (part, after) = quoted.split_once('"').ok_or_else(bad)?;
                (part.to_owned(), after)
            }
            None => {
                let (part, after) = rest.split_at(rest.find('.').unwrap_or(rest.len()));
                (part.to_lowercase(), after)
            }
        };
        parts.push(part);
        match after.strip_prefix('.') {
            Some(more) => rest = more,
            None if after.is_empty() => break,
            None => return Err(bad()),
        }
    }
    let name = parts.pop().filter(|name| !name.is_empty()).ok_or_else(bad)?;
    let schema = parts.pop();
    if !parts.is_empty() {
        return Err(bad());
    }
    Ok(RelationName { schema, name })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement(text: &str) -> Entered {
        Entered::Statement(text.to_owned())
    }

    fn command(text: &str) -> Entered {
        Entered::Command(text.to_owned())
    }

    #[test]
    fn lines_add_up_to_statements() {
        let mut input = Input::default();
        assert!(input.push_line("SELECT 'a;").is_empty());
        assert!(!input.is_empty());
        // Within quotes a backslash and a blank line are text.
        assert!(input.push_line("\\q").is_empty());
        assert!(input.push_line("").is_empty());
        assert_eq!(
            input.push_line("' AS a; SELECT 2;"),
            [statement("SELECT 'a;\n\\q\n\n' AS a"), statement("SELECT 2")]
        );
        assert!(input.is_empty());
        // A comment begins no statement, unless it goes on.
        assert!(input.push_line("-- nothing; yet").is_empty());
        assert!(input.is_empty());
        assert!(input.push_line("/* nothing; yet").is_empty());
        assert!(!input.is_empty());
        assert_eq!(input.push_line("*/ SELECT 1;"), [statement("SELECT 1")]);
    }

    #[test]
    fn a_backslash_at_the_start_is_a_command() {
        let mut input = Input::default();
        assert_eq!(input.push_line("  \\d champions "), [command("\\d champions")]);
        assert!(input.push_line("SELECT 1").is_empty());
        assert_eq!(input.push_line("\\timing"), [command("\\timing")]);
        assert_eq!(input.push_line("; \\x"), [statement("SELECT 1"), command("\\x")]);
        for word in ["quit", "exit;"] {
            assert_eq!(input.push_line(word), [command("\\q")]);
        }
        assert!(input.push_line("SELECT").is_empty());
        assert!(input.push_line("quit").is_empty());
        input.clear();
        assert!(input.is_empty());
    }

    #[test]
    fn commands_have_arguments() -> Result<()> {
        let columns = |schema: Option<&str>, name: &str| {
            Backslash::Columns(RelationName { schema: schema.map(str::to_owned), name: name.to_owned() })
        };
        for (text, parsed) in [
            ("\\q", Backslash::Quit),
            ("\\?", Backslash::Help),
            ("\\d", Backslash::Relations),
            ("\\d ;", Backslash::Relations),
            ("\\d Champions;", columns(None, "champions")),
            ("\\d herald.views", columns(Some("herald"), "views")),
            ("\\d \"Odd.Name\"", columns(None, "Odd.Name")),
            ("\\d public.\"Odd\"", columns(Some("public"), "Odd")),
            ("\\x", Backslash::Expanded(None)),
            ("\\x on", Backslash::Expanded(Some(true))),
            ("\\timing  off", Backslash::Timing(Some(false))),
        ] {
            assert_eq!(Backslash::parse(text)?, parsed, "{text}");
        }
        for bad in ["\\nonsense", "\\", "\\x maybe", "\\d a.b.c", "\\d a.", "\\d \"a"] {
            let error = Backslash::parse(bad).map(|parsed| format!("{parsed:?}")).unwrap_err();
            assert_eq!(crate::exit::code(&error), 2, "{bad}");
        }
        let unknown = Backslash::parse("\\nonsense").unwrap_err().to_string();
        assert_eq!(unknown, "there is no command \\nonsense: \\? lists the commands");
        Ok(())
    }
}
