//! The verdicts of JSON Schema, case by case.

use serde_json::{Value, json};

use crate::evolution::{Comparison, Level, SchemaKind, SchemaText, Verdict};

fn compared(old: &Value, new: &Value) -> Comparison {
    let text = |schema: &Value| SchemaText { name: "s.json".to_owned(), text: schema.to_string() };
    Comparison::new(&[text(old)], &text(new), Some(SchemaKind::JsonSchema))
        .unwrap_or_else(|error| panic!("{error}\n{old}\n{new}"))
}

fn holds(old: &Value, new: &Value) -> (bool, bool) {
    let comparison = compared(old, new);
    let held = |level| match comparison.verdict(level) {
        Verdict::Holds => true,
        Verdict::Broken => false,
        Verdict::NotJudged => panic!("{old} -> {new}\n{}", comparison.text(None)),
    };
    (held(Level::Backward), held(Level::Forward))
}

fn object(properties: Value) -> Value {
    json!({"type": "object", "properties": properties})
}

fn closed(properties: Value) -> Value {
    json!({"type": "object", "properties": properties, "additionalProperties": false})
}

fn requiring(properties: Value, names: Value) -> Value {
    json!({"type": "object", "properties": properties, "required": names})
}

/// Old schema, new schema, and whether the edit is backward and forward compatible.
fn judge(cases: &[(Value, Value, bool, bool)]) {
    for (old, new, backward, forward) in cases {
        assert_eq!(
            holds(old, new),
            (*backward, *forward),
            "{old} -> {new}\n{}",
            compared(old, new).text(None)
        );
        // The same the other way round.
        assert_eq!(holds(new, old), (*forward, *backward), "{new} -> {old}");
    }
}

#[test]
fn types_values_and_bounds() {
    let of = |keyword: &str, value: Value| json!({keyword: value});
    judge(&[
        (json!({"type": "integer"}), json!({"type": "number"}), true, false),
        (json!({"type": "string"}), json!({"type": ["string", "null"]}), true, false),
        (json!({"type": "string"}), json!({"type": "integer"}), false, false),
        (json!({"type": "string"}), json!(true), true, false),
        (of("enum", json!(["a", "b"])), of("enum", json!(["b", "a", "c"])), true, false),
        (of("enum", json!(["a"])), of("const", json!("a")), true, true),
        (of("const", json!(1)), of("const", json!(2)), false, false),
        (of("enum", json!(["a"])), json!({"type": "string"}), true, false),
        (json!({"type": "boolean"}), of("enum", json!([true, false])), true, true),
        (of("maximum", json!(10)), of("maximum", json!(20)), true, false),
        (of("maximum", json!(10)), of("exclusiveMaximum", json!(10)), false, true),
        (of("minimum", json!(10)), json!({}), true, false),
        (of("maxLength", json!(10)), of("maxLength", json!(5)), false, true),
        (of("minLength", json!(0)), json!({}), true, true),
        (of("minItems", json!(2)), of("minItems", json!(1)), true, false),
        (of("maxProperties", json!(2)), of("maxProperties", json!(1)), false, true),
        (of("multipleOf", json!(10)), of("multipleOf", json!(5)), true, false),
        (of("pattern", json!("^a")), of("pattern", json!("^b")), false, false),
        (of("uniqueItems", json!(true)), json!({}), true, false),
        // A bound of strings says nothing of numbers.
        (json!({"type": "integer"}), json!({"type": "integer", "maxLength": 3}), true, true),
        (json!({"title": "a"}), json!({"description": "b", "examples": [1]}), true, true),
    ]);
}

#[test]
fn properties_under_open_and_closed_content_models() {
    let a = json!({"a": {"type": "string"}});
    let both = json!({"a": {"type": "string"}, "b": {"type": "integer"}});
    let anything = json!({"a": {"type": "string"}, "b": {}});
    let partly = |properties: &Value, of: &str| json!({"type": "object", "properties": properties, "additionalProperties": {"type": of}});
    judge(&[
        // An old record may have a b of any kind; a new b is nothing new for an open reader.
        (object(a.clone()), object(both.clone()), false, true),
        (object(a.clone()), object(anything), true, true),
        (closed(a.clone()), closed(both.clone()), true, false),
        (closed(a.clone()), object(a.clone()), true, false),
        (partly(&a, "integer"), partly(&both, "integer"), true, true),
        (partly(&a, "string"), partly(&both, "string"), false, false),
        (partly(&a, "integer"), partly(&a, "number"), true, false),
        (requiring(a.clone(), json!([])), requiring(a.clone(), json!(["a"])), false, true),
        (
            requiring(json!({"a": {"type": "string", "default": "x"}}), json!([])),
            requiring(json!({"a": {"type": "string", "default": "x"}}), json!(["a"])),
            true,
            true,
        ),
    ]);
    let told = compared(&closed(both), &closed(a)).text(None);
    assert!(told.contains("Property b was removed from a closed content model"), "{told}");
}

#[test]
fn items_and_tuples() {
    let list = |items: Value| json!({"type": "array", "items": items});
    judge(&[
        (list(json!({"type": "integer"})), list(json!({"type": "number"})), true, false),
        (
            list(json!([{"type": "integer"}])),
            list(json!([{"type": "integer"}, {"type": "string"}])),
            false,
            true,
        ),
        (
            json!({"type": "array", "items": [{"type": "integer"}], "additionalItems": false}),
            list(json!({"type": "integer"})),
            true,
            false,
        ),
    ]);
}

#[test]
fn alternatives_and_sums() {
    let string = json!({"type": "string"});
    let nothing = json!({"type": "null"});
    let one_of = |branches: Value| json!({"oneOf": branches});
    judge(&[
        (string.clone(), one_of(json!([nothing, string])), true, false),
        (one_of(json!([string, nothing])), one_of(json!([nothing, string])), true, true),
        (json!({"type": ["string", "null"]}), json!({"anyOf": [nothing, string]}), true, true),
        (
            one_of(json!([string, nothing, {"type": "integer"}])),
            one_of(json!([string, nothing])),
            false,
            true,
        ),
        (json!({"allOf": [string, {"maxLength": 3}]}), json!({"type": "string", "maxLength": 3}), true, true),
        (json!({"allOf": [string]}), json!({"allOf": [string, {"maxLength": 3}]}), false, true),
    ]);
}

#[test]
fn references_and_recursion() {
    let tree = |value: &str| {
        json!({
            "$ref": "#/definitions/node",
            "definitions": {"node": {
                "type": "object", "additionalProperties": false,
                "properties": {"v": {"type": value}, "below": {"type": "array", "items": {"$ref": "#/definitions/node"}}},
            }},
        })
    };
    judge(&[(tree("integer"), tree("number"), true, false), (tree("integer"), tree("integer"), true, true)]);
    let told = compared(&tree("integer"), &tree("string")).text(None);
    assert!(told.contains(" v\n  Type was integer and is string."), "{told}");
}

#[test]
fn keywords_without_a_rule_are_told() {
    let old = json!({"type": "object", "not": {"required": ["x"]}});
    let new = json!({"type": "object", "not": {"required": ["y"]}});
    let comparison = compared(&old, &new);
    assert_eq!(comparison.verdict(Level::Backward), Verdict::NotJudged);
    assert!(comparison.text(None).contains("Keyword \"not\" is not judged."), "{}", comparison.text(None));
    // Unchanged, it refuses nothing more than before.
    assert_eq!(holds(&old, &old), (true, true));
    let comparison = compared(&json!({}), &json!({"$ref": "http://elsewhere/s.json"}));
    assert_eq!(comparison.verdict(Level::Backward), Verdict::NotJudged);
    assert_eq!(comparison.verdict(Level::Forward), Verdict::Holds);
    // Within an alternative and a new property, too.
    let ruled = json!({"type": "string", "if": {"maxLength": 3}});
    for new in
        [json!({"oneOf": [{"type": "null"}, ruled]}), json!({"properties": {"a": {"not": {"const": 1}}}})]
    {
        let comparison = compared(&json!({"type": "string"}), &new);
        let expected = if new.get("oneOf").is_some() { Verdict::NotJudged } else { Verdict::Holds };
        assert_eq!(comparison.verdict(Level::Backward), expected, "{}", comparison.text(None));
        let comparison =
            compared(&json!({"type": "object"}), &json!({"properties": {"a": {"not": {"const": 1}}}}));
        assert_eq!(comparison.verdict(Level::Backward), Verdict::NotJudged, "{}", comparison.text(None));
    }
    // A keyword of somebody's own.
    let comparison = compared(&json!({}), &json!({"x-rule": 1}));
    assert_eq!(comparison.verdict(Level::Backward), Verdict::NotJudged);
}

/// A verdict that an edit is compatible is held against values: those that the old schema allows and the new one does
/// not would belie it. The values are made of few parts, so that all of them can be tried.
#[test]
fn values_do_not_belie_a_verdict() {
    let types = [json!("string"), json!("integer"), json!(["integer", "null"]), json!("number")];
    let mut schemas = vec![json!({}), json!(false)];
    for one in &types {
        schemas.push(json!({"type": one}));
        schemas.push(json!({"type": "object", "properties": {"a": {"type": one}}}));
        schemas.push(
            json!({"type": "object", "properties": {"a": {"type": one}}, "additionalProperties": false}),
        );
        schemas.push(json!({"type": "object", "additionalProperties": {"type": one}}));
        schemas.push(json!({"type": "object", "properties": {"a": {"type": one}}, "required": ["a"]}));
        schemas
            .push(json!({"anyOf": [{"type": one}, {"type": "object", "properties": {"b": {"type": one}}}]}));
        schemas.push(json!({"allOf": [{"type": one}, {"maximum": 3}]}));
    }
    schemas.extend([
        json!({"enum": [1, null]}),
        json!({"maximum": 1}),
        json!({"minimum": 2}),
        json!({"const": "x"}),
    ]);
    let leaves = [json!(1), json!(2.5), json!(9), json!("x"), json!(null)];
    let mut values: Vec<Value> = leaves.to_vec();
    values.push(json!({}));
    for a in &leaves {
        values.push(json!({"a": a}));
        for b in &leaves {
            values.push(json!({"a": a, "b": b}));
        }
        values.push(json!({"b": a}));
    }
    let (mut compatible, mut proven, mut broken) = (0, 0, 0);
    for old in &schemas {
        for new in &schemas {
            let belied = values.iter().find(|value| is_valid(old, value) && !is_valid(new, value));
            if holds(old, new).0 {
                compatible += 1;
                assert!(belied.is_none(), "{old} -> {new} by {belied:?}");
            } else {
                broken += 1;
                proven += usize::from(belied.is_some());
            }
        }
    }
    assert!(compatible > 100, "{compatible}");
    // The few others would need a value that is not tried.
    assert!(proven * 100 >= broken * 95, "{proven} of {broken}");
}

/// A validator of the keywords above, written for this test.
fn is_valid(schema: &Value, value: &Value) -> bool {
    let Value::Object(schema) = schema else { return schema.as_bool() == Some(true) };
    let is_type = |name: &str| match value {
        Value::Null => name == "null",
        Value::Number(n) => name == "number" || (name == "integer" && n.as_f64().unwrap().fract() == 0.0),
        Value::String(_) => name == "string",
        Value::Object(_) => name == "object",
        _ => false,
    };
    schema.iter().all(|(keyword, rule)| match (keyword.as_str(), rule) {
        ("type", Value::String(name)) => is_type(name),
        ("type", Value::Array(names)) => names.iter().any(|name| is_type(name.as_str().unwrap())),
        ("enum", Value::Array(values)) => values.contains(value),
        ("const", only) => only == value,
        ("maximum", most) => value.as_f64().is_none_or(|n| n <= most.as_f64().unwrap()),
        ("minimum", least) => value.as_f64().is_none_or(|n| n >= least.as_f64().unwrap()),
        ("anyOf", Value::Array(branches)) => branches.iter().any(|branch| is_valid(branch, value)),
        ("allOf", Value::Array(branches)) => branches.iter().all(|branch| is_valid(branch, value)),
        ("required", Value::Array(names)) => value
            .as_object()
            .is_none_or(|object| names.iter().all(|name| object.contains_key(name.as_str().unwrap()))),
        ("properties", described) => value.as_object().is_none_or(|object| {
            object
                .iter()
                .all(|(name, inner)| described.get(name).is_none_or(|schema| is_valid(schema, inner)))
        }),
        ("additionalProperties", others) => value.as_object().is_none_or(|object| {
            let described = |name: &str| schema.get("properties").is_some_and(|all| all.get(name).is_some());
            object.iter().all(|(name, inner)| described(name) || is_valid(others, inner))
        }),
        (other, _) => panic!("{other}"),
    })
}
