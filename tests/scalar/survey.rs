//! Each form by itself, over columns and constants: it agrees with PostgreSQL, or `known.txt` says that it does not.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::expression::Generator;
use crate::forms::FORMS;
use crate::history::History;
use crate::known::{self, Known};
use crate::place::{PLACES, Place};
use crate::question::{Question, Verdict, area, ask};
use crate::{TOGETHER, judge};

/// Expressions of each form.
const EACH: u64 = 3;
/// The rows that the survey is over, unless a line of `known.txt` says others.
const SEED: u64 = 4;

/// A question of the survey.
struct Asked {
    name: String,
    question: Question,
    seed: u64,
    known: bool,
}

#[test]
fn every_form_agrees_or_is_known_not_to() {
    let known = known::known();
    let mut by_seed: BTreeMap<u64, Vec<Asked>> = BTreeMap::new();
    for (at, form) in FORMS.iter().enumerate().filter(|(_, form)| form.area != "own") {
        let name = form.name();
        // The choice depends on the form alone, so that other lines of the table do not change it.
        let mut rng = ChaCha8Rng::seed_from_u64(schemas::hash(name.as_bytes()));
        for _ in 0..EACH {
            let mut generator = Generator { rng: &mut rng, inner: &[] };
            let expr = generator.of_form(at, 0);
            let kind = expr.form().expect("a call").result;
            let question = Question { sql: expr.sql(), kind, place: &PLACES[0] };
            by_seed.entry(SEED).or_default().push(Asked {
                name: name.clone(),
                question,
                seed: SEED,
                known: false,
            });
        }
    }
    for (name, line) in &known {
        let form = name.split(" @ ").next().unwrap_or(name);
        let kind = FORMS.iter().find(|f| f.name() == form).map(|f| f.result);
        let (Some(kind), Some(place)) = (kind, Place::called(&line.place)) else { continue };
        let question = Question { sql: line.expression.clone(), kind, place };
        by_seed.entry(line.seed).or_default().push(Asked {
            name: name.clone(),
            question,
            seed: line.seed,
            known: true,
        });
    }
    let batches: Vec<(u64, &[Asked])> =
        by_seed.iter().flat_map(|(seed, asked)| asked.chunks(TOGETHER).map(|chunk| (*seed, chunk))).collect();
    let found = judged(&batches);
    settle(&known, &found);
}

fn judged<'a>(batches: &[(u64, &'a [Asked])]) -> Vec<(&'a Asked, Verdict)> {
    let (next, found) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from).min(4) {
            scope.spawn(|| {
                let mut postgres = judge::judge();
                while let Some((seed, asked)) = batches.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let history = Arc::new(History::new(*seed));
                    let questions: Vec<Question> = asked.iter().map(|a| a.question.clone()).collect();
                    let verdicts = ask(&mut postgres, &history, &questions);
                    found.lock().unwrap().extend(asked.iter().zip(verdicts));
                }
            });
        }
    });
    found.into_inner().unwrap()
}

/// Compares what was found with what is known; with `HERALD_UPDATE` it becomes what is known.
fn settle(known: &BTreeMap<String, Known>, found: &[(&Asked, Verdict)]) {
    let mut now: BTreeMap<String, (Known, String)> = BTreeMap::new();
    let rank = |status: &str| ["differs", "refused", "unjudged"].iter().position(|s| *s == status);
    // A line that holds stays as it is; a form that only sometimes is refused or unjudged is no line.
    let mut sorted: Vec<&(&Asked, Verdict)> = found.iter().collect();
    sorted.sort_by_key(|(asked, verdict)| (rank(verdict.status()), !asked.known, asked.question.sql.clone()));
    for (asked, verdict) in sorted {
        if *verdict == Verdict::Same {
            continue;
        }
        let others = found.iter().filter(|(other, _)| other.name == asked.name && !other.known);
        let only = others.into_iter().all(|(_, other)| other.status() == verdict.status());
        if verdict.status() != "differs" && !only {
            continue;
        }
        let line = Known {
            status: verdict.status().to_owned(),
            expression: asked.question.sql.clone(),
            place: asked.question.place.name.to_owned(),
            seed: asked.seed,
        };
        now.entry(asked.name.clone()).or_insert((line, verdict.told().to_owned()));
    }
    if let Ok(dir) = std::env::var("HERALD_DIFFERENCES") {
        tell(&dir, &now);
    }
    if std::env::var_os("HERALD_UPDATE").is_some() {
        known::write(&now.into_iter().map(|(name, (line, _))| (name, line)).collect());
        return;
    }
    let mut wrong = Vec::new();
    for (name, (line, told)) in &now {
        if known.get(name).is_none_or(|known| known.status != line.status) {
            wrong.push(format!("{} {name}\n  {} [{}]: {told}", line.status, line.expression, line.place));
        }
    }
    for name in known.keys().filter(|name| !now.contains_key(*name)) {
        wrong.push(format!("{name} agrees now: take it off tests/scalar/known.txt"));
    }
    assert!(wrong.is_empty(), "{} forms:\n{}", wrong.len(), wrong.join("\n"));
}

/// A list for those who mend: by area, with what each says.
fn tell(dir: &str, now: &BTreeMap<String, (Known, String)>) {
    let mut areas: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (name, (line, told)) in now.iter().filter(|(_, (line, _))| line.status != "unjudged") {
        areas.entry(area(name)).or_default().push(format!(
            "- {} `{name}`\n  `{}` [{}]\n  {told}\n",
            line.status, line.expression, line.place
        ));
    }
    std::fs::create_dir_all(dir).unwrap();
    for (area, lines) in areas {
        std::fs::write(format!("{dir}/{area}.survey.md"), lines.concat()).unwrap();
    }
}
