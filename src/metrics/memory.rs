//! Metrics of memory: the resident memory of the process, and the parts that explain it.
//!
//! Structures report their bytes to the ledger of [`schemas::memory`]. The database, the answers that wait to
//! be read, and the mappings of the process are measured when `/metrics` is read. Anonymous memory that is in no
//! block of the program's, and that the libraries in C do not report, is the part `free`: the allocators hold
//! it. The remainder is the part `unaccounted`, so that the parts add up to the resident memory: structures that
//! report nothing. It is below zero while more is reported than is resident.

use anyhow::Result;
use prometheus::core::Collector;
use prometheus::{IntGauge, IntGaugeVec, Registry};
use schemas::MemoryPart;
use state::Store;

use super::{allocator, gauge_vec, saturating_i64};

/// Longest mapping without access that is taken for the guard below a thread's stack.
const MAX_GUARD_BYTES: u64 = 64 << 10;

/// Gauges of the resident memory and of its parts.
pub struct MemoryGauges {
    resident: IntGauge,
    parts: IntGaugeVec,
}

impl MemoryGauges {
    /// Creates and registers the gauges.
    pub fn new(registry: &Registry) -> Result<MemoryGauges> {
        let gauges = MemoryGauges {
            resident: IntGauge::new(
                "resident_memory_bytes",
                "Resident memory of the process; queries run in processes of their own.",
            )?,
            parts: gauge_vec(
                "memory_bytes",
                "Resident memory by part; free is what allocators hold unused, unaccounted what no part explains.",
                &["part"],
            )?,
        };
        for collector in gauges.collectors() {
            registry.register(collector)?;
        }
        Ok(gauges)
    }

    /// All gauges of memory.
    pub fn collectors(&self) -> Vec<Box<dyn Collector>> {
        vec![Box::new(self.resident.clone()), Box::new(self.parts.clone())]
    }

    /// Measures the process and sets all gauges; `answers` are the bytes of answers that wait to be read.
    /// Without the kernel's list of mappings the gauges stay as they are.
    pub fn measure(&self, store: Option<&Store>, answers: u64) {
        let Ok(mappings) = std::fs::read_to_string("/proc/self/smaps") else { return };
        let process = ProcessMemory::parse(&mappings);
        let database = store.and_then(|store| store.memory().ok()).unwrap_or_default();
        let reported = MemoryPart::ALL.map(|part| (part.name(), part.held_bytes() as u64));
        // Memory of the libraries in C and C++, which the other allocator has.
        let kafka = MemoryPart::KafkaConsumer.held_bytes() + MemoryPart::KafkaProducer.held_bytes();
        let outside =
            kafka as u64 + database.block_cache_bytes + database.memtable_bytes + database.table_reader_bytes;
        let measured = [
            ("block_cache", database.block_cache_bytes),
            ("memtables", database.memtable_bytes),
            ("table_readers", database.table_reader_bytes),
            ("queries", answers),
            ("program", process.program),
            ("stacks", process.stacks),
            ("free", process.anonymous.saturating_sub(allocator::allocated() + outside)),
        ];
        self.set_parts(process.resident, reported.into_iter().chain(measured));
    }

    /// Sets the gauges of all parts, and the remainder of the resident memory.
    fn set_parts(&self, resident: u64, parts: impl Iterator<Item = (&'static str, u64)>) {
        let mut left = saturating_i64(resident);
        self.resident.set(left);
        for (part, bytes) in parts {
            let bytes = saturating_i64(bytes);
            self.parts.with_label_values(&[part]).set(bytes);
            left = left.saturating_sub(bytes);
        }
        self.parts.with_label_values(&["unaccounted"]).set(left);
    }
}

/// Resident bytes of the process by the kind of their mapping.
#[derive(Debug, Default, PartialEq)]
struct ProcessMemory {
    /// All mappings.
    resident: u64,
    /// Mapped files: the program and its libraries, the pages included that were relocated.
    program: u64,
    /// Stacks of threads.
    stacks: u64,
    /// Anonymous memory that is no stack: what the allocators hold.
    anonymous: u64,
}

/// Kind of a mapping.
#[derive(Clone, Copy, PartialEq)]
enum MappingKind {
    File,
    Stack,
    Other,
}

/// The line that begins the description of a mapping.
struct Mapping<'a> {
    start: u64,
    end: u64,
    access: &'a str,
    path: &'a str,
}

impl ProcessMemory {
    /// Adds up the mappings in the form of `/proc/self/smaps`.
    fn parse(text: &str) -> ProcessMemory {
        let (mut memory, mut kind, mut guard_end) = (ProcessMemory::default(), MappingKind::Other, 0);
        for line in text.lines() {
            if let Some(resident) = line.strip_prefix("Rss:") {
                let kib = resident.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0);
                memory.resident += kib << 10;
                match kind {
                    MappingKind::File => memory.program += kib << 10,
                    MappingKind::Stack => memory.stacks += kib << 10,
                    MappingKind::Other => memory.anonymous += kib << 10,
                }
            } else if let Some(mapping) = Mapping::parse(line) {
                kind = mapping.kind(guard_end);
                guard_end = if mapping.is_guard() { mapping.end } else { 0 };
            }
        }
        memory
    }
}

impl Mapping<'_> {
    fn parse(line: &str) -> Option<Mapping<'_>> {
        let mut fields = line.split_whitespace();
        let (start, end) = fields.next()?.split_once('-')?;
        let address = |hex| u64::from_str_radix(hex, 16).ok();
        let (start, end, access) = (address(start)?, address(end)?, fields.next()?);
        // Offset, device and inode stand before the path, which anonymous memory lacks.
        Some(Mapping { start, end, access, path: fields.nth(3).unwrap_or_default() })
    }

    /// The kind of the mapping. A thread's stack is anonymous memory right behind its guard.
    fn kind(&self, guard_end: u64) -> MappingKind {
        let behind_guard = self.path.is_empty() && self.access.starts_with("rw") && self.start == guard_end;
        match self.path {
            "[stack]" => MappingKind::Stack,
            path if path.starts_with('/') => MappingKind::File,
            _ if behind_guard => MappingKind::Stack,
            _ => MappingKind::Other,
        }
    }

    /// Returns true for the guard below a stack: a few pages without access.
    fn is_guard(&self) -> bool {
        self.path.is_empty() && self.access.starts_with("---") && self.end - self.start <= MAX_GUARD_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Program and data, the heap, a large reservation, a thread's stack with its guard, and the main stack.
    const MAPPINGS: &str = "\
55d000000000-55d000400000 r-xp 00000000 fe:00 42                         /usr/bin/herald run
Size:               4096 kB
Rss:                3000 kB
Pss:                3000 kB
VmFlags: rd ex mr mw me
55d000400000-55d000500000 rw-p 00400000 fe:00 42                         /usr/bin/herald run
Rss:                 200 kB
Anonymous:           200 kB
55d001000000-55d002000000 rw-p 00000000 00:00 0                          [heap]
Rss:               10000 kB
7f0000000000-7f0004000000 ---p 00000000 00:00 0
Rss:                   0 kB
7f0004000000-7f0008000000 rw-p 00000000 00:00 0
Rss:               50000 kB
7f0010000000-7f0010001000 ---p 00000000 00:00 0
Rss:                   0 kB
7f0010001000-7f0010201000 rw-p 00000000 00:00 0
Rss:                  40 kB
7ffe00000000-7ffe00100000 rw-p 00000000 00:00 0                          [stack]
Rss:                  60 kB
";

    #[test]
    fn mappings_are_told_apart() {
        let memory = ProcessMemory::parse(MAPPINGS);
        let kib = |kib: u64| kib << 10;
        let expected = ProcessMemory {
            resident: kib(63_300),
            program: kib(3200),
            stacks: kib(100),
            anonymous: kib(60_000),
        };
        assert_eq!(memory, expected);
        assert_eq!(ProcessMemory::parse("nothing"), ProcessMemory::default());
    }

    #[test]
    fn the_parts_add_up_to_the_resident_memory() -> Result<()> {
        let gauges = MemoryGauges::new(&Registry::new())?;
        let held = vec![7u8; 3 << 20];
        gauges.measure(None, 5000);
        let value = |part: &str| gauges.parts.with_label_values(&[part]).get();
        let families = gauges.parts.collect();
        let all = families.iter().flat_map(|family| family.get_metric());
        let sum: i64 = all.map(|metric| metric.get_gauge().get_value() as i64).sum();
        assert_eq!(sum, gauges.resident.get());
        assert!(gauges.resident.get() > held.len() as i64);
        assert!(value("program") > 0 && value("stacks") > 0);
        assert_eq!((value("queries"), value("memtables")), (5000, 0));
        Ok(())
    }

    #[test]
    fn more_reported_than_resident_is_below_zero() -> Result<()> {
        let gauges = MemoryGauges::new(&Registry::new())?;
        gauges.set_parts(1000, [("arrangements", 900), ("overlay", 300)].into_iter());
        assert_eq!(gauges.parts.with_label_values(&["unaccounted"]).get(), -200);
        gauges.set_parts(1500, [("arrangements", 900)].into_iter());
        assert_eq!(gauges.parts.with_label_values(&["unaccounted"]).get(), 600);
        Ok(())
    }
}
