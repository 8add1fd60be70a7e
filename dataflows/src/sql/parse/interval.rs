//! Lengths of time of fixed size: `'1 hour'`, `'90 minutes 30 seconds'`, `'01:30:00'`.
//!
//! Windows, watermarks and retention are constant numbers of microseconds. Months and years are
//! refused because they have no fixed length; a day is 24 hours. Fractions must be whole microseconds.

use datafusion_sql::sqlparser::ast::{self as sql, Expr, Value};

/// Parses a length of time to microseconds.
///
/// # Errors
/// A sentence that names the fault, without its place.
pub fn duration_us(text: &str) -> Result<i64, String> {
    let mut total: i128 = 0;
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(not_a_length(text));
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !(c.is_ascii_digit() || ".:+-".contains(c))).unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        if number.contains(':') {
            let Some(us) = parse_clock(number) else { return Err(not_a_length(text)) };
            total += us;
            rest = after.trim_start();
            continue;
        }
        let after = after.trim_start();
        let letters = after.find(|c: char| !c.is_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        if number == "0" && unit.is_empty() && after.is_empty() {
            return Ok(0);
        }
        let Some(us) = unit_us(unit) else { return Err(unknown_unit(text, unit)) };
        let Some(us) = scale_decimal(number, us) else { return Err(not_a_length(text)) };
        total += us;
        rest = after.trim_start().trim_start_matches(',').trim_start();
    }
    fit_length(total, text)
}

/// Refusal of a text that is no length of time.
fn not_a_length(text: &str) -> String {
    format!("'{text}' is not a length of time")
}

/// Narrows a number of microseconds, or refuses the text that it was read from.
fn fit_length(total: i128, text: &str) -> Result<i64, String> {
    i64::try_from(total).map_err(|_| format!("'{text}' is too long"))
}

/// Evaluates a constant INTERVAL expression to microseconds.
///
/// # Errors
/// A sentence that names the fault, without its place.
pub fn interval_us(expr: &Expr) -> Result<i64, String> {
    match expr {
        Expr::Nested(inner) => interval_us(inner),
        Expr::Interval(interval) => literal_us(interval),
        other => Err(format!("expected a constant INTERVAL, found `{other}`")),
    }
}

fn literal_us(interval: &sql::Interval) -> Result<i64, String> {
    let text = match interval.value.as_ref() {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) | Value::Number(text, _) => text,
            other => return Err(format!("expected a constant INTERVAL, found `INTERVAL {other}`")),
        },
        other => return Err(format!("expected a constant INTERVAL, found `INTERVAL {other}`")),
    };
    if interval.last_field.is_some() {
        return Err(format!("`{interval}` is not supported: write '1 hour 30 minutes'"));
    }
    match &interval.leading_field {
        None => duration_us(text),
        Some(field) => {
            let unit = field.to_string().to_lowercase();
            let Some(us) = unit_us(&unit) else { return Err(unknown_unit(text, &unit)) };
            match scale_decimal(text.trim(), us) {
                Some(total) => fit_length(total, text),
                None => Err(format!("'{text}' is not a number of {unit}")),
            }
        }
    }
}

fn unknown_unit(text: &str, unit: &str) -> String {
    let plural =
        ["month", "months", "mon", "mons", "year", "years", "y", "quarter", "quarters", "decade", "century"];
    if plural.contains(&unit.to_lowercase().as_str()) {
        return format!(
            "'{text}' has no fixed length: a {} may be shorter or longer",
            unit.to_lowercase().trim_end_matches('s')
        );
    }
    not_a_length(text)
}

/// Microseconds of a unit.
fn unit_us(unit: &str) -> Option<i128> {
    Some(match unit.to_lowercase().as_str() {
        "us" | "microsecond" | "microseconds" => 1,
        "ms" | "msec" | "millisecond" | "milliseconds" => 1_000,
        "s" | "sec" | "secs" | "second" | "seconds" => 1_000_000,
        "m" | "min" | "mins" | "minute" | "minutes" => 60_000_000,
        "h" | "hr" | "hrs" | "hour" | "hours" => 3_600_000_000,
        "d" | "day" | "days" => 86_400_000_000,
        "w" | "week" | "weeks" => 604_800_000_000,
        _ => return None,
    })
}

/// Multiplies a decimal number by a unit; None unless the product is a whole number of microseconds.
fn scale_decimal(number: &str, unit: i128) -> Option<i128> {
    let (sign, number) = match number.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, number.strip_prefix('+').unwrap_or(number)),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    // At most 15 + 12 digits, so that the product with a unit fits 128 bits.
    if !has_digits_only(whole)
        || !has_digits_only(fraction)
        || whole.len() + fraction.len() == 0
        || whole.len() > 15
        || fraction.len() > 12
    {
        return None;
    }
    let denominator = 10i128.pow(u32::try_from(fraction.len()).ok()?);
    let numerator = format!("{whole}{fraction}").parse::<i128>().ok()?.checked_mul(unit)?;
    (numerator % denominator == 0).then_some(sign * numerator / denominator)
}

/// Tells whether each character is a digit.
fn has_digits_only(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Parses `HH:MM` or `HH:MM:SS[.ffffff]` to microseconds.
fn parse_clock(text: &str) -> Option<i128> {
    let (sign, text) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text),
    };
    let mut parts = text.split(':');
    let hours = scale_decimal(parts.next()?, 3_600_000_000)?;
    let minutes = scale_decimal(parts.next()?, 60_000_000)?;
    let seconds = match parts.next() {
        Some(seconds) => scale_decimal(seconds, 1_000_000)?,
        None => 0,
    };
    let fits = (0..3_600_000_000).contains(&minutes) && (0..60_000_000).contains(&seconds) && hours >= 0;
    (fits && parts.next().is_none()).then_some(sign * (hours + minutes + seconds))
}

#[cfg(test)]
mod tests {
    use super::duration_us;

    #[test]
    fn lengths() {
        let good = [
            ("1 hour", 3_600_000_000),
            ("90 minutes 30 s", 5_430_000_000),
            ("1 day, 2 hours", 93_600_000_000),
            ("400 days", 34_560_000_000_000),
            ("1.5h", 5_400_000_000),
            ("01:30:00.5", 5_400_500_000),
            ("1 day 00:30", 88_200_000_000),
            ("-5 ms", -5_000),
            ("0", 0),
        ];
        for (text, us) in good {
            assert_eq!(duration_us(text), Ok(us), "{text}");
        }
        let bad = [
            ("1 month", "'1 month' has no fixed length: a month may be shorter or longer"),
            ("2 YEARS", "'2 YEARS' has no fixed length: a year may be shorter or longer"),
            ("1", "'1' is not a length of time"),
            ("", "'' is not a length of time"),
            ("one hour", "'one hour' is not a length of time"),
            ("1.2.3 s", "'1.2.3 s' is not a length of time"),
            ("0.3 us", "'0.3 us' is not a length of time"),
            ("1:99", "'1:99' is not a length of time"),
            ("999999999999 weeks", "'999999999999 weeks' is too long"),
        ];
        for (text, message) in bad {
            assert_eq!(duration_us(text), Err(message.to_owned()), "{text}");
        }
    }
}
