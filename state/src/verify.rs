//! What a state can check about itself without knowing what its rows mean.
//!
//! Reading everything also has RocksDB check every block against its checksum. Findings are sentences; none
//! means that nothing was found.

use std::collections::BTreeMap;

use crate::catalogue::{Catalogue, SpaceKind};
use crate::dead_letter::{DeadLetterTotals, Order};
use crate::error::{StateError, hex};
use crate::space;
use crate::store::bounded::{self, BOUNDED, BoundedTotals};
use crate::store::read::count_of;
use crate::store::snapshot::Snapshot;

impl Snapshot<'_> {
    /// Checks conservation, the catalogue, multiplicities of views, and the bounds of the dead letter table.
    pub fn verify(&self) -> Result<Vec<String>, StateError> {
        let mut findings = Vec::new();
        if let Err(error) = self.committed().progress.check_conservation() {
            findings.push(error.to_string());
        }
        let catalogue = self.catalogue()?.unwrap_or_default();
        let counted: BTreeMap<u32, &str> = catalogue
            .entries
            .iter()
            .filter(|entry| entry.kind == SpaceKind::View && entry.key.is_none())
            .map(|entry| (entry.id, entry.name.as_str()))
            .collect();
        for name in space::SPACES {
            self.verify_family(name, &counted, &mut findings)?;
        }
        for name in space::FAMILIES.iter().filter(|name| !space::SPACES.contains(name)) {
            let reads = self.reads();
            reads.scan(reads.family(name)?, &[], 0).each(|_, _| Ok::<_, StateError>(()))?;
        }
        self.verify_dead_letters(&mut findings)?;
        self.verify_errors(&catalogue, &mut findings)?;
        Ok(findings)
    }

    fn verify_family(
        &self,
        name: &str,
        counted: &BTreeMap<u32, &str>,
        findings: &mut Vec<String>,
    ) -> Result<(), StateError> {
        let (reads, mut strays) = (self.reads(), 0_u64);
        reads.scan(reads.family(name)?, &[], 0).each(|key, value| -> Result<(), StateError> {
            let id = key.first_chunk().map(|id| u32::from_be_bytes(*id)).unwrap_or_default();
            if id == space::STAMP {
                return Ok(());
            }
            if self.spaces.get(&id).is_none_or(|kind| kind.family() != name) {
                strays += 1;
            } else if let Some(view) = counted.get(&id)
                && count_of(value).is_none_or(|count| count <= 0)
            {
                findings.push(format!("view {view:?} holds row 0x{} without a count", hex(&key[4..])));
            }
            Ok(())
        })?;
        if strays > 0 {
            findings.push(format!("{strays} keys in {name} belong to no space of the catalogue"));
        }
        Ok(())
    }

    /// Holds what the error table is said to keep against what it keeps.
    fn verify_errors(&self, catalogue: &Catalogue, findings: &mut Vec<String>) -> Result<(), StateError> {
        let totals: Option<BoundedTotals> = self.reads().meta_json(BOUNDED)?;
        let entry = catalogue.find(SpaceKind::View, "herald.errors");
        let (Some(totals), Some(entry)) = (totals, entry) else { return Ok(()) };
        let mut bytes = 0;
        self.scan(entry.id, &[], |row, _| -> Result<(), StateError> {
            bytes += bounded::size(row);
            Ok(())
        })?;
        if bytes != totals.bytes {
            findings.push(format!("herald.errors holds {bytes} bytes, and counts {}", totals.bytes));
        }
        Ok(())
    }

    fn verify_dead_letters(&self, findings: &mut Vec<String>) -> Result<(), StateError> {
        let totals: DeadLetterTotals = self.reads().meta_json("dead_letter")?.unwrap_or_default();
        let (mut letters, mut bytes) = (0_u64, 0_u64);
        self.dead_letters(Order::Oldest, usize::MAX, |_, letter| {
            letters += 1;
            bytes += letter.len() as u64;
            Ok::<_, StateError>(())
        })?;
        if (letters, bytes) != (totals.next.saturating_sub(totals.first), totals.bytes) {
            let (held, counted) = (totals.next.saturating_sub(totals.first), totals.bytes);
            findings.push(format!(
                "the dead letter table holds {letters} letters of {bytes} bytes, and counts {held} of {counted}"
            ));
        }
        Ok(())
    }
}
