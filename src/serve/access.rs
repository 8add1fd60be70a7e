//! Who may ask what over HTTP: roles by bearer token, and how often.
//!
//! `/healthz` and `/readyz` answer everybody, and they and `/metrics` as often as they are asked. All other paths want the token to read where there is one, and
//! what changes anything wants the token to administer, always. Without tokens Herald listens on the loopback
//! interface only, and answers only who calls it by an address or a name of this machine: a page that has its own
//! name lead here (DNS rebinding) is refused. How often is counted by client address. Tokens come from `HERALD_READ_TOKEN` and `HERALD_ADMIN_TOKEN`, or from files; they are
//! never on the command line and never in a message.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::Result;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::connections::Peer;
use super::failure;
use crate::cli::ServeArgs;
use crate::exit::mistake;
use crate::metrics::Serving;

/// Requests a second of one address that are answered in the long run, and at once after a pause.
const RATE: f64 = 50.0;
const BURST: f64 = 200.0;
/// Addresses that are told apart; beyond, they share.
const ADDRESSES: usize = 4096;
/// A token shorter than this can be guessed.
const SHORTEST: usize = 16;

/// The tokens, the names this server goes by, and how many requests each address has left for now.
pub struct Access {
    read: Option<String>,
    admin: Option<String>,
    /// None where any name will do.
    names: Option<Vec<String>>,
    left: Mutex<HashMap<IpAddr, (f64, Instant)>>,
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
        Ok(Access { read, admin, names: None, left: Mutex::default() })
    }

    /// Answers from here on only who calls the server by an address, `localhost`, or this name.
    pub fn called(&mut self, name: &str) {
        let names = ["localhost", name].into_iter().filter(|name| !name.is_empty());
        self.names = Some(names.map(str::to_ascii_lowercase).collect());
    }

    /// Whether a request is for a name this server goes by. One without a name comes from no browser.
    fn knows(&self, headers: &HeaderMap) -> bool {
        let (Some(names), Some(host)) = (&self.names, headers.get(header::HOST)) else { return true };
        let Ok(host) = host.to_str() else { return false };
        let host = host_name(host).trim_end_matches('.').to_ascii_lowercase();
        host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() || names.contains(&host)
    }

    /// Whether whoever can connect can read.
    pub fn open(&self) -> bool {
        self.read.is_none() && self.admin.is_none()
    }

    fn role(&self, headers: &HeaderMap) -> Role {
        let given = headers.get(header::AUTHORIZATION).and_then(|value| {
            let (scheme, token) = value.as_bytes().split_at_checked(b"Bearer ".len())?;
            scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token)
        });
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

    /// Takes one of the requests that an address has left.
    fn admits(&self, address: IpAddr) -> bool {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let refilled =
            |left: &(f64, Instant)| (left.0 + now.duration_since(left.1).as_secs_f64() * RATE).min(BURST);
        let mut key = client(address);
        if left.len() >= ADDRESSES && !left.contains_key(&key) {
            left.retain(|_, left| refilled(left) < BURST);
            if left.len() >= ADDRESSES {
                key = IpAddr::from([0, 0, 0, 0]);
            }
        }
        let of = left.entry(key).or_insert((BURST, now));
        let has = refilled(of);
        let admitted = has >= 1.0;
        *of = (has - f64::from(u8::from(admitted)), now);
        admitted
    }
}

/// A client by its address; of IPv6 a network, as one machine has as many addresses there as it likes.
fn client(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(six) => match six.to_ipv4_mapped() {
            Some(four) => IpAddr::V4(four),
            None => IpAddr::from((u128::from(six) >> 64 << 64).to_be_bytes()),
        },
    }
}

/// The name in a Host header, without the port.
fn host_name(host: &str) -> &str {
    match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    }
}

/// A token from a file, or from the environment.
pub fn token(variable: &str, file: Option<&Path>) -> Result<Option<String>> {
    let text = match file {
        Some(path) => std::fs::read_to_string(path)
            .map_err(|error| mistake(format!("the token in {} cannot be read: {error}", path.display())))?,
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

/// What stands before every handler.
pub struct Gate {
    /// Who may.
    pub access: Access,
    /// What is refused is counted.
    pub metrics: Serving,
}

impl Gate {
    /// Why a request for a path is not let through, if it is not.
    fn refuses(&self, path: &str, headers: &HeaderMap, peer: Peer) -> Option<Response> {
        let health = matches!(path, "/healthz" | "/readyz");
        if health {
            return None;
        }
        if !self.access.knows(headers) {
            self.metrics.refused("host");
            let why =
                "this address is called by a name it does not have: use localhost or the address itself";
            return Some(failure(StatusCode::MISDIRECTED_REQUEST, why));
        }
        let needed = if path == "/v1/backup" { Role::Administrator } else { Role::Reader };
        let held = self.access.role(headers);
        if held < needed {
            return Some(self.unknown(held, needed));
        }
        if path == "/metrics" {
            return None;
        }
        if peer.crowded {
            self.metrics.refused("connections");
            let why = "too many connections are busy: ask again in a second";
            return Some(later(failure(StatusCode::SERVICE_UNAVAILABLE, why)));
        }
        // Whoever is refused above uses nothing up.
        if self.access.admits(peer.address) {
            return None;
        }
        self.metrics.refused("rate");
        Some(later(failure(StatusCode::TOO_MANY_REQUESTS, "too many requests: ask again in a second")))
    }

    fn unknown(&self, held: Role, needed: Role) -> Response {
        if needed == Role::Administrator && self.access.admin.is_none() {
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
}

fn later(mut refused: Response) -> Response {
    refused.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    refused
}

/// Lets a request through, or says why not.
pub async fn check(State(gate): State<Arc<Gate>>, request: Request, next: Next) -> Response {
    let nobody = Peer { address: IpAddr::from([0, 0, 0, 0]), crowded: false };
    let peer = request.extensions().get::<Peer>().copied().unwrap_or(nobody);
    match gate.refuses(request.uri().path(), request.headers(), peer) {
        Some(refused) => refused,
        None => next.run(request).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(read: Option<&str>, admin: Option<&str>) -> Access {
        let owned = |token: Option<&str>| token.map(str::to_owned);
        Access { read: owned(read), admin: owned(admin), names: None, left: Mutex::default() }
    }

    fn headers(token: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_static(token))])
    }

    #[test]
    fn roles_follow_from_tokens() {
        let both = access(Some("reader's token.."), Some("admin's token..."));
        assert_eq!(both.role(&headers("Bearer reader's token..")), Role::Reader);
        assert_eq!(both.role(&headers("Bearer admin's token...")), Role::Administrator);
        assert_eq!(both.role(&headers("bearer admin's token...")), Role::Administrator);
        assert_eq!(both.role(&headers("BEARER reader's token..")), Role::Reader);
        for wrong in
            ["Bearer reader's token.", "Bearer ", "Bearer", "Basic reader's token..", "reader's token.."]
        {
            assert_eq!(both.role(&headers(wrong)), Role::Nobody, "{wrong}");
        }
        assert_eq!(both.role(&HeaderMap::new()), Role::Nobody);
        assert_eq!(access(None, None).role(&HeaderMap::new()), Role::Reader);
        assert_eq!(access(None, Some("admin's token...")).role(&HeaderMap::new()), Role::Nobody);
    }

    #[test]
    fn a_burst_is_answered_and_then_as_many_as_come_back() {
        let access = access(None, None);
        let address = |text: &str| text.parse::<IpAddr>().map(client);
        let answered = |from: IpAddr| (0..1000).filter(|_| access.admits(from)).count();
        let first = answered(IpAddr::from([10, 0, 0, 1]));
        assert!((BURST as usize..BURST as usize + 100).contains(&first), "{first}");
        assert!(access.admits(IpAddr::from([10, 0, 0, 2])), "another address has its own");
        assert_eq!(address("2001:db8::1"), address("2001:db8::2"));
        assert_ne!(address("2001:db8::1"), address("2001:db9::1"));
        assert_eq!(address("::ffff:10.0.0.1"), address("10.0.0.1"));
    }

    #[test]
    fn addresses_are_bounded() {
        let access = access(None, None);
        for n in 0..ADDRESSES as u32 * 2 {
            access.admits(IpAddr::from(n.to_be_bytes()));
        }
        assert!(access.left.lock().is_ok_and(|left| left.len() <= ADDRESSES + 1));
    }

    #[test]
    fn a_name_that_leads_here_is_not_enough() {
        let mut access = access(None, None);
        let host =
            |name: &'static str| HeaderMap::from_iter([(header::HOST, HeaderValue::from_static(name))]);
        assert!(access.knows(&host("evil.example")));
        access.called("my.machine");
        for good in
            ["localhost", "LOCALHOST:7414", "127.0.0.1:7414", "[::1]:80", "my.machine:1", "localhost."]
        {
            assert!(access.knows(&host(good)), "{good}");
        }
        for bad in
            ["evil.example", "evil.example:7414", "localhost.evil.example", "127.0.0.1.evil.example", ""]
        {
            assert!(!access.knows(&host(bad)), "{bad}");
        }
        assert!(access.knows(&HeaderMap::new()));
    }
}
