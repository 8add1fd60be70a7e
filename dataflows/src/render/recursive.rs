//! WITH RECURSIVE: rows, and the rows derived from them round by round until a round adds none.
//!
//! The rounds are the inner time of a nested scope, in which differential stores the additions of each round
//! as changes relative to the previous round. A change of an input therefore propagates through the rounds it
//! affects, and rows no longer derived in any way are retracted, round by round as well. The body's filters,
//! projections and unnests are those of any plan; the inputs it joins with are arranged once, outside the
//! scope. None of the state is durable: on a restart the inputs are read in full (see
//! [`crate::plan::RecursiveInput`]), and all rows are derived again.
//!
//! The number of rounds is limited, so that an endless recursion neither hangs nor stops the run: a row that
//! a round beyond the limit would add is an entry of the error table instead, for as long as it would be
//! derived. Multiplicity is limited too, for UNION ALL in which the derivations of a row double in each
//! round: an excess is an entry of the error table.

use std::collections::BTreeMap;

use arrow::array::AsArray;
use arrow::datatypes::{Int64Type, Schema};
use differential_dataflow::lattice::Lattice;
use differential_dataflow::operators::iterate::Variable;
use differential_dataflow::operators::join::join_traces;
use differential_dataflow::{AsCollection, VecCollection};
use schemas::{RowCodec, Rows};
use timely::container::{CapacityContainerBuilder, PushInto};
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::vec::{Filter, Map};
use timely::dataflow::operators::{Concat, Concatenate, Enter};
use timely::dataflow::{Scope, Stream};
use timely::order::Product;

use super::batch::{DeltaBatch, RelationType};
use super::joins::kinds::{key_columns, one_key};
use super::joins::pairs::{self, Guard, JoinSide};
use super::linear::{self, Batches, Deltas, EpochTime, Errors};
use super::operators::each_message;
use super::{Renderer, relation_types};
use crate::collect::Shared;
use crate::error::RunError;
use crate::plan::{JoinKind, Op, Plan, Recursive, RecursiveInput, RelId, Scalar};

/// Epoch and round.
type Round = Product<u64, u64>;
/// Packed row or key.
type Row = Vec<u8>;
/// Packed rows with multiplicity.
type RowCollection<'s, T> = VecCollection<'s, T, Row, i64>;
/// Packed rows by packed key.
type KeyedCollection<'s, T> = VecCollection<'s, T, (Row, Row), i64>;
/// The updates of a keyed collection.
type KeyedStream<'s, T> = Stream<'s, T, Vec<((Row, Row), T, i64)>>;

/// Change of a derived row in a round.
type DerivedChange = ((Row, Fate), Round, i64);

/// Outcome of a derived row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
enum Fate {
    /// In the result.
    Kept,
    /// First derived in a round beyond the limit.
    TooLate,
    /// In the result, but less often than derived.
    TooOften,
}

impl<'s> Renderer<'s, '_> {
    /// Renders a recursion.
    ///
    /// # Errors
    /// When the plan breaks one of its own invariants.
    pub(super) fn render_recursive(&self, id: RelId) -> Result<Deltas<'s>, RunError> {
        let Op::Recursive(of) = &self.plan.rels[id].op else {
            return Err(RunError::Broken("not a recursion".into()));
        };
        let shape = self.shapes[id].clone();
        let base = pack_stream(self.counted_input(&of.base)?, shape.clone(), self.collector.clone());
        let mut sides = Vec::with_capacity(of.sides.len());
        for side in &of.sides {
            sides.push(self.counted_input(side)?);
        }
        let shapes = relation_types(&of.body)?;
        let (errors, scope) = (self.error_table(id)?, self.scope);
        let derived = scope.scoped::<Round, _, _>("Recursive", |inner| {
            // Rows fed to the variable appear in `last` one round later.
            let (variable, last) = Variable::new(inner, Product::new(Default::default(), 1));
            let collector = self.collector.clone();
            let rounds = Rounds {
                name: self.counter_name(id, "rounds"),
                body: &of.body,
                shapes,
                sides,
                errors,
                collector,
                inner,
            };
            let next = pack_stream(rounds.next_round(last)?, shape.clone(), self.collector.clone());
            let derived = count_rows(base.enter(inner).concat(next), of.distinct, &rounds.name);
            // Only rows of rounds within the limit feed the next round.
            let feeding = derived.inner.clone().filter(feeds_next_round).as_collection();
            variable.set(feeding.map(|(row, _)| row));
            // Rows derived beyond the limit leave the scope as errors.
            Ok::<_, RunError>(derived.inner.map(mark_late).as_collection().leave(scope))
        })?;
        let recursion = RecursionOutput {
            name: of.name.clone(),
            shape,
            errors: self.error_table(id)?,
            collector: self.collector.clone(),
        };
        Ok(recursion.emit_results(derived.consolidate(), self.counter_name(id, "rounds")))
    }

    /// Returns the rows of an input with their multiplicity; a counted input has it in its last column.
    fn counted_input(&self, input: &RecursiveInput) -> Result<Deltas<'s>, RunError> {
        let stream = self.streams[input.rel].clone();
        if !input.counted {
            return Ok(stream);
        }
        let shape = self.shapes[input.rel].clone();
        // The last column is the count.
        let width = shape.schema.fields().len().saturating_sub(1);
        let own = RelationType::new(&Schema::new(shape.schema.fields()[..width].to_vec()))?;
        Ok(linear::map_batches(stream, "Counted", self.collector.clone(), move |_, delta| {
            let batch = shape.decode_columns(&delta)?;
            let Some(counts) = batch.column(width).as_primitive_opt::<Int64Type>() else {
                return Err(RunError::Broken("a count is no number".into()));
            };
            let diffs = delta.diffs.iter().zip(counts.values()).map(|(diff, count)| diff * count).collect();
            let rows = own.assemble(batch.columns()[..width].to_vec(), batch.num_rows())?;
            Ok(DeltaBatch::from_columns(rows, diffs))
        }))
    }
}

/// Returns true for a row of the result that is derived within the limit of rounds.
fn feeds_next_round(((_, fate), time, _): &DerivedChange) -> bool {
    *fate == Fate::Kept && time.inner <= Recursive::ROUNDS
}

/// Marks a row of the result that is derived beyond the limit of rounds.
fn mark_late(((row, fate), time, diff): DerivedChange) -> DerivedChange {
    let late = fate == Fate::Kept && time.inner > Recursive::ROUNDS;
    ((row, if late { Fate::TooLate } else { fate }), time, diff)
}

/// Counts rows for the result: once for UNION, as often as derived, up to the limit, for UNION ALL.
fn count_rows<'i>(
    rows: RowCollection<'i, Round>,
    distinct: bool,
    name: &str,
) -> VecCollection<'i, Round, (Row, Fate), i64> {
    rows.map(|row| (row, ())).reduce_named(name, move |_, times, out| {
        let times = match times {
            [(_, times), ..] => *times,
            [] => 0,
        };
        if distinct {
            out.push((Fate::Kept, 1));
        } else if (0..=Recursive::TIMES).contains(&times) {
            out.push((Fate::Kept, times));
        } else {
            // A negative count is an overflow: the row was derived more often than the number type holds.
            out.push((Fate::Kept, Recursive::TIMES));
            out.push((Fate::TooOften, 1));
        }
    })
}

/// Output of a recursion: rows and errors.
struct RecursionOutput {
    name: String,
    shape: RelationType,
    errors: Errors,
    collector: Shared,
}

impl RecursionOutput {
    /// Emits the rows of the result; rows of another outcome go to the error table.
    fn emit_results<'s>(
        self,
        rows: VecCollection<'s, u64, (Row, Fate), i64>,
        operator: String,
    ) -> Deltas<'s> {
        each_message(rows.inner, Pipeline, "Tell", move |capability, rows, output| {
            let capability = capability.retain(0);
            // Rows of one message may be of several epochs.
            let mut kept: BTreeMap<u64, (Rows, Vec<i64>)> = BTreeMap::new();
            for ((row, fate), epoch, diff) in rows.drain(..) {
                if fate == Fate::Kept {
                    let kept = kept.entry(epoch).or_default();
                    kept.0.push(&row);
                    kept.1.push(diff);
                } else if let Err(error) = self.put_failure(epoch, &row, fate, diff) {
                    self.collector.borrow_mut().fail(error);
                }
            }
            for (epoch, (rows, diffs)) in kept {
                self.collector.borrow_mut().at(epoch).count_touched(&operator, diffs.len() as u64);
                output.session(&capability.delayed(&epoch)).give(DeltaBatch::from_packed(rows, diffs));
            }
        })
    }

    /// Records a row of another outcome than [`Fate::Kept`] in the error table.
    fn put_failure(&self, epoch: u64, row: &[u8], fate: Fate, diff: i64) -> Result<(), RunError> {
        let mut rows = Rows::new();
        rows.push(row);
        let one = self.shape.decode_columns(&DeltaBatch::from_packed(rows, vec![diff]))?;
        let message = match fate {
            Fate::TooOften => format!("the row came more than {} times; more do not count", Recursive::TIMES),
            _ => format!("the recursion went beyond {} rounds", Recursive::ROUNDS),
        };
        let expression = format!("WITH RECURSIVE {}", self.name);
        self.errors.record_failure(epoch, &expression, &message, &linear::describe_row(&one), diff);
        Ok(())
    }
}

/// Renderer of the body of a recursion in its scope.
struct Rounds<'p, 's, 'i> {
    name: String,
    body: &'p Plan,
    shapes: Vec<RelationType>,
    sides: Vec<Deltas<'s>>,
    errors: Errors,
    collector: Shared,
    inner: Scope<'i, Round>,
}

/// Join of a round's rows with an input that is the same in all rounds.
struct RoundJoin<'p, 's, 'i> {
    kind: JoinKind,
    residual: Option<&'p Scalar>,
    /// Set when the fixed input is on the left.
    flipped: bool,
    /// Type of left rows.
    left: RelationType,
    /// Type of pairs.
    both: RelationType,
    /// Input that changes by round.
    moving: KeyedCollection<'i, Round>,
    /// Input that is the same in all rounds.
    fixed: KeyedCollection<'s, u64>,
}

impl<'p, 's, 'i> Rounds<'p, 's, 'i> {
    /// Derives the rows that follow from those of the previous round.
    fn next_round(&self, last: RowCollection<'i, Round>) -> Result<Batches<'i, Round>, RunError> {
        let mut done: Vec<Batches<'i, Round>> = vec![self.to_batches(last)];
        for at in 1..self.body.rels.len() {
            let next = self.render_body(at, &done)?;
            done.push(next);
        }
        done.pop().ok_or_else(|| RunError::Broken("a recursion without a body".into()))
    }

    /// Renders one relation of the body; `done` holds those before it.
    fn render_body(&self, at: usize, done: &[Batches<'i, Round>]) -> Result<Batches<'i, Round>, RunError> {
        let to = self.shapes[at].clone();
        match &self.body.rels[at].op {
            // Given 0 is the previous round's rows; the others are inputs from outside.
            Op::Given(side) => match self.sides.get(side.wrapping_sub(1)) {
                Some(side) => Ok(side.clone().enter(self.inner)),
                None => Ok(done[0].clone()),
            },
            Op::Filter { input, predicate } => {
                let errors = self.errors.clone();
                Ok(linear::filter(
                    done[*input].clone(),
                    self.shapes[*input].clone(),
                    predicate.clone(),
                    errors,
                ))
            }
            Op::Project { input, exprs } => {
                let (from, errors) = (self.shapes[*input].clone(), self.errors.clone());
                Ok(linear::project(done[*input].clone(), from, to, exprs.clone(), errors))
            }
            Op::Unnest { input, column, outer } => {
                let from = self.shapes[*input].clone();
                Ok(linear::unnest(done[*input].clone(), from, to, *column, *outer, self.collector.clone()))
            }
            Op::Union { inputs } => {
                Ok(self.inner.concatenate(inputs.iter().map(|input| done[*input].clone())))
            }
            Op::Join { .. } => self.render_join(at, done),
            _ => Err(RunError::Broken("what no round of a recursion does".into())),
        }
    }

    /// Describes one side of a join of the body.
    fn join_side(&self, rel: usize, keys: &[Scalar], keep_null_keys: bool) -> Result<JoinSide, RunError> {
        let keys = if keys.is_empty() { vec![one_key()] } else { keys.to_vec() };
        let key_codec = RowCodec::of(&key_columns(&self.body.rels[rel].schema, &keys)?)?;
        Ok(JoinSide { shape: self.shapes[rel].clone(), keys, key_codec, keep_null_keys })
    }

    /// Renders a join of the body. One of its inputs must be given from outside.
    fn render_join(&self, at: usize, done: &[Batches<'i, Round>]) -> Result<Batches<'i, Round>, RunError> {
        let Op::Join { left, right, kind, left_keys, right_keys, residual, null_equal } =
            &self.body.rels[at].op
        else {
            return Err(RunError::Broken("not a join".into()));
        };
        let flipped = self.given_side(*left).is_some();
        let (moving, fixed) = if flipped {
            ((*right, right_keys), (*left, left_keys))
        } else {
            ((*left, left_keys), (*right, right_keys))
        };
        let Some(side) = self.given_side(fixed.0).and_then(|side| self.sides.get(side)) else {
            return Err(RunError::Broken("a round is joined with itself".into()));
        };
        // Rows with a NULL key stay where they are output without a match, or NULLs equal each other.
        let keeps = *null_equal || matches!(kind, JoinKind::Left | JoinKind::Anti);
        let (of_moving, of_fixed) =
            (self.join_side(moving.0, moving.1, keeps)?, self.join_side(fixed.0, fixed.1, *null_equal)?);
        let (left, right) = (&self.body.rels[*left].schema, &self.body.rels[*right].schema);
        let fields: Vec<_> = left.fields().iter().chain(right.fields()).cloned().collect();
        let join = RoundJoin {
            kind: *kind,
            residual: residual.as_ref(),
            flipped,
            left: RelationType::new(left)?,
            both: RelationType::new(&Schema::new(fields))?,
            moving: key_stream(
                done[moving.0].clone(),
                of_moving,
                self.errors.clone(),
                self.collector.clone(),
            ),
            fixed: key_stream(side.clone(), of_fixed, self.errors.clone(), self.collector.clone()),
        };
        Ok(self.join_rows(join))
    }

    /// Returns the position in `sides` of a relation of the body that is given from outside.
    fn given_side(&self, rel: usize) -> Option<usize> {
        match self.body.rels[rel].op {
            // Given 0 is the previous round's rows, which are not the same in all rounds.
            Op::Given(side @ 1..) => Some(side - 1),
            _ => None,
        }
    }

    /// Returns the rows of a join: pairs, and for other than inner joins left rows with or without a match.
    fn join_rows(&self, of: RoundJoin<'p, 's, 'i>) -> Batches<'i, Round> {
        let rows = of.moving.clone().map(|(_, row)| row);
        let left_only = matches!(of.kind, JoinKind::Semi | JoinKind::Anti);
        let pairs = if !left_only || of.residual.is_some() { Some(self.passing_pairs(&of)) } else { None };
        match (of.kind, &pairs) {
            (JoinKind::Semi, _) => self.to_batches(self.rows_with_match(&of, &rows, pairs.as_ref())),
            (JoinKind::Anti, _) | (_, None) => self.rows_without_match(&of, &rows, pairs.as_ref()),
            (JoinKind::Inner, Some(pairs)) => pairs.clone(),
            (JoinKind::Left | JoinKind::Full, Some(pairs)) => {
                // Right columns are those of a pair beyond the left ones.
                let nulls = (0, of.both.codec.columns() - of.left.codec.columns());
                let rest = self.rows_without_match(&of, &rows, Some(pairs));
                let rest = pairs::null_extend(rest, of.left.clone(), nulls, self.collector.clone());
                pairs.clone().concat(rest)
            }
        }
    }

    /// Returns the pairs that pass the residual condition.
    fn passing_pairs(&self, of: &RoundJoin<'p, 's, 'i>) -> Batches<'i, Round> {
        let pairs = self.to_batches(self.matched_pairs(of));
        match of.residual {
            None => pairs,
            Some(residual) => linear::filter(pairs, of.both.clone(), residual.clone(), self.errors.clone()),
        }
    }

    /// Returns the left rows with a match; `rows` are all of them.
    fn rows_with_match(
        &self,
        of: &RoundJoin<'p, 's, 'i>,
        rows: &RowCollection<'i, Round>,
        pairs: Option<&Batches<'i, Round>>,
    ) -> RowCollection<'i, Round> {
        match (pairs, of.residual) {
            // Under a residual condition a row matches if it occurs among the pairs that pass it.
            (Some(pairs), Some(_)) => {
                let left = 0..of.left.codec.columns();
                let left = pairs::columns_of(pairs.clone(), of.both.clone(), left, self.collector.clone());
                let met = pack_stream(left, of.left.clone(), self.collector.clone()).threshold(|_, _| 1i64);
                let rows = rows.clone().arrange_by_self();
                rows.join_core(met.arrange_by_self(), |row, (), ()| Some(row.clone()))
            }
            // Otherwise a row matches if its key occurs in the fixed input.
            _ => {
                let keys = of.fixed.clone().map(|(key, _)| key).threshold(|_, _| 1i64);
                let rows = of.moving.clone().arrange_by_key();
                rows.join_core(keys.arrange_by_self().enter(self.inner), |_, row, ()| Some(row.clone()))
            }
        }
    }

    /// Returns the left rows without a match: all of them minus those with one.
    fn rows_without_match(
        &self,
        of: &RoundJoin<'p, 's, 'i>,
        rows: &RowCollection<'i, Round>,
        pairs: Option<&Batches<'i, Round>>,
    ) -> Batches<'i, Round> {
        let with_match = self.rows_with_match(of, rows, pairs);
        self.to_batches(rows.clone().concat(with_match.negate()))
    }

    /// Converts packed rows to batches of their rounds.
    fn to_batches(&self, rows: RowCollection<'i, Round>) -> Batches<'i, Round> {
        let (name, collector) = (self.name.clone(), self.collector.clone());
        each_message(rows.inner, Pipeline, "Batches", move |capability, rows, output| {
            let capability = capability.retain(0);
            // One message may hold several rounds: each gets a batch of its own.
            let mut parts: BTreeMap<Round, (Rows, Vec<i64>)> = BTreeMap::new();
            for (row, time, diff) in rows.drain(..) {
                let part = parts.entry(time).or_default();
                part.0.push(&row);
                part.1.push(diff);
            }
            for (time, (rows, diffs)) in parts {
                collector.borrow_mut().at(time.outer).count_touched(&name, diffs.len() as u64);
                output.session(&capability.delayed(&time)).give(DeltaBatch::from_packed(rows, diffs));
            }
        })
    }

    /// Returns pairs of rows with equal keys, left row then right row.
    fn matched_pairs(&self, of: &RoundJoin<'p, 's, 'i>) -> RowCollection<'i, Round> {
        let mut guard = Guard::new(&self.name, self.collector.clone());
        let moving = of.moving.clone().arrange_by_key_named(&self.name);
        let fixed = of.fixed.clone().arrange_by_key_named(&self.name).enter(self.inner);
        let flipped = of.flipped;
        join_traces::<_, _, _, _, CapacityContainerBuilder<Vec<(Row, Round, i64)>>>(
            moving,
            fixed,
            move |_, moving: &Row, fixed: &Row, time: Round, one, other, out| {
                if guard.admit_pair(time.outer, moving.len() + fixed.len()) {
                    let pair = if flipped { [fixed, moving] } else { [moving, fixed] };
                    out.push_into((pair.map(Row::as_slice).concat(), time, one * other));
                }
            },
        )
        .as_collection()
    }
}

/// Converts batches to a collection of packed rows.
fn pack_stream<'s, T: EpochTime + Lattice>(
    stream: Batches<'s, T>,
    shape: RelationType,
    collector: Shared,
) -> RowCollection<'s, T> {
    let packed: Stream<'s, T, Vec<(Row, T, i64)>> =
        each_message(stream, Pipeline, "Packed", move |time, batches, output| {
            let mut session = output.session(&time);
            for mut batch in batches.drain(..) {
                let diffs = std::mem::take(&mut batch.diffs);
                match shape.pack_rows(batch) {
                    Ok(rows) => {
                        for (row, diff) in rows.iter().zip(diffs) {
                            session.give((row.to_vec(), time.time().clone(), diff));
                        }
                    }
                    Err(error) => collector.borrow_mut().fail(error),
                }
            }
        });
    packed.as_collection()
}

/// Converts batches to a collection of key and row, of the rows that may match.
fn key_stream<'s, T: EpochTime + Lattice>(
    stream: Batches<'s, T>,
    side: JoinSide,
    errors: Errors,
    collector: Shared,
) -> KeyedCollection<'s, T> {
    let keyed: KeyedStream<'s, T> =
        each_message(stream, Pipeline, "JoinKeys", move |time, batches, output| {
            let mut session = output.session(&time);
            for batch in batches.drain(..) {
                match side.key_batch(&errors, time.time().epoch(), batch) {
                    Ok(keyed) => {
                        for ((key, row), diff) in keyed.keys.iter().zip(keyed.rows.iter()).zip(keyed.diffs) {
                            session.give(((key.to_vec(), row.to_vec()), time.time().clone(), diff));
                        }
                    }
                    Err(error) => collector.borrow_mut().fail(error),
                }
            }
        });
    keyed.as_collection()
}
