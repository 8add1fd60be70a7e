//! The lookup of the column that a key of a JSON object fills, in the usual case without hashing.
//!
//! Every key seen gets a slot. A slot stores which slot followed it last time. Records of one topic
//! have their keys in the same order, so one comparison of bytes is mostly enough. Unknown keys are
//! stored up to a bound, so that objects used as maps cannot exhaust the memory.

use std::collections::HashMap;

use arrow::datatypes::Fields;

use super::shape::UnreadTexts;

/// The number of unknown keys that are stored per object type.
const MAX_UNKNOWN_KEYS: usize = 1024;
/// The slot before the first key.
pub(super) const START_SLOT: u32 = 0;

/// The fields of one object type, and the keys seen in its objects.
#[derive(Debug)]
pub(super) struct Names {
    exact: HashMap<String, u32>,
    /// Lower case names; `None` where two columns share one.
    folded: HashMap<String, Option<u32>>,
    slots: Vec<Slot>,
    /// The slot of each key seen.
    index: HashMap<Box<str>, u32>,
    /// The number of slots without a column.
    unknown: usize,
    /// The key that filled each column in the object being read.
    pub(super) filled: Vec<Filled>,
    /// The remembered values of unread keys.
    pub(super) unread: Box<UnreadTexts>,
}

/// A key seen, its result, and the slot that followed it last time.
#[derive(Debug)]
struct Slot {
    key: Box<str>,
    /// Set if the key stands in a text as it is, without escapes.
    is_plain: bool,
    hit: Hit,
    next: u32,
}

/// The result of looking up a key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hit {
    /// The column to fill, if any.
    pub(super) field: Option<u32>,
    /// Set if the key equals the column's name, case included.
    pub(super) exact: bool,
    /// The slot to pass to the next call.
    pub(super) slot: u32,
}

/// The match by which a column was filled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Filled {
    No,
    Exactly,
    /// By a key that differs in case, at this slot.
    Folded(u32),
}

impl Names {
    pub(super) fn new(fields: &Fields) -> Names {
        let mut exact = HashMap::new();
        let mut folded: HashMap<String, Option<u32>> = HashMap::new();
        for (index, field) in (0u32..).zip(fields.iter()) {
            exact.insert(field.name().clone(), index);
            folded.entry(field.name().to_lowercase()).and_modify(|f| *f = None).or_insert(Some(index));
        }
        let start = Slot {
            key: "".into(),
            is_plain: false,
            hit: Hit { field: None, exact: false, slot: START_SLOT },
            next: START_SLOT,
        };
        Names {
            exact,
            folded,
            slots: vec![start],
            index: HashMap::new(),
            unknown: 0,
            filled: vec![Filled::No; fields.len()],
            unread: Box::default(),
        }
    }

    /// Returns the key that followed slot `before` last time; empty where none has, or its text may be another.
    #[inline]
    pub(super) fn guess(&self, before: u32) -> &str {
        let guessed = &self.slots[self.slots[before as usize].next as usize];
        if guessed.is_plain { &guessed.key } else { "" }
    }

    /// Looks up the key that was guessed.
    #[inline]
    pub(super) fn guessed(&self, before: u32) -> Hit {
        self.slots[self.slots[before as usize].next as usize].hit
    }

    /// Looks up a key behind slot `before` that was not guessed, and creates its slot if it is new.
    #[cold]
    pub(super) fn find_key(&mut self, before: u32, key: &str) -> Hit {
        // A known key in a new order: from now on it is expected here.
        if let Some(slot) = self.index.get(key) {
            self.slots[before as usize].next = *slot;
            return self.slots[*slot as usize].hit;
        }
        let exact = self.exact.get(key).copied();
        // Columns that differ only in case match by their exact names alone.
        let field = exact.or_else(|| self.folded.get(&key.to_lowercase()).copied().flatten());
        if field.is_none() {
            // Beyond the bound an unknown key gets no slot: the next key is found from the one before it.
            if self.unknown == MAX_UNKNOWN_KEYS {
                return Hit { field: None, exact: false, slot: before };
            }
            self.unknown += 1;
        }
        let slot = self.slots.len() as u32;
        let hit = Hit { field, exact: exact.is_some(), slot };
        let is_plain = !key.bytes().any(|byte| matches!(byte, b'"' | b'\\' | 0..b' '));
        self.slots.push(Slot { key: key.into(), is_plain, hit, next: START_SLOT });
        self.index.insert(key.into(), slot);
        self.slots[before as usize].next = slot;
        hit
    }

    /// Returns the key of a slot.
    pub(super) fn key_of_slot(&self, slot: u32) -> &str {
        &self.slots[slot as usize].key
    }

    /// True when some record had this column.
    pub(super) fn was_seen(&self, field: usize) -> bool {
        self.slots.iter().any(|slot| slot.hit.field.is_some_and(|f| f as usize == field))
    }

    /// Returns the keys seen that fill no column.
    pub(super) fn unknown_keys(&self) -> impl Iterator<Item = &str> {
        self.slots.iter().skip(1).filter(|slot| slot.hit.field.is_none()).map(|slot| &*slot.key)
    }
}
