//! Who may ask what over HTTP: roles by bearer token, and how often.
//!
//! `/healthz` and `/readyz` answer everybody. All other paths want the token to read where there is one, and
//! what changes anything wants the token to administer, always. Without tokens Herald listens on the loopback
//! interface only. Tokens come from `HERALD_READ_TOKEN` and `HERALD_ADMIN_TOKEN`, or from files; they are
//! never on the command line and never in a message.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::failure;
use crate::cli::ServeArgs;
use crate::exit::mistake;

/// Requests a second that are answered in the long run, and at once after a pause.
const RATE: f64 = 50.0;
const BURST: f64 = 200.0;
/// A token shorter than this can be guessed.
const SHORTEST: usize = 16;

/// The tokens, and how many requests are left for now.
pub struct Access {
    read: Option<String>,
    admin: Option<String>,
    left: Mutex<(f64, Instant)>,
}

/// What somebody may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Role {
    Nobody,
    Reader,
    Administrator,
}

impl Access {
    /// The tokens that flags and environment name.
    ///
    /// # Errors
    /// When a file cannot be read, or a token is too short.
    pub fn new(args: &ServeArgs) -> Result<Access> {
        let read = token("HERALD_READ_TOKEN", args.read_token_file.as_deref())?;
        let admin = token("HERALD_ADMIN_TOKEN", args.admin_token_file.as_deref())?;
        Ok(Access { read, admin, left: Mutex::new((BURST, Instant::now())) })
    }

    /// Whether whoever can connect can read.
    pub fn open(&self) -> bool {
        self.read.is_none() && self.admin.is_none()
    }

    fn role(&self, headers: &HeaderMap) -> Role {
        let given =
            headers.get(header::AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
        let is =
            |token: &Option<String>| given.zip(token.as_ref()).is_some_and(|(a, b)| same(a, b.as_bytes()));
        if is(&self.admin) {
            Role::Administrator
        } else if is(&self.read) || self.open() {
            Role::Reader
        } else {
            Role::Nobody
        }
    }

    /// Takes one of the requests that are left.
    fn admits(&self) -> bool {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let refilled = (left.0 + now.duration_since(left.1).as_secs_f64() * RATE).min(BURST);
        let admitted = refilled >= 1.0;
        *left = (refilled - f64::from(u8::from(admitted)), now);
        admitted
    }
}

/// A token from a file, or from the environment.
pub fn token(variable: &str, file: Option<&Path>) -> Result<Option<String>> {
    let text = match file {
        Some(path) => std::fs::read_to_string(path)
            .with_context(|| mistake(format!("the token in {} cannot be read", path.display())))?,
        None => match std::env::var(variable) {
            Ok(text) => text,
            Err(_) => return Ok(None),
        },
    };
    let text = text.trim();
    if text.len() < SHORTEST {
        return Err(mistake(format!("the token of {variable} must have at least {SHORTEST} characters")));
    }
    Ok(Some(text.to_owned()))
}

/// Compares in a time that does not tell where they differ.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

/// Lets a request through, or says why not.
pub async fn check(State(access): State<Arc<Access>>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    if matches!(path, "/healthz" | "/readyz") {
        return next.run(request).await;
    }
    let needed = if path == "/v1/backup" { Role::Administrator } else { Role::Reader };
    let held = access.role(request.headers());
    if held >= needed {
        // Whoever is refused below uses nothing up.
        if access.admits() {
            return next.run(request).await;
        }
        let mut refused = failure(StatusCode::TOO_MANY_REQUESTS, "too many requests: ask again in a second");
        refused.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        return refused;
    }
    if needed == Role::Administrator && access.admin.is_none() {
        let why =
            "nobody may administer this process: start it with HERALD_ADMIN_TOKEN or --admin-token-file";
        return failure(StatusCode::FORBIDDEN, why);
    }
    if held == Role::Reader {
        return failure(StatusCode::FORBIDDEN, "this token may read; the token to administer is needed");
    }
    let why = "a token is needed: send the header Authorization: Bearer TOKEN";
    ([(header::WWW_AUTHENTICATE, "Bearer")], failure(StatusCode::UNAUTHORIZED, why)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(read: Option<&str>, admin: Option<&str>) -> Access {
        let owned = |token: Option<&str>| token.map(str::to_owned);
        Access { read: owned(read), admin: owned(admin), left: Mutex::new((BURST, Instant::now())) }
    }

    fn headers(token: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_static(token))])
    }

    #[test]
    fn roles_follow_from_tokens() {
        let both = access(Some("reader's token.."), Some("admin's token..."));
        assert_eq!(both.role(&headers("Bearer reader's token..")), Role::Reader);
        assert_eq!(both.role(&headers("Bearer admin's token...")), Role::Administrator);
        for wrong in ["Bearer reader's token.", "Bearer ", "Basic reader's token..", "reader's token.."] {
            assert_eq!(both.role(&headers(wrong)), Role::Nobody, "{wrong}");
        }
        assert_eq!(both.role(&HeaderMap::new()), Role::Nobody);
        assert_eq!(access(None, None).role(&HeaderMap::new()), Role::Reader);
        assert_eq!(access(None, Some("admin's token...")).role(&HeaderMap::new()), Role::Nobody);
    }

    #[test]
    fn a_burst_is_answered_and_then_as_many_as_come_back() {
        let access = access(None, None);
        let answered = (0..1000).filter(|_| access.admits()).count();
        assert!((BURST as usize..BURST as usize + 100).contains(&answered), "{answered}");
    }
}
