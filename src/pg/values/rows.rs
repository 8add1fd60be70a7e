//! Rows of Arrow batches as messages: each row a DataRow, written straight into a buffer.

use std::ops::Range;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::Fields;
use pgwire::messages::data::{FieldDescription, RowDescription};
use schemas::types::view::View;

use super::super::errors::{PgError, PgResult, codes};
use super::super::sql::zone::Zone;
use super::kind::{Kind, held};
use super::{binary, text};
use crate::query::catalog::OutputColumn;

/// Most columns of a row, as a row's message counts them.
pub const MAX_COLUMNS: usize = 1664;

/// Form of a column on the wire.
#[derive(Clone, Debug, PartialEq)]
pub struct Form {
    /// Its type.
    pub kind: Kind,
    /// Set for the binary form.
    pub binary: bool,
}

/// Columns of a result.
#[derive(Clone, Debug, PartialEq)]
pub struct Columns {
    /// Their names.
    pub names: Vec<String>,
    /// Their types.
    pub kinds: Vec<Kind>,
    /// For those that are a column of a view or table, its OID and the number of the column.
    pub places: Vec<Option<(u32, i16)>>,
}

impl Columns {
    /// The columns of a schema under names that clients see.
    ///
    /// # Errors
    /// When there are too many.
    pub fn new(fields: &Fields, names: Vec<String>) -> PgResult<Columns> {
        if fields.len() > MAX_COLUMNS {
            let message = format!("a result has at most {MAX_COLUMNS} columns");
            return Err(PgError::new(codes::PROGRAM_LIMIT_EXCEEDED, message));
        }
        let places = vec![None; fields.len()];
        Ok(Columns { names, kinds: fields.iter().map(|field| Kind::of(field)).collect(), places })
    }

    /// The columns of a schema as the catalogue tells them.
    ///
    /// # Errors
    /// When there are too many.
    pub fn of_outputs(fields: &Fields, outputs: Vec<OutputColumn>) -> PgResult<Columns> {
        let (mut names, mut places) = (Vec::new(), Vec::new());
        for output in outputs {
            names.push(output.name);
            places.push(output.place);
        }
        Ok(Columns { places, ..Columns::new(fields, names)? })
    }

    /// The forms of the columns for the codes that a client gives: none is text for all, one is for all of
    /// them.
    ///
    /// # Errors
    /// When there is another number of codes than of columns, or a code is unknown.
    pub fn forms(&self, codes_given: &[i16]) -> PgResult<Vec<Form>> {
        if codes_given.len() > 1 && codes_given.len() != self.kinds.len() {
            let message = format!(
                "bind message has {} result formats but query has {} columns",
                codes_given.len(),
                self.kinds.len()
            );
            return Err(PgError::new(codes::PROTOCOL_VIOLATION, message));
        }
        let mut forms = Vec::with_capacity(self.kinds.len());
        for (at, kind) in self.kinds.iter().enumerate() {
            let code = codes_given.get(at).or(codes_given.first()).copied().unwrap_or(0);
            if !matches!(code, 0 | 1) {
                let message = format!("unsupported format code: {code}");
                return Err(PgError::new(codes::INVALID_PARAMETER_VALUE, message));
            }
            forms.push(Form { kind: kind.clone(), binary: code == 1 });
        }
        Ok(forms)
    }

    /// The message that describes the columns in these forms.
    pub fn description(&self, forms: &[Form]) -> RowDescription {
        let mut fields = Vec::with_capacity(forms.len());
        for ((name, place), form) in self.names.iter().zip(&self.places).zip(forms) {
            let (table, column) = place.map_or((0, 0), |(table, column)| (table.cast_signed(), column));
            let (oid, size, modifier) = (form.kind.oid(), form.kind.size(), form.kind.modifier());
            // A zero byte would end the name.
            let name = name.replace('\0', "");
            fields.push(FieldDescription::new(
                name,
                table,
                column,
                oid,
                size,
                modifier,
                i16::from(form.binary),
            ));
        }
        RowDescription::new(fields)
    }

    /// Tells whether both have columns of the same types.
    pub fn is_like(&self, other: &Columns) -> bool {
        self.kinds.len() == other.kinds.len()
            && self.kinds.iter().zip(&other.kinds).all(|(a, b)| a.oid() == b.oid())
    }
}

/// Columns of a batch in the types of its result, as Herald has them: the query engine may give a text in
/// another of its forms than the plan tells.
///
/// # Errors
/// When one cannot be converted.
pub fn held_columns(batch: &RecordBatch, fields: &Fields) -> PgResult<Vec<ArrayRef>> {
    let columns = batch.columns().iter().zip(fields);
    columns.map(|(column, field)| held(column, field.data_type())).collect()
}

/// Views of columns of [`held_columns`].
///
/// # Errors
/// When a column has a type that Herald lacks.
pub fn views(columns: &[ArrayRef]) -> PgResult<Vec<View<'_>>> {
    let views = columns.iter().map(View::new).collect::<Result<Vec<_>, _>>();
    views.map_err(|error| PgError::new(codes::INTERNAL_ERROR, error.to_string()))
}

/// Appends rows of a batch as DataRow messages, from `row` on, until `limit` rows are written or the buffer
/// has `enough` bytes. Returns the row after the last one.
///
/// # Errors
/// When a value cannot be written.
pub fn write_rows(
    out: &mut Vec<u8>,
    (views, forms): (&[View<'_>], &[Form]),
    zone: Zone,
    rows: Range<usize>,
    enough: usize,
) -> PgResult<usize> {
    for row in rows.clone() {
        if out.len() >= enough {
            return Ok(row);
        }
        out.push(b'D');
        let at = out.len();
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&(forms.len() as i16).to_be_bytes());
        for (view, form) in views.iter().zip(forms) {
            if let Err(error) = write_field(out, form, zone, (view, row)) {
                out.truncate(at - 1);
                return Err(error);
            }
        }
        let Ok(length) = i32::try_from(out.len() - at) else {
            out.truncate(at - 1);
            return Err(PgError::new(codes::PROGRAM_LIMIT_EXCEEDED, "a row has more than 2 GiB"));
        };
        out[at..at + 4].copy_from_slice(&length.to_be_bytes());
    }
    Ok(rows.end)
}

/// Appends the value of a row in its form, behind its length; NULL is the length -1.
///
/// # Errors
/// When the value cannot be written.
pub fn write_field(
    out: &mut Vec<u8>,
    form: &Form,
    zone: Zone,
    (view, row): (&View<'_>, usize),
) -> PgResult<()> {
    if view.is_null(row) {
        out.extend_from_slice(&(-1_i32).to_be_bytes());
        return Ok(());
    }
    binary::write_counted(out, |out| {
        if form.binary {
            return binary::write_value(out, &form.kind, view, row);
        }
        text::write_value(out, &form.kind, zone, view, row);
        Ok(())
    })
}

#[cfg(test)]
mod tests;
