//! Values of parameters, as text and binary, to SQL that stands for them in a query: `CAST('5' AS BIGINT)`.
//!
//! The value is read here, so that one which is none of its type is refused before the query is planned, and
//! nothing of it but a literal gets into the text.

use schemas::types::decimal::{self, Excess};
use schemas::types::span::Span;
use schemas::types::{jsonb, time, uuid};

use super::super::errors::{PgError, PgResult, codes};
use super::super::sql::zone::Zone;
use super::binary::{DAYS_TO_2000, NEGATIVE, US_TO_2000};
use super::kind::Kind;
use super::spelling::{write_clock, write_date, write_timestamp};

/// Most bytes of all values of a query, as SQL.
const MAX_BYTES: usize = 4 << 20;
/// Most digits of a NUMERIC.
const MAX_DIGITS: usize = 38;

/// SQL of a parameter of a type whose value is not known yet, when a query is described.
pub fn unknown_value(kind: &Kind) -> String {
    format!("CAST(NULL AS {})", kind.sql_name())
}

/// SQL of the values of parameters: their bytes, the codes of their formats, and their types.
///
/// # Errors
/// When a value is none of its type.
pub fn values_sql(
    values: &[Option<bytes::Bytes>],
    formats: &[i16],
    kinds: &[Kind],
    zone: Zone,
) -> PgResult<Vec<Option<String>>> {
    let mut sql = Vec::with_capacity(values.len());
    let mut bytes = 0;
    for (at, (value, kind)) in values.iter().zip(kinds).enumerate() {
        let code = if formats.len() == 1 { formats.first() } else { formats.get(at) };
        let reader = Reader { kind, zone, number: at + 1 };
        let written = match (value, code.copied().unwrap_or(0)) {
            (None, _) => unknown_value(kind),
            (Some(value), 0) => reader.text_sql(value)?,
            (Some(value), 1) => reader.binary_sql(value)?,
            (Some(_), other) => {
                let message = format!("unsupported format code: {other}");
                return Err(PgError::new(codes::INVALID_PARAMETER_VALUE, message));
            }
        };
        bytes += written.len();
        if bytes > MAX_BYTES {
            let message = format!("the parameters of a query have more than {} MiB", MAX_BYTES >> 20);
            return Err(PgError::new(codes::PROGRAM_LIMIT_EXCEEDED, message));
        }
        sql.push(Some(written));
    }
    Ok(sql)
}

/// Reader of values of one parameter.
#[derive(Clone, Copy)]
struct Reader<'k> {
    kind: &'k Kind,
    zone: Zone,
    /// The number of the parameter, for messages.
    number: usize,
}

impl Reader<'_> {
    /// SQL of a value in text.
    fn text_sql(self, bytes: &[u8]) -> PgResult<String> {
        let text = std::str::from_utf8(bytes).map_err(|_| {
            PgError::new(codes::CHARACTER_NOT_IN_REPERTOIRE, "invalid byte sequence for encoding \"UTF8\"")
        })?;
        if text.contains('\0') {
            let message = "invalid byte sequence for encoding \"UTF8\": 0x00";
            return Err(PgError::new(codes::CHARACTER_NOT_IN_REPERTOIRE, message));
        }
        let trimmed = text.trim();
        let literal = match self.kind {
            Kind::Text | Kind::Name | Kind::Char => text.to_owned(),
            Kind::Bool => self.boolean(trimmed)?.to_owned(),
            Kind::Int2 => self.integer(trimmed, i64::from(i16::MIN)..=i64::from(i16::MAX))?,
            Kind::Int4 => self.integer(trimmed, i64::from(i32::MIN)..=i64::from(i32::MAX))?,
            Kind::Oid => self.integer(trimmed, 0..=i64::from(u32::MAX))?,
            Kind::Int8 => self.integer(trimmed, i64::MIN..=i64::MAX)?,
            Kind::Float4 | Kind::Float8 => match trimmed.parse::<f64>() {
                Ok(_) => trimmed.to_owned(),
                Err(_) => return Err(self.refused(text)),
            },
            Kind::Numeric(..) => return numeric_sql(trimmed).ok_or_else(|| self.refused(text)),
            Kind::Uuid => match uuid::parse(trimmed) {
                Some(value) => uuid::text(&value),
                None => return Err(self.refused(text)),
            },
            Kind::Jsonb | Kind::Nested(_) => match jsonb::canonical(text) {
                Ok(canonical) => canonical,
                Err(error) => return Err(self.refused(text).hint(error.to_string())),
            },
            Kind::Date => match time::parse_date(trimmed) {
                Some(days) => spelt(|out| write_date(out, i64::from(days))),
                // Other forms are left to the engine.
                None => trimmed.to_owned(),
            },
            Kind::Timestamptz => self.point_in_time(trimmed),
            Kind::Time | Kind::Timestamp => trimmed.to_owned(),
            Kind::Interval => match Span::parse(trimmed) {
                Some(span) => span.text(),
                None => return Err(self.refused(text)),
            },
            Kind::Bytea => return self.bytea_text(text),
            Kind::Array(item) => return self.array_text(text, item),
        };
        Ok(self.cast(&literal))
    }

    /// `CAST('...' AS TYPE)`.
    fn cast(self, literal: &str) -> String {
        format!("CAST('{}' AS {})", literal.replace('\'', "''"), self.kind.sql_name())
    }

    /// The error for a text that is no value of the type.
    fn refused(self, text: &str) -> PgError {
        let name = self.kind.sql_name().to_lowercase();
        let code = match self.kind {
            Kind::Interval => codes::INVALID_DATETIME_FORMAT,
            _ => codes::INVALID_TEXT_REPRESENTATION,
        };
        let shown: String = text.chars().take(100).collect();
        let message = format!("invalid input syntax for type {name}: \"{shown}\"");
        PgError::new(code, message).hint(format!("it is the value of ${}", self.number))
    }

    fn boolean(self, text: &str) -> PgResult<&'static str> {
        let lower = text.to_lowercase();
        let begins = |word: &str| !lower.is_empty() && word.starts_with(&lower);
        if lower == "1" || lower == "on" || begins("true") || begins("yes") {
            return Ok("true");
        }
        if lower == "0" || lower == "of" || lower == "off" || begins("false") || begins("no") {
            return Ok("false");
        }
        Err(self.refused(text))
    }

    fn integer(self, text: &str, range: std::ops::RangeInclusive<i64>) -> PgResult<String> {
        let parsed: Result<i128, _> = text.parse();
        match parsed {
            Ok(number) if i64::try_from(number).is_ok_and(|number| range.contains(&number)) => {
                Ok(number.to_string())
            }
            Ok(_) => {
                let name = self.kind.sql_name().to_lowercase();
                let message = format!("value \"{text}\" is out of range for type {name}");
                Err(PgError::new(codes::NUMERIC_VALUE_OUT_OF_RANGE, message))
            }
            Err(_) => Err(self.refused(text)),
        }
    }

    /// A point in time in UTC; one without an offset is of the session's zone.
    fn point_in_time(self, text: &str) -> String {
        let behind_clock = text.find(':').map_or("", |clock| &text[clock..]);
        let named = text.ends_with(['Z', 'z']) || behind_clock.contains(['+', '-']);
        match time::parse_timestamp(text) {
            Some(us) if named => spelt_utc(us),
            Some(us) => spelt_utc(self.zone.to_utc(us)),
            None => text.to_owned(),
        }
    }

    /// SQL of a BYTEA in PostgreSQL's two forms.
    fn bytea_text(self, text: &str) -> PgResult<String> {
        if let Some(digits) = text.strip_prefix("\\x") {
            let clean: String = digits.chars().filter(|c| !c.is_whitespace()).collect();
            let valid = clean.len().is_multiple_of(2) && clean.bytes().all(|b| b.is_ascii_hexdigit());
            if !valid {
                return Err(self.refused(text));
            }
            return Ok(format!("CAST('\\x{clean}' AS BYTEA)"));
        }
        let mut bytes = Vec::with_capacity(text.len());
        let mut rest = text.as_bytes();
        while let Some((first, after)) = rest.split_first() {
            rest = after;
            match (first, after) {
                (b'\\', [b'\\', tail @ ..]) => {
                    bytes.push(b'\\');
                    rest = tail;
                }
                (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', tail @ ..]) => {
                    bytes.push((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'));
                    rest = tail;
                }
                (b'\\', _) => return Err(self.refused(text)),
                (other, _) => bytes.push(*other),
            }
        }
        Ok(bytea_sql(&bytes))
    }

    /// SQL of a value in binary.
    fn binary_sql(self, bytes: &[u8]) -> PgResult<String> {
        let literal = match self.kind {
            Kind::Text | Kind::Name | Kind::Char => return self.text_sql(bytes),
            Kind::Bool => if self.fixed::<1>(bytes)? == [0] { "false" } else { "true" }.to_owned(),
            Kind::Int2 => i16::from_be_bytes(self.fixed(bytes)?).to_string(),
            Kind::Int4 => i32::from_be_bytes(self.fixed(bytes)?).to_string(),
            Kind::Oid => u32::from_be_bytes(self.fixed(bytes)?).to_string(),
            Kind::Int8 => i64::from_be_bytes(self.fixed(bytes)?).to_string(),
            Kind::Float4 => dataflows::sql::real_text(f32::from_be_bytes(self.fixed(bytes)?)),
            Kind::Float8 => dataflows::sql::double_text(f64::from_be_bytes(self.fixed(bytes)?)),
            Kind::Numeric(..) => {
                let text = numeric_text(bytes).ok_or_else(|| self.malformed())?;
                return numeric_sql(&text).ok_or_else(|| self.refused(&text));
            }
            Kind::Date => {
                let days = i32::from_be_bytes(self.fixed(bytes)?);
                spelt(|out| write_date(out, i64::from(days) + i64::from(DAYS_TO_2000)))
            }
            Kind::Time => {
                let us = i64::from_be_bytes(self.fixed(bytes)?);
                spelt(|out| write_clock(out, us))
            }
            Kind::Timestamp => {
                let us = i64::from_be_bytes(self.fixed(bytes)?).saturating_add(US_TO_2000);
                spelt(|out| write_timestamp(out, us, b' '))
            }
            Kind::Timestamptz => spelt_utc(i64::from_be_bytes(self.fixed(bytes)?).saturating_add(US_TO_2000)),
            Kind::Interval => {
                let all: [u8; 16] = self.fixed(bytes)?;
                let us = i64::from_be_bytes(self.fixed(&all[..8])?);
                let days = i32::from_be_bytes(self.fixed(&all[8..12])?);
                Span { months: i32::from_be_bytes(self.fixed(&all[12..])?), days, us }.text()
            }
            Kind::Uuid => uuid::text(&self.fixed::<16>(bytes)?),
            Kind::Jsonb | Kind::Nested(_) => {
                // Binary JSON has no version before its text.
                let text = bytes.strip_prefix(&[1]).unwrap_or(bytes);
                return self.text_sql(text);
            }
            Kind::Bytea => return Ok(bytea_sql(bytes)),
            Kind::Array(item) => return self.array_binary(bytes, item),
        };
        Ok(self.cast(&literal))
    }

    /// The bytes of a value of fixed size.
    fn fixed<const N: usize>(self, bytes: &[u8]) -> PgResult<[u8; N]> {
        bytes.try_into().map_err(|_| self.malformed())
    }

    fn malformed(self) -> PgError {
        let message = format!("incorrect binary data format in bind parameter {}", self.number);
        PgError::new(codes::INVALID_BINARY_REPRESENTATION, message)
    }

    /// SQL of an array in text, of one dimension.
    fn array_text(self, text: &str, item: &Kind) -> PgResult<String> {
        let items = split_array(text).ok_or_else(|| self.refused(text))?;
        let reader = Reader { kind: item, ..self };
        let mut written = Vec::with_capacity(items.len());
        for item in items {
            written.push(match item {
                Some(text) => reader.text_sql(text.as_bytes())?,
                None => unknown_value(reader.kind),
            });
        }
        Ok(self.array_sql(&written))
    }

    /// SQL of an array in binary, of one dimension.
    fn array_binary(self, bytes: &[u8], item: &Kind) -> PgResult<String> {
        let mut rest = bytes;
        let mut next = || -> PgResult<i32> {
            let (head, tail) = rest.split_first_chunk::<4>().ok_or_else(|| self.malformed())?;
            rest = tail;
            Ok(i32::from_be_bytes(*head))
        };
        let (dimensions, _, item_oid) = (next()?, next()?, next()?);
        if dimensions == 0 {
            return Ok(self.array_sql(&[]));
        }
        if dimensions != 1 {
            return Err(PgError::unsupported("parameters that are arrays of arrays are not supported"));
        }
        let (count, _) = (next()?, next()?);
        let own = Kind::of_oid(item_oid.cast_unsigned());
        let reader = Reader { kind: own.as_ref().unwrap_or(item), ..self };
        let mut written = Vec::new();
        for _ in 0..count {
            let (head, tail) = rest.split_first_chunk::<4>().ok_or_else(|| self.malformed())?;
            rest = tail;
            let Ok(length) = usize::try_from(i32::from_be_bytes(*head)) else {
                written.push(unknown_value(reader.kind));
                continue;
            };
            let (value, tail) = rest.split_at_checked(length).ok_or_else(|| self.malformed())?;
            rest = tail;
            written.push(reader.binary_sql(value)?);
        }
        Ok(self.array_sql(&written))
    }

    fn array_sql(self, items: &[String]) -> String {
        if items.is_empty() {
            return format!("CAST(ARRAY[] AS {})", self.kind.sql_name());
        }
        format!("ARRAY[{}]", items.join(", "))
    }
}

/// SQL of a NUMERIC with as many digits behind the point as are written; None for a text that is none.
pub fn numeric_sql(text: &str) -> Option<String> {
    if text.eq_ignore_ascii_case("nan") || text.to_lowercase().ends_with("infinity") {
        return None;
    }
    let mantissa = text.split(['e', 'E']).next()?;
    let written = mantissa.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    let exponent: i32 = match text.find(['e', 'E']) {
        Some(at) => text[at + 1..].parse().ok()?,
        None => 0,
    };
    let scale = i32::try_from(written).ok()?.saturating_sub(exponent).clamp(0, MAX_DIGITS as i32);
    let value = decimal::parse(text.as_bytes(), scale, Excess::Refuse)?;
    let mut literal = Vec::new();
    decimal::write(&mut literal, value, i8::try_from(scale).ok()?);
    let literal = String::from_utf8(literal).ok()?;
    let digits = literal.bytes().filter(u8::is_ascii_digit).count().max(1);
    (digits <= MAX_DIGITS).then(|| format!("CAST('{literal}' AS DECIMAL({digits}, {scale}))"))
}

/// Text that a function writes.
fn spelt(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::with_capacity(32);
    write(&mut out);
    String::from_utf8(out).unwrap_or_default()
}

/// A point in time as Herald reads it.
fn spelt_utc(us: i64) -> String {
    time::format_timestamp(us, true)
}

/// SQL of bytes.
fn bytea_sql(bytes: &[u8]) -> String {
    let digits = spelt(|out| super::spelling::write_hex(out, bytes));
    format!("CAST('{digits}' AS BYTEA)")
}

/// The text of a binary NUMERIC; NaN and the infinities as PostgreSQL names them.
fn numeric_text(bytes: &[u8]) -> Option<String> {
    let (head, digits) = bytes.split_first_chunk::<8>()?;
    let short = |at: usize| i16::from_be_bytes([head[at], head[at + 1]]);
    let (count, weight, sign, scale) = (short(0), short(2), short(4).cast_unsigned(), short(6));
    match sign {
        0 | NEGATIVE => {}
        0xc000 => return Some("NaN".to_owned()),
        0xd000 => return Some("Infinity".to_owned()),
        0xf000 => return Some("-Infinity".to_owned()),
        _ => return None,
    }
    let groups: Vec<i16> = digits.as_chunks::<2>().0.iter().map(|pair| i16::from_be_bytes(*pair)).collect();
    if groups.len() != usize::try_from(count).ok()? || groups.iter().any(|group| !(0..10_000).contains(group))
    {
        return None;
    }
    let group_at = |place: i32| -> i16 {
        usize::try_from(i32::from(weight) - place).ok().and_then(|at| groups.get(at).copied()).unwrap_or(0)
    };
    let mut text = String::from(if sign == NEGATIVE { "-" } else { "" });
    for place in (0..=i32::from(weight).clamp(0, 64)).rev() {
        text.push_str(&format!("{:04}", group_at(place)));
    }
    if scale > 0 {
        let mut fraction = String::new();
        for place in 1..=i32::from(scale).div_euclid(4) + 1 {
            fraction.push_str(&format!("{:04}", group_at(-place)));
        }
        text.push('.');
        text.push_str(fraction.get(..usize::try_from(scale).ok()?)?);
    }
    // More than any NUMERIC of Herald has; the number is refused by its digits.
    if weight > 64 { Some("9".repeat(MAX_DIGITS + 1)) } else { Some(text) }
}

/// The items of an array in text, `{1,NULL,"a b"}`; None if it is none, or has arrays in it.
fn split_array(text: &str) -> Option<Vec<Option<String>>> {
    let inside = text.trim().strip_prefix('{')?.strip_suffix('}')?;
    let mut items = Vec::new();
    if inside.trim().is_empty() {
        return Some(items);
    }
    let mut letters = inside.chars().peekable();
    loop {
        while letters.next_if(|c| c.is_whitespace()).is_some() {}
        let mut item = String::new();
        let quoted = letters.next_if_eq(&'"').is_some();
        loop {
            match letters.peek().copied() {
                Some('"') if quoted => {
                    letters.next();
                    break;
                }
                Some(',') | None if !quoted => break,
                None => return None,
                Some('{' | '}' | '"') if !quoted => return None,
                Some('\\') => {
                    letters.next();
                    item.push(letters.next()?);
                }
                Some(other) => {
                    letters.next();
                    item.push(other);
                }
            }
        }
        while letters.next_if(|c| c.is_whitespace()).is_some() {}
        let plain = item.trim_end();
        items.push(match quoted {
            false if plain.eq_ignore_ascii_case("null") => None,
            false if plain.is_empty() => return None,
            false => Some(plain.to_owned()),
            true => Some(item),
        });
        match letters.next() {
            Some(',') => {}
            None => return Some(items),
            Some(_) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use chrono_tz::Tz;

    use super::*;

    fn read(value: &[u8], format: i16, kind: Kind) -> PgResult<String> {
        let zone = Zone::Named(Tz::Europe__Berlin);
        let values = [Some(Bytes::copy_from_slice(value))];
        values_sql(&values, &[format], &[kind], zone).map(|sql| sql.into_iter().flatten().collect())
    }

    fn text(value: &str, kind: Kind) -> Result<String, &'static str> {
        read(value.as_bytes(), 0, kind).map_err(|error| error.code)
    }

    #[test]
    fn texts_become_literals() {
        let numeric = || Kind::Numeric(38, 10);
        let array = |item: Kind| Kind::Array(Box::new(item));
        for (value, kind, sql) in [
            ("it's", Kind::Text, "CAST('it''s' AS VARCHAR)"),
            (" 5 ", Kind::Int4, "CAST('5' AS INT)"),
            ("+5", Kind::Int8, "CAST('5' AS BIGINT)"),
            ("T", Kind::Bool, "CAST('true' AS BOOLEAN)"),
            ("1.50", numeric(), "CAST('1.50' AS DECIMAL(3, 2))"),
            ("-1e3", numeric(), "CAST('-1000' AS DECIMAL(4, 0))"),
            ("2026-01-05 10:00", Kind::Timestamptz, "CAST('2026-01-05T09:00:00.000000Z' AS TIMESTAMPTZ)"),
            ("2026-01-05 10:00+02", Kind::Timestamptz, "CAST('2026-01-05T08:00:00.000000Z' AS TIMESTAMPTZ)"),
            ("1 day 2:00", Kind::Interval, "CAST('1 day 02:00:00' AS INTERVAL)"),
            ("{\"b\":1,  \"a\": 2}", Kind::Jsonb, "CAST('{\"a\": 2, \"b\": 1}' AS JSONB)"),
            ("\\x00fF", Kind::Bytea, "CAST('\\x00fF' AS BYTEA)"),
            ("a\\\\\\001", Kind::Bytea, "CAST('\\x615c01' AS BYTEA)"),
            (
                "{1, NULL,3}",
                array(Kind::Int4),
                "ARRAY[CAST('1' AS INT), CAST(NULL AS INT), CAST('3' AS INT)]",
            ),
            ("{}", array(Kind::Int8), "CAST(ARRAY[] AS BIGINT[])"),
            ("{\"a,\\\"b\",c}", array(Kind::Text), "ARRAY[CAST('a,\"b' AS VARCHAR), CAST('c' AS VARCHAR)]"),
        ] {
            assert_eq!(text(value, kind), Ok(sql.to_owned()), "{value}");
        }
        for (value, kind, code) in [
            ("x", Kind::Int4, "22P02"),
            ("70000", Kind::Int2, "22003"),
            ("maybe", Kind::Bool, "22P02"),
            ("1.2.3", numeric(), "22P02"),
            ("1e-2147483648", numeric(), "22P02"),
            ("{1,2", array(Kind::Int4), "22P02"),
            ("{{1}}", array(Kind::Int4), "22P02"),
            ("{oops", Kind::Jsonb, "22P02"),
            ("soon", Kind::Interval, "22007"),
            ("a\0b", Kind::Text, "22021"),
        ] {
            assert_eq!(text(value, kind), Err(code), "{value}");
        }
        assert_eq!(read(b"\xff", 0, Kind::Text).map_err(|error| error.code), Err("22021"));
    }

    #[test]
    fn binaries_become_literals() {
        let hex = |digits: &str| -> Vec<u8> {
            let pairs = digits.as_bytes().chunks(2);
            pairs
                .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap_or(""), 16).unwrap_or(0))
                .collect()
        };
        for (digits, kind, sql) in [
            ("fffe", Kind::Int2, "CAST('-2' AS SMALLINT)"),
            ("8000000000000000", Kind::Int8, "CAST('-9223372036854775808' AS BIGINT)"),
            ("3fb999999999999a", Kind::Float8, "CAST('0.1' AS DOUBLE PRECISION)"),
            ("0002000000000004007b1194", Kind::Numeric(38, 10), "CAST('123.4500' AS DECIMAL(7, 4))"),
            ("0001ffff4000000201f4", Kind::Numeric(38, 10), "CAST('-0.05' AS DECIMAL(3, 2))"),
            ("0001fffe0000000a000a", Kind::Numeric(38, 10), "CAST('0.0000001000' AS DECIMAL(11, 10))"),
            ("0000000000000002", Kind::Numeric(38, 10), "CAST('0.00' AS DECIMAL(3, 2))"),
            ("00002279", Kind::Date, "CAST('2024-02-29' AS DATE)"),
            ("000000141dcfbee0", Kind::Time, "CAST('23:59:59.5' AS TIME)"),
            ("0002b583416850c0", Kind::Timestamptz, "CAST('2024-02-29T12:34:56.120000Z' AS TIMESTAMPTZ)"),
            (
                "000000036c966ee0fffffffd0000000e",
                Kind::Interval,
                "CAST('1 year 2 mons -3 days +04:05:06.7' AS INTERVAL)",
            ),
            ("015b5d", Kind::Jsonb, "CAST('[]' AS JSONB)"),
            (
                "0000000100000001000000140000000200000001000000080000000000000001ffffffff",
                Kind::Array(Box::new(Kind::Int8)),
                "ARRAY[CAST('1' AS BIGINT), CAST(NULL AS BIGINT)]",
            ),
        ] {
            let found = read(&hex(digits), 1, kind).map_err(|error| error.code);
            assert_eq!(found, Ok(sql.to_owned()), "{digits}");
        }
        for (digits, kind) in [
            ("ff", Kind::Int2),
            ("00", Kind::Numeric(38, 10)),
            ("00000001000000000000001400000002000000010000", Kind::Array(Box::new(Kind::Int8))),
        ] {
            let found = read(&hex(digits), 1, kind).map_err(|error| error.code);
            assert_eq!(found, Err("22P03"), "{digits}");
        }
    }

    #[test]
    fn a_null_keeps_its_type() {
        let sql = values_sql(&[None], &[], &[Kind::Timestamptz], Zone::Utc);
        assert_eq!(sql, Ok(vec![Some("CAST(NULL AS TIMESTAMPTZ)".to_owned())]));
    }
}
