//! Errors of this crate, by the remedy that the caller has.
//!
//! `Config`, `UnknownOption`, `MissingTopic`, `Topic` and `Refused` are for the user to correct. `Unreachable` and
//! `Transaction` pass: they are waited for. `Fenced`, `StateMismatch`, `FileMismatch`, `Export` and `ExportMismatch` are final: going on would
//! write some epoch twice or lose one, so the process stops and says which command goes on.

use std::path::PathBuf;

use rdkafka::error::KafkaError;
use schemas::SchemaError;

/// An error of the connectors crate.
#[derive(Debug, thiserror::Error)]
pub enum ConnectorError {
    /// A mistake in the options of a source or sink.
    #[error("option {option}: {message}")]
    Config {
        /// Name of the option.
        option: String,
        /// The fault and the remedy.
        message: String,
    },
    /// An option that the connector does not have.
    #[error("option {option}: {message}")]
    UnknownOption {
        /// Name of the option.
        option: String,
        /// The known names.
        message: String,
    },
    /// No broker answered in time. Passes when the broker comes back.
    #[error("Kafka at {bootstrap} cannot be reached: {reason}")]
    Unreachable {
        /// The bootstrap servers asked.
        bootstrap: String,
        /// Reason that the client reported.
        reason: String,
    },
    /// A topic that must exist does not.
    #[error("topic \"{topic}\" does not exist on Kafka at {bootstrap}")]
    MissingTopic {
        /// Name of the topic.
        topic: String,
        /// The bootstrap servers asked.
        bootstrap: String,
    },
    /// A topic exists, but not as it must be.
    #[error("topic \"{topic}\" {message}")]
    Topic {
        /// Name of the topic.
        topic: String,
        /// The fault and the remedy.
        message: String,
    },
    /// The broker answered, and the answer is no: authentication, authorisation, limits.
    #[error("Kafka at {bootstrap} refuses {what}: {reason}")]
    Refused {
        /// The bootstrap servers asked.
        bootstrap: String,
        /// The request.
        what: String,
        /// The broker's words.
        reason: String,
    },
    /// Records that were not read yet are gone from the topic.
    #[error(
        "topic \"{topic}\" partition {partition}: {} records from offset {next} on were deleted before they were read (the topic now starts at {low})",
        low - next
    )]
    LostRecords {
        /// Name of the topic.
        topic: String,
        /// Partition.
        partition: i32,
        /// The next offset to read.
        next: i64,
        /// The first offset the topic still holds.
        low: i64,
    },
    /// The state has read further than the topic reaches: it is not the topic it was.
    #[error(
        "topic \"{topic}\" partition {partition} ends at offset {high}, but the state has read up to {next}: the topic was deleted and made anew, or its broker lost data"
    )]
    ShrunkTopic {
        /// Name of the topic.
        topic: String,
        /// Partition.
        partition: i32,
        /// The next offset to read.
        next: i64,
        /// The end of the partition.
        high: i64,
    },
    /// The topic holds another record than the one that was read there.
    #[error(
        "topic \"{topic}\" partition {partition} holds at offset {offset} another record than the one that was read there: the topic was deleted and made anew, or its broker lost data"
    )]
    RemadeTopic {
        /// Name of the topic.
        topic: String,
        /// Partition.
        partition: i32,
        /// The offset of the last record read.
        offset: i64,
    },
    /// A topic that was published to is gone.
    #[error("topic \"{topic}\" was deleted, with what this topology has published to it")]
    GoneTopic {
        /// Name of the topic.
        topic: String,
    },
    /// A topic ends before the last record that was published to it.
    #[error(
        "topic \"{topic}\" partition {partition} ends at offset {end}, but this topology has published up to {reached}: the topic was deleted and made anew, or its broker lost data"
    )]
    RemadeSink {
        /// Name of the topic.
        topic: String,
        /// Partition.
        partition: i32,
        /// Its end, or the offset of a new record.
        end: i64,
        /// The end it had reached at least.
        reached: i64,
    },
    /// A topic has another number of partitions than it had when it was published to.
    #[error(
        "topic \"{topic}\" has {now} partitions, and had {was} when this topology published to it: rows of one key would stand in two of them"
    )]
    GrownTopic {
        /// Name of the topic.
        topic: String,
        /// Partitions before.
        was: i32,
        /// Partitions now.
        now: i32,
    },
    /// A topic was last written by another topology.
    #[error("topic \"{topic}\" was last written by another topology, {other}")]
    OtherWriter {
        /// Name of the topic.
        topic: String,
        /// The other topology.
        other: String,
    },
    /// Another process has taken over the transactional id. Final.
    #[error(
        "another process publishes as \"{transactional_id}\" now: this one must stop and publish nothing more"
    )]
    Fenced {
        /// The transactional id that both use.
        transactional_id: String,
    },
    /// The transaction met an error. A new session finds out whether it was committed.
    #[error("the transaction was not clean: {0}")]
    Transaction(String),
    /// The transaction would not have ended before its timeout. A new session finds out whether it was
    /// committed; the next one is smaller.
    #[error("the transaction took too long: {0}")]
    Slow(String),
    /// The broker refuses the timestamps of records. Other timestamps are tried.
    #[error("the broker takes no records of this time ({0}): this machine's clock or the broker's is wrong")]
    Untimely(String),
    /// The state and the published output do not belong together. Final.
    #[error("{0}")]
    StateMismatch(Mismatch),
    /// The state and the file of a sink do not belong together. Final.
    #[error("file {} {}", path.display(), describe_file_mismatch(mismatch))]
    FileMismatch {
        /// The file.
        path: PathBuf,
        /// The reason.
        mismatch: Mismatch,
    },
    /// The caller asked to stop during a wait.
    #[error("stopped while waiting for Kafka; what was not published is kept in the outbox")]
    Stopped,
    /// A chunk of the outbox cannot be read.
    #[error("the outbox cannot be read")]
    Outbox(#[from] SchemaError),
    /// A file cannot be read or written.
    #[error("file {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// The content of a file is not as it must be.
    #[error("file {}: {message}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The fault and the remedy.
        message: String,
    },
    /// A range was given by times, and the source's records have none.
    #[error("its records have no timestamps, so a range of them has none")]
    NoTimestamps,
    /// A Parquet file cannot be written or read.
    #[error("Parquet file {}", path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: parquet::errors::ParquetError,
    },
    /// An object store does not do as asked.
    #[error("{place}: {reason}")]
    Storage {
        /// The object.
        place: String,
        /// The store's words.
        reason: String,
        /// Set when it may do so later.
        passes: bool,
    },
    /// A step of an export would have too many files; one of fewer epochs may not.
    #[error(
        "export {place} would get more than {most} files at once: name columns with fewer values in partition_by, or a greater target_size"
    )]
    TooManyFiles {
        /// Its path.
        place: String,
        /// Most files of a step.
        most: usize,
    },
    /// An export is not as it must be. Final.
    #[error("export {place} {message}")]
    Export {
        /// Its path.
        place: String,
        /// The fault and the remedy.
        message: String,
    },
    /// The state and an export do not belong together. Final.
    #[error("export {place} {}", describe_file_mismatch(mismatch))]
    ExportMismatch {
        /// Its path.
        place: String,
        /// The reason.
        mismatch: Mismatch,
    },
    /// The rows of an export cannot be read from the state.
    #[error("the rows to export cannot be read")]
    ExportRows(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Any other failure of the Kafka client.
    #[error("Kafka client")]
    Kafka(#[from] KafkaError),
}

/// Reason why a state may not be published to its sinks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// The sinks hold a later epoch than the state has committed: an older copy of the state.
    Ahead {
        /// Last published epoch, of the marker.
        published: u64,
        /// Last committed epoch, of the state.
        committed: u64,
    },
    /// The marker was written by another state.
    Foreign {
        /// State id of the marker.
        marker: String,
        /// Last published epoch, of the marker.
        published: u64,
    },
    /// Same state id and epoch, other content: a state directory was copied and both copies ran.
    Diverged {
        /// The epoch in question.
        epoch: u64,
    },
    /// The sinks hold less than the state knows to be published: the broker lost data, or its topics were
    /// wiped.
    LostData {
        /// Last published epoch of the marker; None without a marker.
        marker: Option<u64>,
        /// Last epoch this state knows to be published.
        published: u64,
    },
}

impl std::fmt::Display for Mismatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Mismatch::Ahead { published, committed } => write!(
                f,
                "the sinks hold epoch {published}, but the state has only committed epoch {committed}: it is an older copy"
            ),
            Mismatch::Foreign { marker, published } => write!(
                f,
                "the sinks were written up to epoch {published} by another state ({marker}): this state directory is new, or another topology has the same name"
            ),
            Mismatch::Diverged { epoch } => write!(
                f,
                "the sinks hold another epoch {epoch} than this state committed: the state directory was copied and both copies ran"
            ),
            Mismatch::LostData { marker: Some(marker), published } => write!(
                f,
                "the sinks hold epoch {marker}, but the state published epoch {published}: the broker lost data"
            ),
            Mismatch::LostData { marker: None, published } => write!(
                f,
                "the state published epoch {published}, but the progress topic knows nothing of it: the broker was wiped, or it is another one"
            ),
        }
    }
}

/// The mismatch of a state and a file, as the end of a sentence about the file.
fn describe_file_mismatch(mismatch: &Mismatch) -> String {
    match mismatch {
        Mismatch::Ahead { published, committed } => {
            format!(
                "holds epoch {published}, but the state has only committed epoch {committed}: it is an older copy"
            )
        }
        Mismatch::Foreign { marker, published } => format!(
            "was written up to epoch {published} by another state ({marker}): this state directory is new, or another topology writes there"
        ),
        Mismatch::Diverged { epoch } => format!(
            "holds another epoch {epoch} than this state committed: the state directory was copied and both copies ran"
        ),
        Mismatch::LostData { marker: Some(marker), published } => {
            format!(
                "holds epoch {marker}, but the state published epoch {published} to it: it is an older copy"
            )
        }
        Mismatch::LostData { marker: None, published } => {
            format!("is gone, with what the state published to it up to epoch {published}")
        }
    }
}

impl ConnectorError {
    /// Returns true when the failure can pass by itself, so that waiting and opening anew may help.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            ConnectorError::Unreachable { .. }
                | ConnectorError::Transaction(_)
                | ConnectorError::Slow(_)
                | ConnectorError::Untimely(_)
                | ConnectorError::Kafka(_)
                | ConnectorError::Storage { passes: true, .. }
        )
    }

    /// Returns true when a running export tries its step again: its disk is full, gone or broken, its store is away, or
    /// lets nobody in. At a start the same failures are told at once.
    pub fn passes_for_export(&self) -> bool {
        let of_place = matches!(
            self,
            ConnectorError::Io { .. } | ConnectorError::Parquet { .. } | ConnectorError::Storage { .. }
        );
        of_place || self.is_transient()
    }

    /// Returns true when the user has to change the topology, the options or the broker.
    pub fn is_mistake(&self) -> bool {
        matches!(
            self,
            ConnectorError::Config { .. }
                | ConnectorError::UnknownOption { .. }
                | ConnectorError::MissingTopic { .. }
                | ConnectorError::Topic { .. }
                | ConnectorError::GoneTopic { .. }
                | ConnectorError::GrownTopic { .. }
                | ConnectorError::OtherWriter { .. }
                | ConnectorError::Refused { .. }
                | ConnectorError::NoTimestamps
                | ConnectorError::Export { .. }
                | ConnectorError::TooManyFiles { .. }
                | ConnectorError::Storage { passes: false, .. }
        )
    }

    /// The remedy, where this crate knows one: a sentence, with the command that goes on.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            ConnectorError::Unreachable { .. } => {
                "check properties.bootstrap.server and that the broker is up; TLS and SASL are set by properties.security.protocol"
            }
            ConnectorError::MissingTopic { .. } => {
                "create the topic, or correct the option \"topic\"; Herald does not create source topics"
            }
            ConnectorError::LostRecords { .. } => {
                "lengthen the topic's retention; to go on without these records: `herald run FILE --skip-lost-records`"
            }
            ConnectorError::ShrunkTopic { .. } | ConnectorError::RemadeTopic { .. } => {
                "point the source at the old topic, or start over with `herald run FILE --fresh`"
            }
            ConnectorError::GoneTopic { .. } | ConnectorError::RemadeSink { .. } => {
                "restore the topic, or order its sink to be sent again: `herald sink resend NAME`, then start, which makes what is missing; dead letter topics are made anew without"
            }
            ConnectorError::GrownTopic { .. } => {
                "name another topic; or delete this one and order its sink to be sent again: `herald sink resend NAME`, then start"
            }
            ConnectorError::OtherWriter { .. } => {
                "name another topic; to take this one over, delete it, or start with `herald run FILE --fresh`"
            }
            ConnectorError::NoTimestamps => "give offsets: `--from offset:1000 --to offset:2000`",
            ConnectorError::Fenced { .. } => "stop the other process, or give one of them another `--name`",
            ConnectorError::StateMismatch(Mismatch::Ahead { .. } | Mismatch::Diverged { .. }) => {
                "run with the newer state directory (`--state DIR`), or start over with `herald run FILE --fresh` and empty sinks"
            }
            ConnectorError::StateMismatch(Mismatch::Foreign { .. }) => {
                "run with the state directory that wrote them (`--state DIR`), choose another `--name`, or take over with `herald run FILE --fresh`"
            }
            ConnectorError::StateMismatch(Mismatch::LostData { .. }) => {
                "restore the broker's topics, or write everything again with `herald run FILE --fresh`"
            }
            ConnectorError::FileMismatch { mismatch: Mismatch::Foreign { .. }, .. } => {
                "name another path, remove the file and its note (PATH.herald), or run with the state that wrote them (`--state DIR`)"
            }
            ConnectorError::FileMismatch { mismatch: Mismatch::LostData { .. }, .. } => {
                "restore the file and its note (PATH.herald), or write everything again with `herald run FILE --fresh`"
            }
            ConnectorError::FileMismatch { .. } => {
                "run with the newer state directory (`--state DIR`), or start over with `herald run FILE --fresh`"
            }
            ConnectorError::ExportMismatch { mismatch: Mismatch::Foreign { .. }, .. } => {
                "name another path, run with the state that wrote it (`--state DIR`), or take it over with `herald run FILE --fresh`, which removes its files"
            }
            ConnectorError::ExportMismatch { mismatch: Mismatch::LostData { .. }, .. } => {
                "restore its files and manifests, or write everything again with `herald run FILE --fresh`"
            }
            ConnectorError::ExportMismatch { .. } => {
                "run with the newer state directory (`--state DIR`), or start over with `herald run FILE --fresh`"
            }
            ConnectorError::Storage { .. } => {
                "check path, endpoint, region and the keys, and that the bucket is there"
            }
            _ => return None,
        })
    }

    pub(crate) fn config(option: &str, message: impl Into<String>) -> ConnectorError {
        ConnectorError::Config { option: option.to_string(), message: message.into() }
    }

    pub(crate) fn export(place: &str, message: impl Into<String>) -> ConnectorError {
        ConnectorError::Export { place: place.to_owned(), message: message.into() }
    }

    pub(crate) fn parquet(path: &std::path::Path, source: parquet::errors::ParquetError) -> ConnectorError {
        ConnectorError::Parquet { path: path.to_path_buf(), source }
    }

    pub(crate) fn io(path: &std::path::Path, source: std::io::Error) -> ConnectorError {
        ConnectorError::Io { path: path.to_path_buf(), source }
    }
}
