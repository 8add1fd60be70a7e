//! `herald completions` and `herald man`: generated from the same definitions of commands and flags as the
//! help.

use std::io::Write;

use anyhow::Result;
use clap::CommandFactory;

use crate::cli::Cli;

/// `herald completions`.
///
/// # Errors
/// When standard output cannot be written.
pub fn print_completions(shell: clap_complete::Shell) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "herald", &mut script);
    Ok(std::io::stdout().lock().write_all(&script)?)
}

/// `herald man`: prints one page with all commands.
///
/// # Errors
/// When standard output cannot be written.
pub fn print_page() -> Result<()> {
    let mut command = Cli::command();
    command.build();
    let mut page = Vec::new();
    let man = clap_mangen::Man::new(command.clone());
    man.render(&mut page)?;
    for command in command.get_subcommands().filter(|command| !command.is_hide_set()) {
        write_section(command, &format!("herald {}", command.get_name()), &mut page)?;
    }
    Ok(std::io::stdout().lock().write_all(&page)?)
}

/// Writes a command as a section; a command with subcommands as one section for each of them.
fn write_section(command: &clap::Command, name: &str, page: &mut Vec<u8>) -> Result<()> {
    let commands: Vec<&clap::Command> =
        command.get_subcommands().filter(|sub| sub.get_name() != "help").collect();
    if commands.is_empty() {
        writeln!(page, ".SH {}", name.to_uppercase())?;
        let man = clap_mangen::Man::new(command.clone());
        man.render_description_section(page)?;
        man.render_options_section(page)?;
    }
    for sub in commands {
        write_section(sub, &format!("{name} {}", sub.get_name()), page)?;
    }
    Ok(())
}
