//! From a plan to timely operators.
//!
//! | module | what it holds |
//! | --- | --- |
//! | `batch` | what flows: rows with diffs, as columns or packed |
//! | `linear` | filter, project, unnest, the cut of a restart, the error table |
//! | `updates`, `build`, `heap`, `packed`, `seek` | rows on their way into arrangements, arrangements, point reads in them |
//! | `accum`, `float_sum`, `product_sum` | accumulators that add, in the diff |
//! | `aggregate`, `reduce`, `finish`, `moments` | GROUP BY: before, over and after its arrangement |
//! | `fold`, `folded` | GROUP BY with aggregates that need the rows of their group |
//! | `window`, `ranks`, `exact`, `slide` | functions over ordered partitions, top-N |
//! | `changes` | what aggregates share: the epochs at which an arrangement changed |
//! | `lookup`, `looked` | joins as of a time; what their rows found when they came |
//! | `join`, `joins`, `band` | pairs of rows; what each kind of join is made of; rows by key and time |
//! | `recursive` | WITH RECURSIVE, round by round |
//! | `watermark`, `close`, `within`, `expire` | watermarks as data; what waits for them, and what ends with them |
//! | `export` | views and sinks |
//! | `collect` | what a worker hands to the driver for each epoch |
//!
//! A restart at epoch t0 reads the arrangements the state lists, enters them at t0, and cuts off what
//! their inputs produce at or before t0; all else is recomputed at t0 from the tables. Output at or
//! before t0 is already in the view tables and in the outbox, and is dropped.

pub mod aggregates;
pub mod batch;
mod changes;
pub mod collect;
pub mod event_time;
pub mod export;
pub mod group_rows;
pub mod joins;
pub mod linear;
mod recursive;
pub mod windows;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use schemas::RowCodec;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::operators::probe::Probe;
use timely::dataflow::operators::{Concat, Concatenate, Input};
use timely::dataflow::{InputHandle, ProbeHandle, Scope};

use crate::arrange::trace::PackedArranged;
use crate::arrange::updates::Updates;
use crate::error::RunError;
use crate::plan::state_role::Part;
use crate::plan::window::Window;
use crate::plan::{Op, Plan, RelId, Scalar};
use crate::state_tables::Spaces;
use aggregates::accum::Accums;
use aggregates::input::Grouping;
use aggregates::operator::Reduce;
use batch::Shape;
use collect::Shared;
use event_time::expire::Gone;
use event_time::sessions::Sessions;
use event_time::watermark::Levels;
use export::Export;
use linear::{Deltas, Errors};
use windows::operator::{Over, Place};

/// False only in the negative control of the tests, which shows that restarts are wrong without the cut.
#[doc(hidden)]
pub static KEEP_CUT: AtomicBool = AtomicBool::new(true);

/// Where rendering starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// The committed epoch; 0 for a new state.
    pub epoch: u64,
    /// Whether what the restored state gives views and sinks is wanted once more, at the committed epoch.
    pub whole: bool,
    /// Whether sides of joins that follow from tables alone are filled from those, and not from the state.
    pub anew: bool,
}

impl Start {
    /// The first epoch at which the dataflow has content.
    pub fn first(&self) -> u64 {
        self.epoch.max(1)
    }

    /// Whether there is state to start from.
    pub fn restored(&self) -> bool {
        self.epoch > 0
    }
}

/// An arrangement that is filled from the state before anything else happens.
pub enum Restore {
    /// Accumulators: key and value, and their total.
    Totals {
        /// Where they are.
        space: u32,
        /// Packed form of the key.
        key: RowCodec,
        /// Into the dataflow.
        handle: InputHandle<u64, CapacityContainerBuilder<Vec<Updates<Accums>>>>,
    },
    /// Rows by key, and their multiplicity.
    Rows {
        /// Where they are.
        space: u32,
        /// Packed form of the key.
        key: RowCodec,
        /// Into the dataflow.
        handle: InputHandle<u64, CapacityContainerBuilder<Vec<Updates<i64>>>>,
    },
}

/// Renders one plan into one worker's dataflow.
pub struct Renderer<'s, 'p> {
    scope: Scope<'s, u64>,
    plan: &'p Plan,
    spaces: &'p Spaces,
    start: Start,
    collector: Shared,
    probe: ProbeHandle<u64>,
    shapes: Vec<Shape>,
    streams: Vec<Deltas<'s>>,
    levels: Option<Levels<'s>>,
    restores: Vec<Restore>,
}

impl<'s, 'p> Renderer<'s, 'p> {
    /// A renderer over the streams of the plan's sources.
    ///
    /// # Errors
    /// When a column type has no packed form.
    pub fn new(
        scope: Scope<'s, u64>,
        plan: &'p Plan,
        spaces: &'p Spaces,
        start: Start,
        collector: Shared,
    ) -> Result<Renderer<'s, 'p>, RunError> {
        let shapes = plan.rels.iter().map(|rel| Shape::new(&rel.schema)).collect::<Result<_, _>>()?;
        let probe = ProbeHandle::new();
        Ok(Renderer {
            scope,
            plan,
            spaces,
            start,
            collector,
            probe,
            shapes,
            streams: vec![],
            levels: None,
            restores: vec![],
        })
    }

    /// The stream of the sources' watermarks.
    pub fn with_levels(mut self, levels: Levels<'s>) -> Renderer<'s, 'p> {
        self.levels = Some(levels.probe_with(&self.probe));
        self
    }

    fn levels(&self) -> Result<Levels<'s>, RunError> {
        self.levels.clone().ok_or_else(|| RunError::Broken("no watermarks flow".into()))
    }

    /// Renders every relation, view and sink; gives back the probe and what is to be restored.
    ///
    /// # Errors
    /// When the plan does not hold what it promises.
    pub fn render(mut self, sources: &[Deltas<'s>]) -> Result<(ProbeHandle<u64>, Vec<Restore>), RunError> {
        for id in 0..self.plan.rels.len() {
            let stream = self.rel(id, sources)?;
            self.streams.push(stream.probe_with(&self.probe));
        }
        self.exports()?;
        Ok((self.probe, self.restores))
    }

    /// What an operator or arrangement is called in counters.
    fn named(&self, id: RelId, part: &str) -> String {
        format!("{}/{id}/{part}", self.plan.rels[id].owner)
    }

    fn errors(&self, id: RelId) -> Result<Errors, RunError> {
        Errors::new(self.collector.clone(), self.spaces.errors, &self.plan.rels[id].owner)
    }

    fn rel(&mut self, id: RelId, sources: &[Deltas<'s>]) -> Result<Deltas<'s>, RunError> {
        let plan = self.plan;
        let stream = |streams: &Vec<Deltas<'s>>, input: &RelId| streams[*input].clone();
        match &plan.rels[id].op {
            Op::Source(at) => Ok(sources[*at].clone()),
            Op::Values(rows) => {
                let rows = self.shapes[id].assemble(rows.columns().to_vec(), rows.num_rows())?;
                Ok(linear::constant(&self.scope, rows, self.start.first()))
            }
            Op::Filter { input, predicate } => {
                let errors = self.errors(id)?;
                Ok(linear::filter(
                    stream(&self.streams, input),
                    self.shapes[*input].clone(),
                    predicate.clone(),
                    errors,
                ))
            }
            Op::Project { input, exprs } => {
                let errors = self.errors(id)?;
                let (from, to) = (self.shapes[*input].clone(), self.shapes[id].clone());
                Ok(linear::project(stream(&self.streams, input), from, to, exprs.clone(), errors))
            }
            Op::Unnest { input, column, outer } => {
                let (from, to) = (self.shapes[*input].clone(), self.shapes[id].clone());
                let input = stream(&self.streams, input);
                Ok(linear::unnest(input, from, to, *column, *outer, self.collector.clone()))
            }
            Op::Union { inputs } => {
                let streams: Vec<_> = inputs.iter().map(|i| stream(&self.streams, i)).collect();
                Ok(self.scope.concatenate(streams))
            }
            Op::Distinct { input } => {
                let schema = plan.rels[*input].schema.clone();
                let keys: Vec<Scalar> =
                    schema.fields().iter().enumerate().map(|(i, f)| Scalar::column(f.name(), i)).collect();
                self.group(id, *input, Grouping::new(&schema, &keys, &[])?)
            }
            Op::Close { input, horizon } => self.close(id, *input, horizon),
            Op::Within { .. } => self.within(id),
            Op::Aggregate { input, keys, aggregates } => {
                let grouping = Grouping::new(&plan.rels[*input].schema, keys, aggregates)?;
                self.group(id, *input, grouping)
            }
            Op::Window { input, window } => self.window(id, *input, window),
            Op::Fold { .. } => self.fold(id),
            Op::Join { .. } => self.join(id),
            Op::Lookup { .. } => self.lookup(id),
            Op::Recursive(_) => self.recursive(id),
            Op::Given(_) => Err(RunError::Broken("a round without a recursion".into())),
        }
    }

    /// Whether a part of an operator's state is neither restored nor cut off.
    fn anew(&self, id: RelId, part: Part) -> bool {
        self.start.anew && crate::verify::anew(self.plan, (id, part))
    }

    /// The input of a stateful operator; what a restored arrangement holds already is cut off.
    fn input(&self, durable: bool, stream: Deltas<'s>) -> Deltas<'s> {
        let cut = durable && self.start.restored() && KEEP_CUT.load(Ordering::Relaxed);
        if cut { linear::cut(stream, self.start.epoch) } else { stream }
    }

    fn group(&mut self, id: RelId, input: RelId, grouping: Grouping) -> Result<Deltas<'s>, RunError> {
        let durable = self.plan.rels[id].durable;
        let stream = self.input(durable, self.streams[input].clone());
        let errors = self.errors(id)?;
        let mut updates = aggregates::input::pre_aggregate(
            stream,
            self.shapes[input].clone(),
            grouping.clone(),
            errors.clone(),
            self.collector.clone(),
        );
        let space = if durable { Some(self.spaces.part(id, Part::Groups)?) } else { None };
        if let (Some(space), true) = (space, self.start.restored()) {
            let (handle, restored) = self.scope.new_input();
            updates = updates.concat(restored);
            self.restores.push(Restore::Totals { space, key: grouping.key_codec.clone(), handle });
        }
        let (updates, back) = self.expiring(updates, (id, Part::Groups));
        let (name, shape) = (self.named(id, "groups"), self.shapes[id].clone());
        let arranged = crate::arrange::trace::arrange(updates, &name, self.collector.clone());
        let gone = self.tie(&[&arranged], back, (&name, Part::Groups, grouping.key_codec.clone()))?;
        Ok(self.reduce(arranged, (grouping, gone), shape, (id, space, errors)))
    }

    fn window(&mut self, id: RelId, input: RelId, window: &Window) -> Result<Deltas<'s>, RunError> {
        let durable = self.plan.rels[id].durable;
        let schema = &self.plan.rels[input].schema;
        let types: Result<Vec<_>, _> = window.partition.iter().map(|p| p.data_type(schema)).collect();
        let partition = RowCodec::new(&types.map_err(|e| RunError::Broken(e.to_string()))?)?;
        let (shape, errors) = (self.shapes[input].clone(), self.errors(id)?);
        let place = Place { shape: shape.clone(), partition: partition.clone(), window: window.clone() };
        let stream = self.input(durable, self.streams[input].clone());
        let updates = windows::operator::placed(stream, place, errors.clone(), self.collector.clone());
        let (updates, back) = self.expiring(updates, (id, Part::Partitions));
        let updates = self.kept(updates, (id, durable, Part::Partitions), &partition)?;
        let name = self.named(id, "partitions");
        let arranged = crate::arrange::trace::arrange(updates, &name, self.collector.clone());
        let codec = partition.clone();
        let (over, collector) = (window.clone(), self.collector.clone());
        let over = |gone| Over { input: shape, window: over, partition, gone, name, collector, errors };
        match window.session().filter(|_| self.plan.settled.contains_key(&id)) {
            Some(session) => {
                let of = (self.named(id, "partitions"), self.collector.clone());
                let row = self.shapes[input].codec.clone();
                let sessions = Sessions::new(session, row, self.scope.peers(), of);
                self.tie_sessions(&arranged, back, sessions)?;
                self.frozen(id, windows::operator::window(arranged, over(None))?, self.shapes[id].clone())
            }
            None => {
                let of = (&*self.named(id, "partitions"), Part::Partitions, codec);
                let gone = self.tie(&[&arranged], back, of)?;
                windows::operator::window(arranged, over(gone))
            }
        }
    }

    fn reduce(
        &self,
        arranged: PackedArranged<'s, Accums>,
        (grouping, gone): (Grouping, Option<Gone>),
        output: Shape,
        (id, space, errors): (RelId, Option<u32>, Errors),
    ) -> Deltas<'s> {
        let reduce = Reduce {
            grouping,
            gone,
            output,
            space,
            first: self.start.first(),
            name: self.named(id, "groups"),
            collector: self.collector.clone(),
            errors,
        };
        aggregates::operator::reduce(arranged, reduce)
    }

    /// Views and sinks, one export for each relation and key.
    fn exports(&mut self) -> Result<(), RunError> {
        type Use = (Vec<u32>, Vec<usize>);
        let mut exports: BTreeMap<(RelId, Option<Vec<usize>>, bool), Use> = BTreeMap::new();
        for (at, view) in self.plan.views.iter().enumerate() {
            let unique = view.key.is_some();
            exports.entry((view.rel, view.key.clone(), unique)).or_default().0.push(self.spaces.views[at]);
        }
        for (at, sink) in self.plan.sinks.iter().enumerate() {
            let keyed = sink.format != crate::plan::formats::Format::Plain;
            let key = keyed.then(|| sink.key.clone());
            exports.entry((sink.rel, key, keyed)).or_default().1.push(at);
        }
        for ((rel, key, unique), (views, sinks)) in exports {
            let export = Export {
                shape: self.shapes[rel].clone(),
                key,
                unique,
                views,
                sinks,
                after: self.start.epoch - u64::from(self.start.whole),
                name: self.plan.rels[rel].owner.clone(),
                collector: self.collector.clone(),
            };
            let _ = export::export(self.streams[rel].clone(), export).probe_with(&self.probe);
        }
        Ok(())
    }
}
