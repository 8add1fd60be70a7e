//! Checks of a state's files against their own checksums, before the database is opened.
//!
//! Opening a database hides damage: it cuts a log off at the first bad record, and all later commits are
//! lost. Scanning rows does not read everything either: a damaged filter answers "perhaps". So the logs, the
//! list of tables and the parts of tables that no scan reads (filters, properties, indexes, footers) are
//! checked here directly on the disk. Blocks of rows are checked when they are scanned.

mod crc;
mod log;
mod table;

use std::fs::File;
use std::path::Path;

use crate::error::StateError;
use crate::layout::{Layout, entry_name};
use crate::store::Store;

/// The result of checking the files of a state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilesChecked {
    /// The number of table files checked.
    pub tables: u64,
    /// The number of logs checked.
    pub logs: u64,
    /// The number of records in these logs.
    pub records: u64,
    /// The damages, a sentence each.
    pub damaged: Vec<String>,
    /// Logs that end within a record, as a crash of the machine may leave them, a sentence each.
    pub torn: Vec<String>,
}

impl Store {
    /// Checks the files of a state that no process has open, and changes nothing.
    ///
    /// # Errors
    /// Fails if there is no state, or if a file cannot be read.
    pub fn check_files(dir: &Path) -> Result<FilesChecked, StateError> {
        let layout = Layout::new(dir);
        layout.read_marker()?;
        if !layout.has_database() {
            return Err(StateError::Missing { dir: dir.to_owned() });
        }
        let database = layout.database_dir();
        let current = database.join("CURRENT");
        let current = std::fs::read_to_string(&current).map_err(StateError::io_at(dir, "read", &current))?;
        let entries = std::fs::read_dir(&database).map_err(StateError::io_at(dir, "read", &database))?;
        let mut names: Vec<String> = entries.flatten().map(entry_name).collect();
        names.sort();
        let mut found = FilesChecked::default();
        if !names.iter().any(|name| name == current.trim_end()) {
            found.damaged.push(format!("CURRENT names {:?}, which is not there", current.trim_end()));
        }
        for name in &names {
            let path = database.join(name);
            let failed = StateError::io_at(dir, "read", &path);
            if name.ends_with(".sst") {
                found.tables += 1;
                let file = File::open(&path).map_err(failed)?;
                note_finding(&mut found.damaged, name, table::check(&file).map_err(failed)?);
            // The list of tables, which CURRENT names, is written in the log format too.
            } else if name.ends_with(".log") || name == current.trim_end() {
                found.logs += 1;
                let mut file = File::open(&path).map_err(failed)?;
                let read = log::check(&mut file).map_err(failed)?;
                found.records += read.records;
                note_finding(&mut found.damaged, name, read.damaged);
                note_finding(&mut found.torn, name, read.torn);
            }
        }
        Ok(found)
    }
}

/// Adds the finding about a file, if there is one.
fn note_finding(findings: &mut Vec<String>, file: &str, finding: Option<String>) {
    if let Some(finding) = finding {
        findings.push(format!("{file}: {finding}"));
    }
}
