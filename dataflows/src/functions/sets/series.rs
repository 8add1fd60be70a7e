//! `generate_series` and `range`: the steps from one value to another, as an array.
//!
//! Integers by an integer, times by an INTERVAL; `range` leaves the end out. A series is bounded: a row that
//! would have a longer one fails.

use std::sync::Arc;

use arrow::array::timezone::Tz;
use arrow::array::{
    Array, ArrayRef, AsArray, Int64Array, ListArray, PrimitiveArray, TimestampMicrosecondArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{
    DataType, Field, Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, TimestampMicrosecondType,
};
use datafusion_common::{Result, exec_datafusion_err, exec_err, plan_err};
use datafusion_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

use crate::functions::eval::about::{About, called};
use crate::functions::eval::own::list_of;
use crate::functions::eval::value::as_type;

/// Largest number of items of a series.
pub(crate) const MAX_ITEMS: usize = 10_000;

/// The lines of the reference pages about these functions.
pub(crate) const ABOUT: &[About] = &[
    called(
        "generate_series",
        &[
            "generate_series(BIGINT, BIGINT, [BIGINT]) -> BIGINT",
            "generate_series(TIMESTAMP, TIMESTAMP, INTERVAL) -> TIMESTAMP",
            "generate_series(TIMESTAMPTZ, TIMESTAMPTZ, INTERVAL) -> TIMESTAMPTZ",
        ],
        "A row for each step from one value to another, at most 10,000; in FROM and in SELECT.",
    ),
    called(
        "range",
        &[
            "range(BIGINT, [BIGINT], [BIGINT]) -> BIGINT[]",
            "range(TIMESTAMP, TIMESTAMP, INTERVAL) -> TIMESTAMP[]",
            "range(TIMESTAMPTZ, TIMESTAMPTZ, INTERVAL) -> TIMESTAMPTZ[]",
        ],
        "The steps from one value (0) to before another, as an array of at most 10,000 items.",
    ),
];

/// Returns both functions.
pub(crate) fn functions() -> Vec<Arc<ScalarUDF>> {
    vec![series_function("generate_series", true), series_function("range", false)]
}

fn series_function(name: &'static str, closed: bool) -> Arc<ScalarUDF> {
    let signature = Signature::user_defined(Volatility::Immutable);
    Arc::new(ScalarUDF::from(SeriesFunction { name, closed, signature }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct SeriesFunction {
    name: &'static str,
    /// True if the end is one of the items.
    closed: bool,
    signature: Signature,
}

impl ScalarUDFImpl for SeriesFunction {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        let whole = given.iter().all(|t| t.is_integer() || t.is_null());
        let least = if self.closed { 2 } else { 1 };
        if whole && (least..=3).contains(&given.len()) {
            return Ok(vec![DataType::Int64; given.len()]);
        }
        if let [from, to, step] = given
            && let Some(time) = common_time_type(from, to)
            && (matches!(step, DataType::Interval(_) | DataType::Duration(_)) || step.is_null())
        {
            return Ok(vec![time.clone(), time, schemas::interval()]);
        }
        let given: Vec<String> =
            given.iter().map(|t| schemas::sql_type(&Field::new("", t.clone(), true))).collect();
        plan_err!(
            "{} takes (INT, INT, [INT]) or (TIMESTAMP, TIMESTAMP, INTERVAL), not ({})",
            self.name,
            given.join(", ")
        )
    }

    fn return_type(&self, args: &[DataType]) -> Result<DataType> {
        Ok(list_of(self.coerce_types(args)?[0].clone()))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let types: Vec<DataType> = args.args.iter().map(ColumnarValue::data_type).collect();
        let types = self.coerce_types(&types)?;
        let arrays = args.args.iter().zip(&types);
        let arrays = arrays
            .map(|(a, of)| as_type(&a.to_array(args.number_rows)?, of))
            .collect::<Result<Vec<ArrayRef>>>()?;
        let lists = match &types[0] {
            DataType::Int64 => self.of_numbers(&arrays)?,
            of => self.of_times(&arrays, of)?,
        };
        Ok(ColumnarValue::Array(lists))
    }
}

/// Returns the type of a series between two times. A series of two dates is of TIMESTAMPTZ, as in PostgreSQL.
fn common_time_type(from: &DataType, to: &DataType) -> Option<DataType> {
    if !is_time_or_null(from) || !is_time_or_null(to) || from.is_null() && to.is_null() {
        return None;
    }
    let plain = is_timestamp(from, false) || is_timestamp(to, false);
    let zoned = is_timestamp(from, true) || is_timestamp(to, true);
    Some(if plain && !zoned { schemas::timestamp() } else { schemas::timestamptz() })
}

fn is_time_or_null(of: &DataType) -> bool {
    matches!(of, DataType::Timestamp(..) | DataType::Date32 | DataType::Null)
}

fn is_timestamp(of: &DataType, zoned: bool) -> bool {
    matches!(of, DataType::Timestamp(_, zone) if zone.is_some() == zoned)
}

fn has_null(args: &[ArrayRef], row: usize) -> bool {
    args.iter().any(|arg| arg.is_null(row))
}

/// Returns a row's value of an argument in 128 bits; None if the argument was not given.
fn number_at(args: &[&Int64Array], place: usize, row: usize) -> Option<i128> {
    Some(i128::from(args.get(place)?.value(row)))
}

impl SeriesFunction {
    fn of_numbers(&self, args: &[ArrayRef]) -> Result<ArrayRef> {
        let numbers: Vec<&Int64Array> = args.iter().map(AsArray::as_primitive::<Int64Type>).collect();
        let mut lists = Lists::default();
        for row in 0..args[0].len() {
            if has_null(args, row) {
                lists.push(None::<std::iter::Empty<i64>>);
                continue;
            }
            // 128 bits: neither the difference nor a step beyond the end can overflow.
            let first = number_at(&numbers, 0, row).unwrap_or(0);
            let (start, stop) = match number_at(&numbers, 1, row) {
                Some(stop) => (first, stop),
                None => (0, first),
            };
            let step = number_at(&numbers, 2, row).unwrap_or(1);
            if step == 0 {
                return exec_err!("step size cannot equal zero");
            }
            let stop = if self.closed { stop } else { stop - step.signum() };
            let span = (stop - start) * step.signum();
            let count = if span < 0 { 0 } else { span / step.abs() + 1 };
            self.check_length(count)?;
            lists.push(Some((0..count).map(|n| (start + n * step) as i64)));
        }
        lists.finish(&DataType::Int64)
    }

    fn of_times(&self, args: &[ArrayRef], of: &DataType) -> Result<ArrayRef> {
        let starts = args[0].as_primitive::<TimestampMicrosecondType>();
        let stops = args[1].as_primitive::<TimestampMicrosecondType>();
        let steps = args[2].as_primitive::<IntervalMonthDayNanoType>();
        let mut lists = Lists::default();
        for row in 0..steps.len() {
            if has_null(args, row) {
                lists.push(None::<std::iter::Empty<i64>>);
                continue;
            }
            let items = self.time_items(starts.value(row), stops.value(row), steps.value(row))?;
            lists.push(Some(items.into_iter()));
        }
        lists.finish(of)
    }

    /// Returns the microseconds of a series of times. A month counts as 30 days only to tell the direction of
    /// the step.
    fn time_items(&self, start: i64, stop: i64, step: IntervalMonthDayNano) -> Result<Vec<i64>> {
        const DAY: i128 = 86_400_000_000_000;
        let days = i128::from(step.months) * 30 + i128::from(step.days);
        let length = days * DAY + i128::from(step.nanoseconds);
        if length == 0 {
            return exec_err!("step size cannot equal zero");
        }
        let utc: Tz = "+00:00".parse()?;
        let mut items = Vec::new();
        let mut at = start;
        loop {
            let inside = if length > 0 { at < stop } else { at > stop };
            if !(inside || self.closed && at == stop) {
                return Ok(items);
            }
            self.check_length(items.len() as i128 + 1)?;
            items.push(at);
            at = TimestampMicrosecondType::add_month_day_nano(at, step, utc)
                .ok_or_else(|| exec_datafusion_err!("timestamp out of range"))?;
        }
    }

    fn check_length(&self, count: i128) -> Result<()> {
        if count > MAX_ITEMS as i128 {
            exec_err!("{} of more than {MAX_ITEMS} items", self.name)
        } else {
            Ok(())
        }
    }
}

/// Builder of arrays of 64-bit items, one array per row.
#[derive(Default)]
struct Lists {
    items: Vec<i64>,
    lengths: Vec<usize>,
    valid: Vec<bool>,
}

impl Lists {
    fn push<I: Iterator<Item = i64>>(&mut self, items: Option<I>) {
        let before = self.items.len();
        self.valid.push(items.is_some());
        self.items.extend(items.into_iter().flatten());
        self.lengths.push(self.items.len() - before);
    }

    fn finish(self, of: &DataType) -> Result<ArrayRef> {
        let items: ArrayRef = match of {
            DataType::Timestamp(_, zone) => {
                let times: PrimitiveArray<TimestampMicrosecondType> =
                    TimestampMicrosecondArray::from(self.items);
                Arc::new(times.with_timezone_opt(zone.clone()))
            }
            _ => Arc::new(Int64Array::from(self.items)),
        };
        let field = Arc::new(Field::new("item", of.clone(), true));
        let offsets = OffsetBuffer::from_lengths(self.lengths);
        Ok(Arc::new(ListArray::try_new(field, offsets, items, Some(NullBuffer::from(self.valid)))?))
    }
}
