//! Rows of `pg_catalog`. A table is made when a statement names it; the ones that are not in [`TABLES`] are
//! empty.

use super::facts::{DATABASE, Facts, INFORMATION_SCHEMA, Listed, OWNER, OWNER_NAME, PG_CATALOG};
use super::relations::{RELATIONS, Relation, Rows, Value};
use super::session::settings_of;
use super::types::{FUNCTIONS, TYPES, dimensions, function_oid, type_named, type_of, wire_type};

/// Function that makes the rows of a table.
pub(super) type Fill = fn(&Facts, &mut Rows);

/// The tables that have rows, by name.
pub(super) const TABLES: &[(&str, Fill)] = &[
    ("pg_am", fill_am),
    ("pg_attribute", fill_attribute),
    ("pg_authid", fill_authid),
    ("pg_class", fill_class),
    ("pg_collation", fill_collation),
    ("pg_constraint", fill_constraint),
    ("pg_database", fill_database),
    ("pg_description", fill_description),
    ("pg_get_keywords", fill_keywords),
    ("pg_index", fill_index),
    ("pg_indexes", fill_indexes),
    ("pg_language", fill_language),
    ("pg_matviews", fill_matviews),
    ("pg_namespace", fill_namespace),
    ("pg_proc", fill_proc),
    ("pg_roles", fill_roles),
    ("pg_settings", fill_settings),
    ("pg_shadow", fill_shadow),
    ("pg_stat_activity", fill_stat_activity),
    ("pg_stat_all_tables", fill_stat_tables),
    ("pg_stat_database", fill_stat_database),
    ("pg_stat_user_indexes", fill_stat_indexes),
    ("pg_stat_user_tables", fill_stat_tables),
    ("pg_statio_user_tables", fill_statio_tables),
    ("pg_tables", fill_tables),
    ("pg_tablespace", fill_tablespace),
    ("pg_type", fill_type),
    ("pg_user", fill_user),
];

/// Access methods of tables and of indexes.
const HEAP: i64 = 2;
const BTREE: i64 = 403;
/// Tablespace of everything.
const TABLESPACE: i64 = 1663;
/// Encoding UTF8.
const UTF8: i64 = 6;
/// Collation of text.
const DEFAULT_COLLATION: i64 = 100;

fn fill_am(_: &Facts, rows: &mut Rows) {
    rows.push([("oid", HEAP.into()), ("amname", "heap".into()), ("amtype", "t".into())]);
    rows.push([("oid", BTREE.into()), ("amname", "btree".into()), ("amtype", "i".into())]);
}

fn fill_class(facts: &Facts, rows: &mut Rows) {
    for relation in RELATIONS.iter().filter(|relation| relation.kind != "f") {
        let namespace = system_namespace(relation);
        let count = relation.columns.len() as i64;
        push_class(rows, [relation.oid, namespace], relation.name, [relation.kind, "n"], [count, HEAP]);
    }
    for found in &facts.listed {
        let object = &found.object;
        let namespace = facts.namespace(&object.schema);
        let kind = if object.is_materialized { "m" } else { "r" };
        let count = object.columns.fields().len() as i64;
        rows.push([
            ("oid", found.oid.into()),
            ("relname", object.name.as_str().into()),
            ("relnamespace", namespace.into()),
            ("relowner", OWNER.into()),
            ("relam", HEAP.into()),
            ("relfilenode", found.oid.into()),
            ("relhasindex", (!found.indexes.is_empty()).into()),
            ("relpersistence", "p".into()),
            ("relkind", kind.into()),
            ("relnatts", count.into()),
            ("relispopulated", true.into()),
            ("relreplident", "d".into()),
        ]);
        for index in &found.indexes {
            let columns = index.columns.len() as i64;
            push_class(rows, [index.oid, namespace], &index.name, ["i", "n"], [columns, BTREE]);
        }
    }
}

/// Appends a system relation or an index to `pg_class`: OID and schema, name, kind and replica identity,
/// number of columns and access method.
fn push_class(rows: &mut Rows, oids: [u32; 2], name: &str, kinds: [&str; 2], numbers: [i64; 2]) {
    rows.push([
        ("oid", oids[0].into()),
        ("relname", name.into()),
        ("relnamespace", oids[1].into()),
        ("relowner", OWNER.into()),
        ("relam", if kinds[0] == "v" { 0_i64 } else { numbers[1] }.into()),
        ("relpersistence", "p".into()),
        ("relkind", kinds[0].into()),
        ("relnatts", numbers[0].into()),
        ("relispopulated", true.into()),
        ("relreplident", kinds[1].into()),
    ]);
}

/// OID of the schema of a system relation.
fn system_namespace(relation: &Relation) -> u32 {
    if relation.schema == "pg_catalog" { PG_CATALOG } else { INFORMATION_SCHEMA }
}

/// Column as `pg_attribute` tells it.
struct Attribute<'a> {
    relation: u32,
    number: i64,
    name: &'a str,
    type_oid: u32,
    modifier: i64,
    dimensions: i64,
    required: bool,
}

fn fill_attribute(facts: &Facts, rows: &mut Rows) {
    for relation in RELATIONS.iter().filter(|relation| relation.kind != "f") {
        for (column, number) in relation.columns.iter().zip(1..) {
            let type_oid = type_named(column.type_name).map_or(0, |found| found.oid);
            let required = column.required;
            let (relation, name) = (relation.oid, column.name);
            push_attribute(
                rows,
                &Attribute { relation, number, name, type_oid, modifier: -1, dimensions: 0, required },
            );
        }
    }
    for found in &facts.listed {
        let all: Vec<usize> = (0..found.object.columns.fields().len()).collect();
        push_columns(rows, found.oid, found, &all);
        for index in &found.indexes {
            push_columns(rows, index.oid, found, &index.columns);
        }
    }
}

/// Appends columns of an object as those of the relation with an OID.
fn push_columns(rows: &mut Rows, relation: u32, found: &Listed, places: &[usize]) {
    let fields = found.object.columns.fields();
    for (field, number) in places.iter().filter_map(|at| fields.get(*at)).zip(1..) {
        let wire = wire_type(field);
        push_attribute(
            rows,
            &Attribute {
                relation,
                number,
                name: field.name(),
                type_oid: wire.oid,
                modifier: i64::from(wire.modifier),
                dimensions: dimensions(field),
                required: !field.is_nullable() && relation == found.oid,
            },
        );
    }
}

fn push_attribute(rows: &mut Rows, attribute: &Attribute<'_>) {
    let Some(found) = type_of(attribute.type_oid) else { return };
    rows.push([
        ("attrelid", attribute.relation.into()),
        ("attname", attribute.name.into()),
        ("atttypid", attribute.type_oid.into()),
        ("attstattarget", (-1_i64).into()),
        ("attlen", i64::from(found.length).into()),
        ("attnum", attribute.number.into()),
        ("attndims", attribute.dimensions.into()),
        ("attcacheoff", (-1_i64).into()),
        ("atttypmod", attribute.modifier.into()),
        ("attbyval", found.by_value.into()),
        ("attalign", found.align.into()),
        ("attstorage", found.storage.into()),
        ("attnotnull", attribute.required.into()),
        ("attislocal", true.into()),
        ("attcollation", found.collation.into()),
    ]);
}

fn fill_namespace(facts: &Facts, rows: &mut Rows) {
    for (name, oid) in facts.namespaces() {
        rows.push([("oid", oid.into()), ("nspname", name.into()), ("nspowner", OWNER.into())]);
    }
}

fn fill_type(_: &Facts, rows: &mut Rows) {
    for found in TYPES.iter() {
        let [input, output, receive, send, modifier_input, modifier_output] =
            found.functions.map(function_oid);
        rows.push([
            ("oid", found.oid.into()),
            ("typname", found.name.into()),
            ("typnamespace", PG_CATALOG.into()),
            ("typowner", OWNER.into()),
            ("typlen", i64::from(found.length).into()),
            ("typbyval", found.by_value.into()),
            ("typtype", found.kind.into()),
            ("typcategory", found.category.into()),
            ("typispreferred", found.preferred.into()),
            ("typisdefined", true.into()),
            ("typdelim", found.delimiter.into()),
            ("typsubscript", function_oid(found.subscript).into()),
            ("typelem", found.element.into()),
            ("typarray", found.array.into()),
            ("typinput", input.into()),
            ("typoutput", output.into()),
            ("typreceive", receive.into()),
            ("typsend", send.into()),
            ("typmodin", modifier_input.into()),
            ("typmodout", modifier_output.into()),
            ("typalign", found.align.into()),
            ("typstorage", found.storage.into()),
            ("typtypmod", (-1_i64).into()),
            ("typcollation", found.collation.into()),
        ]);
    }
}

fn fill_proc(_: &Facts, rows: &mut Rows) {
    for function in FUNCTIONS.iter() {
        let count = function.arguments.len() as i64;
        rows.push([
            ("oid", function.oid.into()),
            ("proname", function.name.into()),
            ("pronamespace", PG_CATALOG.into()),
            ("proowner", OWNER.into()),
            ("prolang", 12_i64.into()),
            ("procost", Value::Float(1.0)),
            ("prokind", function.kind.into()),
            ("proisstrict", function.strict.into()),
            ("proretset", function.returns_set.into()),
            ("provolatile", function.volatility.into()),
            ("proparallel", "s".into()),
            ("pronargs", count.into()),
            ("prorettype", function.result.into()),
            ("proargtypes", function.arguments.clone().into()),
            ("prosrc", function.name.into()),
        ]);
    }
}

fn fill_language(_: &Facts, rows: &mut Rows) {
    for (oid, name, trusted) in [(12_i64, "internal", false), (14, "sql", true)] {
        rows.push([
            ("oid", oid.into()),
            ("lanname", name.into()),
            ("lanowner", OWNER.into()),
            ("lanpltrusted", trusted.into()),
        ]);
    }
}

fn fill_index(facts: &Facts, rows: &mut Rows) {
    for (found, index) in facts.indexes() {
        let fields = found.object.columns.fields();
        let types = index.columns.iter().map(|at| fields.get(*at).and_then(|f| type_of(wire_type(f).oid)));
        let collations: Vec<i64> = types.map(|found| found.map_or(0, |t| i64::from(t.collation))).collect();
        let count = index.columns.len() as i64;
        rows.push([
            ("indexrelid", index.oid.into()),
            ("indrelid", found.oid.into()),
            ("indnatts", count.into()),
            ("indnkeyatts", count.into()),
            ("indisunique", index.is_key().into()),
            ("indisprimary", index.is_key().into()),
            ("indimmediate", true.into()),
            ("indisvalid", true.into()),
            ("indisready", true.into()),
            ("indislive", true.into()),
            ("indkey", index.numbers().into()),
            ("indcollation", collations.into()),
            ("indclass", vec![0_i64; index.columns.len()].into()),
            ("indoption", vec![0_i64; index.columns.len()].into()),
        ]);
    }
}

fn fill_constraint(facts: &Facts, rows: &mut Rows) {
    for (found, key) in facts.keys() {
        rows.push([
            ("oid", key.constraint.into()),
            ("conname", key.name.as_str().into()),
            ("connamespace", facts.namespace(&found.object.schema).into()),
            ("contype", "p".into()),
            ("convalidated", true.into()),
            ("conrelid", found.oid.into()),
            ("conindid", key.oid.into()),
            ("confupdtype", " ".into()),
            ("confdeltype", " ".into()),
            ("confmatchtype", " ".into()),
            ("conislocal", true.into()),
            ("connoinherit", true.into()),
            ("conkey", key.numbers().into()),
        ]);
    }
}

fn fill_description(facts: &Facts, rows: &mut Rows) {
    for found in &facts.listed {
        if let Some(comment) = &found.object.comment {
            rows.push([
                ("objoid", found.oid.into()),
                ("classoid", class_oid("pg_class").into()),
                ("description", comment.as_str().into()),
            ]);
        }
    }
}

/// OID of a table of `pg_catalog`; 0 if it is none.
fn class_oid(name: &str) -> u32 {
    super::relations::relation("pg_catalog", name).map_or(0, |found| found.oid)
}

fn fill_collation(_: &Facts, rows: &mut Rows) {
    for (oid, name, provider, locale) in
        [(DEFAULT_COLLATION, "default", "d", None), (950, "C", "c", Some("C"))]
    {
        rows.push([
            ("oid", oid.into()),
            ("collname", name.into()),
            ("collnamespace", PG_CATALOG.into()),
            ("collowner", OWNER.into()),
            ("collprovider", provider.into()),
            ("collisdeterministic", true.into()),
            ("collencoding", (-1_i64).into()),
            ("collcollate", locale.into()),
            ("collctype", locale.into()),
        ]);
    }
}

fn fill_matviews(facts: &Facts, rows: &mut Rows) {
    for found in facts.listed.iter().filter(|found| found.object.is_materialized) {
        rows.push([
            ("schemaname", found.object.schema.as_str().into()),
            ("matviewname", found.object.name.as_str().into()),
            ("matviewowner", OWNER_NAME.into()),
            ("hasindexes", (!found.indexes.is_empty()).into()),
            ("ispopulated", true.into()),
            ("definition", found.object.shown_definition().into()),
        ]);
    }
}

fn fill_tables(facts: &Facts, rows: &mut Rows) {
    for relation in RELATIONS.iter().filter(|relation| relation.kind == "r") {
        push_table(rows, relation.schema, relation.name, true);
    }
    for found in facts.listed.iter().filter(|found| !found.object.is_materialized) {
        push_table(rows, &found.object.schema, &found.object.name, !found.indexes.is_empty());
    }
}

fn push_table(rows: &mut Rows, schema: &str, name: &str, has_indexes: bool) {
    rows.push([
        ("schemaname", schema.into()),
        ("tablename", name.into()),
        ("tableowner", OWNER_NAME.into()),
        ("hasindexes", has_indexes.into()),
        ("hasrules", false.into()),
        ("hastriggers", false.into()),
        ("rowsecurity", false.into()),
    ]);
}

fn fill_indexes(facts: &Facts, rows: &mut Rows) {
    for (found, index) in facts.indexes() {
        rows.push([
            ("schemaname", found.object.schema.as_str().into()),
            ("tablename", found.object.name.as_str().into()),
            ("indexname", index.name.as_str().into()),
            ("indexdef", super::lookups::index_definition(found, index).into()),
        ]);
    }
}

fn fill_settings(facts: &Facts, rows: &mut Rows) {
    for (name, value, default) in settings_of(&facts.session) {
        let source = if value == default { "default" } else { "session" };
        rows.push([
            ("name", name.as_str().into()),
            ("setting", value.into()),
            ("category", "Herald".into()),
            ("short_desc", "".into()),
            ("context", "user".into()),
            ("vartype", "string".into()),
            ("source", source.into()),
            ("boot_val", default.as_str().into()),
            ("reset_val", default.into()),
            ("pending_restart", false.into()),
        ]);
    }
}

fn fill_database(facts: &Facts, rows: &mut Rows) {
    rows.push([
        ("oid", DATABASE.into()),
        ("datname", facts.session.database.as_str().into()),
        ("datdba", OWNER.into()),
        ("encoding", UTF8.into()),
        ("datlocprovider", "c".into()),
        ("datallowconn", true.into()),
        ("datconnlimit", (-1_i64).into()),
        ("dattablespace", TABLESPACE.into()),
        ("datcollate", "C".into()),
        ("datctype", "C.UTF-8".into()),
    ]);
}

fn fill_tablespace(_: &Facts, rows: &mut Rows) {
    for (oid, name) in [(TABLESPACE, "pg_default"), (1664, "pg_global")] {
        rows.push([("oid", oid.into()), ("spcname", name.into()), ("spcowner", OWNER.into())]);
    }
}

fn fill_roles(facts: &Facts, rows: &mut Rows) {
    for (name, oid) in facts.roles() {
        rows.push([
            ("rolname", name.into()),
            ("rolsuper", (oid == OWNER).into()),
            ("rolinherit", true.into()),
            ("rolcreaterole", false.into()),
            ("rolcreatedb", false.into()),
            ("rolcanlogin", true.into()),
            ("rolreplication", false.into()),
            ("rolconnlimit", (-1_i64).into()),
            ("rolpassword", "********".into()),
            ("rolbypassrls", false.into()),
            ("oid", oid.into()),
        ]);
    }
}

fn fill_authid(facts: &Facts, rows: &mut Rows) {
    for (name, oid) in facts.roles() {
        rows.push([
            ("oid", oid.into()),
            ("rolname", name.into()),
            ("rolsuper", (oid == OWNER).into()),
            ("rolinherit", true.into()),
            ("rolcanlogin", true.into()),
            ("rolconnlimit", (-1_i64).into()),
        ]);
    }
}

fn fill_user(facts: &Facts, rows: &mut Rows) {
    push_users(facts, rows, "********".into());
}

fn fill_shadow(facts: &Facts, rows: &mut Rows) {
    push_users(facts, rows, Value::Null);
}

fn push_users(facts: &Facts, rows: &mut Rows, password: Value) {
    for (name, oid) in facts.roles() {
        rows.push([
            ("usename", name.into()),
            ("usesysid", oid.into()),
            ("usecreatedb", false.into()),
            ("usesuper", (oid == OWNER).into()),
            ("userepl", false.into()),
            ("usebypassrls", false.into()),
            ("passwd", password.clone()),
        ]);
    }
}

fn fill_stat_activity(facts: &Facts, rows: &mut Rows) {
    let session = &facts.session;
    rows.push([
        ("datid", DATABASE.into()),
        ("datname", session.database.as_str().into()),
        ("pid", i64::from(session.process_id).into()),
        ("usesysid", facts.user.into()),
        ("usename", session.user.as_str().into()),
        ("application_name", session.application_name.as_str().into()),
        ("client_addr", session.client_address.as_deref().into()),
        ("backend_start", session.started_us.into()),
        ("state", "active".into()),
        ("backend_type", "client backend".into()),
    ]);
}

fn fill_stat_database(facts: &Facts, rows: &mut Rows) {
    let name = facts.session.database.as_str().into();
    rows.push([("datid", DATABASE.into()), ("datname", name), ("numbackends", 1_i64.into())]);
}

/// All objects: tools ask here for the size of what they list.
fn fill_stat_tables(facts: &Facts, rows: &mut Rows) {
    let zero = || Value::Int(0);
    for found in &facts.listed {
        rows.push([
            ("relid", found.oid.into()),
            ("schemaname", found.object.schema.as_str().into()),
            ("relname", found.object.name.as_str().into()),
            ("seq_scan", zero()),
            ("seq_tup_read", zero()),
            ("n_tup_ins", zero()),
            ("n_tup_upd", zero()),
            ("n_tup_del", zero()),
            ("n_tup_hot_upd", zero()),
            ("n_live_tup", zero()),
            ("n_dead_tup", zero()),
            ("n_mod_since_analyze", zero()),
            ("n_ins_since_vacuum", zero()),
            ("vacuum_count", zero()),
            ("autovacuum_count", zero()),
            ("analyze_count", zero()),
            ("autoanalyze_count", zero()),
        ]);
    }
}

fn fill_statio_tables(facts: &Facts, rows: &mut Rows) {
    for found in &facts.listed {
        rows.push([
            ("relid", found.oid.into()),
            ("schemaname", found.object.schema.as_str().into()),
            ("relname", found.object.name.as_str().into()),
            ("heap_blks_read", 0_i64.into()),
            ("heap_blks_hit", 0_i64.into()),
        ]);
    }
}

fn fill_stat_indexes(facts: &Facts, rows: &mut Rows) {
    for (found, index) in facts.indexes() {
        rows.push([
            ("relid", found.oid.into()),
            ("indexrelid", index.oid.into()),
            ("schemaname", found.object.schema.as_str().into()),
            ("relname", found.object.name.as_str().into()),
            ("indexrelname", index.name.as_str().into()),
            ("idx_scan", 0_i64.into()),
            ("idx_tup_read", 0_i64.into()),
            ("idx_tup_fetch", 0_i64.into()),
        ]);
    }
}

fn fill_keywords(_: &Facts, rows: &mut Rows) {
    for line in include_str!("data/keywords.txt").lines() {
        let mut words = line.split(' ');
        let (word, category) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let bare = words.next() == Some("1");
        rows.push([
            ("word", word.into()),
            ("catcode", category.into()),
            ("barelabel", bare.into()),
            ("catdesc", category_description(category).into()),
            ("baredesc", if bare { "can be bare label" } else { "requires AS" }.into()),
        ]);
    }
}

/// Description of a class of keywords.
fn category_description(category: &str) -> &'static str {
    match category {
        "C" => "unreserved (cannot be function or type name)",
        "R" => "reserved",
        "T" => "reserved (can be function or type name)",
        _ => "unreserved",
    }
}
