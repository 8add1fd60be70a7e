//! The scalar functions that a topology may call, each reviewed.
//!
//! Functions of text, numbers, arrays and bytes are Herald's own, with PostgreSQL's meaning. Of DataFusion's,
//! only the functions named here are available, so that a new version adds none that was not reviewed. Those
//! whose result for a row depends on the batch are called row by row. Names known from other databases
//! without a function here have advice on the replacement.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion_expr::ScalarUDF;

use super::about::{About, called};
use super::by_row::ByRow;
use super::own;
use crate::functions::array;
use crate::functions::number::{self, decimal};
use crate::functions::planning::one_kind::OneKind;
use crate::functions::text::{self, bytes, format, like, regex};

/// DataFusion's functions whose result for a row does not depend on the batch.
const KEPT: &str = " get_field named_struct struct make_array digest \
    current_time current_date now random uuid ";

/// DataFusion's functions whose arguments are of one kind: numbers and text do not mix.
const ONE_KIND: &str = " coalesce nullif nvl2 greatest least ";

/// DataFusion's functions that are called row by row.
const BY_ROW: &str = " array_sort array_distinct array_union array_intersect array_except array_slice \
    array_element array_reverse array_max array_min array_sum array_avg array_product array_repeat flatten \
    array_pop_front array_pop_back arrays_zip array_any_value array_resize \
    array_compact array_remove_n array_replace_n empty array_distance inner_product \
    cosine_distance array_add array_subtract array_scale array_normalize ";

/// The lines of the reference pages about DataFusion's functions of values and structs.
pub(crate) const ABOUT_VALUES: &[About] = &[
    called("coalesce nvl ifnull", &["coalesce(T, ...) -> T"], "The first argument that is not NULL."),
    called("nullif", &["nullif(T, T) -> T"], "NULL where both are equal, else the first."),
    called(
        "nvl2",
        &["nvl2(T, T, T) -> T"],
        "The second argument where the first is not NULL, else the third.",
    ),
    called("greatest", &["greatest(T, ...) -> T"], "The greatest argument; NULL is left out."),
    called("least", &["least(T, ...) -> T"], "The least argument; NULL is left out."),
    called(
        "struct row",
        &["struct(any, ...) -> STRUCT"],
        "STRUCT of the arguments; `ROW(a, b)` has the fields f1 and f2, `STRUCT(a AS x)` has x.",
    ),
    called(
        "named_struct",
        &["named_struct('a', any, ...) -> STRUCT"],
        "STRUCT of names and values in turn; `{'a': x}` is the same.",
    ),
    called(
        "get_field",
        &["get_field(STRUCT, 'a') -> any"],
        "A field of a STRUCT; `s.a` and `s['a']` are the same.",
    ),
];

/// The lines of the reference pages about DataFusion's functions of arrays.
pub(crate) const ABOUT_ARRAYS: &[About] = &[
    called(
        "make_array make_list",
        &["make_array(T, ...) -> T[]"],
        "Array of the arguments; `ARRAY[a, b]` is the same.",
    ),
    called(
        "array_element array_extract list_element list_extract",
        &["array_element(T[], BIGINT) -> T"],
        "The item at a place, from 1, or from -1 backwards; `a[n]` knows no negative place.",
    ),
    called(
        "array_slice list_slice",
        &["array_slice(T[], BIGINT, BIGINT, [BIGINT]) -> T[]"],
        "The items from one place to another, by a step; a negative place counts from the end.",
    ),
    called(
        "array_sort list_sort",
        &["array_sort(T[], ['DESC'], ['NULLS LAST']) -> T[]"],
        "The items in order, ascending with NULL first unless it says otherwise.",
    ),
    called("array_reverse list_reverse", &["array_reverse(T[]) -> T[]"], "The items from last to first."),
    called("array_distinct list_distinct", &["array_distinct(T[]) -> T[]"], "Each item once."),
    called("array_compact list_compact", &["array_compact(T[]) -> T[]"], "The items that are not NULL."),
    called(
        "array_union list_union",
        &["array_union(T[], T[]) -> T[]"],
        "The items of either array, each once.",
    ),
    called(
        "array_intersect list_intersect",
        &["array_intersect(T[], T[]) -> T[]"],
        "The items of both arrays, each once.",
    ),
    called(
        "array_except list_except",
        &["array_except(T[], T[]) -> T[]"],
        "The items of the first array that the second does not have, each once.",
    ),
    called(
        "array_remove_n list_remove_n",
        &["array_remove_n(T[], T, BIGINT) -> T[]"],
        "The array without the first n items that are equal.",
    ),
    called(
        "array_replace_n list_replace_n",
        &["array_replace_n(T[], T, T, BIGINT) -> T[]"],
        "The array with another item for the first n that are equal.",
    ),
    called(
        "array_resize list_resize",
        &["array_resize(T[], BIGINT, [T]) -> T[]"],
        "The array cut to n items, or filled up with NULL or a given item.",
    ),
    called("array_repeat list_repeat", &["array_repeat(T, BIGINT) -> T[]"], "The item n times."),
    called(
        "array_pop_front list_pop_front",
        &["array_pop_front(T[]) -> T[]"],
        "The array without its first item.",
    ),
    called(
        "array_pop_back list_pop_back",
        &["array_pop_back(T[]) -> T[]"],
        "The array without its last item.",
    ),
    called(
        "array_any_value list_any_value",
        &["array_any_value(T[]) -> T"],
        "The first item that is not NULL.",
    ),
    called("array_max list_max", &["array_max(T[]) -> T"], "The greatest item."),
    called("array_min", &["array_min(T[]) -> T"], "The least item."),
    called("array_sum list_sum", &["array_sum(DOUBLE[]) -> DOUBLE"], "Sum of the items."),
    called("array_avg list_avg", &["array_avg(DOUBLE[]) -> DOUBLE"], "Mean of the items."),
    called("array_product list_product", &["array_product(DOUBLE[]) -> DOUBLE"], "Product of the items."),
    called("flatten", &["flatten(T[][]) -> T[]"], "The items of the arrays in an array."),
    called(
        "arrays_zip list_zip",
        &["arrays_zip(T[], VARCHAR[], ...) -> STRUCT[]"],
        "A STRUCT for each place, with fields 1, 2 and so on; shorter arrays end with NULL.",
    ),
    called("empty array_empty list_empty", &["empty(T[]) -> BOOLEAN"], "True for an array without items."),
    called(
        "array_distance list_distance",
        &["array_distance(DOUBLE[], DOUBLE[]) -> DOUBLE"],
        "Euclidean distance of two vectors.",
    ),
    called(
        "inner_product dot_product",
        &["inner_product(DOUBLE[], DOUBLE[]) -> DOUBLE"],
        "Inner product of two vectors.",
    ),
    called(
        "cosine_distance",
        &["cosine_distance(DOUBLE[], DOUBLE[]) -> DOUBLE"],
        "1 less the cosine of the angle between two vectors.",
    ),
    called(
        "array_add list_add",
        &["array_add(DOUBLE[], DOUBLE[]) -> DOUBLE[]"],
        "Sums of the items at the same place.",
    ),
    called(
        "array_subtract list_subtract",
        &["array_subtract(DOUBLE[], DOUBLE[]) -> DOUBLE[]"],
        "Differences of the items at the same place.",
    ),
    called(
        "array_scale list_scale",
        &["array_scale(DOUBLE[], DOUBLE) -> DOUBLE[]"],
        "Each item times a number.",
    ),
    called(
        "array_normalize list_normalize",
        &["array_normalize(DOUBLE[]) -> DOUBLE[]"],
        "The vector divided by its length.",
    ),
];

/// Advice on the replacement of functions that Herald does not have.
const REMEDIES: &[(&str, &str)] = &[
    (
        "regexp_matches",
        "use regexp_match(s, p), which gives the groups of the first match, or regexp_like(s, p)",
    ),
    ("regexp_extract", "use (regexp_match(s, p))[1]"),
    ("regexp_split_to_table", "use UNNEST(regexp_split_to_array(s, p)) in FROM"),
    ("strlen", "use octet_length(s) for bytes, or length(s) for characters"),
    ("len", "use length(s), or cardinality(a) for an array"),
    ("ucase", "use upper(s)"),
    ("lcase", "use lower(s)"),
    ("date_format", "use to_char(t, 'YYYY-MM-DD')"),
    ("to_local_time", "use t AT TIME ZONE 'Europe/Berlin'"),
    ("array_size", "use cardinality(a)"),
    ("array_transform", "write array_transform(a, x -> expression)"),
    ("list_transform", "write list_transform(a, x -> expression)"),
    ("transform", "write transform(a, x -> expression)"),
    ("array_filter", "write array_filter(a, x -> condition)"),
    ("list_filter", "write list_filter(a, x -> condition)"),
    ("filter", "write filter(a, x -> condition)"),
    ("array_exists", "write array_exists(a, x -> condition)"),
    ("array_any_match", "write array_any_match(a, x -> condition)"),
    ("any_match", "write any_match(a, x -> condition)"),
    ("array_all_match", "write array_all_match(a, x -> condition)"),
    ("all_match", "write all_match(a, x -> condition)"),
    ("array_reduce", "use an aggregate over UNNEST(a) in FROM, or array_sum(a), array_min(a), array_max(a)"),
    ("list_reduce", "use an aggregate over UNNEST(a) in FROM, or array_sum(a), array_min(a), array_max(a)"),
    ("reduce", "use an aggregate over UNNEST(a) in FROM, or array_sum(a), array_min(a), array_max(a)"),
    ("json_build_object", "use jsonb_build_object('a', x)"),
    ("json_build_array", "use jsonb_build_array(x, y)"),
    ("json_agg", "use jsonb_agg(x)"),
    ("json_object_agg", "use jsonb_object_agg(k, v)"),
    ("to_json", "use to_jsonb(x)"),
    ("row_to_json", "use to_jsonb(x), or jsonb_build_object('a', x)"),
    ("array_to_json", "use to_jsonb(a)"),
    ("arrow_cast", "use CAST(x AS TYPE)"),
    ("arrow_try_cast", "use CAST(x AS TYPE); a row that fails goes to herald.errors"),
    ("try_cast", "use CAST(x AS TYPE); a row that fails goes to herald.errors"),
    ("arrow_typeof", "the columns of a view and their types are shown by herald explain"),
    ("pg_typeof", "the columns of a view and their types are shown by herald explain"),
    ("map_keys", "use jsonb_build_object('a', x) and ->>: there is no MAP"),
    ("map_values", "use jsonb_build_object('a', x) and ->>: there is no MAP"),
    ("map_entries", "use jsonb_build_object('a', x) and ->>: there is no MAP"),
    ("map_extract", "use s['field'] of a STRUCT, or ->> of JSONB"),
    ("element_at", "use a[1] of an array, s['field'] of a STRUCT, or ->> of JSONB"),
    ("version", "a topology cannot depend on which version runs it"),
    ("if", "use CASE WHEN condition THEN a ELSE b END"),
    ("iff", "use CASE WHEN condition THEN a ELSE b END"),
    ("isnull", "use x IS NULL"),
    ("charindex", "use strpos(s, part)"),
    ("locate", "use strpos(s, part)"),
    ("concat_array", "use a || b"),
    ("sha1", "use sha256(s), or digest(s, 'sha256')"),
];

/// Names from other databases, each with the function that means the same.
const ALIASES: [(&str, &str); 10] = [
    ("nvl", "coalesce"),
    ("ifnull", "coalesce"),
    ("truncate", "trunc"),
    ("split", "string_to_array"),
    ("string_split", "string_to_array"),
    ("json_typeof", "jsonb_typeof"),
    ("json_array_length", "jsonb_array_length"),
    ("json_extract_path", "jsonb_extract_path"),
    ("json_extract_path_text", "jsonb_extract_path_text"),
    ("json_strip_nulls", "jsonb_strip_nulls"),
];

/// Returns the functions of `known` under their names from other databases.
pub(crate) fn alias_functions(known: &BTreeMap<String, Arc<ScalarUDF>>) -> Vec<(String, Arc<ScalarUDF>)> {
    let mut functions = Vec::with_capacity(ALIASES.len());
    for (alias, name) in ALIASES {
        if let Some(function) = known.get(name) {
            functions.push((alias.to_owned(), Arc::clone(function)));
        }
    }
    functions
}

/// Returns all scalar functions of this folder; a later one replaces an earlier one of the same name.
pub(crate) fn scalar_functions() -> Vec<Arc<ScalarUDF>> {
    let builtin = datafusion_functions::all_default_functions();
    let nested = datafusion_functions_nested::all_default_nested_functions();
    let mut functions = Vec::new();
    for function in builtin.into_iter().chain(nested) {
        if is_listed(KEPT, &function) {
            functions.push(function);
        } else if is_listed(ONE_KIND, &function) {
            functions.push(Arc::new(ScalarUDF::from(OneKind::new(function))));
        } else if is_listed(BY_ROW, &function) {
            functions.push(Arc::new(ScalarUDF::from(ByRow::new(function))));
        }
    }
    functions.extend(own::functions(TABLES));
    functions
}

fn is_listed(list: &str, function: &ScalarUDF) -> bool {
    list.contains(&format!(" {} ", function.name()))
}

/// Returns the advice for a call of `name`.
pub(crate) fn find_remedy(name: &str) -> Option<&'static str> {
    let &(_, remedy) = REMEDIES.iter().find(|(known, _)| *known == name)?;
    Some(remedy)
}

/// The definition tables of this folder.
const TABLES: &[&[own::Def]] = &[
    text::TABLE,
    like::TABLE,
    regex::TABLE,
    format::TABLE,
    bytes::TABLE,
    number::TABLE,
    number::ANGLES,
    number::format::TABLE,
    decimal::TABLE,
    array::TABLE,
    array::COMPARISONS,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_there() {
        let functions = scalar_functions();
        let missing = |list: &str| -> Vec<String> {
            let absent = |name: &&str| !functions.iter().any(|f| f.name() == *name);
            list.split_whitespace().filter(absent).map(str::to_owned).collect()
        };
        assert_eq!([missing(KEPT), missing(ONE_KIND), missing(BY_ROW)].concat(), Vec::<String>::new());
    }

    #[test]
    fn what_has_a_remedy_is_not_there() {
        let there = |name: &str| {
            scalar_functions().iter().any(|f| f.name() == name || f.aliases().iter().any(|a| a == name))
        };
        let wrong: Vec<_> = REMEDIES.iter().filter(|(name, _)| there(name)).collect();
        assert!(wrong.is_empty(), "{wrong:?}");
    }
}
