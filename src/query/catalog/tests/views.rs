//! Queries over users' views that go the catalogue's way, as they ask for the time: they are answered right,
//! or refused.

use arrow::array::{Int64Array, ListArray, StringArray};
use arrow::datatypes::Int64Type;
use arrow::util::display::array_value_to_string;

use super::*;

/// Rows of `t`: its key, and a number.
const T: [(i64, Option<i64>); 5] = [(1, Some(5)), (2, None), (3, Some(2)), (4, Some(1)), (9, Some(3))];
/// Rows of `u`: a key of `t`, a number, and a number that is unique.
const U: [(i64, Option<i64>, i64); 7] = [
    (1, Some(5), 1),
    (1, Some(2), 2),
    (1, None, 3),
    (2, Some(2), 4),
    (3, Some(7), 5),
    (3, Some(7), 6),
    (4, None, 7),
];

fn register(context: &SessionContext, name: &str, arrays: Vec<(&str, ArrayRef)>) {
    let batch = RecordBatch::try_from_iter_with_nullable(
        arrays.into_iter().map(|(name, array)| (name.to_owned(), array, true)),
    );
    let batch = batch.expect("a batch");
    let table = MemTable::try_new(batch.schema(), vec![vec![batch]]).expect("a table");
    context.register_table(name, Arc::new(table)).expect("registered");
}

/// A session with small views, of which `odd` has columns with names of the catalogue's.
fn views(catalogue: &Catalogue) -> SessionContext {
    let context = context(catalogue);
    let numbers = |found: Vec<Option<i64>>| -> ArrayRef { Arc::new(Int64Array::from(found)) };
    let texts = |found: [&str; 2]| -> ArrayRef { Arc::new(StringArray::from(found.to_vec())) };
    let t = vec![
        ("k", numbers(T.iter().map(|row| Some(row.0)).collect())),
        ("a", numbers(T.iter().map(|row| row.1).collect())),
        ("own", numbers(T.iter().map(|row| Some(row.0)).collect())),
    ];
    register(&context, "t", t);
    let u = vec![
        ("k", numbers(U.iter().map(|row| Some(row.0)).collect())),
        ("b", numbers(U.iter().map(|row| row.1).collect())),
        ("c", numbers(U.iter().map(|row| Some(row.2)).collect())),
    ];
    register(&context, "u", u);
    let lists = vec![Some(vec![Some(7), Some(8)]), Some(vec![Some(9)])];
    let odd = vec![
        ("xmin", numbers(vec![Some(7), Some(8)])),
        ("tableoid", numbers(vec![Some(70), Some(80)])),
        ("ctid", texts(["a", "b"])),
        ("contype", texts(["f", "p"])),
        ("typtype", texts(["c", "b"])),
        ("tag", numbers(vec![Some(700), Some(800)])),
        ("tags", Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(lists)) as ArrayRef),
    ];
    register(&context, "odd", odd);
    context
}

/// The cells of the answer, row by row.
fn cells(sql: &str, catalogue: &Catalogue, context: &SessionContext) -> Result<Vec<Vec<String>>> {
    let (_, _, batches) = runtime().block_on(answer(catalogue, context, &Recorded::of(sql)))?;
    let mut rows = Vec::new();
    for batch in &batches {
        for at in 0..batch.num_rows() {
            let cells = batch.columns().iter().map(|column| array_value_to_string(column, at));
            rows.push(cells.collect::<std::result::Result<_, _>>()?);
        }
    }
    Ok(rows)
}

/// Columns of views with the names of those of the catalogue are theirs.
#[test]
fn a_view_s_columns_are_no_constants() {
    let catalogue = catalogue();
    let context = views(&catalogue);
    for (sql, expected) in [
        (
            "SELECT xmin, tableoid, o.ctid, now() IS NULL FROM odd o ORDER BY 1",
            vec!["7|70|a|false", "8|80|b|false"],
        ),
        (
            "SELECT CASE WHEN contype = 'f' THEN 1 WHEN typtype = 'c' THEN 2 ELSE 3 END FROM odd \
             WHERE now() IS NOT NULL ORDER BY 1",
            vec!["1", "3"],
        ),
        (
            "SELECT (SELECT max(tag) FROM odd), x.xmin FROM odd x WHERE contype = 'f' AND now() IS NOT NULL",
            vec!["800|7"],
        ),
        // The inner `tag` is the view's, and the outer one an item of the array.
        ("SELECT tag, (SELECT max(tag) FROM odd) FROM pg_class c, unnest(c.reloptions) AS tag", vec![]),
        (
            "SELECT g.tag, (SELECT max(tag) FROM odd) FROM odd v, unnest(v.tags) AS g(tag) \
             WHERE now() IS NOT NULL ORDER BY 1",
            vec!["7|800", "8|800", "9|800"],
        ),
        // Hidden columns of the catalogue's tables.
        (
            "SELECT c.tableoid::regclass, c.tableoid, xmin, ctid FROM pg_class c WHERE relname = 'pg_type'",
            vec!["pg_class|1259|1|(0,1)"],
        ),
        ("SELECT t.o FROM (SELECT tableoid AS o FROM pg_constraint) AS t GROUP BY 1", vec!["2606"]),
    ] {
        let found = cells(sql, &catalogue, &context).unwrap_or_else(|error| panic!("{sql}: {error:#}"));
        let found: Vec<String> = found.iter().map(|row| row.join("|")).collect();
        assert_eq!(found, expected, "{sql}");
    }
}

/// A name that two tables have is not guessed.
#[test]
fn a_query_that_hides_a_table_of_the_catalogue_is_refused() {
    let catalogue = catalogue();
    let context = views(&catalogue);
    let refused = cells("WITH pg_class AS (SELECT k FROM t) SELECT k FROM pg_class", &catalogue, &context);
    let error = refused.expect_err("a mistake");
    assert!(format!("{error:#}").contains("WITH pg_class hides a table"), "{error:#}");
}

/// Columns come in the order of their table, as ADBC takes them, though no ORDER BY asks for it.
#[test]
fn columns_are_listed_in_their_order() {
    let catalogue = catalogue();
    let context = views(&catalogue);
    let by_class = "SELECT attr.attname FROM pg_catalog.pg_attribute AS attr \
                    INNER JOIN pg_catalog.pg_class AS cls ON attr.attrelid = cls.oid \
                    INNER JOIN pg_catalog.pg_namespace AS nsp ON nsp.oid = cls.relnamespace \
                    INNER JOIN pg_catalog.pg_type AS typ ON attr.atttypid = typ.oid \
                    WHERE attr.attnum > 0 AND nsp.nspname LIKE 'public' AND cls.relname LIKE 'champion_hourly'";
    let by_standard = "SELECT c.column_name FROM information_schema.columns c \
                       JOIN pg_type t ON t.typname = c.udt_name WHERE c.table_name = 'champion_hourly'";
    let schema = champions();
    let expected: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    for sql in [by_class, by_standard] {
        let found = cells(sql, &catalogue, &context).expect("an answer").concat();
        assert_eq!(found, expected, "{sql}");
    }
}

#[test]
fn a_view_has_its_definition() {
    let catalogue = catalogue();
    let context = views(&catalogue);
    for sql in [
        "SELECT pg_get_viewdef('champion_hourly'::regclass, true)",
        "SELECT definition FROM pg_matviews WHERE matviewname = 'champion_hourly'",
        "SELECT view_definition FROM information_schema.views WHERE table_name = 'champion_hourly'",
    ] {
        let found = cells(sql, &catalogue, &context).expect("an answer").concat();
        assert_eq!(found, ["SELECT * FROM matches;"], "{sql}");
    }
}

/// IN of the catalogue's rows with a NULL among them, or for one, is unknown.
#[test]
fn a_null_among_rows_makes_in_unknown() {
    let catalogue = catalogue();
    let context = views(&catalogue);
    let rows = "SELECT CASE WHEN p.oid = 16 THEN NULL ELSE p.oid END FROM pg_type p WHERE p.oid IN (16, 20)";
    for (value, expected) in [("20", "true|false"), ("21", "|"), ("NULL::int8", "|")] {
        let sql = format!("SELECT {value} IN ({rows}), {value} NOT IN ({rows})");
        let found = cells(&sql, &catalogue, &context).expect("an answer");
        assert_eq!(found[0].join("|"), expected, "{sql}");
    }
    let none = "SELECT oid FROM pg_type WHERE oid = 0";
    let sql = format!("SELECT NULL::int8 IN ({none}), NULL::int8 NOT IN ({none}), 1 NOT IN ({none})");
    assert_eq!(cells(&sql, &catalogue, &context).expect("an answer")[0], ["false", "true", "true"]);
    let sql = format!("SELECT oid FROM pg_type t WHERE oid = 21 AND oid NOT IN ({rows})");
    assert!(cells(&sql, &catalogue, &context).expect("an answer").is_empty());
}

/// Numbers that seem random, always the same.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }

    fn one_of<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }
}

/// Condition as text, and what it means for `t.k`, `u.k` and `u.c`.
type Condition = (&'static str, fn(i64, i64, i64) -> bool);

/// Subquery over `u` within a query over `t`.
#[derive(Clone, Copy, Debug)]
struct Subquery {
    condition: Condition,
    /// Output: `b`, or an aggregate.
    output: &'static str,
    distinct: bool,
    grouped: bool,
    having: bool,
    order: &'static str,
    limit: Option<usize>,
    offset: usize,
}

/// Tells whether a row of `u` is the last of its key.
fn is_last(k: i64, c: i64) -> bool {
    U.iter().filter(|row| row.0 == k).all(|row| row.2 <= c)
}

const CONDITIONS: [Condition; 11] = [
    ("true", |_, _, _| true),
    ("u.k = t.k", |t, u, _| u == t),
    ("u.k < t.k", |t, u, _| u < t),
    ("c > 2", |_, _, c| c > 2),
    ("c > 2 AND t.k = u.k", |t, u, c| c > 2 && t == u),
    ("u.c + t.k = 6 OR u.k = t.k", |t, u, c| c + t == 6 || u == t),
    ("u.k = own", |t, u, _| u == t),
    ("u.k <= own AND t.k <= u.k", |t, u, _| u == t),
    ("u.k = t.k AND c = (SELECT max(x.c) FROM u AS x WHERE x.k = u.k)", |t, u, c| u == t && is_last(u, c)),
    ("u.k = t.k AND c = (SELECT x.c FROM u AS x WHERE x.k = u.k ORDER BY c DESC LIMIT 1)", |t, u, c| {
        u == t && is_last(u, c)
    }),
    ("u.k = t.k AND EXISTS (SELECT 1 FROM u AS x WHERE x.k = t.k AND x.c > u.c)", |t, u, c| {
        u == t && !is_last(u, c)
    }),
];

impl Subquery {
    fn random(random: &mut Random) -> Subquery {
        let output =
            random.one_of(&["u.b", "b", "b AS x", "b + 0", "max(u.b)", "count(*)", "coalesce(min(b), 0)"]);
        let is_aggregate = output.contains('(');
        let grouped = random.below(5) == 0;
        let distinct = random.below(4) == 0;
        let by_output = ["", "1", "1 DESC"];
        let by_any = ["", "1", "1 DESC", "u.c", "c DESC"];
        let order = if is_aggregate || grouped || distinct {
            random.one_of(&by_output)
        } else {
            random.one_of(&by_any)
        };
        let is_ordered = !order.is_empty() || (is_aggregate && !grouped);
        Subquery {
            condition: random.one_of(&CONDITIONS),
            output,
            distinct,
            grouped,
            having: random.below(6) == 0 && (grouped || is_aggregate),
            order,
            limit: if is_ordered { random.one_of(&[None, None, Some(0), Some(1), Some(2)]) } else { None },
            offset: if is_ordered { random.one_of(&[0, 0, 1]) } else { 0 },
        }
    }

    fn sql(&self) -> String {
        let mut sql = format!(
            "SELECT {}{} FROM u WHERE {}",
            if self.distinct { "DISTINCT " } else { "" },
            self.output,
            self.condition.0
        );
        if self.grouped {
            sql.push_str(" GROUP BY u.b");
        }
        if self.having {
            sql.push_str(" HAVING count(*) > 1");
        }
        if !self.order.is_empty() {
            sql.push_str(&format!(" ORDER BY {}", self.order));
        }
        if let Some(limit) = self.limit {
            sql.push_str(&format!(" LIMIT {limit}"));
        }
        if self.offset > 0 {
            sql.push_str(&format!(" OFFSET {}", self.offset));
        }
        sql
    }

    /// The value of the output for a group of rows.
    fn value(&self, rows: &[(i64, Option<i64>, i64)]) -> Option<i64> {
        match self.output {
            "max(u.b)" => rows.iter().filter_map(|row| row.1).max(),
            "count(*)" => Some(rows.len() as i64),
            "coalesce(min(b), 0)" => Some(rows.iter().filter_map(|row| row.1).min().unwrap_or(0)),
            _ => rows.first().and_then(|row| row.1),
        }
    }

    /// The rows for a row of `t`.
    fn rows(&self, k: i64) -> Vec<Option<i64>> {
        let fitting: Vec<_> = U.into_iter().filter(|row| self.condition.1(k, row.0, row.2)).collect();
        let mut groups: Vec<Vec<(i64, Option<i64>, i64)>> = if self.grouped {
            let keys: std::collections::BTreeSet<Option<i64>> = fitting.iter().map(|row| row.1).collect();
            let of_key = |key| fitting.iter().copied().filter(|row| row.1 == key).collect();
            keys.into_iter().map(of_key).collect()
        } else if self.output.contains('(') {
            vec![fitting]
        } else {
            fitting.into_iter().map(|row| vec![row]).collect()
        };
        if self.having {
            groups.retain(|group| group.len() > 1);
        }
        match self.order {
            "u.c" => groups.sort_by_key(|group| group[0].2),
            "c DESC" => groups.sort_by_key(|group| -group[0].2),
            _ => {}
        }
        let mut values: Vec<Option<i64>> = groups.iter().map(|group| self.value(group)).collect();
        if self.distinct {
            values.sort();
            values.dedup();
        }
        // NULL is the greatest value.
        match self.order {
            "1" => values.sort_by_key(|value| value.unwrap_or(i64::MAX)),
            "1 DESC" => values.sort_by_key(|value| -value.unwrap_or(i64::MAX)),
            _ => {}
        }
        values.into_iter().skip(self.offset).take(self.limit.unwrap_or(usize::MAX)).collect()
    }
}

fn shown_number(value: Option<i64>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

/// The items of an array as text; sorted if the subquery has no order.
fn items(text: &str, subquery: &Subquery) -> Vec<String> {
    let inner = text.trim_matches(['[', ']']);
    let mut items: Vec<String> =
        if text == "[]" { Vec::new() } else { inner.split(", ").map(str::to_owned).collect() };
    if subquery.order.is_empty() {
        items.sort();
    }
    items
}

/// Tells whether the engine's value of a form of a subquery is right; the rows are those that PostgreSQL has.
fn is_right(form: &str, found: &str, rows: &[Option<i64>], subquery: &Subquery) -> bool {
    match form {
        "scalar" => rows.len() <= 1 && found == shown_number(rows.first().copied().flatten()),
        "exists" => found == (!rows.is_empty()).to_string(),
        "not exists" => found == rows.is_empty().to_string(),
        _ => {
            let expected: Vec<String> = rows.iter().map(|value| shown_number(*value)).collect();
            items(found, subquery) == items(&format!("[{}]", expected.join(", ")), subquery)
        }
    }
}

/// Random subqueries over views are answered as a direct computation does, or refused.
#[test]
fn subqueries_are_right_or_refused() {
    let catalogue = catalogue();
    let context = views(&catalogue);
    let mut random = Random(11);
    let (mut answered, mut refused) = (0, 0);
    let mut wrong = Vec::new();
    for _ in 0..600 {
        let subquery = Subquery::random(&mut random);
        let (form, begin) = random.one_of(&[
            ("scalar", ""),
            ("array", "ARRAY"),
            ("exists", "EXISTS "),
            ("not exists", "NOT EXISTS "),
        ]);
        let is_condition = form.ends_with("exists") && random.below(2) == 0;
        let value = format!("{begin}({})", subquery.sql());
        let sql = if is_condition {
            format!("SELECT t.k, true FROM t WHERE now() IS NOT NULL AND {value} ORDER BY t.k")
        } else {
            format!("SELECT t.k, {value} FROM t WHERE now() IS NOT NULL ORDER BY t.k")
        };
        let Ok(found) = cells(&sql, &catalogue, &context) else {
            refused += 1;
            continue;
        };
        answered += 1;
        for (k, _) in T {
            let row = found.iter().find(|row| row[0] == k.to_string());
            let cell = if is_condition { row.is_some().to_string() } else { row.expect("a row")[1].clone() };
            let rows = subquery.rows(k);
            if !is_right(form, &cell, &rows, &subquery) {
                wrong.push(format!("{sql}\n    k = {k}: {cell}, but the rows are {rows:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {answered}:\n{}", wrong.len(), wrong[..wrong.len().min(12)].join("\n"));
    assert!(answered > refused, "{answered} are answered, and {refused} are refused");
}
