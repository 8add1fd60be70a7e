//! Functions of numbers, with PostgreSQL's results and errors.
//!
//! Exact numbers stay exact: integers keep their type and overflow is an error, DECIMALs are rounded half
//! away from zero. Roots, logarithms and powers are DOUBLE, for DECIMALs too; an argument for which they are
//! undefined is an error, as is a result beyond DOUBLE's range.

mod angle;
pub(crate) mod checked;
pub(crate) mod decimal;
pub(super) mod format;
mod pattern;
mod read;
mod write;

use std::convert::identity;

use arrow::datatypes::DataType;
use datafusion_common::{Result, ScalarValue};

use super::eval::about::{About, about, called};
use super::eval::own::{Answer, Def, Gives, Kind, def, double, double_within, typed};
use super::eval::value::{Out, Value};
use decimal::{decimal_type, overflow, parse, rescale, scale};

pub(super) use angle::{ABOUT as ABOUT_ANGLES, TABLE as ANGLES};

use Kind::{Decimal, Double, Int, Real, Same};

/// The definitions of these functions.
pub(super) const TABLE: &[Def] = &[
    def("abs", &[Same], Gives::Like(0), absolute_integer),
    def("abs", &[Decimal], Gives::Like(0), absolute_decimal).total(),
    double("abs", &[Real], Gives::Like(0), f64::abs).total(),
    double("abs", &[Double], Gives::Double, f64::abs).total(),
    double("sign", &[Int], Gives::Double, sign_of).total(),
    def("sign", &[Decimal], Gives::Decimal(1, 0), sign_of_decimal).total(),
    double("sign", &[Double], Gives::Double, sign_of).total(),
    double("signum", &[Double], Gives::Double, sign_of).total(),
    double("round", &[Int], Gives::Double, identity).total(),
    def("round", &[Decimal], Gives::By(rounded_type), round_decimal),
    double("round", &[Double], Gives::Double, f64::round_ties_even).total(),
    typed("round", &[Decimal, Int], Gives::With(type_of_rounded), round_to_places),
    def("round", &[Double, Int], Gives::Double, round_double),
    double("trunc", &[Int], Gives::Double, identity).total(),
    def("trunc", &[Decimal], Gives::By(whole_type), cut_decimal),
    double("trunc", &[Double], Gives::Double, f64::trunc).total(),
    typed("trunc", &[Decimal, Int], Gives::With(type_of_cut), cut_to_places),
    double("ceil", &[Int], Gives::Double, identity).total(),
    def("ceil", &[Decimal], Gives::By(rounded_type), ceil_decimal),
    double("ceil", &[Double], Gives::Double, f64::ceil).total(),
    double("ceiling", &[Int], Gives::Double, identity).total(),
    def("ceiling", &[Decimal], Gives::By(rounded_type), ceil_decimal),
    double("ceiling", &[Double], Gives::Double, f64::ceil).total(),
    double("floor", &[Int], Gives::Double, identity).total(),
    def("floor", &[Decimal], Gives::By(rounded_type), floor_decimal),
    double("floor", &[Double], Gives::Double, f64::floor).total(),
    def("mod", &[Same, Same], Gives::Like(0), integer_remainder),
    def("power", &[Double, Double], Gives::Double, power_of),
    def("pow", &[Double, Double], Gives::Double, power_of),
    double_within("sqrt", check_root, f64::sqrt),
    double("cbrt", &[Double], Gives::Double, f64::cbrt).total(),
    def("exp", &[Double], Gives::Double, exponential),
    double_within("ln", check_logarithm, f64::ln),
    double_within("log", check_logarithm, f64::log10),
    double_within("log10", check_logarithm, f64::log10),
    double_within("log2", check_logarithm, f64::log2),
    def("log", &[Double, Double], Gives::Double, logarithm_to_base),
    def("pi", &[], Gives::Double, pi).total(),
    def("gcd", &[Same, Same], Gives::Like(0), common_divisor),
    def("lcm", &[Same, Same], Gives::Like(0), common_multiple),
    def("factorial", &[Int], Gives::Decimal(38, 0), factorial),
    def("width_bucket", &[Double, Double, Double, Int], Gives::Int, width_bucket),
    def("isnan", &[Double], Gives::Bool, is_nan).total(),
    def("iszero", &[Double], Gives::Bool, is_zero).total(),
    def("nanvl", &[Double, Double], Gives::Double, replace_nan).total(),
    def("bit_not", &[Same], Gives::Like(0), invert_bits).total(),
    typed("<<", &[Same, Int], Gives::Like(0), shift_left),
    typed(">>", &[Same, Int], Gives::Like(0), shift_right),
];

/// The lines of the reference pages about these functions.
pub(super) const ABOUT: &[About] = &[
    about("abs", "Absolute value; `@ n` is the same."),
    about("sign", "-1, 0 or 1."),
    about("signum", "-1, 0 or 1, as DOUBLE."),
    about("round", "The number rounded, to a whole one or to n digits behind the point."),
    about("trunc truncate", "The number cut, to a whole one or to n digits behind the point."),
    about("ceil ceiling", "The least whole number that is not less."),
    about("floor", "The greatest whole number that is not greater."),
    about("mod", "Remainder, with the sign of the dividend; `%` is the same."),
    about("div", "Whole part of a quotient."),
    about("power pow", "A number to the power of another; `^` is the same."),
    about("sqrt", "Square root; `|/ n` is the same."),
    about("cbrt", "Cube root; `||/ n` is the same."),
    about("exp", "e to the power of a number."),
    about("ln", "Natural logarithm."),
    about("log", "Logarithm to base 10, or to a base: `log(base, x)`."),
    about("log10", "Logarithm to base 10."),
    about("log2", "Logarithm to base 2."),
    about("pi", "The number pi."),
    about("gcd", "Greatest common divisor."),
    about("lcm", "Least common multiple."),
    about("factorial", "Product of the numbers from 1 to n, which is at most 33."),
    about("width_bucket", "Number of the bucket of a value, of n equal ones between two bounds."),
    about("isnan", "True for NaN."),
    about("iszero", "True for 0."),
    about("nanvl", "The first argument, or the second where it is NaN."),
    about("bit_not", "Every bit turned around; `~ n` is the same."),
    called(
        "to_number",
        &["to_number(VARCHAR, '999.99') -> DECIMAL"],
        "The number in a text, read by a constant pattern as in PostgreSQL.",
    ),
];

const INTEGER_RANGE: &str = "integer out of range";
const BIGINT_RANGE: &str = "bigint out of range";

fn to_bigint(n: u64) -> Answer {
    match i64::try_from(n) {
        Ok(n) => Ok(Out::Int(n)),
        Err(_) => Err(BIGINT_RANGE.to_owned()),
    }
}

fn absolute_integer(v: &[Value<'_>]) -> Answer {
    Ok(Out::Int(v[0].int().checked_abs().ok_or(BIGINT_RANGE)?))
}

fn absolute_decimal(v: &[Value<'_>]) -> Answer {
    Ok(Out::Decimal(v[0].decimal().0.abs()))
}

fn sign_of_decimal(v: &[Value<'_>]) -> Answer {
    Ok(Out::Decimal(v[0].decimal().0.signum()))
}

fn sign_of(x: f64) -> f64 {
    match x {
        x if x > 0.0 => 1.0,
        x if x < 0.0 => -1.0,
        _ => 0.0,
    }
}

/// Returns `result`, or an error if it is infinite for finite arguments (overflow), or zero though it should
/// not be (underflow).
pub(super) fn check_range(result: f64, finite: bool, not_zero: bool) -> Answer {
    if result.is_infinite() && finite {
        return Err("value out of range: overflow".to_owned());
    }
    if result == 0.0 && not_zero {
        return Err("value out of range: underflow".to_owned());
    }
    Ok(result.into())
}

/// Returns the type of a DECIMAL without its fraction.
fn whole_type(args: &[DataType]) -> Result<DataType> {
    type_with_places(args, &[None, Some(&ScalarValue::Int64(Some(0)))], 0)
}

/// Returns the type of a DECIMAL rounded to a whole number, which may have one digit more.
fn rounded_type(args: &[DataType]) -> Result<DataType> {
    type_with_places(args, &[None, Some(&ScalarValue::Int64(Some(0)))], 1)
}

/// Returns the type of a DECIMAL cut to a number of places.
fn type_of_cut(args: &[DataType], constants: &[Option<&ScalarValue>]) -> Result<DataType> {
    type_with_places(args, constants, 0)
}

/// Returns the type of a DECIMAL rounded to a number of places, which may have one digit more.
fn type_of_rounded(args: &[DataType], constants: &[Option<&ScalarValue>]) -> Result<DataType> {
    type_with_places(args, constants, 1)
}

/// Returns the type of a DECIMAL with `more` additional digits before the point, and with the scale given by a
/// constant argument, if it is one and smaller than the DECIMAL's; otherwise with the scale it has.
fn type_with_places(args: &[DataType], constants: &[Option<&ScalarValue>], more: i32) -> Result<DataType> {
    let Some(DataType::Decimal128(p, s)) = args.first() else { return Ok(DataType::Decimal128(38, 0)) };
    let (p, s) = (i32::from(*p), i32::from(*s));
    let places = match constants.get(1).copied().flatten() {
        Some(ScalarValue::Int64(Some(n))) if (0..i64::from(s)).contains(n) => *n as i32,
        _ => s,
    };
    Ok(decimal_type(p - s + more, places))
}

fn round_decimal(v: &[Value<'_>]) -> Answer {
    let (digits, from) = v[0].decimal();
    rescale(digits, i32::from(from), 0).map(Out::Decimal).ok_or_else(overflow)
}

/// Changes the scale of digits; truncates, does not round.
fn cut_digits(digits: i128, from: i32, to: i32) -> Option<i128> {
    if to >= from {
        rescale(digits, from, to)
    } else {
        Some(10i128.checked_pow((from - to) as u32).map_or(0, |by| digits / by))
    }
}

fn cut_decimal(v: &[Value<'_>]) -> Answer {
    let (digits, from) = v[0].decimal();
    cut_digits(digits, i32::from(from), 0).map(Out::Decimal).ok_or_else(overflow)
}

fn round_to_places(v: &[Value<'_>], of: &DataType) -> Answer {
    change_places(v, of, rescale)
}

fn cut_to_places(v: &[Value<'_>], of: &DataType) -> Answer {
    change_places(v, of, cut_digits)
}

/// Rounds to a number of places with the function `to`, and writes the result at its type's scale.
fn change_places(v: &[Value<'_>], of: &DataType, to: fn(i128, i32, i32) -> Option<i128>) -> Answer {
    let (digits, from) = v[0].decimal();
    let from = i32::from(from);
    let places = v[1].int().clamp(-40, 40) as i32;
    let kept = places.min(from);
    let rounded = to(digits, from, kept).ok_or_else(overflow)?;
    rescale(rounded, kept, i32::from(scale(of))).map(Out::Decimal).ok_or_else(overflow)
}

fn ceil_decimal(v: &[Value<'_>]) -> Answer {
    to_whole(v[0].decimal(), 1)
}

fn floor_decimal(v: &[Value<'_>]) -> Answer {
    to_whole(v[0].decimal(), -1)
}

/// Returns the next whole number up (`direction` 1) or down (-1).
fn to_whole((digits, scale): (i128, i8), direction: i128) -> Answer {
    let by = 10i128.checked_pow(u32::from(scale.unsigned_abs())).ok_or_else(overflow)?;
    let (whole, rest) = (digits / by, digits % by);
    Ok(Out::Decimal(if rest.signum() == direction { whole + direction } else { whole }))
}

fn round_double(v: &[Value<'_>]) -> Answer {
    round_places(v[0].double(), v[1].int())
}

/// Rounds a DOUBLE as the DECIMAL of its first 15 digits would be rounded.
fn round_places(x: f64, places: i64) -> Answer {
    if !x.is_finite() || x == 0.0 || places > 300 {
        return Ok(x.into());
    }
    // The 15 digits of the number end before this place: rounding changes nothing.
    let exponent = x.abs().log10().floor() as i64;
    if places > 16 - exponent {
        return Ok(x.into());
    }
    if places < -exponent - 1 {
        return Ok(Out::Double(0.0));
    }
    // The digits before the place form a whole number of at most 17 digits, rounded exactly.
    let text = format!("{x:.14e}");
    let (mantissa, power) = text.split_once('e').unwrap_or((&text, "0"));
    let power: i64 = power.parse().unwrap_or(0);
    let digits = parse(&format!("{mantissa}e{}", power + places), 0)?;
    format!("{digits}e{}", -places).parse().map(Out::Double).map_err(|_| overflow())
}

fn integer_remainder(v: &[Value<'_>]) -> Answer {
    match v[1].int() {
        0 => Err("division by zero".to_owned()),
        by => Ok(Out::Int(v[0].int().wrapping_rem(by))),
    }
}

fn power_of(v: &[Value<'_>]) -> Answer {
    checked_power(v[0].double(), v[1].double())
}

fn checked_power(base: f64, exponent: f64) -> Answer {
    if base == 0.0 && exponent < 0.0 {
        return Err("zero raised to a negative power is undefined".to_owned());
    }
    if base < 0.0 && exponent.is_finite() && exponent.fract() != 0.0 {
        return Err("a negative number raised to a non-integer power yields a complex result".to_owned());
    }
    let finite = base.is_finite() && exponent.is_finite();
    check_range(base.powf(exponent), finite, finite && base != 0.0)
}

/// Refuses a number without a square root.
fn check_root(x: f64) -> std::result::Result<(), String> {
    if x < 0.0 { Err("cannot take square root of a negative number".to_owned()) } else { Ok(()) }
}

fn exponential(v: &[Value<'_>]) -> Answer {
    let x = v[0].double();
    check_range(x.exp(), x.is_finite(), x.is_finite())
}

/// Refuses a number without a logarithm.
fn check_logarithm(x: f64) -> std::result::Result<(), String> {
    match x {
        0.0 => Err("cannot take logarithm of zero".to_owned()),
        x if x < 0.0 => Err("cannot take logarithm of a negative number".to_owned()),
        _ => Ok(()),
    }
}

fn checked_logarithm(x: f64, of: impl Fn(f64) -> f64) -> Answer {
    check_logarithm(x)?;
    Ok(of(x).into())
}

fn logarithm_to_base(v: &[Value<'_>]) -> Answer {
    let (base, x) = (v[0].double(), v[1].double());
    check_logarithm(base)?;
    if base == 1.0 {
        return Err("division by zero".to_owned());
    }
    match base {
        2.0 => checked_logarithm(x, f64::log2),
        10.0 => checked_logarithm(x, f64::log10),
        base => checked_logarithm(x, |x| x.ln() / base.ln()),
    }
}

fn pi(_: &[Value<'_>]) -> Answer {
    Ok(Out::Double(std::f64::consts::PI))
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

fn common_divisor(v: &[Value<'_>]) -> Answer {
    to_bigint(gcd(v[0].int().unsigned_abs(), v[1].int().unsigned_abs()))
}

fn common_multiple(v: &[Value<'_>]) -> Answer {
    let (a, b) = (v[0].int().unsigned_abs(), v[1].int().unsigned_abs());
    if a == 0 || b == 0 {
        return Ok(Out::Int(0));
    }
    to_bigint((a / gcd(a, b)).checked_mul(b).ok_or(BIGINT_RANGE)?)
}

fn factorial(v: &[Value<'_>]) -> Answer {
    match v[0].int() {
        n if n < 0 => Err("factorial of a negative number is undefined".to_owned()),
        n if n > 33 => Err("value overflows numeric format".to_owned()),
        n => Ok(Out::Decimal((1..=i128::from(n)).product())),
    }
}

fn is_nan(v: &[Value<'_>]) -> Answer {
    Ok(Out::Bool(v[0].double().is_nan()))
}

fn is_zero(v: &[Value<'_>]) -> Answer {
    Ok(Out::Bool(v[0].double() == 0.0))
}

/// Returns the first number, or the second where the first is NaN.
fn replace_nan(v: &[Value<'_>]) -> Answer {
    let x = v[0].double();
    Ok(Out::Double(if x.is_nan() { v[1].double() } else { x }))
}

fn invert_bits(v: &[Value<'_>]) -> Answer {
    Ok(Out::Int(!v[0].int()))
}

fn shift_left(v: &[Value<'_>], of: &DataType) -> Answer {
    shift_bits(v, of, i64::wrapping_shl, i32::wrapping_shl)
}

fn shift_right(v: &[Value<'_>], of: &DataType) -> Answer {
    shift_bits(v, of, i64::wrapping_shr, i32::wrapping_shr)
}

/// Shifts the bits of a number within its type: bits shifted out are lost, and the count is taken modulo the
/// width (32 for SMALLINT).
fn shift_bits(
    v: &[Value<'_>],
    of: &DataType,
    long: fn(i64, u32) -> i64,
    short: fn(i32, u32) -> i32,
) -> Answer {
    let Ok(by) = i32::try_from(v[1].int()) else { return Err(INTEGER_RANGE.to_owned()) };
    let by = by as u32;
    Ok(Out::Int(match of {
        DataType::Int16 => i64::from(short(v[0].int() as i32, by) as i16),
        DataType::Int32 => i64::from(short(v[0].int() as i32, by)),
        _ => long(v[0].int(), by),
    }))
}

fn width_bucket(v: &[Value<'_>]) -> Answer {
    let (x, low, high, count) = (v[0].double(), v[1].double(), v[2].double(), v[3].int());
    if count <= 0 {
        return Err("count must be greater than zero".to_owned());
    }
    if x.is_nan() || low.is_nan() || high.is_nan() {
        return Err("operand, lower bound, and upper bound cannot be NaN".to_owned());
    }
    if !low.is_finite() || !high.is_finite() {
        return Err("lower and upper bounds must be finite".to_owned());
    }
    if low == high {
        return Err("lower bound cannot equal upper bound".to_owned());
    }
    let (below, above) = if low < high { (x < low, x >= high) } else { (x > low, x <= high) };
    let bucket = match (below, above) {
        (true, _) => 0,
        (_, true) => count.checked_add(1).ok_or(INTEGER_RANGE)?,
        _ => {
            let share = ((x - low) / (high - low) * count as f64) as i64 + 1;
            share.min(count)
        }
    };
    Ok(Out::Int(bucket))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn double(answer: Answer) -> Option<f64> {
        match answer {
            Ok(Out::Double(x)) => Some(x),
            _ => None,
        }
    }

    #[test]
    fn doubles_round_by_their_digits() {
        let rows = [
            (2.675, 2, 2.68),
            (1.005, 2, 1.01),
            (-1.005, 2, -1.01),
            (123.456, -1, 120.0),
            (123.456, -4, 0.0),
            (950.0, -3, 1000.0),
            (0.1, 20, 0.1),
            (1e300, 2, 1e300),
            (1.5e-10, 9, 0.0),
            (6e-10, 9, 1e-9),
        ];
        for (x, places, expected) in rows {
            assert_eq!(double(round_places(x, places)), Some(expected), "{x} to {places}");
        }
    }

    #[test]
    fn powers_and_logarithms_fail_as_in_postgresql() {
        assert_eq!(double(checked_power(2.0, 10.0)), Some(1024.0));
        assert_eq!(double(checked_power(f64::NAN, 0.0)), Some(1.0));
        for (base, exponent) in [(0.0, -1.0), (-8.0, 0.5), (10.0, 400.0), (10.0, -400.0)] {
            assert_eq!(double(checked_power(base, exponent)), None, "{base} ^ {exponent}");
        }
        assert_eq!(double(checked_logarithm(0.0, f64::ln)), None);
        assert_eq!(double(checked_logarithm(-1.0, f64::ln)), None);
    }

    #[test]
    fn whole_numbers_are_next_to_a_decimal() {
        let whole = |digits: i128, direction: i128| match to_whole((digits, 2), direction) {
            Ok(Out::Decimal(n)) => Some(n),
            _ => None,
        };
        assert_eq!((whole(-150, 1), whole(-150, -1)), (Some(-1), Some(-2)));
        assert_eq!((whole(101, 1), whole(199, -1), whole(200, 1)), (Some(2), Some(1), Some(2)));
    }
}
