//! `herald dead-letter`: lists rejected records, shows one with its key and value, or sends them again.
//!
//! The first two are queries of `herald.dead_letter`, on a state or a running topology; [`replay`] reads the
//! dead-letter topics.

mod replay;

use anyhow::Result;
use connectors::dead_letter::REJECTED;
use schemas::Outcome;

use crate::cli::{DeadLetterCommand, DeadLetterFilter, QueryArgs};
use crate::exit::mistake;
use crate::query;

/// `herald dead-letter`.
///
/// # Errors
/// When the state or the topology cannot be queried, or a record cannot be sent again.
pub fn command(command: &DeadLetterCommand) -> Result<()> {
    let (sql, asked) = match command {
        DeadLetterCommand::List { filter, limit, asked } => (list_query(filter, *limit)?, asked),
        DeadLetterCommand::Show { sequence, asked } => (show_query(*sequence), asked),
        DeadLetterCommand::Replay(args) => return replay::command(args),
    };
    query::command(&QueryArgs { sql: Some(sql), ..asked.clone().into_query() })
}

/// The query of the newest rejected records that pass the filters.
fn list_query(filter: &DeadLetterFilter, limit: u64) -> Result<String> {
    let mut conditions = Vec::new();
    let text = |text: &str| format!("'{}'", text.replace('\'', "''"));
    if let Some(source) = &filter.source {
        conditions.push(format!("source = {}", text(source)));
    }
    if let Some(outcome) = &filter.outcome {
        conditions.push(format!("outcome = {}", text(parse_outcome(outcome)?.name())));
    }
    if let Some(since) = &filter.since {
        conditions.push(format!("\"timestamp\" >= CAST({} AS TIMESTAMPTZ)", text(since)));
    }
    if let Some(until) = &filter.until {
        conditions.push(format!("\"timestamp\" < CAST({} AS TIMESTAMPTZ)", text(until)));
    }
    let condition =
        if conditions.is_empty() { String::new() } else { format!(" WHERE {}", conditions.join(" AND ")) };
    Ok(format!(
        "SELECT sequence, source, outcome, \"partition\", \"offset\", \"timestamp\", message \
         FROM herald.dead_letter{condition} ORDER BY sequence DESC LIMIT {limit}"
    ))
}

/// The outcome that `--outcome` names.
fn parse_outcome(name: &str) -> Result<Outcome> {
    let found = REJECTED.into_iter().find(|outcome| outcome.name() == name);
    found.ok_or_else(|| mistake(format!("--outcome {name}: write constraint, decode or late")))
}

/// The query of one rejected record.
fn show_query(sequence: u64) -> String {
    format!("SELECT * FROM herald.dead_letter WHERE sequence = {sequence}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_a_query_with_the_filters_given() {
        let filter = DeadLetterFilter {
            source: Some("o'hara".to_owned()),
            outcome: Some("late".to_owned()),
            since: Some("2026-01-01T00:00:00Z".to_owned()),
            until: Some("2026-02-01T00:00:00Z".to_owned()),
        };
        let sql = list_query(&filter, 5).unwrap();
        assert!(sql.contains("WHERE source = 'o''hara' AND outcome = 'late' AND \"timestamp\" >= "), "{sql}");
        assert!(sql.contains(" AND \"timestamp\" < CAST('2026-02-01T00:00:00Z' AS"), "{sql}");
        assert!(sql.ends_with("ORDER BY sequence DESC LIMIT 5"), "{sql}");
        assert!(list_query(&DeadLetterFilter { outcome: Some("lost".to_owned()), ..filter }, 5).is_err());
        assert!(!list_query(&DeadLetterFilter::default(), 5).unwrap().contains("WHERE"));
    }
}
