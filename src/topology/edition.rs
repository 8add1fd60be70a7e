//! Words about an edited topology: its obstacles with their places in the text, and a summary for the log.

use anyhow::Error;
use dataflows::runtime::edition::{Becomes, Edition, Obstacle, Part};
use dataflows::sql::{Mistake, SqlFile};

use super::{OptionClause, Variables, find_owner, parse_statements};
use crate::exit::SqlMistakes;

/// The obstacles of an edited topology as mistakes in its text, in the order of their places.
pub fn locate_obstacles(obstacles: &[Obstacle], files: &[SqlFile], variables: &Variables) -> Error {
    let statements = match parse_statements(files, variables) {
        Ok(statements) => statements,
        Err(error) => return error,
    };
    let mut found = Vec::with_capacity(obstacles.len());
    for obstacle in obstacles {
        let (_, name, _) = find_owner(&statements, &obstacle.part, OptionClause::With);
        let mistake = Mistake::new(name.pos, obstacle.message.clone());
        found.push((name.pos, mistake.maybe_hint(Some(obstacle.hint.clone())).named(files)));
    }
    found.sort_by_key(|(pos, _)| *pos);
    let errors = found.into_iter().map(|(_, error)| error).collect();
    Error::new(SqlMistakes::new(errors, files))
}

/// The word for a fate.
pub fn fate_word(part: &Part) -> &'static str {
    match part.fate {
        Becomes::Unchanged => "unchanged",
        Becomes::Renamed { .. } => "renamed",
        Becomes::New => "new",
        Becomes::Changed => "changed",
        Becomes::Removed => "removed",
    }
}

/// All parts that do not stay as they are, in one line.
pub fn summary(edition: &Edition) -> String {
    let mut texts = Vec::new();
    for part in edition.parts.iter().filter(|part| part.fate != Becomes::Unchanged) {
        texts.push(format!("{} {} {}", part.kind.word(), part.name, fate_word(part)));
    }
    if texts.is_empty() { "its parts stay as they are".to_owned() } else { texts.join(", ") }
}
