//! Temporal filters: conditions that compare a time of a row with now(), the watermark.
//!
//! `ts > now() - INTERVAL '1 hour'` holds for a row until the watermark is an hour after `ts`. In the text such
//! a condition, joined with others by AND, becomes a call of a function nobody writes, of the time, of whether
//! the row is in since then or until then, and of how many microseconds later. The call learns which sources
//! have a say before the optimiser moves it, so that now() means the same wherever it ends up, and lowering
//! makes a [`crate::plan::Op::Within`] of it. Anywhere else now() is refused.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use datafusion_common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion_common::{JoinType, Result, ScalarValue, plan_err};
use datafusion_expr::logical_plan::{Filter, LogicalPlan};
use datafusion_expr::utils::{conjunction, split_conjunction_owned};
use datafusion_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility, lit,
};

use crate::sql::catalog::RelSource;

pub(in crate::sql) use crate::sql::syntax::now::{is_clock, marked, placed};

/// The function that stands for a condition.
pub(crate) const NOW: &str = "herald_now";
/// Says that a row is in until its time.
const UNTIL: &str = "until";
/// Says that a row is in since its time.
const SINCE: &str = "since";

/// Message where no source has a watermark.
pub(crate) const NO_WATERMARK: &str = "now() is the watermark, and no source below has one";
/// Message for a condition that no filter can take.
pub(crate) const NOT_HERE: &str = "a condition on now() is not supported here";

/// The function.
pub(crate) fn function() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(Now { signature: Signature::user_defined(Volatility::Immutable) }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Now {
    signature: Signature,
}

impl ScalarUDFImpl for Now {
    fn name(&self) -> &str {
        NOW
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, args: &[DataType]) -> Result<Vec<DataType>> {
        let mut args = args.to_vec();
        match args.first() {
            Some(DataType::Timestamp(_, zone)) => {
                args[0] = DataType::Timestamp(TimeUnit::Microsecond, zone.clone());
            }
            Some(DataType::Date32 | DataType::Null) => {
                args[0] = DataType::Timestamp(TimeUnit::Microsecond, None);
            }
            Some(other) => return plan_err!("now() is compared with a time, and this is {other}"),
            None => return plan_err!("{NOT_HERE}"),
        }
        Ok(args)
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        plan_err!("{NOT_HERE}")
    }
}

/// Tells every condition of `plan` the sources whose watermarks are its now(): those below it that have one.
///
/// # Errors
/// When there are none.
pub(crate) fn clocked(plan: LogicalPlan) -> Result<LogicalPlan> {
    let told = plan.transform_up_with_subqueries(|node| {
        if !node.expressions().iter().any(holds) {
            return Ok(Transformed::no(node));
        }
        let clock = below(&node)?;
        if clock.is_empty() {
            return plan_err!("{NO_WATERMARK}");
        }
        let clock = clock.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let told = node.map_expressions(|expr| {
            expr.transform_up(|e| match e {
                Expr::ScalarFunction(mut call) if call.name() == NOW && call.args.len() == 3 => {
                    call.args.push(lit(clock.as_str()));
                    Ok(Transformed::yes(Expr::ScalarFunction(call)))
                }
                other => Ok(Transformed::no(other)),
            })
        })?;
        match told.data {
            LogicalPlan::Join(join) if join.join_type == JoinType::Inner => above(join).map(Transformed::yes),
            other => Ok(Transformed::yes(other)),
        }
    })?;
    Ok(told.data)
}

fn holds(expr: &Expr) -> bool {
    let call =
        |e: &Expr| Ok(matches!(e, Expr::ScalarFunction(call) if call.name() == NOW && call.args.len() == 3));
    expr.exists(call).unwrap_or(false)
}

/// The sources with a watermark below a node.
fn below(node: &LogicalPlan) -> Result<BTreeSet<usize>> {
    let mut sources = BTreeSet::new();
    node.apply(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && let Some(source) = scan.source.downcast_ref::<RelSource>()
        {
            sources.extend(&source.clock);
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(sources)
}

/// An inner join with its conditions on now() above it, where they mean the same.
fn above(mut join: datafusion_expr::logical_plan::Join) -> Result<LogicalPlan> {
    let parts: Vec<Expr> = join.filter.take().map(split_conjunction_owned).unwrap_or_default();
    let mark = |e: &Expr| matches!(e, Expr::ScalarFunction(call) if call.name() == NOW);
    let (above, on): (Vec<Expr>, Vec<Expr>) = parts.into_iter().partition(mark);
    join.filter = conjunction(on);
    let join = LogicalPlan::Join(join);
    match conjunction(above) {
        Some(above) => Ok(LogicalPlan::Filter(Filter::try_new(above, Arc::new(join))?)),
        None => Ok(join),
    }
}

/// A condition as lowering takes it.
pub(crate) struct Timed<'a> {
    /// The row's time.
    pub time: &'a Expr,
    /// Tells whether the row is in until then, and not since then.
    pub until: bool,
    /// Microseconds later.
    pub us: i64,
    /// Sources whose least watermark is now().
    pub clock: Vec<usize>,
}

/// Bounds that a condition sets by now(); None for another condition.
///
/// # Errors
/// When it was not told its sources.
pub(crate) fn timed(expr: &Expr) -> Result<Option<Timed<'_>>> {
    let Expr::ScalarFunction(call) = expr else { return Ok(None) };
    if call.name() != NOW {
        return Ok(None);
    }
    let [time, side, us, clock] = call.args.as_slice() else { return plan_err!("{NOT_HERE}") };
    let text = |of: &Expr| match of {
        Expr::Literal(ScalarValue::Utf8(Some(text)), _) => text.clone(),
        _ => String::new(),
    };
    let clock: Option<Vec<usize>> = text(clock).split(',').map(|source| source.parse().ok()).collect();
    let (Ok(us), Some(clock)) = (text(us).parse(), clock) else { return plan_err!("{NOT_HERE}") };
    Ok(Some(Timed { time, until: text(side) == UNTIL, us, clock }))
}
