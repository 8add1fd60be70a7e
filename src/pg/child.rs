//! The process of a connection: `herald serve-client`, started by [`super::listener`] within its limits.
//!
//! Standard output is the client's socket, and standard input the connection to the topology's process. This
//! thread speaks with the client; one thread hears orders of the topology's process, one runs queries, and one
//! holds the epoch. When the topology's process ends, the client is told, and the process ends.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::sync::watch;

use super::control::{FromSession, Parent, SessionConfig, ToSession};
use super::engine::{Engine, Limits};
use super::errors::{PgError, codes};
use super::login::{Login, log_in};
use super::reader::EpochReader;
use super::session::Session;
use super::wire::{Orders, Wire};
use crate::exit::mistake;
use crate::query::Spill;
use crate::query::process::remote::Connection;

/// Longest time in which a client must have logged in.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(30);
/// Time that a session has to tell its client of the end.
const END_TIMEOUT: Duration = Duration::from_secs(2);

/// `herald serve-client`.
///
/// # Errors
/// When it was not started by a topology.
pub fn command() -> Result<()> {
    let stranger =
        || mistake("this command is for herald itself: connect with psql to herald run --listen-pg");
    let connection = Arc::new(Connection::from_stdin_until(|| {}).map_err(|_| stranger())?);
    let first = connection.orders().recv().map_err(|_| stranger())?;
    let Ok(ToSession::Configure(config)) = serde_json::from_slice(&first) else { return Err(stranger()) };
    // If memory runs out, the kernel should kill this process, not the topology.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    let socket = std::net::TcpStream::from(std::io::stdout().as_fd().try_clone_to_owned()?);
    socket.set_nonblocking(true).context("standard output is no socket")?;
    let parent = Parent(connection.clone());
    let (orders, received) = watch::channel(Orders::default());
    std::thread::Builder::new()
        .name("herald-orders".to_owned())
        .spawn(move || hear_orders(&connection, &orders))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let socket = tokio::net::TcpStream::from_std(socket)?;
        // Small answers are not to wait for more.
        let _ = socket.set_nodelay(true);
        serve_client(&config, Wire::new(Box::new(socket), received), parent).await;
        Ok(())
    })
}

/// Passes on the orders of the topology's process, and ends this one soon after it.
fn hear_orders(connection: &Connection, orders: &watch::Sender<Orders>) {
    while let Ok(order) = connection.orders().recv() {
        if let Ok(ToSession::Cancel) = serde_json::from_slice(&order) {
            orders.send_modify(|orders| orders.cancels += 1);
        }
    }
    orders.send_modify(|orders| orders.ending = true);
    std::thread::sleep(END_TIMEOUT);
    std::process::abort();
}

/// Serves a client until it or the topology's process goes.
async fn serve_client(config: &SessionConfig, mut wire: Wire, parent: Parent) {
    let settings = match tokio::time::timeout(LOGIN_TIMEOUT, log_in(&mut wire, config)).await {
        Ok(Ok(Login::Client(settings))) => settings,
        Ok(Ok(Login::Cancel { pid, secret })) => return parent.tell(&FromSession::Cancel { pid, secret }),
        Ok(Err(error)) => {
            parent.tell(&FromSession::Refused(refusal_label(&error).to_owned()));
            return end(wire, &error).await;
        }
        Err(_) => {
            parent.tell(&FromSession::Refused("login_time".to_owned()));
            let message = "canceling authentication due to timeout";
            return end(wire, &PgError::fatal(codes::QUERY_CANCELED, message)).await;
        }
    };
    let (user, application) = (settings.user().to_owned(), settings.application().to_owned());
    parent.tell(&FromSession::Client { user, application });
    let spill = (config.disk > 0).then(|| Spill { dir: config.scratch.clone(), bytes: config.disk });
    let limits = Limits { memory: usize::try_from(config.memory / 3).unwrap_or(usize::MAX), spill };
    let engine = EpochReader::start(parent.0.clone()).and_then(|reader| Engine::start(reader, limits));
    match engine {
        Ok(engine) => Session::new(wire, engine, parent, (*settings, config)).serve().await,
        Err(error) => {
            let told = PgError::of(&error);
            end(wire, &PgError::fatal(told.code, told.message)).await;
        }
    }
}

/// Tells the client why the connection ends, and ends it.
async fn end(mut wire: Wire, error: &PgError) {
    wire.send(pgwire::messages::PgWireBackendMessage::ErrorResponse(error.response()));
    wire.close().await;
}

/// The reason of a refusal as a metric label.
fn refusal_label(error: &PgError) -> &'static str {
    match error.code {
        codes::TOO_MANY_CONNECTIONS => "connections",
        codes::CANNOT_CONNECT_NOW => "starting",
        codes::INVALID_PASSWORD => "password",
        _ => "protocol",
    }
}
