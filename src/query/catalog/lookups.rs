//! Functions that look an object of the catalogue up: names of OIDs, definitions, comments, privileges.

use datafusion::error::Result;

use super::call::{ANY, Call, Entry, entry, failed, lax};
use super::facts::{Class, Facts, Listed, ListedIndex};
use super::relations::Value;
use super::types::{format_type, function_of, function_oid, parse_type_name, type_of};
use super::values::quote_name;

/// Name of the function that gives the name of what an OID stands for.
pub(super) const REFERENCE_NAME: &str = "pg_reference_name";
/// Name of the function that gives the names of an array of OIDs.
pub(super) const REFERENCE_NAMES: &str = "pg_reference_names";
/// Name of the function that gives no array of OIDs: NULL of its type.
pub(super) const NO_OIDS: &str = "pg_no_oids";
/// Beginning of the names of the functions that stand for casts, as `pg_as_regclass`.
pub(super) const CAST: &str = "pg_as_";

/// Privileges that everybody has on what the catalogue lists: it can be read.
const GRANTED: [&str; 8] = ["select", "usage", "connect", "execute", "member", "set", "temp", "temporary"];

/// The functions of this module.
pub(super) const ENTRIES: &[Entry] = &[
    lax("format_type", [2, 2], "text", format_type_of),
    lax("pg_get_expr", [2, 3], "text", first_text),
    entry("pg_get_userbyid", [1, 1], "name", user_by_id),
    entry("pg_table_is_visible", [1, 1], "bool", class_is_visible),
    entry("pg_type_is_visible", [1, 1], "bool", type_is_visible),
    entry("pg_function_is_visible", [1, 1], "bool", function_is_visible),
    entry("pg_collation_is_visible", [1, 1], "bool", yes),
    entry("pg_operator_is_visible", [1, 1], "bool", yes),
    entry("pg_opclass_is_visible", [1, 1], "bool", yes),
    entry("pg_opfamily_is_visible", [1, 1], "bool", yes),
    entry("pg_conversion_is_visible", [1, 1], "bool", yes),
    entry("pg_statistics_obj_is_visible", [1, 1], "bool", yes),
    entry("pg_ts_config_is_visible", [1, 1], "bool", yes),
    entry("pg_ts_dict_is_visible", [1, 1], "bool", yes),
    entry("pg_ts_parser_is_visible", [1, 1], "bool", yes),
    entry("pg_ts_template_is_visible", [1, 1], "bool", yes),
    entry("pg_get_indexdef", [1, 3], "text", index_definition_of),
    entry("pg_get_constraintdef", [1, 2], "text", constraint_definition),
    entry("pg_get_viewdef", [1, 2], "text", view_definition),
    entry("pg_get_ruledef", [1, 2], "text", nothing),
    entry("pg_get_triggerdef", [1, 2], "text", nothing),
    entry("pg_get_functiondef", [1, 1], "text", nothing),
    entry("pg_get_function_arguments", [1, 1], "text", function_arguments),
    entry("pg_get_function_identity_arguments", [1, 1], "text", function_arguments),
    entry("pg_get_function_result", [1, 1], "text", function_result),
    entry("pg_get_function_sqlbody", [1, 1], "text", nothing),
    entry("pg_get_serial_sequence", [2, 2], "text", nothing),
    entry("pg_get_partkeydef", [1, 1], "text", nothing),
    entry("pg_get_partition_constraintdef", [1, 1], "text", nothing),
    entry("pg_get_statisticsobjdef", [1, 1], "text", nothing),
    entry("pg_get_statisticsobjdef_columns", [1, 1], "text", nothing),
    entry("obj_description", [1, 2], "text", object_description),
    entry("col_description", [2, 2], "text", nothing),
    entry("shobj_description", [2, 2], "text", nothing),
    entry("to_regclass", [1, 1], "regclass", to_class),
    entry("to_regtype", [1, 1], "regtype", to_type),
    entry("to_regproc", [1, 1], "regproc", to_function),
    entry("to_regprocedure", [1, 1], "regprocedure", to_function),
    entry("to_regnamespace", [1, 1], "regnamespace", to_namespace),
    entry("to_regrole", [1, 1], "regrole", to_role),
    entry(NO_OIDS, [0, 0], "_oid", nothing),
    entry("pg_as_oid", [1, 1], "oid", as_number),
    entry("pg_as_xid", [1, 1], "xid", as_number),
    entry("pg_as_regclass", [1, 1], "regclass", as_class),
    entry("pg_as_regtype", [1, 1], "regtype", as_type),
    entry("pg_as_regproc", [1, 1], "regproc", as_function),
    entry("pg_as_regprocedure", [1, 1], "regprocedure", as_function),
    entry("pg_as_regnamespace", [1, 1], "regnamespace", as_namespace),
    entry("pg_as_regrole", [1, 1], "regrole", as_role),
    entry("pg_as_name", [1, 1], "name", as_text),
    entry("pg_as_char", [1, 1], "char", as_char),
    entry(REFERENCE_NAME, [2, 2], "text", reference_name_of),
    entry(REFERENCE_NAMES, [2, 2], "_text", reference_names_of),
    entry("has_table_privilege", [2, 3], "bool", has_privilege),
    entry("has_any_column_privilege", [2, 3], "bool", has_privilege),
    entry("has_column_privilege", [3, 4], "bool", has_privilege),
    entry("has_schema_privilege", [2, 3], "bool", has_privilege),
    entry("has_database_privilege", [2, 3], "bool", has_privilege),
    entry("has_function_privilege", [2, 3], "bool", has_privilege),
    entry("has_language_privilege", [2, 3], "bool", has_privilege),
    entry("has_sequence_privilege", [2, 3], "bool", has_privilege),
    entry("has_type_privilege", [2, 3], "bool", has_privilege),
    entry("has_tablespace_privilege", [2, 3], "bool", has_privilege),
    entry("has_server_privilege", [2, 3], "bool", has_privilege),
    entry("has_foreign_data_wrapper_privilege", [2, 3], "bool", has_privilege),
    entry("has_parameter_privilege", [2, 3], "bool", has_privilege),
    entry("pg_has_role", [2, 3], "bool", has_privilege),
    entry("row_security_active", [1, 1], "bool", no),
    entry("pg_relation_is_publishable", [1, 1], "bool", no),
    entry("pg_relation_is_updatable", [2, 2], "int4", zero),
    entry("pg_column_is_updatable", [3, 3], "bool", no),
    entry("pg_relation_size", [1, 2], "int8", zero),
    entry("pg_table_size", [1, 1], "int8", zero),
    entry("pg_total_relation_size", [1, 1], "int8", zero),
    entry("pg_indexes_size", [1, 1], "int8", zero),
    entry("pg_database_size", [1, 1], "int8", zero),
    entry("pg_tablespace_size", [1, 1], "int8", zero),
    entry("pg_tablespace_location", [1, 1], "text", empty),
    entry("pg_relation_filenode", [1, 1], "oid", nothing),
    entry("pg_relation_filepath", [1, 1], "text", nothing),
    entry("pg_stat_get_numscans", [1, 1], "int8", zero),
    entry("pg_stat_get_live_tuples", [1, 1], "int8", zero),
    entry("pg_stat_get_dead_tuples", [1, 1], "int8", zero),
    entry("pg_stat_get_last_vacuum_time", [1, 1], "timestamptz", nothing),
    entry("pg_stat_get_last_analyze_time", [1, 1], "timestamptz", nothing),
    entry("pg_index_column_has_property", [3, 3], "bool", index_property),
    entry("pg_index_has_property", [2, 2], "bool", no),
    entry("pg_indexam_has_property", [2, 2], "bool", no),
    entry("age", [1, 1], "int4", transaction_age),
    lax("pg_describe_object", [3, ANY], "text", nothing),
];

fn nothing(_: &Call<'_>) -> Result<Value> {
    Ok(Value::Null)
}

fn yes(_: &Call<'_>) -> Result<Value> {
    Ok(Value::Bool(true))
}

fn no(_: &Call<'_>) -> Result<Value> {
    Ok(Value::Bool(false))
}

fn zero(_: &Call<'_>) -> Result<Value> {
    Ok(Value::Int(0))
}

/// The age of a transaction's number. That of a time is another function, which Herald does not have.
fn transaction_age(call: &Call<'_>) -> Result<Value> {
    match call.int(0) {
        Some(_) => Ok(Value::Int(0)),
        None => Err(failed("age() is of transactions only: subtract times from one another".to_owned())),
    }
}

fn empty(_: &Call<'_>) -> Result<Value> {
    Ok("".into())
}

/// The first argument: expressions are kept as their text.
fn first_text(call: &Call<'_>) -> Result<Value> {
    Ok(call.text(0).into())
}

/// The type with an OID.
fn oid_of(call: &Call<'_>, at: usize) -> Option<u32> {
    call.int(at).and_then(|oid| u32::try_from(oid).ok())
}

fn format_type_of(call: &Call<'_>) -> Result<Value> {
    if call.values.first().is_none_or(datafusion::scalar::ScalarValue::is_null) {
        return Ok(Value::Null);
    }
    Ok(oid_of(call, 0).map(|oid| format_type(oid, call.int(1))).into())
}

fn user_by_id(call: &Call<'_>) -> Result<Value> {
    let oid = oid_of(call, 0).unwrap_or_default();
    Ok(match role_name(call.facts, oid) {
        Some(name) => name.into(),
        None => format!("unknown (OID={oid})").into(),
    })
}

fn role_name(facts: &Facts, oid: u32) -> Option<&str> {
    facts.roles().into_iter().find(|(_, known)| *known == oid).map(|(name, _)| name)
}

fn class_is_visible(call: &Call<'_>) -> Result<Value> {
    Ok(call.int(0).and_then(|oid| call.facts.is_visible(oid)).into())
}

fn type_is_visible(call: &Call<'_>) -> Result<Value> {
    Ok(oid_of(call, 0).and_then(type_of).map(|_| true).into())
}

fn function_is_visible(call: &Call<'_>) -> Result<Value> {
    Ok(call.int(0).and_then(function_of).map(|_| true).into())
}

/// The relation or index that an argument names, by OID or by name.
fn class_of<'a>(call: &Call<'a>, at: usize) -> Option<Class<'a>> {
    let oid = match call.int(at) {
        Some(oid) => oid,
        None => i64::from(call.facts.class_named(call.text(at)?)?),
    };
    call.facts.class(oid)
}

/// Names of an index' columns as SQL writes them.
fn index_columns(found: &Listed, index: &ListedIndex) -> Vec<String> {
    let fields = found.object.columns.fields();
    index.columns.iter().filter_map(|at| fields.get(*at)).map(|field| quote_name(field.name())).collect()
}

/// Statement that would create an index.
pub(super) fn index_definition(found: &Listed, index: &ListedIndex) -> String {
    let table = format!("{}.{}", quote_name(&found.object.schema), quote_name(&found.object.name));
    index_definition_on(&table, found, index)
}

fn index_definition_on(table: &str, found: &Listed, index: &ListedIndex) -> String {
    let unique = if index.is_key() { "UNIQUE " } else { "" };
    let (name, columns) = (quote_name(&index.name), index_columns(found, index).join(", "));
    format!("CREATE {unique}INDEX {name} ON {table} USING btree ({columns})")
}

fn index_definition_of(call: &Call<'_>) -> Result<Value> {
    let Some(Class::Index(found, index)) = class_of(call, 0) else { return Ok(Value::Null) };
    let column = call.int(1).unwrap_or_default();
    Ok(match usize::try_from(column) {
        Ok(0) if call.bool(2) == Some(true) => {
            index_definition_on(&quote_name(&found.object.name), found, index).into()
        }
        Ok(0) => index_definition(found, index).into(),
        Ok(place) => index_columns(found, index).into_iter().nth(place - 1).into(),
        Err(_) => Value::Null,
    })
}

fn constraint_definition(call: &Call<'_>) -> Result<Value> {
    let found = call.int(0).and_then(|oid| call.facts.constraint(oid));
    Ok(found.map(|(found, key)| format!("PRIMARY KEY ({})", index_columns(found, key).join(", "))).into())
}

fn view_definition(call: &Call<'_>) -> Result<Value> {
    let Some(Class::Object(found)) = class_of(call, 0) else { return Ok(Value::Null) };
    Ok(found.object.shown_definition().into())
}

fn function_arguments(call: &Call<'_>) -> Result<Value> {
    let function = call.int(0).and_then(function_of);
    let types = function.map(|function| {
        let types = function.arguments.iter().filter_map(|oid| u32::try_from(*oid).ok());
        types.map(|oid| format_type(oid, None)).collect::<Vec<_>>().join(", ")
    });
    Ok(types.into())
}

fn function_result(call: &Call<'_>) -> Result<Value> {
    let function = call.int(0).and_then(function_of);
    Ok(function
        .map(|function| {
            let result = format_type(function.result, None);
            if function.returns_set { format!("SETOF {result}") } else { result }
        })
        .into())
}

fn object_description(call: &Call<'_>) -> Result<Value> {
    let is_class = call.text(1).is_none_or(|catalogue| catalogue == "pg_class");
    match call.int(0).and_then(|oid| call.facts.class(oid)) {
        Some(Class::Object(found)) if is_class => Ok(found.object.comment.as_deref().into()),
        _ => Ok(Value::Null),
    }
}

fn to_class(call: &Call<'_>) -> Result<Value> {
    Ok(call.text(0).and_then(|name| call.facts.class_named(name)).into())
}

fn to_type(call: &Call<'_>) -> Result<Value> {
    Ok(call.text(0).and_then(parse_type_name).into())
}

fn to_function(call: &Call<'_>) -> Result<Value> {
    Ok(call.text(0).map(find_function).filter(|oid| *oid != 0).into())
}

/// OID of a function by its name, with or without schema and arguments; 0 without one.
fn find_function(text: &str) -> i64 {
    let name = text.split('(').next().unwrap_or_default().trim();
    function_oid(name.strip_prefix("pg_catalog.").unwrap_or(name))
}

fn to_namespace(call: &Call<'_>) -> Result<Value> {
    Ok(call.text(0).map(|name| call.facts.namespace(unquote(name))).filter(|oid| *oid != 0).into())
}

fn to_role(call: &Call<'_>) -> Result<Value> {
    Ok(call.text(0).and_then(|name| find_role(call.facts, name)).into())
}

fn find_role(facts: &Facts, name: &str) -> Option<u32> {
    facts.roles().into_iter().find(|(known, _)| *known == unquote(name)).map(|(_, oid)| oid)
}

/// A name without its double quotes.
fn unquote(name: &str) -> &str {
    name.trim().trim_matches('"')
}

fn as_number(call: &Call<'_>) -> Result<Value> {
    match (call.int(0), call.text(0)) {
        (Some(number), _) => Ok(number.into()),
        (None, Some(text)) => Err(failed(format!("invalid input syntax for type oid: \"{text}\""))),
        (None, None) => Ok(Value::Null),
    }
}

/// The value of a cast to a reference: a number stays, `-` is none, and a name is looked up.
fn as_reference(call: &Call<'_>, kind: &str, find: fn(&Facts, &str) -> Option<i64>) -> Result<Value> {
    if let Some(number) = call.int(0) {
        return Ok(number.into());
    }
    match call.text(0) {
        None => Ok(Value::Null),
        Some("-") => Ok(Value::Int(0)),
        Some(name) => match find(call.facts, name) {
            Some(oid) => Ok(oid.into()),
            None => Err(failed(format!("{kind} \"{name}\" does not exist"))),
        },
    }
}

fn as_class(call: &Call<'_>) -> Result<Value> {
    as_reference(call, "relation", |facts, name| facts.class_named(name).map(i64::from))
}

fn as_type(call: &Call<'_>) -> Result<Value> {
    as_reference(call, "type", |_, name| parse_type_name(name).map(i64::from))
}

fn as_function(call: &Call<'_>) -> Result<Value> {
    as_reference(call, "function", |_, name| Some(find_function(name)).filter(|oid| *oid != 0))
}

fn as_namespace(call: &Call<'_>) -> Result<Value> {
    as_reference(call, "schema", |facts, name| {
        Some(i64::from(facts.namespace(unquote(name)))).filter(|oid| *oid != 0)
    })
}

fn as_role(call: &Call<'_>) -> Result<Value> {
    as_reference(call, "role", |facts, name| find_role(facts, name).map(i64::from))
}

fn as_text(call: &Call<'_>) -> Result<Value> {
    Ok(call.text(0).map_or_else(|| call.int(0).map(|number| number.to_string()).into(), Value::from))
}

fn as_char(call: &Call<'_>) -> Result<Value> {
    Ok(call.text(0).map(|text| text.chars().take(1).collect::<String>()).into())
}

fn reference_name_of(call: &Call<'_>) -> Result<Value> {
    let (Some(kind), Some(oid)) = (call.text(0), call.int(1)) else {
        // A name that no cast made a number.
        return Ok(call.text(1).into());
    };
    Ok(reference_name(call.facts, kind, oid).into())
}

fn reference_names_of(call: &Call<'_>) -> Result<Value> {
    let (Some(kind), Some(items)) = (call.text(0), call.items(1)?) else { return Ok(Value::Null) };
    let mut names = Vec::with_capacity(items.len());
    for item in &items {
        let one = Call { values: std::slice::from_ref(item), ..*call };
        names.push(match one.int(0) {
            Some(oid) => Some(reference_name(call.facts, kind, oid)),
            None => one.text(0).map(str::to_owned),
        });
    }
    Ok(Value::Texts(names))
}

/// Name of what an OID stands for, as PostgreSQL prints a `regclass` and its like; the number if it is
/// unknown.
fn reference_name(facts: &Facts, kind: &str, oid: i64) -> String {
    let Ok(number) = u32::try_from(oid) else { return oid.to_string() };
    let name = match kind {
        _ if number == 0 => Some("-".to_owned()),
        "regclass" => facts.class(oid).map(|class| class_text(facts, &class, oid)),
        "regtype" => type_of(number).map(|_| format_type(number, None)),
        "regproc" | "regprocedure" => function_of(oid).map(|function| function.name.to_owned()),
        "regnamespace" => facts
            .namespaces()
            .into_iter()
            .find(|(_, known)| *known == number)
            .map(|(name, _)| quote_name(name)),
        "regrole" => role_name(facts, number).map(quote_name),
        _ => None,
    };
    name.unwrap_or_else(|| oid.to_string())
}

/// Name of a relation, with its schema unless it is found without.
fn class_text(facts: &Facts, class: &Class<'_>, oid: i64) -> String {
    let (schema, name) = facts.class_name(class);
    if facts.is_visible(oid) == Some(true) {
        quote_name(name)
    } else {
        format!("{}.{}", quote_name(schema), quote_name(name))
    }
}

/// Tells whether one of the privileges of a list is granted: what the catalogue lists can be read, not
/// changed.
fn has_privilege(call: &Call<'_>) -> Result<Value> {
    let last = call.values.len().saturating_sub(1);
    let wanted = call.text(last).unwrap_or_default().to_lowercase();
    Ok(wanted.split(',').any(|one| GRANTED.contains(&one.trim())).into())
}

fn index_property(call: &Call<'_>) -> Result<Value> {
    let property = call.text(2).unwrap_or_default();
    Ok(matches!(property, "asc" | "nulls_last" | "orderable" | "returnable").into())
}
