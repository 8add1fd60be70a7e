//! Spellings of other SQL dialects, and what to write for them.
//!
//! Nothing here is understood: a name that PostgreSQL does not have is refused, and whoever brings it from
//! elsewhere is told the words that mean the same.

/// Functions of MySQL, Spark, Snowflake, Flink, ksqlDB and BigQuery, with what to write for each.
const FUNCTIONS: [(&str, &str); 39] = [
    ("approx_count_distinct", "count(DISTINCT x), which is exact"),
    ("array_size", "cardinality(array)"),
    ("bool_or_agg", "bool_or(x)"),
    ("char_index", "position(x IN s)"),
    ("charindex", "position(x IN s)"),
    ("collect_list", "array_agg(x ORDER BY y)"),
    ("collect_set", "array_agg(DISTINCT x)"),
    ("convert", "CAST(x AS TYPE)"),
    ("countif", "count(*) FILTER (WHERE condition)"),
    ("count_if", "count(*) FILTER (WHERE condition)"),
    ("curdate", "a column of the record, such as its event time"),
    ("date_add", "ts + INTERVAL '1 day'"),
    ("date_diff", "b - a, or extract(epoch FROM b - a)"),
    ("date_format", "to_char(ts, 'YYYY-MM-DD')"),
    ("date_sub", "ts - INTERVAL '1 day'"),
    ("dateadd", "ts + INTERVAL '1 day'"),
    ("datediff", "CAST(b AS DATE) - CAST(a AS DATE) for days, or extract(epoch FROM b - a) for seconds"),
    ("earliest_by_offset", "first_value(x ORDER BY offset)"),
    ("explode", "FROM t, UNNEST(t.items) AS i"),
    ("get_json_object", "j #>> '{a,b}'"),
    ("group_concat", "string_agg(x, ',' ORDER BY y)"),
    ("hash", "md5(x)"),
    ("if", "CASE WHEN condition THEN a ELSE b END"),
    ("iff", "CASE WHEN condition THEN a ELSE b END"),
    ("isnull", "x IS NULL"),
    ("json_extract", "j -> 'a'"),
    ("json_extract_scalar", "j ->> 'a'"),
    ("json_value", "j ->> 'a'"),
    ("latest_by_offset", "last_value(x ORDER BY offset)"),
    ("len", "length(s)"),
    ("listagg", "string_agg(x, ',' ORDER BY y)"),
    ("parse_json", "CAST(s AS JSONB)"),
    ("safe_divide", "a / nullif(b, 0)"),
    ("str_to_date", "to_timestamp(s, 'YYYY-MM-DD')"),
    ("timestampdiff", "extract(epoch FROM b - a), divided by the seconds of the unit"),
    ("timestamp_trunc", "date_trunc('day', ts)"),
    ("topk", "row_number() OVER (PARTITION BY k ORDER BY x DESC) <= n in an outer query"),
    ("unix_timestamp", "extract(epoch FROM ts)"),
    ("zeroifnull", "coalesce(x, 0)"),
];

/// A hint for a function that another dialect has.
pub(crate) fn function(name: &str) -> Option<String> {
    let known = FUNCTIONS.iter().find(|(theirs, _)| name.eq_ignore_ascii_case(theirs))?;
    Some(format!("write {}", known.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_advised_for_what_is_understood() {
        let functions = &super::super::functions::FUNCTIONS;
        let both: Vec<_> = FUNCTIONS.iter().filter(|(name, _)| functions.scalar(name).is_some()).collect();
        assert!(both.is_empty(), "{both:?}");
        assert!(function("DateDiff").is_some() && function("date_trunc").is_none());
    }
}
