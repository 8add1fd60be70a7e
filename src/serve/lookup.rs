//! Handler of `/v1/views/VIEW/KEY`: one row of a view by its key, read in this process.
//!
//! KEY is the values of the key's columns in their order with slashes between, each percent-encoded. The read
//! is of a snapshot of the newest committed epoch, on a thread for blocking work; it needs no turn among the
//! queries, and is counted as one.

use anyhow::{Context, Error, Result};
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use state::Snapshot;

use super::queries::{Counted, Refusal, outcome_label};
use super::{STARTING, Served, Shared, failure};
use crate::cli::OutputFormat;
use crate::exit::mistake;
use crate::metrics::Serving;
use crate::query::tables::lookup::Lookups;

/// The path of a look-up, before its view and key.
const PREFIX: &str = "/v1/views/";

/// Result of a look-up.
#[derive(Debug)]
enum Found {
    /// The row as a JSON object, and the epoch it is of.
    Row(u64, String),
    /// A sentence about the row that the epoch does not have.
    NoRow(u64, String),
    /// The mistake of a name that no view has.
    NoView(Error),
}

/// Answers a look-up.
pub(super) async fn view_row(State(served): Shared, uri: Uri) -> Response {
    if !served.handle.status().started {
        return failure(StatusCode::SERVICE_UNAVAILABLE, STARTING);
    }
    let work = tokio::task::spawn_blocking(move || {
        let _running = Counted::new(served.metrics.serving(), Serving::change_running);
        let found = find_row(&served, uri.path());
        served.metrics.serving().count_query(match &found {
            Ok(Found::NoView(error)) | Err(error) => outcome_label(Some(error)),
            Ok(Found::Row(..) | Found::NoRow(..)) => outcome_label(None),
        });
        found
    });
    match work.await {
        Ok(Ok(found)) => found.into_response(),
        Ok(Err(error)) => {
            let Refusal(status, why) = Refusal::of(&error);
            failure(status, &why)
        }
        Err(_) => failure(StatusCode::INTERNAL_SERVER_ERROR, "the look-up failed unexpectedly"),
    }
}

/// Finds the row that a path names, at the newest committed epoch.
fn find_row(served: &Served, path: &str) -> Result<Found> {
    let store = served.handle.store().context("the topology is ending")?;
    let snapshot = store.snapshot()?;
    find_in(views_of(served, &snapshot)?, &snapshot, path)
}

/// The views of the topology, which are read from a snapshot once.
pub(super) fn views_of<'s>(served: &'s Served, snapshot: &Snapshot<'_>) -> Result<&'s Lookups> {
    if let Some(views) = served.lookups.get() {
        return Ok(views);
    }
    // The catalogue does not change while a topology runs.
    let read = Lookups::read(snapshot)?;
    Ok(served.lookups.get_or_init(|| read))
}

/// Finds the row that a path names in a snapshot.
fn find_in(lookups: &Lookups, snapshot: &Snapshot<'_>, path: &str) -> Result<Found> {
    let (name, values) = split_path(path)?;
    let Some(view) = lookups.view(&name) else { return Ok(Found::NoView(lookups.unknown(&name))) };
    let epoch = snapshot.epoch();
    Ok(match view.row(snapshot, &values)? {
        Some(row) => Found::Row(epoch, row),
        None => Found::NoRow(epoch, format!("view {name} has no row with {}", view.key_text(&values))),
    })
}

/// The view and the values of the key in a path.
///
/// # Errors
/// A mistake if a part is not percent-encoded text.
fn split_path(path: &str) -> Result<(String, Vec<String>)> {
    let mut parts = Vec::new();
    for part in path.strip_prefix(PREFIX).unwrap_or_default().split('/') {
        parts.push(decode_percent(part)?);
    }
    let name = parts.remove(0);
    Ok((name, parts))
}

/// The text of a percent-encoded part of a path.
///
/// # Errors
/// A mistake if it is none.
fn decode_percent(part: &str) -> Result<String> {
    let (mut bytes, mut rest) = (Vec::with_capacity(part.len()), part.as_bytes());
    while let Some((first, behind)) = rest.split_first() {
        let digits = behind.split_at_checked(2).filter(|_| *first == b'%');
        let escaped = match digits {
            Some((digits, behind)) => hex_byte(digits).map(|byte| (byte, behind)),
            None if *first == b'%' => None,
            None => Some((*first, behind)),
        };
        let Some((byte, behind)) = escaped else {
            return Err(mistake(format!(
                "{part} of the path has a % without two hexadecimal digits: write %25 for it"
            )));
        };
        bytes.push(byte);
        rest = behind;
    }
    String::from_utf8(bytes).map_err(|_| mistake(format!("{part} of the path is not UTF-8 text")))
}

/// The byte that two hexadecimal digits stand for.
fn hex_byte(digits: &[u8]) -> Option<u8> {
    let mut byte = 0;
    for digit in digits {
        byte = byte << 4 | char::from(*digit).to_digit(16)? as u8;
    }
    Some(byte)
}

impl IntoResponse for Found {
    fn into_response(self) -> Response {
        let (epoch, mut response) = match self {
            Found::Row(epoch, row) => {
                let kind = [(header::CONTENT_TYPE, OutputFormat::Json.mime_type())];
                (epoch, (kind, format!("{row}\n")).into_response())
            }
            Found::NoRow(epoch, why) => (epoch, failure(StatusCode::NOT_FOUND, &why)),
            Found::NoView(error) => return failure(StatusCode::NOT_FOUND, &error.to_string()),
        };
        response.headers_mut().insert("herald-epoch", HeaderValue::from(epoch));
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_a_view_and_the_values_of_its_key() -> Result<()> {
        let split = |path: &str| split_path(path).map(|(name, values)| (name, values.join("|")));
        let of = |name: &str, values: &str| (name.to_owned(), values.to_owned());
        assert_eq!(split("/v1/views/v/a/b")?, of("v", "a|b"));
        assert_eq!(split("/v1/views/v")?, of("v", ""));
        assert_eq!(split_path("/v1/views/v")?.1.len(), 0);
        assert_eq!(split_path("/v1/views/v/")?.1, [""]);
        assert_eq!(split("/v1/views/v/a%2Fb/%C3%A9%25+%20")?, of("v", "a/b|é%+ "));
        for wrong in
            ["/v1/views/v/%", "/v1/views/v/%2", "/v1/views/v/%zz", "/v1/views/v/%+1", "/v1/views/v/%ff"]
        {
            let code = split_path(wrong).err().map(|error| crate::exit::code(&error));
            assert_eq!(code, Some(2), "{wrong}");
        }
        Ok(())
    }
}
