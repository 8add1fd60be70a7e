//! The views, indexes, sinks and columns that depend on a place in a source.

use std::collections::BTreeSet;

use super::{ColumnLineage, ConditionId, Lineage, Output, Place};
use crate::plan::{Origin, Plan};

/// A view or sink that depends on a place.
pub(super) struct Affected<'p> {
    pub output: Output<'p>,
    /// The columns whose values depend on it; empty where it decides only which rows there are.
    pub columns: Vec<AffectedColumn>,
    /// The conditions that read it and decide which rows there are.
    pub rows: BTreeSet<ConditionId>,
    /// The view's indexes that have such a column, or all of them.
    pub indexes: Vec<&'p str>,
}

/// A column whose values depend on a place.
pub(super) struct AffectedColumn {
    pub column: usize,
    /// True if values of the place are taken over.
    pub copied: bool,
    /// True if values of the place are part of an expression.
    pub computed: bool,
    /// The conditions that read it and decide this column's values.
    pub conditions: BTreeSet<ConditionId>,
}

/// Numbers of things that depend on a place.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub views: usize,
    pub indexes: usize,
    pub sinks: usize,
}

/// The views and sinks that depend on a place.
pub(super) fn affected<'p>(plan: &'p Plan, lineage: &Lineage, on: &Place) -> Vec<Affected<'p>> {
    let mut all = Vec::new();
    for output in Output::all(plan) {
        let of = &lineage.rels[output.rel()];
        let reading = |ids: &BTreeSet<ConditionId>| -> BTreeSet<ConditionId> {
            ids.iter().copied().filter(|id| lineage.conditions[*id].reads(on)).collect()
        };
        let rows = reading(&lineage.rows_of(output));
        let mut columns = Vec::new();
        for (at, column) in of.columns.iter().enumerate() {
            let (copied, computed) = uses(column, on);
            let conditions = reading(&column.conditions);
            if copied || computed || !conditions.is_empty() {
                columns.push(AffectedColumn { column: at, copied, computed, conditions });
            }
        }
        if rows.is_empty() && columns.is_empty() {
            continue;
        }
        let changed = |column: &usize| !rows.is_empty() || columns.iter().any(|of| of.column == *column);
        let indexes = match output {
            Output::View(view) => {
                let read = view.indexes.iter().filter(|index| index.columns.iter().any(changed));
                read.map(|index| index.name.as_str()).collect()
            }
            Output::Sink(_) => Vec::new(),
        };
        all.push(Affected { output, columns, rows, indexes });
    }
    all
}

/// Tells whether a column copies values at a place, or of which it is a part, and whether it computes from them.
fn uses(column: &ColumnLineage, on: &Place) -> (bool, bool) {
    let (mut copied, mut computed) = (false, false);
    for (place, used) in &column.values {
        if place.reads(true, on) {
            copied |= used.copied;
            computed |= used.computed;
        }
    }
    (copied, computed)
}

/// The numbers of views, indexes and sinks among them.
pub(super) fn counts(all: &[Affected<'_>]) -> Counts {
    let mut counts = Counts::default();
    for affected in all {
        match affected.output {
            Output::View(_) => counts.views += 1,
            Output::Sink(_) => counts.sinks += 1,
        }
        counts.indexes += affected.indexes.len();
    }
    counts
}

/// The generated columns of the source that are computed from a place.
pub(super) fn generated_from(plan: &Plan, on: &Place) -> Vec<String> {
    let source = &plan.sources[on.source];
    let columns = super::columns::Deriver::new(plan).source_columns(on.source);
    let mut names = Vec::new();
    for (at, (column, origin)) in columns.iter().zip(&source.origins).enumerate() {
        let reads = column.values.keys().any(|place| place.reads(true, on));
        if at != on.column && reads && matches!(origin, Origin::Generated(_)) {
            names.push(source.schema.field(at).name().clone());
        }
    }
    names
}

impl Counts {
    /// The sentence with which the impact of a place ends.
    pub fn sentence(self) -> String {
        let count = |n: usize, one: &str| format!("{n} {one}{}", if n == 1 { "" } else { "s" });
        let index = |n: usize| if n == 1 { "1 index".to_owned() } else { format!("{n} indexes") };
        if self == Counts::default() {
            return "Nothing reads it: it could be left out.".to_owned();
        }
        let mut parts = vec![count(self.views, "view")];
        if self.indexes > 0 {
            parts.push(index(self.indexes));
        }
        parts.push(count(self.sinks, "sink"));
        format!("{} depend on it.", parts.join(", "))
    }
}
