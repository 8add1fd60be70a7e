//! The `herald` command: SQL topologies over Kafka, kept exact and published exactly once.
//!
//! The binary is thin: [`cli`] parses the command line, one module per command carries it out, [`driver`]
//! runs a topology, and [`exit`] prints failures and chooses the exit code. The computing is done in the
//! library crates (ARCHITECTURE.md follows a record through them).

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};

mod cli;
pub(crate) mod commands;
mod driver;
mod exit;
mod log;
mod metrics;
mod pg;
mod query;
mod run;
mod serve;
mod topology;

/// mimalloc: workers free memory that other threads allocated, and the peak of epochs must be returned to the system
/// once they are over.
#[global_allocator]
static ALLOCATOR: metrics::CountingAllocator = metrics::CountingAllocator;

fn main() -> ExitCode {
    metrics::keep_freed_memory();
    let cli = Cli::parse();
    if !matches!(cli.command, Command::Run(_)) {
        end_on_failed_output();
    }
    let code = exit::report(refuse_processor().and_then(|()| dispatch(&cli)));
    connectors::kafka::await_closed();
    code
}

/// Refuses a processor without the instructions that RocksDB is compiled for (.cargo/config.toml).
///
/// # Errors
/// When it lacks one.
#[cfg(target_arch = "x86_64")]
fn refuse_processor() -> anyhow::Result<()> {
    let has_all =
        std::arch::is_x86_feature_detected!("sse4.2") && std::arch::is_x86_feature_detected!("pclmulqdq");
    anyhow::ensure!(
        has_all,
        "this processor lacks SSE 4.2 or PCLMULQDQ, which checksums of the state need: run it on another"
    );
    Ok(())
}

/// Asks nothing of other processors.
#[cfg(not(target_arch = "x86_64"))]
fn refuse_processor() -> anyhow::Result<()> {
    Ok(())
}

/// Ends a command whose output fails: without a word when its reader has left (`herald status | head -1`), as other
/// commands end, else with the reason.
fn end_on_failed_output() {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let said = panic.payload().downcast_ref::<String>();
        match said.and_then(|said| said.strip_prefix("failed printing to stdout: ")) {
            Some(why) if why.contains("Broken pipe") => std::process::exit(0),
            Some(why) => {
                eprintln!("error: standard output cannot be written: {why}.");
                std::process::exit(1);
            }
            None => default(panic),
        }
    }));
}

fn dispatch(cli: &Cli) -> anyhow::Result<()> {
    // Only `run` logs progress; the other commands print their result to standard output.
    let usual = match cli.command {
        Command::Run(_) => "info",
        Command::Backfill(_) => "warn",
        _ => "error",
    };
    let level = cli.log_level.as_deref().unwrap_or(usual);
    log::start(cli.log_format, level)?;
    run::failpoints::arm()?;
    match &cli.command {
        Command::Demo(args) => commands::demo::command(args),
        Command::Run(args) => run::command(args),
        Command::Plan(args) => topology::plan::command(args),
        Command::Backfill(args) => run::backfill::command(args),
        Command::Check(args) => commands::check::command(args),
        Command::Explain(args) => commands::explain::command(args),
        Command::Test(args) => commands::test::command(args),
        Command::Query(args) => query::command(args),
        Command::Init(args) => commands::init::command(args),
        Command::Status(args) => commands::running::status::command(args),
        Command::DeadLetter(command) => commands::dead_letter::command(command),
        Command::Completions { shell } => commands::pages::manual::print_completions(*shell),
        Command::Fmt { files, check } => commands::fmt::command(files, *check),
        Command::Man => commands::pages::manual::print_page(),
        Command::Reference { dir } => commands::pages::reference::command(dir),
        Command::AnswerQuery => query::process::answer::command(),
        Command::ServeClient => pg::child::command(),
        Command::Schema(command) => commands::schema::command(command),
        Command::Topics(command) => commands::topics::command(command),
        Command::Sink(command) => commands::running::sink::command(command),
        Command::State(command) => commands::state::command(command),
    }
}
