//! A local directory as the place of an export.
//!
//! Files appear by a rename within the directory, or by a link where no other may have the name. File and folders are
//! synced before a method returns: the outbox gives an epoch up because its file is there. (The local store of
//! `object_store` syncs nothing, so it is not used.)

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use super::layout::STAGING;
use super::store::{ExportStore, VisitFile, process_folder};
use crate::ConnectorError;

/// A local directory.
#[derive(Debug)]
pub struct Directory {
    root: PathBuf,
    staging_root: PathBuf,
    staging: PathBuf,
}

impl Directory {
    /// The directory at `root`, which need not exist yet.
    pub fn new(root: &Path) -> Directory {
        let staging_root = root.join(STAGING);
        let staging = staging_root.join(process_folder());
        Directory { root: root.to_path_buf(), staging_root, staging }
    }

    /// Writes a small file to the staging folder and syncs it.
    fn stage(&self, content: &[u8]) -> Result<PathBuf, ConnectorError> {
        let path = self.staging.join("note");
        // A crash may have left it as a second name of a manifest, which must not be written over.
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(ConnectorError::io(&path, error));
            }
            _ => {}
        }
        fs::create_dir_all(&self.staging).map_err(|error| ConnectorError::io(&self.staging, error))?;
        let written = File::create_new(&path).and_then(|mut file| {
            file.write_all(content)?;
            file.sync_all()
        });
        written.map_err(|error| ConnectorError::io(&path, error))?;
        Ok(path)
    }

    /// The place of a file, whose folder is created.
    fn prepare(&self, path: &str) -> Result<PathBuf, ConnectorError> {
        let place = self.root.join(path);
        if let Some(folder) = place.parent() {
            fs::create_dir_all(folder).map_err(|error| ConnectorError::io(folder, error))?;
        }
        Ok(place)
    }

    /// Syncs the folders of a file up to the directory itself, so that its name outlives a power failure.
    fn sync_folders(&self, place: &Path) -> Result<(), ConnectorError> {
        for folder in place.ancestors().skip(1) {
            let synced = File::open(folder).and_then(|folder| folder.sync_all());
            synced.map_err(|error| ConnectorError::io(folder, error))?;
            if folder == self.root {
                break;
            }
        }
        Ok(())
    }
}

impl ExportStore for Directory {
    fn create(&self, path: &str, content: &[u8]) -> Result<bool, ConnectorError> {
        let (staged, place) = (self.stage(content)?, self.prepare(path)?);
        let made = match fs::hard_link(&staged, &place) {
            Ok(()) => true,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => false,
            Err(error) => return Err(ConnectorError::io(&place, error)),
        };
        self.sync_folders(&place)?;
        fs::remove_file(&staged).map_err(|error| ConnectorError::io(&staged, error))?;
        Ok(made)
    }

    fn replace(&self, path: &str, content: &[u8]) -> Result<(), ConnectorError> {
        let staged = self.stage(content)?;
        self.place(&staged, path)
    }

    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, ConnectorError> {
        let place = self.root.join(path);
        match fs::read(&place) {
            Ok(content) => Ok(Some(content)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(ConnectorError::io(&place, error)),
        }
    }

    fn list(
        &self,
        folder: &str,
        after: Option<&str>,
        visit: &mut VisitFile<'_>,
    ) -> Result<(), ConnectorError> {
        let mut folders = vec![folder.to_owned()];
        while let Some(folder) = folders.pop() {
            let place = self.root.join(&folder);
            let entries = match fs::read_dir(&place) {
                Ok(entries) => entries,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(ConnectorError::io(&place, error)),
            };
            for entry in entries {
                let entry = entry.map_err(|error| ConnectorError::io(&place, error))?;
                // A name that is not UTF-8 is none of ours.
                let Ok(name) = entry.file_name().into_string() else { continue };
                let path = format!("{folder}/{name}");
                let about = entry.metadata().map_err(|error| ConnectorError::io(&entry.path(), error))?;
                if about.is_dir() {
                    folders.push(path);
                } else if after.is_none_or(|after| path.as_str() > after) {
                    visit(&path, about.len());
                }
            }
        }
        Ok(())
    }

    fn place(&self, staged: &Path, path: &str) -> Result<(), ConnectorError> {
        let place = self.prepare(path)?;
        fs::rename(staged, &place).map_err(|error| ConnectorError::io(&place, error))?;
        self.sync_folders(&place)
    }

    fn fetch(&self, path: &str, _copy: &Path) -> Result<PathBuf, ConnectorError> {
        Ok(self.root.join(path))
    }

    fn remove(&self, path: &str) -> Result<(), ConnectorError> {
        let place = self.root.join(path);
        match fs::remove_file(&place) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(ConnectorError::io(&place, error)),
        }
        // Folders that are empty now go, too; one that is not stays, with those above it.
        for folder in place.ancestors().skip(1).take_while(|folder| *folder != self.root) {
            if fs::remove_dir(folder).is_err() {
                break;
            }
        }
        Ok(())
    }

    fn staging(&self) -> &Path {
        &self.staging
    }

    fn staging_root(&self) -> &Path {
        &self.staging_root
    }
}
