//! Sum of products of doubles that is exact under addition and removal, and exact differences of such sums.
//!
//! The product of two finite doubles is a whole multiple of 2^-2148. Their sum is held as a
//! [`FloatSum`] holds a sum, with each digit weighing 2^-1074 less. Differences such as
//! `n * sum(x * x) - sum(x) * sum(x)`, in which a sum in doubles loses all its digits, are computed in
//! whole numbers and rounded once; so variance is as exact as its last division. Values that are not finite
//! are not added here: the sums of the factors count them.

use schemas::memory::HeapBytes;

use super::float_sum::{FloatSum, balanced_digit, float_parts};

/// Exact sum of products of two finite doubles.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProductSum(FloatSum);

impl ProductSum {
    /// Adds `x * y` `times` times (removes, when negative), unless one of them is not finite.
    pub fn add(&mut self, x: f64, y: f64, times: i64) {
        if !x.is_finite() || !y.is_finite() {
            return;
        }
        let ((a, to_a), (b, to_b)) = (float_parts(x), float_parts(y));
        // Halves of b are below 2^27 and pieces of times below 2^16, so each term is below 2^96.
        let (high, low) = (b >> 26, b & ((1 << 26) - 1));
        let sign = if times < 0 { -1 } else { 1 };
        let mut left = times.unsigned_abs();
        let mut shift = to_a + to_b;
        while left > 0 {
            let piece = sign * i128::from(left & 0xffff);
            self.0.add_scaled(a * low * piece, shift);
            self.0.add_scaled(a * high * piece, shift + 26);
            left >>= 16;
            shift += 16;
        }
    }

    /// Adds a whole number of magnitude below 2^96.
    pub fn add_whole(&mut self, value: i128) {
        self.0.add_scaled(value, 2148);
    }

    /// Adds another sum.
    pub fn merge(&mut self, other: &ProductSum) {
        self.0.merge(&other.0);
    }

    /// Turns the sum into its opposite.
    pub fn negate(&mut self) {
        self.0.negate();
    }

    /// Returns true if no term remains.
    pub fn is_zero(&self) -> bool {
        self.0.is_zero()
    }

    /// Appends the sum's stable form to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
    }

    /// Reads the form written by [`ProductSum::write`]; None when the bytes do not fit.
    pub fn read(input: &mut &[u8]) -> Option<ProductSum> {
        FloatSum::read(input).map(ProductSum)
    }
}

impl HeapBytes for ProductSum {
    fn heap_bytes(&self) -> usize {
        self.0.heap_bytes()
    }
}

/// Whole multiple of 2^`unit` under construction: base-2^32 digits that are not normalised.
#[derive(Default)]
pub struct WideInteger {
    base: i32,
    digits: Vec<i128>,
    unit: i64,
}

impl WideInteger {
    /// Computes `n * products - x * y`, in units of 2^-2148.
    pub fn spread(n: i64, products: &ProductSum, (x, y): (&FloatSum, &FloatSum)) -> WideInteger {
        let mut out = WideInteger { unit: -2148, ..WideInteger::default() };
        out.add_times(products.0.digits(), (0, &[n]));
        let (base, digits) = y.digits();
        out.add_times(x.digits(), (base, &negated(digits)));
        out
    }

    /// Computes `a * p - b * q`, in units of 2^-3222.
    pub fn cross_difference(
        (a, p): (&FloatSum, &ProductSum),
        (b, q): (&FloatSum, &ProductSum),
    ) -> WideInteger {
        let mut out = WideInteger { unit: -3222, ..WideInteger::default() };
        out.add_times(a.digits(), p.0.digits());
        let (base, digits) = b.digits();
        out.add_times((base, &negated(digits)), q.0.digits());
        out
    }

    /// Adds a product. Digits are below 2^63 on one side and 2^32 on the other, and there are at most a
    /// few hundred, so that a digit of the result stays below 2^104.
    fn add_times(&mut self, (a, left): (i32, &[i64]), (b, right): (i32, &[i64])) {
        if left.is_empty() || right.is_empty() {
            return;
        }
        let base = a + b;
        if self.digits.is_empty() {
            self.base = base;
        }
        let missing = (self.base - base).max(0) as usize;
        self.digits.splice(0..0, std::iter::repeat_n(0, missing));
        self.base = self.base.min(base);
        let start = (base - self.base) as usize;
        self.digits.resize(self.digits.len().max(start + left.len() + right.len()), 0);
        for (i, l) in left.iter().enumerate() {
            for (j, r) in right.iter().enumerate() {
                self.digits[start + i + j] += i128::from(*l) * i128::from(*r);
            }
        }
    }

    /// Returns the value, rounded once.
    pub fn into_scaled(mut self) -> Scaled {
        let mut carry = 0i128;
        let mut digits: Vec<i64> = Vec::with_capacity(self.digits.len() + 4);
        let mut rest = self.digits.drain(..);
        loop {
            let next = rest.next();
            if next.is_none() && carry == 0 {
                break;
            }
            let total = next.unwrap_or(0) + carry;
            digits.push(balanced_digit(total));
            carry = (total - i128::from(balanced_digit(total))) >> 32;
        }
        while digits.last() == Some(&0) {
            digits.pop();
        }
        let Some(top) = digits.last() else { return Scaled { mantissa: 0.0, exponent: 0 } };
        let sign = if *top < 0 { -1 } else { 1 };
        let mut borrow = 0;
        let mut plain: Vec<u128> = Vec::with_capacity(digits.len());
        for digit in &digits {
            let value = digit * sign - borrow;
            borrow = i64::from(value < 0);
            plain.push((value + (borrow << 32)) as u128);
        }
        while plain.last() == Some(&0) {
            plain.pop();
        }
        // Three digits have more bits than a double; the digits below matter only by being zero or not.
        let len = plain.len();
        let at = |back: usize| len.checked_sub(back).map_or(0, |place| plain[place]);
        let window = at(1) << 64 | at(2) << 32 | at(3);
        let more = plain[..len.saturating_sub(3)].iter().any(|digit| *digit != 0);
        let exponent = 32 * (i64::from(self.base) + len as i64 - 3) + self.unit;
        Scaled { mantissa: (window | u128::from(more)) as f64 * sign as f64, exponent }
    }
}

fn negated(digits: &[i64]) -> Vec<i64> {
    digits.iter().map(|digit| -digit).collect()
}

/// Number that may be beyond the range of doubles: `mantissa * 2^exponent`.
#[derive(Clone, Copy, Debug)]
pub struct Scaled {
    mantissa: f64,
    exponent: i64,
}

impl Scaled {
    /// Returns true if the number is zero.
    pub fn is_zero(&self) -> bool {
        self.mantissa == 0.0
    }

    /// Divides by a double that is a whole number.
    pub fn divide_by(self, divisor: f64) -> Scaled {
        Scaled { mantissa: self.mantissa / divisor, ..self }
    }

    /// Divides by another number.
    pub fn divide(self, other: Scaled) -> Scaled {
        Scaled { mantissa: self.mantissa / other.mantissa, exponent: self.exponent - other.exponent }
    }

    /// Multiplies by another number.
    pub fn times(self, other: Scaled) -> Scaled {
        Scaled { mantissa: self.mantissa * other.mantissa, exponent: self.exponent + other.exponent }
    }

    /// Returns the square root.
    pub fn sqrt(self) -> Scaled {
        let odd = self.exponent.rem_euclid(2);
        let mantissa = if odd == 1 { self.mantissa * 2.0 } else { self.mantissa };
        Scaled { mantissa: mantissa.sqrt(), exponent: (self.exponent - odd) / 2 }
    }

    /// Returns the number as a double.
    pub fn value(self) -> f64 {
        let mut value = self.mantissa;
        let mut left = self.exponent;
        // Scaled in steps that neither overflow nor underflow before the last one.
        while left != 0 && value != 0.0 && value.is_finite() {
            let step = left.clamp(-900, 900);
            value *= f64::from_bits(((1023 + step) as u64) << 52);
            left -= step;
        }
        value
    }
}
