//! The end of erasures: once an erasure's epoch is published, nothing of the person may stay in a file of the state.
//!
//! A thread drops the histories of views up to the epoch and rewrites the files of the database, while epochs go on.
//! A kill loses nothing: receipts are unfinished until all is done, and the next start begins the work anew.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Result;
use connectors::clock::now_ms;
use crossbeam_channel::{RecvTimeoutError, Sender, bounded};
use fail::fail_point;
use state::Store;

use crate::driver::fate::Fate;
use crate::metrics::Metrics;

/// Interval at which unfinished erasures are looked for.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// Rewriting takes at most one part of this many of the time, however many persons are erased.
const REST: u32 = 9;

/// A thread that ends erasures.
pub struct EraserThread {
    stop: Sender<()>,
    stopped: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl EraserThread {
    /// Starts the thread.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(fate: &Fate, store: &Arc<Store>, metrics: &Arc<Metrics>) -> Result<EraserThread> {
        let (stop, ended) = bounded::<()>(0);
        let stopped = Arc::new(AtomicBool::new(false));
        let (is_stopped, store, metrics) = (stopped.clone(), store.clone(), metrics.clone());
        let work = move || {
            let mut wait = LOOK_INTERVAL;
            // Nothing is ever sent: the channel closes when the thread is stopped.
            while ended.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
                let begun = Instant::now();
                let worked = finish(&store, &metrics, &|| is_stopped.load(Ordering::Relaxed))?;
                wait = if worked { LOOK_INTERVAL.max(begun.elapsed() * REST) } else { LOOK_INTERVAL };
            }
            Ok(())
        };
        let thread = fate.spawn("eraser", work)?;
        Ok(EraserThread { stop, stopped, thread })
    }

    /// Stops the thread behind the piece that it rewrites, and waits for its end.
    pub fn join(self) {
        self.stopped.store(true, Ordering::Relaxed);
        drop(self.stop);
        let _ = self.thread.join();
    }
}

/// Ends the erasures whose epochs are published, if there are any and nobody reads an earlier epoch. Returns true if it
/// rewrote files for that.
///
/// # Errors
/// When the state fails.
pub fn finish(store: &Store, metrics: &Metrics, is_stopped: &dyn Fn() -> bool) -> Result<bool> {
    let unfinished = store.unfinished_erasures();
    metrics.set_unfinished_erasures(unfinished.map_or(0, |(open, _)| open as u64));
    let Some((_, epoch)) = unfinished else { return Ok(false) };
    let clusters = store.outbox_depth().into_keys();
    if clusters.into_iter().any(|cluster| !store.waiting_epochs(cluster, 0, epoch).is_empty()) {
        return Ok(false);
    }
    fail_point!("erase.rewrite.before");
    store.forget_histories(epoch)?;
    fail_point!("erase.rewrite.halfway");
    if !store.rewrite_files(is_stopped)? {
        return Ok(true);
    }
    fail_point!("erase.rewrite.after");
    let finished = store.finish_erasures(epoch, now_ms())?;
    for erasure in &finished {
        tracing::info!(digest = %erasure.digest, "no file of the state holds the erased person any more");
    }
    metrics.set_unfinished_erasures(store.unfinished_erasures().map_or(0, |(open, _)| open as u64));
    Ok(true)
}
