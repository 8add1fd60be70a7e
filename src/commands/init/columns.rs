//! Inference of a source's columns and key from a sample of its records.

use serde_json::{Map, Value};

use super::disorder::Disorder;
use super::ids::{self, Id, NearId};
use super::keys::{KeyedRecord, RecordKey, non_null};
use super::kinds::{Kind, Tally, has_nameless, is_quoted_whole};
use super::names::{identifier, is_id_name, one_line};
use super::record::SampleRecord;

/// A column.
#[derive(Clone, Debug)]
pub struct Column {
    /// Its name in the records.
    pub name: String,
    kind: Kind,
    required: bool,
    /// Set if it is text whose values are whole numbers.
    numeral: bool,
    /// Number of records with a value of another type.
    misfits: usize,
    /// Notes on the types of its values, if there are several.
    notes: Vec<String>,
}

/// Columns that fit a sample of records.
#[derive(Debug)]
pub struct Sample {
    /// The records that they fit, by their place.
    pub fitting: Vec<usize>,
    /// Number of JSON objects that they do not fit.
    pub misfits: usize,
    /// Number of records that are no JSON objects, without those that delete a row.
    pub others: usize,
    /// Set if a record has a field without a name, which is in no column.
    pub nameless: bool,
    /// The columns, in the order in which they were first seen.
    pub columns: Vec<Column>,
    /// The key columns: those of the records' keys, else the id of the records, else none.
    pub key: Vec<String>,
    /// Number of records with the id of an earlier one, if the id is the key.
    pub repeats: usize,
    /// The field that nearly is a key, if there is no key.
    pub near_id: Option<NearId>,
    /// The records' keys, if they are the table's.
    pub record_key: Option<RecordKey>,
    /// A column of timestamps that are all present.
    pub time: Option<String>,
    /// The disorder of the records by that column.
    pub disorder: Disorder,
}

impl Sample {
    /// Infers the columns and the key of these records.
    ///
    /// # Errors
    /// The reason, if no record has columns.
    pub fn of(records: &[SampleRecord]) -> Result<Sample, String> {
        let mut objects = parse_objects(records)?;
        let mut tally = Tally::default();
        for fields in objects.iter().flatten() {
            tally.add_object(fields);
        }
        let Kind::Struct(kinds) = tally.kind() else {
            return Err("the records have no fields, or too many for columns".to_owned());
        };
        let mut columns: Vec<Column> = kinds.iter().map(Column::new).collect();
        for column in &mut columns {
            column.notes = tally.field_notes(&column.name, &column.kind);
        }
        let present = objects.iter().flatten().count();
        let fitting = keep_fitting(&mut objects, &mut columns);
        if fitting.is_empty() {
            return Err("no record has the types that most values of each field have".to_owned());
        }
        let sampled: Vec<&Map<String, Value>> = objects.iter().flatten().collect();
        let mut nameless = false;
        for fields in &sampled {
            nameless |= has_nameless(fields, &kinds);
        }
        let id = ids::find(&kinds, &sampled);
        let found = keyed_records(records, &objects).and_then(|keyed| RecordKey::find(&keyed, &kinds));
        let record_key = found.filter(|key| key.deletes > 0 || replaces_rows(key, id.as_ref()));
        let time = columns.iter().find(|column| column.is_time(&sampled)).map(Column::own_name);
        let (key, deletes, repeats) = match (&record_key, id) {
            (Some(found), _) => {
                columns.extend(found.added.iter().map(Column::new));
                (found.columns.clone(), found.deletes, 0)
            }
            (None, Some(id)) => (vec![id.name], 0, id.repeats),
            (None, None) => (Vec::new(), 0, 0),
        };
        // A field that is present in the sample may be missing later: only the key and the time are NOT NULL.
        for column in &mut columns {
            column.required = key.contains(&column.name) || time.as_ref() == Some(&column.name);
            column.numeral = !column.required && column.has_numerals(&sampled);
        }
        let near_id = if key.is_empty() { ids::find_near(&kinds, &sampled) } else { None };
        let disorder = match &time {
            Some(time) => Disorder::measure(time, records, &objects),
            None => Disorder::default(),
        };
        Ok(Sample {
            misfits: present - fitting.len(),
            others: records.len() - present - deletes,
            fitting,
            nameless,
            columns,
            repeats,
            key: key.iter().map(|name| identifier(name)).collect(),
            near_id,
            record_key,
            disorder,
            time: time.as_deref().map(identifier),
        })
    }
}

impl Column {
    fn new((name, kind): &(String, Kind)) -> Column {
        Column {
            name: name.clone(),
            kind: kind.clone(),
            required: false,
            numeral: false,
            misfits: 0,
            notes: Vec::new(),
        }
    }

    fn own_name(&self) -> String {
        self.name.clone()
    }

    /// Tells whether it is text whose values are whole numbers, by its name no ids.
    fn has_numerals(&self, records: &[&Map<String, Value>]) -> bool {
        if self.kind != Kind::Text || is_id_name(&self.name) {
            return false;
        }
        let mut values = records.iter().filter_map(|fields| non_null(fields, &self.name)).peekable();
        values.peek().is_some() && values.all(is_quoted_whole)
    }

    /// Tells whether each of the records has a time in it.
    fn is_time(&self, records: &[&Map<String, Value>]) -> bool {
        self.kind == Kind::Time && is_present(&self.name, records)
    }

    /// The column in the syntax of CREATE SOURCE, below its comments.
    pub fn sql(&self) -> String {
        let required = if self.required { " NOT NULL" } else { "" };
        format!("{}  {} {}{required}", self.comments(), identifier(&self.name), self.kind.sql())
    }

    /// Comments on records that do not fit it, on several types, and on numbers in quotes.
    fn comments(&self) -> String {
        let mut comments = match self.misfits {
            0 => String::new(),
            1 => "  -- In 1 record of the sample it has another type: that record is rejected.\n".to_owned(),
            n => format!(
                "  -- In {n} records of the sample it has another type: those records are rejected.\n"
            ),
        };
        for note in &self.notes {
            comments.push_str(&format!("  -- {note}\n"));
        }
        let scales: Vec<String> = self.kind.scales().iter().map(ToString::to_string).collect();
        if !scales.is_empty() {
            let quoted = if self.notes.is_empty() { "Numbers in quotes. " } else { "" };
            let comment = format!("{quoted}A record with more decimals than");
            comments.push_str(&format!("  -- {comment} {} is rejected.\n", scales.join(" or ")));
        } else if self.numeral {
            let name = one_line(&identifier(&self.name));
            comments.push_str(&format!(
                "  -- Numbers in quotes. Read them as numbers in a view: CAST({name} AS BIGINT).\n"
            ));
        }
        comments
    }
}

/// Tells whether records replace each other by their keys. A key that repeats more often than the id beside it only
/// says where a record goes.
fn replaces_rows(key: &RecordKey, id: Option<&Id>) -> bool {
    match id {
        Some(id) => key.repeats <= id.repeats || key.columns == [id.name.as_str()],
        None => true,
    }
}

/// The fields of each record; None for one that is no JSON object.
///
/// # Errors
/// The reason why the first record has none, if no record has any.
fn parse_objects(records: &[SampleRecord]) -> Result<Vec<Option<Map<String, Value>>>, String> {
    let mut reason = None;
    let mut objects = Vec::with_capacity(records.len());
    for (at, record) in records.iter().enumerate() {
        let parsed = record.value.as_deref().map(serde_json::from_slice::<Value>);
        let told = match parsed {
            Some(Ok(Value::Object(fields))) => {
                objects.push(Some(fields));
                continue;
            }
            Some(Ok(_)) => format!("record {} is no JSON object, so it has no columns", at + 1),
            Some(Err(error)) => format!("record {} is no JSON: {error}", at + 1),
            None => format!("record {} has no value", at + 1),
        };
        objects.push(None);
        reason = reason.or(Some(told));
    }
    match reason {
        Some(reason) if objects.iter().all(Option::is_none) => Err(format!(
            "{reason}\n  init makes columns of JSON objects; to take records as they are, write a source of one \
             column:\n  CREATE SOURCE name (body BYTEA) WITH (...) FORMAT PLAIN ENCODE BYTES, or (body VARCHAR) and \
             ENCODE TEXT"
        )),
        _ => Ok(objects),
    }
}

/// The places of the objects that fit the columns. The others are dropped, and counted at the columns that
/// they do not fit.
fn keep_fitting(objects: &mut [Option<Map<String, Value>>], columns: &mut [Column]) -> Vec<usize> {
    let mut fitting = Vec::new();
    for (at, object) in objects.iter_mut().enumerate() {
        let Some(fields) = object else { continue };
        let mut fits = true;
        for column in columns.iter_mut() {
            if let Some(value) = fields.get(&column.name)
                && !column.kind.fits(value)
            {
                column.misfits += 1;
                fits = false;
            }
        }
        if fits {
            fitting.push(at);
        } else {
            *object = None;
        }
    }
    fitting
}

/// The records with their keys; None if one has no key.
fn keyed_records<'a>(
    records: &'a [SampleRecord],
    objects: &'a [Option<Map<String, Value>>],
) -> Option<Vec<KeyedRecord<'a>>> {
    let mut keyed = Vec::with_capacity(records.len());
    for (record, object) in records.iter().zip(objects) {
        let key = record.key.as_deref()?;
        keyed.push(KeyedRecord { key, fields: object.as_ref(), deletes: record.value.is_none() });
    }
    Some(keyed)
}

/// Tells whether every record has a value of the field.
fn is_present(name: &str, records: &[&Map<String, Value>]) -> bool {
    records.iter().all(|fields| non_null(fields, name).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Records without keys.
    fn of_values(values: &[&str]) -> Result<Sample, String> {
        of_records(&values.iter().map(|value| (None, Some(*value))).collect::<Vec<_>>())
    }

    fn of_records(records: &[(Option<&str>, Option<&str>)]) -> Result<Sample, String> {
        let bytes = |text: &Option<&str>| text.map(|text| text.as_bytes().to_vec());
        let records: Vec<SampleRecord> = records
            .iter()
            .map(|(key, value)| SampleRecord { key: bytes(key), value: bytes(value), partition: 0 })
            .collect();
        Sample::of(&records)
    }

    fn sql(sample: &Sample) -> Vec<String> {
        sample.columns.iter().map(|column| column.sql().trim_start().to_owned()).collect()
    }

    #[test]
    fn columns_fit_all_records() {
        let sample = of_values(&[
            r#"{"id":1,"order":"a","n":1,"at":"2026-01-01T00:00:00Z","tags":["x"],"p":{"x":1}}"#,
            r#"{"id":2,"order":"b","n":1.5,"at":"2026-01-01T00:00:01+02:00","tags":[],"p":{"x":null,"Y":true}}"#,
            r#"{"id":3,"order":null,"n":null,"at":"2026-01-01 00:00:00Z","mixed":1,"e":{}}"#,
        ])
        .unwrap();
        assert_eq!(
            sql(&sample),
            [
                "id BIGINT NOT NULL",
                "\"order\" VARCHAR",
                "n DOUBLE PRECISION",
                "at TIMESTAMPTZ NOT NULL",
                "tags VARCHAR[]",
                "p STRUCT<x BIGINT, \"Y\" BOOLEAN>",
                "mixed BIGINT",
                "e JSONB"
            ]
        );
    }

    #[test]
    fn a_key_is_unique_and_a_record_is_an_object() {
        assert_eq!(of_values(&[r#"{"order_id":"a"}"#, r#"{"order_id":"b"}"#]).unwrap().key, ["order_id"]);
        assert!(of_values(&[r#"{"order_id":"a"}"#, r#"{"order_id":"a"}"#]).unwrap().key.is_empty());
        let mixed = of_values(&["x", r#"{"a":1}"#, "[1]"]).unwrap();
        assert_eq!((mixed.fitting, mixed.others, mixed.misfits), (vec![1], 2, 0));
        assert!(of_values(&["[1]"]).unwrap_err().contains("no JSON object"));
        assert!(of_values(&["x"]).unwrap_err().contains("record 1 is no JSON"));
    }

    #[test]
    fn numbers_in_quotes_are_told() {
        let sample = of_values(&[
            r#"{"id":"1","price":"12.55","points":"7","zip":"01234","n":null,"l":{"q":["0.5"],"r":"1.25"}}"#,
            r#"{"id":"2","price":"3","points":"8","zip":"99999","n":null,"l":{"q":[],"r":"2.25"}}"#,
        ])
        .unwrap();
        assert_eq!(
            sql(&sample),
            [
                "id VARCHAR NOT NULL",
                "-- Numbers in quotes. A record with more decimals than 2 is rejected.\n  price DECIMAL(18, 2)",
                "-- Numbers in quotes. Read them as numbers in a view: CAST(points AS BIGINT).\n  points VARCHAR",
                "zip VARCHAR",
                "n VARCHAR",
                "-- Numbers in quotes. A record with more decimals than 1 or 2 is rejected.\n  \
                 l STRUCT<q DECIMAL(18, 1)[], r DECIMAL(18, 2)>"
            ]
        );
    }

    #[test]
    fn several_types_are_told_above_their_column() {
        let sample = of_values(&[
            r#"{"price":12.5,"points":7,"mixed":1}"#,
            r#"{"price":"3.25","points":"8","mixed":true}"#,
        ])
        .unwrap();
        assert_eq!(
            sql(&sample),
            [
                "-- DECIMAL reads numbers both ways. Seen: 1 number, 1 number in quotes.\n  \
                 -- A record with more decimals than 2 is rejected.\n  price DECIMAL(18, 2)",
                "-- DECIMAL reads numbers both ways. Seen: 1 number, 1 number in quotes.\n  \
                 -- A record with more decimals than 0 is rejected.\n  points DECIMAL(18, 0)",
                "-- JSONB holds the several types that were seen: 1 number, 1 boolean.\n  mixed JSONB"
            ]
        );
    }

    #[test]
    fn an_id_that_nearly_is_a_key_is_told() {
        let near = |values: &[&str]| of_values(values).unwrap().near_id;
        let (one, two) = (r#"{"id":1,"x":1}"#, r#"{"id":2,"x":2}"#);
        let found = near(&[one, two, r#"{"id":1,"x":3}"#, r#"{"id":3}"#, r#"{"id":4}"#, r#"{"x":3}"#]);
        let Some(found) = found else { panic!("no column") };
        assert_eq!((found.name.as_str(), found.repeats, found.missing), ("id", 1, 1));
        assert_eq!(near(&[one, two]), None);
        assert_eq!(near(&[one, r#"{"id":1,"x":3}"#]), None);
    }

    #[test]
    fn a_field_without_a_name_is_no_column() {
        let sample = of_values(&[r#"{"":1,"p":{"":2,"x":3}}"#]).unwrap();
        assert_eq!((sql(&sample), sample.nameless), (vec!["p STRUCT<x BIGINT>".to_owned()], true));
        assert!(of_values(&[r#"{"p":[{"":2,"x":3}]}"#]).unwrap().nameless);
        assert!(!of_values(&[r#"{"p":{"x":3}}"#]).unwrap().nameless);
        assert!(of_values(&[r#"{"":1}"#]).is_err());
        // A key with such a field is in no columns either.
        let keyed = [(Some(r#"{"":1,"x":2}"#), Some(r#"{"x":2}"#))];
        assert_eq!(of_records(&keyed).unwrap().record_key, None);
    }

    #[test]
    fn an_odd_record_in_a_thousand_is_rejected() {
        let mut values: Vec<String> =
            (0..999).map(|n| format!(r#"{{"id":{n},"at":"2026-01-01T00:00:00Z"}}"#)).collect();
        values.push(r#"{"id":"n/a","at":"2026-01-01T00:00:00Z"}"#.to_owned());
        let sample = of_values(&values.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
        assert_eq!((sample.fitting.len(), sample.misfits, sample.others), (999, 1, 0));
        // It has no part in the key.
        assert_eq!(sample.key, ["id"]);
        assert_eq!(
            sql(&sample),
            [
                "-- In 1 record of the sample it has another type: that record is rejected.\n  id BIGINT NOT NULL",
                "at TIMESTAMPTZ NOT NULL"
            ]
        );
    }

    #[test]
    fn keys_of_records_are_keys_of_the_table() {
        let (one, two) = (r#"{"name":"a","n":1}"#, r#"{"name":"b","n":2}"#);
        let sample =
            of_records(&[(Some("a"), Some(one)), (Some("b"), Some(two)), (Some("a"), None)]).unwrap();
        assert_eq!((&sample.key[..], sample.others), (&["name".to_owned()][..], 0));
        assert_eq!(sql(&sample), ["name VARCHAR NOT NULL", "n BIGINT"]);
        assert_eq!(sample.record_key.map(|key| key.deletes), Some(1));
        // A key may hold a column that no value has.
        let sample =
            of_records(&[(Some(r#"{"Id":1}"#), Some(one)), (Some(r#"{"Id":2}"#), Some(one))]).unwrap();
        assert_eq!(sample.key, ["\"Id\""]);
        assert_eq!(sql(&sample), ["name VARCHAR", "n BIGINT", "\"Id\" BIGINT NOT NULL"]);
        // A record without a key leaves its table without one, and a null value is then no row.
        let sample = of_records(&[(Some("a"), Some(one)), (None, Some(two)), (Some("a"), None)]).unwrap();
        assert_eq!((sample.key.len(), sample.record_key.is_none(), sample.others), (0, true, 1));
    }

    #[test]
    fn keys_that_repeat_beside_an_id_are_not_the_tables() {
        let events = [
            (Some("anna"), Some(r#"{"event_id":1,"player":"anna"}"#)),
            (Some("anna"), Some(r#"{"event_id":2,"player":"anna"}"#)),
        ];
        let sample = of_records(&events).unwrap();
        assert_eq!((&sample.key[..], sample.record_key), (&["event_id".to_owned()][..], None));
        // Nor are they where an id repeats as well, in duplicates.
        let sample = of_records(&[&events[..], &events[..1]].concat()).unwrap();
        assert_eq!((&sample.key[..], sample.repeats), (&["event_id".to_owned()][..], 1));
        assert_eq!(sample.record_key, None);
        // With a delete among them they are.
        let sample = of_records(&[&events[..], &[(Some("anna"), None)]].concat()).unwrap();
        assert_eq!(sample.key, ["player"]);
        // Without an id there is no other key.
        let moves = [r#"{"player":"anna","x":1}"#, r#"{"player":"anna","x":2}"#];
        let sample = of_records(&moves.map(|value| (Some("anna"), Some(value)))).unwrap();
        assert_eq!(sample.record_key.map(|key| key.repeats), Some(1));
    }
}
