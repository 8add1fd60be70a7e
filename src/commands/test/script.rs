//! Parser of test scripts: directives in SQL comments, and the lines below each.
//!
//! `-- topology FILE`, `-- feed SOURCE`, `-- expect ...` and `-- restart` are directives; any other
//! comment is ignored, unless it looks like a misspelled directive. The lines below a feed are records,
//! those below an expectation are rows. A step is a group of feeds and the expectations after them; the
//! next feed, or a restart, begins another. Names and rows are only text with a place here; `case` binds
//! them to the topology.

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

/// A parsed script, not yet bound to its topology.
#[derive(Debug, Default)]
pub struct Script {
    /// Files of the topology, in order.
    pub topologies: Vec<Word>,
    /// Steps, in order.
    pub steps: Vec<ScriptStep>,
}

/// Records that are fed together, and the expectations after them.
#[derive(Debug, Default)]
pub struct ScriptStep {
    /// The line of its last directive.
    pub line: u64,
    /// Feeds, in order.
    pub feeds: Vec<Feed>,
    /// Expectations at its end.
    pub expects: Vec<ScriptExpect>,
    /// Set when the topology is stopped and started after it.
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

/// The subject of an expectation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The whole content of a view.
    View(Word),
    /// The net changes that a sink sent in the step.
    Changes(Word),
    /// All dead letters so far.
    DeadLetter,
    /// Records of a source by outcome so far.
    Outcomes(Word),
}

/// An expectation.
#[derive(Debug)]
pub struct ScriptExpect {
    /// The line of the directive.
    pub line: u64,
    /// Its subject.
    pub subject: Subject,
    /// The rows, as written.
    pub rows: Vec<Word>,
}

/// The meaning of the lines below the last directive.
enum LineKind {
    Nothing,
    Records,
    Rows,
}

/// Parses a script.
///
/// # Errors
/// Every mistake in it, in order.
pub fn parse_script(file: &str, text: &str) -> Result<Script, Vec<SqlError>> {
    let mut reader =
        Reader { file, script: Script::default(), below: LineKind::Nothing, spoilt: false, mistakes: vec![] };
    for (number, line) in (1u64..).zip(text.lines()) {
        let line = line.trim_end();
        let content = line.trim_start();
        if content.is_empty() || content.starts_with("---") {
            continue;
        }
        match content.strip_prefix("--") {
            Some(comment) => {
                let words = split_words(comment, number, (line.len() - comment.len(), line));
                reader.read_comment(&words);
            }
            None => reader.read_line(line, number),
        }
    }
    if reader.script.topologies.is_empty() && reader.mistakes.is_empty() {
        reader.add_mistake((1, 1), "the script names no topology", "begin with -- topology FILE");
    }
    if reader.mistakes.is_empty() { Ok(reader.script) } else { Err(reader.mistakes) }
}

/// Splits a part of a line, which begins at byte `start`, into words with their places.
fn split_words(part: &str, number: u64, (start, line): (usize, &str)) -> Vec<Word> {
    let mut words = Vec::new();
    for word in part.split_whitespace() {
        let at = word.as_ptr() as usize - part.as_ptr() as usize;
        let column = line.get(..start + at).map_or(0, |before| before.chars().count()) as u64 + 1;
        words.push(Word { text: word.to_owned(), line: number, column });
    }
    words
}

/// State of the parser.
struct Reader<'a> {
    file: &'a str,
    script: Script,
    below: LineKind,
    /// Set when the last directive was a mistake: the lines below it are skipped.
    spoilt: bool,
    mistakes: Vec<SqlError>,
}

impl Reader<'_> {
    fn add_mistake(&mut self, (line, column): (u64, u64), message: &str, hint: &str) {
        let hint = (!hint.is_empty()).then(|| hint.to_owned());
        let (file, message) = (self.file.to_owned(), message.to_owned());
        self.mistakes.push(SqlError { file, line, column, message, hint });
    }

    /// Reads a comment, which may be a directive.
    fn read_comment(&mut self, words: &[Word]) {
        let Some((first, rest)) = words.split_first() else { return };
        if DIRECTIVES.contains(&first.text.as_str()) {
            self.below = LineKind::Nothing;
            self.spoilt = !self.read_directive(first, rest);
            return;
        }
        // Up to three words that resemble a directive are taken for a misspelled one; longer text is a
        // comment.
        if let (Some(meant), 0..=2) = (nearest(&first.text, DIRECTIVES), rest.len()) {
            let message = format!("{} is no directive", first.text);
            let hint = format!("did you mean {meant}? A comment that must begin so begins with ---");
            self.add_mistake((first.line, first.column), &message, &hint);
            (self.below, self.spoilt) = (LineKind::Nothing, true);
        }
    }

    /// Adds the mistake of a malformed directive. Returns false, for [`Reader::read_directive`].
    fn refuse_directive(&mut self, first: &Word, rest: &[Word], hint: &str) -> bool {
        let at = rest.get(1).or(rest.first()).unwrap_or(first);
        let message = format!("{} is not written so", first.text);
        self.add_mistake((at.line, at.column), &message, hint);
        false
    }

    /// Reads a directive. Returns false if it is malformed.
    fn read_directive(&mut self, first: &Word, rest: &[Word]) -> bool {
        match (first.text.as_str(), rest) {
            ("topology", [file]) => {
                if !self.script.steps.is_empty() {
                    let at = (first.line, first.column);
                    self.add_mistake(
                        at,
                        "the topology comes after a step",
                        "name it at the top of the script",
                    );
                }
                self.script.topologies.push(file.clone());
            }
            ("topology", _) => {
                let hint = "write topology FILE; a file is relative to the script";
                return self.refuse_directive(first, rest, hint);
            }
            ("feed", [source]) => {
                let fresh = self.script.steps.last().is_none_or(|s| s.restart || !s.expects.is_empty());
                let step = self.step_for(fresh, first.line);
                step.feeds.push(Feed { source: source.clone(), records: vec![] });
                self.below = LineKind::Records;
            }
            ("feed", _) => {
                let hint = "write feed SOURCE, and below it a record a line";
                return self.refuse_directive(first, rest, hint);
            }
            ("restart", []) => {
                let again = self.script.steps.last().is_none_or(|s| s.restart);
                self.step_for(again, first.line).restart = true;
            }
            ("restart", _) => return self.refuse_directive(first, rest, "write restart and nothing else"),
            (_, words) => {
                let subject = match words {
                    [kind, sink] if kind.text == "changes" => Subject::Changes(sink.clone()),
                    [kind, source] if kind.text == "outcomes" => Subject::Outcomes(source.clone()),
                    [one] if matches!(one.text.as_str(), "changes" | "outcomes") => {
                        return self.refuse_directive(first, rest, EXPECTS);
                    }
                    [one] if one.text == "dead_letter" => Subject::DeadLetter,
                    [view] => Subject::View(view.clone()),
                    _ => return self.refuse_directive(first, rest, EXPECTS),
                };
                let fresh = self.script.steps.last().is_none_or(|s| s.restart);
                let step = self.step_for(fresh, first.line);
                step.expects.push(ScriptExpect { line: first.line, subject, rows: vec![] });
                self.below = LineKind::Rows;
            }
        }
        true
    }

    /// The step that a directive belongs to: a new one if `fresh`, else the last.
    fn step_for(&mut self, fresh: bool, line: u64) -> &mut ScriptStep {
        if fresh || self.script.steps.is_empty() {
            self.script.steps.push(ScriptStep::default());
        }
        let last = self.script.steps.len() - 1;
        let step = &mut self.script.steps[last];
        step.line = line;
        step
    }

    /// Reads a line that is no comment, by the directive above it.
    fn read_line(&mut self, line: &str, number: u64) {
        if self.spoilt {
            return;
        }
        let indent = line.chars().take_while(|c| c.is_whitespace()).count() as u64;
        let step = self.script.steps.last_mut();
        match self.below {
            LineKind::Rows => {
                if let Some(expect) = step.and_then(|step| step.expects.last_mut()) {
                    let text = line.trim().to_owned();
                    expect.rows.push(Word { text, line: number, column: indent + 1 });
                }
            }
            LineKind::Records => {
                let feed = step.and_then(|step| step.feeds.last_mut());
                match (record::parse_record(line, number), feed) {
                    (Ok(record), Some(feed)) => feed.records.push(record),
                    (Ok(_), None) => {}
                    (Err((column, message)), _) => {
                        self.add_mistake((number, column), &message, record::SYNTAX_HINT);
                    }
                }
            }
            LineKind::Nothing => {
                let hint = "records stand below -- feed SOURCE, rows below -- expect; SQL stands in the topology's file";
                self.add_mistake((number, indent + 1), "this line belongs to no directive", hint);
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
        let script = parse_script("x", text).unwrap_or_default();
        let shape: Vec<_> =
            script.steps.iter().map(|s| (s.line, s.feeds.len(), s.expects.len(), s.restart)).collect();
        assert_eq!(shape, [(9, 2, 2, false), (12, 1, 0, true), (13, 0, 1, false)]);
    }

    #[test]
    fn mistakes_have_places() {
        let text = "-- topology\n{}\n-- feed\n-- expct v\n  -- expect changes\n-- restart now\n";
        let told: Vec<(u64, u64)> =
            parse_script("x", text).unwrap_err().iter().map(|m| (m.line, m.column)).collect();
        assert_eq!(told, [(1, 4), (3, 4), (4, 4), (5, 13), (6, 12)]);
        assert_eq!(parse_script("x", "{}").unwrap_err().len(), 1);
        assert!(parse_script("x", "").is_err());
    }
}
