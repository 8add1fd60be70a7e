//! Ids in records: the field that tells which row a record is about.
//!
//! A field that is named like an id may also refer to something else, to which many records refer. The id of a record
//! comes again only where the record does: as a duplicate, or as a later version, which a field of its own tells and in
//! which most fields are the same. A time alone proves nothing: each line of an order has one as well.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::keys::non_null;
use super::kinds::Kind;
use super::names::{identifier, is_id_name, one_line};

/// One record in so many, at most, has the id of an earlier one.
const RECORDS_PER_REPEAT: usize = 3;
/// Names of fields that tell the versions of a record apart, in small letters and without `_`.
const VERSION_FIELDS: [&str; 14] = [
    "version",
    "revision",
    "rowversion",
    "recordversion",
    "updated",
    "updatedat",
    "modified",
    "modifiedat",
    "changedat",
    "lastupdate",
    "lastupdated",
    "lastupdatedat",
    "lastmodified",
    "lastmodifiedat",
];

/// The field that identifies a row.
#[derive(Debug, PartialEq)]
pub struct Id {
    /// Its name.
    pub name: String,
    /// Number of records with the id of an earlier one.
    pub repeats: usize,
}

/// A field that would be the id, were it not for a few records.
#[derive(Debug, PartialEq)]
pub struct NearId {
    /// Its name.
    pub name: String,
    /// Number of records with the id of an earlier one.
    pub repeats: usize,
    /// Number of records without it.
    pub missing: usize,
}

impl NearId {
    /// The reason why it is no key, and the way to make it one, as lines of a comment.
    pub fn comment(&self) -> String {
        let name = one_line(&identifier(&self.name));
        let mut reasons = Vec::new();
        match self.repeats {
            0 => {}
            1 => reasons.push(format!("1 record of the sample has the {name} of an earlier one")),
            n => reasons.push(format!("{n} records of the sample have the {name} of an earlier one")),
        }
        match self.missing {
            0 => {}
            1 => reasons.push("1 lacks it".to_owned()),
            n => reasons.push(format!("{n} lack it")),
        }
        let rejected = if self.missing > 0 { " Records without it\n-- are rejected then." } else { "" };
        format!(
            "-- No PRIMARY KEY: {name} nearly is one, but {}.\n\
             -- If later records correct earlier ones, write CREATE TABLE with PRIMARY KEY ({name}) and\n\
             -- ON CONFLICT OVERWRITE.{rejected}\n",
            reasons.join(", and ")
        )
    }
}

/// Finds the field with the name of an id that the fewest records repeat or lack, provided that they are few.
pub fn find_near(columns: &[(String, Kind)], records: &[&Map<String, Value>]) -> Option<NearId> {
    let mut best: Option<NearId> = None;
    for (name, kind) in columns {
        if !is_id_name(name) || !matches!(kind, Kind::Text | Kind::Whole) {
            continue;
        }
        let (mut seen, mut repeats, mut missing) = (HashSet::new(), 0, 0);
        for record in records {
            match non_null(record, name) {
                Some(value) => repeats += usize::from(!seen.insert(value.to_string())),
                None => missing += 1,
            }
        }
        let others = repeats + missing;
        let is_few = others * RECORDS_PER_REPEAT <= records.len();
        if is_few && best.as_ref().is_none_or(|best| others < best.repeats + best.missing) {
            best = Some(NearId { name: name.clone(), repeats, missing });
        }
    }
    best
}

/// Finds the id: a field with the name of one and a value in every record, of which few come again, each in duplicates
/// or later versions of a record. Of several it is the one that repeats least, and of those the first.
pub fn find(columns: &[(String, Kind)], records: &[&Map<String, Value>]) -> Option<Id> {
    let mut best: Option<Id> = None;
    for (name, kind) in columns {
        if !is_id_name(name) || !matches!(kind, Kind::Text | Kind::Whole) {
            continue;
        }
        let Some(repeats) = count_repeats(name, columns, records) else { continue };
        if best.as_ref().is_none_or(|best| repeats < best.repeats) {
            best = Some(Id { name: name.clone(), repeats });
        }
    }
    best
}

/// Number of records with the value of an earlier one in a field; None if it is no id.
fn count_repeats(name: &str, columns: &[(String, Kind)], records: &[&Map<String, Value>]) -> Option<usize> {
    let mut newest: HashMap<String, &Map<String, Value>> = HashMap::new();
    let mut repeats = 0;
    for &record in records {
        let value = non_null(record, name)?.to_string();
        if let Some(earlier) = newest.insert(value, record) {
            repeats += 1;
            if !is_version(record, earlier, name, columns) {
                return None;
            }
        }
    }
    (repeats * RECORDS_PER_REPEAT <= records.len()).then_some(repeats)
}

/// Tells whether a record is an earlier one again, or another version of it: a field says so, and at least half of the
/// other fields are the same, without the id and times.
fn is_version(
    record: &Map<String, Value>,
    earlier: &Map<String, Value>,
    id: &str,
    columns: &[(String, Kind)],
) -> bool {
    let (mut same, mut fields, mut says_so) = (0, 0, false);
    for (name, kind) in columns {
        let (before, now) = (non_null(earlier, name), non_null(record, name));
        if name == id || (before.is_none() && now.is_none()) {
            continue;
        }
        if tells_version(name) {
            says_so |= before != now;
        } else if *kind != Kind::Time {
            fields += 1;
            same += usize::from(before == now);
        }
    }
    record == earlier || (says_so && fields > 0 && 2 * same >= fields)
}

/// Tells whether a field is named like one that tells the versions of a record apart.
fn tells_version(name: &str) -> bool {
    let name = name.replace('_', "").to_ascii_lowercase();
    VERSION_FIELDS.contains(&name.as_str())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The id of these records, and how often it repeats.
    fn id_of(columns: &[(&str, Kind)], records: &[Value]) -> Option<(String, usize)> {
        let columns: Vec<(String, Kind)> =
            columns.iter().map(|(name, kind)| ((*name).to_owned(), kind.clone())).collect();
        let records: Vec<&Map<String, Value>> = records.iter().filter_map(Value::as_object).collect();
        find(&columns, &records).map(|id| (id.name, id.repeats))
    }

    fn orders(last: Value) -> Option<(String, usize)> {
        let columns = [
            ("order_id", Kind::Text),
            ("customer", Kind::Text),
            ("cents", Kind::Whole),
            ("at", Kind::Time),
            ("version", Kind::Whole),
        ];
        let order =
            |id: &str, cents: i64| json!({"order_id": id, "customer": "anna", "cents": cents, "version": 1});
        id_of(&columns, &[order("a", 5), order("b", 6), order("c", 7), last])
    }

    #[test]
    fn an_id_repeats_in_duplicates_and_later_versions() {
        let found = |repeats| Some(("order_id".to_owned(), repeats));
        let again = json!({"order_id": "a", "customer": "anna", "cents": 5, "version": 1});
        assert_eq!(orders(again), found(1));
        let corrected = json!({"order_id": "a", "customer": "anna", "cents": 9, "version": 2, "at": "later"});
        assert_eq!(orders(corrected), found(1));
        assert_eq!(orders(json!({"order_id": "d"})), found(0));
        // A changed record whose version is the same, another record, and one without the id.
        let changed = json!({"order_id": "a", "customer": "anna", "cents": 9, "version": 1, "at": "later"});
        assert_eq!(orders(changed), None);
        assert_eq!(orders(json!({"order_id": "a", "customer": "ben", "cents": 9, "version": 1})), None);
        assert_eq!(orders(json!({"customer": "ben", "cents": 9, "version": 1})), None);
    }

    #[test]
    fn what_nearly_is_an_id_is_told() {
        let columns = [("user_id".to_owned(), Kind::Text), ("event_id".to_owned(), Kind::Whole)];
        let event = |id: Value| json!({"user_id": "u", "event_id": id});
        let values = [event(json!(1)), event(json!(2)), event(json!(3)), event(json!(1)), event(Value::Null)];
        let near = |values: &[Value]| {
            let records: Vec<&Map<String, Value>> = values.iter().filter_map(Value::as_object).collect();
            find_near(&columns, &records)
        };
        // Two of five are too many.
        assert_eq!(near(&values), None);
        let found = near(&[&values[..], &[event(json!(4))]].concat());
        let Some(found) = found else { panic!("no column") };
        assert_eq!((found.name.as_str(), found.repeats, found.missing), ("event_id", 1, 1));
        let comment = found.comment();
        for part in
            ["1 record of the sample has the event_id of an earlier one, and 1 lacks it.", "(event_id)"]
        {
            assert!(comment.contains(part), "{part}: {comment}");
        }
        assert!(comment.lines().all(|line| line.starts_with("-- ")), "{comment}");
    }

    #[test]
    fn a_changed_record_is_a_version_only_if_a_field_says_so() {
        for (field, repeats) in [
            ("updated_at", Some(1)),
            ("lastModified", Some(1)),
            ("revision", Some(1)),
            ("at", None),
            ("created_at", None),
            ("app_version", None),
        ] {
            let columns =
                [("order_id", Kind::Whole), ("shop", Kind::Text), (field, Kind::Time), ("sku", Kind::Text)];
            // One order in four has two lines.
            let line = |order: usize, at: &str| json!({"order_id": order, "shop": "s", field: at, "sku": at});
            let lines = [line(1, "a"), line(2, "b"), line(3, "c"), line(4, "d"), line(4, "e")];
            let found = id_of(&columns, &lines);
            assert_eq!(found, repeats.map(|repeats| ("order_id".to_owned(), repeats)), "{field}");
        }
    }

    #[test]
    fn what_many_records_refer_to_is_no_id() {
        let columns = [("user_id", Kind::Text), ("kind", Kind::Text)];
        let click = |user: usize| json!({"user_id": format!("u{user}"), "kind": "click"});
        assert_eq!(id_of(&columns, &[click(1), click(2), click(1)]), Some(("user_id".to_owned(), 1)));
        assert_eq!(id_of(&columns, &[click(1), click(2), click(1), click(2)]), None);
        // The id that repeats least is the record's own.
        let columns = [("user_id", Kind::Text), ("id", Kind::Whole), ("kind", Kind::Text)];
        let records: Vec<Value> = [1, 2, 3, 1]
            .into_iter()
            .zip(0..)
            .map(|(user, id)| json!({"user_id": user, "id": id, "kind": "click"}))
            .collect();
        assert_eq!(id_of(&columns, &records), Some(("id".to_owned(), 0)));
        let columns = [("id", Kind::Double), ("name", Kind::Text)];
        assert_eq!(id_of(&columns, &[json!({"id": 1.5, "name": "a"})]), None);
    }
}
