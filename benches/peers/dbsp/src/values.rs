//! Values of columns that are no plain numbers, and rows of them.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

use dbsp::dynamic::OrdRepr;
use dbsp::utils::{IsNone, SupportsRoaring};
use rkyv::string::{ArchivedString, StringResolver};
use rkyv::{Archive, Fallible, SerializeUnsized};
use serde::de::{Deserialize, Deserializer, Error, Visitor};
use size_of::{Context, SizeOf};

/// Milliseconds of a day.
pub const DAY_MS: i64 = 24 * 3600 * 1000;

/// Defines a row: a struct that a Z-set can hold, and whose fields are columns of an answer.
macro_rules! row {
    ($(#[$meta:meta])* $name:ident { $($field:ident: $type:ty,)* }) => {
        $(#[$meta])*
        #[derive(
            Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, size_of::SizeOf, rkyv::Archive,
            rkyv::Serialize, rkyv::Deserialize, feldera_macros::IsNone, feldera_macros::OrdRepr,
        )]
        #[archive_attr(derive(PartialEq, Eq, PartialOrd, Ord))]
        pub struct $name { $(pub $field: $type,)* }

        impl $crate::answer::Columns for $name {
            fn write(&self, line: &mut $crate::answer::Line) {
                $(line.put(stringify!($field), &self.$field);)*
            }
        }
    };
}
pub(crate) use row;

/// Text that is copied by counting: joins and aggregates copy rows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Text(Arc<str>);

impl Default for Text {
    fn default() -> Text {
        Text(Arc::from(""))
    }
}

impl From<String> for Text {
    fn from(text: String) -> Text {
        Text(Arc::from(text))
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Text {
        Text(Arc::from(text))
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Hash for Text {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl SizeOf for Text {
    fn size_of_children(&self, context: &mut Context) {
        context.add(self.0.len());
    }
}

impl IsNone for Text {
    type Inner = Text;

    fn is_none(&self) -> bool {
        false
    }

    fn unwrap_or_self(&self) -> &Text {
        self
    }

    fn from_inner(inner: Text) -> Text {
        inner
    }
}

impl SupportsRoaring for Text {}

impl OrdRepr<Text> for ArchivedString {
    fn ord_cmp(&self, other: &Text) -> std::cmp::Ordering {
        self.as_str().cmp(other)
    }
}

// The form on a disk, which dbsp asks for though nothing is stored here.
impl Archive for Text {
    type Archived = ArchivedString;
    type Resolver = StringResolver;

    #[allow(unsafe_code)]
    unsafe fn resolve(&self, at: usize, resolver: StringResolver, out: *mut ArchivedString) {
        // SAFETY: the caller's promises are those that are asked for.
        unsafe { ArchivedString::resolve_from_str(&self.0, at, resolver, out) }
    }
}

impl<S: Fallible + ?Sized> rkyv::Serialize<S> for Text
where
    str: SerializeUnsized<S>,
{
    fn serialize(&self, serializer: &mut S) -> Result<StringResolver, S::Error> {
        ArchivedString::serialize_from_str(&self.0, serializer)
    }
}

impl<D: Fallible + ?Sized> rkyv::Deserialize<Text, D> for ArchivedString {
    fn deserialize(&self, _: &mut D) -> Result<Text, D::Error> {
        Ok(Text::from(self.as_str()))
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Text, D::Error> {
        deserializer.deserialize_str(TextVisitor)
    }
}

/// Reads a text without a String between.
struct TextVisitor;

impl Visitor<'_> for TextVisitor {
    type Value = Text;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Text, E> {
        Ok(Text::from(text))
    }
}

/// Derives what a Z-set asks of a number with a name.
macro_rules! number {
    ($(#[$meta:meta])* $name:ident($of:ty)) => {
        $(#[$meta])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, size_of::SizeOf, rkyv::Archive,
            rkyv::Serialize, rkyv::Deserialize, feldera_macros::IsNone, feldera_macros::OrdRepr,
        )]
        #[archive_attr(derive(PartialEq, Eq, PartialOrd, Ord))]
        pub struct $name(pub $of);
    };
}

number! {
    /// TIMESTAMP: milliseconds since 1970.
    Time(i64)
}

number! {
    /// DECIMAL with three digits behind the point: thousandths.
    Thousandths(i128)
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Time, D::Error> {
        deserializer.deserialize_str(TimeVisitor)
    }
}

/// Reads `2026-01-01T00:00:00.000`.
struct TimeVisitor;

impl Visitor<'_> for TimeVisitor {
    type Value = Time;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a time to the millisecond")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Time, E> {
        Time::parse(text.as_bytes()).ok_or_else(|| E::custom(format!("{text} is no time")))
    }
}

impl Time {
    /// Parses `2026-01-01T00:00:00.000`.
    fn parse(text: &[u8]) -> Option<Time> {
        let &[
            y0,
            y1,
            y2,
            y3,
            b'-',
            m0,
            m1,
            b'-',
            d0,
            d1,
            b'T',
            h0,
            h1,
            b':',
            i0,
            i1,
            b':',
            s0,
            s1,
            b'.',
            f0,
            f1,
            f2,
        ] = text
        else {
            return None;
        };
        let [year, month, day] = [number(&[y0, y1, y2, y3])?, number(&[m0, m1])?, number(&[d0, d1])?];
        let [hour, minute, second] = [number(&[h0, h1])?, number(&[i0, i1])?, number(&[s0, s1])?];
        let in_day = ((hour * 60 + minute) * 60 + second) * 1000 + number(&[f0, f1, f2])?;
        Some(Time(days_of(year, month, day) * DAY_MS + in_day))
    }

    /// Days since 1970.
    pub fn day(self) -> i64 {
        self.0.div_euclid(DAY_MS)
    }

    /// Minutes since midnight.
    pub fn minute(self) -> i64 {
        self.0.rem_euclid(DAY_MS) / 60_000
    }

    /// The start of the window of that many milliseconds that it is in.
    pub fn window(self, ms: i64) -> Time {
        Time(self.0.div_euclid(ms) * ms)
    }

    /// The time that many milliseconds later.
    pub fn later(self, ms: i64) -> Time {
        Time(self.0 + ms)
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let ms = self.0.rem_euclid(DAY_MS);
        let [minute, second, ms] = [ms / 60_000, ms / 1000 % 60, ms % 1000];
        write!(f, "{}T{}:{second:02}.{ms:03}000", day_text(self.day()), minute_text(minute))
    }
}

impl fmt::Display for Thousandths {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let thousandths = self.0.unsigned_abs();
        write!(f, "{sign}{}.{:03}", thousandths / 1000, thousandths % 1000)
    }
}

/// The number that digits are.
fn number(digits: &[u8]) -> Option<i64> {
    digits
        .iter()
        .try_fold(0, |number, digit| digit.is_ascii_digit().then(|| number * 10 + i64::from(digit - b'0')))
}

/// Days of an era of the Gregorian calendar, 400 years.
const ERA_DAYS: i64 = 146_097;
/// Days from the first of March of the year 0 to 1970.
const EPOCH_DAYS: i64 = 719_468;

/// Days since 1970 of a date. Years begin in March, so that a leap day is a year's last.
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let (era, in_era) = (year.div_euclid(400), year.rem_euclid(400));
    let in_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * ERA_DAYS + in_era * 365 + in_era / 4 - in_era / 100 + in_year - EPOCH_DAYS
}

/// A day as `2026-01-01`.
pub fn day_text(days: i64) -> String {
    let days = days + EPOCH_DAYS;
    let (era, in_era) = (days.div_euclid(ERA_DAYS), days.rem_euclid(ERA_DAYS));
    let year = (in_era - in_era / 1460 + in_era / 36_524 - in_era / 146_096) / 365;
    let in_year = in_era - (365 * year + year / 4 - year / 100);
    let month = (5 * in_year + 2) / 153;
    let day = in_year - (153 * month + 2) / 5 + 1;
    let month = (month + 2) % 12 + 1;
    format!("{:04}-{month:02}-{day:02}", era * 400 + year + i64::from(month <= 2))
}

/// A minute of a day as `23:59`.
pub fn minute_text(minute: i64) -> String {
    format!("{:02}:{:02}", minute / 60, minute % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_written() {
        for text in [
            "2026-01-01T00:00:00.000",
            "2024-02-29T23:59:59.999",
            "1969-12-31T12:34:56.789",
            "2000-03-01T00:00:00.001",
        ] {
            let time = Time::parse(text.as_bytes()).unwrap();
            assert_eq!(time.to_string(), format!("{text}000"));
        }
        assert_eq!(Time::parse(b"1970-01-02T00:00:00.003"), Some(Time(DAY_MS + 3)));
        assert_eq!(Time::parse(b"1970-01-02 00:00:00.003"), None);
        assert_eq!(Time(-1).window(10_000), Time(-10_000));
    }

    #[test]
    fn decimals_have_all_digits() {
        assert_eq!(Thousandths(1_020).to_string(), "1.020");
        assert_eq!(Thousandths(-5).to_string(), "-0.005");
    }
}
