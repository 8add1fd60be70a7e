//! Hashes of the canonical text of relations, sources and sinks: equal ones keep equal state.
//!
//! The texts must never change, or no state fits its plan any more. The `Debug` texts of
//! [`crate::plan::Watermark`], [`crate::plan::Keyed`], formats and encodings are part of them, with the names
//! of their types and fields.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::Schema;
use arrow::util::display::array_value_to_string;

use super::{OperatorText, connector_text, key_of, operator_text};
use crate::plan::{Op, Origin, Plan, Recursive, RelId, Sink, Source};

/// Fingerprint of a relation and everything below it: 16 hexadecimal digits.
pub fn fingerprint(plan: &Plan, rel: RelId) -> String {
    let mut known = BTreeMap::new();
    hash_rel(plan, rel, &mut known)
}

/// Fingerprint of a source: its columns, rules and topic, without the address of its broker.
pub fn source_fingerprint(plan: &Plan, source: usize) -> String {
    hash_hex(&canonical_source(&plan.sources[source]))
}

/// Fingerprint of a sink: its relation, formats and topic.
pub fn sink_fingerprint(plan: &Plan, sink: usize) -> String {
    hash_hex(&canonical_sink(plan, &plan.sinks[sink]))
}

/// Fingerprint of a topology as a whole: 12 hexadecimal digits. Texts have the same one if their sources, views, indexes and
/// sinks are the same in this order; comments, layout, addresses of brokers and views that are not materialized do not
/// count. Records of sinks carry it, so that it must stay as it is.
pub fn version(plan: &Plan) -> String {
    let mut text = String::new();
    for source in 0..plan.sources.len() {
        let _ = writeln!(text, "source {}", source_fingerprint(plan, source));
    }
    let mut known = BTreeMap::new();
    for view in &plan.views {
        let rel = hash_rel(plan, view.rel, &mut known);
        let _ = writeln!(text, "view {} {rel} {:?}", view.name, view.retention_us);
        for index in &view.indexes {
            let _ = writeln!(text, "index {} {:?}", index.name, index.columns);
        }
    }
    for sink in 0..plan.sinks.len() {
        let _ = writeln!(text, "sink {}", sink_fingerprint(plan, sink));
    }
    let mut hash = hash_hex(&text);
    hash.truncate(12);
    hash
}

/// Canonical text of columns, for fingerprints.
fn columns_text(schema: &Schema) -> String {
    let mut columns = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        let null = if field.is_nullable() { "" } else { " NOT NULL" };
        columns.push(format!("{} {}{null}", field.name(), schemas::sql_type(field)));
    }
    columns.join(", ")
}

pub(super) fn hash_hex(text: &str) -> String {
    format!("{:016x}", schemas::hash(text.as_bytes()))
}

fn hash_rel(plan: &Plan, id: RelId, known: &mut BTreeMap<RelId, String>) -> String {
    if let Some(hash) = known.get(&id) {
        return hash.clone();
    }
    let rel = &plan.rels[id];
    let inputs: Vec<String> = rel.op.inputs().into_iter().map(|i| hash_rel(plan, i, known)).collect();
    let OperatorText { op, detail } = operator_text(plan, rel);
    let detail = match &rel.op {
        Op::Source(i) => canonical_source(&plan.sources[*i]),
        Op::Values(rows) => rows_text(rows),
        Op::Unnest { column, outer, .. } => format!("{column} {outer}"),
        Op::Recursive(of) => canonical_recursion(of),
        Op::Given(input) => input.to_string(),
        _ => detail,
    };
    let hash = hash_hex(&format!("{op}\n{detail}\n{}\n{}", columns_text(&rel.schema), inputs.join("\n")));
    known.insert(id, hash.clone());
    hash
}

/// Canonical text of a recursion, without the numbers of relations. Its name is part of it, as it stands in
/// rows of the error table.
fn canonical_recursion(of: &Recursive) -> String {
    let counted: Vec<bool> = of.inputs().map(|input| input.counted).collect();
    format!("{} {} {counted:?} {}", of.name, of.distinct, fingerprint(&of.body, of.body.rels.len() - 1))
}

/// Rows as text, one a line.
fn rows_text(rows: &RecordBatch) -> String {
    let mut lines = Vec::with_capacity(rows.num_rows());
    for at in 0..rows.num_rows() {
        let mut values = Vec::with_capacity(rows.num_columns());
        for column in rows.columns() {
            let value = if column.is_null(at) {
                "NULL".to_owned()
            } else {
                array_value_to_string(column, at).unwrap_or_default()
            };
            values.push(format!("{value:?}"));
        }
        lines.push(values.join(","));
    }
    lines.join("\n")
}

fn canonical_source(source: &Source) -> String {
    let mut out =
        format!("{}\n{}\n{}\n", source.name, columns_text(&source.decoded), columns_text(&source.schema));
    for origin in &source.origins {
        match origin {
            Origin::Decoded(i) => drop(writeln!(out, "decoded {i}")),
            Origin::Generated(expr) => drop(writeln!(out, "generated {expr}")),
            Origin::Included(i) => drop(writeln!(out, "included {:?}", source.includes[*i])),
        }
    }
    for check in &source.checks {
        let _ = writeln!(out, "check {}: {}", check.name, check.predicate);
    }
    let _ = writeln!(
        out,
        "not null {:?}\nwatermark {:?}\nmax ahead {}",
        source.not_null, source.watermark, source.max_ahead_us
    );
    let _ = writeln!(
        out,
        "keyed {:?}\n{:?} {:?}\n{}",
        source.keyed,
        source.format,
        source.encoding,
        connector_text(&source.options)
    );
    // The rows of such a table hold digests in the place of identities. Paths of erase.by may change.
    if let Some(column) = source.erases {
        let _ = writeln!(out, "erases {column}");
    }
    let unit = source.encode_options.get("timestamp.unit").map_or("", String::as_str);
    let _ = writeln!(out, "timestamp unit {unit}{}", key_of(source, &format!("{:?}", source.key_encoding)));
    out
}

fn canonical_sink(plan: &Plan, sink: &Sink) -> String {
    let rel = fingerprint(plan, sink.rel);
    let forms = format!("{:?} {:?} {:?}", sink.format, sink.encoding, sink.key_encoding);
    format!(
        "{}\n{rel}\n{forms}\n{:?}\n{}\n{}",
        sink.name,
        sink.key,
        sink.record_name,
        connector_text(&sink.options)
    ) + &record_name_text(sink)
        + &pseudonyms_text(plan, sink)
}

/// The name that a sink gives to its records in Avro; empty if they are named after its relation.
fn record_name_text(sink: &Sink) -> String {
    match sink.encode_options.get("record.name") {
        Some(name) => format!("\nrecord name {name}"),
        None => String::new(),
    }
}

/// The form in which a sink sends rows: formats and pseudonyms. It is in the state's catalogue.
pub fn sink_form(plan: &Plan, sink: &Sink) -> String {
    format!("{:?} {:?} {:?}", sink.format, sink.encoding, sink.key_encoding) + &pseudonyms_text(plan, sink)
}

/// The columns that leave as pseudonyms, those of the key apart, and the fingerprint of their key; empty if none do.
fn pseudonyms_text(plan: &Plan, sink: &Sink) -> String {
    let Some(pseudonyms) = &sink.pseudonyms else { return String::new() };
    let (mut of_key, mut others) = (Vec::new(), Vec::new());
    for column in &pseudonyms.columns {
        let names = if sink.key.contains(column) { &mut of_key } else { &mut others };
        names.push(plan.rels[sink.rel].schema.field(*column).name());
    }
    others.sort_unstable();
    of_key.sort_unstable();
    format!(" pseudonyms {others:?} of key {of_key:?} by {}", pseudonyms.key.fingerprint())
}

/// The part of a sink's form about pseudonyms, and that about those of its key; None without.
pub fn pseudonyms_of_form(form: &str) -> (Option<&str>, Option<&str>) {
    let Some((_, all)) = form.split_once(" pseudonyms ") else { return (None, None) };
    let of_key = all.rsplit_once(" of key ").map(|(_, of_key)| of_key);
    (Some(all), of_key.filter(|of_key| !of_key.starts_with("[]")))
}
