//! JSONB of SQL values: `to_jsonb`, `jsonb_build_object`, `jsonb_build_array`.
//!
//! Numbers keep every digit, times are ISO 8601 as PostgreSQL writes them, BYTEA is its hexadecimal text,
//! arrays are arrays and structs objects; NaN and the infinities, which JSON numbers cannot represent, are
//! texts.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Field, FieldRef, Float32Type, Float64Type, Time64MicrosecondType,
    TimeUnit, TimestampMicrosecondType,
};
use arrow::util::display::array_value_to_string;
use datafusion_common::{DataFusionError, Result, plan_err};
use datafusion_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};
use schemas::types::float;
use schemas::types::jsonb::{self, Json};
use schemas::types::time;

use super::out::JsonColumnBuilder;
use super::{JsonResult, JsonType, any_arguments, error_text, execution_error};
use crate::functions::eval::print;

/// Name of the function that makes an array of a name and a value for `jsonb_object_agg`.
pub(crate) const PAIR: &str = "herald_jsonb_pair";

/// Returns these functions.
pub(super) fn functions() -> Vec<Arc<ScalarUDF>> {
    let kinds = [BuildKind::Value, BuildKind::Object, BuildKind::Array, BuildKind::Pair];
    kinds.map(|kind| Arc::new(ScalarUDF::from(Build { kind, signature: any_arguments() }))).into()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum BuildKind {
    Value,
    Object,
    Array,
    Pair,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Build {
    kind: BuildKind,
    signature: Signature,
}

impl Build {
    /// Returns true if an argument is the name of a member.
    fn is_name(&self, place: usize) -> bool {
        match self.kind {
            BuildKind::Object => place.is_multiple_of(2),
            BuildKind::Pair => place == 0,
            BuildKind::Value | BuildKind::Array => false,
        }
    }

    fn row_json(
        &self,
        columns: &[(ArrayRef, Arc<Field>)],
        row: usize,
    ) -> Result<Option<Json<'static>>, String> {
        let mut values = Vec::with_capacity(columns.len());
        for (array, field) in columns {
            values.push(into_owned_json(json_value(array, field, row)?));
        }
        match self.kind {
            BuildKind::Value => Ok(match columns {
                [(array, _)] if array.is_null(row) => None,
                _ => values.into_iter().next(),
            }),
            BuildKind::Array => Ok(Some(Json::Array(values))),
            BuildKind::Pair => {
                let mut values = values.into_iter();
                let name = values.next().and_then(member_name).ok_or("field name must not be null")?;
                Ok(Some(Json::Array(vec![Json::String(name), values.next().unwrap_or(Json::Null)])))
            }
            BuildKind::Object => {
                let mut members = Vec::with_capacity(values.len() / 2);
                let mut values = values.into_iter();
                while let (Some(key), Some(value)) = (values.next(), values.next()) {
                    let Some(name) = member_name(key) else {
                        return Err(format!("argument {}: key must not be null", members.len() * 2 + 1));
                    };
                    members.push((name, value));
                }
                Ok(Some(Json::object(members)))
            }
        }
    }
}

/// Converts a scalar to the name of a member; None for null, an array or an object.
fn member_name(value: Json<'static>) -> Option<Cow<'static, str>> {
    match value {
        Json::String(text) | Json::Number(text) => Some(text),
        Json::Bool(value) => Some(Cow::Borrowed(if value { "true" } else { "false" })),
        _ => None,
    }
}

fn into_owned_json(value: Json<'_>) -> Json<'static> {
    match value {
        Json::Null => Json::Null,
        Json::Bool(value) => Json::Bool(value),
        Json::Number(text) => Json::Number(Cow::Owned(text.into_owned())),
        Json::String(text) => Json::String(Cow::Owned(text.into_owned())),
        Json::Array(items) => Json::Array(items.into_iter().map(into_owned_json).collect()),
        Json::Object(members) => {
            let mut owned: Vec<jsonb::Member<'static>> = Vec::with_capacity(members.len());
            for (name, value) in members {
                owned.push((Cow::Owned(name.into_owned()), into_owned_json(value)));
            }
            Json::Object(owned)
        }
    }
}

/// Returns true if values of a column have a JSONB form.
fn has_form(field: &Field) -> bool {
    match field.data_type() {
        DataType::List(item) => has_form(item),
        DataType::Struct(fields) => fields.iter().all(|field| has_form(field)),
        DataType::Null | DataType::Boolean | DataType::Float32 | DataType::Float64 => true,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Decimal128(..) | DataType::Date32 | DataType::Binary | DataType::FixedSizeBinary(16) => {
            true
        }
        DataType::Time64(TimeUnit::Microsecond) | DataType::Timestamp(TimeUnit::Microsecond, _) => true,
        other => other.is_integer(),
    }
}

/// Converts a number in decimal notation to JSONB.
fn json_number(text: &str) -> Result<Json<'static>, String> {
    let mut room = jsonb::LENGTH_MAX;
    let canonical = jsonb::number::canonical(text, &mut room).map_err(error_text)?;
    Ok(Json::Number(Cow::Owned(canonical.into_owned())))
}

/// Converts a floating-point number, whose `text` has all its digits, to JSONB.
fn json_float(value: f64, text: &str) -> Result<Json<'static>, String> {
    if value.is_finite() {
        json_number(text)
    } else {
        Ok(Json::String(Cow::Owned(special_float_text(value))))
    }
}

/// Converts the value of a row to JSONB; NULL becomes null.
fn json_value<'a>(array: &'a ArrayRef, field: &Field, row: usize) -> Result<Json<'a>, String> {
    if array.is_null(row) {
        return Ok(Json::Null);
    }
    Ok(match array.data_type() {
        DataType::Null => Json::Null,
        DataType::Boolean => Json::Bool(array.as_boolean().value(row)),
        of if of.is_integer() => {
            json_number(&array_value_to_string(array, row).map_err(|error| error.to_string())?)?
        }
        DataType::Float32 => {
            let value = array.as_primitive::<Float32Type>().value(row);
            json_float(value.into(), &float::shortest_real(value))?
        }
        DataType::Float64 => {
            let value = array.as_primitive::<Float64Type>().value(row);
            json_float(value, &float::shortest_double(value))?
        }
        DataType::Decimal128(..) => {
            json_number(&array.as_primitive::<Decimal128Type>().value_as_string(row))?
        }
        DataType::Utf8 if schemas::is_jsonb(field) => {
            jsonb::parse(array.as_string::<i32>().value(row)).map_err(error_text)?
        }
        DataType::Utf8 => json_text(array.as_string::<i32>().value(row))?,
        DataType::LargeUtf8 => json_text(array.as_string::<i64>().value(row))?,
        DataType::Utf8View => json_text(array.as_string_view().value(row))?,
        DataType::Binary => Json::String(Cow::Owned(print::bytes(array.as_binary::<i32>().value(row)))),
        DataType::FixedSizeBinary(16) => {
            Json::String(Cow::Owned(schemas::types::uuid::text(array.as_fixed_size_binary().value(row))))
        }
        DataType::Date32 => json_date(array.as_primitive::<Date32Type>().value(row)),
        DataType::Time64(_) => json_time(array.as_primitive::<Time64MicrosecondType>().value(row)),
        DataType::Timestamp(_, zone) => {
            json_timestamp(array.as_primitive::<TimestampMicrosecondType>().value(row), zone.is_some())
        }
        DataType::List(item) => {
            let list = array.as_list::<i32>().value(row);
            let own = list_item_field(field, item);
            let mut items = Vec::with_capacity(list.len());
            for at in 0..list.len() {
                items.push(into_owned_json(json_value(&list, own, at)?));
            }
            Json::Array(items)
        }
        DataType::Struct(fields) => {
            let rows = array.as_struct();
            let own = match field.data_type() {
                DataType::Struct(own) => own,
                _ => fields,
            };
            let mut members: Vec<jsonb::Member<'a>> = Vec::with_capacity(own.len());
            for (column, field) in rows.columns().iter().zip(own) {
                members.push((Cow::Owned(field.name().clone()), json_value(column, field, row)?));
            }
            Json::object(members)
        }
        other => return Err(format!("{other} has no JSONB form")),
    })
}

/// Returns the field of a list's items: the declared one, which records whether they are JSONB.
fn list_item_field<'f>(field: &'f Field, own: &'f FieldRef) -> &'f Field {
    match field.data_type() {
        DataType::List(item) => item,
        _ => own,
    }
}

/// Converts a text; fails if it contains `\0`, which JSONB cannot.
fn json_text(text: &str) -> Result<Json<'_>, String> {
    if text.contains('\0') {
        Err("\\u0000 cannot be in a JSONB text".to_owned())
    } else {
        Ok(Json::String(Cow::Borrowed(text)))
    }
}

fn special_float_text(value: f64) -> String {
    let text = if value.is_nan() {
        "NaN"
    } else if value > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    };
    text.to_owned()
}

fn written_text(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::with_capacity(32);
    write(&mut out);
    String::from_utf8(out).unwrap_or_default()
}

/// Splits a date into its text and its era: PostgreSQL has no year 0 and counts the years before 1 as BC.
fn date_and_era(days: i64) -> (String, &'static str) {
    let iso = written_text(|out| time::write_date(out, days));
    let (sign, digits) = match iso.strip_prefix(['-', '+']) {
        Some(rest) => (iso.starts_with('-'), rest),
        None => (false, iso.as_str()),
    };
    let (year, rest) = digits.split_once('-').unwrap_or((digits, ""));
    let year: i64 = year.parse().unwrap_or_default();
    let year = if sign { -year } else { year };
    if year > 0 { (format!("{year:04}-{rest}"), "") } else { (format!("{:04}-{rest}", 1 - year), " BC") }
}

fn json_date(days: i32) -> Json<'static> {
    let (text, era) = date_and_era(days.into());
    Json::String(Cow::Owned(format!("{text}{era}")))
}

/// Writes a time of day without trailing zeros in the fraction.
fn time_of_day_text(us: i64) -> String {
    let text = written_text(|out| time::write_time(out, us));
    text.strip_suffix(".000000").unwrap_or_else(|| text.trim_end_matches('0')).to_owned()
}

fn json_time(us: i64) -> Json<'static> {
    Json::String(Cow::Owned(time_of_day_text(us)))
}

fn json_timestamp(us: i64, utc: bool) -> Json<'static> {
    const DAY: i64 = 86_400_000_000;
    let (day, era) = date_and_era(us.div_euclid(DAY));
    let clock = time_of_day_text(us.rem_euclid(DAY));
    Json::String(Cow::Owned(format!("{day}T{clock}{}{era}", if utc { "+00:00" } else { "" })))
}

impl ScalarUDFImpl for Build {
    fn name(&self) -> &str {
        match self.kind {
            BuildKind::Value => "to_jsonb",
            BuildKind::Object => "jsonb_build_object",
            BuildKind::Array => "jsonb_build_array",
            BuildKind::Pair => PAIR,
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let (name, given) = (self.name(), args.arg_fields.len());
        match self.kind {
            BuildKind::Value if given != 1 => return plan_err!("{name} takes one argument"),
            BuildKind::Pair if given != 2 => return plan_err!("jsonb_object_agg takes a name and a value"),
            BuildKind::Object if !given.is_multiple_of(2) => {
                return plan_err!("{name} takes names and values in turn: an even number of arguments");
            }
            _ => {}
        }
        for (place, field) in args.arg_fields.iter().enumerate() {
            let of = field.data_type();
            if !has_form(field) {
                return plan_err!("{name} does not take {}: convert it with CAST", schemas::sql_type(field));
            }
            if self.is_name(place) && (of.is_nested() || of.is_floating() || schemas::is_jsonb(field)) {
                let found = schemas::sql_type(field);
                return plan_err!(
                    "{name}: a name is a text, a number or a time, not {found}: write CAST(x AS VARCHAR)"
                );
            }
        }
        Ok(Arc::new(schemas::jsonb_field(name, true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let mut columns = Vec::with_capacity(args.args.len());
        for (arg, field) in args.args.iter().zip(&args.arg_fields) {
            columns.push((arg.to_array(rows)?, Arc::clone(field)));
        }
        let mut out = JsonColumnBuilder::new(JsonType::Json);
        for row in 0..rows {
            out.push(match self.row_json(&columns, row).map_err(DataFusionError::Execution)? {
                Some(value) => JsonResult::Text(value.text().map_err(execution_error)?),
                None => JsonResult::Null,
            })?;
        }
        Ok(ColumnarValue::Array(out.finish()))
    }
}
