//! Records of the sample.

/// A record of the sample: the bytes of its key and of its value.
#[derive(Clone, Debug, Default)]
pub struct SampleRecord {
    /// The key, if it has one.
    pub key: Option<Vec<u8>>,
    /// The value; None for a null.
    pub value: Option<Vec<u8>>,
    /// The partition, 0 in a file.
    pub partition: i32,
}
