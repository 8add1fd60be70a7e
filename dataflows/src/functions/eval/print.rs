//! Values as text, as PostgreSQL prints them: `1e+20`, `0.1`, `{1,NULL,"a b"}`.
//!
//! Floating-point numbers are written with the fewest digits that read back as the same number, in plain form
//! where the exponent is small. Casts to VARCHAR, `||`, `concat` and `format` all print by this module.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int64Type, Time64MicrosecondType,
    TimeUnit, TimestampMicrosecondType,
};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion_common::Result;

use schemas::types::float::{shortest_double, shortest_real};

use super::value::as_type;

/// Returns the text of row `row`; None for NULL.
///
/// # Errors
/// For a type that cannot be printed.
pub(crate) fn text(array: &ArrayRef, row: usize) -> Result<Option<String>> {
    if array.is_null(row) || array.data_type().is_null() {
        return Ok(None);
    }
    Ok(Some(match array.data_type() {
        DataType::Utf8 => array.as_string::<i32>().value(row).to_owned(),
        DataType::Boolean => array.as_boolean().value(row).to_string(),
        t if t.is_integer() => {
            as_type(&array.slice(row, 1), &DataType::Int64)?.as_primitive::<Int64Type>().value(0).to_string()
        }
        DataType::Float32 => real(array.as_primitive::<Float32Type>().value(row)),
        DataType::Float64 => double(array.as_primitive::<Float64Type>().value(row)),
        DataType::Decimal128(_, scale) => decimal(array.as_primitive::<Decimal128Type>().value(row), *scale),
        DataType::Binary => bytes(array.as_binary::<i32>().value(row)),
        DataType::FixedSizeBinary(16) => schemas::types::uuid::text(array.as_fixed_size_binary().value(row)),
        DataType::Date32 => date_text(i64::from(array.as_primitive::<Date32Type>().value(row))),
        DataType::Time64(TimeUnit::Microsecond) => {
            time_text(array.as_primitive::<Time64MicrosecondType>().value(row))
        }
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            let zone = if zone.is_some() { "+00" } else { "" };
            timestamp_text(array.as_primitive::<TimestampMicrosecondType>().value(row), zone)
        }
        DataType::List(_) => list_text(&array.as_list::<i32>().value(row))?,
        _ => ArrayFormatter::try_new(array.as_ref(), &FormatOptions::default())?.value(row).to_string(),
    }))
}

/// Returns the text of row `row` with a BOOLEAN as `t` or `f`, as functions over any type print it.
///
/// # Errors
/// As [`text`].
pub(crate) fn output(array: &ArrayRef, row: usize) -> Result<Option<String>> {
    match array.data_type() {
        DataType::Boolean if !array.is_null(row) => {
            Ok(Some(if array.as_boolean().value(row) { "t" } else { "f" }.to_owned()))
        }
        _ => text(array, row),
    }
}

/// Prints a DOUBLE.
pub fn double(value: f64) -> String {
    special_value(value).unwrap_or_else(|| laid_out(&shortest_double(value), 15))
}

/// Prints a REAL.
pub fn real(value: f32) -> String {
    special_value(f64::from(value)).unwrap_or_else(|| laid_out(&shortest_real(value), 6))
}

fn special_value(value: f64) -> Option<String> {
    match value {
        v if v.is_nan() => Some("NaN".to_owned()),
        f64::INFINITY => Some("Infinity".to_owned()),
        f64::NEG_INFINITY => Some("-Infinity".to_owned()),
        _ => None,
    }
}

/// Writes `1.25e3` as `1250`, or with its exponent where that is below -4 or at least `limit`.
fn laid_out(scientific: &str, limit: i32) -> String {
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if !(-4..limit).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:02}", exponent.abs());
    }
    let (sign, mantissa) = match mantissa.strip_prefix('-') {
        Some(mantissa) => ("-", mantissa),
        None => ("", mantissa),
    };
    let digits = mantissa.replace('.', "");
    if exponent < 0 {
        let zeros = "0".repeat(exponent.unsigned_abs() as usize - 1);
        return format!("{sign}0.{zeros}{digits}");
    }
    let whole = exponent as usize + 1;
    if digits.len() > whole {
        format!("{sign}{}.{}", &digits[..whole], &digits[whole..])
    } else {
        format!("{sign}{digits}{}", "0".repeat(whole - digits.len()))
    }
}

/// Prints a DECIMAL; a negative scale adds zeros before the point.
pub(crate) fn decimal(digits: i128, scale: i8) -> String {
    let sign = if digits < 0 { "-" } else { "" };
    let text = digits.unsigned_abs().to_string();
    let Ok(places) = usize::try_from(scale) else {
        return format!("{sign}{text}{}", "0".repeat(usize::from(scale.unsigned_abs())));
    };
    if places == 0 {
        return format!("{sign}{text}");
    }
    let text = format!("{text:0>width$}", width = places + 1);
    let (whole, fraction) = text.split_at(text.len() - places);
    format!("{sign}{whole}.{fraction}")
}

/// Prints a BYTEA.
pub(crate) fn bytes(value: &[u8]) -> String {
    format!("\\x{}", hex(value))
}

/// Writes bytes as hexadecimal digits.
pub(crate) fn hex(value: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(2 * value.len());
    for byte in value {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

fn list_text(items: &ArrayRef) -> Result<String> {
    let mut parts = Vec::with_capacity(items.len());
    for row in 0..items.len() {
        parts.push(match output(items, row)? {
            None => "NULL".to_owned(),
            Some(item) if matches!(items.data_type(), DataType::List(_)) || needs_no_quotes(&item) => item,
            Some(item) => format!("\"{}\"", item.replace('\\', "\\\\").replace('"', "\\\"")),
        });
    }
    Ok(format!("{{{}}}", parts.join(",")))
}

/// Returns true if an item of an array is written without quotes.
fn needs_no_quotes(item: &str) -> bool {
    !item.is_empty() && !item.contains(forces_quotes) && !item.eq_ignore_ascii_case("null")
}

fn forces_quotes(c: char) -> bool {
    matches!(c, '{' | '}' | '"' | ',' | '\\') || c.is_ascii_whitespace() || c == '\u{b}'
}

/// Converts days since 1970-01-01 to year, month and day, in eras of 400 years that begin on March 1.
fn civil_date(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

fn date_parts(days: i64) -> (String, &'static str) {
    let (year, month, day) = civil_date(days);
    let (year, era) = if year > 0 { (year, "") } else { (1 - year, " BC") };
    (format!("{year:04}-{month:02}-{day:02}"), era)
}

fn date_text(days: i64) -> String {
    let (text, era) = date_parts(days);
    text + era
}

fn time_text(micros: i64) -> String {
    let (seconds, fraction) = (micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000));
    let text = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    match fraction {
        0 => text,
        fraction => format!("{text}.{}", format!("{fraction:06}").trim_end_matches('0')),
    }
}

fn timestamp_text(micros: i64, zone: &str) -> String {
    const DAY: i64 = 86_400_000_000;
    let (day, era) = date_parts(micros.div_euclid(DAY));
    format!("{day} {}{zone}{era}", time_text(micros.rem_euclid(DAY)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_print_as_in_postgresql() {
        assert_eq!(real(-1.5), "-1.5");
        let doubles = [
            (1e15, "1e+15"),
            (123_456_789_012_345.0, "123456789012345"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (1e20, "1e+20"),
            (-1.5, "-1.5"),
            (100.0, "100"),
            (0.0, "0"),
            (1.234_567_890_123_456e15, "1.234567890123456e+15"),
            (f64::NEG_INFINITY, "-Infinity"),
            (1e-300, "1e-300"),
        ];
        for (value, expected) in doubles {
            assert_eq!(double(value), expected);
        }
        assert_eq!((real(0.1), real(1e6), real(123_456.0)), ("0.1".into(), "1e+06".into(), "123456".into()));
        assert_eq!(
            (decimal(-5, 2), decimal(150, 2), decimal(7, 0)),
            ("-0.05".into(), "1.50".into(), "7".into())
        );
    }

    #[test]
    fn times_print_as_in_postgresql() {
        assert_eq!(timestamp_text(1_709_210_096_120_000, "+00"), "2024-02-29 12:34:56.12+00");
        assert_eq!((date_text(0), date_text(-719_529)), ("1970-01-01".into(), "0002-12-31 BC".into()));
    }
}
