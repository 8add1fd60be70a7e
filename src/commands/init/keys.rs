//! Keys of records: the columns that hold them, and how they are written.
//!
//! The keys count only if every record of the sample has one. A null value deletes the row of its key, so it
//! shows that the rows of the topic replace each other.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::kinds::{Kind, Tally};
use super::names::{identifier, is_id_name, one_line};

/// A record that has a key.
#[derive(Debug)]
pub struct KeyedRecord<'a> {
    /// The key's bytes.
    pub key: &'a [u8],
    /// The fields of its value; None for a null, and for a value that does not fit the columns.
    pub fields: Option<&'a Map<String, Value>>,
    /// True if the value is null.
    pub deletes: bool,
}

/// The form of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyForm {
    /// The text of one VARCHAR column.
    Text,
    /// The digits of one BIGINT column.
    Number,
    /// JSON: an object with a field for each key column, or the value of the one column.
    Json,
    /// Bytes that are in no column.
    Bytes,
}

/// The key of a table whose records have keys.
#[derive(Debug, PartialEq)]
pub struct RecordKey {
    /// Names of the key columns.
    pub columns: Vec<String>,
    /// Those that no value has, with their types.
    pub added: Vec<(String, Kind)>,
    /// The form in which it is written.
    pub form: KeyForm,
    /// Number of records that delete the row of their key.
    pub deletes: usize,
    /// Number of records with the key of an earlier one.
    pub repeats: usize,
}

impl RecordKey {
    /// Finds the columns that the keys of all records hold. If there are none, the keys' bytes are the table's
    /// key, provided that a record deletes.
    pub fn find(records: &[KeyedRecord<'_>], columns: &[(String, Kind)]) -> Option<RecordKey> {
        let deletes = records.iter().filter(|record| record.deletes).count();
        let distinct: HashSet<&[u8]> = records.iter().map(|record| record.key).collect();
        let repeats = records.len() - distinct.len();
        let (mut names, mut added) = (Vec::new(), Vec::new());
        let form = if let Some(fields) = object_columns(records, columns) {
            for (name, kind) in fields {
                names.push(name.clone());
                if !is_column(columns, &name) {
                    added.push((name, kind));
                }
            }
            KeyForm::Json
        } else if let Some((form, name)) = value_column(records, columns) {
            names.push(name.to_owned());
            form
        } else if deletes > 0 {
            names.push(free_name(columns));
            KeyForm::Bytes
        } else {
            return None;
        };
        Some(RecordKey { columns: names, added, form, deletes, repeats })
    }

    /// The clauses before WITH and behind it: INCLUDE, if there is one, and FORMAT.
    pub fn clauses(&self) -> (String, &'static str) {
        match self.form {
            KeyForm::Text | KeyForm::Number => (String::new(), "FORMAT UPSERT ENCODE JSON KEY ENCODE TEXT"),
            KeyForm::Json => (String::new(), "FORMAT UPSERT ENCODE JSON KEY ENCODE JSON"),
            KeyForm::Bytes => {
                (format!("INCLUDE key AS {}\n", self.columns.join(", ")), "FORMAT UPSERT ENCODE JSON")
            }
        }
    }

    /// The reason for the format, as lines of a comment.
    pub fn comment(&self) -> String {
        let columns: Vec<String> = self.columns.iter().map(|name| identifier(name)).collect();
        let held = match self.form {
            KeyForm::Bytes => {
                "-- FORMAT UPSERT: every record has a key. It is in no column, so its bytes are one.\n"
                    .to_owned()
            }
            _ => format!(
                "-- FORMAT UPSERT: the key of every record is its {}.\n",
                one_line(&columns.join(", "))
            ),
        };
        let told = match (self.deletes, self.repeats) {
            (1, _) => "-- 1 record of the sample has no value: it deletes the row of its key.\n".to_owned(),
            (2.., _) => {
                format!(
                    "-- {} records of the sample have no value: each deletes the row of its key.\n",
                    self.deletes
                )
            }
            (0, 0) => {
                "-- A record replaces the row of its key, and one without a value deletes it.\n".to_owned()
            }
            (0, n) => format!(
                "-- Records with the key of an earlier one ({n} of the sample) replace its row. If each is a row\n\
                 -- of its own, write CREATE SOURCE without the PRIMARY KEY, and FORMAT PLAIN ENCODE JSON.\n"
            ),
        };
        held + &told
    }

    /// A key as JSON, in which tests have it.
    pub fn to_json(&self, key: &[u8]) -> String {
        let text = String::from_utf8_lossy(key);
        match self.form {
            KeyForm::Text | KeyForm::Bytes => Value::from(text).to_string(),
            KeyForm::Number | KeyForm::Json => text.into_owned(),
        }
    }
}

/// The fields of the keys with their types, if all keys are objects of the same fields and no value
/// contradicts its key.
fn object_columns(records: &[KeyedRecord<'_>], columns: &[(String, Kind)]) -> Option<Vec<(String, Kind)>> {
    let mut keys: Vec<Map<String, Value>> = Vec::with_capacity(records.len());
    let mut tally = Tally::default();
    for record in records {
        let key: Map<String, Value> = serde_json::from_slice(record.key).ok()?;
        // No column has an empty name.
        if key.contains_key("") {
            return None;
        }
        tally.add_object(&key);
        keys.push(key);
    }
    let Kind::Struct(fields) = tally.kind() else { return None };
    for (name, seen) in &fields {
        let kind = match columns.iter().find(|(column, _)| column == name) {
            Some((_, declared)) => declared,
            None => seen,
        };
        let mut pairs = records.iter().zip(&keys);
        if !kind.may_be_key() || !pairs.all(|(record, key)| agrees(record, key, name, kind)) {
            return None;
        }
    }
    Some(fields)
}

/// Tells whether a key has a field of this type, which the record's value does not contradict.
fn agrees(record: &KeyedRecord<'_>, key: &Map<String, Value>, name: &str, kind: &Kind) -> bool {
    let Some(meant) = non_null(key, name) else { return false };
    let said = record.fields.and_then(|fields| non_null(fields, name));
    kind.fits(meant) && said.is_none_or(|said| said == meant)
}

/// The value of a field, unless it is null.
pub(super) fn non_null<'v>(fields: &'v Map<String, Value>, name: &str) -> Option<&'v Value> {
    fields.get(name).filter(|value| !value.is_null())
}

/// The column whose value is the key of every record, and the form of the key. One named like an id comes
/// first.
fn value_column<'a>(
    records: &[KeyedRecord<'_>],
    columns: &'a [(String, Kind)],
) -> Option<(KeyForm, &'a str)> {
    let (ids, others): (Vec<_>, Vec<_>) = columns.iter().partition(|(name, _)| is_id_name(name));
    for (name, kind) in ids.into_iter().chain(others) {
        for form in [KeyForm::Text, KeyForm::Number, KeyForm::Json] {
            if records.iter().all(|record| is_key(record, name, form, kind)) {
                return Some((form, name.as_str()));
            }
        }
    }
    None
}

/// Tells whether the key of a record is, in this form, the value of a column, where the record has fields.
fn is_key(record: &KeyedRecord<'_>, name: &str, form: KeyForm, kind: &Kind) -> bool {
    let Some(meant) = read_key(record.key, form, kind) else { return false };
    record.fields.is_none_or(|fields| fields.get(name) == Some(&meant))
}

/// A key as the value of a column of this type; None if it is none in this form.
fn read_key(key: &[u8], form: KeyForm, kind: &Kind) -> Option<Value> {
    let value = match (form, kind) {
        (KeyForm::Text, Kind::Text) => Value::from(std::str::from_utf8(key).ok()?),
        (KeyForm::Number, Kind::Whole) => serde_json::from_slice(key).ok()?,
        (KeyForm::Json, Kind::Text | Kind::Time | Kind::Boolean) => serde_json::from_slice(key).ok()?,
        _ => return None,
    };
    (!value.is_null() && kind.fits(&value)).then_some(value)
}

/// A name for the column of the keys' bytes.
fn free_name(columns: &[(String, Kind)]) -> String {
    let mut name = "record_key".to_owned();
    while is_column(columns, &name) {
        name.insert(0, '_');
    }
    name
}

fn is_column(columns: &[(String, Kind)], name: &str) -> bool {
    columns.iter().any(|(column, _)| column == name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Finds the key of records, given as keys and values; null values delete.
    fn find(records: &[(&str, Value)], columns: &[(&str, Kind)]) -> Option<RecordKey> {
        let keyed: Vec<KeyedRecord<'_>> = records
            .iter()
            .map(|(key, value)| KeyedRecord {
                key: key.as_bytes(),
                fields: value.as_object(),
                deletes: value.is_null(),
            })
            .collect();
        let columns: Vec<(String, Kind)> =
            columns.iter().map(|(name, kind)| ((*name).to_owned(), kind.clone())).collect();
        RecordKey::find(&keyed, &columns)
    }

    #[test]
    fn a_key_is_the_value_of_a_column() {
        let columns = [("at", Kind::Time), ("n", Kind::Whole), ("id", Kind::Text)];
        let found =
            |key: &str, value: Value| find(&[(key, value)], &columns).map(|key| (key.form, key.columns));
        let of = |form, name: &str| Some((form, vec![name.to_owned()]));
        assert_eq!(found("a", json!({"id": "a", "n": 1})), of(KeyForm::Text, "id"));
        assert_eq!(found("\"a\"", json!({"id": "a"})), of(KeyForm::Json, "id"));
        assert_eq!(found("7", json!({"id": "a", "n": 7})), of(KeyForm::Number, "n"));
        assert_eq!(found("07", json!({"id": "a", "n": 7})), None);
        let at = "2026-01-01T00:00:00Z";
        assert_eq!(found(&json!(at).to_string(), json!({"at": at})), of(KeyForm::Json, "at"));
        // TEXT is no form of a time, and a value without the column says nothing.
        assert_eq!(found(at, json!({"at": at})), None);
        assert_eq!(found("a", json!({"n": 1})), None);
        // A column that is named like an id comes before the first.
        let both = [("name", Kind::Text), ("user_id", Kind::Text)];
        let key = find(&[("a", json!({"name": "a", "user_id": "a"}))], &both).unwrap();
        assert_eq!(key.columns, ["user_id"]);
    }

    #[test]
    fn a_key_is_an_object_of_columns() {
        let columns = [("shop", Kind::Text), ("id", Kind::Whole), ("cents", Kind::Whole)];
        let value = json!({"shop": "a", "id": 1, "cents": 5});
        let key = find(&[(r#"{"id":1,"shop":"a"}"#, value.clone())], &columns).unwrap();
        assert_eq!((key.form, key.columns.len(), key.added.len()), (KeyForm::Json, 2, 0));
        // A value may leave the key out, but not contradict it; every key has all fields.
        let alone = find(&[(r#"{"nr":1}"#, value.clone())], &columns).unwrap();
        assert_eq!(
            (alone.columns, alone.added),
            (vec!["nr".to_owned()], vec![("nr".to_owned(), Kind::Whole)])
        );
        assert_eq!(find(&[(r#"{"id":2}"#, value.clone())], &columns), None);
        assert_eq!(
            find(&[(r#"{"id":1}"#, value.clone()), (r#"{"shop":"a"}"#, value.clone())], &columns),
            None
        );
        assert_eq!(find(&[("{}", value.clone())], &columns), None);
        assert_eq!(find(&[(r#"{"schema":{},"payload":{"id":1}}"#, value)], &columns), None);
    }

    #[test]
    fn a_null_value_makes_a_table_of_any_key() {
        let columns = [("id", Kind::Text), ("record_key", Kind::Text)];
        let records = [("k1", json!({"id": "a"})), ("k1", Value::Null), ("k2", json!({"id": "b"}))];
        let key = find(&records, &columns).unwrap();
        assert_eq!((key.form, key.deletes, key.repeats), (KeyForm::Bytes, 1, 1));
        assert_eq!(key.columns, ["_record_key"]);
        assert_eq!(find(&records[2..], &columns), None);
        // The key of a delete need not be in a value.
        let key = find(&[("a", json!({"id": "a"})), ("z", Value::Null)], &columns).unwrap();
        assert_eq!((key.form, key.to_json(b"z")), (KeyForm::Text, "\"z\"".to_owned()));
        assert!(key.comment().contains("its id") && key.comment().contains("1 record"), "{}", key.comment());
    }
}
