//! Words of `explain` about sources and connectors.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::length_text;
use crate::plan::Source;
use crate::plan::formats::Format;

/// Lines about a source: what it reads, its watermark and its checks.
pub(super) fn source_text(source: &Source) -> String {
    let mut out = format!(
        "     reads    {} as {} {}{}\n",
        connector_text(&source.options),
        source.format.word(),
        source.encoding.word(),
        key_of(source, source.key_encoding.word())
    );
    if let Some(w) = source.watermark {
        let column = source.schema.field(w.column).name();
        let _ = writeln!(out, "     watermark {column} less {}", length_text(w.delay_us));
    }
    for check in &source.checks {
        let _ = writeln!(out, "     check    {}: {}", check.name, check.text);
    }
    out
}

/// The encoding of the record's key, which is called `word`, where it is read.
pub(super) fn key_of(source: &Source, word: &str) -> String {
    match source.format {
        Format::Plain => String::new(),
        Format::Upsert | Format::Debezium => format!(", key {word}"),
    }
}

/// Connector and topic or path: names only, never credentials.
pub(super) fn connector_text(options: &BTreeMap<String, String>) -> String {
    let connector = options.get("connector").map_or("nothing", String::as_str);
    match options.get("topic").or(options.get("path")) {
        Some(at) => format!("{connector} {at}"),
        None => connector.to_owned(),
    }
}
