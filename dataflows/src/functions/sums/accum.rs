//! Accumulators of a key's aggregates, as a differential diff.
//!
//! [`Accums`] is an additive vector of accumulators: a row count, and for each accumulable aggregate
//! the number of non-NULL arguments and their exact sum (integers in 64 bits, and in 128 where these are too few;
//! decimals unscaled in 256, since two of 38 digits overflow 128; doubles as [`FloatSum`], products of doubles as
//! [`ProductSum`]), or the least of their packed values. Because it is additive, differential's own compaction maintains it, and a
//! correction is one more addition. Compaction and reads copy diffs often and rarely change them, so
//! copies share their accumulators until one changes. The stored form is stable: little-endian, as
//! written below.

use std::sync::Arc;

use arrow::datatypes::i256;
use differential_dataflow::difference::{Abelian, IsZero, Monoid, Semigroup};
use schemas::memory::{HeapBytes, allocated_bytes};
use serde::{Deserialize, Serialize};

use super::float_sum::{FloatSum, take_i64};
use super::product_sum::ProductSum;

/// Accumulators of one key.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "Vec<u8>", into = "Vec<u8>")]
pub struct Accums {
    /// Rows.
    pub rows: i64,
    /// Accumulators, one for each accumulable aggregate; None for an index entry, which only counts.
    shared: Option<Arc<[Acc]>>,
}

/// Accumulator of one aggregate.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Acc {
    /// Non-NULL arguments.
    pub n: i64,
    /// Sum of the arguments.
    pub sum: ExactSum,
}

/// Exact sum. Sums of one kind that are equal have the same form. The usual one takes 8 bytes: a topology holds one of
/// them for each aggregate and key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ExactSum {
    /// Integers; stays 0 for counts.
    Int(i64),
    /// Integers whose sum does not fit 64 bits.
    BigInt(Box<i128>),
    /// Unscaled decimals: below 2^127 each, so 2^63 rows times 2^63 fit.
    Wide(Box<i256>),
    /// Doubles.
    Float(Box<FloatSum>),
    /// Products of doubles.
    Products(Box<ProductSum>),
    /// No sum, but the least of packed values, if there is one: min, and max over complements, of rows that are never
    /// retracted.
    Least(Option<Box<PackedValue>>),
}

/// Packed value, which sorts as SQL sorts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PackedValue(pub Box<[u8]>);

impl ExactSum {
    /// Creates a sum of integers.
    pub fn of_int(sum: i128) -> ExactSum {
        match i64::try_from(sum) {
            Ok(sum) => ExactSum::Int(sum),
            Err(_) => ExactSum::BigInt(Box::new(sum)),
        }
    }

    /// Creates the least of one packed value; of none from no bytes, which no value has.
    pub fn least_of(packed: &[u8]) -> ExactSum {
        ExactSum::Least((!packed.is_empty()).then(|| Box::new(PackedValue(packed.into()))))
    }

    /// Returns a sum of integers.
    pub fn as_int(&self) -> Option<i128> {
        match self {
            ExactSum::Int(sum) => Some(i128::from(*sum)),
            ExactSum::BigInt(sum) => Some(**sum),
            _ => None,
        }
    }

    /// Returns a sum of integers or decimals; None for doubles and their products.
    pub fn as_wide(&self) -> Option<i256> {
        match self {
            ExactSum::Wide(sum) => Some(**sum),
            _ => self.as_int().map(i256::from_i128),
        }
    }

    /// Adds an integer some times to a sum of integers; does nothing to another.
    pub fn add_int(&mut self, value: i64, times: i64) {
        if let ExactSum::Int(sum) = self
            && let Some(next) = value.checked_mul(times).and_then(|product| sum.checked_add(product))
        {
            *sum = next;
        } else if let Some(sum) = self.as_int() {
            *self = ExactSum::of_int(sum + i128::from(value) * i128::from(times));
        }
    }

    /// Adds a sum of the same kind.
    fn merge(&mut self, other: &ExactSum) {
        match (&mut *self, other) {
            (ExactSum::Float(held), ExactSum::Float(add)) => held.merge(add),
            (ExactSum::Products(held), ExactSum::Products(add)) => held.merge(add),
            (ExactSum::Least(held), ExactSum::Least(add)) => {
                if add.is_some() && (held.is_none() || add < held) {
                    held.clone_from(add);
                }
            }
            (held, ExactSum::Int(add)) if held.as_int().is_some() => held.add_int(*add, 1),
            (held, add) => *held = held.plus(add),
        }
    }

    /// Returns the sum of two sums of integers or decimals.
    fn plus(&self, other: &ExactSum) -> ExactSum {
        if let (Some(held), Some(add)) = (self.as_int(), other.as_int()) {
            return ExactSum::of_int(held + add);
        }
        match (self.as_wide(), other.as_wide()) {
            // States written before decimals had 256 bits hold them as integers.
            (Some(held), Some(add)) => ExactSum::Wide(Box::new(held.wrapping_add(add))),
            // Both sides come from one plan; a mix cannot be built.
            _ => panic!("sums of two kinds: {self:?} and {other:?}"),
        }
    }

    /// Changes the sign; rows of which the least value is kept are never taken back.
    fn negate(&mut self) {
        match self {
            ExactSum::Int(_) | ExactSum::BigInt(_) => {
                *self = ExactSum::of_int(-self.as_int().unwrap_or_default());
            }
            ExactSum::Wide(sum) => **sum = sum.wrapping_neg(),
            ExactSum::Float(sum) => sum.negate(),
            ExactSum::Products(sum) => sum.negate(),
            ExactSum::Least(_) => {}
        }
    }
}

impl IsZero for ExactSum {
    fn is_zero(&self) -> bool {
        match self {
            ExactSum::Int(sum) => *sum == 0,
            // Zero has the other form.
            ExactSum::BigInt(_) => false,
            ExactSum::Wide(sum) => **sum == i256::ZERO,
            ExactSum::Float(sum) => sum.is_zero(),
            ExactSum::Products(sum) => sum.is_zero(),
            ExactSum::Least(value) => value.is_none(),
        }
    }
}

impl HeapBytes for ExactSum {
    fn heap_bytes(&self) -> usize {
        match self {
            ExactSum::Int(_) => 0,
            ExactSum::BigInt(_) => allocated_bytes(size_of::<i128>()),
            ExactSum::Wide(_) => allocated_bytes(size_of::<i256>()),
            ExactSum::Float(sum) => allocated_bytes(size_of::<FloatSum>()) + sum.heap_bytes(),
            ExactSum::Products(sum) => allocated_bytes(size_of::<ProductSum>()) + sum.heap_bytes(),
            ExactSum::Least(None) => 0,
            ExactSum::Least(Some(value)) => {
                allocated_bytes(size_of::<PackedValue>()) + allocated_bytes(value.0.len())
            }
        }
    }
}

impl HeapBytes for Accums {
    /// The bytes of the accumulators, as if no other copy shared them.
    fn heap_bytes(&self) -> usize {
        /// Counts of references in front of shared values.
        const COUNTS_BYTES: usize = 16;
        let Some(shared) = &self.shared else { return 0 };
        let sums: usize = shared.iter().map(|acc| acc.sum.heap_bytes()).sum();
        allocated_bytes(COUNTS_BYTES + size_of_val(&shared[..])) + sums
    }
}

impl TryFrom<Vec<u8>> for Accums {
    type Error = &'static str;

    fn try_from(bytes: Vec<u8>) -> Result<Accums, &'static str> {
        Accums::from_bytes(&bytes).ok_or("these bytes are no accumulators")
    }
}

impl From<Accums> for Vec<u8> {
    fn from(accums: Accums) -> Vec<u8> {
        accums.to_bytes()
    }
}

impl Accums {
    /// Creates a count of `rows` rows without accumulators.
    pub fn of_rows(rows: i64) -> Accums {
        Accums { rows, shared: None }
    }

    /// Creates a count of rows with accumulators.
    pub fn new(rows: i64, accs: impl Iterator<Item = Acc>) -> Accums {
        let shared: Arc<[Acc]> = accs.collect();
        Accums { rows, shared: (!shared.is_empty()).then_some(shared) }
    }

    /// Returns the accumulators.
    pub fn accs(&self) -> &[Acc] {
        self.shared.as_deref().unwrap_or_default()
    }

    /// Returns the accumulators for changing, copied first if they are shared.
    pub fn accs_mut(&mut self) -> &mut [Acc] {
        self.shared.as_mut().map(Arc::make_mut).unwrap_or_default()
    }

    /// Returns the stored form.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(9 + self.accs().len() * 25);
        out.extend_from_slice(&self.rows.to_le_bytes());
        // The number of accumulators is below 256 by `MAX_ACCUMULATORS`.
        out.push(self.accs().len() as u8);
        for acc in self.accs() {
            out.extend_from_slice(&acc.n.to_le_bytes());
            match &acc.sum {
                ExactSum::Int(sum) => {
                    out.push(0);
                    out.extend_from_slice(&i128::from(*sum).to_le_bytes());
                }
                ExactSum::BigInt(sum) => {
                    out.push(0);
                    out.extend_from_slice(&sum.to_le_bytes());
                }
                ExactSum::Float(sum) => {
                    out.push(1);
                    sum.write(&mut out);
                }
                ExactSum::Wide(sum) => {
                    out.push(2);
                    out.extend_from_slice(&sum.to_le_bytes());
                }
                ExactSum::Products(sum) => {
                    out.push(3);
                    sum.write(&mut out);
                }
                ExactSum::Least(value) => {
                    out.push(4);
                    let value = value.as_ref().map_or(&[][..], |value| &value.0);
                    // A record, and so each of its values, is far below 4 GiB.
                    out.extend_from_slice(&(value.len() as u32).to_le_bytes());
                    out.extend_from_slice(value);
                }
            }
        }
        out
    }

    /// Reads the stored form; None when the bytes do not fit.
    pub fn from_bytes(mut input: &[u8]) -> Option<Accums> {
        let input = &mut input;
        let rows = take_i64(input)?;
        let (len, rest) = input.split_first()?;
        *input = rest;
        let mut accs = Vec::with_capacity(*len as usize);
        for _ in 0..*len {
            let n = take_i64(input)?;
            let (tag, rest) = input.split_first()?;
            *input = rest;
            let sum = match tag {
                0 => {
                    let (head, rest) = input.split_first_chunk::<16>()?;
                    *input = rest;
                    ExactSum::of_int(i128::from_le_bytes(*head))
                }
                1 => ExactSum::Float(Box::new(FloatSum::read(input)?)),
                2 => {
                    let (head, rest) = input.split_first_chunk::<32>()?;
                    *input = rest;
                    ExactSum::Wide(Box::new(i256::from_le_bytes(*head)))
                }
                3 => ExactSum::Products(Box::new(ProductSum::read(input)?)),
                4 => {
                    let (len, rest) = input.split_first_chunk::<4>()?;
                    let (value, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
                    *input = rest;
                    ExactSum::least_of(value)
                }
                _ => return None,
            };
            accs.push(Acc { n, sum });
        }
        // Trailing bytes make the form invalid.
        input.is_empty().then(|| Accums::new(rows, accs.into_iter()))
    }
}

impl IsZero for Accums {
    fn is_zero(&self) -> bool {
        self.rows == 0 && self.accs().iter().all(|acc| acc.n == 0 && acc.sum.is_zero())
    }
}

impl Semigroup for Accums {
    fn plus_equals(&mut self, other: &Accums) {
        self.rows += other.rows;
        // An index entry or the default takes over the other's accumulators without copying.
        if self.shared.is_none() {
            self.shared.clone_from(&other.shared);
            return;
        }
        if other.shared.is_none() {
            return;
        }
        // Both vectors are made from one template, so positions agree.
        assert_eq!(self.accs().len(), other.accs().len(), "accumulators of two templates");
        for (held, add) in self.accs_mut().iter_mut().zip(other.accs()) {
            held.n += add.n;
            held.sum.merge(&add.sum);
        }
    }
}

impl Monoid for Accums {
    fn zero() -> Accums {
        Accums::default()
    }
}

impl Abelian for Accums {
    fn negate(&mut self) {
        self.rows = -self.rows;
        for acc in self.accs_mut() {
            acc.n = -acc.n;
            acc.sum.negate();
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};

    use super::*;

    #[test]
    fn what_is_taken_away_leaves_nothing() {
        let mut float = FloatSum::default();
        let values = [1.5, -3e300, 5e-324, 2147483648.0, f64::NAN, f64::INFINITY];
        values.iter().for_each(|v| float.add(*v, 3));
        let sums = [
            ExactSum::Int(-7),
            ExactSum::Wide(Box::new(i256::from_i128(9))),
            ExactSum::Float(Box::new(float)),
        ];
        let mut total = Accums::new(3, sums.into_iter().map(|sum| Acc { n: 2, sum }));
        let mut less = total.clone();
        less.negate();
        assert!(!less.is_zero());
        total.plus_equals(&less);
        assert!(total.is_zero());
    }

    #[test]
    fn stored_form_is_fixed() {
        let mut float = FloatSum::default();
        float.add(1.5, 1);
        let accs =
            vec![Acc { n: 2, sum: ExactSum::Int(-7) }, Acc { n: 1, sum: ExactSum::Float(Box::new(float)) }];
        let accums = Accums::new(3, accs.into_iter());
        let bytes = accums.to_bytes();
        let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(
            hex,
            "030000000000000002020000000000000000f9ffffffffffffffffffffffffffffff010000000000000001\
             00000000000000000000000000000000000000000000000021000000010000060000000000"
                .replace(' ', "")
        );
        assert_eq!(Accums::from_bytes(&bytes), Some(accums));
        assert_eq!(Accums::from_bytes(&bytes[1..]), None);
    }

    #[test]
    fn memory_of_accumulators_is_counted_with_their_digits() {
        assert_eq!(Accums::of_rows(3).heap_bytes(), 0);
        let whole = || Acc { n: 1, sum: ExactSum::Int(7) };
        let counts = Accums::new(1, [whole(), whole()].into_iter()).heap_bytes();
        assert_eq!(counts, allocated_bytes(16 + 2 * size_of::<Acc>()));
        let mut float = FloatSum::default();
        float.add(1.5, 1);
        let exact = Acc { n: 1, sum: ExactSum::Float(Box::new(float)) };
        let floats = Accums::new(1, [whole(), exact].into_iter()).heap_bytes();
        assert!(floats > counts + size_of::<FloatSum>(), "{floats}");
    }

    #[test]
    fn the_least_value_wins_in_any_order() {
        let one = |packed: &[u8], n| Accums::new(n, [Acc { n, sum: ExactSum::least_of(packed) }].into_iter());
        let values: [&[u8]; 4] = [&[1, 7], &[1, 3, 9], &[], &[1, 3]];
        for first in 0..values.len() {
            let mut total = one(&[], 0);
            for at in 0..values.len() {
                total.plus_equals(&one(values[(first + at) % values.len()], 1));
            }
            assert_eq!(total, one(&[1, 3], 4));
            assert_eq!(Accums::from_bytes(&total.to_bytes()), Some(total.clone()));
            assert_eq!(Accums::from_bytes(&total.to_bytes()[..18]), None);
        }
        assert!(one(&[], 0).is_zero() && !one(&[1], 1).is_zero());
        assert_eq!(Accums::from_bytes(&one(&[], 1).to_bytes()), Some(one(&[], 1)));
        let heap = one(&[1; 9], 1).heap_bytes() - one(&[], 0).heap_bytes();
        assert_eq!(heap, allocated_bytes(size_of::<PackedValue>()) + allocated_bytes(9));
    }

    #[test]
    fn decimals_of_38_digits_add_up() {
        let most = 10i128.pow(38) - 1;
        let one = |sum| Accums::new(1, [Acc { n: 1, sum }].into_iter());
        let wide = ExactSum::Wide(Box::new(i256::from_i128(most)));
        // The first as an older state holds it.
        let mut total = one(ExactSum::of_int(most));
        total.plus_equals(&one(wide.clone()));
        let sum = i256::from_i128(most).wrapping_add(i256::from_i128(most));
        assert_eq!(total.accs()[0].sum, ExactSum::Wide(Box::new(sum)));
        assert_eq!(Accums::from_bytes(&total.to_bytes()), Some(total.clone()));
        total.plus_equals(&Accums::new(
            -2,
            [Acc { n: -2, sum: ExactSum::Wide(Box::new(sum.wrapping_neg())) }].into_iter(),
        ));
        assert!(total.is_zero());
    }

    #[test]
    fn integers_are_summed_beyond_64_bits_and_back() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(5);
        let most = [i64::MAX, i64::MIN, 1, -1, 0];
        for _ in 0..1000 {
            let (mut held, mut other, mut sum) = (ExactSum::Int(0), ExactSum::Int(0), 0i128);
            for at in 0..12 {
                let (value, times) = (most[rng.random_range(0..5)], rng.random_range(-3..4i64));
                sum += i128::from(value) * i128::from(times);
                if at % 2 == 0 { &mut held } else { &mut other }.add_int(value, times);
            }
            held.merge(&other);
            assert_eq!(held, ExactSum::of_int(sum), "one form for each sum");
            let stored = Accums::new(1, [Acc { n: 1, sum: held.clone() }].into_iter());
            assert_eq!(Accums::from_bytes(&stored.to_bytes()), Some(stored));
            other = held.clone();
            other.negate();
            held.merge(&other);
            assert!(held.is_zero(), "{held:?}");
        }
        assert_eq!(size_of::<Acc>(), 24, "memory of a key");
    }
}
