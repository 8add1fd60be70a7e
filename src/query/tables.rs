//! The tables a query sees: materialized views, and the system tables of schema `herald`.
//!
//! A table is read whole, and only when the query names it; the others are registered empty, so
//! that `SHOW TABLES` and `information_schema` know them. A keyed view's entry is its key and its
//! packed row, an unkeyed one's its packed row and how often it occurs; the key of either begins
//! with its key group.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result};
use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use dataflows::retention::Served;
use dataflows::sql::question;
use datafusion::catalog::MemorySchemaProvider;
use datafusion::common::TableReference;
use datafusion::datasource::empty::EmptyTable;
use datafusion::datasource::{MemTable, TableProvider, provider_as_source};
use datafusion::logical_expr::TableSource;
use datafusion::prelude::SessionContext;
use schemas::{RowCodec, Rows, timestamptz};
use state::{CatalogueEntry, Snapshot, SpaceKind, count_of};

use super::letters;
use crate::exit::mistake;

/// Rows a batch holds.
const BATCH: usize = 8192;
/// 9999-12-31T23:59:59.999999Z: what a watermark beyond time is shown as.
const END_OF_TIME_US: i64 = 253_402_300_799_999_999;

/// The tables of one epoch, those that are needed with their rows.
pub struct Tables {
    /// The committed epoch.
    pub epoch: u64,
    /// Names the query uses that no table has.
    pub unknown: Vec<String>,
    tables: Vec<Table>,
}

struct Table {
    /// None for the default schema.
    schema_name: Option<&'static str>,
    name: String,
    schema: SchemaRef,
    batches: Option<Vec<RecordBatch>>,
}

impl Table {
    fn full_name(&self) -> String {
        match self.schema_name {
            Some(schema) => format!("{schema}.{}", self.name),
            None => self.name.clone(),
        }
    }
}

impl Tables {
    /// Reads the tables that `sql` names, taking no more memory than `limit`.
    pub fn load(snapshot: &Snapshot<'_>, sql: &str, limit: usize) -> Result<Tables> {
        let wanted = references(sql, limit)?;
        let catalogue = snapshot.catalogue()?.unwrap_or_default();
        let views = catalogue.entries.iter().filter(|entry| entry.kind == SpaceKind::View);
        let mut tables = Vec::new();
        let mut budget = Budget { left: limit };
        for entry in views {
            let schema = view_schema(entry)?;
            let batches = match wanted.contains(&entry.name) {
                true => Some(view_rows(snapshot, entry, &schema, &mut budget)?),
                false => None,
            };
            // The engine's own table of failed expressions is kept as a view is.
            let (schema_name, name) = match entry.name.strip_prefix("herald.") {
                Some(name) => (Some("herald"), name),
                None => (None, entry.name.as_str()),
            };
            tables.push(Table { schema_name, name: name.to_owned(), schema, batches });
        }
        let views_of = |budget: &mut Budget| system_views(snapshot, budget);
        let letters = |budget: &mut Budget| letters::rows(snapshot, budget);
        tables.push(system("views", views_schema(), &wanted, &mut budget, views_of)?);
        tables.push(system("dead_letter", letters::schema(), &wanted, &mut budget, letters)?);
        let unknown = wanted
            .into_iter()
            .filter(|name| !name.starts_with("information_schema."))
            .filter(|name| tables.iter().all(|table| table.full_name() != *name))
            .collect();
        Ok(Tables { epoch: snapshot.epoch(), unknown, tables })
    }

    /// The names of all tables.
    pub fn names(&self) -> Vec<String> {
        self.tables.iter().map(Table::full_name).collect()
    }

    /// The rows of each table by its name.
    ///
    /// # Errors
    /// When rows do not fit their table.
    pub fn sources(&self) -> Result<BTreeMap<String, Arc<dyn TableSource>>> {
        let source = |table: &Table| -> Result<(String, Arc<dyn TableSource>)> {
            let schema = table.schema.clone();
            let rows: Arc<dyn TableProvider> = match &table.batches {
                Some(batches) => Arc::new(MemTable::try_new(schema, vec![batches.clone()])?),
                None => Arc::new(EmptyTable::new(schema)),
            };
            Ok((table.full_name(), provider_as_source(rows)))
        };
        self.tables.iter().map(source).collect()
    }

    /// Makes them known to a session.
    pub fn register(self, context: &SessionContext) -> Result<()> {
        let catalog = context.catalog("datafusion").context("the query engine has no catalog")?;
        catalog
            .register_schema("herald", Arc::new(MemorySchemaProvider::new()))
            .context("the query engine takes no schema")?;
        for table in self.tables {
            let name = match table.schema_name {
                Some(schema) => TableReference::partial(schema, table.name),
                None => TableReference::bare(table.name),
            };
            match table.batches {
                Some(batches) => {
                    context
                        .register_table(name, Arc::new(MemTable::try_new(table.schema, vec![batches])?))?;
                }
                None => {
                    context.register_table(name, Arc::new(EmptyTable::new(table.schema)))?;
                }
            }
        }
        Ok(())
    }
}

/// The tables a statement names, as `schema.name` or `name`. What is no query is read by the engine's own parser.
fn references(sql: &str, limit: usize) -> Result<Vec<String>> {
    let mistakes = match question::references(sql) {
        Ok(found) => return Ok(found),
        Err(mistakes) => mistakes,
    };
    let state = super::session(limit)?.state();
    let dialect = state.config_options().sql_parser.dialect;
    let statement = state.sql_to_statement(sql, &dialect).map_err(|_| super::told(&mistakes))?;
    let references = state.resolve_table_references(&statement).map_err(super::refused)?;
    Ok(references
        .iter()
        .map(|reference| match reference.schema() {
            Some("public") | None => reference.table().to_owned(),
            Some(schema) => format!("{schema}.{}", reference.table()),
        })
        .collect())
}

/// What is left of the memory a query's tables may take.
pub(super) struct Budget {
    left: usize,
}

impl Budget {
    /// Takes some of it for a table, or says that the table is too large.
    pub(super) fn take(&mut self, bytes: usize, table: &str) -> Result<()> {
        match self.left.checked_sub(bytes) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err(mistake(format!(
                "{table} does not fit into the memory a query may take. Read the sink's topic, or keep a smaller view for this question"
            ))),
        }
    }
}

fn view_schema(entry: &CatalogueEntry) -> Result<SchemaRef> {
    let json = entry
        .schema
        .as_ref()
        .with_context(|| format!("the state does not say which columns view {} has", entry.name))?;
    Ok(Arc::new(schemas::schema_from_json(json)?))
}

/// Every row of a view.
fn view_rows(
    snapshot: &Snapshot<'_>,
    entry: &CatalogueEntry,
    schema: &SchemaRef,
    budget: &mut Budget,
) -> Result<Vec<RecordBatch>> {
    let codec = RowCodec::of(schema)?;
    let (mut batches, mut rows) = (Vec::new(), Rows::new());
    let mut scan = snapshot.iter(entry.id, &[])?;
    let served = Served::of(entry, &snapshot.committed().progress)?;
    while let Some((key, value)) = scan.next_entry()? {
        let row = if entry.key.is_some() { value } else { key.get(1..).unwrap_or_default() };
        if let Some(served) = &served
            && !served.row(row)?
        {
            continue;
        }
        if entry.key.is_some() {
            rows.push(value);
        } else {
            let copies = count_of(value)
                .filter(|count| *count > 0)
                .with_context(|| format!("view {} holds a row without a count", entry.name))?;
            for _ in 0..copies {
                rows.push(row);
                if rows.len() >= BATCH {
                    batches.push(batch(&codec, schema, &mut rows, &entry.name, budget)?);
                }
            }
        }
        if rows.len() >= BATCH {
            batches.push(batch(&codec, schema, &mut rows, &entry.name, budget)?);
        }
    }
    if !rows.is_empty() {
        batches.push(batch(&codec, schema, &mut rows, &entry.name, budget)?);
    }
    Ok(batches)
}

fn batch(
    codec: &RowCodec,
    schema: &SchemaRef,
    rows: &mut Rows,
    name: &str,
    budget: &mut Budget,
) -> Result<RecordBatch> {
    let columns =
        codec.decode(rows.iter()).with_context(|| format!("the rows of view {name} cannot be read"))?;
    rows.clear();
    let batch = RecordBatch::try_new(schema.clone(), columns)
        .with_context(|| format!("the rows of view {name} do not fit its columns"))?;
    budget.take(batch.get_array_memory_size(), name)?;
    Ok(batch)
}

fn system(
    name: &str,
    schema: SchemaRef,
    wanted: &[String],
    budget: &mut Budget,
    rows: impl FnOnce(&mut Budget) -> Result<RecordBatch>,
) -> Result<Table> {
    let mut table = Table { schema_name: Some("herald"), name: name.to_owned(), schema, batches: None };
    if wanted.contains(&table.full_name()) {
        table.batches = Some(vec![rows(budget)?]);
    }
    Ok(table)
}

fn views_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("view", DataType::Utf8, false),
        Field::new("epoch", DataType::Int64, false),
        Field::new("committed_at", timestamptz(), true),
        Field::new("watermark", timestamptz(), true),
    ]))
}

/// `herald.views`: the epoch that last changed each view, when it was committed, and its watermark.
fn system_views(snapshot: &Snapshot<'_>, budget: &mut Budget) -> Result<RecordBatch> {
    let progress = &snapshot.committed().progress;
    let views: Vec<_> = progress.views.iter().collect();
    let names = StringArray::from_iter_values(views.iter().map(|(name, _)| name));
    let epochs = views.iter().map(|(_, view)| view.epoch as i64);
    let committed =
        views.iter().map(|(_, view)| (view.commit_ms > 0).then_some(view.commit_ms.saturating_mul(1000)));
    let watermarks = views.iter().map(|(_, view)| view.watermark_us.map(|us| us.min(END_OF_TIME_US)));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(names),
        Arc::new(Int64Array::from_iter_values(epochs)),
        Arc::new(TimestampMicrosecondArray::from_iter(committed).with_timezone("UTC")),
        Arc::new(TimestampMicrosecondArray::from_iter(watermarks).with_timezone("UTC")),
    ];
    let batch = RecordBatch::try_new(views_schema(), columns)?;
    budget.take(batch.get_array_memory_size(), "herald.views")?;
    Ok(batch)
}
