//! Remembered texts of objects and arrays that nobody reads.
//!
//! The records of a topic are alike: in the place of an object that nobody reads stands, record for record, the same
//! text but for its numbers, strings and words. The pieces of text between those are remembered, and the next object is
//! passed by comparing pieces, with a look at each value between two of them. JSON stays JSON when one value gives
//! way to another, so the grammar is checked as before. A text that differs is read in the usual way.

use super::skip::{skip_blanks, skip_scalar, skip_string};

/// Most bytes of one text.
const MAX_TEXT_BYTES: usize = 64 << 10;
/// Most bytes of the memory of all unread keys of one type of object.
const MAX_BYTES: usize = 256 << 10;
/// Texts in a row that differ before another one is remembered.
const MAX_MISSES: u32 = 4;
/// Texts that must have been like the one remembered for it to count as useful.
const MIN_HITS: u32 = 64;
/// Useless ones in a row before no more are remembered.
const MAX_USELESS: u32 = 4;

/// The remembered texts of one type of object, by the slots of its unread keys.
#[derive(Debug, Default)]
pub(super) struct UnreadTexts {
    by_slot: Vec<TextShape>,
    bytes: usize,
}

impl UnreadTexts {
    /// Passes an object or an array, which begins here, if it is like the remembered one of that slot.
    #[inline]
    pub(super) fn pass(&mut self, slot: u32, bytes: &[u8], start: usize) -> Option<usize> {
        self.by_slot.get_mut(slot as usize)?.pass(bytes, start)
    }

    /// Takes note of an object or an array that was not like the remembered one, and is JSON.
    #[cold]
    pub(super) fn note(&mut self, slot: u32, text: &[u8]) {
        if self.by_slot.len() <= slot as usize {
            self.by_slot.resize_with(slot as usize + 1, TextShape::default);
        }
        let shape = &mut self.by_slot[slot as usize];
        let others = self.bytes - shape.bytes();
        if shape.is_to_change() && text.len() <= MAX_TEXT_BYTES {
            shape.remember(text);
            // One that does not fit is tried a few times, for others may be given up.
            if others + shape.bytes() > MAX_BYTES {
                *shape = TextShape { useless: shape.useless + 1, ..TextShape::default() };
            }
        }
        self.bytes = others + shape.bytes();
    }
}

/// The remembered text of the value of one key.
#[derive(Debug, Default)]
struct TextShape {
    /// The pieces, one behind the other.
    text: Vec<u8>,
    /// Their lengths; behind each piece but the last stands a value.
    lengths: Vec<u32>,
    /// Texts that were like this one, and those in a row that were not.
    hits: u32,
    misses: u32,
    /// Texts in a row that were remembered and then of little use.
    useless: u32,
}

impl TextShape {
    fn bytes(&self) -> usize {
        self.text.capacity() + self.lengths.capacity() * size_of::<u32>()
    }

    /// True if the next text is to be remembered in place of this one.
    fn is_to_change(&self) -> bool {
        self.useless < MAX_USELESS && (self.lengths.is_empty() || self.misses >= MAX_MISSES)
    }

    #[inline]
    fn pass(&mut self, bytes: &[u8], start: usize) -> Option<usize> {
        if self.lengths.is_empty() {
            return None;
        }
        let end = self.compare(bytes, start);
        // One that is like the others ends a row of misses.
        match end {
            Some(_) => (self.hits, self.misses) = (self.hits.saturating_add(1), 0),
            None => self.misses = self.misses.saturating_add(1),
        }
        end
    }

    /// Passes a text that is like this one; None if it is not.
    fn compare(&self, bytes: &[u8], start: usize) -> Option<usize> {
        let (last, inner) = self.lengths.split_last()?;
        let (mut at, mut rest) = (start, self.text.as_slice());
        // Two comparisons for each value: the text before it, and its own form.
        for length in inner {
            let piece;
            (piece, rest) = rest.split_at_checked(*length as usize)?;
            at = skip_scalar(bytes, skip_text(bytes, at, piece)?)?;
        }
        skip_text(bytes, at, rest.get(..*last as usize)?)
    }

    /// Remembers a text, which is JSON, in place of this one.
    fn remember(&mut self, text: &[u8]) {
        let was_useless = !self.lengths.is_empty() && self.hits < MIN_HITS;
        let useless = if was_useless { self.useless + 1 } else { 0 };
        *self = TextShape { useless, ..TextShape::default() };
        if useless == MAX_USELESS {
            return;
        }
        let (mut at, mut from) = (0, 0);
        while at < text.len() {
            let end = match text[at] {
                b'"' => skip_string(text, at),
                b'-' | b'0'..=b'9' | b't' | b'f' | b'n' => skip_scalar(text, at),
                _ => {
                    at += 1;
                    continue;
                }
            };
            let Some(end) = end else { return *self = TextShape { useless, ..TextShape::default() } };
            // A key is a part of its piece.
            if text[at] != b'"' || text.get(skip_blanks(text, end)) != Some(&b':') {
                self.add_piece(&text[from..at]);
                from = end;
            }
            at = end;
        }
        self.add_piece(&text[from..]);
        self.text.shrink_to_fit();
        self.lengths.shrink_to_fit();
    }

    fn add_piece(&mut self, text: &[u8]) {
        self.text.extend_from_slice(text);
        self.lengths.push(text.len() as u32);
    }
}

/// Passes a text that is expected here.
#[inline]
fn skip_text(bytes: &[u8], at: usize, text: &[u8]) -> Option<usize> {
    let end = at + text.len();
    (bytes.get(at..end)? == text).then_some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &[u8] = br#"{"a":1,"b":{"c":"x","d":[true,null,-2.5e3]},"e":[]}"#;

    fn texts() -> UnreadTexts {
        let mut texts = UnreadTexts::default();
        texts.note(3, FIRST);
        texts
    }

    #[test]
    fn a_text_with_other_values_is_passed() {
        let like = br#"[{"a":"long \"text\" \u00e9","b":{"c":0.5,"d":[17,"",false]},"e":[]}]"#;
        assert_eq!(texts().pass(3, like, 1), Some(like.len() - 1));
        assert_eq!(texts().pass(3, FIRST, 0), Some(FIRST.len()));
        assert_eq!(texts().pass(2, FIRST, 0), None);
    }

    #[test]
    fn a_text_that_differs_is_not() {
        for (from, to) in [
            ("\"a\":1", "\"a\":01"),
            ("\"a\":1", "\"a\": 1"),
            ("\"a\":1", "\"a\":1.0.0"),
            ("\"a\":1", "\"a\":{}"),
            ("\"a\":1", "\"z\":1"),
            ("\"x\"", "\"\t\""),
            ("\"x\"", "\"\\x\""),
            ("\"x\"", "\"x"),
            ("true", "truer"),
            ("null", "nul"),
            (",-2.5e3]", "]"),
            ("[]}", "[]"),
        ] {
            let text = std::str::from_utf8(FIRST).unwrap().replacen(from, to, 1);
            assert_eq!(texts().pass(3, text.as_bytes(), 0), None, "{text}");
        }
    }

    #[test]
    fn texts_that_go_on_to_differ_are_remembered_no_more() {
        let mut texts = texts();
        let mut remembered = 0;
        for round in 0..100 {
            let text = format!("[{}1]", "0,".repeat(round));
            let passed = texts.pass(3, text.as_bytes(), 0).is_some();
            assert!(!passed);
            texts.note(3, text.as_bytes());
            remembered += usize::from(texts.pass(3, text.as_bytes(), 0).is_some());
        }
        assert_eq!(remembered, MAX_USELESS as usize - 1);
        assert_eq!(texts.bytes, 0);
    }

    #[test]
    fn what_is_remembered_has_a_bound() {
        let mut texts = UnreadTexts::default();
        let text = format!("[{}1]", "[],".repeat(MAX_TEXT_BYTES / 3 - 2));
        // Lengths of pieces take more room than the text, where values are short.
        let short = format!("[{}1]", "0,".repeat(MAX_TEXT_BYTES / 2 - 2));
        for slot in 0..100 {
            texts.note(slot, if slot % 2 == 0 { &text } else { &short }.as_bytes());
            assert!(texts.bytes <= MAX_BYTES, "{}", texts.bytes);
        }
        assert!(texts.bytes > MAX_BYTES / 2, "{}", texts.bytes);
        let longer = "[".repeat(MAX_TEXT_BYTES) + "]";
        texts.note(101, longer.as_bytes());
        assert_eq!(texts.pass(101, longer.as_bytes(), 0), None);
    }
}
