//! Subjects of a registry: their versions, tests of new schemas, and levels of compatibility.
//!
//! These are requests that the registry's client lacks. Errors are told apart as everywhere in the registry. An
//! in-memory registry has no levels: it takes every schema, and keeps none that is set.

use reqwest::Method;
use reqwest::blocking::{Client, RequestBuilder};
use schema_registry_converter::blocking::schema_registry::{get_all_versions, get_referenced_schema};
use schema_registry_converter::error::SRCError;
use schema_registry_converter::schema_registry_common::{RegisteredReference, SchemaType};
use serde_json::{Value, json};

use super::{Inner, REQUEST_TIMEOUT, Registry, config_error, run_on_thread, tls};
use crate::error::SchemaError;

/// Type of the bodies of requests and answers.
const CONTENT_TYPE: &str = "application/vnd.schemaregistry.v1+json";

/// Credentials of a registry.
pub(super) enum Login {
    None,
    Basic(String, Option<String>),
    Token(String),
}

/// The addresses of a registry, asked in turn until one answers, and a client for them.
pub(super) struct Api {
    urls: Vec<String>,
    client: Client,
    login: Login,
}

impl Api {
    /// A client for the registry at `urls`.
    pub fn new(urls: &[&str], login: Login, tls: rustls::ClientConfig) -> Result<Api, SchemaError> {
        let builder = Client::builder().tls_backend_preconfigured(tls).timeout(REQUEST_TIMEOUT);
        let built = run_on_thread(|| builder.build().map_err(|error| failed(&error)));
        let client = built.map_err(|error| config_error("schema.registry", error.error))?;
        Ok(Api { urls: urls.iter().map(|url| (*url).to_owned()).collect(), client, login })
    }

    /// Sends a request to the first address that answers: the status and the body.
    fn send(&self, method: &Method, path: &str, body: Option<&Value>) -> Result<(u16, String), SRCError> {
        let mut last = SRCError::new("there is no address", None, false);
        for url in &self.urls {
            let mut request = self.client.request(method.clone(), format!("{url}/{path}"));
            if let Some(body) = body {
                request = request.header("content-type", CONTENT_TYPE).body(body.to_string());
            }
            let answer = self.with_login(request.header("accept", CONTENT_TYPE)).send();
            match answer.and_then(|answer| Ok((answer.status().as_u16(), answer.text()?))) {
                Ok(answer) => return Ok(answer),
                Err(error) => last = failed(&error),
            }
        }
        Err(last)
    }

    fn with_login(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.login {
            Login::None => request,
            Login::Basic(user, password) => request.basic_auth(user, password.as_ref()),
            Login::Token(token) => request.bearer_auth(token),
        }
    }
}

/// The failure of a request in the words of its deepest cause, without the address, which may hold credentials.
fn failed(error: &reqwest::Error) -> SRCError {
    if let Some(refusal) = tls::certificate_refusal(error) {
        return SRCError::new(&refusal, None, true);
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    let said = if error.is_timeout() { "it took too long".to_owned() } else { cause.to_string() };
    SRCError::new(&said, None, true)
}

impl Registry {
    /// Tells whether a schema is registered under a subject.
    ///
    /// # Errors
    /// Fails when the registry does not answer, or refuses.
    pub fn is_registered(&self, subject: &str, schema_json: &str) -> Result<bool, SchemaError> {
        if let Inner::Memory(schemas) = &*self.0 {
            let schemas = schemas.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            return Ok(schemas.iter().any(|(held, under)| held == schema_json && under.contains(subject)));
        }
        let path = format!("subjects/{}", escaped(subject));
        let body = json!({ "schema": schema_json });
        match self.ask(&format!("subject \"{subject}\""), (Method::POST, &path), Some(&body)) {
            Ok(_) => Ok(true),
            Err(SchemaError::NotFound(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Reasons for which the registry would refuse a schema under a subject as it is; none if it would take it.
    ///
    /// # Errors
    /// Fails when the registry does not answer, or cannot read the schema.
    pub fn incompatibilities(&self, subject: &str, schema_json: &str) -> Result<Vec<String>, SchemaError> {
        let path = format!("compatibility/subjects/{}/versions?verbose=true", escaped(subject));
        let body = json!({ "schema": schema_json });
        let what = format!("the schema of subject \"{subject}\"");
        let answer = match self.ask(&what, (Method::POST, &path), Some(&body)) {
            // A subject without a version compares with nothing.
            Err(SchemaError::NotFound(_)) => return Ok(Vec::new()),
            answer => answer?,
        };
        if answer["is_compatible"].as_bool().unwrap_or(true) {
            return Ok(Vec::new());
        }
        let messages = answer["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
        let told = messages.iter().filter_map(Value::as_str).map(str::to_owned);
        let mut told: Vec<String> = told.filter(|message| !message.is_empty()).collect();
        if told.is_empty() {
            told.push("it is not compatible with the versions before it".to_owned());
        }
        Ok(told)
    }

    /// The level of compatibility of a subject, in capitals; None if it has none of its own.
    ///
    /// # Errors
    /// Fails when the registry does not answer, or refuses.
    pub fn compatibility(&self, subject: &str) -> Result<Option<String>, SchemaError> {
        let what = format!("the compatibility of subject \"{subject}\"");
        let answer = match self.ask(&what, (Method::GET, &format!("config/{}", escaped(subject))), None) {
            Err(SchemaError::NotFound(_)) => return Ok(None),
            answer => answer?,
        };
        Ok(answer["compatibilityLevel"].as_str().map(str::to_uppercase))
    }

    /// The level that a subject is held to, in capitals: its own, or the registry's. None if it tells none.
    ///
    /// # Errors
    /// Fails when the registry does not answer, or refuses.
    pub fn level_in_force(&self, subject: &str) -> Result<Option<String>, SchemaError> {
        if let Some(level) = self.compatibility(subject)? {
            return Ok(Some(level));
        }
        let answer = self.ask("the compatibility of all subjects", (Method::GET, "config"), None)?;
        Ok(answer["compatibilityLevel"].as_str().map(str::to_uppercase))
    }

    /// Returns the numbers of a subject's versions, the oldest first.
    ///
    /// # Errors
    /// Fails with [`SchemaError::NotFound`] if the registry does not have the subject.
    pub fn versions(&self, subject: &str) -> Result<Vec<u32>, SchemaError> {
        let what = format!("subject \"{subject}\"");
        match &*self.0 {
            Inner::Remote { settings, .. } => {
                let mut versions =
                    self.call_remote(&what, || get_all_versions(settings, subject.to_string()))?;
                versions.sort_unstable();
                Ok(versions)
            }
            Inner::Memory(_) => self.latest(subject).map(|_| vec![1]),
        }
    }

    /// Returns the text of a version of a subject: of Avro with the schemas it refers to, of other languages as it was
    /// registered.
    ///
    /// # Errors
    /// Fails with [`SchemaError::NotFound`] if the registry does not have it.
    pub fn by_version(&self, subject: &str, version: u32) -> Result<String, SchemaError> {
        let what = format!("version {version} of subject \"{subject}\"");
        match &*self.0 {
            Inner::Remote { settings, .. } => {
                // The client has no other way to make a reference.
                let wanted = json!({"name": subject, "subject": subject, "version": version});
                let wanted: RegisteredReference = serde_json::from_value(wanted)
                    .map_err(|error| SchemaError::BadSchema(error.to_string()))?;
                let schema = self.call_remote(&what, || get_referenced_schema(settings, &wanted))?;
                if schema.schema_type != SchemaType::Avro {
                    return Ok(schema.schema);
                }
                self.resolve_references(settings, schema, what)
            }
            Inner::Memory(_) => self.latest(subject).map(|(_, schema)| schema),
        }
    }

    /// Sets the level of compatibility of a subject, which need not have a schema yet.
    ///
    /// # Errors
    /// Fails when the registry does not answer, or refuses.
    pub fn set_compatibility(&self, subject: &str, level: &str) -> Result<(), SchemaError> {
        let what = format!("the compatibility of subject \"{subject}\"");
        let body = json!({ "compatibility": level });
        self.ask(&what, (Method::PUT, &format!("config/{}", escaped(subject))), Some(&body)).map(drop)
    }

    /// Sends a request, and reads its answer as JSON: null of an in-memory registry.
    fn ask(
        &self,
        what: &str,
        (method, path): (Method, &str),
        body: Option<&Value>,
    ) -> Result<Value, SchemaError> {
        let Inner::Remote { api, .. } = &*self.0 else { return Ok(Value::Null) };
        let sent = run_on_thread(|| api.send(&method, path, body));
        let (status, text) = sent.map_err(|error| self.remedy_of((None, 0), what.to_owned(), error.error))?;
        let answer: Value = serde_json::from_str(&text).unwrap_or_default();
        if (200..300).contains(&status) {
            return Ok(answer);
        }
        let code = answer["error_code"].as_u64().and_then(|code| u32::try_from(code).ok()).unwrap_or(0);
        let message = match answer["message"].as_str() {
            Some(message) if code != 0 => message.to_owned(),
            _ => format!("HTTP request failed with status {status}"),
        };
        Err(self.remedy_of((Some(status), code), what.to_owned(), message))
    }
}

/// A subject's name within a path: all but letters, digits, `-`, `_` and `.` as `%` and their bytes.
fn escaped(subject: &str) -> String {
    let mut path = String::with_capacity(subject.len());
    for byte in subject.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.".contains(&byte) {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("%{byte:02X}"));
        }
    }
    path
}
