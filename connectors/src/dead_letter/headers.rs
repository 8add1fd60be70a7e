//! Headers of a rejected record, as far as they are kept.
//!
//! In the dead-letter topic they have their own names, so that a tracing tool finds them. Names that begin with
//! `herald.` are Herald's there: such a header of the record stands behind `herald.header.`, and one whose value
//! is null behind `herald.null.`, since the outbox has no null there.

use std::borrow::Cow;

use schemas::{BatchHeaders, Headers};

/// A borrowed header: name and value.
pub type HeaderRef<'h> = (&'h str, Option<&'h [u8]>);

/// Most bytes of a record's headers that are kept, as [`header_bytes`] counts them.
const MAX_BYTES: usize = 16 << 10;
/// Beginning of the names that are Herald's.
const RESERVED: &str = "herald.";
/// Prefix of a record's header whose name begins like Herald's.
const ESCAPED: &str = "herald.header.";
/// Prefix of a record's header whose value is null.
const NULL: &str = "herald.null.";

/// Bytes of a header: name, value, and 10 for their two lengths.
pub(super) fn header_bytes(name: &str, value: &[u8]) -> usize {
    name.len() + value.len() + 10
}

/// Headers of a record, up to 16 KiB.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeptHeaders {
    /// Names and values in the record's order, without those left out.
    pub list: Headers,
    /// Number of those left out: beyond 16 KiB, or with a name that is not UTF-8.
    pub left_out: u32,
}

impl KeptHeaders {
    /// The headers of one record of a batch. One that does not fit is left out, and later ones that do are kept.
    pub fn of_record(batch: &BatchHeaders, record: usize) -> KeptHeaders {
        let mut kept = KeptHeaders { list: Headers::new(), left_out: batch.unreadable_of(record) as u32 };
        let mut room = MAX_BYTES;
        for (name, value) in batch.of_record(record) {
            let name = String::from_utf8_lossy(name);
            match room.checked_sub(header_bytes(&name, value.unwrap_or_default())) {
                Some(rest) => {
                    room = rest;
                    kept.list.push((name.into_owned(), value.map(<[u8]>::to_vec)));
                }
                None => kept.left_out += 1,
            }
        }
        kept
    }

    /// True for a record without headers.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty() && self.left_out == 0
    }

    /// Number of the record's headers, with those left out.
    pub fn count(&self) -> usize {
        self.list.len() + self.left_out as usize
    }

    /// Bytes of the names and values that are kept.
    pub(crate) fn bytes_len(&self) -> usize {
        self.list.iter().map(|(name, value)| name.len() + value.as_ref().map_or(0, Vec::len)).sum()
    }

    /// The headers of the dead-letter topic that stand for them.
    pub(super) fn to_topic(&self) -> Vec<(Cow<'_, str>, &[u8])> {
        let mut out: Vec<(Cow<'_, str>, &[u8])> = Vec::with_capacity(self.list.len());
        for (name, value) in &self.list {
            out.push(match value {
                None => (Cow::Owned(format!("{NULL}{name}")), &[][..]),
                Some(value) if name.starts_with(RESERVED) => {
                    (Cow::Owned(format!("{ESCAPED}{name}")), &value[..])
                }
                Some(value) => (Cow::Borrowed(name.as_str()), &value[..]),
            });
        }
        out
    }

    /// Those among the headers of a dead letter's record in the topic.
    pub(super) fn from_topic(headers: &[HeaderRef<'_>]) -> KeptHeaders {
        let mut kept = KeptHeaders::default();
        for (name, value) in headers {
            if let Some(name) = name.strip_prefix(NULL) {
                kept.list.push((name.to_owned(), None));
            } else if let Some(name) = name.strip_prefix(ESCAPED) {
                kept.list.push((name.to_owned(), value.map(<[u8]>::to_vec)));
            } else if !name.starts_with(RESERVED) {
                kept.list.push(((*name).to_owned(), value.map(<[u8]>::to_vec)));
            }
        }
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(headers: &[HeaderRef<'_>]) -> Headers {
        headers.iter().map(|(name, value)| ((*name).to_owned(), value.map(<[u8]>::to_vec))).collect()
    }

    #[test]
    fn names_in_the_topic_are_never_heralds_own() {
        let headers: [HeaderRef<'_>; 7] = [
            ("trace", Some(b"1")),
            ("trace", Some(b"\xff")),
            ("", Some(b"")),
            ("nothing", None),
            ("herald.topic", Some(b"another")),
            ("herald.null.x", Some(b"y")),
            ("herald.header.x", None),
        ];
        let kept = KeptHeaders { list: list(&headers), left_out: 0 };
        let written = kept.to_topic();
        let names: Vec<&str> = written.iter().map(|(name, _)| &**name).collect();
        let expected = [
            "trace",
            "trace",
            "",
            "herald.null.nothing",
            "herald.header.herald.topic",
            "herald.header.herald.null.x",
            "herald.null.herald.header.x",
        ];
        assert_eq!(names, expected);
        let own: [HeaderRef<'_>; 2] = [("herald.topic", Some(b"mine")), ("herald.cut", Some(b"key 1"))];
        let mut read = own.to_vec();
        read.extend(written.iter().map(|(name, value)| (&**name, Some(*value))));
        assert_eq!(KeptHeaders::from_topic(&read), kept);
        // An earlier release wrote none.
        assert_eq!(KeptHeaders::from_topic(&own), KeptHeaders::default());
    }

    #[test]
    fn of_long_headers_those_that_fit_are_kept() {
        let long = vec![b'x'; MAX_BYTES];
        let mut batch = BatchHeaders::default();
        batch.push(0, "before", Some(b"1"));
        batch.push(0, "long", Some(&long));
        batch.push(0, "after", None);
        batch.push_unreadable(0);
        batch.push(1, "exact", Some(&long[..MAX_BYTES - "exact".len() - 10]));
        batch.push(1, "", None);
        let first = KeptHeaders::of_record(&batch, 0);
        let fitting: [HeaderRef<'_>; 2] = [("before", Some(b"1")), ("after", None)];
        assert_eq!(first.list, list(&fitting));
        assert_eq!((first.left_out, first.count(), first.bytes_len()), (2, 4, 12));
        let second = KeptHeaders::of_record(&batch, 1);
        assert_eq!((second.list.len(), second.left_out), (1, 1));
        assert!(!second.is_empty() && KeptHeaders::of_record(&batch, 2).is_empty());
    }
}
