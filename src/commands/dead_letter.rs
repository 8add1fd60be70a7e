//! `herald dead-letter`: lists rejected records, shows one with its key and value, or sends them again.
//!
//! The first two are queries of `herald.dead_letter`, on a state or a running topology; [`replay`] reads the
//! dead-letter topics. A name that a filter gives and nothing has is refused: an empty list would say that all is
//! well.

mod replay;
mod show;

use std::io::Write;

use anyhow::{Error, Result};
use connectors::dead_letter::REJECTED;
use schemas::Outcome;

use crate::cli::{Asked, DeadLetterCommand, DeadLetterFilter, OutputFormat, QueryArgs};
use crate::exit::unknown_name;
use crate::query;

/// `herald dead-letter`.
///
/// # Errors
/// When the state or the topology cannot be queried, a name is unknown, or a record cannot be sent again.
pub fn command(command: &DeadLetterCommand) -> Result<()> {
    match command {
        DeadLetterCommand::List { filter, limit, asked } => {
            list_records(filter, *limit, asked.clone().or_environment())
        }
        DeadLetterCommand::Show { sequence, asked } => {
            show::command(*sequence, &asked.clone().or_environment())
        }
        DeadLetterCommand::Replay(args) => replay::command(args),
    }
}

/// `herald dead-letter list`.
fn list_records(filter: &DeadLetterFilter, limit: u64, asked: Asked) -> Result<()> {
    let sql = list_query(filter, limit)?;
    if let Some(named) = &filter.source {
        let names = query::source_names(&asked)?;
        // Where nothing has run yet, no name is known, and none is wrong.
        if !names.is_empty() && !names.contains(named) {
            return Err(unknown_source(named, names.iter().map(String::as_str).collect()));
        }
    }
    let people = matches!(asked.format, OutputFormat::Table | OutputFormat::Expanded);
    let counted = people.then(|| asked.clone());
    query::command(&QueryArgs { sql: Some(sql), ..asked.into_query() })?;
    if let Some(asked) = counted {
        let counted = query::answer_of(&asked, &count_query(filter)?, OutputFormat::Csv)?;
        let all = counted.lines().nth(1).and_then(|count| count.parse().ok());
        std::io::stdout().write_all(rest_text(limit, all.unwrap_or(0)).as_bytes())?;
    }
    Ok(())
}

/// The line below a list that does not show all records; empty if it does.
fn rest_text(limit: u64, all: u64) -> String {
    if all > limit { format!("{limit} of {all}, the newest; --limit N shows more\n") } else { String::new() }
}

/// The error for `--source` with the name of none of the `known` sources.
fn unknown_source(named: &str, known: Vec<&str>) -> Error {
    unknown_name(&format!("--source {named}: the topology has no such source"), named, &known)
}

/// The query of the newest rejected records that pass the filters.
fn list_query(filter: &DeadLetterFilter, limit: u64) -> Result<String> {
    Ok(format!(
        "SELECT sequence, source, outcome, \"partition\", \"offset\", \"timestamp\", message \
         FROM herald.dead_letter{} ORDER BY sequence DESC LIMIT {limit}",
        condition(filter)?
    ))
}

/// The query of the number of rejected records that pass the filters.
fn count_query(filter: &DeadLetterFilter) -> Result<String> {
    Ok(format!("SELECT count(*) AS n FROM herald.dead_letter{}", condition(filter)?))
}

/// The WHERE clause of the filters; empty without any.
fn condition(filter: &DeadLetterFilter) -> Result<String> {
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
    Ok(if conditions.is_empty() { String::new() } else { format!(" WHERE {}", conditions.join(" AND ")) })
}

/// The outcome that `--outcome` names.
fn parse_outcome(name: &str) -> Result<Outcome> {
    for outcome in REJECTED {
        if outcome.name() == name {
            return Ok(outcome);
        }
    }
    let said = format!("--outcome {name}: no record is rejected with this outcome");
    Err(unknown_name(&said, name, &REJECTED.map(Outcome::name)))
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
        let wrong = DeadLetterFilter { outcome: Some("lat".to_owned()), ..filter };
        let error = list_query(&wrong, 5).unwrap_err();
        assert_eq!(crate::exit::code(&error), 2);
        assert!(
            error.to_string().ends_with("did you mean late? There are constraint, decode, late"),
            "{error}"
        );
        assert!(!list_query(&DeadLetterFilter::default(), 5).unwrap().contains("WHERE"));
    }

    #[test]
    fn a_list_that_is_cut_says_of_how_many() {
        assert_eq!(rest_text(20, 194), "20 of 194, the newest; --limit N shows more\n");
        assert_eq!(rest_text(20, 20), "");
        let filter = DeadLetterFilter { source: Some("a".to_owned()), ..DeadLetterFilter::default() };
        assert!(count_query(&filter).unwrap().ends_with("herald.dead_letter WHERE source = 'a'"));
    }
}
