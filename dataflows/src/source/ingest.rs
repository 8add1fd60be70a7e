//! Records of one partition to candidate rows.
//!
//! The steps, each over the whole batch: decode; INCLUDEd and generated columns; NOT NULL and CHECK;
//! the bound on event time; then, row by row in record order, the partition's watermark, which is the
//! greatest event time of earlier rows that passed the other steps, less the delay. A row of an append-only
//! source below the watermark is late; a row of a keyed table is late only below the watermark less
//! the retention. A delete passes all of this: it has a key and no row, and moves no watermark. Nothing
//! here depends on epochs, workers or interleaving.

mod persons;

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Int32Array, Int64Array, RecordBatch,
    RecordBatchOptions, TimestampMicrosecondArray,
};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Schema, SchemaRef, TimestampMicrosecondType};
use schemas::types::time::format_timestamp;
use schemas::{Decoder, ERASED_MESSAGE, Outcome, Records, Reject};

use super::erasure::SharedErasing;
use super::erasure::filter::{Filtered, RowFilter};
use super::evaluate::{Verdict, evaluate_or_reject};
use super::held::Trace;
use super::watermark::PartitionMark;
use crate::error::RunError;
use crate::plan::formats::IncludeKind;
use crate::plan::{Origin, Source};
use crate::render::batch::RelationType;
use persons::traces;

/// A rejected record, to be kept as a dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Its index in the records.
    pub record: u32,
    /// Decode, constraint or late.
    pub outcome: Outcome,
    /// The constraint it violates.
    pub constraint: Option<String>,
    /// The reason, in a sentence.
    pub message: String,
    /// The Avro schema it claims.
    pub schema_id: Option<u32>,
    /// True if it names an erased person: then its bytes are not kept.
    pub erased: bool,
}

/// Rows that passed every step.
pub struct Candidates {
    /// The rows, all columns of the source.
    pub batch: RecordBatch,
    /// The record each row came from.
    pub records: Vec<u32>,
    /// Event time of each row, microseconds; `i64::MIN` without one.
    pub events: Vec<i64>,
    /// The time below which a held row counts as forgotten, at each row (keyed tables with retention);
    /// `i64::MIN` without one.
    pub horizons: Vec<i64>,
    /// True for each row whose record deletes the row of its key; empty when none does.
    pub deletes: Vec<bool>,
    /// The trace that each record leaves of its row, where some are of erased persons; else empty.
    pub erased: Vec<Trace>,
    /// Rejected records.
    pub rejected: Vec<Rejected>,
}

/// Decodes and validates the records of one source at one worker.
pub struct Ingest {
    source: Source,
    decoder: Decoder,
    base: SchemaRef,
    shape: RelationType,
    marks: HashMap<i32, PartitionMark>,
    /// Its place in the plan.
    index: usize,
    erasing: Option<SharedErasing>,
    filter: Option<RowFilter>,
}

impl Ingest {
    /// Makes an ingest that starts from the committed marks.
    ///
    /// # Errors
    /// When a column type has no packed form.
    pub fn new(
        (index, source): (usize, Source),
        decoder: Decoder,
        marks: HashMap<i32, PartitionMark>,
        erasing: Option<SharedErasing>,
    ) -> Result<Ingest, RunError> {
        let mut base = Vec::with_capacity(source.decoded.fields().len() + source.includes.len());
        for field in source.decoded.fields() {
            base.push(field.as_ref().clone().with_nullable(true));
        }
        for (field, origin) in source.schema.fields().iter().zip(&source.origins) {
            if matches!(origin, Origin::Included(_)) {
                base.push(field.as_ref().clone().with_nullable(true));
            }
        }
        let shape = RelationType::new(&source.schema)?;
        let (base, filter) = (Arc::new(Schema::new(base)), RowFilter::new(&source)?);
        Ok(Ingest { source, decoder, base, shape, marks, index, erasing, filter })
    }

    /// Type of the candidate rows.
    pub fn shape(&self) -> &RelationType {
        &self.shape
    }

    /// Current marks of the partitions.
    pub fn marks(&self) -> &HashMap<i32, PartitionMark> {
        &self.marks
    }

    /// Watermarks of the partitions that have one; None for a source without a watermark.
    pub fn partition_watermarks(&self) -> Option<Vec<(i32, i64)>> {
        let delay = self.source.watermark?.delay_us;
        let marks = self.marks.iter();
        Some(marks.filter_map(|(partition, mark)| Some((*partition, mark.watermark(delay)?))).collect())
    }

    /// Adds a partition that starts at a watermark, or raises the floor of one that is there.
    pub fn join_partition(&mut self, partition: i32, floor_us: Option<i64>) {
        let mark =
            self.marks.entry(partition).or_insert(PartitionMark { max_event_us: None, floor_us: None });
        mark.floor_us = mark.floor_us.max(floor_us);
    }

    /// Declared columns that no record has had so far, for a log line.
    pub fn warnings(&mut self) -> Vec<String> {
        self.decoder.warnings()
    }

    /// Decodes and validates `records`; moves the partition's watermark.
    ///
    /// # Errors
    /// When the registry cannot be reached and the process is asked to stop.
    pub fn candidates(&mut self, records: &Records) -> Result<Candidates, RunError> {
        let decoded = self.decoder.decode(records)?;
        let mut rejected = self.undecoded(decoded.rejects, records);
        let mut verdicts: Vec<Verdict> = vec![None; decoded.rows.len()];
        let (given, named) = self.with_digests(decoded.batch, &mut verdicts)?;
        let base = self.base_columns(&given, records, &decoded.rows)?;
        let batch = self.all_columns(&base, &mut verdicts)?;
        self.check_constraints(&batch, records, &decoded.rows, &mut verdicts)?;
        // A delete has a key and no row that could violate a constraint.
        for (verdict, deletes) in verdicts.iter_mut().zip(&decoded.deletes) {
            if *deletes {
                *verdict = None;
            }
        }
        let late = self.find_late_rows(&batch, records.partition, (&verdicts, &decoded.deletes));
        // Rows are judged as they were sent: no constraint may depend on when a person was erased.
        let Filtered { batch, hits } = self.without_persons(batch)?;
        // A violated constraint is reported rather than lateness; a row with neither stays.
        let mut keep = Vec::with_capacity(verdicts.len());
        for (row, verdict) in verdicts.into_iter().enumerate() {
            let (outcome, (constraint, message)) = match (verdict, &late.messages[row]) {
                (Some(verdict), _) => (Outcome::Constraint, verdict),
                (None, Some(message)) => (Outcome::Late, (None, message.clone())),
                (None, None) => {
                    keep.push(row);
                    continue;
                }
            };
            let record = (records, decoded.rows[row] as usize);
            let erased = hits.contains_key(&(row as u32)) || self.names_erased(record, Some((&batch, row)));
            rejected.push(Rejected {
                record: decoded.rows[row],
                outcome,
                constraint,
                message: if erased { ERASED_MESSAGE.to_owned() } else { message },
                schema_id: None,
                erased,
            });
        }
        if let Some(named) = named {
            self.note_orders((&named, &batch), records, (&decoded.rows, &keep));
        }
        let erased = traces(&hits, &keep);
        if keep.len() == decoded.rows.len() {
            let (records, events, horizons) = (decoded.rows, late.events, late.horizons);
            let deletes = decoded.deletes;
            return Ok(Candidates { batch, records, events, horizons, deletes, erased, rejected });
        }
        // Records that did not decode come first until here: dead letters are in record order.
        rejected.sort_by_key(|r| r.record);
        let mut mask = vec![false; decoded.rows.len()];
        for row in &keep {
            mask[*row] = true;
        }
        Ok(Candidates {
            batch: filter_record_batch(&batch, &BooleanArray::from(mask))?,
            records: values_at(&decoded.rows, &keep),
            events: values_at(&late.events, &keep),
            horizons: values_at(&late.horizons, &keep),
            deletes: keep.iter().filter_map(|row| decoded.deletes.get(*row).copied()).collect(),
            erased,
            rejected,
        })
    }

    /// The records that do not decode.
    fn undecoded(&self, rejects: Vec<Reject>, records: &Records) -> Vec<Rejected> {
        let mut rejected = Vec::with_capacity(rejects.len());
        for reject in rejects {
            let erased = self.names_erased((records, reject.row as usize), None);
            rejected.push(Rejected {
                record: reject.row,
                outcome: Outcome::Decode,
                constraint: None,
                message: if erased { ERASED_MESSAGE.to_owned() } else { reject.message },
                schema_id: reject.schema_id,
                erased,
            });
        }
        rejected
    }

    /// Decoded columns, then INCLUDEd ones.
    fn base_columns(
        &self,
        decoded: &RecordBatch,
        records: &Records,
        rows: &[u32],
    ) -> Result<RecordBatch, RunError> {
        let mut columns = decoded.columns().to_vec();
        for include in &self.source.includes {
            columns.push(included_column(include, records, rows));
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        Ok(RecordBatch::try_new_with_options(self.base.clone(), columns, &options)?)
    }

    /// The source's columns in order; a generated column that fails on a row rejects that row.
    fn all_columns(&self, base: &RecordBatch, verdicts: &mut [Verdict]) -> Result<RecordBatch, RunError> {
        let decoded = self.source.decoded.fields().len();
        let mut columns = Vec::with_capacity(self.source.origins.len());
        for (origin, field) in self.source.origins.iter().zip(self.source.schema.fields()) {
            columns.push(match origin {
                Origin::Decoded(at) => base.column(*at).clone(),
                Origin::Included(at) => base.column(decoded + at).clone(),
                Origin::Generated(expr) => {
                    let name = format!("generated column {}", field.name());
                    evaluate_or_reject(expr, base, &name, verdicts)?
                }
            });
        }
        self.shape.assemble(columns, base.num_rows())
    }

    /// Sets the verdict of each row that violates NOT NULL, a CHECK or the bound on event time; of several
    /// violations the first in this order.
    fn check_constraints(
        &self,
        batch: &RecordBatch,
        records: &Records,
        rows: &[u32],
        verdicts: &mut [Verdict],
    ) -> Result<(), RunError> {
        for column in &self.source.not_null {
            let array = batch.column(*column);
            if array.logical_null_count() > 0 {
                let name = batch.schema().field(*column).name().clone();
                for (row, verdict) in verdicts.iter_mut().enumerate() {
                    if array.is_null(row) && verdict.is_none() {
                        *verdict = Some((Some(format!("{name} NOT NULL")), format!("{name} is NULL")));
                    }
                }
            }
        }
        for check in &self.source.checks {
            let result = evaluate_or_reject(&check.predicate, batch, &check.name, verdicts)?;
            let Some(result) = result.as_boolean_opt() else {
                return Err(RunError::Broken(format!("CHECK {} is not boolean", check.name)));
            };
            for (row, verdict) in verdicts.iter_mut().enumerate() {
                // As in SQL, a CHECK that gives NULL is satisfied.
                if result.is_valid(row) && !result.value(row) && verdict.is_none() {
                    *verdict = Some((Some(check.name.clone()), format!("CHECK ({}) is false", check.text)));
                }
            }
        }
        if let Some(watermark) = &self.source.watermark {
            let events = batch.column(watermark.column).as_primitive::<TimestampMicrosecondType>();
            for (row, verdict) in verdicts.iter_mut().enumerate() {
                let Some(ms) = records.timestamps[rows[row] as usize] else { continue };
                let limit = ms.saturating_mul(1000).saturating_add(self.source.max_ahead_us);
                if verdict.is_none() && events.is_valid(row) && events.value(row) > limit {
                    let ahead = format!(
                        "event time {} is more than {} s beyond the record's timestamp",
                        format_timestamp(events.value(row), true),
                        self.source.max_ahead_us / 1_000_000
                    );
                    *verdict = Some((Some("watermark.max_ahead".into()), ahead));
                }
            }
        }
        Ok(())
    }

    /// Compares the rows with the partition's watermark in record order, each with the watermark that the
    /// rows before it made.
    fn find_late_rows(
        &mut self,
        batch: &RecordBatch,
        partition: i32,
        (verdicts, deletes): (&[Verdict], &[bool]),
    ) -> Lateness {
        let rows = batch.num_rows();
        let mut late = Lateness {
            events: vec![i64::MIN; rows],
            horizons: vec![i64::MIN; rows],
            messages: vec![None; rows],
        };
        let Some(watermark) = self.source.watermark else { return late };
        // None: rows of a table without retention are never late.
        let retention = match &self.source.keyed {
            None => Some(0),
            Some(keyed) => keyed.retention_us,
        };
        let events = batch.column(watermark.column).as_primitive::<TimestampMicrosecondType>();
        let mark = self.marks.entry(partition).or_default();
        for (row, verdict) in verdicts.iter().enumerate() {
            // A row that violates a constraint moves no watermark.
            if verdict.is_some() {
                continue;
            }
            let bound = match (mark.watermark(watermark.delay_us), retention) {
                (Some(watermark), Some(retention)) => Some(watermark.saturating_sub(retention)),
                _ => None,
            };
            // A row without event time is never late, but the row it replaces may be forgotten. A delete has
            // no event time, even where the key holds one: the held row's counts.
            late.horizons[row] = bound.unwrap_or(i64::MIN);
            if events.is_null(row) || deletes.get(row) == Some(&true) {
                continue;
            }
            let event = events.value(row);
            late.events[row] = event;
            if let Some(bound) = bound
                && event < bound
            {
                let is_table = self.source.keyed.is_some();
                late.messages[row] = Some(late_message(event, bound, (is_table, mark.has_ended())));
            }
            // A late row never moves the watermark: its event time is below it.
            mark.max_event_us = mark.max_event_us.max(Some(event));
        }
        late
    }
}

/// The reason why a row of a partition is late.
fn late_message(event: i64, bound: i64, (is_table, has_ended): (bool, bool)) -> String {
    let event = format_timestamp(event, true);
    if has_ended {
        return format!("event time {event} came after its source had ended");
    }
    let what = if is_table { "horizon" } else { "watermark" };
    format!("event time {event} is below the partition's {what} {}", format_timestamp(bound, true))
}

/// Event time and horizon of each row, and the message of each late one.
struct Lateness {
    events: Vec<i64>,
    horizons: Vec<i64>,
    messages: Vec<Option<String>>,
}

/// The values at some places.
fn values_at<T: Copy>(values: &[T], places: &[usize]) -> Vec<T> {
    places.iter().map(|at| values[*at]).collect()
}

/// An INCLUDEd column of the records at `rows`.
fn included_column(include: &IncludeKind, records: &Records, rows: &[u32]) -> ArrayRef {
    let rows = rows.iter().map(|row| *row as usize);
    match include {
        IncludeKind::Timestamp => {
            let times = rows.map(|row| records.timestamps[row]?.checked_mul(1000));
            Arc::new(times.collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
        }
        IncludeKind::Partition => Arc::new(Int32Array::from(vec![records.partition; rows.len()])),
        IncludeKind::Offset => Arc::new(Int64Array::from_iter_values(rows.map(|row| records.offsets[row]))),
        IncludeKind::Key => binary_column(rows.map(|row| records.keys.get(row))),
        IncludeKind::Payload => binary_column(rows.map(|row| records.values.get(row))),
        IncludeKind::Header(name) => binary_column(rows.map(|row| header_of(records, row, name))),
    }
}

/// The value of a record's header of that name.
fn header_of<'r>(records: &'r Records, row: usize, name: &str) -> Option<&'r [u8]> {
    // Of headers of one name the last counts.
    let (_, value) = records.headers.of_record(row).rev().find(|(known, _)| *known == name.as_bytes())?;
    value
}

/// A BYTEA column of `values`.
fn binary_column<'a>(values: impl Iterator<Item = Option<&'a [u8]>>) -> ArrayRef {
    Arc::new(values.collect::<BinaryArray>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_row_is_told_what_it_came_after() {
        let (event, bound) = (1_000_000, 2_000_000);
        let told = |of| late_message(event, bound, of);
        let at = "event time 1970-01-01T00:00:01.000000Z";
        assert_eq!(
            told((false, false)),
            format!("{at} is below the partition's watermark 1970-01-01T00:00:02.000000Z")
        );
        assert_eq!(
            told((true, false)),
            format!("{at} is below the partition's horizon 1970-01-01T00:00:02.000000Z")
        );
        assert_eq!(told((true, true)), format!("{at} came after its source had ended"));
    }
}
