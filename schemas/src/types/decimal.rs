//! Exact conversion of decimal numbers between text, as in JSON, and scaled integers.
//!
//! No floating point is used, so `12.0` is 12, `12.5` is not an integer and `9007199254740993.0` is
//! not rounded. Exponents are supported; numbers of more than 38 digits are not.

use std::io::Write;

/// The treatment of digits beyond the scale.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Excess {
    /// Digits other than zeros are refused.
    Refuse,
    /// The number is rounded towards minus infinity.
    Floor,
}

/// Parses numbers like `-12.50e3` as an integer of units of `10^-scale`.
pub fn parse(text: &[u8], scale: i32, excess: Excess) -> Option<i128> {
    let (negative, text) = match text.split_first()? {
        (b'-', rest) => (true, rest),
        (b'+', rest) => (false, rest),
        _ => (false, text),
    };
    let (mut value, mut places, mut seen, mut exponent) = (0i128, 0i32, false, 0i32);
    let mut zeros = 0i32; // Zeros not yet multiplied in, so that trailing ones cannot overflow.
    let mut point = false;
    for (index, byte) in text.iter().enumerate() {
        match byte {
            b'0' => {
                seen = true;
                places += i32::from(point);
                zeros += i32::from(value != 0);
            }
            b'1'..=b'9' => {
                seen = true;
                places += i32::from(point);
                let shift = 10i128.checked_pow(u32::try_from(zeros + 1).ok()?)?;
                value = value.checked_mul(shift)?.checked_add(i128::from(byte - b'0'))?;
                zeros = 0;
            }
            b'.' if !point => point = true,
            b'e' | b'E' if seen => {
                exponent = std::str::from_utf8(&text[index + 1..]).ok()?.parse().ok()?;
                break;
            }
            _ => return None,
        }
    }
    if !seen {
        return None;
    }
    if value == 0 {
        return Some(0);
    }
    let shift = exponent.checked_sub(places)?.checked_add(zeros)?.checked_add(scale)?;
    rescale(if negative { -value } else { value }, shift, excess)
}

/// Computes `value * 10^shift`; a negative shift drops digits.
pub fn rescale(value: i128, shift: i32, excess: Excess) -> Option<i128> {
    if value == 0 {
        return Some(0);
    }
    if shift >= 0 {
        return value.checked_mul(10i128.checked_pow(shift.unsigned_abs())?);
    }
    // A divisor beyond 128 bits exceeds every value.
    let Some(divisor) = 10i128.checked_pow(shift.unsigned_abs()) else {
        return match excess {
            Excess::Refuse => None,
            Excess::Floor => Some(if value < 0 { -1 } else { 0 }),
        };
    };
    match excess {
        Excess::Refuse => (value % divisor == 0).then(|| value / divisor),
        Excess::Floor => Some(value.div_euclid(divisor)),
    }
}

/// Returns true if a number of `precision` digits can hold the unscaled value.
pub fn fits(value: i128, precision: u8) -> bool {
    10u128.checked_pow(u32::from(precision)).is_none_or(|limit| value.unsigned_abs() < limit)
}

/// Returns the unscaled value if a number of `precision` digits can hold it.
pub(crate) fn within(value: Option<i128>, precision: u8) -> Option<i128> {
    value.filter(|value| fits(*value, precision))
}

/// Appends an unscaled value as text, with exactly `scale` digits after the point.
pub fn write(out: &mut Vec<u8>, value: i128, scale: i8) {
    if value < 0 {
        out.push(b'-');
    }
    let start = out.len();
    // Writing to a Vec cannot fail.
    let _ = write!(out, "{}", value.unsigned_abs());
    match usize::try_from(scale) {
        Ok(0) => {}
        Ok(scale) => {
            let digits = out.len() - start;
            if digits <= scale {
                let missing = scale + 1 - digits;
                out.splice(start..start, std::iter::repeat_n(b'0', missing));
            }
            out.insert(out.len() - scale, b'.');
        }
        Err(_) if value != 0 => out.extend(std::iter::repeat_n(b'0', scale.unsigned_abs().into())),
        Err(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_becomes_scaled_integers() {
        let exact = |text: &str, scale| parse(text.as_bytes(), scale, Excess::Refuse);
        assert_eq!(exact("12.0", 0), Some(12));
        assert_eq!(exact("12.5", 0), None);
        assert_eq!(exact("12.5", 3), Some(12_500));
        assert_eq!(exact("-1.25e2", 0), Some(-125));
        assert_eq!(exact("1e400", 0), None);
        assert_eq!(exact("1e-400", 2), None);
        assert_eq!(exact("0e400", 2), Some(0));
        assert_eq!(exact("0.000", 0), Some(0));
        assert_eq!(exact("1000000000000000000000000000000000000000e-20", 0), Some(10i128.pow(19)));
        assert_eq!(exact("9007199254740993.0", 0), Some(9_007_199_254_740_993));
        assert_eq!(exact(&format!("1.{}", "0".repeat(60)), 0), Some(1));
        for text in ["", "-", ".", "e5", "1x", "1e", "1.2.3", "1e99999999999"] {
            assert_eq!(exact(text, 0), None, "{text}");
        }
        assert_eq!(parse(b"-1.5", 0, Excess::Floor), Some(-2));
        assert_eq!(parse(b"-1e-50", 0, Excess::Floor), Some(-1));
    }

    #[test]
    fn scaled_integers_become_text() {
        let text = |value, scale| {
            let mut out = b"x".to_vec();
            write(&mut out, value, scale);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(text(12_345, 2), "x123.45");
        assert_eq!(text(-5, 3), "x-0.005");
        assert_eq!(text(0, 2), "x0.00");
        assert_eq!(text(7, 0), "x7");
        assert_eq!(text(7, -2), "x700");
        assert!(fits(99, 2) && !fits(-100, 2) && fits(i128::MAX, 39));
    }
}
