//! The SQL front end against text that nobody meant: the shipped topologies and the plans of `explain`, with
//! tokens dropped, doubled, swapped and replaced by seed. It says what is wrong, with a place in the text; it
//! never panics. `HERALD_FUZZ_SECONDS` and `HERALD_SEED` as in `schemas/tests/fuzz.rs`.

use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use dataflows::sql::{SqlFile, compile};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn corpus() -> Vec<Vec<String>> {
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for dir in ["topologies", "tests/explain"] {
        let entries = std::fs::read_dir(home.join(dir)).expect("a folder").flatten();
        files.extend(
            entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == "sql")),
        );
    }
    files.sort();
    assert!(files.len() > 3, "{files:?}");
    files.iter().map(|path| tokens(&std::fs::read_to_string(path).expect("text"))).collect()
}

/// Words, strings and single signs, each with the space after it.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    let mut quoted = false;
    let mut word = false;
    for c in text.chars() {
        let part = c.is_alphanumeric() || c == '_';
        if quoted || (part && word) || c.is_whitespace() {
            match tokens.last_mut() {
                Some(last) => last.push(c),
                None => tokens.push(c.to_string()),
            }
        } else {
            tokens.push(c.to_string());
        }
        quoted ^= c == '\'';
        word = part;
    }
    tokens
}

#[test]
fn no_text_makes_the_front_end_panic() {
    let corpus = corpus();
    let (first, begun) = (number("HERALD_SEED", 1), Instant::now());
    let longest = Duration::from_secs(number("HERALD_FUZZ_SECONDS", 10));
    let (mut seed, mut planned) = (first, 0);
    while begun.elapsed() < longest {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut text = corpus[rng.random_range(0..corpus.len())].clone();
        for _ in 0..rng.random_range(1..6) {
            if text.is_empty() {
                break;
            }
            let at = rng.random_range(0..text.len());
            let other = &corpus[rng.random_range(0..corpus.len())];
            let from = rng.random_range(0..other.len());
            match rng.random_range(0..7) {
                0 => drop(text.remove(at)),
                1 => text.insert(at, text[at].clone()),
                2 => text[at].clone_from(&other[from]),
                3 => drop(text.splice(at..at, other[from..other.len().min(from + 12)].iter().cloned())),
                4 => text.truncate(at.max(1)),
                5 => {
                    let open =
                        ["(", "NOT ", "- ", "CASE WHEN ", "[", "a.", "SELECT ("][rng.random_range(0..7)];
                    text.insert(at, open.repeat(rng.random_range(1..60)));
                }
                _ => {
                    let odd = [
                        "\u{0}",
                        "'",
                        "\"",
                        "é",
                        "$",
                        "1e999",
                        "99999999999999999999",
                        "/*",
                        "--",
                        "::",
                        "?",
                    ];
                    text.insert(at, odd[rng.random_range(0..odd.len())].to_owned());
                }
            }
        }
        let text = text.concat();
        if std::env::var_os("HERALD_FUZZ_TRACE").is_some() {
            println!("seed {seed}");
        }
        let files = [SqlFile { name: "fuzz.sql".into(), text: text.clone() }];
        let tried = catch_unwind(AssertUnwindSafe(|| {
            compile(&files, &|_| Some("x".into()), &|_| Err(ErrorKind::NotFound.into()), &|_| Ok(None))
        }));
        match tried {
            Ok(Ok(_)) => planned += 1,
            Ok(Err(mistakes)) => {
                assert!(!mistakes.is_empty(), "seed {seed}: refused without a word:\n{text}");
                for mistake in mistakes {
                    assert!(mistake.to_string().starts_with("fuzz.sql:"), "seed {seed}: {mistake}\n{text}");
                }
            }
            Err(_) => panic!("seed {seed}:\n{text}"),
        }
        seed += 1;
    }
    println!("{} texts from seed {first}, {planned} of them planned", seed - first);
}
