//! Changes of a JSONB value: `||`, `-`, `#-`, `jsonb_set`, `jsonb_insert`, `jsonb_strip_nulls`.
//!
//! Each is PostgreSQL's, its refusals included. A step of a path is a member's name in an object and a
//! number in an array, below 0 from the end; a number beyond an array stands for its nearer end.

use std::borrow::Cow;

use super::path::index;
use super::{Json, Member};

/// What is done where a path ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The value there is replaced.
    Replace,
    /// The same, and what is not there is added.
    Create,
    /// The value is put in before the element there.
    Before,
    /// The value is put in behind the element there.
    After,
    /// What is there is removed.
    Delete,
}

/// Two values as one: members of both, elements of both, the right one's members before the left one's.
pub fn concat<'a>(left: Json<'a>, right: Json<'a>) -> Json<'a> {
    match (left, right) {
        (Json::Object(mut left), Json::Object(right)) => {
            left.extend(right);
            Json::object(left)
        }
        (left, right) => {
            let mut items = listed(left);
            items.extend(listed(right));
            Json::Array(items)
        }
    }
}

fn listed(value: Json<'_>) -> Vec<Json<'_>> {
    match value {
        Json::Array(items) => items,
        other => vec![other],
    }
}

/// Without the members or texts of these names.
///
/// # Errors
/// For a scalar.
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

/// Without the element of this number.
///
/// # Errors
/// For what is no array.
pub fn without_element(value: Json<'_>, at: i64) -> Result<Json<'_>, String> {
    match value {
        Json::Array(mut items) => {
            let count = i64::try_from(items.len()).unwrap_or(i64::MAX);
            let at = if at < 0 { count.saturating_add(at) } else { at };
            if let Some(at) = usize::try_from(at).ok().filter(|at| *at < items.len()) {
                items.remove(at);
            }
            Ok(Json::Array(items))
        }
        Json::Object(_) => Err("cannot delete from object using integer index".to_owned()),
        _ => Err("cannot delete from scalar".to_owned()),
    }
}

/// Without the members that are null, at every depth; elements stay.
pub fn strip_nulls(value: &mut Json<'_>) {
    match value {
        Json::Array(items) => items.iter_mut().for_each(strip_nulls),
        Json::Object(members) => {
            members.retain(|(_, member)| *member != Json::Null);
            members.iter_mut().for_each(|(_, member)| strip_nulls(member));
        }
        _ => {}
    }
}

/// `value` changed at the end of `path`; `new` is what a change puts in.
///
/// # Errors
/// For a scalar, a step that is NULL or no number where one is needed, and a member that is put in twice.
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
    let empty = match &value {
        Json::Array(items) => items.is_empty(),
        Json::Object(members) => members.is_empty(),
        _ => false,
    };
    if path.is_empty() || (empty && matches!(change, Change::Replace | Change::Delete)) {
        return Ok(value);
    }
    Walk { path, new, change }.step(value, 0)
}

struct Walk<'p, 'a> {
    path: &'p [Option<&'p str>],
    new: &'p Json<'a>,
    change: Change,
}

impl<'a> Walk<'_, 'a> {
    fn step(&self, value: Json<'a>, level: usize) -> Result<Json<'a>, String> {
        let place = level + 1;
        let Some(step) = self.path.get(level).copied().flatten() else {
            return Err(format!("path element at position {place} is null"));
        };
        let last = place == self.path.len();
        match value {
            Json::Object(members) => self.object(members, step, (level, last)),
            Json::Array(items) => {
                let at = index(step).ok_or_else(|| {
                    format!("path element at position {place} is not an integer: \"{step}\"")
                })?;
                self.array(items, at, (level, last))
            }
            scalar => Ok(scalar),
        }
    }

    fn object(
        &self,
        mut members: Vec<Member<'a>>,
        step: &str,
        (level, last): (usize, bool),
    ) -> Result<Json<'a>, String> {
        let Some(at) = members.iter().position(|(name, _)| name == step) else {
            if last && self.adds() {
                members.push((Cow::Owned(step.to_owned()), self.new.clone()));
            }
            return Ok(Json::object(members));
        };
        match (last, self.change) {
            (true, Change::Before | Change::After) => {
                return Err("cannot replace existing key: use jsonb_set to replace it".to_owned());
            }
            (true, Change::Delete) => drop(members.remove(at)),
            (true, _) => members[at].1 = self.new.clone(),
            (false, _) => {
                let inner = std::mem::replace(&mut members[at].1, Json::Null);
                members[at].1 = self.step(inner, level + 1)?;
            }
        }
        Ok(Json::Object(members))
    }

    fn array(
        &self,
        mut items: Vec<Json<'a>>,
        at: i64,
        (level, last): (usize, bool),
    ) -> Result<Json<'a>, String> {
        let count = i64::try_from(items.len()).unwrap_or(i64::MAX);
        let at = if at < 0 { count.saturating_add(at) } else { at };
        let Some(at) = usize::try_from(at).ok().filter(|at| *at < items.len()) else {
            if last && self.adds() {
                let end = if at < 0 { 0 } else { items.len() };
                items.insert(end, self.new.clone());
            }
            return Ok(Json::Array(items));
        };
        match (last, self.change) {
            (true, Change::Before) => items.insert(at, self.new.clone()),
            (true, Change::After) => items.insert(at + 1, self.new.clone()),
            (true, Change::Delete) => drop(items.remove(at)),
            (true, _) => items[at] = self.new.clone(),
            (false, _) => {
                let inner = std::mem::replace(&mut items[at], Json::Null);
                items[at] = self.step(inner, level + 1)?;
            }
        }
        Ok(Json::Array(items))
    }

    /// Tells whether what is not there is put in.
    fn adds(&self) -> bool {
        !matches!(self.change, Change::Replace | Change::Delete)
    }
}
