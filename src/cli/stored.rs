//! Commands for what a topology has stored: rejected records, the content of sinks, the state itself.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Asked, StatusFormat};

/// `herald dead-letter`.
#[derive(Debug, Subcommand)]
pub enum DeadLetterCommand {
    /// List the newest rejected records: where each came from, and why it was refused.
    List {
        /// Filters of the list.
        #[command(flatten)]
        filter: DeadLetterFilter,
        /// Most records to list.
        #[arg(long, value_name = "N", default_value_t = 20)]
        limit: u64,
        /// The state or topology to query.
        #[command(flatten)]
        asked: Asked,
    },
    /// Show one rejected record with its key and value.
    ///
    /// Each column is a line. Bytes that are text are shown as text, with control characters escaped, others in
    /// hex; the line says which. With --format json or csv bytes are in base64.
    Show {
        /// Its number in the list.
        sequence: u64,
        /// The state or topology to query.
        #[command(flatten)]
        asked: Asked,
    },
    /// Send rejected records to their topics again, once each, after a fix of the cause.
    ///
    /// Reads the dead-letter topics of the topology's Kafka sources and sends each record as it was. In the same
    /// transaction it is marked there as replayed: a command that is interrupted is given again, and sends the
    /// rest. Exits with 1 when a selected record could not be sent. docs/operations.md says more.
    Replay(ReplayArgs),
}

/// `herald dead-letter replay`.
#[derive(Args, Debug)]
pub struct ReplayArgs {
    /// The topology: SQL files, applied in this order.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Filters of the records.
    #[command(flatten)]
    pub filter: DeadLetterFilter,
    /// Count the records, and send none.
    #[arg(long)]
    pub dry_run: bool,
    /// Output format.
    #[arg(long, value_enum, default_value_t = StatusFormat::Text)]
    pub format: StatusFormat,
    /// Variables for ${NAME} in the SQL: NAME=VALUE lines. The environment comes first.
    #[arg(long, value_name = "FILE", env = "HERALD_ENV_FILE")]
    pub env_file: Option<PathBuf>,
}

/// Filters of rejected records.
#[derive(Args, Clone, Debug, Default)]
pub struct DeadLetterFilter {
    /// Only records of this source.
    #[arg(long)]
    pub source: Option<String>,
    /// Only records with this outcome: constraint, decode or late.
    #[arg(long)]
    pub outcome: Option<String>,
    /// Only records with a timestamp from this one on, such as 2026-01-01T00:00:00Z.
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Only records with a timestamp before this one.
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
}

/// `herald sink`.
#[derive(Debug, Subcommand)]
pub enum SinkCommand {
    /// Order that a sink's whole content is sent again, once, at the next start of its topology.
    ///
    /// For a topic that was deleted or has lost records: the start creates it if it is missing, and sends the
    /// content of the sink's view. The topology must not be running.
    Resend {
        /// The sink's name.
        sink: String,
        /// The state's directory. Default: HERALD_STATE, else the only one in .herald.
        #[arg(long, value_name = "DIR")]
        state: Option<PathBuf>,
        /// The topology whose state in .herald it is.
        #[arg(long, conflicts_with = "state")]
        name: Option<String>,
    },
}

/// `herald state`.
#[derive(Debug, Subcommand)]
pub enum StateCommand {
    /// Show the content of a state: epoch, sources, tables and views with their sizes, and unpublished
    /// epochs.
    Inspect {
        /// The state's directory. Default: HERALD_STATE, else the only one in .herald.
        dir: Option<PathBuf>,
        /// The topology whose state in .herald it is.
        #[arg(long, conflicts_with = "dir")]
        name: Option<String>,
        /// Output format.
        #[arg(long, value_enum, default_value_t = StatusFormat::Text)]
        format: StatusFormat,
    },
    /// Check a state that is not in use: every block against its checksum, counts, and, with the topology,
    /// every view against the rows derived again from the durable state.
    Verify {
        /// The state's directory.
        dir: PathBuf,
        /// The topology: SQL files, applied in this order.
        files: Vec<PathBuf>,
        /// Output format.
        #[arg(long, value_enum, default_value_t = StatusFormat::Text)]
        format: StatusFormat,
        /// Variables for ${NAME} in the SQL: NAME=VALUE lines. The environment comes first.
        #[arg(long, value_name = "FILE", env = "HERALD_ENV_FILE")]
        env_file: Option<PathBuf>,
    },
    /// Repair a state that is not in use and whose views differ from its tables: content that can be derived
    /// again is replaced by the derived rows, the rest is listed, and sinks get the difference at the next
    /// start.
    Repair {
        /// The state's directory.
        dir: PathBuf,
        /// The topology: SQL files, applied in this order.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Variables for ${NAME} in the SQL: NAME=VALUE lines. The environment comes first.
        #[arg(long, value_name = "FILE", env = "HERALD_ENV_FILE")]
        env_file: Option<PathBuf>,
    },
    /// Copy a state as of one committed epoch, also while it is in use.
    Backup {
        /// The state's directory. With --url, left out.
        #[arg(required_unless_present = "url")]
        dir: Option<PathBuf>,
        /// The copy's directory, which must be missing or empty. With --url, on that machine.
        #[arg(long, value_name = "DIR")]
        to: PathBuf,
        /// Ask the process that runs the topology, at the address it listens on. Needs HERALD_ADMIN_TOKEN.
        #[arg(long, conflicts_with = "dir")]
        url: Option<String>,
    },
    /// Restore a state from a copy.
    Restore {
        /// The backup's directory.
        backup: PathBuf,
        /// The state's directory, which must be missing or empty.
        #[arg(long, value_name = "DIR")]
        to: PathBuf,
        /// Make it a state of its own, for a topology of this name that writes to topics of its own: a way to
        /// go back in time. Its sinks are sent all content that can be derived again.
        #[arg(long = "as", value_name = "NAME")]
        topology: Option<String>,
    },
}
