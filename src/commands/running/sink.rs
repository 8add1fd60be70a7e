//! `herald sink`: operations on a sink.
//!
//! `resend` orders that a sink's content is sent again. It only writes the order into the state, which must
//! not be in use. The next start carries it out in its first epoch, whose commit removes the order.

use std::io::Write;

use anyhow::Result;
use state::{Catalogue, StateTableKind, Store, StoreOptions};

use crate::cli::SinkCommand;
use crate::exit::mistake;
use crate::query;

/// `herald sink`.
pub fn command(command: &SinkCommand) -> Result<()> {
    let SinkCommand::Resend { sink, state, name } = command;
    let dir = query::state_dir(state.as_deref(), name.as_deref())?;
    let store = Store::open(&dir, &StoreOptions::default())?;
    let catalogue = store.catalogue()?.unwrap_or_default();
    let sinks = sink_names(&catalogue);
    if !sinks.contains(&sink.as_str()) {
        let known = match sinks.as_slice() {
            [] => "it has none".to_owned(),
            sinks => format!("it has {}", sinks.join(", ")),
        };
        return Err(mistake(format!("topology {} has no sink {sink}: {known}", catalogue.topology)));
    }
    if catalogue.is_filling() {
        return Err(mistake(
            "what an edit of the topology added is not filled yet\n  run it until all views are whole (herald.views \
             tells), then order this again",
        ));
    }
    if store.meta().epoch == 0 {
        return Err(mistake(format!(
            "nothing is committed in {} yet: a start sends everything",
            dir.display()
        )));
    }
    let epoch = store.order_resend(sink)?;
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "Sink {sink} gets its content of epoch {epoch} again when topology {} is started next. If its topic is \
         missing, it is made.",
        catalogue.topology
    )?;
    Ok(())
}

/// The names of the sinks in a state's catalogue.
fn sink_names(catalogue: &Catalogue) -> Vec<&str> {
    let names = catalogue.entries.iter().filter(|entry| entry.kind == StateTableKind::Sink);
    // Entries that stand for sources have the same kind, with a prefix in their name.
    names.map(|entry| entry.name.as_str()).filter(|name| !name.starts_with("source ")).collect()
}
