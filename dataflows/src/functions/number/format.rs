//! `to_char` and `to_number` over numbers.

use arrow::datatypes::DataType;
use datafusion_common::{Result, ScalarValue, plan_err};

use super::decimal::{overflow, parse, rescale, scale};
use super::pattern::Pattern;
use super::read::read_number;
use super::write::{Plain, lay_out, write_roman};
use crate::functions::eval::own::{Answer, Def, Gives, Kind, constant_text, def, typed};
use crate::functions::eval::print;
use crate::functions::eval::value::{Out, Value};

use Kind::{Decimal, Double, Int, Real, Short, Text};

/// The definitions of these functions; `to_char` over times is joined with that over numbers later.
pub(in crate::functions) const TABLE: &[Def] = &[
    def("to_char", &[Short, Text], Gives::Text, write_short).checked(is_pattern),
    def("to_char", &[Int, Text], Gives::Text, write_long).checked(is_pattern),
    def("to_char", &[Decimal, Text], Gives::Text, write_decimal).checked(is_pattern),
    def("to_char", &[Real, Text], Gives::Text, write_real).checked(is_pattern),
    def("to_char", &[Double, Text], Gives::Text, write_double).checked(is_pattern),
    typed("to_number", &[Text, Text], Gives::With(type_of), to_number).checked(is_pattern),
];

/// Checks a constant pattern.
fn is_pattern(constants: &[Option<&ScalarValue>]) -> std::result::Result<(), String> {
    match constant_text(constants, 1) {
        Some(text) => Pattern::read(text).map(drop),
        None => Ok(()),
    }
}

/// Returns a DECIMAL type with the scale of the pattern.
fn type_of(_: &[DataType], constants: &[Option<&ScalarValue>]) -> Result<DataType> {
    let Some(text) = constant_text(constants, 1) else {
        return plan_err!("to_number needs a constant pattern: its digits make the type of the number");
    };
    match Pattern::read(text) {
        Ok(pattern) => Ok(DataType::Decimal128(38, (pattern.fraction + pattern.shift).min(38) as i8)),
        Err(message) => plan_err!("to_number always fails: {message}"),
    }
}

fn write_short(v: &[Value<'_>]) -> Answer {
    of_integer(v[0].int(), v[1].text(), true)
}

fn write_long(v: &[Value<'_>]) -> Answer {
    of_integer(v[0].int(), v[1].text(), false)
}

fn write_real(v: &[Value<'_>]) -> Answer {
    of_double(v[0].double(), v[1].text(), 6)
}

fn write_double(v: &[Value<'_>]) -> Answer {
    of_double(v[0].double(), v[1].text(), 15)
}

fn of_integer(value: i64, pattern: &str, short: bool) -> Answer {
    let pattern = Pattern::read(pattern)?;
    if pattern.roman {
        return in_roman(&pattern, value).map(Out::from);
    }
    if pattern.scientific {
        return Ok(if short {
            write_scientific(value as f64, pattern.fraction).into()
        } else {
            decimal_scientific((i128::from(value), 0), pattern.fraction)?.into()
        });
    }
    let Some(shifted) = shift_integer(value, pattern.shift, short) else {
        return Err(format!("{} out of range", if short { "integer" } else { "bigint" }));
    };
    let mut text = shifted.to_string();
    if pattern.fraction > 0 {
        text.push('.');
        text.push_str(&"0".repeat(pattern.fraction));
    }
    write_places(&pattern, &text, pattern.fraction)
}

/// Returns an integer times ten to `places`; None beyond its type.
fn shift_integer(value: i64, places: usize, short: bool) -> Option<i64> {
    let shifted = value.checked_mul(10i64.checked_pow(places as u32)?)?;
    (!short || i32::try_from(shifted).is_ok()).then_some(shifted)
}

fn write_decimal(v: &[Value<'_>]) -> Answer {
    let (digits, scale) = v[0].decimal();
    let pattern = Pattern::read(v[1].text())?;
    let from = i32::from(scale);
    if pattern.roman {
        let whole = rescale(digits, from, 0).and_then(|n| i64::try_from(n).ok());
        return in_roman(&pattern, whole.ok_or("integer out of range")?).map(Out::from);
    }
    if pattern.scientific {
        return decimal_scientific((digits, scale), pattern.fraction).map(Out::from);
    }
    let kept = pattern.fraction.min(38);
    let rounded = rescale(digits, from - pattern.shift as i32, kept as i32).ok_or_else(overflow)?;
    let mut text = print::decimal(rounded, kept as i8);
    text.push_str(&"0".repeat(pattern.fraction - kept));
    write_places(&pattern, &text, pattern.fraction)
}

/// Writes a DOUBLE or REAL; `digits` is the number of digits that its type holds exactly.
fn of_double(value: f64, pattern: &str, digits: usize) -> Answer {
    let pattern = Pattern::read(pattern)?;
    if pattern.roman {
        let whole = value.round_ties_even();
        let fits = whole >= f64::from(i32::MIN) && whole <= f64::from(i32::MAX);
        return if fits {
            in_roman(&pattern, whole as i64).map(Out::from)
        } else {
            Err("integer out of range".to_owned())
        };
    }
    if pattern.scientific {
        return Ok(if value.is_finite() {
            write_scientific(value, pattern.fraction).into()
        } else {
            format!(" {}.{}", "#".repeat(pattern.whole), "#".repeat(pattern.fraction + 4)).into()
        });
    }
    let value = value * 10f64.powi(pattern.shift as i32);
    if !value.is_finite() {
        return write_places(&pattern, &print::double(value), pattern.fraction);
    }
    let before = format!("{:.0}", value.abs()).len();
    let fraction = if before >= digits { 0 } else { pattern.fraction.min(digits - before) };
    write_places(&pattern, &format!("{value:.fraction$}"), fraction)
}

fn write_places(pattern: &Pattern, text: &str, fraction: usize) -> Answer {
    lay_out(pattern, Plain::from_text(text), pattern.whole + pattern.shift, fraction).map(Out::Text)
}

fn in_roman(pattern: &Pattern, value: i64) -> std::result::Result<String, String> {
    match i32::try_from(value) {
        Ok(value) => Ok(write_roman(pattern, i64::from(value))),
        Err(_) => Err("integer out of range".to_owned()),
    }
}

/// Writes ` 1.50e+03`.
fn write_scientific(value: f64, fraction: usize) -> String {
    let text = format!("{value:.fraction$e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    with_exponent(mantissa, exponent.parse().unwrap_or(0))
}

fn with_exponent(mantissa: &str, exponent: i32) -> String {
    let blank = if mantissa.starts_with('-') { "" } else { " " };
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{blank}{mantissa}e{sign}{:02}", exponent.abs())
}

fn decimal_scientific((digits, scale): (i128, i8), fraction: usize) -> std::result::Result<String, String> {
    let length = digits.unsigned_abs().checked_ilog10().unwrap_or(0) as i32;
    let exponent = if digits == 0 { 0 } else { length - i32::from(scale) };
    let kept = fraction.min(38);
    let mantissa = rescale(digits, length, kept as i32).ok_or_else(overflow)?;
    let text = format!("{}{}", print::decimal(mantissa, kept as i8), "0".repeat(fraction - kept));
    Ok(with_exponent(&text, exponent))
}

fn to_number(v: &[Value<'_>], of: &DataType) -> Answer {
    let (text, pattern) = (v[0].text(), v[1].text());
    if pattern.is_empty() {
        return Ok(Out::Null);
    }
    let pattern = Pattern::read(pattern)?;
    let digits = read_number(&pattern, text)?;
    parse(&digits, scale(of) - pattern.shift as i8).map(Out::Decimal)
}
