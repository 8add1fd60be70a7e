//! The files of a state against their own checksums, before anything is opened.
//!
//! Opening a database repairs what it can: a log that is damaged in its middle is cut off there, and what was
//! committed after that is gone. And reading rows does not read everything: a filter that is damaged answers
//! "perhaps". So the logs, the list of tables and the parts of tables that no scan reads (filters, properties,
//! indexes, footers) are checked here as they lie on the disk. Blocks of rows are checked by whoever scans them.

mod crc;
mod log;
mod table;

use std::fs::File;
use std::path::Path;

use crate::error::StateError;
use crate::layout::Layout;
use crate::store::Store;

/// What was found of the files of a state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilesChecked {
    /// Table files looked at.
    pub tables: u64,
    /// Logs looked at, and their records.
    pub logs: u64,
    /// Records in them.
    pub records: u64,
    /// What is damaged, a sentence each.
    pub damaged: Vec<String>,
    /// What a crash of the machine may well have left: a log that ends within a record.
    pub torn: Vec<String>,
}

impl Store {
    /// Checks the files of a state that nobody runs, and changes nothing.
    ///
    /// # Errors
    /// When there is no state, or a file cannot be read.
    pub fn check_files(dir: &Path) -> Result<FilesChecked, StateError> {
        let layout = Layout::new(dir);
        layout.marker()?;
        if !layout.has_database() {
            return Err(StateError::Missing { dir: dir.to_owned() });
        }
        let database = layout.database();
        let failed = |path: &Path, source| StateError::io(dir, "read", path, source);
        let current = database.join("CURRENT");
        let current = std::fs::read_to_string(&current).map_err(|error| failed(&current, error))?;
        let entries = std::fs::read_dir(&database).map_err(|error| failed(&database, error))?;
        let mut names: Vec<String> =
            entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        let mut found = FilesChecked::default();
        if !names.iter().any(|name| name == current.trim_end()) {
            found.damaged.push(format!("CURRENT names {:?}, which is not there", current.trim_end()));
        }
        for name in &names {
            let path = database.join(name);
            let open = || File::open(&path).map_err(|error| failed(&path, error));
            if name.ends_with(".sst") {
                found.tables += 1;
                let damage = table::check(&open()?).map_err(|error| failed(&path, error))?;
                found.damaged.extend(damage.map(|what| format!("{name}: {what}")));
            } else if name.ends_with(".log") || name == current.trim_end() {
                found.logs += 1;
                let read = log::check(&mut open()?).map_err(|error| failed(&path, error))?;
                found.records += read.records;
                found.damaged.extend(read.damaged.map(|what| format!("{name}: {what}")));
                found.torn.extend(read.torn.map(|what| format!("{name}: {what}")));
            }
        }
        Ok(found)
    }
}
