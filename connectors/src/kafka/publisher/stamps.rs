//! Times that records are given: their commit's, as far as the broker takes it.
//!
//! A broker refuses records whose time is too far from its own (`message.timestamp.after.max.ms`, an hour by
//! default, and `before.max.ms`). The time of a commit is this machine's, whose clock may have been ahead then or be
//! ahead now, and output that is committed must go out all the same. So no record is later than now; where the broker
//! refuses even that, they get the present time, then one an hour before, two hours, four, until it takes them. When
//! the clock is set, or a while later, commits' own times are tried again.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fail::fail_point;

const HOUR_MS: i64 = 3_600_000;
/// After so many refusals times go back no further: that is more than a century.
const FURTHEST: u32 = 24;
/// For how long earlier times are given before commits' own are tried again.
const AGAIN: Duration = Duration::from_secs(600);
/// A clock that moved so much against the time that passed was set.
const SET_MS: i64 = 60_000;

/// Milliseconds since 1970.
fn wall_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
    fail_point!("clock.ahead_ms", |by: Option<String>| now + by.and_then(|by| by.parse().ok()).unwrap_or(0));
    now
}

/// What the broker has refused so far.
#[derive(Debug, Default)]
pub(crate) struct Stamps {
    refused: u32,
    /// When the last refusal was, by either clock.
    since: Option<(Instant, i64)>,
}

/// The times of one transaction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp {
    latest_ms: i64,
    /// All records get the latest time.
    all: bool,
}

impl Stamp {
    /// The time of a record that was committed at `commit_ms`. 0 would mean now to the client.
    pub(crate) fn of(&self, commit_ms: i64) -> i64 {
        let at = if self.all { self.latest_ms } else { commit_ms.min(self.latest_ms) };
        at.max(1)
    }

    /// The latest time that may be given.
    pub(crate) fn now(&self) -> i64 {
        self.latest_ms.max(1)
    }
}

impl Stamps {
    /// The times for a transaction that begins now.
    pub(crate) fn next(&mut self) -> Stamp {
        self.at(Instant::now(), wall_ms())
    }

    fn at(&mut self, now: Instant, now_ms: i64) -> Stamp {
        let over = |(then, then_ms): (Instant, i64)| {
            let passed = now.saturating_duration_since(then);
            passed > AGAIN || (now_ms - then_ms - passed.as_millis() as i64).abs() > SET_MS
        };
        if self.since.is_some_and(over) {
            *self = Stamps::default();
        }
        let back_ms = match self.refused {
            0 | 1 => 0,
            times => HOUR_MS << (times - 2),
        };
        Stamp { latest_ms: now_ms - back_ms, all: self.refused > 0 }
    }

    /// The broker refused the times that were given last. False when there are no others to try.
    pub(crate) fn refused(&mut self) -> bool {
        self.refuse(Instant::now(), wall_ms())
    }

    fn refuse(&mut self, now: Instant, now_ms: i64) -> bool {
        self.since = Some((now, now_ms));
        self.refused = (self.refused + 1).min(FURTHEST);
        self.refused < FURTHEST
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
            let stamp = stamps.at(now, now_ms).of(commit_ms);
            if stamp <= broker_ms + HOUR_MS {
                return (stamp, refusals);
            }
            assert!(stamps.refuse(now, now_ms));
        }
        unreachable!()
    }

    #[test]
    fn a_commit_of_the_past_keeps_its_time() {
        let (now, now_ms) = (Instant::now(), 1_800_000_000_000);
        let mut stamps = Stamps::default();
        assert_eq!(sent(&mut stamps, now_ms - 5, (now, now_ms), now_ms), (now_ms - 5, 0));
        // The clock was ahead when it was committed, and is right now.
        assert_eq!(sent(&mut stamps, now_ms + 9 * HOUR_MS, (now, now_ms), now_ms), (now_ms, 0));
        assert_eq!(stamps.at(now, now_ms).of(0), 1);
    }

    #[test]
    fn a_clock_that_is_ahead_is_corrected_until_it_is_set() {
        let (now, broker_ms) = (Instant::now(), 1_800_000_000_000);
        for ahead in [2, 25, 24 * 400, 24 * 365 * 80] {
            let mut stamps = Stamps::default();
            let now_ms = broker_ms + ahead * HOUR_MS;
            let (stamp, refusals) = sent(&mut stamps, now_ms, (now, now_ms), broker_ms);
            assert!(stamp > broker_ms - ahead * HOUR_MS && refusals <= 22, "{ahead} {stamp} {refusals}");
            // What was learned holds for the next epoch,
            assert_eq!(sent(&mut stamps, now_ms + 1, (now, now_ms + 1), broker_ms + 1), (stamp + 1, 0));
            // and no longer than the clock is wrong, or a while.
            let later = now + Duration::from_secs(1);
            assert_eq!(sent(&mut stamps, broker_ms, (later, broker_ms), broker_ms), (broker_ms, 0));
        }
        let mut stamps = Stamps::default();
        sent(&mut stamps, broker_ms + 9 * HOUR_MS, (now, broker_ms + 9 * HOUR_MS), broker_ms);
        let while_later = broker_ms + 9 * HOUR_MS + AGAIN.as_millis() as i64 + 1;
        let stamp = stamps.at(now + AGAIN + Duration::from_millis(1), while_later);
        assert_eq!(stamp.now(), while_later);
    }

    #[test]
    fn refusals_come_to_an_end() {
        let mut stamps = Stamps::default();
        let tried = (0..100).take_while(|_| stamps.refuse(Instant::now(), 0)).count();
        assert!((20..30).contains(&tried), "{tried}");
        assert_eq!(stamps.at(Instant::now(), 0).of(5), 1);
    }
}
