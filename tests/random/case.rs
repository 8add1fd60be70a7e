//! A case: a schema, views over it and over each other, and a history.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::sync::Arc;

use dataflows::mistake::SqlError;
use dataflows::plan::Plan;
use dataflows::sql::{SqlFile, compile};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::expression::Dialect;
use crate::feed;
use crate::generate::{Generator, MOST};
use crate::history::Draw;
use crate::model::{Record, Spec};
use crate::query::Query;
use crate::schema::{self, Relation, Schema};

/// A view.
#[derive(Clone)]
pub struct View {
    /// Its name.
    pub name: String,
    /// Its query.
    pub query: Query,
    /// Whether it can be read; one that cannot is only for views over it.
    pub materialized: bool,
}

/// All of it.
#[derive(Clone)]
pub struct Case {
    /// Where it came from.
    pub seed: u64,
    /// Sources, for the model.
    pub specs: Vec<Spec>,
    /// Sources, for Herald.
    pub ddl: Vec<String>,
    /// Views, each over what is before it.
    pub views: Vec<View>,
    /// Records in order of arrival.
    pub records: Vec<Record>,
    /// What is to be reported of views over each relation.
    pub kinds: BTreeMap<String, Vec<&'static str>>,
    /// Why Herald refused queries, and one of them.
    pub refused: BTreeMap<String, (usize, String)>,
}

/// Views that can be read in a case.
pub const VIEWS: usize = 20;
/// Records of a case.
const RECORDS: std::ops::Range<usize> = 30..60;

impl Case {
    /// A case of views that were written by hand.
    pub fn of(schema: &Schema, views: &[[&'static str; 3]], seed: u64) -> Case {
        let view = |(at, texts): (usize, &[&'static str; 3])| View {
            name: format!("v{at}"),
            query: Query::Text(*texts),
            materialized: true,
        };
        Case {
            seed,
            specs: schema.specs.clone(),
            ddl: schema.ddl.clone(),
            views: views.iter().enumerate().map(view).collect(),
            records: feed::history(schema, seed, RECORDS.end),
            kinds: schema.kinds.clone(),
            refused: BTreeMap::new(),
        }
    }

    /// Draws a case.
    pub fn new(seed: u64) -> Case {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut draw = Draw::new(&[], rng.random());
        let schema = schema::schema(&mut draw);
        let n = rng.random_range(RECORDS);
        let records = feed::history(&schema, rng.random(), n);
        let mut case = Case {
            seed,
            specs: schema.specs,
            ddl: schema.ddl,
            views: vec![],
            records,
            kinds: schema.kinds,
            refused: BTreeMap::new(),
        };
        // Twice: sources and tables are read more often than views.
        let twice = schema.relations.iter().chain(&schema.relations).cloned().collect();
        let mut generator = Generator::new(rng, twice);
        let mut next = 0;
        loop {
            while case.views.iter().filter(|v| v.materialized).count() < VIEWS {
                let (query, rows) =
                    if generator.chance(0.65) { generator.focused() } else { generator.query(2) };
                let view = View { name: format!("v{next}"), query, materialized: generator.chance(0.9) };
                next += 1;
                if rows < MOST {
                    let (name, columns) = (view.name.clone(), view.query.columns());
                    generator.relations.push(Relation { name, columns, rows, list: false });
                }
                case.views.push(view);
            }
            let Err(mistakes) = case.plan() else { return case };
            case.without(&mistakes);
            let kept: BTreeSet<&String> = case.views.iter().map(|v| &v.name).collect();
            generator.relations.retain(|r| !r.name.starts_with('v') || kept.contains(&r.name));
        }
    }

    /// Drops the views that Herald refused, and those over them. Every statement is a line.
    fn without(&mut self, mistakes: &[SqlError]) {
        let mut dropped = BTreeSet::new();
        for mistake in mistakes {
            let told = mistake.to_string();
            let mut parts = told.splitn(4, ':').skip(1);
            let line = parts.next().and_then(|line| line.parse::<usize>().ok());
            let view = line.and_then(|line| self.views.get((line - 1).checked_sub(self.ddl.len())?));
            let Some(view) = view else { panic!("{told}\n{}", self.text()) };
            dropped.insert(view.name.clone());
            let reason = parts.nth(1).unwrap_or_default().trim().to_string();
            let entry = self.refused.entry(reason).or_insert((0, view.query.sql(Dialect::Herald)));
            entry.0 += 1;
        }
        let views = std::mem::take(&mut self.views);
        for view in views {
            if dropped.contains(&view.name) || view.reads().iter().any(|name| dropped.contains(name)) {
                dropped.insert(view.name);
            } else {
                self.views.push(view);
            }
        }
    }

    /// The same with one view and those it needs.
    pub fn only(&self, view: usize) -> Case {
        let mut needed = BTreeSet::from([view]);
        for at in (0..=view).rev() {
            if needed.contains(&at) {
                let words = self.views[at].reads();
                needed.extend((0..at).filter(|b| words.contains(&self.views[*b].name)));
            }
        }
        let views = needed.iter().map(|at| self.views[*at].clone()).collect();
        let mut case = Case { views, refused: BTreeMap::new(), ..self.clone() };
        if let Some(last) = case.views.last_mut() {
            last.materialized = true;
        }
        case
    }

    /// The topology.
    pub fn text(&self) -> String {
        let mut text = self.ddl.join("\n");
        for View { name, query, materialized } in &self.views {
            let word = if *materialized { "MATERIALIZED " } else { "" };
            text.push_str(&format!("\nCREATE {word}VIEW {name} AS {};", query.sql(Dialect::Herald)));
        }
        text
    }

    /// Names and queries for a judge.
    pub fn queries(&self, dialect: Dialect) -> Vec<(String, String)> {
        self.views.iter().map(|v| (v.name.clone(), v.query.sql(dialect))).collect()
    }

    /// The plan, or why there is none.
    pub fn compile(&self) -> Result<Arc<Plan>, String> {
        let told = |mistakes: Vec<SqlError>| mistakes.first().map(ToString::to_string).unwrap_or_default();
        self.plan().map(Arc::new).map_err(told)
    }

    fn plan(&self) -> Result<Plan, Vec<SqlError>> {
        plan(self.text())
    }
}

/// The plan of a topology.
pub fn plan(text: String) -> Result<Plan, Vec<SqlError>> {
    let files = [SqlFile { name: "random.sql".into(), text }];
    compile(&files, &|_| None, &|_| Err(ErrorKind::NotFound.into()), &|_| Ok(None))
}

impl View {
    /// All words of its query; names of what it reads are among them.
    pub fn reads(&self) -> BTreeSet<String> {
        let text = self.query.sql(Dialect::Herald);
        text.split(|c: char| !c.is_alphanumeric() && c != '_').map(ToString::to_string).collect()
    }
}
