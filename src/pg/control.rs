//! Messages between the topology's process and the process of a connection, beside the reads of its queries
//! ([`crate::query::process`]).
//!
//! The first order configures the session. Then the topology's process sends cancel requests only, and the
//! connection's process tells of its state. The end of the connection is the end of the other process.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use pgwire::api::auth::sasl::scram::{ScramSecret, gen_salted_password};
use rand::TryRng;
use rand::rngs::SysRng;
use serde::{Deserialize, Serialize};

use crate::query::process::reads::ToProcess;
use crate::query::process::remote::Connection;
use crate::serve::tls::TlsIdentity;

/// Rounds of hashing of a token.
const ITERATIONS: usize = 4096;
/// Bytes of the salt of a token.
const SALT_BYTES: usize = 16;

/// Proof that a client has a token, by SCRAM-SHA-256 (RFC 5802), which is no token itself.
///
/// The topology's process makes one of each token when it starts, and gives sessions nothing else: the process that
/// speaks with clients who have not logged in holds nothing to log in with.
#[derive(Clone, Serialize, Deserialize)]
pub struct Verifier {
    salt: Vec<u8>,
    iterations: usize,
    stored_key: Vec<u8>,
    server_key: Vec<u8>,
}

impl Verifier {
    /// Makes the verifier of a token, with a salt of its own.
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub fn of(token: &str) -> Result<Verifier> {
        let mut salt = vec![0; SALT_BYTES];
        SysRng.try_fill_bytes(&mut salt).context("there are no random numbers")?;
        let salted = gen_salted_password(token, &salt, ITERATIONS);
        match ScramSecret::verifier_from_salted_password(salt, salted, ITERATIONS) {
            ScramSecret::Verifier { salt, iterations, stored_key, server_key } => {
                Ok(Verifier { salt, iterations, stored_key, server_key })
            }
            ScramSecret::SaltedPassword { .. } => Err(anyhow!("a token has no verifier")),
        }
    }

    /// The verifier as a log-in takes it.
    pub fn secret(&self) -> ScramSecret {
        ScramSecret::Verifier {
            salt: self.salt.clone(),
            iterations: self.iterations,
            stored_key: self.stored_key.clone(),
            server_key: self.server_key.clone(),
        }
    }
}

/// Without the keys, so that no log has them.
impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier").field("iterations", &self.iterations).finish_non_exhaustive()
    }
}

/// Configuration of a session.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SessionConfig {
    /// Directory for what does not fit into a query's memory.
    pub scratch: PathBuf,
    /// Most bytes of its files; 0 for none.
    pub disk: u64,
    /// Most bytes of memory of a query.
    pub memory: u64,
    /// Longest time of a statement, unless the session sets another.
    pub time: Duration,
    /// Proves who shows the token that reading needs.
    pub reader: Option<Verifier>,
    /// Proves who shows the token that administering needs.
    pub admin: Option<Verifier>,
    /// Certificate chain and key, both PEM.
    pub tls: Option<TlsIdentity>,
    /// The number that clients know the process by.
    pub pid: i32,
    /// The address of the client.
    pub client: String,
    /// Milliseconds since 1970 of the session's begin.
    pub begun_ms: i64,
    /// The key without which a cancel request has no effect.
    pub secret: Vec<u8>,
    /// The reason for which nothing but a cancel request is taken.
    pub closed: Option<Closed>,
}

/// Reason for which a connection may only cancel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Closed {
    /// There are too many connections.
    Crowded,
    /// The topology is still starting.
    Starting,
}

/// Message to the connection's process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum ToSession {
    /// The first message.
    Configure(Box<SessionConfig>),
    /// Stops the statement that runs.
    Cancel,
}

/// State of a session, as PostgreSQL names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SessionState {
    /// The client is logging in.
    Starting,
    /// A statement runs.
    Active,
    /// The session waits for the client.
    Idle,
    /// It waits in a transaction.
    IdleInTransaction,
    /// It waits in a transaction that has failed.
    IdleInFailedTransaction,
}

impl SessionState {
    /// All states.
    pub const ALL: [SessionState; 5] = [
        SessionState::Starting,
        SessionState::Active,
        SessionState::Idle,
        SessionState::IdleInTransaction,
        SessionState::IdleInFailedTransaction,
    ];

    /// Its name as a metric label.
    pub fn label(self) -> &'static str {
        match self {
            SessionState::Starting => "starting",
            SessionState::Active => "active",
            SessionState::Idle => "idle",
            SessionState::IdleInTransaction => "idle_in_transaction",
            SessionState::IdleInFailedTransaction => "idle_in_failed_transaction",
        }
    }
}

/// Message from the connection's process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromSession {
    /// A client asks to stop the statement of another session.
    Cancel {
        /// The number of the session's process.
        pid: i32,
        /// Its key.
        secret: Vec<u8>,
    },
    /// Names of the client.
    Client {
        /// The name it logged in with.
        user: String,
        /// The name of its application.
        application: String,
    },
    /// The session's state; the query that begins, if one does.
    State(SessionState, Option<String>),
    /// A statement has ended, in one of the ways of [`crate::metrics::PgMetrics`].
    Ended(String),
    /// A refusal of the client, for one of the reasons of [`crate::metrics::PgMetrics`].
    Refused(String),
}

/// The way of a session to the topology's process.
#[derive(Clone)]
pub struct Parent(pub Arc<Connection>);

impl Parent {
    /// Tells the topology's process something. That it has gone is seen by the thread that hears its orders.
    pub fn tell(&self, message: &FromSession) {
        if let Ok(message) = serde_json::to_string(message) {
            let _ = self.0.tell_parent(message);
        }
    }
}

/// Sends an order to a session. One whose process has gone needs none.
pub fn order(process: &ToProcess, order: &ToSession) {
    if let Ok(order) = serde_json::to_vec(order) {
        let _ = process.send(&order);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Neither the token nor the salted one, with which a client would prove that it has it.
    #[test]
    fn a_verifier_holds_no_token() -> Result<()> {
        let (made, again) = (Verifier::of("the reader's token")?, Verifier::of("the reader's token")?);
        assert_ne!(made.salt, again.salt);
        assert_ne!(made.stored_key, again.stored_key, "equal tokens do not look equal");
        let salted = gen_salted_password("the reader's token", &made.salt, ITERATIONS);
        assert!(![&made.salt, &made.stored_key, &made.server_key].contains(&&salted));
        let told = serde_json::to_string(&made)?;
        assert!(!told.contains("reader") && !told.contains(&serde_json::to_string(&salted)?), "{told}");
        let read: Verifier = serde_json::from_str(&told)?;
        let again = ScramSecret::verifier_from_salted_password(made.salt.clone(), salted, ITERATIONS);
        let ScramSecret::Verifier { stored_key, server_key, .. } = again else { panic!("no verifier") };
        assert_eq!((read.stored_key, read.server_key), (stored_key, server_key));
        Ok(())
    }
}
