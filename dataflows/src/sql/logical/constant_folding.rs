//! Constants evaluated once, and conditions that are decided by them.
//!
//! The one simplifier of expressions. DataFusion's merges IN lists, moves casts to the other side of a
//! comparison and distributes signs, and does not keep NULL, rounding and overflow while it does. Here a
//! part without columns becomes its value, which is evaluated as any row would evaluate it; TRUE and FALSE
//! leave AND, OR, NOT and CASE; a column that is NOT NULL is not NULL; nothing else changes. A part that fails stays as it is, so that rows that
//! reach it fail, but text that is no value of its type is a mistake of the query.

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

/// The rule, for the optimiser's list.
#[derive(Debug)]
pub(crate) struct Fold;

impl OptimizerRule for Fold {
    fn name(&self) -> &str {
        "fold_constants"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        rewrite::node_expressions(plan, &|e, schema| folded(e, schema))
    }
}

/// One expression whose parts are folded.
fn folded(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let expr = match decided(expr) {
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
    match evaluated(&expr, schema) {
        Some(Ok(value)) => Ok(Transformed::yes(value)),
        Some(Err(message)) if reads_text(&expr) => plan_err!("{message}"),
        _ => Ok(Transformed::no(expr)),
    }
}

/// An operator or call over literals alone.
fn is_constant(expr: &Expr) -> bool {
    let literal = |e: &Expr| matches!(e, Expr::Literal(..));
    match expr {
        Expr::BinaryExpr(b) => literal(&b.left) && literal(&b.right),
        Expr::Negative(e)
        | Expr::Not(e)
        | Expr::IsNull(e)
        | Expr::IsNotNull(e)
        | Expr::IsTrue(e)
        | Expr::IsFalse(e)
        | Expr::IsUnknown(e)
        | Expr::IsNotTrue(e)
        | Expr::IsNotFalse(e)
        | Expr::IsNotUnknown(e) => literal(e),
        Expr::Cast(cast) => literal(&cast.expr),
        Expr::Like(like) => literal(&like.expr) && literal(&like.pattern),
        Expr::Between(b) => literal(&b.expr) && literal(&b.low) && literal(&b.high),
        Expr::InList(list) => literal(&list.expr) && list.list.iter().all(literal),
        Expr::ScalarFunction(f) => !f.args.is_empty() && f.args.iter().all(literal),
        _ => false,
    }
}

/// The value of a constant, as a literal of the same type and meaning; or why it has none.
fn evaluated(expr: &Expr, schema: &DFSchema) -> Option<Result<Expr, String>> {
    let (_, field) = expr.to_field(schema).ok()?;
    let empty = DFSchema::empty();
    let scalar = lower::scalar(expr, &empty).ok()?;
    let row = RecordBatchOptions::new().with_row_count(Some(1));
    let row = RecordBatch::try_new_with_options(Schema::empty().into(), vec![], &row).ok()?;
    let array = match scalar.evaluate(&row) {
        Ok(array) => array,
        Err(error) => {
            return Some(Err(crate::sql::diagnostics::text::clean(&error.strip_backtrace())));
        }
    };
    let value = ScalarValue::try_from_array(&array, 0).ok()?;
    if value.data_type() != *field.data_type() {
        return None;
    }
    let metadata = (!field.metadata().is_empty()).then(|| field.metadata().clone().into());
    Some(Ok(Expr::Literal(value, metadata)))
}

/// Conversion of a text constant, which PostgreSQL reads when it plans.
fn reads_text(expr: &Expr) -> bool {
    let text = |e: &Expr| matches!(e, Expr::Literal(ScalarValue::Utf8(Some(_)), _));
    match expr {
        Expr::Cast(cast) => text(&cast.expr) && *cast.field.data_type() != DataType::Utf8,
        Expr::ScalarFunction(f) => f.name().contains("cast_") && f.args.first().is_some_and(text),
        _ => false,
    }
}

/// What a TRUE or FALSE among the parts decides; the expression itself where nothing is decided.
fn decided(expr: Expr) -> Result<Expr, Expr> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::And | Operator::Or), right }) => {
            // AND is decided by FALSE and unmoved by TRUE; OR the other way round.
            let decisive = op == Operator::Or;
            match (truth(&left), truth(&right)) {
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

/// A CASE without the branches that no row takes, ended by the first that every row takes.
fn decided_case(mut case: Case) -> Result<Expr, Expr> {
    let all_never = case.when_then_expr.iter().all(|(when, _)| never(when));
    if all_never && case.else_expr.is_none() {
        // The branches give the type of the NULL.
        return Err(Expr::Case(case));
    }
    let before = case.when_then_expr.len();
    case.when_then_expr.retain(|(when, _)| !never(when));
    if let Some(at) = case.when_then_expr.iter().position(|(when, _)| truth(when) == Some(true)) {
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

fn truth(expr: &Expr) -> Option<bool> {
    match expr {
        Expr::Literal(ScalarValue::Boolean(value), _) => *value,
        _ => None,
    }
}

/// A condition that no row meets.
fn never(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(ScalarValue::Boolean(None | Some(false)), _))
}
