//! Random expressions: trees of forms over columns and constants.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::forms::{FORMS, Form, words};
use crate::kind::{COLUMNS, Kind, literal};

/// An expression.
#[derive(Clone, Debug)]
pub enum Expr {
    /// A column or a constant.
    Leaf(String),
    /// A form with its choices made, and its arguments.
    Call {
        /// Place in [`FORMS`].
        form: usize,
        /// Text with `$1` for arguments.
        text: String,
        /// Arguments.
        arguments: Vec<Expr>,
    },
}

impl Expr {
    /// SQL, for Herald and PostgreSQL alike.
    pub fn sql(&self) -> String {
        let Expr::Call { text, arguments, .. } = self else {
            let Expr::Leaf(text) = self else { unreachable!() };
            return text.clone();
        };
        let mut out = text.clone();
        for (at, argument) in arguments.iter().enumerate().rev() {
            let inner = match argument {
                Expr::Leaf(text) => text.clone(),
                call => format!("({})", call.sql()),
            };
            out = out.replace(&format!("${}", at + 1), &inner);
        }
        out
    }

    /// The form at its top.
    pub fn form(&self) -> Option<&'static Form> {
        match self {
            Expr::Leaf(_) => None,
            Expr::Call { form, .. } => FORMS.get(*form),
        }
    }

    /// Every call in it, those without calls below them first.
    pub fn calls(&self) -> Vec<&Expr> {
        let Expr::Call { arguments, .. } = self else { return vec![] };
        let mut calls: Vec<&Expr> = arguments.iter().flat_map(Expr::calls).collect();
        calls.push(self);
        calls
    }
}

/// Draws expressions of forms that are not left out.
pub struct Generator<'a> {
    /// Chance.
    pub rng: &'a mut ChaCha8Rng,
    /// Places of forms that may stand below others.
    pub inner: &'a [usize],
}

impl Generator<'_> {
    /// An expression with this form at its top.
    pub fn of_form(&mut self, form: usize, depth: usize) -> Expr {
        let known = &FORMS[form];
        let text = self.filled(&known.text);
        let arguments = known.arguments.iter().map(|kind| self.of_kind(*kind, depth)).collect();
        Expr::Call { form, text, arguments }
    }

    /// An expression of a kind, of at most this depth.
    pub fn of_kind(&mut self, kind: Kind, depth: usize) -> Expr {
        let forms: Vec<usize> =
            self.inner.iter().copied().filter(|form| FORMS[*form].result == kind).collect();
        if depth == 0 || forms.is_empty() || self.rng.random_range(0..100) < 35 {
            return self.leaf(kind);
        }
        let form = forms[self.rng.random_range(0..forms.len())];
        self.of_form(form, depth - 1)
    }

    fn leaf(&mut self, kind: Kind) -> Expr {
        let columns: Vec<&str> = COLUMNS.iter().filter(|c| c.kind == kind).map(|c| c.name).collect();
        let constant = columns.is_empty() || self.rng.random_range(0..100) < 25;
        match literal(kind, self.rng).filter(|_| constant) {
            Some(text) => Expr::Leaf(format!("⟪{text}⟫")),
            None => {
                let name = columns[self.rng.random_range(0..columns.len())];
                // That a column is never NULL is known like a constant.
                let known = COLUMNS.iter().any(|c| c.name == name && c.not_null);
                Expr::Leaf(if known { format!("⟪{name}⟫") } else { name.to_owned() })
            }
        }
    }

    /// A form's text with its choices made: `{a|b}`, and words that stand for constants.
    fn filled(&mut self, text: &str) -> String {
        let mut chosen = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            chosen.push_str(before);
            let (inside, after) = after.split_once('}').unwrap_or_else(|| panic!("{text}"));
            // Operators have bars in them.
            let choices: Vec<&str> = match inside {
                "|" | "||" => vec![inside],
                "?||?&" => vec!["?|", "?&"],
                _ => inside.split('|').collect(),
            };
            chosen.push_str(choices[self.rng.random_range(0..choices.len())]);
            rest = after;
        }
        chosen.push_str(rest);
        let mut out = String::new();
        let mut quoted = false;
        for word in words(&chosen) {
            quoted ^= word == "'";
            match word {
                "k" | "n" | "re" | "like" | "zone" | "width" if !quoted => {
                    let kind = COLUMNS.iter().map(|c| c.kind).find(|kind| kind.0 == word);
                    let kind = kind.unwrap_or(Kind(match word {
                        "re" => "re",
                        "like" => "like",
                        "zone" => "zone",
                        _ => "width",
                    }));
                    out.push_str(&format!("⟪{}⟫", literal(kind, self.rng).expect("constants")));
                }
                word => out.push_str(word),
            }
        }
        out
    }
}
