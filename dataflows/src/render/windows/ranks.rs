//! Rows of a partition and their ranks, and the limit up to which a partition is read for its first rows.
//!
//! Rows equal by ORDER BY are peers: they have equal order bytes. `rank` and `dense_rank` are the same
//! for peers; `row_number` continues in the order of the rows' bytes.

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::Int64Type;

use crate::plan::window::Call;

/// Row of a partition.
pub struct PartitionRow {
    /// Bytes that compare as ORDER BY does.
    pub order: Vec<u8>,
    /// Packed row.
    pub row: Vec<u8>,
    /// Multiplicity just before and at the epoch.
    pub counts: [i64; 2],
}

/// Maximum number of rows of a partition that functions are computed over, including copies of a row.
pub const MAX_ROWS: usize = 1 << 27;

/// Returns the rows of one state, each with its copies, up to [`MAX_ROWS`]; and true if these are all.
pub fn expand_rows(entries: &[PartitionRow], side: usize) -> (Vec<&PartitionRow>, bool) {
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

/// Progress of reading one state of a partition.
#[derive(Default)]
pub struct Ranked {
    rows: u64,
    peers: u64,
    last: Option<Vec<u8>>,
    /// Set when all further rows are ranked too high.
    pub done: bool,
}

impl Ranked {
    /// Returns the number of rows, out of `count` rows of equal order, that are ranked at most `most`.
    pub fn take_ranked(&mut self, rank: &Call, most: u64, (order, count): (&[u8], i64)) -> i64 {
        if self.done || count <= 0 {
            return 0;
        }
        let fresh = self.last.as_deref() != Some(order);
        // A peer of the last row has that row's rank, which was not too high.
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
        // Copies have increasing row numbers but the same rank.
        let room = match rank {
            Call::RowNumber => i64::try_from(most - self.rows).unwrap_or(i64::MAX),
            _ => i64::MAX,
        };
        let taken = count.min(room);
        self.rows += taken.unsigned_abs();
        taken
    }
}

/// Returns the rank of every row.
pub fn compute_ranks(call: &Call, rows: &[&PartitionRow]) -> Vec<i64> {
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

/// Returns the number of leading rows that are ranked at most `most`.
pub fn count_ranked(ranks: &ArrayRef, most: u64) -> usize {
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let Some(ranks) = ranks.as_primitive_opt::<Int64Type>() else { return 0 };
    ranks.values().partition_point(|rank| *rank <= most)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(orders: &[(u8, i64)]) -> Vec<PartitionRow> {
        let entry = |(order, count): &(u8, i64)| PartitionRow {
            order: vec![*order],
            row: vec![],
            counts: [*count, 0],
        };
        orders.iter().map(entry).collect()
    }

    #[test]
    fn peers_share_their_rank() {
        let entries = entries(&[(1, 1), (2, 2), (2, 1), (5, 1)]);
        let rows = expand_rows(&entries, 0).0;
        assert_eq!(compute_ranks(&Call::RowNumber, &rows), [1, 2, 3, 4, 5]);
        assert_eq!(compute_ranks(&Call::Rank, &rows), [1, 2, 2, 2, 5]);
        assert_eq!(compute_ranks(&Call::DenseRank, &rows), [1, 2, 2, 2, 3]);
        assert!(expand_rows(&entries, 1).0.is_empty());
        let many = super::tests::entries(&[(1, 1), (2, i64::MAX)]);
        let (rows, whole) = expand_rows(&many, 0);
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
                    entry.counts[0] = side.take_ranked(&call, most, (&entry.order, entry.counts[0]));
                }
                let rows = expand_rows(&all, 0).0;
                let wanted = compute_ranks(&call, &rows).into_iter().filter(|r| *r <= most as i64).count();
                assert_eq!(expand_rows(&taken, 0).0.len(), wanted, "{call:?} {most}");
            }
        }
    }
}
