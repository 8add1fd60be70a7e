//! The aggregate functions of Herald's SQL: those of DataFusion that can be maintained incrementally.
//!
//! `percentile_cont` is exact here (see [`percentile`]). Some functions give types that no column of Herald
//! has (text of 64-bit length, unsigned counts); the planner knows those under the same name with a type that
//! a column can have, so that values compared with them get that type too.

pub(crate) mod average;
pub(crate) mod exact_sum;
pub(crate) mod interval_sum;
pub(crate) mod percentile;
pub(crate) mod picks;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion_common::{Result, ScalarValue};
use datafusion_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature};

use super::eval::about::{About, called};
use super::json::aggregate as json;
use super::json::aggregate::{ARRAY, OBJECT};
use super::types::herald_type;
use crate::plan::AggFunc;
use picks::{ARG_MAX, ARG_MIN, MODE, PERCENTILE_DISC};

/// The lines of the reference pages about the aggregates that can be maintained.
pub(crate) const ABOUT: &[About] = &[
    called(
        "count",
        &["count(*) -> BIGINT", "count(any) -> BIGINT"],
        "Number of rows, or of values that are not NULL.",
    ),
    called(
        "sum",
        &[
            "sum(integer) -> BIGINT",
            "sum(DECIMAL) -> DECIMAL",
            "sum(DOUBLE) -> DOUBLE",
            "sum(INTERVAL) -> INTERVAL",
        ],
        "Sum; of DOUBLE the exact one, rounded once.",
    ),
    called(
        "avg mean",
        &["avg(DOUBLE) -> DOUBLE", "avg(DECIMAL) -> DECIMAL", "avg(INTERVAL) -> INTERVAL"],
        "Mean; of DOUBLE the exact one, rounded once.",
    ),
    called("min", &["min(T) -> T"], "The least value."),
    called("max", &["max(T) -> T"], "The greatest value."),
    called("bool_and every", &["bool_and(BOOLEAN) -> BOOLEAN"], "True if all values are true."),
    called("bool_or", &["bool_or(BOOLEAN) -> BOOLEAN"], "True if a value is true."),
    called("var_pop var_population", &["var_pop(DOUBLE) -> DOUBLE"], "Variance of a population."),
    called("var_samp var var_sample variance", &["var_samp(DOUBLE) -> DOUBLE"], "Variance of a sample."),
    called("stddev_pop", &["stddev_pop(DOUBLE) -> DOUBLE"], "Standard deviation of a population."),
    called("stddev_samp stddev", &["stddev_samp(DOUBLE) -> DOUBLE"], "Standard deviation of a sample."),
    called(
        "covar_pop",
        &["covar_pop(DOUBLE, DOUBLE) -> DOUBLE"],
        "Covariance of a population: `covar_pop(y, x)`.",
    ),
    called("covar_samp covar", &["covar_samp(DOUBLE, DOUBLE) -> DOUBLE"], "Covariance of a sample."),
    called("corr", &["corr(DOUBLE, DOUBLE) -> DOUBLE"], "Correlation."),
    called(
        "regr_slope",
        &["regr_slope(DOUBLE, DOUBLE) -> DOUBLE"],
        "Slope of the line through the points: `regr_slope(y, x)`.",
    ),
    called("regr_intercept", &["regr_intercept(DOUBLE, DOUBLE) -> DOUBLE"], "Value of the line at x = 0."),
    called("regr_r2", &["regr_r2(DOUBLE, DOUBLE) -> DOUBLE"], "Square of the correlation."),
    called("regr_count", &["regr_count(DOUBLE, DOUBLE) -> BIGINT"], "Number of pairs without NULL."),
    called("regr_avgx", &["regr_avgx(DOUBLE, DOUBLE) -> DOUBLE"], "Mean of x."),
    called("regr_avgy", &["regr_avgy(DOUBLE, DOUBLE) -> DOUBLE"], "Mean of y."),
    called("regr_sxx", &["regr_sxx(DOUBLE, DOUBLE) -> DOUBLE"], "Sum of the squares of x less its mean."),
    called("regr_syy", &["regr_syy(DOUBLE, DOUBLE) -> DOUBLE"], "Sum of the squares of y less its mean."),
    called(
        "regr_sxy",
        &["regr_sxy(DOUBLE, DOUBLE) -> DOUBLE"],
        "Sum of the products of both, each less its mean.",
    ),
    called(
        "approx_distinct",
        &["approx_distinct(any) -> BIGINT"],
        "Number of distinct values, exactly: `count(DISTINCT x)`.",
    ),
    called("array_agg", &["array_agg(T ORDER BY any) -> T[]"], "Array of the values."),
    called(
        "string_agg",
        &["string_agg(VARCHAR, ', ' ORDER BY any) -> VARCHAR"],
        "The values as one text with a constant between them.",
    ),
    called("jsonb_agg", &["jsonb_agg(any ORDER BY any) -> JSONB"], "Array of the values."),
    called(
        "jsonb_object_agg",
        &["jsonb_object_agg(VARCHAR, any ORDER BY any) -> JSONB"],
        "Object of names and values.",
    ),
    called("first_value", &["first_value(T ORDER BY any) -> T"], "The first value."),
    called("last_value", &["last_value(T ORDER BY any) -> T"], "The last value."),
    called("any_value", &["any_value(T) -> T"], "The least value that is not NULL."),
    called(
        "arg_min min_by",
        &["arg_min(T, any) -> T"],
        "The value of the row with the least second argument.",
    ),
    called(
        "arg_max max_by",
        &["arg_max(T, any) -> T"],
        "The value of the row with the greatest second argument.",
    ),
    called(
        "mode",
        &["mode() WITHIN GROUP (ORDER BY T) -> T"],
        "The most frequent value, the first of several.",
    ),
    called(
        "median approx_median",
        &["median(DOUBLE) -> DOUBLE", "median(DECIMAL) -> DECIMAL"],
        "The value in the middle, exactly.",
    ),
    called(
        "percentile_cont quantile_cont approx_percentile_cont",
        &["percentile_cont(0.5) WITHIN GROUP (ORDER BY DOUBLE) -> DOUBLE"],
        "The value at a share of the way, exactly, between two neighbours where it is there.",
    ),
    called(
        "percentile_disc quantile_disc",
        &["percentile_disc(0.5) WITHIN GROUP (ORDER BY T) -> T"],
        "The first value at or behind a share of the way.",
    ),
    called("bit_and", &["bit_and(integer) -> integer"], "The bits that are set in all values."),
    called("bit_or", &["bit_or(integer) -> integer"], "The bits that are set in a value."),
    called("bit_xor", &["bit_xor(integer) -> integer"], "The bits that are set in an odd number of values."),
];

/// Aggregates that need the rows of their group. The first four also depend on the order of those rows (see
/// [`is_ordered`]).
pub(crate) const FOLDS: [&str; 14] = [
    "array_agg",
    "string_agg",
    "first_value",
    "last_value",
    "median",
    "percentile_cont",
    "bit_and",
    "bit_or",
    "bit_xor",
    ANY_VALUE,
    MODE,
    PERCENTILE_DISC,
    ARG_MIN,
    ARG_MAX,
];

/// Returns any value that is not NULL: here the one with the least bytes.
pub(crate) const ANY_VALUE: &str = "any_value";

/// Returns true if the aggregate takes its values in the order of WITHIN GROUP.
pub(crate) fn is_within_group(name: &str) -> bool {
    matches!(name, "percentile_cont" | MODE | PERCENTILE_DISC)
}

/// Counts exactly, as `count(DISTINCT x)` does: keeping an estimate up to date would need the exact state
/// anyway.
pub(crate) const APPROX_DISTINCT: &str = "approx_distinct";

/// Another name of `median` here.
const APPROX_MEDIAN: &str = "approx_median";
/// Another name of `percentile_cont` here.
const APPROX_PERCENTILE: &str = "approx_percentile_cont";

/// Returns true if DataFusion's aggregate of that (first) name can be maintained incrementally.
pub(crate) fn is_kept(name: &str) -> bool {
    AggFunc::from_name(name).is_some() || is_folded(name) || name == APPROX_DISTINCT
}

/// Returns true if the aggregate needs the rows of its group.
pub(crate) fn is_folded(name: &str) -> bool {
    FOLDS.contains(&name) || [ARRAY, OBJECT].contains(&name)
}

/// Returns true if the result depends on the order of the aggregate's values.
pub(crate) fn is_ordered(name: &str) -> bool {
    FOLDS[..4].contains(&name) || [ARRAY, OBJECT].contains(&name)
}

/// Returns the advice to add to the `refusal` of a call of `name`; None where the refusal says enough.
pub(crate) fn remedy(name: &str, refusal: &str) -> Option<&'static str> {
    Some(match name {
        "bool_and" | "bool_or" => "write a condition, such as x > 0",
        "string_agg" if refusal.contains("constant") => "write the text between: string_agg(x, ', ')",
        "percentile_cont" => "write percentile_cont(0.5) WITHIN GROUP (ORDER BY x)",
        PERCENTILE_DISC => "write percentile_disc(0.5) WITHIN GROUP (ORDER BY x)",
        "array_agg" | "string_agg" if refusal.contains("ORDER BY") => {
            "order by the argument, or leave DISTINCT out"
        }
        _ => return None,
    })
}

/// Returns all aggregates by name, aliases included, also those that are refused.
pub(crate) fn all_aggregates() -> BTreeMap<String, Arc<AggregateUDF>> {
    let mut all = BTreeMap::new();
    let builtin = datafusion_functions_aggregate::all_default_aggregate_functions();
    let own = picks::picking_aggregates().into_iter().chain(json::aggregates());
    for known in builtin.into_iter().chain(own) {
        let udaf = match known.name() {
            "string_agg" | APPROX_DISTINCT | "regr_count" => {
                Arc::new(AggregateUDF::from(Retyped { of: Arc::clone(&known) }))
            }
            "percentile_cont" => percentile::exact_percentile(known),
            "median" => percentile::exact_median(known),
            "avg" => interval_sum::with_intervals(average::rounded_average(known)),
            "sum" => interval_sum::with_intervals(known),
            APPROX_MEDIAN | APPROX_PERCENTILE => continue,
            _ => known,
        };
        // PostgreSQL's names that DataFusion does not know.
        let also = match udaf.name() {
            "bool_and" => Some("every"),
            "var" => Some("variance"),
            // An estimate would cost more here than the exact result.
            "median" => Some(APPROX_MEDIAN),
            "percentile_cont" => Some(APPROX_PERCENTILE),
            _ => None,
        };
        for name in udaf.aliases().iter().map(String::as_str).chain(also).chain([udaf.name()]) {
            all.insert(name.to_owned(), Arc::clone(&udaf));
        }
    }
    all
}

/// Forwards methods of [`AggregateUDFImpl`] to the function in a field. Those not listed keep the trait's default.
macro_rules! forward_to {
    ($of:ident: $($method:ident($($arg:ident: $type:ty),*) -> $result:ty;)*) => {
        $(fn $method(&self, $($arg: $type),*) -> $result {
            self.$of.$method($($arg),*)
        })*
    };
}
pub(crate) use forward_to;

/// An aggregate whose result is converted to one of Herald's column types.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Retyped {
    of: Arc<AggregateUDF>,
}

impl AggregateUDFImpl for Retyped {
    forward_to! {
        of: name() -> &str;
        aliases() -> &[String];
        signature() -> &Signature;
        is_nullable() -> bool;
        // Whoever reads the accumulator's result converts it to the return type.
        accumulator(args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>>;
        state_fields(args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>>;
    }

    fn return_type(&self, args: &[DataType]) -> Result<DataType> {
        let own = self.of.return_type(args)?;
        Ok(herald_type(&own).unwrap_or(own))
    }

    fn default_value(&self, of: &DataType) -> Result<ScalarValue> {
        self.of.default_value(of)?.cast_to(of)
    }
}
