//! Queries as values: their text, the columns that they read, and the shape of their result.

/// A type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// BIGINT.
    Int,
    /// VARCHAR.
    Text,
    /// TIMESTAMPTZ.
    Time,
    /// DOUBLE.
    Double,
}

/// A column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: Kind,
}

/// A table or source of the topologies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// A keyed table of FORMAT UPSERT, with deletes.
    Users,
    /// A keyed table of rows with versions.
    Games,
    /// An append-only source with a watermark.
    Clicks,
    /// A keyed table that only edits add.
    Prizes,
}

/// A relation that queries read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rel {
    /// A table or source.
    Table(Table),
    /// The view of a number.
    View(u32),
}

/// A relation's columns and properties.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Its columns.
    pub columns: Vec<Column>,
    /// A key that Herald proves unique, if there is one.
    pub key: Option<Vec<String>>,
    /// True if it never takes a row back.
    pub appends: bool,
    /// True if an append-only source is below it, whose records the state does not keep.
    pub of_source: bool,
}

/// A condition: a column of whole numbers compared with a constant.
#[derive(Clone, Debug)]
pub struct Filter {
    /// The column.
    pub column: String,
    /// The comparison.
    pub op: &'static str,
    /// The constant.
    pub constant: i64,
}

/// An aggregate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Total {
    /// Its function; `kinds` for count(DISTINCT ...).
    pub function: &'static str,
    /// Its argument; None for count(*).
    pub column: Option<String>,
}

/// A query.
#[derive(Clone, Debug)]
pub enum Query {
    /// Columns, and a sum of one and a constant, of the rows for which a condition is true.
    Pick { from: Rel, columns: Vec<String>, more: Option<(String, i64)>, filter: Option<Filter> },
    /// Aggregates by columns, or of all rows without any.
    Group { from: Rel, by: Vec<String>, totals: Vec<Total>, filter: Option<Filter> },
    /// A join by one column of each side. Columns of the right are named `r_` and their name.
    Join { sides: (Rel, Rel), on: (String, String), columns: (Vec<String>, Vec<String>), outer: bool },
    /// Aggregates of a column's values by windows of so many minutes.
    Tumble { from: Rel, by: String, minutes: u32, totals: Vec<Total>, closes: bool },
    /// Different rows.
    Distinct { from: Rel, columns: Vec<String> },
    /// Whole numbers and texts of several relations.
    Union { parts: Vec<(Rel, [String; 2])> },
    /// The first rows by a column.
    Top { from: Rel, by: String, columns: Vec<String>, limit: u32 },
}

impl Table {
    /// All tables.
    pub const ALL: [Table; 4] = [Table::Users, Table::Games, Table::Clicks, Table::Prizes];

    /// Its name, also that of its file.
    pub fn name(self) -> &'static str {
        match self {
            Table::Users => "users",
            Table::Games => "games",
            Table::Clicks => "clicks",
            Table::Prizes => "prizes",
        }
    }

    /// Its statement.
    pub fn statement(self) -> String {
        let name = self.name();
        let (columns, rest, format) = match self {
            Table::Users => (
                "TABLE users (id BIGINT, name VARCHAR, team VARCHAR, score BIGINT, PRIMARY KEY (id))",
                "",
                "UPSERT",
            ),
            Table::Games => (
                "TABLE games (id BIGINT, user_id BIGINT, arena VARCHAR, points BIGINT, at TIMESTAMPTZ, rev BIGINT, \
                 CONSTRAINT sane CHECK (points < 1000), PRIMARY KEY (id))",
                "ON CONFLICT OVERWRITE WITH VERSION COLUMN (rev) ",
                "PLAIN",
            ),
            Table::Clicks => (
                "SOURCE clicks (user_id BIGINT, page VARCHAR, n BIGINT, at TIMESTAMPTZ, \
                 WATERMARK FOR at AS at - INTERVAL '5 minutes')",
                "",
                "PLAIN",
            ),
            Table::Prizes => {
                ("TABLE prizes (id BIGINT, team VARCHAR, worth BIGINT, PRIMARY KEY (id))", "", "UPSERT")
            }
        };
        format!(
            "CREATE {columns} {rest}WITH (connector = 'file', path = 'in/{name}.jsonl', follow = 'true') \
             FORMAT {format} ENCODE JSON"
        )
    }

    /// Its columns and properties.
    pub fn shape(self) -> Shape {
        use Kind::{Int, Text, Time};
        let columns: &[(&str, Kind)] = match self {
            Table::Users => &[("id", Int), ("name", Text), ("team", Text), ("score", Int)],
            Table::Games => {
                &[("id", Int), ("user_id", Int), ("arena", Text), ("points", Int), ("at", Time), ("rev", Int)]
            }
            Table::Clicks => &[("user_id", Int), ("page", Text), ("n", Int), ("at", Time)],
            Table::Prizes => &[("id", Int), ("team", Text), ("worth", Int)],
        };
        let is_source = self == Table::Clicks;
        Shape {
            columns: columns.iter().map(|(name, kind)| column(name, *kind)).collect(),
            key: (!is_source).then(|| vec!["id".to_owned()]),
            appends: is_source,
            of_source: is_source,
        }
    }
}

impl Shape {
    /// The type of a column; None if there is no such column.
    pub fn kind(&self, name: &str) -> Option<Kind> {
        self.columns.iter().find(|column| column.name == name).map(|column| column.kind)
    }

    /// The names of the columns of a type.
    pub fn of_kind(&self, kind: Kind) -> Vec<String> {
        self.columns.iter().filter(|column| column.kind == kind).map(|column| column.name.clone()).collect()
    }

    /// The names of the columns that a query may group, join and compare by.
    pub fn plain(&self) -> Vec<String> {
        self.columns.iter().filter(|column| column.kind != Kind::Double).map(|c| c.name.clone()).collect()
    }

    /// The columns of some names.
    fn select(&self, names: &[String]) -> Option<Vec<Column>> {
        names.iter().map(|name| Some(column(name, self.kind(name)?))).collect()
    }

    /// Its key, if all columns of it are among these.
    fn key_within(&self, names: &[String]) -> Option<Vec<String>> {
        self.key.clone().filter(|key| key.iter().all(|column| names.contains(column)))
    }
}

impl Filter {
    fn text(filter: &Option<Filter>) -> String {
        match filter {
            Some(Filter { column, op, constant }) => format!(" WHERE {column} {op} {constant}"),
            None => String::new(),
        }
    }
}

impl Total {
    /// The name of its column.
    pub fn name(&self) -> String {
        match &self.column {
            Some(column) => format!("{}_{column}", self.function),
            None => "rows_all".to_owned(),
        }
    }

    fn text(&self) -> String {
        let name = self.name();
        match (&self.column, self.function) {
            (None, _) => format!("count(*) AS {name}"),
            (Some(column), "kinds") => format!("count(DISTINCT {column}) AS {name}"),
            (Some(column), function) => format!("{function}({column}) AS {name}"),
        }
    }

    /// The type of its value over an input.
    fn kind(&self, input: &Shape) -> Option<Kind> {
        let argument = match &self.column {
            Some(column) => input.kind(column)?,
            None => return Some(Kind::Int),
        };
        Some(match self.function {
            "avg" => Kind::Double,
            "min" | "max" => argument,
            _ => Kind::Int,
        })
    }
}

impl Query {
    /// The relations that it reads, with the columns of each.
    pub fn reads(&self) -> Vec<(Rel, Vec<String>)> {
        let filtered = |filter: &Option<Filter>| filter.iter().map(|f| f.column.clone()).collect::<Vec<_>>();
        match self {
            Query::Pick { from, columns, more, filter } => {
                let more: Vec<String> = more.iter().map(|(column, _)| column.clone()).collect();
                vec![(*from, [columns.clone(), more, filtered(filter)].concat())]
            }
            Query::Group { from, by, totals, filter } => {
                vec![(*from, [by.clone(), arguments(totals), filtered(filter)].concat())]
            }
            Query::Join { sides, on, columns, .. } => vec![
                (sides.0, [columns.0.clone(), vec![on.0.clone()]].concat()),
                (sides.1, [columns.1.clone(), vec![on.1.clone()]].concat()),
            ],
            Query::Tumble { from, by, totals, .. } => {
                vec![(*from, [arguments(totals), vec![by.clone(), "at".to_owned()]].concat())]
            }
            Query::Distinct { from, columns } => vec![(*from, columns.clone())],
            Query::Union { parts } => parts.iter().map(|(rel, columns)| (*rel, columns.to_vec())).collect(),
            Query::Top { from, by, columns, .. } => {
                vec![(*from, [columns.clone(), vec![by.clone()]].concat())]
            }
        }
    }

    /// The shape of its result over inputs of these shapes, in the order of [`Query::reads`]; None if two
    /// columns have one name.
    pub fn shape(&self, inputs: &[Shape]) -> Option<Shape> {
        let first = inputs.first()?;
        let of_source = inputs.iter().any(|input| input.of_source);
        let all_append = inputs.iter().all(|input| input.appends);
        let (columns, key, appends) = match self {
            Query::Pick { columns, more, .. } => {
                let mut picked = first.select(columns)?;
                picked.extend(more.iter().map(|_| column("more", Kind::Int)));
                (picked, first.key_within(columns), all_append)
            }
            Query::Group { by, totals, .. } => {
                let mut grouped = first.select(by)?;
                grouped.extend(total_columns(totals, first)?);
                (grouped, (!by.is_empty()).then(|| by.clone()), false)
            }
            Query::Join { on, columns, .. } => {
                let right = inputs.get(1)?;
                let mut joined = first.select(&columns.0)?;
                for taken in right.select(&columns.1)? {
                    joined.push(column(&format!("r_{}", taken.name), taken.kind));
                }
                let finds_one = right.key.as_deref() == Some(std::slice::from_ref(&on.1));
                (joined, first.key_within(&columns.0).filter(|_| finds_one), false)
            }
            Query::Tumble { by, totals, closes, .. } => {
                let mut windows = vec![column("window_start", Kind::Time), column("window_end", Kind::Time)];
                windows.extend(first.select(std::slice::from_ref(by))?);
                windows.extend(total_columns(totals, first)?);
                (windows, Some(vec!["window_start".to_owned(), by.clone()]), *closes)
            }
            Query::Distinct { columns, .. } => (first.select(columns)?, Some(columns.clone()), all_append),
            Query::Union { .. } => (vec![column("x", Kind::Int), column("y", Kind::Text)], None, all_append),
            Query::Top { columns, .. } => (first.select(columns)?, None, false),
        };
        let is_twice = |at: usize| columns[..at].iter().any(|before| before.name == columns[at].name);
        if columns.is_empty() || (0..columns.len()).any(is_twice) {
            return None;
        }
        Some(Shape { columns, key, appends, of_source })
    }

    /// Its text. `name_of` names a relation; `renamed` takes other aliases.
    pub fn text(&self, name_of: &dyn Fn(Rel) -> String, renamed: bool) -> String {
        let alias = if renamed { " AS q" } else { "" };
        match self {
            Query::Pick { from, columns, more, filter } => {
                let mut items = columns.clone();
                items.extend(more.iter().map(|(column, constant)| format!("{column} + {constant} AS more")));
                let (items, from) = (items.join(", "), name_of(*from));
                format!("SELECT {items} FROM {from}{alias}{}", Filter::text(filter))
            }
            Query::Group { from, by, totals, filter } => {
                let (items, from) = (with_totals(by, totals), name_of(*from));
                let group =
                    if by.is_empty() { String::new() } else { format!(" GROUP BY {}", by.join(", ")) };
                format!("SELECT {items} FROM {from}{alias}{}{group}", Filter::text(filter))
            }
            Query::Join { sides, on, columns, outer } => {
                let (l, r) = if renamed { ("a", "b") } else { ("l", "r") };
                let mut items: Vec<String> = columns.0.iter().map(|name| format!("{l}.{name}")).collect();
                items.extend(columns.1.iter().map(|name| format!("{r}.{name} AS r_{name}")));
                let (items, join) = (items.join(", "), if *outer { "LEFT JOIN" } else { "JOIN" });
                let (left, right) = (name_of(sides.0), name_of(sides.1));
                let on = format!("{l}.{} = {r}.{}", on.0, on.1);
                format!("SELECT {items} FROM {left} AS {l} {join} {right} AS {r} ON {on}")
            }
            Query::Tumble { from, by, minutes, totals, closes } => {
                let by = ["window_start".to_owned(), "window_end".to_owned(), by.clone()];
                let (items, from) = (with_totals(&by, totals), name_of(*from));
                let emit = if *closes { " EMIT ON WINDOW CLOSE" } else { "" };
                format!(
                    "SELECT {items} FROM TUMBLE({from}, at, INTERVAL '{minutes} minutes'){alias} \
                     GROUP BY {}{emit}",
                    by.join(", ")
                )
            }
            Query::Distinct { from, columns } => {
                format!("SELECT DISTINCT {} FROM {}{alias}", columns.join(", "), name_of(*from))
            }
            Query::Union { parts } => {
                let mut texts = Vec::new();
                for (rel, [x, y]) in parts {
                    texts.push(format!("SELECT {x} AS x, {y} AS y FROM {}{alias}", name_of(*rel)));
                }
                texts.join(" UNION ALL ")
            }
            Query::Top { from, by, columns, limit } => {
                let (items, from) = (columns.join(", "), name_of(*from));
                format!("SELECT {items} FROM {from}{alias} ORDER BY {by} DESC, {items} LIMIT {limit}")
            }
        }
    }
}

fn column(name: &str, kind: Kind) -> Column {
    Column { name: name.to_owned(), kind }
}

fn arguments(totals: &[Total]) -> Vec<String> {
    totals.iter().filter_map(|total| total.column.clone()).collect()
}

fn total_columns(totals: &[Total], input: &Shape) -> Option<Vec<Column>> {
    totals.iter().map(|total| Some(column(&total.name(), total.kind(input)?))).collect()
}

/// The list of SELECT with columns and totals.
fn with_totals(by: &[String], totals: &[Total]) -> String {
    let mut items = by.to_vec();
    items.extend(totals.iter().map(Total::text));
    items.join(", ")
}
