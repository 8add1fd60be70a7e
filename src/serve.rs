//! HTTP server of a running topology: health, metrics, and queries of committed epochs.
//!
//! | path | answer |
//! | --- | --- |
//! | `/healthz` | 200 unless the process must be restarted |
//! | `/readyz` | 200 when started, and broker and schema registry answer |
//! | `/metrics` | Prometheus |
//! | `/v1/topology`, `/v1/views` | JSON: plan and status; views with columns, epoch and watermark |
//! | `/v1/views/VIEW/KEY` | JSON: the row of a key ([`lookup`]) |
//! | `/v1/subscribe/VIEW` | events, or a WebSocket: a snapshot, then each epoch's changes ([`subscribe`]) |
//! | `/v1/query` | `POST` the SQL, or `GET ?sql=`; `format` is json, csv, table or expanded |
//! | `/v1/backup` | `POST ?to=DIR`: copies the state as of one epoch |
//!
//! Queries read the state, never the workers' memory, and within bounds ([`queries`]). [`access`] checks
//! permissions and rates, and [`connections`] keeps room for health checks. By default the server listens on
//! the loopback interface.

pub mod access;
mod connections;
pub(crate) mod descriptors;
mod guarded;
mod lookup;
mod queries;
mod subscribe;
pub(crate) mod tls;
pub(crate) mod view_values;

use std::net::{TcpListener, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, Result};
use arrow::datatypes::{FieldRef, Schema};
use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::{Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use dataflows::plan::{Plan, Source, View};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use crate::cli::{OutputFormat, ServeArgs};
use crate::commands::state;
use crate::driver::{DriverConfig, DriverHandle};
use crate::exit::mistake;
use crate::metrics::Metrics;
use crate::query::process::reads::Lender;
use crate::query::tables::lookup::Lookups;
use access::{Access, Gate};
pub use connections::Answering;
use connections::Connections;
use queries::{Answered, Queries, Refusal};
use subscribe::hub::Subscriptions;
use tls::TlsIdentity;

/// Default address of `run`.
const DEFAULT_ADDRESS: &str = "127.0.0.1:7414";
/// Most bytes of a request's body.
const MAX_BODY_BYTES: usize = 1 << 20;
/// Longest time in which a request's body must arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// The answer to whatever needs the state before it is restored.
const STARTING: &str = "the topology is still starting: ask again in a moment";

/// State of the server, shared by its handlers.
pub struct Served {
    name: String,
    plan: Arc<Plan>,
    handle: DriverHandle,
    metrics: Arc<Metrics>,
    queries: Queries,
    subscriptions: Arc<Subscriptions>,
    copying: Semaphore,
    /// The views as look-ups read them, from the first one on.
    lookups: OnceLock<Lookups>,
}

impl Served {
    /// Prepares the state for a topology that is about to run.
    pub fn new(
        config: &DriverConfig,
        args: &ServeArgs,
        (handle, lender): (DriverHandle, Arc<Lender>),
        metrics: Arc<Metrics>,
    ) -> Served {
        let queries =
            Queries::new(lender, (args.max_queries, args.limits.clone()), metrics.serving().clone());
        // Half of the connections are left for requests.
        let connections = args.max_connections.unwrap_or(connections::DEFAULT_LIMIT);
        let most = args.max_subscribers.unwrap_or(connections / 2);
        let subscriptions = Subscriptions::new(handle.clone(), most, metrics.serving().clone());
        Served {
            name: config.name.clone(),
            plan: config.plan.clone(),
            handle,
            metrics,
            queries,
            subscriptions,
            copying: Semaphore::new(1),
            lookups: OnceLock::new(),
        }
    }

    /// The subscriptions, which the run ends before it ends itself.
    pub fn subscriptions(&self) -> Arc<Subscriptions> {
        self.subscriptions.clone()
    }

    /// Runs a query at the newest epoch of the state.
    async fn run_query(&self, sql: String, format: OutputFormat) -> Result<Answered, Refusal> {
        if !self.handle.status().started {
            return Err(Refusal(StatusCode::SERVICE_UNAVAILABLE, STARTING.to_owned()));
        }
        self.queries.ask(sql, format).await
    }

    /// Counts a request whose body is refused. Returns the refusal.
    fn refuse_body(&self, reason: &str, status: StatusCode, why: &str) -> Refusal {
        self.metrics.serving().count_refused(reason);
        Refusal(status, why.to_owned())
    }
}

/// A bound address with its TLS settings, permissions and connection limit.
pub struct HttpListener {
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    access: Access,
    most: usize,
    answering: Answering,
}

impl HttpListener {
    /// The URL of the address.
    ///
    /// # Errors
    /// When the listener has no address.
    pub fn url(&self) -> Result<String> {
        let address = self.listener.local_addr().context("cannot tell the address")?;
        Ok(format!("{}://{address}", if self.tls.is_some() { "https" } else { "http" }))
    }

    /// The requests that are being answered, while it is served.
    pub fn answering(&self) -> Answering {
        self.answering.clone()
    }
}

/// Binds the address of `--listen` with the settings of the other flags; None when it is off.
///
/// # Errors
/// When the address is invalid or taken, when files cannot be read, or when a network could read without a
/// token.
pub fn bind(args: &ServeArgs) -> Result<Option<HttpListener>> {
    let wanted = Listening { flag: "--listen", given: args.listen.as_deref(), default: DEFAULT_ADDRESS };
    let Some(listener) = bind_address(&wanted)? else { return Ok(None) };
    let mut access = Access::new(args)?;
    let address = listener.local_addr().context("cannot tell the address")?;
    let tls = match TlsIdentity::from_flags(args)? {
        Some(identity) => Some(identity.acceptor()?),
        None => None,
    };
    if !address.ip().is_loopback() {
        if access.is_open() {
            return Err(mistake(format!(
                "--listen {address} can be reached from the network, and whoever reaches it could read everything\n  \
                 set HERALD_READ_TOKEN (or --read-token-file), or listen on 127.0.0.1"
            )));
        }
        if tls.is_none() {
            tracing::warn!("tokens and answers pass {address} in clear: give --tls-cert and --tls-key");
        }
    } else {
        let given = args.listen.as_deref().map_or(String::new(), self::expand_address);
        access.require_host(given.rsplit_once(':').map_or("", |(name, _)| name));
    }
    Ok(Some(HttpListener {
        listener,
        tls,
        access,
        most: args.max_connections.unwrap_or(connections::DEFAULT_LIMIT),
        answering: Answering::default(),
    }))
}

/// An address to listen on.
pub(crate) struct Listening<'a> {
    /// The flag that names it.
    pub flag: &'static str,
    /// The flag's value.
    pub given: Option<&'a str>,
    /// The address without it.
    pub default: &'static str,
}

/// Binds an address; None for `off`. The default address is optional: if it is taken, nothing is served.
///
/// # Errors
/// When the flag's value is no address, or is taken.
pub(crate) fn bind_address(wanted: &Listening<'_>) -> Result<Option<TcpListener>> {
    let Listening { flag, given, default } = *wanted;
    let Some(given) = given else {
        // Two topologies on one machine are no mistake: the second one runs without a server.
        return Ok(match TcpListener::bind(default) {
            Ok(listener) => Some(listener),
            Err(error) => {
                tracing::warn!(
                    "{default} is not free ({error}): nothing is served there. Choose an address with {flag}"
                );
                None
            }
        });
    };
    if given == "off" {
        return Ok(None);
    }
    let address = expand_address(given);
    let resolved = address.to_socket_addrs().map(Iterator::collect::<Vec<_>>).map_err(|error| {
        mistake(format!("{flag} {given:?} is not an address: {error}. Write ADDRESS:PORT, PORT or off"))
    })?;
    TcpListener::bind(resolved.as_slice())
        .map(Some)
        .map_err(|error| mistake(format!("cannot listen on {address}: {error}")))
}

/// The full form of an address: `8080` and `:8080` are ports of the loopback interface.
fn expand_address(given: &str) -> String {
    let port = given.strip_prefix(':').unwrap_or(given);
    match port.parse::<u16>() {
        Ok(port) => format!("127.0.0.1:{port}"),
        Err(_) => given.to_owned(),
    }
}

/// Serves until the runtime ends.
///
/// # Errors
/// When nothing more can be served.
pub async fn serve(http: HttpListener, served: Served) -> Result<()> {
    let HttpListener { listener, tls, access, most, answering } = http;
    let metrics = served.metrics.serving().clone();
    let router = create_router(served, access);
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    connections::accept_all(listener, tls, Connections::new(most, answering, metrics), router).await
}

/// Routes paths to their handlers, behind the check of permissions.
fn create_router(served: Served, access: Access) -> Router {
    let gate = Gate { access, metrics: served.metrics.serving().clone() };
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/v1/topology", get(topology))
        .route("/v1/state", get(held_state))
        .route("/v1/views", get(views))
        .route("/v1/views/{*row}", get(lookup::view_row))
        .route("/v1/subscribe/{view}", get(subscribe::subscribe))
        .route("/v1/query", get(query_get).post(query_post))
        .route("/v1/backup", post(backup))
        .fallback(async || failure(StatusCode::NOT_FOUND, "there is nothing at this path"))
        .layer(axum::middleware::from_fn_with_state(Arc::new(gate), access::check_access))
        .with_state(Arc::new(served))
}

type Shared = State<Arc<Served>>;

async fn healthz(State(served): Shared) -> Response {
    match served.handle.status().fatal {
        None => "ok\n".into_response(),
        Some(fatal) => (StatusCode::SERVICE_UNAVAILABLE, format!("{fatal}\n")).into_response(),
    }
}

async fn readyz(State(served): Shared) -> Response {
    let status = served.handle.status();
    let unready = if let Some(fatal) = status.fatal {
        fatal
    } else if !status.started {
        "starting".to_owned()
    } else if !status.broker_ok {
        status.last_error.unwrap_or_else(|| "the broker does not answer".to_owned())
    } else if let Some(last_error) = schemas::registry_last_error() {
        last_error
    } else {
        return "ready\n".into_response();
    };
    (StatusCode::SERVICE_UNAVAILABLE, format!("{unready}\n")).into_response()
}

async fn metrics(State(served): Shared) -> Response {
    served.metrics.serving().set_descriptors(descriptors::count_open(), descriptors::soft_limit());
    let shared = served.clone();
    let measure = move || {
        shared.metrics.measure_memory(shared.handle.store().as_deref());
        view_values::text(&shared)
    };
    // A measurement that fails leaves the last one, and views that cannot be read are left out.
    let views = match tokio::task::spawn_blocking(measure).await {
        Ok(Ok(views)) => views,
        Ok(Err(error)) => {
            tracing::warn!("views are not among the metrics: {error:#}");
            String::new()
        }
        Err(_) => String::new(),
    };
    match served.metrics.text().map(|text| text + &views) {
        Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response(),
        Err(error) => failure(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

async fn topology(State(served): Shared) -> Response {
    let plan = &served.plan;
    let sources: Vec<Value> = plan.sources.iter().map(source_json).collect();
    let views: Vec<&String> = plan.views.iter().map(|view| &view.name).collect();
    let mut sinks = Vec::new();
    for sink in &plan.sinks {
        let shows = plan.rels.get(sink.rel).map(|rel| &rel.owner);
        sinks.push(json!({"name": sink.name, "shows": shows}));
    }
    axum::Json(json!({
        "name": served.name,
        "version": plan.version,
        "sources": sources,
        "views": views,
        "sinks": sinks,
        "status": served.handle.status(),
    }))
    .into_response()
}

/// The catalogue and the progress of the committed epoch, by which `herald plan` compares an edited topology.
async fn held_state(State(served): Shared) -> Response {
    let Some(store) = served.handle.store() else {
        return failure(StatusCode::SERVICE_UNAVAILABLE, "the state is not open");
    };
    let read = move || -> Result<Value> {
        let snapshot = store.snapshot()?;
        Ok(json!({ "catalogue": snapshot.catalogue()?, "committed": snapshot.committed() }))
    };
    match tokio::task::spawn_blocking(read).await {
        Ok(Ok(held)) => axum::Json(held).into_response(),
        Ok(Err(error)) => failure(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error:#}")),
        Err(error) => failure(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

fn source_json(source: &Source) -> Value {
    json!({
        "name": source.name,
        "keyed": source.keyed.is_some(),
        "columns": columns_json(&source.schema),
    })
}

/// A schema's columns as JSON.
fn columns_json(schema: &Schema) -> Value {
    schema.fields().iter().map(column_json).collect()
}

fn column_json(field: &FieldRef) -> Value {
    json!({"name": field.name(), "type": schemas::sql_type(field), "nullable": field.is_nullable()})
}

async fn views(State(served): Shared) -> Response {
    let asked = served.run_query("SELECT * FROM herald.views".to_owned(), OutputFormat::Json).await;
    let answered = match asked {
        Ok(answered) => answered,
        Err(Refusal(status, why)) => return failure(status, &why),
    };
    match read_views(&served.plan, answered) {
        Ok(views) => axum::Json(views).into_response(),
        Err(error) => {
            let Refusal(status, why) = Refusal::of(&error);
            failure(status, &why)
        }
    }
}

/// The plan's views as JSON, from the answer with the rows of `herald.views`.
fn read_views(plan: &Plan, answered: Answered) -> Result<Value> {
    let Answered { epoch, body } = answered;
    let rows: Vec<Value> = serde_json::from_str(&body.into_text()?)?;
    Ok(views_json(plan, epoch, &rows))
}

/// The plan's views as JSON, each with its row of `herald.views`.
fn views_json(plan: &Plan, epoch: u64, rows: &[Value]) -> Value {
    let unknown = Value::Null;
    let mut views = Vec::new();
    for view in &plan.views {
        let row = rows.iter().find(|row| row["view"] == view.name.as_str()).unwrap_or(&unknown);
        let schema = plan.rels.get(view.rel).map(|rel| &rel.schema);
        views.push(json!({
            "name": view.name,
            "columns": schema.map(|schema| columns_json(schema)),
            "key": schema.and_then(|schema| key_names(view, schema)),
            "indexes": schema.map(|schema| indexes_json(view, schema)),
            "epoch": row["epoch"],
            "committed_at": row["committed_at"],
            "watermark": row["watermark"],
        }));
    }
    json!({"epoch": epoch, "views": views})
}

/// The names of a view's key columns; None if it has no key.
fn key_names(view: &View, schema: &Schema) -> Option<Vec<String>> {
    Some(column_names(schema, view.key.as_ref()?))
}

/// The indexes of a view, in the order of the topology.
fn indexes_json(view: &View, schema: &Schema) -> Vec<Value> {
    let mut indexes = Vec::with_capacity(view.indexes.len());
    for index in &view.indexes {
        indexes.push(json!({"name": index.name, "columns": column_names(schema, &index.columns)}));
    }
    indexes
}

/// The names of columns that are given by their positions.
fn column_names(schema: &Schema, columns: &[usize]) -> Vec<String> {
    let fields = columns.iter().filter_map(|at| schema.fields().get(*at));
    fields.map(|field| field.name().clone()).collect()
}

/// Parameters of `/v1/query`.
#[derive(serde::Deserialize)]
struct QueryParams {
    sql: Option<String>,
    format: Option<String>,
}

async fn query_get(State(served): Shared, Query(ask): Query<QueryParams>) -> Response {
    match ask.sql {
        Some(sql) => answer_query(served, sql, ask.format).await,
        None => failure(StatusCode::BAD_REQUEST, "write the query as ?sql=..., or POST it"),
    }
}

async fn query_post(State(served): Shared, Query(ask): Query<QueryParams>, body: Body) -> Response {
    match read_body(&served, body).await {
        Ok(sql) => answer_query(served, sql, ask.format).await,
        Err(Refusal(status, why)) => failure(status, &why),
    }
}

/// Reads a request's body as text, bounded in size and time.
async fn read_body(served: &Served, body: Body) -> Result<String, Refusal> {
    const LARGE: &str = "a body has at most 1 MiB";
    if body.size_hint().lower() > MAX_BODY_BYTES as u64 {
        return Err(served.refuse_body("body_size", StatusCode::PAYLOAD_TOO_LARGE, LARGE));
    }
    match tokio::time::timeout(BODY_TIMEOUT, axum::body::to_bytes(body, MAX_BODY_BYTES)).await {
        Ok(Ok(bytes)) => String::from_utf8(bytes.into())
            .map_err(|_| Refusal(StatusCode::BAD_REQUEST, "the query must be UTF-8 text".to_owned())),
        Ok(Err(error))
            if std::error::Error::source(&error).is_some_and(|e| e.to_string().contains("limit")) =>
        {
            Err(served.refuse_body("body_size", StatusCode::PAYLOAD_TOO_LARGE, LARGE))
        }
        Ok(Err(error)) => Err(Refusal(StatusCode::BAD_REQUEST, format!("the body cannot be read: {error}"))),
        Err(_) => {
            let why = "the body did not arrive within 10 s";
            Err(served.refuse_body("body_time", StatusCode::REQUEST_TIMEOUT, why))
        }
    }
}

/// Runs a query and builds its response.
async fn answer_query(served: Arc<Served>, sql: String, wanted: Option<String>) -> Response {
    let format = match wanted.as_deref() {
        None | Some("json") => OutputFormat::Json,
        Some("csv") => OutputFormat::Csv,
        Some("table") => OutputFormat::Table,
        Some("expanded") => OutputFormat::Expanded,
        Some(_) => return failure(StatusCode::BAD_REQUEST, "format must be json, csv, table or expanded"),
    };
    match served.run_query(sql, format).await {
        Ok(Answered { epoch, body }) => {
            let mut response =
                ([(header::CONTENT_TYPE, format.mime_type())], Body::new(body)).into_response();
            response.headers_mut().insert("herald-epoch", HeaderValue::from(epoch));
            response
        }
        Err(Refusal(status, why)) => failure(status, &why),
    }
}

/// Parameters of `/v1/backup`.
#[derive(serde::Deserialize)]
struct BackupParams {
    to: PathBuf,
}

/// Copies the state to a directory of this machine, one copy at a time.
async fn backup(State(served): Shared, Query(copy): Query<BackupParams>) -> Response {
    if !served.handle.status().started && served.handle.store().is_none() {
        return failure(StatusCode::SERVICE_UNAVAILABLE, STARTING);
    }
    let shared = served.clone();
    let copied = tokio::task::spawn_blocking(move || {
        let Ok(_only) = shared.copying.try_acquire() else { return None };
        Some(copy_state(&shared, &copy.to))
    });
    match copied.await {
        Ok(Some(Ok(answer))) => axum::Json(answer).into_response(),
        Ok(Some(Err(error))) => {
            let Refusal(status, why) = Refusal::of(&error);
            failure(status, &why)
        }
        Ok(None) => failure(StatusCode::TOO_MANY_REQUESTS, "the state is being copied already"),
        Err(_) => failure(StatusCode::INTERNAL_SERVER_ERROR, "the copy failed unexpectedly"),
    }
}

/// Copies the state to a directory. Returns the answer.
fn copy_state(served: &Served, to: &Path) -> Result<Value> {
    let store = served.handle.store().context("the topology is ending")?;
    if !to.is_absolute() {
        return Err(mistake("name the whole path of the directory"));
    }
    store.checkpoint(to)?;
    let epoch = state::epoch_of(to)?;
    tracing::info!(epoch, "the state was copied to {}", to.display());
    Ok(json!({"epoch": epoch, "to": to}))
}

fn failure(status: StatusCode, message: &str) -> Response {
    (status, axum::Json(json!({"error": message}))).into_response()
}

#[cfg(test)]
mod tests;
