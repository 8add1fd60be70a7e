//! Checks of a state that need no knowledge of the topology.
//!
//! Reading everything also makes RocksDB verify the checksum of every block. Each finding is a sentence; an
//! empty list means a sound state.

use std::collections::BTreeMap;

use crate::catalogue::{Catalogue, StateTableKind};
use crate::dead_letter::{DeadLetterTotals, Order};
use crate::error::{StateError, hex};
use crate::store::bounded::{self, BOUNDED_KEY, BoundedTotals};
use crate::store::history::HISTORY_FAMILY;
use crate::store::index::{IndexDifference, IndexLayout, OtherValues};
use crate::store::read::count_of;
use crate::store::snapshot::Snapshot;
use crate::table;

impl Snapshot<'_> {
    /// Checks conservation, the catalogue, multiplicities of views, indexes against their views, the totals of
    /// the dead letter table and of the error table, the history of epochs, and those of views.
    pub fn verify(&self) -> Result<Vec<String>, StateError> {
        let mut findings = Vec::new();
        if let Err(error) = self.committed().progress.check_conservation() {
            findings.push(error.to_string());
        }
        let catalogue = self.catalogue()?.unwrap_or_default();
        let mut counted: BTreeMap<u32, &str> = BTreeMap::new();
        for entry in &catalogue.entries {
            if entry.kind == StateTableKind::View && entry.key.is_none() {
                counted.insert(entry.id, entry.name.as_str());
            }
        }
        for name in table::TABLE_FAMILIES {
            self.verify_family(name, &counted, &mut findings)?;
        }
        // The other families are only read, for their checksums.
        for name in table::FAMILIES.iter().filter(|name| !table::TABLE_FAMILIES.contains(name)) {
            let mut scan = self.scan_family(self.family(name)?, &[], 0);
            while scan.next_entry()?.is_some() {}
        }
        self.verify_indexes(&catalogue, &mut findings)?;
        self.verify_dead_letters(&mut findings)?;
        self.verify_errors(&catalogue, &mut findings)?;
        self.verify_epoch_entries(&mut findings)?;
        let mut views = BTreeMap::new();
        for entry in catalogue.entries.iter().filter(|entry| entry.kind == StateTableKind::View) {
            views.insert(entry.id, entry.name.as_str());
        }
        self.verify_histories((&views, self.epoch()), &mut findings)?;
        Ok(findings)
    }

    /// Reports keys of unknown state tables, and rows of counted views without a positive multiplicity.
    fn verify_family(
        &self,
        name: &str,
        counted: &BTreeMap<u32, &str>,
        findings: &mut Vec<String>,
    ) -> Result<(), StateError> {
        let (table_kinds, mut strays) = (self.table_kinds(), 0_u64);
        // The next start goes on with an index whose filling was interrupted.
        let begun = self.interrupted_filling(self.committed().epoch)?.map(|filling| filling.table_id());
        let histories = if name == HISTORY_FAMILY { self.history_ids()? } else { Vec::new() };
        let mut scan = self.scan_family(self.family(name)?, &[], 0);
        while let Some((key, value)) = scan.next_entry()? {
            let id = key.first_chunk::<4>().copied().map(u32::from_be_bytes).unwrap_or_default();
            if id == table::STAMP || begun == Some(id) || histories.contains(&id) {
                continue;
            }
            if table_kinds.get(&id).is_none_or(|kind| kind.family() != name) {
                strays += 1;
            } else if let Some(view) = counted.get(&id)
                && count_of(value).is_none_or(|count| count <= 0)
            {
                findings.push(format!("view {view:?} holds row 0x{} without a count", hex(&key[4..])));
            }
        }
        if strays > 0 {
            findings.push(format!("{strays} keys in {name} belong to no space of the catalogue"));
        }
        Ok(())
    }

    /// Compares every index with its view: each row once, and nothing else.
    fn verify_indexes(&self, catalogue: &Catalogue, findings: &mut Vec<String>) -> Result<(), StateError> {
        for view in &catalogue.entries {
            for index in IndexLayout::of_view(&catalogue.entries, view)? {
                let (mut lacks, mut surplus) = (0_u64, 0_u64);
                let count = |difference: IndexDifference| match difference.wanted {
                    Some(_) => lacks += 1,
                    None => surplus += 1,
                };
                self.compare_index(&index, view.id, &OtherValues::new(), count)?;
                if lacks + surplus == 0 {
                    continue;
                }
                let entry = catalogue.entries.iter().find(|entry| entry.id == index.table_id);
                let name = entry.map_or("", |entry| &entry.name);
                findings.push(format!(
                    "index {name:?} lacks {lacks} of the rows of view {:?}, and holds {surplus} that it has not",
                    view.name
                ));
            }
        }
        Ok(())
    }

    /// Compares the recorded bytes and copies of the error table with those it holds.
    fn verify_errors(&self, catalogue: &Catalogue, findings: &mut Vec<String>) -> Result<(), StateError> {
        let totals: Option<BoundedTotals> = self.meta_json(BOUNDED_KEY)?;
        let entry = catalogue.find(StateTableKind::View, "herald.errors");
        let (Some(totals), Some(entry)) = (totals, entry) else { return Ok(()) };
        let (mut bytes, mut copies) = (0, 0);
        let mut scan = self.iter(entry.id, &[])?;
        while let Some((row, held)) = scan.next_entry()? {
            bytes += bounded::row_size(row);
            copies += count_of(held).unwrap_or(0).unsigned_abs();
        }
        if bytes != totals.bytes {
            findings.push(format!("herald.errors holds {bytes} bytes, and counts {}", totals.bytes));
        }
        if let Some(kept) = totals.kept
            && kept != copies
        {
            findings.push(format!("herald.errors holds {copies} copies of rows, and counts {kept}"));
        }
        Ok(())
    }

    /// Compares the recorded totals of the dead letter table with the dead letters it holds.
    fn verify_dead_letters(&self, findings: &mut Vec<String>) -> Result<(), StateError> {
        let totals: DeadLetterTotals = self.meta_json("dead_letter")?.unwrap_or_default();
        let (mut dead_letters, mut bytes) = (0_u64, 0_u64);
        self.dead_letters(Order::Oldest, usize::MAX, |_, dead_letter| {
            dead_letters += 1;
            bytes += dead_letter.len() as u64;
            Ok::<_, StateError>(())
        })?;
        if (dead_letters, bytes) != (totals.next.saturating_sub(totals.first), totals.bytes) {
            let (held, counted) = (totals.next.saturating_sub(totals.first), totals.bytes);
            findings.push(format!(
                "the dead letter table holds {dead_letters} letters of {bytes} bytes, and counts {held} of {counted}"
            ));
        }
        Ok(())
    }
}
