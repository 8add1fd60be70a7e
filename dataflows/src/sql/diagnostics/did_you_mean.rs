//! Search for the known word nearest to a misspelled one, for hints.
//!
//! Distance counts insertions, deletions, replacements and swaps of neighbours. A word is offered
//! only if the distance is at most a third of the longer word's length (at least one): a bad guess is
//! worse than none. Comparison ignores case.

use schemas::did_you_mean::osa_distance;

/// Candidate nearest to `word`, if one is near enough.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    schemas::did_you_mean::nearest(word, candidates, distance, |candidate| limit(word, candidate))
}

/// Distance of two words, whatever their case.
fn distance(a: &str, b: &str) -> usize {
    osa_distance(&a.to_lowercase(), &b.to_lowercase())
}

/// Greatest distance at which a candidate is offered for `word`.
fn limit(word: &str, candidate: &str) -> usize {
    let longer = lower_length(word).max(lower_length(candidate));
    // A word with nothing in common is not near, however short both are.
    (longer / 3).max(1).min(longer.saturating_sub(1))
}

/// Number of characters of a word in lower case.
fn lower_length(word: &str) -> usize {
    word.to_lowercase().chars().count()
}

/// Hint `did you mean X?` with the nearest candidate.
pub fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    nearest(word, candidates).map(|n| format!("did you mean {n}?"))
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn near_words_are_offered_and_far_ones_are_not() {
        let words = ["connector", "topic", "retention"];
        assert_eq!(nearest("conector", words), Some("connector"));
        assert_eq!(nearest("TOPCI", words), Some("topic"));
        assert_eq!(nearest("delay", words), None);
        assert_eq!(nearest("", ["ab"]), None);
    }
}
