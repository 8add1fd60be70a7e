//! Translation of a plan to timely operators.
//!
//! | module | content |
//! | --- | --- |
//! | `batch` | messages between operators: rows with diffs, as columns or packed |
//! | `linear` | filter, project, unnest, the cut of a restart, the error table |
//! | `aggregates` | GROUP BY with aggregates kept in accumulators: before, over and after its arrangement |
//! | `group_rows` | GROUP BY with aggregates that need the rows of their group |
//! | `windows` | functions over ordered partitions, top-N |
//! | `operators` | shapes of operators: work on each message, and input by epoch |
//! | `changes` | operator shared by aggregates and windows: emits output at the epochs of changes |
//! | `joins` | joins by key, by key and time, and temporal joins |
//! | `recursive` | WITH RECURSIVE, round by round |
//! | `event_time` | watermarks as data, operators that wait for them, and expiry of state |
//! | `export` | views and sinks |
//! | `past` | rows of the committed epoch for the additions of an edited topology, and gates for them |
//! | `collect` | output of a worker for each epoch, taken by the driver |
//!
//! A restart at epoch t0 reads the arrangements listed in the state, enters them at t0, and cuts off the
//! output of their inputs at or before t0; everything else is recomputed at t0 from the tables. Output at
//! or before t0 is already in the view tables and in the outbox, and is dropped.

pub mod aggregates;
pub mod batch;
mod changes;
pub mod event_time;
pub mod export;
pub mod group_rows;
pub mod joins;
pub mod linear;
pub(crate) mod operators;
mod past;
mod recursive;
pub mod windows;

use std::cell::RefCell;
use std::collections::BTreeMap;

use fail::fail_point;
use schemas::RowCodec;
use state::IndexLayout;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::operators::probe::Probe;
use timely::dataflow::operators::{Concat, Concatenate, Input};
use timely::dataflow::{InputHandle, ProbeHandle, Scope, Stream};

use crate::arrange::updates::Updates;
use crate::collect::Shared;
use crate::error::RunError;
use crate::functions::sums::accum::Accums;
use crate::plan::aggregate::has_totals;
use crate::plan::analysis::reach::is_refilled_from;
use crate::plan::state_role::StateRole;
use crate::plan::window::{Window, kept_first};
use crate::plan::{Op, Plan, RelId};
use crate::runtime::fill::ViewRows;
use crate::runtime::state_tables::{self, StateTables};
use aggregates::input::{Extremes, Grouping, expression_types};
use aggregates::operator::Reduce;
use aggregates::totals::{StateReads, reduce_totals, rows_of_totals};
use batch::RelationType;
use event_time::rule::ExpiredKeys;
use event_time::sessions::Sessions;
use event_time::watermark::WatermarkUpdates;
use export::Export;
use linear::{Deltas, Errors};
use windows::operator::{PartitionLayout, WindowOperator};

/// Returns false in the tests' negative control, which shows that restarts are wrong without the cut.
fn drops_restored() -> bool {
    fail_point!("render.keep_restored", |_| false);
    true
}

/// Starting point of rendering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// Committed epoch; 0 for a new state.
    pub epoch: u64,
    /// Emits the restored state's content to views and sinks again, at the committed epoch.
    pub whole: bool,
    /// Fills sides of joins that follow from tables alone from those tables instead of from the state.
    pub anew: bool,
}

impl Start {
    /// Returns the first epoch at which the dataflow has content.
    pub fn first_epoch(&self) -> u64 {
        self.epoch.max(1)
    }

    /// Returns true if there is state to start from.
    pub fn is_restored(&self) -> bool {
        self.epoch > 0
    }
}

/// Arrangement to be filled from the state before any record is processed.
pub enum Restore {
    /// Accumulators: key, value and total.
    Totals {
        /// State table they are read from.
        table_id: u32,
        /// Keys and aggregates.
        grouping: Grouping,
        /// Input of the dataflow.
        handle: InputHandle<u64, CapacityContainerBuilder<Vec<Updates<Accums>>>>,
    },
    /// Rows by key with their multiplicity.
    Rows {
        /// State table they are read from.
        table_id: u32,
        /// Packed form of the key.
        key: RowCodec,
        /// Input of the dataflow.
        handle: InputHandle<u64, CapacityContainerBuilder<Vec<Updates<i64>>>>,
    },
    /// Totals that stay where they are.
    InState {
        /// State table they are in.
        table_id: u32,
        /// Packed form of the key.
        key: RowCodec,
    },
    /// Rows of a view, for additions of an edit above it.
    View {
        /// Its table, and the columns that are taken.
        rows: ViewRows,
        /// Type of the rows that are fed.
        shape: RelationType,
        /// Input of the dataflow.
        handle: InputHandle<u64, CapacityContainerBuilder<Vec<batch::DeltaBatch>>>,
    },
}

impl Restore {
    /// Returns the state table of an arrangement and the packed form of its key.
    pub fn into_key(self) -> Option<(u32, RowCodec)> {
        match self {
            Restore::Totals { table_id, grouping, .. } => Some((table_id, grouping.key_codec)),
            Restore::Rows { table_id, key, .. } | Restore::InState { table_id, key } => Some((table_id, key)),
            Restore::View { .. } => None,
        }
    }
}

/// A relation and a key by which it is exported; additions of an edit are exported apart.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct ExportGroup {
    rel: RelId,
    columns: Option<Vec<usize>>,
    unique: bool,
    rows: ExportedRows,
}

/// Rows of a relation that are exported.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum ExportedRows {
    /// Changes after the committed epoch.
    Later,
    /// All.
    Whole,
    /// All, some key groups at a time.
    Gated,
}

/// Uses of a relation by one key: state tables of views, their indexes, and sinks.
#[derive(Default)]
struct ExportUses {
    views: Vec<u32>,
    histories: Vec<(u32, u64)>,
    indexes: Vec<IndexLayout>,
    sinks: Vec<usize>,
}

/// Returns the types of the rows of a plan's relations.
fn relation_types(plan: &Plan) -> Result<Vec<RelationType>, RunError> {
    let mut types = Vec::with_capacity(plan.rels.len());
    for rel in &plan.rels {
        types.push(RelationType::new(&rel.schema)?);
    }
    Ok(types)
}

/// Renderer of one plan into one worker's dataflow.
pub struct Renderer<'s, 'p> {
    scope: Scope<'s, u64>,
    plan: &'p Plan,
    state_tables: &'p StateTables,
    start: Start,
    collector: Shared,
    probe: ProbeHandle<u64>,
    shapes: Vec<RelationType>,
    streams: Vec<Deltas<'s>>,
    /// Rows at the committed epoch of relations whose operators have dropped some of them.
    past: BTreeMap<RelId, Deltas<'s>>,
    /// Relations behind their gates.
    gates: RefCell<BTreeMap<RelId, Deltas<'s>>>,
    watermarks: Option<WatermarkUpdates<'s>>,
    reads: Option<StateReads>,
    restores: Vec<Restore>,
}

impl<'s, 'p> Renderer<'s, 'p> {
    /// Creates a renderer of `plan` in `scope`.
    ///
    /// # Errors
    /// When a column type has no packed form.
    pub fn new(
        scope: Scope<'s, u64>,
        plan: &'p Plan,
        state_tables: &'p StateTables,
        start: Start,
        collector: Shared,
    ) -> Result<Renderer<'s, 'p>, RunError> {
        Ok(Renderer {
            scope,
            plan,
            state_tables,
            start,
            collector,
            probe: ProbeHandle::new(),
            shapes: relation_types(plan)?,
            streams: vec![],
            past: BTreeMap::new(),
            gates: RefCell::default(),
            watermarks: None,
            reads: None,
            restores: vec![],
        })
    }

    /// Sets the stream of the sources' watermarks.
    pub fn with_watermarks(mut self, watermarks: WatermarkUpdates<'s>) -> Renderer<'s, 'p> {
        self.watermarks = Some(watermarks.probe_with(&self.probe));
        self
    }

    /// Sets the state that operators read while they run.
    pub fn with_state(mut self, reads: StateReads) -> Renderer<'s, 'p> {
        self.reads = Some(reads);
        self
    }

    fn watermark_updates(&self) -> Result<WatermarkUpdates<'s>, RunError> {
        self.watermarks.clone().ok_or_else(|| RunError::Broken("no watermarks flow".into()))
    }

    /// Renders every relation, view and sink; returns the probe and the arrangements to be restored.
    ///
    /// # Errors
    /// When the plan breaks one of its own invariants.
    pub fn render(mut self, sources: &[Deltas<'s>]) -> Result<(ProbeHandle<u64>, Vec<Restore>), RunError> {
        // Relations are in order of dependency.
        for id in 0..self.plan.rels.len() {
            let stream = self.render_relation(id, sources)?;
            self.streams.push(stream.probe_with(&self.probe));
            self.render_past(id)?;
        }
        self.render_exports()?;
        Ok((self.probe, self.restores))
    }

    /// Returns the name of an operator or arrangement in counters.
    fn counter_name(&self, id: RelId, part: &str) -> String {
        format!("{}/{id}/{part}", self.plan.rels[id].owner)
    }

    fn error_table(&self, id: RelId) -> Result<Errors, RunError> {
        let errors = Errors::new(self.collector.clone(), &self.plan.rels[id].owner)?;
        // The relation that reads the source itself records the rows that fail on both.
        Ok(if self.plan.is_second(id) { errors.without_recording() } else { errors })
    }

    /// Renders one relation; its inputs have lower ids and are rendered already.
    fn render_relation(&mut self, id: RelId, sources: &[Deltas<'s>]) -> Result<Deltas<'s>, RunError> {
        let plan = self.plan;
        match &plan.rels[id].op {
            Op::Source(at) => Ok(sources[*at].clone()),
            Op::Values(rows) => {
                let rows = self.shapes[id].assemble(rows.columns().to_vec(), rows.num_rows())?;
                Ok(linear::constant_rows(&self.scope, rows, self.start.first_epoch()))
            }
            Op::Filter { input, predicate } => {
                let errors = self.error_table(id)?;
                let (stream, shape) = (self.streams[*input].clone(), self.shapes[*input].clone());
                Ok(linear::filter(stream, shape, predicate.clone(), errors))
            }
            Op::Project { input, exprs } => {
                let errors = self.error_table(id)?;
                let (from, to) = (self.shapes[*input].clone(), self.shapes[id].clone());
                Ok(linear::project(self.streams[*input].clone(), from, to, exprs.clone(), errors))
            }
            Op::Unnest { input, column, outer } => {
                let (from, to) = (self.shapes[*input].clone(), self.shapes[id].clone());
                let stream = self.streams[*input].clone();
                Ok(linear::unnest(stream, from, to, *column, *outer, self.collector.clone()))
            }
            Op::Union { inputs } => {
                let streams: Vec<_> = inputs.iter().map(|input| self.streams[*input].clone()).collect();
                Ok(self.scope.concatenate(streams))
            }
            // DISTINCT is a GROUP BY of all columns without aggregates.
            Op::Distinct { input } => {
                let grouping = Grouping::of_all_columns(&plan.rels[*input].schema)?;
                self.render_group_by(id, *input, grouping)
            }
            Op::EmitOnClose { input, horizon } => self.render_emit_on_close(id, *input, horizon),
            Op::TemporalFilter { .. } => self.render_temporal_filter(id),
            Op::Aggregate { input, keys, aggregates } => {
                let totals = has_totals(plan, id);
                let extremes = if totals { Extremes::Accumulated } else { Extremes::Indexed };
                let grouping = Grouping::new(&plan.rels[*input].schema, keys, aggregates, extremes)?;
                self.render_group_by(id, *input, grouping)
            }
            Op::Window { input, window } => self.render_window(id, *input, window),
            Op::GroupRows { .. } => self.render_group_rows(id),
            Op::Join { .. } => self.render_join(id),
            Op::TemporalJoin { .. } => self.render_temporal_join(id),
            Op::Recursive(_) => self.render_recursive(id),
            Op::Given(_) => Err(RunError::Broken("a round without a recursion".into())),
        }
    }

    /// Returns true if a part of an operator's state is filled from the tables, to be compared with the state's.
    fn is_anew(&self, id: RelId, part: StateRole) -> bool {
        self.start.anew && state_tables::filled_from_tables(self.plan, (id, part))
    }

    /// Returns true if a part of an operator's state is recomputed: neither restored nor cut off.
    fn is_refilled(&self, id: RelId, part: StateRole) -> bool {
        self.is_anew(id, part) || self.state_tables.fills(id)
    }

    /// Returns true if the durable state of an operator is restored: there is one, and no edit adds it.
    fn is_restored(&self, id: RelId) -> bool {
        self.start.is_restored() && !self.state_tables.fills(id)
    }

    /// Returns the last epoch whose input is in an operator's state already.
    fn held_until(&self, id: RelId) -> u64 {
        if self.state_tables.fills(id) { self.start.epoch.saturating_sub(1) } else { self.start.epoch }
    }

    /// Returns the epoch of the restored state where nobody reads a relation's output at it: its readers have state
    /// of their own, or have it already.
    fn unread_epoch(&self, id: RelId) -> Option<u64> {
        let Start { epoch, whole, anew } = self.start;
        let is_plain =
            !whole && !anew && self.state_tables.fill.is_none() && self.state_tables.pieces.is_none();
        let is_cut = self.start.is_restored() && is_plain && drops_restored();
        (is_cut && !is_refilled_from(self.plan, id)).then_some(epoch)
    }

    /// Returns an input of an operator without the rows that its restored state, if it has one, already holds.
    fn new_input(&self, id: RelId, input: RelId, has_state: bool) -> Deltas<'s> {
        if self.state_tables.gates_input(id, input) {
            return self.gated(input);
        }
        if self.state_tables.fills(id) {
            return self.whole_content(input);
        }
        self.cut_restored(has_state, self.streams[input].clone())
    }

    /// Returns a relation behind a gate, which all share that take it so: it holds rows once.
    fn gated(&self, id: RelId) -> Deltas<'s> {
        if let Some(stream) = self.gates.borrow().get(&id) {
            return stream.clone();
        }
        let waiting = match &self.state_tables.pieces {
            Some(pieces) => pieces.waiting.clone(),
            None => std::sync::Arc::default(),
        };
        let (stream, shape) = (self.streams[id].clone(), self.shapes[id].clone());
        let gated = past::gate::gate(stream, shape, (self.start.epoch, waiting), self.collector.clone());
        let gated = gated.probe_with(&self.probe);
        self.gates.borrow_mut().insert(id, gated.clone());
        gated
    }

    /// Returns a relation with all of its rows at the committed epoch, for the additions of an edit: where its operators
    /// have dropped some, those of a view that holds them.
    fn whole_content(&self, id: RelId) -> Deltas<'s> {
        match self.past.get(&id) {
            Some(past) => {
                linear::drop_restored(self.streams[id].clone(), self.start.epoch).concat(past.clone())
            }
            None => self.streams[id].clone(),
        }
    }

    /// Returns the input of a stateful operator without the rows that its restored arrangement already holds.
    fn cut_restored(&self, durable: bool, stream: Deltas<'s>) -> Deltas<'s> {
        // State that is not durable starts empty and needs its whole input.
        if durable && self.start.is_restored() && drops_restored() {
            linear::drop_restored(stream, self.start.epoch)
        } else {
            stream
        }
    }

    /// Renders a GROUP BY whose aggregates are kept in accumulators.
    fn render_group_by(
        &mut self,
        id: RelId,
        input: RelId,
        grouping: Grouping,
    ) -> Result<Deltas<'s>, RunError> {
        let durable = self.plan.rels[id].durable;
        let anew = self.is_anew(id, StateRole::Groups);
        let stream = self.new_input(id, input, durable && !anew);
        let errors = self.error_table(id)?;
        let mut updates = aggregates::input::pre_aggregate(
            stream,
            self.shapes[input].clone(),
            grouping.clone(),
            errors.clone(),
            self.collector.clone(),
        );
        // Without a state table totals are not written.
        let table_id = if durable { Some(self.state_tables.table_of(id, StateRole::Groups)?) } else { None };
        let in_state = has_totals(self.plan, id) && !anew;
        if let (Some(table_id), Some(reads), true) = (table_id, self.reads.clone(), in_state) {
            let shape = self.shapes[id].clone();
            let mut reduce = self.reduce_of((grouping, None), shape, (id, Some(table_id)), errors);
            reduce.skips_repeats =
                self.plan.rels[input].is_append_only() && reduce.grouping.ignores_repeats();
            return Ok(self.render_totals((id, table_id), updates, (reduce, reads)));
        }
        if let (Some(table_id), true) = (table_id, self.is_restored(id) && !anew) {
            let (handle, restored) = self.scope.new_input();
            updates = updates.concat(restored);
            self.restores.push(Restore::Totals { table_id, grouping: grouping.clone(), handle });
        }
        // Removals re-enter before the arrangement, behind the restored rows.
        let (updates, removal_loop) = self.with_expiry(updates, (id, StateRole::Groups));
        let (name, shape) = (self.counter_name(id, "groups"), self.shapes[id].clone());
        let arranged = crate::arrange::trace::arrange(updates, &name, self.collector.clone());
        let expired = self.connect_expiry(
            &[&arranged],
            removal_loop,
            (&name, StateRole::Groups),
            grouping.key_codec.clone(),
        )?;
        let mut reduce = self.reduce_of((grouping, expired), shape, (id, table_id), errors);
        reduce.unread = self.unread_epoch(id);
        Ok(aggregates::operator::reduce(arranged, reduce))
    }

    /// Renders a GROUP BY whose totals live in the state.
    fn render_totals(
        &mut self,
        (id, table_id): (RelId, u32),
        updates: Stream<'s, u64, Vec<Updates<Accums>>>,
        (reduce, reads): (Reduce, StateReads),
    ) -> Deltas<'s> {
        let mut restored = None;
        if self.is_restored(id) {
            let grouping = reduce.grouping.clone();
            self.restores.push(if self.unread_epoch(id).is_some() {
                Restore::InState { table_id, key: grouping.key_codec }
            } else {
                let (handle, totals) = self.scope.new_input();
                restored = Some(rows_of_totals(totals, reduce.clone()));
                Restore::Totals { table_id, grouping, handle }
            });
        }
        let rows = reduce_totals(updates, (reduce, table_id), reads);
        match restored {
            Some(restored) => rows.concat(restored),
            None => rows,
        }
    }

    /// Renders functions over ordered partitions.
    fn render_window(&mut self, id: RelId, input: RelId, window: &Window) -> Result<Deltas<'s>, RunError> {
        let durable = self.plan.rels[id].durable;
        let schema = &self.plan.rels[input].schema;
        let partition = RowCodec::new(&expression_types(schema, &window.partition)?)?;
        let (shape, errors) = (self.shapes[input].clone(), self.error_table(id)?);
        let place =
            PartitionLayout { shape: shape.clone(), partition: partition.clone(), window: window.clone() };
        let stream = self.new_input(id, input, durable);
        let updates = windows::operator::arrange_input(stream, place, errors.clone(), self.collector.clone());
        let mut operator = WindowOperator {
            input: shape,
            window: window.clone(),
            partition: partition.clone(),
            expired: None,
            unread: self.unread_epoch(id),
            name: self.counter_name(id, "partitions"),
            collector: self.collector.clone(),
            errors,
        };
        if let Some(first) = kept_first(self.plan, id) {
            return self.render_first_rows((id, first), updates, operator);
        }
        let (updates, removal_loop) = self.with_expiry(updates, (id, StateRole::Partitions));
        let updates = self.persist_rows(updates, (id, StateRole::Partitions), &partition)?;
        let arranged = crate::arrange::trace::arrange(updates, &operator.name, self.collector.clone());
        match window.session() {
            // Rows of ended sessions are removed while their output stays: the change is held back.
            Some(session) if self.plan.settled.contains_key(&id) => {
                let of = (self.counter_name(id, "partitions"), self.collector.clone());
                let row = self.shapes[input].codec.clone();
                let sessions = Sessions::new(session, row, of);
                self.connect_session_expiry(&arranged, removal_loop, sessions)?;
                operator.unread = None;
                let rows = windows::operator::emit_windows(arranged, operator)?;
                self.hold_back_expired(id, rows, self.shapes[id].clone())
            }
            _ => {
                let of = (&*self.counter_name(id, "partitions"), StateRole::Partitions);
                operator.expired = self.connect_expiry(&[&arranged], removal_loop, of, partition)?;
                windows::operator::emit_windows(arranged, operator)
            }
        }
    }

    /// Returns the operator over an arrangement of accumulators.
    fn reduce_of(
        &self,
        (grouping, expired): (Grouping, Option<ExpiredKeys>),
        output: RelationType,
        (id, table_id): (RelId, Option<u32>),
        errors: Errors,
    ) -> Reduce {
        Reduce {
            grouping,
            expired,
            output,
            table_id,
            skips_repeats: false,
            first: self.start.first_epoch(),
            unread: None,
            name: self.counter_name(id, "groups"),
            collector: self.collector.clone(),
            errors,
        }
    }

    /// Renders views and sinks, one export for each relation and key.
    fn render_exports(&mut self) -> Result<(), RunError> {
        let mut exports: BTreeMap<ExportGroup, ExportUses> = BTreeMap::new();
        let fill = self.state_tables.fill.clone().unwrap_or_default();
        for (at, view) in self.plan.views.iter().enumerate() {
            let unique = view.key.is_some();
            let table_id = self.state_tables.views[at];
            let key = ExportGroup {
                rel: view.rel,
                columns: view.key.clone(),
                unique,
                rows: match self.state_tables.gates_view(table_id) {
                    true => ExportedRows::Gated,
                    false if fill.tables.contains(&table_id) => ExportedRows::Whole,
                    false => ExportedRows::Later,
                },
            };
            let uses = exports.entry(key).or_default();
            uses.indexes.extend(self.state_tables.indexes_of(table_id)?);
            let history = self.state_tables.histories.get(&table_id);
            uses.histories.extend(history.map(|limits| (table_id, limits.bytes)));
            uses.views.push(table_id);
        }
        for (at, sink) in self.plan.sinks.iter().enumerate() {
            // Plain sinks send every change; others need the changes of each key together.
            let keyed = sink.format != crate::plan::formats::Format::Plain;
            let columns = keyed.then(|| sink.key.clone());
            let rows = if fill.takes_sink(at) { ExportedRows::Whole } else { ExportedRows::Later };
            let key = ExportGroup { rel: sink.rel, columns, unique: keyed, rows };
            exports.entry(key).or_default().sinks.push(at);
        }
        for (ExportGroup { rel, columns, unique, rows }, uses) in exports {
            let ExportUses { views, histories, indexes, sinks } = uses;
            let stream = match rows {
                ExportedRows::Later => self.streams[rel].clone(),
                ExportedRows::Whole => self.whole_content(rel),
                ExportedRows::Gated => self.gated(rel),
            };
            let whole = self.start.whole || rows == ExportedRows::Whole;
            let export = Export {
                shape: self.shapes[rel].clone(),
                key: columns,
                unique,
                views,
                histories,
                indexes,
                sinks,
                // Output of the committed epoch itself is kept where it is wanted again.
                after: self.start.epoch.saturating_sub(u64::from(whole)),
                name: self.plan.rels[rel].owner.clone(),
                collector: self.collector.clone(),
            };
            let _ = export::export(stream, export)?.probe_with(&self.probe);
        }
        Ok(())
    }
}
