//! Statements: queries, which are passed on as they are written, and those about the session itself.

use super::super::errors::{PgError, PgResult, codes};
use super::copy_options::CopyOptions;
use super::cursors::{Declaration, Fetch, declare, fetch};
use super::subscription::{RowSource, Subscription};
use super::words::{QueryText, Word, Words};

/// First words of queries.
const QUERIES: [&str; 6] = ["select", "with", "values", "explain", "describe", "desc"];
/// First words of statements that change something.
const WRITING: [&str; 29] = [
    "insert",
    "update",
    "delete",
    "merge",
    "truncate",
    "create",
    "drop",
    "alter",
    "grant",
    "revoke",
    "comment",
    "refresh",
    "vacuum",
    "analyze",
    "analyse",
    "reindex",
    "cluster",
    "checkpoint",
    "import",
    "security",
    "load",
    "notify",
    "listen",
    "call",
    "do",
    "reassign",
    "rename",
    "replace",
    "upsert",
];

/// Options of a transaction; the level of isolation, if it is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TransactionModes {
    /// The level, as `SHOW transaction_isolation` tells it.
    pub isolation: Option<&'static str>,
}

/// A statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statement {
    /// Gives rows, and is run by the query engine; the tag of its completion.
    Query(QueryText, &'static str),
    /// BEGIN, START TRANSACTION.
    Begin(TransactionModes),
    /// COMMIT, END; true for AND CHAIN.
    Commit(bool),
    /// ROLLBACK, ABORT; true for AND CHAIN.
    Rollback(bool),
    /// SAVEPOINT.
    Savepoint(String),
    /// RELEASE.
    Release(String),
    /// ROLLBACK TO.
    RollbackTo(String),
    /// SET TRANSACTION, and with true SET SESSION CHARACTERISTICS.
    SetTransaction(TransactionModes, bool),
    /// SET.
    Set {
        /// The setting.
        name: String,
        /// Its value; None for its default.
        value: Option<String>,
        /// True for SET LOCAL.
        local: bool,
    },
    /// RESET; None for all settings.
    Reset(Option<String>),
    /// SHOW; None for all settings.
    Show(Option<String>),
    /// DISCARD; true for ALL.
    Discard(bool),
    /// PREPARE.
    Prepare {
        /// The name.
        name: String,
        /// The types of parameters that are given.
        types: Vec<String>,
        /// The statement.
        query: QueryText,
    },
    /// EXECUTE.
    Execute {
        /// The name.
        name: String,
        /// The arguments, each an expression.
        arguments: Vec<String>,
    },
    /// DEALLOCATE; None for all.
    Deallocate(Option<String>),
    /// DECLARE.
    Declare(Declaration),
    /// FETCH and MOVE.
    Fetch(Fetch),
    /// CLOSE; None for all.
    Close(Option<String>),
    /// COPY ... TO STDOUT.
    Copy(RowSource, CopyOptions),
    /// SUBSCRIBE.
    Subscribe(Box<Subscription>),
    /// Has no effect here; its tag.
    Idle(&'static str),
}

impl Statement {
    /// Reads a statement; `before` is the number of characters before it in the text that the client sent.
    ///
    /// # Errors
    /// When it is none, or one that Herald does not carry out.
    pub fn read(text: &str, before: usize) -> PgResult<Statement> {
        let mut words = Words::new(text);
        let read = read_statement(&mut words, before);
        read.map_err(|mut error| {
            error.position = error.position.map(|position| position + before);
            error
        })
    }

    /// Tells whether it may run in a transaction that has failed.
    pub fn ends_failure(&self) -> bool {
        matches!(self, Statement::Commit(_) | Statement::Rollback(_) | Statement::RollbackTo(_))
    }
}

/// Reads a statement of words.
fn read_statement(words: &mut Words<'_>, before: usize) -> PgResult<Statement> {
    let first = match words.peek() {
        Some(Word::Plain(word)) => word.to_lowercase(),
        Some(Word::Symbol('(')) => return Ok(query(words, before, "SELECT")),
        _ => return Err(words.unexpected()),
    };
    if QUERIES.contains(&first.as_str()) {
        let tag = if first == "explain" { "EXPLAIN" } else { "SELECT" };
        return Ok(query(words, before, tag));
    }
    if WRITING.contains(&first.as_str()) {
        return Err(refuse_writing(&first));
    }
    let (start, whole) = (words.chars_before(), words.clone());
    words.take();
    let statement = match first.as_str() {
        "table" => whole_table(words, before + start)?,
        "show" => return show(words, &whole, before),
        "begin" => begin(words)?,
        "start" => {
            words.expect("transaction")?;
            Statement::Begin(modes(words)?)
        }
        "commit" | "end" => Statement::Commit(ending(words)?),
        "rollback" | "abort" => rollback(words)?,
        "savepoint" => Statement::Savepoint(words.name()?),
        "release" => {
            words.takes("savepoint");
            Statement::Release(words.name()?)
        }
        "set" => set(words)?,
        "reset" => Statement::Reset(name_or_all(words, setting_name)?),
        "discard" => discard(words)?,
        "prepare" => return prepare(words, before),
        "execute" => execute(words)?,
        "deallocate" => {
            words.takes("prepare");
            Statement::Deallocate(name_or_all(words, Words::name)?)
        }
        "declare" => return declare(words, before).map(Statement::Declare),
        "subscribe" => Statement::Subscribe(Box::new(Subscription::read(words, before)?)),
        "fetch" => Statement::Fetch(fetch(words, false)?),
        "move" => Statement::Fetch(fetch(words, true)?),
        "close" => Statement::Close(name_or_all(words, Words::name)?),
        "copy" => return copy(words, before),
        "unlisten" => {
            words.take();
            Statement::Idle("UNLISTEN")
        }
        "lock" => {
            return Err(PgError::unsupported("LOCK is not supported")
                .hint("a transaction reads one epoch, whatever is committed meanwhile"));
        }
        _ => return Err(whole.unexpected()),
    };
    words.end()?;
    Ok(statement)
}

/// The rest of the words as a query.
fn query(words: &Words<'_>, before: usize, tag: &'static str) -> Statement {
    Statement::Query(query_text(words, before), tag)
}

/// The rest of the words as the text of a query.
fn query_text(words: &Words<'_>, before: usize) -> QueryText {
    QueryText { text: words.rest().to_owned(), before: before + words.chars_before() }
}

/// The refusal of a statement that changes something.
fn refuse_writing(first: &str) -> PgError {
    let verb = first.to_uppercase();
    match first {
        "listen" | "notify" => PgError::unsupported(format!("{verb} is not supported"))
            .hint("changes are told by a view's sink, a topic"),
        "do" | "call" | "load" => PgError::unsupported(format!("{verb} is not supported")),
        _ => {
            let message = format!("cannot execute {verb} in a read-only transaction");
            PgError::new(codes::READ_ONLY_SQL_TRANSACTION, message)
                .hint("views follow from their sources: change the records there, or the topology's files")
        }
    }
}

/// TABLE name, which is SELECT * FROM name.
fn whole_table(words: &mut Words<'_>, start: usize) -> PgResult<Statement> {
    let named = words.rest().trim_end().to_owned();
    words.name()?;
    while words.takes_symbol('.') {
        words.name()?;
    }
    let text = format!("SELECT * FROM {named}");
    Ok(Statement::Query(QueryText { text, before: start }, "SELECT"))
}

/// SHOW of a setting, or one that the query engine answers.
fn show(words: &mut Words<'_>, whole: &Words<'_>, before: usize) -> PgResult<Statement> {
    if ["tables", "columns", "functions", "create"].iter().any(|word| words.sees(word)) {
        return Ok(query(whole, before, "SHOW"));
    }
    let statement = Statement::Show(name_or_all(words, setting_name)?);
    words.end()?;
    Ok(statement)
}

/// BEGIN and its options.
fn begin(words: &mut Words<'_>) -> PgResult<Statement> {
    words.takes_any(&["work", "transaction"]);
    Ok(Statement::Begin(modes(words)?))
}

/// The words behind COMMIT or ROLLBACK; true for AND CHAIN.
fn ending(words: &mut Words<'_>) -> PgResult<bool> {
    words.takes_any(&["work", "transaction"]);
    if words.takes("prepared") {
        return Err(PgError::unsupported("prepared transactions are not supported"));
    }
    if !words.takes("and") {
        return Ok(false);
    }
    let no = words.takes("no");
    words.expect("chain")?;
    Ok(!no)
}

/// ROLLBACK of a transaction, or to a savepoint.
fn rollback(words: &mut Words<'_>) -> PgResult<Statement> {
    words.takes_any(&["work", "transaction"]);
    if words.takes("to") {
        words.takes("savepoint");
        return Ok(Statement::RollbackTo(words.name()?));
    }
    Ok(Statement::Rollback(ending(words)?))
}

/// Options of a transaction.
fn modes(words: &mut Words<'_>) -> PgResult<TransactionModes> {
    let mut found = TransactionModes::default();
    while !words.is_done() {
        if words.takes_all(&["isolation", "level"]) {
            found.isolation = Some(isolation(words)?);
        } else if !words.takes_all(&["read", "only"])
            && !words.takes_all(&["read", "write"])
            && !words.takes("deferrable")
            && !words.takes_all(&["not", "deferrable"])
        {
            return Err(words.unexpected());
        }
        words.takes_symbol(',');
    }
    Ok(found)
}

/// A level of isolation.
fn isolation(words: &mut Words<'_>) -> PgResult<&'static str> {
    let levels: [(&[&str], &str); 4] = [
        (&["serializable"], "serializable"),
        (&["repeatable", "read"], "repeatable read"),
        (&["read", "committed"], "read committed"),
        (&["read", "uncommitted"], "read uncommitted"),
    ];
    for (keywords, level) in levels {
        if words.takes_all(keywords) {
            return Ok(level);
        }
    }
    Err(words.unexpected())
}

/// ALL, which is None, or a name.
fn name_or_all<'a>(
    words: &mut Words<'a>,
    read_name: fn(&mut Words<'a>) -> PgResult<String>,
) -> PgResult<Option<String>> {
    if words.takes("all") { Ok(None) } else { read_name(words).map(Some) }
}

/// The name of a setting: `name`, `group.name`, or one of the forms with several words.
fn setting_name(words: &mut Words<'_>) -> PgResult<String> {
    let forms: [(&[&str], &str); 3] = [
        (&["time", "zone"], "timezone"),
        (&["transaction", "isolation", "level"], "transaction_isolation"),
        (&["session", "authorization"], "session_authorization"),
    ];
    for (keywords, name) in forms {
        if words.takes_all(keywords) {
            return Ok(name.to_owned());
        }
    }
    let mut name = words.name()?;
    while words.takes_symbol('.') {
        name = format!("{name}.{}", words.name()?);
    }
    Ok(name)
}

/// SET.
fn set(words: &mut Words<'_>) -> PgResult<Statement> {
    if words.takes_all(&["session", "characteristics", "as", "transaction"]) {
        return Ok(Statement::SetTransaction(modes(words)?, true));
    }
    let local = words.takes_any(&["session", "local"]) == Some("local");
    if words.takes("transaction") {
        if words.sees("snapshot") {
            return Err(PgError::unsupported("SET TRANSACTION SNAPSHOT is not supported")
                .hint("a transaction reads the newest epoch at its first query"));
        }
        return Ok(Statement::SetTransaction(modes(words)?, false));
    }
    if words.takes("authorization") {
        return own_role(words, "SET SESSION AUTHORIZATION");
    }
    if words.takes("role") {
        return own_role(words, "SET ROLE");
    }
    let (name, sign) = if words.takes("names") {
        ("client_encoding".to_owned(), false)
    } else if words.takes("schema") {
        ("search_path".to_owned(), false)
    } else {
        let zone = words.sees("time");
        (setting_name(words)?, !zone)
    };
    if sign && !words.takes("to") {
        words.expect_symbol('=')?;
    }
    let value = setting_value(words)?;
    Ok(Statement::Set { name, value, local })
}

/// SET ROLE and SET SESSION AUTHORIZATION, of which nothing but a return to the own role is carried out.
fn own_role(words: &mut Words<'_>, form: &'static str) -> PgResult<Statement> {
    if words.takes_any(&["none", "default"]).is_some() {
        return Ok(Statement::Idle("SET"));
    }
    Err(PgError::unsupported(format!("{form} is not supported")).hint("roles are those of the tokens"))
}

/// The value of a setting: words, texts and numbers between commas. None for DEFAULT.
fn setting_value(words: &mut Words<'_>) -> PgResult<Option<String>> {
    if words.takes("default") {
        return Ok(None);
    }
    let mut parts = Vec::new();
    loop {
        // SET TIME ZONE INTERVAL '+01:00' HOUR TO MINUTE.
        let interval = words.takes("interval");
        let minus = words.takes_symbol('-');
        if !minus {
            words.takes_symbol('+');
        }
        let part = match words.peek() {
            Some(Word::Plain(part) | Word::Number(part) | Word::Text(part)) => part,
            Some(Word::Quoted(name)) => format!("\"{name}\""),
            _ => return Err(words.unexpected()),
        };
        words.take();
        if interval {
            words.takes_all(&["hour", "to", "minute"]);
        }
        parts.push(if minus { format!("-{part}") } else { part });
        if !words.takes_symbol(',') {
            return Ok(Some(parts.join(", ")));
        }
    }
}

/// DISCARD.
fn discard(words: &mut Words<'_>) -> PgResult<Statement> {
    match words.takes_any(&["all", "plans", "sequences", "temp", "temporary"]) {
        Some(part) => Ok(Statement::Discard(part == "all")),
        None => Err(words.unexpected()),
    }
}

/// PREPARE.
fn prepare(words: &mut Words<'_>, before: usize) -> PgResult<Statement> {
    if words.sees("transaction") {
        return Err(PgError::unsupported("prepared transactions are not supported"));
    }
    let name = words.name()?;
    let types = match words.peek() {
        Some(Word::Symbol('(')) => split_arguments(words.parenthesised()?),
        _ => Vec::new(),
    };
    words.expect("as")?;
    Ok(Statement::Prepare { name, types, query: query_text(words, before) })
}

/// EXECUTE.
fn execute(words: &mut Words<'_>) -> PgResult<Statement> {
    let name = words.name()?;
    let arguments = match words.peek() {
        Some(Word::Symbol('(')) => split_arguments(words.parenthesised()?),
        _ => Vec::new(),
    };
    Ok(Statement::Execute { name, arguments })
}

/// The parts of a list between commas that stand in no parentheses or brackets.
fn split_arguments(list: &str) -> Vec<String> {
    let mut words = Words::new(list);
    let (mut parts, mut depth, mut start) = (Vec::new(), 0i32, words.rest());
    while let Some(word) = words.peek() {
        let here = words.rest();
        words.take();
        match word {
            Word::Symbol('(' | '[') => depth += 1,
            Word::Symbol(')' | ']') => depth -= 1,
            Word::Symbol(',') if depth == 0 => {
                parts.push(start[..start.len() - here.len()].trim_end().to_owned());
                start = words.rest();
            }
            _ => {}
        }
    }
    if !start.trim().is_empty() {
        parts.push(start.trim_end().to_owned());
    }
    parts
}

/// COPY.
fn copy(words: &mut Words<'_>, before: usize) -> PgResult<Statement> {
    let start = before + words.chars_before();
    let rows = if words.takes_symbol('(') {
        let inside = before + words.chars_before();
        if words.takes("subscribe") {
            let followed = Subscription::read(words, before)?;
            words.expect_symbol(')')?;
            RowSource::Changes(Box::new(followed))
        } else {
            RowSource::Query(QueryText { text: words.until_closed()?.to_owned(), before: inside })
        }
    } else {
        RowSource::Query(QueryText { text: select_of_table(words)?, before: start })
    };
    if words.sees("from") {
        return Err(refuse_writing("copy"));
    }
    words.expect("to")?;
    if !words.takes("stdout") {
        return Err(PgError::unsupported("COPY to a file or a program is not supported")
            .hint("write COPY ... TO STDOUT, or \\copy in psql"));
    }
    let options = CopyOptions::read(words)?;
    words.end()?;
    Ok(Statement::Copy(rows, options))
}

/// The query of `COPY table (columns)`.
fn select_of_table(words: &mut Words<'_>) -> PgResult<String> {
    let named = words.rest();
    words.name()?;
    while words.takes_symbol('.') {
        words.name()?;
    }
    let table = named[..named.len() - words.rest().len()].trim_end();
    let columns = match words.peek() {
        Some(Word::Symbol('(')) => words.parenthesised()?,
        _ => "*",
    };
    Ok(format!("SELECT {columns} FROM {table}"))
}

#[cfg(test)]
mod tests;
