//! The share of each relation of an edited topology that the state can give to new ones.

use std::collections::{BTreeMap, BTreeSet};

use state::{Catalogue, CatalogueEntry};

use super::matching::Matches;
use super::sources::{SourceFate, SourceFates};
use crate::plan::analysis::fallible::may_fail;
use crate::plan::explain::Prints;
use crate::plan::rewrite::prune::columns_read;
use crate::plan::{JoinKind, Op, Plan, RelId, When};
use crate::runtime::fill::ViewRows;
use crate::runtime::state_tables::expires;

/// Share of a relation's rows that can be had from the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Share {
    /// Not even a beginning without them: later changes take rows back that would not be there.
    Lost,
    /// None, and no later change needs one.
    Nothing,
    /// Those that have not expired; no later change needs another.
    Part,
    /// All.
    All,
}

/// Shares of all relations, with their consequences.
pub(super) struct Shares {
    /// By relation.
    pub of: Vec<Share>,
    /// Operators whose state is new.
    pub filled: BTreeSet<RelId>,
    /// Relations whose rows come from the table of a kept view.
    pub from_views: BTreeMap<RelId, ViewRows>,
    /// Tables of the views that are kept, by the index of the view.
    pub kept_views: BTreeMap<usize, u32>,
    /// Relations that go on as if nothing had been edited.
    intact: Vec<bool>,
}

impl Shares {
    /// Goes through the relations in the order of their dependencies.
    pub fn of(plan: &Plan, fates: &SourceFates, matches: &Matches, held: &Catalogue) -> Shares {
        let mut shares = Shares {
            of: Vec::with_capacity(plan.rels.len()),
            filled: BTreeSet::new(),
            from_views: BTreeMap::new(),
            kept_views: BTreeMap::new(),
            intact: Vec::with_capacity(plan.rels.len()),
        };
        let prints = Prints::of(plan);
        let stateful: BTreeSet<RelId> = matches.wanted.roles().map(|(rel, _, _)| rel).collect();
        for (id, rel) in plan.rels.iter().enumerate() {
            let inputs = rel.op.inputs();
            let inputs_intact = inputs.iter().all(|input| shares.intact[*input]);
            let has_table = stateful.contains(&id);
            let kept = has_table && inputs_intact && !matches.tables_of(id).is_empty();
            let share = match &rel.op {
                Op::Source(at) => share_of_source(plan, *at, &fates.fates[*at]),
                _ if kept && matches.has_gap(id, held) => share_of_kept(plan, id).min(Share::Part),
                _ if kept => share_of_kept(plan, id),
                _ => inputs.iter().map(|input| shares.of[*input]).min().unwrap_or(Share::All),
            };
            let intact = match &rel.op {
                Op::Source(at) => matches!(fates.fates[*at], SourceFate::Kept { .. }),
                _ => inputs_intact && (!has_table || kept || share == Share::All),
            };
            if has_table && !kept {
                shares.filled.insert(id);
            }
            shares.of.push(share);
            shares.intact.push(intact);
            shares.note_views(plan, id, (matches, held));
            shares.note_projections(plan, id, (matches, held, &prints));
        }
        shares
    }

    /// Notes which views of a relation are kept, and that its rows come from one of them where the state of
    /// operators gives less.
    fn note_views(&mut self, plan: &Plan, id: RelId, (matches, held): (&Matches, &Catalogue)) {
        if !self.intact[id] {
            return;
        }
        for (at, view) in plan.views.iter().enumerate().filter(|(_, view)| view.rel == id) {
            let Some(table_id) = matches.views.get(&at) else { continue };
            self.kept_views.insert(at, *table_id);
            let entry = held.entries.iter().find(|entry| entry.id == *table_id);
            let share = entry.map_or(Share::Lost, share_of_view);
            if share > self.of[id] {
                self.of[id] = share;
                let keyed = view.key.is_some();
                self.from_views.insert(id, ViewRows { table_id: *table_id, keyed, picked: None });
            }
        }
    }

    /// Notes that a relation's rows come from a kept view that is a projection of it, where the view has all columns
    /// that are read of it: what is above the view reads the relation itself then.
    fn note_projections(&mut self, plan: &Plan, id: RelId, with: ProjectionsOf<'_>) {
        let (matches, held, prints) = with;
        if !self.intact[id] || self.of[id] == Share::All || !plan.rels[id].op.is_stateful() {
            return;
        }
        for (at, view) in plan.views.iter().enumerate().filter(|(_, view)| view.rel > id) {
            let Some(table_id) = matches.views.get(&at) else { continue };
            let Some(columns) = prints.columns_within(id, view.rel) else { continue };
            if lacks_failed_rows(plan, view.rel) {
                continue;
            }
            let has_all = columns_read_of(plan, id).into_iter().all(|column| columns[column].is_some());
            let entry = held.entries.iter().find(|entry| entry.id == *table_id);
            let share = entry.map_or(Share::Lost, share_of_view);
            if has_all && share > self.of[id] {
                self.of[id] = share;
                let picked = Some((plan.rels[view.rel].schema.clone(), columns));
                let keyed = view.key.is_some();
                self.from_views.insert(id, ViewRows { table_id: *table_id, keyed, picked });
            }
        }
    }

    /// Returns true if an operator's state is restored from the state.
    pub fn is_restored(&self, plan: &Plan, id: RelId) -> bool {
        plan.rels[id].op.is_stateful() && plan.rels[id].durable && !self.filled.contains(&id)
    }

    /// Returns true if a relation goes on as if nothing had been edited.
    pub fn is_intact(&self, id: RelId) -> bool {
        self.intact[id]
    }

    /// The sources for lack of whose records a relation cannot be had whole.
    pub fn missing_sources(&self, plan: &Plan, rel: RelId) -> BTreeSet<usize> {
        let (mut sources, mut seen, mut open) = (BTreeSet::new(), BTreeSet::from([rel]), vec![rel]);
        while let Some(id) = open.pop() {
            if self.of[id] == Share::All {
                continue;
            }
            if let Op::Source(at) = plan.rels[id].op {
                sources.insert(at);
            }
            // What a kept operator has dropped came from all of its sources.
            if self.is_restored(plan, id) {
                sources.extend(plan.sources_of(id));
                continue;
            }
            open.extend(plan.rels[id].op.inputs().into_iter().filter(|input| seen.insert(*input)));
        }
        sources
    }
}

/// The tables that fit the plan, the state's catalogue, and the prints of the plan.
type ProjectionsOf<'a> = (&'a Matches, &'a Catalogue, &'a Prints);

/// The columns of a relation that views, sinks and other relations read.
fn columns_read_of(plan: &Plan, id: RelId) -> BTreeSet<usize> {
    let all = 0..plan.rels[id].schema.fields().len();
    let mut roots = plan.views.iter().map(|view| view.rel).chain(plan.sinks.iter().map(|sink| sink.rel));
    if roots.any(|root| root == id) {
        return all.collect();
    }
    let mut read = BTreeSet::new();
    for rel in plan.rels.iter().filter(|rel| rel.op.inputs().contains(&id)) {
        match &rel.op {
            Op::Project { exprs, .. } => read.extend(exprs.iter().flat_map(columns_read)),
            _ => return all.collect(),
        }
    }
    read
}

/// Returns true if a view may lack rows of the operator that it is a projection of: those that an expression fails on.
fn lacks_failed_rows(plan: &Plan, mut rel: RelId) -> bool {
    while let Op::Project { input, .. } = &plan.rels[rel].op {
        if may_fail(plan, rel) {
            return true;
        }
        rel = *input;
    }
    false
}

fn share_of_source(plan: &Plan, at: usize, fate: &SourceFate) -> Share {
    match (fate, &plan.sources[at].keyed) {
        // Nothing of it was read yet.
        (SourceFate::New, _) => Share::All,
        (SourceFate::Kept { .. }, Some(keyed)) if keyed.retention_us.is_none() => Share::All,
        (SourceFate::Kept { .. } | SourceFate::Rules, Some(_)) => Share::Part,
        _ => Share::Nothing,
    }
}

/// The share that an operator emits from its restored state.
pub(super) fn share_of_kept(plan: &Plan, id: RelId) -> Share {
    let rel = &plan.rels[id];
    let gone = if rel.is_append_only() { Share::Nothing } else { Share::Lost };
    match &rel.op {
        Op::EmitOnClose { .. } | Op::TemporalJoin { when: When::ProcTime, .. } => gone,
        // Rows that never leave are not kept in the state once they have entered.
        Op::TemporalFilter { until, .. } if until.is_empty() => gone,
        // Of an inner join only pairs of expired rows are missing, which are final.
        Op::Join { kind: JoinKind::Inner, .. } if expires(plan, id) => Share::Part,
        // A row whose match has expired would come as one without a match.
        Op::Join { .. } | Op::TemporalJoin { .. } if expires(plan, id) => Share::Lost,
        _ if expires(plan, id) => Share::Part,
        _ => Share::All,
    }
}

/// The share of its relation that a view holds.
fn share_of_view(entry: &CatalogueEntry) -> Share {
    if entry.retention.is_none() && entry.facts.gap.is_none() { Share::All } else { Share::Part }
}
