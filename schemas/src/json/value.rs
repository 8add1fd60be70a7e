//! Reading of one JSON value into its column.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiter::{Jiter, JiterErrorType, JsonErrorType, NumberAny, NumberInt, Peek};

use super::names::{Filled, Names, START_SLOT};
use super::{JsonReader, Node, NodeKind, describe_peek, syntax_error};
use crate::decode::batch::Fail;
use crate::types::columns::{Column, Data};
use crate::types::decimal::{self, Excess};
use crate::types::span::Span;
use crate::types::{jsonb, time, uuid};
use arrow::datatypes::{IntervalMonthDayNano, TimeUnit};

impl JsonReader {
    /// Reads an object into one value of each column; missing fields are NULL.
    pub(super) fn read_object(
        &mut self,
        names: &mut Names,
        nodes: &mut [Node],
        columns: &mut [Column],
        json: &mut Jiter<'_>,
    ) -> Result<(), Fail> {
        // Nested objects have `Names` of their own, so this state belongs to one object at a time.
        names.filled.fill(Filled::No);
        let mut before = START_SLOT;
        let mut key = json.known_object().map_err(syntax_error)?;
        while let Some(name) = key {
            let hit = names.find_key(before, name);
            before = hit.slot;
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
                None => json.next_skip().map_err(syntax_error)?,
                Some(field) => {
                    let node = &mut nodes[field];
                    let peek = json.peek().map_err(syntax_error)?;
                    self.read_value(node, &mut columns[field], json, peek)
                        .map_err(|fail| fail.in_field(&node.name))?;
                }
            }
            key = json.next_key().map_err(syntax_error)?;
        }
        for (filled, column) in names.filled.iter().zip(columns) {
            if *filled == Filled::No {
                column.append_null();
            }
        }
        Ok(())
    }

    /// Reads one value; null is NULL for every type.
    pub(super) fn read_value(
        &mut self,
        node: &mut Node,
        column: &mut Column,
        json: &mut Jiter<'_>,
        peek: Peek,
    ) -> Result<(), Fail> {
        if peek == Peek::Null {
            json.known_null().map_err(syntax_error)?;
            column.append_null();
            return Ok(());
        }
        match &mut node.kind {
            NodeKind::List(item) => {
                if peek != Peek::Array {
                    return Err(mismatch_error(&node.sql, peek));
                }
                self.read_list(item, column, json)?;
                require_fit(column.close_value())
            }
            NodeKind::Struct(names, nodes) => {
                if peek != Peek::Object {
                    return Err(mismatch_error(&node.sql, peek));
                }
                self.read_object(names, nodes, column.fields_mut(), json)?;
                require_fit(column.close_value())
            }
            NodeKind::Text => match peek {
                Peek::String => {
                    require_fit(column.append_bytes(json.known_str().map_err(syntax_error)?.as_bytes()))
                }
                _ => Err(mismatch_error(&node.sql, peek)),
            },
            NodeKind::Bytes => self.read_base64(&node.sql, column, json, peek),
            NodeKind::Jsonb => Self::read_jsonb(column, json, peek),
            _ => self.read_scalar(node, column, json, peek),
        }
    }

    /// Reads an array into the items of a list column.
    fn read_list(&mut self, item: &mut Node, column: &mut Column, json: &mut Jiter<'_>) -> Result<(), Fail> {
        let Some(items) = column.items_mut() else { return require_fit(false) };
        let mut count = 0;
        let mut next = json.known_array().map_err(syntax_error)?;
        while let Some(peek) = next {
            self.read_value(item, items, json, peek).map_err(|fail| fail.in_item(count))?;
            count += 1;
            next = json.array_step().map_err(syntax_error)?;
        }
        Ok(())
    }

    /// Reads a string as the base64 of bytes.
    fn read_base64(
        &mut self,
        sql: &str,
        column: &mut Column,
        json: &mut Jiter<'_>,
        peek: Peek,
    ) -> Result<(), Fail> {
        if peek != Peek::String {
            return Err(mismatch_error(sql, peek));
        }
        let text = json.known_str().map_err(syntax_error)?;
        self.scratch.clear();
        STANDARD
            .decode_vec(text, &mut self.scratch)
            .map_err(|error| Fail::new(format!("{sql} must be base64: {error}")))?;
        require_fit(column.append_bytes(&self.scratch))
    }

    /// Reads any value as JSONB, in its canonical text.
    fn read_jsonb(column: &mut Column, json: &mut Jiter<'_>, peek: Peek) -> Result<(), Fail> {
        // The value is only skipped here: its bytes are parsed as JSONB below, with PostgreSQL's checks.
        let start = json.current_index();
        json.known_skip(peek).map_err(syntax_error)?;
        let raw = std::str::from_utf8(json.slice_to_current(start))
            .map_err(|_| Fail::new("this is not JSON: invalid UTF-8"))?;
        let text = jsonb::canonical(raw).map_err(|error| Fail::new(error.to_string()))?;
        require_fit(column.append_bytes(text.as_bytes()))
    }

    /// Reads a value of fixed width.
    fn read_scalar(
        &mut self,
        node: &Node,
        column: &mut Column,
        json: &mut Jiter<'_>,
        peek: Peek,
    ) -> Result<(), Fail> {
        let sql = &node.sql;
        let (data, nulls) = column.values_and_nulls();
        match (&node.kind, data) {
            (NodeKind::Bool, Data::Bool(values)) => match peek {
                Peek::True | Peek::False => values.push(json.known_bool(peek).map_err(syntax_error)?),
                _ => return Err(mismatch_error(sql, peek)),
            },
            (NodeKind::I64, Data::I64(values)) => values.push(read_integer(sql, json, peek)?),
            (NodeKind::I32, Data::I32(values)) => {
                values.push(narrow_integer(sql, read_integer(sql, json, peek)?)?)
            }
            (NodeKind::I16, Data::I16(values)) => {
                values.push(narrow_integer(sql, read_integer(sql, json, peek)?)?)
            }
            (NodeKind::F64, Data::F64(values)) => values.push(read_float(sql, json, peek)?),
            (NodeKind::F32, Data::F32(values)) => {
                let start = json.current_index();
                let wide = read_float(sql, json, peek)?;
                // Parsed from the text again: rounding by way of DOUBLE would round twice.
                let text = std::str::from_utf8(json.slice_to_current(start)).unwrap_or_default();
                let value = text.parse().unwrap_or(wide as f32);
                if value.is_infinite() && wide.is_finite() {
                    return Err(Fail::new(format!("{wide:?} does not fit {sql}")));
                }
                values.push(value);
            }
            (NodeKind::Decimal { precision, scale }, Data::I128(values)) => {
                values.push(read_decimal(sql, (*precision, *scale), json, peek)?);
            }
            (NodeKind::Date, Data::I32(values)) => {
                values.push(read_text(sql, json, peek, time::parse_date)?);
            }
            (NodeKind::Time, Data::I64(values)) => {
                values.push(read_text(sql, json, peek, time::parse_time)?);
            }
            (NodeKind::Interval, Data::Span(values)) => {
                values.push(read_text(sql, json, peek, parse_interval)?);
            }
            (NodeKind::Uuid, Data::Uuid(values)) => values.push(read_text(sql, json, peek, uuid::parse)?),
            (NodeKind::Timestamp, Data::I64(values)) => values.push(match self.options.timestamp_unit {
                Some(unit) if peek.is_num() => read_numeric_timestamp(sql, unit, json, peek)?,
                _ if peek.is_num() => {
                    let help = "set timestamp.unit in ENCODE JSON (...) to read numbers";
                    return Err(Fail::new(format!("a number does not fit {sql}; {help}")));
                }
                _ => read_text(sql, json, peek, time::parse_timestamp)?,
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

fn mismatch_error(sql: &str, peek: Peek) -> Fail {
    Fail::new(format!("{} does not fit {sql}", describe_peek(peek)))
}

fn require_fit(fits: bool) -> Result<(), Fail> {
    if fits { Ok(()) } else { Err(Fail::new("the value is too large for one batch")) }
}

/// Reads an integer; a number with a fraction of zeros or an exponent is one too.
#[inline]
fn read_integer(sql: &str, json: &mut Jiter<'_>, peek: Peek) -> Result<i64, Fail> {
    if !peek.is_num() {
        return Err(mismatch_error(sql, peek));
    }
    let start = json.current_index();
    match json.known_number(peek) {
        Ok(NumberAny::Int(NumberInt::Int(value))) => Ok(value),
        Ok(NumberAny::Float(_)) => {
            // The text decides, so that `12.0` and `1e3` are integers and no digit is lost.
            parse_units(json.slice_to_current(start), 0, Excess::Refuse, sql)
        }
        Err(error) => Err(match error.error_type {
            JiterErrorType::JsonError(JsonErrorType::NumberOutOfRange) => {
                Fail::new(format!("a number is too large for {sql}"))
            }
            _ => syntax_error(error),
        }),
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

fn read_float(sql: &str, json: &mut Jiter<'_>, peek: Peek) -> Result<f64, Fail> {
    if peek == Peek::String {
        // JSON has no number for these; the encoder writes these strings.
        return match json.known_str().map_err(syntax_error)? {
            "NaN" => Ok(f64::NAN),
            "Infinity" => Ok(f64::INFINITY),
            "-Infinity" => Ok(f64::NEG_INFINITY),
            _ => Err(mismatch_error(sql, peek)),
        };
    }
    if !peek.is_num() {
        return Err(mismatch_error(sql, peek));
    }
    let value = json.known_float(peek).map_err(syntax_error)?;
    if value.is_finite() { Ok(value) } else { Err(Fail::new(format!("a number is too large for {sql}"))) }
}

fn read_decimal(
    sql: &str,
    (precision, scale): (u8, i8),
    json: &mut Jiter<'_>,
    peek: Peek,
) -> Result<i128, Fail> {
    let text = match peek {
        Peek::String => json.known_str().map_err(syntax_error)?.as_bytes(),
        // The number's text, because a float would lose digits.
        _ if peek.is_num() => json.known_number_bytes(peek).map_err(syntax_error)?,
        _ => return Err(mismatch_error(sql, peek)),
    };
    let value = decimal::parse(text, scale.into(), Excess::Refuse);
    decimal::within(value, precision).ok_or_else(|| does_not_fit(text, peek == Peek::String, sql))
}

fn parse_interval(text: &str) -> Option<IntervalMonthDayNano> {
    Span::parse(text).and_then(Span::to_arrow)
}

fn read_text<T>(
    sql: &str,
    json: &mut Jiter<'_>,
    peek: Peek,
    parse: fn(&str) -> Option<T>,
) -> Result<T, Fail> {
    if peek != Peek::String {
        return Err(mismatch_error(sql, peek));
    }
    let text = json.known_str().map_err(syntax_error)?;
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

fn read_numeric_timestamp(sql: &str, unit: TimeUnit, json: &mut Jiter<'_>, peek: Peek) -> Result<i64, Fail> {
    // The power of ten from the unit to microseconds; finer fractions are rounded down.
    let scale = match unit {
        TimeUnit::Second => 6,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond => 0,
        TimeUnit::Nanosecond => -3,
    };
    let text = json.known_number_bytes(peek).map_err(syntax_error)?;
    parse_units(text, scale, Excess::Floor, sql)
}
