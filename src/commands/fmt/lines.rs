//! Layout of tokens in lines: a part stands on one line if it fits there, else it is broken at its outermost places.
//!
//! The clauses of a statement and the columns of a relation stand on lines of their own in any case. Where a line
//! breaks depends on the tokens, the comments and the width alone, not on the lines of the text: what is laid out
//! stays as it is.

use super::clauses::{
    self, LINE_WORDS, Part, case_parts, conditions, is_branch, list_items, phrase_end, skip, starts_clause,
    starts_query, text_at, word_at,
};
use super::tokens::{Comment, Token};

/// Most characters of a line that is not broken.
const WIDTH: usize = 100;
/// Indentation by one level.
const STEP: usize = 2;

/// The lines so far.
struct Lines<'a> {
    tokens: &'a [Token<'a>],
    out: String,
    /// Indentation of the last line.
    indent: usize,
    /// Set while the last line has no token.
    empty: bool,
    /// Set if a comment has ended the last line.
    ended: bool,
}

/// Lays tokens out, and the comments behind the last one.
pub fn lay_out(tokens: &[Token<'_>], behind: &[Comment<'_>]) -> String {
    let mut lines = Lines { tokens, out: String::new(), indent: 0, empty: true, ended: false };
    let mut begin = 0;
    while begin < tokens.len() {
        let mut end = begin;
        while end + 1 < tokens.len() && tokens[end].core != ";" {
            end += 1;
        }
        if begin > 0 {
            lines.out.push('\n');
            lines.new_line(0);
        }
        lines.statement((begin, end + 1));
        begin = end + 1;
    }
    for (place, comment) in behind.iter().enumerate() {
        if place > 0 || !tokens.is_empty() {
            lines.indent = 0;
            lines.next_line(comment.blank);
        }
        lines.out.push_str(comment.text);
    }
    if !lines.out.is_empty() {
        lines.out.push('\n');
    }
    lines.out
}

impl Lines<'_> {
    fn statement(&mut self, part: Part) {
        let mut starts = Vec::new();
        for (start, level) in clauses::statement_clauses(self.tokens, part) {
            starts.push((start, level * STEP));
        }
        self.clauses(&starts, part.1);
    }

    /// Writes a query from a new line on.
    fn query(&mut self, part: Part, indent: usize) {
        let mut starts = Vec::new();
        for start in clauses::query_clauses(self.tokens, part, false).0 {
            starts.push((start, indent));
        }
        self.clauses(&starts, part.1);
    }

    /// Writes clauses, given by their places and indentation, each on a line of its own.
    fn clauses(&mut self, starts: &[(usize, usize)], end: usize) {
        for (place, (start, indent)) in starts.iter().enumerate() {
            if place > 0 {
                self.break_before(*start, *indent);
            }
            let end = starts.get(place + 1).map_or(end, first_of);
            self.clause((*start, end), *indent);
        }
    }

    fn clause(&mut self, part: Part, indent: usize) {
        let (begin, end) = part;
        let word = word_at(self.tokens, begin);
        if word == "CREATE" && matches!(word_at(self.tokens, begin + 1), "SOURCE" | "TABLE") {
            return self.relation(part, indent);
        }
        if self.fits(part) {
            return self.put_all(part, indent + STEP);
        }
        if skip(self.tokens, begin) > begin + 1 {
            return self.item(part, indent, indent + STEP);
        }
        let has_options = word == "WITH" && text_at(self.tokens, begin + 1) == "(";
        let is_list =
            matches!(word, "SELECT" | "GROUP" | "ORDER" | "PARTITION" | "VALUES" | "WINDOW" | "WITH");
        let rest = phrase_end(self.tokens, begin).min(end);
        self.put_all((begin, rest), indent + STEP);
        if is_list && !has_options {
            self.list((rest, end), indent);
        } else if word == "FROM" {
            self.relations((rest, end), indent);
        } else {
            self.item((rest, end), indent, indent + STEP);
        }
    }

    /// Writes a source or a table: its columns, each on a line of its own, and what stands behind them.
    fn relation(&mut self, (begin, end): Part, indent: usize) {
        // CREATE, TABLE and the name.
        let list = begin + 3;
        let mut rest = begin;
        if list < end && text_at(self.tokens, list) == "(" && self.tokens[list].partner.is_some() {
            self.put_all((begin, list), indent + STEP);
            self.broken(list, indent);
            rest = skip(self.tokens, list);
        }
        self.item((rest, end), indent, indent + STEP);
    }

    /// Writes the items of a list, each on a line of its own if there are several.
    fn list(&mut self, part: Part, indent: usize) {
        let items = list_items(self.tokens, part, false);
        if let [item] = items[..] {
            return self.item(item, indent, indent + STEP);
        }
        for item in items {
            self.break_before(item.0, indent + STEP);
            self.item(item, indent + STEP, indent + 2 * STEP);
        }
    }

    /// Writes the relations behind FROM, from the second on each on a line of its own.
    fn relations(&mut self, part: Part, indent: usize) {
        let mut level = indent;
        for item in list_items(self.tokens, part, true) {
            if level > indent {
                self.break_before(item.0, level);
            }
            self.item(item, level, level + STEP);
            level = indent + STEP;
        }
    }

    /// Writes an item of a list or a condition on the last line. What does not fit there is broken before AND and
    /// OR, else within brackets. `base` is the indentation of the line, `more` that of the further lines.
    fn item(&mut self, part: Part, base: usize, more: usize) {
        if self.fits(part) {
            return self.put_all(part, more);
        }
        for (place, condition) in conditions(self.tokens, part).into_iter().enumerate() {
            if place == 0 {
                self.atoms(condition, base);
                continue;
            }
            self.break_before(condition.0, more);
            self.atoms(condition, more);
        }
    }

    /// Writes tokens, and breaks the brackets that do not fit on the line.
    fn atoms(&mut self, (begin, end): Part, base: usize) {
        let mut at = begin;
        while at < end {
            let behind = skip(self.tokens, at);
            if behind == at + 1 {
                self.put(at, base + STEP);
                at = behind;
                continue;
            }
            let mut tail = behind;
            while tail < end && skip(self.tokens, tail) == tail + 1 {
                tail += 1;
            }
            let short = behind - at <= 3 && self.width((at, behind)).is_some();
            if short || self.fits((at, tail)) {
                self.put_all((at, behind), base + STEP);
            } else {
                self.broken(at, base);
            }
            at = behind;
        }
    }

    /// Writes brackets, or a CASE, with their content on lines of its own.
    fn broken(&mut self, open: usize, base: usize) {
        let indent = base + STEP;
        self.put(open, indent);
        let Some(close) = self.tokens[open].partner else { return };
        let inside = (open + 1, close);
        if word_at(self.tokens, open) == "CASE" {
            self.branches(inside, indent);
        } else if starts_query(self.tokens, open + 1) || starts_clause(self.tokens, open + 1) {
            self.new_line(indent);
            self.query(inside, indent);
        } else {
            for (place, item) in list_items(self.tokens, inside, false).into_iter().enumerate() {
                if place > 0 {
                    self.break_before(item.0, indent);
                } else {
                    self.new_line(indent);
                }
                self.item(item, indent, indent);
            }
        }
        self.close(close, base);
    }

    /// Writes the end of brackets on a line of its own, below the comments that stand before it.
    fn close(&mut self, at: usize, base: usize) {
        let token = &self.tokens[at];
        if !token.before.is_empty() {
            self.break_before(at, base + STEP);
            self.comments(&token.before);
        }
        self.new_line(base);
        self.write(token);
    }

    fn branches(&mut self, part: Part, indent: usize) {
        for (begin, end) in case_parts(self.tokens, part) {
            if !is_branch(self.tokens, begin) {
                // The operand stands behind CASE.
                self.item((begin, end), indent - STEP, indent);
                continue;
            }
            self.break_before(begin, indent);
            if self.fits((begin, end)) {
                self.put_all((begin, end), indent + STEP);
                continue;
            }
            let then = clauses::then_of(self.tokens, (begin, end));
            self.item((begin, then), indent, indent + STEP);
            if then < end {
                self.new_line(indent + STEP);
                self.item((then, end), indent + STEP, indent + 2 * STEP);
            }
        }
    }

    fn put_all(&mut self, (begin, end): Part, indent: usize) {
        for at in begin..end {
            self.put(at, indent);
        }
    }

    /// Writes a token behind the last one, or on a new line of this indentation if a comment is between them.
    fn put(&mut self, at: usize, indent: usize) {
        let token = &self.tokens[at];
        if !self.empty && (self.ended || !token.before.is_empty()) {
            self.new_line(indent);
        } else if !self.empty && self.has_gap(at) {
            self.out.push(' ');
        }
        self.comments(&token.before);
        if !token.before.is_empty() {
            self.next_line(token.blank);
        }
        self.write(token);
    }

    /// Writes comments, each on a line of its own, the first of them on the last line.
    fn comments(&mut self, comments: &[Comment<'_>]) {
        for (place, comment) in comments.iter().enumerate() {
            if place > 0 {
                self.next_line(comment.blank);
            }
            self.out.push_str(comment.text);
        }
    }

    /// Writes a token with the comment that ends its line.
    fn write(&mut self, token: &Token<'_>) {
        self.out.push_str(token.text);
        self.empty = false;
        if let Some(comment) = token.after {
            self.out.push(' ');
            self.out.push_str(comment);
            self.ended = true;
        }
    }

    /// Begins a line with the token at a place, below a blank line if the text has one there.
    fn break_before(&mut self, at: usize, indent: usize) {
        let token = &self.tokens[at];
        let blank = token.before.first().map_or(token.blank, is_below_blank);
        if blank {
            self.out.push('\n');
        }
        self.new_line(indent);
    }

    /// Begins a line as far in as the last one.
    fn next_line(&mut self, blank: bool) {
        if blank {
            self.out.push('\n');
        }
        self.new_line(self.indent);
    }

    fn new_line(&mut self, indent: usize) {
        self.out.push('\n');
        self.out.push_str(&" ".repeat(indent));
        (self.indent, self.empty, self.ended) = (indent, true, false);
    }

    /// Tells whether a part fits on the last line, behind what stands there.
    fn fits(&self, part: Part) -> bool {
        let begin = self.out.rfind('\n').map_or(0, behind_line_end);
        let gap = usize::from(!self.empty && self.has_gap(part.0));
        match self.width(part) {
            Some(width) => self.out[begin..].chars().count() + gap + width <= WIDTH,
            None => false,
        }
    }

    /// Number of characters of a part on one line; None if comments or line breaks in it keep it from that.
    fn width(&self, (begin, end): Part) -> Option<usize> {
        let mut width = 0;
        for at in begin..end {
            let token = &self.tokens[at];
            let above = at > begin && !token.before.is_empty();
            let behind = at + 1 < end && token.after.is_some();
            if above || behind || token.text.contains('\n') {
                return None;
            }
            width += token.text.chars().count() + usize::from(at > begin && self.has_gap(at));
        }
        Some(width)
    }

    /// Tells whether a space stands between a token and the one before it on a line.
    fn has_gap(&self, at: usize) -> bool {
        // Neither the first token has one nor the end of the text, where an unfinished part may begin.
        let Some(before) = at.checked_sub(1) else { return false };
        let Some(token) = self.tokens.get(at) else { return false };
        let before = &self.tokens[before];
        let has_comment = token.text.len() > token.core.len();
        // A comment first: `</*` is another token than `<`.
        if has_comment {
            true
        } else if before.opens() {
            false
        } else if token.closes() {
            // `> >` is another token than `>>`.
            token.spaced && token.core == ">" && before.core == ">"
        } else if matches!(token.core, "," | ";") {
            false
        } else if matches!(before.core, "," | ";") {
            true
        } else {
            let separable = before.closes() || before.core.ends_with(['\'', '"']);
            token.spaced || (separable && LINE_WORDS.contains(&token.word.as_str()))
        }
    }
}

fn first_of(clause: &(usize, usize)) -> usize {
    clause.0
}

fn is_below_blank(comment: &Comment<'_>) -> bool {
    comment.blank
}

fn behind_line_end(at: usize) -> usize {
    at + 1
}
