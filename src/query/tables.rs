//! The tables of a query: materialized views, the system tables of schema `herald`, and `information_schema`.
//!
//! A view is read while the query runs, and only what the query needs of it (`views`). An entry of a keyed view maps
//! its key to the packed row; an entry of an unkeyed view maps the packed row to its count. Both keys begin with the
//! key group. A system table is read whole before, and only if the query names it; the others are registered empty, so
//! that they can be described.

mod conditions;
pub(crate) mod epoch;
pub mod lookup;
pub(crate) mod scans;
mod system;
mod views;

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use crossbeam_channel::Sender;
use dataflows::sql::question::{self, Finality};
use datafusion::catalog::MemorySchemaProvider;
use datafusion::common::TableReference;
use datafusion::datasource::empty::EmptyTable;
use datafusion::datasource::{MemTable, TableProvider, provider_as_source};
use datafusion::logical_expr::TableSource;
use datafusion::prelude::SessionContext;
use state::{CatalogueEntry, StateTableKind};

use super::budget::TableBudget;
use super::information_schema;
use super::information_schema::{CATALOG, DEFAULT_SCHEMA, INFORMATION_SCHEMA, Listed};
pub(in crate::query) use conditions::Bounds;
use epoch::EpochReads;
use scans::EpochRequest;
use system::SYSTEM_TABLES;
use views::ViewTable;

/// The tables of one epoch.
pub struct Tables {
    /// The committed epoch.
    pub epoch: u64,
    /// Names in the query that no table has.
    pub unknown: Vec<String>,
    /// Names of the topology's sources and tables, which cannot be queried; read only if a name is unknown.
    pub sources: Vec<String>,
    /// The windows that are final in the views that the query names.
    pub finality: Finality,
    tables: Vec<QueryTable>,
}

struct QueryTable {
    /// None for the default schema.
    schema_name: Option<&'static str>,
    name: String,
    schema: SchemaRef,
    rows: TableRows,
}

/// The rows of a table.
enum TableRows {
    /// None, as the query does not name the table.
    Unread,
    /// Those that were read before the query.
    Held(RecordBatch),
    /// Those of a view, which the query reads.
    View(Arc<ViewTable>),
}

impl QueryTable {
    fn full_name(&self) -> String {
        match self.schema_name {
            Some(schema) => format!("{schema}.{}", self.name),
            None => self.name.clone(),
        }
    }

    /// The table as the query engine reads it.
    ///
    /// # Errors
    /// When rows do not fit the table.
    fn provider(&self) -> Result<Arc<dyn TableProvider>> {
        let schema = self.schema.clone();
        let provider: Arc<dyn TableProvider> = match &self.rows {
            TableRows::Unread => Arc::new(EmptyTable::new(schema)),
            TableRows::Held(rows) => Arc::new(MemTable::try_new(schema, vec![vec![rows.clone()]])?),
            TableRows::View(view) => view.clone(),
        };
        Ok(provider)
    }
}

impl Tables {
    /// The tables of an epoch for the query `sql`: its system tables are read, taking no more memory than `limit`;
    /// scans of its views will be requests to `scans`.
    ///
    /// # Errors
    /// When the query cannot be read, or the state.
    pub(crate) fn load(
        epoch: &dyn EpochReads,
        sql: &str,
        limit: usize,
        scans: &Sender<EpochRequest>,
    ) -> Result<Tables> {
        let wanted = named_tables(sql, limit)?;
        let catalogue = epoch.catalogue()?;
        let views = catalogue.entries.iter().filter(|entry| entry.kind == StateTableKind::View);
        let mut tables = Vec::new();
        let mut budget = TableBudget::new(limit);
        for entry in views {
            let schema = view_schema(entry)?;
            let named = wanted.contains(&entry.name);
            let entries = (entry, catalogue.entries.as_slice());
            let view = ViewTable::new(epoch, entries, schema.clone(), named, scans.clone())?;
            // The engine's own table of failed expressions is stored like a view.
            let (schema_name, name) = match entry.name.strip_prefix("herald.") {
                Some(name) => (Some("herald"), name),
                None => (None, entry.name.as_str()),
            };
            let rows = TableRows::View(Arc::new(view));
            tables.push(QueryTable { schema_name, name: name.to_owned(), schema, rows });
        }
        let finality = finality_of(&tables, &wanted, epoch);
        for of in &SYSTEM_TABLES {
            let mut table = system_table(of.name, (of.schema)());
            if wanted.contains(&table.full_name()) {
                table.rows = TableRows::Held((of.read)(epoch, &mut budget)?);
            }
            tables.push(table);
        }
        let lists = information_tables(&tables)?;
        tables.extend(lists);
        let mut unknown = Vec::new();
        for name in wanted {
            let known = tables.iter().any(|table| table.full_name() == name);
            if !known && !name.starts_with("information_schema.") {
                unknown.push(name);
            }
        }
        let sources = if unknown.is_empty() { Vec::new() } else { super::stored_sources(epoch)? };
        Ok(Tables { epoch: epoch.committed().epoch, unknown, sources, finality, tables })
    }

    /// The names of all views and system tables.
    pub fn names(&self) -> Vec<String> {
        let named = self.tables.iter().filter(|table| table.schema_name != Some(INFORMATION_SCHEMA));
        named.map(QueryTable::full_name).collect()
    }

    /// The tables by name, as the planner takes them.
    ///
    /// # Errors
    /// When rows do not fit their table.
    pub fn table_sources(&self) -> Result<BTreeMap<String, Arc<dyn TableSource>>> {
        let mut sources = BTreeMap::new();
        for table in &self.tables {
            sources.insert(table.full_name(), provider_as_source(table.provider()?));
        }
        Ok(sources)
    }

    /// Registers the tables in a session, whose planner offers conditions to a view in several parts.
    pub fn register(self, context: &SessionContext) -> Result<()> {
        let catalog = context.catalog(CATALOG).context("the query engine has no catalog")?;
        for schema in ["herald", INFORMATION_SCHEMA] {
            catalog
                .register_schema(schema, Arc::new(MemorySchemaProvider::new()))
                .context("the query engine takes no schema")?;
        }
        for table in self.tables {
            let provider: Arc<dyn TableProvider> = match &table.rows {
                TableRows::View(view) => Arc::new(view.without_indexes()),
                TableRows::Unread | TableRows::Held(_) => table.provider()?,
            };
            let name = match table.schema_name {
                Some(schema) => TableReference::partial(schema, table.name),
                None => TableReference::bare(table.name),
            };
            context.register_table(name, provider)?;
        }
        Ok(())
    }
}

/// The windows that are final in the views that a query names.
fn finality_of(views: &[QueryTable], wanted: &[String], epoch: &dyn EpochReads) -> Finality {
    let progress = &epoch.committed().progress.views;
    let mut finality = Finality::NoView;
    for view in views.iter().filter(|view| view.schema_name.is_none() && wanted.contains(&view.name)) {
        finality = finality.and_view(progress.get(&view.name).and_then(|view| view.final_us));
    }
    finality
}

/// The tables of `information_schema`, which list all others.
fn information_tables(tables: &[QueryTable]) -> Result<Vec<QueryTable>> {
    let mut listed = Vec::with_capacity(tables.len());
    for table in tables {
        listed.push(Listed {
            schema_name: table.schema_name.unwrap_or(DEFAULT_SCHEMA),
            name: &table.name,
            columns: &table.schema,
        });
    }
    Ok(vec![
        information_table("tables", information_schema::tables_rows(&listed)?),
        information_table("columns", information_schema::columns_rows(&listed)?),
    ])
}

/// A table of `information_schema` with its rows.
fn information_table(name: &str, rows: RecordBatch) -> QueryTable {
    QueryTable {
        schema_name: Some(INFORMATION_SCHEMA),
        name: name.to_owned(),
        schema: rows.schema(),
        rows: TableRows::Held(rows),
    }
}

/// The tables that a statement names, as `schema.name` or `name`. A statement that is no SELECT is parsed by
/// DataFusion.
fn named_tables(sql: &str, limit: usize) -> Result<Vec<String>> {
    let mistakes = match question::references(sql) {
        Ok(found) => return Ok(found),
        Err(mistakes) => mistakes,
    };
    let state = super::create_session(limit, None)?.state();
    let dialect = state.config_options().sql_parser.dialect;
    let statement = state.sql_to_statement(sql, &dialect).map_err(|_| super::sql_mistakes(&mistakes))?;
    let references = state.resolve_table_references(&statement).map_err(super::query_mistake)?;
    let mut names = Vec::with_capacity(references.len());
    for reference in &references {
        names.push(match reference.schema() {
            Some("public") | None => reference.table().to_owned(),
            Some(schema) => format!("{schema}.{}", reference.table()),
        });
    }
    Ok(names)
}

fn view_schema(entry: &CatalogueEntry) -> Result<SchemaRef> {
    let json = entry
        .schema
        .as_ref()
        .with_context(|| format!("the state does not say which columns view {} has", entry.name))?;
    Ok(Arc::new(schemas::schema_from_json(json)?))
}

/// A table of schema `herald` without its rows, which are read only if the query names it.
fn system_table(name: &str, schema: SchemaRef) -> QueryTable {
    QueryTable { schema_name: Some("herald"), name: name.to_owned(), schema, rows: TableRows::Unread }
}

/// The system tables: name, meaning and columns.
pub fn system_schemas() -> Vec<(String, &'static str, SchemaRef)> {
    let mut all = Vec::new();
    for table in &SYSTEM_TABLES {
        all.push((format!("herald.{}", table.name), table.about, (table.schema)()));
    }
    let others = [
        (
            "herald.errors",
            "Rows that an expression fails on: they are missing in the view, and come back when they are corrected.",
            Arc::new(dataflows::runtime::state_tables::error_columns()),
        ),
        (
            "information_schema.tables",
            "The materialized views (of schema public) and the system tables (of schema herald).",
            information_schema::tables_schema(),
        ),
        (
            "information_schema.columns",
            "Their columns, with the types of SQL.",
            information_schema::columns_schema(),
        ),
    ];
    for (name, about, schema) in others {
        all.push((name.to_owned(), about, schema));
    }
    all
}

#[cfg(test)]
mod tests;
