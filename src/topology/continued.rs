//! The start of an edited topology over the state of an earlier text: what it goes on from, and what is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::Result;
use connectors::SinkConnector;
use connectors::export::ExportWriter;
use connectors::file::FileWriter;
use connectors::sink::KAFKA_TARGET;
use dataflows::plan::explain::place_text;
use dataflows::plan::{Plan, RelId};
use dataflows::runtime::edition::earlier::with_edition_facts;
use dataflows::runtime::edition::{Becomes, Edition, Obstacle, PartKind, resumed};
use dataflows::runtime::state_tables::StateTables;
use state::{Catalogue, Progress, StateTableKind, Store};

use super::edition::summary;
use crate::exit::{Interrupted, RefusedEdition, mistake};

/// State tables and progress that a run goes on from.
pub struct Continued {
    /// The plan that runs: that of the text, with a second reading of the sources that an edit's additions need again.
    pub plan: Arc<Plan>,
    /// The state tables of the plan; with the work of the first epoch, if the topology was edited.
    pub state_tables: StateTables,
    /// Progress of sources and views.
    pub progress: Progress,
    /// The held catalogue with indexes that are filled before all else.
    indexes: Option<Catalogue>,
}

/// Finds the state tables of the plan in the state that the run continues, and compares an edited topology with it.
///
/// # Errors
/// When the state cannot be read; [`RefusedEdition`] if the topology cannot go on from it.
pub fn continue_state(plan: Arc<Plan>, held: Option<&Store>, allow_gap: bool) -> Result<Continued> {
    let (mut catalogue, mut progress) = (None, Progress::default());
    if let Some(store) = held {
        catalogue = store.catalogue()?.filter(|catalogue| !catalogue.entries.is_empty());
        progress = store.meta().progress;
    }
    let same = match catalogue.as_ref().and_then(|held| resumed(&plan, held)) {
        Some((again, state_tables)) => Ok((Arc::new(again), state_tables)),
        None => StateTables::of(&plan, catalogue.as_ref()).map(|state_tables| (plan.clone(), state_tables)),
    };
    let edited = match same {
        Ok((plan, state_tables)) => {
            if let (Some(store), true) = (held, state_tables.pieces.is_some()) {
                refuse_resends(store)?;
            }
            return Ok(Continued { plan, state_tables, progress, indexes: None });
        }
        Err(_) => with_edition_facts(&plan, &catalogue.unwrap_or_default()),
    };
    let (again, mut edition) = Edition::read_again(&plan, (&edited, &progress), allow_gap)?;
    if let Some(store) = held {
        edition.refusals.extend(pending_refusals(store, &edited, &edition)?);
        edition.refusals.extend(written_before(&plan, &edited));
    }
    if !edition.refusals.is_empty() {
        return Err(RefusedEdition(edition.refusals).into());
    }
    tracing::info!("the topology was edited: {}", summary(&edition));
    let progress = edition.progress(&progress);
    let plan = Arc::new(again);
    Ok(Continued { plan, state_tables: edition.tables, progress, indexes: edition.indexes })
}

/// Refuses to send content again while it is being filled, as in a copy of such a state.
///
/// # Errors
/// When content is to be sent again, or the state cannot be read.
fn refuse_resends(store: &Store) -> Result<()> {
    let epoch = store.meta().epoch;
    if store.republishes()? || store.resends()?.into_values().any(|ordered| ordered == epoch) {
        return Err(mistake(
            "what an edit added is not filled in the state, whose content is to be sent again\n  take the copy once all \
             views are whole: herald.views tells",
        ));
    }
    Ok(())
}

/// Refusals for new sinks to files that a sink has written before, perhaps of the same state, which does not know any more
/// what they hold.
pub fn written_before(plan: &Plan, held: &Catalogue) -> Vec<Obstacle> {
    let mut refusals = Vec::new();
    for sink in &plan.sinks {
        let place = place_text(&sink.options);
        let goes_on = held.entries.iter().any(|entry| {
            let facts = entry.facts.edition.as_ref();
            entry.kind == StateTableKind::Sink && facts.is_some_and(|facts| facts.place == place)
        });
        // What cannot be read is told where the sink is opened.
        let written = match SinkConnector::from_options(&sink.options) {
            Ok(SinkConnector::File(file)) if !goes_on => {
                FileWriter::peek(&file).map(|marker| marker.map(|marker| marker.epoch))
            }
            Ok(SinkConnector::Parquet(parquet)) if !goes_on && parquet.directory().is_some() => {
                let newest = ExportWriter::peek(&parquet, &std::env::temp_dir());
                newest.map(|newest| newest.map(|manifest| manifest.last))
            }
            _ => continue,
        };
        if let Ok(Some(epoch)) = written
            && epoch > 0
        {
            refusals.push(Obstacle {
                part: sink.name.clone(),
                message: format!("sink {} cannot begin in {place}: a sink has written there before", sink.name),
                hint: "remove the file first, with the note PATH.herald beside it, or the directory of an export; or \
                       write to another path"
                    .to_owned(),
                is_gap: false,
            });
        }
    }
    refusals
}

/// Refusals for what the state has yet to send as the earlier text has it.
///
/// # Errors
/// When the state cannot be read.
fn pending_refusals(store: &Store, held: &Catalogue, edition: &Edition) -> Result<Vec<Obstacle>> {
    let mut pending = Vec::new();
    let epoch = store.meta().epoch;
    if store.republishes()? || store.resends()?.into_values().any(|ordered| ordered == epoch) {
        pending.push("content is to be sent again as ordered");
    }
    for entry in held.entries.iter().filter(|entry| entry.kind == StateTableKind::Sink) {
        if store.iter(entry.id, &[])?.next_entry()?.is_some() {
            pending.push("a repair owes its sinks changes");
            break;
        }
    }
    let mut gone = edition.parts.iter().filter(|part| part.kind == PartKind::Sink);
    if gone.any(|part| matches!(part.fate, Becomes::Removed | Becomes::Changed)) && has_unpublished(store)? {
        pending.push("output of its sinks is not published yet");
    }
    let refusal = |what: &str| Obstacle {
        part: String::new(),
        message: format!("the state is not done with the earlier text: {what}"),
        hint: "run the earlier text once, then this one".to_owned(),
        is_gap: false,
    };
    Ok(pending.into_iter().map(refusal).collect())
}

/// Returns true if output of some target is not known to be published.
fn has_unpublished(store: &Store) -> Result<bool> {
    let mut targets: BTreeSet<u16> = store.outbox_depth().into_keys().collect();
    targets.insert(KAFKA_TARGET);
    for target in targets {
        let published = store.published(target)?.map_or(0, |published| published.epoch);
        if store.outbox_after(target, published)?.next().is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Obstacles of records that a second reading would need and that sources do not hold any more; `gone` has words for them
/// by the index of the second source.
pub fn gone_obstacles(plan: &Plan, gone: &BTreeMap<usize, String>) -> Vec<Obstacle> {
    let mut obstacles = Vec::with_capacity(gone.len());
    for (source, gone) in gone {
        let reads = |rel: RelId| plan.sources_of(rel).contains(source);
        let mut views =
            plan.views.iter().filter(|view| reads(view.rel)).map(|view| (PartKind::View, &view.name));
        let mut sinks =
            plan.sinks.iter().filter(|sink| reads(sink.rel)).map(|sink| (PartKind::Sink, &sink.name));
        let Some((kind, name)) = views.next().or_else(|| sinks.next()) else { continue };
        obstacles.push(Obstacle {
            part: name.clone(),
            message: format!("{} {name} cannot be filled as a whole: {gone}", kind.word()),
            hint: "go on from what there is with --allow-gap".to_owned(),
            is_gap: true,
        });
    }
    obstacles
}

impl Continued {
    /// Accepts that a second reading lacks records, where the run may: with --allow-gap, and once it is begun with
    /// --skip-lost-records.
    ///
    /// # Errors
    /// [`RefusedEdition`], or a mistake, where it may not.
    pub fn accept_gone(
        &mut self,
        gone: &BTreeMap<usize, String>,
        (allow_gap, skip_lost_records): (bool, bool),
    ) -> Result<()> {
        let Some(text) = gone.values().next() else { return Ok(()) };
        if self.state_tables.fill.is_some() && !allow_gap {
            return Err(RefusedEdition(gone_obstacles(&self.plan, gone)).into());
        }
        if self.state_tables.fill.is_none() && !skip_lost_records {
            return Err(mistake(format!(
                "what an edit added is filled from records that are read again, and {text}\n  begin behind them with \
                 --skip-lost-records"
            )));
        }
        for (source, text) in gone {
            tracing::warn!("{text}: what is filled from them lacks them");
            self.state_tables.note_gap(&self.plan, *source, text);
        }
        Ok(())
    }

    /// Refuses an edited topology, for work that is none of an edit.
    ///
    /// # Errors
    /// A mistake, if the state is of an earlier text.
    pub fn refuse_edited(&self) -> Result<()> {
        match &self.state_tables.fill {
            None if self.state_tables.pieces.is_some() => Err(mistake(
                "what an edit added is not filled yet\n  run the topology until all views are whole: herald.views tells",
            )),
            None => Ok(()),
            Some(_) => Err(mistake(
                "the state is of an earlier text of the topology\n  run the edited one first: herald plan tells what that does",
            )),
        }
    }

    /// Writes the state tables to the state's catalogue, which fills new indexes and drops those that are gone. The
    /// catalogue of an edited topology is written with its first epoch; until then its new tables are known to this
    /// process alone.
    ///
    /// # Errors
    /// When the state cannot be written; [`Interrupted`] if a stop was heard before all indexes were filled.
    pub fn write_catalogue(
        &self,
        topology: &str,
        store: &Store,
        is_stopped: &dyn Fn() -> bool,
    ) -> Result<()> {
        let catalogue = self.state_tables.catalogue(topology);
        let edited = self.state_tables.fill.is_some();
        let written = if edited { self.indexes.as_ref() } else { Some(&catalogue) };
        if let Some(written) = written
            && let Some(index) = store.put_catalogue_unless(written, is_stopped)?
        {
            return Err(Interrupted::Filling { index }.into());
        }
        if edited {
            store.prepare_edition(&catalogue)?;
        }
        store.keep_histories(&self.state_tables.begun_histories())?;
        Ok(())
    }
}
