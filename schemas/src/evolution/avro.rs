//! The rules of Avro: schema resolution, with every difference that a reader cannot bridge.
//!
//! A pair of a reader's and a writer's type fits if every value that the writer may write is read as the same value.
//! [`TypePairs`] decides that for all pairs that are met, recursive types included: all are taken to fit, and those that
//! do not are struck out until none is left to strike. A walk over both schemas then tells where and why.
//!
//! Names of records, enums and fixeds are compared without namespaces, or by the reader's aliases, as Java and
//! Confluent's registry do. Two different logical types do not fit, though decoders would read the number: it would
//! be another time. One that is added or removed is a note.

mod defaults;
pub mod model;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashSet};

use super::located::Place;
use super::{Finding, Side, Weight};
use defaults::default_mistake;
use model::{AvroField, AvroKind, AvroSchema, AvroType, Logical, TypeName};

/// Compares two schemas in both directions.
pub fn compare(old: &AvroSchema, new: &AvroSchema) -> Vec<Finding> {
    let mut found = mistakes_in(new);
    for side in [Side::Backward, Side::Forward] {
        let mut walk = AvroWalk::new(old, new, side);
        let place = AvroSpot { path: String::new(), at: new.get(new.root).at };
        let (reader, writer) = (walk.pairs.reader.root, walk.pairs.writer.root);
        walk.visit(reader, writer, &place);
        found.extend(walk.found);
    }
    found
}

/// Defaults of a schema that are not of their field's type.
fn mistakes_in(schema: &AvroSchema) -> Vec<Finding> {
    let (mut found, mut visited) = (Vec::new(), HashSet::new());
    let mut open = vec![(schema.root, String::new())];
    while let Some((number, path)) = open.pop() {
        if !visited.insert(number) {
            continue;
        }
        match &schema.get(number).kind {
            AvroKind::Array(items) => open.push((*items, join_path(&path, "[]"))),
            AvroKind::Map(values) => open.push((*values, join_path(&path, "{}"))),
            AvroKind::Union(branches) => open.extend(branches.iter().map(|branch| (*branch, path.clone()))),
            AvroKind::Record(fields) => {
                for field in fields {
                    let below = join_path(&path, &field.name);
                    found.extend(mistaken_default(schema, field, &below));
                    open.push((field.inner, below));
                }
            }
            _ => {}
        }
    }
    found
}

/// The finding of a field whose default is not of its type.
fn mistaken_default(schema: &AvroSchema, field: &AvroField, path: &str) -> Option<Finding> {
    let why = default_mistake(schema, field.inner, field.default.as_ref()?)?;
    let remedy = if why.ends_with("first branch") {
        "put the default's branch first in the union"
    } else {
        "write a default of the field's type"
    };
    Some(Finding {
        side: Side::Itself,
        weight: Weight::Broken,
        path: path.to_owned(),
        at: field.at,
        why,
        remedy: remedy.to_owned(),
        against: 0,
    })
}

/// Decisions on pairs of a reader's and a writer's type.
struct TypePairs<'s> {
    reader: &'s AvroSchema,
    writer: &'s AvroSchema,
    fits: BTreeMap<(usize, usize), bool>,
}

impl<'s> TypePairs<'s> {
    fn new(reader: &'s AvroSchema, writer: &'s AvroSchema) -> TypePairs<'s> {
        let mut pairs = TypePairs { reader, writer, fits: BTreeMap::new() };
        pairs.decide((reader.root, writer.root));
        pairs
    }

    /// Tells whether a pair fits.
    fn is_fit(&mut self, reader: usize, writer: usize) -> bool {
        if !self.fits.contains_key(&(reader, writer)) {
            self.decide((reader, writer));
        }
        self.fits[&(reader, writer)]
    }

    /// Decides a pair and all that it depends on.
    fn decide(&mut self, first: (usize, usize)) {
        self.fits.insert(first, true);
        loop {
            let mut changed = false;
            let open: Vec<(usize, usize)> =
                self.fits.iter().filter(|(_, fits)| **fits).map(|(pair, _)| *pair).collect();
            for pair in open {
                let mut needs = Vec::new();
                let fits = self.fits_by_parts(pair, &mut needs);
                for need in needs {
                    if let std::collections::btree_map::Entry::Vacant(vacant) = self.fits.entry(need) {
                        vacant.insert(true);
                        changed = true;
                    }
                }
                if !fits {
                    self.fits.insert(pair, false);
                    changed = true;
                }
            }
            if !changed {
                return;
            }
        }
    }

    /// Tells whether a pair fits by what is decided of its parts. TypePairs that are not decided yet are taken to fit, and
    /// are added to `needs`.
    fn fits_by_parts(&self, (reader, writer): (usize, usize), needs: &mut Vec<(usize, usize)>) -> bool {
        let mut ask = |reader: usize, writer: usize| match self.fits.get(&(reader, writer)) {
            Some(fits) => *fits,
            None => {
                needs.push((reader, writer));
                true
            }
        };
        let (r, w) = (self.reader.get(reader), self.writer.get(writer));
        match (&r.kind, &w.kind) {
            (_, AvroKind::Union(branches)) => branches.iter().all(|branch| ask(reader, *branch)),
            (AvroKind::Union(branches), _) => branches.iter().any(|branch| ask(*branch, writer)),
            (AvroKind::Array(r), AvroKind::Array(w)) | (AvroKind::Map(r), AvroKind::Map(w)) => ask(*r, *w),
            (AvroKind::Record(read), AvroKind::Record(written)) => {
                is_name_fit(r, w)
                    && read.iter().all(|field| match written_as(field, written) {
                        Some(as_written) => ask(field.inner, as_written.inner),
                        None => field.default.is_some(),
                    })
            }
            _ => is_leaf_fit(r, w),
        }
    }
}

/// Tells whether types without parts fit.
fn is_leaf_fit(r: &AvroType, w: &AvroType) -> bool {
    let is_same_meaning = match (&r.logical, &w.logical) {
        (Some(r), Some(w)) => r == w,
        _ => true,
    };
    is_same_meaning
        && match (&r.kind, &w.kind) {
            (AvroKind::Primitive(r), AvroKind::Primitive(w)) => r == w || is_promoted(w, r),
            (AvroKind::Fixed(read), AvroKind::Fixed(written)) => read == written && is_name_fit(r, w),
            (AvroKind::Enum { symbols, default }, AvroKind::Enum { symbols: written, .. }) => {
                is_name_fit(r, w)
                    && (default.is_some() || written.iter().all(|symbol| symbols.contains(symbol)))
            }
            _ => false,
        }
}

/// Tells whether values of a primitive type are read as another.
fn is_promoted(from: &str, to: &str) -> bool {
    matches!(
        (from, to),
        ("int", "long" | "float" | "double")
            | ("long", "float" | "double")
            | ("float", "double")
            | ("string", "bytes")
            | ("bytes", "string")
    )
}

/// Tells whether a reader's name, or an alias of it, is the writer's.
fn is_name_fit(r: &AvroType, w: &AvroType) -> bool {
    match (&r.name, &w.name) {
        (Some(read), Some(written)) => read.short() == written.short() || has_alias(read, written),
        _ => true,
    }
}

fn has_alias(read: &TypeName, written: &TypeName) -> bool {
    read.aliases.contains(&written.full)
}

/// The field that was written for a reader's field: by its name, else by an alias.
fn written_as<'f>(field: &AvroField, written: &'f [AvroField]) -> Option<&'f AvroField> {
    let by_name = written.iter().find(|one| one.name == field.name);
    by_name.or_else(|| written.iter().find(|one| field.aliases.contains(&one.name)))
}

/// A place in the new schema.
#[derive(Clone, Debug)]
struct AvroSpot {
    path: String,
    at: Place,
}

impl AvroSpot {
    fn below(&self, part: &str, at: Place) -> AvroSpot {
        AvroSpot { path: join_path(&self.path, part), at }
    }
}

/// A path with a part more: a field's name, or `[]` and `{}` for items and values.
fn join_path(path: &str, part: &str) -> String {
    if path.is_empty() || part == "[]" || part == "{}" {
        format!("{path}{part}")
    } else {
        format!("{path}.{part}")
    }
}

/// A walk over both schemas for one kind of readers.
struct AvroWalk<'s> {
    side: Side,
    pairs: TypePairs<'s>,
    /// TypePairs of records that are told, or will be.
    visited: HashSet<(usize, usize)>,
    found: Vec<Finding>,
}

impl<'s> AvroWalk<'s> {
    fn new(old: &'s AvroSchema, new: &'s AvroSchema, side: Side) -> AvroWalk<'s> {
        let (reader, writer) = if side == Side::Backward { (new, old) } else { (old, new) };
        AvroWalk { side, pairs: TypePairs::new(reader, writer), visited: HashSet::new(), found: Vec::new() }
    }

    /// Returns what is of the old schema, then what is of the new one.
    fn by_age<T>(&self, reader: T, writer: T) -> (T, T) {
        if self.side == Side::Backward { (writer, reader) } else { (reader, writer) }
    }

    fn tell(&mut self, weight: Weight, spot: &AvroSpot, why: String, remedy: &str) {
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

    fn visit(&mut self, reader: usize, writer: usize, spot: &AvroSpot) {
        let (r, w) = (self.pairs.reader.get(reader), self.pairs.writer.get(writer));
        match (&r.kind, &w.kind) {
            (_, AvroKind::Union(_)) | (AvroKind::Union(_), _) => self.visit_union(reader, writer, spot),
            (AvroKind::Array(read), AvroKind::Array(written)) => {
                self.visit(*read, *written, &spot.below("[]", spot.at))
            }
            (AvroKind::Map(read), AvroKind::Map(written)) => {
                self.visit(*read, *written, &spot.below("{}", spot.at))
            }
            (AvroKind::Record(read), AvroKind::Record(written)) => {
                self.tell_name(r, w, spot);
                if self.visited.insert((reader, writer)) {
                    self.visit_fields(read, written, spot);
                }
            }
            (AvroKind::Enum { symbols, default }, AvroKind::Enum { symbols: written, .. }) => {
                self.tell_name(r, w, spot);
                if default.is_none() {
                    self.tell_symbols(symbols, written, spot);
                }
            }
            (AvroKind::Fixed(read), AvroKind::Fixed(written)) => {
                self.tell_name(r, w, spot);
                if read != written {
                    let (old, new) = self.by_age(*read, *written);
                    let why = format!("the size of the fixed was {old} bytes and is {new}");
                    self.tell(Weight::Broken, spot, why, "keep the size, or add a field of another fixed");
                }
                self.tell_logical(r, w, spot);
            }
            (AvroKind::Primitive(read), AvroKind::Primitive(written))
                if read == written || is_promoted(written, read) =>
            {
                self.tell_logical(r, w, spot);
            }
            _ => {
                let (read, written) =
                    (self.pairs.reader.describe(reader), self.pairs.writer.describe(writer));
                let why = format!("{written} is not read as {read}");
                let (old, new) = self.by_age(&read, &written);
                let why = format!("the type was {old} and is {new}: {why}");
                self.tell(
                    Weight::Broken,
                    spot,
                    why,
                    "keep the type, or add a field of the new type with a default",
                );
            }
        }
    }

    /// Visits each branch that may be written with the branch that reads it.
    fn visit_union(&mut self, reader: usize, writer: usize, spot: &AvroSpot) {
        let (readers, writers) =
            (branches_of(self.pairs.reader, reader), branches_of(self.pairs.writer, writer));
        for written in &writers {
            let fit = readers.iter().copied().find(|read| self.pairs.is_fit(*read, *written));
            let like = fit.or_else(|| self.alike(&readers, *written));
            let only = like.or_else(|| self.only_of_kind(&readers, &writers, *written));
            match only {
                Some(read) => self.visit(read, *written, spot),
                None => self.tell_branch(*written, reader, spot),
            }
        }
    }

    /// The reader's version of a branch: of its kind and name.
    fn alike(&self, readers: &[usize], written: usize) -> Option<usize> {
        let w = self.pairs.writer.get(written);
        readers.iter().copied().find(|read| is_alike(self.pairs.reader.get(*read), w))
    }

    /// The reader's branch of a kind that both have once: a type that was renamed.
    fn only_of_kind(&self, readers: &[usize], writers: &[usize], written: usize) -> Option<usize> {
        let kind = std::mem::discriminant(&self.pairs.writer.get(written).kind);
        let is_kind = |one: &AvroType| one.name.is_some() && std::mem::discriminant(&one.kind) == kind;
        let mut read = readers.iter().copied().filter(|read| is_kind(self.pairs.reader.get(*read)));
        let written = writers.iter().filter(|one| is_kind(self.pairs.writer.get(**one))).count();
        let first = read.next();
        first.filter(|_| written == 1 && read.next().is_none())
    }

    /// Tells a branch that nothing reads.
    fn tell_branch(&mut self, written: usize, reader: usize, spot: &AvroSpot) {
        let (branch, reads) = (self.pairs.writer.describe(written), self.pairs.reader.describe(reader));
        let (why, remedy) = if self.side == Side::Backward {
            let remedy = "keep the branch: records that have it stay in the topic";
            (format!("{branch} may stand in old records and is read by nothing in {reads}"), remedy)
        } else {
            let remedy = "add the branch in two steps: first to all consumers, then to producers";
            (format!("{branch} may stand in new records and is read by nothing in the old {reads}"), remedy)
        };
        self.tell(Weight::Broken, spot, why, remedy);
    }

    fn tell_name(&mut self, r: &AvroType, w: &AvroType, spot: &AvroSpot) {
        if is_name_fit(r, w) {
            return;
        }
        let (Some(read), Some(written)) = (&r.name, &w.name) else { return };
        let (old, new) = self.by_age(read, written);
        let why = format!("the type {} was renamed to {}", old.full, new.full);
        let is_aliased = has_alias(new, old);
        match (self.side, is_aliased) {
            (Side::Backward, _) => {
                let remedy = format!("give {} the alias \"{}\", or keep the name", new.full, old.full);
                self.tell(Weight::Broken, spot, format!("{why} without an alias"), &remedy);
            }
            _ => {
                let why = format!("{why}, which the old schema does not know");
                self.tell(
                    Weight::Broken,
                    spot,
                    why,
                    "keep the name: aliases help readers with the new schema only",
                );
            }
        }
    }

    fn tell_symbols(&mut self, symbols: &[String], written: &[String], spot: &AvroSpot) {
        let unread: Vec<&str> =
            written.iter().filter(|symbol| !symbols.contains(symbol)).map(String::as_str).collect();
        if unread.is_empty() {
            return;
        }
        let listed = unread.join(", ");
        let (why, remedy) = if self.side == Side::Backward {
            let why = format!("enum symbol {listed} was removed, and the enum has no default");
            (why, "keep the symbol, or give the enum a \"default\" symbol")
        } else {
            let why = format!("enum symbol {listed} was added, and the old enum has no default");
            (why, "first give all consumers the symbol, or an enum with a \"default\", then write it")
        };
        self.tell(Weight::Broken, spot, why, remedy);
    }

    fn tell_logical(&mut self, r: &AvroType, w: &AvroType, spot: &AvroSpot) {
        let (old, new) = self.by_age(&r.logical, &w.logical);
        let word = |logical: &Option<Logical>| match logical {
            Some(logical) => logical.describe(),
            None => "none".to_owned(),
        };
        let (was, is) = (word(old), word(new));
        match (old, new) {
            (Some(old), Some(new)) if old != new => {
                let why = if old.decimal.is_some() && new.decimal.is_some() {
                    format!("the decimal was {was} and is {is}: precision and scale must be the same")
                } else {
                    format!("the logical type was {was} and is {is}: the same number means another value")
                };
                self.tell(Weight::Broken, spot, why, "keep the logical type, or add a field of the new one");
            }
            (Some(_), None) | (None, Some(_)) => {
                let why = format!("the logical type was {was} and is {is}: values are read as before");
                self.tell(Weight::Note, spot, why, "look at code that expects the other type");
            }
            _ => {}
        }
    }

    fn visit_fields(&mut self, read: &[AvroField], written: &[AvroField], spot: &AvroSpot) {
        for field in read {
            let Some(as_written) = written_as(field, written) else {
                if field.default.is_none() {
                    self.tell_missing(field, written, spot);
                }
                continue;
            };
            let (_, new) = self.by_age(field, as_written);
            let below = spot.below(&new.name, new.at);
            self.visit(field.inner, as_written.inner, &below);
        }
    }

    /// Tells a field without a default that is not written.
    fn tell_missing(&mut self, field: &AvroField, written: &[AvroField], spot: &AvroSpot) {
        if self.side == Side::Backward {
            let below = spot.below(&field.name, field.at);
            let why = format!("field {} was added without a default", field.name);
            self.tell(Weight::Broken, &below, why, "give it a default, or an alias if it is a field renamed");
            return;
        }
        match written.iter().find(|one| one.aliases.contains(&field.name)) {
            Some(new) => {
                let below = spot.below(&new.name, new.at);
                let why =
                    format!("field {} was renamed to {}, and the old schema needs it", field.name, new.name);
                let remedy = "keep the name: aliases help readers with the new schema only";
                self.tell(Weight::Broken, &below, why, remedy);
            }
            None => {
                let below = spot.below(&field.name, spot.at);
                let why = format!("field {} was removed, and has no default in the old schema", field.name);
                let remedy = "keep the field, or first give it a default in the schema of all consumers";
                self.tell(Weight::Broken, &below, why, remedy);
            }
        }
    }
}

/// The branches of a union, else the type alone.
fn branches_of(schema: &AvroSchema, number: usize) -> Vec<usize> {
    match &schema.get(number).kind {
        AvroKind::Union(branches) => branches.clone(),
        _ => vec![number],
    }
}

/// Tells whether two branches are versions of one: of the same kind and name.
fn is_alike(r: &AvroType, w: &AvroType) -> bool {
    match (&r.kind, &w.kind) {
        (AvroKind::Array(_), AvroKind::Array(_)) | (AvroKind::Map(_), AvroKind::Map(_)) => true,
        (AvroKind::Primitive(read), AvroKind::Primitive(written)) => read == written,
        (AvroKind::Record(_), AvroKind::Record(_))
        | (AvroKind::Enum { .. }, AvroKind::Enum { .. })
        | (AvroKind::Fixed(_), AvroKind::Fixed(_)) => is_name_fit(r, w),
        _ => false,
    }
}
