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
                let (data, nulls) = column.values_and_nulls();
                let Data::Bool(values) = data else { return Err(misfit_error()) };
                values.push(value);
                nulls.append_non_null();
                Ok(())
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

/// The error of a value or column that contradicts the plan.
fn misfit_error() -> Fail {
    Fail::new("the value does not fit its column")
}

fn narrow_error(value: i64) -> Fail {
    Fail::new(format!("{value} does not fit its column"))
}

#[inline]
fn append_integer(to: IntTo, column: &mut Column, value: i64) -> Result<(), Fail> {
    let (data, nulls) = column.values_and_nulls();
    match (to, data) {
        (IntTo::Number, Data::I64(values)) => values.push(value),
        (IntTo::Number, Data::I32(values)) => match i32::try_from(value) {
            Ok(narrow) => values.push(narrow),
            Err(_) => return Err(narrow_error(value)),
        },
        (IntTo::Number, Data::I16(values)) => match i16::try_from(value) {
            Ok(narrow) => values.push(narrow),
            Err(_) => return Err(narrow_error(value)),
        },
        (IntTo::Number, Data::F64(values)) => values.push(value as f64),
        (IntTo::Number, Data::F32(values)) => values.push(value as f32),
        (IntTo::Micros { times, over }, Data::I64(values)) => values.push(scale_units(value, times, over)?),
        (IntTo::Decimal { precision, scale }, Data::I128(values)) => {
            let unscaled = decimal::rescale(value.into(), scale.into(), Excess::Refuse);
            match decimal::within(unscaled, precision) {
                Some(unscaled) => values.push(unscaled),
                None => return Err(narrow_error(value)),
            }
        }
        _ => return require_fit(false),
    }
    nulls.append_non_null();
    Ok(())
}

fn append_float(column: &mut Column, value: f64) -> Result<(), Fail> {
    let (data, nulls) = column.values_and_nulls();
    match data {
        Data::F64(values) => values.push(value),
        Data::F32(values) => {
            // A finite DOUBLE beyond the range of REAL is an error, not infinity.
            let narrow = value as f32;
            if narrow.is_infinite() && value.is_finite() {
                return Err(misfit_error());
            }
            values.push(narrow);
        }
        _ => return Err(misfit_error()),
    }
    nulls.append_non_null();
    Ok(())
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
            let value = decimal::rescale(decode_unscaled(bytes)?, shift, Excess::Refuse);
            match decimal::within(value, precision) {
                Some(value) => push_i128(column, value),
                None => Err(Fail::new("a decimal does not fit its column")),
            }
        }
        BytesTo::DecimalText { precision, scale } => {
            let value = decimal::parse(bytes, scale.into(), Excess::Refuse);
            push_i128(column, require_value(decimal::within(value, precision), bytes)?)
        }
        BytesTo::DateText => {
            let value = require_value(time::parse_date(utf8_text(bytes)?), bytes)?;
            let (data, nulls) = column.values_and_nulls();
            let Data::I32(values) = data else { return Err(misfit_error()) };
            values.push(value);
            nulls.append_non_null();
            Ok(())
        }
        BytesTo::IntervalText => {
            let read = Span::parse(utf8_text(bytes)?).and_then(Span::to_arrow);
            let value = require_value(read, bytes)?;
            let (data, nulls) = column.values_and_nulls();
            let Data::Span(values) = data else { return Err(misfit_error()) };
            values.push(value);
            nulls.append_non_null();
            Ok(())
        }
        BytesTo::TimeText => push_i64(column, require_value(time::parse_time(utf8_text(bytes)?), bytes)?),
        BytesTo::TimestampText => {
            push_i64(column, require_value(time::parse_timestamp(utf8_text(bytes)?), bytes)?)
        }
    }
}

fn push_i64(column: &mut Column, value: i64) -> Result<(), Fail> {
    let (data, nulls) = column.values_and_nulls();
    let Data::I64(values) = data else { return Err(misfit_error()) };
    values.push(value);
    nulls.append_non_null();
    Ok(())
}

fn push_i128(column: &mut Column, value: i128) -> Result<(), Fail> {
    let (data, nulls) = column.values_and_nulls();
    let Data::I128(values) = data else { return Err(misfit_error()) };
    values.push(value);
    nulls.append_non_null();
    Ok(())
}

/// Appends a UUID, read from its text or from its 16 bytes.
fn append_uuid(written: bool, column: &mut Column, bytes: &[u8]) -> Result<(), Fail> {
    let value = if written { crate::types::uuid::parse(utf8_text(bytes)?) } else { bytes.try_into().ok() };
    let value = require_value(value, bytes)?;
    let (data, nulls) = column.values_and_nulls();
    let Data::Uuid(values) = data else { return Err(misfit_error()) };
    values.push(value);
    nulls.append_non_null();
    Ok(())
}

fn utf8_text(bytes: &[u8]) -> Result<&str, Fail> {
    std::str::from_utf8(bytes).map_err(|_| Fail::new("a string is not UTF-8"))
}

/// Fails if there is no value in these bytes.
fn require_value<T>(value: Option<T>, bytes: &[u8]) -> Result<T, Fail> {
    value.ok_or_else(|| unreadable_value(bytes))
}

fn unreadable_value(bytes: &[u8]) -> Fail {
    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(64)]).into_owned();
    Fail::new(format!("\"{shown}\" does not fit its column"))
}
