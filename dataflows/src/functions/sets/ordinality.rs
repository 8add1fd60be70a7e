//! The function behind `UNNEST(...) WITH ORDINALITY`: items with their numbers, from 1.
//!
//! A list of `T` becomes a list of `STRUCT<item T, ordinality BIGINT>` with the same length and the same
//! NULLs.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, ListArray, StructArray};
use arrow::datatypes::{DataType, Field, FieldRef, Fields};
use datafusion_common::{Result, exec_err, plan_err};
use datafusion_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// Field of the item.
pub(crate) const ITEM: &str = "item";
/// Field of the item's number.
pub(crate) const ORDINALITY: &str = "ordinality";

/// Returns the function.
pub(crate) fn function() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(Numbered { signature: Signature::any(1, Volatility::Immutable) }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Numbered {
    signature: Signature,
}

fn numbered_fields(item: &FieldRef) -> Fields {
    let item = item.as_ref().clone().with_name(ITEM);
    Fields::from(vec![item, Field::new(ORDINALITY, DataType::Int64, true)])
}

fn list_of(item: &FieldRef) -> FieldRef {
    Arc::new(Field::new("item", DataType::Struct(numbered_fields(item)), true))
}

impl ScalarUDFImpl for Numbered {
    fn name(&self) -> &str {
        "herald_numbered"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, args: &[DataType]) -> Result<DataType> {
        match args {
            [DataType::List(item)] => Ok(DataType::List(list_of(item))),
            _ => plan_err!("WITH ORDINALITY needs an array"),
        }
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let types: Vec<DataType> = args.arg_fields.iter().map(|f| f.data_type().clone()).collect();
        Ok(Arc::new(Field::new(self.name(), self.return_type(&types)?, true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let array = args.args[0].to_array(args.number_rows)?;
        let (Some(list), DataType::List(item)) = (array.as_list_opt::<i32>(), array.data_type()) else {
            return exec_err!("WITH ORDINALITY of {}", array.data_type());
        };
        let mut numbers = vec![0i64; list.values().len()];
        // Numbers restart at 1 in each row's list.
        for bounds in list.value_offsets().windows(2) {
            let items = &mut numbers[bounds[0] as usize..bounds[1] as usize];
            for (number, nth) in items.iter_mut().zip(1..) {
                *number = nth;
            }
        }
        let columns: Vec<ArrayRef> = vec![Arc::clone(list.values()), Arc::new(Int64Array::from(numbers))];
        let values = StructArray::try_new(numbered_fields(item), columns, None)?;
        let out = ListArray::try_new(
            list_of(item),
            list.offsets().clone(),
            Arc::new(values),
            list.nulls().cloned(),
        )?;
        Ok(ColumnarValue::Array(Arc::new(out)))
    }
}
