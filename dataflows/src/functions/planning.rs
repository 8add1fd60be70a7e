//! Expressions replaced by function calls while DataFusion plans them, and a function whose calls are
//! replaced.

pub(crate) mod either;
pub(crate) mod is_final;
pub(crate) mod marks;
pub(crate) mod may_be_null;
pub(crate) mod one_kind;
pub(crate) mod quantified;
pub(crate) mod written_cast;
