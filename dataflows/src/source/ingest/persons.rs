//! Erased persons in records as they come: orders to erase, and rows and bytes that name somebody who was erased.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType};
use schemas::{ErasedSet, Records};

use super::Ingest;
use crate::error::RunError;
use crate::plan::Origin;
use crate::source::erasure::Order;
use crate::source::erasure::filter::{Filtered, RowHit};
use crate::source::evaluate::Verdict;
use crate::source::held::Trace;

/// The traces that the records at some places leave; empty when no row of all goes.
pub(super) fn traces(hits: &BTreeMap<u32, RowHit>, places: &[usize]) -> Vec<Trace> {
    if !hits.values().any(|hit| hit.removed) {
        return Vec::new();
    }
    let mut traces = Vec::with_capacity(places.len());
    for place in places {
        traces.push(match hits.get(&(*place as u32)) {
            Some(hit) if hit.in_key => Trace::Nothing,
            Some(hit) if hit.removed => Trace::Version,
            _ => Trace::Row,
        });
    }
    traces
}

impl Ingest {
    /// Of a table of orders to erase: the decoded columns with digests in the place of identities, and the identities.
    pub(super) fn with_digests(
        &self,
        decoded: RecordBatch,
        verdicts: &mut [Verdict],
    ) -> Result<(RecordBatch, Option<ArrayRef>), RunError> {
        let (Some(column), Some(erasing)) = (self.source.erases, &self.erasing) else {
            return Ok((decoded, None));
        };
        let Some(Origin::Decoded(at)) = self.source.origins.get(column) else {
            return Err(RunError::Broken("the column of an order is not decoded".into()));
        };
        let named = decoded.column(*at).clone();
        let erasing = erasing.borrow();
        let digest_of =
            |name: Option<&str>| name.map(|name| erasing.digester().digest(name.as_bytes()).to_string());
        let digests: StringArray = named.as_string::<i32>().iter().map(digest_of).collect();
        // An empty name would be that of every element without one.
        for (row, verdict) in verdicts.iter_mut().enumerate() {
            if named.is_valid(row) && named.as_string::<i32>().value(row).is_empty() {
                let name = self.source.schema.field(column).name();
                *verdict = Some((Some("erase".to_owned()), format!("{name} is empty, and names nobody")));
            }
        }
        let mut columns = decoded.columns().to_vec();
        columns[*at] = Arc::new(digests);
        Ok((RecordBatch::try_new(decoded.schema(), columns)?, Some(named)))
    }

    /// Notes the orders of the records that are kept.
    pub(super) fn note_orders(
        &self,
        (named, batch): (&ArrayRef, &RecordBatch),
        records: &Records,
        (rows, keep): (&[u32], &[usize]),
    ) {
        let Some(erasing) = &self.erasing else { return };
        let is_time =
            |column: &&ArrayRef| matches!(column.data_type(), DataType::Timestamp(TimeUnit::Microsecond, _));
        let times = batch
            .columns()
            .iter()
            .find(is_time)
            .map(|times| times.as_primitive::<TimestampMicrosecondType>());
        let mut erasing = erasing.borrow_mut();
        for row in keep {
            let identity = named.as_string::<i32>().value(*row).as_bytes().to_vec();
            let (digest, screen) =
                (erasing.digester().digest(&identity), erasing.digester().screen(&identity));
            // A time in the order is that of the request; else the record's own has to do.
            let told = times.filter(|times| times.is_valid(*row)).map(|times| times.value(*row));
            let sent = records.timestamps[rows[*row] as usize].map(|ms| ms.saturating_mul(1000));
            let source = self.index;
            erasing.noted.push(Order {
                to: 0,
                source,
                digest,
                screen,
                identity,
                requested_us: told.or(sent),
            });
        }
    }

    /// Takes erased persons out of rows.
    pub(super) fn without_persons(&self, batch: RecordBatch) -> Result<Filtered, RunError> {
        if let (Some(filter), Some(erasing)) = (&self.filter, &self.erasing)
            && let Some(filtered) = filter.apply(&batch, &erasing.borrow().known)?
        {
            return Ok(filtered);
        }
        Ok(Filtered { batch, hits: BTreeMap::new() })
    }

    /// Returns true if a rejected record names somebody who was erased: in its key, its value, or a text of the row that
    /// it was decoded to, as a whole or between two quotes. That goes for every source of a topology with orders,
    /// whether or not it has `erase.by`.
    pub(super) fn names_erased(
        &self,
        (records, record): (&Records, usize),
        row: Option<(&RecordBatch, usize)>,
    ) -> bool {
        let Some(erasing) = &self.erasing else { return false };
        let known = &erasing.borrow().known;
        // The usual case costs no look at the bytes.
        if known.is_empty() {
            return false;
        }
        let bytes = [records.keys.get(record), records.values.get(record)];
        bytes.into_iter().flatten().any(|bytes| quotes_erased(bytes, known))
            || row.is_some_and(|(batch, row)| batch.columns().iter().any(|c| holds_erased(c, row, known)))
    }
}

/// Returns true if bytes are an erased person's name, or have one between two quotes, as JSON writes a text without
/// escapes.
fn quotes_erased(bytes: &[u8], erased: &ErasedSet) -> bool {
    erased.find(bytes).is_some() || bytes.split(|byte| *byte == b'"').any(|text| erased.find(text).is_some())
}

/// Returns true if any text or bytes in a value, at any depth, name an erased person.
fn holds_erased(column: &ArrayRef, row: usize, erased: &ErasedSet) -> bool {
    if column.is_null(row) {
        return false;
    }
    if let Some(list) = column.as_list_opt::<i32>() {
        let items = list.value(row);
        return (0..items.len()).any(|at| holds_erased(&items, at, erased));
    }
    if let Some(whole) = column.as_struct_opt() {
        return whole.columns().iter().any(|field| holds_erased(field, row, erased));
    }
    let text = column.as_string_opt::<i32>().map(|texts| texts.value(row).as_bytes());
    let bytes = text.or_else(|| column.as_binary_opt::<i32>().map(|bytes| bytes.value(row)));
    bytes.is_some_and(|bytes| quotes_erased(bytes, erased))
}
