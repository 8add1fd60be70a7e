//! Binder of the option `personal`: paths of columns whose values tell of a person.
//!
//! A path is a column with the fields and lists below it, `participants[].puuid`. It must name something: a tag that is
//! misspelt would protect nothing. Below a JSONB column any path may stand, as only its values tell what is there.

use arrow::datatypes::{DataType, Field, Fields, Schema};
use schemas::types::personal::PersonalTag;

use crate::mistake::Mistake;
use crate::sql::diagnostics::did_you_mean::did_you_mean;
use crate::sql::parse::ast::OptionItem;

/// The option's name.
pub(super) const PERSONAL: &str = "personal";

/// Reads the option's paths.
pub(super) fn read_tags(item: &OptionItem, schema: &Schema) -> Result<Vec<PersonalTag>, Vec<Mistake>> {
    let (mut tags, mut mistakes) = (Vec::new(), Vec::new());
    for path in item.value.split(',').map(str::trim) {
        match check_path(path, schema.fields()) {
            Ok(()) => tags.push(PersonalTag { path: path.to_owned(), kind: None }),
            Err((message, hint)) => {
                mistakes.push(Mistake::new(item.pos, format!("{PERSONAL}: {message}")).hint(hint));
            }
        }
    }
    if mistakes.is_empty() { Ok(tags) } else { Err(mistakes) }
}

/// Follows a path through the columns; a mistake is a message and a hint.
fn check_path(path: &str, columns: &Fields) -> Result<(), (String, String)> {
    let (mut fields, mut above) = (columns.clone(), String::new());
    for step in path.split('.') {
        let (name, lists) = match step.find("[]") {
            Some(at) => step.split_at(at),
            None => (step, ""),
        };
        let Some(field) = fields.iter().find(|field| field.name() == name) else {
            let message = format!("\"{path}\" names nothing: there is no {name}{above}");
            let hint = did_you_mean(name, fields.iter().map(|field| field.name().as_str()));
            return Err((message, hint.unwrap_or_else(|| names_of(&fields))));
        };
        if schemas::is_jsonb(field) {
            return Ok(());
        }
        if !lists.replace("[]", "").is_empty() {
            return Err((
                format!("\"{path}\" is no path"),
                format!("write {name}[] for the elements of a list"),
            ));
        }
        let inner = below_lists(field, lists).map_err(|hint| {
            let message = format!("\"{path}\" names nothing: {name} is {}", schemas::sql_type(field));
            (message, hint)
        })?;
        if schemas::is_jsonb(&inner) {
            return Ok(());
        }
        above = format!(" in {name}");
        fields = match inner.data_type() {
            DataType::Struct(fields) => fields.clone(),
            _ => Fields::empty(),
        };
    }
    Ok(())
}

/// The field below as many lists as a step has; else a hint.
fn below_lists(field: &Field, lists: &str) -> Result<Field, String> {
    let mut inner = field.clone();
    for _ in 0..lists.len() / 2 {
        let DataType::List(item) = inner.data_type() else {
            return Err(format!("write {} without []", field.name()));
        };
        inner = item.as_ref().clone();
    }
    match inner.data_type() {
        DataType::List(item) if item.data_type().is_nested() => {
            Err(format!("write {}{lists}[]", field.name()))
        }
        _ => Ok(inner),
    }
}

fn names_of(fields: &Fields) -> String {
    match fields.len() {
        0 => "write the path of a column or of a field in one: participants[].puuid".to_owned(),
        1 => format!("there is only {}", fields[0].name()),
        _ => {
            let names: Vec<&str> = fields.iter().map(|field| field.name().as_str()).collect();
            format!("there are {}", names.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn paths_name_columns_and_what_is_below() {
        let player = DataType::Struct(Fields::from(vec![Field::new("puuid", DataType::Utf8, true)]));
        let players = DataType::List(Arc::new(Field::new("item", player, true)));
        let names = DataType::List(Arc::new(Field::new("item", DataType::Utf8, true)));
        let columns = Fields::from(vec![
            Field::new("id", DataType::Utf8, true),
            Field::new("players", players, true),
            Field::new("names", names, true),
            schemas::jsonb_field("body", true),
        ]);
        for path in ["id", "players[].puuid", "players[]", "names", "names[]", "body", "body.a[].b"] {
            assert_eq!(check_path(path, &columns), Ok(()), "{path}");
        }
        let hint = |path: &str| check_path(path, &columns).unwrap_err().1;
        assert_eq!(hint("players.puuid"), "write players[]");
        assert_eq!(hint("id[]"), "write id without []");
        assert_eq!(hint("players[].puid"), "did you mean puuid?");
        assert!(hint("id.x").contains("write the path of a column"));
        assert_eq!(hint("players[].[]x"), "there is only puuid");
        assert_eq!(hint("players[]x"), "write players[] for the elements of a list");
    }
}
