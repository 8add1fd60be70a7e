//! Numbers of JSONB: NUMERIC, exactly, as text.
//!
//! The text of a number is its sign, its digits without leading zeros, and as many digits behind the
//! point as it was given: `1.10` and `1.1` are equal and print differently, as in PostgreSQL. An
//! exponent is written out. Nothing here goes through a binary number.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::JsonbError;

/// Digits before the point, at most.
const WHOLE_MAX: usize = 131_072;
/// Digits behind the point, at most.
const FRACTION_MAX: usize = 16_383;
/// Exponents from here on are refused whatever the digits are.
const EXPONENT_MAX: i64 = 1_073_741_823;

/// A number of JSON's grammar as NUMERIC writes it. `room` is how many bytes an exponent may still add.
///
/// # Errors
/// When it has more digits than NUMERIC holds, or than there is room for.
pub fn canonical<'a>(text: &'a str, room: &mut usize) -> Result<Cow<'a, str>, JsonbError> {
    let (negative, unsigned) = split_sign(text);
    let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
        Some(at) => (&unsigned[..at], exponent(&unsigned[at + 1..])?),
        None => (unsigned, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let zero = whole.bytes().chain(fraction.bytes()).all(|digit| digit == b'0');
    if mantissa.len() == unsigned.len() {
        if whole.len() > WHOLE_MAX || fraction.len() > FRACTION_MAX {
            return Err(JsonbError::Number);
        }
        return Ok(Cow::Borrowed(if negative && zero { unsigned } else { text }));
    }
    let scale = i64::try_from(fraction.len()).unwrap_or(i64::MAX).saturating_sub(exponent).max(0);
    let scale = usize::try_from(scale).ok().filter(|s| *s <= FRACTION_MAX).ok_or(JsonbError::Number)?;
    let digits = [whole, fraction].concat();
    let out = if zero { zeros(scale) } else { shifted(&digits, whole.len(), exponent, scale)? };
    *room = room.checked_sub(out.len()).ok_or(JsonbError::Length)?;
    Ok(Cow::Owned(if negative && !zero { format!("-{out}") } else { out }))
}

fn split_sign(text: &str) -> (bool, &str) {
    text.strip_prefix('-').map_or((false, text), |rest| (true, rest))
}

fn exponent(text: &str) -> Result<i64, JsonbError> {
    let found = text.strip_prefix('+').unwrap_or(text).parse::<i64>().map_err(|_| JsonbError::Number)?;
    if found.abs() < EXPONENT_MAX { Ok(found) } else { Err(JsonbError::Number) }
}

fn zeros(scale: usize) -> String {
    if scale == 0 { "0".to_owned() } else { format!("0.{}", "0".repeat(scale)) }
}

/// `digits` with their point moved by an exponent, so many of them behind it. There is one that is not 0.
fn shifted(digits: &str, point: usize, exponent: i64, scale: usize) -> Result<String, JsonbError> {
    let significant = digits.trim_start_matches('0');
    let leading = digits.len() - significant.len();
    // Digits of the significant ones that stand before the point; below zero, zeros behind it.
    let before = i64::try_from(point).unwrap_or(i64::MAX).saturating_add(exponent)
        - i64::try_from(leading).unwrap_or(i64::MAX);
    if before > WHOLE_MAX as i64 {
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
        // What was given has `scale` digits there, by the choice of it.
        out.extend(std::iter::repeat_n('0', scale.saturating_sub(out.len() - start)));
    }
    Ok(out)
}

/// A number without the zeros that end it behind its point.
pub fn normal(text: &str) -> &str {
    if !text.contains('.') {
        return text;
    }
    text.trim_end_matches('0').trim_end_matches('.')
}

/// Which of two numbers is less.
pub fn compare(a: &str, b: &str) -> Ordering {
    let ((a_negative, a), (b_negative, b)) = (split_sign(normal(a)), split_sign(normal(b)));
    match (a_negative, b_negative) {
        (false, false) => magnitude(a, b),
        (true, true) => magnitude(b, a),
        (negative, _) => {
            if negative {
                Ordering::Less
            } else {
                Ordering::Greater
            }
        }
    }
}

fn magnitude(a: &str, b: &str) -> Ordering {
    let (a, a_fraction) = a.split_once('.').unwrap_or((a, ""));
    let (b, b_fraction) = b.split_once('.').unwrap_or((b, ""));
    a.len().cmp(&b.len()).then_with(|| a.cmp(b)).then_with(|| a_fraction.cmp(b_fraction))
}

/// A number with `scale` digits behind its point, rounded half away from zero as NUMERIC is.
pub fn rounded(text: &str, scale: usize) -> String {
    let (negative, unsigned) = split_sign(text);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let mut digits: Vec<u8> = whole.bytes().chain(fraction.bytes().take(scale)).collect();
    digits.resize(whole.len() + scale, b'0');
    if fraction.as_bytes().get(scale).is_some_and(|next| *next >= b'5') {
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
    if negative && digits.iter().any(|digit| *digit != b'0') {
        out.push('-');
    }
    let point = digits.len() - scale;
    out.extend(digits[..point].iter().map(|digit| char::from(*digit)));
    if scale > 0 {
        out.push('.');
        out.extend(digits[point..].iter().map(|digit| char::from(*digit)));
    }
    out
}
