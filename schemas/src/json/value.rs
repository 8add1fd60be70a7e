//! Reading one JSON value into the column it belongs to.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiter::{Jiter, JiterErrorType, JsonErrorType, NumberAny, NumberInt, Peek};

use super::names::{Filled, Names, START};
use super::{Kind, Node, Reader, found, syntax};
use crate::decode::Fail;
use crate::jsonb;
use crate::types::columns::{Column, Data};
use crate::types::decimal::{self, Excess};
use crate::types::span::Span;
use crate::types::{time, uuid};
use arrow::datatypes::TimeUnit;

impl Reader {
    /// Reads an object into one value of each column; what the object lacks is NULL.
    pub(super) fn object(
        &mut self,
        names: &mut Names,
        nodes: &mut [Node],
        columns: &mut [Column],
        json: &mut Jiter<'_>,
    ) -> Result<(), Fail> {
        names.filled.fill(Filled::No);
        let mut before = START;
        let mut key = json.known_object().map_err(syntax)?;
        while let Some(name) = key {
            let hit = names.find(before, name);
            before = hit.slot;
            let wanted = match hit.field {
                None => None,
                Some(field) => {
                    let field = field as usize;
                    let by = if hit.exact { Filled::Exactly } else { Filled::Folded(hit.slot) };
                    claim(names, field, by, &mut columns[field])?.then_some(field)
                }
            };
            match wanted {
                None => json.next_skip().map_err(syntax)?,
                Some(field) => {
                    let node = &mut nodes[field];
                    let peek = json.peek().map_err(syntax)?;
                    self.value(node, &mut columns[field], json, peek)
                        .map_err(|fail| fail.within(&node.name))?;
                }
            }
            key = json.next_key().map_err(syntax)?;
        }
        for (filled, column) in names.filled.iter().zip(columns) {
            if *filled == Filled::No {
                column.append_null();
            }
        }
        Ok(())
    }

    /// Reads one value; null is NULL for every type.
    pub(super) fn value(
        &mut self,
        node: &mut Node,
        column: &mut Column,
        json: &mut Jiter<'_>,
        peek: Peek,
    ) -> Result<(), Fail> {
        if peek == Peek::Null {
            json.known_null().map_err(syntax)?;
            column.append_null();
            return Ok(());
        }
        match &mut node.kind {
            Kind::List(item) => {
                if peek != Peek::Array {
                    return Err(mismatch(&node.sql, peek));
                }
                self.list(item, column, json)?;
                closed(column.close_value())
            }
            Kind::Struct(names, nodes) => {
                if peek != Peek::Object {
                    return Err(mismatch(&node.sql, peek));
                }
                self.object(names, nodes, column.fields_mut(), json)?;
                closed(column.close_value())
            }
            Kind::Text => match peek {
                Peek::String => closed(column.append_bytes(json.known_str().map_err(syntax)?.as_bytes())),
                _ => Err(mismatch(&node.sql, peek)),
            },
            Kind::Bytes => self.base64(&node.sql, column, json, peek),
            Kind::Jsonb => Self::jsonb(column, json, peek),
            _ => self.scalar(node, column, json, peek),
        }
    }

    fn list(&mut self, item: &mut Node, column: &mut Column, json: &mut Jiter<'_>) -> Result<(), Fail> {
        let Some(items) = column.items_mut() else { return closed(false) };
        let mut count = 0;
        let mut next = json.known_array().map_err(syntax)?;
        while let Some(peek) = next {
            self.value(item, items, json, peek).map_err(|fail| fail.at(count))?;
            count += 1;
            next = json.array_step().map_err(syntax)?;
        }
        Ok(())
    }

    fn base64(
        &mut self,
        sql: &str,
        column: &mut Column,
        json: &mut Jiter<'_>,
        peek: Peek,
    ) -> Result<(), Fail> {
        if peek != Peek::String {
            return Err(mismatch(sql, peek));
        }
        let text = json.known_str().map_err(syntax)?;
        self.scratch.clear();
        STANDARD
            .decode_vec(text, &mut self.scratch)
            .map_err(|error| Fail::new(format!("{sql} must be base64: {error}")))?;
        closed(column.append_bytes(&self.scratch))
    }

    /// Keeps any value as the one text of it.
    fn jsonb(column: &mut Column, json: &mut Jiter<'_>, peek: Peek) -> Result<(), Fail> {
        let start = json.current_index();
        json.known_skip(peek).map_err(syntax)?;
        let raw = std::str::from_utf8(json.slice_to_current(start))
            .map_err(|_| Fail::new("this is not JSON: invalid UTF-8"))?;
        let text = jsonb::canonical(raw).map_err(|error| Fail::new(error.to_string()))?;
        closed(column.append_bytes(text.as_bytes()))
    }

    fn scalar(
        &mut self,
        node: &Node,
        column: &mut Column,
        json: &mut Jiter<'_>,
        peek: Peek,
    ) -> Result<(), Fail> {
        let sql = &node.sql;
        let (data, nulls) = column.parts();
        match (&node.kind, data) {
            (Kind::Bool, Data::Bool(values)) => match peek {
                Peek::True | Peek::False => values.push(json.known_bool(peek).map_err(syntax)?),
                _ => return Err(mismatch(sql, peek)),
            },
            (Kind::I64, Data::I64(values)) => values.push(integer(sql, json, peek)?),
            (Kind::I32, Data::I32(values)) => values.push(narrow(sql, integer(sql, json, peek)?)?),
            (Kind::I16, Data::I16(values)) => values.push(narrow(sql, integer(sql, json, peek)?)?),
            (Kind::F64, Data::F64(values)) => values.push(float(sql, json, peek)?),
            (Kind::F32, Data::F32(values)) => {
                let start = json.current_index();
                let wide = float(sql, json, peek)?;
                // From its text at once: a DOUBLE in between would round twice.
                let text = std::str::from_utf8(json.slice_to_current(start)).unwrap_or_default();
                let value = text.parse().unwrap_or(wide as f32);
                if value.is_infinite() && wide.is_finite() {
                    return Err(Fail::new(format!("{wide:?} does not fit {sql}")));
                }
                values.push(value);
            }
            (Kind::Decimal { precision, scale }, Data::I128(values)) => {
                values.push(decimal_value(sql, (*precision, *scale), json, peek)?);
            }
            (Kind::Date, Data::I32(values)) => {
                values.push(text_value(sql, json, peek, time::parse_date)?);
            }
            (Kind::Time, Data::I64(values)) => {
                values.push(text_value(sql, json, peek, time::parse_time)?);
            }
            (Kind::Interval, Data::Span(values)) => {
                let parse = |text: &str| Span::parse(text).and_then(Span::to_arrow);
                values.push(text_value(sql, json, peek, parse)?);
            }
            (Kind::Uuid, Data::Uuid(values)) => values.push(text_value(sql, json, peek, uuid::parse)?),
            (Kind::Timestamp, Data::I64(values)) => values.push(match self.options.timestamp_unit {
                Some(unit) if peek.is_num() => numeric_timestamp(sql, unit, json, peek)?,
                _ if peek.is_num() => {
                    let help = "set timestamp.unit in ENCODE JSON (...) to read numbers";
                    return Err(Fail::new(format!("a number does not fit {sql}; {help}")));
                }
                _ => text_value(sql, json, peek, time::parse_timestamp)?,
            }),
            _ => return closed(false),
        }
        nulls.append_non_null();
        Ok(())
    }
}

/// Decides whether a key may fill a column that another key of the same object filled already.
/// The exact name beats others, the last of equal keys wins, two that differ in case are an error.
#[inline]
fn claim(names: &mut Names, field: usize, by: Filled, column: &mut Column) -> Result<bool, Fail> {
    let held = std::mem::replace(&mut names.filled[field], by);
    if held == Filled::No {
        return Ok(true);
    }
    match (held, by) {
        (Filled::Exactly, Filled::Folded(_)) => {
            names.filled[field] = held;
            return Ok(false);
        }
        (Filled::Folded(a), Filled::Folded(b)) if a != b => {
            let (a, b) = (names.key(a), names.key(b));
            return Err(Fail::new(format!("fields \"{a}\" and \"{b}\" both match one column")));
        }
        _ => {}
    }
    column.truncate(column.len() - 1);
    Ok(true)
}

fn mismatch(sql: &str, peek: Peek) -> Fail {
    Fail::new(format!("{} does not fit {sql}", found(peek)))
}

fn closed(fits: bool) -> Result<(), Fail> {
    if fits { Ok(()) } else { Err(Fail::new("the value is too large for one batch")) }
}

#[inline]
fn integer(sql: &str, json: &mut Jiter<'_>, peek: Peek) -> Result<i64, Fail> {
    if !peek.is_num() {
        return Err(mismatch(sql, peek));
    }
    let start = json.current_index();
    match json.known_number(peek) {
        Ok(NumberAny::Int(NumberInt::Int(value))) => Ok(value),
        Ok(NumberAny::Float(_)) => {
            let text = json.slice_to_current(start);
            decimal::parse(text, 0, Excess::Refuse)
                .and_then(|value| i64::try_from(value).ok())
                .ok_or_else(|| does_not_fit(text, sql))
        }
        Err(error) => Err(match error.error_type {
            JiterErrorType::JsonError(JsonErrorType::NumberOutOfRange) => {
                Fail::new(format!("a number is too large for {sql}"))
            }
            _ => syntax(error),
        }),
    }
}

fn narrow<T: TryFrom<i64>>(sql: &str, value: i64) -> Result<T, Fail> {
    T::try_from(value).map_err(|_| Fail::new(format!("{value} does not fit {sql}")))
}

fn does_not_fit(text: &[u8], sql: &str) -> Fail {
    let shown = String::from_utf8_lossy(&text[..text.len().min(64)]);
    Fail::new(format!("{shown} does not fit {sql}"))
}

fn float(sql: &str, json: &mut Jiter<'_>, peek: Peek) -> Result<f64, Fail> {
    if peek == Peek::String {
        // The one form JSON leaves for these; the encoder writes them so.
        return match json.known_str().map_err(syntax)? {
            "NaN" => Ok(f64::NAN),
            "Infinity" => Ok(f64::INFINITY),
            "-Infinity" => Ok(f64::NEG_INFINITY),
            _ => Err(mismatch(sql, peek)),
        };
    }
    if !peek.is_num() {
        return Err(mismatch(sql, peek));
    }
    let value = json.known_float(peek).map_err(syntax)?;
    if value.is_finite() { Ok(value) } else { Err(Fail::new(format!("a number is too large for {sql}"))) }
}

fn decimal_value(
    sql: &str,
    (precision, scale): (u8, i8),
    json: &mut Jiter<'_>,
    peek: Peek,
) -> Result<i128, Fail> {
    let text = match peek {
        Peek::String => json.known_str().map_err(syntax)?.as_bytes(),
        _ if peek.is_num() => json.known_number_bytes(peek).map_err(syntax)?,
        _ => return Err(mismatch(sql, peek)),
    };
    decimal::parse(text, scale.into(), Excess::Refuse)
        .filter(|value| decimal::fits(*value, precision))
        .ok_or_else(|| does_not_fit(text, sql))
}

fn text_value<T>(
    sql: &str,
    json: &mut Jiter<'_>,
    peek: Peek,
    parse: fn(&str) -> Option<T>,
) -> Result<T, Fail> {
    if peek != Peek::String {
        return Err(mismatch(sql, peek));
    }
    let text = json.known_str().map_err(syntax)?;
    parse(text).ok_or_else(|| {
        let shown: String = text.chars().take(64).collect();
        let form = match sql {
            "INTERVAL" => "1 day 02:03:04 or in ISO-8601",
            "UUID" => "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            _ => "ISO-8601",
        };
        Fail::new(format!("\"{shown}\" does not fit {sql}, which is written as {form}"))
    })
}

fn numeric_timestamp(sql: &str, unit: TimeUnit, json: &mut Jiter<'_>, peek: Peek) -> Result<i64, Fail> {
    let scale = match unit {
        TimeUnit::Second => 6,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond => 0,
        TimeUnit::Nanosecond => -3,
    };
    let text = json.known_number_bytes(peek).map_err(syntax)?;
    decimal::parse(text, scale, Excess::Floor)
        .and_then(|value| i64::try_from(value).ok())
        .ok_or_else(|| does_not_fit(text, sql))
}
