//! Content of each sink as a reader would hold it after the epochs so far: UPSERT by key, DEBEZIUM applied,
//! PLAIN as a multiset. A change that does not fit the content is an error of the engine.

use std::collections::BTreeMap;

use schemas::Rows;

use crate::collect::SinkDelta;
use crate::error::RunError;
use crate::plan::Plan;
use crate::plan::formats::Format;

/// Content of one sink: packed rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SinkContent {
    /// The row of each key, of a sink with a key.
    pub keyed: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The number of times each row was sent, of a PLAIN sink.
    pub plain: BTreeMap<Vec<u8>, u64>,
}

impl SinkContent {
    /// The rows, each as often as it is held.
    pub fn rows(&self) -> Rows {
        let mut rows = Rows::new();
        for row in self.keyed.values() {
            rows.push(row);
        }
        for (row, times) in &self.plain {
            for _ in 0..*times {
                rows.push(row);
            }
        }
        rows
    }
}

/// Content of all sinks of a plan.
#[derive(Clone, Debug, Default)]
pub struct Folded {
    sinks: BTreeMap<usize, SinkContent>,
}

fn broken(what: &str) -> RunError {
    RunError::Broken(what.to_owned())
}

impl Folded {
    /// Applies one worker's changes of one epoch.
    ///
    /// # Errors
    /// When a change does not fit the content.
    pub fn apply(&mut self, plan: &Plan, deltas: &BTreeMap<usize, SinkDelta>) -> Result<(), RunError> {
        for (at, delta) in deltas {
            let held = self.sinks.entry(*at).or_default();
            let Some(sink) = plan.sinks.get(*at) else { return Err(broken("a change of no sink")) };
            match sink.format {
                Format::Plain => append_rows(held, delta)?,
                format => change_by_key(held, delta, format == Format::Debezium)?,
            }
        }
        Ok(())
    }

    /// Content of one sink.
    pub fn content(&self, sink: usize) -> SinkContent {
        self.sinks.get(&sink).cloned().unwrap_or_default()
    }
}

/// Adds the rows of a PLAIN sink, which takes nothing back.
fn append_rows(held: &mut SinkContent, delta: &SinkDelta) -> Result<(), RunError> {
    for (row, diff) in delta.rows.iter().zip(&delta.diffs) {
        let times = u64::try_from(*diff).map_err(|_| broken("a PLAIN sink takes back"))?;
        *held.plain.entry(row.to_vec()).or_default() += times;
    }
    Ok(())
}

/// Applies one epoch's changes by key: at most one retraction and one insertion each.
fn change_by_key(held: &mut SinkContent, delta: &SinkDelta, debezium: bool) -> Result<(), RunError> {
    let mut keys: BTreeMap<&[u8], [Option<&[u8]>; 2]> = BTreeMap::new();
    for (place, diff) in delta.diffs.iter().enumerate() {
        let sides = keys.entry(delta.keys.get(place)).or_default();
        let side = &mut sides[usize::from(*diff > 0)];
        if diff.abs() != 1 || side.is_some() {
            return Err(broken("a sink has two changes of one kind for a key in one epoch"));
        }
        *side = Some(delta.rows.get(place));
    }
    for (key, [before, after]) in keys {
        if before == after {
            return Err(broken("a change of a sink changes nothing"));
        }
        // Only DEBEZIUM sends the row before the change to the reader.
        if debezium && held.keyed.get(key).map(Vec::as_slice) != before {
            return Err(broken("before is not what the reader holds"));
        }
        match after {
            Some(row) => drop(held.keyed.insert(key.to_vec(), row.to_vec())),
            None if held.keyed.remove(key).is_some() => {}
            None => return Err(broken("a sink deletes a key that is not there")),
        }
    }
    Ok(())
}
