//! The sources that relations read, and the second reading of append-only sources.
//!
//! Records of an append-only source are read once, and nothing keeps them. An edit's additions over one get them from a
//! second reader of the same topic, which begins where the first began. The plan that does so is made of the plan of
//! the text: the relations that need the records stand in it beside those that go on, over a source of their own. Once
//! both readers are at the same offsets the two are the same relations, and the plan of the text goes on.
//!
//! ```text
//!   clicks          clicks (again)
//!      |                  |
//!   Filter             Filter          a stateless relation may stand twice
//!      |                  |
//!   kept view          new view
//! ```

pub mod erase_path;

use std::collections::{BTreeMap, BTreeSet};

use state::{Progress, ReadAgain};

use super::rewrite::prune::renumber_inputs;
use super::{Op, Plan, Rel, RelId, When};

/// Ending of the name of a second source.
const AGAIN: &str = " (again)";

/// Returns true for the name of a source that another is read a second time by.
pub fn is_second(name: &str) -> bool {
    name.ends_with(AGAIN)
}

/// The name of the source that a second one reads again; None for another.
pub fn first_of(name: &str) -> Option<&str> {
    name.strip_suffix(AGAIN)
}

/// The records that second readers have read, and those that the first ones have; None without any.
pub fn records_read_again(progress: &Progress) -> Option<(u64, u64)> {
    let (mut again, mut all) = (0, 0);
    for (name, second) in &progress.sources {
        if let Some(first) = first_of(name).and_then(|name| progress.sources.get(name)) {
            (again, all) = (again + second.read, all + first.read);
        }
    }
    (all > 0).then_some((again, all))
}

/// Sources that are read a second time, and the parts that get their records.
#[derive(Clone, Debug, Default)]
pub struct SecondReading {
    /// By the index of each second source, that of the first.
    pub readers: BTreeMap<usize, usize>,
    /// The parts that get the records.
    pub parts: ReadAgain,
    /// For each relation, its place in the plan of the text.
    pub origins: Vec<RelId>,
    /// Relations that stand twice: those over the second source.
    pub doubled: BTreeSet<RelId>,
}

impl Plan {
    /// The sources that a relation reads, directly or through other relations.
    pub fn sources_of(&self, rel: RelId) -> BTreeSet<usize> {
        let (mut seen, mut open, mut sources) = (BTreeSet::from([rel]), vec![rel], BTreeSet::new());
        while let Some(rel) = open.pop() {
            if let Op::Source(at) = self.rels[rel].op {
                sources.insert(at);
            }
            open.extend(self.rels[rel].op.inputs().into_iter().filter(|input| seen.insert(*input)));
        }
        sources
    }

    /// Returns true if some relation has a row before the first record: an aggregate without GROUP BY has one
    /// over no rows.
    pub fn has_initial_rows(&self) -> bool {
        self.rels.iter().any(Rel::has_initial_row)
    }

    /// For each source, the sources to read to their end before its first record: those that its rows are
    /// joined with as of PROCTIME(), and would find empty otherwise.
    pub fn sources_read_first(&self) -> Vec<BTreeSet<usize>> {
        let mut awaited = vec![BTreeSet::new(); self.sources.len()];
        for rel in &self.rels {
            let Op::TemporalJoin { left, right, when: When::ProcTime, .. } = &rel.op else { continue };
            let (left, right) = (self.sources_of(*left), self.sources_of(*right));
            for source in left.difference(&right) {
                awaited[*source].extend(right.difference(&left).copied());
            }
        }
        awaited
    }
}

impl Plan {
    /// Returns true if a relation stands beside the same one over the first reading of its source.
    pub fn is_second(&self, rel: RelId) -> bool {
        self.again.as_ref().is_some_and(|again| again.doubled.contains(&rel))
    }

    /// The index of the source that a source reads a second time; None for any other.
    pub fn first_reader(&self, source: usize) -> Option<usize> {
        self.again.as_ref()?.readers.get(&source).copied()
    }

    /// The plan in which some parts get the records of their append-only sources from a second reader. `parts` are of
    /// this plan: with each relation all those below it that lead to such a source, and the source's own.
    pub fn read_again(&self, parts: &ReadAgain) -> Plan {
        let mut copy =
            SecondPlan { first: BTreeMap::new(), second: BTreeMap::new(), sources: BTreeMap::new() };
        let mut plan = Plan { rels: Vec::new(), ..self.clone() };
        let mut again = SecondReading { parts: parts.clone(), ..SecondReading::default() };
        for id in &parts.rels {
            if let Some(Op::Source(at)) = self.rels.get(*id).map(|rel| &rel.op) {
                let mut source = self.sources[*at].clone();
                source.name.push_str(AGAIN);
                // The first reading has sent them.
                source.dead_letter_topic = None;
                copy.sources.insert(*at, plan.sources.len());
                again.readers.insert(plan.sources.len(), *at);
                plan.sources.push(source);
            }
        }
        let beside = self.relations_beside(parts);
        for (id, rel) in self.rels.iter().enumerate() {
            if beside.contains(&id) {
                copy.first.insert(id, plan.rels.len());
                again.origins.push(id);
                plan.rels.push(copy.rel_over(rel, false));
            }
            if parts.rels.contains(&id) {
                if beside.contains(&id) {
                    again.doubled.insert(plan.rels.len());
                }
                copy.second.insert(id, plan.rels.len());
                again.origins.push(id);
                plan.rels.push(copy.rel_over(rel, true));
            }
        }
        copy.finish(self, &mut plan, parts);
        plan.again = Some(Box::new(again));
        plan
    }

    /// The relations that go on over the first reading: those of all other views and sinks, and those that the
    /// parts read beside the second.
    fn relations_beside(&self, parts: &ReadAgain) -> BTreeSet<RelId> {
        let mut open = Vec::new();
        open.extend(self.views.iter().filter(|view| !parts.views.contains(&view.name)).map(|view| view.rel));
        open.extend(self.sinks.iter().filter(|sink| !parts.sinks.contains(&sink.name)).map(|sink| sink.rel));
        for id in &parts.rels {
            let inputs = self.rels.get(*id).map(|rel| rel.op.inputs()).unwrap_or_default();
            open.extend(inputs.into_iter().filter(|input| !parts.rels.contains(input)));
        }
        let mut beside: BTreeSet<RelId> = open.iter().copied().collect();
        while let Some(id) = open.pop() {
            open.extend(self.rels[id].op.inputs().into_iter().filter(|input| beside.insert(*input)));
        }
        beside
    }
}

/// The places of relations and sources in a plan with a second reading.
struct SecondPlan {
    /// Relations over the first reading.
    first: BTreeMap<RelId, RelId>,
    /// Relations over the second.
    second: BTreeMap<RelId, RelId>,
    /// Second sources.
    sources: BTreeMap<usize, usize>,
}

impl SecondPlan {
    /// The place of a relation, over the second reading if it is there.
    fn place(&self, id: RelId, again: bool) -> RelId {
        let second = if again { self.second.get(&id) } else { None };
        second.or_else(|| self.first.get(&id)).copied().unwrap_or(id)
    }

    fn move_marks(&self, marks: &mut [(usize, i64)]) {
        for (source, _) in marks {
            *source = self.sources.get(source).copied().unwrap_or(*source);
        }
    }

    /// A relation over the inputs that it has now.
    fn rel_over(&self, rel: &Rel, again: bool) -> Rel {
        let mut rel = rel.clone();
        renumber_inputs(&mut rel.op, &|input| self.place(input, again));
        if !again {
            return rel;
        }
        match &mut rel.op {
            Op::Source(at) => *at = self.sources.get(at).copied().unwrap_or(*at),
            Op::TemporalFilter { clock, .. } => {
                for source in clock {
                    *source = self.sources.get(source).copied().unwrap_or(*source);
                }
            }
            Op::EmitOnClose { horizon, .. } => self.move_marks(&mut horizon.marks),
            _ => {}
        }
        rel
    }

    /// Gives views, sinks and horizons the relations and sources that they have now.
    fn finish(&self, text: &Plan, plan: &mut Plan, parts: &ReadAgain) {
        for view in &mut plan.views {
            let again = parts.views.contains(&view.name);
            view.rel = self.place(view.rel, again);
            if again {
                if let Some(served) = &mut view.served {
                    self.move_marks(&mut served.marks);
                }
                if let Some(marks) = &mut view.final_marks {
                    self.move_marks(marks);
                }
            }
        }
        for sink in &mut plan.sinks {
            sink.rel = self.place(sink.rel, parts.sinks.contains(&sink.name));
        }
        plan.expiry.clear();
        for ((id, role), horizon) in &text.expiry {
            if let Some(first) = self.first.get(id) {
                plan.expiry.insert((*first, *role), horizon.clone());
            }
            if let Some(second) = self.second.get(id) {
                let mut horizon = horizon.clone();
                self.move_marks(&mut horizon.marks);
                plan.expiry.insert((*second, *role), horizon);
            }
        }
        plan.settled.clear();
        for (id, horizons) in &text.settled {
            if let Some(first) = self.first.get(id) {
                plan.settled.insert(*first, horizons.clone());
            }
            if let Some(second) = self.second.get(id) {
                let mut horizons = horizons.clone();
                for horizon in &mut horizons {
                    self.move_marks(&mut horizon.marks);
                }
                plan.settled.insert(*second, horizons);
            }
        }
    }
}
