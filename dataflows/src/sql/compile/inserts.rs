//! Compiler of views that are declared without a query, and of the INSERTs that fill them.
//!
//! Such a view is the UNION ALL of its INSERTs. Each of them is planned where it stands, under a name of its own
//! (`matches from riot`, after the view and the file), so that a mistake has its place and a failed row its statement.
//! Behind the last one the union is planned. A statement in front of it that reads the view is refused: it would have
//! a part of the rows. Names of INSERTs do not depend on lines, so that an edit above one changes no name.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion_common::metadata::FieldMetadata;
use datafusion_common::{DataFusionError, Result as Planned, ScalarValue, TableReference};
use datafusion_expr::logical_plan::{LogicalPlan, LogicalPlanBuilder};
use datafusion_expr::{Expr, ExprSchemable, lit};
use datafusion_sql::sqlparser::ast as sql;

use super::assignment::{Fit, fit};
use super::select_items::{cast_of, item_of, type_constants};
use super::{Compiler, NewView};
use crate::functions::text::format::quote_identifier;
use crate::mistake::{Mistake, Pos};
use crate::plan::RelId;
use crate::plan::analysis::properties;
use crate::sql::catalog::{CatalogEntry, RelSource, find_relation};
use crate::sql::diagnostics::did_you_mean::did_you_mean;
use crate::sql::diagnostics::site::Site;
use crate::sql::diagnostics::text::clean_message;
use crate::sql::parse::ast::{CreateIndex, DeclareView, Insert, Name, Statement};
use crate::sql::{parse, query};

/// Views that are declared without a query, by name.
#[derive(Default)]
pub(super) struct DeclaredViews {
    views: BTreeMap<String, Declared>,
    /// Number of INSERTs so far by their names without a number.
    named: BTreeMap<String, usize>,
}

/// A view that is declared without a query.
struct Declared {
    create: DeclareView,
    /// The last of its statements, behind which it is complete.
    last: Pos,
    /// Set once it is complete.
    complete: bool,
    /// Its INSERTs so far; None for one with a mistake.
    branches: Vec<Option<Branch>>,
    /// Indexes that stand before the last INSERT.
    indexes: Vec<CreateIndex>,
}

/// An INSERT that is planned.
#[derive(Clone)]
struct Branch {
    /// Its rows, with the columns of the view.
    entry: CatalogEntry,
    /// The columns of the view that its query fills, in the order of the query.
    filled: Vec<usize>,
    /// The query as written.
    text: String,
}

impl DeclaredViews {
    /// The declared views of a topology.
    pub(super) fn of(statements: &[Statement]) -> DeclaredViews {
        let mut declared = DeclaredViews::default();
        for statement in statements {
            if let Statement::Declared(create) = statement {
                let name = create.name.text.clone();
                declared.views.entry(name).or_insert_with(|| Declared {
                    create: create.clone(),
                    last: create.pos,
                    complete: false,
                    branches: vec![],
                    indexes: vec![],
                });
            }
        }
        for statement in statements {
            if let Statement::Insert(insert) = statement
                && let Some(view) = declared.views.get_mut(&insert.into.text)
            {
                view.last = view.last.max(insert.pos);
            }
        }
        declared
    }

    /// Takes an index on a view that is not complete.
    pub(super) fn takes_index(&mut self, create: &CreateIndex) -> bool {
        match self.views.get_mut(&create.view.text) {
            Some(view) if !view.complete && view.create.materialized => {
                view.indexes.push(create.clone());
                true
            }
            _ => false,
        }
    }

    /// Name of an INSERT into `view` in a file: the view and the file's name without its extension, with a number from
    /// the second one on.
    fn name_insert(&mut self, view: &str, file: &str) -> String {
        let stem = Path::new(file).file_stem().map_or(file.into(), |stem| stem.to_string_lossy());
        let name = format!("{view} from {stem}");
        let number = self.named.entry(name.clone()).or_default();
        *number += 1;
        if *number == 1 { name } else { format!("{name} {number}") }
    }
}

impl Compiler<'_> {
    /// Takes in a view that is declared without a query.
    pub(super) fn declare_view(&mut self, create: &DeclareView) -> Result<(), Vec<Mistake>> {
        let name = &create.name;
        let taken = self.new_name(name);
        if let Err(mistakes) = taken {
            // The INSERTs are those of the first view of the name, if that is declared.
            if self.declared.views.get(&name.text).is_some_and(|view| view.create.pos == create.pos) {
                self.declared.views.remove(&name.text);
            }
            return Err(mistakes);
        }
        self.unread_names.insert(name.text.clone(), name.pos);
        self.complete_behind(&name.text, create.pos)
    }

    /// Compiles INSERT.
    pub(super) fn insert(&mut self, insert: &Insert) -> Result<(), Vec<Mistake>> {
        let Some(create) = self.insert_target(insert)? else { return Ok(()) };
        let branch = self.plan_insert(insert, &create);
        let view = &insert.into.text;
        let (branch, planned) = match branch {
            Ok(branch) => (Some(branch), Ok(())),
            Err(mistakes) => (None, Err(mistakes)),
        };
        if let Some(view) = self.declared.views.get_mut(view) {
            view.branches.push(branch);
        }
        match (planned, self.complete_behind(view, insert.pos)) {
            (Ok(()), completed) => completed,
            (Err(mut mistakes), completed) => {
                mistakes.extend(completed.err().into_iter().flatten());
                Err(mistakes)
            }
        }
    }

    /// The view that an INSERT fills; None if its own statement failed. Refuses any other object.
    fn insert_target(&self, insert: &Insert) -> Result<Option<DeclareView>, Vec<Mistake>> {
        let name = &insert.into;
        let of_table = matches!(self.objects.get(&name.text), Some(&("source" | "table" | "sink" | "index")));
        if let Some(view) = self.declared.views.get(&name.text).filter(|_| !of_table) {
            return Ok(Some(view.create.clone()));
        }
        let quoted = quote_identifier(&name.text);
        let mistake = match self.objects.get(&name.text) {
            Some(word @ (&"source" | &"table")) => {
                let message = format!("{} is a {word}, and its rows come from its connector", name.text);
                let hint = format!(
                    "declare a view, as CREATE VIEW all_{} (column TYPE, ...), and insert into that",
                    name.text
                );
                Mistake::new(name.pos, message).hint(hint)
            }
            Some(&("view" | "materialized view")) => {
                let message = format!("{} is a view with a query, which has all its rows", name.text);
                let hint = format!(
                    "leave the query out there, CREATE VIEW {quoted} (column TYPE, ...), and make it another INSERT INTO {quoted}"
                );
                Mistake::new(name.pos, message).hint(hint)
            }
            Some(word) => {
                let message = format!("{} is a {word}, and INSERT fills declared views", name.text);
                Mistake::new(name.pos, message).hint("name the view")
            }
            None if self.catalog.may_be_broken(&name.text) => return Ok(None),
            None => {
                let near = did_you_mean(&name.text, self.declared.views.keys().map(String::as_str));
                Mistake::new(name.pos, format!("there is no view called {} to insert into", name.text))
                    .hint(format!("declare it: CREATE VIEW {quoted} (column TYPE, ...)"))
                    .maybe_hint(near)
            }
        };
        Err(vec![mistake])
    }

    /// Plans the query of an INSERT, and finds for each column of the view the one that fills it.
    fn plan_insert(&mut self, insert: &Insert, create: &DeclareView) -> Result<Branch, Vec<Mistake>> {
        let filled = filled_columns(insert, create)?;
        let file = self.files.get(insert.pos.file).map_or("topology", |file| file.name.as_str());
        let name = self.declared.name_insert(&create.name.text, file);
        let owner = Name { text: name, pos: insert.pos };
        self.new_name(&owner)?;
        self.unread_names.insert(owner.text.clone(), owner.pos);
        refuse_own(insert)?;
        let targets: Vec<&Field> = filled.iter().map(|at| &create.columns[*at]).collect();
        let mut typed = insert.query.clone();
        let nulls = type_constants(&mut typed, &create.name.text, &targets);
        let rel = self.plan_query_by(query::plan_insert, &typed, &owner)?;
        let selected = distinct_names(&self.plan.rels[rel].schema);
        self.plan.rels[rel].schema = Arc::clone(&selected);
        let entry = self.catalog_entry(Some((rel, Arc::clone(&selected))), &owner);
        check_count(insert, create, &filled, selected.fields().len())?;
        let mut mistakes = Vec::new();
        let mut from = vec![None; create.columns.len()];
        for (at, (column, null)) in filled.iter().zip(nulls).enumerate() {
            if null {
                continue;
            }
            if fit(selected.field(at), &create.columns[*column]) == Fit::Refused {
                mistakes.push(self.refused_type(insert, create, &selected, (at, *column)));
            }
            from[*column] = Some(at);
        }
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        // The columns are fitted here and not in the union, so that a value that fails is one of this INSERT.
        let rel = self.lower_planned(&owner, fitted_columns(create, &entry, &from))?;
        let entry = self.catalog_entry(Some((rel, Arc::clone(&self.plan.rels[rel].schema))), &owner);
        Ok(Branch { entry, filled, text: insert.text.clone() })
    }

    /// Optimises and lowers a plan that is made of planned relations.
    fn lower_planned(&mut self, owner: &Name, planned: Planned<LogicalPlan>) -> Result<RelId, Vec<Mistake>> {
        let before = self.plan.rels.len();
        let optimised = planned.and_then(query::decorrelate_and_optimise);
        let lowered = optimised.and_then(|logical| self.lower_and_try(owner, &logical));
        let rel = lowered.map_err(|error| {
            self.plan.rels.truncate(before);
            vec![Mistake::new(owner.pos, clean_message(&error.strip_backtrace()))]
        })?;
        properties::learn_keys(&mut self.plan, before);
        Ok(rel)
    }

    /// Refusal of the selected column `at`, whose type does not go into `column` of the view.
    fn refused_type(
        &self,
        insert: &Insert,
        create: &DeclareView,
        selected: &SchemaRef,
        (at, column): (usize, usize),
    ) -> Mistake {
        let (from, to) = (selected.field(at), &create.columns[column]);
        let site = site_of(insert);
        let item = item_of(&insert.query, at, selected.fields().len());
        let pos = item.as_ref().map_or(site.pos, |item| site.place(item.span));
        let (given, wanted) = (schemas::sql_type(from), schemas::sql_type(to));
        let message = format!("{} of {} is {wanted}, and this is {given}", to.name(), create.name.text);
        // The CAST is proposed if it can be planned.
        let over = (insert.into.text.as_str(), selected.as_ref());
        let name = quote_identifier(from.name());
        let can_cast = cast_of(&name, to)
            .is_some_and(|cast| query::plan_expression(&self.catalog, &cast, over, None, site).is_ok());
        let text = match item.and_then(|item| item.text) {
            Some(text) if text.len() <= 40 => text,
            Some(_) => "...".to_owned(),
            None => name,
        };
        let hint = if can_cast {
            format!("write CAST({text} AS {wanted})")
        } else {
            format!("select a value of the type {wanted}, or leave the column out of the INSERT")
        };
        Mistake::new(pos, message).hint(hint)
    }

    /// Completes a view if the statement at `pos` is the last one for it.
    fn complete_behind(&mut self, name: &str, pos: Pos) -> Result<(), Vec<Mistake>> {
        let Some(view) = self.declared.views.get_mut(name) else { return Ok(()) };
        if view.last != pos {
            return Ok(());
        }
        view.complete = true;
        let create = view.create.clone();
        let (branches, indexes) = (std::mem::take(&mut view.branches), std::mem::take(&mut view.indexes));
        let complete: Vec<Branch> = branches.iter().flatten().cloned().collect();
        if branches.is_empty() {
            self.warn_of_no_insert(&create);
        }
        let rel = if complete.len() < branches.len() {
            Err(vec![])
        } else {
            self.lower_planned(&create.name, union_of(&complete, &create))
        };
        let (name, with) = (&create.name, create.with.as_slice());
        let definition = definition_of(&create, &complete);
        let view = NewView { name, with, materialized: create.materialized, definition };
        let mut mistakes = self.add_view(view, rel).err().unwrap_or_default();
        for index in &indexes {
            mistakes.extend(self.add_index(index).err().into_iter().flatten());
        }
        if mistakes.is_empty() { Ok(()) } else { Err(mistakes) }
    }

    /// Warns of a view that nothing is inserted into, unless a statement that could not be read may do so.
    fn warn_of_no_insert(&mut self, create: &DeclareView) {
        let name = &create.name;
        if self.catalog.is_missing(&name.text) {
            return;
        }
        let message = format!("nothing is inserted into the view {}: it has no rows", name.text);
        let hint = format!("write INSERT INTO {} SELECT ... in any file", quote_identifier(&name.text));
        let warning = Mistake::new(name.pos, message).hint(hint);
        self.plan.warnings.extend(parse::name_mistakes(vec![warning], self.files));
    }

    /// Refusal of a query that reads a view whose INSERTs are not all in front of it.
    pub(super) fn reads_incomplete(&self, query: &sql::Query, site: Site) -> Option<Mistake> {
        let mut refused = None;
        find_relation(query, &mut |name, span, own| {
            refused = self.incomplete(name, site.place(span)).filter(|_| !own);
            refused.is_some()
        });
        refused
    }

    /// Refusal of a statement that reads a view at `pos`, if not all its INSERTs have come.
    pub(super) fn incomplete(&self, name: &str, pos: Pos) -> Option<Mistake> {
        let view = self.declared.views.get(name).filter(|view| !view.complete)?;
        let last = self.place_of(view.last);
        let message = if view.last == view.create.pos {
            format!("{name} is read here, before it is declared at {last}")
        } else {
            format!("{name} is read here, before the INSERT INTO {name} at {last}")
        };
        let hint = format!("move this statement behind {last}: files are applied in the order given");
        Some(Mistake::new(pos, message).hint(hint))
    }
}

/// Refuses an INSERT that reads the view that it fills.
fn refuse_own(insert: &Insert) -> Result<(), Vec<Mistake>> {
    let (site, view) = (site_of(insert), &insert.into.text);
    let mut pos = site.pos;
    let reads = find_relation(&insert.query, &mut |name, span, own| {
        pos = site.place(span);
        name == view && !own
    });
    if !reads {
        return Ok(());
    }
    let message = format!("an INSERT INTO {view} cannot read {view}");
    let hint = "write WITH RECURSIVE for rows that follow from rows of the same view";
    Err(vec![Mistake::new(pos, message).hint(hint)])
}

/// Positions of the columns that the query of an INSERT fills. Refuses unknown columns, and one that is there twice.
fn filled_columns(insert: &Insert, create: &DeclareView) -> Result<Vec<usize>, Vec<Mistake>> {
    let Some(names) = &insert.columns else { return Ok((0..create.columns.len()).collect()) };
    let (mut filled, mut mistakes) = (Vec::new(), Vec::new());
    for name in names {
        let Some(at) = create.columns.iter().position(|column| *column.name() == name.text) else {
            let message = format!("{} has no column {}", create.name.text, name.text);
            let near = did_you_mean(&name.text, create.columns.iter().map(|column| column.name().as_str()));
            mistakes.push(Mistake::new(name.pos, message).hint(list_columns(create)).maybe_hint(near));
            continue;
        };
        if filled.contains(&at) {
            let message = format!("the column {} is in the list twice", name.text);
            mistakes.push(Mistake::new(name.pos, message).hint("leave one out"));
        } else {
            filled.push(at);
        }
    }
    if mistakes.is_empty() { Ok(filled) } else { Err(mistakes) }
}

/// Refuses a query with more or fewer columns than are to be filled.
fn check_count(
    insert: &Insert,
    create: &DeclareView,
    filled: &[usize],
    selected: usize,
) -> Result<(), Vec<Mistake>> {
    if selected == filled.len() {
        return Ok(());
    }
    let site = site_of(insert);
    let extra = item_of(&insert.query, filled.len(), selected).filter(|_| selected > filled.len());
    let pos = extra.map_or(insert.into.pos, |item| site.place(item.span));
    let (of, hint) = match &insert.columns {
        Some(_) => ("in the list", "name a column for each that is selected, in the same order".to_owned()),
        None => {
            let name = quote_identifier(&create.name.text);
            let hint = format!(
                "{}; name those that are filled: INSERT INTO {name} (...) SELECT ...",
                list_columns(create)
            );
            ("in the view", hint)
        }
    };
    let message = format!("{} selected, and {} {of}", count(selected), count(filled.len()));
    Err(vec![Mistake::new(pos, message).hint(hint)])
}

/// A number of columns in words.
fn count(columns: usize) -> String {
    if columns == 1 { "1 column is".to_owned() } else { format!("{columns} columns are") }
}

/// Sentence with the columns of a view.
fn list_columns(create: &DeclareView) -> String {
    let names: Vec<&str> = create.columns.iter().map(|column| column.name().as_str()).collect();
    format!("its columns are {}", names.join(", "))
}

/// Positions of mistakes in the query of an INSERT.
fn site_of(insert: &Insert) -> Site {
    Site { file: insert.pos.file, pos: insert.pos }
}

/// The rows of a relation.
fn scan_of(entry: &CatalogEntry) -> Planned<LogicalPlanBuilder> {
    let Some((rel, schema)) = &entry.known else {
        return Err(DataFusionError::Plan(format!("{} has no rows", entry.name.text)));
    };
    let source = RelSource::of(Some(*rel), Arc::clone(schema));
    let source = RelSource { unique: entry.unique.clone(), clock: entry.clock.clone(), ..source };
    LogicalPlanBuilder::scan(TableReference::bare(entry.name.text.as_str()), Arc::new(source), None)
}

/// The columns of a view from those that an INSERT selects, with their names and types.
fn fitted_columns(
    create: &DeclareView,
    entry: &CatalogEntry,
    from: &[Option<usize>],
) -> Planned<LogicalPlan> {
    let scan = scan_of(entry)?;
    let columns = scan.schema().columns();
    let mut exprs = Vec::with_capacity(create.columns.len());
    for (target, from) in create.columns.iter().zip(from) {
        let expr = match from {
            Some(at) => {
                let column = Expr::Column(columns[*at].clone());
                match fit(scan.schema().field(*at), target) {
                    Fit::Same => column,
                    _ => column.cast_to(target.data_type(), scan.schema())?,
                }
            }
            None => null_of(target)?,
        };
        exprs.push(expr.alias(target.name()));
    }
    scan.project(exprs)?.build()
}

/// The UNION ALL of INSERTs, whose columns are fitted; no rows if there is none.
fn union_of(branches: &[Branch], create: &DeclareView) -> Planned<LogicalPlan> {
    let mut union: Option<LogicalPlanBuilder> = None;
    for branch in branches {
        let rows = scan_of(&branch.entry)?;
        union = Some(match union {
            None => rows,
            Some(before) => before.union(rows.build()?)?,
        });
    }
    if let Some(union) = union {
        return union.build();
    }
    let mut nulls = Vec::with_capacity(create.columns.len());
    for column in &create.columns {
        nulls.push(null_of(column)?.alias(column.name()));
    }
    LogicalPlanBuilder::empty(true).project(nulls)?.filter(lit(false))?.build()
}

/// Columns with names that are found: a query may select two of one name.
fn distinct_names(schema: &SchemaRef) -> SchemaRef {
    let mut fields: Vec<Field> = Vec::with_capacity(schema.fields().len());
    for (at, field) in schema.fields().iter().enumerate() {
        let field = field.as_ref().clone();
        let repeats = fields.iter().any(|known| known.name() == field.name());
        fields.push(if repeats { field.clone().with_name(format!("{}:{at}", field.name())) } else { field });
    }
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

/// NULL of the type of a column.
fn null_of(target: &Field) -> Planned<Expr> {
    let metadata = FieldMetadata::from(target.metadata());
    let metadata = (!metadata.is_empty()).then_some(metadata);
    Ok(Expr::Literal(ScalarValue::try_from(target.data_type())?, metadata))
}

/// The query of a view for users: the UNION ALL of those of its INSERTs.
fn definition_of(create: &DeclareView, branches: &[Branch]) -> String {
    if branches.is_empty() {
        let nulls = create.columns.iter().map(|column| {
            let name = quote_identifier(column.name());
            format!("CAST(NULL AS {}) AS {name}", schemas::sql_type(column))
        });
        return format!("SELECT {} WHERE false", nulls.collect::<Vec<_>>().join(", "));
    }
    let mut parts = Vec::with_capacity(branches.len());
    for branch in branches {
        let names: Vec<String> =
            branch.filled.iter().map(|at| quote_identifier(create.columns[*at].name())).collect();
        let mut items = Vec::with_capacity(create.columns.len());
        for (at, target) in create.columns.iter().enumerate() {
            let name = quote_identifier(target.name());
            items.push(if branch.filled.contains(&at) { name } else { format!("NULL AS {name}") });
        }
        let (items, names, text) = (items.join(", "), names.join(", "), branch.text.trim());
        parts.push(format!("SELECT {items}\nFROM ({text}) AS inserted ({names})"));
    }
    parts.join("\nUNION ALL\n")
}
