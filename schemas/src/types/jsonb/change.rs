//! Changes of a JSONB value: `||`, `-`, `#-`, `jsonb_set`, `jsonb_insert`, `jsonb_strip_nulls`.
//!
//! Each behaves as PostgreSQL's, refusals included. A step of a path is a member's name in an object and
//! an index in an array, negative from the end; an index beyond an array stands for its nearer end.

use std::borrow::Cow;

use super::path::index;
use super::{Json, Member};

/// The change made at the end of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Replaces the value.
    Replace,
    /// Replaces the value, or adds a missing one.
    Create,
    /// Inserts the new value before the element.
    Before,
    /// Inserts the new value behind the element.
    After,
    /// Removes the value.
    Delete,
}

/// Concatenates two values: members of both objects, where the right one's take precedence, or elements of
/// both.
pub fn concat<'a>(left: Json<'a>, right: Json<'a>) -> Json<'a> {
    match (left, right) {
        (Json::Object(mut left), Json::Object(right)) => {
            left.extend(right);
            Json::object(left)
        }
        (left, right) => {
            let mut items = into_items(left);
            items.extend(into_items(right));
            Json::Array(items)
        }
    }
}

/// Returns the elements of an array, or another value as the one element.
fn into_items(value: Json<'_>) -> Vec<Json<'_>> {
    match value {
        Json::Array(items) => items,
        other => vec![other],
    }
}

/// Removes the members, or the text elements, of these names.
///
/// # Errors
/// Fails for a scalar.
pub fn without<'a>(value: Json<'a>, names: &[&str]) -> Result<Json<'a>, String> {
    match value {
        Json::Object(mut members) => {
            members.retain(|(name, _)| !names.contains(&name.as_ref()));
            Ok(Json::Object(members))
        }
        Json::Array(mut items) => {
            items.retain(|item| !matches!(item, Json::String(text) if names.contains(&text.as_ref())));
            Ok(Json::Array(items))
        }
        _ => Err("cannot delete from scalar".to_owned()),
    }
}

/// Removes the element at an index.
///
/// # Errors
/// Fails unless the value is an array.
pub fn without_element(value: Json<'_>, at: i64) -> Result<Json<'_>, String> {
    match value {
        Json::Array(mut items) => {
            if let Some(place) = element_place(at, items.len()) {
                items.remove(place);
            }
            Ok(Json::Array(items))
        }
        Json::Object(_) => Err("cannot delete from object using integer index".to_owned()),
        _ => Err("cannot delete from scalar".to_owned()),
    }
}

/// Returns the place of an index, negative from the end, in an array of `len` elements; None beyond it.
fn element_place(at: i64, len: usize) -> Option<usize> {
    let count = i64::try_from(len).unwrap_or(i64::MAX);
    let at = if at < 0 { count.saturating_add(at) } else { at };
    usize::try_from(at).ok().filter(|at| *at < len)
}

/// Removes the members that are null, at every depth; null elements stay.
pub fn strip_nulls(value: &mut Json<'_>) {
    match value {
        Json::Array(items) => items.iter_mut().for_each(strip_nulls),
        Json::Object(members) => {
            members.retain(|(_, member)| *member != Json::Null);
            for (_, member) in members {
                strip_nulls(member);
            }
        }
        _ => {}
    }
}

/// Changes `value` at the end of `path`; `new` is the value that a change inserts.
///
/// # Errors
/// Fails for a scalar, a step that is NULL, a step into an array that is no number, and the insertion of a
/// member that exists.
pub fn at_path<'a>(
    value: Json<'a>,
    path: &[Option<&str>],
    new: &Json<'a>,
    change: Change,
) -> Result<Json<'a>, String> {
    if value.is_scalar() {
        let what = if change == Change::Delete { "delete" } else { "set" };
        return Err(format!("cannot {what} path in scalar"));
    }
    // As in PostgreSQL, the steps into an empty value are not even checked unless something can be added.
    let empty = match &value {
        Json::Array(items) => items.is_empty(),
        Json::Object(members) => members.is_empty(),
        _ => false,
    };
    if path.is_empty() || (empty && matches!(change, Change::Replace | Change::Delete)) {
        return Ok(value);
    }
    PathChange { path, new, change }.change_at(value, 0)
}

/// A change at the end of a path.
struct PathChange<'p, 'a> {
    path: &'p [Option<&'p str>],
    new: &'p Json<'a>,
    change: Change,
}

impl<'a> PathChange<'_, 'a> {
    /// Changes a value that the first `level` steps have led to.
    fn change_at(&self, value: Json<'a>, level: usize) -> Result<Json<'a>, String> {
        let place = level + 1;
        let Some(step) = self.path.get(level).copied().flatten() else {
            return Err(format!("path element at position {place} is null"));
        };
        let last = place == self.path.len();
        match value {
            Json::Object(members) => self.change_object(members, step, (level, last)),
            Json::Array(items) => {
                let at = index(step).ok_or_else(|| {
                    format!("path element at position {place} is not an integer: \"{step}\"")
                })?;
                self.change_array(items, at, (level, last))
            }
            scalar => Ok(scalar),
        }
    }

    fn change_object(
        &self,
        mut members: Vec<Member<'a>>,
        step: &str,
        (level, last): (usize, bool),
    ) -> Result<Json<'a>, String> {
        let Some(at) = members.iter().position(|(name, _)| name == step) else {
            if last && self.adds_missing() {
                members.push((Cow::Owned(step.to_owned()), self.new.clone()));
            }
            // Sorts the new member in.
            return Ok(Json::object(members));
        };
        match (last, self.change) {
            (true, Change::Before | Change::After) => {
                return Err("cannot replace existing key: use jsonb_set to replace it".to_owned());
            }
            (true, Change::Delete) => drop(members.remove(at)),
            (true, _) => members[at].1 = self.new.clone(),
            (false, _) => {
                // Moved out and back, so that the subtree is not copied.
                let inner = std::mem::replace(&mut members[at].1, Json::Null);
                members[at].1 = self.change_at(inner, level + 1)?;
            }
        }
        Ok(Json::Object(members))
    }

    fn change_array(
        &self,
        mut items: Vec<Json<'a>>,
        at: i64,
        (level, last): (usize, bool),
    ) -> Result<Json<'a>, String> {
        let Some(place) = element_place(at, items.len()) else {
            if last && self.adds_missing() {
                // Beyond the array: at its nearer end.
                let end = if at < 0 { 0 } else { items.len() };
                items.insert(end, self.new.clone());
            }
            return Ok(Json::Array(items));
        };
        match (last, self.change) {
            (true, Change::Before) => items.insert(place, self.new.clone()),
            (true, Change::After) => items.insert(place + 1, self.new.clone()),
            (true, Change::Delete) => drop(items.remove(place)),
            (true, _) => items[place] = self.new.clone(),
            (false, _) => {
                let inner = std::mem::replace(&mut items[place], Json::Null);
                items[place] = self.change_at(inner, level + 1)?;
            }
        }
        Ok(Json::Array(items))
    }

    /// Tells whether the change adds a missing value.
    fn adds_missing(&self) -> bool {
        !matches!(self.change, Change::Replace | Change::Delete)
    }
}
