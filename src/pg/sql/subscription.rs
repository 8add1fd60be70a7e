//! SUBSCRIBE: a view that is followed, with the rows and columns that are wanted of it.
//!
//! ```sql
//! SUBSCRIBE TO view WITH (progress)
//! SUBSCRIBE TO (SELECT a, b FROM view WHERE a > 0) WITH (snapshot = false, as_of = 12, progress = true)
//! SUBSCRIBE TO view WITH (from_id = '12-3f2a9c01', ids)
//! ```
//!
//! The query in parentheses is read here: it has the names of columns or `*`, one view, and a condition.

use super::super::errors::{PgError, PgResult};
use super::words::{QueryText, Word, Words};
use crate::query::tables::shape::epoch_of_id;

/// Remedy for a query of other forms.
const OWN_VIEW: &str =
    "keep a view for it, CREATE MATERIALIZED VIEW name AS SELECT ..., and follow that: SUBSCRIBE TO name";

/// A name, and the character of the client's text where it begins, from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacedName {
    /// The name.
    pub name: String,
    /// The character.
    pub position: usize,
}

/// The rows that a cursor or a COPY reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowSource {
    /// Those of a query.
    Query(QueryText),
    /// Those of a view that is followed.
    Changes(Box<Subscription>),
}

/// A view that is followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// The view.
    pub view: PlacedName,
    /// The columns that are wanted; None for all.
    pub columns: Option<Vec<PlacedName>>,
    /// The condition that rows meet.
    pub condition: Option<QueryText>,
    /// The query for the same rows; None where it is that for the whole view.
    pub select: Option<QueryText>,
    /// Set for a snapshot before the changes.
    pub snapshot: bool,
    /// The epoch after which the changes are wanted.
    pub as_of: Option<u64>,
    /// The id of the mark of progress after which the changes are wanted; it goes before `as_of`.
    pub from_id: Option<String>,
    /// Set for marks of epochs that are whole.
    pub progress: bool,
    /// Set for ids of the marks.
    pub ids: bool,
}

impl Subscription {
    /// Reads a subscription behind SUBSCRIBE; `before` is the number of characters before the words.
    ///
    /// # Errors
    /// When it is none.
    pub fn read(words: &mut Words<'_>, before: usize) -> PgResult<Subscription> {
        words.takes("to");
        let mut found = if words.peek() == Some(Word::Symbol('(')) {
            query(words, before)?
        } else {
            let view = view_name(words, before)?;
            Subscription::of(view)
        };
        if words.takes("with") {
            words.expect_symbol('(')?;
            loop {
                found.take_option(words)?;
                if !words.takes_symbol(',') {
                    break;
                }
            }
            words.expect_symbol(')')?;
        }
        // An id is that of a mark.
        found.progress |= found.ids;
        Ok(found)
    }

    /// All of a view, without options.
    fn of(view: PlacedName) -> Subscription {
        Subscription {
            view,
            columns: None,
            condition: None,
            select: None,
            snapshot: true,
            as_of: None,
            from_id: None,
            progress: false,
            ids: false,
        }
    }

    /// The query for the rows of the view that are wanted.
    pub fn query(&self) -> QueryText {
        match &self.select {
            Some(select) => select.clone(),
            None => {
                let text = format!("SELECT * FROM \"{}\"", self.view.name.replace('"', "\"\""));
                QueryText { text, before: 0 }
            }
        }
    }

    /// Reads an option.
    fn take_option(&mut self, words: &mut Words<'_>) -> PgResult<()> {
        let at = words.clone();
        match words.name()?.as_str() {
            "snapshot" => self.snapshot = flag(words)?,
            "progress" => self.progress = flag(words)?,
            "as_of" => {
                words.takes_symbol('=');
                self.as_of = Some(epoch(words)?);
            }
            "from_id" => {
                words.takes_symbol('=');
                self.from_id = Some(progress_id(words)?);
            }
            "ids" => self.ids = flag(words)?,
            other => {
                let error = at.unexpected();
                return Err(PgError {
                    message: format!("SUBSCRIBE has no option \"{other}\""),
                    hint: Some("there are snapshot, as_of, from_id, progress and ids".to_owned()),
                    ..error
                });
            }
        }
        Ok(())
    }
}

/// Reads `(SELECT columns FROM view WHERE condition)`.
fn query(words: &mut Words<'_>, before: usize) -> PgResult<Subscription> {
    words.expect_symbol('(')?;
    let (whole, start) = (words.rest(), before + words.chars_before());
    words.expect("select")?;
    let columns = column_names(words, before)?;
    words.expect("from").map_err(other_form)?;
    let view = view_name(words, before)?;
    let (length, condition) = if words.takes("where") {
        let at = before + words.chars_before();
        let begin = whole.len() - words.rest().len();
        let text = words.until_closed()?;
        (begin + text.len(), Some(QueryText { text: text.trim_end().to_owned(), before: at }))
    } else {
        let length = whole.len() - words.rest().len();
        words.expect_symbol(')').map_err(other_form)?;
        (length, None)
    };
    let select = QueryText { text: whole[..length].trim_end().to_owned(), before: start };
    Ok(Subscription { columns, condition, select: Some(select), ..Subscription::of(view) })
}

/// The error for a query that has more than a subscription takes.
fn other_form(error: PgError) -> PgError {
    let message = "SUBSCRIBE takes a view, or SELECT with names of columns FROM a view, and WHERE";
    let PgError { position, .. } = error;
    PgError { position, ..PgError::unsupported(message).hint(OWN_VIEW) }
}

/// Names of columns between commas, or `*`, which is None.
fn column_names(words: &mut Words<'_>, before: usize) -> PgResult<Option<Vec<PlacedName>>> {
    if words.takes_symbol('*') {
        return Ok(None);
    }
    let mut names = Vec::new();
    loop {
        names.push(placed_name(words, before).map_err(other_form)?);
        if !words.takes_symbol(',') {
            return Ok(Some(names));
        }
    }
}

/// A name with its place.
fn placed_name(words: &mut Words<'_>, before: usize) -> PgResult<PlacedName> {
    let position = before + words.chars_before() + 1;
    Ok(PlacedName { name: words.name()?, position })
}

/// The name of a view: `name`, `public.name` or `schema.name`.
fn view_name(words: &mut Words<'_>, before: usize) -> PgResult<PlacedName> {
    let mut found = placed_name(words, before)?;
    if words.takes_symbol('.') {
        let name = words.name()?;
        found.name = if found.name == "public" { name } else { format!("{}.{name}", found.name) };
    }
    Ok(found)
}

/// The value of a flag, which may be left out.
fn flag(words: &mut Words<'_>) -> PgResult<bool> {
    let given = words.takes_symbol('=');
    match words.peek() {
        Some(Word::Symbol(',' | ')')) if !given => return Ok(true),
        Some(Word::Plain(value) | Word::Text(value) | Word::Number(value)) => {
            let read = match value.to_lowercase().as_str() {
                "true" | "on" | "1" => Some(true),
                "false" | "off" | "0" => Some(false),
                _ => None,
            };
            if let Some(read) = read {
                words.take();
                return Ok(read);
            }
        }
        _ => {}
    }
    Err(words.unexpected().hint("write true or false"))
}

/// An epoch.
fn epoch(words: &mut Words<'_>) -> PgResult<u64> {
    if let Some(Word::Number(digits) | Word::Text(digits)) = words.peek()
        && let Ok(epoch) = digits.trim().parse()
    {
        words.take();
        return Ok(epoch);
    }
    Err(words.unexpected().hint("as_of is an epoch: the herald_epoch of the last mark of progress"))
}

/// The id of a mark of progress. Whether it is one of this state is seen when it is asked for.
fn progress_id(words: &mut Words<'_>) -> PgResult<String> {
    if let Some(Word::Number(id) | Word::Text(id)) = words.peek()
        && epoch_of_id(&id, "").is_some()
    {
        words.take();
        return Ok(id);
    }
    Err(words.unexpected().hint("from_id is the herald_id of the last mark of progress, as '12-3f2a9c01'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> PgResult<Subscription> {
        let mut words = Words::new(text);
        words.expect("subscribe")?;
        let found = Subscription::read(&mut words, 100)?;
        words.end()?;
        Ok(found)
    }

    fn names(columns: &[(&str, usize)]) -> Vec<PlacedName> {
        let mut names = Vec::new();
        for (name, position) in columns {
            names.push(PlacedName { name: (*name).to_owned(), position: *position });
        }
        names
    }

    #[test]
    fn a_view_is_followed_with_options() {
        let plain = read("SUBSCRIBE TO totals").expect("a subscription");
        assert_eq!(plain.view, PlacedName { name: "totals".to_owned(), position: 114 });
        assert_eq!((plain.snapshot, plain.as_of, plain.progress), (true, None, false));
        assert_eq!(plain.query(), QueryText { text: "SELECT * FROM \"totals\"".to_owned(), before: 0 });
        for text in [
            "SUBSCRIBE TO totals WITH (snapshot = false, as_of = 12, progress = true)",
            "subscribe totals with (SNAPSHOT false, AS_OF '12', PROGRESS)",
            "SUBSCRIBE TO public.totals WITH (progress, snapshot = off, as_of = 12)",
        ] {
            let found = read(text).expect(text);
            assert_eq!((found.snapshot, found.as_of, found.progress), (false, Some(12), true), "{text}");
            assert_eq!(found.view.name, "totals", "{text}");
        }
        let resumed =
            read("SUBSCRIBE TO totals WITH (from_id = '12-3f2a9c01', ids)").expect("a subscription");
        assert_eq!(resumed.from_id.as_deref(), Some("12-3f2a9c01"));
        assert!(resumed.ids && resumed.progress, "marks have the ids");
        assert_eq!(
            read("SUBSCRIBE TO herald.views").map(|found| found.view.name).as_deref(),
            Ok("herald.views")
        );
    }

    #[test]
    fn a_query_names_columns_and_a_condition() {
        let text =
            "SUBSCRIBE TO ( SELECT b, \"A\" FROM totals WHERE (b > 1) AND \"A\" <> ')' ) WITH (progress)";
        let found = read(text).expect("a subscription");
        assert_eq!(found.columns, Some(names(&[("b", 123), ("A", 126)])));
        let condition = QueryText { text: "(b > 1) AND \"A\" <> ')'".to_owned(), before: 147 };
        assert_eq!(found.condition, Some(condition));
        let select = "SELECT b, \"A\" FROM totals WHERE (b > 1) AND \"A\" <> ')'";
        assert_eq!(found.query(), QueryText { text: select.to_owned(), before: 115 });
        assert!(found.progress);
        let all = read("SUBSCRIBE TO (SELECT * FROM totals)").expect("a subscription");
        assert_eq!((all.columns, all.condition), (None, None));
        assert_eq!(all.select.map(|select| select.text).as_deref(), Some("SELECT * FROM totals"));
    }

    #[test]
    fn other_forms_are_told_with_their_place() {
        for (text, code, position) in [
            ("SUBSCRIBE TO", "42601", None),
            ("SUBSCRIBE TO totals WITH (frequency = 1)", "42601", Some(27)),
            ("SUBSCRIBE TO totals WITH (snapshot = maybe)", "42601", Some(38)),
            ("SUBSCRIBE TO totals WITH (snapshot =)", "42601", Some(37)),
            ("SUBSCRIBE TO totals WITH (as_of = -1)", "42601", Some(35)),
            ("SUBSCRIBE TO totals WITH (as_of)", "42601", Some(32)),
            ("SUBSCRIBE TO totals WITH (from_id = 'x-3f2a9c01')", "42601", Some(37)),
            ("SUBSCRIBE TO totals WITH (progress", "42601", None),
            ("SUBSCRIBE TO totals AS OF 3", "42601", Some(21)),
            ("SUBSCRIBE TO (SELECT a + 1 FROM totals)", "0A000", Some(24)),
            ("SUBSCRIBE TO (SELECT 1 FROM totals)", "0A000", Some(22)),
            ("SUBSCRIBE TO (SELECT a FROM totals GROUP BY a)", "0A000", Some(36)),
            ("SUBSCRIBE TO (SELECT a FROM totals WHERE a > 1", "42601", None),
            ("SUBSCRIBE TO (VALUES (1))", "42601", Some(15)),
        ] {
            let told = read(text).map_err(|error| (error.code, error.position));
            assert_eq!(told, Err((code, position)), "{text}");
        }
    }
}
