//! The catalogue: the keyed state tables of a state, each with its name and the fingerprint of the plan that
//! fills it.
//!
//! A restart restores only the tables that the catalogue lists, so an entry, once written, keeps its id, kind
//! and fingerprint. Additions are accepted, and indexes may go; any other change is refused here, because bytes
//! read under another meaning would give wrong results without an error.

use std::collections::{BTreeMap, BTreeSet};

use fail::fail_point;
use rocksdb::WriteBatch;
use serde::{Deserialize, Serialize};

use crate::error::StateError;
use crate::progress::Progress;
use crate::store::Store;
use crate::store::read::Reads;
use crate::table;

/// The state tables of a topology.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Catalogue {
    /// The name of the topology the state belongs to.
    pub topology: String,
    /// The entries, one per state table.
    pub entries: Vec<CatalogueEntry>,
    /// Views that an edit has removed and that are kept until the end of its filling: sinks sent their rows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leaving: Vec<CatalogueEntry>,
}

/// One keyed state table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CatalogueEntry {
    /// The number with which each of its keys begins.
    pub id: u32,
    /// The kind, which determines the column family.
    pub kind: StateTableKind,
    /// The name of the table, arrangement, view or sink.
    pub name: String,
    /// The fingerprint of the canonical plan that fills it.
    pub fingerprint: String,
    /// The schema of its rows, as `schemas::schema_to_json` writes it.
    #[serde(default)]
    pub schema: Option<serde_json::Value>,
    /// The key columns, where a key is proven unique. None: the table maps each row to its multiplicity.
    #[serde(default)]
    pub key: Option<Vec<usize>>,
    /// The retention of a view's rows; None keeps them for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
    /// The view and the columns of an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<IndexOf>,
    /// Facts that system tables show.
    #[serde(default, skip_serializing_if = "EntryFacts::is_empty")]
    pub facts: EntryFacts,
}

/// The view of an index, and its columns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IndexOf {
    /// The name of the view.
    pub view: String,
    /// The positions of the indexed columns in the view, in the order of the index.
    pub columns: Vec<usize>,
}

/// Facts about a state table. A start of the same topology goes by the fingerprint alone; one of an edited
/// topology also goes by `edition`. An entry that an earlier release wrote has none until its topology is
/// started again.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EntryFacts {
    /// The connector of a source, table or sink.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connector: Option<String>,
    /// The relation that a sink sends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shows: Option<String>,
    /// The operator whose state an arrangement is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operator: Option<String>,
    /// The query of a view, as written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub definition: Option<String>,
    /// The rows that a view lacks because it was begun without them, in words; None for a whole one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gap: Option<String>,
    /// The facts that decide what an edited topology keeps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub edition: Option<EditionFacts>,
    /// The filling that is left to do, of a part that an edit has added; None for a whole one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filling: Option<FillFacts>,
    /// Of a source that is read a second time while an edit is filled: the parts that get its records.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub again: Option<ReadAgain>,
}

/// The parts of an edited topology that get the records of append-only sources a second time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadAgain {
    /// The relations, by their places in the plan of the text.
    pub rels: BTreeSet<usize>,
    /// The names of the views.
    pub views: BTreeSet<String>,
    /// The names of the sinks.
    pub sinks: BTreeSet<String>,
}

/// Facts about a part of a topology that is being filled piece by piece.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FillFacts {
    /// Of an arrangement or view: true if its input passes a gate, which lets rows in by their key groups.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub gated: bool,
    /// Of a sink: the rows that it has sent, where it sends the difference in the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<RowsBefore>,
    /// Of a sink: its entry before the edit, which an edit that takes this one's place goes on from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub earlier: Option<Box<CatalogueEntry>>,
}

/// A view among those that are leaving, whose rows a sink has sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowsBefore {
    /// Its state table.
    pub table_id: u32,
    /// The positions of the sink's key in it.
    pub key: Vec<usize>,
}

/// Facts that decide, beside the fingerprint, what an edited topology keeps of a state table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EditionFacts {
    /// Of an arrangement: the bound below which its rows are dropped.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub expiry: String,
    /// Of a source, table or sink: its connector with topic or path.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub place: String,
    /// Of an arrangement, view or sink: the print of its state, of its rows and key, or of the rows that it sends.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub relation: String,
    /// Of a table: its rule for records of one key. Of a sink: its formats.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub form: String,
    /// Of a table or sink: the positions of its key's columns.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub key: Vec<usize>,
}

impl EntryFacts {
    /// Returns true if there are none.
    pub fn is_empty(&self) -> bool {
        *self == EntryFacts::default()
    }
}

/// The period for which a view's rows are served once they are final.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Retention {
    /// The column that holds the row's time.
    pub column: usize,
    /// Source names, each with the greatest distance of a served row's time below its watermark, in
    /// microseconds.
    pub marks: Vec<(String, i64)>,
}

impl Retention {
    /// Returns the least time of rows still served; None while a source has no watermark. A bounded source
    /// that has ended counts with the watermark of its events, not with the maximum.
    pub fn horizon(&self, progress: &Progress) -> Option<i64> {
        let mut horizons = Vec::with_capacity(self.marks.len());
        for (name, lag) in &self.marks {
            let source = progress.sources.get(name)?;
            let reached =
                if source.watermark_us == Some(i64::MAX) { source.ended_us } else { source.watermark_us };
            horizons.push(reached?.saturating_sub(*lag));
        }
        horizons.into_iter().min()
    }
}

/// The purpose of a state table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StateTableKind {
    /// The rows of a keyed table.
    Table,
    /// The state of an operator.
    Arrangement,
    /// A materialized view, as it is served.
    View,
    /// The state of a sink.
    Sink,
    /// An index of a materialized view.
    Index,
}

/// The kind of each state table by id: the part of the catalogue that reads and writes need.
pub(crate) type StateTableKinds = BTreeMap<u32, StateTableKind>;

impl Catalogue {
    /// Returns the entry of that kind and name.
    pub fn find(&self, kind: StateTableKind, name: &str) -> Option<&CatalogueEntry> {
        self.entries.iter().find(|entry| entry.kind == kind && entry.name == name)
    }

    /// Returns an id above all ids in use.
    pub fn next_id(&self) -> u32 {
        self.all_entries().map(|entry| entry.id).max().unwrap_or(0).saturating_add(1)
    }

    /// Returns the entries, and behind them those that are leaving.
    pub fn all_entries(&self) -> impl Iterator<Item = &CatalogueEntry> {
        self.entries.iter().chain(&self.leaving)
    }

    /// Returns true while additions of an edit are being filled.
    pub fn is_filling(&self) -> bool {
        self.entries.iter().any(|entry| entry.facts.filling.is_some() || entry.facts.again.is_some())
    }

    /// Returns the catalogue as it is once everything is filled.
    pub fn filled(mut self) -> Catalogue {
        self.leaving.clear();
        for entry in &mut self.entries {
            entry.facts.filling = None;
        }
        self
    }

    /// Returns the catalogue without the additions of an edit that are not whole: another edit goes on from that. Views that
    /// are leaving stay among those, with the rows that sinks have sent.
    pub fn without_filling(&self) -> Catalogue {
        let mut whole = self.clone();
        whole.entries.clear();
        for entry in &self.entries {
            match &entry.facts.filling {
                _ if entry.facts.again.is_some() => {}
                None => whole.entries.push(entry.clone()),
                Some(filling) => whole.entries.extend(filling.earlier.as_deref().cloned()),
            }
        }
        let views: BTreeSet<&str> = whole
            .entries
            .iter()
            .filter(|entry| entry.kind == StateTableKind::View)
            .map(|entry| entry.name.as_str())
            .collect();
        let is_of_none =
            |entry: &CatalogueEntry| entry.index.as_ref().is_some_and(|of| !views.contains(of.view.as_str()));
        let gone: Vec<u32> =
            whole.entries.iter().filter(|entry| is_of_none(entry)).map(|entry| entry.id).collect();
        whole.without(&gone)
    }

    /// Returns the view of an index, and the index.
    pub(crate) fn view_of_index(&self, id: u32) -> Option<(&CatalogueEntry, &CatalogueEntry)> {
        let index = self.entries.iter().find(|entry| entry.id == id)?;
        let of = index.index.as_ref()?;
        Some((self.find(StateTableKind::View, &of.view)?, index))
    }

    /// Returns the ids of the indexes that `held` lacks, of views that it has.
    fn added_indexes(&self, held: &Catalogue) -> Vec<u32> {
        let mut added = Vec::new();
        for entry in self.entries.iter().filter(|entry| entry.kind == StateTableKind::Index) {
            let is_held = held.entries.iter().any(|other| other.id == entry.id);
            let view = entry.index.as_ref().and_then(|of| held.find(StateTableKind::View, &of.view));
            if !is_held && view.is_some() {
                added.push(entry.id);
            }
        }
        added
    }

    /// Returns the catalogue without the entries of some ids.
    fn without(&self, ids: &[u32]) -> Catalogue {
        let mut fewer = self.clone();
        fewer.entries.retain(|entry| !ids.contains(&entry.id));
        fewer
    }

    /// Returns the kinds of all state tables.
    pub(crate) fn table_kinds(&self) -> StateTableKinds {
        self.all_entries().map(|entry| (entry.id, entry.kind)).collect()
    }

    /// Refuses the reserved id, and ids or names that are used twice.
    pub(crate) fn check_unique(&self) -> Result<(), StateError> {
        let (mut ids, mut names) = (BTreeMap::new(), BTreeMap::new());
        for entry in &self.entries {
            if entry.id == table::STAMP {
                return refuse_catalogue(format!("id {} of {:?} is reserved", entry.id, entry.name));
            }
            if let Some(other) = ids.insert(entry.id, &entry.name) {
                return refuse_catalogue(format!(
                    "id {} is given to {other:?} and to {:?}",
                    entry.id, entry.name
                ));
            }
            if names.insert((entry.kind, &entry.name), ()).is_some() {
                return refuse_catalogue(format!("{:?} {:?} is listed twice", entry.kind, entry.name));
            }
        }
        // Those that are leaving may have names that are given again.
        for entry in &self.leaving {
            if let Some(other) = ids.insert(entry.id, &entry.name) {
                return refuse_catalogue(format!(
                    "id {} is given to {other:?} and to {:?}",
                    entry.id, entry.name
                ));
            }
        }
        Ok(())
    }

    /// Refuses a catalogue in which an entry of the held one is changed or, other than an index, missing.
    pub(crate) fn check_extends(&self, held: &Catalogue) -> Result<(), StateError> {
        for was in &held.entries {
            let Some(now) = self.entries.iter().find(|entry| entry.id == was.id) else {
                if was.kind == StateTableKind::Index {
                    continue;
                }
                return refuse_catalogue(format!("{:?} {:?} is held and missing in it", was.kind, was.name));
            };
            // A copy that became a state of its own has sinks without fingerprint: any plan may fill them.
            let open = was.kind == StateTableKind::Sink && was.fingerprint.is_empty();
            let same = open || now.fingerprint == was.fingerprint;
            if (now.kind, &now.name) != (was.kind, &was.name) || !same {
                return refuse_catalogue(format!(
                    "space {} holds {:?} {:?} of fingerprint {}, and is to be {:?} {:?} of fingerprint {}",
                    was.id, was.kind, was.name, was.fingerprint, now.kind, now.name, now.fingerprint
                ));
            }
        }
        Ok(())
    }
}

impl Reads<'_> {
    /// Reads the catalogue; None before the first [`Store::put_catalogue`].
    pub fn catalogue(&self) -> Result<Option<Catalogue>, StateError> {
        self.meta_json("catalogue")
    }
}

impl Store {
    /// Writes the catalogue. It may add entries to the held one and leave out indexes, which are dropped, but
    /// change none. An index that is added to a view of the state is filled from it before it is listed.
    ///
    /// # Errors
    /// When the catalogue is refused, or the state cannot be written.
    pub fn put_catalogue(&self, catalogue: &Catalogue) -> Result<(), StateError> {
        self.put_catalogue_unless(catalogue, &|| false).map(|_| ())
    }

    /// Writes the catalogue as [`Store::put_catalogue`] does, and fills new indexes until `is_stopped` returns
    /// true, which it asks between two pieces. Returns the name of the index that is not filled then; all
    /// entries before it are listed, and the next call goes on with it. None if nothing is left.
    ///
    /// # Errors
    /// As [`Store::put_catalogue`].
    pub fn put_catalogue_unless(
        &self,
        catalogue: &Catalogue,
        is_stopped: &dyn Fn() -> bool,
    ) -> Result<Option<String>, StateError> {
        let _writer = self.lock_writer();
        self.refuse_poisoned()?;
        catalogue.check_unique()?;
        let held = self.catalogue()?;
        let name = match &held {
            Some(held) => Some(&held.topology),
            None => self.topology.as_ref(),
        };
        if let Some(name) = name
            && *name != catalogue.topology
        {
            let (held, wanted) = (name.clone(), catalogue.topology.clone());
            return Err(StateError::Foreign { dir: self.dir.clone(), held, wanted });
        }
        let lists = held.as_ref() == Some(catalogue);
        let held = held.unwrap_or_default();
        catalogue.check_extends(&held)?;
        let mut added = catalogue.added_indexes(&held);
        let listed = catalogue.without(&added);
        let begun = self.interrupted_filling(self.committed().epoch)?;
        let begun = begun.filter(|begun| begun.is_wanted(catalogue) && added.contains(&begun.table_id()));
        // Its note is overwritten by that of the next index, so it comes first.
        added.sort_by_key(|id| begun.as_ref().is_none_or(|begun| begun.table_id() != *id));
        let mut batch = WriteBatch::new();
        let deletes = self.delete_unlisted(&mut batch, (&held, &listed), begun.as_ref())?;
        if lists && !deletes {
            return Ok(None);
        }
        self.put_meta_json(&mut batch, "catalogue", &listed)?;
        batch.put_cf(table::family(&self.db, table::META)?, "topology", &catalogue.topology);
        fail_point!("store.catalogue.before");
        self.write_synced(batch).inspect_err(|error| self.poison(error))?;
        fail_point!("store.catalogue.after");
        self.set_table_kinds(listed.table_kinds());
        for (at, id) in added.iter().enumerate() {
            let grown = catalogue.without(&added[at + 1..]);
            let filled = !is_stopped()
                && self
                    .fill_index((*id, &grown), begun.as_ref(), is_stopped)
                    .inspect_err(|error| self.poison(error))?;
            if !filled {
                let left = catalogue.entries.iter().find(|entry| entry.id == *id);
                return Ok(left.map(|entry| entry.name.clone()));
            }
        }
        Ok(None)
    }
}

fn refuse_catalogue(what: String) -> Result<(), StateError> {
    Err(StateError::Catalogue(what))
}
