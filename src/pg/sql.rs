//! Statements of a session as the session understands them, and its settings.

pub mod copy_options;
pub mod cursors;
pub mod settings;
pub mod statement;
pub mod subscription;
pub mod words;
pub mod zone;
