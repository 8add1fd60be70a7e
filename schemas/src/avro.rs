//! Avro in Confluent's wire format, decoded directly into columns.
//!
//! A message is `00`, a schema id (four bytes, big-endian) and one binary datum. The writer's schema
//! is fetched from the registry once and compiled into a plan for the wanted columns; other fields
//! are skipped. A column takes the field of its name, else of its alias, else of its name without
//! regard to case if that is unambiguous; a missing field is NULL.
//!
//! A record is rejected only because of its own bytes: an id the registry does not know is a reject,
//! but a registry that does not answer is waited for, with growing pauses, until cancellation.

pub(crate) mod default_values;
pub mod output;
mod personal;
mod plan;
mod read;
pub mod schema;
mod shape;
mod wire;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use arrow::datatypes::SchemaRef;

use crate::decode::batch::{Batch, Decoded, Fail, missing_warning};
use crate::error::SchemaError;
use crate::records::blobs::Blobs;
use crate::records::record::Records;
use crate::registry::Registry;
use plan::Plan;
use wire::Wire;

/// The number of writers' schemas that are kept compiled.
const PLANS_MAX: usize = 1024;
/// The time for which an unknown id is not asked for again.
const UNKNOWN_TTL: Duration = Duration::from_secs(10);
/// The number of rows after which a column that was never present causes a warning.
const WARN_AFTER_ROWS: u64 = 1000;

/// A decoder of Avro messages into rows of one schema.
#[derive(Debug)]
pub struct AvroDecoder {
    batch: Batch,
    registry: Registry,
    cancel: Arc<AtomicBool>,
    /// The writers' schemas by id.
    known: HashMap<u32, Writer>,
    scratch: Vec<u8>,
    /// The number of rows decoded.
    rows: u64,
    /// True for each column that some writer's schema has.
    seen: Vec<bool>,
    /// Set when the warnings have been returned.
    warned: bool,
    /// Set if the bare value of the one column is accepted, without a record around it.
    or_value: bool,
}

/// A writer's schema, as far as it is known.
#[derive(Clone, Debug)]
enum Writer {
    Plan(Arc<Plan>),
    /// A schema that can never be read, with the reason.
    Unusable(Arc<str>),
    /// A schema that the registry did not know at that time.
    Unknown(Instant),
}

impl AvroDecoder {
    /// Creates a decoder for rows of `schema`. When `cancel` becomes true, a wait for the registry ends with
    /// [`SchemaError::Cancelled`].
    pub fn new(
        schema: SchemaRef,
        registry: Registry,
        cancel: Arc<AtomicBool>,
    ) -> Result<AvroDecoder, SchemaError> {
        let batch = Batch::new(&schema)?;
        let seen = vec![false; schema.fields().len()];
        Ok(AvroDecoder {
            batch,
            registry,
            cancel,
            known: HashMap::new(),
            scratch: Vec::new(),
            rows: 0,
            seen,
            warned: false,
            or_value: false,
        })
    }

    /// Accepts the value of the one column without a record around it.
    pub(crate) fn or_value(self) -> AvroDecoder {
        AvroDecoder { or_value: true, ..self }
    }

    /// Returns the schema of the batches: the given one, every field nullable.
    pub fn schema(&self) -> SchemaRef {
        self.batch.schema.clone()
    }

    /// Decodes the values of records.
    pub fn decode(&mut self, records: &Records) -> Result<Decoded, SchemaError> {
        self.decode_all(&records.values)
    }

    /// Decodes each blob as one message.
    pub(crate) fn decode_all(&mut self, values: &Blobs) -> Result<Decoded, SchemaError> {
        self.batch.reset();
        let mut last: Option<(u32, Arc<Plan>)> = None;
        for (row, value) in (0u32..).zip(values.iter()) {
            let (id, datum) = match split_header(value) {
                Ok(parts) => parts,
                Err(fail) => {
                    self.batch.settle_record(row, Err(fail), None);
                    continue;
                }
            };
            // Messages of one topic mostly share a schema: a lookup is needed only when the id changes.
            if last.as_ref().is_none_or(|(held, _)| *held != id) {
                match self.writer_schema(id)? {
                    Writer::Plan(plan) => last = Some((id, plan)),
                    Writer::Unusable(why) => {
                        self.batch.settle_record(row, Err(Fail::new(&*why)), Some(id));
                        continue;
                    }
                    Writer::Unknown(_) => {
                        let fail = Fail::new(format!("the schema registry does not know schema id {id}"));
                        self.batch.settle_record(row, Err(fail), Some(id));
                        continue;
                    }
                }
            }
            let Some((_, plan)) = &last else { continue };
            let outcome = plan.read_record(Wire::new(datum), self.batch.root.fields_mut(), &mut self.scratch);
            // Only rows count towards the warning: rejects may lack any column.
            self.rows += u64::from(outcome.is_ok());
            self.batch.settle_record(row, outcome, Some(id));
        }
        self.batch.finish()
    }

    /// Returns the writer's schema `id`, fetched from the registry if it is not known yet.
    fn writer_schema(&mut self, id: u32) -> Result<Writer, SchemaError> {
        match self.known.get(&id) {
            // The schema may have been registered in the meantime.
            Some(Writer::Unknown(since)) if since.elapsed() >= UNKNOWN_TTL => {}
            Some(writer) => return Ok(writer.clone()),
            None => {}
        }
        let writer = match self.registry.await_by_id(id, &self.cancel) {
            Ok(text) => match Plan::compile(&text, self.batch.schema.fields(), self.or_value) {
                Ok(plan) => {
                    for (seen, now) in self.seen.iter_mut().zip(&plan.present) {
                        *seen |= now;
                    }
                    Writer::Plan(Arc::new(plan))
                }
                Err(why) => Writer::Unusable(format!("schema id {id} cannot be read: {why}").into()),
            },
            // Answers about the schema are cached; any other error ends the decoding.
            Err(SchemaError::NotFound(_)) => Writer::Unknown(Instant::now()),
            Err(SchemaError::BadSchema(why)) => Writer::Unusable(why.into()),
            Err(error) => return Err(error),
        };
        // A full cache is emptied: ids that are still in use are fetched again.
        if self.known.len() >= PLANS_MAX {
            self.known.clear();
        }
        self.known.insert(id, writer.clone());
        Ok(writer)
    }

    /// Returns one warning for each column that no writer's schema had, once enough records were seen.
    pub fn warnings(&mut self) -> Vec<String> {
        self.missing_columns().into_iter().map(|(_, warning)| warning).collect()
    }

    /// Returns these warnings with the index of their column.
    pub(crate) fn missing_columns(&mut self) -> Vec<(usize, String)> {
        if self.warned || self.rows < WARN_AFTER_ROWS {
            return Vec::new();
        }
        self.warned = true;
        let mut fields: Vec<&str> = Vec::new();
        for writer in self.known.values() {
            if let Writer::Plan(plan) = writer {
                fields.extend(plan.fields.iter().map(String::as_str));
            }
        }
        // Sorted, so that the hint does not depend on the order of the map.
        fields.sort_unstable();
        let mut missing = Vec::new();
        for (at, (column, seen)) in self.batch.schema.fields().iter().zip(&self.seen).enumerate() {
            if !seen {
                missing.push((at, missing_warning(column.name(), fields.iter().copied(), self.rows)));
            }
        }
        missing
    }
}

/// Splits a message into schema id and datum.
#[inline]
fn split_header(value: Option<&[u8]>) -> Result<(u32, &[u8]), Fail> {
    match value {
        None => Err(Fail::new("the value is null")),
        Some([0, a, b, c, d, datum @ ..]) => Ok((u32::from_be_bytes([*a, *b, *c, *d]), datum)),
        Some(_) => Err(Fail::new(
            "this is not Avro in the wire format of a schema registry: a zero byte and a schema id are missing",
        )),
    }
}

#[cfg(test)]
mod tests;
