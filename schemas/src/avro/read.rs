//! Reading a datum by its plan.

use super::plan::{BytesTo, IntTo, Op, Plan, Record, Step};
use super::shape::{scale, unscaled};
use super::wire::Wire;
use crate::decode::Fail;
use crate::jsonb;
use crate::types::columns::{Column, Data};
use crate::types::decimal::{self, Excess};
use crate::types::span::Span;
use crate::types::time;

impl Plan {
    /// Reads one message into one value of each column.
    pub(super) fn record(
        &self,
        mut wire: Wire<'_>,
        columns: &mut [Column],
        scratch: &mut Vec<u8>,
    ) -> Result<(), Fail> {
        let mut top = &self.top;
        if let Op::Union(variants) = top {
            top = &variants[wire.index(variants.len())?];
        }
        match top {
            value if self.bare => {
                let [column] = columns else { return Err(Fail::new("the value is not a record")) };
                self.value(value, column, &mut wire, scratch)?;
            }
            Op::Record(record) => self.fields(record, columns, &mut wire, scratch)?,
            Op::Null => return Err(Fail::new("the value is null")),
            _ => return Err(Fail::new("the value is not a record")),
        }
        match wire.left() {
            0 => Ok(()),
            left => Err(Fail::new(format!("{left} bytes are left over"))),
        }
    }

    fn fields(
        &self,
        record: &Record,
        columns: &mut [Column],
        wire: &mut Wire<'_>,
        scratch: &mut Vec<u8>,
    ) -> Result<(), Fail> {
        for step in &record.steps {
            match step {
                Step::SkipLongs(count) => wire.skip_longs(*count)?,
                Step::Skip(shape) => self.shapes.skip(shape, wire, 0)?,
                Step::Read { column, name, op } => {
                    self.value(op, &mut columns[*column], wire, scratch).map_err(|fail| fail.within(name))?
                }
            }
        }
        for (column, default) in &record.missing {
            match default {
                None => columns[*column].append_null(),
                Some(default) => {
                    let column = std::slice::from_mut(&mut columns[*column]);
                    default.plan.record(Wire::new(&default.datum), column, scratch)?;
                }
            }
        }
        Ok(())
    }

    fn value(
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
                let index = wire.index(variants.len())?;
                self.value(&variants[index], column, wire, scratch)
            }
            Op::Int(to) => integer(*to, column, wire.long()?),
            Op::Bytes(size, to) => {
                let bytes = match size {
                    None => wire.bytes()?,
                    Some(size) => wire.take(*size)?,
                };
                bytes_value(*to, column, bytes, scratch)
            }
            Op::Enum(symbols) => {
                let index = wire.index(symbols.len())?;
                closed(column.append_bytes(symbols[index].as_bytes()))
            }
            Op::Bool => {
                let value = wire.boolean()?;
                push(column, |data| match data {
                    Data::Bool(values) => {
                        values.push(value);
                        true
                    }
                    _ => false,
                })
            }
            Op::Float => float(column, f64::from(f32::from_le_bytes(wire.array()?))),
            Op::Double => float(column, f64::from_le_bytes(wire.array()?)),
            Op::List(item) => {
                self.list(item, column, wire, scratch)?;
                closed(column.close_value())
            }
            Op::Record(record) => {
                self.fields(record, column.fields_mut(), wire, scratch)?;
                closed(column.close_value())
            }
            Op::Jsonb(shape) => {
                scratch.clear();
                self.shapes.json(shape, wire, scratch, 0)?;
                let canonical = jsonb::canonical(text(scratch)?);
                let canonical = canonical.map_err(|error| Fail::new(error.to_string()))?;
                closed(column.append_bytes(canonical.as_bytes()))
            }
            Op::Refuse(message) => Err(Fail::new(message.as_str())),
        }
    }

    fn list(
        &self,
        item: &Op,
        column: &mut Column,
        wire: &mut Wire<'_>,
        scratch: &mut Vec<u8>,
    ) -> Result<(), Fail> {
        let Some(items) = column.items_mut() else { return closed(false) };
        let mut index = 0;
        loop {
            match wire.block()? {
                0 => return Ok(()),
                count => {
                    for _ in 0..count {
                        self.value(item, items, wire, scratch).map_err(|fail| fail.at(index))?;
                        index += 1;
                    }
                }
            }
        }
    }
}

fn closed(fits: bool) -> Result<(), Fail> {
    if fits { Ok(()) } else { Err(Fail::new("the value is too large for one batch")) }
}

/// Appends what `add` pushes; false means that the value or the column is not what the plan says.
#[inline]
fn push(column: &mut Column, add: impl FnOnce(&mut Data) -> bool) -> Result<(), Fail> {
    let (data, nulls) = column.parts();
    if !add(data) {
        return Err(Fail::new("the value does not fit its column"));
    }
    nulls.append_non_null();
    Ok(())
}

#[inline]
fn integer(to: IntTo, column: &mut Column, value: i64) -> Result<(), Fail> {
    let (data, nulls) = column.parts();
    let narrow = || Fail::new(format!("{value} does not fit its column"));
    match (to, data) {
        (IntTo::Number, Data::I64(values)) => values.push(value),
        (IntTo::Number, Data::I32(values)) => values.push(value.try_into().map_err(|_| narrow())?),
        (IntTo::Number, Data::I16(values)) => values.push(value.try_into().map_err(|_| narrow())?),
        (IntTo::Number, Data::F64(values)) => values.push(value as f64),
        (IntTo::Number, Data::F32(values)) => values.push(value as f32),
        (IntTo::Micros { times, over }, Data::I64(values)) => values.push(scale(value, times, over)?),
        (IntTo::Decimal { precision, scale }, Data::I128(values)) => {
            let unscaled = decimal::rescale(value.into(), scale.into(), Excess::Refuse)
                .filter(|unscaled| decimal::fits(*unscaled, precision))
                .ok_or_else(narrow)?;
            values.push(unscaled);
        }
        _ => return closed(false),
    }
    nulls.append_non_null();
    Ok(())
}

fn float(column: &mut Column, value: f64) -> Result<(), Fail> {
    push(column, |data| match data {
        Data::F64(values) => {
            values.push(value);
            true
        }
        Data::F32(values) => {
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

fn bytes_value(to: BytesTo, column: &mut Column, bytes: &[u8], scratch: &mut Vec<u8>) -> Result<(), Fail> {
    match to {
        BytesTo::Raw => closed(column.append_bytes(bytes)),
        BytesTo::Text => closed(column.append_bytes(text(bytes)?.as_bytes())),
        BytesTo::Uuid => {
            scratch.clear();
            crate::types::uuid::write(scratch, bytes);
            closed(column.append_bytes(scratch))
        }
        BytesTo::UuidOf { text } => uuid_value(text, column, bytes),
        BytesTo::Decimal { shift, precision } => {
            let value = unscaled(bytes)?;
            let value = decimal::rescale(value, shift, Excess::Refuse)
                .filter(|value| decimal::fits(*value, precision))
                .ok_or_else(|| Fail::new("a decimal does not fit its column"))?;
            push(column, |data| match data {
                Data::I128(values) => {
                    values.push(value);
                    true
                }
                _ => false,
            })
        }
        BytesTo::DecimalText { precision, scale } => {
            let value = decimal::parse(bytes, scale.into(), Excess::Refuse)
                .filter(|value| decimal::fits(*value, precision))
                .ok_or_else(|| unreadable(bytes))?;
            push(column, |data| match data {
                Data::I128(values) => {
                    values.push(value);
                    true
                }
                _ => false,
            })
        }
        BytesTo::DateText => {
            let value = time::parse_date(text(bytes)?).ok_or_else(|| unreadable(bytes))?;
            push(column, |data| match data {
                Data::I32(values) => {
                    values.push(value);
                    true
                }
                _ => false,
            })
        }
        BytesTo::IntervalText => {
            let read = Span::parse(text(bytes)?).and_then(Span::to_arrow);
            let value = read.ok_or_else(|| unreadable(bytes))?;
            push(column, |data| match data {
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
            let value = parse(text(bytes)?).ok_or_else(|| unreadable(bytes))?;
            push(column, |data| match data {
                Data::I64(values) => {
                    values.push(value);
                    true
                }
                _ => false,
            })
        }
    }
}

/// A UUID of its text or of its 16 bytes.
fn uuid_value(written: bool, column: &mut Column, bytes: &[u8]) -> Result<(), Fail> {
    let value = match written {
        true => crate::types::uuid::parse(text(bytes)?),
        false => bytes.try_into().ok(),
    };
    let value = value.ok_or_else(|| unreadable(bytes))?;
    push(column, |data| match data {
        Data::Uuid(values) => {
            values.push(value);
            true
        }
        _ => false,
    })
}

fn text(bytes: &[u8]) -> Result<&str, Fail> {
    std::str::from_utf8(bytes).map_err(|_| Fail::new("a string is not UTF-8"))
}

fn unreadable(bytes: &[u8]) -> Fail {
    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(64)]).into_owned();
    Fail::new(format!("\"{shown}\" does not fit its column"))
}
