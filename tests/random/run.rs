//! A history run through the engine in one way: what each view holds at each committed epoch.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use dataflows::plan::Plan;
use dataflows::runtime::engine::Committed;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use schemas::Records;

use crate::case::Case;
use crate::engine::{Engine, Options};
use crate::model::{Record, Spec};
use crate::rows::{Row, errors, of_view, sort};

/// Where epochs end, on which workers, and when it is stopped and restored.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    /// The most records of an epoch; random below it when `random`.
    pub records: usize,
    /// Epochs of random size.
    pub random: bool,
    /// Workers, taken in turn at each restart.
    pub workers: &'static [usize],
    /// Epochs in flight.
    pub in_flight: usize,
    /// Epochs between restarts.
    pub restart: Option<usize>,
}

/// The way whose epochs are judged.
pub const JUDGED: usize = 1;
/// Every case runs in the first three of these, every third in all.
pub const WAYS: [Way; 4] = [
    Way { records: 1, random: false, workers: &[1], in_flight: 1, restart: None },
    Way { records: 20, random: true, workers: &[2, 3, 1], in_flight: 1, restart: Some(1) },
    Way { records: usize::MAX, random: false, workers: &[3], in_flight: 1, restart: None },
    Way { records: 4, random: true, workers: &[3, 2], in_flight: 2, restart: Some(5) },
];

/// Sorted rows of each view that can be read, by how many records were read.
pub type Contents = BTreeMap<usize, Vec<Vec<Row>>>;

impl Way {
    /// Records read at the end of each epoch.
    pub fn ends(&self, seed: u64, records: usize) -> Vec<usize> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed ^ self.records as u64);
        let (mut ends, mut at) = (vec![], 0);
        while at < records {
            let n = if self.random { rng.random_range(1..=self.records) } else { self.records };
            at = at.saturating_add(n).min(records);
            ends.push(at);
        }
        ends
    }
}

/// Runs a case in `dir`. Panics when the engine fails, and when an expression fails on a row.
pub fn run(case: &Case, plan: &Arc<Plan>, way: &Way, dir: &Path) -> Contents {
    let mut contents = Contents::new();
    let history = (case.specs.as_slice(), case.records.as_slice());
    let ends = way.ends(case.seed, case.records.len());
    each(history, (plan, dir), way, &ends, |engine, done| {
        let failed = errors(engine);
        assert!(failed.is_empty(), "expressions failed: {failed:?}");
        contents.insert(ends[done.epoch as usize - 1], views(engine, plan));
    });
    contents
}

/// The sorted rows of each view that can be read.
pub fn views(engine: &Engine, plan: &Plan) -> Vec<Vec<Row>> {
    let views = plan.views.iter().enumerate().map(|(at, view)| {
        let mut rows = of_view(engine, &plan.rels[view.rel].schema, at);
        sort(&mut rows);
        rows
    });
    views.collect()
}

/// Runs a history in epochs that end as told, and shows each committed epoch.
pub fn each(
    (specs, records): (&[Spec], &[Record]),
    (plan, dir): (&Arc<Plan>, &Path),
    way: &Way,
    ends: &[usize],
    mut look: impl FnMut(&Engine, Committed),
) {
    let partitions: Vec<i32> = specs.iter().map(|s| s.partitions).collect();
    let mut turn = way.workers.iter().cycle();
    let mut options =
        || Options { workers: *turn.next().expect("workers"), in_flight: way.in_flight, cut: true };
    let mut engine = Engine::open(plan, dir, &partitions, options());
    let mut since = 0;
    while engine.open_epoch() as usize <= ends.len() {
        if way.restart.is_some_and(|every| since >= every) {
            since = 0;
            drop(engine);
            engine = Engine::open(plan, dir, &partitions, options());
        }
        let at = engine.open_epoch() as usize - 1;
        feed(&records[if at == 0 { 0 } else { ends[at - 1] }..ends[at]], &mut engine);
        engine.close(&mut look);
        since += 1;
    }
    engine.finish(&mut look);
}

fn feed(records: &[Record], engine: &mut Engine) {
    let mut batch: Option<(usize, Records)> = None;
    for record in records {
        let fits =
            batch.as_ref().is_some_and(|(s, b)| *s == record.source && b.partition == record.partition);
        if !fits && let Some((source, full)) = batch.take() {
            engine.feed(source, full);
        }
        let (_, open) = batch.get_or_insert_with(|| (record.source, Records::new(record.partition)));
        open.push(record.offset, record.timestamp_ms, record.key.as_deref(), record.bytes.as_deref());
    }
    if let Some((source, rest)) = batch {
        engine.feed(source, rest);
    }
}
