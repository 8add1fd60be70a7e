//! Random topologies, which `herald check` accepts.
//!
//! Joins find one row of their right side, or are of two tables: no view is much larger than its inputs.

use std::ops::Range;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::query::{Filter, Kind, Query, Rel, Shape, Table, Total};
use super::topology::{Format, Index, Sink, Topology, View};

/// Attempts at something that a topology may not have room for.
const ATTEMPTS: usize = 40;
/// Views on a way from a table to the last view.
const DEPTH: usize = 3;
const COMPARISONS: [&str; 4] = ["<", ">", ">=", "<>"];

/// A source of random choices.
pub struct Draw {
    rng: ChaCha8Rng,
}

impl Draw {
    /// The choices of a seed.
    pub fn new(seed: u64) -> Draw {
        Draw { rng: ChaCha8Rng::seed_from_u64(seed) }
    }

    /// True with a probability.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.rng.random_bool(probability)
    }

    /// A number of a range.
    pub fn int(&mut self, range: Range<i64>) -> i64 {
        self.rng.random_range(range)
    }

    /// An item; None of an empty list.
    pub fn one<T: Clone>(&mut self, items: &[T]) -> Option<T> {
        if items.is_empty() { None } else { Some(items[self.rng.random_range(0..items.len())].clone()) }
    }

    /// So many different items in their order, or all if there are fewer.
    pub fn some<T: Clone>(&mut self, items: &[T], count: usize) -> Vec<T> {
        let mut left: Vec<usize> = (0..items.len()).collect();
        while left.len() > count {
            left.remove(self.rng.random_range(0..left.len()));
        }
        left.into_iter().map(|at| items[at].clone()).collect()
    }

    /// A topology with three to six views, sinks and indexes.
    pub fn topology(&mut self) -> Topology {
        let tables = vec![Table::Users, Table::Games, Table::Clicks];
        let mut topology = Topology { tables, ..Topology::default() };
        if self.chance(0.2) {
            topology.tables.push(Table::Prizes);
        }
        let views = self.int(3..7) as usize;
        while topology.views.len() < views {
            self.add_view(&mut topology, 0.35);
        }
        let ids: Vec<u32> = topology.views.iter().map(|view| view.id).collect();
        for id in ids {
            if self.chance(0.7) {
                self.add_sink(&mut topology, id);
            }
        }
        for _ in 0..self.int(0..3) {
            self.add_index(&mut topology);
        }
        topology
    }

    /// Adds a view. Reads what an append-only source gives with a probability. Returns its number; None if no query
    /// was found.
    pub fn add_view(&mut self, topology: &mut Topology, of_source: f64) -> Option<u32> {
        for _ in 0..ATTEMPTS {
            let of_source = self.chance(of_source);
            let Some(query) = self.query(topology, of_source) else { continue };
            let Some(shape) = topology.query_shape(&query) else { continue };
            let meaning = topology.query_meaning(&query);
            let is_known = topology.views.iter().any(|view| topology.meaning(view.id) == meaning);
            if is_known || (shape.of_source && !of_source) {
                continue;
            }
            let (id, materialized) = (topology.next_id(), topology.views.is_empty() || self.chance(0.85));
            topology.views.push(View { id, name: format!("v{id}"), query, materialized });
            return Some(id);
        }
        None
    }

    /// Adds a sink of a materialized view, if its rows can be sent in some format: of any other view nothing tells
    /// what was sent, so that an edit may send all of it again. Returns true if it did.
    pub fn add_sink(&mut self, topology: &mut Topology, view: u32) -> bool {
        if topology.view(view).is_none_or(|view| !view.materialized) {
            return false;
        }
        let Some(shape) = topology.shape(Rel::View(view)) else { return false };
        let keyed = if self.chance(0.65) { Format::Upsert } else { Format::Debezium };
        let (format, key) = match shape.key {
            Some(key) if !(shape.appends && self.chance(0.5)) => (keyed, key),
            _ if shape.appends => (Format::Plain, vec![]),
            _ => return false,
        };
        let id = topology.next_id();
        topology.sinks.push(Sink { id, name: format!("s{id}_out"), view, format, key });
        true
    }

    /// Adds an index of a materialized view. Returns true if it did.
    pub fn add_index(&mut self, topology: &mut Topology) -> bool {
        let views: Vec<u32> =
            topology.views.iter().filter(|view| view.materialized).map(|view| view.id).collect();
        let Some(view) = self.one(&views) else { return false };
        let Some(columns) = self.index_columns(topology, view) else { return false };
        let name = format!("i{}", topology.next_id());
        topology.indexes.push(Index { name, view, columns });
        true
    }

    /// One or two columns that an index of a view may have, and that none has yet.
    pub fn index_columns(&mut self, topology: &Topology, view: u32) -> Option<Vec<String>> {
        let plain = topology.shape(Rel::View(view))?.plain();
        let count = self.int(1..3) as usize;
        let columns = self.some(&plain, count);
        let is_known = topology.indexes.iter().any(|index| index.view == view && index.columns == columns);
        Some(columns).filter(|columns| !columns.is_empty() && !is_known)
    }

    /// A query over the relations of a topology; over all of them, or those without append-only sources below.
    fn query(&mut self, topology: &Topology, of_source: bool) -> Option<Query> {
        let rels = relations(topology, of_source);
        let (from, shape) = self.one(&rels)?;
        match self.int(0..16) {
            0..4 => self.pick(from, &shape),
            4..8 => self.group(from, &shape),
            8..11 => {
                let right = self.one(&rels)?;
                self.join((from, &shape), (right.0, &right.1))
            }
            11..13 => self.tumble(from, &shape),
            13 => {
                let count = self.int(1..3) as usize;
                Some(Query::Distinct { from, columns: self.some(&shape.plain(), count) })
            }
            14 => self.union(&rels),
            _ => self.top(from, &shape),
        }
    }

    fn pick(&mut self, from: Rel, shape: &Shape) -> Option<Query> {
        let names: Vec<String> = shape.columns.iter().map(|column| column.name.clone()).collect();
        let key = if self.chance(0.85) { shape.key.clone().unwrap_or_default() } else { vec![] };
        let count = self.int(1..4) as usize;
        let mut columns = self.some(&names, count);
        columns.retain(|column| !key.contains(column));
        let columns = [key, columns].concat();
        let more = if self.chance(0.4) { self.more(shape) } else { None };
        let filter = if self.chance(0.7) { self.filter(shape) } else { None };
        Some(Query::Pick { from, columns, more, filter })
    }

    /// A column and a constant to add to it.
    pub fn more(&mut self, shape: &Shape) -> Option<(String, i64)> {
        let column = self.one(&shape.of_kind(Kind::Int))?;
        Some((column, self.int(1..50)))
    }

    /// A condition.
    pub fn filter(&mut self, shape: &Shape) -> Option<Filter> {
        let column = self.one(&shape.of_kind(Kind::Int))?;
        Some(Filter { column, op: self.one(&COMPARISONS)?, constant: self.int(2..40) })
    }

    fn group(&mut self, from: Rel, shape: &Shape) -> Option<Query> {
        let columns = self.one(&[0, 1, 1, 1, 1, 1, 1, 2, 2])?;
        let by = self.some(&shape.plain(), columns);
        let totals = self.totals(shape)?;
        let filter = if self.chance(0.4) { self.filter(shape) } else { None };
        Some(Query::Group { from, by, totals, filter })
    }

    fn totals(&mut self, shape: &Shape) -> Option<Vec<Total>> {
        let mut totals = vec![self.total(shape)?];
        let another = self.total(shape)?;
        if self.chance(0.6) && !totals.contains(&another) {
            totals.push(another);
        }
        Some(totals)
    }

    /// An aggregate over columns of an input.
    pub fn total(&mut self, shape: &Shape) -> Option<Total> {
        if self.chance(0.3) {
            return Some(Total { function: "count", column: None });
        }
        let column = self.one(&shape.plain())?;
        let functions: &[&str] = match shape.kind(&column)? {
            Kind::Int => &["sum", "min", "max", "avg", "kinds"],
            Kind::Text => &["min", "max", "kinds"],
            Kind::Time | Kind::Double => &["min", "max"],
        };
        Some(Total { function: self.one(functions)?, column: Some(column) })
    }

    fn join(&mut self, (left, of_left): (Rel, &Shape), (right, of_right): (Rel, &Shape)) -> Option<Query> {
        let finds_one = of_right.key.as_ref().filter(|key| key.len() == 1).map(|key| key[0].clone());
        let are_tables = matches!((left, right), (Rel::Table(_), Rel::Table(_)));
        let on_right = match finds_one {
            Some(key) if !(are_tables && self.chance(0.2)) => key,
            _ if are_tables => self.one(&of_right.of_kind(Kind::Text))?,
            _ => return None,
        };
        let on_left = self.one(&of_left.of_kind(of_right.kind(&on_right)?))?;
        let names = |shape: &Shape| -> Vec<String> { shape.columns.iter().map(|c| c.name.clone()).collect() };
        let mut lefts = of_left.key.clone().unwrap_or_default();
        for column in self.some(&names(of_left), 2) {
            if !lefts.contains(&column) {
                lefts.push(column);
            }
        }
        let rights = self.some(&names(of_right), 2);
        Some(Query::Join {
            sides: (left, right),
            on: (on_left, on_right),
            columns: (lefts, rights),
            outer: self.chance(0.4),
        })
    }

    fn tumble(&mut self, from: Rel, shape: &Shape) -> Option<Query> {
        if shape.kind("at") != Some(Kind::Time) {
            return None;
        }
        let by = [shape.of_kind(Kind::Text), shape.of_kind(Kind::Int)].concat();
        let by = self.one(&by)?;
        let (minutes, totals) = (self.one(&[5, 10, 30])?, self.totals(shape)?);
        let closes = from == Rel::Table(Table::Clicks) && self.chance(0.5);
        Some(Query::Tumble { from, by, minutes, totals, closes })
    }

    fn union(&mut self, rels: &[(Rel, Shape)]) -> Option<Query> {
        let mut parts = Vec::new();
        for (rel, shape) in self.some(rels, 2) {
            let (x, y) = (self.one(&shape.of_kind(Kind::Int))?, self.one(&shape.of_kind(Kind::Text))?);
            parts.push((rel, [x, y]));
        }
        (parts.len() == 2).then_some(Query::Union { parts })
    }

    fn top(&mut self, from: Rel, shape: &Shape) -> Option<Query> {
        let by = self.one(&shape.of_kind(Kind::Int))?;
        let mut columns = vec![by.clone()];
        for column in self.some(&shape.plain(), 2) {
            if !columns.contains(&column) {
                columns.push(column);
            }
        }
        Some(Query::Top { from, by, columns, limit: self.int(2..7) as u32 })
    }
}

/// The relations that a further view may read, with their shapes.
fn relations(topology: &Topology, of_source: bool) -> Vec<(Rel, Shape)> {
    let tables = topology.tables.iter().map(|table| Rel::Table(*table));
    let rels: Vec<Rel> = tables.chain(topology.views.iter().map(|view| Rel::View(view.id))).collect();
    let mut found = Vec::new();
    for rel in rels {
        let Some(shape) = topology.shape(rel) else { continue };
        if depth(topology, rel) < DEPTH && (of_source || !shape.of_source) {
            found.push((rel, shape));
        }
    }
    found
}

/// The number of views on the longest way from a table to a relation.
fn depth(topology: &Topology, rel: Rel) -> usize {
    let Rel::View(id) = rel else { return 0 };
    let Some(view) = topology.view(id) else { return 0 };
    let below = view.query.reads().into_iter().map(|(rel, _)| depth(topology, rel));
    1 + below.max().unwrap_or(0)
}
