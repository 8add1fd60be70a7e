//! Random edits of a topology, and the fate that each relation and sink must have for them.

use std::collections::BTreeSet;

use super::draw::Draw;
use super::query::{Query, Rel, Shape, Table};
use super::topology::{Format, SPELLINGS, Topology};

/// The kinds of edits.
pub const EDITS: [&str; 22] = [
    "drop a view",
    "add a view",
    "rename a view",
    "swap two names",
    "change a filter",
    "add or drop a filter",
    "add a column",
    "drop a column",
    "change an aggregate",
    "change a window or limit",
    "change a join",
    "keep or no longer keep a view",
    "add a sink",
    "drop a sink",
    "rename a sink",
    "add an index",
    "drop an index",
    "change an index",
    "reorder",
    "respell",
    "add a table",
    "drop a table",
];
/// Attempts at an edit that changes something.
const ATTEMPTS: usize = 200;

/// An edited topology.
pub struct Edited {
    /// The new edition.
    pub new: Topology,
    /// The kinds of edits that were made.
    pub edits: Vec<&'static str>,
    /// True if a new or changed view, or a new sink, is over an append-only source, whose records the state does
    /// not keep: they are read again, or the run is refused where a kept operator has dropped rows.
    pub may_be_refused: bool,
}

/// The fate of a view or sink of the new edition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is what it was.
    Unchanged,
    /// It is what another name was.
    Renamed(String),
    /// Its own query is another one.
    Changed,
    /// It was not there.
    New,
    /// Any of these: a relation below it changed, perhaps in nothing that it reads, it took another's name, or it is
    /// over a view that is not materialized, whose steps its readers share.
    Any,
}

impl Draw {
    /// Edits a topology by one to three edits.
    pub fn edited(&mut self, old: &Topology) -> Edited {
        let with_source = self.chance(0.35);
        for _ in 0..ATTEMPTS {
            let (mut new, mut edits) = (old.clone(), Vec::new());
            if with_source && self.add_view_of_source(&mut new).is_some() {
                edits.push("add a view");
            }
            for _ in 0..self.int(1..4) {
                let Some(edit) = self.one(&EDITS) else { continue };
                let of_source = if with_source { 0.9 } else { 0.0 };
                if self.edit(&mut new, edit, of_source).is_some() {
                    new.prune();
                    edits.push(edit);
                }
            }
            drop_rigid_sinks(old, &mut new);
            if !keeps_files(old, &new) {
                continue;
            }
            let may_be_refused = needs_gone_records(old, &new);
            let is_kept = new.views.iter().any(|view| view.materialized);
            let is_edited = !edits.is_empty() && new.sql() != old.sql();
            if is_kept && is_edited {
                return Edited { new, edits, may_be_refused };
            }
        }
        let new = Topology { spelling: old.spelling ^ 1, ..old.clone() };
        Edited { new, edits: vec!["respell"], may_be_refused: false }
    }

    /// Adds a view over an append-only source.
    fn add_view_of_source(&mut self, new: &mut Topology) -> Option<u32> {
        for _ in 0..ATTEMPTS {
            let mut more = new.clone();
            let Some(id) = self.add_view(&mut more, 1.0) else { continue };
            if more.shape(Rel::View(id)).is_some_and(|shape| shape.of_source) {
                *new = more;
                return Some(id);
            }
        }
        None
    }

    /// Makes an edit; None if the topology has nothing for it, which may then be changed in part.
    fn edit(&mut self, new: &mut Topology, edit: &str, of_source: f64) -> Option<()> {
        match edit {
            "drop a view" => {
                let id = self.any_view(new)?;
                let gone = new.dependants(id);
                new.views.retain(|view| view.id != id && !gone.contains(&view.id));
            }
            "add a view" => {
                let id = self.add_view(new, of_source)?;
                if self.chance(0.6) {
                    self.add_sink(new, id);
                }
            }
            "rename a view" => {
                let (id, name) = (self.any_view(new)?, format!("w{}", new.next_id()));
                new.views.iter_mut().find(|view| view.id == id)?.name = name;
            }
            "swap two names" => {
                let places: Vec<usize> = (0..new.views.len()).collect();
                let [a, b]: [usize; 2] = self.some(&places, 2).try_into().ok()?;
                let name = new.views[a].name.clone();
                new.views[a].name = std::mem::replace(&mut new.views[b].name, name);
            }
            "keep or no longer keep a view" => {
                let id = self.any_view(new)?;
                let view = new.views.iter_mut().find(|view| view.id == id)?;
                view.materialized = !view.materialized;
            }
            "add a sink" => {
                let id = self.any_view(new)?;
                return self.add_sink(new, id).then_some(());
            }
            "drop a sink" | "rename a sink" => return self.edit_sinks(new, edit),
            "add an index" => return self.add_index(new).then_some(()),
            "drop an index" | "change an index" => return self.edit_indexes(new, edit),
            "reorder" => new.order = self.int(1..1 << 40) as u64,
            "respell" => new.spelling = (new.spelling + self.int(1..SPELLINGS.into()) as u8) % SPELLINGS,
            "add a table" => {
                if new.tables.contains(&Table::Prizes) {
                    return None;
                }
                new.tables.push(Table::Prizes);
                self.add_view(new, of_source)?;
            }
            "drop a table" => {
                let gone = self.one(&new.tables)?;
                new.tables.retain(|table| *table != gone);
            }
            _ => return self.edit_query(new, edit),
        }
        Some(())
    }

    fn any_view(&mut self, topology: &Topology) -> Option<u32> {
        self.one(&topology.views).map(|view| view.id)
    }

    fn edit_sinks(&mut self, new: &mut Topology, edit: &str) -> Option<()> {
        let id = self.one(&new.sinks)?.id;
        if edit == "drop a sink" {
            new.sinks.retain(|sink| sink.id != id);
        } else {
            let name = format!("r{}_out", new.next_id());
            new.sinks.iter_mut().find(|sink| sink.id == id)?.name = name;
        }
        Some(())
    }

    fn edit_indexes(&mut self, new: &mut Topology, edit: &str) -> Option<()> {
        let name = self.one(&new.indexes)?.name;
        if edit == "drop an index" {
            new.indexes.retain(|index| index.name != name);
            return Some(());
        }
        let view = new.indexes.iter().find(|index| index.name == name)?.view;
        let columns = self.index_columns(new, view)?;
        new.indexes.iter_mut().find(|index| index.name == name)?.columns = columns;
        Some(())
    }

    /// Changes the query of a view.
    fn edit_query(&mut self, new: &mut Topology, edit: &str) -> Option<()> {
        let id = self.any_view(new)?;
        let (from, _) = new.view(id)?.query.reads().into_iter().next()?;
        let input = new.shape(from)?;
        let mut query = new.view(id)?.query.clone();
        self.change_query(&mut query, &input, edit)?;
        let is_known = new.views.iter().any(|view| new.meaning(view.id) == new.query_meaning(&query));
        new.query_shape(&query)?;
        if is_known {
            return None;
        }
        new.views.iter_mut().find(|view| view.id == id)?.query = query;
        Some(())
    }

    /// Changes a query over an input; None if the edit does not fit it.
    fn change_query(&mut self, query: &mut Query, input: &Shape, edit: &str) -> Option<()> {
        match (edit, query) {
            ("change a filter", Query::Pick { filter, .. } | Query::Group { filter, .. }) => {
                filter.as_mut()?.constant += self.int(1..12);
            }
            ("add or drop a filter", Query::Pick { filter, .. } | Query::Group { filter, .. }) => {
                *filter = if filter.is_some() { None } else { Some(self.filter(input)?) };
            }
            ("add a column", Query::Pick { columns, more, .. }) => {
                let mut left: Vec<String> = input.columns.iter().map(|column| column.name.clone()).collect();
                left.retain(|column| !columns.contains(column));
                match self.one(&left) {
                    Some(column) => columns.push(column),
                    None => *more = Some(more.take().map_or(self.more(input)?, |(c, n)| (c, n + 1))),
                }
            }
            ("drop a column", Query::Pick { columns, .. } | Query::Distinct { columns, .. }) => {
                let places: Vec<usize> = (0..columns.len()).collect();
                let at = self.one(&places).filter(|_| places.len() > 1)?;
                columns.remove(at);
            }
            ("change an aggregate", Query::Group { totals, .. } | Query::Tumble { totals, .. }) => {
                let total = Some(self.total(input)?).filter(|total| !totals.contains(total))?;
                if self.chance(0.5) {
                    totals.pop();
                }
                totals.push(total);
            }
            ("change a window or limit", Query::Tumble { minutes, .. }) => *minutes += 5,
            ("change a window or limit", Query::Top { limit, .. }) => *limit += 1,
            ("change a join", Query::Join { outer, .. }) => *outer = !*outer,
            _ => return None,
        }
        Some(())
    }
}

/// Drops PLAIN sinks whose view is another one now: they cannot take a row back.
fn drop_rigid_sinks(old: &Topology, new: &mut Topology) {
    let mut rigid = BTreeSet::new();
    for sink in new.sinks.iter().filter(|sink| sink.format == Format::Plain) {
        let before = old.sink(sink.id).map(|before| old.meaning(before.view));
        if before.is_some_and(|before| before != new.meaning(sink.view)) {
            rigid.insert(sink.id);
        }
    }
    new.sinks.retain(|sink| !rigid.contains(&sink.id));
}

/// Returns true if the files of sinks are those of before, and further ones behind them or fewer at their end: each
/// is a target of the outbox by its place among them, and any other edit is refused.
fn keeps_files(old: &Topology, new: &Topology) -> bool {
    old.sinks.iter().zip(&new.sinks).all(|(before, now)| before.id == now.id)
}

/// Returns true if something has to be filled that an append-only source is below.
fn needs_gone_records(old: &Topology, new: &Topology) -> bool {
    let is_of_source = |view: u32| new.shape(Rel::View(view)).is_some_and(|shape| shape.of_source);
    let is_filled = |id: u32, materialized: bool| {
        let before = old.view(id).filter(|view| view.materialized || !materialized);
        before.is_none() || old.meaning(id) != new.meaning(id)
    };
    let shares = |view: u32| old.shares_steps(view) || new.shares_steps(view);
    let all_same = old.views.len() == new.views.len() && old.sinks.len() == new.sinks.len();
    let may_be_shared =
        |view: u32| is_of_source(view) && shares(view) && (!all_same || !same_meanings(old, new));
    new.views.iter().any(|view| is_of_source(view.id) && is_filled(view.id, view.materialized))
        || new.views.iter().any(|view| may_be_shared(view.id))
        || new.sinks.iter().any(|sink| is_of_source(sink.view) && old.sink(sink.id).is_none())
}

/// Returns true if all views are what they were, under whatever names.
fn same_meanings(old: &Topology, new: &Topology) -> bool {
    new.views.iter().all(|view| {
        let before = old.view(view.id).map(|before| before.materialized);
        before == Some(view.materialized) && old.meaning(view.id) == new.meaning(view.id)
    })
}

/// The fate of a materialized view of the new edition.
pub fn fate_of_view(old: &Topology, new: &Topology, id: u32) -> Fate {
    let Some(now) = new.view(id) else { return Fate::Any };
    let meaning = new.meaning(id);
    let Some(before) = old.view(id) else {
        if new.shares_steps(id) {
            return Fate::Any;
        }
        let is_twin = old.views.iter().any(|view| old.meaning(view.id) == meaning);
        return if is_twin { Fate::Any } else { Fate::New };
    };
    let takes_name = old.views.iter().any(|view| view.id != id && view.name == now.name);
    if takes_name || old.shares_steps(id) || new.shares_steps(id) {
        return Fate::Any;
    }
    if old.meaning(id) == meaning {
        return match before.name == now.name {
            true => Fate::Unchanged,
            false => Fate::Renamed(before.name.clone()),
        };
    }
    let is_edited = own_text(&before.query) != own_text(&now.query);
    if is_edited && before.name == now.name { Fate::Changed } else { Fate::Any }
}

/// The text of a query with the numbers of the views that it reads.
fn own_text(query: &Query) -> String {
    let names = |rel: Rel| match rel {
        Rel::Table(table) => table.name().to_owned(),
        Rel::View(below) => format!("view {below}"),
    };
    query.text(&names, false)
}

/// Returns true if a sink of the new edition sends what it sent: nothing is to be sent for the edit.
pub fn is_silent(old: &Topology, new: &Topology, sink: u32) -> bool {
    let (Some(before), Some(now)) = (old.sink(sink), new.sink(sink)) else { return false };
    before.view == now.view && old.meaning(before.view) == new.meaning(now.view)
}
