//! Which column a field of a JSON object fills, found without hashing in the usual case.
//!
//! Every key seen gets a slot. A slot remembers which slot came after it last time, and since
//! records of one topic have their keys in the same order, one comparison of bytes mostly answers.
//! Unknown keys are remembered up to a bound, so that objects used as maps cannot eat the memory.

use std::collections::HashMap;

use arrow::datatypes::Fields;

/// How many unknown keys of an object are remembered.
const UNKNOWN_MAX: usize = 1024;
/// The slot before the first key.
pub(super) const START: u32 = 0;

/// The fields of one object type.
#[derive(Debug)]
pub(super) struct Names {
    exact: HashMap<String, u32>,
    /// Lower case names; `None` where two columns share one.
    folded: HashMap<String, Option<u32>>,
    slots: Vec<Slot>,
    index: HashMap<Box<str>, u32>,
    unknown: usize,
    /// What filled each column in the object being read.
    pub(super) filled: Vec<Filled>,
}

#[derive(Debug)]
struct Slot {
    key: Box<str>,
    hit: Hit,
    next: u32,
}

/// What a key leads to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hit {
    /// Column to fill, if any.
    pub(super) field: Option<u32>,
    /// The key is the column's name to the letter.
    pub(super) exact: bool,
    /// To be handed to the next call.
    pub(super) slot: u32,
}

/// What filled a column.
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
        let start = Slot { key: "".into(), hit: Hit { field: None, exact: false, slot: START }, next: START };
        Names {
            exact,
            folded,
            slots: vec![start],
            index: HashMap::new(),
            unknown: 0,
            filled: vec![Filled::No; fields.len()],
        }
    }

    /// What `key` leads to when the key before it had slot `before`.
    #[inline]
    pub(super) fn find(&mut self, before: u32, key: &str) -> Hit {
        let expected = &self.slots[self.slots[before as usize].next as usize];
        if expected.hit.slot != START && *expected.key == *key {
            return expected.hit;
        }
        self.find_slowly(before, key)
    }

    #[cold]
    fn find_slowly(&mut self, before: u32, key: &str) -> Hit {
        if let Some(slot) = self.index.get(key) {
            self.slots[before as usize].next = *slot;
            return self.slots[*slot as usize].hit;
        }
        let exact = self.exact.get(key).copied();
        let field = exact.or_else(|| self.folded.get(&key.to_lowercase()).copied().flatten());
        if field.is_none() {
            if self.unknown == UNKNOWN_MAX {
                return Hit { field: None, exact: false, slot: before };
            }
            self.unknown += 1;
        }
        let slot = self.slots.len() as u32;
        let hit = Hit { field, exact: exact.is_some(), slot };
        self.slots.push(Slot { key: key.into(), hit, next: START });
        self.index.insert(key.into(), slot);
        self.slots[before as usize].next = slot;
        hit
    }

    /// The key of a slot.
    pub(super) fn key(&self, slot: u32) -> &str {
        &self.slots[slot as usize].key
    }

    /// True when some record had this column.
    pub(super) fn was_seen(&self, field: usize) -> bool {
        self.slots.iter().any(|slot| slot.hit.field.is_some_and(|f| f as usize == field))
    }

    /// Keys seen that fill no column.
    pub(super) fn unknown(&self) -> impl Iterator<Item = &str> {
        self.slots.iter().skip(1).filter(|slot| slot.hit.field.is_none()).map(|slot| &*slot.key)
    }
}
