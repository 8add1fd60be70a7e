//! Constant folding, and simplification of conditions with constant parts.
//!
//! This replaces DataFusion's simplifier, which merges IN lists, moves casts to the other side of a
//! comparison and distributes signs, and thereby changes NULLs, rounding and overflow. Here a part without
//! columns becomes its value, evaluated as it would be for a row; TRUE and FALSE are removed from AND, OR,
//! NOT and CASE; `IS NULL` and `IS NOT NULL` of a NOT NULL column are decided; nothing else changes. A part
//! that fails stays as it is, so that the rows that reach it fail; but text that is no value of its type is a
//! mistake of the query.

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Schema};
use datafusion_common::tree_node::Transformed;
use datafusion_common::{DFSchema, Result, ScalarValue, plan_err};
use datafusion_expr::expr::Case;
use datafusion_expr::logical_plan::LogicalPlan;
use datafusion_expr::{BinaryExpr, Expr, ExprSchemable, Operator, lit};
use datafusion_optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

use super::rewrite;
use crate::sql::lower;

/// Optimiser rule that folds constants.
#[derive(Debug)]
pub(crate) struct FoldConstants;

impl OptimizerRule for FoldConstants {
    fn name(&self) -> &str {
        "fold_constants"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        rewrite::node_expressions(plan, &fold_expression)
    }
}

/// Folds one expression whose parts are folded already.
fn fold_expression(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let expr = match simplify_logic(expr) {
        Ok(simpler) => return Ok(Transformed::yes(simpler)),
        Err(same) => same,
    };
    if let Expr::IsNotNull(of) | Expr::IsNull(of) = &expr
        && matches!(of.as_ref(), Expr::Column(_))
        && of.nullable(schema).is_ok_and(|nullable| !nullable)
    {
        return Ok(Transformed::yes(lit(matches!(expr, Expr::IsNotNull(_)))));
    }
    if !is_constant(&expr) {
        return Ok(Transformed::no(expr));
    }
    match evaluate_constant(&expr, schema) {
        Some(Ok(value)) => Ok(Transformed::yes(value)),
        Some(Err(message)) if reads_text(&expr) => plan_err!("{message}"),
        _ => Ok(Transformed::no(expr)),
    }
}

/// Tells whether an expression is an operator or call over literals only.
fn is_constant(expr: &Expr) -> bool {
    match expr {
        Expr::BinaryExpr(b) => is_literal(&b.left) && is_literal(&b.right),
        Expr::Negative(e)
        | Expr::Not(e)
        | Expr::IsNull(e)
        | Expr::IsNotNull(e)
        | Expr::IsTrue(e)
        | Expr::IsFalse(e)
        | Expr::IsUnknown(e)
        | Expr::IsNotTrue(e)
        | Expr::IsNotFalse(e)
        | Expr::IsNotUnknown(e) => is_literal(e),
        Expr::Cast(cast) => is_literal(&cast.expr),
        Expr::Like(like) => is_literal(&like.expr) && is_literal(&like.pattern),
        Expr::Between(b) => is_literal(&b.expr) && is_literal(&b.low) && is_literal(&b.high),
        Expr::InList(list) => is_literal(&list.expr) && list.list.iter().all(is_literal),
        Expr::ScalarFunction(f) => !f.args.is_empty() && f.args.iter().all(is_literal),
        _ => false,
    }
}

/// Tells whether an expression is a literal.
fn is_literal(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(..))
}

/// Evaluates a constant to a literal of the same type and metadata; the inner error is the message of a
/// failed evaluation. None if the expression cannot be folded.
fn evaluate_constant(expr: &Expr, schema: &DFSchema) -> Option<Result<Expr, String>> {
    let (_, field) = expr.to_field(schema).ok()?;
    let empty = DFSchema::empty();
    let scalar = lower::lower_scalar(expr, &empty).ok()?;
    let row = RecordBatchOptions::new().with_row_count(Some(1));
    let row = RecordBatch::try_new_with_options(Schema::empty().into(), vec![], &row).ok()?;
    let array = match scalar.evaluate(&row) {
        Ok(array) => array,
        Err(error) => {
            return Some(Err(crate::sql::diagnostics::text::clean_message(&error.strip_backtrace())));
        }
    };
    let value = ScalarValue::try_from_array(&array, 0).ok()?;
    if value.data_type() != *field.data_type() {
        return None;
    }
    let metadata = (!field.metadata().is_empty()).then(|| field.metadata().clone().into());
    Some(Ok(Expr::Literal(value, metadata)))
}

/// Tells whether an expression converts a text constant, which PostgreSQL does at planning time.
fn reads_text(expr: &Expr) -> bool {
    match expr {
        Expr::Cast(cast) => is_text_literal(&cast.expr) && *cast.field.data_type() != DataType::Utf8,
        Expr::ScalarFunction(f) => f.name().contains("cast_") && f.args.first().is_some_and(is_text_literal),
        _ => false,
    }
}

/// Tells whether an expression is a text literal, and not NULL.
fn is_text_literal(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(ScalarValue::Utf8(Some(_)), _))
}

/// Simplifies a logical expression with TRUE or FALSE among its parts. `Err` returns the expression
/// unchanged.
fn simplify_logic(expr: Expr) -> Result<Expr, Expr> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::And | Operator::Or), right }) => {
            // FALSE decides AND, and TRUE drops out of it; for OR it is the other way round.
            let decisive = op == Operator::Or;
            match (truth_value(&left), truth_value(&right)) {
                (Some(l), _) if l == decisive => Ok(lit(decisive)),
                (_, Some(r)) if r == decisive => Ok(lit(decisive)),
                (Some(_), _) => Ok(*right),
                (_, Some(_)) => Ok(*left),
                _ => Err(Expr::BinaryExpr(BinaryExpr { left, op, right })),
            }
        }
        Expr::Not(inner) => match *inner {
            Expr::Not(twice) => Ok(*twice),
            other => Err(Expr::Not(Box::new(other))),
        },
        Expr::Case(case) if case.expr.is_none() => decided_case(case),
        other => Err(other),
    }
}

/// Removes the branches of a CASE that are never taken and those behind one that is always taken. `Err`
/// returns the CASE unchanged.
fn decided_case(mut case: Case) -> Result<Expr, Expr> {
    let all_never = case.when_then_expr.iter().all(|(when, _)| is_never_true(when));
    if all_never && case.else_expr.is_none() {
        // The CASE is NULL, but only its branches give the type of that NULL.
        return Err(Expr::Case(case));
    }
    let before = case.when_then_expr.len();
    case.when_then_expr.retain(|(when, _)| !is_never_true(when));
    if let Some(at) = case.when_then_expr.iter().position(|(when, _)| truth_value(when) == Some(true)) {
        case.else_expr = case.when_then_expr.drain(at..).next().map(|(_, then)| then);
    }
    match (case.when_then_expr.len(), case.else_expr.take()) {
        (0, Some(otherwise)) => Ok(*otherwise),
        (left, otherwise) => {
            case.else_expr = otherwise;
            if left == before { Err(Expr::Case(case)) } else { Ok(Expr::Case(case)) }
        }
    }
}

/// Value of a boolean literal; None for NULL and for any other expression.
fn truth_value(expr: &Expr) -> Option<bool> {
    match expr {
        Expr::Literal(ScalarValue::Boolean(value), _) => *value,
        _ => None,
    }
}

/// Tells whether a condition is the literal FALSE or NULL.
fn is_never_true(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(ScalarValue::Boolean(None | Some(false)), _))
}
