//! Sum of doubles that is exact under addition and removal.
//!
//! A finite double is an integer multiple of 2^-1074 below 2^2098, so a sum of doubles is a big
//! integer. It is held sparsely, as balanced base-2^32 digits around the exponents that occur:
//! balanced digits make the form unique, so equal sums compare equal and the sum of no values is empty.
//! NaN and the infinities are counted separately. The result is rounded once, to nearest even, so it
//! depends only on the set of rows and not on their order, epochs or workers.

use schemas::memory::{HeapBytes, vector_bytes};

/// Half of the digits' base.
const HALF: i64 = 1 << 31;

/// Exact sum of doubles. A digit holds up to 2^31 terms between normalisations; each addition normalises.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct FloatSum {
    /// Digit index of `digits[0]`; digit i weighs 2^(32 i - 1074).
    base: i32,
    /// Balanced digits, each in [-2^31, 2^31); no zero at either end.
    digits: Vec<i64>,
    nan: i64,
    positive: i64,
    negative: i64,
}

impl FloatSum {
    /// Adds `value` `times` times (removes, when negative).
    pub fn add(&mut self, value: f64, times: i64) {
        if value.is_nan() {
            self.nan += times;
        } else if value == f64::INFINITY {
            self.positive += times;
        } else if value == f64::NEG_INFINITY {
            self.negative += times;
        } else if value != 0.0 && times != 0 {
            let (signed, shift) = float_parts(value);
            // |mantissa * part| < 2^85 and the shift within a digit is below 32: the product fits i128.
            let (high, low) = (times >> 32, times & 0xffff_ffff);
            self.add_scaled(signed * low as i128, shift);
            self.add_scaled(signed * high as i128, shift + 32);
        }
    }

    /// Adds a whole number of magnitude below 2^96.
    pub fn add_whole(&mut self, value: i128) {
        self.add_scaled(value, 1074);
    }

    /// Returns true if there are neither NaN nor infinities.
    pub fn is_finite(&self) -> bool {
        self.nan == 0 && self.positive == 0 && self.negative == 0
    }

    /// Returns the index of the first digit, and the digits.
    pub(crate) fn digits(&self) -> (i32, &[i64]) {
        (self.base, &self.digits)
    }

    /// Adds `value * 2^(shift - 1074)`, for a magnitude below 2^96.
    pub(crate) fn add_scaled(&mut self, value: i128, shift: u32) {
        if value == 0 {
            return;
        }
        let mut rest = value << (shift % 32);
        let mut digits = [0i64; 5];
        for digit in &mut digits {
            *digit = balanced_digit(rest);
            rest = (rest - *digit as i128) >> 32;
        }
        self.add_digits((shift / 32) as i32, &digits);
    }

    /// Adds another sum.
    pub fn merge(&mut self, other: &FloatSum) {
        self.nan += other.nan;
        self.positive += other.positive;
        self.negative += other.negative;
        if !other.digits.is_empty() {
            self.add_digits(other.base, &other.digits);
        }
    }

    /// Negates the sum and its counts, so that adding it removes the original.
    pub fn negate(&mut self) {
        let digits: Vec<i64> = std::mem::take(&mut self.digits).iter().map(|digit| -digit).collect();
        let base = std::mem::take(&mut self.base);
        (self.nan, self.positive, self.negative) = (-self.nan, -self.positive, -self.negative);
        if !digits.is_empty() {
            // The digit -2^31 has no balanced opposite and carries.
            self.add_digits(base, &digits);
        }
    }

    /// Adds digits that start at index `base`, and restores the unique form.
    fn add_digits(&mut self, base: i32, digits: &[i64]) {
        if self.digits.is_empty() {
            self.base = base;
        }
        while self.base > base {
            self.digits.insert(0, 0);
            self.base -= 1;
        }
        let start = (base - self.base) as usize;
        if self.digits.len() < start + digits.len() {
            self.digits.resize(start + digits.len(), 0);
        }
        for (held, add) in self.digits[start..].iter_mut().zip(digits) {
            *held += add;
        }
        // Digits below `start` are unchanged and balanced already.
        let mut carry = 0i64;
        for held in &mut self.digits[start..] {
            let total = *held + carry;
            *held = balanced_digit(total as i128);
            carry = (total - *held) >> 32;
        }
        if carry != 0 {
            self.digits.push(carry);
        }
        while self.digits.last() == Some(&0) {
            self.digits.pop();
        }
        let zeros = self.digits.iter().take_while(|d| **d == 0).count();
        self.digits.drain(..zeros);
        self.base = if self.digits.is_empty() { 0 } else { self.base + zeros as i32 };
    }

    /// Returns true if no term remains.
    pub fn is_zero(&self) -> bool {
        self.digits.is_empty() && self.nan == 0 && self.positive == 0 && self.negative == 0
    }

    /// Returns the sum, rounded to nearest even.
    pub fn value(&self) -> f64 {
        if self.nan > 0 || (self.positive > 0 && self.negative > 0) {
            return f64::NAN;
        }
        match (self.positive > 0, self.negative > 0) {
            (true, _) => return f64::INFINITY,
            (_, true) => return f64::NEG_INFINITY,
            _ => {}
        }
        // The sign of the top digit is that of the sum; borrowing makes the other digits non-negative.
        let Some(top) = self.digits.last() else { return 0.0 };
        let sign = if *top < 0 { -1 } else { 1 };
        let mut plain: Vec<i64> = self.digits.iter().map(|d| d * sign).collect();
        for i in 0..plain.len() - 1 {
            if plain[i] < 0 {
                plain[i] += 1 << 32;
                plain[i + 1] -= 1;
            }
        }
        while plain.last() == Some(&0) {
            plain.pop();
        }
        round_digits(&plain, self.base) * sign as f64
    }

    /// Appends the sum's stable form to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        for count in [self.nan, self.positive, self.negative] {
            out.extend_from_slice(&count.to_le_bytes());
        }
        out.extend_from_slice(&self.base.to_le_bytes());
        out.push(self.digits.len() as u8);
        for digit in &self.digits {
            out.extend_from_slice(&digit.to_le_bytes());
        }
    }

    /// Reads the form written by [`FloatSum::write`]; None when the bytes do not fit.
    pub fn read(input: &mut &[u8]) -> Option<FloatSum> {
        let mut sum = FloatSum {
            nan: take_i64(input)?,
            positive: take_i64(input)?,
            negative: take_i64(input)?,
            ..Default::default()
        };
        let (base, rest) = input.split_first_chunk::<4>()?;
        sum.base = i32::from_le_bytes(*base);
        let (len, rest) = rest.split_first()?;
        *input = rest;
        for _ in 0..*len {
            sum.digits.push(take_i64(input)?);
        }
        Some(sum)
    }
}

impl HeapBytes for FloatSum {
    fn heap_bytes(&self) -> usize {
        vector_bytes(&self.digits)
    }
}

/// Reads a little-endian i64 off the front of `input`.
pub(crate) fn take_i64(input: &mut &[u8]) -> Option<i64> {
    let (head, rest) = input.split_first_chunk::<8>()?;
    *input = rest;
    Some(i64::from_le_bytes(*head))
}

/// Splits a finite double into a signed whole number below 2^53 and a shift: the number times 2^(shift -
/// 1074).
pub(crate) fn float_parts(value: f64) -> (i128, u32) {
    let bits = value.to_bits();
    let exponent = ((bits >> 52) & 0x7ff) as u32;
    let fraction = (bits & ((1 << 52) - 1)) as i128;
    let (mantissa, shift) = if exponent == 0 { (fraction, 0) } else { (fraction | 1 << 52, exponent - 1) };
    (if value < 0.0 { -mantissa } else { mantissa }, shift)
}

/// Returns the digit in [-2^31, 2^31) that is congruent to `value` modulo 2^32.
pub(crate) fn balanced_digit(value: i128) -> i64 {
    let low = (value & 0xffff_ffff) as i64;
    if low >= HALF { low - (1 << 32) } else { low }
}

/// Rounds plain base-2^32 digits (the last one positive) at `base` to a double.
fn round_digits(plain: &[i64], base: i32) -> f64 {
    let Some(top) = plain.last() else { return 0.0 };
    let bits = 64 - top.leading_zeros() as i64;
    // Bit positions in units of 2^-1074: the highest bit set, and the lowest that a double of that size
    // holds.
    let highest = 32 * (plain.len() as i64 - 1 + base as i64) + bits - 1;
    let lowest = (highest - 52).max(0);
    let digit = |place: i64| -> u128 {
        let index = place - base as i64;
        if index < 0 || index >= plain.len() as i64 { 0 } else { plain[index as usize] as u128 }
    };
    let place = lowest.div_euclid(32);
    let offset = lowest.rem_euclid(32);
    let window = digit(place) | digit(place + 1) << 32 | digit(place + 2) << 64;
    let mut kept = ((window >> offset) & ((1 << 53) - 1)) as u64;
    // To nearest, ties to even: `half` is the first dropped bit, `sticky` is set by any bit below it.
    if lowest > 0 {
        let below = window & ((1u128 << offset) - 1);
        let half_place = lowest - 1;
        let half = (digit(half_place.div_euclid(32)) >> half_place.rem_euclid(32)) & 1 == 1;
        let under = if offset == 0 { 0 } else { below & ((1u128 << (offset - 1)) - 1) };
        let mut sticky = under != 0;
        let first = if offset == 0 { place - 1 } else { place };
        if offset == 0 {
            sticky |= digit(first) & ((1 << 31) - 1) != 0;
        }
        sticky |= (0..(first - base as i64).max(0)).any(|i| plain[i as usize] != 0);
        if half && (sticky || kept & 1 == 1) {
            kept += 1;
        }
    }
    // The implicit leading bit in `kept` adds one to the exponent; a carry of rounding does so again.
    let bits = ((lowest as u64) << 52) + kept;
    if bits >= 0x7ff << 52 { f64::INFINITY } else { f64::from_bits(bits) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};

    #[test]
    fn removal_is_exact_and_order_does_not_matter() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(7);
        for _ in 0..2000 {
            let n = rng.random_range(1..40);
            let values: Vec<f64> = (0..n)
                .map(|_| {
                    let e: i32 = rng.random_range(-300..300);
                    (rng.random::<f64>() - 0.5) * 10f64.powi(if rng.random::<bool>() { e } else { e / 50 })
                })
                .collect();
            let (mut a, mut b) = (FloatSum::default(), FloatSum::default());
            values.iter().for_each(|v| a.add(*v, 1));
            values.iter().rev().for_each(|v| b.add(*v, 3));
            values.iter().for_each(|v| b.add(*v, -2));
            assert_eq!(a, b);
            let mut bytes = vec![];
            a.write(&mut bytes);
            assert_eq!(FloatSum::read(&mut &bytes[..]), Some(a.clone()));
            values.iter().for_each(|v| a.add(*v, -1));
            assert!(a.is_zero());
        }
    }

    #[test]
    fn one_term_comes_back_unchanged_and_two_round_as_the_machine_does() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(8);
        for _ in 0..200_000 {
            let (x, y) = (f64::from_bits(rng.random()), f64::from_bits(rng.random::<u64>()));
            if !x.is_finite() || !y.is_finite() {
                continue;
            }
            let mut sum = FloatSum::default();
            sum.add(x, 1);
            assert_eq!(sum.value(), x);
            let near = x * (1.0 + rng.random::<f64>());
            for other in [y, near, -near] {
                let mut two = sum.clone();
                two.add(other, 1);
                assert_eq!(two.value(), x + other, "{x:e} + {other:e}");
            }
        }
    }

    #[test]
    fn infinities_and_nan_are_counted() {
        let mut sum = FloatSum::default();
        sum.add(f64::INFINITY, 1);
        sum.add(1.5, 2);
        assert_eq!(sum.value(), f64::INFINITY);
        sum.add(f64::NAN, 1);
        assert!(sum.value().is_nan());
        sum.add(f64::NAN, -1);
        sum.add(f64::INFINITY, -1);
        assert_eq!(sum.value(), 3.0);
    }
}
