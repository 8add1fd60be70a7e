//! Compiled regular expressions: PostgreSQL's match among those that an automaton finds.
//!
//! PostgreSQL takes the match that begins first and, of those, the longest; the shortest if the
//! expression's first quantifier is a lazy one. An automaton finds the first by preference. Where the
//! two can differ, the beginning is taken from it, the end from a second automaton that looks at every
//! way to match, and the groups from a third that has to reach that end. Each thread keeps the last few
//! expressions; their size is bounded, and matching takes time linear in the text.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use regex_automata::meta::{self, BuildError};
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input, MatchKind};

use super::options::Options;
use super::translate::{self, invalid};

/// Expressions kept by each thread.
const KEPT: usize = 32;
/// Bytes of one automaton.
const LARGEST: usize = 1 << 20;

/// A place in a text, in bytes.
pub(in crate::functions) type Place = (usize, usize);

/// One regular expression.
pub(in crate::functions) struct Compiled {
    first: meta::Regex,
    /// All ways to match, and the same up to the text's end.
    by_length: Option<(meta::Regex, meta::Regex)>,
    shortest: bool,
}

thread_local! {
    static CACHE: RefCell<HashMap<(String, Options), Rc<Compiled>>> = RefCell::new(HashMap::new());
}

/// The expression that `pattern` stands for.
///
/// # Errors
/// Words for a pattern that is wrong, too large, or not to be had.
pub(in crate::functions) fn compiled(pattern: &str, options: Options) -> Result<Rc<Compiled>, String> {
    let key = (pattern.to_owned(), Options { global: false, ..options });
    CACHE.with_borrow_mut(|cache| {
        if let Some(found) = cache.get(&key) {
            return Ok(Rc::clone(found));
        }
        let made = Rc::new(Compiled::new(pattern, options)?);
        if cache.len() >= KEPT {
            cache.clear();
        }
        cache.insert(key, Rc::clone(&made));
        Ok(made)
    })
}

fn build(pattern: &str, options: Options, kind: MatchKind) -> Result<meta::Regex, String> {
    let syntax = syntax::Config::new().case_insensitive(options.ignore_case).nest_limit(250);
    let config = meta::Regex::config()
        .match_kind(kind)
        .nfa_size_limit(Some(LARGEST))
        .onepass_size_limit(Some(LARGEST))
        .hybrid_cache_capacity(LARGEST);
    meta::Regex::builder().syntax(syntax).configure(config).build(pattern).map_err(|e| reason(&e))
}

fn reason(error: &BuildError) -> String {
    match error.size_limit() {
        Some(_) => invalid("regular expression is too complex"),
        None => invalid(&error.to_string().replace('\n', " ")),
    }
}

impl Compiled {
    fn new(pattern: &str, options: Options) -> Result<Compiled, String> {
        let translated = translate::translate(pattern, options)?;
        let options = translated.options;
        let first = build(&translated.pattern, options, MatchKind::LeftmostFirst)?;
        let by_length = match translated.by_length {
            false => None,
            true => {
                let all = build(&translated.pattern, options, MatchKind::All)?;
                let whole = format!("(?:{})\\z", translated.pattern);
                Some((all, build(&whole, options, MatchKind::LeftmostFirst)?))
            }
        };
        Ok(Compiled { first, by_length, shortest: translated.shortest })
    }

    /// Tells whether it matches anywhere.
    pub(in crate::functions) fn is_match(&self, text: &str) -> bool {
        self.first.is_match(text)
    }

    /// Groups in the expression.
    pub(in crate::functions) fn groups(&self) -> usize {
        self.first.captures_len() - 1
    }

    /// The match that begins first at or after `from`.
    pub(in crate::functions) fn find(&self, text: &str, from: usize) -> Option<Place> {
        let found = self.first.find(Input::new(text).span(from..text.len()))?;
        let Some((all, _)) = &self.by_length else { return Some((found.start(), found.end())) };
        let anchored =
            Input::new(text).span(found.start()..text.len()).anchored(Anchored::Yes).earliest(self.shortest);
        let end = all.search_half(&anchored).map_or(found.end(), |half| half.offset());
        Some((found.start(), end))
    }

    /// The same with its groups; the first of them is the whole match.
    pub(in crate::functions) fn captures(&self, text: &str, from: usize) -> Option<Vec<Option<Place>>> {
        let (start, end) = self.find(text, from)?;
        if let Some((_, whole)) = &self.by_length {
            let input = Input::new(&text[..end]).span(start..end).anchored(Anchored::Yes);
            let mut captures = whole.create_captures();
            whole.search_captures(&input, &mut captures);
            if captures.is_match() {
                return Some(places(&captures));
            }
        }
        let mut captures = self.first.create_captures();
        let input = Input::new(text).span(start..text.len()).anchored(Anchored::Yes);
        self.first.search_captures(&input, &mut captures);
        let mut found = places(&captures);
        found[0] = Some((start, end));
        Some(found)
    }

    /// Where the search goes on after a match: behind it, or one character on if it is empty.
    pub(in crate::functions) fn after(text: &str, found: Place) -> Option<usize> {
        match found.0 < found.1 {
            true => Some(found.1),
            false => Some(found.1 + text[found.1..].chars().next()?.len_utf8()),
        }
    }
}

fn places(captures: &regex_automata::util::captures::Captures) -> Vec<Option<Place>> {
    captures.iter().map(|span| span.map(|s| (s.start, s.end))).collect()
}
