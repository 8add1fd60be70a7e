//! Binder of a view's options `history` and `history_size`: bounds on the changes that are kept for
//! subscribers.

use super::find_option;
use crate::mistake::Mistake;
use crate::plan::History;
use crate::sql::parse::ast::OptionItem;
use crate::sql::parse::interval::duration_us;

/// Units of a size, with their bytes.
const UNITS: [(&str, u64); 3] = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

/// Binds the history of a view by its options; None where it keeps none.
///
/// # Errors
/// All mistakes in the options.
pub(crate) fn bind_history(with: &[OptionItem]) -> Result<Option<History>, Vec<Mistake>> {
    let (mut history, mut mistakes) = (History::default(), Vec::new());
    if let Some(option) = find_option(with, "history") {
        match duration_us(&option.value) {
            Ok(us) if us >= 0 => history.age_us = us,
            Ok(_) => mistakes.push(refusal(option, "history is negative".to_owned())),
            Err(message) => mistakes.push(refusal(option, format!("history: {message}"))),
        }
    }
    if let Some(option) = find_option(with, "history_size") {
        match parse_size(&option.value) {
            Some(bytes) => history.bytes = bytes,
            None => {
                let message = format!("history_size: '{}' is not a size", option.value);
                mistakes.push(Mistake::new(option.pos, message).hint("write history_size = '256 MiB'"));
            }
        }
    }
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    Ok((history.age_us > 0).then_some(history))
}

fn refusal(option: &OptionItem, message: String) -> Mistake {
    Mistake::new(option.pos, message)
        .hint("write history = '15 minutes', or '0 seconds' to keep no changes of the view")
}

/// Parses a number of bytes with a unit, such as `256 MiB`; None for anything else, and for none at all.
fn parse_size(text: &str) -> Option<u64> {
    for (unit, bytes) in UNITS {
        if let Some(number) = text.trim().strip_suffix(unit) {
            let number: u64 = number.trim().parse().ok()?;
            return number.checked_mul(bytes).filter(|bytes| *bytes > 0);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mistake::Pos;

    /// The history of a view with some options, or the messages of their mistakes.
    fn bound(options: &[(&str, &str)]) -> Result<Option<History>, Vec<String>> {
        let mut with = Vec::new();
        for (name, value) in options {
            let pos = Pos { file: 0, line: 1, column: 1 };
            with.push(OptionItem { name: (*name).to_owned(), value: (*value).to_owned(), pos });
        }
        bind_history(&with).map_err(|found| found.into_iter().map(|mistake| mistake.message).collect())
    }

    #[test]
    fn a_view_keeps_changes_unless_it_is_told_not_to() {
        let usual = History { age_us: 300_000_000, bytes: 64 << 20 };
        assert_eq!(bound(&[]), Ok(Some(usual)));
        assert_eq!(bound(&[("retention", "9 days")]), Ok(Some(usual)));
        let longer = History { age_us: 900_000_000, ..usual };
        assert_eq!(bound(&[("history", "15 minutes")]), Ok(Some(longer)));
        let larger = History { bytes: 2 << 30, ..longer };
        assert_eq!(bound(&[("history", "15 minutes"), ("history_size", "2GiB")]), Ok(Some(larger)));
        for none in ["0 seconds", "0"] {
            assert_eq!(bound(&[("history", none)]), Ok(None));
        }
    }

    #[test]
    fn all_mistakes_are_told() {
        let both = ["history: 'soon' is not a length of time", "history_size: '64' is not a size"];
        let found = bound(&[("history", "soon"), ("history_size", "64")]);
        assert_eq!(found, Err(both.map(str::to_owned).to_vec()));
        assert_eq!(bound(&[("history", "-1 s")]), Err(vec!["history is negative".to_owned()]));
        for size in
            ["0 MiB", "1.5 GiB", "64 MB", "MiB", "99999999999999999999 GiB", "18446744073709551615 GiB"]
        {
            assert_eq!(
                bound(&[("history_size", size)]),
                Err(vec![format!("history_size: '{size}' is not a size")])
            );
        }
    }
}
