//! `herald schema check`: tells the fields of an edited schema that break its readers.
//!
//! Files and the registry are read here; the rules are those of [`schemas::evolution`].

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use schemas::Registry;
use schemas::evolution::{Comparison, Level, SchemaText, Verdict};
use serde_json::json;

use crate::cli::{SchemaCheckArgs, SchemaCommand, StatusFormat};
use crate::exit::mistake;

/// Exit code when the level is broken or not judged, as `herald plan` has it for an edit that needs attention.
const ATTENTION: i32 = 3;

/// `herald schema`.
pub fn command(command: &SchemaCommand) -> Result<()> {
    let SchemaCommand::Check(args) = command;
    let Versions { old, new, configured } = Versions::read(args)?;
    let asked = args.level.map(|level| level.level());
    let comparison = Comparison::new(&old, &new, args.kind.map(|kind| kind.kind()))?;
    let (level, because) = match (asked, configured) {
        (Some(level), _) => (level, "asked for"),
        (None, Some(level)) => (level, "the registry's level for the subject"),
        (None, None) => (Level::Backward, "the default: --level asks for another"),
    };
    let verdict = comparison.verdict(level);
    let text = match args.format {
        StatusFormat::Text => {
            let exits = format!("\nThe exit code is by {}, {because}: {}.\n", level.name(), verdict.word());
            comparison.text(asked) + if asked.is_some() { "" } else { &exits }
        }
        StatusFormat::Json => {
            let mut report = comparison.json(asked);
            report["level"] = json!(level.name());
            report["verdict"] = json!(verdict.word());
            format!("{report:#}\n")
        }
    };
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    match verdict {
        Verdict::Holds => Ok(()),
        _ => std::process::exit(ATTENTION),
    }
}

/// The versions to compare.
struct Versions {
    /// The old ones, the newest last.
    old: Vec<SchemaText>,
    new: SchemaText,
    /// The registry's level for the subject, if it checks any.
    configured: Option<Level>,
}

impl Versions {
    fn read(args: &SchemaCheckArgs) -> Result<Versions> {
        let mut old = Vec::with_capacity(args.files.len());
        for file in &args.files {
            old.push(read_schema(file)?);
        }
        let new = old.pop().context("clap demands a file")?;
        let (Some(url), Some(subject)) = (&args.registry, &args.subject) else {
            if old.is_empty() {
                let message =
                    "there is only one schema: write the old ones before it, or --registry and --subject";
                return Err(mistake(message));
            }
            return Ok(Versions { old, new, configured: None });
        };
        if let Some(file) = old.first() {
            let message = format!(
                "{}: with --registry the old versions come from there: give the new one only",
                file.name
            );
            return Err(mistake(message));
        }
        let registry = Registry::new(url, &login())?;
        for version in registry.versions(subject)? {
            let name = format!("version {version}");
            old.push(SchemaText { name, text: registry.by_version(subject, version)? });
        }
        let configured = registry.level_in_force(subject)?;
        let configured = configured.as_deref().and_then(Level::from_name);
        Ok(Versions { old, new, configured })
    }
}

/// The login of a registry, from the environment.
fn login() -> BTreeMap<String, String> {
    let mut options = BTreeMap::new();
    for part in ["username", "password", "token"] {
        let variable = format!("SCHEMA_REGISTRY_{}", part.to_ascii_uppercase());
        if let Some(value) = std::env::var(variable).ok().filter(|value| !value.is_empty()) {
            options.insert(format!("schema.registry.{part}"), value);
        }
    }
    options
}

fn read_schema(file: &Path) -> Result<SchemaText> {
    let name = file.display().to_string();
    match std::fs::read_to_string(file) {
        Ok(text) => Ok(SchemaText { name, text }),
        Err(error) => Err(mistake(format!("{name} cannot be read: {error}"))),
    }
}
