//! Reading JSON lines: a path, or a pattern with `*` and `?` in the file's name.
//!
//! All files are one partition, in name order, and a record's offset is its line number across
//! them; empty lines take an offset and give no record. With `follow = 'true'` the reader waits for
//! more lines and more files. What would shift the offsets of lines that were read is refused: a file that
//! appears before one that was read, or grows after a later one was read, and another file in the place of
//! one that was read.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use schemas::Records;
use schemas::keyed::split_line;

use super::directory_of;
use crate::options::Options;
use crate::{ConnectorError, LastRecord};

/// Interval at which a followed file is polled for more lines.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Files to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSource {
    /// A file, or a pattern in the last part of the path.
    pub path: PathBuf,
    /// True if the reader waits for more at the end.
    pub follow: bool,
    /// True if a line holds key and value of its record, `{"key": ..., "value": ...}`. It follows from the
    /// format of the source, not from an option.
    pub keyed: bool,
    /// The last record that the state has read; the files must hold it still.
    pub last: Option<LastRecord>,
}

impl FileSource {
    /// Reads the options of a source.
    pub fn from_options(values: &BTreeMap<String, String>) -> Result<FileSource, ConnectorError> {
        let mut options = Options::new(values);
        options.text("connector");
        let path = PathBuf::from(options.required("path")?);
        let follow = options.flag("follow")?;
        options.finish()?;
        if path.parent().is_some_and(|parent| is_pattern(parent.as_os_str())) {
            let message = "may have * and ? only in the name of the file, not of its directories";
            return Err(ConnectorError::config("path", message));
        }
        Ok(FileSource { path, follow, keyed: false, last: None })
    }

    /// The files there are now, in name order.
    pub fn files(&self) -> Result<Vec<PathBuf>, ConnectorError> {
        let pattern = self.path.file_name().filter(|name| is_pattern(name));
        let Some(pattern) = pattern else { return Ok(vec![self.path.clone()]) };
        let parent = directory_of(&self.path);
        let failed = |error| ConnectorError::io(parent, error);
        let mut files = Vec::new();
        for entry in std::fs::read_dir(parent).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            if matches_pattern(pattern.as_encoded_bytes(), name.as_encoded_bytes()) {
                files.push(entry.path());
            }
        }
        files.sort();
        Ok(files)
    }
}

fn is_pattern(text: &OsStr) -> bool {
    text.as_encoded_bytes().iter().any(|byte| matches!(byte, b'*' | b'?'))
}

/// Returns true if `name` fits `pattern`: `*` is any bytes, `?` is one.
fn matches_pattern(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => (0..=name.len()).any(|skip| matches_pattern(rest, &name[skip..])),
        (Some((b'?', rest)), Some((_, name))) => matches_pattern(rest, name),
        (Some((byte, rest)), Some((first, name))) => byte == first && matches_pattern(rest, name),
        _ => false,
    }
}

/// Reads a [`FileSource`].
#[derive(Debug)]
pub struct FileReader {
    source: FileSource,
    shown: String,
    files: Vec<PathBuf>,
    /// Index of the file being read.
    current: usize,
    open: Option<BufReader<File>>,
    /// Bytes read of each file before the current one, and of the current one.
    read: Vec<u64>,
    /// The last record read.
    last: Option<LastRecord>,
    line: Vec<u8>,
    /// The line number of the next line.
    next: i64,
    stop_at_end: bool,
    done: bool,
    caught_up: bool,
    listed: Instant,
}

impl FileReader {
    /// Opens the files and goes to line `start`, counted from 0.
    pub fn open(source: &FileSource, start: i64) -> Result<FileReader, ConnectorError> {
        let files = source.files()?;
        if files.is_empty() && !source.follow {
            let message = "no file fits this pattern".to_string();
            return Err(ConnectorError::File { path: source.path.clone(), message });
        }
        let mut reader = FileReader {
            source: source.clone(),
            shown: source.path.display().to_string(),
            files,
            current: 0,
            open: None,
            read: Vec::new(),
            last: None,
            line: Vec::new(),
            next: 0,
            stop_at_end: false,
            done: false,
            caught_up: false,
            listed: Instant::now(),
        };
        if !source.follow || reader.source.path.exists() {
            reader.open_current()?;
        }
        while reader.next < start {
            if !reader.read_line()? {
                let message = format!(
                    "has {} lines, but the state has read {start}: it was cut short, or it is another file",
                    reader.next
                );
                return Err(ConnectorError::File { path: source.path.clone(), message });
            }
            // Only the line that the state names is compared: its digest stands for all before it.
            if source.last.is_some_and(|last| last.offset == reader.next - 1) {
                reader.note_last(reader.next - 1);
            }
        }
        match &source.last {
            Some(held) if held.digest.is_some() && reader.last != source.last => {
                let message = format!(
                    "holds another line than the one that the state has read as line {} of all files: a file was \
                     replaced, or one before the last grew",
                    held.offset + 1
                );
                Err(ConnectorError::File { path: source.path.clone(), message })
            }
            _ => Ok(reader),
        }
    }

    /// Notes the line just read as the last record, unless it is empty.
    fn note_last(&mut self, offset: i64) {
        let line = self.line.trim_ascii();
        if !line.is_empty() {
            let (key, value) = self.key_and_value(line);
            self.last = Some(LastRecord::new(offset, None, key, value));
        }
    }

    /// The key and the value of a line. A line of another form is a record without a key: the decoder accepts or
    /// refuses it.
    fn key_and_value<'l>(&self, line: &'l [u8]) -> (Option<&'l [u8]>, Option<&'l [u8]>) {
        let split = if self.source.keyed { split_line(line) } else { None };
        split.unwrap_or((None, Some(line)))
    }

    /// The last record read, as a map from the only partition.
    pub fn last(&self) -> BTreeMap<i32, LastRecord> {
        self.last.map(|last| (0, last)).into_iter().collect()
    }

    /// The next records; waits for the first up to `timeout` when the file is followed.
    pub fn poll(
        &mut self,
        max_records: usize,
        max_bytes: usize,
        timeout: Duration,
    ) -> Result<Vec<Records>, ConnectorError> {
        let until = Instant::now() + timeout;
        let mut records = Records::new(0);
        while records.len() < max_records && records.bytes_len() < max_bytes {
            let offset = self.next;
            if self.read_line()? {
                let line = self.line.trim_ascii();
                if !line.is_empty() {
                    let (key, value) = self.key_and_value(line);
                    records.push(offset, None, key, value);
                }
                continue;
            }
            self.caught_up = true;
            self.done = !self.source.follow || self.stop_at_end;
            let now = Instant::now();
            if self.done || !records.is_empty() || now >= until {
                break;
            }
            std::thread::sleep(POLL_INTERVAL.min(until - now));
        }
        if let Some(at) = records.len().checked_sub(1) {
            let (key, value) = (records.keys.get(at), records.values.get(at));
            self.last = Some(LastRecord::new(records.offsets[at], None, key, value));
        }
        Ok(if records.is_empty() { vec![] } else { vec![records] })
    }

    /// Returns true if the reader waits for more at the end.
    pub fn follows(&self) -> bool {
        self.source.follow
    }

    /// Makes a followed source end at the end.
    pub fn stop_at_end(&mut self) {
        self.stop_at_end = true;
    }

    /// Returns true when all was read.
    pub fn done(&self) -> bool {
        self.done
    }

    /// Returns true once the end was seen.
    pub fn caught_up(&self) -> bool {
        self.caught_up
    }

    /// The next line's number.
    pub fn position(&self) -> i64 {
        self.next
    }

    /// The path as it was written.
    pub fn path(&self) -> &str {
        &self.shown
    }

    fn open_current(&mut self) -> Result<bool, ConnectorError> {
        let Some(path) = self.files.get(self.current) else { return Ok(false) };
        let file = File::open(path).map_err(|error| ConnectorError::io(path, error))?;
        self.open = Some(BufReader::with_capacity(256 << 10, file));
        self.read.resize(self.current + 1, 0);
        Ok(true)
    }

    /// Reads the next line into `line`; false at the end, where a followed file may leave half a line.
    fn read_line(&mut self) -> Result<bool, ConnectorError> {
        loop {
            let Some(open) = self.open.as_mut() else {
                if !self.find_new_files()? || !self.open_current()? {
                    return Ok(false);
                }
                continue;
            };
            // Half a line from before stays and is completed; a whole one was returned already.
            if self.line.last() == Some(&b'\n') {
                self.line.clear();
            }
            let path = &self.files[self.current];
            let bytes = open.read_until(b'\n', &mut self.line).map_err(|e| ConnectorError::io(path, e))?;
            self.read[self.current] += bytes as u64;
            if self.line.last() == Some(&b'\n') {
                self.next += 1;
                return Ok(true);
            }
            // The end of this file. An unterminated last line counts as a line only if nothing can follow it.
            let is_last = self.current + 1 == self.files.len();
            if is_last && self.source.follow && !self.stop_at_end && !self.find_new_files()? {
                return Ok(false);
            }
            let rest = !self.line.is_empty();
            if self.current + 1 == self.files.len() && !rest {
                return Ok(false);
            }
            if rest {
                self.line.push(b'\n');
                self.next += 1;
            }
            if self.current + 1 < self.files.len() {
                self.current += 1;
                self.open = None;
            }
            if rest {
                return Ok(true);
            }
        }
    }

    /// Lists the files again; true when there are new ones after those known.
    fn find_new_files(&mut self) -> Result<bool, ConnectorError> {
        if self.open.is_none() && self.current < self.files.len() {
            let path = &self.files[self.current];
            return Ok(path.exists() || !self.source.follow);
        }
        if self.listed.elapsed() < POLL_INTERVAL {
            return Ok(false);
        }
        self.listed = Instant::now();
        self.refuse_changed_files()?;
        let files = self.source.files()?;
        if !files.starts_with(&self.files) {
            let message =
                "a file appeared, or went, before one that was read: new files must sort after the others"
                    .to_string();
            return Err(ConnectorError::File { path: self.source.path.clone(), message });
        }
        let more = files.len() > self.files.len();
        self.files = files;
        Ok(more)
    }
}

impl FileReader {
    /// Refuses files that are shorter than what was read of them, and files before the current one that are
    /// longer: their new lines would need offsets that other lines have.
    fn refuse_changed_files(&self) -> Result<(), ConnectorError> {
        for (at, (path, read)) in self.files.iter().zip(&self.read).enumerate() {
            let found = std::fs::metadata(path).map_err(|error| ConnectorError::io(path, error))?;
            let length = found.len();
            let message = if at == self.current && self.was_replaced(&found) {
                "was replaced by another file while it was read".to_owned()
            } else if length < *read {
                format!("has {length} bytes, of which {read} were read: it was cut short or replaced")
            } else if length > *read && at < self.current {
                format!(
                    "grew by {} bytes after a later file was read: write new lines to a file that sorts last",
                    length - read
                )
            } else {
                continue;
            };
            return Err(ConnectorError::File { path: path.clone(), message });
        }
        Ok(())
    }

    /// Tells whether the open file is another one than the one `found` at its path.
    fn was_replaced(&self, found: &Metadata) -> bool {
        let Some(open) = &self.open else { return false };
        open.get_ref().metadata().is_ok_and(|open| open.ino() != found.ino())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn source(path: PathBuf, follow: bool) -> FileSource {
        FileSource { path, follow, keyed: false, last: None }
    }

    fn all(reader: &mut FileReader) -> Vec<(i64, String)> {
        let mut lines = Vec::new();
        for records in reader.poll(100, usize::MAX, Duration::from_millis(300)).unwrap() {
            for (i, offset) in records.offsets.iter().enumerate() {
                let value = records.values.get(i).unwrap();
                lines.push((*offset, String::from_utf8(value.to_vec()).unwrap()));
            }
        }
        lines
    }

    fn lines(pairs: &[(i64, &str)]) -> Vec<(i64, String)> {
        pairs.iter().map(|(offset, line)| (*offset, line.to_string())).collect()
    }

    /// Opens files whose reader has stopped at the end with `last`.
    fn reopened(source: &FileSource, start: i64, last: Option<LastRecord>) -> Result<FileReader, String> {
        FileReader::open(&FileSource { last, ..source.clone() }, start).map_err(|error| error.to_string())
    }

    #[test]
    fn files_that_change_under_a_reader_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        let of = source(dir.path().join("p*"), true);
        write("p1", "1\n2\n");
        write("p2", "11\n12\n");
        let mut reader = FileReader::open(&of, 0).unwrap();
        assert_eq!(all(&mut reader).len(), 4);
        let last = reader.last().get(&0).copied();
        assert!(reopened(&of, 4, last).is_ok());
        // An earlier file grows: while it is followed, and before a restart.
        write("p1", "1\n2\n3\n");
        let failed = (0..20).find_map(|_| {
            std::thread::sleep(POLL_INTERVAL);
            reader.poll(9, usize::MAX, Duration::ZERO).err()
        });
        assert!(failed.unwrap().to_string().contains("grew by 2 bytes after a later file"));
        assert!(reopened(&of, 4, last).unwrap_err().contains("as line 4 of all files"));
        // The last file is replaced by one as long, is cut short, and is put back and grows.
        write("p1", "1\n2\n");
        write("p2", "11\n13\n14\n");
        assert!(reopened(&of, 4, last).unwrap_err().contains("was replaced"));
        write("p2", "11\n");
        assert!(reopened(&of, 4, last).unwrap_err().contains("cut short"));
        write("p2", "11\n12\n13\n");
        assert_eq!(all(&mut reopened(&of, 4, last).unwrap()), lines(&[(4, "13")]));
        // The line that was last is empty now.
        write("p2", "11\n\n\n");
        assert!(reopened(&of, 4, last).is_err());
        write("p2", "11\n12\n13\n");
        // States of earlier releases know no last record.
        assert!(reopened(&of, 4, None).is_ok());
        // Half a line that was read as a whole one, and completed afterwards.
        let half = source(dir.path().join("h"), false);
        write("h", "1\n{\"id\":2");
        let mut reader = FileReader::open(&half, 0).unwrap();
        assert_eq!(all(&mut reader).len(), 2);
        let last = reader.last().get(&0).copied();
        write("h", "1\n{\"id\":2}\n3\n");
        assert!(reopened(&half, 2, last).is_err());
    }

    #[test]
    fn a_followed_file_that_is_cut_short_ends_the_reader() {
        let dir = tempfile::tempdir().unwrap();
        let of = source(dir.path().join("p"), true);
        std::fs::write(&of.path, "1\n2\n").unwrap();
        let mut reader = FileReader::open(&of, 0).unwrap();
        assert_eq!(all(&mut reader).len(), 2);
        std::fs::write(&of.path, "3\n").unwrap();
        let failed = (0..20).find_map(|_| {
            std::thread::sleep(POLL_INTERVAL);
            reader.poll(9, usize::MAX, Duration::ZERO).err()
        });
        assert!(failed.unwrap().to_string().contains("cut short or replaced"));
        // Another file under the same name, as log rotation leaves it.
        std::fs::write(&of.path, "1\n2\n").unwrap();
        let mut reader = FileReader::open(&of, 0).unwrap();
        assert_eq!(all(&mut reader).len(), 2);
        std::fs::rename(&of.path, dir.path().join("old")).unwrap();
        std::fs::write(&of.path, "1\n2\n3\n").unwrap();
        let failed = (0..20).find_map(|_| {
            std::thread::sleep(POLL_INTERVAL);
            reader.poll(9, usize::MAX, Duration::ZERO).err()
        });
        assert!(failed.unwrap().to_string().contains("was replaced by another file"));
    }

    #[test]
    fn files_are_one_partition_in_name_order() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("b.jsonl"), "3\n4").unwrap();
        std::fs::write(dir.path().join("a.jsonl"), "0\n\n2\r\n").unwrap();
        std::fs::write(dir.path().join("c.txt"), "no").unwrap();
        let source = source(dir.path().join("*.jsonl"), false);
        let mut reader = FileReader::open(&source, 0).unwrap();
        assert_eq!(all(&mut reader), lines(&[(0, "0"), (2, "2"), (3, "3"), (4, "4")]));
        assert!(all(&mut reader).is_empty() && reader.done());
        assert_eq!(reader.position(), 5);
        let mut reader = FileReader::open(&source, 3).unwrap();
        assert_eq!(all(&mut reader), lines(&[(3, "3"), (4, "4")]));
        let error = FileReader::open(&source, 6).unwrap_err().to_string();
        assert!(error.contains("has 5 lines, but the state has read 6"), "{error}");
    }

    #[test]
    fn keyed_lines_are_split() {
        let dir = tempfile::tempdir().unwrap();
        let lines =
            "{\"key\": {\"id\":1}, \"value\": {\"n\": 2}}\n{\"key\":\"x\",\"value\":null}\n{\"n\":2}\n";
        std::fs::write(dir.path().join("a"), lines).unwrap();
        let keyed = FileSource { keyed: true, ..source(dir.path().join("a"), false) };
        let records =
            FileReader::open(&keyed, 0).unwrap().poll(9, usize::MAX, Duration::ZERO).unwrap().remove(0);
        let of = |blobs: &schemas::Blobs| -> Vec<Option<String>> {
            blobs.iter().map(|blob| blob.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())).collect()
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(of(&records.keys), [some("{\"id\":1}"), some("\"x\""), None]);
        assert_eq!(of(&records.values), [some("{\"n\": 2}"), None, some("{\"n\":2}")]);
    }

    #[test]
    fn batches_are_bounded() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a"), "1\n2\n3\n").unwrap();
        let mut reader = FileReader::open(&source(dir.path().join("a"), false), 0).unwrap();
        assert_eq!(reader.poll(2, usize::MAX, Duration::ZERO).unwrap()[0].len(), 2);
        assert!(!reader.done());
        assert_eq!(reader.poll(2, usize::MAX, Duration::ZERO).unwrap()[0].offsets, [2]);
    }

    #[test]
    fn a_followed_file_waits_for_the_end_of_a_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a-1");
        std::fs::write(&path, "0\n1").unwrap();
        let mut reader = FileReader::open(&source(dir.path().join("a-*"), true), 0).unwrap();
        assert_eq!(all(&mut reader), lines(&[(0, "0")]));
        let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"1\n").unwrap();
        assert_eq!(all(&mut reader), lines(&[(1, "11")]));
        std::fs::write(dir.path().join("a-2"), "2\n").unwrap();
        assert_eq!(all(&mut reader), lines(&[(2, "2")]));
        std::fs::write(dir.path().join("a-0"), "x\n").unwrap();
        std::thread::sleep(POLL_INTERVAL);
        assert!(reader.poll(9, 99, Duration::from_millis(200)).is_err());
    }

    #[test]
    fn mistakes_are_named() {
        let options = |pairs: &[(&str, &str)]| {
            FileSource::from_options(&pairs.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect())
        };
        assert!(options(&[("path", "a/*/b")]).unwrap_err().to_string().contains("only in the name"));
        assert!(options(&[("path", "a"), ("follow", "yes")]).is_err());
        let missing = source(PathBuf::from("does/not/exist"), false);
        assert!(FileReader::open(&missing, 0).unwrap_err().to_string().contains("does/not/exist"));
    }
}
