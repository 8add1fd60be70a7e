//! Selection of the records that a replay sends, their numbers, and the markers of those that were sent.
//!
//! A marker has the rejected record's `TOPIC/PARTITION/OFFSET` as its key and no value. Its header
//! `herald.outcome` is `replayed`, which no dead letter has; `herald.digest` holds the record's id,
//! `herald.replayed` the time. A marker whose outcome is `recalled` takes the one before it back: the record that was
//! sent is lost, and is sent again.

use std::collections::{BTreeMap, HashSet};

use schemas::Outcome;

use crate::DeadLetter;

/// Filters of the records of a replay.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReplayFilter {
    /// Only records with this outcome.
    pub outcome: Option<Outcome>,
    /// Only records with a timestamp from this one on, microseconds since 1970.
    pub since_us: Option<i64>,
    /// Only records with a timestamp before this one, microseconds since 1970.
    pub until_us: Option<i64>,
}

impl ReplayFilter {
    fn passes(&self, letter: &DeadLetter) -> bool {
        self.outcome.is_none_or(|outcome| outcome == letter.outcome) && self.passes_time(letter.timestamp)
    }

    /// Tells whether a timestamp is within the bounds; a record without one passes only where there are none.
    fn passes_time(&self, timestamp: Option<i64>) -> bool {
        let Some(ms) = timestamp else { return self.since_us.is_none() && self.until_us.is_none() };
        let at_us = ms.saturating_mul(1000);
        self.since_us.is_none_or(|since| at_us >= since) && self.until_us.is_none_or(|until| at_us < until)
    }
}

/// Numbers of dead letters of one source and outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplayCount {
    /// Dead letters that pass the filters: the sum of the others, unless the replay ended early.
    pub selected: u64,
    /// Records sent by this replay.
    pub replayed: u64,
    /// Records sent by an earlier replay, or for another dead letter of the same record.
    pub already: u64,
    /// Records not sent, as the dead-letter topic holds only a part of them, or of their headers.
    pub cut: u64,
    /// Records not sent, as they come from a topic or partition that their source does not have.
    pub elsewhere: u64,
}

/// Numbers of dead letters by source and outcome.
pub type ReplayCounts = BTreeMap<(String, Outcome), ReplayCount>;

/// The topic of a source.
pub(super) struct SourceTopic {
    pub(super) name: String,
    pub(super) partitions: i32,
}

/// A record to send.
pub(super) struct Admitted {
    pub(super) letter: DeadLetter,
    /// [`DeadLetter::record_id`].
    pub(super) id: u128,
    /// Partition of the dead letter, and so of the marker.
    pub(super) partition: i32,
}

/// Selection of records and their numbers, over all attempts of a replay.
pub(super) struct Selection {
    sources: BTreeMap<String, SourceTopic>,
    filter: ReplayFilter,
    /// Ids of the records that have a marker.
    marked: HashSet<u128>,
    /// Ids of the records that this attempt admitted, or found sent by an attempt before.
    admitted: HashSet<u128>,
    /// Ids of the records that attempts before admitted: one with a marker was sent by them.
    earlier: HashSet<u128>,
    pub(super) counts: ReplayCounts,
}

impl Selection {
    /// A selection without sources.
    pub(super) fn new(filter: ReplayFilter) -> Selection {
        Selection {
            sources: BTreeMap::new(),
            filter,
            marked: HashSet::new(),
            admitted: HashSet::new(),
            earlier: HashSet::new(),
            counts: ReplayCounts::new(),
        }
    }

    /// Starts an attempt: counts from nothing, and forgets the markers.
    pub(super) fn start(&mut self, sources: BTreeMap<String, SourceTopic>) {
        self.sources = sources;
        self.marked.clear();
        self.counts.clear();
        self.earlier.extend(self.admitted.drain());
    }

    /// Counts a dead letter. Returns the id of its record if that is to be sent. `cut` is true if the letter
    /// holds only a part of it.
    pub(super) fn admit(&mut self, letter: &DeadLetter, cut: bool) -> Option<u128> {
        let source = self.sources.get(&letter.source)?;
        if !self.filter.passes(letter) {
            return None;
        }
        let id = letter.record_id();
        let count = self.counts.entry((letter.source.clone(), letter.outcome)).or_default();
        count.selected += 1;
        if self.admitted.contains(&id) {
            count.already += 1;
        } else if self.marked.contains(&id) && self.earlier.contains(&id) {
            self.admitted.insert(id);
            count.replayed += 1;
        } else if self.marked.contains(&id) {
            count.already += 1;
        } else if cut {
            count.cut += 1;
        } else if letter.topic != source.name || !(0..source.partitions).contains(&letter.partition) {
            count.elsewhere += 1;
        } else {
            self.admitted.insert(id);
            return Some(id);
        }
        None
    }

    /// Notes what a marker says of a record. Those of one record stand in one partition, and come in their order.
    pub(super) fn note_marker(&mut self, kind: MarkerKind, id: u128) {
        if kind == MarkerKind::Replayed {
            self.marked.insert(id);
        } else {
            self.marked.remove(&id);
        }
    }

    /// Counts admitted records that are committed.
    pub(super) fn note_sent(&mut self, records: &[Admitted]) {
        for Admitted { letter, .. } in records {
            self.counts.entry((letter.source.clone(), letter.outcome)).or_default().replayed += 1;
        }
    }
}

/// The place of a rejected record: the key of its marker, and the header `herald.replay` of the record sent.
pub(super) fn record_place(letter: &DeadLetter) -> String {
    format!("{}/{}/{}", letter.topic, letter.partition, letter.offset)
}

/// Kind of a marker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MarkerKind {
    /// The record is sent.
    Replayed,
    /// It is not sent after all.
    Recalled,
}

impl MarkerKind {
    /// Value of the header `herald.outcome`.
    fn outcome(self) -> &'static str {
        match self {
            MarkerKind::Replayed => "replayed",
            MarkerKind::Recalled => "recalled",
        }
    }
}

/// A marker that stands in the dead-letter topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Marker {
    pub(super) partition: i32,
    /// Its key.
    pub(super) place: Vec<u8>,
    /// [`DeadLetter::record_id`].
    pub(super) id: u128,
}

/// Headers of the marker of a record that is sent, or recalled, at `now_ms`.
pub(super) fn marker_headers(kind: MarkerKind, id: u128, now_ms: i64) -> [(&'static str, String); 3] {
    [
        ("herald.outcome", kind.outcome().to_owned()),
        ("herald.replayed", now_ms.to_string()),
        ("herald.digest", format!("{id:032x}")),
    ]
}

/// The kind of a marker, by its headers; None for any other record.
pub(super) fn marker_kind<'h>(header: impl Fn(&str) -> Option<&'h [u8]>) -> Option<MarkerKind> {
    let outcome = header("herald.outcome")?;
    [MarkerKind::Replayed, MarkerKind::Recalled].into_iter().find(|kind| kind.outcome().as_bytes() == outcome)
}

/// The id of the record that a marker is of; None when it cannot be read.
pub(super) fn marked_id<'h>(header: impl Fn(&str) -> Option<&'h [u8]>) -> Option<u128> {
    parse_id(std::str::from_utf8(header("herald.digest")?).ok()?)
}

/// The name of a marker: the header `herald.replay.marker` of the record sent.
pub(super) fn marker_name(dead_letter_topic: &str, id: u128) -> String {
    format!("{dead_letter_topic}/{id:032x}")
}

/// The id of the record that a marker of this name is of; None if it stands in another topic.
pub(super) fn named_id(dead_letter_topic: &str, name: &[u8]) -> Option<u128> {
    let (topic, id) = std::str::from_utf8(name).ok()?.rsplit_once('/')?;
    if topic == dead_letter_topic { parse_id(id) } else { None }
}

fn parse_id(digits: &str) -> Option<u128> {
    u128::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dead_letter::{HeaderRef, KeptHeaders};

    fn letter(offset: i64) -> DeadLetter {
        DeadLetter {
            topic: "orders".into(),
            partition: 1,
            offset,
            timestamp: Some(1_700_000_000_000),
            source: "orders".into(),
            outcome: Outcome::Constraint,
            constraint: None,
            message: "cents < 0".into(),
            schema_id: None,
            key: None,
            value: Some(vec![b'{', offset as u8]),
            headers: KeptHeaders::default(),
        }
    }

    fn selection(filter: ReplayFilter) -> Selection {
        let mut selection = Selection::new(filter);
        selection.start(sources());
        selection
    }

    fn sources() -> BTreeMap<String, SourceTopic> {
        let topic = || SourceTopic { name: "orders".into(), partitions: 2 };
        ["orders", "audits"].map(|source| (source.to_owned(), topic())).into()
    }

    fn count(selection: &Selection, source: &str) -> ReplayCount {
        selection.counts[&(source.to_owned(), Outcome::Constraint)]
    }

    #[test]
    fn markers_come_back_and_are_no_dead_letters() {
        let id = letter(7).record_id();
        for kind in [MarkerKind::Replayed, MarkerKind::Recalled] {
            let headers = marker_headers(kind, id, 1_700_000_000_001);
            let header = |name: &str| {
                headers.iter().find(|(held, _)| *held == name).map(|(_, value)| value.as_bytes())
            };
            assert_eq!(marker_kind(header), Some(kind));
            assert_eq!(marked_id(header), Some(id));
            assert_eq!(header("herald.replayed"), Some(&b"1700000000001"[..]));
            let all: Vec<HeaderRef<'_>> =
                headers.iter().map(|(name, value)| (*name, Some(value.as_bytes()))).collect();
            assert_eq!(DeadLetter::from_topic(&all, None, None), None);
        }
        assert_eq!(record_place(&letter(7)), "orders/1/7");
        let name = marker_name("orders.rejected", id);
        assert_eq!(named_id("orders.rejected", name.as_bytes()), Some(id));
        for (topic, name) in [("rejected", name.as_str()), ("orders", "orders"), ("orders", "orders/x")] {
            assert_eq!(named_id(topic, name.as_bytes()), None, "{topic} {name}");
        }
        let headers = letter(7).coordinates();
        let header = |name: &str| headers.iter().find(|(held, _)| *held == name).map(|(_, value)| &value[..]);
        assert_eq!(marker_kind(header), None);
        assert_eq!(marked_id(header), None);
    }

    #[test]
    fn only_records_that_pass_the_filters_are_selected() {
        let admits = |filter, letter: DeadLetter| selection(filter).admit(&letter, false).is_some();
        let at_us = Some(1_700_000_000_000_000);
        let filter = ReplayFilter { outcome: Some(Outcome::Constraint), since_us: at_us, until_us: None };
        assert!(admits(filter, letter(1)));
        assert!(!admits(filter, DeadLetter { source: "refunds".into(), ..letter(1) }));
        assert!(!admits(filter, DeadLetter { outcome: Outcome::Late, ..letter(1) }));
        assert!(!admits(filter, DeadLetter { timestamp: Some(1_699_999_999_999), ..letter(1) }));
        assert!(!admits(filter, DeadLetter { timestamp: None, ..letter(1) }));
        assert!(!admits(ReplayFilter { until_us: at_us, ..ReplayFilter::default() }, letter(1)));
        let later = ReplayFilter { until_us: at_us.map(|at| at + 1), ..ReplayFilter::default() };
        assert!(admits(later, letter(1)));
        assert!(admits(ReplayFilter::default(), DeadLetter { timestamp: None, ..letter(1) }));
    }

    #[test]
    fn each_record_is_sent_once_and_each_letter_counted_once() {
        let mut selection = selection(ReplayFilter::default());
        selection.note_marker(MarkerKind::Replayed, letter(0).record_id());
        assert_eq!(selection.admit(&letter(0), false), None, "an earlier replay sent it");
        assert_eq!(selection.admit(&letter(1), true), None, "cut");
        let elsewhere = [
            DeadLetter { topic: "orders.old".into(), ..letter(2) },
            DeadLetter { partition: 2, ..letter(2) },
            DeadLetter { partition: -1, ..letter(2) },
        ];
        for letter in elsewhere {
            assert_eq!(selection.admit(&letter, false), None, "{letter:?}");
        }
        let id = selection.admit(&letter(3), false);
        assert_eq!(id, Some(letter(3).record_id()));
        assert_eq!(selection.admit(&letter(3), false), None, "a second letter of the same record");
        let other_source = DeadLetter { source: "audits".into(), ..letter(3) };
        assert_eq!(selection.admit(&other_source, false), None, "another source reads the same record");
        selection.note_sent(&[Admitted { letter: letter(3), id: letter(3).record_id(), partition: 0 }]);
        let orders = ReplayCount { selected: 7, replayed: 1, already: 2, cut: 1, elsewhere: 3 };
        assert_eq!(count(&selection, "orders"), orders);
        let audits = ReplayCount { selected: 1, already: 1, ..ReplayCount::default() };
        assert_eq!(count(&selection, "audits"), audits);
    }

    #[test]
    fn a_record_whose_marker_was_taken_back_is_sent_again() {
        use MarkerKind::{Recalled, Replayed};
        let (id, other) = (letter(1).record_id(), letter(2).record_id());
        let mut selection = selection(ReplayFilter::default());
        assert_eq!(selection.admit(&letter(1), false), Some(id));
        selection.start(sources());
        for (kind, id) in [(Replayed, id), (Replayed, other), (Recalled, id)] {
            selection.note_marker(kind, id);
        }
        assert_eq!(selection.admit(&letter(1), false), Some(id));
        assert_eq!(selection.admit(&letter(2), false), None);
        // The next replay reads all of them.
        selection.start(sources());
        for kind in [Replayed, Recalled, Replayed] {
            selection.note_marker(kind, id);
        }
        assert_eq!(selection.admit(&letter(1), false), None);
    }

    /// The first attempt commits record 1, then fails with record 2, whose transaction was committed all the
    /// same, and with record 3, whose was not.
    #[test]
    fn a_second_attempt_sends_the_rest_and_counts_the_first_ones() {
        let mut selection = selection(ReplayFilter::default());
        for offset in [1, 2, 3] {
            assert!(selection.admit(&letter(offset), false).is_some());
        }
        selection.start(sources());
        selection.marked.extend([letter(0).record_id(), letter(1).record_id(), letter(2).record_id()]);
        let sent: Vec<bool> =
            [0, 1, 1, 2, 3].map(|offset| selection.admit(&letter(offset), false).is_some()).into();
        assert_eq!(sent, [false, false, false, false, true]);
        selection.note_sent(&[Admitted { letter: letter(3), id: letter(3).record_id(), partition: 0 }]);
        let orders = ReplayCount { selected: 5, replayed: 3, already: 2, ..ReplayCount::default() };
        assert_eq!(count(&selection, "orders"), orders);
    }
}
