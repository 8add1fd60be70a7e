//! Arguments of a function over JSONB, first as columns and then row by row.

use std::borrow::Cow;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Int64Array, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use datafusion_common::{DataFusionError, Result, ScalarValue, exec_err};
use datafusion_expr::ColumnarValue;

use super::{Arg, JsonDef, Takes};

/// The arguments of all rows.
pub(super) struct ArgColumns {
    columns: Vec<ArgColumn>,
}

enum ArgColumn {
    Json(StringArray),
    Name(StringArray),
    Number(Int64Array),
    Names(ArrayRef),
    /// A constant array of texts for every row; None is NULL.
    Same(Option<Vec<Option<String>>>),
    Flag(BooleanArray),
    Bytes(BinaryArray),
    /// NULL in every row.
    Null,
}

impl ArgColumns {
    /// Converts the arguments of `rows` rows to the kinds that `def` takes.
    pub fn new(def: &JsonDef, args: &[ColumnarValue], rows: usize) -> Result<ArgColumns> {
        let mut columns = Vec::with_capacity(args.len());
        for (place, arg) in args.iter().enumerate() {
            let Some(takes) = def.argument_at(place) else {
                return exec_err!("{} takes fewer arguments", def.name);
            };
            columns.push(ArgColumn::new(takes, arg, rows)?);
        }
        Ok(ArgColumns { columns })
    }

    /// Returns the values of a row; None where one is NULL.
    pub fn row(&self, row: usize) -> Option<Vec<Arg<'_>>> {
        self.columns.iter().map(|column| column.value_at(row)).collect()
    }
}

impl ArgColumn {
    fn new(takes: Takes, arg: &ColumnarValue, rows: usize) -> Result<ArgColumn> {
        if let (Takes::Names, ColumnarValue::Scalar(ScalarValue::Utf8(text))) = (takes, arg) {
            let names = text.as_deref().map(names_of).transpose().map_err(DataFusionError::Execution)?;
            return Ok(ArgColumn::Same(names));
        }
        let array = arg.to_array(rows)?;
        if *array.data_type() == DataType::Null {
            return Ok(ArgColumn::Null);
        }
        Ok(match (takes, array.data_type()) {
            (Takes::Json, _) => ArgColumn::Json(text_array(&array)?),
            (Takes::Bytes, _) => match cast(&array, &DataType::Binary)?.as_binary_opt::<i32>() {
                Some(bytes) => ArgColumn::Bytes(bytes.clone()),
                None => return Err(unexpected_type(&array)),
            },
            (Takes::Flag, DataType::Boolean) => ArgColumn::Flag(array.as_boolean().clone()),
            (Takes::Names | Takes::Step, DataType::List(_)) => ArgColumn::Names(array),
            (Takes::Number | Takes::Step, of) if of.is_integer() => {
                let wide = cast(&array, &DataType::Int64)?;
                match wide.as_primitive_opt::<Int64Type>() {
                    Some(numbers) => ArgColumn::Number(numbers.clone()),
                    None => return Err(unexpected_type(&array)),
                }
            }
            (Takes::Name | Takes::Text | Takes::Step, _) => ArgColumn::Name(text_array(&array)?),
            _ => return Err(unexpected_type(&array)),
        })
    }

    fn value_at(&self, row: usize) -> Option<Arg<'_>> {
        Some(match self {
            ArgColumn::Json(array) if array.is_valid(row) => Arg::Json(array.value(row)),
            ArgColumn::Name(array) if array.is_valid(row) => Arg::Name(array.value(row)),
            ArgColumn::Number(array) if array.is_valid(row) => Arg::Number(array.value(row)),
            ArgColumn::Flag(array) if array.is_valid(row) => Arg::Flag(array.value(row)),
            ArgColumn::Bytes(array) if array.is_valid(row) => Arg::Bytes(array.value(row)),
            ArgColumn::Same(names) => Arg::Names(Cow::Borrowed(names.as_deref()?)),
            ArgColumn::Names(array) if array.is_valid(row) => {
                let list = array.as_list_opt::<i32>()?.value(row);
                let texts = cast(&list, &DataType::Utf8).ok()?;
                let texts = texts.as_string_opt::<i32>()?;
                Arg::Names(Cow::Owned(texts.iter().map(|text| text.map(str::to_owned)).collect()))
            }
            _ => return None,
        })
    }
}

fn text_array(array: &ArrayRef) -> Result<StringArray> {
    let array = cast(array, &DataType::Utf8)?;
    array.as_string_opt::<i32>().cloned().ok_or_else(|| unexpected_type(&array))
}

fn unexpected_type(array: &ArrayRef) -> DataFusionError {
    DataFusionError::Internal(format!("an argument is {}", array.data_type()))
}

/// Parses a constant array of texts as PostgreSQL writes it: `{a,"b c",NULL}`.
pub(super) fn names_of(text: &str) -> std::result::Result<Vec<Option<String>>, String> {
    let wrong = || format!("'{text}' is not an array of texts: write it as '{{a,b}}'");
    let inner = text.trim().strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).ok_or_else(wrong)?;
    let mut names = Vec::new();
    if inner.trim().is_empty() {
        return Ok(names);
    }
    let mut chars = inner.chars().peekable();
    loop {
        while chars.next_if(char::is_ascii_whitespace).is_some() {}
        // `closed`: no quote is open. `escaped`: a backslash occurred, so the text is neither trimmed nor
        // NULL.
        let quoted = chars.next_if_eq(&'"').is_some();
        let (mut name, mut escaped, mut closed) = (String::new(), false, !quoted);
        let more = loop {
            match chars.next() {
                None => break false,
                Some('"') if !closed => closed = true,
                Some('\\') => {
                    escaped = true;
                    name.push(chars.next().ok_or_else(wrong)?);
                }
                Some(',') if closed => break true,
                Some(c) if quoted && closed && c.is_ascii_whitespace() => {}
                Some('{' | '}' | '"') if closed => return Err(wrong()),
                Some(_) if quoted && closed => return Err(wrong()),
                Some(c) => name.push(c),
            }
        };
        if !closed {
            return Err(wrong());
        }
        if !quoted && !escaped {
            name.truncate(name.trim_end().len());
            if name.is_empty() {
                return Err(wrong());
            }
        }
        names.push((quoted || escaped || !name.eq_ignore_ascii_case("null")).then_some(name));
        if !more {
            return Ok(names);
        }
    }
}
