//! The end of a filling: until then its sinks send nothing, and in an epoch of its own behind it
//! they send all, or the difference from what they sent before.
//!
//! That epoch has no records. Its rows are read from the state as of the epoch before, which let the last rows into the
//! views, so a worker waits until that one is committed.

use std::sync::atomic::Ordering;
use std::time::Duration;

use schemas::Ownership;

use super::first_epoch::SinkRows;
use crate::collect::EpochOut;
use crate::error::RunError;
use crate::runtime::worker::Setup;

/// Time between two looks whether the epoch before is committed.
const LOOK_INTERVAL: Duration = Duration::from_millis(1);

/// Takes out of an epoch's output all that nobody sees before the end: the changes of views, which are followed from
/// the last epoch on, and those that sinks would send.
pub(crate) fn hold_back(setup: &Setup, out: &mut EpochOut) {
    let Some(pieces) = &setup.state_tables.pieces else { return };
    for table_id in &pieces.views {
        out.changes.remove(table_id);
    }
    for sink in pieces.sinks.keys() {
        out.sinks.remove(sink);
    }
}

/// Puts the output of sinks into the last epoch of a filling, as far as the worker `index` of `peers` has it.
///
/// # Errors
/// When the state cannot be read, or the run ends before the epoch before is committed.
pub(crate) fn finish(
    setup: &Setup,
    epoch: u64,
    out: &mut EpochOut,
    (index, peers): (usize, usize),
) -> Result<(), RunError> {
    let Some(pieces) = &setup.state_tables.pieces else { return Ok(()) };
    while setup.committed.load(Ordering::Acquire) + 1 < epoch {
        if setup.abort.load(Ordering::Relaxed) {
            return Err(RunError::Aborted);
        }
        std::thread::sleep(LOOK_INTERVAL);
    }
    let emitted: Vec<_> = pieces.sinks.keys().map(|at| out.sinks.remove(at).unwrap_or_default()).collect();
    hold_back(setup, out);
    let owned = Ownership::even(peers);
    for ((at, sink), emitted) in pieces.sinks.iter().zip(emitted) {
        let delta = SinkRows { setup, at: *at, owned: &owned, index }.delta(sink, emitted)?;
        if !delta.diffs.is_empty() {
            out.sinks.insert(*at, delta);
        }
    }
    Ok(())
}
