//! to_date and to_timestamp: text as times by PostgreSQL's patterns.
//!
//! Blanks and separators of text and pattern match each other, a literal character of the pattern consumes
//! one character of the text, and a number ends with its digits, or after the width of its field if another
//! field follows directly. Fields that the pattern leaves out have their first value: midnight of a day,
//! January 1 of a year. The rest of the text is ignored.

use arrow::array::ArrayRef;
use arrow::datatypes::{Date32Type, TimestampMicrosecondType};
use datafusion_common::Result;
use schemas::types::time::{SECOND_US, days_of_civil};

use super::{Code, DAYS, MONTHS, PatternItem, ROMAN, parse_pattern};
use crate::functions::time::calendar::{Moment, days_of_date, in_days, timestamp_at};
use crate::functions::time::udf::{LastParsed, TimeResult, Ty, map_text_pairs};

/// to_timestamp(text, pattern).
pub(in crate::functions::time) fn to_timestamp(args: &[ArrayRef]) -> Result<ArrayRef> {
    let mut patterns = LastParsed::new(parse_pattern);
    map_text_pairs::<TimestampMicrosecondType>(args, Ty::Timestamptz, |text, pattern| {
        let read = scan_fields(text, patterns.parse(pattern)?)?;
        timestamp_at(read.days_since_1970()?, read.time_of_day()? - read.zone)
    })
}

/// to_date(text, pattern).
pub(in crate::functions::time) fn to_date(args: &[ArrayRef]) -> Result<ArrayRef> {
    let mut patterns = LastParsed::new(parse_pattern);
    map_text_pairs::<Date32Type>(args, Ty::Date, |text, pattern| {
        let read = scan_fields(text, patterns.parse(pattern)?)?;
        read.time_of_day()?;
        in_days(read.days_since_1970()?)
    })
}

/// The fields found in a text.
#[derive(Default)]
struct ScannedFields {
    year: Option<i64>,
    /// True if the year is short and counts within the century.
    short: bool,
    century: Option<i64>,
    before_christ: bool,
    iso_year: Option<i64>,
    month: Option<i64>,
    day: Option<i64>,
    of_year: Option<i64>,
    week: Option<i64>,
    week_of_month: Option<i64>,
    iso_week: Option<i64>,
    iso_weekday: Option<i64>,
    julian: Option<i64>,
    hour: Option<i64>,
    hour_of_half: Option<i64>,
    afternoon: Option<bool>,
    minute: i64,
    second: i64,
    us: i64,
    seconds_of_day: Option<i64>,
    /// Microseconds east of Greenwich.
    zone: i64,
    zone_sign: i64,
}

/// The text still to be scanned.
struct Text<'a> {
    rest: &'a str,
    /// Number of characters skipped without a counterpart in the pattern.
    extra: i64,
}

impl Text<'_> {
    fn skip_blanks(&mut self) {
        let trimmed = self.rest.trim_start();
        self.extra += (self.rest.len() - trimmed.len()) as i64;
        self.rest = trimmed;
    }

    /// Reads a whole number of at most `most` characters including its sign, or of any length; also returns
    /// the number of characters.
    fn read_number(&mut self, most: Option<usize>, name: &str) -> TimeResult<(i64, usize)> {
        self.rest = self.rest.trim_start();
        let sign = usize::from(self.rest.starts_with(['+', '-']));
        let digits = self.rest[sign..].bytes().take_while(u8::is_ascii_digit).count();
        let end = (sign + digits).min(most.unwrap_or(usize::MAX));
        let taken = self.rest.get(..end).unwrap_or_default();
        let Ok(value) = taken.parse::<i32>() else {
            let shown: String = self.rest.chars().take(most.unwrap_or(10)).collect();
            return Err(format!("invalid value '{shown}' for {name}: it must be a whole number"));
        };
        self.rest = &self.rest[end..];
        Ok((i64::from(value), end))
    }

    /// Reads a whole number, if `limited` one of at most `most` characters.
    fn read_value(&mut self, most: usize, limited: bool, name: &str) -> TimeResult<i64> {
        let (value, _) = self.read_number(limited.then_some(most), name)?;
        Ok(value)
    }

    /// Reads one of `names`, the longest that matches, or their first `short` characters; returns its index.
    fn read_name(&mut self, names: &[&str], short: Option<usize>, what: &str) -> TimeResult<i64> {
        let mut found: Option<(usize, usize)> = None;
        for (place, name) in names.iter().enumerate() {
            let length = short.unwrap_or(name.len()).min(name.len());
            let begins = self.rest.get(..length).is_some_and(|t| t.eq_ignore_ascii_case(&name[..length]));
            // The first of several equally long matches wins.
            if begins && found.is_none_or(|(_, taken)| length > taken) {
                found = Some((place, length));
            }
        }
        let Some((place, taken)) = found else {
            let shown: String = self.rest.chars().take(10).collect();
            return Err(format!("invalid value '{shown}' for {what}"));
        };
        self.rest = &self.rest[taken..];
        Ok(place as i64)
    }
}

fn scan_fields(text: &str, items: &[PatternItem]) -> TimeResult<ScannedFields> {
    let mut parts = ScannedFields { zone_sign: 1, ..ScannedFields::default() };
    let mut text = Text { rest: text, extra: 0 };
    for (index, item) in items.iter().enumerate() {
        match item {
            PatternItem::Text(c, quoted) => {
                if index == 0 {
                    text.skip_blanks();
                }
                skip_literal(&mut text, *c, *quoted);
            }
            PatternItem::Field { code: Code::Fixed, .. } => {
                return Err("FX in a pattern that is read is not supported".to_owned());
            }
            PatternItem::Field { code, bare, ordinal, name, .. } => {
                text.skip_blanks();
                if text.rest.is_empty() {
                    break;
                }
                let joined = matches!(items.get(index + 1), Some(PatternItem::Field { .. }));
                let digit =
                    matches!(items.get(index + 1), Some(PatternItem::Text(c, _)) if c.is_ascii_digit());
                parts.read_field(&mut text, *code, name, (joined || digit) && !bare)?;
                if ordinal.is_some() {
                    text.rest = text.rest.get(2..).unwrap_or_default();
                }
            }
        }
        if text.rest.is_empty() {
            break;
        }
    }
    Ok(parts)
}

fn skip_literal(text: &mut Text<'_>, c: char, quoted: bool) {
    let Some(next) = text.rest.chars().next() else { return };
    if is_separator(c) && !quoted {
        text.extra -= 1;
        if is_separator(next) {
            text.rest = &text.rest[next.len_utf8()..];
            text.extra += 1;
        }
        text.extra = text.extra.max(0);
    } else if text.extra > 0 {
        text.extra -= 1;
    } else {
        text.rest = &text.rest[next.len_utf8()..];
    }
}

fn is_separator(c: char) -> bool {
    c.is_whitespace() || c.is_ascii_punctuation()
}

impl ScannedFields {
    fn read_field(&mut self, text: &mut Text<'_>, code: Code, name: &str, limited: bool) -> TimeResult<()> {
        match code {
            Code::Year(digits) => {
                let (value, read) = text.read_number(limited.then_some(digits.into()), name)?;
                self.short = digits < 4 && read < 4;
                self.year = Some(if self.short { whole_year(value, read.min(digits.into())) } else { value });
                // With a century the digits of the year are not completed.
                if digits < 3 && self.century.is_some() {
                    self.year = Some(value);
                }
            }
            Code::IsoYear(digits) => {
                let (value, read) = text.read_number(limited.then_some(digits.into()), name)?;
                self.iso_year = Some(if digits < 4 && read < 4 { whole_year(value, read) } else { value });
            }
            Code::YearComma => {
                let thousands = text.read_number(None, name)?.0;
                let Some(rest) = text.rest.strip_prefix(',') else {
                    return Err("invalid value for Y,YYY".to_owned());
                };
                text.rest = rest;
                self.year = Some(thousands * 1000 + text.read_number(Some(3), name)?.0);
            }
            Code::Century => self.century = Some(text.read_value(2, limited, name)?),
            Code::Month => self.month = Some(text.read_value(2, limited, name)?),
            Code::MonthName => self.month = Some(text.read_name(&MONTHS, None, name)? + 1),
            Code::MonthShort => self.month = Some(text.read_name(&MONTHS, Some(3), name)? + 1),
            Code::Roman => self.month = Some(text.read_name(&ROMAN, None, name)? + 1),
            Code::DayName => {
                text.read_name(&DAYS, None, name)?;
            }
            Code::DayShort => {
                text.read_name(&DAYS, Some(3), name)?;
            }
            Code::Day => self.day = Some(text.read_value(2, limited, name)?),
            Code::OfYear => self.of_year = Some(text.read_value(3, limited, name)?),
            Code::Week => self.week = Some(text.read_value(2, limited, name)?),
            Code::WeekOfMonth => self.week_of_month = Some(text.read_value(1, limited, name)?),
            Code::IsoWeek => self.iso_week = Some(text.read_value(2, limited, name)?),
            Code::IsoWeekday => self.iso_weekday = Some(text.read_value(1, limited, name)?),
            Code::Weekday | Code::Quarter => {
                text.read_value(1, limited, name)?;
            }
            Code::Julian => self.julian = Some(text.read_number(None, name)?.0),
            Code::Era(points) => {
                let eras: &[&str] = if points { &["A.D.", "B.C."] } else { &["AD", "BC"] };
                self.before_christ = text.read_name(eras, None, name)? == 1;
            }
            _ => return self.read_time(text, code, name, limited),
        }
        Ok(())
    }

    fn read_time(&mut self, text: &mut Text<'_>, code: Code, name: &str, limited: bool) -> TimeResult<()> {
        match code {
            Code::Hour24 => self.hour = Some(text.read_value(2, limited, name)?),
            Code::Hour12 => self.hour_of_half = Some(text.read_value(2, limited, name)?),
            Code::Minute => self.minute = text.read_value(2, limited, name)?,
            Code::Second => self.second = text.read_value(2, limited, name)?,
            Code::Half(points) => {
                let halves: &[&str] = if points { &["A.M.", "P.M."] } else { &["AM", "PM"] };
                self.afternoon = Some(text.read_name(halves, None, name)? == 1);
            }
            Code::Millis => self.us += read_fraction(text, 3, limited, name)?,
            Code::Micros => self.us += read_fraction(text, 6, limited, name)?,
            Code::Fraction(digits) => self.us += read_fraction(text, digits.into(), limited, name)?,
            Code::SecondsOfDay => self.seconds_of_day = Some(text.read_value(5, limited, name)?),
            Code::ZoneHours => {
                self.zone_sign = if text.rest.starts_with('-') { -1 } else { 1 };
                self.zone += text.read_value(3, limited, name)? * 3600 * SECOND_US;
            }
            Code::ZoneMinutes => {
                self.zone += self.zone_sign * text.read_value(2, limited, name)? * 60 * SECOND_US
            }
            Code::Zone | Code::Offset => return Err(format!("{name} in a pattern is for to_char only")),
            _ => return Err(format!("{name} in a pattern is not read")),
        }
        Ok(())
    }

    /// Returns the microseconds since midnight.
    fn time_of_day(&self) -> TimeResult<i64> {
        if let Some(seconds) = self.seconds_of_day {
            return if (0..86_400).contains(&seconds) {
                Ok(seconds * SECOND_US + self.us)
            } else {
                Err(field_out_of_range())
            };
        }
        let hour = match (self.hour, self.hour_of_half, self.afternoon) {
            (_, Some(hour), _) if !(1..=12).contains(&hour) => {
                return Err("an hour of HH or HH12 is 1 to 12".to_owned());
            }
            (_, Some(hour), half) => match half {
                Some(late) => hour % 12 + if late { 12 } else { 0 },
                None => hour % 12,
            },
            (hour, None, half) => match (hour.unwrap_or(0), half) {
                (hour, Some(_)) if !(1..=12).contains(&hour) => {
                    return Err("an hour with AM or PM is 1 to 12".to_owned());
                }
                (hour, Some(late)) => hour % 12 + if late { 12 } else { 0 },
                (hour, None) => hour,
            },
        };
        let fits =
            (0..24).contains(&hour) && (0..60).contains(&self.minute) && (0..60).contains(&self.second);
        if fits {
            Ok((hour * 3600 + self.minute * 60 + self.second) * SECOND_US + self.us)
        } else {
            Err(field_out_of_range())
        }
    }

    /// Returns the astronomical year.
    fn full_year(&self) -> i64 {
        let year = match (self.year, self.century) {
            (Some(year), Some(century)) if self.short => (century - 1) * 100 + year % 100,
            (Some(year), _) => year,
            (None, Some(century)) => (century - 1) * 100 + 1,
            (None, None) => return 0,
        };
        match year {
            year if self.before_christ => 1 - year,
            year if year < 0 => year + 1,
            year => year,
        }
    }

    /// Returns the days since 1970.
    fn days_since_1970(&self) -> TimeResult<i64> {
        if let Some(julian) = self.julian {
            return Ok(julian.saturating_sub(2_440_588));
        }
        if let (Some(year), Some(week)) = (self.iso_year, self.iso_week) {
            // January 4 is always in the first ISO week of its year.
            let fourth = Moment::of_day(days_of_civil(year, 1, 4));
            return Ok(fourth.days - fourth.iso_weekday() + (week - 1) * 7 + self.iso_weekday.unwrap_or(1));
        }
        let year = self.iso_year.unwrap_or_else(|| self.full_year());
        let of_year = self.of_year.or(self.week.map(first_day_of_week));
        if let (Some(of_year), None) = (of_year, self.month) {
            let first = days_of_date(year, 1, 1)?;
            let fits = (1..=366).contains(&of_year) && first + of_year - 1 < days_of_date(year + 1, 1, 1)?;
            return if fits { Ok(first + of_year - 1) } else { Err(field_out_of_range()) };
        }
        let day = self.day.or(self.week_of_month.map(first_day_of_week));
        days_of_date(year, self.month.unwrap_or(1), day.unwrap_or(1))
    }
}

fn field_out_of_range() -> String {
    "date/time field value out of range".to_owned()
}

/// Returns the first day of a week of a month or a year, all counted from 1.
fn first_day_of_week(week: i64) -> i64 {
    (week - 1) * 7 + 1
}

/// Reads the digits of a fraction of a second as microseconds.
fn read_fraction(text: &mut Text<'_>, digits: usize, limited: bool, name: &str) -> TimeResult<i64> {
    let (value, read) = text.read_number(limited.then_some(digits), name)?;
    if read > digits || value < 0 {
        return Err(format!("invalid value for {name}"));
    }
    let places = u32::try_from(6 - read).map_err(|_| format!("invalid value for {name}"))?;
    Ok(value * 10i64.pow(places))
}

/// Completes a short year to the one nearest to 2020.
fn whole_year(value: i64, digits: usize) -> i64 {
    match value {
        value if digits >= 4 || value < 0 => value,
        value if value < 70 => value + 2000,
        value if value < 100 => value + 1900,
        value if value < 520 => value + 2000,
        value if value < 1000 => value + 1000,
        value => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each line is PostgreSQL's.
    #[test]
    fn texts_are_read_by_patterns_as_postgresql_reads_them() {
        for (text, pattern, expected) in [
            ("05 Dec 2000", "DD Mon YYYY", "2000-12-05"),
            ("2026-3-5", "YYYY-MM-DD", "2026-03-05"),
            ("20260305 140709", "YYYYMMDD HH24MISS", "2026-03-05T14:07:09"),
            ("2026-03-05 02:07:09 PM", "YYYY-MM-DD HH12:MI:SS AM", "2026-03-05T14:07:09"),
            ("26", "YY", "2026-01-01"),
            ("71", "YY", "1971-01-01"),
            ("15:12:02.020.001230", "HH24:MI:SS.MS.US", "0000-01-01T15:12:02.021230"),
            ("2006-42-4", "IYYY-IW-ID", "2006-10-19"),
            ("2026064", "YYYYDDD", "2026-03-05"),
            ("2461105", "J", "2026-03-05"),
            ("2026-03-05 10:00 +02:30", "YYYY-MM-DD HH24:MI TZH:TZM", "2026-03-05T07:30:00"),
            ("44-03-15 BC", "YYYY-MM-DD BC", "-0043-03-15"),
            ("05", "MM", "0000-05-01"),
            ("2000    JUN", "YYYY MON", "2000-06-01"),
            ("March 5th, 2026", "Month DDth, YYYY", "2026-03-05"),
            ("2026-03-05xyz", "YYYY-MM-DD", "2026-03-05"),
            ("3600", "SSSS", "0000-01-01T01:00:00"),
        ] {
            let read = scan_fields(text, &parse_pattern(pattern).unwrap()).unwrap();
            let us = timestamp_at(read.days_since_1970().unwrap(), read.time_of_day().unwrap() - read.zone);
            assert_eq!(us.ok(), schemas::types::time::parse_timestamp(expected), "{text} {pattern}");
        }
        let read = |text: &str, pattern: &str| {
            scan_fields(text, &parse_pattern(pattern).unwrap()).and_then(|p| p.days_since_1970())
        };
        assert!(read("2026-02-30", "YYYY-MM-DD").is_err());
        assert!(read("2026-x", "YYYY-MM").is_err());
        assert!(read("202635", "YYYYMMDD").is_err());
        // Numbers are INTs, as in PostgreSQL, so that nothing made of them passes a BIGINT.
        for pattern in ["WW YYYY", "CC", "Y,YYY", "IYYY IW", "TZH", "DDD YYYY", "J", "YYYY"] {
            assert!(
                scan_fields("9223372036854775807,999", &parse_pattern(pattern).unwrap()).is_err(),
                "{pattern}"
            );
            let most = scan_fields("2147483647,999 2147483647", &parse_pattern(pattern).unwrap());
            let _ = most.and_then(|p| Ok((p.days_since_1970()?, p.time_of_day()? - p.zone)));
        }
    }
}
