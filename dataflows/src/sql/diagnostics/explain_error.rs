//! Planning errors as mistakes: plain sentences at a place, with the nearest name.
//!
//! DataFusion says what went wrong in its own words and types, sometimes with a span. Here the
//! sentence is put in the words of this SQL dialect, and a missing span is found again by looking
//! for the name in the query's syntax tree.

use std::ops::ControlFlow;

use arrow::datatypes::Schema;
use datafusion_common::{DataFusionError, SchemaError};
use datafusion_sql::sqlparser::ast::{
    Distinct, ExcludeSelectItem, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Query, Select,
    SelectItem, SetExpr, Spanned, TableFactor, Visit, Visitor,
};
use datafusion_sql::sqlparser::tokenizer::Span;

use super::dialects;
use super::did_you_mean::did_you_mean;
use super::error::Mistake;
use super::site::Site;
use super::site::place;
use super::text::clean;
use crate::functions::FUNCTIONS;
use crate::functions::aggregates;
use crate::sql::ast::Pos;
use crate::sql::catalog::Catalog;
use crate::sql::logical::joins::subquery::{PLACE, ROWS};
use crate::sql::logical::joins::temporal::{ASOF_ON, LOOKUP_ON, MATCH};
use crate::sql::logical::now::{NO_WATERMARK, NOT_HERE, NOW};
use crate::sql::lower::frame::{BACKWARDS, MONTHS};
use crate::sql::lower::join::NOT_IN;
use crate::sql::parse::query::lambda::FUNCTIONS as LAMBDAS;
use crate::sql::parse::query::temporal::{ASOF, LOOKUP};

/// What went wrong in planning `query`.
pub(crate) fn of(error: &DataFusionError, catalog: &Catalog, query: &Query, site: Site) -> Mistake {
    let find = |word: &str| {
        let mut find = Find { word, found: Vec::new() };
        let _ = query.visit(&mut find);
        find.found
    };
    describe(error, site, &find, &|name| catalog.later(name).or_else(|| did_you_mean(name, catalog.names())))
}

/// What went wrong in planning an expression over the columns of `schema`.
pub(crate) fn of_expr(error: &DataFusionError, expr: &Expr, schema: &Schema, site: Site) -> Mistake {
    let find = |word: &str| {
        let mut find = Find { word, found: Vec::new() };
        let _ = expr.visit(&mut find);
        find.found
    };
    let span = expr.span();
    let site = Site { pos: place(span, site.file, site.pos), ..site };
    describe(error, site, &find, &|name| {
        did_you_mean(name, schema.fields().iter().map(|f| f.name().as_str()))
    })
}

/// Where the SELECT list of `query` names a column `name` for the second time.
pub(crate) fn second_column(query: &Query, name: &str, site: Site) -> Option<Pos> {
    let mut body = query.body.as_ref();
    let select = loop {
        match body {
            SetExpr::Select(select) => break select,
            SetExpr::Query(inner) => body = inner.body.as_ref(),
            SetExpr::SetOperation { left, .. } => body = left.as_ref(),
            _ => return None,
        }
    };
    let spans = select.projection.iter().filter_map(|item| match item {
        SelectItem::ExprWithAlias { alias, .. } => {
            alias.value.eq_ignore_ascii_case(name).then_some(alias.span)
        }
        SelectItem::UnnamedExpr(expr) => {
            let last = crate::sql::syntax::names::natural_name(expr)?;
            last.value.eq_ignore_ascii_case(name).then(|| expr.span())
        }
        wildcard => Some(wildcard.span()),
    });
    spans.skip(1).find(|s| s.start.line > 0).map(|span| place(span, site.file, site.pos))
}

/// Spans of what goes by a name.
type Finder<'a> = dyn Fn(&str) -> Vec<Span> + 'a;

fn describe(
    error: &DataFusionError,
    site: Site,
    find: &Finder<'_>,
    near_table: &dyn Fn(&str) -> Option<String>,
) -> Mistake {
    let error = error.iter().next().unwrap_or(error);
    if let DataFusionError::External(other) = error.find_root()
        && let Some(mistake) = other.downcast_ref::<Mistake>()
    {
        return mistake.clone();
    }
    let diagnosed = error.diagnostic().and_then(|d| d.span.or_else(|| d.notes.iter().find_map(|n| n.span)));
    let at = |word: Option<&str>| match (diagnosed, word.and_then(|w| find(w).first().copied())) {
        (Some(s), _) => Pos { file: site.file, line: s.start.line, column: s.start.column },
        (None, Some(span)) => place(span, site.file, site.pos),
        (None, None) => site.pos,
    };
    let root = error.find_root();
    if let DataFusionError::SchemaError(schema, _) = root {
        return schema_mistake(schema, &at, &|name| !find(&format!("\"{name}\"")).is_empty());
    }
    let text = clean(&message(root));
    if let Some(name) = text.strip_prefix("there is no source, table or view called ") {
        return Mistake::new(at(Some(name)), text.clone()).maybe_hint(near_table(name));
    }
    if let Some(name) = between(&text, "Invalid function '", "'") {
        let names: Vec<String> =
            FUNCTIONS.scalar_names().into_iter().chain(FUNCTIONS.aggregate_names()).collect();
        let remedy = FUNCTIONS.remedy(&name).map(str::to_owned).or_else(|| dialects::function(&name));
        let hint = remedy.or_else(|| did_you_mean(&name, names.iter().map(String::as_str)));
        return Mistake::new(at(Some(&name)), format!("there is no function called {name}")).maybe_hint(hint);
    }
    if let Some(name) = between(&text, "column \"", "\" must appear in the GROUP BY") {
        let column = name.rsplit('.').next().unwrap_or(&name);
        return Mistake::new(
            at(Some(column)),
            format!("{name} is neither in GROUP BY nor inside an aggregate"),
        )
        .hint(format!("add {name} to GROUP BY, or write max({name})"));
    }
    if let Some(of) = text.strip_prefix("Cannot run range queries on datatype: ") {
        return Mistake::new(site.pos, format!("a window function ORDER BY a {of} is not supported"))
            .hint("order by extract(epoch FROM x)");
    }
    if let Some(mistake) = of_temporal(&text, &at).or_else(|| of_now(&text, &at)) {
        return mistake;
    }
    let hint = match text.as_str() {
        NOT_IN => "write NOT EXISTS (SELECT ... WHERE b.x = a.x), which takes a NULL for no match",
        PLACE => "join the relation, or a view of it with GROUP BY, by hand",
        ROWS => "aggregate in it, for example max(x), or end it with ORDER BY ... LIMIT 1",
        BACKWARDS => {
            return Mistake::new(at(None), text)
                .hint("write the earlier bound first: BETWEEN 1 PRECEDING AND CURRENT ROW");
        }
        MONTHS => return Mistake::new(at(None), text).hint("write both in days, or both in months"),
        _ => return phrased(&text, &at),
    };
    Mistake::new(at(Some(SUBQUERY)), text).hint(hint)
}

/// Joins as of a time, at their conditions.
fn of_temporal(text: &str, at: &dyn Fn(Option<&str>) -> Pos) -> Option<Mistake> {
    let (mark, hint) = match text {
        ASOF_ON => (ASOF, "put other conditions in WHERE, or in a view of the right side"),
        MATCH => {
            (ASOF, "write MATCH_CONDITION (a.ts >= b.ts), a being the left side; compute times in a view")
        }
        LOOKUP_ON => (LOOKUP, "put other conditions in a view of the right side"),
        _ => return None,
    };
    Some(Mistake::new(at(Some(&argument(mark))), text.to_owned()).hint(hint))
}

/// Conditions on now(), at the first of them.
fn of_now(text: &str, at: &dyn Fn(Option<&str>) -> Pos) -> Option<Mistake> {
    let hint = match text {
        NO_WATERMARK => "add WATERMARK FOR ts AS ts - INTERVAL '1 minute' to a source or table it reads",
        NOT_HERE => "put it in WHERE, or filter one side of the join by it in a subquery",
        _ => return None,
    };
    let places = [NOW, "now", "current_timestamp"].map(|word| at(Some(word)));
    let place = places.into_iter().find(|place| *place != at(None)).unwrap_or_else(|| at(None));
    Some(Mistake::new(place, text.to_owned()).hint(hint))
}

/// Sentences of DataFusion's that have a shorter one here.
fn phrased(text: &str, at: &dyn Fn(Option<&str>) -> Pos) -> Mistake {
    let convert = "convert one side: CAST(x AS TYPE)";
    if let Some(pair) = between(text, "Cannot coerce arithmetic expression ", " to valid types") {
        return Mistake::new(at(None), format!("{pair}: these types do not go together")).hint(convert);
    }
    if let Some(pair) = text.split("for comparison operation ").nth(1) {
        let operator = pair.split(' ').find(|word| COMPARISONS.contains(word));
        return Mistake::new(at(operator), format!("{pair}: these types do not compare")).hint(convert);
    }
    if let Some((expr, of)) =
        between(text, "non-boolean predicate '", "'").zip(text.split("returning ").nth(1))
    {
        let column = expr.rsplit('.').next().unwrap_or(&expr);
        return Mistake::new(at(Some(column)), format!("WHERE needs a condition, and {expr} is {of}"))
            .hint(format!("write a comparison, such as {expr} > 0"));
    }
    if let Some((operation, _)) = text.split_once(" queries have different number of columns") {
        return Mistake::new(
            at(Some(UNION)),
            format!("the sides of {operation} have different numbers of columns"),
        )
        .hint("list the same columns in the same order; NULL AS name stands for one that is missing");
    }
    if let Some((name, _)) =
        text.split_once(" is of type ").filter(|_| text.ends_with("a column cannot have"))
    {
        return Mistake::new(at(Some(name)), text.to_owned())
            .hint("convert it, for example with CAST or date_part('epoch', ...)");
    }
    if text.starts_with("unnest() can only be applied to array") {
        return Mistake::new(at(Some(&argument("unnest"))), "unnest needs an array");
    }
    if let Some((function, rest)) = text.split_once(" needs a TIMESTAMP or TIMESTAMPTZ, and ") {
        let column = rest.split(" is ").next().unwrap_or_default();
        return Mistake::new(at(Some(&windowed(&function.to_lowercase(), column))), text.to_owned())
            .hint("convert it in a view first, for example with to_timestamp_millis(ms)");
    }
    if let Some((value, of)) =
        between(text, "Can't cast value ", " to type ").zip(text.split(" to type ").nth(1))
    {
        return Mistake::new(at(Some(&value)), format!("{value} does not fit {of}"))
            .hint(format!("a DECIMAL may hold it: CAST('{value}' AS DECIMAL(38, 0))"));
    }
    if let Some(mistake) = of_call(text, at).or_else(|| of_jsonb(text, at)).or_else(|| of_aggregate(text, at))
    {
        return mistake;
    }
    if let Some((types, column)) = text
        .strip_prefix("Incompatible inputs for Union: Previous inputs were of type ")
        .and_then(|rest| rest.trim_end_matches('\'').split_once(" on column '"))
    {
        let types = types.replace(", but got incompatible type ", " and ");
        return Mistake::new(
            at(Some(UNION)),
            format!("the sides of UNION differ in column {column}: {types}"),
        )
        .hint("convert one side: CAST(x AS TYPE)");
    }
    if text.starts_with("SELECT DISTINCT ON expressions must match") {
        let message = "the expressions of DISTINCT ON are not the first of ORDER BY";
        return Mistake::new(at(Some(DISTINCT_ON)), message)
            .hint("order by them first: SELECT DISTINCT ON (a) a, b FROM t ORDER BY a, b DESC");
    }
    Mistake::new(at(quoted(text).or_else(|| called(text)).as_deref()), text.to_owned())
}

/// The function that a sentence speaks of.
fn called(text: &str) -> Option<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').map(str::to_lowercase);
    words.into_iter().find(|w| FUNCTIONS.window(w).is_some() || FUNCTIONS.aggregate(w).is_some())
}

/// Sentences about calls, operators and types that are not to be had.
fn of_call(text: &str, at: &dyn Fn(Option<&str>) -> Pos) -> Option<Mistake> {
    if let Some(name) = between(text, "Function '", "' failed to match any signature") {
        let given = between(text, "(DataType: ", "), ").or_else(|| between(text, "(DataType: ", ")"));
        if let (Some(given), "sum" | "avg") = (&given, name.as_str()) {
            let message = format!("{name} needs a number, and this is {given}");
            let hint = format!("convert it: {name}(CAST(x AS BIGINT)), or another type of number");
            return Some(Mistake::new(at(Some(&argument(&name))), message).hint(hint));
        }
        let message =
            format!("{name} does not take {}", given.unwrap_or_else(|| "these arguments".to_owned()));
        return Some(Mistake::new(at(Some(&name)), message).hint("convert the argument: CAST(x AS TYPE)"));
    }
    if let Some((name, why)) = between(text, "Function '", "' user-defined coercion failed with: ")
        .zip(text.split("' user-defined coercion failed with: ").nth(1))
    {
        let why = why.trim_start_matches("Error during planning: ");
        return Some(Mistake::new(at(Some(&name)), why).hint("convert the argument: CAST(x AS TYPE)"));
    }
    let own = |name: &str| name == "to_number" || LAMBDAS.contains(&name);
    if let Some((name, _)) = text.split_once(" needs a").filter(|(name, _)| own(name)) {
        return Some(Mistake::new(at(Some(name)), text.to_owned()));
    }
    if let Some((_, of)) = text.split_once(" cannot be cast to ") {
        return Some(Mistake::new(at(Some(of)), text.to_owned()));
    }
    if let Some((name, why)) = text.split_once(" always fails: ") {
        return Some(Mistake::new(at(Some(name)), format!("{name} always fails: {why}")));
    }
    const CONSTANTS: [&str; 3] =
        ["' is no part of ", "date_trunc does not know '", "there is no time zone called '"];
    if let (true, Some(word)) = (CONSTANTS.iter().any(|told| text.contains(told)), quoted(text)) {
        return Some(Mistake::new(at(Some(&format!("'{word}'"))), text.to_owned()));
    }
    if let Some(name) = between(text, "Function '", "' expects ") {
        let rest = text.split_once("' expects ").map_or("", |(_, rest)| rest);
        return Some(Mistake::new(at(Some(&name)), format!("{name} expects {rest}")));
    }
    if text.starts_with("Aggregate functions are not allowed in the WHERE clause") {
        return Some(
            Mistake::new(at(Some(AGGREGATE)), "an aggregate in WHERE is not known yet").hint("use HAVING"),
        );
    }
    if let Some(name) = text.strip_prefix("Unsupported SQL type ") {
        return Some(Mistake::new(at(Some(name)), format!("there is no type {name}")));
    }
    let operator = if text.starts_with("-> and ->> need") { "->" } else { return None };
    Some(Mistake::new(at(Some(operator)), text.to_owned()).hint("for a STRUCT write (s).field or s['field']"))
}

/// Sentences about JSONB: what is wrong, a colon, and what to do. An operator or a name in quotes is the place.
fn of_jsonb(text: &str, at: &dyn Fn(Option<&str>) -> Pos) -> Option<Mistake> {
    let (message, hint) = text.rsplit_once(": ").filter(|_| text.contains("JSONB"))?;
    let operator = message.split(' ').find(|word| !word.contains(|c: char| c.is_alphanumeric()));
    let place = quoted(message).or_else(|| operator.map(str::to_owned));
    Some(Mistake::new(at(place.as_deref()), message.replace('\'', "")).hint(hint))
}

/// Sentences about arguments that an aggregate does not take.
fn of_aggregate(text: &str, at: &dyn Fn(Option<&str>) -> Pos) -> Option<Mistake> {
    let coerced =
        || between(text, "satisfy a call to '", "' function").zip(between(text, "coercion from ", " to the"));
    let required = || between(text, "Function '", "' requires ").zip(between(text, "(DataType: ", ")"));
    if let Some((name, given)) = coerced().or_else(required) {
        let hint = aggregates::remedy(&name, text).unwrap_or("convert the argument: CAST(x AS TYPE)");
        return Some(Mistake::new(at(Some(&name)), format!("{name} does not take {given}")).hint(hint));
    }
    if let Some((name, counts)) =
        between(text, "The function '", "' expected ").zip(text.split("' expected ").nth(1))
    {
        return Some(Mistake::new(at(Some(&name)), format!("{name} expects {counts}")));
    }
    let name = quoted(text)?;
    let hint = aggregates::remedy(&name, text)?;
    Some(Mistake::new(at(Some(&name)), text.replace('\'', "")).hint(hint))
}

/// Stands for the first argument of a call where a name is looked for.
fn argument(function: &str) -> String {
    format!("{function}(")
}

/// Stands for the time column of a window where a name is looked for.
fn windowed(window: &str, column: &str) -> String {
    format!("{window} over {column}")
}

/// Stands for any aggregate where a name is looked for.
const AGGREGATE: &str = "AGGREGATE";

const COMPARISONS: [&str; 8] = ["=", "<>", "!=", "<", "<=", ">", ">=", "IS"];

/// Stands for what DISTINCT ON takes where a name is looked for.
const DISTINCT_ON: &str = "DISTINCT ON";

/// Stands for the first subquery where a name is looked for.
const SUBQUERY: &str = "SUBQUERY";

/// Stands for the right side of a UNION, INTERSECT or EXCEPT where a name is looked for.
const UNION: &str = "UNION";

fn schema_mistake(
    schema: &SchemaError,
    at: &dyn Fn(Option<&str>) -> Pos,
    is_quoted: &dyn Fn(&str) -> bool,
) -> Mistake {
    match schema {
        SchemaError::FieldNotFound { field, valid_fields } => {
            let known_table =
                field.relation.is_none() || valid_fields.iter().any(|c| c.relation == field.relation);
            if let (Some(relation), false) = (&field.relation, known_table) {
                let tables: Vec<String> = valid_fields
                    .iter()
                    .filter_map(|c| c.relation.as_ref().map(ToString::to_string))
                    .collect();
                let near = did_you_mean(&relation.to_string(), tables.iter().map(String::as_str));
                return Mistake::new(at(Some(&field.name)), format!("nothing in sight is called {relation}"))
                    .hint(near.unwrap_or_else(|| {
                        "name it in FROM; in FROM a, b JOIN c ON ... the condition sees only b and c"
                            .to_owned()
                    }));
            }
            let of = field.relation.as_ref().map(|r| format!(" in {r}")).unwrap_or_default();
            let own =
                valid_fields.iter().filter(|c| field.relation.is_none() || c.relation == field.relation);
            let mut names: Vec<&str> = own.map(|c| c.name.as_str()).collect();
            names.dedup();
            let text = field.relation.is_none() && is_quoted(&field.name);
            let text = text.then(|| format!("write '{}' for text: \" stands around names", field.name));
            let hint = did_you_mean(&field.name, names.iter().copied()).or(text).or_else(|| {
                (!names.is_empty() && names.len() <= 12)
                    .then(|| format!("the columns are {}", names.join(", ")))
            });
            Mistake::new(at(Some(&field.name)), format!("there is no column {}{of}", field.name))
                .maybe_hint(hint)
        }
        SchemaError::AmbiguousReference { field } => Mistake::new(
            at(Some(&field.name)),
            format!("the column {} is ambiguous: more than one has this name", field.name),
        )
        .hint(format!(
            "write the table before it, as in t.{0}, or name one of them otherwise with AS",
            field.name
        )),
        SchemaError::DuplicateQualifiedField { qualifier, name } => {
            Mistake::new(at(Some(name)), format!("{qualifier} has two columns called {name}"))
                .hint("give the tables of FROM different aliases, or name the columns otherwise with AS")
        }
        SchemaError::DuplicateUnqualifiedField { name } => {
            Mistake::new(at(Some(name)), format!("there are two columns called {name}"))
                .hint("name one of them otherwise: expression AS name")
        }
    }
}

/// The error's own sentence, without what wraps it.
fn message(root: &DataFusionError) -> String {
    match root {
        DataFusionError::Plan(m)
        | DataFusionError::NotImplemented(m)
        | DataFusionError::Execution(m)
        | DataFusionError::Configuration(m)
        | DataFusionError::Internal(m) => m.clone(),
        other => other.strip_backtrace(),
    }
}

fn between(text: &str, before: &str, after: &str) -> Option<String> {
    let rest = &text[text.find(before)? + before.len()..];
    Some(rest[..rest.find(after)?].to_owned())
}

/// The first name in quotes, where the query may have it.
fn quoted(text: &str) -> Option<String> {
    between(text, "'", "'").or_else(|| between(text, "\"", "\""))
}

/// Finds what goes by a name: columns, aliases, tables and functions.
struct Find<'a> {
    word: &'a str,
    found: Vec<Span>,
}

impl Find<'_> {
    fn see(&mut self, value: &str, span: Span) {
        if value.eq_ignore_ascii_case(self.word) && span.start.line > 0 {
            self.found.push(span);
        }
    }
}

impl Visitor for Find<'_> {
    type Break = ();

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        if let (Some(Distinct::On(exprs)), DISTINCT_ON) = (&select.distinct, self.word) {
            self.found.extend(exprs.first().map(Spanned::span));
        }
        for item in &select.projection {
            match item {
                SelectItem::ExprWithAlias { alias, .. } => self.see(&alias.value, alias.span),
                SelectItem::Wildcard(options) | SelectItem::QualifiedWildcard(_, options) => {
                    if let Some(ExcludeSelectItem::Multiple(names)) = &options.opt_exclude {
                        names.iter().for_each(|name| {
                            self.see(name.to_string().trim_matches('"'), name.span());
                        });
                    }
                }
                _ => {}
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        let alias = match factor {
            TableFactor::Table { name, alias, .. } => {
                self.see(&name.to_string(), name.span());
                alias
            }
            TableFactor::Derived { lateral, alias, .. } => {
                if *lateral && self.word == SUBQUERY {
                    self.found.push(factor.span());
                }
                alias
            }
            _ => return ControlFlow::Continue(()),
        };
        if let Some(alias) = alias {
            self.see(&alias.name.value, alias.name.span);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        if let (SetExpr::SetOperation { right, .. }, UNION) = (query.body.as_ref(), self.word) {
            self.found.push(right.span());
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        match expr {
            Expr::Identifier(name) => {
                self.see(&name.value, name.span);
                if name.quote_style.is_some() {
                    self.see(&name.to_string(), name.span);
                }
            }
            Expr::CompoundIdentifier(names) => {
                for name in names {
                    self.see(&name.value, name.span);
                }
            }
            Expr::Value(value) => self.see(&value.to_string(), value.span),
            Expr::BinaryOp { op, .. } => self.see(&op.to_string(), expr.span()),
            Expr::Like { .. } => self.see("like", expr.span()),
            Expr::ILike { .. } => self.see("ilike", expr.span()),
            Expr::SimilarTo { .. } => self.see("similar_to", expr.span()),
            Expr::Cast { data_type, .. } => self.see(&data_type.to_string(), expr.span()),
            Expr::Subquery(_) | Expr::InSubquery { .. } | Expr::Exists { .. } if self.word == SUBQUERY => {
                self.found.push(expr.span());
            }
            Expr::Function(f) => {
                let name = f.name.to_string().to_lowercase();
                // An error names a function by its first name, the text maybe by another.
                let aggregate = || FUNCTIONS.aggregate(&name).map(|f| f.name().to_owned());
                let first = FUNCTIONS.scalar(&name).map(|f| f.name().to_owned()).or_else(aggregate);
                self.see(first.as_deref().unwrap_or(&name), f.name.span());
                self.see(&name, f.name.span());
                if self.word == AGGREGATE && FUNCTIONS.aggregate(&name).is_some() {
                    self.found.insert(0, f.name.span());
                }
                if let FunctionArguments::List(list) = &f.args
                    && let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(first))) = list.args.first()
                {
                    self.see(&argument(&name), first.span());
                    // A window stands in the text as the column it is over.
                    let window = name.split('_').nth(1).filter(|_| name.starts_with("herald_"));
                    let column = crate::sql::syntax::names::natural_name(first);
                    if let (Some(window), Some(column)) = (window, column) {
                        self.see(&windowed(window, &column.value), first.span());
                    }
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}
