//! The pace of a generator: which of its numbered records are due by the clock.
//!
//! The clock decides when a record comes, never what it holds. A generator without a pace has all of
//! its records due at once.

use std::time::{Duration, Instant};

/// When records are due, from the moment the generator was opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    began: Instant,
    first: u64,
    gap_s: Option<f64>,
}

impl Pace {
    /// Record `first` is due a gap from now, and each after it a gap after the one before.
    pub(crate) fn start(first: u64, gap_s: Option<f64>) -> Pace {
        Pace { began: Instant::now(), first, gap_s }
    }

    /// Whether the clock has a say at all.
    pub(crate) fn is_set(&self) -> bool {
        self.gap_s.is_some()
    }

    /// One past the last number that is due.
    pub(crate) fn due(&self) -> u64 {
        match self.gap_s {
            None => u64::MAX,
            Some(gap) => self.first.saturating_add((self.began.elapsed().as_secs_f64() / gap) as u64),
        }
    }

    /// How long until number `next` is due.
    pub(crate) fn until(&self, next: u64) -> Duration {
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
        assert_eq!(slow.due(), 7);
        assert!(slow.until(7) > Duration::from_secs(900_000) && slow.until(8) > slow.until(7));
        assert!(slow.is_set() && Pace::start(7, Some(1e-12)).due() > 7);
        let free = Pace::start(7, None);
        assert_eq!((free.due(), free.until(9), free.is_set()), (u64::MAX, Duration::ZERO, false));
    }
}
