//! PostgreSQL's catalogue over Herald's views: `pg_catalog`, `information_schema`, and the queries that read
//! them.
//!
//! Tools list schemas, tables, columns, keys, indexes and types by queries over `pg_catalog` and
//! `information_schema`, in PostgreSQL's SQL. A [`Catalogue`] has these tables and the functions that such
//! queries call; it is made of a list of [`CatalogObject`]s and the [`SessionValues`] of one session, and
//! answers as PostgreSQL 16 would if views were materialized views with primary keys. Tables are made when a
//! query is planned that names them.
//!
//! # Use
//!
//! 1. [`SessionQuery::read`] tells the two planners apart. A query over views alone goes to Herald's own, by
//!    [`SessionQuery::text`]; its parameters are its own matter.
//! 2. Any other goes to [`Catalogue::plan`] with SQL of the values of its parameters, over a session of the
//!    query engine in which [`Catalogue::register`] has put the catalogue beside the views.
//!    [`SessionQuery::parameter_types`] tells the types of `$1` and so on; to describe a statement, all are
//!    NULL.
//! 3. [`Catalogue::outputs`] tells the columns of either answer as RowDescription has them.
//! 4. [`Catalogue::take_changes`] has the settings that a query changed by `set_config`.
//!
//! `herald query` and `/v1/query` answer the same queries, with [`SessionValues::none`].
//!
//! # Values
//!
//! An OID is a BIGINT with `oid` as `pg.type` in the field's metadata, so that [`wire_type`] tells it from
//! others. In answers, `regclass` and its like are text, and so is an `int2vector`. OIDs of views, their keys
//! and indexes follow from their names and survive restarts. Sizes and numbers of rows are zero: tools would
//! choose ways to read by them that are not Herald's.

mod call;
mod facts;
mod functions;
mod lookups;
mod query;
mod relations;
mod rewrite;
mod session;
mod standard;
mod system;
mod types;
mod values;

use std::sync::{Arc, PoisonError};

use anyhow::{Context, Result};
use arrow::datatypes::Fields;
use async_trait::async_trait;
use datafusion::catalog::{SchemaProvider, TableProvider};
use datafusion::common::metadata::FieldMetadata;
use datafusion::datasource::MemTable;
use datafusion::error::DataFusionError;
use datafusion::execution::FunctionRegistry;
use datafusion::logical_expr::expr::Alias;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, ScalarUDF};
use datafusion::prelude::{SQLOptions, SessionContext, lit};
use datafusion::sql::parser::Statement as EngineStatement;
use datafusion::sql::sqlparser::ast::Statement;

use self::facts::Facts;
use self::lookups::REFERENCE_NAME;
use self::relations::{RELATIONS, Relation, Rows, relation};
use self::rewrite::Origin;
use self::system::Fill;

pub use facts::{CatalogIndex, CatalogObject, SessionValues, SettingChange};
pub use query::SessionQuery;
pub(in crate::query) use query::parse_query;
pub use rewrite::MAX_PARAMETERS;
pub use session::{SERVER_VERSION, SERVER_VERSION_NUM};
pub use types::{WireType, wire_type};

/// The catalog of all relations.
pub(in crate::query) const CATALOG: &str = "herald";
/// The schema of the materialized views.
pub(in crate::query) const DEFAULT_SCHEMA: &str = "public";
/// The schema of PostgreSQL's own tables.
const PG_CATALOG: &str = "pg_catalog";
/// The schema of the views of the SQL standard.
const INFORMATION_SCHEMA: &str = "information_schema";

/// Tells whether a name in a query, as `name` or `schema.name`, is one of the catalogue's tables. A schema of
/// the catalogue has no other tables.
pub(in crate::query) fn is_system(name: &str) -> bool {
    match name.split_once('.') {
        Some((schema, _)) => matches!(schema, PG_CATALOG | INFORMATION_SCHEMA),
        None => relation(PG_CATALOG, name).is_some(),
    }
}

/// Tells whether a word is reserved in PostgreSQL's SQL, so that no table may be called by it without quotes.
pub fn is_reserved(word: &str) -> bool {
    values::is_reserved(&word.to_lowercase())
}

/// Column of an answer, as RowDescription tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputColumn {
    /// Name by PostgreSQL's rule.
    pub name: String,
    /// Type.
    pub wire: WireType,
    /// OID of the view or system table whose column it is, unchanged, and the column's number there.
    pub place: Option<(u32, i16)>,
}

/// Catalogue of one session.
#[derive(Clone)]
pub struct Catalogue {
    facts: Arc<Facts>,
}

impl Catalogue {
    /// A catalogue of objects, as a session sees it.
    pub fn new(objects: Vec<CatalogObject>, session: SessionValues) -> Catalogue {
        Catalogue { facts: Arc::new(Facts::new(objects, session)) }
    }

    /// The columns of the answer to a query, whose plan has these columns.
    pub fn outputs(&self, query: &SessionQuery<'_>, fields: &Fields) -> Vec<OutputColumn> {
        let mut columns = Vec::with_capacity(fields.len());
        for ((name, origin), field) in query.outputs(fields).into_iter().zip(fields) {
            let place = origin.and_then(|origin| self.column_place(&origin));
            columns.push(OutputColumn { name, wire: wire_type(field), place });
        }
        columns
    }

    /// OID of the view or system table of an output column, and the number of the column there.
    fn column_place(&self, origin: &Origin) -> Option<(u32, i16)> {
        let found = match origin.table.as_slice() {
            [name] => self.facts.object(DEFAULT_SCHEMA, name),
            [.., schema, name] => self.facts.object(schema, name),
            [] => None,
        }?;
        let at = found.object.columns.index_of(&origin.column).ok()?;
        Some((found.oid, i16::try_from(at + 1).ok()?))
    }

    /// Takes the changes of settings that statements made by `set_config`, in their order.
    pub fn take_changes(&self) -> Vec<SettingChange> {
        std::mem::take(&mut *self.facts.changes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts the tables and functions of the catalogue into a session of the query engine.
    ///
    /// # Errors
    /// When the session has no catalog, or takes no schemas.
    pub fn register(&self, context: &SessionContext) -> Result<()> {
        let catalog = context.catalog(CATALOG).context("the query engine has no catalog")?;
        for schema in [PG_CATALOG, INFORMATION_SCHEMA] {
            let provider = SystemSchema { schema, facts: Arc::clone(&self.facts) };
            catalog
                .register_schema(schema, Arc::new(provider))
                .context("the catalogue cannot be registered")?;
        }
        for function in functions::all(&self.facts) {
            context.register_udf(function);
        }
        Ok(())
    }

    /// Plans a query that [reads the catalogue](SessionQuery::reads_catalogue), in a session with this
    /// catalogue, with SQL of the values of its parameters. The plan is not optimised, and its columns have the
    /// labels of their types.
    ///
    /// # Errors
    /// When the query is not one that the query engine runs.
    pub async fn plan(
        &self,
        context: &SessionContext,
        query: &SessionQuery<'_>,
        values: &[Option<String>],
    ) -> Result<LogicalPlan, DataFusionError> {
        let mut query = query.bound(values)?;
        if let Some(name) = rewrite::hidden_table(&query) {
            let told = format!("WITH {name} hides a table of the catalogue: give it another name");
            return Err(DataFusionError::Plan(told));
        }
        rewrite::rewrite(&mut query, &self.facts.session.database);
        let statement = EngineStatement::Statement(Box::new(Statement::Query(Box::new(query))));
        let plan = context.state().statement_to_plan(statement).await?;
        // SELECT INTO would make a table.
        let read_only =
            SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
        read_only.verify_plan(&plan)?;
        show_references(context, plan)
    }
}

/// Shows OIDs that stand for names as these names, and vectors as text; a cast to another type takes its
/// label away.
fn show_references(context: &SessionContext, plan: LogicalPlan) -> Result<LogicalPlan, DataFusionError> {
    let mut outputs = Vec::new();
    let mut is_changed = false;
    for (table, field) in plan.schema().iter() {
        let column = Expr::Column((table, field).into());
        let shown = match types::labelled(field) {
            Some(label) if types::is_reference(label) => {
                function(context, REFERENCE_NAME)?.call(vec![lit(label), column])
            }
            Some("int2vector" | "oidvector") => function(context, "pg_vector_text")?.call(vec![column]),
            _ => column,
        };
        let corrected = types::corrected_label(field).map(FieldMetadata::from);
        if corrected.is_none() && matches!(shown, Expr::Column(_)) {
            outputs.push(shown);
            continue;
        }
        is_changed = true;
        let alias = Alias::new(shown, table.cloned(), field.name()).with_metadata(corrected);
        outputs.push(Expr::Alias(alias));
    }
    if is_changed { LogicalPlanBuilder::from(plan).project(outputs)?.build() } else { Ok(plan) }
}

/// A function of a session.
fn function(context: &SessionContext, name: &str) -> Result<Arc<ScalarUDF>, DataFusionError> {
    context.udf(name)
}

/// The function that makes the rows of a table; None for one that is always empty.
fn fill_of(schema: &str, name: &str) -> Option<Fill> {
    let tables = if schema == INFORMATION_SCHEMA { standard::VIEWS } else { system::TABLES };
    tables.iter().find(|(known, _)| *known == name).map(|(_, fill)| *fill)
}

/// Tells whether a table of the catalogue may have rows.
fn is_filled(schema: &str, name: &str) -> bool {
    fill_of(schema, name).is_some()
}

/// Schema of the catalogue, whose tables are made when they are named.
struct SystemSchema {
    schema: &'static str,
    facts: Arc<Facts>,
}

impl std::fmt::Debug for SystemSchema {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SystemSchema({})", self.schema)
    }
}

impl SystemSchema {
    fn find(&self, name: &str) -> Option<&'static Relation> {
        relation(self.schema, name)
    }
}

#[async_trait]
impl SchemaProvider for SystemSchema {
    fn table_names(&self) -> Vec<String> {
        let own = RELATIONS.iter().filter(|relation| relation.schema == self.schema);
        own.map(|relation| relation.name.to_owned()).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        let Some(relation) = self.find(name) else { return Ok(None) };
        let mut rows = Rows::new(relation);
        if let Some(fill) = fill_of(relation.schema, relation.name) {
            fill(&self.facts, &mut rows);
        }
        let batch = rows.finish().map_err(|error| DataFusionError::External(error.into()))?;
        let table: Arc<dyn TableProvider> = Arc::new(MemTable::try_new(batch.schema(), vec![vec![batch]])?);
        Ok(Some(table))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.find(name).is_some()
    }
}

#[cfg(test)]
mod tests;
