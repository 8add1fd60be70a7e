//! The system tables of schema `herald`, which are read whole: the state of views, sources, sinks and state
//! tables at the committed epoch, the history of epochs, and dead letters.
//!
//! All but the sessions follow from the epoch: from its progress, catalogue, outbox and history.

mod erasures;

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Result;
use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use connectors::sink::outbox_targets;
use datafusion::scalar::ScalarValue;
use schemas::{Outcome, timestamptz};
use state::{
    Catalogue, CatalogueEntry, EPOCHS_KEPT, EpochEntry, PartitionProgress, SourceProgress, StateTableKind,
    TimedPhase,
};

use super::epoch::EpochReads;
use super::scans::ViewSize;
use crate::query::budget::TableBudget;
use crate::query::dead_letters;
use crate::query::mistakes::filling_text;

/// 9999-12-31T23:59:59.999999Z, as which a watermark at the maximum is shown.
const END_OF_TIME_US: i64 = 253_402_300_799_999_999;

/// A system table, which is read whole before the query.
pub(super) struct SystemTable {
    /// Its name in schema `herald`.
    pub name: &'static str,
    /// Its meaning, for the reference pages.
    pub about: &'static str,
    /// Its columns.
    pub schema: fn() -> SchemaRef,
    /// Reads its rows.
    pub read: fn(&dyn EpochReads, &mut TableBudget) -> Result<RecordBatch>,
}

/// The system tables that are read whole before the query.
pub(super) const SYSTEM_TABLES: [SystemTable; 9] = [
    SystemTable {
        name: "views",
        about: "The last committed epoch, which every view shows, its time, and of each view the \
                watermark, the latest end of windows that are final (`is_final`), the columns of its key \
                in their order, and its size. Sizes are exact up to 256 entries, and else estimated from \
                so many or more of them; equal rows of a view without a key are one. `is_whole` is false where a \
                retention ends rows, or where a view was begun without rows that an edit of the topology \
                would have needed again, or is being filled after one: `gap` tells which.",
        schema: views_schema,
        read: read_views,
    },
    SystemTable {
        name: "indexes",
        about: "The indexes of views: the columns of each in their order, and its size. Sizes are exact up to \
                256 entries, and else estimated from so many or more of them.",
        schema: indexes_schema,
        read: read_indexes,
    },
    SystemTable {
        name: "sources",
        about: "The committed progress of sources and tables: a row for each partition, or one without a \
                partition where nothing was read yet. `next_offset` is the first that is not read. The \
                watermark and the columns from `read` on are the whole source's in each of its rows: \
                records read since the state began, by outcome. `NAME (again)` is the second reading of a source \
                for the additions of an edit, until all have its records.",
        schema: sources_schema,
        read: read_sources,
    },
    SystemTable {
        name: "sinks",
        about: "The sinks, with the relation that each sends and the last epoch up to which its output is \
                published.",
        schema: sinks_schema,
        read: read_sinks,
    },
    SystemTable {
        name: "arrangements",
        about: "The state tables: rows of tables, state of operators (arrangements), rows of views and of indexes, \
                each with its size. Sizes are exact up to 256 entries, and else estimated from so many \
                or more of them.",
        schema: arrangements_schema,
        read: read_arrangements,
    },
    SystemTable {
        name: "epochs",
        about: "The last thousand epochs: records read, records made for sinks, and the time of each \
                phase. `decode_ms` and `step_ms` are those of the worker that took longest. `commit_ms` \
                and `publish_ms` are written with a later epoch, and NULL until then; epochs that were \
                published together have the time of all.",
        schema: epochs_schema,
        read: read_epochs,
    },
    SystemTable {
        name: "erasures",
        about: erasures::ABOUT,
        schema: erasures::table_schema,
        read: erasures::read_all,
    },
    SystemTable {
        name: "sessions",
        about: "The sessions of clients that are connected to the topology by PostgreSQL's protocol now, with                 the statement that runs in each, or ran last. Unlike the other tables it is of the moment,                 not of the epoch, and empty where no topology runs.",
        schema: sessions_schema,
        read: read_sessions,
    },
    SystemTable {
        name: "dead_letter",
        about: "Rejected records, oldest first, with their bytes, where each came from, and the reason.",
        schema: dead_letters::table_schema,
        read: dead_letters::read_all,
    },
];

/// A row: a value for each column, of the column's type.
type Row = Vec<ScalarValue>;

/// A batch of rows.
fn to_batch(schema: SchemaRef, rows: &[Row], budget: &mut TableBudget, table: &str) -> Result<RecordBatch> {
    if rows.is_empty() {
        return Ok(RecordBatch::new_empty(schema));
    }
    let mut columns = Vec::with_capacity(schema.fields().len());
    for at in 0..schema.fields().len() {
        columns.push(ScalarValue::iter_to_array(rows.iter().filter_map(|row| row.get(at).cloned()))?);
    }
    let batch = RecordBatch::try_new(schema, columns)?;
    budget.take(batch.get_array_memory_size(), table)?;
    Ok(batch)
}

fn schema_of(fields: Vec<Field>) -> SchemaRef {
    Arc::new(Schema::new(fields))
}

fn text(value: Option<&str>) -> ScalarValue {
    ScalarValue::Utf8(value.map(str::to_owned))
}

fn whole(value: Option<u64>) -> ScalarValue {
    ScalarValue::Int64(value.map(|n| i64::try_from(n).unwrap_or(i64::MAX)))
}

/// A time in microseconds since 1970.
fn time_us(us: Option<i64>) -> ScalarValue {
    ScalarValue::TimestampMicrosecond(us.map(|us| us.min(END_OF_TIME_US)), Some("UTC".into()))
}

/// A time in milliseconds since 1970; none is 0.
fn time_ms(ms: i64) -> ScalarValue {
    time_us((ms > 0).then_some(ms.saturating_mul(1000)))
}

/// A duration as milliseconds with a fraction.
fn length_ms(us: Option<u64>) -> ScalarValue {
    ScalarValue::Float64(us.map(|us| us as f64 / 1000.0))
}

/// The columns of sizes, which are estimates.
fn size_fields() -> [Field; 2] {
    ["estimated_rows", "estimated_bytes"].map(|name| Field::new(name, DataType::Int64, true))
}

/// The values of these columns.
fn size_of(
    epoch: &dyn EpochReads,
    entry: Option<&CatalogueEntry>,
    catalogue: &Catalogue,
) -> Result<[ScalarValue; 2]> {
    let Some(entry) = entry else { return Ok([whole(None), whole(None)]) };
    let view = entry.index.as_ref().and_then(|of| catalogue.find(StateTableKind::View, &of.view));
    let size = match view {
        Some(view) => ViewSize::of_index(epoch, entry.id, ViewSize::estimate(epoch, view.id)?)?,
        None => ViewSize::estimate(epoch, entry.id)?,
    };
    Ok([whole(Some(size.rows)), whole(Some(size.bytes))])
}

/// The columns of `herald.views`.
fn views_schema() -> SchemaRef {
    let names = DataType::new_list(DataType::Utf8, true);
    let mut fields = vec![
        Field::new("view", DataType::Utf8, false),
        Field::new("epoch", DataType::Int64, false),
        Field::new("committed_at", timestamptz(), true),
        Field::new("watermark", timestamptz(), true),
        Field::new("final_until", timestamptz(), true),
        Field::new("key", names, true),
    ];
    fields.extend(size_fields());
    fields.push(Field::new("is_whole", DataType::Boolean, true));
    fields.push(Field::new("gap", DataType::Utf8, true));
    schema_of(fields)
}

/// The rows of `herald.views`.
fn read_views(epoch: &dyn EpochReads, budget: &mut TableBudget) -> Result<RecordBatch> {
    let catalogue = epoch.catalogue()?;
    let mut rows = Vec::new();
    for (name, view) in &epoch.committed().progress.views {
        let entry = catalogue.find(StateTableKind::View, name);
        let [estimated_rows, estimated_bytes] = size_of(epoch, entry, &catalogue)?;
        let filling = entry.and_then(|entry| filling_text(entry, &epoch.committed().progress));
        let gap = filling.or_else(|| entry.and_then(|entry| entry.facts.gap.clone()));
        rows.push(vec![
            text(Some(name)),
            whole(Some(view.epoch)),
            time_ms(view.commit_ms),
            time_us(view.watermark_us),
            time_us(view.final_us),
            key_names(entry)?,
            estimated_rows,
            estimated_bytes,
            ScalarValue::Boolean(entry.map(is_whole)),
            text(gap.as_deref()),
        ]);
    }
    to_batch(views_schema(), &rows, budget, "herald.views")
}

/// Returns true if a view has, and keeps, all rows of its query.
fn is_whole(view: &CatalogueEntry) -> bool {
    view.retention.is_none() && view.facts.gap.is_none() && view.facts.filling.is_none()
}

/// The names of the columns of a view's key; NULL for a view without one.
fn key_names(entry: Option<&CatalogueEntry>) -> Result<ScalarValue> {
    match entry.and_then(|entry| Some((entry, entry.key.as_ref()?))) {
        Some((entry, key)) => column_names(entry, key),
        None => Ok(ScalarValue::try_new_null(&DataType::new_list(DataType::Utf8, true))?),
    }
}

/// The names of columns of a view, which are given by their positions.
fn column_names(view: &CatalogueEntry, columns: &[usize]) -> Result<ScalarValue> {
    let schema = super::view_schema(view)?;
    let mut names = Vec::with_capacity(columns.len());
    for at in columns {
        names.push(text(schema.fields().get(*at).map(|field| field.name().as_str())));
    }
    Ok(ScalarValue::List(ScalarValue::new_list_nullable(&names, &DataType::Utf8)))
}

/// The columns of `herald.indexes`.
fn indexes_schema() -> SchemaRef {
    let mut fields = vec![
        Field::new("view", DataType::Utf8, false),
        Field::new("name", DataType::Utf8, false),
        Field::new("columns", DataType::new_list(DataType::Utf8, true), false),
    ];
    fields.extend(size_fields());
    schema_of(fields)
}

/// The rows of `herald.indexes`.
fn read_indexes(epoch: &dyn EpochReads, budget: &mut TableBudget) -> Result<RecordBatch> {
    let catalogue = epoch.catalogue()?;
    let mut rows = Vec::new();
    for entry in &catalogue.entries {
        let Some(of) = &entry.index else { continue };
        let Some(view) = catalogue.find(StateTableKind::View, &of.view) else { continue };
        let [estimated_rows, estimated_bytes] = size_of(epoch, Some(entry), &catalogue)?;
        rows.push(vec![
            text(Some(&of.view)),
            text(Some(&entry.name)),
            column_names(view, &of.columns)?,
            estimated_rows,
            estimated_bytes,
        ]);
    }
    to_batch(indexes_schema(), &rows, budget, "herald.indexes")
}

/// The columns of `herald.sources`.
fn sources_schema() -> SchemaRef {
    let mut fields = vec![
        Field::new("name", DataType::Utf8, false),
        Field::new("connector", DataType::Utf8, true),
        Field::new("partition", DataType::Int32, true),
        Field::new("next_offset", DataType::Int64, true),
        Field::new("last_record_at", timestamptz(), true),
        Field::new("max_event_time", timestamptz(), true),
        Field::new("watermark", timestamptz(), true),
        Field::new("has_ended", DataType::Boolean, false),
        Field::new("read", DataType::Int64, false),
    ];
    for outcome in Outcome::ALL {
        fields.push(Field::new(outcome.name(), DataType::Int64, false));
    }
    schema_of(fields)
}

/// The rows of `herald.sources`.
fn read_sources(epoch: &dyn EpochReads, budget: &mut TableBudget) -> Result<RecordBatch> {
    let progress = &epoch.committed().progress.sources;
    let connectors = source_connectors(epoch)?;
    let mut rows = Vec::new();
    for name in crate::query::stored_sources(epoch)? {
        let unread = SourceProgress::default();
        let source = progress.get(&name).unwrap_or(&unread);
        let connector = connectors.get(&name).map(String::as_str);
        for (partition, at) in &source.partitions {
            rows.push(source_row((&name, connector), source, Some((*partition, at))));
        }
        if source.partitions.is_empty() {
            rows.push(source_row((&name, connector), source, None));
        }
    }
    to_batch(sources_schema(), &rows, budget, "herald.sources")
}

/// The row of a partition of a source, or of a source without one.
fn source_row(
    (name, connector): (&str, Option<&str>),
    source: &SourceProgress,
    partition: Option<(i32, &PartitionProgress)>,
) -> Row {
    let at = partition.map(|(_, at)| at);
    let mut row = vec![
        text(Some(name)),
        text(connector),
        ScalarValue::Int32(partition.map(|(number, _)| number)),
        ScalarValue::Int64(at.map(|at| at.next_offset)),
        time_us(at.and_then(|at| at.last_ms).map(|ms| ms.saturating_mul(1000))),
        time_us(at.and_then(|at| at.max_event_us)),
        time_us(source.watermark_us),
        ScalarValue::Boolean(Some(source.ended)),
        whole(Some(source.read)),
    ];
    for outcome in Outcome::ALL {
        row.push(whole(Some(source.outcomes[outcome.index()])));
    }
    row
}

/// The connectors of sources by name, as far as the catalogue has them.
fn source_connectors(epoch: &dyn EpochReads) -> Result<BTreeMap<String, String>> {
    let mut connectors = BTreeMap::new();
    for entry in epoch.catalogue()?.entries {
        let name = match entry.kind {
            StateTableKind::Table => Some(entry.name.as_str()),
            StateTableKind::Sink => source_of(&entry),
            StateTableKind::Arrangement | StateTableKind::View | StateTableKind::Index => None,
        };
        if let (Some(name), Some(connector)) = (name, &entry.facts.connector) {
            connectors.insert(name.to_owned(), connector.clone());
        }
    }
    Ok(connectors)
}

/// The source of an entry among the sinks that stands for one: a source that is no table has no rows.
fn source_of(entry: &CatalogueEntry) -> Option<&str> {
    entry.name.strip_prefix("source ")
}

/// The columns of `herald.sinks`.
fn sinks_schema() -> SchemaRef {
    schema_of(vec![
        Field::new("name", DataType::Utf8, false),
        Field::new("view", DataType::Utf8, true),
        Field::new("connector", DataType::Utf8, true),
        Field::new("published_epoch", DataType::Int64, true),
    ])
}

/// The rows of `herald.sinks`.
fn read_sinks(epoch: &dyn EpochReads, budget: &mut TableBudget) -> Result<RecordBatch> {
    let mut sinks = epoch.catalogue()?.entries;
    sinks.retain(|entry| entry.kind == StateTableKind::Sink && source_of(entry).is_none());
    let targets = outbox_targets(sinks.iter().map(|sink| sink.facts.connector.as_deref()));
    let mut rows = Vec::new();
    for (entry, target) in sinks.iter().zip(targets) {
        let published = match target {
            Some(target) => Some(epoch.published_until(target)?),
            // It takes its output when it is committed.
            None => entry.facts.connector.as_ref().map(|_| epoch.committed().epoch),
        };
        rows.push(vec![
            text(Some(&entry.name)),
            text(entry.facts.shows.as_deref()),
            text(entry.facts.connector.as_deref()),
            whole(published),
        ]);
    }
    to_batch(sinks_schema(), &rows, budget, "herald.sinks")
}

/// The columns of `herald.sessions`.
fn sessions_schema() -> SchemaRef {
    schema_of(vec![
        Field::new("pid", DataType::Int32, false),
        Field::new("user_name", DataType::Utf8, false),
        Field::new("application_name", DataType::Utf8, false),
        Field::new("client", DataType::Utf8, false),
        Field::new("began_at", timestamptz(), true),
        Field::new("state", DataType::Utf8, false),
        Field::new("query", DataType::Utf8, false),
    ])
}

/// The rows of `herald.sessions`.
fn read_sessions(epoch: &dyn EpochReads, budget: &mut TableBudget) -> Result<RecordBatch> {
    let mut rows = Vec::new();
    for session in epoch.sessions()? {
        rows.push(vec![
            ScalarValue::Int32(Some(session.pid)),
            text(Some(&session.user)),
            text(Some(&session.application)),
            text(Some(&session.client)),
            time_ms(session.begun_ms),
            text(Some(&session.state)),
            text(Some(&session.query)),
        ]);
    }
    to_batch(sessions_schema(), &rows, budget, "herald.sessions")
}

/// The columns of `herald.arrangements`.
fn arrangements_schema() -> SchemaRef {
    let mut fields = vec![
        Field::new("name", DataType::Utf8, false),
        Field::new("kind", DataType::Utf8, false),
        Field::new("operator", DataType::Utf8, true),
    ];
    fields.extend(size_fields());
    schema_of(fields)
}

/// The rows of `herald.arrangements`.
fn read_arrangements(epoch: &dyn EpochReads, budget: &mut TableBudget) -> Result<RecordBatch> {
    let catalogue = epoch.catalogue()?;
    let mut rows = Vec::new();
    for entry in &catalogue.entries {
        let kind = match entry.kind {
            StateTableKind::Table => "table",
            StateTableKind::Arrangement => "arrangement",
            StateTableKind::View => "view",
            StateTableKind::Index => "index",
            StateTableKind::Sink => continue,
        };
        let [estimated_rows, estimated_bytes] = size_of(epoch, Some(entry), &catalogue)?;
        rows.push(vec![
            text(Some(&entry.name)),
            text(Some(kind)),
            text(entry.facts.operator.as_deref()),
            estimated_rows,
            estimated_bytes,
        ]);
    }
    to_batch(arrangements_schema(), &rows, budget, "herald.arrangements")
}

/// The columns of `herald.epochs`.
fn epochs_schema() -> SchemaRef {
    let mut fields = vec![
        Field::new("epoch", DataType::Int64, false),
        Field::new("committed_at", timestamptz(), true),
        Field::new("input_rows", DataType::Int64, false),
        Field::new("output_rows", DataType::Int64, false),
    ];
    for (phase, nullable) in
        [("decode_ms", false), ("step_ms", false), ("commit_ms", true), ("publish_ms", true)]
    {
        fields.push(Field::new(phase, DataType::Float64, nullable));
    }
    schema_of(fields)
}

/// The rows of `herald.epochs`.
fn read_epochs(epoch: &dyn EpochReads, budget: &mut TableBudget) -> Result<RecordBatch> {
    let entries = epoch.history()?;
    let (commits, publishes) =
        (times_of(&entries, TimedPhase::Commit), times_of(&entries, TimedPhase::Publish));
    let mut rows = Vec::with_capacity(entries.len());
    for entry in &entries {
        let measured = &entry.measured;
        rows.push(vec![
            whole(Some(entry.epoch)),
            time_ms(entry.commit_ms),
            whole(Some(measured.input_rows)),
            whole(Some(measured.output_rows)),
            length_ms(Some(measured.decode_us)),
            length_ms(Some(measured.step_us)),
            length_ms(commits.get(&entry.epoch).copied()),
            length_ms(publishes.get(&entry.epoch).copied()),
        ]);
    }
    to_batch(epochs_schema(), &rows, budget, "herald.epochs")
}

/// The times of a phase by epoch, in microseconds, which later entries have.
fn times_of(entries: &[EpochEntry], phase: TimedPhase) -> BTreeMap<u64, u64> {
    let mut times = BTreeMap::new();
    for entry in entries {
        for earlier in entry.measured.earlier.iter().filter(|earlier| earlier.phase == phase) {
            // Only epochs of the history are shown, however many went together.
            let first = earlier.first.max(entry.epoch.saturating_sub(EPOCHS_KEPT));
            for epoch in first..=earlier.last.min(entry.epoch) {
                times.insert(epoch, earlier.us);
            }
        }
    }
    times
}
