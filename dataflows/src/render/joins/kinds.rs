//! Rendering of the plan's joins: the operators that each kind consists of.
//!
//! Matching pairs come from one join of both sides by key. The set of a side's rows with a match is the
//! keys of the other side, or, under a residual condition, the rows that occur in the pairs that pass
//! it. A semi join is the left rows in that set; the rows without a match are all rows minus those in
//! the set, which an anti join emits and an outer join extends by NULLs. Each part is a join over
//! arrangements, so the work is proportional to the changes.
//!
//! Where the condition bounds the distance of two times, pairs come from rows by key and time (see `band`).
//!
//! NULL keys match none unless the join says otherwise: they are left out of a side whose rows need a
//! match. Without keys all rows of a side have the same key.

use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion_common::ScalarValue;
use datafusion_physical_expr::expressions::Literal;
use schemas::{RowCodec, stored_key};
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::{Concat, Input};

use super::band::BandPlacement;
use super::pairs::{self, JoinSide};
use crate::arrange::rows::Diff;
use crate::arrange::trace::{self, PackedArranged};
use crate::arrange::updates::{ExchangeBuffer, Updates};
use crate::error::RunError;
use crate::functions::sums::accum::Accums;
use crate::plan::analysis::fallible::fallible;
use crate::plan::analysis::interval::{self, Band};
use crate::plan::state_role::StateRole;
use crate::plan::{JoinKind, Op, RelId, Scalar};
use crate::render::aggregates::{input::Grouping, operator};
use crate::render::batch::{DeltaBatch, RelationType, null_in};
use crate::render::event_time::expire::RemovalLoop;
use crate::render::linear::Deltas;
use crate::render::operators::{each_message, owner_of};
use crate::render::{Renderer, Restore};

/// Updates of rows by key.
pub(in crate::render) type KeyedStream<'s> = Stream<'s, u64, Vec<Updates<i64>>>;

/// Rendered side of a join.
struct ArrangedSide<'s> {
    /// Columns of its rows.
    schema: SchemaRef,
    /// Type of its rows.
    shape: RelationType,
    /// Types of its keys, as columns.
    keys: Schema,
    /// All its rows by key, including those that can match none.
    updates: KeyedStream<'s>,
    /// Rows that may match, arranged.
    arranged: PackedArranged<'s, i64>,
    /// Name of the side in the names of its arrangements.
    part: &'static str,
}

/// Matching pairs, with the number of left columns in them.
struct MatchedPairs<'s> {
    stream: Deltas<'s>,
    shape: RelationType,
    left: usize,
}

impl<'s> Renderer<'s, '_> {
    /// Renders a join of any kind.
    ///
    /// # Errors
    /// When the plan breaks one of its own invariants.
    pub(in crate::render) fn render_join(&mut self, id: RelId) -> Result<Deltas<'s>, RunError> {
        let joined = self.join_rows(id)?;
        self.hold_back_expired(id, joined, self.shapes[id].clone())
    }

    /// Returns the join's rows, including the changes that result from expiry of its sides.
    fn join_rows(&mut self, id: RelId) -> Result<Deltas<'s>, RunError> {
        let Op::Join { kind, residual, null_equal, .. } = &self.plan.rels[id].op else {
            return Err(RunError::Broken("not a join".into()));
        };
        let (kind, null_equal) = (*kind, *null_equal);
        let keeps_left = matches!(kind, JoinKind::Left | JoinKind::Full | JoinKind::Anti);
        let full = kind == JoinKind::Full;
        let filter_nulls = full && !null_equal;
        let left = self.join_side(id, StateRole::Left, (keeps_left || null_equal, filter_nulls))?;
        let right = self.join_side(id, StateRole::Right, (full || null_equal, filter_nulls))?;
        // Semi and anti joins output left rows only.
        let left_only = matches!(kind, JoinKind::Semi | JoinKind::Anti);
        // Pairs are needed as output, or to evaluate a condition on them.
        let pairs = if !left_only || residual.is_some() {
            Some(self.matched_pairs(id, &left, &right, residual.as_ref())?)
        } else {
            None
        };
        // Only under a residual condition do matches depend on the pairs; otherwise on keys alone.
        let chosen = if residual.is_some() { pairs.as_ref() } else { None };
        match (kind, &pairs) {
            (JoinKind::Semi, _) => self.with_match(id, &left, &right, (chosen, 1)),
            (JoinKind::Anti, _) => self.without_match(id, &left, &right, chosen),
            (_, None) => Err(RunError::Broken("a join without pairs".into())),
            (JoinKind::Inner, Some(pairs)) => Ok(pairs.stream.clone()),
            (JoinKind::Left | JoinKind::Full, Some(pairs)) => {
                let rows = self.without_match(id, &left, &right, chosen)?;
                let nulls = (0, right.schema.fields().len());
                let rows = pairs::null_extend(rows, left.shape.clone(), nulls, self.collector.clone());
                let out = pairs.stream.clone().concat(rows);
                if kind == JoinKind::Left {
                    return Ok(out);
                }
                let rows = self.without_match(id, &right, &left, chosen)?;
                let nulls = (left.schema.fields().len(), 0);
                Ok(out.concat(pairs::null_extend(rows, right.shape, nulls, self.collector.clone())))
            }
        }
    }

    /// Renders one side: keyed rows, including restored ones, arranged. `filter_nulls` leaves rows with a
    /// NULL in the key out of the arrangement although they are part of the state.
    fn join_side(
        &mut self,
        id: RelId,
        part: StateRole,
        (keep_null_keys, filter_nulls): (bool, bool),
    ) -> Result<ArrangedSide<'s>, RunError> {
        let Op::Join { left, right, left_keys, right_keys, .. } = &self.plan.rels[id].op else {
            return Err(RunError::Broken("not a join".into()));
        };
        let (input, keys, name) = match part {
            StateRole::Right => (*right, right_keys, "right"),
            _ => (*left, left_keys, "left"),
        };
        // A join without equalities puts all rows of a side under one constant key.
        let keys = if keys.is_empty() { vec![one_key()] } else { keys.clone() };
        let schema = self.plan.rels[input].schema.clone();
        let key_columns = key_columns(&schema, &keys)?;
        let codec = RowCodec::of(&key_columns)?;
        let (updates, removal_loop) =
            self.side_updates(id, input, (keys, codec.clone()), (part, keep_null_keys))?;
        let shape = self.shapes[input].clone();
        // Rows are placed by time where the condition bounds it.
        let null_keys = if filter_nulls { Some(codec.clone()) } else { None };
        let placing = self
            .time_band(id)
            .map(|band| BandPlacement::new(band, part == StateRole::Right, shape.codec.clone(), null_keys));
        let matching = match &placing {
            Some(placing) => self.place_by_time(&updates, placing.clone()),
            None if filter_nulls => self.filter_null_keys(&updates, &codec, false),
            None => updates.clone(),
        };
        let arranged = trace::arrange(matching, &self.counter_name(id, name), self.collector.clone());
        let (of, row_codec) = ((&*self.counter_name(id, name), part), shape.codec.clone());
        if placing.is_some() {
            self.connect_placed_expiry(&[&arranged], removal_loop, of, row_codec, placing.as_ref())?;
        } else if filter_nulls && removal_loop.is_some() {
            // Filtered rows must expire as well: they have an arrangement of their own for that.
            let (nulls, name) = (self.filter_null_keys(&updates, &codec, true), format!("{} nulls", of.0));
            let nulls = trace::arrange(nulls, &name, self.collector.clone());
            self.connect_expiry(&[&arranged, &nulls], removal_loop, of, row_codec)?;
        } else {
            self.connect_expiry(&[&arranged], removal_loop, of, row_codec)?;
        }
        Ok(ArrangedSide { schema, shape, keys: key_columns, updates, arranged, part: name })
    }

    /// Returns the bound on the distance of two times, if the join's condition has one.
    fn time_band(&self, id: RelId) -> Option<Band> {
        let Op::Join { left, right, residual, .. } = &self.plan.rels[id].op else { return None };
        let (left, right) = (&self.plan.rels[*left].schema, &self.plan.rels[*right].schema);
        // Rows that expire by a bounded time are placed by it, so that those due are found in its order.
        let expires = |role| self.plan.expiry.get(&(id, role)).map(|horizon| horizon.column);
        let columns = expires(StateRole::Left).zip(expires(StateRole::Right));
        interval::band(residual.as_ref()?, left, right, columns)
    }

    /// Places updates by key and time.
    fn place_by_time(&self, updates: &KeyedStream<'s>, placing: BandPlacement) -> KeyedStream<'s> {
        let collector = self.collector.clone();
        self.rekey_updates(updates.clone(), move |out, key, row, diff| {
            if let Err(error) = placing.put_row(out, (key, row), diff) {
                collector.borrow_mut().fail(error);
            }
        })
    }

    /// Keeps the updates whose key holds a NULL (`null`), or those whose key holds none.
    fn filter_null_keys(&self, updates: &KeyedStream<'s>, codec: &RowCodec, null: bool) -> KeyedStream<'s> {
        let (codec, collector) = (codec.clone(), self.collector.clone());
        self.rekey_updates(updates.clone(), move |out, key, row, diff| match null_in(&codec, key) {
            Ok(found) if found == null => {
                out.push_key(key);
                out.push_value(row, diff);
            }
            Ok(_) => {}
            Err(error) => collector.borrow_mut().fail(error),
        })
    }

    /// Returns the keyed rows of a join's side, including restored rows and removals of expired ones.
    fn side_updates(
        &mut self,
        id: RelId,
        input: RelId,
        (keys, key_codec): (Vec<Scalar>, RowCodec),
        (part, keep_null_keys): (StateRole, bool),
    ) -> Result<(KeyedStream<'s>, Option<RemovalLoop<'s, i64>>), RunError> {
        let updates = self.keyed_input((id, part), input, (keys, key_codec.clone()), keep_null_keys)?;
        let (updates, removal_loop) = self.with_expiry(updates, (id, part));
        Ok((self.persist_rows(updates, (id, part), &key_codec)?, removal_loop))
    }

    /// Returns the keyed rows of an input, for a part of an operator's state.
    pub(in crate::render) fn keyed_input(
        &self,
        (id, part): (RelId, StateRole),
        input: RelId,
        (keys, key_codec): (Vec<Scalar>, RowCodec),
        keep_null_keys: bool,
    ) -> Result<KeyedStream<'s>, RunError> {
        let durable = self.plan.rels[id].durable && !self.is_refilled(id, part);
        let shape = self.shapes[input].clone();
        let side = JoinSide { shape, keys, key_codec, keep_null_keys };
        let stream = self.new_input(id, input, durable);
        Ok(pairs::key_rows(stream, side, self.error_table(id)?, self.collector.clone()))
    }

    /// Stores a multiset of rows in its state table, and adds the rows restored from it, where it is durable.
    pub(in crate::render) fn persist_rows(
        &mut self,
        updates: KeyedStream<'s>,
        (id, part): (RelId, StateRole),
        key: &RowCodec,
    ) -> Result<KeyedStream<'s>, RunError> {
        if !self.plan.rels[id].durable {
            return Ok(updates);
        }
        let table_id = self.state_tables.table_of(id, part)?;
        // Restored rows join behind the counting: they are in the state already.
        let counted = self.count_into_state(updates, table_id);
        if !self.start.is_restored() || self.is_refilled(id, part) {
            return Ok(counted);
        }
        let (handle, restored) = self.scope.new_input();
        self.restores.push(Restore::Rows { table_id, key: key.clone(), handle });
        Ok(counted.concat(restored))
    }

    /// Counts every update of a multiset of rows in its state table, at the owner of its key, and passes it
    /// on.
    pub(in crate::render) fn count_into_state(
        &self,
        updates: KeyedStream<'s>,
        table_id: u32,
    ) -> KeyedStream<'s> {
        let collector = self.collector.clone();
        each_message(updates, Exchange::new(owner_of), "Count", move |time, updates, output| {
            let mut collector = collector.borrow_mut();
            // Counted under the message's epoch, so that state and output are committed together.
            let out = collector.at(*time.time());
            for (key, row, diff) in updates.iter().flat_map(Updates::iter) {
                let mut stored = stored_key(key);
                stored.extend_from_slice(row);
                out.add_count(table_id, &stored, *diff);
            }
            output.session(&time).give_container(updates);
        })
    }

    /// Returns all pairs of equal keys that pass the residual condition.
    fn matched_pairs(
        &self,
        id: RelId,
        left: &ArrangedSide<'s>,
        right: &ArrangedSide<'s>,
        residual: Option<&Scalar>,
    ) -> Result<MatchedPairs<'s>, RunError> {
        let fields = left.schema.fields().iter().chain(right.schema.fields());
        let shape = RelationType::new(&Schema::new(fields.cloned().collect::<Vec<_>>()))?;
        let (name, collector) = (self.counter_name(id, "join"), self.collector.clone());
        let sides = (left.arranged.clone(), right.arranged.clone());
        let mut stream = match self.time_band(id) {
            Some(band) => pairs::match_within_band(sides, band, &name, collector),
            None => pairs::match_keys(sides.0, sides.1, &name, collector),
        };
        if let Some(residual) = residual {
            let mut errors = self.error_table(id)?;
            let fails = fallible(residual.expr(), &shape.schema);
            if fails && self.plan.settled.contains_key(&id) {
                // An error must stay when its pair expires, so errors are recorded only from unsettled pairs;
                // the output of this filter is not used.
                let unsettled = self.hold_back_expired(id, stream.clone(), shape.clone())?;
                crate::render::linear::filter(unsettled, shape.clone(), residual.clone(), errors.clone());
                errors = errors.without_recording();
            }
            stream = crate::render::linear::filter(stream, shape.clone(), residual.clone(), errors);
        }
        Ok(MatchedPairs { stream, shape, left: left.schema.fields().len() })
    }

    /// Returns the rows of `of` that have a match in `other`, multiplied by `sign`.
    fn with_match(
        &self,
        id: RelId,
        of: &ArrangedSide<'s>,
        other: &ArrangedSide<'s>,
        (pairs, sign): (Option<&MatchedPairs<'s>>, i64),
    ) -> Result<Deltas<'s>, RunError> {
        let (name, collector) = (self.counter_name(id, "join"), self.collector.clone());
        let Some(pairs) = pairs else {
            // Without a condition on pairs, a row matches if its key occurs on the other side.
            let keys = self.rekey_updates(other.updates.clone(), |out, key, _, diff| {
                out.push_key(key);
                out.push_value(&[], Accums::of_rows(diff));
            });
            let present = self.distinct_keys((id, of.part), keys, &of.keys)?;
            return Ok(pairs::semi_join(of.arranged.clone(), present, (&name, sign), collector));
        };
        let columns = if of.part == "left" { 0..pairs.left } else { pairs.left..pairs.shape.codec.columns() };
        let rows = pairs::columns_of(pairs.stream.clone(), pairs.shape.clone(), columns, collector.clone());
        let rows = pairs::whole_rows(rows, of.shape.clone(), collector.clone());
        let present = self.distinct_keys((id, of.part), rows, &of.schema)?;
        // Pairs give whole rows, so the rows are looked up by row instead of by key.
        let by_row = self.rekey_updates(of.updates.clone(), |out, _, row, diff| {
            out.push_key(row);
            out.push_value(row, diff);
        });
        let by_row =
            trace::arrange(by_row, &self.counter_name(id, &format!("{} rows", of.part)), collector.clone());
        Ok(pairs::semi_join(by_row, present, (&name, sign), collector))
    }

    /// Returns the rows of `of` without a match in `other`.
    fn without_match(
        &self,
        id: RelId,
        of: &ArrangedSide<'s>,
        other: &ArrangedSide<'s>,
        pairs: Option<&MatchedPairs<'s>>,
    ) -> Result<Deltas<'s>, RunError> {
        Ok(rows_of(of.updates.clone()).concat(self.with_match(id, of, other, (pairs, -1))?))
    }

    /// Converts updates to those of another key or value, made by `each`, for another arrangement.
    fn rekey_updates<R: Diff>(
        &self,
        updates: KeyedStream<'s>,
        each: impl Fn(&mut ExchangeBuffer<R>, &[u8], &[u8], i64) + 'static,
    ) -> Stream<'s, u64, Vec<Updates<R>>> {
        let ownership = self.collector.borrow().ownership();
        each_message(updates, Pipeline, "Rekey", move |time, message, output| {
            let mut session = output.session(&time);
            for updates in message.drain(..) {
                let mut outgoing = ExchangeBuffer::new(updates.epoch, &ownership);
                for (key, row, diff) in updates.iter() {
                    each(&mut outgoing, key, row, *diff);
                }
                for rekeyed in outgoing.into_updates() {
                    session.give(rekeyed);
                }
            }
        })
    }

    /// Returns the distinct keys of `updates`, arranged by themselves.
    fn distinct_keys(
        &self,
        (id, of): (RelId, &str),
        updates: Stream<'s, u64, Vec<Updates<Accums>>>,
        schema: &Schema,
    ) -> Result<PackedArranged<'s, i64>, RunError> {
        let grouping = Grouping::of_all_columns(schema)?;
        let shape = RelationType::new(schema)?;
        let name = self.counter_name(id, &format!("{of} keys"));
        let arranged = trace::arrange(updates, &name, self.collector.clone());
        // A set: the reduce emits a key when its count becomes positive, and retracts it at zero.
        let expires = (grouping.clone(), None);
        let reduce = self.reduce_of(expires, shape.clone(), (id, None), self.error_table(id)?);
        let present = operator::reduce(arranged, reduce);
        let Grouping { keys, key_codec, .. } = grouping;
        let side = JoinSide { shape, keys, key_codec, keep_null_keys: true };
        let keyed = pairs::key_rows(present, side, self.error_table(id)?, self.collector.clone());
        let name = self.counter_name(id, &format!("{of} present"));
        Ok(trace::arrange(keyed, &name, self.collector.clone()))
    }
}

/// Returns the single key of a join without equalities.
pub(in crate::render) fn one_key() -> Scalar {
    Scalar::new(std::sync::Arc::new(Literal::new(ScalarValue::Boolean(Some(true)))))
}

/// Returns the key expressions' types as columns.
pub(in crate::render) fn key_columns(schema: &Schema, keys: &[Scalar]) -> Result<Schema, RunError> {
    let mut fields = Vec::with_capacity(keys.len());
    for (at, key) in keys.iter().enumerate() {
        fields.push(Field::new(format!("k{at}"), key.data_type(schema)?, true));
    }
    Ok(Schema::new(fields))
}

/// Converts keyed updates to batches of rows.
fn rows_of<'s>(updates: KeyedStream<'s>) -> Deltas<'s> {
    each_message(updates, Pipeline, "Rows", |time, message, output| {
        let mut session = output.session(&time);
        for updates in message.drain(..) {
            let (mut rows, mut diffs) = (schemas::Rows::new(), Vec::new());
            for (_, row, diff) in updates.iter() {
                rows.push(row);
                diffs.push(*diff);
            }
            session.give(DeltaBatch::from_packed(rows, diffs));
        }
    })
}
