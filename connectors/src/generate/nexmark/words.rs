//! Words, fillings and prices as the standard generator draws them.
//!
//! A record is the same for ever on every machine, so prices come from multiplications and square
//! roots, which every processor rounds alike, and not from a power function, which none promises.

use std::sync::LazyLock;

use crate::generate::random::Random;

/// Shortest word.
const SHORTEST: u64 = 3;
/// The 2nd, 4th, 8th ... root of a million, which is the range of prices.
static ROOTS: LazyLock<[f64; 32]> = LazyLock::new(repeated_roots);

/// The root of a million, the root of that, and so on.
fn repeated_roots() -> [f64; 32] {
    let (mut root, mut roots) = (1e6_f64, [0.0; 32]);
    for place in &mut roots {
        root = root.sqrt();
        *place = root;
    }
    roots
}

/// Letters with `gap` between some of them: at least three before gaps are cut off at both ends, and
/// fewer than `limit`.
pub(super) fn random_text(random: &mut Random, limit: u64, gap: char) -> String {
    let length = SHORTEST + random.below(limit.saturating_sub(SHORTEST));
    let mut text = String::with_capacity(length as usize);
    for _ in 0..length {
        text.push(if random.below(13) == 0 { gap } else { random.letter() });
    }
    text.trim().to_owned()
}

/// Letters that fill a record of `size` bytes up to `average` bytes, give or take a fifth of the filling.
pub(super) fn filling(random: &mut Random, size: usize, average: u64) -> String {
    let Some(missing) = average.checked_sub(size as u64) else { return String::new() };
    let spread = missing / 5;
    let length = missing - spread + random.below(2 * spread);
    (0..length).map(|_| random.letter()).collect()
}

/// A price in cents between 1 and a million dollars; each power of ten is as likely as another.
pub(super) fn random_price(random: &mut Random) -> u64 {
    let exponent = random.next_u64();
    let factors = ROOTS.iter().enumerate().filter(|(bit, _)| exponent >> bit & 1 == 1);
    (factors.map(|(_, root)| root).product::<f64>() * 100.0).round() as u64
}

/// One of `words`.
pub(super) fn one_of<'a>(random: &mut Random, words: &[&'a str]) -> &'a str {
    let at = random.below(words.len() as u64) as usize;
    words.get(at).copied().unwrap_or_default()
}
