//! The comparison of an edited topology with the state of an earlier text: what is kept, what is filled, what goes.
//!
//! A state table is kept if the relation that fills it is the same: if its print, with all that it reads, is that of
//! the table's entry in the catalogue, whatever its name or its place in the text, and whatever is beside it. New
//! tables are filled from the state, piece by piece or in the first epoch: from the rows of tables, from the
//! state of operators that are kept, and from views that are kept where the operators have dropped their final
//! rows. Parts that lack records of append-only sources get them from a second reading. Rows that cannot be had so refuse
//! the edit, unless the user accepts the gap.
//!
//! | module | content |
//! | --- | --- |
//! | `sources` | which sources go on where they are |
//! | `matching` | which arrangements and views keep their tables |
//! | `share` | how much of each relation the state can give to new ones |
//! | `sinks` | output of each sink |
//! | `tables` | the numbers of the tables, and the catalogue |
//! | `pieces` | the parts that are filled piece by piece, and those that the first epoch fills |
//! | `first_epoch` | the work of the first epoch |
//! | `error_rows` | the rows of the error table in it |
//! | `last_epoch` | the end of a filling, at which sinks send |
//! | `again` | the parts that get the records of append-only sources a second time |
//! | `earlier` | states of releases that did not store groups above tables |

mod again;
pub mod earlier;
mod error_rows;
pub(crate) mod first_epoch;
pub(crate) mod last_epoch;
mod matching;
mod pieces;
mod share;
mod sinks;
mod sources;
mod tables;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use state::{Catalogue, CatalogueEntry, Progress, ReadAgain, StateTableKind};

use super::fill::{Fill, SinkFill, ViewRows};
use super::state_tables::{ERRORS, StateTables};
use crate::error::RunError;
use crate::plan::{Op, Plan, RelId};
pub use again::resumed;
use matching::Matches;
pub use share::Share;
use share::Shares;
pub use sinks::Sends;
use sources::{SourceFate, SourceFates};

/// Kind of a part of a topology.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PartKind {
    /// A source or table.
    Source,
    /// A materialized view.
    View,
    /// A sink.
    Sink,
    /// An index.
    Index,
}

impl PartKind {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            PartKind::Source => "source",
            PartKind::View => "view",
            PartKind::Sink => "sink",
            PartKind::Index => "index",
        }
    }
}

/// Fate of a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Becomes {
    /// It goes on as it is.
    Unchanged,
    /// It goes on under another name.
    Renamed {
        /// The name in the state.
        was: String,
    },
    /// The state has none of its name.
    New,
    /// It is another one than the state's of its name.
    Changed,
    /// The topology has it no more.
    Removed,
}

/// One part of the topology with its fate.
#[derive(Clone, Debug)]
pub struct Part {
    /// Its kind.
    pub kind: PartKind,
    /// Its name.
    pub name: String,
    /// Its fate.
    pub fate: Becomes,
    /// The changed parts below a changed one whose own text is as it was.
    pub because: Vec<String>,
    /// State tables that it is filled from, with the names of their tables and views.
    pub filled_from: BTreeMap<u32, String>,
    /// Records of append-only sources that are read again for it, in words.
    pub read_again: Vec<String>,
    /// The rows that a sink sends.
    pub sends: Option<Sends>,
    /// The rows that are missing of it, in words.
    pub gap: Option<String>,
}

impl Part {
    fn new(kind: PartKind, name: &str, fate: Becomes) -> Part {
        Part {
            kind,
            name: name.to_owned(),
            fate,
            because: Vec::new(),
            filled_from: BTreeMap::new(),
            read_again: Vec::new(),
            sends: None,
            gap: None,
        }
    }

    /// A part that goes on as it is.
    pub fn unchanged(kind: PartKind, name: &str) -> Part {
        Part::new(kind, name, Becomes::Unchanged)
    }

    /// Returns true if it needs a look before the run: content goes, or is made or sent again.
    pub fn needs_attention(&self) -> bool {
        // An index has no rows of its own.
        if self.kind == PartKind::Index {
            return false;
        }
        let again = self.sends.as_ref().is_some_and(|sends| sends.is_again() && self.fate != Becomes::New);
        matches!(self.fate, Becomes::Changed | Becomes::Removed) || self.gap.is_some() || again
    }
}

/// A reason for which an edit is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// The name of the part that it is about; empty for the state as a whole.
    pub part: String,
    /// The reason.
    pub message: String,
    /// Advice to the user.
    pub hint: String,
    /// True if the user can accept it as a gap.
    pub is_gap: bool,
}

/// An edited topology over the state of an earlier text.
pub struct Edition {
    /// The state tables, with the work of the first epoch.
    pub tables: StateTables,
    /// All parts of the topology in its order, then those that it has no more.
    pub parts: Vec<Part>,
    /// Reasons to refuse it; accepted gaps are not among them.
    pub refusals: Vec<Obstacle>,
    /// The held catalogue with the indexes that kept views get, which are filled before all else; None without
    /// any.
    pub indexes: Option<Catalogue>,
    fates: SourceFates,
    /// The parts that a second reading of append-only sources can give their rows.
    again: ReadAgain,
}

/// The plan and the state that are compared, with the findings so far.
struct EditionComparison<'a> {
    plan: &'a Plan,
    /// The catalogue of all that is whole.
    held: &'a Catalogue,
    /// The same, with the additions that an earlier edit has not filled.
    all: &'a Catalogue,
    progress: &'a Progress,
    fates: &'a SourceFates,
    matches: &'a Matches,
    shares: &'a Shares,
}

impl Edition {
    /// Compares a plan with the catalogue and the progress of the state it is to go on from. With `allow_gap` what
    /// cannot be filled begins without it.
    ///
    /// # Errors
    /// When the plan or the catalogue break one of their own invariants.
    pub fn of(
        plan: &Plan,
        (held, progress): (&Catalogue, &Progress),
        allow_gap: bool,
    ) -> Result<Edition, RunError> {
        // Additions of an earlier edit that are not filled are given up.
        let (all, held) = (held, &held.without_filling());
        let fates = SourceFates::of(plan, held, progress);
        let matches = Matches::of(plan, &fates.named, held)?;
        let shares = Shares::of(plan, &fates, &matches, held);
        let comparison = EditionComparison {
            plan,
            held,
            all,
            progress,
            fates: &fates,
            matches: &matches,
            shares: &shares,
        };
        let mut refusals = state_refusals(held);
        refusals.extend(fates.refusals.iter().cloned());
        let mut parts = comparison.source_parts();
        parts.extend(comparison.view_parts(&mut refusals));
        let (sink_parts, mut sinks) = comparison.sink_parts(&mut refusals)?;
        parts.extend(sink_parts);
        let numbered = comparison.number_tables(&parts)?;
        let again = comparison.parts_to_read_again(&parts);
        parts.extend(numbered.index_parts);
        parts.extend(comparison.removed_parts(&parts));
        let (mut tables, views) = (numbered.tables, comparison.needed_views(&sinks.fills));
        let found = comparison.pieces(&tables, &numbered.new_tables, &mut sinks.fills)?;
        tables.mark_filling(plan, found.marks, found.leaving)?;
        tables.fill = Some(Arc::new(Fill {
            topology: held.topology.clone(),
            rels: shares.filled.clone(),
            tables: numbered.new_tables,
            sinks: sinks.fills,
            views,
            kept_owners: comparison.kept_owners(&parts),
            kept_rels: comparison.kept_rels(&parts),
            moved_owners: comparison.moved_owners(),
            kept_sinks: sinks.kept,
            dropped_targets: sinks.dropped_targets,
        }));
        if allow_gap {
            refusals.retain(|refusal| !refusal.is_gap);
        }
        Ok(Edition { tables, parts, refusals, indexes: numbered.indexes, fates, again })
    }

    /// Progress as the run begins with it: without sources that are gone or begin anew, and under the new names.
    pub fn progress(&self, held: &Progress) -> Progress {
        let mut progress = Progress { views: held.views.clone(), ..Progress::default() };
        for (source, fate) in self.fates.named.sources.iter().zip(&self.fates.fates) {
            let name = match fate {
                SourceFate::New => continue,
                SourceFate::Kept { now } => now,
                SourceFate::Rules | SourceFate::Emptied => &source.name,
            };
            if let Some(reached) = held.sources.get(&source.name) {
                progress.sources.insert(name.clone(), reached.clone());
            }
        }
        for part in self.parts.iter().filter(|part| part.kind == PartKind::View) {
            match &part.fate {
                Becomes::Unchanged => {}
                Becomes::Renamed { was } => {
                    let reached = held.views.get(was).cloned().unwrap_or_default();
                    progress.views.insert(part.name.clone(), reached);
                }
                Becomes::New | Becomes::Changed | Becomes::Removed => drop(progress.views.remove(&part.name)),
            }
        }
        let named =
            |name: &String| self.parts.iter().any(|part| part.kind == PartKind::View && part.name == *name);
        progress.views.retain(|name, _| named(name));
        progress
    }
}

/// Refusals for a state that cannot be edited as it is.
fn state_refusals(held: &Catalogue) -> Vec<Obstacle> {
    let mut parts = held.entries.iter().filter(|entry| {
        matches!(entry.kind, StateTableKind::Table | StateTableKind::Sink | StateTableKind::Arrangement)
    });
    if parts.all(|entry| entry.facts.edition.is_some() && !entry.fingerprint.is_empty()) {
        return Vec::new();
    }
    vec![Obstacle {
        part: String::new(),
        message:
            "the state does not say all that an edit goes by: an earlier release wrote it, or it is a copy \
                  that has not run yet"
                .to_owned(),
        hint: "run the text that it was made for once, then this one".to_owned(),
        is_gap: false,
    }]
}

impl EditionComparison<'_> {
    /// The parts of the sources.
    fn source_parts(&self) -> Vec<Part> {
        let mut parts = Vec::with_capacity(self.plan.sources.len());
        for (at, source) in self.plan.sources.iter().enumerate() {
            if self.plan.first_reader(at).is_some() {
                continue;
            }
            let was = &self.fates.named.sources[at].name;
            let fate = match &self.fates.fates[at] {
                SourceFate::Kept { .. } if *was == source.name => Becomes::Unchanged,
                SourceFate::Kept { .. } => Becomes::Renamed { was: was.clone() },
                SourceFate::New if sources::held_source(self.held, &source.name).is_none() => Becomes::New,
                SourceFate::New | SourceFate::Rules | SourceFate::Emptied => Becomes::Changed,
            };
            let mut part = Part::new(PartKind::Source, &source.name, fate);
            if matches!(self.fates.fates[at], SourceFate::Rules | SourceFate::Emptied) {
                part.gap = Some(self.missing_text(&BTreeSet::from([at])));
            }
            parts.push(part);
        }
        parts
    }

    /// The parts of the views; adds the refusals of those that cannot be filled.
    fn view_parts(&self, refusals: &mut Vec<Obstacle>) -> Vec<Part> {
        let mut parts = Vec::with_capacity(self.plan.views.len());
        for (at, view) in self.plan.views.iter().enumerate() {
            let kept = self.shares.kept_views.get(&at).and_then(|id| self.entry(*id));
            let held = self.held.find(StateTableKind::View, &view.name);
            let fate = match kept {
                Some(kept) if kept.name == view.name => Becomes::Unchanged,
                Some(kept) => Becomes::Renamed { was: kept.name.clone() },
                None if held.is_some() => Becomes::Changed,
                None => Becomes::New,
            };
            let mut part = Part::new(PartKind::View, &view.name, fate);
            if kept.is_none() {
                part.filled_from = self.filled_from(view.rel);
                part.read_again = self.records_read_again(view.rel);
                self.note_gap((PartKind::View, view.rel), &mut part, refusals);
                let same = held.is_some_and(|held| held.facts.definition.as_ref() == Some(&view.definition));
                if same {
                    part.because = self.changed_below(at);
                }
            }
            parts.push(part);
        }
        parts
    }

    /// Notes the gap of a part that is filled from a relation, and the refusal for it.
    fn note_gap(&self, (kind, rel): (PartKind, RelId), part: &mut Part, refusals: &mut Vec<Obstacle>) {
        let share = self.shares.of[rel];
        if share == Share::All {
            return;
        }
        let sources = self.shares.missing_sources(self.plan, rel);
        let missing = self.missing_text(&sources);
        // A changed source has an obstacle of its own, which is that of all above it.
        let of_sources = sources.iter().all(|at| self.fates.is_changed(*at)) && !sources.is_empty();
        if of_sources && share != Share::Lost {
            part.gap = Some(missing);
            return;
        }
        let name = &part.name;
        let lost = share == Share::Lost && kind == PartKind::View;
        let hint = if lost {
            "put a materialized view below it before, while the topology runs on; or begin over with --fresh"
        } else {
            "declare the topic a second time under another name and read that: a new source is read from its first \
             record; or go on from what there is with --allow-gap"
        };
        refusals.push(Obstacle {
            part: name.clone(),
            message: format!("{} {name} cannot be filled: {missing}", kind.word()),
            hint: hint.to_owned(),
            is_gap: !lost,
        });
        part.gap = Some(missing);
    }

    /// Words for the records that would be needed again.
    fn missing_text(&self, of: &BTreeSet<usize>) -> String {
        let mut texts = Vec::with_capacity(of.len());
        for at in of {
            texts.push(sources::range_text(&self.fates.named.sources[*at], self.progress));
        }
        if texts.is_empty() {
            return "what led to it is not kept".to_owned();
        }
        format!("{} would be needed again", texts.join(", and "))
    }

    /// The tables and views that a relation is filled from.
    fn filled_from(&self, rel: RelId) -> BTreeMap<u32, String> {
        let (mut from, mut seen, mut open) = (BTreeMap::new(), BTreeSet::from([rel]), vec![rel]);
        while let Some(id) = open.pop() {
            if let Some(rows) = self.shares.from_views.get(&id)
                && let Some(entry) = self.entry(rows.table_id)
            {
                from.insert(rows.table_id, format!("view {}", entry.name));
                continue;
            }
            if let Op::Source(at) = self.plan.rels[id].op {
                let name = &self.fates.named.sources[at].name;
                if let Some(entry) = self.held.find(StateTableKind::Table, name) {
                    from.insert(entry.id, format!("table {}", self.plan.sources[at].name));
                }
            }
            if self.shares.is_restored(self.plan, id) {
                for table_id in self.matches.tables_of(id) {
                    from.insert(table_id, format!("the state of {}", self.plan.rels[id].owner));
                }
                continue;
            }
            open.extend(self.plan.rels[id].op.inputs().into_iter().filter(|input| seen.insert(*input)));
        }
        from
    }

    /// The changed sources and views below a view.
    fn changed_below(&self, at: usize) -> Vec<String> {
        let below = rels_below(self.plan, self.plan.views[at].rel);
        let mut names = Vec::new();
        for (source, fate) in self.fates.fates.iter().enumerate() {
            let read =
                below.iter().any(|id| matches!(self.plan.rels[*id].op, Op::Source(of) if of == source));
            let is_second = self.plan.first_reader(source).is_some();
            if read && !is_second && !matches!(fate, SourceFate::Kept { .. }) {
                names.push(self.plan.sources[source].name.clone());
            }
        }
        for (other, view) in self.plan.views.iter().enumerate() {
            if other != at && below.contains(&view.rel) && !self.shares.kept_views.contains_key(&other) {
                names.push(view.name.clone());
            }
        }
        names
    }

    /// The parts of the state that the topology has no more.
    fn removed_parts(&self, parts: &[Part]) -> Vec<Part> {
        let mut removed = Vec::new();
        for entry in &self.held.entries {
            let (kind, name) = match entry.kind {
                StateTableKind::Table => (PartKind::Source, entry.name.as_str()),
                StateTableKind::View if entry.name == ERRORS => continue,
                StateTableKind::View => (PartKind::View, entry.name.as_str()),
                StateTableKind::Index => (PartKind::Index, entry.name.as_str()),
                StateTableKind::Sink => match entry.name.strip_prefix("source ") {
                    Some(name) => (PartKind::Source, name),
                    None => (PartKind::Sink, entry.name.as_str()),
                },
                StateTableKind::Arrangement => continue,
            };
            let goes_on = parts.iter().any(|part| {
                part.kind == kind
                    && (part.name == name || matches!(&part.fate, Becomes::Renamed { was } if was == name))
            });
            if !goes_on {
                removed.push(Part::new(kind, name, Becomes::Removed));
            }
        }
        removed
    }

    /// The relations that new ones read from the tables of kept views.
    fn needed_views(&self, sinks: &BTreeMap<usize, SinkFill>) -> BTreeMap<RelId, ViewRows> {
        let mut open = Vec::new();
        for id in &self.shares.filled {
            open.extend(self.plan.rels[*id].op.inputs());
        }
        for (at, view) in self.plan.views.iter().enumerate() {
            if !self.shares.kept_views.contains_key(&at) {
                open.push(view.rel);
            }
        }
        for (at, sink) in sinks {
            if sink.now.is_none() {
                open.push(self.plan.sinks[*at].rel);
            }
        }
        let (mut needed, mut seen) = (BTreeMap::new(), BTreeSet::new());
        while let Some(id) = open.pop() {
            if !seen.insert(id) {
                continue;
            }
            match self.shares.from_views.get(&id) {
                Some(rows) => drop(needed.insert(id, rows.clone())),
                None if self.plan.rels[id].op.is_stateful() => {}
                None => open.extend(self.plan.rels[id].op.inputs()),
            }
        }
        needed
    }

    /// Names by which rows of the error table go on, each with its new one: of kept views and sinks, and of all that
    /// is below them and nowhere else.
    fn kept_owners(&self, parts: &[Part]) -> BTreeMap<String, String> {
        let (mut kept, below) = (BTreeMap::new(), self.rels_of_kept_parts(parts));
        for (at, table_id) in &self.shares.kept_views {
            if let Some(entry) = self.entry(*table_id) {
                kept.insert(entry.name.clone(), self.plan.views[*at].name.clone());
            }
        }
        for part in parts.iter().filter(|part| part.kind == PartKind::Sink) {
            match &part.fate {
                Becomes::Unchanged => drop(kept.insert(part.name.clone(), part.name.clone())),
                Becomes::Renamed { was } => drop(kept.insert(was.clone(), part.name.clone())),
                Becomes::New | Becomes::Changed | Becomes::Removed => {}
            }
        }
        let mut changed = BTreeSet::new();
        for (id, rel) in self.plan.rels.iter().enumerate() {
            if !below.contains(&id) {
                changed.insert(rel.owner.as_str());
            }
        }
        for rel in &self.plan.rels {
            if !changed.contains(rel.owner.as_str()) {
                kept.entry(rel.owner.clone()).or_insert_with(|| rel.owner.clone());
            }
        }
        kept
    }

    /// The relations of kept views and sinks, and all below them.
    fn rels_of_kept_parts(&self, parts: &[Part]) -> BTreeSet<RelId> {
        let mut below = BTreeSet::new();
        for at in self.shares.kept_views.keys() {
            below.extend(rels_below(self.plan, self.plan.views[*at].rel));
        }
        for sink in &self.plan.sinks {
            let goes_on = parts.iter().any(|part| {
                part.kind == PartKind::Sink
                    && part.name == sink.name
                    && matches!(part.fate, Becomes::Unchanged | Becomes::Renamed { .. })
            });
            if goes_on {
                below.extend(rels_below(self.plan, sink.rel));
            }
        }
        below
    }

    /// The relations that the state has: those of kept parts, operators whose state is kept, and all below them.
    fn kept_rels(&self, parts: &[Part]) -> BTreeSet<RelId> {
        let mut kept = self.rels_of_kept_parts(parts);
        for id in 0..self.plan.rels.len() {
            if self.shares.is_restored(self.plan, id) {
                kept.extend(rels_below(self.plan, id));
            }
        }
        kept
    }

    /// Owners of operators whose state goes on under others, as the names of state tables have them.
    fn moved_owners(&self) -> BTreeMap<String, BTreeSet<String>> {
        let mut moved: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (id, rel) in
            self.plan.rels.iter().enumerate().filter(|(id, _)| self.shares.is_restored(self.plan, *id))
        {
            for entry in self.matches.tables_of(id).into_iter().filter_map(|table_id| self.entry(table_id)) {
                let was = entry.name.split('/').next().unwrap_or_default();
                if was != rel.owner.to_lowercase() {
                    moved.entry(was.to_owned()).or_default().insert(rel.owner.clone());
                }
            }
        }
        moved
    }

    /// The entry of a held state table.
    fn entry(&self, id: u32) -> Option<&CatalogueEntry> {
        self.held.all_entries().find(|entry| entry.id == id)
    }
}

/// A relation and all below it.
fn rels_below(plan: &Plan, rel: RelId) -> BTreeSet<RelId> {
    let (mut below, mut open) = (BTreeSet::from([rel]), vec![rel]);
    while let Some(id) = open.pop() {
        open.extend(plan.rels[id].op.inputs().into_iter().filter(|input| below.insert(*input)));
    }
    below
}
