//! Numbers of JSONB: exact NUMERIC values as text.
//!
//! The text of a number is its sign, its digits without leading zeros, and as many digits behind the
//! point as the input had: `1.10` and `1.1` are equal and print differently, as in PostgreSQL. An
//! exponent is expanded. No computation uses binary floating point.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::JsonbError;

/// The greatest number of digits before the point.
const MAX_WHOLE: usize = 131_072;
/// The greatest number of digits behind the point.
const MAX_FRACTION: usize = 16_383;
/// The least exponent that is refused whatever the digits are.
const MAX_EXPONENT: i64 = 1_073_741_823;

/// Converts a number in JSON's grammar to NUMERIC's text. `room` is the number of bytes that expanded
/// exponents may still take.
///
/// # Errors
/// Fails if the number has more digits than NUMERIC allows, or than there is room for.
pub fn canonical<'a>(text: &'a str, room: &mut usize) -> Result<Cow<'a, str>, JsonbError> {
    let (negative, unsigned) = split_sign(text);
    let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
        Some(at) => (&unsigned[..at], parse_exponent(&unsigned[at + 1..])?),
        None => (unsigned, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let zero = whole.bytes().chain(fraction.bytes()).all(|digit| digit == b'0');
    // Without an exponent the text is canonical, except for the sign of zero.
    if mantissa.len() == unsigned.len() {
        if whole.len() > MAX_WHOLE || fraction.len() > MAX_FRACTION {
            return Err(JsonbError::Number);
        }
        return Ok(Cow::Borrowed(if negative && zero { unsigned } else { text }));
    }
    // Digits behind the point once the exponent has moved it.
    let scale = i64::try_from(fraction.len()).unwrap_or(i64::MAX).saturating_sub(exponent).max(0);
    let scale = usize::try_from(scale).ok().filter(|s| *s <= MAX_FRACTION).ok_or(JsonbError::Number)?;
    let digits = [whole, fraction].concat();
    let out = if zero { zero_text(scale) } else { shift_point(&digits, whole.len(), exponent, scale)? };
    *room = room.checked_sub(out.len()).ok_or(JsonbError::Length)?;
    Ok(Cow::Owned(if negative && !zero { format!("-{out}") } else { out }))
}

fn split_sign(text: &str) -> (bool, &str) {
    text.strip_prefix('-').map_or((false, text), |rest| (true, rest))
}

fn parse_exponent(text: &str) -> Result<i64, JsonbError> {
    let found = text.strip_prefix('+').unwrap_or(text).parse::<i64>().map_err(|_| JsonbError::Number)?;
    if found.abs() < MAX_EXPONENT { Ok(found) } else { Err(JsonbError::Number) }
}

fn zero_text(scale: usize) -> String {
    if scale == 0 { "0".to_owned() } else { format!("0.{}", "0".repeat(scale)) }
}

/// Moves the point of `digits` by an exponent, and writes `scale` digits behind it. At least one digit is not
/// 0.
fn shift_point(digits: &str, point: usize, exponent: i64, scale: usize) -> Result<String, JsonbError> {
    let significant = digits.trim_start_matches('0');
    let leading = digits.len() - significant.len();
    // The number of significant digits before the point; if negative, the number of zeros right behind it.
    let before = i64::try_from(point).unwrap_or(i64::MAX).saturating_add(exponent)
        - i64::try_from(leading).unwrap_or(i64::MAX);
    if before > MAX_WHOLE as i64 {
        return Err(JsonbError::Number);
    }
    let mut out = String::new();
    let whole = usize::try_from(before).unwrap_or(0);
    let taken = whole.min(significant.len());
    out.push_str(&significant[..taken]);
    out.extend(std::iter::repeat_n('0', whole - taken));
    if out.is_empty() {
        out.push('0');
    }
    if scale > 0 {
        out.push('.');
        let start = out.len();
        out.extend(std::iter::repeat_n('0', usize::try_from(-before).unwrap_or(0).min(scale)));
        out.push_str(&significant[taken..]);
        // `scale` is at least the number of significant digits behind the point, so zeros fill the rest.
        out.extend(std::iter::repeat_n('0', scale.saturating_sub(out.len() - start)));
    }
    Ok(out)
}

/// Removes the trailing zeros of a number's fraction.
pub fn trim_zeros(text: &str) -> &str {
    if !text.contains('.') {
        return text;
    }
    text.trim_end_matches('0').trim_end_matches('.')
}

/// Compares two numbers.
pub fn compare(a: &str, b: &str) -> Ordering {
    let ((a_negative, a), (b_negative, b)) = (split_sign(trim_zeros(a)), split_sign(trim_zeros(b)));
    match (a_negative, b_negative) {
        (false, false) => compare_magnitude(a, b),
        (true, true) => compare_magnitude(b, a),
        (negative, _) => {
            if negative {
                Ordering::Less
            } else {
                Ordering::Greater
            }
        }
    }
}

fn compare_magnitude(a: &str, b: &str) -> Ordering {
    let (a, a_fraction) = a.split_once('.').unwrap_or((a, ""));
    let (b, b_fraction) = b.split_once('.').unwrap_or((b, ""));
    // Without leading zeros a longer whole part is greater, and digits of equal length compare as text.
    (a.len(), a, a_fraction).cmp(&(b.len(), b, b_fraction))
}

/// Rounds a number to `scale` digits behind its point, half away from zero as NUMERIC does.
pub fn rounded(text: &str, scale: usize) -> String {
    let (negative, unsigned) = split_sign(text);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let mut digits: Vec<u8> = whole.bytes().chain(fraction.bytes().take(scale)).collect();
    digits.resize(whole.len() + scale, b'0');
    if fraction.as_bytes().get(scale).is_some_and(|next| *next >= b'5') {
        // Adds one to the last digit, with the carry.
        let mut at = digits.len();
        loop {
            match at.checked_sub(1) {
                None => {
                    digits.insert(0, b'1');
                    break;
                }
                Some(last) if digits[last] == b'9' => {
                    digits[last] = b'0';
                    at = last;
                }
                Some(last) => {
                    digits[last] += 1;
                    break;
                }
            }
        }
    }
    let mut out = String::with_capacity(digits.len() + 2);
    // Zero has no sign, even if a negative number was rounded to it.
    if negative && digits.iter().any(|digit| *digit != b'0') {
        out.push('-');
    }
    let point = digits.len() - scale;
    out.extend(digits[..point].iter().copied().map(char::from));
    if scale > 0 {
        out.push('.');
        out.extend(digits[point..].iter().copied().map(char::from));
    }
    out
}
