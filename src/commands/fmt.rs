//! `herald fmt`: SQL files in one layout.
//!
//! The layout is a formatter's; that the text means what it meant is checked here: its tokens and comments must be those
//! of before, else the file is left alone.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use dataflows::sql::same_tokens;
use sqlformat::{FormatOptions, Indent, QueryParams};

use crate::exit::mistake;

/// `herald fmt`.
///
/// # Errors
/// When a file cannot be read or written, or, with `check`, when one is laid out otherwise.
pub fn command(files: &[PathBuf], check: bool) -> Result<()> {
    let mut other = Vec::new();
    if files.iter().all(|path| is_script(path)) {
        return Err(mistake("test scripts are not formatted: their records and rows stand a line each"));
    }
    for path in files {
        if is_script(path) {
            continue;
        }
        let text = std::fs::read_to_string(path)
            .map_err(|error| mistake(format!("cannot read {}: {error}", path.display())))?;
        let formatted = layout(&text).map_err(|why| mistake(format!("{}: {why}", path.display())))?;
        if formatted == text {
            continue;
        }
        if check {
            other.push(path.display().to_string());
            continue;
        }
        std::fs::write(path, formatted).with_context(|| format!("cannot write {}", path.display()))?;
        println!("{}", path.display());
    }
    match other.as_slice() {
        [] => Ok(()),
        files => Err(mistake(format!("not formatted: {}. Run herald fmt", files.join(", ")))),
    }
}

/// Tells whether a file is a test script. Its records and rows stand a line each: it is no SQL to lay out.
fn is_script(path: &Path) -> bool {
    path.to_string_lossy().ends_with(".test.sql")
}

fn layout(text: &str) -> Result<String, String> {
    let options =
        FormatOptions { indent: Indent::Spaces(2), lines_between_queries: 2, ..FormatOptions::default() };
    let mut formatted = sqlformat::format(text, &QueryParams::None, &options);
    formatted.push('\n');
    match same_tokens(text, &formatted) {
        true => Ok(formatted),
        false => {
            Err("its layout cannot be changed without changing its meaning; it is left as it is".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layout_keeps_tokens_and_comments() {
        let text = "create source s(a int,-- a comment\n b jsonb) with (connector='file',path='x') format plain encode json;\nselect a->>'k', b @> '{}'::jsonb from s where a<>1;";
        let once = layout(text).unwrap();
        assert_eq!(layout(&once).unwrap(), once, "{once}");
        assert!(once.contains("-- a comment") && once.lines().count() > 5, "{once}");
    }
}
