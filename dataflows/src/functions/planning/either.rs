//! `to_char`: one function name for numbers and for times.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion_common::Result;
use datafusion_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// Two functions, chosen by the type of the first argument.
#[derive(Debug)]
pub(crate) struct Either {
    numbers: Arc<ScalarUDF>,
    times: Arc<ScalarUDF>,
    signature: Signature,
}

impl Either {
    /// Uses `numbers` where the first argument is a number, else `times`, whose name the result has.
    pub(crate) fn new(numbers: Arc<ScalarUDF>, times: Arc<ScalarUDF>) -> Either {
        Either { numbers, times, signature: Signature::user_defined(Volatility::Immutable) }
    }

    fn choose_function(&self, first: Option<&DataType>) -> &ScalarUDF {
        if first.is_some_and(DataType::is_numeric) { &self.numbers } else { &self.times }
    }
}

/// Returns the functions for numbers and for times; None for another function.
pub(crate) fn both(function: &ScalarUDF) -> Option<[&ScalarUDF; 2]> {
    let either = function.inner().downcast_ref::<Either>()?;
    Some([either.numbers.as_ref(), either.times.as_ref()])
}

impl PartialEq for Either {
    fn eq(&self, other: &Either) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Either {}

impl Hash for Either {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name().hash(state);
    }
}

impl ScalarUDFImpl for Either {
    fn name(&self) -> &str {
        self.times.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        self.choose_function(given.first()).coerce_types(given)
    }

    fn return_type(&self, given: &[DataType]) -> Result<DataType> {
        self.choose_function(given.first()).return_type(given)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        self.choose_function(args.arg_fields.first().map(|f| f.data_type())).return_field_from_args(args)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let first = args.args.first().map(ColumnarValue::data_type);
        self.choose_function(first.as_ref()).invoke_with_args(args)
    }
}
