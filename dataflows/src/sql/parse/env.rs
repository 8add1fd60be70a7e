//! Variables in option values: `${VAR}`, `${VAR:-default}` and `${file:PATH}`.
//!
//! They are replaced inside the string values of WITH and ENCODE only, once, before the value is
//! read; a replacement is not searched for variables again. `$` without a brace is literal, and `$${`
//! is a literal `${`. A file's last line end is dropped, as secret files end with one. Errors name the
//! variable, never the value.

/// Error for a variable that could not be replaced.
#[derive(Debug, PartialEq, Eq)]
pub struct Unresolved {
    /// Description of the error.
    pub message: String,
    /// Remedy.
    pub hint: String,
    /// The variable, if the error is that it is not set.
    pub unset: Option<String>,
}

impl Unresolved {
    fn new(message: impl Into<String>, hint: impl Into<String>) -> Unresolved {
        Unresolved { message: message.into(), hint: hint.into(), unset: None }
    }
}

/// Replaces the variables of one value.
///
/// # Errors
/// A variable without value or default, a file that cannot be read, an unclosed or empty `${`.
pub fn substitute(
    text: &str,
    env: &dyn Fn(&str) -> Option<String>,
    read_file: &dyn Fn(&str) -> std::io::Result<String>,
) -> Result<String, Unresolved> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if let Some(literal) = rest[..at].strip_suffix('$') {
            out.push_str(literal);
            out.push_str("${");
            rest = &rest[at + 2..];
            continue;
        }
        out.push_str(&rest[..at]);
        let Some(end) = rest[at..].find('}') else {
            return Err(Unresolved::new("`${` is not closed", "write ${NAME}, or $${ for a literal ${"));
        };
        out.push_str(&resolve_variable(&rest[at + 2..at + end], env, read_file)?);
        rest = &rest[at + end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

/// Value of the variable or file between the braces.
fn resolve_variable(
    inner: &str,
    env: &dyn Fn(&str) -> Option<String>,
    read_file: &dyn Fn(&str) -> std::io::Result<String>,
) -> Result<String, Unresolved> {
    if let Some(path) = inner.strip_prefix("file:") {
        let content = read_file(path).map_err(|error| {
            let hint = "${file:PATH} is replaced by the content of the file PATH";
            Unresolved::new(format!("cannot read file {path}: {error}"), hint)
        })?;
        let content = content.strip_suffix('\n').unwrap_or(&content);
        return Ok(content.strip_suffix('\r').unwrap_or(content).to_owned());
    }
    let (name, default) = match inner.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inner, None),
    };
    let valid = !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !valid {
        let hint = "write ${NAME}, ${NAME:-default} or ${file:PATH}";
        return Err(Unresolved::new(format!("`${{{inner}}}` does not name a variable"), hint));
    }
    // As in a shell, `:-` also stands in for a variable that is set but empty.
    match (env(name), default) {
        (Some(value), None) => Ok(value),
        (Some(value), Some(_)) if !value.is_empty() => Ok(value),
        (_, Some(default)) => Ok(default.to_owned()),
        (None, None) => {
            let hint = format!("set {name}, or write ${{{name}:-default}}");
            let unset = Some(name.to_owned());
            Err(Unresolved { unset, ..Unresolved::new(format!("variable {name} is not set"), hint) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &str) -> Result<String, String> {
        let env = |name: &str| match name {
            "HOST" => Some("kafka:9092".to_owned()),
            "EMPTY" => Some(String::new()),
            "TRICK" => Some("${HOST}".to_owned()),
            _ => None,
        };
        let read = |path: &str| match path {
            "/run/secret" => Ok("s3cret\n".to_owned()),
            _ => Err(std::io::Error::new(std::io::ErrorKind::NotFound, "no such file")),
        };
        substitute(text, &env, &read).map_err(|e| e.message)
    }

    #[test]
    fn variables_defaults_and_files_are_replaced() {
        let good = [
            ("plain $5", "plain $5"),
            ("${HOST}", "kafka:9092"),
            ("a-${HOST}-${NONE:-x:-y}", "a-kafka:9092-x:-y"),
            ("${EMPTY:-d}", "d"),
            ("${EMPTY}", ""),
            ("${NONE:-}", ""),
            ("${TRICK}", "${HOST}"),
            ("${file:/run/secret}!", "s3cret!"),
            ("$${HOST}", "${HOST}"),
        ];
        for (text, value) in good {
            assert_eq!(run(text), Ok(value.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_replaced_is_named() {
        let bad = [
            ("${NONE}", "variable NONE is not set"),
            ("${", "`${` is not closed"),
            ("${}", "`${}` does not name a variable"),
            ("${1A}", "`${1A}` does not name a variable"),
            ("${file:/nowhere}", "cannot read file /nowhere: no such file"),
        ];
        for (text, message) in bad {
            assert_eq!(run(text), Err(message.to_owned()), "{text}");
        }
    }
}
