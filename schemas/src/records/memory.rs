//! The memory ledger of the process: bytes by part, as the structures that hold them report.
//!
//! A structure keeps a [`MemoryShare`] and sets it to the bytes that it has allocated. The difference is
//! added to the total of its part; dropping the share takes its bytes off again, on whatever thread that
//! happens. A share is set once for a batch of rows, never for a row. Structures with an allocation for each
//! entry keep a running count, for which [`allocated_bytes`], [`tree_bytes`] and [`table_bytes`] estimate how
//! much an entry takes in the allocator.

use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A part of the process's memory whose structures report to the ledger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MemoryPart {
    /// Batches of arrangements, and merges of them that are under way.
    Arrangements,
    /// Cached totals of groups, and those of epochs that are not committed yet.
    Totals,
    /// Content of arrangements and joins by the time at which it expires.
    Expiry,
    /// Both sides of temporal joins.
    Joins,
    /// Rows that wait for a watermark: EMIT ON WINDOW CLOSE and filters on now().
    Waiting,
    /// Partitions of session windows by the time of their next check.
    Sessions,
    /// Rows of keyed tables in epochs that are not committed yet.
    Overlay,
    /// Records, rows and changes of epochs that are not committed yet.
    #[default]
    Epochs,
    /// Committed output on its way to the publisher.
    Unpublished,
    /// Records that Kafka consumers have fetched ahead.
    KafkaConsumer,
    /// Records in the queue of the Kafka producer.
    KafkaProducer,
}

impl MemoryPart {
    /// All parts, in the order of their declaration.
    pub const ALL: [MemoryPart; 11] = [
        MemoryPart::Arrangements,
        MemoryPart::Totals,
        MemoryPart::Expiry,
        MemoryPart::Joins,
        MemoryPart::Waiting,
        MemoryPart::Sessions,
        MemoryPart::Overlay,
        MemoryPart::Epochs,
        MemoryPart::Unpublished,
        MemoryPart::KafkaConsumer,
        MemoryPart::KafkaProducer,
    ];

    /// Returns its name in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            MemoryPart::Arrangements => "arrangements",
            MemoryPart::Totals => "totals",
            MemoryPart::Expiry => "expiry",
            MemoryPart::Joins => "joins",
            MemoryPart::Waiting => "waiting",
            MemoryPart::Sessions => "sessions",
            MemoryPart::Overlay => "overlay",
            MemoryPart::Epochs => "epochs",
            MemoryPart::Unpublished => "unpublished",
            MemoryPart::KafkaConsumer => "kafka_consumer",
            MemoryPart::KafkaProducer => "kafka_producer",
        }
    }

    /// Returns the bytes that all shares of this part report now.
    pub fn held_bytes(self) -> usize {
        LEDGER.total_of(self).load(Ordering::Relaxed)
    }
}

/// Totals by part.
#[derive(Debug)]
struct Ledger {
    totals: [AtomicUsize; MemoryPart::ALL.len()],
}

/// The totals of this process.
static LEDGER: Ledger = Ledger::empty();

impl Ledger {
    const fn empty() -> Ledger {
        Ledger { totals: [const { AtomicUsize::new(0) }; MemoryPart::ALL.len()] }
    }

    fn total_of(&self, part: MemoryPart) -> &AtomicUsize {
        &self.totals[part as usize]
    }
}

/// The share of one structure in the memory of a part. Dropping it gives its bytes back.
#[derive(Debug)]
pub struct MemoryShare {
    ledger: &'static Ledger,
    part: MemoryPart,
    bytes: usize,
}

impl MemoryShare {
    /// Creates a share of so many bytes.
    pub fn of(part: MemoryPart, bytes: usize) -> MemoryShare {
        let mut share = MemoryShare::default();
        share.set(part, bytes);
        share
    }

    /// Sets the bytes that the structure holds now, and their part.
    pub fn set(&mut self, part: MemoryPart, bytes: usize) {
        if (part, bytes) == (self.part, self.bytes) {
            return;
        }
        // Added before the old bytes are taken off, so that no total falls below zero.
        self.ledger.total_of(part).fetch_add(bytes, Ordering::Relaxed);
        self.ledger.total_of(self.part).fetch_sub(self.bytes, Ordering::Relaxed);
        (self.part, self.bytes) = (part, bytes);
    }

    /// Returns the bytes that were set last.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Default for MemoryShare {
    /// A share without bytes.
    fn default() -> MemoryShare {
        MemoryShare { ledger: &LEDGER, part: MemoryPart::default(), bytes: 0 }
    }
}

impl Clone for MemoryShare {
    /// The share of a copy of the structure, which holds as many bytes again.
    fn clone(&self) -> MemoryShare {
        let mut share = MemoryShare { ledger: self.ledger, part: self.part, bytes: 0 };
        share.set(self.part, self.bytes);
        share
    }
}

impl Drop for MemoryShare {
    fn drop(&mut self) {
        self.set(self.part, 0);
    }
}

/// Bytes that a value has allocated beside its own size.
pub trait HeapBytes {
    /// Returns these bytes as the allocator counts them.
    fn heap_bytes(&self) -> usize;
}

impl HeapBytes for i64 {
    fn heap_bytes(&self) -> usize {
        0
    }
}

impl HeapBytes for Vec<u8> {
    /// The bytes of a vector that was allocated as long as it is, as keys and rows of maps are.
    fn heap_bytes(&self) -> usize {
        allocated_bytes(self.len())
    }
}

impl<A: HeapBytes, B: HeapBytes> HeapBytes for (A, B) {
    fn heap_bytes(&self) -> usize {
        self.0.heap_bytes() + self.1.heap_bytes()
    }
}

/// A value with the share of the bytes that it had allocated when it was wrapped.
#[derive(Debug)]
pub struct Counted<T> {
    value: T,
    _share: MemoryShare,
}

impl<T: HeapBytes> Counted<T> {
    /// Wraps a value of a part.
    pub fn new(part: MemoryPart, value: T) -> Counted<T> {
        let share = MemoryShare::of(part, value.heap_bytes());
        Counted { value, _share: share }
    }
}

impl<T> Deref for Counted<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// Gives back a vector's room beyond its items. `Vec::shrink_to_fit` asks the allocator to shorten the block,
/// and mimalloc does so in place while more than half of it stays in use: the rest would stay resident.
pub fn shrink<T>(items: &mut Vec<T>) {
    let spare = items.capacity() - items.len();
    if spare > items.len() / 16 {
        let mut exact = Vec::with_capacity(items.len());
        exact.append(items);
        *items = exact;
    }
}

/// Returns the bytes that a vector has allocated for its items, used or not.
pub fn vector_bytes<T>(vector: &Vec<T>) -> usize {
    allocated_bytes(vector.capacity() * size_of::<T>())
}

/// Returns the bytes that an allocation of `requested` bytes takes. mimalloc rounds small ones up to classes,
/// of which there are four for each doubling, and large ones up to pages.
#[inline]
pub const fn allocated_bytes(requested: usize) -> usize {
    match requested {
        0 => 0,
        1..=8 => 8,
        9..=64 => requested.next_multiple_of(16),
        65..=0x8_0000 => requested.next_multiple_of(1 << ((requested - 1).ilog2() - 2)),
        _ => requested.next_multiple_of(4096),
    }
}

/// Estimates the bytes of a B-tree with so many entries of `entry_bytes` each, without the allocations of the
/// entries themselves. A node has room for eleven entries, and a tree of one entry has a whole node; in a
/// larger tree nodes are about two thirds full, and inner nodes and the allocator's rounding add the rest.
pub const fn tree_bytes(entries: usize, entry_bytes: usize) -> usize {
    match entries {
        0 => 0,
        1..=11 => allocated_bytes(11 * entry_bytes + 16),
        _ => 2 * entries * entry_bytes + 16,
    }
}

/// Returns the bytes of a hash table with room for `capacity` entries of `entry_bytes` each, without the
/// allocations of the entries themselves. A table has a power of two of places, with a byte of the hash for
/// each, and fills seven eighths of them.
pub const fn table_bytes(capacity: usize, entry_bytes: usize) -> usize {
    match capacity {
        0 => 0,
        _ => allocated_bytes((capacity * 8 / 7).next_power_of_two() * (entry_bytes + 1) + 16),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A share of a ledger that no other test knows.
    fn share_of(ledger: &'static Ledger, part: MemoryPart, bytes: usize) -> MemoryShare {
        let mut share = MemoryShare { ledger, part, bytes: 0 };
        share.set(part, bytes);
        share
    }

    fn totals(ledger: &Ledger) -> Vec<usize> {
        ledger.totals.iter().map(|total| total.load(Ordering::Relaxed)).collect()
    }

    #[test]
    fn a_total_is_the_sum_of_the_shares_that_live() {
        static LEDGER: Ledger = Ledger::empty();
        let held = |part| LEDGER.total_of(part).load(Ordering::Relaxed);
        let mut first = share_of(&LEDGER, MemoryPart::Joins, 100);
        let second = share_of(&LEDGER, MemoryPart::Joins, 30);
        assert_eq!(held(MemoryPart::Joins), 130);
        first.set(MemoryPart::Joins, 40);
        assert_eq!((held(MemoryPart::Joins), first.bytes()), (70, 40));
        // A structure may pass from one part to another.
        first.set(MemoryPart::Expiry, 50);
        assert_eq!((held(MemoryPart::Joins), held(MemoryPart::Expiry)), (30, 50));
        let copy = second.clone();
        assert_eq!(held(MemoryPart::Joins), 60);
        drop(second);
        assert_eq!(held(MemoryPart::Joins), 30);
        drop((first, copy));
        assert!(totals(&LEDGER).iter().all(|total| *total == 0));
    }

    #[test]
    fn shares_may_end_on_other_threads() {
        static LEDGER: Ledger = Ledger::empty();
        let threads: Vec<_> = MemoryPart::ALL
            .into_iter()
            .map(|part| {
                let mut kept = share_of(&LEDGER, part, 1);
                std::thread::spawn(move || {
                    for bytes in 0..10_000 {
                        kept.set(part, bytes);
                        drop(share_of(&LEDGER, MemoryPart::Epochs, bytes));
                    }
                    kept
                })
            })
            .collect();
        let kept: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        assert_eq!(totals(&LEDGER), [9_999; MemoryPart::ALL.len()]);
        drop(kept);
        assert_eq!(totals(&LEDGER), [0; MemoryPart::ALL.len()]);
    }

    #[test]
    fn the_process_has_a_ledger() {
        // Other tests do not report to this part.
        let share = MemoryShare::of(MemoryPart::KafkaProducer, 7);
        assert_eq!(MemoryPart::KafkaProducer.held_bytes(), 7);
        drop(share);
        assert_eq!(MemoryPart::KafkaProducer.held_bytes(), 0);
    }

    #[test]
    fn a_counted_value_reports_until_it_is_dropped() {
        // Other tests do not report to this part.
        let counted = Counted::new(MemoryPart::Sessions, vec![7u8; 100]);
        assert_eq!((counted.len(), MemoryPart::Sessions.held_bytes()), (100, 112));
        drop(counted);
        assert_eq!(MemoryPart::Sessions.held_bytes(), 0);
        assert_eq!(vector_bytes(&Vec::<u64>::with_capacity(20)), 160);
    }

    #[test]
    fn names_are_labels_and_differ() {
        for (place, part) in MemoryPart::ALL.into_iter().enumerate() {
            assert_eq!(part as usize, place);
            assert!(part.name().bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'));
        }
        let names: std::collections::BTreeSet<_> = MemoryPart::ALL.map(MemoryPart::name).into();
        assert_eq!(names.len(), MemoryPart::ALL.len());
    }

    #[test]
    fn allocations_are_rounded_to_the_classes_of_the_allocator() {
        let small = [(0, 0), (1, 8), (8, 8), (9, 16), (64, 64), (65, 80), (128, 128), (129, 160)];
        let large = [(544, 640), (1025, 1280), (1_000_000, 1_003_520)];
        for (requested, class) in small.into_iter().chain(large) {
            assert_eq!(allocated_bytes(requested), class, "{requested}");
        }
        for requested in 0..10_000 {
            let class = allocated_bytes(requested);
            assert!(class >= requested && allocated_bytes(class) == class, "{requested}");
            assert!(requested < 64 || class * 4 <= requested * 5, "{requested}");
        }
    }

    #[test]
    fn trees_and_tables_grow_with_their_entries() {
        assert_eq!((tree_bytes(0, 48), table_bytes(0, 48)), (0, 0));
        // One node of eleven entries of 48 bytes.
        assert_eq!((tree_bytes(1, 48), tree_bytes(11, 48)), (640, 640));
        assert_eq!(tree_bytes(1000, 48), 96_016);
        // Three entries have four places.
        assert_eq!(table_bytes(3, 15), 80);
        assert_eq!(table_bytes(14, 15), 320);
        for entries in 0..100 {
            for entry in [1, 2, 24, 96] {
                assert!(tree_bytes(entries, entry) <= tree_bytes(entries + 1, entry), "{entries} {entry}");
            }
            assert!(table_bytes(entries, 24) <= table_bytes(entries + 1, 24), "{entries}");
        }
    }
}
