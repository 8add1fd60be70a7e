//! Queries of one thing each, over a table whose rows are replaced and deleted: what nested queries draw too
//! seldom, or hide below conditions that nothing meets, is seen here with rows that are taken back.

use rand::RngExt;

use crate::expression::{Expr, Want};
use crate::forms::FORMS;
use crate::generate::{BIG, Generator, Leaf, TYPES};
use crate::query::{From, Item, Query, Select};
use crate::schema::{Column, Relation, Ty};

const JOINS: [&str; 10] = [
    "JOIN",
    "JOIN",
    "LEFT JOIN",
    "RIGHT JOIN",
    "FULL JOIN",
    "LEFT SEMI JOIN",
    "LEFT SEMI JOIN",
    "LEFT ANTI JOIN",
    "CROSS JOIN",
    "JOIN USING",
];
const SETS: [&str; 7] =
    ["UNION", "UNION ALL", "INTERSECT", "INTERSECT", "EXCEPT", "INTERSECT ALL", "EXCEPT ALL"];

fn item(leaf: &Leaf) -> Item {
    Item { expr: leaf.expr.clone(), column: Column { name: String::new(), ty: leaf.ty, exact: leaf.exact } }
}

fn done(mut select: Select, rows: usize) -> (Query, usize) {
    for (at, item) in select.items.iter_mut().enumerate() {
        item.column.name = format!("c{at}");
    }
    (Query::Select(Box::new(select)), rows)
}

impl Generator {
    /// A query of one thing, and about how many rows it gives.
    pub fn focused(&mut self) -> (Query, usize) {
        match self.rng.random_range(0..100) {
            0..14 => self.of_forms(),
            14..26 => self.of_groups(),
            26..60 => self.of_join(),
            60..65 => self.of_window(),
            65..81 => self.of_over(),
            81..88 => self.of_condition(),
            88..93 => self.of_picks(),
            _ => self.of_sets(),
        }
    }

    fn tables(&self) -> Vec<Relation> {
        self.relations.iter().filter(|r| r.name.starts_with('t')).cloned().collect()
    }

    fn table(&mut self) -> (From, Vec<Leaf>, usize) {
        let tables = self.tables();
        let table = self.one(&tables);
        self.named(table)
    }

    fn of_forms(&mut self) -> (Query, usize) {
        let (from, leaves, rows) = self.table();
        let mut select = Select::of(from);
        for _ in 0..8 {
            let (form, any) = (&FORMS[self.rng.random_range(0..FORMS.len())], self.one(&TYPES));
            let ty = match form.gives {
                Want::Of(ty) => ty,
                Want::Any => any,
            };
            let expr = self.call_of(form, &leaves, ty, 1, true);
            select.items.push(item(&Leaf { expr, ty, exact: form.exact }));
        }
        done(select, rows)
    }

    fn of_groups(&mut self) -> (Query, usize) {
        let (from, leaves, rows) = if self.chance(0.15) { self.unnest() } else { self.table() };
        let keys: Vec<Leaf> = (0..self.one(&[0, 1, 1, 2])).map(|_| self.one(&leaves)).collect();
        let mut values = keys.clone();
        values.dedup_by_key(|key| format!("{:?}", key.expr));
        let keys: Vec<Expr> = values.iter().map(|key| key.expr.clone()).collect();
        values.extend((0..6).map(|_| self.aggregate(&leaves)));
        let sets = match keys.is_empty() {
            true => "",
            false => self.one(&["", "", "", "", "ROLLUP", "CUBE", "GROUPING SETS"]),
        };
        let having = (sets.is_empty() && self.chance(0.3)).then(|| self.condition(&values, 1));
        let items = values.iter().map(item).collect();
        done(Select { items, group: Some(keys), sets, having, ..Select::of(from) }, rows)
    }

    fn of_join(&mut self) -> (Query, usize) {
        let (left, mut leaves, l) = self.table();
        let (right, others, r) = if self.chance(0.85) { self.table() } else { self.relation() };
        let kind = self.one(&JOINS);
        let by = |this: &mut Generator, op: &str| {
            let (a, b) = this.pair(&leaves, &others)?;
            Some(this.comparison(op, a.expr, b.expr))
        };
        let mut on = Vec::new();
        match (kind, self.rng.random_range(0..3)) {
            ("CROSS JOIN", _) => {}
            ("JOIN USING", _) => {
                let name = |leaf: &Leaf| leaf.expr.sql(crate::expression::Dialect::Herald);
                let last = |leaf: &Leaf| name(leaf).rsplit('.').next().map(ToString::to_string);
                let shared = leaves.iter().flat_map(|a| others.iter().map(move |b| (a, b)));
                let shared: Vec<(Leaf, Leaf)> = shared
                    .filter(|(a, b)| last(a) == last(b) && a.ty == b.ty && a.exact && b.exact)
                    .map(|(a, b)| (a.clone(), b.clone()))
                    .collect();
                if shared.is_empty() {
                    return self.of_join();
                }
                let (a, b) = self.one(&shared);
                on.push(self.comparison("=", a.expr, b.expr));
            }
            (_, style) => {
                if style < 2 {
                    on.extend(by(self, "="));
                }
                if style > 0 {
                    let op = self.one(&["<", ">=", "<>"]);
                    on.extend(by(self, op));
                }
                if on.is_empty() {
                    return self.of_join();
                }
            }
        }
        let half = matches!(kind, "LEFT SEMI JOIN" | "LEFT ANTI JOIN");
        let mut items = vec![item(&self.one(&leaves)), item(&self.one(&leaves))];
        if !half {
            items.extend([item(&self.one(&others)), item(&self.one(&others))]);
            leaves.extend(others);
        }
        let from = From::Join(kind, Box::new(left), Box::new(right), on);
        done(Select { items, ..Select::of(from) }, l * r)
    }

    fn of_window(&mut self) -> (Query, usize) {
        let tables = self.tables();
        let table = self.one(&tables);
        let (from, leaves, rows) = self.window_over(table);
        // The bounds are the last columns.
        let mut values = leaves[leaves.len() - 2..].to_vec();
        if self.chance(0.5) {
            values.push(self.one(&leaves[..leaves.len() - 4]));
        }
        let keys = values.iter().map(|key| key.expr.clone()).collect();
        values.extend((0..2).map(|_| self.aggregate(&leaves)));
        let items = values.iter().map(item).collect();
        done(Select { items, group: Some(keys), ..Select::of(from) }, rows)
    }

    fn of_over(&mut self) -> (Query, usize) {
        let table = self.table();
        if self.chance(0.2)
            && let Some((from, leaves, rows, condition)) = self.top(table.clone())
        {
            let items = leaves.iter().map(item).collect();
            return done(Select { items, filter: vec![condition], ..Select::of(from) }, rows);
        }
        let (from, leaves, rows) = table;
        let mut items = vec![item(&self.one(&leaves))];
        for _ in 0..9 {
            // A number of rows is UBIGINT until it is a column: cast, as a set operation's is.
            items.extend(self.over(&leaves).map(|leaf| match leaf.ty {
                Ty::Big => item(&Leaf { expr: Expr::Call(&BIG, vec![leaf.expr]), ..leaf }),
                _ => item(&leaf),
            }));
        }
        done(Select { items, ..Select::of(from) }, rows)
    }

    fn of_condition(&mut self) -> (Query, usize) {
        let (from, leaves, rows) = self.table();
        let filter = vec![self.subquery_condition(&leaves)];
        let items = (0..3).map(|_| item(&self.one(&leaves))).collect();
        done(Select { items, filter, ..Select::of(from) }, rows)
    }

    fn of_picks(&mut self) -> (Query, usize) {
        let (from, leaves, rows) = if self.chance(0.3) { self.unnest() } else { self.table() };
        let items = (0..2).map(|_| item(&self.one(&leaves))).collect();
        let mut select = Select { items, ..Select::of(from) };
        match self.rng.random_range(0..4) {
            0 => select.distinct = true,
            1 => select.first_of = Some(1),
            at => select.limit = Some((self.one(&[1, 2, 5]), at - 2)),
        }
        done(select, rows)
    }

    fn of_sets(&mut self) -> (Query, usize) {
        let (first, second) = (self.table(), if self.chance(0.85) { self.table() } else { self.relation() });
        let Some((a, b)) = self.pair(&first.1, &second.1) else { return self.of_sets() };
        let op = self.one(&SETS);
        let side = |from: From, leaf: Leaf| {
            // Sides must agree in width too.
            let leaf = match leaf.ty {
                Ty::Big => Leaf { expr: Expr::Call(&BIG, vec![leaf.expr]), ..leaf },
                _ => leaf,
            };
            Box::new(done(Select { items: vec![item(&leaf)], ..Select::of(from) }, 0).0)
        };
        (Query::Set(op, side(first.0, a), side(second.0, b)), first.2 + second.2)
    }
}
