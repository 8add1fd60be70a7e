//! Records that are taken as they are, and values of views as metrics: every line is a row with ENCODE BYTES, text alone
//! with ENCODE TEXT, and `/metrics` has a bounded number of series of a view.

use std::fs;
use std::time::{Duration, Instant};

use crate::child::{self, Herald};
use crate::servers;

const PATIENCE: Duration = Duration::from_secs(60);

const TOPOLOGY: &str = "
CREATE SOURCE raw (body BYTEA, doc JSONB AS (try_jsonb(body))) INCLUDE offset AS line
WITH (connector = 'file', path = 'lines', follow = 'true') FORMAT PLAIN ENCODE BYTES;
CREATE SOURCE texts (body VARCHAR, CONSTRAINT short CHECK (length(body) < 20)) INCLUDE offset AS line
WITH (connector = 'file', path = 'lines', follow = 'true') FORMAT PLAIN ENCODE TEXT;
CREATE MATERIALIZED VIEW bodies AS
SELECT line, encode(body, 'hex') AS hex, doc ->> 'a' AS a FROM raw WHERE line < 5;
CREATE MATERIALIZED VIEW kept AS SELECT line, body FROM texts WHERE line < 5;
CREATE MATERIALIZED VIEW counted WITH (metrics = 'n, share') AS
SELECT doc ->> 'id' AS id, count(*) AS n, max(CAST(doc ->> 'share' AS DOUBLE)) AS share
FROM raw WHERE doc ->> 'id' IS NOT NULL GROUP BY 1;
CREATE MATERIALIZED VIEW total WITH (metrics = 'n') AS SELECT count(*) AS n FROM raw;
";

#[test]
fn every_line_is_a_row_and_views_are_metrics() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("raw.sql"), TOPOLOGY).expect("a topology");
    let mut lines = b"{\"a\": 1}\n{\"a\": \nnot \xc3\xa9 JSON\n\xff\xfe\nlonger than twenty bytes\n".to_vec();
    for id in 0..600 {
        lines.extend_from_slice(format!("{{\"id\": \"i\\\"{id}\", \"share\": 0.5}}\n").as_bytes());
    }
    fs::write(dir.path().join("lines"), lines).expect("records");
    let listen = servers::free_address();
    let args = ["run", "raw.sql", "--state", "state", "--listen", &listen];
    let herald = Herald::start(dir.path(), &args, &[]);
    let url = format!("http://{listen}");
    let began = Instant::now();
    let metrics = loop {
        let text =
            servers::http("GET", &format!("{url}/metrics"), None).map(|(_, text)| text).unwrap_or_default();
        if text.contains("herald_view_value{topology=\"raw\",view=\"total\",column=\"n\"} 605\n") {
            break text;
        }
        assert!(began.elapsed() < PATIENCE, "{text}\n{}", herald.said());
        std::thread::sleep(Duration::from_millis(100));
    };
    let ask = |sql: &str| {
        child::succeed(dir.path(), &["query", sql, "--url", &url, "--format", "csv"], &[], PATIENCE).stdout
    };
    assert_eq!(
        ask("SELECT line, hex, a FROM bodies ORDER BY line"),
        "line,hex,a\n0,7b2261223a20317d,1\n1,7b2261223a,\n2,6e6f7420c3a9204a534f4e,\n3,fffe,\n\
         4,6c6f6e676572207468616e207477656e7479206279746573,\n"
    );
    assert_eq!(
        ask("SELECT line, body FROM kept ORDER BY line"),
        "line,body\n0,\"{\"\"a\"\": 1}\"\n1,\"{\"\"a\"\":\"\n2,not é JSON\n"
    );
    assert_eq!(
        ask(
            "SELECT outcome, \"constraint\", message FROM herald.dead_letter WHERE \"offset\" < 5 ORDER BY \"offset\""
        ),
        "outcome,constraint,message\ndecode,,the value is not UTF-8\n\
         constraint,short,CHECK (length(body) < 20) is false\n"
    );
    // Two numbers a row, so 500 rows of 600: a thousand series, and a hundred rows without.
    let series: Vec<&str> =
        metrics.lines().filter(|line| line.contains("view=\"counted\",column=")).collect();
    assert_eq!(series.len(), 1000, "{}", herald.said());
    let counts =
        series.iter().filter(|line| line.contains("column=\"n\",id=\"i\\\"") && line.ends_with("} 1"));
    assert_eq!(counts.count(), 500, "{}", series[0]);
    assert!(metrics.contains("herald_view_left_out_rows{topology=\"raw\",view=\"counted\"} 100\n"));
    assert!(metrics.contains("herald_view_left_out_rows{topology=\"raw\",view=\"total\"} 0\n"));
}
