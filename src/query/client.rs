//! Requests of commands to a running topology, over HTTP.

use std::future::Future;
use std::time::Duration;

use anyhow::{Context, Error, Result, anyhow};

use crate::cli::OutputFormat;
use crate::exit::mistake;
use crate::serve::access;

/// Time for which a request to a running topology waits. It covers the query's turn and its time limit, which
/// only that process knows.
const HTTP_TIMEOUT: Duration = Duration::from_secs(3600);

/// Sends a query to a running `herald run --listen`. Dropping the future closes the connection, which ends the
/// query there.
pub(super) async fn query_over_http(base: &str, sql: &str, format: OutputFormat) -> Result<String> {
    let token = read_token()?;
    let url = format!("{base}/v1/query?format={}", format.name());
    send_request(base, http_client()?.post(url).body(sql.to_owned()), token).await
}

/// The token with which a running topology is read: the one for reading, else the one for administering.
pub fn read_token() -> Result<Option<String>> {
    match access::read_token("HERALD_READ_TOKEN", None)? {
        Some(token) => Ok(Some(token)),
        None => access::read_token("HERALD_ADMIN_TOKEN", None),
    }
}

/// The base URL of a running topology; `http://` is the default scheme.
pub fn base_url(url: &str) -> String {
    if url.contains("://") {
        url.trim_end_matches('/').to_owned()
    } else {
        format!("http://{}", url.trim_end_matches('/'))
    }
}

/// Sends a POST request to a running topology. A refusal becomes an error with the server's message.
pub fn send_post(base: &str, path: &str, body: &str, token: Option<String>) -> Result<String> {
    wait_for(send_request(base, http_client()?.post(format!("{base}{path}")).body(body.to_owned()), token))
}

/// Reads from a running topology; its refusal is an error in its own words.
pub fn send_get(base: &str, path: &str, token: Option<String>) -> Result<String> {
    wait_for(send_request(base, http_client()?.get(format!("{base}{path}")), token))
}

fn http_client() -> Result<reqwest::Client> {
    let failed = "cannot start the HTTP client";
    let tls = schemas::client_tls().context(failed)?;
    let client = reqwest::Client::builder().timeout(HTTP_TIMEOUT).tls_backend_preconfigured(tls);
    client.build().context(failed)
}

/// Carries out a request on this thread. Blocks: not to be called from async code.
pub(super) fn wait_for(request: impl Future<Output = Result<String>>) -> Result<String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the HTTP client")?;
    runtime.block_on(request)
}

async fn send_request(
    base: &str,
    mut request: reqwest::RequestBuilder,
    token: Option<String>,
) -> Result<String> {
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let response = match request.send().await {
        Ok(response) => response,
        Err(error) => return Err(unanswered(base, error)),
    };
    let status = response.status();
    let text = match response.text().await {
        Ok(text) => text,
        Err(error) => return Err(anyhow!("the answer of {base} cannot be read: {}", innermost(error))),
    };
    if status.is_success() {
        return Ok(text);
    }
    let message = serde_json::from_str::<serde_json::Value>(&text)
        .ok()
        .and_then(|body| body.get("error")?.as_str().map(str::to_owned));
    match (message, status.is_client_error()) {
        (Some(message), true) => Err(mistake(message)),
        (Some(message), false) => Err(anyhow!(message)),
        (None, _) => Err(anyhow!("{base} answered {status}: is it a herald run with --listen?")),
    }
}

/// The error for a request that nobody answers, or one whose certificate is not trusted.
fn unanswered(base: &str, error: reqwest::Error) -> Error {
    if let Some(refusal) = schemas::certificate_refusal(&error) {
        return anyhow!("{base} is not trusted: {refusal}");
    }
    anyhow!(
        "no topology answers at {base}: {}\n  \
         start one with `herald run FILE`, or give the address it listens on with --url;\n  \
         of one that has ended, `herald query` and `herald state inspect` read the state",
        innermost(error)
    )
}

/// The innermost cause of a failed request, without the system's number of it: the causes around it only name the
/// layers of the client.
fn innermost(error: reqwest::Error) -> String {
    let cause = Error::new(error).root_cause().to_string();
    match cause.split_once(" (os error ") {
        Some((cause, _)) => cause.to_owned(),
        None => cause,
    }
}
