//! Exports to a store with S3's API, a server of its own (moto): the files, manifests and readers of `parquet.rs`, without
//! and with kills. `make stores` runs them.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::exports::Export;
use crate::parquet::{STREAM_EXPORTS, assert_stream, kill_at_random, run_once, stream};
use crate::servers;

/// Sends the exports of a directory's topology to a bucket of their own, and returns them with their paths there.
fn move_to_bucket(dir: &Path, bucket: &str) -> Vec<(String, Export<'static>)> {
    let address = &servers::store().0;
    let made = servers::http("PUT", &format!("http://{address}/{bucket}"), None).expect("the store answers");
    assert_eq!(made.0, 200, "{}", made.1);
    let store = format!(
        "connector = 'parquet', endpoint = 'http://{address}', region = 'us-east-1', access_key_id = 'test', \
         secret_access_key = '${{STORE_SECRET:-test}}',"
    );
    let path = dir.join("t.sql");
    let text = fs::read_to_string(&path).expect("the topology");
    let text = text
        .replace("connector = 'parquet',", &store)
        .replace("'exports/", &format!("'s3://{bucket}/exports/"));
    fs::write(path, text).expect("the topology");
    STREAM_EXPORTS.iter().map(|export| (format!("s3://{bucket}/{}", export.path), *export)).collect()
}

/// Asserts that the store holds the rows of the stream once each, by all readers.
fn assert_stored(dir: &Path, rows: u64, moved: &[(String, Export<'static>)]) {
    let (address, httpfs) = servers::store();
    let exports: Vec<Export<'_>> = moved.iter().map(|(path, export)| Export { path, ..*export }).collect();
    assert_stream(dir, rows, &exports, &json!({"s3": address, "httpfs": httpfs}));
}

#[test]
fn a_store_holds_what_a_directory_would() {
    let rows = 12_000;
    let dir = stream(rows);
    let moved = move_to_bucket(dir.path(), "whole");
    run_once(dir.path(), &["--epoch-interval", "20ms"]);
    assert_stored(dir.path(), rows, &moved);
}

#[test]
fn kills_leave_every_row_in_the_store_once() {
    let rows = 12_000;
    let dir = stream(rows);
    let moved = move_to_bucket(dir.path(), "killed");
    kill_at_random(dir.path(), 6);
    run_once(dir.path(), &[]);
    assert_stored(dir.path(), rows, &moved);
}
