//! Timestamps of published records: the time of their commit, as far as the broker accepts it.
//!
//! A broker refuses records whose time is too far from its own (`message.timestamp.after.max.ms`, an hour by
//! default, and `before.max.ms`). The time of a commit is this machine's, whose clock may have been ahead
//! then or be ahead now, and output that is committed must be published all the same. So no record is later
//! than now; if the broker refuses even that, all records get the present time, then an hour before, two
//! hours, four, until it accepts them. When the clock was set, or ten minutes after the last refusal,
//! commits' own times are tried again.

use std::time::{Duration, Instant};

use crate::clock::now_ms;

const HOUR_MS: i64 = 3_600_000;
/// Number of refusals after which times go back no further: that is more than a century.
const MAX_REFUSALS: u32 = 24;
/// Time after the last refusal until commits' own times are tried again.
const RETRY_AFTER: Duration = Duration::from_secs(600);
/// Difference between wall clock and monotonic clock from which the wall clock counts as set.
const CLOCK_SET_MS: i64 = 60_000;

/// Refusals of timestamps by the broker so far.
#[derive(Debug, Default)]
pub(crate) struct Stamps {
    refused: u32,
    /// Time of the last refusal, by the monotonic and by the wall clock.
    since: Option<(Instant, i64)>,
}

/// Timestamps of one transaction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp {
    latest_ms: i64,
    /// True if all records get the latest time.
    all: bool,
}

impl Stamp {
    /// The timestamp of a record that was committed at `commit_ms`; above 0, which to the client means now.
    pub(crate) fn for_commit(&self, commit_ms: i64) -> i64 {
        let at = if self.all { self.latest_ms } else { commit_ms.min(self.latest_ms) };
        at.max(1)
    }

    /// The latest timestamp allowed.
    pub(crate) fn latest(&self) -> i64 {
        self.latest_ms.max(1)
    }
}

impl Stamps {
    /// The timestamps for a transaction that begins now.
    pub(crate) fn next(&mut self) -> Stamp {
        self.stamp_at(Instant::now(), now_ms())
    }

    fn stamp_at(&mut self, now: Instant, now_ms: i64) -> Stamp {
        if let Some((then, then_ms)) = self.since {
            let passed = now.saturating_duration_since(then);
            if passed > RETRY_AFTER || (now_ms - then_ms - passed.as_millis() as i64).abs() > CLOCK_SET_MS {
                *self = Stamps::default();
            }
        }
        let back_ms = match self.refused {
            0 | 1 => 0,
            times => HOUR_MS << (times - 2),
        };
        Stamp { latest_ms: now_ms - back_ms, all: self.refused > 0 }
    }

    /// Notes that the broker refused the last timestamps. False when there are no others to try.
    pub(crate) fn note_refusal(&mut self) -> bool {
        self.note_refusal_at(Instant::now(), now_ms())
    }

    fn note_refusal_at(&mut self, now: Instant, now_ms: i64) -> bool {
        self.since = Some((now, now_ms));
        self.refused = (self.refused + 1).min(MAX_REFUSALS);
        self.refused < MAX_REFUSALS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tries until a broker whose clock is at `broker_ms` takes a record; the time it got, and refusals.
    fn sent(
        stamps: &mut Stamps,
        commit_ms: i64,
        (now, now_ms): (Instant, i64),
        broker_ms: i64,
    ) -> (i64, u32) {
        for refusals in 0.. {
            let stamp = stamps.stamp_at(now, now_ms).for_commit(commit_ms);
            if stamp <= broker_ms + HOUR_MS {
                return (stamp, refusals);
            }
            assert!(stamps.note_refusal_at(now, now_ms));
        }
        unreachable!()
    }

    #[test]
    fn a_commit_of_the_past_keeps_its_time() {
        let (now, now_ms) = (Instant::now(), 1_800_000_000_000);
        let mut stamps = Stamps::default();
        assert_eq!(sent(&mut stamps, now_ms - 5, (now, now_ms), now_ms), (now_ms - 5, 0));
        // The clock was ahead at the commit, and is correct now.
        assert_eq!(sent(&mut stamps, now_ms + 9 * HOUR_MS, (now, now_ms), now_ms), (now_ms, 0));
        assert_eq!(stamps.stamp_at(now, now_ms).for_commit(0), 1);
    }

    #[test]
    fn a_clock_that_is_ahead_is_corrected_until_it_is_set() {
        let (now, broker_ms) = (Instant::now(), 1_800_000_000_000);
        for ahead in [2, 25, 24 * 400, 24 * 365 * 80] {
            let mut stamps = Stamps::default();
            let now_ms = broker_ms + ahead * HOUR_MS;
            let (stamp, refusals) = sent(&mut stamps, now_ms, (now, now_ms), broker_ms);
            assert!(stamp > broker_ms - ahead * HOUR_MS && refusals <= 22, "{ahead} {stamp} {refusals}");
            // The accepted time is used for the next epoch too,
            assert_eq!(sent(&mut stamps, now_ms + 1, (now, now_ms + 1), broker_ms + 1), (stamp + 1, 0));
            // but only until the clock is set or RETRY_AFTER has passed.
            let later = now + Duration::from_secs(1);
            assert_eq!(sent(&mut stamps, broker_ms, (later, broker_ms), broker_ms), (broker_ms, 0));
        }
        let mut stamps = Stamps::default();
        sent(&mut stamps, broker_ms + 9 * HOUR_MS, (now, broker_ms + 9 * HOUR_MS), broker_ms);
        let while_later = broker_ms + 9 * HOUR_MS + RETRY_AFTER.as_millis() as i64 + 1;
        let stamp = stamps.stamp_at(now + RETRY_AFTER + Duration::from_millis(1), while_later);
        assert_eq!(stamp.latest(), while_later);
    }

    #[test]
    fn refusals_come_to_an_end() {
        let mut stamps = Stamps::default();
        let tried = (0..100).take_while(|_| stamps.note_refusal_at(Instant::now(), 0)).count();
        assert!((20..30).contains(&tried), "{tried}");
        assert_eq!(stamps.stamp_at(Instant::now(), 0).for_commit(5), 1);
    }
}
