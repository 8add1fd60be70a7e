//! The joins of a plan: which operators each kind is made of.
//!
//! Matching pairs come from one join of both sides by key. Which rows of a side have a partner is a
//! set of its own: the keys of the other side, or, under a residual condition, the rows that occur
//! among the pairs that pass it. A semi join is the rows of the left in that set; what has no partner
//! is all rows less those in the set, which an anti join gives and an outer join fills with NULLs.
//! Each part is a join over arrangements, so the work is proportional to what changed.
//!
//! Where the condition bounds the distance of two times, pairs come from rows by key and time (see `band`).
//!
//! NULL keys match nothing unless the join says otherwise: they are left out of a side whose rows
//! need a partner. Without keys all rows of a side stand under one key.

use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion_common::ScalarValue;
use datafusion_physical_expr::expressions::Literal;
use schemas::RowCodec;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::operators::{Concat, Input};

use super::band::Placing;
use super::pairs::{self, Side};
use crate::arrange::trace::{self, Diff, PackedArranged};
use crate::arrange::updates::{Outgoing, Updates};
use crate::error::RunError;
use crate::plan::analysis::fallible::fallible;
use crate::plan::analysis::interval::{self, Band};
use crate::plan::state_role::Part;
use crate::plan::{JoinKind, Op, RelId, Scalar};
use crate::render::aggregates::accum::Accums;
use crate::render::aggregates::input::Grouping;
use crate::render::batch::{Data, DeltaBatch, Shape};
use crate::render::collect::stored_key;
use crate::render::event_time::expire::Back;
use crate::render::linear::Deltas;
use crate::render::{Renderer, Restore};

pub(in crate::render) type Keyed<'s> = Stream<'s, u64, Vec<Updates<i64>>>;

/// One side of a join on its way.
struct Half<'s> {
    /// Columns of its rows.
    schema: SchemaRef,
    /// Rows of the side.
    shape: Shape,
    /// Types of its keys, as columns.
    keys: Schema,
    /// All its rows by key, those included that can match nothing.
    updates: Keyed<'s>,
    /// Those that may match, arranged.
    arranged: PackedArranged<'s, i64>,
    /// What its arrangements are called.
    part: &'static str,
}

/// Pairs that match, and the columns of the left in them.
struct Pairs<'s> {
    stream: Deltas<'s>,
    shape: Shape,
    left: usize,
}

impl<'s> Renderer<'s, '_> {
    /// A join of any kind.
    ///
    /// # Errors
    /// When the plan does not hold what it promises.
    pub(in crate::render) fn join(&mut self, id: RelId) -> Result<Deltas<'s>, RunError> {
        let joined = self.joined(id)?;
        self.frozen(id, joined, self.shapes[id].clone())
    }

    fn joined(&mut self, id: RelId) -> Result<Deltas<'s>, RunError> {
        let Op::Join { kind, residual, null_equal, .. } = &self.plan.rels[id].op else {
            return Err(RunError::Broken("not a join".into()));
        };
        let (kind, null_equal) = (*kind, *null_equal);
        let keeps_left = matches!(kind, JoinKind::Left | JoinKind::Full | JoinKind::Anti);
        let full = kind == JoinKind::Full;
        let sift = full && !null_equal;
        let left = self.half(id, Part::Left, (keeps_left || null_equal, sift))?;
        let right = self.half(id, Part::Right, (full || null_equal, sift))?;
        let half = matches!(kind, JoinKind::Semi | JoinKind::Anti);
        // Whole pairs are needed for what they hold, or for a condition on them.
        let pairs = (!half || residual.is_some()).then(|| self.pairs(id, &left, &right, residual.as_ref()));
        let pairs = pairs.transpose()?;
        let chosen = pairs.as_ref().filter(|_| residual.is_some());
        match (kind, &pairs) {
            (JoinKind::Semi, _) => self.partnered(id, &left, &right, (chosen, 1)),
            (JoinKind::Anti, _) => self.unmatched(id, &left, &right, chosen),
            (_, None) => Err(RunError::Broken("a join without pairs".into())),
            (JoinKind::Inner, Some(pairs)) => Ok(pairs.stream.clone()),
            (JoinKind::Left | JoinKind::Full, Some(pairs)) => {
                let rows = self.unmatched(id, &left, &right, chosen)?;
                let nulls = (0, right.schema.fields().len());
                let rows = pairs::null_extend(rows, left.shape.clone(), nulls, self.collector.clone());
                let out = pairs.stream.clone().concat(rows);
                if kind == JoinKind::Left {
                    return Ok(out);
                }
                let rows = self.unmatched(id, &right, &left, chosen)?;
                let nulls = (left.schema.fields().len(), 0);
                Ok(out.concat(pairs::null_extend(rows, right.shape, nulls, self.collector.clone())))
            }
        }
    }

    /// One side: keyed rows, with what was restored, arranged. `sift` leaves rows with a NULL in the
    /// key out of the arrangement although they are kept.
    fn half(
        &mut self,
        id: RelId,
        part: Part,
        (keep_null_keys, sift): (bool, bool),
    ) -> Result<Half<'s>, RunError> {
        let Op::Join { left, right, left_keys, right_keys, .. } = &self.plan.rels[id].op else {
            return Err(RunError::Broken("not a join".into()));
        };
        let (input, keys, name) = match part {
            Part::Right => (*right, right_keys, "right"),
            _ => (*left, left_keys, "left"),
        };
        let keys = if keys.is_empty() { vec![one_key()] } else { keys.clone() };
        let schema = self.plan.rels[input].schema.clone();
        let key_columns = key_columns(&schema, &keys)?;
        let codec = RowCodec::of(&key_columns)?;
        let (updates, back) = self.side(id, input, (keys, codec.clone()), (part, keep_null_keys))?;
        let shape = self.shapes[input].clone();
        let band = self.band(id);
        let placing = band.map(|band| {
            Placing::new(band, part == Part::Right, shape.codec.clone(), sift.then(|| codec.clone()))
        });
        let matching = match &placing {
            Some(placing) => self.placed(&updates, placing.clone()),
            None if sift => self.sifted(&updates, &codec, false),
            None => updates.clone(),
        };
        let arranged = trace::arrange(matching, &self.named(id, name), self.collector.clone());
        let of = (&*self.named(id, name), part, shape.codec.clone());
        if placing.is_some() {
            self.tie_placed(&[&arranged], back, of, placing.as_ref())?;
        } else if sift && back.is_some() {
            let (nulls, name) = (self.sifted(&updates, &codec, true), format!("{} nulls", of.0));
            let nulls = trace::arrange(nulls, &name, self.collector.clone());
            self.tie(&[&arranged, &nulls], back, of)?;
        } else {
            self.tie(&[&arranged], back, of)?;
        }
        Ok(Half { schema, shape, keys: key_columns, updates, arranged, part: name })
    }

    /// The bound on the distance of times, of a join whose condition has one.
    fn band(&self, id: RelId) -> Option<Band> {
        let Op::Join { left, right, residual, null_equal, .. } = &self.plan.rels[id].op else { return None };
        let (left, right) = (&self.plan.rels[*left].schema, &self.plan.rels[*right].schema);
        interval::band(residual.as_ref().filter(|_| !null_equal)?, left, right)
    }

    /// Updates by key and time.
    fn placed(&self, updates: &Keyed<'s>, placing: Placing) -> Keyed<'s> {
        let collector = self.collector.clone();
        self.rekeyed(updates.clone(), move |out, key, row, diff| {
            if let Err(error) = placing.put(out, (key, row), diff) {
                collector.borrow_mut().fail(error);
            }
        })
    }

    /// Updates whose keys have a NULL in them, or those whose keys have none.
    fn sifted(&self, updates: &Keyed<'s>, codec: &RowCodec, null: bool) -> Keyed<'s> {
        let codec = codec.clone();
        self.rekeyed(updates.clone(), move |out, key, row, diff| {
            if null_in(&codec, key) == null {
                out.key(key);
                out.value(row, diff);
            }
        })
    }

    /// Keyed rows of a join's side, with what was restored and what will expire.
    fn side(
        &mut self,
        id: RelId,
        input: RelId,
        (keys, key_codec): (Vec<Scalar>, RowCodec),
        (part, keep_null_keys): (Part, bool),
    ) -> Result<(Keyed<'s>, Option<Back<'s, i64>>), RunError> {
        let updates = self.keyed((id, part), input, (keys, key_codec.clone()), keep_null_keys)?;
        let (updates, back) = self.expiring(updates, (id, part));
        Ok((self.kept(updates, (id, self.plan.rels[id].durable, part), &key_codec)?, back))
    }

    /// Keyed rows of an input, for a part of an operator's state.
    pub(in crate::render) fn keyed(
        &self,
        (id, part): (RelId, Part),
        input: RelId,
        (keys, key_codec): (Vec<Scalar>, RowCodec),
        keep_null_keys: bool,
    ) -> Result<Keyed<'s>, RunError> {
        let durable = self.plan.rels[id].durable && !self.anew(id, part);
        let shape = self.shapes[input].clone();
        let side = Side { shape, keys, key_codec, keep_null_keys };
        let stream = self.input(durable, self.streams[input].clone());
        Ok(pairs::keyed(stream, side, self.errors(id)?, self.collector.clone()))
    }

    /// Updates of a bag, kept in its space and restored from it where it is durable.
    pub(in crate::render) fn kept(
        &mut self,
        updates: Keyed<'s>,
        (id, durable, part): (RelId, bool, Part),
        key: &RowCodec,
    ) -> Result<Keyed<'s>, RunError> {
        if !durable {
            return Ok(updates);
        }
        let space = self.spaces.part(id, part)?;
        let tee = self.tee(updates, space);
        if !self.start.restored() || self.anew(id, part) {
            return Ok(tee);
        }
        let (handle, restored) = self.scope.new_input();
        self.restores.push(Restore::Rows { space, key: key.clone(), handle });
        Ok(tee.concat(restored))
    }

    /// Counts every update of a bag in its space.
    pub(in crate::render) fn tee(&self, updates: Keyed<'s>, space: u32) -> Keyed<'s> {
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

    /// All pairs of equal keys that pass the residual condition.
    fn pairs(
        &self,
        id: RelId,
        left: &Half<'s>,
        right: &Half<'s>,
        residual: Option<&Scalar>,
    ) -> Result<Pairs<'s>, RunError> {
        let fields = left.schema.fields().iter().chain(right.schema.fields());
        let shape = Shape::new(&Schema::new(fields.cloned().collect::<Vec<_>>()))?;
        let (name, collector) = (self.named(id, "join"), self.collector.clone());
        let sides = (left.arranged.clone(), right.arranged.clone());
        let mut stream = match self.band(id) {
            Some(band) => pairs::near(sides, band, &name, collector),
            None => pairs::matches(sides.0, sides.1, &name, collector),
        };
        if let Some(residual) = residual {
            let mut errors = self.errors(id)?;
            let fails = fallible(residual.expr(), &shape.schema);
            if fails && self.plan.settled.contains_key(&id) {
                // What failed once stays so when the pair expires: only pairs that are not settled are told.
                let unsettled = self.frozen(id, stream.clone(), shape.clone())?;
                crate::render::linear::filter(unsettled, shape.clone(), residual.clone(), errors.clone());
                errors = errors.silent();
            }
            stream = crate::render::linear::filter(stream, shape.clone(), residual.clone(), errors);
        }
        Ok(Pairs { stream, shape, left: left.schema.fields().len() })
    }

    /// The rows of `of` that have a partner in `other`, times `sign`.
    fn partnered(
        &self,
        id: RelId,
        of: &Half<'s>,
        other: &Half<'s>,
        (pairs, sign): (Option<&Pairs<'s>>, i64),
    ) -> Result<Deltas<'s>, RunError> {
        let (name, collector) = (self.named(id, "join"), self.collector.clone());
        let Some(pairs) = pairs else {
            let keys = self.rekeyed(other.updates.clone(), |out, key, _, diff| {
                out.key(key);
                out.value(&[], Accums::count(diff));
            });
            let present = self.distinct((id, of.part), keys, &of.keys)?;
            return Ok(pairs::among(of.arranged.clone(), present, (&name, sign), collector));
        };
        let columns = if of.part == "left" { 0..pairs.left } else { pairs.left..pairs.shape.codec.columns() };
        let rows = pairs::columns_of(pairs.stream.clone(), pairs.shape.clone(), columns, collector.clone());
        let rows = pairs::whole_rows(rows, of.shape.clone(), collector.clone());
        let present = self.distinct((id, of.part), rows, &of.schema)?;
        let by_row = self.rekeyed(of.updates.clone(), |out, _, row, diff| {
            out.key(row);
            out.value(row, diff);
        });
        let by_row = trace::arrange(by_row, &self.named(id, &format!("{} rows", of.part)), collector.clone());
        Ok(pairs::among(by_row, present, (&name, sign), collector))
    }

    /// The rows of `of` without a partner in `other`.
    fn unmatched(
        &self,
        id: RelId,
        of: &Half<'s>,
        other: &Half<'s>,
        pairs: Option<&Pairs<'s>>,
    ) -> Result<Deltas<'s>, RunError> {
        Ok(rows_of(of.updates.clone()).concat(self.partnered(id, of, other, (pairs, -1))?))
    }

    /// Updates by another key, for another arrangement.
    fn rekeyed<R: Diff>(
        &self,
        updates: Keyed<'s>,
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

    /// The keys that occur, arranged by themselves.
    fn distinct(
        &self,
        (id, of): (RelId, &str),
        updates: Stream<'s, u64, Vec<Updates<Accums>>>,
        schema: &Schema,
    ) -> Result<PackedArranged<'s, i64>, RunError> {
        let columns: Vec<Scalar> =
            schema.fields().iter().enumerate().map(|(i, f)| Scalar::column(f.name(), i)).collect();
        let grouping = Grouping::new(schema, &columns, &[])?;
        let shape = Shape::new(schema)?;
        let named = |part: &str| self.named(id, &format!("{of} {part}"));
        let arranged = trace::arrange(updates, &named("keys"), self.collector.clone());
        let present =
            self.reduce(arranged, (grouping.clone(), None), shape.clone(), (id, None, self.errors(id)?));
        let side = Side { shape, keys: columns, key_codec: grouping.key_codec, keep_null_keys: true };
        let keyed = pairs::keyed(present, side, self.errors(id)?, self.collector.clone());
        Ok(trace::arrange(keyed, &named("present"), self.collector.clone()))
    }
}

/// The one key of a join without equalities.
pub(in crate::render) fn one_key() -> Scalar {
    Scalar::new(std::sync::Arc::new(Literal::new(ScalarValue::Boolean(Some(true)))))
}

pub(in crate::render) fn key_columns(schema: &Schema, keys: &[Scalar]) -> Result<Schema, RunError> {
    let field =
        |(at, key): (usize, &Scalar)| key.data_type(schema).map(|of| Field::new(format!("k{at}"), of, true));
    let fields: Result<Vec<Field>, _> = keys.iter().enumerate().map(field).collect();
    Ok(Schema::new(fields.map_err(|e| RunError::Broken(e.to_string()))?))
}

/// Whether a packed key has a NULL in it, which is a zero byte where a column starts.
pub(in crate::render) fn null_in(codec: &RowCodec, key: &[u8]) -> bool {
    (0..codec.columns()).any(|c| codec.prefix_len(key, c).is_ok_and(|at| key.get(at) == Some(&0)))
}

/// The rows of keyed updates.
fn rows_of<'s>(updates: Keyed<'s>) -> Deltas<'s> {
    updates.unary::<CapacityContainerBuilder<_>, _, _, _>(Pipeline, "Rows", |_, _| {
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
