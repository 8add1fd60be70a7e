//! Sessions of a topology's process: their places, and the way to the process of each.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::control::{SessionState, ToSession, order};
use super::login::is_key;
use crate::cli::QueryLimits;
use crate::metrics::PgMetrics;
use crate::query::process::reads::ToProcess;
use crate::query::tables::epoch::ListedSession;

/// Connections beyond the limit, which may only cancel: the others may be busy for long.
const RESERVED_CONNECTIONS: usize = 8;

/// All sessions.
#[derive(Clone)]
pub struct Sessions {
    shared: Arc<Shared>,
}

struct Shared {
    limits: QueryLimits,
    metrics: PgMetrics,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    most: usize,
    /// Places that are taken.
    places: usize,
    sessions: BTreeMap<i32, Session>,
}

/// A session whose process runs.
#[derive(Debug)]
struct Session {
    secret: Vec<u8>,
    process: ToProcess,
    begun_ms: i64,
    told: Told,
}

impl Session {
    fn listed(&self, pid: i32) -> ListedSession {
        ListedSession {
            pid,
            user: self.told.user.clone(),
            application: self.told.application.clone(),
            client: self.told.address.to_string(),
            begun_ms: self.begun_ms,
            state: self.told.state.label().replace('_', " "),
            query: self.told.query.clone(),
        }
    }
}

/// A session as its process tells of it.
#[derive(Clone, Debug)]
pub struct Told {
    /// The address of the client.
    pub address: SocketAddr,
    /// The name it logged in with.
    pub user: String,
    /// The name of its application.
    pub application: String,
    /// Its state.
    pub state: SessionState,
    /// The statement that runs, or the last one.
    pub query: String,
}

impl Sessions {
    /// Creates a list without sessions.
    pub fn new(limits: QueryLimits, metrics: PgMetrics) -> Sessions {
        for state in SessionState::ALL {
            metrics.change_sessions(state.label(), 0);
        }
        let open = Mutex::default();
        Sessions { shared: Arc::new(Shared { limits, metrics, open }) }
    }

    /// Limits of each query.
    pub fn limits(&self) -> &QueryLimits {
        &self.shared.limits
    }

    /// The metrics.
    pub fn metrics(&self) -> &PgMetrics {
        &self.shared.metrics
    }

    fn lock_open(&self) -> MutexGuard<'_, Open> {
        self.shared.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the most connections that may be open.
    pub fn set_limit(&self, most: usize) {
        self.lock_open().most = most;
        self.show_places();
    }

    fn show_places(&self) {
        let open = self.lock_open();
        self.shared.metrics.set_connections(open.places, open.most);
    }

    /// Takes a place for a connection; None if there is none, not even to cancel.
    pub fn admit(&self) -> Option<Place> {
        let crowded = {
            let mut open = self.lock_open();
            if open.places >= open.most + RESERVED_CONNECTIONS {
                return None;
            }
            open.places += 1;
            open.places > open.most
        };
        self.show_places();
        Some(Place { sessions: self.clone(), crowded, pid: None })
    }

    /// Changes the record of a session.
    pub fn note(&self, pid: i32, change: impl FnOnce(&mut Told)) {
        let mut open = self.lock_open();
        let Some(session) = open.sessions.get_mut(&pid) else { return };
        let before = session.told.state;
        change(&mut session.told);
        let now = session.told.state;
        if before != now {
            self.shared.metrics.change_sessions(before.label(), -1);
            self.shared.metrics.change_sessions(now.label(), 1);
        }
    }

    /// The sessions, for `herald.sessions`.
    pub fn list(&self) -> Vec<ListedSession> {
        let open = self.lock_open();
        open.sessions.iter().map(|(pid, session)| session.listed(*pid)).collect()
    }

    /// The session as its process has told of it.
    #[cfg(test)]
    fn told(&self, pid: i32) -> Option<Told> {
        self.lock_open().sessions.get(&pid).map(|session| session.told.clone())
    }

    /// Passes a cancel request on to the session that it is for; one with a wrong key has no effect.
    pub fn cancel(&self, pid: i32, secret: &[u8]) {
        let found = self.lock_open().sessions.get(&pid).map(|one| (one.process.clone(), one.secret.clone()));
        // Sent without the lock: a process that takes nothing must hold up nobody else.
        if let Some((process, expected)) = found
            && is_key(secret, &expected)
        {
            order(&process, &ToSession::Cancel);
        }
    }
}

/// The place of a connection; dropping it makes room for another.
pub struct Place {
    sessions: Sessions,
    /// Set if the connection may only cancel.
    pub crowded: bool,
    pid: Option<i32>,
}

impl Place {
    /// Registers the session of the connection, so that it can be cancelled.
    pub fn register(&mut self, pid: i32, secret: Vec<u8>, (process, address): (ToProcess, SocketAddr)) {
        let state = SessionState::Starting;
        let told =
            Told { address, user: String::new(), application: String::new(), state, query: String::new() };
        self.sessions
            .lock_open()
            .sessions
            .insert(pid, Session { secret, process, begun_ms: connectors::clock::now_ms(), told });
        self.sessions.shared.metrics.change_sessions(state.label(), 1);
        self.pid = Some(pid);
    }

    /// Forgets the session: its process sees that nobody gives orders any more. Returns its record.
    pub fn unregister(&mut self) -> Option<Told> {
        let session = self.sessions.lock_open().sessions.remove(&self.pid.take()?)?;
        self.sessions.shared.metrics.change_sessions(session.told.state.label(), -1);
        Some(session.told)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.unregister();
        self.sessions.lock_open().places -= 1;
        self.sessions.show_places();
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    use anyhow::{Context, Result};

    use super::*;
    use crate::metrics::Metrics;

    fn sessions(most: usize) -> Result<Sessions> {
        let metrics = Metrics::new("t")?;
        let sessions = Sessions::new(QueryLimits::default(), metrics.pg().clone());
        sessions.set_limit(most);
        Ok(sessions)
    }

    #[test]
    fn connections_beyond_the_limit_may_only_cancel() -> Result<()> {
        let sessions = sessions(2)?;
        let places: Vec<Place> = (0..20).filter_map(|_| sessions.admit()).collect();
        assert_eq!(places.len(), 2 + RESERVED_CONNECTIONS);
        assert_eq!(places.iter().filter(|place| place.crowded).count(), RESERVED_CONNECTIONS);
        drop(places);
        assert!(sessions.admit().is_some_and(|place| !place.crowded));
        Ok(())
    }

    #[test]
    fn a_cancel_request_needs_the_key() -> Result<()> {
        let sessions = sessions(2)?;
        let mut place = sessions.admit().context("no place")?;
        let (ours, mut theirs) = UnixStream::pair()?;
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        place.register(7, vec![1, 2, 3, 4, 5], (ToProcess::of(ours), address));
        sessions.note(7, |told| told.state = SessionState::Active);
        sessions.cancel(7, &[9, 9, 9, 9]);
        sessions.cancel(8, &[1, 2, 3, 4]);
        sessions.cancel(7, &[1, 2, 3, 4]);
        assert_eq!(sessions.told(7).map(|told| told.state), Some(SessionState::Active));
        drop(place);
        let mut orders = Vec::new();
        // To the end: the session is forgotten.
        theirs.read_to_end(&mut orders)?;
        let order = serde_json::to_vec(&ToSession::Cancel)?;
        assert_eq!(orders.len(), 5 + order.len(), "one request alone had the key");
        assert!(orders.ends_with(&order));
        Ok(())
    }
}
