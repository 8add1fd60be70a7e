//! `herald sink`: what operators do to a sink.
//!
//! `resend` orders that a sink's content be sent again. It only writes the order into the state, which nobody may be
//! running: the next start carries it out in its first epoch, whose commit ends the order.

use std::io::Write;

use anyhow::{Result, anyhow};
use state::{Catalogue, SpaceKind, Store, StoreOptions};

use crate::cli::SinkCommand;
use crate::exit::mistake;
use crate::query;

/// `herald sink`.
pub fn command(command: &SinkCommand) -> Result<()> {
    let SinkCommand::Resend { sink, state, name } = command;
    let dir = query::place(state.as_deref(), name.as_deref())?;
    let store = Store::open(&dir, &StoreOptions::default())?;
    let catalogue = store.catalogue()?.unwrap_or_default();
    let sinks = sinks(&catalogue);
    if !sinks.contains(&sink.as_str()) {
        let known = match sinks.as_slice() {
            [] => "it has none".to_owned(),
            sinks => format!("it has {}", sinks.join(", ")),
        };
        return Err(mistake(format!("topology {} has no sink {sink}: {known}", catalogue.topology)));
    }
    if store.meta().epoch == 0 {
        return Err(mistake(format!(
            "nothing is committed in {} yet: a start sends everything",
            dir.display()
        )));
    }
    let epoch = store.order_resend(sink).map_err(|error| anyhow!(error))?;
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "Sink {sink} gets its content of epoch {epoch} again when topology {} is started next. If its topic is \
         missing, it is made.",
        catalogue.topology
    )?;
    Ok(())
}

fn sinks(catalogue: &Catalogue) -> Vec<&str> {
    let names = catalogue.entries.iter().filter(|entry| entry.kind == SpaceKind::Sink);
    // What stands for a source is kept among them.
    names.map(|entry| entry.name.as_str()).filter(|name| !name.starts_with("source ")).collect()
}
