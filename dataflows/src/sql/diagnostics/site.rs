//! Places that mistakes of a query point to.

use datafusion_sql::sqlparser::tokenizer::Span;

use crate::sql::ast::Pos;

/// Where a query stands: what its mistakes point into.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Site {
    /// File of the statement.
    pub file: usize,
    /// The statement's place, for what has no better one.
    pub pos: Pos,
}

/// The place of a span, or `fallback` where it has none.
pub(crate) fn place(span: Span, file: usize, fallback: Pos) -> Pos {
    if span.start.line == 0 {
        return fallback;
    }
    Pos { file, line: span.start.line, column: span.start.column }
}
