//! The facts that the catalogue tells: relations with their OIDs, keys and comments, and the values of a
//! session.
//!
//! An OID follows from an object's kind and name by a hash, so that it is the same after a restart and in
//! every process. Where two hashes collide, the object whose name sorts later takes the next number.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Mutex;

use arrow::datatypes::SchemaRef;

use super::CATALOG;
use super::relations::{RELATIONS, Relation, relation};

/// First OID of objects that are not PostgreSQL's own.
const FIRST_OID: u32 = 16_384;
/// Number of OIDs from there: a client may hold them in 32 bits with a sign.
const OIDS: u64 = (1 << 31) - (FIRST_OID as u64);
/// OID of schema `pg_catalog`.
pub(super) const PG_CATALOG: u32 = 11;
/// OID of schema `public`.
pub(super) const PUBLIC: u32 = 2200;
/// OID of schema `information_schema`.
pub(super) const INFORMATION_SCHEMA: u32 = 13_000;
/// OID of the owner of all objects, and its name.
pub(super) const OWNER: u32 = 10;
pub(super) const OWNER_NAME: &str = "herald";
/// OID of the database that a session is connected to.
pub(super) const DATABASE: u32 = 5;

/// View or table that the catalogue lists.
#[derive(Clone, Debug)]
pub struct CatalogObject {
    /// `public` for views, `herald` for system tables.
    pub schema: String,
    /// Name without the schema.
    pub name: String,
    /// Columns.
    pub columns: SchemaRef,
    /// Places of the columns of the primary key, in its order.
    pub key: Option<Vec<usize>>,
    /// Indexes beside that of the key.
    pub indexes: Vec<CatalogIndex>,
    /// Comment, which tools show as description.
    pub comment: Option<String>,
    /// True for a materialized view, false for a table.
    pub is_materialized: bool,
    /// Query of a view, as written.
    pub definition: Option<String>,
}

impl CatalogObject {
    /// The query of a view as PostgreSQL shows it.
    pub(super) fn shown_definition(&self) -> Option<String> {
        self.definition.as_ref().map(|query| format!("{query};"))
    }
}

/// Index that the catalogue lists.
#[derive(Clone, Debug)]
pub struct CatalogIndex {
    /// Name, in the schema of its view.
    pub name: String,
    /// Places of its columns in the view, in its order.
    pub columns: Vec<usize>,
}

/// Values of a session that functions and tables of the catalogue tell.
#[derive(Clone, Debug, Default)]
pub struct SessionValues {
    /// Name of the database, as the client gave it.
    pub database: String,
    /// Name of the user, as the client gave it.
    pub user: String,
    /// Number of the session, which `pg_backend_pid()` tells.
    pub process_id: i32,
    /// Name of the program at the other end.
    pub application_name: String,
    /// Address of the other end.
    pub client_address: Option<String>,
    /// Microseconds since 1970 at which the session began; 0 for a query without a session.
    pub started_us: i64,
    /// Settings by name in lower case; they win over the defaults of the catalogue.
    pub settings: BTreeMap<String, String>,
}

impl SessionValues {
    /// Tells whether queries may ask for the time. One without a session may not: in a view, `now()` is the
    /// watermark.
    pub(super) fn has_clock(&self) -> bool {
        self.started_us > 0
    }

    /// Values for a query without a session, as of `herald query`.
    pub fn none() -> SessionValues {
        SessionValues {
            database: CATALOG.to_owned(),
            user: OWNER_NAME.to_owned(),
            ..SessionValues::default()
        }
    }
}

/// Setting that a statement changes by `set_config`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingChange {
    /// Name of the setting.
    pub name: String,
    /// New value.
    pub value: String,
    /// True if the change ends with the transaction.
    pub is_local: bool,
}

/// Object with its OID and its indexes.
pub(super) struct Listed {
    pub object: CatalogObject,
    pub oid: u32,
    /// Indexes, that of the primary key first.
    pub indexes: Vec<ListedIndex>,
}

impl Listed {
    /// The primary key.
    pub fn key(&self) -> Option<&ListedIndex> {
        self.indexes.first().filter(|index| index.constraint.is_some())
    }
}

/// Index of an object.
pub(super) struct ListedIndex {
    pub name: String,
    pub oid: u32,
    /// OID of the constraint that a primary key is beside its index; both have one name.
    pub constraint: Option<u32>,
    /// Places of its columns.
    pub columns: Vec<usize>,
}

impl ListedIndex {
    /// Tells whether this is a primary key.
    pub fn is_key(&self) -> bool {
        self.constraint.is_some()
    }

    /// Numbers of the columns, from 1.
    pub fn numbers(&self) -> Vec<i64> {
        self.columns.iter().map(|at| *at as i64 + 1).collect()
    }
}

/// Relation that an OID stands for.
pub(super) enum Class<'a> {
    System(&'static Relation),
    Object(&'a Listed),
    Index(&'a Listed, &'a ListedIndex),
}

/// All that the catalogue tells.
pub(super) struct Facts {
    pub listed: Vec<Listed>,
    pub session: SessionValues,
    /// OIDs of the schemas that are not PostgreSQL's own, by name.
    pub schemas: BTreeMap<String, u32>,
    /// OID of the session's user.
    pub user: u32,
    /// Changes of settings by `set_config`, until the session takes them.
    pub changes: Mutex<Vec<SettingChange>>,
    by_oid: HashMap<u32, Place>,
    by_name: HashMap<(String, String), usize>,
}

/// Place of an object among those listed, or of one of its indexes.
struct Place {
    object: usize,
    index: Option<usize>,
}

impl Facts {
    /// Gives every object its OIDs.
    pub fn new(mut objects: Vec<CatalogObject>, session: SessionValues) -> Facts {
        objects.sort_by(|left, right| (&left.schema, &left.name).cmp(&(&right.schema, &right.name)));
        let mut taken = BTreeSet::new();
        let names: BTreeSet<String> = objects.iter().map(|object| object.schema.clone()).collect();
        let mut schemas = BTreeMap::new();
        for name in names {
            if name != "public" {
                let oid = take_oid(&mut taken, "schema", &name);
                schemas.insert(name, oid);
            }
        }
        let user = match session.user.as_str() {
            OWNER_NAME => OWNER,
            name => take_oid(&mut taken, "role", name),
        };
        let names = relation_names(&objects);
        let mut given = Vec::with_capacity(objects.len());
        for object in &objects {
            let oid = take_oid(&mut taken, "relation", &format!("{}.{}", object.schema, object.name));
            given.push((oid, list_indexes(object, &names, &mut taken)));
        }
        let mut listed = Vec::with_capacity(objects.len());
        for (object, (oid, indexes)) in objects.into_iter().zip(given) {
            listed.push(Listed { object, oid, indexes });
        }
        let by_oid = places_by_oid(&listed);
        let by_name = listed
            .iter()
            .enumerate()
            .map(|(at, found)| ((found.object.schema.clone(), found.object.name.clone()), at))
            .collect();
        Facts { listed, session, schemas, user, changes: Mutex::default(), by_oid, by_name }
    }

    /// The relation or index with an OID.
    pub fn class(&self, oid: i64) -> Option<Class<'_>> {
        let oid = u32::try_from(oid).ok().filter(|oid| *oid != 0)?;
        if let Some(place) = self.by_oid.get(&oid) {
            let found = self.listed.get(place.object)?;
            return match place.index {
                Some(at) => found.indexes.get(at).map(|index| Class::Index(found, index)),
                None => Some(Class::Object(found)),
            };
        }
        RELATIONS.iter().find(|relation| relation.oid == oid).map(Class::System)
    }

    /// All indexes with their objects, those of primary keys included.
    pub fn indexes(&self) -> impl Iterator<Item = (&Listed, &ListedIndex)> {
        self.listed.iter().flat_map(|found| found.indexes.iter().map(move |index| (found, index)))
    }

    /// The primary keys with their objects.
    pub fn keys(&self) -> impl Iterator<Item = (&Listed, &ListedIndex)> {
        self.listed.iter().filter_map(|found| Some((found, found.key()?)))
    }

    /// The primary key whose constraint has this OID, with its object.
    pub fn constraint(&self, oid: i64) -> Option<(&Listed, &ListedIndex)> {
        self.keys().find(|(_, key)| key.constraint.is_some_and(|known| i64::from(known) == oid))
    }

    /// The object with a name.
    pub fn object(&self, schema: &str, name: &str) -> Option<&Listed> {
        let at = self.by_name.get(&(schema.to_owned(), name.to_owned()))?;
        self.listed.get(*at)
    }

    /// OID of a relation or index by its name in SQL, as in `'public.view'::regclass`.
    pub fn class_named(&self, text: &str) -> Option<u32> {
        let names = split_name(text)?;
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        match names.as_slice() {
            [name] => ["pg_catalog", "public"].iter().find_map(|schema| self.class_in(schema, name)),
            [schema, name] => self.class_in(schema, name),
            [database, schema, name] if *database == self.session.database => self.class_in(schema, name),
            _ => None,
        }
    }

    fn class_in(&self, schema: &str, name: &str) -> Option<u32> {
        if let Some(found) = self.object(schema, name) {
            return Some(found.oid);
        }
        if let Some(found) = relation(schema, name) {
            return Some(found.oid).filter(|oid| *oid != 0);
        }
        let mut indexes = self.indexes();
        let found = indexes.find(|(found, index)| found.object.schema == schema && index.name == name);
        found.map(|(_, index)| index.oid)
    }

    /// Schema and name of a class.
    pub fn class_name<'a>(&'a self, class: &Class<'a>) -> (&'a str, &'a str) {
        match class {
            Class::System(found) => (found.schema, found.name),
            Class::Object(found) => (&found.object.schema, &found.object.name),
            Class::Index(found, index) => (&found.object.schema, &index.name),
        }
    }

    /// Tells whether a name without schema means the relation or index with an OID; None for an unknown one.
    pub fn is_visible(&self, oid: i64) -> Option<bool> {
        let class = self.class(oid)?;
        let (schema, _) = self.class_name(&class);
        Some(match class {
            Class::System(_) => schema == "pg_catalog",
            Class::Object(_) | Class::Index(..) => schema == "public",
        })
    }

    /// All schemas with their OIDs.
    pub fn namespaces(&self) -> Vec<(&str, u32)> {
        let mut all =
            vec![("pg_catalog", PG_CATALOG), ("public", PUBLIC), ("information_schema", INFORMATION_SCHEMA)];
        all.extend(self.schemas.iter().map(|(name, oid)| (name.as_str(), *oid)));
        all
    }

    /// OID of a schema; 0 if there is none of this name.
    pub fn namespace(&self, name: &str) -> u32 {
        self.namespaces().iter().find(|(known, _)| *known == name).map_or(0, |(_, oid)| *oid)
    }

    /// All roles with their OIDs.
    pub fn roles(&self) -> Vec<(&str, u32)> {
        let mut all = vec![(OWNER_NAME, OWNER)];
        if self.user != OWNER {
            all.push((&self.session.user, self.user));
        }
        all
    }
}

/// Schemas and names of all objects and of their indexes.
fn relation_names(objects: &[CatalogObject]) -> BTreeSet<(&str, &str)> {
    let mut names = BTreeSet::new();
    for object in objects {
        names.insert((object.schema.as_str(), object.name.as_str()));
        for index in &object.indexes {
            names.insert((object.schema.as_str(), index.name.as_str()));
        }
    }
    names
}

/// The indexes of an object, with their OIDs.
fn list_indexes(
    object: &CatalogObject,
    names: &BTreeSet<(&str, &str)>,
    taken: &mut BTreeSet<u32>,
) -> Vec<ListedIndex> {
    let mut indexes = Vec::new();
    if let Some(columns) = object.key.clone().filter(|columns| !columns.is_empty()) {
        let full = format!("{}.{}", object.schema, object.name);
        indexes.push(ListedIndex {
            name: key_name(object, names),
            oid: take_oid(taken, "index", &full),
            constraint: Some(take_oid(taken, "constraint", &full)),
            columns,
        });
    }
    for index in &object.indexes {
        // The kind is another than that of keys, which have their OIDs by the names of their objects.
        let oid = take_oid(taken, "declared index", &format!("{}.{}", object.schema, index.name));
        let (name, columns) = (index.name.clone(), index.columns.clone());
        indexes.push(ListedIndex { name, oid, constraint: None, columns });
    }
    indexes
}

/// Name of a key's index and constraint: that of its relation with `_pkey`, and a number if that is a
/// relation.
fn key_name(object: &CatalogObject, names: &BTreeSet<(&str, &str)>) -> String {
    let mut name = format!("{}_pkey", object.name);
    let mut number = 0;
    while names.contains(&(object.schema.as_str(), name.as_str())) {
        number += 1;
        name = format!("{}_pkey{number}", object.name);
    }
    name
}

/// Takes the OID of an object by its kind and name.
fn take_oid(taken: &mut BTreeSet<u32>, kind: &str, name: &str) -> u32 {
    let hash = schemas::hash(format!("{kind} {name}").as_bytes()) % OIDS;
    let mut offset = hash as u32;
    while !taken.insert(FIRST_OID + offset) {
        offset = (offset + 1) % OIDS as u32;
    }
    FIRST_OID + offset
}

/// Places of objects by their own OIDs and those of their indexes.
fn places_by_oid(listed: &[Listed]) -> HashMap<u32, Place> {
    let mut places = HashMap::new();
    for (object, found) in listed.iter().enumerate() {
        places.insert(found.oid, Place { object, index: None });
        for (at, index) in found.indexes.iter().enumerate() {
            places.insert(index.oid, Place { object, index: Some(at) });
        }
    }
    places
}

/// The parts of a name as SQL writes it: in lower case, but for those in double quotes. None if it is no
/// name.
pub(super) fn split_name(text: &str) -> Option<Vec<String>> {
    let mut parts = Vec::new();
    let mut rest = text.trim();
    loop {
        let (part, after) = first_part(rest)?;
        parts.push(part);
        match after.trim_start().strip_prefix('.') {
            Some(next) => rest = next.trim_start(),
            None if after.trim().is_empty() => return Some(parts),
            None => return None,
        }
    }
}

/// The first part of a name, and the text after it.
fn first_part(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(|c: char| !c.is_alphanumeric() && c != '_' && c != '$').unwrap_or(text.len());
        return (end > 0).then(|| (text[..end].to_lowercase(), &text[end..]));
    };
    let mut part = String::new();
    let mut rest = quoted;
    loop {
        let end = rest.find('"')?;
        part.push_str(&rest[..end]);
        match rest[end + 1..].strip_prefix('"') {
            Some(after) => {
                part.push('"');
                rest = after;
            }
            None => return Some((part, &rest[end + 1..])),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::Schema;

    use super::*;

    fn object(name: &str) -> CatalogObject {
        CatalogObject {
            schema: "public".to_owned(),
            name: name.to_owned(),
            columns: Arc::new(Schema::empty()),
            key: Some(vec![0]),
            indexes: Vec::new(),
            comment: None,
            is_materialized: true,
            definition: None,
        }
    }

    /// An OID is part of what a client may keep: the number stands here, so that no change of the hash
    /// passes.
    #[test]
    fn oids_follow_from_names_alone() {
        let one = Facts::new(vec![object("champion_hourly")], SessionValues::default());
        let oid = one.class_named("champion_hourly").expect("an OID");
        assert_eq!(oid, 726_372_308);
        let more = ["a", "champion_hourly", "z"].map(object).to_vec();
        let two = Facts::new(more, SessionValues { user: "ann".to_owned(), ..SessionValues::default() });
        assert_eq!(two.class_named("public.champion_hourly"), Some(oid));
        assert!(matches!(two.class(i64::from(oid)), Some(Class::Object(_))));
        let index = two.class_named("champion_hourly_pkey").expect("the key's index");
        assert!(matches!(two.class(i64::from(index)), Some(Class::Index(..))));
    }

    /// An index is a relation of its own, whatever other indexes come and go; a key gives way to its name.
    #[test]
    fn indexes_have_oids_of_their_own() {
        let indexed = |names: &[&str]| {
            let index = |name: &&str| CatalogIndex { name: (*name).to_owned(), columns: vec![1, 0] };
            let indexes = names.iter().map(index).collect();
            Facts::new(vec![CatalogObject { indexes, ..object("v") }], SessionValues::default())
        };
        let one = indexed(&["v_by_time"]);
        let oid = one.class_named("v_by_time").expect("an OID");
        let Some(Class::Index(found, index)) = one.class(i64::from(oid)) else { panic!("an index") };
        assert_eq!(
            (found.oid, index.numbers(), index.is_key()),
            (one.class_named("v").unwrap_or(0), vec![2, 1], false)
        );
        let more = indexed(&["v_pkey", "a", "v_by_time"]);
        assert_eq!(more.class_named("v_by_time"), Some(oid));
        assert_eq!(more.class_named("v"), one.class_named("v"));
        assert_eq!(more.keys().map(|(_, key)| key.name.as_str()).collect::<Vec<_>>(), ["v_pkey1"]);
        assert_eq!(more.class_named("v_pkey1"), one.class_named("v_pkey"));
        let names = more.indexes().map(|(_, index)| index.name.as_str()).collect::<Vec<_>>();
        assert_eq!(names, ["v_pkey1", "v_pkey", "a", "v_by_time"]);
    }

    #[test]
    fn a_collision_takes_the_next_number() {
        let mut taken = BTreeSet::new();
        let first = take_oid(&mut taken, "relation", "public.v");
        assert_eq!(take_oid(&mut taken, "relation", "public.v"), first + 1);
        assert!((FIRST_OID..1 << 31).contains(&first));
    }

    #[test]
    fn names_are_read_as_sql_writes_them() {
        for (text, parts) in [
            ("Public.View", Some(vec!["public", "view"])),
            ("\"Odd \"\"Name\"\"\" . x", Some(vec!["Odd \"Name\"", "x"])),
            ("a b", None),
            ("\"open", None),
            ("", None),
            ("a.", None),
        ] {
            let parts = parts.map(|parts| parts.into_iter().map(str::to_owned).collect::<Vec<_>>());
            assert_eq!(split_name(text), parts, "{text}");
        }
    }
}
