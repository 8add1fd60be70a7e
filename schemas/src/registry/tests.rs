//! The mapping of a registry's answers to errors, tested with a server that gives prepared answers.

use std::io::{Read, Write};
use std::net::TcpListener;

use super::*;

/// A server that answers each request by its path: a part of the request, the status, the body.
fn serve(answers: &'static [(&'static str, u16, &'static str)]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = vec![0; 65_536];
            let read = stream.read(&mut request).unwrap_or(0);
            let request = String::from_utf8_lossy(&request[..read]).into_owned();
            let (status, body) = answers
                .iter()
                .find(|(part, _, _)| request.contains(part))
                .map_or((404, "<html>"), |(_, status, body)| (*status, *body));
            let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close", body.len());
            let _ = write!(stream, "{head}\r\n\r\n{body}");
        }
    });
    format!("http://{address}")
}

fn registry(url: &str) -> Registry {
    Registry::new(url, &BTreeMap::new()).unwrap()
}

#[test]
fn answers_and_what_they_mean() {
    let registry = registry(&serve(&[
        ("GET /schemas/ids/1?", 200, r#"{"schema":"\"string\""}"#),
        ("GET /schemas/ids/2?", 404, r#"{"error_code":40403,"message":"Schema 2 not found"}"#),
        ("GET /schemas/ids/3?", 500, r#"{"error_code":50001,"message":"store"}"#),
        ("GET /schemas/ids/4?", 401, r#"{"error_code":401,"message":"who are you"}"#),
        ("GET /schemas/ids/5?", 200, r#"{"schema":"{}","schemaType":"JSON"}"#),
        (
            "GET /subjects/t-value/versions/latest",
            200,
            r#"{"subject":"t-value","version":3,"id":7,"schema":"\"long\""}"#,
        ),
        ("GET /subjects/none/versions/latest", 404, r#"{"error_code":40401,"message":"Subject not found"}"#),
        (
            "POST /subjects/t-value/versions",
            409,
            r#"{"error_code":409,"message":"incompatible: READER_FIELD_MISSING"}"#,
        ),
        ("POST /subjects/u-value/versions", 200, r#"{"id":12}"#),
    ]));
    assert_eq!(registry.by_id(1).unwrap(), "\"string\"");
    assert!(matches!(registry.by_id(2), Err(SchemaError::NotFound(_))));
    assert!(matches!(registry.by_id(3), Err(SchemaError::RegistryDown { .. })));
    assert!(matches!(registry.by_id(4), Err(SchemaError::RegistryRefused { .. })));
    assert!(matches!(registry.by_id(5), Err(SchemaError::BadSchema(_))));
    // A server that is no registry also answers 404; that must not reject a record.
    assert!(matches!(registry.by_id(6), Err(SchemaError::RegistryDown { .. })));
    assert_eq!(registry.latest("t-value").unwrap(), (7, "\"long\"".to_string()));
    assert!(matches!(registry.latest("none"), Err(SchemaError::NotFound(_))));
    assert_eq!(registry.register("u-value", "\"long\"").unwrap(), 12);
    let refusal = registry.register("t-value", "\"long\"").unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "the schema registry refuses the schema of subject \"t-value\": incompatible: READER_FIELD_MISSING"
    );
}

#[test]
fn references_are_written_in() {
    let registry = registry(&serve(&[
        (
            "GET /schemas/ids/1?",
            200,
            r#"{"schema":"{\"type\":\"record\",\"name\":\"M\",\"namespace\":\"n\",\"fields\":[{\"name\":\"p\",\"type\":\"P\"},{\"name\":\"q\",\"type\":[\"null\",\"n.P\"]}]}",
               "references":[{"name":"n.P","subject":"p","version":1}]}"#,
        ),
        (
            "GET /subjects/p/versions/1",
            200,
            r#"{"subject":"p","version":1,"id":2,"schema":"{\"type\":\"record\",\"name\":\"P\",\"namespace\":\"n\",\"fields\":[{\"name\":\"e\",\"type\":\"n.E\"}]}",
               "references":[{"name":"n.E","subject":"e","version":4}]}"#,
        ),
        (
            "GET /subjects/e/versions/4",
            200,
            r#"{"subject":"e","version":4,"id":3,"schema":"{\"type\":\"enum\",\"name\":\"n.E\",\"symbols\":[\"A\"]}"}"#,
        ),
    ]));
    let columns = crate::columns_of_avro(&registry.by_id(1).unwrap()).unwrap();
    let spelt: Vec<String> = columns.fields().iter().map(|f| crate::sql_type(f)).collect();
    assert_eq!(spelt, ["STRUCT<e VARCHAR>", "STRUCT<e VARCHAR>"]);
}

#[test]
fn mistakes_in_the_address_and_secrets() {
    let option = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    assert!(matches!(Registry::new("", &option(&[])), Err(SchemaError::Config { .. })));
    assert!(matches!(Registry::new("localhost:8081", &option(&[])), Err(SchemaError::Config { .. })));
    assert!(Registry::new("http://a", &option(&[(PASSWORD, "p")])).is_err());
    assert!(Registry::new("http://a", &option(&[(USERNAME, "u"), (TOKEN, "t")])).is_err());
    let secret = Registry::new("http://u:hush@a:1/x,http://b/", &option(&[(TOKEN, "hush")])).unwrap();
    assert_eq!(secret.shown(), "http://a:1/x,http://b");
    assert!(!format!("{secret:?}").contains("hush"));
}

#[test]
fn in_memory_keeps_ids() {
    let registry = Registry::in_memory();
    let id = registry.register("a", "\"long\"").unwrap();
    assert_eq!(registry.register("b", "\"long\"").unwrap(), id);
    assert_ne!(registry.register("a", "\"int\"").unwrap(), id);
    assert_eq!(registry.latest("b").unwrap(), (id, "\"long\"".to_string()));
    assert!(matches!(registry.register("a", "{"), Err(SchemaError::RegistryRefused { .. })));
    assert!(matches!(registry.by_id(0), Err(SchemaError::NotFound(_))));
}

/// The HTTP client has a runtime of its own, which must not run inside the caller's.
#[test]
fn calls_from_async_code_are_safe() {
    let url = serve(&[("GET /schemas/ids/1?", 200, r#"{"schema":"\"string\""}"#)]);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let registry = registry(&url);
        assert!(registry.by_id(1).is_ok());
        drop(registry);
    });
}

#[test]
fn subjects_are_compared_and_have_levels() {
    let registry = registry(&serve(&[
        (
            "POST /subjects/t-value HTTP",
            200,
            r#"{"subject":"t-value","version":1,"id":7,"schema":"\"long\""}"#,
        ),
        ("POST /subjects/u-value HTTP", 404, r#"{"error_code":40403,"message":"Schema not found"}"#),
        ("POST /subjects/v-value HTTP", 422, r#"{"error_code":42201,"message":"Invalid schema"}"#),
        (
            "POST /compatibility/subjects/t-value/versions?verbose=true ",
            200,
            r#"{"is_compatible":false,"messages":["READER_FIELD_MISSING_DEFAULT_VALUE at /fields/2"]}"#,
        ),
        ("POST /compatibility/subjects/u-value/", 200, r#"{"is_compatible":true}"#),
        ("POST /compatibility/subjects/new-value/", 404, r#"{"error_code":40401,"message":"none"}"#),
        ("GET /config/t-value ", 200, r#"{"compatibilityLevel":"full"}"#),
        ("GET /config/u-value ", 404, r#"{"error_code":40408,"message":"no level of its own"}"#),
        ("PUT /config/a%2Fb%20c ", 200, r#"{"compatibility":"FULL"}"#),
        ("PUT /config/u-value ", 403, r#"{"error_code":403,"message":"read only"}"#),
    ]));
    assert!(registry.is_registered("t-value", "\"long\"").unwrap());
    assert!(!registry.is_registered("u-value", "\"long\"").unwrap());
    assert!(matches!(registry.is_registered("v-value", "long"), Err(SchemaError::RegistryRefused { .. })));
    assert!(matches!(registry.is_registered("w-value", "long"), Err(SchemaError::RegistryDown { .. })));
    let why = registry.incompatibilities("t-value", "\"long\"").unwrap();
    assert_eq!(why, ["READER_FIELD_MISSING_DEFAULT_VALUE at /fields/2"]);
    assert!(registry.incompatibilities("u-value", "\"long\"").unwrap().is_empty());
    assert!(registry.incompatibilities("new-value", "\"long\"").unwrap().is_empty());
    assert_eq!(registry.compatibility("t-value").unwrap().as_deref(), Some("FULL"));
    assert_eq!(registry.compatibility("u-value").unwrap(), None);
    registry.set_compatibility("a/b c", "FULL").unwrap();
    let refused = registry.set_compatibility("u-value", "FULL").unwrap_err().to_string();
    assert!(refused.ends_with("refuses the compatibility of subject \"u-value\": read only"), "{refused}");
}
