//! What an aggregate keeps for one key, as a differential diff.
//!
//! [`Accums`] is a vector of accumulators that adds: a row count, and for each accumulable aggregate
//! the number of non-NULL arguments and their exact sum (integers in 128 bits; decimals unscaled in
//! 256, since two of 38 digits overflow 128; doubles as [`FloatSum`], products of doubles as
//! [`ProductSum`]). Because it adds, differential's own compaction maintains it, and a
//! correction is one more addition. Compaction and reading copy diffs often and change them seldom, so
//! copies share their accumulators until one changes. The stored form is stable: little-endian, as
//! written below.

use std::sync::Arc;

use arrow::datatypes::i256;
use differential_dataflow::difference::{Abelian, IsZero, Monoid, Semigroup};
use serde::{Deserialize, Serialize};

use super::float_sum::{FloatSum, take};
use super::product_sum::ProductSum;

/// Accumulators of one key.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "Vec<u8>", into = "Vec<u8>")]
pub struct Accums {
    /// Rows.
    pub rows: i64,
    /// One for each accumulable aggregate; None for an index entry, which only counts.
    shared: Option<Arc<[Acc]>>,
}

/// Accumulator of one aggregate.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Acc {
    /// Non-NULL arguments.
    pub n: i64,
    /// Their sum.
    pub sum: Sum,
}

/// An exact sum.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sum {
    /// Integers; stays 0 for counts.
    Int(i128),
    /// Unscaled decimals: below 2^127 each, so 2^63 rows times 2^63 fit.
    Wide(i256),
    /// Doubles.
    Float(Box<FloatSum>),
    /// Products of doubles.
    Products(Box<ProductSum>),
}

impl Sum {
    /// A sum of integers or decimals; None for doubles and their products.
    pub fn wide(&self) -> Option<i256> {
        match self {
            Sum::Int(sum) => Some(i256::from_i128(*sum)),
            Sum::Wide(sum) => Some(*sum),
            Sum::Float(_) | Sum::Products(_) => None,
        }
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
    /// `rows` rows and nothing else.
    pub fn count(rows: i64) -> Accums {
        Accums { rows, shared: None }
    }

    /// Rows with their accumulators.
    pub fn new(rows: i64, accs: impl Iterator<Item = Acc>) -> Accums {
        let shared: Arc<[Acc]> = accs.collect();
        Accums { rows, shared: (!shared.is_empty()).then_some(shared) }
    }

    /// The accumulators.
    pub fn accs(&self) -> &[Acc] {
        self.shared.as_deref().unwrap_or_default()
    }

    /// The accumulators, to be changed.
    pub fn accs_mut(&mut self) -> &mut [Acc] {
        self.shared.as_mut().map(Arc::make_mut).unwrap_or_default()
    }

    /// The stored form.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(9 + self.accs().len() * 25);
        out.extend_from_slice(&self.rows.to_le_bytes());
        out.push(self.accs().len() as u8);
        for acc in self.accs() {
            out.extend_from_slice(&acc.n.to_le_bytes());
            match &acc.sum {
                Sum::Int(sum) => {
                    out.push(0);
                    out.extend_from_slice(&sum.to_le_bytes());
                }
                Sum::Float(sum) => {
                    out.push(1);
                    sum.write(&mut out);
                }
                Sum::Wide(sum) => {
                    out.push(2);
                    out.extend_from_slice(&sum.to_le_bytes());
                }
                Sum::Products(sum) => {
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
        let rows = take(input)?;
        let (len, rest) = input.split_first()?;
        *input = rest;
        let mut accs = Vec::with_capacity(*len as usize);
        for _ in 0..*len {
            let n = take(input)?;
            let (tag, rest) = input.split_first()?;
            *input = rest;
            let sum = match tag {
                0 => {
                    let (head, rest) = input.split_first_chunk::<16>()?;
                    *input = rest;
                    Sum::Int(i128::from_le_bytes(*head))
                }
                1 => Sum::Float(Box::new(FloatSum::read(input)?)),
                2 => {
                    let (head, rest) = input.split_first_chunk::<32>()?;
                    *input = rest;
                    Sum::Wide(i256::from_le_bytes(*head))
                }
                3 => Sum::Products(Box::new(ProductSum::read(input)?)),
                _ => return None,
            };
            accs.push(Acc { n, sum });
        }
        input.is_empty().then(|| Accums::new(rows, accs.into_iter()))
    }
}

impl IsZero for Accums {
    fn is_zero(&self) -> bool {
        self.rows == 0
            && self.accs().iter().all(|acc| {
                acc.n == 0
                    && match &acc.sum {
                        Sum::Int(sum) => *sum == 0,
                        Sum::Wide(sum) => *sum == i256::ZERO,
                        Sum::Float(sum) => sum.is_zero(),
                        Sum::Products(sum) => sum.is_zero(),
                    }
            })
    }
}

impl Semigroup for Accums {
    fn plus_equals(&mut self, other: &Accums) {
        self.rows += other.rows;
        if self.shared.is_none() {
            self.shared.clone_from(&other.shared);
            return;
        }
        if other.shared.is_none() {
            return;
        }
        for (held, add) in self.accs_mut().iter_mut().zip(other.accs()) {
            held.n += add.n;
            match (&mut held.sum, &add.sum) {
                (Sum::Int(held), Sum::Int(add)) => *held += add,
                (Sum::Float(held), Sum::Float(add)) => held.merge(add),
                (Sum::Products(held), Sum::Products(add)) => held.merge(add),
                // A state written before decimals were wide holds them as integers.
                (held, add) => match (held.wide(), add.wide()) {
                    (Some(sum), Some(add)) => *held = Sum::Wide(sum.wrapping_add(add)),
                    // Both sides come from one plan; a mix cannot be built.
                    _ => debug_assert!(false, "sums of two kinds"),
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
                Sum::Int(sum) => *sum = -*sum,
                Sum::Wide(sum) => *sum = sum.wrapping_neg(),
                Sum::Float(sum) => sum.negate(),
                Sum::Products(sum) => sum.negate(),
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
        let sums = [Sum::Int(-7), Sum::Wide(i256::from_i128(9)), Sum::Float(Box::new(float))];
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
        let accs = vec![Acc { n: 2, sum: Sum::Int(-7) }, Acc { n: 1, sum: Sum::Float(Box::new(float)) }];
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
    fn decimals_of_38_digits_add_up() {
        let most = 10i128.pow(38) - 1;
        let one = |sum| Accums::new(1, [Acc { n: 1, sum }].into_iter());
        let wide = Sum::Wide(i256::from_i128(most));
        // The first as a state of before holds it.
        let mut total = one(Sum::Int(most));
        total.plus_equals(&one(wide.clone()));
        let sum = i256::from_i128(most).wrapping_add(i256::from_i128(most));
        assert_eq!(total.accs()[0].sum, Sum::Wide(sum));
        assert_eq!(Accums::from_bytes(&total.to_bytes()), Some(total.clone()));
        total.plus_equals(&Accums::new(-2, [Acc { n: -2, sum: Sum::Wide(sum.wrapping_neg()) }].into_iter()));
        assert!(total.is_zero());
    }
}
