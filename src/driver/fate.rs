//! Supervision of a run: records the first failure and shows it at once to health checks.
//!
//! Every thread and task of a run is watched here; timely's workers report through [`Fate::fail`]. One that
//! fails, panics or returns before the run is ending ends the run. Only the first failure counts; later ones
//! are its consequences. A thread that hangs at the end is not waited for longer than [`SHUTDOWN_TIMEOUT`].

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Error, Result, anyhow};
use crossbeam_channel::{RecvTimeoutError, Sender, bounded};
use dataflows::error::RunError;
use tokio::runtime::Runtime;

/// Time that the threads of a failed run have to end.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(60);
/// Interval at which the watchdog checks for a failure.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// Failure record of a run, shared by all its threads.
#[derive(Clone, Default)]
pub struct Fate {
    failed: Arc<AtomicBool>,
    ending: Arc<AtomicBool>,
    first: Arc<Mutex<FirstFailure>>,
}

/// The first failure: its message, and the error itself until it is taken.
#[derive(Default)]
struct FirstFailure {
    message: Option<String>,
    error: Option<Error>,
    /// Set when the failure is only that a part ended early. The part that caused this may have failed
    /// without having reported it yet, so a later, real failure replaces this one.
    weak: bool,
}

impl Fate {
    /// Ends the run with a failure; the first one is kept.
    pub fn fail(&self, error: Error) {
        self.record_failure(error, false);
    }

    fn record_failure(&self, error: Error, weak: bool) {
        // Threads that were aborted carry no cause: they never replace or become the first failure.
        let consequence = error.chain().any(|e| matches!(e.downcast_ref(), Some(RunError::Aborted)));
        {
            let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
            if (first.message.is_none() || (first.weak && !weak)) && !consequence {
                tracing::error!("the run ends: {error:#}");
                *first = FirstFailure { message: Some(format!("{error:#}")), error: Some(error), weak };
            }
        }
        // Set after the message: readers of the flag expect to find a message.
        self.failed.store(true, Ordering::Release);
    }

    /// Records that a part ended by itself, which is a failure unless the run is ending.
    pub fn part_ended(&self, name: &str) {
        if !self.ending.load(Ordering::Acquire) {
            self.record_failure(anyhow!("the {name} ended before the run did"), true);
        }
    }

    /// Marks the run as ending: from here on threads may end.
    pub fn let_end(&self) {
        self.ending.store(true, Ordering::Release);
    }

    /// Tells whether any part failed.
    pub fn failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// The flag that is set when any part failed, for crates that do not know this type.
    pub fn failed_flag(&self) -> Arc<AtomicBool> {
        self.failed.clone()
    }

    /// The message of the first failure.
    pub fn reason(&self) -> Option<String> {
        self.first.lock().unwrap_or_else(PoisonError::into_inner).message.clone()
    }

    /// Takes the error of the first failure; [`RunError::Aborted`] if a part failed without a known cause.
    pub fn take_error(&self) -> Option<Error> {
        match self.take_known_error() {
            None if self.failed() => Some(RunError::Aborted.into()),
            known => known,
        }
    }

    /// Takes the error of the first failure, if its cause is known.
    pub fn take_known_error(&self) -> Option<Error> {
        self.first.lock().unwrap_or_else(PoisonError::into_inner).error.take()
    }

    /// Runs a part on this thread; a panic becomes an error.
    ///
    /// # Errors
    /// The part's failure, or its panic.
    pub fn run<T>(name: &str, body: impl FnOnce() -> Result<T>) -> Result<T> {
        catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| Err(panic_error(name, panic.as_ref())))
    }

    /// Starts a thread whose end is recorded, by return, error or panic.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn spawn(
        &self,
        name: &'static str,
        body: impl FnOnce() -> Result<()> + Send + 'static,
    ) -> Result<JoinHandle<()>> {
        let fate = self.clone();
        let thread = std::thread::Builder::new().name(format!("herald-{name}"));
        let started = thread.spawn(move || match Fate::run(name, body) {
            Ok(()) => fate.part_ended(name),
            Err(error) => fate.fail(error),
        });
        started.map_err(|error| anyhow!("the {name} cannot be started: {error}"))
    }

    /// Starts a task whose end is recorded. A task that the runtime drops at its own shutdown is not a
    /// failure.
    pub fn spawn_task(
        &self,
        runtime: &Runtime,
        name: &'static str,
        body: impl Future<Output = Result<()>> + Send + 'static,
    ) {
        let (fate, task) = (self.clone(), runtime.spawn(body));
        runtime.spawn(async move {
            match task.await {
                Ok(Ok(())) => fate.part_ended(name),
                Ok(Err(error)) => fate.fail(error.context(format!("the {name} ended"))),
                Err(lost) if lost.is_panic() => fate.fail(panic_error(name, lost.into_panic().as_ref())),
                Err(_) => {}
            }
        });
    }

    /// Starts a watchdog that ends the process, with the failure's message, when a failed run takes too long
    /// to end. Dropping the returned sender stops it.
    pub fn exit_if_stuck(&self) -> Sender<()> {
        let (done, ended) = bounded::<()>(0);
        let fate = self.clone();
        let wait = move || {
            let mut since = None;
            while ended.recv_timeout(POLL_INTERVAL) == Err(RecvTimeoutError::Timeout) {
                if !fate.failed() {
                    continue;
                }
                let since: &mut Instant = since.get_or_insert_with(Instant::now);
                if since.elapsed() >= SHUTDOWN_TIMEOUT {
                    let why = fate.reason().unwrap_or_else(|| "a part of the run failed".to_owned());
                    eprintln!(
                        "error: {why}.\n  Its threads did not end within {} s.",
                        SHUTDOWN_TIMEOUT.as_secs()
                    );
                    std::process::exit(1);
                }
            }
        };
        if let Err(error) = std::thread::Builder::new().name("herald-end".to_owned()).spawn(wait) {
            tracing::warn!("nobody watches the end: {error}");
        }
        done
    }
}

/// A panic as an error with its message.
fn panic_error(name: &str, panic: &(dyn Any + Send)) -> Error {
    anyhow!("the {name} panicked: {}", dataflows::runtime::worker::panic_message(panic))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_reason_counts_and_consequences_do_not() {
        let fate = Fate::default();
        fate.fail(RunError::Aborted.into());
        assert!(fate.failed() && fate.reason().is_none());
        fate.fail(anyhow!("one"));
        fate.fail(anyhow!("two"));
        assert_eq!(fate.reason().as_deref(), Some("one"));
        assert_eq!(fate.take_error().map(|e| e.to_string()).as_deref(), Some("one"));
        assert_eq!(fate.reason().as_deref(), Some("one"), "it is still told");
    }

    #[test]
    fn why_it_ended_counts_more_than_that_it_did() {
        let fate = Fate::default();
        fate.part_ended("publisher");
        assert_eq!(fate.reason().as_deref(), Some("the publisher ended before the run did"));
        fate.part_ended("worker");
        fate.fail(anyhow!("the committer panicked"));
        fate.fail(anyhow!("later"));
        fate.part_ended("worker");
        assert_eq!(fate.take_error().map(|e| e.to_string()).as_deref(), Some("the committer panicked"));
    }

    #[test]
    fn a_thread_that_panics_returns_or_fails_ends_the_run() -> Result<()> {
        let end_of = |body: fn() -> Result<()>| -> Result<Option<String>> {
            let fate = Fate::default();
            let thread = fate.spawn("part", body)?;
            assert!(thread.join().is_ok(), "the panic stays in the thread");
            Ok(fate.reason())
        };
        assert_eq!(end_of(|| panic!("oh {}", 1))?.as_deref(), Some("the part panicked: oh 1"));
        assert_eq!(end_of(|| Ok(()))?.as_deref(), Some("the part ended before the run did"));
        assert_eq!(end_of(|| Err(anyhow!("no")))?.as_deref(), Some("no"));
        Ok(())
    }

    #[test]
    fn threads_may_end_when_the_run_ends() -> Result<()> {
        let fate = Fate::default();
        fate.let_end();
        let thread = fate.spawn("part", || Ok(()))?;
        assert!(thread.join().is_ok() && !fate.failed());
        Ok(())
    }

    #[test]
    fn a_task_is_watched_too() -> Result<()> {
        let (fate, runtime) = (Fate::default(), crate::run::create_runtime()?);
        fate.spawn_task(&runtime, "server", async { panic!("gone") });
        while !fate.failed() {
            std::thread::yield_now();
        }
        assert_eq!(fate.reason().as_deref(), Some("the server panicked: gone"));
        Ok(())
    }
}
