//! Joins as of a time, between planning and lowering.
//!
//! [`crate::sql::parse::query::temporal`] writes them as plain joins whose condition calls a function nobody
//! writes. Before the optimiser runs, which knows nothing of time, each becomes a [`Temporal`] node
//! that no condition passes: filtering one side first would change which row is the latest. The
//! condition's equalities are its key; an as-of join takes nothing else.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{DFSchemaRef, JoinType, Result, exec_err, plan_err};
use datafusion_expr::logical_plan::{Extension, Filter, Join, LogicalPlan};
use datafusion_expr::utils::{conjunction, find_valid_equijoin_key_pair, split_conjunction_owned};
use datafusion_expr::{
    BinaryExpr, ColumnarValue, Expr, Operator, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    UserDefinedLogicalNodeCore, Volatility,
};

use crate::plan::Nearest;
use crate::sql::parse::query::temporal::{ASOF, LOOKUP};

/// What is told of an as-of join with other conditions.
pub(crate) const ASOF_ON: &str = "an ASOF JOIN takes equalities in ON, and the times in MATCH_CONDITION";
/// What is told of a match condition of another form.
pub(crate) const MATCH: &str =
    "MATCH_CONDITION compares one column of each side, of one type, by >=, >, <= or <";
/// What is told of a lookup with other conditions.
pub(crate) const LOOKUP_ON: &str = "a LEFT JOIN as of PROCTIME() takes equalities in ON";

/// The functions that mark joins.
pub(crate) fn functions() -> Vec<Arc<ScalarUDF>> {
    [ASOF, LOOKUP]
        .into_iter()
        .map(|name| {
            let signature = Signature::exact(vec![DataType::Boolean], Volatility::Immutable);
            Arc::new(ScalarUDF::from(Mark { name, signature }))
        })
        .collect()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Mark {
    name: &'static str,
    signature: Signature,
}

impl ScalarUDFImpl for Mark {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        exec_err!("{} is no function to call", self.name)
    }
}

/// Each row of the left with rows of the right as of a time.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Temporal {
    /// Left input.
    pub left: LogicalPlan,
    /// Right input.
    pub right: LogicalPlan,
    /// Pairs of equal expressions, left's and right's.
    pub on: Vec<(Expr, Expr)>,
    /// The times compared, and on which side of the left's the right's is; None looks the right up as it is now.
    pub times: Option<(Expr, Expr, Nearest)>,
    /// Whether a row of the left without a match stays.
    pub outer: bool,
    schema: DFSchemaRef,
}

impl PartialOrd for Temporal {
    fn partial_cmp(&self, other: &Temporal) -> Option<Ordering> {
        (self == other).then_some(Ordering::Equal)
    }
}

/// Puts a [`Temporal`] node in the place of every marked join of `plan`.
///
/// # Errors
/// When a marked join has a condition that it cannot take.
pub(crate) fn joins(plan: LogicalPlan) -> Result<LogicalPlan> {
    plan.transform_up(|node| match node {
        LogicalPlan::Join(join) if join.filter.as_ref().is_some_and(marked) => {
            Ok(Transformed::yes(temporal(join)?))
        }
        other => Ok(Transformed::no(other)),
    })
    .map(|done| done.data)
}

fn marked(filter: &Expr) -> bool {
    filter.exists(|e| Ok(call(e).is_some())).unwrap_or(false)
}

/// The mark that an expression calls.
fn call(expr: &Expr) -> Option<(&str, &Expr)> {
    let Expr::ScalarFunction(function) = expr else { return None };
    let name = [ASOF, LOOKUP].into_iter().find(|name| *name == function.name())?;
    Some((name, function.args.first()?))
}

fn temporal(join: Join) -> Result<LogicalPlan> {
    let Join { left, right, mut on, filter, join_type, schema, .. } = join;
    let (left, right) = (Arc::unwrap_or_clone(left), Arc::unwrap_or_clone(right));
    let (mut times, mut rest) = (None, Vec::new());
    let mut parts: Vec<Expr> = filter.into_iter().flat_map(split_conjunction_owned).collect();
    let mut at = 0;
    while at < parts.len() {
        let part = parts[at].clone();
        at += 1;
        match call(&part) {
            Some((LOOKUP, condition)) => parts.extend(split_conjunction_owned(condition.clone())),
            Some((_, condition)) => times = Some(compared(condition, &left, &right)?),
            None => match equal(&part, &left, &right)? {
                Some(pair) => on.push(pair),
                None => rest.push(part),
            },
        }
    }
    let outer = join_type == JoinType::Left;
    match (&times, rest.is_empty(), outer) {
        (Some(_), false, _) => return plan_err!("{ASOF_ON}"),
        (None, false, true) => return plan_err!("{LOOKUP_ON}"),
        _ => {}
    }
    let node = Arc::new(Temporal { left, right, on, times, outer, schema });
    let node = LogicalPlan::Extension(Extension { node });
    Ok(match conjunction(rest) {
        Some(rest) => LogicalPlan::Filter(Filter::try_new(rest, Arc::new(node))?),
        None => node,
    })
}

fn equal(part: &Expr, left: &LogicalPlan, right: &LogicalPlan) -> Result<Option<(Expr, Expr)>> {
    let Expr::BinaryExpr(BinaryExpr { left: a, op: Operator::Eq, right: b }) = part else { return Ok(None) };
    find_valid_equijoin_key_pair(a, b, left.schema(), right.schema())
}

/// Left's and right's time of a match condition, and which of the right is the nearest.
fn compared(condition: &Expr, left: &LogicalPlan, right: &LogicalPlan) -> Result<(Expr, Expr, Nearest)> {
    let Expr::BinaryExpr(BinaryExpr { left: a, op, right: b }) = condition else {
        return plan_err!("{MATCH}");
    };
    let Some((l, r)) = find_valid_equijoin_key_pair(a, b, left.schema(), right.schema())? else {
        return plan_err!("{MATCH}");
    };
    let op = if l == **a { Some(*op) } else { op.swap() };
    let (strict, forward) = match op {
        Some(Operator::GtEq) => (false, false),
        Some(Operator::Gt) => (true, false),
        Some(Operator::LtEq) => (false, true),
        Some(Operator::Lt) => (true, true),
        _ => return plan_err!("{MATCH}"),
    };
    match (&l, &r) {
        (Expr::Column(_), Expr::Column(_)) => Ok((l, r, Nearest { strict, forward })),
        _ => plan_err!("{MATCH}"),
    }
}

impl UserDefinedLogicalNodeCore for Temporal {
    fn name(&self) -> &str {
        "Temporal"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.left, &self.right]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        let times = self.times.iter().flat_map(|(l, r, _)| [l.clone(), r.clone()]);
        self.on.iter().flat_map(|(l, r)| [l.clone(), r.clone()]).chain(times).collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Temporal")
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Temporal> {
        let Ok([left, right]) = <[LogicalPlan; 2]>::try_from(inputs) else {
            return plan_err!("a join as of a time has two inputs");
        };
        let mut exprs = exprs.into_iter();
        let mut pair = || exprs.next().zip(exprs.next());
        let on: Option<Vec<_>> = self.on.iter().map(|_| pair()).collect();
        let times = match &self.times {
            Some((.., nearest)) => pair().map(|(l, r)| Some((l, r, *nearest))),
            None => Some(None),
        };
        let (Some(on), Some(times)) = (on, times) else {
            return plan_err!("a join as of a time lost its condition");
        };
        Ok(Temporal { left, right, on, times, outer: self.outer, schema: Arc::clone(&self.schema) })
    }
}
