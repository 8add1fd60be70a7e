//! Rows of a partition and their ranks, and how far a partition must be read for the first of them.
//!
//! Rows that ORDER BY leaves equal are peers: equal order bytes. `rank` and `dense_rank` are the same
//! for peers; `row_number` goes on in the order of the rows' bytes.

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::Int64Type;

use crate::plan::window::Call;

/// A row of a partition.
pub struct Entry {
    /// Bytes that compare as ORDER BY does.
    pub order: Vec<u8>,
    /// The packed row.
    pub row: Vec<u8>,
    /// How often it is there just before and at the epoch.
    pub counts: [i64; 2],
}

/// Rows of a partition that functions are computed over at once; copies of a row count.
pub const MAX_ROWS: usize = 1 << 27;

/// The rows of one side, each as often as it is there, up to as many as can be; and whether these are all.
pub fn expand(entries: &[Entry], side: usize) -> (Vec<&Entry>, bool) {
    let mut rows = Vec::new();
    for entry in entries {
        let copies = usize::try_from(entry.counts[side]).unwrap_or(usize::MAX);
        if copies > MAX_ROWS - rows.len() {
            return (rows, false);
        }
        rows.extend(std::iter::repeat_n(entry, copies));
    }
    (rows, true)
}

/// How far one side has been read.
#[derive(Default)]
pub struct Ranked {
    rows: u64,
    peers: u64,
    last: Option<Vec<u8>>,
    /// Whether what follows is ranked too high.
    pub done: bool,
}

impl Ranked {
    /// How many of `count` rows of an order are ranked at most `most`.
    pub fn take(&mut self, rank: &Call, most: u64, (order, count): (&[u8], i64)) -> i64 {
        if self.done || count <= 0 {
            return 0;
        }
        let fresh = self.last.as_deref() != Some(order);
        let next = match rank {
            Call::Rank => {
                if fresh {
                    self.rows + 1
                } else {
                    0
                }
            }
            Call::DenseRank => {
                if fresh {
                    self.peers + 1
                } else {
                    0
                }
            }
            Call::RowNumber | Call::Other(_) => self.rows + 1,
        };
        if next > most {
            self.done = true;
            return 0;
        }
        if fresh {
            self.peers += 1;
            self.last = Some(order.to_vec());
        }
        let room = match rank {
            Call::RowNumber => i64::try_from(most - self.rows).unwrap_or(i64::MAX),
            _ => i64::MAX,
        };
        let taken = count.min(room);
        self.rows += taken.unsigned_abs();
        taken
    }
}

/// The rank of every row.
pub fn ranks(call: &Call, rows: &[&Entry]) -> Vec<i64> {
    let (mut rank, mut dense) = (0, 0);
    let mut out = Vec::with_capacity(rows.len());
    for (at, entry) in rows.iter().enumerate() {
        if at == 0 || rows[at - 1].order != entry.order {
            rank = at as i64 + 1;
            dense += 1;
        }
        out.push(match call {
            Call::Rank => rank,
            Call::DenseRank => dense,
            Call::RowNumber | Call::Other(_) => at as i64 + 1,
        });
    }
    out
}

/// How many rows from the first are ranked at most `most`.
pub fn cut(ranks: &ArrayRef, most: u64) -> usize {
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    ranks.as_primitive_opt::<Int64Type>().map_or(0, |ranks| ranks.values().partition_point(|r| *r <= most))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(orders: &[(u8, i64)]) -> Vec<Entry> {
        let entry =
            |(order, count): &(u8, i64)| Entry { order: vec![*order], row: vec![], counts: [*count, 0] };
        orders.iter().map(entry).collect()
    }

    #[test]
    fn peers_share_their_rank() {
        let entries = entries(&[(1, 1), (2, 2), (2, 1), (5, 1)]);
        let rows = expand(&entries, 0).0;
        assert_eq!(ranks(&Call::RowNumber, &rows), [1, 2, 3, 4, 5]);
        assert_eq!(ranks(&Call::Rank, &rows), [1, 2, 2, 2, 5]);
        assert_eq!(ranks(&Call::DenseRank, &rows), [1, 2, 2, 2, 3]);
        assert!(expand(&entries, 1).0.is_empty());
        let many = super::tests::entries(&[(1, 1), (2, i64::MAX)]);
        let (rows, whole) = expand(&many, 0);
        assert_eq!((rows.len(), whole), (1, false));
    }

    #[test]
    fn no_more_is_taken_than_comes_out() {
        for call in [Call::RowNumber, Call::Rank, Call::DenseRank] {
            for most in 0..7 {
                let all = entries(&[(1, 1), (2, 2), (2, 1), (5, 1), (6, 3)]);
                let mut side = Ranked::default();
                let mut taken = entries(&[(1, 1), (2, 2), (2, 1), (5, 1), (6, 3)]);
                for entry in &mut taken {
                    entry.counts[0] = side.take(&call, most, (&entry.order, entry.counts[0]));
                }
                let rows = expand(&all, 0).0;
                let wanted = ranks(&call, &rows).into_iter().filter(|r| *r <= most as i64).count();
                assert_eq!(expand(&taken, 0).0.len(), wanted, "{call:?} {most}");
            }
        }
    }
}
