//! Avro output: Confluent's header and one binary datum per row.
//!
//! The datum follows the schema that [`avro_schema()`](crate::avro_schema()) returns for the same columns:
//! nullable columns are unions with null first, lists are one block, DECIMAL is the shortest form of
//! its unscaled value, INTERVAL and UUID are PostgreSQL's text.

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Fields, Schema};

use crate::encode::check::check_types;
use crate::error::SchemaError;
use crate::records::blobs::Rows;
use crate::types::relation::column_types;
use crate::types::span::Span;
use crate::types::uuid;
use crate::types::view::{Values, View};

/// An encoder of Avro records with the header of one schema id.
#[derive(Clone, Debug)]
pub struct AvroEncoder {
    types: Vec<DataType>,
    names: Vec<String>,
    columns: Vec<AvroColumn>,
    header: [u8; 5],
}

/// The written form of a column.
#[derive(Clone, Debug)]
struct AvroColumn {
    nullable: bool,
    form: AvroForm,
}

#[derive(Clone, Debug)]
enum AvroForm {
    /// Determined by the representation alone.
    Plain,
    /// The factor for unscaled values of a negative scale, which Avro lacks.
    Decimal(i128),
    List(Box<AvroColumn>),
    Struct(Vec<AvroColumn>),
}

impl AvroEncoder {
    pub(crate) fn new(schema: &Schema, id: u32) -> Result<AvroEncoder, SchemaError> {
        let fields = schema.fields();
        let mut header = [0; 5];
        header[1..].copy_from_slice(&id.to_be_bytes());
        Ok(AvroEncoder {
            types: column_types(fields),
            names: fields.iter().map(|f| f.name().clone()).collect(),
            columns: columns_of_fields(fields)?,
            header,
        })
    }

    pub(crate) fn encode(&self, batch: &RecordBatch) -> Result<Rows, SchemaError> {
        check_types(batch, &self.types)?;
        let views = batch.columns().iter().map(View::new).collect::<Result<Vec<_>, _>>()?;
        let mut rows = Rows::with_capacity(batch.num_rows(), batch.num_rows() * 64);
        let mut out = Vec::new();
        for row in 0..batch.num_rows() {
            out.clear();
            out.extend_from_slice(&self.header);
            for ((column, view), name) in self.columns.iter().zip(&views).zip(&self.names) {
                write_value(&mut out, column, view, row).map_err(|message| SchemaError::Encode {
                    column: name.clone(),
                    message: message.to_string(),
                })?;
            }
            rows.push(&out);
        }
        Ok(rows)
    }
}

fn columns_of_fields(fields: &Fields) -> Result<Vec<AvroColumn>, SchemaError> {
    fields.iter().map(|field| column_of_field(field)).collect()
}

fn column_of_field(field: &Field) -> Result<AvroColumn, SchemaError> {
    let form = match field.data_type() {
        DataType::List(item) => AvroForm::List(Box::new(column_of_field(item)?)),
        DataType::Struct(fields) => AvroForm::Struct(columns_of_fields(fields)?),
        DataType::Decimal128(_, scale) => {
            let factor = 10i128.checked_pow(u32::try_from(-i32::from((*scale).min(0))).unwrap_or(0));
            AvroForm::Decimal(
                factor.ok_or_else(|| SchemaError::UnsupportedType(field.data_type().to_string()))?,
            )
        }
        _ => AvroForm::Plain,
    };
    Ok(AvroColumn { nullable: field.is_nullable(), form })
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

/// Appends the shortest two's complement form of the value.
fn put_decimal(out: &mut Vec<u8>, value: i128) {
    let bytes = value.to_be_bytes();
    let sign = if value < 0 { 0xFF } else { 0 };
    let mut start = 0;
    // A leading byte is redundant if the next byte has the sign bit, too.
    while start < 15 && bytes[start] == sign && (bytes[start + 1] ^ sign) & 0x80 == 0 {
        start += 1;
    }
    put_bytes(out, &bytes[start..]);
}

/// Appends one value; fails for a NULL that the schema does not allow.
fn write_value(
    out: &mut Vec<u8>,
    column: &AvroColumn,
    view: &View<'_>,
    row: usize,
) -> Result<(), &'static str> {
    let null = view.is_null(row);
    if matches!(view.values, Values::Null) {
        return Ok(()); // The schema of such a column is plain null, which takes no bytes.
    }
    // A nullable column is a union of null (branch 0) and its type (branch 1, zigzag 2).
    match (column.nullable, null) {
        (true, true) => {
            out.push(0);
            return Ok(());
        }
        (true, false) => out.push(2),
        (false, true) => return Err("it is NULL, and its schema has no null"),
        (false, false) => {}
    }
    match (&view.values, &column.form) {
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
        (Values::I128(v), AvroForm::Decimal(factor)) => {
            put_decimal(out, v[row].checked_mul(*factor).ok_or("the number is too large")?);
        }
        (Values::I128(v), _) => put_decimal(out, v[row]),
        (Values::F32(v), _) => out.extend_from_slice(&v[row].to_le_bytes()),
        (Values::F64(v), _) => out.extend_from_slice(&v[row].to_le_bytes()),
        (Values::Bytes(heap), _) => put_bytes(out, heap.get(row)),
        (Values::Uuid(v), _) => put_bytes(out, uuid::text(&v[row]).as_bytes()),
        (Values::Span(v), _) => put_bytes(out, Span::from(v[row]).text().as_bytes()),
        (Values::List(offsets, items), AvroForm::List(item)) => {
            let (start, end) = (offsets[row] as usize, offsets[row + 1] as usize);
            if end > start {
                put_long(out, (end - start) as i64);
                for index in start..end {
                    write_value(out, item, items, index)?;
                }
            }
            // A block of 0 items ends the list.
            out.push(0);
        }
        (Values::Struct(fields), AvroForm::Struct(columns)) => {
            for (field, column) in fields.iter().zip(columns) {
                write_value(out, column, field, row)?;
            }
        }
        (Values::List(..) | Values::Struct(_), _) => return Err("its type changed"),
    }
    Ok(())
}
