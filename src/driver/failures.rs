//! Changes of the error table, encoded for the dead-letter topics.
//!
//! The error table is a multiset of failed rows: view, expression, message and the row's values, with a
//! count. Each change of a count is one record in the dead-letter topic of every source that the view reads.
//! Its key is the row as JSON, its value the row with `times`; a null value deletes the entry once no row
//! fails that way any more. The header `herald.outcome` is `expression`. A consumer that keeps the last value
//! of each key has the table.

use std::borrow::Cow;
use std::collections::BTreeMap;

use anyhow::Result;
use arrow::array::AsArray;
use arrow::datatypes::DataType;
use connectors::{DeadLetterTopic, murmur2_partition};
use dataflows::plan::{Op, Plan, RelId};
use schemas::{OutChunk, OutRecord, RowCodec};
use serde_json::{Map, Value, json};
use state::Bounded;

use super::encode::{CHUNK_BYTES, flush_chunk};

/// Most bytes of one text in a record, as long as the record fits its topic.
const MAX_TEXT: usize = 64 << 10;

/// Dead-letter topics by view.
pub struct Failures {
    codec: RowCodec,
    topics: BTreeMap<String, Vec<DeadLetterTopic>>,
}

impl Failures {
    /// Finds the topics of each view; `dead_letters` are those of the sources.
    ///
    /// # Errors
    /// Never: the error table's columns are text.
    pub fn new(plan: &Plan, dead_letters: &BTreeMap<String, DeadLetterTopic>) -> Result<Failures> {
        let mut topics: BTreeMap<String, Vec<DeadLetterTopic>> = BTreeMap::new();
        for (id, rel) in plan.rels.iter().enumerate() {
            let mut below = Vec::new();
            collect_sources(plan, id, &mut below);
            let of = topics.entry(rel.owner.clone()).or_default();
            for source in below {
                of.extend(dead_letters.get(source).cloned());
            }
            of.sort();
            of.dedup();
        }
        Ok(Failures { codec: RowCodec::new(&[const { DataType::Utf8 }; 4])?, topics })
    }

    /// Encodes the error table's changes as chunks of the outbox. Rows that the table does not keep are left
    /// out.
    ///
    /// # Errors
    /// When a row is not readable.
    pub fn chunks(&self, changes: &Bounded) -> Result<Vec<Vec<u8>>> {
        let (mut chunks, mut chunk) = (Vec::new(), OutChunk::new());
        for (stored, times) in changes.counts.rows.iter().zip(&changes.after) {
            // A stored row has its key group in front.
            self.push_change(&mut chunk, schemas::without_group(stored), *times)?;
            flush_chunk(&mut chunk, &mut chunks, CHUNK_BYTES);
        }
        flush_chunk(&mut chunk, &mut chunks, 1);
        Ok(chunks)
    }

    /// Appends the record of one row, which now fails `times` times, for each topic of its view.
    fn push_change(&self, chunk: &mut OutChunk, row: &[u8], times: i64) -> Result<()> {
        let columns = self.codec.decode(std::iter::once(row))?;
        let text = |at: usize| columns[at].as_string::<i32>().value(0);
        let Some(topics) = self.topics.get(text(0)) else { return Ok(()) };
        // The smallest limit of the topics: key and value must be the same in all of them, and the deletion
        // of a row must repeat its key byte for byte.
        let room = topics.iter().map(|topic| topic.max_bytes).min().unwrap_or(usize::MAX);
        let mut most = MAX_TEXT;
        let (key, value) = loop {
            let mut row = Map::new();
            for (at, name) in ["view", "expression", "message", "row"].into_iter().enumerate() {
                row.insert(name.to_owned(), Value::from(truncate_text(text(at), most)));
            }
            let key = serde_json::to_vec(&row)?;
            row.insert("times".to_owned(), json!(times));
            if key.len() * 2 + 256 <= room || most < 64 {
                break (key, if times > 0 { Some(serde_json::to_vec(&row)?) } else { None });
            }
            most /= 2;
        };
        for topic in topics {
            chunk.push(&OutRecord {
                topic: &topic.name,
                partition: murmur2_partition(&key, topic.partitions),
                key: Some(&key),
                value: value.as_deref(),
                headers: vec![("herald.view", text(0).as_bytes()), ("herald.outcome", b"expression")],
            });
        }
        Ok(())
    }
}

/// A text cut to `most` bytes. A hash of the whole text replaces the rest, so that different rows stay
/// different.
fn truncate_text(text: &str, most: usize) -> Cow<'_, str> {
    if text.len() <= most {
        return Cow::Borrowed(text);
    }
    let cut = text.floor_char_boundary(most);
    Cow::Owned(format!("{}... {:016x}", &text[..cut], schemas::hash(text.as_bytes())))
}

/// Collects the names of the sources below a relation.
fn collect_sources<'p>(plan: &'p Plan, rel: RelId, out: &mut Vec<&'p str>) {
    match &plan.rels[rel].op {
        Op::Source(at) => out.push(&plan.sources[*at].name),
        op => {
            for input in op.inputs() {
                collect_sources(plan, input, out);
            }
        }
    }
}
