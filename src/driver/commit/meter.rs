//! The meter: exports the sizes of the state as metrics.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Result;
use crossbeam_channel::{RecvTimeoutError, Sender, bounded};
use dataflows::runtime::worker::Setup;

use crate::driver::fate::Fate;
use crate::metrics::Metrics;

/// Interval at which the sizes of the state are measured.
const MEASURE_INTERVAL: Duration = Duration::from_secs(5);

/// A thread that exports the sizes of the state until it is stopped. RocksDB's figures and the walk over its
/// files may wait for the disk, which the thread that polls the sources must not.
pub struct StateMeter {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl StateMeter {
    /// Starts the thread.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(fate: &Fate, setup: &Setup, metrics: Arc<Metrics>) -> Result<StateMeter> {
        let (stop, stopped) = bounded::<()>(0);
        let (store, mut views) = (setup.store.clone(), BTreeMap::new());
        for (view, table_id) in setup.plan.views.iter().zip(&setup.state_tables.views) {
            views.insert(*table_id, view.name.clone());
        }
        let measure = move || {
            loop {
                if let Ok(stats) = store.stats() {
                    metrics.set_state_bytes(stats.state_bytes);
                    metrics.set_dead_letter_bytes(stats.dead_letters.bytes);
                }
                for (table_id, bytes) in store.history_bytes() {
                    if let Some(view) = views.get(&table_id) {
                        metrics.set_view_history(view, bytes);
                    }
                }
                // Nothing is ever sent: the channel closes when the meter is stopped.
                if stopped.recv_timeout(MEASURE_INTERVAL) != Err(RecvTimeoutError::Timeout) {
                    return Ok(());
                }
            }
        };
        Ok(StateMeter { stop, thread: fate.spawn("meter", measure)? })
    }

    /// Stops the thread and waits for its end.
    pub fn join(self) {
        drop(self.stop);
        let _ = self.thread.join();
    }
}
