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

impl Site {
    /// Position of a span, or that of the statement if the span is empty.
    pub fn place(self, span: Span) -> Pos {
        if span.start.line == 0 {
            return self.pos;
        }
        Pos { file: self.file, line: span.start.line, column: span.start.column }
    }

    /// Position of the first of `spans`, or that of the statement if there is none.
    pub fn place_first(self, spans: &[Span]) -> Pos {
        match spans.first() {
            Some(first) => self.place(*first),
            None => self.pos,
        }
    }
}
