//! The files of sinks: what they hold once all changes are applied, and what an edit may add to them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::topology::{Format, Sink};

/// The lines of a sink's file in a directory; none if there is no file.
pub fn lines(dir: &Path, sink: &Sink) -> Vec<String> {
    let text = fs::read_to_string(dir.join(sink.path())).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// The content of a sink after all lines: of FORMAT PLAIN each row with its number, else the row of each key.
///
/// # Errors
/// A line that contradicts those before it.
pub fn folded(sink: &Sink, lines: &[String]) -> Result<BTreeMap<String, String>, String> {
    let mut held = BTreeMap::new();
    let mut numbers: BTreeMap<String, u64> = BTreeMap::new();
    for line in lines {
        match sink.format {
            Format::Plain => *numbers.entry(line.clone()).or_default() += 1,
            Format::Upsert => upsert(&mut held, line)?,
            Format::Debezium => debezium(&mut held, sink, line)?,
        }
    }
    held.extend(numbers.into_iter().map(|(row, number)| (row, number.to_string())));
    Ok(held)
}

/// Applies a line of FORMAT UPSERT.
fn upsert(held: &mut BTreeMap<String, String>, line: &str) -> Result<(), String> {
    let (key, row) = pair(line)?;
    let was = match row {
        Some(row) => {
            held.insert(key, row);
            return Ok(());
        }
        None => held.remove(&key),
    };
    was.map(|_| ()).ok_or_else(|| format!("deletes a key that it does not hold: {line}"))
}

/// Key and row of a line of FORMAT UPSERT; no row for a delete.
fn pair(line: &str) -> Result<(String, Option<String>), String> {
    let line: Value = serde_json::from_str(line).map_err(|error| format!("{error}: {line}"))?;
    Ok((line["key"].to_string(), text(&line["value"])))
}

fn text(value: &Value) -> Option<String> {
    (!value.is_null()).then(|| value.to_string())
}

/// Applies a line of FORMAT DEBEZIUM, whose row before must be the one that is held.
fn debezium(held: &mut BTreeMap<String, String>, sink: &Sink, line: &str) -> Result<(), String> {
    let event: Value = serde_json::from_str(line).map_err(|error| format!("{error}: {line}"))?;
    let row = if event["after"].is_null() { &event["before"] } else { &event["after"] };
    let key: Vec<String> = sink.key.iter().map(|column| row[column.as_str()].to_string()).collect();
    let (key, before, after) = (key.join(" "), text(&event["before"]), text(&event["after"]));
    let op = match (&before, &after) {
        (None, Some(_)) => "c",
        (Some(_), Some(_)) => "u",
        _ => "d",
    };
    let was = held.get(&key).cloned();
    if !is_before(was.as_deref(), &event["before"]) || was == after || event["op"] != op {
        return Err(format!("holds {was:?} and is sent {line}"));
    }
    match after {
        Some(after) => held.insert(key, after),
        None => held.remove(&key),
    };
    Ok(())
}

/// Tells whether a row before is the one that was sent, in the columns that the sink has now: NULL in new ones.
fn is_before(was: Option<&str>, before: &Value) -> bool {
    let was: Option<Value> = was.and_then(|was| serde_json::from_str(was).ok());
    match (was, before.as_object()) {
        (None, None) => true,
        (Some(was), Some(before)) => before.iter().all(|(column, value)| was[column] == *value),
        _ => false,
    }
}

/// Checks the lines that an edit added to a sink: none if it is silent, and of FORMAT UPSERT only differences, a
/// line a key.
///
/// # Errors
/// The first line that should not be there.
pub fn check_added(sink: &Sink, (before, after): (&[String], &[String]), silent: bool) -> Result<(), String> {
    let Some(added) = after.strip_prefix(before) else {
        return Err(format!("the {} lines that it had are not its first lines any more", before.len()));
    };
    if let Some(first) = added.first().filter(|_| silent) {
        return Err(format!("nothing is to be sent, and {} lines are, the first: {first}", added.len()));
    }
    if sink.format != Format::Upsert {
        return folded(sink, after).map(|_| ());
    }
    let (held, mut sent) = (folded(sink, before)?, BTreeSet::new());
    for line in added {
        let (key, row) = pair(line)?;
        if held.get(&key) == row.as_ref() {
            return Err(format!("is no difference to what was sent: {line}"));
        }
        if !sent.insert(key) {
            return Err(format!("is sent a second time: {line}"));
        }
    }
    Ok(())
}

/// The first difference of two contents; None if they are equal.
pub fn difference(found: &BTreeMap<String, String>, expected: &BTreeMap<String, String>) -> Option<String> {
    let missing = expected.iter().find(|(key, row)| found.get(*key) != Some(*row));
    if let Some((key, row)) = missing {
        return Some(format!("{key} is to be {row}, and is {:?}", found.get(key)));
    }
    let (key, row) = found.iter().find(|(key, _)| !expected.contains_key(*key))?;
    Some(format!("{key} is not to be there, and is {row}"))
}
