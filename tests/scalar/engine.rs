//! Herald's answers: many expressions as views of one topology, run in process.
//!
//! What `check` refuses is left out and the rest compiled again. A topology that ends, panics or hangs is cut in
//! two until the view to blame is alone.

use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use arrow::datatypes::{DataType, Field, Schema};
use dataflows::plan::{Plan, Source};
use dataflows::render::aggregates::cache::CacheRoom;
use dataflows::runtime::engine::{Engine, Opening};
use dataflows::source::decoder;
use dataflows::sql::{SqlFile, compile};
use schemas::{RowCodec, Rows};

use crate::history::History;
use crate::place::Asked;
use crate::postgres::Texts;
use crate::{spent, value};

/// What became of a view.
#[derive(Clone, Debug)]
pub enum Given {
    /// `check` refuses it, with these words.
    Refused(String),
    /// The run ended, or hung.
    Failed(String),
    /// What it holds, the rows that expressions failed on, and its columns.
    Rows {
        /// Rows, as texts that can be compared.
        rows: Vec<Texts>,
        /// Number of rows in `herald.errors`.
        errors: usize,
        /// Columns.
        fields: Vec<Arc<Field>>,
    },
}

impl Given {
    /// Result of a view of several expressions for one of them: the first column, and that one's.
    pub fn column(&self, at: usize) -> Option<Given> {
        let Given::Rows { rows, errors, fields } = self else { return None };
        let rows = rows.iter().map(|row| vec![row[0].clone(), row[at + 1].clone()]).collect();
        let fields = vec![Arc::clone(&fields[0]), Arc::clone(&fields[at + 1])];
        Some(Given::Rows { rows, errors: *errors, fields })
    }
}

/// Longest that a topology may take: more is taken for a hang.
const LONGEST: Duration = Duration::from_secs(90);

/// The keyed table, and one with a row.
fn tables() -> String {
    format!(
        "CREATE TABLE t (id INT, {}, PRIMARY KEY (id)) WITH (connector = 'file', path = 't') FORMAT UPSERT ENCODE JSON;\n\
         CREATE SOURCE u (one INT) WITH (connector = 'file', path = 'u') FORMAT PLAIN ENCODE JSON;\n",
        History::declared()
    )
}

/// Lines before the first view's.
const BEFORE: usize = 2;

/// What the views give after the history.
pub fn answers(history: &Arc<History>, asked: &[Asked]) -> Vec<Given> {
    let mut given: Vec<Option<Given>> = vec![None; asked.len()];
    let mut open: Vec<usize> = Vec::new();
    let (refused, plan) = spent(1, || refusals(asked));
    for (at, refused) in refused.into_iter().enumerate() {
        match refused {
            Some(given_) => given[at] = Some(given_),
            None => open.push(at),
        }
    }
    let mut groups = vec![(open, plan)];
    while let Some((group, plan)) = groups.pop() {
        if group.is_empty() {
            continue;
        }
        let views: Vec<Asked> = group.iter().map(|at| asked[*at].clone()).collect();
        match spent(2, || tried(history, &views, plan)) {
            Ok(found) => group.iter().zip(found).for_each(|(at, found)| given[*at] = Some(found)),
            Err(why) if group.len() == 1 => given[group[0]] = Some(Given::Failed(why)),
            Err(_) => {
                let (left, right) = group.split_at(group.len() / 2);
                groups.extend([(left.to_vec(), None), (right.to_vec(), None)]);
            }
        }
    }
    given.into_iter().map(|given| given.unwrap_or(Given::Failed("not run".into()))).collect()
}

/// A topology with a line for each view and its source.
fn topology(asked: &[Asked]) -> String {
    let mut text = tables();
    for (at, asked) in asked.iter().enumerate() {
        // One line a view: mistakes are told by line.
        let source = asked.source.as_deref().unwrap_or_default().replace('\n', " ");
        text.push_str(&format!("{source} CREATE MATERIALIZED VIEW q{at} AS {};\n", asked.query));
    }
    text
}

/// A topology's plan, or its mistakes: the line and the words of each.
pub fn compiled(text: &str) -> Result<Plan, Vec<(usize, String)>> {
    let files = [SqlFile { name: "scalar.sql".into(), text: text.into() }];
    let compiled = || compile(&files, &|_| None, &|_| Err(ErrorKind::NotFound.into()), &|_| Ok(None));
    match catch_unwind(AssertUnwindSafe(compiled)) {
        Ok(Ok(plan)) => Ok(plan),
        Ok(Err(mistakes)) => Err(mistakes
            .into_iter()
            .map(|m| {
                (
                    m.line as usize,
                    format!("{}{}", m.message, m.hint.map(|h| format!(" ({h})")).unwrap_or_default()),
                )
            })
            .collect()),
        Err(_) => Err(vec![(0, "check panics".to_owned())]),
    }
}

/// For each view what refuses it, and the plan of the others where they were compiled together. Mistakes of reading
/// hide those of planning: what is left is compiled again.
fn refusals(asked: &[Asked]) -> (Vec<Option<Given>>, Option<Plan>) {
    let mut refused: Vec<Option<Given>> = vec![None; asked.len()];
    loop {
        let open: Vec<usize> = (0..asked.len()).filter(|at| refused[*at].is_none()).collect();
        let views: Vec<Asked> = open.iter().map(|at| asked[*at].clone()).collect();
        let mistakes = match compiled(&topology(&views)) {
            Ok(plan) => return (refused, Some(plan)),
            Err(mistakes) => mistakes,
        };
        let lines = BEFORE + 1..=BEFORE + open.len();
        if !mistakes.iter().all(|(line, _)| lines.contains(line)) {
            break;
        }
        for (line, words) in mistakes {
            refused[open[line - BEFORE - 1]].get_or_insert(Given::Refused(words));
        }
    }
    // A panic has no place: each alone.
    for (at, asked) in asked.iter().enumerate() {
        if refused[at].is_some() {
            continue;
        }
        if let Err(mistakes) = compiled(&topology(std::slice::from_ref(asked))) {
            let (line, words) = &mistakes[0];
            refused[at] = Some(match line {
                0 => Given::Failed(words.clone()),
                _ => Given::Refused(words.clone()),
            });
        }
    }
    (refused, None)
}

/// The plan of the views that `check` accepts, and they.
pub fn views(asked: &[Asked]) -> (Plan, Vec<Asked>) {
    let (refused, plan) = refusals(asked);
    let left: Vec<Asked> = asked
        .iter()
        .zip(refused)
        .filter(|(_, refused)| refused.is_none())
        .map(|(asked, _)| asked.clone())
        .collect();
    let compiled = || compiled(&topology(&left)).unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
    (plan.unwrap_or_else(compiled), left)
}

/// Runs a topology on a thread of its own.
fn tried(history: &Arc<History>, asked: &[Asked], plan: Option<Plan>) -> Result<Vec<Given>, String> {
    let (sender, receiver) = channel();
    let (history, asked) = (Arc::clone(history), asked.to_vec());
    let thread = std::thread::Builder::new().name("topology".into()).spawn(move || {
        let ran = catch_unwind(AssertUnwindSafe(|| run(&history, &asked, plan)));
        let told = ran.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
            Err(format!("panic: {}", text.unwrap_or_default()))
        });
        // Nobody listens any more when it took too long.
        let _ = sender.send(told);
    });
    thread.map_err(|e| format!("{e:?}"))?;
    match receiver.recv_timeout(LONGEST) {
        Ok(told) => told,
        Err(RecvTimeoutError::Timeout) => Err(format!("no answer within {LONGEST:?}")),
        Err(RecvTimeoutError::Disconnected) => Err("the thread ended".to_owned()),
    }
}

fn run(history: &History, asked: &[Asked], plan: Option<Plan>) -> Result<Vec<Given>, String> {
    let compiled =
        || compiled(&topology(asked)).map_err(|mistakes| format!("not compiled together: {mistakes:?}"));
    let plan = Arc::new(plan.map_or_else(compiled, Ok)?);
    let memory = std::path::Path::new("/dev/shm");
    let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    let dir = dir.map_err(|e| format!("{e:?}"))?;
    let open = |workers: usize| {
        Engine::open(Opening {
            plan: &plan,
            dir: dir.path(),
            partitions: plan.sources.iter().map(|_| (0..1).collect()).collect(),
            workers,
            totals_bytes: CacheRoom::DEFAULT_BYTES,
            decoder: Arc::new(|source: &Source| decoder::of(source, &Arc::default())),
        })
        .map_err(|e| format!("{e:?}"))
    };
    let mut engine = open(1)?;
    let all = history.records.len();
    // Many records at once, then one, then the others on other workers.
    let ends = [0, all / 2, all / 2 + 1, all];
    for (at, pair) in ends.windows(2).enumerate() {
        for (place, source) in plan.sources.iter().enumerate() {
            let records = match source.name.as_str() {
                "t" => history.keyed(pair[0]..pair[1]),
                "u" if at > 0 => continue,
                "u" => {
                    let mut one = schemas::Records::new(0);
                    one.push(0, None, None, Some(b"{\"one\":1}"));
                    one
                }
                _ => history.plain(pair[0]..pair[1]),
            };
            engine.feed(place, records).map_err(|e| format!("{e:?}"))?;
        }
        engine.close().map_err(|e| format!("{e:?}"))?;
        engine.commit(0).map_err(|e| format!("{e:?}"))?;
        if at == 1 {
            engine.stop().map_err(|e| format!("{e:?}"))?;
            engine = open(2)?;
        }
    }
    let given = read(&engine, &plan, asked.len())?;
    engine.stop().map_err(|e| format!("{e:?}"))?;
    Ok(given)
}

fn read(engine: &Engine, plan: &Plan, views: usize) -> Result<Vec<Given>, String> {
    let names = ["view", "expression", "message", "row"].map(|n| Field::new(n, DataType::Utf8, false));
    let errors = texts(&Schema::new(names.to_vec()), &engine.error_rows().map_err(|e| format!("{e:?}"))?)?;
    let view = |at: usize| {
        let schema = &plan.rels[plan.views[at].rel].schema;
        let rows = texts(schema, &engine.view_rows(at).map_err(|e| format!("{e:?}"))?)?;
        let errors = errors.iter().filter(|row| row[0].as_deref() == Some(&plan.views[at].name)).count();
        Ok(Given::Rows { rows, errors, fields: schema.fields().iter().cloned().collect() })
    };
    (0..views).map(view).collect()
}

fn texts(schema: &Schema, rows: &Rows) -> Result<Vec<Texts>, String> {
    let columns =
        RowCodec::of(schema).and_then(|codec| codec.decode(rows.iter())).map_err(|e| format!("{e:?}"))?;
    let row = |row: usize| {
        columns.iter().zip(schema.fields()).map(|(column, field)| value::herald(column, row, field)).collect()
    };
    Ok((0..rows.len()).map(row).collect())
}
