//! Server-Sent Events of a subscription, as text.
//!
//! | event | data | meaning |
//! | --- | --- | --- |
//! | `reset` | epoch, commit_ms, why | a snapshot follows: rows of before are void |
//! | `snapshot` | epoch, commit_ms, diff, row | a row of the snapshot, `diff` times |
//! | `delta` | epoch, commit_ms, diff, row | a row that came (`diff` above 0) or went (below) in an epoch |
//! | `progress` | epoch, commit_ms | all changes up to the epoch were sent; the only event with an id |
//! | `end` | reason, why | the last event |
//!
//! A WebSocket has the same events, each as a JSON object ([`json_events`]).
//!
//! An id is the epoch and, behind a minus, the first eight digits of the state's id: an epoch of another
//! state is none to go on from.

use std::fmt::Write;

use axum::body::Bytes;
use serde_json::json;

pub(super) use crate::query::tables::epoch::Stamp;
use crate::query::tables::shape::progress_id;

/// Bytes after which a frame is full.
const FRAME_BYTES: usize = 128 << 10;
/// A comment, which clients ignore: it tells both ends that the other is there.
const HEARTBEAT: &str = ": heartbeat\n\n";
/// Bytes that an event's JSON has beside its text, or a few less.
const JSON_BYTES: usize = 24;

/// Kind of an event with a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RowKind {
    /// A row of a snapshot.
    Snapshot,
    /// A change.
    Delta,
}

/// A part of a subscription on its way to the client.
#[derive(Debug)]
pub(super) enum Part {
    /// A frame: whole events, as text.
    Events(Bytes),
    /// A sign that the server is there, where there was no event for a while.
    Heartbeat,
    /// The last event.
    End {
        /// The reason in a word.
        reason: &'static str,
        /// The reason in a sentence.
        why: String,
    },
}

impl Part {
    /// The text in a stream of Server-Sent Events.
    pub fn into_text(self) -> Bytes {
        match self {
            Part::Events(frame) => frame,
            Part::Heartbeat => Bytes::from_static(HEARTBEAT.as_bytes()),
            Part::End { reason, why } => Bytes::from(end(reason, &why)),
        }
    }
}

/// Events on their way into frames: parts of the stream that are sent at once.
#[derive(Debug, Default)]
pub(super) struct Frames {
    open: String,
    full: Vec<Bytes>,
}

impl Frames {
    /// Adds an event with a row.
    pub fn push_row(&mut self, kind: RowKind, Stamp { epoch, commit_ms }: Stamp, (diff, row): (i64, &str)) {
        let name = match kind {
            RowKind::Snapshot => "snapshot",
            RowKind::Delta => "delta",
        };
        // Writing to a string does not fail. JSON has no line break outside its texts, and escapes those
        // inside.
        let _ = write!(
            self.open,
            "event: {name}\ndata: {{\"epoch\":{epoch},\"commit_ms\":{commit_ms},\"diff\":{diff},\
             \"row\":{row}}}\n\n"
        );
        if self.open.len() >= FRAME_BYTES {
            self.full.push(Bytes::from(std::mem::take(&mut self.open)));
        }
    }

    /// Adds other events.
    pub fn push_text(&mut self, text: &str) {
        self.open.push_str(text);
    }

    /// Takes the full frames.
    pub fn take_full(&mut self) -> Vec<Bytes> {
        std::mem::take(&mut self.full)
    }

    /// Takes all frames.
    pub fn take_all(&mut self) -> Vec<Bytes> {
        let mut frames = self.take_full();
        if !self.open.is_empty() {
            frames.push(Bytes::from(std::mem::take(&mut self.open)));
        }
        frames
    }
}

/// The event after the changes of an epoch.
pub(super) fn progress(Stamp { epoch, commit_ms }: Stamp, state_id: &str) -> String {
    let id = progress_id(epoch, state_id);
    format!("event: progress\nid: {id}\ndata: {{\"epoch\":{epoch},\"commit_ms\":{commit_ms}}}\n\n")
}

/// The event before a snapshot.
pub(super) fn reset(Stamp { epoch, commit_ms }: Stamp, why: &str) -> String {
    format!("event: reset\ndata: {}\n\n", json!({"epoch": epoch, "commit_ms": commit_ms, "why": why}))
}

/// The last event.
pub(super) fn end(reason: &str, why: &str) -> String {
    format!("event: end\ndata: {}\n\n", json!({"reason": reason, "why": why}))
}

/// The events of a frame, each as a JSON object whose members are the lines of its text. The data of an event
/// is JSON already, and is copied as it is.
pub(super) fn json_events(frame: &str) -> impl Iterator<Item = String> {
    frame.split_terminator("\n\n").map(json_event)
}

fn json_event(event: &str) -> String {
    let mut json = String::with_capacity(event.len() + JSON_BYTES);
    for line in event.lines() {
        let (field, value) = line.split_once(": ").unwrap_or((line, ""));
        json.push_str(if json.is_empty() { "{\"" } else { ",\"" });
        json.push_str(field);
        // Names and ids have no character that JSON escapes.
        let (before, after) = if field == "data" { ("\":", "") } else { ("\":\"", "\"") };
        json.push_str(before);
        json.push_str(value);
        json.push_str(after);
    }
    json.push('}');
    json
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn events_are_framed() {
        let stamp = Stamp { epoch: 7, commit_ms: 1_000 };
        let mut frames = Frames::default();
        frames.push_row(RowKind::Delta, stamp, (-2, r#"{"a":"x\ny","b":null}"#));
        frames.push_text(&progress(stamp, "0123456789abcdef"));
        assert_eq!(frames.take_full().len(), 0);
        let text: Vec<u8> = frames.take_all().concat();
        assert_eq!(
            String::from_utf8_lossy(&text),
            "event: delta\n\
             data: {\"epoch\":7,\"commit_ms\":1000,\"diff\":-2,\"row\":{\"a\":\"x\\ny\",\"b\":null}}\n\n\
             event: progress\nid: 7-01234567\ndata: {\"epoch\":7,\"commit_ms\":1000}\n\n"
        );
        assert!(frames.take_all().is_empty());
        for _ in 0..3 {
            frames.push_row(RowKind::Snapshot, stamp, (1, &"x".repeat(FRAME_BYTES)));
        }
        assert_eq!((frames.take_full().len(), frames.take_all().len()), (3, 0));
        assert_eq!(
            reset(stamp, "a \"why\""),
            "event: reset\ndata: {\"epoch\":7,\"commit_ms\":1000,\"why\":\"a \\\"why\\\"\"}\n\n"
        );
        assert_eq!(end("slow", "w"), "event: end\ndata: {\"reason\":\"slow\",\"why\":\"w\"}\n\n");
    }

    #[test]
    fn events_are_json_objects_as_well() {
        let stamp = Stamp { epoch: 7, commit_ms: 1_000 };
        let mut frames = Frames::default();
        let row = json!({"a": "event: x\n\ndata: \"y\"", "b": null});
        let text = row.to_string();
        frames.push_row(RowKind::Snapshot, stamp, (1, &text));
        frames.push_row(RowKind::Delta, stamp, (-2, &text));
        frames.push_text(&progress(stamp, "0123456789abcdef"));
        frames.push_text(&reset(stamp, "a \"why\"\n  and how"));
        frames.push_text(&end("slow", "w"));
        let frames = frames.take_all().concat();
        let mut found = Vec::new();
        for event in json_events(&String::from_utf8_lossy(&frames)) {
            found.push(serde_json::from_str::<Value>(&event).unwrap_or_default());
        }
        let stamped = |more: Value| {
            let mut data = json!({"epoch": 7, "commit_ms": 1000});
            for (name, value) in more.as_object().into_iter().flatten() {
                data[name] = value.clone();
            }
            data
        };
        assert_eq!(
            found,
            [
                json!({"event": "snapshot", "data": stamped(json!({"diff": 1, "row": row}))}),
                json!({"event": "delta", "data": stamped(json!({"diff": -2, "row": row}))}),
                json!({"event": "progress", "id": "7-01234567", "data": stamped(json!({}))}),
                json!({"event": "reset", "data": stamped(json!({"why": "a \"why\"\n  and how"}))}),
                json!({"event": "end", "data": {"reason": "slow", "why": "w"}}),
            ]
        );
        assert_eq!(json_events("").count(), 0);
    }

    #[test]
    fn parts_are_text_of_a_stream() {
        let end = Part::End { reason: "slow", why: "w".to_owned() };
        for (part, text) in [
            (Part::Events(Bytes::from_static(b"event: x\n\n")), "event: x\n\n"),
            (Part::Heartbeat, ": heartbeat\n\n"),
            (end, "event: end\ndata: {\"reason\":\"slow\",\"why\":\"w\"}\n\n"),
        ] {
            assert_eq!(part.into_text(), text);
        }
    }
}
