//! Types of JSON values: a tally of the values of each field, and the type that almost all of them have.
//!
//! A share above [`MAJORITY_PERCENT`] decides, so that one odd record does not change a column. Whole numbers among
//! others count as DOUBLE, and times among other texts as text. Without such a share the field is JSONB, which holds
//! every value; numbers of which some stand in quotes are DECIMAL, which sources read both ways.
//!
//! Numbers that all stand in quotes are DECIMAL if one has decimals:
//! whole numbers in quotes are mostly names of things. So are numbers of versions, of which 14.1 and 14.10 are two:
//! they are told by the field's name, or by a last 0 where not all have as many decimals.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::names::{identifier, one_line};

/// Share of a field's values above which they decide the field's type against the others.
const MAJORITY_PERCENT: usize = 98;
/// Most fields of an object; one with more becomes a JSONB column.
const MAX_FIELDS: usize = 200;
/// Precision of DECIMAL columns whose values leave [`SPARE_DIGITS`] of it.
const USUAL_PRECISION: usize = 18;
/// Greatest precision of DECIMAL.
const MAX_PRECISION: usize = 38;
/// Ends of the names of fields whose numbers in quotes are versions.
const VERSION_NAMES: [&str; 4] = ["version", "patch", "release", "build"];
/// Digits before the point by which later values may be longer than those of the sample.
const SPARE_DIGITS: usize = 6;

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
    /// DECIMAL, of numbers that stand in quotes, all or some.
    Decimal {
        /// Most digits.
        precision: usize,
        /// Most digits behind the point.
        scale: usize,
    },
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
            Kind::Decimal { precision, scale } => format!("DECIMAL({precision}, {scale})"),
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
            (Kind::Decimal { precision, scale }, value) => match value_digits(value) {
                Some((whole, fraction)) => whole + scale <= *precision && fraction <= *scale,
                None => false,
            },
            (Kind::Time | Kind::List(_) | Kind::Struct(_), _) => false,
        }
    }

    /// The digits behind the point of all DECIMALs in it.
    pub fn scales(&self) -> BTreeSet<usize> {
        match self {
            Kind::Decimal { scale, .. } => BTreeSet::from([*scale]),
            Kind::List(item) => item.scales(),
            Kind::Struct(fields) => {
                let mut scales = BTreeSet::new();
                for (_, kind) in fields {
                    scales.extend(kind.scales());
                }
                scales
            }
            _ => BTreeSet::new(),
        }
    }

    /// Tells whether a value has a field without a name, which is no part of this type.
    fn leaves_out(&self, value: &Value) -> bool {
        match (self, value) {
            (Kind::List(item), Value::Array(items)) => {
                let mut left_out = false;
                for value in items {
                    left_out |= item.leaves_out(value);
                }
                left_out
            }
            (Kind::Struct(fields), Value::Object(object)) => has_nameless(object, fields),
            _ => false,
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
    /// Those of the texts that are numbers.
    numerals: usize,
    /// Those of the bare numbers that DECIMAL may hold: all that have no exponent.
    plain_numbers: usize,
    /// Most digits before the point, of numbers in quotes and bare ones.
    whole_digits: usize,
    /// Most digits behind the point, of numbers in quotes and bare ones.
    fraction_digits: usize,
    /// Fewest digits behind the point of those in quotes.
    fewest_fraction_digits: usize,
    /// Set if one in quotes has a 0 as its last digit behind the point.
    padded: bool,
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
            Value::Number(_) => self.add_number(value),
            Value::String(text) if is_time(text) => self.times += 1,
            Value::String(text) => self.add_text(text),
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

    /// Counts a bare number.
    fn add_number(&mut self, value: &Value) {
        if value.is_i64() {
            self.whole += 1;
        } else {
            self.doubles += 1;
        }
        if let Some((whole, fraction)) = value_digits(value) {
            self.plain_numbers += 1;
            self.whole_digits = self.whole_digits.max(whole);
            self.fraction_digits = self.fraction_digits.max(fraction);
        }
    }

    /// Counts a text that is no time.
    fn add_text(&mut self, text: &str) {
        self.texts += 1;
        if let Some((whole, fraction)) = number_digits(text) {
            let fewest =
                if self.numerals == 0 { fraction } else { self.fewest_fraction_digits.min(fraction) };
            self.fewest_fraction_digits = fewest;
            self.padded |= fraction > 0 && text.ends_with('0');
            self.numerals += 1;
            self.whole_digits = self.whole_digits.max(whole);
            self.fraction_digits = self.fraction_digits.max(fraction);
        }
    }

    /// Counts an object. A field without a name is passed over: nothing in SQL may have an empty name.
    pub fn add_object(&mut self, fields: &Map<String, Value>) {
        self.objects += 1;
        for (name, value) in fields {
            if name.is_empty() {
                continue;
            }
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

    /// The DECIMAL of numbers that all stand in quotes, one of them with decimals, or of which some do. None if they
    /// are few among other values or no DECIMAL holds them. Bare numbers that decide the type are none, nor are whole
    /// numbers in quotes that do.
    fn decimal(&self, total: usize) -> Option<Kind> {
        let (digits, scale) = (self.whole_digits + self.fraction_digits, self.fraction_digits);
        let bare = self.whole + self.doubles;
        let is_decimal = if bare == 0 {
            let is_version = self.padded && self.fewest_fraction_digits < scale;
            self.numerals == total && scale > 0 && !is_version
        } else {
            self.plain_numbers == bare
                && !is_majority(bare, total)
                && is_majority(bare + self.numerals, total)
                && (scale > 0 || !is_majority(self.texts + self.times, total))
        };
        if !is_decimal || digits > MAX_PRECISION {
            return None;
        }
        let is_usual = digits + SPARE_DIGITS <= USUAL_PRECISION;
        let precision = if is_usual { USUAL_PRECISION } else { MAX_PRECISION };
        Some(Kind::Decimal { precision, scale })
    }

    /// The type that holds all values, or almost all.
    pub fn kind(&self) -> Kind {
        let (numbers, strings) = (self.whole + self.doubles, self.texts + self.times);
        let total = self.booleans + numbers + strings + self.lists + self.objects;
        if let Some(decimal) = self.decimal(total) {
            return decimal;
        }
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
                Kind::Struct(self.field_kinds())
            }
            _ => Kind::Json,
        }
    }

    /// The names and types of its fields.
    fn field_kinds(&self) -> Vec<(String, Kind)> {
        let mut kinds = Vec::with_capacity(self.fields.len());
        for (name, field) in &self.fields {
            let kind = match field.kind() {
                Kind::Decimal { .. } if is_version_name(name) && field.plain_numbers == 0 => Kind::Text,
                Kind::Decimal { .. } if is_version_name(name) => Kind::Json,
                kind => kind,
            };
            kinds.push((name.clone(), kind));
        }
        kinds
    }

    /// Notes on a field of several types, and on those in it: the types of its values, and how often each was seen.
    pub fn field_notes(&self, name: &str, kind: &Kind) -> Vec<String> {
        let mut notes = Vec::new();
        if let Some((_, field)) = self.fields.iter().find(|(known, _)| known == name) {
            field.add_notes("", kind, &mut notes);
        }
        notes
    }

    /// Adds the notes on these values, which stand at a path in the column, or are the column's own.
    fn add_notes(&self, path: &str, kind: &Kind, notes: &mut Vec<String>) {
        let seen = self.seen();
        let place = if path.is_empty() { String::new() } else { format!("{}: ", one_line(path)) };
        match kind {
            Kind::Json if seen.len() > 1 => {
                notes.push(format!(
                    "{place}JSONB holds the several types that were seen: {}.",
                    seen.join(", ")
                ));
            }
            Kind::Decimal { .. } if self.whole + self.doubles > 0 => {
                notes.push(format!("{place}DECIMAL reads numbers both ways. Seen: {}.", seen.join(", ")));
            }
            Kind::List(item) => {
                if let Some(items) = &self.items {
                    items.add_notes(&format!("{path}[]"), item, notes);
                }
            }
            Kind::Struct(fields) => {
                for ((name, field), (_, kind)) in self.fields.iter().zip(fields) {
                    let dot = if path.is_empty() { "" } else { "." };
                    field.add_notes(&format!("{path}{dot}{name}"), kind, notes);
                }
            }
            _ => {}
        }
    }

    /// The types of its values, each with their number.
    fn seen(&self) -> Vec<String> {
        let mut seen = Vec::new();
        for (count, one, many) in [
            (self.whole + self.doubles, "number", "numbers"),
            (self.numerals, "number in quotes", "numbers in quotes"),
            (self.booleans, "boolean", "booleans"),
            (self.times, "time", "times"),
            (self.texts - self.numerals, "text", "texts"),
            (self.lists, "array", "arrays"),
            (self.objects, "object", "objects"),
        ] {
            match count {
                0 => {}
                1 => seen.push(format!("1 {one}")),
                _ => seen.push(format!("{count} {many}")),
            }
        }
        seen
    }
}

/// Tells whether an object has a field without a name, or one in it that is part of these fields has.
pub fn has_nameless(object: &Map<String, Value>, fields: &[(String, Kind)]) -> bool {
    if object.contains_key("") {
        return true;
    }
    for (name, kind) in fields {
        if let Some(value) = object.get(name)
            && kind.leaves_out(value)
        {
            return true;
        }
    }
    false
}

/// Tells whether a field is named like one of versions.
fn is_version_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    VERSION_NAMES.iter().any(|end| name.ends_with(end))
}

/// Number of digits before and behind the point of a text that is a number, written as numbers are: not 007, which
/// is a name.
fn number_digits(text: &str) -> Option<(usize, usize)> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = match digits.split_once('.') {
        Some((_, "")) => return None,
        Some(parts) => parts,
        None => (digits, ""),
    };
    let padded = whole.len() > 1 && whole.starts_with('0');
    let are_digits = whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit());
    (!whole.is_empty() && !padded && are_digits).then_some((whole.len(), fraction.len()))
}

/// Number of digits of a number, bare or in quotes; None for other values and numbers with an exponent.
fn value_digits(value: &Value) -> Option<(usize, usize)> {
    match value {
        Value::String(text) => number_digits(text),
        Value::Number(number) => {
            let text = number.to_string();
            number_digits(text.strip_suffix(".0").unwrap_or(&text))
        }
        _ => None,
    }
}

/// Tells whether a value is a whole number in quotes that BIGINT holds.
pub fn is_quoted_whole(value: &Value) -> bool {
    value.as_str().is_some_and(|text| number_digits(text).is_some() && text.parse::<i64>().is_ok())
}

/// Tells whether so many of all values decide their type.
fn is_majority(count: usize, total: usize) -> bool {
    count * 100 > total * MAJORITY_PERCENT
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
    fn numbers_in_quotes_are_decimals_if_one_has_decimals() {
        let decimal = |precision, scale| Kind::Decimal { precision, scale };
        assert_eq!(kind_of(&[(9, json!("12.55")), (1, json!("-3")), (5, Value::Null)]), decimal(18, 2));
        assert_eq!(kind_of(&[(1, json!("1234567890123.50"))]), decimal(38, 2));
        assert_eq!(kind_of(&[(9, json!(["0.5", "1"]))]).sql(), "DECIMAL(18, 1)[]");
        // Whole numbers, numbers beside other texts, and numbers that no DECIMAL holds.
        for texts in
            [["1", "2"], ["1.5", "n/a"], ["1.5", "007"], ["1.5", "1."], ["1.5", ".5"], ["1.5", "1e3"]]
        {
            assert_eq!(kind_of(&texts.map(|text| (50, json!(text)))), Kind::Text, "{texts:?}");
        }
        assert_eq!(kind_of(&[(1, json!(format!("{}.5", "9".repeat(38))))]), Kind::Text);
        let kind = decimal(5, 2);
        let fits = |text: &str| kind.fits(&json!(text));
        assert!(fits("-999.25") && fits("1") && !fits("1000") && !fits("1.255") && !fits("x"));
        assert!(is_quoted_whole(&json!("-12")) && !is_quoted_whole(&json!("1.5")));
        assert!(!is_quoted_whole(&json!("01")) && !is_quoted_whole(&json!("9".repeat(19))));
    }

    #[test]
    fn numbers_of_which_some_stand_in_quotes_are_decimals() {
        let decimal = |precision, scale| Kind::Decimal { precision, scale };
        assert_eq!(kind_of(&[(6, json!(12.5)), (4, json!("12.50"))]), decimal(18, 2));
        assert_eq!(kind_of(&[(6, json!(1)), (4, json!("12"))]), decimal(18, 0));
        assert_eq!(kind_of(&[(6, json!(1_234_567_890_123_i64)), (4, json!("0.5"))]), decimal(38, 1));
        // One bare number among many in quotes, and one other value in a hundred.
        assert_eq!(kind_of(&[(99, json!("0.5")), (1, json!(7))]), decimal(18, 1));
        assert_eq!(kind_of(&[(60, json!(0.5)), (39, json!("1")), (1, json!("n/a"))]), decimal(18, 1));
        // Few of either kind decide nothing, and no DECIMAL holds exponents.
        assert_eq!(kind_of(&[(99, json!(0.5)), (1, json!("0.5"))]), Kind::Double);
        assert_eq!(kind_of(&[(99, json!("1")), (1, json!(1))]), Kind::Text);
        assert_eq!(kind_of(&[(60, json!(0.5)), (37, json!("1")), (3, json!("n/a"))]), Kind::Json);
        assert_eq!(kind_of(&[(5, json!(1e300)), (5, json!("1.5"))]), Kind::Json);
        let kind = decimal(5, 2);
        for (value, fits) in [
            (json!(1), true),
            (json!(2.0), true),
            (json!(-999.25), true),
            (json!(1.255), false),
            (json!(true), false),
        ] {
            assert_eq!(kind.fits(&value), fits, "{value}");
        }
        // A version is no number, and its text none of the bare ones.
        let mixed = kind_of(&[(1, json!({"version": "14.1"})), (1, json!({"version": 14.2}))]);
        assert_eq!(mixed.sql(), "STRUCT<version JSONB>");
    }

    #[test]
    fn several_types_are_told() {
        let notes = |values: &[(usize, Value)]| {
            let mut tally = Tally::default();
            for (times, value) in values {
                (0..*times).for_each(|_| tally.add(&json!({"f": value})));
            }
            let Kind::Struct(fields) = tally.kind() else { panic!("no object") };
            tally.field_notes("f", &fields[0].1)
        };
        assert_eq!(
            notes(&[(6, json!(1)), (2, json!("1")), (1, json!("x")), (3, json!(true)), (5, Value::Null)]),
            [
                "JSONB holds the several types that were seen: 6 numbers, 2 numbers in quotes, 3 booleans, 1 text."
            ]
        );
        assert_eq!(
            notes(&[(6, json!(1.5)), (1, json!("2.25"))]),
            ["DECIMAL reads numbers both ways. Seen: 6 numbers, 1 number in quotes."]
        );
        assert_eq!(
            notes(&[(1, json!({"a": [1, "x"], "b\n": {"c": []}})), (1, json!({"b\n": {"c": {}}}))]),
            [
                "a[]: JSONB holds the several types that were seen: 1 number, 1 text.",
                "b\\n.c: JSONB holds the several types that were seen: 1 array, 1 object."
            ]
        );
        for value in [json!("1.5"), json!({}), json!([1]), json!(1)] {
            assert!(notes(&[(5, value.clone())]).is_empty(), "{value}");
        }
    }

    #[test]
    fn numbers_of_versions_stay_text() {
        for texts in [["14.1", "14.10"], ["14", "14.10"], ["1.50", "2.125"]] {
            assert_eq!(kind_of(&texts.map(|text| (1, json!(text)))), Kind::Text, "{texts:?}");
        }
        for texts in [["1.50", "2.10"], ["10", "1.5"], ["0.5", "2.125"]] {
            let kind = kind_of(&texts.map(|text| (1, json!(text))));
            assert!(matches!(kind, Kind::Decimal { .. }), "{texts:?}: {kind:?}");
        }
        for (name, sql) in [
            ("patch", "STRUCT<patch VARCHAR>"),
            ("game_version", "STRUCT<game_version VARCHAR>"),
            ("gameVersion", "STRUCT<\"gameVersion\" VARCHAR>"),
            ("price", "STRUCT<price DECIMAL(18, 1)>"),
        ] {
            assert_eq!(kind_of(&[(1, json!({name: "14.1"})), (1, json!({name: "14.2"}))]).sql(), sql);
        }
    }

    #[test]
    fn fields_without_a_name_are_left_out() {
        let value = json!({"a": [{"": 1, "x": 2}]});
        let kind = kind_of(&[(1, value.clone())]);
        assert_eq!(kind.sql(), "STRUCT<a STRUCT<x BIGINT>[]>");
        assert!(kind.leaves_out(&value) && !kind.leaves_out(&json!({"a": [{"x": 2}, null]})));
        assert_eq!(kind_of(&[(1, json!({"": 1}))]), Kind::Json);
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
