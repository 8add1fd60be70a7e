//! Operators over JSONB, as functions.
//!
//! `->`, `->>`, `#>`, `#>>`, `#-`, `?`, `?|` and `?&` are JSONB's alone; `@>`, `<@`, `||` and `-` are where
//! an operand is JSONB. A text constant beside JSONB is JSONB for `||`, as in PostgreSQL; a column of text
//! beside it makes `||` join texts.

use arrow::datatypes::DataType;
use datafusion_common::{DFSchema, Result, plan_err};
use datafusion_expr::planner::{PlannerResult, RawBinaryExpr};
use datafusion_expr::{Expr, ExprSchemable};
use datafusion_sql::sqlparser::ast::BinaryOperator;

use super::call;

/// An operator as a call; one that is not JSONB's as it is.
///
/// # Errors
/// For the operators of jsonpath, which Herald has not.
pub(crate) fn planned(raw: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
    let raw =
        RawBinaryExpr { op: raw.op, left: chosen(raw.left, schema)?, right: chosen(raw.right, schema)? };
    let is_jsonb = |expr: &Expr| expr.to_field(schema).is_ok_and(|(_, field)| schemas::is_jsonb(&field));
    let (left, right) = (is_jsonb(&raw.left), is_jsonb(&raw.right));
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
        "jsonb_contains" | "jsonb_contained" | "jsonb_concat" => vec![read(raw.left)?, read(raw.right)?],
        _ => vec![raw.left, raw.right],
    };
    Ok(PlannerResult::Planned(call(name, args)?))
}

/// An operand; what CASE or coalesce chooses of JSONB is known to be JSONB.
fn chosen(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    let chooses = match &expr {
        Expr::Case(_) => true,
        Expr::ScalarFunction(f) => ["coalesce", "nullif"].contains(&f.name()),
        _ => false,
    };
    if !chooses {
        return Ok(expr);
    }
    let meant = crate::sql::logical::types::jsonb::expression(expr.clone(), schema)?;
    Ok(match meant.to_field(schema) {
        Ok((_, field)) if schemas::is_jsonb(&field) => meant,
        _ => expr,
    })
}

fn is_constant(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(value, _) if matches!(value.data_type(), DataType::Utf8 | DataType::Null))
}

/// A text constant as JSONB.
fn read(expr: Expr) -> Result<Expr> {
    match &expr {
        Expr::Literal(value, None) if value.data_type() == DataType::Utf8 => {
            call("herald_jsonb_parse", vec![expr])
        }
        _ => Ok(expr),
    }
}
