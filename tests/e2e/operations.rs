//! Operations on a state: backup while in use, restore, verification, repair, and going back in time; also
//! the errors for deleted records and missing tokens, and starts that are refused.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, StringArray};
use arrow::datatypes::DataType;
use schemas::{Blobs, RowCodec, Rows, stored_key};
use serde_json::Value;
use state::{Commit, Counts, StateTableKind, Store, StoreOptions, Writes};

use crate::child::{self, Ended, Herald};
use crate::{broker, input, servers};

const PATIENCE: Duration = Duration::from_secs(60);
const ADMIN: &str = "administers-only";
const READER: &str = "reads-and-no-more";

const SCORES: &str = "
CREATE TABLE scores (player VARCHAR, points BIGINT, team VARCHAR, PRIMARY KEY (player)) ON CONFLICT OVERWRITE
WITH (connector = 'kafka', topic = 'PREFIX.scores', properties.bootstrap.server = '${KAFKA_BOOTSTRAP}')
FORMAT PLAIN ENCODE JSON;
CREATE MATERIALIZED VIEW teams AS SELECT team, count(*) AS players, sum(points) AS points FROM scores GROUP BY team;
CREATE SINK teams_out FROM teams
WITH (connector = 'kafka', topic = '${OUT}', properties.bootstrap.server = '${KAFKA_BOOTSTRAP}', primary_key = 'team')
FORMAT UPSERT ENCODE JSON;
";

struct Place {
    prefix: &'static str,
    dir: tempfile::TempDir,
}

impl Place {
    fn new(prefix: &'static str) -> Place {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("scores.sql"), SCORES.replace("PREFIX", prefix)).expect("a file");
        broker::shared().create_topic(&format!("{prefix}.scores"), 1);
        Place { prefix, dir }
    }

    fn feed(&self, records: &[&str]) {
        broker::shared()
            .produce(&format!("{}.scores", self.prefix), records.iter().map(|r| ("k", r.as_bytes())));
    }

    fn out(&self) -> String {
        format!("{}.teams", self.prefix)
    }

    fn env<'a>(&self, out: &'a str) -> [(&'a str, &'a str); 4] {
        [
            ("KAFKA_BOOTSTRAP", servers::kafka()),
            ("OUT", out),
            ("HERALD_ADMIN_TOKEN", ADMIN),
            ("HERALD_READ_TOKEN", READER),
        ]
    }

    fn herald(&self, out: &str, args: &[&str]) -> Ended {
        child::herald(self.dir.path(), args, &self.env(out), PATIENCE)
    }

    fn once(&self, args: &[&str]) -> Ended {
        let mut all = vec!["run", "scores.sql", "--once", "--listen", "off"];
        all.extend(args);
        self.herald(&self.out(), &all)
    }
}

fn ok(ended: &Ended) {
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.stdout, ended.stderr);
}

fn teams(topic: &str) -> Vec<String> {
    let rows = input::upserted(topic, input::Encode::Json);
    let whole = |value: &Value| value.as_f64().unwrap_or(f64::NAN) as i64;
    rows.iter()
        .map(|row| format!("{} {} {}", row["team"], whole(&row["players"]), whole(&row["points"])))
        .collect()
}

fn ready(herald: &Herald, listen: &str) {
    let started = Instant::now();
    while servers::http("GET", &format!("http://{listen}/readyz"), None).map(|(status, _)| status).ok()
        != Some(200)
    {
        assert!(started.elapsed() < PATIENCE, "not ready:\n{}", herald.said());
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_state_is_copied_put_back_and_checked() {
    let place = Place::new("operations");
    let (out, path) = (place.out(), place.dir.path());
    place.feed(&[r#"{"player":"a","points":3,"team":"red"}"#, r#"{"player":"b","points":4,"team":"blue"}"#]);
    ok(&place.once(&["--name", "operations"]));

    // A backup by the running process itself.
    let listen = servers::free_address();
    let args = ["run", "scores.sql", "--name", "operations", "--listen", &listen];
    let running = Herald::start(path, &args, &place.env(&out));
    ready(&running, &listen);
    let locked = place.herald(&out, &["state", "backup", ".herald/operations", "--to", "copy"]);
    assert_eq!(locked.code, Some(2), "{}", locked.stderr);
    assert!(locked.stderr.contains("--url"), "{}", locked.stderr);
    let copy = path.join("copy");
    let copied =
        place.herald(&out, &["state", "backup", "--url", &listen, "--to", copy.to_str().expect("text")]);
    ok(&copied);
    assert_eq!(copied.stdout.split(" was").next(), Some("Epoch 1"), "{}", copied.stdout);
    place.feed(&[r#"{"player":"a","points":9,"team":"blue"}"#]);
    let started = Instant::now();
    while teams(&out) != [r#""blue" 2 13"#] {
        assert!(started.elapsed() < PATIENCE, "{:?}\n{}", teams(&out), running.said());
        std::thread::sleep(Duration::from_millis(50));
    }
    ok(&running.terminate(PATIENCE));

    let checked = place.herald(&out, &["state", "verify", ".herald/operations", "scores.sql"]);
    ok(&checked);
    assert!(checked.stdout.contains("view teams: 1 row, derived again and equal"), "{}", checked.stdout);
    let told = place.herald(&out, &["state", "inspect", "copy"]);
    ok(&told);
    for line in
        ["topology    operations", "source      scores: 2 read = 2 accepted", "view        teams: 2 keys"]
    {
        assert!(told.stdout.contains(line), "{}", told.stdout);
    }

    // An old copy is refused if the sinks hold later epochs.
    ok(&place.herald(&out, &["state", "restore", "copy", "--to", "old"]));
    let refused = place.once(&["--name", "operations", "--state", "old"]);
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert!(refused.stderr.contains("it is an older copy"), "{}", refused.stderr);
    let occupied = place.herald(&out, &["state", "restore", "copy", "--to", "old"]);
    assert_eq!(
        (occupied.code, occupied.stderr.contains("is not empty")),
        (Some(2), true),
        "{}",
        occupied.stderr
    );

    // With `--as`: a state of its own, whose new sinks get the copy's content and then the later changes.
    ok(&place.herald(&out, &["state", "restore", "copy", "--to", "back", "--as", "operations_back"]));
    let again = "operations.teams_again";
    let args =
        ["run", "scores.sql", "--once", "--listen", "off", "--name", "operations_back", "--state", "back"];
    ok(&place.herald(again, &args));
    let sent = broker::shared().read_committed(again);
    let first: Vec<Option<&Vec<u8>>> = sent.iter().map(|read| read.value.as_ref()).collect();
    assert_eq!(first.len(), 4, "two teams, then one more for blue, and red is gone: {sent:?}");
    assert_eq!(teams(again), [r#""blue" 2 13"#]);
    ok(&place.herald(again, &args));
    assert_eq!(broker::shared().read_committed(again).len(), 4, "only once");
}

#[test]
fn a_damaged_view_is_found() {
    let place = Place::new("damaged");
    place.feed(&[r#"{"player":"a","points":3,"team":"red"}"#]);
    ok(&place.once(&["--name", "damaged"]));
    // Another version of the view over the same state: its derived rows differ from the stored ones.
    let path = place.dir.path().join("other.sql");
    let text = SCORES.replace("PREFIX", place.prefix).replace("count(*)", "count(*) + 1");
    std::fs::write(&path, text).expect("a file");
    let other = place.herald(&place.out(), &["state", "verify", ".herald/damaged", "other.sql"]);
    assert_eq!(other.code, Some(2), "{}", other.stderr);
    assert!(other.stderr.contains("changed: teams"), "{}", other.stderr);
    // A corrupted block.
    flip_a_byte(&place.dir.path().join(".herald/damaged/db"));
    let found = place.herald(&place.out(), &["state", "verify", ".herald/damaged", "scores.sql"]);
    assert_eq!(found.code, Some(1), "{}", found.stderr);
    assert!(found.stderr.contains("damaged"), "{}", found.stderr);
}

/// Corrupts a state: an extra row in a keyed view (which its sink was sent, too), a lost row in an unkeyed
/// view, and an extra row in the error table.
fn corrupt_state(state: &Path, out: &str) {
    let store = Store::open(state, &StoreOptions::default()).expect("a state");
    let catalogue = store.catalogue().expect("a catalogue").expect("it has run");
    let entry = |name: &str| catalogue.find(StateTableKind::View, name).expect("a view").clone();
    let first = |table_id: u32| {
        let mut scan = store.iter(table_id, &[]).expect("a space");
        let (key, value) = scan.next_entry().expect("it reads").expect("a row");
        (key.to_vec(), value.to_vec())
    };
    let text = |text: &str| -> ArrayRef { Arc::new(StringArray::from(vec![text])) };
    let teams = entry("teams");
    let schema = schemas::schema_from_json(teams.schema.as_ref().expect("columns")).expect("a schema");
    let codec = RowCodec::of(&schema).expect("a row");
    let mut columns = codec.decode(std::iter::once(first(teams.id).1.as_slice())).expect("a row");
    columns[0] = text("green");
    let (mut keys, mut values) = (Rows::new(), Blobs::new());
    let key = RowCodec::new(&[DataType::Utf8]).expect("a key").encode(&columns[..1]).expect("a key");
    keys.push(&stored_key(key.get(0)));
    values.push(Some(codec.encode(&columns).expect("a row").get(0)));
    let counts = |table_id: u32, row: &[u8], diff: i64| {
        let rows: Rows = std::iter::once(row).collect();
        Counts { table_id, rows, diffs: vec![diff] }
    };
    let failed = RowCodec::new(&[DataType::Utf8, DataType::Utf8, DataType::Utf8, DataType::Utf8]);
    let failed = failed.expect("text").encode(&["teams", "x", "no", "y"].map(text)).expect("text");
    let points = entry("points").id;
    let held = store.meta();
    let commit = Commit {
        epoch: held.epoch + 1,
        commit_ms: held.commit_ms,
        progress: held.progress,
        writes: vec![Writes { table_id: teams.id, keys, values }],
        counts: vec![
            counts(points, &first(points).0, -1),
            counts(entry("herald.errors").id, &stored_key(failed.get(0)), 1),
        ],
        ..Commit::default()
    };
    store.commit(commit).expect("a commit");
    broker::shared()
        .produce(out, [(r#"{"team":"green"}"#, r#"{"team":"green","players":1,"points":3}"#.as_bytes())]);
}

/// The keys that a reader of a compacted topic holds.
fn keys(topic: &str) -> Vec<String> {
    let mut held = std::collections::BTreeSet::new();
    for read in broker::shared().read_committed(topic) {
        let key = String::from_utf8(read.key.expect("a key")).expect("text");
        if read.value.is_some() {
            held.insert(key)
        } else {
            held.remove(&key)
        };
    }
    held.into_iter().collect()
}

/// An inconsistent state: `verify` reports it, `run` fails when a missing row is retracted, `repair` fixes
/// it, and the sink gets the difference once.
#[test]
fn a_poisoned_state_is_mended() {
    corrupt_and_repair("mended", false);
}

#[test]
fn a_state_is_mended_and_its_sink_sent_again_at_one_start() {
    corrupt_and_repair("mended-and-sent", true);
}

/// Corrupts a state and repairs it; with `resend`, its sink is also sent again at the same start.
fn corrupt_and_repair(name: &'static str, resend: bool) {
    let place = Place::new(name);
    let state_path = format!(".herald/{name}");
    let path = place.dir.path().join("scores.sql");
    let text = std::fs::read_to_string(&path).expect("a file");
    std::fs::write(&path, text + "CREATE MATERIALIZED VIEW points AS SELECT points FROM scores;")
        .expect("a file");
    let (out, state) = (place.out(), place.dir.path().join(&state_path));
    place.feed(&[r#"{"player":"a","points":3,"team":"red"}"#, r#"{"player":"b","points":4,"team":"blue"}"#]);
    ok(&place.once(&["--name", name]));
    ok(&place.herald(&out, &["state", "verify", &state_path, "scores.sql"]));
    corrupt_state(&state, &out);
    assert_eq!(keys(&out), [r#"{"team":"blue"}"#, r#"{"team":"green"}"#, r#"{"team":"red"}"#]);

    let told = place.herald(&out, &["state", "verify", &state_path, "scores.sql"]);
    assert_eq!(told.code, Some(1), "{}", told.stderr);
    for line in [
        "view teams: 3 rows, of which 1 differs from the derived ones; 0 are missing",
        "view points: 1 row, of which 0 differ from the derived ones; 1 is missing",
        "herald.errors: 1 row, of which 1 differs from the derived ones",
    ] {
        assert!(told.stderr.contains(line) && told.stdout.contains("herald state repair"), "{}", told.stderr);
    }
    place.feed(&[r#"{"player":"a","points":9,"team":"red"}"#, r#"{"player":"b","points":5,"team":"blue"}"#]);
    let refused = place.once(&["--name", name]);
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    assert!(refused.stderr.contains("would hold -1 copies"), "{}", refused.stderr);
    assert!(refused.stderr.contains("herald state repair"), "{}", refused.stderr);

    let mended = place.herald(&out, &["state", "repair", &state_path, "scores.sql"]);
    ok(&mended);
    for line in [
        "view teams: 1 wrong entry replaced, 0 missing entries added",
        "view points: 0 wrong entries replaced, 1 missing entry added",
        "herald.errors: 1 wrong entry replaced",
        "sink teams_out: 1 key or row is sent again at the next start",
        "epoch 3 holds the repaired content",
    ] {
        assert!(mended.stdout.contains(line), "{line}\n{}", mended.stdout);
    }
    ok(&place.herald(&out, &["state", "verify", &state_path, "scores.sql"]));
    let again = place.herald(&out, &["state", "repair", &state_path, "scores.sql"]);
    ok(&again);
    assert!(again.stdout.contains("nothing had to be repaired"), "{}", again.stdout);
    if resend {
        ok(&place.herald(&out, &["sink", "resend", "teams_out", "--name", name]));
    }
    for _ in 0..2 {
        ok(&place.once(&["--name", name]));
        assert_eq!(keys(&out), [r#"{"team":"blue"}"#, r#"{"team":"red"}"#]);
    }
    let rows = place.herald(&out, &["query", "SELECT * FROM teams ORDER BY team", "--state", &state_path]);
    ok(&rows);
    assert!(rows.stdout.contains("blue") && !rows.stdout.contains("green"), "{}", rows.stdout);
    let sent = broker::shared().read_committed(&out);
    let green = sent.iter().filter(|read| read.key.as_ref().is_some_and(|k| k.ends_with(b"\"green\"}")));
    let green: Vec<bool> = green.map(|read| read.value.is_some()).collect();
    assert_eq!(green, [true, false], "the ghost, and once that it is none");
}

/// Flips a byte in the middle of every table file.
fn flip_a_byte(db: &Path) {
    let mut flipped = 0;
    for entry in std::fs::read_dir(db).expect("a folder").flatten() {
        if entry.path().extension().is_some_and(|e| e == "sst") {
            let mut bytes = std::fs::read(entry.path()).expect("a file");
            bytes[20] ^= 0xFF;
            std::fs::write(entry.path(), bytes).expect("a file");
            flipped += 1;
        }
    }
    assert!(flipped > 0, "a stopped topology has table files");
}

#[test]
fn lost_records_are_refused_until_they_are_given_up() {
    let place = Place::new("lost");
    place.feed(&[r#"{"player":"a","points":3,"team":"red"}"#]);
    ok(&place.once(&["--name", "lost"]));
    place.feed(&[r#"{"player":"b","points":4,"team":"blue"}"#, r#"{"player":"c","points":1,"team":"blue"}"#]);
    broker::shared().delete_all_records("lost.scores");
    place.feed(&[r#"{"player":"d","points":5,"team":"red"}"#]);
    let refused = place.once(&["--name", "lost"]);
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    assert!(refused.stderr.contains("2 records from offset 1 on were deleted"), "{}", refused.stderr);
    assert!(refused.stderr.contains("--skip-lost-records"), "{}", refused.stderr);
    let resumed = place.once(&["--name", "lost", "--skip-lost-records"]);
    ok(&resumed);
    assert!(resumed.stderr.contains("2 records were deleted before they were read"), "{}", resumed.stderr);
    assert_eq!(teams(&place.out()), [r#""red" 2 8"#]);
}

/// The topology with this `topic` as its source's, and these options of its sink.
fn scores(topic: &str, options: &str) -> String {
    SCORES.replace("PREFIX.scores", topic).replace("primary_key", &format!("{options}, primary_key"))
}

#[test]
fn a_refused_start_leaves_nothing_behind() {
    let (prefix, broker) = ("unstarted", broker::shared());
    let dir = tempfile::tempdir().expect("a directory");
    let place = Place { prefix, dir };
    let file = place.dir.path().join("scores.sql");
    let (source, out) = (format!("{prefix}.scores"), place.out());
    let refused = |text: &str, said: &[&str], topics: &[&str]| {
        std::fs::write(&file, text).expect("a file");
        let ended = place.once(&["--name", prefix]);
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
        for said in said {
            assert!(ended.stderr.contains(said), "{said}\n{}", ended.stderr);
        }
        assert_eq!(broker.topics_with(prefix), topics);
        assert!(!place.dir.path().join(".herald").exists(), "no state is created");
    };
    let text = scores(&source, "topic.partitions = '2'");
    let missing = "topic \"unstarted.scores\" does not exist";
    refused(&text, &["source scores", missing], &[]);
    broker.create_topic_with(&out, 3, &[("cleanup.policy", "compact")]);
    // Both mistakes are told.
    let other = "has 3 partitions, not the 2";
    refused(&text, &["source scores", missing, "sink teams_out", other], &[&out]);
    broker.create_topic(&source, 1);
    refused(&text, &["sink teams_out", other], &[&source, &out]);
    // The broker is asked whether it would create the topic.
    let text = scores(&source, "topic.replication.factor = '7'").replace("${OUT}", "unstarted.many");
    refused(&text, &["sink teams_out", "refuses to create topic \"unstarted.many\""], &[&source, &out]);

    std::fs::write(&file, scores(&source, "topic.partitions = '3'")).expect("a file");
    place.feed(&[r#"{"player":"a","points":3,"team":"red"}"#]);
    ok(&place.once(&["--name", prefix]));
    assert_eq!(teams(&out), [r#""red" 1 3"#]);
    let progress = "herald.progress.unstarted";
    assert_eq!(broker.topics_with(prefix), [progress, source.as_str(), out.as_str()]);
}

#[test]
fn a_refused_fresh_start_keeps_the_state_and_whoever_publishes() {
    let place = Place::new("kept");
    let (out, path) = (place.out(), place.dir.path());
    let text = scores("kept.missing", "topic.replication.factor = '1'");
    std::fs::write(path.join("wrong.sql"), text).expect("a file");
    place.feed(&[r#"{"player":"a","points":3,"team":"red"}"#]);
    ok(&place.once(&["--name", "kept"]));
    let wrong = ["run", "wrong.sql", "--once", "--listen", "off", "--name", "kept", "--fresh"];
    let refused = |args: &[&str]| {
        let ended = place.herald(&out, &[&wrong[..], args].concat());
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
        assert!(ended.stderr.contains("\"kept.missing\" does not exist"), "{}", ended.stderr);
    };
    refused(&[]);
    // The state goes on where it was.
    place.feed(&[r#"{"player":"b","points":4,"team":"red"}"#]);
    let resumed = place.once(&["--name", "kept"]);
    ok(&resumed);
    assert!(resumed.stdout.contains("scores: 2 read = 2 accepted"), "{}", resumed.stdout);
    assert_eq!(teams(&out), [r#""red" 2 7"#]);

    // Another directory, while the topology runs: it is not fenced.
    let args = ["run", "scores.sql", "--name", "kept", "--listen", "off"];
    let running = Herald::start(path, &args, &place.env(&out));
    let wait = |rows: &[&str]| {
        let started = Instant::now();
        while teams(&out) != rows {
            assert!(started.elapsed() < PATIENCE, "{:?}\n{}", teams(&out), running.said());
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    place.feed(&[r#"{"player":"c","points":1,"team":"red"}"#]);
    wait(&[r#""red" 3 8"#]);
    refused(&["--state", "other"]);
    assert!(!path.join("other").exists());
    place.feed(&[r#"{"player":"d","points":1,"team":"red"}"#]);
    wait(&[r#""red" 4 9"#]);
    ok(&running.terminate(PATIENCE));
}

#[test]
fn who_has_no_token_reads_nothing() {
    let place = Place::new("tokens");
    let (out, path) = (place.out(), place.dir.path());
    let open = [("KAFKA_BOOTSTRAP", servers::kafka()), ("OUT", &out)];
    let args = ["run", "scores.sql", "--name", "tokens", "--listen", "0.0.0.0:0"];
    let refused = child::herald(path, &args, &open, PATIENCE);
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert!(refused.stderr.contains("HERALD_READ_TOKEN"), "{}", refused.stderr);

    let made = std::process::Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"])
        .args([
            "-addext",
            "subjectAltName=DNS:localhost,IP:127.0.0.1",
            "-keyout",
            "key.pem",
            "-out",
            "cert.pem",
        ])
        .current_dir(path)
        .output();
    assert!(made.expect("openssl runs").status.success());
    let made = std::process::Command::new("openssl")
        .args(["genrsa", "-out", "other.key"])
        .current_dir(path)
        .output();
    assert!(made.expect("openssl runs").status.success());
    let mismatch = ["run", "scores.sql", "--listen", "0", "--tls-cert", "cert.pem", "--tls-key", "other.key"];
    let refused = child::herald(path, &mismatch, &place.env(&out), PATIENCE);
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert!(refused.stderr.contains("the key is another certificate's"), "{}", refused.stderr);
    let listen = servers::free_address();
    let args = [
        "run",
        "scores.sql",
        "--name",
        "tokens",
        "--listen",
        &listen,
        "--tls-cert",
        "cert.pem",
        "--tls-key",
        "key.pem",
    ];
    let herald = Herald::start(path, &args, &place.env(&out));
    let url = format!("https://{listen}");
    let started = Instant::now();
    let ask = |token: Option<&str>, what: &[&str]| -> (String, String) {
        let mut curl = std::process::Command::new("curl");
        curl.args(["-s", "-w", "\n%{http_code}", "--cacert"]).arg(path.join("cert.pem"));
        curl.args(token.map(|token| format!("-HAuthorization: Bearer {token}")));
        curl.args(&what[..what.len() - 1]).arg(format!("{url}{}", what[what.len() - 1]));
        let said = String::from_utf8(curl.output().expect("curl runs").stdout).expect("text");
        let (body, status) = said.rsplit_once('\n').expect("a status");
        (status.to_owned(), body.to_owned())
    };
    while ask(None, &["/readyz"]).0 != "200" {
        assert!(started.elapsed() < PATIENCE, "not ready:\n{}", herald.said());
        std::thread::sleep(Duration::from_millis(50));
    }
    // Handshakes that never complete delay nobody. Each has a timeout of 5 s: in turn they would take 500 s.
    let silent: Vec<_> =
        (0..100).map(|_| std::net::TcpStream::connect(&listen).expect("it accepts")).collect();
    let asked = Instant::now();
    assert_eq!(ask(None, &["/healthz"]).0, "200");
    assert!(asked.elapsed() < PATIENCE, "{:?}", asked.elapsed());
    drop(silent);
    assert_eq!(ask(None, &["--tls-max", "1.1", "/healthz"]).0, "000", "TLS before 1.2");
    assert_eq!(ask(None, &["--tls-max", "1.2", "/healthz"]).0, "200");
    assert_eq!(ask(None, &["--tlsv1.3", "/healthz"]).0, "200");
    assert_eq!(ask(None, &["/metrics"]).0, "401");
    assert_eq!(ask(Some("reads-and-no-mort"), &["/v1/views"]).0, "401");
    assert_eq!(ask(Some(READER), &["/metrics"]).0, "200");
    assert_eq!(ask(Some(READER), &["-XPOST", "/v1/backup?to=/nowhere"]).0, "403");
    let (status, body) = ask(Some(ADMIN), &["-XPOST", "/v1/backup?to=relative"]);
    assert_eq!(status, "400", "{body}");
    let large = path.join("large.sql");
    std::fs::write(&large, vec![b' '; (1 << 20) + 1]).expect("a file");
    let body = format!("@{}", large.display());
    assert_eq!(ask(Some(READER), &["--data-binary", &body, "/v1/query"]).0, "413");
    let flood: Vec<String> = (0..260).map(|_| ask(Some(READER), &["/v1/topology"]).0).collect();
    assert!(flood.iter().all(|status| status == "200" || status == "429"), "{flood:?}");

    let trusted = path.join("cert.pem");
    let env = [("SSL_CERT_FILE", trusted.to_str().expect("text")), ("HERALD_READ_TOKEN", READER)];
    let asked = child::herald(
        path,
        &["query", "SELECT count(*) AS n FROM teams", "--url", &url, "--format", "json"],
        &env,
        PATIENCE,
    );
    ok(&asked);
    assert_eq!(serde_json::from_str::<Value>(&asked.stdout).expect("JSON")[0]["n"], 0);
    // Whom nobody vouches for is told apart from whom nobody answers for.
    let distrusting = [("SSL_CERT_FILE", "no-such.pem"), ("HERALD_READ_TOKEN", READER)];
    let refused = child::herald(path, &["query", "SELECT 1", "--url", &url], &distrusting, PATIENCE);
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    for part in ["is not trusted", "in SSL_CERT_FILE", "no-such.pem"] {
        assert!(refused.stderr.contains(part), "{part}: {}", refused.stderr);
    }
    let said = herald.said();
    assert!(!said.contains(ADMIN) && !said.contains(READER), "{said}");
    ok(&herald.terminate(PATIENCE));
}
