//! The rows that each sink of an edited topology sends: none, the difference between those that it last sent and
//! those of now, or all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use schemas::EXPORT_TARGETS;
use state::{CatalogueEntry, EditionFacts, FillFacts, StateTableKind};

use super::matching::entry_of;
use super::share::Share;
use super::{Becomes, EditionComparison, Obstacle, Part, PartKind};
use crate::error::RunError;
use crate::plan::Sink;
use crate::plan::explain::{pseudonyms_of_form, sink_fingerprint};
use crate::plan::formats::{Encoding, Format};
use crate::runtime::fill::{SentBefore, SinkFill};

/// Rows that a sink sends in the first epoch of an edited topology.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sends {
    /// Nothing.
    Nothing,
    /// The keys whose rows differ, and tombstones for those that are gone.
    Difference,
    /// All its rows; with the reason for which it is not the difference alone, if it wrote to the same place before.
    All {
        /// The reason, in words.
        reason: Option<&'static str>,
    },
    /// Nothing that can be sent is right.
    Refused,
}

impl Sends {
    /// Returns true if rows are sent that may have been sent before.
    pub fn is_again(&self) -> bool {
        matches!(self, Sends::Difference | Sends::All { reason: Some(_) })
    }
}

/// The work of the sinks in the first epoch.
#[derive(Default)]
pub(super) struct SinkWork {
    /// By sink.
    pub fills: BTreeMap<usize, SinkFill>,
    /// The outbox's targets that the topology has no more, or that are those of other places.
    pub dropped_targets: Vec<u16>,
    /// The state's sinks that go on and send nothing, with their new names.
    pub kept: BTreeMap<String, String>,
}

/// The likeness of a sink to one of the state.
#[derive(Clone, Copy)]
enum SameSink {
    Both,
    Place,
    Name,
}

impl EditionComparison<'_> {
    /// The parts of the sinks, and their work. Adds the refusals of those that cannot send the right rows.
    pub(super) fn sink_parts(&self, refusals: &mut Vec<Obstacle>) -> Result<(Vec<Part>, SinkWork), RunError> {
        let (mut parts, mut work) = (Vec::new(), SinkWork::default());
        let held_sinks = self.held_sinks();
        for (at, sink) in self.plan.sinks.iter().enumerate() {
            let held = held_sinks.get(&at).copied();
            let mut part = Part::new(PartKind::Sink, &sink.name, self.sink_fate(at, held));
            let sends = self.sends(at, held, &part.fate)?;
            if let (Sends::Nothing, Some(held)) = (&sends.0, held) {
                work.kept.insert(held.name.clone(), sink.name.clone());
            }
            if sends.0 == Sends::Refused {
                refusals.push(refused_sink(sink, self.has_other_pseudonyms(at, held)));
            } else if sends.0 != Sends::Nothing {
                part.filled_from = self.filled_from(sink.rel);
                part.read_again = self.records_read_again(sink.rel);
                if self.kept_view_of(at).is_none() {
                    self.note_gap((PartKind::Sink, sink.rel), &mut part, refusals);
                }
                // Without what led to its rows it begins with the next change.
                if self.kept_view_of(at).is_some() || self.shares.of[sink.rel] > Share::Lost {
                    let now = self.kept_view_of(at);
                    work.fills.insert(at, SinkFill { now, before: sends.1 });
                }
            }
            part.sends = Some(sends.0);
            parts.push(part);
        }
        for kind in TARGET_KINDS {
            self.compare_targets(kind, &mut work, refusals);
        }
        Ok((parts, work))
    }

    /// The state's sink that each sink goes on from: first those that wrote to the same place, whatever their name,
    /// as that has what they sent; then those of the same name.
    pub(super) fn held_sinks(&self) -> BTreeMap<usize, &CatalogueEntry> {
        let (mut found, mut claimed) = (BTreeMap::new(), BTreeSet::new());
        for by in [SameSink::Both, SameSink::Place, SameSink::Name] {
            for at in 0..self.plan.sinks.len() {
                let fitting = self.held.entries.iter().find(|entry| {
                    is_sink(entry) && !claimed.contains(&entry.id) && self.is_same_sink(at, entry, by)
                });
                if let (Some(entry), false) = (fitting, found.contains_key(&at)) {
                    claimed.insert(entry.id);
                    found.insert(at, entry);
                }
            }
        }
        found
    }

    /// Returns true if a sink has the name of the state's, wrote to its place, or both.
    fn is_same_sink(&self, at: usize, held: &CatalogueEntry, by: SameSink) -> bool {
        let same_name = held.name == self.plan.sinks[at].name;
        match by {
            SameSink::Both => same_name && self.wrote_there(at, held),
            SameSink::Place => self.wrote_there(at, held),
            SameSink::Name => same_name,
        }
    }

    /// Returns true if the state's sink wrote where a sink writes to.
    fn wrote_there(&self, at: usize, held: &CatalogueEntry) -> bool {
        let Some(wanted) = self.wanted_sink(at) else { return false };
        let place = held.facts.edition.as_ref().map(|facts| facts.place.as_str());
        wanted.place != "blackhole" && place == Some(wanted.place.as_str())
    }

    /// The facts of a sink, with the relation's fingerprint as the state would have it.
    fn wanted_sink(&self, at: usize) -> Option<EditionFacts> {
        let named = &self.matches.named;
        entry_of(named, named.sink(&self.plan.sinks[at].name)?)?.facts.edition.clone()
    }

    /// The fate of a sink; one that goes on under another name or sends another relation there is changed.
    fn sink_fate(&self, at: usize, held: Option<&CatalogueEntry>) -> Becomes {
        let (sink, Some(held)) = (&self.plan.sinks[at], held) else { return Becomes::New };
        let mut named = self.fates.named.clone();
        named.sinks[at].name.clone_from(&held.name);
        // Only Avro has a name for its records, which may follow from that of the view.
        let unnamed = sink.encoding != Encoding::Avro && sink.key_encoding != Encoding::Avro;
        let wanted = self.wanted_sink(at);
        let relations =
            [&held.facts.edition, &wanted].map(|facts| facts.as_ref().map(|facts| &facts.relation));
        let same = sink_fingerprint(&named, at) == held.fingerprint && relations[0] == relations[1]
            || unnamed && wanted.is_some() && held.facts.edition == wanted;
        match same && self.waited(held).is_none() && self.shares.is_intact(sink.rel) {
            true if held.name == sink.name => Becomes::Unchanged,
            true => Becomes::Renamed { was: held.name.clone() },
            false if held.name == sink.name => Becomes::Changed,
            false => Becomes::New,
        }
    }

    /// The rows that a sink sends, and those that it sent before where the difference is told from that.
    fn sends(
        &self,
        at: usize,
        held: Option<&CatalogueEntry>,
        fate: &Becomes,
    ) -> Result<(Sends, Option<SentBefore>), RunError> {
        if matches!(fate, Becomes::Unchanged | Becomes::Renamed { .. }) {
            return Ok((Sends::Nothing, None));
        }
        let sink = &self.plan.sinks[at];
        let Some(wanted) = self.wanted_sink(at) else { return Ok((Sends::All { reason: None }, None)) };
        if sink.format == Format::Plain && self.wrote_other_rows(at, &wanted) {
            return Ok((Sends::Refused, None));
        }
        let all = |reason| Ok((Sends::All { reason }, None));
        let waited = held.and_then(|held| self.waited(held));
        let Some(facts) = held.and_then(|entry| entry.facts.edition.as_ref()) else { return all(None) };
        if facts.place != wanted.place {
            return all(None);
        }
        if self.has_other_pseudonyms(at, held) {
            return Ok((self.sends_other_pseudonyms(at, facts, waited.is_some()), None));
        }
        // Only its name or that of its records differs.
        if waited.is_none() && self.sent_same(at, facts, &wanted) {
            return Ok((Sends::Nothing, None));
        }
        if sink.format == Format::Plain {
            return Ok((Sends::Refused, None));
        }
        let view = match waited {
            Some(waited) => waited.before.as_ref().and_then(|before| self.entry(before.table_id)),
            None => self.view_before(&facts.relation),
        };
        let Some(view) = view else {
            return all(Some("no view held what it sent: keys that are gone keep their last value"));
        };
        let Some(schema) = schema_of(view)? else {
            return all(Some("the state does not say which columns it sent"));
        };
        if facts.form != wanted.form || key_names(&schema, &facts.key) != self.key_names(sink) {
            return all(Some("it has another form or key: records of the earlier one stay"));
        }
        let before =
            SentBefore { table_id: view.id, schema, keyed: view.key.is_some(), key: facts.key.clone() };
        Ok((Sends::Difference, Some(before)))
    }

    /// Returns true if a sink goes on where the state's sink wrote, with other pseudonyms: by another key, or of other
    /// columns.
    fn has_other_pseudonyms(&self, at: usize, held: Option<&CatalogueEntry>) -> bool {
        let facts = held.and_then(|held| held.facts.edition.as_ref());
        let (Some(facts), Some(wanted)) = (facts, self.wanted_sink(at)) else { return false };
        let [before, now] = [&facts.form, &wanted.form].map(|form| pseudonyms_of_form(form).0);
        facts.place == wanted.place && before != now
    }

    /// The rows that a sink with other pseudonyms sends: all, each in the place of one with earlier pseudonyms. Where keys
    /// or rows are other ones too, some with earlier pseudonyms would stay.
    fn sends_other_pseudonyms(&self, at: usize, held: &EditionFacts, waited: bool) -> Sends {
        let Some(wanted) = self.wanted_sink(at) else { return Sends::Refused };
        let [before, now] = [&held.form, &wanted.form].map(|form| pseudonyms_of_form(form).1);
        let same_rows = held.relation == wanted.relation && self.shares.is_intact(self.plan.sinks[at].rel);
        let is_plain = self.plan.sinks[at].format == Format::Plain;
        if is_plain || before != now || held.key != wanted.key || !same_rows || waited {
            return Sends::Refused;
        }
        Sends::All { reason: Some("it has other pseudonyms, by another key or of other columns") }
    }

    /// The facts of a sink's waiting, of one that has sent nothing since an earlier edit, whose filling ends here.
    fn waited(&self, held: &CatalogueEntry) -> Option<&FillFacts> {
        let mut waiting = self.all.entries.iter().filter_map(|entry| entry.facts.filling.as_ref());
        waiting.find(|facts| facts.earlier.as_deref() == Some(held))
    }

    /// Returns true if the state's sink sent the same relation in the same form.
    fn sent_same(&self, at: usize, held: &EditionFacts, wanted: &EditionFacts) -> bool {
        let same_rows = held.relation == wanted.relation && self.shares.is_intact(self.plan.sinks[at].rel);
        same_rows && held.form == wanted.form && held.key == wanted.key
    }

    /// Returns true if a sink of the state wrote other rows where a sink writes to.
    fn wrote_other_rows(&self, at: usize, wanted: &EditionFacts) -> bool {
        self.held.entries.iter().filter(|entry| is_sink(entry) && self.wrote_there(at, entry)).any(|entry| {
            let facts = entry.facts.edition.as_ref();
            self.waited(entry).is_some() || facts.is_none_or(|facts| !self.sent_same(at, facts, wanted))
        })
    }

    /// The state's view of a relation.
    fn view_before(&self, relation: &str) -> Option<&CatalogueEntry> {
        self.held.entries.iter().find(|entry| {
            entry.kind == StateTableKind::View
                && entry
                    .facts
                    .edition
                    .as_ref()
                    .is_some_and(|facts| facts.relation.split_once('/').is_some_and(|(of, _)| of == relation))
        })
    }

    /// The table of the kept view that holds a sink's rows.
    fn kept_view_of(&self, at: usize) -> Option<(u32, bool)> {
        let rel = self.plan.sinks[at].rel;
        for (view, table_id) in &self.shares.kept_views {
            let view = &self.plan.views[*view];
            if view.rel == rel {
                return Some((*table_id, view.key.is_some()));
            }
        }
        None
    }

    fn key_names(&self, sink: &Sink) -> Vec<String> {
        key_names(&self.plan.rels[sink.rel].schema, &sink.key)
    }

    /// Compares the files and exports that sinks write to: each is a target of the outbox by its place among its kind,
    /// so they keep their order.
    fn compare_targets(&self, kind: TargetKind, work: &mut SinkWork, refusals: &mut Vec<Obstacle>) {
        let mut before = Vec::new();
        for entry in &self.all.entries {
            let is_held = entry.facts.connector.as_deref() == Some(kind.connector);
            if entry.kind == StateTableKind::Sink && is_held && !entry.name.starts_with("source ") {
                before.push(entry.facts.edition.clone().unwrap_or_default().place);
            }
        }
        let mut now = Vec::new();
        for (at, sink) in self.plan.sinks.iter().enumerate() {
            if sink.options.get("connector").map(String::as_str) == Some(kind.connector) {
                now.push((self.wanted_sink(at).unwrap_or_default().place, &sink.name));
            }
        }
        for (place, number) in before.iter().zip(kind.first..) {
            let stays = now.iter().any(|(other, _)| other == place);
            match now.get(usize::from(number - kind.first)) {
                Some((other, _)) if other == place => {}
                // A new export, or one with another path, in the place of one that is gone: nothing waits for that one.
                Some((other, _)) if kind.is_export() && !stays && !before.contains(other) => {
                    work.dropped_targets.push(number);
                }
                None if !stays => work.dropped_targets.push(number),
                other => {
                    let name = other.map_or_else(String::new, |(_, name)| (*name).clone());
                    refusals.push(Obstacle {
                        message: format!("sink {name} stands where {place} was written to by another"),
                        part: name,
                        hint: format!(
                            "sinks to {} keep their order: put new ones behind them, and leave out none but the last",
                            kind.plural
                        ),
                        is_gap: false,
                    });
                    return;
                }
            }
        }
    }
}

/// A kind of sinks whose targets are numbered.
#[derive(Clone, Copy)]
struct TargetKind {
    connector: &'static str,
    /// The number of the first.
    first: u16,
    /// The word for several.
    plural: &'static str,
}

/// The kinds, as `connectors::sink` numbers them.
const TARGET_KINDS: [TargetKind; 2] = [
    TargetKind { connector: "file", first: 1, plural: "files" },
    TargetKind { connector: "parquet", first: EXPORT_TARGETS, plural: "exports" },
];

impl TargetKind {
    fn is_export(self) -> bool {
        self.first == EXPORT_TARGETS
    }
}

/// Returns true for the entry of a sink; sources without a table have entries of the same kind.
fn is_sink(entry: &CatalogueEntry) -> bool {
    entry.kind == StateTableKind::Sink && !entry.name.starts_with("source ")
}

fn refused_sink(sink: &Sink, has_other_pseudonyms: bool) -> Obstacle {
    if has_other_pseudonyms {
        return Obstacle {
            part: sink.name.clone(),
            message: format!(
                "sink {} has other pseudonyms, by another key or of other columns, and some that it has sent would stay: \
                 it only appends, they are in its key, or it sends other rows now as well",
                sink.name
            ),
            hint: "give it another name and another topic, which get all its rows, or put the earlier pseudonyms back"
                .to_owned(),
            is_gap: false,
        };
    }
    Obstacle {
        part: sink.name.clone(),
        message: format!(
            "sink {} only appends, and sends another relation now, or did not send while an edit was filled: what it has \
             sent cannot be taken back",
            sink.name
        ),
        hint: "give it another name and another topic, which get all its rows".to_owned(),
        is_gap: false,
    }
}

/// The columns of a view in the state.
fn schema_of(view: &CatalogueEntry) -> Result<Option<SchemaRef>, RunError> {
    let Some(json) = &view.schema else { return Ok(None) };
    Ok(Some(Arc::new(schemas::schema_from_json(json)?)))
}

/// The names and types of key columns.
fn key_names(schema: &SchemaRef, key: &[usize]) -> Vec<String> {
    let mut names = Vec::with_capacity(key.len());
    for at in key {
        if let Some(field) = schema.fields().get(*at) {
            names.push(format!("{} {}", field.name(), schemas::sql_type(field)));
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use state::Progress;

    use super::*;
    use crate::plan::Plan;
    use crate::runtime::edition::Edition;
    use crate::runtime::state_tables::StateTables;
    use crate::sql::{SqlFile, compile};

    /// The plan of a view with exports, given by name and path.
    fn plan(exports: &[(&str, &str)]) -> Plan {
        let mut text = "CREATE TABLE t (k INT, n INT, PRIMARY KEY (k)) WITH (connector = 'file', path = 't') FORMAT PLAIN ENCODE JSON;
             CREATE MATERIALIZED VIEW v AS SELECT k, n FROM t;"
            .to_owned();
        for (name, path) in exports {
            text.push_str(&format!(
                "CREATE SINK {name} FROM v WITH (connector = 'parquet', path = '{path}', primary_key = 'k') \
                 FORMAT UPSERT ENCODE PARQUET;"
            ));
        }
        let no_file = |_: &str| Err(std::io::Error::from(std::io::ErrorKind::NotFound));
        compile(&[SqlFile { name: "t.sql".to_owned(), text }], &|_| None, &no_file, &|_| Ok(None)).unwrap()
    }

    /// Dropped targets of an edit, or the refusals.
    fn edited(before: &[(&str, &str)], now: &[(&str, &str)]) -> Result<Vec<u16>, Vec<String>> {
        let held = StateTables::of(&plan(before), None).unwrap().catalogue("t");
        let edition = Edition::of(&plan(now), (&held, &Progress::default()), false).unwrap();
        if edition.refusals.is_empty() {
            Ok(edition.tables.fill.unwrap().dropped_targets.clone())
        } else {
            Err(edition.refusals.into_iter().map(|refusal| refusal.message).collect())
        }
    }

    #[test]
    fn a_target_is_given_up_with_its_export() {
        const FIRST: u16 = EXPORT_TARGETS;
        let (a, b) = (("a", "out/a"), ("b", "out/b"));
        assert_eq!(edited(&[a], &[a, b]), Ok(vec![]));
        assert_eq!(edited(&[a, b], &[a]), Ok(vec![FIRST + 1]));
        assert_eq!(edited(&[a], &[]), Ok(vec![FIRST]));
        assert_eq!(edited(&[a], &[("a", "./out/a/"), b]), Ok(vec![]), "another spelling is no other place");
        assert_eq!(edited(&[a], &[("c", "out/a"), b]), Ok(vec![]), "another name is no other place");
        assert_eq!(edited(&[a, b], &[("a", "out/c"), b]), Ok(vec![FIRST]), "another path is a new export");
        assert_eq!(edited(&[a, b], &[("c", "out/c"), b]), Ok(vec![FIRST]));
        for now in [&[b, a][..], &[b], &[b, ("c", "out/c")]] {
            let refused = edited(&[a, b], now).unwrap_err();
            assert_eq!(refused, ["sink b stands where parquet out/a was written to by another"]);
        }
    }
}
