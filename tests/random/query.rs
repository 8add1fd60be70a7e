//! Queries as trees, their text in each dialect, and smaller ones of the same kind.

use std::collections::BTreeSet;

use crate::expression::{Dialect, Expr, ordered};
use crate::schema::Column;

/// A query.
#[derive(Clone, Debug)]
pub enum Query {
    /// SELECT.
    Select(Box<Select>),
    /// A set operation.
    Set(&'static str, Box<Query>, Box<Query>),
    /// WITH a name, its query, and what uses it.
    With(String, Box<Query>, Box<Query>),
    /// Written by hand: in Herald's, PostgreSQL's and DuckDB's SQL.
    Text([&'static str; 3]),
}

/// A column of the result.
#[derive(Clone, Debug)]
pub struct Item {
    /// Its value.
    pub expr: Expr,
    /// Its name and type.
    pub column: Column,
}

/// SELECT.
#[derive(Clone, Debug)]
pub struct Select {
    /// SELECT DISTINCT.
    pub distinct: bool,
    /// The columns.
    pub items: Vec<Item>,
    /// FROM.
    pub from: From,
    /// Conditions of WHERE.
    pub filter: Vec<Expr>,
    /// GROUP BY; an empty list is a total, None is no aggregate.
    pub group: Option<Vec<Expr>>,
    /// ROLLUP, CUBE or GROUPING SETS of what is grouped by, or nothing.
    pub sets: &'static str,
    /// HAVING.
    pub having: Option<Expr>,
    /// DISTINCT ON so many of the columns, ordered by all of them.
    pub first_of: Option<usize>,
    /// LIMIT and OFFSET, ordered by all columns.
    pub limit: Option<(usize, usize)>,
}

/// FROM.
#[derive(Clone, Debug)]
pub enum From {
    /// A relation and its alias.
    Relation(String, String),
    /// A subquery and its alias.
    Derived(Box<Query>, String),
    /// A join: kind, sides, conditions.
    Join(&'static str, Box<From>, Box<From>, Vec<Expr>),
    /// A window over a relation.
    Window(Window),
    /// Each `item` of a relation's list `l` beside its columns, with its place `nth` or without.
    Unnest(String, String, bool),
}

/// TUMBLE or HOP.
#[derive(Clone, Debug)]
pub struct Window {
    /// What it is over.
    pub relation: String,
    /// Its alias.
    pub alias: String,
    /// The time column.
    pub time: String,
    /// Seconds from one start to the next.
    pub slide: i64,
    /// Slides a window is long: one is a TUMBLE. Of a SESSION, nothing.
    pub slides: i64,
    /// PARTITION BY of a SESSION, whose gap is the slide.
    pub session: Option<Vec<String>>,
}

impl Query {
    /// Its text.
    pub fn sql(&self, dialect: Dialect) -> String {
        match self {
            Query::Select(select) => select.sql(dialect),
            Query::Set(op, left, right) => {
                format!("({}) {op} ({})", left.sql(dialect), right.sql(dialect))
            }
            Query::With(name, of, body) => {
                format!("WITH {name} AS ({}) {}", of.sql(dialect), body.sql(dialect))
            }
            Query::Text(texts) => texts[dialect as usize].to_string(),
        }
    }

    /// Collects the names of what it is made of.
    pub fn ops(&self, out: &mut BTreeSet<String>) {
        match self {
            Query::Select(select) => select.ops(out),
            Query::Set(op, left, right) => {
                out.insert((*op).into());
                left.ops(out);
                right.ops(out);
            }
            Query::With(_, of, body) => {
                out.insert("WITH".into());
                of.ops(out);
                body.ops(out);
            }
            Query::Text(_) => {}
        }
    }

    /// The columns of its result.
    pub fn columns(&self) -> Vec<Column> {
        match self {
            Query::Select(select) => select.items.iter().map(|item| item.column.clone()).collect(),
            Query::Set(_, left, _) => left.columns(),
            Query::With(_, _, body) => body.columns(),
            Query::Text(_) => vec![],
        }
    }

    /// Queries with one thing less; some may make no sense.
    pub fn simpler(&self) -> Vec<Query> {
        match self {
            Query::Select(select) => {
                select.simpler().into_iter().map(|s| Query::Select(Box::new(s))).collect()
            }
            Query::Set(op, left, right) => {
                let mut out = vec![(**left).clone(), (**right).clone()];
                out.extend(left.simpler().into_iter().map(|l| Query::Set(op, Box::new(l), right.clone())));
                out.extend(right.simpler().into_iter().map(|r| Query::Set(op, left.clone(), Box::new(r))));
                out
            }
            Query::With(name, of, body) => {
                let mut out = vec![(**of).clone(), (**body).clone()];
                let with = |of: &Query, body: &Query| {
                    Query::With(name.clone(), Box::new(of.clone()), Box::new(body.clone()))
                };
                out.extend(of.simpler().iter().map(|of| with(of, body)));
                out.extend(body.simpler().iter().map(|body| with(of, body)));
                out
            }
            Query::Text(_) => vec![],
        }
    }
}

impl Select {
    /// Nothing of it yet.
    pub fn of(from: From) -> Select {
        Select {
            distinct: false,
            items: vec![],
            from,
            filter: vec![],
            group: None,
            sets: "",
            having: None,
            first_of: None,
            limit: None,
        }
    }

    fn sql(&self, dialect: Dialect) -> String {
        let list = |exprs: &[Expr], between: &str| {
            exprs.iter().map(|e| e.sql(dialect)).collect::<Vec<_>>().join(between)
        };
        let items: Vec<String> = self
            .items
            .iter()
            .map(|item| format!("{} AS {}", item.expr.sql(dialect), item.column.name))
            .collect();
        let exprs: Vec<Expr> = self.items.iter().map(|item| item.expr.clone()).collect();
        let distinct = match self.first_of {
            Some(n) => format!("DISTINCT ON ({}) ", list(&exprs[..n.min(exprs.len())], ", ")),
            None if self.distinct => "DISTINCT ".to_string(),
            None => String::new(),
        };
        let mut text = format!("SELECT {distinct}{} FROM {}", items.join(", "), self.from.sql(dialect));
        if !self.filter.is_empty() {
            text.push_str(&format!(" WHERE {}", list(&self.filter, " AND ")));
        }
        if let Some(keys) = self.group.as_ref().filter(|keys| !keys.is_empty()) {
            let one: Vec<String> = keys.iter().map(|key| key.sql(dialect)).collect();
            let keys = one.join(", ");
            text.push_str(&match self.sets {
                "" => format!(" GROUP BY {keys}"),
                "GROUPING SETS" => format!(" GROUP BY GROUPING SETS (({}), ({keys}), ())", one.join("), (")),
                sets => format!(" GROUP BY {sets} ({keys})"),
            });
        }
        if let Some(having) = &self.having {
            text.push_str(&format!(" HAVING {}", having.sql(dialect)));
        }
        if self.first_of.is_some() || self.limit.is_some() {
            // A number would be the place of a column.
            let keys = exprs.into_iter().filter(|e| !matches!(e, Expr::Literal(..)));
            let keys: Vec<(Expr, bool)> = keys.map(|e| (e, false)).collect();
            text.push_str(&format!(" {}", ordered(&keys, dialect)));
        }
        if let Some((limit, offset)) = self.limit {
            text.push_str(&format!(" LIMIT {limit}"));
            if offset > 0 {
                text.push_str(&format!(" OFFSET {offset}"));
            }
        }
        text
    }

    fn ops(&self, out: &mut BTreeSet<String>) {
        if self.distinct {
            out.insert("DISTINCT".into());
        }
        if !self.filter.is_empty() {
            out.insert("WHERE".into());
        }
        if self.first_of.is_some() {
            out.insert("DISTINCT ON".into());
        }
        if let Some((_, offset)) = self.limit {
            out.insert(if offset > 0 { "LIMIT OFFSET" } else { "LIMIT" }.into());
        }
        match &self.group {
            Some(keys) if keys.is_empty() => drop(out.insert("total".into())),
            Some(_) => drop(out.insert(format!("GROUP BY {}", self.sets).trim_end().into())),
            None => {}
        }
        if let Some(having) = &self.having {
            out.insert("HAVING".into());
            having.ops(out);
        }
        let keys = self.group.iter().flatten();
        self.items.iter().map(|item| &item.expr).chain(&self.filter).chain(keys).for_each(|e| e.ops(out));
        self.from.ops(out);
    }

    fn simpler(&self) -> Vec<Select> {
        let mut out = Vec::new();
        let mut push = |change: &dyn Fn(&mut Select)| {
            let mut copy = self.clone();
            change(&mut copy);
            out.push(copy);
        };
        (0..self.filter.len()).for_each(|at| push(&|s| drop(s.filter.remove(at))));
        if self.having.is_some() {
            push(&|s| s.having = None);
        }
        if !self.sets.is_empty() {
            push(&|s| s.sets = "");
        }
        if self.distinct {
            push(&|s| s.distinct = false);
        }
        if self.first_of.is_some() {
            push(&|s| s.first_of = None);
        }
        if self.limit.is_some() {
            push(&|s| s.limit = None);
        }
        if self.items.len() > 1 {
            (0..self.items.len()).for_each(|at| push(&|s| drop(s.items.remove(at))));
        }
        if let Some(keys) = self.group.as_ref().filter(|keys| keys.len() > 1) {
            (0..keys.len()).for_each(|at| push(&|s| drop(s.group.as_mut().map(|keys| keys.remove(at)))));
        }
        for from in self.from.simpler() {
            push(&|s| s.from = from.clone());
        }
        for (at, item) in self.items.iter().enumerate() {
            for expr in simpler_expr(&item.expr) {
                push(&|s| s.items[at].expr = expr.clone());
            }
        }
        for (at, condition) in self.filter.iter().enumerate() {
            for expr in simpler_expr(condition) {
                push(&|s| s.filter[at] = expr.clone());
            }
        }
        out
    }
}

fn simpler_expr(expr: &Expr) -> Vec<Expr> {
    match expr {
        Expr::Call(form, args) => {
            let mut out = args.clone();
            for (at, arg) in args.iter().enumerate() {
                for smaller in simpler_expr(arg) {
                    let mut args = args.clone();
                    args[at] = smaller;
                    out.push(Expr::Call(form, args));
                }
            }
            out
        }
        Expr::Aggregate(form, distinct, args, Some(_)) => {
            vec![Expr::Aggregate(form, *distinct, args.clone(), None)]
        }
        Expr::Exists(not, query) => {
            query.simpler().into_iter().map(|q| Expr::Exists(*not, Box::new(q))).collect()
        }
        Expr::In(not, left, query) => {
            query.simpler().into_iter().map(|q| Expr::In(*not, left.clone(), Box::new(q))).collect()
        }
        Expr::Scalar(query) => query.simpler().into_iter().map(|q| Expr::Scalar(Box::new(q))).collect(),
        _ => vec![],
    }
}

impl From {
    fn sql(&self, dialect: Dialect) -> String {
        match self {
            From::Relation(name, alias) => format!("{name} AS {alias}"),
            From::Derived(query, alias) => format!("({}) AS {alias}", query.sql(dialect)),
            From::Join(kind, left, right, on) => {
                // DuckDB has the shorter names of these two.
                let kind = match (*kind, dialect) {
                    ("LEFT SEMI JOIN", Dialect::Duck) => "SEMI JOIN",
                    ("LEFT ANTI JOIN", Dialect::Duck) => "ANTI JOIN",
                    (kind, _) => kind,
                };
                if let ("JOIN USING", [Expr::Call(_, sides)]) = (kind, on.as_slice())
                    && let [Expr::Column(name), _] = sides.as_slice()
                {
                    let name = name.rsplit('.').next().unwrap_or_default();
                    return format!("{} JOIN {} USING ({name})", left.sql(dialect), right.sql(dialect));
                }
                let on: Vec<String> = on.iter().map(|e| e.sql(dialect)).collect();
                let on = if on.is_empty() { String::new() } else { format!(" ON {}", on.join(" AND ")) };
                let right = match right.as_ref() {
                    From::Join(..) => format!("({})", right.sql(dialect)),
                    _ => right.sql(dialect),
                };
                if dialect == Dialect::Postgres && kind.ends_with("I JOIN") {
                    return partner(kind, &left.sql(dialect), &right, &on.replacen(" ON ", " WHERE ", 1));
                }
                format!("{} {kind} {right}{on}", left.sql(dialect))
            }
            From::Window(window) => window.sql(dialect),
            From::Unnest(relation, alias, places) => {
                let (with, names) = if *places { (" WITH ORDINALITY", "item, nth") } else { ("", "item") };
                let place = if *places {
                    ", unnest(range(1, CAST(array_length(l) AS BIGINT) + 1)) AS nth"
                } else {
                    ""
                };
                match dialect {
                    Dialect::Herald => format!(
                        "(SELECT u.*, {names} FROM {relation} AS u CROSS JOIN UNNEST(u.l){with} AS i ({names})) AS {alias}"
                    ),
                    Dialect::Postgres => format!(
                        "(SELECT u.*, {names} FROM {relation} AS u CROSS JOIN LATERAL unnest(u.l){with} AS i ({names})) AS {alias}"
                    ),
                    Dialect::Duck => {
                        format!("(SELECT *, unnest(l) AS item{place} FROM {relation}) AS {alias}")
                    }
                }
            }
        }
    }

    fn ops(&self, out: &mut BTreeSet<String>) {
        match self {
            From::Relation(name, _) => {
                if name.starts_with('v') {
                    out.insert("view over view".into());
                }
            }
            From::Derived(query, _) => {
                out.insert("subquery in FROM".into());
                query.ops(out);
            }
            From::Join(kind, left, right, on) => {
                let equal = |e: &Expr| matches!(e, Expr::Call(form, _) if form.op == "=");
                let word = match (on.iter().any(equal), on.len()) {
                    (true, 1) | (_, 0) => "",
                    (true, _) => " with residual",
                    (false, _) => " by inequality",
                };
                out.insert(format!("{kind}{word}"));
                on.iter().for_each(|e| e.ops(out));
                left.ops(out);
                right.ops(out);
            }
            From::Window(window) => {
                let word = match (&window.session, window.slides) {
                    (Some(keys), _) if keys.is_empty() => "SESSION",
                    (Some(_), _) => "SESSION PARTITION BY",
                    (None, 1) => "TUMBLE",
                    (None, _) => "HOP",
                };
                out.insert(word.into());
            }
            From::Unnest(.., places) => {
                out.insert(if *places { "UNNEST WITH ORDINALITY" } else { "UNNEST" }.into());
            }
        }
    }

    fn simpler(&self) -> Vec<From> {
        match self {
            From::Relation(..) | From::Window(_) | From::Unnest(..) => vec![],
            From::Derived(query, alias) => {
                query.simpler().into_iter().map(|q| From::Derived(Box::new(q), alias.clone())).collect()
            }
            From::Join(kind, left, right, on) => {
                let mut out = vec![(**left).clone(), (**right).clone()];
                let join = |left: &From, right: &From, on: Vec<Expr>| {
                    From::Join(kind, Box::new(left.clone()), Box::new(right.clone()), on)
                };
                if on.len() > 1 {
                    out.extend((0..on.len()).map(|at| {
                        let mut fewer = on.clone();
                        fewer.remove(at);
                        join(left, right, fewer)
                    }));
                }
                out.extend(left.simpler().iter().map(|left| join(left, right, on.clone())));
                out.extend(right.simpler().iter().map(|right| join(left, right, on.clone())));
                out
            }
        }
    }
}

/// A semi or an anti join, which PostgreSQL does not have by name.
fn partner(kind: &str, left: &str, right: &str, condition: &str) -> String {
    let not = if kind == "LEFT ANTI JOIN" { "NOT " } else { "" };
    // Names within one FROM must differ.
    let name = format!("partner_{:x}", schemas::hash(format!("{right}{condition}").as_bytes()));
    let exists = format!("{not}EXISTS (SELECT 1 FROM {right}{condition})");
    format!("{left} CROSS JOIN LATERAL (SELECT 1 AS one WHERE {exists}) AS {name}")
}

impl Window {
    fn sql(&self, dialect: Dialect) -> String {
        let Window { relation, alias, time, slide, slides, session } = self;
        if let Some(keys) = session {
            return self.session(keys, dialect);
        }
        let size = slide * slides;
        let start = match dialect {
            Dialect::Herald if *slides == 1 => {
                return format!("TUMBLE({relation}, {time}, INTERVAL '{size} seconds') AS {alias}");
            }
            Dialect::Herald => {
                return format!(
                    "HOP({relation}, {time}, INTERVAL '{slide} seconds', INTERVAL '{size} seconds') AS {alias}"
                );
            }
            Dialect::Postgres => {
                format!("date_bin(INTERVAL '{slide} seconds', {time}, TIMESTAMPTZ '1970-01-01 00:00:00Z')")
            }
            Dialect::Duck => {
                format!("time_bucket(INTERVAL '{slide} seconds', {time}, TIMESTAMP '1970-01-01')")
            }
        };
        // A time that is NULL is in no window.
        let known = format!(" WHERE {time} IS NOT NULL");
        let bound = |seconds: i64| format!("{start} + INTERVAL '{seconds} seconds'");
        let rows: Vec<String> = (0..*slides)
            .map(|back| {
                let (from, to) = (bound(-back * slide), bound(size - back * slide));
                format!("SELECT *, {from} AS window_start, {to} AS window_end FROM {relation}{known}")
            })
            .collect();
        format!("({}) AS {alias}", rows.join(" UNION ALL "))
    }

    /// A row that is not less than the gap after the one before begins a session.
    fn session(&self, keys: &[String], dialect: Dialect) -> String {
        let Window { relation, alias, time, slide, .. } = self;
        let by = if keys.is_empty() { String::new() } else { format!("PARTITION BY {} ", keys.join(", ")) };
        if dialect == Dialect::Herald {
            let by = if keys.is_empty() { by } else { format!(" PARTITION BY ({})", keys.join(", ")) };
            return format!("SESSION({relation}{by}, {time}, INTERVAL '{slide} seconds') AS {alias}");
        }
        let gap = format!("INTERVAL '{slide} seconds'");
        let fresh = format!(
            "CASE WHEN {time} < lag({time}) OVER ({by}ORDER BY {time}) + {gap} THEN 0 ELSE 1 END AS fresh"
        );
        let begun = format!("SELECT *, {fresh} FROM {relation} WHERE {time} IS NOT NULL");
        let nth = format!("SELECT *, sum(fresh) OVER ({by}ORDER BY {time}) AS nth FROM ({begun}) AS begun");
        let mut of = keys.to_vec();
        of.push("nth".into());
        let of = of.join(", ");
        let start = format!("min({time}) OVER (PARTITION BY {of}) AS window_start");
        let end = format!("max({time}) OVER (PARTITION BY {of}) + {gap} AS window_end");
        // What has no time is in no session.
        format!("(SELECT *, {start}, {end} FROM ({nth}) AS numbered) AS {alias}")
    }
}
