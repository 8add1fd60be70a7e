//! `docs/reference`: the generated pages are those of this program, and the written ones leave nothing out.
//!
//! Pages that the hidden command `herald reference` makes are compared byte for byte. To write them anew after a change of
//! flags, metrics, system tables, functions, types or statements: `HERALD_UPDATE=1 cargo test --release --test e2e
//! reference`. The pages about connectors and HTTP are written by hand; the names in them are compared with those that
//! the code reads. So are the words of statements with the parser's, and their examples are given to `herald check`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::servers;
use crate::tidy::rust_files;

/// The pages that `herald reference` makes.
const PAGES: [&str; 7] = [
    "commands.md",
    "environment.md",
    "functions.md",
    "metrics.md",
    "statements.md",
    "system-tables.md",
    "types.md",
];
/// The calls that read an option by its name.
const READERS: [&str; 7] =
    [".text", ".required", ".parse", ".flag", ".share", ".prefixed", "positive_option(options,"];

fn reference_dir() -> PathBuf {
    servers::root().join("docs/reference")
}

fn reference_page(name: &str) -> String {
    fs::read_to_string(reference_dir().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The code below a folder, without tests.
fn code_below(folder: &str) -> String {
    let mut files = Vec::new();
    rust_files(&servers::root().join(folder), &mut files);
    let code = |path: &PathBuf| {
        let text = fs::read_to_string(path).expect("text");
        text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().to_owned()
    };
    files.iter().filter(|path| !path.ends_with("tests.rs")).map(code).collect()
}

/// The name in `("name", ...)`, where `rest` begins behind the name of the call: a type in `::<...>` is passed over.
fn first_text(rest: &str) -> Option<&str> {
    let rest =
        rest.strip_prefix("::<").and_then(|typed| typed.split_once('>')).map_or(rest, |(_, rest)| rest);
    let rest = rest.strip_prefix('(').unwrap_or(rest).trim_start();
    rest.strip_prefix('"')?.split('"').next()
}

/// The names of the options that the connectors read. Those of a prefix end in a dot.
fn options_read() -> BTreeSet<String> {
    let code = code_below("connectors/src");
    let calls = READERS.iter().flat_map(|reader| code.split(reader).skip(1));
    calls.filter_map(first_text).map(str::to_owned).collect()
}

/// The options in the first column of the tables of a page, whose head is `option`.
fn options_listed(page: &str) -> BTreeSet<&str> {
    let mut listed = BTreeSet::new();
    let mut of_options = false;
    let mut lines = page.lines().peekable();
    while let Some(line) = lines.next() {
        let Some(cells) = line.strip_prefix('|') else {
            of_options = false;
            continue;
        };
        let first = cells.split('|').next().unwrap_or_default().trim();
        if lines.peek().is_some_and(|next| next.starts_with("| ---")) {
            of_options = first == "option";
        } else if of_options && !first.starts_with("---") {
            // Names stand in backticks, several with commas between.
            listed.extend(first.split('`').skip(1).step_by(2));
        }
    }
    listed
}

#[test]
fn reference_pages_are_those_of_the_program() {
    let dir = tempfile::tempdir().expect("a directory");
    let update = std::env::var_os("HERALD_UPDATE").is_some();
    let made: &Path = if update { &reference_dir() } else { dir.path() };
    let output =
        Command::new(env!("CARGO_BIN_EXE_herald")).arg("reference").arg(made).output().expect("herald runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut differ = Vec::new();
    for page in PAGES {
        let text = fs::read_to_string(made.join(page)).expect("a page");
        assert!(text.starts_with("<!-- Made by `herald reference"), "{page} does not tell who made it");
        if fs::read_to_string(reference_dir().join(page)).unwrap_or_default() != text {
            differ.push(page);
        }
    }
    assert!(
        differ.is_empty(),
        "docs/reference is not of this program: {}. Write it with HERALD_UPDATE=1",
        differ.join(", ")
    );
}

/// A page as this program makes it.
fn made_page(name: &str) -> String {
    let dir = tempfile::tempdir().expect("a directory");
    let output = Command::new(env!("CARGO_BIN_EXE_herald")).arg("reference").arg(dir.path()).output();
    let output = output.expect("herald runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    fs::read_to_string(dir.path().join(name)).expect("a page")
}

/// The words in quotes in a text.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('"').skip(1).step_by(2)
}

#[test]
fn examples_of_statements_are_accepted() {
    let page = made_page("statements.md");
    let examples = page.split("```sql\n").skip(1).filter_map(|rest| rest.split("```").next());
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("examples.sql");
    fs::write(&file, examples.collect::<String>()).expect("the examples are written");
    let output = Command::new(env!("CARGO_BIN_EXE_herald")).arg("check").arg(&file).output();
    let output = output.expect("herald runs");
    let told =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(output.status.success(), "{told}");
    assert!(
        told.contains("no mistakes in 1 source, 1 table, 4 materialized views, 1 index and 2 sinks"),
        "{told}"
    );
}

/// Each word that the parser takes in a statement of Herald's own stands on a page.
#[test]
fn every_word_of_statements_is_documented() {
    let pages = [made_page("statements.md"), made_page("types.md")].concat().to_uppercase();
    let documented: BTreeSet<&str> = pages.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
    let mut code = code_below("dataflows/src/sql/parse/statement");
    code += &fs::read_to_string(servers::root().join("dataflows/src/sql/parse.rs")).expect("the parser");
    let taken = code.split("take_words(&[").skip(1).filter_map(|rest| rest.split(']').next());
    // Tables of words: ("plain", Format::Plain).
    let tables = ["Format::", "Encoding::", "IncludeKind::", "StatementKind::"];
    let listed = code.lines().filter(|line| tables.iter().any(|of| line.contains(&format!(", {of}"))));
    let words: BTreeSet<String> = taken.chain(listed).flat_map(quoted).map(str::to_uppercase).collect();
    for word in ["SOURCE", "MATERIALIZED", "DEBEZIUM", "BYTES", "PAYLOAD", "OVERWRITE", "WATERMARK", "EMIT"] {
        assert!(words.contains(word), "{word} is not among the words found in the code: {words:?}");
    }
    let missing: Vec<&String> = words.iter().filter(|word| !documented.contains(word.as_str())).collect();
    assert!(missing.is_empty(), "neither statements.md nor types.md has {missing:?}");
}

/// Options of statements that are read by nobody are none.
#[test]
fn options_of_statements_are_read() {
    let page = made_page("statements.md");
    let listed = options_listed(&page);
    assert!(listed.len() > 5, "{listed:?}");
    let code = code_below("dataflows/src/sql");
    let table = code_below("dataflows/src/sql/reference");
    let count = |text: &str, option: &str| text.matches(&format!("\"{option}\"")).count();
    let unread: Vec<&&str> =
        listed.iter().filter(|option| count(&code, option) <= count(&table, option)).collect();
    assert!(unread.is_empty(), "nothing reads {unread:?} of docs/reference/statements.md");
}

#[test]
fn every_connector_option_is_documented() {
    let page = reference_page("connectors.md");
    let read = options_read();
    for option in
        ["topic", "path", "follow", "properties.", "duplicates", "topic.partitions", "nexmark.event.rate"]
    {
        assert!(read.contains(option), "{option} is not among the options found in the code: {read:?}");
    }
    let stands = |option: &&String| {
        let field = format!("`fields.COLUMN.{option}`");
        let prefix = option.ends_with('.') && page.contains(&format!("`{option}"));
        page.contains(&format!("`{option}`")) || page.contains(&field) || prefix
    };
    let missing: Vec<&String> = read.iter().filter(|option| !stands(option)).collect();
    assert!(missing.is_empty(), "docs/reference/connectors.md does not have {missing:?}");

    // The other way: what the tables list is read somewhere.
    let code: String = ["connectors/src", "schemas/src", "dataflows/src", "src"].map(code_below).concat();
    let listed = options_listed(&page);
    assert!(listed.len() > 50, "{listed:?}");
    let is_read = |option: &&&str| {
        let of_field = option.strip_prefix("fields.COLUMN.");
        let of_client = option.strip_prefix("properties.");
        let names = [Some(**option), of_field, of_client.filter(|name| *name != "NAME")];
        let any_client = **option == "properties.NAME" && code.contains("\"properties.\"");
        any_client || names.iter().flatten().any(|name| code.contains(&format!("\"{name}\"")))
    };
    let unread: Vec<&&str> = listed.iter().filter(|option| !is_read(option)).collect();
    assert!(unread.is_empty(), "nothing reads {unread:?} of docs/reference/connectors.md");
}

#[test]
fn every_route_is_documented() {
    let page = reference_page("http.md");
    let code = fs::read_to_string(servers::root().join("src/serve.rs")).expect("src/serve.rs");
    let routes: BTreeSet<&str> = code.split(".route").skip(1).filter_map(first_text).collect();
    assert!(routes.contains("/v1/query"), "{routes:?}");
    for route in routes {
        // A pattern of the router is named by what stands for it.
        let route = &route.replace("{*row}", "VIEW/KEY").replace("{view}", "VIEW");
        assert!(page.contains(&format!("`{route}`")), "docs/reference/http.md does not have {route}");
        assert!(page.contains(&format!("\n## {route}\n")), "docs/reference/http.md has no section {route}");
    }
}
