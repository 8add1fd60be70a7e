//! Numbers that depend on a seed and a position, and on nothing else.
//!
//! Generators must give the same record at the same offset for ever, whatever was read before it
//! and whichever release reads it; random number crates promise no such stability. This is
//! SplitMix64, whose every step is a mix of a counter.

/// A stream of numbers.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The stream of `position` under `seed`.
    pub fn new(seed: u64, position: u64) -> Random {
        Random(mix_bits(seed ^ 0x6865_7261_6c64) ^ mix_bits(position.wrapping_add(0x9e37_79b9_7f4a_7c15)))
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix_bits(self.0)
    }

    /// A number from 0 up to, but not including, `bound`; 0 for a bound of 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        let span = high.wrapping_sub(low).max(0) as u64;
        low.wrapping_add(self.below(span.saturating_add(1)) as i64)
    }

    /// A number from 0 up to, but not including, 1.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A letter from a to z.
    pub fn letter(&mut self) -> char {
        char::from(b'a' + self.below(26) as u8)
    }
}

fn mix_bits(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_never_changes() {
        let mut random = Random::new(1, 2);
        let fixed = [random.next_u64(), random.next_u64()];
        let mut again = Random::new(1, 2);
        assert_eq!(fixed, [again.next_u64(), again.next_u64()]);
        assert_ne!(fixed[0], Random::new(1, 3).next_u64());
        assert_ne!(fixed[0], Random::new(2, 2).next_u64());
    }

    #[test]
    fn numbers_are_in_range() {
        let mut random = Random::new(0, 0);
        for _ in 0..1000 {
            assert!(random.below(7) < 7);
            assert!((-3..=3).contains(&random.between(-3, 3)));
            assert!((0.0..1.0).contains(&random.unit()));
        }
        assert_eq!(random.below(0), 0);
        random.between(i64::MIN, i64::MAX);
    }
}
