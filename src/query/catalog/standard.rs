//! Rows of `information_schema`, with the types in PostgreSQL's words. The views that are not in [`VIEWS`]
//! are empty.
//!
//! Materialized views are listed, which PostgreSQL leaves out: tools that know this schema alone would find
//! nothing.

use arrow::datatypes::Field;

use super::facts::{Facts, Listed, ListedIndex, OWNER_NAME};
use super::relations::{RELATIONS, Rows, Value};
use super::system::Fill;
use super::types::{PgType, format_type, type_named, type_of, wire_type};

/// The views that have rows, by name.
pub(super) const VIEWS: &[(&str, Fill)] = &[
    ("applicable_roles", fill_applicable_roles),
    ("character_sets", fill_character_sets),
    ("collations", fill_collations),
    ("column_privileges", fill_column_privileges),
    ("columns", fill_columns),
    ("constraint_column_usage", fill_constraint_columns),
    ("constraint_table_usage", fill_constraint_tables),
    ("element_types", fill_element_types),
    ("enabled_roles", fill_enabled_roles),
    ("information_schema_catalog_name", fill_catalog_name),
    ("key_column_usage", fill_key_columns),
    ("role_table_grants", fill_table_privileges),
    ("schemata", fill_schemata),
    ("table_constraints", fill_table_constraints),
    ("table_privileges", fill_table_privileges),
    ("tables", fill_tables),
    ("views", fill_views),
];

/// Column of a listed relation.
struct ListedColumn<'a> {
    schema: &'a str,
    table: &'a str,
    name: &'a str,
    number: i64,
    type_oid: u32,
    modifier: i64,
    nullable: bool,
}

/// Columns of an object.
fn columns_of(found: &Listed) -> impl Iterator<Item = ListedColumn<'_>> {
    found.object.columns.fields().iter().zip(1..).map(|(field, number)| {
        let wire = wire_type(field);
        ListedColumn {
            schema: &found.object.schema,
            table: &found.object.name,
            name: field.name(),
            number,
            type_oid: wire.oid,
            modifier: i64::from(wire.modifier),
            nullable: field.is_nullable(),
        }
    })
}

/// Columns of the system relations.
fn system_columns<'a>() -> impl Iterator<Item = ListedColumn<'a>> {
    RELATIONS.iter().filter(|relation| relation.kind != "f").flat_map(|relation| {
        relation.columns.iter().zip(1..).map(|(column, number)| ListedColumn {
            schema: relation.schema,
            table: relation.name,
            name: column.name,
            number,
            type_oid: type_named(column.type_name).map_or(0, |found| found.oid),
            modifier: -1,
            nullable: !column.required,
        })
    })
}

fn yes_or_no(yes: bool) -> Value {
    if yes { "YES" } else { "NO" }.into()
}

fn database(facts: &Facts) -> Value {
    facts.session.database.as_str().into()
}

fn fill_tables(facts: &Facts, rows: &mut Rows) {
    for relation in RELATIONS.iter().filter(|relation| relation.kind != "f") {
        let kind = if relation.kind == "r" { "BASE TABLE" } else { "VIEW" };
        push_table(facts, rows, [relation.schema, relation.name, kind]);
    }
    for found in &facts.listed {
        let kind = if found.object.is_materialized { "MATERIALIZED VIEW" } else { "BASE TABLE" };
        push_table(facts, rows, [&found.object.schema, &found.object.name, kind]);
    }
}

fn push_table(facts: &Facts, rows: &mut Rows, [schema, name, kind]: [&str; 3]) {
    rows.push([
        ("table_catalog", database(facts)),
        ("table_schema", schema.into()),
        ("table_name", name.into()),
        ("table_type", kind.into()),
        ("is_insertable_into", "NO".into()),
        ("is_typed", "NO".into()),
    ]);
}

fn fill_views(facts: &Facts, rows: &mut Rows) {
    for found in facts.listed.iter().filter(|found| found.object.is_materialized) {
        rows.push([
            ("table_catalog", database(facts)),
            ("table_schema", found.object.schema.as_str().into()),
            ("table_name", found.object.name.as_str().into()),
            ("view_definition", found.object.shown_definition().into()),
            ("check_option", "NONE".into()),
            ("is_updatable", "NO".into()),
            ("is_insertable_into", "NO".into()),
            ("is_trigger_updatable", "NO".into()),
            ("is_trigger_deletable", "NO".into()),
            ("is_trigger_insertable_into", "NO".into()),
        ]);
    }
}

fn fill_columns(facts: &Facts, rows: &mut Rows) {
    for column in system_columns().chain(facts.listed.iter().flat_map(columns_of)) {
        let Some(found) = type_of(column.type_oid) else { continue };
        let sizes = Sizes::of(found, column.modifier);
        rows.push([
            ("table_catalog", database(facts)),
            ("table_schema", column.schema.into()),
            ("table_name", column.table.into()),
            ("column_name", column.name.into()),
            ("ordinal_position", column.number.into()),
            ("is_nullable", yes_or_no(column.nullable)),
            ("data_type", data_type(found).into()),
            ("character_octet_length", sizes.octets.into()),
            ("numeric_precision", sizes.precision.into()),
            ("numeric_precision_radix", sizes.radix.into()),
            ("numeric_scale", sizes.scale.into()),
            ("datetime_precision", sizes.time.into()),
            ("udt_catalog", database(facts)),
            ("udt_schema", "pg_catalog".into()),
            ("udt_name", found.name.into()),
            ("dtd_identifier", column.number.to_string().into()),
            ("is_self_referencing", "NO".into()),
            ("is_identity", "NO".into()),
            ("identity_cycle", "NO".into()),
            ("is_generated", "NEVER".into()),
            ("is_updatable", "NO".into()),
        ]);
    }
}

/// Name of a type as the column `data_type` has it.
fn data_type(found: &PgType) -> String {
    if found.is_array() { "ARRAY".to_owned() } else { format_type(found.oid, None) }
}

/// Sizes of a type's values.
#[derive(Default)]
struct Sizes {
    octets: Option<i64>,
    precision: Option<i64>,
    radix: Option<i64>,
    scale: Option<i64>,
    time: Option<i64>,
}

impl Sizes {
    fn of(found: &PgType, modifier: i64) -> Sizes {
        let mut sizes = Sizes::default();
        match found.name {
            "text" | "varchar" | "bpchar" => sizes.octets = Some(1 << 30),
            "int2" | "int4" | "int8" => {
                sizes.precision = Some(i64::from(found.length) * 8);
                (sizes.radix, sizes.scale) = (Some(2), Some(0));
            }
            "float4" => (sizes.precision, sizes.radix) = (Some(24), Some(2)),
            "float8" => (sizes.precision, sizes.radix) = (Some(53), Some(2)),
            "numeric" => {
                sizes.radix = Some(10);
                if modifier >= 4 {
                    sizes.precision = Some(((modifier - 4) >> 16) & 0xffff);
                    sizes.scale = Some((modifier - 4) & 0x7ff);
                }
            }
            "date" => sizes.time = Some(0),
            "time" | "timetz" | "timestamp" | "timestamptz" | "interval" => sizes.time = Some(6),
            _ => {}
        }
        sizes
    }
}

fn fill_element_types(facts: &Facts, rows: &mut Rows) {
    for found in &facts.listed {
        for (field, number) in found.object.columns.fields().iter().zip(1..) {
            push_element(facts, rows, found, (field, number));
        }
    }
}

/// Appends the type of a column's items, if it has any.
fn push_element(facts: &Facts, rows: &mut Rows, found: &Listed, (field, number): (&Field, i64)) {
    let array = type_of(wire_type(field).oid).filter(|array| array.is_array());
    let Some(item) = array.and_then(|array| type_of(array.element)) else { return };
    rows.push([
        ("object_catalog", database(facts)),
        ("object_schema", found.object.schema.as_str().into()),
        ("object_name", found.object.name.as_str().into()),
        ("object_type", "TABLE".into()),
        ("collection_type_identifier", number.to_string().into()),
        ("data_type", data_type(item).into()),
        ("udt_catalog", database(facts)),
        ("udt_schema", "pg_catalog".into()),
        ("udt_name", item.name.into()),
        ("dtd_identifier", format!("a{number}").into()),
    ]);
}

fn fill_schemata(facts: &Facts, rows: &mut Rows) {
    for (name, _) in facts.namespaces() {
        rows.push([
            ("catalog_name", database(facts)),
            ("schema_name", name.into()),
            ("schema_owner", OWNER_NAME.into()),
        ]);
    }
}

fn fill_catalog_name(facts: &Facts, rows: &mut Rows) {
    rows.push([("catalog_name", database(facts))]);
}

fn fill_table_constraints(facts: &Facts, rows: &mut Rows) {
    for (found, key) in facts.keys() {
        rows.push([
            ("constraint_catalog", database(facts)),
            ("constraint_schema", found.object.schema.as_str().into()),
            ("constraint_name", key.name.as_str().into()),
            ("table_catalog", database(facts)),
            ("table_schema", found.object.schema.as_str().into()),
            ("table_name", found.object.name.as_str().into()),
            ("constraint_type", "PRIMARY KEY".into()),
            ("is_deferrable", "NO".into()),
            ("initially_deferred", "NO".into()),
            ("enforced", "YES".into()),
        ]);
    }
}

/// Names of a key's columns, in its order.
fn key_columns<'a>(found: &'a Listed, key: &'a ListedIndex) -> impl Iterator<Item = &'a str> {
    let fields = found.object.columns.fields();
    key.columns.iter().filter_map(|at| fields.get(*at)).map(|field| field.name().as_str())
}

fn fill_key_columns(facts: &Facts, rows: &mut Rows) {
    for (found, key) in facts.keys() {
        for (column, place) in key_columns(found, key).zip(1_i64..) {
            rows.push([
                ("constraint_catalog", database(facts)),
                ("constraint_schema", found.object.schema.as_str().into()),
                ("constraint_name", key.name.as_str().into()),
                ("table_catalog", database(facts)),
                ("table_schema", found.object.schema.as_str().into()),
                ("table_name", found.object.name.as_str().into()),
                ("column_name", column.into()),
                ("ordinal_position", place.into()),
            ]);
        }
    }
}

fn fill_constraint_columns(facts: &Facts, rows: &mut Rows) {
    for (found, key) in facts.keys() {
        for column in key_columns(found, key) {
            rows.push([
                ("table_catalog", database(facts)),
                ("table_schema", found.object.schema.as_str().into()),
                ("table_name", found.object.name.as_str().into()),
                ("column_name", column.into()),
                ("constraint_catalog", database(facts)),
                ("constraint_schema", found.object.schema.as_str().into()),
                ("constraint_name", key.name.as_str().into()),
            ]);
        }
    }
}

fn fill_constraint_tables(facts: &Facts, rows: &mut Rows) {
    for (found, key) in facts.keys() {
        rows.push([
            ("table_catalog", database(facts)),
            ("table_schema", found.object.schema.as_str().into()),
            ("table_name", found.object.name.as_str().into()),
            ("constraint_catalog", database(facts)),
            ("constraint_schema", found.object.schema.as_str().into()),
            ("constraint_name", key.name.as_str().into()),
        ]);
    }
}

fn fill_table_privileges(facts: &Facts, rows: &mut Rows) {
    for found in &facts.listed {
        for (role, _) in facts.roles() {
            rows.push([
                ("grantor", OWNER_NAME.into()),
                ("grantee", role.into()),
                ("table_catalog", database(facts)),
                ("table_schema", found.object.schema.as_str().into()),
                ("table_name", found.object.name.as_str().into()),
                ("privilege_type", "SELECT".into()),
                ("is_grantable", "NO".into()),
                ("with_hierarchy", "YES".into()),
            ]);
        }
    }
}

fn fill_column_privileges(facts: &Facts, rows: &mut Rows) {
    for column in facts.listed.iter().flat_map(columns_of) {
        for (role, _) in facts.roles() {
            rows.push([
                ("grantor", OWNER_NAME.into()),
                ("grantee", role.into()),
                ("table_catalog", database(facts)),
                ("table_schema", column.schema.into()),
                ("table_name", column.table.into()),
                ("column_name", column.name.into()),
                ("privilege_type", "SELECT".into()),
                ("is_grantable", "NO".into()),
            ]);
        }
    }
}

fn fill_character_sets(facts: &Facts, rows: &mut Rows) {
    rows.push([
        ("character_set_name", "UTF8".into()),
        ("character_repertoire", "UCS".into()),
        ("form_of_use", "UTF8".into()),
        ("default_collate_catalog", database(facts)),
    ]);
}

fn fill_collations(facts: &Facts, rows: &mut Rows) {
    for name in ["default", "C"] {
        rows.push([
            ("collation_catalog", database(facts)),
            ("collation_schema", "pg_catalog".into()),
            ("collation_name", name.into()),
            ("pad_attribute", "NO PAD".into()),
        ]);
    }
}

fn fill_enabled_roles(facts: &Facts, rows: &mut Rows) {
    rows.push([("role_name", facts.session.user.as_str().into())]);
}

fn fill_applicable_roles(facts: &Facts, rows: &mut Rows) {
    if facts.session.user != OWNER_NAME {
        let user = facts.session.user.as_str().into();
        rows.push([("grantee", user), ("role_name", OWNER_NAME.into()), ("is_grantable", "NO".into())]);
    }
}
