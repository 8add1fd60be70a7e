//! Completion of words in the shell: keywords, relations, their columns, and backslash commands.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Error, Result};
use rustyline::completion::Completer;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::Validator;
use rustyline::{Context, Helper};
use serde_json::Value;

use super::input::{COMMANDS, RelationName};
use crate::exit::mistake;
use crate::query::catalog::DEFAULT_SCHEMA;
use crate::query::statements::{begins, split};

/// The query whose rows [`relations`] takes.
pub(super) const RELATIONS_QUERY: &str = "SELECT table_schema, table_name, column_name \
    FROM information_schema.columns WHERE table_schema IN ('public', 'herald')";
/// Most words that are offered; the editor counts them in 16 bits.
const MAX_WORDS: usize = 1000;
/// Words of queries.
const KEYWORDS: &str = "\
    ALL ANALYZE AND ANY ARRAY AS ASC BETWEEN BY CASE CAST COALESCE COLUMNS CROSS CURRENT DATE DESC \
    DESCRIBE DISTINCT ELSE END ESCAPE EXCEPT EXISTS EXPLAIN EXTRACT FALSE FILTER FIRST FOLLOWING FROM \
    FULL GROUP HAVING ILIKE IN INNER INTERSECT INTERVAL INTO IS JOIN LAST LATERAL LEFT LIKE LIMIT NOT \
    NULL NULLS OFFSET ON OR ORDER OUTER OVER PARTITION PRECEDING RANGE RIGHT ROW ROWS SELECT SHOW SOME \
    TABLES THEN TIME TIMESTAMP TRUE UNBOUNDED UNION UNNEST USING VALUES WHEN WHERE WITH";
/// Words after which a relation is named.
const BEFORE_RELATIONS: [&str; 4] = ["FROM", "JOIN", "DESCRIBE", "DESC"];

/// A view or system table with its columns.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Relation {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Its columns.
    pub columns: Vec<String>,
}

impl Relation {
    /// Its name as a query writes it.
    pub(super) fn written(&self) -> String {
        match self.schema.as_str() {
            DEFAULT_SCHEMA => quoted(&self.name),
            schema => format!("{}.{}", quoted(schema), quoted(&self.name)),
        }
    }

    /// Its columns as a query writes them.
    fn quoted_columns(&self) -> impl Iterator<Item = String> {
        self.columns.iter().map(|column| quoted(column))
    }
}

/// The relations in the rows of [`RELATIONS_QUERY`], as JSON.
pub(super) fn relations(rows: &[Value]) -> Vec<Relation> {
    let mut found: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for row in rows {
        let relation = (field_text(row, "table_schema"), field_text(row, "table_name"));
        found.entry(relation).or_default().push(field_text(row, "column_name"));
    }
    found.into_iter().map(|((schema, name), columns)| Relation { schema, name, columns }).collect()
}

/// The text of a row's field; empty where there is none.
fn field_text(row: &Value, field: &str) -> String {
    row[field].as_str().unwrap_or_default().to_owned()
}

/// The relation of a name; without a schema, a view's.
///
/// # Errors
/// When there is none.
pub(super) fn find_relation<'a>(relations: &'a [Relation], named: &RelationName) -> Result<&'a Relation> {
    let schema = named.schema.as_deref().unwrap_or(DEFAULT_SCHEMA);
    let found = relations.iter().find(|relation| relation.schema == schema && relation.name == named.name);
    found.ok_or_else(|| unknown_relation(named))
}

/// The error for a relation that does not exist.
fn unknown_relation(named: &RelationName) -> Error {
    let schema = match &named.schema {
        Some(schema) => format!("{schema}."),
        None => String::new(),
    };
    mistake(format!("there is no view {schema}{}: \\d lists the names", named.name))
}

/// The editor's source of completions.
#[derive(Debug, Default)]
pub(super) struct Suggester {
    /// The relations that are known.
    pub relations: Vec<Relation>,
    /// Lines of the statement before the one that is being typed.
    pub pending: String,
}

impl Suggester {
    /// Words that complete the one that ends at `cursor`, and the place in `line` from which each replaces the
    /// text up to there.
    fn suggest(&self, line: &str, cursor: usize) -> (usize, Vec<String>) {
        let typed = line.get(..cursor).unwrap_or(line);
        let before = format!("{}{typed}", self.pending);
        let words = if split(&before).open {
            (typed.len(), BTreeSet::new())
        } else if typed.starts_with('\\') {
            self.suggest_command(typed)
        } else {
            self.suggest_word(&format!("{}{line}", self.pending), &before, typed)
        };
        (words.0, words.1.into_iter().take(MAX_WORDS).collect())
    }

    /// Completes a backslash command, or the relation after `\d`.
    fn suggest_command(&self, typed: &str) -> (usize, BTreeSet<String>) {
        match typed.rsplit_once(char::is_whitespace) {
            None => {
                let commands = COMMANDS.iter().filter(|(name, _, _)| name.starts_with(typed));
                (0, commands.map(|(name, _, _)| (*name).to_owned()).collect())
            }
            Some(("\\d", word)) => (typed.len() - word.len(), self.relation_names(word).collect()),
            Some(_) => (typed.len(), BTreeSet::new()),
        }
    }

    /// Completes a word of `statement`. `before` is the statement up to the cursor, `typed` the line up to there.
    fn suggest_word(&self, statement: &str, before: &str, typed: &str) -> (usize, BTreeSet<String>) {
        let head = typed.trim_end_matches(is_path);
        let word = &typed[head.len()..];
        if let Some((qualifier, part)) = word.rsplit_once('.') {
            let start = typed.len() - part.len();
            let members = self.members(statement, qualifier).into_iter();
            return (start, members.filter(|name| completes(name, part)).collect());
        }
        let earlier = &before[..before.len() - word.len()];
        let last = earlier.split(|c: char| !is_word(c)).rfind(|part| !part.is_empty());
        if earlier.ends_with(char::is_whitespace) && last.is_some_and(names_relation) {
            return (head.len(), self.relation_names(word).collect());
        }
        let lower = word.contains(char::is_lowercase);
        let mut words: BTreeSet<String> = self.relation_names(word).collect();
        for keyword in KEYWORDS.split_whitespace().filter(|keyword| completes(keyword, word)) {
            words.insert(if lower { keyword.to_lowercase() } else { keyword.to_owned() });
        }
        for relation in self.mentioned(statement) {
            for column in &relation.columns {
                if completes(column, word) {
                    words.insert(quoted(column));
                }
            }
        }
        (head.len(), words)
    }

    /// Relations as a query writes them, of those that begin with `word`.
    fn relation_names(&self, word: &str) -> impl Iterator<Item = String> {
        let names = self.relations.iter().map(Relation::written);
        names.filter(move |name| completes(name, word))
    }

    /// Names that may follow `qualifier` and a dot: the relations of a schema, the columns of a relation, or,
    /// after anything else, such as an alias, the columns of all relations of the statement.
    fn members(&self, statement: &str, qualifier: &str) -> Vec<String> {
        let mut names = Vec::new();
        for relation in &self.relations {
            if relation.schema.eq_ignore_ascii_case(qualifier) {
                names.push(quoted(&relation.name));
            }
            if relation.written().eq_ignore_ascii_case(qualifier) {
                names.extend(relation.quoted_columns());
            }
        }
        if names.is_empty() {
            for relation in self.mentioned(statement) {
                names.extend(relation.quoted_columns());
            }
        }
        names
    }

    /// The relations that the statement names; all, where it names none.
    fn mentioned(&self, statement: &str) -> Vec<&Relation> {
        let words: BTreeSet<String> = statement.split(|c: char| !is_path(c)).map(str::to_lowercase).collect();
        let mut named = Vec::new();
        for relation in &self.relations {
            if words.contains(&relation.written().to_lowercase())
                || words.contains(&relation.name.to_lowercase())
            {
                named.push(relation);
            }
        }
        if named.is_empty() { self.relations.iter().collect() } else { named }
    }
}

/// Tells whether a relation is named after this word.
fn names_relation(last: &str) -> bool {
    BEFORE_RELATIONS.iter().any(|word| last.eq_ignore_ascii_case(word))
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Tells whether a character may stand in words with dots between them.
fn is_path(c: char) -> bool {
    is_word(c) || c == '.'
}

/// Tells whether a name begins with a part, in any case and without its quotes.
fn completes(name: &str, part: &str) -> bool {
    begins(name.trim_start_matches('"'), part)
}

/// A name in double quotes if it needs them: without them it would be another name, or a keyword.
pub(super) fn quoted(name: &str) -> String {
    let plain = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && !KEYWORDS.split_whitespace().any(|keyword| keyword.eq_ignore_ascii_case(name));
    if plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

impl Completer for Suggester {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        cursor: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        Ok(self.suggest(line, cursor))
    }
}

impl Hinter for Suggester {
    type Hint = String;
}

impl Highlighter for Suggester {}

impl Validator for Suggester {}

impl Helper for Suggester {}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn suggester(pending: &str) -> Suggester {
        let row = |schema: &str, table: &str, column: &str| json!({"table_schema": schema, "table_name": table, "column_name": column});
        let rows = [
            row("public", "champions", "champion"),
            row("public", "champions", "games"),
            row("public", "matches", "match_id"),
            row("public", "matches", "offset"),
            row("public", "Odd", "Column"),
            row("herald", "views", "view"),
            row("herald", "views", "epoch"),
        ];
        Suggester { relations: relations(&rows), pending: pending.to_owned() }
    }

    /// The line with the cursor at `|`: the text before the completed word, and the words.
    fn complete(suggester: &Suggester, line: &str) -> (String, Vec<String>) {
        let (before, after) = line.split_once('|').unwrap_or((line, ""));
        let (start, words) = suggester.suggest(&format!("{before}{after}"), before.len());
        (before[..start].to_owned(), words)
    }

    #[test]
    fn words_are_completed_by_their_place() {
        let known = suggester("");
        for (line, before, words) in [
            ("SEL", "", vec!["SELECT"]),
            ("sel", "", vec!["select"]),
            ("SELECT cham| FROM champions", "SELECT ", vec!["champion", "champions"]),
            ("SELECT of| FROM matches", "SELECT ", vec!["\"offset\"", "offset"]),
            ("SELECT gam| FROM matches", "SELECT ", vec![]),
            ("SELECT gam", "SELECT ", vec!["games"]),
            ("SELECT * FROM ", "SELECT * FROM ", vec!["\"Odd\"", "champions", "herald.views", "matches"]),
            ("SELECT * FROM o", "SELECT * FROM ", vec!["\"Odd\""]),
            ("select * from herald.v", "select * from herald.", vec!["views"]),
            ("SELECT * FROM herald.views WHERE ep", "SELECT * FROM herald.views WHERE ", vec!["epoch"]),
            ("SELECT champions.g", "SELECT champions.", vec!["games"]),
            ("SELECT c.| FROM champions AS c", "SELECT c.", vec!["champion", "games"]),
            ("SELECT 'sel", "SELECT 'sel", vec![]),
            ("SELECT é, mat", "SELECT é, ", vec!["match_id", "matches"]),
        ] {
            assert_eq!(
                complete(&known, line),
                (before.to_owned(), words.iter().map(|w| w.to_string()).collect()),
                "{line}"
            );
        }
    }

    #[test]
    fn lines_before_count() {
        assert_eq!(complete(&suggester("SELECT 'a\n"), "sel").1, Vec::<String>::new());
        assert_eq!(complete(&suggester("SELECT *\nFROM\n"), "ma").1, ["matches"]);
        assert_eq!(complete(&suggester("SELECT * FROM matches\n"), "WHERE ma").1, ["match_id", "matches"]);
    }

    #[test]
    fn commands_and_their_relations_are_completed() {
        let known = suggester("");
        assert_eq!(complete(&known, "\\t"), (String::new(), vec!["\\timing".to_owned()]));
        assert_eq!(complete(&known, "\\").1, ["\\?", "\\d", "\\q", "\\timing", "\\x"]);
        assert_eq!(complete(&known, "\\d herald.v"), ("\\d ".to_owned(), vec!["herald.views".to_owned()]));
        assert_eq!(complete(&known, "\\x o").1, Vec::<String>::new());
    }

    #[test]
    fn a_name_is_found_in_its_schema() -> Result<()> {
        let known = suggester("").relations;
        let name = |schema: Option<&str>, name: &str| RelationName {
            schema: schema.map(str::to_owned),
            name: name.to_owned(),
        };
        assert_eq!(find_relation(&known, &name(None, "matches"))?.columns, ["match_id", "offset"]);
        assert_eq!(find_relation(&known, &name(Some("herald"), "views"))?.columns, ["view", "epoch"]);
        let unknown = find_relation(&known, &name(None, "views")).map(|_| ()).unwrap_err();
        assert_eq!(unknown.to_string(), "there is no view views: \\d lists the names");
        Ok(())
    }
}
