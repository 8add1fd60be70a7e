//! Catalogue of the relations that a topology has named so far, for DataFusion's planner.
//!
//! Sources, tables and views share one name space. Each is a leaf for the queries that read it:
//! a [`RelSource`] that carries the [`RelId`] of its plan. A failed statement leaves its name in the
//! catalogue as broken, so that queries reading it report no further mistakes.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use datafusion_common::config::ConfigOptions;
use datafusion_common::{DataFusionError, Result, TableReference};
use datafusion_expr::logical_plan::LogicalPlan;
use datafusion_expr::planner::{ContextProvider, ExprPlanner, TypePlanner};
use datafusion_expr::{AggregateUDF, HigherOrderUDF, ScalarUDF, TableSource, WindowUDF};
use datafusion_sql::sqlparser::ast::{ObjectName, ObjectNamePart, Query, Visitor};
use datafusion_sql::sqlparser::tokenizer::Span;

use super::diagnostics::did_you_mean::did_you_mean;
use super::parse::MissingNames;
use super::parse::ast::Name;
use super::parse::tokens::fold_ident;
use super::parse::walk::Walk;
use super::planners;
use crate::functions::FUNCTIONS;
use crate::functions::planning::is_final::{self, Finality, IS_FINAL};
use crate::mistake::Pos;
use crate::plan::RelId;

/// A named relation.
#[derive(Clone, Debug)]
pub(crate) struct CatalogEntry {
    /// Its plan and columns; None if its statement failed.
    pub known: Option<(RelId, SchemaRef)>,
    /// Column sets that are each unique at every epoch.
    pub unique: Vec<Vec<usize>>,
    /// Sources below it that have a watermark.
    pub clock: Vec<usize>,
    /// Its name and position.
    pub name: Name,
}

/// Columns of a table that stands for a recursion, with that recursion; None for the rows of its previous
/// round.
type RecursionTable = (SchemaRef, Option<Arc<Recursion>>);

/// Names of a topology, and temporary tables for parts of the query being planned.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    entries: BTreeMap<String, CatalogEntry>,
    /// Tables that stand for the items of an UNNEST.
    items: RefCell<BTreeMap<String, SchemaRef>>,
    /// Tables that stand for a recursion, or for the rows of its previous round.
    recursions: RefCell<BTreeMap<String, RecursionTable>>,
    /// Functions with a lambda, of the query being planned.
    lambdas: RefCell<BTreeMap<String, Arc<ScalarUDF>>>,
    /// Final windows of the views of a query that is answered once; None for a topology, which has no
    /// `is_final`.
    finality: Option<Finality>,
    /// Positions of all names of the topology, including those of statements that have not been compiled yet.
    announced: BTreeMap<String, Pos>,
    /// Names that statements which could not be parsed would have created.
    missing: MissingNames,
    options: ConfigOptions,
}

impl Catalog {
    /// The relation called `name`.
    pub(crate) fn get(&self, name: &str) -> Option<&CatalogEntry> {
        self.entries.get(name)
    }

    /// Takes in the names that statements which could not be parsed would have created.
    pub(super) fn lack(&mut self, missing: MissingNames) {
        self.missing = missing;
    }

    /// Tells whether `name` is that of a statement that could not be parsed.
    pub(super) fn is_missing(&self, name: &str) -> bool {
        self.missing.has(name)
    }

    /// Tells whether `name` is that of a statement that failed.
    pub(crate) fn is_broken(&self, name: &str) -> bool {
        match self.entries.get(name) {
            Some(entry) => entry.known.is_none(),
            None => self.missing.has(name),
        }
    }

    /// Tells whether `name` is that of a statement that failed, or may be that of one whose name could not be read.
    pub(crate) fn may_be_broken(&self, name: &str) -> bool {
        self.is_broken(name) || (self.missing.has_others() && !self.entries.contains_key(name))
    }

    /// Adds a relation. The caller has checked that its name is new.
    pub(crate) fn add(&mut self, entry: CatalogEntry) {
        self.entries.insert(entry.name.text.clone(), entry);
    }

    /// Gives a query that is answered once the function `is_final`.
    pub(crate) fn set_finality(&mut self, finality: Finality) {
        self.finality = Some(finality);
    }

    /// Records that `name` is created somewhere in the topology.
    pub(crate) fn announce(&mut self, name: &Name) {
        self.announced.entry(name.text.clone()).or_insert(name.pos);
    }

    /// Hint for the use of a name that is created further down.
    fn later_hint(&self, name: &str) -> Option<String> {
        let pos = self.announced.get(name)?;
        Some(format!("{name} is created further down, in line {}: put it before its use", pos.line))
    }

    /// Hint for the use of a name that nothing has so far: it is created further down, or resembles another.
    pub(crate) fn unknown_hint(&self, name: &str) -> Option<String> {
        self.later_hint(name).or_else(|| did_you_mean(name, self.names()))
    }

    /// All names.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// Registers the items of an UNNEST as a table.
    pub(crate) fn add_items(&self, name: &str, schema: SchemaRef) {
        self.items.borrow_mut().insert(name.to_owned(), schema);
    }

    /// Registers a recursion (or without one, the rows of its previous round) as a table; returns its unique
    /// name.
    pub(crate) fn add_recursion(&self, of: &str, schema: SchemaRef, whole: Option<Arc<Recursion>>) -> String {
        let mut recursions = self.recursions.borrow_mut();
        let name = format!("{of}#{}", recursions.len());
        recursions.insert(name.clone(), (schema, whole));
        name
    }

    /// Registers a function with a lambda; returns its name.
    pub(crate) fn add_lambda(&self, function: Arc<ScalarUDF>) -> String {
        let mut lambdas = self.lambdas.borrow_mut();
        let name = format!("herald_lambda_{}", lambdas.len());
        lambdas.insert(name.clone(), function);
        name
    }

    /// Removes the functions with a lambda.
    pub(crate) fn clear_lambdas(&self) {
        self.lambdas.borrow_mut().clear();
    }

    /// Removes the tables of UNNEST items.
    pub(crate) fn clear_items(&self) {
        self.items.borrow_mut().clear();
    }
}

/// Tells whether the query reads a relation whose own statement failed. Then only that failure is reported.
pub(crate) fn reads_broken(catalog: &Catalog, query: &Query) -> bool {
    // A common table may read the relation of its own name.
    find_relation(query, &mut |name, _, own| catalog.is_broken(name) || (!own && catalog.may_be_broken(name)))
}

/// Gives the relations that a query names to `is_found`, each with its place and whether a common table of the query has
/// the name, too, until that returns true.
pub(crate) fn find_relation(query: &Query, is_found: &mut dyn FnMut(&str, Span, bool) -> bool) -> bool {
    query.walk(&mut FindRelation { is_found, own: BTreeSet::new() }).is_break()
}

/// Search for a relation.
struct FindRelation<'a> {
    is_found: &'a mut dyn FnMut(&str, Span, bool) -> bool,
    /// Names of the query's own common tables.
    own: BTreeSet<String>,
}

impl Visitor for FindRelation<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        for table in query.with.iter().flat_map(|with| &with.cte_tables) {
            self.own.insert(fold_ident(&table.alias.name));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, name: &ObjectName) -> ControlFlow<()> {
        let Some(ident) = name.0.last().and_then(ObjectNamePart::as_ident) else {
            return ControlFlow::Continue(());
        };
        let name = fold_ident(ident);
        let found = (self.is_found)(&name, ident.span, self.own.contains(&name));
        if found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

/// Leaf of a query: a relation planned before, a recursion or its previous round, or the items of an UNNEST.
#[derive(Debug)]
pub(crate) struct RelSource {
    /// The relation; None for items, recursions and their rounds.
    pub rel: Option<RelId>,
    /// The recursion that it stands for, if any.
    pub recursion: Option<Arc<Recursion>>,
    /// Its columns.
    pub schema: SchemaRef,
    /// Column sets that are each unique at every epoch.
    pub unique: Vec<Vec<usize>>,
    /// Sources below it that have a watermark.
    pub clock: Vec<usize>,
}

impl RelSource {
    /// A leaf without known keys.
    pub(crate) fn of(rel: Option<RelId>, schema: SchemaRef) -> RelSource {
        RelSource { rel, recursion: None, schema, unique: vec![], clock: vec![] }
    }
}

impl TableSource for RelSource {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}

impl ContextProvider for Catalog {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>> {
        if let Some(schema) = self.items.borrow().get(name.table()) {
            return Ok(Arc::new(RelSource::of(None, Arc::clone(schema))));
        }
        if let Some((schema, recursion)) = self.recursions.borrow().get(name.table()) {
            let source = RelSource::of(None, Arc::clone(schema));
            return Ok(Arc::new(RelSource { recursion: recursion.clone(), ..source }));
        }
        let known = match name.schema() {
            None | Some("public") => self.entries.get(name.table()),
            Some(schema) => self.entries.get(&format!("{schema}.{}", name.table())),
        };
        match known {
            Some(CatalogEntry { known: Some((rel, schema)), unique, clock, .. }) => {
                let (unique, clock) = (unique.clone(), clock.clone());
                let source = RelSource::of(Some(*rel), Arc::clone(schema));
                Ok(Arc::new(RelSource { unique, clock, ..source }))
            }
            _ => Err(DataFusionError::Plan(format!("there is no source, table or view called {name}"))),
        }
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        planners::expr_planners()
    }

    fn get_type_planner(&self) -> Option<Arc<dyn TypePlanner>> {
        Some(planners::type_planner())
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        if name == IS_FINAL {
            return self.finality.map(is_final::function);
        }
        FUNCTIONS.scalar(name).or_else(|| self.lambdas.borrow().get(name).cloned())
    }

    fn get_higher_order_meta(&self, _: &str) -> Option<Arc<HigherOrderUDF>> {
        None
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        FUNCTIONS.aggregate(name)
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        FUNCTIONS.window(name)
    }

    fn get_variable_type(&self, _: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        &self.options
    }

    fn udf_names(&self) -> Vec<String> {
        FUNCTIONS.scalar_names()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn udaf_names(&self) -> Vec<String> {
        FUNCTIONS.aggregate_names()
    }

    fn udwf_names(&self) -> Vec<String> {
        FUNCTIONS.window_names()
    }
}

/// Planned recursive common table.
#[derive(Debug)]
pub(crate) struct Recursion {
    /// Name of the table.
    pub name: String,
    /// Columns of the table.
    pub schema: SchemaRef,
    /// Plan of the rows it begins with.
    pub base: LogicalPlan,
    /// Plan of the rows that follow from those of a round.
    pub step: LogicalPlan,
    /// Table of the catalogue that stands for the rows of the previous round in `step`.
    pub round: String,
    /// True for UNION, false for UNION ALL.
    pub distinct: bool,
    /// Position at which the second term reads it.
    pub pos: Pos,
}
