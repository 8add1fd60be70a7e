//! Conditions on now() that let no row pass once their sources have ended.

use std::collections::BTreeSet;

use crate::plan::{Op, Plan};

impl Plan {
    /// Names of the views and sinks whose conditions on now() let no row pass once the sources `ended`, by index, have
    /// ended: now() is then beyond all time, and rows that have an end leave. One with another source in it goes on.
    pub fn emptied_by_end(&self, ended: &BTreeSet<usize>) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for rel in &self.rels {
            if let Op::TemporalFilter { until, clock, .. } = &rel.op
                && !until.is_empty()
                && clock.iter().all(|source| ended.contains(source))
                && !names.contains(&rel.owner.as_str())
            {
                names.push(&rel.owner);
            }
        }
        names
    }
}
