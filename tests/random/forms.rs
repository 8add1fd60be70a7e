//! The tables of scalar forms, aggregates and constants.

use std::sync::LazyLock;

use crate::case::plan;
use crate::expression::{Dialect, Expr, Form, Want, form};
use crate::schema::Ty;

const B: Want = Want::Of(Ty::Big);
const F: Want = Want::Of(Ty::Double);
const M: Want = Want::Of(Ty::Decimal);
const T: Want = Want::Of(Ty::Text);
const L: Want = Want::Of(Ty::Bool);
const D: Want = Want::Of(Ty::Date);
const S: Want = Want::Of(Ty::Time);
const A: Want = Want::Any;

/// Scalar functions and operators.
pub static FORMS: &[Form] = &[
    form("CASE", A, &[L, A, A], "CASE WHEN {0} THEN {1} ELSE {2} END"),
    form("CASE without ELSE", A, &[L, A], "CASE WHEN {0} THEN {1} END"),
    form("CASE of a value", A, &[B, B, A, B, A], "CASE {0} WHEN {1} THEN {2} WHEN {3} THEN {4} END"),
    form("coalesce", A, &[A, A], "coalesce({0}, {1})"),
    form("nullif", A, &[A, A], "nullif({0}, {1})"),
    form("greatest", A, &[A, A], "greatest({0}, {1})"),
    form("least", A, &[A, A], "least({0}, {1})"),
    form("=", L, &[A, A], "({0} = {1})"),
    form("<>", L, &[A, A], "({0} <> {1})"),
    form("<", L, &[A, A], "({0} < {1})"),
    form(">=", L, &[A, A], "({0} >= {1})"),
    form("IS NULL", L, &[A], "({0} IS NULL)"),
    form("IS NOT NULL", L, &[A], "({0} IS NOT NULL)"),
    // As the condition of a semi join, DuckDB's own finds no row where one side is NULL.
    form("IS DISTINCT FROM", L, &[A, A], "({0} IS DISTINCT FROM {1})")
        .duck("coalesce({0} <> {1}, ({0} IS NULL) <> ({1} IS NULL))"),
    form("IS NOT DISTINCT FROM", L, &[A, A], "({0} IS NOT DISTINCT FROM {1})")
        .duck("coalesce({0} = {1}, ({0} IS NULL) = ({1} IS NULL))"),
    form("BETWEEN", L, &[A, A, A], "({0} BETWEEN {1} AND {2})"),
    form("IN list", L, &[A, A, A], "({0} IN ({1}, {2}))"),
    form("NOT IN list", L, &[A, A, A], "({0} NOT IN ({1}, {2}))"),
    form("AND", L, &[L, L], "({0} AND {1})"),
    form("OR", L, &[L, L], "({0} OR {1})"),
    form("NOT", L, &[L], "(NOT {0})"),
    form("IS TRUE", L, &[L], "({0} IS TRUE)"),
    form("IS NOT FALSE", L, &[L], "({0} IS NOT FALSE)"),
    form("IS UNKNOWN", L, &[L], "({0} IS UNKNOWN)").duck("({0} IS NULL)"),
    form("LIKE", L, &[T], "({0} LIKE 'a%')"),
    form("NOT LIKE", L, &[T], "({0} NOT LIKE '%b%')"),
    form("ILIKE", L, &[T], "({0} ILIKE '_B')"),
    form("regular expression", L, &[T], "({0} ~ '^[ab]+$')").duck("regexp_matches({0}, '^[ab]+$')"),
    form("starts_with", L, &[T, T], "starts_with({0}, {1})"),
    form("+", B, &[B, B], "({0} + {1})"),
    form("-", B, &[B, B], "({0} - {1})"),
    form("*", B, &[B], "({0} * 3)"),
    form("/", B, &[B], "({0} / 2)").duck("({0} // 2)"),
    form("%", B, &[B], "({0} % 3)"),
    form("abs", B, &[B], "abs({0})"),
    form("minus", B, &[B], "(- {0})"),
    form("length", B, &[T], "length({0})"),
    form("strpos", B, &[T, T], "strpos({0}, {1})"),
    form("ascii", B, &[T], "ascii({0})"),
    form("CAST BOOLEAN", B, &[L], "CAST({0} AS INT)"),
    form("date_part", B, &[S], "CAST(date_part('minute', {0}) AS BIGINT)"),
    form("date_part of a date", B, &[D], "CAST(date_part('dow', {0}) AS BIGINT)"),
    form("EXTRACT", B, &[D], "CAST(EXTRACT(YEAR FROM {0}) AS BIGINT)"),
    form("+ of doubles", F, &[F, F], "({0} + {1})"),
    form("- of doubles", F, &[F, F], "({0} - {1})"),
    form("* of doubles", F, &[F], "({0} * 0.5)").duck("({0} * 0.5::DOUBLE)"),
    form("/ of doubles", F, &[F], "({0} / 3.0)").duck("({0} / 3.0::DOUBLE)").inexact(),
    form("abs of doubles", F, &[F], "abs({0})"),
    form("floor", F, &[F], "floor({0})"),
    form("ceil", F, &[F], "ceil({0})").inexact(),
    // round() is not among them: of two neighbours DuckDB takes the one away from zero, PostgreSQL the even one.
    form("sqrt", F, &[F], "sqrt(abs({0}))").inexact(),
    form("CAST AS DOUBLE", F, &[B], "CAST({0} AS DOUBLE)"),
    form("CAST DECIMAL AS DOUBLE", F, &[M], "CAST({0} AS DOUBLE)").inexact(),
    form("+ of decimals", M, &[M, M], "CAST({0} + {1} AS DECIMAL(30, 2))"),
    form("- of decimals", M, &[M, M], "CAST({0} - {1} AS DECIMAL(30, 2))"),
    form("* of decimals", M, &[M], "CAST(CAST({0} AS DECIMAL(26, 2)) * 2 AS DECIMAL(30, 2))"),
    form("CAST AS DECIMAL", M, &[B], "CAST({0} AS DECIMAL(30, 2))"),
    form("upper", T, &[T], "upper({0})"),
    form("lower", T, &[T], "lower({0})"),
    form("||", T, &[T, T], "({0} || {1})"),
    form("concat", T, &[T, T], "concat({0}, '/', {1})"),
    form("substr", T, &[T], "substr({0}, 2, 2)"),
    form("left", T, &[T], "left({0}, 1)"),
    form("right", T, &[T], "right({0}, 2)"),
    form("trim", T, &[T], "trim({0})"),
    form("replace", T, &[T, T], "replace({0}, 'a', {1})"),
    form("reverse", T, &[T], "reverse({0})"),
    form("lpad", T, &[T], "lpad({0}, 3, '*')"),
    form("translate", T, &[T], "translate({0}, 'ab', 'x')"),
    form("split_part", T, &[T], "split_part({0}, 'X', 1)"),
    form("regexp_replace", T, &[T], "regexp_replace({0}, '[aX]', '-')"),
    form("CAST AS VARCHAR", T, &[B], "CAST({0} AS VARCHAR)"),
    form("CAST DATE AS VARCHAR", T, &[D], "CAST({0} AS VARCHAR)"),
    form("CAST AS DATE", D, &[S], "CAST({0} AS DATE)"),
    form("date_trunc of a date", D, &[D], "CAST(date_trunc('month', {0}) AS DATE)"),
    form("date_trunc", S, &[S], "date_trunc('minute', {0})"),
    form("time + interval", S, &[S], "({0} + INTERVAL '90 seconds')"),
];

/// Aggregates that every Herald has.
static ALWAYS: &[Form] = &[
    form("count(*)", B, &[], "count(*)"),
    form("count", B, &[A], "count({0})"),
    form("sum", B, &[B], "sum({0})"),
    form("sum of doubles", F, &[F], "sum({0})"),
    form("sum of decimals", M, &[M], "sum({0})"),
    form("avg", F, &[B], "avg({0})").inexact(),
    form("avg of doubles", F, &[F], "avg({0})").inexact(),
    form("min", A, &[A], "min({0})"),
    form("max", A, &[A], "max({0})"),
];

/// Aggregates that this Herald may not have yet: used as soon as it takes them.
static AWAITED: &[Form] = &[
    form("bool_and", L, &[L], "bool_and({0})"),
    form("bool_or", L, &[L], "bool_or({0})"),
    form("bit_and", B, &[B], "bit_and(CAST({0} AS BIGINT))"),
    form("bit_or", B, &[B], "bit_or(CAST({0} AS BIGINT))"),
    form("bit_xor", B, &[B], "bit_xor(CAST({0} AS BIGINT))"),
    form("var_pop", F, &[F], "var_pop({0})").inexact(),
    form("var_samp", F, &[B], "var_samp(CAST({0} AS DOUBLE))").inexact(),
    form("stddev_pop", F, &[B], "stddev_pop(CAST({0} AS DOUBLE))").inexact(),
    form("stddev", F, &[F], "stddev({0})").inexact(),
    form("median", F, &[F], "median({0})")
        .postgres("percentile_cont(0.5) WITHIN GROUP (ORDER BY {0})")
        .inexact(),
    form("string_agg", T, &[T], "string_agg({0}, ',' ORDER BY {0})"),
];

/// Aggregates that Herald takes. What has `Any` at its result gives the type that it takes.
pub static AGGREGATES: LazyLock<Vec<&'static Form>> =
    LazyLock::new(|| ALWAYS.iter().chain(AWAITED.iter().filter(|form| taken(form))).collect());

fn taken(form: &'static Form) -> bool {
    let of = |want: &Want| match want {
        Want::Of(ty) => null(*ty),
        Want::Any => null(Ty::Big),
    };
    let call = Expr::Aggregate(form, false, form.takes.iter().map(of).collect(), None);
    let schema = "CREATE SOURCE s (a BIGINT) WITH (connector = 'file', path = 's') FORMAT PLAIN ENCODE JSON;";
    let sql = call.sql(Dialect::Herald);
    let text = format!("{schema} CREATE MATERIALIZED VIEW v AS SELECT a, {sql} AS v FROM s GROUP BY a;");
    plan(text).is_ok()
}

/// Constants of a type.
pub fn literals(ty: Ty) -> Vec<Expr> {
    let plain = |texts: &[&str]| texts.iter().map(|text| Expr::plain(text)).collect();
    let zoned =
        |text: &str| Expr::Literal(format!("TIMESTAMP '{text}'"), format!("CAST('{text}Z' AS TIMESTAMPTZ)"));
    match ty {
        Ty::Big => plain(&["0", "1", "2", "3", "-1"]),
        Ty::Double => ["0.5", "0.0", "2.25", "-1.5"]
            .iter()
            .map(|text| Expr::plain(&format!("CAST({text} AS DOUBLE)")))
            .collect(),
        Ty::Decimal => ["0.25", "2.00", "-1.50"]
            .iter()
            .map(|text| Expr::plain(&format!("CAST('{text}' AS DECIMAL(10, 2))")))
            .collect(),
        Ty::Text => plain(&["'a'", "'b'", "''", "'aX'"]),
        Ty::Bool => plain(&["TRUE", "FALSE"]),
        Ty::Date => plain(&["DATE '2026-01-31'", "DATE '2024-02-29'"]),
        Ty::Time => vec![zoned("2026-01-31T12:00:30"), zoned("2026-01-31T12:01:00")],
    }
}

/// NULL of a type.
pub fn null(ty: Ty) -> Expr {
    let kind = match ty {
        Ty::Big => "BIGINT",
        Ty::Double => "DOUBLE",
        Ty::Decimal => "DECIMAL(10, 2)",
        Ty::Text => "VARCHAR",
        Ty::Bool => "BOOLEAN",
        Ty::Date => "DATE",
        Ty::Time => {
            return Expr::Literal("CAST(NULL AS TIMESTAMP)".into(), "CAST(NULL AS TIMESTAMPTZ)".into());
        }
    };
    Expr::plain(&format!("CAST(NULL AS {kind})"))
}
