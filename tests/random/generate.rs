//! Random queries over relations that are known so far.
//!
//! Everything is drawn from one source of chance, so that a seed is a query. Sizes are estimated on the
//! way and kept small: a product of products would take all the time and show nothing more.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::expression::{Expr, Form, Want};
use crate::forms::{AGGREGATES, FORMS, literals, null};
use crate::query::{From, Item, Query, Select};
use crate::schema::{Column, Relation, Ty};

/// Rows that FROM may give, about.
pub const MOST: usize = 150;
/// Types of what is drawn.
pub const TYPES: [Ty; 9] =
    [Ty::Big, Ty::Big, Ty::Text, Ty::Text, Ty::Double, Ty::Decimal, Ty::Bool, Ty::Date, Ty::Time];

const NARROW: [Ty; 7] = [Ty::Big, Ty::Big, Ty::Big, Ty::Text, Ty::Text, Ty::Bool, Ty::Date];

/// A value that expressions may use.
#[derive(Clone, Debug)]
pub struct Leaf {
    /// It.
    pub expr: Expr,
    /// Its type.
    pub ty: Ty,
    /// As in [`Column`].
    pub exact: bool,
}

/// Draws queries.
pub struct Generator {
    /// Chance.
    pub rng: ChaCha8Rng,
    /// What queries may read.
    pub relations: Vec<Relation>,
    next: usize,
}

impl Generator {
    /// Over these relations.
    pub fn new(rng: ChaCha8Rng, relations: Vec<Relation>) -> Generator {
        Generator { rng, relations, next: 0 }
    }

    /// A pair of values to join by, mostly one that has few values.
    pub fn pair(&mut self, left: &[Leaf], right: &[Leaf]) -> Option<(Leaf, Leaf)> {
        let pairs: Vec<(&Leaf, &Leaf)> = left
            .iter()
            .flat_map(|a| right.iter().map(move |b| (a, b)))
            .filter(|(a, b)| a.ty == b.ty && a.exact && b.exact && a.ty != Ty::Bool)
            .collect();
        let narrow: Vec<(&Leaf, &Leaf)> =
            pairs.iter().filter(|(a, _)| matches!(a.ty, Ty::Big | Ty::Text)).copied().collect();
        let of = if !narrow.is_empty() && self.chance(0.8) { narrow } else { pairs };
        if of.is_empty() {
            return None;
        }
        let (a, b) = self.one(&of);
        Some((a.clone(), b.clone()))
    }

    /// True so often.
    pub fn chance(&mut self, share: f64) -> bool {
        self.rng.random_bool(share)
    }

    /// One of these.
    pub fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.rng.random_range(0..of.len())].clone()
    }

    /// A name that was not used before.
    pub fn name(&mut self) -> String {
        self.next += 1;
        format!("x{}", self.next)
    }

    /// A query and about how many rows it gives.
    pub fn query(&mut self, depth: usize) -> (Query, usize) {
        match self.rng.random_range(0..100) {
            0..22 => {
                // Few and narrow columns, so that sides meet.
                let n = self.one(&[1, 1, 2, 3]);
                let mut types: Vec<Ty> = (0..n).map(|_| self.one(&NARROW)).collect();
                if self.chance(0.2) {
                    types[0] = self.one(&TYPES);
                }
                self.set_operation(depth, &types)
            }
            22..32 if depth > 0 => {
                let name = self.name();
                let (of, rows) = self.query(depth - 1);
                let relation = Relation { name: name.clone(), columns: of.columns(), rows, list: false };
                // Once or twice in what it is for, and nowhere else.
                self.relations.extend([relation.clone(), relation.clone(), relation]);
                let (body, rows) = self.select(depth, None);
                self.relations.retain(|r| r.name != name);
                (Query::With(name, Box::new(of), Box::new(body)), rows)
            }
            _ => self.select(depth, None),
        }
    }

    fn set_operation(&mut self, depth: usize, types: &[Ty]) -> (Query, usize) {
        let side = |this: &mut Generator| match depth > 0 && this.chance(0.25) {
            true => this.set_operation(depth - 1, types),
            false => this.select(depth.saturating_sub(1), Some(types)),
        };
        let ((left, l), (right, r)) = (side(self), side(self));
        let op = self.one(&["UNION", "UNION ALL", "INTERSECT", "EXCEPT", "INTERSECT ALL", "EXCEPT ALL"]);
        (Query::Set(op, Box::new(left), Box::new(right)), l + r)
    }

    /// A SELECT; with `types`, of exact columns of these types.
    pub fn select(&mut self, depth: usize, types: Option<&[Ty]>) -> (Query, usize) {
        let (from, leaves, rows, filter) = self.rows(depth);
        let (group, rows) = match self.rng.random_range(0..100) {
            0..30 => (Some(self.keys(&leaves)), rows.div_ceil(2)),
            30..38 => (Some(vec![]), 1),
            _ => (None, rows),
        };
        let mut values = leaves.clone();
        let mut having = None;
        if let Some(keys) = &group {
            values = keys.clone();
            for _ in 0..3 {
                let aggregate = self.aggregate(&leaves);
                values.extend(self.with_another_filter(&aggregate, &leaves));
                values.push(aggregate);
            }
            if self.chance(0.2) {
                having = Some(self.condition(&values, 1));
            } else if depth > 0 && self.chance(0.1) {
                let (query, (ty, _)) = self.scalar(&[]);
                // A condition without columns must not move below a total.
                let fit: Vec<Leaf> = values.iter().filter(|v| v.ty == ty && v.exact).cloned().collect();
                having = (!fit.is_empty()).then(|| {
                    let value = self.one(&fit).expr;
                    self.comparison(">=", value, Expr::Scalar(Box::new(query)))
                });
            }
        }
        let plain_keys =
            group.iter().flatten().all(|key| matches!(key.expr, Expr::Column(_))) && group.is_some();
        let sets = match plain_keys && having.is_none() && !values.is_empty() && self.chance(0.1) {
            true => self.one(&["ROLLUP", "CUBE", "GROUPING SETS"]),
            false => "",
        };
        let mut items = match types {
            Some(types) => types.iter().map(|ty| self.typed(&values, *ty)).collect(),
            None => self.items(&values, group.is_some(), &leaves),
        };
        for (at, item) in items.iter_mut().enumerate() {
            item.column.name = format!("c{at}");
        }
        let exact = items.iter().all(|item| item.column.exact);
        let plain = items.iter().all(|item| !item.expr.is_over());
        let (mut distinct, mut first_of, mut limit) = (false, None, None);
        match self.rng.random_range(0..100) {
            0..9 if exact => distinct = true,
            9..15 if exact && plain && group.is_none() && items[0].expr.has_column() => first_of = Some(1),
            15..22 if exact && plain => limit = Some((self.one(&[1, 2, 5]), self.one(&[0, 0, 1]))),
            _ => {}
        }
        let group: Option<Vec<Expr>> = group.map(|keys| keys.into_iter().map(|key| key.expr).collect());
        (
            Query::Select(Box::new(Select {
                distinct,
                items,
                from,
                filter,
                group,
                sets,
                having,
                first_of,
                limit,
            })),
            rows,
        )
    }

    /// FROM and WHERE.
    fn rows(&mut self, depth: usize) -> (From, Vec<Leaf>, usize, Vec<Expr>) {
        let mut filter = Vec::new();
        let top = match depth > 0 && self.chance(0.08) {
            true => {
                let of = self.relation();
                self.top(of)
            }
            false => None,
        };
        let (from, leaves, rows) = match top {
            Some((from, leaves, rows, condition)) => {
                filter.push(condition);
                (from, leaves, rows)
            }
            None => self.from(depth),
        };
        if self.chance(0.3) {
            let depth = self.one(&[0, 1, 1, 2]);
            filter.push(self.condition(&leaves, depth));
        }
        if depth > 0 && self.chance(0.25) {
            filter.push(self.subquery_condition(&leaves));
        }
        (from, leaves, rows, filter)
    }

    fn typed(&mut self, values: &[Leaf], ty: Ty) -> Item {
        let expr = self.expr(values, ty, 1, true);
        // Sides of a set operation must agree in width and scale too.
        let cast = match ty {
            Ty::Big => Some(&BIG),
            Ty::Decimal => Some(&DECIMAL),
            _ => None,
        };
        let expr = match cast {
            Some(form) => Expr::Call(form, vec![expr]),
            None => expr,
        };
        Item { expr, column: Column { name: String::new(), ty, exact: true } }
    }

    fn items(&mut self, values: &[Leaf], grouped: bool, outer: &[Leaf]) -> Vec<Item> {
        let item = |expr, ty, exact| Item { expr, column: Column { name: String::new(), ty, exact } };
        let mut items: Vec<Item> = match grouped {
            // Keys and aggregates are what a group is for.
            true => values.iter().map(|v| item(v.expr.clone(), v.ty, v.exact)).collect(),
            false => vec![],
        };
        let more = if grouped { self.rng.random_range(0..2) } else { self.rng.random_range(1..5) };
        for _ in 0..more {
            let ty = self.one(&TYPES);
            let exact = self.chance(0.8);
            let expr = self.expr(values, ty, 2, exact);
            items.push(item(expr, ty, exact));
        }
        if !grouped && self.chance(0.12) {
            // Herald's numbers of rows are UBIGINT until they are a column: cast, as a set operation's are.
            let number = |leaf: Leaf| match leaf.ty {
                Ty::Big => Expr::Call(&BIG, vec![leaf.expr]),
                _ => leaf.expr,
            };
            items.extend(self.over(values).map(|leaf| item(number(leaf.clone()), leaf.ty, leaf.exact)));
        }
        if !grouped && self.chance(0.12) {
            let (query, leaf) = self.scalar(outer);
            items.push(item(Expr::Scalar(Box::new(query)), leaf.0, leaf.1));
        }
        items
    }

    fn keys(&mut self, leaves: &[Leaf]) -> Vec<Leaf> {
        let n = self.rng.random_range(1..3);
        let mut keys: Vec<Leaf> = Vec::new();
        let exact: Vec<Leaf> = leaves.iter().filter(|leaf| leaf.exact).cloned().collect();
        for _ in 0..n {
            let mut leaf = match exact.is_empty() {
                true => Leaf { expr: Expr::Call(&BIG, vec![Expr::plain("1")]), ty: Ty::Big, exact: true },
                false => self.one(&exact),
            };
            if self.chance(0.25) {
                let expr = self.expr(&[leaf.clone()], leaf.ty, 1, true);
                if expr.has_column() {
                    leaf.expr = expr;
                }
            }
            if keys.iter().all(|key| format!("{:?}", key.expr) != format!("{:?}", leaf.expr)) {
                keys.push(leaf);
            }
        }
        keys
    }

    /// An aggregate over these values.
    pub fn aggregate(&mut self, leaves: &[Leaf]) -> Leaf {
        let form = self.one(&AGGREGATES);
        let ty = self.one(&TYPES[..]);
        let ty = if form.op == "min" || form.op == "max" { self.comparable(ty) } else { ty };
        let distinct = matches!(form.op, "count" | "sum" | "avg" | "sum of decimals") && self.chance(0.4);
        let exact = form.exact && (distinct || self.chance(0.9));
        let args: Vec<Expr> = form
            .takes
            .iter()
            .map(|want| self.expr(leaves, resolve(*want, ty), 1, exact || distinct))
            .collect();
        let filter = self.chance(0.2).then(|| Box::new(self.condition(leaves, 1)));
        let gives = resolve(form.gives, ty);
        Leaf { expr: Expr::Aggregate(form, distinct, args, filter), ty: gives, exact }
    }

    /// The same aggregate over other rows, which shares what it keeps with the first, some of the time.
    fn with_another_filter(&mut self, aggregate: &Leaf, leaves: &[Leaf]) -> Option<Leaf> {
        let Expr::Aggregate(form, true, args, _) = &aggregate.expr else { return None };
        let filter = self.chance(0.3).then(|| Box::new(self.condition(leaves, 1)))?;
        Some(Leaf { expr: Expr::Aggregate(form, true, args.clone(), Some(filter)), ..aggregate.clone() })
    }

    /// A type that has a least value.
    pub fn comparable(&mut self, ty: Ty) -> Ty {
        if ty == Ty::Bool { Ty::Text } else { ty }
    }

    /// A condition over these values.
    pub fn condition(&mut self, leaves: &[Leaf], depth: usize) -> Expr {
        self.call(leaves, Ty::Bool, depth, true)
    }

    /// An expression of a type over these values.
    pub fn expr(&mut self, leaves: &[Leaf], ty: Ty, depth: usize, exact: bool) -> Expr {
        if depth > 0 && self.chance(0.5) {
            return self.call(leaves, ty, depth, exact);
        }
        let fit: Vec<Expr> = leaves
            .iter()
            .filter(|leaf| leaf.ty == ty && (leaf.exact || !exact))
            .map(|leaf| leaf.expr.clone())
            .collect();
        if !fit.is_empty() && self.chance(0.85) {
            return self.one(&fit);
        }
        if fit.is_empty() && depth > 0 && self.chance(0.5) {
            return self.call(leaves, ty, depth, exact);
        }
        if self.chance(0.04) { null(ty) } else { self.one(&literals(ty)) }
    }

    fn call(&mut self, leaves: &[Leaf], ty: Ty, depth: usize, exact: bool) -> Expr {
        let fits = |form: &&'static Form| match form.gives {
            Want::Of(gives) => gives == ty,
            Want::Any => true,
        };
        let forms: Vec<&'static Form> =
            FORMS.iter().filter(fits).filter(|form| form.exact || !exact).collect();
        let form = self.one(&forms);
        self.call_of(form, leaves, ty, depth, exact)
    }

    /// A form over these values; one of any type is of type `ty`.
    pub fn call_of(
        &mut self,
        form: &'static Form,
        leaves: &[Leaf],
        ty: Ty,
        depth: usize,
        exact: bool,
    ) -> Expr {
        let any = match form.gives {
            Want::Any => ty,
            // Mostly a type that there is something of.
            Want::Of(_) if !leaves.is_empty() && self.chance(0.9) => self.one(leaves).ty,
            Want::Of(_) => self.one(&TYPES),
        };
        // What is compared is exact; what is handed on is so if the result must be.
        let compares = matches!(form.op, "nullif" | "greatest" | "least");
        let must = exact || compares || form.takes.len() > 1 && form.gives == Want::Of(Ty::Bool);
        let mut args = Vec::new();
        for _ in 0..3 {
            let arg = |want: &Want| self.expr(leaves, resolve(*want, any), depth.saturating_sub(1), must);
            args = form.takes.iter().map(arg).collect();
            // Constants are folded before they are run.
            if args.iter().any(Expr::has_column) {
                break;
            }
        }
        Expr::Call(form, args)
    }

    /// FROM, what its columns give, and about how many rows.
    pub fn from(&mut self, depth: usize) -> (From, Vec<Leaf>, usize) {
        match self.rng.random_range(0..100) {
            0..35 if depth > 0 => self.join(depth),
            35..45 if depth > 0 => {
                let alias = self.name();
                let (query, rows) = self.query(depth - 1);
                let leaves = leaves_of(&alias, &query.columns());
                (From::Derived(Box::new(query), alias), leaves, rows)
            }
            45..55 => self.window(),
            55..58 => self.unnest(),
            _ => self.relation(),
        }
    }

    /// A relation by its name.
    pub fn relation(&mut self) -> (From, Vec<Leaf>, usize) {
        let relation = self.one(&self.relations.clone());
        self.named(relation)
    }

    /// This relation.
    pub fn named(&mut self, relation: Relation) -> (From, Vec<Leaf>, usize) {
        let alias = self.name();
        let leaves = leaves_of(&alias, &relation.columns);
        (From::Relation(relation.name, alias), leaves, relation.rows)
    }
}

/// To the width that sides of a set operation share.
pub static BIG: Form = crate::expression::form("CAST", Want::Any, &[Want::Any], "CAST({0} AS BIGINT)");
static DECIMAL: Form =
    crate::expression::form("CAST", Want::Any, &[Want::Any], "CAST({0} AS DECIMAL(38, 2))");

fn resolve(want: Want, any: Ty) -> Ty {
    match want {
        Want::Of(ty) => ty,
        Want::Any => any,
    }
}

/// The columns of a relation under an alias.
pub fn leaves_of(alias: &str, columns: &[Column]) -> Vec<Leaf> {
    let leaf = |column: &Column| Leaf {
        expr: Expr::Column(format!("{alias}.{}", column.name)),
        ty: column.ty,
        exact: column.exact,
    };
    columns.iter().map(leaf).collect()
}
