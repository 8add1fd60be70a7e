//! Arithmetic of numbers that fails beyond their range, for plans that DataFusion's engine runs.
//!
//! A view's operators are checked where they are lowered; those of an ad hoc query go to DataFusion, whose
//! own wrap around. There each `+`, `-`, `*`, `/` and `%` over numbers of one type becomes one of these
//! functions.

use arrow::compute::kernels::numeric;
use arrow::datatypes::DataType;
use datafusion_common::{DataFusionError, Result, exec_err, plan_err};
use datafusion_expr::{
    BinaryExpr, ColumnarValue, Expr, ExprSchemable, Operator, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, Volatility,
};

/// Returns `expr` with checked arithmetic; None unless it is arithmetic of integers or floats of one type.
pub(crate) fn checked(expr: Expr, schema: &datafusion_common::DFSchema) -> Option<Expr> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = expr else { return None };
    let (l, r) = (left.get_type(schema).ok()?, right.get_type(schema).ok()?);
    let calculates = matches!(
        op,
        Operator::Plus | Operator::Minus | Operator::Multiply | Operator::Divide | Operator::Modulo
    );
    if !calculates || l != r || !(l.is_signed_integer() || l.is_floating()) {
        return None;
    }
    let function = ScalarUDF::from(Checked { op, signature: Signature::any(2, Volatility::Immutable) });
    Some(function.call(vec![*left, *right]))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Checked {
    op: Operator,
    signature: Signature,
}

impl ScalarUDFImpl for Checked {
    fn name(&self) -> &str {
        match self.op {
            Operator::Plus => "herald_plus",
            Operator::Minus => "herald_minus",
            Operator::Multiply => "herald_times",
            Operator::Divide => "herald_divided",
            _ => "herald_rest",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, args: &[DataType]) -> Result<DataType> {
        match args.first() {
            Some(of) => Ok(of.clone()),
            None => plan_err!("{} takes two numbers", self.name()),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [left, right] = args.args.as_slice() else {
            return exec_err!("{} takes two numbers", self.name());
        };
        let (left, right) = (left.to_array(args.number_rows)?, right.to_array(args.number_rows)?);
        let value = match self.op {
            Operator::Plus => numeric::add(&left, &right)?,
            Operator::Minus => numeric::sub(&left, &right)?,
            Operator::Multiply => numeric::mul(&left, &right)?,
            Operator::Divide => numeric::div(&left, &right)?,
            _ => numeric::rem(&left, &right)?,
        };
        let value = schemas::canonical(value).map_err(|e| DataFusionError::External(Box::new(e)))?;
        Ok(ColumnarValue::Array(value))
    }
}

#[cfg(test)]
mod tests {
    use datafusion_common::DFSchema;
    use datafusion_expr::lit;

    use super::*;

    #[test]
    fn arithmetic_of_one_type_is_checked() {
        let empty = DFSchema::empty();
        assert!(checked(lit(1_i64) + lit(2_i64), &empty).is_some());
        assert!(checked(lit(1.0) / lit(2.0), &empty).is_some());
        assert!(checked(lit(1_i64).gt(lit(2_i64)), &empty).is_none());
        assert!(checked(lit("a") + lit("b"), &empty).is_none());
    }
}
