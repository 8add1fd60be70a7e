//! Statements of cursors: DECLARE, FETCH and MOVE.

use std::time::Duration;

use super::super::errors::{PgError, PgResult, codes};
use super::subscription::{RowSource, Subscription};
use super::words::{QueryText, Word, Words};

/// A cursor that is declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declaration {
    /// Its name.
    pub name: String,
    /// Set if its rows are binary.
    pub binary: bool,
    /// Its rows.
    pub rows: RowSource,
}

/// A number of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowCount {
    /// So many.
    Rows(usize),
    /// All that are left.
    All,
}

/// FETCH, or MOVE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// The cursor.
    pub name: String,
    /// The rows that are wanted.
    pub count: RowCount,
    /// Set for MOVE.
    pub moves: bool,
    /// Longest time to wait for the first row of a subscription; None without a limit.
    pub timeout: Option<Duration>,
}

/// DECLARE.
///
/// # Errors
/// When it is none, or one of another form.
pub(super) fn declare(words: &mut Words<'_>, before: usize) -> PgResult<Declaration> {
    let name = words.name()?;
    let mut binary = false;
    loop {
        if words.takes("binary") {
            binary = true;
        } else if words.sees("scroll") {
            return Err(PgError::unsupported("cursors with SCROLL are not supported")
                .hint("a cursor goes forward: declare it without SCROLL"));
        } else if words.takes_any(&["insensitive", "asensitive"]).is_none()
            && !words.takes_all(&["no", "scroll"])
        {
            break;
        }
    }
    words.expect("cursor")?;
    if words.takes_all(&["with", "hold"]) {
        return Err(PgError::unsupported("cursors WITH HOLD are not supported")
            .hint("fetch its rows before the transaction ends"));
    }
    words.takes_all(&["without", "hold"]);
    words.expect("for")?;
    let rows = if words.takes("subscribe") {
        let followed = Subscription::read(words, before)?;
        words.end()?;
        RowSource::Changes(Box::new(followed))
    } else {
        RowSource::Query(QueryText { text: words.rest().to_owned(), before: before + words.chars_before() })
    };
    Ok(Declaration { name, binary, rows })
}

/// FETCH and MOVE.
///
/// # Errors
/// When it is none, or goes backward.
pub(super) fn fetch(words: &mut Words<'_>, moves: bool) -> PgResult<Fetch> {
    let count = fetch_count(words)?;
    words.takes_any(&["from", "in"]);
    let name = words.name()?;
    let mut timeout = None;
    if words.takes("with") {
        words.expect_symbol('(')?;
        words.expect("timeout")?;
        words.takes_symbol('=');
        timeout = Some(time_limit(words)?);
        words.expect_symbol(')')?;
    }
    Ok(Fetch { name, count, moves, timeout })
}

/// A time: `'1s'`, `'500 ms'`, `'2 minutes'`, or a number of seconds.
fn time_limit(words: &mut Words<'_>) -> PgResult<Duration> {
    if let Some(Word::Text(written) | Word::Number(written)) = words.peek()
        && let Some(found) = read_time(&written)
    {
        words.take();
        return Ok(found);
    }
    Err(words.unexpected().hint("write a time, such as timeout = '1s'"))
}

/// The time that a text is.
fn read_time(text: &str) -> Option<Duration> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text[..end].parse().ok()?;
    let unit = match text[end..].trim() {
        "ms" | "millisecond" | "milliseconds" => 0.001,
        "" | "s" | "sec" | "secs" | "second" | "seconds" => 1.0,
        "m" | "min" | "mins" | "minute" | "minutes" => 60.0,
        "h" | "hour" | "hours" => 3600.0,
        _ => return None,
    };
    let seconds = number * unit;
    // As long as any setting of a time.
    if seconds <= f64::from(i32::MAX) / 1000.0 { Some(Duration::from_secs_f64(seconds)) } else { None }
}

/// The direction and number of rows of FETCH; cursors go forward only.
fn fetch_count(words: &mut Words<'_>) -> PgResult<RowCount> {
    if words.takes("next") {
        return Ok(RowCount::Rows(1));
    }
    if words.takes("all") {
        return Ok(RowCount::All);
    }
    let forward = words.takes("forward");
    if forward && words.takes("all") {
        return Ok(RowCount::All);
    }
    let named = ["prior", "first", "last", "absolute", "relative", "backward"];
    if words.peek() == Some(Word::Symbol('-')) || (!forward && is_direction(words, &named)) {
        let message = "cursor can only scan forward";
        return Err(PgError::new(codes::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
            .hint("write FETCH n, FETCH NEXT or FETCH ALL"));
    }
    if let Some(Word::Number(digits)) = words.peek() {
        let count = digits.parse().map_err(|_| words.unexpected())?;
        words.take();
        return Ok(RowCount::Rows(count));
    }
    Ok(RowCount::Rows(1))
}

/// Tells whether a direction of FETCH is next, and not a cursor of that name.
fn is_direction(words: &Words<'_>, named: &[&str]) -> bool {
    let mut ahead = words.clone();
    ahead.takes_any(named).is_some() && !ahead.is_done()
}

#[cfg(test)]
mod tests {
    use super::super::statement::Statement;
    use super::*;

    fn read(text: &str) -> PgResult<Statement> {
        Statement::read(text, 0)
    }

    #[test]
    fn a_fetch_waits_for_a_time() {
        for (text, timeout) in [
            ("FETCH ALL c", None),
            ("FETCH ALL c WITH (timeout = '1s')", Some(Duration::from_secs(1))),
            ("FETCH 10 FROM c WITH (TIMEOUT '250 ms')", Some(Duration::from_millis(250))),
            ("FETCH 10 c WITH (timeout = '0s')", Some(Duration::ZERO)),
            ("FETCH 10 c WITH (timeout = 1.5)", Some(Duration::from_millis(1500))),
            ("FETCH 10 c WITH (timeout = '2 minutes')", Some(Duration::from_secs(120))),
        ] {
            let Ok(Statement::Fetch(fetch)) = read(text) else { panic!("{text}") };
            assert_eq!((fetch.name.as_str(), fetch.timeout), ("c", timeout), "{text}");
        }
        for (text, position) in [
            ("FETCH ALL c WITH (timeout = 'soon')", Some(29)),
            ("FETCH ALL c WITH (timeout = '-1s')", Some(29)),
            ("FETCH ALL c WITH (limit = 1)", Some(19)),
            ("FETCH ALL c WITH timeout", Some(18)),
        ] {
            let told = read(text).map_err(|error| (error.code, error.position));
            assert_eq!(told, Err(("42601", position)), "{text}");
        }
    }

    #[test]
    fn cursors_and_copies_follow_views() {
        let Ok(Statement::Declare(declared)) = read("DECLARE c CURSOR FOR SUBSCRIBE TO v WITH (progress)")
        else {
            panic!("no cursor")
        };
        let RowSource::Changes(followed) = declared.rows else { panic!("{declared:?}") };
        assert_eq!((followed.view.position, followed.progress), (35, true));
        let Ok(Statement::Copy(RowSource::Changes(followed), _)) =
            read("COPY (SUBSCRIBE TO (SELECT a FROM v WHERE (a > 1))) TO STDOUT")
        else {
            panic!("no COPY")
        };
        let condition = QueryText { text: "(a > 1)".to_owned(), before: 42 };
        assert_eq!(followed.condition, Some(condition));
        for (text, position) in [
            ("DECLARE c CURSOR FOR SUBSCRIBE TO v now", Some(37)),
            ("COPY (SUBSCRIBE TO v WHERE a) TO STDOUT", Some(22)),
        ] {
            let told = read(text).map_err(|error| (error.code, error.position));
            assert_eq!(told, Err(("42601", position)), "{text}");
        }
    }
}
