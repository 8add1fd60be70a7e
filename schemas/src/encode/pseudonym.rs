//! Pseudonyms: columns of text that leave as keyed hashes.
//!
//! A pseudonym is HMAC-SHA-256 of a value's bytes by a key, as 64 lower-case hexadecimal digits. The same value has the same
//! pseudonym wherever the key is the same, and without the key none leads back to its value. NULL stays NULL. The key is never
//! shown: states and plans have its fingerprint, by which another key is told.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, StringArray, StringBuilder};
use ring::hmac;

use crate::error::SchemaError;
use crate::row::RowCodec;
use crate::{OutChunk, OutRecord, Rows};

/// Least bytes of a key: those of the hash.
pub const MIN_KEY_BYTES: usize = 32;
/// Text whose pseudonym is a key's fingerprint.
const FINGERPRINTED: &str = "herald: the fingerprint of a key of pseudonyms";
/// Digits of a fingerprint.
const FINGERPRINT_DIGITS: usize = 16;
/// Bytes of a pseudonym.
const PSEUDONYM_BYTES: usize = 64;
/// Key of tests, which need no secret.
const TEST_KEY: &str = "herald test: this key of pseudonyms is no secret";

/// A key of pseudonyms.
#[derive(Clone)]
pub struct PseudonymKey {
    key: hmac::Key,
    length: usize,
}

impl PseudonymKey {
    /// Makes a key of its bytes; a short one works, and is for the caller to refuse.
    pub fn new(bytes: &[u8]) -> PseudonymKey {
        PseudonymKey { key: hmac::Key::new(hmac::HMAC_SHA256, bytes), length: bytes.len() }
    }

    /// The key of tests.
    pub fn of_tests() -> PseudonymKey {
        PseudonymKey::new(TEST_KEY.as_bytes())
    }

    /// Tells whether it has fewer than [`MIN_KEY_BYTES`] bytes.
    pub fn is_short(&self) -> bool {
        self.length < MIN_KEY_BYTES
    }

    /// The pseudonym of a value.
    pub fn pseudonym(&self, value: &str) -> String {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = String::with_capacity(PSEUDONYM_BYTES);
        for byte in hmac::sign(&self.key, value.as_bytes()).as_ref() {
            text.push(char::from(DIGITS[usize::from(byte >> 4)]));
            text.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
        text
    }

    /// A short text that tells this key from others, and does not lead to it.
    pub fn fingerprint(&self) -> String {
        let mut text = self.pseudonym(FINGERPRINTED);
        text.truncate(FINGERPRINT_DIGITS);
        text
    }
}

impl fmt::Debug for PseudonymKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PseudonymKey").field(&self.fingerprint()).finish()
    }
}

/// The columns of a relation that leave as pseudonyms, and their key.
#[derive(Clone, Debug)]
pub struct Pseudonyms {
    /// The key.
    pub key: PseudonymKey,
    /// Positions of the columns, which are VARCHAR.
    pub columns: Vec<usize>,
}

impl Pseudonyms {
    /// The same for a relation of these columns only, in this order.
    pub fn projected(&self, onto: &[usize]) -> Pseudonyms {
        let mut columns = Vec::new();
        for (at, column) in onto.iter().enumerate() {
            if self.columns.contains(column) {
                columns.push(at);
            }
        }
        Pseudonyms { key: self.key.clone(), columns }
    }

    /// Puts pseudonyms in the place of values.
    ///
    /// # Errors
    /// When a column is not VARCHAR.
    pub fn apply(&self, columns: &mut [ArrayRef]) -> Result<(), SchemaError> {
        for at in &self.columns {
            let Some(column) = columns.get_mut(*at) else {
                return Err(SchemaError::Mismatch(format!("there is no column {at} for pseudonyms")));
            };
            let Some(texts) = column.as_any().downcast_ref::<StringArray>() else {
                return Err(SchemaError::UnsupportedType(column.data_type().to_string()));
            };
            let mut out = StringBuilder::with_capacity(texts.len(), texts.len() * PSEUDONYM_BYTES);
            for text in texts {
                out.append_option(text.map(|text| self.key.pseudonym(text)));
            }
            *column = Arc::new(out.finish());
        }
        Ok(())
    }

    /// Packed rows with pseudonyms in the place of values; `codec` is that of the rows.
    ///
    /// # Errors
    /// When the rows do not fit the codec, or a column is not VARCHAR.
    pub fn apply_to_rows(&self, codec: &RowCodec, rows: &Rows) -> Result<Rows, SchemaError> {
        let mut columns = codec.decode(rows.iter())?;
        self.apply(&mut columns)?;
        codec.encode(&columns)
    }

    /// A chunk of packed rows with pseudonyms in the place of values.
    ///
    /// # Errors
    /// As [`Pseudonyms::apply_to_rows`].
    pub fn apply_to_chunk(&self, codec: &RowCodec, chunk: &[u8]) -> Result<Vec<u8>, SchemaError> {
        let mut rows = Rows::new();
        for record in OutChunk::read(chunk)? {
            rows.push(record?.value.unwrap_or_default());
        }
        let mut out = OutChunk::new();
        for row in self.apply_to_rows(codec, &rows)?.iter() {
            out.push(&OutRecord { value: Some(row), ..OutRecord::default() });
        }
        Ok(out.into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::Int64Array;
    use arrow::datatypes::DataType;

    use super::*;

    #[test]
    fn a_pseudonym_is_hmac_sha_256() {
        // RFC 4231, test case 2.
        let key = PseudonymKey::new(b"Jefe");
        let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(key.pseudonym("what do ya want for nothing?"), expected);
        assert!(key.is_short() && !PseudonymKey::of_tests().is_short());
        assert!(!PseudonymKey::new(&[7; MIN_KEY_BYTES]).is_short());
    }

    #[test]
    fn a_key_is_not_shown() {
        let (one, other) = (PseudonymKey::new(b"an open secret"), PseudonymKey::new(b"an open secret!"));
        assert_ne!(one.fingerprint(), other.fingerprint());
        let shown = format!("{:?}", Pseudonyms { key: one.clone(), columns: vec![1] });
        assert!(shown.contains(&one.fingerprint()) && !shown.contains("secret"), "{shown}");
    }

    #[test]
    fn only_named_columns_change_and_nulls_stay() -> Result<(), SchemaError> {
        let key = PseudonymKey::of_tests();
        let pseudonyms = Pseudonyms { key: key.clone(), columns: vec![1] };
        let texts = StringArray::from(vec![Some("a"), None, Some(""), Some("a")]);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(texts.clone()),
            Arc::new(texts.clone()),
            Arc::new(Int64Array::from(vec![1, 2, 3, 4])),
        ];
        let codec = RowCodec::new(&[DataType::Utf8, DataType::Utf8, DataType::Int64])?;
        let hidden = codec.decode(pseudonyms.apply_to_rows(&codec, &codec.encode(&columns)?)?.iter())?;
        let (a, empty) = (key.pseudonym("a"), key.pseudonym(""));
        let expected = StringArray::from(vec![Some(a.as_str()), None, Some(&empty), Some(&a)]);
        assert_eq!(hidden[1].as_ref(), &expected as &dyn Array);
        assert_eq!((hidden[0].as_ref(), &hidden[2]), (&texts as &dyn Array, &columns[2]));
        assert_eq!(pseudonyms.projected(&[2, 1]).columns, [1]);
        assert!(pseudonyms.projected(&[0]).columns.is_empty());
        assert!(
            Pseudonyms { key, columns: vec![2] }.apply_to_rows(&codec, &codec.encode(&columns)?).is_err()
        );
        Ok(())
    }
}
