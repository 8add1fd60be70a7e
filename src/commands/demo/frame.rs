//! The demo's frames: the engine's numbers, and what the views of the match domain say now.

use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;

use super::Scene;
use super::notes::Notes;
use super::screen::Screen;
use super::world::player_name;
use crate::cli::OutputFormat;
use crate::driver::{Status, Summary};
use crate::metrics::Metrics;
use crate::query::{self, format};

/// Lines of the screen that the smallest frame fits, with the hint below it.
const FEWEST_LINES: usize = 24;
/// Lines from which a blank one stands before each section.
const TALL: usize = 30;
/// Sections of a frame.
const SECTIONS: usize = 5;
/// Interval between two frames, and between two looks for effects where nobody watches.
const INTERVAL: Duration = Duration::from_millis(500);
/// Columns from which a line has more to say.
const WIDE: usize = 100;
/// Next steps after the demo.
const NEXT: &str = "This Kafka was librdkafka's mock, which has no transactions: exactly-once\n\
     takes a real one. What next:\n  \
     herald demo --eject DIR   this topology as a project, with data and tests\n  \
     herald init               a topology of yours from a sample of your records\n  \
     herald --help             all commands";

/// The first line.
pub fn title(views: usize) -> String {
    format!("Herald demo: two games -> Kafka -> {views} views in SQL -> Kafka, in this process")
}

/// Draws the results until the time is over or the engine ends, and says what comes next.
pub fn draw_results(scene: &Scene<'_>, mut notes: Notes, engine: &JoinHandle<Result<Summary>>) -> Result<()> {
    let began = Instant::now();
    let screen = Screen::open(scene.watched);
    let mut last = format!("{}\n\nstarting", scene.title);
    let is_over = || engine.is_finished() || scene.time.is_some_and(|time| began.elapsed() >= time);
    loop {
        let status = scene.handle.status();
        if status.epoch > 0 {
            last = frame(scene, &status, &mut notes, screen.size())?;
        }
        if scene.watched {
            screen.draw(&format!("{last}\n{}", hint(scene.url.as_deref())))?;
        }
        if is_over() {
            break;
        }
        let next = Instant::now() + INTERVAL;
        while Instant::now() < next && !is_over() {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    drop(screen);
    println!("{last}\n\n{NEXT}");
    Ok(())
}

fn hint(url: Option<&str>) -> String {
    match url {
        Some(url) => format!(
            "Elsewhere: herald status; herald query \"SHOW TABLES\" --url {url}\nCtrl-C ends the demo."
        ),
        None => "Ctrl-C ends the demo.".to_owned(),
    }
}

/// Numbers of rows of each section.
struct RowCounts {
    live: usize,
    players: usize,
    trends: usize,
    notes: usize,
    /// Before each section.
    gap: &'static str,
}

/// Numbers of rows for a screen of so many lines: the smallest frame, and what is left spread over the sections.
fn rows_for(lines: usize) -> RowCounts {
    let gap = if lines >= TALL { "\n" } else { "" };
    let spare = lines.saturating_sub(FEWEST_LINES + if gap.is_empty() { 0 } else { SECTIONS });
    let more = |most: usize, share: usize| (spare / share).min(most);
    RowCounts {
        live: 1 + more(6, 6),
        players: 2 + more(6, 6),
        trends: 1 + more(4, 6),
        notes: 2 + more(3, 12),
        gap,
    }
}

/// One frame for a screen of so many columns and lines.
fn frame(
    scene: &Scene<'_>,
    status: &Status,
    notes: &mut Notes,
    (columns, lines): (usize, usize),
) -> Result<String> {
    let store = scene.handle.store().context("the engine has not opened its state")?;
    let epoch = store.snapshot()?;
    let ask = |sql: &str| -> Result<Vec<Value>> {
        let answer = query::answer_here(&epoch, sql)?;
        Ok(serde_json::from_str(&format::answer_text(&answer, OutputFormat::Json)?)?)
    };
    notes.look(ask)?;
    let (rows, wide) = (rows_for(lines), columns >= WIDE);
    let mut text = format!("{}\n{}", scene.title, status_text(scene.metrics, status, columns));
    let mut add = |head: &str, lines: Vec<String>| {
        let none = if lines.is_empty() { "  none yet\n" } else { "" };
        text.push_str(&format!("{}{head}:\n{none}", rows.gap));
        for line in lines {
            text.push_str(&format!("  {line}\n"));
        }
    };
    let live = ask("SELECT count(*) AS n FROM live_matches")?;
    let (mut shown, mut best) = (Vec::new(), Vec::new());
    for game in ["lol", "halo"] {
        shown.extend(ask(&live_matches(game, rows.live))?);
        best.extend(ask(&best_players(game, rows.players))?);
    }
    let head = format!("Being played now, {} matches watched (live_matches)", number(live.first(), "n"));
    add(&head, lines_of(&shown, |row| live_line(row, wide)));
    let hour = best.first().map_or("", |row| word(row, "hour"));
    let head = format!("Most kills in the hour of {hour}, a minute here (performance_hourly)");
    add(&head, lines_of(&best, |row| player_line(row, wide)));
    let found = ask("SELECT count(*) AS n FROM trends_detected")?;
    let head = format!("Changes of form, {} found (trends_detected)", number(found.first(), "n"));
    add(&head, lines_of(&ask(&format!("{TREND} LIMIT {}", rows.trends))?, trend_line));
    add("Sessions of the platform's users (user_sessions)", lines_of(&ask(SESSIONS)?, session_line));
    add("Done on the way, and its effect", notes.lines(rows.notes));
    Ok(text.trim_end().to_owned())
}

fn lines_of(rows: &[Value], line: impl Fn(&Value) -> String) -> Vec<String> {
    rows.iter().map(line).collect()
}

const TREND: &str = "SELECT game, player_id, direction, recent, baseline FROM trends_detected \
     ORDER BY ended_at DESC, match_id, player_id";
const SESSIONS: &str = "SELECT count(*) AS n, count(ended_at) AS ended, avg(duration_s) / 60.0 AS minutes \
     FROM user_sessions";

/// The query for those of a game that have been played longest.
fn live_matches(game: &str, rows: usize) -> String {
    format!(
        "SELECT game, match_id, mode, at_s, teams, players FROM live_matches \
         WHERE at_s IS NOT NULL AND game = '{game}' ORDER BY started_at, match_id LIMIT {rows}"
    )
}

/// The query for those with most kills in the hour that the last match ended in.
fn best_players(game: &str, rows: usize) -> String {
    format!(
        "SELECT game, value, games, win_rate, kda, damage_share, kills, to_char(window_start, 'HH24:MI') AS hour \
         FROM performance_hourly WHERE dimension = 'player' AND game = '{game}' \
         AND window_start = (SELECT max(window_start) FROM performance_hourly) \
         ORDER BY kills DESC, value LIMIT {rows}"
    )
}

fn number(row: Option<&Value>, name: &str) -> f64 {
    row.and_then(|row| row[name].as_f64()).unwrap_or(0.0)
}

fn word<'a>(row: &'a Value, name: &str) -> &'a str {
    row[name].as_str().unwrap_or("")
}

fn live_line(row: &Value, wide: bool) -> String {
    let kills = |team: usize| row["teams"][team]["kills"].as_i64().unwrap_or(0);
    let line = format!(
        "{:<5}{:<18}minute {:>2}   {:>2} : {:<3} {}",
        word(row, "game"),
        word(row, "mode"),
        (number(Some(row), "at_s") / 60.0) as i64,
        kills(0),
        kills(1),
        word(row, "match_id")
    );
    if wide { format!("{line}   {} players", number(Some(row), "players")) } else { line }
}

fn player_line(row: &Value, wide: bool) -> String {
    let of = |name| number(Some(row), name);
    let line = format!(
        "{:<5}{:<18}{:>4} kills in {:>2} games   won {:>3.0}%   kda {:.2}",
        word(row, "game"),
        player_name(word(row, "value")),
        of("kills"),
        of("games"),
        100.0 * of("win_rate"),
        of("kda")
    );
    if wide { format!("{line}   {:.0}% of the team's damage", 100.0 * of("damage_share")) } else { line }
}

fn trend_line(row: &Value) -> String {
    format!(
        "{:<5}{:<18}{:<4} score {:.0} in the last 5 matches, {:.0} before",
        word(row, "game"),
        player_name(word(row, "player_id")),
        word(row, "direction"),
        number(Some(row), "recent"),
        number(Some(row), "baseline")
    )
}

fn session_line(row: &Value) -> String {
    let of = |name| number(Some(row), name);
    let (open, ended) = (of("n") - of("ended"), of("ended"));
    if ended == 0.0 {
        return format!("{open} open, none over yet");
    }
    format!("{open} open, {ended} over after {:.0} minutes on average", of("minutes"))
}

/// A quantile of the latency, as text.
fn latency_text(metrics: &Metrics, quantile: f64) -> String {
    match metrics.latency_quantile(quantile) {
        Some(seconds) => format!("{:.0} ms", seconds * 1e3),
        None => "unknown".to_owned(),
    }
}

/// The epoch, the latency, and the outcomes of the records of all sources.
fn status_text(metrics: &Metrics, status: &Status, columns: usize) -> String {
    let mut text = format!(
        "epoch {}; from record to sink {} in the middle, {} at 99%\n",
        status.epoch,
        latency_text(metrics, 0.5),
        latency_text(metrics, 0.99)
    );
    let count =
        |name: &str| -> u64 { status.sources.iter().filter_map(|source| source.outcomes.get(name)).sum() };
    let read: u64 = status.sources.iter().flat_map(|source| source.outcomes.values()).sum();
    let mut line = format!("{} sources: {read} records =", status.sources.len());
    for outcome in schemas::Outcome::ALL {
        let count = count(outcome.name());
        if count > 0 {
            let plus = if line.ends_with('=') { "" } else { " +" };
            let part = format!("{plus} {count} {}", outcome.name());
            if line.lines().last().map_or(0, str::len) + part.len() > columns {
                line.push_str("\n ");
            }
            line.push_str(&part);
        }
    }
    text.push_str(&format!("{line}\n"));
    if let Some(error) = &status.last_error {
        text.push_str(&format!("last error: {error}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lines_fit_a_narrow_screen() {
        let row = json!({
            "game": "halo", "mode": "capture the flag", "match_id": "halo-7000000123", "at_s": 725.0,
            "teams": [{"kills": 41}, {"kills": 38}], "players": 8, "value": "xuid(2533274800000017)",
            "player_id": "xuid(2533274800000017)", "games": 12, "win_rate": 0.5, "kda": 4.123, "direction": "down",
            "recent": 71.2, "baseline": 48.0, "kills": 120, "n": 12, "ended": 9, "minutes": 14.4,
        });
        let lines = [live_line(&row, false), player_line(&row, false), trend_line(&row), session_line(&row)];
        for line in &lines {
            assert!(line.chars().count() <= 78, "{line}");
        }
        assert!(lines[0].contains("minute 12   41 : 38"), "{}", lines[0]);
        assert!(lines[1].contains("120 kills in 12 games   won  50%   kda 4.12"), "{}", lines[1]);
        assert_eq!(lines[3], "3 open, 9 over after 14 minutes on average");
    }

    #[test]
    fn a_frame_fits_its_screen() {
        for lines in 24..120 {
            let rows = rows_for(lines);
            // Title, three lines of status, and the hint.
            let others = 6 + SECTIONS * (1 + rows.gap.len());
            let all = others + 2 * rows.live + 2 * rows.players + rows.trends + 1 + 2 * rows.notes;
            assert!(all < lines, "{all} of {lines}");
        }
    }
}
