//! Topologies as values: tables, views, sinks and indexes that can be edited and written as SQL.
//!
//! A view, a sink and an index have a number that outlives a renaming, so that two editions can be compared:
//! [`Topology::meaning`] is the text of a view's query with every name below it spelled out.

use std::collections::{BTreeMap, BTreeSet};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::query::{Kind, Query, Rel, Shape, Table};

/// A view.
#[derive(Clone, Debug)]
pub struct View {
    /// Its number, which a renaming keeps.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// Its query.
    pub query: Query,
    /// True for CREATE MATERIALIZED VIEW.
    pub materialized: bool,
}

/// The format of a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Rows of a view that never takes one back.
    Plain,
    /// The row of each key.
    Upsert,
    /// The row before and after each change.
    Debezium,
}

/// A sink that writes to a file.
#[derive(Clone, Debug)]
pub struct Sink {
    /// Its number, which a renaming keeps.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// The number of its view.
    pub view: u32,
    /// Its format.
    pub format: Format,
    /// Its key; empty for [`Format::Plain`].
    pub key: Vec<String>,
}

/// An index.
#[derive(Clone, Debug)]
pub struct Index {
    /// Its name.
    pub name: String,
    /// The number of its view.
    pub view: u32,
    /// Its columns.
    pub columns: Vec<String>,
}

/// An edition of a topology.
#[derive(Clone, Debug, Default)]
pub struct Topology {
    /// The tables and sources.
    pub tables: Vec<Table>,
    /// The views; each reads tables and views before it.
    pub views: Vec<View>,
    /// The sinks.
    pub sinks: Vec<Sink>,
    /// The indexes.
    pub indexes: Vec<Index>,
    /// The seed of the order of statements; 0 for that of the lists.
    pub order: u64,
    /// The spelling: bits for comments, line breaks and other aliases.
    pub spelling: u8,
    /// The last number that was given.
    pub last_id: u32,
}

/// The bit of a spelling with comments.
const COMMENTS: u8 = 1;
/// The bit of a spelling with more line breaks and spaces.
const SPACES: u8 = 2;
/// The bit of a spelling with other aliases.
const ALIASES: u8 = 4;
/// A number above all spellings.
pub const SPELLINGS: u8 = 8;

/// A statement, and the relations that stand before it.
struct Statement {
    defines: Option<Rel>,
    after: Vec<Rel>,
    text: String,
    is_sink: bool,
}

impl Topology {
    /// A number that no view, sink or index has had.
    pub fn next_id(&mut self) -> u32 {
        self.last_id += 1;
        self.last_id
    }

    /// The view of a number.
    pub fn view(&self, id: u32) -> Option<&View> {
        self.views.iter().find(|view| view.id == id)
    }

    /// The sink of a number.
    pub fn sink(&self, id: u32) -> Option<&Sink> {
        self.sinks.iter().find(|sink| sink.id == id)
    }

    /// The columns and properties of a relation; None if it, or a column that it reads, is not there.
    pub fn shape(&self, rel: Rel) -> Option<Shape> {
        match rel {
            Rel::Table(table) => self.tables.contains(&table).then(|| table.shape()),
            Rel::View(id) => self.query_shape(&self.view(id)?.query),
        }
    }

    /// The columns and properties of a query's result; None if an input, or a column of it, is not there.
    pub fn query_shape(&self, query: &Query) -> Option<Shape> {
        let mut inputs = Vec::new();
        for (rel, columns) in query.reads() {
            let shape = self.shape(rel)?;
            if columns.iter().any(|column| shape.kind(column).is_none()) {
                return None;
            }
            inputs.push(shape);
        }
        query.shape(&inputs)
    }

    /// The text of a view's query, with the texts of the views below it in place of their names.
    pub fn meaning(&self, id: u32) -> String {
        match self.view(id) {
            Some(view) => self.query_meaning(&view.query),
            None => "nothing".to_owned(),
        }
    }

    /// The text of a query, with the texts of the views below it in place of their names.
    pub fn query_meaning(&self, query: &Query) -> String {
        let spelled_out = |rel: Rel| match rel {
            Rel::Table(table) => table.name().to_owned(),
            Rel::View(id) => format!("({})", self.meaning(id)),
        };
        query.text(&spelled_out, false)
    }

    /// The views that read a view, directly or through others.
    pub fn dependants(&self, id: u32) -> BTreeSet<u32> {
        let mut found = BTreeSet::new();
        // Views are in the order of dependency.
        for view in &self.views {
            let reads = |rel: &Rel| matches!(rel, Rel::View(below) if *below == id || found.contains(below));
            if view.query.reads().iter().any(|(rel, _)| reads(rel)) {
                found.insert(view.id);
            }
        }
        found
    }

    /// Returns true if a view is one that is not materialized, or is over one. Such a view's readers share its steps,
    /// which another reader may change for all of them.
    pub fn shares_steps(&self, id: u32) -> bool {
        let Some(view) = self.view(id) else { return false };
        let mut below = view.query.reads().into_iter();
        !view.materialized || below.any(|(rel, _)| matches!(rel, Rel::View(id) if self.shares_steps(id)))
    }

    /// Removes what an edit has left without its input, columns or key, with all that reads it.
    pub fn prune(&mut self) {
        loop {
            let broken = self.views.iter().find(|view| self.shape(Rel::View(view.id)).is_none());
            let Some(id) = broken.map(|view| view.id) else { break };
            self.views.retain(|view| view.id != id);
        }
        let shapes: BTreeMap<u32, Shape> =
            self.views.iter().filter_map(|view| Some((view.id, self.shape(Rel::View(view.id))?))).collect();
        let materialized: BTreeSet<u32> =
            self.views.iter().filter(|view| view.materialized).map(|view| view.id).collect();
        self.sinks.retain(|sink| {
            let shape = shapes.get(&sink.view).filter(|_| materialized.contains(&sink.view));
            shape.is_some_and(|shape| sink.fits(shape))
        });
        self.indexes.retain(|index| {
            let shape = shapes.get(&index.view).filter(|_| materialized.contains(&index.view));
            shape.is_some_and(|shape| index.columns.iter().all(|column| shape.orders(column)))
        });
    }

    /// The topology as SQL. Sinks keep the order of their list, for so must those that write to files.
    pub fn sql(&self) -> String {
        let mut left = self.statements();
        let mut rng = ChaCha8Rng::seed_from_u64(self.order);
        let (mut text, mut defined) = (String::new(), BTreeSet::new());
        while !left.is_empty() {
            let next_sink = left.iter().position(|statement| statement.is_sink);
            let mut ready = Vec::new();
            for (at, statement) in left.iter().enumerate() {
                let stands_behind = statement.after.iter().all(|rel| defined.contains(rel));
                if stands_behind && (!statement.is_sink || next_sink == Some(at)) {
                    ready.push(at);
                }
            }
            assert!(!ready.is_empty(), "views read each other in a circle");
            let drawn = if self.order == 0 { 0 } else { rng.random_range(0..ready.len()) };
            let statement = left.remove(ready[drawn]);
            defined.extend(statement.defines);
            if self.spelling & COMMENTS > 0 {
                text.push_str(&format!("-- {} more\n/* and\n   a comment */ ", left.len()));
            }
            text.push_str(&self.spaced(&statement.text));
            text.push_str(";\n");
        }
        text
    }

    /// A statement with the spaces of the spelling.
    fn spaced(&self, statement: &str) -> String {
        if self.spelling & SPACES == 0 {
            return statement.to_owned();
        }
        let broken = statement.replace(" FROM ", "\n\tFROM  ").replace(" WHERE ", "\n  where ");
        broken.replace(" AS SELECT ", "\nAS\n  SELECT  ")
    }

    /// The statements in the order of the lists.
    fn statements(&self) -> Vec<Statement> {
        let mut statements = Vec::new();
        for table in &self.tables {
            let (defines, text) = (Some(Rel::Table(*table)), table.statement());
            statements.push(Statement { defines, after: vec![], text, is_sink: false });
        }
        for view in &self.views {
            let (defines, text) = (Some(Rel::View(view.id)), self.view_statement(view));
            let after = view.query.reads().into_iter().map(|(rel, _)| rel).collect();
            statements.push(Statement { defines, after, text, is_sink: false });
        }
        for sink in &self.sinks {
            let text = sink.statement(self.name_of(Rel::View(sink.view)));
            statements.push(Statement {
                defines: None,
                after: vec![Rel::View(sink.view)],
                text,
                is_sink: true,
            });
        }
        for index in &self.indexes {
            let view = Rel::View(index.view);
            let columns = index.columns.join(", ");
            let text = format!("CREATE INDEX {} ON {} ({columns})", index.name, self.name_of(view));
            statements.push(Statement { defines: None, after: vec![view], text, is_sink: false });
        }
        statements
    }

    fn view_statement(&self, view: &View) -> String {
        let word = if view.materialized { "MATERIALIZED VIEW" } else { "VIEW" };
        let name_of = |rel: Rel| self.name_of(rel).to_owned();
        let query = view.query.text(&name_of, self.spelling & ALIASES > 0);
        format!("CREATE {word} {} AS {query}", view.name)
    }

    fn name_of(&self, rel: Rel) -> &str {
        match rel {
            Rel::Table(table) => table.name(),
            Rel::View(id) => self.view(id).map_or("nothing", |view| view.name.as_str()),
        }
    }

    /// The query of `herald query` for the rows of all materialized views, each as a line of text.
    pub fn question(&self) -> String {
        let mut parts = Vec::new();
        for view in self.views.iter().filter(|view| view.materialized) {
            let shape = self.shape(Rel::View(view.id)).expect("a pruned topology");
            let mut values = vec![format!("'{}'", view.name)];
            for column in &shape.columns {
                values.push(format!("coalesce(CAST({} AS VARCHAR), 'null')", column.name));
            }
            parts.push(format!("SELECT concat_ws(' ', {}) AS line FROM {}", values.join(", "), view.name));
        }
        parts.join(" UNION ALL ")
    }
}

impl Sink {
    /// The path of its file, which a renaming keeps.
    pub fn path(&self) -> String {
        format!("out/sink_{}.jsonl", self.id)
    }

    /// Returns true if a view of that shape can be sent so.
    fn fits(&self, view: &Shape) -> bool {
        match self.format {
            Format::Plain => view.appends,
            Format::Upsert | Format::Debezium => view.key.as_ref() == Some(&self.key),
        }
    }

    fn statement(&self, view: &str) -> String {
        let (path, key) = (self.path(), self.key.join(","));
        let (key, format) = match self.format {
            Format::Plain => (String::new(), "PLAIN"),
            Format::Upsert => (format!(", primary_key = '{key}'"), "UPSERT"),
            Format::Debezium => (format!(", primary_key = '{key}'"), "DEBEZIUM"),
        };
        format!(
            "CREATE SINK {} FROM {view} WITH (connector = 'file', path = '{path}'{key}) \
             FORMAT {format} ENCODE JSON",
            self.name
        )
    }
}

impl Shape {
    /// Returns true if it has the column, of a type that can be indexed.
    pub fn orders(&self, column: &str) -> bool {
        self.kind(column).is_some_and(|kind| kind != Kind::Double)
    }
}
