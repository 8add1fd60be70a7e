//! State tables of a plan: their ids, names and fingerprints, and the check of a state against them.
//!
//! Each table, durable arrangement, view, sink and index is an entry of the state's catalogue, under a name that
//! follows from the plan and with the fingerprint of the plan that fills it. A state whose catalogue differs
//! belongs to another edition of the topology: it is refused with the names that changed, and `edition` decides what
//! of it is kept. Indexes alone may come and go: the state fills them from their views.

mod ended;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use state::{
    Catalogue, CatalogueEntry, Edited, EditionFacts, EntryFacts, FillFacts, HistoryLimits, IndexLayout,
    IndexOf, Retention, StateTableKind,
};

use super::fill::{Fill, Pieces};

use crate::error::RunError;
use crate::plan::aggregate::has_totals;
use crate::plan::explain::{
    Prints, fingerprint, is_other_print, operator_name, place_text, sink_fingerprint, sink_form,
    source_fingerprint,
};
use crate::plan::state_role::StateRole;
use crate::plan::{Keyed, Op, Plan, Rel, RelId, Source, View, When};

/// Ids of a topology's state tables.
#[derive(Clone, Debug, Default)]
pub struct StateTables {
    /// The error table: rows that expressions failed on, with their multiplicity.
    pub errors: u32,
    /// Tables of keyed sources, by source index.
    pub tables: BTreeMap<usize, u32>,
    /// Tables of views, in the plan's order.
    pub views: Vec<u32>,
    /// Bounds on the histories of views that keep one, by their tables.
    pub histories: BTreeMap<u32, HistoryLimits>,
    /// The filling of the tables that an edited topology adds, in the first epoch of this run.
    pub fill: Option<Arc<Fill>>,
    /// The parts that are being filled piece by piece, in this run and perhaps in earlier ones.
    pub pieces: Option<Arc<Pieces>>,
    /// Views of an earlier text that are kept for the output of sinks in the end.
    pub leaving: Vec<CatalogueEntry>,
    roles: BTreeMap<(RelId, StateRole), u32>,
    entries: Vec<CatalogueEntry>,
    /// The entries as of the end of a filling that reads sources a second time: those of the plan of the text.
    ended: Option<Vec<CatalogueEntry>>,
}

/// Name of the error table.
pub const ERRORS: &str = "herald.errors";

impl StateTables {
    /// The state tables of `plan`, with the ids that the catalogue `held` gave them.
    ///
    /// # Errors
    /// The names of tables, views and sinks that are not in `held` as the plan has them.
    pub fn of(plan: &Plan, held: Option<&Catalogue>) -> Result<StateTables, Vec<String>> {
        let mut tables = StateTables::default();
        let mut changed = BTreeSet::new();
        let mut builder =
            CatalogueBuilder { held, changed: &mut changed, entries: Vec::new(), blame: String::new() };
        // New tables are numbered in the order of their entries, so this order is part of the stored form.
        tables.errors =
            builder.add(StateTableKind::View, ERRORS, "1".into(), errors_schema(), (None, ERRORS));
        tables.add_sources(plan, &mut builder);
        let prints = Prints::of(plan);
        tables.add_operators((plan, &prints), &mut builder);
        tables.add_views((plan, &prints), &mut builder);
        add_sinks((plan, &prints), &mut builder);
        for view in &plan.views {
            for index in &view.indexes {
                let of = IndexOf { view: view.name.clone(), columns: index.columns.clone() };
                builder.add_index(&index.name, format!("{}/{:?}", view_print(plan, view), of.columns), of);
            }
        }
        tables.entries = std::mem::take(&mut builder.entries);
        // Entries of the state that the plan has no more are changes as well.
        if let Some(held) = held {
            for entry in held.entries.iter().filter(|entry| entry.kind != StateTableKind::Index) {
                if !tables.entries.iter().any(|e| e.kind == entry.kind && e.name == entry.name) {
                    changed.insert(entry.name.split('/').next().unwrap_or_default().to_string());
                }
            }
        }
        for connector in NUMBERED_CONNECTORS {
            changed.extend(held.and_then(|held| misplaced_sink(connector, &held.entries, &tables.entries)));
        }
        if !changed.is_empty() {
            return Err(changed.into_iter().collect());
        }
        tables.leaving = held.map(|held| held.leaving.clone()).unwrap_or_default();
        tables.find_pieces(plan).map_err(|error| vec![error.to_string()])?;
        Ok(tables)
    }

    /// Notes the parts that their entries say are being filled.
    fn find_pieces(&mut self, plan: &Plan) -> Result<(), RunError> {
        self.pieces = Pieces::of(plan, self)?.map(Arc::new);
        Ok(())
    }

    /// Marks entries as being filled, beside the views that are kept until they are whole.
    ///
    /// # Errors
    /// When the marks contradict the plan.
    pub fn mark_filling(
        &mut self,
        plan: &Plan,
        mut marks: BTreeMap<u32, FillFacts>,
        leaving: Vec<CatalogueEntry>,
    ) -> Result<(), RunError> {
        for entry in &mut self.entries {
            entry.facts.filling = marks.remove(&entry.id);
        }
        self.leaving = leaving;
        self.find_pieces(plan)
    }

    /// Adds the tables of keyed sources, and an entry for each other source, which fixes its definition.
    fn add_sources(&mut self, plan: &Plan, builder: &mut CatalogueBuilder<'_>) {
        for (at, source) in plan.sources.iter().enumerate() {
            let print = source_fingerprint(plan, at);
            if source.keyed.is_some() {
                let schema = Some(schemas::schema_to_json(&source.schema));
                let id =
                    builder.add(StateTableKind::Table, &source.name, print, schema, (None, &source.name));
                self.tables.insert(at, id);
            } else {
                let name = format!("source {}", source.name);
                builder.add(StateTableKind::Sink, &name, print, None, (None, &source.name));
            }
            let connector = source.options.get("connector").cloned();
            let mut edition = EditionFacts { place: place_text(&source.options), ..EditionFacts::default() };
            if let Some(keyed) = &source.keyed {
                edition.form = table_form(source, keyed);
                edition.key.clone_from(&keyed.key);
            }
            let second = plan.again.as_ref().filter(|again| again.readers.contains_key(&at));
            let again = second.map(|second| second.parts.clone());
            builder.tell(EntryFacts { connector, edition: Some(edition), again, ..EntryFacts::default() });
        }
    }

    /// Adds the arrangements of durable operators.
    fn add_operators(&mut self, (plan, prints): (&Plan, &Prints), builder: &mut CatalogueBuilder<'_>) {
        for (id, rel) in plan.rels.iter().enumerate() {
            for role in durable_roles(plan, rel) {
                let name = arrangement_name(plan, (id, *role));
                let print = fingerprint(plan, id);
                let table = builder.add(StateTableKind::Arrangement, &name, print, None, (None, &rel.owner));
                let operator = Some(operator_name(plan, rel).to_owned());
                let expiry = expiry_text(plan, (id, *role));
                let relation = prints.state(id).to_owned();
                let edition = Some(EditionFacts { expiry, relation, ..EditionFacts::default() });
                builder.tell(EntryFacts { operator, edition, ..EntryFacts::default() });
                self.roles.insert((id, *role), table);
            }
        }
    }

    /// Adds the tables of views.
    fn add_views(&mut self, (plan, prints): (&Plan, &Prints), builder: &mut CatalogueBuilder<'_>) {
        for view in &plan.views {
            let schema = Some(schemas::schema_to_json(&plan.rels[view.rel].schema));
            let (print, key) = (view_print(plan, view), (view.key.clone(), view.name.as_str()));
            let id = builder.add(StateTableKind::View, &view.name, print, schema, key);
            let definition = Some(view.definition.clone());
            let relation = format!("{}/{:?}", prints.rows(plan, view.rel), view.key);
            let edition = Some(EditionFacts { relation, ..EditionFacts::default() });
            builder.tell(EntryFacts { definition, edition, ..EntryFacts::default() });
            self.views.push(id);
            if let Some(history) = view.history {
                let limits = HistoryLimits { age_ms: history.age_us / 1_000, bytes: history.bytes };
                self.histories.insert(id, limits);
            }
            if let (Some(entry), Some(served)) = (builder.entries.last_mut(), &view.served) {
                let mut marks = Vec::with_capacity(served.marks.len());
                for (source, lag) in &served.marks {
                    marks.push((plan.sources[*source].name.clone(), *lag));
                }
                entry.retention = Some(Retention { column: served.column, marks });
            }
            builder.note_swept();
        }
    }

    /// The catalogue to write into the state.
    pub fn catalogue(&self, topology: &str) -> Catalogue {
        Catalogue {
            topology: topology.to_string(),
            entries: self.entries.clone(),
            leaving: self.leaving.clone(),
        }
    }

    /// The change of the catalogue, for the commit that fills it; None without anything to fill.
    pub fn edited(&self) -> Option<Edited> {
        let fill = self.fill.as_ref()?;
        Some(Edited {
            catalogue: self.catalogue(&fill.topology),
            histories: self.whole_histories(),
            dropped_targets: fill.dropped_targets.clone(),
        })
    }

    /// The state table of one role of a durable operator's state.
    ///
    /// # Errors
    /// When the operator is not durable.
    pub fn table_of(&self, rel: RelId, role: StateRole) -> Result<u32, RunError> {
        match self.roles.get(&(rel, role)) {
            Some(table_id) => Ok(*table_id),
            None => Err(RunError::Broken(format!("relation {rel} has no durable {role:?}"))),
        }
    }

    /// The roles of durable operators' states, with their catalogue entries.
    pub fn roles(&self) -> impl Iterator<Item = (RelId, StateRole, &CatalogueEntry)> {
        self.roles
            .iter()
            .filter_map(move |((id, role), table_id)| Some((*id, *role, self.entry_of(*table_id)?)))
    }

    fn entry_of(&self, table_id: u32) -> Option<&CatalogueEntry> {
        self.entries.iter().find(|entry| entry.id == table_id)
    }

    /// The state table of the changes that a repair owes a sink.
    pub fn sink(&self, name: &str) -> Option<u32> {
        let mut entries = self.entries.iter();
        let sink = entries.find(|entry| entry.kind == StateTableKind::Sink && entry.name == name)?;
        Some(sink.id)
    }

    /// The layouts of the indexes of a view, which is given by its state table.
    ///
    /// # Errors
    /// When the catalogue contradicts itself.
    pub fn indexes_of(&self, view: u32) -> Result<Vec<IndexLayout>, RunError> {
        match self.entry_of(view) {
            Some(entry) => Ok(IndexLayout::of_view(&self.entries, entry)?),
            None => Ok(Vec::new()),
        }
    }

    /// The catalogue entries of views with a retention.
    pub fn retained(&self) -> impl Iterator<Item = &CatalogueEntry> {
        self.entries.iter().filter(|entry| entry.retention.is_some())
    }

    /// The catalogue entries, in the order in which the plan gives them.
    pub fn entries(&self) -> &[CatalogueEntry] {
        &self.entries
    }

    /// Returns true if the state of an operator is filled in the first epoch of this run, not restored.
    pub fn fills(&self, rel: RelId) -> bool {
        self.fill.as_ref().is_some_and(|fill| fill.rels.contains(&rel))
    }

    /// Returns true if an input of an operator passes a gate, which takes all that a start derives.
    pub fn gates_input(&self, rel: RelId, input: RelId) -> bool {
        self.pieces.as_ref().is_some_and(|pieces| pieces.gates_input(rel, input))
    }

    /// Returns true if the rows of a view, which is given by its state table, pass a gate.
    pub fn gates_view(&self, table_id: u32) -> bool {
        self.pieces.as_ref().is_some_and(|pieces| pieces.gates_view(table_id))
    }

    /// The relations whose rows views and sinks take that are being filled.
    pub fn filled_exports(&self, plan: &Plan) -> BTreeSet<RelId> {
        let mut shown = BTreeSet::new();
        for (view, table_id) in plan.views.iter().zip(&self.views) {
            if self.gates_view(*table_id) {
                shown.insert(view.rel);
            }
        }
        let Some(fill) = &self.fill else { return shown };
        for (view, table_id) in plan.views.iter().zip(&self.views) {
            if fill.tables.contains(table_id) {
                shown.insert(view.rel);
            }
        }
        for (at, sink) in plan.sinks.iter().enumerate() {
            if fill.takes_sink(at) {
                shown.insert(sink.rel);
            }
        }
        shown
    }

    /// Bounds on the histories of views that are not filled piece by piece.
    fn whole_histories(&self) -> BTreeMap<u32, HistoryLimits> {
        let mut whole = self.histories.clone();
        if let Some(pieces) = &self.pieces {
            whole.retain(|table_id, _| !pieces.views.contains(table_id));
        }
        whole
    }

    /// Bounds on the histories that are kept from the start on: those of views that are being filled begin
    /// behind that.
    pub fn begun_histories(&self) -> BTreeMap<u32, HistoryLimits> {
        let mut begun = self.whole_histories();
        if let Some(fill) = &self.fill {
            begun.retain(|table_id, _| !fill.tables.contains(table_id));
        }
        begun
    }

    /// Name and state table of every durable arrangement.
    pub fn arrangements(&self) -> impl Iterator<Item = (&str, u32)> {
        self.entries.iter().filter(|e| e.kind == StateTableKind::Arrangement).map(|e| (e.name.as_str(), e.id))
    }
}

/// Fingerprint of a view's table: of its relation and its key.
fn view_print(plan: &Plan, view: &View) -> String {
    format!("{}/{:?}", fingerprint(plan, view.rel), view.key)
}

/// Connectors each of whose sinks is a target of the outbox, by its place among them.
const NUMBERED_CONNECTORS: [&str; 2] = ["file", "parquet"];

/// The first sink of a connector that has another place among them than the state knows. A place is a number of the
/// outbox's targets, so what waits for one file would be written to another.
fn misplaced_sink(connector: &str, held: &[CatalogueEntry], now: &[CatalogueEntry]) -> Option<String> {
    let now = sinks_of(connector, now);
    let of_both = |name: &&str| now.contains(name);
    let held: Vec<&str> = sinks_of(connector, held).into_iter().filter(of_both).collect();
    let misplaced = now.iter().filter(|name| held.contains(name)).zip(&held).find(|(now, held)| now != held);
    misplaced.map(|(name, _)| (*name).to_owned())
}

/// The names of the sinks of a connector, in order.
fn sinks_of<'e>(connector: &str, entries: &'e [CatalogueEntry]) -> Vec<&'e str> {
    let mut names = Vec::new();
    for entry in entries.iter().filter(|entry| entry.kind == StateTableKind::Sink) {
        // Sources without a table have entries of the same kind.
        let is_sink = entry.facts.shows.is_some();
        if is_sink && entry.facts.connector.as_deref() == Some(connector) {
            names.push(entry.name.as_str());
        }
    }
    names
}

/// Adds an entry for each sink.
fn add_sinks((plan, prints): (&Plan, &Prints), builder: &mut CatalogueBuilder<'_>) {
    for (at, sink) in plan.sinks.iter().enumerate() {
        let print = sink_fingerprint(plan, at);
        builder.add(StateTableKind::Sink, &sink.name, print, None, (None, &sink.name));
        let connector = sink.options.get("connector").cloned();
        let shows = Some(plan.rels[sink.rel].owner.clone());
        let edition = Some(EditionFacts {
            place: place_text(&sink.options),
            relation: prints.rows(plan, sink.rel),
            form: sink_form(plan, sink),
            key: sink.key.clone(),
            ..EditionFacts::default()
        });
        builder.tell(EntryFacts { connector, shows, edition, ..EntryFacts::default() });
    }
}

/// The bound below which a part of an operator's state is dropped, as text; empty if none is.
fn expiry_text(plan: &Plan, of: (RelId, StateRole)) -> String {
    let Some(horizon) = plan.expiry.get(&of) else { return String::new() };
    let mut marks = Vec::with_capacity(horizon.marks.len());
    for (source, lag) in &horizon.marks {
        marks.push(format!("{} {lag}", plan.sources[*source].name));
    }
    format!("{} {}", horizon.column, marks.join(", "))
}

/// The name of a part of an operator's state in the catalogue. The role's name is part of the stored form.
pub(super) fn arrangement_name(plan: &Plan, (id, role): (RelId, StateRole)) -> String {
    format!("{}/{id}/{role:?}", plan.rels[id].owner).to_lowercase()
}

/// The roles of an operator's durable state; none for a recomputed or stateless one.
fn durable_roles(plan: &Plan, rel: &Rel) -> &'static [StateRole] {
    match rel.op {
        // The rows of EMIT ON WINDOW CLOSE are always durable.
        Op::EmitOnClose { .. } => &[StateRole::Waiting],
        _ if !rel.durable => &[],
        Op::Window { .. } => &[StateRole::Partitions],
        Op::Aggregate { .. } | Op::GroupRows { .. } | Op::Distinct { .. } => &[StateRole::Groups],
        Op::Join { .. } => &[StateRole::Left, StateRole::Right],
        Op::TemporalFilter { .. } => &[StateRole::Waiting],
        // A left row that is never retracted need not remember the rows it found.
        Op::TemporalJoin { left, when: When::ProcTime, .. } if plan.rels[left].is_append_only() => {
            &[StateRole::Right]
        }
        Op::TemporalJoin { .. } => &[StateRole::Left, StateRole::Right],
        _ => &[],
    }
}

/// The columns of the error table.
pub fn error_columns() -> arrow::datatypes::Schema {
    use arrow::datatypes::{DataType, Field, Schema};
    let fields: Vec<Field> =
        ["view", "expression", "message", "row"].map(|n| Field::new(n, DataType::Utf8, false)).into();
    Schema::new(fields)
}

fn errors_schema() -> Option<serde_json::Value> {
    Some(schemas::schema_to_json(&error_columns()))
}

/// The catalogue being made: entries keep the ids they have in the state's catalogue.
struct CatalogueBuilder<'a> {
    held: Option<&'a Catalogue>,
    /// Names to report for entries that differ from the state's.
    changed: &'a mut BTreeSet<String>,
    entries: Vec<CatalogueEntry>,
    /// The name to report for the entry that was added last.
    blame: String,
}

impl CatalogueBuilder<'_> {
    /// Adds an entry; `blame` is the name to report where it differs from the state's.
    fn add(
        &mut self,
        kind: StateTableKind,
        name: &str,
        fingerprint: String,
        schema: Option<serde_json::Value>,
        (key, blame): (Option<Vec<usize>>, &str),
    ) -> u32 {
        let held = self.held.and_then(|held| held.find(kind, name));
        let (fits, id) = match held {
            // A copy that became a state of its own has sinks without fingerprints: they fit any sink.
            Some(held) if kind == StateTableKind::Sink && held.fingerprint.is_empty() => (true, held.id),
            Some(held) => (held.fingerprint == fingerprint, held.id),
            None => (self.held.is_none(), self.entries.len() as u32 + 1),
        };
        if !fits {
            self.changed.insert(blame.to_string());
        }
        self.blame = blame.to_owned();
        self.entries.push(CatalogueEntry {
            id,
            kind,
            name: name.to_string(),
            fingerprint,
            schema,
            key,
            retention: None,
            index: None,
            facts: EntryFacts::default(),
        });
        id
    }

    /// Adds the entry of an index: with the id it has in the state's catalogue, or as a new one.
    fn add_index(&mut self, name: &str, fingerprint: String, of: IndexOf) {
        let held = self.held.and_then(|held| held.find(StateTableKind::Index, name));
        let id = match held {
            Some(held) if held.fingerprint == fingerprint => held.id,
            _ => self.next_id(),
        };
        self.entries.push(CatalogueEntry {
            id,
            kind: StateTableKind::Index,
            name: name.to_string(),
            fingerprint,
            schema: None,
            key: None,
            retention: None,
            index: Some(of),
            facts: EntryFacts::default(),
        });
    }

    /// An id above those that are given and those in the state's catalogue: entries of dropped indexes are
    /// deleted by id.
    fn next_id(&self) -> u32 {
        let given = self.entries.iter().map(|entry| entry.id + 1).max();
        given.max(self.held.map(Catalogue::next_id)).unwrap_or(1)
    }

    /// Notes the rows that the view that was added last lacks where its retention was changed.
    fn note_swept(&mut self) {
        let Some(entry) = self.entries.last_mut() else { return };
        let held = self.held.and_then(|held| held.find(entry.kind, &entry.name));
        if let (Some(held), None) = (held, &entry.facts.gap) {
            entry.facts.gap = gap_of_retention(held, entry);
        }
    }

    /// Gives the entry that was added last its facts.
    fn tell(&mut self, facts: EntryFacts) {
        if let Some(entry) = self.entries.last_mut() {
            // A gap is of the rows, not of the plan, and so is the rest that is to be filled.
            let held = self.held.and_then(|held| held.find(entry.kind, &entry.name));
            let gap = held.and_then(|held| held.facts.gap.clone());
            // Fingerprints tell neither the types of constants nor where one ends.
            if held.is_some_and(|held| !held.fingerprint.is_empty() && is_other_relation(held, &facts)) {
                self.changed.insert(self.blame.clone());
            }
            let filling = held.and_then(|held| held.facts.filling.clone());
            entry.facts = EntryFacts { gap, filling, ..facts };
        }
    }
}

/// The gap of a view whose retention was longer before, or which has none any more: rows that it ended are deleted.
pub(super) fn gap_of_retention(held: &CatalogueEntry, now: &CatalogueEntry) -> Option<String> {
    let held = held.retention.as_ref()?;
    let covers = now.retention.as_ref().is_some_and(|now| {
        let mut lags = now.marks.iter().zip(&held.marks);
        now.column == held.column
            && now.marks.len() == held.marks.len()
            && lags.all(|((_, now), (_, held))| now <= held)
    });
    if covers { None } else { Some("rows that an earlier retention had ended".to_owned()) }
}

/// Returns true if an entry of the state tells its relation, and it is another one.
fn is_other_relation(held: &CatalogueEntry, facts: &EntryFacts) -> bool {
    let (Some(held), Some(now)) = (&held.facts.edition, &facts.edition) else { return false };
    !held.relation.is_empty() && is_other_print(&held.relation, &now.relation)
}

/// Returns true if a part of an operator's state is filled from the tables, not from the state, for a
/// comparison.
pub fn filled_from_tables(plan: &Plan, (id, part): (RelId, StateRole)) -> bool {
    let inputs = plan.rels[id].op.inputs();
    let input = if part == StateRole::Right { inputs.get(1) } else { inputs.first() };
    let sides = match plan.rels[id].op {
        // The rows that left rows found in their epochs cannot be found again.
        Op::TemporalJoin { when: When::ProcTime, .. } => part == StateRole::Right,
        Op::Join { .. } | Op::TemporalJoin { .. } => true,
        _ => has_totals(plan, id),
    };
    sides && !expires(plan, id) && input.is_some_and(|input| follows_from_tables(plan, *input))
}

/// Returns true if some part of a relation's state is dropped once it is final.
pub(crate) fn expires(plan: &Plan, id: RelId) -> bool {
    plan.expiry.range((id, StateRole::Groups)..).next().is_some_and(|((of, _), _)| *of == id)
}

/// Returns true if a relation follows from the rows of tables alone, all of which the state keeps.
pub fn follows_from_tables(plan: &Plan, id: RelId) -> bool {
    let (mut seen, mut open) = (BTreeSet::from([id]), vec![id]);
    while let Some(id) = open.pop() {
        let kept = match &plan.rels[id].op {
            Op::Source(at) => {
                plan.sources[*at].keyed.as_ref().is_some_and(|keyed| keyed.retention_us.is_none())
            }
            Op::EmitOnClose { .. } | Op::TemporalJoin { when: When::ProcTime, .. } => false,
            _ => !expires(plan, id),
        };
        if !kept {
            return false;
        }
        open.extend(plan.rels[id].op.inputs().into_iter().filter(|input| seen.insert(*input)));
    }
    true
}

/// Owners whose relations all follow from tables alone.
pub(crate) fn rooted_owners(plan: &Plan) -> BTreeSet<&str> {
    let (mut rooted, mut others) = (BTreeSet::new(), BTreeSet::new());
    for (id, rel) in plan.rels.iter().enumerate() {
        let owners = if follows_from_tables(plan, id) { &mut rooted } else { &mut others };
        owners.insert(rel.owner.as_str());
    }
    rooted.difference(&others).copied().collect()
}

/// The rule of a table for records of one key, and whether it holds digests, as the catalogue has it.
pub(super) fn table_form(source: &Source, keyed: &Keyed) -> String {
    let erases = if source.erases.is_some() { " erases" } else { "" };
    format!("{:?} {:?}{erases}", keyed.conflict, keyed.retention_us)
}

#[cfg(test)]
mod tests;
