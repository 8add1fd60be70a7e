//! The transaction of a session: its status, its savepoints, and the settings that a rollback brings back.

use pgwire::messages::response::TransactionStatus;

use super::super::control::SessionState;
use super::super::errors::{PgError, PgResult, codes};
use super::super::sql::settings::Settings;

/// Most savepoints of a transaction.
const MAX_SAVEPOINTS: usize = 1000;

/// Status of a transaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Status {
    /// There is none.
    #[default]
    Idle,
    /// It goes on.
    Open,
    /// It has failed, and takes nothing but its end.
    Failed,
}

impl Status {
    /// The status as messages have it.
    pub fn on_wire(self) -> TransactionStatus {
        match self {
            Status::Idle => TransactionStatus::Idle,
            Status::Open => TransactionStatus::Transaction,
            Status::Failed => TransactionStatus::Error,
        }
    }

    /// The state of a session that waits for its client.
    pub fn session_state(self) -> SessionState {
        match self {
            Status::Idle => SessionState::Idle,
            Status::Open => SessionState::IdleInTransaction,
            Status::Failed => SessionState::IdleInFailedTransaction,
        }
    }
}

/// Content that a transaction reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reading {
    /// None so far.
    #[default]
    Nothing,
    /// One epoch, by queries.
    Epoch,
    /// Views that it follows from epoch to epoch.
    Changes,
}

/// A transaction, or the lack of one.
#[derive(Debug, Default)]
pub struct Transaction {
    /// Its status.
    pub status: Status,
    /// Set while one of several statements of a simple query runs: they are a transaction of their own.
    pub several: bool,
    /// The content that it has read so far, as one statement alone as well.
    pub reading: Reading,
    /// Settings at its begin.
    begun: Option<Settings>,
    savepoints: Vec<(String, Settings)>,
}

impl Transaction {
    /// Begins it.
    pub fn begin(&mut self, settings: &Settings) {
        self.status = Status::Open;
        self.begun = Some(settings.clone());
        self.savepoints.clear();
    }

    /// Marks it as failed, if there is one.
    pub fn fail(&mut self) {
        if self.status == Status::Open {
            self.status = Status::Failed;
        }
    }

    /// Ends it. Returns the settings that come back if it is rolled back.
    pub fn end(&mut self) -> Option<Settings> {
        self.status = Status::Idle;
        self.savepoints.clear();
        self.begun.take()
    }

    /// Succeeds unless it has failed, or for a statement that ends the failure.
    ///
    /// # Errors
    /// When nothing but its end is taken.
    pub fn check_alive(&self, ends_failure: bool) -> PgResult<()> {
        if self.status != Status::Failed || ends_failure {
            return Ok(());
        }
        let message = "current transaction is aborted, commands ignored until end of transaction block";
        Err(PgError::new(codes::IN_FAILED_SQL_TRANSACTION, message))
    }

    /// Succeeds if the transaction may read such content: one that follows views lets go of their epochs, so
    /// that its queries would not be of one.
    ///
    /// # Errors
    /// When it has read other content.
    pub fn check_reading(&self, wanted: Reading) -> PgResult<()> {
        if self.reading == Reading::Nothing || self.reading == wanted {
            return Ok(());
        }
        Err(match wanted {
            Reading::Changes => {
                let message = "SUBSCRIBE cannot come after a query in a transaction, which reads one epoch";
                PgError::new(codes::ACTIVE_SQL_TRANSACTION, message).hint("begin a transaction for it")
            }
            Reading::Epoch | Reading::Nothing => {
                let message = "a transaction that follows views by SUBSCRIBE takes no queries";
                PgError::new(codes::ACTIVE_SQL_TRANSACTION, message)
                    .hint("end it before, or ask over another connection")
            }
        })
    }

    /// Notes that the transaction reads such content.
    ///
    /// # Errors
    /// As [`Transaction::check_reading`].
    pub fn note_reading(&mut self, wanted: Reading) -> PgResult<()> {
        self.check_reading(wanted)?;
        self.reading = wanted;
        Ok(())
    }

    /// Sets a savepoint.
    ///
    /// # Errors
    /// When there is no transaction, or it has too many.
    pub fn save(&mut self, name: String, settings: &Settings) -> PgResult<()> {
        self.require("SAVEPOINT")?;
        if self.savepoints.len() >= MAX_SAVEPOINTS {
            let message = format!("a transaction has at most {MAX_SAVEPOINTS} savepoints");
            return Err(PgError::new(codes::CONFIGURATION_LIMIT_EXCEEDED, message));
        }
        self.savepoints.push((name, settings.clone()));
        Ok(())
    }

    /// Drops a savepoint and those after it.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn release(&mut self, name: &str) -> PgResult<()> {
        self.require("RELEASE SAVEPOINT")?;
        let at = self.place_of(name)?;
        self.savepoints.truncate(at);
        Ok(())
    }

    /// Goes back to a savepoint, which ends a failure. Returns the settings that come back.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn roll_back_to(&mut self, name: &str) -> PgResult<Settings> {
        self.require("ROLLBACK TO SAVEPOINT")?;
        let at = self.place_of(name)?;
        self.savepoints.truncate(at + 1);
        self.status = Status::Open;
        let (_, settings) = &self.savepoints[at];
        Ok(settings.clone())
    }

    fn place_of(&self, name: &str) -> PgResult<usize> {
        let found = self.savepoints.iter().rposition(|(own, _)| own == name);
        found.ok_or_else(|| {
            PgError::new(codes::SAVEPOINT_DOES_NOT_EXIST, format!("savepoint \"{name}\" does not exist"))
        })
    }

    /// Succeeds within a transaction.
    ///
    /// # Errors
    /// When there is none.
    pub fn require(&self, form: &str) -> PgResult<()> {
        if self.status != Status::Idle {
            return Ok(());
        }
        let message = format!("{form} can only be used in transaction blocks");
        Err(PgError::new(codes::NO_ACTIVE_SQL_TRANSACTION, message))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_transaction_follows_views_or_asks_queries() {
        let mut transaction = Transaction::default();
        assert_eq!(transaction.note_reading(Reading::Changes), Ok(()));
        assert_eq!(transaction.note_reading(Reading::Changes), Ok(()));
        assert_eq!(transaction.note_reading(Reading::Epoch).map_err(|error| error.code), Err("25001"));
        transaction.reading = Reading::Nothing;
        assert_eq!(transaction.note_reading(Reading::Epoch), Ok(()));
        assert_eq!(transaction.check_reading(Reading::Changes).map_err(|error| error.code), Err("25001"));
    }

    #[test]
    fn savepoints_nest_and_bring_settings_back() {
        let mut settings = Settings::new("anna", "anna", false, Duration::ZERO);
        let mut transaction = Transaction::default();
        assert_eq!(transaction.save("a".into(), &settings).map_err(|error| error.code), Err("25P01"));
        transaction.begin(&settings);
        for name in ["a", "b", "a"] {
            assert_eq!(transaction.save(name.into(), &settings), Ok(()));
            assert_eq!(settings.set("application_name", Some(name), false), Ok(()));
        }
        transaction.fail();
        assert_eq!(transaction.check_alive(false).map_err(|error| error.code), Err("25P02"));
        assert_eq!(transaction.check_alive(true), Ok(()));
        let back = transaction.roll_back_to("a").map(|settings| settings.application().to_owned());
        assert_eq!((back.as_deref(), transaction.status), (Ok("b"), Status::Open));
        assert_eq!(transaction.release("b"), Ok(()));
        assert_eq!(transaction.release("b").map_err(|error| error.code), Err("3B001"));
        let first = transaction.end().map(|settings| settings.application().to_owned());
        assert_eq!((first.as_deref(), transaction.status), (Some(""), Status::Idle));
    }
}
