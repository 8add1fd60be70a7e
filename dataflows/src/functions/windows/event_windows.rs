//! The scalar functions behind TUMBLE and HOP.
//!
//! Windows are aligned to 1970-01-01T00:00:00 (UTC for TIMESTAMPTZ) and half open: a window includes its
//! start and excludes its end. The parser passes lengths as constants in microseconds. A NULL time gives a
//! NULL window; a window beyond the range of timestamps is an error of the row.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListBuilder, PrimitiveArray, TimestampMicrosecondBuilder};
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type, TimeUnit, TimestampMicrosecondType};
use datafusion_common::{DataFusionError, Result, ScalarValue, exec_err, plan_err};
use datafusion_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// Returns these functions.
pub(crate) fn functions() -> Vec<Arc<ScalarUDF>> {
    [WindowBound::TumbleStart, WindowBound::TumbleEnd, WindowBound::HopStarts, WindowBound::HopEnd]
        .map(window_function)
        .into()
}

fn window_function(window: WindowBound) -> Arc<ScalarUDF> {
    let takes = if window == WindowBound::HopStarts { 3 } else { 2 };
    let signature = Signature::any(takes, Volatility::Immutable);
    Arc::new(ScalarUDF::from(WindowFunction { window, signature }))
}

/// End of a HOP window: its start moved by the window's constant size.
pub(crate) const HOP_END: &str = "herald_hop_end";
/// Starts of the windows a time is in.
pub(crate) const HOP_STARTS: &str = "herald_hop_starts";
/// Start of the window a time is in.
pub(crate) const TUMBLE_START: &str = "herald_tumble_start";
/// End of the window a time is in.
pub(crate) const TUMBLE_END: &str = "herald_tumble_end";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum WindowBound {
    TumbleStart,
    TumbleEnd,
    HopStarts,
    HopEnd,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct WindowFunction {
    window: WindowBound,
    signature: Signature,
}

impl ScalarUDFImpl for WindowFunction {
    fn name(&self) -> &str {
        match self.window {
            WindowBound::TumbleStart => TUMBLE_START,
            WindowBound::TumbleEnd => TUMBLE_END,
            WindowBound::HopStarts => HOP_STARTS,
            WindowBound::HopEnd => HOP_END,
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, args: &[DataType]) -> Result<DataType> {
        let Some(DataType::Timestamp(TimeUnit::Microsecond, _)) = args.first() else {
            return plan_err!("{} of what is no time", self.name());
        };
        Ok(match self.window {
            WindowBound::HopStarts => DataType::List(Arc::new(Field::new("item", args[0].clone(), true))),
            _ => args[0].clone(),
        })
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        if let Some(time) = args.arg_fields.first()
            && !matches!(time.data_type(), DataType::Timestamp(TimeUnit::Microsecond, _))
        {
            let what = if matches!(self.window, WindowBound::HopStarts | WindowBound::HopEnd) {
                "HOP"
            } else {
                "TUMBLE"
            };
            let (name, found) = (time.name(), schemas::sql_type(time));
            return plan_err!("{what} needs a TIMESTAMP or TIMESTAMPTZ, and {name} is {found}");
        }
        let types: Vec<DataType> = args.arg_fields.iter().map(|f| f.data_type().clone()).collect();
        let nullable = args.arg_fields.first().is_none_or(|f| f.is_nullable());
        Ok(Arc::new(Field::new(self.name(), self.return_type(&types)?, nullable)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let times = args.args[0].to_array(args.number_rows)?;
        let Some(times) = times.as_primitive_opt::<TimestampMicrosecondType>() else {
            return exec_err!("{} over {}", self.name(), times.data_type());
        };
        let first = constant_length(&args.args[1])?;
        let out: ArrayRef = match self.window {
            WindowBound::TumbleStart => Arc::new(map_times(times, |t| floor_to_multiple(t, first))?),
            WindowBound::TumbleEnd => {
                Arc::new(map_times(times, |t| floor_to_multiple(t, first)?.checked_add(first))?)
            }
            WindowBound::HopEnd => Arc::new(map_times(times, |t| t.checked_add(first))?),
            WindowBound::HopStarts => Arc::new(hop_starts(times, first, constant_length(&args.args[2])?)?),
        };
        Ok(ColumnarValue::Array(out))
    }
}

/// Returns the value of a constant length argument.
fn constant_length(value: &ColumnarValue) -> Result<i64> {
    let length = match value {
        ColumnarValue::Scalar(ScalarValue::Int64(Some(us))) => Some(*us),
        ColumnarValue::Array(a) => match a.as_primitive_opt::<Int64Type>() {
            Some(a) if !a.is_empty() => Some(a.value(0)),
            _ => None,
        },
        ColumnarValue::Scalar(_) => None,
    };
    match length {
        Some(us) if us > 0 => Ok(us),
        _ => exec_err!("a window's length is not a positive constant"),
    }
}

/// Returns the greatest multiple of `size` that is not after `t`.
fn floor_to_multiple(t: i64, size: i64) -> Option<i64> {
    t.checked_sub(t.rem_euclid(size))
}

type Times = PrimitiveArray<TimestampMicrosecondType>;

fn out_of_range() -> DataFusionError {
    DataFusionError::Execution("the window is beyond the range of timestamps".to_owned())
}

fn map_times(times: &Times, f: impl Fn(i64) -> Option<i64>) -> Result<Times> {
    let zone = times.timezone().map(Arc::from);
    let out =
        times.try_unary::<_, TimestampMicrosecondType, DataFusionError>(|t| f(t).ok_or_else(out_of_range))?;
    Ok(out.with_timezone_opt::<Arc<str>>(zone))
}

/// Returns the starts of the windows each time is in, latest first.
fn hop_starts(times: &Times, slide: i64, size: i64) -> Result<arrow::array::ListArray> {
    let item = Arc::new(Field::new("item", times.data_type().clone(), true));
    let values = TimestampMicrosecondBuilder::new().with_data_type(times.data_type().clone());
    let mut lists = ListBuilder::new(values).with_field(item);
    for t in times {
        if let Some(t) = t {
            let mut start = floor_to_multiple(t, slide).ok_or_else(out_of_range)?;
            // 128 bits: `t - size` can be below the least timestamp.
            while i128::from(start) > i128::from(t) - i128::from(size) {
                lists.values().append_value(start);
                start = start.checked_sub(slide).ok_or_else(out_of_range)?;
            }
        }
        lists.append(t.is_some());
    }
    Ok(lists.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_hold_their_start_and_not_their_end() {
        assert_eq!(
            [
                floor_to_multiple(0, 10),
                floor_to_multiple(9, 10),
                floor_to_multiple(10, 10),
                floor_to_multiple(-1, 10)
            ],
            [Some(0), Some(0), Some(10), Some(-10)]
        );
        assert_eq!(floor_to_multiple(i64::MIN, 10), None);
    }

    #[test]
    fn a_time_is_in_size_over_slide_windows() {
        let times = Times::from(vec![Some(12), None, Some(-1)]);
        let lists = hop_starts(&times, 5, 15).unwrap();
        let of = |i: usize| lists.value(i).as_primitive::<TimestampMicrosecondType>().values().to_vec();
        assert_eq!(of(0), [10, 5, 0]);
        assert!(lists.is_null(1));
        assert_eq!(of(2), [-5, -10, -15]);
    }
}
