//! Where publishing goes on: what a target holds, compared with the state at a start.

use anyhow::Result;
use connectors::file::FileSink;
use connectors::kafka::publisher::progress::digest;
use connectors::kafka::{Marker, settle};
use connectors::{ConnectorError, Mismatch};
use fail::fail_point;
use state::Store;

use crate::driver::topics::published_epoch;

/// The last epoch that a target holds; an error if its marker and the state do not belong together.
pub fn settled_epoch(store: Option<&Store>, marker: Option<&Marker>, target: u16) -> Result<u64> {
    // No marker names the id of a state that is yet to be created.
    let Some(store) = store else { return Ok(settle(marker, "", 0, 0, |_| None)?) };
    let published = published_epoch(store, target)?;
    fail_point!("publish.marker.ignored", |_| Ok(published));
    let digest_of = |epoch| outbox_digest(store, target, epoch);
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

/// The last epoch that an export holds, which is target `number`; an error if its marker and the state do not belong
/// together.
pub fn settled_export(
    store: Option<&Store>,
    marker: Option<&Marker>,
    path: &str,
    number: u16,
) -> Result<u64> {
    let place = path.to_owned();
    settled_at(store, marker, number, move |mismatch| ConnectorError::ExportMismatch { place, mismatch })
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
        Ok(ConnectorError::StateMismatch(mismatch)) => Err(name(mismatch).into()),
        Ok(other) => Err(other.into()),
        Err(error) => Err(error),
    }
}

/// The digest of an epoch's output that is still in the outbox.
pub fn outbox_digest(store: &Store, target: u16, epoch: u64) -> Option<u128> {
    let mut left = store.outbox_after(target, epoch.saturating_sub(1)).ok()?;
    let found = left.next()?.ok()?;
    if found.epoch == epoch { Some(digest(&found.parts)) } else { None }
}
