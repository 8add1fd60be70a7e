//! Schemas as the sum of their parts: a schema, those it refers to, and all of its `allOf`.
//!
//! A value is valid for a [`SchemaView`] if it is valid for each of its parts. A constraint is therefore the tightest of
//! those that the parts have.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::located::{Located, LocatedJson, Place};

/// Most parts of a view: references and `allOf` beyond are left out, and told as not judged.
const MAX_PARTS: usize = 256;

/// Types of values.
const TYPES: [&str; 7] = ["null", "boolean", "integer", "number", "string", "array", "object"];

/// Parts of a schema, all of which a value must be valid for.
#[derive(Clone, Debug)]
pub struct SchemaView<'j> {
    /// The document, for references.
    root: &'j Located,
    /// The parts.
    pub parts: Vec<&'j Located>,
    /// References that are not followed.
    pub unresolved: Vec<&'j str>,
    /// Alternatives of which one is already among the parts.
    chosen: Vec<&'j Located>,
    /// The one type that is looked at.
    only: Option<&'static str>,
}

/// A lower or upper bound of numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bound {
    /// The number.
    pub value: f64,
    /// True if the number itself is outside.
    pub is_exclusive: bool,
}

impl<'j> SchemaView<'j> {
    /// The view of a document.
    pub fn of_document(root: &'j Located) -> SchemaView<'j> {
        SchemaView { root, parts: Vec::new(), unresolved: Vec::new(), chosen: Vec::new(), only: None }
            .with(root)
    }

    /// A view of nothing, which every value is valid for.
    pub fn anything(&self) -> SchemaView<'j> {
        SchemaView {
            root: self.root,
            parts: Vec::new(),
            unresolved: Vec::new(),
            chosen: Vec::new(),
            only: None,
        }
    }

    /// Lists of alternatives (`anyOf` and `oneOf`) of which none is chosen.
    pub fn alternatives(&self) -> Vec<&'j Located> {
        let mut lists = [self.all("anyOf"), self.all("oneOf")].concat();
        lists.retain(|list| !self.chosen.iter().any(|chosen| std::ptr::eq(*chosen, *list)));
        lists
    }

    /// The view for each alternative of each list, if they are not too many.
    pub fn cases(&self, most: usize) -> Option<Vec<SchemaView<'j>>> {
        let (mut open, mut done) = (vec![self.clone()], Vec::new());
        while let Some(view) = open.pop() {
            if open.len() + done.len() > most {
                return None;
            }
            let Some(list) = view.alternatives().first().copied() else {
                done.push(view);
                continue;
            };
            for branch in list.items().iter().rev() {
                let mut case = view.with(branch);
                case.chosen.push(list);
                open.push(case);
            }
        }
        Some(done)
    }

    /// The view with one schema more.
    pub fn with(&self, schema: &'j Located) -> SchemaView<'j> {
        let mut view = self.clone();
        view.add(schema);
        view
    }

    fn add(&mut self, schema: &'j Located) {
        let is_held = self.parts.iter().any(|part| std::ptr::eq(*part, schema));
        if is_held || self.parts.len() >= MAX_PARTS {
            return;
        }
        if let Some(reference) = schema.get("$ref") {
            match reference.text().and_then(|pointer| resolve(self.root, pointer)) {
                // Later drafts let constraints stand beside a reference: they count, too.
                Some(target) => self.add(target),
                None => self.unresolved.push(reference.text().unwrap_or_default()),
            }
        }
        self.parts.push(schema);
        for part in schema.get("allOf").map(Located::items).unwrap_or_default() {
            self.add(part);
        }
    }

    /// The identity of its parts.
    pub fn identity(&self) -> Vec<usize> {
        let parts = self.parts.iter().map(|part| std::ptr::from_ref::<Located>(part) as usize);
        let only = TYPES.iter().position(|one| Some(*one) == self.only);
        parts.chain(only).collect()
    }

    /// The view for each of its types, if there are several.
    pub fn by_type(&self) -> Vec<SchemaView<'j>> {
        let mut types = self.types();
        if types.contains("number") {
            types.remove("integer");
        }
        if types.len() < 2 {
            return Vec::new();
        }
        types.into_iter().map(|one| SchemaView { only: Some(one), ..self.clone() }).collect()
    }

    fn is_looked_at(&self, one: &str) -> bool {
        self.only.is_none_or(|only| only == one || (only == "number" && one == "integer"))
    }

    /// Values of a keyword in all parts.
    pub fn all(&self, keyword: &str) -> Vec<&'j Located> {
        self.parts.iter().filter_map(|part| part.get(keyword)).collect()
    }

    /// Tells whether no value is valid: a part is `false`.
    pub fn is_never(&self) -> bool {
        self.parts.iter().any(|part| part.boolean() == Some(false))
    }

    /// The types that values may have.
    pub fn types(&self) -> BTreeSet<&'static str> {
        let mut types: BTreeSet<&'static str> = TYPES.into_iter().collect();
        types.retain(|one| self.is_looked_at(one));
        for listed in self.all("type") {
            let words: Vec<&str> = match &listed.value {
                LocatedJson::Text(word) => vec![word],
                _ => listed.items().iter().filter_map(Located::text).collect(),
            };
            types.retain(|one| words.contains(one) || (*one == "integer" && words.contains(&"number")));
        }
        if let Some(values) = self.values() {
            types.retain(|one| values.iter().any(|value| is_of_type(value, one)));
        }
        types
    }

    /// The values that are allowed, if they are listed.
    pub fn values(&self) -> Option<Vec<Value>> {
        let mut allowed: Option<Vec<Value>> = None;
        let lists =
            self.all("enum").into_iter().map(|list| list.items().iter().map(Located::to_value).collect());
        let singles = self.all("const").into_iter().map(|one| vec![one.to_value()]);
        for list in lists.chain(singles) {
            let list: Vec<Value> = list;
            allowed = Some(match allowed {
                Some(others) => others.into_iter().filter(|value| list.contains(value)).collect(),
                None => list,
            });
        }
        let is_looked_at =
            |value: &Value| TYPES.iter().any(|one| self.is_looked_at(one) && is_of_type(value, one));
        allowed.map(|values| values.into_iter().filter(is_looked_at).collect())
    }

    /// The values that are allowed, if they are listed or their types have no others.
    pub fn finite_values(&self) -> Option<Vec<Value>> {
        let types = self.types();
        self.values().or_else(|| {
            let mut values = Vec::new();
            for one in types {
                match one {
                    "null" => values.push(Value::Null),
                    "boolean" => values.extend([Value::Bool(false), Value::Bool(true)]),
                    _ => return None,
                }
            }
            Some(values)
        })
    }

    /// The largest of the numbers that a keyword has, or the least.
    pub fn number(&self, keyword: &str, largest: bool) -> Option<f64> {
        let numbers = self.all(keyword).into_iter().filter_map(Located::number);
        numbers.reduce(if largest { f64::max } else { f64::min })
    }

    /// The lower or the upper bound of numbers.
    pub fn bound(&self, is_upper: bool) -> Option<Bound> {
        let (plain, exclusive) =
            if is_upper { ("maximum", "exclusiveMaximum") } else { ("minimum", "exclusiveMinimum") };
        let plain = self.number(plain, !is_upper).map(|value| Bound { value, is_exclusive: false });
        let exclusive = self.number(exclusive, !is_upper).map(|value| Bound { value, is_exclusive: true });
        match (plain, exclusive) {
            (Some(plain), Some(exclusive)) => {
                Some(if is_within(exclusive, plain, is_upper) { exclusive } else { plain })
            }
            (plain, exclusive) => plain.or(exclusive),
        }
    }

    /// Names of the properties that must be there.
    pub fn required(&self) -> Vec<&'j str> {
        let mut names = Vec::new();
        for list in self.all("required") {
            for name in list.items().iter().filter_map(Located::text) {
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        names
    }

    /// Names of the properties that are described.
    pub fn property_names(&self) -> Vec<&'j str> {
        let mut names = Vec::new();
        for described in self.all("properties") {
            for member in described.members() {
                if !names.contains(&member.name.as_str()) {
                    names.push(member.name.as_str());
                }
            }
        }
        names
    }

    /// The place of a property's name.
    pub fn property_place(&self, name: &str) -> Option<Place> {
        let mut members = self.all("properties").into_iter().flat_map(Located::members);
        members.find(|member| member.name == name).map(|member| member.at)
    }

    /// The schema of a property: what each part says of it, described or not.
    pub fn property(&self, name: &str) -> SchemaView<'j> {
        let mut view = self.anything();
        for part in &self.parts {
            match part.get("properties").and_then(|described| described.get(name)) {
                Some(schema) => view.add(schema),
                None => {
                    if let Some(others) = part.get("additionalProperties") {
                        view.add(others);
                    }
                }
            }
        }
        view
    }

    /// The schema of properties that are not described.
    pub fn others(&self) -> SchemaView<'j> {
        let mut view = self.anything();
        for others in self.all("additionalProperties") {
            view.add(others);
        }
        view
    }

    /// The number of items that are described one by one.
    pub fn tuple_length(&self) -> usize {
        let mut longest = 0;
        for keyword in ["items", "prefixItems"] {
            for list in self.all(keyword) {
                longest = longest.max(list.items().len());
            }
        }
        longest
    }

    /// The schema of the item at a place of arrays.
    pub fn item(&self, place: usize) -> SchemaView<'j> {
        let mut view = self.anything();
        for part in &self.parts {
            let (items, prefix) = (part.get("items"), part.get("prefixItems"));
            let tuple = match (items, prefix) {
                (_, Some(prefix)) => Some((prefix, items)),
                (Some(list), None) if matches!(list.value, LocatedJson::List(_)) => {
                    Some((list, part.get("additionalItems")))
                }
                _ => None,
            };
            let schema = match tuple {
                Some((list, others)) => list.items().get(place).or(others),
                None => items,
            };
            if let Some(schema) = schema {
                view.add(schema);
            }
        }
        view
    }
}

/// Tells whether an upper bound is below another, or a lower bound above it.
pub fn is_within(bound: Bound, other: Bound, is_upper: bool) -> bool {
    if bound.value == other.value {
        return bound.is_exclusive || !other.is_exclusive;
    }
    (bound.value < other.value) == is_upper
}

/// The schema that a reference within the document names.
fn resolve<'j>(root: &'j Located, pointer: &str) -> Option<&'j Located> {
    let mut found = root;
    let pointer = pointer.strip_prefix('#')?;
    if pointer.is_empty() {
        return Some(root);
    }
    for step in pointer.strip_prefix('/')?.split('/') {
        let step = step.replace("~1", "/").replace("~0", "~");
        found = match &found.value {
            LocatedJson::List(items) => items.get(step.parse::<usize>().ok()?)?,
            _ => found.get(&step)?,
        };
    }
    Some(found)
}

fn is_of_type(value: &Value, name: &str) -> bool {
    match value {
        Value::Null => name == "null",
        Value::Bool(_) => name == "boolean",
        Value::Number(number) => {
            let is_whole = number.as_f64().is_some_and(|n| n.fract() == 0.0);
            name == if is_whole { "integer" } else { "number" }
        }
        Value::String(_) => name == "string",
        Value::Array(_) => name == "array",
        Value::Object(_) => name == "object",
    }
}
