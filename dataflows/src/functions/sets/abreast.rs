//! The function behind several `unnest` in one SELECT list: their items side by side.
//!
//! Arrays of `A` and `B` become one array of `STRUCT<item0 A, item1 B>`, as long as the longest of them; the
//! others are padded with NULL, and a NULL array counts as an empty one.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, StructArray, UInt32Array};
use arrow::buffer::OffsetBuffer;
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, FieldRef, Fields};
use datafusion_common::{Result, exec_err, plan_err};
use datafusion_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// Name of the function.
pub(crate) const ABREAST: &str = "herald_abreast";

/// Returns the field name of the items of the array at a place.
pub(crate) fn field(at: usize) -> String {
    format!("item{at}")
}

/// Returns the function.
pub(crate) fn function() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(Abreast { signature: Signature::variadic_any(Volatility::Immutable) }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Abreast {
    signature: Signature,
}

/// Returns the struct fields for the items of arrays of these types.
fn item_fields<'a>(lists: impl Iterator<Item = &'a DataType>) -> Result<Fields> {
    let mut items = Vec::new();
    for (at, list) in lists.enumerate() {
        let DataType::List(item) = list else { return plan_err!("unnest needs an array") };
        items.push(item.as_ref().clone().with_name(field(at)).with_nullable(true));
    }
    Ok(Fields::from(items))
}

fn list_length(list: &ListArray, row: usize) -> i32 {
    if list.is_null(row) { 0 } else { list.value_length(row) }
}

fn longest_list(lists: &[&ListArray], row: usize) -> usize {
    let longest = lists.iter().map(|list| list_length(list, row)).max();
    usize::try_from(longest.unwrap_or(0)).unwrap_or(0)
}

/// Returns the items of a list array, each row's padded with NULL to its length.
fn padded_items(list: &ListArray, lengths: &[usize]) -> Result<ArrayRef> {
    let mut places: Vec<Option<u32>> = Vec::new();
    for (row, longest) in lengths.iter().enumerate() {
        let start = list.value_offsets()[row];
        let own = start..start + list_length(list, row);
        let filled = own.map(|at| u32::try_from(at).ok()).chain(std::iter::repeat(None));
        places.extend(filled.take(*longest));
    }
    Ok(take(list.values(), &UInt32Array::from(places), None)?)
}

impl ScalarUDFImpl for Abreast {
    fn name(&self) -> &str {
        ABREAST
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, args: &[DataType]) -> Result<DataType> {
        let item = DataType::Struct(item_fields(args.iter())?);
        Ok(DataType::List(Arc::new(Field::new("item", item, true))))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let types: Vec<DataType> = args.arg_fields.iter().map(|f| f.data_type().clone()).collect();
        Ok(Arc::new(Field::new(self.name(), self.return_type(&types)?, true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays =
            args.args.iter().map(|a| a.to_array(args.number_rows)).collect::<Result<Vec<ArrayRef>>>()?;
        let Some(lists) = arrays.iter().map(AsArray::as_list_opt::<i32>).collect::<Option<Vec<&ListArray>>>()
        else {
            return exec_err!("unnest needs an array");
        };
        let lengths: Vec<usize> = (0..args.number_rows).map(|row| longest_list(&lists, row)).collect();
        let columns = lists.iter().map(|list| padded_items(list, &lengths)).collect::<Result<Vec<_>>>()?;
        let fields = item_fields(arrays.iter().map(Array::data_type))?;
        let item = Arc::new(Field::new("item", DataType::Struct(fields.clone()), true));
        let items = StructArray::try_new(fields, columns, None)?;
        let lists = ListArray::try_new(item, OffsetBuffer::from_lengths(lengths), Arc::new(items), None)?;
        Ok(ColumnarValue::Array(Arc::new(lists)))
    }
}
