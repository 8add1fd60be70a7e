//! Tags of personal data in Avro schemas: the attribute `personal` of a record's field.

use apache_avro::schema::{NamesRef, RecordField, RecordSchema, Schema as Avro};

use crate::types::personal::{PersonalKind, PersonalTag};

/// The attribute of a field.
const ATTRIBUTE: &str = "personal";

/// Returns the tags of each field of a record and of all below it, with paths from the field's name on.
///
/// A record within itself has no end of paths: if anything is tagged, the whole of it is.
pub(super) fn tags_of_fields(record: &RecordSchema, names: &NamesRef<'_>) -> Vec<Vec<PersonalTag>> {
    let mut found = Vec::with_capacity(record.fields.len());
    for field in &record.fields {
        let open = vec![record.name.fullname(None)];
        let mut search = Search { names, open, tags: Vec::new(), repeated: Vec::new() };
        search.add_field(field, "");
        found.push((search.tags, search.repeated));
    }
    // The tag may stand in another field than the one that repeats the record.
    let is_tagged = found.iter().any(|(tags, _)| !tags.is_empty());
    let mut all = Vec::with_capacity(found.len());
    for (mut tags, repeated) in found {
        for path in repeated.into_iter().filter(|_| is_tagged) {
            tags.push(PersonalTag { path, kind: Some(PersonalKind::Other) });
        }
        all.push(tags);
    }
    all
}

/// A search for tags.
struct Search<'s> {
    names: &'s NamesRef<'s>,
    /// The records around the place.
    open: Vec<String>,
    tags: Vec<PersonalTag>,
    /// Paths of records that stand within themselves.
    repeated: Vec<String>,
}

impl Search<'_> {
    fn add_field(&mut self, field: &RecordField, above: &str) {
        let path = if above.is_empty() { field.name.clone() } else { format!("{above}.{}", field.name) };
        if let Some(kind) = field.custom_attributes.get(ATTRIBUTE) {
            // A word that is none of the known kinds is a tag all the same.
            let kind = PersonalKind::from_word(kind.as_str().unwrap_or_default());
            self.tags.push(PersonalTag { path: path.clone(), kind: Some(kind) });
        }
        self.add_type(&field.schema, &path);
    }

    fn add_type(&mut self, schema: &Avro, path: &str) {
        match schema {
            Avro::Record(record) => {
                let name = record.name.fullname(None);
                if self.open.contains(&name) {
                    self.repeated.push(path.to_owned());
                    return;
                }
                self.open.push(name);
                for field in &record.fields {
                    self.add_field(field, path);
                }
                self.open.pop();
            }
            Avro::Ref { name } => {
                let names = self.names;
                if let Some(schema) = names.get(name) {
                    self.add_type(schema, path);
                }
            }
            Avro::Array(array) => self.add_type(&array.items, &format!("{path}[]")),
            // Keys of a map are data: all of its values share a path.
            Avro::Map(map) => self.add_type(&map.types, &format!("{path}.*")),
            Avro::Union(union) => {
                for branch in union.variants() {
                    self.add_type(branch, path);
                }
            }
            _ => {}
        }
    }
}
