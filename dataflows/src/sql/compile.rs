//! Compiler of a whole topology, from its files to a [`Plan`].
//!
//! Statements are compiled in the order given; each may read the relations created before it. A
//! statement that fails, or could not be parsed, does not stop the others: all mistakes are reported together,
//! in the order of their positions, but for those that follow from another. After the last statement the
//! plan is pruned as a whole and its properties are proven; only then are sinks validated. Views without a query
//! are in [`inserts`].

mod assignment;
mod inserts;
mod select_items;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion_expr::logical_plan::LogicalPlan;
use datafusion_sql::sqlparser::ast as sql;

use super::bind::{self, ColumnsOf, history, index, places, sink, view_metrics};
use super::catalog::{Catalog, CatalogEntry};
use super::diagnostics::null_comparison::null_comparisons;
use super::diagnostics::site::Site;
use super::diagnostics::{explain_error, unsupported};
use super::parse::Parsed;
use super::parse::ast::{
    CreateIndex, CreateRelation, CreateSink, CreateView, Name, OptionItem, SinkInput, Statement,
};
use super::parse::interval::duration_us;
use super::syntax::parts;
use super::{lower, parse, query, trial};
use crate::mistake::{Mistake, Pos, SqlError, SqlFile};
use crate::plan::analysis::{event_time, finality, properties};
use crate::plan::explain;
use crate::plan::rewrite::{emit_on_close, prune};
use crate::plan::{Op, Plan, Rel, RelId, View};

/// Compiles the files of a topology. `columns_of` gives the columns of relations that leave them out.
///
/// ```
/// use dataflows::sql::{SqlFile, compile};
///
/// let text = "CREATE SOURCE games (player VARCHAR, points BIGINT)
///             WITH (connector = 'file', path = 'games.jsonl') FORMAT PLAIN ENCODE JSON;
///             CREATE MATERIALIZED VIEW totals AS SELECT player, sum(points) AS points FROM games GROUP BY player;";
/// let compiled = |text: &str| {
///     let file = SqlFile { name: "games.sql".to_owned(), text: text.to_owned() };
///     compile(&[file], &|_| None, &|path| std::fs::read_to_string(path), &|_| Ok(None))
/// };
/// let plan = compiled(text).unwrap();
/// assert_eq!((plan.sources.len(), plan.views[0].name.as_str()), (1, "totals"));
/// // A mistake has its place.
/// let mistakes = compiled(&text.replace("sum(points)", "sum(point)")).unwrap_err();
/// assert!(mistakes[0].to_string().starts_with("games.sql:3:"), "{}", mistakes[0]);
/// ```
///
/// # Errors
/// Every mistake, in the order of their positions.
pub fn compile(
    files: &[SqlFile],
    env: &dyn Fn(&str) -> Option<String>,
    read_file: &dyn Fn(&str) -> std::io::Result<String>,
    columns_of: &ColumnsOf<'_>,
) -> Result<Plan, Vec<SqlError>> {
    stacker::grow(STACK_BYTES, || compile_files(files, env, read_file, columns_of))
}

/// Bytes of stack to compile on: parser and planner recurse as deep as the text is nested, within `parse`'s
/// bounds.
const STACK_BYTES: usize = 256 << 20;

fn compile_files(
    files: &[SqlFile],
    env: &dyn Fn(&str) -> Option<String>,
    read_file: &dyn Fn(&str) -> std::io::Result<String>,
    columns_of: &ColumnsOf<'_>,
) -> Result<Plan, Vec<SqlError>> {
    let Parsed { statements, missing, mut mistakes } = parse::parse_files(files, env, read_file);
    let all_parsed = mistakes.is_empty();
    if statements.is_empty() {
        if all_parsed {
            let start = Pos { file: 0, line: 1, column: 1 };
            let mistake = Mistake::new(start, "there is nothing to run: no statement stands here");
            mistakes.push(mistake.hint(NO_STATEMENT_HINT));
        }
        parse::sort_mistakes(&mut mistakes);
        return Err(parse::name_mistakes(mistakes, files));
    }
    let mut compiler = Compiler::new(files, columns_of, &statements);
    compiler.catalog.lack(missing);
    compiler.mistakes = mistakes;
    for statement in &statements {
        let result = match statement {
            Statement::Relation(create) => compiler.create_relation(create),
            Statement::View(create) => compiler.create_view(create),
            Statement::Declared(create) => compiler.declare_view(create),
            Statement::Insert(insert) => compiler.insert(insert),
            Statement::Sink(create) => compiler.create_sink(create),
            Statement::Index(create) => compiler.create_index(create),
        };
        if let Err(mistakes) = result {
            compiler.mistakes.extend(mistakes);
        }
    }
    compiler.mistakes.extend(places::check_conflicts(&statements));
    // A statement with a mistake may be the one that writes to Kafka.
    if all_parsed {
        compiler.mistakes.extend(places::dead_letters_nowhere(&statements));
    }
    compiler.finish()
}

/// Hint for a topology without statements.
const NO_STATEMENT_HINT: &str = "write CREATE SOURCE or CREATE TABLE, then CREATE MATERIALIZED VIEW name AS SELECT ..., \
                       and CREATE SINK for what is to leave";

/// Planner of a query.
type Planner = fn(&Catalog, &sql::Query, Site) -> Result<LogicalPlan, Vec<Mistake>>;

/// A view whose rows are known.
struct NewView<'s> {
    name: &'s Name,
    with: &'s [OptionItem],
    materialized: bool,
    /// The query, for users.
    definition: String,
}

/// State of the compilation of one topology.
struct Compiler<'a> {
    files: &'a [SqlFile],
    columns_of: &'a ColumnsOf<'a>,
    plan: Plan,
    catalog: Catalog,
    /// Statements of sinks, in the order of `Plan::sinks`.
    sinks: Vec<CreateSink>,
    /// Positions of the names of views, in the order of `Plan::views`.
    views: Vec<Pos>,
    /// Views that are declared without a query.
    declared: inserts::DeclaredViews,
    /// Positions of the names of sinks, indexes and INSERTs, which no query reads, and of declared views, which none
    /// reads before they are complete.
    unread_names: BTreeMap<String, Pos>,
    /// Words for the objects of the topology by name, those further down included.
    objects: BTreeMap<String, &'static str>,
    mistakes: Vec<Mistake>,
}

impl<'a> Compiler<'a> {
    fn new(files: &'a [SqlFile], columns_of: &'a ColumnsOf<'a>, statements: &[Statement]) -> Compiler<'a> {
        let mut catalog = Catalog::default();
        let mut objects = BTreeMap::new();
        for statement in statements {
            let (name, is_read) = match statement {
                Statement::Relation(create) => (&create.name, true),
                Statement::View(create) => (&create.name, true),
                Statement::Declared(create) => (&create.name, true),
                Statement::Sink(create) => (&create.name, false),
                Statement::Index(create) => (&create.name, false),
                Statement::Insert(_) => continue,
            };
            objects.entry(name.text.clone()).or_insert(index::object_word(statement));
            if is_read {
                catalog.announce(name);
            }
        }
        let declared = inserts::DeclaredViews::of(statements);
        let (plan, sinks, views, unread_names, mistakes) = Default::default();
        Compiler { files, columns_of, plan, catalog, sinks, views, declared, unread_names, objects, mistakes }
    }

    /// Text of a position, as `file:line:column`.
    fn place_of(&self, pos: Pos) -> String {
        let file = match self.files.get(pos.file) {
            Some(file) => file.name.as_str(),
            None => "topology",
        };
        format!("{file}:{}:{}", pos.line, pos.column)
    }

    /// Refuses a name that is in use.
    fn new_name(&self, name: &Name) -> Result<(), Vec<Mistake>> {
        let relation = self.catalog.get(&name.text).map(|entry| &entry.name.pos);
        let Some(first) = relation.or(self.unread_names.get(&name.text)) else { return Ok(()) };
        let hint = format!("it was first used at {}: choose another name", self.place_of(*first));
        Err(vec![Mistake::new(name.pos, format!("the name {} is used twice", name.text)).hint(hint)])
    }

    /// Compiles CREATE SOURCE or CREATE TABLE. The name is catalogued even if that fails.
    fn create_relation(&mut self, create: &CreateRelation) -> Result<(), Vec<Mistake>> {
        self.new_name(&create.name)?;
        let bound = bind::relation(create, &self.catalog, self.columns_of);
        let (known, result) = match bound {
            Ok(source) => {
                self.warn_of_null(create);
                let schema = Arc::clone(&source.schema);
                let id = self.plan.rels.len();
                let op = Op::Source(self.plan.sources.len());
                self.plan.rels.push(Rel::new(op, Arc::clone(&schema), &create.name.text));
                self.plan.sources.push(source);
                properties::learn_keys(&mut self.plan, id);
                (Some((id, schema)), Ok(()))
            }
            Err(mistakes) => (None, Err(mistakes)),
        };
        self.catalog.add(self.catalog_entry(known, &create.name));
        result
    }

    /// Warns of comparisons with NULL in the generated columns and CHECKs of a relation.
    fn warn_of_null(&mut self, create: &CreateRelation) {
        let site = Site { file: create.name.pos.file, pos: create.name.pos };
        let mut warnings = Vec::new();
        for column in &create.columns {
            if let Some(expr) = &column.generated {
                warnings.extend(null_comparisons(expr, site));
            }
        }
        for check in &create.checks {
            warnings.extend(null_comparisons(&check.expr, site));
        }
        parse::sort_mistakes(&mut warnings);
        self.plan.warnings.extend(parse::name_mistakes(warnings, self.files));
    }

    /// Compiles CREATE VIEW. The name is catalogued even if that fails.
    fn create_view(&mut self, create: &CreateView) -> Result<(), Vec<Mistake>> {
        self.new_name(&create.name)?;
        let mut result = self.plan_query(&create.query, &create.name);
        if let (Ok(rel), Some(pos)) = (&result, create.emit_on_close) {
            let before = self.plan.rels.len();
            result =
                emit_on_close::wait_until_final(&mut self.plan, *rel, pos).map_err(|mistake| vec![mistake]);
            properties::learn_keys(&mut self.plan, before);
        }
        let (name, with, definition) = (&create.name, create.with.as_slice(), definition_of(create));
        self.add_view(NewView { name, with, materialized: create.materialized, definition }, result)
    }

    /// Adds a view by the relation of its rows, or by the mistakes for which it has none. The name is catalogued in
    /// both cases.
    fn add_view(&mut self, view: NewView<'_>, rel: Result<RelId, Vec<Mistake>>) -> Result<(), Vec<Mistake>> {
        let known = match &rel {
            Ok(rel) => Some((*rel, Arc::clone(&self.plan.rels[*rel].schema))),
            Err(_) => None,
        };
        self.catalog.add(self.catalog_entry(known, view.name));
        let retention = view.with.iter().find(|o| o.name == "retention").map(parse_retention).transpose();
        let history = history::bind_history(view.with);
        let metrics = match &rel {
            Ok(rel) => view_metrics::bind_metrics(view.with, &self.plan.rels[*rel]),
            Err(_) => Ok(vec![]),
        };
        let (rel, retention_us, history, metrics) = match (rel, retention, history, metrics) {
            (Ok(rel), Ok(retention_us), Ok(history), Ok(metrics)) => (rel, retention_us, history, metrics),
            (rel, retention, history, metrics) => {
                let mut mistakes = history.err().unwrap_or_default();
                mistakes.extend(metrics.err().into_iter().flatten());
                mistakes.extend(retention.err());
                mistakes.extend(rel.err().into_iter().flatten());
                return Err(mistakes);
            }
        };
        if view.materialized {
            self.plan.views.push(View {
                name: view.name.text.clone(),
                definition: view.definition,
                rel,
                key: None,
                retention_us,
                served: None,
                indexes: vec![],
                history,
                metrics,
                final_marks: None,
            });
            self.views.push(view.name.pos);
        }
        Ok(())
    }

    /// Plans a query. Where that fails, all mistakes that its parts show are reported.
    fn plan_query(&mut self, query: &sql::Query, owner: &Name) -> Result<RelId, Vec<Mistake>> {
        self.plan_query_by(query::plan, query, owner)
    }

    /// The same with a planner of the query.
    fn plan_query_by(
        &mut self,
        planner: Planner,
        query: &sql::Query,
        owner: &Name,
    ) -> Result<RelId, Vec<Mistake>> {
        let site = Site { file: owner.pos.file, pos: owner.pos };
        if let Some(mistake) = self.reads_incomplete(query, site) {
            return Err(vec![mistake]);
        }
        let planned = self.lower_query(planner, query, owner, site);
        planned.map_err(|found| add_mistakes_of_parts(&self.catalog, query, site, found))
    }

    /// Plans a query as one. If that fails, the relations it added to the plan are removed.
    fn lower_query(
        &mut self,
        planner: Planner,
        query: &sql::Query,
        owner: &Name,
        site: Site,
    ) -> Result<RelId, Vec<Mistake>> {
        let logical = planner(&self.catalog, query, site)?;
        let mut warnings = unsupported::idle_orders(query, site);
        warnings.extend(null_comparisons(query, site));
        parse::sort_mistakes(&mut warnings);
        self.plan.warnings.extend(parse::name_mistakes(warnings, self.files));
        let before = self.plan.rels.len();
        let lowered = self.lower_and_try(owner, &logical).map_err(|error| {
            self.plan.rels.truncate(before);
            vec![explain_error::explain_query(&error, &self.catalog, query, site)]
        });
        properties::learn_keys(&mut self.plan, before);
        lowered
    }

    /// Lowers a plan to relations, and evaluates their expressions on trial.
    fn lower_and_try(&mut self, owner: &Name, logical: &LogicalPlan) -> datafusion_common::Result<RelId> {
        let before = self.plan.rels.len();
        let rel = lower::lower(&mut self.plan, &owner.text, logical)?;
        trial::evaluate_relations(&self.plan, before)?;
        Ok(rel)
    }

    /// Catalogue entry of a relation; `known` is None if its statement failed.
    fn catalog_entry(&self, known: Option<(RelId, SchemaRef)>, name: &Name) -> CatalogEntry {
        let name = name.clone();
        let Some((rel, _)) = &known else {
            return CatalogEntry { known, unique: vec![], clock: vec![], name };
        };
        let unique = self.plan.rels[*rel].unique.clone();
        let below = self.plan.sources_of(*rel).into_iter();
        let clock = below.filter(|at| self.plan.sources[*at].watermark.is_some()).collect();
        CatalogEntry { known, unique, clock, name }
    }

    /// Compiles CREATE SINK. A sink FROM a relation that failed is dropped without a mistake.
    fn create_sink(&mut self, create: &CreateSink) -> Result<(), Vec<Mistake>> {
        self.new_name(&create.name)?;
        self.unread_names.insert(create.name.text.clone(), create.name.pos);
        let rel = match &create.input {
            SinkInput::From(name) => match self.sink_input(name)? {
                Some(rel) => rel,
                None => return Ok(()),
            },
            SinkInput::Query(query, _) => self.plan_query(query, &create.name)?,
        };
        let sink = sink::bind_sink(create, rel, &self.plan.rels[rel].schema)?;
        self.plan.sinks.push(sink);
        self.sinks.push(create.clone());
        Ok(())
    }

    /// Compiles CREATE INDEX.
    fn create_index(&mut self, create: &CreateIndex) -> Result<(), Vec<Mistake>> {
        self.new_name(&create.name)?;
        self.unread_names.insert(create.name.text.clone(), create.name.pos);
        if self.declared.takes_index(create) {
            return Ok(());
        }
        self.add_index(create)
    }

    /// Adds an index to its view. An index on a view that failed is dropped without a mistake.
    fn add_index(&mut self, create: &CreateIndex) -> Result<(), Vec<Mistake>> {
        let Some(rel) = self.indexed_view(&create.view)? else { return Ok(()) };
        let index = index::bind_index(create, &self.plan.rels[rel].schema)?;
        let Some(view) = self.plan.views.iter_mut().find(|view| view.name == create.view.text) else {
            return Ok(());
        };
        if let Some(other) = view.indexes.iter().find(|other| other.columns == index.columns) {
            let message = format!("{} has the same columns as the index {}", index.name, other.name);
            return Err(vec![Mistake::new(create.name.pos, message).hint("leave one of them out")]);
        }
        view.indexes.push(index);
        Ok(())
    }

    /// Relation of a materialized view by name; None if its statement failed.
    fn indexed_view(&self, name: &Name) -> Result<Option<RelId>, Vec<Mistake>> {
        match (self.objects.get(&name.text), self.catalog.get(&name.text)) {
            (Some(&"materialized view"), Some(entry)) => Ok(entry.known.as_ref().map(|(rel, _)| *rel)),
            (Some(word), _) if *word != "materialized view" => Err(vec![index::not_indexed(name, word)]),
            _ => {
                let message = format!("there is no materialized view called {}", name.text);
                let mistake = Mistake::new(name.pos, message);
                Err(vec![mistake.maybe_hint(self.catalog.unknown_hint(&name.text))])
            }
        }
    }

    /// Relation that a sink reads by name; None if its statement failed.
    fn sink_input(&self, name: &Name) -> Result<Option<RelId>, Vec<Mistake>> {
        if let Some(mistake) = self.incomplete(&name.text, name.pos) {
            return Err(vec![mistake]);
        }
        match self.catalog.get(&name.text) {
            Some(entry) => Ok(entry.known.as_ref().map(|(rel, _)| *rel)),
            None if self.catalog.may_be_broken(&name.text) => Ok(None),
            None => {
                let message = format!("there is no source, table or view called {}", name.text);
                let mistake = Mistake::new(name.pos, message);
                Err(vec![mistake.maybe_hint(self.catalog.unknown_hint(&name.text))])
            }
        }
    }

    /// Prunes and annotates the plan, and validates everything that depends on its proven properties.
    fn finish(mut self) -> Result<Plan, Vec<SqlError>> {
        // Properties are proven on the pruned plan, and views and sinks are validated by them: the order
        // matters.
        prune::prune(&mut self.plan);
        lower::window::bound_ranks(&mut self.plan);
        properties::annotate(&mut self.plan);
        self.finish_views();
        for (sink, create) in self.plan.sinks.iter().zip(&self.sinks) {
            self.mistakes.extend(sink::check_key(&self.plan, sink, create));
        }
        if self.mistakes.is_empty() {
            self.plan.version = explain::version(&self.plan);
            return Ok(self.plan);
        }
        parse::sort_mistakes(&mut self.mistakes);
        Err(parse::name_mistakes(self.mistakes, self.files))
    }

    /// Sets the horizon, the finality and the key of every view.
    fn finish_views(&mut self) {
        let bounds = event_time::column_bounds(&self.plan);
        for (view, pos) in self.plan.views.iter_mut().zip(&self.views) {
            if let Some(us) = view.retention_us {
                match event_time::soonest_horizon(&bounds[view.rel], |bound| !bound.filled) {
                    // A row is served until the retention has passed after its end.
                    Some(mut ends) => {
                        for (_, lag) in &mut ends.marks {
                            *lag = lag.saturating_add(us);
                        }
                        view.served = Some(ends);
                    }
                    None => self.mistakes.push(
                        Mistake::new(*pos, format!("no row of {} is ever final, so its retention never begins", view.name))
                            .hint("select a time that carries a watermark, as window_end of a TUMBLE over it, or leave retention out"),
                    ),
                }
            }
            view.final_marks = finality::final_marks(&bounds[view.rel]);
            let unique = &self.plan.rels[view.rel].unique;
            // The key with the fewest columns. The empty key of a total identifies no column, so it is left
            // out.
            view.key = unique.iter().filter(|k| !k.is_empty()).min_by_key(|k| k.len()).cloned();
        }
    }
}

/// The mistakes of a query of which planning found one: its parts are planned alone, too.
fn add_mistakes_of_parts(
    catalog: &Catalog,
    query: &sql::Query,
    site: Site,
    found: Vec<Mistake>,
) -> Vec<Mistake> {
    let [first] = found.as_slice() else { return found };
    let parts = parts::independent_parts(query);
    if parts.len() < 2 {
        return found;
    }
    let mut all: Vec<Mistake> = Vec::new();
    for part in &parts {
        let Err(mistakes) = query::plan(catalog, part, site) else { continue };
        for mistake in mistakes {
            // The hint of the whole query knows more, as the names of the SELECT list.
            let mistake = if mistake.is_like(first) { first.clone() } else { mistake };
            if !all.iter().any(|other| other.is_like(&mistake)) {
                all.push(mistake);
            }
        }
    }
    if !all.iter().any(|other| is_same_mistake(first, other, site)) {
        all.push(first.clone());
    }
    all
}

/// Tells whether `other` is the mistake `first` as planning a part alone found it.
fn is_same_mistake(first: &Mistake, other: &Mistake, site: Site) -> bool {
    // The same mistake has its exact place in the part.
    other.message == first.message || (other.pos == first.pos && first.pos != site.pos)
}

/// The query of a view as its statement has it.
fn definition_of(create: &CreateView) -> String {
    let ending = if create.emit_on_close.is_some() { "\nEMIT ON WINDOW CLOSE" } else { "" };
    format!("{}{ending}", create.text.trim())
}

/// Parses a view's retention to microseconds.
fn parse_retention(option: &OptionItem) -> Result<i64, Mistake> {
    let told = match duration_us(&option.value) {
        Ok(us) if us > 0 => return Ok(us),
        Ok(_) => "retention must be longer than nothing".to_owned(),
        Err(message) => format!("retention: {message}"),
    };
    Err(Mistake::new(option.pos, told).hint("write retention = '90 days'"))
}
