//! The events of `schemas/avro`: every schema can be parsed, has the fields of the envelope and tells the meaning
//! of each field; its topic stands in the layout and in the documentation. A field that came later has a default.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use apache_avro::Schema;
use serde_json::Value;

/// Fields that every event has.
const ENVELOPE: [&str; 7] =
    ["event_id", "event_type", "event_version", "source", "occurred_at", "correlation_id", "causation_id"];
/// Kinds of personal data.
const PERSONAL: [&str; 5] = ["identifier", "contact", "name", "location", "other"];

/// Text of a file of the repository.
fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)).expect(path)
}

/// Texts of the schemas by event. The champions are a dimension and no event.
fn events() -> BTreeMap<String, String> {
    let mut events = BTreeMap::new();
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("avro")).expect("a folder") {
        let file = entry.expect("an entry").file_name().into_string().expect("a name in UTF-8");
        if let Some(event) = file.strip_suffix(".avsc")
            && event != "champion"
        {
            events.insert(event.to_owned(), read(&format!("schemas/avro/{file}")));
        }
    }
    assert!(events.len() > 20, "{:?}", events.keys());
    events
}

fn parse(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

/// The fields of a record.
fn fields(record: &Value) -> &[Value] {
    record["fields"].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn name(field: &Value) -> &str {
    field["name"].as_str().expect("a name")
}

/// Calls `visit` with the path and the definition of every field in a type.
fn visit_fields(schema: &Value, path: &str, visit: &mut dyn FnMut(&str, &Value)) {
    for branch in schema.as_array().into_iter().flatten() {
        visit_fields(branch, path, visit);
    }
    for part in ["items", "values"] {
        if let Some(inner) = schema.get(part) {
            visit_fields(inner, path, visit);
        }
    }
    for field in fields(schema) {
        let path = format!("{path}.{}", name(field));
        visit(&path, field);
        visit_fields(&field["type"], &path, visit);
    }
}

#[test]
fn every_event_is_a_record_with_the_envelope() {
    for (event, text) in events() {
        if let Err(error) = Schema::parse_str(&text) {
            panic!("{event}: {error}");
        }
        let schema = parse(&text);
        assert_eq!(schema["namespace"], "herald.events", "{event}");
        let names: Vec<&str> = fields(&schema).iter().map(name).collect();
        for part in ENVELOPE {
            assert!(names.contains(&part), "{event} lacks {part}");
        }
    }
}

#[test]
fn every_field_tells_its_meaning() {
    for (event, text) in events() {
        visit_fields(&parse(&text), &event, &mut |path, field| {
            let doc = field["doc"].as_str().unwrap_or_default();
            assert!(doc.ends_with('.'), "{path} has no sentence as its doc: {doc:?}");
            if let Some(kind) = field.get("personal") {
                assert!(PERSONAL.iter().any(|known| kind == known), "{path} is personal as {kind}");
            }
            if field["type"].is_array() {
                assert_eq!(field.get("default"), Some(&Value::Null), "{path} may be null and has no default");
            }
        });
    }
}

#[test]
fn every_event_has_its_topic_and_its_line_in_the_documentation() {
    let (layout, page) = (read("dataflows/topologies/topics.sql"), read("docs/events.md"));
    for event in events().keys() {
        assert!(layout.contains(&format!("CREATE TOPIC \"{event}\"")), "no topic {event}");
        assert!(
            layout.contains(&format!("/schemas/avro/{event}.avsc'")),
            "no topic has the schema of {event}"
        );
        assert!(page.contains(&format!("| `{event}` |")), "docs/events.md does not have {event}");
    }
}

#[test]
fn later_fields_of_completed_matches_have_defaults() {
    let schema = parse(&events()["match.completed"]);
    let names: Vec<&str> = fields(&schema).iter().map(name).collect();
    assert_eq!(names[..3], ["event_id", "fetched_at", "match"]);
    for field in &fields(&schema)[3..] {
        assert!(field.get("default").is_some(), "{} has no default", name(field));
    }
}
