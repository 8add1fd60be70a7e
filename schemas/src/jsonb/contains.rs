//! Containment and existence in JSONB: `@>`, `?`.
//!
//! As PostgreSQL has them: an object contains one whose members it has, each containing the other's; an
//! array contains one whose every element it has or has one that contains it, whatever the order and
//! however often; an array on its own also contains a scalar that is one of its elements.

use super::{Json, compare, number};

/// Tells whether `value` contains `part`: the operator `@>`.
pub fn contains(value: &Json<'_>, part: &Json<'_>) -> bool {
    match (value, part) {
        (Json::Array(items), scalar) if scalar.is_scalar() => items.iter().any(|item| same(item, scalar)),
        _ => within(value, part),
    }
}

/// Tells whether `name` is a member of an object, a text of an array, or the text itself: the operator `?`.
pub fn exists(value: &Json<'_>, name: &str) -> bool {
    let is = |item: &Json<'_>| matches!(item, Json::String(text) if text == name);
    match value {
        Json::Object(_) => value.get(name).is_some(),
        Json::Array(items) => items.iter().any(is),
        other => is(other),
    }
}

fn within(value: &Json<'_>, part: &Json<'_>) -> bool {
    match (value, part) {
        (Json::Object(members), Json::Object(parts)) => {
            parts.len() <= members.len()
                && parts.iter().all(|(name, part)| value.get(name).is_some_and(|own| within(own, part)))
        }
        (Json::Array(items), Json::Array(parts)) => {
            parts.iter().all(|part| items.iter().any(|item| within(item, part)))
        }
        (value, part) => value.is_scalar() && same(value, part),
    }
}

fn same(a: &Json<'_>, b: &Json<'_>) -> bool {
    match (a, b) {
        (Json::Number(a), Json::Number(b)) => number::compare(a, b).is_eq(),
        _ => a.is_scalar() && b.is_scalar() && compare(a, b).is_eq(),
    }
}
