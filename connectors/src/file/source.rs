//! Reading JSON lines: a path, or a pattern with `*` and `?` in the file's name.
//!
//! All files are one partition, in name order, and a record's offset is its line number across
//! them; empty lines take an offset and give no record. With `follow = 'true'` the reader waits for
//! more lines and more files. What would shift the offsets of lines that were read is refused: a file that
//! appears before one that was read, or grows after a later one was read, another file in the place of one
//! that was read, one that was written over, and half a line that was read as a whole one and went on.
//! `tests/histories.rs` holds this against random changes.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io::{BufRead, BufReader, ErrorKind};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use schemas::Records;
use schemas::keyed::split_line;

use super::directory_of;
use crate::options::Options;
use crate::{ConnectorError, LastRecord};

/// Interval at which a followed file is polled for more lines.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Pause after a look at the files, as a multiple of its duration: a look takes the time of the thread that reads all
/// sources.
const PAUSE_PER_LOOK: u32 = 20;
/// Bytes before those that come new that must be as they were read.
const TAIL_BYTES: usize = 4 << 10;

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
        let found = self.list()?;
        // Of files that come while a directory is read, one may be missing and a later one not. A second look has
        // all that came before those of the first.
        let mut files = self.list()?;
        files.retain(|file| Some(file) <= found.last());
        Ok(files)
    }

    /// The files that one look at the directory finds, in name order.
    fn list(&self) -> Result<Vec<PathBuf>, ConnectorError> {
        let Some(pattern) = self.pattern() else { return Ok(vec![self.path.clone()]) };
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

    /// The pattern that names of files must fit; None where the path is that of one file.
    fn pattern(&self) -> Option<&OsStr> {
        self.path.file_name().filter(|name| is_pattern(name))
    }

    /// Looks whether the files can be opened, and reads nothing. False if there is none yet, which a followed source
    /// waits for.
    ///
    /// # Errors
    /// When a reader could not read the files: one is missing, is a directory or may not be read, or none fits the
    /// pattern.
    pub fn look(&self) -> Result<bool, ConnectorError> {
        let files = self.files()?;
        if files.is_empty() && !self.follow {
            return Err(self.no_file_fits());
        }
        let mut found = false;
        for path in &files {
            match look_at(path) {
                Ok(()) => found = true,
                Err(ConnectorError::Io { source, .. })
                    if self.follow && source.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    /// The error for a pattern that no file fits.
    fn no_file_fits(&self) -> ConnectorError {
        let message = "no file fits this pattern".to_string();
        ConnectorError::File { path: self.path.clone(), message }
    }
}

/// Verifies that a file can be opened. A pipe is not tried: opening it would wait for its writer.
fn look_at(path: &Path) -> Result<(), ConnectorError> {
    let found = std::fs::metadata(path).map_err(|error| ConnectorError::io(path, error))?;
    if found.is_dir() {
        let message = "is a directory; name a file, or a pattern such as DIRECTORY/*.jsonl".to_string();
        return Err(ConnectorError::File { path: path.to_path_buf(), message });
    }
    if found.is_file() {
        File::open(path).map_err(|error| ConnectorError::io(path, error))?;
    }
    Ok(())
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

/// Time of a file's last modification, in seconds and nanoseconds since 1970.
type Modified = (i64, i64);

fn modified_at(file: &Metadata) -> Modified {
    (file.mtime(), file.mtime_nsec())
}

/// The pause after a look at the files that took `look`.
fn pause_after(look: Duration) -> Duration {
    look.saturating_mul(PAUSE_PER_LOOK).max(POLL_INTERVAL)
}

/// Identity of a file that was opened, and the bytes read of it.
#[derive(Clone, Copy, Debug)]
struct FileProgress {
    inode: u64,
    modified: Modified,
    bytes: u64,
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
    /// Progress in each file before the current one, and in the current one.
    read: Vec<FileProgress>,
    /// The last bytes read of the open file: [`TAIL_BYTES`] at least where there are as many, and twice that at most.
    tail: Vec<u8>,
    /// True if the last line read of the open file had no end: more of it must not come.
    unended: bool,
    /// The last record read.
    last: Option<LastRecord>,
    line: Vec<u8>,
    /// The line number of the next line.
    next: i64,
    stop_at_end: bool,
    done: bool,
    caught_up: bool,
    /// Time from which on the files may be looked at again.
    next_look: Instant,
}

impl FileReader {
    /// Opens the files and goes to line `start`, counted from 0.
    pub fn open(source: &FileSource, start: i64) -> Result<FileReader, ConnectorError> {
        let files = source.files()?;
        if files.is_empty() && !source.follow {
            return Err(source.no_file_fits());
        }
        let mut reader = FileReader {
            source: source.clone(),
            shown: source.path.display().to_string(),
            files,
            current: 0,
            open: None,
            read: Vec::new(),
            tail: Vec::new(),
            unended: false,
            last: None,
            line: Vec::new(),
            next: 0,
            stop_at_end: false,
            done: false,
            caught_up: false,
            next_look: Instant::now() + POLL_INTERVAL,
        };
        if !source.follow || reader.source.path.exists() {
            reader.open_current()?;
        }
        // Half a line at the end is a line here if the state has read it as one.
        reader.stop_at_end = true;
        while reader.next < start {
            if !reader.read_line()? {
                let message = format!(
                    "has {} lines, but the state has read {start}: it was cut short, or it is another file",
                    reader.next
                );
                return Err(ConnectorError::File { path: source.path.clone(), message });
            }
            // Only the line that the state names is compared: its digest stands for all before it. Those behind
            // it were empty.
            if source.last.is_some_and(|last| last.offset < reader.next) {
                reader.note_last(reader.next - 1);
            }
        }
        reader.stop_at_end = false;
        match &source.last {
            Some(held) if held.digest.is_some() && reader.last != source.last => {
                let found = reader.last.unwrap_or(*held);
                let message = format!(
                    "holds another line than the one that the state has read as line {} of all files: a file was \
                     replaced, or one before the last grew",
                    found.offset + 1
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

    /// The next records; waits for the first up to `timeout` when the file is followed. Nothing comes after the
    /// end of one that is not: a later run reads what was appended since.
    pub fn poll(
        &mut self,
        max_records: usize,
        max_bytes: usize,
        timeout: Duration,
    ) -> Result<Vec<Records>, ConnectorError> {
        if self.done {
            return Ok(vec![]);
        }
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
        let failed = |error| ConnectorError::io(path, error);
        let file = File::open(path).map_err(failed)?;
        let found = file.metadata().map_err(failed)?;
        self.open = Some(BufReader::with_capacity(256 << 10, file));
        self.read.truncate(self.current);
        self.read.push(FileProgress { inode: found.ino(), modified: modified_at(&found), bytes: 0 });
        self.tail.clear();
        self.unended = false;
        Ok(true)
    }

    /// Reads the next line into `line`; false at the end, where a followed file may leave half a line.
    fn read_line(&mut self) -> Result<bool, ConnectorError> {
        loop {
            if self.open.is_none() && (!self.find_new_files()? || !self.open_current()?) {
                return Ok(false);
            }
            let whole = self.read_on()?;
            if self.unended && !self.line.is_empty() {
                self.end_line()?;
                continue;
            }
            if whole {
                self.next += 1;
                return Ok(true);
            }
            // The end of this file. An unterminated last line counts as a line only if nothing can follow it.
            let is_last = self.current + 1 == self.files.len();
            if is_last && self.source.follow && !self.stop_at_end {
                if !self.find_new_files()? {
                    return Ok(false);
                }
                // Lines that were written since, before the new file came, are read before it.
                continue;
            }
            let rest = !self.line.is_empty();
            if rest {
                self.line.push(b'\n');
                self.next += 1;
            }
            if is_last {
                self.unended |= rest;
                return Ok(rest);
            }
            self.close_current()?;
            if rest {
                return Ok(true);
            }
        }
    }

    /// Closes the open file, which was read to its end, and goes to the next one.
    fn close_current(&mut self) -> Result<(), ConnectorError> {
        if let Some(open) = self.open.take() {
            let path = &self.files[self.current];
            let found = open.get_ref().metadata().map_err(|error| ConnectorError::io(path, error))?;
            self.read[self.current].modified = modified_at(&found);
        }
        self.current += 1;
        Ok(())
    }

    /// Reads on in the open file, to the end of a line or of the file; true if a line is whole.
    fn read_on(&mut self) -> Result<bool, ConnectorError> {
        let Some(open) = self.open.as_mut() else { return Ok(false) };
        // Half a line from before stays and is completed; a whole one was returned already.
        if self.line.last() == Some(&b'\n') {
            self.line.clear();
        }
        let (held, buffered) = (self.line.len(), open.buffer().len());
        let path = &self.files[self.current];
        let bytes = open.read_until(b'\n', &mut self.line).map_err(|e| ConnectorError::io(path, e))?;
        let fresh = held + bytes.min(buffered);
        self.note_bytes(held..fresh);
        if bytes > buffered {
            self.refuse_overwritten()?;
            self.note_bytes(fresh..self.line.len());
        }
        Ok(self.line.last() == Some(&b'\n'))
    }

    /// Counts bytes of `line` as read of the open file, and keeps the last ones.
    fn note_bytes(&mut self, range: Range<usize>) {
        let bytes = &self.line[range];
        self.read[self.current].bytes += bytes.len() as u64;
        let last = &bytes[bytes.len().saturating_sub(TAIL_BYTES)..];
        if last.len() == TAIL_BYTES {
            self.tail.clear();
        } else if self.tail.len() + last.len() > 2 * TAIL_BYTES {
            self.tail.drain(..self.tail.len() + last.len() - TAIL_BYTES);
        }
        self.tail.extend_from_slice(last);
    }

    /// Takes bytes that come behind half a line that was read as a whole one. They may end it, but not go on with it.
    fn end_line(&mut self) -> Result<(), ConnectorError> {
        if !self.line.trim_ascii().is_empty() {
            let message = format!(
                "has gone on with a line that was read without its end, line {} of all files: end each line",
                self.next
            );
            return Err(ConnectorError::File { path: self.files[self.current].clone(), message });
        }
        self.unended = self.line.last() != Some(&b'\n');
        self.line.clear();
        Ok(())
    }

    /// Lists the files again; true when there are new ones after those known.
    fn find_new_files(&mut self) -> Result<bool, ConnectorError> {
        if self.open.is_none() && self.current < self.files.len() {
            // One that a pattern has found was there; if it is gone, opening it tells so.
            let waits = self.source.follow && self.source.pattern().is_none();
            return Ok(!waits || self.files[self.current].exists());
        }
        let began = Instant::now();
        if began < self.next_look {
            return Ok(false);
        }
        let more = self.look_for_files()?;
        let ended = Instant::now();
        self.next_look = ended + pause_after(ended - began);
        Ok(more)
    }

    /// Looks at the files that were read and at the directory; true when there are new files after those known.
    fn look_for_files(&mut self) -> Result<bool, ConnectorError> {
        self.refuse_changed_files()?;
        if self.source.list()? == self.files {
            return Ok(false);
        }
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
    /// Refuses files that were replaced, or are shorter than what was read of them, and files before the current
    /// one that are longer: their new lines would need offsets that other lines have.
    ///
    /// Some file systems (CIFS, sshfs) give a file that nobody has open another inode number now and then. So a file
    /// before the current one with another number was replaced only if its length or its time are others, too.
    fn refuse_changed_files(&mut self) -> Result<(), ConnectorError> {
        for (at, (path, read)) in self.files.iter().zip(&mut self.read).enumerate() {
            let found = std::fs::metadata(path).map_err(|error| ConnectorError::io(path, error))?;
            let (length, bytes) = (found.len(), read.bytes);
            let (inode, modified) = (found.ino(), modified_at(&found));
            let is_earlier = at < self.current;
            let is_unchanged = is_earlier && (length, modified) == (bytes, read.modified);
            let message = if inode != read.inode && !is_unchanged {
                "was replaced by another file since it was opened".to_owned()
            } else if length < bytes {
                format!("has {length} bytes, of which {bytes} were read: it was cut short or replaced")
            } else if length > bytes && is_earlier {
                format!(
                    "grew by {} bytes after a later file was read: write new lines to a file that sorts last",
                    length - bytes
                )
            } else {
                (read.inode, read.modified) = (inode, modified);
                continue;
            };
            return Err(ConnectorError::File { path: path.clone(), message });
        }
        Ok(())
    }

    /// Refuses an open file that no longer holds the bytes read last: what stands behind them now is not what was to
    /// come.
    fn refuse_overwritten(&self) -> Result<(), ConnectorError> {
        let Some(open) = &self.open else { return Ok(()) };
        let (path, bytes) = (&self.files[self.current], self.read[self.current].bytes);
        let (mut found, from) = (vec![0; self.tail.len()], bytes - self.tail.len() as u64);
        let same = match open.get_ref().read_exact_at(&mut found, from) {
            Ok(()) => found == self.tail,
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => false,
            // A pipe is read once.
            Err(error) if error.kind() == ErrorKind::NotSeekable => true,
            Err(error) => return Err(ConnectorError::io(path, error)),
        };
        if same {
            return Ok(());
        }
        let message =
            format!("holds other bytes before byte {bytes} than were read there: it was written over");
        Err(ConnectorError::File { path: path.clone(), message })
    }
}

#[cfg(test)]
mod tests;
