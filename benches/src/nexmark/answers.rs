//! Answers of the engines, in one form, so that they can be compared exactly.
//!
//! Each engine prints a row as a JSON object: whole numbers with their digits, DECIMAL as text with all digits of its scale,
//! times as text to the microsecond, DOUBLE with digits that no other double has. Here columns are ordered by name, and a
//! DOUBLE is written with the fewest digits that are its own: so two rows are equal if their texts are.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use serde_json::value::RawValue;

/// The rows of an answer, a line each, in the order of their texts. Other lines are not rows.
///
/// # Errors
/// When a row is no JSON object.
pub fn rows_of(answer: &str) -> Result<Vec<String>> {
    let lines = answer.lines().filter(|line| line.starts_with('{'));
    let mut rows =
        lines.map(|line| row_of(line.strip_suffix(',').unwrap_or(line))).collect::<Result<Vec<String>>>()?;
    rows.sort_unstable();
    Ok(rows)
}

fn row_of(line: &str) -> Result<String> {
    let columns: BTreeMap<String, Box<RawValue>> =
        serde_json::from_str(line).with_context(|| format!("this is no row: {line}"))?;
    let mut row = String::with_capacity(line.len());
    for (name, value) in &columns {
        let value = value.get();
        // Text is in quotes and is no number.
        match value.parse::<f64>() {
            Ok(number) if value.contains(['.', 'e', 'E']) => write!(row, "{name}={number:?} ")?,
            // There are several ways to escape a letter.
            _ if value.contains('\\') => write!(row, "{name}={} ", serde_json::from_str::<Value>(value)?)?,
            _ => write!(row, "{name}={value} ")?,
        }
    }
    Ok(row)
}

/// Verifies that Herald's answer and that of a peer have the same rows, and that they have any.
///
/// # Errors
/// When they are not equal, with the first rows that differ.
pub fn verify_equal(herald: &[String], (peer, other): (&str, &[String])) -> Result<()> {
    if herald.is_empty() && other.is_empty() {
        bail!("both answers are empty, which proves nothing");
    }
    if herald == other {
        return Ok(());
    }
    let same = herald.iter().zip(other).take_while(|(a, b)| a == b).count();
    let shown = |rows: &[String]| rows.get(same).map_or("nothing", String::as_str).to_owned();
    bail!(
        "the answers differ: {} rows of Herald, {} of {peer}; after {same} that are equal\n  Herald has {}\n  {peer} has {}",
        herald.len(),
        other.len(),
        shown(herald),
        shown(other)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_forms_of_one_answer_are_equal() {
        let herald = "[\n{\"a\":1,\"b\":2.9018877892473117e7},\n{\"a\":2,\"b\":123.0}\n]\n";
        let flink = "{\"b\":123.0,\"a\":2}\n{\"b\":2.90188778924731170E7,\"a\":1}\n";
        assert_eq!(rows_of(herald).unwrap(), rows_of(flink).unwrap());
        verify_equal(&rows_of(herald).unwrap(), ("Flink", &rows_of(flink).unwrap())).unwrap();
    }

    #[test]
    fn other_values_differ() {
        let answers = [
            "{\"a\":1}",
            "{\"a\":1.0}",
            "{\"a\":\"1\"}",
            "{\"a\":\"1.0\"}",
            "{\"a\":null}",
            "{\"b\":1}",
            "{\"a\":1}\n{\"a\":1}",
        ];
        for (at, one) in answers.iter().enumerate() {
            for (other_at, other) in answers.iter().enumerate() {
                let equal = verify_equal(&rows_of(one).unwrap(), ("Flink", &rows_of(other).unwrap())).is_ok();
                assert_eq!(equal, at == other_at, "{one} {other}");
            }
        }
    }

    #[test]
    fn escapes_are_read() {
        let (one, other) = ("{\"a\":\"x\\ny\"}", "{\"a\":\"x\\u000ay\"}");
        assert_eq!(rows_of(one).unwrap(), rows_of(other).unwrap());
    }

    #[test]
    fn no_rows_prove_nothing() {
        assert!(verify_equal(&[], ("Flink", &[])).is_err());
    }
}
