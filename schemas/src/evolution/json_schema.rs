//! The rules of JSON Schema: an edit is backward compatible if every value that the old schema allows is allowed by
//! the new one.
//!
//! The subset is draft 7's as Confluent's registry judges it: types, listed values, bounds, properties under open and
//! closed content models, required properties, items, and the combinations of `allOf`, `anyOf` and `oneOf` (whose
//! branches are taken as alternatives). As there, a required property with a default breaks nothing. A keyword that is
//! not understood is told as not judged, unless it stands on both sides unchanged.

#[cfg(test)]
mod tests;
mod view;

use std::collections::HashSet;

use serde_json::Value;

use super::located::{Located, LocatedJson, Misplaced, Place};
use super::{Finding, Side, Weight};
use view::{Bound, SchemaView, is_within};

/// Most pairs of schemas that a comparison looks at: alternatives within alternatives multiply.
const MAX_STEPS: usize = 200_000;
/// Most combinations of the writer's alternatives.
const MAX_CASES: usize = 256;

/// Keywords that are judged.
const JUDGED: [&str; 27] = [
    "$ref",
    "additionalItems",
    "additionalProperties",
    "allOf",
    "anyOf",
    "const",
    "enum",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "format",
    "items",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "multipleOf",
    "oneOf",
    "pattern",
    "prefixItems",
    "properties",
    "required",
    "type",
    "uniqueItems",
];
/// Keywords that constrain nothing.
const ANNOTATIONS: [&str; 14] = [
    "$comment",
    "$defs",
    "$id",
    "$schema",
    "contentEncoding",
    "contentMediaType",
    "default",
    "definitions",
    "deprecated",
    "description",
    "examples",
    "readOnly",
    "title",
    "writeOnly",
];

/// Refuses a document that is no JSON Schema.
pub fn refuse_odd_schema(json: &Located) -> Result<(), Misplaced> {
    let types = ["null", "boolean", "integer", "number", "string", "array", "object"];
    if json.boolean().is_none() && !matches!(json.value, LocatedJson::Object(_)) {
        return Err(Misplaced::new(json.at, "a JSON Schema is an object, or true or false"));
    }
    if let Some(listed) = json.get("type") {
        let words = if listed.text().is_some() { std::slice::from_ref(listed) } else { listed.items() };
        for word in words {
            if !word.text().is_some_and(|word| types.contains(&word)) {
                let message =
                    format!("{} is no type of JSON Schema: write {}", word.to_value(), types.join(", "));
                return Err(Misplaced::new(word.at, message));
            }
        }
    }
    for keyword in ["properties", "patternProperties", "definitions", "$defs"] {
        for member in json.get(keyword).map(Located::members).unwrap_or_default() {
            refuse_odd_schema(&member.value)?;
        }
    }
    for keyword in
        ["additionalProperties", "items", "additionalItems", "allOf", "anyOf", "oneOf", "prefixItems"]
    {
        let Some(inner) = json.get(keyword) else { continue };
        let schemas = match &inner.value {
            LocatedJson::List(items) => items.as_slice(),
            _ => std::slice::from_ref(inner),
        };
        for schema in schemas {
            refuse_odd_schema(schema)?;
        }
    }
    Ok(())
}

/// Compares two schemas in both directions.
pub fn compare(old: &Located, new: &Located) -> Vec<Finding> {
    let mut found = Vec::new();
    for side in [Side::Backward, Side::Forward] {
        let (reader, writer) = if side == Side::Backward { (new, old) } else { (old, new) };
        let mut walk =
            JsonWalk { side, open: HashSet::new(), told: HashSet::new(), steps: 0, found: Vec::new() };
        let spot = JsonSpot { path: String::new(), at: new.at };
        walk.visit(&SchemaView::of_document(reader), &SchemaView::of_document(writer), &spot);
        if walk.steps >= MAX_STEPS {
            let why = "the schemas have too many alternatives within each other";
            walk.tell(Weight::NotJudged, &spot, why.to_owned(), "compare their parts by themselves");
        }
        found.extend(walk.found);
    }
    found
}

/// A place in the new schema.
#[derive(Clone, Debug)]
struct JsonSpot {
    path: String,
    at: Place,
}

/// Identities of a pair of views.
type Pair = (Vec<usize>, Vec<usize>);

/// A walk over both schemas for one kind of readers.
struct JsonWalk {
    side: Side,
    /// Pairs that are being looked at: within themselves they are taken to fit.
    open: HashSet<Pair>,
    /// Pairs that are told.
    told: HashSet<Pair>,
    steps: usize,
    found: Vec<Finding>,
}

impl JsonWalk {
    fn tell(&mut self, weight: Weight, spot: &JsonSpot, why: String, remedy: &str) {
        self.found.push(Finding {
            side: self.side,
            weight,
            path: spot.path.clone(),
            at: spot.at,
            why,
            remedy: remedy.to_owned(),
            against: 0,
        });
    }

    /// Tells a constraint that the reader has and the writer lacks or has looser.
    fn tell_tighter(&mut self, spot: &JsonSpot, keyword: &str, read: &str, written: &str) {
        let (old, new) = if self.side == Side::Backward { (written, read) } else { (read, written) };
        let why = format!("{keyword} was {old} and is {new}");
        let remedy = if self.side == Side::Backward {
            "keep what was allowed: old records may have it"
        } else {
            "first loosen it for all consumers, then write such values"
        };
        self.tell(Weight::Broken, spot, why, remedy);
    }

    /// Looks for values that the writer allows and the reader refuses.
    fn visit(&mut self, reader: &SchemaView<'_>, writer: &SchemaView<'_>, spot: &JsonSpot) {
        self.steps += 1;
        let pair = (reader.identity(), writer.identity());
        if self.steps >= MAX_STEPS || writer.is_never() || self.told.contains(&pair) {
            return;
        }
        if !self.open.insert(pair.clone()) {
            return;
        }
        self.visit_alternatives(reader, writer, spot);
        self.open.remove(&pair);
        self.told.insert(pair);
    }

    /// Compares without telling. Returns the gravest weight that would be told: none if the reader allows all that the
    /// writer does.
    fn weigh(&mut self, reader: &SchemaView<'_>, writer: &SchemaView<'_>, spot: &JsonSpot) -> Option<Weight> {
        let mut trial = JsonWalk {
            side: self.side,
            open: self.open.clone(),
            told: HashSet::new(),
            steps: self.steps,
            found: Vec::new(),
        };
        trial.visit(reader, writer, spot);
        self.steps = trial.steps;
        let weights = trial.found.iter().map(|finding| finding.weight);
        weights.filter(|weight| *weight != Weight::Note).min()
    }

    fn is_any_fit(&mut self, readers: &[SchemaView<'_>], writer: &SchemaView<'_>, spot: &JsonSpot) -> bool {
        readers.iter().any(|reader| self.weigh(reader, writer, spot).is_none())
    }

    /// Takes the writer's alternatives one by one, then the reader's.
    fn visit_alternatives(&mut self, reader: &SchemaView<'_>, writer: &SchemaView<'_>, spot: &JsonSpot) {
        let Some(cases) = writer.cases(MAX_CASES) else {
            let why = "there are too many alternatives within each other";
            self.tell(Weight::NotJudged, spot, why.to_owned(), "compare them by themselves");
            return;
        };
        for case in cases {
            self.visit_plain(reader, &case, spot);
            for list in reader.alternatives() {
                self.visit_group(reader, list, &case, spot);
            }
        }
    }

    /// Looks for an alternative of the reader's that allows the writer's values.
    fn visit_group(
        &mut self,
        reader: &SchemaView<'_>,
        group: &Located,
        case: &SchemaView<'_>,
        spot: &JsonSpot,
    ) {
        let branches = group.items();
        let views: Vec<SchemaView<'_>> = branches.iter().map(|branch| view_like(reader, branch)).collect();
        if self.is_any_fit(&views, case, spot) {
            return;
        }
        let by_type = case.by_type();
        if !by_type.is_empty() && by_type.iter().all(|one| self.is_any_fit(&views, one, spot)) {
            return;
        }
        // An alternative that may allow all is not judged, and no other does for certain.
        for view in &views {
            if self.weigh(view, case, spot) == Some(Weight::NotJudged) {
                self.visit(view, case, spot);
                return;
            }
        }
        let alike: Vec<&SchemaView<'_>> =
            views.iter().filter(|view| !view.types().is_disjoint(&case.types())).collect();
        // Of one branch that comes near, its own findings say more.
        if let [only] = alike[..]
            && case.types().is_subset(&only.types())
        {
            self.visit(only, case, spot);
            return;
        }
        let words = type_words(case);
        let (why, remedy) = if self.side == Side::Backward {
            let why =
                format!("no alternative of the new schema allows all of {words} that old records may have");
            (why, "keep the alternative that was there")
        } else {
            let why =
                format!("no alternative of the old schema allows all of {words} that new records may have");
            (why, "first give all consumers the alternative, then write it")
        };
        self.tell(Weight::Broken, spot, why, remedy);
    }

    /// Compares all but alternatives.
    fn visit_plain(&mut self, reader: &SchemaView<'_>, writer: &SchemaView<'_>, spot: &JsonSpot) {
        if reader.is_never() {
            self.tell_tighter(spot, "the schema", "false: nothing is allowed", "one that allows values");
            return;
        }
        self.tell_unjudged(reader, writer, spot);
        let (read, written) = (reader.types(), writer.types());
        let mut common = written.clone();
        common.retain(|one| read.contains(one));
        if common.len() < written.len() {
            self.tell_tighter(spot, "type", &type_words(reader), &type_words(writer));
        }
        self.compare_values(reader, writer, spot);
        if common.contains("integer") || common.contains("number") {
            self.compare_numbers(reader, writer, spot);
        }
        if common.contains("string") {
            self.compare_least_and_most(reader, writer, spot, "Length");
            self.compare_patterns(reader, writer, spot);
        }
        if common.contains("array") {
            self.compare_least_and_most(reader, writer, spot, "Items");
            self.compare_items(reader, writer, spot);
        }
        if common.contains("object") {
            self.compare_least_and_most(reader, writer, spot, "Properties");
            self.compare_required(reader, writer, spot);
            self.compare_properties(reader, writer, spot);
        }
    }

    /// Tells keywords of the reader's that no rule judges.
    fn tell_unjudged(&mut self, reader: &SchemaView<'_>, writer: &SchemaView<'_>, spot: &JsonSpot) {
        for name in &reader.unresolved {
            if !writer.unresolved.contains(name) {
                let why = format!("$ref \"{name}\" is outside of the schema");
                self.tell(Weight::NotJudged, spot, why, "look at the schema that it names");
            }
        }
        for part in &reader.parts {
            for member in part.members() {
                let name = member.name.as_str();
                let is_known = JUDGED.contains(&name) || ANNOTATIONS.contains(&name);
                let is_draft_4 = name.starts_with("exclusive") && member.value.boolean().is_some();
                if is_known && !is_draft_4 {
                    continue;
                }
                let value = member.value.to_value();
                let is_same = writer.all(name).iter().any(|other| other.to_value() == value);
                if is_same && !value.to_string().contains("\"$ref\"") {
                    continue;
                }
                let why = format!("keyword \"{name}\" is not judged");
                self.tell(
                    Weight::NotJudged,
                    spot,
                    why,
                    "look at it: it may refuse values that the other allows",
                );
            }
        }
    }

    fn compare_values(&mut self, reader: &SchemaView<'_>, writer: &SchemaView<'_>, spot: &JsonSpot) {
        let Some(read) = reader.values() else { return };
        let at = self.keyword_place(reader, writer, ["enum", "const"], spot);
        let Some(written) = writer.finite_values() else {
            self.tell_tighter(&at, "enum", &values_text(&read), "not there");
            return;
        };
        if written.iter().any(|value| !read.iter().any(|one| is_equal(one, value))) {
            self.tell_tighter(&at, "enum", &values_text(&read), &values_text(&written));
        }
    }

    fn compare_numbers(&mut self, reader: &SchemaView<'_>, writer: &SchemaView<'_>, spot: &JsonSpot) {
        for (keyword, is_upper) in [("minimum", false), ("maximum", true)] {
            let Some(read) = reader.bound(is_upper) else { continue };
            let written = writer.bound(is_upper);
            if written.is_none_or(|written| !is_within(written, read, is_upper)) {
                let written = written.map_or("not there".to_owned(), bound_text);
                self.tell_tighter(spot, keyword, &bound_text(read), &written);
            }
        }
        let Some(read) = reader.number("multipleOf", true) else { return };
        let written = writer.number("multipleOf", true);
        let is_multiple = |written: f64| {
            let times = written / read;
            (times - times.round()).abs() < 1e-9
        };
        if !written.is_some_and(is_multiple) {
            let written = written.map_or("not there".to_owned(), |n| n.to_string());
            self.tell_tighter(spot, "multipleOf", &read.to_string(), &written);
        }
    }

    /// Compares the least and the most length, items or properties.
    fn compare_least_and_most(
        &mut self,
        reader: &SchemaView<'_>,
        writer: &SchemaView<'_>,
        spot: &JsonSpot,
        of: &str,
    ) {
        for is_most in [false, true] {
            let keyword = format!("{}{of}", if is_most { "max" } else { "min" });
            let Some(read) = reader.number(&keyword, !is_most) else { continue };
            let written = writer.number(&keyword, !is_most);
            let is_inside = |written: f64| if is_most { written <= read } else { written >= read };
            let is_least = !is_most && read <= 0.0;
            if !is_least && !written.is_some_and(is_inside) {
                let written = written.map_or("not there".to_owned(), |n| n.to_string());
                self.tell_tighter(spot, &keyword, &read.to_string(), &written);
            }
        }
    }

    fn compare_patterns(&mut self, reader: &SchemaView<'_>, writer: &SchemaView<'_>, spot: &JsonSpot) {
        let written = writer.all("pattern");
        for pattern in reader.all("pattern") {
            if !written.iter().any(|other| other.text() == pattern.text()) {
                let before = written.first().map_or("not there".to_owned(), |one| one.to_value().to_string());
                self.tell_tighter(spot, "pattern", &pattern.to_value().to_string(), &before);
            }
        }
        let (read, written) = (reader.all("format"), writer.all("format"));
        if let Some(format) = read.first()
            && !written.iter().any(|other| other.text() == format.text())
        {
            let why = format!("format {} differs, which validators need not check", format.to_value());
            self.tell(Weight::Note, spot, why, "look at consumers that do");
        }
    }

    fn compare_items(&mut self, reader: &SchemaView<'_>, writer: &SchemaView<'_>, spot: &JsonSpot) {
        let is_unique =
            |view: &SchemaView<'_>| view.all("uniqueItems").iter().any(|one| one.boolean() == Some(true));
        if is_unique(reader) && !is_unique(writer) {
            self.tell_tighter(spot, "uniqueItems", "true", "not there");
        }
        let tuple = reader.tuple_length().max(writer.tuple_length());
        for place in 0..=tuple {
            let part = if place < tuple { format!("[{place}]") } else { "[]".to_owned() };
            let below = JsonSpot { path: format!("{}{part}", spot.path), at: spot.at };
            // Arrays that never are that long say nothing.
            if writer.number("maxItems", false).is_some_and(|most| most <= place as f64) {
                continue;
            }
            self.visit(&reader.item(place), &writer.item(place), &below);
        }
    }

    fn compare_required(&mut self, reader: &SchemaView<'_>, writer: &SchemaView<'_>, spot: &JsonSpot) {
        let written = writer.required();
        for name in reader.required() {
            if written.contains(&name) {
                continue;
            }
            let new = if self.side == Side::Backward { reader } else { writer };
            let below = JsonSpot {
                path: join_path(&spot.path, name),
                at: new.property_place(name).unwrap_or(spot.at),
            };
            if !reader.property(name).all("default").is_empty() {
                let why = format!("property {name} is required of the reader, and has a default");
                self.tell(Weight::Note, &below, why, "validators do not put it in: consumers must");
                continue;
            }
            let (why, remedy) = if self.side == Side::Backward {
                let why = format!("property {name} became required without a default");
                (why, "leave it optional, or give it a default")
            } else {
                let why = format!("property {name} is no longer required, and the old schema needs it");
                (why, "keep it required, or first loosen it for all consumers")
            };
            self.tell(Weight::Broken, &below, why, remedy);
        }
    }

    fn compare_properties(&mut self, reader: &SchemaView<'_>, writer: &SchemaView<'_>, spot: &JsonSpot) {
        let mut names = reader.property_names();
        let written = writer.property_names();
        let read = names.clone();
        names.extend(written.iter().filter(|name| !read.contains(name)));
        for name in names {
            let (inner, outer) = (reader.property(name), writer.property(name));
            let new = if self.side == Side::Backward { reader } else { writer };
            let below = JsonSpot {
                path: join_path(&spot.path, name),
                at: new.property_place(name).unwrap_or(spot.at),
            };
            match (read.contains(&name), written.contains(&name)) {
                (true, false) if self.weigh(&inner, &outer, &below) == Some(Weight::Broken) => {
                    self.tell_undescribed(name, &below);
                }
                (false, true) if inner.is_never() => self.tell_refused(name, &below),
                _ => self.visit(&inner, &outer, &below),
            }
        }
        let (inner, outer) = (reader.others(), writer.others());
        if inner.is_never() && !outer.is_never() {
            let (why, remedy) = if self.side == Side::Backward {
                ("further properties were allowed and are refused", "leave additionalProperties open")
            } else {
                (
                    "further properties are allowed now and were refused",
                    "keep \"additionalProperties\": false",
                )
            };
            self.tell(Weight::Broken, spot, why.to_owned(), remedy);
            return;
        }
        let below = JsonSpot { path: join_path(&spot.path, "*"), at: spot.at };
        self.visit(&inner, &outer, &below);
    }

    /// Tells a property that only the reader describes, where the writer may put anything.
    fn tell_undescribed(&mut self, name: &str, below: &JsonSpot) {
        let (why, remedy) = if self.side == Side::Backward {
            let why = format!(
                "property {name} was added to an open content model: old records may hold anything of that name"
            );
            (why, "allow anything ({}), or close the content model (\"additionalProperties\": false) first")
        } else {
            let why = format!(
                "property {name} was removed from an open content model: new records may hold anything of that name"
            );
            (why, "keep the property's description")
        };
        self.tell(Weight::Broken, below, why, remedy);
    }

    /// Tells a property that only the writer describes, and the reader refuses.
    fn tell_refused(&mut self, name: &str, below: &JsonSpot) {
        let (why, remedy) = if self.side == Side::Backward {
            let why = format!("property {name} was removed from a closed content model");
            (why, "keep the property, or open the content model")
        } else {
            let why = format!("property {name} was added, and the old schema's content model is closed");
            (why, "first give all consumers the property, then write it")
        };
        self.tell(Weight::Broken, below, why, remedy);
    }

    /// The place of a keyword in the new one of two views.
    fn keyword_place(
        &self,
        reader: &SchemaView<'_>,
        writer: &SchemaView<'_>,
        keywords: [&str; 2],
        spot: &JsonSpot,
    ) -> JsonSpot {
        let new = if self.side == Side::Backward { reader } else { writer };
        let found = keywords.iter().find_map(|keyword| new.all(keyword).first().map(|value| value.at));
        JsonSpot { path: spot.path.clone(), at: found.unwrap_or(spot.at) }
    }
}

/// The view of a branch in the document of another view.
fn view_like<'j>(view: &SchemaView<'j>, branch: &'j Located) -> SchemaView<'j> {
    view.anything().with(branch)
}

/// A path with a property more.
fn join_path(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// Words for the types of a view.
fn type_words(view: &SchemaView<'_>) -> String {
    let mut types = view.types();
    if types.contains("number") {
        types.remove("integer");
    }
    match types.len() {
        0 => "nothing".to_owned(),
        6 => "any".to_owned(),
        _ => types.into_iter().collect::<Vec<_>>().join(" or "),
    }
}

fn bound_text(bound: Bound) -> String {
    format!("{}{}", bound.value, if bound.is_exclusive { " (exclusive)" } else { "" })
}

/// Listed values as text, cut where there are many.
fn values_text(values: &[Value]) -> String {
    let shown: Vec<String> = values.iter().take(8).map(Value::to_string).collect();
    format!("[{}{}]", shown.join(", "), if values.len() > 8 { ", ..." } else { "" })
}

/// Equality of values: 1 and 1.0 are one number.
fn is_equal(one: &Value, other: &Value) -> bool {
    match (one.as_f64(), other.as_f64()) {
        (Some(one), Some(other)) => one == other,
        _ => one == other,
    }
}
