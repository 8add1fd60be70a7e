//! The known name nearest to a misspelled one, for hints in messages.
//!
//! Each caller brings its own distance and its own limit: a far-fetched guess is worse than none, and how far
//! is too far depends on the names.

pub use strsim::{levenshtein, osa_distance};

/// The candidate with the least `distance` from `name`, if that is at most the candidate's `limit`; the
/// alphabetically first of several.
///
/// ```
/// use schemas::did_you_mean::{levenshtein, nearest};
/// assert_eq!(nearest("topc", ["path", "topic"], levenshtein, |_| 2), Some("topic"));
/// assert_eq!(nearest("colour", ["path", "topic"], levenshtein, |_| 2), None);
/// ```
pub fn nearest<'a>(
    name: &str,
    candidates: impl IntoIterator<Item = &'a str>,
    distance: impl Fn(&str, &str) -> usize,
    limit: impl Fn(&str) -> usize,
) -> Option<&'a str> {
    let measured = candidates.into_iter().map(|candidate| (distance(name, candidate), candidate));
    let near = measured.filter(|(distance, candidate)| *distance <= limit(candidate));
    near.min().map(|(_, candidate)| candidate)
}
