//! Aggregates that are kept in accumulators: their names and arguments.
//!
//! Each of them is a function of sums that add under insertion and removal, or (min, max) of an
//! ordered index, or of the extreme value alone where no row is retracted; an aggregate that needs its group's rows is a
//! [`super::Fold`].

use std::fmt;

use arrow::datatypes::DataType;

use super::state_role::StateRole;
use super::{Growth, Op, Plan, RelId, Scalar};

/// Returns true if the groups of a relation are read by their whole keys alone, so that their totals live in the state:
/// aggregates that add, DISTINCT, and min and max of rows that are never retracted. The order of an index is read in
/// memory, and so are groups that expire.
pub(crate) fn has_totals(plan: &Plan, id: RelId) -> bool {
    let by_key = match &plan.rels[id].op {
        Op::Distinct { .. } => true,
        Op::Aggregate { input, keys, aggregates } => {
            let adds = |aggregate: &Aggregate| !aggregate.func.is_extreme();
            !keys.is_empty() && (plan.rels[*input].growth >= Growth::Growing || aggregates.iter().all(adds))
        }
        _ => false,
    };
    by_key && !plan.expiry.contains_key(&(id, StateRole::Groups))
}

/// One aggregate of a GROUP BY.
#[derive(Clone, Debug)]
pub struct Aggregate {
    /// The function.
    pub func: AggFunc,
    /// Argument over the input's columns; None for count(*). Already cast to the type the function sums in:
    /// Int64 or Decimal128 or Float64 for sum and avg, Int64 (0 or 1) for bool_and and bool_or, Float64 for
    /// statistics.
    pub arg: Option<Scalar>,
    /// The second argument of statistics over pairs, which is x where the first is y.
    pub other: Option<Scalar>,
    /// FILTER (WHERE ...), over the input's columns.
    pub filter: Option<Scalar>,
    /// Output type (DataFusion's): count Int64; sum Int64, Float64 or Decimal128(p+10,s);
    /// avg Float64 or a Decimal128 of up to four digits more; min and max the argument's; statistics Float64.
    pub output: DataType,
}

/// Functions of accumulators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AggFunc {
    /// Rows (no argument) or non-NULL arguments.
    Count,
    /// Sum, NULL over nothing.
    Sum,
    /// Mean, NULL over nothing.
    Avg,
    /// Least, NULL over nothing.
    Min,
    /// Greatest, NULL over nothing.
    Max,
    /// True if all arguments are true, NULL over nothing.
    BoolAnd,
    /// True if any argument is true, NULL over nothing.
    BoolOr,
    /// A statistic of doubles.
    Stat(Stat),
}

/// Statistics that follow from the count, the sums and the sums of products of one or two arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stat {
    /// Variance of a population.
    VarPop,
    /// Variance of a sample, NULL for fewer than two.
    VarSamp,
    /// Square root of [`Stat::VarPop`].
    StddevPop,
    /// Square root of [`Stat::VarSamp`].
    StddevSamp,
    /// Covariance of a population.
    CovarPop,
    /// Covariance of a sample, NULL for fewer than two.
    CovarSamp,
    /// Correlation, NULL where a side does not vary.
    Corr,
    /// Slope of the line through (x, y), NULL where x does not vary.
    RegrSlope,
    /// The line's value at x = 0.
    RegrIntercept,
    /// Pairs without NULL.
    RegrCount,
    /// Square of the correlation.
    RegrR2,
    /// Mean of x.
    RegrAvgx,
    /// Mean of y.
    RegrAvgy,
    /// Sum of squares of x less its mean.
    RegrSxx,
    /// Sum of squares of y less its mean.
    RegrSyy,
    /// Sum of products of x and y, each less its mean.
    RegrSxy,
}

/// Statistics by DataFusion's names; true for those over pairs of arguments.
const STATS: [(&str, Stat, bool); 16] = [
    ("var_pop", Stat::VarPop, false),
    ("var", Stat::VarSamp, false),
    ("stddev_pop", Stat::StddevPop, false),
    ("stddev", Stat::StddevSamp, false),
    ("covar_pop", Stat::CovarPop, true),
    ("covar_samp", Stat::CovarSamp, true),
    ("corr", Stat::Corr, true),
    ("regr_slope", Stat::RegrSlope, true),
    ("regr_intercept", Stat::RegrIntercept, true),
    ("regr_count", Stat::RegrCount, true),
    ("regr_r2", Stat::RegrR2, true),
    ("regr_avgx", Stat::RegrAvgx, true),
    ("regr_avgy", Stat::RegrAvgy, true),
    ("regr_sxx", Stat::RegrSxx, true),
    ("regr_syy", Stat::RegrSyy, true),
    ("regr_sxy", Stat::RegrSxy, true),
];

impl Stat {
    /// Returns true if it is over pairs of arguments.
    pub fn is_over_pairs(self) -> bool {
        STATS.iter().any(|(_, stat, pairs)| *stat == self && *pairs)
    }
}

impl AggFunc {
    /// The function of that name; DataFusion's first name of it.
    pub fn from_name(name: &str) -> Option<AggFunc> {
        Some(match name {
            "count" => AggFunc::Count,
            "sum" => AggFunc::Sum,
            "avg" => AggFunc::Avg,
            "min" => AggFunc::Min,
            "max" => AggFunc::Max,
            "bool_and" => AggFunc::BoolAnd,
            "bool_or" => AggFunc::BoolOr,
            _ => AggFunc::Stat(STATS.iter().find(|(known, ..)| *known == name)?.1),
        })
    }

    /// Returns true for min and max.
    pub fn is_extreme(self) -> bool {
        matches!(self, AggFunc::Min | AggFunc::Max)
    }

    /// Returns true if duplicates make no difference to it.
    pub fn ignores_duplicates(self) -> bool {
        matches!(self, AggFunc::Min | AggFunc::Max | AggFunc::BoolAnd | AggFunc::BoolOr)
    }

    /// Maximum number of accumulators it takes.
    pub fn accumulator_count(self) -> usize {
        match self {
            AggFunc::Stat(stat) if stat.is_over_pairs() => 5,
            AggFunc::Stat(_) => 2,
            _ => 1,
        }
    }
}

impl fmt::Display for AggFunc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            AggFunc::Count => "count",
            AggFunc::Sum => "sum",
            AggFunc::Avg => "avg",
            AggFunc::Min => "min",
            AggFunc::Max => "max",
            AggFunc::BoolAnd => "bool_and",
            AggFunc::BoolOr => "bool_or",
            AggFunc::Stat(of) => STATS.iter().find(|(_, stat, _)| stat == of).map_or("stat", |s| s.0),
        };
        f.write_str(name)
    }
}

impl Aggregate {
    /// The same with every expression replaced.
    pub fn map(&self, by: &dyn Fn(&Scalar) -> Scalar) -> Aggregate {
        Aggregate {
            func: self.func,
            arg: self.arg.as_ref().map(by),
            other: self.other.as_ref().map(by),
            filter: self.filter.as_ref().map(by),
            output: self.output.clone(),
        }
    }

    /// The arguments, in order.
    pub fn args(&self) -> impl Iterator<Item = &Scalar> {
        self.arg.iter().chain(&self.other)
    }
}

impl fmt::Display for Aggregate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let args: Vec<String> = self.args().map(ToString::to_string).collect();
        let args = if args.is_empty() { "*".to_owned() } else { args.join(", ") };
        let filter = self.filter.as_ref().map(|f| format!(" where {f}")).unwrap_or_default();
        write!(f, "{}({args}{filter})", self.func)
    }
}

/// Maximum number of aggregates of one GROUP BY: one byte identifies them in the state.
pub const MAX_AGGREGATES: usize = 200;

/// Maximum number of accumulators of one GROUP BY, which one byte counts in the state.
pub const MAX_ACCUMULATORS: usize = 255;
