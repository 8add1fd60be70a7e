//! The schema registry: lookup of schemas by id, registration of schemas.
//!
//! Errors are separated by the caller's remedy: a registry that does not answer as one
//! ([`SchemaError::RegistryDown`], try again), one that refuses ([`SchemaError::RegistryRefused`])
//! and one that lacks the schema ([`SchemaError::NotFound`], only with the registry's own error
//! code: a wrong address also answers 404). Schemas that refer to others are returned with the
//! references resolved. Credentials never appear in a message. An in-memory registry is used by
//! tests and the demo.

use std::collections::{BTreeMap, HashSet};
use std::error::Error;
use std::fmt;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::blocking::Client;
use schema_registry_converter::blocking::schema_registry::{
    SrSettings, get_referenced_schema, get_schema_by_id, get_schema_by_subject, post_schema,
};
use schema_registry_converter::error::SRCError;
use schema_registry_converter::schema_registry_common::{
    RawError, RegisteredSchema, SchemaType, SubjectNameStrategy, SuppliedSchema,
};
use serde_json::Value;

use crate::error::SchemaError;
use circuit::Circuit;
use subjects::{Api, Login};

/// The timeout of a request to the registry.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// The number of references, direct and indirect, that are resolved for a schema.
const MAX_REFERENCES: usize = 256;

const USERNAME: &str = "schema.registry.username";
const PASSWORD: &str = "schema.registry.password";
const TOKEN: &str = "schema.registry.token";

/// A connection to a schema registry. Cheap to clone.
#[derive(Clone)]
pub struct Registry(Arc<Inner>);

enum Inner {
    Remote {
        /// The address without credentials.
        shown: String,
        settings: SrSettings,
        /// Requests that the client does not have.
        api: Api,
        circuit: Arc<Circuit>,
    },
    /// Schemas by id, starting at 1, with the subjects they were registered under.
    Memory(Mutex<Vec<(String, HashSet<String>)>>),
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Registry").field(&self.shown()).finish()
    }
}

impl Registry {
    /// Connects to a registry at `url` (several may be given, separated by commas). Of the options,
    /// `schema.registry.username`, `.password` and `.token` are used; others are ignored.
    pub fn new(url: &str, options: &BTreeMap<String, String>) -> Result<Registry, SchemaError> {
        let urls: Vec<&str> =
            url.split(',').map(|u| u.trim().trim_end_matches('/')).filter(|u| !u.is_empty()).collect();
        let Some((first, others)) = urls.split_first() else {
            let message = "is empty; write the registry's address, as http://host:8081".to_string();
            return Err(config_error("schema.registry", message));
        };
        if let Some(odd) = urls.iter().find(|u| !u.starts_with("http://") && !u.starts_with("https://")) {
            let message = format!("\"{}\" is no address; write http://host:8081", redact_credentials(odd));
            return Err(config_error("schema.registry", message));
        }
        let mut builder = SrSettings::new_builder(first.to_string());
        for url in others {
            builder.add_url(url.to_string());
        }
        let login = match (options.get(USERNAME), options.get(PASSWORD), options.get(TOKEN)) {
            (Some(user), password, None) => {
                builder.set_basic_authorization(user, password.map(String::as_str));
                Login::Basic(user.clone(), password.cloned())
            }
            (None, None, Some(token)) => {
                builder.set_token_authorization(token);
                Login::Token(token.clone())
            }
            (None, None, None) => Login::None,
            (None, Some(_), _) => {
                return Err(config_error(PASSWORD, format!("needs {USERNAME} beside it")));
            }
            (_, _, Some(_)) => {
                return Err(config_error(TOKEN, format!("cannot stand beside {USERNAME}; choose one")));
            }
        };
        builder.set_timeout(REQUEST_TIMEOUT);
        let tls = tls::client_tls().map_err(|error| config_error("schema.registry", error.to_string()))?;
        let client = Client::builder().tls_backend_preconfigured(tls.clone());
        let api = Api::new(&urls, login, tls)?;
        let settings = match run_on_thread(move || builder.build_with(client)) {
            Ok(settings) => settings,
            Err(error) => {
                return Err(config_error("schema.registry", error.cause.unwrap_or(error.error)));
            }
        };
        let shown = urls.iter().copied().map(redact_credentials).collect::<Vec<_>>().join(",");
        let circuit = Circuit::of_service(&shown);
        Ok(Registry(Arc::new(Inner::Remote { shown, settings, api, circuit })))
    }

    /// Creates an empty registry in this process, which accepts any schema that parses.
    pub fn in_memory() -> Registry {
        Registry(Arc::new(Inner::Memory(Mutex::default())))
    }

    /// Returns the address without credentials.
    pub fn shown(&self) -> &str {
        match &*self.0 {
            Inner::Remote { shown, .. } => shown,
            Inner::Memory(_) => "memory",
        }
    }

    /// Registers a schema under a subject and returns its id; the same schema has the same id.
    pub fn register(&self, subject: &str, schema_json: &str) -> Result<u32, SchemaError> {
        let what = format!("the schema of subject \"{subject}\"");
        match &*self.0 {
            Inner::Remote { settings, .. } => {
                let schema = SuppliedSchema::new(None, SchemaType::Avro, schema_json.to_string());
                let subject = subject.to_string();
                let registered = self.call_remote(&what, || post_schema(settings, subject, schema))?;
                Ok(registered.id)
            }
            Inner::Memory(schemas) => {
                if let Err(error) = apache_avro::Schema::parse_str(schema_json) {
                    return Err(SchemaError::RegistryRefused { what, message: error.to_string() });
                }
                let mut schemas = schemas.lock().unwrap_or_else(PoisonError::into_inner);
                let held = schemas.iter().position(|(schema, _)| schema == schema_json);
                let place = match held {
                    Some(place) => place,
                    None => {
                        schemas.push((schema_json.to_string(), HashSet::new()));
                        schemas.len() - 1
                    }
                };
                schemas[place].1.insert(subject.to_string());
                Ok(place as u32 + 1)
            }
        }
    }

    /// Returns the latest schema of a subject and its id.
    pub fn latest(&self, subject: &str) -> Result<(u32, String), SchemaError> {
        let what = format!("subject \"{subject}\"");
        match &*self.0 {
            Inner::Remote { settings, .. } => {
                let strategy = SubjectNameStrategy::RecordNameStrategy(subject.to_string());
                let schema = self.call_remote(&what, || get_schema_by_subject(settings, &strategy))?;
                Ok((schema.id, self.resolve_references(settings, schema, what)?))
            }
            Inner::Memory(schemas) => {
                let schemas = schemas.lock().unwrap_or_else(PoisonError::into_inner);
                let place = schemas.iter().rposition(|(_, subjects)| subjects.contains(subject));
                let place = place.ok_or(SchemaError::NotFound(what))?;
                Ok((place as u32 + 1, schemas[place].0.clone()))
            }
        }
    }

    /// Returns the schema with an id.
    pub fn by_id(&self, id: u32) -> Result<String, SchemaError> {
        let what = format!("schema id {id}");
        match &*self.0 {
            Inner::Remote { settings, .. } => {
                let schema = self.call_remote(&what, || get_schema_by_id(id, settings))?;
                self.resolve_references(settings, schema, what)
            }
            Inner::Memory(schemas) => {
                let schemas = schemas.lock().unwrap_or_else(PoisonError::into_inner);
                let place = (id as usize).checked_sub(1);
                match place.and_then(|place| schemas.get(place)) {
                    Some((schema, _)) => Ok(schema.clone()),
                    None => Err(SchemaError::NotFound(what)),
                }
            }
        }
    }

    /// Returns the schema with an id; waits for a registry that does not answer until `cancel` is set.
    ///
    /// # Errors
    /// Fails with [`SchemaError::Cancelled`], or with the registry's answer about the id.
    pub fn await_by_id(&self, id: u32, cancel: &AtomicBool) -> Result<String, SchemaError> {
        self.call_through_circuit(cancel, Duration::MAX, || self.by_id(id))
    }

    /// Registers a schema; waits up to `timeout` for a registry that does not answer.
    ///
    /// # Errors
    /// Fails as [`Registry::register`] does.
    pub fn await_register(&self, subject: &str, schema: &str, timeout: Duration) -> Result<u32, SchemaError> {
        let never = AtomicBool::new(false);
        // A refusal is an answer and is not retried.
        let asked = self.call_through_circuit(&never, timeout, || match self.register(subject, schema) {
            Err(refused @ SchemaError::RegistryRefused { .. }) => Ok(Err(refused)),
            answer => answer.map(Ok),
        });
        asked?
    }

    /// Makes a call through the circuit of a remote registry.
    fn call_through_circuit<T>(
        &self,
        cancel: &AtomicBool,
        timeout: Duration,
        call: impl Fn() -> Result<T, SchemaError>,
    ) -> Result<T, SchemaError> {
        match &*self.0 {
            Inner::Remote { circuit, .. } => circuit.call(cancel, timeout, call),
            Inner::Memory(_) => call(),
        }
    }

    /// Makes a call of the client about `what`, and explains its error.
    fn call_remote<T: Send>(
        &self,
        what: &str,
        call: impl FnOnce() -> Result<T, SRCError> + Send,
    ) -> Result<T, SchemaError> {
        run_on_thread(call).map_err(|error| self.explain_error(error, what.to_string()))
    }

    /// Returns the text of a schema with the schemas it refers to inlined.
    fn resolve_references(
        &self,
        settings: &SrSettings,
        schema: RegisteredSchema,
        what: String,
    ) -> Result<String, SchemaError> {
        if schema.schema_type != SchemaType::Avro {
            let message = format!("{what} is of type {:?}, not Avro", schema.schema_type);
            return Err(SchemaError::BadSchema(message));
        }
        if schema.references.is_empty() {
            return Ok(schema.schema);
        }
        let mut definitions = BTreeMap::new();
        let mut wanted = schema.references.clone();
        while let Some(reference) = wanted.pop() {
            if definitions.contains_key(&reference.name) || definitions.len() >= MAX_REFERENCES {
                continue;
            }
            let referred = self.call_remote(&what, || get_referenced_schema(settings, &reference))?;
            wanted.extend(referred.references);
            definitions.insert(reference.name, parse_json(&referred.schema)?);
        }
        let mut whole = parse_json(&schema.schema)?;
        let mut written = HashSet::new();
        write_in(&mut whole, None, &definitions, &mut written);
        Ok(whole.to_string())
    }

    /// Maps an error of the client to the caller's remedy, by status and the registry's error code.
    fn explain_error(&self, error: SRCError, what: String) -> SchemaError {
        let words = error.source().and_then(|source| source.downcast_ref::<RawError>());
        let status = failed_status(&error.error);
        let message = match (words, &error.cause) {
            (Some(words), _) if words.error_code != 0 => words.message.clone(),
            (None, Some(cause)) => {
                tls::certificate_refusal(&error).unwrap_or_else(|| format!("{}: {cause}", error.error))
            }
            _ => error.error.clone(),
        };
        self.remedy_of((status, words.map_or(0, |words| words.error_code)), what, message)
    }

    /// The error of a request that failed with a status and the registry's error code.
    fn remedy_of(&self, (status, code): (Option<u16>, u32), what: String, message: String) -> SchemaError {
        match (status, code) {
            (Some(404), 404 | 40401..=40499) => SchemaError::NotFound(what),
            (Some(400..=403 | 409 | 422), _) => SchemaError::RegistryRefused { what, message },
            _ => SchemaError::RegistryDown { url: self.shown().to_string(), message },
        }
    }
}

/// Runs a blocking HTTP call on a thread of its own: the client must not run on a thread that
/// belongs to an async runtime, and the caller's thread may be one.
fn run_on_thread<T: Send>(call: impl FnOnce() -> Result<T, SRCError> + Send) -> Result<T, SRCError> {
    match std::thread::scope(|scope| scope.spawn(call).join()) {
        Ok(answer) => answer,
        Err(_) => Err(SRCError::new("the HTTP client failed", None, true)),
    }
}

/// The error of an option that cannot be used.
fn config_error(option: &str, message: String) -> SchemaError {
    SchemaError::Config { option: option.into(), message }
}

/// The HTTP status in the client's message about a failed request.
fn failed_status(message: &str) -> Option<u16> {
    let (_, rest) = message.split_once("failed with status ")?;
    rest.split(' ').next()?.parse().ok()
}

fn parse_json(text: &str) -> Result<Value, SchemaError> {
    serde_json::from_str(text).map_err(|error| SchemaError::BadSchema(error.to_string()))
}

/// Replaces the first occurrence of each referenced type's name by its definition.
fn write_in(
    value: &mut Value,
    namespace: Option<&str>,
    definitions: &BTreeMap<String, Value>,
    written: &mut HashSet<String>,
) {
    match value {
        Value::String(name) => {
            let full = match namespace {
                Some(space) if !name.contains('.') => format!("{space}.{name}"),
                _ => name.clone(),
            };
            let held = [full, name.clone()].into_iter().find(|name| definitions.contains_key(name));
            if let Some(full) = held
                && written.insert(full.clone())
            {
                let mut definition = definitions[&full].clone();
                write_in(&mut definition, None, definitions, written);
                *value = definition;
            }
        }
        Value::Array(variants) => {
            for variant in variants {
                write_in(variant, namespace, definitions, written);
            }
        }
        Value::Object(object) => {
            let named = object.get("name").and_then(Value::as_str);
            let own = match named.and_then(|name| name.rsplit_once('.')) {
                Some((space, _)) => Some(space.to_string()),
                None => object.get("namespace").and_then(Value::as_str).map(str::to_string),
            };
            let namespace = own.as_deref().or(namespace);
            for part in ["type", "items", "values"] {
                if let Some(inner) = object.get_mut(part) {
                    write_in(inner, namespace, definitions, written);
                }
            }
            if let Some(Value::Array(fields)) = object.get_mut("fields") {
                for field in fields {
                    if let Some(inner) = field.get_mut("type") {
                        write_in(inner, namespace, definitions, written);
                    }
                }
            }
        }
        _ => {}
    }
}

/// Removes user and password from an address.
fn redact_credentials(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            format!("{scheme}://{}{path}", after_credentials(host))
        }
        None => after_credentials(url).to_string(),
    }
}

/// The part of a host after its credentials.
fn after_credentials(host: &str) -> &str {
    match host.rsplit_once('@') {
        Some((_, host)) => host,
        None => host,
    }
}

pub(crate) mod backoff;
pub mod circuit;
mod subjects;
#[cfg(test)]
mod tests;
pub(crate) mod tls;
