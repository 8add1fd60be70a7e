//! Reading of a datum by its plan.

use super::plan::{BytesTo, IntTo, Op, Plan, Record, Step};
use super::shape::{decode_unscaled, scale_units};
use super::wire::Wire;
use crate::decode::batch::Fail;
use crate::types::columns::{Column, Data};
use crate::types::decimal::{self, Excess};
use crate::types::span::Span;
use crate::types::{jsonb, time};

impl Plan {
    /// Reads one message into one value of each column.
    pub(super) fn read_record(
        &self,
        mut wire: Wire<'_>,
        columns: &mut [Column],
        scratch: &mut Vec<u8>,
    ) -> Result<(), Fail> {
        // A union at the top is resolved here: its variants stand for the whole message.
        let mut top = &self.top;
        if let Op::Union(variants) = top {
            top = &variants[wire.read_index(variants.len())?];
        }
        match top {
            value if self.bare => {
                let [column] = columns else { return Err(Fail::new("the value is not a record")) };
                self.read_value(value, column, &mut wire, scratch)?;
            }
            Op::Record(record) => self.read_fields(record, columns, &mut wire, scratch)?,
            Op::Null => return Err(Fail::new("the value is null")),
            _ => return Err(Fail::new("the value is not a record")),
        }
        // Left-over bytes reveal a message that was not written with this schema.
        match wire.bytes_left() {
            0 => Ok(()),
            left => Err(Fail::new(format!("{left} bytes are left over"))),
        }
    }

    /// Reads a record's fields into their columns, and fills the other columns with NULL or their default.
    fn read_fields(
        &self,
        record: &Record,
        columns: &mut [Column],
        wire: &mut Wire<'_>,
        scratch: &mut Vec<u8>,
    ) -> Result<(), Fail> {
        for step in &record.steps {
            match step {
                Step::SkipLongs(count) => wire.skip_longs(*count)?,
                Step::Skip(shape) => self.shapes.skip_value(shape, wire, 0)?,
                Step::Read { column, name, op } => self
                    .read_value(op, &mut columns[*column], wire, scratch)
                    .map_err(|fail| fail.in_field(name))?,
            }
        }
        for (column, default) in &record.missing {
            match default {
                None => columns[*column].append_null(),
                Some(default) => {
                    // A default is a record of one column, with a plan of its own.
                    let column = std::slice::from_mut(&mut columns[*column]);
                    default.plan.read_record(Wire::new(&default.datum), column, scratch)?;
                }
            }
        }
        Ok(())
    }

    /// Reads one value into a column.
    fn read_value(
        &self,
        op: &Op,
        column: &mut Column,
        wire: &mut Wire<'_>,
        scratch: &mut Vec<u8>,
    ) -> Result<(), Fail> {
        match op {
            Op::Null => {
                column.append_null();
                Ok(())
            }
            Op::Union(variants) => {
                let index = wire.read_index(variants.len())?;
                self.read_value(&variants[index], column, wire, scratch)
            }
            Op::Int(to) => append_integer(*to, column, wire.read_long()?),
            Op::Bytes(size, to) => {
                let bytes = match size {
                    None => wire.read_bytes()?,
                    Some(size) => wire.read_slice(*size)?,
                };
                append_bytes_value(*to, column, bytes, scratch)
            }
            Op::Enum(symbols) => {
                let index = wire.read_index(symbols.len())?;
                require_fit(column.append_bytes(symbols[index].as_bytes()))
            }
            Op::Bool => {
                let value = wire.read_boolean()?;
                push_value(column, |data| match data {
                    Data::Bool(values) => {
                        values.push(value);
                        true
                    }
                    _ => false,
                })
            }
            Op::Float => append_float(column, f64::from(f32::from_le_bytes(wire.read_array()?))),
            Op::Double => append_float(column, f64::from_le_bytes(wire.read_array()?)),
            Op::List(item) => {
                self.read_list(item, column, wire, scratch)?;
                require_fit(column.close_value())
            }
            Op::Record(record) => {
                self.read_fields(record, column.fields_mut(), wire, scratch)?;
                require_fit(column.close_value())
            }
            Op::Jsonb(shape) => {
                scratch.clear();
                // Written as plain JSON first, then converted to canonical text.
                self.shapes.write_json(shape, wire, scratch, 0)?;
                let canonical = jsonb::canonical(utf8_text(scratch)?);
                let canonical = canonical.map_err(|error| Fail::new(error.to_string()))?;
                require_fit(column.append_bytes(canonical.as_bytes()))
            }
            Op::Refuse(message) => Err(Fail::new(message.as_str())),
        }
    }

    /// Reads an array's blocks into the items of a list column.
    fn read_list(
        &self,
        item: &Op,
        column: &mut Column,
        wire: &mut Wire<'_>,
        scratch: &mut Vec<u8>,
    ) -> Result<(), Fail> {
        let Some(items) = column.items_mut() else { return require_fit(false) };
        // Items may be spread over several blocks; the index counts through all of them.
        let mut index = 0;
        loop {
            match wire.read_block_len()? {
                0 => return Ok(()),
                count => {
                    for _ in 0..count {
                        self.read_value(item, items, wire, scratch).map_err(|fail| fail.in_item(index))?;
                        index += 1;
                    }
                }
            }
        }
    }
}

/// Fails if a column could not take a value.
fn require_fit(fits: bool) -> Result<(), Fail> {
    if fits { Ok(()) } else { Err(Fail::new("the value is too large for one batch")) }
}

/// Appends the value that `add` pushes; `add` returns false if value or column contradict the plan.
#[inline]
fn push_value(column: &mut Column, add: impl FnOnce(&mut Data) -> bool) -> Result<(), Fail> {
    let (data, nulls) = column.values_and_nulls();
    if !add(data) {
        return Err(Fail::new("the value does not fit its column"));
    }
    nulls.append_non_null();
    Ok(())
}

#[inline]
fn append_integer(to: IntTo, column: &mut Column, value: i64) -> Result<(), Fail> {
    let (data, nulls) = column.values_and_nulls();
    let narrow = || Fail::new(format!("{value} does not fit its column"));
    match (to, data) {
        (IntTo::Number, Data::I64(values)) => values.push(value),
        (IntTo::Number, Data::I32(values)) => values.push(value.try_into().map_err(|_| narrow())?),
        (IntTo::Number, Data::I16(values)) => values.push(value.try_into().map_err(|_| narrow())?),
        (IntTo::Number, Data::F64(values)) => values.push(value as f64),
        (IntTo::Number, Data::F32(values)) => values.push(value as f32),
        (IntTo::Micros { times, over }, Data::I64(values)) => values.push(scale_units(value, times, over)?),
        (IntTo::Decimal { precision, scale }, Data::I128(values)) => {
            let unscaled = decimal::rescale(value.into(), scale.into(), Excess::Refuse)
                .filter(|unscaled| decimal::fits(*unscaled, precision))
                .ok_or_else(narrow)?;
            values.push(unscaled);
        }
        _ => return require_fit(false),
    }
    nulls.append_non_null();
    Ok(())
}

fn append_float(column: &mut Column, value: f64) -> Result<(), Fail> {
    push_value(column, |data| match data {
        Data::F64(values) => {
            values.push(value);
            true
        }
        Data::F32(values) => {
            // A finite DOUBLE beyond the range of REAL is an error, not infinity.
            let narrow = value as f32;
            if narrow.is_infinite() && value.is_finite() {
                return false;
            }
            values.push(narrow);
            true
        }
        _ => false,
    })
}

fn append_bytes_value(
    to: BytesTo,
    column: &mut Column,
    bytes: &[u8],
    scratch: &mut Vec<u8>,
) -> Result<(), Fail> {
    match to {
        BytesTo::Raw => require_fit(column.append_bytes(bytes)),
        BytesTo::Text => require_fit(column.append_bytes(utf8_text(bytes)?.as_bytes())),
        BytesTo::Uuid => {
            scratch.clear();
            crate::types::uuid::write(scratch, bytes);
            require_fit(column.append_bytes(scratch))
        }
        BytesTo::UuidOf { text } => append_uuid(text, column, bytes),
        BytesTo::Decimal { shift, precision } => {
            let value = decode_unscaled(bytes)?;
            let value = decimal::rescale(value, shift, Excess::Refuse)
                .filter(|value| decimal::fits(*value, precision))
                .ok_or_else(|| Fail::new("a decimal does not fit its column"))?;
            push_i128(column, value)
        }
        BytesTo::DecimalText { precision, scale } => {
            let value = decimal::parse(bytes, scale.into(), Excess::Refuse)
                .filter(|value| decimal::fits(*value, precision))
                .ok_or_else(|| unreadable_value(bytes))?;
            push_i128(column, value)
        }
        BytesTo::DateText => {
            let value = time::parse_date(utf8_text(bytes)?).ok_or_else(|| unreadable_value(bytes))?;
            push_value(column, |data| match data {
                Data::I32(values) => {
                    values.push(value);
                    true
                }
                _ => false,
            })
        }
        BytesTo::IntervalText => {
            let read = Span::parse(utf8_text(bytes)?).and_then(Span::to_arrow);
            let value = read.ok_or_else(|| unreadable_value(bytes))?;
            push_value(column, |data| match data {
                Data::Span(values) => {
                    values.push(value);
                    true
                }
                _ => false,
            })
        }
        BytesTo::TimeText | BytesTo::TimestampText => {
            let parse =
                if matches!(to, BytesTo::TimeText) { time::parse_time } else { time::parse_timestamp };
            let value = parse(utf8_text(bytes)?).ok_or_else(|| unreadable_value(bytes))?;
            push_value(column, |data| match data {
                Data::I64(values) => {
                    values.push(value);
                    true
                }
                _ => false,
            })
        }
    }
}

fn push_i128(column: &mut Column, value: i128) -> Result<(), Fail> {
    push_value(column, |data| match data {
        Data::I128(values) => {
            values.push(value);
            true
        }
        _ => false,
    })
}

/// Appends a UUID, read from its text or from its 16 bytes.
fn append_uuid(written: bool, column: &mut Column, bytes: &[u8]) -> Result<(), Fail> {
    let value = match written {
        true => crate::types::uuid::parse(utf8_text(bytes)?),
        false => bytes.try_into().ok(),
    };
    let value = value.ok_or_else(|| unreadable_value(bytes))?;
    push_value(column, |data| match data {
        Data::Uuid(values) => {
            values.push(value);
            true
        }
        _ => false,
    })
}

fn utf8_text(bytes: &[u8]) -> Result<&str, Fail> {
    std::str::from_utf8(bytes).map_err(|_| Fail::new("a string is not UTF-8"))
}

fn unreadable_value(bytes: &[u8]) -> Fail {
    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(64)]).into_owned();
    Fail::new(format!("\"{shown}\" does not fit its column"))
}
