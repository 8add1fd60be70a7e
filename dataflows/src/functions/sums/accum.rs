//! Accumulators of a key's aggregates, as a differential diff.
//!
//! [`Accums`] is an additive vector of accumulators: a row count, and for each accumulable aggregate
//! the number of non-NULL arguments and their exact sum (integers in 128 bits; decimals unscaled in
//! 256, since two of 38 digits overflow 128; doubles as [`FloatSum`], products of doubles as
//! [`ProductSum`]). Because it is additive, differential's own compaction maintains it, and a
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

/// Exact sum.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ExactSum {
    /// Integers; stays 0 for counts.
    Int(i128),
    /// Unscaled decimals: below 2^127 each, so 2^63 rows times 2^63 fit.
    Wide(i256),
    /// Doubles.
    Float(Box<FloatSum>),
    /// Products of doubles.
    Products(Box<ProductSum>),
}

impl ExactSum {
    /// Returns a sum of integers or decimals; None for doubles and their products.
    pub fn as_wide(&self) -> Option<i256> {
        match self {
            ExactSum::Int(sum) => Some(i256::from_i128(*sum)),
            ExactSum::Wide(sum) => Some(*sum),
            ExactSum::Float(_) | ExactSum::Products(_) => None,
        }
    }
}

impl HeapBytes for ExactSum {
    fn heap_bytes(&self) -> usize {
        match self {
            ExactSum::Int(_) | ExactSum::Wide(_) => 0,
            ExactSum::Float(sum) => allocated_bytes(size_of::<FloatSum>()) + sum.heap_bytes(),
            ExactSum::Products(sum) => allocated_bytes(size_of::<ProductSum>()) + sum.heap_bytes(),
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
        // The number of accumulators is below 256 by `MAX_AGGREGATES`.
        out.push(self.accs().len() as u8);
        for acc in self.accs() {
            out.extend_from_slice(&acc.n.to_le_bytes());
            match &acc.sum {
                ExactSum::Int(sum) => {
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
                    ExactSum::Int(i128::from_le_bytes(*head))
                }
                1 => ExactSum::Float(Box::new(FloatSum::read(input)?)),
                2 => {
                    let (head, rest) = input.split_first_chunk::<32>()?;
                    *input = rest;
                    ExactSum::Wide(i256::from_le_bytes(*head))
                }
                3 => ExactSum::Products(Box::new(ProductSum::read(input)?)),
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
        self.rows == 0
            && self.accs().iter().all(|acc| {
                acc.n == 0
                    && match &acc.sum {
                        ExactSum::Int(sum) => *sum == 0,
                        ExactSum::Wide(sum) => *sum == i256::ZERO,
                        ExactSum::Float(sum) => sum.is_zero(),
                        ExactSum::Products(sum) => sum.is_zero(),
                    }
            })
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
            match (&mut held.sum, &add.sum) {
                (ExactSum::Int(held), ExactSum::Int(add)) => *held += add,
                (ExactSum::Float(held), ExactSum::Float(add)) => held.merge(add),
                (ExactSum::Products(held), ExactSum::Products(add)) => held.merge(add),
                // States written before decimals had 256 bits hold them as integers.
                (held, add) => match (held.as_wide(), add.as_wide()) {
                    (Some(sum), Some(add)) => *held = ExactSum::Wide(sum.wrapping_add(add)),
                    // Both sides come from one plan; a mix cannot be built.
                    _ => panic!("sums of two kinds: {held:?} and {add:?}"),
                },
            }
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
            match &mut acc.sum {
                ExactSum::Int(sum) => *sum = -*sum,
                ExactSum::Wide(sum) => *sum = sum.wrapping_neg(),
                ExactSum::Float(sum) => sum.negate(),
                ExactSum::Products(sum) => sum.negate(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_away_leaves_nothing() {
        let mut float = FloatSum::default();
        let values = [1.5, -3e300, 5e-324, 2147483648.0, f64::NAN, f64::INFINITY];
        values.iter().for_each(|v| float.add(*v, 3));
        let sums = [ExactSum::Int(-7), ExactSum::Wide(i256::from_i128(9)), ExactSum::Float(Box::new(float))];
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
    fn decimals_of_38_digits_add_up() {
        let most = 10i128.pow(38) - 1;
        let one = |sum| Accums::new(1, [Acc { n: 1, sum }].into_iter());
        let wide = ExactSum::Wide(i256::from_i128(most));
        // The first as an older state holds it.
        let mut total = one(ExactSum::Int(most));
        total.plus_equals(&one(wide.clone()));
        let sum = i256::from_i128(most).wrapping_add(i256::from_i128(most));
        assert_eq!(total.accs()[0].sum, ExactSum::Wide(sum));
        assert_eq!(Accums::from_bytes(&total.to_bytes()), Some(total.clone()));
        total.plus_equals(&Accums::new(
            -2,
            [Acc { n: -2, sum: ExactSum::Wide(sum.wrapping_neg()) }].into_iter(),
        ));
        assert!(total.is_zero());
    }
}
