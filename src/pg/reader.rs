//! The epoch that a session reads: held from the first query of a transaction to its end. A view that is
//! followed is read from it once, and its changes from newer epochs.

use std::sync::Arc;
use std::thread::{Builder, Scope};

use anyhow::{Context, Error, Result, anyhow};
use crossbeam_channel::{Receiver, Sender, bounded, select, unbounded};

use super::engine::follow::{FollowRequest, Followed};
use super::errors::{PgError, PgResult};
use crate::query::process::remote::Connection;
use crate::query::tables::Tables;
use crate::query::tables::epoch::EpochReads;
use crate::query::tables::scans::ScanServer;

/// Commands that wait for the thread that reads.
const MAX_COMMANDS: usize = 4;
/// Stack bytes of a thread that reads a followed view: it evaluates conditions.
const STACK_BYTES: usize = 8 << 20;

/// Command to the thread that holds the epoch. One that needs an epoch has it held.
enum Command {
    Pin(Sender<Result<u64>>),
    Load { sql: String, memory: usize, reply: Sender<Result<Tables>> },
    Follow { asked: Box<FollowRequest>, reply: Sender<Result<PgResult<Followed>>> },
    Release,
}

impl Command {
    /// Tells whoever waits that there is no epoch.
    fn refuse(self, error: Error) {
        // Whoever does not wait any more needs no answer.
        match self {
            Command::Pin(reply) => drop(reply.send(Err(error))),
            Command::Load { reply, .. } => drop(reply.send(Err(error))),
            Command::Follow { reply, .. } => drop(reply.send(Err(error))),
            Command::Release => {}
        }
    }
}

/// Reader of committed epochs for one session. A thread holds the epoch, which the topology's process lends.
pub struct EpochReader {
    commands: Sender<Command>,
    connection: Arc<Connection>,
}

impl EpochReader {
    /// Starts the thread.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(connection: Arc<Connection>) -> Result<EpochReader> {
        let (commands, received) = bounded(MAX_COMMANDS);
        let lent = connection.clone();
        Builder::new()
            .name("herald-epoch".to_owned())
            .spawn(move || serve_epochs(&lent, &received))
            .context("the state cannot be read")?;
        Ok(EpochReader { commands, connection })
    }

    /// The connection to the topology's process.
    pub fn connection(&self) -> Arc<Connection> {
        self.connection.clone()
    }

    /// Pins the newest committed epoch, unless one is pinned. Returns the pinned one.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn pin(&self) -> Result<u64> {
        let (reply, answer) = bounded(1);
        self.ask(Command::Pin(reply), &answer)
    }

    /// Lets go of the pinned epoch, if there is one. All tables of it are dropped by then.
    pub fn release(&self) {
        // A thread that has ended holds no epoch.
        let _ = self.commands.send(Command::Release);
    }

    /// The tables of the pinned epoch for the query `sql`; system tables that it names are read, within
    /// `memory` bytes.
    ///
    /// # Errors
    /// When the query cannot be read, or the state.
    pub fn tables(&self, sql: &str, memory: usize) -> Result<Tables> {
        let (reply, answer) = bounded(1);
        self.ask(Command::Load { sql: sql.to_owned(), memory, reply }, &answer)
    }

    /// Begins to follow a view at the pinned epoch, which is let go when the last snapshot of it is read.
    ///
    /// # Errors
    /// When the state cannot be read. Mistakes of the request are part of the result.
    pub fn follow(&self, asked: FollowRequest) -> Result<PgResult<Followed>> {
        let (reply, answer) = bounded(1);
        self.ask(Command::Follow { asked: Box::new(asked), reply }, &answer)
    }

    /// Sends a command, and waits for its answer.
    fn ask<T>(&self, command: Command, answer: &Receiver<Result<T>>) -> Result<T> {
        let lost = || anyhow!("the reading of the state ended unexpectedly");
        self.commands.send(command).map_err(|_| lost())?;
        answer.recv().map_err(|_| lost())?
    }
}

/// Holds one epoch after the other.
fn serve_epochs(connection: &Connection, commands: &Receiver<Command>) {
    while let Ok(command) = commands.recv() {
        if matches!(command, Command::Release) {
            continue;
        }
        match connection.hold_epoch() {
            Ok(epoch) => serve_epoch(&epoch, (command, commands)),
            Err(error) => command.refuse(error),
        }
    }
}

/// Serves the tables of an epoch and their scans until it is let go, beginning with the first command for it.
fn serve_epoch(epoch: &dyn EpochReads, (first, commands): (Command, &Receiver<Command>)) {
    let (scans, requests) = unbounded();
    let (ended, snapshot_ends) = unbounded();
    let server = &ScanServer::new(epoch);
    std::thread::scope(|scope| {
        let serving = Builder::new()
            .name("herald-scans".to_owned())
            .spawn_scoped(scope, move || server.serve(scope, requests));
        let started = serving.is_ok();
        let (mut command, mut snapshots) = (first, 0_usize);
        loop {
            match command {
                Command::Load { sql, memory, reply } => {
                    let loaded = if started {
                        Tables::load(epoch, &sql, memory, &scans)
                    } else {
                        Err(anyhow!("the scans of the query cannot be started"))
                    };
                    let _ = reply.send(loaded);
                }
                Command::Follow { asked, reply } => {
                    let begun = begin_to_follow(epoch, *asked, (scope, &ended));
                    snapshots += usize::from(begun.as_ref().is_ok_and(Followed::has_snapshot));
                    let _ = reply.send(Ok(begun));
                    if snapshots == 0 {
                        break;
                    }
                }
                Command::Pin(reply) => drop(reply.send(Ok(epoch.committed().epoch))),
                Command::Release => break,
            }
            command = loop {
                select! {
                    recv(commands) -> next => match next {
                        Ok(next) => break next,
                        Err(_) => break Command::Release,
                    },
                    recv(snapshot_ends) -> _ => {
                        snapshots -= 1;
                        if snapshots == 0 {
                            break Command::Release;
                        }
                    }
                }
            };
        }
        drop(scans);
    });
}

/// Begins to follow a view; its snapshot, if one is wanted, is read by a thread in the scope of the epoch.
fn begin_to_follow<'scope>(
    epoch: &'scope dyn EpochReads,
    asked: FollowRequest,
    (scope, ended): (&'scope Scope<'scope, '_>, &Sender<()>),
) -> PgResult<Followed> {
    let (followed, snapshot) = asked.begin(epoch)?;
    let Some(snapshot) = snapshot else { return Ok(followed) };
    let ended = ended.clone();
    let thread = Builder::new().name("herald-snapshot".to_owned()).stack_size(STACK_BYTES);
    let started = thread.spawn_scoped(scope, move || {
        snapshot.send(epoch);
        let _ = ended.send(());
    });
    match started {
        Ok(_) => Ok(followed),
        Err(error) => Err(PgError::of(&Error::from(error).context("the view cannot be read"))),
    }
}
