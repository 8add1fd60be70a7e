//! Generated records: JSON objects that depend on the seed and the offset only.
//!
//! `template = 'matches'` or `'champions'` gives the records of [`super::matches`]; otherwise each
//! column is described by `fields.COLUMN.kind`: `sequence` (start, step), `random` (min, max),
//! `float` (min, max), `choice` (values), `text` (length), `boolean` (share), `timestamp` (start,
//! step.ms, jitter.ms). One partition; `rows.total` bounds it; `rows.per.second` paces it by the
//! clock, which decides when a record comes, never its content.

use std::collections::BTreeMap;

use super::matches::{MatchOptions, Matches, champion_record, write_time};
use super::random::Random;
use super::reader::Generator;
use crate::ConnectorError;
use crate::options::{Options, nearest_name};

/// Content and amount of the records of a datagen source.
#[derive(Clone, Debug)]
pub struct Datagen {
    content: Content,
    /// Number of records; None for an endless source.
    pub rows_total: Option<u64>,
    /// Records per second; None for as fast as they are read.
    pub rows_per_second: Option<u64>,
    /// Seed of everything random.
    pub seed: u64,
}

#[derive(Clone, Debug)]
enum Content {
    Matches(Matches),
    Champions,
    Fields(Vec<(String, FieldKind)>),
}

#[derive(Clone, Debug, PartialEq)]
enum FieldKind {
    Sequence { start: i64, step: i64 },
    Random { min: i64, max: i64 },
    Float { min: f64, max: f64 },
    Choice(Vec<String>),
    Text { length: u64 },
    Boolean { share: f64 },
    Timestamp { start_ms: i64, step_ms: i64, jitter_ms: i64 },
}

const KINDS: [&str; 7] = ["sequence", "random", "float", "choice", "text", "boolean", "timestamp"];

impl Datagen {
    /// From the options of a source.
    pub fn from_options(values: &BTreeMap<String, String>) -> Result<Datagen, ConnectorError> {
        let number = "a whole number";
        let mut options = Options::new(values);
        options.text("connector");
        let rows_total = options.parse("rows.total", number)?;
        let rows_per_second = options.parse("rows.per.second", number)?;
        if rows_per_second == Some(0) {
            return Err(ConnectorError::config("rows.per.second", "must be above 0"));
        }
        let seed = options.parse("seed", number)?.unwrap_or(0);
        let content = match options.text("template") {
            Some("matches") => Content::Matches(Matches::new(MatchOptions::take_from(&mut options)?)),
            Some("champions") => Content::Champions,
            Some(other) => {
                let message = format!("'{other}' is not known; known are matches, champions");
                return Err(ConnectorError::config("template", message));
            }
            None => Content::Fields(parse_fields(&options.prefixed("fields."))?),
        };
        options.finish()?;
        Ok(Datagen { content, rows_total, rows_per_second, seed })
    }

    /// A source of generated matches.
    pub fn matches(options: MatchOptions, rows_total: Option<u64>) -> Datagen {
        let seed = options.seed;
        let content = Content::Matches(Matches::new(options));
        Datagen { content, rows_total, rows_per_second: None, seed }
    }
}

impl Generator for Datagen {
    fn total(&self) -> Option<u64> {
        self.rows_total
    }

    fn gap_s(&self) -> Option<f64> {
        self.rows_per_second.map(|rate| 1.0 / rate as f64)
    }

    fn write(&self, offset: u64, key: &mut Vec<u8>, value: &mut Vec<u8>) -> Option<Option<i64>> {
        let timestamp = match &self.content {
            Content::Matches(matches) => {
                key.extend_from_slice(matches.match_id(offset).as_bytes());
                Some(matches.write_record(offset, value))
            }
            Content::Champions => {
                let (id, json) = champion_record(offset + 1);
                key.extend_from_slice(id.as_bytes());
                value.extend_from_slice(json.as_bytes());
                None
            }
            Content::Fields(fields) => {
                let mut random = Random::new(self.seed, offset);
                for (i, (name, kind)) in fields.iter().enumerate() {
                    value.push(if i == 0 { b'{' } else { b',' });
                    let name = serde_json::Value::from(name.as_str());
                    value.extend_from_slice(format!("{name}:").as_bytes());
                    kind.write_value(offset, &mut random, value);
                }
                value.push(b'}');
                None
            }
        };
        Some(timestamp)
    }
}

impl FieldKind {
    fn write_value(&self, offset: u64, random: &mut Random, out: &mut Vec<u8>) {
        let text = match self {
            FieldKind::Sequence { start, step } => step_to(*start, *step, offset).to_string(),
            FieldKind::Random { min, max } => random.between(*min, *max).to_string(),
            FieldKind::Float { min, max } => (min + (max - min) * random.unit()).to_string(),
            FieldKind::Choice(values) => {
                let chosen = &values[random.below(values.len() as u64) as usize];
                serde_json::Value::from(chosen.as_str()).to_string()
            }
            FieldKind::Text { length } => {
                format!("\"{}\"", (0..*length).map(|_| random.letter()).collect::<String>())
            }
            FieldKind::Boolean { share } => (random.unit() < *share).to_string(),
            FieldKind::Timestamp { start_ms, step_ms, jitter_ms } => {
                let jitter = random.between(-jitter_ms, *jitter_ms);
                return write_time(out, step_to(*start_ms, *step_ms, offset).wrapping_add(jitter));
            }
        };
        out.extend_from_slice(text.as_bytes());
    }
}

/// The value after `offset` steps.
fn step_to(start: i64, step: i64, offset: u64) -> i64 {
    start.wrapping_add(step.wrapping_mul(offset as i64))
}

/// Reads `COLUMN.kind` and the options of each kind.
fn parse_fields(values: &BTreeMap<String, String>) -> Result<Vec<(String, FieldKind)>, ConnectorError> {
    let mut columns: BTreeMap<&str, BTreeMap<String, String>> = BTreeMap::new();
    for (name, value) in values {
        let Some((column, option)) = name.split_once('.') else {
            let message = format!("write fields.{name}.kind = '...'");
            return Err(ConnectorError::config(&format!("fields.{name}"), message));
        };
        columns.entry(column).or_default().insert(option.to_string(), value.clone());
    }
    if columns.is_empty() {
        let message = "describe the columns with fields.COLUMN.kind, or set template = 'matches'";
        return Err(ConnectorError::config("fields", message));
    }
    let mut fields = Vec::new();
    for (column, options) in columns {
        let kind = parse_kind(&options).map_err(|error| name_column(column, error))?;
        fields.push((column.to_string(), kind));
    }
    Ok(fields)
}

/// The error of a column's option, with the whole name of the option.
fn name_column(column: &str, error: ConnectorError) -> ConnectorError {
    match error {
        ConnectorError::Config { option, message } => {
            ConnectorError::Config { option: format!("fields.{column}.{option}"), message }
        }
        ConnectorError::UnknownOption { option, message } => {
            ConnectorError::UnknownOption { option: format!("fields.{column}.{option}"), message }
        }
        other => other,
    }
}

fn parse_kind(values: &BTreeMap<String, String>) -> Result<FieldKind, ConnectorError> {
    let (number, real) = ("a whole number", "a number");
    let mut options = Options::new(values);
    let kind = match options.required("kind")? {
        "sequence" => FieldKind::Sequence {
            start: options.parse("start", number)?.unwrap_or(0),
            step: options.parse("step", number)?.unwrap_or(1),
        },
        "random" => FieldKind::Random {
            min: options.parse("min", number)?.unwrap_or(0),
            max: options.parse("max", number)?.unwrap_or(1_000_000),
        },
        "float" => FieldKind::Float {
            min: options.parse("min", real)?.unwrap_or(0.0),
            max: options.parse("max", real)?.unwrap_or(1.0),
        },
        "choice" => {
            let values = options.required("values")?;
            FieldKind::Choice(values.split(',').map(str::trim).map(str::to_string).collect())
        }
        "text" => FieldKind::Text { length: options.parse("length", number)?.unwrap_or(8) },
        "boolean" => FieldKind::Boolean { share: options.parse("share", real)?.unwrap_or(0.5) },
        "timestamp" => FieldKind::Timestamp {
            start_ms: parse_time(options.text("start").unwrap_or("2026-01-01T00:00:00Z"))?,
            step_ms: options.parse("step.ms", number)?.unwrap_or(1000),
            jitter_ms: options.parse("jitter.ms", number)?.unwrap_or(0),
        },
        other => {
            let hint = match nearest_name(other, KINDS.into_iter()) {
                Some(near) => format!("; did you mean '{near}'?"),
                None => format!("; known are {}", KINDS.join(", ")),
            };
            return Err(ConnectorError::config("kind", format!("'{other}' is not known{hint}")));
        }
    };
    let bad = match &kind {
        FieldKind::Random { min, max } => min > max,
        FieldKind::Float { min, max } => !(min <= max && min.is_finite() && max.is_finite()),
        _ => false,
    };
    if bad {
        return Err(ConnectorError::config("min", "must not be above max"));
    }
    options.finish()?;
    Ok(kind)
}

fn parse_time(text: &str) -> Result<i64, ConnectorError> {
    match chrono::DateTime::parse_from_rfc3339(text) {
        Ok(time) => Ok(time.timestamp_millis()),
        Err(_) => Err(ConnectorError::config("start", "must be a time such as 2026-01-31T12:00:00Z")),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::generate::reader::GeneratedReader;

    fn datagen(pairs: &[(&str, &str)]) -> Result<Datagen, ConnectorError> {
        Datagen::from_options(&pairs.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect())
    }

    #[test]
    fn what_is_read_does_not_depend_on_where_reading_began() {
        let options = [
            ("rows.total", "100"),
            ("fields.id.kind", "sequence"),
            ("fields.at.kind", "timestamp"),
            ("fields.at.jitter.ms", "500"),
            ("fields.n.kind", "random"),
            ("fields.w.kind", "choice"),
            ("fields.w.values", "a, b"),
            ("fields.b.kind", "boolean"),
            ("fields.f.kind", "float"),
            ("fields.t.kind", "text"),
        ];
        let datagen = datagen(&options).unwrap();
        let mut whole = GeneratedReader::open(datagen.clone(), 0);
        let all = whole.poll(1000, usize::MAX, Duration::ZERO).remove(0);
        assert!(all.len() == 100 && whole.done() && whole.poll(9, 9, Duration::ZERO).is_empty());
        let rest = GeneratedReader::open(datagen, 60).poll(1000, usize::MAX, Duration::ZERO).remove(0);
        assert_eq!((rest.len(), rest.offsets[0]), (40, 60));
        assert_eq!(rest.values.get(5), all.values.get(65));
        let row: serde_json::Value = serde_json::from_slice(all.values.get(3).unwrap()).unwrap();
        assert_eq!(row["id"], 3);
    }

    #[test]
    fn batches_are_bounded() {
        let datagen = datagen(&[("template", "matches"), ("duplicates", "0.1")]).unwrap();
        let mut reader = GeneratedReader::open(datagen, 0);
        assert_eq!(reader.poll(7, usize::MAX, Duration::ZERO)[0].len(), 7);
        assert_eq!(reader.poll(1000, 1, Duration::ZERO)[0].len(), 1);
    }

    #[test]
    fn mistakes_are_named() {
        let error = |pairs: &[(&str, &str)]| datagen(pairs).unwrap_err().to_string();
        assert!(error(&[("fields.a.kind", "sequense")]).contains("did you mean 'sequence'?"));
        assert!(error(&[("template", "matches"), ("duplicate", "1")]).contains("\"duplicates\""));
        assert!(
            error(&[("fields.a.kind", "random"), ("fields.a.min", "x")]).starts_with("option fields.a.min:")
        );
        assert!(error(&[]).contains("fields.COLUMN.kind"));
    }
}
