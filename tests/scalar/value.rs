//! Values as texts that can be compared: Herald's as PostgreSQL would print them, and both made alike where one
//! value has several texts.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Field, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type,
    IntervalMonthDayNanoType, IntervalUnit, Time64MicrosecondType, TimestampMicrosecondType,
};
use schemas::is_jsonb;
use schemas::types::time::civil_of_days;

use crate::postgres::array_items;

const DAY_US: i64 = 86_400_000_000;

/// Herald's value; None for NULL.
pub fn herald(column: &ArrayRef, row: usize, field: &Field) -> Option<String> {
    if column.is_null(row) {
        return None;
    }
    let text = match column.data_type() {
        DataType::Boolean => column.as_boolean().value(row).to_string(),
        DataType::Int16 => column.as_primitive::<Int16Type>().value(row).to_string(),
        DataType::Int32 => column.as_primitive::<Int32Type>().value(row).to_string(),
        DataType::Int64 => column.as_primitive::<Int64Type>().value(row).to_string(),
        DataType::Float32 => format!("{:?}", column.as_primitive::<Float32Type>().value(row)),
        DataType::Float64 => format!("{:?}", column.as_primitive::<Float64Type>().value(row)),
        DataType::Decimal128(..) => column.as_primitive::<Decimal128Type>().value_as_string(row),
        DataType::Utf8 => column.as_string::<i32>().value(row).to_owned(),
        DataType::Date32 => date(i64::from(column.as_primitive::<Date32Type>().value(row)), ""),
        DataType::Time64(_) => time(column.as_primitive::<Time64MicrosecondType>().value(row)),
        DataType::Timestamp(_, zone) => {
            let us = column.as_primitive::<TimestampMicrosecondType>().value(row);
            let zone = if zone.is_some() { "+00" } else { "" };
            let clock = format!(" {}{zone}", time(us.rem_euclid(DAY_US)));
            date(us.div_euclid(DAY_US), &clock)
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            let span = column.as_primitive::<IntervalMonthDayNanoType>().value(row);
            format!("{} months {} days {} us", span.months, span.days, span.nanoseconds / 1000)
        }
        DataType::Binary => {
            let digits: String =
                column.as_binary::<i32>().value(row).iter().map(|b| format!("{b:02x}")).collect();
            format!("\\x{digits}")
        }
        DataType::List(item) => {
            let items = column.as_list::<i32>().value(row);
            let items = (0..items.len()).map(|at| herald(&items, at, item));
            return Some(listed(items));
        }
        _ => arrow::util::display::array_value_to_string(column, row).unwrap(),
    };
    Some(alike(&text, field))
}

/// PostgreSQL's text of a value of a column that Herald has as `field`.
pub fn postgres(text: &str, field: &Field) -> String {
    match field.data_type() {
        DataType::List(item) => match array_items(text) {
            Some(items) => listed(items.into_iter().map(|i| i.map(|text| postgres(&text, item)))),
            None => format!("not an array: {text}"),
        },
        DataType::Interval(_) => span(text).unwrap_or_else(|| format!("not a span: {text}")),
        _ => alike(text, field),
    }
}

/// Tells whether PostgreSQL's number is none of a column that Herald has as `field`: beyond BIGINT, or of more than 38 digits.
pub fn is_beyond(text: Option<&str>, field: &Field) -> bool {
    let digits = |text: &str| text.trim_start_matches('-').split('.').next().unwrap_or("").len();
    match (text, field.data_type()) {
        (Some(text), DataType::Int64) => text.parse::<i128>().is_ok_and(|n| i64::try_from(n).is_err()),
        (Some(text), DataType::Decimal128(_, scale)) => {
            text.bytes().all(|b| b.is_ascii_digit() || b == b'-' || b == b'.')
                && digits(text) + usize::try_from(*scale).unwrap_or(0) > 38
                && !text.trim_start_matches('-').starts_with("0.")
        }
        _ => false,
    }
}

fn listed(items: impl Iterator<Item = Option<String>>) -> String {
    let items: Vec<String> = items.map(|i| i.map_or("NULL".to_owned(), |text| format!("{text:?}"))).collect();
    format!("[{}]", items.join(", "))
}

/// One text for values that are equal.
fn alike(text: &str, field: &Field) -> String {
    match field.data_type() {
        DataType::Float32 => match text.trim().parse::<f32>() {
            Ok(0.0) => "0".to_owned(),
            Ok(x) => format!("{x:?}"),
            Err(_) => format!("not a number: {text}"),
        },
        DataType::Float64 => match text.trim().parse::<f64>() {
            Ok(0.0) => "0".to_owned(),
            Ok(x) => format!("{x:?}"),
            Err(_) => format!("not a number: {text}"),
        },
        DataType::Decimal128(_, scale) => rounded(text, usize::try_from(*scale).unwrap_or(0)),
        DataType::Int16 | DataType::Int32 | DataType::Int64 => rounded(text, 20),
        DataType::Utf8 if is_jsonb(field) => unspaced(text),
        // Within an array it is a letter.
        DataType::Boolean => match text {
            "t" => "true".to_owned(),
            "f" => "false".to_owned(),
            _ => text.to_owned(),
        },
        _ => text.to_owned(),
    }
}

/// A decimal without needless digits, rounded half away from zero to `scale` digits behind the point.
pub fn rounded(text: &str, scale: usize) -> String {
    let text = text.trim();
    let (sign, digits) = text.strip_prefix('-').map_or(("", text), |rest| ("-", rest));
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    if !whole.chars().chain(part.chars()).all(|c| c.is_ascii_digit()) {
        return text.to_owned();
    }
    let mut kept: Vec<u8> =
        whole.bytes().chain(part.bytes().chain(std::iter::repeat(b'0')).take(scale)).collect();
    if part.as_bytes().get(scale).is_some_and(|digit| *digit >= b'5') {
        let mut at = kept.len();
        loop {
            if at == 0 {
                kept.insert(0, b'1');
                break;
            }
            at -= 1;
            if kept[at] < b'9' {
                kept[at] += 1;
                break;
            }
            kept[at] = b'0';
        }
    }
    let text = String::from_utf8(kept).unwrap();
    let (whole, part) = text.split_at(text.len() - scale);
    let (whole, part) = (whole.trim_start_matches('0'), part.trim_end_matches('0'));
    match (whole, part) {
        ("", "") => "0".to_owned(),
        (whole, "") => format!("{sign}{whole}"),
        ("", part) => format!("{sign}0.{part}"),
        (whole, part) => format!("{sign}{whole}.{part}"),
    }
}

/// JSON without spaces between its parts.
fn unspaced(text: &str) -> String {
    let (mut out, mut inside, mut escaped) = (String::new(), false, false);
    for c in text.chars() {
        if inside || !c.is_whitespace() {
            out.push(c);
        }
        inside ^= c == '"' && !escaped;
        escaped = inside && c == '\\' && !escaped;
    }
    out
}

/// JSON whose numbers do not end in zeros behind the point.
pub fn without_zeros(json: &str) -> String {
    let (mut out, mut number, mut inside, mut escaped) = (String::new(), String::new(), false, false);
    let end = |number: &mut String, out: &mut String| {
        let kept = match number.contains('.') {
            true => number.trim_end_matches('0').trim_end_matches('.'),
            false => number.as_str(),
        };
        out.push_str(kept);
        number.clear();
    };
    for c in json.chars() {
        if !inside && (c.is_ascii_digit() || c == '.') {
            number.push(c);
            continue;
        }
        end(&mut number, &mut out);
        out.push(c);
        inside ^= c == '"' && !escaped;
        escaped = inside && c == '\\' && !escaped;
    }
    end(&mut number, &mut out);
    out
}

/// Numbers of 15 digits and more without what is behind the twelfth.
pub fn roughly(text: &str) -> String {
    let (mut out, mut number) = (String::new(), String::new());
    for c in text.chars().chain(['\0']) {
        let exponent =
            matches!(c, 'e' | '+' | '-') && number.ends_with(|l: char| l == 'e' || l.is_ascii_digit());
        if c.is_ascii_digit() || c == '.' || (!number.is_empty() && exponent) {
            number.push(c);
            continue;
        }
        let digits = number.bytes().filter(u8::is_ascii_digit).count();
        match number.parse::<f64>() {
            Ok(x) if digits >= 15 => out.push_str(&format!("{x:.11e}")),
            _ => out.push_str(&number),
        }
        number.clear();
        out.extend(Some(c).filter(|c| *c != '\0'));
    }
    out
}

#[test]
fn last_digits_are_taken_off() {
    assert_eq!(roughly("[406561177535215230,x1.5]"), "[4.06561177535e17,x1.5]");
    assert_eq!(roughly("0.1234567890123456e-7 2026-01-02"), "1.23456789012e-8 2026-01-02");
}

#[test]
fn zeros_behind_the_point_are_taken_off() {
    assert_eq!(without_zeros(r#"[1.50,10,"2.0",0.0,"\"3.0"]"#), r#"[1.5,10,"2.0",0,"\"3.0"]"#);
}

/// A date with what stands behind it, before the era.
fn date(days: i64, behind: &str) -> String {
    let (year, month, day) = civil_of_days(days);
    let (year, era) = if year > 0 { (year, "") } else { (1 - year, " BC") };
    format!("{year:04}-{month:02}-{day:02}{behind}{era}")
}

fn time(us: i64) -> String {
    let (seconds, part) = (us / 1_000_000, us % 1_000_000);
    let clock = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    if part == 0 { clock } else { format!("{clock}.{part:06}").trim_end_matches('0').to_owned() }
}

/// A span as PostgreSQL prints it, in months, days and microseconds.
fn span(text: &str) -> Option<String> {
    let (mut months, mut days, mut us) = (0i64, 0i64, 0i64);
    let mut words = text.split_whitespace();
    while let Some(word) = words.next() {
        if word.contains(':') {
            let (sign, clock) =
                word.strip_prefix('-').map_or((1, word.trim_start_matches('+')), |rest| (-1, rest));
            let mut parts = clock.split(':');
            let (hours, minutes) = (parts.next()?.parse::<i64>().ok()?, parts.next()?.parse::<i64>().ok()?);
            let (seconds, part) = parts.next().map_or(("0", ""), |s| s.split_once('.').unwrap_or((s, "")));
            let part = format!("{part:0<6}").parse::<i64>().ok()?;
            us += sign * (((hours * 60 + minutes) * 60 + seconds.parse::<i64>().ok()?) * 1_000_000 + part);
            continue;
        }
        let n = word.parse::<i64>().ok()?;
        match words.next()?.trim_end_matches('s') {
            "year" => months += 12 * n,
            "mon" => months += n,
            "day" => days += n,
            _ => return None,
        }
    }
    Some(format!("{months} months {days} days {us} us"))
}

/// Tells whether PostgreSQL's type and Herald's are of one class: widths of numbers apart.
pub fn same_class(postgres: &str, field: &Field) -> bool {
    let number = ["smallint", "integer", "bigint", "real", "double precision", "numeric"].contains(&postgres);
    match field.data_type() {
        DataType::List(item) => postgres.strip_suffix("[]").is_some_and(|of| same_class(of, item)),
        kind if kind.is_numeric() => number,
        DataType::Boolean => postgres == "boolean",
        DataType::Utf8 if is_jsonb(field) => postgres == "jsonb",
        DataType::Utf8 => ["text", "character varying", "character", "name", "unknown"].contains(&postgres),
        DataType::Date32 => postgres == "date",
        DataType::Time64(_) => postgres == "time without time zone",
        DataType::Timestamp(_, Some(_)) => postgres == "timestamp with time zone",
        DataType::Timestamp(_, None) => postgres == "timestamp without time zone",
        DataType::Interval(_) => postgres == "interval",
        DataType::Binary => postgres == "bytea",
        _ => true,
    }
}

#[test]
fn decimals_are_rounded_half_away_from_zero() {
    assert_eq!(rounded("1.250", 1), "1.3");
    assert_eq!(rounded("-99.995", 2), "-100");
    assert_eq!(rounded("0.0049", 2), "0");
    assert_eq!(rounded("007.10", 2), "7.1");
    assert_eq!(rounded("NaN", 2), "NaN");
}

#[test]
fn spans_are_read() {
    assert_eq!(span("1 year 2 mons -3 days 04:05:06.7").unwrap(), "14 months -3 days 14706700000 us");
    assert_eq!(span("-00:00:01").unwrap(), "0 months 0 days -1000000 us");
}

#[test]
fn arrays_are_read() {
    let text = |items: &[Option<&str>]| Some(items.iter().map(|i| i.map(str::to_owned)).collect::<Vec<_>>());
    assert_eq!(array_items("{}"), text(&[]));
    assert_eq!(
        array_items(r#"{a,NULL,"NULL","x \"y\\",""}"#),
        text(&[Some("a"), None, Some("NULL"), Some("x \"y\\"), Some("")])
    );
    assert_eq!(array_items("{{1,2},{3,4}}"), text(&[Some("{1,2}"), Some("{3,4}")]));
}
