//! Which durable spaces a plan needs, and whether a state holds just those.
//!
//! Each table, durable arrangement, view and sink is an entry of the state's catalogue, under a name
//! that follows from the plan and with the fingerprint of what fills it. A state whose catalogue says
//! otherwise belongs to another edition of the topology: it is refused with the names that changed.

use std::collections::{BTreeMap, BTreeSet};

use state::{Catalogue, CatalogueEntry, Retention, SpaceKind};

use crate::error::RunError;
use crate::plan::explain::{fingerprint, sink_fingerprint, source_fingerprint};
use crate::plan::state_role::Part;
use crate::plan::{Op, Plan, RelId, When};

/// The ids of a topology's spaces.
#[derive(Clone, Debug, Default)]
pub struct Spaces {
    /// Rows that expressions failed on, with their multiplicity.
    pub errors: u32,
    /// Of each keyed source, by source index.
    pub tables: BTreeMap<usize, u32>,
    /// Of each view, in the plan's order.
    pub views: Vec<u32>,
    parts: BTreeMap<(RelId, Part), u32>,
    entries: Vec<CatalogueEntry>,
}

/// The name of the error table's space.
pub const ERRORS: &str = "herald.errors";

impl Spaces {
    /// The spaces of `plan`, with the ids that `held` gave them.
    ///
    /// # Errors
    /// The names of tables, views and sinks that are not in `held` as the plan has them.
    pub fn of(plan: &Plan, held: Option<&Catalogue>) -> Result<Spaces, Vec<String>> {
        let mut spaces = Spaces::default();
        let mut changed = BTreeSet::new();
        let mut builder = Builder { held, changed: &mut changed, entries: Vec::new() };
        spaces.errors = builder.entry(SpaceKind::View, ERRORS, "1".into(), errors_schema(), (None, ERRORS));
        for (at, source) in plan.sources.iter().enumerate() {
            let print = source_fingerprint(plan, at);
            if source.keyed.is_some() {
                let schema = Some(schemas::schema_to_json(&source.schema));
                let id = builder.entry(SpaceKind::Table, &source.name, print, schema, (None, &source.name));
                spaces.tables.insert(at, id);
            } else {
                builder.entry(
                    SpaceKind::Sink,
                    &format!("source {}", source.name),
                    print,
                    None,
                    (None, &source.name),
                );
            }
        }
        for (id, rel) in plan.rels.iter().enumerate() {
            let parts: &[Part] = match rel.op {
                Op::Window { .. } if rel.durable => &[Part::Partitions],
                Op::Aggregate { .. } | Op::Fold { .. } | Op::Distinct { .. } if rel.durable => {
                    &[Part::Groups]
                }
                Op::Join { .. } if rel.durable => &[Part::Left, Part::Right],
                Op::Close { .. } => &[Part::Waiting],
                Op::Within { .. } if rel.durable => &[Part::Waiting],
                Op::Lookup { left, when: When::Now, .. } if rel.durable => {
                    match plan.rels[left].append_only {
                        true => &[Part::Right],
                        false => &[Part::Left, Part::Right],
                    }
                }
                Op::Lookup { .. } if rel.durable => &[Part::Left, Part::Right],
                _ => &[],
            };
            for part in parts {
                let name = format!("{}/{id}/{part:?}", rel.owner).to_lowercase();
                let space = builder.entry(
                    SpaceKind::Arrangement,
                    &name,
                    fingerprint(plan, id),
                    None,
                    (None, &rel.owner),
                );
                spaces.parts.insert((id, *part), space);
            }
        }
        for view in &plan.views {
            let print = format!("{}/{:?}", fingerprint(plan, view.rel), view.key);
            let schema = Some(schemas::schema_to_json(&plan.rels[view.rel].schema));
            spaces.views.push(builder.entry(
                SpaceKind::View,
                &view.name,
                print,
                schema,
                (view.key.clone(), &view.name),
            ));
            if let (Some(entry), Some(served)) = (builder.entries.last_mut(), &view.served) {
                let mark = |(source, lag): &(usize, i64)| (plan.sources[*source].name.clone(), *lag);
                let marks = served.marks.iter().map(mark).collect();
                entry.retention = Some(Retention { column: served.column, marks });
            }
        }
        for (at, sink) in plan.sinks.iter().enumerate() {
            builder.entry(SpaceKind::Sink, &sink.name, sink_fingerprint(plan, at), None, (None, &sink.name));
        }
        spaces.entries = std::mem::take(&mut builder.entries);
        if let Some(held) = held {
            for entry in &held.entries {
                if !spaces.entries.iter().any(|e| e.kind == entry.kind && e.name == entry.name) {
                    changed.insert(entry.name.split('/').next().unwrap_or_default().to_string());
                }
            }
        }
        if changed.is_empty() { Ok(spaces) } else { Err(changed.into_iter().collect()) }
    }

    /// The catalogue to keep.
    pub fn catalogue(&self, topology: &str) -> Catalogue {
        Catalogue { topology: topology.to_string(), entries: self.entries.clone() }
    }

    /// The space of a part of a durable operator's state.
    ///
    /// # Errors
    /// When the operator is not durable.
    pub fn part(&self, rel: RelId, part: Part) -> Result<u32, RunError> {
        self.parts
            .get(&(rel, part))
            .copied()
            .ok_or_else(|| RunError::Broken(format!("relation {rel} has no durable {part:?}")))
    }

    /// The parts of durable operators' states, with their spaces and names.
    pub fn parts(&self) -> impl Iterator<Item = (RelId, Part, &CatalogueEntry)> {
        let entry = |space: &u32| self.entries.iter().find(move |entry| entry.id == *space);
        self.parts.iter().filter_map(move |((id, part), space)| Some((*id, *part, entry(space)?)))
    }

    /// The space in which is kept what a repair owes a sink.
    pub fn sink(&self, name: &str) -> Option<u32> {
        let mut sinks = self.entries.iter().filter(|entry| entry.kind == SpaceKind::Sink);
        sinks.find(|entry| entry.name == name).map(|entry| entry.id)
    }

    /// The spaces of views whose rows are not served for ever.
    pub fn retained(&self) -> impl Iterator<Item = &CatalogueEntry> {
        self.entries.iter().filter(|entry| entry.retention.is_some())
    }

    /// Name and space of every durable arrangement.
    pub fn arrangements(&self) -> impl Iterator<Item = (&str, u32)> {
        self.entries.iter().filter(|e| e.kind == SpaceKind::Arrangement).map(|e| (e.name.as_str(), e.id))
    }
}

fn errors_schema() -> Option<serde_json::Value> {
    use arrow::datatypes::{DataType, Field, Schema};
    let fields: Vec<Field> =
        ["view", "expression", "message", "row"].map(|n| Field::new(n, DataType::Utf8, false)).into();
    Some(schemas::schema_to_json(&Schema::new(fields)))
}

struct Builder<'a> {
    held: Option<&'a Catalogue>,
    changed: &'a mut BTreeSet<String>,
    entries: Vec<CatalogueEntry>,
}

impl Builder<'_> {
    fn entry(
        &mut self,
        kind: SpaceKind,
        name: &str,
        fingerprint: String,
        schema: Option<serde_json::Value>,
        (key, blame): (Option<Vec<usize>>, &str),
    ) -> u32 {
        let held = self.held.and_then(|held| held.find(kind, name));
        // A copy that became a state of its own has other sinks.
        let open = |h: &CatalogueEntry| kind == SpaceKind::Sink && h.fingerprint.is_empty();
        if self.held.is_some() && held.is_none_or(|h| h.fingerprint != fingerprint && !open(h)) {
            self.changed.insert(blame.to_string());
        }
        let id = held.map_or(self.entries.len() as u32 + 1, |h| h.id);
        self.entries.push(CatalogueEntry {
            id,
            kind,
            name: name.to_string(),
            fingerprint,
            schema,
            key,
            retention: None,
        });
        id
    }
}
