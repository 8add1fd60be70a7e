//! Lines about functions, for the reference pages of the documentation.
//!
//! Beside each table of functions stands a table of such lines. A test holds that every function that may be
//! called has one.

/// A line about a function.
#[derive(Clone, Copy, Debug)]
pub(crate) struct About {
    /// Its names with a space between them, the usual one first.
    pub names: &'static str,
    /// Its calls, with types in place of arguments: `nullif(T, T) -> T`. Empty where the function's own
    /// definition tells them.
    pub calls: &'static [&'static str],
    /// Its result, in one sentence.
    pub result: &'static str,
}

/// Lines of one part of the page, and the title of that part.
pub(crate) type Family = (&'static str, &'static [&'static [About]]);

/// Describes a function whose own definition tells its calls.
pub(crate) const fn about(names: &'static str, result: &'static str) -> About {
    About { names, calls: &[], result }
}

/// Describes a function with its calls.
pub(crate) const fn called(
    names: &'static str,
    calls: &'static [&'static str],
    result: &'static str,
) -> About {
    About { names, calls, result }
}
