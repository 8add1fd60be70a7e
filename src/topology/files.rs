//! Files of file sources that cannot be read now.
//!
//! A file that is missing is no mistake of the text: it may come later, or lie where the topology runs. But a start
//! refuses it, unless the source follows its files. So `check` warns of it, at the option and with the whole path.

use std::io::ErrorKind;
use std::path::Path;

use anyhow::Result;
use connectors::file::FileSource;
use connectors::{ConnectorError, SourceConnector};
use dataflows::plan::Plan;
use dataflows::sql::{Mistake, SqlError, SqlFile};

use super::{OptionClause, Variables, find_option, find_owner, parse_statements};

/// Files of a source that cannot be read now.
pub struct UnreadFiles {
    /// The file and the reason, in words.
    pub reason: String,
    /// True if a start does not refuse them but waits for them.
    pub awaited: bool,
}

impl UnreadFiles {
    /// Looks for the files of a source; None if they can be read.
    pub fn find(files: &FileSource) -> Option<UnreadFiles> {
        let reason = match files.look() {
            Ok(true) => return None,
            Ok(false) => {
                let reason = format!("{} is not there yet", whole_path(&files.path));
                return Some(UnreadFiles { reason, awaited: true });
            }
            Err(ConnectorError::Io { path, source }) if source.kind() == ErrorKind::NotFound => {
                format!("{} is not there", whole_path(&path))
            }
            Err(ConnectorError::Io { path, source }) => {
                format!("{} cannot be read: {source}", whole_path(&path))
            }
            Err(ConnectorError::File { path, message }) => format!("{}: {message}", whole_path(&path)),
            Err(other) => other.to_string(),
        };
        Some(UnreadFiles { reason, awaited: false })
    }

    /// The consequence for a start, and the remedy.
    pub fn hint(&self) -> &'static str {
        if self.awaited {
            "`herald run` would wait for it; a relative path counts from the directory it starts in"
        } else {
            "`herald run` would not start; a relative path counts from the directory it starts in"
        }
    }
}

/// The absolute form of a path, which shows where a relative one leads from here.
fn whole_path(path: &Path) -> String {
    match std::path::absolute(path) {
        Ok(whole) => whole.display().to_string(),
        Err(_) => path.display().to_string(),
    }
}

/// Warnings of the plan's sources whose files cannot be read now, at the options that name the files.
///
/// # Errors
/// When the text cannot be parsed, though it was planned.
pub fn file_warnings(files: &[SqlFile], variables: &Variables, plan: &Plan) -> Result<Vec<SqlError>> {
    let mut unread = Vec::new();
    for source in &plan.sources {
        if let Ok(SourceConnector::File(file)) = SourceConnector::from_options(&source.options)
            && let Some(found) = UnreadFiles::find(&file)
        {
            unread.push((source.name.as_str(), found));
        }
    }
    let mut warnings = Vec::with_capacity(unread.len());
    if unread.is_empty() {
        return Ok(warnings);
    }
    let statements = parse_statements(files, variables)?;
    for (source, found) in unread {
        let (kind, name, items) = find_owner(&statements, source, OptionClause::With);
        let pos = find_option(items, "path").map_or(name.pos, |item| item.pos);
        let warning = Mistake::new(pos, format!("{kind} {source}: {}", found.reason)).hint(found.hint());
        warnings.push(warning.named(files));
    }
    Ok(warnings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::{Network, plan_topology};

    #[test]
    fn a_file_that_is_not_there_is_told_at_its_option() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let at = dir.path().display();
        std::fs::write(dir.path().join("here.jsonl"), "{\"a\":1}\n")?;
        let mut text = String::new();
        for (name, path, follow) in
            [("x", "here.jsonl", false), ("y", "gone.jsonl", false), ("z", "later-*.jsonl", true)]
        {
            text.push_str(&format!(
                "CREATE SOURCE {name} (a INT) WITH (connector = 'file', path = '{at}/{path}', follow = '{follow}')\n\
                 FORMAT PLAIN ENCODE JSON;\n\
                 CREATE MATERIALIZED VIEW of_{name} AS SELECT a FROM {name};\n"
            ));
        }
        let files = [SqlFile { name: "t.sql".to_owned(), text }];
        let variables = Variables::only(&[]);
        let plan = plan_topology(&files, &variables, Network::Refused)?;
        let warnings = file_warnings(&files, &variables, &plan)?;
        let told: Vec<String> = warnings.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                format!(
                    "t.sql:4:51: source y: {at}/gone.jsonl is not there\n  `herald run` would not start; a relative \
                     path counts from the directory it starts in"
                ),
                format!(
                    "t.sql:7:51: source z: {at}/later-*.jsonl is not there yet\n  `herald run` would wait for it; a \
                     relative path counts from the directory it starts in"
                ),
            ]
        );
        Ok(())
    }

    #[test]
    fn a_relative_path_is_shown_whole() {
        let file = FileSource { path: "no/such/file.jsonl".into(), follow: false, keyed: false, last: None };
        let here = std::env::current_dir().map(|dir| dir.join("no/such/file.jsonl").display().to_string());
        let found = UnreadFiles::find(&file).map(|found| (found.reason, found.awaited));
        assert_eq!(found, here.ok().map(|path| (format!("{path} is not there"), false)));
    }
}
