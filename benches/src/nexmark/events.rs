//! Files of events, which both engines read: one of each kind, a JSON object a line.
//!
//! The events are those of Herald's own generator, with its defaults. Two things are different from the records that the
//! connector `nexmark` reads. Times name no zone, since the columns are TIMESTAMP, of which Flink reads no other form. And
//! a line ends with its number in the file, as `event`: it decides between equal bids, and Flink's source of files does not
//! know it. Herald takes the number from the file, as an offset, and reads over the field.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use connectors::Nexmark;
use connectors::generate::reader::Generator;

/// Kinds of events: names of the files and of the sources.
pub const KINDS: [&str; 3] = ["person", "auction", "bid"];
/// Beginnings of the times in a line.
const TIMES: [&str; 2] = ["\"date_time\":\"", "\"expires\":\""];
/// Length of a time without its zone.
const TIME_BYTES: usize = "2026-01-01T00:00:00.000".len();

/// Files of events in a directory of their own.
pub struct Events {
    /// The directory.
    pub dir: PathBuf,
    /// Bytes of the files.
    pub bytes: u64,
}

impl Events {
    /// Writes the files of the first `events` events, of all kinds together.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write(dir: PathBuf, events: u64) -> Result<Events> {
        std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let mut files = Events { dir, bytes: 0 };
        for kind in KINDS {
            files.bytes += write_kind(&files.path(kind), kind, events)?;
        }
        Ok(files)
    }

    /// The file of a kind.
    pub fn path(&self, kind: &str) -> PathBuf {
        self.dir.join(format!("{kind}.jsonl"))
    }
}

/// Writes the events of one kind, and returns how many bytes they are.
fn write_kind(path: &Path, kind: &str, events: u64) -> Result<u64> {
    let options = BTreeMap::from([("nexmark.table.type".to_owned(), kind.to_owned())]);
    let generator = Nexmark::from_options(&options)?;
    let mut file = BufWriter::new(File::create(path)?);
    let (mut key, mut record) = (Vec::new(), Vec::with_capacity(1024));
    let (mut number, mut bytes) = (0, 0);
    for event in 0..events {
        key.clear();
        record.clear();
        if generator.write(event, &mut key, &mut record).is_some() {
            let line = line_of(std::str::from_utf8(&record)?, number)?;
            file.write_all(line.as_bytes())?;
            (number, bytes) = (number + 1, bytes + line.len() as u64);
        }
    }
    file.flush()?;
    Ok(bytes)
}

/// The line of a record that has this number in its file.
fn line_of(record: &str, number: u64) -> Result<String> {
    let mut line = record.strip_suffix('}').context("an event is no object")?.to_owned();
    for name in TIMES {
        if let Some(at) = line.find(name) {
            let zone = at + name.len() + TIME_BYTES;
            ensure!(line.get(zone..=zone) == Some("Z"), "a time is not as expected: {line}");
            line.remove(zone);
        }
    }
    line.push_str(&format!(",\"event\":{number}}}\n"));
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_its_number_and_times_without_zones() {
        let record =
            r#"{"state":"AZ","date_time":"2026-01-01T00:00:00.001Z","expires":"2026-01-02T00:00:00.000Z"}"#;
        let wanted = r#"{"state":"AZ","date_time":"2026-01-01T00:00:00.001","expires":"2026-01-02T00:00:00.000","event":7}"#;
        assert_eq!(line_of(record, 7).unwrap(), format!("{wanted}\n"));
        assert!(line_of(r#"{"date_time":"2026"}"#, 7).is_err());
    }

    #[test]
    fn all_kinds_have_their_lines() {
        let dir = tempfile::tempdir().unwrap();
        let events = Events::write(dir.path().join("events"), 100).unwrap();
        let lines = KINDS.map(|kind| std::fs::read_to_string(events.path(kind)).unwrap().lines().count());
        assert_eq!(lines, [2, 6, 92]);
        let bytes = KINDS.map(|kind| std::fs::metadata(events.path(kind)).unwrap().len());
        assert_eq!(bytes.iter().sum::<u64>(), events.bytes);
    }
}
