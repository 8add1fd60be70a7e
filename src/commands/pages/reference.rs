//! `herald reference`: generates the reference pages of docs/ from the program's own definitions.
//!
//! Hidden from the help: it must be run after a change of a flag, a metric, a system table, or a function, a
//! type or a statement of SQL. A test compares the pages with its output.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use arrow::datatypes::Schema;
use clap::CommandFactory;
use dataflows::sql::reference::{FunctionEntry, functions, statements, types};

use crate::cli::Cli;
use crate::metrics::Metrics;
use crate::query::tables;
use crate::serve::view_values::METRICS;

/// Writes the pages into `dir`.
///
/// # Errors
/// When a page cannot be written.
pub fn command(dir: &Path) -> Result<()> {
    std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let pages = [
        ("commands.md", commands_page()),
        ("environment.md", environment_page()),
        ("functions.md", functions_page()),
        ("metrics.md", metrics_page()?),
        ("statements.md", statements_page()),
        ("system-tables.md", tables_page()),
        ("types.md", types_page()?),
    ];
    for (name, text) in pages {
        let path = dir.join(name);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// The first line of a page, which warns editors.
const GENERATED: &str = "<!-- Made by `herald reference docs/reference`: edit the code instead. -->\n\n";

/// The command line's definition, complete with its subcommands.
fn build_command() -> clap::Command {
    // Help is wrapped at a width that does not depend on the terminal.
    let mut command = Cli::command().term_width(100);
    command.build();
    command
}

fn commands_page() -> String {
    let mut page = format!(
        "{GENERATED}# Commands\n\nEvery flag of `run` can be set in the [environment](environment.md), too.\n"
    );
    add_commands(&build_command(), "herald", &mut page);
    page
}

fn add_commands(command: &clap::Command, name: &str, page: &mut String) {
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help") {
        let name = format!("{name} {}", sub.get_name());
        if sub.get_subcommands().any(|sub| sub.get_name() != "help") {
            add_commands(sub, &name, page);
            continue;
        }
        let about = sub.get_long_about().or(sub.get_about()).map(ToString::to_string).unwrap_or_default();
        let _ = write!(page, "\n## {name}\n\n{}\n\n```text\n", format_about(&about));
        let usage = sub.clone().bin_name(&name).render_usage().to_string();
        let _ = writeln!(page, "{}\n```\n", usage.trim_start_matches("Usage: ").trim_end());
        let arguments: Vec<&clap::Arg> =
            sub.get_arguments().filter(|arg| !arg.is_hide_set() && !is_global(arg)).collect();
        if arguments.is_empty() {
            continue;
        }
        page.push_str("| argument | meaning | default |\n| --- | --- | --- |\n");
        for argument in arguments {
            let _ = writeln!(
                page,
                "| {} | {} | {} |",
                argument_syntax(argument),
                table_cell(&argument_help(argument)),
                argument_default(argument)
            );
        }
    }
}

fn is_global(argument: &clap::Arg) -> bool {
    ["help", "version", "log_format", "log_level"].contains(&argument.get_id().as_str())
}

/// A command's description; indented text (an example) becomes a code block.
fn format_about(text: &str) -> String {
    let mut out = Vec::new();
    let mut code = false;
    for line in text.lines() {
        let indented = line.starts_with("  ");
        if indented != code && !(code && line.is_empty()) {
            out.push(if indented { "```sql" } else { "```" }.to_owned());
            code = indented;
        }
        out.push(line.trim_start_matches("  ").to_owned());
    }
    if code {
        out.push("```".to_owned());
    }
    out.join("\n")
}

/// The syntax of an argument.
fn argument_syntax(argument: &clap::Arg) -> String {
    let values = match argument.get_value_names() {
        Some(names) if argument.get_action().takes_values() => {
            Some(names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
        }
        _ => None,
    };
    match (argument.get_long(), values) {
        (Some(long), Some(value)) => format!("`--{long} {value}`").replace('|', "\\|"),
        (Some(long), None) => format!("`--{long}`"),
        (None, Some(value)) => format!("`{value}`").replace('|', "\\|"),
        (None, None) => format!("`{}`", argument.get_id().to_string().to_uppercase()).replace('|', "\\|"),
    }
}

fn argument_help(argument: &clap::Arg) -> String {
    argument.get_long_help().or(argument.get_help()).map(ToString::to_string).unwrap_or_default()
}

fn argument_default(argument: &clap::Arg) -> String {
    if !argument.get_action().takes_values() {
        return String::new();
    }
    let values: Vec<String> =
        argument.get_default_values().iter().map(|value| format!("`{}`", value.to_string_lossy())).collect();
    values.join(" ")
}

/// Text as the cell of a table.
fn table_cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

fn environment_page() -> String {
    let mut rows = std::collections::BTreeMap::new();
    collect_environment(&build_command(), &mut rows);
    rows.insert(
        "HERALD_READ_TOKEN".to_owned(),
        "The token that reading needs, of a server and of a client.".to_owned(),
    );
    rows.insert(
        "HERALD_ADMIN_TOKEN".to_owned(),
        "The token that administering needs, of a server and of a client.".to_owned(),
    );
    rows.insert(
        "SSL_CERT_FILE".to_owned(),
        "A file with certificates, PEM, that requests over https trust beside the system's.".to_owned(),
    );
    rows.insert(
        "SSL_CERT_DIR".to_owned(),
        "Directories of files with certificates, PEM, that requests over https trust beside the system's; \
         with colons between."
            .to_owned(),
    );
    let mut page = format!(
        "{GENERATED}# Environment\n\nFlags go before variables.\n\n| variable | meaning |\n| --- | --- |\n"
    );
    for (name, meaning) in rows {
        let _ = writeln!(page, "| `{name}` | {meaning} |");
    }
    page
}

fn collect_environment(command: &clap::Command, rows: &mut std::collections::BTreeMap<String, String>) {
    for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
        if let Some(name) = argument.get_env() {
            rows.entry(name.to_string_lossy().into_owned()).or_insert_with(|| {
                format!("{} ({})", table_cell(&argument_help(argument)), argument_syntax(argument))
            });
        }
    }
    for sub in command.get_subcommands() {
        collect_environment(sub, rows);
    }
}

fn metrics_page() -> Result<String> {
    let mut page = format!(
        "{GENERATED}# Metrics\n\n`/metrics` serves these in Prometheus' text format. Every series has the label `topology`.\n\n\
         | metric | type | labels | meaning |\n| --- | --- | --- | --- |\n"
    );
    for metric in Metrics::new("reference")?.described() {
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let _ = writeln!(
            page,
            "| `herald_{}` | {} | {} | {} |",
            metric.name,
            metric.kind,
            labels.join(", "),
            table_cell(&metric.help)
        );
    }
    for (name, labels, help) in METRICS {
        let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
        let _ = writeln!(page, "| `{name}` | gauge | {} | {} |", labels.join(", "), table_cell(help));
    }
    Ok(page)
}

fn tables_page() -> String {
    let mut page = format!(
        "{GENERATED}# System tables\n\nQueries (`herald query`, `/v1/query`) read these beside the materialized views. \
         The tables of PostgreSQL's\ncatalogue list them all ([Queries](../queries.md#the-catalogue-of-postgresql)).\n"
    );
    for (name, about, schema) in tables::system_schemas() {
        let _ = write!(page, "\n## {name}\n\n{about}\n\n| column | type | null |\n| --- | --- | --- |\n");
        add_columns(&schema, &mut page);
    }
    page
}

fn add_columns(schema: &Schema, page: &mut String) {
    for field in schema.fields() {
        let null = if field.is_nullable() { "yes" } else { "no" };
        let _ = writeln!(page, "| `{}` | {} | {null} |", field.name(), schemas::sql_type(field));
    }
}

/// The beginning of the page of functions.
const FUNCTIONS_HEAD: &str = "\
Views and `herald query` call the same functions, but where a line says otherwise.
[SQL](../sql.md#functions) tells where one gives something else than in PostgreSQL, and names the tests.

- An argument in brackets may be left out; `...` stands for more of the argument before it.
- `T` is any type, the same at every place of a call; `any` is any type. `integer` is SMALLINT, INT or
  BIGINT: of several the widest.
- An integer is taken where BIGINT stands, any number where DOUBLE stands, and a DATE where TIMESTAMPTZ or
  TIMESTAMP stands. Text is not taken where a number stands, nor a number where text stands: write CAST.
- NULL means what it means in PostgreSQL. Aggregates leave it out, but for `array_agg`, `jsonb_agg`,
  `first_value` and `last_value`. All of them take `FILTER (WHERE ...)`, those of one argument DISTINCT.
";

fn functions_page() -> String {
    let mut page = format!("{GENERATED}# Functions\n\n{FUNCTIONS_HEAD}");
    let mut family = "";
    for function in functions() {
        if function.family != family {
            family = function.family;
            let _ = write!(page, "\n## {family}\n\n| call | type | result |\n| --- | --- | --- |\n");
        }
        add_function(&function, &mut page);
    }
    page
}

/// Adds the line of a function; its calls stand below one another.
fn add_function(function: &FunctionEntry, page: &mut String) {
    let (mut calls, mut results) = (Vec::new(), Vec::new());
    for (call, result) in &function.calls {
        calls.push(code(call));
        results.push(table_cell(result));
    }
    let mut result = table_cell(function.result);
    if function.views_only {
        result.push_str(" In views only.");
    }
    if function.queries_only {
        result.push_str(" In queries only.");
    }
    if let [_, others @ ..] = function.names.as_slice()
        && !others.is_empty()
    {
        let _ = write!(result, " Also {}.", code_list(others));
    }
    let _ = writeln!(page, "| {} | {} | {result} |", calls.join("<br>"), results.join("<br>"));
}

/// Text as code in the cell of a table.
fn code(text: &str) -> String {
    format!("`{}`", table_cell(text))
}

/// Names as code, with commas between them.
fn code_list(names: &[&str]) -> String {
    names.iter().copied().map(code).collect::<Vec<_>>().join(", ")
}

/// The beginning of the page of types.
const TYPES_HEAD: &str = "\
Columns of sources and tables are declared with these, and CAST takes them. They may be nested in arrays and
STRUCTs. [Connectors](connectors.md#how-records-are-read) tells how records are read into them,
[SQL](../sql.md#types-and-functions) what may be done with them.

| type | other names | values | bytes |
| --- | --- | --- | --- |
";

/// Text between the tables of types and of examples.
const TYPES_MIDDLE: &str = "
The bytes are those of a value in the state, in keys and between operators; one byte more tells it from NULL.

Times may be declared with a precision up to 6; they always have microseconds. VARCHAR is declared without a
length, and cast with one: `CAST(x AS VARCHAR(3))` cuts.

## Examples

| type | in SQL | in JSON | type in Avro |
| --- | --- | --- | --- |
";

fn types_page() -> Result<String> {
    let mut page = format!("{GENERATED}# Types\n\n{TYPES_HEAD}");
    let types = types().map_err(|error| anyhow!("the types cannot be described: {error}"))?;
    for of in &types {
        let (name, values) = (code(of.name), table_cell(of.values));
        let _ = writeln!(page, "| {name} | {} | {values} | {} |", code_list(of.aliases), of.stored);
    }
    page.push_str(TYPES_MIDDLE);
    for of in &types {
        let (name, avro) = (code(of.name), table_cell(&of.avro));
        let _ = writeln!(page, "| {name} | {} | {} | {avro} |", code(of.literal), code(&of.json));
    }
    page.push_str("\nA column that may be NULL is a union of null and its type in Avro.\n");
    Ok(page)
}

/// The beginning of the page of statements.
const STATEMENTS_HEAD: &str = "\
A topology is a list of CREATE and INSERT statements, each with a semicolon at its end. The examples of this page are
one topology, in this order.

- In the grammar `[...]` may be left out, `{a | b}` is one of these, and `...` repeats the part before it. The
  clauses behind a list of columns stand in any order.
- Words of SQL may be written in small letters. Names fold to lower case unless they stand in double quotes.
- `-- text` to the end of the line and `/* text */` are comments.
- OR REPLACE and IF NOT EXISTS are refused, as are ALTER, DROP, UPDATE and DELETE: a topology is the whole of its
  files.
";

/// The end of the page of statements.
const STATEMENTS_END: &str = "
[Connectors and formats](connectors.md) has the options of each connector and of ENCODE; [types](types.md) are
those of columns, [functions](functions.md) those of expressions. [SQL](../sql.md) has every form of a query,
with the test that shows it.
";

fn statements_page() -> String {
    let mut page = format!("{GENERATED}# Statements\n\n{STATEMENTS_HEAD}");
    for statement in statements() {
        let _ = write!(page, "\n## {}\n\n{}\n", statement.name, statement.purpose);
        let _ = write!(page, "\n```text\n{}\n```\n", statement.grammar);
        add_meanings("clause", statement.clauses, &mut page);
        add_meanings("option", statement.options, &mut page);
        let _ = write!(page, "\n```sql\n{}\n```\n", statement.example);
    }
    page.push_str(STATEMENTS_END);
    page
}

/// Adds a table of clauses or options; nothing without any.
fn add_meanings(head: &str, meanings: &[(&str, &str)], page: &mut String) {
    if meanings.is_empty() {
        return;
    }
    let _ = write!(page, "\n| {head} | meaning |\n| --- | --- |\n");
    for (name, meaning) in meanings {
        let _ = writeln!(page, "| {} | {} |", code(name), table_cell(meaning));
    }
}
