//! The shortest text of a REAL or DOUBLE, digit for digit PostgreSQL's.
//!
//! Both Rust and PostgreSQL (Ryu) print the fewest digits that are read as the value again, the nearest text of that length.
//! They differ in two corners. Between two texts that are equally near, PostgreSQL takes the one whose last digit is even. And
//! a text that lies just halfway to the next value, which is read as the value only because ties go to even, is none for
//! PostgreSQL: it prints a digit more.

use std::fmt::LowerExp;
use std::str::FromStr;

/// Prints a finite DOUBLE as `-1.25e3`.
pub fn shortest_double(value: f64) -> String {
    // A DOUBLE has at most 767 significant digits.
    shortest(value, 17, 770, value.abs() >= 4_503_599_627_370_496.0)
}

/// Prints a finite REAL as `-1.25e3`.
pub fn shortest_real(value: f32) -> String {
    // A REAL has at most 112 significant digits.
    shortest(value, 9, 115, value.abs() >= 4_194_304.0)
}

/// Prints a value that is read again from `enough` significant digits and has at most `all`. Only a `large` one can have a
/// text of so few digits halfway to its neighbour: the middle is an odd number over a power of two, and each halving adds a
/// digit to its 17 (8 for a REAL), so that it is below 2^52 (2^22) no text of `enough` digits.
fn shortest<T: LowerExp + FromStr + PartialEq + Copy>(
    value: T,
    enough: usize,
    all: usize,
    large: bool,
) -> String {
    let mut text = format!("{value:e}");
    let mut digits = digit_count(&text);
    while large && digits < enough && is_halfway_to_next(value, &text) {
        text = format!("{value:.digits$e}");
        digits += 1;
    }
    even_at_tie(text, digits, |behind| format!("{value:.behind$e}"), all)
}

fn digit_count(text: &str) -> usize {
    mantissa_digits(text).count()
}

fn mantissa_digits(text: &str) -> impl Iterator<Item = u8> {
    text.bytes().take_while(|c| *c != b'e').filter(u8::is_ascii_digit)
}

/// Tells whether a text is read as `value`.
fn reads_as<T: FromStr + PartialEq>(text: &str, value: &T) -> bool {
    text.parse::<T>().is_ok_and(|read| read == *value)
}

/// Tells whether a text, though read as `value`, lies exactly between it and a neighbour: the least change takes it over.
fn is_halfway_to_next<T: FromStr + PartialEq>(value: T, text: &str) -> bool {
    let Some((mantissa, exponent)) = text.split_once('e') else { return false };
    let point = if mantissa.contains('.') { "" } else { "." };
    // Farther from zero, and nearer to it: no text of so few digits is closer to the middle without being it.
    let beyond = format!("{mantissa}{point}{}1e{exponent}", "0".repeat(50));
    if !reads_as(&beyond, &value) {
        return true;
    }
    let Some(less) = decrement(mantissa) else { return false };
    !reads_as(&format!("{less}{point}{}e{exponent}", "9".repeat(50)), &value)
}

/// Takes one from the last digit of a decimal number that is not zero.
fn decrement(mantissa: &str) -> Option<String> {
    let mut bytes = mantissa.as_bytes().to_vec();
    for digit in bytes.iter_mut().rev().filter(|c| c.is_ascii_digit()) {
        if *digit > b'0' {
            *digit -= 1;
            return String::from_utf8(bytes).ok();
        }
        *digit = b'9';
    }
    None
}

/// Makes the last digit even where the value lies halfway between two texts of that length.
fn even_at_tie(mut text: String, digits: usize, exact: impl Fn(usize) -> String, all: usize) -> String {
    let end = text.find('e').unwrap_or(text.len());
    let last = text.as_bytes().get(end.wrapping_sub(1)).copied().unwrap_or(b'0');
    // Half of all texts end in an even digit already, and few of the others have a 5 behind it.
    if last % 2 == 0 || !exact(digits).split('e').next().is_some_and(|longer| longer.ends_with('5')) {
        return text;
    }
    let whole: Vec<u8> = mantissa_digits(&exact(all)).collect();
    let halfway = whole.get(digits) == Some(&b'5') && whole[digits + 1..].iter().all(|digit| *digit == b'0');
    if halfway {
        // The text is that below the value or that above it; the other one is even.
        let even = if whole[digits - 1] == last { last + 1 } else { last - 1 };
        text.replace_range(end - 1..end, char::from(even).encode_utf8(&mut [0; 4]));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each is PostgreSQL's answer.
    #[test]
    fn texts_are_postgresqls() {
        assert_eq!(shortest_real(-9_586_981.0 / 4.0), "-2.3967452e6");
        assert_eq!(shortest_real(104_857_584.0), "1.04857584e8");
        assert_eq!(shortest_double(4_611_686_016_279_904_256.0), "4.6116860162799043e18");
        assert_eq!(shortest_double(0.1), "1e-1");
        assert_eq!(shortest_double(-1.5), "-1.5e0");
        assert_eq!(shortest_double(f64::MIN_POSITIVE), "2.2250738585072014e-308");
        assert_eq!(shortest_double(5e-324), "5e-324");
        assert_eq!(shortest_double(0.0), "0e0");
    }

    /// Below the bound no text lies halfway to a neighbour: random bits, and values of few digits, around it and far below.
    #[test]
    fn only_large_values_have_texts_halfway_to_a_neighbour() {
        let mut bits = 0x2545_f491_4f6c_dd1d_u64;
        for _ in 0..20_000 {
            bits = bits.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            let real = f32::from_bits((bits >> 32) as u32);
            for real in [real, (bits >> 40) as f32 / 4.0, (bits >> 44) as f32 / 8.0] {
                if real.is_finite() && real != 0.0 && real.abs() < 4_194_304.0 {
                    assert!(!is_halfway_to_next(real, &format!("{real:e}")), "{real:e}");
                }
            }
            let double = f64::from_bits(bits);
            for double in [double, (bits >> 11) as f64 / 4.0, (bits >> 14) as f64 / 1024.0] {
                if double.is_finite() && double != 0.0 && double.abs() < 4_503_599_627_370_496.0 {
                    assert!(!is_halfway_to_next(double, &format!("{double:e}")), "{double:e}");
                }
            }
        }
    }

    /// Whatever the value, its text is read as it again, and no shorter one is read as it but from halfway.
    #[test]
    fn texts_are_read_again() {
        let mut bits = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..20_000 {
            bits = bits.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            let double = f64::from_bits(bits);
            if double.is_finite() {
                assert_eq!(shortest_double(double).parse(), Ok(double));
            }
            let real = f32::from_bits((bits >> 32) as u32);
            if real.is_finite() {
                assert_eq!(shortest_real(real).parse(), Ok(real));
            }
        }
    }
}
