//! Encoding of sink deltas: PLAIN, UPSERT and DEBEZIUM records as JSON or Avro, each with its partition, in
//! chunks for the outbox.
//!
//! Encoding runs on the worker that owns the keys, so that it is parallel and the committer only gathers.
//! A record larger than its topic allows is an error of the view: it goes to the error table and is not sent.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use arrow::array::{Array, ArrayRef, RecordBatch, StringArray, StructArray, UInt32Array};
use arrow::buffer::NullBuffer;
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use connectors::export::ExportMode;
use connectors::export::shape::{DELETE, INSERT, UPDATE};
use connectors::sink::KAFKA_TARGET;
use connectors::{SinkConnector, murmur2_partition};
use dataflows::collect::{EpochOut, SinkDelta};
use dataflows::plan::formats::{Encoding, Format};
use dataflows::plan::{Plan, Sink};
use schemas::{Blobs, Encoder, OutChunk, OutRecord, Pseudonyms, Registry, RowCodec, Rows, stored_key};

/// Time for which a start waits for a schema registry.
const REGISTRY_TIMEOUT: Duration = Duration::from_secs(15);
/// Bytes from which a chunk of the outbox is complete.
pub const CHUNK_BYTES: usize = 1 << 20;

/// Serialised output of one worker and epoch: chunks by target.
pub type Encoded = BTreeMap<u16, Vec<Vec<u8>>>;

/// Destination of a sink's records.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// A topic of the sink cluster, which is target 0.
    Kafka {
        /// The topic.
        topic: String,
        /// Number of its partitions.
        partitions: i32,
        /// Most bytes of one record.
        max_bytes: usize,
    },
    /// A file, a target of its own.
    File(u16),
    /// Parquet files, a target of their own.
    Export {
        /// The target.
        number: u16,
        /// The content.
        mode: ExportMode,
    },
    /// Nowhere.
    Blackhole,
}

impl Target {
    /// The number of its output in the outbox, which is on disk; None for output that is not kept.
    fn number(&self) -> Option<u16> {
        match self {
            Target::Kafka { .. } => Some(KAFKA_TARGET),
            Target::File(number) | Target::Export { number, .. } => Some(*number),
            Target::Blackhole => None,
        }
    }
}

/// The encoders of all sinks of a topology.
pub struct Outputs {
    sinks: Vec<(Target, Encoder, Option<Encoder>)>,
    /// The version of the running text.
    version: String,
}

/// Header of the records of Kafka sinks with the version of the text that made them: an outbox may hold epochs of an
/// earlier text than the one that publishes them. Records of a chunk share it.
const VERSION_HEADER: &str = "herald.version";

/// The encoders of a sink's values and, if it has a key, of its keys.
pub type Encoders = (Encoder, Option<Encoder>);

/// Creates the encoders of all sinks, in the order of the plan. Avro schemas are registered here.
///
/// # Errors
/// When the registry refuses a schema, or cannot be reached.
pub fn sink_encoders(plan: &Plan, connectors: &[SinkConnector]) -> Result<Vec<Encoders>> {
    let mut encoders = Vec::new();
    for (sink, connector) in plan.sinks.iter().zip(connectors) {
        let schema = &plan.rels[sink.rel].schema;
        let topic: &str = match connector {
            SinkConnector::Kafka(kafka) => &kafka.topic,
            _ => &sink.name,
        };
        let value = create_encoder(sink, sink.encoding, &value_schema(sink, schema), (topic, "value"))
            .with_context(|| format!("sink {}", sink.name))?;
        let key = if sink.key.is_empty() {
            None
        } else {
            let schema = schema.project(&sink.key)?;
            let key = create_encoder(sink, sink.key_encoding, &schema, (topic, "key"))
                .with_context(|| format!("key of sink {}", sink.name))?;
            Some(key)
        };
        encoders.push((value, key));
    }
    Ok(encoders)
}

impl Outputs {
    /// Joins the target of each sink with its encoders. `version` is that of the running text.
    pub fn new(targets: Vec<Target>, encoders: Vec<Encoders>, version: &str) -> Outputs {
        let sinks = targets.into_iter().zip(encoders);
        let sinks = sinks.map(|(target, (value, key))| (target, value, key)).collect();
        Outputs { sinks, version: version.to_owned() }
    }

    /// Creates the encoder of one worker.
    ///
    /// # Errors
    /// When a column type has no packed form.
    pub fn worker_encoder<'a>(&'a self, plan: &'a Plan) -> Result<SinkEncoder<'a>> {
        let mut codecs = Vec::new();
        for sink in &plan.sinks {
            let schema = &plan.rels[sink.rel].schema;
            let key = schema.project(&sink.key)?;
            codecs.push((RowCodec::of(schema)?, RowCodec::of(&key)?));
        }
        Ok(SinkEncoder { outputs: self, plan, codecs, records: 0 })
    }
}

/// The schema registry that options of ENCODE or KEY ENCODE name.
fn sink_registry(options: &BTreeMap<String, String>) -> Result<Registry> {
    let url = options.get("schema.registry").context("ENCODE AVRO needs (schema.registry = 'http://...')")?;
    Ok(Registry::new(url, options)?)
}

/// Creates the encoder of a topic's keys or values; `part` is `key` or `value`.
fn create_encoder(
    sink: &Sink,
    encoding: Encoding,
    schema: &Schema,
    (topic, part): (&str, &str),
) -> Result<Encoder> {
    Ok(match encoding {
        // Rows for Parquet stay packed until a file is written; their encoder is not asked.
        Encoding::Json | Encoding::Parquet => Encoder::json(schema)?,
        Encoding::Text | Encoding::Bytes => Encoder::text(schema)?,
        Encoding::Avro => {
            let (suffix, options) = match part {
                "key" => ("_key", &sink.key_encode_options),
                _ => ("", &sink.encode_options),
            };
            let text = match sink.encode_options.get("record.name") {
                Some(name) => schemas::avro_schema_named(schema, &format!("{name}{suffix}")),
                None => schemas::avro_schema(schema, &format!("{}{suffix}", sink.record_name)),
            };
            let subject = format!("{topic}-{part}");
            let id = sink_registry(options)?.await_register(&subject, &text, REGISTRY_TIMEOUT)?;
            Encoder::avro(schema, id)?
        }
    })
}

/// The columns of a message's value: the row, or `before`, `after` and `op` around it.
fn value_schema(sink: &Sink, schema: &SchemaRef) -> SchemaRef {
    if sink.format != Format::Debezium {
        return schema.clone();
    }
    let row = DataType::Struct(schema.fields().clone());
    Arc::new(Schema::new(vec![
        Field::new("before", row.clone(), true),
        Field::new("after", row, true),
        Field::new("op", DataType::Utf8, false),
    ]))
}

/// Encodes one worker's sink deltas.
pub struct SinkEncoder<'a> {
    outputs: &'a Outputs,
    plan: &'a Plan,
    codecs: Vec<(RowCodec, RowCodec)>,
    /// Records encoded since they were last taken.
    records: u64,
}

/// Keys and values of one sink's records, in order.
struct Messages {
    keys: Option<Blobs>,
    values: Blobs,
}

impl SinkEncoder<'_> {
    /// Serialises all deltas of an epoch.
    ///
    /// # Errors
    /// When rows do not fit their schema.
    pub fn encode(
        &mut self,
        epoch: u64,
        deltas: BTreeMap<usize, SinkDelta>,
        out: &mut EpochOut,
        errors: u32,
    ) -> Result<Encoded> {
        let mut encoded = Encoded::new();
        let mut chunks: BTreeMap<u16, OutChunk> = BTreeMap::new();
        for (at, delta) in deltas {
            let sink = &self.plan.sinks[at];
            let target = &self.outputs.sinks[at].0;
            let Some(number) = target.number() else { continue };
            if let Target::Export { mode, .. } = target {
                let packed = self.with_pseudonyms(at, delta).and_then(|delta| export_chunks(*mode, &delta));
                let (packed, records) =
                    packed.with_context(|| format!("sink {}, epoch {epoch}", sink.name))?;
                self.records += records;
                encoded.insert(number, packed);
                continue;
            }
            let messages = self
                .encode_messages(at, &delta)
                .with_context(|| format!("sink {}, epoch {epoch}", sink.name))?;
            let chunk = chunks.entry(number).or_default();
            let mut record = OutRecord::default();
            if matches!(target, Target::Kafka { .. }) {
                record.headers.push((VERSION_HEADER, self.outputs.version.as_bytes()));
            }
            for row in 0..messages.values.len() {
                let key = messages.keys.as_ref().and_then(|keys| keys.get(row));
                let value = messages.values.get(row);
                if let Target::Kafka { topic, partitions, max_bytes } = target {
                    let size = key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len);
                    if size > *max_bytes {
                        report_oversized(sink, (size, *max_bytes), key, out, errors)?;
                        continue;
                    }
                    // As Kafka's own clients partition: by the key, or by the value of a record without one.
                    record.topic = topic;
                    record.partition = murmur2_partition(key.or(value).unwrap_or_default(), *partitions);
                }
                (record.key, record.value) = (key, value);
                chunk.push(&record);
                self.records += 1;
                if chunk.len_bytes() >= CHUNK_BYTES {
                    let full = std::mem::replace(chunk, OutChunk::new());
                    encoded.entry(number).or_default().push(full.into_bytes());
                }
            }
        }
        for (number, mut chunk) in chunks {
            flush_chunk(&mut chunk, encoded.entry(number).or_default(), 1);
        }
        encoded.retain(|_, chunks| !chunks.is_empty());
        Ok(encoded)
    }

    /// Returns the number of records encoded since the last call.
    pub fn take_records(&mut self) -> u64 {
        std::mem::take(&mut self.records)
    }

    /// The changes of an export with pseudonyms in the place of values.
    fn with_pseudonyms(&self, at: usize, delta: SinkDelta) -> Result<SinkDelta> {
        let Some(pseudonyms) = &self.plan.sinks[at].pseudonyms else { return Ok(delta) };
        let rows = pseudonyms.apply_to_rows(&self.codecs[at].0, &delta.rows)?;
        Ok(SinkDelta { rows, ..delta })
    }

    /// Encodes the keys and values of one sink's messages.
    fn encode_messages(&self, at: usize, delta: &SinkDelta) -> Result<Messages> {
        let (sink, (_, encoder, key_encoder)) = (&self.plan.sinks[at], &self.outputs.sinks[at]);
        let (rows, keys) = &self.codecs[at];
        let schema = &self.plan.rels[sink.rel].schema;
        if sink.format == Format::Plain {
            let mut plain = Rows::new();
            for (row, diff) in delta.rows.iter().zip(&delta.diffs) {
                if *diff < 0 {
                    bail!("a PLAIN sink got a retraction");
                }
                for _ in 0..*diff {
                    plain.push(row);
                }
            }
            let batch = decode_rows(rows, &plain, schema, sink.pseudonyms.as_ref())?;
            let keys = match key_encoder {
                Some(encoder) => Some(encoder.encode(&make_nullable(batch.project(&sink.key)?)?)?),
                None => None,
            };
            return Ok(Messages { keys, values: encoder.encode(&batch)? });
        }
        // The delta is sorted by key, with at most one removed and one inserted row per key.
        let (mut key_rows, mut before, mut after) = (Rows::new(), vec![], vec![]);
        for (at, diff) in delta.diffs.iter().enumerate() {
            let key = delta.keys.get(at);
            if key_rows.is_empty() || key_rows.get(key_rows.len() - 1) != key {
                key_rows.push(key);
                before.push(None);
                after.push(None);
            }
            let side = if *diff < 0 { &mut before } else { &mut after };
            if let Some(last) = side.last_mut() {
                *last = Some(at as u32);
            }
        }
        let key_schema: SchemaRef = Arc::new(schema.project(&sink.key)?);
        let of_key = sink.pseudonyms.as_ref().map(|pseudonyms| pseudonyms.projected(&sink.key));
        let key_batch = decode_rows(keys, &key_rows, &key_schema, of_key.as_ref())?;
        let keys = match key_encoder {
            Some(encoder) => Some(encoder.encode(&key_batch)?),
            None => None,
        };
        let batch = decode_rows(rows, &delta.rows, schema, sink.pseudonyms.as_ref())?;
        let values = match sink.format {
            Format::Debezium => encoder.encode(&debezium_batch(sink, &batch, schema, (before, after))?)?,
            _ => encode_upserts(encoder, &batch, &after)?,
        };
        Ok(Messages { keys, values })
    }
}

/// Packs the changes of an export, and counts them. A copy of the view takes none: there, an empty chunk tells that the
/// view has changed.
fn export_chunks(mode: ExportMode, delta: &SinkDelta) -> Result<(Vec<Vec<u8>>, u64)> {
    let (mut chunks, mut open, mut records) = (Vec::new(), OutChunk::new(), 0);
    let mut at = 0;
    while at < delta.diffs.len() && mode != ExportMode::Current {
        let (mut before, mut after, mut copies) = (None, None, 1);
        if mode == ExportMode::Append {
            if delta.diffs[at] < 0 {
                bail!("a PLAIN sink got a retraction");
            }
            (after, copies) = (Some(at), delta.diffs[at]);
            at += 1;
        } else {
            // The delta is sorted by key, with at most one removed and one inserted row per key.
            let key = delta.keys.get(at);
            while at < delta.diffs.len() && delta.keys.get(at) == key {
                let side = if delta.diffs[at] < 0 { &mut before } else { &mut after };
                *side = Some(at);
                at += 1;
            }
        }
        let (mark, row) = match (before, after) {
            (None, Some(row)) => (INSERT, row),
            (Some(_), Some(row)) => (UPDATE, row),
            (Some(row), None) => (DELETE, row),
            (None, None) => continue,
        };
        let key = if mode == ExportMode::Changes { Some(mark) } else { None };
        for _ in 0..copies {
            open.push(&OutRecord { key, value: Some(delta.rows.get(row)), ..OutRecord::default() });
            records += 1;
            flush_chunk(&mut open, &mut chunks, CHUNK_BYTES);
        }
    }
    flush_chunk(&mut open, &mut chunks, 1);
    if mode == ExportMode::Current && !delta.diffs.is_empty() {
        chunks.push(OutChunk::new().into_bytes());
    }
    Ok((chunks, records))
}

/// Encodes the inserted row of each key, or null where the key was deleted.
fn encode_upserts(encoder: &Encoder, batch: &RecordBatch, after: &[Option<u32>]) -> Result<Blobs> {
    let kept: UInt32Array = after.iter().flatten().copied().collect::<Vec<_>>().into();
    let encoded = encoder.encode(&arrow::compute::take_record_batch(batch, &kept)?)?;
    let mut values = Blobs::new();
    let mut next = 0;
    for row in after {
        if row.is_some() {
            values.push(encoded.get(next));
            next += 1;
        } else {
            values.push(None);
        }
    }
    Ok(values)
}

/// Builds the change events of each key: `before`, `after` and `op`.
fn debezium_batch(
    sink: &Sink,
    batch: &RecordBatch,
    schema: &SchemaRef,
    (before, after): (Vec<Option<u32>>, Vec<Option<u32>>),
) -> Result<RecordBatch> {
    let ops: StringArray = before
        .iter()
        .zip(&after)
        .map(|sides| {
            Some(match sides {
                (None, _) => "c",
                (Some(_), Some(_)) => "u",
                (Some(_), None) => "d",
            })
        })
        .collect();
    let before = take_structs(batch, schema, &without_partial_rows(batch, schema, before))?;
    let after = take_structs(batch, schema, &after)?;
    let columns: Vec<ArrayRef> = vec![before, after, Arc::new(ops)];
    let names = value_schema(sink, schema);
    let fields: Vec<Field> = names
        .fields()
        .iter()
        .zip(&columns)
        .map(|(field, column)| Field::new(field.name(), column.data_type().clone(), true))
        .collect();
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}

/// Leaves out the rows without a value in a NOT NULL column: those that an edited topology takes back lack the columns
/// that its sink did not have.
fn without_partial_rows(
    batch: &RecordBatch,
    schema: &SchemaRef,
    mut rows: Vec<Option<u32>>,
) -> Vec<Option<u32>> {
    for (field, column) in schema.fields().iter().zip(batch.columns()) {
        if !field.is_nullable() && column.null_count() > 0 {
            for row in &mut rows {
                *row = row.filter(|at| column.is_valid(*at as usize));
            }
        }
    }
    rows
}

/// Takes rows of a batch as structs, null where there is no row.
fn take_structs(batch: &RecordBatch, schema: &SchemaRef, rows: &[Option<u32>]) -> Result<ArrayRef> {
    let places = UInt32Array::from(rows.to_vec());
    let columns = batch.columns().iter().map(|c| take(c, &places, None)).collect::<Result<Vec<_>, _>>()?;
    let nulls = NullBuffer::from_iter(rows.iter().map(Option::is_some));
    // A NOT NULL column has nulls here only where the whole row is null.
    Ok(Arc::new(StructArray::try_new(schema.fields().clone(), columns, Some(nulls))?))
}

/// Unpacks rows into a batch whose columns are all nullable, with pseudonyms in the place of values.
fn decode_rows(
    codec: &RowCodec,
    rows: &Rows,
    schema: &SchemaRef,
    pseudonyms: Option<&Pseudonyms>,
) -> Result<RecordBatch> {
    let mut columns = codec.decode(rows.iter())?;
    if let Some(pseudonyms) = pseudonyms {
        pseudonyms.apply(&mut columns)?;
    }
    Ok(RecordBatch::try_new(nullable_schema(schema), columns)?)
}

/// The same batch with every column nullable, as the encoders expect it.
fn make_nullable(batch: RecordBatch) -> Result<RecordBatch> {
    Ok(RecordBatch::try_new(nullable_schema(&batch.schema()), batch.columns().to_vec())?)
}

/// The same schema with every column nullable.
fn nullable_schema(schema: &Schema) -> SchemaRef {
    let fields: Vec<Field> = schema.fields().iter().map(|f| f.as_ref().clone().with_nullable(true)).collect();
    Arc::new(Schema::new(fields))
}

/// Adds an oversized record to the error table.
fn report_oversized(
    sink: &Sink,
    (size, limit): (usize, usize),
    key: Option<&[u8]>,
    out: &mut EpochOut,
    errors: u32,
) -> Result<()> {
    let key = key.map(String::from_utf8_lossy).unwrap_or_default();
    let text = |t: String| -> ArrayRef { Arc::new(StringArray::from(vec![t])) };
    let columns = [
        text(sink.record_name.clone()),
        text(format!("sink {}", sink.name)),
        text(format!("the record has {size} bytes; its topic takes {limit}")),
        text(format!("key {key}")),
    ];
    let codec = RowCodec::new(&[DataType::Utf8, DataType::Utf8, DataType::Utf8, DataType::Utf8])?;
    out.add_count(errors, &stored_key(codec.encode(&columns)?.get(0)), 1);
    Ok(())
}

/// Moves an open chunk to the finished ones once it has at least `bytes` bytes.
pub fn flush_chunk(open: &mut OutChunk, chunks: &mut Vec<Vec<u8>>, bytes: usize) {
    if !open.is_empty() && open.len_bytes() >= bytes {
        chunks.push(std::mem::replace(open, OutChunk::new()).into_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(mode: ExportMode, changes: &[(&str, &str, i64)]) -> Result<Vec<(String, String)>> {
        let mut delta = SinkDelta::default();
        for (key, row, diff) in changes {
            delta.push(key.as_bytes(), row.as_bytes(), *diff);
        }
        let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
        let (chunks, records) = export_chunks(mode, &delta)?;
        let mut found = Vec::new();
        for chunk in &chunks {
            for record in OutChunk::read(chunk)? {
                let record = record?;
                found.push((text(record.key), text(record.value)));
            }
        }
        assert_eq!(found.len() as u64, records);
        Ok(found)
    }

    #[test]
    fn a_row_without_a_column_that_is_never_null_is_not_told() -> Result<()> {
        let schema: SchemaRef = Arc::new(Schema::new(vec![
            Field::new("k", DataType::Utf8, false),
            Field::new("n", DataType::Int64, false),
            Field::new("m", DataType::Int64, true),
        ]));
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(vec!["a", "b"])),
            Arc::new(arrow::array::Int64Array::from(vec![None, Some(1)])),
            Arc::new(arrow::array::Int64Array::from(vec![None, None])),
        ];
        let batch = RecordBatch::try_new(nullable_schema(&schema), columns)?;
        let rows = without_partial_rows(&batch, &schema, vec![Some(0), Some(1), None]);
        assert_eq!(rows, [None, Some(1), None]);
        let taken = take_structs(&batch, &schema, &rows)?;
        assert_eq!([taken.is_null(0), taken.is_null(1), taken.is_null(2)], [true, false, true]);
        // Of a row that is sent it is a broken invariant.
        assert!(take_structs(&batch, &schema, &[Some(0)]).is_err());
        Ok(())
    }

    #[test]
    fn an_export_gets_one_operation_for_each_key() -> Result<()> {
        let changes = [("a", "a1", 1), ("b", "b1", -1), ("b", "b2", 1), ("c", "c1", -1), ("d", "d1", 1)];
        let pairs = [("i", "a1"), ("u", "b2"), ("d", "c1"), ("i", "d1")];
        let expected = pairs.map(|(mark, row)| (mark.to_owned(), row.to_owned()));
        assert_eq!(packed(ExportMode::Changes, &changes)?, expected);
        Ok(())
    }

    #[test]
    fn an_export_that_appends_takes_no_row_back() -> Result<()> {
        let rows = [("", "a"), ("", "a"), ("", "b")].map(|(mark, row)| (mark.to_owned(), row.to_owned()));
        assert_eq!(packed(ExportMode::Append, &[("", "a", 2), ("", "b", 1)])?, rows);
        assert!(packed(ExportMode::Append, &[("", "a", -1)]).is_err());
        Ok(())
    }

    #[test]
    fn a_copy_is_told_of_a_change_and_gets_no_rows() -> Result<()> {
        let mut delta = SinkDelta::default();
        assert_eq!(export_chunks(ExportMode::Current, &delta)?, (Vec::new(), 0));
        delta.push(b"a", b"a1", 1);
        let (chunks, records) = export_chunks(ExportMode::Current, &delta)?;
        assert_eq!((chunks.len(), records), (1, 0));
        Ok(())
    }
}
