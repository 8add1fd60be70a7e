//! Arguments of a function over JSONB, column by column and then row by row.

use std::borrow::Cow;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use datafusion_common::{DataFusionError, Result, ScalarValue, exec_err};
use datafusion_expr::ColumnarValue;

use super::{Arg, Def, Takes};

/// The arguments of all rows.
pub(super) struct Columns {
    columns: Vec<Column>,
}

enum Column {
    Json(StringArray),
    Name(StringArray),
    Number(Int64Array),
    Names(ArrayRef),
    /// The same for every row; None is NULL.
    Same(Option<Vec<Option<String>>>),
    Flag(BooleanArray),
    /// NULL in every row.
    Null,
}

impl Columns {
    /// The arguments of `rows` rows, each in the form that `def` takes.
    pub fn new(def: &Def, args: &[ColumnarValue], rows: usize) -> Result<Columns> {
        let column = |(place, arg): (usize, &ColumnarValue)| match def.at(place) {
            Some(takes) => Column::new(takes, arg, rows),
            None => exec_err!("{} takes fewer arguments", def.name),
        };
        Ok(Columns { columns: args.iter().enumerate().map(column).collect::<Result<_>>()? })
    }

    /// The values of a row; None where one is NULL.
    pub fn row(&self, row: usize) -> Option<Vec<Arg<'_>>> {
        self.columns.iter().map(|column| column.at(row)).collect()
    }
}

impl Column {
    fn new(takes: Takes, arg: &ColumnarValue, rows: usize) -> Result<Column> {
        let texts = |array: &ArrayRef| -> Result<StringArray> {
            let array = cast(array, &DataType::Utf8)?;
            array.as_string_opt::<i32>().cloned().ok_or_else(|| unfit(&array))
        };
        if let (Takes::Names, ColumnarValue::Scalar(ScalarValue::Utf8(text))) = (takes, arg) {
            let names = text.as_deref().map(names_of).transpose().map_err(DataFusionError::Execution)?;
            return Ok(Column::Same(names));
        }
        let array = arg.to_array(rows)?;
        if *array.data_type() == DataType::Null {
            return Ok(Column::Null);
        }
        Ok(match (takes, array.data_type()) {
            (Takes::Json, _) => Column::Json(texts(&array)?),
            (Takes::Flag, DataType::Boolean) => Column::Flag(array.as_boolean().clone()),
            (Takes::Names | Takes::Step, DataType::List(_)) => Column::Names(array),
            (Takes::Number | Takes::Step, of) if of.is_integer() => {
                let wide = cast(&array, &DataType::Int64)?;
                Column::Number(wide.as_primitive_opt::<Int64Type>().cloned().ok_or_else(|| unfit(&array))?)
            }
            (Takes::Name | Takes::Text | Takes::Step, _) => Column::Name(texts(&array)?),
            _ => return Err(unfit(&array)),
        })
    }

    fn at(&self, row: usize) -> Option<Arg<'_>> {
        match self {
            Column::Json(array) => array.is_valid(row).then(|| Arg::Json(array.value(row))),
            Column::Name(array) => array.is_valid(row).then(|| Arg::Name(array.value(row))),
            Column::Number(array) => array.is_valid(row).then(|| Arg::Number(array.value(row))),
            Column::Flag(array) => array.is_valid(row).then(|| Arg::Flag(array.value(row))),
            Column::Same(names) => names.as_deref().map(|names| Arg::Names(Cow::Borrowed(names))),
            Column::Names(array) => {
                let list = array.as_list_opt::<i32>().filter(|list| list.is_valid(row))?.value(row);
                let texts = cast(&list, &DataType::Utf8).ok()?;
                let texts = texts.as_string_opt::<i32>()?;
                Some(Arg::Names(Cow::Owned(texts.iter().map(|text| text.map(str::to_owned)).collect())))
            }
            Column::Null => None,
        }
    }
}

fn unfit(array: &ArrayRef) -> DataFusionError {
    DataFusionError::Internal(format!("an argument is {}", array.data_type()))
}

/// The texts of an array as PostgreSQL writes a constant of one: `{a,"b c",NULL}`.
pub(super) fn names_of(text: &str) -> std::result::Result<Vec<Option<String>>, String> {
    let wrong = || format!("'{text}' is not an array of texts: write it as '{{a,b}}'");
    let inner = text.trim().strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).ok_or_else(wrong)?;
    let mut names = Vec::new();
    if inner.trim().is_empty() {
        return Ok(names);
    }
    let mut chars = inner.chars().peekable();
    loop {
        while chars.next_if(|c| c.is_ascii_whitespace()).is_some() {}
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
