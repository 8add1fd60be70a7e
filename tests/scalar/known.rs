//! What is known not to agree: `known.txt` holds a line for each form, with an expression that shows it.
//!
//! A line is a status, a form's name, an expression, a place and the seed of a history, with tabs between. The
//! status says that Herald `differs` from PostgreSQL, that it is `refused` by check, or that PostgreSQL does not
//! have it (`unjudged`). Forms of it are not drawn. The list is exact: a line that does not hold any more fails
//! the test, so that the list shrinks. `HERALD_UPDATE=1` takes such lines off and adds what was found.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// A form that does not agree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// differs, refused or unjudged.
    pub status: String,
    /// Shows it.
    pub expression: String,
    /// Where.
    pub place: String,
    /// Over these rows.
    pub seed: u64,
}

fn file() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/scalar/known.txt")
}

/// What is known, by the form's name, which `@` and a place may follow.
pub fn known() -> BTreeMap<String, Known> {
    let text = std::fs::read_to_string(file()).unwrap_or_default();
    let line = |line: &str| {
        let mut parts = line.split('\t').map(str::to_owned);
        let (status, name, expression) = (parts.next()?, parts.next()?, parts.next()?);
        let (place, seed) = (parts.next()?, parts.next()?.parse().ok()?);
        Some((name, Known { status, expression, place, seed }))
    };
    text.lines().filter(|line| !line.starts_with('#')).filter_map(line).collect()
}

/// Writes what is known now.
pub fn write(known: &BTreeMap<String, Known>) {
    let mut text =
        String::from("# Forms that do not agree with PostgreSQL: status, name, expression, place, rows.\n");
    for (name, known) in known {
        let Known { status, expression, place, seed } = known;
        text.push_str(&format!("{status}\t{name}\t{expression}\t{place}\t{seed}\n"));
    }
    std::fs::write(file(), text).unwrap();
}
