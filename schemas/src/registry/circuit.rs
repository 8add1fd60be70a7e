//! A circuit breaker for a service: a failed call opens it, and then callers wait; one caller at a time
//! tries again, with pauses that double, until an answer closes it.
//!
//! Circuits are shared by the name of the service: all workers of a topology use the same one for a registry,
//! so that an overloaded registry gets calls from one of them only. [`last_error`] serves readiness and
//! metrics.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::backoff::Backoff;
use crate::error::SchemaError;

/// The interval at which a waiting thread checks the circuit.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// All circuits in use, by service.
static CIRCUITS: Mutex<BTreeMap<String, Weak<Circuit>>> = Mutex::new(BTreeMap::new());

/// Returns the error that opened the first open circuit of this process; None while all are closed.
pub fn last_error() -> Option<String> {
    let all = CIRCUITS.lock().unwrap_or_else(PoisonError::into_inner);
    all.values().filter_map(Weak::upgrade).find_map(|circuit| circuit.last_error())
}

/// The circuit breaker of one service.
#[derive(Debug, Default)]
pub(crate) struct Circuit {
    state: Mutex<CircuitState>,
}

#[derive(Debug, Default)]
struct CircuitState {
    /// If open: the error, the time of the next attempt, and the pauses after that.
    open: Option<(String, Instant, Backoff)>,
    /// Set while a caller makes an attempt on the open circuit.
    tried: bool,
}

impl Circuit {
    /// Returns the circuit of a service, shared by all callers.
    pub(crate) fn of_service(service: &str) -> Arc<Circuit> {
        let mut all = CIRCUITS.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, circuit| circuit.strong_count() > 0);
        if let Some(circuit) = all.get(service).and_then(Weak::upgrade) {
            return circuit;
        }
        let circuit = Arc::new(Circuit::default());
        all.insert(service.to_owned(), Arc::downgrade(&circuit));
        circuit
    }

    fn lock_state(&self) -> MutexGuard<'_, CircuitState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn last_error(&self) -> Option<String> {
        self.lock_state().open.as_ref().map(|(why, ..)| why.clone())
    }

    /// Calls until there is an answer, `cancel` is set, or `timeout` has passed. A registry that does not
    /// answer as one opens the circuit; any other result is an answer, refusals included, since a retry would
    /// not change them.
    ///
    /// # Errors
    /// Fails with [`SchemaError::Cancelled`], with the last error after `timeout`, or with an answer that is
    /// an error.
    pub(crate) fn call<T>(
        &self,
        cancel: &AtomicBool,
        timeout: Duration,
        call: impl Fn() -> Result<T, SchemaError>,
    ) -> Result<T, SchemaError> {
        let begun = Instant::now();
        loop {
            if cancel.load(Ordering::Relaxed) {
                return Err(SchemaError::Cancelled);
            }
            let Some(trial) = self.may_try() else {
                std::thread::sleep(POLL_INTERVAL);
                continue;
            };
            let answer = call();
            let mut state = self.lock_state();
            state.tried &= !trial;
            let error = match answer {
                Err(error @ SchemaError::RegistryDown { .. }) => error,
                answer => {
                    if state.open.take().is_some() {
                        tracing::info!("the schema registry answers again");
                    }
                    return answer;
                }
            };
            // A late failure of a call from before the circuit opened: ignore it.
            if state.open.is_some() && !trial {
                continue;
            }
            let mut backoff = state.open.take().map(|(.., backoff)| backoff).unwrap_or_default();
            tracing::warn!(%error, "waiting for the schema registry");
            state.open = Some((error.to_string(), Instant::now() + backoff.jittered(), backoff));
            if begun.elapsed() >= timeout {
                return Err(error);
            }
        }
    }

    /// Asks for permission to call: None while the caller must wait, Some(true) for the one attempt on an
    /// open circuit, Some(false) while it is closed.
    fn may_try(&self) -> Option<bool> {
        let mut state = self.lock_state();
        match &state.open {
            None => Some(false),
            Some((_, at, _)) if state.tried || Instant::now() < *at => None,
            Some(_) => {
                state.tried = true;
                Some(true)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    fn down() -> SchemaError {
        SchemaError::RegistryDown { url: "http://r".into(), message: "no answer".into() }
    }

    #[test]
    fn one_tries_while_it_is_open_and_an_answer_closes_it() {
        let (circuit, cancel) = (Circuit::of_service("http://one"), AtomicBool::new(false));
        let (calls, at_once, most) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
        let ask = || {
            circuit.call(&cancel, Duration::MAX, || {
                let n = calls.fetch_add(1, Ordering::Relaxed);
                if n > 8 {
                    most.fetch_max(at_once.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(30));
                    at_once.fetch_sub(1, Ordering::Relaxed);
                }
                if n < 11 { Err(down()) } else { Ok(n) }
            })
        };
        std::thread::scope(|scope| {
            let asked: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
            let started = Instant::now();
            while last_error().is_none() {
                assert!(started.elapsed() < Duration::from_secs(20), "it never opened");
            }
            assert!(asked.into_iter().all(|asked| asked.join().is_ok_and(|answer| answer.is_ok())));
        });
        assert!(circuit.last_error().is_none());
        assert!(most.load(Ordering::Relaxed) <= 8);
        // Eight calls before it opened, and up to eight after it closed again.
        assert!(calls.load(Ordering::Relaxed) <= 8 + 4 + 8, "{calls:?}");
    }

    #[test]
    fn an_answer_is_no_failure_and_patience_ends() {
        let (circuit, cancel) = (Circuit::of_service("http://two"), AtomicBool::new(false));
        let unknown =
            circuit.call(&cancel, Duration::MAX, || Err::<(), _>(SchemaError::NotFound("x".into())));
        assert!(matches!(unknown, Err(SchemaError::NotFound(_))) && circuit.last_error().is_none());
        let failed = circuit.call(&cancel, Duration::ZERO, || Err::<(), _>(down()));
        assert!(matches!(failed, Err(SchemaError::RegistryDown { .. })) && circuit.last_error().is_some());
        assert!(Arc::ptr_eq(&circuit, &Circuit::of_service("http://two")));
        cancel.store(true, Ordering::Relaxed);
        let stopped = circuit.call(&cancel, Duration::MAX, || Ok(()));
        assert!(matches!(stopped, Err(SchemaError::Cancelled)));
    }
}
