//! The ways to run a script: by division into epochs, number of workers, and with or without stops.
//!
//! Results must not depend on the way. The first way is the reference: its pictures are compared with the
//! expectations, those of the other ways with its own.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use dataflows::plan::Source;
use dataflows::render::aggregates::cache::CacheRoom;
use dataflows::runtime::engine::{Engine, Opening};
use dataflows::source::decoder;
use schemas::Records;

use super::case::{Case, Step};
use super::picture::{Picture, Seen};

/// The division of a script's records into epochs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    Step,
    Row,
    Never,
}

/// A way to run a script.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    cut: Cut,
    /// Numbers of workers. Several numbers are used in turn, with a stop and restore after each step.
    workers: &'static [usize],
}

const fn new_way(cut: Cut, workers: &'static [usize]) -> Way {
    Way { cut, workers }
}

/// All ways, the reference first.
pub const WAYS: [Way; 12] = [
    new_way(Cut::Step, &[1]),
    new_way(Cut::Step, &[2]),
    new_way(Cut::Step, &[3]),
    new_way(Cut::Row, &[1]),
    new_way(Cut::Row, &[2]),
    new_way(Cut::Row, &[3]),
    new_way(Cut::Never, &[1]),
    new_way(Cut::Never, &[2]),
    new_way(Cut::Never, &[3]),
    new_way(Cut::Step, &[1, 2, 3]),
    new_way(Cut::Step, &[2, 3, 1]),
    new_way(Cut::Step, &[3, 1, 2]),
];

impl std::fmt::Display for Way {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.cut {
            Cut::Step => "one epoch a step",
            Cut::Row => "one row an epoch",
            Cut::Never => "one epoch for all",
        })?;
        match self.workers {
            [1] => write!(f, ", 1 worker"),
            [n] => write!(f, ", {n} workers"),
            many => {
                let many: Vec<String> = many.iter().map(ToString::to_string).collect();
                write!(f, ", a stop and restore between steps, {} workers in turn", many.join(", "))
            }
        }
    }
}

impl Way {
    /// Returns true if it has no picture at the end of some steps.
    pub fn skips_steps(&self) -> bool {
        self.cut == Cut::Never
    }

    /// Runs a case. Returns a picture for the end of each step, or None for steps that this way skips.
    ///
    /// # Errors
    /// When the engine fails, with the line of the step.
    pub fn run(&self, case: &Case) -> Result<Vec<Option<Picture>>> {
        let scratch = tempfile::Builder::new()
            .prefix("herald-test-")
            .tempdir()
            .context("cannot create a temporary directory for the state")?;
        let dir = scratch.path().join("state");
        let mut turn = self.workers.iter().cycle();
        let mut open = || open_engine(case, &dir, turn.next().copied().unwrap_or(1));
        let mut run = Run { case, seen: Seen::default(), engine: open()? };
        if case.plan.has_initial_rows() {
            // Rows that exist before the first record, which `herald run` also commits in an epoch of their
            // own.
            run.commit_epoch()?;
        }
        let last = case.steps.len().saturating_sub(1);
        let mut pictures = Vec::new();
        for (at, step) in case.steps.iter().enumerate() {
            let place = || format!("the step that ends at line {} failed", step.line);
            let ends = self.cut != Cut::Never || at == last;
            run.run_step(step, self.cut, ends).with_context(place)?;
            if !ends {
                pictures.push(None);
                continue;
            }
            pictures.push(Some(run.seen.take_picture(&case.plan, &run.engine).with_context(place)?));
            if at < last && (step.restart || self.workers.len() > 1) {
                let Run { seen, engine, .. } = run;
                engine.stop().with_context(place)?;
                run = Run { case, seen, engine: open().with_context(place)? };
            }
        }
        run.engine.stop()?;
        Ok(pictures)
    }
}

/// Opens the engine on a case's state directory.
fn open_engine(case: &Case, dir: &Path, workers: usize) -> Result<Engine> {
    let opening = Opening {
        plan: &case.plan,
        dir,
        partitions: case.partitions.clone(),
        workers,
        totals_bytes: CacheRoom::DEFAULT_BYTES,
        decoder: Arc::new(|source: &Source| decoder::of(source, &Arc::default())),
    };
    Ok(Engine::open(opening)?)
}

/// A case that is being run.
struct Run<'a> {
    case: &'a Case,
    seen: Seen,
    engine: Engine,
}

impl Run<'_> {
    /// Feeds the records of a step, and commits its epochs.
    fn run_step(&mut self, step: &Step, cut: Cut, ends: bool) -> Result<()> {
        let mut batch: Option<(usize, Records)> = None;
        for (source, offset, record) in &step.records {
            let fits = batch.as_ref().is_some_and(|(s, b)| s == source && b.partition == record.partition);
            if !fits && let Some((source, full)) = batch.take() {
                self.engine.feed(source, full)?;
            }
            let (_, records) = batch.get_or_insert_with(|| (*source, Records::new(record.partition)));
            let (key, value) = (record.key.as_deref(), record.value.as_deref());
            records.push(*offset, record.timestamp_ms, key.map(str::as_bytes), value.map(str::as_bytes));
            for (name, value) in &record.headers {
                records.headers.push(records.offsets.len() - 1, name, Some(value.as_bytes()));
            }
            if cut == Cut::Row
                && let Some((source, full)) = batch.take()
            {
                self.engine.feed(source, full)?;
                self.commit_epoch()?;
            }
        }
        if let Some((source, rest)) = batch {
            self.engine.feed(source, rest)?;
        }
        // Without new records there is no epoch: the step sees the content that the last one left.
        if ends && self.engine.fed() { self.commit_epoch() } else { Ok(()) }
    }

    /// Closes the epoch, commits it, and accumulates its output.
    fn commit_epoch(&mut self) -> Result<()> {
        self.engine.close()?;
        while let Some(done) = self.engine.commit(0)? {
            for sinks in &done.sinks {
                self.seen.folded.apply(&self.case.plan, sinks)?;
            }
            self.seen.dead_letters.extend(done.dead_letters);
        }
        Ok(())
    }
}
