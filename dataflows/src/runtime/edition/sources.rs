//! The sources of an edited topology: which go on where the state has read them to.

use state::{Catalogue, CatalogueEntry, Progress, StateTableKind};

use super::super::state_tables::table_form;
use super::Obstacle;
use crate::plan::explain::{place_text, source_fingerprint};
use crate::plan::{Plan, Source};

/// Fate of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SourceFate {
    /// It is the same, perhaps under another name than the state has.
    Kept {
        /// Its name in the topology.
        now: String,
    },
    /// Its rules changed, and its rows still fit: they stay, and records are judged by the new rules from here on.
    Rules,
    /// Its columns or its key changed: it goes on from where it was read to, without a row.
    Emptied,
    /// It is read from its beginning.
    New,
}

/// The fates of all sources.
pub(super) struct SourceFates {
    /// By source, in the plan's order.
    pub fates: Vec<SourceFate>,
    /// The plan with sources under the names that the state has: its fingerprints are those of the state.
    pub named: Plan,
    /// The sources that need records again.
    pub refusals: Vec<Obstacle>,
}

impl SourceFates {
    /// Compares the plan's sources with those of the state.
    pub fn of(plan: &Plan, held: &Catalogue, progress: &Progress) -> SourceFates {
        let mut all = SourceFates {
            fates: Vec::with_capacity(plan.sources.len()),
            named: plan.clone(),
            refusals: vec![],
        };
        for (at, source) in plan.sources.iter().enumerate() {
            let fate = match held_source(held, &source.name) {
                _ if plan.first_reader(at).is_some() => SourceFate::New,
                Some(entry) => fate_of(plan, at, entry),
                None => all.find_renamed(plan, at, held),
            };
            if matches!(fate, SourceFate::Rules | SourceFate::Emptied) {
                all.refusals.push(changed_source(source, &fate, progress));
            }
            all.fates.push(fate);
        }
        all
    }

    /// Returns true if a source goes on with other rules or without its rows.
    pub fn is_changed(&self, at: usize) -> bool {
        matches!(self.fates[at], SourceFate::Rules | SourceFate::Emptied)
    }

    /// Looks for the source under a name that the plan has no more, and takes that name.
    fn find_renamed(&mut self, plan: &Plan, at: usize, held: &Catalogue) -> SourceFate {
        let now = plan.sources[at].name.clone();
        for entry in &held.entries {
            let Some(was) = source_name(entry) else { continue };
            // A name that another source has, or has taken.
            if self.named.sources.iter().any(|other| other.name == was) {
                continue;
            }
            self.named.sources[at].name = was.to_owned();
            if is_kind(entry, &plan.sources[at]) && source_fingerprint(&self.named, at) == entry.fingerprint {
                return SourceFate::Kept { now };
            }
            self.named.sources[at].name.clone_from(&now);
        }
        SourceFate::New
    }
}

/// The name of the source that an entry is of; None for another entry.
fn source_name(entry: &CatalogueEntry) -> Option<&str> {
    match entry.kind {
        StateTableKind::Table => Some(&entry.name),
        StateTableKind::Sink => entry.name.strip_prefix("source "),
        StateTableKind::Arrangement | StateTableKind::View | StateTableKind::Index => None,
    }
}

/// The state's entry of a source.
pub(super) fn held_source<'c>(held: &'c Catalogue, name: &str) -> Option<&'c CatalogueEntry> {
    held.entries.iter().find(|entry| source_name(entry) == Some(name))
}

/// Returns true if an entry is of a table as the source is one, or neither is.
fn is_kind(entry: &CatalogueEntry, source: &Source) -> bool {
    (entry.kind == StateTableKind::Table) == source.keyed.is_some()
}

/// The fate of a source that the state has under its name.
fn fate_of(plan: &Plan, at: usize, entry: &CatalogueEntry) -> SourceFate {
    let source = &plan.sources[at];
    if is_kind(entry, source) && source_fingerprint(plan, at) == entry.fingerprint {
        return SourceFate::Kept { now: source.name.clone() };
    }
    let facts = entry.facts.edition.clone().unwrap_or_default();
    if facts.place != place_text(&source.options) {
        return SourceFate::New;
    }
    let Some(keyed) = &source.keyed else { return SourceFate::Emptied };
    let same_rows = is_kind(entry, source)
        && entry.schema == Some(schemas::schema_to_json(&source.schema))
        && facts.key == keyed.key
        && facts.form == table_form(source, keyed);
    if same_rows { SourceFate::Rules } else { SourceFate::Emptied }
}

/// The refusal of a source that needs records again.
fn changed_source(source: &Source, fate: &SourceFate, progress: &Progress) -> Obstacle {
    let kind = if source.keyed.is_some() { "table" } else { "source" };
    let left = match fate {
        SourceFate::Rules => "keeps its rows and judges records by the new rules from here on",
        _ => "begins without rows where it was read to",
    };
    Obstacle {
        part: source.name.clone(),
        message: format!(
            "{kind} {} is another one than the state was made with: {} would be needed again",
            source.name,
            range_text(source, progress)
        ),
        hint: format!(
            "give it another name, under which it is read from its first record; with --allow-gap it {left}"
        ),
        is_gap: true,
    }
}

/// The records of a source that were read, with its topic and the offsets of its partitions.
pub(super) fn range_text(source: &Source, progress: &Progress) -> String {
    let place = place_text(&source.options);
    let Some(held) = progress.sources.get(&source.name) else { return format!("the records of {place}") };
    let mut ranges = Vec::with_capacity(held.partitions.len());
    for (partition, at) in &held.partitions {
        if at.next_offset > 0 {
            ranges.push(format!("{partition}: 0 to {}", at.next_offset - 1));
        }
    }
    let offsets = if ranges.is_empty() { String::new() } else { format!(" (offsets {})", ranges.join(", ")) };
    let records = if held.read == 1 { "record" } else { "records" };
    format!("{} {records} of {place}{offsets}", held.read)
}
