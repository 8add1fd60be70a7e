//! Messages between a process that answers queries and the one that started it.
//!
//! They pass a pair of sockets, each as four bytes of length, little-endian, and so many bytes: JSON, or entries of the
//! state as they are. The process asks and waits for the reply; the one that started it sends nothing else but orders: the
//! next query, to a process that waits for one, or what concerns the session of a client.

use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use serde::{Deserialize, Serialize};
use state::{Catalogue, Committed, Entry, HistoryPlace};

use crate::query::tables::Bounds;
use crate::query::tables::epoch::Stamp;

/// Most bytes of a message to a process: a chunk of entries and one more entry, or the text of a query.
pub(super) const MAX_REPLY_BYTES: usize = 256 << 20;
/// Most bytes of a message from a process: a request, whose bounds may have many keys.
pub(super) const MAX_REQUEST_BYTES: usize = 64 << 20;
/// Most bytes of entries after which a chunk is full.
pub(super) const CHUNK_BYTES: usize = 256 << 10;

/// First byte of a message to the process: its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// The reply to what was asked.
    Reply = 0,
    /// The failure of what was asked.
    Failure = 1,
    /// An order: a query to answer, or a word to a session.
    Order = 2,
}

impl Kind {
    /// Returns the kind of a message by its first byte.
    pub fn of(byte: u8) -> Option<Kind> {
        [Kind::Reply, Kind::Failure, Kind::Order].into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// Request of a process that answers a query.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ReadRequest {
    /// Holds the last committed epoch, whose reply is a [`HeldEpoch`]. Whoever holds one lets it go first.
    Hold,
    /// Lets the epoch go. It has no reply.
    Release,
    /// Starts a scan of a state table within bounds, by a number that no other scan of the epoch has.
    Open { scan: u32, table_id: u32, bounds: Arc<Bounds> },
    /// Asks for about so many bytes of the next entries of a scan, whose reply is a chunk. After its last chunk the scan
    /// is closed.
    Next { scan: u32, bytes: usize },
    /// Closes a scan. It has no reply.
    Close { scan: u32 },
    /// Asks for the estimated bytes of a state table within bounds.
    Size { table_id: u32, bounds: Arc<Bounds> },
    /// Asks for the entries of the last epochs, as JSON.
    History,
    /// Asks for the receipts of erased persons, as JSON.
    Erasures,
    /// Asks for the last epoch up to which the output of a target is published.
    Published { target: u16 },
    /// Asks for the sessions of clients, as JSON.
    Sessions,
    /// Tells what is for the one that started this process, as JSON. It has no reply.
    Tell { message: String },
    /// Asks for the dead letters from a sequence number on, whose reply is a chunk with sequence numbers as keys.
    DeadLetters { from: u64 },
    /// Asks for the next pieces of the history of a view, which is given by its state table, whose reply is a
    /// [`ChangesReply`].
    Changes { view: u32, from: HistoryPlace },
    /// Asks for the same up to the last committed epoch, whichever is held, also if none is. The reply is a
    /// [`NewestReply`].
    Newest { view: u32, from: HistoryPlace },
}

/// Reply to a request for the changes of a view up to the last committed epoch.
pub(super) struct NewestReply {
    /// The last committed epoch, with its time.
    pub stamp: Stamp,
    /// The changes.
    pub changes: ChangesReply,
}

impl NewestReply {
    /// Returns the reply as a message: epoch, time, and the changes.
    pub fn into_message(self) -> Vec<u8> {
        let Stamp { epoch, commit_ms } = self.stamp;
        [&epoch.to_le_bytes()[..], &commit_ms.to_le_bytes(), &self.changes.into_message()].concat()
    }

    /// Takes the reply from a message.
    ///
    /// # Errors
    /// When it is none.
    pub fn from_message(mut message: Vec<u8>) -> Result<NewestReply> {
        let (epoch, rest) = message.split_first_chunk().context("a reply about changes is cut")?;
        let (commit_ms, _) = rest.split_first_chunk().context("a reply about changes is cut")?;
        let stamp = Stamp { epoch: u64::from_le_bytes(*epoch), commit_ms: i64::from_le_bytes(*commit_ms) };
        Ok(NewestReply { stamp, changes: ChangesReply::from_message(message.split_off(16))? })
    }
}

/// Reply to a request for the changes of a view.
pub(super) enum ChangesReply {
    /// A chunk of pieces, with their places as keys. The last one says that no others are in the epoch.
    Held(Vec<u8>),
    /// The history does not hold them. Those after this epoch it does.
    Gone(Option<u64>),
}

impl ChangesReply {
    /// Returns the reply as a message: a byte that tells which, and what it has.
    pub fn into_message(self) -> Vec<u8> {
        match self {
            ChangesReply::Held(chunk) => [&[0][..], &chunk].concat(),
            ChangesReply::Gone(since) => {
                [&[1][..], &since.map(u64::to_le_bytes).unwrap_or([u8::MAX; 8])].concat()
            }
        }
    }

    /// Takes the reply from a message.
    ///
    /// # Errors
    /// When it is none.
    pub fn from_message(mut message: Vec<u8>) -> Result<ChangesReply> {
        match message.first() {
            Some(0) => Ok(ChangesReply::Held(message.split_off(1))),
            Some(1) => {
                let since = message[1..].first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
                let since = since.context("a reply about changes is cut")?;
                Ok(ChangesReply::Gone(Some(since).filter(|since| *since != u64::MAX)))
            }
            _ => Err(anyhow!("a reply about changes is cut")),
        }
    }
}

/// A held epoch.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct HeldEpoch {
    /// The epoch with its time and progress.
    pub committed: Committed,
    /// The id of the state.
    pub state_id: String,
    /// The state tables.
    pub catalogue: Catalogue,
}

/// Writes a message: its kind, if it has one, and its bytes.
///
/// # Errors
/// When the other end is gone.
pub(super) fn write_message(out: &mut impl Write, kind: Option<Kind>, body: &[u8]) -> io::Result<()> {
    let length = body.len() + usize::from(kind.is_some());
    let length =
        u32::try_from(length).map_err(|_| io::Error::new(ErrorKind::InvalidData, "too long a message"))?;
    // In one piece: each write to a socket is a system call.
    let mut message = Vec::with_capacity(5 + body.len());
    message.extend_from_slice(&length.to_le_bytes());
    message.extend(kind.map(|kind| kind as u8));
    message.extend_from_slice(body);
    out.write_all(&message)
}

/// Reads a message of at most `most` bytes; None when the other end is gone.
///
/// # Errors
/// When the connection breaks within a message, or the message is longer than any.
pub(super) fn read_message(from: &mut impl Read, most: usize) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let length = u32::from_le_bytes(length) as usize;
    if length > most {
        return Err(io::Error::new(ErrorKind::InvalidData, "a message of a query's process is too long"));
    }
    let mut message = vec![0; length];
    from.read_exact(&mut message)?;
    Ok(Some(message))
}

/// Entries of the state as a message: whether they are the last ones, the look-ups so far, and each entry as length and
/// bytes of its key and of its value.
pub(super) struct Chunk {
    bytes: Vec<u8>,
    /// Place of the current entry's key and value.
    current: Option<(usize, usize, usize)>,
    /// Place of the next entry.
    next: usize,
}

/// Bytes in front of a chunk's entries.
const HEAD_BYTES: usize = 5;

impl Chunk {
    /// Creates a chunk without entries.
    pub fn new() -> Chunk {
        Chunk { bytes: vec![0; HEAD_BYTES], current: None, next: HEAD_BYTES }
    }

    /// Adds an entry.
    pub fn push_entry(&mut self, (key, value): Entry<'_>) {
        for part in [key, value] {
            self.bytes.extend_from_slice(&(part.len() as u32).to_le_bytes());
            self.bytes.extend_from_slice(part);
        }
    }

    /// Returns the bytes of the chunk.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Ends the chunk: `last` says that no other follows.
    pub fn into_message(mut self, last: bool, seeks: usize) -> Vec<u8> {
        self.bytes[0] = u8::from(last);
        self.bytes[1..HEAD_BYTES].copy_from_slice(&(seeks as u32).to_le_bytes());
        self.bytes
    }

    /// Takes a chunk from a message.
    ///
    /// # Errors
    /// When it is none.
    pub fn from_message(bytes: Vec<u8>) -> Result<Chunk> {
        (bytes.len() >= HEAD_BYTES).then_some(()).context("a chunk of entries is cut")?;
        Ok(Chunk { bytes, current: None, next: HEAD_BYTES })
    }

    /// Returns true if no other chunk follows.
    pub fn is_last(&self) -> bool {
        self.bytes.first().is_none_or(|last| *last != 0)
    }

    /// Returns the number of places in the state that were looked up.
    pub fn seeks(&self) -> usize {
        self.bytes.get(1..HEAD_BYTES).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes)
            as usize
    }

    /// Moves to the next entry; false at the end.
    ///
    /// # Errors
    /// When the chunk is cut.
    pub fn advance(&mut self) -> Result<bool> {
        if self.next == self.bytes.len() {
            self.current = None;
            return Ok(false);
        }
        let key = self.part_end(self.next)?;
        let value = self.part_end(key)?;
        self.current = Some((self.next + 4, key, value));
        self.next = value;
        Ok(true)
    }

    /// Returns the current entry.
    pub fn entry(&self) -> Option<Entry<'_>> {
        let (key, key_end, value_end) = self.current?;
        Some((self.bytes.get(key..key_end)?, self.bytes.get(key_end + 4..value_end)?))
    }

    /// Returns the end of the part of an entry whose length is at `at`.
    fn part_end(&self, at: usize) -> Result<usize> {
        let length =
            self.bytes.get(at..).and_then(<[u8]>::first_chunk::<4>).map(|bytes| u32::from_le_bytes(*bytes));
        let end = length.map(|length| at + 4 + length as usize).filter(|end| *end <= self.bytes.len());
        end.context("a chunk of entries is cut")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_pass_a_chunk() -> Result<()> {
        let entries = [(&b"k"[..], &b""[..]), (b"", b"value"), (b"key", b"v")];
        let mut chunk = Chunk::new();
        for entry in entries {
            chunk.push_entry(entry);
        }
        let message = chunk.into_message(true, 7);
        for cut in HEAD_BYTES + 1..message.len() {
            let mut chunk = Chunk::from_message(message[..cut].to_vec())?;
            let mut read = 0;
            while let Ok(true) = chunk.advance() {
                read += 1;
            }
            assert!(read < entries.len(), "{cut}");
        }
        let mut chunk = Chunk::from_message(message)?;
        assert_eq!((chunk.is_last(), chunk.seeks()), (true, 7));
        for entry in entries {
            assert!(chunk.advance()?);
            assert_eq!(chunk.entry(), Some(entry));
        }
        assert!(!chunk.advance()?);
        Ok(())
    }

    #[test]
    fn a_reply_about_changes_has_its_epoch() -> Result<()> {
        let stamp = Stamp { epoch: 7, commit_ms: -5 };
        for since in [None, Some(3)] {
            let message = NewestReply { stamp, changes: ChangesReply::Gone(since) }.into_message();
            for cut in 0..message.len() {
                assert!(NewestReply::from_message(message[..cut].to_vec()).is_err(), "{cut}");
            }
            let read = NewestReply::from_message(message)?;
            assert_eq!(read.stamp, stamp);
            assert!(matches!(read.changes, ChangesReply::Gone(found) if found == since));
        }
        Ok(())
    }

    #[test]
    fn messages_end_with_the_other_end() -> Result<()> {
        let mut bytes = Vec::new();
        write_message(&mut bytes, Some(Kind::Order), b"abc")?;
        write_message(&mut bytes, None, b"")?;
        let mut from = &bytes[..];
        assert_eq!(read_message(&mut from, MAX_REPLY_BYTES)?, Some(b"\x02abc".to_vec()));
        assert_eq!(read_message(&mut from, MAX_REPLY_BYTES)?, Some(vec![]));
        assert_eq!(read_message(&mut from, MAX_REPLY_BYTES)?, None);
        assert!(read_message(&mut &bytes[..6], MAX_REPLY_BYTES).is_err(), "cut within a message");
        assert!(read_message(&mut &[255u8; 9][..], MAX_REPLY_BYTES).is_err(), "too long");
        Ok(())
    }
}
