//! Paths to the values that name persons, within the rows of a table.
//!
//! A path is a column, then fields of structs and elements of arrays. One without elements names the person of the whole
//! row. One through an array names the person of each element: `info.participants[].puuid`. Of several arrays on the
//! way the elements of the last are meant.

use arrow::datatypes::{DataType, Field};

/// A path to values that name persons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErasePath {
    /// Its text.
    pub text: String,
    /// Position of its column in the rows of the table.
    pub column: usize,
    /// The steps within the column.
    pub steps: Vec<Step>,
}

/// A step of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Into the field of a struct, by its position.
    Field(usize),
    /// Into the elements of an array.
    Items,
}

impl ErasePath {
    /// Returns true if it names the person of a whole row.
    pub fn is_of_rows(&self) -> bool {
        !self.steps.contains(&Step::Items)
    }
}

/// Parses the text of a path: the names on it, each with true if it is an array to step into.
pub fn parse(text: &str) -> Option<Vec<(String, bool)>> {
    let mut parts = Vec::new();
    for part in text.trim().split('.') {
        let (name, items) = match part.strip_suffix("[]") {
            Some(name) => (name, true),
            None => (part, false),
        };
        let plain = |char: char| char.is_alphanumeric() || char == '_';
        if name.is_empty() || !name.chars().all(plain) {
            return None;
        }
        parts.push((name.to_owned(), items));
    }
    Some(parts)
}

/// Finds the steps to a VARCHAR from a column on, along names; a message where there is no such way.
pub fn resolve(column: &Field, names: &[(String, bool)]) -> Result<Vec<Step>, String> {
    let (mut field, mut steps) = (column.clone(), Vec::new());
    for (at, (name, items)) in names.iter().enumerate() {
        if at > 0 {
            let DataType::Struct(fields) = field.data_type() else {
                return Err(format!(
                    "{} is {}, which has no field {name}",
                    names[at - 1].0,
                    schemas::sql_type(&field)
                ));
            };
            let exact = fields.iter().position(|field| field.name() == name);
            let found =
                exact.or_else(|| fields.iter().position(|field| field.name().eq_ignore_ascii_case(name)));
            let Some(found) = found else {
                let all: Vec<&str> = fields.iter().map(|field| field.name().as_str()).collect();
                return Err(format!("{} has no field {name}, but {}", names[at - 1].0, all.join(", ")));
            };
            steps.push(Step::Field(found));
            field = fields[found].as_ref().clone();
        }
        if *items {
            let DataType::List(item) = field.data_type() else {
                return Err(format!("{name} is {}, and no array", schemas::sql_type(&field)));
            };
            steps.push(Step::Items);
            field = item.as_ref().clone();
        }
    }
    match field.data_type() {
        DataType::Utf8 if !schemas::is_jsonb(&field) => Ok(steps),
        _ => Err(format!("it ends on {}, and a person is named by a VARCHAR", schemas::sql_type(&field))),
    }
}
