//! Pauses between attempts: they double from a first pause to a cap, are shortened by up to a half at random,
//! and end early when a stop flag is set. The randomness keeps processes that lost one broker from
//! reconnecting all at once.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The interval at which a waiting thread checks the stop flag.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// The pause before the next attempt.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    cap: Duration,
    next: Duration,
}

impl Backoff {
    /// Creates pauses from `first` up to `cap`.
    pub fn new(first: Duration, cap: Duration) -> Backoff {
        Backoff { first, cap, next: first }
    }

    /// Returns the current pause; the next one is twice as long, up to the cap.
    pub fn pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.cap);
        pause
    }

    /// Returns the current pause, shortened at random.
    pub fn jittered(&mut self) -> Duration {
        let pause = self.pause();
        pause / 2 + pause.mul_f64(random_share() / 2.0)
    }

    /// Pauses and returns true; returns false as soon as `stop` is true.
    pub fn wait(&mut self, stop: &AtomicBool) -> bool {
        let until = Instant::now() + self.jittered();
        while !stop.load(Ordering::Relaxed) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            std::thread::sleep(left.min(POLL_INTERVAL));
        }
        false
    }

    /// Resets the next pause to the first one, after a success.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

/// Returns a random number from 0 to 1: `RandomState` is seeded by the operating system.
fn random_share() -> f64 {
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
        let shares: Vec<f64> = (0..20).map(|_| random_share()).collect();
        assert!(shares.iter().all(|share| (0.0..=1.0).contains(share)));
        assert!(shares.windows(2).any(|pair| pair[0] != pair[1]));
    }

    #[test]
    fn a_stop_cuts_the_wait_short() {
        let mut backoff = Backoff::new(Duration::from_secs(60), Duration::from_secs(60));
        let start = Instant::now();
        assert!(!backoff.wait(&AtomicBool::new(true)));
        assert!(start.elapsed() < Duration::from_secs(20));
    }
}
