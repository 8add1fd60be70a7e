//! The table of forms, `forms.txt`: what expressions are made of.

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
    let lines = include_str!("forms.txt").lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.flat_map(forms).collect()
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
