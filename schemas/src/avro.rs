//! Avro in Confluent's wire format, straight into columns.
//!
//! A message is `00`, a schema id (four bytes, big-endian) and one binary datum. The writer's schema
//! is fetched from the registry once and compiled into a plan for the columns wanted; what
//! is not wanted is stepped over. A column takes the field of its name, else of its alias, else of
//! its name without regard to case where that is unambiguous; a missing field is NULL.
//!
//! Only a record's own bytes condemn it: an id the registry does not know is a reject, a registry
//! that does not answer is waited for, with growing pauses, until the wait is called off.

pub(crate) mod default_values;
pub mod output;
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

use crate::blobs::Blobs;
use crate::decode::{Batch, Decoded, Fail, nearest};
use crate::error::SchemaError;
use crate::record::Records;
use crate::registry::Registry;
use plan::Plan;
use wire::Wire;

/// How many writers' schemas are kept compiled.
const PLANS_MAX: usize = 1024;
/// How long an unknown id is taken for unknown without asking again.
const UNKNOWN_FOR: Duration = Duration::from_secs(10);
/// After how many rows a column that was never present is worth a warning.
const WARN_AFTER: u64 = 1000;

/// Decodes Avro messages into rows of one schema.
#[derive(Debug)]
pub struct AvroDecoder {
    batch: Batch,
    registry: Registry,
    cancel: Arc<AtomicBool>,
    known: HashMap<u32, Writer>,
    scratch: Vec<u8>,
    rows: u64,
    seen: Vec<bool>,
    warned: bool,
    or_value: bool,
}

/// What is known of a writer's schema.
#[derive(Clone, Debug)]
enum Writer {
    Plan(Arc<Plan>),
    /// It can never be read.
    Unusable(Arc<str>),
    /// The registry did not know it at that moment.
    Unknown(Instant),
}

impl AvroDecoder {
    /// A decoder for rows of `schema`. When `cancel` becomes true, a wait for the registry ends with
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

    /// Of one column: its value may stand without a record around it.
    pub(crate) fn or_value(self) -> AvroDecoder {
        AvroDecoder { or_value: true, ..self }
    }

    /// The schema of the batches: the given one, every field nullable.
    pub fn schema(&self) -> SchemaRef {
        self.batch.schema.clone()
    }

    /// Decodes the values of records.
    pub fn decode(&mut self, records: &Records) -> Result<Decoded, SchemaError> {
        self.decode_all(&records.values)
    }

    /// Decodes one message a blob.
    pub(crate) fn decode_all(&mut self, values: &Blobs) -> Result<Decoded, SchemaError> {
        self.batch.reset();
        let mut last: Option<(u32, Arc<Plan>)> = None;
        for (row, value) in (0u32..).zip(values.iter()) {
            let (id, datum) = match header(value) {
                Ok(parts) => parts,
                Err(fail) => {
                    self.batch.settle(row, Err(fail), None);
                    continue;
                }
            };
            if last.as_ref().is_none_or(|(held, _)| *held != id) {
                match self.writer(id)? {
                    Writer::Plan(plan) => last = Some((id, plan)),
                    Writer::Unusable(why) => {
                        self.batch.settle(row, Err(Fail::new(&*why)), Some(id));
                        continue;
                    }
                    Writer::Unknown(_) => {
                        let fail = Fail::new(format!("the schema registry does not know schema id {id}"));
                        self.batch.settle(row, Err(fail), Some(id));
                        continue;
                    }
                }
            }
            let Some((_, plan)) = &last else { continue };
            let outcome = plan.record(Wire::new(datum), self.batch.root.fields_mut(), &mut self.scratch);
            self.rows += u64::from(outcome.is_ok());
            self.batch.settle(row, outcome, Some(id));
        }
        self.batch.finish()
    }

    /// What is known of schema `id`, asking the registry where nothing is.
    fn writer(&mut self, id: u32) -> Result<Writer, SchemaError> {
        match self.known.get(&id) {
            Some(Writer::Unknown(since)) if since.elapsed() >= UNKNOWN_FOR => {}
            Some(writer) => return Ok(writer.clone()),
            None => {}
        }
        let writer = match self.registry.await_by_id(id, &self.cancel) {
            Ok(text) => match Plan::compile(&text, self.batch.schema.fields(), self.or_value) {
                Ok(plan) => {
                    self.seen.iter_mut().zip(&plan.present).for_each(|(seen, now)| *seen |= now);
                    Writer::Plan(Arc::new(plan))
                }
                Err(why) => Writer::Unusable(format!("schema id {id} cannot be read: {why}").into()),
            },
            Err(SchemaError::NotFound(_)) => Writer::Unknown(Instant::now()),
            Err(SchemaError::BadSchema(why)) => Writer::Unusable(why.into()),
            Err(error) => return Err(error),
        };
        if self.known.len() >= PLANS_MAX {
            self.known.clear();
        }
        self.known.insert(id, writer.clone());
        Ok(writer)
    }

    /// Columns that no writer's schema had, each told once, when enough records were seen.
    pub fn warnings(&mut self) -> Vec<String> {
        self.missing().into_iter().map(|(_, warning)| warning).collect()
    }

    /// The same, each with the place of its column.
    pub(crate) fn missing(&mut self) -> Vec<(usize, String)> {
        if self.warned || self.rows < WARN_AFTER {
            return Vec::new();
        }
        self.warned = true;
        let mut fields: Vec<&str> = Vec::new();
        for writer in self.known.values() {
            if let Writer::Plan(plan) = writer {
                fields.extend(plan.fields.iter().map(String::as_str));
            }
        }
        fields.sort_unstable();
        let columns = self.batch.schema.fields().iter().zip(&self.seen).enumerate();
        columns
            .filter(|(_, (_, seen))| !**seen)
            .map(|(at, (column, _))| {
                let hint = nearest(column.name(), fields.iter().copied())
                    .map_or_else(String::new, |near| format!("; the nearest field is \"{near}\""));
                (at, format!("column \"{}\" was in none of {} records{hint}", column.name(), self.rows))
            })
            .collect()
    }
}

/// The schema id and the datum of a message.
#[inline]
fn header(value: Option<&[u8]>) -> Result<(u32, &[u8]), Fail> {
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
