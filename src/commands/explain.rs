//! `herald explain`: the plan as it will run, whole or what one view or sink needs of it.
//!
//! It is the same plan that `run` renders; nothing is opened but the files (and a schema registry,
//! where the topology leaves its columns to one).

use anyhow::Result;
use dataflows::plan::explain::{Form, explain, names};

use crate::cli::{ExplainArgs, PlanFormat};
use crate::exit::mistake;
use crate::topology::{self, Network};

/// `herald explain`.
pub fn command(args: &ExplainArgs) -> Result<()> {
    let files = topology::read(std::slice::from_ref(&args.file))?;
    let variables = topology::Variables::read(args.env_file.as_deref())?;
    let plan = topology::plan(&files, &variables, Network::Allowed)?;
    let form = match args.format {
        PlanFormat::Text => Form::Text,
        PlanFormat::Json => Form::Json,
        PlanFormat::Dot => Form::Dot,
    };
    // Names fold to lower case in SQL, and so they do here.
    let view = args.view.as_deref();
    let folded = view.map(str::to_lowercase);
    let text = explain(&plan, view, form).or_else(|| explain(&plan, folded.as_deref(), form));
    let Some(text) = text else {
        return Err(mistake(format!(
            "nothing in {} is called {}. There is {}",
            args.file.display(),
            view.unwrap_or_default(),
            names(&plan).join(", ")
        )));
    };
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}
