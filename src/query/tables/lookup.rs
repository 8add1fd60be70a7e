//! Look-ups of single rows of views by their keys, without a query: `/v1/views/VIEW/KEY`.
//!
//! The values of a key are read as literals of the columns' types and packed as conditions of a query are, so
//! both find the same entry. It is one read of the snapshot; a row past the view's retention is as absent as
//! in a query.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Error, Result};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use dataflows::runtime::retention::Served;
use schemas::{RowCodec, Rows, stored_key, without_group};
use state::{CatalogueEntry, Snapshot, StateTableKind};

use super::conditions::{Bounds, ViewKey};
use crate::exit::mistake;
use crate::query::{format, mistakes, stored_sources};

/// Most rows beyond the first ones that are counted.
const COUNTED_ROWS: usize = 100_000;

/// The views of a state, ready for look-ups. A running topology's are the same until its end.
pub struct Lookups {
    views: BTreeMap<String, LookupView>,
    /// Names of the topology's sources and tables, of which no row can be looked up.
    sources: Vec<String>,
}

/// A view as look-ups read it.
pub struct LookupView {
    entry: CatalogueEntry,
    schema: SchemaRef,
    key: ViewKey,
    codec: RowCodec,
}

impl Lookups {
    /// The views of a snapshot.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn read(snapshot: &Snapshot<'_>) -> Result<Lookups> {
        let mut views = BTreeMap::new();
        for entry in snapshot.catalogue()?.unwrap_or_default().entries {
            if entry.kind != StateTableKind::View || entry.name.starts_with("herald.") {
                continue;
            }
            let schema = super::view_schema(&entry)?;
            let (key, codec) = (ViewKey::new(&schema, entry.key.as_deref())?, RowCodec::of(&schema)?);
            views.insert(entry.name.clone(), LookupView { entry, schema, key, codec });
        }
        Ok(Lookups { views, sources: stored_sources(snapshot)? })
    }

    /// The view of a name.
    pub fn view(&self, name: &str) -> Option<&LookupView> {
        self.views.get(name)
    }

    /// The mistake of a name that no view has.
    pub fn unknown(&self, name: &str) -> Error {
        let names: Vec<String> = self.views.keys().cloned().collect();
        if names.is_empty() {
            return mistake(format!("there is no view {name}: the topology has no materialized view"));
        }
        mistakes::unknown_view(name, &names, &self.sources)
    }
}

impl LookupView {
    /// Succeeds if the view is whole in a snapshot.
    ///
    /// # Errors
    /// A mistake while it is being filled.
    pub fn refuse_filling(&self, snapshot: &Snapshot<'_>) -> Result<()> {
        mistakes::refuse_filling(&self.entry, &snapshot.committed().progress)
    }

    /// Its entry in the catalogue.
    pub fn entry(&self) -> &CatalogueEntry {
        &self.entry
    }

    /// Its columns.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The row of a key, whose values are literals in the order of its columns, as the text of an object like those of
    /// an answer in JSON; None if there is none.
    ///
    /// # Errors
    /// A mistake if the values are none of the view's key; else when the state cannot be read.
    pub fn row(&self, snapshot: &Snapshot<'_>, values: &[String]) -> Result<Option<String>> {
        self.refuse_filling(snapshot)?;
        let key = self.stored_key(values)?;
        let Some(row) = snapshot.get(self.entry.id, &key)? else { return Ok(None) };
        if let Some(served) = Served::of(&self.entry, &snapshot.committed().progress)?
            && !served.is_served(&row)?
        {
            // Expired, and not deleted from the state yet.
            return Ok(None);
        }
        let name = &self.entry.name;
        let columns = self.codec.decode(std::iter::once(&*row));
        let columns = columns.with_context(|| format!("the row of view {name} cannot be read"))?;
        let batch = RecordBatch::try_new(self.schema.clone(), columns)
            .with_context(|| format!("the row of view {name} does not fit its columns"))?;
        format::json_object(&batch, 0).map(Some)
    }

    /// The first rows that are served, at most `limit`, and the number of rows beyond them, which are counted up to
    /// [`COUNTED_ROWS`].
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn first_rows(&self, snapshot: &Snapshot<'_>, limit: usize) -> Result<(RecordBatch, usize)> {
        let served = Served::of(&self.entry, &snapshot.committed().progress)?;
        let mut scan = super::epoch::EpochReads::open_scan(snapshot, self.entry.id, &Arc::new(Bounds::All))?;
        let (mut rows, mut beyond) = (Rows::new(), 0);
        while beyond < COUNTED_ROWS && scan.advance()? {
            let Some((key, value)) = scan.entry() else { break };
            // Of a view with a key an entry is a key and its row, else a row and its count.
            let row = if self.entry.key.is_some() { value } else { without_group(key) };
            if served.as_ref().map_or(Ok(true), |served| served.is_served(row))? {
                if rows.len() < limit { rows.push(row) } else { beyond += 1 }
            }
        }
        let columns = self.codec.decode(rows.iter())?;
        Ok((RecordBatch::try_new(self.schema.clone(), columns)?, beyond))
    }

    /// The key as SQL, for messages: `(platform = 'EUW1', hour = '9')`.
    pub fn key_text(&self, values: &[String]) -> String {
        let mut parts = Vec::with_capacity(values.len());
        for (name, value) in self.key.names().zip(values) {
            parts.push(format!("{name} = '{}'", value.replace('\'', "''")));
        }
        format!("({})", parts.join(", "))
    }

    /// The stored key of its values.
    fn stored_key(&self, values: &[String]) -> Result<Vec<u8>> {
        let view = &self.entry.name;
        if self.entry.key.is_none() {
            return Err(mistake(format!(
                "view {view} has no key by which a row is looked up: its rows are kept whole, and counted\n  \
                 ask /v1/query, as SELECT * FROM {view} WHERE ...; herald explain tells the keys of views"
            )));
        }
        let names: Vec<&str> = self.key.names().collect();
        if values.len() != names.len() {
            let path = names.iter().map(|name| name.to_uppercase()).collect::<Vec<_>>().join("/");
            let columns = names.join(", ");
            let given = match values.len() {
                1 => "1 value".to_owned(),
                n => format!("{n} values"),
            };
            return Err(mistake(format!(
                "the key of view {view} is ({columns}), and the path has {given}\n  \
                 write /v1/views/{view}/{path}, with %2F for a slash in a value"
            )));
        }
        let mut packed = Vec::new();
        for (at, value) in values.iter().enumerate() {
            packed.extend_from_slice(&self.key.pack_text(at, value, view)?);
        }
        Ok(stored_key(&packed))
    }
}
