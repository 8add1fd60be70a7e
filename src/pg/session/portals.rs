//! Prepared statements and portals of a session, by name. A cursor is a portal that a statement has declared.

use std::collections::BTreeMap;

use super::super::errors::{PgError, PgResult, codes};
use super::super::sql::statement::Statement;
use super::super::values::kind::Kind;
use super::super::values::rows::Columns;
use super::rows::OpenRows;

/// Most prepared statements of a session.
const MAX_PREPARED: usize = 1000;
/// Most portals of a session.
const MAX_PORTALS: usize = 64;

/// A prepared statement.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The statement; None for an empty one.
    pub statement: Option<Statement>,
    /// Its text, for the topology's process.
    pub text: String,
    /// Types of its parameters.
    pub parameters: Vec<Kind>,
    /// OIDs of types that the client gave to its parameters; 0 for one that it left open.
    pub given: Vec<u32>,
    /// Its columns, if it gives rows.
    pub columns: Option<Columns>,
}

/// The prepared statements of a session.
#[derive(Debug, Default)]
pub struct PreparedStatements(BTreeMap<String, Prepared>);

impl PreparedStatements {
    /// Keeps a statement. One without a name takes the place of another.
    ///
    /// # Errors
    /// When the name is taken, or there are too many.
    pub fn insert(&mut self, name: &str, prepared: Prepared) -> PgResult<()> {
        if !name.is_empty() && self.0.contains_key(name) {
            let message = format!("prepared statement \"{name}\" already exists");
            return Err(PgError::new(codes::DUPLICATE_PREPARED_STATEMENT, message));
        }
        if self.0.len() >= MAX_PREPARED && !self.0.contains_key(name) {
            let message = format!("a session has at most {MAX_PREPARED} prepared statements");
            return Err(PgError::new(codes::CONFIGURATION_LIMIT_EXCEEDED, message)
                .hint("deallocate those that are not used: DEALLOCATE ALL"));
        }
        self.0.insert(name.to_owned(), prepared);
        Ok(())
    }

    /// A statement.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn find(&self, name: &str) -> PgResult<&Prepared> {
        self.0.get(name).ok_or_else(|| {
            let message = match name {
                "" => "unnamed prepared statement does not exist".to_owned(),
                _ => format!("prepared statement \"{name}\" does not exist"),
            };
            PgError::new(codes::INVALID_SQL_STATEMENT_NAME, message)
        })
    }

    /// Drops a statement; false if there is none of this name.
    pub fn remove(&mut self, name: &str) -> bool {
        self.0.remove(name).is_some()
    }

    /// Drops all.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

/// A statement with values of its parameters.
#[derive(Debug)]
pub struct Portal {
    /// The statement.
    pub prepared: Prepared,
    /// SQL of the values of its parameters.
    pub values: Vec<Option<String>>,
    /// Codes of the formats of its columns.
    pub formats: Vec<i16>,
    /// Its rows, once it has begun.
    pub rows: Option<OpenRows>,
    /// Tag of the completion of its rows.
    pub tag: &'static str,
    /// Set when all of its rows are sent.
    pub done: bool,
}

/// The portals of a session.
#[derive(Debug, Default)]
pub struct Portals(BTreeMap<String, Portal>);

impl Portals {
    /// Keeps a portal. One without a name takes the place of another.
    ///
    /// # Errors
    /// When the name is taken, or there are too many.
    pub fn insert(&mut self, name: &str, portal: Portal) -> PgResult<()> {
        if !name.is_empty() && self.0.contains_key(name) {
            let message = format!("cursor \"{name}\" already exists");
            return Err(PgError::new(codes::DUPLICATE_CURSOR, message));
        }
        if self.0.len() >= MAX_PORTALS && !self.0.contains_key(name) {
            let message = format!("a session has at most {MAX_PORTALS} cursors");
            return Err(PgError::new(codes::CONFIGURATION_LIMIT_EXCEEDED, message));
        }
        self.0.insert(name.to_owned(), portal);
        Ok(())
    }

    /// A portal.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn find(&self, name: &str) -> PgResult<&Portal> {
        self.0.get(name).ok_or_else(|| missing(name))
    }

    /// Takes a portal out, to go on with it.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn take(&mut self, name: &str) -> PgResult<Portal> {
        self.0.remove(name).ok_or_else(|| missing(name))
    }

    /// Puts a portal back that was taken out.
    pub fn put_back(&mut self, name: &str, portal: Portal) {
        self.0.insert(name.to_owned(), portal);
    }

    /// Drops a portal; false if there is none of this name.
    pub fn close(&mut self, name: &str) -> bool {
        self.0.remove(name).is_some()
    }

    /// Drops all.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

fn missing(name: &str) -> PgError {
    let message = match name {
        "" => "portal \"\" does not exist".to_owned(),
        _ => format!("cursor \"{name}\" does not exist"),
    };
    PgError::new(codes::INVALID_CURSOR_NAME, message)
}
