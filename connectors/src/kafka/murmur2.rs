//! The partition of a key as Java clients choose it: murmur2 of the key bytes, made positive,
//! modulo the partitions.
//!
//! The outbox names partitions explicitly, so that an epoch published again lands in the same
//! partitions; and a consumer that joins our topics with others finds equal keys in equal partitions.

/// The partition of `key` among `partitions`, which must be above zero.
pub fn murmur2_partition(key: &[u8], partitions: i32) -> i32 {
    let positive = murmur2(key) & 0x7fff_ffff;
    (positive % partitions.max(1).unsigned_abs()) as i32
}

/// MurmurHash2 with the seed Kafka's Java client uses.
pub fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    const SEED: u32 = 0x9747_b28c;
    let mut h = SEED ^ data.len() as u32;
    let mut words = data.chunks_exact(4);
    for word in &mut words {
        let mut k = u32::from_le_bytes([word[0], word[1], word[2], word[3]]).wrapping_mul(M);
        k ^= k >> 24;
        h = h.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    let rest = words.remainder();
    for (i, byte) in rest.iter().enumerate() {
        h ^= u32::from(*byte) << (8 * i);
    }
    if !rest.is_empty() {
        h = h.wrapping_mul(M);
    }
    h ^= h >> 13;
    h = h.wrapping_mul(M);
    h ^ (h >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values from the tests of Kafka's own Java client.
    #[test]
    fn hashes_as_java_does() {
        let known: [(&[u8], i32); 6] = [
            (b"21", -973932308),
            (b"foobar", -790332482),
            (b"a-little-bit-long-string", -985981536),
            (b"a-little-bit-longer-string", -1486304829),
            (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
            (b"abc", 479470107),
        ];
        for (key, hash) in known {
            assert_eq!(murmur2(key) as i32, hash, "{}", String::from_utf8_lossy(key));
        }
    }

    #[test]
    fn partitions_are_in_range() {
        assert_eq!(murmur2_partition(b"foobar", 12), ((-790332482i32 & 0x7fff_ffff) % 12));
        assert!((0..1000).all(|i: i32| (0..7).contains(&murmur2_partition(&i.to_be_bytes(), 7))));
    }
}
