//! DataFusion's functions called with one row at a time.
//!
//! Some of its functions over arrays take types, lengths or NULLs from neighbouring rows, so that the result
//! of a row depends on its batch: a retraction computed in another batch would not cancel the row it
//! retracts. Called with each row alone they cannot.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::Array;
use arrow::datatypes::{DataType, FieldRef};
use datafusion_common::Result;
use datafusion_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};

use super::value::all_scalars;

/// A function that sees one row at a time.
#[derive(Debug)]
pub(crate) struct ByRow {
    inner: Arc<ScalarUDF>,
}

impl ByRow {
    /// Wraps `inner`.
    pub(crate) fn new(inner: Arc<ScalarUDF>) -> ByRow {
        ByRow { inner }
    }
}

impl PartialEq for ByRow {
    fn eq(&self, other: &ByRow) -> bool {
        self.inner == other.inner
    }
}

impl Eq for ByRow {}

impl Hash for ByRow {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inner.hash(state);
    }
}

impl ScalarUDFImpl for ByRow {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(given)
    }

    fn return_type(&self, args: &[DataType]) -> Result<DataType> {
        self.inner.return_type(args)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        self.inner.return_field_from_args(args)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        if args.number_rows == 0 || all_scalars(&args.args) {
            return self.inner.invoke_with_args(args);
        }
        let mut results = Vec::with_capacity(args.number_rows);
        for row in 0..args.number_rows {
            let one = args.args.iter().map(|arg| slice_row(arg, row));
            let result = self.inner.invoke_with_args(ScalarFunctionArgs {
                args: one.collect(),
                arg_fields: args.arg_fields.clone(),
                number_rows: 1,
                return_field: Arc::clone(&args.return_field),
                config_options: Arc::clone(&args.config_options),
            })?;
            results.push(result.into_array(1)?);
        }
        let results: Vec<&dyn Array> = results.iter().map(AsRef::as_ref).collect();
        Ok(ColumnarValue::Array(arrow::compute::concat(&results)?))
    }
}

fn slice_row(arg: &ColumnarValue, row: usize) -> ColumnarValue {
    match arg {
        ColumnarValue::Array(array) => ColumnarValue::Array(array.slice(row, 1)),
        ColumnarValue::Scalar(scalar) => ColumnarValue::Scalar(scalar.clone()),
    }
}
