//! JSONB as a key: equal values get equal bytes.
//!
//! Groups, DISTINCT, joins and comparisons distinguish values by their bytes, but `1.0` and `1` are equal as
//! JSONB. The function [`NAME`] removes trailing zeros behind the point of a number, also inside arrays and
//! structs that contain JSONB, and leaves everything else unchanged.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, StringBuilder, StructArray};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion_common::{Result, plan_err};
use datafusion_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::execution_error;

/// Name of the function.
pub(crate) const NAME: &str = "herald_jsonb_key";

/// Returns the function.
pub(super) fn function() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(Key { signature: Signature::any(1, Volatility::Immutable) }))
}

/// Returns true if values of `field` are or contain JSONB.
pub(crate) fn holds_jsonb(field: &Field) -> bool {
    match field.data_type() {
        DataType::List(item) => holds_jsonb(item),
        DataType::Struct(fields) => fields.iter().any(|field| holds_jsonb(field)),
        _ => schemas::is_jsonb(field),
    }
}

/// Returns true if `expr` is a key already.
pub(crate) fn is_key(expr: &Expr) -> bool {
    match expr {
        Expr::Alias(alias) => is_key(&alias.expr),
        Expr::ScalarFunction(call) => call.func.name() == NAME,
        _ => false,
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    signature: Signature,
}

impl ScalarUDFImpl for Key {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, of: &[DataType]) -> Result<DataType> {
        match of {
            [of] => Ok(of.clone()),
            _ => plan_err!("{NAME} takes one value"),
        }
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        match args.arg_fields {
            [of] => Ok(Arc::new(of.as_ref().clone().with_name(NAME))),
            _ => plan_err!("{NAME} takes one value"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [value] = args.args.as_slice() else { return plan_err!("{NAME} takes one value") };
        let array = value.to_array(args.number_rows)?;
        Ok(ColumnarValue::Array(normalize_numbers(&array, &args.return_field)?))
    }
}

fn normalize_numbers(array: &ArrayRef, field: &Field) -> Result<ArrayRef> {
    Ok(match field.data_type() {
        DataType::Utf8 if schemas::is_jsonb(field) => {
            let Some(texts) = array.as_string_opt::<i32>() else { return Ok(Arc::clone(array)) };
            let mut out = StringBuilder::with_capacity(texts.len(), texts.value_data().len());
            for text in texts {
                match text {
                    None => out.append_null(),
                    Some(text) => {
                        out.append_value(schemas::types::jsonb::key(text).map_err(execution_error)?);
                    }
                }
            }
            Arc::new(out.finish())
        }
        DataType::List(item) if holds_jsonb(item) => {
            let Some(list) = array.as_list_opt::<i32>() else { return Ok(Arc::clone(array)) };
            let values = normalize_numbers(list.values(), item)?;
            let own = match list.data_type() {
                DataType::List(own) => Arc::clone(own),
                _ => Arc::clone(item),
            };
            Arc::new(ListArray::try_new(own, list.offsets().clone(), values, list.nulls().cloned())?)
        }
        DataType::Struct(fields) if holds_jsonb(field) => {
            let Some(rows) = array.as_struct_opt() else { return Ok(Arc::clone(array)) };
            let mut columns = Vec::with_capacity(fields.len());
            for (column, field) in rows.columns().iter().zip(fields) {
                columns.push(normalize_numbers(column, field)?);
            }
            Arc::new(StructArray::try_new(rows.fields().clone(), columns, rows.nulls().cloned())?)
        }
        _ => Arc::clone(array),
    })
}
