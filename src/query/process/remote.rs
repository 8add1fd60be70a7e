//! Reading of committed epochs from the process that runs the topology: the side of the query's process.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Error, Result};
use crossbeam_channel::{Receiver, Sender, bounded};
use state::{Catalogue, Committed, Entry, EpochEntry, Erasure, HistoryPlace};

use super::messages::{
    CHUNK_BYTES, ChangesReply, Chunk, HeldEpoch, Kind, MAX_REPLY_BYTES, NewestReply, ReadRequest,
    read_message, write_message,
};
use crate::exit::{RelayedFailure, Stopped};
use crate::query::tables::Bounds;
use crate::query::tables::epoch::{
    ChangesRead, DeadLetterVisitor, EntryScan, EpochReads, ListedSession, PieceVisitor, Stamp,
};

/// Bytes of entries that a scan asks for at first.
const FIRST_BYTES: usize = 4 << 10;

/// Last words of a process whose connection ended.
pub(super) const CONNECTION_ENDED: &str = "the connection to the topology ended";

/// Connection to the process that started this one.
pub struct Connection {
    requests: Mutex<UnixStream>,
    /// Locked by the one thread that has asked, until it has the reply.
    replies: Mutex<Receiver<Result<Vec<u8>>>>,
    orders: Receiver<Vec<u8>>,
    /// Set when the other end is gone.
    lost: Arc<AtomicBool>,
}

impl Connection {
    /// Takes the connection from standard input. This process ends at once when the other end is gone, whatever its
    /// threads do.
    ///
    /// # Errors
    /// When standard input cannot be read.
    pub fn from_stdin() -> Result<Connection> {
        Connection::from_stdin_until(end_process)
    }

    /// Takes the connection from standard input; `ended` is called when the other end is gone.
    ///
    /// # Errors
    /// When standard input cannot be read.
    pub fn from_stdin_until(ended: impl FnOnce() + Send + 'static) -> Result<Connection> {
        Connection::over(UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?), ended)
    }

    /// Starts the thread that reads a connection; at its end the thread calls `ended`.
    ///
    /// # Errors
    /// When the thread cannot be started.
    fn over(stream: UnixStream, ended: impl FnOnce() + Send + 'static) -> Result<Connection> {
        let requests = stream.try_clone()?;
        let ((replied, replies), (ordered, orders)) = (bounded(1), bounded(1));
        let lost = Arc::new(AtomicBool::new(false));
        let seen = lost.clone();
        std::thread::Builder::new()
            .name("herald-messages".to_owned())
            .spawn(move || {
                if let Err(error) = pass_messages(stream, &replied, &ordered) {
                    tracing::debug!("reading from the topology ended: {error:#}");
                }
                seen.store(true, Ordering::Relaxed);
                ended();
            })
            .context("cannot wait for messages")?;
        Ok(Connection { requests: Mutex::new(requests), replies: Mutex::new(replies), orders, lost })
    }

    /// Returns the orders: queries to answer, or what concerns a session.
    pub fn orders(&self) -> &Receiver<Vec<u8>> {
        &self.orders
    }

    /// Tells the process that started this one something, which is not waited for.
    ///
    /// # Errors
    /// When that process is gone.
    pub fn tell_parent(&self, message: String) -> Result<()> {
        self.tell(&ReadRequest::Tell { message })
    }

    /// Holds the last committed epoch until the result is dropped.
    ///
    /// # Errors
    /// When the topology has none to lend.
    pub fn hold_epoch(&self) -> Result<RemoteEpoch<'_>> {
        let held = self.ask(&ReadRequest::Hold)?;
        let HeldEpoch { committed, state_id, catalogue } =
            serde_json::from_slice(&held).context("the epoch of the topology cannot be read")?;
        Ok(RemoteEpoch { connection: self, committed, state_id, catalogue, scans: AtomicU32::new(0) })
    }

    /// Visits the next pieces of the history of a view up to the last committed epoch, whichever is held.
    /// Returns that epoch as well.
    ///
    /// # Errors
    /// When the state cannot be read, or `visit` fails.
    pub fn newest_changes(
        &self,
        view: u32,
        from: HistoryPlace,
        visit: &mut PieceVisitor<'_>,
    ) -> Result<(Stamp, ChangesRead)> {
        let reply = self.ask(&ReadRequest::Newest { view, from })?;
        let NewestReply { stamp, changes } = NewestReply::from_message(reply)?;
        let read = match changes {
            ChangesReply::Gone(since) => ChangesRead::Gone(since),
            ChangesReply::Held(chunk) => {
                visit_pieces(Chunk::from_message(chunk)?, (from, stamp.epoch), visit)?
            }
        };
        Ok((stamp, read))
    }

    /// Returns true if the process that started this one is gone, from which any failure may follow.
    pub fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    /// Notes that the other end is gone; returns the failure.
    fn note_loss(&self) -> Error {
        self.lost.store(true, Ordering::Relaxed);
        Stopped::Ending.into()
    }

    /// Asks, and returns the reply.
    fn ask(&self, request: &ReadRequest) -> Result<Vec<u8>> {
        let replies = self.replies.lock().unwrap_or_else(PoisonError::into_inner);
        self.tell(request)?;
        replies.recv().map_err(|_| self.note_loss())?
    }

    /// Tells what has no reply.
    fn tell(&self, request: &ReadRequest) -> Result<()> {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        write_message(&mut *requests, None, &serde_json::to_vec(request)?).map_err(|_| self.note_loss())
    }
}

/// Ends this process because the one that started it is gone.
pub fn end_process() {
    // The words tell this end from one for want of memory. Nobody may be left to read them.
    let _ = writeln!(io::stderr(), "{CONNECTION_ENDED}");
    std::process::abort()
}

/// Passes messages to those who wait for them, until the connection ends.
fn pass_messages(
    mut stream: UnixStream,
    replies: &Sender<Result<Vec<u8>>>,
    orders: &Sender<Vec<u8>>,
) -> Result<()> {
    while let Some(mut message) = read_message(&mut stream, MAX_REPLY_BYTES)? {
        let kind = message.first().and_then(|byte| Kind::of(*byte)).context("a message of no kind")?;
        message.remove(0);
        match kind {
            Kind::Reply => replies.send(Ok(message))?,
            Kind::Failure => replies.send(Err(failure(&message)))?,
            Kind::Order => orders.send(message)?,
        }
    }
    Ok(())
}

/// Returns the failure that a message relays.
fn failure(message: &[u8]) -> Error {
    match serde_json::from_slice::<RelayedFailure>(message) {
        Ok(failure) => failure.into_error(),
        Err(error) => Error::new(error).context("the topology's failure cannot be read"),
    }
}

/// A committed epoch that the topology's process holds for this one.
pub struct RemoteEpoch<'c> {
    connection: &'c Connection,
    committed: Committed,
    state_id: String,
    catalogue: Catalogue,
    /// Number of the next scan.
    scans: AtomicU32,
}

impl Drop for RemoteEpoch<'_> {
    fn drop(&mut self) {
        // A connection that is lost holds nothing.
        let _ = self.connection.tell(&ReadRequest::Release);
    }
}

impl EpochReads for RemoteEpoch<'_> {
    fn committed(&self) -> &Committed {
        &self.committed
    }

    fn state_id(&self) -> &str {
        &self.state_id
    }

    fn catalogue(&self) -> Result<Catalogue> {
        Ok(self.catalogue.clone())
    }

    fn estimated_bytes(&self, table_id: u32, bounds: &Arc<Bounds>) -> Result<u64> {
        number_of(&self.connection.ask(&ReadRequest::Size { table_id, bounds: bounds.clone() })?)
    }

    fn history(&self) -> Result<Vec<EpochEntry>> {
        let reply = self.connection.ask(&ReadRequest::History)?;
        serde_json::from_slice(&reply).context("the history of epochs cannot be read")
    }

    fn erasures(&self) -> Result<Vec<Erasure>> {
        let reply = self.connection.ask(&ReadRequest::Erasures)?;
        serde_json::from_slice(&reply).context("the receipts of erased persons cannot be read")
    }

    fn sessions(&self) -> Result<Vec<ListedSession>> {
        let reply = self.connection.ask(&ReadRequest::Sessions)?;
        serde_json::from_slice(&reply).context("the list of sessions cannot be read")
    }

    fn published_until(&self, target: u16) -> Result<u64> {
        number_of(&self.connection.ask(&ReadRequest::Published { target })?)
    }

    fn open_scan(&self, table_id: u32, bounds: &Arc<Bounds>) -> Result<Box<dyn EntryScan + '_>> {
        let scan = self.scans.fetch_add(1, Ordering::Relaxed);
        self.connection.ask(&ReadRequest::Open { scan, table_id, bounds: bounds.clone() })?;
        Ok(Box::new(RemoteScan { connection: self.connection, scan, bytes: FIRST_BYTES, chunk: None }))
    }

    fn dead_letters(&self, mut from: u64, visit: &mut DeadLetterVisitor<'_>) -> Result<()> {
        loop {
            let mut chunk = Chunk::from_message(self.connection.ask(&ReadRequest::DeadLetters { from })?)?;
            while chunk.advance()? {
                let (key, stored) = chunk.entry().context("a dead letter is cut")?;
                let sequence = u64::from_be_bytes(key.try_into().context("a dead letter has no number")?);
                from = sequence + 1;
                if !visit(sequence, stored)? {
                    return Ok(());
                }
            }
            if chunk.is_last() {
                return Ok(());
            }
        }
    }

    fn changes_from(
        &self,
        view: u32,
        from: HistoryPlace,
        visit: &mut PieceVisitor<'_>,
    ) -> Result<ChangesRead> {
        let reply = self.connection.ask(&ReadRequest::Changes { view, from })?;
        match ChangesReply::from_message(reply)? {
            ChangesReply::Gone(since) => Ok(ChangesRead::Gone(since)),
            ChangesReply::Held(chunk) => {
                visit_pieces(Chunk::from_message(chunk)?, (from, self.committed.epoch), visit)
            }
        }
    }
}

/// Visits the pieces of a chunk of changes, which are of the epoch `held` at most.
fn visit_pieces(
    mut chunk: Chunk,
    (mut next, held): (HistoryPlace, u64),
    visit: &mut PieceVisitor<'_>,
) -> Result<ChangesRead> {
    while chunk.advance()? {
        let entry = chunk.entry().context("a piece of changes is cut")?;
        next = HistoryPlace::of_key(entry.0).context("a piece of changes has no place")?.next();
        if !visit(entry)? {
            return Ok(ChangesRead::Held { next });
        }
    }
    Ok(ChangesRead::Held { next: if chunk.is_last() { HistoryPlace::after(held) } else { next } })
}

/// Returns the number that a reply is.
fn number_of(reply: &[u8]) -> Result<u64> {
    reply.first_chunk().map(|bytes| u64::from_le_bytes(*bytes)).context("a number is cut")
}

/// Scan that the topology's process reads for this one.
struct RemoteScan<'c> {
    connection: &'c Connection,
    scan: u32,
    /// Bytes to ask for: more each time, as a query with a limit may need the first few entries only.
    bytes: usize,
    /// Entries that have arrived.
    chunk: Option<Chunk>,
}

impl RemoteScan<'_> {
    fn is_closed(&self) -> bool {
        self.chunk.as_ref().is_some_and(Chunk::is_last)
    }
}

impl Drop for RemoteScan<'_> {
    fn drop(&mut self) {
        if !self.is_closed() {
            let _ = self.connection.tell(&ReadRequest::Close { scan: self.scan });
        }
    }
}

impl EntryScan for RemoteScan<'_> {
    fn advance(&mut self) -> Result<bool> {
        loop {
            if let Some(chunk) = &mut self.chunk {
                if chunk.advance()? {
                    return Ok(true);
                }
                if chunk.is_last() {
                    return Ok(false);
                }
            }
            let next = self.connection.ask(&ReadRequest::Next { scan: self.scan, bytes: self.bytes })?;
            self.bytes = (2 * self.bytes).min(CHUNK_BYTES);
            self.chunk = Some(Chunk::from_message(next)?);
        }
    }

    fn entry(&self) -> Option<Entry<'_>> {
        self.chunk.as_ref()?.entry()
    }

    fn seeks(&self) -> usize {
        self.chunk.as_ref().map_or(0, Chunk::seeks)
    }
}

/// A connection to a state of this process, for tests of queries.
#[cfg(test)]
pub(in crate::query) fn lend_to_test(store: &Arc<state::Store>) -> Result<Connection> {
    let (ours, theirs) = UnixStream::pair()?;
    let store = store.clone();
    super::reads::Lender::new(move || Some(store.clone())).serve(super::reads::ToProcess::of(theirs))?;
    Connection::over(ours, || ())
}
