//! A circuit before a service: after a failed call it is open, and whoever wants something waits; one
//! caller at a time tries again, with pauses that double, until an answer closes it.
//!
//! Circuits are shared by the name of the service: the workers of a topology have one for each registry,
//! so that a registry that struggles hears from one of them. [`trouble`] tells readiness and metrics.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::backoff::Backoff;
use crate::error::SchemaError;

/// How often a waiting thread looks.
const LOOK: Duration = Duration::from_millis(20);

static ALL: Mutex<BTreeMap<String, Weak<Circuit>>> = Mutex::new(BTreeMap::new());

/// Why the first circuit that is open in this process is; None while all are closed.
pub fn trouble() -> Option<String> {
    let all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
    all.values().filter_map(Weak::upgrade).find_map(|circuit| circuit.trouble())
}

/// The circuit before one service.
#[derive(Debug, Default)]
pub(crate) struct Circuit {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Why it is open, when somebody may try again, and what they would wait after that.
    open: Option<(String, Instant, Backoff)>,
    /// Somebody is trying.
    tried: bool,
}

impl Circuit {
    /// The circuit of a service, one for all who name it.
    pub(crate) fn of(service: &str) -> Arc<Circuit> {
        let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, circuit| circuit.strong_count() > 0);
        if let Some(circuit) = all.get(service).and_then(Weak::upgrade) {
            return circuit;
        }
        let circuit = Arc::new(Circuit::default());
        all.insert(service.to_owned(), Arc::downgrade(&circuit));
        circuit
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn trouble(&self) -> Option<String> {
        self.state().open.as_ref().map(|(why, ..)| why.clone())
    }

    /// Calls until there is an answer, or `cancel` is set, or `patience` is over. A registry that does not
    /// answer as one opens the circuit; anything else is an answer, a refusal too, which asking again does not mend.
    ///
    /// # Errors
    /// [`SchemaError::Cancelled`]; the last error once `patience` is over; an answer that is one.
    pub(crate) fn call<T>(
        &self,
        cancel: &AtomicBool,
        patience: Duration,
        call: impl Fn() -> Result<T, SchemaError>,
    ) -> Result<T, SchemaError> {
        let begun = Instant::now();
        loop {
            if cancel.load(Ordering::Relaxed) {
                return Err(SchemaError::Cancelled);
            }
            let Some(trial) = self.may_try() else {
                std::thread::sleep(LOOK);
                continue;
            };
            let answer = call();
            let mut state = self.state();
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
            // Who called while it was closed is not the first to say so.
            if state.open.is_some() && !trial {
                continue;
            }
            let mut backoff = state.open.take().map(|(.., backoff)| backoff).unwrap_or_default();
            tracing::warn!(%error, "waiting for the schema registry");
            state.open = Some((error.to_string(), Instant::now() + backoff.jittered(), backoff));
            if begun.elapsed() >= patience {
                return Err(error);
            }
        }
    }

    /// Whether one may call: None while one must wait, Some(true) for the one who tries while it is open.
    fn may_try(&self) -> Option<bool> {
        let mut state = self.state();
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
        let (circuit, cancel) = (Circuit::of("http://one"), AtomicBool::new(false));
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
            while trouble().is_none() {
                assert!(started.elapsed() < Duration::from_secs(20), "it never opened");
            }
            assert!(asked.into_iter().all(|asked| asked.join().is_ok_and(|answer| answer.is_ok())));
        });
        assert!(circuit.trouble().is_none());
        assert!(most.load(Ordering::Relaxed) <= 8);
        // The first eight found it closed, and those after its closing again.
        assert!(calls.load(Ordering::Relaxed) <= 8 + 4 + 8, "{calls:?}");
    }

    #[test]
    fn an_answer_is_no_failure_and_patience_ends() {
        let (circuit, cancel) = (Circuit::of("http://two"), AtomicBool::new(false));
        let unknown =
            circuit.call(&cancel, Duration::MAX, || Err::<(), _>(SchemaError::NotFound("x".into())));
        assert!(matches!(unknown, Err(SchemaError::NotFound(_))) && circuit.trouble().is_none());
        let failed = circuit.call(&cancel, Duration::ZERO, || Err::<(), _>(down()));
        assert!(matches!(failed, Err(SchemaError::RegistryDown { .. })) && circuit.trouble().is_some());
        assert!(Arc::ptr_eq(&circuit, &Circuit::of("http://two")));
        cancel.store(true, Ordering::Relaxed);
        let stopped = circuit.call(&cancel, Duration::MAX, || Ok(()));
        assert!(matches!(stopped, Err(SchemaError::Cancelled)));
    }
}
