//! Casts to and from JSONB.
//!
//! PostgreSQL converts text to JSONB by parsing it, and JSONB to text by printing it; a JSONB number to
//! every type of number, rounded if that has fewer digits; a JSONB boolean to BOOLEAN. Every other cast
//! is refused, as in PostgreSQL. `to_jsonb` makes JSONB of other values.

use arrow::datatypes::{DataType, FieldRef};
use datafusion_common::tree_node::Transformed;
use datafusion_common::{DFSchema, Result, plan_err};
use datafusion_expr::expr::{Cast, ScalarFunction, TryCast};
use datafusion_expr::{Expr, ExprSchemable, lit};

use super::{call, is_jsonb, type_name};

/// Function that stands for a written cast; its arguments are the value, the type and the type's written
/// form.
pub(super) const MARK: &str = "herald_cast";

/// Rewrites a cast to or from JSONB.
pub(super) fn rewrite_cast(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    match expr {
        Expr::Cast(Cast { expr, field }) => match convert_jsonb(&expr, &field, schema)? {
            Some(done) => Ok(Transformed::yes(done)),
            None => Ok(Transformed::no(Expr::Cast(Cast { expr, field }))),
        },
        Expr::TryCast(TryCast { expr, field }) => {
            if schemas::is_jsonb(&field) || is_jsonb(&expr, schema) {
                return plan_err!(
                    "TRY_CAST does not take JSONB: write CAST, and look at jsonb_typeof(x) first"
                );
            }
            Ok(Transformed::no(Expr::TryCast(TryCast { expr, field })))
        }
        other => Ok(Transformed::no(other)),
    }
}

/// Rewrites a written cast to or from JSONB, which is still a call of [`MARK`].
pub(super) fn rewrite_marked_cast(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let Expr::ScalarFunction(ScalarFunction { func, args }) = expr else { return Ok(Transformed::no(expr)) };
    let ([value, target, ..], true) = (args.as_slice(), args.len() > 1) else {
        return Ok(Transformed::no(Expr::ScalarFunction(ScalarFunction { func, args })));
    };
    let field = target.to_field(schema)?.1;
    let done = convert_jsonb(value, &field, schema)?;
    match (done, field.data_type()) {
        (None, _) => Ok(Transformed::no(Expr::ScalarFunction(ScalarFunction { func, args }))),
        // The result is text, which the written cast may still have to cut to a length: keep its mark.
        (Some(text), DataType::Utf8) if !schemas::is_jsonb(&field) => {
            let args = std::iter::once(text).chain(args.into_iter().skip(1)).collect();
            Ok(Transformed::yes(Expr::ScalarFunction(ScalarFunction { func, args })))
        }
        (Some(done), _) => Ok(Transformed::yes(done)),
    }
}

/// `value` converted to the type of `field`; None if neither is JSONB.
fn convert_jsonb(value: &Expr, field: &FieldRef, schema: &DFSchema) -> Result<Option<Expr>> {
    let from = is_jsonb(value, schema);
    if schemas::is_jsonb(field) {
        return Ok(Some(match value.get_type(schema)? {
            _ if from => value.clone(),
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => {
                call("herald_jsonb_parse", vec![value.clone()])?
            }
            _ => {
                return plan_err!(
                    "{} does not become JSONB by a cast: write to_jsonb(x)",
                    type_name(value, schema)
                );
            }
        }));
    }
    if !from {
        return Ok(None);
    }
    let number = |name: &str, scale: i64| -> Result<Expr> {
        let text = call("herald_jsonb_number", vec![value.clone(), lit(name), lit(scale)])?;
        Ok(Expr::Cast(Cast::new(Box::new(text), field.data_type().clone())))
    };
    Ok(Some(match field.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            call("herald_jsonb_print", vec![value.clone()])?
        }
        DataType::Boolean => call("herald_jsonb_bool", vec![value.clone()])?,
        DataType::Int16 => number("smallint", 0)?,
        DataType::Int32 => number("integer", 0)?,
        DataType::Int64 => number("bigint", 0)?,
        DataType::Float32 => number("real", -1)?,
        DataType::Float64 => number("double precision", -1)?,
        DataType::Decimal128(_, scale) if *scale >= 0 => number("numeric", i64::from(*scale))?,
        _ => {
            return plan_err!(
                "JSONB does not become {} by a cast: take the text with ->> and cast that",
                schemas::sql_type(field)
            );
        }
    }))
}
