//! The session in the catalogue: settings, user, database and server, as functions tell them.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use datafusion::error::Result;

use super::call::{Call, Entry, entry, failed, lax};
use super::facts::{Facts, SessionValues, SettingChange, split_name};
use super::relations::Value;

/// Version of PostgreSQL whose catalogue this is, which clients choose their statements by.
pub const SERVER_VERSION: &str = concat!("16.4 (Herald ", env!("CARGO_PKG_VERSION"), ")");
/// The same version as a number.
pub const SERVER_VERSION_NUM: &str = "160004";

/// Settings and their defaults, with the names as PostgreSQL spells them.
pub(super) const DEFAULT_SETTINGS: [(&str, &str); 47] = [
    ("application_name", ""),
    ("backslash_quote", "safe_encoding"),
    ("block_size", "8192"),
    ("bytea_output", "hex"),
    ("client_encoding", "UTF8"),
    ("client_min_messages", "notice"),
    ("DateStyle", "ISO, MDY"),
    ("default_table_access_method", "heap"),
    ("default_tablespace", ""),
    ("default_transaction_deferrable", "off"),
    ("default_transaction_isolation", "repeatable read"),
    ("default_transaction_read_only", "on"),
    ("escape_string_warning", "on"),
    ("extra_float_digits", "1"),
    ("idle_in_transaction_session_timeout", "0"),
    ("in_hot_standby", "off"),
    ("integer_datetimes", "on"),
    ("IntervalStyle", "postgres"),
    ("is_superuser", "off"),
    ("jit", "off"),
    ("lc_collate", "C"),
    ("lc_ctype", "C.UTF-8"),
    ("lc_messages", "C"),
    ("lc_monetary", "C"),
    ("lc_numeric", "C"),
    ("lc_time", "C"),
    ("lock_timeout", "0"),
    ("max_connections", "100"),
    ("max_identifier_length", "63"),
    ("max_index_keys", "32"),
    ("password_encryption", "scram-sha-256"),
    ("port", "5432"),
    ("row_security", "on"),
    ("search_path", "\"$user\", public"),
    ("server_encoding", "UTF8"),
    ("server_version", SERVER_VERSION),
    ("server_version_num", SERVER_VERSION_NUM),
    ("session_authorization", ""),
    ("standard_conforming_strings", "on"),
    ("statement_timeout", "0"),
    ("synchronous_commit", "on"),
    ("synchronize_seqscans", "on"),
    ("TimeZone", "UTC"),
    ("transaction_deferrable", "off"),
    ("transaction_isolation", "repeatable read"),
    ("transaction_read_only", "on"),
    ("wal_level", "replica"),
];

/// The functions of this module.
pub(super) const ENTRIES: &[Entry] = &[
    entry("version", [0, 0], "text", version),
    entry("current_database", [0, 0], "name", current_database),
    entry("current_catalog", [0, 0], "name", current_database),
    entry("current_schema", [0, 0], "name", current_schema),
    entry("current_schemas", [1, 1], "_name", current_schemas),
    entry("current_user", [0, 0], "name", current_user),
    entry("current_role", [0, 0], "name", current_user),
    entry("session_user", [0, 0], "name", current_user),
    entry("user", [0, 0], "name", current_user),
    entry("current_query", [0, 0], "text", nothing),
    entry("current_setting", [1, 2], "text", current_setting),
    lax("set_config", [3, 3], "text", set_config),
    entry("pg_backend_pid", [0, 0], "int4", backend_pid),
    entry("inet_client_addr", [0, 0], "text", client_address),
    entry("inet_client_port", [0, 0], "int4", nothing),
    entry("inet_server_addr", [0, 0], "text", nothing),
    entry("inet_server_port", [0, 0], "int4", server_port),
    entry("pg_postmaster_start_time", [0, 0], "timestamptz", started),
    entry("pg_conf_load_time", [0, 0], "timestamptz", started),
    // There are no locks of a session's own.
    entry("pg_advisory_unlock_all", [0, 0], "text", nothing),
    entry("pg_is_in_recovery", [0, 0], "bool", no),
    entry("pg_is_wal_replay_paused", [0, 0], "bool", no),
    entry("pg_jit_available", [0, 0], "bool", no),
    entry("pg_export_snapshot", [0, 0], "text", snapshot),
    entry("pg_current_snapshot", [0, 0], "text", current_snapshot),
    entry("txid_current_snapshot", [0, 0], "text", current_snapshot),
    entry("txid_current", [0, 0], "int8", transaction),
    entry("pg_current_xact_id", [0, 0], "int8", transaction),
    entry("txid_current_if_assigned", [0, 0], "int8", nothing),
    entry("pg_current_xact_id_if_assigned", [0, 0], "int8", nothing),
    entry("pg_current_wal_lsn", [0, 0], "text", log_position),
    entry("pg_last_wal_receive_lsn", [0, 0], "text", nothing),
    entry("pg_last_wal_replay_lsn", [0, 0], "text", nothing),
    entry("pg_last_xact_replay_timestamp", [0, 0], "timestamptz", nothing),
    entry("pg_my_temp_schema", [0, 0], "oid", zero),
    entry("pg_is_other_temp_schema", [1, 1], "bool", no),
    entry("pg_client_encoding", [0, 0], "name", encoding),
    entry("getdatabaseencoding", [0, 0], "name", encoding),
    entry("pg_encoding_to_char", [1, 1], "name", encoding_name),
    entry("pg_char_to_encoding", [1, 1], "int4", encoding_number),
    entry("pg_trigger_depth", [0, 0], "int4", zero),
    entry("pg_blocking_pids", [1, 1], "_int4", nobody),
    entry("pg_notification_queue_usage", [0, 0], "float8", zero),
];

fn nothing(_: &Call<'_>) -> Result<Value> {
    Ok(Value::Null)
}

fn no(_: &Call<'_>) -> Result<Value> {
    Ok(Value::Bool(false))
}

fn zero(_: &Call<'_>) -> Result<Value> {
    Ok(Value::Int(0))
}

fn nobody(_: &Call<'_>) -> Result<Value> {
    Ok(Value::Ints(Vec::new()))
}

/// Version as clients read it: they look for `PostgreSQL` and a number at its start.
fn version(call: &Call<'_>) -> Result<Value> {
    Ok(setting(&call.facts.session, "server_version").map(|version| format!("PostgreSQL {version}")).into())
}

fn current_database(call: &Call<'_>) -> Result<Value> {
    Ok(call.facts.session.database.as_str().into())
}

fn current_user(call: &Call<'_>) -> Result<Value> {
    Ok(call.facts.session.user.as_str().into())
}

/// The schemas of the search path that there are. No user has a schema: names without one are those of
/// `pg_catalog` and `public`.
fn search_path(facts: &Facts) -> Vec<String> {
    let path = setting(&facts.session, "search_path").unwrap_or_default();
    let mut found = Vec::new();
    for part in path.split(',') {
        let name = split_name(part).filter(|parts| parts.len() == 1).and_then(|mut parts| parts.pop());
        found.extend(name.filter(|name| facts.namespace(name) != 0));
    }
    found
}

fn current_schema(call: &Call<'_>) -> Result<Value> {
    Ok(search_path(call.facts).into_iter().next().into())
}

fn current_schemas(call: &Call<'_>) -> Result<Value> {
    let mut found = search_path(call.facts);
    if call.bool(0) == Some(true) && !found.iter().any(|name| name == "pg_catalog") {
        found.insert(0, "pg_catalog".to_owned());
    }
    Ok(found.into())
}

/// Value of a setting, by its name in any case.
fn setting(session: &SessionValues, name: &str) -> Option<String> {
    if let Some(value) = session.settings.get(&name.to_lowercase()) {
        return Some(value.clone());
    }
    let (known, default) = DEFAULT_SETTINGS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name))?;
    Some(match *known {
        "application_name" => session.application_name.clone(),
        "session_authorization" => session.user.clone(),
        _ => (*default).to_owned(),
    })
}

/// All settings, sorted by name: name, value and default.
pub(super) fn settings_of(session: &SessionValues) -> Vec<(String, String, String)> {
    let mut found = BTreeMap::new();
    for (name, default) in DEFAULT_SETTINGS {
        let value = setting(session, name).unwrap_or_default();
        found.insert(name.to_lowercase(), (name.to_owned(), value, default.to_owned()));
    }
    for (name, value) in &session.settings {
        found.entry(name.clone()).or_insert_with(|| (name.clone(), value.clone(), value.clone()));
    }
    found.into_values().collect()
}

fn current_setting(call: &Call<'_>) -> Result<Value> {
    let name = call.text(0).unwrap_or_default();
    match (setting(&call.facts.session, name), call.bool(1)) {
        (Some(value), _) => Ok(value.into()),
        (None, Some(true)) => Ok(Value::Null),
        (None, _) => Err(failed(format!("unrecognized configuration parameter \"{name}\""))),
    }
}

/// Notes a change of a setting for the session, which takes it after the statement.
fn set_config(call: &Call<'_>) -> Result<Value> {
    let Some(name) = call.text(0) else {
        return Err(failed("SET requires parameter name".to_owned()));
    };
    let value = call.text(1).unwrap_or_default();
    let is_local = call.bool(2) == Some(true);
    let change = SettingChange { name: name.to_owned(), value: value.to_owned(), is_local };
    call.facts.changes.lock().unwrap_or_else(PoisonError::into_inner).push(change);
    Ok(value.into())
}

fn backend_pid(call: &Call<'_>) -> Result<Value> {
    Ok(i64::from(call.facts.session.process_id).into())
}

fn client_address(call: &Call<'_>) -> Result<Value> {
    Ok(call.facts.session.client_address.as_deref().into())
}

fn server_port(call: &Call<'_>) -> Result<Value> {
    Ok(setting(&call.facts.session, "port").and_then(|port| port.parse::<i64>().ok()).into())
}

fn started(call: &Call<'_>) -> Result<Value> {
    Ok(call.facts.session.started_us.into())
}

/// Name of a snapshot: all sessions of an epoch see the same one.
fn snapshot(_: &Call<'_>) -> Result<Value> {
    Ok("00000001-00000001-1".into())
}

fn current_snapshot(_: &Call<'_>) -> Result<Value> {
    Ok("1:1:".into())
}

fn transaction(_: &Call<'_>) -> Result<Value> {
    Ok(Value::Int(1))
}

fn log_position(_: &Call<'_>) -> Result<Value> {
    Ok("0/0".into())
}

fn encoding(_: &Call<'_>) -> Result<Value> {
    Ok("UTF8".into())
}

fn encoding_name(call: &Call<'_>) -> Result<Value> {
    Ok(if call.int(0) == Some(6) { "UTF8" } else { "" }.into())
}

fn encoding_number(call: &Call<'_>) -> Result<Value> {
    let is_utf8 = call.text(0).is_some_and(|name| matches!(name.to_lowercase().as_str(), "utf8" | "utf-8"));
    Ok(Value::Int(if is_utf8 { 6 } else { -1 }))
}
