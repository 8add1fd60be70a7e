//! From a plan to timely operators.
//!
//! | module | what it holds |
//! | --- | --- |
//! | `batch` | what flows: rows with diffs, as columns or packed |
//! | `linear` | filter, project, unnest, the cut of a restart, the error table |
//! | `updates`, `build`, `heap`, `packed`, `seek` | rows on their way into arrangements, arrangements, point reads in them |
//! | `accum`, `float_sum` | accumulators that add, in the diff |
//! | `aggregate`, `reduce`, `finish` | GROUP BY: before, over and after its arrangement |
//! | `join` | inner and left joins |
//! | `export` | views and sinks |
//! | `collect` | what a worker hands to the driver for each epoch |
//!
//! A restart at epoch t0 reads the arrangements the state lists, enters them at t0, and cuts off what
//! their inputs produce at or before t0; all else is recomputed at t0 from the tables. Output at or
//! before t0 is already in the view tables and in the outbox, and is dropped.

pub mod accum;
pub mod aggregate;
pub mod batch;
mod build;
pub mod collect;
pub mod export;
pub mod finish;
pub mod float_sum;
mod heap;
pub mod join;
pub mod linear;
pub mod packed;
pub mod reduce;
pub mod seek;
pub mod updates;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::datatypes::Schema;
use schemas::RowCodec;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::operators::probe::Probe;
use timely::dataflow::operators::{Concat, Concatenate, Input};
use timely::dataflow::{InputHandle, ProbeHandle, Scope, Stream};

use crate::error::RunError;
use crate::plan::{JoinKind, Op, Plan, RelId, Scalar};
use crate::spaces::{Part, Spaces};
use accum::Accums;
use aggregate::Grouping;
use batch::{Data, DeltaBatch, Shape};
use collect::{Shared, stored_key};
use export::Export;
use join::Side;
use linear::{Deltas, Errors};
use packed::{Diff, PackedArranged};
use reduce::Reduce;
use updates::{Outgoing, Updates};

/// False only in the negative control of the tests, which shows that restarts are wrong without the cut.
#[doc(hidden)]
pub static KEEP_CUT: AtomicBool = AtomicBool::new(true);

/// Where rendering starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// The committed epoch; 0 for a new state.
    pub epoch: u64,
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
            restores: vec![],
        })
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
            Op::Aggregate { input, keys, aggregates } => {
                let grouping = Grouping::new(&plan.rels[*input].schema, keys, aggregates)?;
                self.group(id, *input, grouping)
            }
            Op::Join { .. } => self.join(id),
        }
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
        let mut updates = aggregate::pre_aggregate(
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
        let arranged = packed::arrange(updates, &self.named(id, "groups"), self.collector.clone());
        Ok(self.reduce(arranged, grouping, self.shapes[id].clone(), (id, space, errors)))
    }

    fn reduce(
        &self,
        arranged: PackedArranged<'s, Accums>,
        grouping: Grouping,
        output: Shape,
        (id, space, errors): (RelId, Option<u32>, Errors),
    ) -> Deltas<'s> {
        let reduce = Reduce {
            grouping,
            output,
            space,
            first: self.start.first(),
            name: self.named(id, "groups"),
            collector: self.collector.clone(),
            errors,
        };
        reduce::reduce(arranged, reduce)
    }

    /// One side of a join: keyed rows, with what was restored, arranged.
    fn side(
        &mut self,
        id: RelId,
        input: RelId,
        keys: &[Scalar],
        (part, keep_null_keys): (Part, bool),
    ) -> Result<Stream<'s, u64, Vec<Updates<i64>>>, RunError> {
        let durable = self.plan.rels[id].durable;
        let schema = self.plan.rels[input].schema.clone();
        let key_codec = codec_of(&schema, keys)?;
        let side = Side {
            shape: self.shapes[input].clone(),
            keys: keys.to_vec(),
            key_codec: key_codec.clone(),
            keep_null_keys,
        };
        let stream = self.input(durable, self.streams[input].clone());
        let updates = join::keyed(stream, side, self.errors(id)?, self.collector.clone());
        if !durable {
            return Ok(updates);
        }
        let space = self.spaces.part(id, part)?;
        let tee = self.tee(updates, space);
        if !self.start.restored() {
            return Ok(tee);
        }
        let (handle, restored) = self.scope.new_input();
        self.restores.push(Restore::Rows { space, key: key_codec, handle });
        Ok(tee.concat(restored))
    }

    /// Counts every update of a bag in its space.
    fn tee(
        &self,
        updates: Stream<'s, u64, Vec<Updates<i64>>>,
        space: u32,
    ) -> Stream<'s, u64, Vec<Updates<i64>>> {
        let collector = self.collector.clone();
        updates.unary::<CapacityContainerBuilder<_>, _, _, _>(Pipeline, "Tee", move |_, _| {
            move |input, output| {
                input.for_each(|time, updates: &mut Vec<Updates<i64>>| {
                    let mut collector = collector.borrow_mut();
                    let out = collector.at(*time.time());
                    for (key, row, diff) in updates.iter().flat_map(Updates::iter) {
                        let mut stored = stored_key(key);
                        stored.extend_from_slice(row);
                        out.count(space, &stored, *diff);
                    }
                    output.session(&time).give_container(updates);
                });
            }
        })
    }

    fn join(&mut self, id: RelId) -> Result<Deltas<'s>, RunError> {
        let Op::Join { left, right, kind, left_keys, right_keys, residual } = &self.plan.rels[id].op else {
            return Err(RunError::Broken("not a join".into()));
        };
        let (left, right) = (*left, *right);
        let outer = *kind == JoinKind::Left;
        let left_updates = self.side(id, left, left_keys, (Part::Left, outer))?;
        let right_updates = self.side(id, right, right_keys, (Part::Right, false))?;
        let arranged = packed::arrange(left_updates.clone(), &self.named(id, "left"), self.collector.clone());
        let right_arranged =
            packed::arrange(right_updates.clone(), &self.named(id, "right"), self.collector.clone());
        let name = self.named(id, "join");
        let collector = self.collector.clone();
        let mut matches = join::matches(arranged.clone(), right_arranged, &name, collector.clone());
        if let Some(residual) = residual {
            let errors = self.errors(id)?;
            matches = linear::filter(matches, self.shapes[id].clone(), residual.clone(), errors);
        }
        if !outer {
            return Ok(matches);
        }
        let (left_shape, columns) = (self.shapes[left].clone(), self.shapes[right].schema.fields().len());
        let removed = if residual.is_some() {
            let rows = join::left_part(
                matches.clone(),
                self.shapes[id].clone(),
                left_shape.codec.columns(),
                collector.clone(),
            );
            let rows = join::whole_rows(rows, left_shape.clone(), collector.clone());
            let schema = self.plan.rels[left].schema.clone();
            let present = self.distinct(id, rows, &schema)?;
            let by_row = self.rekeyed(left_updates.clone(), |out, _, row, diff| {
                out.key(row);
                out.value(row, diff);
            });
            join::removed(
                packed::arrange(by_row, &self.named(id, "rows"), collector.clone()),
                present,
                &name,
                collector.clone(),
            )
        } else {
            let schema = self.plan.rels[right].schema.clone();
            let fields: Vec<_> = right_keys
                .iter()
                .enumerate()
                .map(|(i, k)| {
                    k.data_type(&schema).map(|t| arrow::datatypes::Field::new(format!("k{i}"), t, true))
                })
                .collect::<Result<_, _>>()
                .map_err(|e| RunError::Broken(e.to_string()))?;
            let keys = self.rekeyed(right_updates, |out, key, _, diff| {
                out.key(key);
                out.value(&[], Accums::count(diff));
            });
            let present = self.distinct(id, keys, &Schema::new(fields))?;
            join::removed(arranged, present, &name, collector.clone())
        };
        let all = self.input(false, self.left_rows(left_updates));
        let unmatched = all.concat(removed);
        let extended = join::null_extend(unmatched, left_shape, columns, collector);
        Ok(matches.concat(extended))
    }

    /// Updates by another key, for another arrangement.
    fn rekeyed<R: Diff>(
        &self,
        updates: Stream<'s, u64, Vec<Updates<i64>>>,
        each: impl Fn(&mut Outgoing<R>, &[u8], &[u8], i64) + 'static,
    ) -> Stream<'s, u64, Vec<Updates<R>>> {
        let peers = self.scope.peers();
        updates.unary::<CapacityContainerBuilder<_>, _, _, _>(Pipeline, "Rekey", move |_, _| {
            move |input, output| {
                input.for_each(|time, updates: &mut Vec<Updates<i64>>| {
                    let mut session = output.session(&time);
                    for updates in updates.drain(..) {
                        let mut outgoing = Outgoing::new(updates.epoch, peers);
                        updates.iter().for_each(|(key, row, diff)| each(&mut outgoing, key, row, *diff));
                        outgoing.finish().for_each(|updates| session.give(updates));
                    }
                });
            }
        })
    }

    /// The rows of keyed updates.
    fn left_rows(&self, updates: Stream<'s, u64, Vec<Updates<i64>>>) -> Deltas<'s> {
        updates.unary::<CapacityContainerBuilder<_>, _, _, _>(Pipeline, "LeftRows", |_, _| {
            |input, output| {
                input.for_each(|time, updates: &mut Vec<Updates<i64>>| {
                    let mut session = output.session(&time);
                    for updates in updates.drain(..) {
                        let (mut rows, mut diffs) = (schemas::Rows::new(), Vec::new());
                        for (_, row, diff) in updates.iter() {
                            rows.push(row);
                            diffs.push(*diff);
                        }
                        session.give(DeltaBatch { data: Data::Packed(rows), diffs });
                    }
                });
            }
        })
    }

    /// The keys that occur, arranged by themselves.
    fn distinct(
        &self,
        id: RelId,
        updates: Stream<'s, u64, Vec<Updates<Accums>>>,
        schema: &Schema,
    ) -> Result<PackedArranged<'s, i64>, RunError> {
        let columns: Vec<Scalar> =
            schema.fields().iter().enumerate().map(|(i, f)| Scalar::column(f.name(), i)).collect();
        let grouping = Grouping::new(schema, &columns, &[])?;
        let shape = Shape::new(schema)?;
        let arranged = packed::arrange(updates, &self.named(id, "keys"), self.collector.clone());
        let present = self.reduce(arranged, grouping.clone(), shape.clone(), (id, None, self.errors(id)?));
        let side = Side { shape, keys: columns, key_codec: grouping.key_codec, keep_null_keys: true };
        let keyed = join::keyed(present, side, self.errors(id)?, self.collector.clone());
        Ok(packed::arrange(keyed, &self.named(id, "present"), self.collector.clone()))
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
            let keyed = sink.format != crate::sql::ast::Format::Plain;
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
                after: self.start.epoch,
                name: self.plan.rels[rel].owner.clone(),
                collector: self.collector.clone(),
            };
            let _ = export::export(self.streams[rel].clone(), export).probe_with(&self.probe);
        }
        Ok(())
    }
}

fn codec_of(schema: &Schema, keys: &[Scalar]) -> Result<RowCodec, RunError> {
    let types = keys
        .iter()
        .map(|k| k.data_type(schema))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| RunError::Broken(e.to_string()))?;
    Ok(RowCodec::new(&types)?)
}
