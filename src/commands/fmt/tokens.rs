//! Tokens of a SQL text, with the comments around them.
//!
//! They are read leniently: a quote that is not closed reaches to the end of the text, a bracket without partner is a
//! token like any other.

use super::MAX_DEPTH;

/// A comment that stands on lines of its own.
#[derive(Debug)]
pub struct Comment<'a> {
    /// Its text.
    pub text: &'a str,
    /// Set if a blank line stands before it.
    pub blank: bool,
}

/// A token and its surroundings.
#[derive(Debug)]
pub struct Token<'a> {
    /// Its text, behind the comments before it on its line.
    pub text: &'a str,
    /// Its text alone.
    pub core: &'a str,
    /// The word in capital letters; empty for what is no word.
    pub word: String,
    /// Set if white space stands before it.
    pub spaced: bool,
    /// Set if a blank line stands before it, and behind the comments above it.
    pub blank: bool,
    /// The comments above it.
    pub before: Vec<Comment<'a>>,
    /// The comment behind it that ends its line.
    pub after: Option<&'a str>,
    /// Place of the token that it closes, or by which it is closed: brackets, CASE with END.
    pub partner: Option<usize>,
}

/// White space before a token, or before the comments that stand before it on its line.
struct Gap {
    /// Offset of what follows it.
    end: usize,
    /// Number of line breaks in it.
    lines: usize,
    spaced: bool,
}

impl Token<'_> {
    /// Tells whether it is a bracket that opens.
    pub fn opens(&self) -> bool {
        self.partner.is_some() && matches!(self.core, "(" | "[" | "{" | "<")
    }

    /// Tells whether it is a bracket that closes.
    pub fn closes(&self) -> bool {
        self.partner.is_some() && matches!(self.core, ")" | "]" | "}" | ">")
    }

    /// The text that closes what it opens, if it opens anything behind the word `previous`.
    fn closer(&self, previous: &str) -> Option<&'static str> {
        match self.core {
            "(" => Some(")"),
            "[" => Some("]"),
            "{" => Some("}"),
            // Elsewhere it compares.
            "<" if matches!(previous, "STRUCT" | "ARRAY" | "MAP") => Some(">"),
            _ if self.word == "CASE" => Some("END"),
            _ => None,
        }
    }

    /// Tells whether it may stand between the `<` and the `>` of a type, outside of brackets within them; `before` is
    /// the text before it. A column may be called map, array or struct, and compared.
    fn may_stand_in_type(&self, before: &str) -> bool {
        match self.word.as_str() {
            "" => {
                let is_mark = matches!(self.core, "," | "(" | ")" | "[" | "]" | "{" | "}" | "<" | ">" | ";");
                is_mark || self.core.starts_with('"')
            }
            // Where the name of a field stands any word may.
            _ if matches!(before, "<" | ",") => true,
            word => !matches!(word, "AND" | "OR" | "THEN" | "WHEN" | "ELSE" | "END" | "FROM" | "WHERE"),
        }
    }

    /// Tells whether it begins what stands behind a comparison, and behind no type.
    fn begins_operand(&self) -> bool {
        let is_value = self.core.starts_with(|c: char| c.is_numeric() || matches!(c, '\'' | '"' | '(' | '-'));
        is_value || (self.core == "=" && !self.spaced)
    }

    /// The text by which it may close another.
    fn closing(&self) -> &str {
        if self.word == "END" { "END" } else { self.core }
    }
}

/// Reads the tokens of a text, and the comments behind the last one.
pub fn read(text: &str) -> (Vec<Token<'_>>, Vec<Comment<'_>>) {
    let mut tokens: Vec<Token<'_>> = Vec::new();
    let mut pending: Vec<Comment<'_>> = Vec::new();
    let mut held: Option<Gap> = None;
    let mut at = 0;
    loop {
        let rest = text[at..].trim_start();
        let space = &text[at..text.len() - rest.len()];
        at += space.len();
        if rest.is_empty() {
            break;
        }
        let lines = space.matches('\n').count();
        let gap = held.take().unwrap_or(Gap { end: at, lines, spaced: !space.is_empty() });
        let core = &rest[..token_length(rest)];
        at += core.len();
        let whole = &text[gap.end..at];
        let first = tokens.is_empty() && pending.is_empty();
        let blank = gap.lines > 1 && !first;
        if !is_comment(core) {
            let before = std::mem::take(&mut pending);
            let (word, spaced) = (word_of(core), gap.spaced);
            tokens.push(Token { text: whole, core, word, spaced, blank, before, after: None, partner: None });
        } else if !ends_line(&text[at..]) {
            held = Some(gap);
        } else if first || gap.lines > 0 {
            pending.push(Comment { text: whole.trim_end(), blank });
        } else if let Some(last) = tokens.last_mut() {
            last.after = Some(whole.trim_end());
        }
    }
    (tokens, pending)
}

/// Finds the partners of brackets, and of CASE. Returns how deeply they are nested; beyond [`MAX_DEPTH`] it stops, and
/// nothing has a partner.
pub fn pair(tokens: &mut [Token<'_>]) -> usize {
    let mut open: Vec<(usize, &str)> = Vec::new();
    let (mut pairs, mut deepest) = (Vec::new(), 0);
    let (mut previous, mut before) = ("", "");
    for (at, token) in tokens.iter().enumerate() {
        let compares = token.core == ">" && tokens.get(at + 1).is_some_and(Token::begins_operand);
        if compares || !token.may_stand_in_type(before) {
            drop_comparisons(&mut open);
        }
        if token.core == ";" {
            open.clear();
        } else if let Some(closer) = token.closer(previous) {
            open.push((at, closer));
            deepest = deepest.max(open.len());
            if deepest > MAX_DEPTH {
                return deepest;
            }
        } else if let Some(found) = opened_by(&open, token.closing()) {
            pairs.push((open[found].0, at));
            open.truncate(found);
        }
        (previous, before) = (token.word.as_str(), token.core);
    }
    for (begin, end) in pairs {
        tokens[begin].partner = Some(end);
        tokens[end].partner = Some(begin);
    }
    deepest
}

/// Drops each `<` that is open last: it compares.
fn drop_comparisons(open: &mut Vec<(usize, &str)>) {
    while matches!(open.last(), Some((_, ">"))) {
        open.pop();
    }
}

/// The place in `open` of what this text closes.
fn opened_by(open: &[(usize, &str)], closing: &str) -> Option<usize> {
    for (place, (_, closer)) in open.iter().enumerate().rev() {
        if *closer == closing {
            return Some(place);
        }
        // A bracket also ends a CASE and a `<` within it that have no partner.
        let passed = matches!(*closer, ">" | "END") && !matches!(closing, ">" | "END");
        if !passed {
            return None;
        }
    }
    None
}

/// Length in bytes of the token or comment with which a text begins.
fn token_length(rest: &str) -> usize {
    let Some(first) = rest.chars().next() else { return 0 };
    match first {
        '-' if rest.starts_with("--") => rest.find('\n').unwrap_or(rest.len()),
        '/' if rest.starts_with("/*") => block_comment_length(rest.as_bytes()),
        '\'' | '"' => quoted_length(rest, 1, first),
        'e' | 'E' if rest[1..].starts_with('\'') => escaped_length(rest),
        '$' => dollar_quoted_length(rest),
        c if is_word_character(c) => rest.find(ends_word).unwrap_or(rest.len()),
        c => c.len_utf8(),
    }
}

/// Length of a comment in `/*` and `*/`, which may be nested.
fn block_comment_length(bytes: &[u8]) -> usize {
    let (mut depth, mut at) = (0usize, 0);
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if bytes[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    bytes.len()
}

/// Length of a text in quotes, whose content begins at `begin`. A doubled quote stands for one in it.
fn quoted_length(rest: &str, begin: usize, quote: char) -> usize {
    let mut chars = rest[begin..].char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if c != quote {
            continue;
        }
        let doubled = matches!(chars.peek(), Some((_, next)) if *next == quote);
        if !doubled {
            return begin + at + 1;
        }
        chars.next();
    }
    rest.len()
}

/// Length of a text as `E'it\'s'`.
fn escaped_length(rest: &str) -> usize {
    let mut chars = rest[2..].char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let doubled = matches!(chars.peek(), Some((_, '\'')));
        if c == '\\' || (c == '\'' && doubled) {
            chars.next();
        } else if c == '\'' {
            return at + 3;
        }
    }
    rest.len()
}

/// Length of a text between `$$` or between `$tag$`; 1 for a `$` that begins none.
fn dollar_quoted_length(rest: &str) -> usize {
    let Some(length) = rest[1..].find('$') else { return 1 };
    let (tag, quote) = (&rest[1..=length], &rest[..length + 2]);
    if tag.contains(ends_word) || tag.starts_with(char::is_numeric) {
        return 1;
    }
    let behind = &rest[quote.len()..];
    behind.find(quote).map_or(rest.len(), |at| at + 2 * quote.len())
}

fn is_comment(token: &str) -> bool {
    token.starts_with("--") || token.starts_with("/*")
}

/// Tells whether nothing but white space follows on the line.
fn ends_line(rest: &str) -> bool {
    let rest = rest.trim_start_matches(is_space_in_line);
    rest.is_empty() || rest.starts_with('\n')
}

fn is_space_in_line(c: char) -> bool {
    c.is_whitespace() && c != '\n'
}

/// The word that a token is, in capital letters; empty for what is no word.
fn word_of(core: &str) -> String {
    if core.starts_with(begins_word) && !core.contains('\'') { core.to_uppercase() } else { String::new() }
}

fn begins_word(c: char) -> bool {
    c.is_alphabetic() || c == '_'
}

fn is_word_character(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn ends_word(c: char) -> bool {
    !is_word_character(c)
}
