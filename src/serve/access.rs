//! Access control of the HTTP server: roles by bearer token, and request rates by client address.
//!
//! `/healthz` and `/readyz` need no token; they and `/metrics` have no rate limit. All other paths require
//! the read token if one is set, and paths that change anything always require the admin token. Without
//! tokens Herald listens on the loopback interface only, and answers only requests whose Host is an address
//! or a name of this machine: a web page whose own name resolves to this address (DNS rebinding) is refused.
//! A WebSocket must come from a page of the same host, or from no page: browsers let any page open one.
//! Tokens come from `HERALD_READ_TOKEN` and `HERALD_ADMIN_TOKEN`, or from files; they are never on the
//! command line and never in a message.

use std::borrow::Cow;
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
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use subtle::ConstantTimeEq;

use super::connections::Peer;
use super::failure;
use crate::cli::ServeArgs;
use crate::exit::mistake;
use crate::metrics::Serving;

/// Requests per second that one address may send in the long run.
const REQUESTS_PER_SECOND: f64 = 50.0;
/// Requests that one address may send at once after a pause.
const BURST_REQUESTS: f64 = 200.0;
/// Most addresses with a rate of their own; further ones share one.
const MAX_ADDRESSES: usize = 4096;
/// Fewest characters of a token: a shorter one could be guessed.
const MIN_TOKEN_CHARS: usize = 16;
/// Beginning of a WebSocket's subprotocol that carries a token; the token follows in base64url.
const TOKEN_PROTOCOL: &str = "herald.bearer.";

/// The tokens, the accepted host names, and the requests that each address has left.
pub struct Access {
    read: Option<String>,
    admin: Option<String>,
    /// None if any host name is accepted.
    names: Option<Vec<String>>,
    /// Token buckets: requests left at a time.
    left: Mutex<HashMap<IpAddr, (f64, Instant)>>,
}

/// Permissions of a request, in ascending order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Role {
    Nobody,
    Reader,
    Administrator,
}

impl Access {
    /// Reads the tokens that flags and environment name.
    ///
    /// # Errors
    /// When a file cannot be read, or a token is too short.
    pub fn new(args: &ServeArgs) -> Result<Access> {
        let read = read_token("HERALD_READ_TOKEN", args.read_token_file.as_deref())?;
        let admin = read_token("HERALD_ADMIN_TOKEN", args.admin_token_file.as_deref())?;
        Ok(Access { read, admin, names: None, left: Mutex::default() })
    }

    /// Restricts the Host of requests to addresses, `localhost`, and `name`.
    pub fn require_host(&mut self, name: &str) {
        let names = ["localhost", name].into_iter().filter(|name| !name.is_empty());
        self.names = Some(names.map(str::to_ascii_lowercase).collect());
    }

    /// Tells whether the Host of a request is accepted. A request without one does not come from a browser.
    fn accepts_host(&self, headers: &HeaderMap) -> bool {
        let (Some(names), Some(host)) = (&self.names, headers.get(header::HOST)) else { return true };
        let Ok(host) = host.to_str() else { return false };
        let host = host_name(host).trim_end_matches('.').to_ascii_lowercase();
        host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() || names.contains(&host)
    }

    /// Returns true if no token is needed to read.
    pub fn is_open(&self) -> bool {
        self.read.is_none() && self.admin.is_none()
    }

    /// The role of a request, by its bearer token.
    fn role_of(&self, headers: &HeaderMap) -> Role {
        let given = bearer_token(headers);
        let given = given.as_deref();
        if is_token(given, self.admin.as_deref()) {
            Role::Administrator
        } else if is_token(given, self.read.as_deref()) || self.is_open() {
            Role::Reader
        } else {
            Role::Nobody
        }
    }

    /// Takes one of the requests that an address has left; false if there is none.
    fn take_request(&self, address: IpAddr) -> bool {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let mut key = client_key(address);
        if left.len() >= MAX_ADDRESSES && !left.contains_key(&key) {
            left.retain(|_, left| refilled(left, now) < BURST_REQUESTS);
            if left.len() >= MAX_ADDRESSES {
                // No bucket is full, and so none can be forgotten: further addresses share this one.
                key = IpAddr::from([0, 0, 0, 0]);
            }
        }
        let of = left.entry(key).or_insert((BURST_REQUESTS, now));
        let has = refilled(of, now);
        let admitted = has >= 1.0;
        *of = (has - f64::from(u8::from(admitted)), now);
        admitted
    }
}

/// The requests that an address has left by now.
fn refilled(left: &(f64, Instant), now: Instant) -> f64 {
    (left.0 + now.duration_since(left.1).as_secs_f64() * REQUESTS_PER_SECOND).min(BURST_REQUESTS)
}

/// The bearer token of a request.
fn bearer_token(headers: &HeaderMap) -> Option<Cow<'_, [u8]>> {
    let Some(value) = headers.get(header::AUTHORIZATION) else {
        return if asks_for_websocket(headers) { offered_token(headers).map(Cow::Owned) } else { None };
    };
    let (scheme, token) = value.as_bytes().split_at_checked(b"Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(Cow::Borrowed(token))
}

/// The token among the subprotocols that the client of a WebSocket offers: a page can set no other header.
fn offered_token(headers: &HeaderMap) -> Option<Vec<u8>> {
    for value in headers.get_all(header::SEC_WEBSOCKET_PROTOCOL) {
        for protocol in value.to_str().unwrap_or_default().split(',') {
            if let Some(encoded) = protocol.trim().strip_prefix(TOKEN_PROTOCOL) {
                return URL_SAFE_NO_PAD.decode(encoded).ok();
            }
        }
    }
    None
}

/// Tells whether a request asks to go on as a WebSocket.
pub(super) fn asks_for_websocket(headers: &HeaderMap) -> bool {
    let upgrade = headers.get(header::UPGRADE);
    upgrade.is_some_and(|protocol| protocol.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// Tells whether a request comes from a page of its own Host, or from no page.
fn is_own_origin(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let Some(host) = headers.get(header::HOST) else { return false };
    let (Ok(origin), Ok(host)) = (origin.to_str(), host.to_str()) else { return false };
    let Some((scheme, origin)) = origin.split_once("://") else { return false };
    // Browsers leave the port of the scheme out; a proxy may not.
    let port = if scheme.eq_ignore_ascii_case("https") { ":443" } else { ":80" };
    let bare = |name| str::strip_suffix(name, port).unwrap_or(name);
    bare(origin).eq_ignore_ascii_case(bare(host))
}

/// Tells whether the token of a request is this one.
fn is_token(given: Option<&[u8]>, token: Option<&str>) -> bool {
    match (given, token) {
        (Some(given), Some(token)) => given.ct_eq(token.as_bytes()).into(),
        _ => false,
    }
}

/// The key by which a client's requests are counted: its IPv4 address, or its IPv6 /64 network, because one
/// machine can use any address of such a network.
fn client_key(address: IpAddr) -> IpAddr {
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

/// Reads a token from a file, or from the environment.
pub fn read_token(variable: &str, file: Option<&Path>) -> Result<Option<String>> {
    let text = match file {
        Some(path) => std::fs::read_to_string(path)
            .map_err(|error| mistake(format!("the token in {} cannot be read: {error}", path.display())))?,
        None => match std::env::var(variable) {
            Ok(text) => text,
            Err(_) => return Ok(None),
        },
    };
    let text = text.trim();
    if text.len() < MIN_TOKEN_CHARS {
        return Err(mistake(format!(
            "the token of {variable} must have at least {MIN_TOKEN_CHARS} characters"
        )));
    }
    Ok(Some(text.to_owned()))
}

/// State of the check before every handler.
pub struct Gate {
    /// Tokens, hosts and rates.
    pub access: Access,
    /// Counters of refused requests.
    pub metrics: Serving,
}

impl Gate {
    /// The response to a request that is refused; None if it may pass.
    fn refuse(&self, path: &str, headers: &HeaderMap, peer: Peer) -> Option<Response> {
        let health = matches!(path, "/healthz" | "/readyz");
        if health {
            return None;
        }
        if !self.access.accepts_host(headers) {
            self.metrics.count_refused("host");
            let why =
                "this address is called by a name it does not have: use localhost or the address itself";
            return Some(failure(StatusCode::MISDIRECTED_REQUEST, why));
        }
        if asks_for_websocket(headers) && !is_own_origin(headers) {
            self.metrics.count_refused("origin");
            let why =
                "a page of another origin may open no WebSocket here: serve it under this host and port";
            return Some(failure(StatusCode::FORBIDDEN, why));
        }
        let needed = if path == "/v1/backup" { Role::Administrator } else { Role::Reader };
        let held = self.access.role_of(headers);
        if held < needed {
            let given = headers.contains_key(header::AUTHORIZATION) || bearer_token(headers).is_some();
            return Some(self.refuse_role(held, needed, given));
        }
        if path == "/metrics" {
            return None;
        }
        if peer.crowded {
            self.metrics.count_refused("connections");
            let why = "too many connections are busy: ask again in a second";
            return Some(with_retry_after(failure(StatusCode::SERVICE_UNAVAILABLE, why)));
        }
        // Checked last: a request that is refused above does not use up the rate.
        if self.access.take_request(peer.address) {
            return None;
        }
        self.metrics.count_refused("rate");
        Some(with_retry_after(failure(
            StatusCode::TOO_MANY_REQUESTS,
            "too many requests: ask again in a second",
        )))
    }

    /// The response to a request whose role is too low; `given` is true if it has a token.
    fn refuse_role(&self, held: Role, needed: Role, given: bool) -> Response {
        if needed == Role::Administrator && self.access.admin.is_none() {
            let why =
                "nobody may administer this process: start it with HERALD_ADMIN_TOKEN or --admin-token-file";
            return failure(StatusCode::FORBIDDEN, why);
        }
        if held == Role::Reader {
            return failure(StatusCode::FORBIDDEN, "this token may read; the token to administer is needed");
        }
        let why = if given {
            "this token is not the one of this process: herald's commands send HERALD_READ_TOKEN"
        } else {
            "a token is needed: send the header Authorization: Bearer TOKEN, or set HERALD_READ_TOKEN for herald's commands"
        };
        ([(header::WWW_AUTHENTICATE, "Bearer")], failure(StatusCode::UNAUTHORIZED, why)).into_response()
    }
}

/// Adds a Retry-After header of one second.
fn with_retry_after(mut refused: Response) -> Response {
    refused.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    refused
}

/// Middleware that passes a request on, or refuses it.
pub async fn check_access(State(gate): State<Arc<Gate>>, request: Request, next: Next) -> Response {
    let nobody = Peer { address: IpAddr::from([0, 0, 0, 0]), crowded: false };
    let peer = request.extensions().get::<Peer>().copied().unwrap_or(nobody);
    match gate.refuse(request.uri().path(), request.headers(), peer) {
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
        assert_eq!(both.role_of(&headers("Bearer reader's token..")), Role::Reader);
        assert_eq!(both.role_of(&headers("Bearer admin's token...")), Role::Administrator);
        assert_eq!(both.role_of(&headers("bearer admin's token...")), Role::Administrator);
        assert_eq!(both.role_of(&headers("BEARER reader's token..")), Role::Reader);
        for wrong in
            ["Bearer reader's token.", "Bearer ", "Bearer", "Basic reader's token..", "reader's token.."]
        {
            assert_eq!(both.role_of(&headers(wrong)), Role::Nobody, "{wrong}");
        }
        assert_eq!(both.role_of(&HeaderMap::new()), Role::Nobody);
        assert_eq!(access(None, None).role_of(&HeaderMap::new()), Role::Reader);
        assert_eq!(access(None, Some("admin's token...")).role_of(&HeaderMap::new()), Role::Nobody);
    }

    fn of_websocket(more: &[(header::HeaderName, &'static str)]) -> HeaderMap {
        let fixed = [(header::UPGRADE, "WebSocket"), (header::HOST, "my.machine:7414")];
        let all = fixed.iter().chain(more);
        all.map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn a_websocket_may_bring_its_token_as_a_subprotocol() {
        let access = access(Some("reader's token.."), None);
        let offered = |protocols| of_websocket(&[(header::SEC_WEBSOCKET_PROTOCOL, protocols)]);
        let good = "herald, herald.bearer.cmVhZGVyJ3MgdG9rZW4uLg";
        assert_eq!(access.role_of(&offered(good)), Role::Reader);
        for wrong in [
            "herald",
            "herald.bearer.cmVhZGVyJ3MgdG9rZW4uLi4",
            "herald.bearer.reader's token..",
            "herald.bearer.",
        ] {
            assert_eq!(access.role_of(&offered(wrong)), Role::Nobody, "{wrong}");
        }
        let mut both = offered(good);
        both.insert(header::AUTHORIZATION, HeaderValue::from_static("Bearer another"));
        assert_eq!(access.role_of(&both), Role::Nobody, "the header of all requests goes before");
        let mut plain = offered(good);
        plain.remove(header::UPGRADE);
        assert_eq!(access.role_of(&plain), Role::Nobody, "other requests have that header");
    }

    #[test]
    fn a_websocket_of_another_origin_is_refused() -> Result<()> {
        let metrics = crate::metrics::Metrics::new("t")?.serving().clone();
        let gate = Gate { access: access(None, None), metrics };
        let peer = Peer { address: IpAddr::from([10, 0, 0, 1]), crowded: false };
        let status = |headers: &HeaderMap| {
            gate.refuse("/v1/subscribe/v", headers, peer).map(|refused| refused.status())
        };
        assert_eq!(status(&of_websocket(&[])), None, "no page, no origin");
        for own in ["http://my.machine:7414", "https://MY.machine:7414"] {
            assert_eq!(status(&of_websocket(&[(header::ORIGIN, own)])), None, "{own}");
        }
        for foreign in [
            "https://evil.example",
            "http://my.machine",
            "http://my.machine:7415",
            "http://my.machine:7414.evil.example",
            "null",
            "",
        ] {
            let mut headers = of_websocket(&[(header::ORIGIN, foreign)]);
            assert_eq!(status(&headers), Some(StatusCode::FORBIDDEN), "{foreign}");
            headers.remove(header::UPGRADE);
            assert_eq!(status(&headers), None, "browsers keep other answers from foreign pages themselves");
        }
        let mut proxied = of_websocket(&[(header::ORIGIN, "https://my.machine")]);
        proxied.insert(header::HOST, HeaderValue::from_static("my.machine:443"));
        assert_eq!(status(&proxied), None);
        proxied.remove(header::HOST);
        assert_eq!(status(&proxied), Some(StatusCode::FORBIDDEN));
        Ok(())
    }

    #[test]
    fn a_burst_is_answered_and_then_as_many_as_come_back() {
        let access = access(None, None);
        let address = |text: &str| text.parse::<IpAddr>().map(client_key);
        let answered = |from: IpAddr| (0..1000).filter(|_| access.take_request(from)).count();
        let first = answered(IpAddr::from([10, 0, 0, 1]));
        assert!((BURST_REQUESTS as usize..BURST_REQUESTS as usize + 100).contains(&first), "{first}");
        assert!(access.take_request(IpAddr::from([10, 0, 0, 2])), "another address has its own");
        assert_eq!(address("2001:db8::1"), address("2001:db8::2"));
        assert_ne!(address("2001:db8::1"), address("2001:db9::1"));
        assert_eq!(address("::ffff:10.0.0.1"), address("10.0.0.1"));
    }

    #[test]
    fn addresses_are_bounded() {
        let access = access(None, None);
        for n in 0..MAX_ADDRESSES as u32 * 2 {
            access.take_request(IpAddr::from(n.to_be_bytes()));
        }
        assert!(access.left.lock().is_ok_and(|left| left.len() <= MAX_ADDRESSES + 1));
    }

    #[test]
    fn a_name_that_leads_here_is_not_enough() {
        let mut access = access(None, None);
        let host =
            |name: &'static str| HeaderMap::from_iter([(header::HOST, HeaderValue::from_static(name))]);
        assert!(access.accepts_host(&host("evil.example")));
        access.require_host("my.machine");
        for good in
            ["localhost", "LOCALHOST:7414", "127.0.0.1:7414", "[::1]:80", "my.machine:1", "localhost."]
        {
            assert!(access.accepts_host(&host(good)), "{good}");
        }
        for bad in
            ["evil.example", "evil.example:7414", "localhost.evil.example", "127.0.0.1.evil.example", ""]
        {
            assert!(!access.accepts_host(&host(bad)), "{bad}");
        }
        assert!(access.accepts_host(&HeaderMap::new()));
    }
}
