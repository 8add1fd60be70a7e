//! Failpoints: named places where tests kill, stop or delay the process, before and after each step of
//! driver, workers, committer, store, publisher and recovery.
//!
//! They exist only in builds with the feature `failpoints` (`make test`); otherwise this file and every
//! `fail_point!` compile to nothing. `HERALD_FAILPOINTS` arms them: `NAME=ACTION@N;...`, for the N-th time
//! that the place is passed (1 by default). Actions: `kill` (SIGKILL), `abort`, `stop` (SIGSTOP), and those
//! of the `fail` crate, which apply every time: `return`, `sleep(MS)`, `panic`. Before an action ends the
//! process, it prints the number of epochs in flight to standard error.

#[cfg(feature = "failpoints")]
pub use armed::{arm, epoch_closed, epochs_published, state_opened};

/// Does nothing: this build has no failpoints.
#[cfg(not(feature = "failpoints"))]
pub fn state_opened(_: &state::Store) {}

/// Does nothing: this build has no failpoints.
#[cfg(not(feature = "failpoints"))]
pub fn epoch_closed(_: u64) {}

/// Does nothing: this build has no failpoints.
#[cfg(not(feature = "failpoints"))]
pub fn epochs_published(_: u64) {}

/// Does nothing: this build has no failpoints.
#[cfg(not(feature = "failpoints"))]
pub fn arm() -> anyhow::Result<()> {
    Ok(())
}

#[cfg(feature = "failpoints")]
mod armed {
    use std::process::{Command, Stdio};
    use std::sync::atomic::{AtomicU64, Ordering};

    use anyhow::{Error, Result, anyhow};
    use state::Store;

    use crate::exit::mistake;

    static CLOSED: AtomicU64 = AtomicU64::new(0);
    static PUBLISHED: AtomicU64 = AtomicU64::new(0);

    /// Arms the failpoints that `HERALD_FAILPOINTS` names.
    ///
    /// # Errors
    /// When the variable is malformed.
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

    /// Arms a failpoint that ends or stops the process when it is passed for the `nth` time.
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
        fail::cfg_callback(name, hit).map_err(Error::msg)
    }

    /// Notes that a state was opened: the epochs in its outbox are in flight.
    pub fn state_opened(store: &Store) {
        let committed = store.meta().epoch;
        let waiting = store.outbox_depth().values().map(|depth| depth.epochs).max().unwrap_or(0);
        CLOSED.store(committed, Ordering::SeqCst);
        PUBLISHED.store(committed.saturating_sub(waiting), Ordering::SeqCst);
    }

    /// Notes that an epoch was closed.
    pub fn epoch_closed(epoch: u64) {
        CLOSED.store(epoch, Ordering::SeqCst);
    }

    /// Notes that all epochs up to this one are published.
    pub fn epochs_published(epoch: u64) {
        PUBLISHED.store(epoch, Ordering::SeqCst);
    }
}
