//! Avro schemas with the places of their parts.
//!
//! The parser of `apache-avro` keeps no places and stops at a default of another type, which is a finding here.

use std::collections::{BTreeMap, HashSet};

use super::super::located::{Located, LocatedJson, Misplaced, Place};

/// A schema: its types by number, with references resolved.
#[derive(Clone, Debug)]
pub struct AvroSchema {
    types: Vec<AvroType>,
    /// The number of the outermost type.
    pub root: usize,
}

/// A type.
#[derive(Clone, Debug)]
pub struct AvroType {
    /// Its place.
    pub at: Place,
    /// Its kind.
    pub kind: AvroKind,
    /// The name of a record, an enum or a fixed.
    pub name: Option<TypeName>,
    /// The logical type, if it is one that fits the type.
    pub logical: Option<Logical>,
}

/// A full name with aliases.
#[derive(Clone, Debug)]
pub struct TypeName {
    /// The full name.
    pub full: String,
    /// The full names of the aliases.
    pub aliases: Vec<String>,
}

/// A logical type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logical {
    /// Its name, such as `timestamp-millis`.
    pub name: String,
    /// The precision and scale of a decimal.
    pub decimal: Option<(u64, u64)>,
}

/// Kinds of types.
#[derive(Clone, Debug)]
pub enum AvroKind {
    /// A primitive type, by its name.
    Primitive(&'static str),
    /// A record.
    Record(Vec<AvroField>),
    /// An enum.
    Enum {
        /// Its symbols.
        symbols: Vec<String>,
        /// Its default.
        default: Option<String>,
    },
    /// A fixed of a size.
    Fixed(u64),
    /// An array of a type.
    Array(usize),
    /// A map of a type.
    Map(usize),
    /// A union of types.
    Union(Vec<usize>),
    /// A type by its full name.
    Reference(String),
}

/// A field of a record.
#[derive(Clone, Debug)]
pub struct AvroField {
    /// Its name.
    pub name: String,
    /// The place of its name.
    pub at: Place,
    /// The number of its type.
    pub inner: usize,
    /// Its default.
    pub default: Option<Located>,
    /// Its aliases.
    pub aliases: Vec<String>,
}

/// Names of primitive types.
const PRIMITIVES: [&str; 8] = ["null", "boolean", "int", "long", "float", "double", "bytes", "string"];

impl TypeName {
    /// The name without its namespace.
    pub fn short(&self) -> &str {
        short_name(&self.full)
    }
}

/// A name without its namespace.
pub fn short_name(full: &str) -> &str {
    full.rsplit('.').next().unwrap_or(full)
}

impl AvroSchema {
    /// Reads a schema.
    ///
    /// # Errors
    /// When it breaks the specification's rules of schemas.
    pub fn read(json: &Located) -> Result<AvroSchema, Misplaced> {
        let mut parser = AvroParser::default();
        let root = parser.read_type(json, None)?;
        for one in &parser.types {
            if let AvroKind::Reference(name) = &one.kind
                && !parser.named.contains_key(name)
            {
                let message = format!("there is no type {name}: define it, or write a type of Avro's");
                return Err(Misplaced::new(one.at, message));
            }
        }
        let mut targets = Vec::with_capacity(parser.types.len());
        for (at, one) in parser.types.iter().enumerate() {
            targets.push(match &one.kind {
                AvroKind::Reference(name) => parser.named.get(name).copied().unwrap_or(at),
                _ => at,
            });
        }
        let mut schema = AvroSchema { types: parser.types, root: targets[root] };
        for one in &mut schema.types {
            match &mut one.kind {
                AvroKind::Record(fields) => {
                    fields.iter_mut().for_each(|field| field.inner = targets[field.inner])
                }
                AvroKind::Array(inner) | AvroKind::Map(inner) => *inner = targets[*inner],
                AvroKind::Union(branches) => {
                    branches.iter_mut().for_each(|branch| *branch = targets[*branch])
                }
                _ => {}
            }
        }
        schema.refuse_odd_unions()?;
        Ok(schema)
    }

    /// A type by its number.
    pub fn get(&self, number: usize) -> &AvroType {
        &self.types[number]
    }

    /// Words for a type: its logical type, its name or its kind.
    pub fn describe(&self, number: usize) -> String {
        let one = self.get(number);
        let bare = match (&one.kind, &one.name) {
            (AvroKind::Primitive(name), _) => (*name).to_owned(),
            (AvroKind::Record(_), Some(name)) => format!("record {}", name.full),
            (AvroKind::Enum { .. }, Some(name)) => format!("enum {}", name.full),
            (AvroKind::Fixed(size), Some(name)) => format!("fixed {} of {size} bytes", name.full),
            (AvroKind::Array(inner), _) => format!("array of {}", self.describe(*inner)),
            (AvroKind::Map(inner), _) => format!("map of {}", self.describe(*inner)),
            (AvroKind::Union(branches), _) => {
                let words: Vec<String> = branches.iter().map(|branch| self.describe(*branch)).collect();
                format!("[{}]", words.join(", "))
            }
            _ => "a type".to_owned(),
        };
        match &one.logical {
            Some(logical) => format!("{bare} ({})", logical.describe()),
            None => bare,
        }
    }

    /// Refuses unions within unions, and two branches that a reader could not tell apart.
    fn refuse_odd_unions(&self) -> Result<(), Misplaced> {
        for one in &self.types {
            let AvroKind::Union(branches) = &one.kind else { continue };
            let mut seen = HashSet::new();
            for branch in branches {
                let inner = self.get(*branch);
                let word = match (&inner.kind, &inner.name) {
                    (AvroKind::Union(_), _) => {
                        let message = "a union cannot stand in a union: write all branches in one list";
                        return Err(Misplaced::new(inner.at, message));
                    }
                    (_, Some(name)) => name.full.clone(),
                    (AvroKind::Array(_), _) => "array".to_owned(),
                    (AvroKind::Map(_), _) => "map".to_owned(),
                    (AvroKind::Primitive(name), _) => (*name).to_owned(),
                    _ => continue,
                };
                if !seen.insert(word.clone()) {
                    let message = format!("the union has {word} twice: leave one out");
                    return Err(Misplaced::new(one.at, message));
                }
            }
        }
        Ok(())
    }
}

impl Logical {
    /// Words for it.
    pub fn describe(&self) -> String {
        match self.decimal {
            Some((precision, scale)) => format!("decimal({precision}, {scale})"),
            None => self.name.clone(),
        }
    }
}

/// The types read so far.
#[derive(Default)]
struct AvroParser {
    types: Vec<AvroType>,
    named: BTreeMap<String, usize>,
}

impl AvroParser {
    fn push(&mut self, at: Place, kind: AvroKind) -> usize {
        self.types.push(AvroType { at, kind, name: None, logical: None });
        self.types.len() - 1
    }

    fn read_type(&mut self, json: &Located, space: Option<&str>) -> Result<usize, Misplaced> {
        match &json.value {
            LocatedJson::Text(name) => Ok(self.push(json.at, type_by_name(name, space))),
            LocatedJson::List(branches) => {
                let union = self.push(json.at, AvroKind::Union(Vec::new()));
                let mut numbers = Vec::with_capacity(branches.len());
                for branch in branches {
                    numbers.push(self.read_type(branch, space)?);
                }
                self.types[union].kind = AvroKind::Union(numbers);
                Ok(union)
            }
            LocatedJson::Object(_) => self.read_object(json, space),
            LocatedJson::Scalar(_) => {
                Err(Misplaced::new(json.at, "a type is a name, a list of types or an object with \"type\""))
            }
        }
    }

    fn read_object(&mut self, json: &Located, space: Option<&str>) -> Result<usize, Misplaced> {
        let kind = json.get("type");
        let kind = kind.ok_or_else(|| Misplaced::new(json.at, "a type needs \"type\""))?;
        let number = match kind.text() {
            None => self.read_type(kind, space)?,
            Some("record" | "error" | "enum" | "fixed") => self.read_named(json, space)?,
            Some("array") => {
                let array = self.push(json.at, AvroKind::Array(0));
                let items = self.read_type(needed(json, "items", "an array")?, space)?;
                self.types[array].kind = AvroKind::Array(items);
                array
            }
            Some("map") => {
                let map = self.push(json.at, AvroKind::Map(0));
                let values = self.read_type(needed(json, "values", "a map")?, space)?;
                self.types[map].kind = AvroKind::Map(values);
                map
            }
            Some(name) => self.push(kind.at, type_by_name(name, space)),
        };
        if let Some(logical) = logical_of(json, &self.types[number].kind)? {
            self.types[number].logical = Some(logical);
        }
        Ok(number)
    }

    /// Reads a record, an enum or a fixed. Its name is known within it.
    fn read_named(&mut self, json: &Located, space: Option<&str>) -> Result<usize, Misplaced> {
        let name = needed(json, "name", "a record, an enum or a fixed")?;
        let said = name.text().ok_or_else(|| Misplaced::new(name.at, "\"name\" must be a string"))?;
        let own = match (said.rsplit_once('.'), json.get("namespace").and_then(Located::text)) {
            (Some((own, _)), _) => Some(own),
            (None, Some("")) => None,
            (None, own) => own.or(space),
        };
        let full = full_name(short_name(said), own);
        refuse_odd_name(&full, name.at)?;
        let mut aliases = Vec::new();
        for alias in json.get("aliases").map(Located::items).unwrap_or_default() {
            aliases.extend(alias.text().map(|alias| full_name(alias, own)));
        }
        let number = self.push(name.at, AvroKind::Fixed(0));
        if self.named.insert(full.clone(), number).is_some() {
            let message = format!("{full} is defined twice: name it again with \"{full}\" only");
            return Err(Misplaced::new(name.at, message));
        }
        self.types[number].name = Some(TypeName { full, aliases });
        self.types[number].kind = match json.get("type").and_then(Located::text) {
            Some("enum") => read_enum(json)?,
            Some("fixed") => {
                let size = needed(json, "size", "a fixed")?;
                match size.number() {
                    Some(bytes) if bytes >= 0.0 && bytes.fract() == 0.0 => AvroKind::Fixed(bytes as u64),
                    _ => return Err(Misplaced::new(size.at, "\"size\" must be a number of bytes")),
                }
            }
            _ => AvroKind::Record(self.read_fields(json, own)?),
        };
        Ok(number)
    }

    fn read_fields(&mut self, json: &Located, space: Option<&str>) -> Result<Vec<AvroField>, Misplaced> {
        let listed = needed(json, "fields", "a record")?;
        let LocatedJson::List(items) = &listed.value else {
            return Err(Misplaced::new(listed.at, "\"fields\" must be a list"));
        };
        let mut fields: Vec<AvroField> = Vec::with_capacity(items.len());
        for item in items {
            let name = needed(item, "name", "a field")?;
            let said = name.text().ok_or_else(|| Misplaced::new(name.at, "\"name\" must be a string"))?;
            refuse_odd_name(said, name.at)?;
            if fields.iter().any(|field| field.name == said) {
                return Err(Misplaced::new(name.at, format!("field {said} is there twice: leave one out")));
            }
            let inner = self.read_type(needed(item, "type", "a field")?, space)?;
            let aliases = item.get("aliases").map(Located::items).unwrap_or_default();
            fields.push(AvroField {
                name: said.to_owned(),
                at: name.at,
                inner,
                default: item.get("default").cloned(),
                aliases: aliases.iter().filter_map(Located::text).map(str::to_owned).collect(),
            });
        }
        Ok(fields)
    }
}

fn needed<'j>(json: &'j Located, name: &str, owner: &str) -> Result<&'j Located, Misplaced> {
    json.get(name).ok_or_else(|| Misplaced::new(json.at, format!("{owner} needs \"{name}\"")))
}

fn read_enum(json: &Located) -> Result<AvroKind, Misplaced> {
    let mut symbols: Vec<String> = Vec::new();
    for item in needed(json, "symbols", "an enum")?.items() {
        let symbol = item.text().ok_or_else(|| Misplaced::new(item.at, "a symbol is a string"))?;
        if symbols.iter().any(|seen| seen == symbol) {
            return Err(Misplaced::new(item.at, format!("symbol {symbol} is there twice: leave one out")));
        }
        symbols.push(symbol.to_owned());
    }
    let default = json.get("default");
    if let Some(given) = default
        && !given.text().is_some_and(|text| symbols.iter().any(|symbol| symbol == text))
    {
        return Err(Misplaced::new(given.at, "the default of an enum must be one of its symbols"));
    }
    Ok(AvroKind::Enum { symbols, default: default.and_then(Located::text).map(str::to_owned) })
}

fn type_by_name(name: &str, space: Option<&str>) -> AvroKind {
    match PRIMITIVES.iter().find(|primitive| **primitive == name) {
        Some(primitive) => AvroKind::Primitive(primitive),
        None => AvroKind::Reference(full_name(name, space)),
    }
}

fn full_name(name: &str, space: Option<&str>) -> String {
    match space {
        Some(space) if !name.contains('.') => format!("{space}.{name}"),
        _ => name.to_owned(),
    }
}

/// Refuses a name with other characters than letters, digits and underscores, each part not beginning with a digit.
fn refuse_odd_name(name: &str, at: Place) -> Result<(), Misplaced> {
    for part in name.split('.') {
        let begins = part.chars().next().is_some_and(|first| !first.is_ascii_digit());
        if !begins || part.contains(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
            let message = format!("\"{name}\" is no name of Avro's: write letters, digits and underscores");
            return Err(Misplaced::new(at, message));
        }
    }
    Ok(())
}

/// The logical type of a type, if it fits; others are ignored, as the specification demands.
fn logical_of(json: &Located, kind: &AvroKind) -> Result<Option<Logical>, Misplaced> {
    let Some(name) = json.get("logicalType").and_then(Located::text) else { return Ok(None) };
    let fits = match kind {
        AvroKind::Primitive("int") => matches!(name, "date" | "time-millis"),
        AvroKind::Primitive("long") => {
            name == "time-micros" || name.starts_with("timestamp-") || name.starts_with("local-timestamp-")
        }
        AvroKind::Primitive("bytes") => matches!(name, "decimal" | "big-decimal"),
        AvroKind::Primitive("string") => name == "uuid",
        AvroKind::Fixed(size) => match name {
            "uuid" => *size == 16,
            "duration" => *size == 12,
            _ => name == "decimal",
        },
        _ => false,
    };
    if !fits {
        return Ok(None);
    }
    let mut decimal = None;
    if name == "decimal" {
        let whole = |member: &str| json.get(member).and_then(Located::number).map(|n| n as u64);
        let precision = whole("precision").filter(|precision| *precision > 0);
        let precision = precision
            .ok_or_else(|| Misplaced::new(json.at, "a decimal needs \"precision\", its number of digits"))?;
        decimal = Some((precision, whole("scale").unwrap_or(0)));
    }
    Ok(Some(Logical { name: name.to_owned(), decimal }))
}
