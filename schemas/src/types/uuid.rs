//! UUID: 16 bytes, parsed from every form that PostgreSQL accepts and written in one.
//!
//! `{A0EEBC99-9C0B4EF8-BB6D6BB9-BD380A11}` and `a0eebc999c0b4ef8bb6d6bb9bd380a11` are one value: letters
//! of either case, with or without braces, with or without a hyphen after any four digits. The bytes are
//! stored; their order is that of the text.

/// Parses a UUID; None for any other text.
pub fn parse(text: &str) -> Option<[u8; 16]> {
    let inner = match text.strip_prefix('{') {
        Some(rest) => rest.strip_suffix('}')?,
        None => text,
    };
    let mut rest = inner.as_bytes();
    let mut value = [0; 16];
    for (at, byte) in value.iter_mut().enumerate() {
        let (pair, after) = rest.split_first_chunk::<2>()?;
        *byte = hex_digit(pair[0])? << 4 | hex_digit(pair[1])?;
        // A hyphen may follow every second byte but the last.
        rest = match after {
            [b'-', after @ ..] if at % 2 == 1 && at < 15 => after,
            after => after,
        };
    }
    rest.is_empty().then_some(value)
}

fn hex_digit(letter: u8) -> Option<u8> {
    char::from(letter).to_digit(16).map(|digit| digit as u8)
}

/// Appends PostgreSQL's text: `a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11`.
pub fn write(out: &mut Vec<u8>, value: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (at, byte) in value.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        out.extend([DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
}

/// Returns PostgreSQL's text.
pub fn text(value: &[u8]) -> String {
    let mut out = Vec::with_capacity(36);
    write(&mut out, value);
    out.into_iter().map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_postgresql_is_read() {
        const TEXT: &str = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
        for spelling in [
            TEXT,
            "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
            "{a0eebc99-9c0b4ef8-bb6d6bb9-bd380a11}",
            "a0eebc999c0b4ef8bb6d6bb9bd380a11",
            "a0ee-bc99-9c0b-4ef8-bb6d-6bb9-bd38-0a11",
        ] {
            assert_eq!(parse(spelling).map(|value| text(&value)).as_deref(), Some(TEXT), "{spelling}");
        }
        for wrong in [
            "",
            "{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}",
            "11+eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            "a0-eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1",
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11-",
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a112",
            " a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            "g0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
