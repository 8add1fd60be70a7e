//! Writing JSON lines, each epoch once.
//!
//! An epoch's lines are appended and synced, then `PATH.herald` is replaced by a note of the
//! epoch's marker and the file's length. At opening the file is cut to the length of the note, so
//! an epoch that was half written is written again from its beginning. A file with content and
//! without a note was not written by Herald, and is refused.
//!
//! PLAIN and DEBEZIUM lines are the record's value; UPSERT lines are `{"key":..,"value":..|null}`.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufWriter, ErrorKind, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use fail::fail_point;
use schemas::OutChunk;
use serde_json::{Value, json};

use super::directory_of;
use crate::ConnectorError;
use crate::kafka::Marker;
use crate::options::Options;

/// A file to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSink {
    /// Path of the file.
    pub path: PathBuf,
}

impl FileSink {
    /// Reads the options of a sink.
    pub fn from_options(values: &BTreeMap<String, String>) -> Result<FileSink, ConnectorError> {
        let mut options = Options::new(values);
        options.text("connector");
        let path = PathBuf::from(options.required("path")?);
        options.finish()?;
        Ok(FileSink { path })
    }

    /// The directory that the file is in.
    pub fn directory(&self) -> &Path {
        directory_of(&self.path)
    }
}

/// A file that no other process may write while this value exists.
#[derive(Debug)]
struct LockedFile(File);

impl Drop for LockedFile {
    /// Releases the lock even where a process that is being started still has a copy of the descriptor.
    fn drop(&mut self) {
        // Closing the file, which follows, is the other way to release it.
        let _ = self.0.unlock();
    }
}

/// Writes the epochs of one topology to one file.
#[derive(Debug)]
pub struct FileWriter {
    path: PathBuf,
    note: PathBuf,
    file: LockedFile,
    length: u64,
    marker: Option<Marker>,
    state_id: String,
    upsert: bool,
}

impl FileWriter {
    /// Verifies that [`FileWriter::open`] would succeed, as far as that is known without creating or changing
    /// anything. Returns the last marker.
    pub fn peek(sink: &FileSink) -> Result<Option<Marker>, ConnectorError> {
        let (marker, noted) = read_note(&note_path(&sink.path))?.unzip();
        if sink.path.exists() {
            drop(lock_file(&sink.path, noted, false)?);
            return Ok(marker);
        }
        verify_length(&sink.path, noted, 0)?;
        std::fs::metadata(sink.directory()).map_err(|error| ConnectorError::io(&sink.path, error))?;
        Ok(marker)
    }

    /// Opens or creates the file. The caller compares the marker with the state by
    /// [`crate::kafka::settle()`].
    pub fn open(
        sink: &FileSink,
        state_id: &str,
        upsert: bool,
    ) -> Result<(FileWriter, Option<Marker>), ConnectorError> {
        let (path, note) = (sink.path.clone(), note_path(&sink.path));
        let (marker, noted) = read_note(&note)?.unzip();
        let file = lock_file(&path, noted, true)?;
        let (length, state_id) = (noted.unwrap_or(0), state_id.to_string());
        let writer = FileWriter { path, note, file, length, marker, state_id, upsert };
        let marker = writer.marker.clone();
        Ok((writer, marker))
    }

    /// Removes lines behind the last note, which a crash left: their epoch is written again. Only for a state that the
    /// file belongs to, since to another they are the output of a topology that may run.
    pub fn discard_unnoted(&mut self) -> Result<(), ConnectorError> {
        self.file.0.set_len(self.length).map_err(|error| ConnectorError::io(&self.path, error))
    }

    /// Starts over: the file is emptied and belongs to this state (`--fresh`). Also takes over a
    /// file that another state wrote.
    pub fn claim(&mut self) -> Result<(), ConnectorError> {
        self.file.0.set_len(0).map_err(|error| ConnectorError::io(&self.path, error))?;
        let marker = Marker::whole(&self.state_id, 0, &[]);
        self.write_note(marker, 0)
    }

    /// Writes the output of an epoch; does nothing for an epoch it holds already. Ok means that it is on
    /// disk.
    pub fn publish(&mut self, epoch: u64, chunks: &[Vec<u8>]) -> Result<(), ConnectorError> {
        if self.marker.as_ref().is_some_and(|marker| epoch <= marker.epoch) {
            return Ok(());
        }
        if self.marker.is_none() {
            // The note comes first: a crash after the first line would leave a file without one, which is
            // refused.
            self.write_note(Marker::whole(&self.state_id, 0, &[]), 0)?;
        }
        fail_point!("file.append.before");
        let length = self.append_lines(chunks)?;
        fail_point!("file.append.after");
        self.write_note(Marker::whole(&self.state_id, epoch, chunks), length)
    }

    /// Writes the lines after the valid ones, syncs them and returns the new length. They count once the note
    /// is replaced.
    fn append_lines(&mut self, chunks: &[Vec<u8>]) -> Result<u64, ConnectorError> {
        let failed = |error| ConnectorError::io(&self.path, error);
        self.file.0.seek(SeekFrom::Start(self.length)).map_err(failed)?;
        let mut out = BufWriter::with_capacity(1 << 20, &self.file.0);
        let mut length = self.length;
        for chunk in chunks {
            for record in OutChunk::read(chunk)? {
                let record = record?;
                let mut line = |part: &[u8]| {
                    length += part.len() as u64;
                    out.write_all(part).map_err(failed)
                };
                if self.upsert {
                    line(b"{\"key\":")?;
                    line(record.key.unwrap_or(b"null"))?;
                    line(b",\"value\":")?;
                    line(record.value.unwrap_or(b"null"))?;
                    line(b"}\n")?;
                } else {
                    line(record.value.unwrap_or(b"null"))?;
                    line(b"\n")?;
                }
            }
        }
        out.flush().map_err(failed)?;
        drop(out);
        self.file.0.sync_data().map_err(failed)?;
        Ok(length)
    }

    /// Replaces the note; from then on the first `length` bytes count.
    fn write_note(&mut self, marker: Marker, length: u64) -> Result<(), ConnectorError> {
        let failed = |error| ConnectorError::io(&self.note, error);
        let marker_json: Value = serde_json::from_str(&marker.to_json("")).unwrap_or_default();
        let text = json!({ "length": length, "marker": marker_json }).to_string();
        let mut new = self.note.clone().into_os_string();
        new.push(".new");
        let mut file = File::create(&new).map_err(failed)?;
        file.write_all(text.as_bytes()).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        fail_point!("file.note.before");
        std::fs::rename(&new, &self.note).map_err(failed)?;
        // The rename itself must outlive a power failure.
        let directory = File::open(directory_of(&self.note)).map_err(failed)?;
        directory.sync_all().map_err(failed)?;
        fail_point!("file.note.after");
        (self.length, self.marker) = (length, Some(marker));
        Ok(())
    }

    /// The last marker.
    pub fn marker(&self) -> Option<&Marker> {
        self.marker.as_ref()
    }
}

/// The path of the note beside a file.
fn note_path(path: &Path) -> PathBuf {
    let mut note = path.as_os_str().to_owned();
    note.push(".herald");
    PathBuf::from(note)
}

/// Opens and locks a file, and verifies its length; with `create`, a missing file is created.
fn lock_file(path: &Path, noted: Option<u64>, create: bool) -> Result<LockedFile, ConnectorError> {
    let failed = |error| ConnectorError::io(path, error);
    let file = OpenOptions::new().create(create).truncate(false).write(true).open(path).map_err(failed)?;
    let file = match file.try_lock() {
        Ok(()) => LockedFile(file),
        Err(TryLockError::WouldBlock) => {
            let message = "is written by another process".to_owned();
            return Err(ConnectorError::File { path: path.to_path_buf(), message });
        }
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    };
    verify_length(path, noted, file.0.metadata().map_err(failed)?.len())?;
    Ok(file)
}

/// Refuses a file with content and no note, and one that is shorter than its note says.
fn verify_length(path: &Path, noted: Option<u64>, found: u64) -> Result<(), ConnectorError> {
    let message = match noted {
        None if found > 0 => {
            "exists and was not written by Herald: move it away, or write to another path".to_owned()
        }
        Some(length) if found < length => format!(
            "has {found} bytes, but {length} were written: it was cut short; restore it, or start over with `herald run FILE --fresh`"
        ),
        _ => return Ok(()),
    };
    Err(ConnectorError::File { path: path.to_path_buf(), message })
}

fn read_note(path: &Path) -> Result<Option<(Marker, u64)>, ConnectorError> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(ConnectorError::io(path, error)),
    };
    match parse_note(&bytes) {
        Some(note) => Ok(Some(note)),
        None => {
            let message = "is not a note that this release of Herald can read".to_string();
            Err(ConnectorError::File { path: path.to_path_buf(), message })
        }
    }
}

/// The marker and the length that a note holds.
fn parse_note(bytes: &[u8]) -> Option<(Marker, u64)> {
    let value: Value = serde_json::from_slice(bytes).ok()?;
    let marker = Marker::from_json(value["marker"].to_string().as_bytes())?;
    Some((marker, value["length"].as_u64()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::settle;
    use schemas::OutRecord;

    fn chunk(records: &[(Option<&str>, Option<&str>)]) -> Vec<Vec<u8>> {
        let mut chunk = OutChunk::new();
        for (key, value) in records {
            let (key, value) = (key.map(str::as_bytes), value.map(str::as_bytes));
            chunk.push(&OutRecord { topic: "f", key, value, ..OutRecord::default() });
        }
        vec![chunk.into_bytes()]
    }

    fn sink() -> (tempfile::TempDir, FileSink) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.jsonl");
        (dir, FileSink { path })
    }

    fn text(sink: &FileSink) -> String {
        std::fs::read_to_string(&sink.path).unwrap()
    }

    #[test]
    fn every_epoch_lands_once() {
        let (_dir, sink) = sink();
        let (mut writer, marker) = FileWriter::open(&sink, "s", false).unwrap();
        assert_eq!(marker, None);
        writer.publish(1, &chunk(&[(None, Some("1"))])).unwrap();
        writer.publish(2, &chunk(&[(None, Some("2")), (Some("k"), None)])).unwrap();
        writer.publish(2, &chunk(&[(None, Some("2"))])).unwrap();
        assert_eq!(text(&sink), "1\n2\nnull\n");
    }

    #[test]
    fn half_an_epoch_is_cut_off_after_a_crash() {
        let (_dir, sink) = sink();
        let (mut writer, _) = FileWriter::open(&sink, "s", true).unwrap();
        writer.publish(1, &chunk(&[(Some("{\"a\":1}"), Some("{}"))])).unwrap();
        // The crash: lines were appended, and the note was not replaced.
        writer.append_lines(&chunk(&[(Some("{\"a\":1}"), None)])).unwrap();
        drop(writer);
        assert_eq!(text(&sink).lines().count(), 2);
        let (mut writer, marker) = FileWriter::open(&sink, "s", true).unwrap();
        // Looking at the file changes nothing: it may be another state's.
        assert_eq!(text(&sink).lines().count(), 2);
        writer.discard_unnoted().unwrap();
        assert_eq!(text(&sink), "{\"key\":{\"a\":1},\"value\":{}}\n");
        assert_eq!(settle(marker.as_ref(), "s", 2, 1, |_| None).unwrap(), 1);
        writer.publish(2, &chunk(&[(Some("{\"a\":1}"), None)])).unwrap();
        assert_eq!(text(&sink), "{\"key\":{\"a\":1},\"value\":{}}\n{\"key\":{\"a\":1},\"value\":null}\n");
    }

    #[test]
    fn a_crash_within_the_first_epoch_leaves_a_file_that_is_known() {
        let (_dir, sink) = sink();
        let (mut writer, _) = FileWriter::open(&sink, "s", false).unwrap();
        // The crash: a chunk that cannot be read comes behind lines that were appended.
        let torn = [chunk(&[(None, Some("1"))]), vec![vec![0xFF; 3]]].concat();
        writer.publish(1, &torn).unwrap_err();
        writer.append_lines(&chunk(&[(None, Some("1"))])).unwrap();
        drop(writer);
        assert_eq!(text(&sink), "1\n");
        let (mut writer, marker) = FileWriter::open(&sink, "s", false).unwrap();
        writer.discard_unnoted().unwrap();
        assert_eq!(text(&sink), "");
        assert_eq!(settle(marker.as_ref(), "s", 1, 0, |_| None).unwrap(), 0);
        writer.publish(1, &chunk(&[(None, Some("1"))])).unwrap();
        assert_eq!(text(&sink), "1\n");
    }

    #[test]
    fn files_of_others_are_left_alone() {
        let (_dir, sink) = sink();
        std::fs::write(&sink.path, "mine\n").unwrap();
        let error = FileWriter::open(&sink, "s", false).unwrap_err().to_string();
        assert!(error.contains("was not written by Herald"), "{error}");
        assert_eq!(text(&sink), "mine\n");
    }

    #[test]
    fn a_file_cut_short_is_refused() {
        let (_dir, sink) = sink();
        let (mut writer, _) = FileWriter::open(&sink, "s", false).unwrap();
        writer.publish(1, &chunk(&[(None, Some("123"))])).unwrap();
        // Two processes never write one file.
        let error = FileWriter::open(&sink, "s", false).unwrap_err().to_string();
        assert!(error.contains("written by another process"), "{error}");
        drop(writer);
        std::fs::write(&sink.path, "1").unwrap();
        assert!(FileWriter::open(&sink, "s", false).unwrap_err().to_string().contains("cut short"));
    }

    #[test]
    fn a_look_creates_and_changes_nothing() {
        let (dir, sink) = sink();
        assert_eq!(FileWriter::peek(&sink).unwrap(), None);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        let nowhere = FileSink { path: dir.path().join("missing/out.jsonl") };
        assert!(FileWriter::peek(&nowhere).unwrap_err().to_string().contains("missing/out.jsonl"));

        let (mut writer, _) = FileWriter::open(&sink, "s", false).unwrap();
        writer.publish(1, &chunk(&[(None, Some("1"))])).unwrap();
        let error = FileWriter::peek(&sink).unwrap_err().to_string();
        assert!(error.contains("written by another process"), "{error}");
        writer.append_lines(&chunk(&[(None, Some("2"))])).unwrap();
        drop(writer);
        assert_eq!(FileWriter::peek(&sink).unwrap().map(|marker| marker.epoch), Some(1));
        assert_eq!(text(&sink), "1\n2\n");
        std::fs::remove_file(&sink.path).unwrap();
        assert!(FileWriter::peek(&sink).unwrap_err().to_string().contains("cut short"));
        assert!(!sink.path.exists());
    }

    #[test]
    fn a_claim_starts_over() {
        let (_dir, sink) = sink();
        FileWriter::open(&sink, "old", false).unwrap().0.publish(7, &chunk(&[(None, Some("1"))])).unwrap();
        let (mut writer, marker) = FileWriter::open(&sink, "new", false).unwrap();
        assert!(settle(marker.as_ref(), "new", 0, 0, |_| None).is_err());
        writer.claim().unwrap();
        assert_eq!(text(&sink), "");
        drop(writer);
        let (_, marker) = FileWriter::open(&sink, "new", false).unwrap();
        assert_eq!(settle(marker.as_ref(), "new", 0, 0, |_| None).unwrap(), 0);
    }
}
