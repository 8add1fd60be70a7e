//! Functions whose arguments must be of one kind: `coalesce`, `nullif`, `greatest` and similar ones.
//!
//! DataFusion converts text to a number where the other argument is a number, and loses the row where the
//! text is not one; PostgreSQL has no such coercion. Numbers and text therefore do not mix here: the query
//! has to write the cast.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion_common::{Result, plan_err};
use datafusion_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion_expr::type_coercion::functions::fields_with_udf;
use datafusion_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use crate::functions::types::{is_text, list_types, unnamed_field};

/// A function that refuses a mix of numbers and text.
#[derive(Debug)]
pub(crate) struct OneKind {
    inner: Arc<ScalarUDF>,
    signature: Signature,
}

impl OneKind {
    /// Wraps `inner`.
    pub(crate) fn new(inner: Arc<ScalarUDF>) -> OneKind {
        OneKind { inner, signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl PartialEq for OneKind {
    fn eq(&self, other: &OneKind) -> bool {
        self.inner == other.inner
    }
}

impl Eq for OneKind {}

impl Hash for OneKind {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inner.hash(state);
    }
}

impl ScalarUDFImpl for OneKind {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        // The first argument of nvl2 is a condition of any type.
        let alike = if self.name() == "nvl2" { &given[1.min(given.len())..] } else { given };
        let text = alike.iter().any(is_text);
        let other = [DataType::Boolean, schemas::uuid_type()];
        let number = alike.iter().any(|t| t.is_numeric() || other.contains(t));
        if text && number {
            return plan_err!("{} takes arguments of one kind, not ({})", self.name(), list_types(given));
        }
        let fields: Vec<FieldRef> = given.iter().map(unnamed_field).collect();
        let coerced = fields_with_udf(&fields, self.inner.as_ref())?;
        Ok(coerced.iter().map(|f| f.data_type().clone()).collect())
    }

    fn return_type(&self, args: &[DataType]) -> Result<DataType> {
        self.inner.return_type(args)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        self.inner.return_field_from_args(args)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        self.inner.invoke_with_args(args)
    }

    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        self.inner.simplify(args, info)
    }

    fn short_circuits(&self) -> bool {
        self.inner.short_circuits()
    }

    fn conditional_arguments<'a>(&self, args: &'a [Expr]) -> Option<(Vec<&'a Expr>, Vec<&'a Expr>)> {
        self.inner.conditional_arguments(args)
    }
}
