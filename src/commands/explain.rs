//! `herald explain`: prints the plan, whole or only the part that one view or sink depends on; with `--lineage` the origin
//! of columns.
//!
//! It is the same plan that `run` renders. Nothing is opened but the files, and a schema registry if the
//! topology takes columns from one.

use std::io::Write;

use anyhow::Result;
use dataflows::plan::explain::lineage::explain_lineage;
use dataflows::plan::explain::{Form, explain, names};

use crate::cli::{ExplainArgs, PlanFormat};
use crate::exit::mistake;
use crate::topology::{self, Network};

/// `herald explain`.
pub fn command(args: &ExplainArgs) -> Result<()> {
    let files = topology::read_files(&args.files)?;
    let variables = topology::Variables::read(args.env_file.as_deref())?;
    let plan = topology::plan_topology(&files, &variables, Network::Allowed)?;
    let form = match args.format {
        PlanFormat::Text => Form::Text,
        PlanFormat::Json => Form::Json,
        PlanFormat::Dot => Form::Dot,
    };
    if let Some(asked) = &args.lineage {
        return print_out(&explain_lineage(&plan, asked.as_deref(), form).map_err(mistake)?);
    }
    // SQL folds unquoted names to lower case, so a name that is not found is tried in lower case.
    let view = args.only.as_deref();
    let folded = view.map(str::to_lowercase);
    let text = explain(&plan, view, form).or_else(|| explain(&plan, folded.as_deref(), form));
    let Some(text) = text else {
        return Err(mistake(format!(
            "nothing in {} is called {}. There is {}",
            files.iter().map(|file| file.name.as_str()).collect::<Vec<_>>().join(", "),
            view.unwrap_or_default(),
            names(&plan).join(", ")
        )));
    };
    print_out(&text)
}

/// Writes to standard output; a reader that went away is an error.
fn print_out(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}
