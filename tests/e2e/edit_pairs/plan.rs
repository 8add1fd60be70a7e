//! The answer of `herald plan --format json`: what becomes of each source, view, sink and index.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::child::Ended;

/// The exit code if rows would be missing, or the run would be refused.
pub const OBSTACLE: i32 = 4;
/// The exit code if all is safe.
const SAFE: i32 = 0;
/// The exit code if something is filled again, removed or sent again.
const TAKES_EFFECT: i32 = 3;

/// The plan for a view or sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// `unchanged`, `renamed`, `new` or `changed`.
    pub fate: String,
    /// The former name, where it is `renamed`.
    pub was: Option<String>,
    /// Output of a sink for the edit, where the plan tells it.
    pub sends: Option<String>,
}

impl Planned {
    /// Returns true if it goes on as it is, perhaps under another name.
    pub fn is_kept(&self) -> bool {
        ["unchanged", "renamed"].contains(&self.fate.as_str())
    }

    /// Returns true if a sink sends nothing for the edit.
    pub fn is_silent(&self) -> bool {
        self.is_kept() || self.sends.as_deref() == Some("nothing")
    }
}

/// The plan of an edit.
#[derive(Debug, Default)]
pub struct Plan {
    /// Plans for views, by name.
    pub views: BTreeMap<String, Planned>,
    /// Plans for sinks, by name.
    pub sinks: BTreeMap<String, Planned>,
    /// True if records of an append-only source are read again.
    pub reads_again: bool,
}

impl Plan {
    /// Reads the answer for an edit that is not refused.
    ///
    /// # Errors
    /// The part that cannot be read.
    pub fn read(ended: &Ended) -> Result<Plan, String> {
        if ![Some(SAFE), Some(TAKES_EFFECT)].contains(&ended.code) {
            return Err(format!(
                "herald plan ended with {:?}:\n{}\n{}",
                ended.code, ended.stdout, ended.stderr
            ));
        }
        let answer: Value =
            serde_json::from_str(&ended.stdout).map_err(|error| format!("{error} in {}", ended.stdout))?;
        let parts = answer["parts"].as_array().map(Vec::as_slice).unwrap_or_default();
        let mut again = parts.iter().filter_map(|part| part["read_again"].as_array());
        Ok(Plan {
            views: read_parts(&answer, "view")?,
            sinks: read_parts(&answer, "sink")?,
            reads_again: again.any(|texts| !texts.is_empty()),
        })
    }
}

/// Reads the parts of a kind that the new edition has.
fn read_parts(answer: &Value, kind: &str) -> Result<BTreeMap<String, Planned>, String> {
    let parts = answer["parts"].as_array().ok_or_else(|| format!("no parts in {answer}"))?;
    let mut found = BTreeMap::new();
    for part in parts {
        let text = |field: &str| part[field].as_str().map(str::to_owned);
        let (Some(name), Some(fate)) = (text("name"), text("fate")) else {
            return Err(format!("no name and fate in {part}"));
        };
        if part["kind"] == kind && fate != "removed" {
            found.insert(name, Planned { fate, was: text("was"), sends: text("sends") });
        }
    }
    Ok(found)
}
