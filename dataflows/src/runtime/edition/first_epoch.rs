//! The first epoch of an edited topology: the rows of new tables, and the changes that sinks send.
//!
//! A start emits the content of the state at the committed epoch, as every start does. New relations take it: their
//! operators are neither restored nor cut off from it. Their output at the committed epoch, which the run would
//! drop, is put into the next epoch, which has no input and whose commit also writes the new catalogue. So the
//! filling takes effect as a whole or not at all, and a run that is killed before that commit starts it over. The
//! rows of new tables and the content of changed sinks are in memory until then.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray, new_null_array};
use arrow::datatypes::{DataType, Schema};
use schemas::{Ownership, RowCodec, Rows, stored_key, without_group};

use crate::collect::{EpochOut, SinkDelta};
use crate::error::RunError;
use crate::plan::Op;
use crate::plan::formats::Format;
use crate::render::aggregates::input::encode_keys;
use crate::render::batch::RelationType;
use crate::runtime::fill::{Fill, SentBefore, SinkFill};
use crate::runtime::restore::scan_groups;
use crate::runtime::state_tables::rooted_owners;
use crate::runtime::worker::{Setup, rows_needed};

/// Rows that are decoded at once.
const ROWS_PER_BATCH: usize = 4096;

/// Adds the output of the dataflow at the committed epoch for new tables and sinks to the first epoch after it, as far
/// as the worker `index` of `peers` has it.
///
/// # Errors
/// When the state cannot be read, or does not fit the plan.
pub(crate) fn add_filled(
    setup: &Setup,
    mut filled: EpochOut,
    out: &mut EpochOut,
    (index, peers): (usize, usize),
) -> Result<(), RunError> {
    let Some(fill) = &setup.state_tables.fill else { return Ok(()) };
    // A state without an epoch has nothing to fill from: all is new.
    if !setup.start.is_restored() {
        return Ok(());
    }
    let errors = setup.state_tables.errors;
    let owned = Ownership::even(peers);
    let failed = ErrorChanges::new(setup, fill)?.collect(filled.counts.remove(&errors), &owned, index)?;
    for (table_id, (mut keys, mut values)) in std::mem::take(&mut filled.writes) {
        if !fill.tables.contains(&table_id) {
            continue;
        }
        // Of two totals of a key the later one counts.
        if let Some((later_keys, later_values)) = out.writes.remove(&table_id) {
            for (key, value) in later_keys.iter().zip(later_values.iter()) {
                keys.push(key);
                values.push(value);
            }
        }
        out.writes.insert(table_id, (keys, values));
    }
    for (table_id, (rows, diffs)) in std::mem::take(&mut filled.counts) {
        if fill.tables.contains(&table_id) {
            for (row, diff) in rows.iter().zip(diffs) {
                out.add_count(table_id, row, diff);
            }
        }
    }
    for (row, diff) in failed.0.iter().zip(failed.1) {
        out.add_count(errors, row, diff);
    }
    for (at, sink) in &fill.sinks {
        let emitted = filled.sinks.remove(at).unwrap_or_default();
        let delta = SinkRows { setup, at: *at, owned: &owned, index }.delta(sink, emitted)?;
        if delta.diffs.is_empty() {
            out.sinks.remove(at);
        } else {
            out.sinks.insert(*at, delta);
        }
    }
    Ok(())
}

/// The rows of one sink at one worker: those whose keys it owns.
struct SinkRows<'a> {
    setup: &'a Setup,
    at: usize,
    owned: &'a Ownership,
    index: usize,
}

/// Rows by packed key.
type SinkRowsByKey = BTreeMap<Vec<u8>, Vec<u8>>;

impl SinkRows<'_> {
    /// The change that the sink sends; `emitted` are the rows that the dataflow emitted for it.
    fn delta(&self, fill: &SinkFill, emitted: SinkDelta) -> Result<SinkDelta, RunError> {
        let (plan, sink) = (&self.setup.plan, &self.setup.plan.sinks[self.at]);
        if sink.format == Format::Plain {
            return match fill.now {
                Some(table) => self.plain_rows(table),
                None => Ok(emitted),
            };
        }
        let schema = &plan.rels[sink.rel].schema;
        let now = match fill.now {
            Some((table_id, keyed)) => {
                let (schema, key) = (schema.clone(), sink.key.clone());
                self.rows_by_key(&SentBefore { table_id, schema, keyed, key })?
            }
            None if fill.before.is_none() => return Ok(emitted),
            None => emitted_by_key(&emitted),
        };
        let (before, reshaped) = match &fill.before {
            Some(before) => (self.rows_by_key(before)?, column_texts(&before.schema) != column_texts(schema)),
            None => (SinkRowsByKey::new(), false),
        };
        Ok(difference(&before, &now, reshaped))
    }

    /// The rows of a view's table in the worker's key groups, each as often as it is held.
    fn plain_rows(&self, (table_id, keyed): (u32, bool)) -> Result<SinkDelta, RunError> {
        let mut delta = SinkDelta::default();
        let groups = self.owned.ranges(self.index);
        scan_groups(&self.setup.store, table_id, &groups, |stored, value| {
            if keyed {
                delta.push(&[], value, 1);
            } else if let Some(count) = state::count_of(value) {
                delta.push(&[], without_group(stored), count);
            }
            Ok(())
        })?;
        Ok(delta)
    }

    /// The rows of a view's table by the sink's key, in the columns that the sink has now.
    fn rows_by_key(&self, from: &SentBefore) -> Result<SinkRowsByKey, RunError> {
        let (mut found, mut rows) = (SinkRowsByKey::new(), Rows::new());
        self.setup.store.scan(from.table_id, &[], |stored, value| -> Result<(), RunError> {
            rows.push(if from.keyed { value } else { without_group(stored) });
            if rows.len() >= ROWS_PER_BATCH {
                self.add_rows(from, &std::mem::take(&mut rows), &mut found)?;
            }
            Ok(())
        })?;
        self.add_rows(from, &rows, &mut found)?;
        Ok(found)
    }

    /// Adds the rows whose keys the worker owns.
    fn add_rows(&self, from: &SentBefore, rows: &Rows, found: &mut SinkRowsByKey) -> Result<(), RunError> {
        if rows.is_empty() {
            return Ok(());
        }
        let shape = RelationType::new(&from.schema)?;
        let batch = shape.assemble(shape.codec.decode(rows.iter())?, rows.len())?;
        let key_codec = RowCodec::of(&from.schema.project(&from.key)?)?;
        let columns: Vec<ArrayRef> = from.key.iter().map(|column| batch.column(*column).clone()).collect();
        let keys = encode_keys(&key_codec, &columns, rows.len())?;
        let now = self.in_columns_of_now(&batch)?;
        for (at, key) in keys.iter().enumerate() {
            if self.owned.owner_of(key) == self.index {
                found.insert(key.to_vec(), now.get(at).to_vec());
            }
        }
        Ok(())
    }

    /// The rows in the columns that the sink has now: those of the same name and type, and NULL in others.
    fn in_columns_of_now(&self, batch: &RecordBatch) -> Result<Rows, RunError> {
        let plan = &self.setup.plan;
        let shape = RelationType::new(&plan.rels[plan.sinks[self.at].rel].schema)?;
        let mut columns = Vec::with_capacity(shape.schema.fields().len());
        for field in shape.schema.fields() {
            let before = batch.schema().index_of(field.name()).ok().map(|at| batch.column(at).clone());
            columns.push(match before.filter(|column| column.data_type() == field.data_type()) {
                Some(column) => column,
                None => new_null_array(field.data_type(), batch.num_rows()),
            });
        }
        encode_keys(&shape.codec, &columns, batch.num_rows())
    }
}

/// Emitted rows by key.
fn emitted_by_key(emitted: &SinkDelta) -> SinkRowsByKey {
    let mut found = SinkRowsByKey::new();
    for (at, diff) in emitted.diffs.iter().enumerate() {
        if *diff > 0 {
            found.insert(emitted.keys.get(at).to_vec(), emitted.rows.get(at).to_vec());
        }
    }
    found
}

/// The names and types of the columns of what a sink sends.
fn column_texts(schema: &Schema) -> Vec<String> {
    let mut texts = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        texts.push(format!("{} {}", field.name(), schemas::sql_type(field)));
    }
    texts
}

/// The change from the rows that were sent to those of now, sorted by key. With other columns every row is another one.
fn difference(before: &SinkRowsByKey, now: &SinkRowsByKey, reshaped: bool) -> SinkDelta {
    let mut delta = SinkDelta::default();
    let keys: BTreeSet<&Vec<u8>> = before.keys().chain(now.keys()).collect();
    for key in keys {
        let sides = (before.get(key), now.get(key));
        if sides.0 == sides.1 && !reshaped {
            continue;
        }
        if let Some(row) = sides.0 {
            delta.push(key, row, -1);
        }
        if let Some(row) = sides.1 {
            delta.push(key, row, 1);
        }
    }
    delta
}

/// Changes of the error table: rows of edited owners go, and those that it leads to come.
struct ErrorChanges<'a> {
    setup: &'a Setup,
    fill: &'a Fill,
    codec: RowCodec,
    /// Owners all of whose rows are derived again.
    rooted: BTreeSet<&'a str>,
    /// Names of kept owners in the topology.
    kept: BTreeSet<&'a str>,
}

impl<'a> ErrorChanges<'a> {
    fn new(setup: &'a Setup, fill: &'a Fill) -> Result<ErrorChanges<'a>, RunError> {
        Ok(ErrorChanges {
            setup,
            fill,
            codec: RowCodec::new(&[const { DataType::Utf8 }; 4])?,
            rooted: owners_derived_again(setup),
            kept: fill.kept_owners.values().map(String::as_str).collect(),
        })
    }

    /// Collects the changes of rows in the worker's key groups; `derived` are the rows that the start led to.
    fn collect(
        &self,
        derived: Option<(Rows, Vec<i64>)>,
        owned: &Ownership,
        index: usize,
    ) -> Result<(Rows, Vec<i64>), RunError> {
        let (mut rows, mut diffs) = (Rows::new(), Vec::new());
        let errors = self.setup.state_tables.errors;
        scan_groups(&self.setup.store, errors, &owned.ranges(index), |stored, value| {
            let Some(count) = state::count_of(value) else {
                return Err(RunError::Damaged("a row of herald.errors has no count".into()));
            };
            let columns = self.codec.decode(std::iter::once(without_group(stored)))?;
            // Errors of sinks arise when records are sent, not in the dataflow.
            if text_at(&columns, 1).starts_with("sink ") {
                return Ok(());
            }
            let owner = text_at(&columns, 0);
            let now = self.fill.kept_owners.get(owner).filter(|now| !self.rooted.contains(now.as_str()));
            if now.is_some_and(|now| now == owner) {
                return Ok(());
            }
            rows.push(stored);
            diffs.push(-count);
            if let Some(now) = now {
                let mut renamed = columns.clone();
                renamed[0] = Arc::new(StringArray::from(vec![now.as_str()]));
                rows.push(&stored_key(self.codec.encode(&renamed)?.get(0)));
                diffs.push(count);
            }
            Ok(())
        })?;
        let (derived_rows, derived_diffs) = derived.unwrap_or_default();
        for (stored, diff) in derived_rows.iter().zip(derived_diffs) {
            let columns = self.codec.decode(std::iter::once(without_group(stored)))?;
            let owner = text_at(&columns, 0);
            if self.rooted.contains(owner) || !self.kept.contains(owner) {
                rows.push(stored);
                diffs.push(diff);
            }
        }
        Ok((rows, diffs))
    }
}

/// Owners all of whose relations the start derives from the whole content of tables.
fn owners_derived_again(setup: &Setup) -> BTreeSet<&str> {
    let (plan, tables) = (&setup.plan, &setup.state_tables);
    let mut owners = rooted_owners(plan);
    let mut whole = Vec::with_capacity(plan.rels.len());
    for (id, rel) in plan.rels.iter().enumerate() {
        let is_derived = match &rel.op {
            Op::Source(at) => rows_needed(setup, *at),
            // State that is restored does not see its input again.
            op => {
                op.inputs().iter().all(|input| whole[*input])
                    && (!op.is_stateful() || !rel.durable || tables.fills(id))
            }
        };
        if !is_derived {
            owners.remove(rel.owner.as_str());
        }
        whole.push(is_derived);
    }
    owners
}

/// The text in the only row of a column.
fn text_at(columns: &[ArrayRef], column: usize) -> &str {
    columns.get(column).map_or("", |column| column.as_string::<i32>().value(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(of: &[(&str, &str)]) -> SinkRowsByKey {
        of.iter().map(|(key, row)| (key.as_bytes().to_vec(), row.as_bytes().to_vec())).collect()
    }

    #[test]
    fn a_difference_is_told_by_key() {
        let before = rows(&[("a", "1"), ("b", "2"), ("c", "3")]);
        let now = rows(&[("b", "2"), ("c", "4"), ("d", "5")]);
        let delta = difference(&before, &now, false);
        let keys: Vec<&[u8]> = delta.keys.iter().collect();
        assert_eq!(keys, [b"a".as_slice(), b"c", b"c", b"d"]);
        let sent: Vec<&[u8]> = delta.rows.iter().collect();
        assert_eq!(sent, [b"1".as_slice(), b"3", b"4", b"5"]);
        assert_eq!(delta.diffs, [-1, -1, 1, 1]);
        assert!(difference(&now, &now, false).diffs.is_empty());
        assert_eq!(difference(&now, &now, true).diffs.len(), 2 * now.len());
    }
}
