//! The text of a test script: directives in SQL comments, and the lines below each.
//!
//! `-- topology FILE`, `-- feed SOURCE`, `-- expect ...` and `-- restart` are directives; any other
//! comment is a comment, unless it looks like a misspelled directive. What stands below a feed are
//! records, what stands below an expectation are rows, one a line. A step is what is fed together
//! with what is expected then; the next feed, or a restart, begins another. Here names and rows are
//! text with a place; `case` gives them their meaning.

use dataflows::sql::SqlError;
use dataflows::sql::diagnostics::did_you_mean::nearest;

use super::record::{self, Record};

const DIRECTIVES: [&str; 4] = ["topology", "feed", "expect", "restart"];
const EXPECTS: &str = "write expect VIEW, expect changes SINK, expect dead_letter or expect outcomes SOURCE";

/// A word with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// The word.
    pub text: String,
    /// 1-based line.
    pub line: u64,
    /// 1-based column, in characters.
    pub column: u64,
}

/// A script, read and not yet understood.
#[derive(Debug, Default)]
pub struct Script {
    /// Files of the topology, in order.
    pub topologies: Vec<Word>,
    /// Steps, in order.
    pub steps: Vec<Step>,
}

/// Records that are fed together, and what is expected then.
#[derive(Debug, Default)]
pub struct Step {
    /// The line of its last directive.
    pub line: u64,
    /// Feeds, in order.
    pub feeds: Vec<Feed>,
    /// Expectations at its end.
    pub expects: Vec<Expect>,
    /// Whether the topology is stopped and started after it.
    pub restart: bool,
}

/// Records of one source.
#[derive(Debug)]
pub struct Feed {
    /// The source.
    pub source: Word,
    /// The records.
    pub records: Vec<Record>,
}

/// What an expectation is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The whole content of a view.
    View(Word),
    /// What a sink sent in the step, net.
    Changes(Word),
    /// All dead letters so far.
    DeadLetter,
    /// Records of a source by outcome so far.
    Outcomes(Word),
}

/// An expectation.
#[derive(Debug)]
pub struct Expect {
    /// The line of the directive.
    pub line: u64,
    /// What it is about.
    pub subject: Subject,
    /// The rows, as written.
    pub rows: Vec<Word>,
}

/// What the lines below the last directive are.
enum Below {
    Nothing,
    Records,
    Rows,
}

/// Reads a script.
///
/// # Errors
/// Every mistake in it, in order.
pub fn read(file: &str, text: &str) -> Result<Script, Vec<SqlError>> {
    let mut reader =
        Reader { file, script: Script::default(), below: Below::Nothing, spoilt: false, mistakes: vec![] };
    for (number, line) in (1u64..).zip(text.lines()) {
        let line = line.trim_end();
        let content = line.trim_start();
        if content.is_empty() || content.starts_with("---") {
            continue;
        }
        match content.strip_prefix("--") {
            Some(comment) => {
                let words = words(comment, number, (line.len() - comment.len(), line));
                reader.comment(&words);
            }
            None => reader.below(line, number),
        }
    }
    if reader.script.topologies.is_empty() && reader.mistakes.is_empty() {
        reader.mistake((1, 1), "the script names no topology", "begin with -- topology FILE");
    }
    match reader.mistakes.is_empty() {
        true => Ok(reader.script),
        false => Err(reader.mistakes),
    }
}

/// The words of a part of a line that begins at a byte of it.
fn words(part: &str, number: u64, (start, line): (usize, &str)) -> Vec<Word> {
    let place = |word: &str| {
        let at = word.as_ptr() as usize - part.as_ptr() as usize;
        line.get(..start + at).map_or(0, |before| before.chars().count()) as u64 + 1
    };
    let word = |word: &str| Word { text: word.to_owned(), line: number, column: place(word) };
    part.split_whitespace().map(word).collect()
}

struct Reader<'a> {
    file: &'a str,
    script: Script,
    below: Below,
    /// The last directive was a mistake: what stands below it says nothing.
    spoilt: bool,
    mistakes: Vec<SqlError>,
}

impl Reader<'_> {
    fn mistake(&mut self, (line, column): (u64, u64), message: &str, hint: &str) {
        let hint = (!hint.is_empty()).then(|| hint.to_owned());
        let (file, message) = (self.file.to_owned(), message.to_owned());
        self.mistakes.push(SqlError { file, line, column, message, hint });
    }

    fn comment(&mut self, words: &[Word]) {
        let Some((first, rest)) = words.split_first() else { return };
        if DIRECTIVES.contains(&first.text.as_str()) {
            self.below = Below::Nothing;
            self.spoilt = !self.directive(first, rest);
            return;
        }
        // A sentence is a comment; a word or two that nearly are a directive are a slip.
        if let (Some(meant), 0..=2) = (nearest(&first.text, DIRECTIVES), rest.len()) {
            let message = format!("{} is no directive", first.text);
            let hint = format!("did you mean {meant}? A comment that must begin so begins with ---");
            self.mistake((first.line, first.column), &message, &hint);
            (self.below, self.spoilt) = (Below::Nothing, true);
        }
    }

    /// Takes a directive; false when it is not understood.
    fn directive(&mut self, first: &Word, rest: &[Word]) -> bool {
        let wrong = |reader: &mut Self, hint: &str| {
            let at = rest.get(1).or(rest.first()).unwrap_or(first);
            let message = format!("{} is not written so", first.text);
            reader.mistake((at.line, at.column), &message, hint);
            false
        };
        match (first.text.as_str(), rest) {
            ("topology", [file]) => {
                if !self.script.steps.is_empty() {
                    let at = (first.line, first.column);
                    self.mistake(at, "the topology comes after a step", "name it at the top of the script");
                }
                self.script.topologies.push(file.clone());
            }
            ("topology", _) => return wrong(self, "write topology FILE; a file is relative to the script"),
            ("feed", [source]) => {
                let fresh = self.script.steps.last().is_none_or(|s| s.restart || !s.expects.is_empty());
                let step = self.step(fresh, first.line);
                step.feeds.push(Feed { source: source.clone(), records: vec![] });
                self.below = Below::Records;
            }
            ("feed", _) => return wrong(self, "write feed SOURCE, and below it a record a line"),
            ("restart", []) => {
                let again = self.script.steps.last().is_none_or(|s| s.restart);
                self.step(again, first.line).restart = true;
            }
            ("restart", _) => return wrong(self, "write restart and nothing else"),
            (_, words) => {
                let subject = match words {
                    [kind, sink] if kind.text == "changes" => Subject::Changes(sink.clone()),
                    [kind, source] if kind.text == "outcomes" => Subject::Outcomes(source.clone()),
                    [one] if matches!(one.text.as_str(), "changes" | "outcomes") => {
                        return wrong(self, EXPECTS);
                    }
                    [one] if one.text == "dead_letter" => Subject::DeadLetter,
                    [view] => Subject::View(view.clone()),
                    _ => return wrong(self, EXPECTS),
                };
                let fresh = self.script.steps.last().is_none_or(|s| s.restart);
                let step = self.step(fresh, first.line);
                step.expects.push(Expect { line: first.line, subject, rows: vec![] });
                self.below = Below::Rows;
            }
        }
        true
    }

    /// The step that a directive belongs to.
    fn step(&mut self, fresh: bool, line: u64) -> &mut Step {
        if fresh || self.script.steps.is_empty() {
            self.script.steps.push(Step::default());
        }
        let last = self.script.steps.len() - 1;
        let step = &mut self.script.steps[last];
        step.line = line;
        step
    }

    fn below(&mut self, line: &str, number: u64) {
        if self.spoilt {
            return;
        }
        let indent = line.chars().take_while(|c| c.is_whitespace()).count() as u64;
        let step = self.script.steps.last_mut();
        match self.below {
            Below::Rows => {
                let expect = step.and_then(|step| step.expects.last_mut());
                let row = Word { text: line.trim().to_owned(), line: number, column: indent + 1 };
                expect.into_iter().for_each(|expect| expect.rows.push(row.clone()));
            }
            Below::Records => {
                let feed = step.and_then(|step| step.feeds.last_mut());
                match (record::read(line, number), feed) {
                    (Ok(record), Some(feed)) => feed.records.push(record),
                    (Ok(_), None) => {}
                    (Err((column, message)), _) => {
                        self.mistake((number, column), &message, record::FORM);
                    }
                }
            }
            Below::Nothing => {
                let hint = "records stand below -- feed SOURCE, rows below -- expect; SQL stands in the topology's file";
                self.mistake((number, indent + 1), "this line belongs to no directive", hint);
                self.spoilt = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_end_where_the_next_feed_begins() {
        let text = "-- topology a.sql\n-- feed s\n{}\n-- feed t\n\n{}\n-- expect v\n{}\n-- expect dead_letter\n\
                    -- Prose may stand anywhere.\n-- feed s\n-- restart\n-- expect v\n";
        let script = read("x", text).unwrap_or_default();
        let shape: Vec<_> =
            script.steps.iter().map(|s| (s.line, s.feeds.len(), s.expects.len(), s.restart)).collect();
        assert_eq!(shape, [(9, 2, 2, false), (12, 1, 0, true), (13, 0, 1, false)]);
    }

    #[test]
    fn mistakes_have_places() {
        let text = "-- topology\n{}\n-- feed\n-- expct v\n  -- expect changes\n-- restart now\n";
        let told: Vec<(u64, u64)> = read("x", text).unwrap_err().iter().map(|m| (m.line, m.column)).collect();
        assert_eq!(told, [(1, 4), (3, 4), (4, 4), (5, 13), (6, 12)]);
        assert_eq!(read("x", "{}").unwrap_err().len(), 1);
        assert!(read("x", "").is_err());
    }
}
