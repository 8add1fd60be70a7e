//! Types and values on the wire: rows as text and binary, values of parameters, formats of COPY.

pub mod binary;
pub mod copy;
pub mod json;
pub mod kind;
pub mod parameters;
pub mod rows;
pub mod spelling;
pub mod text;
