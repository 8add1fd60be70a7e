//! Planning errors as mistakes: plain sentences at a place, with the nearest name.
//!
//! DataFusion says what went wrong in its own words and types, sometimes with a span. Here the
//! sentence is put in the words of this SQL dialect, and a missing span is found again by looking
//! for the name in the query's syntax tree.

use std::ops::ControlFlow;

use arrow::datatypes::Schema;
use datafusion_common::{DataFusionError, SchemaError};
use datafusion_sql::sqlparser::ast::{Expr, Query, Select, SelectItem, Spanned, TableFactor, Visit, Visitor};
use datafusion_sql::sqlparser::tokenizer::Span;

use super::ast::Pos;
use super::catalog::Catalog;
use super::error::Mistake;
use super::functions::FUNCTIONS;
use super::nearest::did_you_mean;
use super::query::Site;
use super::refuse::place;

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

/// Where `name` is last used as a column or an alias.
pub(crate) fn last_ident(query: &Query, name: &str, site: Site) -> Option<Pos> {
    let mut find = Find { word: name, found: Vec::new() };
    let _ = query.visit(&mut find);
    find.found.last().map(|span| place(*span, site.file, site.pos))
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
    let diagnosed = error.diagnostic().and_then(|d| d.span.or_else(|| d.notes.iter().find_map(|n| n.span)));
    let at = |word: Option<&str>| match (diagnosed, word.and_then(|w| find(w).first().copied())) {
        (Some(s), _) => Pos { file: site.file, line: s.start.line, column: s.start.column },
        (None, Some(span)) => place(span, site.file, site.pos),
        (None, None) => site.pos,
    };
    let root = error.find_root();
    if let DataFusionError::SchemaError(schema, _) = root {
        return schema_mistake(schema, &at);
    }
    let text = clean(&message(root));
    if let Some(name) = text.strip_prefix("there is no source, table or view called ") {
        return Mistake::new(at(Some(name)), text.clone()).maybe_hint(near_table(name));
    }
    if let Some(name) = between(&text, "Invalid function '", "'") {
        let names: Vec<String> =
            FUNCTIONS.scalar_names().into_iter().chain(FUNCTIONS.aggregate_names()).collect();
        let hint = did_you_mean(&name, names.iter().map(String::as_str));
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
    if let Some(name) = between(&text, "the join with ", " has no equality") {
        return Mistake::new(at(Some(&name)), text).hint("join on an equality: JOIN b ON a.id = b.id");
    }
    let pos = at(quoted(&text).as_deref());
    let hint = hint_for(&text);
    Mistake::new(pos, text).maybe_hint(hint)
}

fn schema_mistake(schema: &SchemaError, at: &dyn Fn(Option<&str>) -> Pos) -> Mistake {
    match schema {
        SchemaError::FieldNotFound { field, valid_fields } => {
            let names: Vec<&str> = valid_fields.iter().map(|c| c.name.as_str()).collect();
            let of = field.relation.as_ref().map(|r| format!(" in {r}")).unwrap_or_default();
            let near = did_you_mean(&field.name, names.iter().copied());
            let known_table =
                field.relation.is_none() || valid_fields.iter().any(|c| c.relation == field.relation);
            let hint = match (&field.relation, known_table) {
                (Some(relation), false) => {
                    let tables: Vec<String> = valid_fields
                        .iter()
                        .filter_map(|c| c.relation.as_ref().map(ToString::to_string))
                        .collect();
                    did_you_mean(&relation.to_string(), tables.iter().map(String::as_str))
                        .or_else(|| Some(format!("nothing in FROM is called {relation}")))
                }
                _ => near.or_else(|| {
                    let mut unique = names.clone();
                    unique.dedup();
                    (!unique.is_empty() && unique.len() <= 12)
                        .then(|| format!("the columns are {}", unique.join(", ")))
                }),
            };
            Mistake::new(at(Some(&field.name)), format!("there is no column {}{of}", field.name))
                .maybe_hint(hint)
        }
        SchemaError::AmbiguousReference { field } => Mistake::new(
            at(Some(&field.name)),
            format!("the column {} is in more than one table of FROM", field.name),
        )
        .hint(format!("write the table before it: t.{}", field.name)),
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

/// One sentence with SQL's type names.
fn clean(text: &str) -> String {
    let end = text
        .find("\n\nbacktrace")
        .or_else(|| text.find(".\nThis issue was likely caused"))
        .unwrap_or(text.len());
    let mut out = text[..end].replace(['\n', '\t'], " ");
    if let Some(at) =
        out.find(" Candidate functions:").or_else(|| out.find(" No function matches the given name"))
    {
        out.truncate(at);
    }
    const TYPES: [(&str, &str); 16] = [
        ("Timestamp(µs, \"UTC\")", "TIMESTAMPTZ"),
        ("Timestamp(µs)", "TIMESTAMP"),
        ("Timestamp(ns)", "TIMESTAMP"),
        ("Time64(µs)", "TIME"),
        ("Interval(MonthDayNano)", "INTERVAL"),
        ("Decimal128(", "DECIMAL("),
        ("Int64", "BIGINT"),
        ("Int32", "INT"),
        ("Int16", "SMALLINT"),
        ("Float64", "DOUBLE PRECISION"),
        ("Float32", "REAL"),
        ("Utf8", "VARCHAR"),
        ("Boolean", "BOOLEAN"),
        ("Binary", "BYTEA"),
        ("Date32", "DATE"),
        ("Struct(", "STRUCT("),
    ];
    for (arrow, sql) in TYPES {
        out = out.replace(arrow, sql);
    }
    out.trim().trim_end_matches('.').to_owned()
}

fn hint_for(text: &str) -> Option<String> {
    if text.starts_with("Cannot coerce")
        || text.starts_with("Cannot infer common argument type")
        || text.contains("Failed to coerce")
    {
        return Some("convert one side: CAST(x AS TYPE)".to_owned());
    }
    text.contains("which a column cannot have")
        .then(|| "convert it, for example with CAST or date_part('epoch', ...)".to_owned())
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
        for item in &select.projection {
            if let SelectItem::ExprWithAlias { alias, .. } = item {
                self.see(&alias.value, alias.span);
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
            TableFactor::Derived { alias, .. } => alias,
            _ => return ControlFlow::Continue(()),
        };
        if let Some(alias) = alias {
            self.see(&alias.name.value, alias.name.span);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        match expr {
            Expr::Identifier(name) => self.see(&name.value, name.span),
            Expr::CompoundIdentifier(names) => {
                for name in names {
                    self.see(&name.value, name.span);
                }
            }
            Expr::Function(f) => self.see(&f.name.to_string(), f.name.span()),
            _ => {}
        }
        ControlFlow::Continue(())
    }
}
