//! Translation of DataFusion's messages to SQL's terms.

/// Kinds of errors, which stand before their messages.
const KINDS: [&str; 7] = [
    "Internal error: ",
    "Execution error: ",
    "Error during planning: ",
    "Arrow error: ",
    "Cast error: ",
    "Parser error: ",
    "Invalid argument error: ",
];

/// Reduces a message to one sentence, with SQL's type names.
pub(in crate::sql) fn clean_message(text: &str) -> String {
    let end = text.find("\n\nbacktrace").or(text.find(".\nThis issue was likely caused"));
    let mut text = &text[..end.unwrap_or(text.len())];
    while let Some(rest) = KINDS.iter().find_map(|kind| text.strip_prefix(kind)) {
        text = rest;
    }
    let mut out = text.replace(['\n', '\t'], " ");
    if let Some(at) = out.find(" No function matches the given name").or(out.find(" Candidate functions:")) {
        out.truncate(at);
    }
    // Longer names come before those they contain: Timestamp(µs, "UTC") before Timestamp(µs).
    const TYPES: [(&str, &str); 18] = [
        ("Timestamp(µs, \"UTC\")", "TIMESTAMPTZ"),
        ("Timestamp(µs)", "TIMESTAMP"),
        ("Timestamp(ns)", "TIMESTAMP"),
        ("Time64(µs)", "TIME"),
        ("Interval(MonthDayNano)", "INTERVAL"),
        ("Duration(µs)", "INTERVAL"),
        ("Decimal128(", "DECIMAL("),
        ("Int64", "BIGINT"),
        ("Int32", "INT"),
        ("Int16", "SMALLINT"),
        ("Float64", "DOUBLE PRECISION"),
        ("Float32", "REAL"),
        ("Utf8", "VARCHAR"),
        ("Boolean", "BOOLEAN"),
        ("FixedSizeBinary(16)", "UUID"),
        ("Binary", "BYTEA"),
        ("Date32", "DATE"),
        ("Struct(", "STRUCT("),
    ];
    for (arrow, sql) in TYPES {
        out = out.replace(arrow, sql);
    }
    out.trim().trim_end_matches('.').to_owned()
}

/// Text between the first `before` and the next `after`.
pub(in crate::sql::diagnostics) fn text_between(text: &str, before: &str, after: &str) -> Option<String> {
    let rest = &text[text.find(before)? + before.len()..];
    Some(rest[..rest.find(after)?].to_owned())
}

/// A text as a constant of the query.
pub(in crate::sql::diagnostics) fn text_constant(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// First name in quotes, which may also stand in the query.
pub(in crate::sql::diagnostics) fn first_quoted(text: &str) -> Option<String> {
    text_between(text, "'", "'").or(text_between(text, "\"", "\""))
}
