//! The options of a `parquet` sink.
//!
//! The planner has checked the columns of `partition_by` and the mode against the view; values are validated here.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use schemas::types::span::Span;

use crate::ConnectorError;
use crate::options::{Options, redacted};

/// Options that a store behind HTTP takes; environment variables stand in for those that are left out.
const STORE_OPTIONS: [&str; 8] = [
    "endpoint",
    "region",
    "access_key_id",
    "secret_access_key",
    "session_token",
    "service_account",
    "account_name",
    "account_key",
];
/// Size of a file without `target_size`.
const USUAL_SIZE: u64 = 64 << 20;
/// Age of a file without `max_age`.
const USUAL_AGE: Duration = Duration::from_secs(300);
/// Least and greatest size that `target_size` may name.
const SIZES: (u64, u64) = (1 << 10, 1 << 34);
/// Least and greatest age that `max_age` may name.
const AGES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(7 * 86_400));

/// Content of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportMode {
    /// The rows of a view that takes none back.
    Append,
    /// The changes of a view, with operation and epoch.
    Changes,
    /// Whole copies of a view, one after the other.
    Current,
}

impl ExportMode {
    /// Its word in SQL and in manifests.
    pub fn word(self) -> &'static str {
        match self {
            ExportMode::Append => "append",
            ExportMode::Changes => "changes",
            ExportMode::Current => "current",
        }
    }
}

/// Options of the store, of which some are secret.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct StoreOptions(pub BTreeMap<String, String>);

impl fmt::Debug for StoreOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&redacted(&self.0), f)
    }
}

/// An export to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParquetSink {
    /// A directory, or a URL of an object store.
    pub path: String,
    /// Names of the columns by which files are partitioned, in order.
    pub partition_by: Vec<String>,
    /// Bytes from which a file is complete.
    pub target_bytes: u64,
    /// Age from which a file is complete.
    pub max_age: Duration,
    /// The mode, if one is named.
    mode: Option<ExportMode>,
    /// Set when small files are merged.
    pub compact: bool,
    /// Options of the store.
    pub store: StoreOptions,
}

impl ParquetSink {
    /// Reads the options of a sink.
    pub fn from_options(values: &BTreeMap<String, String>) -> Result<ParquetSink, ConnectorError> {
        let mut options = Options::new(values);
        options.text("connector");
        let path = options.required("path")?.trim_end_matches('/').to_owned();
        let mode = match options.text("mode") {
            None => None,
            Some("append") => Some(ExportMode::Append),
            Some("changes") => Some(ExportMode::Changes),
            Some("current") => Some(ExportMode::Current),
            Some(other) => {
                let message = format!("must be 'append', 'changes' or 'current', not '{other}'");
                return Err(ConnectorError::config("mode", message));
            }
        };
        let compact = match options.text("compaction") {
            None | Some("off") => false,
            Some("on") if mode == Some(ExportMode::Current) => {
                let message = "has nothing to do with mode = 'current', whose copies are whole: leave it out";
                return Err(ConnectorError::config("compaction", message));
            }
            Some("on") => true,
            Some(other) => {
                let message = format!("must be 'on' or 'off', not '{other}'");
                return Err(ConnectorError::config("compaction", message));
            }
        };
        let target_bytes = options.text("target_size").map_or(Ok(USUAL_SIZE), parse_size)?;
        let max_age = options.text("max_age").map_or(Ok(USUAL_AGE), parse_age)?;
        let partition_by = options.text("partition_by").map(split_names).unwrap_or_default();
        let mut store = StoreOptions::default();
        for name in STORE_OPTIONS {
            if let Some(value) = options.text(name) {
                store.0.insert(name.to_owned(), value.to_owned());
            }
        }
        options.finish()?;
        let sink = ParquetSink { path, partition_by, target_bytes, max_age, mode, compact, store };
        sink.check_place()?;
        Ok(sink)
    }

    /// The content: that of the option `mode`, else by the sink's format.
    pub fn mode(&self, keyed: bool) -> ExportMode {
        let usual = if keyed { ExportMode::Changes } else { ExportMode::Append };
        self.mode.unwrap_or(usual)
    }

    /// The directory that the export is written to; None for an object store.
    pub fn directory(&self) -> Option<&Path> {
        if self.path.contains("://") { None } else { Some(Path::new(&self.path)) }
    }

    /// Refuses a URL that no store of this build has, and options of stores for a directory.
    fn check_place(&self) -> Result<(), ConnectorError> {
        let Some((scheme, _)) = self.path.split_once("://") else {
            return match self.store.0.keys().next() {
                Some(option) => {
                    Err(ConnectorError::config(option, "has no meaning for a directory: leave it out"))
                }
                None => Ok(()),
            };
        };
        let message = match scheme {
            "s3" | "gs" | "az" if cfg!(feature = "cloud") => return Ok(()),
            "s3" | "gs" | "az" => format!(
                "{scheme}:// is not in this build of Herald, which was made without the feature cloud: use a release, or a directory"
            ),
            _ => format!("must be a directory, s3://, gs:// or az://, not {scheme}://"),
        };
        Err(ConnectorError::config("path", message))
    }
}

/// Splits the names of columns; those in double quotes are taken as they are.
fn split_names(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    for word in text.split(',') {
        let word = word.trim();
        let quoted = word.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        names.push(quoted.map_or_else(|| word.to_owned(), |name| name.replace("\"\"", "\"")));
    }
    names
}

/// Parses a size such as `64MiB`.
fn parse_size(text: &str) -> Result<u64, ConnectorError> {
    let mut bytes = None;
    for (unit, factor) in [("KiB", 1u64 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)] {
        if let Some(number) = text.trim().strip_suffix(unit) {
            bytes = number.trim().parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
        }
    }
    match bytes {
        Some(bytes) if (SIZES.0..=SIZES.1).contains(&bytes) => Ok(bytes),
        _ => {
            let message = format!("must be a size from 1KiB to 16GiB, as '64MiB', not '{text}'");
            Err(ConnectorError::config("target_size", message))
        }
    }
}

/// Parses an age such as `5 minutes`.
fn parse_age(text: &str) -> Result<Duration, ConnectorError> {
    let us = Span::parse(text).and_then(|span| u64::try_from(span.length()).ok());
    match us.map(Duration::from_micros) {
        Some(age) if AGES.0 <= age && age <= AGES.1 => Ok(age),
        _ => {
            let message =
                format!("must be a time from 100 milliseconds to 7 days, as '5 minutes', not '{text}'");
            Err(ConnectorError::config("max_age", message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<ParquetSink, String> {
        let mut values = BTreeMap::from([("connector".to_owned(), "parquet".to_owned())]);
        for (name, value) in pairs {
            values.insert((*name).to_owned(), (*value).to_owned());
        }
        ParquetSink::from_options(&values).map_err(|error| error.to_string())
    }

    #[test]
    fn options_have_defaults() {
        let sink = read(&[("path", "out/")]).unwrap();
        assert_eq!((sink.path.as_str(), sink.target_bytes, sink.compact), ("out", 64 << 20, false));
        assert_eq!(sink.max_age, Duration::from_secs(300));
        assert_eq!((sink.mode(false), sink.mode(true)), (ExportMode::Append, ExportMode::Changes));
        let sink = read(&[
            ("path", "out"),
            ("mode", "current"),
            ("target_size", "2 GiB"),
            ("max_age", "90 seconds"),
            ("partition_by", "platform, \"championId\""),
        ])
        .unwrap();
        assert_eq!((sink.mode(true), sink.target_bytes), (ExportMode::Current, 2 << 30));
        assert_eq!(sink.max_age, Duration::from_secs(90));
        assert_eq!(sink.partition_by, ["platform", "championId"]);
    }

    #[test]
    fn mistakes_are_named() {
        let cases: [(&[(&str, &str)], &str); 9] = [
            (&[], "option path: is required"),
            (&[("path", "ftp://host/x")], "option path: must be a directory, s3://, gs:// or az://"),
            (&[("path", "o"), ("mode", "all")], "option mode: must be 'append', 'changes' or 'current'"),
            (&[("path", "o"), ("target_size", "64")], "option target_size: must be a size"),
            (&[("path", "o"), ("max_age", "soon")], "option max_age: must be a time"),
            (&[("path", "o"), ("max_age", "1 year")], "option max_age: must be a time"),
            (&[("path", "o"), ("compaction", "yes")], "option compaction: must be 'on' or 'off'"),
            (&[("path", "o"), ("compaction", "on"), ("mode", "current")], "option compaction: has nothing"),
            (&[("path", "o"), ("region", "eu")], "option region: has no meaning for a directory"),
        ];
        for (pairs, expected) in cases {
            let told = read(pairs).unwrap_err();
            assert!(told.starts_with(expected), "{told}");
        }
        assert!(read(&[("path", "o"), ("target_sise", "1MiB")]).unwrap_err().contains("did you mean"));
    }

    #[test]
    fn secrets_are_not_shown() {
        let pairs = [("secret_access_key", "hunter2"), ("account_key", "hunter2"), ("region", "eu")];
        let mut options = StoreOptions::default();
        for (name, value) in pairs {
            options.0.insert(name.to_owned(), value.to_owned());
        }
        let shown = format!("{options:?}");
        assert!(!shown.contains("hunter2") && shown.contains("eu"), "{shown}");
    }
}
