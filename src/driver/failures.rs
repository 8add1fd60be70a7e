//! Changes of the error table, encoded for the dead-letter topics.
//!
//! The error table is a multiset of failed rows: view, expression, message and the row's values, with a
//! count. Each change of a count is one record in the dead-letter topic of every source that the view reads.
//! Its key is the row as JSON, its value the row with `times`; a null value deletes the entry once no row
//! fails that way any more. The texts are those of the table, not as they are shown: the deletion of a row must repeat
//! the key that an earlier release wrote. The header `herald.outcome` is `expression`. A consumer that keeps the last value
//! of each key has the table.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use arrow::array::AsArray;
use arrow::datatypes::DataType;
use connectors::{DeadLetterTopic, murmur2_partition};
use dataflows::plan::explain::failure;
use dataflows::plan::{Op, Plan, RelId};
use schemas::{OutChunk, OutRecord, RowCodec};
use serde_json::{Map, Value, json};
use state::{Bounded, BoundedTotals, Store};

use super::encode::{CHUNK_BYTES, flush_chunk};

/// Least time between two warnings of rows that fail.
const WARNING_INTERVAL: Duration = Duration::from_secs(30);
/// Most bytes of a message in a warning and in the status.
const SHOWN_TEXT: usize = 300;
/// Most bytes of one text in a record, as long as the record fits its topic.
const MAX_TEXT: usize = 64 << 10;

/// Rows on which an expression of a view fails, as the status and the end of a run show them.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct FailingRows {
    /// Rows that fail now: those in `herald.errors`, and those that it does not keep.
    pub rows: u64,
    /// The view of one of them: the last that came, or one that the state held at the start.
    pub view: Option<String>,
    /// Its message.
    pub message: Option<String>,
}

impl FailingRows {
    /// The rows of a state's error table, which has these totals. One row is read.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn read(store: &Store, table_id: u32, totals: &BoundedTotals) -> Result<FailingRows> {
        let mut found = FailingRows { rows: totals.copies(), ..FailingRows::default() };
        if let Some((row, _)) = store.iter(table_id, &[])?.next_entry()? {
            found.name(&error_codec()?, row)?;
        }
        Ok(found)
    }

    /// A line about these rows, with the command that shows them, which ends with `options`; empty without rows.
    pub fn line(&self, options: &str) -> String {
        let example = match (&self.view, &self.message) {
            (Some(view), Some(message)) => format!(" (view {view}: {message})"),
            _ => String::new(),
        };
        let rows = match self.rows {
            0 => return String::new(),
            1 => "1 row, which is".to_owned(),
            n => format!("{n} rows, which are"),
        };
        format!(
            "An expression fails on {rows} left out{example}: \
             herald query \"SELECT * FROM herald.errors\"{options}\n"
        )
    }

    /// Shows the view and the message of a stored row.
    fn name(&mut self, codec: &RowCodec, stored: &[u8]) -> Result<()> {
        let columns = codec.decode(std::iter::once(schemas::without_group(stored)))?;
        let text = |at: usize| columns[at].as_string::<i32>().value(0);
        let message = failure::spell("message", text(2));
        self.view = Some(truncate_text(text(0), SHOWN_TEXT).into_owned());
        self.message = Some(truncate_text(&message, SHOWN_TEXT).into_owned());
        Ok(())
    }
}

/// The codec of the error table's rows, whose columns are text.
fn error_codec() -> Result<RowCodec> {
    Ok(RowCodec::new(&[const { DataType::Utf8 }; 4])?)
}

/// Follows the error table from epoch to epoch, and warns of rows that fail: at the first, then at most once per
/// [`WARNING_INTERVAL`].
#[derive(Clone, Debug)]
pub struct FailureWatch {
    failing: FailingRows,
    not_kept: u64,
    /// Rows that began to fail since the last warning.
    unsaid: u64,
    warned: Option<Instant>,
}

impl FailureWatch {
    /// A watch that begins at `failing`, of which `not_kept` rows are not in the table. These are no news.
    pub fn new(failing: FailingRows, not_kept: u64) -> FailureWatch {
        FailureWatch { failing, not_kept, unsaid: 0, warned: None }
    }

    /// Takes in the changes of an epoch. Returns the rows that fail after it.
    ///
    /// # Errors
    /// When a row is not readable.
    pub fn follow(&mut self, changes: &Bounded, codec: &RowCodec) -> Result<FailingRows> {
        let (mut more, mut fewer) = (0u64, 0u64);
        for (stored, diff) in changes.counts.rows.iter().zip(&changes.counts.diffs) {
            if *diff > 0 {
                if more == 0 {
                    self.failing.name(codec, stored)?;
                }
                more = more.saturating_add(diff.unsigned_abs());
            } else {
                fewer = fewer.saturating_add(diff.unsigned_abs());
            }
        }
        let not_kept = changes.totals.not_kept;
        more = more.saturating_add(not_kept.saturating_sub(self.not_kept));
        fewer = fewer.saturating_add(self.not_kept.saturating_sub(not_kept));
        self.not_kept = not_kept;
        self.unsaid = self.unsaid.saturating_add(more);
        self.failing.rows = self.failing.rows.saturating_add(more).saturating_sub(fewer);
        if self.failing.rows == 0 {
            self.failing = FailingRows::default();
        }
        Ok(self.failing.clone())
    }

    /// The warning that is due at `now`, if one is.
    pub fn take_warning(&mut self, now: Instant) -> Option<String> {
        let waits = self.warned.is_some_and(|warned| now.duration_since(warned) < WARNING_INTERVAL);
        if self.unsaid == 0 || waits {
            return None;
        }
        let told = FailingRows { rows: std::mem::take(&mut self.unsaid), ..self.failing.clone() };
        self.warned = Some(now);
        Some(told.line("").trim_end().to_owned())
    }
}

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
        Ok(Failures { codec: error_codec()?, topics })
    }

    /// The codec of the error table's rows.
    pub fn codec(&self) -> &RowCodec {
        &self.codec
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, StringArray};
    use state::Counts;

    use super::*;

    /// Changes of one row of the error table.
    fn change(message: &str, diff: i64, not_kept: u64) -> Result<Bounded> {
        let mut columns: Vec<ArrayRef> = Vec::new();
        for text in ["ratios", "10 / (b - 1)", message, "{}"] {
            columns.push(Arc::new(StringArray::from(vec![text])));
        }
        let mut counts = Counts { table_id: 1, diffs: vec![diff], ..Counts::default() };
        for row in error_codec()?.encode(&columns)?.iter() {
            counts.rows.push(&schemas::stored_key(row));
        }
        Ok(Bounded {
            counts,
            after: vec![diff.max(0)],
            totals: BoundedTotals { bytes: 9, kept: None, not_kept },
        })
    }

    #[test]
    fn rows_that_begin_to_fail_are_warned_of_once_per_interval() -> Result<()> {
        let (codec, start) = (error_codec()?, Instant::now());
        let mut watch = FailureWatch::new(FailingRows { rows: 5, ..FailingRows::default() }, 0);
        assert_eq!(watch.take_warning(start), None, "what failed before the start is no news");
        let failing = watch.follow(&change("Arrow error: Divide by zero error", 2, 1)?, &codec)?;
        assert_eq!((failing.rows, failing.view.as_deref()), (8, Some("ratios")));
        let warning = watch.take_warning(start).unwrap_or_default();
        assert!(
            warning.contains("fails on 3 rows") && warning.contains("view ratios: division by zero"),
            "{warning}"
        );
        watch.follow(&change("too large", 1, 1)?, &codec)?;
        assert_eq!(watch.take_warning(start + Duration::from_secs(29)), None);
        let warning = watch.take_warning(start + Duration::from_secs(30)).unwrap_or_default();
        assert!(warning.contains("fails on 1 row,") && warning.contains("too large"), "{warning}");
        let failing = watch.follow(&change("Arrow error: Divide by zero error", -2, 0)?, &codec)?;
        assert_eq!(failing.rows, 6);
        assert_eq!(
            watch.take_warning(start + Duration::from_secs(90)),
            None,
            "rows that are mended are no news"
        );
        Ok(())
    }
}
