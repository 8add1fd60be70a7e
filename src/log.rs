//! Logging: `tracing` events to standard error, as text for people or JSON for machines.
//!
//! Lines that repeat are held back. The same text is written once in ten seconds, and one place
//! in the code writes at most twenty lines in that time; the next line let through says how many
//! like it were not shown. Colours appear on a terminal only. Logging goes to standard error, so
//! that results on standard output can be piped.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::IsTerminal;
use std::sync::Mutex;
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

/// How long a line that was written keeps its like from being written again.
const WINDOW: Duration = Duration::from_secs(10);
/// Lines one place in the code may write in a window.
const BURST: u32 = 20;
/// Texts remembered; beyond it the old ones are dropped.
const REMEMBERED: usize = 2048;

/// Starts logging for the whole process.
pub fn start(format: LogFormat, level: &str) -> Result<()> {
    let filter = EnvFilter::try_new(level).map_err(|error| {
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

/// An event format that leaves out what repeats too often.
struct Limited<F> {
    inner: F,
    json: bool,
    windows: Mutex<Windows>,
}

impl<F> Limited<F> {
    fn new(inner: F, json: bool) -> Limited<F> {
        Limited { inner, json, windows: Mutex::new(Windows::default()) }
    }

    /// `None` when the event is not to be written, else how many like it were not.
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
        let mut windows = self.windows.lock().unwrap_or_else(|broken| broken.into_inner());
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
        if self.lines.len() > REMEMBERED {
            self.lines.retain(|_, window| now.duration_since(window.since) < WINDOW);
            // A flood of distinct lines within one window: forgetting them only shows more.
            if self.lines.len() > REMEMBERED {
                self.lines.clear();
            }
        }
        let by_line = count(self.lines.entry(line), now, 1)?;
        match place {
            Some(place) => count(self.places.entry(place), now, BURST).map(|more| more + by_line),
            None => Some(by_line),
        }
    }
}

/// Counts one more line; `None` when the window has had its share.
fn count(entry: std::collections::hash_map::Entry<'_, u64, Window>, now: Instant, share: u32) -> Option<u64> {
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

/// The fields of an event as one text, to tell repeated lines by.
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
    fn memory_is_bounded() {
        let mut windows = Windows::default();
        let now = Instant::now();
        for line in 0..10 * REMEMBERED as u64 {
            windows.admit(now, line, None);
        }
        assert!(windows.lines.len() <= REMEMBERED + 1);
    }
}
