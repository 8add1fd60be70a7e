//! The end of a run: the first reason is kept, and told at once to whoever asks for health.
//!
//! Every thread and task of a run is watched here, and by timely's workers through
//! [`Fate::fail`]: one that fails, panics or returns before the run is ending ends the run. Only the first
//! reason counts; what the others meet because of it is its consequence. A thread that hangs at the end is
//! not waited for longer than [`PATIENCE`].

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

/// How long the threads of a run that failed may take to end.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often this is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// What becomes of a run, shared by all its threads.
#[derive(Clone, Default)]
pub struct Fate {
    failed: Arc<AtomicBool>,
    ending: Arc<AtomicBool>,
    first: Arc<Mutex<First>>,
}

/// The first reason: as it is told, and as an error until it is taken.
#[derive(Default)]
struct First {
    told: Option<String>,
    error: Option<Error>,
    /// Tells whether it is that a part has ended only: what it waited for may have failed and not said so yet.
    weak: bool,
}

impl Fate {
    /// Ends the run; the first reason is kept.
    pub fn fail(&self, error: Error) {
        self.note(error, false);
    }

    fn note(&self, error: Error, weak: bool) {
        let consequence = error.chain().any(|e| matches!(e.downcast_ref(), Some(RunError::Aborted)));
        {
            let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
            if (first.told.is_none() || (first.weak && !weak)) && !consequence {
                tracing::error!("the run ends: {error:#}");
                *first = First { told: Some(format!("{error:#}")), error: Some(error), weak };
            }
        }
        // After the reason: whoever sees the flag must find it.
        self.failed.store(true, Ordering::Release);
    }

    /// A part ended by itself: that is a failure unless the run is ending.
    pub fn ended(&self, name: &str) {
        if !self.ending.load(Ordering::Acquire) {
            self.note(anyhow!("the {name} ended before the run did"), true);
        }
    }

    /// From here on threads may end.
    pub fn let_end(&self) {
        self.ending.store(true, Ordering::Release);
    }

    /// Tells whether something failed.
    pub fn failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// The flag that is set when something failed, for those who know no more than that.
    pub fn flag(&self) -> Arc<AtomicBool> {
        self.failed.clone()
    }

    /// The first reason in words.
    pub fn reason(&self) -> Option<String> {
        self.first.lock().unwrap_or_else(PoisonError::into_inner).told.clone()
    }

    /// The first reason, once; [`RunError::Aborted`] where something failed and nothing is known of it.
    pub fn take(&self) -> Option<Error> {
        self.first().or_else(|| self.failed().then(|| RunError::Aborted.into()))
    }

    /// The first reason, once, where one is known.
    pub fn first(&self) -> Option<Error> {
        self.first.lock().unwrap_or_else(PoisonError::into_inner).error.take()
    }

    /// Runs a part on this thread; a panic is an error.
    ///
    /// # Errors
    /// What the part failed with, or its panic.
    pub fn run<T>(name: &str, body: impl FnOnce() -> Result<T>) -> Result<T> {
        catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| Err(panicked(name, panic.as_ref())))
    }

    /// Starts a thread whose end, however it comes, is noted.
    ///
    /// # Errors
    /// When there can be no thread.
    pub fn spawn(
        &self,
        name: &'static str,
        body: impl FnOnce() -> Result<()> + Send + 'static,
    ) -> Result<JoinHandle<()>> {
        let fate = self.clone();
        let thread = std::thread::Builder::new().name(format!("herald-{name}"));
        let started = thread.spawn(move || match Fate::run(name, body) {
            Ok(()) => fate.ended(name),
            Err(error) => fate.fail(error),
        });
        started.map_err(|error| anyhow!("the {name} cannot be started: {error}"))
    }

    /// Starts a task whose end, however it comes, is noted. What the runtime drops at its own end is none.
    pub fn task(
        &self,
        runtime: &Runtime,
        name: &'static str,
        body: impl Future<Output = Result<()>> + Send + 'static,
    ) {
        let (fate, task) = (self.clone(), runtime.spawn(body));
        runtime.spawn(async move {
            match task.await {
                Ok(Ok(())) => fate.ended(name),
                Ok(Err(error)) => fate.fail(error.context(format!("the {name} ended"))),
                Err(lost) if lost.is_panic() => fate.fail(panicked(name, lost.into_panic().as_ref())),
                Err(_) => {}
            }
        });
    }

    /// Ends the process, with the reason, when a run that failed takes too long to end; until what is returned
    /// is dropped.
    pub fn hurry(&self) -> Sender<()> {
        let (done, ended) = bounded::<()>(0);
        let fate = self.clone();
        let wait = move || {
            let mut since = None;
            while ended.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
                let since: &mut Instant = match fate.failed() {
                    true => since.get_or_insert_with(Instant::now),
                    false => continue,
                };
                if since.elapsed() >= PATIENCE {
                    let why = fate.reason().unwrap_or_else(|| "a part of the run failed".to_owned());
                    eprintln!("error: {why}.\n  Its threads did not end within {} s.", PATIENCE.as_secs());
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

/// A panic as an error, with what it said.
fn panicked(name: &str, panic: &(dyn Any + Send)) -> Error {
    anyhow!("the {name} panicked: {}", dataflows::worker::said(panic))
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
        assert_eq!(fate.take().map(|e| e.to_string()).as_deref(), Some("one"));
        assert_eq!(fate.reason().as_deref(), Some("one"), "it is still told");
    }

    #[test]
    fn why_it_ended_counts_more_than_that_it_did() {
        let fate = Fate::default();
        fate.ended("publisher");
        assert_eq!(fate.reason().as_deref(), Some("the publisher ended before the run did"));
        fate.ended("worker");
        fate.fail(anyhow!("the committer panicked"));
        fate.fail(anyhow!("later"));
        fate.ended("worker");
        assert_eq!(fate.take().map(|e| e.to_string()).as_deref(), Some("the committer panicked"));
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
        let (fate, runtime) = (Fate::default(), crate::run::runtime()?);
        fate.task(&runtime, "server", async { panic!("gone") });
        while !fate.failed() {
            std::thread::yield_now();
        }
        assert_eq!(fate.reason().as_deref(), Some("the server panicked: gone"));
        Ok(())
    }
}
