//! Settings of a session: those that clients of PostgreSQL set and ask for, with their values in PostgreSQL's
//! spelling.
//!
//! Some have an effect (the time zone, time limits, the name of the application), others are kept and shown
//! only. A change within a transaction is undone by its rollback, SET LOCAL also by its commit.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::super::errors::{PgError, PgResult, codes};
use super::zone::Zone;
use crate::query::catalog::{SERVER_VERSION, SERVER_VERSION_NUM};

/// Most settings with a dot in their name, which clients invent.
const MAX_CUSTOM: usize = 100;
/// Most bytes of a value.
const MAX_VALUE_BYTES: usize = 16 << 10;

/// Form of a setting's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Any text.
    Text,
    /// `on` or `off`.
    Switch,
    /// A number.
    Number,
    /// A time in milliseconds, shown with a unit.
    Time,
    /// A size, kept as it is written.
    Size,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A time zone.
    Zone,
    /// `ISO` and an order of dates.
    DateStyle,
    /// UTF8.
    Encoding,
    /// Not to be changed.
    Fixed,
}

/// A known setting.
struct Known {
    /// Its name as PostgreSQL spells it.
    name: &'static str,
    default: &'static str,
    form: Form,
    /// Set if clients are told its changes.
    reported: bool,
}

const fn known(name: &'static str, default: &'static str, form: Form) -> Known {
    Known { name, default, form, reported: false }
}

const fn reported(name: &'static str, default: &'static str, form: Form) -> Known {
    Known { name, default, form, reported: true }
}

/// Levels of isolation.
const LEVELS: &[&str] = &["repeatable read", "serializable", "read committed", "read uncommitted"];
/// Levels of messages.
const MESSAGES: &[&str] =
    &["notice", "debug5", "debug4", "debug3", "debug2", "debug1", "debug", "log", "warning", "error"];

/// The settings, in the order of their names without regard to case.
const KNOWN: [Known; 60] = [
    reported("application_name", "", Form::Text),
    known("array_nulls", "on", Form::Switch),
    known("backslash_quote", "safe_encoding", Form::Text),
    known("block_size", "8192", Form::Fixed),
    known("bytea_output", "hex", Form::OneOf(&["hex"])),
    known("check_function_bodies", "on", Form::Switch),
    reported("client_encoding", "UTF8", Form::Encoding),
    known("client_min_messages", "notice", Form::OneOf(MESSAGES)),
    known("cursor_tuple_fraction", "0.1", Form::Number),
    reported("DateStyle", "ISO, MDY", Form::DateStyle),
    known("default_tablespace", "", Form::Text),
    known("default_text_search_config", "pg_catalog.simple", Form::Text),
    known("default_transaction_deferrable", "off", Form::Switch),
    known("default_transaction_isolation", "repeatable read", Form::OneOf(LEVELS)),
    reported("default_transaction_read_only", "on", Form::Switch),
    known("effective_cache_size", "4GB", Form::Size),
    known("escape_string_warning", "on", Form::Switch),
    known("extra_float_digits", "1", Form::Number),
    known("geqo", "on", Form::Switch),
    known("idle_in_transaction_session_timeout", "600000", Form::Time),
    known("idle_session_timeout", "0", Form::Time),
    reported("in_hot_standby", "off", Form::Fixed),
    reported("integer_datetimes", "on", Form::Fixed),
    reported("IntervalStyle", "postgres", Form::OneOf(&["postgres"])),
    reported("is_superuser", "off", Form::Fixed),
    known("jit", "off", Form::Switch),
    known("lc_collate", "C.UTF-8", Form::Fixed),
    known("lc_ctype", "C.UTF-8", Form::Fixed),
    known("lc_messages", "C.UTF-8", Form::Text),
    known("lc_monetary", "C.UTF-8", Form::Text),
    known("lc_numeric", "C.UTF-8", Form::Text),
    known("lc_time", "C.UTF-8", Form::Text),
    known("lock_timeout", "0", Form::Time),
    known("max_identifier_length", "63", Form::Fixed),
    known("max_index_keys", "32", Form::Fixed),
    known("max_parallel_workers_per_gather", "0", Form::Number),
    known("password_encryption", "scram-sha-256", Form::OneOf(&["scram-sha-256"])),
    known("plan_cache_mode", "auto", Form::Text),
    known("quote_all_identifiers", "off", Form::Switch),
    known("random_page_cost", "4", Form::Number),
    known("role", "none", Form::Fixed),
    known("row_security", "on", Form::Switch),
    reported("scram_iterations", "4096", Form::Fixed),
    known("search_path", "\"$user\", public", Form::Text),
    reported("server_encoding", "UTF8", Form::Fixed),
    reported("server_version", SERVER_VERSION, Form::Fixed),
    known("server_version_num", SERVER_VERSION_NUM, Form::Fixed),
    reported("session_authorization", "", Form::Fixed),
    known("session_replication_role", "origin", Form::OneOf(&["origin"])),
    known("ssl", "off", Form::Fixed),
    reported("standard_conforming_strings", "on", Form::OneOf(&["on"])),
    known("statement_timeout", "0", Form::Time),
    known("synchronous_commit", "on", Form::Text),
    reported("TimeZone", "UTC", Form::Zone),
    known("transaction_deferrable", "off", Form::Switch),
    known("transaction_isolation", "repeatable read", Form::OneOf(LEVELS)),
    known("transaction_read_only", "on", Form::Switch),
    known("transform_null_equals", "off", Form::Switch),
    known("work_mem", "4MB", Form::Size),
    known("xmloption", "content", Form::OneOf(&["content", "document"])),
];

/// Beginnings of names of settings that only PostgreSQL's own planner and log have; they are kept.
const KEPT_PREFIXES: [&str; 5] = ["enable_", "log_", "debug_", "tcp_", "max_parallel_"];

/// Values of a session's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Those at the beginning of the session, by name in lower case.
    first: BTreeMap<String, String>,
    /// Those that differ from the first.
    changed: BTreeMap<String, String>,
    /// Names of those that SET LOCAL has changed, with the values that come back.
    local: BTreeMap<String, Option<String>>,
    /// Names of those whose value clients have not been told yet.
    untold: BTreeSet<&'static str>,
    /// Names of those that the client's first message has, in lower case.
    begun: BTreeSet<String>,
    /// Name of the database, as the client gave it.
    database: String,
}

impl Settings {
    /// The settings of a session as `user`, for which TLS is on or not, with a time limit of statements.
    pub fn new(user: &str, database: &str, tls: bool, limit: Duration) -> Settings {
        let mut first = BTreeMap::new();
        for setting in &KNOWN {
            first.insert(setting.name.to_lowercase(), setting.default.to_owned());
        }
        first.insert("session_authorization".to_owned(), user.to_owned());
        first.insert("ssl".to_owned(), switch(tls).to_owned());
        first.insert("statement_timeout".to_owned(), limit.as_millis().to_string());
        let untold = KNOWN.iter().filter(|setting| setting.reported).map(|setting| setting.name).collect();
        Settings {
            first,
            changed: BTreeMap::new(),
            local: BTreeMap::new(),
            untold,
            begun: BTreeSet::new(),
            database: database.to_owned(),
        }
    }

    /// Sets the value that a setting has at the beginning of the session, as the client's first message has
    /// it.
    ///
    /// # Errors
    /// When there is no such setting, or it does not take the value.
    pub fn begin_with(&mut self, name: &str, value: &str) -> PgResult<()> {
        let (name, value) = checked(name, value)?;
        self.begun.insert(name.clone());
        self.first.insert(name, value);
        Ok(())
    }

    /// Sets a setting; None is its value at the beginning of the session.
    ///
    /// # Errors
    /// When there is no such setting, or it does not take the value.
    pub fn set(&mut self, name: &str, value: Option<&str>, local: bool) -> PgResult<()> {
        let (name, value) = match value {
            Some(value) => checked(name, value).map(|(name, value)| (name, Some(value)))?,
            None => (settable(name)?, None),
        };
        if !self.first.contains_key(&name) && self.changed.len() >= MAX_CUSTOM {
            let message = format!("a session has at most {MAX_CUSTOM} settings of its own");
            return Err(PgError::new(codes::CONFIGURATION_LIMIT_EXCEEDED, message));
        }
        let before = self.changed.get(&name).cloned();
        if local {
            self.local.entry(name.clone()).or_insert(before);
        } else {
            self.local.remove(&name);
        }
        self.change(&name, value);
        Ok(())
    }

    /// Gives a setting a value, or the first one.
    fn change(&mut self, name: &str, value: Option<String>) {
        match value {
            Some(value) => self.changed.insert(name.to_owned(), value),
            None => self.changed.remove(name),
        };
        if let Some(setting) = find(name)
            && setting.reported
        {
            self.untold.insert(setting.name);
        }
    }

    /// Gives all settings their first values.
    pub fn reset_all(&mut self) {
        for name in self.changed.keys().cloned().collect::<Vec<_>>() {
            self.change(&name, None);
        }
        self.local.clear();
    }

    /// Ends a transaction that is committed: SET LOCAL is undone.
    pub fn commit(&mut self) {
        for (name, before) in std::mem::take(&mut self.local) {
            self.change(&name, before);
        }
    }

    /// Goes back to earlier settings.
    pub fn roll_back(&mut self, earlier: Settings) {
        let told: BTreeMap<&'static str, String> = self.reported_values().collect();
        *self = earlier;
        let now: BTreeMap<&'static str, String> = self.reported_values().collect();
        self.untold =
            now.iter().filter(|(name, value)| told.get(*name) != Some(value)).map(|(n, _)| *n).collect();
    }

    fn reported_values(&self) -> impl Iterator<Item = (&'static str, String)> {
        KNOWN.iter().filter(|setting| setting.reported).map(|s| (s.name, self.shown(&s.name.to_lowercase())))
    }

    /// Names and values that clients have to be told.
    pub fn take_untold(&mut self) -> Vec<(&'static str, String)> {
        let untold = std::mem::take(&mut self.untold);
        untold.into_iter().map(|name| (name, self.shown(&name.to_lowercase()))).collect()
    }

    /// The value of a setting as SHOW tells it, with the setting's name.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn show(&self, name: &str) -> PgResult<(String, String)> {
        let lower = name.to_lowercase();
        if !self.first.contains_key(&lower) && !self.changed.contains_key(&lower) {
            return Err(unknown(name));
        }
        let spelt = find(&lower).map_or(lower.clone(), |setting| setting.name.to_owned());
        Ok((spelt, self.shown(&lower)))
    }

    /// All settings and their values, by name.
    pub fn show_all(&self) -> Vec<(String, String)> {
        let names: BTreeSet<&String> = self.first.keys().chain(self.changed.keys()).collect();
        names.into_iter().filter_map(|name| self.show(name).ok()).collect()
    }

    fn value(&self, name: &str) -> &str {
        self.changed.get(name).or_else(|| self.first.get(name)).map_or("", String::as_str)
    }

    fn shown(&self, name: &str) -> String {
        let value = self.value(name);
        match find(name).map(|setting| setting.form) {
            Some(Form::Time) => shown_time(value),
            _ => value.to_owned(),
        }
    }

    /// A time limit; None if it is off.
    pub fn limit(&self, name: &str) -> Option<Duration> {
        let ms: u64 = self.value(name).parse().unwrap_or(0);
        (ms > 0).then(|| Duration::from_millis(ms))
    }

    /// A time limit that the client has set itself; None if it is off, or the server's.
    pub fn own_limit(&self, name: &str) -> Option<Duration> {
        let is_own = self.changed.contains_key(name) || self.begun.contains(name);
        if is_own { self.limit(name) } else { None }
    }

    /// The time zone.
    pub fn zone(&self) -> Zone {
        Zone::parse(self.value("timezone")).map_or(Zone::Utc, |(zone, _)| zone)
    }

    /// The database, as the client named it.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// All settings and their values as SHOW tells them, by name in lower case.
    pub fn shown_values(&self) -> BTreeMap<String, String> {
        let names = self.first.keys().chain(self.changed.keys());
        names.map(|name| (name.clone(), self.shown(name))).collect()
    }

    /// The user that has logged in.
    pub fn user(&self) -> &str {
        self.value("session_authorization")
    }

    /// The name of the application.
    pub fn application(&self) -> &str {
        self.value("application_name")
    }
}

fn find(name: &str) -> Option<&'static Known> {
    KNOWN.iter().find(|setting| setting.name.eq_ignore_ascii_case(name))
}

fn switch(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}

fn unknown(name: &str) -> PgError {
    PgError::new(codes::UNDEFINED_OBJECT, format!("unrecognized configuration parameter \"{name}\""))
}

/// The name of a setting that may be set, in lower case.
fn settable(name: &str) -> PgResult<String> {
    let lower = name.to_lowercase();
    match find(&lower) {
        Some(setting) if setting.form == Form::Fixed => {
            let message = format!("parameter \"{}\" cannot be changed", setting.name);
            Err(PgError::new("55P02", message))
        }
        Some(_) => Ok(lower),
        None if lower.contains('.') || KEPT_PREFIXES.iter().any(|prefix| lower.starts_with(prefix)) => {
            Ok(lower)
        }
        None => Err(unknown(name)),
    }
}

/// The name of a setting in lower case, and its value as it is kept.
fn checked(name: &str, value: &str) -> PgResult<(String, String)> {
    let lower = settable(name)?;
    if value.len() > MAX_VALUE_BYTES {
        let message = format!("the value of \"{name}\" is longer than {} KiB", MAX_VALUE_BYTES >> 10);
        return Err(PgError::new(codes::PROGRAM_LIMIT_EXCEEDED, message));
    }
    let form = find(&lower).map_or(Form::Text, |setting| setting.form);
    let kept = match form {
        Form::Text | Form::Size | Form::Fixed => Some(value.to_owned()),
        Form::Switch => truth(value).map(|on| switch(on).to_owned()),
        Form::Number => value.trim().parse::<f64>().ok().map(|_| value.trim().to_owned()),
        Form::Time => milliseconds(value).map(|ms| ms.to_string()),
        Form::OneOf(words) => one_of(words, value),
        Form::Zone => Zone::parse(value).map(|(_, name)| name),
        Form::DateStyle => date_style(value),
        Form::Encoding => encoding(value),
    };
    let Some(kept) = kept else {
        let message = format!("invalid value for parameter \"{name}\": \"{value}\"");
        let mut error = PgError::new(codes::INVALID_PARAMETER_VALUE, message);
        error.hint = remedy(form);
        return Err(error);
    };
    Ok((lower, kept))
}

/// Values that a form takes, where they are fewer than PostgreSQL's.
fn remedy(form: Form) -> Option<String> {
    match form {
        Form::OneOf(words) => Some(format!("Available values: {}.", words.join(", "))),
        Form::DateStyle => Some("Dates are written in ISO 8601.".to_owned()),
        Form::Encoding => Some("Text is UTF8.".to_owned()),
        _ => None,
    }
}

fn one_of(words: &[&str], value: &str) -> Option<String> {
    let value = value.trim();
    let switched = truth(value).map(switch);
    let found = words.iter().find(|word| word.eq_ignore_ascii_case(value) || switched == Some(**word));
    found.map(|word| (*word).to_owned())
}

fn truth(value: &str) -> Option<bool> {
    match value.trim().to_lowercase().as_str() {
        "on" | "true" | "yes" | "1" | "t" | "y" => Some(true),
        "off" | "false" | "no" | "0" | "f" | "n" => Some(false),
        _ => None,
    }
}

/// `ISO` and the order of day, month and year, which is only shown.
fn date_style(value: &str) -> Option<String> {
    let mut order = "MDY";
    for part in value.split([',', ' ']).filter(|part| !part.is_empty()) {
        match part.to_uppercase().as_str() {
            "ISO" => {}
            "MDY" | "US" | "NONEURO" | "NONEUROPEAN" => order = "MDY",
            "DMY" | "EURO" | "EUROPEAN" => order = "DMY",
            "YMD" => order = "YMD",
            _ => return None,
        }
    }
    Some(format!("ISO, {order}"))
}

/// The name of an encoding, if text in it is text in UTF-8.
fn encoding(value: &str) -> Option<String> {
    let plain: String = value.chars().filter(char::is_ascii_alphanumeric).collect();
    match plain.to_lowercase().as_str() {
        "utf8" | "unicode" => Some("UTF8".to_owned()),
        // Without a conversion: the bytes are those of UTF-8.
        "sqlascii" => Some("SQL_ASCII".to_owned()),
        _ => None,
    }
}

/// Milliseconds of `5000`, `5s`, `1 min`.
fn milliseconds(value: &str) -> Option<u64> {
    let value = value.trim();
    let digits = value.trim_end_matches(|c: char| c.is_ascii_alphabetic()).trim_end();
    let number: f64 = digits.parse().ok()?;
    let unit = match value[digits.len()..].trim() {
        "" | "ms" => 1.0,
        "us" => 0.001,
        "s" => 1000.0,
        "min" => 60_000.0,
        "h" => 3_600_000.0,
        "d" => 86_400_000.0,
        _ => return None,
    };
    let ms = (number * unit).round();
    (0.0..=f64::from(i32::MAX)).contains(&ms).then_some(ms as u64)
}

/// Milliseconds in the greatest unit that divides them.
fn shown_time(ms: &str) -> String {
    let number: u64 = ms.parse().unwrap_or(0);
    for (unit, length) in [("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1000)] {
        if number > 0 && number.is_multiple_of(length) {
            return format!("{}{unit}", number / length);
        }
    }
    if number == 0 { "0".to_owned() } else { format!("{number}ms") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        let mut settings = Settings::new("anna", "anna", false, Duration::from_secs(60));
        settings.take_untold();
        settings
    }

    fn shown(settings: &Settings, name: &str) -> String {
        settings.show(name).map_or_else(|error| error.code.to_owned(), |(_, value)| value)
    }

    #[test]
    fn names_are_in_order_and_unique() {
        let names: Vec<String> = KNOWN.iter().map(|setting| setting.name.to_lowercase()).collect();
        assert!(names.is_sorted_by(|a, b| a < b), "{names:?}");
    }

    #[test]
    fn values_are_spelt_as_in_postgresql() {
        let mut settings = settings();
        for (name, value, spelt) in [
            ("statement_timeout", "5000", "5s"),
            ("statement_timeout", "1 min", "1min"),
            ("lock_timeout", "1500ms", "1500ms"),
            ("datestyle", "iso, dmy", "ISO, DMY"),
            ("timezone", "america/new_york", "America/New_York"),
            ("client_encoding", "utf-8", "UTF8"),
            ("jit", "true", "on"),
            ("standard_conforming_strings", "1", "on"),
            ("my.own", "x", "x"),
            ("enable_seqscan", "off", "off"),
        ] {
            assert_eq!(settings.set(name, Some(value), false), Ok(()), "{name} = {value}");
            assert_eq!(shown(&settings, name), spelt, "{name} = {value}");
        }
        assert_eq!(settings.limit("lock_timeout"), Some(Duration::from_millis(1500)));
        for (name, value, code) in [
            ("server_version", "17", "55P02"),
            ("no_such", "1", "42704"),
            ("datestyle", "German", "22023"),
            ("client_encoding", "latin1", "22023"),
            ("bytea_output", "escape", "22023"),
            ("timezone", "Mars/Base", "22023"),
        ] {
            let told = settings.set(name, Some(value), false).map_err(|error| error.code);
            assert_eq!(told, Err(code), "{name} = {value}");
        }
        assert_eq!(shown(&settings, "no_such"), "42704");
        assert_eq!(settings.show("datestyle").map(|(name, _)| name).as_deref(), Ok("DateStyle"));
    }

    #[test]
    fn a_transaction_undoes_what_is_its_own() {
        let mut settings = settings();
        let before = settings.clone();
        assert!(settings.set("application_name", Some("a"), true).is_ok());
        assert!(settings.set("jit", Some("on"), false).is_ok());
        assert_eq!(settings.take_untold(), [("application_name", "a".to_owned())]);
        settings.commit();
        assert_eq!((settings.application(), shown(&settings, "jit")), ("", "on".to_owned()));
        assert_eq!(settings.take_untold(), [("application_name", String::new())]);
        assert!(settings.set("timezone", Some("Europe/Berlin"), false).is_ok());
        settings.take_untold();
        settings.roll_back(before);
        assert_eq!(shown(&settings, "jit"), "off");
        assert_eq!(settings.take_untold(), [("TimeZone", "UTC".to_owned())]);
    }

    #[test]
    fn resetting_goes_back_to_the_first_values() {
        let mut settings = settings();
        assert!(settings.begin_with("TimeZone", "Europe/Berlin").is_ok());
        assert!(settings.set("timezone", Some("UTC"), false).is_ok());
        settings.reset_all();
        assert_eq!(shown(&settings, "timezone"), "Europe/Berlin");
        assert_eq!(shown(&settings, "statement_timeout"), "1min");
    }

    #[test]
    fn a_limit_is_the_servers_or_the_clients() {
        let mut settings = settings();
        let limits = |settings: &Settings| {
            (settings.limit("statement_timeout"), settings.own_limit("statement_timeout"))
        };
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(limits(&settings), (seconds(60), None));
        assert!(settings.set("Statement_Timeout", Some("5s"), false).is_ok());
        assert_eq!(limits(&settings), (seconds(5), seconds(5)));
        settings.reset_all();
        assert_eq!(limits(&settings), (seconds(60), None));
        assert!(settings.begin_with("statement_timeout", "9s").is_ok());
        assert_eq!(limits(&settings), (seconds(9), seconds(9)));
    }
}
