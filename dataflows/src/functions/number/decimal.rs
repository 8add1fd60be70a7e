//! Arithmetic of DECIMAL: exact, rounded once, half away from zero.
//!
//! A sum, difference, product or remainder keeps all digits. A quotient has four more behind the point than
//! its dividend, and at least six: PostgreSQL chooses by the size of each value, which a column's type
//! cannot. Intermediate results have up to 76 digits; a final result beyond 38 digits is an error of the row.

use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, i256};
use datafusion_common::{Result, plan_err};

use crate::functions::eval::own::{Answer, Def, Gives, Kind, def, typed};
use crate::functions::eval::value::{Out, Value};

use Kind::Decimal;

/// The definitions of the operators, as functions named by their sign, and of related functions.
pub(crate) const TABLE: &[Def] = &[
    typed("+", &[Decimal, Decimal], Gives::By(sum_type), add_values),
    typed("-", &[Decimal, Decimal], Gives::By(sum_type), subtract_values),
    typed("*", &[Decimal, Decimal], Gives::By(product_type), multiply_values),
    typed("/", &[Decimal, Decimal], Gives::By(quotient_type), divide_values),
    typed("%", &[Decimal, Decimal], Gives::By(remainder_type), remainder_of),
    typed("mod", &[Decimal, Decimal], Gives::By(remainder_type), remainder_of),
    def("div", &[Decimal, Decimal], Gives::Decimal(38, 0), whole_quotient),
];

const DIVISION_BY_ZERO: &str = "division by zero";

/// Returns PostgreSQL's error message for a number that does not fit its type.
pub(crate) fn overflow() -> String {
    "numeric field overflow".to_owned()
}

/// Returns the number of digits behind the point of a DECIMAL; 0 for another type.
pub(crate) fn scale(of: &DataType) -> i8 {
    match of {
        DataType::Decimal128(_, scale) => *scale,
        _ => 0,
    }
}

/// Returns precision and scale of two DECIMALs.
fn two_decimals(args: &[DataType]) -> Result<((i32, i32), (i32, i32))> {
    match args {
        [DataType::Decimal128(p1, s1), DataType::Decimal128(p2, s2)] => {
            Ok(((i32::from(*p1), i32::from(*s1)), (i32::from(*p2), i32::from(*s2))))
        }
        _ => plan_err!("DECIMAL arithmetic needs two DECIMALs"),
    }
}

/// Returns a DECIMAL type with `whole` digits before the point and `scale` behind it, limited to 38 digits.
pub(crate) fn decimal_type(whole: i32, scale: i32) -> DataType {
    let most = i32::from(DECIMAL128_MAX_PRECISION);
    let scale = scale.clamp(0, most);
    DataType::Decimal128((whole.max(0) + scale).clamp(1, most) as u8, scale as i8)
}

fn sum_type(args: &[DataType]) -> Result<DataType> {
    let ((p1, s1), (p2, s2)) = two_decimals(args)?;
    Ok(decimal_type((p1 - s1).max(p2 - s2) + 1, s1.max(s2)))
}

fn product_type(args: &[DataType]) -> Result<DataType> {
    let ((p1, s1), (p2, s2)) = two_decimals(args)?;
    Ok(decimal_type(p1 + p2 + 1 - s1 - s2, s1 + s2))
}

fn quotient_type(args: &[DataType]) -> Result<DataType> {
    let ((p1, s1), (_, s2)) = two_decimals(args)?;
    let (whole, wanted) = (p1 - s1 + s2, (s1 + 4).max(6));
    // Digits before the point have priority, but at least six behind it stay.
    let room = (i32::from(DECIMAL128_MAX_PRECISION) - whole).max(6);
    Ok(decimal_type(whole, wanted.min(room)))
}

fn remainder_type(args: &[DataType]) -> Result<DataType> {
    let ((p1, s1), (p2, s2)) = two_decimals(args)?;
    Ok(decimal_type((p1 - s1).min(p2 - s2), s1.max(s2)))
}

/// Returns ten to a power; None beyond 76 digits.
fn power_of_ten(power: u32) -> Option<i256> {
    i256::from_i128(10).checked_pow(power)
}

/// Returns two numbers at the larger of their scales, and that scale.
fn align_scales(v: &[Value<'_>]) -> std::result::Result<(i256, i256, i8), String> {
    let ((a, s1), (b, s2)) = (v[0].decimal(), v[1].decimal());
    let common = s1.max(s2);
    let (a, b) = add_places(a, common - s1).zip(add_places(b, common - s2)).ok_or_else(overflow)?;
    Ok((a, b, common))
}

/// Returns digits with zeros behind them for `places` more places of their scale.
fn add_places(digits: i128, places: i8) -> Option<i256> {
    power_of_ten(u32::from(places.unsigned_abs()))?.checked_mul(i256::from_i128(digits))
}

/// Changes a number of scale `from` to scale `to`, rounded half away from zero.
fn round_to_scale(value: i256, from: i8, to: i8) -> Answer {
    let by = to - from;
    let power = power_of_ten(u32::from(by.unsigned_abs())).ok_or_else(overflow)?;
    let value = if by >= 0 {
        value.checked_mul(power).ok_or_else(overflow)?
    } else {
        half_away(value, power).ok_or_else(overflow)?
    };
    value.to_i128().map(Out::Decimal).ok_or_else(overflow)
}

/// Returns a quotient rounded half away from zero.
fn half_away(value: i256, by: i256) -> Option<i256> {
    let (whole, rest) = (value.checked_div(by)?, value.checked_rem(by)?);
    let rest = rest.checked_abs()?;
    let up = rest >= by.checked_abs()?.checked_sub(rest)?;
    let one = if (value < i256::ZERO) == (by < i256::ZERO) { i256::ONE } else { i256::MINUS_ONE };
    if up { whole.checked_add(one) } else { Some(whole) }
}

fn add_values(v: &[Value<'_>], of: &DataType) -> Answer {
    let (a, b, common) = align_scales(v)?;
    round_to_scale(a.checked_add(b).ok_or_else(overflow)?, common, scale(of))
}

fn subtract_values(v: &[Value<'_>], of: &DataType) -> Answer {
    let (a, b, common) = align_scales(v)?;
    round_to_scale(a.checked_sub(b).ok_or_else(overflow)?, common, scale(of))
}

fn multiply_values(v: &[Value<'_>], of: &DataType) -> Answer {
    let ((a, s1), (b, s2)) = (v[0].decimal(), v[1].decimal());
    let product = i256::from_i128(a).checked_mul(i256::from_i128(b)).ok_or_else(overflow)?;
    let (exact, wanted) = (i32::from(s1) + i32::from(s2), i32::from(scale(of)));
    let power = power_of_ten(exact.abs_diff(wanted)).ok_or_else(overflow)?;
    let rounded = half_away(product, power).ok_or_else(overflow)?;
    rounded.to_i128().map(Out::Decimal).ok_or_else(overflow)
}

fn divide_values(v: &[Value<'_>], of: &DataType) -> Answer {
    let ((a, s1), (b, s2)) = (v[0].decimal(), v[1].decimal());
    divide(a, b, i32::from(scale(of)) + i32::from(s2) - i32::from(s1)).map(Out::Decimal)
}

/// Returns the whole part of a quotient.
fn whole_quotient(v: &[Value<'_>]) -> Answer {
    let (a, b, _) = align_scales(v)?;
    let whole = if b == i256::ZERO { None } else { a.checked_div(b) };
    whole.ok_or(DIVISION_BY_ZERO)?.to_i128().map(Out::Decimal).ok_or_else(overflow)
}

fn remainder_of(v: &[Value<'_>], of: &DataType) -> Answer {
    let (a, b, common) = align_scales(v)?;
    if b == i256::ZERO {
        return Err(DIVISION_BY_ZERO.to_owned());
    }
    round_to_scale(a.checked_rem(b).ok_or_else(overflow)?, common, scale(of))
}

/// Returns `a / b` times ten to `power`, rounded once, half away from zero.
///
/// # Errors
/// Division by zero, and a result beyond 128 bits.
pub(crate) fn divide(a: i128, b: i128, power: i32) -> std::result::Result<i128, String> {
    if b == 0 {
        return Err(DIVISION_BY_ZERO.to_owned());
    }
    let negative = (a < 0) != (b < 0);
    let divisor = i256::from_i128(b).checked_abs().ok_or_else(overflow)?;
    let mut rest = i256::from_i128(a).checked_abs().ok_or_else(overflow)?;
    let (mut whole, mut divisor) = (i256::ZERO, divisor);
    if power < 0 {
        let by = power_of_ten(power.unsigned_abs()).ok_or_else(overflow)?;
        divisor = divisor.checked_mul(by).ok_or_else(overflow)?;
    }
    (whole, rest) = {
        let (q, r) = divide_whole(rest, divisor)?;
        (whole.checked_add(q).ok_or_else(overflow)?, r)
    };
    // One digit at a time, so that no intermediate result has more digits than an operand.
    for _ in 0..power.max(0) {
        let longer = rest.checked_mul(i256::from_i128(10)).ok_or_else(overflow)?;
        let (digit, next) = divide_whole(longer, divisor)?;
        whole = append_digit(whole, digit).ok_or_else(overflow)?;
        rest = next;
    }
    if rest >= divisor.checked_sub(rest).ok_or_else(overflow)? {
        whole = whole.checked_add(i256::ONE).ok_or_else(overflow)?;
    }
    let whole = whole.to_i128().ok_or_else(overflow)?;
    Ok(if negative { -whole } else { whole })
}

/// Returns quotient and remainder.
fn divide_whole(n: i256, by: i256) -> std::result::Result<(i256, i256), String> {
    n.checked_div(by).zip(n.checked_rem(by)).ok_or_else(overflow)
}

/// Returns a number with one more digit at its end; None beyond 128 bits.
fn append_digit(whole: i256, digit: i256) -> Option<i256> {
    let longer = whole.checked_mul(i256::from_i128(10))?.checked_add(digit)?;
    longer.to_i128().is_some().then_some(longer)
}

/// Changes digits of scale `from` to scale `to`, rounded half away from zero; None beyond 128 bits.
pub(crate) fn rescale(digits: i128, from: i32, to: i32) -> Option<i128> {
    if to >= from {
        return digits.checked_mul(10i128.checked_pow((to - from) as u32)?);
    }
    let Some(by) = 10i128.checked_pow((from - to) as u32) else { return Some(0) };
    let (whole, rest) = (digits / by, digits % by);
    let up = rest.abs() >= by - rest.abs();
    Some(if up { whole + digits.signum() } else { whole })
}

/// Parses a number in decimal notation, with or without an exponent, at `scale`.
///
/// # Errors
/// PostgreSQL's messages for text that is not a number, and for a number beyond 128 bits.
pub(crate) fn parse(text: &str, scale: i8) -> std::result::Result<i128, String> {
    let trimmed = text.trim_matches(self::is_space);
    let (negative, body) = match trimmed.strip_prefix(['+', '-']) {
        Some(rest) => (trimmed.starts_with('-'), rest),
        None => (false, trimmed),
    };
    let lower = body.to_ascii_lowercase();
    if ["nan", "inf", "infinity"].contains(&lower.as_str()) {
        return Err(format!("a DECIMAL cannot be {trimmed}"));
    }
    let (mantissa, exponent) = match body.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => {
            let Ok(exponent) = exponent.parse::<i32>() else { return Err(invalid_number(text)) };
            (mantissa, exponent)
        }
        None => (body, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = [whole, fraction].concat();
    if digits.is_empty() || !digits.as_bytes().iter().all(u8::is_ascii_digit) {
        return Err(invalid_number(text));
    }
    let point = whole.len() as i64 + i64::from(exponent);
    let value = digits_at_scale(digits.as_bytes(), point, scale).ok_or_else(overflow)?;
    Ok(if negative { -value } else { value })
}

fn invalid_number(text: &str) -> String {
    format!("invalid input syntax for type numeric: \"{text}\"")
}

/// Returns the number 0.`digits` times ten to `point`, at `scale`, rounded half away from zero; None beyond
/// 128 bits.
fn digits_at_scale(digits: &[u8], point: i64, scale: i8) -> Option<i128> {
    let zeros = digits.iter().take_while(|d| **d == b'0').count();
    let (digits, point) = (&digits[zeros..], point - zeros as i64);
    let kept = point + i64::from(scale);
    if digits.is_empty() || kept < 0 {
        return Some(0);
    }
    if kept > 39 {
        return None;
    }
    let kept = kept as usize;
    let mut value = 0i128;
    for at in 0..kept {
        value = value.checked_mul(10)?.checked_add(digit_at(digits, at))?;
    }
    if digit_at(digits, kept) >= 5 { value.checked_add(1) } else { Some(value) }
}

/// Returns the digit at a place; 0 behind the last.
fn digit_at(digits: &[u8], at: usize) -> i128 {
    digits.get(at).map_or(0, |d| i128::from(d - b'0'))
}

/// Returns true for the white space that may stand around a value in text.
pub(in crate::functions) fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\u{b}' | '\u{c}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotients_are_rounded_once() {
        assert_eq!(divide(90, 3, 4), Ok(300_000));
        assert_eq!(divide(2, 3, 4), Ok(6667));
        assert_eq!(divide(-2, 3, 4), Ok(-6667));
        assert_eq!(divide(5, 2, 0), Ok(3));
        assert_eq!(divide(-5, 2, 0), Ok(-3));
        assert_eq!(divide(12345, 1, -2), Ok(123));
        let nines = 10i128.pow(38) - 1;
        assert_eq!(divide(nines, 1, 0), Ok(nines));
        assert_eq!(divide(nines, 1, 2), Err(overflow()));
        assert_eq!(divide(1, nines, 38), Ok(1));
        assert!(divide(1, 0, 2).is_err());
    }

    #[test]
    fn numbers_are_read_as_in_postgresql() {
        let rows = [
            ("12", 2, Ok(1200)),
            (" .5 ", 2, Ok(50)),
            ("5.", 0, Ok(5)),
            ("-1e3", 2, Ok(-100_000)),
            ("1.005", 2, Ok(101)),
            ("0.0049", 2, Ok(0)),
            ("9.995e-1", 2, Ok(100)),
            ("1e-400", 2, Ok(0)),
        ];
        for (text, scale, expected) in rows {
            assert_eq!(parse(text, scale), expected, "{text}");
        }
        for wrong in ["", "x", "1x", "0x1F", "1e", ".", "1_0", "NaN", "infinity", "1e40"] {
            assert!(parse(wrong, 0).is_err(), "{wrong}");
        }
    }

    #[test]
    fn scales_change_half_away_from_zero() {
        assert_eq!(rescale(125, 2, 1), Some(13));
        assert_eq!(rescale(-125, 2, 1), Some(-13));
        assert_eq!(rescale(124, 2, 1), Some(12));
        assert_eq!(rescale(1, 0, 38), Some(10i128.pow(38)));
        assert_eq!(rescale(17, 0, 38), None);
        assert_eq!(rescale(17, 76, 0), Some(0));
    }
}
