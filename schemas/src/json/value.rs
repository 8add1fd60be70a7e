//! Reading of one JSON value into its column.

use super::names::{Filled, Names, START_SLOT};
use super::pull::{ObjectKey, Pull, ValueKind, WholeNumber};
use super::{JsonReader, Node, NodeKind};
use crate::decode::batch::Fail;
use crate::types::columns::{Column, Data};
use crate::types::decimal::{self, Excess};
use crate::types::span::Span;
use crate::types::{jsonb, time, uuid};
use arrow::datatypes::{IntervalMonthDayNano, TimeUnit};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

impl JsonReader {
    /// Reads an object into one value of each column; missing fields are NULL.
    pub(super) fn read_object<'j, J: Pull<'j>>(
        &mut self,
        names: &mut Names,
        nodes: &mut [Node],
        columns: &mut [Column],
        json: &mut J,
    ) -> Result<(), Fail> {
        // Nested objects have `Names` of their own, so this state belongs to one object at a time.
        names.filled.fill(Filled::No);
        let mut before = START_SLOT;
        let mut is_first = true;
        loop {
            let hit = match json.key(is_first, names.guess(before))? {
                ObjectKey::Guessed => names.guessed(before),
                ObjectKey::Other(name) => names.find_key(before, name),
                ObjectKey::End => break,
            };
            (before, is_first) = (hit.slot, false);
            // None for a key without column, and for one that must not replace an earlier key of the object.
            let wanted = match hit.field {
                None => None,
                Some(field) => {
                    let field = field as usize;
                    let by = if hit.exact { Filled::Exactly } else { Filled::Folded(hit.slot) };
                    claim_column(names, field, by, &mut columns[field])?.then_some(field)
                }
            };
            match wanted {
                None => json.skip_like(&mut names.unread, hit.slot)?,
                Some(field) => {
                    let node = &mut nodes[field];
                    let kind = json.peek()?;
                    self.read_value(node, &mut columns[field], json, kind)
                        .map_err(|fail| fail.in_field(&node.name))?;
                }
            }
        }
        for (filled, column) in names.filled.iter().zip(columns) {
            if *filled == Filled::No {
                column.append_null();
            }
        }
        Ok(())
    }

    /// Reads one value; null is NULL for every type.
    pub(super) fn read_value<'j, J: Pull<'j>>(
        &mut self,
        node: &mut Node,
        column: &mut Column,
        json: &mut J,
        kind: ValueKind,
    ) -> Result<(), Fail> {
        if kind == ValueKind::Null {
            json.null()?;
            column.append_null();
            return Ok(());
        }
        match &mut node.kind {
            NodeKind::List(item) => {
                if kind != ValueKind::Array {
                    return Err(mismatch_error(&node.sql, kind));
                }
                self.read_list(item, column, json)?;
                require_fit(column.close_value())
            }
            NodeKind::Struct(names, nodes) => {
                if kind != ValueKind::Object {
                    return Err(mismatch_error(&node.sql, kind));
                }
                self.read_object(names, nodes, column.fields_mut(), json)?;
                require_fit(column.close_value())
            }
            NodeKind::Text => match kind {
                ValueKind::String => require_fit(column.append_bytes(json.text()?.as_bytes())),
                _ => Err(mismatch_error(&node.sql, kind)),
            },
            NodeKind::Bytes => self.read_base64(&node.sql, column, json, kind),
            NodeKind::Jsonb => Self::read_jsonb(column, json),
            _ => self.read_scalar(node, column, json, kind),
        }
    }

    /// Reads an array into the items of a list column.
    fn read_list<'j, J: Pull<'j>>(
        &mut self,
        item: &mut Node,
        column: &mut Column,
        json: &mut J,
    ) -> Result<(), Fail> {
        let Some(items) = column.items_mut() else { return require_fit(false) };
        let mut count = 0;
        let mut next = json.first_item()?;
        while let Some(kind) = next {
            self.read_value(item, items, json, kind).map_err(|fail| fail.in_item(count))?;
            count += 1;
            next = json.next_item()?;
        }
        Ok(())
    }

    /// Reads a string as the base64 of bytes.
    fn read_base64<'j, J: Pull<'j>>(
        &mut self,
        sql: &str,
        column: &mut Column,
        json: &mut J,
        kind: ValueKind,
    ) -> Result<(), Fail> {
        if kind != ValueKind::String {
            return Err(mismatch_error(sql, kind));
        }
        let text = json.text()?;
        self.scratch.clear();
        STANDARD
            .decode_vec(text, &mut self.scratch)
            .map_err(|error| Fail::new(format!("{sql} must be base64: {error}")))?;
        require_fit(column.append_bytes(&self.scratch))
    }

    /// Reads any value as JSONB, in its canonical text.
    fn read_jsonb<'j, J: Pull<'j>>(column: &mut Column, json: &mut J) -> Result<(), Fail> {
        // The value is only skipped here: its bytes are parsed as JSONB below, with PostgreSQL's checks.
        let start = json.place();
        json.skip()?;
        let raw = std::str::from_utf8(json.since(start))
            .map_err(|_| Fail::new("this is not JSON: invalid UTF-8"))?;
        let text = jsonb::canonical(raw).map_err(|error| Fail::new(error.to_string()))?;
        require_fit(column.append_bytes(text.as_bytes()))
    }

    /// Reads a value of fixed width.
    fn read_scalar<'j, J: Pull<'j>>(
        &mut self,
        node: &Node,
        column: &mut Column,
        json: &mut J,
        kind: ValueKind,
    ) -> Result<(), Fail> {
        let sql = &node.sql;
        let (data, nulls) = column.values_and_nulls();
        match (&node.kind, data) {
            (NodeKind::Bool, Data::Bool(values)) => match kind {
                ValueKind::True | ValueKind::False => values.push(json.boolean(kind)?),
                _ => return Err(mismatch_error(sql, kind)),
            },
            (NodeKind::I64, Data::I64(values)) => values.push(read_integer(sql, json, kind)?),
            (NodeKind::I32, Data::I32(values)) => {
                values.push(narrow_integer(sql, read_integer(sql, json, kind)?)?)
            }
            (NodeKind::I16, Data::I16(values)) => {
                values.push(narrow_integer(sql, read_integer(sql, json, kind)?)?)
            }
            (NodeKind::F64, Data::F64(values)) => values.push(read_float(sql, json, kind)?),
            (NodeKind::F32, Data::F32(values)) => {
                let start = json.place();
                let wide = read_float(sql, json, kind)?;
                // Parsed from the text again: rounding by way of DOUBLE would round twice.
                let text = std::str::from_utf8(json.since(start)).unwrap_or_default();
                let value = text.parse().unwrap_or(wide as f32);
                if value.is_infinite() && wide.is_finite() {
                    return Err(Fail::new(format!("{wide:?} does not fit {sql}")));
                }
                values.push(value);
            }
            (NodeKind::Decimal { precision, scale }, Data::I128(values)) => {
                values.push(read_decimal(sql, (*precision, *scale), json, kind)?);
            }
            (NodeKind::Date, Data::I32(values)) => {
                values.push(read_text(sql, json, kind, time::parse_date)?);
            }
            (NodeKind::Time, Data::I64(values)) => {
                values.push(read_text(sql, json, kind, time::parse_time)?);
            }
            (NodeKind::Interval, Data::Span(values)) => {
                values.push(read_text(sql, json, kind, parse_interval)?);
            }
            (NodeKind::Uuid, Data::Uuid(values)) => values.push(read_text(sql, json, kind, uuid::parse)?),
            (NodeKind::Timestamp, Data::I64(values)) => values.push(match self.options.timestamp_unit {
                Some(unit) if kind == ValueKind::Number => read_numeric_timestamp(sql, unit, json)?,
                _ if kind == ValueKind::Number => {
                    let help = "set timestamp.unit in ENCODE JSON (...) to read numbers";
                    return Err(Fail::new(format!("a number does not fit {sql}; {help}")));
                }
                _ => read_text(sql, json, kind, time::parse_timestamp)?,
            }),
            _ => return require_fit(false),
        }
        nulls.append_non_null();
        Ok(())
    }
}

/// Notes the key that fills a column. Returns false if an earlier key of the same object keeps the column:
/// the exact name takes precedence, of equal keys the last one counts, and two keys that differ in case are
/// an error.
#[inline]
fn claim_column(names: &mut Names, field: usize, by: Filled, column: &mut Column) -> Result<bool, Fail> {
    let held = std::mem::replace(&mut names.filled[field], by);
    if held == Filled::No {
        return Ok(true);
    }
    match (held, by) {
        (Filled::Exactly, Filled::Folded(_)) => {
            // The exact name came first: it keeps the column, and this value is skipped.
            names.filled[field] = held;
            return Ok(false);
        }
        (Filled::Folded(a), Filled::Folded(b)) if a != b => {
            let (a, b) = (names.key_of_slot(a), names.key_of_slot(b));
            return Err(Fail::new(format!("fields \"{a}\" and \"{b}\" both match one column")));
        }
        _ => {}
    }
    // The later key replaces the value of the earlier one.
    column.truncate(column.len() - 1);
    Ok(true)
}

fn mismatch_error(sql: &str, kind: ValueKind) -> Fail {
    Fail::new(format!("{} does not fit {sql}", kind.describe()))
}

fn require_fit(fits: bool) -> Result<(), Fail> {
    if fits { Ok(()) } else { Err(Fail::new("the value is too large for one batch")) }
}

/// Reads an integer; a number with a fraction of zeros or an exponent is one too.
#[inline]
fn read_integer<'j>(sql: &str, json: &mut impl Pull<'j>, kind: ValueKind) -> Result<i64, Fail> {
    if kind != ValueKind::Number {
        return Err(mismatch_error(sql, kind));
    }
    let start = json.place();
    match json.whole()? {
        WholeNumber::Int(value) => Ok(value),
        // The text decides, so that `12.0` and `1e3` are integers and no digit is lost.
        WholeNumber::Written => parse_units(json.since(start), 0, Excess::Refuse, sql),
        WholeNumber::TooLarge => Err(Fail::new(format!("a number is too large for {sql}"))),
    }
}

/// Parses a number as an integer of units of `10^-scale`.
#[inline]
fn parse_units(text: &[u8], scale: i32, excess: Excess, sql: &str) -> Result<i64, Fail> {
    match decimal::parse(text, scale, excess).map(i64::try_from) {
        Some(Ok(value)) => Ok(value),
        _ => Err(does_not_fit(text, false, sql)),
    }
}

fn narrow_integer<T: TryFrom<i64>>(sql: &str, value: i64) -> Result<T, Fail> {
    T::try_from(value).map_err(|_| Fail::new(format!("{value} does not fit {sql}")))
}

/// Error of a number that its type does not hold. The text of a string stands in quotes, which show an empty one
/// and blanks.
fn does_not_fit(text: &[u8], quoted: bool, sql: &str) -> Fail {
    let shown = String::from_utf8_lossy(&text[..text.len().min(64)]);
    let quote = if quoted { "\"" } else { "" };
    Fail::new(format!("{quote}{shown}{quote} does not fit {sql}"))
}

fn read_float<'j>(sql: &str, json: &mut impl Pull<'j>, kind: ValueKind) -> Result<f64, Fail> {
    if kind == ValueKind::String {
        // JSON has no number for these; the encoder writes these strings.
        return match json.text()? {
            "NaN" => Ok(f64::NAN),
            "Infinity" => Ok(f64::INFINITY),
            "-Infinity" => Ok(f64::NEG_INFINITY),
            _ => Err(mismatch_error(sql, kind)),
        };
    }
    if kind != ValueKind::Number {
        return Err(mismatch_error(sql, kind));
    }
    let value = json.float()?;
    if value.is_finite() { Ok(value) } else { Err(Fail::new(format!("a number is too large for {sql}"))) }
}

fn read_decimal<'j>(
    sql: &str,
    (precision, scale): (u8, i8),
    json: &mut impl Pull<'j>,
    kind: ValueKind,
) -> Result<i128, Fail> {
    let text = match kind {
        ValueKind::String => json.text()?.as_bytes(),
        // The number's text, because a float would lose digits.
        _ if kind == ValueKind::Number => json.number()?,
        _ => return Err(mismatch_error(sql, kind)),
    };
    let value = decimal::parse(text, scale.into(), Excess::Refuse);
    decimal::within(value, precision).ok_or_else(|| does_not_fit(text, kind == ValueKind::String, sql))
}

fn parse_interval(text: &str) -> Option<IntervalMonthDayNano> {
    Span::parse(text).and_then(Span::to_arrow)
}

fn read_text<'j, T>(
    sql: &str,
    json: &mut impl Pull<'j>,
    kind: ValueKind,
    parse: fn(&str) -> Option<T>,
) -> Result<T, Fail> {
    if kind != ValueKind::String {
        return Err(mismatch_error(sql, kind));
    }
    let text = json.text()?;
    parse(text).ok_or_else(|| text_error(sql, text))
}

/// The error of a text that is no value of its type, with the form of one.
fn text_error(sql: &str, text: &str) -> Fail {
    let shown: String = text.chars().take(64).collect();
    let form = match sql {
        "INTERVAL" => "1 day 02:03:04 or in ISO-8601",
        "UUID" => "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        _ => "ISO-8601",
    };
    Fail::new(format!("\"{shown}\" does not fit {sql}, which is written as {form}"))
}

fn read_numeric_timestamp<'j>(sql: &str, unit: TimeUnit, json: &mut impl Pull<'j>) -> Result<i64, Fail> {
    // The power of ten from the unit to microseconds; finer fractions are rounded down.
    let scale = match unit {
        TimeUnit::Second => 6,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond => 0,
        TimeUnit::Nanosecond => -3,
    };
    let text = json.number()?;
    parse_units(text, scale, Excess::Floor, sql)
}
