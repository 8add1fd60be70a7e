//! Parsing of intervals, by PostgreSQL's rules.
//!
//! A value is a list of numbers with units (`1 day -2 hours`), of clock times (`04:05:06.7`) and of
//! years with months (`1-2`), each with its own sign. A number before a clock time counts days, the
//! last number without a unit seconds. A fraction of a unit is carried to smaller ones: years to
//! months, months to days (30 per month), days to time. `ago` negates the whole value. A text that
//! begins with P is in ISO-8601.

use super::{HOUR_US, MONTH_DAYS, Span, to_i64};
use crate::types::time::{DAY_US, SECOND_US};

const MINUTE_US: i64 = 60 * SECOND_US;

/// Parses an interval; a number without a unit counts `unit`s.
pub(super) fn parse(text: &str, unit: Option<&str>) -> Option<Span> {
    let text = text.trim();
    if text.len() > 1000 {
        return None;
    }
    if let Some(iso) = text.strip_prefix(['P', 'p']) {
        return parse_iso_8601(iso);
    }
    let tokens = tokenize(text)?;
    let mut sum = Sum::default();
    let mut at = 0;
    let mut any = false;
    while at < tokens.len() {
        let next = tokens.get(at + 1);
        match &tokens[at] {
            Token::Word(word) if word == "@" => {}
            Token::Word(word) if word == "ago" && any && at + 1 == tokens.len() => sum.negate()?,
            Token::Word(_) => return None,
            Token::Clock(text) => {
                sum.us = sum.us.checked_add(parse_clock(text)?)?;
                any = true;
            }
            Token::Number(number) if number[1..].contains('-') => {
                sum.add_months(parse_years_and_months(number)?)?;
                any = true;
            }
            Token::Number(number) => {
                let (unit, took) = match next {
                    Some(Token::Word(word)) if word != "ago" && word != "@" => (word.as_str(), true),
                    Some(Token::Clock(_)) => ("day", false),
                    None | Some(Token::Word(_)) => (unit.unwrap_or("second"), false),
                    Some(Token::Number(_)) => return None,
                };
                sum.add_unit(number, unit)?;
                at += usize::from(took);
                any = true;
            }
        }
        at += 1;
    }
    if any { sum.to_span() } else { None }
}

/// A token of an interval's text.
enum Token {
    /// A number with its sign, possibly with a fraction, or a pair like `1-2`.
    Number(String),
    /// A clock time like `04:05:06.7`, with its sign.
    Clock(String),
    /// A word in lower case.
    Word(String),
}

fn tokenize(text: &str) -> Option<Vec<Token>> {
    let mut out = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == ',');
        let Some(first) = rest.chars().next() else { return Some(out) };
        let number = first.is_ascii_digit() || "+-.".contains(first);
        let end = if first == '@' {
            1
        } else if number {
            let after = rest[1..].find(|c: char| !(c.is_ascii_digit() || ".:-".contains(c)));
            after.map_or(rest.len(), |at| at + 1)
        } else {
            rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len())
        };
        if end == 0 {
            return None;
        }
        let (token, after) = rest.split_at(end);
        out.push(if !number {
            Token::Word(token.to_lowercase())
        } else if token.contains(':') {
            Token::Clock(token.to_owned())
        } else {
            Token::Number(token.to_owned())
        });
        rest = after;
    }
}

/// The sum of the parts read so far.
#[derive(Default)]
struct Sum {
    months: i64,
    days: i64,
    us: i64,
}

impl Sum {
    fn to_span(&self) -> Option<Span> {
        let (months, days) = (i32::try_from(self.months).ok()?, i32::try_from(self.days).ok()?);
        Some(Span { months, days, us: self.us })
    }

    fn negate(&mut self) -> Option<()> {
        self.months = self.months.checked_neg()?;
        self.days = self.days.checked_neg()?;
        self.us = self.us.checked_neg()?;
        Some(())
    }

    fn add_months(&mut self, months: i64) -> Option<()> {
        self.months = self.months.checked_add(months)?;
        Some(())
    }

    fn add_days(&mut self, days: i64) -> Option<()> {
        self.days = self.days.checked_add(days)?;
        Some(())
    }

    /// Adds `whole` and `fraction` units of `us` microseconds.
    fn add_time(&mut self, whole: i64, fraction: f64, us: i64) -> Option<()> {
        let exact = whole.checked_mul(us)?;
        let scaled = fraction * us as f64;
        let rest = scaled.trunc();
        let round = if (scaled - rest).abs() > 0.5 { scaled.signum() } else { 0.0 };
        self.us = self.us.checked_add(exact)?.checked_add(to_i64(rest + round)?)?;
        Some(())
    }

    /// Adds `fraction` of `days` days.
    fn add_part_of_days(&mut self, fraction: f64, days: i64) -> Option<()> {
        let scaled = fraction * days as f64;
        self.add_days(to_i64(scaled.trunc())?)?;
        self.add_time(0, scaled - scaled.trunc(), DAY_US)
    }

    fn add_years(&mut self, whole: i64, fraction: f64, years: i64) -> Option<()> {
        self.add_months(whole.checked_mul(years * 12)?)?;
        self.add_months(to_i64((fraction * (years * 12) as f64).round_ties_even())?)
    }

    fn add_unit(&mut self, number: &str, unit: &str) -> Option<()> {
        let (whole, fraction) = parse_number(number)?;
        match unit {
            "us" | "usec" | "usecs" | "usecond" | "useconds" | "microsecon" | "microsecond"
            | "microseconds" => self.add_time(whole, fraction, 1),
            "ms" | "msec" | "msecs" | "msecond" | "mseconds" | "millisecon" | "millisecond"
            | "milliseconds" => self.add_time(whole, fraction, 1000),
            "s" | "sec" | "secs" | "second" | "seconds" => self.add_time(whole, fraction, SECOND_US),
            "m" | "min" | "mins" | "minute" | "minutes" => self.add_time(whole, fraction, MINUTE_US),
            "h" | "hr" | "hrs" | "hour" | "hours" => self.add_time(whole, fraction, HOUR_US),
            "d" | "day" | "days" => {
                self.add_days(whole)?;
                self.add_part_of_days(fraction, 1)
            }
            "w" | "week" | "weeks" => {
                self.add_days(whole.checked_mul(7)?)?;
                self.add_part_of_days(fraction, 7)
            }
            "mon" | "mons" | "month" | "months" => {
                self.add_months(whole)?;
                self.add_part_of_days(fraction, MONTH_DAYS)
            }
            "y" | "yr" | "yrs" | "year" | "years" => self.add_years(whole, fraction, 1),
            "dec" | "decs" | "decade" | "decades" => self.add_years(whole, fraction, 10),
            "c" | "cent" | "cents" | "century" | "centuries" => self.add_years(whole, fraction, 100),
            "mil" | "mils" | "millennium" | "millennia" => self.add_years(whole, fraction, 1000),
            _ => None,
        }
    }
}

/// Parses a number into its whole part and its fraction, both with its sign.
fn parse_number(text: &str) -> Option<(i64, f64)> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.len() + fraction.len() == 0 || !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let fraction: f64 = if fraction.is_empty() { 0.0 } else { format!("0.{fraction}").parse().ok()? };
    Some(if text.starts_with('-') { (-whole, -fraction) } else { (whole, fraction) })
}

fn all_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Parses years and months like `1-2`, under one sign.
fn parse_years_and_months(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (years, months) = digits.split_once('-')?;
    let (years, months): (i64, i64) = (years.parse().ok()?, months.parse().ok()?);
    if !(0..12).contains(&months) {
        return None;
    }
    let sum = years.checked_mul(12)?.checked_add(months)?;
    Some(if text.starts_with('-') { -sum } else { sum })
}

/// Parses `HH:MM`, `MM:SS.f` or `HH:MM:SS[.f]`, under one sign.
fn parse_clock(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let parts: Vec<&str> = digits.split(':').collect();
    let (hours, minutes, seconds) = match parts.as_slice() {
        [minutes, seconds] if seconds.contains('.') => ("0", *minutes, *seconds),
        [hours, minutes] => (*hours, *minutes, "0"),
        [hours, minutes, seconds] => (*hours, *minutes, *seconds),
        _ => return None,
    };
    let (hours, minutes): (i64, i64) = (hours.parse().ok()?, minutes.parse().ok()?);
    let (whole, fraction) = parse_number(seconds)?;
    if hours < 0 || !(0..60).contains(&minutes) || !(0..=60).contains(&whole) {
        return None;
    }
    let mut sum = Sum::default();
    sum.add_time(hours, 0.0, HOUR_US)?;
    sum.add_time(minutes, 0.0, MINUTE_US)?;
    sum.add_time(whole, fraction, SECOND_US)?;
    Some(if text.starts_with('-') { -sum.us } else { sum.us })
}

/// Parses the text after the P of `P1Y2M3DT4H5M6.7S`.
fn parse_iso_8601(text: &str) -> Option<Span> {
    let mut sum = Sum::default();
    let (mut rest, mut of_time, mut any) = (text, false, false);
    while let Some(first) = rest.chars().next() {
        // What follows cuts the first letter off as one byte.
        if !first.is_ascii() {
            return None;
        }
        if first.eq_ignore_ascii_case(&'t') && !of_time {
            (of_time, rest) = (true, &rest[1..]);
            continue;
        }
        let end = rest[1..].find(|c: char| !(c.is_ascii_digit() || c == '.'))? + 1;
        let (number, after) = rest.split_at(end);
        let unit = match (after.chars().next()?.to_ascii_lowercase(), of_time) {
            ('y', false) => "year",
            ('m', false) => "month",
            ('w', false) => "week",
            ('d', false) => "day",
            ('h', true) => "hour",
            ('m', true) => "minute",
            ('s', true) => "second",
            _ => return None,
        };
        sum.add_unit(number, unit)?;
        (rest, any) = (&after[1..], true);
    }
    if any { sum.to_span() } else { None }
}
