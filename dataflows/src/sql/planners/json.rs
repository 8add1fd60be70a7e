//! Operators over JSONB, as functions.
//!
//! `->`, `->>`, `#>`, `#>>`, `#-`, `?`, `?|` and `?&` are always JSONB's; `@>`, `<@`, `||` and `-` are if an
//! operand is JSONB. With `||`, a text constant next to JSONB is read as JSONB, as in PostgreSQL; with a
//! column of text next to JSONB, `||` concatenates texts.

use arrow::datatypes::DataType;
use datafusion_common::{DFSchema, Result, plan_err};
use datafusion_expr::Expr;
use datafusion_expr::planner::{PlannerResult, RawBinaryExpr};
use datafusion_sql::sqlparser::ast::BinaryOperator;

use crate::functions::json::call;
use crate::sql::logical::types::jsonb::{self, is_jsonb};

/// Plans an operator over JSONB as a call; leaves any other operator unchanged.
///
/// # Errors
/// For the operators of jsonpath, which Herald does not support.
pub(crate) fn plan_operator(raw: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
    let raw = RawBinaryExpr {
        op: raw.op,
        left: with_jsonb_alternatives(raw.left, schema)?,
        right: with_jsonb_alternatives(raw.right, schema)?,
    };
    let (left, right) = (is_jsonb(&raw.left, schema), is_jsonb(&raw.right, schema));
    let name = match raw.op {
        BinaryOperator::Arrow => "herald_jsonb_get",
        BinaryOperator::LongArrow => "herald_jsonb_get_text",
        BinaryOperator::HashArrow => "herald_jsonb_path",
        BinaryOperator::HashLongArrow => "herald_jsonb_path_text",
        BinaryOperator::HashMinus => "jsonb_delete_path",
        BinaryOperator::Question => "jsonb_exists",
        BinaryOperator::QuestionPipe => "jsonb_exists_any",
        BinaryOperator::QuestionAnd => "jsonb_exists_all",
        BinaryOperator::AtArrow if left || right => "jsonb_contains",
        BinaryOperator::ArrowAt if left || right => "jsonb_contained",
        BinaryOperator::Minus if left => "jsonb_delete",
        BinaryOperator::StringConcat if left && (right || is_constant(&raw.right)) => "jsonb_concat",
        BinaryOperator::StringConcat if right && is_constant(&raw.left) => "jsonb_concat",
        BinaryOperator::AtQuestion | BinaryOperator::AtAt if left => {
            return plan_err!(
                "{} takes a jsonpath, which is not supported: write #> '{{a,0}}' and compare",
                raw.op
            );
        }
        _ => return Ok(PlannerResult::Original(raw)),
    };
    let args = match name {
        "jsonb_contains" | "jsonb_contained" | "jsonb_concat" => {
            vec![parse_constant(raw.left)?, parse_constant(raw.right)?]
        }
        _ => vec![raw.left, raw.right],
    };
    Ok(PlannerResult::Planned(call(name, args)?))
}

/// Returns an operand; if it is CASE or coalesce over JSONB, in the form whose type is JSONB.
fn with_jsonb_alternatives(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    let chooses = match &expr {
        Expr::Case(_) => true,
        Expr::ScalarFunction(f) => ["coalesce", "nullif"].contains(&f.name()),
        _ => false,
    };
    if !chooses {
        return Ok(expr);
    }
    let meant = jsonb::expression(expr.clone(), schema)?;
    Ok(if is_jsonb(&meant, schema) { meant } else { expr })
}

fn is_constant(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(value, _) if matches!(value.data_type(), DataType::Utf8 | DataType::Null))
}

/// Parses a text constant as JSONB; leaves any other operand unchanged.
fn parse_constant(expr: Expr) -> Result<Expr> {
    match &expr {
        Expr::Literal(value, None) if value.data_type() == DataType::Utf8 => {
            call("herald_jsonb_parse", vec![expr])
        }
        _ => Ok(expr),
    }
}
