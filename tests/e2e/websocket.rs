//! Subscribers by WebSocket: the rows that they make are those of the view, through kills; they are cut off
//! and told as others are; and handshakes of foreign pages are refused.

use std::io::{BufReader, Cursor, Read, Write};
use std::net::TcpStream;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::servers;
use crate::subscribe::{
    Answer, Event, Follower, Input, NOTES, PATIENCE, READER, Topology, Wire, followed, request,
};

const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
/// A handshake, with the key of RFC 6455 and the answer to it.
const HANDSHAKE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const ACCEPTED: &str = "sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";

/// A frame of a server.
#[derive(Debug)]
struct Frame {
    kind: u8,
    payload: Vec<u8>,
}

impl Frame {
    /// Reads the next frame; None at the end of the stream.
    fn read(stream: &mut impl Read) -> Option<Frame> {
        let mut head = [0; 2];
        stream.read_exact(&mut head).ok()?;
        assert_eq!(head[0] & 0xf0, 0x80, "a whole message without extensions");
        // A server masks nothing: the first bit of the length is not set.
        let length = match head[1] {
            126 => {
                let mut length = [0; 2];
                stream.read_exact(&mut length).ok()?;
                u64::from(u16::from_be_bytes(length))
            }
            127 => {
                let mut length = [0; 8];
                stream.read_exact(&mut length).ok()?;
                u64::from_be_bytes(length)
            }
            length => u64::from(length),
        };
        assert!(length < 1 << 20, "{length} bytes");
        let mut payload = vec![0; length as usize];
        stream.read_exact(&mut payload).ok()?;
        Some(Frame { kind: head[0] & 0x0f, payload })
    }

    /// The event of a text message.
    fn event(&self) -> Event {
        assert_eq!(self.kind, TEXT, "{self:?}");
        let mut event: Value = serde_json::from_slice(&self.payload).expect("JSON");
        let name = event["event"].as_str().expect("a name").to_owned();
        let id = event.get("id").map(|id| id.as_str().expect("an id").to_owned());
        Event { name, id, data: event["data"].take() }
    }

    /// Code and reason of a close frame.
    fn close(&self) -> (u16, String) {
        assert_eq!(self.kind, CLOSE, "{self:?}");
        let (code, reason) = self.payload.split_at(2);
        (u16::from_be_bytes([code[0], code[1]]), String::from_utf8_lossy(reason).into_owned())
    }
}

/// Sends a short frame with a mask, as clients must.
fn send(mut stream: &TcpStream, kind: u8, payload: &[u8]) {
    const MASK: [u8; 4] = [7, 11, 13, 17];
    assert!(payload.len() < 126);
    let mut frame = vec![0x80 | kind, 0x80 | payload.len() as u8];
    frame.extend(MASK);
    frame.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ MASK[at % 4]));
    stream.write_all(&frame).expect("it is sent");
}

/// Asks for a subscription with some headers; returns the connection and the head of the answer.
fn shake(listen: &str, path: &str, headers: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(listen).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let request = format!("GET /v1/subscribe/{path} HTTP/1.1\r\nHost: {listen}\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).expect("a request");
    let (mut head, mut byte) = (Vec::new(), [0]);
    // No byte more: frames follow.
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).expect("a head");
        head.extend(byte);
    }
    (stream, String::from_utf8_lossy(&head).into_owned())
}

/// The handshake of a page, which has its token among the subprotocols.
fn of_page(listen: &str, token: &str) -> String {
    let token = URL_SAFE_NO_PAD.encode(token);
    format!("{HANDSHAKE}Origin: http://{listen}\r\nSec-WebSocket-Protocol: herald, herald.bearer.{token}\r\n")
}

/// Opens a WebSocket as a page does; asks again when it asked too often.
fn open(listen: &str, path: &str) -> TcpStream {
    let (mut stream, mut head) = shake(listen, path, &of_page(listen, READER));
    while head.contains(" 429 ") {
        std::thread::sleep(std::time::Duration::from_millis(100));
        (stream, head) = shake(listen, path, &of_page(listen, READER));
    }
    assert!(head.starts_with("HTTP/1.1 101 ") && head.contains(ACCEPTED), "{head}");
    assert!(head.contains("sec-websocket-protocol: herald\r\n"), "{head}");
    assert!(head.contains("herald-epoch: "), "{head}");
    stream
}

/// Follows a view by WebSocket; goes on from another follower's last mark, if there is one.
fn follow(listen: &str, path: &str, from: Option<Follower>) -> Follower {
    let path = match from.as_ref().and_then(|from| from.last_id.clone()) {
        Some(id) if path.contains('?') => format!("{path}&from_id={id}"),
        Some(id) => format!("{path}?from_id={id}"),
        None => path.to_owned(),
    };
    let stream = open(listen, &path);
    let wire = Wire(stream.try_clone().expect("another handle"));
    let mut frames = BufReader::new(stream);
    Follower::of(wire, from, move || {
        loop {
            match Frame::read(&mut frames)? {
                Frame { kind: PING, .. } => {}
                Frame { kind: CLOSE, .. } => return None,
                frame => return Some(frame.event()),
            }
        }
    })
}

#[test]
fn a_websocket_has_the_rows_of_the_view_through_kills() {
    let mut input = Input::new();
    input.add_kills(20);
    let listen = servers::free_address();
    let mut topology = Topology::start(input.dir.path(), &listen, &[]);
    topology.committed(input.kills);
    let mut followers = Vec::new();
    for (path, sql) in followed() {
        let mut follower = follow(&listen, &path, None);
        follower.read_until(0);
        assert_eq!(follower.resets, ["the subscription begins"]);
        followers.push((follower, path, sql));
    }
    for _ in 0..2 {
        for _ in 0..4 {
            input.add_kills(7);
            for (follower, _, sql) in &mut followers {
                topology.compare(follower, sql);
            }
        }
        topology.committed(input.kills);
        input.add_kills(50);
        topology.herald.kill();
        topology = Topology::start(input.dir.path(), &listen, &[]);
        let mut again = Vec::new();
        for (follower, path, sql) in followers {
            let mut follower = follow(&listen, &path, Some(follower));
            topology.compare(&mut follower, sql);
            assert!(follower.resets.is_empty(), "{path}: {:?}", follower.resets);
            again.push((follower, path, sql));
        }
        followers = again;
    }
    drop(followers);

    // A ping is answered and a message ignored; a close frame is answered, and is the end.
    let mut stream = open(&listen, "teams");
    send(&stream, TEXT, b"hello");
    send(&stream, PING, b"there?");
    let mut next = Frame::read(&mut stream).expect("a frame");
    while next.kind == TEXT {
        next = Frame::read(&mut stream).expect("a frame");
    }
    assert_eq!((next.kind, next.payload), (PONG, b"there?".to_vec()));
    send(&stream, CLOSE, &[&1000_u16.to_be_bytes()[..], b"enough"].concat());
    let mut next = Frame::read(&mut stream).expect("a frame");
    while next.kind == TEXT {
        next = Frame::read(&mut stream).expect("a frame");
    }
    assert_eq!(next.close(), (1000, "enough".to_owned()));
    assert!(Frame::read(&mut stream).is_none());

    // The end of the topology comes as an event and as a close frame.
    let mut stream = open(&listen, "teams?snapshot=false");
    assert_eq!(Frame::read(&mut stream).expect("a frame").event().name, "progress");
    let ended = topology.herald.terminate(PATIENCE);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let (mut names, mut next) = (Vec::new(), Frame::read(&mut stream).expect("a frame"));
    while next.kind == TEXT {
        names.push(next.event().name);
        next = Frame::read(&mut stream).expect("a frame");
    }
    assert_eq!(names.last().map(String::as_str), Some("end"));
    let (code, reason) = next.close();
    assert!(code == 1001 && reason.starts_with("ending: "), "{code} {reason}");
}

/// Handshakes that are refused: path, headers, status and a part of the message.
fn refused(listen: &str) -> Vec<(&'static str, String, u16, &'static str)> {
    let bearer = format!("Authorization: Bearer {READER}\r\n");
    let with = |headers: &str| format!("{HANDSHAKE}{bearer}{headers}");
    let origin = "a page of another origin";
    let handshake = "the handshake of the WebSocket is not in order";
    vec![
        ("teams", with("Origin: https://evil.example\r\n"), 403, origin),
        ("teams", with("Origin: null\r\n"), 403, origin),
        ("teams", with("Origin: http://127.0.0.1:1\r\n"), 403, origin),
        ("teams", HANDSHAKE.to_owned(), 401, "a token is needed"),
        ("teams", of_page(listen, "guessed-at-random"), 401, "this token is not the one"),
        ("teams", with("").replace("Version: 13", "Version: 12"), 400, handshake),
        ("teams", with("").replace("Sec-WebSocket-Key", "X-Key"), 400, handshake),
        ("tems", with(""), 404, "there is no view tems"),
        ("teams?from_id=x", with(""), 400, "no id of an event progress"),
        ("teams?from=1-2", with(""), 400, "the parameters are snapshot"),
    ]
}

#[test]
fn websockets_are_refused_and_bounded_as_requests_are() {
    let mut input = Input::new();
    input.add_kills(20);
    let listen = servers::free_address();
    let topology = Topology::start(input.dir.path(), &listen, &["--max-subscribers", "2"]);
    topology.committed(input.kills);
    for (path, headers, status, told) in refused(&listen) {
        let (mut stream, head) = shake(&listen, path, &headers);
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{headers}: {head}");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.and_then(|length| length.parse().ok()).expect("a length")];
        stream.read_exact(&mut body).expect("a body");
        let body = String::from_utf8_lossy(&body);
        assert!(body.contains(told), "{headers}: {body}");
        assert_eq!(head.contains("sec-websocket-version: 13\r\n"), !matches!(status, 401 | 403), "{head}");
    }
    let mut text = String::new();
    let old = request(&listen, "/v1/subscribe/teams", (HANDSHAKE, "")).expect("a connection");
    BufReader::new(old).read_to_string(&mut text).expect("an answer");
    assert_eq!(Answer::of(&text).map(|answer| answer.status), Some(426), "HTTP/1.0: {text}");

    // Both ways of a token; each has a place among subscribers and connections.
    let first = open(&listen, "teams");
    let (second, head) = shake(&listen, "golds", &format!("{HANDSHAKE}Authorization: Bearer {READER}\r\n"));
    assert!(head.contains(" 101 ") && !head.contains("sec-websocket-protocol"), "{head}");
    let (_, head) = shake(&listen, "teams", &of_page(&listen, READER));
    assert!(head.contains(" 429 ") && head.contains("retry-after: 1\r\n"), "{head}");
    topology.wait("both are counted", || {
        let metrics = topology.ask("/metrics", "").expect("metrics").body;
        [
            "herald_subscribers_number{kind=\"open\",topology=\"kills\"} 2",
            "herald_http_connections_number{kind=\"open\",topology=\"kills\"} 3",
            "herald_http_requests_refused_total{reason=\"origin\",topology=\"kills\"} 3",
            "herald_http_requests_refused_total{reason=\"subscribers\",topology=\"kills\"} 1",
        ]
        .iter()
        .all(|line| metrics.contains(line))
    });

    // The head of a message that is too long.
    let mut stream = &second;
    stream.write_all(&[0x80 | TEXT, 0x80 | 126, 0x20, 0, 7, 11, 13, 17]).expect("it is sent");
    let mut next = Frame::read(&mut stream).expect("a frame");
    while next.kind == TEXT {
        next = Frame::read(&mut stream).expect("a frame");
    }
    assert_eq!(next.close().0, 1008, "{next:?}");
    drop((first, second));
    topology.wait("they have left", || {
        let metrics = topology.ask("/metrics", "").expect("metrics").body;
        metrics.contains("herald_subscribers_number{kind=\"open\",topology=\"kills\"} 0")
            && metrics.contains("herald_http_connections_number{kind=\"open\",topology=\"kills\"} 1")
    });
}

#[test]
fn a_slow_websocket_is_cut_off_with_a_reason() {
    let mut input = Input::new();
    input.add_kills(1);
    let listen = servers::free_address();
    let topology = Topology::start(input.dir.path(), &listen, &[]);
    topology.committed(input.kills);
    let mut quick = follow(&listen, "teams", None);
    quick.read_until(0);
    let slow = open(&listen, "notes");
    let mut read = Cursor::new(topology.outrun(slow, &mut input, &mut quick));
    let (mut notes, mut open_notes, mut last_id) = (0, 0, None);
    let mut next = Frame::read(&mut read).expect("a frame");
    let mut last = String::new();
    while next.kind != CLOSE {
        if next.kind == TEXT {
            let event = next.event();
            match event.name.as_str() {
                "delta" => open_notes += 1,
                "progress" => {
                    notes += open_notes;
                    (open_notes, last_id) = (0, event.id);
                }
                _ => {}
            }
            last = format!("{} {}", event.name, event.data["reason"]);
        }
        next = Frame::read(&mut read).expect("a frame");
    }
    assert_eq!(last, "end \"slow\"");
    let (code, reason) = next.close();
    assert!(code == 1008 && reason.starts_with("slow: the client has fallen behind"), "{code} {reason}");
    assert!(notes < NOTES, "it was not outrun");
    // It goes on from its last mark, and misses nothing.
    let id = last_id.expect("a mark of progress");
    let mut frames = BufReader::new(open(&listen, &format!("notes?from_id={id}")));
    while notes < NOTES {
        let frame = Frame::read(&mut frames).expect("a frame");
        if frame.kind == TEXT {
            let event = frame.event();
            assert_ne!(event.name, "reset", "{event:?}");
            notes += usize::from(event.name == "delta");
        }
    }
}
