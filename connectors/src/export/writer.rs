//! The steps of an export, and the way back after a crash at any place of one.
//!
//! A step: files are staged, put in place, named by a manifest, and the outbox gives the epochs up. In mode `current`
//! `latest.json` follows the manifest. Last, files that newer ones replace are removed.
//!
//! | crash after | found at the start | done |
//! | --- | --- | --- |
//! | staging | files in the staging folder | removed |
//! | some files are in place | files whose last epoch has no manifest | removed; their epochs are still in the outbox |
//! | the manifest | the outbox holds epochs that the manifest has | the outbox gives them up |
//! | the manifest, in mode `current` | `latest.json` names the copy before | replaced |
//! | removal of some files | files that the newest manifest replaces, or copies before the last two | removed |

use std::collections::BTreeSet;
use std::path::Path;

use fail::fail_point;
use serde_json::json;

use super::bucket::Bucket;
use super::directory::Directory;
use super::layout::{
    CONTENT, LATEST, MANIFESTS, copy_epoch, copy_folder, manifest_epoch, manifest_path, range_of,
};
use super::manifest::{Manifest, newest_manifest};
use super::settings::{ExportMode, ParquetSink};
use super::shape::ExportShape;
use super::staging::{ReadChunks, StagePlan, StagedFile};
use super::store::ExportStore;
use crate::ConnectorError;
use crate::kafka::Marker;

/// A step to write.
#[derive(Clone, Debug)]
pub struct Step {
    /// Its last epoch; in mode `current` that of the copy.
    pub last: u64,
    /// The last epoch of the outbox that the step holds.
    pub marker: Marker,
}

/// A step that was written, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Their rows.
    pub rows: u64,
}

/// Writes the epochs of one sink to one export.
pub struct ExportWriter {
    sink: ParquetSink,
    shape: ExportShape,
    store: Box<dyn ExportStore>,
    state_id: String,
    newest: Option<Manifest>,
}

impl ExportWriter {
    /// The newest manifest of the export, which is not changed, and whose folder need not exist.
    pub fn peek(sink: &ParquetSink, scratch: &Path) -> Result<Option<Manifest>, ConnectorError> {
        newest_manifest(&*open_store(sink, scratch)?, None, &sink.path)
    }

    /// Opens the export and changes nothing. The caller compares the marker with the state by
    /// [`crate::kafka::settle()`], and then calls [`ExportWriter::recover`], or [`ExportWriter::claim`] to start over.
    pub fn open(
        sink: &ParquetSink,
        shape: ExportShape,
        (state_id, scratch): (&str, &Path),
    ) -> Result<(ExportWriter, Option<Marker>), ConnectorError> {
        let store = open_store(sink, scratch)?;
        ExportWriter::with_store(sink, shape, store, state_id)
    }

    /// Opens the export in a store.
    pub(super) fn with_store(
        sink: &ParquetSink,
        shape: ExportShape,
        store: Box<dyn ExportStore>,
        state_id: &str,
    ) -> Result<(ExportWriter, Option<Marker>), ConnectorError> {
        let newest = newest_manifest(&*store, None, &sink.path)?;
        let marker = newest.as_ref().map(|manifest| manifest.marker.clone());
        let (sink, state_id) = (sink.clone(), state_id.to_owned());
        Ok((ExportWriter { sink, shape, store, state_id, newest }, marker))
    }

    /// The last epoch of the outbox that the export holds.
    pub fn published(&self) -> u64 {
        self.newest.as_ref().map_or(0, |newest| newest.marker.epoch)
    }

    /// The newest manifest.
    pub fn newest(&self) -> Option<&Manifest> {
        self.newest.as_ref()
    }

    /// The sink's options.
    pub fn sink(&self) -> &ParquetSink {
        &self.sink
    }

    /// The content of the export.
    pub fn mode(&self) -> ExportMode {
        self.shape.mode
    }

    /// Starts over: everything that an earlier state wrote is removed, and the export belongs to this one (`--fresh`).
    /// Manifests go last: until then they tell whose the rest is.
    pub fn claim(&mut self) -> Result<(), ConnectorError> {
        for folder in CONTENT {
            self.remove_where(folder, |path| range_of(path).is_some() || copy_epoch(path).is_some())?;
        }
        self.store.remove(LATEST)?;
        self.remove_where(MANIFESTS, |path| manifest_epoch(path).is_some())?;
        self.newest = None;
        self.recover()
    }

    /// Completes or takes back the step that a crash left. Only for a state that the export belongs to.
    ///
    /// # Errors
    /// When the export was begun in another form, or files without a manifest are there.
    pub fn recover(&mut self) -> Result<(), ConnectorError> {
        let form = self.shape.form();
        self.clear_staging()?;
        let Some(newest) = &self.newest else { return self.begin(form) };
        if newest.form != form {
            let message = format!(
                "was begun as {}, and is {form} now: name another path, or start over with `herald run FILE --fresh`",
                newest.form
            );
            return Err(self.refusal(message));
        }
        let last = newest.last;
        if self.shape.mode != ExportMode::Current {
            let folder = if self.shape.mode == ExportMode::Changes { "changes" } else { "data" };
            let manifests = self.manifest_epochs()?;
            // Files of a step that has no manifest were left by a crash, or by a process that did not come to it.
            self.remove_where(folder, |path| {
                range_of(path).is_some_and(|(_, epoch)| epoch > last || !manifests.contains(&epoch))
            })?;
        }
        self.settle_newest()
    }

    /// Makes the first manifest, which holds nothing, so that the export has an owner before its first file.
    fn begin(&mut self, form: String) -> Result<(), ConnectorError> {
        for folder in CONTENT {
            let mut strange = None;
            self.store.list(folder, None, &mut |path, _| {
                if range_of(path).is_some() || copy_epoch(path).is_some() {
                    strange = Some(path.to_owned());
                }
            })?;
            if let Some(path) = strange {
                let message =
                    format!("has {path}, and no manifest: move the files away, or name another path");
                return Err(self.refusal(message));
            }
        }
        let marker = Marker::whole(&self.state_id, 0, &[]);
        let (files, replaces) = (Vec::new(), Vec::new());
        self.commit(Manifest { first: 0, last: 0, form, marker, files, replaces })
    }

    /// Reads the newest manifest again after a failure, since a request may have been carried out of which no answer
    /// came, and takes back what is not in it.
    pub fn resume(&mut self) -> Result<(), ConnectorError> {
        let newest = newest_manifest(&*self.store, None, &self.sink.path)?;
        match newest {
            Some(newest) if newest.marker.state_id == self.state_id => {
                self.newest = Some(newest);
                self.recover()
            }
            _ => Err(self.taken()),
        }
    }

    /// Writes a step. Ok means that its rows are in the files that manifests name, and will stay there.
    pub fn write(&mut self, step: Step, rows: &ReadChunks<'_>) -> Result<Written, ConnectorError> {
        self.confirm_ownership()?;
        let manifests = if self.sink.compact { Some(self.manifest_epochs()?) } else { None };
        let first = self.newest.as_ref().map_or(0, |newest| newest.last) + 1;
        let plan = StagePlan {
            shape: &self.shape,
            store: &*self.store,
            first,
            last: step.last,
            target_bytes: self.sink.target_bytes,
            compact: manifests.as_ref(),
            place: &self.sink.path,
        };
        let staged = match plan.write_files(rows) {
            Ok(staged) => staged,
            Err(error) => {
                // A full disk gets its room back at once; what cannot be removed now is at the next attempt.
                let _ = std::fs::remove_dir_all(self.store.staging());
                return Err(error);
            }
        };
        fail_point!("export.staged");
        self.confirm_ownership()?;
        let (mut files, mut replaces, mut written) = (Vec::new(), Vec::new(), Written::default());
        for StagedFile { staged, named, replaces: old } in staged {
            self.store.place(&staged, &named.path)?;
            fail_point!("export.placed");
            written.files += 1;
            written.bytes += named.bytes;
            written.rows += named.rows;
            files.push(named);
            replaces.extend(old);
        }
        let (form, marker) = (self.shape.form(), step.marker);
        self.commit(Manifest { first, last: step.last, form, marker, files, replaces })?;
        fail_point!("export.manifest");
        self.settle_newest()?;
        fail_point!("export.settled");
        Ok(written)
    }

    /// Makes a manifest, which only one process can.
    fn commit(&mut self, manifest: Manifest) -> Result<(), ConnectorError> {
        let (path, content) = (manifest_path(manifest.last), manifest.to_json());
        if !self.store.create(&path, content.as_bytes())? {
            // A request that was sent again finds the one before it.
            let found = self.store.read(&path)?;
            if found.is_none_or(|found| found != content.as_bytes()) {
                return Err(self.taken());
            }
        }
        self.newest = Some(manifest);
        Ok(())
    }

    /// Refuses to go on where another process has made a newer manifest, or started the export over.
    fn confirm_ownership(&self) -> Result<(), ConnectorError> {
        let Some(newest) = &self.newest else { return Err(self.taken()) };
        let path = manifest_path(newest.last);
        let own = self.store.read(&path)?.and_then(|content| Manifest::from_json(&content));
        let later = newest_manifest(&*self.store, Some(&path), &self.sink.path)?;
        if own.as_ref() != Some(newest) || later.is_some() { Err(self.taken()) } else { Ok(()) }
    }

    /// Does what follows the newest manifest; again, if a crash came between.
    fn settle_newest(&self) -> Result<(), ConnectorError> {
        let Some(newest) = &self.newest else { return Ok(()) };
        if self.shape.mode != ExportMode::Current {
            for path in &newest.replaces {
                self.store.remove(path)?;
            }
            return Ok(());
        }
        if newest.last > 0 {
            let folder = copy_folder(newest.last);
            let named = json!({ "epoch": newest.last, "path": folder, "rows": newest.rows() });
            let content = format!("{named:#}\n");
            if self.store.read(LATEST)?.as_deref() != Some(content.as_bytes()) {
                self.store.replace(LATEST, content.as_bytes())?;
            }
            fail_point!("export.latest");
        }
        self.remove_copies(newest.last)
    }

    /// Removes all copies but the newest and the one before it, which somebody may be reading, and their manifests.
    fn remove_copies(&self, newest: u64) -> Result<(), ConnectorError> {
        let mut epochs = BTreeSet::new();
        self.store.list("current", None, &mut |path, _| {
            epochs.extend(copy_epoch(path).filter(|epoch| *epoch < newest));
        })?;
        let before = epochs.last().copied().unwrap_or(newest);
        self.remove_where("current", |path| {
            copy_epoch(path).is_some_and(|epoch| epoch != newest && epoch != before)
        })?;
        self.remove_where(MANIFESTS, |path| manifest_epoch(path).is_some_and(|epoch| epoch < before))
    }

    /// The epochs of all manifests.
    fn manifest_epochs(&self) -> Result<BTreeSet<u64>, ConnectorError> {
        let mut epochs = BTreeSet::new();
        self.store.list(MANIFESTS, None, &mut |path, _| epochs.extend(manifest_epoch(path)))?;
        Ok(epochs)
    }

    /// Removes the files of a folder whose path fits.
    fn remove_where(&self, folder: &str, fits: impl Fn(&str) -> bool) -> Result<(), ConnectorError> {
        let mut found = Vec::new();
        self.store.list(folder, None, &mut |path, _| {
            if fits(path) {
                found.push(path.to_owned());
            }
        })?;
        for path in found {
            self.store.remove(&path)?;
        }
        Ok(())
    }

    /// Removes what a crash left in the staging folder, of any process: the export has one owner.
    fn clear_staging(&self) -> Result<(), ConnectorError> {
        let folder = self.store.staging_root();
        match std::fs::remove_dir_all(folder) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(ConnectorError::io(folder, error)),
        }
    }

    fn refusal(&self, message: impl Into<String>) -> ConnectorError {
        ConnectorError::export(&self.sink.path, message)
    }

    fn taken(&self) -> ConnectorError {
        self.refusal("is written by another process now: this one must stop and write nothing more")
    }
}

/// The store that a sink's path names. Nothing is created. `scratch` is a folder of the export's own, which an object
/// store stages files in.
fn open_store(sink: &ParquetSink, scratch: &Path) -> Result<Box<dyn ExportStore>, ConnectorError> {
    Ok(match sink.directory() {
        Some(root) => Box::new(Directory::new(root)),
        None => Box::new(Bucket::open(sink, scratch)?),
    })
}
