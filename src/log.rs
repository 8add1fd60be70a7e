//! Logging: `tracing` events to standard error, as text for people or JSON for machines.
//!
//! Repeated lines are suppressed. The same text is written once in ten seconds, and one callsite
//! writes at most twenty lines in that time; the next line that is written says how many
//! like it were not shown. Colours appear on a terminal only. Logging goes to standard error, so
//! that results on standard output can be piped.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{Format, JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::cli::LogFormat;
use crate::exit::mistake;

/// Time for which a written line suppresses equal ones.
const WINDOW: Duration = Duration::from_secs(10);
/// Most lines that one callsite writes in a window.
const BURST: u32 = 20;
/// Most texts that are remembered; beyond it expired ones are dropped.
const MAX_TEXTS: usize = 2048;

/// Starts logging for the whole process.
pub fn start(format: LogFormat, level: &str) -> Result<()> {
    // A single word that is no level would be taken for the name of a module, and nothing be logged.
    let is_level =
        ["off", "error", "warn", "info", "debug", "trace"].contains(&level.to_lowercase().as_str());
    if !is_level && level.chars().all(char::is_alphanumeric) {
        return Err(mistake(format!(
            "--log-level {level:?} (HERALD_LOG_LEVEL) is not a level: write error, warn, info, debug or trace"
        )));
    }
    let filter = EnvFilter::try_new(own_crates(level)).map_err(|error| {
        mistake(format!(
            "--log-level {level:?} is not a level or filter: {error}. Write error, warn, info, debug or trace"
        ))
    })?;
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => builder
            .with_ansi(colours)
            .event_format(Limited::new(Format::default().with_target(false).with_ansi(colours), false))
            .init(),
        LogFormat::Json => builder
            .with_ansi(false)
            .fmt_fields(JsonFields::new())
            .event_format(Limited::new(Format::default().json().flatten_event(true), true))
            .init(),
    }
    Ok(())
}

/// The filter of a level: debug and trace are of Herald's own crates, since those of the libraries would bury them.
/// Filters that name modules stay as they are.
fn own_crates(level: &str) -> String {
    let lower = level.to_lowercase();
    if !["debug", "trace"].contains(&lower.as_str()) {
        return level.to_owned();
    }
    let own = ["herald", "connectors", "dataflows", "schemas", "state", "kafka"];
    format!("info,{}", own.map(|name| format!("{name}={lower}")).join(","))
}

/// An event format that suppresses repeated events.
struct Limited<F> {
    inner: F,
    json: bool,
    windows: Mutex<Windows>,
}

impl<F> Limited<F> {
    fn new(inner: F, json: bool) -> Limited<F> {
        Limited { inner, json, windows: Mutex::new(Windows::default()) }
    }

    /// Decides whether an event is written: `None` if not, else the number of equal ones suppressed before
    /// it.
    fn admit(&self, event: &Event<'_>) -> Option<u64> {
        let mut text = Text::default();
        event.record(&mut text);
        let mut place = DefaultHasher::new();
        event.metadata().callsite().hash(&mut place);
        // Events bridged from the `log` crate share one callsite a level, so they share no burst.
        let bridged = event.metadata().target() == "log";
        let place = place.finish();
        let mut line = DefaultHasher::new();
        (place, &text.0).hash(&mut line);
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        windows.admit(Instant::now(), line.finish(), (!bridged).then_some(place))
    }
}

impl<S, N, F> FormatEvent<S, N> for Limited<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> std::fmt::Result {
        match self.admit(event) {
            None => Ok(()),
            Some(0) => self.inner.format_event(context, writer, event),
            Some(hidden) if self.json => {
                let mut line = String::new();
                self.inner.format_event(context, Writer::new(&mut line), event)?;
                let line = line.trim_end();
                let open = line.strip_suffix('}').unwrap_or(line);
                writeln!(writer, "{open},\"not_shown\":{hidden}}}")
            }
            Some(hidden) => {
                self.inner.format_event(context, writer.by_ref(), event)?;
                writeln!(writer, "  ({hidden} lines like it were not shown)")
            }
        }
    }
}

/// The current window of each line and of each callsite, by hash.
#[derive(Default)]
struct Windows {
    lines: HashMap<u64, Window>,
    places: HashMap<u64, Window>,
}

struct Window {
    since: Instant,
    written: u32,
    hidden: u64,
}

impl Windows {
    fn admit(&mut self, now: Instant, line: u64, place: Option<u64>) -> Option<u64> {
        if self.lines.len() > MAX_TEXTS {
            self.lines.retain(|_, window| now.duration_since(window.since) < WINDOW);
            // A flood of distinct lines within one window. Forgetting them only writes more lines.
            if self.lines.len() > MAX_TEXTS {
                self.lines.clear();
            }
        }
        let by_line = count_line(self.lines.entry(line), now, 1)?;
        match place {
            Some(place) => count_line(self.places.entry(place), now, BURST).map(|more| more + by_line),
            None => Some(by_line),
        }
    }
}

/// Counts one more line in a window. `None` when the window's share is used up, else the number suppressed in
/// the window before.
fn count_line(
    entry: std::collections::hash_map::Entry<'_, u64, Window>,
    now: Instant,
    share: u32,
) -> Option<u64> {
    let window = entry.or_insert(Window { since: now, written: 0, hidden: 0 });
    let mut hidden = 0;
    if now.duration_since(window.since) >= WINDOW {
        hidden = window.hidden;
        *window = Window { since: now, written: 0, hidden: 0 };
    }
    if window.written >= share {
        window.hidden += 1;
        return None;
    }
    window.written += 1;
    Some(hidden)
}

/// The fields of an event as one text, by which repeated lines are recognised.
#[derive(Default)]
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let _ = write!(self.0, "{}={value:?};", field.name());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_line_is_written_once_in_a_window_and_then_counted() {
        let mut windows = Windows::default();
        let start = Instant::now();
        assert_eq!(windows.admit(start, 1, Some(9)), Some(0));
        assert_eq!(windows.admit(start + Duration::from_secs(1), 1, Some(9)), None);
        assert_eq!(windows.admit(start + Duration::from_secs(2), 1, Some(9)), None);
        assert_eq!(windows.admit(start + WINDOW, 1, Some(9)), Some(2));
    }

    #[test]
    fn one_place_writes_a_burst_and_no_more() {
        let mut windows = Windows::default();
        let now = Instant::now();
        let written = (0..100).filter(|line| windows.admit(now, *line, Some(7)).is_some()).count();
        assert_eq!(written, BURST as usize);
    }

    #[test]
    fn the_lines_of_libraries_are_left_out_of_debug() {
        assert_eq!(own_crates("warn"), "warn");
        assert_eq!(own_crates("rdkafka=debug"), "rdkafka=debug");
        assert!(own_crates("DEBUG").starts_with("info,herald=debug,"), "{}", own_crates("DEBUG"));
    }

    #[test]
    fn memory_is_bounded() {
        let mut windows = Windows::default();
        let now = Instant::now();
        for line in 0..10 * MAX_TEXTS as u64 {
            windows.admit(now, line, None);
        }
        assert!(windows.lines.len() <= MAX_TEXTS + 1);
    }
}
