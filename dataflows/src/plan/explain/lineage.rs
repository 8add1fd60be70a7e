//! Lineage: the source columns and the rules that each column of a view or sink comes from.
//!
//! It is derived from the relations that run. A column of a relation has the places in sources that its values are
//! read from, each copied or computed; a relation has the conditions that decide which rows there are, each with
//! the places that it reads. A condition counts for every column of the relation and of all above it, unless a join
//! shows that it decides one side's columns only. The result is sound: a column that changes when the values of a source
//! column change is listed as depending on it. It may list more than that.
//!
//! ```text
//! Source matches          places: matches.kills, matches.puuid     conditions: NOT NULL, CHECK, PRIMARY KEY
//!   Filter puuid <> 'BOT'                                          + WHERE over matches.puuid
//!     Aggregate by [puuid]: kills = sum(kills)                     + GROUP BY over matches.puuid
//!       view: puuid is a copy of matches.puuid, kills is computed from matches.kills
//! ```

mod columns;
mod dot;
mod groups;
mod impact;
mod joins;
mod json;
mod question;
mod reading;
mod rules;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use self::columns::Deriver;
use super::Form;
use crate::functions::text::format::quote_identifier;
use crate::plan::{Plan, RelId, Sink, View};

/// A step into the value of a column.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// The field of a STRUCT.
    Field(String),
    /// Any item of a list.
    Items,
}

/// A column of a source, or a place within its values.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Index in [`Plan::sources`].
    pub source: usize,
    /// Position in the source's schema.
    pub column: usize,
    /// The way into the value; empty for all of it.
    pub path: Vec<Step>,
}

/// The ways in which a column uses the values of a place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Use {
    /// Values are taken over unchanged.
    pub copied: bool,
    /// Values are part of an expression.
    pub computed: bool,
    /// The place is read by way of a generated column of the source, which is listed as well.
    pub generated: bool,
}

/// An expression on the way from the sources to a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expression {
    /// The name of the column that it computes.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// Number of a condition in [`Lineage::conditions`].
pub type ConditionId = usize;

/// The origin of a column's values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ColumnLineage {
    /// The places that values are read from.
    pub values: BTreeMap<Place, Use>,
    /// The expressions on the way, the last one first.
    pub expressions: Vec<Expression>,
    /// Conditions that decide the values of this column and not which rows there are.
    pub conditions: BTreeSet<ConditionId>,
}

/// The origin of a relation's rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowsLineage {
    /// One for each column.
    pub columns: Vec<ColumnLineage>,
    /// Conditions that decide which rows there are.
    pub rows: BTreeSet<ConditionId>,
}

/// Kinds of conditions, and of the rules of sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConditionKind {
    /// A column of a source is NOT NULL.
    NotNull,
    /// A CHECK constraint.
    Check,
    /// Records of one key replace each other.
    PrimaryKey,
    /// The greatest version of a key wins.
    Version,
    /// Rows that are late, or too far ahead, are refused.
    Watermark,
    /// Rows of a table or view are dropped some time after they are final.
    Retention,
    /// WHERE, or ON of an inner join.
    Where,
    /// HAVING.
    Having,
    /// Conditions of joins, IN and EXISTS.
    Join,
    /// The items of a list become rows.
    Unnest,
    /// A GROUP BY key.
    Group,
    /// FILTER of an aggregate.
    Filter,
    /// DISTINCT, INTERSECT, EXCEPT and UNION: equal rows count once.
    Distinct,
    /// PARTITION BY.
    Partition,
    /// ORDER BY of an aggregate or window function.
    Order,
    /// ORDER BY with a limit on the rows.
    Limit,
    /// Rows that ORDER BY leaves equal stand in the order of all their columns.
    Ties,
    /// The time of a join as of a time.
    AsOf,
    /// A condition on now().
    Now,
    /// EMIT ON WINDOW CLOSE.
    Close,
    /// An expression that can fail: a row on which it does is left out and reported in `herald.errors`.
    Failure,
}

impl ConditionKind {
    /// The word of SQL for it.
    pub fn word(self) -> &'static str {
        match self {
            ConditionKind::NotNull => "NOT NULL",
            ConditionKind::Check => "CHECK",
            ConditionKind::PrimaryKey => "PRIMARY KEY",
            ConditionKind::Version => "VERSION COLUMN",
            ConditionKind::Watermark => "WATERMARK",
            ConditionKind::Retention => "retention",
            ConditionKind::Where => "WHERE",
            ConditionKind::Having => "HAVING",
            ConditionKind::Join => "JOIN",
            ConditionKind::Unnest => "UNNEST",
            ConditionKind::Group => "GROUP BY",
            ConditionKind::Filter => "FILTER",
            ConditionKind::Distinct => "DISTINCT",
            ConditionKind::Partition => "PARTITION BY",
            ConditionKind::Order => "ORDER BY",
            ConditionKind::Limit => "LIMIT",
            ConditionKind::Ties => "ties",
            ConditionKind::AsOf => "ASOF",
            ConditionKind::Now => "now()",
            ConditionKind::Close => "EMIT ON WINDOW CLOSE",
            ConditionKind::Failure => "can fail",
        }
    }
}

/// A condition with the places that decide it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Its kind.
    pub kind: ConditionKind,
    /// Its text.
    pub text: String,
    /// The view or source that it is written in.
    pub owner: String,
    /// True if it is a rule of the source `owner`.
    pub is_rule: bool,
    /// The places that it reads; false for a list of which only the number of items counts.
    pub places: BTreeMap<Place, bool>,
}

/// The lineage of all relations of a plan.
#[derive(Clone, Debug, Default)]
pub struct Lineage {
    /// One for each relation of the plan.
    pub rels: Vec<RowsLineage>,
    /// The conditions that the relations name.
    pub conditions: Vec<Condition>,
    /// By the name of a view that serves its rows for some time only, the condition for that.
    pub served: BTreeMap<String, BTreeSet<ConditionId>>,
}

impl Lineage {
    /// Derives the lineage of a plan.
    pub fn of(plan: &Plan) -> Lineage {
        let mut deriver = Deriver::new(plan);
        let rels = deriver.derive_plan(plan, &[]);
        let served = deriver.served(plan, &rels);
        Lineage { rels, conditions: deriver.into_conditions(), served }
    }

    /// The conditions that decide the values of a relation's column, its rows included.
    pub fn conditions_of(&self, rel: RelId, column: usize) -> BTreeSet<ConditionId> {
        let of = &self.rels[rel];
        of.columns[column].conditions.union(&of.rows).copied().collect()
    }

    /// The conditions that decide which rows a view or sink has.
    fn rows_of(&self, output: Output<'_>) -> BTreeSet<ConditionId> {
        let mut rows = self.rels[output.rel()].rows.clone();
        if let Output::View(view) = output {
            rows.extend(self.served.get(&view.name).into_iter().flatten());
        }
        rows
    }

    /// Returns true if the values or the rows of a relation's column depend on the values at a place.
    pub fn depends(&self, rel: RelId, column: usize, on: &Place) -> bool {
        self.rels[rel].columns[column].values.keys().any(|place| place.reads(true, on))
            || self.conditions_of(rel, column).iter().any(|id| self.conditions[*id].reads(on))
    }
}

impl Place {
    /// Returns true if something that reads this place may see a change of the values at `changed`; `whole` is false
    /// where it sees the number of a list's items only.
    fn reads(&self, whole: bool, changed: &Place) -> bool {
        let same = self.source == changed.source && self.column == changed.column;
        same && (self.path.starts_with(&changed.path) || (whole && changed.path.starts_with(&self.path)))
    }

    /// The place at a step further into the value.
    fn at(&self, step: Step) -> Place {
        let mut place = self.clone();
        place.path.push(step);
        place
    }

    /// The column with the way into its value, as it is written: `"match"['info']['participants'][]['kills']`.
    pub fn column_text(&self, plan: &Plan) -> String {
        let fields = plan.sources[self.source].schema.fields();
        let column = fields.get(self.column).map_or("?", |field| field.name());
        format!("{}{}", quote_identifier(column), path_text(&self.path))
    }

    /// The same behind the name of the source.
    pub fn text(&self, plan: &Plan) -> String {
        format!("{}.{}", quote_identifier(&plan.sources[self.source].name), self.column_text(plan))
    }
}

/// Steps as they are written.
fn path_text(path: &[Step]) -> String {
    let mut out = String::new();
    for step in path {
        match step {
            Step::Field(name) => drop(write!(out, "['{}']", name.replace('\'', "''"))),
            Step::Items => out.push_str("[]"),
        }
    }
    out
}

impl Condition {
    /// Returns true if the condition may change with the values at a place.
    pub fn reads(&self, changed: &Place) -> bool {
        self.places.iter().any(|(place, whole)| place.reads(*whole, changed))
    }
}

/// A view or sink, of which lineage is told.
#[derive(Clone, Copy, Debug)]
enum Output<'p> {
    View(&'p View),
    Sink(&'p Sink),
}

impl<'p> Output<'p> {
    /// The outputs of a plan: views, then sinks.
    fn all(plan: &'p Plan) -> impl Iterator<Item = Output<'p>> {
        plan.views.iter().map(Output::View).chain(plan.sinks.iter().map(Output::Sink))
    }

    fn name(self) -> &'p str {
        match self {
            Output::View(view) => &view.name,
            Output::Sink(sink) => &sink.name,
        }
    }

    fn rel(self) -> RelId {
        match self {
            Output::View(view) => view.rel,
            Output::Sink(sink) => sink.rel,
        }
    }

    /// The word for it.
    fn word(self) -> &'static str {
        match self {
            Output::View(_) => "view",
            Output::Sink(sink) if sink.options.get("connector").is_some_and(|c| c == "parquet") => "export",
            Output::Sink(_) => "sink",
        }
    }

    /// The view of which a sink sends all rows.
    fn shown_view(self, plan: &'p Plan) -> Option<&'p View> {
        match self {
            Output::View(_) => None,
            Output::Sink(sink) => plan.views.iter().find(|view| view.rel == sink.rel),
        }
    }

    /// The columns' names.
    fn columns(self, plan: &'p Plan) -> Vec<&'p str> {
        plan.rels[self.rel()].schema.fields().iter().map(|field| field.name().as_str()).collect()
    }
}

/// The columns of views and sinks that hold values of a source's column unchanged, or of a place within it, each with the
/// name of its view or sink. `path` is relative to the column: a field name, or `[]` for the items of a list. A column
/// that holds a STRUCT or list around the place is not among them.
pub fn identity_columns(plan: &Plan, source: &str, path: (&str, &[Step])) -> Vec<(String, String)> {
    let lineage = Lineage::of(plan);
    let found = plan.sources.iter().position(|known| known.name == source);
    let column = found.and_then(|at| plan.sources[at].schema.index_of(path.0).ok());
    let (Some(source), Some(column)) = (found, column) else { return Vec::new() };
    let place = Place { source, column, path: path.1.to_vec() };
    let mut columns = Vec::new();
    for output in Output::all(plan) {
        for (of, name) in lineage.rels[output.rel()].columns.iter().zip(output.columns(plan)) {
            if of.values.get(&place).is_some_and(|used| used.copied) {
                columns.push((output.name().to_owned(), name.to_owned()));
            }
        }
    }
    columns
}

/// Writes the lineage of all views and sinks, or that of `asked`: a view or sink, a column of one, a source or a column
/// of one with a path.
///
/// # Errors
/// When the plan has nothing of that name: a sentence that tells so.
pub fn explain_lineage(plan: &Plan, asked: Option<&str>, form: Form) -> Result<String, String> {
    let question = question::read(plan, asked)?;
    let lineage = Lineage::of(plan);
    Ok(match form {
        Form::Text => text::as_text(plan, &lineage, &question),
        Form::Json => format!("{:#}\n", json::as_json(plan, &lineage, &question)),
        Form::Dot => dot::as_dot(plan, &lineage, &question),
    })
}

#[cfg(test)]
mod tests;
