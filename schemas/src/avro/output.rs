//! Avro out: Confluent's header and one binary datum a row.
//!
//! The datum follows the schema that [`avro_schema()`](super::schema()) writes for the same columns:
//! nullable columns are unions with null first, lists are one block, DECIMAL is the fewest bytes of its
//! unscaled value, INTERVAL and UUID are PostgreSQL's text.

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema};

use crate::blobs::Rows;
use crate::encode::check;
use crate::error::SchemaError;
use crate::types::span::Span;
use crate::types::uuid;
use crate::types::view::{Values, View};

/// Writes Avro records with the header of one schema id.
#[derive(Clone, Debug)]
pub struct AvroEncoder {
    types: Vec<DataType>,
    names: Vec<String>,
    shapes: Vec<Shape>,
    header: [u8; 5],
}

/// How a column is written.
#[derive(Clone, Debug)]
struct Shape {
    nullable: bool,
    form: Form,
}

#[derive(Clone, Debug)]
enum Form {
    /// As its representation says.
    Plain,
    /// Unscaled values times this: what a negative scale hides.
    Decimal(i128),
    List(Box<Shape>),
    Struct(Vec<Shape>),
}

impl AvroEncoder {
    pub(crate) fn new(schema: &Schema, id: u32) -> Result<AvroEncoder, SchemaError> {
        let fields = schema.fields();
        let mut header = [0; 5];
        header[1..].copy_from_slice(&id.to_be_bytes());
        Ok(AvroEncoder {
            types: fields.iter().map(|f| f.data_type().clone()).collect(),
            names: fields.iter().map(|f| f.name().clone()).collect(),
            shapes: fields.iter().map(|f| shape(f)).collect::<Result<_, _>>()?,
            header,
        })
    }

    pub(crate) fn encode(&self, batch: &RecordBatch) -> Result<Rows, SchemaError> {
        check(batch, &self.types)?;
        let views = batch.columns().iter().map(View::new).collect::<Result<Vec<_>, _>>()?;
        let mut rows = Rows::with_capacity(batch.num_rows(), batch.num_rows() * 64);
        let mut out = Vec::new();
        for row in 0..batch.num_rows() {
            out.clear();
            out.extend_from_slice(&self.header);
            for ((shape, view), name) in self.shapes.iter().zip(&views).zip(&self.names) {
                write(&mut out, shape, view, row).map_err(|message| SchemaError::Encode {
                    column: name.clone(),
                    message: message.to_string(),
                })?;
            }
            rows.push(&out);
        }
        Ok(rows)
    }
}

fn shape(field: &Field) -> Result<Shape, SchemaError> {
    let form = match field.data_type() {
        DataType::List(item) => Form::List(Box::new(shape(item)?)),
        DataType::Struct(fields) => Form::Struct(fields.iter().map(|f| shape(f)).collect::<Result<_, _>>()?),
        DataType::Decimal128(_, scale) => {
            let factor = 10i128.checked_pow(u32::try_from(-i32::from((*scale).min(0))).unwrap_or(0));
            Form::Decimal(factor.ok_or_else(|| SchemaError::UnsupportedType(field.data_type().to_string()))?)
        }
        _ => Form::Plain,
    };
    Ok(Shape { nullable: field.is_nullable(), form })
}

/// Appends a number as Avro's zigzag varint.
pub(crate) fn put_long(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_long(out, bytes.len() as i64);
    out.extend_from_slice(bytes);
}

/// Appends the fewest bytes of two's complement that hold the value.
fn put_decimal(out: &mut Vec<u8>, value: i128) {
    let bytes = value.to_be_bytes();
    let sign = if value < 0 { 0xFF } else { 0 };
    let mut start = 0;
    while start < 15 && bytes[start] == sign && (bytes[start + 1] ^ sign) & 0x80 == 0 {
        start += 1;
    }
    put_bytes(out, &bytes[start..]);
}

fn write(out: &mut Vec<u8>, shape: &Shape, view: &View<'_>, row: usize) -> Result<(), &'static str> {
    let null = view.is_null(row);
    if matches!(view.values, Values::Null) {
        return Ok(()); // Its schema is plain null, which takes no bytes.
    }
    match (shape.nullable, null) {
        (true, true) => {
            out.push(0);
            return Ok(());
        }
        (true, false) => out.push(2),
        (false, true) => return Err("it is NULL, and its schema has no null"),
        (false, false) => {}
    }
    match (&view.values, &shape.form) {
        (Values::Null, _) => {}
        (Values::Bool(v), _) => out.push(u8::from(v.value(row))),
        (Values::I8(v), _) => put_long(out, v[row].into()),
        (Values::I16(v), _) => put_long(out, v[row].into()),
        (Values::I32(v), _) => put_long(out, v[row].into()),
        (Values::I64(v), _) => put_long(out, v[row]),
        (Values::U8(v), _) => put_long(out, v[row].into()),
        (Values::U16(v), _) => put_long(out, v[row].into()),
        (Values::U32(v), _) => put_long(out, v[row].into()),
        (Values::U64(v), _) => put_decimal(out, v[row].into()),
        (Values::I128(v), Form::Decimal(factor)) => {
            put_decimal(out, v[row].checked_mul(*factor).ok_or("the number is too large")?);
        }
        (Values::I128(v), _) => put_decimal(out, v[row]),
        (Values::F32(v), _) => out.extend_from_slice(&v[row].to_le_bytes()),
        (Values::F64(v), _) => out.extend_from_slice(&v[row].to_le_bytes()),
        (Values::Bytes(heap), _) => put_bytes(out, heap.get(row)),
        (Values::Uuid(v), _) => put_bytes(out, uuid::text(&v[row]).as_bytes()),
        (Values::Span(v), _) => put_bytes(out, Span::from(v[row]).text().as_bytes()),
        (Values::List(offsets, items), Form::List(item)) => {
            let (start, end) = (offsets[row] as usize, offsets[row + 1] as usize);
            if end > start {
                put_long(out, (end - start) as i64);
                (start..end).try_for_each(|index| write(out, item, items, index))?;
            }
            out.push(0);
        }
        (Values::Struct(fields), Form::Struct(shapes)) => {
            for (field, shape) in fields.iter().zip(shapes) {
                write(out, shape, field, row)?;
            }
        }
        (Values::List(..) | Values::Struct(_), _) => return Err("its type changed"),
    }
    Ok(())
}
