//! Compiled regular expressions, which find the same match as PostgreSQL.
//!
//! PostgreSQL takes the match that begins first and, of those, the longest; the shortest if the
//! expression's first quantifier is lazy. An automaton finds the first by preference (leftmost-first).
//! Where the two can differ, that automaton gives the beginning, a second one that follows every way to
//! match gives the end, and a third one anchored at that end gives the groups. Each thread caches a few
//! expressions; their size is bounded, and matching takes time linear in the text.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use regex_automata::meta::{self, BuildError};
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input, MatchKind};

use super::escape::invalid_pattern;
use super::options::Options;
use super::translate;

/// Most expressions in the cache of a thread.
const MAX_CACHED: usize = 32;
/// Most bytes of one automaton.
const MAX_AUTOMATON_BYTES: usize = 1 << 20;

/// Start and end of a match in a text, in bytes.
pub(in crate::functions) type MatchSpan = (usize, usize);

/// Compiled regular expression.
pub(in crate::functions) struct Compiled {
    first: meta::Regex,
    /// Automaton that follows all ways to match, and one anchored at the text's end; None where preference
    /// and length cannot differ.
    by_length: Option<(meta::Regex, meta::Regex)>,
    shortest: bool,
}

thread_local! {
    static CACHE: RefCell<HashMap<(String, Options), Rc<Compiled>>> = RefCell::new(HashMap::new());
}

/// Compiles `pattern`, or returns it from the thread's cache.
///
/// # Errors
/// A message for a pattern that is wrong, too large, or not supported.
pub(in crate::functions) fn compiled(pattern: &str, options: Options) -> Result<Rc<Compiled>, String> {
    // `global` does not change how a pattern is compiled.
    let key = (pattern.to_owned(), Options { global: false, ..options });
    CACHE.with_borrow_mut(|cache| {
        if let Some(found) = cache.get(&key) {
            return Ok(Rc::clone(found));
        }
        let made = Rc::new(Compiled::new(pattern, options)?);
        if cache.len() >= MAX_CACHED {
            cache.clear();
        }
        cache.insert(key, Rc::clone(&made));
        Ok(made)
    })
}

fn build_automaton(pattern: &str, options: Options, kind: MatchKind) -> Result<meta::Regex, String> {
    let syntax = syntax::Config::new().case_insensitive(options.ignore_case).nest_limit(250);
    let config = meta::Regex::config()
        .match_kind(kind)
        .nfa_size_limit(Some(MAX_AUTOMATON_BYTES))
        .onepass_size_limit(Some(MAX_AUTOMATON_BYTES))
        .hybrid_cache_capacity(MAX_AUTOMATON_BYTES);
    meta::Regex::builder().syntax(syntax).configure(config).build(pattern).map_err(build_error)
}

fn build_error(error: BuildError) -> String {
    match error.size_limit() {
        Some(_) => invalid_pattern("regular expression is too complex"),
        None => invalid_pattern(&error.to_string().replace('\n', " ")),
    }
}

impl Compiled {
    fn new(pattern: &str, options: Options) -> Result<Compiled, String> {
        let translated = translate::translate(pattern, options)?;
        let options = translated.options;
        let first = build_automaton(&translated.pattern, options, MatchKind::LeftmostFirst)?;
        let by_length = if translated.by_length {
            let all = build_automaton(&translated.pattern, options, MatchKind::All)?;
            let whole = format!("(?:{})\\z", translated.pattern);
            Some((all, build_automaton(&whole, options, MatchKind::LeftmostFirst)?))
        } else {
            None
        };
        Ok(Compiled { first, by_length, shortest: translated.shortest })
    }

    /// Tells whether the expression matches anywhere.
    pub(in crate::functions) fn is_match(&self, text: &str) -> bool {
        self.first.is_match(text)
    }

    /// Number of groups in the expression.
    pub(in crate::functions) fn groups(&self) -> usize {
        self.first.captures_len() - 1
    }

    /// Finds the first match that begins at or after `from`.
    pub(in crate::functions) fn find(&self, text: &str, from: usize) -> Option<MatchSpan> {
        let found = self.first.find(Input::new(text).span(from..text.len()))?;
        let Some((all, _)) = &self.by_length else { return Some((found.start(), found.end())) };
        // The beginning is certain; the end is that of the longest match from there, or the shortest.
        let anchored =
            Input::new(text).span(found.start()..text.len()).anchored(Anchored::Yes).earliest(self.shortest);
        let end = all.search_half(&anchored).map_or(found.end(), |half| half.offset());
        Some((found.start(), end))
    }

    /// Finds the same match with its groups; entry 0 is the whole match.
    pub(in crate::functions) fn captures(&self, text: &str, from: usize) -> Option<Vec<Option<MatchSpan>>> {
        let (start, end) = self.find(text, from)?;
        if let Some((_, whole)) = &self.by_length {
            // The text is cut at the end that was found, so that the groups are those of a match up to it.
            let input = Input::new(&text[..end]).span(start..end).anchored(Anchored::Yes);
            let mut captures = whole.create_captures();
            whole.search_captures(&input, &mut captures);
            if captures.is_match() {
                return Some(group_spans(&captures));
            }
        }
        let mut captures = self.first.create_captures();
        let input = Input::new(text).span(start..text.len()).anchored(Anchored::Yes);
        self.first.search_captures(&input, &mut captures);
        let mut found = group_spans(&captures);
        found[0] = Some((start, end));
        Some(found)
    }

    /// Offset at which the search goes on after a match: its end, or one character further if it is empty;
    /// None at the end of the text.
    pub(in crate::functions) fn next_start(text: &str, found: MatchSpan) -> Option<usize> {
        if found.0 < found.1 {
            Some(found.1)
        } else {
            Some(found.1 + text[found.1..].chars().next()?.len_utf8())
        }
    }
}

fn group_spans(captures: &regex_automata::util::captures::Captures) -> Vec<Option<MatchSpan>> {
    captures.iter().map(|span| Some((span?.start, span?.end))).collect()
}
