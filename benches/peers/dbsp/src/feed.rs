//! Files of events, read in steps: each is as many lines of each file as 100,000 events have.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::{Context, Result};
use dbsp::utils::Tup2;
use dbsp::{DBData, IndexedZSetHandle, ZSetHandle};
use serde::de::DeserializeOwned;

/// Events of a step, of all three kinds together.
const STEP_EVENTS: usize = 100_000;
/// Bytes read at a time.
const BUFFER_BYTES: usize = 1 << 20;

/// A kind of event.
#[derive(Clone, Copy)]
pub enum Kind {
    Person,
    Auction,
    Bid,
}

impl Kind {
    /// The name of its file, and how many of 50 events are of it.
    fn file(self) -> (&'static str, usize) {
        match self {
            Kind::Person => ("person.jsonl", 1),
            Kind::Auction => ("auction.jsonl", 3),
            Kind::Bid => ("bid.jsonl", 46),
        }
    }
}

/// Hands the rows of the next step to the circuit; returns false at the end of the file.
pub type Feed = Box<dyn FnMut() -> Result<bool>>;

/// The lines of a file.
pub struct Lines {
    file: BufReader<File>,
    line: Vec<u8>,
    in_step: usize,
}

impl Lines {
    /// Opens the file of a kind.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(dir: &Path, kind: Kind) -> Result<Lines> {
        let (name, of_50) = kind.file();
        let file =
            File::open(dir.join(name)).with_context(|| format!("cannot open {name} in {}", dir.display()))?;
        let file = BufReader::with_capacity(BUFFER_BYTES, file);
        Ok(Lines { file, line: Vec::with_capacity(1024), in_step: STEP_EVENTS / 50 * of_50 })
    }

    /// The rows of the next step, as entries of a Z-set.
    fn step<T: DeserializeOwned, E>(&mut self, entry: impl Fn(T) -> E) -> Result<Vec<E>> {
        let mut entries = Vec::with_capacity(self.in_step);
        while entries.len() < self.in_step {
            self.line.clear();
            if self.file.read_until(b'\n', &mut self.line)? == 0 {
                break;
            }
            let row = serde_json::from_slice(&self.line);
            let row = row.with_context(|| format!("no event: {}", String::from_utf8_lossy(&self.line)))?;
            entries.push(entry(row));
        }
        Ok(entries)
    }
}

/// Feeds a Z-set with rows as they are read.
pub fn rows<T: DBData + DeserializeOwned>(mut lines: Lines, handle: ZSetHandle<T>) -> Feed {
    Box::new(move || {
        let mut entries = lines.step(|row: T| Tup2(row, 1))?;
        let any = !entries.is_empty();
        handle.append(&mut entries);
        Ok(any)
    })
}

/// Feeds an indexed Z-set with keys and values of rows.
pub fn keyed<T, K, V>(mut lines: Lines, handle: IndexedZSetHandle<K, V>, split: fn(T) -> (K, V)) -> Feed
where
    T: DeserializeOwned + 'static,
    K: DBData,
    V: DBData,
{
    Box::new(move || {
        let mut entries = lines.step(|row: T| {
            let (key, value) = split(row);
            Tup2(key, Tup2(value, 1))
        })?;
        let any = !entries.is_empty();
        handle.append(&mut entries);
        Ok(any)
    })
}
