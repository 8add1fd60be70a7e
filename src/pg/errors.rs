//! Errors and notices as clients of PostgreSQL get them: a severity, a SQLSTATE, a sentence, and the place in
//! the text.

use anyhow::Error;
use arrow::error::ArrowError;
use dataflows::sql::SqlError;
use datafusion::error::DataFusionError;
use pgwire::messages::response::{ErrorResponse, NoticeResponse};

use crate::exit::{self, Stopped};
use crate::query::catalog::is_reserved;
use crate::query::{self, Spill};

/// Result whose error is told to the client.
pub type PgResult<T> = std::result::Result<T, PgError>;

/// SQLSTATEs by their names in PostgreSQL.
pub mod codes {
    /// Names of SQLSTATEs.
    macro_rules! states {
        ($($name:ident = $code:literal;)*) => {
            $(#[doc = concat!("SQLSTATE ", $code, ".")]
            pub const $name: &str = $code;)*
        };
    }
    states! {
        WARNING = "01000";
        PROTOCOL_VIOLATION = "08P01";
        FEATURE_NOT_SUPPORTED = "0A000";
        NUMERIC_VALUE_OUT_OF_RANGE = "22003";
        INVALID_DATETIME_FORMAT = "22007";
        DIVISION_BY_ZERO = "22012";
        INVALID_PARAMETER_VALUE = "22023";
        INVALID_TEXT_REPRESENTATION = "22P02";
        INVALID_BINARY_REPRESENTATION = "22P03";
        CHARACTER_NOT_IN_REPERTOIRE = "22021";
        ARRAY_SUBSCRIPT_ERROR = "2202E";
        CARDINALITY_VIOLATION = "21000";
        ACTIVE_SQL_TRANSACTION = "25001";
        READ_ONLY_SQL_TRANSACTION = "25006";
        NO_ACTIVE_SQL_TRANSACTION = "25P01";
        IN_FAILED_SQL_TRANSACTION = "25P02";
        IDLE_IN_TRANSACTION_TIMEOUT = "25P03";
        INVALID_SQL_STATEMENT_NAME = "26000";
        INVALID_AUTHORIZATION = "28000";
        INVALID_PASSWORD = "28P01";
        INVALID_CURSOR_NAME = "34000";
        SAVEPOINT_DOES_NOT_EXIST = "3B001";
        SYNTAX_ERROR = "42601";
        UNDEFINED_COLUMN = "42703";
        AMBIGUOUS_COLUMN = "42702";
        UNDEFINED_OBJECT = "42704";
        DUPLICATE_CURSOR = "42P03";
        DUPLICATE_PREPARED_STATEMENT = "42P05";
        GROUPING_ERROR = "42803";
        UNDEFINED_FUNCTION = "42883";
        UNDEFINED_TABLE = "42P01";
        SYNTAX_OR_ACCESS_RULE = "42000";
        OUT_OF_MEMORY = "53200";
        TOO_MANY_CONNECTIONS = "53300";
        CONFIGURATION_LIMIT_EXCEEDED = "53400";
        PROGRAM_LIMIT_EXCEEDED = "54000";
        STATEMENT_TOO_COMPLEX = "54001";
        OBJECT_NOT_IN_PREREQUISITE_STATE = "55000";
        QUERY_CANCELED = "57014";
        ADMIN_SHUTDOWN = "57P01";
        CANNOT_CONNECT_NOW = "57P03";
        IDLE_SESSION_TIMEOUT = "57P05";
        INTERNAL_ERROR = "XX000";
    }
}

/// Gravity of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The statement fails.
    Error,
    /// The connection ends.
    Fatal,
    /// Nothing fails.
    Warning,
}

impl Severity {
    fn name(self) -> &'static str {
        match self {
            Severity::Error => "ERROR",
            Severity::Fatal => "FATAL",
            Severity::Warning => "WARNING",
        }
    }
}

/// An error, or a notice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PgError {
    /// Its gravity.
    pub severity: Severity,
    /// Its SQLSTATE.
    pub code: &'static str,
    /// The sentence.
    pub message: String,
    /// Remedy.
    pub hint: Option<String>,
    /// Character of the statement that it is about, from 1.
    pub position: Option<usize>,
}

impl PgError {
    /// An error of a statement.
    pub fn new(code: &'static str, message: impl Into<String>) -> PgError {
        PgError { severity: Severity::Error, code, message: message.into(), hint: None, position: None }
    }

    /// An error that ends the connection.
    pub fn fatal(code: &'static str, message: impl Into<String>) -> PgError {
        PgError { severity: Severity::Fatal, ..PgError::new(code, message) }
    }

    /// A warning.
    pub fn warning(message: impl Into<String>) -> PgError {
        PgError { severity: Severity::Warning, ..PgError::new(codes::WARNING, message) }
    }

    /// The error for an unknown table at a character of the text, from 1, if its name is a word that PostgreSQL
    /// reserves: the text is no SQL then.
    pub fn of_reserved(text: &str, position: usize) -> Option<PgError> {
        let rest = text.chars().skip(position.checked_sub(1)?);
        let word: String = rest.take_while(|c| c.is_alphanumeric() || matches!(c, '_' | '$')).collect();
        let told = format!("syntax error at or near \"{word}\": put a table of this name in double quotes");
        is_reserved(&word).then(|| PgError { position: Some(position), ..PgError::syntax(told) })
    }

    /// A feature that Herald does not have.
    pub fn unsupported(message: impl Into<String>) -> PgError {
        PgError::new(codes::FEATURE_NOT_SUPPORTED, message)
    }

    /// A mistake in the text of a statement.
    pub fn syntax(message: impl Into<String>) -> PgError {
        PgError::new(codes::SYNTAX_ERROR, message)
    }

    /// Adds a remedy.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> PgError {
        self.hint = Some(hint.into());
        self
    }

    /// Tells whether the connection ends with it.
    pub fn is_fatal(&self) -> bool {
        self.severity == Severity::Fatal
    }

    /// The error for mistakes in the text of a query; the first is told.
    pub fn of_mistakes(found: &[SqlError], text: &str) -> PgError {
        let Some(first) = found.first() else {
            return PgError::new(codes::INTERNAL_ERROR, "the query cannot be planned");
        };
        let mut error = PgError::new(code_of_text(&first.message), first.message.clone());
        error.hint = first.hint.as_ref().map(|hint| one_line(hint));
        error.position = character_at(text, first.line, first.column);
        error
    }

    /// The error for a failure of this program or of a query.
    pub fn of(error: &Error) -> PgError {
        if let Some(stopped) = error.chain().find_map(|cause| cause.downcast_ref::<Stopped>()) {
            let code = match stopped {
                Stopped::Time(_) | Stopped::Left => codes::QUERY_CANCELED,
                Stopped::Memory(_) | Stopped::Work => codes::OUT_OF_MEMORY,
                Stopped::Disk(_) | Stopped::Rows(_) | Stopped::Answer(_) | Stopped::Answers => {
                    codes::CONFIGURATION_LIMIT_EXCEEDED
                }
                Stopped::Ending => codes::ADMIN_SHUTDOWN,
                Stopped::Depth => codes::STATEMENT_TOO_COMPLEX,
            };
            let told = PgError::new(code, stopped.to_string());
            return match stopped.advice() {
                Some(advice) => told.hint(advice),
                None => told,
            };
        }
        let mut text = error.chain().map(ToString::to_string).collect::<Vec<_>>().join(": ");
        if let Some(rest) = text.strip_prefix("the query cannot be run: ") {
            text = rest.to_owned();
        }
        let code = match exit::code(error) {
            2 => code_of_text(&text),
            _ => codes::INTERNAL_ERROR,
        };
        // Further lines of a mistake are its remedy.
        match text.split_once('\n') {
            Some((message, hint)) => PgError::new(code, message).hint(one_line(hint)),
            None => PgError::new(code, text),
        }
    }

    /// The error for a failure of the query engine.
    pub fn of_engine(error: DataFusionError) -> PgError {
        let code = engine_code(error.find_root());
        let mut told = PgError::of(&query::query_mistake(error));
        if let Some(code) = code {
            told.code = code;
        }
        told
    }

    /// The error for a failure of a running query, which may write to `spill`.
    pub fn of_running(error: DataFusionError, spill: Option<&Spill>) -> PgError {
        if let Some(stopped) = spill.and_then(|spill| query::over_disk(&error, spill)) {
            return PgError::of(&stopped.into());
        }
        PgError::of_engine(error)
    }

    /// The message to the client.
    pub fn response(&self) -> ErrorResponse {
        ErrorResponse::new(self.fields())
    }

    /// The message to the client for one that fails nothing.
    pub fn notice(&self) -> NoticeResponse {
        NoticeResponse::new(self.fields())
    }

    fn fields(&self) -> Vec<(u8, String)> {
        let name = self.severity.name().to_owned();
        let mut fields = vec![(b'S', name.clone()), (b'V', name), (b'C', self.code.to_owned())];
        // A zero byte would end the field.
        fields.push((b'M', self.message.replace('\0', "U+0000")));
        if let Some(hint) = &self.hint {
            fields.push((b'H', hint.replace('\0', "U+0000")));
        }
        if let Some(position) = self.position {
            fields.push((b'P', position.to_string()));
        }
        fields
    }
}

/// Code of a failure of the query engine, where its kind tells it.
fn engine_code(error: &DataFusionError) -> Option<&'static str> {
    match error {
        DataFusionError::NotImplemented(_) => Some(codes::FEATURE_NOT_SUPPORTED),
        DataFusionError::SQL(..) => Some(codes::SYNTAX_ERROR),
        DataFusionError::ArrowError(arrow, _) => match arrow.as_ref() {
            ArrowError::DivideByZero => Some(codes::DIVISION_BY_ZERO),
            ArrowError::ArithmeticOverflow(_) => Some(codes::NUMERIC_VALUE_OUT_OF_RANGE),
            ArrowError::CastError(_) | ArrowError::ParseError(_) => Some(codes::INVALID_TEXT_REPRESENTATION),
            _ => None,
        },
        DataFusionError::Internal(_) => Some(codes::INTERNAL_ERROR),
        _ => None,
    }
}

/// Phrases of mistakes with their codes; the first that a mistake contains counts.
const PHRASES: [(&str, &str); 40] = [
    ("queries only read", codes::READ_ONLY_SQL_TRANSACTION),
    ("no source, table or view called", codes::UNDEFINED_TABLE),
    ("there is no view", codes::UNDEFINED_TABLE),
    ("is a source or table of the topology", codes::UNDEFINED_TABLE),
    ("there is no column", codes::UNDEFINED_COLUMN),
    ("is ambiguous", codes::AMBIGUOUS_COLUMN),
    ("there is no function", codes::UNDEFINED_FUNCTION),
    ("there is no table function", codes::UNDEFINED_FUNCTION),
    ("does not take", codes::UNDEFINED_FUNCTION),
    ("there is no type", codes::UNDEFINED_OBJECT),
    ("unknown type", codes::UNDEFINED_OBJECT),
    ("there is no time zone", codes::INVALID_PARAMETER_VALUE),
    ("neither in GROUP BY nor inside an aggregate", codes::GROUPING_ERROR),
    ("do not compare", codes::UNDEFINED_FUNCTION),
    ("do not go together", codes::UNDEFINED_FUNCTION),
    ("divides by zero", codes::DIVISION_BY_ZERO),
    ("division by zero", codes::DIVISION_BY_ZERO),
    ("Divide by zero", codes::DIVISION_BY_ZERO),
    ("out of range", codes::NUMERIC_VALUE_OUT_OF_RANGE),
    ("does not fit", codes::NUMERIC_VALUE_OUT_OF_RANGE),
    ("overflow", codes::NUMERIC_VALUE_OUT_OF_RANGE),
    ("is no timestamp", codes::INVALID_DATETIME_FORMAT),
    ("is no date", codes::INVALID_DATETIME_FORMAT),
    ("invalid input syntax", codes::INVALID_TEXT_REPRESENTATION),
    ("always fails", codes::INVALID_TEXT_REPRESENTATION),
    ("cannot be cast", codes::INVALID_TEXT_REPRESENTATION),
    ("Cannot cast", codes::INVALID_TEXT_REPRESENTATION),
    ("more than one row", codes::CARDINALITY_VIOLATION),
    ("more memory than", codes::OUT_OF_MEMORY),
    ("into the memory", codes::OUT_OF_MEMORY),
    ("in more than", codes::PROGRAM_LIMIT_EXCEEDED),
    ("has more than", codes::PROGRAM_LIMIT_EXCEEDED),
    ("nested", codes::STATEMENT_TOO_COMPLEX),
    ("is not supported", codes::FEATURE_NOT_SUPPORTED),
    ("is refused", codes::FEATURE_NOT_SUPPORTED),
    ("expected ", codes::SYNTAX_ERROR),
    ("unexpected ", codes::SYNTAX_ERROR),
    ("is not closed", codes::SYNTAX_ERROR),
    ("cannot read this", codes::SYNTAX_ERROR),
    ("does not parse", codes::SYNTAX_ERROR),
];

/// Code of a mistake, by its words.
fn code_of_text(message: &str) -> &'static str {
    for (phrase, code) in PHRASES {
        if message.contains(phrase) {
            return code;
        }
    }
    codes::SYNTAX_OR_ACCESS_RULE
}

/// Lines of a hint as one.
fn one_line(hint: &str) -> String {
    hint.lines().map(str::trim).collect::<Vec<_>>().join(" ")
}

/// Number of the character at a line and column, from 1; None beyond the text.
fn character_at(text: &str, line: u64, column: u64) -> Option<usize> {
    let lines_before = usize::try_from(line).ok()?.checked_sub(1)?;
    let mut position = usize::try_from(column).ok()?;
    let mut lines = text.split('\n');
    for _ in 0..lines_before {
        position += lines.next()?.chars().count() + 1;
    }
    lines.next().map(|_| position)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::mistake;

    #[test]
    fn a_mistake_has_its_code_and_place() {
        let found = |message: &str, line, column| SqlError {
            file: "query".into(),
            line,
            column,
            message: message.into(),
            hint: Some("did you mean\n  b?".into()),
        };
        let text = "SELECT é,\n a FROM t";
        let error = PgError::of_mistakes(&[found("there is no column a", 2, 2)], text);
        assert_eq!((error.code, error.position), ("42703", Some(12)));
        assert_eq!(error.hint.as_deref(), Some("did you mean b?"));
        for (message, code) in [
            ("there is no source, table or view called x", "42P01"),
            ("there is no function called f", "42883"),
            ("expected an expression, found FROM", "42601"),
            ("MINUS is not supported", "0A000"),
            ("1 / 0 always fails: it divides by zero", "22012"),
            ("more than one row returned by a subquery used as an expression", "21000"),
            ("a.b is neither in GROUP BY nor inside an aggregate", "42803"),
            ("odd", "42000"),
        ] {
            assert_eq!(PgError::of_mistakes(&[found(message, 1, 1)], text).code, code, "{message}");
        }
        assert_eq!(character_at("a", 3, 1), None);
    }

    #[test]
    fn a_reserved_word_is_no_table() {
        let error = PgError::of_reserved("SELECT é FROM WHERE", 15).expect("a reserved word");
        assert_eq!((error.code, error.position), ("42601", Some(15)));
        assert!(error.message.contains("\"WHERE\""), "{}", error.message);
        for (text, position) in [("SELECT FROM \"where\"", 13), ("SELECT FROM wheres", 13), ("SELECT", 9)] {
            assert_eq!(PgError::of_reserved(text, position), None, "{text}");
        }
    }

    #[test]
    fn a_failure_has_its_code() {
        let divided = DataFusionError::ArrowError(Box::new(ArrowError::DivideByZero), None);
        assert_eq!(PgError::of_engine(divided).code, "22012");
        let full = DataFusionError::ResourcesExhausted("full".into());
        assert_eq!(PgError::of_engine(full).code, "53200");
        let told = PgError::of(&mistake("the query cannot be run: queries only read\n  change the records"));
        assert_eq!((told.code, told.message.as_str()), ("25006", "queries only read"));
        assert_eq!(told.hint.as_deref(), Some("change the records"));
        assert_eq!(PgError::of(&anyhow::anyhow!("lost")).code, "XX000");
        assert_eq!(PgError::of(&Stopped::Depth.into()).code, "54001");
    }
}
