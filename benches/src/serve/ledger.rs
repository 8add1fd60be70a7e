//! Records that were sent, paired with the answers that show them.
//!
//! Each accepted record adds one to its player's `games`, so an answer of a player with `games = n` shows the first n
//! records of that player: each is paired with the first answer that counts it, also where one answer shows several.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

/// Growth of a backlog that still counts as none: a share of the records sent meanwhile, and seconds of the load, since
/// answers come by epochs and a backlog is seen at any place in one.
const GROWTH: f64 = 0.05;
const GROWTH_S: f64 = 0.05;

/// Records sent and seen, by player.
pub struct Ledger {
    sent: Vec<u32>,
    seen: Vec<u32>,
    sent_count: u64,
    seen_count: u64,
    /// Timed records that are not seen, by player: which of the player's records, and its place in `order`.
    pending: HashMap<u64, VecDeque<(u32, u64)>>,
    /// Times of sending from the oldest record on that is not seen; None for a seen one.
    order: VecDeque<Option<Instant>>,
    /// Timed records before the first of `order`.
    passed: u64,
    times: Vec<Duration>,
}

impl Ledger {
    /// A ledger of so many players.
    pub fn new(players: u64) -> Ledger {
        let none = vec![0; players as usize];
        Ledger {
            sent: none.clone(),
            seen: none,
            sent_count: 0,
            seen_count: 0,
            pending: HashMap::new(),
            order: VecDeque::new(),
            passed: 0,
            times: Vec::new(),
        }
    }

    /// Counts a record of a player, whose time matters if there is one.
    pub fn send(&mut self, player: u64, at: Option<Instant>) {
        let sent = &mut self.sent[player as usize];
        *sent += 1;
        self.sent_count += 1;
        if at.is_some() {
            let place = self.passed + self.order.len() as u64;
            self.order.push_back(at);
            self.pending.entry(player).or_default().push_back((*sent, place));
        }
    }

    /// Takes in an answer: so many games of a player are visible at that time.
    pub fn see(&mut self, player: u64, games: u32, now: Instant) {
        let Some(seen) = self.seen.get_mut(player as usize) else { return };
        self.seen_count += u64::from(games.saturating_sub(*seen));
        *seen = games.max(*seen);
        let Some(pending) = self.pending.get_mut(&player) else { return };
        while let Some((_, place)) = pending.front().copied().filter(|(nth, _)| *nth <= games) {
            pending.pop_front();
            if let Some(at) = self.order[(place - self.passed) as usize].take() {
                self.times.push(now.duration_since(at));
            }
        }
        if pending.is_empty() {
            self.pending.remove(&player);
        }
        while self.order.front().is_some_and(Option::is_none) {
            self.order.pop_front();
            self.passed += 1;
        }
    }

    /// Records seen.
    pub fn seen(&self) -> u64 {
        self.seen_count
    }

    /// Records that are sent and not seen.
    pub fn backlog(&self) -> u64 {
        self.sent_count.saturating_sub(self.seen_count)
    }

    /// Time since which the oldest timed record waits to be seen; None if all are seen.
    pub fn oldest(&self) -> Option<Instant> {
        self.order.front().copied().flatten()
    }

    /// Times from sending to seeing since the last call, ascending. Records that wait still count with the time that
    /// they have waited.
    pub fn take_times(&mut self, now: Instant) -> Vec<Duration> {
        let mut times = std::mem::take(&mut self.times);
        times.extend(self.order.iter().flatten().map(|at| now.duration_since(*at)));
        times.sort_unstable();
        times
    }
}

/// Tells whether a backlog, looked at in equal intervals over so many seconds, does not grow: the median of its last
/// third is hardly above that of its second.
pub fn is_steady(backlog: &[u64], rate: f64, seconds: f64) -> bool {
    let third = backlog.len() / 3;
    if third == 0 {
        return false;
    }
    let median = |part: &[u64]| {
        let mut part = part.to_vec();
        part.sort_unstable();
        part[part.len() / 2] as f64
    };
    let growth = median(&backlog[2 * third..]) - median(&backlog[third..2 * third]);
    growth <= rate * (GROWTH * seconds / 3.0 + GROWTH_S)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn an_answer_shows_all_that_it_counts_and_no_more() {
        let (mut ledger, begin) = (Ledger::new(3), Instant::now());
        ledger.send(1, None);
        for (player, at) in [(1, 1), (2, 2), (1, 3), (1, 4)] {
            ledger.send(player, Some(begin + MS * at));
        }
        assert_eq!(ledger.oldest(), Some(begin + MS));
        ledger.see(1, 3, begin + MS * 10);
        assert_eq!((ledger.seen(), ledger.backlog(), ledger.oldest()), (3, 2, Some(begin + MS * 2)));
        // The same answer again shows nothing, as does that of a player who is not known.
        ledger.see(1, 3, begin + MS * 11);
        ledger.see(9, 1, begin + MS * 11);
        ledger.see(2, 1, begin + MS * 12);
        assert_eq!(ledger.oldest(), Some(begin + MS * 4));
        assert_eq!(ledger.take_times(begin + MS * 20), [MS * 7, MS * 9, MS * 10, MS * 16]);
        ledger.see(1, 4, begin + MS * 30);
        assert_eq!((ledger.take_times(begin), ledger.backlog(), ledger.oldest()), (vec![MS * 26], 0, None));
    }

    #[test]
    fn a_backlog_that_grows_is_not_steady() {
        let of = |backlog: fn(u64) -> u64| (0..90).map(backlog).collect::<Vec<u64>>();
        // 9 seconds of 1000 records each.
        assert!(is_steady(&of(|at| at % 10 * 10), 1000.0, 9.0));
        assert!(!is_steady(&of(|at| at * 20), 1000.0, 9.0));
        assert!(is_steady(&of(|at| 5000 - at * 20), 1000.0, 9.0));
        assert!(!is_steady(&[], 1000.0, 9.0));
    }
}
