//! Containment and existence in JSONB: `@>`, `?`.
//!
//! As in PostgreSQL: an object contains another one if it has each member of it, with a value that
//! contains the other's value. An array contains another one if for each element of it there is an equal
//! or containing element, regardless of order and repetition. A top-level array also contains a scalar
//! that is one of its elements.

use super::{Json, Member, compare, number};

/// Tells whether `value` contains `part`: the operator `@>`.
pub fn contains(value: &Json<'_>, part: &Json<'_>) -> bool {
    match (value, part) {
        (Json::Array(items), scalar) if scalar.is_scalar() => {
            items.iter().any(|item| equal_scalars(item, scalar))
        }
        _ => contains_nested(value, part),
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

fn contains_nested(value: &Json<'_>, part: &Json<'_>) -> bool {
    match (value, part) {
        (Json::Object(members), Json::Object(parts)) => {
            // Names are unique, so an object cannot contain a larger one.
            parts.len() <= members.len() && parts.iter().all(|part| contains_member(value, part))
        }
        (Json::Array(items), Json::Array(parts)) => parts.iter().all(|part| contains_item(items, part)),
        (value, part) => value.is_scalar() && equal_scalars(value, part),
    }
}

fn contains_member(value: &Json<'_>, (name, part): &Member<'_>) -> bool {
    value.get(name).is_some_and(|own| contains_nested(own, part))
}

fn contains_item(items: &[Json<'_>], part: &Json<'_>) -> bool {
    items.iter().any(|item| contains_nested(item, part))
}

fn equal_scalars(a: &Json<'_>, b: &Json<'_>) -> bool {
    match (a, b) {
        (Json::Number(a), Json::Number(b)) => number::compare(a, b).is_eq(),
        _ => a.is_scalar() && b.is_scalar() && compare(a, b).is_eq(),
    }
}
