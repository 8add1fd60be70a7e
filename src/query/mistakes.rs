//! Mistakes in queries, told to the user.

use anyhow::{Error, Result};
use dataflows::plan::sources::records_read_again;
use dataflows::runtime::fill::ALL_GROUPS;
use dataflows::sql::SqlError;
use dataflows::sql::diagnostics::did_you_mean::did_you_mean;
use datafusion::error::DataFusionError;
use state::{CatalogueEntry, Progress};

use super::begins_with;
use crate::exit::{Stopped, mistake};

/// First words of statements that change something.
const WRITING: [&str; 9] =
    ["insert", "update", "delete", "merge", "truncate", "create", "drop", "alter", "copy"];

/// Succeeds for a statement that reads.
///
/// # Errors
/// For one that would change something.
pub(crate) fn refuse_writing(sql: &str) -> Result<()> {
    if begins_with(sql, &WRITING) {
        return Err(mistake(
            "the query cannot be run: queries only read\n  \
             views follow from their sources: change the records there, or the topology's files",
        ));
    }
    Ok(())
}

/// The error for a name in a query that none of the tables `names` has; it may be one of the `sources`.
pub(crate) fn unknown_view(name: &str, names: &[String], sources: &[String]) -> Error {
    let there = names.join(", ");
    if sources.iter().any(|source| source == name) {
        return mistake(format!(
            "{name} is a source or table of the topology\n  \
             only materialized views are kept and can be queried: add a\n  \
             CREATE MATERIALIZED VIEW over {name}. The state has {there}"
        ));
    }
    let hint = match did_you_mean(name, names.iter().map(String::as_str)) {
        Some(near) => format!("\n  {near} The"),
        None => ". The".to_owned(),
    };
    mistake(format!("there is no view {name}{hint} state has {there}"))
}

/// Succeeds for a view that is whole, given with the progress of the epoch that is asked.
///
/// # Errors
/// A mistake for one that an edit of the topology has added and that is being filled.
pub(crate) fn refuse_filling(view: &CatalogueEntry, progress: &Progress) -> Result<()> {
    match filling_text(view, progress) {
        None => Ok(()),
        Some(text) => Err(mistake(format!(
            "view {} is {text}
  ask again later: it is served as a whole",
            view.name
        ))),
    }
}

/// Words for how far a view is filled; None for a whole one.
pub(crate) fn filling_text(view: &CatalogueEntry, progress: &Progress) -> Option<String> {
    view.facts.filling.as_ref()?;
    let groups = progress.filled_groups?;
    if groups == ALL_GROUPS
        && let Some((again, all)) = records_read_again(progress)
    {
        return Some(format!("being filled: {again} of {all} records have been read again"));
    }
    let percent = u32::from(groups) * 100 / u32::from(ALL_GROUPS);
    Some(format!("being filled: {percent} % of its rows have come"))
}

/// All mistakes in a query's text as one error.
pub(super) fn sql_mistakes(found: &[SqlError]) -> Error {
    let messages: Vec<String> = found.iter().map(ToString::to_string).collect();
    mistake(format!("the query cannot be run: {}", messages.join("\n")))
}

/// DataFusion's error as a user's mistake: its message without the technical prefixes.
pub(crate) fn query_mistake(error: DataFusionError) -> Error {
    if let DataFusionError::ResourcesExhausted(_) = error.find_root() {
        return Stopped::Work.into();
    }
    let error = error.find_root().strip_backtrace();
    let mut text = error.as_str();
    for prefix in [
        "Error during planning: ",
        "SQL error: ",
        "Schema error: ",
        "This feature is not implemented: ",
        "Execution error: ",
        "External error: ",
    ] {
        text = text.strip_prefix(prefix).unwrap_or(text);
    }
    mistake(format!("the query cannot be run: {text}"))
}
