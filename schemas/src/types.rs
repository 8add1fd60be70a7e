//! Column types and their values: definitions, text forms, and columns.

pub mod canonical;
pub mod columns;
pub mod decimal;
pub mod float;
pub mod jsonb;
pub mod personal;
pub mod relation;
#[cfg(test)]
pub(crate) mod sample;
pub mod span;
pub mod time;
pub mod uuid;
pub mod view;

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// Pieces of well-formed values and letters of several bytes, so that a random text gets far into a reader.
    const PIECES: [&str; 36] = [
        "P", "T", "1", "12", "2026", "-", "+", ".", ":", " ", "Y", "M", "D", "H", "S", "é", "😀", "\u{301}",
        "e", "E", "0x", "day", "ago", "@", ",", "/", "Z", "NaN", "\"", "{", "}", "[", "]", "\\", "null",
        "\0",
    ];

    fn random_text(random: &mut ChaCha8Rng) -> String {
        let length = random.random_range(0..8);
        (0..length).map(|_| PIECES[random.random_range(0..PIECES.len())]).collect()
    }

    /// A reader of text answers or refuses, whatever stands there: a record with it goes to the dead letter.
    #[test]
    fn no_text_makes_a_reader_panic() {
        let mut random = ChaCha8Rng::seed_from_u64(11);
        for _ in 0..200_000 {
            let text = random_text(&mut random);
            let read = std::panic::catch_unwind(|| {
                span::Span::parse(&text);
                span::Span::parse_in(&text, "day");
                span::Span::parse(&format!("P{text}"));
                time::parse_date(&text);
                time::parse_time(&text);
                time::parse_timestamp(&text);
                uuid::parse(&text);
                let _ = jsonb::parse(&text);
                decimal::parse(text.as_bytes(), 3, decimal::Excess::Floor);
            });
            assert!(read.is_ok(), "{text:?}");
        }
    }
}
