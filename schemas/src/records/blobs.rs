//! Containers of byte strings: the only ones passed between crates.
//!
//! [`Rows`] holds byte strings that are never null, [`Blobs`] ones that may be. Both consist of one
//! buffer and the end of each item in it, so that a batch of a million items takes two allocations.

use super::memory::{HeapBytes, vector_bytes};

/// Byte strings, none of them null.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Rows {
    // Written as one byte string, not byte by byte.
    #[serde(with = "serde_bytes")]
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Rows {
    /// Creates an empty container.
    pub fn new() -> Rows {
        Rows::default()
    }

    /// Creates an empty container with capacity for `items` of `bytes` bytes together.
    pub fn with_capacity(items: usize, bytes: usize) -> Rows {
        Rows { bytes: Vec::with_capacity(bytes), ends: Vec::with_capacity(items) }
    }

    /// Takes ownership of a filled buffer; `ends` are ascending and the last one is the buffer's length.
    pub(crate) fn from_parts(bytes: Vec<u8>, ends: Vec<usize>) -> Rows {
        assert_eq!(ends.last().copied().unwrap_or(0), bytes.len());
        Rows { bytes, ends }
    }

    /// Appends one item.
    #[inline]
    pub fn push(&mut self, item: &[u8]) {
        self.bytes.extend_from_slice(item);
        self.ends.push(self.bytes.len());
    }

    /// Appends one item made of two parts.
    #[inline]
    pub fn push_joined(&mut self, head: &[u8], tail: &[u8]) {
        self.bytes.extend_from_slice(head);
        self.push(tail);
    }

    /// Complements every byte, which reverses the order of the items.
    pub fn flip(&mut self) {
        self.bytes.iter_mut().for_each(|byte| *byte = !*byte);
    }

    /// Returns the item at `index`, which must be below [`Rows::len`].
    #[inline]
    pub fn get(&self, index: usize) -> &[u8] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.bytes[start..self.ends[index]]
    }

    /// Returns the number of items.
    #[inline]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// True without items.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The items in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> + Clone {
        (0..self.len()).map(|index| self.get(index))
    }

    /// Forgets the items and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    /// Bytes of all items together.
    pub fn bytes_len(&self) -> usize {
        self.bytes.len()
    }
}

impl HeapBytes for Rows {
    fn heap_bytes(&self) -> usize {
        vector_bytes(&self.bytes) + vector_bytes(&self.ends)
    }
}

impl<T: AsRef<[u8]>> FromIterator<T> for Rows {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Rows {
        let mut rows = Rows::new();
        for item in items {
            rows.push(item.as_ref());
        }
        rows
    }
}

/// Byte strings that may be null.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Blobs {
    rows: Rows,
    valid: Vec<bool>,
}

impl Blobs {
    /// Creates an empty container.
    pub fn new() -> Blobs {
        Blobs::default()
    }

    /// Creates an empty container with capacity for `items` of `bytes` bytes together.
    pub fn with_capacity(items: usize, bytes: usize) -> Blobs {
        Blobs { rows: Rows::with_capacity(items, bytes), valid: Vec::with_capacity(items) }
    }

    /// Appends one item.
    #[inline]
    pub fn push(&mut self, item: Option<&[u8]>) {
        self.rows.push(item.unwrap_or_default());
        self.valid.push(item.is_some());
    }

    /// Returns the item at `index`, which must be below [`Blobs::len`].
    #[inline]
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        self.valid[index].then(|| self.rows.get(index))
    }

    /// Returns the number of items.
    #[inline]
    pub fn len(&self) -> usize {
        self.valid.len()
    }

    /// True without items.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.valid.is_empty()
    }

    /// The items in order.
    pub fn iter(&self) -> impl Iterator<Item = Option<&[u8]>> + Clone {
        (0..self.len()).map(|index| self.get(index))
    }

    /// Forgets the items and keeps the memory.
    pub fn clear(&mut self) {
        self.rows.clear();
        self.valid.clear();
    }

    /// Bytes of all items together.
    pub fn bytes_len(&self) -> usize {
        self.rows.bytes_len()
    }
}

impl HeapBytes for Blobs {
    fn heap_bytes(&self) -> usize {
        self.rows.heap_bytes() + vector_bytes(&self.valid)
    }
}

impl From<Rows> for Blobs {
    fn from(rows: Rows) -> Blobs {
        let valid = vec![true; rows.len()];
        Blobs { rows, valid }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_come_back_in_order() {
        let rows: Rows = ["a", "", "ccc"].into_iter().collect();
        assert_eq!(rows.iter().collect::<Vec<_>>(), [&b"a"[..], b"", b"ccc"]);
        assert_eq!((rows.len(), rows.bytes_len()), (3, 4));
        let mut joined = Rows::new();
        joined.push_joined(b"ab", b"c");
        assert_eq!(joined.get(0), b"abc");
    }

    #[test]
    fn null_is_not_empty() {
        let mut blobs = Blobs::new();
        blobs.push(None);
        blobs.push(Some(b""));
        blobs.push(Some(b"x"));
        assert_eq!(blobs.iter().collect::<Vec<_>>(), [None, Some(&b""[..]), Some(&b"x"[..])]);
        blobs.clear();
        assert!(blobs.is_empty());
    }
}
