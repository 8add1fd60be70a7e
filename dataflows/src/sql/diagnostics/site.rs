//! Positions that mistakes in a query point to.

use datafusion_sql::sqlparser::tokenizer::Span;

use crate::mistake::Pos;

/// Statement of a query, to which positions of its mistakes refer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Site {
    /// File of the statement.
    pub file: usize,
    /// Position of the statement, for mistakes without a better one.
    pub pos: Pos,
}

/// Position of a span, or `fallback` if the span is empty.
pub(crate) fn place(span: Span, file: usize, fallback: Pos) -> Pos {
    if span.start.line == 0 {
        return fallback;
    }
    Pos { file, line: span.start.line, column: span.start.column }
}
