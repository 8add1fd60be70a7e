//! `row_number`, `rank`, `dense_rank` and `ntile` as BIGINT.
//!
//! DataFusion's are unsigned, and a BIGINT with an unsigned number makes a DECIMAL: `row_number() OVER (...)
//! - 1` would be one. The renderer numbers rows itself; only `ntile` is evaluated here.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion_common::Result;
use datafusion_expr::function::{PartitionEvaluatorArgs, WindowUDFFieldArgs};
use datafusion_expr::{PartitionEvaluator, Signature, WindowUDF, WindowUDFImpl};
use datafusion_functions_window::ntile::ntile_udwf;
use datafusion_functions_window::rank::{dense_rank_udwf, rank_udwf};
use datafusion_functions_window::row_number::row_number_udwf;

use crate::functions::eval::about::{About, called};

/// The lines of the reference pages about the window functions, DataFusion's among them.
pub(crate) const ABOUT: &[About] = &[
    called("row_number", &["row_number() OVER (...) -> BIGINT"], "Number of the row, from 1."),
    called("rank", &["rank() OVER (...) -> BIGINT"], "Number of the first row that is equal."),
    called(
        "dense_rank",
        &["dense_rank() OVER (...) -> BIGINT"],
        "Number of the values up to this one, each counted once.",
    ),
    called(
        "percent_rank",
        &["percent_rank() OVER (...) -> DOUBLE"],
        "Share of the other rows that are before it.",
    ),
    called("cume_dist", &["cume_dist() OVER (...) -> DOUBLE"], "Share of the rows that are not behind it."),
    called("ntile", &["ntile(4) OVER (...) -> BIGINT"], "Number of its part, of n parts of equal size."),
    called(
        "lag",
        &["lag(T, [OFFSET], [DEFAULT]) OVER (...) -> T"],
        "The value OFFSET (1) rows before, or DEFAULT (NULL); both are constants.",
    ),
    called(
        "lead",
        &["lead(T, [OFFSET], [DEFAULT]) OVER (...) -> T"],
        "The value OFFSET (1) rows behind, or DEFAULT (NULL); both are constants.",
    ),
    called("first_value", &["first_value(T) OVER (...) -> T"], "The first value of the frame."),
    called("last_value", &["last_value(T) OVER (...) -> T"], "The last value of the frame."),
    called("nth_value", &["nth_value(T, 2) OVER (...) -> T"], "Value number n of the frame."),
];

/// Returns these functions.
pub(crate) fn functions() -> Vec<Arc<WindowUDF>> {
    vec![row_number(), as_bigint(rank_udwf()), as_bigint(dense_rank_udwf()), as_bigint(ntile_udwf())]
}

/// Returns `row_number`.
pub(crate) fn row_number() -> Arc<WindowUDF> {
    as_bigint(row_number_udwf())
}

fn as_bigint(like: Arc<WindowUDF>) -> Arc<WindowUDF> {
    Arc::new(WindowUDF::new_from_impl(Signed { like }))
}

/// A rank function whose result is BIGINT.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Signed {
    like: Arc<WindowUDF>,
}

impl WindowUDFImpl for Signed {
    fn name(&self) -> &str {
        self.like.name()
    }

    fn signature(&self) -> &Signature {
        self.like.signature()
    }

    fn partition_evaluator(&self, args: PartitionEvaluatorArgs<'_>) -> Result<Box<dyn PartitionEvaluator>> {
        Ok(Box::new(Evaluator(self.like.partition_evaluator_factory(args)?)))
    }

    fn field(&self, args: WindowUDFFieldArgs<'_>) -> Result<FieldRef> {
        Ok(Arc::new(Field::new(args.name(), DataType::Int64, false)))
    }
}

/// The wrapped function's evaluator, over whole partitions, with its result cast to BIGINT.
#[derive(Debug)]
struct Evaluator(Box<dyn PartitionEvaluator>);

impl PartitionEvaluator for Evaluator {
    fn evaluate_all(&mut self, values: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
        Ok(arrow::compute::cast(&self.0.evaluate_all(values, rows)?, &DataType::Int64)?)
    }

    fn evaluate_all_with_rank(&self, rows: usize, equal_rows: &[Range<usize>]) -> Result<ArrayRef> {
        Ok(arrow::compute::cast(&self.0.evaluate_all_with_rank(rows, equal_rows)?, &DataType::Int64)?)
    }

    fn include_rank(&self) -> bool {
        self.0.include_rank()
    }
}
