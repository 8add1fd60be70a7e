//! PostgreSQL's texts of values, read as Herald's columns show them.

use arrow::datatypes::{DataType, Field};
use schemas::types::time;
use serde_json::Value;

use crate::postgres::array_items;

/// PostgreSQL's text as the value that Herald's column would show.
pub fn read(text: Option<&str>, field: &Field) -> Result<Value, String> {
    let Some(text) = text else { return Ok(Value::Null) };
    let odd = || format!("{text:?} is no {}", schemas::sql_type(field));
    Ok(match field.data_type() {
        DataType::Boolean => (text == "t").into(),
        DataType::Int16 | DataType::Int32 | DataType::Int64 => {
            let whole = text.split_once('.').map_or(text, |(whole, part)| {
                if part.bytes().all(|digit| digit == b'0') { whole } else { text }
            });
            whole.parse::<i64>().map_err(|_| odd())?.into()
        }
        // As in JSON, NaN and the infinities are NULL.
        DataType::Float32 => f64::from(text.parse::<f32>().map_err(|_| odd())?).into(),
        DataType::Float64 => text.parse::<f64>().map_err(|_| odd())?.into(),
        DataType::Decimal128(_, scale) => scaled(text, usize::try_from(*scale).unwrap_or(0)).into(),
        DataType::Date32 => time::parse_date(&far(text)).ok_or_else(odd)?.into(),
        DataType::Timestamp(..) => {
            let iso = format!("{}Z", far(&text.replace("+00", "")).replacen(' ', "T", 1));
            time::parse_timestamp(&iso).ok_or_else(odd)?.into()
        }
        DataType::List(item) if matches!(item.data_type(), DataType::Struct(_)) => {
            serde_json::from_str(text).map_err(|_| odd())?
        }
        DataType::List(item) => {
            let items = array_items(text).ok_or_else(odd)?;
            items.iter().map(|text| read(text.as_deref(), item)).collect::<Result<Vec<_>, _>>()?.into()
        }
        _ => text.into(),
    })
}

/// Years before 1 and beyond 9999 with a sign and six digits.
fn far(text: &str) -> String {
    let (date, before) = text.strip_suffix(" BC").map_or((text, false), |date| (date, true));
    let (year, rest) = date.split_once('-').unwrap_or((date, ""));
    match year.parse::<i64>() {
        Ok(year) if before && year > 1 => format!("-{:06}-{rest}", year - 1),
        Ok(_) if before => format!("0000-{rest}"),
        Ok(year) if year > 9999 => format!("+{year:06}-{rest}"),
        _ => text.to_owned(),
    }
}

/// PostgreSQL's name of a type that DuckDB calls so; times have a zone.
pub fn column_type(duck: &str) -> String {
    match duck {
        "TIMESTAMP" => "timestamptz".to_owned(),
        "DOUBLE" => "double precision".to_owned(),
        other => other.to_lowercase(),
    }
}

/// A decimal with exactly so many digits behind the point, rounded half away from zero.
fn scaled(text: &str, scale: usize) -> String {
    let rounded = crate::value::rounded(text, scale);
    let (whole, part) = rounded.split_once('.').unwrap_or((&rounded, ""));
    if scale == 0 { whole.to_owned() } else { format!("{whole}.{part:0<scale$}") }
}
