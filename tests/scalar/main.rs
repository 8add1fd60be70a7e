//! Scalar expressions before PostgreSQL: every function, operator, condition, cast and type that Herald has.
//!
//! `forms.txt` is the table that expressions are made of. Each expression stands in a place of a query (SELECT,
//! WHERE, ON, GROUP BY, FILTER, CHECK and so on), over a keyed table whose rows are inserted, corrected and
//! deleted; the values are ordinary ones and those at the edges. Herald's views must hold what PostgreSQL answers
//! over the rows that are left, and a row that PostgreSQL fails on must be a row of `herald.errors`. What docs/sql.md
//! lists as meant otherwise is told to PostgreSQL in its own words: `judge.sql` puts operators and functions before
//! its own, and `«h¦p»` in a form is another text for each.
//!
//! ```console
//! $ cargo test --release --test scalar                              # every form, and a few thousand nested ones
//! $ HERALD_EXPRESSIONS=200000 HERALD_SEED=7 cargo test --release --test scalar random_expressions -- --nocapture
//! $ HERALD_UPDATE=1 cargo test --release --test scalar every_form   # writes known.txt
//! ```
//!
//! | file | what it holds |
//! | --- | --- |
//! | `forms`, `kind` | the table of forms; kinds, columns and their values |
//! | `expression`, `place`, `history` | random expressions, where they stand, and the rows they are over |
//! | `engine`, `judge`, `value` | Herald's answers, PostgreSQL's, and their values side by side |
//! | `question`, `known` | what differs, made smaller; what is known to |
//! | `survey`, `alone` | each form by itself; each function's rows each alone |

mod alone;
mod engine;
mod expression;
mod forms;
mod history;
mod judge;
mod kind;
mod known;
mod place;
#[path = "../oracle/postgres.rs"]
mod postgres;
mod question;
mod survey;
mod value;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use expression::{Expr, Generator};
use forms::FORMS;
use history::History;
use place::{PLACES, Place};
use question::{Question, Verdict};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Expressions of a run that nobody asked to be longer.
const EXPRESSIONS: usize = 3000;
/// Expressions over one history.
const TOGETHER: usize = 128;

/// Time that both take, on all threads, in milliseconds.
static SPENT: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];

/// Runs `run`; the time it takes is spent by one of PostgreSQL, the compiler and the engine.
pub fn spent<T>(by: usize, run: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let given = run();
    SPENT[by].fetch_add(begun.elapsed().as_millis() as u64, Ordering::Relaxed);
    given
}

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Forms that are judged: those of the table that PostgreSQL has and that are not known to differ.
fn judged_forms() -> Vec<usize> {
    let known = known::known();
    (0..FORMS.len())
        .filter(|at| FORMS[*at].area != "own" && !known.contains_key(&FORMS[*at].name()))
        .collect()
}

/// Counts of a run.
#[derive(Default)]
struct Counts {
    by: BTreeMap<&'static str, usize>,
    places: BTreeMap<&'static str, usize>,
    words: BTreeMap<String, (usize, String)>,
    failures: BTreeMap<String, (usize, String)>,
}

#[test]
fn random_expressions() {
    let (wanted, first) = (number("HERALD_EXPRESSIONS", EXPRESSIONS), number("HERALD_SEED", 1) as u64);
    let known = known::known();
    let forms = judged_forms();
    let (begun, next) = (Instant::now(), AtomicU64::new(0));
    let counts = Mutex::new(Counts::default());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from).min(4) {
            scope.spawn(|| {
                let mut postgres = judge::judge();
                loop {
                    let batch = next.fetch_add(1, Ordering::Relaxed);
                    if batch as usize * TOGETHER >= wanted {
                        break;
                    }
                    let seed = first + batch;
                    let history = Arc::new(History::new(seed));
                    let drawn = drawn(seed, &forms, &known);
                    judge_batch(&mut postgres, &history, seed, &drawn, &counts);
                    if batch % 100 == 99 {
                        println!("{} expressions, {:?}", (batch as usize + 1) * TOGETHER, begun.elapsed());
                    }
                }
            });
        }
    });
    let counts = counts.into_inner().unwrap();
    println!("seeds {first}..{}, {:?}: {:?}", first + next.into_inner(), begun.elapsed(), counts.by);
    let [postgres, compiling, running] = SPENT.each_ref().map(|ms| ms.load(Ordering::Relaxed) / 1000);
    println!("seconds of all threads: PostgreSQL {postgres}, compiling {compiling}, running {running}");
    println!("places: {:?}", counts.places);
    for (words, (count, example)) in &counts.words {
        println!("{count} {words}: {example}");
    }
    let failures: Vec<String> = counts
        .failures
        .iter()
        .map(|(name, (count, told))| format!("{name} ({count} times)\n  {told}"))
        .collect();
    assert!(failures.is_empty(), "{} forms differ:\n{}", failures.len(), failures.join("\n"));
    // Constants that always fail are refused by one and told by the other for the whole query.
    let of = |status| counts.by.get(status).copied().unwrap_or(0);
    let (unjudged, refused) = (of("unjudged"), of("refused"));
    assert!(unjudged * 20 < wanted, "{unjudged} of {wanted} are not judged");
    assert!(refused * 50 < wanted, "{refused} of {wanted} are refused");
}

/// The expressions over one history.
fn drawn(seed: u64, forms: &[usize], known: &BTreeMap<String, known::Known>) -> Vec<(Expr, &'static Place)> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x5ca1a4);
    let mut drawn = Vec::new();
    while drawn.len() < TOGETHER {
        let form = forms[rng.random_range(0..forms.len())];
        let depth = rng.random_range(0..4);
        let mut generator = Generator { rng: &mut rng, inner: forms };
        let expr = generator.of_form(form, depth);
        let Some(form) = expr.form() else { continue };
        let places = Place::of(form.result);
        let place =
            if rng.random_range(0..5) > 0 { &PLACES[0] } else { places[rng.random_range(0..places.len())] };
        let name = form.name();
        if !known.contains_key(&name) && !known.contains_key(&format!("{name} @ {}", place.name)) {
            drawn.push((expr, place));
        }
    }
    drawn
}

fn judge_batch(
    postgres: &mut postgres::Postgres,
    history: &Arc<History>,
    seed: u64,
    drawn: &[(Expr, &'static Place)],
    counts: &Mutex<Counts>,
) {
    let question = |(expr, place): &(Expr, &'static Place)| Question {
        sql: expr.sql(),
        kind: expr.form().expect("a call").result,
        place,
    };
    let questions: Vec<Question> = drawn.iter().map(question).collect();
    let verdicts = question::ask(postgres, history, &questions);
    for (((expr, place), question), verdict) in drawn.iter().zip(&questions).zip(verdicts) {
        let small = match verdict {
            Verdict::Differs(_) => question::shrunk(postgres, history, expr, place),
            _ => None,
        };
        let mut counts = counts.lock().unwrap();
        *counts.by.entry(verdict.status()).or_default() += 1;
        *counts.places.entry(place.name).or_default() += 1;
        match &verdict {
            Verdict::Same => {}
            Verdict::Differs(told) => {
                let (name, told) = match small {
                    Some((name, small, verdict)) => {
                        (name, format!("{} [{}]: {}", small.sql, small.place.name, verdict.told()))
                    }
                    None => (format!("only together: {}", question.sql), told.clone()),
                };
                let told = format!("seed {seed}: {told}\n  in {} [{}]", question.sql, place.name);
                if !counts.failures.contains_key(&name) {
                    println!("differs: {name}\n  {told}");
                }
                counts.failures.entry(name).or_insert((0, told)).0 += 1;
            }
            Verdict::Unjudged(words) | Verdict::Refused(words) => {
                let words: String = format!("{} {words}", verdict.status()).chars().take(90).collect();
                counts.words.entry(words).or_insert((0, question.sql.clone())).0 += 1;
            }
        }
    }
}
