//! Random histories in which persons are erased at random places: at the end every view equals the batch answer over
//! the accepted rows without them, however the history was cut into epochs, restarted and shared among workers, and
//! wherever the orders came in it. At the end the files are rewritten, and hold nothing of them.

use std::collections::{BTreeMap, BTreeSet};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use schemas::{ERASED_MESSAGE, Records, identity_patterns};
use serde_json::{Value, json};

use crate::engine::{Engine, Options, plan};
use crate::rows::unpack;

const TOPOLOGY: &str = "
CREATE TABLE erasures (subject VARCHAR, PRIMARY KEY (subject))
WITH (connector = 'file', path = 'erasures', erase = 'subject') FORMAT PLAIN ENCODE JSON;
CREATE TABLE matches (id BIGINT, version INT, players STRUCT<puuid VARCHAR, kills INT>[], PRIMARY KEY (id),
  CONSTRAINT some CHECK (cardinality(players) > 0))
ON CONFLICT OVERWRITE WITH VERSION COLUMN (version)
WITH (connector = 'file', path = 'matches', erase.by = 'players[].puuid') FORMAT PLAIN ENCODE JSON;
CREATE TABLE devices (id BIGINT, owner VARCHAR, version INT, PRIMARY KEY (id))
ON CONFLICT OVERWRITE WITH VERSION COLUMN (version)
WITH (connector = 'file', path = 'devices', erase.by = 'owner') FORMAT PLAIN ENCODE JSON;
CREATE TABLE firsts (id BIGINT, owner VARCHAR, PRIMARY KEY (id)) ON CONFLICT DO NOTHING
WITH (connector = 'file', path = 'firsts', erase.by = 'owner') FORMAT PLAIN ENCODE JSON;
CREATE VIEW lines AS SELECT m.id, p.puuid, p.kills FROM matches AS m, UNNEST(m.players) AS p;
CREATE MATERIALIZED VIEW totals AS
SELECT puuid, count(*) AS games, sum(kills) AS kills, max(kills) AS best FROM lines GROUP BY puuid;
CREATE MATERIALIZED VIEW owned AS SELECT id, owner, version FROM devices;
CREATE MATERIALIZED VIEW earliest AS SELECT id, owner FROM firsts;
CREATE MATERIALIZED VIEW joined AS
SELECT d.id, t.puuid, t.kills FROM devices AS d JOIN totals AS t ON t.puuid = d.owner;
";

const ERASURES: usize = 0;
const MATCHES: usize = 1;
const DEVICES: usize = 2;
const FIRSTS: usize = 3;
const SEEN: usize = 4;
/// Persons; their names are long, so that nothing else holds them.
const PERSONS: u64 = 6;

fn name(person: u64) -> String {
    format!("person-{person}-{:032x}", u128::from(person + 1) * 0x1234_5678_9abc_def0_1357_9bdf_0246_8ace)
}

/// A record of a source.
type Step = (usize, Value);

fn draw(random: &mut ChaCha8Rng, steps: usize) -> Vec<Step> {
    let mut below = |limit: u64| random.random_range(0..limit);
    let mut history = Vec::with_capacity(steps);
    for _ in 0..steps {
        history.push(match below(10) {
            0..=3 => {
                let players: Vec<Value> = (0..below(4))
                    .map(|_| json!({"puuid": name(below(PERSONS)), "kills": below(5)}))
                    .collect();
                (MATCHES, json!({"id": below(5), "version": below(4), "players": players}))
            }
            4..=6 => (DEVICES, json!({"id": below(5), "owner": name(below(PERSONS)), "version": below(4)})),
            7..=8 => (FIRSTS, json!({"id": below(8), "owner": name(below(PERSONS))})),
            // Somebody is never erased: the control.
            _ => (ERASURES, json!({"subject": name(1 + below(PERSONS - 1))})),
        });
    }
    history
}

/// The rows of all views by the batch meaning: the row of each key that stays, then without those who are erased.
fn answer(history: &[Step]) -> Vec<BTreeSet<String>> {
    let orders = history.iter().filter(|(source, _)| *source == ERASURES);
    let erased: BTreeSet<&str> = orders.filter_map(|(_, row)| row["subject"].as_str()).collect();
    let is_erased = |name: &Value| name.as_str().is_some_and(|name| erased.contains(name));
    let mut latest: [BTreeMap<i64, Value>; 4] = Default::default();
    for (source, row) in history.iter().filter(|(source, _)| *source != ERASURES) {
        let id = row["id"].as_i64().expect("an id");
        if *source == MATCHES && row["players"].as_array().is_none_or(Vec::is_empty) {
            continue;
        }
        let held = latest[*source].get(&id);
        let later = match source {
            &FIRSTS => held.is_none(),
            _ => held.is_none_or(|held| held["version"].as_i64() <= row["version"].as_i64()),
        };
        if later {
            latest[*source].insert(id, row.clone());
        }
    }
    let mut totals: BTreeMap<String, (i64, i64, i64)> = BTreeMap::new();
    for player in latest[MATCHES].values().flat_map(|row| row["players"].as_array().expect("players")) {
        if !is_erased(&player["puuid"]) {
            let kills = player["kills"].as_i64().expect("kills");
            let total = totals.entry(player["puuid"].as_str().expect("a name").to_owned()).or_default();
            *total = (total.0 + 1, total.1 + kills, total.2.max(kills));
        }
    }
    let stays = |row: &&Value| !is_erased(&row["owner"]);
    let mut views: Vec<BTreeSet<String>> = vec![BTreeSet::new(); 4];
    for (puuid, (games, kills, best)) in &totals {
        views[0].insert(json!([puuid, games, kills, best]).to_string());
    }
    for row in latest[DEVICES].values().filter(stays) {
        views[1].insert(json!([row["id"], row["owner"], row["version"]]).to_string());
        if let Some((_, kills, _)) = row["owner"].as_str().and_then(|owner| totals.get(owner)) {
            views[3].insert(json!([row["id"], row["owner"], kills]).to_string());
        }
    }
    for row in latest[FIRSTS].values().filter(stays) {
        views[2].insert(json!([row["id"], row["owner"]]).to_string());
    }
    views
}

#[test]
fn views_are_those_without_the_persons_wherever_orders_come() {
    let plan = plan(TOPOLOGY);
    let seed = std::env::var("HERALD_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(11);
    println!("HERALD_SEED={seed}");
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut controls = 0;
    for round in 0..30 {
        let history = draw(&mut random, 60);
        let wanted = answer(&history);
        let dir = tempfile::tempdir().expect("a directory");
        let mut offsets = [0_i64; 4];
        let (mut open, mut erased) = (None, BTreeSet::new());
        for (source, row) in &history {
            let mut engine = open.take().unwrap_or_else(|| {
                let options =
                    Options { workers: 1 + random.random_range(0..3_usize), in_flight: 2, cut: true };
                Engine::open(&plan, dir.path(), &[1; 4], options)
            });
            let mut records = Records::new(0);
            records.push(offsets[*source], None, None, Some(row.to_string().as_bytes()));
            offsets[*source] += 1;
            engine.feed(*source, records);
            if *source == ERASURES {
                erased.insert(row["subject"].as_str().expect("a name").to_owned());
            }
            match random.random_range(0..8) {
                0..=2 => engine.close(|_, _| {}),
                3 => {
                    engine.close(|_, _| {});
                    engine.finish(|_, _| {});
                    // The engine is dropped, and opened again with another number of workers.
                    continue;
                }
                _ => {}
            }
            open = Some(engine);
        }
        let options = Options { workers: 2, in_flight: 1, cut: true };
        let mut engine = open.unwrap_or_else(|| Engine::open(&plan, dir.path(), &[1; 4], options));
        engine.close(|_, _| {});
        engine.finish(|_, _| {});
        for (at, (view, wanted)) in plan.views.iter().zip(&wanted).enumerate() {
            let rows = unpack(&plan.rels[view.rel].schema, &engine.view_rows(at).expect("rows"));
            let found: BTreeSet<String> = rows.iter().map(|row| json!(row).to_string()).collect();
            assert_eq!(found, *wanted, "seed {seed}, round {round}, view {}", view.name);
        }
        controls += usize::from(assert_forgotten(&engine, &erased));
    }
    assert!(controls > 10, "who is never erased is found in {controls} rounds");
}

/// Paths that an edit adds count for the rows that are held, by the orders that came before.
#[test]
fn paths_that_come_later_filter_the_rows_that_are_held() {
    // Where nobody is erased from a table that keeps the first rows, the extreme value alone is kept.
    let latest = "CREATE MATERIALIZED VIEW latest AS SELECT owner, max(id) AS id FROM firsts GROUP BY owner;";
    // Above a source as well the state stays as it is, so that it must hold all that a person may leave behind.
    let with_source = "
CREATE SOURCE seen (id BIGINT, owner VARCHAR) WITH (connector = 'file', path = 'seen') FORMAT PLAIN ENCODE JSON;
CREATE VIEW people AS SELECT id, owner FROM firsts UNION ALL SELECT id, owner FROM seen;
CREATE MATERIALIZED VIEW greatest AS SELECT count(*) AS n, max(id) AS id FROM people GROUP BY id % 2;
CREATE MATERIALIZED VIEW first_two AS SELECT id, r FROM
  (SELECT id, row_number() OVER (PARTITION BY id % 2 ORDER BY id) AS r FROM people) AS x WHERE r <= 2;";
    let text = format!("{TOPOLOGY}{latest}{with_source}");
    let (with, dir) = (plan(&text), tempfile::tempdir().expect("a directory"));
    let without = plan(&text.replace(", erase.by = 'owner'", ""));
    let rows_of = |engine: &Engine, name: &str| {
        let view = with.views.iter().position(|view| view.name == name).expect("the view");
        engine.view_rows(view).expect("rows").len()
    };
    let rows = |engine: &Engine| rows_of(engine, "owned");
    let options = Options { workers: 2, in_flight: 1, cut: true };
    let feed = |engine: &mut Engine, source: usize, row: Value| {
        let mut records = Records::new(0);
        records.push(0, None, None, Some(row.to_string().as_bytes()));
        engine.feed(source, records);
        engine.close(|_, _| {});
    };
    let mut engine = Engine::open(&without, dir.path(), &[1; 5], options);
    feed(&mut engine, DEVICES, json!({"id": 1, "owner": name(1), "version": 1}));
    feed(&mut engine, FIRSTS, json!({"id": 1, "owner": name(1)}));
    let mut seen = Records::new(0);
    for (offset, id) in [3, 5, 7].into_iter().enumerate() {
        seen.push(
            offset as i64,
            None,
            None,
            Some(json!({"id": id, "owner": "nobody"}).to_string().as_bytes()),
        );
    }
    engine.feed(SEEN, seen);
    engine.close(|_, _| {});
    feed(&mut engine, ERASURES, json!({"subject": name(1)}));
    assert_eq!(rows(&engine), 1, "nothing says where the owner is");
    assert_eq!(["latest", "greatest", "first_two"].map(|view| rows_of(&engine, view)), [1, 1, 2]);
    drop(engine);
    let engine = Engine::open(&with, dir.path(), &[1; 5], options);
    assert_eq!((rows(&engine), rows_of(&engine, "latest")), (0, 0));
    assert_eq!(["greatest", "first_two"].map(|view| rows_of(&engine, view)), [1, 2]);
    let [receipt] = &engine.store().erasures().expect("receipts")[..] else { panic!("one receipt") };
    assert_eq!((receipt.orders, receipt.finished_ms, receipt.tables["devices"].removed), (1, None, 1));
    assert_eq!(
        engine.store().unfinished_erasures(),
        Some((1, receipt.epoch)),
        "its files are to be rewritten"
    );
    assert_forgotten(&engine, &BTreeSet::from([name(1)]));
    drop(engine);
    let mut engine = Engine::open(&without, dir.path(), &[1; 5], options);
    assert_eq!(rows_of(&engine, "latest"), 0, "what was erased stays so");
    let mut records = Records::new(0);
    records.push(1, None, None, Some(json!({"id": 2, "owner": name(2)}).to_string().as_bytes()));
    engine.feed(FIRSTS, records);
    engine.close(|_, _| {});
    assert_eq!(rows_of(&engine, "latest"), 1);
}

/// A rejected record of a source without paths is a dead letter without its bytes if any of its texts is the name of
/// somebody who was erased before.
#[test]
fn later_rejected_records_of_every_source_lose_the_person() {
    let plan = plan(
        "
CREATE TABLE erasures (subject VARCHAR, PRIMARY KEY (subject))
WITH (connector = 'file', path = 'erasures', erase = 'subject') FORMAT PLAIN ENCODE JSON;
CREATE SOURCE seen (at TIMESTAMPTZ, who VARCHAR, others STRUCT<name VARCHAR>[], doc JSONB, n INT,
  CONSTRAINT small CHECK (n < 100), WATERMARK FOR at AS at - INTERVAL '1 hour')
WITH (connector = 'file', path = 'seen') FORMAT PLAIN ENCODE JSON;
CREATE MATERIALIZED VIEW n AS SELECT count(*) AS n FROM seen;
",
    );
    let (anna, ben) = (name(1), name(2));
    let escaped: String = anna.chars().map(|char| format!("\\u{:04x}", u32::from(char))).collect();
    // A record of a key, and whether it loses what it holds.
    let records = [
        (None, format!(r#"{{"at":"2026-01-01T00:00:00Z","who":"{anna}"}}"#), true),
        (None, format!(r#"{{"at":"2026-01-01T00:00:00Z","who":"{escaped}"}}"#), true),
        (None, format!(r#"{{"at":"2026-01-01T00:00:00Z","others":[{{}},{{"name":"{escaped}"}}]}}"#), true),
        (None, format!(r#"{{"at":"2026-01-01T00:00:00Z","doc":{{"a":["{escaped}"]}}}}"#), true),
        (None, format!(r#"{{"at":"2026-01-02T00:00:00Z","n":100,"undeclared":"{anna}"}}"#), true),
        (Some(&anna), r#"{"n":"#.to_owned(), true),
        (Some(&ben), format!(r#"{{"at":"2026-01-01T00:00:00Z","who":"{ben}"}}"#), false),
        (None, r#"{"at":"2026-01-02T00:00:00Z","n":100}"#.to_owned(), false),
    ];
    let dir = tempfile::tempdir().expect("a directory");
    let mut engine =
        Engine::open(&plan, dir.path(), &[1; 2], Options { workers: 2, in_flight: 1, cut: true });
    let mut orders = Records::new(0);
    orders.push(0, None, None, Some(json!({"subject": anna}).to_string().as_bytes()));
    engine.feed(ERASURES, orders);
    engine.close(|_, _| {});
    let mut seen = Records::new(0);
    seen.push(0, None, None, Some(br#"{"at":"2026-01-02T00:00:00Z"}"#));
    for (offset, (key, value, _)) in (1..).zip(&records) {
        seen.push(offset, None, key.map(|key| key.as_bytes()), Some(value.as_bytes()));
    }
    engine.feed(1, seen);
    let mut found = Vec::new();
    engine.close(|_, committed| found.extend(committed.dead_letters));
    let found: Vec<bool> = found.iter().map(|letter| letter.message == ERASED_MESSAGE).collect();
    let wanted: Vec<bool> = records.iter().map(|(_, _, is_erased)| *is_erased).collect();
    assert_eq!(found, wanted);
}

/// Nothing of those who are erased is in any entry. Returns true if the one who never is can be found.
fn assert_forgotten(engine: &Engine, erased: &BTreeSet<String>) -> bool {
    let store = engine.store();
    assert_eq!(store.erasures().expect("receipts").len(), erased.len());
    assert!(store.rewrite_files(&|| false).expect("files are rewritten"));
    for identity in erased {
        let patterns = identity_patterns(identity.as_bytes());
        assert_eq!(store.families_with(&patterns).expect("entries"), Vec::<&str>::new(), "{identity}");
    }
    let control = identity_patterns(name(0).as_bytes());
    !store.families_with(&control).expect("entries").is_empty()
}
