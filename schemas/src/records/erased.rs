//! Digests of erased persons: the only trace that an erasure leaves of an identity.
//!
//! A digest is the HMAC-SHA-256 of the identity's bytes under a salt that the state alone has, so that it can be shown
//! in views and receipts: without the salt nobody finds the identity by trying. Values of records are screened by a
//! hash of 64 bits first, and few of them are ever hashed twice.

use std::collections::HashMap;
use std::fmt;

use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The reason that rejected records of erased persons tell.
pub const ERASED_MESSAGE: &str = "the record names a person who was erased, so that it is not kept";

/// Bytes of a salt.
pub const SALT_BYTES: usize = 32;

/// The digest of an erased identity.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Digest(pub [u8; 32]);

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.to_string()
    }
}

impl TryFrom<String> for Digest {
    type Error = String;

    fn try_from(text: String) -> Result<Digest, String> {
        Digest::parse(&text).ok_or_else(|| format!("{text} is not a digest"))
    }
}

impl Digest {
    /// Parses the text that [`Digest`] displays as; None for another text.
    pub fn parse(text: &str) -> Option<Digest> {
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.is_ascii() {
            return None;
        }
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
        }
        Some(Digest(bytes))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A function from identities to their digests: that of one state.
#[derive(Clone, Debug)]
pub struct Digester {
    key: hmac::Key,
    seed: u64,
}

impl Digester {
    /// Draws a salt from the random numbers of the operating system; None where it gives none.
    pub fn new_salt() -> Option<[u8; SALT_BYTES]> {
        let mut salt = [0; SALT_BYTES];
        SystemRandom::new().fill(&mut salt).ok().map(|()| salt)
    }

    /// Makes the digester of a salt.
    pub fn new(salt: &[u8; SALT_BYTES]) -> Digester {
        let seed = xxh3_64_with_seed(salt, 0x6572_6173_6564);
        Digester { key: hmac::Key::new(hmac::HMAC_SHA256, salt), seed }
    }

    /// Computes the digest of an identity.
    pub fn digest(&self, identity: &[u8]) -> Digest {
        let tag = hmac::sign(&self.key, identity);
        let mut digest = [0; 32];
        digest.copy_from_slice(tag.as_ref());
        Digest(digest)
    }

    /// Computes the short hash by which values are screened.
    pub fn screen(&self, identity: &[u8]) -> u64 {
        xxh3_64_with_seed(identity, self.seed)
    }
}

/// A set of erased identities.
#[derive(Clone, Debug)]
pub struct ErasedSet {
    digester: Digester,
    by_screen: HashMap<u64, Vec<Digest>>,
}

impl ErasedSet {
    /// Makes an empty set.
    pub fn new(digester: Digester) -> ErasedSet {
        ErasedSet { digester, by_screen: HashMap::new() }
    }

    /// Returns true if nobody is in it.
    pub fn is_empty(&self) -> bool {
        self.by_screen.is_empty()
    }

    /// Adds an identity by its digest and its short hash; returns false if it was there.
    pub fn insert(&mut self, digest: Digest, screen: u64) -> bool {
        let held = self.by_screen.entry(screen).or_default();
        let new = !held.contains(&digest);
        if new {
            held.push(digest);
        }
        new
    }

    /// Adds all identities of another set.
    pub fn extend(&mut self, other: &ErasedSet) {
        for (screen, digests) in &other.by_screen {
            for digest in digests {
                self.insert(*digest, *screen);
            }
        }
    }

    /// Empties it.
    pub fn clear(&mut self) {
        self.by_screen.clear();
    }

    /// Finds a value; its digest if it is an erased identity.
    pub fn find(&self, value: &[u8]) -> Option<Digest> {
        let held = self.by_screen.get(&self.digester.screen(value))?;
        let digest = self.digester.digest(value);
        held.contains(&digest).then_some(digest)
    }

    /// The digester of the set.
    pub fn digester(&self) -> &Digester {
        &self.digester
    }
}

/// The forms in which an identity may stand in bytes: as it is, and as JSON escapes it where that is another.
pub fn identity_patterns(identity: &[u8]) -> Vec<Vec<u8>> {
    let mut patterns = vec![identity.to_vec()];
    if let Ok(text) = std::str::from_utf8(identity)
        && let Ok(escaped) = serde_json::to_string(text)
    {
        // Without the quotes around it.
        let inner = escaped.as_bytes()[1..escaped.len() - 1].to_vec();
        let ascii: String = text.chars().map(ascii_escape).collect();
        for other in [inner, ascii.into_bytes()] {
            if !patterns.contains(&other) {
                patterns.push(other);
            }
        }
    }
    patterns
}

/// The form of a character in JSON of ASCII alone.
fn ascii_escape(char: char) -> String {
    if char.is_ascii() && !char.is_ascii_control() && char != '"' && char != '\\' {
        return char.to_string();
    }
    let mut units = [0; 2];
    char.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")).collect()
}

/// Returns true if any of the patterns, none of them empty, stands in some bytes.
pub fn contains_any(bytes: &[u8], patterns: &[Vec<u8>]) -> bool {
    patterns.iter().any(|pattern| contains(bytes, pattern))
}

fn contains(bytes: &[u8], pattern: &[u8]) -> bool {
    let Some((first, rest)) = pattern.split_first() else { return false };
    let mut left = bytes;
    while let Some(at) = left.iter().position(|byte| byte == first) {
        left = &left[at + 1..];
        if left.starts_with(rest) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The digests of a state must be found again by every later release.
    #[test]
    fn digests_are_frozen() {
        let digester = Digester::new(&[7; SALT_BYTES]);
        let digest = digester.digest(b"anna");
        assert_eq!(Digest::parse(&digest.to_string()), Some(digest));
        assert_eq!(digest.to_string(), "c2e2f354df5a0d519a4162c8846111a2a0e962fa2dcc52317fefd3f0740c32e9");
        assert_eq!(digester.screen(b"anna"), 9_304_624_382_906_122_408);
        let mut set = ErasedSet::new(digester.clone());
        assert!(set.insert(digest, digester.screen(b"anna")));
        assert!(!set.insert(digest, digester.screen(b"anna")));
        assert_eq!(set.find(b"anna"), Some(digest));
        assert_eq!(set.find(b"ann"), None);
        let other = Digester::new(&[8; SALT_BYTES]);
        assert_ne!(other.digest(b"anna"), digest);
    }

    #[test]
    fn identities_are_found_in_bytes_however_json_writes_them() {
        let patterns = identity_patterns("zoë\"1".as_bytes());
        let found = |text: &str| contains_any(text.as_bytes(), &patterns);
        assert!(found("{\"p\":\"zoë\\\"1\"}"));
        assert!(found("{\"p\":\"zo\\u00eb\\u00221\"}"));
        assert!(found("zoë\"1"));
        assert!(!found("zoë1"));
        assert!(contains_any(b"aab", &[b"ab".to_vec()]));
        assert!(!contains_any(b"ab", &[Vec::new()]));
        assert_eq!(identity_patterns(b"plain").len(), 1);
    }
}
