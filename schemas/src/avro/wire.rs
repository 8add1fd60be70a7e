//! Avro's binary encoding, read from a slice that shrinks.
//!
//! Lengths and counts are checked before they are believed. Items that take no bytes (null, empty
//! records) could make a small message claim a huge array: a message may have as many items as it
//! has bytes, or 65,536 if that is more.

use crate::decode::Fail;

/// Items a message may have whatever its size.
const ITEMS_MIN: usize = 65_536;

/// The rest of a datum.
pub(super) struct Wire<'a> {
    rest: &'a [u8],
    items: usize,
}

impl<'a> Wire<'a> {
    pub(super) fn new(datum: &'a [u8]) -> Wire<'a> {
        Wire { rest: datum, items: datum.len().max(ITEMS_MIN) }
    }

    /// Bytes not yet read.
    pub(super) fn left(&self) -> usize {
        self.rest.len()
    }

    #[inline]
    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], Fail> {
        let (head, rest) = self.rest.split_at_checked(len).ok_or_else(ends)?;
        self.rest = rest;
        Ok(head)
    }

    #[inline]
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Fail> {
        let (head, rest) = self.rest.split_first_chunk().ok_or_else(ends)?;
        self.rest = rest;
        Ok(*head)
    }

    /// An int or long: zigzag, seven bits a byte.
    #[inline]
    pub(super) fn long(&mut self) -> Result<i64, Fail> {
        if let [byte, rest @ ..] = self.rest
            && *byte < 0x80
        {
            self.rest = rest;
            return Ok(i64::from(byte >> 1) ^ -i64::from(byte & 1));
        }
        self.long_slowly()
    }

    fn long_slowly(&mut self) -> Result<i64, Fail> {
        let mut value = 0u64;
        for (index, byte) in self.rest.iter().take(10).enumerate() {
            value |= u64::from(byte & 0x7F) << (7 * index);
            if *byte < 0x80 {
                if index == 9 && *byte > 1 {
                    break;
                }
                self.rest = &self.rest[index + 1..];
                return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
            }
        }
        Err(if self.rest.len() < 10 { ends() } else { Fail::new("a number is longer than 64 bits") })
    }

    /// Steps over ints or longs without reading them.
    #[inline]
    pub(super) fn skip_longs(&mut self, count: usize) -> Result<(), Fail> {
        (0..count).try_for_each(|_| self.long().map(drop))
    }

    /// A length and that many bytes.
    #[inline]
    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Fail> {
        let len = self.long()?;
        self.take(usize::try_from(len).map_err(|_| Fail::new("a length is negative"))?)
    }

    /// Bytes that are UTF-8.
    #[inline]
    pub(super) fn text(&mut self) -> Result<&'a str, Fail> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Fail::new("a string is not UTF-8"))
    }

    pub(super) fn boolean(&mut self) -> Result<bool, Fail> {
        match self.array::<1>()? {
            [0] => Ok(false),
            [1] => Ok(true),
            [other] => Err(Fail::new(format!("a boolean is {other}"))),
        }
    }

    /// An index below `count`: of a union's branch or an enum's symbol.
    #[inline]
    pub(super) fn index(&mut self, count: usize) -> Result<usize, Fail> {
        let index = self.long()?;
        usize::try_from(index)
            .ok()
            .filter(|index| *index < count)
            .ok_or_else(|| Fail::new(format!("choice {index} of {count}")))
    }

    /// The number of items in the next block of an array or map; 0 ends it.
    #[inline]
    pub(super) fn block(&mut self) -> Result<usize, Fail> {
        let mut count = self.long()?;
        if count < 0 {
            self.long()?; // The block's size in bytes, for readers that want to jump.
            count = count.checked_neg().ok_or_else(|| Fail::new("a block is too long"))?;
        }
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        self.items = self
            .items
            .checked_sub(count)
            .ok_or_else(|| Fail::new("an array claims more items than the message can hold"))?;
        Ok(count)
    }
}

fn ends() -> Fail {
    Fail::new("the message ends too early")
}
