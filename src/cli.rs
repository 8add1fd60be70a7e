//! The command line: commands, flags, and the environment variables of the same names.
//!
//! Every flag of `run` may be set as `HERALD_` and its name in capitals. Only the form of values is checked
//! here; the commands' own modules give them their meaning.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

mod query;
mod schema;
mod stored;
mod topics;
mod values;

pub use query::{Asked, OutputFormat, QueryArgs, QueryLimits};
pub use schema::{SchemaCheckArgs, SchemaCommand};
pub use stored::{DeadLetterCommand, DeadLetterFilter, ReplayArgs, SinkCommand, StateCommand};
pub use topics::{TopicsArgs, TopicsCommand};
pub use values::{MAX_WORKERS, parse_duration};
use values::{parse_connections, parse_interval, parse_memory, parse_subscribers, parse_workers};

/// Exact, exactly-once SQL stream processing.
///
/// A topology is a SQL file: sources, views over them, and sinks. Herald keeps the views up to date
/// as records arrive and publishes their changes, each exactly once.
#[derive(Debug, Parser)]
#[command(name = "herald", version, max_term_width = 100)]
pub struct Cli {
    /// The command.
    #[command(subcommand)]
    pub command: Command,
    /// Format of the log lines on standard error.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text, env = "HERALD_LOG_FORMAT")]
    pub log_format: LogFormat,
    /// Lowest level of log lines that are written: error, warn, info, debug or trace.
    #[arg(long, global = true, value_name = "LEVEL", env = "HERALD_LOG_LEVEL")]
    pub log_level: Option<String>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// See the whole engine at work with nothing installed.
    ///
    /// Starts an in-process Kafka (librdkafka's mock, which is without transactions), fills it with
    /// all that happens in a made-up world of two games, runs the match domain over it and shows
    /// its views as they change. Off a terminal it prints them and exits.
    Demo(DemoArgs),
    /// Run a topology.
    ///
    /// Continues from the state of the last run. SIGTERM or Ctrl-C finishes the epoch, publishes it
    /// and exits; a second one exits at once and keeps unpublished output for the next run.
    Run(RunArgs),
    /// Compare an edited topology with the state of the text that ran before, and tell what a run would do.
    ///
    /// For each source, view, sink and index: whether it keeps its state, is renamed, new, rebuilt or removed; what it
    /// is filled from, and what a sink sends. Nothing is changed. Exits with 0 when nothing is to be done or
    /// all of it is safe, with 3 when something is rebuilt, removed or sent again, with 4 when rows
    /// would be missing or the run would be refused.
    Plan(PlanArgs),
    /// Read a range of a source again, or files, without counting anything twice.
    ///
    /// The topology must not be running; all its other sources stand still. A record that was read before is a
    /// duplicate, whatever became of it. One that was not, because reading began behind it, goes where any record goes,
    /// and what it changes is published exactly once. A backfill that was interrupted is given again.
    /// docs/backfill.md says more.
    Backfill(BackfillArgs),
    /// Parse and plan a topology and report every mistake with its line and column.
    Check(CheckArgs),
    /// Show the plan as it will run: operators, their keys, the state each keeps and whether it is durable.
    Explain(ExplainArgs),
    /// Test topologies with scripts, without Kafka.
    ///
    /// A script, NAME.test.sql, names a topology, feeds records to its sources and states the
    /// expected views, sink changes, dead letters and outcome counts:
    ///
    ///   -- topology match_analytics.sql
    ///   -- feed champions
    ///   {"champion_id": 1, "name": "Annie"}
    ///   -- expect changes champion_hourly_out
    ///   -- expect outcomes champions
    ///   {"read": 1, "accepted": 1}
    ///   -- restart
    ///
    /// Connectors are not opened: feeds supply the records, always in JSON, and the output of
    /// sinks is only compared. Each script is run in several ways (one epoch per step, one row per
    /// epoch, one epoch for all, a stop and restore between steps; 1, 2 and 3 workers), and all
    /// must agree. Exits with 1 when an expectation is not met, with 2 on a mistake in a script.
    /// docs/testing.md describes scripts in full.
    #[command(verbatim_doc_comment)]
    Test(TestArgs),
    /// Query the views of the last committed epoch with SQL, whether the topology runs or not.
    ///
    /// Without a query, on a terminal, it is a shell: statements end with ; and the word help lists its
    /// commands.
    Query(QueryArgs),
    /// Answer one query for the process that started this one.
    #[command(name = self::COMMAND, hide = true)]
    AnswerQuery,
    /// Serve one client of PostgreSQL's protocol for the process that started this one.
    #[command(name = self::SERVE_CLIENT, hide = true)]
    ServeClient,
    /// Make a topology of your own from a sample of your records: a source with inferred columns, a view, a
    /// sink, a test.
    Init(InitArgs),
    /// Show the state of a running topology: epoch, rates, lag, watermarks, rejected records, the last error.
    Status(StatusArgs),
    /// List the rejected records, show one with all of its bytes, or send them to their topics again.
    #[command(subcommand, name = "dead-letter")]
    DeadLetter(DeadLetterCommand),
    /// Lay out SQL files: line breaks, indentation and spaces, nothing else.
    Fmt {
        /// SQL files. Test scripts (NAME.test.sql) are left as they are.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Change nothing; fail if a file is laid out otherwise.
        #[arg(long)]
        check: bool,
    },
    /// Print a script that completes commands and flags: herald completions bash >
    /// /etc/bash_completion.d/herald
    Completions {
        /// The shell.
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Write the reference pages of the documentation.
    #[command(hide = true)]
    Reference {
        /// The directory of the pages.
        dir: PathBuf,
    },
    /// Print the manual page: herald man | man -l -
    Man,
    /// Check an edit of a schema against its readers. docs/schemas.md says more.
    #[command(subcommand)]
    Schema(SchemaCommand),
    /// Compare the topics of a broker with a file, and make them as it says. docs/topics.md says more.
    #[command(subcommand)]
    Topics(TopicsCommand),
    /// Have a sink's content sent again. docs/operations.md says when.
    #[command(subcommand)]
    Sink(SinkCommand),
    /// Inspect, verify, repair, back up or restore a state. docs/operations.md says when and how.
    #[command(subcommand)]
    State(StateCommand),
}

/// `herald init`.
#[derive(Args, Debug)]
pub struct InitArgs {
    /// The directory for the files. Default: the current one.
    pub dir: Option<PathBuf>,
    /// Sample this Kafka topic. Without --topic and --from a few made-up matches are the sample.
    #[arg(long, value_name = "TOPIC", requires = "bootstrap")]
    pub topic: Option<String>,
    /// The topic's brokers: HOST:PORT,...
    #[arg(long, value_name = "HOST:PORT", env = "KAFKA_BOOTSTRAP")]
    pub bootstrap: Option<String>,
    /// Sample this file: one JSON object a line.
    #[arg(long, value_name = "FILE", conflicts_with = "topic")]
    pub from: Option<PathBuf>,
    /// The source's and the files' name. Default: from the topic's or file's.
    #[arg(long)]
    pub name: Option<String>,
}

/// `herald status`.
#[derive(Args, Debug)]
pub struct StatusArgs {
    /// The address the topology listens on.
    #[arg(long, default_value = "127.0.0.1:7414", env = "HERALD_URL")]
    pub url: String,
    /// Update every second until Ctrl-C.
    #[arg(long)]
    pub watch: bool,
    /// Output format.
    #[arg(long, value_enum, default_value_t = StatusFormat::Text, conflicts_with = "watch")]
    pub format: StatusFormat,
}

/// Output formats of `status`, `plan`, `check`, `state inspect` and `dead-letter replay`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StatusFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// `herald demo`.
#[derive(Args, Debug)]
pub struct DemoArgs {
    /// Stop after this long. Without it: until Ctrl-C on a terminal, 10s elsewhere.
    #[arg(long = "for", value_name = "TIME", value_parser = parse_duration)]
    pub time: Option<Duration>,
    /// Matches generated in a second, in which a minute passes in the games.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub rate: u64,
    /// Write the demo as a project and exit: SQL, data, tests and a README. Default directory: the current one.
    #[arg(long, value_name = "DIR", num_args = 0..=1, default_missing_value = ".")]
    pub eject: Option<PathBuf>,
}

/// `herald run`.
#[derive(Args, Debug)]
pub struct RunArgs {
    /// The topology: SQL files, applied in this order.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// The engine.
    #[command(flatten)]
    pub engine: EngineArgs,
    /// Time for which an epoch collects records before it is committed. Under load epochs grow: one that is
    /// not full waits until at most one other is in flight.
    #[arg(long, value_name = "TIME", default_value = "100ms", env = "HERALD_EPOCH_INTERVAL", value_parser = parse_interval)]
    pub epoch_interval: Duration,
    /// Goal for the time from a record's arrival to its output, in place of --epoch-interval: epochs collect for as long as
    /// the last ones left of it, for longer ones cost less a record, and for a twentieth of it at least.
    #[arg(long, value_name = "TIME", env = "HERALD_LATENCY_TARGET", value_parser = parse_interval, conflicts_with = "epoch_interval")]
    pub latency_target: Option<Duration>,
    /// The servers.
    #[command(flatten)]
    pub serve: ServeArgs,
    /// Stop when bounded sources end and Kafka sources reach the end offsets seen at start. The watermark of
    /// a bounded source is then advanced to the maximum: its windows close, and rows that arrive later are
    /// late.
    #[arg(long, env = "HERALD_ONCE")]
    pub once: bool,
    /// With --once, advance the watermark of every source to the maximum at the end, Kafka sources included.
    #[arg(long, env = "HERALD_CLOSE_WINDOWS", requires = "once")]
    pub close_windows: bool,
    /// Drop the state and start over.
    #[arg(long)]
    pub fresh: bool,
    /// Continue although records were deleted from a topic before they were read; the log says how many.
    #[arg(long, env = "HERALD_SKIP_LOST_RECORDS")]
    pub skip_lost_records: bool,
    /// Begin what an edited topology adds or changes without the rows that the state cannot give it.
    /// herald.views shows what is missing.
    #[arg(long)]
    pub allow_gap: bool,
}

/// `herald backfill`.
#[derive(Args, Debug)]
pub struct BackfillArgs {
    /// The topology: SQL files, applied in this order.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// The source.
    pub source: String,
    /// Begin here in each partition: offset:1000, or a time such as 2026-01-01T00:00:00Z. Default: the first record that
    /// the source holds.
    #[arg(long, value_name = "PLACE")]
    pub from: Option<String>,
    /// End before this place. Default, and at most: the first record that was not read yet.
    #[arg(long, value_name = "PLACE")]
    pub to: Option<String>,
    /// Read the lines of these files instead, JSON. For tables with a version column, or DO NOTHING.
    #[arg(long = "files", value_name = "PATH", num_args = 1.., conflicts_with_all = ["from", "to"])]
    pub lines: Vec<PathBuf>,
    /// The engine.
    #[command(flatten)]
    pub engine: EngineArgs,
}

/// Flags of the engine that runs a topology.
#[derive(Args, Debug)]
pub struct EngineArgs {
    /// The topology's name, part of its identity. Default: the first file's name without ending.
    #[arg(long, env = "HERALD_NAME")]
    pub name: Option<String>,
    /// The state's directory. Default: .herald/NAME.
    #[arg(long, value_name = "DIR", env = "HERALD_STATE")]
    pub state: Option<PathBuf>,
    /// Worker threads. Default: one a core. May differ from run to run.
    #[arg(long, value_name = "N", env = "HERALD_WORKERS", value_parser = parse_workers)]
    pub workers: Option<usize>,
    /// Memory for caches, epochs and queues together. The topology's own arrangements in memory come on top.
    #[arg(long, value_name = "SIZE", default_value = "2GiB", env = "HERALD_MEMORY", value_parser = parse_memory)]
    pub memory: u64,
    /// Variables for ${NAME} in the SQL: NAME=VALUE lines. The environment comes first.
    #[arg(long, value_name = "FILE", env = "HERALD_ENV_FILE")]
    pub env_file: Option<PathBuf>,
}

/// Flags of the servers.
#[derive(Args, Clone, Debug, Default)]
pub struct ServeArgs {
    /// Serve /healthz, /readyz, /metrics and /v1/* here: ADDRESS:PORT, or PORT on the loopback
    /// interface, or off. Default: 127.0.0.1:7414 if it is free. Elsewhere than on the loopback
    /// interface a token is needed.
    #[arg(long, value_name = "ADDR", env = "HERALD_LISTEN")]
    pub listen: Option<String>,
    /// Serve PostgreSQL's protocol here, for psql, drivers and tools: ADDRESS:PORT, or PORT on the loopback interface, or
    /// off. Default: 127.0.0.1:5433 if it is free, and off with --listen off. Elsewhere than on the loopback interface
    /// a token is needed.
    #[arg(long, value_name = "ADDR", env = "HERALD_LISTEN_PG")]
    pub listen_pg: Option<String>,
    /// Most connections of PostgreSQL's protocol that are open at a time; each has a process of its own. Default: 100.
    #[arg(long, value_name = "N", env = "HERALD_PG_CONNECTIONS", value_parser = parse_connections)]
    pub pg_connections: Option<usize>,
    /// A file with the token that reading needs (Authorization: Bearer TOKEN). Else HERALD_READ_TOKEN.
    #[arg(long, value_name = "FILE", env = "HERALD_READ_TOKEN_FILE")]
    pub read_token_file: Option<PathBuf>,
    /// A file with the token that administering needs, such as a backup. Else HERALD_ADMIN_TOKEN.
    #[arg(long, value_name = "FILE", env = "HERALD_ADMIN_TOKEN_FILE")]
    pub admin_token_file: Option<PathBuf>,
    /// Serve over TLS with this certificate chain, PEM.
    #[arg(long, value_name = "FILE", env = "HERALD_TLS_CERT", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// The certificate's key, PEM, without a passphrase.
    #[arg(long, value_name = "FILE", env = "HERALD_TLS_KEY", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Most connections that are open at a time; a further one closes the one that has been idle longest.
    /// Default: 256.
    #[arg(long, value_name = "N", env = "HERALD_MAX_CONNECTIONS", value_parser = parse_connections)]
    pub max_connections: Option<usize>,
    /// Most queries that run at a time; 16 times as many may wait for their turn. Default: 2.
    #[arg(long, value_name = "N", env = "HERALD_MAX_QUERIES", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub max_queries: Option<u16>,
    /// Most subscribers at a time: clients that follow a view at /v1/subscribe. Each has a connection.
    /// Default: half of --max-connections.
    #[arg(long, value_name = "N", env = "HERALD_MAX_SUBSCRIBERS", value_parser = parse_subscribers)]
    pub max_subscribers: Option<usize>,
    /// Limits of each query.
    #[command(flatten)]
    pub limits: QueryLimits,
}

/// `herald plan`.
#[derive(Args, Debug)]
pub struct PlanArgs {
    /// The topology: SQL files, applied in this order.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// The topology's name. Default: the first file's name without ending.
    #[arg(long, env = "HERALD_NAME")]
    pub name: Option<String>,
    /// The state's directory, which may be in use. Default: .herald/NAME.
    #[arg(long, value_name = "DIR", env = "HERALD_STATE")]
    pub state: Option<PathBuf>,
    /// Ask the process that runs the topology, at the address it listens on. Rows are not counted then.
    #[arg(long)]
    pub url: Option<String>,
    /// Output format.
    #[arg(long, value_enum, default_value_t = StatusFormat::Text)]
    pub format: StatusFormat,
    /// Variables for ${NAME} in the SQL: NAME=VALUE lines. The environment comes first.
    #[arg(long, value_name = "FILE", env = "HERALD_ENV_FILE")]
    pub env_file: Option<PathBuf>,
}

/// `herald check`.
#[derive(Args, Debug)]
pub struct CheckArgs {
    /// The topology: SQL files, applied in this order.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Variables for ${NAME} in the SQL: NAME=VALUE lines. The environment comes first.
    #[arg(long, value_name = "FILE", env = "HERALD_ENV_FILE")]
    pub env_file: Option<PathBuf>,
    /// Also try brokers, topics and schema registries. Nothing is created. Without it, a source's file that is not
    /// there is a warning.
    #[arg(long)]
    pub connect: bool,
    /// Look for personal values that no tag covers in the first N records of each source; those of topics need
    /// --connect. Without N: 1000. docs/privacy.md says more.
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "1000", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub sample: Option<u32>,
    /// Output format. JSON has each mistake with file, line, column, message and hint.
    #[arg(long, value_enum, default_value_t = StatusFormat::Text, conflicts_with = "connect")]
    pub format: StatusFormat,
}

/// `herald explain`.
#[derive(Args, Debug)]
pub struct ExplainArgs {
    /// The topology: SQL files, applied in this order.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Only this view or sink and its dependencies.
    #[arg(long, value_name = "NAME")]
    pub only: Option<String>,
    /// Instead of the plan, the source columns and rules that each column of the views and sinks comes from; for a
    /// source's column, as matches.duration_s, or a path below one, as it is printed, everything that depends on it.
    #[arg(long, value_name = "VIEW[.COLUMN]|SOURCE[.COLUMN]", num_args = 0..=1, conflicts_with = "only")]
    pub lineage: Option<Option<String>>,
    /// Output format.
    #[arg(long, value_enum, default_value_t = PlanFormat::Text)]
    pub format: PlanFormat,
    /// Variables for ${NAME} in the SQL: NAME=VALUE lines. The environment comes first.
    #[arg(long, value_name = "FILE", env = "HERALD_ENV_FILE")]
    pub env_file: Option<PathBuf>,
}

/// `herald test`.
#[derive(Args, Debug)]
pub struct TestArgs {
    /// Scripts, and directories: all *.test.sql in and below them.
    #[arg(required = true, value_name = "DIR|FILE")]
    pub paths: Vec<PathBuf>,
    /// Rewrite the rows of failed expectations with the rows found. Review the difference afterwards.
    #[arg(long)]
    pub update: bool,
    /// Variables for ${NAME} in the SQL: NAME=VALUE lines. The environment comes first.
    #[arg(long, value_name = "FILE", env = "HERALD_ENV_FILE")]
    pub env_file: Option<PathBuf>,
}

/// Forms of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Forms of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PlanFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
    /// For Graphviz.
    Dot,
}

/// The hidden command that runs as the query process.
pub const COMMAND: &str = "answer-query";
/// The hidden command that runs as the process of a connection.
pub const SERVE_CLIENT: &str = "serve-client";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_flags_fit_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn query_takes_one_place_to_ask() {
        let parse = |args: &[&str]| Cli::try_parse_from([&["herald", "query", "SELECT 1"], args].concat());
        assert!(parse(&["--state", "a"]).is_ok());
        assert!(parse(&["--url", "localhost:7414"]).is_ok());
        assert!(parse(&["--url", "localhost:7414", "--state", "a"]).is_err());
        assert!(parse(&["--name", "a", "--state", "b"]).is_err());
    }
}
