//! Reading of committed epochs for queries in other processes: the side of the process that runs the topology.
//!
//! Each query's process has a thread here that serves its requests one by one from a snapshot of the state: it holds no
//! lock, copies no view, and reads no more than a chunk ahead of the query. All parsing, planning and computing is done
//! in the query's process. A snapshot keeps the versions of its epoch alive for as long as the query runs.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, anyhow};
use state::{HistoryPlace, Snapshot, Store};

use super::messages::{
    CHUNK_BYTES, ChangesReply, Chunk, HeldEpoch, Kind, MAX_REQUEST_BYTES, NewestReply, ReadRequest,
    read_message, write_message,
};
use crate::driver::DriverHandle;
use crate::exit::{RelayedFailure, Stopped, mistake};
use crate::query::tables::epoch::{BoundedScan, ChangesRead, EntryScan, EpochReads, ListedSession, Stamp};
use crate::query::tables::scans::MAX_SCANS;

/// Access to the state of a running topology: None before it is open and after it is closed.
type OpenState = dyn Fn() -> Option<Arc<Store>> + Send + Sync;

/// Access to the sessions of clients that are open.
type ListSessions = dyn Fn() -> Vec<ListedSession> + Send + Sync;

/// Time that reads have to finish at the end: none lasts longer than a chunk of entries.
const END_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for which a process may take nothing of what is sent to it.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Time after which the scans of a process that asks for nothing let their place in the database go.
const IDLE_TIMEOUT: Duration = Duration::from_secs(1);
/// Longest time for which an epoch is held: the state keeps all that was in it.
pub const MAX_HELD: Duration = Duration::from_secs(3600);
/// Time between two looks at the reads that are still served.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// Lends the state of a running topology to the processes of its queries.
pub struct Lender {
    state: Box<OpenState>,
    held_at_most: Duration,
    sessions: OnceLock<Box<ListSessions>>,
    served: Mutex<Served>,
}

/// Connections whose reads are served.
#[derive(Default)]
struct Served {
    streams: BTreeMap<u64, UnixStream>,
    /// Number of the next one.
    next: u64,
    /// Set at the end: no other is served.
    ended: bool,
}

impl Lender {
    /// Creates a lender of the state of a topology.
    pub fn of(handle: &DriverHandle) -> Arc<Lender> {
        let handle = handle.clone();
        Lender::new(move || handle.store())
    }

    /// Creates a lender of the state that `state` returns while there is one.
    pub(super) fn new(state: impl Fn() -> Option<Arc<Store>> + Send + Sync + 'static) -> Arc<Lender> {
        Arc::new(Lender {
            state: Box::new(state),
            held_at_most: MAX_HELD,
            sessions: OnceLock::new(),
            served: Mutex::default(),
        })
    }

    /// Sets how the sessions of clients are listed, once.
    pub fn list_sessions_by(&self, list: impl Fn() -> Vec<ListedSession> + Send + Sync + 'static) {
        let _ = self.sessions.set(Box::new(list));
    }

    fn sessions(&self) -> Vec<ListedSession> {
        self.sessions.get().map_or_else(Vec::new, |list| list())
    }

    /// Serves the reads of a query's process, on a thread of their own, until the process ends.
    ///
    /// # Errors
    /// When the thread cannot be started, or the topology has ended.
    pub(super) fn serve(self: &Arc<Lender>, process: ToProcess) -> Result<()> {
        let number = self.note_process(&process)?;
        let lender = self.clone();
        let started = std::thread::Builder::new()
            .name("herald-reads".to_owned())
            .spawn(move || lender.serve_noted(number, &process, &mut |_| {}));
        if started.is_err() {
            self.lock_served().streams.remove(&number);
        }
        started.map(drop).context("cannot read for the query")
    }

    /// Serves the reads of the process of a client's session, and gives what it tells to `hear`, until the process ends.
    ///
    /// # Errors
    /// When the topology has ended.
    pub fn serve_session(&self, process: &ToProcess, hear: &mut dyn FnMut(&str)) -> Result<()> {
        let number = self.note_process(process)?;
        self.serve_noted(number, process, hear);
        Ok(())
    }

    /// Notes a process whose reads are served from now on; returns its number.
    fn note_process(&self, process: &ToProcess) -> Result<u64> {
        let mut served = self.lock_served();
        if served.ended {
            return Err(Stopped::Ending.into());
        }
        served.next += 1;
        let number = served.next;
        served.streams.insert(number, process.clone_stream()?);
        Ok(number)
    }

    /// Serves the reads of a process that was noted.
    fn serve_noted(&self, number: u64, process: &ToProcess, hear: &mut dyn FnMut(&str)) {
        // A broken connection is the end of the process, which its parent explains.
        let served = process
            .clone_stream()
            .and_then(|stream| ReadServer { lender: self, stream, process, hear }.serve_requests());
        if let Err(error) = served {
            tracing::debug!("reading for a query ended: {error:#}");
        }
        self.lock_served().streams.remove(&number);
    }

    /// Ends all reads, which ends their queries, and waits for them: RocksDB must not be in use when the process exits.
    pub fn end(&self) {
        let begun = Instant::now();
        let mut served = self.lock_served();
        served.ended = true;
        for stream in served.streams.values() {
            // One that is gone already needs no end.
            let _ = stream.shutdown(Shutdown::Both);
        }
        while !served.streams.is_empty() && begun.elapsed() < END_TIMEOUT {
            drop(served);
            std::thread::sleep(LOOK_INTERVAL);
            served = self.lock_served();
        }
    }

    fn lock_served(&self) -> MutexGuard<'_, Served> {
        self.served.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The way to a process that this one started: replies to its requests, and orders. Threads share it.
#[derive(Clone, Debug)]
pub struct ToProcess(Arc<Mutex<UnixStream>>);

impl ToProcess {
    /// The way over a connection.
    pub fn of(stream: UnixStream) -> ToProcess {
        // A process that takes nothing for so long is stopped or broken: whoever writes to it must not wait for ever.
        let _ = stream.set_write_timeout(Some(WRITE_TIMEOUT));
        ToProcess(Arc::new(Mutex::new(stream)))
    }

    /// Sends an order, as JSON.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn send(&self, order: &[u8]) -> io::Result<()> {
        self.write(Kind::Order, order)
    }

    fn write(&self, kind: Kind, body: &[u8]) -> io::Result<()> {
        write_message(&mut *self.lock(), Some(kind), body)
    }

    fn clone_stream(&self) -> Result<UnixStream> {
        self.lock().try_clone().context("cannot connect to the query's process")
    }

    fn lock(&self) -> MutexGuard<'_, UnixStream> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Server of the reads of one process.
struct ReadServer<'l> {
    lender: &'l Lender,
    /// Its requests.
    stream: UnixStream,
    process: &'l ToProcess,
    /// Takes what it tells beside its requests.
    hear: &'l mut dyn FnMut(&str),
}

/// End of a wait for a request.
enum Waited {
    /// A request.
    Request(ReadRequest),
    /// Nothing came for a while.
    Idle,
    /// The process is gone.
    End,
}

impl ReadServer<'_> {
    fn serve_requests(&mut self) -> Result<()> {
        while let Some(request) = self.next_request()? {
            match request {
                ReadRequest::Hold => self.serve_epoch()?,
                ReadRequest::Release | ReadRequest::Close { .. } => {}
                ReadRequest::Newest { view, from } => match self.newest_changes(view, from) {
                    Ok(reply) => self.reply(&reply)?,
                    Err(error) => self.refuse(&error)?,
                },
                _ => self.refuse(&anyhow!("no epoch is held"))?,
            }
        }
        Ok(())
    }

    /// Serves the requests of one query, until it lets its epoch go.
    fn serve_epoch(&mut self) -> Result<()> {
        // Nothing is asked before the state is open.
        let Some(store) = (self.lender.state)() else { return self.refuse(&Stopped::Ending.into()) };
        let snapshot = match store.snapshot() {
            Ok(snapshot) => snapshot,
            Err(error) => return self.refuse(&error.into()),
        };
        let held = match held_epoch(&snapshot) {
            Ok(held) => held,
            Err(error) => return self.refuse(&error),
        };
        self.reply(&held)?;
        let mut scans: BTreeMap<u32, BoundedScan<'_>> = BTreeMap::new();
        let (begun, mut used) = (Instant::now(), Instant::now());
        loop {
            let waited = self.wait_request()?;
            if begun.elapsed() > self.lender.held_at_most {
                break;
            }
            // Whoever follows a view asks on, and does not use the epoch.
            if used.elapsed() >= IDLE_TIMEOUT {
                scans.values_mut().for_each(BoundedScan::suspend);
            }
            let request = match waited {
                Waited::Request(request) => request,
                Waited::Idle => continue,
                Waited::End => return Ok(()),
            };
            let uses = !matches!(request, ReadRequest::Newest { .. });
            let replied = match request {
                ReadRequest::Release => return Ok(()),
                ReadRequest::Close { scan } => {
                    scans.remove(&scan);
                    continue;
                }
                ReadRequest::Sessions => Ok(serde_json::to_vec(&self.lender.sessions())?),
                ReadRequest::Newest { view, from } => self.newest_changes(view, from),
                request => answer_request(&snapshot, &mut scans, request),
            };
            match replied {
                Ok(reply) => self.reply(&reply)?,
                Err(error) => self.refuse(&error)?,
            }
            if uses {
                used = Instant::now();
            }
        }
        // The process is told by the end of its connection: it cannot go on without its epoch.
        tracing::warn!(
            "an epoch was held for longer than {} min: the query or session that held it is ended",
            self.lender.held_at_most.as_secs() / 60
        );
        let _ = self.stream.shutdown(Shutdown::Both);
        Ok(())
    }

    /// Returns the next changes of a view up to the last committed epoch. Whoever follows a view asks again
    /// and again: where nothing is new the database is not read.
    fn newest_changes(&self, view: u32, from: HistoryPlace) -> Result<Vec<u8>> {
        let Some(store) = (self.lender.state)() else { return Err(Stopped::Ending.into()) };
        let committed = store.meta();
        if from == HistoryPlace::after(committed.epoch) {
            let stamp = Stamp { epoch: committed.epoch, commit_ms: committed.commit_ms };
            let changes = ChangesReply::Held(Chunk::new().into_message(true, 0));
            return Ok(NewestReply { stamp, changes }.into_message());
        }
        let snapshot = store.snapshot()?;
        let stamp = Stamp { epoch: snapshot.epoch(), commit_ms: snapshot.committed().commit_ms };
        Ok(NewestReply { stamp, changes: changes(&snapshot, view, from)? }.into_message())
    }

    /// Waits for the next request; what is told in between is passed on.
    fn next_request(&mut self) -> Result<Option<ReadRequest>> {
        loop {
            match self.wait_request()? {
                Waited::Request(request) => return Ok(Some(request)),
                Waited::Idle => {}
                Waited::End => return Ok(None),
            }
        }
    }

    /// Waits a while for the next request; what is told in between is passed on.
    fn wait_request(&mut self) -> Result<Waited> {
        loop {
            let mut first = [0];
            self.stream.set_read_timeout(Some(IDLE_TIMEOUT))?;
            match self.stream.read(&mut first) {
                Ok(0) => return Ok(Waited::End),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    return Ok(Waited::Idle);
                }
                Err(error) => return Err(error.into()),
            }
            // The rest of a message is on its way.
            self.stream.set_read_timeout(Some(WRITE_TIMEOUT))?;
            let message = read_message(&mut (&first[..]).chain(&mut self.stream), MAX_REQUEST_BYTES)?;
            let message = message.context("a query's process sent a cut request")?;
            match serde_json::from_slice(&message).context("a query's process sent an unknown request")? {
                ReadRequest::Tell { message } => (self.hear)(&message),
                request => return Ok(Waited::Request(request)),
            }
        }
    }

    fn reply(&mut self, body: &[u8]) -> Result<()> {
        Ok(self.process.write(Kind::Reply, body)?)
    }

    fn refuse(&mut self, error: &Error) -> Result<()> {
        let failure = serde_json::to_vec(&RelayedFailure::of(error))?;
        Ok(self.process.write(Kind::Failure, &failure)?)
    }
}

/// Returns the reply to a request to hold the epoch of a snapshot.
fn held_epoch(snapshot: &Snapshot<'_>) -> Result<Vec<u8>> {
    let held = HeldEpoch {
        committed: snapshot.committed().clone(),
        state_id: snapshot.state_id().to_owned(),
        catalogue: EpochReads::catalogue(snapshot)?,
    };
    Ok(serde_json::to_vec(&held)?)
}

/// Returns the reply to a request for content of the epoch.
fn answer_request<'s>(
    snapshot: &'s Snapshot<'_>,
    scans: &mut BTreeMap<u32, BoundedScan<'s>>,
    request: ReadRequest,
) -> Result<Vec<u8>> {
    match request {
        ReadRequest::Open { scan, table_id, bounds } => {
            if scans.len() >= MAX_SCANS {
                return Err(mistake(format!(
                    "the query reads views in more than {MAX_SCANS} places: ask it in parts"
                )));
            }
            scans.insert(scan, BoundedScan::open(snapshot, table_id, &bounds)?);
            Ok(Vec::new())
        }
        ReadRequest::Next { scan, bytes } => {
            let (message, last) = next_chunk(scans.get_mut(&scan).context("a scan is not open")?, bytes)?;
            if last {
                scans.remove(&scan);
            }
            Ok(message)
        }
        ReadRequest::Size { table_id, bounds } => {
            Ok(EpochReads::estimated_bytes(snapshot, table_id, &bounds)?.to_le_bytes().to_vec())
        }
        ReadRequest::History => Ok(serde_json::to_vec(&snapshot.history()?)?),
        ReadRequest::Erasures => Ok(serde_json::to_vec(&EpochReads::erasures(snapshot)?)?),
        ReadRequest::Published { target } => {
            Ok(EpochReads::published_until(snapshot, target)?.to_le_bytes().to_vec())
        }
        ReadRequest::DeadLetters { from } => dead_letters(snapshot, from),
        ReadRequest::Changes { view, from } => Ok(changes(snapshot, view, from)?.into_message()),
        ReadRequest::Hold => Err(anyhow!("an epoch is held already")),
        // Those that ask for nothing of the held epoch are answered before.
        ReadRequest::Release
        | ReadRequest::Close { .. }
        | ReadRequest::Tell { .. }
        | ReadRequest::Newest { .. }
        | ReadRequest::Sessions => Ok(Vec::new()),
    }
}

/// Returns about `bytes` bytes of the next entries of a scan, and whether they are the last.
fn next_chunk(scan: &mut BoundedScan<'_>, bytes: usize) -> Result<(Vec<u8>, bool)> {
    let mut chunk = Chunk::new();
    while chunk.len() < bytes.min(CHUNK_BYTES) {
        match scan.advance()?.then(|| scan.entry()).flatten() {
            Some(entry) => chunk.push_entry(entry),
            None => return Ok((chunk.into_message(true, scan.seeks()), true)),
        }
    }
    Ok((chunk.into_message(false, scan.seeks()), false))
}

/// Returns the next dead letters.
fn dead_letters(snapshot: &Snapshot<'_>, from: u64) -> Result<Vec<u8>> {
    let mut chunk = Chunk::new();
    let mut last = true;
    EpochReads::dead_letters(snapshot, from, &mut |sequence, stored| {
        last = chunk.len() < CHUNK_BYTES;
        if last {
            chunk.push_entry((&sequence.to_be_bytes(), stored));
        }
        Ok(last)
    })?;
    Ok(chunk.into_message(last, 0))
}

/// Returns the next changes of a view.
fn changes(snapshot: &Snapshot<'_>, view: u32, from: HistoryPlace) -> Result<ChangesReply> {
    let mut chunk = Chunk::new();
    let read = EpochReads::changes_from(snapshot, view, from, &mut |entry| {
        chunk.push_entry(entry);
        Ok(chunk.len() < CHUNK_BYTES)
    })?;
    Ok(match read {
        ChangesRead::Held { next } => {
            let last = next == HistoryPlace::after(snapshot.epoch());
            ChangesReply::Held(chunk.into_message(last, 0))
        }
        ChangesRead::Gone(since) => ChangesReply::Gone(since),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use state::{Commit, HistoryLimits, HistoryPiece, RowChanges, StoreOptions, ViewChanges};

    use super::*;
    use crate::query::process::remote::lend_to_test;

    /// The changes of a view pass to another process piece by piece; an epoch is whole when the next place is
    /// behind it.
    #[test]
    fn changes_are_read_by_way_of_the_topology() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let options = StoreOptions { create: true, ..StoreOptions::default() };
        let store = Arc::new(Store::open(&dir.path().join("state"), &options)?);
        store.keep_histories(&BTreeMap::from([(1, HistoryLimits { age_ms: 1_000, bytes: 64 << 20 })]))?;
        // Epochs of two pieces, more than a chunk each, and one without changes.
        for epoch in 1..=4 {
            let mut changes = RowChanges::default();
            for row in 0..if epoch == 3 { 0 } else { 15 } {
                changes.push(&vec![row; 100 << 10], epoch as i64, u64::MAX);
            }
            let changes = vec![ViewChanges { view: 1, changes }];
            store.commit(Commit { epoch, commit_ms: 5, changes, ..Commit::default() })?;
        }
        let connection = lend_to_test(&store)?;
        let held = connection.hold_epoch()?;
        let (mut from, mut read, mut whole) = (HistoryPlace::after(1), Vec::new(), Vec::new());
        while from != HistoryPlace::after(4) {
            let asked = held.changes_from(1, from, &mut |entry| {
                let piece = HistoryPiece::decode(entry).context("a piece")?;
                assert!(piece.commit_ms == 5 && piece.place >= from);
                for change in piece.changes {
                    assert_eq!((change.diff, change.row.len()), (piece.place.epoch as i64, 100 << 10));
                    read.push((piece.place.epoch, change.row[0]));
                }
                Ok(true)
            })?;
            let ChangesRead::Held { next } = asked else { panic!("{asked:?}") };
            whole.push(next.epoch - 1);
            from = next;
        }
        let expected: Vec<(u64, u8)> =
            [2, 4].into_iter().flat_map(|e| (0..15).map(move |row| (e, row))).collect();
        assert_eq!(read, expected);
        assert_eq!(whole, [1, 1, 3, 3, 4]);
        let mut nothing = |_: state::Entry<'_>| Ok(true);
        let gone = held.changes_from(1, HistoryPlace { epoch: 0, part: 0 }, &mut nothing)?;
        assert_eq!(gone, ChangesRead::Gone(Some(0)));
        assert_eq!(held.changes_from(2, HistoryPlace::after(1), &mut nothing)?, ChangesRead::Gone(None));
        Ok(())
    }

    /// Whoever follows a view reads new changes while an older epoch is held, and while none is.
    #[test]
    fn the_newest_changes_are_read_whichever_epoch_is_held() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let options = StoreOptions { create: true, ..StoreOptions::default() };
        let store = Arc::new(Store::open(&dir.path().join("state"), &options)?);
        store.keep_histories(&BTreeMap::from([(1, HistoryLimits { age_ms: 1_000, bytes: 64 << 20 })]))?;
        let commit = |epoch: u64, row: &[u8]| {
            let mut changes = RowChanges::default();
            changes.push(row, 1, u64::MAX);
            let changes = vec![ViewChanges { view: 1, changes }];
            store.commit(Commit { epoch, commit_ms: 10 * epoch as i64, changes, ..Commit::default() })
        };
        commit(1, b"a")?;
        let connection = lend_to_test(&store)?;
        let newest = |after: u64| {
            let mut rows = Vec::new();
            let read = connection.newest_changes(1, HistoryPlace::after(after), &mut |entry| {
                let piece = HistoryPiece::decode(entry).context("a piece")?;
                rows.extend(piece.changes.iter().map(|change| change.row.to_vec()));
                Ok(true)
            })?;
            anyhow::Ok((read.0, read.1, rows))
        };
        let whole = |epoch| ChangesRead::Held { next: HistoryPlace::after(epoch) };
        let stamp = |epoch| Stamp { epoch, commit_ms: 10 * epoch as i64 };
        assert_eq!(newest(1)?, (stamp(1), whole(1), vec![]));
        let held = connection.hold_epoch()?;
        commit(2, b"b")?;
        assert_eq!(newest(1)?, (stamp(2), whole(2), vec![b"b".to_vec()]));
        assert_eq!(held.committed().epoch, 1);
        drop(held);
        commit(3, b"c")?;
        assert_eq!(newest(1)?, (stamp(3), whole(3), vec![b"b".to_vec(), b"c".to_vec()]));
        assert_eq!(newest(9)?, (stamp(3), ChangesRead::Gone(Some(0)), vec![]), "an epoch that is none");
        Ok(())
    }

    /// An epoch that is held for too long is let go, and its process sees the end of its connection.
    #[test]
    fn an_epoch_is_not_held_for_ever() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let options = StoreOptions { create: true, ..StoreOptions::default() };
        let store = Arc::new(Store::open(&dir.path().join("state"), &options)?);
        let held = store.clone();
        let mut lender = Lender::new(move || Some(held.clone()));
        Arc::get_mut(&mut lender).context("nobody else has it")?.held_at_most = Duration::from_millis(10);
        let (mut ours, theirs) = UnixStream::pair()?;
        lender.serve(ToProcess::of(theirs))?;
        write_message(&mut ours, None, &serde_json::to_vec(&ReadRequest::Hold)?)?;
        let reply =
            read_message(&mut ours, super::super::messages::MAX_REPLY_BYTES)?.context("it is held")?;
        assert_eq!(reply.first(), Some(&(Kind::Reply as u8)));
        // It asks for nothing more.
        assert_eq!(read_message(&mut ours, super::super::messages::MAX_REPLY_BYTES)?, None);
        Ok(())
    }

    /// The end of a topology waits for the reads of its queries, and serves no others.
    #[test]
    fn nothing_is_read_after_the_end() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let options = StoreOptions { create: true, ..StoreOptions::default() };
        let store = Arc::new(Store::open(&dir.path().join("state"), &options)?);
        let held = store.clone();
        let lender = Lender::new(move || Some(held.clone()));
        let (mut ours, theirs) = UnixStream::pair()?;
        lender.serve(ToProcess::of(theirs))?;
        write_message(&mut ours, None, &serde_json::to_vec(&ReadRequest::Hold)?)?;
        let reply =
            read_message(&mut ours, super::super::messages::MAX_REPLY_BYTES)?.context("it is held")?;
        assert_eq!(reply.first(), Some(&(Kind::Reply as u8)));
        lender.end();
        assert_eq!(read_message(&mut ours, super::super::messages::MAX_REPLY_BYTES)?, None);
        assert!(lender.serve(ToProcess::of(ours)).is_err());
        drop(lender);
        assert_eq!(Arc::strong_count(&store), 1, "no thread has it any more");
        Ok(())
    }
}
