//! The passing of JSON texts: each function takes the place where something begins and returns the place behind it, or None
//! where it is no JSON or not plain (see [`super::cursor`]).

/// Most values around one that is skipped; jiter refuses 200.
const MAX_DEPTH: u32 = 60;
/// Most bytes of a number; jiter refuses 4,300 digits.
const MAX_NUMBER_BYTES: usize = 64;

/// Passes blanks.
#[inline]
pub(super) fn skip_blanks(bytes: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\n' | b'\r' | b'\t') = bytes.get(at) {
        at += 1;
    }
    at
}

/// Passes a word.
#[inline]
pub(super) fn skip_word(bytes: &[u8], at: usize, word: &'static [u8]) -> Option<usize> {
    bytes.get(at..)?.starts_with(word).then_some(at + word.len())
}

/// Finds the first quote, backslash or control character; the end where there is none.
#[inline]
pub(super) fn find_special(bytes: &[u8], mut at: usize) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    // The lowest bit that is set is right: borrows reach only bytes above the first one that is found.
    let below = |word: u64, least: u8| word.wrapping_sub(ONES * u64::from(least)) & !word & HIGH;
    while let Some(chunk) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*chunk);
        let quotes = below(word ^ (ONES * u64::from(b'"')), 1);
        let backslashes = below(word ^ (ONES * u64::from(b'\\')), 1);
        let found = quotes | backslashes | below(word, b' ');
        if found != 0 {
            return at + (found.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    while bytes.get(at).is_some_and(|byte| !matches!(byte, b'"' | b'\\' | 0..b' ')) {
        at += 1;
    }
    at
}

/// Reads an escape, which begins with its backslash. Halves of surrogate pairs are left to jiter.
pub(super) fn read_escape(bytes: &[u8], at: usize) -> Option<(char, usize)> {
    let meant = match bytes.get(at + 1)? {
        b'"' => '"',
        b'\\' => '\\',
        b'/' => '/',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => {
            let mut code = 0;
            for digit in bytes.get(at + 2..at + 6)? {
                code = code * 16 + char::from(*digit).to_digit(16)?;
            }
            return Some((char::from_u32(code)?, at + 6));
        }
        _ => return None,
    };
    Some((meant, at + 2))
}

/// Passes a string, which begins here.
#[inline]
pub(super) fn skip_string(bytes: &[u8], at: usize) -> Option<usize> {
    let mut at = find_special(bytes, at + 1);
    loop {
        match bytes.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at = find_special(bytes, read_escape(bytes, at)?.1),
            _ => return None,
        }
    }
}

/// Passes digits, of which there must be one.
#[inline]
fn skip_digits(bytes: &[u8], mut at: usize) -> Option<usize> {
    let start = at;
    while let Some(b'0'..=b'9') = bytes.get(at) {
        at += 1;
    }
    (at > start).then_some(at)
}

/// Passes a number, which begins here.
#[inline]
pub(super) fn skip_number(bytes: &[u8], start: usize) -> Option<usize> {
    // Most numbers are a few digits, and end there.
    let first = start + usize::from(bytes.get(start) == Some(&b'-'));
    let at = skip_digits(bytes, first)?;
    if bytes[first] == b'0' && at > first + 1 {
        return None;
    }
    let end = match bytes.get(at) {
        Some(b'.' | b'e' | b'E') => skip_fraction(bytes, at)?,
        _ => at,
    };
    (end - start <= MAX_NUMBER_BYTES).then_some(end)
}

/// Passes the fraction and the exponent of a number.
fn skip_fraction(bytes: &[u8], mut at: usize) -> Option<usize> {
    if bytes.get(at) == Some(&b'.') {
        at = skip_digits(bytes, at + 1)?;
    }
    if let Some(b'e' | b'E') = bytes.get(at) {
        let sign = usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
        at = skip_digits(bytes, at + 1 + sign)?;
    }
    Some(at)
}

/// Passes a number, a string or a word.
#[inline]
pub(super) fn skip_scalar(bytes: &[u8], at: usize) -> Option<usize> {
    match *bytes.get(at)? {
        b'-' | b'0'..=b'9' => skip_number(bytes, at),
        b'"' => skip_string(bytes, at),
        b't' => skip_word(bytes, at, b"true"),
        b'f' => skip_word(bytes, at, b"false"),
        b'n' => skip_word(bytes, at, b"null"),
        _ => None,
    }
}

/// Passes a key and the colon behind it.
#[inline]
fn skip_key(bytes: &[u8], at: usize) -> Option<usize> {
    let at = skip_blanks(bytes, at);
    if *bytes.get(at)? != b'"' {
        return None;
    }
    let at = skip_blanks(bytes, skip_string(bytes, at)?);
    (*bytes.get(at)? == b':').then_some(at + 1)
}

/// Passes a value of any kind; None where it is no JSON, or not plain.
pub(super) fn skip_value(bytes: &[u8], mut at: usize) -> Option<usize> {
    // Kinds of the values around this one, the innermost in the lowest bit: 1 for an object.
    let (mut around, mut depth) = (0u64, 0);
    loop {
        at = skip_blanks(bytes, at);
        match *bytes.get(at)? {
            open @ (b'{' | b'[') => {
                let is_object = open == b'{';
                at = skip_blanks(bytes, at + 1);
                // An empty one is a value that has ended.
                if *bytes.get(at)? == if is_object { b'}' } else { b']' } {
                    at += 1;
                } else {
                    if depth == MAX_DEPTH {
                        return None;
                    }
                    (around, depth) = (around << 1 | u64::from(is_object), depth + 1);
                    if is_object {
                        at = skip_key(bytes, at)?;
                    }
                    continue;
                }
            }
            _ => at = skip_scalar(bytes, at)?,
        }
        // Behind a value: the next one, or the ends of those around it.
        loop {
            if depth == 0 {
                return Some(at);
            }
            at = skip_blanks(bytes, at);
            match (*bytes.get(at)?, around & 1) {
                (b',', 1) => at = skip_key(bytes, at + 1)?,
                (b',', _) => at += 1,
                (b'}', 1) | (b']', 0) => {
                    (around, depth, at) = (around >> 1, depth - 1, at + 1);
                    continue;
                }
                _ => return None,
            }
            break;
        }
    }
}
