//! The order of JSONB values, as in PostgreSQL's B-trees.
//!
//! Object > Array > Boolean > Number > String > null; of two objects or arrays the one with more parts
//! is greater, then the first parts that differ decide. One exception has historical reasons: a
//! top-level empty array is less than any top-level scalar. Texts compare by their bytes.

use std::cmp::Ordering;

use super::{Json, Member, number};

/// Compares two values.
pub fn compare(a: &Json<'_>, b: &Json<'_>) -> Ordering {
    // PostgreSQL stores a top-level scalar as an array of one, which is less than a genuine array of one.
    match (a, b) {
        (Json::Array(items), scalar) if scalar.is_scalar() => {
            if items.is_empty() {
                Ordering::Less
            } else {
                Ordering::Greater
            }
        }
        (scalar, Json::Array(items)) if scalar.is_scalar() => {
            if items.is_empty() {
                Ordering::Greater
            } else {
                Ordering::Less
            }
        }
        _ => compare_nested(a, b),
    }
}

/// Compares names of members: by length, then by bytes.
pub(super) fn compare_names(a: &str, b: &str) -> Ordering {
    (a.len(), a.as_bytes()).cmp(&(b.len(), b.as_bytes()))
}

fn compare_nested(a: &Json<'_>, b: &Json<'_>) -> Ordering {
    match (a, b) {
        (Json::Bool(a), Json::Bool(b)) => a.cmp(b),
        (Json::Number(a), Json::Number(b)) => number::compare(a, b),
        (Json::String(a), Json::String(b)) => a.as_bytes().cmp(b.as_bytes()),
        (Json::Array(a), Json::Array(b)) => a.len().cmp(&b.len()).then_with(|| compare_items(a, b)),
        (Json::Object(a), Json::Object(b)) => a.len().cmp(&b.len()).then_with(|| compare_members(a, b)),
        _ => type_rank(a).cmp(&type_rank(b)),
    }
}

/// Compares elements by the first pair that differs.
fn compare_items(a: &[Json<'_>], b: &[Json<'_>]) -> Ordering {
    for (left, right) in a.iter().zip(b) {
        let order = compare_nested(left, right);
        if order.is_ne() {
            return order;
        }
    }
    Ordering::Equal
}

/// Compares members by the first pair that differs, in its name or else in its value.
fn compare_members(a: &[Member<'_>], b: &[Member<'_>]) -> Ordering {
    for ((a_name, left), (b_name, right)) in a.iter().zip(b) {
        let order = a_name.as_bytes().cmp(b_name.as_bytes()).then_with(|| compare_nested(left, right));
        if order.is_ne() {
            return order;
        }
    }
    Ordering::Equal
}

fn type_rank(value: &Json<'_>) -> u8 {
    match value {
        Json::Null => 0,
        Json::String(_) => 1,
        Json::Number(_) => 2,
        Json::Bool(_) => 3,
        Json::Array(_) => 4,
        Json::Object(_) => 5,
    }
}
