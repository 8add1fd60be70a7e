//! What an aggregate keeps for one key, as a differential diff.
//!
//! [`Accums`] is a vector of accumulators that adds: a row count, and for each accumulable aggregate
//! the number of non-NULL arguments and their exact sum (128-bit integers; decimals unscaled;
//! doubles as [`FloatSum`]). Because it adds, differential's own compaction maintains it, and a
//! correction is one more addition. Compaction and reading copy diffs often and change them seldom, so
//! copies share their accumulators until one changes. The stored form is stable: little-endian, as
//! written below.

use std::sync::Arc;

use differential_dataflow::difference::{IsZero, Semigroup};
use serde::{Deserialize, Serialize};

use super::float_sum::{FloatSum, take};

/// Accumulators of one key.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "(i64, Vec<Acc>)", into = "(i64, Vec<Acc>)")]
pub struct Accums {
    /// Rows.
    pub rows: i64,
    /// One for each accumulable aggregate; None for an index entry, which only counts.
    shared: Option<Arc<[Acc]>>,
}

/// Accumulator of one aggregate.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Acc {
    /// Non-NULL arguments.
    pub n: i64,
    /// Their sum.
    pub sum: Sum,
}

/// An exact sum.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Sum {
    /// Integers and unscaled decimals; stays 0 for counts.
    Int(i128),
    /// Doubles.
    Float(Box<FloatSum>),
}

impl From<(i64, Vec<Acc>)> for Accums {
    fn from((rows, accs): (i64, Vec<Acc>)) -> Accums {
        Accums { rows, shared: (!accs.is_empty()).then(|| accs.into()) }
    }
}

impl From<Accums> for (i64, Vec<Acc>) {
    fn from(accums: Accums) -> (i64, Vec<Acc>) {
        (accums.rows, accums.accs().to_vec())
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
                _ => return None,
            };
            accs.push(Acc { n, sum });
        }
        input.is_empty().then(|| Accums::from((rows, accs)))
    }
}

impl IsZero for Accums {
    fn is_zero(&self) -> bool {
        self.rows == 0
            && self.accs().iter().all(|acc| {
                acc.n == 0
                    && match &acc.sum {
                        Sum::Int(sum) => *sum == 0,
                        Sum::Float(sum) => sum.is_zero(),
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
                // Both sides come from one plan; a mix cannot be built.
                _ => debug_assert!(false, "sums of two kinds"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_form_is_fixed() {
        let mut float = FloatSum::default();
        float.add(1.5, 1);
        let accs = vec![Acc { n: 2, sum: Sum::Int(-7) }, Acc { n: 1, sum: Sum::Float(Box::new(float)) }];
        let accums = Accums::from((3, accs));
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
}
