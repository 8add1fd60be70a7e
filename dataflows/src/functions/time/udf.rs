//! A scalar function over times, given by the types it takes.
//!
//! A [`Function`] is a name and a list of [`Overload`]s, each with the exact types of its arguments and
//! result and the code over whole columns. Arguments that are nearly of such a type are converted: whole
//! numbers to BIGINT, numbers to DOUBLE, a DATE to a timestamp, text to what is asked for. Every
//! function is strict (NULL where an argument is NULL) and immutable, and gives microseconds only, so
//! that its result is always a column that Herald has. What has no value is an error of the row.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanBuilder, PrimitiveArray, StringArray, StringBuilder};
use arrow::datatypes::{ArrowPrimitiveType, DataType, Field, FieldRef, IntervalUnit, TimeUnit};
use datafusion_common::{DataFusionError, Result, ScalarValue, exec_err, plan_err};
use datafusion_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

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
    /// Arrow's type.
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

    /// How far a value of type `from` is from this type; None where it is not converted.
    fn distance(self, from: &DataType) -> Option<u32> {
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

    fn name(self) -> String {
        schemas::sql_type(&Field::new("", self.arrow(), true))
    }
}

/// One way to call a function.
pub(crate) struct Overload {
    /// What it takes.
    pub args: &'static [Ty],
    /// What it gives.
    pub out: Ty,
    /// Its code: columns of exactly these types and of one length.
    pub eval: fn(&[ArrayRef]) -> Result<ArrayRef>,
}

/// Judges constant arguments when a query is planned.
pub(crate) type Check = fn(&[Option<&ScalarValue>], &[DataType]) -> Result<()>;

/// A function over times.
#[derive(Debug)]
pub(crate) struct Function {
    name: &'static str,
    aliases: Vec<String>,
    overloads: &'static [Overload],
    check: Option<Check>,
    signature: Signature,
}

impl std::fmt::Debug for Overload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} -> {:?}", self.args, self.out)
    }
}

impl PartialEq for Function {
    fn eq(&self, other: &Function) -> bool {
        self.name == other.name
    }
}

impl Eq for Function {}

impl Hash for Function {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

/// A function with these ways to call it.
pub(crate) fn function(name: &'static str, overloads: &'static [Overload]) -> Arc<ScalarUDF> {
    made(name, &[], overloads, None)
}

/// A function with other names, and a judge of its constant arguments.
pub(crate) fn made(
    name: &'static str,
    aliases: &[&str],
    overloads: &'static [Overload],
    check: Option<Check>,
) -> Arc<ScalarUDF> {
    let aliases = aliases.iter().map(|alias| (*alias).to_owned()).collect();
    let signature = Signature::user_defined(Volatility::Immutable);
    Arc::new(ScalarUDF::from(Function { name, aliases, overloads, check, signature }))
}

impl Function {
    fn of(&self, types: &[DataType]) -> Option<&'static Overload> {
        let cost = |overload: &&Overload| -> Option<u32> {
            if overload.args.len() != types.len() {
                return None;
            }
            overload.args.iter().zip(types).map(|(to, from)| to.distance(from)).sum()
        };
        self.overloads
            .iter()
            .filter_map(|o| Some((cost(&o)?, o)))
            .min_by_key(|(cost, _)| *cost)
            .map(|(_, o)| o)
    }

    fn refusal(&self, types: &[DataType]) -> DataFusionError {
        let given = types.iter().map(|t| schemas::sql_type(&Field::new("", t.clone(), true)));
        let given: Vec<String> = given.collect();
        let takes = |o: &Overload| {
            let args: Vec<String> = o.args.iter().map(|t| t.name()).collect();
            format!("({})", args.join(", "))
        };
        let known: Vec<String> = self.overloads.iter().map(takes).collect();
        let message = format!("{} takes {}, not ({})", self.name, known.join(" or "), given.join(", "));
        DataFusionError::Plan(message)
    }
}

impl ScalarUDFImpl for Function {
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
        let overload = self.of(types).ok_or_else(|| self.refusal(types))?;
        Ok(overload.args.iter().map(|ty| ty.arrow()).collect())
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.of(types).map(|o| o.out.arrow()).ok_or_else(|| self.refusal(types))
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
        let arrays = args.args.iter().map(|a| a.to_array(args.number_rows)).collect::<Result<Vec<_>>>()?;
        let types: Vec<DataType> = arrays.iter().map(|a| a.data_type().clone()).collect();
        let Some(overload) = self.of(&types) else { return Err(self.refusal(&types)) };
        let exact = arrays.into_iter().zip(overload.args).map(|(array, ty)| {
            let ty = ty.arrow();
            if *array.data_type() == ty { Ok(array) } else { Ok(arrow::compute::cast(&array, &ty)?) }
        });
        let out = (overload.eval)(&exact.collect::<Result<Vec<_>>>()?)?;
        if *out.data_type() != overload.out.arrow() {
            return exec_err!("{} gave {}", self.name, out.data_type());
        }
        Ok(ColumnarValue::Array(out))
    }
}

/// What is told of a row that has no value.
pub(super) type Outcome<T> = std::result::Result<T, String>;

fn failed(message: String) -> DataFusionError {
    DataFusionError::Execution(message)
}

/// A column of numbers or times.
pub(super) fn numbers<T: ArrowPrimitiveType>(array: &ArrayRef) -> Result<&PrimitiveArray<T>> {
    array.as_primitive_opt().ok_or_else(|| failed(format!("a column of {}", array.data_type())))
}

/// A column of text.
pub(super) fn texts(array: &ArrayRef) -> Result<&StringArray> {
    array.as_string_opt().ok_or_else(|| failed(format!("a column of {}", array.data_type())))
}

/// `f` of every value that is not NULL, as a column of type `out`.
pub(super) fn map<A: ArrowPrimitiveType, R: ArrowPrimitiveType>(
    arg: &ArrayRef,
    out: Ty,
    f: impl Fn(A::Native) -> Outcome<R::Native>,
) -> Result<ArrayRef> {
    let values = numbers::<A>(arg)?.try_unary::<_, R, DataFusionError>(|v| f(v).map_err(failed))?;
    Ok(Arc::new(values.with_data_type(out.arrow())))
}

/// `f` of every pair without NULL.
pub(super) fn map2<A: ArrowPrimitiveType, B: ArrowPrimitiveType, R: ArrowPrimitiveType>(
    args: &[ArrayRef],
    out: Ty,
    f: impl Fn(A::Native, B::Native) -> Outcome<R::Native>,
) -> Result<ArrayRef> {
    let (a, b) = (numbers::<A>(&args[0])?, numbers::<B>(&args[1])?);
    let pairs = a.iter().zip(b.iter()).map(|pair| match pair {
        (Some(a), Some(b)) => f(a, b).map(Some).map_err(failed),
        _ => Ok(None),
    });
    let values: PrimitiveArray<R> = pairs.collect::<Result<Vec<Option<R::Native>>>>()?.into_iter().collect();
    Ok(Arc::new(values.with_data_type(out.arrow())))
}

/// `f` of every text and value without NULL.
pub(super) fn map_text<B: ArrowPrimitiveType, R: ArrowPrimitiveType>(
    args: &[ArrayRef],
    out: Ty,
    mut f: impl FnMut(&str, B::Native) -> Outcome<R::Native>,
) -> Result<ArrayRef> {
    let (a, b) = (texts(&args[0])?, numbers::<B>(&args[1])?);
    let pairs = a.iter().zip(b.iter()).map(|pair| match pair {
        (Some(a), Some(b)) => f(a, b).map(Some).map_err(failed),
        _ => Ok(None),
    });
    let values: PrimitiveArray<R> = pairs.collect::<Result<Vec<Option<R::Native>>>>()?.into_iter().collect();
    Ok(Arc::new(values.with_data_type(out.arrow())))
}

/// `f` of every text.
pub(super) fn read<R: ArrowPrimitiveType>(
    arg: &ArrayRef,
    out: Ty,
    mut f: impl FnMut(&str) -> Outcome<R::Native>,
) -> Result<ArrayRef> {
    let values = texts(arg)?.iter().map(|text| text.map(|t| f(t).map_err(failed)).transpose());
    let values: PrimitiveArray<R> = values.collect::<Result<Vec<Option<R::Native>>>>()?.into_iter().collect();
    Ok(Arc::new(values.with_data_type(out.arrow())))
}

/// The text that `f` writes of every value.
pub(super) fn write<A: ArrowPrimitiveType>(
    arg: &ArrayRef,
    f: impl Fn(A::Native, &mut Vec<u8>),
) -> Result<ArrayRef> {
    let mut out = StringBuilder::new();
    let mut text = Vec::new();
    for value in numbers::<A>(arg)? {
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

/// The text that `f` makes of every value and its pattern.
pub(super) fn write_by<A: ArrowPrimitiveType>(
    args: &[ArrayRef],
    mut f: impl FnMut(A::Native, &str) -> Outcome<String>,
) -> Result<ArrayRef> {
    let mut out = StringBuilder::new();
    for pair in numbers::<A>(&args[0])?.iter().zip(texts(&args[1])?.iter()) {
        match pair {
            (Some(value), Some(pattern)) => out.append_value(f(value, pattern).map_err(failed)?),
            _ => out.append_null(),
        }
    }
    Ok(Arc::new(out.finish()))
}

/// Tells whether `f` holds of every value.
pub(super) fn test<A: ArrowPrimitiveType>(arg: &ArrayRef, f: impl Fn(A::Native) -> bool) -> Result<ArrayRef> {
    let mut out = BooleanBuilder::new();
    numbers::<A>(arg)?.iter().for_each(|value| out.append_option(value.map(&f)));
    Ok(Arc::new(out.finish()))
}

/// What was last read of a text that seldom changes from row to row: a unit, a zone, a pattern.
pub(super) struct Last<T> {
    held: Option<(String, T)>,
    read: fn(&str) -> Outcome<T>,
}

impl<T> Last<T> {
    pub fn new(read: fn(&str) -> Outcome<T>) -> Last<T> {
        Last { held: None, read }
    }

    pub fn of(&mut self, text: &str) -> Outcome<&T> {
        if self.held.as_ref().is_none_or(|(held, _)| held != text) {
            self.held = Some((text.to_owned(), (self.read)(text)?));
        }
        self.held.as_ref().map(|(_, value)| value).ok_or_else(String::new)
    }
}

/// The text of a constant argument.
pub(super) fn constant<'a>(args: &[Option<&'a ScalarValue>], at: usize) -> Option<&'a str> {
    match args.get(at).copied().flatten()? {
        ScalarValue::Utf8(Some(text))
        | ScalarValue::LargeUtf8(Some(text))
        | ScalarValue::Utf8View(Some(text)) => Some(text),
        _ => None,
    }
}

/// A mistake in a constant.
pub(super) fn mistake<T>(outcome: Outcome<T>) -> Result<()> {
    match outcome {
        Ok(_) => Ok(()),
        Err(message) => plan_err!("{message}"),
    }
}
