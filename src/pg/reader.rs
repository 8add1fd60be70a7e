//! The epoch that a session reads: held from the first query of a transaction to its end.

use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use crate::query::process::remote::Connection;
use crate::query::tables::Tables;
use crate::query::tables::epoch::EpochReads;
use crate::query::tables::scans::ScanServer;

/// Commands that wait for the thread that reads.
const MAX_COMMANDS: usize = 4;

/// Command to the thread that holds the epoch.
enum Command {
    Pin(Sender<Result<u64>>),
    Load { sql: String, memory: usize, reply: Sender<Result<Tables>> },
    Release,
}

/// Reader of committed epochs for one session. A thread holds the epoch, which the topology's process lends.
pub struct EpochReader {
    commands: Sender<Command>,
    pinned: Option<u64>,
}

impl EpochReader {
    /// Starts the thread.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(connection: Arc<Connection>) -> Result<EpochReader> {
        let (commands, received) = bounded(MAX_COMMANDS);
        std::thread::Builder::new()
            .name("herald-epoch".to_owned())
            .spawn(move || serve_epochs(&connection, &received))
            .context("the state cannot be read")?;
        Ok(EpochReader { commands, pinned: None })
    }

    /// Pins the newest committed epoch, unless one is pinned. Returns the pinned one.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn pin(&mut self) -> Result<u64> {
        if let Some(epoch) = self.pinned {
            return Ok(epoch);
        }
        let (reply, answer) = bounded(1);
        let epoch = self.ask(Command::Pin(reply), &answer)?;
        self.pinned = Some(epoch);
        Ok(epoch)
    }

    /// Lets go of the pinned epoch. All tables of it are dropped by then.
    pub fn release(&mut self) {
        if self.pinned.take().is_some() {
            // A thread that has ended holds no epoch.
            let _ = self.commands.send(Command::Release);
        }
    }

    /// The tables of the pinned epoch for the query `sql`; system tables that it names are read, within
    /// `memory` bytes.
    ///
    /// # Errors
    /// When the query cannot be read, or the state.
    pub fn tables(&mut self, sql: &str, memory: usize) -> Result<Tables> {
        let (reply, answer) = bounded(1);
        self.ask(Command::Load { sql: sql.to_owned(), memory, reply }, &answer)
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
        let Command::Pin(reply) = command else { continue };
        match connection.hold_epoch() {
            Ok(epoch) => {
                let _ = reply.send(Ok(epoch.committed().epoch));
                serve_epoch(&epoch, commands);
            }
            Err(error) => drop(reply.send(Err(error))),
        }
    }
}

/// Serves the tables of an epoch and their scans until it is let go.
fn serve_epoch(epoch: &dyn EpochReads, commands: &Receiver<Command>) {
    let (scans, requests) = unbounded();
    let server = &ScanServer::new(epoch);
    std::thread::scope(|scope| {
        let serving = std::thread::Builder::new()
            .name("herald-scans".to_owned())
            .spawn_scoped(scope, move || server.serve(scope, requests));
        let started = serving.is_ok();
        while let Ok(command) = commands.recv() {
            match command {
                Command::Load { sql, memory, reply } => {
                    let loaded = if started {
                        Tables::load(epoch, &sql, memory, &scans)
                    } else {
                        Err(anyhow!("the scans of the query cannot be started"))
                    };
                    let _ = reply.send(loaded);
                }
                Command::Pin(reply) => drop(reply.send(Ok(epoch.committed().epoch))),
                Command::Release => break,
            }
        }
        drop(scans);
    });
}
