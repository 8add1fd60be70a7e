//! One record of a feed: `[partition=N] [timestamp=T] [key=K] [header.NAME=V] VALUE`.
//!
//! The fields before the value are the record's coordinates. The value is the rest of the line, byte for
//! byte, and need not be JSON, so that malformed records can be fed. A header's value ends at a space, unless it
//! stands in double quotes, as text of JSON. `NULL` is a record without a value.

use schemas::types::time::parse_timestamp;

/// Hint on the syntax of a record.
pub const SYNTAX_HINT: &str = "write [partition=N] [timestamp=T] [key=K] [header.NAME=V] VALUE; T is ISO-8601, or milliseconds since 1970";

/// A record of a script.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Its line.
    pub line: u64,
    /// Partition; 0 unless stated.
    pub partition: i32,
    /// Timestamp, milliseconds since 1970.
    pub timestamp_ms: Option<i64>,
    /// Key.
    pub key: Option<String>,
    /// Headers: names and values.
    pub headers: Vec<(String, String)>,
    /// Value.
    pub value: Option<String>,
}

/// Parses a record. An error names its column.
pub fn parse_record(line: &str, number: u64) -> Result<Record, (u64, String)> {
    let mut record = Record { line: number, ..Record::default() };
    let mut rest = line.trim_start();
    loop {
        let word = rest.split_whitespace().next().unwrap_or_default();
        let column = line[..line.len() - rest.len()].chars().count() as u64 + 1;
        let Some((name, value)) = word.split_once('=') else { break };
        if let Some(header) = name.strip_prefix("header.").filter(|header| !header.is_empty()) {
            let (value, length) = header_value(&rest[name.len() + 1..])
                .ok_or_else(|| (column, format!("the value of {name} has no end: a text ends with \"")))?;
            record.headers.push((header.to_owned(), value));
            rest = rest[name.len() + 1 + length..].trim_start();
            continue;
        }
        match name {
            "partition" => {
                record.partition = match value.parse::<i32>() {
                    Ok(partition) if (0..10_000).contains(&partition) => partition,
                    _ => return Err((column, format!("{value:?} is no partition from 0 to 9999"))),
                };
            }
            "timestamp" => {
                record.timestamp_ms = match (value.parse::<i64>(), parse_timestamp(value)) {
                    (Ok(ms), _) => Some(ms),
                    (Err(_), Some(us)) => Some(us.div_euclid(1000)),
                    (Err(_), None) => return Err((column, format!("{value:?} is no timestamp"))),
                };
            }
            "key" => record.key = Some(value.to_owned()),
            _ => break,
        }
        rest = rest[word.len()..].trim_start();
    }
    if rest.is_empty() {
        return Err((line.chars().count() as u64 + 1, "the record has no value".to_owned()));
    }
    record.value = (rest != "NULL").then(|| rest.to_owned());
    Ok(record)
}

/// The value of a header, and the length of its text: up to a space, or a text of JSON in double quotes.
fn header_value(text: &str) -> Option<(String, usize)> {
    if !text.starts_with('"') {
        let end = text.find(char::is_whitespace).unwrap_or(text.len());
        return Some((text[..end].to_owned(), end));
    }
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<String>();
    let value = values.next()?.ok()?;
    Some((value, values.byte_offset()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coordinates_stand_before_the_value() {
        let read = |line| parse_record(line, 7);
        let plain = Record { line: 7, value: Some("{\"a\": 1}".into()), ..Record::default() };
        assert_eq!(read("{\"a\": 1}"), Ok(plain.clone()));
        let timed = Record { partition: 2, timestamp_ms: Some(1500), ..plain };
        assert_eq!(read(" partition=2 timestamp=1970-01-01T00:00:01.5Z {\"a\": 1}"), Ok(timed.clone()));
        assert_eq!(read("timestamp=1500 partition=2 {\"a\": 1}"), Ok(timed));
        let null = Record { line: 7, key: Some("k".into()), ..Record::default() };
        assert_eq!(read("key=k NULL"), Ok(null));
        assert_eq!(read("a=b").map(|r| r.value), Ok(Some("a=b".into())));
        let headed = read(r#"header.a.b=c key=k header.d="e \"f" header.=1"#);
        let (key, headers) =
            (Some("k".into()), vec![("a.b".into(), "c".into()), ("d".into(), "e \"f".into())]);
        let value = Some("header.=1".into());
        assert_eq!(headed, Ok(Record { line: 7, key, headers, value, ..Record::default() }));
    }

    #[test]
    fn mistakes_have_columns() {
        let column = |line| parse_record(line, 7).map_err(|(column, _)| column).unwrap_err();
        assert_eq!(column("partition=x {}"), 1);
        assert_eq!(column("partition=-1 {}"), 1);
        assert_eq!(column("partition=1  timestamp=soon {}"), 14);
        assert_eq!(column("partition=1"), 12);
        assert_eq!(column("key=k header.a=\"b {}"), 7);
    }
}
