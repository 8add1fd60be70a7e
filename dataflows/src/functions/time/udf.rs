//! Scalar functions over times, defined by the types they take.
//!
//! A [`TimeFunction`] is a name and a list of [`Overload`]s, each with the exact types of its arguments and
//! result and the code over whole columns. Arguments of related types are converted: integers to BIGINT,
//! numbers to DOUBLE, a DATE to a timestamp, text to the type asked for. Every function is strict (NULL where
//! an argument is NULL) and immutable, and gives microseconds only, so that Herald has a column type for its
//! result. An undefined result is an error of the row.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray, PrimitiveBuilder, StringArray, StringBuilder};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Field, FieldRef, Float64Type, Int64Type, IntervalUnit, TimeUnit,
};
use datafusion_common::{DataFusionError, Result, ScalarValue, exec_err, plan_err};
use datafusion_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

pub(super) use crate::functions::eval::own::constant_text;
use crate::functions::eval::value::row_error;

/// A type that such functions take or give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ty {
    Boolean,
    Bigint,
    Int,
    Double,
    Text,
    Date,
    Time,
    Timestamp,
    Timestamptz,
    Interval,
    /// The length of an interval in microseconds.
    Length,
}

impl Ty {
    /// Returns Arrow's type.
    pub fn arrow(self) -> DataType {
        match self {
            Ty::Boolean => DataType::Boolean,
            Ty::Bigint => DataType::Int64,
            Ty::Int => DataType::Int32,
            Ty::Double => DataType::Float64,
            Ty::Text => DataType::Utf8,
            Ty::Date => DataType::Date32,
            Ty::Time => DataType::Time64(TimeUnit::Microsecond),
            Ty::Timestamp => schemas::timestamp(),
            Ty::Timestamptz => schemas::timestamptz(),
            Ty::Interval => DataType::Interval(IntervalUnit::MonthDayNano),
            Ty::Length => DataType::Decimal128(38, 0),
        }
    }

    /// Returns the cost of converting a value of type `from` to this type; None where it is not converted.
    fn conversion_cost(self, from: &DataType) -> Option<u32> {
        use DataType as D;
        let text = matches!(from, D::Utf8 | D::LargeUtf8 | D::Utf8View);
        Some(match (self, from) {
            (_, from) if *from == self.arrow() => 0,
            (_, D::Null) => 1,
            (Ty::Bigint, from) if from.is_integer() => 1,
            (Ty::Double, from) if from.is_numeric() => 2,
            (Ty::Time, D::Time32(_) | D::Time64(_)) => 1,
            (Ty::Timestamp, D::Timestamp(_, None)) => 1,
            (Ty::Timestamptz, D::Timestamp(_, Some(_))) => 1,
            (Ty::Timestamptz, D::Date32 | D::Date64) => 2,
            (Ty::Timestamp, D::Date32 | D::Date64) => 3,
            (Ty::Timestamptz, D::Timestamp(_, None)) => 4,
            (Ty::Interval, D::Interval(_) | D::Duration(_)) => 1,
            (Ty::Text, _) if text => 1,
            (Ty::Boolean | Ty::Length, _) => return None,
            _ if text => 100,
            _ => return None,
        })
    }

    fn sql_name(self) -> String {
        sql_name(&self.arrow())
    }
}

fn sql_name(of: &DataType) -> String {
    schemas::sql_type(&Field::new("", of.clone(), true))
}

/// One signature of a function, with its code.
pub(crate) struct Overload {
    /// Types of the arguments.
    pub args: &'static [Ty],
    /// Type of the result.
    pub out: Ty,
    /// The code: takes columns of exactly these types and of one length.
    pub eval: fn(&[ArrayRef]) -> Result<ArrayRef>,
}

impl Overload {
    /// Returns the types of the arguments in SQL's spelling, separated by commas.
    fn shown_arguments(&self) -> String {
        let args: Vec<String> = self.args.iter().copied().map(Ty::sql_name).collect();
        args.join(", ")
    }

    /// Returns the types of the arguments and of the result, as the reference pages show them.
    fn shown_types(&self) -> (String, String) {
        (self.shown_arguments(), self.out.sql_name())
    }

    /// Returns the cost of converting arguments of these types; None where they are not taken.
    fn conversion_cost(&self, types: &[DataType]) -> Option<u32> {
        if self.args.len() != types.len() {
            return None;
        }
        let mut cost = 0;
        for (to, from) in self.args.iter().zip(types) {
            cost += to.conversion_cost(from)?;
        }
        Some(cost)
    }
}

/// Defines an overload of one argument by its types and Arrow's, and by the function of one value.
macro_rules! unary {
    ($from:ident => $to:ident, $a:ty => $r:ty, $f:expr) => {
        $crate::functions::time::udf::Overload {
            args: &[$crate::functions::time::udf::Ty::$from],
            out: $crate::functions::time::udf::Ty::$to,
            eval: |args| {
                let out = $crate::functions::time::udf::Ty::$to;
                $crate::functions::time::udf::map_column::<$a, $r>(&args[0], out, $f)
            },
        }
    };
}
pub(super) use unary;

/// Defines such an overload of two arguments.
macro_rules! binary {
    ($a:ident, $b:ident => $to:ident, $ta:ty, $tb:ty => $r:ty, $f:expr) => {
        $crate::functions::time::udf::Overload {
            args: &[$crate::functions::time::udf::Ty::$a, $crate::functions::time::udf::Ty::$b],
            out: $crate::functions::time::udf::Ty::$to,
            eval: |args| {
                let out = $crate::functions::time::udf::Ty::$to;
                $crate::functions::time::udf::map_columns::<$ta, $tb, $r>(args, out, $f)
            },
        }
    };
}
pub(super) use binary;

/// Checks constant arguments when a query is planned.
pub(crate) type ArgumentCheck = fn(&[Option<&ScalarValue>], &[DataType]) -> Result<()>;

/// A function over times.
#[derive(Debug)]
pub(crate) struct TimeFunction {
    name: &'static str,
    aliases: Vec<String>,
    overloads: &'static [Overload],
    check: Option<ArgumentCheck>,
    signature: Signature,
}

impl std::fmt::Debug for Overload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} -> {:?}", self.args, self.out)
    }
}

impl PartialEq for TimeFunction {
    fn eq(&self, other: &TimeFunction) -> bool {
        self.name == other.name
    }
}

impl Eq for TimeFunction {}

impl Hash for TimeFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

/// Creates a function with these overloads.
pub(crate) fn function(name: &'static str, overloads: &'static [Overload]) -> Arc<ScalarUDF> {
    checked_function(name, &[], overloads, None)
}

/// Creates a function with other names too, and with a check of its constant arguments.
pub(crate) fn checked_function(
    name: &'static str,
    aliases: &[&str],
    overloads: &'static [Overload],
    check: Option<ArgumentCheck>,
) -> Arc<ScalarUDF> {
    let aliases = aliases.iter().map(ToString::to_string).collect();
    let signature = Signature::user_defined(Volatility::Immutable);
    Arc::new(ScalarUDF::from(TimeFunction { name, aliases, overloads, check, signature }))
}

/// Returns the arguments and the result of each overload of a function over times, as the reference pages show
/// them; None for another function.
pub(crate) fn overloads(function: &ScalarUDF) -> Option<Vec<(String, String)>> {
    let known = function.inner().downcast_ref::<TimeFunction>()?;
    Some(known.overloads.iter().map(Overload::shown_types).collect())
}

impl TimeFunction {
    /// Finds the overload that these types are converted to at the least cost, the first of several.
    fn find_overload(&self, types: &[DataType]) -> Result<&'static Overload> {
        let taking = self.overloads.iter().filter_map(|o| Some((o.conversion_cost(types)?, o)));
        match taking.min_by_key(|(cost, _)| *cost) {
            Some((_, cheapest)) => Ok(cheapest),
            None => Err(self.no_overload(types)),
        }
    }

    fn no_overload(&self, types: &[DataType]) -> DataFusionError {
        let given: Vec<String> = types.iter().map(sql_name).collect();
        let known: Vec<String> =
            self.overloads.iter().map(|o| format!("({})", o.shown_arguments())).collect();
        let message = format!("{} takes {}, not ({})", self.name, known.join(" or "), given.join(", "));
        DataFusionError::Plan(message)
    }
}

impl ScalarUDFImpl for TimeFunction {
    fn name(&self) -> &str {
        self.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        Ok(self.find_overload(types)?.args.iter().copied().map(Ty::arrow).collect())
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(self.find_overload(types)?.out.arrow())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let types: Vec<DataType> = args.arg_fields.iter().map(|f| f.data_type().clone()).collect();
        if let Some(check) = self.check {
            check(args.scalar_arguments, &types)?;
        }
        let nullable = args.arg_fields.iter().any(|f| f.is_nullable());
        Ok(Arc::new(Field::new(self.name, self.return_type(&types)?, nullable)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let mut arrays =
            args.args.iter().map(|a| a.to_array(args.number_rows)).collect::<Result<Vec<_>>>()?;
        let types: Vec<DataType> = arrays.iter().map(Array::data_type).cloned().collect();
        let overload = self.find_overload(&types)?;
        for (array, ty) in arrays.iter_mut().zip(overload.args) {
            let ty = ty.arrow();
            if *array.data_type() != ty {
                *array = arrow::compute::cast(array, &ty)?;
            }
        }
        let out = (overload.eval)(&arrays)?;
        if *out.data_type() != overload.out.arrow() {
            return exec_err!("{} gave {}", self.name, out.data_type());
        }
        Ok(ColumnarValue::Array(out))
    }
}

/// A row's result, or its error message.
pub(super) type TimeResult<T> = std::result::Result<T, String>;

/// Returns a column of numbers or times.
pub(super) fn number_column<T: ArrowPrimitiveType>(array: &ArrayRef) -> Result<&PrimitiveArray<T>> {
    array.as_primitive_opt().ok_or_else(|| row_error(format!("a column of {}", array.data_type())))
}

/// Returns a column of text.
pub(super) fn text_column(array: &ArrayRef) -> Result<&StringArray> {
    array.as_string_opt().ok_or_else(|| row_error(format!("a column of {}", array.data_type())))
}

/// Applies `f` to every value that is not NULL; the result is a column of type `out`.
pub(super) fn map_column<A: ArrowPrimitiveType, R: ArrowPrimitiveType>(
    arg: &ArrayRef,
    out: Ty,
    f: impl Fn(A::Native) -> TimeResult<R::Native>,
) -> Result<ArrayRef> {
    let values = number_column::<A>(arg)?.try_unary::<_, R, DataFusionError>(|v| f(v).map_err(row_error))?;
    Ok(Arc::new(values.with_data_type(out.arrow())))
}

/// Applies `f` to every pair without NULL.
pub(super) fn map_columns<A: ArrowPrimitiveType, B: ArrowPrimitiveType, R: ArrowPrimitiveType>(
    args: &[ArrayRef],
    out: Ty,
    f: impl Fn(A::Native, B::Native) -> TimeResult<R::Native>,
) -> Result<ArrayRef> {
    let (a, b) = (number_column::<A>(&args[0])?, number_column::<B>(&args[1])?);
    build_column::<R>(a.iter().zip(b.iter()).map(|(a, b)| Some(f(a?, b?))), out.arrow())
}

/// Applies `f` to every text and value without NULL.
pub(super) fn map_text<B: ArrowPrimitiveType, R: ArrowPrimitiveType>(
    args: &[ArrayRef],
    out: Ty,
    mut f: impl FnMut(&str, B::Native) -> TimeResult<R::Native>,
) -> Result<ArrayRef> {
    let (a, b) = (text_column(&args[0])?, number_column::<B>(&args[1])?);
    build_column::<R>(a.iter().zip(b.iter()).map(|(a, b)| Some(f(a?, b?))), out.arrow())
}

/// Applies `f` to every row without NULL of three columns.
pub(super) fn map_triples<A, B, C, R: ArrowPrimitiveType>(
    rows: impl Iterator<Item = ((Option<A>, Option<B>), Option<C>)>,
    out: DataType,
    mut f: impl FnMut(A, B, C) -> TimeResult<R::Native>,
) -> Result<ArrayRef> {
    build_column::<R>(rows.map(|((a, b), c)| Some(f(a?, b?, c?))), out)
}

/// Applies `f` to the first `whole` columns, integers, of every row without NULL, and to the DOUBLE behind
/// them, if there is one.
pub(super) fn map_numbers<R: ArrowPrimitiveType>(
    args: &[ArrayRef],
    whole: usize,
    out: Ty,
    f: impl Fn(&[i64], f64) -> TimeResult<R::Native>,
) -> Result<ArrayRef> {
    let columns = args[..whole].iter().map(number_column::<Int64Type>).collect::<Result<Vec<_>>>()?;
    let seconds = args.get(whole).map(number_column::<Float64Type>).transpose()?;
    let mut numbers = vec![0; whole];
    let mut made = PrimitiveBuilder::<R>::with_capacity(args[0].len());
    for row in 0..args[0].len() {
        if args.iter().any(|arg| arg.is_null(row)) {
            made.append_null();
            continue;
        }
        for (number, column) in numbers.iter_mut().zip(&columns) {
            *number = column.value(row);
        }
        let seconds = seconds.map_or(0.0, |s| s.value(row));
        made.append_value(f(&numbers, seconds).map_err(row_error)?);
    }
    Ok(Arc::new(made.finish().with_data_type(out.arrow())))
}

/// Parses every text with `f`.
pub(super) fn parse_column<R: ArrowPrimitiveType>(
    arg: &ArrayRef,
    out: Ty,
    mut f: impl FnMut(&str) -> TimeResult<R::Native>,
) -> Result<ArrayRef> {
    build_column::<R>(text_column(arg)?.iter().map(|text| Some(f(text?))), out.arrow())
}

/// Builds a column of the rows' results; None is NULL, and the first error ends it.
fn build_column<R: ArrowPrimitiveType>(
    rows: impl Iterator<Item = Option<TimeResult<R::Native>>>,
    out: DataType,
) -> Result<ArrayRef> {
    let mut values = PrimitiveBuilder::<R>::with_capacity(rows.size_hint().0);
    for row in rows {
        match row {
            Some(value) => values.append_value(value.map_err(row_error)?),
            None => values.append_null(),
        }
    }
    Ok(Arc::new(values.finish().with_data_type(out)))
}

/// Builds a column of the texts that `f` writes.
pub(super) fn write_column<A: ArrowPrimitiveType>(
    arg: &ArrayRef,
    f: impl Fn(A::Native, &mut Vec<u8>),
) -> Result<ArrayRef> {
    let mut out = StringBuilder::new();
    let mut text = Vec::new();
    for value in number_column::<A>(arg)? {
        text.clear();
        match value {
            Some(value) => {
                f(value, &mut text);
                out.append_value(String::from_utf8_lossy(&text));
            }
            None => out.append_null(),
        }
    }
    Ok(Arc::new(out.finish()))
}

/// Builds a column of the texts that `f` makes of every value and its pattern.
pub(super) fn write_by<A: ArrowPrimitiveType>(
    args: &[ArrayRef],
    mut f: impl FnMut(A::Native, &str) -> TimeResult<String>,
) -> Result<ArrayRef> {
    let mut out = StringBuilder::new();
    for pair in number_column::<A>(&args[0])?.iter().zip(text_column(&args[1])?.iter()) {
        match pair {
            (Some(value), Some(pattern)) => out.append_value(f(value, pattern).map_err(row_error)?),
            _ => out.append_null(),
        }
    }
    Ok(Arc::new(out.finish()))
}

/// Cache of the last text parsed: a unit, a zone or a pattern, which seldom changes from row to row.
pub(super) struct LastParsed<T> {
    held: Option<(String, T)>,
    read: fn(&str) -> TimeResult<T>,
}

impl<T> LastParsed<T> {
    pub fn new(read: fn(&str) -> TimeResult<T>) -> LastParsed<T> {
        LastParsed { held: None, read }
    }

    pub fn parse(&mut self, text: &str) -> TimeResult<&T> {
        if self.held.as_ref().is_none_or(|(held, _)| held != text) {
            self.held = Some((text.to_owned(), (self.read)(text)?));
        }
        match &self.held {
            Some((_, value)) => Ok(value),
            None => Err(String::new()),
        }
    }
}

/// Reports the error of a constant argument while planning.
pub(super) fn check_outcome<T>(outcome: TimeResult<T>) -> Result<()> {
    match outcome {
        Ok(_) => Ok(()),
        Err(message) => plan_err!("{message}"),
    }
}

/// Computes a value of every pair of texts.
pub(crate) fn map_text_pairs<R: ArrowPrimitiveType>(
    args: &[ArrayRef],
    out: Ty,
    mut f: impl FnMut(&str, &str) -> TimeResult<R::Native>,
) -> Result<ArrayRef> {
    let (a, b) = (text_column(&args[0])?, text_column(&args[1])?);
    build_column::<R>(a.iter().zip(b.iter()).map(|(a, b)| Some(f(a?, b?))), out.arrow())
}
