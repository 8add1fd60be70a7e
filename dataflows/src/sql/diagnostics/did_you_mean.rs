//! The known word nearest to a misspelled one, for hints.
//!
//! Distance counts insertions, deletions, replacements and swaps of neighbours. A word is offered
//! only when the distance is at most a third of its length (at least one): a far-fetched guess is
//! worse than none. Comparison ignores case.

/// The candidate nearest to `word`, if one is near.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word: Vec<char> = word.to_lowercase().chars().collect();
    candidates
        .into_iter()
        .filter_map(|candidate| {
            let other: Vec<char> = candidate.to_lowercase().chars().collect();
            let limit = (word.len().max(other.len()) / 3).max(1);
            let distance = distance(&word, &other);
            // A word with nothing in common is not near, however short both are.
            (distance <= limit && distance < word.len().max(other.len())).then_some((distance, candidate))
        })
        .min()
        .map(|(_, candidate)| candidate)
}

/// `did you mean X?` for the nearest candidate.
pub fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    nearest(word, candidates).map(|n| format!("did you mean {n}?"))
}

/// Optimal string alignment distance.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
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
