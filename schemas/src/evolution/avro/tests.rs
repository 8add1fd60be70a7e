//! The verdicts of Avro against a table from the specification, and against an implementation of schema resolution.
//!
//! Random schemas are edited at random. If the verdict is that a reader can read, `apache-avro` must read every random
//! value with the reader's schema; if not, its own check of compatibility must not be sure of it, and most verdicts
//! must be proven by a value that cannot be read.

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::schema_compatibility::{Compatibility, SchemaCompatibility};
use apache_avro::types::Value as AvroValue;
use apache_avro::writer::datum::GenericDatumWriter;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use super::*;
use crate::evolution::located::Located;
use crate::evolution::{Comparison, Level, SchemaText, Verdict};

fn text(name: &str, schema: &Value) -> SchemaText {
    SchemaText { name: name.to_owned(), text: schema.to_string() }
}

fn compared(old: &Value, new: &Value) -> Comparison {
    Comparison::new(&[text("old", old)], &text("new", new), Some(crate::evolution::SchemaKind::Avro))
        .unwrap_or_else(|error| panic!("{error}\n{old}\n{new}"))
}

/// A record with one field of a type.
fn field(inner: Value) -> Value {
    json!({"type": "record", "name": "R", "namespace": "a.b", "fields": [{"name": "f", "type": inner}]})
}

fn record(fields: Value) -> Value {
    json!({"type": "record", "name": "R", "fields": fields})
}

fn is_held(comparison: &Comparison, level: Level) -> bool {
    comparison.verdict(level) == Verdict::Holds
}

/// Old type, new type, and whether the edit is backward and forward compatible.
#[test]
fn the_specifications_table() {
    let named = |kind: &str, name: &str, rest: &str| -> Value {
        serde_json::from_str(&format!(r#"{{"type":"{kind}","name":"{name}",{rest}}}"#)).unwrap()
    };
    let decimal =
        |p: u32, s: u32| json!({"type": "bytes", "logicalType": "decimal", "precision": p, "scale": s});
    let logical = |of: &str, name: &str| json!({"type": of, "logicalType": name});
    let cases = [
        // Promotions.
        (json!("int"), json!("long"), true, false),
        (json!("int"), json!("float"), true, false),
        (json!("int"), json!("double"), true, false),
        (json!("long"), json!("float"), true, false),
        (json!("long"), json!("double"), true, false),
        (json!("float"), json!("double"), true, false),
        (json!("string"), json!("bytes"), true, true),
        (json!("int"), json!("string"), false, false),
        (json!("boolean"), json!("int"), false, false),
        (json!("double"), json!("long"), false, true),
        (json!("null"), json!("int"), false, false),
        // Unions.
        (json!("int"), json!(["null", "int"]), true, false),
        (json!("int"), json!(["null", "long"]), true, false),
        (json!(["int", "null"]), json!(["null", "int"]), true, true),
        (json!(["null", "int", "string"]), json!(["null", "int"]), false, true),
        (json!(["int", "long"]), json!("double"), true, false),
        (json!(["int"]), json!("int"), true, true),
        (json!(["null", "int"]), json!("string"), false, false),
        // Arrays and maps.
        (json!({"type": "array", "items": "int"}), json!({"type": "array", "items": "long"}), true, false),
        (json!({"type": "map", "values": "int"}), json!({"type": "map", "values": "long"}), true, false),
        (json!({"type": "array", "items": "int"}), json!({"type": "map", "values": "int"}), false, false),
        // Enums.
        (
            named("enum", "E", r#""symbols":["A","B"]"#),
            named("enum", "E", r#""symbols":["B","A","C"]"#),
            true,
            false,
        ),
        (
            named("enum", "E", r#""symbols":["A","B"],"default":"A""#),
            named("enum", "E", r#""symbols":["A","C"],"default":"A""#),
            true,
            true,
        ),
        (named("enum", "E", r#""symbols":["A"]"#), named("enum", "F", r#""symbols":["A"]"#), false, false),
        (
            named("enum", "E", r#""symbols":["A"]"#),
            named("enum", "F", r#""symbols":["A"],"aliases":["E"]"#),
            true,
            false,
        ),
        (named("enum", "E", r#""symbols":["A"]"#), named("enum", "x.E", r#""symbols":["A"]"#), true, true),
        (named("enum", "E", r#""symbols":["A"]"#), json!("string"), false, false),
        // Fixeds.
        (named("fixed", "F", r#""size":4"#), named("fixed", "F", r#""size":8"#), false, false),
        (named("fixed", "F", r#""size":4"#), named("fixed", "G", r#""size":4"#), false, false),
        (named("fixed", "F", r#""size":4"#), json!("bytes"), false, false),
        // Logical types.
        (decimal(9, 2), decimal(9, 2), true, true),
        (decimal(9, 2), decimal(10, 2), false, false),
        (decimal(9, 2), decimal(9, 3), false, false),
        (decimal(9, 2), json!("bytes"), true, true),
        (logical("long", "timestamp-millis"), logical("long", "timestamp-micros"), false, false),
        (logical("long", "timestamp-millis"), json!("long"), true, true),
        // A logical type on a type that it does not fit is ignored.
        (logical("string", "timestamp-millis"), json!("string"), true, true),
        // Records.
        (named("record", "I", r#""fields":[]"#), named("record", "J", r#""fields":[]"#), false, false),
        (
            named("record", "I", r#""fields":[]"#),
            named("record", "J", r#""fields":[],"aliases":["a.b.I"]"#),
            true,
            false,
        ),
    ];
    for (old, new, backward, forward) in cases {
        let comparison = compared(&field(old.clone()), &field(new.clone()));
        let found = (is_held(&comparison, Level::Backward), is_held(&comparison, Level::Forward));
        assert_eq!(found, (backward, forward), "{old} -> {new}\n{}", comparison.text(None));
        assert_eq!(is_held(&comparison, Level::Full), backward && forward);
    }
}

#[test]
fn fields_come_and_go_with_defaults() {
    let id = json!({"name": "id", "type": "long"});
    let bare = json!({"name": "kills", "type": "int"});
    let with = json!({"name": "kills", "type": "int", "default": 0});
    let renamed = json!({"name": "total", "type": "int", "aliases": ["kills"]});
    let cases = [
        (json!([id]), json!([bare, id]), false, true),
        (json!([id]), json!([with, id]), true, true),
        (json!([id, bare]), json!([id]), true, false),
        (json!([id, with]), json!([id]), true, true),
        (json!([id, bare]), json!([bare, id]), true, true),
        (json!([bare]), json!([renamed]), true, false),
        (json!([with]), json!([renamed]), true, true),
    ];
    for (old, new, backward, forward) in cases {
        let comparison = compared(&record(old.clone()), &record(new.clone()));
        let found = (is_held(&comparison, Level::Backward), is_held(&comparison, Level::Forward));
        assert_eq!(found, (backward, forward), "{old} -> {new}\n{}", comparison.text(None));
    }
}

#[test]
fn findings_have_path_place_and_remedy() {
    let old = r#"{"type":"record","name":"Match","fields":[
      {"name":"info","type":{"type":"record","name":"Info","fields":[
        {"name":"participants","type":{"type":"array","items":{"type":"record","name":"P","fields":[
          {"name":"kills","type":"int"},
          {"name":"team","type":["null",{"type":"enum","name":"Team","symbols":["BLUE","RED"]}],"default":null}]}}}]}}]}"#;
    let new = r#"{"type":"record","name":"Match","fields":[
      {"name":"info","type":{"type":"record","name":"Info","fields":[
        {"name":"participants","type":{"type":"array","items":{"type":"record","name":"P","fields":[
          {"name":"kills","type":"string"},
          {"name":"team","type":["null",{"type":"enum","name":"Team","symbols":["BLUE"]}],"default":null},
          {"name":"deaths","type":"int"},
          {"name":"score","type":"int","default":"none"}]}}}]}}]}"#;
    let named = |name: &str, text: &str| SchemaText { name: name.to_owned(), text: text.to_owned() };
    let comparison = Comparison::new(&[named("old.avsc", old)], &named("new.avsc", new), None).unwrap();
    assert_eq!(
        comparison.text(Some(Level::Backward)),
        "new.avsc compared with old.avsc (Avro)

new.avsc:4:19 info.participants[].kills
  The type was int and is string: int is not read as string.
  backward: a consumer with the new schema cannot read records written with the
    old one.
  do: keep the type, or add a field of the new type with a default.

new.avsc:5:19 info.participants[].team
  Enum symbol RED was removed, and the enum has no default.
  backward: a consumer with the new schema cannot read records written with the
    old one.
  do: keep the symbol, or give the enum a \"default\" symbol.

new.avsc:6:19 info.participants[].deaths
  Field deaths was added without a default.
  backward: a consumer with the new schema cannot read records written with the
    old one.
  do: give it a default, or an alias if it is a field renamed.

new.avsc:7:19 info.participants[].score
  The default \"none\" is no int.
  itself: the new schema is invalid: registries and producers refuse it.
  do: write a default of the field's type.

backward: broken
"
    );
    assert!(comparison.text(None).lines().all(|line| line.chars().count() <= 80));
}

#[test]
fn recursive_schemas_end() {
    let list = |value: &str, extra: &str| -> Value {
        serde_json::from_str(&format!(
            r#"{{"type":"record","name":"L","fields":[{{"name":"v","type":"{value}"}}{extra},
               {{"name":"next","type":["null","L"],"default":null}}]}}"#
        ))
        .unwrap()
    };
    let comparison = compared(&list("int", ""), &list("long", ""));
    assert!(is_held(&comparison, Level::Backward) && !is_held(&comparison, Level::Forward));
    let comparison = compared(&list("int", ""), &list("int", r#",{"name":"w","type":"int"}"#));
    assert!(!is_held(&comparison, Level::Backward) && is_held(&comparison, Level::Forward));
    assert_eq!(comparison.findings.len(), 1, "{}", comparison.text(None));
}

#[test]
fn transitive_levels_look_at_all_versions() {
    let versions = [json!([{"name": "a", "type": "string"}]), json!([{"name": "a", "type": "int"}])];
    let old: Vec<SchemaText> = versions
        .iter()
        .enumerate()
        .map(|(at, fields)| text(&format!("v{at}"), &record(fields.clone())))
        .collect();
    let new = text("new", &record(json!([{"name": "a", "type": "long"}])));
    let comparison = Comparison::new(&old, &new, None).unwrap();
    assert!(is_held(&comparison, Level::Backward));
    assert!(!is_held(&comparison, Level::BackwardTransitive));
    assert!(comparison.text(None).contains("Against v0."), "{}", comparison.text(None));
}

#[test]
fn unreadable_schemas_have_a_place() {
    let told = |text: &str| {
        let schema = SchemaText { name: "s.avsc".to_owned(), text: text.to_owned() };
        let old = SchemaText { name: "old".to_owned(), text: "\"int\"".to_owned() };
        let kind = Some(crate::evolution::SchemaKind::Avro);
        Comparison::new(&[old], &schema, kind).unwrap_err().to_string()
    };
    assert!(told("{\"type\":\n  }").starts_with("s.avsc:2:3: this is no JSON"));
    assert_eq!(
        told("{\"type\":\"record\",\"name\":\"R\",\"fields\":[\n {\"name\":\"a\",\"type\":\"strnig\"}]}"),
        "s.avsc:2:21: there is no type strnig: define it, or write a type of Avro's"
    );
    assert!(told("{\"type\":\"array\"}").contains("an array needs \"items\""));
    assert!(told("[\"int\",\"int\"]").contains("has int twice"));
    assert!(
        told("{\"type\":\"enum\",\"name\":\"E\",\"symbols\":[\"A\",\"A\"]}").contains("A is there twice")
    );
}

// Random schemas and edits.

/// A generator of schemas, edits and values.
struct Random {
    rng: ChaCha8Rng,
    named: usize,
}

impl Random {
    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.rng.random_range(0..of.len())]
    }

    fn name(&mut self) -> String {
        self.named += 1;
        format!("N{}", self.named)
    }

    fn schema(&mut self, depth: usize) -> Value {
        match self.rng.random_range(0..if depth == 0 { 5 } else { 11 }) {
            0..5 => json!(self.pick(&["boolean", "int", "long", "float", "double", "string", "bytes"])),
            5 => json!({"type": "array", "items": self.schema(depth - 1)}),
            6 => json!({"type": "map", "values": self.schema(depth - 1)}),
            7 => json!({"type": "enum", "name": self.name(), "symbols": ["A", "B", "C"]}),
            8 => json!({"type": "fixed", "name": self.name(), "size": self.rng.random_range(1..4)}),
            9 => json!(["null", self.schema(0), {"type": "array", "items": self.schema(0)}]),
            _ => self.record(depth - 1),
        }
    }

    fn record(&mut self, depth: usize) -> Value {
        let name = self.name();
        let mut fields = Vec::new();
        for at in 0..self.rng.random_range(1..4) {
            fields.push(json!({"name": format!("f{at}"), "type": self.schema(depth)}));
        }
        if self.rng.random_range(0..4) == 0 {
            fields.push(json!({"name": "next", "type": ["null", name], "default": null}));
        }
        json!({"type": "record", "name": name, "fields": fields})
    }

    /// Edits a random part of a schema.
    fn edit(&mut self, schema: &mut Value) {
        let deeper = self.rng.random_range(0..3) > 0;
        match schema {
            Value::Array(branches) => match self.rng.random_range(0..4) {
                0 if branches.len() > 1 => {
                    let at = self.rng.random_range(0..branches.len());
                    branches.remove(at);
                }
                1 => branches.reverse(),
                2 => {
                    let new = json!({"type": "map", "values": self.schema(0)});
                    branches.push(new);
                }
                _ => {
                    let at = self.rng.random_range(0..branches.len());
                    if branches[at].is_object() {
                        self.edit(&mut branches[at]);
                    }
                }
            },
            Value::String(name) if !name.starts_with('N') => {
                *schema = match self.rng.random_range(0..3) {
                    0 if name != "null" => json!(["null", name.clone()]),
                    _ => json!(self.pick(&["int", "long", "float", "double", "string", "bytes", "boolean"])),
                };
            }
            Value::Object(object) => match object.get("type").and_then(Value::as_str).unwrap_or_default() {
                "array" => self.edit(&mut object["items"]),
                "map" => self.edit(&mut object["values"]),
                "enum" => {
                    let lists = [json!(["A", "B"]), json!(["C", "A", "B", "D"]), json!(["X"])];
                    object["symbols"] = lists[self.rng.random_range(0..lists.len())].clone();
                    if self.rng.random_range(0..2) == 0 {
                        object.insert("default".to_owned(), object["symbols"][0].clone());
                    }
                }
                "fixed" => object["size"] = json!(self.rng.random_range(1..4)),
                _ => self.edit_fields(object["fields"].as_array_mut().unwrap(), deeper),
            },
            _ => {}
        }
    }

    fn edit_fields(&mut self, fields: &mut Vec<Value>, deeper: bool) {
        let at = self.rng.random_range(0..fields.len());
        if deeper {
            // A default beside would not fit any longer.
            if fields[at].get("default").is_none() {
                self.edit(&mut fields[at]["type"]);
            }
            return;
        }
        match self.rng.random_range(0..5) {
            0 if fields.len() > 1 => {
                fields.remove(at);
            }
            1 => fields.push(json!({"name": format!("g{}", fields.len()), "type": "int"})),
            2 => fields.push(
                json!({"name": format!("g{}", fields.len()), "type": ["null", "string"], "default": null}),
            ),
            3 => fields.reverse(),
            _ => fields.push(json!({"name": format!("g{}", fields.len()), "type": "string", "default": "x"})),
        }
    }

    /// A value of a schema.
    fn value(&mut self, schema: &Schema, depth: usize) -> AvroValue {
        match schema {
            Schema::Null => AvroValue::Null,
            Schema::Boolean => AvroValue::Boolean(self.rng.random_range(0..2) == 0),
            Schema::Int => AvroValue::Int(self.rng.random_range(-9..9)),
            Schema::Long => AvroValue::Long(self.rng.random_range(-9_000_000_000..9_000_000_000)),
            Schema::Float => AvroValue::Float(0.5),
            Schema::Double => AvroValue::Double(1e300),
            Schema::String => AvroValue::String("text".to_owned()),
            Schema::Bytes => AvroValue::Bytes(b"bytes".to_vec()),
            Schema::Fixed(fixed) => AvroValue::Fixed(fixed.size, vec![65; fixed.size]),
            Schema::Enum(one) => {
                let at = self.rng.random_range(0..one.symbols.len());
                AvroValue::Enum(at as u32, one.symbols[at].clone())
            }
            Schema::Array(array) => {
                AvroValue::Array((0..2).map(|_| self.value(&array.items, depth + 1)).collect())
            }
            Schema::Map(map) => {
                AvroValue::Map([("k".to_owned(), self.value(&map.types, depth + 1))].into_iter().collect())
            }
            Schema::Union(union) => {
                let most = if depth > 6 { 1 } else { union.variants().len() };
                let at = self.rng.random_range(0..most);
                AvroValue::Union(at as u32, Box::new(self.value(&union.variants()[at], depth + 1)))
            }
            Schema::Record(record) => {
                let fields = record.fields.iter().map(|field| {
                    // The only reference is that of a list to itself.
                    let value = match &field.schema {
                        Schema::Union(union)
                            if matches!(union.variants().last(), Some(Schema::Ref { .. })) =>
                        {
                            let null = union.variants().iter().position(|one| *one == Schema::Null);
                            if depth > 3 || self.rng.random_range(0..2) == 0 {
                                AvroValue::Union(null.unwrap() as u32, Box::new(AvroValue::Null))
                            } else {
                                let at = union.variants().len() - 1;
                                AvroValue::Union(at as u32, Box::new(self.value(schema, depth + 2)))
                            }
                        }
                        inner => self.value(inner, depth + 1),
                    };
                    (field.name.clone(), value)
                });
                AvroValue::Record(fields.collect())
            }
            other => panic!("{other:?}"),
        }
    }
}

/// Counts of a random test.
#[derive(Debug, Default)]
struct Tally {
    held: usize,
    broken: usize,
    proven: usize,
}

fn judge(random: &mut Random, (writer, reader): (&Value, &Value), held: bool, tally: &mut Tally) {
    let (Ok(w), Ok(r)) = (Schema::parse_str(&writer.to_string()), Schema::parse_str(&reader.to_string()))
    else {
        panic!("{writer}\n{reader}");
    };
    let sure = SchemaCompatibility::can_read(&w, &r) == Ok(Compatibility::Full);
    assert_eq!(held, sure, "another verdict of apache-avro:\n{writer}\n{reader}");
    let mut proven = false;
    for _ in 0..6 {
        let value = random.value(&w, 0);
        let bytes =
            GenericDatumWriter::builder(&w).build().unwrap().write_value_to_vec(value.clone()).unwrap();
        let read =
            GenericDatumReader::builder(&w).reader_schema(&r).build().unwrap().read_value(&mut &bytes[..]);
        assert!(!held || read.is_ok(), "{read:?}\n{value:?}\n{writer}\n{reader}");
        proven |= read.is_err();
    }
    tally.held += usize::from(held);
    tally.broken += usize::from(!held);
    tally.proven += usize::from(!held && proven);
}

#[test]
fn verdicts_are_those_of_reading() {
    let seed = std::env::var("HERALD_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7);
    println!("HERALD_SEED={seed}");
    let mut random = Random { rng: ChaCha8Rng::seed_from_u64(seed), named: 0 };
    let mut tally = Tally::default();
    for _ in 0..3000 {
        let old = random.record(2);
        let mut new = old.clone();
        for _ in 0..random.rng.random_range(1..3) {
            random.edit(&mut new);
        }
        if Schema::parse_str(&new.to_string()).is_err() {
            // An edit may make a union with two branches of a kind: a mistake here, too, or a default that is none.
            continue;
        }
        let comparison = compared(&old, &new);
        judge(&mut random, (&old, &new), is_held(&comparison, Level::Backward), &mut tally);
        judge(&mut random, (&new, &old), is_held(&comparison, Level::Forward), &mut tally);
    }
    println!("{tally:?}");
    assert!(tally.held > 1000 && tally.broken > 1000, "{tally:?}");
    // A reader of values is kinder than schema resolution: it takes a small long for an int.
    assert!(tally.proven * 2 > tally.broken, "{tally:?}");
}

#[test]
fn a_text_of_any_kind_is_read_or_refused() {
    for text in
        ["null", "{}", "[]", "{\"type\":{}}", "{\"type\":\"fixed\",\"name\":\"F\"}", "{\"type\":\"record\"}"]
    {
        let json = Located::read(text).unwrap();
        let _ = AvroSchema::read(&json);
    }
}
