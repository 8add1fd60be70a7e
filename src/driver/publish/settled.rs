//! Where publishing goes on: what a target holds, compared with the state at a start.

use anyhow::{Error, Result};
use connectors::export::ExportMode;
use connectors::export::manifest::Manifest;
use connectors::file::FileSink;
use connectors::kafka::publisher::progress::digest;
use connectors::kafka::{Marker, settle};
use connectors::{ConnectorError, Mismatch};
use dataflows::runtime::state_tables::StateTables;
use fail::fail_point;
use state::Store;

use crate::driver::topics::published_epoch;
use crate::exit::mistake;

/// The last epoch that a target holds; an error if its marker and the state do not belong together.
pub fn settled_epoch(store: Option<&Store>, marker: Option<&Marker>, target: u16) -> Result<u64> {
    // No marker names the id of a state that is yet to be created.
    let Some(store) = store else { return Ok(settle(marker, "", 0, 0, |_| None)?) };
    let published = published_epoch(store, target)?;
    fail_point!("publish.marker.ignored", |_| Ok(published));
    let known = store.published(target)?;
    let digest_of = |epoch| {
        // Of an epoch that is published the state keeps the digest alone.
        let digest = known.as_ref().filter(|known| known.epoch == epoch).and_then(|known| known.digest);
        outbox_digest(store, target, epoch).or(digest)
    };
    let at = settle(marker, store.state_id(), store.meta().epoch, published, digest_of)?;
    Ok(at)
}

/// The last epoch that a file holds, which is target `number`; an error if its marker and the state do not belong
/// together.
pub fn settled_file(
    store: Option<&Store>,
    marker: Option<&Marker>,
    file: &FileSink,
    number: u16,
) -> Result<u64> {
    let path = file.path.clone();
    settled_at(store, marker, number, move |mismatch| ConnectorError::FileMismatch { path, mismatch })
}

/// The start of an export, as an edit of the topology has it.
#[derive(Clone, Copy, Debug, Default)]
pub struct ExportStart {
    /// The number of its target.
    pub number: u16,
    /// Set when the target was that of another path: what the state knows of it is of no use.
    pub begins: bool,
    /// Set when all rows are sent to it, whatever it holds.
    pub sends_all: bool,
}

impl ExportStart {
    /// The start of sink `at` of the plan.
    pub fn of(tables: &StateTables, at: usize, number: u16) -> ExportStart {
        let Some(fill) = &tables.fill else { return ExportStart { number, ..ExportStart::default() } };
        // A sink that waits until its view is whole sends all of it then.
        let waits = tables.pieces.as_ref().and_then(|pieces| pieces.sinks.get(&at));
        let sends = fill.sinks.get(&at).or(waits);
        ExportStart {
            number,
            begins: fill.dropped_targets.contains(&number),
            sends_all: sends.is_some_and(|sink| sink.before.is_none()),
        }
    }
}

/// The last epoch that an export holds; an error if its newest manifest and the state do not belong together, or rows
/// that it holds would be written to it again.
pub fn settled_export(
    store: Option<&Store>,
    newest: Option<&Manifest>,
    path: &str,
    start: ExportStart,
) -> Result<u64> {
    let mismatch = |mismatch| ConnectorError::ExportMismatch { place: path.to_owned(), mismatch };
    if let (Some(store), Some(newest)) = (store, newest)
        && store.state_id() == newest.marker.state_id
    {
        let committed = store.meta().epoch;
        // A copy may be of a later epoch than the last change in it.
        if newest.last > committed {
            return Err(mismatch(Mismatch::Ahead { published: newest.last, committed }).into());
        }
        // A copy is whole, however often it is written.
        let is_again = start.sends_all && !newest.form.starts_with(ExportMode::Current.word());
        if newest.marker.epoch > 0 && (start.begins || is_again) {
            return Err(mistake(format!(
                "export {path} holds what an earlier text of this topology wrote to it, up to epoch {}, and would get all \
                 rows once more\n  give the sink a path that nothing was written to",
                newest.marker.epoch
            )));
        }
    }
    let marker = newest.map(|newest| &newest.marker);
    match store.filter(|_| start.begins) {
        Some(store) => {
            let at = settle(marker, store.state_id(), store.meta().epoch, 0, |_| None);
            at.map_err(|error| name_target(error, mismatch))
        }
        None => settled_at(store, marker, start.number, mismatch),
    }
}

/// The last epoch that a target holds; `name` makes the error of a mismatch, which names the target.
fn settled_at(
    store: Option<&Store>,
    marker: Option<&Marker>,
    number: u16,
    name: impl FnOnce(Mismatch) -> ConnectorError,
) -> Result<u64> {
    let error = match settled_epoch(store, marker, number) {
        Ok(at) => return Ok(at),
        Err(error) => error,
    };
    match error.downcast() {
        Ok(error) => Err(name_target(error, name)),
        Err(error) => Err(error),
    }
}

/// The error of a mismatch as `name` makes it; any other as it is.
fn name_target(error: ConnectorError, name: impl FnOnce(Mismatch) -> ConnectorError) -> Error {
    match error {
        ConnectorError::StateMismatch(mismatch) => name(mismatch).into(),
        other => other.into(),
    }
}

/// The digest of an epoch's output that is still in the outbox.
pub fn outbox_digest(store: &Store, target: u16, epoch: u64) -> Option<u128> {
    let mut left = store.outbox_after(target, epoch.saturating_sub(1)).ok()?;
    let found = left.next()?.ok()?;
    if found.epoch == epoch { Some(digest(&found.parts)) } else { None }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use dataflows::runtime::fill::{Fill, Pieces, SinkFill};
    use state::{Commit, Published, StoreOptions};

    use super::*;

    fn manifest(state_id: &str, epoch: u64, last: u64) -> Manifest {
        let marker = Marker::whole(state_id, epoch, &[]);
        let (files, replaces) = (Vec::new(), Vec::new());
        Manifest { first: 1, last, form: "append".to_owned(), marker, files, replaces }
    }

    #[test]
    fn an_export_is_compared_with_the_state() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let options =
            StoreOptions { create: true, topology: Some("t".to_owned()), ..StoreOptions::default() };
        let store = Store::open(dir.path(), &options)?;
        for epoch in 1..=5 {
            store.commit(Commit { epoch, ..Commit::default() })?;
        }
        let kept = ExportStart { number: 0x4000, ..ExportStart::default() };
        store.delete_outbox(kept.number, 3)?;
        let own = |epoch, last| manifest(store.state_id(), epoch, last);
        let settled = |manifest: Option<Manifest>, start| {
            settled_export(Some(&store), manifest.as_ref(), "out", start)
                .map_err(|error| format!("{error:#}"))
        };
        assert_eq!(settled(Some(own(3, 5)), kept), Ok(3));
        let told = settled(Some(own(3, 6)), kept).unwrap_err();
        assert!(told.contains("older copy"), "a restored backup: {told}");
        assert!(settled(None, kept).is_err(), "what was written is gone");
        // The state knows of epoch 3 of another export.
        let begins = ExportStart { begins: true, sends_all: true, ..kept };
        assert_eq!(settled(None, begins), Ok(0));
        assert_eq!(settled(Some(own(0, 0)), begins), Ok(0), "a start that was killed before its first epoch");
        let told = settled(Some(manifest("other", 0, 0)), begins).unwrap_err();
        assert!(told.contains("another state"), "{told}");
        for start in [begins, ExportStart { sends_all: true, ..kept }] {
            let told = settled(Some(own(3, 3)), start).unwrap_err();
            assert!(told.contains("all rows once more"), "{told}");
        }
        let copy = Manifest { form: "current".to_owned(), ..own(3, 5) };
        assert_eq!(settled(Some(copy), ExportStart { sends_all: true, ..kept }), Ok(3));
        Ok(())
    }

    #[test]
    fn an_epoch_of_the_same_number_with_other_content_is_refused() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let options = StoreOptions { create: true, ..StoreOptions::default() };
        let store = Store::open(dir.path(), &options)?;
        store.commit(Commit { epoch: 1, ..Commit::default() })?;
        let marker = |chunk: &[u8]| Marker::whole(store.state_id(), 1, &[chunk.to_vec()]);
        store.set_published(0, &Published { epoch: 1, digest: Some(marker(b"own").digest) })?;
        assert_eq!(settled_epoch(Some(&store), Some(&marker(b"own")), 0)?, 1);
        let told = settled_epoch(Some(&store), Some(&marker(b"of another copy")), 0).unwrap_err();
        assert!(format!("{told:#}").contains("epoch 1"), "{told:#}");
        store.set_published(0, &Published { epoch: 1, digest: None })?;
        assert_eq!(settled_epoch(Some(&store), Some(&marker(b"of another copy")), 0)?, 1, "not known");
        Ok(())
    }

    #[test]
    fn an_edit_tells_what_becomes_of_an_export() {
        let mut fill = Fill { dropped_targets: vec![0x4001], ..Fill::default() };
        fill.sinks.insert(2, SinkFill::default());
        let mut pieces = Pieces::default();
        pieces.sinks.insert(3, SinkFill::default());
        let pieces = Some(Arc::new(pieces));
        let mut tables = StateTables::default();
        (tables.fill, tables.pieces) = (Some(Arc::new(fill)), pieces);
        let start = |tables: &StateTables, at, number| {
            let start = ExportStart::of(tables, at, number);
            (start.begins, start.sends_all)
        };
        assert_eq!(start(&tables, 1, 0x4000), (false, false));
        assert_eq!(start(&tables, 2, 0x4001), (true, true));
        // One that sends in the end, and a later start, by which it was accepted.
        assert_eq!(start(&tables, 3, 0x4002), (false, true));
        tables.fill = None;
        assert_eq!(start(&tables, 3, 0x4002), (false, false));
    }
}
