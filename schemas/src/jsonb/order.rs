//! The order of JSONB values, PostgreSQL's for its B-trees.
//!
//! Object > Array > Boolean > Number > String > null; of two objects or arrays the one with more parts
//! is greater, then the first parts that differ decide. One exception is history: an empty array on
//! its own is less than any scalar on its own. Texts compare by their bytes.

use std::cmp::Ordering;

use super::{Json, number};

/// Which of two values is less.
pub fn compare(a: &Json<'_>, b: &Json<'_>) -> Ordering {
    // A scalar on its own is kept as an array of one there, which is less than a true one of one.
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
        _ => within(a, b),
    }
}

/// The order of names in an object: by length, then by bytes.
pub(super) fn names(a: &str, b: &str) -> Ordering {
    a.len().cmp(&b.len()).then_with(|| a.as_bytes().cmp(b.as_bytes()))
}

fn within(a: &Json<'_>, b: &Json<'_>) -> Ordering {
    match (a, b) {
        (Json::Bool(a), Json::Bool(b)) => a.cmp(b),
        (Json::Number(a), Json::Number(b)) => number::compare(a, b),
        (Json::String(a), Json::String(b)) => a.as_bytes().cmp(b.as_bytes()),
        (Json::Array(a), Json::Array(b)) => {
            a.len().cmp(&b.len()).then_with(|| first(a.iter().zip(b).map(|(a, b)| within(a, b))))
        }
        (Json::Object(a), Json::Object(b)) => a.len().cmp(&b.len()).then_with(|| {
            let pairs = a.iter().zip(b);
            first(pairs.map(|(a, b)| a.0.as_bytes().cmp(b.0.as_bytes()).then_with(|| within(&a.1, &b.1))))
        }),
        _ => rank(a).cmp(&rank(b)),
    }
}

fn first(mut orders: impl Iterator<Item = Ordering>) -> Ordering {
    orders.find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}

fn rank(value: &Json<'_>) -> u8 {
    match value {
        Json::Null => 0,
        Json::String(_) => 1,
        Json::Number(_) => 2,
        Json::Bool(_) => 3,
        Json::Array(_) => 4,
        Json::Object(_) => 5,
    }
}
