//! Functions over ordered partitions: `f(...) OVER (PARTITION BY ... ORDER BY ...)`, and top-N.
//!
//! A [`Window`] gives every input row the values of its functions over the row's partition. Rows
//! that are equal in the order are ordered by their packed bytes, so the result depends on the
//! rows alone. The three ranks are known by name, because with [`First`] they bound the rows read of a
//! partition; every other function is evaluated over the whole of it: sums, means and statistics exactly
//! (`functions::windows::exact`), the rest by DataFusion.

use std::fmt;
use std::sync::Arc;

use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, SchemaRef};
use datafusion_common::{Result, ScalarValue};
use datafusion_expr::{WindowFrame, WindowFrameBound, WindowFunctionDefinition};
use datafusion_physical_expr::expressions::Literal;
use datafusion_physical_expr::window::WindowExpr;
use datafusion_physical_expr::{PhysicalExpr, PhysicalSortExpr};
use datafusion_physical_plan::windows::create_window_expr;

use super::state_role::StateRole;
use super::{Growth, Op, Plan, RelId, Scalar};
use crate::functions::windows::exact::exact;
use crate::functions::windows::session::{SESSION_END, SESSION_START};
use crate::functions::windows::slide::slide;

/// Partitions, their order and the functions of a window operator.
#[derive(Clone, Debug)]
pub struct Window {
    /// PARTITION BY over the input's columns; empty for one partition of all rows.
    pub partition: Vec<Scalar>,
    /// The order of a partition's rows.
    pub order: Vec<Order>,
    /// One output column each, after the input's.
    pub functions: Vec<Function>,
    /// Limit on the output rows by rank; None for all rows. With it all functions are ranks.
    pub first: Option<First>,
}

/// One item of ORDER BY.
#[derive(Clone, Debug)]
pub struct Order {
    /// Over the input's columns.
    pub by: Scalar,
    /// Greatest first.
    pub descending: bool,
    /// NULL before all other values, otherwise after.
    pub nulls_first: bool,
}

/// A limit on the rank of output rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct First {
    /// Position in [`Window::functions`].
    pub function: usize,
    /// Greatest rank of an output row; 0 for no rows.
    pub most: u64,
}

/// A function with its arguments.
#[derive(Clone, Debug)]
pub struct Function {
    /// The function.
    pub call: Call,
    /// Output type.
    pub output: DataType,
}

/// A window function.
#[derive(Clone, Debug)]
pub enum Call {
    /// 1, 2, 3 ... of the rows.
    RowNumber,
    /// One more than the rows before the first that the order leaves equal.
    Rank,
    /// One more than the different rows before.
    DenseRank,
    /// Any other.
    Other(Box<Other>),
}

/// A function of DataFusion's.
#[derive(Clone, Debug)]
pub struct Other {
    /// A window function, or an aggregate over a frame.
    pub function: WindowFunctionDefinition,
    /// Columns of the input, and constants.
    pub args: Vec<Scalar>,
    /// FILTER (WHERE ...): a boolean column of the input.
    pub filter: Option<Scalar>,
    /// The rows around the current row that take part.
    pub frame: Arc<WindowFrame>,
    /// IGNORE NULLS.
    pub ignore_nulls: bool,
    /// DISTINCT arguments.
    pub distinct: bool,
}

/// A window whose functions are the bounds of sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// The input's column with the time.
    pub time: usize,
    /// The least distance, in microseconds, between times of different sessions.
    pub gap_us: i64,
    /// Position in [`Window::functions`] of the end.
    pub end: usize,
}

/// The limit of a top-N that keeps only the rows that it outputs: no input row is ever retracted, and none expires.
pub(crate) fn kept_first(plan: &Plan, id: RelId) -> Option<First> {
    let Op::Window { input, window } = &plan.rels[id].op else { return None };
    let expires = plan.expiry.contains_key(&(id, StateRole::Partitions));
    window.first.filter(|_| plan.rels[*input].growth >= Growth::Growing && !expires)
}

impl Window {
    /// The sessions that the window computes, if it computes nothing else.
    pub fn session(&self) -> Option<Session> {
        let mut ends = None;
        for (at, function) in self.functions.iter().enumerate() {
            match function.window_udf()? {
                (SESSION_END, args) => ends = ends.or(Some((at, args))),
                (SESSION_START, _) => {}
                _ => return None,
            }
        }
        let (end, [time, gap]) = ends? else { return None };
        let time = time.as_column()?;
        let gap_us = match gap.expr().downcast_ref::<Literal>()?.value() {
            ScalarValue::Int64(gap) => (*gap)?,
            _ => return None,
        };
        let ordered = self.order.len() == 1 && self.order[0].by.as_column() == Some(time);
        (ordered && !self.order[0].descending).then_some(Session { time, gap_us, end })
    }

    /// The column by which rows are ordered first, where it ascends and no function reads rows that come
    /// later in that order: a row then changes only results at or behind it.
    pub fn looks_back(&self) -> Option<usize> {
        let first = self.order.first().filter(|order| !order.descending && !order.nulls_first)?;
        let back = self.functions.iter().all(Function::looks_back);
        if back { first.by.as_column() } else { None }
    }

    /// Every expression of the window.
    pub fn scalars(&self) -> impl Iterator<Item = &Scalar> {
        let order = self.order.iter().map(|o| &o.by);
        self.partition.iter().chain(order).chain(self.functions.iter().flat_map(Function::scalars))
    }

    /// The same with every expression replaced.
    pub fn map(&self, by: &dyn Fn(&Scalar) -> Scalar) -> Window {
        let order = |o: &Order| Order { by: by(&o.by), ..o.clone() };
        Window {
            partition: self.partition.iter().map(by).collect(),
            order: self.order.iter().map(order).collect(),
            functions: self.functions.iter().map(|f| f.map(by)).collect(),
            first: self.first,
        }
    }

    /// DataFusion's expression for the function at `at`, over whole partitions of rows of `input`; None
    /// for a rank.
    ///
    /// # Errors
    /// When the function does not take its arguments or its frame.
    pub fn window_expr(&self, at: usize, input: &SchemaRef) -> Result<Option<Arc<dyn WindowExpr>>> {
        let Some(Function { call: Call::Other(other), .. }) = self.functions.get(at) else { return Ok(None) };
        let order: Vec<PhysicalSortExpr> = self.order.iter().map(Order::sort_expr).collect();
        let types = other.args.iter().map(|arg| arg.data_type(input)).collect::<Result<Vec<_>>>()?;
        let function = match &other.function {
            WindowFunctionDefinition::AggregateUDF(of) => {
                let exact = exact(of, &types).unwrap_or_else(|| Arc::clone(of));
                let function = slide(&exact, other.distinct).unwrap_or(exact);
                WindowFunctionDefinition::AggregateUDF(function)
            }
            of @ WindowFunctionDefinition::WindowUDF(_) => of.clone(),
        };
        let made = create_window_expr(
            &function,
            other.function.name().to_owned(),
            &physical_exprs(&other.args),
            &physical_exprs(&self.partition),
            &order,
            Arc::clone(&other.frame),
            Arc::clone(input),
            other.ignore_nulls,
            // `slide` has made DISTINCT part of the function where it matters.
            false,
            other.filter.as_ref().map(Scalar::expr).cloned(),
        );
        made.map(Some)
    }
}

/// The physical expressions of some scalars.
fn physical_exprs(scalars: &[Scalar]) -> Vec<Arc<dyn PhysicalExpr>> {
    scalars.iter().map(Scalar::expr).cloned().collect()
}

impl Other {
    /// The constant whole number that is the argument at `at`.
    fn constant_arg(&self, at: usize) -> Option<i64> {
        match self.args.get(at)?.expr().downcast_ref::<Literal>()?.value() {
            ScalarValue::Int64(n) => *n,
            _ => None,
        }
    }
}

impl Order {
    fn sort_expr(&self) -> PhysicalSortExpr {
        let options = SortOptions { descending: self.descending, nulls_first: self.nulls_first };
        PhysicalSortExpr { expr: Arc::clone(self.by.expr()), options }
    }
}

impl Function {
    /// Returns true if rows can be numbered by it without the rest of the partition.
    pub fn is_rank(&self) -> bool {
        !matches!(self.call, Call::Other(_))
    }

    /// Name and arguments of a window function that is no aggregate; None for another call.
    fn window_udf(&self) -> Option<(&str, &[Scalar])> {
        let Call::Other(other) = &self.call else { return None };
        match &other.function {
            WindowFunctionDefinition::WindowUDF(udf) => Some((udf.name(), other.args.as_slice())),
            _ => None,
        }
    }

    /// Returns true if rows behind a row, in order, have no part in its value.
    fn looks_back(&self) -> bool {
        let Call::Other(other) = &self.call else { return true };
        let ends =
            matches!(other.frame.end_bound, WindowFrameBound::CurrentRow | WindowFrameBound::Preceding(_));
        match other.function.name() {
            "lag" => other.args.len() < 2 || other.constant_arg(1).is_some_and(|n| n >= 0),
            "first_value" | "last_value" | "nth_value" => ends,
            _ => matches!(other.function, WindowFunctionDefinition::AggregateUDF(_)) && ends,
        }
    }

    /// Its expressions: arguments and filter.
    pub fn scalars(&self) -> impl Iterator<Item = &Scalar> {
        let other = if let Call::Other(other) = &self.call { Some(other) } else { None };
        other.into_iter().flat_map(|o| o.args.iter().chain(&o.filter))
    }

    fn map(&self, by: &dyn Fn(&Scalar) -> Scalar) -> Function {
        let call = match &self.call {
            Call::Other(other) => Call::Other(Box::new(Other {
                args: other.args.iter().map(by).collect(),
                filter: other.filter.as_ref().map(by),
                ..other.as_ref().clone()
            })),
            rank => rank.clone(),
        };
        Function { call, output: self.output.clone() }
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = if self.descending { " desc" } else { "" };
        let nulls = match (self.descending, self.nulls_first) {
            (false, true) => " nulls first",
            (true, false) => " nulls last",
            _ => "",
        };
        write!(f, "{}{way}{nulls}", self.by)
    }
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let other = match &self.call {
            Call::RowNumber => return write!(f, "row_number()"),
            Call::Rank => return write!(f, "rank()"),
            Call::DenseRank => return write!(f, "dense_rank()"),
            Call::Other(other) => other,
        };
        let args: Vec<String> = other.args.iter().map(ToString::to_string).collect();
        let distinct = if other.distinct { "distinct " } else { "" };
        write!(f, "{}({distinct}{}", other.function.name(), args.join(", "))?;
        if let Some(filter) = &other.filter {
            write!(f, " where {filter}")?;
        }
        write!(f, ")")?;
        if other.ignore_nulls {
            write!(f, " ignore nulls")?;
        }
        let framed = match &other.function {
            WindowFunctionDefinition::AggregateUDF(_) => true,
            WindowFunctionDefinition::WindowUDF(udwf) => udwf.name().ends_with("_value"),
        };
        if framed { write!(f, " {}", other.frame.to_string().to_lowercase()) } else { Ok(()) }
    }
}
