//! Defaults of fields that are not of the field's type.

use super::super::located::{Located, LocatedJson};
use super::model::{AvroKind, AvroSchema};

/// Returns the mistake of a default, if it is not of its field's type.
pub fn default_mistake(schema: &AvroSchema, inner: usize, default: &Located) -> Option<String> {
    if let AvroKind::Union(branches) = &schema.get(inner).kind {
        let first = branches.first()?;
        if fits_type(schema, *first, default) {
            return None;
        }
        let other = branches[1..].iter().find(|branch| fits_type(schema, **branch, default));
        return Some(match other {
            Some(branch) => format!(
                "the default {} is {}, which is not the union's first branch",
                short_json(default),
                schema.describe(*branch)
            ),
            None => format!("the default {} is of no branch of the union", short_json(default)),
        });
    }
    if fits_type(schema, inner, default) {
        return None;
    }
    Some(format!("the default {} is no {}", short_json(default), schema.describe(inner)))
}

/// A value as JSON, cut where it is long.
fn short_json(value: &Located) -> String {
    let text = value.to_value().to_string();
    match text.char_indices().nth(40) {
        Some((cut, _)) => format!("{}...", &text[..cut]),
        None => text,
    }
}

/// Tells whether a default is a value of a type.
fn fits_type(schema: &AvroSchema, inner: usize, value: &Located) -> bool {
    match &schema.get(inner).kind {
        AvroKind::Primitive(name) => fits_primitive(name, value),
        AvroKind::Enum { symbols, .. } => {
            value.text().is_some_and(|text| symbols.iter().any(|symbol| symbol == text))
        }
        // Bytes are written as the characters U+0000 to U+00FF.
        AvroKind::Fixed(size) => value.text().is_some_and(|text| text.chars().count() as u64 == *size),
        AvroKind::Array(items) => {
            matches!(value.value, LocatedJson::List(_))
                && value.items().iter().all(|item| fits_type(schema, *items, item))
        }
        AvroKind::Map(values) => {
            matches!(value.value, LocatedJson::Object(_))
                && value.members().iter().all(|member| fits_type(schema, *values, &member.value))
        }
        AvroKind::Record(fields) => {
            matches!(value.value, LocatedJson::Object(_))
                && fields.iter().all(|field| match value.get(&field.name) {
                    Some(given) => fits_type(schema, field.inner, given),
                    None => field.default.is_some(),
                })
        }
        AvroKind::Union(branches) => branches.iter().any(|branch| fits_type(schema, *branch, value)),
        AvroKind::Reference(_) => true,
    }
}

fn fits_primitive(name: &str, value: &Located) -> bool {
    let whole =
        |least: f64, most: f64| value.number().is_some_and(|n| n.fract() == 0.0 && n >= least && n <= most);
    match name {
        "null" => matches!(&value.value, LocatedJson::Scalar(scalar) if scalar.is_null()),
        "boolean" => value.boolean().is_some(),
        "int" => whole(f64::from(i32::MIN), f64::from(i32::MAX)),
        "long" => whole(i64::MIN as f64, i64::MAX as f64),
        "float" | "double" => value.number().is_some(),
        "bytes" => value.text().is_some_and(|text| text.chars().all(|c| u32::from(c) < 256)),
        _ => value.text().is_some(),
    }
}
