//! Reading of Avro's binary encoding from a slice that shrinks.
//!
//! Lengths and counts are checked before use. Items that take no bytes (null, empty records) would
//! let a small message claim a huge array, so a message may have as many items as it has bytes, or
//! 65,536 if that is more.

use crate::decode::batch::Fail;

/// The number of items that a message of any size may have.
const MIN_ITEMS: usize = 65_536;

/// The unread rest of a datum.
pub(super) struct Wire<'a> {
    rest: &'a [u8],
    /// The number of array and map items that the message may still claim.
    items: usize,
}

impl<'a> Wire<'a> {
    pub(super) fn new(datum: &'a [u8]) -> Wire<'a> {
        Wire { rest: datum, items: datum.len().max(MIN_ITEMS) }
    }

    /// Returns the number of bytes not yet read.
    pub(super) fn bytes_left(&self) -> usize {
        self.rest.len()
    }

    #[inline]
    pub(super) fn read_slice(&mut self, len: usize) -> Result<&'a [u8], Fail> {
        let (head, rest) = self.rest.split_at_checked(len).ok_or_else(ends_early)?;
        self.rest = rest;
        Ok(head)
    }

    #[inline]
    pub(super) fn read_array<const N: usize>(&mut self) -> Result<[u8; N], Fail> {
        let (head, rest) = self.rest.split_first_chunk().ok_or_else(ends_early)?;
        self.rest = rest;
        Ok(*head)
    }

    /// Reads an int or long: zigzag, seven bits per byte. Numbers of one byte take the short path.
    #[inline]
    pub(super) fn read_long(&mut self) -> Result<i64, Fail> {
        if let [byte, rest @ ..] = self.rest
            && *byte < 0x80
        {
            self.rest = rest;
            // Zigzag: the lowest bit is the sign.
            return Ok(i64::from(byte >> 1) ^ -i64::from(byte & 1));
        }
        self.read_long_slowly()
    }

    fn read_long_slowly(&mut self) -> Result<i64, Fail> {
        let mut value = 0u64;
        for (index, byte) in self.rest.iter().take(10).enumerate() {
            value |= u64::from(byte & 0x7F) << (7 * index);
            if *byte < 0x80 {
                // The tenth byte has room for one bit only.
                if index == 9 && *byte > 1 {
                    break;
                }
                self.rest = &self.rest[index + 1..];
                return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
            }
        }
        Err(if self.rest.len() < 10 { ends_early() } else { Fail::new("a number is longer than 64 bits") })
    }

    /// Skips ints or longs.
    #[inline]
    pub(super) fn skip_longs(&mut self, count: usize) -> Result<(), Fail> {
        for _ in 0..count {
            self.read_long()?;
        }
        Ok(())
    }

    /// Reads a length and that many bytes.
    #[inline]
    pub(super) fn read_bytes(&mut self) -> Result<&'a [u8], Fail> {
        let len = self.read_long()?;
        self.read_slice(usize::try_from(len).map_err(|_| Fail::new("a length is negative"))?)
    }

    /// Reads a length and that many bytes of UTF-8.
    #[inline]
    pub(super) fn read_text(&mut self) -> Result<&'a str, Fail> {
        std::str::from_utf8(self.read_bytes()?).map_err(|_| Fail::new("a string is not UTF-8"))
    }

    pub(super) fn read_boolean(&mut self) -> Result<bool, Fail> {
        match self.read_array::<1>()? {
            [0] => Ok(false),
            [1] => Ok(true),
            [other] => Err(Fail::new(format!("a boolean is {other}"))),
        }
    }

    /// Reads an index below `count`: of a union's branch or an enum's symbol.
    #[inline]
    pub(super) fn read_index(&mut self, count: usize) -> Result<usize, Fail> {
        let index = self.read_long()?;
        match usize::try_from(index) {
            Ok(place) if place < count => Ok(place),
            _ => Err(Fail::new(format!("choice {index} of {count}"))),
        }
    }

    /// Reads the number of items in the next block of an array or map; 0 ends it.
    #[inline]
    pub(super) fn read_block_len(&mut self) -> Result<usize, Fail> {
        let mut count = self.read_long()?;
        if count < 0 {
            self.read_long()?; // The block's size in bytes, for readers that skip blocks; unused here.
            count = count.checked_neg().ok_or_else(|| Fail::new("a block is too long"))?;
        }
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        // Counted over the whole message, so that nested arrays cannot multiply the claim.
        self.items = self
            .items
            .checked_sub(count)
            .ok_or_else(|| Fail::new("an array claims more items than the message can hold"))?;
        Ok(count)
    }
}

fn ends_early() -> Fail {
    Fail::new("the message ends too early")
}
