//! Random joins, windows and subqueries.

use rand::RngExt;

use crate::expression::{Expr, Form, Want, form};
use crate::forms::FORMS;
use crate::generate::{Generator, Leaf, MOST, leaves_of};
use crate::query::{From, Item, Query, Select, Window};
use crate::schema::{Column, Relation, Ty};

const JOINS: [&str; 8] = [
    "JOIN",
    "JOIN",
    "LEFT JOIN",
    "RIGHT JOIN",
    "FULL JOIN",
    "CROSS JOIN",
    "LEFT SEMI JOIN",
    "LEFT ANTI JOIN",
];

impl Generator {
    /// A join of two things.
    pub fn join(&mut self, depth: usize) -> (From, Vec<Leaf>, usize) {
        let (left, mut leaves, l) = self.from(depth - 1);
        // What is on the right would need parentheses when it were a join.
        let (right, others, r) = match self.chance(0.3) {
            true => self.from(0),
            false => self.relation(),
        };
        let mut kind = self.one(&JOINS);
        let pair = self.pair(&leaves, &others);
        let equal = pair.is_some() && (self.chance(0.85) || l * r > MOST);
        if kind == "CROSS JOIN" && (l * r > MOST || equal && self.chance(0.5)) {
            kind = "JOIN";
        }
        let mut on = Vec::new();
        let mut rows = l * r;
        if equal && kind != "CROSS JOIN" {
            let second = if self.chance(0.25) { self.pair(&leaves, &others) } else { None };
            for (mut a, b) in pair.into_iter().chain(second) {
                if self.chance(0.15) {
                    a.expr = self.expr(&leaves, a.ty, 1, true);
                }
                on.push(self.comparison("=", a.expr, b.expr));
                rows = rows.div_ceil(4);
            }
        }
        if kind != "CROSS JOIN" && (on.is_empty() || self.chance(0.3)) {
            let both: Vec<Leaf> = leaves.iter().chain(&others).cloned().collect();
            on.push(self.condition(&both, 1));
            rows = rows.div_ceil(2);
        }
        if rows > MOST {
            return (left, leaves, l);
        }
        if !matches!(kind, "LEFT SEMI JOIN" | "LEFT ANTI JOIN") {
            leaves.extend(others);
            rows = rows.max(l).max(r);
        }
        (From::Join(kind, Box::new(left), Box::new(right), on), leaves, rows)
    }

    /// Two values compared.
    pub fn comparison(&mut self, op: &str, left: Expr, right: Expr) -> Expr {
        let form = FORMS.iter().find(|form| form.op == op).expect("a form of that name");
        Expr::Call(form, vec![left, right])
    }

    /// A window over a relation with a time; where there is none, a relation.
    pub fn window(&mut self) -> (From, Vec<Leaf>, usize) {
        let timed = |c: &&Column| c.ty == Ty::Time;
        let twice = |r: &Relation| r.columns.iter().any(|c| c.name.starts_with("window_"));
        let fit: Vec<_> = self
            .relations
            .iter()
            .filter(|r| !twice(r) && r.columns.iter().any(|c| timed(&c)))
            .cloned()
            .collect();
        if fit.is_empty() {
            return self.relation();
        }
        let relation = self.one(&fit);
        self.window_over(relation)
    }

    /// A window over this relation, which has a time.
    pub fn window_over(&mut self, relation: Relation) -> (From, Vec<Leaf>, usize) {
        let times: Vec<Column> = relation.columns.iter().filter(|c| c.ty == Ty::Time).cloned().collect();
        let time = self.one(&times).name;
        let alias = self.name();
        let slide = self.one(&[5, 10, 30, 60]);
        let slides = if relation.rows * 3 > MOST { 1 } else { self.one(&[1, 1, 2, 3]) };
        let mut leaves = leaves_of(&alias, &relation.columns);
        let bounds = ["window_start", "window_end"].map(|name| Column {
            name: name.to_string(),
            ty: Ty::Time,
            exact: true,
        });
        // Twice, so that they are drawn more often than other columns.
        for _ in 0..2 {
            leaves.extend(leaves_of(&alias, &bounds));
        }
        let rows = relation.rows * slides as usize;
        let fit: Vec<String> =
            relation.columns.iter().filter(|c| c.exact && c.name != time).map(|c| c.name.clone()).collect();
        let session = self.chance(0.45).then(|| match fit.is_empty() || self.chance(0.3) {
            true => vec![],
            false => vec![self.one(&fit)],
        });
        let slides = if session.is_some() { 1 } else { slides };
        (From::Window(Window { relation: relation.name, alias, time, slide, slides, session }), leaves, rows)
    }

    /// The elements of a relation's list; where there is none, a relation.
    pub fn unnest(&mut self) -> (From, Vec<Leaf>, usize) {
        let fit: Vec<Relation> = self.relations.iter().filter(|r| r.list).cloned().collect();
        if fit.is_empty() {
            return self.relation();
        }
        let Relation { name, columns, rows, .. } = self.one(&fit);
        let (alias, places) = (self.name(), self.chance(0.5));
        let mut leaves = leaves_of(&alias, &columns);
        for name in if places { &["item", "nth"][..] } else { &["item"] } {
            leaves.extend(leaves_of(&alias, &[Column { name: (*name).into(), ty: Ty::Big, exact: true }]));
        }
        (From::Unnest(name, alias, places), leaves, rows * 2)
    }

    /// A condition of WHERE that asks another relation.
    pub fn subquery_condition(&mut self, outer: &[Leaf]) -> Expr {
        match self.rng.random_range(0..100) {
            0..40 => self.exists(outer),
            40..80 => {
                let not = self.chance(0.5);
                let fit: Vec<Leaf> = outer.iter().filter(|leaf| leaf.exact).cloned().collect();
                if fit.is_empty() {
                    return self.exists(outer);
                }
                let left = self.one(&fit);
                let query = match self.chance(0.3) && !not {
                    true => self.correlated_rows(outer, left.ty),
                    false => self.select(0, Some(&[left.ty])).0,
                };
                let found = Expr::In(not, Box::new(left.expr), Box::new(query));
                // NOT IN stands for itself only.
                if not || self.chance(0.7) { found } else { self.alternative(outer, found) }
            }
            _ => {
                let (query, (ty, _)) = self.scalar(outer);
                let form = self.one(&["<", ">=", "=", "<>"]);
                let other = self.expr(outer, ty, 0, true);
                self.comparison(form, other, Expr::Scalar(Box::new(query)))
            }
        }
    }

    fn alternative(&mut self, outer: &[Leaf], found: Expr) -> Expr {
        let other = self.condition(outer, 1);
        self.comparison("OR", other, found)
    }

    /// Values of a type from rows that have something in common with the row outside.
    fn correlated_rows(&mut self, outer: &[Leaf], ty: Ty) -> Query {
        let (from, leaves, _) = self.relation();
        let filter = self.correlation(outer, &leaves);
        let expr = self.expr(&leaves, ty, 0, true);
        total(from, filter, None, expr)
    }

    fn exists(&mut self, outer: &[Leaf]) -> Expr {
        let (from, leaves, _) = self.relation();
        let mut filter = self.correlation(outer, &leaves);
        if self.chance(0.5) {
            let both: Vec<Leaf> = leaves.iter().chain(outer).cloned().collect();
            filter.push(self.condition(&both, 1));
        }
        if self.chance(0.15) {
            filter.push(self.exists(&leaves));
        }
        let query = total(from, filter, None, Expr::plain("1"));
        let found = Expr::Exists(self.chance(0.5), Box::new(query));
        if self.chance(0.8) { found } else { self.alternative(outer, found) }
    }

    /// Equalities between what is outside and what is inside.
    fn correlation(&mut self, outer: &[Leaf], leaves: &[Leaf]) -> Vec<Expr> {
        let columns: Vec<Leaf> =
            outer.iter().filter(|leaf| matches!(leaf.expr, Expr::Column(_))).cloned().collect();
        let Some((a, b)) = self.pair(&columns, leaves).filter(|_| self.rng.random_bool(0.85)) else {
            return vec![];
        };
        vec![self.comparison("=", b.expr, a.expr)]
    }

    /// A subquery of one row and one exact column, maybe correlated; and its type.
    pub fn scalar(&mut self, outer: &[Leaf]) -> (Query, (Ty, bool)) {
        let (from, leaves, _) = self.relation();
        let mut filter = self.correlation(outer, &leaves);
        if self.chance(0.4) {
            filter.push(self.condition(&leaves, 1));
        }
        let value = loop {
            let value = self.aggregate(&leaves);
            if value.exact {
                break value;
            }
        };
        (total(from, filter, Some(vec![]), value.expr), (value.ty, value.exact))
    }
}

fn total(from: From, filter: Vec<Expr>, group: Option<Vec<Expr>>, expr: Expr) -> Query {
    // Not the name of a column: Herald refuses a correlated subquery that gives its own value such a name.
    let column = Column { name: "value".into(), ty: Ty::Big, exact: true };
    let items = vec![Item { expr, column }];
    Query::Select(Box::new(Select { items, filter, group, ..Select::of(from) }))
}

impl Generator {
    /// A window function over exact values. Where its value depends on the order of rows, the order is one
    /// of all values: rows that are the same in all of them may stand for each other.
    pub fn over(&mut self, leaves: &[Leaf]) -> Option<Leaf> {
        let exact: Vec<Leaf> =
            leaves.iter().filter(|l| l.exact && matches!(l.expr, Expr::Column(_))).cloned().collect();
        if exact.is_empty() || exact.len() != leaves.len() {
            return None;
        }
        let key = self.one(&exact);
        let partition = if self.chance(0.7) { vec![key.expr] } else { vec![] };
        let mut alike = true;
        let (call, ty, by_order) = match self.rng.random_range(0..16) {
            0..3 => (Expr::Call(&ROW_NUMBER, vec![]), Ty::Big, true),
            3 => (Expr::Call(&RANK, vec![]), Ty::Big, false),
            4 => (Expr::Call(&DENSE_RANK, vec![]), Ty::Big, false),
            5..7 => {
                let of = self.one(&exact);
                let form = if self.chance(0.5) { &LAG } else { &LEAD };
                (Expr::Call(form, vec![of.expr]), of.ty, true)
            }
            _ => {
                let of = self.aggregate(&exact);
                alike = of.exact;
                match of.expr {
                    // Of deviations, what the judges leave of rows that left a frame would be seen.
                    Expr::Aggregate(form, _, args, filter)
                        if !form.op.starts_with("bit_") && (of.exact || form.op.starts_with("avg")) =>
                    {
                        (Expr::Aggregate(form, false, args, filter), of.ty, true)
                    }
                    _ => return None,
                }
            }
        };
        let first = self.one(&exact);
        let mut order = vec![(first.expr, self.chance(0.5))];
        if by_order {
            order.extend(exact.iter().map(|leaf| (leaf.expr.clone(), false)));
        }
        let frame = match &call {
            Expr::Aggregate(..) => self.one(&[
                " ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW",
                " ROWS BETWEEN 2 PRECEDING AND 1 FOLLOWING",
                "",
            ]),
            _ => "",
        };
        if matches!(call, Expr::Aggregate(..)) && frame.is_empty() && self.chance(0.5) {
            order.clear();
        }
        Some(Leaf { expr: Expr::Over(Box::new(call), partition, order, frame), ty, exact: alike })
    }

    /// The first rows of each group by some order: a numbered relation, and the condition on the number.
    pub fn top(
        &mut self,
        (from, leaves, rows): (From, Vec<Leaf>, usize),
    ) -> Option<(From, Vec<Leaf>, usize, Expr)> {
        let number = loop {
            let leaf = self.over(&leaves)?;
            if let Expr::Over(call, ..) = &leaf.expr
                && matches!(call.as_ref(), Expr::Call(form, _) if matches!(form.op, "row_number" | "rank" | "dense_rank"))
            {
                break leaf;
            }
        };
        let name = |at: usize| format!("c{at}");
        let item = |(at, leaf): (usize, Leaf)| Item {
            expr: leaf.expr,
            column: Column { name: name(at), ty: leaf.ty, exact: true },
        };
        let n = leaves.len();
        let items: Vec<Item> = leaves.into_iter().chain([number]).enumerate().map(item).collect();
        let columns: Vec<Column> = items.iter().map(|item| item.column.clone()).collect();
        let select = Select { items, ..Select::of(from) };
        let alias = self.name();
        let mut leaves = leaves_of(&alias, &columns);
        let most = self.one(&["1", "2", "3"]);
        let condition = Expr::Call(&AT_MOST, vec![leaves[n].expr.clone(), Expr::plain(most)]);
        // The number is UBIGINT, and with a BIGINT beside it an expression is a DECIMAL.
        leaves.truncate(n);
        let from = From::Derived(Box::new(Query::Select(Box::new(select))), alias);
        Some((from, leaves, rows, condition))
    }
}

static ROW_NUMBER: Form = form("row_number", Want::Of(Ty::Big), &[], "row_number()");
static RANK: Form = form("rank", Want::Of(Ty::Big), &[], "rank()");
static DENSE_RANK: Form = form("dense_rank", Want::Of(Ty::Big), &[], "dense_rank()");
static LAG: Form = form("lag", Want::Any, &[Want::Any], "lag({0})");
static LEAD: Form = form("lead", Want::Any, &[Want::Any], "lead({0}, 2)");
static AT_MOST: Form = form("top N", Want::Of(Ty::Bool), &[], "({0} <= {1})");
