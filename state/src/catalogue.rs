//! The catalogue: which keyed spaces a state holds, by name and by the fingerprint of what fills them.
//!
//! A restart cuts off and restores only what the catalogue lists, so an entry, once written, keeps its id,
//! kind and fingerprint. Additions are accepted; anything else is refused here, because bytes read under
//! another meaning would be wrong without anybody noticing.

use std::collections::BTreeMap;

use fail::fail_point;
use rocksdb::WriteBatch;
use serde::{Deserialize, Serialize};

use crate::error::StateError;
use crate::progress::Progress;
use crate::space;
use crate::store::Store;

/// The spaces of a topology.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Catalogue {
    /// The name of the topology the state belongs to.
    pub topology: String,
    /// One entry a space.
    pub entries: Vec<CatalogueEntry>,
}

/// One keyed space.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CatalogueEntry {
    /// The number that begins each of its keys.
    pub id: u32,
    /// What it is for, which decides the column family.
    pub kind: SpaceKind,
    /// The name of the table, arrangement, view or sink.
    pub name: String,
    /// Of the canonical plan that fills it.
    pub fingerprint: String,
    /// The schema of its rows, as `schemas::schema_to_json` writes it.
    #[serde(default)]
    pub schema: Option<serde_json::Value>,
    /// The key columns, where a key is proven unique. None: rows to their multiplicity.
    #[serde(default)]
    pub key: Option<Vec<usize>>,
    /// How long a view's rows are served; None is for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
}

/// How long the rows of a view are served once they are final.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Retention {
    /// The column of the row's time.
    pub column: usize,
    /// Sources by name, and how far below each one's watermark a time may be, in microseconds.
    pub marks: Vec<(String, i64)>,
}

impl Retention {
    /// Rows whose time is below it are served no longer; None while a source has no watermark. A bounded
    /// source that has ended is as far as its events, not beyond all time.
    pub fn horizon(&self, progress: &Progress) -> Option<i64> {
        let each = self.marks.iter().map(|(name, lag)| {
            let source = progress.sources.get(name)?;
            let reached =
                if source.watermark_us == Some(i64::MAX) { source.ended_us } else { source.watermark_us };
            Some(reached?.saturating_sub(*lag))
        });
        each.collect::<Option<Vec<i64>>>()?.into_iter().min()
    }
}

/// What a space is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpaceKind {
    /// The rows of a keyed table.
    Table,
    /// The state of an operator.
    Arrangement,
    /// A materialized view, as it is served.
    View,
    /// What a sink keeps.
    Sink,
}

/// The kind of each space: all that reading and writing need of the catalogue.
pub(crate) type Spaces = BTreeMap<u32, SpaceKind>;

impl Catalogue {
    /// The entry of that kind and name.
    pub fn find(&self, kind: SpaceKind, name: &str) -> Option<&CatalogueEntry> {
        self.entries.iter().find(|entry| entry.kind == kind && entry.name == name)
    }

    /// A number that no entry has.
    pub fn next_id(&self) -> u32 {
        self.entries.iter().map(|entry| entry.id).max().unwrap_or(0).saturating_add(1)
    }

    pub(crate) fn spaces(&self) -> Spaces {
        self.entries.iter().map(|entry| (entry.id, entry.kind)).collect()
    }

    /// Refuses ids or names that are used twice.
    pub(crate) fn check(&self) -> Result<(), StateError> {
        let (mut ids, mut names) = (BTreeMap::new(), BTreeMap::new());
        for entry in &self.entries {
            if entry.id == space::STAMP {
                return refuse(format!("id {} of {:?} is reserved", entry.id, entry.name));
            }
            if let Some(other) = ids.insert(entry.id, &entry.name) {
                return refuse(format!("id {} is given to {other:?} and to {:?}", entry.id, entry.name));
            }
            if names.insert((entry.kind, &entry.name), ()).is_some() {
                return refuse(format!("{:?} {:?} is listed twice", entry.kind, entry.name));
            }
        }
        Ok(())
    }

    /// Refuses a catalogue in which an entry of the held one is missing or means something else.
    pub(crate) fn check_extends(&self, held: &Catalogue) -> Result<(), StateError> {
        for was in &held.entries {
            let Some(now) = self.entries.iter().find(|entry| entry.id == was.id) else {
                return refuse(format!("{:?} {:?} is held and missing in it", was.kind, was.name));
            };
            let open = was.kind == SpaceKind::Sink && was.fingerprint.is_empty();
            let same = open || now.fingerprint == was.fingerprint;
            if (now.kind, &now.name) != (was.kind, &was.name) || !same {
                return refuse(format!(
                    "space {} holds {:?} {:?} of fingerprint {}, and is to be {:?} {:?} of fingerprint {}",
                    was.id, was.kind, was.name, was.fingerprint, now.kind, now.name, now.fingerprint
                ));
            }
        }
        Ok(())
    }
}

impl Store {
    /// The catalogue; None before the first [`Store::put_catalogue`].
    pub fn catalogue(&self) -> Result<Option<Catalogue>, StateError> {
        self.reads().meta_json("catalogue")
    }

    /// Writes the catalogue. It may add to the held one and change nothing in it.
    pub fn put_catalogue(&self, catalogue: &Catalogue) -> Result<(), StateError> {
        let _writer = self.writer();
        self.refuse_poisoned()?;
        catalogue.check()?;
        let held = self.catalogue()?;
        let name = held.as_ref().map(|held| &held.topology).or(self.topology.as_ref());
        if let Some(name) = name.filter(|name| **name != catalogue.topology) {
            let (held, wanted) = (name.clone(), catalogue.topology.clone());
            return Err(StateError::Foreign { dir: self.dir.clone(), held, wanted });
        }
        if let Some(held) = &held {
            catalogue.check_extends(held)?;
        }
        let mut batch = WriteBatch::new();
        self.put_meta_json(&mut batch, "catalogue", catalogue)?;
        batch.put_cf(space::family(&self.db, space::META)?, "topology", &catalogue.topology);
        fail_point!("store.catalogue.before");
        self.write_synced(batch).inspect_err(|error| self.poison(error))?;
        fail_point!("store.catalogue.after");
        self.set_spaces(catalogue.spaces());
        Ok(())
    }
}

fn refuse(what: String) -> Result<(), StateError> {
    Err(StateError::Catalogue(what))
}
