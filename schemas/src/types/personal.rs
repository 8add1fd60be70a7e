//! Tags of personal data: the paths of columns whose values tell of a person.
//!
//! A field of an Avro schema has the attribute `"personal": "identifier"`, and a relation in SQL the option
//! `personal = 'puuid, participants[].puuid'`. The columns that a schema defines carry its tags in their metadata, until
//! the binder takes them off: a tag is no part of a column's type.

use std::collections::HashMap;

use arrow::datatypes::Field;
use serde_json::{Value, json};

/// The metadata key of a column's tags.
const TAGS_KEY: &str = "herald.personal";

/// Kinds of personal data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PersonalKind {
    /// An id of an account or a person.
    Identifier,
    /// A mail address, a telephone number.
    Contact,
    /// A name.
    Name,
    /// A place or an address of a network.
    Location,
    /// Anything else that tells of a person.
    Other,
}

impl PersonalKind {
    /// The word for the kind in a schema.
    pub fn word(self) -> &'static str {
        match self {
            PersonalKind::Identifier => "identifier",
            PersonalKind::Contact => "contact",
            PersonalKind::Name => "name",
            PersonalKind::Location => "location",
            PersonalKind::Other => "other",
        }
    }

    /// The kind of a word; a word that is none of the known ones is [`PersonalKind::Other`].
    pub fn from_word(word: &str) -> PersonalKind {
        let known =
            [PersonalKind::Identifier, PersonalKind::Contact, PersonalKind::Name, PersonalKind::Location];
        known.into_iter().find(|kind| kind.word() == word).unwrap_or(PersonalKind::Other)
    }
}

/// A path of a relation whose values are personal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PersonalTag {
    /// The path from a column on: `participants[].puuid`. It covers all below it.
    pub path: String,
    /// The kind, if the tag has one: those of SQL have none.
    pub kind: Option<PersonalKind>,
}

impl PersonalTag {
    /// Tells whether a path is this one or lies below it.
    pub fn covers(&self, path: &str) -> bool {
        path.strip_prefix(&self.path).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    }
}

/// Adds tags to a column that a schema defines.
pub(crate) fn with_tags(column: Field, tags: &[PersonalTag]) -> Field {
    if tags.is_empty() {
        return column;
    }
    let mut pairs = Vec::with_capacity(tags.len());
    for tag in tags {
        pairs.push(json!([tag.path, tag.kind.map(PersonalKind::word)]));
    }
    let mut metadata: HashMap<String, String> = column.metadata().clone();
    metadata.insert(TAGS_KEY.to_owned(), Value::Array(pairs).to_string());
    column.with_metadata(metadata)
}

/// Takes the tags off a column that a schema defines.
pub fn take_tags(column: Field) -> (Field, Vec<PersonalTag>) {
    let mut metadata = column.metadata().clone();
    let Some(text) = metadata.remove(TAGS_KEY) else { return (column, Vec::new()) };
    let pairs: Vec<(String, Option<String>)> = serde_json::from_str(&text).unwrap_or_default();
    let mut tags = Vec::with_capacity(pairs.len());
    for (path, kind) in pairs {
        tags.push(PersonalTag { path, kind: kind.as_deref().map(PersonalKind::from_word) });
    }
    (column.with_metadata(metadata), tags)
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::DataType;

    use super::*;

    #[test]
    fn a_tag_covers_all_below_it() {
        let tag = PersonalTag { path: "players[].id".to_owned(), kind: None };
        for (path, covered) in [
            ("players[].id", true),
            ("players[].id.value", true),
            ("players[].idle", false),
            ("players", false),
        ] {
            assert_eq!(tag.covers(path), covered, "{path}");
        }
    }

    #[test]
    fn tags_come_off_as_they_went_on() {
        let tags = [
            PersonalTag { path: "a".to_owned(), kind: Some(PersonalKind::Name) },
            PersonalTag { path: "a.b".to_owned(), kind: None },
        ];
        let plain = Field::new("a", DataType::Utf8, true);
        assert_eq!(take_tags(with_tags(plain.clone(), &tags)), (plain.clone(), tags.to_vec()));
        assert_eq!(take_tags(plain.clone()), (plain, vec![]));
    }
}
