//! Translation of planning errors to mistakes: plain sentences at a place, with the nearest name.
//!
//! DataFusion's errors use its own terms and types, and only some have a span. Here the sentence is
//! translated to the terms of this SQL dialect, and a missing span is recovered by a search for the
//! name in the query's syntax tree.

use arrow::datatypes::Schema;
use datafusion_common::{Column, DataFusionError, SchemaError};
use datafusion_sql::sqlparser::ast::{BinaryOperator, Expr, Query, SelectItem, SetExpr, Spanned};
use datafusion_sql::sqlparser::tokenizer::Span;

use super::dialects;
use super::did_you_mean::did_you_mean;
use super::name_search::{
    AGGREGATE, DISTINCT_ON, ErrorPlaces, SUBQUERY, UNION, argument_of, bare_name, group_position,
    order_position, window_time,
};
use super::site::Site;
use super::text::{clean_message, first_quoted, text_between, text_constant};
use crate::functions::planning::marks::{ASOF, LOOKUP, NOW};
use crate::functions::{FUNCTIONS, aggregates};
use crate::mistake::unsupported::{Shown, Unsupported};
use crate::mistake::{Mistake, Pos};
use crate::sql::catalog::Catalog;
use crate::sql::parse::query::lambda::FUNCTIONS as LAMBDAS;
use crate::sql::parse::statement::types;
use crate::sql::parse::walk::Walk;
use crate::sql::syntax::names::natural_name;

/// Translates an error in planning `query`.
pub(crate) fn explain_query(
    error: &DataFusionError,
    catalog: &Catalog,
    query: &Query,
    site: Site,
) -> Mistake {
    explain(error, query, site, &|name| catalog.unknown_hint(name))
}

/// Translates an error in planning an expression over the columns of `schema`.
pub(crate) fn explain_expr(error: &DataFusionError, expr: &Expr, schema: &Schema, site: Site) -> Mistake {
    let site = Site { pos: site.place(expr.span()), ..site };
    explain(error, expr, site, &|name| near_column(schema, name))
}

/// Hint at the column of `schema` whose name is nearest to `name`.
fn near_column(schema: &Schema, name: &str) -> Option<String> {
    did_you_mean(name, schema.fields().iter().map(|field| field.name().as_str()))
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
    let spans = select.projection.iter().filter_map(|item| naming_span(item, name));
    let spans: Vec<Span> = spans.filter(|span| span.start.line > 0).collect();
    // A `*` alone stands for both.
    let second = spans.get(1).or(spans.first())?;
    Some(site.place(*second))
}

/// Span at which an item of a SELECT list may name a column `name`; a wildcard may name any.
fn naming_span(item: &SelectItem, name: &str) -> Option<Span> {
    match item {
        SelectItem::ExprWithAlias { alias, .. } => {
            alias.value.eq_ignore_ascii_case(name).then_some(alias.span)
        }
        SelectItem::UnnamedExpr(expr) => {
            let own = natural_name(expr)?;
            own.value.eq_ignore_ascii_case(name).then_some(expr.span())
        }
        wildcard => Some(wildcard.span()),
    }
}

/// Translates an error in planning `tree`; `near_table` suggests a relation for an unknown one.
fn explain(
    error: &DataFusionError,
    tree: &dyn Walk,
    site: Site,
    near_table: &dyn Fn(&str) -> Option<String>,
) -> Mistake {
    // The first of several errors.
    let error = error.iter().next().unwrap_or(error);
    let root = error.find_root();
    if let DataFusionError::External(other) = root
        && let Some(mistake) = other.downcast_ref::<Mistake>()
    {
        return mistake.clone();
    }
    let places = ErrorPlaces::new(error, tree, site);
    if let DataFusionError::External(other) = root
        && let Some(form) = other.downcast_ref::<Unsupported>()
    {
        return of_unsupported(*form, &places);
    }
    if let DataFusionError::SchemaError(schema, _) = root {
        return schema_mistake(schema, &places);
    }
    let text = clean_message(&raw_message(root));
    if let Some(name) = text.strip_prefix("there is no source, table or view called ") {
        return Mistake::new(places.of(name), text.clone()).maybe_hint(near_table(name));
    }
    if let Some(name) = text_between(&text, "Invalid function '", "'") {
        return Mistake::new(places.of(&name), format!("there is no function called {name}"))
            .maybe_hint(function_hint(&name));
    }
    if let Some(name) = text_between(&text, "column \"", "\" must appear in the GROUP BY") {
        let column = name.rsplit('.').next().unwrap_or(&name);
        let message = format!("{name} is neither in GROUP BY nor inside an aggregate");
        return Mistake::new(places.of(column), message)
            .hint(format!("add {name} to GROUP BY, or write max({name})"));
    }
    if let Some(of) = text.strip_prefix("Cannot run range queries on datatype: ") {
        let message = format!("a window function ORDER BY a {of} is not supported");
        return Mistake::new(places.of_statement(), message).hint("order by extract(epoch FROM x)");
    }
    rephrase(&text, &places)
}

/// Hint for a call of an unknown function.
fn function_hint(name: &str) -> Option<String> {
    if let Some(remedy) = FUNCTIONS.remedy(name) {
        return Some(remedy.to_owned());
    }
    if let Some(hint) = dialects::function_hint(name) {
        return Some(hint);
    }
    let names = [FUNCTIONS.scalar_names(), FUNCTIONS.aggregate_names()].concat();
    did_you_mean(name, names.iter().map(String::as_str))
}

/// Gives an unsupported form its place and hint.
fn of_unsupported(form: Unsupported, places: &ErrorPlaces<'_>) -> Mistake {
    let place = match form.shown_at() {
        Shown::Subquery => places.of(SUBQUERY),
        Shown::Statement => places.of_error(),
        Shown::Asof => places.of(&argument_of(ASOF)),
        Shown::Lookup => places.of(&argument_of(LOOKUP)),
        Shown::Now => places.of_first([NOW, "now", "current_timestamp"]),
    };
    Mistake::new(place, form.to_string()).hint(form.hint())
}

/// Rephrases DataFusion's sentences; an unknown one is kept.
fn rephrase(text: &str, places: &ErrorPlaces<'_>) -> Mistake {
    if let Some(mistake) = of_operands(text, places) {
        return mistake;
    }
    if let Some((expr, of)) =
        text_between(text, "non-boolean predicate '", "'").zip(text.split("returning ").nth(1))
    {
        let column = expr.rsplit('.').next().unwrap_or(&expr);
        return Mistake::new(places.of(column), format!("WHERE needs a condition, and {expr} is {of}"))
            .hint(format!("write a comparison, such as {expr} > 0"));
    }
    if let Some((operation, _)) = text.split_once(" queries have different number of columns") {
        return Mistake::new(
            places.of(UNION),
            format!("the sides of {operation} have different numbers of columns"),
        )
        .hint("list the same columns in the same order; NULL AS name stands for one that is missing");
    }
    if let Some((name, _)) = text.split_once(" is of type ")
        && text.ends_with("a column cannot have")
    {
        return Mistake::new(places.of(name), text.to_owned())
            .hint("convert it, for example with CAST or date_part('epoch', ...)");
    }
    if text.starts_with("unnest() can only be applied to array") {
        return Mistake::new(places.of(&argument_of("unnest")), "unnest needs an array");
    }
    if let Some((function, rest)) = text.split_once(" needs a TIMESTAMP or TIMESTAMPTZ, and ") {
        let column = rest.split(" is ").next().unwrap_or_default();
        return Mistake::new(places.of(&window_time(&function.to_lowercase(), column)), text.to_owned())
            .hint("convert it in a view first, for example with to_timestamp_millis(ms)");
    }
    if let Some((value, of)) =
        text_between(text, "Can't cast value ", " to type ").zip(text.split(" to type ").nth(1))
    {
        return Mistake::new(places.of(&value), format!("{value} does not fit {of}"))
            .hint(format!("a DECIMAL may hold it: CAST('{value}' AS DECIMAL(38, 0))"));
    }
    for translate in [of_position, of_call, of_jsonb, of_aggregate] {
        if let Some(mistake) = translate(text, places) {
            return mistake;
        }
    }
    if text.starts_with("SELECT DISTINCT ON expressions must match") {
        let message = "the expressions of DISTINCT ON are not the first of ORDER BY";
        return Mistake::new(places.of(DISTINCT_ON), message)
            .hint("order by them first: SELECT DISTINCT ON (a) a, b FROM t ORDER BY a, b DESC");
    }
    let quoted = first_quoted(text);
    let constant = quoted.as_deref().map(text_constant);
    let words = [constant, quoted, named_function(text)];
    Mistake::new(places.of_first(words.iter().flatten().map(String::as_str)), text.to_owned())
}

/// Errors about a number in GROUP BY or ORDER BY that is no position in the SELECT list.
fn of_position(text: &str, places: &ErrorPlaces<'_>) -> Option<Mistake> {
    let hint = "write the expression, or its place in the SELECT list, from 1";
    if text.starts_with("Order by index starts at 1") {
        let message = "ORDER BY 0: the SELECT list begins with column 1";
        return Some(Mistake::new(places.of(&order_position("0")), message).hint(hint));
    }
    let (clause, position, columns, place) =
        match text_between(text, "Cannot find column with position ", " in SELECT clause") {
            Some(position) => {
                let (_, columns) = text.rsplit_once(" to ")?;
                let place = places.of(&group_position(&position));
                ("GROUP BY", position, columns, place)
            }
            None => {
                let told = text.strip_prefix("Order by column out of bounds, specified: ")?;
                let (position, columns) = told.split_once(", max: ")?;
                ("ORDER BY", position.to_owned(), columns, places.of(&order_position(position)))
            }
        };
    let plural = if columns == "1" { "" } else { "s" };
    let message = format!("{clause} {position}: the SELECT list has {columns} column{plural}");
    Some(Mistake::new(place, message).hint(hint))
}

/// Operators of which types that do not go together are told.
const OPERATORS: [&str; 16] =
    ["=", "<>", "!=", "<", "<=", ">", ">=", "IS", "IN", "BETWEEN", "CASE", "+", "-", "*", "/", "%"];

/// Those of arithmetic.
const ARITHMETIC: [&str; 5] = ["+", "-", "*", "/", "%"];

/// Errors about operands, and columns of a UNION, of types that do not go together.
fn of_operands(text: &str, places: &ErrorPlaces<'_>) -> Option<Mistake> {
    let convert = "convert one side: CAST(x AS TYPE)";
    if let Some(pair) = text_between(text, "Cannot coerce arithmetic expression ", " to valid types") {
        let message = format!("{pair}: these types do not go together");
        return Some(Mistake::new(places.of_error(), message).hint(convert));
    }
    if let Some(pair) = text.split("for comparison operation ").nth(1) {
        let operator = pair.split(' ').find(|word| OPERATORS.contains(word));
        let what = match operator {
            Some(word) if ARITHMETIC.contains(&word) => "these types do not go together",
            _ => "these types do not compare",
        };
        // INTERSECT and EXCEPT compare columns without an operator.
        let otherwise = if places.is_given() { None } else { Some(UNION) };
        let place = places.of_first(operator.into_iter().chain(otherwise));
        return Some(Mistake::new(place, format!("{pair}: {what}")).hint(convert));
    }
    if let Some(name) = text.strip_prefix("Unsupported binary operator: ") {
        let known = [BinaryOperator::PGOverlap, BinaryOperator::PGStartsWith, BinaryOperator::PGExp];
        let operator = match known.iter().find(|op| format!("{op:?}") == name) {
            Some(operator) => operator.to_string(),
            None => name.to_owned(),
        };
        let message = format!("{operator} does not take operands of these types");
        return Some(Mistake::new(places.of(name), message));
    }
    if let Some(rest) = text.strip_prefix("Incompatible inputs for Union: Previous inputs were of type ")
        && let Some((types, column)) = rest.trim_end_matches('\'').split_once(" on column '")
    {
        let types = types.replace(", but got incompatible type ", " and ");
        let message = format!("the sides of UNION differ in column {column}: {types}");
        return Some(Mistake::new(places.of(UNION), message).hint(convert));
    }
    None
}

/// First window or aggregate function that a sentence names.
fn named_function(text: &str) -> Option<String> {
    let mut words = text.split(ends_name).map(str::to_lowercase);
    words.find(|w| FUNCTIONS.window(w).is_some() || FUNCTIONS.aggregate(w).is_some())
}

/// Tells whether a character cannot stand in a plain name.
fn ends_name(c: char) -> bool {
    !c.is_ascii_alphanumeric() && c != '_'
}

/// Errors about calls, operators and types that do not exist.
fn of_call(text: &str, places: &ErrorPlaces<'_>) -> Option<Mistake> {
    if let Some(name) = text_between(text, "Function '", "' failed to match any signature") {
        let given = text_between(text, "(DataType: ", "), ").or(text_between(text, "(DataType: ", ")"));
        if let (Some(given), "sum" | "avg") = (&given, name.as_str()) {
            let message = format!("{name} needs a number, and this is {given}");
            let hint = format!("convert it: {name}(CAST(x AS BIGINT)), or another type of number");
            return Some(Mistake::new(places.of(&argument_of(&name)), message).hint(hint));
        }
        let message = format!("{name} does not take {}", given.as_deref().unwrap_or("these arguments"));
        return Some(Mistake::new(places.of(&name), message).hint("convert the argument: CAST(x AS TYPE)"));
    }
    if let Some((name, why)) = text_between(text, "Function '", "' user-defined coercion failed with: ")
        .zip(text.split("' user-defined coercion failed with: ").nth(1))
    {
        let why = why.trim_start_matches("Error during planning: ");
        return Some(Mistake::new(places.of(&name), why).hint("convert the argument: CAST(x AS TYPE)"));
    }
    if let Some((name, _)) = text.split_once(" needs a")
        && (name == "to_number" || LAMBDAS.contains(&name))
    {
        return Some(Mistake::new(places.of(name), text.to_owned()));
    }
    if let Some((_, of)) = text.split_once(" cannot be cast to ") {
        return Some(Mistake::new(places.of(of), text.to_owned()));
    }
    if let Some((name, why)) = text.split_once(" always fails: ") {
        let constant = first_quoted(why).as_deref().map(text_constant);
        let place = places.of_first([name].into_iter().chain(constant.as_deref()));
        return Some(Mistake::new(place, format!("{name} always fails: {why}")));
    }
    const CONSTANTS: [&str; 3] =
        ["' is no part of ", "date_trunc does not know '", "there is no time zone called '"];
    if let (true, Some(word)) = (CONSTANTS.iter().any(|known| text.contains(known)), first_quoted(text)) {
        return Some(Mistake::new(places.of(&format!("'{word}'")), text.to_owned()));
    }
    if let Some(name) = text_between(text, "Function '", "' expects ")
        && let Some((_, rest)) = text.split_once("' expects ")
    {
        return Some(Mistake::new(places.of(&name), format!("{name} expects {rest}")));
    }
    if text.starts_with("Aggregate functions are not allowed in the WHERE clause") {
        return Some(
            Mistake::new(places.of(AGGREGATE), "an aggregate in WHERE is not known yet").hint("use HAVING"),
        );
    }
    if let Some(name) = text.strip_prefix("Unsupported SQL type ") {
        let word = name.split(ends_name).next().unwrap_or(name);
        let mistake = Mistake::new(places.of(name), format!("there is no type {name}"));
        return Some(mistake.maybe_hint(types::remedy_in_cast(word)));
    }
    let operator = if text.starts_with("-> and ->> need") { "->" } else { return None };
    Some(
        Mistake::new(places.of(operator), text.to_owned()).hint("for a STRUCT write (s).field or s['field']"),
    )
}

/// Errors about JSONB: message, colon and hint in one sentence. Its operator or quoted name gives the place.
fn of_jsonb(text: &str, places: &ErrorPlaces<'_>) -> Option<Mistake> {
    if !text.contains("JSONB") {
        return None;
    }
    let (message, hint) = text.rsplit_once(": ")?;
    let operator = message.split(' ').find(|word| !word.contains(char::is_alphanumeric));
    let quoted = first_quoted(message);
    let place = places.of_first(quoted.as_deref().or(operator));
    Some(Mistake::new(place, message.replace('\'', "")).hint(hint))
}

/// Errors about arguments that an aggregate does not take.
fn of_aggregate(text: &str, places: &ErrorPlaces<'_>) -> Option<Mistake> {
    let coerced = text_between(text, "satisfy a call to '", "' function").zip(text_between(
        text,
        "coercion from ",
        " to the",
    ));
    let required =
        text_between(text, "Function '", "' requires ").zip(text_between(text, "(DataType: ", ")"));
    if let Some((name, given)) = coerced.or(required) {
        let hint = aggregates::remedy(&name, text).unwrap_or("convert the argument: CAST(x AS TYPE)");
        return Some(Mistake::new(places.of(&name), format!("{name} does not take {given}")).hint(hint));
    }
    if let Some((name, counts)) =
        text_between(text, "The function '", "' expected ").zip(text.split("' expected ").nth(1))
    {
        return Some(Mistake::new(places.of(&name), format!("{name} expects {counts}")));
    }
    let name = first_quoted(text)?;
    let hint = aggregates::remedy(&name, text)?;
    Some(Mistake::new(places.of(&name), text.replace('\'', "")).hint(hint))
}

/// Errors about names of columns: unknown, ambiguous or repeated.
fn schema_mistake(schema: &SchemaError, places: &ErrorPlaces<'_>) -> Mistake {
    match schema {
        SchemaError::FieldNotFound { field, valid_fields } => unknown_column(field, valid_fields, places),
        SchemaError::AmbiguousReference { field } => Mistake::new(
            places.of_first([bare_name(&field.name).as_str(), field.name.as_str()]),
            format!("the column {} is ambiguous: more than one has this name", field.name),
        )
        .hint(format!(
            "write the table before it, as in t.{0}, or name one of them otherwise with AS",
            field.name
        )),
        SchemaError::DuplicateQualifiedField { qualifier, name } => {
            Mistake::new(places.of(name), format!("{qualifier} has two columns called {name}"))
                .hint("give the tables of FROM different aliases, or name the columns otherwise with AS")
        }
        SchemaError::DuplicateUnqualifiedField { name } => {
            Mistake::new(places.of(name), format!("there are two columns called {name}"))
                .hint("name one of them otherwise: expression AS name")
        }
    }
}

/// Mistake of a column that is not among those in sight, `valid`.
fn unknown_column(field: &Column, valid: &[Column], places: &ErrorPlaces<'_>) -> Mistake {
    let message = match &field.relation {
        Some(relation) => format!("there is no column {} in {relation}", field.name),
        None => format!("there is no column {}", field.name),
    };
    if field.relation.is_none() && places.is_alias(&field.name) {
        return Mistake::new(places.of(&bare_name(&field.name)), message).hint(format!(
            "{} is a name of the SELECT list, not known here: repeat its expression, or select from a subquery",
            field.name
        ));
    }
    let mut names: Vec<&str> = Vec::new();
    for column in valid {
        if field.relation.is_none() || column.relation == field.relation {
            names.push(&column.name);
        }
    }
    if let Some(relation) = &field.relation
        && names.is_empty()
    {
        let tables = valid.iter().filter_map(|column| column.relation.as_ref());
        let tables: Vec<String> = tables.map(ToString::to_string).collect();
        let near = did_you_mean(&relation.to_string(), tables.iter().map(String::as_str));
        return Mistake::new(places.of(&field.name), format!("nothing in sight is called {relation}"))
            .hint("name it in FROM; in FROM a, b JOIN c ON ... the condition sees only b and c")
            .maybe_hint(near);
    }
    let mut hint = did_you_mean(&field.name, names.iter().copied());
    if hint.is_none() && field.relation.is_none() && places.is_quoted(&field.name) {
        hint = Some(format!("write '{}' for text: \" stands around names", field.name));
    }
    let shown = distinct_names(field, valid);
    if hint.is_none() && !shown.is_empty() && shown.len() <= 12 {
        hint = Some(format!("the columns are {}", shown.join(", ")));
    }
    let alone = field.relation.is_none().then(|| bare_name(&field.name));
    let words = alone.as_deref().into_iter().chain([field.name.as_str()]);
    Mistake::new(places.of_first(words), message).maybe_hint(hint)
}

/// Names of the columns in sight of `field`, each once: one that several tables have stands behind its table.
fn distinct_names(field: &Column, valid: &[Column]) -> Vec<String> {
    let mut shown = Vec::with_capacity(valid.len());
    for column in valid {
        if field.relation.is_some() && column.relation != field.relation {
            continue;
        }
        let same_name = |other: &Column| other.name == column.name && other.relation != column.relation;
        let name = match &column.relation {
            Some(relation) if field.relation.is_none() && valid.iter().any(same_name) => {
                format!("{relation}.{}", column.name)
            }
            _ => column.name.clone(),
        };
        if !shown.contains(&name) {
            shown.push(name);
        }
    }
    shown
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
