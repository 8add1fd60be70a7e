//! Durations of epochs that are known only after their commit, for the history of epochs in the state.
//!
//! The committer and the publisher note them, and the commit of a later epoch takes them along. What is noted
//! after the last commit of a run is lost.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use state::{EarlierPhase, TimedPhase};

/// Most durations that wait for a commit; beyond it the oldest is dropped.
const MAX_WAITING: usize = 64;

/// Durations that wait for the next commit.
#[derive(Default)]
pub struct PhaseNotes {
    waiting: Mutex<VecDeque<EarlierPhase>>,
}

impl PhaseNotes {
    /// Notes the time that a phase of some epochs took.
    pub fn note(&self, phase: TimedPhase, epochs: RangeInclusive<u64>, took: Duration) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() == MAX_WAITING {
            waiting.pop_front();
        }
        let (first, last) = epochs.into_inner();
        waiting.push_back(EarlierPhase { phase, first, last, us: whole_us(took) });
    }

    /// Takes all that were noted.
    pub fn take(&self) -> Vec<EarlierPhase> {
        std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner)).into()
    }
}

/// Whole microseconds of a duration.
pub fn whole_us(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_durations_wait_and_are_taken_once() {
        let notes = PhaseNotes::default();
        for epoch in 0..100 {
            notes.note(TimedPhase::Publish, epoch..=epoch, Duration::from_micros(epoch));
        }
        let taken = notes.take();
        let us: Vec<u64> = taken.iter().map(|phase| phase.us).collect();
        assert_eq!(us, (36..100).collect::<Vec<u64>>());
        assert_eq!((taken[0].first, taken[0].last), (36, 36));
        assert!(notes.take().is_empty());
    }
}
