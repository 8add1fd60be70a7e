//! Binder of the sinks that write Parquet files: format, mode, partitions and types of columns.
//!
//! Values of the other options are validated by the connector.

use std::collections::BTreeMap;

use arrow::datatypes::{DataType, Field, Schema};

use super::find_option;
use super::option_columns::{key_columns, quoted_names};
use crate::mistake::Mistake;
use crate::plan::formats::{Encoding, Format};
use crate::plan::{Plan, Sink};
use crate::sql::parse::ast::{CreateSink, OptionItem};

/// The connector that writes Parquet files.
const PARQUET: &str = "parquet";
/// Option with the columns by which files are partitioned.
const PARTITION_BY: &str = "partition_by";

/// Checks a sink that writes Parquet files; does nothing for any other. The columns of `partition_by` are written to
/// `options` as they are called.
pub(super) fn bind_export(
    create: &CreateSink,
    schema: &Schema,
    options: &mut BTreeMap<String, String>,
) -> Vec<Mistake> {
    let connector = find_option(&create.with, "connector");
    let (writes_files, encoding) = (connector.is_some_and(|item| item.value == PARQUET), create.encode.0);
    match (writes_files, encoding) {
        (true, Encoding::Parquet) => {}
        (true, _) => {
            let mistake = Mistake::new(create.encode.2, "the connector parquet writes Parquet files");
            return vec![mistake.hint("write ENCODE PARQUET")];
        }
        (false, Encoding::Parquet) => {
            let mistake = Mistake::new(create.encode.2, "ENCODE PARQUET is of the connector parquet");
            return vec![mistake.hint("write connector = 'parquet', or ENCODE JSON")];
        }
        (false, _) => return Vec::new(),
    }
    let mut mistakes = check_clauses(create);
    mistakes.extend(check_mode(create));
    if let Some(item) = find_option(&create.with, PARTITION_BY) {
        let partitions = key_columns(item, schema, &mut mistakes);
        mistakes.extend(check_partitions(item, schema, &partitions));
        options.insert(PARTITION_BY.to_owned(), quoted_names(schema, &partitions));
    }
    mistakes.extend(check_columns(create, schema));
    mistakes
}

/// Refuses clauses and options of messages.
fn check_clauses(create: &CreateSink) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    if create.format.0 == Format::Debezium {
        mistakes.push(
            Mistake::new(create.format.1, "FORMAT DEBEZIUM has no Parquet form")
                .hint("write FORMAT UPSERT, whose changes have the columns op and epoch"),
        );
    }
    if let Some((_, _, pos)) = &create.key_encode {
        mistakes.push(
            Mistake::new(*pos, "rows of a Parquet file have no key of their own")
                .hint("leave KEY ENCODE out"),
        );
    }
    if let Some(item) = find_option(&create.with, "key") {
        mistakes.push(
            Mistake::new(item.pos, "rows of a Parquet file have no key of their own").hint("leave key out"),
        );
    }
    mistakes
}

/// Refuses a mode that the format does not have.
fn check_mode(create: &CreateSink) -> Option<Mistake> {
    let item = find_option(&create.with, "mode")?;
    let (wanted, hint) = match (item.value.as_str(), create.format.0) {
        ("append", Format::Upsert) => ("PLAIN", "write mode = 'changes' or mode = 'current'"),
        ("changes" | "current", Format::Plain) => {
            ("UPSERT", "leave mode out, or write FORMAT UPSERT and primary_key")
        }
        _ => return None,
    };
    Some(Mistake::new(item.pos, format!("mode = '{}' is of FORMAT {wanted}", item.value)).hint(hint))
}

/// Refuses partitions of a type that names none, and names that a column has as well.
fn check_partitions(item: &OptionItem, schema: &Schema, partitions: &[usize]) -> Vec<Mistake> {
    let (mut mistakes, mut names) = (Vec::new(), Vec::new());
    for at in partitions {
        let field = schema.field(*at);
        let Some(name) = schemas::partition_name(field) else {
            let of = schemas::sql_type(field);
            mistakes.push(
                Mistake::new(
                    item.pos,
                    format!("{PARTITION_BY}: {} is {of}, which names no partitions", field.name()),
                )
                .hint("name columns of VARCHAR, SMALLINT, INT, BIGINT, BOOLEAN, DATE or TIMESTAMPTZ"),
            );
            continue;
        };
        if names.contains(&name) {
            mistakes
                .push(Mistake::new(item.pos, format!("{PARTITION_BY}: two partitions are called {name}")));
        }
        names.push(name);
        // A TIMESTAMPTZ that is called date would be left out of the files, and its day says less.
        let taken = match field.data_type() {
            DataType::Timestamp(..) => schema.column_with_name(name).is_some(),
            _ => name != field.name() && schema.column_with_name(name).is_some(),
        };
        if taken {
            mistakes.push(
                Mistake::new(
                    item.pos,
                    format!("{PARTITION_BY}: the days of {} are called {name}, as a column is", field.name()),
                )
                .hint("give the column another name"),
            );
        }
    }
    if names.len() == schema.fields().len()
        && names.iter().all(|name| schema.column_with_name(name).is_some())
    {
        mistakes.push(
            Mistake::new(item.pos, format!("{PARTITION_BY}: no column is left for the files"))
                .hint("columns that name partitions are not in the files"),
        );
    }
    mistakes
}

/// Refuses columns that Parquet files cannot hold as they are.
fn check_columns(create: &CreateSink, schema: &Schema) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    let mode = find_option(&create.with, "mode").map(|item| item.value.as_str());
    let changes = create.format.0 == Format::Upsert && mode != Some("current");
    for field in schema.fields() {
        let name = field.name();
        if holds_interval(field) {
            mistakes.push(
                Mistake::new(
                    create.encode.2,
                    format!("{name} has an INTERVAL, which no reader of Parquet takes as it is"),
                )
                .hint("select extract(epoch FROM ...), or its text: CAST(... AS VARCHAR)"),
            );
        }
        if changes && (name == "op" || name == "epoch") {
            mistakes.push(
                Mistake::new(create.encode.2, format!("changes have a column {name} of their own"))
                    .hint(format!("give the column another name: {name} AS ...")),
            );
        }
    }
    mistakes
}

/// Tells whether a column has an INTERVAL at any depth.
fn holds_interval(field: &Field) -> bool {
    match field.data_type() {
        DataType::Interval(_) | DataType::Duration(_) => true,
        DataType::List(item) => holds_interval(item),
        DataType::Struct(fields) => fields.iter().any(|field| holds_interval(field)),
        _ => false,
    }
}

/// Refuses copies of a view that nothing keeps.
pub(super) fn check_view(plan: &Plan, sink: &Sink, create: &CreateSink) -> Option<Mistake> {
    let item = find_option(&create.with, "mode")?;
    let kept = plan.views.iter().any(|view| view.rel == sink.rel);
    if sink.encoding != Encoding::Parquet || item.value != "current" || kept {
        return None;
    }
    Some(
        Mistake::new(item.pos, "mode = 'current' copies a materialized view, and this sink has none")
            .hint("write CREATE MATERIALIZED VIEW v AS ..., and CREATE SINK ... FROM v"),
    )
}
