//! The table of forms, `forms.txt`: what expressions are made of.

use std::path::PathBuf;
use std::sync::LazyLock;

use crate::kind::Kind;

/// A function, operator, condition or cast over arguments of certain kinds.
#[derive(Clone, Debug)]
pub struct Form {
    /// The part of SQL it belongs to, as the table has it.
    pub area: &'static str,
    /// Its text as the table has it.
    pub text: String,
    /// Kinds of its arguments.
    pub arguments: Vec<Kind>,
    /// Kind of its result.
    pub result: Kind,
}

/// All forms, in the table's order.
pub static FORMS: LazyLock<Vec<Form>> = LazyLock::new(|| {
    let table = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/scalar/forms.txt");
    let text: &'static str = std::fs::read_to_string(table).expect("tests/scalar/forms.txt").leak();
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).flat_map(forms).collect()
});

/// The forms of a line: one for each kind that T stands for.
fn forms(line: &'static str) -> Vec<Form> {
    let parts: Vec<&str> = line.split(" | ").collect();
    let [area, text, signature, rest @ ..] = parts.as_slice() else { panic!("{line}") };
    let (arguments, result) = signature.split_once("->").unwrap_or_else(|| panic!("{line}"));
    let spelled = text.replace("OR_BITS", "|").replace("CONCAT", "||").replace("?OR", "?|");
    let of = |name: &'static str, kind: &'static str| -> Kind {
        match name.trim() {
            "T" => Kind(kind),
            "T[]" => Kind(match kind {
                "i32" => "i32[]",
                "text" => "text[]",
                "f64" => "f64[]",
                other => panic!("no array of {other}: {line}"),
            }),
            other => Kind(other),
        }
    };
    let form = |kind: &'static str| Form {
        area,
        text: spelled.clone(),
        arguments: arguments.split_whitespace().map(|name| of(name, kind)).collect(),
        result: of(result, kind),
    };
    match rest {
        [kinds] => kinds.split_whitespace().map(form).collect(),
        [] => vec![form("")],
        _ => panic!("{line}"),
    }
}

impl Form {
    /// What it is called: its text and the kinds of its arguments.
    pub fn name(&self) -> String {
        let kinds: Vec<&str> = self.arguments.iter().map(|kind| kind.0).collect();
        format!("{} :: {}", self.text, kinds.join(" "))
    }
}

/// Splits a text into pieces: words, and all else, a character each.
pub fn words(text: &str) -> Vec<&str> {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let (mut pieces, mut from) = (vec![], 0);
    let mut before = false;
    for (at, c) in text.char_indices() {
        if at > 0 && !(before && word(c)) {
            pieces.push(&text[from..at]);
            from = at;
        }
        before = word(c);
    }
    pieces.push(&text[from..]);
    pieces
}

/// Whom a text is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum For {
    /// Herald.
    Herald,
    /// PostgreSQL.
    Postgres,
    /// Herald, which is not to see constants: it drops what cannot matter beside them.
    BlindHerald,
    /// PostgreSQL, which is not to see constants either: it evaluates them before all else, whatever guards them.
    BlindPostgres,
}

/// A text as one of them is to read it: `«h¦p»` is `h` to Herald and `p` to PostgreSQL, also within one another;
/// `⟪c⟫` is a constant.
pub fn spelled(text: &str, reader: For) -> String {
    let mut out = String::new();
    // Who reads the parts that are open here, from the outermost on.
    let mut open: Vec<For> = Vec::new();
    let (reader, before, after) = match reader {
        For::BlindHerald => (For::Herald, "(CASE WHEN nn > 1000 THEN NULL ELSE ", " END)"),
        For::BlindPostgres => (For::Postgres, "(SELECT ", ")"),
        reader => (reader, "", ""),
    };
    for c in text.chars() {
        match c {
            '⟪' | '⟫' if !open.iter().all(|part| *part == reader) => {}
            '⟪' => out.push_str(before),
            '⟫' => out.push_str(after),
            '«' => open.push(For::Herald),
            '¦' => *open.last_mut().expect("a part for PostgreSQL within «»") = For::Postgres,
            '»' => drop(open.pop()),
            c if open.iter().all(|part| *part == reader) => out.push(c),
            _ => {}
        }
    }
    out
}

#[test]
fn parts_are_for_one_reader() {
    let text = "⟪«7¦7::bigint»⟫ + «round(«1¦2»)¦trunc(«1¦2»)»";
    assert_eq!(spelled(text, For::Herald), "7 + round(1)");
    assert_eq!(spelled(text, For::Postgres), "7::bigint + trunc(2)");
    assert_eq!(spelled(text, For::BlindPostgres), "(SELECT 7::bigint) + trunc(2)");
}
