//! The `herald` command: SQL topologies over Kafka, kept exact and published exactly once.
//!
//! The binary is thin: [`cli`] says what can be typed, one module a command turns it into what it
//! means, [`driver`] runs a topology, and [`exit`] says how it ended. All that computes lives in
//! the library crates (ARCHITECTURE.md tells the whole way of a record).

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};

mod cli;
pub(crate) mod commands;
mod driver;
mod exit;
mod failpoints;
mod log;
mod metrics;
mod query;
mod run;
mod serve;
mod topology;

/// Workers free what other threads allocated, and the peak of an epoch must go back to the system.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    exit::report(dispatch(&cli))
}

fn dispatch(cli: &Cli) -> anyhow::Result<()> {
    // Only a topology that runs has anything to tell by itself; the others speak by their answer.
    let quiet = !matches!(cli.command, Command::Run(_));
    let level = cli.log_level.as_deref().unwrap_or(if quiet { "error" } else { "info" });
    log::start(cli.log_format, level)?;
    failpoints::arm()?;
    match &cli.command {
        Command::Demo(args) => commands::demo::command(args),
        Command::Run(args) => run::command(args),
        Command::Check(args) => commands::check::command(args),
        Command::Explain(args) => commands::explain::command(args),
        Command::Test(args) => commands::test::command(args),
        Command::Query(args) => query::command(args),
        Command::AnswerQuery => query::answer::command(),
        Command::Sink(command) => commands::sink::command(command),
        Command::State(command) => commands::state::command(command),
    }
}
