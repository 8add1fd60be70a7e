//! Packed rows as keys and values of arrangements, and the diffs they carry.

use differential_dataflow::difference::Semigroup;
use differential_dataflow::trace::implementations::BatchContainer;
use schemas::memory::{HeapBytes, shrink, vector_bytes};

/// Diffs an arrangement can hold.
pub trait Diff:
    Semigroup
    + Ord
    + Clone
    + Default
    + Send
    + HeapBytes
    + serde::Serialize
    + for<'a> serde::Deserialize<'a>
    + 'static
{
}

impl<T> Diff for T where
    T: Semigroup
        + Ord
        + Clone
        + Default
        + Send
        + HeapBytes
        + serde::Serialize
        + for<'a> serde::Deserialize<'a>
        + 'static
{
}

/// Estimates the bytes that diffs have allocated beside their own size, from at most 64 of them.
pub fn diffs_heap_bytes<R: HeapBytes>(diffs: &[R]) -> usize {
    const SAMPLES: usize = 64;
    let step = diffs.len().div_ceil(SAMPLES).max(1);
    let sampled: usize = diffs.iter().step_by(step).map(HeapBytes::heap_bytes).sum();
    sampled * diffs.len() / diffs.len().div_ceil(step).max(1)
}

/// Byte strings in one byte vector, in the order pushed.
pub struct PackedRows {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl PackedRows {
    fn start_of(&self, index: usize) -> usize {
        if index == 0 { 0 } else { self.ends[index - 1] }
    }

    fn push(&mut self, item: &[u8]) {
        self.bytes.extend_from_slice(item);
        self.ends.push(self.bytes.len());
    }

    /// Creates an empty container with capacity for `items` of `bytes` bytes together.
    pub fn with_room(items: usize, bytes: usize) -> PackedRows {
        PackedRows { bytes: Vec::with_capacity(bytes), ends: Vec::with_capacity(items) }
    }

    /// Returns the number of items and of bytes of two containers together.
    pub fn room_of(a: &PackedRows, b: &PackedRows) -> (usize, usize) {
        (a.ends.len() + b.ends.len(), a.bytes.len() + b.bytes.len())
    }

    /// Releases spare capacity.
    pub fn shrink_to_fit(&mut self) {
        shrink(&mut self.bytes);
        shrink(&mut self.ends);
    }

    /// Returns the bytes that items have been written to; the rest of the capacity was never touched.
    pub fn written_bytes(&self) -> usize {
        self.bytes.len() + size_of_val(&self.ends[..])
    }

    /// Appends a range of another container's items.
    pub fn push_range(&mut self, other: &PackedRows, items: std::ops::Range<usize>) {
        if items.is_empty() {
            return;
        }
        let (start, end) = (other.start_of(items.start), other.ends[items.end - 1]);
        // Ends are relative to the whole container and are moved to this one's offsets.
        let shift = self.bytes.len();
        self.bytes.extend_from_slice(&other.bytes[start..end]);
        self.ends.extend(other.ends[items].iter().map(|end| end - start + shift));
    }
}

impl HeapBytes for PackedRows {
    fn heap_bytes(&self) -> usize {
        vector_bytes(&self.bytes) + vector_bytes(&self.ends)
    }
}

impl BatchContainer for PackedRows {
    type Owned = Vec<u8>;
    type ReadItem<'a> = &'a [u8];

    fn into_owned(item: &[u8]) -> Vec<u8> {
        item.to_vec()
    }
    fn clone_onto(item: &[u8], other: &mut Vec<u8>) {
        other.clear();
        other.extend_from_slice(item);
    }
    fn push_ref(&mut self, item: &[u8]) {
        self.push(item);
    }
    fn push_own(&mut self, item: &Vec<u8>) {
        self.push(item);
    }
    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }
    // Assumes 16 bytes for each item.
    fn with_capacity(size: usize) -> Self {
        PackedRows { bytes: Vec::with_capacity(size * 16), ends: Vec::with_capacity(size) }
    }
    fn merge_capacity(a: &Self, b: &Self) -> Self {
        PackedRows {
            bytes: Vec::with_capacity(a.bytes.len() + b.bytes.len()),
            ends: Vec::with_capacity(a.ends.len() + b.ends.len()),
        }
    }
    fn reborrow<'b, 'a: 'b>(item: &'a [u8]) -> &'b [u8] {
        item
    }
    fn index(&self, index: usize) -> &[u8] {
        &self.bytes[self.start_of(index)..self.ends[index]]
    }
    fn len(&self) -> usize {
        self.ends.len()
    }
}
