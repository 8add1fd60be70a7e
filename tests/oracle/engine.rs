//! The engine under test control: [`dataflows::runtime::engine`], with failures as panics and, for one test,
//! without the cut.
//!
//! Records are fed and epochs closed by the caller; an epoch is committed with up to `in_flight`
//! epochs closed and not committed. Dropping an [`Engine`] is a crash: what is not committed is gone.

use std::io::ErrorKind;
use std::ops::Deref;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use dataflows::error::RunError;
use dataflows::plan::{Plan, Source};
use dataflows::render::aggregates::cache::CacheRoom;
use dataflows::runtime::engine::{self, Committed, Opening};
use dataflows::source::decoder;
use dataflows::sql::{SqlFile, compile};
use schemas::{Outcome, Records};

/// Held while workers build their dataflow, so that one test can build without the cut.
static BUILDING: Mutex<()> = Mutex::new(());

/// Compiles a topology; a mistake in it is the test's.
pub fn plan(text: &str) -> Arc<Plan> {
    Arc::new(compiled(text).unwrap_or_else(|mistakes| panic!("{mistakes}")))
}

/// A topology's plan, or its mistakes, one a line.
pub fn compiled(text: &str) -> Result<Plan, String> {
    let files = [SqlFile { name: "oracle.sql".into(), text: text.into() }];
    let compiled = compile(&files, &|_| None, &|_| Err(ErrorKind::NotFound.into()), &|_| Ok(None));
    compiled.map_err(|mistakes| mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}

/// How to run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Workers.
    pub workers: usize,
    /// Epochs closed and not committed, at most; at least one.
    pub in_flight: usize,
    /// False only for the negative control.
    pub cut: bool,
}

/// A record that became a dead letter: source, partition, offset, outcome.
pub type DeadLetterId = (usize, i32, i64, Outcome);

/// A running topology. What it knows, [`engine::Engine`] tells.
pub struct Engine {
    inner: Option<engine::Engine>,
    in_flight: usize,
}

impl Deref for Engine {
    type Target = engine::Engine;

    fn deref(&self) -> &engine::Engine {
        self.inner.as_ref().expect("an engine that runs")
    }
}

impl Engine {
    /// Opens the state in `dir`, or makes it, and brings the workers to its committed epoch.
    /// `partitions` are those of each source at the start.
    pub fn open(plan: &Arc<Plan>, dir: &Path, partitions: &[i32], options: Options) -> Engine {
        Engine::open_with(plan, dir, partitions, options, engine::Engine::open)
    }

    /// Opens the state as [`Engine::open`] does, and fills additions of an edited topology in pieces of so many rows, one
    /// with each epoch that is closed.
    pub fn open_filling(
        plan: &Arc<Plan>,
        dir: &Path,
        partitions: &[i32],
        (options, piece_rows): (Options, u64),
    ) -> Engine {
        let open = |opening: Opening<'_>| engine::Engine::open_filling(opening, piece_rows);
        Engine::open_with(plan, dir, partitions, options, open)
    }

    fn open_with(
        plan: &Arc<Plan>,
        dir: &Path,
        partitions: &[i32],
        options: Options,
        open: impl FnOnce(Opening<'_>) -> Result<engine::Engine, RunError>,
    ) -> Engine {
        let _one = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
        if !options.cut {
            fail::cfg("render.keep_restored", "return").expect("a failpoint");
        }
        let opening = Opening {
            plan,
            dir,
            partitions: partitions.iter().map(|n| (0..*n).collect()).collect(),
            workers: options.workers,
            // Two workers have no room: they read each group from the state in the epoch that changes it.
            totals_bytes: if options.workers == 2 { 1 } else { CacheRoom::DEFAULT_BYTES },
            decoder: Arc::new(|source: &Source| decoder::of(source, &Arc::default())),
        };
        let opened = open(opening);
        fail::remove("render.keep_restored");
        Engine { inner: Some(opened.unwrap()), in_flight: options.in_flight }
    }

    fn inner(&mut self) -> &mut engine::Engine {
        self.inner.as_mut().expect("an engine that runs")
    }

    /// Takes the epochs in which the start filled additions of an edited topology.
    pub fn filled(&mut self) -> Vec<Committed> {
        self.inner().take_filled()
    }

    /// Enters records into the open epoch.
    pub fn feed(&mut self, source: usize, records: Records) {
        self.inner().feed(source, records).unwrap();
    }

    /// A partition appears; it starts at the source's committed watermark.
    pub fn join(&mut self, source: usize, partition: i32) {
        self.inner().join(source, partition).unwrap();
    }

    /// Closes the open epoch and commits what must be committed before the next is fed.
    /// `check` sees the state after each commit.
    pub fn close(&mut self, check: impl FnMut(&Engine, Committed)) {
        self.inner().close().unwrap();
        self.commit_until(self.in_flight - 1, check);
    }

    /// Commits all closed epochs.
    pub fn finish(&mut self, check: impl FnMut(&Engine, Committed)) {
        self.commit_until(0, check);
    }

    fn commit_until(&mut self, left: usize, mut check: impl FnMut(&Engine, Committed)) {
        while let Some(committed) = self.inner().commit(left).unwrap() {
            check(self, committed);
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let Some(inner) = self.inner.take() else { return };
        if !std::thread::panicking() {
            inner.stop().unwrap();
        }
    }
}
