//! What a reader of each sink holds after the epochs so far: UPSERT by key, DEBEZIUM applied, PLAIN
//! as a multiset. Each change must fit what is held: that is half of the proof.

use std::collections::BTreeMap;

use dataflows::plan::Plan;
use dataflows::render::collect::SinkDelta;
use dataflows::sql::ast::Format;
use schemas::Rows;

use crate::rows::{Row, sort, unpack};

/// All sinks, folded.
#[derive(Default)]
pub struct Folded {
    keyed: BTreeMap<usize, BTreeMap<Vec<u8>, Vec<u8>>>,
    plain: BTreeMap<usize, Vec<Vec<u8>>>,
}

impl Folded {
    /// Applies one worker's changes of one epoch.
    pub fn apply(&mut self, plan: &Plan, deltas: &BTreeMap<usize, SinkDelta>) {
        for (at, delta) in deltas {
            match plan.sinks[*at].format {
                Format::Plain => self.append(*at, delta),
                format => self.change(*at, delta, format == Format::Debezium),
            }
        }
    }

    fn append(&mut self, at: usize, delta: &SinkDelta) {
        for (row, diff) in delta.rows.iter().zip(&delta.diffs) {
            assert!(*diff > 0, "a PLAIN sink takes back");
            (0..*diff).for_each(|_| self.plain.entry(at).or_default().push(row.to_vec()));
        }
    }

    fn change(&mut self, at: usize, delta: &SinkDelta, debezium: bool) {
        let held = self.keyed.entry(at).or_default();
        let mut keys: BTreeMap<&[u8], [Option<&[u8]>; 2]> = BTreeMap::new();
        for (place, diff) in delta.diffs.iter().enumerate() {
            let sides = keys.entry(delta.keys.get(place)).or_default();
            let side = &mut sides[usize::from(*diff > 0)];
            assert!(diff.abs() == 1 && side.is_none(), "two changes of one kind for a key in one epoch");
            *side = Some(delta.rows.get(place));
        }
        for (key, [before, after]) in keys {
            assert_ne!(before, after, "a change that changes nothing");
            if debezium {
                assert_eq!(held.get(key).map(Vec::as_slice), before, "before is not what the reader holds");
            }
            match after {
                Some(row) => drop(held.insert(key.to_vec(), row.to_vec())),
                None => assert!(held.remove(key).is_some(), "a key that is not there is deleted"),
            }
        }
    }

    /// The rows a reader of a sink holds, sorted.
    pub fn rows(&self, plan: &Plan, at: usize) -> Vec<Row> {
        let mut packed = Rows::new();
        self.keyed.get(&at).into_iter().flat_map(BTreeMap::values).for_each(|row| packed.push(row));
        self.plain.get(&at).into_iter().flatten().for_each(|row| packed.push(row));
        let mut rows = unpack(&plan.rels[plan.sinks[at].rel].schema, &packed);
        sort(&mut rows);
        rows
    }
}
