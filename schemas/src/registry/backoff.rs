//! Waiting between attempts: doubling from a first pause to a cap, shortened by up to a half at random, and
//! cut short by a stop flag. Many processes that lost one broker do not all come back at once.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often a waiting thread looks whether it should stop.
const LOOK: Duration = Duration::from_millis(20);

/// The pause before the next attempt.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    cap: Duration,
    next: Duration,
}

impl Backoff {
    /// Pauses from `first` up to `cap`.
    pub fn new(first: Duration, cap: Duration) -> Backoff {
        Backoff { first, cap, next: first }
    }

    /// The pause to make now; the next one is twice as long.
    pub fn pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.cap);
        pause
    }

    /// The pause to make now, shortened at random.
    pub fn jittered(&mut self) -> Duration {
        let pause = self.pause();
        pause / 2 + pause.mul_f64(share() / 2.0)
    }

    /// Pauses, unless `stop` becomes true: then it returns false at once.
    pub fn wait(&mut self, stop: &AtomicBool) -> bool {
        let until = Instant::now() + self.jittered();
        while !stop.load(Ordering::Relaxed) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            std::thread::sleep(left.min(LOOK));
        }
        false
    }

    /// After a success: the next pause is the first one again.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

/// A share of one, at random: `RandomState` is seeded by the operating system.
fn share() -> f64 {
    RandomState::new().hash_one(0) as f64 / u64::MAX as f64
}

impl Default for Backoff {
    fn default() -> Backoff {
        Backoff::new(Duration::from_millis(100), Duration::from_secs(5))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_to_the_cap_and_starts_again() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(10), ms(35));
        assert_eq!([backoff.pause(), backoff.pause(), backoff.pause()], [ms(10), ms(20), ms(35)]);
        backoff.reset();
        assert_eq!(backoff.pause(), ms(10));
    }

    #[test]
    fn pauses_differ() {
        let shares: Vec<f64> = (0..20).map(|_| share()).collect();
        assert!(shares.iter().all(|share| (0.0..=1.0).contains(share)));
        assert!(shares.windows(2).any(|pair| pair[0] != pair[1]));
    }

    #[test]
    fn a_stop_cuts_the_wait_short() {
        let mut backoff = Backoff::new(Duration::from_secs(60), Duration::from_secs(60));
        let start = Instant::now();
        assert!(!backoff.wait(&AtomicBool::new(true)));
        assert!(start.elapsed() < Duration::from_secs(5));
    }
}
