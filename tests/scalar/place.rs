//! Places of a query that an expression may stand in, each with the query that shows what it gives there.

use crate::forms::{For, spelled};
use crate::history::History;
use crate::kind::Kind;

/// A place.
pub struct Place {
    /// Name.
    pub name: &'static str,
    /// Query with `{e}` for the expression and `@t@` for the table; PostgreSQL's, and Herald's unless that is
    /// another.
    query: &'static str,
    /// What the columns of a source are declared with, and Herald's query over it.
    declared: Option<(Declared, &'static str)>,
    /// Number of columns: a, b and c.
    columns: usize,
    /// Kinds that may stand there.
    fits: fn(Kind) -> bool,
    /// Condition under which the expression is evaluated.
    guard: Option<&'static str>,
    /// Sums of floats: exact in Herald, so that PostgreSQL's last digits differ.
    pub approximate: bool,
}

#[derive(Clone, Copy)]
enum Declared {
    Check,
    Generated,
}

/// What Herald is asked.
#[derive(Clone, Debug)]
pub struct Asked {
    /// A source of its own.
    pub source: Option<String>,
    /// The view's query.
    pub query: String,
}

fn any(_: Kind) -> bool {
    true
}

fn condition(kind: Kind) -> bool {
    kind.0 == "bool"
}

fn number(kind: Kind) -> bool {
    ["i16", "i32", "i64", "f32", "f64", "dec", "num"].contains(&kind.0)
}

fn whole(kind: Kind) -> bool {
    ["i16", "i32", "i64"].contains(&kind.0)
}

fn fractional(kind: Kind) -> bool {
    number(kind) && !whole(kind)
}

fn small(kind: Kind) -> bool {
    kind.0 == "i16"
}

fn floats(kind: Kind) -> bool {
    kind.0 == "f64"
}

fn text(kind: Kind) -> bool {
    kind.0 == "text"
}

/// Kinds with an order that both have.
fn ordered(kind: Kind) -> bool {
    number(kind) || ["text", "date", "time", "ts", "tz"].contains(&kind.0)
}

fn grouped(kind: Kind) -> bool {
    ordered(kind) || condition(kind) || ["json", "i32[]", "text[]", "bytes"].contains(&kind.0)
}

/// Kinds that functions OVER a window take.
fn carried(kind: Kind) -> bool {
    grouped(kind) && kind.0 != "json"
}

fn shown_in_json(kind: Kind) -> bool {
    kind.0 != "num" && ordered(kind) || condition(kind) || ["json", "i32[]", "text[]"].contains(&kind.0)
}

fn typed(kind: Kind) -> bool {
    type_name(kind).is_some()
}

fn type_name(kind: Kind) -> Option<&'static str> {
    Some(match kind.0 {
        "bool" => "BOOLEAN",
        "i16" => "SMALLINT",
        "i32" => "INT",
        "i64" => "BIGINT",
        "f64" => "DOUBLE",
        "text" => "VARCHAR",
        "date" => "DATE",
        "ts" => "TIMESTAMP",
        "tz" => "TIMESTAMPTZ",
        _ => return None,
    })
}

const fn place(name: &'static str, fits: fn(Kind) -> bool, columns: usize, query: &'static str) -> Place {
    Place { name, query, declared: None, columns, fits, guard: None, approximate: false }
}

const fn near(name: &'static str, fits: fn(Kind) -> bool, columns: usize, query: &'static str) -> Place {
    Place { name, query, declared: None, columns, fits, guard: None, approximate: true }
}

/// All places; the first is SELECT, which tells what the expression gives for each row.
pub static PLACES: &[Place] = &[
    place("SELECT", any, 2, "SELECT id AS a, {e} AS b FROM @t@"),
    place("twice", any, 3, "SELECT id AS a, {e} AS b, {e} AS c FROM @t@ WHERE ({e}) IS NOT NULL"),
    place("WHERE", condition, 1, "SELECT id AS a FROM @t@ WHERE {e}"),
    place("WHERE NOT", condition, 1, "SELECT id AS a FROM @t@ WHERE NOT ({e})"),
    place(
        "WHERE with AND and OR",
        condition,
        1,
        "SELECT id AS a FROM @t@ WHERE ({e}) AND im > 0 OR id < 4 AND ({e})",
    ),
    place("ON", condition, 1, "SELECT id AS a FROM @t@ JOIN u ON u.one = 1 AND ({e})"),
    place(
        "ON of LEFT JOIN",
        condition,
        2,
        // The pair of rows that the condition fails on is left out: what is on the left has no partner.
        "SELECT id AS a, one AS b FROM @t@ LEFT JOIN u ON u.one = 1 AND ({e}) \
         «¦UNION ALL SELECT id, NULL FROM t WHERE id = ANY (@bad@)»",
    ),
    place(
        "key of a join",
        grouped,
        2,
        "SELECT x.id AS a, y.id AS b FROM (SELECT id, {e} AS k FROM @t@) AS x \
         JOIN (SELECT id, {e} AS k FROM @t@) AS y ON x.k = y.k AND x.id <= y.id",
    ),
    place("GROUP BY", grouped, 2, "SELECT {e} AS a, count(*) AS b FROM @t@ GROUP BY 1"),
    place("GROUP BY, not shown", grouped, 1, "SELECT count(*) AS a FROM @t@ GROUP BY {e}"),
    place("PARTITION BY", grouped, 2, "SELECT id AS a, count(*) OVER (PARTITION BY {e}) AS b FROM @t@"),
    place("ORDER BY", ordered, 2, "SELECT id AS a, row_number() OVER (ORDER BY {e}, id) AS b FROM @t@"),
    place("ORDER BY DESC", ordered, 2, "SELECT id AS a, rank() OVER (ORDER BY {e} DESC) AS b FROM @t@"),
    place("DISTINCT", grouped, 1, "SELECT DISTINCT {e} AS a FROM @t@"),
    place("UNION", grouped, 1, "SELECT {e} AS a FROM @t@ UNION SELECT {e} AS a FROM @t@ WHERE im > 0"),
    place("FILTER", condition, 2, "SELECT count(*) FILTER (WHERE {e}) AS a, count(*) AS b FROM @t@"),
    place("HAVING", condition, 2, "SELECT im AS a, count(*) AS b FROM @t@ GROUP BY im HAVING bool_or({e})"),
    place("max and min", ordered, 2, "SELECT max({e}) AS a, min({e}) AS b FROM @t@"),
    place("count(DISTINCT)", grouped, 2, "SELECT count(DISTINCT {e}) AS a, count({e}) AS b FROM @t@"),
    place("array_agg", ordered, 1, "SELECT array_agg({e} ORDER BY id) AS a FROM @t@"),
    place("bool_and and bool_or", condition, 2, "SELECT bool_and({e}) AS a, bool_or({e}) AS b FROM @t@"),
    place("every", condition, 2, "SELECT im AS a, every({e}) AS b FROM @t@ GROUP BY im"),
    place(
        "bit_and and bit_or",
        whole,
        3,
        "SELECT bit_and({e}) AS a, bit_or({e}) AS b, bit_xor({e}) AS c FROM @t@",
    ),
    place("string_agg", text, 1, "SELECT string_agg({e}, ',' ORDER BY id) AS a FROM @t@"),
    near("variances", small, 3, "SELECT var_samp({e}) AS a, var_pop({e}) AS b, variance({e}) AS c FROM @t@"),
    near(
        "deviations",
        small,
        3,
        "SELECT stddev({e}) AS a, stddev_pop({e}) AS b, stddev_samp({e}) AS c FROM @t@",
    ),
    near(
        "corr",
        small,
        3,
        "SELECT covar_pop({e}, kk) AS a, covar_samp({e}, kk) AS b, corr({e}, kk) AS c FROM @t@",
    ),
    near(
        "regr_slope",
        small,
        3,
        "SELECT regr_slope({e}, kk) AS a, regr_intercept({e}, kk) AS b, regr_r2({e}, kk) AS c FROM @t@",
    ),
    near(
        "regr_count",
        small,
        3,
        "SELECT regr_count({e}, kk) AS a, regr_avgx({e}, kk) AS b, regr_avgy({e}, kk) AS c FROM @t@",
    ),
    near(
        "regr_sxx",
        small,
        3,
        "SELECT regr_sxx({e}, kk) AS a, regr_syy({e}, kk) AS b, regr_sxy({e}, kk) AS c FROM @t@",
    ),
    near(
        "percentile_cont",
        floats,
        1,
        "SELECT percentile_cont(0.25) WITHIN GROUP (ORDER BY {e}) AS a FROM @t@",
    ),
    near("sum and avg", fractional, 2, "SELECT sum({e}) AS a, avg({e}) AS b FROM @t@"),
    near(
        "sum and avg of whole numbers",
        whole,
        2,
        "SELECT sum({e}) AS a, avg(({e})«¦::float8») AS b FROM @t@",
    ),
    place("mode", ordered, 1, "SELECT mode() WITHIN GROUP (ORDER BY {e}) AS a FROM @t@"),
    place(
        "percentile_disc",
        ordered,
        2,
        "SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY {e}) AS a, \
         «quantile_disc¦percentile_disc»(0.1) WITHIN GROUP (ORDER BY {e}) AS b FROM @t@",
    ),
    near(
        "median",
        floats,
        3,
        "SELECT «median¦percentile_cont(0.5) WITHIN GROUP (ORDER BY»({e})«¦)» AS a, \
         «approx_median¦percentile_cont(0.5) WITHIN GROUP (ORDER BY»({e})«¦)» AS b, \
         «approx_percentile_cont¦percentile_cont»(0.75) WITHIN GROUP (ORDER BY {e}) AS c FROM @t@",
    ),
    place(
        "arg_max and arg_min",
        ordered,
        2,
        "SELECT «arg_max({e}, id)¦(array_agg({e} ORDER BY id DESC))[1]» AS a, \
         «arg_min({e}, id)¦(array_agg({e} ORDER BY id))[1]» AS b FROM @t@",
    ),
    place(
        "max_by and min_by",
        ordered,
        2,
        "SELECT «max_by(id, {e})¦(array_agg(id ORDER BY {e} DESC, id) FILTER (WHERE ({e}) IS NOT NULL))[1]» AS a, \
         «min_by(id, {e})¦(array_agg(id ORDER BY {e}, id) FILTER (WHERE ({e}) IS NOT NULL))[1]» AS b FROM @t@",
    ),
    place("any_value", ordered, 1, "SELECT «any_value({e})¦min({e})» IS NULL AS a FROM @t@"),
    place("jsonb_agg", shown_in_json, 1, "SELECT jsonb_agg({e} ORDER BY id) AS a FROM @t@"),
    place(
        "jsonb_object_agg",
        shown_in_json,
        1,
        "SELECT jsonb_object_agg('k' || CAST(id AS VARCHAR), {e} ORDER BY id) AS a FROM @t@",
    ),
    place("first_value", carried, 2, "SELECT id AS a, first_value({e}) OVER (ORDER BY id) AS b FROM @t@"),
    place(
        "lag",
        carried,
        3,
        "SELECT id AS a, lag({e}) OVER (ORDER BY id) AS b, lead({e}, 2) OVER (ORDER BY id) AS c FROM @t@",
    ),
    place(
        "last_value",
        carried,
        3,
        "SELECT id AS a, last_value({e}) OVER w AS b, nth_value({e}, 2) OVER w AS c FROM @t@ \
         WINDOW w AS (ORDER BY id ROWS BETWEEN 2 PRECEDING AND 1 FOLLOWING)",
    ),
    place(
        "dense_rank",
        ordered,
        3,
        "SELECT id AS a, dense_rank() OVER (ORDER BY {e}) AS b, ntile(3) OVER (ORDER BY {e}, id) AS c FROM @t@",
    ),
    near(
        "percent_rank",
        ordered,
        3,
        "SELECT id AS a, percent_rank() OVER (ORDER BY {e}) AS b, cume_dist() OVER (ORDER BY {e}) AS c FROM @t@",
    ),
    place(
        "max OVER",
        ordered,
        3,
        "SELECT id AS a, max({e}) OVER (PARTITION BY b1 ORDER BY id) AS b, \
         count({e}) OVER (ORDER BY id ROWS BETWEEN 3 PRECEDING AND CURRENT ROW) AS c FROM @t@",
    ),
    place(
        "DISTINCT ON",
        ordered,
        2,
        "SELECT DISTINCT ON ({e}) id AS a, im AS b FROM @t@ ORDER BY {e}, id DESC",
    ),
    place(
        "ORDER BY with LIMIT",
        ordered,
        2,
        "SELECT id AS a, {e} AS b FROM @t@ ORDER BY {e} DESC, id LIMIT 5",
    ),
    Place {
        guard: Some("im > 0"),
        ..place("in a CASE", any, 2, "SELECT id AS a, CASE WHEN im > 0 THEN {e} END AS b FROM @t@")
    },
    place(
        "over a subquery",
        grouped,
        3,
        "SELECT q.id AS a, q.k AS b, q.k IS NULL AS c FROM (SELECT id, {e} AS k FROM @t@ WHERE id < 12) AS q \
         WHERE q.k IS NOT NULL OR q.id > 3",
    ),
    place(
        "EXISTS",
        condition,
        1,
        "SELECT u.one AS a FROM u WHERE EXISTS (SELECT 1 FROM @t@ WHERE t.nn = u.one AND ({e}))",
    ),
    place(
        "IN (SELECT)",
        grouped,
        1,
        "SELECT id AS a FROM @t@ WHERE ({e}) IN (SELECT {e} FROM @t@ WHERE im > 0)",
    ),
    Place {
        name: "CHECK",
        query: "SELECT id AS a FROM @t@ WHERE ({e}) IS NOT FALSE",
        declared: Some((Declared::Check, "SELECT id AS a FROM @s@")),
        columns: 1,
        fits: condition,
        guard: None,
        approximate: false,
    },
    Place {
        name: "generated column",
        query: "SELECT id AS a, {e} AS b FROM @t@",
        declared: Some((Declared::Generated, "SELECT id AS a, made AS b FROM @s@")),
        columns: 2,
        fits: typed,
        guard: None,
        approximate: false,
    },
];

impl Place {
    /// Places that an expression of this kind may stand in.
    pub fn of(kind: Kind) -> Vec<&'static Place> {
        PLACES.iter().filter(|place| (place.fits)(kind)).collect()
    }

    /// The place of this name.
    pub fn called(name: &str) -> Option<&'static Place> {
        PLACES.iter().find(|place| place.name == name)
    }

    /// The table that PostgreSQL is asked about.
    pub fn table(&self) -> &'static str {
        if self.declared.is_some() { "h" } else { "t" }
    }

    /// Its query, with `{e}` for the expression.
    pub fn query(&self) -> &'static str {
        self.query
    }

    /// The expression as PostgreSQL is asked about it, and its query; a row of it is an array of texts.
    pub fn postgres(&self, expression: &str, kind: Kind, reader: For) -> (String, String) {
        let mut expression = spelled(expression, reader);
        if let (Some((Declared::Generated, _)), Some(made)) = (self.declared, type_name(kind)) {
            expression = format!("CAST(({expression}) AS {})", made.replace("DOUBLE", "DOUBLE PRECISION"));
        }
        let columns: Vec<String> =
            (0..self.columns).map(|at| format!("q.{}::text", ["a", "b", "c"][at])).collect();
        let query = spelled(self.query, For::Postgres).replace("{e}", &expression);
        let query = format!("SELECT 'row', ARRAY[{}] FROM ({query}) AS q", columns.join(", "));
        if let Some(guard) = self.guard {
            // It fails only where it is evaluated.
            expression = format!("CASE WHEN {guard} THEN {expression} END");
        }
        (expression, query)
    }

    /// Herald's; `name` is the name of the source, if it needs one.
    pub fn herald(&self, expression: &str, kind: Kind, name: &str, reader: For) -> Asked {
        let expression = &spelled(expression, reader);
        let Some((declared, query)) = self.declared else {
            let query = spelled(self.query, For::Herald).replace("{e}", expression).replace("@t@", "t");
            return Asked { source: None, query };
        };
        let more = match declared {
            Declared::Check => format!("CONSTRAINT checked CHECK ({expression})"),
            Declared::Generated => format!("made {} AS ({expression})", type_name(kind).unwrap_or("VARCHAR")),
        };
        let source = format!(
            "CREATE SOURCE {name} (id INT, {}, {more}) WITH (connector = 'file', path = 'h') FORMAT PLAIN ENCODE JSON;",
            History::declared()
        );
        Asked { source: Some(source), query: query.replace("@s@", name) }
    }
}
