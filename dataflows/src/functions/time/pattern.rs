//! to_char: times as text by PostgreSQL's patterns.
//!
//! A pattern is a list of fields (`YYYY`, `Mon`, `HH24`), each optionally preceded by FM (no blanks and no
//! zeros in front) and followed by TH or th, and of literal text; text in double quotes is never a field. A
//! pattern is parsed once and used for all rows that have it.

pub(crate) mod scan;

use arrow::array::ArrayRef;
use arrow::datatypes::{
    ArrowPrimitiveType, Date32Type, IntervalMonthDayNano, IntervalMonthDayNanoType, Time64MicrosecondType,
    TimestampMicrosecondType,
};
use datafusion_common::Result;
use schemas::types::span::Span;

use super::calendar::{Moment, midnight_of};
use super::udf::{LastParsed, Overload, TimeResult, Ty, write_by};

/// A field of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    /// AD or BC; true with points.
    Era(bool),
    /// AM or PM; true with points.
    Half(bool),
    Century,
    DayName,
    DayShort,
    OfYear,
    Day,
    Weekday,
    /// FF1 to FF6.
    Fraction(u8),
    Fixed,
    Hour24,
    Hour12,
    IsoOfYear,
    IsoWeekday,
    IsoWeek,
    /// The ISO year; number of its digits.
    IsoYear(u8),
    Julian,
    Minute,
    Month,
    MonthName,
    MonthShort,
    Millis,
    Micros,
    Offset,
    ZoneHours,
    ZoneMinutes,
    Zone,
    Quarter,
    Roman,
    SecondsOfDay,
    Second,
    Week,
    WeekOfMonth,
    YearComma,
    /// The year; number of its digits.
    Year(u8),
}

/// The letter case of a text field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Case {
    Upper,
    Lower,
    Title,
}

/// A part of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PatternItem {
    /// A literal character; true if it was in quotes.
    Text(char, bool),
    /// A field.
    Field {
        code: Code,
        case: Case,
        /// True with FM.
        bare: bool,
        /// Case of th or TH behind the field.
        ordinal: Option<Case>,
        name: &'static str,
    },
}

/// Names of numeric fields and marks; each stands before its own prefixes.
const NUMBERS: [(&str, Code); 46] = [
    ("A.D.", Code::Era(true)),
    ("B.C.", Code::Era(true)),
    ("A.M.", Code::Half(true)),
    ("P.M.", Code::Half(true)),
    ("AD", Code::Era(false)),
    ("BC", Code::Era(false)),
    ("AM", Code::Half(false)),
    ("PM", Code::Half(false)),
    ("CC", Code::Century),
    ("DDD", Code::OfYear),
    ("DD", Code::Day),
    ("FF1", Code::Fraction(1)),
    ("FF2", Code::Fraction(2)),
    ("FF3", Code::Fraction(3)),
    ("FF4", Code::Fraction(4)),
    ("FF5", Code::Fraction(5)),
    ("FF6", Code::Fraction(6)),
    ("FX", Code::Fixed),
    ("HH24", Code::Hour24),
    ("HH12", Code::Hour12),
    ("HH", Code::Hour12),
    ("IDDD", Code::IsoOfYear),
    ("ID", Code::IsoWeekday),
    ("IW", Code::IsoWeek),
    ("IYYY", Code::IsoYear(4)),
    ("IYY", Code::IsoYear(3)),
    ("IY", Code::IsoYear(2)),
    ("I", Code::IsoYear(1)),
    ("J", Code::Julian),
    ("MI", Code::Minute),
    ("MM", Code::Month),
    ("MS", Code::Millis),
    ("OF", Code::Offset),
    ("Q", Code::Quarter),
    ("RM", Code::Roman),
    ("SSSSS", Code::SecondsOfDay),
    ("SSSS", Code::SecondsOfDay),
    ("SS", Code::Second),
    ("TZH", Code::ZoneHours),
    ("TZM", Code::ZoneMinutes),
    ("TZ", Code::Zone),
    ("US", Code::Micros),
    ("WW", Code::Week),
    ("W", Code::WeekOfMonth),
    ("Y,YYY", Code::YearComma),
    ("YYYY", Code::Year(4)),
];
const SHORT_YEARS: [(&str, Code); 4] =
    [("YYY", Code::Year(3)), ("YY", Code::Year(2)), ("Y", Code::Year(1)), ("D", Code::Weekday)];
const NAMES: [(&str, Code, Case); 12] = [
    ("MONTH", Code::MonthName, Case::Upper),
    ("Month", Code::MonthName, Case::Title),
    ("month", Code::MonthName, Case::Lower),
    ("MON", Code::MonthShort, Case::Upper),
    ("Mon", Code::MonthShort, Case::Title),
    ("mon", Code::MonthShort, Case::Lower),
    ("DAY", Code::DayName, Case::Upper),
    ("Day", Code::DayName, Case::Title),
    ("day", Code::DayName, Case::Lower),
    ("DY", Code::DayShort, Case::Upper),
    ("Dy", Code::DayShort, Case::Title),
    ("dy", Code::DayShort, Case::Lower),
];

/// Names of the months.
pub(super) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
/// Names of the days of a week.
pub(super) const DAYS: [&str; 7] =
    ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
/// The months as Roman numbers.
pub(super) const ROMAN: [&str; 12] =
    ["I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII"];

/// Parses a pattern.
pub(super) fn parse_pattern(pattern: &str) -> TimeResult<Vec<PatternItem>> {
    if pattern.len() > 4096 {
        return Err("the pattern is too long".to_owned());
    }
    let mut out = Vec::new();
    let mut rest = pattern;
    while let Some(first) = rest.chars().next() {
        if first == '"' {
            rest = read_quoted(&rest[1..], &mut out);
            continue;
        }
        if let Some(after) = rest.strip_prefix("\\\"") {
            out.push(PatternItem::Text('"', false));
            rest = after;
            continue;
        }
        match parse_item(rest) {
            Some((item, after)) => {
                out.push(item);
                rest = after;
            }
            None => {
                out.push(PatternItem::Text(first, false));
                rest = &rest[first.len_utf8()..];
            }
        }
    }
    Ok(out)
}

/// Appends text up to the closing quote; returns the rest behind it.
fn read_quoted<'a>(mut rest: &'a str, out: &mut Vec<PatternItem>) -> &'a str {
    while let Some(next) = rest.chars().next() {
        rest = &rest[next.len_utf8()..];
        match next {
            '"' => return rest,
            '\\' => {
                if let Some(escaped) = rest.chars().next() {
                    out.push(PatternItem::Text(escaped, true));
                    rest = &rest[escaped.len_utf8()..];
                }
            }
            other => out.push(PatternItem::Text(other, true)),
        }
    }
    rest
}

/// Parses the field that a pattern begins with; also returns the rest behind it.
fn parse_item(text: &str) -> Option<(PatternItem, &str)> {
    let (mut rest, mut bare) = (text, false);
    while let Some(after) = strip_bare(rest) {
        (rest, bare) = (after, true);
    }
    let (name, code, case) = find_field(rest)?;
    rest = &rest[name.len()..];
    let ordinal = if let Some(after) = rest.strip_prefix("TH") {
        rest = after;
        Some(Case::Upper)
    } else if let Some(after) = rest.strip_prefix("th") {
        rest = after;
        Some(Case::Lower)
    } else {
        None
    };
    Some((PatternItem::Field { code, case, bare, ordinal, name }, rest))
}

/// Removes FM or TM in front. TM asks for local names, which are English here and not padded.
fn strip_bare(text: &str) -> Option<&str> {
    ["FM", "fm", "TM", "tm"].iter().find_map(|mark| text.strip_prefix(mark))
}

/// Finds the name that a text begins with, its field, and the letter case it is written in.
fn find_field(text: &str) -> Option<(&'static str, Code, Case)> {
    if let Some(named) = NAMES.iter().find(|(name, ..)| text.starts_with(name)) {
        return Some(*named);
    }
    let mut known = NUMBERS.iter().chain(&SHORT_YEARS);
    if let Some((name, code)) = known.clone().find(|(name, _)| text.starts_with(name)) {
        return Some((*name, *code, Case::Upper));
    }
    let (name, code) = known.find(|(name, _)| starts_in_lower_case(text, name))?;
    Some((*name, *code, Case::Lower))
}

fn starts_in_lower_case(text: &str, name: &str) -> bool {
    text.get(..name.len()).is_some_and(|start| start == name.to_lowercase())
}

/// The fields of a time to write: of an instant, or of an interval.
struct TimeFields {
    of: Moment,
    /// Hours; those of an interval can be above 23.
    hour: i64,
    minute: i64,
    second: i64,
    fraction: i64,
    zone: Option<&'static str>,
    interval: Option<Span>,
}

impl TimeFields {
    fn from_timestamp(us: i64, zone: Option<&'static str>) -> TimeFields {
        let of = Moment::from_us(us);
        let (hour, minute, second, fraction) = (of.hour(), of.minute(), of.second(), of.fraction());
        TimeFields { of, hour, minute, second, fraction, zone, interval: None }
    }

    fn from_interval(span: Span) -> TimeFields {
        let us = span.us;
        let second = schemas::types::time::SECOND_US;
        TimeFields {
            of: Moment::from_us(0),
            hour: us / (3600 * second),
            minute: us / (60 * second) % 60,
            second: us / second % 60,
            fraction: us % second,
            zone: None,
            interval: Some(span),
        }
    }

    /// Returns the year (or the ISO year) as it is written.
    fn written_year(&self, iso: bool) -> i64 {
        match self.interval {
            Some(span) => i64::from(span.months / 12),
            None => {
                let year = if iso { self.of.iso_week().0 } else { self.of.year };
                if year <= 0 { 1 - year } else { year }
            }
        }
    }

    /// Returns the value of a numeric field and its least number of digits.
    fn numeric_field(&self, code: Code) -> Option<(i64, usize)> {
        let of = &self.of;
        Some(match code {
            Code::Hour24 => (self.hour, 2),
            Code::Hour12 => (if self.hour % 12 == 0 { 12 } else { self.hour % 12 }, 2),
            Code::Minute => (self.minute, 2),
            Code::Second => (self.second, 2),
            Code::Millis => (self.fraction / 1000, 3),
            Code::Micros => (self.fraction, 6),
            Code::Fraction(digits) => (self.fraction / 10i64.pow(6 - u32::from(digits)), usize::from(digits)),
            Code::SecondsOfDay => (self.hour * 3600 + self.minute * 60 + self.second, 1),
            Code::Month => match self.interval {
                Some(span) => (i64::from(span.months % 12), 2),
                None => (i64::from(of.month), 2),
            },
            Code::Day => match self.interval {
                Some(span) => (i64::from(span.days), 2),
                None => (i64::from(of.day), 2),
            },
            Code::OfYear => match self.interval {
                Some(span) => (i64::from(span.months) * 30 + i64::from(span.days), 3),
                None => (of.of_year(), 3),
            },
            Code::Year(digits) => short_year(self.written_year(false), digits),
            Code::IsoYear(digits) => short_year(self.written_year(true), digits),
            Code::Century => (self.century(), 2),
            _ if self.interval.is_some() => return None,
            Code::Quarter => ((i64::from(of.month) - 1) / 3 + 1, 1),
            Code::Weekday => (of.weekday() + 1, 1),
            Code::IsoWeekday => (of.iso_weekday(), 1),
            Code::IsoWeek => (of.iso_week().1, 2),
            Code::IsoOfYear => ((of.iso_week().1 - 1) * 7 + of.iso_weekday(), 3),
            Code::Week => ((of.of_year() - 1) / 7 + 1, 2),
            Code::WeekOfMonth => ((i64::from(of.day) - 1) / 7 + 1, 1),
            Code::Julian => (of.days + 2_440_588, 1),
            _ => return None,
        })
    }

    fn century(&self) -> i64 {
        let year = match self.interval {
            Some(span) => return i64::from(span.months / 12) / 100,
            None => self.of.year,
        };
        if year > 0 { (year - 1) / 100 + 1 } else { year / 100 - 1 }
    }

    /// Returns the text of a field that is not a number, and the width it is padded to.
    fn text_field(&self, code: Code) -> Option<(String, usize)> {
        if let (Code::Half(points), morning) = (code, self.hour.rem_euclid(24) < 12) {
            let text = if morning { mark(points, "AM", "A.M.") } else { mark(points, "PM", "P.M.") };
            return Some((text, 0));
        }
        if self.interval.is_some() {
            return None;
        }
        let month = (self.of.month.max(1) as usize - 1).min(11);
        let day = DAYS[self.of.weekday() as usize % 7];
        Some(match code {
            Code::Era(points) => {
                (if self.of.year <= 0 { mark(points, "BC", "B.C.") } else { mark(points, "AD", "A.D.") }, 0)
            }
            Code::MonthName => (MONTHS[month].to_owned(), 9),
            Code::MonthShort => (MONTHS[month][..3].to_owned(), 0),
            Code::DayName => (day.to_owned(), 9),
            Code::DayShort => (day[..3].to_owned(), 0),
            Code::Roman => (ROMAN[month].to_owned(), 4),
            Code::Zone => (self.zone.unwrap_or_default().to_owned(), 0),
            Code::Offset | Code::ZoneHours => ("+00".to_owned(), 0),
            Code::ZoneMinutes => ("00".to_owned(), 0),
            Code::Fixed => (String::new(), 0),
            _ => return None,
        })
    }
}

/// Returns the text of a mark with or without points.
fn mark(points: bool, plain: &str, pointed: &str) -> String {
    if points { pointed } else { plain }.to_owned()
}

fn short_year(year: i64, digits: u8) -> (i64, usize) {
    let value = if digits >= 4 { year } else { year % 10i64.pow(u32::from(digits)) };
    (value, usize::from(digits))
}

fn format_items(items: &[PatternItem], source: &TimeFields) -> TimeResult<String> {
    let mut out = String::new();
    for item in items {
        let (code, case, bare, ordinal) = match item {
            PatternItem::Text(text, _) => {
                out.push(*text);
                continue;
            }
            PatternItem::Field { code, case, bare, ordinal, .. } => (*code, *case, *bare, *ordinal),
        };
        let start = out.len();
        if code == Code::YearComma {
            let year = source.written_year(false);
            out.push_str(&format!("{},{:03}", year / 1000, year % 1000));
        } else if let Some((value, width)) = source.numeric_field(code) {
            // Fractions always have all their digits.
            let kept = matches!(code, Code::Millis | Code::Micros | Code::Fraction(_));
            let signed = value < 0 && !matches!(code, Code::Day | Code::OfYear);
            let width = if bare && !kept { 0 } else { width + usize::from(signed) };
            out.push_str(&format!("{value:0width$}"));
        } else if let Some((text, width)) = source.text_field(code) {
            let text = match case {
                Case::Upper => text.to_uppercase(),
                Case::Lower => text.to_lowercase(),
                Case::Title => text,
            };
            let width = if bare { 0 } else { width };
            out.push_str(&format!("{text:<width$}"));
            continue;
        } else {
            return Err(
                "an interval has no such field: names of days and months, eras and zones are for timestamps"
                    .to_owned(),
            );
        }
        if let Some(case) = ordinal {
            let ending = ordinal_ending(&out[start..]);
            out.push_str(&if case == Case::Upper { ending.to_uppercase() } else { ending.to_owned() });
        }
    }
    Ok(out)
}

/// Returns the ending of an ordinal: st, nd, rd or th.
fn ordinal_ending(number: &str) -> &'static str {
    let digits = number.as_bytes();
    let teen = digits.len() > 1 && digits[digits.len() - 2] == b'1';
    match digits.last() {
        Some(b'1') if !teen => "st",
        Some(b'2') if !teen => "nd",
        Some(b'3') if !teen => "rd",
        _ => "th",
    }
}

/// Writes every value by its pattern; `fields` gives a value's fields.
fn write_fields<A: ArrowPrimitiveType>(
    args: &[ArrayRef],
    fields: impl Fn(A::Native) -> TimeResult<TimeFields>,
) -> Result<ArrayRef> {
    let mut patterns = LastParsed::new(parse_pattern);
    write_by::<A>(args, |value, pattern| format_items(patterns.parse(pattern)?, &fields(value)?))
}

macro_rules! to_char {
    ($ty:ident, $arrow:ty, $fields:expr) => {
        Overload {
            args: &[Ty::$ty, Ty::Text],
            out: Ty::Text,
            eval: |args| write_fields::<$arrow>(args, $fields),
        }
    };
}

/// to_char.
pub(super) const TO_CHAR: &[Overload] = &[
    to_char!(Timestamp, TimestampMicrosecondType, timestamp_fields),
    to_char!(Timestamptz, TimestampMicrosecondType, timestamptz_fields),
    to_char!(Date, Date32Type, date_fields),
    to_char!(Time, Time64MicrosecondType, time_fields),
    to_char!(Interval, IntervalMonthDayNanoType, interval_fields),
];

fn timestamp_fields(us: i64) -> TimeResult<TimeFields> {
    Ok(TimeFields::from_timestamp(us, None))
}

fn timestamptz_fields(us: i64) -> TimeResult<TimeFields> {
    Ok(TimeFields::from_timestamp(us, Some("UTC")))
}

fn date_fields(date: i32) -> TimeResult<TimeFields> {
    timestamptz_fields(midnight_of(date)?)
}

fn time_fields(us: i64) -> TimeResult<TimeFields> {
    Ok(TimeFields::from_interval(Span { us, ..Span::default() }))
}

fn interval_fields(of: IntervalMonthDayNano) -> TimeResult<TimeFields> {
    Ok(TimeFields::from_interval(Span::from(of)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(source: &TimeFields, pattern: &str) -> String {
        format_items(&parse_pattern(pattern).unwrap(), source).unwrap()
    }

    fn moment(text: &str, zone: Option<&'static str>) -> TimeFields {
        TimeFields::from_timestamp(schemas::types::time::parse_timestamp(text).unwrap(), zone)
    }

    /// Each line is PostgreSQL's.
    #[test]
    fn patterns_are_postgresqls() {
        let at = moment("2026-03-05T14:07:09.012345", None);
        for (pattern, expected) in [
            (
                "YYYY-MM-DD HH24:MI:SS.MS US HH HH12 AM am P.M. p.m.",
                "2026-03-05 14:07:09.012 012345 02 02 PM pm P.M. p.m.",
            ),
            ("Y,YYY YYY YY Y IYYY IYY IY I BC b.c.", "2,026 026 26 6 2026 026 26 6 AD a.d."),
            ("MONTH|Month|month|MON Mon mon", "MARCH    |March    |march    |MAR Mar mar"),
            ("DAY|Day|DY Dy dy DDD D ID IDDD", "THURSDAY |Thursday |THU Thu thu 064 5 4 067"),
            (
                "W WW IW CC J Q RM|rm|TZ tz|OF TZH TZM SSSS",
                "1 10 10 21 2461105 1 III |iii | |+00 +00 00 50829",
            ),
            ("FF1 FF2 FF3 FF6", "0 01 012 012345"),
            ("FMMonth|FMDD|FMHH12|DDth|DDTH|FMDDth|YYYYth", "March|5|2|05th|05TH|5th|2026th"),
            ("\"YYYY\"YYYY|TMMonth|FMDay,|\\\"x\\\"|%Y|FMRM|FX", "YYYY2026|March|Thursday,|\"x\"|%6|III|"),
        ] {
            assert_eq!(text(&at, pattern), expected, "{pattern}");
        }
        assert_eq!(text(&moment("2026-03-05T12:07", Some("UTC")), "HH24 TZ tz TZH:TZM"), "12 UTC utc +00:00");
        let early = moment("-0043-03-15", None);
        assert_eq!(text(&early, "YYYY BC B.C. YY CC J Y,YYY"), "0044 BC B.C. 44 -01 1705428 0,044");
        let span = TimeFields::from_interval(Span::parse("1 year 2 mons 3 days 14:05:06.7").unwrap());
        let pattern = "YYYY MM DD HH24 HH12 HH MI SS MS AM SSSS DDD";
        assert_eq!(text(&span, pattern), "0001 02 03 14 02 02 05 06 700 PM 50706 423");
        let span = TimeFields::from_interval(Span::parse("-1 day -02:03").unwrap());
        assert_eq!(text(&span, "DD HH24:MI"), "-1 -02:-03");
        assert!(format_items(&parse_pattern("Day").unwrap(), &span).is_err());
    }
}
