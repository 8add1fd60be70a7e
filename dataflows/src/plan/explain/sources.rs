//! Words of `explain` about sources and connectors.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Component, Path, PathBuf};

use super::length_text;
use crate::plan::Source;
use crate::plan::formats::Format;

/// Lines about a source: its place, its watermark, the persons in it and its checks.
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
    if let Some(column) = source.erases {
        let _ = writeln!(
            out,
            "     erases   the persons in {}, which holds digests",
            source.schema.field(column).name()
        );
    }
    if !source.erase_by.is_empty() {
        let paths: Vec<&str> = source.erase_by.iter().map(|path| path.text.as_str()).collect();
        let _ = writeln!(out, "     persons  {}", paths.join(", "));
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
        Some(path) if connector == "parquet" => format!("{connector} {}", export_path(path)),
        Some(at) => format!("{connector} {at}"),
        None => connector.to_owned(),
    }
}

/// The path of an export in one spelling: `./exports//a/` and `exports/b/../a` are `exports/a`. Links are not followed.
/// Of a URL only slashes at its end go: stores take names as they are.
pub fn export_path(path: &str) -> String {
    if path.contains("://") {
        return path.trim_end_matches('/').to_owned();
    }
    let mut kept = PathBuf::new();
    for part in Path::new(path).components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if matches!(kept.components().next_back(), Some(Component::Normal(_))) => {
                kept.pop();
            }
            // There is nothing above the root.
            Component::ParentDir if kept.has_root() => {}
            _ => kept.push(part),
        }
    }
    if kept.as_os_str().is_empty() { ".".to_owned() } else { kept.to_string_lossy().into_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_one_spelling() {
        let cases = [
            ("exports/a", "exports/a"),
            ("./exports//a/", "exports/a"),
            ("exports/b/../a/.", "exports/a"),
            ("../../a", "../../a"),
            ("a/../..", ".."),
            ("/a/../../b", "/b"),
            ("a/..", "."),
            ("s3://b/x//", "s3://b/x"),
            ("s3://b/./x", "s3://b/./x"),
        ];
        for (path, expected) in cases {
            assert_eq!(export_path(path), expected, "{path}");
        }
        let options = |path: &str| {
            let pairs = [("connector", "parquet"), ("path", path)];
            pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
        };
        assert_eq!(connector_text(&options("./a/")), connector_text(&options("a")));
    }
}
