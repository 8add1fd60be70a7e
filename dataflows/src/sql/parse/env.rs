//! Variables in option values: `${VAR}`, `${VAR:-default}` and `${file:PATH}`.
//!
//! They are replaced inside the string values of WITH and ENCODE only, once, before the value is
//! read; a replacement is not searched for variables again. `$` without a brace is literal, and `$${`
//! is a literal `${`. A file's last line end is dropped, as secret files end with one. A value that a
//! variable or file filled is marked secret and never printed. Errors name the variable, never the
//! value.

/// A value after replacement.
#[derive(Debug, PartialEq, Eq)]
pub struct Substituted {
    /// The value.
    pub value: String,
    /// True if a variable or file filled any part of it.
    pub secret: bool,
}

/// Error for a variable that could not be replaced.
#[derive(Debug, PartialEq, Eq)]
pub struct Unresolved {
    /// Description of the error.
    pub message: String,
    /// Remedy.
    pub hint: String,
}

/// Replaces the variables of one value.
///
/// # Errors
/// A variable without value or default, a file that cannot be read, an unclosed or empty `${`.
pub fn substitute(
    text: &str,
    env: &dyn Fn(&str) -> Option<String>,
    read_file: &dyn Fn(&str) -> std::io::Result<String>,
) -> Result<Substituted, Unresolved> {
    let mut out = Substituted { value: String::with_capacity(text.len()), secret: false };
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if let Some(literal) = rest[..at].strip_suffix('$') {
            out.value.push_str(literal);
            out.value.push_str("${");
            rest = &rest[at + 2..];
            continue;
        }
        out.value.push_str(&rest[..at]);
        let Some(end) = rest[at..].find('}') else {
            return Err(Unresolved {
                message: "`${` is not closed".to_owned(),
                hint: "write ${NAME}, or $${ for a literal ${".to_owned(),
            });
        };
        let (value, filled) = resolve_variable(&rest[at + 2..at + end], env, read_file)?;
        out.value.push_str(&value);
        out.secret |= filled;
        rest = &rest[at + end + 1..];
    }
    out.value.push_str(rest);
    Ok(out)
}

/// Value of the variable between the braces, and true if it came from the environment or a file.
fn resolve_variable(
    inner: &str,
    env: &dyn Fn(&str) -> Option<String>,
    read_file: &dyn Fn(&str) -> std::io::Result<String>,
) -> Result<(String, bool), Unresolved> {
    if let Some(path) = inner.strip_prefix("file:") {
        let content = read_file(path).map_err(|error| Unresolved {
            message: format!("cannot read file {path}: {error}"),
            hint: "${file:PATH} is replaced by the content of the file PATH".to_owned(),
        })?;
        let content = content.strip_suffix('\n').unwrap_or(&content);
        return Ok((content.strip_suffix('\r').unwrap_or(content).to_owned(), true));
    }
    let (name, default) = match inner.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inner, None),
    };
    let valid = !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !valid {
        return Err(Unresolved {
            message: format!("`${{{inner}}}` does not name a variable"),
            hint: "write ${NAME}, ${NAME:-default} or ${file:PATH}".to_owned(),
        });
    }
    // As in a shell, `:-` also stands in for a variable that is set but empty.
    match (env(name), default) {
        (Some(value), None) => Ok((value, true)),
        (Some(value), Some(_)) if !value.is_empty() => Ok((value, true)),
        (_, Some(default)) => Ok((default.to_owned(), false)),
        (None, None) => Err(Unresolved {
            message: format!("variable {name} is not set"),
            hint: format!("set {name}, or write ${{{name}:-default}}"),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &str) -> Result<(String, bool), String> {
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
        substitute(text, &env, &read).map(|s| (s.value, s.secret)).map_err(|e| e.message)
    }

    #[test]
    fn variables_defaults_and_files_are_replaced() {
        let good = [
            ("plain $5", "plain $5", false),
            ("${HOST}", "kafka:9092", true),
            ("a-${HOST}-${NONE:-x:-y}", "a-kafka:9092-x:-y", true),
            ("${EMPTY:-d}", "d", false),
            ("${EMPTY}", "", true),
            ("${NONE:-}", "", false),
            ("${TRICK}", "${HOST}", true),
            ("${file:/run/secret}!", "s3cret!", true),
            ("$${HOST}", "${HOST}", false),
        ];
        for (text, value, secret) in good {
            assert_eq!(run(text), Ok((value.to_owned(), secret)), "{text}");
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
