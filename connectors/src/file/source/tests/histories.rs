//! Random histories of files: written, changed and deleted while they are read, with restarts from positions that
//! were committed.
//!
//! The model knows the contents that each file has had since a reader was opened. Records must be the lines of the
//! files, each as it stood at one moment, one after the other and with their numbers. At the end of the files they must
//! be all lines, unless there was a change that `docs/reference/connectors.md` says ends a run: after such a change,
//! and no other, a reader may refuse its files, and must where a look at the directory shows it. A start must refuse
//! files that do not hold the lines that were read, and no others. It compares the last record and that empty lines
//! alone follow it, so one change is not noticed: before the last record, where that keeps its number (or before the
//! position, where only empty lines were read). `HERALD_SEED` is the first seed, `HERALD_HISTORIES` the number of
//! histories; a failure tells the seed and the steps.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tempfile::TempDir;

use crate::LastRecord;
use crate::file::source::{FileReader, FileSource};

/// Number of histories.
const HISTORIES: u64 = 2000;
/// Steps of a history.
const STEPS: usize = 16;
/// Most records of a poll that reads to the end.
const ALL: usize = 1000;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn every_line_is_read_once_or_the_files_are_refused() {
    let (first, histories) = (number("HERALD_SEED", 1), number("HERALD_HISTORIES", HISTORIES));
    let mut tally = Tally::default();
    for seed in first..first + histories {
        History::begin(seed).run(&mut tally);
    }
    println!("{histories} histories from seed {first}: {tally:?}");
    if histories >= HISTORIES {
        let Tally { complete, refused_reading, refused_at_start, unnoticed } = tally;
        let each = [complete, refused_reading, refused_at_start, unnoticed];
        assert!(each.iter().all(|times| *times > 0), "{tally:?}");
    }
}

/// Numbers of the ends that histories came to, which show that the generator reaches all of them.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    /// All lines were compared at the end of the files.
    complete: u32,
    refused_reading: u32,
    refused_at_start: u32,
    /// Starts with files that were changed where a start does not look.
    unnoticed: u32,
}

/// Bytes of a file, None where there is none.
type Content = Option<Vec<u8>>;

/// The files by slot, which is the order of their names.
struct Files {
    dir: TempDir,
    now: Vec<Content>,
    /// The contents since the reader was opened.
    moments: Vec<Vec<Content>>,
    /// Number of texts that were written.
    texts: u32,
    /// True after a change since the reader was opened that ends a run.
    changed: bool,
    /// True after one that a reader that follows need not notice: a file that was written over, or anything written
    /// after another change, which may cover it.
    hidden: bool,
    told: Vec<String>,
}

impl Files {
    fn path(&self, slot: usize) -> PathBuf {
        self.dir.path().join(format!("p{slot}"))
    }

    fn existing(&self) -> Vec<usize> {
        (0..self.now.len()).filter(|slot| self.now[*slot].is_some()).collect()
    }

    fn tell(&mut self, text: String) {
        self.told.push(text);
    }

    /// Notes what a slot has now.
    fn set(&mut self, slot: usize, content: Content, change: &str) {
        self.tell(format!("{change} p{slot}: {:?}", content.as_deref().map(String::from_utf8_lossy)));
        self.moments[slot].push(content.clone());
        self.now[slot] = content;
    }

    /// A text that no line had before.
    fn text(&mut self) -> String {
        self.texts += 1;
        format!("t{:03}", self.texts)
    }

    /// A line with its end; now and then an empty one.
    fn line(&mut self, rng: &mut ChaCha8Rng) -> String {
        match rng.random_range(0..14) {
            0 => "\n".to_owned(),
            1 => [" \n", "\r\n"][rng.random_range(0..2)].to_owned(),
            _ => format!("{}\n", self.text()),
        }
    }

    fn lines(&mut self, number: usize, rng: &mut ChaCha8Rng) -> String {
        let mut lines = String::new();
        for _ in 0..number {
            lines += &self.line(rng);
        }
        lines
    }

    /// Appends bytes; `taken` if the reader has read half a line at the end as a line.
    fn append(&mut self, slot: usize, bytes: &str, taken: bool) {
        let mut file = OpenOptions::new().append(true).open(self.path(slot)).unwrap();
        file.write_all(bytes.as_bytes()).unwrap();
        self.hidden |= self.changed;
        self.changed |= self.existing().last() != Some(&slot) || (taken && !bytes.starts_with('\n'));
        let mut content = self.now[slot].clone().unwrap_or_default();
        content.extend_from_slice(bytes.as_bytes());
        self.set(slot, Some(content), "append to");
    }

    fn create(&mut self, slot: usize, bytes: &str) {
        fs::write(self.path(slot), bytes).unwrap();
        self.hidden |= self.changed;
        self.changed |= self.existing().last().is_some_and(|last| slot < *last);
        self.set(slot, Some(bytes.as_bytes().to_vec()), "create");
    }

    /// Puts another content in the place of a file's, in the same file or by another of its name.
    fn replace(&mut self, slot: usize, content: Vec<u8>, renamed: bool) {
        let (path, beside) = (self.path(slot), self.dir.path().join("new"));
        if renamed {
            fs::write(&beside, &content).unwrap();
            // Files written at once may have one time, and another file of the same length is known by its time.
            let changes = self.told.len() as u64;
            let file = OpenOptions::new().write(true).open(&beside).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(changes)).unwrap();
            fs::rename(&beside, &path).unwrap();
        } else {
            fs::write(&path, &content).unwrap();
        }
        self.hidden |= !renamed;
        self.changed = true;
        self.set(slot, Some(content), if renamed { "rename over" } else { "write over" });
    }

    fn cut(&mut self, slot: usize, rng: &mut ChaCha8Rng) {
        let mut content = self.now[slot].clone().unwrap_or_default();
        content.truncate(rng.random_range(0..=content.len()));
        let file = OpenOptions::new().write(true).open(self.path(slot)).unwrap();
        file.set_len(content.len() as u64).unwrap();
        self.changed = true;
        self.set(slot, Some(content), "cut");
    }

    fn delete(&mut self, slot: usize) {
        fs::remove_file(self.path(slot)).unwrap();
        self.changed = true;
        self.set(slot, None, "delete");
    }

    /// Content in the place of another: with one line changed, with more lines, or new and shorter, as long or
    /// longer.
    fn other_content(&mut self, old: &[u8], rng: &mut ChaCha8Rng) -> Vec<u8> {
        let length = match rng.random_range(0..6) {
            0 => return [old, self.lines(2, rng).as_bytes()].concat(),
            1 | 2 if !old.is_empty() => return self.with_one_line_changed(old, rng),
            3 => rng.random_range(0..=old.len()),
            4 => old.len(),
            _ => old.len() + rng.random_range(1..12),
        };
        let mut new = Vec::new();
        while new.len() < length {
            new.extend_from_slice(self.line(rng).as_bytes());
        }
        new.truncate(length);
        new
    }

    fn with_one_line_changed(&mut self, old: &[u8], rng: &mut ChaCha8Rng) -> Vec<u8> {
        let mut lines: Vec<Vec<u8>> =
            old.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
        let at = rng.random_range(0..lines.len());
        lines[at] = self.line(rng).into_bytes();
        lines.concat()
    }

    /// The lines of all files that are `listed`, and whether the last lacks its end. Half a line before a later
    /// file is a line.
    fn all_lines(&self, listed: &[bool]) -> (Vec<String>, bool) {
        let (mut all, mut half) = (Vec::new(), false);
        for (content, listed) in self.now.iter().zip(listed) {
            if let (Some(content), true) = (content, *listed) {
                let (lines, unended) = lines_of(content);
                all.extend(lines);
                half = unended;
            }
        }
        (all, half)
    }
}

/// The lines of a content without blanks around them, and whether the last lacks its end.
fn lines_of(content: &[u8]) -> (Vec<String>, bool) {
    let mut lines = Vec::new();
    for line in content.split_inclusive(|byte| *byte == b'\n') {
        lines.push(String::from_utf8_lossy(line).trim().to_owned());
    }
    (lines, content.last().is_some_and(|byte| *byte != b'\n'))
}

/// The records of lines: those that are not empty, with their numbers.
fn records_of(lines: &[String]) -> Vec<(i64, String)> {
    let numbered = (0_i64..).zip(lines).filter(|(_, line)| !line.is_empty());
    numbered.map(|(offset, line)| (offset, line.clone())).collect()
}

/// A position that a state may hold.
#[derive(Clone, Copy)]
struct Commit {
    next: i64,
    last: Option<LastRecord>,
    /// Number of records read up to it.
    given: usize,
}

struct History {
    rng: ChaCha8Rng,
    files: Files,
    source: FileSource,
    reader: FileReader,
    /// True if the reader ends at the end of the files, where half a line is a line.
    bounded: bool,
    /// The files that the reader may read, by slot.
    listed: Vec<bool>,
    /// The reader's first position, and the number of records before it.
    start: (i64, usize),
    /// The records read, of this reader and, up to its start, of those before.
    given: Vec<(i64, String)>,
    commits: Vec<Commit>,
    /// False if only appended lines and later files come.
    unsteady: bool,
}

impl History {
    fn begin(seed: u64) -> History {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let (dir, pattern, follow) =
            (tempfile::tempdir().unwrap(), rng.random_range(0..3) > 0, rng.random_range(0..3) > 0);
        let path = dir.path().join(if pattern { "p*" } else { "p0" });
        let (slots, begins) = if pattern { (7, 2) } else { (1, 0) };
        let now = vec![None; slots];
        let told = vec![format!("seed {seed}, pattern {pattern}, follow {follow}")];
        let moments = vec![vec![None]; slots];
        let mut files = Files { dir, now, moments, texts: 0, changed: false, hidden: false, told };
        // A source that is not followed has a file at least.
        let number = rng.random_range(usize::from(!follow)..=if pattern { 3 } else { 1 });
        for slot in begins..begins + number {
            let lines = rng.random_range(0..4);
            let lines = files.lines(lines, &mut rng);
            files.create(slot, &lines);
        }
        let source = FileSource { path, follow, keyed: false, last: None };
        let reader = FileReader::open(&source, 0).unwrap();
        let unsteady = rng.random_range(0..3) > 0;
        let commits = vec![Commit { next: 0, last: None, given: 0 }];
        let (listed, given) = (vec![true; slots], Vec::new());
        let mut history = History {
            rng,
            files,
            source,
            reader,
            bounded: false,
            listed,
            start: (0, 0),
            given,
            commits,
            unsteady,
        };
        history.note_start(0, false);
        history
    }

    fn told(&self) -> String {
        format!("{}\nread: {:?}", self.files.told.join("\n"), self.given)
    }

    fn run(&mut self, tally: &mut Tally) {
        for _ in 0..STEPS {
            let goes_on = match self.rng.random_range(0..10) {
                0..4 => self.poll_somehow(tally),
                4 => self.restart(tally),
                _ => {
                    self.change();
                    true
                }
            };
            if !goes_on {
                return;
            }
        }
        // A change that was not noticed yet is noticed at the next start.
        if self.poll(true, ALL, tally) {
            self.commit();
            if self.restart(tally) {
                self.poll(true, ALL, tally);
            }
        }
    }

    fn change(&mut self) {
        let (slots, existing) = (self.files.now.len(), self.files.existing());
        let Some(last) = existing.last().copied() else {
            let (slot, lines) = (self.rng.random_range(0..slots), self.files.lines(2, &mut self.rng));
            return self.files.create(slot, &lines);
        };
        let any = existing[self.rng.random_range(0..existing.len())];
        let to = if self.unsteady && self.rng.random_range(0..5) == 0 { any } else { last };
        let (number, absent): (_, Vec<usize>) =
            (self.rng.random_range(1..4), (0..last).filter(|slot| !existing.contains(slot)).collect());
        match self.rng.random_range(0..if self.unsteady { 15 } else { 10 }) {
            0..4 => {
                let lines = self.files.lines(number, &mut self.rng);
                self.append(to, &lines);
            }
            4 => self.append(to, " "),
            5 => {
                let half = self.files.text();
                self.append(to, &half);
            }
            6 | 7 => {
                let end = ["\n", "\n", "x\n", "x\ny\n", " \n", "\r", "x"][self.rng.random_range(0..7)];
                self.append(to, end);
            }
            8 | 9 if last + 1 < slots => {
                let (slot, lines) =
                    (self.rng.random_range(last + 1..slots), self.files.lines(number - 1, &mut self.rng));
                self.files.create(slot, &lines);
            }
            10 if !absent.is_empty() => {
                let (slot, lines) = (
                    absent[self.rng.random_range(0..absent.len())],
                    self.files.lines(number - 1, &mut self.rng),
                );
                self.files.create(slot, &lines);
            }
            11 | 12 => {
                let old = self.files.now[any].clone().unwrap_or_default();
                let content = self.files.other_content(&old, &mut self.rng);
                self.files.replace(any, content, number > 1);
            }
            13 => self.files.cut(any, &mut self.rng),
            14 => self.files.delete(any),
            _ => {}
        }
    }

    fn append(&mut self, slot: usize, bytes: &str) {
        let (lines, half) = self.files.all_lines(&vec![true; self.files.now.len()]);
        let taken = half && self.reader.position() >= lines.len() as i64;
        self.files.append(slot, bytes, taken);
    }

    /// Polls for few records or all, with or without a look at the directory, and may commit.
    fn poll_somehow(&mut self, tally: &mut Tally) -> bool {
        let (due, most) = (self.rng.random_range(0..3) > 0, [1, 2, ALL, ALL][self.rng.random_range(0..4)]);
        let goes_on = self.poll(due, most, tally);
        if goes_on && self.rng.random_range(0..2) == 0 {
            self.commit();
        }
        goes_on
    }

    /// Polls the reader, whose next look at the directory is due or far away; false if it has refused.
    fn poll(&mut self, due: bool, most: usize, tally: &mut Tally) -> bool {
        let now = Instant::now();
        self.reader.next_look = if due { now } else { now + Duration::from_secs(3600) };
        self.files.tell(format!("poll for {most}, due {due}"));
        let ended = self.reader.done();
        let batches = match self.reader.poll(most, usize::MAX, Duration::ZERO) {
            Ok(batches) => batches,
            Err(error) => {
                assert!(self.files.changed, "refused without a cause: {error}\n{}", self.told());
                tally.refused_reading += 1;
                return false;
            }
        };
        assert!(!ended || batches.is_empty(), "records after the end\n{}", self.told());
        for records in &batches {
            for (at, offset) in records.offsets.iter().enumerate() {
                let value = records.values.get(at).unwrap_or_default();
                self.given.push((*offset, String::from_utf8_lossy(value).into_owned()));
            }
        }
        let right = self.explains(0, 0, &self.given[self.start.1..], false);
        assert!(right, "not the lines of the files\n{}", self.told());
        let at_end = if self.bounded { self.reader.done() && !ended } else { due && most == ALL };
        let settled = if self.bounded { !self.files.changed } else { !self.files.hidden };
        if at_end && settled {
            self.assert_complete();
            tally.complete += 1;
        }
        true
    }

    /// Compares the records with all lines.
    fn assert_complete(&self) {
        let (mut lines, half) = self.files.all_lines(&self.listed);
        // Half a line that a bounded reader has read before the start is a line for a reader that follows, too.
        if half && !self.bounded && lines.len() as i64 > self.start.0 {
            lines.pop();
        }
        assert_eq!(self.given, records_of(&lines), "not all lines\n{}", self.told());
    }

    /// Tells whether the files from `slot` on, each as it stood at one moment, give the records `left`, where `before`
    /// lines come before them; `owed` if half a line was a line, which takes a later file.
    fn explains(&self, slot: usize, before: i64, left: &[(i64, String)], owed: bool) -> bool {
        let Some(moments) = self.files.moments.get(slot) else { return left.is_empty() && !owed };
        moments.iter().any(|content| match content {
            None => self.explains(slot + 1, before, left, owed),
            Some(content) => self.explains_by(content, slot, before, left),
        })
    }

    fn explains_by(&self, content: &[u8], slot: usize, before: i64, left: &[(i64, String)]) -> bool {
        let (lines, half) = lines_of(content);
        let (mut next, mut left, mut owed) = (before, left, false);
        for (at, line) in lines.iter().enumerate() {
            let Some((record, others)) = left.split_first() else { return true };
            if next >= self.start.0 && !line.is_empty() {
                if (record.0, &record.1) != (next, line) {
                    return false;
                }
                left = others;
            }
            owed = half && at + 1 == lines.len() && next >= self.start.0 && !self.bounded;
            next += 1;
        }
        (left.is_empty() && !owed) || self.explains(slot + 1, next, left, owed)
    }

    fn commit(&mut self) {
        let (next, last) = (self.reader.position(), self.reader.last().get(&0).copied());
        self.files.tell(format!("commit {next}"));
        self.commits.push(Commit { next, last, given: self.given.len() });
    }

    /// Opens the files anew, at the last position committed or an earlier one; false if that is refused.
    fn restart(&mut self, tally: &mut Tally) -> bool {
        let newest = self.commits.len() - 1;
        let at = if self.rng.random_range(0..3) > 0 { newest } else { self.rng.random_range(0..=newest) };
        self.commits.truncate(at + 1);
        let Commit { next, last, given } = self.commits[at];
        self.given.truncate(given);
        self.files.tell(format!("restart at {next}"));
        let nothing = !self.source.follow && self.files.existing().is_empty();
        let (lines, _) = self.files.all_lines(&vec![true; self.files.now.len()]);
        let held = lines.get(..next as usize).filter(|_| !nothing);
        let intact = held.is_some_and(|held| records_of(held) == self.given);
        self.reader = match FileReader::open(&FileSource { last, ..self.source.clone() }, next) {
            Ok(reader) => reader,
            Err(error) => {
                assert!(!intact, "refused at a start without a cause: {error}\n{}", self.told());
                tally.refused_at_start += 1;
                return false;
            }
        };
        if !intact {
            let unnoticed = held.filter(|held| self.looks_intact(held, last));
            let Some(held) = unnoticed else { panic!("not refused at a start\n{}", self.told()) };
            self.given = records_of(held);
            self.commits = vec![Commit { next, last, given: self.given.len() }];
            tally.unnoticed += 1;
        }
        let once = self.source.follow && self.rng.random_range(0..3) == 0;
        self.note_start(next, once && !self.files.existing().is_empty());
        true
    }

    /// Tells whether lines are those read for all that a start compares: the last record, and no other behind it.
    /// Where none was read there is nothing to compare.
    fn looks_intact(&self, held: &[String], last: Option<LastRecord>) -> bool {
        let (Some(last), Some((_, text))) = (last, self.given.last()) else { return true };
        let at = last.offset as usize;
        held[at] == *text && held[at + 1..].iter().all(String::is_empty)
    }

    fn note_start(&mut self, next: i64, once: bool) {
        if once {
            self.reader.stop_at_end();
        }
        self.bounded = once || !self.source.follow;
        let mut moments = Vec::new();
        for (content, listed) in self.files.now.iter().zip(&mut self.listed) {
            *listed = !self.bounded || content.is_some();
            moments.push(vec![content.clone()]);
        }
        self.files.moments = moments;
        (self.files.changed, self.files.hidden) = (false, false);
        self.start = (next, self.given.len());
        self.files.tell(format!("reads from {next} on, bounded {}", self.bounded));
    }
}
