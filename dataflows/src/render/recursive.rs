//! WITH RECURSIVE: rows, and what follows from them round by round until a round adds nothing.
//!
//! The rounds are the inner time of a nested scope, in which differential keeps what each round has added as a
//! change of the round before. A change of an input is therefore followed through the rounds it reaches, and
//! what is no longer derived in any way is taken back, round by round as well. The body's filters, projections
//! and unnests are those of any plan; what it joins with is arranged once, outside. Nothing of it is durable:
//! inputs come whole on a restart (see [`crate::plan::Whole`]), and everything is derived again.
//!
//! Rounds have an end, so that a recursion without one neither hangs nor stops the run: what a round beyond it
//! would add is an entry of the error table instead of a row, for as long as it would. So is that a row comes
//! too often, of a UNION ALL whose ways to a row double in each round.

use std::collections::BTreeMap;

use arrow::array::AsArray;
use arrow::datatypes::{Int64Type, Schema};
use differential_dataflow::lattice::Lattice;
use differential_dataflow::operators::iterate::Variable;
use differential_dataflow::operators::join::join_traces;
use differential_dataflow::{AsCollection, VecCollection};
use schemas::{RowCodec, Rows};
use timely::container::{CapacityContainerBuilder, PushInto};
use timely::dataflow::Scope;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::operators::vec::{Filter, Map};
use timely::dataflow::operators::{Concat, Concatenate, Enter};
use timely::order::Product;

use super::Renderer;
use super::batch::{Data, DeltaBatch, Shape};
use super::collect::Shared;
use super::joins::kinds::{key_columns, one_key};
use super::joins::pairs::{self, Guard, Side};
use super::linear::{self, Batches, Deltas, Errors, Timed};
use crate::error::RunError;
use crate::plan::{JoinKind, Op, Plan, Recursive, RelId, Scalar, Whole};

/// An epoch and a round of it.
type Round = Product<u64, u64>;
/// A packed row or key.
type Row = Vec<u8>;
/// Packed rows.
type Bag<'s, T> = VecCollection<'s, T, Row, i64>;
/// Packed rows by packed key.
type Keyed<'s, T> = VecCollection<'s, T, (Row, Row), i64>;

/// Fate of a derived row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
enum Fate {
    /// It is in the result.
    Kept,
    /// It first came in a round that does not count.
    TooLate,
    /// It is in the result, but not as often as it came.
    TooOften,
}

impl<'s> Renderer<'s, '_> {
    /// A recursion.
    ///
    /// # Errors
    /// When the plan does not hold what it promises.
    pub(super) fn recursive(&self, id: RelId) -> Result<Deltas<'s>, RunError> {
        let Op::Recursive(of) = &self.plan.rels[id].op else {
            return Err(RunError::Broken("not a recursion".into()));
        };
        let shape = self.shapes[id].clone();
        let base = packed(self.bag(&of.base)?, shape.clone(), self.collector.clone());
        let sides = of.sides.iter().map(|side| self.bag(side)).collect::<Result<Vec<_>, _>>()?;
        let shapes = of.body.rels.iter().map(|rel| Shape::new(&rel.schema)).collect::<Result<Vec<_>, _>>()?;
        let (errors, scope) = (self.errors(id)?, self.scope);
        let derived = scope.scoped::<Round, _, _>("Recursive", |inner| {
            let (variable, last) = Variable::new(inner, Product::new(Default::default(), 1));
            let collector = self.collector.clone();
            let rounds = Rounds {
                name: self.named(id, "rounds"),
                body: &of.body,
                shapes,
                sides,
                errors,
                collector,
                inner,
            };
            let next = packed(rounds.step(last)?, shape.clone(), self.collector.clone());
            let derived = counted(base.enter(inner).concat(next), of.distinct, &rounds.name);
            let on = |((_, fate), time, _): &((Row, Fate), Round, i64)| {
                *fate == Fate::Kept && time.inner <= Recursive::ROUNDS
            };
            variable.set(derived.inner.clone().filter(on).as_collection().map(|(row, _)| row));
            let late = |((row, fate), time, diff): ((Row, Fate), Round, i64)| {
                let late = fate == Fate::Kept && time.inner > Recursive::ROUNDS;
                ((row, if late { Fate::TooLate } else { fate }), time, diff)
            };
            Ok::<_, RunError>(derived.inner.map(late).as_collection().leave(scope))
        })?;
        let tell = Tell {
            name: of.name.clone(),
            shape,
            errors: self.errors(id)?,
            collector: self.collector.clone(),
        };
        Ok(tell.results(derived.consolidate(), self.named(id, "rounds")))
    }

    /// The rows of an input, each as often as it is there.
    fn bag(&self, input: &Whole) -> Result<Deltas<'s>, RunError> {
        let stream = self.streams[input.rel].clone();
        if !input.counted {
            return Ok(stream);
        }
        let shape = self.shapes[input.rel].clone();
        let width = shape.schema.fields().len().saturating_sub(1);
        let own = Shape::new(&Schema::new(shape.schema.fields()[..width].to_vec()))?;
        Ok(linear::map_batches(stream, "Counted", self.collector.clone(), move |_, delta| {
            let batch = shape.columns(&delta)?;
            let counts = batch.column(width).as_primitive_opt::<Int64Type>();
            let counts = counts.ok_or_else(|| RunError::Broken("a count is no number".into()))?;
            let diffs = delta.diffs.iter().zip(counts.values()).map(|(diff, count)| diff * count).collect();
            let rows = own.assemble(batch.columns()[..width].to_vec(), batch.num_rows())?;
            Ok(DeltaBatch::arrow(rows, diffs))
        }))
    }
}

/// Rows as they count in the result: once for UNION, as often as they come for UNION ALL, within its bound.
fn counted<'i>(
    rows: Bag<'i, Round>,
    distinct: bool,
    name: &str,
) -> VecCollection<'i, Round, (Row, Fate), i64> {
    rows.map(|row| (row, ())).reduce_named(name, move |_, times, out| {
        let times = times.first().map_or(0, |(_, times)| *times);
        match distinct {
            true => out.push((Fate::Kept, 1)),
            // Below zero, it came so often that the number has no place.
            false if !(0..=Recursive::TIMES).contains(&times) => {
                out.push((Fate::Kept, Recursive::TIMES));
                out.push((Fate::TooOften, 1));
            }
            false => out.push((Fate::Kept, times)),
        }
    })
}

/// Output of a recursion: rows and errors.
struct Tell {
    name: String,
    shape: Shape,
    errors: Errors,
    collector: Shared,
}

impl Tell {
    /// The rows of the result; those that are none go to the error table.
    fn results<'s>(self, rows: VecCollection<'s, u64, (Row, Fate), i64>, operator: String) -> Deltas<'s> {
        rows.inner.unary::<CapacityContainerBuilder<_>, _, _, _>(Pipeline, "Tell", move |_, _| {
            move |input, output| {
                input.for_each(|capability, rows: &mut Vec<((Row, Fate), u64, i64)>| {
                    let capability = capability.retain(0);
                    let mut kept: BTreeMap<u64, (Rows, Vec<i64>)> = BTreeMap::new();
                    for ((row, fate), epoch, diff) in rows.drain(..) {
                        if fate == Fate::Kept {
                            let kept = kept.entry(epoch).or_default();
                            kept.0.push(&row);
                            kept.1.push(diff);
                        } else if let Err(error) = self.put(epoch, &row, fate, diff) {
                            self.collector.borrow_mut().fail(error);
                        }
                    }
                    for (epoch, (rows, diffs)) in kept {
                        self.collector.borrow_mut().at(epoch).touch(&operator, diffs.len() as u64);
                        let batch = DeltaBatch { data: Data::Packed(rows), diffs };
                        output.session(&capability.delayed(&epoch)).give(batch);
                    }
                });
            }
        })
    }

    fn put(&self, epoch: u64, row: &[u8], fate: Fate, diff: i64) -> Result<(), RunError> {
        let mut rows = Rows::new();
        rows.push(row);
        let one = self.shape.columns(&DeltaBatch { data: Data::Packed(rows), diffs: vec![diff] })?;
        let message = match fate {
            Fate::TooOften => format!("the row came more than {} times; more do not count", Recursive::TIMES),
            _ => format!("the recursion went beyond {} rounds", Recursive::ROUNDS),
        };
        let expression = format!("WITH RECURSIVE {}", self.name);
        self.errors.put(epoch, &expression, &message, &linear::describe(&one), diff);
        Ok(())
    }
}

/// The body of a recursion in its scope.
struct Rounds<'p, 's, 'i> {
    name: String,
    body: &'p Plan,
    shapes: Vec<Shape>,
    sides: Vec<Deltas<'s>>,
    errors: Errors,
    collector: Shared,
    inner: Scope<'i, Round>,
}

/// A join of the rows of a round with a side.
struct Meeting<'p, 's, 'i> {
    kind: JoinKind,
    residual: Option<&'p Scalar>,
    /// Tells whether the side is on the left.
    flipped: bool,
    /// Left's columns, and left's and right's.
    left: Shape,
    both: Shape,
    /// Sides of a join: one that changes by round, and one that is there for all rounds.
    moving: Keyed<'i, Round>,
    fixed: Keyed<'s, u64>,
}

impl<'p, 's, 'i> Rounds<'p, 's, 'i> {
    /// Rows that follow from those of the round before.
    fn step(&self, last: Bag<'i, Round>) -> Result<Batches<'i, Round>, RunError> {
        let mut done: Vec<Batches<'i, Round>> = vec![self.batches(last)];
        for at in 1..self.body.rels.len() {
            let next = self.rel(at, &done)?;
            done.push(next);
        }
        done.pop().ok_or_else(|| RunError::Broken("a recursion without a body".into()))
    }

    fn rel(&self, at: usize, done: &[Batches<'i, Round>]) -> Result<Batches<'i, Round>, RunError> {
        let to = self.shapes[at].clone();
        match &self.body.rels[at].op {
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
            Op::Join { .. } => self.join(at, done),
            _ => Err(RunError::Broken("what no round of a recursion does".into())),
        }
    }

    /// One side of a join of the body.
    fn side(&self, rel: usize, keys: &[Scalar], keep_null_keys: bool) -> Result<Side, RunError> {
        let keys = if keys.is_empty() { vec![one_key()] } else { keys.to_vec() };
        let key_codec = RowCodec::of(&key_columns(&self.body.rels[rel].schema, &keys)?)?;
        Ok(Side { shape: self.shapes[rel].clone(), keys, key_codec, keep_null_keys })
    }

    fn join(&self, at: usize, done: &[Batches<'i, Round>]) -> Result<Batches<'i, Round>, RunError> {
        let Op::Join { left, right, kind, left_keys, right_keys, residual, null_equal } =
            &self.body.rels[at].op
        else {
            return Err(RunError::Broken("not a join".into()));
        };
        let given = |rel: usize| match self.body.rels[rel].op {
            Op::Given(side @ 1..) => Some(side - 1),
            _ => None,
        };
        let flipped = given(*left).is_some();
        let (moving, fixed) = if flipped {
            ((*right, right_keys), (*left, left_keys))
        } else {
            ((*left, left_keys), (*right, right_keys))
        };
        let side = given(fixed.0).and_then(|side| self.sides.get(side));
        let side = side.ok_or_else(|| RunError::Broken("a round is joined with itself".into()))?;
        let keeps = *null_equal || matches!(kind, JoinKind::Left | JoinKind::Anti);
        let (of_moving, of_fixed) =
            (self.side(moving.0, moving.1, keeps)?, self.side(fixed.0, fixed.1, *null_equal)?);
        let (left, right) = (&self.body.rels[*left].schema, &self.body.rels[*right].schema);
        let fields: Vec<_> = left.fields().iter().chain(right.fields()).cloned().collect();
        let meeting = Meeting {
            kind: *kind,
            residual: residual.as_ref(),
            flipped,
            left: Shape::new(left)?,
            both: Shape::new(&Schema::new(fields))?,
            moving: keyed(done[moving.0].clone(), of_moving, self.errors.clone(), self.collector.clone()),
            fixed: keyed(side.clone(), of_fixed, self.errors.clone(), self.collector.clone()),
        };
        Ok(self.met(meeting))
    }

    /// The rows of a join: pairs, and for other than inner joins which rows of the left have a partner.
    fn met(&self, of: Meeting<'p, 's, 'i>) -> Batches<'i, Round> {
        let collector = || self.collector.clone();
        let rows = of.moving.clone().map(|(_, row)| row);
        let half = matches!(of.kind, JoinKind::Semi | JoinKind::Anti);
        let pairs = (!half || of.residual.is_some()).then(|| {
            let pairs = self.batches(self.pairs(&of));
            match of.residual {
                None => pairs,
                Some(residual) => {
                    linear::filter(pairs, of.both.clone(), residual.clone(), self.errors.clone())
                }
            }
        });
        let partnered = || match (&pairs, of.residual) {
            (Some(pairs), Some(_)) => {
                let left = 0..of.left.codec.columns();
                let left = pairs::columns_of(pairs.clone(), of.both.clone(), left, collector());
                let met = packed(left, of.left.clone(), collector()).threshold(|_, _| 1i64);
                let rows = rows.clone().arrange_by_self();
                rows.join_core(met.arrange_by_self(), |row, (), ()| Some(row.clone()))
            }
            _ => {
                let keys = of.fixed.clone().map(|(key, _)| key).threshold(|_, _| 1i64);
                let rows = of.moving.clone().arrange_by_key();
                rows.join_core(keys.arrange_by_self().enter(self.inner), |_, row, ()| Some(row.clone()))
            }
        };
        let unmatched = || self.batches(rows.clone().concat(partnered().negate()));
        match (of.kind, &pairs) {
            (JoinKind::Semi, _) => self.batches(partnered()),
            (JoinKind::Anti, _) | (_, None) => unmatched(),
            (JoinKind::Inner, Some(pairs)) => pairs.clone(),
            (JoinKind::Left | JoinKind::Full, Some(pairs)) => {
                let nulls = (0, of.both.codec.columns() - of.left.codec.columns());
                pairs.clone().concat(pairs::null_extend(unmatched(), of.left.clone(), nulls, collector()))
            }
        }
    }

    /// Packed rows as batches of their rounds.
    fn batches(&self, rows: Bag<'i, Round>) -> Batches<'i, Round> {
        let (name, collector) = (self.name.clone(), self.collector.clone());
        rows.inner.unary::<CapacityContainerBuilder<_>, _, _, _>(Pipeline, "Batches", move |_, _| {
            move |input, output| {
                input.for_each(|capability, rows: &mut Vec<(Row, Round, i64)>| {
                    let capability = capability.retain(0);
                    let mut parts: BTreeMap<Round, (Rows, Vec<i64>)> = BTreeMap::new();
                    for (row, time, diff) in rows.drain(..) {
                        let part = parts.entry(time).or_default();
                        part.0.push(&row);
                        part.1.push(diff);
                    }
                    for (time, (rows, diffs)) in parts {
                        collector.borrow_mut().at(time.outer).touch(&name, diffs.len() as u64);
                        let batch = DeltaBatch { data: Data::Packed(rows), diffs };
                        output.session(&capability.delayed(&time)).give(batch);
                    }
                });
            }
        })
    }

    /// Pairs of equal keys, left row then right row.
    fn pairs(&self, of: &Meeting<'p, 's, 'i>) -> Bag<'i, Round> {
        let mut guard = Guard::new(&self.name, self.collector.clone());
        let moving = of.moving.clone().arrange_by_key_named(&self.name);
        let fixed = of.fixed.clone().arrange_by_key_named(&self.name).enter(self.inner);
        let flipped = of.flipped;
        join_traces::<_, _, _, _, CapacityContainerBuilder<Vec<(Row, Round, i64)>>>(
            moving,
            fixed,
            move |_, moving: &Row, fixed: &Row, time: Round, one, other, out| {
                if guard.admits(time.outer, moving.len() + fixed.len()) {
                    let pair = if flipped { [fixed, moving] } else { [moving, fixed] };
                    out.push_into((pair.map(Row::as_slice).concat(), time, one * other));
                }
            },
        )
        .as_collection()
    }
}

/// The rows of batches, packed.
fn packed<'s, T: Timed + Lattice>(stream: Batches<'s, T>, shape: Shape, collector: Shared) -> Bag<'s, T> {
    let packed = stream.unary::<CapacityContainerBuilder<_>, _, _, _>(Pipeline, "Packed", move |_, _| {
        move |input, output| {
            input.for_each(|time, batches: &mut Vec<DeltaBatch>| {
                let mut session = output.session(&time);
                for mut batch in batches.drain(..) {
                    let diffs = std::mem::take(&mut batch.diffs);
                    match shape.packed(batch) {
                        Ok(rows) => {
                            let rows = rows.iter().zip(diffs);
                            rows.for_each(|(row, diff)| {
                                session.give((row.to_vec(), time.time().clone(), diff))
                            });
                        }
                        Err(error) => collector.borrow_mut().fail(error),
                    }
                }
            });
        }
    });
    packed.as_collection()
}

/// Key and row of the rows of batches that may match.
fn keyed<'s, T: Timed + Lattice>(
    stream: Batches<'s, T>,
    side: Side,
    errors: Errors,
    collector: Shared,
) -> Keyed<'s, T> {
    let keyed = stream.unary::<CapacityContainerBuilder<_>, _, _, _>(Pipeline, "JoinKeys", move |_, _| {
        move |input, output| {
            input.for_each(|time, batches: &mut Vec<DeltaBatch>| {
                let mut session = output.session(&time);
                for batch in batches.drain(..) {
                    match side.rows(&errors, time.time().epoch(), batch) {
                        Ok(keyed) => {
                            let pairs = keyed.keys.iter().zip(keyed.rows.iter()).zip(keyed.diffs);
                            pairs.for_each(|((key, row), diff)| {
                                session.give(((key.to_vec(), row.to_vec()), time.time().clone(), diff));
                            });
                        }
                        Err(error) => collector.borrow_mut().fail(error),
                    }
                }
            });
        }
    });
    keyed.as_collection()
}
