//! The pace of a generator: which of its numbered records are due by the clock.
//!
//! The clock decides when a record comes, never its content. A generator without a pace has all of
//! its records due at once.

use std::time::{Duration, Instant};

/// Schedule of records, counted from the moment the generator was opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    began: Instant,
    first: u64,
    gap_s: Option<f64>,
}

impl Pace {
    /// Starts the schedule: record `first` is due a gap from now, each later one a gap after its predecessor.
    pub(crate) fn start(first: u64, gap_s: Option<f64>) -> Pace {
        Pace { began: Instant::now(), first, gap_s }
    }

    /// Returns true if records wait for the clock.
    pub(crate) fn is_set(&self) -> bool {
        self.gap_s.is_some()
    }

    /// One past the last number that is due.
    pub(crate) fn due_end(&self) -> u64 {
        match self.gap_s {
            None => u64::MAX,
            Some(gap) => self.first.saturating_add((self.began.elapsed().as_secs_f64() / gap) as u64),
        }
    }

    /// Time until number `next` is due.
    pub(crate) fn time_until(&self, next: u64) -> Duration {
        let gaps = (next.saturating_sub(self.first) as f64 + 1.0) * self.gap_s.unwrap_or(0.0);
        let at = Duration::try_from_secs_f64(gaps).unwrap_or(Duration::MAX);
        at.saturating_sub(self.began.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_fall_due_one_gap_after_the_other() {
        let slow = Pace::start(7, Some(1e6));
        assert_eq!(slow.due_end(), 7);
        assert!(slow.time_until(7) > Duration::from_secs(900_000) && slow.time_until(8) > slow.time_until(7));
        assert!(slow.is_set() && Pace::start(7, Some(1e-12)).due_end() > 7);
        let free = Pace::start(7, None);
        assert_eq!((free.due_end(), free.time_until(9), free.is_set()), (u64::MAX, Duration::ZERO, false));
    }
}
