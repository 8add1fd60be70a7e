//! `--update`: rewrites the rows of failed expectations with the rows found. Comments, blank lines and the
//! expectations that hold stay as they are.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result};

use super::table::Table;

/// New rows of an expectation.
pub struct Rewrite<'a> {
    /// The line of its directive.
    pub line: u64,
    /// The lines of its present rows.
    pub rows: &'a [u64],
    /// The new rows.
    pub found: Table,
}

/// The script's text with its expectations rewritten.
pub fn rewrite_expectations(text: &str, rewrites: &[Rewrite<'_>]) -> String {
    let gone: BTreeSet<u64> = rewrites.iter().flat_map(|rewrite| rewrite.rows).copied().collect();
    let new: BTreeMap<u64, &Table> = rewrites.iter().map(|rewrite| (rewrite.line, &rewrite.found)).collect();
    let mut out = String::with_capacity(text.len());
    for (number, line) in (1u64..).zip(text.lines()) {
        if !gone.contains(&number) {
            out.push_str(line);
            out.push('\n');
        }
        if let Some(table) = new.get(&number) {
            for row in &table.rows {
                out.push_str(row);
                out.push('\n');
            }
        }
    }
    out
}

/// Replaces the script's file atomically.
///
/// # Errors
/// When it cannot be written.
pub fn write_script(path: &Path, text: &str) -> Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let written = std::fs::write(&beside, text).and_then(|()| std::fs::rename(&beside, path));
    written.with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_rows_change() {
        let text = "-- expect v\n{\"a\":1}\n-- why\n{\"a\":2}\n\n-- expect w\n{\"b\":1}\n-- expect x\n";
        let v = Table::new(vec!["{\"a\":3}".to_owned()]);
        let x = Table::new(vec!["{\"c\":2}".to_owned(), "{\"c\":1}".to_owned()]);
        let rewrites =
            [Rewrite { line: 1, rows: &[2, 4], found: v }, Rewrite { line: 8, rows: &[], found: x }];
        assert_eq!(
            rewrite_expectations(text, &rewrites),
            "-- expect v\n{\"a\":3}\n-- why\n\n-- expect w\n{\"b\":1}\n-- expect x\n{\"c\":1}\n{\"c\":2}\n"
        );
    }
}
