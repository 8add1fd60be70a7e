//! The tables of a query: materialized views, and the system tables of schema `herald`. PostgreSQL's catalogue
//! lists them ([`super::catalog`]).
//!
//! A view is read while the query runs, and only what the query needs of it (`views`). An entry of a keyed view maps
//! its key to the packed row; an entry of an unkeyed view maps the packed row to its count. Both keys begin with the
//! key group. A system table is read whole before, and only if the query names it; the others are registered empty, so
//! that they can be described.

mod conditions;
pub(crate) mod epoch;
pub mod lookup;
pub(crate) mod scans;
pub(crate) mod shape;
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
use datafusion::sql::parser::Statement as EngineStatement;
use datafusion::sql::sqlparser::ast::Statement;
use state::{CatalogueEntry, StateTableKind};

use super::budget::TableBudget;
use super::catalog::{self, CATALOG, CatalogIndex, CatalogObject, DEFAULT_SCHEMA};
use super::mistakes;
pub(in crate::query) use conditions::Bounds;
#[cfg(test)]
pub(in crate::query) use conditions::KeyRange;
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
    /// Places of the columns of the key, if there is one.
    key: Option<Vec<usize>>,
    indexes: Vec<CatalogIndex>,
    /// Query of a view, as written.
    definition: Option<String>,
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

    /// The table as PostgreSQL's catalogue lists it.
    fn object(&self) -> CatalogObject {
        CatalogObject {
            schema: self.schema_name.unwrap_or(DEFAULT_SCHEMA).to_owned(),
            name: self.name.clone(),
            columns: self.schema.clone(),
            key: self.key.clone(),
            indexes: self.indexes.clone(),
            comment: None,
            is_materialized: self.schema_name.is_none(),
            definition: self.definition.clone(),
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
            if named {
                mistakes::refuse_filling(entry, &epoch.committed().progress)?;
            }
            let entries = (entry, catalogue.entries.as_slice());
            let view = ViewTable::new(epoch, entries, schema.clone(), named, scans.clone())?;
            // The engine's own table of failed expressions is stored like a view.
            let (schema_name, name) = match entry.name.strip_prefix("herald.") {
                Some(name) => (Some("herald"), name),
                None => (None, entry.name.as_str()),
            };
            tables.push(QueryTable {
                schema_name,
                name: name.to_owned(),
                schema,
                key: entry.key.clone(),
                indexes: indexes_of(&catalogue.entries, &entry.name),
                definition: entry.facts.definition.clone(),
                rows: TableRows::View(Arc::new(view)),
            });
        }
        let finality = finality_of(&tables, &wanted, epoch);
        for of in &SYSTEM_TABLES {
            let mut table = system_table(of.name, (of.schema)());
            if wanted.contains(&table.full_name()) {
                table.rows = TableRows::Held((of.read)(epoch, &mut budget)?);
            }
            tables.push(table);
        }
        let mut unknown = Vec::new();
        for name in wanted {
            let known = tables.iter().any(|table| table.full_name() == name);
            if !known && !catalog::is_system(&name) {
                unknown.push(name);
            }
        }
        let sources = if unknown.is_empty() { Vec::new() } else { super::stored_sources(epoch)? };
        Ok(Tables { epoch: epoch.committed().epoch, unknown, sources, finality, tables })
    }

    /// The names of all views and system tables.
    pub fn names(&self) -> Vec<String> {
        self.tables.iter().map(QueryTable::full_name).collect()
    }

    /// The views and system tables as PostgreSQL's catalogue lists them.
    pub fn objects(&self) -> Vec<CatalogObject> {
        self.tables.iter().map(QueryTable::object).collect()
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
    ///
    /// # Errors
    /// When the session takes no tables.
    pub fn register(&self, context: &SessionContext) -> Result<()> {
        let catalog = context.catalog(CATALOG).context("the query engine has no catalog")?;
        catalog
            .register_schema("herald", Arc::new(MemorySchemaProvider::new()))
            .context("the query engine takes no schema")?;
        for table in &self.tables {
            let provider: Arc<dyn TableProvider> = match &table.rows {
                TableRows::View(view) => Arc::new(view.without_indexes()),
                TableRows::Unread | TableRows::Held(_) => table.provider()?,
            };
            let name = match table.schema_name {
                Some(schema) => TableReference::partial(schema, table.name.clone()),
                None => TableReference::bare(table.name.clone()),
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

/// The indexes of a view among the entries of a state's catalogue.
fn indexes_of(entries: &[CatalogueEntry], view: &str) -> Vec<CatalogIndex> {
    let mut indexes = Vec::new();
    for entry in entries {
        if let Some(of) = entry.index.as_ref().filter(|of| of.view == view) {
            indexes.push(CatalogIndex { name: entry.name.clone(), columns: of.columns.clone() });
        }
    }
    indexes
}

/// The tables that a statement names, as `schema.name` or `name`. A query in forms of PostgreSQL that Herald's
/// dialect does not have is parsed for the catalogue, and a statement that is no SELECT by DataFusion.
fn named_tables(sql: &str, limit: usize) -> Result<Vec<String>> {
    let mistakes = match question::references(sql) {
        Ok(found) => return Ok(found),
        Err(mistakes) => mistakes,
    };
    let state = super::create_session(limit, None)?.state();
    let statement = match catalog::parse_query(sql) {
        Some(query) => EngineStatement::Statement(Box::new(Statement::Query(query))),
        None => {
            let dialect = state.config_options().sql_parser.dialect;
            state.sql_to_statement(sql, &dialect).map_err(|_| super::sql_mistakes(&mistakes))?
        }
    };
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
    QueryTable {
        schema_name: Some("herald"),
        name: name.to_owned(),
        schema,
        key: None,
        indexes: Vec::new(),
        definition: None,
        rows: TableRows::Unread,
    }
}

/// The system tables: name, meaning and columns.
pub fn system_schemas() -> Vec<(String, &'static str, SchemaRef)> {
    let mut all = Vec::new();
    for table in &SYSTEM_TABLES {
        all.push((format!("herald.{}", table.name), table.about, (table.schema)()));
    }
    let errors = Arc::new(dataflows::runtime::state_tables::error_columns());
    let about = "Rows that an expression fails on: they are missing in the view, and come back when they are \
                 corrected.";
    all.push(("herald.errors".to_owned(), about, errors));
    all
}

#[cfg(test)]
mod tests;
