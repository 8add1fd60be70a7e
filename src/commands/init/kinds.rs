//! Types of JSON values: a tally of the values of each field, and the type that almost all of them have.
//!
//! The share of [`MAJORITY_PERCENT`] decides, so that one odd record does not change a column. Whole numbers among
//! others count as DOUBLE, and times among other texts as text. Below that share the field is JSONB, which holds
//! every value.

use serde_json::{Map, Value};

use super::names::identifier;

/// Smallest share of a field's values that decides the field's type against the others.
const MAJORITY_PERCENT: usize = 99;
/// Most fields of an object; one with more becomes a JSONB column.
const MAX_FIELDS: usize = 200;

/// The SQL type of a field.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// VARCHAR, because no value was seen.
    Unknown,
    /// BOOLEAN.
    Boolean,
    /// BIGINT.
    Whole,
    /// DOUBLE PRECISION.
    Double,
    /// VARCHAR.
    Text,
    /// TIMESTAMPTZ.
    Time,
    /// STRUCT, with the names and types of its fields.
    Struct(Vec<(String, Kind)>),
    /// An array of one type.
    List(Box<Kind>),
    /// JSONB: values of several types, or objects without fields or with too many.
    Json,
}

impl Kind {
    /// The type in SQL.
    pub fn sql(&self) -> String {
        match self {
            Kind::Boolean => "BOOLEAN".to_owned(),
            Kind::Whole => "BIGINT".to_owned(),
            Kind::Double => "DOUBLE PRECISION".to_owned(),
            Kind::Text | Kind::Unknown => "VARCHAR".to_owned(),
            Kind::Time => "TIMESTAMPTZ".to_owned(),
            Kind::Json => "JSONB".to_owned(),
            Kind::List(item) => format!("{}[]", item.sql()),
            Kind::Struct(fields) => {
                let fields = fields.iter().map(|(name, kind)| format!("{} {}", identifier(name), kind.sql()));
                format!("STRUCT<{}>", fields.collect::<Vec<_>>().join(", "))
            }
        }
    }

    /// Tells whether a source reads a value into a column of this type.
    pub fn fits(&self, value: &Value) -> bool {
        match (self, value) {
            (_, Value::Null) | (Kind::Json, _) => true,
            (Kind::Boolean, value) => value.is_boolean(),
            (Kind::Whole, value) => value.is_i64(),
            (Kind::Double, value) => value.is_number(),
            (Kind::Text | Kind::Unknown, value) => value.is_string(),
            (Kind::Time, Value::String(text)) => schemas::types::time::parse_timestamp(text).is_some(),
            (Kind::List(item), Value::Array(items)) => items.iter().all(|value| item.fits(value)),
            (Kind::Struct(fields), Value::Object(object)) => {
                fields.iter().all(|(name, kind)| kind.fits(object.get(name).unwrap_or(&Value::Null)))
            }
            (Kind::Time | Kind::List(_) | Kind::Struct(_), _) => false,
        }
    }

    /// Tells whether a column of this type may be a key.
    pub fn may_be_key(&self) -> bool {
        matches!(self, Kind::Boolean | Kind::Whole | Kind::Text | Kind::Time)
    }
}

/// The values of a field, counted by type. Nulls do not count.
#[derive(Debug, Default)]
pub struct Tally {
    booleans: usize,
    whole: usize,
    doubles: usize,
    texts: usize,
    times: usize,
    lists: usize,
    objects: usize,
    /// The items of its lists.
    items: Option<Box<Tally>>,
    /// The fields of its objects, in the order in which they were first seen.
    fields: Vec<(String, Tally)>,
    /// Set when its objects have more fields than a STRUCT may have.
    too_wide: bool,
}

impl Tally {
    /// Counts a value.
    pub fn add(&mut self, value: &Value) {
        match value {
            Value::Null => {}
            Value::Bool(_) => self.booleans += 1,
            Value::Number(number) if number.is_i64() => self.whole += 1,
            Value::Number(_) => self.doubles += 1,
            Value::String(text) if is_time(text) => self.times += 1,
            Value::String(_) => self.texts += 1,
            Value::Array(items) => {
                self.lists += 1;
                let tally = self.items.get_or_insert_default();
                for item in items {
                    tally.add(item);
                }
            }
            Value::Object(fields) => self.add_object(fields),
        }
    }

    /// Counts an object.
    pub fn add_object(&mut self, fields: &Map<String, Value>) {
        self.objects += 1;
        for (name, value) in fields {
            match self.fields.iter().position(|(known, _)| known == name) {
                Some(at) => self.fields[at].1.add(value),
                None if self.fields.len() < MAX_FIELDS => {
                    let mut tally = Tally::default();
                    tally.add(value);
                    self.fields.push((name.clone(), tally));
                }
                None => self.too_wide = true,
            }
        }
    }

    /// The type that holds all values, or almost all.
    pub fn kind(&self) -> Kind {
        let (numbers, strings) = (self.whole + self.doubles, self.texts + self.times);
        let total = self.booleans + numbers + strings + self.lists + self.objects;
        match total {
            0 => Kind::Unknown,
            _ if is_majority(self.booleans, total) => Kind::Boolean,
            _ if is_majority(numbers, total) && self.doubles == 0 => Kind::Whole,
            _ if is_majority(numbers, total) => Kind::Double,
            _ if is_majority(self.times, total) => Kind::Time,
            _ if is_majority(strings, total) => Kind::Text,
            _ if is_majority(self.lists, total) => {
                let items = self.items.as_deref().map_or(Kind::Unknown, Tally::kind);
                Kind::List(Box::new(items))
            }
            _ if is_majority(self.objects, total) && !self.too_wide && !self.fields.is_empty() => {
                Kind::Struct(self.fields.iter().map(|(name, field)| (name.clone(), field.kind())).collect())
            }
            _ => Kind::Json,
        }
    }
}

/// Tells whether so many of all values decide their type.
fn is_majority(count: usize, total: usize) -> bool {
    count * 100 >= total * MAJORITY_PERCENT
}

/// Tells whether a text is a date and a time of day with a zone.
fn is_time(text: &str) -> bool {
    let zoned = text.ends_with('Z') || text.get(19..).is_some_and(|rest| rest.contains(['+', '-']));
    text.contains(['T', ' ']) && zoned && schemas::types::time::parse_timestamp(text).is_some()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn kind_of(values: &[(usize, Value)]) -> Kind {
        let mut tally = Tally::default();
        for (times, value) in values {
            (0..*times).for_each(|_| tally.add(value));
        }
        tally.kind()
    }

    #[test]
    fn one_odd_value_in_a_hundred_does_not_change_a_type() {
        let time = json!("2026-01-01T00:00:00Z");
        for (usual, odd, kind) in [
            (json!(1), json!("n/a"), Kind::Whole),
            (json!(1.5), json!("n/a"), Kind::Double),
            (json!(true), json!(1), Kind::Boolean),
            (time, json!("soon"), Kind::Time),
            (json!("a"), json!(1), Kind::Text),
            (json!(["a"]), json!("a"), Kind::List(Box::new(Kind::Text))),
            (json!({"x": 1}), json!("x"), Kind::Struct(vec![("x".to_owned(), Kind::Whole)])),
        ] {
            assert_eq!(kind_of(&[(99, usual.clone()), (1, odd.clone())]), kind, "{usual} {odd}");
            assert!(kind.fits(&usual) && !kind.fits(&odd), "{usual} {odd}");
            // Nulls have no say; two odd ones in a hundred have.
            let mixed = kind_of(&[(98, usual.clone()), (2, odd.clone()), (500, Value::Null)]);
            assert!(mixed.fits(&usual) && mixed.fits(&odd), "{usual} {odd}: {mixed:?}");
        }
    }

    #[test]
    fn a_type_that_holds_all_values_rejects_none() {
        assert_eq!(kind_of(&[(999, json!(1)), (1, json!(0.5))]), Kind::Double);
        assert_eq!(kind_of(&[(999, json!("a")), (1, json!("2026-01-01T00:00:00Z"))]), Kind::Text);
        assert_eq!(kind_of(&[(9, json!("2026-01-01T00:00:00Z")), (1, json!("soon"))]), Kind::Text);
        assert_eq!(kind_of(&[(9, Value::Null)]), Kind::Unknown);
        assert_eq!(kind_of(&[(9, json!({})), (1, json!({"x": 1}))]).sql(), "STRUCT<x BIGINT>");
        assert_eq!(kind_of(&[(9, json!({}))]), Kind::Json);
    }

    #[test]
    fn fields_and_items_have_majorities_of_their_own() {
        let usual = json!({"n": 1, "tags": ["a"]});
        let found = kind_of(&[(999, usual), (1, json!({"n": "n/a", "tags": [1]}))]);
        assert_eq!(found.sql(), "STRUCT<n BIGINT, tags VARCHAR[]>");
        assert!(!found.fits(&json!({"n": "n/a"})) && found.fits(&json!({"n": null, "more": 1})));
        let map: Map<String, Value> = (0..=MAX_FIELDS).map(|at| (format!("k{at}"), json!(1))).collect();
        assert_eq!(kind_of(&[(1, Value::Object(map))]), Kind::Json);
    }
}
