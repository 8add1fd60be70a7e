//! The manifest of a step: the files that hold a range of epochs, and the marker of the last one.
//!
//! Rows of an export are those of the files that manifests name, without the files that a later one replaces. In mode
//! `current` each manifest stands for itself.

use serde_json::{Value, json};

use super::layout::{MANIFESTS, manifest_epoch};
use super::store::ExportStore;
use crate::ConnectorError;
use crate::kafka::Marker;

/// The version of the form.
const VERSION: u64 = 1;

/// A file of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedFile {
    /// Its path below the export's.
    pub path: String,
    /// Its rows.
    pub rows: u64,
    /// Its bytes.
    pub bytes: u64,
}

/// The record of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The first epoch that the step added.
    pub first: u64,
    /// The last one, by which the manifest is named; in mode `current` that of the copy.
    pub last: u64,
    /// Mode and partitions.
    pub form: String,
    /// The state, and the last epoch of the outbox that the step holds.
    pub marker: Marker,
    /// The files that the step made.
    pub files: Vec<NamedFile>,
    /// Files of earlier steps whose rows are in these now.
    pub replaces: Vec<String>,
}

impl Manifest {
    /// The rows of its files.
    pub fn rows(&self) -> u64 {
        self.files.iter().map(|file| file.rows).sum()
    }

    /// Formats it as JSON.
    pub fn to_json(&self) -> String {
        let mut files = Vec::with_capacity(self.files.len());
        for file in &self.files {
            files.push(json!({ "path": file.path, "rows": file.rows, "bytes": file.bytes }));
        }
        let marker: Value = serde_json::from_str(&self.marker.to_json("")).unwrap_or_default();
        let text = json!({
            "version": VERSION, "first": self.first, "last": self.last, "form": self.form, "rows": self.rows(),
            "files": files, "replaces": self.replaces, "marker": marker,
        });
        format!("{text:#}\n")
    }

    /// Parses JSON; None when it is not a manifest of this version.
    pub fn from_json(bytes: &[u8]) -> Option<Manifest> {
        let value: Value = serde_json::from_slice(bytes).ok()?;
        if value["version"].as_u64()? != VERSION {
            return None;
        }
        let mut files = Vec::new();
        for file in value["files"].as_array()? {
            files.push(NamedFile {
                path: file["path"].as_str()?.to_owned(),
                rows: file["rows"].as_u64()?,
                bytes: file["bytes"].as_u64()?,
            });
        }
        let mut replaces = Vec::new();
        for path in value["replaces"].as_array()? {
            replaces.push(path.as_str()?.to_owned());
        }
        Some(Manifest {
            first: value["first"].as_u64()?,
            last: value["last"].as_u64()?,
            form: value["form"].as_str()?.to_owned(),
            marker: Marker::from_json(value["marker"].to_string().as_bytes())?,
            files,
            replaces,
        })
    }
}

/// The newest manifest of a store; with `after`, of those behind that path. `place` is the export's name in messages.
pub fn newest_manifest(
    store: &dyn ExportStore,
    after: Option<&str>,
    place: &str,
) -> Result<Option<Manifest>, ConnectorError> {
    let mut newest: Option<(u64, String)> = None;
    store.list(MANIFESTS, after, &mut |path, _| {
        if let Some(epoch) = manifest_epoch(path)
            && newest.as_ref().is_none_or(|(held, _)| epoch > *held)
        {
            newest = Some((epoch, path.to_owned()));
        }
    })?;
    let Some((_, path)) = newest else { return Ok(None) };
    let content = store.read(&path)?.unwrap_or_default();
    match Manifest::from_json(&content) {
        Some(manifest) => Ok(Some(manifest)),
        None => {
            let message = format!("has a manifest that this release of Herald cannot read: {path}");
            Err(ConnectorError::export(place, message))
        }
    }
}
