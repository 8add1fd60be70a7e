//! The function `is_final(t)` of queries: true where no accepted record can change rows of windows that end
//! at or before
//! `t` any more.
//!
//! The answer depends on the committed epoch, so a query has a function of its own, made with the end of the
//! windows that are final. In a view, whose rows would change with the watermark alone, calls are refused
//! before planning.

use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray};
use arrow::datatypes::{DataType, Field, TimeUnit, TimestampMicrosecondType};
use datafusion_common::tree_node::Transformed;
use datafusion_common::{DFSchema, Result, ScalarValue, exec_err, plan_err};
use datafusion_expr::{
    ColumnarValue, Expr, ExprSchemable, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
    lit,
};

use crate::functions::eval::about::{About, called};

/// Name of the function.
pub(crate) const IS_FINAL: &str = "is_final";

/// The line of the reference pages about it.
pub(crate) const ABOUT: &[About] = &[called(
    IS_FINAL,
    &["is_final(TIMESTAMP) -> BOOLEAN", "is_final(TIMESTAMPTZ) -> BOOLEAN"],
    "True where no accepted record can change rows of windows that end at or before it any more, in any view \
     that the query names: `WHERE is_final(window_end)`. False for a view whose rows are never final.",
)];

/// Windows that are final in all views of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Finality {
    /// The query names no view.
    NoView,
    /// No window is final.
    Never,
    /// Windows that end at or before this time are, in microseconds since 1970.
    Until(i64),
}

impl Finality {
    /// The windows that are final both here and in a view whose windows are final until `end`; None for a
    /// view without final windows.
    pub fn and_view(self, end: Option<i64>) -> Finality {
        match (self, end) {
            (Finality::Never, _) | (_, None) => Finality::Never,
            (Finality::NoView, Some(end)) => Finality::Until(end),
            (Finality::Until(least), Some(end)) => Finality::Until(least.min(end)),
        }
    }
}

/// Returns the function for a query whose windows are final as `finality` tells.
pub(crate) fn function(finality: Finality) -> Arc<ScalarUDF> {
    let signature = Signature::user_defined(Volatility::Immutable);
    Arc::new(ScalarUDF::from(IsFinal { finality, signature }))
}

/// Replaces a call by the comparison that it is, which a scan can use for its bounds.
///
/// # Errors
/// When the argument has no type.
pub(crate) fn as_comparison(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let Expr::ScalarFunction(call) = &expr else { return Ok(Transformed::no(expr)) };
    let (Some(IsFinal { finality: Finality::Until(end), .. }), [time]) =
        (call.func.inner().downcast_ref::<IsFinal>(), call.args.as_slice())
    else {
        return Ok(Transformed::no(expr));
    };
    let DataType::Timestamp(TimeUnit::Microsecond, zone) = time.get_type(schema)? else {
        return Ok(Transformed::no(expr));
    };
    let end = ScalarValue::TimestampMicrosecond(Some(*end), zone);
    Ok(Transformed::yes(time.clone().lt_eq(lit(end))))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct IsFinal {
    finality: Finality,
    signature: Signature,
}

impl ScalarUDFImpl for IsFinal {
    fn name(&self) -> &str {
        IS_FINAL
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match types {
            [DataType::Timestamp(_, zone)] => {
                Ok(vec![DataType::Timestamp(TimeUnit::Microsecond, zone.clone())])
            }
            [DataType::Date32 | DataType::Utf8 | DataType::Null] => Ok(vec![schemas::timestamptz()]),
            _ => {
                let mut given = Vec::with_capacity(types.len());
                for of in types {
                    given.push(schemas::sql_type(&Field::new("", of.clone(), true)));
                }
                plan_err!("{IS_FINAL} takes (TIMESTAMP) or (TIMESTAMPTZ), not ({})", given.join(", "))
            }
        }
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [time] = args.args.as_slice() else { return exec_err!("{IS_FINAL} takes a time") };
        let times = time.to_array(args.number_rows)?;
        let Some(times) = times.as_primitive_opt::<TimestampMicrosecondType>() else {
            return exec_err!("{IS_FINAL} of {}", times.data_type());
        };
        let end = match self.finality {
            Finality::Until(end) => Some(end),
            Finality::Never | Finality::NoView => None,
        };
        let is_final = |time| end.is_some_and(|end| time <= end);
        Ok(ColumnarValue::Array(Arc::new(BooleanArray::from_unary(times, is_final))))
    }
}
