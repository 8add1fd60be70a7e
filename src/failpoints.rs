//! Named places where tests end, stop or slow the process: before and after each step of driver, workers,
//! committer, store, publisher and recovery.
//!
//! They are there in builds with the feature `failpoints` only, which `make test` makes; elsewhere this file
//! and every `fail_point!` are nothing. `HERALD_FAILPOINTS` arms them: `NAME=ACTION@N;...`, for the N-th time
//! the place is passed (1 when left out). Actions: `kill` (SIGKILL), `abort`, `stop` (SIGSTOP), and those of
//! the `fail` crate, each time: `return`, `sleep(MS)`, `panic`. An action that ends the process first says on
//! standard error which epochs were in flight.

#[cfg(feature = "failpoints")]
pub use armed::{arm, closed, opened, published};

/// Nothing: this build has no failpoints.
#[cfg(not(feature = "failpoints"))]
pub fn arm() -> anyhow::Result<()> {
    Ok(())
}

/// Nothing: this build has no failpoints.
#[cfg(not(feature = "failpoints"))]
pub fn opened(_: &state::Store) {}

/// Nothing: this build has no failpoints.
#[cfg(not(feature = "failpoints"))]
pub fn closed(_: u64) {}

/// Nothing: this build has no failpoints.
#[cfg(not(feature = "failpoints"))]
pub fn published(_: u64) {}

#[cfg(feature = "failpoints")]
mod armed {
    use std::process::{Command, Stdio};
    use std::sync::atomic::{AtomicU64, Ordering};

    use anyhow::{Result, anyhow};
    use state::Store;

    use crate::exit::mistake;

    static CLOSED: AtomicU64 = AtomicU64::new(0);
    static PUBLISHED: AtomicU64 = AtomicU64::new(0);

    /// Arms what `HERALD_FAILPOINTS` names.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn arm() -> Result<()> {
        let Ok(wanted) = std::env::var("HERALD_FAILPOINTS") else { return Ok(()) };
        for one in wanted.split(';').filter(|one| !one.is_empty()) {
            let (name, action) = one.split_once('=').ok_or_else(|| mistake(format!("no action in {one}")))?;
            let (action, nth) = match action.split_once('@') {
                Some((action, nth)) => (action, nth.parse()?),
                None => (action, 1),
            };
            match action {
                "kill" | "abort" | "stop" => end_at(name.to_owned(), action.to_owned(), nth)?,
                action => fail::cfg(name, action).map_err(|e| anyhow!("{one}: {e}"))?,
            }
        }
        Ok(())
    }

    fn end_at(name: String, action: String, nth: u64) -> Result<()> {
        let passed = AtomicU64::new(0);
        let at = name.clone();
        let hit = move || {
            if passed.fetch_add(1, Ordering::Relaxed) + 1 != nth {
                return;
            }
            let (closed, published) = (CLOSED.load(Ordering::SeqCst), PUBLISHED.load(Ordering::SeqCst));
            eprintln!("failpoint {at}: {} epochs in flight", closed.saturating_sub(published));
            if action == "abort" {
                std::process::abort();
            }
            let signal = if action == "stop" { "-STOP" } else { "-KILL" };
            let pid = std::process::id().to_string();
            let sent = Command::new("kill").args([signal, &pid]).stdin(Stdio::null()).status();
            if action == "kill" || sent.is_err() {
                // The signal is on its way; this thread goes no further.
                std::process::abort();
            }
        };
        fail::cfg_callback(name, hit).map_err(|e| anyhow!(e))
    }

    /// A state was opened: what waits in its outbox is in flight.
    pub fn opened(store: &Store) {
        let committed = store.meta().epoch;
        let waiting = store.outbox_depth().values().map(|depth| depth.epochs).max().unwrap_or(0);
        CLOSED.store(committed, Ordering::SeqCst);
        PUBLISHED.store(committed.saturating_sub(waiting), Ordering::SeqCst);
    }

    /// An epoch was closed.
    pub fn closed(epoch: u64) {
        CLOSED.store(epoch, Ordering::SeqCst);
    }

    /// All up to an epoch is published.
    pub fn published(epoch: u64) {
        PUBLISHED.store(epoch, Ordering::SeqCst);
    }
}
