//! Places at which a statement may be broken into lines: clauses, items of lists, joins, conditions, branches of CASE.
//!
//! They are told by words, without a parser. A place that is told wrongly costs a line break and nothing else.

use super::tokens::Token;

/// Words before which a line may begin; white space stands before each.
pub const LINE_WORDS: [&str; 38] = [
    "AND",
    "ANTI",
    "ASOF",
    "CROSS",
    "ELSE",
    "EMIT",
    "END",
    "EXCEPT",
    "FETCH",
    "FORMAT",
    "FROM",
    "FULL",
    "GROUP",
    "GROUPS",
    "HAVING",
    "INCLUDE",
    "INNER",
    "INTERSECT",
    "JOIN",
    "LEFT",
    "LIMIT",
    "NATURAL",
    "OFFSET",
    "OR",
    "ORDER",
    "PARTITION",
    "QUALIFY",
    "RANGE",
    "RIGHT",
    "ROWS",
    "SELECT",
    "SEMI",
    "THEN",
    "UNION",
    "WHEN",
    "WHERE",
    "WINDOW",
    "WITH",
];
/// Words of joins.
const JOIN_WORDS: [&str; 11] =
    ["ANTI", "ASOF", "CROSS", "FULL", "INNER", "JOIN", "LEFT", "NATURAL", "OUTER", "RIGHT", "SEMI"];

/// A part of a text: the place of its first token, and the place behind its last one.
pub type Part = (usize, usize);

/// The word at a place; empty if there is none.
pub fn word_at<'t>(tokens: &'t [Token<'_>], at: usize) -> &'t str {
    match tokens.get(at) {
        Some(token) => token.word.as_str(),
        None => "",
    }
}

/// The text at a place, without comments.
pub fn text_at<'t>(tokens: &[Token<'t>], at: usize) -> &'t str {
    match tokens.get(at) {
        Some(token) => token.core,
        None => "",
    }
}

/// The word so many tokens before a place.
fn word_before<'t>(tokens: &'t [Token<'_>], at: usize, back: usize) -> &'t str {
    if back <= at { word_at(tokens, at - back) } else { "" }
}

/// The text before a place.
fn text_before<'t>(tokens: &[Token<'t>], at: usize) -> &'t str {
    if at > 0 { text_at(tokens, at - 1) } else { "" }
}

/// The place behind a token, or behind all that it opens.
pub fn skip(tokens: &[Token<'_>], at: usize) -> usize {
    match tokens[at].partner {
        Some(end) if end > at => end + 1,
        _ => at + 1,
    }
}

/// Tells whether a query begins here, in parentheses or not.
pub fn starts_query(tokens: &[Token<'_>], mut at: usize) -> bool {
    while text_at(tokens, at) == "(" {
        at += 1;
    }
    matches!(word_at(tokens, at), "SELECT" | "WITH" | "VALUES")
}

/// Tells whether a clause of a source or sink begins here: WITH (...), FORMAT or INCLUDE.
pub fn starts_options(tokens: &[Token<'_>], at: usize) -> bool {
    let next = word_at(tokens, at + 1);
    match word_at(tokens, at) {
        "WITH" => text_at(tokens, at + 1) == "(",
        "FORMAT" => matches!(next, "PLAIN" | "UPSERT" | "DEBEZIUM"),
        "INCLUDE" => !next.is_empty(),
        _ => false,
    }
}

/// Tells whether a clause of a query, or of what stands behind OVER, begins here.
pub fn starts_clause(tokens: &[Token<'_>], at: usize) -> bool {
    let (before, next) = (text_before(tokens, at), word_at(tokens, at + 1));
    if before == "." {
        return false;
    }
    match word_at(tokens, at) {
        "SELECT" | "WHERE" | "HAVING" | "QUALIFY" | "LIMIT" | "UNION" | "INTERSECT" => true,
        // Not that of IS DISTINCT FROM.
        "FROM" => {
            word_before(tokens, at, 1) != "DISTINCT" || !matches!(word_before(tokens, at, 2), "IS" | "NOT")
        }
        "GROUP" | "ORDER" | "PARTITION" => next == "BY",
        // Not that of SELECT * EXCEPT (column).
        "EXCEPT" => before != "*",
        // Not that of EMIT ON WINDOW CLOSE.
        "WINDOW" => word_before(tokens, at, 1) != "ON" && word_at(tokens, at + 2) == "AS",
        "FETCH" => matches!(next, "FIRST" | "NEXT"),
        "OFFSET" => starts_number(tokens, at + 1),
        "EMIT" => next == "ON",
        "ROWS" | "RANGE" | "GROUPS" => {
            matches!(next, "BETWEEN" | "UNBOUNDED" | "CURRENT") || starts_number(tokens, at + 1)
        }
        _ => false,
    }
}

fn starts_number(tokens: &[Token<'_>], at: usize) -> bool {
    text_at(tokens, at).starts_with(char::is_numeric)
}

/// The places at which the clauses of a query begin, `begin` first, and the place behind the last one. In a
/// statement the clauses of a source or sink end it.
pub fn query_clauses(tokens: &[Token<'_>], (begin, end): Part, in_statement: bool) -> (Vec<usize>, usize) {
    let (mut starts, mut at) = (vec![begin], begin);
    while at < end && !(in_statement && starts_options(tokens, at)) {
        if starts_clause(tokens, at) {
            if starts.last() != Some(&at) {
                starts.push(at);
            }
            if matches!(word_at(tokens, at), "UNION" | "INTERSECT" | "EXCEPT") {
                at += usize::from(matches!(word_at(tokens, at + 1), "ALL" | "DISTINCT"));
                if at + 1 < end {
                    starts.push(at + 1);
                }
            }
        }
        at = skip(tokens, at);
    }
    (starts, at)
}

/// The places at which the clauses of a statement begin, and the levels of their indentation.
pub fn statement_clauses(tokens: &[Token<'_>], (begin, end): Part) -> Vec<(usize, usize)> {
    if starts_query(tokens, begin) {
        return with_level(query_clauses(tokens, (begin, end), false).0, 0);
    }
    let mut clauses = vec![(begin, 0)];
    if word_at(tokens, begin) == "INSERT" {
        let query = (begin + 1..end).find(|at| starts_query(tokens, *at));
        if let Some(query) = query {
            clauses.extend(with_level(query_clauses(tokens, (query, end), false).0, 1));
        }
        return clauses;
    }
    if word_at(tokens, begin) != "CREATE" {
        return clauses;
    }
    let view = word_at(tokens, begin + 1) == "VIEW" || word_at(tokens, begin + 2) == "VIEW";
    let (mut at, mut has_query) = (begin + 1, false);
    while at < end {
        if !has_query && word_at(tokens, at) == "AS" && starts_query(tokens, at + 1) {
            let (starts, behind) = query_clauses(tokens, (at + 1, end), true);
            clauses.extend(with_level(starts, 1));
            (at, has_query) = (behind, true);
            continue;
        }
        // The options of a view stand before AS, on its line.
        if starts_options(tokens, at) && (has_query || !view) {
            clauses.push((at, 0));
        }
        at = skip(tokens, at);
    }
    clauses
}

fn with_level(starts: Vec<usize>, level: usize) -> Vec<(usize, usize)> {
    let mut clauses = Vec::with_capacity(starts.len());
    for start in starts {
        clauses.push((start, level));
    }
    clauses
}

/// The place behind the words with which a clause begins.
pub fn phrase_end(tokens: &[Token<'_>], at: usize) -> usize {
    let next = word_at(tokens, at + 1);
    match word_at(tokens, at) {
        "SELECT" if next == "ALL" => at + 2,
        "SELECT" if next == "DISTINCT" => {
            let on = word_at(tokens, at + 2) == "ON" && text_at(tokens, at + 3) == "(";
            if on { skip(tokens, at + 3) } else { at + 2 }
        }
        "GROUP" | "ORDER" | "PARTITION" => at + 2,
        "WITH" if next == "RECURSIVE" => at + 2,
        _ => at + 1,
    }
}

/// The items of a list, each with its comma; with `joins` each join is one too.
pub fn list_items(tokens: &[Token<'_>], (begin, end): Part, joins: bool) -> Vec<Part> {
    let (mut items, mut first, mut at) = (Vec::new(), begin, begin);
    while at < end {
        if tokens[at].core == "," {
            items.push((first, at + 1));
            first = at + 1;
        } else if joins && at > first && starts_join(tokens, at) {
            items.push((first, at));
            first = at;
        }
        at = skip(tokens, at);
    }
    if first < end {
        items.push((first, end));
    }
    items
}

/// Tells whether the words of a join begin here.
fn starts_join(tokens: &[Token<'_>], mut at: usize) -> bool {
    if JOIN_WORDS.contains(&word_before(tokens, at, 1)) {
        return false;
    }
    while JOIN_WORDS.contains(&word_at(tokens, at)) {
        if word_at(tokens, at) == "JOIN" {
            return true;
        }
        at += 1;
    }
    false
}

/// The conditions between which AND and OR stand, each behind its word.
pub fn conditions(tokens: &[Token<'_>], (begin, end): Part) -> Vec<Part> {
    let (mut parts, mut first, mut at) = (Vec::new(), begin, begin);
    // Number of BETWEENs whose AND is to come.
    let mut betweens = 0usize;
    while at < end {
        match word_at(tokens, at) {
            "BETWEEN" => betweens += 1,
            "AND" if betweens > 0 => betweens -= 1,
            "AND" | "OR" if at > first => {
                parts.push((first, at));
                first = at;
            }
            _ => {}
        }
        at = skip(tokens, at);
    }
    parts.push((first, end));
    parts
}

/// The parts of a CASE: its operand, if it has one, and its branches.
pub fn case_parts(tokens: &[Token<'_>], (begin, end): Part) -> Vec<Part> {
    let (mut parts, mut first, mut at) = (Vec::new(), begin, begin);
    while at < end {
        if at > first && is_branch(tokens, at) {
            parts.push((first, at));
            first = at;
        }
        at = skip(tokens, at);
    }
    if first < end {
        parts.push((first, end));
    }
    parts
}

/// Tells whether a branch of a CASE begins here.
pub fn is_branch(tokens: &[Token<'_>], at: usize) -> bool {
    matches!(word_at(tokens, at), "WHEN" | "ELSE")
}

/// The place of THEN in a branch of a CASE; its end if it has none.
pub fn then_of(tokens: &[Token<'_>], (begin, end): Part) -> usize {
    let mut at = begin;
    while at < end && word_at(tokens, at) != "THEN" {
        at = skip(tokens, at);
    }
    at
}
