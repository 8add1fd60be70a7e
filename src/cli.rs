//! What can be typed: commands and flags, and the environment variables of the same names.
//!
//! Every flag of `run` may be set as `HERALD_` and its name in capitals. What was typed becomes
//! what it means in the commands' own modules; here only shapes are checked.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::driver::budget;

/// Exact, exactly-once SQL stream processing.
///
/// A topology is a SQL file: sources, views over them, and sinks. Herald keeps the views up to date
/// as records arrive and publishes their changes, each exactly once.
#[derive(Debug, Parser)]
#[command(name = "herald", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// How log lines are written to standard error.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text, env = "HERALD_LOG_FORMAT")]
    pub log_format: LogFormat,
    /// Which log lines are written: error, warn, info, debug or trace.
    #[arg(long, global = true, value_name = "LEVEL", env = "HERALD_LOG_LEVEL")]
    pub log_level: Option<String>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// See the whole engine at work with nothing installed.
    ///
    /// Starts an in-process Kafka (librdkafka's mock, which is without transactions), fills it with
    /// generated matches, runs the match topology over them and shows a view of the results as it
    /// changes. Off a terminal it prints the result and exits.
    Demo(DemoArgs),
    /// Run a topology.
    ///
    /// Goes on from the state of the last run. SIGTERM or Ctrl-C finishes the epoch, publishes it
    /// and exits; a second one exits at once, and what was not published is kept for the next run.
    Run(RunArgs),
    /// Parse and plan a topology and report every mistake with its line and column.
    Check(CheckArgs),
    /// Show the plan as it will run: operators, keys, what state each keeps and what is durable.
    Explain(ExplainArgs),
    /// Test topologies with scripts, without Kafka.
    ///
    /// A script, NAME.test.sql, names a topology, feeds records to its sources and says what views,
    /// sinks, dead letters and outcome counts must be then:
    ///
    ///   -- topology match_analytics.sql
    ///   -- feed champions
    ///   {"champion_id": 1, "name": "Annie"}
    ///   -- expect changes champion_hourly_out
    ///   -- expect outcomes champions
    ///   {"read": 1, "accepted": 1}
    ///   -- restart
    ///
    /// Connectors are not opened: feeds supply the records, in JSON whatever ENCODE says, and what
    /// sinks send is compared and goes nowhere. Each script is run several ways (one epoch a step,
    /// one row an epoch, one epoch for all, a stop and restore between steps; 1, 2 and 3 workers),
    /// and all must agree. Exits with 1 when something is not as expected, with 2 on a mistake in a
    /// script. docs/testing.md tells all of it.
    #[command(verbatim_doc_comment)]
    Test(TestArgs),
    /// Ask SQL of the views of the last committed epoch, while a topology runs or not.
    Query(QueryArgs),
    /// Answer one query for the process that started this one.
    #[command(name = crate::query::process::COMMAND, hide = true)]
    AnswerQuery,
    /// Have a sink's content sent again. docs/operations.md tells when.
    #[command(subcommand)]
    Sink(SinkCommand),
    /// Look into a state, check it, copy it, put a copy back. docs/operations.md tells when and how.
    #[command(subcommand)]
    State(StateCommand),
}

/// `herald sink`.
#[derive(Debug, Subcommand)]
pub enum SinkCommand {
    /// Order that a sink get its whole content again, once, at the next start of its topology.
    ///
    /// For a topic that was deleted or has lost records: the start makes it where it is missing, and sends what the
    /// sink's view holds. The topology must not run meanwhile.
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
    /// Tell what is in a state: epoch, sources, views, what waits to be published, dead letters.
    Inspect {
        /// The state's directory.
        dir: PathBuf,
    },
    /// Check a state that nobody runs: every block against its checksum, counts, and, with the topology,
    /// every view against what the durable state gives it.
    Verify {
        /// The state's directory.
        dir: PathBuf,
        /// The topology: SQL files, applied in this order.
        files: Vec<PathBuf>,
        /// Variables for ${NAME} in the SQL: NAME=VALUE lines. The environment comes first.
        #[arg(long, value_name = "FILE", env = "HERALD_ENV_FILE")]
        env_file: Option<PathBuf>,
    },
    /// Mend a state that nobody runs and that holds what its tables do not lead to: what can be derived again is
    /// made what is derived, what cannot is named, and sinks get the difference at the next start.
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
        /// Where the copy goes: a directory that does not exist or is empty. With --url, on that machine.
        #[arg(long, value_name = "DIR")]
        to: PathBuf,
        /// Ask the process that runs the topology, at the address it listens on. Needs HERALD_ADMIN_TOKEN.
        #[arg(long, conflicts_with = "dir")]
        url: Option<String>,
    },
    /// Put a copy of a state back.
    Restore {
        /// The backup's directory.
        backup: PathBuf,
        /// Where the state goes: a directory that does not exist or is empty.
        #[arg(long, value_name = "DIR")]
        to: PathBuf,
        /// Make it a state of its own, of a topology of this name with topics of its own: the way back in
        /// time. Its sinks get what can be derived again once more.
        #[arg(long = "as", value_name = "NAME")]
        topology: Option<String>,
    },
}

/// `herald demo`.
#[derive(Args, Debug)]
pub struct DemoArgs {
    /// Stop after this long. Without it: until Ctrl-C on a terminal, 10s elsewhere.
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    pub time: Option<Duration>,
    /// Matches generated in a second.
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub rate: u64,
    /// Write the demo's SQL, data and test to this directory and exit.
    #[arg(long, value_name = "DIR")]
    pub eject: Option<PathBuf>,
}

/// `herald run`.
#[derive(Args, Debug)]
pub struct RunArgs {
    /// The topology: SQL files, applied in this order.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// The topology's name, part of its identity. Default: the first file's name without ending.
    #[arg(long, env = "HERALD_NAME")]
    pub name: Option<String>,
    /// Where the state is kept. Default: .herald/NAME.
    #[arg(long, value_name = "DIR", env = "HERALD_STATE")]
    pub state: Option<PathBuf>,
    /// Worker threads. Default: one a core. May differ from run to run.
    #[arg(long, value_name = "N", env = "HERALD_WORKERS", value_parser = workers)]
    pub workers: Option<usize>,
    /// Memory for caches, epochs and queues together. What the topology keeps in memory by itself comes on top.
    #[arg(long, value_name = "SIZE", default_value = "2GiB", env = "HERALD_MEMORY", value_parser = memory)]
    pub memory: u64,
    /// How long an epoch collects records before it is committed. Under load epochs grow: one that is
    /// not full waits until at most one other is in flight.
    #[arg(long, value_name = "TIME", default_value = "100ms", env = "HERALD_EPOCH_INTERVAL", value_parser = interval)]
    pub epoch_interval: Duration,
    /// Where and to whom things are served.
    #[command(flatten)]
    pub serve: ServeArgs,
    /// Stop when bounded sources end and Kafka sources reach the end offsets seen at start. The watermark of
    /// a bounded source is then beyond all time: its windows close, and rows that it may get later are late.
    #[arg(long, env = "HERALD_ONCE")]
    pub once: bool,
    /// With --once, take the watermark of every source beyond all time at the end, Kafka's too.
    #[arg(long, env = "HERALD_CLOSE_WINDOWS", requires = "once")]
    pub close_windows: bool,
    /// Drop the state and start over.
    #[arg(long, env = "HERALD_FRESH")]
    pub fresh: bool,
    /// Go on although records were deleted from a topic before they were read; the log says how many.
    #[arg(long, env = "HERALD_SKIP_LOST_RECORDS")]
    pub skip_lost_records: bool,
    /// Variables for ${NAME} in the SQL: NAME=VALUE lines. The environment comes first.
    #[arg(long, value_name = "FILE", env = "HERALD_ENV_FILE")]
    pub env_file: Option<PathBuf>,
}

/// Where and to whom a running topology is served.
#[derive(Args, Clone, Debug, Default)]
pub struct ServeArgs {
    /// Serve /healthz, /readyz, /metrics and /v1/* here: ADDRESS:PORT, or PORT on the loopback
    /// interface, or off. Default: 127.0.0.1:7414 if it is free. Elsewhere than on the loopback
    /// interface a token is needed.
    #[arg(long, value_name = "ADDR", env = "HERALD_LISTEN")]
    pub listen: Option<String>,
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
    /// Connections that are open at a time; for one more the one that has been idle longest is closed. Default: 256.
    #[arg(long, value_name = "N", env = "HERALD_MAX_CONNECTIONS", value_parser = connections)]
    pub max_connections: Option<usize>,
    /// What each query may take.
    #[command(flatten)]
    pub limits: QueryLimits,
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
    /// Also try brokers, topics and schema registries. Nothing is created.
    #[arg(long)]
    pub connect: bool,
}

/// `herald explain`.
#[derive(Args, Debug)]
pub struct ExplainArgs {
    /// The topology.
    pub file: PathBuf,
    /// Only this view or sink and what it depends on.
    pub view: Option<String>,
    /// The form of the answer.
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
    /// Rewrite the rows of expectations that differ from what is found. Read the difference then.
    #[arg(long)]
    pub update: bool,
    /// Variables for ${NAME} in the SQL: NAME=VALUE lines. The environment comes first.
    #[arg(long, value_name = "FILE", env = "HERALD_ENV_FILE")]
    pub env_file: Option<PathBuf>,
}

/// `herald query`.
#[derive(Args, Debug)]
pub struct QueryArgs {
    /// The query. Tables are the materialized views, herald.views and herald.dead_letter.
    pub sql: String,
    /// The state to read. Default: HERALD_STATE, else the only one in .herald.
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// The topology whose state in .herald to read.
    #[arg(long, conflicts_with_all = ["state", "url"])]
    pub name: Option<String>,
    /// Ask a running topology instead, at the address it listens on.
    #[arg(long, conflicts_with = "state")]
    pub url: Option<String>,
    /// The form of the answer.
    #[arg(long, value_enum, default_value_t = OutputFormat::Table)]
    pub format: OutputFormat,
    /// What the query may take. A running topology has limits of its own.
    #[command(flatten)]
    pub limits: QueryLimits,
}

/// What each query may take.
#[derive(Args, Clone, Debug)]
pub struct QueryLimits {
    /// Memory a query may take, all of it: its tables, its work and its answer.
    #[arg(long, value_name = "SIZE", default_value = "1GiB", env = "HERALD_QUERY_MEMORY", value_parser = memory)]
    pub query_memory: u64,
    /// How long a query may take.
    #[arg(long, value_name = "TIME", default_value = "60s", env = "HERALD_QUERY_TIME", value_parser = query_time)]
    pub query_time: Duration,
}

impl Default for QueryLimits {
    fn default() -> QueryLimits {
        QueryLimits { query_memory: 1 << 30, query_time: Duration::from_secs(60) }
    }
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

/// Forms of a query's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Serialize, serde::Deserialize)]
pub enum OutputFormat {
    /// For people.
    Table,
    /// An array with one object a row.
    Json,
    /// With a header line.
    Csv,
}

impl OutputFormat {
    /// Its name in URLs.
    pub fn name(self) -> &'static str {
        match self {
            OutputFormat::Table => "table",
            OutputFormat::Json => "json",
            OutputFormat::Csv => "csv",
        }
    }

    /// The MIME type of its text.
    pub fn mime(self) -> &'static str {
        match self {
            OutputFormat::Table => "text/plain; charset=utf-8",
            OutputFormat::Json => "application/json",
            OutputFormat::Csv => "text/csv; charset=utf-8",
        }
    }
}

/// A time such as `100ms`, `30s`, `5m` or `1h`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err("write a number and a unit: 100ms, 30s, 5m or 1h".to_owned()),
    };
    let number: f64 =
        digits.trim().parse().map_err(|_| "write a number and a unit: 100ms, 30s, 5m or 1h".to_owned())?;
    Duration::try_from_secs_f64(number * unit)
        .map_err(|_| "must not be below zero, or beyond counting".to_owned())
}

/// A size such as `512MiB` or `4GiB`.
fn memory(text: &str) -> Result<u64, String> {
    let units = [("GiB", 1 << 30), ("MiB", 1 << 20)];
    let parsed = units.iter().find_map(|(unit, bytes)| {
        let number: u64 = text.strip_suffix(unit)?.trim().parse().ok()?;
        number.checked_mul(*bytes)
    });
    match parsed {
        Some(bytes) if bytes >= budget::LEAST => Ok(bytes),
        Some(_) => Err(format!("must be at least {} MiB", budget::LEAST >> 20)),
        None => Err("write a number and a unit: 512MiB or 4GiB".to_owned()),
    }
}

fn interval(text: &str) -> Result<Duration, String> {
    let time = duration(text)?;
    if time < Duration::from_millis(1) || time > Duration::from_secs(60) {
        return Err("must lie between 1ms and 60s".to_owned());
    }
    Ok(time)
}

fn query_time(text: &str) -> Result<Duration, String> {
    let time = duration(text)?;
    if time < Duration::from_millis(100) || time > Duration::from_secs(3000) {
        return Err("must lie between 100ms and 50m".to_owned());
    }
    Ok(time)
}

fn connections(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count) if (8..=16_384).contains(&count) => Ok(count),
        _ => Err("must be a number from 8 to 16384".to_owned()),
    }
}

fn workers(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count) if (1..=schemas::KEY_GROUPS).contains(&count) => Ok(count),
        _ => Err(format!("must be a number from 1 to {}", schemas::KEY_GROUPS)),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_flags_fit_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn times_have_units() {
        assert_eq!(duration("100ms"), Ok(Duration::from_millis(100)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("2h"), Ok(Duration::from_secs(7200)));
        for bad in ["100", "s", "-1s", "1d", "", "1e400s"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
        assert!(interval("0ms").is_err());
        assert!(interval("2m").is_err());
    }

    #[test]
    fn memory_has_a_unit_and_a_least() {
        assert_eq!(memory("2GiB"), Ok(budget::DEFAULT));
        assert_eq!(memory("512MiB"), Ok(512 << 20));
        for bad in ["2", "2GB", "-1GiB", "64MiB", "99999999999999GiB"] {
            assert!(memory(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn workers_are_bounded_by_key_groups() {
        assert_eq!(workers("256"), Ok(256));
        assert!(workers("0").is_err());
        assert!(workers("257").is_err());
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
