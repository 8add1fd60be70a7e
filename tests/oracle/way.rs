//! One history, run one way: cut into epochs, on some workers, stopped and restored in between, and
//! compared with the model and DuckDB at every committed epoch.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use dataflows::plan::Plan;
use dataflows::runtime::engine::{Committed, Folded};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use schemas::{Outcome, Records};

use crate::duck::{Duck, Tables};
use crate::engine::{DeadLetterId, Engine, Options};
use crate::model::{Model, Record, Spec};
use crate::rows::{Row, difference, errors, of_sink, of_view, sort};

/// A topology with its model, its history and what DuckDB is asked.
pub struct Case {
    /// The plan.
    pub plan: Arc<Plan>,
    /// Its sources.
    pub specs: Vec<Spec>,
    /// Records in order of arrival.
    pub records: Vec<Record>,
    /// Partitions that appear later: before which record, source, partition.
    pub joins: Vec<(usize, usize, i32)>,
    /// How many rows the error table must hold, given the accepted rows.
    pub failing: fn(&Tables) -> usize,
}

/// Where epochs end.
#[derive(Clone, Copy, Debug)]
pub enum Cut {
    /// After so many records.
    Every(usize),
    /// After a random number of records, at most so many.
    Random(u64, usize),
    /// At the end.
    Once,
}

/// How to run a history.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    /// Where epochs end.
    pub cut: Cut,
    /// Workers, taken in turn at each restart.
    pub workers: &'static [usize],
    /// Epochs in flight.
    pub in_flight: usize,
    /// Epochs between restarts, more than are in flight: what is in flight then is lost and fed again.
    pub restart: Option<usize>,
    /// False only for the negative control.
    pub keep_cut: bool,
}

impl Way {
    /// Without restarts, committing each epoch before the next.
    pub const fn plain(cut: Cut, workers: &'static [usize]) -> Way {
        Way { cut, workers, in_flight: 1, restart: None, keep_cut: true }
    }

    fn epochs(&self, records: usize) -> Vec<std::ops::Range<usize>> {
        let mut rng = ChaCha8Rng::seed_from_u64(if let Cut::Random(seed, _) = self.cut { seed } else { 0 });
        let (mut out, mut at) = (vec![], 0);
        while at < records {
            let n = match self.cut {
                Cut::Every(n) => n,
                Cut::Random(_, most) => rng.random_range(1..=most),
                Cut::Once => records,
            };
            out.push(at..(at + n).min(records));
            at += n;
        }
        out
    }
}

/// What the model says of the end of an epoch.
struct Expected {
    tables: Tables,
    outcomes: Vec<schemas::OutcomeCounts>,
    watermarks: Vec<Option<i64>>,
    dead_letters: Vec<DeadLetterId>,
}

/// What was compared.
#[derive(Clone, Copy, Debug, Default)]
pub struct Compared {
    /// Epochs.
    pub epochs: usize,
    /// Views and sinks at an epoch.
    pub contents: usize,
    /// Their rows.
    pub rows: usize,
    /// Restarts.
    pub restarts: usize,
}

impl Compared {
    /// Both together.
    pub fn and(self, other: Compared) -> Compared {
        Compared {
            epochs: self.epochs + other.epochs,
            contents: self.contents + other.contents,
            rows: self.rows + other.rows,
            restarts: self.restarts + other.restarts,
        }
    }
}

impl Case {
    /// Runs the history in `dir` and compares at every epoch; the model is as it stands at the end.
    pub fn run(&self, way: &Way, dir: &Path, duck: &mut Duck) -> (Compared, Model) {
        assert!(way.restart.is_none_or(|every| every >= way.in_flight), "a way that never commits");
        let epochs = way.epochs(self.records.len());
        let (expected, model) = self.expect(&epochs);
        let partitions: Vec<i32> = self.specs.iter().map(|s| s.partitions).collect();
        let mut turn = way.workers.iter().cycle();
        let (in_flight, cut) = (way.in_flight, way.keep_cut);
        let mut options = || Options { workers: *turn.next().unwrap(), in_flight, cut };
        let mut compared = Compared::default();
        let mut folded = Folded::default();
        let mut check = |engine: &Engine, done: Committed| {
            for sinks in &done.sinks {
                folded.apply(&self.plan, sinks).unwrap_or_else(|error| panic!("{error}"));
            }
            let place = format!("{way:?}, epoch {} of {}", done.epoch, epochs.len());
            let wanted = &expected[done.epoch as usize - 1];
            compared = compared.and(self.compare((engine, &done), wanted, (&folded, duck), &place));
        };
        let mut engine = Engine::open(&self.plan, dir, &partitions, options());
        let (mut since, restarts) = (0, Cell::new(0));
        while (engine.open_epoch() as usize) <= epochs.len() {
            if way.restart.is_some_and(|every| since >= every) {
                since = 0;
                restarts.set(restarts.get() + 1);
                drop(engine);
                engine = Engine::open(&self.plan, dir, &partitions, options());
                assert_eq!(engine.open_epoch(), engine.committed() + 1);
            }
            let range = &epochs[engine.open_epoch() as usize - 1];
            self.feed(&mut engine, range.clone());
            engine.close(&mut check);
            since += 1;
        }
        engine.finish(&mut check);
        assert_eq!(engine.committed() as usize, epochs.len());
        (Compared { restarts: restarts.get(), ..compared }, model)
    }

    /// The accepted rows at the ends of the epochs of `way`.
    pub fn states(&self, way: &Way) -> Vec<Tables> {
        self.expect(&way.epochs(self.records.len())).0.into_iter().map(|expected| expected.tables).collect()
    }

    /// What the model says, epoch by epoch.
    fn expect(&self, epochs: &[std::ops::Range<usize>]) -> (Vec<Expected>, Model) {
        let mut model = Model::new(&self.specs);
        let expected = epochs
            .iter()
            .map(|range| {
                self.joining(range).for_each(|(_, source, partition)| model.join(*source, *partition));
                let records = &self.records[range.clone()];
                let outcomes = model.epoch(records);
                let lost = |outcome: &Outcome| {
                    matches!(outcome, Outcome::Decode | Outcome::Constraint | Outcome::Late)
                };
                let dead_letters = records.iter().zip(outcomes).filter(|(_, outcome)| lost(outcome));
                let mut dead_letters: Vec<DeadLetterId> =
                    dead_letters.map(|(r, outcome)| (r.source, r.partition, r.offset, outcome)).collect();
                dead_letters.sort_unstable();
                Expected {
                    tables: model.tables_and_marks(),
                    outcomes: (0..self.specs.len()).map(|s| model.outcomes(s)).collect(),
                    watermarks: (0..self.specs.len()).map(|s| model.watermark(s)).collect(),
                    dead_letters,
                }
            })
            .collect();
        (expected, model)
    }

    fn joining(&self, range: &std::ops::Range<usize>) -> impl Iterator<Item = &(usize, usize, i32)> {
        self.joins.iter().filter(|(at, ..)| range.contains(at))
    }

    /// Feeds records in order of arrival, in batches of one partition.
    fn feed(&self, engine: &mut Engine, range: std::ops::Range<usize>) {
        self.joining(&range).for_each(|(_, source, partition)| engine.join(*source, *partition));
        let mut batch: Option<(usize, Records)> = None;
        for record in &self.records[range] {
            let fits = batch
                .as_ref()
                .is_some_and(|(source, b)| *source == record.source && b.partition == record.partition);
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

    fn compare(
        &self,
        (engine, done): (&Engine, &Committed),
        wanted: &Expected,
        (folded, duck): (&Folded, &mut Duck),
        place: &str,
    ) -> Compared {
        let mut dead_letters: Vec<DeadLetterId> =
            done.dead_letters.iter().map(|l| (l.source, l.partition, l.offset, l.outcome)).collect();
        dead_letters.sort_unstable();
        assert_eq!(dead_letters, wanted.dead_letters, "dead letters; {place}");
        for (at, spec) in self.specs.iter().enumerate() {
            let held = &engine.progress().sources[spec.name];
            assert_eq!(held.outcomes, wanted.outcomes[at], "outcomes of {}; {place}", spec.name);
            assert_eq!(
                held.read,
                held.outcomes.iter().sum::<u64>(),
                "conservation of {}; {place}",
                spec.name
            );
            assert_eq!(held.watermark_us, wanted.watermarks[at], "watermark of {}; {place}", spec.name);
        }
        if self.plan.views.iter().any(|view| !view.indexes.is_empty()) {
            let wrong = engine.store().snapshot().unwrap().verify().unwrap();
            assert_eq!(wrong, Vec::<String>::new(), "the state with its indexes; {place}");
        }
        let failed = errors(engine).len();
        assert_eq!(failed, (self.failing)(&wanted.tables), "rows that expressions failed on; {place}");
        let answer = duck.answer(&wanted.tables);
        let mut compared = Compared { epochs: 1, ..Compared::default() };
        let mut views: BTreeMap<usize, Vec<Row>> = BTreeMap::new();
        for (at, view) in self.plan.views.iter().enumerate() {
            let mut rows = of_view(engine, &self.plan.rels[view.rel].schema, at);
            sort(&mut rows);
            if let Some(difference) = difference(&rows, &answer[&view.name]) {
                panic!("view {}; {place}\n{difference}", view.name);
            }
            compared.contents += 1;
            compared.rows += rows.len();
            views.insert(view.rel, rows);
        }
        for (at, sink) in self.plan.sinks.iter().enumerate() {
            let view = views.get(&sink.rel).expect("the oracle's sinks show its views");
            if let Some(difference) = difference(&of_sink(folded, &self.plan, at), view) {
                panic!("sink {}; {place}\n{difference}", sink.name);
            }
            compared.contents += 1;
        }
        compared
    }
}
