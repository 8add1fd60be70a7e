//! Translation of planning errors to mistakes: plain sentences at a place, with the nearest name.
//!
//! DataFusion's errors use its own terms and types, and only some have a span. Here the sentence is
//! translated to the terms of this SQL dialect, and a missing span is recovered by a search for the
//! name in the query's syntax tree.

use std::ops::ControlFlow;

use arrow::datatypes::Schema;
use datafusion_common::{DataFusionError, SchemaError};
use datafusion_sql::sqlparser::ast::{
    BinaryOperator, Distinct, ExcludeSelectItem, Expr, FunctionArg, FunctionArgExpr, FunctionArguments,
    JoinConstraint, JoinOperator, Query, Select, SelectItem, SetExpr, Spanned, TableFactor, Visitor,
};
use datafusion_sql::sqlparser::tokenizer::Span;

use super::dialects;
use super::did_you_mean::did_you_mean;
use super::site::{Site, place};
use super::text::{clean_message, first_quoted, text_between, text_constant};
use crate::functions::planning::marks::{ASOF, LOOKUP, NOW};
use crate::functions::{FUNCTIONS, aggregates};
use crate::mistake::unsupported::{Shown, Unsupported};
use crate::mistake::{Mistake, Pos};
use crate::sql::catalog::Catalog;
use crate::sql::parse::query::lambda::FUNCTIONS as LAMBDAS;
use crate::sql::parse::walk::Walk;

/// Translates an error in planning `query`.
pub(crate) fn explain_query(
    error: &DataFusionError,
    catalog: &Catalog,
    query: &Query,
    site: Site,
) -> Mistake {
    let find = |word: &str| {
        let mut find = NameSearch { word, found: Vec::new() };
        let _ = query.walk(&mut find);
        find.found
    };
    explain(error, site, &find, &|name| {
        catalog.later_hint(name).or_else(|| did_you_mean(name, catalog.names()))
    })
}

/// Translates an error in planning an expression over the columns of `schema`.
pub(crate) fn explain_expr(error: &DataFusionError, expr: &Expr, schema: &Schema, site: Site) -> Mistake {
    let find = |word: &str| {
        let mut find = NameSearch { word, found: Vec::new() };
        let _ = expr.walk(&mut find);
        find.found
    };
    let span = expr.span();
    let site = Site { pos: place(span, site.file, site.pos), ..site };
    explain(error, site, &find, &|name| did_you_mean(name, schema.fields().iter().map(|f| f.name().as_str())))
}

/// Position at which the SELECT list of `query` names a column `name` for the second time.
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
    let spans: Vec<Span> = spans.filter(|span| span.start.line > 0).collect();
    // A `*` alone stands for both.
    let second = spans.get(1).or(spans.first());
    second.map(|span| place(*span, site.file, site.pos))
}

/// Function that finds the spans of a name, or of one of the placeholders below.
type SpanFinder<'a> = dyn Fn(&str) -> Vec<Span> + 'a;

/// Translates an error; `find` locates names in the text, `near_table` suggests a relation for an unknown
/// one.
fn explain(
    error: &DataFusionError,
    site: Site,
    find: &SpanFinder<'_>,
    near_table: &dyn Fn(&str) -> Option<String>,
) -> Mistake {
    // The first of several errors.
    let error = error.iter().next().unwrap_or(error);
    if let DataFusionError::External(other) = error.find_root()
        && let Some(mistake) = other.downcast_ref::<Mistake>()
    {
        return mistake.clone();
    }
    let diagnosed = error.diagnostic().and_then(|d| d.span.or_else(|| d.notes.iter().find_map(|n| n.span)));
    // Without a span of its own, the error is placed at the name it is about, else at the statement. With one, an
    // operator's error is placed at the operation around the span.
    let at = |word: Option<&str>| {
        let spans = word.map(find).unwrap_or_default();
        let Some(own) = diagnosed else {
            return spans.first().map_or(site.pos, |span| place(*span, site.file, site.pos));
        };
        let own = Pos { file: site.file, line: own.start.line, column: own.start.column };
        let around = |span: &&Span| {
            let [start, end] =
                [span.start, span.end].map(|at| Pos { file: site.file, line: at.line, column: at.column });
            start <= own && own <= end
        };
        spans.iter().rfind(around).map_or(own, |span| place(*span, site.file, site.pos))
    };
    let root = error.find_root();
    if let DataFusionError::External(other) = root
        && let Some(form) = other.downcast_ref::<Unsupported>()
    {
        return of_unsupported(*form, &at);
    }
    if let DataFusionError::SchemaError(schema, _) = root {
        return schema_mistake(schema, &at, &|name| !find(&format!("\"{name}\"")).is_empty());
    }
    let text = clean_message(&raw_message(root));
    if let Some(name) = text.strip_prefix("there is no source, table or view called ") {
        return Mistake::new(at(Some(name)), text.clone()).maybe_hint(near_table(name));
    }
    if let Some(name) = text_between(&text, "Invalid function '", "'") {
        let names: Vec<String> =
            FUNCTIONS.scalar_names().into_iter().chain(FUNCTIONS.aggregate_names()).collect();
        let remedy = FUNCTIONS.remedy(&name).map(str::to_owned).or_else(|| dialects::function_hint(&name));
        let hint = remedy.or_else(|| did_you_mean(&name, names.iter().map(String::as_str)));
        return Mistake::new(at(Some(&name)), format!("there is no function called {name}")).maybe_hint(hint);
    }
    if let Some(name) = text_between(&text, "column \"", "\" must appear in the GROUP BY") {
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
    rephrase(&text, &at, diagnosed.is_some())
}

/// Gives an unsupported form its place and hint.
fn of_unsupported(form: Unsupported, at: &dyn Fn(Option<&str>) -> Pos) -> Mistake {
    let place = match form.shown_at() {
        Shown::Subquery => at(Some(SUBQUERY)),
        Shown::Statement => at(None),
        Shown::Asof => at(Some(&argument_of(ASOF))),
        Shown::Lookup => at(Some(&argument_of(LOOKUP))),
        Shown::Now => first_place([NOW, "now", "current_timestamp"], at),
    };
    Mistake::new(place, form.to_string()).hint(form.hint())
}

/// Place of the first of `words` that is found in the text, else that of the error.
fn first_place<'w>(words: impl IntoIterator<Item = &'w str>, at: &dyn Fn(Option<&str>) -> Pos) -> Pos {
    let otherwise = at(None);
    words.into_iter().map(|word| at(Some(word))).find(|place| *place != otherwise).unwrap_or(otherwise)
}

/// Rephrases DataFusion's sentences; an unknown one is kept. `placed` is true if the error has a span.
fn rephrase(text: &str, at: &dyn Fn(Option<&str>) -> Pos, placed: bool) -> Mistake {
    if let Some(mistake) = of_operands(text, at, placed) {
        return mistake;
    }
    if let Some((expr, of)) =
        text_between(text, "non-boolean predicate '", "'").zip(text.split("returning ").nth(1))
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
        return Mistake::new(at(Some(&argument_of("unnest"))), "unnest needs an array");
    }
    if let Some((function, rest)) = text.split_once(" needs a TIMESTAMP or TIMESTAMPTZ, and ") {
        let column = rest.split(" is ").next().unwrap_or_default();
        return Mistake::new(at(Some(&window_time(&function.to_lowercase(), column))), text.to_owned())
            .hint("convert it in a view first, for example with to_timestamp_millis(ms)");
    }
    if let Some((value, of)) =
        text_between(text, "Can't cast value ", " to type ").zip(text.split(" to type ").nth(1))
    {
        return Mistake::new(at(Some(&value)), format!("{value} does not fit {of}"))
            .hint(format!("a DECIMAL may hold it: CAST('{value}' AS DECIMAL(38, 0))"));
    }
    if let Some(mistake) = of_call(text, at).or_else(|| of_jsonb(text, at)).or_else(|| of_aggregate(text, at))
    {
        return mistake;
    }
    if text.starts_with("SELECT DISTINCT ON expressions must match") {
        let message = "the expressions of DISTINCT ON are not the first of ORDER BY";
        return Mistake::new(at(Some(DISTINCT_ON)), message)
            .hint("order by them first: SELECT DISTINCT ON (a) a, b FROM t ORDER BY a, b DESC");
    }
    let quoted = first_quoted(text);
    let constant = quoted.as_deref().map(text_constant);
    let words = [constant, quoted, named_function(text)];
    Mistake::new(first_place(words.iter().flatten().map(String::as_str), at), text.to_owned())
}

/// Errors about operands, and columns of a UNION, of types that do not go together.
fn of_operands(text: &str, at: &dyn Fn(Option<&str>) -> Pos, placed: bool) -> Option<Mistake> {
    let convert = "convert one side: CAST(x AS TYPE)";
    if let Some(pair) = text_between(text, "Cannot coerce arithmetic expression ", " to valid types") {
        return Some(Mistake::new(at(None), format!("{pair}: these types do not go together")).hint(convert));
    }
    if let Some(pair) = text.split("for comparison operation ").nth(1) {
        let operator = pair.split(' ').find(|word| OPERATORS.contains(word));
        let what = match operator.is_some_and(|word| ARITHMETIC.contains(&word)) {
            true => "these types do not go together",
            false => "these types do not compare",
        };
        // INTERSECT and EXCEPT compare columns without an operator.
        let place = if placed { at(operator) } else { first_place(operator.into_iter().chain([UNION]), at) };
        return Some(Mistake::new(place, format!("{pair}: {what}")).hint(convert));
    }
    if let Some(name) = text.strip_prefix("Unsupported binary operator: ") {
        let known = [BinaryOperator::PGOverlap, BinaryOperator::PGStartsWith, BinaryOperator::PGExp];
        let operator = known.iter().find(|op| format!("{op:?}") == name).map(ToString::to_string);
        let operator = operator.unwrap_or_else(|| name.to_owned());
        let message = format!("{operator} does not take operands of these types");
        return Some(Mistake::new(at(Some(name)), message));
    }
    if let Some((types, column)) = text
        .strip_prefix("Incompatible inputs for Union: Previous inputs were of type ")
        .and_then(|rest| rest.trim_end_matches('\'').split_once(" on column '"))
    {
        let types = types.replace(", but got incompatible type ", " and ");
        let message = format!("the sides of UNION differ in column {column}: {types}");
        return Some(Mistake::new(at(Some(UNION)), message).hint(convert));
    }
    None
}

/// First window or aggregate function that a sentence names.
fn named_function(text: &str) -> Option<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').map(str::to_lowercase);
    words.into_iter().find(|w| FUNCTIONS.window(w).is_some() || FUNCTIONS.aggregate(w).is_some())
}

/// Errors about calls, operators and types that do not exist.
fn of_call(text: &str, at: &dyn Fn(Option<&str>) -> Pos) -> Option<Mistake> {
    if let Some(name) = text_between(text, "Function '", "' failed to match any signature") {
        let given =
            text_between(text, "(DataType: ", "), ").or_else(|| text_between(text, "(DataType: ", ")"));
        if let (Some(given), "sum" | "avg") = (&given, name.as_str()) {
            let message = format!("{name} needs a number, and this is {given}");
            let hint = format!("convert it: {name}(CAST(x AS BIGINT)), or another type of number");
            return Some(Mistake::new(at(Some(&argument_of(&name))), message).hint(hint));
        }
        let message =
            format!("{name} does not take {}", given.unwrap_or_else(|| "these arguments".to_owned()));
        return Some(Mistake::new(at(Some(&name)), message).hint("convert the argument: CAST(x AS TYPE)"));
    }
    if let Some((name, why)) = text_between(text, "Function '", "' user-defined coercion failed with: ")
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
        let constant = first_quoted(why).as_deref().map(text_constant);
        let place = first_place([name].into_iter().chain(constant.as_deref()), at);
        return Some(Mistake::new(place, format!("{name} always fails: {why}")));
    }
    const CONSTANTS: [&str; 3] =
        ["' is no part of ", "date_trunc does not know '", "there is no time zone called '"];
    if let (true, Some(word)) = (CONSTANTS.iter().any(|known| text.contains(known)), first_quoted(text)) {
        return Some(Mistake::new(at(Some(&format!("'{word}'"))), text.to_owned()));
    }
    if let Some(name) = text_between(text, "Function '", "' expects ") {
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

/// Errors about JSONB: message, colon and hint in one sentence. Its operator or quoted name gives the place.
fn of_jsonb(text: &str, at: &dyn Fn(Option<&str>) -> Pos) -> Option<Mistake> {
    let (message, hint) = text.rsplit_once(": ").filter(|_| text.contains("JSONB"))?;
    let operator = message.split(' ').find(|word| !word.contains(|c: char| c.is_alphanumeric()));
    let place = first_quoted(message).or_else(|| operator.map(str::to_owned));
    Some(Mistake::new(at(place.as_deref()), message.replace('\'', "")).hint(hint))
}

/// Errors about arguments that an aggregate does not take.
fn of_aggregate(text: &str, at: &dyn Fn(Option<&str>) -> Pos) -> Option<Mistake> {
    let coerced = || {
        text_between(text, "satisfy a call to '", "' function").zip(text_between(
            text,
            "coercion from ",
            " to the",
        ))
    };
    let required =
        || text_between(text, "Function '", "' requires ").zip(text_between(text, "(DataType: ", ")"));
    if let Some((name, given)) = coerced().or_else(required) {
        let hint = aggregates::remedy(&name, text).unwrap_or("convert the argument: CAST(x AS TYPE)");
        return Some(Mistake::new(at(Some(&name)), format!("{name} does not take {given}")).hint(hint));
    }
    if let Some((name, counts)) =
        text_between(text, "The function '", "' expected ").zip(text.split("' expected ").nth(1))
    {
        return Some(Mistake::new(at(Some(&name)), format!("{name} expects {counts}")));
    }
    let name = first_quoted(text)?;
    let hint = aggregates::remedy(&name, text)?;
    Some(Mistake::new(at(Some(&name)), text.replace('\'', "")).hint(hint))
}

/// Placeholder for the first argument of a call, in a search for a name.
fn argument_of(function: &str) -> String {
    format!("{function}(")
}

/// Placeholder for a name that stands without a table before it, in a search for a name.
fn bare_name(name: &str) -> String {
    format!("{name} alone")
}

/// Placeholder for the time column of a window, in a search for a name.
fn window_time(window: &str, column: &str) -> String {
    format!("{window} over {column}")
}

/// Placeholder for any aggregate, in a search for a name.
const AGGREGATE: &str = "AGGREGATE";

/// Operators of which types that do not go together are told.
const OPERATORS: [&str; 16] =
    ["=", "<>", "!=", "<", "<=", ">", ">=", "IS", "IN", "BETWEEN", "CASE", "+", "-", "*", "/", "%"];

/// Those of arithmetic.
const ARITHMETIC: [&str; 5] = ["+", "-", "*", "/", "%"];

/// Placeholder for the first expression of DISTINCT ON, in a search for a name.
const DISTINCT_ON: &str = "DISTINCT ON";

/// Placeholder for the first subquery, in a search for a name.
const SUBQUERY: &str = "SUBQUERY";

/// Placeholder for the right side of a UNION, INTERSECT or EXCEPT, in a search for a name.
const UNION: &str = "UNION";

/// Errors about names of columns: unknown, ambiguous or repeated.
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
            first_place([bare_name(&field.name).as_str(), field.name.as_str()], at),
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

/// Sentence of an error, without the prefix of its kind.
fn raw_message(root: &DataFusionError) -> String {
    match root {
        DataFusionError::Plan(m)
        | DataFusionError::NotImplemented(m)
        | DataFusionError::Execution(m)
        | DataFusionError::Configuration(m)
        | DataFusionError::Internal(m) => m.clone(),
        other => other.strip_backtrace(),
    }
}

/// Visitor that finds the spans of a name: of columns, aliases, tables and functions.
struct NameSearch<'a> {
    word: &'a str,
    found: Vec<Span>,
}

impl NameSearch<'_> {
    fn record_match(&mut self, value: &str, span: Span) {
        if value.eq_ignore_ascii_case(self.word) && span.start.line > 0 {
            self.found.push(span);
        }
    }
}

impl Visitor for NameSearch<'_> {
    type Break = ();

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        if let (Some(Distinct::On(exprs)), DISTINCT_ON) = (&select.distinct, self.word) {
            self.found.extend(exprs.first().map(Spanned::span));
        }
        for item in &select.projection {
            match item {
                SelectItem::ExprWithAlias { alias, .. } => self.record_match(&alias.value, alias.span),
                SelectItem::Wildcard(options) | SelectItem::QualifiedWildcard(_, options) => {
                    if let Some(ExcludeSelectItem::Multiple(names)) = &options.opt_exclude {
                        names.iter().for_each(|name| {
                            self.record_match(name.to_string().trim_matches('"'), name.span());
                        });
                    }
                }
                _ => {}
            }
        }
        for join in select.from.iter().flat_map(|from| &from.joins) {
            let (JoinOperator::Join(on)
            | JoinOperator::Inner(on)
            | JoinOperator::Left(on)
            | JoinOperator::LeftOuter(on)
            | JoinOperator::Right(on)
            | JoinOperator::RightOuter(on)
            | JoinOperator::FullOuter(on)) = &join.join_operator
            else {
                continue;
            };
            if let JoinConstraint::Using(names) = on {
                names.iter().for_each(|name| {
                    self.record_match(&bare_name(name.to_string().trim_matches('"')), name.span());
                });
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        let alias = match factor {
            TableFactor::Table { name, alias, .. } => {
                self.record_match(&name.to_string(), name.span());
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
            self.record_match(&alias.name.value, alias.name.span);
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
                self.record_match(&name.value, name.span);
                self.record_match(&bare_name(&name.value), name.span);
                if name.quote_style.is_some() {
                    self.record_match(&name.to_string(), name.span);
                }
            }
            Expr::CompoundIdentifier(names) => {
                for name in names {
                    self.record_match(&name.value, name.span);
                }
            }
            Expr::Value(value) => self.record_match(&value.to_string(), value.span),
            Expr::TypedString(text) => self.record_match(&text.value.to_string(), text.value.span),
            Expr::BinaryOp { op, .. } => {
                self.record_match(&op.to_string(), expr.span());
                self.record_match(&format!("{op:?}"), expr.span());
            }
            Expr::InList { .. } => self.record_match("in", expr.span()),
            Expr::InSubquery { .. } if self.word != SUBQUERY => self.record_match("in", expr.span()),
            Expr::Between { .. } => self.record_match("between", expr.span()),
            Expr::Case { .. } => self.record_match("case", expr.span()),
            Expr::Like { .. } => self.record_match("like", expr.span()),
            Expr::ILike { .. } => self.record_match("ilike", expr.span()),
            Expr::SimilarTo { .. } => self.record_match("similar_to", expr.span()),
            Expr::Cast { data_type, .. } => self.record_match(&data_type.to_string(), expr.span()),
            Expr::Subquery(_) | Expr::InSubquery { .. } | Expr::Exists { .. } if self.word == SUBQUERY => {
                self.found.push(expr.span());
            }
            Expr::Function(f) => {
                let name = f.name.to_string().to_lowercase();
                // An error names a function by its first name, the text possibly by an alias.
                let aggregate = || FUNCTIONS.aggregate(&name).map(|f| f.name().to_owned());
                let first = FUNCTIONS.scalar(&name).map(|f| f.name().to_owned()).or_else(aggregate);
                self.record_match(first.as_deref().unwrap_or(&name), f.name.span());
                self.record_match(&name, f.name.span());
                if self.word == AGGREGATE && FUNCTIONS.aggregate(&name).is_some() {
                    self.found.insert(0, f.name.span());
                }
                if let FunctionArguments::List(list) = &f.args
                    && let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(first))) = list.args.first()
                {
                    self.record_match(&argument_of(&name), first.span());
                    // The window functions of TUMBLE, HOP and SESSION have no spans; their time column has
                    // one.
                    let window = name.split('_').nth(1).filter(|_| name.starts_with("herald_"));
                    let column = crate::sql::syntax::names::natural_name(first);
                    if let (Some(window), Some(column)) = (window, column) {
                        self.record_match(&window_time(window, &column.value), first.span());
                    }
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}
