//! Totals as earlier releases stored them: min and max had an index also where no row is ever retracted, with a state row
//! for each value behind that of the accumulators.
//!
//! Such rows are updates of the total as it is now: their sum is the group's. A start that reads totals adds them up; a
//! group that stays in the state is rewritten when it changes next.

use super::input::{AccumulatorLocation, Grouping};
use crate::functions::sums::accum::{Acc, Accums, ExactSum};

impl Grouping {
    /// Returns true if a total is of today's form: accumulators for all aggregates.
    pub fn is_current(&self, total: &Accums) -> bool {
        total.accs().len() == self.template.len()
    }

    /// Returns a stored row of a group, given behind the group's key, as an update of a value of the group; None when it is
    /// not readable.
    pub fn current_update<'a>(&self, rest: &'a [u8], stored: Accums) -> Option<(&'a [u8], Accums)> {
        match rest.split_first() {
            None if self.is_current(&stored) => Some((rest, stored)),
            None => Some((rest, Accums::new(stored.rows, self.accs_of_total(&stored)?.into_iter()))),
            // Where an index is kept today its entries are values of their own.
            Some((tag, _))
                if matches!(self.slots.get(usize::from(*tag))?.place, AccumulatorLocation::Index(..)) =>
            {
                Some((rest, stored))
            }
            // The total has counted the rows.
            Some((tag, packed)) => {
                Some((&[], Accums::new(0, self.accs_of_entry(*tag, packed, stored.rows)?.into_iter())))
            }
        }
    }

    /// Returns the accumulators of an entry of an index: the value alone.
    fn accs_of_entry(&self, tag: u8, packed: &[u8], rows: i64) -> Option<Vec<Acc>> {
        let AccumulatorLocation::Least(at, _) = self.slots.get(usize::from(tag))?.place else { return None };
        let mut accs = self.template.clone();
        accs[at] = Acc { n: rows, sum: ExactSum::least_of(packed) };
        Some(accs)
    }

    /// Returns the accumulators of a total without those of min and max.
    fn accs_of_total(&self, stored: &Accums) -> Option<Vec<Acc>> {
        let mut held = stored.accs().iter();
        let mut accs = Vec::with_capacity(self.template.len());
        for empty in &self.template {
            let least = matches!(empty.sum, ExactSum::Least(_));
            accs.push(if least { empty.clone() } else { held.next()?.clone() });
        }
        held.next().is_none().then_some(accs)
    }
}
