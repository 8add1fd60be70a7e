//! Arguments of queries: the place to ask, the limits and the form of the answer.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::values::{parse_disk, parse_memory, parse_query_time};

/// `herald query`.
#[derive(Args, Debug)]
pub struct QueryArgs {
    /// The query, or - for standard input. Without it, on a terminal, a shell. Tables are the materialized
    /// views and the system tables, such as herald.views and herald.epochs.
    pub sql: Option<String>,
    /// Read the query from this file.
    #[arg(short = 'f', long, value_name = "FILE", conflicts_with = "sql")]
    pub file: Option<PathBuf>,
    /// The state or running topology to query.
    #[command(flatten)]
    pub asked: Asked,
    /// Limits of a query of a state. A running topology has limits of its own.
    #[command(flatten)]
    pub limits: QueryLimits,
}

/// Limits of a query.
#[derive(Args, Clone, Debug)]
pub struct QueryLimits {
    /// Most memory of a query, for its tables, its work and its answer.
    #[arg(long, value_name = "SIZE", default_value = "1GiB", env = "HERALD_QUERY_MEMORY", value_parser = parse_memory)]
    pub query_memory: u64,
    /// Longest time of a query.
    #[arg(long, value_name = "TIME", default_value = "60s", env = "HERALD_QUERY_TIME", value_parser = parse_query_time)]
    pub query_time: Duration,
    /// Most bytes that a query may write to temporary files (in TMPDIR) when its memory is full; 0 for none.
    #[arg(long, value_name = "SIZE", default_value = "1GiB", env = "HERALD_QUERY_DISK", value_parser = parse_disk)]
    pub query_disk: u64,
    /// Most rows of an answer.
    #[arg(long, value_name = "N", default_value = "10000000", env = "HERALD_QUERY_ROWS", value_parser = clap::value_parser!(u64).range(1..))]
    pub query_rows: u64,
}

impl Default for QueryLimits {
    fn default() -> QueryLimits {
        QueryLimits {
            query_memory: 1 << 30,
            query_time: Duration::from_secs(60),
            query_disk: 1 << 30,
            query_rows: 10_000_000,
        }
    }
}

/// The state or running topology to query, and the output format.
#[derive(Args, Clone, Debug)]
pub struct Asked {
    /// The state to read. Default: HERALD_STATE, else the only one in .herald.
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// The topology whose state in .herald to read.
    #[arg(long, conflicts_with_all = ["state", "url"])]
    pub name: Option<String>,
    /// Ask a running topology instead, at the address it listens on. Default: HERALD_URL, if no state is named. HERALD_READ_TOKEN
    /// is sent if it is set.
    #[arg(long, conflicts_with = "state")]
    pub url: Option<String>,
    /// Output format.
    #[arg(long, value_enum, default_value_t = OutputFormat::Table)]
    pub format: OutputFormat,
}

impl Asked {
    /// With the address in HERALD_URL where neither a state nor an address is given, by flag or variable.
    pub fn or_environment(mut self) -> Asked {
        let given = self.url.is_some() || self.state.is_some() || self.name.is_some();
        if !given && std::env::var_os("HERALD_STATE").is_none() {
            self.url = std::env::var("HERALD_URL").ok().filter(|url| !url.is_empty());
        }
        self
    }

    /// The arguments of a query of the same state or topology.
    pub fn into_query(self) -> QueryArgs {
        QueryArgs { sql: None, file: None, asked: self, limits: QueryLimits::default() }
    }
}

/// Forms of a query's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Serialize, serde::Deserialize)]
pub enum OutputFormat {
    /// For people.
    Table,
    /// For people, with a line for each column.
    Expanded,
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
            OutputFormat::Expanded => "expanded",
            OutputFormat::Json => "json",
            OutputFormat::Csv => "csv",
        }
    }

    /// The MIME type of its text.
    pub fn mime_type(self) -> &'static str {
        match self {
            OutputFormat::Table | OutputFormat::Expanded => "text/plain; charset=utf-8",
            OutputFormat::Json => "application/json",
            OutputFormat::Csv => "text/csv; charset=utf-8",
        }
    }
}
